//! Runs of a foreign executable, bounded in time and output.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use musher_process::{Child, Spawn, exit, signal};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::FdFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::pipe::{PipeFlags, pipe_with};

use super::{NOT_MUSHER, Refusal};
use crate::keeper::wire::{self, Incoming, Message};
use crate::keeper::{Adoption, LivingSupervisor};

/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(8);
/// The most that is read of each of its outputs.
const MOST: usize = 1 << 20;
/// How much of what it complained of is told.
const TOLD: usize = 200;
/// A number that none of the child's descriptors gets.
const OUT_OF_THE_WAY: i32 = 16;
const SIGKILL: i32 = 9;

/// What it wrote to stdout, and the process, which has ended. How does not matter: its parent may have other things to
/// reap.
pub(super) fn run(executable: BorrowedFd<'_>, state: OwnedFd) -> Result<(Vec<u8>, Child), Refusal> {
    let (child, [text, complaint]) = carry_out(executable, ["takeover-check", "--state", "3"], vec![(state, 3)])?;
    if text.is_empty() {
        let said = told(&complaint);
        return Err(Refusal::new(format!("it does not answer as an executable of musher would: {said}"), NOT_MUSHER));
    }
    Ok((text, child))
}

/// Whether it works as a keeper. One that holds nothing, and whose supervisor has said `shutdown` and is `dead`, has to
/// greet it and to end.
pub(super) fn rehearse_keeper(executable: BorrowedFd<'_>, dead: Child) -> Result<(), Refusal> {
    let (pid, pidfd, link) = (dead.pid.as_raw(), 4, 5);
    let supervisor = Some(LivingSupervisor { pid, pidfd, link, next_exit: 0, next_sequence: 0 });
    let list = Adoption { supervisor, ..Adoption::new(0) }.to_memfd().map_err(system)?;
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(|error| system(error.into()))?;
    rustix::io::ioctl_fionbio(&ours, true).map_err(|error| system(error.into()))?;
    wire::send(&ours, &Message::Shutdown, None).map_err(system)?;
    let fds = vec![(list, 3), (dead.pidfd, pidfd), (theirs, link)];
    let refused = |said: &str| Refusal::new(format!("it does not work as a keeper: {said}"), NOT_MUSHER);
    let carried_out = carry_out(executable, ["keeper", "--adopt", "3"], fds);
    let (_, [_, complaint]) = carried_out.map_err(|refusal| refused(&refusal.reason))?;
    match wire::receive(&ours) {
        Ok(Some(Incoming::Message(Message::Hello { .. }, _))) => Ok(()),
        _ => Err(refused(&told(&complaint))),
    }
}

fn system(error: io::Error) -> Refusal {
    Refusal::new(format!("it cannot be tried: {error}"), "try again")
}

/// Executes it in this role until it has closed its outputs or ended; then it has ended in any case.
fn carry_out(
    executable: BorrowedFd<'_>,
    role: [&str; 3],
    fds: Vec<(OwnedFd, i32)>,
) -> Result<(Child, [Vec<u8>; 2]), Refusal> {
    let (out, its_out) = pipe().map_err(system)?;
    let (err, its_err) = pipe().map_err(system)?;
    let executable = rustix::io::fcntl_dupfd_cloexec(executable, OUT_OF_THE_WAY).map_err(|e| system(e.into()))?;
    let spawn = Spawn {
        args: ["musher"].into_iter().chain(role).map(Into::into).collect(),
        env: std::env::vars_os().collect(),
        fds: [(its_out, 1), (its_err, 2)].into_iter().chain(fds).collect(),
        session: true,
        // In the child as with us.
        ..Spawn::new(format!("/proc/self/fd/{}", executable.as_raw_fd()))
    };
    let child = spawn.spawn().map_err(|error| Refusal::new(format!("it cannot be executed: {error}"), NOT_MUSHER))?;
    let outputs = read_both(out, err, &child);
    let _ = signal(child.pidfd.as_fd(), SIGKILL);
    let _ = exit::wait_for_end(child.pidfd.as_fd(), PATIENCE);
    Ok((child, outputs?))
}

/// The beginning of what it complained of.
fn told(complaint: &[u8]) -> String {
    let complaint = String::from_utf8_lossy(complaint);
    let line: String = complaint.lines().next().unwrap_or_default().chars().take(TOLD).collect();
    if line.is_empty() { "it ends without a word".into() } else { format!("it says only: {line}") }
}

fn pipe() -> io::Result<(File, OwnedFd)> {
    let (reading, writing) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    // Programs expect a pipe that waits.
    rustix::io::ioctl_fionbio(&writing, false)?;
    rustix::io::fcntl_setfd(&writing, FdFlags::CLOEXEC)?;
    Ok((reading.into(), writing))
}

/// Reads until the process has ended or closed both.
fn read_both(out: File, err: File, child: &Child) -> Result<[Vec<u8>; 2], Refusal> {
    let deadline = Instant::now() + PATIENCE;
    let mut outputs = [(out, Vec::new(), true), (err, Vec::new(), true)];
    while outputs.iter().any(|(_, _, open)| *open) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Refusal::new(format!("it does not answer within {} s", PATIENCE.as_secs()), NOT_MUSHER));
        }
        // One that has ended has written everything, though a child of its may hold the pipes open.
        let ended = exit::has_ended(child.pidfd.as_fd()).unwrap_or(true);
        if !ended {
            let mut fds: Vec<PollFd<'_>> = outputs
                .iter()
                .filter(|(_, _, open)| *open)
                .map(|(file, ..)| PollFd::new(file, PollFlags::IN))
                .collect();
            fds.push(PollFd::new(&child.pidfd, PollFlags::IN));
            let timeout =
                Timespec { tv_sec: i64::try_from(left.as_secs()).unwrap_or(1), tv_nsec: left.subsec_nanos().into() };
            let _ = rustix::event::poll(&mut fds, Some(&timeout));
        }
        for (file, bytes, open) in outputs.iter_mut().filter(|(_, _, open)| *open) {
            *open = read_some(file, bytes)? && !ended;
        }
    }
    let [(_, out, _), (_, err, _)] = outputs;
    Ok([out, err])
}

/// Reads what is there. False: nothing more will come.
fn read_some(file: &mut File, bytes: &mut Vec<u8>) -> Result<bool, Refusal> {
    let mut buffer = [0; 16 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Ok(false),
        }
        if bytes.len() > MOST {
            return Err(Refusal::new("it writes without end instead of an answer", NOT_MUSHER));
        }
    }
}
