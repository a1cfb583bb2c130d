// TLS on a team: node tls.cjs <port> <key and certificate file> serves; with "client" in front it makes 20 connections
// with the session of the first one and prints which workers answered and how many sessions were resumed.
'use strict';
const fs = require('node:fs');
const tls = require('node:tls');

async function once(port, session) {
  return new Promise((done, failed) => {
    const result = {};
    const options = { port, host: '127.0.0.1', rejectUnauthorized: false, session, maxVersion: 'TLSv1.2' };
    const socket = tls.connect(options, () => {
      result.reused = socket.isSessionReused();
      result.session = socket.getSession();
    });
    let text = '';
    socket.on('data', (data) => (text += data));
    socket.on('end', () => done({ ...result, pid: Number(text) }));
    socket.on('error', failed);
  });
}

async function client(port) {
  const first = await once(port);
  const pids = new Set([first.pid]);
  let reused = 0;
  for (let n = 0; n < 20; n++) {
    const next = await once(port, first.session);
    pids.add(next.pid);
    reused += next.reused ? 1 : 0;
  }
  console.log(JSON.stringify({ workers: pids.size, reused }));
}

if (process.argv[2] === 'client') {
  client(Number(process.argv[3]));
} else {
  const pem = fs.readFileSync(process.argv[3]);
  tls.createServer({ key: pem, cert: pem }, (socket) => socket.end(String(process.pid))).listen(Number(process.argv[2]));
}
