// Node's own cluster as its documentation advises: node primary.cjs <workers> <port>. A worker that ends is replaced at
// once. SIGHUP replaces all, one by one, each only when its successor listens; SIGTTIN and SIGTTOU make one more or less.
'use strict';
const cluster = require('node:cluster');
const path = require('node:path');

const [count, port] = process.argv.slice(2);
cluster.setupPrimary({ exec: path.join(__dirname, 'hello.cjs'), args: [port] });
let wanted = Number(count);

const serving = () => Object.values(cluster.workers).filter((worker) => !worker.exitedAfterDisconnect && !worker.leaving);

const listening = (worker) => new Promise((done) => worker.once('listening', done));

function leave(worker) {
  worker.leaving = true;
  // Takes nothing new, finishes what it has, closes what is idle, and ends.
  worker.disconnect();
  setTimeout(() => worker.isDead() || worker.process.kill(), 30_000).unref();
}

process.on('SIGHUP', async () => {
  for (const old of serving()) {
    await listening(cluster.fork());
    leave(old);
  }
});
process.on('SIGTTIN', () => {
  wanted++;
  cluster.fork();
});
process.on('SIGTTOU', () => {
  wanted--;
  leave(serving().at(-1));
});
cluster.on('exit', () => {
  if (serving().length < wanted) cluster.fork();
});
for (let n = 0; n < wanted; n++) cluster.fork();
