// The servers that listen.

const net = require('net');
const { close, listen } = net.Server.prototype;
const MANY = 64;

let servers = new Set();
let draining = false;
// The open sessions of HTTP/2 servers.
const sessions = new WeakMap();
const known = new WeakSet();

const isHttp = (server) => typeof server?.closeIdleConnections === 'function';

const listening = () => [...servers].map((ref) => ref.deref()).filter((server) => server?.listening);

const remember = (server) => {
  if (servers.size >= MANY) servers = new Set([...servers].filter((ref) => ref.deref()?.listening));
  servers.add(new WeakRef(server));
  if (known.has(server)) return;
  known.add(server);
  if (isHttp(server)) watchUpgrades(server);
  // HTTP/2: the only way to its sessions.
  if (typeof server.updateSettings === 'function') {
    const open = new Set();
    sessions.set(server, open);
    server.on('session', (session) => {
      open.add(session);
      session.once('close', () => open.delete(session));
      if (draining) endWithItsNextStream(session);
    });
  }
};

// The end of an HTTP/2 session is told (GOAWAY) together with the last stream that will be answered, and what comes
// after that one is refused: Node has no word for "no more, please" alone. So it is told when a request has just come,
// while its client waits for the answer and has sent no other, if it is one that sends one at a time.
const endWithItsNextStream = (session) => session.prependOnceListener('stream', () => session.close());

net.Server.prototype.listen = function (...args) {
  quietly(() => remember(this));
  return Reflect.apply(listen, this, args);
};
Object.defineProperty(net.Server.prototype.listen, 'name', { value: 'listen' });
