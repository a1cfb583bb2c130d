//! Text that fits its place, and graphs of one line.

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Span;

use musher_api::SlotStatus;

/// The heights of a column of a graph.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Colours, where they are wanted.
#[derive(Clone, Copy, Debug)]
pub(in crate::monit) struct Theme {
    pub(in crate::monit) has_colours: bool,
}

impl Theme {
    pub(super) fn colour(self, colour: Color) -> Style {
        if self.has_colours { Style::default().fg(colour) } else { Style::default() }
    }

    pub(super) fn dim(self) -> Style {
        Style::default().add_modifier(Modifier::DIM)
    }

    pub(super) fn bold(self) -> Style {
        Style::default().add_modifier(Modifier::BOLD)
    }

    /// What is chosen.
    pub(super) fn chosen(self) -> Style {
        Style::default().add_modifier(Modifier::REVERSED)
    }

    pub(super) fn error(self) -> Style {
        self.colour(Color::Red).add_modifier(Modifier::BOLD)
    }

    pub(super) fn status(self, status: SlotStatus) -> Style {
        match status {
            SlotStatus::Online => self.colour(Color::Green),
            SlotStatus::Starting | SlotStatus::Draining | SlotStatus::Backoff | SlotStatus::Waiting => {
                self.colour(Color::Yellow)
            }
            SlotStatus::GaveUp => self.error(),
            SlotStatus::Stopped | SlotStatus::Exited | SlotStatus::Scheduled => self.dim(),
            SlotStatus::Unknown => Style::default(),
        }
    }
}

/// How many columns a text takes.
pub(super) fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// `text` in exactly `columns`, cut with an ellipsis or filled with blanks; numbers stand at the right.
pub(super) fn fit(text: &str, columns: usize, to_the_right: bool) -> String {
    let taken = width(text);
    if taken <= columns {
        let blanks = " ".repeat(columns - taken);
        return if to_the_right { blanks + text } else { text.to_owned() + &blanks };
    }
    let mut short = String::new();
    let mut room = columns.saturating_sub(1);
    for letter in text.chars() {
        let takes = width(letter.encode_utf8(&mut [0; 4]));
        if takes > room {
            break;
        }
        room -= takes;
        short.push(letter);
    }
    if columns > 0 {
        short.push('…');
    }
    short + &" ".repeat(room)
}

/// The newest values as columns, each as high as its part of `most`.
pub(super) fn graph(values: impl ExactSizeIterator<Item = f64>, columns: usize, most: f64) -> String {
    let skipped = values.len().saturating_sub(columns);
    let bars: String = values.skip(skipped).map(|value| bar(value, most)).collect();
    fit(&bars, columns, true)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 7")]
fn bar(value: f64, most: f64) -> char {
    if most.is_nan() || most <= 0.0 || value.is_nan() {
        return BARS[0];
    }
    BARS[((value / most).clamp(0.0, 1.0) * 7.0).round() as usize]
}

#[cfg(test)]
mod tests {
    use super::{fit, graph, width};

    #[test]
    fn a_text_fits_its_columns_whatever_is_in_it() {
        for text in ["", "web", "a-very-long-name-of-an-app", "漢字の名前", "naïve🙂", "e\u{301}"] {
            for columns in 0..12 {
                assert_eq!(width(&fit(text, columns, false)), columns, "{text:?} in {columns}");
            }
        }
        assert_eq!((fit("abc", 5, true), fit("abcdef", 4, false)), ("  abc".into(), "abc…".into()));
    }

    #[test]
    fn a_graph_shows_the_newest_values() {
        assert_eq!(graph([0.0, 50.0, 100.0, 300.0].into_iter(), 6, 100.0), "  ▁▅██");
        assert_eq!(graph([9.0, 0.0, 0.0].into_iter(), 2, 0.0), "▁▁");
        assert_eq!(graph([f64::NAN].into_iter(), 1, f64::INFINITY), "▁");
    }
}
