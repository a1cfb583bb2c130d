// node plain.cjs <port>: Node's own http, with WebSockets (RFC 6455) done by hand: each message is answered.
'use strict';
const { createHash } = require('node:crypto');
const http = require('node:http');
const { answer, text, version } = require('./answer.cjs');

const server = http.createServer(answer);

server.on('upgrade', (request, socket, head) => {
  const key = createHash('sha1').update(`${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`);
  socket.write(
    'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
      `Sec-WebSocket-Accept: ${key.digest('base64')}\r\n\r\n`,
  );
  let buffer = head;
  socket.on('error', () => socket.destroy());
  socket.on('data', (data) => {
    buffer = Buffer.concat([buffer, data]);
    // The clients of chaos send short frames, masked with zeros.
    while (buffer.length >= 6 && buffer.length >= 6 + (buffer[1] & 0x7f)) {
      const kind = buffer[0] & 0x0f;
      const payload = buffer.subarray(6, 6 + (buffer[1] & 0x7f));
      buffer = buffer.subarray(6 + payload.length);
      if (kind === 8) return socket.end(Buffer.concat([Buffer.from([0x88, payload.length]), payload]));
      if (kind !== 1) continue;
      const body = Buffer.from(text(payload.toString()));
      socket.write(Buffer.concat([Buffer.from([0x81, body.length]), body]));
    }
  });
});

if (version === 'silent') setInterval(() => {}, 1000);
else server.listen(Number(process.argv[2]), '127.0.0.1');
