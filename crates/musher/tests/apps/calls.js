// Gives the same calls to whatever MODULE is, and prints what a program can tell of the answers: the same of pm2 and musher.
const pm2 = require(process.env.MODULE);
const { promisify } = require('util');

const script = process.env.SCRIPT;
const told = [];
const type = (value) => (Array.isArray(value) ? 'array' : value === null ? 'null' : typeof value);

// What programs read of a worker.
const worker = (one) => ({
  name: one.name ?? one.pm2_env.name,
  id: one.pm2_env.pm_id,
  status: one.pm2_env.status,
  restarts: one.pm2_env.restart_time,
  namespace: one.pm2_env.namespace,
  env: type(one.pm2_env.env),
});
const record = (one) => ({
  ...worker(one),
  top: [type(one.pid), one.pm_id, type(one.monit.memory), type(one.monit.cpu)],
  mode: one.pm2_env.exec_mode,
  slot: one.pm2_env.NODE_APP_INSTANCE,
  up: [type(one.pm2_env.pm_uptime), type(one.pm2_env.created_at)],
  script: one.pm2_env.pm_exec_path === script,
  logs: [type(one.pm2_env.pm_out_log_path), type(one.pm2_env.pm_err_log_path)],
  variable: [one.pm2_env.COLOUR, one.pm2_env.env.COLOUR],
});
const byId = (shape) => (list) => list.map(shape).sort((a, b) => a.id - b.id);
const workers = byId(worker);
const records = byId(record);
const as = (shape) => shape;
const ids = (list) => list.map((one) => one.pm2_env.pm_id).sort();

const call = async (name, shape, ...args) => {
  try {
    told.push([name, shape(await promisify(pm2[name].bind(pm2))(...args))]);
  } catch (error) {
    told.push([name, 'error', error instanceof Error && error.message.length > 0]);
  }
};

const heard = [];
const until = async (count, isMeant) => {
  while (heard.filter(isMeant).length < count) {
    await new Promise((resolve) => { wake = resolve; });
  }
};
const named = (name) => ([event]) => event === name;
const isEvent = (word) => ([name, data]) => name === 'process:event' && data.event === word;
const events = (word) => heard.filter(isEvent(word));
let wake = () => {};

const main = async () => {
  await promisify(pm2.connect.bind(pm2))();
  const bus = await promisify(pm2.launchBus.bind(pm2))();
  bus.on('*', (event, data) => {
    heard.push([event, data]);
    wake();
  });
  const started = (list) => list.map((one) => [one.pm2_env.name, one.pm2_env.status]).sort();
  await call('start', started, script, { name: 'one', env: { COLOUR: 'blue' } });
  await call('start', started, { script, name: 'two', instances: 2, exec_mode: 'cluster', namespace: 'back' });
  await call('start', started, [{ script, name: 'three' }, { script, name: 'four', autorestart: false }]);
  await call('start', as, 'missing.js');
  await call('start', as, script, { name: 'one' });
  await until(5, named('log:out'));
  await until(5, named('log:err'));
  await call('list', records);
  await call('describe', records, 'two');
  await call('describe', records, 3);
  await call('describe', records, 'nobody');
  await call('sendDataToProcessId', as, 0, { type: 'process:msg', topic: 'a topic', data: { n: 1 } });
  await call('sendDataToProcessId', as, { id: 1, type: 'process:msg', topic: 'a topic', data: { n: 2 } });
  await call('sendDataToProcessId', as, 99, { type: 'process:msg', topic: 'a topic', data: {} });
  await until(2, ([, data]) => data.raw?.neither);
  await call('sendSignalToProcessId', ids, 'SIGWINCH', 2);
  await call('sendSignalToProcessName', ids, 'SIGWINCH', 'one');
  await until(2, named('signal:heard'));
  await call('sendSignalToProcessName', ids, 'SIGWINCH', 'nobody');
  await call('restart', workers, 'two');
  await call('restart', workers, 0);
  await call('restart', workers, 'nobody');
  await call('reload', (list) => list.map((one) => one.name), 'two');
  await call('scale', as, 'two', 3);
  await call('scale', as, 'two', 3);
  await call('getPID', (pids) => pids.map(type), 'two');
  await call('reset', as, 'two');
  await call('flush', ids, 'two');
  await call('reloadLogs', as);
  // PM2 counts a worker that came by scaling as restarted once.
  const states = (list) => workers(list).map(({ restarts, ...rest }) => rest);
  await call('stop', states, 'back');
  await call('stop', workers, 'nobody');
  await call('list', states);
  await until(3, isEvent('stop'));
  await call('dump', as);
  await call('getVersion', type);
  await call('delete', workers, 'one');
  await call('delete', (list) => list.length, 'all');
  await call('list', as);

  const rank = ({ process, raw }) => 2 * process.pm_id + (raw ? 1 : 0);
  // Of the bus: what of each kind was said, whatever the order of streams.
  const shape = ([, data]) => [Object.keys(data).sort(), Object.keys(data.process).filter((key) => key !== 'rev').sort(), type(data.at)];
  const of = (name) => heard.filter(([event]) => event === name);
  told.push(['bus', {
    // PM2 tells of a worker that came by scaling as started by hand.
    online: new Set(events('online').map(([, data]) => data.process.pm_id)).size,
    started: [...new Set(events('start').map(([, data]) => `${data.process.name} ${data.manually}`))].sort(),
    restarted: events('restart').map(([, data]) => [data.process.pm_id, data.manually]).sort(),
    stopped: events('stop').map(([, data]) => data.process.name),
    exits: new Set(events('exit').map(([, data]) => data.process.name)).size > 1,
    out: of('log:out').slice(0, 1).map((one) => [...shape(one), one[1].data]),
    err: of('log:err').slice(0, 1).map((one) => [...shape(one), one[1].data]),
    messages: of('process:msg').filter(([, data]) => data.raw !== 'ready').sort(([, a], [, b]) => rank(a) - rank(b)).map((one) => [shape(one)[0], one[1].data ?? one[1].raw, one[1].process.pm_id, one[1].process.name]),
    own: of('own:kind').slice(0, 2).map((one) => [...shape(one), one[1].data]),
    signals: of('signal:heard').map(([, data]) => data.data).sort((a, b) => a.slot - b.slot),
  }]);
  console.log(JSON.stringify(told));
  await promisify(pm2.killDaemon.bind(pm2))();
  pm2.disconnect();
  process.exit(0);
};

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
