//! What is wrong with a file that execve(2) refused.
//!
//! The system has one number for many faults: `ENOENT` also means that the interpreter of a script is missing, `EACCES`
//! that a directory on the way is closed. This looks at the file to say which. It is read after the fact and only for
//! the message: the file may have changed since.

use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::spawn::error::reason;

/// How much of a file is looked at. The kernel itself reads 256 bytes of a `#!` line.
const HEAD: u64 = 4096;

/// What is wrong with a program's file: part of [`SpawnError::Program`](crate::SpawnError::Program).
///
/// ```
/// use musher_process::spawn::{Problem, Spawn, SpawnError};
/// use std::os::unix::fs::PermissionsExt;
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("script");
/// std::fs::write(&path, "#!/usr/bin/pyhton3\n")?;
/// std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755))?;
/// let Err(SpawnError::Program { problem, .. }) = Spawn::new(path).spawn() else { panic!("it runs") };
/// assert!(matches!(problem, Problem::InterpreterMissing { .. }));
/// assert_eq!(problem.to_string(), "its first line asks for \"/usr/bin/pyhton3\", which does not exist");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// No such file.
    Missing,
    /// A script whose `#!` line names a program that does not exist.
    InterpreterMissing {
        /// The program of the `#!` line.
        interpreter: PathBuf,
        /// The line ends with a carriage return, which then belongs to the name.
        carriage_return: bool,
    },
    /// A script whose `#!` line names a program that cannot be executed.
    InterpreterNotExecutable {
        /// The program of the `#!` line.
        interpreter: PathBuf,
    },
    /// A binary whose dynamic loader does not exist.
    LoaderMissing {
        /// The loader.
        loader: PathBuf,
    },
    /// A directory, device or socket.
    NotAFile,
    /// The file has no execute permission.
    NotExecutable,
    /// The file could be executed, but not by this user or from this place.
    Forbidden,
    /// A text without a `#!` line.
    NoInterpreterLine,
    /// An empty file.
    Empty,
    /// A binary for another processor.
    OtherMachine {
        /// Which, as far as known.
        machine: String,
    },
    /// The file is open for writing.
    Busy,
    /// Anything else.
    Other {
        /// The system's words.
        reason: String,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Missing => f.write_str("no such file"),
            Problem::InterpreterMissing { interpreter, .. } => {
                write!(f, "its first line asks for {:?}, which does not exist", interpreter.display().to_string())
            }
            Problem::InterpreterNotExecutable { interpreter } => {
                write!(f, "its first line asks for {}, which is not executable", interpreter.display())
            }
            Problem::LoaderMissing { loader } => write!(f, "its dynamic loader {} does not exist", loader.display()),
            Problem::NotAFile => f.write_str("not a regular file"),
            Problem::NotExecutable => f.write_str("the file is not executable"),
            Problem::Forbidden => f.write_str("permission denied"),
            Problem::NoInterpreterLine => f.write_str("neither a binary nor a script with a #! line"),
            Problem::Empty => f.write_str("the file is empty"),
            Problem::OtherMachine { machine } => write!(f, "a binary for {machine}, not for this machine"),
            Problem::Busy => f.write_str("the file is being written"),
            Problem::Other { reason } => f.write_str(reason),
        }
    }
}

impl Problem {
    pub(super) fn hint(&self, program: &Path) -> Option<String> {
        let program = program.display();
        Some(match self {
            Problem::Missing => "check the path".to_owned(),
            Problem::InterpreterMissing { carriage_return: true, .. } => {
                format!("the line ends with a carriage return (Windows): sed -i 's/\\r$//' {program}")
            }
            Problem::InterpreterMissing { .. } | Problem::InterpreterNotExecutable { .. } => {
                "install it, correct the #! line, or name another interpreter with --interpreter".to_owned()
            }
            Problem::LoaderMissing { .. } => {
                "it was built for another C library or distribution (glibc, musl): build it for this one".to_owned()
            }
            Problem::NotAFile => "name the program itself".to_owned(),
            Problem::NotExecutable => format!("chmod +x {program}, or name an interpreter with --interpreter"),
            Problem::Forbidden => "the program's user needs permission to enter every directory of the path and to \
                                   execute the file, and the file system must not be mounted noexec"
                .to_owned(),
            Problem::NoInterpreterLine => {
                "add a first line like #!/bin/sh, or name an interpreter with --interpreter".to_owned()
            }
            Problem::OtherMachine { .. } => format!("build it for {}", std::env::consts::ARCH),
            Problem::Busy => "try again when the copy or build has finished".to_owned(),
            Problem::Empty | Problem::Other { .. } => return None,
        })
    }
}

/// What the file's state says about the refusal.
pub(super) fn diagnose(program: &Path, errno: i32) -> Problem {
    let other = || Problem::Other { reason: reason(&io::Error::from_raw_os_error(errno)) };
    match (errno, program.metadata()) {
        (libc::ETXTBSY, _) => Problem::Busy,
        (libc::ENOENT | libc::ENOTDIR, Err(_)) => Problem::Missing,
        (libc::EACCES, Err(_)) => Problem::Forbidden,
        (libc::EACCES, Ok(metadata)) => refused(program, &metadata),
        (libc::ENOENT, Ok(_)) => match head(program).map(|head| (interpreter_line(&head), loader(&head))) {
            Some((Some((interpreter, carriage_return)), _)) => {
                Problem::InterpreterMissing { interpreter, carriage_return }
            }
            Some((None, Some(loader))) => Problem::LoaderMissing { loader },
            _ => Problem::Missing,
        },
        (libc::ENOEXEC, Ok(metadata)) if metadata.len() == 0 => Problem::Empty,
        (libc::ENOEXEC, Ok(_)) => match head(program) {
            Some(head) if head.starts_with(b"\x7fELF") => match machine(&head) {
                Some(machine) => Problem::OtherMachine { machine },
                None => other(),
            },
            Some(_) => Problem::NoInterpreterLine,
            None => other(),
        },
        _ => other(),
    }
}

/// `EACCES` on a file that exists.
fn refused(program: &Path, metadata: &Metadata) -> Problem {
    if !metadata.is_file() {
        return Problem::NotAFile;
    }
    if metadata.permissions().mode() & 0o111 == 0 {
        return Problem::NotExecutable;
    }
    if let Some((interpreter, _)) = head(program).and_then(|head| interpreter_line(&head)) {
        let executable =
            interpreter.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0);
        if !executable {
            return Problem::InterpreterNotExecutable { interpreter };
        }
    }
    Problem::Forbidden
}

/// The beginning of the file.
fn head(program: &Path) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    // Opening a FIFO would wait for a writer.
    if !program.metadata().ok()?.is_file() {
        return None;
    }
    File::open(program).ok()?.take(HEAD).read_to_end(&mut head).ok()?;
    Some(head)
}

/// The program of a `#!` line, and whether it ends with a carriage return.
fn interpreter_line(head: &[u8]) -> Option<(PathBuf, bool)> {
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = line.iter().position(|byte| !blank(byte))?;
    let word = line[start..].split(blank).next()?;
    let carriage_return = word.ends_with(b"\r");
    (!word.is_empty()).then(|| (PathBuf::from(std::ffi::OsStr::from_bytes(word)), carriage_return))
}

/// The dynamic loader of a 64-bit little-endian ELF file: the PT_INTERP segment, see elf(5).
fn loader(head: &[u8]) -> Option<PathBuf> {
    if !head.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let number = |at: usize, size: usize| -> Option<usize> {
        let bytes = head.get(at..at.checked_add(size)?)?;
        usize::try_from(bytes.iter().rev().fold(0_u64, |value, byte| value << 8 | u64::from(*byte))).ok()
    };
    let (table, entry, entries) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    for index in 0..entries {
        let header = table.checked_add(entry.checked_mul(index)?)?;
        if number(header, 4)? == 3 {
            let (start, size) = (number(header.checked_add(8)?, 8)?, number(header.checked_add(32)?, 8)?);
            let path = head.get(start..start.checked_add(size)?)?.split(|byte| *byte == 0).next()?;
            return Some(PathBuf::from(std::ffi::OsStr::from_bytes(path)));
        }
    }
    None
}

/// The processor of an ELF file, if it is not ours: e_machine of elf(5).
fn machine(head: &[u8]) -> Option<String> {
    let bytes = [*head.get(18)?, *head.get(19)?];
    let number = if head.get(5) == Some(&2) { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) };
    let name = match number {
        3 => "x86",
        8 => "mips",
        20 => "powerpc",
        21 => "powerpc64",
        22 => "s390x",
        40 => "arm",
        62 => "x86_64",
        183 => "aarch64",
        243 => "riscv64",
        258 => "loongarch64",
        other => return Some(format!("machine number {other}")),
    };
    (name != std::env::consts::ARCH).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn interpreter_of_a_script() {
        let found = |head: &[u8]| interpreter_line(head).map(|(path, cr)| (path.to_string_lossy().into_owned(), cr));
        assert_eq!(found(b"#!/bin/sh\necho"), Some(("/bin/sh".to_owned(), false)));
        assert_eq!(found(b"#! \t/usr/bin/env node\n"), Some(("/usr/bin/env".to_owned(), false)));
        assert_eq!(found(b"#!/bin/sh\r\n"), Some(("/bin/sh\r".to_owned(), true)));
        assert_eq!(found(b"#!\n"), None);
        assert_eq!(found(b"echo"), None);
    }

    #[test]
    fn loader_of_a_binary() {
        let own = head(Path::new("/proc/self/exe")).unwrap();
        let loader = loader(&own).unwrap();
        assert!(loader.is_absolute(), "{loader:?}");
        assert_eq!(machine(&own), None);
    }

    proptest! {
        #[test]
        fn any_file_is_looked_at_without_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..600), elf: bool) {
            if elf {
                bytes.splice(0..0, *b"\x7fELF\x02\x01");
            }
            let _ = (interpreter_line(&bytes), loader(&bytes), machine(&bytes));
        }
    }
}
