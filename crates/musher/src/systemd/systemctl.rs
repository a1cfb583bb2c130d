//! Questions and orders to systemd, by its own command: it knows how to reach the manager as root, as a user and without
//! a message bus.

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use crate::failure::Failure;

/// The most that is read of what it says.
const MOST: u64 = 1 << 20;

/// What systemd is about to do with a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Job {
    /// It is stopped in order to be started again.
    Restart,
    /// It is stopped, or there is no job at all: somebody sent a signal.
    Other,
    /// systemd could not be asked.
    Unknown,
}

/// What became of a call.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) ok: bool,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Whether systemd is what runs this machine (sd_booted(3)).
pub(crate) fn is_booted() -> bool {
    std::path::Path::new("/run/systemd/system").is_dir()
}

/// Calls systemctl; for the user's systemd or the system's. It is ended after `limit`.
pub(crate) fn call(user: bool, words: &[&str], limit: Duration) -> Result<Said, Failure> {
    let scope: &[&str] = if user { &["--user"] } else { &[] };
    run("systemctl", &[scope, words].concat(), limit)
}

/// Calls a command of systemd.
pub(crate) fn run(program: &str, words: &[&str], limit: Duration) -> Result<Said, Failure> {
    #[expect(clippy::disallowed_methods, reason = "a question to the service manager, not a worker")]
    let spawned = Command::new(program)
        .args(words)
        // It must not think that it speaks for us.
        .env_remove("NOTIFY_SOCKET")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = spawned.map_err(|error| {
        Failure::environment(format!("{program} cannot be called: {error}"))
            .with_hint("it belongs to systemd; without systemd, let your init system run `musher resurrect` at boot")
    })?;
    let outputs = [
        child.stdout.take().map(|out| Box::new(out) as Box<dyn Read + Send>),
        child.stderr.take().map(|err| Box::new(err) as Box<dyn Read + Send>),
    ];
    let readers = outputs.map(|output| {
        let (sender, receiver) = sync_channel(1);
        std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = output.map(|output| output.take(MOST).read_to_end(&mut text));
            let _ = sender.send(String::from_utf8_lossy(&text).into_owned());
        });
        receiver
    });
    let begin = std::time::Instant::now();
    let [out, err] = readers.map(|reader| reader.recv_timeout(limit.saturating_sub(begin.elapsed())));
    let late = out.is_err() || err.is_err();
    if late {
        let _ = child.kill();
    }
    let status = child.wait();
    if late {
        return Err(Failure::new(
            crate::exit_codes::TIMEOUT,
            format!("{program} {} did not end within {} s", words.join(" "), limit.as_secs()),
        ));
    }
    let ok = status.is_ok_and(|status| status.success());
    Ok(Said { ok, out: out.unwrap_or_default(), err: err.unwrap_or_default() })
}

/// What systemd is about to do with this unit. While a unit is stopped for a restart its job still is of the type
/// `restart`; it becomes `start` after that.
pub(crate) fn job_of(unit: &str, user: bool) -> Job {
    let asked = call(user, &["list-jobs", "--full", "--plain", "--no-legend", "--no-pager"], Duration::from_secs(5));
    match asked {
        Ok(said) if said.ok => job_in(&said.out, unit),
        _ => Job::Unknown,
    }
}

/// Lines of `number unit type state`.
fn job_in(list: &str, unit: &str) -> Job {
    let kind = list.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip_while(|word| word.parse::<u64>().is_err()).skip(1);
        (words.next()? == unit).then(|| words.next().unwrap_or_default().to_owned())
    });
    if kind.as_deref() == Some("restart") { Job::Restart } else { Job::Other }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_job_of_a_unit_is_found_among_others() {
        let list = " 12 musher.service restart running\n113 musher-ann.service stop    running\n\n";
        assert_eq!(job_in(list, "musher.service"), Job::Restart);
        assert_eq!(job_in(list, "musher-ann.service"), Job::Other);
        assert_eq!(job_in(list, "other.service"), Job::Other);
        assert_eq!(job_in("No jobs running.\n", "musher.service"), Job::Other);
    }

    #[test]
    fn what_a_command_says_comes_back_and_one_that_hangs_is_ended() {
        let said = run("sh", &["-c", "echo out; echo err >&2; exit 3"], Duration::from_secs(30)).unwrap();
        assert_eq!((said.ok, said.out.as_str(), said.err.as_str()), (false, "out\n", "err\n"));
        let late = run("sleep", &["1000"], Duration::from_millis(50)).unwrap_err();
        assert_eq!(late.code(), crate::exit_codes::TIMEOUT);
        let missing = run("no-such-command-of-systemd", &[], Duration::from_secs(1)).unwrap_err();
        assert_eq!(missing.code(), crate::exit_codes::ENVIRONMENT);
    }
}
