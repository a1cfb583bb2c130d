'use strict';
// A process `musher pm2-api` and the calls that wait for its answers: lines of JSON both ways. All that has to be known of
// the control API, of process files and of pm2's shapes is there.

const { execFile, spawn } = require('child_process');
const { StringDecoder } = require('string_decoder');

const { MusherError } = require('./error');

// A list of very many apps with all their variables.
const LONGEST_LINE = 256 << 20;
const LAST_WORDS = 4096;
// More than a command prints.
const PRINTED = 16 << 20;

const programOf = (env) => env.MUSHER_BIN || 'musher';

const cannotStart = (program, error) => (error.code === 'ENOENT'
  ? new MusherError('NO_EXECUTABLE', `the executable ${program} is not there`, 'install musher, or say where it is: MUSHER_BIN')
  : new MusherError('ENVIRONMENT', `${program} cannot be started: ${error.message}`));

// A command by itself, to its end; what it printed.
const run = (env, words, cwd) => new Promise((resolve, reject) => {
  const program = programOf(env);
  execFile(program, words, { env, cwd, maxBuffer: PRINTED }, (error, out, said) => {
    if (!error) resolve(out);
    // A number is what it ended with; it may have been ended as well, by somebody or for all that it printed.
    else if (typeof error.code === 'number' || error.signal || error.code === 'ERR_CHILD_PROCESS_STDIO_MAXBUFFER') {
      reject(new MusherError('FAILED', said.trim() || `${words.join(' ')} has failed: ${error.message}`));
    }
    else reject(cannotStart(program, error));
  });
});

class Connection {
  #child;
  #waiting = new Map();
  #last = 0;
  #decoder = new StringDecoder('utf8');
  #pieces = [];
  #size = 0;
  #lastWords = '';
  #hear;
  #ended;

  // `hear(event, data)` is called with what happens, `over(error)` once at the end: without an error if it was wanted.
  constructor(env, hear, over) {
    this.#hear = hear;
    const program = programOf(env);
    this.#child = spawn(program, ['pm2-api'], { env, cwd: '/', stdio: 'pipe' });
    this.#child.stdout.on('data', (bytes) => this.#read(bytes));
    this.#child.stderr.setEncoding('utf8');
    this.#child.stderr.on('data', (text) => {
      this.#lastWords = (this.#lastWords + text).slice(-LAST_WORDS);
    });
    // That it is gone is told by its end.
    this.#child.stdin.on('error', () => {});
    let fault;
    this.#child.on('error', (error) => {
      fault = cannotStart(program, error);
    });
    this.gone = new Promise((resolve) => {
      this.#child.on('close', () => {
        const said = this.#lastWords.trim();
        fault ??= new MusherError('UNREACHABLE', `${program} has ended${said ? `: ${said}` : ''}`, 'musher.log in the home may tell why');
        this.#fail(fault);
        over(this.#ended ? undefined : fault);
        resolve();
      });
    });
  }

  call(method, params) {
    return new Promise((resolve, reject) => {
      this.#last += 1;
      this.#waiting.set(this.#last, { resolve, reject });
      this.#child.stdin.write(`${JSON.stringify({ id: this.#last, method, params })}\n`);
    });
  }

  // What was called is answered; nothing more can be.
  end() {
    this.#ended = true;
    this.#child.stdin.end();
    return this.gone;
  }

  #read(bytes) {
    const text = this.#decoder.write(bytes);
    const lines = text.split('\n');
    const rest = lines.pop();
    for (const line of lines) {
      this.#pieces.push(line);
      const whole = this.#pieces.join('');
      this.#pieces = [];
      this.#size = 0;
      this.#line(whole);
    }
    this.#pieces.push(rest);
    this.#size += rest.length;
    if (this.#size > LONGEST_LINE) {
      this.#child.kill();
      this.#pieces = [];
    }
  }

  #line(line) {
    let said;
    try {
      said = JSON.parse(line);
    } catch {
      return;
    }
    if (said.event !== undefined) {
      this.#hear(said.event, said.data);
      return;
    }
    const waiting = this.#waiting.get(said.id);
    this.#waiting.delete(said.id);
    if (said.error) {
      const { code, message, hint } = said.error;
      waiting?.reject(new MusherError(code, message, hint));
    } else {
      for (const note of said.notes ?? []) process.emitWarning(note, 'MusherWarning');
      waiting?.resolve(said.result);
    }
  }

  #fail(error) {
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }
}

module.exports = { Connection, run };
