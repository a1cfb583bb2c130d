// A plain Node http server. It knows nothing of musher: `node server.js` runs it as well.
'use strict';
const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');

const port = Number(process.env.PORT || 8080);
const big = 'x'.repeat(1 << 20);

const server = http.createServer((request, response) => {
  const url = new URL(request.url, 'http://localhost');
  const id = url.searchParams.get('id') || 'none';
  const who = `id=${id} pid=${process.pid} slot=${process.env.NODE_APP_INSTANCE || 'none'}\n`;
  if (url.pathname === '/') response.end(who);
  else if (url.pathname === '/slow') setTimeout(() => response.end(who), Number(url.searchParams.get('ms') || 1000));
  else if (url.pathname === '/big') response.end(who + big);
  else response.writeHead(404).end('not found\n');
});

// For the demonstration: which connections this process got, so that a lost request is explained.
if (process.env.JOURNAL) {
  const journal = path.join(process.env.JOURNAL, String(process.pid));
  server.on('connection', (socket) => fs.appendFileSync(journal, `${socket.remotePort}\n`));
}

server.listen(port, () => console.log(`worker ${process.pid} listens on ${port}`));
