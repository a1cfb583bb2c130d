//! Real child processes for tests: described in a line, awaited with a deadline, gone at the end.

#![expect(clippy::unwrap_used, reason = "a failed preparation fails the test")]

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use musher_process::exit::wait_for_end;
use musher_process::{Child, ExitStatus, Spawn, reap, signal};

/// How long anything may take on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// `program args`, with `PATH` and nothing else in the environment.
pub(crate) fn program(path: impl Into<PathBuf>, args: &[&str]) -> Spawn {
    let program = path.into();
    let args = std::iter::once(program.clone().into_os_string()).chain(args.iter().map(OsString::from)).collect();
    let env = vec![("PATH".into(), std::env::var_os("PATH").unwrap())];
    Spawn { args, env, session: true, ..Spawn::new(program) }
}

/// `sh -c script`.
pub(crate) fn sh(script: &str) -> Spawn {
    program("/bin/sh", &["-c", script])
}

/// `python3 -c script`.
pub(crate) fn python(script: &str) -> Spawn {
    let path = std::env::var_os("PATH").unwrap();
    let python = musher_process::lookup::find_in_path("python3".as_ref(), Some(&path), Path::new("/")).unwrap();
    program(python, &["-c", script])
}

/// A running child that is killed with its process group, and reaped, at the end of the test.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) output: File,
}

impl Running {
    /// Starts it with stdout and stderr in a pipe.
    pub(crate) fn start(mut spawn: Spawn) -> Running {
        let (reading, writing) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        if !spawn.fds.iter().any(|(_, number)| *number == 1) {
            spawn.fds.push((writing.try_clone().unwrap(), 1));
        }
        if !spawn.fds.iter().any(|(_, number)| *number == 2) {
            spawn.fds.push((writing, 2));
        }
        Running { child: spawn.spawn().unwrap(), output: reading.into() }
    }

    /// The next line of its output.
    pub(crate) fn line(&mut self) -> String {
        let mut line = Vec::new();
        let mut byte = [0];
        while self.output.read(&mut byte).unwrap() == 1 && byte != [b'\n'] {
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap()
    }

    /// Everything to the end of its output.
    pub(crate) fn rest(&mut self) -> String {
        let mut text = String::new();
        self.output.read_to_string(&mut text).unwrap();
        text
    }

    /// How it ended.
    pub(crate) fn wait(&self) -> ExitStatus {
        assert!(wait_for_end(self.child.pidfd.as_fd(), DEADLINE).unwrap(), "{} still runs", self.child.pid);
        reap(self.child.pidfd.as_fd()).unwrap().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // As long as it is not reaped the number of the group is its own.
        let there = signal(self.child.pidfd.as_fd(), 0).is_ok();
        if let Some(group) = rustix::process::Pid::from_raw(self.child.pid.as_raw()).filter(|_| there) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = wait_for_end(self.child.pidfd.as_fd(), DEADLINE);
        let _ = reap(self.child.pidfd.as_fd());
    }
}

/// What it prints, when it succeeds.
pub(crate) fn output(spawn: Spawn) -> String {
    let mut running = Running::start(spawn);
    let text = running.rest();
    assert_eq!(running.wait(), ExitStatus::Code(0), "{text}");
    text
}

/// A file with this content and permissions.
pub(crate) fn file(directory: &Path, name: &str, content: &[u8], mode: u32) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = directory.join(name);
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    path
}

/// /dev/null.
pub(crate) fn null() -> OwnedFd {
    File::options().read(true).write(true).open("/dev/null").unwrap().into()
}

/// Takes every permission from other users.
pub(crate) fn only_for_us(directory: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700)).unwrap();
}
