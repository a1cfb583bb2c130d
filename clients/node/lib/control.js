'use strict';
// pm2's programmatic API: its names, its arguments, callbacks or promises. What each call means is decided by the
// executable; here are only its forms.

const fs = require('fs');
const os = require('os');
const path = require('path');

const { Bus } = require('./bus');
const { Connection } = require('./connection');
const { MusherError } = require('./error');
const { PRIMARY } = require('./link');

// As pm2 calls back: with an error or nothing first. What the callback throws is thrown, not a rejection.
const answered = (promise, callback) => {
  if (typeof callback !== 'function') return promise;
  promise.then(
    (value) => process.nextTick(callback, null, value),
    (error) => process.nextTick(callback, error),
  );
  return undefined;
};

const words = (target) => (target === undefined || target === null ? [] : [target].flat().map(String));

// What is said to workers of Node's own cluster is for them alone.
const ownEnvironment = () => {
  const { [PRIMARY]: _, ...env } = process.env;
  return env;
};

const isOptions = (value) => typeof value === 'object' && value !== null;

class Control {
  #options;
  #connection;
  #noDaemon;
  #bus;

  // `pm2_home` (or `musher_home`), `cwd`, `independent` (a home of its own), `daemon_mode: false` (as `connect(true)`)
  constructor(options = {}) {
    this.#options = { ...options };
    this.#noDaemon = options.daemon_mode === false;
    if (options.independent) {
      this.#options.musher_home = fs.mkdtempSync(path.join(os.tmpdir(), 'musher-'));
      this.#noDaemon = options.daemon_mode !== true;
    }
    for (const name of METHODS) this[name] = this[name].bind(this);
  }

  connect(noDaemon, callback) {
    if (typeof noDaemon === 'function') return this.connect(undefined, noDaemon);
    if (noDaemon !== undefined) this.#noDaemon = Boolean(noDaemon);
    return answered(this.#link().then(({ told }) => told), callback);
  }

  disconnect(callback) {
    const connection = this.#connection;
    this.#connection = undefined;
    this.#bus = undefined;
    const ended = connection ? connection.ready.then(({ opened }) => opened.end(), () => {}) : Promise.resolve();
    return answered(ended, callback);
  }

  start(target, options, callback) {
    return this.#begin('start', target, options, callback);
  }

  restart(target, options, callback) {
    return this.#begin('restart', target, options, callback);
  }

  reload(target, options, callback) {
    return this.#begin('reload', target, options, callback);
  }

  // pm2 has both words for it.
  gracefulReload(target, options, callback) {
    return this.#begin('reload', target, options, callback);
  }

  stop(target, callback) {
    return this.#call('stop', { process: words(target) }, callback);
  }

  delete(target, callback) {
    return this.#call('delete', { process: words(target) }, callback);
  }

  list(callback) {
    return this.#call('list', {}, callback);
  }

  describe(target, callback) {
    return this.#call('describe', { process: String(target) }, callback);
  }

  scale(target, number, callback) {
    return this.#call('scale', { process: String(target), number: String(number) }, callback);
  }

  reset(target, callback) {
    return this.#call('reset', { process: words(target) }, callback);
  }

  flush(target, callback) {
    if (typeof target === 'function') return this.flush(undefined, target);
    return this.#call('flush', { process: words(target).filter((word) => word !== 'all') }, callback);
  }

  reloadLogs(callback) {
    return this.#call('reloadLogs', {}, callback);
  }

  sendSignalToProcessName(signal, target, callback) {
    return this.#call('sendSignalToProcessName', { signal: String(signal), process: String(target) }, callback);
  }

  sendSignalToProcessId(signal, target, callback) {
    return this.#call('sendSignalToProcessId', { signal: String(signal), process: String(target) }, callback);
  }

  // (id, packet) or (packet with its id)
  sendDataToProcessId(id, packet, callback) {
    if (isOptions(id)) return this.sendDataToProcessId(id.id, id, packet);
    if (!isOptions(packet) || Array.isArray(packet)) {
      const error = new MusherError('USAGE', 'a packet is an object: { type, topic, data }');
      return answered(Promise.reject(error), callback);
    }
    return this.#call('sendDataToProcessId', { process: String(id), packet }, callback);
  }

  // (id, line[, separator]): pm2 takes a separator, which is for its terminal.
  sendLineToStdin(id, line, separator, callback) {
    if (typeof separator === 'function') return this.sendLineToStdin(id, line, undefined, separator);
    return this.#call('sendLineToStdin', { process: String(id), line: String(line) }, callback);
  }

  // (target, action[, parameter]): what the program registered by this name; gives the answers.
  trigger(target, action, param, callback) {
    if (typeof param === 'function') return this.trigger(target, action, undefined, param);
    const params = { process: String(target), action: String(action), param: param ?? null };
    return this.#call('trigger', params, callback);
  }

  launchBus(callback) {
    const opened = async () => {
      this.#bus ??= new Bus(this.disconnectBus);
      const bus = this.#bus;
      await this.#call('launchBus', {});
      return bus;
    };
    return answered(opened(), callback);
  }

  disconnectBus(callback) {
    this.#bus = undefined;
    return answered(this.#connection ? this.#call('closeBus', {}).then(() => {}) : Promise.resolve(), callback);
  }

  dump(force, callback) {
    if (typeof force === 'function') return this.dump(undefined, force);
    return this.#call('dump', {}, callback);
  }

  resurrect(callback) {
    return this.#call('resurrect', {}, callback);
  }

  getPID(target, callback) {
    if (typeof target === 'function') return this.getPID(undefined, target);
    return this.#call('getPID', { process: target === undefined ? null : String(target) }, callback);
  }

  getProcessIdByName(name, callback) {
    const ids = (list) => list.filter((process) => process.name === String(name)).map((process) => process.pm_id);
    return answered(this.list().then(ids), callback);
  }

  getVersion(callback) {
    return this.#call('getVersion', {}, callback);
  }

  // The variables of a worker, by id or name.
  env(target, callback) {
    return this.#call('env', { process: String(target) }, callback);
  }

  // Settings: `key`, or of an app `app:key`, which is a variable of it and restarts it.
  get(key, callback) {
    if (typeof key === 'function') return this.get(undefined, key);
    return this.#call('get', { key: key === undefined ? null : String(key) }, callback);
  }

  set(key, value, callback) {
    return this.#set([[String(key), String(value)]], callback);
  }

  // "key value key value"
  multiset(text, callback) {
    const words_ = String(text).split(/\s+/).filter(Boolean);
    if (words_.length === 0 || words_.length % 2) {
      const error = new MusherError('USAGE', 'multiset wants "key value key value"');
      return answered(Promise.reject(error), callback);
    }
    const pairs = words_.flatMap((word, n) => (n % 2 ? [] : [[word, words_[n + 1]]]));
    return this.#set(pairs, callback);
  }

  unset(key, callback) {
    return this.#call('unset', { key: String(key) }, callback);
  }

  // The list is kept on the disk whatever this says.
  autodump(callback) {
    return answered(Promise.resolve({ success: true }), callback);
  }

  killDaemon(callback) {
    const killed = async () => {
      const told = await this.#call('killDaemon', {});
      await this.disconnect();
      return told;
    };
    return answered(killed(), callback);
  }

  // Ends the daemon of a home of its own (`independent`), and removes that home.
  destroy(callback) {
    const destroyed = async () => {
      if (!this.#options.independent) {
        throw new MusherError('USAGE', 'only what was made with `independent` is destroyed', '`killDaemon` ends a daemon');
      }
      await this.killDaemon();
      fs.rmSync(this.#options.musher_home, { recursive: true, force: true });
    };
    return answered(destroyed(), callback);
  }

  // pm2 has both words for it.
  kill(callback) {
    return this.killDaemon(callback);
  }

  #begin(method, target, options, callback) {
    if (typeof options === 'function') return this.#begin(method, target, {}, options);
    if (Array.isArray(target) && target.length === 1) [target] = target;
    const process_ = isOptions(target) ? target : String(target);
    const cwd = this.#options.cwd ?? process.cwd();
    return this.#call(method, { process: process_, options: options ?? {}, cwd, env: ownEnvironment() }, callback);
  }

  #set(pairs, callback) {
    const cwd = this.#options.cwd ?? process.cwd();
    return this.#call('set', { pairs, cwd, env: ownEnvironment() }, callback);
  }

  #call(method, params, callback) {
    return answered(this.#link().then(({ opened }) => opened.call(method, params)), callback);
  }

  // The connection that there is, or a new one.
  #link() {
    if (!this.#connection) {
      const link = {};
      const hear = (event, data) => this.#connection === link && this.#bus?.hear(event, data);
      link.opened = new Connection(this.#environment(), hear, (error) => this.#over(link, error));
      link.ready = link.opened.call('connect', { noDaemon: this.#noDaemon }).then(
        (told) => Object.assign(link, { told }),
        (error) => {
          link.opened.end();
          if (this.#connection === link) this.#connection = undefined;
          throw error;
        },
      );
      this.#connection = link;
    }
    return this.#connection.ready;
  }

  #over(link, error) {
    if (this.#connection !== link) return;
    this.#connection = undefined;
    const bus = this.#bus;
    this.#bus = undefined;
    bus?.emit('close', error);
  }

  #environment() {
    const { musher_home: home, pm2_home: pm2Home } = this.#options;
    const env = ownEnvironment();
    if (home) env.MUSHER_HOME = path.resolve(home);
    else if (pm2Home) {
      delete env.MUSHER_HOME;
      env.PM2_HOME = path.resolve(pm2Home);
    }
    return env;
  }
}

// Each can be taken off its object: `util.promisify(musher.list)`.
const METHODS = Object.getOwnPropertyNames(Control.prototype).filter((name) => name !== 'constructor');

// What pm2 has besides, and what there is for it here.
const ABSENT = {
  attach: '`launchBus` has the output of workers, `sendLineToStdin` writes to them',
  install: 'musher has no modules',
  uninstall: 'musher has no modules',
  inspect: 'start the app with node_args: \'--inspect\'',
  profile: 'start the app with node_args: \'--inspect\'',
  startup: '`musher startup` of the command line',
  serve: 'start a server of files as an app',
};
for (const [name, hint] of Object.entries(ABSENT)) {
  Object.defineProperty(Control.prototype, name, {
    value(...args) {
      return answered(Promise.reject(new MusherError('USAGE', `${name} is not here`, hint)), args.at(-1));
    },
  });
}

module.exports = { Control };
