// What is served in the bench: node hello.cjs <port> [block|handles-sigint]. It answers with its pid and the request's
// id. With `block`, the worker of slot 0 computes for two seconds in every three, and an answer on a connection that it had
// accepted before it began says so as its version: nobody can take such a connection from it. With `handles-sigint` it does what
// PM2's documentation advises against losing requests.
'use strict';
const http = require('node:http');

const [port, what] = process.argv.slice(2);
let blocks = 0;
const server = http.createServer((request, response) => {
  const at = request.url.indexOf('id=');
  const held = what === 'block' && request.socket.acceptedIn !== blocks ? ' version=held' : '';
  response.end(`id=${at < 0 ? 0 : request.url.slice(at + 3)} pid=${process.pid}${held}\n`);
});

if (what === 'block' && process.env.NODE_APP_INSTANCE === '0') {
  setInterval(() => {
    blocks += 1;
    const end = Date.now() + 2000;
    while (Date.now() < end);
  }, 3000);
}

if (what === 'block') {
  server.on('connection', (socket) => {
    socket.acceptedIn = blocks;
  });
}

if (what === 'handles-sigint') {
  process.on('SIGINT', () => server.close(() => process.exit(0)));
}

server.listen(Number(port), '127.0.0.1');
