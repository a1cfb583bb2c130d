// Supervisor and keeper have died together: the channel ends without a word. Node would end the worker for that; it
// serves on instead with the sockets that it has, until the next supervisor replaces it. That one cannot ask it to drain,
// so the stop signal means the same as long as the program does not listen to it itself. One that drains already goes on
// with that.

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

const orphaned = () => quietly(() => {
  const { worker } = require('cluster');
  if (worker.exitedAfterDisconnect || ownDisconnect || (!leaving && listening().length === 0)) return;
  // Node's own listener, which comes after this one, ends the process unless this is set.
  worker.exitedAfterDisconnect = true;
  for (const signal of ['SIGTERM', 'SIGINT']) {
    // A supervisor that does not know what the one before it did says it again.
    if (process.listenerCount(signal) === 0) process.on(signal, () => leave(1000, LONGEST, () => Reflect.apply(exit, process, [0])));
  }
});

// In another process than a worker of a cluster, the listener itself would keep it alive.
if (quietly(() => require('cluster').worker)) process.prependListener('disconnect', orphaned);
