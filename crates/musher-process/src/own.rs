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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_raised_and_the_old_one_is_told() {
        let before = getrlimit(Resource::Nofile);
        let original = raise_nofile().unwrap();
        let after = getrlimit(Resource::Nofile);
        assert_eq!((original.current, original.maximum), (before.current, before.maximum));
        assert_eq!((after.current, after.maximum), (before.maximum, before.maximum));
    }

    #[test]
    fn becoming_a_subreaper() {
        set_subreaper().unwrap();
        assert!(rustix::process::child_subreaper().unwrap().is_some());
    }
}
