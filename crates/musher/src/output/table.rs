//! Tables that fit.
//!
//! A table that is too wide loses columns, the least important first; then its widest remaining text column is cut with
//! an ellipsis. Nothing is ever wrapped. What is not a terminal gets everything.

use comfy_table::{Cell, CellAlignment, Color, ContentArrangement, presets};

use super::{Colour, Terminal};

/// Blanks between two columns.
const GAP: usize = 2;

/// A column of a table.
#[derive(Debug)]
pub(crate) struct Column {
    title: &'static str,
    /// Columns with a higher number go first when space is short; 0 stays always.
    expendable: u8,
    number: bool,
}

/// A table. Rows have as many cells as there are columns.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<(String, Option<Colour>)>>,
}

impl Column {
    /// A column of text.
    pub(crate) fn text(title: &'static str, expendable: u8) -> Column {
        Column { title, expendable, number: false }
    }

    /// A column of numbers: to the right.
    pub(crate) fn number(title: &'static str, expendable: u8) -> Column {
        Column { title, expendable, number: true }
    }
}

impl Table {
    /// A table without rows.
    pub(crate) fn new(columns: impl Into<Vec<Column>>) -> Table {
        Table { columns: columns.into(), rows: Vec::new() }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = (String, Option<Colour>)>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The table as text, with an end of line.
    pub(crate) fn render(&self, terminal: Terminal) -> String {
        let all: Vec<usize> = (0..self.columns.len()).collect();
        let Some(width) = terminal.width() else { return self.draw(&all, None, terminal) };
        let widths = self.widths();
        let total = |shown: &[usize]| (shown.iter().map(|at| widths[*at] + GAP).sum::<usize>()).saturating_sub(GAP);
        let mut shown = all;
        while total(&shown) > width {
            let least = shown.iter().copied().filter(|at| self.columns[*at].expendable > 0);
            let Some(least) = least.max_by_key(|at| self.columns[*at].expendable) else { break };
            shown.retain(|at| *at != least);
        }
        let excess = total(&shown).saturating_sub(width);
        let longest = shown.iter().copied().filter(|at| !self.columns[*at].number).max_by_key(|at| widths[*at]);
        let cut = longest.filter(|_| excess > 0).map(|at| (at, widths[at].saturating_sub(excess).max(4)));
        self.draw(&shown, cut, terminal)
    }

    fn widths(&self) -> Vec<usize> {
        let all: Vec<usize> = (0..self.columns.len()).collect();
        self.build(&all, None, Terminal::stdout()).column_max_content_widths().iter().map(|w| usize::from(*w)).collect()
    }

    fn draw(&self, shown: &[usize], cut: Option<(usize, usize)>, terminal: Terminal) -> String {
        let mut text = String::new();
        for line in self.build(shown, cut, terminal).lines() {
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    fn build(&self, shown: &[usize], cut: Option<(usize, usize)>, terminal: Terminal) -> comfy_table::Table {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        if terminal.has_colours() {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        let cell = |at: usize, text: &str| {
            let text = match cut {
                Some((column, width)) if column == at => shorten(text, width),
                _ => text.to_owned(),
            };
            let alignment = if self.columns[at].number { CellAlignment::Right } else { CellAlignment::Left };
            Cell::new(text).set_alignment(alignment)
        };
        table.set_header(shown.iter().map(|at| {
            let header = cell(*at, self.columns[*at].title);
            if terminal.has_colours() { header.add_attribute(comfy_table::Attribute::Bold) } else { header }
        }));
        for row in &self.rows {
            table.add_row(shown.iter().map(|at| {
                let (text, colour) = &row[*at];
                let cell = cell(*at, text);
                match colour.and_then(foreground) {
                    Some(colour) if terminal.has_colours() => cell.fg(colour),
                    _ => cell,
                }
            }));
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, u16::try_from(GAP).unwrap_or(1)));
        }
        table
    }
}

/// `text` in at most `width` characters.
fn shorten(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

fn foreground(colour: Colour) -> Option<Color> {
    match colour {
        Colour::Red => Some(Color::DarkRed),
        Colour::Green => Some(Color::DarkGreen),
        Colour::Yellow => Some(Color::DarkYellow),
        Colour::Blue => Some(Color::DarkBlue),
        Colour::Magenta => Some(Color::DarkMagenta),
        Colour::Cyan => Some(Color::DarkCyan),
        Colour::Dim => Some(Color::DarkGrey),
        Colour::Bold => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Column, Table};
    use crate::output::Terminal;

    fn table() -> Table {
        let mut table = Table::new([Column::text("name", 0), Column::number("pid", 0), Column::text("mode", 2)]);
        table.row([("a-name-of-some-length", None), ("12345", None), ("cluster", None)].map(|(t, c)| (t.into(), c)));
        table.row([("b", None), ("7", None), ("fork", None)].map(|(t, c)| (t.into(), c)));
        table
    }

    #[test]
    fn a_wide_table_is_whole() {
        let whole = "name                     pid  mode\n\
                     a-name-of-some-length  12345  cluster\n\
                     b                          7  fork\n";
        assert_eq!(table().render(Terminal::plain(80)), whole);
        assert_eq!(table().render(Terminal::file()), whole);
    }

    #[test]
    fn a_narrow_table_loses_the_least_important_column_and_then_cuts_text() {
        assert_eq!(
            table().render(Terminal::plain(32)),
            "name                     pid\n\
             a-name-of-some-length  12345\n\
             b                          7\n"
        );
        assert_eq!(
            table().render(Terminal::plain(20)),
            "name             pid\n\
             a-name-of-so…  12345\n\
             b                  7\n"
        );
    }
}
