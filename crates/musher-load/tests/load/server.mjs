// A server that counts by itself what it was asked, and answers in many ways. It prints its port.
import { createServer } from 'node:http';
import { createServer as createTls } from 'node:https';
import { createSecureServer, createServer as createH2 } from 'node:http2';
import { readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';

const [kind = 'http', where = '0', cert, key] = process.argv.slice(2);
const counts = { requests: 0, connections: 0, open: 0, most: 0 };
const packed = gzipSync('x'.repeat(1000));
let busy = 0;
const slots = 4;
const queue = [];

function work(milliseconds, answer) {
  if (busy === slots) return queue.push([milliseconds, answer]);
  busy += 1;
  setTimeout(() => {
    busy -= 1;
    answer();
    const next = queue.shift();
    if (next) work(...next);
  }, milliseconds);
}

function serve(request, response) {
  const url = new URL(request.url, 'http://x');
  if (url.pathname === '/counts') return response.end(JSON.stringify(counts));
  counts.requests += 1;
  counts[url.pathname] = (counts[url.pathname] ?? 0) + 1;
  const chunks = [];
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', () => {
    const body = Buffer.concat(chunks).toString();
    const status = url.pathname.match(/^\/status\/(\d+)/);
    if (status) return response.writeHead(Number(status[1]), { 'content-length': 2 }).end('no');
    switch (url.pathname) {
      case '/to': return response.writeHead(302, { location: '/landed', 'content-length': 0 }).end();
      case '/loop': return response.writeHead(302, { location: '/loop', 'content-length': 0 }).end();
      case '/chunks': response.write('a'.repeat(10)); return setImmediate(() => response.end('b'.repeat(20)));
      case '/close': return response.writeHead(200, { connection: 'close' }).end('bye');
      case '/short': response.writeHead(200, { 'content-length': 100 }); response.write('abc'); return setImmediate(() => request.socket.destroy());
      case '/drop': return request.socket.destroy();
      case '/never': return;
      case '/slow': return setTimeout(() => response.end('slow'), Number(url.searchParams.get('ms') ?? 20));
      case '/slots': return work(Number(url.searchParams.get('ms') ?? 20), () => response.end('done'));
      case '/echo': return response.end(JSON.stringify({ method: request.method, headers: request.headers, body, url: request.url }));
      case '/login': return response.writeHead(200, { 'set-cookie': 'session=42; Path=/' }).end('in');
      case '/inside': counts.cookies = (counts.cookies ?? 0) + (request.headers.cookie === 'session=42' ? 1 : 0); return response.end('ok');
      case '/auth': return request.headers.authorization === 'Basic bWU6c2VjcmV0' ? response.end('ok') : response.writeHead(401, { 'content-length': 0 }).end();
      case '/gzip': return response.writeHead(200, { 'content-encoding': 'gzip', 'content-length': packed.length }).end(packed);
      case '/post': counts.posted = (counts.posted ?? 0) + body.length; return response.end('ok');
      default: return response.end('hello');
    }
  });
}

const options = cert ? { cert: readFileSync(cert), key: readFileSync(key) } : {};
const server = {
  http: () => createServer({ keepAliveTimeout: 60000 }, serve),
  https: () => createTls(options, serve),
  h2: () => createSecureServer(options, serve),
  h2c: () => createH2(serve),
}[kind]();
server.on('connection', (socket) => {
  counts.connections += 1;
  counts.open += 1;
  counts.most = Math.max(counts.most, counts.open);
  socket.on('close', () => { counts.open -= 1; });
});
server.listen(where.startsWith('/') ? where : Number(where), where.startsWith('/') ? undefined : '127.0.0.1', () => {
  console.log(JSON.stringify({ port: server.address().port ?? 0 }));
});
