'use strict';
// The terminal of a program, or whatever its standard input and output are, as that of a worker.

const { createInterface } = require('readline');

const { MusherError } = require('./error');

// What is answered to the last lines is waited for, until nothing has come for so long; of a worker that always writes, only so long.
const QUIET = 300;
const LONGEST = 5000;

// Ends with the standard input or with the daemon; what the worker wrote until then was shown.
const attach = async (control, id, separator) => {
  const [worker, another] = await control.describe(id);
  if (!worker) throw new MusherError('NO_SUCH_APP', `there is no worker ${id}`, '`list` tells the ids: pm_id');
  if (another) throw new MusherError('USAGE', `${id} has several workers: which one?`, 'give its id: pm_id');
  const bus = await control.launchBus();
  // An input that has ended does not tell it once more.
  if (!process.stdin.readable) return;
  const lines = createInterface({ input: process.stdin });
  let isOver = false;
  let quiet;
  let longest;
  const shown = (stream) => ({ process: { pm_id }, data }) => {
    if (pm_id !== worker.pm_id) return;
    stream.write(data);
    quiet?.refresh();
  };
  const heard = { 'log:out': shown(process.stdout), 'log:err': shown(process.stderr) };
  const over = new Promise((resolve) => {
    heard['pm2:kill'] = () => resolve();
    bus.ended.then(resolve);
  });
  over.then(() => {
    isOver = true;
    lines.close();
  });
  for (const [event, listener] of Object.entries(heard)) bus.on(event, listener);
  try {
    for await (const line of lines) {
      // To send it would start a daemon anew.
      if (isOver) break;
      await control.sendLineToStdin(worker.pm_id, line, separator);
    }
    const passed = new Promise((resolve) => {
      quiet = setTimeout(resolve, QUIET);
      longest = setTimeout(resolve, LONGEST);
    });
    const fault = await Promise.race([over, passed]);
    if (fault) throw fault;
  } finally {
    clearTimeout(quiet);
    clearTimeout(longest);
    for (const [event, listener] of Object.entries(heard)) bus.off(event, listener);
  }
};

module.exports = { attach };
