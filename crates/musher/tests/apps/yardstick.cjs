// Tries what a cluster worker can do and writes down how it went, one JSON object, to the file RESULT. Run by Node's own
// primary and by musher, the two files have to be the same: node yardstick.cjs <taken port> <free port> <free port>.
'use strict';
const cluster = require('node:cluster');
const dgram = require('node:dgram');
const fs = require('node:fs');
const net = require('node:net');

if (process.argv[2] === 'primary') {
  cluster.setupPrimary({ exec: __filename, args: process.argv.slice(3) });
  cluster.fork();
  return;
}

const [taken, one, two] = process.argv.slice(2).map(Number);
const result = {};

const errorOf = ({ code, errno, syscall, address, port, message }) => ({ code, errno, syscall, address, port, message });

function listen(options) {
  return new Promise((done) => {
    const events = [];
    const server = net.createServer((socket) => socket.end('hello'));
    server.on('error', (error) => done({ error: errorOf(error), listening: server.listening }));
    server.on('listening', () => events.push('listening'));
    server.listen(options, () => {
      events.push('callback');
      setImmediate(() => done({ server, events, address: server.address() }));
    });
  });
}

const close = (server) => new Promise((done) => server.close((error) => done(error ? errorOf(error) : 'closed')));

function said(port) {
  return new Promise((done) => {
    const socket = net.connect(port, '127.0.0.1');
    let text = '';
    socket.on('data', (data) => (text += data));
    socket.on('end', () => done(text));
    socket.on('error', (error) => done(error.code));
  });
}

function bind(port) {
  return new Promise((done) => {
    const socket = dgram.createSocket('udp4');
    socket.on('error', (error) => done({ error: errorOf(error) }));
    socket.bind(port, '127.0.0.1', () => done({ socket, address: socket.address() }));
  });
}

async function main() {
  const worker = cluster.worker;
  result.worker = {
    isWorker: cluster.isWorker,
    isPrimary: cluster.isPrimary,
    id: typeof worker.id,
    uniqueId: typeof process.env.NODE_UNIQUE_ID,
    sameProcess: worker.process === process,
    connected: worker.isConnected(),
    dead: worker.isDead(),
    exitedAfterDisconnect: worker.exitedAfterDisconnect,
    send: typeof process.send,
    processConnected: process.connected,
    channel: typeof process.channel,
    channelVariable: typeof process.env.NODE_CHANNEL_FD,
    argv: process.argv.length,
    execArgv: process.execArgv,
  };

  const first = await listen({ port: one, host: '127.0.0.1' });
  result.first = { events: first.events, address: first.address, listening: first.server.listening, said: await said(one) };
  const again = await listen({ port: one, host: '127.0.0.1' });
  result.again = { error: again.error?.code, listening: again.listening };
  result.closed = await close(first.server);
  // In which way is a matter of who is faster, also under Node's own primary.
  const after = await said(one);
  result.afterClose = ['ECONNREFUSED', 'ECONNRESET', ''].includes(after) ? 'nobody answers' : after;
  result.closedTwice = await close(first.server);
  const reborn = await listen({ port: one, host: '127.0.0.1' });
  result.reborn = { events: reborn.events, error: reborn.error, said: await said(one) };
  if (reborn.server) await close(reborn.server);

  const any = await listen(0);
  const other = await listen(0);
  result.any = { host: any.address.address, family: any.address.family, differ: any.address.port !== other.address.port };
  await Promise.all([close(any.server), close(other.server)]);

  result.taken = await listen({ port: taken, host: '127.0.0.1' });
  result.foreign = await listen({ port: two, host: '192.0.2.1' });
  result.nowhere = await listen({ path: '/nowhere/at/all.sock' });

  const exclusive = await listen({ port: two, host: '127.0.0.1', exclusive: true });
  result.exclusive = { events: exclusive.events, address: exclusive.address };
  await close(exclusive.server);

  const path = `${process.cwd()}/yard.sock`;
  const unix = await listen({ path });
  result.unix = { events: unix.events, address: unix.address === path };
  await close(unix.server);

  const udp = await bind(two);
  result.udp = { address: udp.address };
  await new Promise((done) => udp.socket.close(done));
  const anyUdp = await bind(0);
  result.anyUdp = { address: anyUdp.address.address, port: anyUdp.address.port > 0 };
  await new Promise((done) => anyUdp.socket.close(done));

  process.on('disconnect', () => {
    result.disconnect = { after: worker.exitedAfterDisconnect, connected: process.connected };
  });
  process.on('exit', (code) => {
    result.exit = code;
    // Not written over by a second run.
    fs.writeFileSync(process.env.RESULT, JSON.stringify(result, null, 1), { flag: 'wx' });
  });
  const last = await listen({ port: one, host: '127.0.0.1' });
  result.last = { events: last.events, error: last.error };
  result.disconnectGives = worker.disconnect() === worker;
  last.server?.on('close', () => (result.closedByDisconnect = true));
}

main().catch((error) => {
  result.failed = String(error.stack);
  fs.writeFileSync(process.env.RESULT, JSON.stringify(result, null, 1), { flag: 'wx' });
  process.exit(9);
});
