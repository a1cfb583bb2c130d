//! What workers of other runtimes can be under a Rust primary: the table of the guide, kept true.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use musher_cluster::{Handle, Primary, Scheduling, Serialization, Settings, Worker, setup_primary};
use musher_process::child_process::{Command, Event as ChildEvent, Signal};
use tokio::time::timeout;

use crate::support::{DEADLINE, free_port, get, tool};

/// The same program for all.
const PROGRAM: &str = "
  process.on('message', (message) => process.send({ echo: message }));
  process.send('hello');
  require('node:http').createServer((request, response) => response.end(`id=none pid=${process.pid} version=1\\n`))
    .listen(Number(process.argv[2]), '127.0.0.1');
";

/// So long is waited for what is not to come.
const IN_VAIN: Duration = Duration::from_secs(2);
const GUIDE: &str = include_str!("../../../../docs/guide/rust-clusters.md");

async fn ends(worker: &Worker, patience: Duration) -> bool {
    timeout(patience, worker.exited()).await.is_ok()
}

struct Runtime {
    name: &'static str,
    settings: fn(&str) -> Settings,
    program: &'static str,
}

const RUNTIMES: [Runtime; 3] = [
    Runtime { name: "Node", settings: |script| Settings::node(script), program: "node_modules/node22/bin/node" },
    Runtime {
        name: "Deno",
        settings: |script| Settings::deno(script),
        program: "node_modules/@deno/linux-x64-glibc/deno",
    },
    Runtime {
        name: "Bun",
        settings: |script| Settings::bun(script),
        program: "node_modules/@oven/bun-linux-x64/bin/bun",
    },
];

/// The cell of the guide's table.
fn claims(row: &str, runtime: &str) -> bool {
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let head = GUIDE.lines().find(|line| line.contains("| Node | Deno |")).expect("the guide has the table");
    let column = cells(head).iter().position(|cell| cell == runtime).expect("the table has the runtime");
    let line = GUIDE.lines().find(|line| line.starts_with(&format!("| {row} "))).expect("the table has the row");
    match cells(line)[column].split([' ', ':']).next() {
        Some("yes") => true,
        Some("no") => false,
        other => panic!("{row}, {runtime}: {other:?}"),
    }
}

async fn fork(
    runtime: &Runtime,
    scheduling: Scheduling,
    directory: &std::path::Path,
) -> (Primary, [Worker; 2], String) {
    let script = directory.join("worker.cjs");
    std::fs::write(&script, PROGRAM).unwrap();
    let port = free_port();
    let script = script.to_str().unwrap();
    let settings = (runtime.settings)(script).exec_path(tool(runtime.program)).args([port.to_string()]);
    let settings = settings.scheduling(scheduling);
    let cluster = setup_primary(settings).unwrap();
    let workers = [cluster.fork().unwrap(), cluster.fork().unwrap()];
    (cluster, workers, format!("127.0.0.1:{port}"))
}

/// What a child does with a message, and with a socket that comes with it.
const CHILD: &str = "
  process.on('message', (message, handle) =>
    handle ? process.send({ back: message }, handle) : process.send({ echo: message }));";

/// A child of this runtime gets a message, perhaps with a socket, and sends it back.
async fn comes_back(runtime: &Runtime, directory: &std::path::Path, row: &str) -> bool {
    let script = directory.join("child.cjs");
    std::fs::write(&script, CHILD).unwrap();
    let settings = (runtime.settings)(script.to_str().unwrap());
    let advanced = row.ends_with("serialization");
    let serialization = if advanced { Serialization::Advanced } else { Serialization::Json };
    let command = Command::new(tool(runtime.program)).args(&settings.exec_args).args(&settings.script);
    let mut child = command.serialization(serialization).fork().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let socket: Option<Handle> = match row.rsplit(": ").next().unwrap() {
        "a listening socket, and back" => Some(listener.into()),
        "a connection, and back" => Some(client.into()),
        "a UDP socket, and back" => Some(UdpSocket::bind("127.0.0.1:0").unwrap().into()),
        _ => None,
    };
    let with_socket = socket.is_some();
    match socket {
        Some(socket) => child.send_handle("one", socket).await.unwrap(),
        None => child.send("one").await.unwrap(),
    }
    let patience = if claims(row, runtime.name) { DEADLINE } else { IN_VAIN };
    let back = timeout(patience, async {
        loop {
            match child.next_event().await {
                Some(ChildEvent::Message(message)) => return Some(message),
                Some(ChildEvent::Exit(_)) | None => return None,
                Some(_) => {}
            }
        }
    });
    let back = back.await.ok().flatten();
    // It may have ended.
    let _ = child.kill(Signal::KILL);
    timeout(DEADLINE, child.wait()).await.unwrap();
    back.is_some_and(|back| {
        let value: serde_json::Value = back.parse().unwrap();
        let said = if with_socket { &value["back"] } else { &value["echo"] };
        said == "one" && back.handle.is_some() == with_socket
    })
}

#[tokio::test]
async fn what_the_guide_says_of_children_is_true() {
    let directory = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    let rows = GUIDE.lines().filter_map(|line| line.strip_prefix("| as a child: ")?.split(" |").next());
    for (runtime, row) in RUNTIMES.iter().flat_map(|runtime| rows.clone().map(move |row| (runtime, row))) {
        let row = format!("as a child: {row}");
        let found = comes_back(runtime, directory.path(), &row).await;
        if claims(&row, runtime.name) != found {
            wrong.push(format!("{row}, {}: it is {found}", runtime.name));
        }
    }
    assert!(wrong.is_empty(), "the table of docs/guide/rust-clusters.md is wrong:\n{}", wrong.join("\n"));
}

#[tokio::test]
async fn the_table_of_the_guide_is_true() {
    let directory = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    for runtime in &RUNTIMES {
        let mut check = |row: &str, found: bool| {
            if claims(row, runtime.name) != found {
                wrong.push(format!("{row}, {}: it is {found}", runtime.name));
            }
        };
        for (row, scheduling) in [
            ("a shared port, `Kernel`", Scheduling::Kernel),
            ("a shared port, `Shared`", Scheduling::Shared),
            ("a shared port, `RoundRobin`", Scheduling::RoundRobin),
        ] {
            let (_cluster, workers, address) = fork(runtime, scheduling, directory.path()).await;
            for worker in &workers {
                let mut messages = worker.messages();
                let hello = timeout(DEADLINE, messages.next()).await.unwrap().expect("a message");
                assert_eq!(hello.value, "hello", "{}", runtime.name);
                if scheduling == Scheduling::RoundRobin {
                    worker.send("ping").unwrap();
                    let echo = timeout(DEADLINE, messages.next()).await.ok().flatten();
                    check("messages both ways", echo.is_some_and(|echo| echo.value["echo"] == "ping"));
                }
            }
            let waits = if claims("the event `listening`", runtime.name) { DEADLINE } else { IN_VAIN };
            let listens = timeout(waits, workers[0].listening()).await.unwrap_or(false);
            check("the event `listening`", listens);
            let waits = if claims(row, runtime.name) { DEADLINE } else { IN_VAIN };
            let answers = timeout(waits, async {
                while tokio::task::spawn_blocking({
                    let address = address.clone();
                    move || get(&address)
                })
                .await
                .unwrap()
                .is_none()
                {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
            check(row, answers.await.is_ok() && workers.iter().all(|worker| !worker.is_dead()));
            if scheduling == Scheduling::RoundRobin {
                let waits = if claims("ends when it is disconnected", runtime.name) { DEADLINE } else { IN_VAIN };
                workers[0].disconnect();
                check("ends when it is disconnected", ends(&workers[0], waits).await);
            }
            for worker in &workers {
                // It may have ended.
                let _ = worker.kill(9);
                assert!(ends(worker, DEADLINE).await);
            }
        }
    }
    assert!(wrong.is_empty(), "the table of docs/guide/rust-clusters.md is wrong:\n{}", wrong.join("\n"));
}
