//! The list that a process begins with which holds things already: which descriptor number has which name.
//!
//! Lines of text in a sealed memory file, `word values…`; a word that is not known is ignored, so that an older or
//! newer executable can read it. The same list serves the first start of a daemon, a supervisor that becomes keeper, and
//! either of them that becomes another executable.

use std::fmt::Write;
use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};

use musher_process::memfd;

use super::ExitRecord;
use super::wire::{Versions, is_name};

/// More than 65536 names of full length need.
const MAX_LIST: usize = 16 << 20;

/// What a keeper takes over at its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adoption {
    /// The soft limit of open files that workers shall have; 0: unknown.
    pub(crate) open_files: u64,
    /// Descriptor numbers by name.
    pub(crate) fds: Vec<(String, RawFd)>,
    /// Exits that no supervisor has dealt with.
    pub(crate) exits: Vec<ExitRecord>,
    /// For a keeper: the supervisor that lives.
    pub(crate) supervisor: Option<LivingSupervisor>,
    /// For a supervisor: what its keeper speaks.
    pub(crate) keeper: Option<Versions>,
    /// Everything is to be stopped.
    pub(crate) end_requested: bool,
}

/// A supervisor that its keeper goes on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LivingSupervisor {
    pub(crate) pid: i32,
    pub(crate) pidfd: RawFd,
    pub(crate) link: RawFd,
    /// The exits before this sequence have been told to it.
    pub(crate) next_exit: u64,
    /// The sequence of the next exit that is recorded.
    pub(crate) next_sequence: u64,
}

impl Adoption {
    /// An empty list. `open_files` is the soft limit of open files before anybody raised it.
    pub fn new(open_files: u64) -> Adoption {
        Adoption { open_files, ..Adoption::default() }
    }

    /// Adds a descriptor by the number that it will have in the keeper.
    pub fn fd(&mut self, name: &str, number: RawFd) {
        self.fds.push((name.to_owned(), number));
    }

    /// The list as a sealed memory file.
    ///
    /// # Errors
    ///
    /// When the system has no memory or descriptors.
    pub fn to_memfd(&self) -> io::Result<OwnedFd> {
        let mut text = format!("open-files {}\n", self.open_files);
        for (name, number) in &self.fds {
            let _ = writeln!(text, "fd {number} {name}");
        }
        for exit in &self.exits {
            let _ = writeln!(text, "exit {} {} {} {}", exit.pid, exit.wait_status, exit.time_ms, exit.sequence);
        }
        if let Some(LivingSupervisor { pid, pidfd, link, next_exit, next_sequence }) = self.supervisor {
            let _ = writeln!(text, "supervisor {pid} {pidfd} {link} {next_exit} {next_sequence}");
        }
        if let Some(Versions { oldest, newest }) = self.keeper {
            let _ = writeln!(text, "keeper {oldest} {newest}");
        }
        if self.end_requested {
            text.push_str("end-requested\n");
        }
        memfd::memfd_with("musher-adoption", text.as_bytes())
    }

    /// Reads the list back.
    ///
    /// # Errors
    ///
    /// When it cannot be read. Lines that make no sense are skipped: the rest is worth having.
    pub(crate) fn read(list: impl AsFd) -> io::Result<Adoption> {
        let bytes = memfd::read_memfd(list.as_fd(), MAX_LIST)?;
        let mut adoption = Adoption::default();
        for line in String::from_utf8_lossy(&bytes).lines() {
            adoption.read_line(line);
        }
        Ok(adoption)
    }

    fn read_line(&mut self, line: &str) -> Option<()> {
        let mut words = line.split(' ');
        match words.next()? {
            "open-files" => self.open_files = words.next()?.parse().ok()?,
            "fd" => {
                let (number, name) = (words.next()?.parse().ok()?, words.next()?);
                if is_name(name) {
                    self.fd(name, number);
                }
            }
            "exit" => {
                let (pid, wait_status) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
                let time_ms = words.next()?.parse().ok()?;
                // Not said by the first versions.
                let sequence = words.next().and_then(|word| word.parse().ok()).unwrap_or(self.exits.len() as u64);
                self.exits.push(ExitRecord { sequence, pid, wait_status, time_ms });
            }
            "supervisor" => {
                let mut number = || words.next()?.parse::<u64>().ok();
                self.supervisor = Some(LivingSupervisor {
                    pid: i32::try_from(number()?).ok()?,
                    pidfd: RawFd::try_from(number()?).ok()?,
                    link: RawFd::try_from(number()?).ok()?,
                    next_exit: number()?,
                    next_sequence: number()?,
                });
            }
            "keeper" => {
                let mut number = || words.next()?.parse().ok();
                self.keeper = Some(Versions { oldest: number()?, newest: number()? });
            }
            "end-requested" => self.end_requested = true,
            _ => {}
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_back_as_written() {
        let mut list = Adoption::new(1024);
        list.fd("lock", 4);
        list.fd("run/1/pidfd", 500);
        list.exits = vec![ExitRecord { sequence: 5, pid: 7, wait_status: 256, time_ms: 99 }];
        list.supervisor = Some(LivingSupervisor { pid: 12, pidfd: 5, link: 6, next_exit: 5, next_sequence: 6 });
        list.keeper = Some(Versions { oldest: 1, newest: 2 });
        list.end_requested = true;
        assert_eq!(Adoption::read(list.to_memfd().unwrap()).unwrap(), list);
    }

    #[test]
    fn lines_of_another_version_are_skipped() {
        let text = b"open-files 10\ncgroup x y\nfd nonsense\nfd 4 lock extra words\nexit 1\n\n";
        let list = memfd::memfd_with("list", text).unwrap();
        let read = Adoption::read(list).unwrap();
        assert_eq!(read, Adoption { open_files: 10, fds: vec![("lock".into(), 4)], ..Adoption::default() });
        let older = memfd::memfd_with("list", b"exit 7 9 99\nexit 8 9 99\nsupervisor 1 2\nkeeper 3\n").unwrap();
        let read = Adoption::read(older).unwrap();
        assert_eq!(read.exits.iter().map(|exit| exit.sequence).collect::<Vec<_>>(), [0, 1]);
        assert_eq!((read.supervisor, read.keeper), (None, None));
    }
}
