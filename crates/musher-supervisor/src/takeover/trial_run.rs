//! One run of a foreign executable, bounded in time and output.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use musher_process::{Child, Spawn, exit, signal};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::FdFlags;
use rustix::pipe::{PipeFlags, pipe_with};

use super::{NOT_MUSHER, Refusal};

/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(8);
/// The most that is read of each of its outputs.
const MOST: usize = 1 << 20;
/// How much of what it complained of is told.
const TOLD: usize = 200;
/// A number that none of the child's descriptors gets.
const OUT_OF_THE_WAY: i32 = 16;
const SIGKILL: i32 = 9;

/// What it wrote to stdout. How it ended does not matter: its parent may have other things to reap.
pub(super) fn run(executable: BorrowedFd<'_>, state: OwnedFd) -> Result<Vec<u8>, Refusal> {
    let system = |error: io::Error| Refusal::new(format!("it cannot be tried: {error}"), "try again");
    let (out, its_out) = pipe().map_err(system)?;
    let (err, its_err) = pipe().map_err(system)?;
    let executable = rustix::io::fcntl_dupfd_cloexec(executable, OUT_OF_THE_WAY).map_err(|e| system(e.into()))?;
    let spawn = Spawn {
        // In the child as with us.
        program: format!("/proc/self/fd/{}", executable.as_raw_fd()).into(),
        args: ["musher", "takeover-check", "--state", "3"].map(Into::into).to_vec(),
        env: std::env::vars_os().collect(),
        cwd: "/".into(),
        fds: vec![(its_out, 1), (its_err, 2), (state, 3)],
        session: true,
        limits: Vec::new(),
        nice: None,
        credentials: None,
        listen_pid: false,
        cgroup: None,
    };
    let child = spawn.spawn().map_err(|error| Refusal::new(format!("it cannot be executed: {error}"), NOT_MUSHER))?;
    let outputs = read_both(out, err, &child);
    let _ = signal(child.pidfd.as_fd(), SIGKILL);
    let [text, complaint] = outputs?;
    if text.is_empty() {
        let complaint = String::from_utf8_lossy(&complaint);
        let line: String = complaint.lines().next().unwrap_or_default().chars().take(TOLD).collect();
        let said = if line.is_empty() { "it ends without a word".into() } else { format!("it says only: {line}") };
        return Err(Refusal::new(format!("it does not answer as an executable of musher would: {said}"), NOT_MUSHER));
    }
    Ok(text)
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
