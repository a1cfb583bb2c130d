// The same module for `import`: a default export and its parts by name.
import musher from './index.js';

export default musher;
export const {
  MusherError, addListener, app, autodump, broadcast, connect, custom, describe, destroy, disconnect, disconnectBus, dump, env,
  flush, get, getPID, getProcessIdByName, getVersion, gracefulReload, isWorker, kill, killDaemon, launchBus, list, multiset, off,
  on, onDrain, once, reload, reloadLogs, removeListener, reset, restart, resurrect, scale, sendDataToProcessId, sendLineToStdin,
  sendSignalToProcessId, sendSignalToProcessName, set, slot, start, state, stop, trigger,
  unset,
} = musher;
const remove = musher.delete;
export { remove as delete };
