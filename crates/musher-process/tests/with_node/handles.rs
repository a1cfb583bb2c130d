//! Sockets between a Rust parent and a Node child.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use musher_process::ExitStatus;
use musher_process::child_process::{Child, Event};
use musher_process::ipc::{Handle, HandleKind, Serialization};
use serde_json::{Value, json};

use crate::{Script, message, nodes, run};

/// Serves what it gets, and sends one of each kind when it is asked.
const PEER: &str = "
const net = require('net'), dgram = require('dgram');
const close = [];
process.on('message', (m, h) => {
  const name = h && h.constructor.name;
  if (m === 'server') {
    close.push(h);
    h.on('connection', (socket) => socket.end('served'));
    process.send({got: name});
  } else if (m === 'socket') {
    process.send({got: name, pauses: h.allowHalfOpen});
    h.end('told');
  } else if (m === 'count') {
    close.push(h);
    process.send({got: name});
  } else if (m === 'udp') {
    close.push(h);
    h.on('message', (text, from) => h.send(`back ${text}`, from.port, from.address));
    process.send({got: name});
  } else if (m === 'native') {
    const server = net.createServer((socket) => socket.end('native')).listen(h, () => process.send({got: name}));
    close.push(server);
  } else if (m === 'send server') {
    const server = net.createServer().listen(0, '127.0.0.1', () => {
      process.send({port: server.address().port}, server, () => server.close());
    });
  } else if (m === 'send socket') {
    const server = net.createServer((socket) => { process.send('socket', socket); server.close(); });
    server.listen(0, '127.0.0.1', () => process.send({port: server.address().port}));
  } else if (m === 'send udp') {
    const socket = dgram.createSocket('udp4');
    socket.bind(0, '127.0.0.1', () => process.send({port: socket.address().port}, socket, () => socket.close()));
  } else if (m === 'close') {
    for (const each of close.splice(0)) each.destroy ? each.destroy() : each.close();
    process.send('closed');
  } else if (m === 'stop') {
    process.disconnect();
  }
});";

fn ask(stream: &mut (impl Read + Write)) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

async fn told(child: &mut Child) -> Value {
    message(child).await.parse().unwrap()
}

/// Reads without holding up the runtime.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

async fn to_node(child: &mut Child, directory: &Path) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    child.send_handle("server", listener.into()).await.unwrap();
    assert_eq!(told(child).await, json!({"got": "Server"}));
    assert_eq!(blocking(move || ask(&mut TcpStream::connect(address).unwrap())).await, "served");

    let path = directory.join("socket");
    child.send_handle("server", UnixListener::bind(&path).unwrap().into()).await.unwrap();
    assert_eq!(told(child).await, json!({"got": "Server"}));
    assert_eq!(blocking(move || ask(&mut UnixStream::connect(path).unwrap())).await, "served");

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    child.send_handle("socket", listener.accept().unwrap().0.into()).await.unwrap();
    assert_eq!(told(child).await, json!({"got": "Socket", "pauses": false}));
    assert_eq!(blocking(move || ask(&mut client)).await, "told");

    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut ours = ours;
    child.send_handle("socket", theirs.into()).await.unwrap();
    assert_eq!(told(child).await["got"], "Socket");
    assert_eq!(blocking(move || ask(&mut ours)).await, "told");

    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    child.send_handle("udp", socket.into()).await.unwrap();
    assert_eq!(told(child).await, json!({"got": "Socket"}));
    let answer = blocking(move || {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(crate::DEADLINE)).unwrap();
        client.send_to(b"ping", address).unwrap();
        let mut answer = [0; 20];
        let length = client.recv(&mut answer).unwrap();
        answer[..length].to_vec()
    });
    assert_eq!(answer.await, b"back ping");

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    child.send_handle("native", Handle::native(listener)).await.unwrap();
    assert_eq!(told(child).await, json!({"got": "TCP"}));
    assert_eq!(blocking(move || ask(&mut TcpStream::connect(address).unwrap())).await, "native");
}

async fn from_node(child: &mut Child) {
    child.send("send server").await.unwrap();
    let mut came = message(child).await;
    let port = came.parse::<Value>().unwrap()["port"].as_u64().unwrap();
    let handle = came.handle.take().unwrap();
    assert_eq!(handle.kind(), HandleKind::NetServer);
    let listener = handle.into_tcp_listener().unwrap();
    assert_eq!(u64::from(listener.local_addr().unwrap().port()), port);

    child.send("send socket").await.unwrap();
    let port = told(child).await["port"].as_u64().unwrap();
    let mut client = TcpStream::connect(("127.0.0.1", u16::try_from(port).unwrap())).unwrap();
    let came = message(child).await;
    let mut connection = came.handle.unwrap().into_tcp_stream().unwrap();
    connection.write_all(b"from Rust").unwrap();
    drop(connection);
    assert_eq!(blocking(move || ask(&mut client)).await, "from Rust");

    child.send("send udp").await.unwrap();
    let came = message(child).await;
    let port = came.parse::<Value>().unwrap()["port"].as_u64().unwrap();
    let socket = came.handle.unwrap().into_udp_socket().unwrap();
    assert_eq!(u64::from(socket.local_addr().unwrap().port()), port);
}

#[test]
fn every_kind_of_socket_goes_both_ways() {
    let directory = tempfile::tempdir().unwrap();
    for (number, node) in nodes().into_iter().enumerate() {
        for serialization in [Serialization::Json, Serialization::Advanced] {
            run(async {
                let script = Script::new(PEER);
                let mut child = script.command(&node).serialization(serialization).fork().unwrap();
                let place = directory.path().join(format!("{number}{serialization:?}"));
                std::fs::create_dir(&place).unwrap();
                to_node(&mut child, &place).await;
                from_node(&mut child).await;
                for order in ["close", "stop"] {
                    child.send(order).await.unwrap();
                }
                assert_eq!(told(&mut child).await, json!("closed"));
                assert_eq!(child.wait().await, ExitStatus::Code(0), "{node:?} {serialization:?}");
            });
        }
    }
}

#[test]
fn node_counts_the_sockets_it_got() {
    run(async {
        let script = Script::new(PEER);
        let mut child = script.command(&"node".into()).fork().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut clients = Vec::new();
        let mut key = String::new();
        for _ in 0..3 {
            clients.push(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
            let handle = Handle::accepted(listener.accept().unwrap().0, &listener).unwrap();
            handle.key().unwrap().clone_into(&mut key);
            child.send_handle("count", handle).await.unwrap();
        }
        let sender = child.sender().unwrap().clone();
        assert_eq!(sender.socket_count(&key).await.unwrap(), 3);
        assert_eq!(sender.socket_count("4:0.0.0.0:1").await.unwrap(), 0);
        let closed = tokio::spawn({
            let (sender, key) = (sender.clone(), key.clone());
            async move { sender.sockets_closed(&key).await }
        });
        child.send("close").await.unwrap();
        loop {
            match child.next_event().await.unwrap() {
                Event::Message(message) if message.text().unwrap() == "\"closed\"" => break,
                _ => {}
            }
        }
        closed.await.unwrap().unwrap();
        assert_eq!(sender.socket_count(&key).await.unwrap(), 0);
        child.send("stop").await.unwrap();
        child.wait().await;
    });
}

#[test]
fn a_listener_that_is_kept_serves_at_both_ends() {
    run(async {
        let script = Script::new(PEER);
        let mut child = script.command(&"node".into()).fork().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let handle = Handle::from(listener);
        child.sender().unwrap().send_handle_keeping("server", &handle).await.unwrap();
        told(&mut child).await;
        child.send("close").await.unwrap();
        told(&mut child).await;
        // The child has closed it. It still listens.
        let listener = tokio::net::TcpListener::from_std(handle.into_tcp_listener().unwrap()).unwrap();
        let client = tokio::net::TcpStream::connect(address).await.unwrap();
        assert_eq!(listener.accept().await.unwrap().1, client.local_addr().unwrap());
        child.send("stop").await.unwrap();
        child.wait().await;
    });
}

#[test]
fn messages_keep_their_order_around_handles() {
    run(async {
        let script = Script::new(
            "const seen = [];
             process.on('message', (m, h) => {
               if (m === 'end') { process.send(seen); process.disconnect(); }
               else { seen.push(m); if (h) h.close(); }
             });",
        );
        let mut child = script.command(&"node".into()).fork().unwrap();
        let sender = child.sender().unwrap().clone();
        for number in 0..20 {
            if number % 3 == 0 {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                sender.send_handle(&number, listener.into()).await.unwrap();
            } else {
                sender.send(&number).await.unwrap();
            }
        }
        sender.send("end").await.unwrap();
        let seen = message(&mut child).await.parse::<Vec<u32>>().unwrap();
        assert_eq!(seen, (0..20).collect::<Vec<_>>());
        child.wait().await;
    });
}
