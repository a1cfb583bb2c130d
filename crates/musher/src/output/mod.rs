//! What people and programs read: stdout is data, stderr is messages.

mod progress;
mod reader;
mod sanitize;
mod table;
mod terminal;
pub(crate) mod units;

use std::io::Write;
use std::process::ExitCode;

use crate::exit_codes;

pub(crate) use progress::Progress;
pub(crate) use reader::reader_gone;
pub(crate) use sanitize::{sanitize, sanitize_keeping_colours, sanitize_without_colours};
pub(crate) use table::{Column, Table};
pub(crate) use terminal::{Colour, Terminal};

/// A text as one word of a line for a shell.
pub(crate) fn one_word(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Prints one message, for people, that is not an error.
pub(crate) fn note(text: &str) {
    // A closed stderr must not end the command.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Prints an error of one line.
pub(crate) fn error_line(text: &str) {
    error_text(text, None);
}

/// Prints an error and what to do about it.
pub(crate) fn error_text(text: &str, hint: Option<&str>) {
    let terminal = Terminal::stderr();
    note(&format!("{} {text}", terminal.paint(Colour::Red, "error:")));
    if let Some(hint) = hint {
        note(&format!("{} {hint}", terminal.paint(Colour::Cyan, "hint:")));
    }
}

/// Prints what clap has to say: help on stdout, everything else on stderr.
pub(crate) fn refused(refused: &clap::Error) -> ExitCode {
    // A closed stream must not change the exit code.
    let _ = refused.print();
    let code = if refused.use_stderr() { exit_codes::USAGE } else { exit_codes::OK };
    ExitCode::from(code)
}
