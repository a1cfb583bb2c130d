// An exception that nobody catches and that would end the process: it is told to musher, which starts a replacement at
// once, and the worker takes nothing new, finishes what it has and ends as it would have.
//
// Node asks `process._fatalException`, under this name since 0.x and in all that we know, whether an exception is dealt with. A listener
// for `uncaughtException` would be seen by the program, and would have to be told from its own.

// So many are shown of what else is thrown until the end, and with so many it comes at once.
const SHOWN = 16;
const TOO_MANY = 1000;
const LONGEST_STACK = 16 * 1024;
const LARGEST_SOURCE = 1 << 20;

let failures = 0;

const isHandled = () =>
  process._exiting || process.hasUncaughtExceptionCaptureCallback() || process.listenerCount('uncaughtException') > 0;

const words = (error) =>
  quietly(() => require('util').inspect(error, { customInspect: false, depth: 5 })) ?? 'something that cannot be shown';

// The line that threw, as Node shows it.
const place = (error) => quietly(() => {
  const frame = String(error.stack).split('\n').find((line) => /^ +at /.test(line));
  const [, url, line, column] = /\(?((?:file:\/\/)?\/[^()]*?):(\d+):(\d+)\)?$/.exec(frame);
  const fs = require('fs');
  const file = url.startsWith('file:') ? require('url').fileURLToPath(url) : url;
  if (!fs.statSync(file).isFile() || fs.statSync(file).size > LARGEST_SOURCE) return '';
  const source = fs.readFileSync(file, 'utf8').split('\n')[line - 1];
  if (source.length > 1024) return '';
  const before = source.slice(0, column - 1);
  const at = /\bthrow\s+$/.test(before) ? before.lastIndexOf('throw') : before.length;
  return `${url}:${line}\n${source}\n${source.slice(0, at).replace(/[^\t]/g, ' ')}^\n\n`;
}) ?? '';

const show = (error, stack) => {
  if (failures > SHOWN) return;
  const more = failures === SHOWN ? '\n(More uncaught exceptions of this worker are not shown.)' : '';
  process._rawDebug('%s%s\n\nNode.js %s%s', place(error), stack, process.version, more);
};

// Of the request that is being handled right now, if that is known: no answer to it will come.
const closeThrowing = () => {
  const { socket } = require('async_hooks').executionAsyncResource() ?? {};
  if (typeof socket?.destroy === 'function' && socket._server) socket.destroy();
};

const fail = (error) => {
  failures += 1;
  const drains = Number.isFinite(onUncaught) && (draining || listening().length > 0);
  const stack = drains || failures === 1 ? words(error) : '';
  if (failures === 1) tell({ act: 'uncaught', stack: stack.slice(0, LONGEST_STACK), drains });
  if (!drains) return false;
  quietly(() => show(error, stack));
  quietly(closeThrowing);
  const die = () => Reflect.apply(exit, process, [1]);
  if (failures >= TOO_MANY) die();
  leave(Math.min(1000, onUncaught / 2), onUncaught, die);
  return true;
};

const fatalException = process._fatalException;
if (typeof fatalException === 'function') {
  process._fatalException = function (error, ...rest) {
    const goesOn = !quietly(isHandled) && quietly(() => fail(error));
    if (!goesOn) return Reflect.apply(fatalException, this, [error, ...rest]);
    // Node tidies up behind an exception only if somebody listens.
    const listener = () => {};
    process.on('uncaughtException', listener);
    try {
      return Reflect.apply(fatalException, this, [error, ...rest]);
    } finally {
      process.removeListener('uncaughtException', listener);
    }
  };
}
