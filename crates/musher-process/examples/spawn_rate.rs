//! How long a spawn takes, and a spawn with the wait for the end, against the standard library and tokio:
//! `cargo run --release --example spawn_rate [count] [MiB]`.
//!
//! The second number is memory that this process holds: it must not matter. Both share the memory with the child until
//! execve(2), where a fork(2) would copy page tables.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use musher_process::exit::wait_for_end;
use musher_process::{Spawn, reap};

/// Rounds of those that are compared.
const ROUNDS: usize = 11;

fn main() -> io::Result<()> {
    let mut numbers = std::env::args().skip(1).filter_map(|arg| arg.parse::<usize>().ok());
    let count = numbers.next().unwrap_or(1000);
    let ballast = vec![1_u8; numbers.next().unwrap_or(8) << 20];
    let mut out = io::stdout().lock();
    for (name, spawn) in [("musher-process", ours as fn() -> io::Result<Duration>), ("std::process", standard)] {
        let mut times = (0..count).map(|_| spawn()).collect::<io::Result<Vec<_>>>()?;
        times.sort_unstable();
        let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or_default();
        writeln!(out, "{name:15} median {:?}, 99 % {:?}", at(50), at(99))?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut rates = [(); 4].map(|()| Vec::new());
    // In turns, so that what drifts on the machine drifts for all.
    for _ in 0..ROUNDS {
        let each = (count / ROUNDS).max(1);
        rates[0].push(rate(each, || ours().map(|_| ()))?);
        rates[1].push(runtime.block_on(awaited(each))?);
        rates[2].push(rate(each, || standard().map(|_| ()))?);
        rates[3].push(runtime.block_on(awaited_of_tokio(each))?);
    }
    for (name, rates) in ["Spawn", "child_process", "std::process", "tokio::process"].iter().zip(&mut rates) {
        rates.sort_unstable_by(f64::total_cmp);
        let (least, most) = (rates.first().unwrap_or(&0.0), rates.last().unwrap_or(&0.0));
        writeln!(out, "{name:15} started and awaited: {:.0}/s ({least:.0} to {most:.0})", rates[rates.len() / 2])?;
    }
    writeln!(
        out,
        "{count} spawns each, parent with {} MiB",
        ballast.iter().map(|byte| usize::from(*byte)).sum::<usize>() >> 20
    )
}

/// How often a second something can be done.
fn rate(count: usize, mut one: impl FnMut() -> io::Result<()>) -> io::Result<f64> {
    let start = Instant::now();
    (0..count).try_for_each(|_| one())?;
    #[expect(clippy::cast_precision_loss, reason = "thousands")]
    Ok(count as f64 / start.elapsed().as_secs_f64())
}

/// The same in a runtime, which does not end in between.
async fn awaited(count: usize) -> io::Result<f64> {
    use musher_process::child_process::{Command, Stdio};
    let start = Instant::now();
    for _ in 0..count {
        let command = Command::new("/bin/true").stdio_all(Stdio::Ignore);
        command.spawn().map_err(io::Error::other)?.wait().await;
    }
    #[expect(clippy::cast_precision_loss, reason = "thousands")]
    Ok(count as f64 / start.elapsed().as_secs_f64())
}

/// The same of tokio.
async fn awaited_of_tokio(count: usize) -> io::Result<f64> {
    let start = Instant::now();
    for _ in 0..count {
        let mut command = tokio::process::Command::new("/bin/true");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn()?.wait().await?;
    }
    #[expect(clippy::cast_precision_loss, reason = "thousands")]
    Ok(count as f64 / start.elapsed().as_secs_f64())
}

fn ours() -> io::Result<Duration> {
    let spawn = Spawn { env: std::env::vars_os().collect(), session: true, ..Spawn::new("/bin/true") };
    let start = Instant::now();
    let child = spawn.spawn().map_err(io::Error::other)?;
    let time = start.elapsed();
    wait_for_end(child.pidfd.as_fd(), Duration::from_secs(10))?;
    reap(child.pidfd.as_fd())?;
    Ok(time)
}

#[expect(clippy::disallowed_methods, reason = "what it is compared with")]
fn standard() -> io::Result<Duration> {
    let mut command = Command::new("/bin/true");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let start = Instant::now();
    let mut child = command.spawn()?;
    let time = start.elapsed();
    child.wait()?;
    Ok(time)
}
