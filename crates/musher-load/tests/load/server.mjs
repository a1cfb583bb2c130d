// A server that counts by itself what it was asked, and answers in many ways. It prints its port.
import { createServer } from 'node:http';
import { createServer as createTls } from 'node:https';
import { createSecureServer, createServer as createH2 } from 'node:http2';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
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

// RFC 6455: text of less than 126 bytes comes back in capitals; "quiet" is answered by a ping only, "bye" by a close.
function webSocket(request, socket) {
  counts.upgrades = (counts.upgrades ?? 0) + 1;
  const accept = createHash('sha1').update(`${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
  let rest = Buffer.alloc(0);
  socket.on('data', (data) => {
    rest = Buffer.concat([rest, data]);
    while (rest.length >= 6 && rest.length >= 6 + (rest[1] & 127)) {
      const length = rest[1] & 127;
      const mask = rest.subarray(2, 6);
      const text = Buffer.from(rest.subarray(6, 6 + length).map((byte, at) => byte ^ mask[at % 4])).toString();
      const kind = rest[0] & 15;
      rest = rest.subarray(6 + length);
      if (kind !== 1) continue;
      counts.messages = (counts.messages ?? 0) + 1;
      if (text === 'quiet') socket.write(Buffer.from([0x89, 0]));
      else if (text === 'bye') socket.end(Buffer.from([0x88, 2, 3, 0xe8]));
      else socket.write(Buffer.concat([Buffer.from([0x81, length]), Buffer.from(text.toUpperCase())]));
    }
  });
  socket.on('error', () => {});
}

// A proxy for both ways: absolute URLs, and tunnels. It asks for a login.
function proxied(request, response) {
  if (request.url === '/counts') return response.end(JSON.stringify(counts));
  if (request.headers['proxy-authorization'] !== 'Basic bWU6c2VjcmV0') {
    return response.writeHead(407, { 'content-length': 0 }).end();
  }
  counts.absolute = (counts.absolute ?? 0) + (request.url.startsWith('http://') ? 1 : 0);
  response.end('by proxy');
}

function tunnel(request, socket) {
  counts.tunnels = (counts.tunnels ?? 0) + 1;
  const [host, port] = request.url.split(':');
  const other = connect(Number(port), host, () => {
    socket.write('HTTP/1.1 200 OK\r\n\r\n');
    socket.pipe(other).pipe(socket);
  });
  for (const one of [socket, other]) one.on('error', () => { socket.destroy(); other.destroy(); });
}

const options = cert ? { cert: readFileSync(cert), key: readFileSync(key) } : {};
const server = {
  http: () => createServer({ keepAliveTimeout: 60000 }, serve),
  ws: () => createServer(serve).on('upgrade', webSocket),
  proxy: () => createServer(proxied).on('connect', tunnel),
  https: () => createTls(options, serve),
  mutual: () => createTls({ ...options, ca: options.cert, requestCert: true, rejectUnauthorized: true }, serve),
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
