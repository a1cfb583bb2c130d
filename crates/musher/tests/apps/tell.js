// Tells what it was given, into the directory TOLD, one file for each worker; then lives.
const fs = require('fs');
const path = require('path');

const { APP, NO, NODE_APP_INSTANCE, PORT, WHO, OBJECT, SECRET_KEY, BASE, TOLD } = process.env;
const told = {
  args: process.argv.slice(2),
  execArgv: process.execArgv.filter((word) => word.startsWith('--max')),
  cwd: path.relative(BASE, process.cwd()),
  worker: require('cluster').isWorker,
  env: { NO, NODE_APP_INSTANCE, PORT, WHO, OBJECT, SECRET_KEY },
};
const file = path.join(TOLD, `${APP}-${NO || NODE_APP_INSTANCE || 0}`);
fs.writeFileSync(`${file}.part`, JSON.stringify(told, null, 1));
fs.renameSync(`${file}.part`, file);
process.on('message', (message) => {
  fs.writeFileSync(`${file}.message`, String(message));
  process.exit(0);
});
process.on('SIGINT', () => {
  fs.writeFileSync(`${file}.signal`, 'SIGINT');
  process.exit(0);
});
console.log('telling');
// Nobody has to wait and see whether it listens.
if (process.send) process.send('ready');
setInterval(() => {}, 1 << 30);
