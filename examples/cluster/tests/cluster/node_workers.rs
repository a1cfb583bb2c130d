//! Node's own workers below a Rust primary: what happens to them is told as Node's primary would tell it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex};

use musher_cluster::{
    AddressType, Event, Primary, Scheduling, Serialization, Settings, Stdio, Told, Worker, setup_primary,
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::{DEADLINE, tool};

const POLICIES: [Scheduling; 3] = [Scheduling::Kernel, Scheduling::RoundRobin, Scheduling::Shared];

/// A primary of a Node program, and all that it told.
struct Scene {
    cluster: Primary,
    told: Arc<Mutex<Vec<String>>>,
    forked: Arc<Mutex<Vec<Worker>>>,
    directory: tempfile::TempDir,
}

fn node(directory: &Path, program: &str) -> Settings {
    let script = directory.join("worker.cjs");
    std::fs::write(&script, program).unwrap();
    Settings::node(script).exec_path(tool("node_modules/node22/bin/node")).cwd(directory)
}

impl Scene {
    fn new(program: &str, with: impl FnOnce(Settings) -> Settings) -> Scene {
        let directory = tempfile::tempdir().unwrap();
        let cluster = setup_primary(with(node(directory.path(), program))).unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        let forked: Arc<Mutex<Vec<Worker>>> = Arc::default();
        let (into, all) = (Arc::clone(&told), Arc::clone(&forked));
        cluster.on(move |event| {
            into.lock().unwrap().extend(words(event));
            if let Event::Fork(worker) = event {
                all.lock().unwrap().push(worker.clone());
            }
        });
        Scene { cluster, told, forked, directory }
    }

    fn of(program: &str, policy: Scheduling) -> Scene {
        Scene::new(program, |settings| settings.scheduling(policy))
    }

    fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }

    /// Calls this with every event of this name.
    fn when(&self, name: &'static str, act: impl Fn(&Primary, &Worker) + Send + Sync + 'static) {
        let cluster = self.cluster.clone();
        self.cluster.on(move |event| {
            if let Some(worker) = of(event).filter(|_| words(event).is_some_and(|words| words.starts_with(name))) {
                act(&cluster, worker);
            }
        });
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        for worker in self.forked.lock().unwrap().drain(..) {
            // It may have ended.
            let _ = worker.kill(9);
        }
    }
}

fn of(event: &Event) -> Option<&Worker> {
    match event {
        Event::Fork(worker) | Event::Online(worker) | Event::Disconnect(worker) => Some(worker),
        Event::Listening { worker, .. } | Event::Message { worker, .. } | Event::Exit { worker, .. } => Some(worker),
        _ => None,
    }
}

fn words(event: &Event) -> Option<String> {
    let worker = of(event)?;
    let (id, left) = (worker.id(), worker.exited_after_disconnect());
    Some(match event {
        Event::Fork(_) => format!("fork {id}"),
        Event::Online(_) => format!("online {id}"),
        Event::Listening { told, .. } => {
            format!("listening {id} {} {}", told.address.as_deref().unwrap_or("null"), told.address_type.to_json())
        }
        Event::Message { value, .. } => format!("message {id} {value}"),
        Event::Disconnect(_) => format!("disconnect {id} {left:?}"),
        Event::Exit { status, .. } => format!("exit {id} {status} {left:?}"),
        _ => return None,
    })
}

async fn exited(worker: &Worker) {
    timeout(DEADLINE, worker.exited()).await.unwrap_or_else(|_| panic!("{worker:?} does not end"));
}

async fn message(worker: &Worker) -> Value {
    timeout(DEADLINE, worker.messages().next()).await.expect("a message in time").expect("a message").value
}

#[tokio::test]
async fn listening_has_nodes_arguments_for_every_kind_of_address() {
    const PROGRAM: &str = "
      const net = require('net'), dgram = require('dgram');
      const servers = [
        (done) => net.createServer().listen(0, '127.0.0.1', done),
        (done) => net.createServer().listen(0, '::1', done),
        (done) => net.createServer().listen(0, done),
        (done) => net.createServer().listen('./own.sock', done),
        (done) => net.createServer().listen({ fd: 3 }, done),
        (done) => dgram.createSocket('udp4').bind(0, '127.0.0.1', done),
        (done) => dgram.createSocket({ type: 'udp6', ipv6Only: true }).bind(0, done),
      ];
      const next = () => setImmediate(servers.shift() ?? (() => cluster.worker.disconnect()), next);
      const cluster = require('cluster');
      next();";
    for policy in POLICIES {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = i64::from(socket.local_addr().unwrap().port());
        let scene = Scene::new(PROGRAM, |settings| settings.scheduling(policy).sockets(vec![OwnedFd::from(socket)]));
        let all: Arc<Mutex<Vec<Told>>> = Arc::default();
        let into = Arc::clone(&all);
        scene.cluster.on(move |event| {
            if let Event::Listening { told, .. } = event {
                into.lock().unwrap().push(told.clone());
            }
        });
        exited(&scene.cluster.fork().unwrap()).await;
        let all = all.lock().unwrap();
        let path = scene.directory.path().canonicalize().unwrap().join("own.sock").display().to_string();
        let kinds: Vec<_> =
            all.iter().map(|told| (told.address.as_deref(), told.address_type, told.fd, told.port)).collect();
        let port = |at: usize| all[at].port.filter(|port| *port > 0);
        let expected = [
            (Some("127.0.0.1"), AddressType::Tcp4, None, port(0)),
            (Some("::1"), AddressType::Tcp6, None, port(1)),
            (None, AddressType::Tcp4, None, port(2)),
            (Some(&*path), AddressType::Unix, None, Some(-1)),
            (None, AddressType::None, Some(3), Some(own)),
            (Some("127.0.0.1"), AddressType::Udp4, None, port(5)),
            (Some("::"), AddressType::Udp6, None, port(6)),
        ];
        assert_eq!(kinds, expected, "{policy:?}");
    }
}

#[tokio::test]
async fn a_worker_that_exits_while_it_listens_is_told_of_once_and_in_order() {
    let program = "require('http').createServer().listen(0, '127.0.0.1', () => setImmediate(() => process.exit(42)))";
    for policy in POLICIES {
        let scene = Scene::of(program, policy);
        scene.when("exit", |cluster, worker| {
            let gone = !musher_bench::proc_fs::is_alive(u32::try_from(worker.process().pid().as_raw()).unwrap());
            assert!(gone && worker.is_dead() && !worker.is_connected() && cluster.workers().is_empty());
        });
        exited(&scene.cluster.fork().unwrap()).await;
        let rest = ["fork 1", "online 1", "listening 1 127.0.0.1 4", "disconnect 1 Some(false)"];
        let told = scene.told();
        assert!(told.iter().filter(|words| !words.starts_with("exit")).eq(rest.iter()), "{told:?}");
        assert_eq!(told.last().unwrap(), "exit 1 exit code 42 Some(false)");
    }
}

#[tokio::test]
async fn with_its_last_worker_an_address_is_free_and_the_file_of_a_socket_gone() {
    // The name is too long for an address together with its directory.
    const PROGRAM: &str = "
      const net = require('net');
      net.createServer().listen('x'.repeat(84), () =>
        net.createServer().listen(0, '127.0.0.1', () => process.disconnect()));";
    for policy in POLICIES {
        let scene = Scene::of(PROGRAM, policy);
        let file = scene.directory.path().join("x".repeat(84));
        let port = Arc::new(Mutex::new(0));
        let (seen, found) = (file.clone(), Arc::clone(&port));
        scene.cluster.on(move |event| {
            if let Event::Listening { told, .. } = event {
                assert!(seen.exists());
                *found.lock().unwrap() = u16::try_from(told.port.unwrap_or_default()).unwrap_or(0);
            }
        });
        let worker = scene.cluster.fork().unwrap();
        exited(&worker).await;
        assert_eq!(scene.told().last().unwrap(), "exit 1 exit code 0 Some(false)", "it left without a word");
        let address = format!("127.0.0.1:{}", port.lock().unwrap());
        assert!(!file.exists() && TcpListener::bind(&address).is_ok(), "{policy:?}");
    }
}

#[tokio::test]
async fn a_worker_that_died_has_its_address_kept_for_the_next_one_and_clients_wait() {
    let program = "
      require('net').createServer((socket) => socket.end(String(process.pid))).listen(+process.argv[2], '127.0.0.1');";
    for policy in POLICIES {
        let port = crate::support::free_port();
        let scene = Scene::new(program, |settings| settings.scheduling(policy).args([port.to_string()]));
        let first = scene.cluster.fork().unwrap();
        assert!(timeout(DEADLINE, first.listening()).await.unwrap());
        let (client, clients) = std::sync::mpsc::sync_channel(1);
        scene.when("exit 1", move |cluster, _| {
            let stream = TcpStream::connect(("127.0.0.1", port)).expect("nobody is refused");
            client.send(stream).unwrap();
            cluster.fork().unwrap();
        });
        first.kill(9).unwrap();
        exited(&first).await;
        let answered = tokio::task::spawn_blocking(move || {
            let mut text = String::new();
            let mut stream = clients.recv_timeout(DEADLINE).unwrap();
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
            stream.read_to_string(&mut text).unwrap();
            text
        });
        let second = scene.cluster.workers().into_values().next().expect("the next one");
        assert_eq!(answered.await.unwrap(), second.process().pid().to_string(), "{policy:?}");
    }
}

#[tokio::test]
async fn servers_are_closed_and_opened_again_also_on_any_port() {
    // As in Node: what the second worker closes, the first one goes on with.
    const PROGRAM: &str = "
      const net = require('net'), cluster = require('cluster');
      const server = net.createServer((socket) => socket.end('hello'));
      const twice = (done) => {
        let left = 2;
        for (let i = 0; i < 2; i++) {
          const server = net.createServer().listen(0, () => server.close(() => {
            const again = net.createServer().listen(0, () => again.close(() => --left || done()));
          }));
        }
      };
      server.listen(0, '127.0.0.1', () => {
        if (cluster.worker.id === 1) return;
        server.close(() => server.listen(0, '127.0.0.1', () => server.close(() => twice(() => process.disconnect()))));
      });";
    for policy in POLICIES {
        let scene = Scene::of(PROGRAM, policy);
        let first = scene.cluster.fork().unwrap();
        assert!(timeout(DEADLINE, first.listening()).await.unwrap());
        let second = scene.cluster.fork().unwrap();
        exited(&second).await;
        let ended = scene.told();
        assert!(ended.iter().any(|told| told == "exit 2 exit code 0 Some(false)"), "{ended:?}");
        let port = first.addresses()[0].port().unwrap();
        let mut text = String::new();
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello", "{policy:?}");
        drop(stream);
        first.disconnect();
        exited(&first).await;
        assert_eq!(scene.told().last().unwrap(), "exit 1 exit code 0 Some(true)");
        let refused = || TcpStream::connect(("127.0.0.1", port)).is_err().then_some(());
        crate::support::wait("a refusal", refused);
    }
}

#[tokio::test]
async fn a_disconnect_waits_for_the_connections_and_a_kill_does_not() {
    let program = "
      const server = require('net').createServer((socket) => socket.pipe(socket)).listen(0, '127.0.0.1');
      process.on('message', () => { for (;;); });";
    for policy in POLICIES {
        let scene = Scene::of(program, policy);
        let (first, second) = (scene.cluster.fork().unwrap(), scene.cluster.fork().unwrap());
        for worker in [&first, &second] {
            assert!(timeout(DEADLINE, worker.listening()).await.unwrap());
        }
        // Whoever has it: it answers.
        let mut stream = TcpStream::connect(("127.0.0.1", first.addresses()[0].port().unwrap())).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(b"x").unwrap();
        stream.read_exact(&mut [0]).unwrap();
        scene.cluster.workers().into_values().for_each(|worker| worker.disconnect());
        assert!(scene.cluster.workers().is_empty());
        let gone = tokio::select! {
            () = exited(&first) => 1,
            () = exited(&second) => 2,
        };
        let other = if gone == 1 { &second } else { &first };
        assert!(other.is_connected() && !other.is_dead(), "it has a connection");
        stream.write_all(b"y").unwrap();
        stream.read_exact(&mut [0]).unwrap();
        drop(stream);
        exited(other).await;
        assert_eq!(other.exited_after_disconnect(), Some(true));

        let busy = scene.cluster.fork().unwrap();
        assert!(timeout(DEADLINE, busy.listening()).await.unwrap());
        busy.send("loop").unwrap();
        busy.kill(15).unwrap();
        exited(&busy).await;
        assert_eq!(scene.told().last().unwrap(), "exit 3 signal 15 (SIGTERM) Some(false)");
    }
}

#[tokio::test]
async fn a_disconnect_may_come_at_any_time_from_either_side() {
    let program = "
      const cluster = require('cluster');
      const how = process.env.HOW;
      if (how === 'itself') cluster.worker.disconnect();
      if (how === 'kills itself') cluster.worker.kill();
      if (how === 'exits') cluster.worker.once('disconnect', () => process.exit(7));
      if (how === 'closed') setInterval(() => {}, 1e6);";
    let scene = Scene::of(program, Scheduling::Kernel);
    let mut forked = Vec::new();
    // Before it has begun; as soon as it has; when the channel is closed under it.
    for how in ["at once", "exits", "closed", "itself", "kills itself"] {
        let worker = scene.cluster.fork_with([("HOW", how)]).unwrap();
        if how == "at once" {
            worker.disconnect();
        }
        forked.push(worker);
    }
    scene.when("online 2", |_, worker| worker.disconnect());
    scene.when("online 3", |_, worker| worker.process().disconnect());
    for worker in &forked {
        exited(worker).await;
    }
    let mut ends: Vec<String> = scene.told().into_iter().filter(|told| told.starts_with("exit")).collect();
    ends.sort();
    let expected = [
        "exit 1 exit code 0 Some(true)",
        "exit 2 exit code 7 Some(true)",
        "exit 3 exit code 0 Some(false)",
        "exit 4 exit code 0 Some(true)",
        "exit 5 exit code 0 Some(true)",
    ];
    assert_eq!(ends, expected);
    timeout(DEADLINE, scene.cluster.disconnect()).await.expect("nobody is left, so it is done at once");
}

#[tokio::test]
async fn settings_become_the_command_line_the_descriptors_and_the_directory_of_a_worker() {
    let program = "
      new (require('net').Socket)({ fd: 4 }).on('data', function (data) { this.write(data); }).unref();
      process.stdin.on('data', (data) => { process.stdout.write(data); process.stderr.write('heard'); }).unref();
      process.send({ argv: process.argv.slice(2), execArgv: process.execArgv.slice(0, 1), cwd: process.cwd(),
        mine: [process.env.MINE, process.env.ITS], inspector: process.debugPort > 1024 });";
    let other = tempfile::tempdir().unwrap();
    let at = other.path().canonicalize().unwrap();
    let scene = Scene::new(program, |settings| {
        settings
            .exec_args(["--no-warnings", "--inspect=127.0.0.1:0"])
            .args(["a", "b c"])
            .env("MINE", "all")
            .silent(true)
            .stdio(4, Stdio::Pipe)
    });
    let mut events = scene.cluster.events();
    scene.cluster.setup(node(scene.directory.path(), program).args(["again"])).unwrap();
    let changed = scene.cluster.settings();
    assert_eq!((changed.args.len(), changed.silent), (1, false), "said anew as a whole");
    let before = Settings::clone(&changed).exec_args(["--no-warnings", "--inspect=127.0.0.1:0"]).args(["a", "b c"]);
    let before = before.env("MINE", "all").silent(true).stdio(4, Stdio::Pipe).cwd(&at);
    scene.cluster.setup(before).unwrap();
    let worker = scene.cluster.fork_with([("ITS", "one")]).unwrap();
    let found = message(&worker).await;
    let expected = json!({"argv": ["a", "b c"], "execArgv": ["--no-warnings"], "cwd": at, "mine": ["all", "one"],
        "inspector": true});
    assert_eq!(found, expected);
    let mut said = 0;
    while said < 2 {
        said += usize::from(matches!(timeout(DEADLINE, events.next()).await.unwrap(), Some(Event::Setup(_))));
    }

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let process = worker.process();
    let mut pipe: tokio::net::UnixStream = process.take_pipe(4).unwrap();
    let (mut stdin, mut stdout) = (process.take_stdin().unwrap(), process.take_stdout().unwrap());
    let mut stderr = process.take_stderr().unwrap();
    assert!(process.take_pipe(4).is_none() && process.take_stdin().is_none(), "once");
    let mut buffer = [0; 64];
    pipe.write_all(b"foobar").await.unwrap();
    assert_eq!(timeout(DEADLINE, pipe.read(&mut buffer)).await.unwrap().unwrap(), 6);
    stdin.write_all(b"line").await.unwrap();
    assert_eq!(timeout(DEADLINE, stdout.read(&mut buffer)).await.unwrap().unwrap(), 4);
    timeout(DEADLINE, async {
        let mut text = String::new();
        while !text.contains("heard") {
            let length = stderr.read(&mut buffer).await.unwrap();
            text.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
    })
    .await
    .unwrap();
    worker.disconnect();
    drop((pipe, stdin));
    exited(&worker).await;
    assert_eq!(scene.told().last().unwrap(), "exit 1 exit code 0 Some(true)");
}

#[tokio::test]
async fn sockets_of_every_kind_go_to_a_node_worker_and_come_back() {
    const PROGRAM: &str = "
      const net = require('net'), dgram = require('dgram'), cluster = require('cluster');
      const http = require('http').createServer((request, response) => response.end('served'));
      process.on('message', (message, handle) => {
        if (message === 'a request') return http.emit('connection', handle);
        process.send({ [message]: handle.constructor.name }, handle, () => handle.close?.());
      });
      // The same twice: the second is gone when the first has arrived.
      const server = net.createServer((socket) => {
        process.send('first', socket);
        process.send('second', socket);
      }).listen(0, '127.0.0.1', () => net.connect(server.address().port, '127.0.0.1')
        .on('close', () => cluster.worker.disconnect()).on('data', () => {}));";
    let scene = Scene::of(PROGRAM, Scheduling::RoundRobin);
    let worker = scene.cluster.fork().unwrap();
    let mut messages = worker.messages();
    let mut next = async || timeout(DEADLINE, messages.next()).await.unwrap().unwrap();
    let first = next().await;
    assert_eq!(first.value, "first");
    let own = first.handle.unwrap().into_tcp_stream().unwrap();
    let second = next().await;
    assert!(second.value == "second" && second.handle.is_none(), "as under Node");

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    worker.send_handle("a request", listener.accept().unwrap().0.into()).unwrap();
    let answered = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        text
    });
    assert!(answered.await.unwrap().ends_with("served"));

    // No listener of a unix socket: a Node worker takes its number for one of the primary's descriptors.
    let (one, _other) = UnixStream::pair().unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    for (name, handle, class) in [
        ("a listener", listener.into(), "Server"),
        ("a pipe", one.into(), "Socket"),
        ("datagrams", udp.into(), "Socket"),
    ] {
        worker.send_handle(name, handle).unwrap();
        let back = next().await;
        assert_eq!(back.value, json!({ name: class }));
        assert!(back.handle.is_some(), "{name} comes back");
    }
    drop(own);
    exited(&worker).await;
    assert_eq!(worker.exited_after_disconnect(), Some(true));
}

#[tokio::test]
async fn what_json_does_not_have_goes_both_ways_with_nodes_advanced_serialization() {
    use musher_cluster::v8::Value as V8;
    const PROGRAM: &str = "
      const server = require('http').createServer((request, response) => response.end('served'));
      process.on('message', (message, handle) => process.send(message, handle, () => handle?.close?.()));
      server.listen(0, '127.0.0.1', () => process.send(new Map([['when', new Date(0)], ['bytes', Buffer.from('ab')]])));";
    for policy in POLICIES {
        let scene = Scene::new(PROGRAM, |settings| settings.scheduling(policy).serialization(Serialization::Advanced));
        let worker = scene.cluster.fork().unwrap();
        let mut messages = worker.messages();
        let mut next = async || timeout(DEADLINE, messages.next()).await.unwrap().unwrap();
        let first = next().await;
        let date = (V8::String("when".into()), V8::Date(0.0));
        assert_eq!(first.v8, Some(V8::Map(vec![date, (V8::String("bytes".into()), V8::Buffer(b"ab".to_vec()))])));
        assert_eq!(first.value["when"], "1970-01-01T00:00:00.000Z");
        let strange = V8::Array(vec![V8::Undefined, V8::Set(vec![V8::Number(1.5)]), V8::Number(-3.0)]);
        worker.send_v8(strange.clone()).unwrap();
        assert_eq!(next().await.v8, Some(strange));
        worker.send(json!({"plain": ["ä", null, true, 1e300]})).unwrap();
        assert_eq!(next().await.value, json!({"plain": ["ä", null, true, 1e300]}));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        worker.send_handle(json!({"with": "a socket"}), listener.into()).unwrap();
        let back = next().await;
        assert!(back.handle.is_some() && back.v8.is_some() && back.value == json!({"with": "a socket"}));
        let port = worker.addresses()[0].port().unwrap();
        let address = format!("127.0.0.1:{port}");
        let answer = tokio::task::spawn_blocking(move || crate::support::get(&address));
        assert_eq!(answer.await.unwrap().as_deref(), Some("served"), "{policy:?}");
        worker.disconnect();
        exited(&worker).await;
        assert_eq!(worker.exited_after_disconnect(), Some(true));
    }
}
