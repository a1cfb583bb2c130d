//! From settings to a worker's process.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use musher_core::ids::SlotId;
use musher_core::spec::Limits;
use musher_process::child_process::Stdio;
use musher_process::ipc::Serialization;
use musher_process::{Child, Spawn, net};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;

use super::Settings;
use crate::limits;

/// Variables that are meant for this process and not for its workers.
const OWN: &[&str] = &[
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "MUSHER_SLOT",
    "MUSHER_WORKER_PID",
    "NODE_CHANNEL_FD",
    "NODE_CHANNEL_SERIALIZATION_MODE",
    "NODE_UNIQUE_ID",
    "NODE_APP_INSTANCE",
];
/// Where a worker finds its channel when nothing else is said.
const CHANNEL: i32 = 3;
/// The inspector's port of a process that names none.
const INSPECTOR: u16 = 9229;

/// A worker's process with our ends of its pipes.
pub(crate) struct Spawned {
    pub(crate) child: Child,
    pub(crate) command: Vec<OsString>,
    pub(crate) pipes: Pipes,
}

/// Our ends.
#[derive(Debug, Default)]
pub(crate) struct Pipes {
    pub(crate) stdin: Option<pipe::Sender>,
    pub(crate) stdout: Option<pipe::Receiver>,
    pub(crate) stderr: Option<pipe::Receiver>,
    pub(crate) others: BTreeMap<i32, UnixStream>,
}

/// A worker's descriptors.
struct Descriptors {
    theirs: Vec<(OwnedFd, i32)>,
    ours: Pipes,
    channel: i32,
}

impl Settings {
    /// Makes a worker's process. Blocks for as long as the system needs for that, some 0.2 to 1 ms.
    pub(crate) fn spawn(
        &self,
        (id, slot): (u32, SlotId),
        (extra, limits): (&BTreeMap<OsString, OsString>, &Limits),
        channel: OwnedFd,
    ) -> io::Result<Spawned> {
        let Descriptors { theirs, ours, channel } = self.descriptors(channel)?;
        let mut env: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
        env.retain(|name, _| !OWN.iter().any(|own| name == own));
        env.extend(self.env.clone());
        env.extend(extra.clone());
        let serialization = match self.serialization {
            Serialization::Json => "json",
            Serialization::Advanced => "advanced",
        };
        let own = [
            ("NODE_CHANNEL_FD", channel.to_string()),
            ("NODE_CHANNEL_SERIALIZATION_MODE", serialization.to_owned()),
            ("NODE_UNIQUE_ID", id.to_string()),
            ("NODE_APP_INSTANCE", slot.to_string()),
        ];
        env.extend(own.map(|(name, value)| (name.into(), value.into())));
        let command = self.command_line(id);
        let child = Spawn {
            args: command.clone(),
            env: env.into_iter().collect(),
            cwd: self.cwd.clone().unwrap_or_else(|| Path::new("/").to_owned()),
            fds: theirs,
            limits: limits::of_the_kernel(limits),
            nice: limits.nice,
            credentials: self.credentials.clone(),
            ..Spawn::new(&self.exec_path)
        }
        .spawn()
        .map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Spawned { child, command, pipes: ours })
    }

    fn command_line(&self, id: u32) -> Vec<OsString> {
        let mut line = vec![self.exec_path.file_name().unwrap_or(self.exec_path.as_os_str()).to_owned()];
        line.extend(self.exec_args.iter().cloned());
        line.extend(self.inspector(id).map(|port| format!("--inspect-port={port}").into()));
        line.extend(self.script.iter().cloned());
        line.extend(self.args.iter().cloned());
        line
    }

    /// Where the inspector of this worker listens, if there is one: two cannot have the same port.
    fn inspector(&self, id: u32) -> Option<u16> {
        const FIRST: u32 = 1024;
        let mut wanted = None;
        for arg in self.exec_args.iter().filter_map(|arg| arg.to_str()).filter(|arg| arg.starts_with("--inspect")) {
            let named = arg.split_once('=').and_then(|(_, at)| at.rsplit(':').next()?.parse().ok());
            wanted = Some(named.or(wanted).unwrap_or(INSPECTOR));
        }
        let base = wanted?;
        if base == 0 || self.inspect_port.is_some() {
            return self.inspect_port.or(Some(0));
        }
        let port = u32::from(base) + id;
        u16::try_from(port).or_else(|_| u16::try_from(FIRST + (port - FIRST) % (65536 - FIRST))).ok()
    }

    fn descriptors(&self, channel: OwnedFd) -> io::Result<Descriptors> {
        let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
        let own = |number: i32| -> Option<BorrowedFd<'_>> {
            [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()].get(usize::try_from(number).ok()?).copied()
        };
        let at = self.stdio.iter().find(|(_, what)| matches!(what, Stdio::Ipc)).map_or(CHANNEL, |(number, _)| *number);
        let usual = if self.silent { Stdio::Pipe } else { Stdio::Inherit };
        let mut all: BTreeMap<i32, Stdio> = (0..3).map(|number| (number, usual.clone())).collect();
        all.extend(self.stdio.clone());
        all.remove(&at);
        let mut made = Descriptors { theirs: vec![(channel, at)], ours: Pipes::default(), channel: at };
        for (number, what) in all {
            match what {
                Stdio::Inherit => {
                    let copy = match own(number) {
                        Some(own) => own.try_clone_to_owned()?,
                        None => musher_process::inherit::duplicate(number)?,
                    };
                    made.theirs.push((copy, number));
                }
                Stdio::Number(ours) => made.theirs.push((musher_process::inherit::duplicate(ours)?, number)),
                Stdio::Fd(fd) => made.theirs.push((fd.try_clone()?, number)),
                Stdio::Pipe => made.pipe(number)?,
                Stdio::Default if number < 3 => made.pipe(number)?,
                Stdio::Ipc => {
                    let twice = format!("the channel can be one descriptor: it is {at} and {number}");
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, twice));
                }
                // Nothing is /dev/null or closed.
                _ => {}
            }
        }
        Ok(made)
    }
}

impl Descriptors {
    fn pipe(&mut self, number: i32) -> io::Result<()> {
        use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
        let theirs = if number > 2 {
            let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
            net::set_nonblocking(&ours)?;
            self.ours.others.insert(number, UnixStream::from_std(ours.into())?);
            theirs
        } else {
            let (reading, writing) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
            if number == 0 {
                net::set_nonblocking(&writing)?;
                self.ours.stdin = Some(pipe::Sender::from_owned_fd(writing)?);
                reading
            } else {
                net::set_nonblocking(&reading)?;
                let ours = Some(pipe::Receiver::from_owned_fd(reading)?);
                *if number == 1 { &mut self.ours.stdout } else { &mut self.ours.stderr } = ours;
                writing
            }
        };
        self.theirs.push((theirs, number));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::team::Settings;

    #[test]
    fn a_command_line_has_nodes_order_and_an_inspector_for_each() {
        let line = |settings: &Settings, id| {
            settings.command_line(id).iter().map(|arg| arg.to_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
        };
        let plain = Settings::program("/bin/x").args(["a", "b"]);
        assert_eq!(line(&plain, 1), "x a b");
        let node = Settings::node("s.js").exec_args(["--inspect", "-r", "m"]).args(["a"]);
        assert_eq!(line(&node, 2), "node --inspect -r m --inspect-port=9231 s.js a");
        let named = node.clone().exec_args(["--inspect-brk=0.0.0.0:65535"]);
        assert_eq!(line(&named, 1), "node --inspect-brk=0.0.0.0:65535 --inspect-port=1024 s.js a");
        assert_eq!(line(&named.inspect_port(0), 1), "node --inspect-brk=0.0.0.0:65535 --inspect-port=0 s.js a");
        assert_eq!(line(&Settings::deno("s.js"), 1), "deno run -A s.js");
    }
}
