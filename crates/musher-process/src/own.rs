//! What musher sets for its own processes.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Makes the calling process the one to which orphaned descendants fall (PR_SET_CHILD_SUBREAPER). Kept over execve(2),
/// not inherited by children.
pub fn set_subreaper() -> io::Result<()> {
    // The argument is a flag in spite of its type: any pid means "on".
    Ok(rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?)
}

/// Raises our soft limit of open files to the hard one and returns the limits as they were: workers are to get those,
/// since select(2) breaks above 1024.
pub fn raise_nofile() -> io::Result<Rlimit> {
    let original = getrlimit(Resource::Nofile);
    if original.current != original.maximum {
        setrlimit(Resource::Nofile, Rlimit { current: original.maximum, maximum: original.maximum })?;
    }
    Ok(original)
}
