'use strict';
// The terminal of a program, or whatever its standard input and output are, as that of a worker.

const { createInterface } = require('readline');

const { MusherError } = require('./error');

// Ends with the standard input; what the worker wrote until then was shown.
const attach = async (control, id, separator) => {
  const [worker, another] = await control.describe(id);
  if (!worker) throw new MusherError('NO_SUCH_APP', `there is no worker ${id}`, '`list` tells the ids: pm_id');
  if (another) throw new MusherError('USAGE', `${id} has several workers: which one?`, 'give its id: pm_id');
  const bus = await control.launchBus();
  const shown = (stream) => ({ process: { pm_id }, data }) => pm_id === worker.pm_id && stream.write(data);
  const streams = { 'log:out': shown(process.stdout), 'log:err': shown(process.stderr) };
  for (const [event, show] of Object.entries(streams)) bus.on(event, show);
  try {
    for await (const line of createInterface({ input: process.stdin })) {
      await control.sendLineToStdin(worker.pm_id, line, separator);
    }
  } finally {
    for (const [event, show] of Object.entries(streams)) bus.off(event, show);
  }
};

module.exports = { attach };
