//! A primary of any program: it keeps a team of it up, tells what happens, and takes words on its standard input: `reload`,
//! `restart`, `scale 3`, `broadcast {"any":"json"}`, `stop`.
//!
//! ```console
//! $ cargo build -p cluster-rust
//! $ target/debug/cluster-primary 2 target/debug/cluster-axum 127.0.0.1:8080
//! $ target/debug/cluster-primary 2 node server.js
//! $ target/debug/cluster-primary 2 deno run -A server.cjs
//! ```

#![expect(clippy::print_stdout, reason = "what happens is its standard output")]

use anyhow::{Context, Result};
use musher_cluster::{Event, Plan, Scheduling, Settings, Team, setup_primary};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let instances = args.next().and_then(|count| count.parse().ok()).context("how many workers?")?;
    let program = args.next().context("which program?")?;
    let mut settings = Settings::program(&program).args(args);
    if program.ends_with("deno") {
        settings = settings.scheduling(Scheduling::RoundRobin);
    }
    let cluster = setup_primary(settings)?;
    cluster.on(tell);
    let team = cluster.keep(Plan::new(instances)).await?;
    tokio::spawn(obey(team.clone()));
    Ok(team.run().await?)
}

fn tell(event: &Event) {
    match event {
        Event::Fork(worker) => println!("fork {} {}", worker.id(), worker.process().pid()),
        Event::Online(worker) => println!("online {}", worker.id()),
        Event::Listening { worker, address, .. } => println!("listening {} {address}", worker.id()),
        Event::Message { worker, value, .. } => println!("message {} {value}", worker.id()),
        Event::Disconnect(worker) => println!("disconnect {}", worker.id()),
        Event::Exit { worker, status } => println!("exit {} {status}", worker.id()),
        Event::Team(musher_cluster::lifecycle::Event::Giveup { slot, restarts, .. }) => {
            println!("giveup slot {slot} after {restarts} restarts");
        }
        _ => {}
    }
}

/// Reads words in a thread of its own: one that waits for input must not keep the process from its end.
async fn obey(team: Team) {
    let (sender, mut lines) = tokio::sync::mpsc::channel(16);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    while let Some(line) = lines.recv().await {
        let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let done = match verb {
            "reload" => team.reload(None).await,
            "restart" => team.restart(None).await,
            "scale" => team.scale(rest.parse().unwrap_or(1)).await,
            "stop" => team.stop().await,
            "broadcast" => {
                let message = serde_json::from_str::<serde_json::Value>(rest).unwrap_or(rest.into());
                team.primary().broadcast(message);
                Ok(())
            }
            _ => continue,
        };
        match done {
            Ok(()) => println!("done {verb}"),
            Err(error) => println!("failed {verb}: {error}"),
        }
    }
}
