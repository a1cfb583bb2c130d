// On `{act: 'drain', grace, limit}` the worker stops listening, answers what is in flight and what still comes on open
// connections with `Connection: close`, tells WebSocket clients to go away, closes connections that are idle after
// `grace` milliseconds or the server's keepAliveTimeout, whichever is longer, and disconnects when no connection is left.
// Closing an idle connection earlier than Node would have closed it cuts off a client that sends its next request in that
// moment. What is left after `limit` milliseconds is cut, and counted.

const RETRY = 50;
const LONGEST = 0x7fffffff;
// Node closes an idle connection so much later than it announced (http.Server#keepAliveTimeoutBuffer).
const BUFFER = 1000;

// What is under way: the servers that are still open, and until when.
let leaving;
// What the program wants to finish before it ends (`onDrain` of the Node package): begun when the worker begins to leave, and
// waited for, but not beyond the limit.
const finishers = new Set();

const finish = (finisher) => {
  const { finishing } = leaving;
  finishing.add(finisher);
  const done = () => finishing.delete(finisher);
  Promise.resolve().then(finisher).then(done, done);
};

// Adds a finisher; what it gives takes it away again.
const addFinisher = (finisher) => {
  finishers.add(finisher);
  if (leaving) finish(finisher);
  return () => finishers.delete(finisher);
};
Object.defineProperty(process, Symbol.for('musher.finish'), { value: addFinisher, configurable: true });

const lastOnItsConnection = (response) => {
  if (response && !response.headersSent) response.shouldKeepAlive = false;
};

// Sockets that do something. Node has no public list of them.
const activeSockets = () => quietly(() => process._getActiveHandles().filter((handle) => handle?._server)) ?? [];

// How long the server lets its connections be idle.
const idleFor = (server) => {
  if (typeof server.closeIdleConnections !== 'function') return 0;
  return server.keepAliveTimeout > 0 ? server.keepAliveTimeout + BUFFER : LONGEST;
};

// The responses that are being made: Node's list of a server's connections, or else all sockets there are.
const inFlight = (server) => {
  const symbol = Object.getOwnPropertySymbols(server).find((s) => s.description === 'http.server.connections');
  const all = symbol && typeof server[symbol]?.all === 'function' ? server[symbol].all() : undefined;
  const sockets = all ? all.map((parser) => parser.socket) : activeSockets();
  return sockets.map((socket) => socket?._httpMessage).filter(Boolean);
};

const answerForTheLastTime = (server) => {
  if (!isHttp(server)) return;
  server.prependListener('request', (request, response) => lastOnItsConnection(response));
  inFlight(server).forEach(lastOnItsConnection);
};

const stopListening = (server, closed) => {
  answerForTheLastTime(server);
  // Not http.Server's own close, which closes idle connections at once.
  Reflect.apply(close, server, [closed]);
  for (const session of sessions.get(server) ?? []) endWithItsNextStream(session);
};

const disconnect = () => {
  const cluster = require('cluster');
  if (cluster.isWorker && cluster.worker?.isConnected()) cluster.worker.disconnect();
  else if (process.connected) process.disconnect();
};

const closeIdle = () => {
  for (const server of [...leaving.open, ...leaving.fed]) {
    quietly(() => server.closeIdleConnections?.());
    for (const session of sessions.get(server) ?? []) quietly(() => session.close());
  }
};

// Closes what is left. How many connections that are.
const cut = () => {
  const { open, fed } = leaving;
  const sockets = activeSockets().filter((socket) => open.has(socket._server));
  let count = 0;
  for (const server of open) {
    if (Number.isFinite(server._connections)) count += server._connections;
    for (const session of sessions.get(server) ?? []) quietly(() => session.destroy());
  }
  for (const server of [...open, ...fed]) quietly(() => server.closeAllConnections?.());
  for (const { socket } of [...tunnels]) quietly(() => socket.destroy());
  for (const socket of sockets) quietly(() => socket.destroy());
  return count;
};

// WebSocket clients come back at once, all of them to the same siblings: they are sent away one after the other.
const sendAwayTunnels = () => {
  const { tunnels, turns } = leaving;
  for (const tunnel of tunnels.splice(0, Math.ceil(tunnels.length / Math.max(1, turns)))) quietly(() => tunnel.leave());
  leaving.turns = turns - 1;
};

const end = () => {
  const { ending } = leaving;
  leaving.ended = true;
  quietly(ending);
};

const look = () => {
  if (leaving.ended) return;
  const now = Date.now();
  sendAwayTunnels();
  if (now >= leaving.graceUntil) closeIdle();
  if (leaving.open.size === 0 && leaving.finishing.size === 0) return end();
  if (now < leaving.limitUntil) return void setTimeout(lookAfterPolling, RETRY);
  const count = quietly(cut) ?? 0;
  if (count === 0) return end();
  tell({ act: 'cut', count }, end);
  // Should nobody read the channel.
  setTimeout(end, RETRY);
};

// After the poll phase: a request that has arrived has been seen.
const lookAfterPolling = () => setImmediate(() => quietly(look));

// Leaves: what was begun is finished within `limit`, then comes `ending`. Called again it can only become shorter.
const leave = (grace, limit, ending) => {
  const now = Date.now();
  const limitUntil = now + Math.min(limit, LONGEST);
  if (leaving) {
    leaving.limitUntil = Math.min(leaving.limitUntil, limitUntil);
    leaving.graceUntil = Math.min(leaving.graceUntil, Math.max(now + grace, leaving.limitUntil - 2 * RETRY));
    leaving.ending = ending;
    // What was left may have gone before.
    if (leaving.ended) end();
    return;
  }
  draining = true;
  tunnelsLeave = true;
  const open = new Set(listening());
  // HTTP servers that do not listen themselves, but are given connections by one that does.
  const fed = new Set(activeSockets().map((socket) => socket.server).filter((server) => isHttp(server) && !open.has(server)));
  const turns = Math.ceil(grace / RETRY);
  const idle = Math.max(grace, ...[...open, ...fed].map(idleFor));
  // What is idle when the limit comes is not cut off: it is closed just before.
  const graceUntil = Math.min(now + idle, Math.max(now + grace, limitUntil - 2 * RETRY));
  leaving = { open, fed, graceUntil, limitUntil, ending, tunnels: [...tunnels], turns, ended: false, finishing: new Set() };
  for (const finisher of finishers) finish(finisher);
  for (const server of [...open]) {
    try {
      stopListening(server, () => open.delete(server));
    } catch {
      open.delete(server);
    }
  }
  for (const server of fed) quietly(() => answerForTheLastTime(server));
  lookAfterPolling();
};
