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

// The response that said last that it is the last one of its connection.
const lastOf = new WeakMap();

const lastOnItsConnection = ({ socket }, response) => {
  if (response.headersSent || !response.shouldKeepAlive) return;
  response.shouldKeepAlive = false;
  lastOf.set(socket, response);
};

// A client may send several requests without waiting (RFC 9112, 9.3.2): after the answer that is the last one nothing more
// is read of its connection, so it has to be that to the newest. The parser knows it.
const isNewest = (request) => (request.socket?.parser?.incoming ?? request) === request;

const requestCame = (server, emit, args) => {
  const [, request, response] = args;
  const before = lastOf.get(request.socket);
  if (before && !before.headersSent) before.shouldKeepAlive = true;
  // When all requests of the packet have been seen.
  const immediate = setImmediate(() => {
    quietly(() => isNewest(request) && lastOnItsConnection(request, response));
    Reflect.apply(emit, server, args);
  });
  // As with Node's own resource, it can be seen from here whose handler throws.
  immediate.socket = request.socket;
};

// Sockets that do something. Node has no public list of them.
const activeSockets = () => quietly(() => process._getActiveHandles().filter((handle) => handle?._server)) ?? [];

// How long the server lets its connections be idle.
const idleFor = (server) => {
  if (typeof server.closeIdleConnections !== 'function') return 0;
  return server.keepAliveTimeout > 0 ? server.keepAliveTimeout + BUFFER : LONGEST;
};

// Node's list of a server's connections, if it is there.
const connectionsOf = (server) => {
  const symbol = Object.getOwnPropertySymbols(server).find((s) => s.description === 'http.server.connections');
  return typeof server[symbol]?.all === 'function' ? server[symbol] : undefined;
};

// The responses that are being made: of a server's connections, or else of all sockets there are.
const inFlight = (server) => {
  const sockets = connectionsOf(server)?.all().map((parser) => parser.socket) ?? activeSockets();
  return sockets.map((socket) => socket?._httpMessage).filter(Boolean);
};

const REQUESTS = new Set(['request', 'checkContinue', 'checkExpectation']);

const answerForTheLastTime = (server) => {
  if (!isHttp(server) || lastOf.has(server)) return;
  lastOf.set(server, server);
  const { emit } = server;
  server.emit = function (...args) {
    // Those of HTTP/2 have no parser.
    if (!REQUESTS.has(args[0]) || !quietly(() => args[1].socket.parser)) return Reflect.apply(emit, this, args);
    requestCame(this, emit, args);
    return true;
  };
  for (const response of inFlight(server)) {
    if (isNewest(response.req)) lastOnItsConnection(response.req, response);
  }
};

// Not Node's own closeIdleConnections, if it can be helped: to that a connection is idle whose answer was made, but is still
// being sent to a client that reads slowly.
const closeIdleOf = (server) => {
  const connections = connectionsOf(server);
  if (typeof connections?.idle !== 'function') return void server.closeIdleConnections?.();
  for (const { socket } of connections.idle()) {
    const answering = socket._httpMessage && !socket._httpMessage.writableFinished;
    if (!answering && !socket.writableLength) socket.destroy();
  }
};

const stopListening = (server, closed) => {
  quietly(() => answerForTheLastTime(server));
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
    quietly(() => closeIdleOf(server));
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
