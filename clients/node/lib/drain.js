'use strict';
// What a worker finishes before it ends.
//
// In a worker of a cluster the script that musher loads into it begins the callbacks when the worker is told to take nothing
// new, and waits for them within `stop.drain`, before the worker ends. Everywhere else (a program by itself, alone or under
// musher) the stop signal is what tells it: the callbacks are waited for, and then the signal has the effect that it would have
// had; if the program listens to it as well, that is the program's affair. A worker of a cluster without the script is also told
// by its disconnection, which is the last that it hears before it has nothing more to do.

const { isWorker } = require('./link');

const SIGNALS = ['SIGTERM', 'SIGINT'];

const callbacks = new Set();
let ending;

const run = async (callback) => {
  try {
    await callback();
  } catch (error) {
    process.emitWarning(`what was to be done before the end failed: ${error?.stack ?? error}`, 'MusherWarning');
  }
};

const all = () => (ending ??= Promise.all([...callbacks].map(run)));

const signalled = async (signal) => {
  await all();
  process.off(signal, signalled);
  if (process.listenerCount(signal) === 0) process.kill(process.pid, signal);
};

const listens = () => {
  const { worker } = require('cluster');
  for (const signal of SIGNALS) process.on(signal, signalled);
  worker?.once('disconnect', all);
};

const listensNoMore = () => {
  const { worker } = require('cluster');
  for (const signal of SIGNALS) process.off(signal, signalled);
  worker?.off('disconnect', all);
};

// Calls back when the worker drains; what the callback promises is waited for. Gives what takes the callback away again.
const onDrain = (callback) => {
  if (typeof callback !== 'function') throw new TypeError('onDrain takes a function');
  const add = isWorker && require('cluster').isWorker ? process[Symbol.for('musher.finish')] : undefined;
  if (typeof add === 'function') return add(() => run(callback));
  if (ending) run(callback);
  if (callbacks.size === 0 && !ending) listens();
  callbacks.add(callback);
  return () => {
    if (callbacks.delete(callback) && callbacks.size === 0) listensNoMore();
  };
};

module.exports = { onDrain };
