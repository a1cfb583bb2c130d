// A server with signal handlers of its own: node polite.cjs <port> <polite|hasty>. On SIGTERM and SIGINT it either closes
// its server and ends when that is done, or ends at once.
'use strict';
const http = require('node:http');
const { answer } = require('./answer.cjs');

const [port, manner] = process.argv.slice(2);
const server = http.createServer(answer);
server.listen(Number(port), '127.0.0.1');
for (const signal of ['SIGTERM', 'SIGINT']) {
  process.on(signal, () => {
    console.log(`${signal} came`);
    if (manner === 'hasty') process.exit(0);
    server.close(() => process.exit(0));
  });
}
