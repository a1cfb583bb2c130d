//! What a waiting command shows: one line on a terminal that tells how far each operation is.
//!
//! Nothing is shown for what takes less than [`SHORT`], nor when stderr is not a terminal.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Terminal, sanitize};

/// What is over sooner is not worth a display.
const SHORT: Duration = Duration::from_millis(300);

/// The display.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    start: Instant,
    terminal: Terminal,
}

impl Progress {
    /// How often [`Progress::tick`] wants to be called.
    pub(crate) const TICK: Duration = Duration::from_millis(100);

    /// Begins; shows nothing yet.
    pub(crate) fn new() -> Progress {
        Progress { bar: None, start: Instant::now(), terminal: Terminal::stderr() }
    }

    /// Shows how far things are now; `describe` is called only when it is shown.
    pub(crate) fn tick(&mut self, describe: impl FnOnce() -> String) {
        if !self.terminal.is_terminal() || self.start.elapsed() < SHORT {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            // A template that does not parse leaves the built-in style.
            if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}") {
                bar.set_style(style);
            }
            bar
        });
        bar.set_message(sanitize(&describe()));
        bar.tick();
    }

    /// Wipes the display.
    pub(crate) fn finish(self) -> Duration {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
        self.start.elapsed()
    }
}
