//! Whether a process became the program of its run.
//!
//! A supervisor may be killed between the birth of a process and the instant when it lets it execute the program. Such a
//! process ends by itself, with [`NOT_EXECUTED`]; the next supervisor has to know that it counts for nothing, above all
//! that it is no worker that died.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use musher_process::spawn::NOT_EXECUTED;
use musher_process::{ExitStatus, Pid, exit, tree};

/// What cannot be ignored.
const SIGKILL: i32 = 9;
/// How long a process that was let go may take to execute its program: a file system may be slow.
const PATIENCE: Duration = Duration::from_secs(2);
/// There is no event for an execve(2) of somebody else's child.
const PAUSE: Duration = Duration::from_millis(2);

/// Waits until it is decided. `kept` is how it ended, if the keeper has told. A process that hangs before its program
/// (it was stopped, say) is ended. When in doubt the process is its program.
pub(super) fn was_executed(pidfd: BorrowedFd<'_>, pid: Option<i32>, marker: &str, kept: Option<ExitStatus>) -> bool {
    let deadline = Instant::now() + PATIENCE;
    let marked = || pid.and_then(Pid::from_raw).is_some_and(|pid| tree::is_marked(pid, marker));
    loop {
        if marked() {
            return true;
        }
        match exit::wait_for_end(pidfd, PAUSE) {
            Ok(true) => break,
            Ok(false) if Instant::now() < deadline => {}
            Ok(false) if pid.and_then(Pid::from_raw).is_some_and(tree::has_our_environment) => {
                let _ = musher_process::signal(pidfd, SIGKILL);
                return exit::wait_for_end(pidfd, PATIENCE).is_ok_and(|ended| !ended);
            }
            Ok(false) | Err(_) => return true,
        }
    }
    // It may have executed its program and ended between two looks.
    let status = kept.or_else(|| musher_process::reap(pidfd).ok().flatten()).unwrap_or(ExitStatus::Unknown);
    !matches!(status, ExitStatus::Code(NOT_EXECUTED) | ExitStatus::Unknown)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use musher_process::{Child, Spawn};

    use super::*;

    fn start(script: &str) -> Child {
        let spawn = Spawn {
            args: ["sh", "-c", script].map(Into::into).to_vec(),
            env: vec![("PATH".into(), "/bin:/usr/bin".into()), (tree::MARKER.into(), "7@here".into())],
            session: true,
            ..Spawn::new("/bin/sh")
        };
        spawn.spawn().unwrap()
    }

    fn decided(child: &Child, kept: Option<ExitStatus>) -> bool {
        was_executed(child.pidfd.as_fd(), Some(child.pid.as_raw()), "7@here", kept)
    }

    #[test]
    fn a_process_with_the_mark_is_its_program() {
        let child = start("exec sleep 600");
        assert!(decided(&child, None));
        musher_process::signal(child.pidfd.as_fd(), 9).unwrap();
        assert!(exit::wait_for_end(child.pidfd.as_fd(), Duration::from_secs(30)).unwrap());
        assert!(decided(&child, None), "killed, it was a program all the same");
    }

    #[test]
    fn one_that_ended_without_having_executed_anything_counts_for_nothing() {
        let child = start("exit 127");
        assert!(exit::wait_for_end(child.pidfd.as_fd(), Duration::from_secs(30)).unwrap());
        assert!(!decided(&child, None));
        assert!(!decided(&child, Some(ExitStatus::Unknown)), "nobody knows how it ended");
        assert!(decided(&child, Some(ExitStatus::Code(1))), "a program ended so");
    }
}
