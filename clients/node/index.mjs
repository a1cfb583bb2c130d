// The same module for `import`: a default export and its parts by name.
import musher from './index.js';

export default musher;
export const {
  MusherError, addListener, app, attach, autodump, broadcast, clearDump, close, connect, custom, describe, destroy,
  disconnect, disconnectBus, dump, env, flush, get, getPID, getProcessIdByName, getVersion, gracefulReload, isWorker,
  kill, killDaemon, launchBus, list, multiset, off, on, onDrain, once, ping, reload, reloadLogs, removeListener,
  report, reset, restart, resurrect, scale, sendDataToProcessId, sendLineToStdin, sendSignalToProcessId,
  sendSignalToProcessName, serve, set, slot, start, startup, state, stop, trigger, uninstallStartup, unset, update,
} = musher;
const remove = musher.delete;
export { remove as delete };
