//! Readings of `/proc`: memory, CPU time, sockets, environment, and signals by pidfd.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::wait;
use rustix::net::{SocketAddrAny, getpeername, getsockname};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, Signal, pidfd_getfd, pidfd_open, pidfd_send_signal};

/// Resident memory of a process in bytes (VmRSS).
pub fn rss_bytes(pid: u32) -> Option<u64> {
    memory_line(pid, "VmRSS:")
}

/// Resident memory of a process that is not of files, such as its code (RssAnon), in bytes.
pub fn anonymous_bytes(pid: u32) -> Option<u64> {
    memory_line(pid, "RssAnon:")
}

/// The most resident memory that a process had at a time, in bytes (VmHWM).
pub fn peak_bytes(pid: u32) -> Option<u64> {
    memory_line(pid, "VmHWM:")
}

fn memory_line(pid: u32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(name))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

/// CPU time of all threads of a process, to the nanosecond (`schedstat`).
pub fn cpu_time(pid: u32) -> Option<Duration> {
    let mut nanos = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let path = task.ok()?.path().join("schedstat");
        if let Ok(text) = fs::read_to_string(path) {
            nanos += text.split_whitespace().next()?.parse::<u64>().ok()?;
        }
    }
    Some(Duration::from_nanos(nanos))
}

/// CPU time of a child that has ended and was not waited for, in steps of 10 ms (fields 14 and 15 of `stat`: the threads
/// that ended before are in it).
pub fn cpu_time_of_ended(pid: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace().skip(11);
    let (user, system) = (fields.next()?.parse::<u64>().ok()?, fields.next()?.parse::<u64>().ok()?);
    Some(Duration::from_millis((user + system) * 1000 / rustix::param::clock_ticks_per_second()))
}

/// Whether the process runs: neither gone nor a zombie.
pub fn is_alive(pid: u32) -> bool {
    state(pid).is_some_and(|state| !"ZX".contains(state))
}

/// The process's state, as a letter of ps(1).
pub fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; the state follows the last ')'.
    stat[stat.rfind(')')? + 1..].trim_start().chars().next()
}

/// The parent's pid.
pub fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat[stat.rfind(')')? + 1..].split_whitespace().nth(1)?.parse().ok()
}

/// The variables that the process was started with, as `KEY=value`.
pub fn environ(pid: u32) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    bytes.split(|b| *b == 0).filter(|v| !v.is_empty()).map(|v| String::from_utf8_lossy(v).into_owned()).collect()
}

/// The command line, NULs as spaces.
pub fn command_line(pid: u32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ").trim_end().to_owned()
}

/// Every process whose environment holds one of `variables` (`KEY=value`), zombies left out.
pub fn with_variable(variables: &[String]) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            *pid != std::process::id() && is_alive(*pid) && environ(*pid).iter().any(|v| variables.contains(v))
        })
        .collect()
}

/// The processes' children.
pub fn children(pid: u32) -> Vec<u32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    tasks
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok())
        .flat_map(|text| text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>())
        .collect()
}

/// Sends a signal to exactly this process: the pid is opened first, and a process that is gone is an error.
///
/// # Errors
///
/// What pidfd_open(2) and pidfd_send_signal(2) say.
pub fn signal(pid: u32, signal: Signal) -> io::Result<()> {
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
    let process = pidfd_open(raw, PidfdFlags::empty())?;
    pidfd_send_signal(&process, signal)?;
    Ok(())
}

/// `kill -9`.
///
/// # Errors
///
/// As [`signal`].
pub fn kill9(pid: u32) -> io::Result<()> {
    signal(pid, Signal::KILL)
}

/// The clients' ports of the TCP connections to local port `port` that the process holds: those it has accepted and not
/// closed.
pub fn accepted(pid: u32, port: u16) -> HashSet<u16> {
    match own_connections(pid) {
        Ok(connections) => connections.into_iter().filter(|(own, _)| *own == port).map(|(_, client)| client).collect(),
        // We may look at it, and may not have its sockets.
        Err(_) => accepted_by_table(pid, port),
    }
}

/// The ports of the TCP connections that the process holds: its own and the peer's. From the sockets themselves: the
/// kernel's table is long while clients come and go, and the process may have been stopped for this.
fn own_connections(pid: u32) -> io::Result<Vec<(u16, u16)>> {
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
    let process = pidfd_open(raw, PidfdFlags::empty())?;
    let mut connections = Vec::new();
    for fd in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let path = fd?.path();
        let number = path.file_name().and_then(|name| name.to_str()?.parse().ok());
        let (Some(number), Ok(target)) = (number, fs::read_link(&path)) else { continue };
        if !target.to_string_lossy().starts_with("socket:") {
            continue;
        }
        let socket = pidfd_getfd(&process, number, PidfdGetfdFlags::empty())?;
        // A socket that listens, or is of another family, has no such peer.
        let port = |address: SocketAddrAny| SocketAddr::try_from(address).ok().map(|address| address.port());
        if let (Ok(own), Ok(Some(peer))) = (getsockname(&socket), getpeername(&socket))
            && let (Some(own), Some(peer)) = (port(own), port(peer))
        {
            connections.push((own, peer));
        }
    }
    Ok(connections)
}

fn accepted_by_table(pid: u32, port: u16) -> HashSet<u16> {
    let connections = tcp_sockets(port);
    let own = socket_inodes(pid);
    let held = connections.into_iter().filter(|(inode, state, _)| state != LISTEN && own.contains(inode));
    held.map(|(_, _, client)| client).collect()
}

/// `kill -9` of a worker that serves local port `port`, stopped for an instant to see what it holds: the clients' ports
/// of the connections that die with it. What still waits to be accepted is not among them.
///
/// # Errors
///
/// When the worker is gone already, or does not stop within a second.
pub fn kill9_holding(pid: u32, port: u16) -> io::Result<HashSet<u16>> {
    signal(pid, Signal::STOP)?;
    let limit = Duration::from_secs(1);
    let stopped = wait::until_every(Duration::from_micros(200), limit, || (state(pid)? == 'T').then_some(()));
    let held = accepted(pid, port);
    kill9(pid)?;
    stopped.map(|()| held).ok_or_else(|| io::ErrorKind::TimedOut.into())
}

/// Whether any process listens on TCP port `port` (IPv4 or IPv6).
pub fn listens(port: u16) -> bool {
    tcp_sockets(port).iter().any(|(_, state, _)| state == LISTEN)
}

/// Whether a TCP connection has `port` as its local one: a client's, when nobody listens there.
pub fn is_of_connection(port: u16) -> bool {
    tcp_sockets(port).iter().any(|(_, state, _)| state == ESTABLISHED)
}

/// How many files the process has open.
pub fn open_files(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map(Iterator::count).unwrap_or(0)
}

fn socket_inodes(pid: u32) -> HashSet<String> {
    let Ok(fds) = fs::read_dir(format!("/proc/{pid}/fd")) else { return HashSet::new() };
    fds.filter_map(|fd| {
        let target = fs::read_link(fd.ok()?.path()).ok()?;
        Some(target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
    })
    .collect()
}

/// `TCP_ESTABLISHED` in /proc/net/tcp.
const ESTABLISHED: &str = "01";
/// `TCP_LISTEN` in /proc/net/tcp.
const LISTEN: &str = "0A";

/// Inode, state and remote port of every TCP socket with this local port.
fn tcp_sockets(port: u16) -> Vec<(String, String, u16)> {
    let suffix = format!(":{port:04X}");
    let mut sockets = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        for line in fs::read_to_string(table).unwrap_or_default().lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if fields.len() > 9 && fields[1].ends_with(&suffix) {
                let remote = fields[2].rsplit(':').next().and_then(|port| u16::from_str_radix(port, 16).ok());
                sockets.push((fields[9].to_owned(), fields[3].to_owned(), remote.unwrap_or(0)));
            }
        }
    }
    sockets
}
