// WebSockets: node websockets.cjs serve <ws|socket.io> <port>, or node websockets.cjs talk <ws|socket.io> <port> <clients>.
// A server answers each message with its own text, the version and its pid. The clients talk all the time and say
// "connected"; when each has been sent away once, come back and was answered, they tell as JSON how they were closed.
'use strict';
const { version } = require('./answer.cjs');

const [verb, kind, port, clients] = process.argv.slice(2);
const said = (message) => `${message} version=${version} pid=${process.pid}`;
const SERVE = {
  ws() {
    const { WebSocketServer } = require('ws');
    const server = require('node:http').createServer((request, response) => response.end(said('plain')));
    // Large enough to take several writes and frames, compressed and not.
    const sockets = new WebSocketServer({ server, perMessageDeflate: { threshold: 10_000 } });
    sockets.on('connection', (socket) => socket.on('message', (text) => {
      socket.send(said(text));
      socket.send(Buffer.alloc(9_000 + Math.floor(Math.random() * 90_000)));
    }));
    server.listen(Number(port));
  },
  'socket.io'() {
    const server = require('node:http').createServer((request, response) => response.end(said('plain')));
    const { Server } = require('socket.io');
    new Server(server).on('connection', (socket) => socket.on('text', (text, done) => done(said(text))));
    server.listen(Number(port));
  },
};

const closes = {};
const answers = [];
let left = Number(clients);
let connected = 0;

function closed(code) {
  closes[code] = (closes[code] ?? 0) + 1;
}

function answered(state, text) {
  answers.push(/version=(\w+)/.exec(text)[1]);
  if (!state.connected) {
    state.connected = true;
    if (++connected === Number(clients)) console.log('connected');
  }
  if (state.closed && !state.done) {
    state.done = true;
    if (--left === 0) {
      console.log(JSON.stringify({ closes, versions: [...new Set(answers)] }));
      process.exit(0);
    }
  }
}

const TALK = {
  ws(state = {}) {
    const WebSocket = require('ws');
    const socket = new WebSocket(`ws://127.0.0.1:${port}`);
    let n = 0;
    const speak = () => socket.send(`text ${n++}`);
    socket.on('open', speak);
    socket.on('message', (text, binary) => {
      if (binary) return setTimeout(() => socket.readyState === 1 && speak(), 1);
      answered(state, String(text));
    });
    socket.on('error', (error) => closed(error.message));
    socket.on('close', (code) => {
      closed(code);
      state.closed = true;
      TALK.ws(state);
    });
  },
  'socket.io'() {
    const state = {};
    const socket = require('socket.io-client').io(`http://127.0.0.1:${port}`, {
      transports: ['websocket'],
      reconnectionDelay: 10,
      forceNew: true,
    });
    const speak = () => socket.connected && socket.emit('text', 'text', (text) => {
      answered(state, text);
      setTimeout(speak, 1);
    });
    socket.on('connect', speak);
    socket.on('disconnect', (reason, details) => {
      closed(details?.context?.code ?? reason);
      state.closed = true;
    });
  },
};

if (verb === 'serve') SERVE[kind]();
else for (let n = 0; n < Number(clients); n++) TALK[kind]();
