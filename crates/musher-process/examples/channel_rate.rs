//! What a channel does in a second: `cargo run --release -p musher-process --example channel_rate [scale] [node]`.
//!
//! Rust with Rust, Rust with a Node child, Node with Node (`bench/apps/channel.cjs`), and tokio over a plain unix socket with
//! the same JSON library. Messages are sent one by one, and many in a call (`fed`): by [`Sender::feed`], and over the plain
//! socket by a buffer of the same size. Node has no such call. A line of JSON for each figure. `scale` multiplies the number
//! of messages: 1 is some seconds.
//!
//! [`Sender::feed`]: musher_process::ipc::Sender::feed

use std::error::Error;
use std::io::Write;
use std::time::Instant;

use musher_process::child_process::{Child, Command, Event, Stdio};
use musher_process::ipc::{self, Handle};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::UnixStream;

/// Sizes of messages, and how many of them.
const SIZES: [(&str, usize, u32); 3] = [("100 B", 100, 100_000), ("10 kB", 10_000, 20_000), ("1 MB", 1_000_000, 300)];
/// How much is gathered before it goes.
const GATHERED: usize = 64 << 10;
const PINGS: u32 = 5000;
const HANDLES: u32 = 5000;
const SPAWNS: u32 = 500;
const NODE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../bench/apps/channel.cjs");

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Message {
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ping: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    got: Option<u32>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    done: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.first().map(String::as_str) {
        Some("child") => return child().await,
        Some("plain-child") => return plain_child().await,
        _ => {}
    }
    let scale: f64 = words.first().and_then(|word| word.parse().ok()).unwrap_or(1.0);
    let node = words.get(1).map_or("node", String::as_str);
    let own = std::env::current_exe()?;
    let quiet = |command: Command| command.stdio_all(Stdio::Ignore).stderr(Stdio::Inherit);
    measure("rust-rust", quiet(Command::new(&own).arg("child")).ipc().spawn()?, scale).await?;
    measure("rust-node", quiet(Command::new(node).arg(NODE)).ipc().spawn()?, scale).await?;
    plain(quiet(Command::new(&own).arg("plain-child")).fd(3, Stdio::Pipe).spawn()?, scale).await?;
    let started = Instant::now();
    for _ in 0..SPAWNS {
        Command::new("/bin/true").stdio_all(Stdio::Ignore).spawn()?.wait().await;
    }
    say("musher", "spawns", f64::from(SPAWNS) / started.elapsed().as_secs_f64())?;
    standard_spawns()?;
    tokio_spawns().await?;
    let sizes: Vec<_> = SIZES.iter().map(|(name, bytes, count)| (name, bytes, scaled(*count, scale))).collect();
    let output = Command::new(node).arg(NODE).arg(serde_json::to_string(&sizes)?).output().await?;
    for line in output.stdout_text().lines() {
        let figure: serde_json::Value = serde_json::from_str(line)?;
        let name = figure["name"].as_str().unwrap_or_default();
        say("node-node", name, figure["value"].as_f64().unwrap_or_default())?;
    }
    Ok(())
}

fn text(bytes: usize) -> Message {
    Message { text: Some("x".repeat(bytes)), ..Message::default() }
}

fn scaled(count: u32, scale: f64) -> u32 {
    (f64::from(count) * scale).max(1.0) as u32
}

fn say(pair: &str, name: &str, value: f64) -> Result<()> {
    writeln!(std::io::stdout(), "{}", serde_json::json!({"pair": pair, "name": name, "value": value}))?;
    Ok(())
}

async fn child() -> Result<()> {
    let mut channel = ipc::parent()?.ok_or("not forked")?;
    let mut got = 0;
    while let Some(message) = channel.recv().await {
        match message.parse::<Message>()? {
            Message { done: true, .. } => {
                channel.sender.send(&Message { got: Some(got), ..Message::default() }).await?;
                got = 0;
            }
            ping @ Message { ping: Some(_), .. } => channel.sender.send(&ping).await?,
            _ => got += 1,
        }
    }
    Ok(())
}

async fn answer(child: &mut Child) -> Result<Message> {
    loop {
        match child.next_event().await.ok_or("the child ended")? {
            Event::Message(message) => return Ok(message.parse()?),
            Event::Exit(status) => return Err(status.to_string().into()),
            _ => {}
        }
    }
}

async fn measure(pair: &str, mut child: Child, scale: f64) -> Result<()> {
    let done = Message { done: true, ..Message::default() };
    // It is there, and in fast frames if it has them.
    child.send(&done).await?;
    answer(&mut child).await?;
    for (name, bytes, count) in SIZES {
        let (message, count) = (text(bytes), scaled(count, scale));
        let started = Instant::now();
        for _ in 0..count {
            child.send(&message).await?;
        }
        child.send(&done).await?;
        assert_eq!(answer(&mut child).await?.got, Some(count));
        say(pair, &format!("messages {name}"), f64::from(count) / started.elapsed().as_secs_f64())?;
        let started = Instant::now();
        for _ in 0..count {
            child.sender()?.feed(&message).await?;
        }
        child.send(&done).await?;
        assert_eq!(answer(&mut child).await?.got, Some(count));
        say(pair, &format!("fed {name}"), f64::from(count) / started.elapsed().as_secs_f64())?;
    }
    let mut times = Vec::new();
    for ping in 0..scaled(PINGS, scale) {
        let started = Instant::now();
        child.send(&Message { ping: Some(ping), ..Message::default() }).await?;
        answer(&mut child).await?;
        times.push(started.elapsed());
    }
    say(pair, "round trip us", median(&mut times))?;
    let listener = Handle::from(std::net::TcpListener::bind("127.0.0.1:0")?);
    let (started, handles) = (Instant::now(), scaled(HANDLES, scale));
    for _ in 0..handles {
        child.sender()?.send_handle_keeping(&Message::default(), &listener).await?;
    }
    child.send(&done).await?;
    assert_eq!(answer(&mut child).await?.got, Some(handles));
    say(pair, "handles", f64::from(handles) / started.elapsed().as_secs_f64())?;
    child.disconnect()?;
    child.wait().await;
    Ok(())
}

fn median(times: &mut [std::time::Duration]) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(0.0, |time| time.as_secs_f64() * 1e6)
}

/// What one would write without this library: lines of JSON over a unix socket.
async fn plain(mut child: Child, scale: f64) -> Result<()> {
    let (reading, mut writing) = tokio::io::split(child.take_pipe(3).ok_or("no pipe")?);
    let mut reading = BufReader::with_capacity(64 << 10, reading);
    let mut line = Vec::new();
    let done = Message { done: true, ..Message::default() };
    plain_send(&mut writing, &done, &mut line).await?;
    plain_recv(&mut reading, &mut line).await?;
    for (name, bytes, count) in SIZES {
        let (message, count) = (text(bytes), scaled(count, scale));
        let started = Instant::now();
        for _ in 0..count {
            plain_send(&mut writing, &message, &mut line).await?;
        }
        plain_send(&mut writing, &done, &mut line).await?;
        assert_eq!(plain_recv(&mut reading, &mut line).await?.and_then(|answer| answer.got), Some(count));
        say("plain", &format!("messages {name}"), f64::from(count) / started.elapsed().as_secs_f64())?;
        let mut buffered = BufWriter::with_capacity(GATHERED, &mut writing);
        let started = Instant::now();
        for _ in 0..count {
            plain_send(&mut buffered, &message, &mut line).await?;
        }
        plain_send(&mut buffered, &done, &mut line).await?;
        buffered.flush().await?;
        assert_eq!(plain_recv(&mut reading, &mut line).await?.and_then(|answer| answer.got), Some(count));
        say("plain", &format!("fed {name}"), f64::from(count) / started.elapsed().as_secs_f64())?;
    }
    let mut times = Vec::new();
    for ping in 0..scaled(PINGS, scale) {
        let started = Instant::now();
        plain_send(&mut writing, &Message { ping: Some(ping), ..Message::default() }, &mut line).await?;
        plain_recv(&mut reading, &mut line).await?;
        times.push(started.elapsed());
    }
    say("plain", "round trip us", median(&mut times))
}

async fn plain_send(writing: &mut (impl AsyncWriteExt + Unpin), message: &Message, line: &mut Vec<u8>) -> Result<()> {
    line.clear();
    serde_json::to_writer(&mut *line, message)?;
    line.push(b'\n');
    Ok(writing.write_all(line).await?)
}

async fn plain_recv(reading: &mut BufReader<impl AsyncReadExt + Unpin>, line: &mut Vec<u8>) -> Result<Option<Message>> {
    line.clear();
    if reading.read_until(b'\n', line).await? == 0 {
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(line)?))
}

async fn plain_child() -> Result<()> {
    let socket = std::os::unix::net::UnixStream::from(musher_process::inherit::take_inherited(3)?);
    socket.set_nonblocking(true)?;
    let (reading, mut writing) = UnixStream::from_std(socket)?.into_split();
    let mut reading = BufReader::with_capacity(64 << 10, reading);
    let (mut got, mut line) = (0, Vec::new());
    while let Some(message) = plain_recv(&mut reading, &mut line).await? {
        match message {
            Message { done: true, .. } => {
                plain_send(&mut writing, &Message { got: Some(got), ..Message::default() }, &mut line).await?;
                got = 0;
            }
            ping @ Message { ping: Some(_), .. } => plain_send(&mut writing, &ping, &mut line).await?,
            _ => got += 1,
        }
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "what it is compared with")]
fn standard_spawns() -> Result<()> {
    use std::process::{Command, Stdio};
    let started = Instant::now();
    for _ in 0..SPAWNS {
        let mut command = Command::new("/bin/true");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?.wait()?;
    }
    say("std", "spawns", f64::from(SPAWNS) / started.elapsed().as_secs_f64())
}

async fn tokio_spawns() -> Result<()> {
    use std::process::Stdio;
    let started = Instant::now();
    for _ in 0..SPAWNS {
        let mut command = tokio::process::Command::new("/bin/true");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?.wait().await?;
    }
    say("tokio", "spawns", f64::from(SPAWNS) / started.elapsed().as_secs_f64())
}
