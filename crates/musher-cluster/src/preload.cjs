// Loaded by musher into the Node workers it starts (NODE_OPTIONS=--require). Until the worker is told to drain, all it
// does is to remember the servers that listen. It says nothing, throws nothing and keeps nothing alive.
//
// On `{cmd: 'NODE_MUSHER', act: 'drain', grace}` it stops listening, answers what is in flight and what still comes on
// open connections with `Connection: close`, closes connections that are idle after `grace` milliseconds, and
// disconnects when no connection is left. Closing an idle connection at once would cut off a client that sends its next
// request in that moment.
'use strict';

(() => {
  const { env } = process;
  // Descendants inherit the environment, worker threads run preloads too: only the process that musher started is meant.
  if (!env.MUSHER_RUN || !process.connected || typeof process.send !== 'function') return;
  if (env.MUSHER_WORKER_PID && env.MUSHER_WORKER_PID !== String(process.pid)) return;
  if (!require('worker_threads').isMainThread) return;
  env.MUSHER_WORKER_PID = String(process.pid);

  const net = require('net');
  const { close, listen } = net.Server.prototype;
  const RETRY = 50;
  const MANY = 64;

  let servers = new Set();
  let draining = false;

  const forget = () => {
    const live = [...servers].filter((ref) => ref.deref()?.listening);
    servers = new Set(live);
  };

  const remember = (server) => {
    if (servers.size >= MANY) forget();
    servers.add(new WeakRef(server));
    // HTTP/2: the only way to its sessions.
    if (typeof server.updateSettings === 'function' && !sessions.has(server)) {
      const open = new Set();
      sessions.set(server, open);
      server.on('session', (session) => {
        open.add(session);
        session.once('close', () => open.delete(session));
        if (draining) endWithItsNextStream(session);
      });
    }
  };
  const sessions = new WeakMap();

  // The end of an HTTP/2 session is told (GOAWAY) together with the last stream that will be answered, and what comes
  // after that one is refused: Node has no word for "no more, please" alone. So it is told when a request has just come,
  // while its client waits for the answer and has sent no other, if it is one that sends one at a time.
  const endWithItsNextStream = (session) => session.prependOnceListener('stream', () => session.close());

  net.Server.prototype.listen = function (...args) {
    try {
      remember(this);
    } catch {}
    return Reflect.apply(listen, this, args);
  };
  Object.defineProperty(net.Server.prototype.listen, 'name', { value: 'listen' });

  const lastOnItsConnection = (response) => {
    if (response && !response.headersSent) response.shouldKeepAlive = false;
  };

  // The responses that are being made: Node's list of a server's connections, or else all sockets there are.
  const inFlight = (server) => {
    const symbol = Object.getOwnPropertySymbols(server).find((s) => s.description === 'http.server.connections');
    const all = symbol && typeof server[symbol]?.all === 'function' ? server[symbol].all() : undefined;
    const sockets = all ? all.map((parser) => parser.socket) : process._getActiveHandles?.() ?? [];
    return sockets.map((socket) => socket?._httpMessage).filter(Boolean);
  };

  const stopListening = (server, closed) => {
    if (typeof server.closeIdleConnections === 'function') {
      server.prependListener('request', (request, response) => lastOnItsConnection(response));
      inFlight(server).forEach(lastOnItsConnection);
    }
    // Not http.Server's own close, which closes idle connections at once.
    Reflect.apply(close, server, [closed]);
    for (const session of sessions.get(server) ?? []) endWithItsNextStream(session);
  };

  const leave = () => {
    const cluster = require('cluster');
    if (cluster.isWorker && cluster.worker?.isConnected()) cluster.worker.disconnect();
    else if (process.connected) process.disconnect();
  };

  const drain = (grace) => {
    if (draining) return;
    draining = true;
    const open = new Set([...servers].map((ref) => ref.deref()).filter((server) => server?.listening));
    for (const server of [...open]) {
      try {
        stopListening(server, () => open.delete(server));
      } catch {
        open.delete(server);
      }
    }
    const until = Date.now() + grace;
    // After the poll phase: a request that has arrived has been seen.
    const look = () => setImmediate(() => {
      if (Date.now() >= until) {
        for (const server of open) {
          try {
            server.closeIdleConnections?.();
            for (const session of sessions.get(server) ?? []) session.close();
          } catch {}
        }
      }
      if (open.size > 0) setTimeout(look, RETRY);
      else leave();
    });
    look();
  };

  process.on('internalMessage', (message) => {
    if (message?.cmd === 'NODE_MUSHER' && message.act === 'drain') {
      drain(Number.isFinite(message.grace) ? message.grace : 1000);
    }
  });
  process.send({ cmd: 'NODE_MUSHER', act: 'hello' }, undefined, { swallowErrors: true }, () => {});
})();
