'use strict';
// How a process reaches what its team shares: over the channel to musher's supervisor, over that of Node's own cluster to a
// primary that has this module loaded, or in the process itself.

const { MusherError } = require('./error');
const { Team } = require('./team');

const CMD = 'NODE_MUSHER';
// The primary of Node's own cluster that answers: its pid.
const PRIMARY = 'MUSHER_TEAM_PRIMARY';
const PATIENCE = 10_000;

const { env } = process;
const pid = String(process.pid);

// The process that musher started, not one that it started in turn, which inherits the environment; nor a thread.
const isWorker = (() => {
  const talks = Boolean(env.MUSHER_RUN) && process.connected === true && typeof process.send === 'function';
  const is = talks && (env.MUSHER_WORKER_PID ?? pid) === pid;
  if (is) env.MUSHER_WORKER_PID = pid;
  return is;
})();

const send = typeof process.send === 'function' ? process.send.bind(process) : undefined;

// Over a channel: questions have numbers, answers tell which they are for.
class Channel {
  #last = 0;
  #waiting = new Map();

  constructor(hear) {
    process.on('internalMessage', (message) => {
      if (message?.cmd !== CMD) return;
      if (message.act === 'answer') this.#answer(message);
      else if (['told', 'changed', 'missed'].includes(message.act)) hear(message);
    });
  }

  ask(ask) {
    return new Promise((resolve, reject) => {
      const seq = (this.#last += 1);
      const text = 'the supervisor has not answered in time: whether it was done is not known';
      // It also keeps the process alive as long as somebody waits for the answer.
      const timer = setTimeout(() => {
        this.#waiting.delete(seq);
        reject(new MusherError('TIMEOUT', text));
      }, PATIENCE);
      this.#waiting.set(seq, { resolve, timer });
      const failed = (error) => {
        if (!error || !this.#waiting.delete(seq)) return;
        clearTimeout(timer);
        reject(new MusherError('UNREACHABLE', `the channel of this worker is closed: ${error.message}`));
      };
      try {
        send({ ...ask, cmd: CMD, act: 'team', seq }, undefined, { swallowErrors: true }, failed);
      } catch (error) {
        failed(error);
      }
    });
  }

  #answer({ ack, ...answer }) {
    const waiting = this.#waiting.get(ack);
    this.#waiting.delete(ack);
    clearTimeout(waiting?.timer);
    waiting?.resolve(answer);
  }
}

// In this process.
class Alone {
  #team;

  constructor(team, hear) {
    this.#team = team;
    team.join(this, (message) => setImmediate(hear, message));
  }

  async ask(ask) {
    // What goes over a channel is a copy, here as well.
    return this.#team.answer(this, { slot: 0 }, JSON.parse(JSON.stringify(ask)));
  }
}

// The primary of Node's own cluster keeps what its workers share, itself among them.
const servePrimary = (team) => {
  const cluster = require('cluster');
  if (!cluster.isPrimary || isWorker) return;
  env[PRIMARY] = pid;
  const serve = (worker) => {
    const tell = (message) => worker.isConnected() && worker.process.send({ cmd: CMD, ...message }, () => {});
    team.join(worker.id, tell);
    worker.process.on('internalMessage', (message) => {
      if (message?.cmd !== CMD || message.act !== 'team') return;
      tell({ act: 'answer', ack: message.seq, ...team.answer(worker.id, { slot: worker.id }, message) });
    });
    worker.once('exit', () => team.leave(worker.id));
  };
  cluster.on('fork', serve);
};

const hasPrimary = () => env[PRIMARY] === String(process.ppid) && require('cluster').isWorker && process.connected;

const makeLink = (() => {
  // Before any worker is forked.
  const inProcess = isWorker || hasPrimary() ? undefined : new Team();
  if (inProcess) servePrimary(inProcess);
  return (hear) => (inProcess ? new Alone(inProcess, hear) : new Channel(hear));
})();

module.exports = { isWorker, makeLink, PRIMARY };
