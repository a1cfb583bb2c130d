//! A team of real programs under load, a seeded schedule of faults, and the fate of every request.
//!
//! `musher-chaos [--minutes N | --seconds N] [--seed S] [--faults a,b] [--foreground] [--musher PATH] [--hyper PATH]`;
//! `cargo xtask chaos` builds what it needs and calls it. docs/design/chaos.md says what is checked, and by which rules.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a program for people")]

mod apps;
mod args;
mod clients;
mod daemon;
mod ending;
mod fates;
mod faults;
mod foreground;
mod frozen;
mod lines;
mod report;
mod schedule;
mod team;
mod world;

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use musher_bench::wait;

use args::Args;
use clients::Clients;
use report::Progress;
use schedule::{Event, Kind};
use team::Team;
use world::World;

/// Set in the process that has a mount namespace of its own.
const INSIDE: &str = "MUSHER_CHAOS_INSIDE";

fn main() -> ExitCode {
    let result = args::parse(std::env::args().skip(1)).and_then(|args| {
        enter_namespace()?;
        run(args).map(|good| if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    });
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(2)
    })
}

/// Becomes the same program where file systems can be mounted that nobody else sees; returns when it is there, or cannot be.
fn enter_namespace() -> Result<()> {
    let ways: [&[&str]; 2] = [&["--mount"], &["--user", "--map-root-user", "--mount"]];
    for way in ways {
        let mut test = Command::new("unshare");
        test.args(way).arg("true").stdin(Stdio::null()).stderr(Stdio::null());
        if std::env::var_os(INSIDE).is_none() && test.status().is_ok_and(|status| status.success()) {
            let mut same = Command::new("unshare");
            same.args(way).arg("--").arg(std::env::current_exe()?).args(std::env::args_os().skip(1));
            return Err(same.env(INSIDE, "1").exec()).context("unshare");
        }
    }
    Ok(())
}

/// The whole run; whether nothing was lost and nothing is wrong.
fn run(args: Args) -> Result<bool> {
    let inside = std::env::var_os(INSIDE).is_some();
    let disk = (64 << 20) + args.length.as_secs() * (256 << 10);
    let team = Team::prepare(args.tools, inside.then_some(disk))?;
    // What is left out leaves the rest as it is: a seed names the same schedule everywhere.
    let kinds = possible(&team, &args.kinds);
    let mut events = schedule::schedule(args.seed, args.length, &args.kinds);
    events.retain(|event| kinds.contains(&event.kind));
    eprintln!("seed {}: {} events in {} s; the team starts", args.seed, events.len(), args.length.as_secs());
    team.start()?;
    let clients = Clients::start(&team);
    if wait::until(team::PATIENCE, || clients.all_answered(2).then_some(())).is_none() {
        bail!("before anything was done to them, these do not answer: {}", clients.unanswered(2).join(", "));
    }
    let world = World::new(team);
    let count = play(&world, clients, &events, args.length);

    let lines = ending::lines(&world);
    ending::unprovoked(&world);
    report::tables(&world, &count, &lines);
    Ok(report::verdict(&world, &count, &events, &args.replay))
}

/// The kinds that this build and this machine allow.
fn possible(team: &Team, asked: &[Kind]) -> Vec<Kind> {
    let knows = team.knows;
    let foreground = team.foreground.is_some();
    let (possible, not): (Vec<Kind>, Vec<Kind>) = asked.iter().partition(|kind| match kind {
        Kind::FullDisk => team.can_fill,
        // Process 1 cannot be killed; the end of this one is the end of the team's foreground.
        Kind::KillKeeper | Kind::KillBoth => !foreground,
        Kind::Leak => knows.limits_memory,
        Kind::Uncaught => knows.on_uncaught,
        Kind::Upgrade => knows.upgrade,
        _ => true,
    });
    for kind in not {
        let why = match kind {
            Kind::FullDisk => "no right to mount a file system",
            Kind::KillKeeper | Kind::KillBoth => "in the foreground it stands for all",
            _ => "this musher has it not",
        };
        eprintln!("left out: {} ({why})", kind.word());
    }
    possible
}

/// Carries out the schedule under load, and waits until all is well again.
fn play(world: &World, mut clients: Clients, events: &[Event], length: Duration) -> clients::Count {
    let mut progress = Progress::new();
    let interrupted = interruption();
    std::thread::scope(|scope| {
        let mut running = Vec::new();
        let mut next = events.iter().peekable();
        while !world.is_stopping() && (world.started.elapsed() < length || next.peek().is_some()) {
            while let Some(event) = next.next_if(|event| event.at <= world.started.elapsed()) {
                running.push(scope.spawn(|| faults::carry_out(world, event)));
            }
            std::thread::sleep(Duration::from_millis(20));
            if interrupted.try_recv().is_ok() {
                world.stop();
            }
            clients.look(world);
            progress.show(world, &clients.count.all, length, events.len());
        }
        while !running.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            std::thread::sleep(Duration::from_millis(20));
            clients.look(world);
            progress.show(world, &clients.count.all, length, events.len());
        }
    });
    ending::settled(world);
    // Whatever the faults left behind has had its time.
    std::thread::sleep(world::AFTERMATH);
    progress.end();
    let count = clients.finish(world);
    ending::nothing_left(world);
    count
}

/// Receives something when the user interrupts: the run ends in good order, with its checks.
fn interruption() -> std::sync::mpsc::Receiver<()> {
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        if let Ok(runtime) = runtime
            && runtime.block_on(tokio::signal::ctrl_c()).is_ok()
        {
            let _ = sender.try_send(());
        }
    });
    receiver
}
