//! Why a program could not be started, in words for its user.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::{Resource, Rlimit};

use crate::spawn::executable::{self, Problem};
use crate::spawn::{MAX_CHILD_FD, Spawn};
use crate::sys::child::{Image, Report, Step};

/// Why a program could not be started. The text says what failed; [`SpawnError::hint`] what to do.
///
/// ```
/// use musher_process::{Spawn, SpawnError};
///
/// let error = Spawn::new("/etc/passwd").spawn().unwrap_err();
/// assert!(matches!(&error, SpawnError::Program { program, .. } if program == "/etc/passwd"));
/// assert_eq!(error.to_string(), "cannot execute /etc/passwd: the file is not executable");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// The file cannot be executed.
    #[error("cannot execute {}: {problem}", program.display())]
    Program {
        /// The file.
        program: PathBuf,
        /// What is wrong with it.
        problem: Problem,
        /// What the system said.
        error: io::Error,
    },
    /// The working directory cannot be entered.
    #[error("cannot use the working directory {}: {}", path.display(), reason(error))]
    WorkingDirectory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The user cannot be changed.
    #[error("cannot become user {uid} with group {gid} ({call}): {}", reason(error))]
    Credentials {
        /// Wanted user.
        uid: u32,
        /// Wanted group.
        gid: u32,
        /// The system call that failed.
        call: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// A limit cannot be set.
    #[error("cannot set {} to {}: {}", limit_name(*resource), limit_text(wanted), reason(error))]
    Limit {
        /// Which.
        resource: Resource,
        /// The wanted values.
        wanted: Rlimit,
        /// What the system said.
        error: io::Error,
    },
    /// The scheduling priority cannot be set.
    #[error("cannot set the scheduling priority (nice) to {value}: {}", reason(error))]
    Nice {
        /// Wanted value.
        value: i32,
        /// What the system said.
        error: io::Error,
    },
    /// Arguments and environment are too big for the system.
    #[error("arguments and environment are too big: {bytes} bytes")]
    TooBig {
        /// Together, with the pointers to them.
        bytes: usize,
    },
    /// No new process can be made now: process limit or memory.
    #[error("cannot make a new process: {}", reason(error))]
    NoProcess {
        /// What the system said.
        error: io::Error,
    },
    /// The request itself makes no sense: a NUL byte in a string, one descriptor number twice.
    #[error("{what}")]
    Invalid {
        /// What is wrong.
        what: String,
    },
    /// A descriptor was to be handed on that this process does not have.
    #[error("we have no descriptor {number} to hand on")]
    NoDescriptor {
        /// Its number.
        number: i32,
    },
    /// The program was not executed in time: a file system hangs. The process was killed.
    #[error("the program was not executed within {} s", after.as_secs())]
    Stuck {
        /// How long was waited.
        after: Duration,
    },
    /// Something else failed.
    #[error("cannot {step}: {}", reason(error))]
    System {
        /// What was tried.
        step: &'static str,
        /// What the system said.
        error: io::Error,
    },
}

impl SpawnError {
    pub(crate) fn system(step: &'static str, error: impl Into<io::Error>) -> SpawnError {
        SpawnError::System { step, error: error.into() }
    }

    pub(crate) fn invalid(what: String) -> SpawnError {
        SpawnError::Invalid { what }
    }

    pub(super) fn no_process(error: io::Error) -> SpawnError {
        SpawnError::NoProcess { error }
    }

    /// The error number of the system, if one is the reason.
    ///
    /// ```
    /// use musher_process::Spawn;
    /// assert_eq!(Spawn::new("/no/such/file").spawn().unwrap_err().errno(), Some(2));
    /// ```
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            SpawnError::Program { error, .. }
            | SpawnError::WorkingDirectory { error, .. }
            | SpawnError::Credentials { error, .. }
            | SpawnError::Limit { error, .. }
            | SpawnError::Nice { error, .. }
            | SpawnError::NoProcess { error }
            | SpawnError::System { error, .. } => error.raw_os_error(),
            SpawnError::TooBig { .. } => Some(libc::E2BIG),
            SpawnError::NoDescriptor { .. } => Some(libc::EBADF),
            SpawnError::Invalid { .. } | SpawnError::Stuck { .. } => None,
        }
    }

    /// The name of [`errno`](SpawnError::errno): Node's `code`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let error = musher_process::child_process::spawn("no-such-program", [""; 0]).unwrap_err();
    /// assert_eq!(error.code(), Some("ENOENT"));
    /// # }
    /// ```
    #[must_use]
    pub fn code(&self) -> Option<&'static str> {
        let errno = self.errno()?;
        CODES.iter().find(|(known, _)| *known == errno).map(|(_, name)| *name)
    }

    /// What the user can do about it.
    ///
    /// ```
    /// use musher_process::Spawn;
    ///
    /// let error = Spawn { cwd: "/no/such/directory".into(), ..Spawn::new("/bin/true") }.spawn().unwrap_err();
    /// assert_eq!(error.hint().as_deref(), Some("create the directory or correct `cwd`"));
    /// ```
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            SpawnError::Program { program, problem, .. } => return problem.hint(program),
            SpawnError::WorkingDirectory { error, .. } => match error.raw_os_error()? {
                libc::ENOENT => "create the directory or correct `cwd`",
                libc::ENOTDIR => "`cwd` has to be a directory",
                libc::EACCES => "the program's user needs permission to enter (x) each directory of the path",
                _ => return None,
            },
            SpawnError::Credentials { .. } => "only root can run a program as another user: start musher as root",
            SpawnError::Limit { .. } => {
                "the value is above the hard limit, which only root can raise (see `ulimit -H`)"
            }
            SpawnError::Nice { .. } => "only root can give a higher priority (a lower nice value)",
            SpawnError::TooBig { .. } => {
                "pass big values in a file: see `getconf ARG_MAX`; one string may have 128 KiB"
            }
            SpawnError::NoProcess { .. } => "see `ulimit -u`, pids.max of the cgroup and the free memory",
            SpawnError::Stuck { .. } => "look for a hanging network file system below the program or `cwd`",
            SpawnError::System { error, .. } => match error.raw_os_error()? {
                libc::EMFILE | libc::ENFILE => "too many open files: raise `ulimit -n`",
                _ => return None,
            },
            SpawnError::Invalid { .. } | SpawnError::NoDescriptor { .. } => return None,
        };
        Some(hint.to_owned())
    }

    /// The same spawn may succeed later without a change by the user (no process slots, memory or descriptors free, or
    /// the program file is just being written).
    ///
    /// ```
    /// use musher_process::Spawn;
    /// assert!(!Spawn::new("/no/such/file").spawn().unwrap_err().is_transient());
    /// ```
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            SpawnError::NoProcess { .. } | SpawnError::Stuck { .. } => true,
            _ => matches!(
                self.errno(),
                Some(libc::EAGAIN | libc::ENOMEM | libc::EMFILE | libc::ENFILE | libc::ETXTBSY | libc::EINTR)
            ),
        }
    }
}

/// What can come of preparing a child, fork, execve and what is between them.
const CODES: [(i32, &str); 27] = [
    (libc::E2BIG, "E2BIG"),
    (libc::EACCES, "EACCES"),
    (libc::EAGAIN, "EAGAIN"),
    (libc::EBADF, "EBADF"),
    (libc::EBUSY, "EBUSY"),
    (libc::EFAULT, "EFAULT"),
    (libc::EINTR, "EINTR"),
    (libc::EINVAL, "EINVAL"),
    (libc::EIO, "EIO"),
    (libc::EISDIR, "EISDIR"),
    (libc::ELIBBAD, "ELIBBAD"),
    (libc::ELOOP, "ELOOP"),
    (libc::EMFILE, "EMFILE"),
    (libc::ENAMETOOLONG, "ENAMETOOLONG"),
    (libc::ENFILE, "ENFILE"),
    (libc::ENODEV, "ENODEV"),
    (libc::ENOENT, "ENOENT"),
    (libc::ENOEXEC, "ENOEXEC"),
    (libc::ENOMEM, "ENOMEM"),
    (libc::ENOSPC, "ENOSPC"),
    (libc::ENOSYS, "ENOSYS"),
    (libc::ENOTDIR, "ENOTDIR"),
    (libc::ENXIO, "ENXIO"),
    (libc::EPERM, "EPERM"),
    (libc::EROFS, "EROFS"),
    (libc::ESTALE, "ESTALE"),
    (libc::ETXTBSY, "ETXTBSY"),
];

/// The child's report as an error.
pub(super) fn from_report(spawn: &Spawn, image: &Image, report: Report) -> SpawnError {
    let error = io::Error::from_raw_os_error(report.errno);
    let credentials = |call, error| {
        let (uid, gid) = spawn.credentials.as_ref().map_or((0, 0), |wanted| (wanted.uid, wanted.gid));
        SpawnError::Credentials { uid, gid, call, error }
    };
    match report.step {
        Step::Session => SpawnError::system("start a session", error),
        Step::Descriptor if report.errno == libc::EBADF => SpawnError::invalid(format!(
            "a descriptor number (at most {MAX_CHILD_FD}) is above the limit of open files of this process"
        )),
        Step::Descriptor => SpawnError::system("set up a descriptor", error),
        Step::Limit => match spawn.limits.get(report.index) {
            Some((resource, wanted)) => SpawnError::Limit { resource: *resource, wanted: Rlimit { ..*wanted }, error },
            None => SpawnError::system("set a limit", error),
        },
        Step::Nice => SpawnError::Nice { value: spawn.nice.unwrap_or(0), error },
        Step::Groups => credentials("setgroups", error),
        Step::Group => credentials("setresgid", error),
        Step::User if report.errno == libc::EAGAIN => SpawnError::no_process(error),
        Step::User => credentials("setresuid", error),
        Step::Verify => credentials("verification", error),
        Step::WorkingDirectory => SpawnError::WorkingDirectory { path: spawn.cwd.clone(), error },
        Step::Execute => match report.errno {
            libc::E2BIG => SpawnError::TooBig { bytes: image.args.size() + image.env.size() },
            libc::EAGAIN | libc::ENOMEM => SpawnError::no_process(error),
            errno => SpawnError::Program {
                problem: executable::diagnose(&spawn.program, errno),
                program: spawn.program.clone(),
                error,
            },
        },
    }
}

/// The system's words without "(os error 2)".
pub(super) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_lowercase(),
        None => text,
    }
}

/// As in setrlimit(2).
fn limit_name(resource: Resource) -> String {
    format!("RLIMIT_{resource:?}").to_uppercase()
}

fn limit_text(limit: &Rlimit) -> String {
    let text = |value: Option<u64>| value.map_or("unlimited".to_owned(), |value| value.to_string());
    if limit.current == limit.maximum {
        text(limit.current)
    } else {
        format!("{} (hard {})", text(limit.current), text(limit.maximum))
    }
}
