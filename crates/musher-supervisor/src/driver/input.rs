//! The standard input of workers.
//!
//! Each worker has a pipe of which it holds both ends itself (as of its outputs, `foreign::writing_end_that_reads`): it waits
//! for more for ever and never finds an end, whoever dies. So nobody else has to hold it: whoever writes opens it anew by the
//! worker's number in /proc.

use std::io;
use std::os::fd::OwnedFd;

use musher_api::{ApiError, ErrorCode, InputRequest, InputResponse};
use musher_core::SlotId;
use musher_process::{Pid, foreign};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

use super::Driver;

/// What a worker that does not read has waiting at most: a page, since pages of pipes are counted for each user (pipe(7)).
const WAITING: usize = 4096;

/// What a write to a pipe does not divide.
const PIPE_BUF: usize = 4096;

/// A pipe of which the one descriptor is both ends.
pub(super) fn pipe() -> io::Result<OwnedFd> {
    let (reading, _) = pipe_with(PipeFlags::CLOEXEC)?;
    // One that is larger serves as well.
    let _ = fcntl_setpipe_size(&reading, WAITING);
    foreign::writing_end_that_reads(&reading)
}

impl Driver {
    /// Writes to the standard input of a worker as much as it takes now.
    pub(super) fn input(&self, request: &InputRequest) -> Result<InputResponse, ApiError> {
        let pid = self.receiver_of_input(request)?;
        let failed = |error: io::Error| ApiError::internal(format!("process {pid}: its standard input: {error}"));
        let Some(input) = foreign::pipe_of_ours(pid, 0) else {
            return Err(ApiError::conflict(format!(
                "process {pid} does not read the standard input that it was given"
            ))
            .with_hint("it put something else in its place, or was started by an older musher: restart the app"));
        };
        let input = foreign::open_for_writing(pid, input).map_err(failed)?;
        let pid = u32::try_from(pid.as_raw()).unwrap_or(0);
        // So much is written as a whole or not at all (pipe(7), PIPE_BUF): no letter is cut.
        let part = &request.text[..request.text.floor_char_boundary(PIPE_BUF)];
        match rustix::io::write(&input, part.as_bytes()) {
            Ok(bytes) => Ok(InputResponse { bytes, pid }),
            Err(rustix::io::Errno::AGAIN) => Ok(InputResponse { bytes: 0, pid }),
            Err(error) => Err(failed(error.into())),
        }
    }

    fn receiver_of_input(&self, request: &InputRequest) -> Result<Pid, ApiError> {
        let id = self.find(&request.target)?;
        let gone = || ApiError::new(ErrorCode::Internal, "the app is gone");
        let app = self.apps.get(&id).ok_or_else(gone)?;
        let slots = app.machine.slot_ids();
        let slot = match (request.slot, slots.as_slice()) {
            (Some(slot), _) => SlotId(slot),
            (None, [slot]) => *slot,
            (None, _) => {
                let last = slots.last().copied().unwrap_or_default();
                let slots = slots.len();
                return Err(ApiError::conflict(format!("{} has {slots} workers: which one is to read it?", app.name))
                    .with_hint(format!("give the number of its slot, 0 to {last}")));
            }
        };
        let run = app.machine.occupant(slot).and_then(|(run, _)| app.runs.get(&run)).filter(|run| !run.has_ended());
        run.and_then(super::app::ManagedRun::pid).ok_or_else(|| {
            ApiError::conflict(format!("{} has no worker in slot {slot}", app.name))
                .with_hint("`musher list` shows its workers")
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use musher_process::{Pid, foreign};

    use super::{WAITING, pipe};

    #[test]
    fn what_is_written_waits_for_the_worker_and_is_bounded() {
        let held = pipe().unwrap();
        let found = foreign::pipe_of_ours(Pid::own(), held.as_raw_fd()).unwrap();
        let writer = foreign::open_for_writing(Pid::own(), found).unwrap();
        let text = vec![b'x'; WAITING];
        assert_eq!(rustix::io::write(&writer, &text).unwrap(), WAITING);
        assert_eq!(rustix::io::write(&writer, b"more").unwrap_err(), rustix::io::Errno::AGAIN);
        drop(writer);
        let mut read = vec![0; 2 * WAITING];
        assert_eq!(rustix::io::read(&held, &mut read).unwrap(), WAITING, "and it has not ended: the worker holds it");
    }
}
