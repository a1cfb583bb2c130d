//! The roles of the daemon's own processes. They are started by musher, never by people.

use std::ffi::OsString;
use std::os::fd::{AsFd, RawFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use crate::exit_codes;
use crate::output::error_line;

/// A role that the daemon's processes play.
pub(crate) enum Role {
    /// `keeper --adopt FD`
    Keeper {
        /// The list of descriptors to take over.
        adopt: RawFd,
    },
    /// `supervisor --link FD`, with `--adopt FD` when it was the supervisor of another executable before
    Supervisor {
        /// The link to the keeper.
        link: RawFd,
        /// The list of what it holds.
        adopt: Option<RawFd>,
    },
    /// `generator`: a process of `musher load --processes`; its standard input is a socket to the one who directs
    Generator,
    /// `takeover-check --state FD`
    TakeoverCheck {
        /// A copy of what is to be gone on with.
        state: RawFd,
    },
}

/// The role that a command line asks for, if it is one.
pub(crate) fn of(words: &[OsString]) -> Option<Role> {
    let words: Vec<&str> = words.iter().skip(1).map(|word| word.to_str()).collect::<Option<_>>()?;
    let fd = |word: &str| word.parse::<RawFd>().ok();
    Some(match words[..] {
        ["keeper", "--adopt", list] => Role::Keeper { adopt: fd(list)? },
        ["supervisor", "--link", link] => Role::Supervisor { link: fd(link)?, adopt: None },
        ["supervisor", "--link", link, "--adopt", list] => Role::Supervisor { link: fd(link)?, adopt: Some(fd(list)?) },
        ["generator"] => Role::Generator,
        ["takeover-check", "--state", state] => Role::TakeoverCheck { state: fd(state)? },
        _ => return None,
    })
}

impl Role {
    /// Plays it to its end.
    pub(crate) fn play(self) -> ExitCode {
        #[cfg(feature = "next")]
        if self.fails() {
            return ExitCode::from(exit_codes::FAILED);
        }
        let played = match self {
            Role::Keeper { adopt } => musher_supervisor::keeper::run(adopt).map_err(|error| error.to_string()),
            Role::Supervisor { link, adopt } => {
                musher_supervisor::run(link, adopt).map(|()| exit_codes::OK).map_err(|error| error.to_string())
            }
            Role::Generator => generate().map(|()| exit_codes::OK).map_err(|error| error.to_string()),
            Role::TakeoverCheck { state } => check(state).map(|()| exit_codes::OK).map_err(|error| error.to_string()),
        };
        match played {
            Ok(code) => ExitCode::from(code),
            Err(error) => {
                error_line(&error);
                ExitCode::from(exit_codes::FAILED)
            }
        }
    }
}

/// Sends its part of a load.
fn generate() -> std::io::Result<()> {
    let stream = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    // Not a socket: somebody typed the word.
    stream.peer_addr().map_err(|_| std::io::Error::other("`generator` is for musher load --processes"))?;
    musher_process::own::release_memory();
    musher_load::engine::serve(&stream)
}

/// The next version exists for tests: a copy of it whose name is that of a fault has this fault.
#[cfg(feature = "next")]
impl Role {
    fn fails(&self) -> bool {
        let Role::Keeper { adopt } = self else { return false };
        let path = std::env::current_exe().unwrap_or_default();
        // The number of the list in a rehearsal is 3.
        match path.file_name().and_then(|name| name.to_str()) {
            Some("never-works-as-keeper") => true,
            Some("dies-as-keeper-after-all") => *adopt != 3,
            Some("hangs-as-keeper-after-all") if *adopt != 3 => loop {
                std::thread::park();
            },
            _ => false,
        }
    }
}

fn check(state: RawFd) -> std::io::Result<()> {
    use std::io::Write;
    let answer = musher_supervisor::takeover::check(state)?;
    writeln!(std::io::stdout(), "{answer}")
}
