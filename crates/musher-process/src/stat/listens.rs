//! Whether a process serves: it owns a listening socket.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStrExt;

use crate::pid::Pid;

/// How much of a table of sockets is read. Listening ones come first in tcp and tcp6.
const MAX_TABLE: u64 = 64 << 20;

/// Whether one of the processes has a listening TCP or unix socket. (UDP has no such state.) Processes that we may not
/// look into count as not listening.
///
/// ```
/// use musher_process::{Pid, stat::tree_listens};
///
/// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// assert!(tree_listens(&[Pid::own()]));
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use]
pub fn tree_listens(pids: &[Pid]) -> bool {
    // Sockets by network namespace, each with one process whose tables show it.
    let mut namespaces: BTreeMap<Vec<u8>, (Pid, BTreeSet<u64>)> = BTreeMap::new();
    for pid in pids {
        let inodes = socket_inodes(*pid);
        if inodes.is_empty() {
            continue;
        }
        let namespace = fs::read_link(format!("/proc/{pid}/ns/net")).unwrap_or_default();
        namespaces.entry(namespace.as_os_str().as_bytes().to_vec()).or_insert((*pid, BTreeSet::new())).1.extend(inodes);
    }
    namespaces.values().any(|(pid, inodes)| {
        ["tcp", "tcp6"].iter().any(|table| table_has(*pid, table, listening_tcp, inodes))
            || table_has(*pid, "unix", |line| Row::Unordered(listening_unix(line)), inodes)
    })
}

/// The TCP addresses at which one of these processes listens, in the network namespace that it shares with us. Processes
/// that we may not look into count as not listening.
///
/// ```
/// use musher_process::{Pid, stat::tcp_addresses};
///
/// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// assert!(tcp_addresses(&[Pid::own()]).contains(&listener.local_addr()?));
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use]
pub fn tcp_addresses(pids: &[Pid]) -> Vec<SocketAddr> {
    let inodes: BTreeSet<u64> = pids.iter().flat_map(|pid| socket_inodes(*pid)).collect();
    let mut found = Vec::new();
    for table in ["tcp", "tcp6"] {
        let Ok(file) = File::open(format!("/proc/self/net/{table}")) else { continue };
        for line in BufReader::new(file.take(MAX_TABLE)).split(b'\n').skip(1).map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            match listening_tcp(&line) {
                Row::Listening(inode) if inodes.contains(&inode) => found.extend(local_address(&line)),
                Row::Last => break,
                Row::Listening(_) | Row::Unordered(_) => {}
            }
        }
    }
    found
}

/// The local address of a row of /proc/net/tcp or tcp6: words of memory in hexadecimal, each in this machine's order.
fn local_address(line: &str) -> Option<SocketAddr> {
    let (address, port) = line.split_ascii_whitespace().nth(1)?.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let words = (0..address.len() / 8).map(|n| u32::from_str_radix(address.get(n * 8..n * 8 + 8)?, 16).ok());
    let bytes: Vec<u8> = words.collect::<Option<Vec<u32>>>()?.into_iter().flat_map(u32::to_ne_bytes).collect();
    let address: IpAddr = match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok()?.into(),
        16 => <[u8; 16]>::try_from(bytes).ok()?.into(),
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

/// The inodes of the sockets among the descriptors of a process.
fn socket_inodes(pid: Pid) -> BTreeSet<u64> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return BTreeSet::new() };
    let links = entries.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    links.filter_map(|link| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()).collect()
}

/// What a row of a table says.
enum Row {
    /// The inode of a listening socket.
    Listening(u64),
    /// No row of a listening socket follows.
    Last,
    /// A listening socket or not; the order says nothing.
    Unordered(Option<u64>),
}

fn table_has(pid: Pid, table: &str, row: impl Fn(&str) -> Row, inodes: &BTreeSet<u64>) -> bool {
    let Ok(file) = File::open(format!("/proc/{pid}/net/{table}")) else { return false };
    for line in BufReader::new(file.take(MAX_TABLE)).split(b'\n').skip(1) {
        let Ok(line) = line else { return false };
        match row(&String::from_utf8_lossy(&line)) {
            Row::Listening(inode) | Row::Unordered(Some(inode)) if inodes.contains(&inode) => return true,
            Row::Last => return false,
            Row::Listening(_) | Row::Unordered(_) => {}
        }
    }
    false
}

/// A row of /proc/net/tcp: `sl local remote st tx:rx tr:when retrnsmt uid timeout inode`. The kernel lists all
/// listening sockets (state 0A) before the others, of which there may be very many.
fn listening_tcp(line: &str) -> Row {
    let mut fields = line.split_ascii_whitespace();
    if fields.nth(3) != Some("0A") {
        return Row::Last;
    }
    fields.nth(5).and_then(|inode| inode.parse().ok()).map_or(Row::Unordered(None), Row::Listening)
}

/// A row of /proc/net/unix: `address: refs protocol flags type state inode path`, with the flag __SO_ACCEPTCON.
fn listening_unix(line: &str) -> Option<u64> {
    let mut fields = line.split_ascii_whitespace();
    let flags = u32::from_str_radix(fields.nth(3)?, 16).ok()?;
    let inode = fields.nth(2)?.parse().ok()?;
    (flags & 0x1_0000 != 0).then_some(inode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows() {
        let tcp =
            "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0  0 31 1 0 100 0 0 10 0";
        assert!(matches!(listening_tcp(tcp), Row::Listening(31)));
        assert!(matches!(listening_tcp(&tcp.replace(" 0A ", " 01 ")), Row::Last));
        let unix = "0000000000000000: 00000002 00000000 00010000 0001 01 23456 /run/x y.sock";
        assert_eq!(listening_unix(unix), Some(23456));
        assert_eq!(listening_unix(&unix.replace("00010000", "00000000")), None);
        assert_eq!(listening_unix(""), None);
    }
}
