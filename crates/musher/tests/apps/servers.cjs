// Servers of other kinds and clients for them: node servers.cjs serve <kind> <port> [pem], where a kind is net, tls, https,
// http2 (without TLS), h2 (with TLS) or signals (an http server that ends itself on SIGTERM and SIGINT); and
// node servers.cjs talk <kind> <port>, which asks all the time over several connections, says "answered" when it was
// answered some times, and tells as JSON what was lost when its standard input ends.
'use strict';
const fs = require('node:fs');
const { version } = require('./answer.cjs');

const [verb, kind, port, pem] = process.argv.slice(2);
const ADDRESS = { port: Number(port), host: '127.0.0.1' };
const reply = () => `version=${version} pid=${process.pid}\n`;
const keys = () => ({ key: fs.readFileSync(pem), cert: fs.readFileSync(pem) });

// A line is answered by a line; now and then it takes a while.
const lines = (socket) => {
  socket.on('error', () => {});
  socket.on('data', () => setTimeout(() => socket.end(reply()), Math.random() < 0.1 ? 200 : 0));
};
const answers = (request, response) => setTimeout(() => response.end(reply()), Math.random() < 0.1 ? 200 : 0);

const SERVE = {
  net: () => require('node:net').createServer(lines),
  tls: () => require('node:tls').createServer(keys(), lines),
  https: () => require('node:https').createServer(keys(), answers),
  http2: () => require('node:http2').createServer(answers),
  h2: () => require('node:http2').createSecureServer(keys(), answers),
  signals() {
    const server = require('node:http').createServer(answers);
    for (const signal of ['SIGTERM', 'SIGINT']) {
      process.on(signal, () => {
        fs.appendFileSync('signals', `${signal}\n`);
        server.close(() => process.exit(0));
        server.closeIdleConnections();
      });
    }
    return server;
  },
};

const report = { answered: 0, lost: [], refused: 0, versions: {} };
let ending = false;

function took(body) {
  const found = /version=(\w+)/.exec(body);
  if (!found) throw new Error(`half an answer: ${JSON.stringify(body)}`);
  report.versions[found[1]] = (report.versions[found[1]] ?? 0) + 1;
  if (++report.answered === 100) console.log('answered');
}

const whole = (stream, write) => new Promise((resolve, reject) => {
  let body = '';
  stream.setEncoding('utf8');
  stream.on('data', (text) => (body += text));
  stream.on('end', () => resolve(body));
  stream.on('error', reject);
  write?.();
});

const ASK = {
  async net() {
    const socket = require('node:net').connect(ADDRESS);
    took(await whole(socket, () => socket.write('hello\n')));
  },
  async tls() {
    const socket = require('node:tls').connect({ ...ADDRESS, rejectUnauthorized: false });
    took(await whole(socket, () => socket.write('hello\n')));
  },
  async https(state) {
    const { request, Agent } = require('node:https');
    state.agent ??= new Agent({ keepAlive: true, maxSockets: 1 });
    const asked = request({ ...ADDRESS, agent: state.agent, rejectUnauthorized: false });
    took(await new Promise((resolve, reject) => {
      asked.on('response', (response) => whole(response).then(resolve, reject)).on('error', reject).end();
    }));
  },
  async signals(state) {
    const { request, Agent } = require('node:http');
    state.agent ??= new Agent({ keepAlive: true, maxSockets: 1 });
    const asked = request({ ...ADDRESS, agent: state.agent });
    took(await new Promise((resolve, reject) => {
      asked.on('response', (response) => whole(response).then(resolve, reject)).on('error', reject).end();
    }));
  },
  async http2(state, scheme = 'http') {
    const http2 = require('node:http2');
    if (!state.session || state.session.closed || state.session.destroyed || state.gone) {
      state.gone = false;
      const session = http2.connect(`${scheme}://127.0.0.1:${port}`, { rejectUnauthorized: false });
      session.on('goaway', () => session === state.session && (state.gone = true));
      session.on('error', () => {});
      state.session = session;
    }
    // Several at a time over one session, of which the slow ones are under way when the others are answered.
    const ask = async () => {
      const stream = state.session.request({ ':path': '/' });
      try {
        took(await whole(stream, () => stream.end()));
      } catch (error) {
        // The server says that it has not begun: RFC 9113, 8.7.
        if (!/GOAWAY|REFUSED/.test(`${error.code} ${error.message}`)) throw error;
        report.refused++;
      }
    };
    const asked = await Promise.allSettled([ask(), ask(), ask()]);
    for (const { reason } of asked) if (reason) throw reason;
  },
  h2: (state) => ASK.http2(state, 'https'),
};

async function talk() {
  const state = {};
  while (!ending) {
    try {
      await ASK[kind](state);
    } catch (error) {
      report.lost.push(`${error.code ?? ''} ${error.message}`);
    }
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 20));
  }
  state.session?.close();
  state.agent?.destroy();
}

if (verb === 'serve') {
  SERVE[kind]().listen(ADDRESS.port);
} else {
  const all = Promise.all([...Array(8)].map(talk));
  process.stdin.on('end', async () => {
    ending = true;
    await all;
    console.log(JSON.stringify(report));
    process.exit(0);
  }).resume();
}
