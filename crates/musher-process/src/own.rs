//! What musher sets for its own processes, and what it does not need.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::sys;

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

/// Lets go of memory that is not needed while nothing happens: code that ran and may not run again for long, and free
/// pages of the heap. What is needed after all comes back from the page cache, at about a microsecond for 64 KiB.
///
/// Most of the resident memory of a small daemon is the code of its start.
pub fn release_memory() {
    sys::memory::release_heap();
    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else { return };
    for (start, length) in maps.lines().filter_map(text_mapping) {
        sys::memory::release_text(start, length);
    }
}

/// Start and length of a line of /proc/self/maps (proc_pid_maps(5)) that is the code of a file (private, executable, not
/// writable) or its constants: the read-only mapping of its beginning. Other read-only mappings are what the loader has
/// relocated, which must stay.
fn text_mapping(line: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (range, permissions) = (fields.next()?, fields.next()?);
    let (offset, _device, inode) = (fields.next()?, fields.next()?, fields.next()?);
    let is_code = permissions == "r-xp";
    let is_constants = permissions == "r--p" && offset.bytes().all(|digit| digit == b'0');
    if inode == "0" || !(is_code || is_constants) {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    let start = usize::from_str_radix(start, 16).ok()?;
    let end = usize::from_str_radix(end, 16).ok()?;
    Some((start, end.checked_sub(start)?))
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

    #[test]
    fn only_the_code_and_constants_of_files_are_let_go() {
        let code = "55d0c8a2f000-55d0c90af000 r-xp 00191000 fe:00 1234567                    /usr/bin/musher";
        assert_eq!(text_mapping(code), Some((0x55d0_c8a2_f000, 0x68_0000)));
        let constants = "55d0c889e000-55d0c8a2f000 r--p 00000000 fe:00 1234567                    /usr/bin/musher";
        assert_eq!(text_mapping(constants), Some((0x55d0_c889_e000, 0x19_1000)));
        for other in [
            "55d0c90af000-55d0c90d2000 r--p 00810000 fe:00 1234567                    /usr/bin/musher",
            "55d0c90d2000-55d0c90d4000 rw-p 00833000 fe:00 1234567                    /usr/bin/musher",
            "7ffd1a5e2000-7ffd1a5e4000 r-xp 00000000 00:00 0                          [vdso]",
            "garbage",
            "",
        ] {
            assert_eq!(text_mapping(other), None, "{other}");
        }
    }

    #[test]
    fn a_process_goes_on_after_it_let_go_of_its_code() {
        for _ in 0..3 {
            release_memory();
            assert_eq!(std::hint::black_box(vec![1, 2, 3]).iter().sum::<i32>(), 6);
        }
    }
}
