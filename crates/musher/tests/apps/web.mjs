// The plain http server as an ES module: node web.mjs <port> [host].
import http from 'node:http';
import support from './answer.cjs';

const server = http.createServer(support.answer);
await new Promise((listening) => server.listen(Number(process.argv[2]), process.argv[3], listening));
console.log('listening');
