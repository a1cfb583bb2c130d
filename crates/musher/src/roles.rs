//! The roles of the daemon's own processes. They are started by musher, never by people.

use std::ffi::OsString;
use std::os::fd::RawFd;
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
    /// `supervisor --link FD`
    Supervisor {
        /// The link to the keeper.
        link: RawFd,
    },
}

/// The role that a command line asks for, if it is one.
pub(crate) fn of(words: &[OsString]) -> Option<Role> {
    let [_, role, flag, fd] = words else { return None };
    let fd = fd.to_str()?.parse().ok()?;
    match (role.to_str()?, flag.to_str()?) {
        ("keeper", "--adopt") => Some(Role::Keeper { adopt: fd }),
        ("supervisor", "--link") => Some(Role::Supervisor { link: fd }),
        _ => None,
    }
}

impl Role {
    /// Plays it to its end.
    pub(crate) fn play(self) -> ExitCode {
        let played = match self {
            Role::Keeper { adopt } => musher_supervisor::keeper::run(adopt).map_err(|error| error.to_string()),
            Role::Supervisor { link } => musher_supervisor::run(link).map_err(|error| error.to_string()),
        };
        match played {
            Ok(()) => ExitCode::from(exit_codes::OK),
            Err(error) => {
                error_line(&error);
                ExitCode::from(exit_codes::FAILED)
            }
        }
    }
}
