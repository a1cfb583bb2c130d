//! What is asked before something is done. Pure.

use musher_api::Action;
use musher_core::spec::MAX_INSTANCES;

/// The signals that are offered first; others by name or number.
pub(super) const SIGNALS: [&str; 8] =
    ["SIGHUP", "SIGUSR1", "SIGUSR2", "SIGINT", "SIGTERM", "SIGWINCH", "SIGQUIT", "SIGKILL"];
/// The longest text that can be typed.
const LONGEST: usize = 200;

/// A window over the others.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Dialog {
    Help {
        scroll: usize,
    },
    /// Something long to read, mostly why something failed.
    Message {
        text: String,
        scroll: usize,
    },
    /// Is this to be done?
    Confirm(Order),
    /// How many workers?
    Scale {
        app: String,
        now: usize,
        text: String,
    },
    /// Which signal? To one worker, or to all.
    Signal {
        app: String,
        slot: Option<u32>,
        at: usize,
    },
    /// A line of text for the logs or the list.
    Prompt {
        kind: Prompt,
        text: String,
    },
}

/// What the text is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prompt {
    Search,
    Filter,
    FindApp,
}

/// Something to be done to an app.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Order {
    pub(super) app: String,
    pub(super) action: Action,
}

impl Order {
    /// What it is, as a question.
    pub(super) fn question(&self, workers: usize) -> String {
        let app = &self.app;
        let all = match workers {
            1 => format!("the worker of {app}"),
            _ => format!("the {workers} workers of {app}"),
        };
        match self.action {
            Action::Start => format!("Start {app}?"),
            Action::Stop => format!("Stop {all}?"),
            Action::Restart => format!("Restart {all}? Nothing serves in between."),
            Action::Reload | Action::Canary { .. } => format!("Reload {all}, one after the other?"),
            Action::Delete => format!("Stop {all}, and forget {app}?"),
            Action::Scale { to } => format!("Scale {app} from {workers} to {to}?"),
            Action::Signal { signal, slot } => {
                let whom = slot.map_or(all, |slot| format!("worker {slot} of {app}"));
                format!("Send {} to {whom}?", musher_process::exit::signal_name(signal))
            }
            Action::Reset => format!("Set the counts of restarts of {app} to 0?"),
            Action::Flush => format!("Empty the log files of {app}?"),
            Action::ReopenLogs => format!("Open the log files of {app} again?"),
        }
    }

    /// What it is, while it is done: `reload web`.
    pub(super) fn words(&self) -> String {
        let app = &self.app;
        let what = match self.action {
            Action::Scale { to } => return format!("scale {app} to {to}"),
            Action::Signal { signal, slot } => {
                let whom = slot.map_or_else(|| app.clone(), |slot| format!("{app}/{slot}"));
                return format!("{} to {whom}", musher_process::exit::signal_name(signal));
            }
            Action::Start => "start",
            Action::Stop => "stop",
            Action::Restart => "restart",
            Action::Reload | Action::Canary { .. } => "reload",
            Action::Delete => "delete",
            Action::Reset => "reset",
            Action::Flush => "flush",
            Action::ReopenLogs => "reopen logs of",
        };
        format!("{what} {app}")
    }
}

/// One more letter, as long as there is room and it is one.
pub(super) fn typed(text: &mut String, letter: char) {
    if text.len() < LONGEST && !letter.is_control() {
        text.push(letter);
    }
}

/// The number of workers that somebody typed: `4`, `+1`, `-2`.
///
/// # Errors
///
/// Why it is none.
pub(super) fn workers(text: &str, now: usize) -> Result<u32, String> {
    let wrong = || format!("1 to {MAX_INSTANCES}, or a change: +1, -2");
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let number: u32 = digits.parse().map_err(|_| wrong())?;
    let now = u32::try_from(now).unwrap_or(u32::MAX);
    let to = match text.as_bytes().first() {
        Some(b'+') => now.saturating_add(number),
        Some(b'-') => now.saturating_sub(number),
        _ => number,
    };
    if (1..=MAX_INSTANCES).contains(&to) { Ok(to) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::{typed, workers};

    #[test]
    fn a_number_of_workers_is_absolute_or_a_change() {
        assert_eq!((workers("4", 2), workers("+1", 2), workers("-1", 2)), (Ok(4), Ok(3), Ok(1)));
        for wrong in ["", "0", "-2", "x", "1001", "+", "99999999999"] {
            assert!(workers(wrong, 2).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_typed_is_bounded_and_has_no_control_characters() {
        let mut text = String::new();
        typed(&mut text, '\x1b');
        (0..1000).for_each(|_| typed(&mut text, 'ü'));
        assert!(text.starts_with('ü') && text.len() <= 201, "{}", text.len());
    }
}
