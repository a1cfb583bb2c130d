//! The lines of the chosen app: bounded, filtered, searched, scrolled. Pure.

use std::collections::VecDeque;

use musher_api::{Cursor, LogLine, LogStream};
use regex_lite::{Regex, RegexBuilder};

use crate::output::sanitize_without_colours;

/// How many lines are kept.
pub(super) const KEPT: usize = 2000;
/// How much of a line is kept, in characters.
const LONGEST: usize = 2000;

/// One line as it is shown.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) slot: u32,
    pub(super) stream: LogStream,
    pub(super) time_ms: u64,
    /// Without anything that a terminal would obey.
    pub(super) text: String,
    /// Whether it passes the filters.
    is_shown: bool,
}

/// The pane's state.
#[derive(Debug, Default)]
pub(super) struct Logs {
    lines: VecDeque<Line>,
    /// Where the newest is.
    newest: Cursor,
    /// How many of them pass the filters.
    shown: usize,
    /// Only those of this worker.
    slot: Option<u32>,
    /// Only this output.
    pub(super) stream: Option<LogStream>,
    filter: Option<(String, Regex)>,
    search: Option<(String, Regex)>,
    /// How many shown lines are below the lowest in view; 0: new lines are followed.
    pub(super) behind: usize,
    /// How many columns are left out at the left.
    pub(super) shifted: usize,
    /// Whether lines were left out because they came too fast.
    pub(super) skipped: bool,
}

impl Logs {
    /// Begins anew: other lines follow.
    pub(super) fn clear(&mut self) {
        self.lines.clear();
        (self.shown, self.behind, self.shifted, self.skipped) = (0, 0, 0, false);
        self.newest = Cursor::default();
    }

    /// One more line. Lines that were there already are told again after some were left out.
    pub(super) fn push(&mut self, line: &LogLine) {
        if line.cursor <= self.newest {
            return;
        }
        self.newest = line.cursor;
        if self.lines.len() == KEPT
            && let Some(oldest) = self.lines.pop_front()
        {
            self.shown -= usize::from(oldest.is_shown);
        }
        let text: String = line.line.chars().take(LONGEST).collect();
        let mut line = Line {
            slot: line.slot,
            stream: line.stream,
            time_ms: line.time_ms,
            text: sanitize_without_colours(&text),
            is_shown: false,
        };
        line.is_shown = self.passes(&line);
        if line.is_shown {
            self.shown += 1;
            // What is in view stays in view.
            self.behind += usize::from(self.behind > 0);
        }
        self.lines.push_back(line);
        self.behind = self.behind.min(self.shown.saturating_sub(1));
    }

    /// How many lines pass the filters.
    pub(super) fn count(&self) -> usize {
        self.shown
    }

    /// The lines that fit, the lowest last.
    pub(super) fn view(&self, height: usize) -> Vec<&Line> {
        let shown = self.lines.iter().rev().filter(|line| line.is_shown);
        let mut lines: Vec<&Line> = shown.skip(self.behind).take(height).collect();
        lines.reverse();
        lines
    }

    /// Only the lines of this worker, or of all.
    pub(super) fn of_slot(&mut self, slot: Option<u32>) {
        if self.slot != slot {
            self.slot = slot;
            self.refilter();
        }
    }

    /// Next of: both outputs, only out, only err.
    pub(super) fn next_stream(&mut self) {
        self.stream = match self.stream {
            None => Some(LogStream::Out),
            Some(LogStream::Out) => Some(LogStream::Err),
            Some(LogStream::Err) => None,
        };
        self.refilter();
    }

    /// Only lines that match; an empty expression: all.
    ///
    /// # Errors
    ///
    /// Why it is no regular expression.
    pub(super) fn filter(&mut self, expression: &str) -> Result<(), String> {
        self.filter = compile(expression)?;
        self.refilter();
        Ok(())
    }

    /// What the lines are filtered by.
    pub(super) fn filtered_by(&self) -> Option<&str> {
        self.filter.as_ref().map(|(text, _)| text.as_str())
    }

    /// Marks what matches, and goes to the last such line at or above the view.
    ///
    /// # Errors
    ///
    /// Why it is no regular expression.
    pub(super) fn search(&mut self, expression: &str) -> Result<bool, String> {
        self.search = compile(expression)?;
        Ok(self.search.is_none() || self.go_to_match(true, false))
    }

    /// What is searched.
    pub(super) fn searched(&self) -> Option<(&str, &Regex)> {
        self.search.as_ref().map(|(text, regex)| (text.as_str(), regex))
    }

    /// To the next match above, or below; false when there is none.
    pub(super) fn next_match(&mut self, above: bool) -> bool {
        self.go_to_match(above, true)
    }

    fn go_to_match(&mut self, above: bool, beyond: bool) -> bool {
        let Some((_, regex)) = &self.search else { return false };
        let shown = self.lines.iter().rev().filter(|line| line.is_shown).enumerate();
        let mut matching = shown.filter(|(_, line)| regex.is_match(&line.text)).map(|(at, _)| at);
        let found = if above {
            matching.find(|at| if beyond { *at > self.behind } else { *at >= self.behind })
        } else {
            matching.take_while(|at| *at < self.behind).last()
        };
        if let Some(found) = found {
            self.behind = found;
        }
        found.is_some()
    }

    /// Towards older lines, or newer ones.
    pub(super) fn scroll(&mut self, lines: usize, older: bool) {
        let behind = if older { self.behind.saturating_add(lines) } else { self.behind.saturating_sub(lines) };
        self.behind = behind.min(self.shown.saturating_sub(1));
    }

    fn refilter(&mut self) {
        let mut lines = std::mem::take(&mut self.lines);
        for line in &mut lines {
            line.is_shown = self.passes(line);
        }
        self.shown = lines.iter().filter(|line| line.is_shown).count();
        self.lines = lines;
        self.behind = 0;
    }

    fn passes(&self, line: &Line) -> bool {
        self.slot.is_none_or(|slot| line.slot == slot)
            && self.stream.is_none_or(|stream| line.stream == stream)
            && self.filter.as_ref().is_none_or(|(_, regex)| regex.is_match(&line.text))
    }
}

/// Case counts only for those who write capitals.
fn compile(expression: &str) -> Result<Option<(String, Regex)>, String> {
    if expression.is_empty() {
        return Ok(None);
    }
    let ignores_case = !expression.chars().any(char::is_uppercase);
    let regex = RegexBuilder::new(expression).case_insensitive(ignores_case).build();
    regex.map(|regex| Some((expression.to_owned(), regex))).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use musher_api::{Cursor, LogLine, LogStream};

    use super::{KEPT, Logs};

    fn line(n: u64, slot: u32, stream: LogStream, text: &str) -> LogLine {
        LogLine {
            cursor: Cursor(n + 1),
            time_ms: n,
            app: "web".into(),
            slot,
            run: 1,
            pid: 1,
            stream,
            line: text.into(),
        }
    }

    fn texts(logs: &Logs, height: usize) -> Vec<&str> {
        logs.view(height).iter().map(|line| line.text.as_str()).collect()
    }

    fn logs() -> Logs {
        let mut logs = Logs::default();
        for (n, (slot, stream, text)) in [
            (0, LogStream::Out, "GET /a"),
            (1, LogStream::Err, "Error: no such table"),
            (0, LogStream::Err, "warning"),
            (1, LogStream::Out, "GET /b"),
        ]
        .into_iter()
        .enumerate()
        {
            logs.push(&line(n as u64, slot, stream, text));
        }
        logs
    }

    #[test]
    fn lines_are_bounded_and_cannot_command_the_terminal() {
        let mut logs = Logs::default();
        for n in 0..2 * KEPT as u64 {
            logs.push(&line(n, 0, LogStream::Out, &format!("\x1b[31m{n}\x1b[0m\x1b[2J{}", "x".repeat(5000))));
        }
        assert_eq!(logs.count(), KEPT);
        let lowest = logs.view(1)[0];
        assert!(lowest.text.starts_with(&format!("{}\\x1b[2Jxxx", 2 * KEPT - 1)), "{}", lowest.text);
        assert!(lowest.text.len() < 2100);
    }

    #[test]
    fn filters_are_by_worker_output_and_expression() {
        let mut logs = logs();
        logs.of_slot(Some(1));
        assert_eq!(texts(&logs, 9), ["Error: no such table", "GET /b"]);
        logs.next_stream();
        assert_eq!(texts(&logs, 9), ["GET /b"]);
        logs.next_stream();
        assert_eq!(texts(&logs, 9), ["Error: no such table"]);
        logs.next_stream();
        logs.of_slot(None);
        logs.filter("^get").unwrap();
        assert_eq!(texts(&logs, 9), ["GET /a", "GET /b"], "small letters match capitals");
        logs.push(&line(9, 0, LogStream::Out, "POST /c"));
        assert_eq!(logs.count(), 2);
        assert!(logs.filter("(").is_err());
        assert_eq!(logs.filtered_by(), Some("^get"), "a wrong expression changes nothing");
        logs.filter("").unwrap();
        assert_eq!(logs.count(), 5);
    }

    #[test]
    fn a_search_goes_from_match_to_match() {
        let mut logs = logs();
        assert!(logs.search("GET").unwrap());
        assert_eq!(texts(&logs, 1), ["GET /b"]);
        assert!(logs.next_match(true));
        assert_eq!(texts(&logs, 1), ["GET /a"]);
        assert!(!logs.next_match(true));
        assert!(logs.next_match(false));
        assert_eq!(texts(&logs, 1), ["GET /b"]);
        assert!(!logs.search("nothing").unwrap());
    }

    #[test]
    fn what_is_in_view_stays_there_while_lines_come() {
        let mut logs = logs();
        logs.scroll(1, true);
        assert_eq!(texts(&logs, 2), ["Error: no such table", "warning"]);
        logs.push(&line(9, 0, LogStream::Out, "new"));
        assert_eq!(texts(&logs, 2), ["Error: no such table", "warning"]);
        logs.scroll(usize::MAX, true);
        assert_eq!(texts(&logs, 2), ["GET /a"]);
        logs.scroll(usize::MAX, false);
        assert_eq!(texts(&logs, 2), ["GET /b", "new"]);
    }
}
