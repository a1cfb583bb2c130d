//! What is wrong with a process file or with flags, and how it is said.
//!
//! Faults are collected, not thrown: the user sees all of them at once, in the order of the file.

use std::fmt;
use std::path::{Path, PathBuf};

/// More faults than this are counted, not printed.
const MAX_PRINTED: usize = 50;

/// Where a value came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    /// The file or the command line as a whole.
    #[default]
    Whole,
    /// A place in the file; both count from 1.
    Place {
        /// Line.
        line: u32,
        /// Column, in characters.
        column: u32,
    },
    /// An app of a file that is a program, counted from 0: its values have no place in the file.
    App(u32),
    /// A flag of the command line, with its dashes, or the word that it stands for.
    Flag(&'static str),
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Where.
    pub(crate) origin: Origin,
    /// The key, for example `restart.window`; empty when the fault is not that of one key.
    pub(crate) key: String,
    /// What is wrong.
    pub(crate) message: String,
    /// What would be right; empty when there is nothing to add.
    pub(crate) hint: String,
}

/// A collector of faults.
#[derive(Debug, Default)]
pub(super) struct Faults {
    list: Vec<Fault>,
}

impl Faults {
    pub(super) fn add(&mut self, origin: Origin, key: impl Into<String>, message: impl Into<String>) -> &mut Fault {
        let fault = Fault { origin, key: key.into(), message: message.into(), hint: String::new() };
        self.list.push(fault);
        let last = self.list.len() - 1;
        &mut self.list[last]
    }

    pub(super) fn extend(&mut self, more: Faults) {
        self.list.extend(more.list);
    }

    /// Those that stand further on in the file: what read on further knows better what stopped it.
    pub(super) fn or_further(self, other: Faults) -> Faults {
        let last = |faults: &Faults| faults.list.iter().map(|fault| fault.origin).max();
        if last(&other) > last(&self) { other } else { self }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn has_key(&self, origin: Origin, key: &str) -> bool {
        self.list.iter().any(|fault| fault.origin == origin && fault.key == key)
    }

    /// The error that these faults make, unless there is none.
    pub(super) fn into_result(self, file: Option<&Path>) -> Result<(), ConfigError> {
        if self.is_empty() { Ok(()) } else { Err(self.into_error(file)) }
    }

    pub(super) fn into_error(mut self, file: Option<&Path>) -> ConfigError {
        self.list.sort_by_key(|fault| fault.origin);
        self.list.dedup();
        ConfigError { file: file.map(Path::to_path_buf), faults: self.list }
    }
}

impl Fault {
    pub(super) fn hint(&mut self, hint: impl Into<String>) {
        self.hint = hint.into();
    }
}

/// A process file or a command line from which no apps can be made. Its text has one line for each fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfigError {
    file: Option<PathBuf>,
    faults: Vec<Fault>,
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, fault) in self.faults.iter().take(MAX_PRINTED).enumerate() {
            if n > 0 {
                writeln!(f)?;
            }
            let key = if fault.key.is_empty() { String::new() } else { format!("{}: ", fault.key) };
            match (fault.origin, &self.file) {
                (Origin::Flag(flag), _) => write!(f, "{flag}: {}", fault.message)?,
                (Origin::Place { line, column }, Some(file)) => {
                    write!(f, "{}:{line}:{column}: {key}{}", file.display(), fault.message)?;
                }
                (Origin::Place { line, column }, None) => write!(f, "{line}:{column}: {key}{}", fault.message)?,
                (Origin::App(n), Some(file)) => write!(f, "{}: apps[{n}]: {key}{}", file.display(), fault.message)?,
                (Origin::App(n), None) => write!(f, "apps[{n}]: {key}{}", fault.message)?,
                (Origin::Whole, Some(file)) => write!(f, "{}: {key}{}", file.display(), fault.message)?,
                (Origin::Whole, None) => write!(f, "{key}{}", fault.message)?,
            }
            if !fault.hint.is_empty() {
                write!(f, "\n  hint: {}", fault.hint)?;
            }
        }
        if self.faults.len() > MAX_PRINTED {
            write!(f, "\n... and {} more", self.faults.len() - MAX_PRINTED)?;
        }
        Ok(())
    }
}

/// The nearest candidates to `word`, when they are near enough to be what was meant: at most three.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let lower = word.to_lowercase();
    let mut scored: Vec<(usize, &str)> = candidates
        .into_iter()
        .filter_map(|candidate| {
            let distance = strsim::damerau_levenshtein(&lower, &candidate.to_lowercase());
            let longest = word.chars().count().max(candidate.chars().count());
            (distance * 5 <= longest * 2).then_some((distance, candidate))
        })
        .collect();
    scored.sort();
    scored.dedup();
    let best = scored.first().map_or(0, |(distance, _)| *distance);
    scored.into_iter().take_while(|(distance, _)| *distance == best).take(3).map(|(_, candidate)| candidate).collect()
}

/// `did you mean "a" or "b"?`, or nothing.
pub(super) fn did_you_mean(found: &[&str]) -> String {
    if found.is_empty() {
        return String::new();
    }
    let quoted: Vec<String> = found.iter().map(|word| format!("\"{word}\"")).collect();
    format!("did you mean {}?", quoted.join(" or "))
}
