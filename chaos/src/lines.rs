//! The numbered lines of the workers: every one that was written has to be in the log, whatever was killed meanwhile.
//!
//! Two kinds of lines count: `line <token> <n> <time>`, whose writer noted in a file how many there are, so that the last
//! ones of a killed worker are missed, too; and `request <pid>.<n> ...`, which have to be without a gap. What a full disk
//! swallowed has to be told by musher in the log, with its number. Only when a process of the daemon was killed while the
//! disk was full may that number be too small, for it is in the memory of the supervisor; then the times on both sides of
//! a hole have to say that it is from that time.
//!
//! The last lines of a worker that ended while nothing of the daemon lived are gone with its pipe, which nobody else had.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result};

use crate::apps::APPS;
use crate::team::Team;

/// What the logs of the team hold.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Lines {
    pub(crate) present: u64,
    pub(crate) twice: u64,
    pub(crate) missing: u64,
    /// Lines that musher says a full disk swallowed.
    pub(crate) told: u64,
    /// Lines that a full disk swallowed, and a kill of the daemon their number.
    pub(crate) untold: u64,
    /// Last lines of workers that ended while nothing of the daemon lived.
    pub(crate) unheard: u64,
    /// Apps with more missing than told, and examples.
    pub(crate) gaps: Vec<String>,
}

/// A time when the disk was full.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Full {
    /// In milliseconds since 1970.
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// Whether a process of the daemon was killed in it.
    pub(crate) killed: bool,
}

/// The times at which lines may go.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gone {
    pub(crate) full: Vec<Full>,
    /// Nothing of the daemon lived: from, to.
    pub(crate) dark: Vec<(u64, u64)>,
}

impl Gone {
    /// Whether a writer whose lines end with one of this time can have ended unheard. It wrote a line each 50 ms.
    fn ended_in_the_dark(&self, last: u64, lines: u64) -> bool {
        self.dark.iter().any(|(from, to)| last <= *to && *from <= last + 2000 + 50 * lines)
    }

    /// Whether a writer of so many lines, one each 50 ms, can have written all of them while the disk was full.
    fn lived_while_full(&self, last: u64, lines: u64) -> bool {
        self.full.iter().any(|full| full.from <= last.saturating_sub(50 * lines) && last <= full.to)
    }
}

/// Reads all logs.
pub(crate) fn read(team: &Team, gone: &Gone) -> Result<Lines> {
    let mut written: HashMap<String, u64> = HashMap::new();
    let mut names: HashMap<String, String> = HashMap::new();
    for entry in fs::read_dir(team.counters())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let text = fs::read_to_string(entry.path())?;
        let token = name.split('.').next().unwrap_or_default().to_owned();
        names.insert(token.clone(), name);
        // Killed before its first line.
        written.insert(token, text.trim().parse().unwrap_or(0));
    }
    let mut lines = Lines::default();
    for app in APPS {
        let directory = team.home().join("logs").join(app.name);
        let mut seen = Seen::default();
        if let Some(foreground) = &team.foreground {
            seen.add(&foreground.output_of(app.name)?);
            seen.judge(app.name, &mut written, gone, &mut lines);
            continue;
        }
        for entry in fs::read_dir(&directory).with_context(|| directory.display().to_string())? {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("out.log")) && is_text(&path) {
                seen.add(&String::from_utf8_lossy(&fs::read(&path)?));
            }
        }
        seen.judge(app.name, &mut written, gone, &mut lines);
    }
    // Whoever wrote lines of which none arrived.
    for (token, count) in written.into_iter().filter(|(_, count)| *count > 0) {
        let noted = fs::metadata(team.counters().join(&names[&token]))?.modified()?;
        let noted = noted.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0));
        if gone.dark.iter().any(|(from, to)| *from <= noted && noted <= *to) {
            lines.unheard += count;
            continue;
        }
        lines.missing += count;
        // Nobody knows of which app it was, and so whether that app's log tells of these lines.
        if gone.lived_while_full(noted, count) {
            lines.untold += count;
            continue;
        }
        lines.gaps.push(format!("none of the {count} lines of {token} is in a log; it noted the last one at {noted}"));
    }
    Ok(lines)
}

/// Whether a file is a log and not its index.
fn is_text(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name["out.log".len()..].chars().all(|c| c == '.' || c.is_ascii_digit())
}

/// What the logs of one app hold.
#[derive(Debug, Default)]
struct Seen {
    /// How often each number of each writer, and when it was written.
    numbers: BTreeMap<String, BTreeMap<u64, (u64, Option<u64>)>>,
    told: u64,
}

impl Seen {
    fn add(&mut self, text: &str) {
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match *words.as_slice() {
                ["line", token, number, time] => self.number(token, number, time.parse().ok()),
                ["request", which, _] => {
                    let (pid, number) = which.split_once('.').unwrap_or_default();
                    self.number(pid, number, None);
                }
                ["[musher]", count, ..] if line.contains(" lost") => self.told += count.parse().unwrap_or(0),
                _ => {}
            }
        }
    }

    fn number(&mut self, writer: &str, number: &str, time: Option<u64>) {
        if let Ok(number) = number.parse() {
            self.numbers.entry(writer.to_owned()).or_default().entry(number).or_insert((0, time)).0 += 1;
        }
    }

    fn judge(self, app: &str, written: &mut HashMap<String, u64>, gone: &Gone, lines: &mut Lines) {
        // Missing at all; of these, where musher had to count; of these, where nothing may be missing.
        let (mut missing, mut counted, mut outside) = (0, 0, 0);
        let mut example = String::new();
        for (writer, numbers) in &self.numbers {
            let most = numbers.keys().next_back().map_or(0, |last| last + 1);
            // It may have written one more than it noted.
            let count = written.remove(writer).unwrap_or(0).max(most);
            let present = numbers.len() as u64;
            lines.present += present;
            lines.twice += numbers.values().map(|(times, _)| times - 1).sum::<u64>();
            for (hole, from, to) in holes(numbers, count) {
                let size = hole.1 - hole.0;
                if to == u64::MAX && gone.ended_in_the_dark(from, size) {
                    lines.unheard += size;
                    continue;
                }
                let within: Vec<&Full> = gone.full.iter().filter(|full| from <= full.to && full.from <= to).collect();
                missing += size;
                counted += if within.iter().any(|full| full.killed) { 0 } else { size };
                outside += if within.is_empty() { size } else { 0 };
                if within.is_empty() || example.is_empty() {
                    example = format!("{writer} wrote {count}, not there are {} to {}", hole.0, hole.1 - 1);
                }
            }
        }
        lines.missing += missing;
        lines.told += self.told;
        if outside > 0 || counted > self.told {
            let told = self.told;
            lines.gaps.push(format!(
                "{app}: {missing} lines are missing, {told} of them told, {outside} while the disk had room; {example}"
            ));
        } else {
            lines.untold += missing.saturating_sub(self.told);
        }
    }
}

/// The numbers below `count` that are missing, in stretches: from, to (not included), and the times on both sides.
fn holes(numbers: &BTreeMap<u64, (u64, Option<u64>)>, count: u64) -> Vec<((u64, u64), u64, u64)> {
    let mut holes = Vec::new();
    let (mut next, mut before) = (0, 0);
    for (number, (_, time)) in numbers {
        if *number > next {
            holes.push(((next, *number), before, time.unwrap_or(u64::MAX)));
        }
        (next, before) = (number + 1, time.unwrap_or(0));
    }
    if count > next {
        holes.push(((next, count), before, u64::MAX));
    }
    holes
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: Full = Full { from: 12, to: 14, killed: false };

    fn judged(text: &str, noted: &[(&str, u64)], full: &[Full]) -> Lines {
        judged_with(text, noted, &Gone { full: full.to_vec(), dark: Vec::new() })
    }

    fn judged_with(text: &str, noted: &[(&str, u64)], gone: &Gone) -> Lines {
        let mut seen = Seen::default();
        seen.add(text);
        let mut lines = Lines::default();
        let mut noted = noted.iter().map(|(token, count)| ((*token).to_owned(), *count)).collect();
        seen.judge("web", &mut noted, gone, &mut lines);
        lines
    }

    #[test]
    fn every_number_has_to_be_there() {
        let whole = judged("line a 0 9\nline b 0 9\nline a 1 9\nnoise\nline a 1 9\n", &[("a", 2), ("b", 1)], &[]);
        assert_eq!(whole, Lines { present: 3, twice: 1, ..Lines::default() });
        assert_eq!(judged("line a 0 9\nline a 2 9\n", &[("a", 3)], &[]).gaps.len(), 1, "a hole");
        assert_eq!(judged("line a 0 9\n", &[("a", 2)], &[]).gaps.len(), 1, "the last line of a killed worker");
        assert_eq!(judged("request 7.0 /\nrequest 7.2 /\n", &[], &[]).gaps.len(), 1);
    }

    #[test]
    fn a_writer_is_unknown_only_if_the_disk_was_full_all_its_life() {
        let gone = Gone { full: vec![Full { from: 5000, to: 9000, killed: false }], dark: Vec::new() };
        assert!(gone.lived_while_full(8000, 60));
        assert!(!gone.lived_while_full(8000, 61), "it began before");
        assert!(!gone.lived_while_full(9001, 1), "it ended after");
    }

    #[test]
    fn only_last_lines_may_be_gone_in_the_dark() {
        let gone = Gone { full: Vec::new(), dark: vec![(5000, 7000)] };
        let ended = judged_with("line a 0 4000\nline a 1 5000\n", &[("a", 9)], &gone);
        assert!(ended.gaps.is_empty() && ended.unheard == 7, "{ended:?}");
        let went_on = judged_with("line a 0 5000\nline a 3 7000\n", &[("a", 4)], &gone);
        assert_eq!(went_on.gaps.len(), 1, "a hole of one that lived on");
        let after = judged_with("line a 0 7001\n", &[("a", 4)], &gone);
        assert_eq!(after.gaps.len(), 1, "it ended when somebody listened again");
        let before = judged_with("line a 0 1000\n", &[("a", 4)], &gone);
        assert_eq!(before.gaps.len(), 1, "long before");
    }

    #[test]
    fn what_a_full_disk_swallowed_has_to_be_told() {
        let text = |told| format!("line a 0 10\n[musher] {told} lines (20 bytes) lost: disk\nline a 3 20\n");
        let told = judged(&text(2), &[("a", 4)], &[FULL]);
        assert!(told.gaps.is_empty() && (told.missing, told.untold) == (2, 0), "{told:?}");
        assert_eq!(judged(&text(1), &[("a", 4)], &[FULL]).gaps.len(), 1, "too few are told");
        let killed = judged(&text(1), &[("a", 4)], &[Full { killed: true, ..FULL }]);
        assert!(killed.gaps.is_empty() && killed.untold == 1, "{killed:?}");
        let elsewhere = [Full { from: 21, to: 30, killed: true }];
        assert_eq!(judged(&text(2), &[("a", 4)], &elsewhere).gaps.len(), 1, "at another time there was room");
    }
}
