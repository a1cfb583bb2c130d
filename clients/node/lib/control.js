'use strict';
// pm2's programmatic API: its names, its arguments, callbacks or promises. What each call means is decided by the
// executable; here are only its forms.

const fs = require('fs');
const os = require('os');
const path = require('path');

const { attach } = require('./attach');
const { Bus } = require('./bus');
const { Connection, run } = require('./connection');
const { MusherError } = require('./error');
const { PRIMARY } = require('./link');

// pm2 gives nothing back: its scripts call without a callback and do not look. What fails then is told, and ends nothing.
class Answer extends Promise {
  #looked = false;

  static get [Symbol.species]() {
    return Promise;
  }

  static of(promise) {
    const answer = new Answer((resolve, reject) => promise.then(resolve, reject));
    super.prototype.then.call(answer, undefined, (error) => {
      if (!answer.#looked) process.emitWarning(error.message, 'MusherWarning');
    });
    return answer;
  }

  then(...heard) {
    this.#looked = true;
    return super.then(...heard);
  }
}

// As pm2 calls back: with an error or nothing first. What the callback throws is thrown, not a rejection.
const answered = (promise, callback) => {
  if (typeof callback !== 'function') return Answer.of(promise);
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

const absent = (name, hint) => new MusherError('USAGE', `${name} is not here`, hint);

const SERVE_FLAGS = { spa: '--spa', ftp: '--ftp', name: '--name', host: '--host', instances: '--instances' };
// A command line can be read by everybody on the machine: these are variables. pm2 has had both spellings.
const SERVE_VARIABLES = {
  basicAuthUsername: 'SERVE_USERNAME',
  basic_auth_username: 'SERVE_USERNAME',
  basicAuthPassword: 'SERVE_PASSWORD',
  basic_auth_password: 'SERVE_PASSWORD',
};

// The flags and variables of `serve` that options stand for. One that is not known might have been meant to keep people out.
const served = (options) => {
  const asked = Object.entries(options).filter(([, value]) => value !== undefined && value !== null && value !== false);
  const flags = [];
  const env = {};
  for (const [key, value] of asked) {
    if (Object.hasOwn(SERVE_VARIABLES, key)) env[SERVE_VARIABLES[key]] = String(value);
    else if (Object.hasOwn(SERVE_FLAGS, key)) flags.push(SERVE_FLAGS[key], ...(value === true ? [] : [String(value)]));
    else {
      const known = [...Object.keys(SERVE_FLAGS), 'basicAuthUsername', 'basicAuthPassword'];
      throw new MusherError('USAGE', `serve has no option ${key}`, `there are ${known.join(', ')}`);
    }
  }
  return { flags, env };
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
    if (options.cwd !== undefined) this.#options.cwd = path.resolve(options.cwd);
    this.#noDaemon = options.daemon_mode === false;
    if (options.independent) {
      this.#options.musher_home = fs.mkdtempSync(path.join(os.tmpdir(), 'musher-'));
      this.#noDaemon = options.daemon_mode !== true;
    }
    for (const name of METHODS) this[name] = this[name].bind(this);
  }

  // What paths are relative to.
  get cwd() {
    return this.#options.cwd ?? process.cwd();
  }

  // Where the daemon keeps its files.
  get pm2_home() {
    const { MUSHER_HOME: own, PM2_HOME: pm2 } = this.#environment();
    if (own) return path.resolve(own);
    return pm2 ? path.resolve(pm2, 'musher') : path.join(os.homedir(), '.musher');
  }

  // Whether the daemon goes on without this program.
  get daemon_mode() {
    return !this.#noDaemon;
  }

  // What programs use of pm2's inside: the list, and these two facts.
  get Client() {
    const { daemon_mode, pm2_home } = this;
    const inside = { getMonitorData: this.list, getVersion: this.getVersion, ping: this.ping };
    const executeRemote = (method, params, callback) => {
      const call = Object.hasOwn(inside, method) ? inside[method]() : Promise.reject(absent(method, 'the calls of this package do what it did'));
      return answered(call, typeof params === 'function' ? params : callback);
    };
    return { daemon_mode, pm2_home, executeRemote };
  }

  connect(noDaemon, callback) {
    if (typeof noDaemon === 'function') return this.connect(undefined, noDaemon);
    if (noDaemon !== undefined) this.#noDaemon = Boolean(noDaemon);
    return answered(this.#link().then(({ told }) => told), callback);
  }

  // pm2 has both words for it.
  close(callback) {
    return this.disconnect(callback);
  }

  disconnect(callback) {
    const connection = this.#connection;
    this.#connection = undefined;
    this.#bus?.end();
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
    return this.#call('stop', { process: words(target), ...this.#here() }, callback);
  }

  delete(target, callback) {
    return this.#call('delete', { process: words(target), ...this.#here() }, callback);
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

  // (id, line[, separator]): what ends the line, a newline if it is not given.
  sendLineToStdin(id, line, separator, callback) {
    if (typeof separator === 'function') return this.sendLineToStdin(id, line, undefined, separator);
    const params = { process: String(id), line: String(line), separator: separator ?? null };
    return this.#call('sendLineToStdin', params, callback);
  }

  // (id[, separator]): lines of this program's standard input go to a worker, and what it writes comes here, until that input or
  // the daemon ends.
  attach(id, separator, callback) {
    if (typeof separator === 'function') return this.attach(id, undefined, separator);
    return answered(attach(this, id, separator), callback);
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
    this.#bus?.end();
    this.#bus = undefined;
    return answered(this.#connection ? this.#call('closeBus', {}).then(() => {}) : Promise.resolve(), callback);
  }

  dump(force, callback) {
    if (typeof force === 'function') return this.dump(undefined, force);
    return this.#call('dump', { force: force === true }, callback);
  }

  clearDump(callback) {
    return answered(this.#run(['cleardump']).then(() => ({ success: true })), callback);
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

  // The daemon runs afterwards.
  ping(callback) {
    return answered(this.getVersion().then(() => ({ msg: 'pong' })), callback);
  }

  // Lets the daemon become the executable that is installed now; workers go on.
  update(callback) {
    return answered(this.#run(['update']).then(() => ({ success: true })), callback);
  }

  // What a report of a fault wants to tell, as text.
  report(callback) {
    return answered(this.#run(['report']), callback);
  }

  // (path[, port[, options]]): serves files, as an app. pm2 takes something of its command line besides.
  serve(folder, port, options, commander, callback) {
    const last = [folder, port, options, commander, callback].find((one) => typeof one === 'function');
    const given = (value) => (typeof value === 'function' ? undefined : value);
    const started = async () => {
      const { flags, env } = served(given(options) ?? {});
      await this.#run(['serve', given(folder) ?? '.', String(given(port) ?? 8080), ...flags], env);
      return this.list();
    };
    return answered(started(), last);
  }

  // Brings the daemon back after a reboot, by systemd; gives what was said about it. The platform is pm2's.
  startup(platform, options, callback) {
    const last = [platform, options, callback].find((one) => typeof one === 'function');
    return answered(this.#run(['startup']), last);
  }

  uninstallStartup(platform, options, callback) {
    const last = [platform, options, callback].find((one) => typeof one === 'function');
    return answered(this.#run(['unstartup']), last);
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
    return this.#call(method, { process: process_, options: options ?? {}, ...this.#here() }, callback);
  }

  #set(pairs, callback) {
    return this.#call('set', { pairs, ...this.#here() }, callback);
  }

  #here() {
    return { cwd: this.cwd, env: ownEnvironment() };
  }

  // A command of the executable called as pm2; what it printed. One that finds no daemon starts one that stays.
  async #run(words_, env) {
    if (this.#noDaemon) await this.#link();
    return run({ ...this.#environment(), ...env }, ['pm2', ...words_], this.cwd);
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
    bus?.end(error);
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
const METHODS = Object.entries(Object.getOwnPropertyDescriptors(Control.prototype))
  .filter(([name, { value }]) => name !== 'constructor' && typeof value === 'function')
  .map(([name]) => name);

// What pm2 has besides, and what there is for it here.
const ABSENT = {
  install: 'musher has no modules',
  uninstall: 'musher has no modules',
  inspect: '`musher pm2 inspect NAME` opens the inspector of its workers',
  profile: '`musher pm2 inspect NAME` opens the inspector of its workers, which can profile',
};
for (const [name, hint] of Object.entries(ABSENT)) {
  Object.defineProperty(Control.prototype, name, {
    value(...args) {
      return answered(Promise.reject(absent(name, hint)), args.at(-1));
    },
  });
}

module.exports = { Control };
