//! `--during`: a command in the middle of a run, so that before, during and after can be told apart.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use musher_load::engine::{Control, Engine, Observer, Outcome};
use musher_process::{Spawn, exit};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::args::JudgeArgs;
use crate::failure::Failure;
use crate::output::note;

/// Runs `command` while the engine runs: what it does before is measured first, what comes after it at the end.
pub(super) fn run(
    engine: Engine,
    observer: &mut dyn Observer,
    command: &str,
    args: &JudgeArgs,
) -> Result<Outcome, Failure> {
    let control = engine.control();
    let warm_up = engine.warm_up();
    control.name("before");
    std::thread::scope(|scope| {
        let told = scope.spawn(|| direct(&control, command, args, warm_up));
        let outcome = engine.run(observer);
        let told = told.join().unwrap_or_else(|_| Err("the thread of the command ended".to_owned()));
        if let Err(why) = told {
            return Err(Failure::environment(format!("--during {command:?}: {why}")));
        }
        Ok(outcome?)
    })
}

/// Waits, runs the command, waits, ends the run.
fn direct(control: &Control, command: &str, args: &JudgeArgs, warm_up: Duration) -> Result<(), String> {
    control.wait(warm_up + args.before);
    if control.is_ending() {
        return Ok(());
    }
    let result = spawn(command);
    match result {
        Ok(pidfd) => {
            control.mark(&format!("during: {command}"));
            let status = wait_for(control, &pidfd);
            control.mark("after");
            if let Some(status) = status.filter(|status| !status.is_success()) {
                note(&format!("{command}: {status}"));
            }
            control.wait(control.elapsed() + args.after);
            control.finish();
            Ok(())
        }
        Err(why) => {
            control.finish();
            Err(why)
        }
    }
}

/// Until the command has ended, or the run.
fn wait_for(control: &Control, pidfd: &OwnedFd) -> Option<exit::ExitStatus> {
    loop {
        let mut fds = [PollFd::new(pidfd, PollFlags::IN), PollFd::new(control.end(), PollFlags::IN)];
        // Both wake it; the limit is for a wake that another thread has taken.
        let limit = Timespec { tv_sec: 1, tv_nsec: 0 };
        let _ = poll(&mut fds, Some(&limit));
        if let Ok(Some(status)) = exit::reap(pidfd.as_fd()) {
            return Some(status);
        }
        if control.is_ending() {
            return None;
        }
    }
}

/// Starts the shell; what it writes goes to standard error, because standard output is the report's.
fn spawn(command: &str) -> Result<OwnedFd, String> {
    let error = |error: std::io::Error| error.to_string();
    let out = rustix::io::dup(std::io::stderr().as_fd()).map_err(|errno| error(errno.into()))?;
    let err = rustix::io::dup(std::io::stderr().as_fd()).map_err(|errno| error(errno.into()))?;
    let spawn = Spawn {
        args: ["sh", "-c", command].map(OsString::from).to_vec(),
        env: std::env::vars_os().collect(),
        cwd: std::env::current_dir().map_err(error)?,
        fds: vec![(out, 1), (err, 2)],
        ..Spawn::new("/bin/sh")
    };
    spawn.spawn().map(|child| child.pidfd).map_err(|error| error.to_string())
}
