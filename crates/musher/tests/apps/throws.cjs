// Throws what nobody catches: node throws.cjs <port>. /throw throws, /reject rejects, /later throws a moment later.
'use strict';
const http = require('node:http');
const { answer } = require('./answer.cjs');

http.createServer((request, response) => {
  const { pathname } = new URL(request.url, 'http://localhost');
  if (pathname === '/throw') throw new Error('thrown on purpose');
  if (pathname === '/reject') return Promise.reject(new Error('rejected on purpose'));
  if (pathname === '/later') return setTimeout(() => { throw new Error('thrown later'); }, 1);
  if (pathname === '/stuck') for (;;);
  return answer(request, response);
}).listen(Number(process.argv[2]));
