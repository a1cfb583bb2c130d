// Supervisor and keeper have died together: the channel ends without a word. Node would end the worker for that; it
// serves on instead with the sockets that it has, also with those that it was given for this moment only, until the next
// supervisor replaces it. That one cannot ask it to drain, so the stop signal means the same as long as the program does
// not listen to it itself. One that drains already goes on with that. The primary of a team in a Rust program has no
// successor: its workers finish what they have, and end.

// Only the daemon numbers slots so.
const outlives = env.MUSHER_SLOT !== undefined;

// Node itself calls `process.disconnect` when the channel has ended: only its stack tells that from the program's wish.
const BY_NODE = /onread \(node:internal\/child_process/;
let ownDisconnect = false;
const disconnectOf = process.disconnect;
if (typeof disconnectOf === 'function') {
  process.disconnect = function (...args) {
    ownDisconnect = !BY_NODE.test(new Error().stack ?? '');
    return Reflect.apply(disconnectOf, this, args);
  };
}

// The listening sockets of servers that are handed their connections (`balance = "round-robin"`), by address. Nothing is
// accepted from them as long as musher lives.
const entrusted = new Map();

const entrust = ({ at, backlog }, handle) => {
  if (typeof handle?.listen !== 'function') return;
  quietly(() => entrusted.get(at)?.handle.close());
  entrusted.set(at, { handle, backlog });
};

// Nobody hands out connections any more: whoever can accepts them.
const acceptAlone = () => {
  for (const server of listening()) {
    const address = server.address();
    const at = typeof address === 'string' ? address : `${address?.address} ${address?.port}`;
    // Node's stand-in for a socket, which says whose it is.
    const standIn = server._handle;
    const { handle, backlog } = entrusted.get(at) ?? {};
    if (!handle || typeof standIn?.onconnection !== 'function' || typeof standIn.fd === 'number') continue;
    entrusted.delete(at);
    const closeStandIn = standIn.close;
    standIn.close = function (...args) {
      quietly(() => handle.close());
      return Reflect.apply(closeStandIn, this, args);
    };
    handle.onconnection = (status, client) => standIn.onconnection(status, client);
    handle.listen(number(backlog, 511));
  }
};

const orphaned = () => quietly(() => {
  const { worker } = require('cluster');
  if (worker.exitedAfterDisconnect || ownDisconnect || (!leaving && listening().length === 0)) return;
  // Node's own listener, which comes after this one, ends the process unless this is set.
  worker.exitedAfterDisconnect = true;
  const leaveAndEnd = () => leave(1000, LONGEST, () => Reflect.apply(exit, process, [0]));
  if (!outlives) return void leaveAndEnd();
  quietly(acceptAlone);
  for (const signal of ['SIGTERM', 'SIGINT']) {
    // A supervisor that does not know what the one before it did says it again.
    if (process.listenerCount(signal) === 0) process.on(signal, leaveAndEnd);
  }
});

// A word that was on its way when the other end died. The end of the channel is told by itself; Node passes the error of
// `process` on to `cluster.worker`, and without a listener there it would be an exception that nobody caught, and the worker
// would end for it. Whoever else listens there decides alone.
const unheard = function (error) {
  const isOfChannel = error?.syscall === 'write' && (error.code === 'EPIPE' || error.code === 'ECONNRESET');
  if (!isOfChannel && this.listenerCount('error') === 1) throw error;
};

// In another process than a worker of a cluster, the listener itself would keep it alive.
const ownWorker = quietly(() => require('cluster').worker);
if (ownWorker) {
  process.prependListener('disconnect', orphaned);
  ownWorker.on('error', unheard);
}
