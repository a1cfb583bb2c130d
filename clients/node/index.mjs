// The same module for `import`: a default export and its parts by name.
import musher from './index.js';

export default musher;
export const {
  connect, disconnect, start, restart, reload, gracefulReload, stop, list, describe, scale, reset, flush, reloadLogs,
  sendSignalToProcessName, sendSignalToProcessId, sendDataToProcessId, launchBus, disconnectBus, dump, resurrect, getPID,
  getProcessIdByName, getVersion, killDaemon, kill, custom, MusherError, 
} = musher;
