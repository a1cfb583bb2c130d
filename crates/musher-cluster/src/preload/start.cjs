// Loaded by musher into the Node workers it starts (NODE_OPTIONS=--require). Until something happens, all it does is to
// remember the servers that listen. It keeps nothing alive, and nothing it does may throw.
//
// The files of this folder are one script, in the order of `PRELOAD` in lib.rs, so that a worker reads one file:
// `start` (is this process meant?), `websocket`, `servers`, `drain`, `alone`, `uncaught`, `pulse`, `orphan`, `messages`.
'use strict';

const { env } = process;
// Descendants inherit the environment, worker threads run preloads too: only the process that musher started is meant.
// Threads have no channel.
if (!env.MUSHER_RUN || !process.connected || typeof process.send !== 'function') return;
if (env.MUSHER_WORKER_PID && env.MUSHER_WORKER_PID !== String(process.pid)) return;
env.MUSHER_WORKER_PID = String(process.pid);

// Milliseconds that the worker may go on after an uncaught exception; none: it ends at once.
const onUncaught = env.MUSHER_ON_UNCAUGHT ? Number(env.MUSHER_ON_UNCAUGHT) : Number.NaN;
delete env.MUSHER_ON_UNCAUGHT;

// As they are before the program changes them.
const { send, exit } = process;

// Says something to musher; `done` is called when it is on its way, or cannot be.
const tell = (message, done = () => {}) => {
  try {
    if (!process.connected) return void done();
    Reflect.apply(send, process, [{ cmd: 'NODE_MUSHER', ...message }, undefined, { swallowErrors: true }, done]);
  } catch {
    done();
  }
};

const quietly = (act) => {
  try {
    return act();
  } catch {
    return undefined;
  }
};
