// Node's own figures for what `channel_rate` measures: as a child (forked), or as a parent with itself as child.
// node channel.cjs COUNT... : a line of JSON for each figure.
'use strict';
const { fork, spawn } = require('child_process');

function child() {
  let got = 0;
  process.on('message', (m, handle) => {
    if (handle) handle.close();
    if (m.ping !== undefined) process.send(m);
    else if (m.done) { process.send({ got }); got = 0; } else got++;
  });
}

async function parent() {
  const peer = fork(__filename, [], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
  const answer = () => new Promise((done) => peer.once('message', done));
  const say = (name, value) => console.log(JSON.stringify({ name, value }));
  for (const [name, bytes, count] of JSON.parse(process.argv[2])) {
    const text = 'x'.repeat(bytes);
    const start = process.hrtime.bigint();
    for (let sent = 0; sent < count; sent++) {
      if (!peer.send({ text })) await new Promise((done) => setImmediate(done));
    }
    peer.send({ done: true });
    await answer();
    say(`messages ${name}`, count / (Number(process.hrtime.bigint() - start) / 1e9));
  }
  const times = [];
  for (let ping = 0; ping < 2000; ping++) {
    const start = process.hrtime.bigint();
    peer.send({ ping });
    await answer();
    times.push(Number(process.hrtime.bigint() - start) / 1e3);
  }
  say('round trip us', times.sort((a, b) => a - b)[1000]);
  const server = require('net').createServer();
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  const handles = 1000;
  let start = process.hrtime.bigint();
  for (let sent = 0; sent < handles; sent++) await new Promise((done) => peer.send({}, server, done));
  peer.send({ done: true });
  await answer();
  say('handles', handles / (Number(process.hrtime.bigint() - start) / 1e9));
  peer.disconnect();
  server.close();
  const spawns = 200;
  start = process.hrtime.bigint();
  for (let spawned = 0; spawned < spawns; spawned++) {
    await new Promise((done) => spawn('/bin/true', [], { stdio: 'ignore' }).on('exit', done));
  }
  say('spawns', spawns / (Number(process.hrtime.bigint() - start) / 1e9));
}

if (process.send) child();
else parent();
