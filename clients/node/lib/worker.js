'use strict';
// For the program that musher runs. The same calls work in a program that runs alone, and in workers of Node's own cluster
// whose primary has loaded this module.

const { EventEmitter } = require('events');

const { onDrain } = require('./drain');
const { MusherError } = require('./error');
const { isWorker, makeLink } = require('./link');

// So often somebody else may come first with a value that is being updated.
const ATTEMPTS = 1000;
// What a channel takes, less what is put around it.
const LARGEST_MESSAGE = (1 << 20) - 1024;

const events = new EventEmitter();
const watchers = new Set();
// What those who watch were told last: revision, and the value of each key.
let seen;
let watching;

let link;
const ask = async (question) => {
  link ??= makeLink(hear);
  const answer = await link.ask(question);
  if (!answer.ok) throw new MusherError(answer.code, answer.message);
  return answer;
};

// Changes of one process go one after the other: the supervisor remembers the last one of each, so that none is done twice.
let last = Promise.resolve();
const inTurn = (act) => {
  const done = last.then(act);
  last = done.catch(() => {});
  return done;
};

const hear = (message) => {
  if (message.act === 'told') events.emit('message', message.message, message.from);
  if (message.act === 'changed') changed(message);
  if (message.act === 'missed') {
    events.emit('missed', message.count);
    if (seen) catchUp();
  }
};

const tellChange = (key, value) => {
  for (const watcher of [...watchers]) if (watcher.key === undefined || watcher.key === key) watcher.listener(value, key);
};

const changed = ({ key, value, gone, revision }) => {
  // One that the first look has shown already, or that was told twice.
  if (!seen || revision <= seen.revision) return;
  if (revision !== seen.revision + 1) return void catchUp();
  seen.revision = revision;
  if (gone) seen.values.delete(key);
  else seen.values.set(key, JSON.stringify(value));
  tellChange(key, gone ? undefined : value);
};

// Something was missed: what is different now is told.
const catchUp = () => ask({ op: 'all' }).then(({ entries, revision }) => {
  if (!seen || revision < seen.revision) return;
  const before = seen.values;
  seen = { revision, values: valuesOf(entries) };
  for (const key of new Set([...before.keys(), ...seen.values.keys()])) {
    if (before.get(key) !== seen.values.get(key)) tellChange(key, entries[key]?.value);
  }
}, () => {});

// The answer comes before the first change that is told.
const beginToWatch = async () => {
  try {
    const { entries, revision } = await ask({ op: 'watch', on: true });
    seen = { revision, values: valuesOf(entries) };
  } catch (error) {
    watching = undefined;
    throw error;
  }
};

const valuesOf = (entries) => new Map(Object.entries(entries).map(([key, { value }]) => [key, JSON.stringify(value)]));

const checked = (value) => {
  if (value === undefined || JSON.stringify(value) === undefined) {
    throw new TypeError('a value is what JSON can say: no undefined, function or symbol');
  }
  return value;
};

const text = (key) => {
  if (typeof key !== 'string') throw new TypeError('a key is a string');
  return key;
};

const state = {
  // The value of a key; undefined if there is none.
  async get(key) {
    const { value, version } = await ask({ op: 'get', key: text(key) });
    return version === 0 ? undefined : value;
  },

  // All keys with their values.
  async entries() {
    const { entries } = await ask({ op: 'all' });
    return Object.fromEntries(Object.entries(entries).map(([key, { value }]) => [key, value]));
  },

  async set(key, value) {
    const question = { op: 'set', key: text(key), value: checked(value) };
    await inTurn(() => ask(question));
  },

  async delete(key) {
    const question = { op: 'delete', key: text(key) };
    await inTurn(() => ask(question));
  },

  // Puts `change(value)` in the place of a value, and gives it. When another worker changes the value meanwhile, `change`
  // is called again with the new one; undefined deletes the key.
  update(key, change) {
    return inTurn(async () => {
      text(key);
      for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
        const { value, version } = await ask({ op: 'get', key });
        const next = await change(version === 0 ? undefined : value);
        const put = next === undefined ? { op: 'delete', key } : { op: 'set', key, value: checked(next) };
        try {
          await ask({ ...put, if: version });
          return next;
        } catch (error) {
          if (error.code !== 'CONFLICT') throw error;
        }
      }
      throw new MusherError('CONFLICT', `${key} was changed by others ${ATTEMPTS} times while it was updated`);
    });
  },

  // Calls `listener(value, key)` after every change of a key, or of any: `watch(listener)`. Gives what ends it, when the
  // watch has begun: no change after that is missed.
  async watch(key, listener) {
    if (typeof key === 'function') return state.watch(undefined, key);
    const watcher = { key: key === undefined ? undefined : text(key), listener };
    watchers.add(watcher);
    try {
      await (watching ??= beginToWatch());
    } catch (error) {
      watchers.delete(watcher);
      throw error;
    }
    return () => {
      if (!watchers.delete(watcher) || watchers.size > 0) return;
      watching = undefined;
      seen = undefined;
      ask({ op: 'watch', on: false }).catch(() => {});
    };
  },
};

// To every worker of the app, this one included, all in the same order. Gives how many that are, and how many of them do not
// read their messages and missed it.
const broadcast = async (message) => {
  link ??= makeLink(hear);
  if (Buffer.byteLength(JSON.stringify(checked(message))) > LARGEST_MESSAGE) {
    throw new MusherError('TOO_LARGE', `a message has at most ${LARGEST_MESSAGE} bytes as JSON`);
  }
  const { workers, missed } = await ask({ op: 'broadcast', message });
  return { workers, missed };
};

const number = (name) => (isWorker ? Number(process.env[name]) : undefined);

// Listening for messages of the team begins with the first listener: before, there is nothing in the process but this module.
const listen = (method) =>
  function (event, listener) {
    if (event === 'message') link ??= makeLink(hear);
    events[method](event, listener);
    return this ?? face;
  };

const face = {
  isWorker,
  app: isWorker ? process.env.MUSHER_APP : undefined,
  slot: number('MUSHER_SLOT'),
  onDrain,
  broadcast,
  state,
  on: listen('on'),
  addListener: listen('on'),
  once: listen('once'),
  off: listen('off'),
  removeListener: listen('off'),
};

module.exports = { face };
