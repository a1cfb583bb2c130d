//! `musher load` beside wrk, oha, h2load and siege: what a request costs the client, and whether it counts right.
//!
//! nginx with one worker has the first core, the client the second; what was asked is counted by nginx (`stub_status`).

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use musher_bench::{proc_fs, wait};
use serde_json::Value;
use tempfile::TempDir;

use super::Bench;
use crate::arena::{Contender, free_port};
use crate::report::{Goal, H2LOAD, MUSHER, OHA, SIEGE, Unit, WRK};

/// How long a client may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Names of the figures with so many connections.
struct Names {
    connections: u32,
    cpu: &'static str,
    siege: &'static str,
    rate: &'static str,
    memory: &'static str,
    most_memory: f64,
}

const NAMES: [Names; 2] = [
    Names {
        connections: 64,
        cpu: "client CPU for 100k requests, 64 connections",
        siege: "part of siege's CPU, 64 connections",
        rate: "requests a second with one core, 64 connections",
        memory: "client memory, 64 connections",
        most_memory: 6e6,
    },
    Names {
        connections: 1000,
        cpu: "client CPU for 100k requests, 1000 connections",
        siege: "part of siege's CPU, 1000 connections",
        rate: "requests a second with one core, 1000 connections",
        memory: "client memory, 1000 connections",
        most_memory: 12e6,
    },
];

const SIDES: [&str; 5] = [MUSHER, WRK, OHA, H2LOAD, SIEGE];

pub(super) fn load(bench: &mut Bench<'_>, _: Contender) -> Result<()> {
    let server = Server::start(bench)?;
    for names in &NAMES {
        let mut ours = None;
        for side in SIDES {
            let program = server.client(bench, side, names.connections)?;
            let cost = server.measure(program).with_context(|| side.to_owned())?;
            let how = "user + system time of `taskset -c 1` CLIENT to its end, for each request that nginx counted";
            bench.figures.add(names.cpu, Unit::Seconds, Goal::AtMostOf(WRK, 1.0), how, side, cost.cpu * 1e5);
            let how = "what nginx counted, by the wall clock from the client's start to its end";
            bench.figures.add(names.rate, Unit::PerSecond, Goal::None, how, side, cost.rate);
            let how = "the most resident memory (VmHWM), pages of the executable included";
            bench.figures.add(names.memory, Unit::Mebibytes, Goal::AtMost(names.most_memory), how, side, cost.memory);
            match side {
                MUSHER => ours = Some(cost.cpu),
                SIEGE => {
                    let part = ours.unwrap_or(f64::NAN) / cost.cpu;
                    let how = "keep-alive, no parser, no log: musher's CPU for a request, part of siege's";
                    bench.figures.add(names.siege, Unit::Times, Goal::AtMost(0.2), how, MUSHER, part);
                }
                _ => {}
            }
        }
    }
    exactness(bench, &server)
}

/// What is demanded of the counts.
fn exactness(bench: &mut Bench<'_>, server: &Server) -> Result<()> {
    let (report, counted) = server.report(bench, &["-b", "-c", "64", "-r", "1000"])?;
    let told = number(&report, "transactions")?;
    let how = "`-c 64 -r 1000`: what the client and nginx counted, the difference";
    bench.figures.add(
        "requests that were counted wrong",
        Unit::Count,
        Goal::Never,
        how,
        MUSHER,
        (told - counted).abs(),
    );

    let (report, _) = server.report(bench, &["--rate", "20000", "-t", "5S", "-c", "200"])?;
    let rate = number(&report, "transactions")? / 5.0;
    let how = "`--rate 20000 -t 5S`: how far the number of answers is from the plan";
    let off = (rate / 20_000.0 - 1.0).abs() * 100.0;
    bench.figures.add("deviation from the rate", Unit::Percent, Goal::AtMost(0.5), how, MUSHER, off);

    let (report, counted) = server.report(bench, &["-b", "-c", "10000", "-r", "20"])?;
    let told = number(&report, "transactions")?;
    let how = "`-c 10000 -r 20`: requests that were not answered, or that nginx did not count";
    let lost = (200_000.0 - told).abs() + (told - counted).abs();
    bench.figures.add("requests lost with 10,000 connections", Unit::Count, Goal::Never, how, MUSHER, lost);
    Ok(())
}

fn number(report: &Value, key: &str) -> Result<f64> {
    report[key].as_f64().with_context(|| format!("no {key} in {report}"))
}

/// nginx in a directory of its own.
struct Server {
    process: Child,
    directory: TempDir,
    port: u16,
    status: u16,
}

/// What a client cost.
struct Cost {
    /// Seconds for a request.
    cpu: f64,
    rate: f64,
    memory: f64,
}

impl Server {
    fn start(bench: &Bench<'_>) -> Result<Server> {
        let directory = tempfile::Builder::new().prefix("bench-").tempdir_in("/tmp")?;
        let (port, status) = (free_port()?, free_port()?);
        std::fs::write(directory.path().join("100.txt"), "a".repeat(100))?;
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {kind};\n"))
            .concat();
        let configuration = format!(
            "daemon off; worker_processes 1; pid nginx.pid; error_log error.log; worker_rlimit_nofile 24000;\n\
             events {{ worker_connections 20000; }}\n\
             http {{ access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; {temporary}\
             server {{ listen 127.0.0.1:{port} backlog=16384; root .; }}\n\
             server {{ listen 127.0.0.1:{status}; location / {{ stub_status; }} }} }}\n"
        );
        std::fs::write(directory.path().join("nginx.conf"), configuration)?;
        let process = Command::new("taskset")
            .args(["-c", "0"])
            .arg(&bench.tools.nginx)
            .args(["-p", ".", "-e", "error.log", "-c", "nginx.conf"])
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .spawn()
            .context("nginx does not start")?;
        let server = Server { process, directory, port, status };
        let patience = Duration::from_secs(10);
        ensure!(wait::until(patience, || server.counted().ok()).is_some(), "nginx does not answer");
        Ok(server)
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/100.txt", self.port)
    }

    /// How many requests it has counted, this one left out.
    fn counted(&self) -> Result<f64> {
        let mut connection = TcpStream::connect(("127.0.0.1", self.status))?;
        connection.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        connection.read_to_string(&mut text)?;
        let line = text
            .lines()
            .find(|line| line.split_whitespace().all(|word| word.parse::<u64>().is_ok()) && !line.is_empty());
        let requests = line.and_then(|line| line.split_whitespace().nth(2)?.parse::<f64>().ok());
        requests.with_context(|| format!("what does nginx mean by {text}"))
    }

    /// A client as its experts would run it: one thread, kept connections, nothing shown meanwhile.
    fn client(&self, bench: &Bench<'_>, side: &str, connections: u32) -> Result<Command> {
        let each = 200_000 / connections;
        let (program, args): (&Path, String) = match side {
            MUSHER => (&bench.tools.musher, format!("load -b -c {connections} -t 4S")),
            WRK => (&bench.tools.wrk, format!("-t1 -c{connections} -d4s --latency")),
            OHA => (&bench.tools.oha, format!("--no-tui -n 200000 -c {connections}")),
            H2LOAD => (Path::new("h2load"), format!("--h1 -t1 -n 200000 -c {connections}")),
            SIEGE => {
                let lines = "parser = false\nlogging = false\nverbose = false\nconnection = keep-alive\nlimit = 2000\n";
                std::fs::write(self.directory.path().join("siegerc"), lines)?;
                (Path::new("siege"), format!("-R siegerc -b -c {connections} -r {}", each / 4))
            }
            other => bail!("{other} is no client"),
        };
        let mut command = Command::new("taskset");
        command.args(["-c", "1"]).arg(program).args(args.split(' ')).arg(self.url());
        Ok(command)
    }

    fn measure(&self, mut command: Command) -> Result<Cost> {
        let (before, begun) = (self.counted()?, Instant::now());
        let mut child = command
            .current_dir(self.directory.path())
            .env("HOME", self.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("{command:?}"))?;
        let mut memory = 0;
        let ended = wait::until_every(Duration::from_millis(20), PATIENCE, || {
            memory = proc_fs::peak_bytes(child.id()).unwrap_or(memory);
            (!proc_fs::is_alive(child.id())).then(Instant::now)
        });
        // A zombie until it is waited for, with its times.
        let cpu = proc_fs::cpu_time_of_ended(child.id());
        if ended.is_none() {
            child.kill()?;
        }
        let status = child.wait()?;
        let ended = ended.with_context(|| format!("{command:?} does not end"))?;
        ensure!(status.signal().is_none(), "{command:?} ended with {status}");
        let requests = self.counted()? - before - 1.0;
        ensure!(requests > 0.0, "{command:?} asked nothing");
        let cpu = cpu.context("the client's times are gone")?.as_secs_f64() / requests;
        #[expect(clippy::cast_precision_loss, reason = "megabytes")]
        let memory = memory as f64;
        Ok(Cost { cpu, rate: requests / (ended - begun).as_secs_f64(), memory })
    }

    /// Runs `musher load` and gives its report, and what nginx counted meanwhile.
    fn report(&self, bench: &Bench<'_>, args: &[&str]) -> Result<(Value, f64)> {
        let before = self.counted()?;
        let output = Command::new(&bench.tools.musher)
            .args(["load", "-j", "--no-live"])
            .args(args)
            .arg(self.url())
            .current_dir(self.directory.path())
            .env("HOME", self.directory.path())
            .stdin(Stdio::null())
            .output()?;
        ensure!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        let counted = self.counted()? - before - 1.0;
        Ok((serde_json::from_slice(&output.stdout)?, counted))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its worker ends with it, when it is asked to.
        let _ = proc_fs::signal(self.process.id(), rustix::process::Signal::TERM);
        let _ = self.process.wait();
    }
}
