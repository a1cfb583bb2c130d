// Every call of the package, compiled against its types; never run.
import musher = require('musher');

async function outside(): Promise<void> {
  const connected: musher.Connected = await musher.connect();
  musher.connect((error) => { if (error) throw error; });
  musher.connect(true, (_error, { pm2_home }) => pm2_home.length);
  const facts: [string, string, boolean] = [musher.cwd, musher.pm2_home, musher.daemon_mode];
  const list: musher.ProcessDescription[] = await musher.Client.executeRemote('getMonitorData');
  musher.Client.executeRemote('getMonitorData', (_error, all) => all.length);
  void [connected, facts, list];

  const [first] = await musher.start({ script: 'a.js', name: 'a', instances: 'max', env: { A: 1 } });
  const status: musher.Status = first.pm2_env.status;
  musher.start('a.js', (_error, apps) => apps[0].monit.cpu.toFixed(1));
  musher.start('eco.json', { only: ['a'] }, () => {});
  await musher.start({ apps: [{ script: 'a.js' }] });
  await musher.restart('a', { updateEnv: true, node_args: '--harmony' });
  musher.restart(0, (_error, [{ restart_time }]) => restart_time + 1);
  await musher.reload('all');
  await musher.gracefulReload('a');
  await musher.stop(['a', 0]);
  await musher.delete('a');
  await musher.list();
  musher.describe('a', (_error, [one]) => one.pid);
  await musher.scale('a', '+1');
  await musher.reset('a');
  await musher.flush();
  await musher.reloadLogs();
  const pids: number[] = await musher.getPID('a');
  const ids: number[] = await musher.getProcessIdByName('a');
  const version: string = await musher.getVersion();
  const pong: 'pong' = (await musher.ping()).msg;
  const report: string = await musher.report();
  await musher.update();
  void [status, pids, ids, version, pong, report];

  await musher.sendSignalToProcessName('SIGUSR2', 'a');
  await musher.sendSignalToProcessId(10, 0);
  // @ts-expect-error a signal has a target
  musher.sendSignalToProcessName('SIGINT');
  await musher.sendDataToProcessId(0, { type: 'process:msg', topic: 'a', data: {} });
  await musher.sendDataToProcessId({ id: 0, data: 1 });
  // @ts-expect-error a packet is an object
  await musher.sendDataToProcessId(0, 'text');
  await musher.sendLineToStdin(0, 'line', '\r\n');
  musher.sendLineToStdin(0, 'line', () => {});
  await musher.attach('a');
  musher.attach(0, '\n', () => {});
  const [answer] = await musher.trigger('a', 'gc', { deep: true });
  answer.data.return;

  const env: Record<string, unknown> = await musher.env(0);
  await musher.set('a:key', true);
  await musher.multiset('a:b 1');
  const value: unknown = await musher.get('a');
  await musher.unset('a:key');
  await musher.dump(true);
  await musher.clearDump();
  await musher.autodump();
  musher.resurrect((_error, back) => back.length);
  void [env, value];

  const bus: musher.Bus = await musher.launchBus();
  bus.on('process:event', ({ event, process }) => event === 'exit' && process.pm_id.toFixed());
  bus.on('log:out', ({ data, at }) => data.length + at);
  bus.on('own:*', (rest: string, data: { data: number }) => rest.length + data.data);
  bus.off('log:out').close();
  await musher.disconnectBus();

  await musher.serve('dist', 8080, { spa: true, name: 'site', basicAuthUsername: 'ann', basicAuthPassword: 'secret' });
  musher.serve('dist', 8080, (_error, all) => all.length);
  await musher.startup('systemd');
  await musher.uninstallStartup();
  const own: musher.Control = new musher.custom({ independent: true, cwd: '..' });
  await own.killDaemon();
  await own.destroy();
  await musher.kill();
  await musher.killDaemon();
  // @ts-expect-error only one of its own is destroyed by a number
  await musher.destroy(1);
  await musher.close();
  await musher.disconnect();
}

async function inside(): Promise<void> {
  const { state } = musher;
  await musher.state.set('a', { b: 1 });
  const visits: number = await state.update('visits', (n: number = 0) => n + 1);
  const end: () => void = await state.watch('a', (value, key) => [value, key.length]);
  end();
  const { workers, missed } = await musher.broadcast({ visits });
  const place: [boolean, string | undefined, number | undefined] = [musher.isWorker, musher.app, musher.slot];
  const takenBack: () => void = musher.onDrain(async () => {});
  takenBack();
  const hear = (message: any, from: musher.From): void => void [message, from.slot];
  musher.on('message', hear);
  musher.once('missed', (count) => count + workers + missed);
  musher.addListener('message', hear);
  musher.removeListener('message', hear);
  musher.off('message', hear);
  void place;
  const error = new musher.MusherError('FAILED', 'text', 'hint');
  throw error;
}

void [outside, inside];
