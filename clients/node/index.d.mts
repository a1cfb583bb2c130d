// As index.d.ts, for `import`.
import musher from './index.js';

export default musher;
export type {
  Bus, BusProcess, Callback, Connected, Control, ControlOptions, From, LogEvent, Lost, MessageEvent, Packet, ProcessDescription,
  ProcessEnvironment, ProcessEvent, ProcessFile, ProcessSummary, RestartOptions, StartOptions, State, Status, Target, Worker,
} from './index.js';
export declare const MusherError: typeof musher.MusherError;
export type MusherError = musher.MusherError;
export declare const addListener: typeof musher.addListener;
export declare const app: typeof musher.app;
export declare const autodump: typeof musher.autodump;
export declare const broadcast: typeof musher.broadcast;
export declare const connect: typeof musher.connect;
export declare const custom: typeof musher.custom;
export declare const describe: typeof musher.describe;
export declare const destroy: typeof musher.destroy;
export declare const disconnect: typeof musher.disconnect;
export declare const disconnectBus: typeof musher.disconnectBus;
export declare const dump: typeof musher.dump;
export declare const env: typeof musher.env;
export declare const flush: typeof musher.flush;
export declare const get: typeof musher.get;
export declare const getPID: typeof musher.getPID;
export declare const getProcessIdByName: typeof musher.getProcessIdByName;
export declare const getVersion: typeof musher.getVersion;
export declare const gracefulReload: typeof musher.gracefulReload;
export declare const isWorker: typeof musher.isWorker;
export declare const kill: typeof musher.kill;
export declare const killDaemon: typeof musher.killDaemon;
export declare const launchBus: typeof musher.launchBus;
export declare const list: typeof musher.list;
export declare const multiset: typeof musher.multiset;
export declare const off: typeof musher.off;
export declare const on: typeof musher.on;
export declare const onDrain: typeof musher.onDrain;
export declare const once: typeof musher.once;
export declare const reload: typeof musher.reload;
export declare const reloadLogs: typeof musher.reloadLogs;
export declare const removeListener: typeof musher.removeListener;
export declare const reset: typeof musher.reset;
export declare const restart: typeof musher.restart;
export declare const resurrect: typeof musher.resurrect;
export declare const scale: typeof musher.scale;
export declare const sendDataToProcessId: typeof musher.sendDataToProcessId;
export declare const sendLineToStdin: typeof musher.sendLineToStdin;
export declare const sendSignalToProcessId: typeof musher.sendSignalToProcessId;
export declare const sendSignalToProcessName: typeof musher.sendSignalToProcessName;
export declare const set: typeof musher.set;
export declare const slot: typeof musher.slot;
export declare const start: typeof musher.start;
export declare const state: typeof musher.state;
export declare const stop: typeof musher.stop;
export declare const trigger: typeof musher.trigger;
export declare const unset: typeof musher.unset;
declare const remove: typeof musher.delete;
export { remove as delete };
