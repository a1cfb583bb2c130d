//! Whether an executable can take over from this one, asked before anything is changed.
//!
//! [`examine`] opens the executable, looks at what it is, and runs it as `musher takeover-check`: that one ([`check`])
//! tries to read a copy of everything that the keeper holds in writing, and answers with what it speaks. Then it is run
//! as a keeper that holds nothing. Both are run with a limit of time and of output, touch nothing, and whatever goes wrong is a reason to refuse it.
//!
//! Failure modes: an executable that answers and still does not work is found out by the keeper
//! ([`crate::keeper::upgrade`]), which goes back.

mod file;
mod trial_run;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::path::Path;

use musher_process::{inherit, memfd};
use serde::{Deserialize, Serialize};

use crate::driver::can_read;
use crate::keeper::wire;
use crate::link::KeeperLink;
use crate::team::is_record;

/// The most that is given to be read.
const STATE_LIMIT: usize = 256 << 20;
/// The form of the answer.
const FORM: u32 = 1;
/// How many unreadable records are named.
const NAMED: usize = 3;

/// An executable that can take over.
#[derive(Debug)]
pub(crate) struct Successor {
    /// The file that was examined, whatever its path is the name of by now.
    pub(crate) executable: OwnedFd,
    /// What it calls itself.
    pub(crate) version: String,
}

/// Why an executable cannot take over.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct Refusal {
    pub(crate) reason: String,
    pub(crate) hint: &'static str,
}

/// What `takeover-check` answers.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    /// The form of this answer.
    takeover: u32,
    version: String,
    /// The versions of the link between keeper and supervisor that it speaks.
    link: (u16, u16),
    /// What it could not read, with the reason.
    unreadable: Vec<(String, String)>,
}

impl Refusal {
    fn new(reason: impl Into<String>, hint: &'static str) -> Refusal {
        Refusal { reason: reason.into(), hint }
    }
}

const NOT_MUSHER: &str = "give the path of an executable of musher, as `cargo build --release` or a package makes it";

/// Opens and examines the executable at `path`. Takes as long as that takes to answer, at most some seconds.
pub(crate) fn examine(path: &Path, link: &KeeperLink) -> Result<Successor, Refusal> {
    let executable = file::open(path)?;
    let state = state(link).map_err(|error| Refusal::new(format!("cannot show it what runs: {error}"), "try again"))?;
    let (text, ended) = trial_run::run(executable.as_fd(), state)?;
    let answer: Answer = serde_json::from_slice(&text)
        .map_err(|_| Refusal::new("it does not answer as an executable of musher would", NOT_MUSHER))?;
    judge(&answer)?;
    trial_run::rehearse_keeper(executable.as_fd(), ended)?;
    Ok(Successor { executable, version: answer.version })
}

/// Whether the file is the executable that this process runs.
pub(crate) fn is_ours(executable: impl AsFd) -> bool {
    let same = |other: &rustix::fs::Stat| -> io::Result<bool> {
        let own = rustix::fs::stat("/proc/self/exe")?;
        Ok((own.st_dev, own.st_ino) == (other.st_dev, other.st_ino))
    };
    rustix::fs::fstat(executable).map_err(Into::into).and_then(|other| same(&other)).unwrap_or(false)
}

/// The executable of a process.
pub(crate) fn executable_of(pid: musher_process::Pid) -> io::Result<std::fs::File> {
    std::fs::File::open(format!("/proc/{pid}/exe"))
}

fn judge(answer: &Answer) -> Result<(), Refusal> {
    let theirs = wire::Versions { oldest: answer.link.0, newest: answer.link.1 };
    let agreed = wire::agreed(wire::OURS, theirs);
    if agreed.is_none_or(|version| version < wire::UPGRADES) {
        let reason = format!(
            "version {} and the one that runs ({}) do not understand each other: it speaks {} to {} between keeper and supervisor, the other {} to {}",
            answer.version,
            crate::VERSION,
            theirs.oldest,
            theirs.newest,
            wire::OURS.oldest,
            wire::OURS.newest
        );
        return Err(Refusal::new(reason, "upgrade by way of the versions in between"));
    }
    if answer.unreadable.is_empty() {
        return Ok(());
    }
    let named = answer.unreadable.iter().take(NAMED).map(|(name, why)| format!("{name}: {why}"));
    let reason = format!(
        "version {} cannot go on with {} of what runs: {}",
        answer.version,
        answer.unreadable.len(),
        named.collect::<Vec<_>>().join("; ")
    );
    Err(Refusal::new(reason, "use a version that is nearer to the one that runs"))
}

/// A copy of everything that the keeper holds in writing.
fn state(link: &KeeperLink) -> io::Result<OwnedFd> {
    let mut state = BTreeMap::new();
    let mut room = STATE_LIMIT;
    for (name, fd) in link.copies(is_record)? {
        let bytes = memfd::read_memfd(fd.as_fd(), room)?;
        room -= bytes.len();
        // What this version itself cannot read is left alone by either.
        if can_read(&name, &bytes).is_ok() {
            state.insert(name, String::from_utf8_lossy(&bytes).into_owned());
        }
    }
    memfd::memfd_with("musher-state", &serde_json::to_vec(&state)?)
}

/// The role `takeover-check`: the answer to be written to stdout. `state` is the number of the descriptor with the copy.
///
/// # Errors
///
/// When the copy cannot be read.
pub fn check(state: RawFd) -> io::Result<String> {
    let state = inherit::take_inherited(state)?;
    let bytes = memfd::read_memfd(state.as_fd(), 2 * STATE_LIMIT)?;
    let state: BTreeMap<String, String> = serde_json::from_slice(&bytes)?;
    let why = |(name, text): (&String, &String)| can_read(name, text.as_bytes()).err().map(|why| (name.clone(), why));
    let answer = Answer {
        takeover: FORM,
        version: crate::VERSION.to_owned(),
        link: (wire::OURS.oldest, wire::OURS.newest),
        unreadable: state.iter().filter_map(why).collect(),
    };
    Ok(serde_json::to_string(&answer)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(link: (u16, u16), unreadable: &[&str]) -> Answer {
        let unreadable = unreadable.iter().map(|name| ((*name).to_owned(), "why".to_owned())).collect();
        Answer { takeover: FORM, version: "9.9.9".into(), link, unreadable }
    }

    #[test]
    fn one_that_speaks_a_version_in_common_and_reads_all_is_taken() {
        let ours = wire::OURS;
        for link in [(1, ours.newest), (ours.newest, ours.newest + 1), (1, 99)] {
            judge(&answer(link, &[])).unwrap();
        }
    }

    #[test]
    fn one_that_cannot_speak_with_us_or_read_our_records_is_refused() {
        let newer = wire::OURS.newest + 1;
        for (answer, word) in [
            (answer((newer, newer), &[]), "do not understand each other"),
            (answer((1, 1), &[]), "do not understand each other"),
            (answer((1, 99), &["app/1", "app/2", "app/3", "app/4"]), "4 of what runs: app/1: why; app/2"),
        ] {
            let refusal = judge(&answer).unwrap_err();
            assert!(refusal.reason.contains(word), "{refusal}");
            assert!(refusal.reason.contains("9.9.9") && !refusal.hint.is_empty(), "{refusal}");
        }
    }
}
