// A server that falls ill on SIGUSR2, in the way that ILLNESS says: node fit.cjs <port> [step]. With a step each worker
// has a port of its own. GET /health tells how it is.
'use strict';
const http = require('node:http');
const { answer, version } = require('./answer.cjs');

if (version === 'throw') throw new Error('this build is broken on purpose');

let health = 200;
const kept = [];
const ill = {
  sick: () => { health = 503; },
  leak: () => setInterval(() => kept.push(Buffer.alloc(4 << 20, 1)), 20),
  burn: () => { const burn = () => { const end = Date.now() + 50; while (Date.now() < end); setImmediate(burn); }; burn(); },
};
process.on('SIGUSR2', () => ill[process.env.ILLNESS]());
const server = http.createServer((request, response) => {
  if (request.url === '/health') {
    response.statusCode = health;
    return response.end(`${process.pid}\n`);
  }
  return answer(request, response);
});
const step = Number(process.argv[3] ?? 0) * Number(process.env.NODE_APP_INSTANCE);
server.listen(Number(process.argv[2]) + step, '127.0.0.1');
