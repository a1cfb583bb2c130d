//! The terminal: taken for as long as the view is open, and given back on every way out.

use std::io::{self, IsTerminal, Stdout, stdin, stdout};
use std::sync::atomic::{AtomicBool, Ordering};

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::event::{
    DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture, Event,
};
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::crossterm::{event, execute};
use tokio::sync::mpsc;

use crate::exit_codes;
use crate::failure::Failure;

/// How many keys wait to be taken in.
const KEYS: usize = 64;

/// Whether the terminal is ours.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The terminal, as long as it is ours.
pub(super) struct Screen {
    pub(super) terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    ///
    /// There is none, or it does not do as it is told.
    pub(super) fn take() -> Result<Screen, Failure> {
        if !stdin().is_terminal() || !stdout().is_terminal() {
            return Err(Failure::new(exit_codes::ENVIRONMENT, "monit needs a terminal, for its screen and its keys")
                .with_hint("`musher list --json` and `musher events --json` are for programs"));
        }
        let failed = |error: io::Error| Failure::environment(format!("the terminal cannot be used: {error}"));
        restore_before_a_panic_is_told();
        enable_raw_mode().map_err(failed)?;
        TAKEN.store(true, Ordering::SeqCst);
        let begun = execute!(stdout(), EnterAlternateScreen, EnableMouseCapture, EnableBracketedPaste, Hide)
            .and_then(|()| Terminal::new(CrosstermBackend::new(stdout())));
        match begun {
            Ok(terminal) => Ok(Screen { terminal }),
            Err(error) => {
                give_back();
                Err(failed(error))
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// The terminal as it was before. Once: what is not ours any more is left alone.
fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        // Whatever cannot be done, the rest is.
        let _ = execute!(stdout(), DisableBracketedPaste, DisableMouseCapture, LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
    }
}

fn restore_before_a_panic_is_told() {
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        give_back();
        told(panic);
    }));
}

/// Keys, the mouse and changes of size, as they come. A thread of its own waits for them; it ends with the process, or with
/// the terminal.
pub(super) fn inputs() -> mpsc::Receiver<Event> {
    let (sink, source) = mpsc::channel(KEYS);
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if sink.blocking_send(event).is_err() {
                return;
            }
        }
    });
    source
}
