//! A Rust child of a Node parent: `child_process.fork` with `execPath`.

use musher_process::child_process::Command;

use crate::{PEER_ARGS, Script, nodes, peer, run};

/// Forks the Rust program, and checks what it does.
const PARENT: &str = r"
const { fork } = require('child_process');
const assert = require('assert');
const net = require('net');
const [peer, serialization, ...execArgv] = process.argv.slice(2);
const child = fork('unused', { execPath: peer, execArgv, serialization, silent: true });
const waiting = [];
const come = [];
child.on('message', (m, h) => { const next = waiting.shift(); next ? next([m, h]) : come.push([m, h]); });
const next = () => new Promise((done) => { come.length ? done(come.shift()) : waiting.push(done); });
const ask = async (m, h) => { child.send(m, h); return next(); };
const text = (port) => new Promise((done) => {
  let all = '';
  net.connect(port, '127.0.0.1').on('data', (d) => all += d).on('end', () => done(all));
});
(async () => {
  assert.deepStrictEqual(await next(), ['ready', undefined]);
  for (const value of [0, 'ä€', null, {a: [1, {b: 2}]}, 'x'.repeat(1 << 20)]) {
    assert.deepStrictEqual((await ask(value))[0], value);
  }
  if (serialization === 'advanced') {
    for (const value of [new Map([[1, new Set([2])]]), new Date(7), Buffer.from('raw'), {a: undefined, b: 5n}]) {
      assert.deepStrictEqual((await ask(value))[0], value);
    }
    assert.strictEqual((await ask({do: 'silence'}))[0], undefined);
  }
  // A listener comes, and goes and comes back.
  const [{port}, server] = await ask({do: 'listen'});
  assert.strictEqual(server.address().port, port);
  const [said, again] = await ask({n: 1}, server);
  assert.deepStrictEqual(said, {kind: 'net.Server', said: {n: 1}});
  again.on('connection', (socket) => socket.end('mine'));
  server.close();
  assert.strictEqual(await text(port), 'mine');
  again.close();
  // A UDP socket.
  const udp = require('dgram').createSocket('udp4');
  await new Promise((done) => udp.bind(0, '127.0.0.1', done));
  const [about, udp2] = await ask('udp', udp);
  assert.strictEqual(about.kind, 'dgram.Socket');
  assert.strictEqual(udp2.address().port, udp.address().port);
  udp.close(); udp2.close();
  // Connections are counted while the child has them, and the server's close waits for them.
  const own = net.createServer();
  await new Promise((done) => own.listen(0, '127.0.0.1', done));
  for (let held = 1; held <= 2; held++) {
    const client = net.connect(own.address().port, '127.0.0.1').on('error', () => {});
    const [socket] = await require('events').once(own, 'connection');
    assert.deepStrictEqual((await ask({do: 'hold'}, socket))[0], {held});
  }
  const count = () => new Promise((done, fail) => own.getConnections((e, n) => e ? fail(e) : done(n)));
  assert.strictEqual(await count(), 2);
  const closed = new Promise((done) => own.close(done));
  assert.deepStrictEqual(await ask({do: 'close'}), ['closed', undefined]);
  await closed;
  // The child closes the channel.
  child.send({do: 'leave'});
  await require('events').once(child, 'disconnect');
  const [code] = await require('events').once(child, 'exit');
  assert.strictEqual(code, 0);
  console.log('all well');
  process.exit();
})().catch((error) => { console.log(error.stack); process.exit(1); });
";

#[test]
fn a_rust_child_of_node_can_all_that_a_node_child_can() {
    for node in nodes() {
        for serialization in ["json", "advanced"] {
            run(async {
                let script = Script::new(PARENT);
                let output = Command::new(&node)
                    .arg(script.path())
                    .arg(peer())
                    .arg(serialization)
                    .args(PEER_ARGS)
                    .output()
                    .await;
                let said =
                    output.unwrap_or_else(|error| panic!("{node:?} {serialization}: {}", error.output.stdout_text()));
                assert_eq!(said.stdout_text(), "all well\n", "{node:?} {serialization}");
            });
        }
    }
}

#[test]
fn a_rust_child_ends_with_its_channel() {
    run(async {
        let script = Script::new(
            "const child = require('child_process').fork('x', {execPath: process.argv[2], execArgv: process.argv.slice(3), silent: true});
             child.on('message', () => child.disconnect());
             child.on('exit', (code, signal) => console.log(code, signal));",
        );
        let output = Command::new("node").arg(script.path()).arg(peer()).args(PEER_ARGS).output().await.unwrap();
        assert_eq!(output.stdout_text(), "0 null\n");
    });
}

#[test]
fn a_grandchild_below_node_does_not_take_its_grandparents_frames_for_its_parents() {
    run(async {
        // We tell our Node child that we know fast frames; it passes the variable on with its environment.
        let script = Script::new(
            "const child = require('child_process').fork('x', {execPath: process.argv[2], execArgv: process.argv.slice(3), silent: true});
             child.on('message', (m) => { process.send([m, 'MUSHER_CHANNEL_FAST_FRAMES' in process.env]);
                                          child.disconnect(); process.disconnect(); });",
        );
        let mut child = script.command(&"node".into()).arg(peer()).args(PEER_ARGS).fork().unwrap();
        assert_eq!(crate::message(&mut child).await.text().unwrap(), r#"["ready",true]"#);
        child.wait().await;
    });
}
