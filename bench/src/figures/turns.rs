//! New connections handed to the workers in turn: a primary in Rust (`musher-cluster`, no daemon) against Node's own.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use musher_bench::{proc_fs, wait};

use super::{Bench, wrk};
use crate::arena::{Contender, free_port};
use crate::report::{CLUSTER, Goal, MUSHER, Unit};

/// Names of the figures.
struct Names {
    rate: &'static str,
    cost: &'static str,
}

const NODE: Names =
    Names { rate: "new connections in turns, Node workers", cost: "CPU of the primary for one of them, Node workers" };
const RUST: Names =
    Names { rate: "new connections in turns, Rust workers", cost: "CPU of the primary for one of them, Rust workers" };

/// A primary, ended with its workers.
struct Primary(Child);

impl Drop for Primary {
    fn drop(&mut self) {
        // Its workers end with it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(super) fn turns(bench: &mut Bench<'_>, contender: Contender) -> Result<()> {
    let hello = bench.tools.hello.display().to_string();
    let node = bench.tools.node.display().to_string();
    match contender {
        Contender::Cluster => {
            let port = free_port()?;
            let script = bench.tools.hello.with_file_name("primary.cjs");
            let mut command = Command::new(&bench.tools.node);
            command.arg(script).args(["2", &port.to_string()]);
            measure(bench, CLUSTER, &NODE, command, port)
        }
        Contender::Musher => {
            let port = free_port()?;
            let mut command = Command::new(example("cluster-primary")?);
            command.args(["2", &node, &hello, &port.to_string()]);
            measure(bench, MUSHER, &NODE, command, port)?;
            let port = free_port()?;
            let mut command = Command::new(example("cluster-primary")?);
            command.arg("2").arg(example("cluster-axum")?).arg(format!("127.0.0.1:{port}"));
            measure(bench, MUSHER, &RUST, command, port)
        }
        Contender::Pm2 | Contender::Pm2Tuned | Contender::Gunicorn => Ok(()),
    }
}

fn example(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    ensure!(path.is_file(), "{} is missing: `cargo build --release -p cluster-rust` makes it", path.display());
    Ok(path)
}

fn measure(bench: &mut Bench<'_>, side: &'static str, names: &Names, mut command: Command, port: u16) -> Result<()> {
    command.env("NODE_CLUSTER_SCHED_POLICY", "rr").stdin(Stdio::null()).stdout(Stdio::null());
    let primary = Primary(command.spawn().context("the primary does not start")?);
    let answers =
        wait::until(Duration::from_secs(10), || super::commands::pid_of_answer(port, Duration::from_secs(2)).ok());
    ensure!(answers.is_some(), "no answer on port {port}");
    wrk::run(bench.tools, port, 1, &[], || Ok(()))?;
    let cpu = || proc_fs::cpu_time(primary.0.id()).context("the primary is gone");
    let before = cpu()?;
    let measured = wrk::run(bench.tools, port, 4, &["-H", "Connection: close"], || Ok(()))?;
    let used = cpu()? - before;
    let how = "`wrk -t1 -c64 -d4s -H 'Connection: close'` on 2 workers, round-robin, no daemon";
    bench.figures.add(names.rate, Unit::PerSecond, Goal::None, how, side, measured.per_second);
    let cost = used.as_secs_f64() * 1e6 / measured.requests;
    bench.figures.add(names.cost, Unit::Microseconds, Goal::None, "CPU time of the primary in that run", side, cost);
    Ok(())
}
