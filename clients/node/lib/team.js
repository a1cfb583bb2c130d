'use strict';
// What the workers of an app share, for those who have no musher around them: a program that runs alone, and the primary of
// Node's own cluster, which keeps it for its workers. The same rules as in musher's supervisor, where it is kept otherwise.

const MAX_KEY = 256;
const MAX_VALUE = 64 << 10;
const MAX_KEYS = 1024;
const MAX_SHARED = 256 << 10;

const size = (text) => Buffer.byteLength(text);

class Team {
  #entries = new Map();
  #revision = 0;
  // By member: how to tell it something, and whether it watches.
  #members = new Map();

  join(member, tell) {
    this.#members.set(member, { tell, watches: false });
  }

  leave(member) {
    this.#members.delete(member);
  }

  // The answer to what a member asks.
  answer(member, from, ask) {
    switch (ask.op) {
      case 'get': {
        const entry = this.#entries.get(ask.key);
        return { ok: true, value: entry ? JSON.parse(entry.text) : null, version: entry?.version ?? 0 };
      }
      case 'all':
        return this.#all();
      case 'set':
      case 'delete':
        return this.#put(ask);
      case 'watch':
        this.#members.get(member).watches = ask.on;
        return this.#all();
      case 'broadcast':
        for (const { tell } of this.#members.values()) tell({ act: 'told', from, message: ask.message });
        return { ok: true, workers: this.#members.size, missed: 0 };
      default:
        return { ok: false, code: 'USAGE', message: `nobody knows ${ask.op}` };
    }
  }

  #all() {
    const entry = ([key, { text, version }]) => [key, { value: JSON.parse(text), version }];
    return { ok: true, entries: Object.fromEntries([...this.#entries].map(entry)), revision: this.#revision };
  }

  #put({ op, key, value, if: onlyIf }) {
    const before = this.#entries.get(key);
    if (onlyIf !== undefined && onlyIf !== (before?.version ?? 0)) {
      return { ok: false, code: 'CONFLICT', message: 'somebody else changed it meanwhile' };
    }
    const gone = op === 'delete';
    if (gone && !before) return { ok: true, version: 0 };
    const text = gone ? '' : JSON.stringify(value);
    const refusal = gone ? undefined : this.#refusal(key, text);
    if (refusal) return { ok: false, code: 'TOO_LARGE', message: refusal };
    this.#revision += 1;
    const revision = this.#revision;
    if (gone) this.#entries.delete(key);
    else this.#entries.set(key, { text, version: revision });
    for (const { tell, watches } of this.#members.values()) {
      if (watches) tell({ act: 'changed', key, value: gone ? null : JSON.parse(text), gone, revision });
    }
    return { ok: true, version: revision };
  }

  #refusal(key, text) {
    if (size(key) < 1 || size(key) > MAX_KEY) return `a key has 1 to ${MAX_KEY} bytes`;
    if (size(text) > MAX_VALUE) return `a value has at most ${MAX_VALUE} bytes as JSON`;
    if (this.#entries.size >= MAX_KEYS && !this.#entries.has(key)) return `an app has at most ${MAX_KEYS} keys`;
    let all = size(key) + size(text);
    for (const [other, entry] of this.#entries) if (other !== key) all += size(other) + size(entry.text);
    return all > MAX_SHARED ? `all keys and values of an app have at most ${MAX_SHARED} bytes` : undefined;
  }
}

module.exports = { Team };
