// The same module for `import`: a default export and its parts by name.
import musher from './index.js';

export default musher;
export const {
  MusherError, addListener, app, broadcast, connect, custom, describe, destroy, disconnect, disconnectBus, dump, flush,
  getPID, getProcessIdByName, getVersion, gracefulReload, isWorker, kill, killDaemon, launchBus, list, off, on, onDrain, once,
  reload, reloadLogs, removeListener, reset, restart, resurrect, scale, sendDataToProcessId, sendSignalToProcessId,
  sendSignalToProcessName, slot, start, state, stop,
} = musher;
const remove = musher.delete;
export { remove as delete };
