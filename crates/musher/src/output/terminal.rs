//! What is known of a stream: whether it is a terminal, how wide, and whether colours are wanted.

use std::io::IsTerminal;

use rustix::fd::AsFd;

/// The narrowest width that anything is fitted to.
const NARROWEST: usize = 40;

/// A standard stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terminal {
    /// Columns; none when it is not a terminal.
    width: Option<usize>,
    colours: bool,
}

/// The colours in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colour {
    Red,
    Green,
    Yellow,
    Blue,
    Magenta,
    Cyan,
    Dim,
    Bold,
}

impl Terminal {
    /// What stdout is.
    pub(crate) fn stdout() -> Terminal {
        Terminal::of(&std::io::stdout())
    }

    /// What stderr is.
    pub(crate) fn stderr() -> Terminal {
        Terminal::of(&std::io::stderr())
    }

    fn of(stream: &(impl IsTerminal + AsFd)) -> Terminal {
        if !stream.is_terminal() {
            return Terminal { width: None, colours: false };
        }
        let columns = rustix::termios::tcgetwinsize(stream).map_or(0, |size| usize::from(size.ws_col));
        let width = if columns == 0 { 80 } else { columns.max(NARROWEST) };
        // https://no-color.org: present and not empty.
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        Terminal { width: Some(width), colours: !refused && !dumb }
    }

    /// A terminal of `width` columns without colours.
    #[cfg(test)]
    pub(crate) fn plain(width: usize) -> Terminal {
        Terminal { width: Some(width), colours: false }
    }

    /// A stream that is no terminal.
    #[cfg(test)]
    pub(crate) fn file() -> Terminal {
        Terminal { width: None, colours: false }
    }

    /// Columns; none when it is not a terminal.
    pub(crate) fn width(self) -> Option<usize> {
        self.width
    }

    /// Whether it is one.
    pub(crate) fn is_terminal(self) -> bool {
        self.width.is_some()
    }

    /// Whether colours are wanted.
    pub(crate) fn has_colours(self) -> bool {
        self.colours
    }

    /// `text` in a colour, where colours are wanted.
    pub(crate) fn paint(self, colour: Colour, text: &str) -> String {
        if self.colours && !text.is_empty() { format!("\x1b[{}m{text}\x1b[0m", colour.sgr()) } else { text.to_owned() }
    }
}

impl Colour {
    fn sgr(self) -> u8 {
        match self {
            Colour::Red => 31,
            Colour::Green => 32,
            Colour::Yellow => 33,
            Colour::Blue => 34,
            Colour::Magenta => 35,
            Colour::Cyan => 36,
            Colour::Dim => 2,
            Colour::Bold => 1,
        }
    }
}
