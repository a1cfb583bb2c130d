// What every Node program of the team does: it answers, it writes numbered lines, and it obeys orders.
//
// Lines: `line <token> <n> <milliseconds since 1970>`, twenty a second. After each the number is noted in COUNTERS/<token>, so that after its
// death it is known how many lines there must be. Orders: a file ORDERS/<pid>, read on SIGUSR2.
'use strict';
const { randomUUID } = require('node:crypto');
const fs = require('node:fs');
const path = require('node:path');

const version = fs.readFileSync('version', 'utf8').trim();
if (version === 'throw' || process.env.BUILD === 'throw') throw new Error('this build is broken on purpose');

if (process.env.BUILD === 'late') {
  setTimeout(() => {
    throw new Error('this build is broken on purpose: it begins well');
  }, 1500).unref();
}

const text = (id) => `id=${id} pid=${process.pid} version=${version}\n`;

function answer(request, response) {
  const { pathname, searchParams } = new URL(request.url, 'http://localhost');
  const id = searchParams.get('id');
  if (pathname !== '/stream') {
    response.setHeader('Content-Type', 'text/plain');
    return response.end(text(id));
  }
  let left = Number(searchParams.get('chunks'));
  const timer = setInterval(() => {
    if (left-- > 0) return response.write(`part ${left}\n`);
    clearInterval(timer);
    response.end('end\n');
  }, Number(searchParams.get('every')));
  response.write(text(id));
}

const token = randomUUID();
let lines = 0;

function write(count) {
  for (let n = 0; n < count; n++) {
    try {
      fs.writeSync(1, `line ${token} ${lines} ${Date.now()}\n`);
    } catch (error) {
      // A full pipe that does not block: this line is not written, and the next one has its number.
      if (error.code !== 'EAGAIN') throw error;
      return;
    }
    lines++;
    fs.writeSync(counter, `${lines}\n`, 0);
  }
}

const leaked = [];
const orders = {
  block(ms) {
    const end = Date.now() + ms;
    while (Date.now() < end);
  },
  flood: (count) => write(count),
  leak(megabytes) {
    const until = leaked.length + megabytes / 20;
    const timer = setInterval(() => {
      leaked.push(Buffer.alloc(20 << 20, 1));
      if (leaked.length >= until) clearInterval(timer);
    }, 50);
  },
  throw() {
    throw new Error('thrown on purpose');
  },
};

process.on('SIGUSR2', () => {
  const [what, number] = fs.readFileSync(path.join(process.env.ORDERS, String(process.pid)), 'utf8').split(' ');
  orders[what](Number(number));
});

// Its existence says that orders are obeyed.
const counter = fs.openSync(path.join(process.env.COUNTERS, `${token}.${process.pid}`), 'w');
setInterval(() => write(1), 50).unref();

module.exports = { answer, text, version };
