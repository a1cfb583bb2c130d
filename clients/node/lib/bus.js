'use strict';
// What happens, as pm2's bus tells it: `bus.on('log:out', …)`, and patterns: `bus.on('process:*', (rest, data) => …)`,
// `bus.on('*', (event, data) => …)`.

const { EventEmitter } = require('events');

class Bus extends EventEmitter {
  #patterns = [];
  #close;

  constructor(close) {
    super();
    // For `attach`: its end, with an error if nobody wanted it. `close` is told only of those.
    this.ended = new Promise((resolve) => {
      this.end = resolve;
    });
    this.#close = close;
  }

  on(event, listener) {
    if (typeof event !== 'string' || !event.includes('*')) return super.on(event, listener);
    const escaped = event.split('*').map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
    this.#patterns.push({ event, listener, matches: new RegExp(`^${escaped.join('(.+)')}$`, 's') });
    return this;
  }

  // Without a listener, as with pm2: nobody hears of it any more.
  off(event, listener) {
    if (listener === undefined) {
      this.#patterns = this.#patterns.filter((pattern) => pattern.event !== event);
      return this.removeAllListeners(event);
    }
    const at = this.#patterns.findIndex((pattern) => pattern.event === event && pattern.listener === listener);
    if (at < 0) return super.off(event, listener);
    this.#patterns.splice(at, 1);
    return this;
  }

  addListener(event, listener) {
    return this.on(event, listener);
  }

  removeListener(event, listener) {
    return this.off(event, listener);
  }

  hear(event, data) {
    for (const { listener, matches } of [...this.#patterns]) {
      const found = matches.exec(event);
      if (found) listener.call(this, ...found.slice(1), data);
    }
    // An app may call its messages what it likes; without a listener this one would be thrown.
    if (event !== 'error' || this.listenerCount('error') > 0) this.emit(event, data);
  }

  // Nothing more is heard.
  close() {
    this.#close();
  }
}

module.exports = { Bus };
