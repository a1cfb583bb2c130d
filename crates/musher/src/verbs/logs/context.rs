//! Lines around those that match.

use std::collections::{HashMap, VecDeque};

use musher_api::LogLine;
use regex_lite::Regex;

/// Chooses lines that match, and those near them of the same app.
pub(super) struct Context {
    count: usize,
    pattern: Regex,
    apps: HashMap<String, Near>,
    /// Something was shown.
    begun: bool,
}

/// What is near in one app.
#[derive(Default)]
struct Near {
    /// The last lines that were not shown.
    before: VecDeque<LogLine>,
    /// How many more are shown behind a match.
    after: usize,
    /// Lines between what was shown and what is in `before` were left out.
    gap: bool,
}

impl Context {
    /// With so many lines before and after each match.
    pub(super) fn new(count: u32, pattern: Regex) -> Context {
        Context { count: count as usize, pattern, apps: HashMap::new(), begun: false }
    }

    /// What is to be shown now that this line has come; nothing stands for a gap.
    pub(super) fn see(&mut self, line: LogLine) -> Vec<Option<LogLine>> {
        let near = self.apps.entry(line.app.clone()).or_insert_with(|| Near { gap: true, ..Near::default() });
        if self.pattern.is_match(&line.line) {
            let mut shown = Vec::new();
            if near.gap && self.begun {
                shown.push(None);
            }
            shown.extend(near.before.drain(..).map(Some));
            shown.push(Some(line));
            (near.after, near.gap, self.begun) = (self.count, false, true);
            return shown;
        }
        if near.after > 0 {
            near.after -= 1;
            return vec![Some(line)];
        }
        near.before.push_back(line);
        if near.before.len() > self.count {
            near.before.pop_front();
            near.gap = true;
        }
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use musher_api::{Cursor, LogStream};

    use super::*;

    fn shown(count: u32, lines: &[(&str, &str)]) -> Vec<String> {
        let mut context = Context::new(count, Regex::new("^x").unwrap());
        let line = |(app, line): &(&str, &str)| LogLine {
            cursor: Cursor(0),
            time_ms: 0,
            app: (*app).into(),
            slot: 0,
            run: 0,
            pid: 0,
            stream: LogStream::Out,
            line: (*line).into(),
        };
        let shown = lines.iter().flat_map(|given| context.see(line(given)));
        shown.map(|line| line.map_or_else(|| "--".into(), |line| line.line)).collect()
    }

    #[test]
    fn lines_around_a_match_are_shown_with_gaps_between_groups() {
        let lines: Vec<(&str, &str)> =
            ["a", "b", "x1", "c", "d", "x2", "e", "f", "g", "h", "x3"].map(|line| ("web", line)).into();
        assert_eq!(shown(1, &lines), ["b", "x1", "c", "d", "x2", "e", "--", "h", "x3"]);
        assert_eq!(shown(9, &lines), ["a", "b", "x1", "c", "d", "x2", "e", "f", "g", "h", "x3"]);
    }

    #[test]
    fn what_is_near_is_near_in_the_same_app() {
        let lines = [("web", "a"), ("api", "b"), ("web", "x"), ("api", "c"), ("web", "d")];
        assert_eq!(shown(1, &lines), ["a", "x", "d"]);
    }
}
