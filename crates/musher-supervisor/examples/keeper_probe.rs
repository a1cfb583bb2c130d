//! A daemon with nothing in it but keeper and link, for the tests of both, and a log thread to be killed.
//!
//! As `keeper` it is the keeper. As `supervisor` it obeys one line per connection to the control socket and answers with
//! lines. As `logs HOME RUN…` it reads the pipes at the descriptors from 3 on, two for each run, until it is killed.

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;

use musher_api::LogStream;
use musher_core::ids::{AppId, RunId, SlotId};
use musher_core::spec::Logs;
use musher_process::{Spawn, inherit, own};
use musher_supervisor::home::{CONTROL_NAME, DaemonPids, Home};
use musher_supervisor::keeper::{self, ExitRecord};
use musher_supervisor::link::{KeeperEvent, KeeperLink};
use musher_supervisor::logs::{LogThread, Output};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match args.as_slice() {
        ["keeper", "--adopt", number] => {
            number.parse().map_err(Failure::from).and_then(|n| keeper::run(n).map(|_| ()).map_err(Failure::from))
        }
        ["supervisor", "--link", number] => number
            .parse()
            .map_err(Failure::from)
            .and_then(|n| inherit::take_inherited(n).map_err(Failure::from))
            .and_then(supervise),
        ["logs", home, runs @ ..] => log_until_killed(Path::new(home), runs),
        _ => Err("a role is needed".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "probe: {error}");
            ExitCode::FAILURE
        }
    }
}

fn supervise(link: OwnedFd) -> Result<(), Failure> {
    own::set_subreaper()?;
    let (link, mut inventory) = KeeperLink::connect(link)?;
    let home = Home::from_env()?;
    if let Some(keeper) = link.keeper_pid() {
        let supervisor = std::process::id().cast_signed();
        home.record_pids(DaemonPids { keeper: keeper.as_raw(), supervisor })?;
    }
    let control = inventory.fds.remove(CONTROL_NAME).ok_or("no control socket")?;
    drop(inventory.fds);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let control = std::os::unix::net::UnixListener::from(control);
        control.set_nonblocking(true)?;
        let control = UnixListener::from_std(control)?;
        let mut watch = link.watch()?;
        let mut exits = inventory.exits;
        let mut asked_to_end = inventory.end_requested;
        loop {
            if asked_to_end {
                let _ = std::fs::remove_file(home.control_socket());
                link.shutdown();
                return Ok(());
            }
            tokio::select! {
                event = watch.next() => match event {
                    KeeperEvent::Exit(exit) => exits.push(exit),
                    KeeperEvent::EndRequested => asked_to_end = true,
                    KeeperEvent::Pong(_) | KeeperEvent::Renewed | KeeperEvent::Signalled(_) => {}
                    KeeperEvent::Died => return Err(link.become_keeper().into()),
                },
                client = control.accept() => {
                    // A client that was killed or gave up is its own affair.
                    let _ = answer(client?.0, &link, &mut exits).await;
                }
            }
        }
    })
}

async fn answer(client: UnixStream, link: &KeeperLink, exits: &mut Vec<ExitRecord>) -> Result<(), Failure> {
    let mut client = BufReader::new(client);
    let mut line = String::new();
    client.read_line(&mut line).await?;
    let words: Vec<&str> = line.split_whitespace().collect();
    let answer = match words.as_slice() {
        ["pids"] => format!("{} {}", link.keeper_pid().map_or(0, |pid| pid.as_raw()), std::process::id()),
        ["names"] => link.names().join(" "),
        ["put", name, text] => {
            link.put_bytes(name, text.as_bytes());
            "done".into()
        }
        // Dies without another instruction behind the put.
        ["put-and-die", name, text] => {
            link.put_bytes(name, text.as_bytes());
            let own = musher_process::pidfd_open(musher_process::Pid::own())?;
            musher_process::signal(own.as_fd(), 9)?;
            "not reached".into()
        }
        ["put-many", count] => {
            for n in 0..count.parse()? {
                link.put_bytes(&format!("many/{n}"), b"x");
            }
            "done".into()
        }
        ["remove", name] => {
            link.remove(name);
            "done".into()
        }
        ["spawn", script] => spawn(&script.replace('_', " "))?.to_string(),
        ["exits"] => {
            let list: Vec<String> = exits.iter().map(|exit| format!("{}:{}", exit.pid, exit.wait_status)).collect();
            list.join(" ")
        }
        ["forget"] => {
            exits.drain(..).for_each(|exit| link.forget_exit(&exit));
            "done".into()
        }
        ["open-files"] => link.workers_open_files().unwrap_or(0).to_string(),
        other => format!("unknown: {other:?}"),
    };
    client.write_all(answer.as_bytes()).await?;
    client.write_all(b"\n").await?;
    Ok(())
}

fn spawn(script: &str) -> Result<i32, Failure> {
    let spawn = Spawn {
        args: ["sh", "-c", script].map(Into::into).to_vec(),
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        ..Spawn::new("/bin/sh")
    };
    Ok(spawn.spawn()?.pid.as_raw())
}

fn log_until_killed(home: &Path, runs: &[&str]) -> Result<(), Failure> {
    let home = Home::open(home)?;
    let logs = LogThread::start(&home, |_| {})?;
    let spec = Logs { max_bytes: 1 << 20, keep: 1000, ..Logs::default() };
    logs.open_app(AppId(1), "probe", &spec);
    for (n, run) in runs.iter().enumerate() {
        let (slot, run) = (SlotId(u32::try_from(n)?), RunId(run.parse()?));
        for (stream, number) in [(LogStream::Out, 3 + 2 * n), (LogStream::Err, 4 + 2 * n)] {
            let pipe = inherit::take_inherited(i32::try_from(number)?)?;
            logs.attach(Output { app: AppId(1), slot, run, pid: 1, stream, pipe });
        }
    }
    // Until the test closes its end, or kills us.
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    for run in runs {
        let _ = logs.detach(RunId(run.parse()?)).blocking_recv();
    }
    Ok(())
}
