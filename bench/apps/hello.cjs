// What is served in the bench: node hello.cjs <port> [block|handles-sigint]. It answers with its pid and the request's
// id. With `block`, the worker of slot 0 computes for two seconds in every three. With `handles-sigint` it does what
// PM2's documentation advises against losing requests.
'use strict';
const http = require('node:http');

const [port, what] = process.argv.slice(2);
const server = http.createServer((request, response) => {
  const at = request.url.indexOf('id=');
  response.end(`id=${at < 0 ? 0 : request.url.slice(at + 3)} pid=${process.pid}\n`);
});

if (what === 'block' && process.env.NODE_APP_INSTANCE === '0') {
  setInterval(() => {
    const end = Date.now() + 2000;
    while (Date.now() < end);
  }, 3000);
}

if (what === 'handles-sigint') {
  process.on('SIGINT', () => server.close(() => process.exit(0)));
}

server.listen(Number(port), '127.0.0.1');
