// What every Node test app answers.
'use strict';
const cluster = require('node:cluster');
const fs = require('node:fs');

let version = 'none';
try {
  version = fs.readFileSync('version', 'utf8').trim();
} catch {}

function text(id, more = '') {
  const worker = cluster.isWorker ? cluster.worker.id : 'none';
  return `id=${id} pid=${process.pid} version=${version} worker=${worker} slot=${process.env.NODE_APP_INSTANCE}${more}\n`;
}

function block(ms) {
  const end = Date.now() + ms;
  while (Date.now() < end);
}

function answer(request, response) {
  const { pathname, searchParams } = new URL(request.url, 'http://localhost');
  const id = searchParams.get('id');
  const finish = (body) => {
    response.setHeader('Content-Type', 'text/plain');
    response.end(body);
  };
  const number = (name, fallback) => Number(searchParams.get(name) ?? fallback);
  switch (pathname) {
    case '/stream': {
      let left = number('chunks', 10);
      const timer = setInterval(() => {
        if (left-- > 0) return response.write(`part ${left}\n`);
        clearInterval(timer);
        response.end('end\n');
      }, number('every', 100));
      return response.write(text(id));
    }
    case '/big':
      // At once: what the client does not read is in this process.
      return finish('x'.repeat(number('bytes', 1000)));
    case '/idle':
      request.socket.server.keepAliveTimeout = number('ms', 500);
      return finish(text(id));
    case '/upload': {
      let [bytes, sum] = [0, 0];
      request.on('data', (data) => {
        bytes += data.length;
        for (const byte of data) sum += byte;
      });
      return request.on('end', () => finish(`bytes=${bytes} sum=${sum}\n`));
    }
    case '/wait':
      return setTimeout(() => finish(text(id)), number('ms', 100));
    case '/block':
      finish(text(id));
      return setTimeout(() => block(number('ms', 1000)), 5);
    case '/sleep':
      // The whole process stands still, and uses no CPU.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, number('ms', 1000));
      return finish(text(id));
    case '/disconnect':
      finish(text(id));
      return setTimeout(() => cluster.worker.disconnect(), 5);
    case '/kill':
      finish(text(id));
      return setTimeout(() => cluster.worker.kill(), 5);
    case '/exit':
      finish(text(id));
      return setTimeout(() => process.exit(number('code', 1)), 5);
    case '/log':
      for (let n = 0; n < number('lines', 1); n++) console.log(`line ${n}`);
      return finish(text(id));
    case '/about':
      return finish(JSON.stringify({
        isWorker: cluster.isWorker,
        isPrimary: cluster.isPrimary,
        workerId: cluster.worker?.id,
        connected: process.connected === true,
        instance: process.env.NODE_APP_INSTANCE,
        uniqueId: process.env.NODE_UNIQUE_ID,
        node: process.version,
        cwd: process.cwd(),
        argv: process.argv.slice(2),
        env: process.env,
        pid: process.pid,
        uid: process.getuid(),
      }));
    default:
      return finish(text(id));
  }
}

module.exports = { answer, block, text, version };
