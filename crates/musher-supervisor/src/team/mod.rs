//! The team on disk: what outlives supervisor and keeper together, and the machine.
//!
//! Everything that the keeper holds as bytes (the records of the home, the apps, their specs and listeners) is copied to
//! one file in the home, `team.list`, whenever it has changed: by a thread of its own, so that a slow disk holds up
//! nothing but the word that a command is done. `saved.list` has the same form; only `musher save` writes it.
//!
//! - [`file`](self::file): the form, reading, and writing so that a power cut leaves the old file or the new one.
//! - [`writer`](self::writer): when it is written, and what is known to be on the disk.
//!
//! The files hold values of environments, which may be secrets: they are 0600.

mod file;
mod writer;

pub(crate) use file::{TeamFault, TeamFile, boot_id};
pub(crate) use writer::{Order, TeamWriter};

/// Whether what has this name in the keeper is a record: bytes that belong into the file.
pub(crate) fn is_record(name: &str) -> bool {
    name == "home" || ["app/", "spec/", "cluster/"].iter().any(|prefix| name.starts_with(prefix))
}

/// Whether what has this name in the keeper is a descriptor that a worker has too, and that can be had back from it:
/// listening sockets, and the pipes that it writes to.
pub(crate) fn is_shared_with_worker(name: &str) -> bool {
    let is_pipe = name.starts_with("run/") && (name.ends_with("/out") || name.ends_with("/err"));
    is_pipe || name.starts_with("socket/") || name.starts_with("listen/")
}
