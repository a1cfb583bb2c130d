//! The table: each figure with its medians, what is demanded of it, and how it was measured.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// What a figure is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Mebibytes,
    Milliseconds,
    Microseconds,
    PerSecond,
    Percent,
    Seconds,
    Count,
    Times,
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Unit::Mebibytes => format!("{:.1} MB", value / 1e6),
            Unit::Milliseconds if value >= 10.0 => format!("{value:.0} ms"),
            Unit::Milliseconds => format!("{value:.2} ms"),
            Unit::Microseconds => format!("{value:.2} us"),
            Unit::PerSecond => format!("{value:.0} /s"),
            Unit::Percent if value >= 10.0 => format!("{value:.0} %"),
            Unit::Percent => format!("{value:.3} %"),
            Unit::Seconds => format!("{value:.2} s"),
            Unit::Count => format!("{value:.0}"),
            Unit::Times => format!("{value:.2} x"),
        }
    }
}

/// What is demanded of musher's median.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// Not judged.
    None,
    /// Not once, in no round: what is shown is the most of a round.
    Never,
    /// At most this.
    AtMost(f64),
    /// At most this part of another's.
    AtMostOf(&'static str, f64),
    /// At least this many times another's.
    AtLeastTimes(&'static str, f64),
    /// At most plain Node's plus this.
    PlainPlus(f64),
}

/// The names under which values are collected.
pub(crate) const MUSHER: &str = "musher";
pub(crate) const PM2: &str = "PM2";
pub(crate) const PM2_TUNED: &str = "PM2, tuned";
pub(crate) const CLUSTER: &str = "Node's cluster";
pub(crate) const GUNICORN: &str = "gunicorn";
pub(crate) const PLAIN: &str = "plain node";
pub(crate) const WRK: &str = "wrk";
pub(crate) const OHA: &str = "oha";
pub(crate) const H2LOAD: &str = "h2load";
pub(crate) const SIEGE: &str = "siege";

/// The columns beside musher's, where they were measured.
const OTHERS: [&str; 8] = [PM2, PM2_TUNED, CLUSTER, GUNICORN, WRK, OHA, H2LOAD, SIEGE];

/// One figure.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    name: &'static str,
    unit: Unit,
    goal: Goal,
    how: String,
    values: BTreeMap<&'static str, Vec<f64>>,
}

/// All figures, in the order in which they were first measured.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    list: Vec<Figure>,
}

impl Figures {
    /// Adds a value of one side to a figure.
    pub(crate) fn add(
        &mut self,
        name: &'static str,
        unit: Unit,
        goal: Goal,
        how: &str,
        side: &'static str,
        value: f64,
    ) {
        let index = self.list.iter().position(|figure| figure.name == name).unwrap_or_else(|| {
            self.list.push(Figure { name, unit, goal, how: how.into(), values: BTreeMap::new() });
            self.list.len() - 1
        });
        self.list[index].values.entry(side).or_default().push(value);
    }

    /// The table for people.
    pub(crate) fn table(&self) -> String {
        let measured = |side: &&&str| self.list.iter().any(|figure| figure.value(side).is_some());
        let others: Vec<&str> = OTHERS.iter().filter(measured).copied().collect();
        let mut head = vec!["figure", MUSHER];
        head.extend(others.iter().copied());
        head.extend(["musher : peer", "demanded", "reached"]);
        let mut rows = vec![head.into_iter().map(str::to_owned).collect::<Vec<_>>()];
        for figure in &self.list {
            let show = |side: &str| figure.value(side).map_or_else(|| "-".into(), |value| figure.unit.show(value));
            let ratio = match (figure.value(MUSHER), figure.value(figure.peer())) {
                (Some(ours), Some(theirs)) if theirs > 0.0 && ours > 0.0 => {
                    if ours < theirs {
                        format!("1 : {:.2} {}", theirs / ours, figure.peer())
                    } else {
                        format!("{:.2} : 1 {}", ours / theirs, figure.peer())
                    }
                }
                _ => "-".into(),
            };
            let reached = match figure.reached() {
                Some(true) => "yes",
                Some(false) => "NO",
                None => "",
            };
            let mut row = vec![figure.name.to_owned(), show(MUSHER)];
            row.extend(others.iter().map(|side| show(side)));
            row.extend([ratio, figure.demand(), reached.into()]);
            rows.push(row);
        }
        aligned(&rows)
    }

    /// How each figure was measured, with the spread of its values.
    pub(crate) fn methods(&self) -> String {
        let mut text = String::new();
        for figure in &self.list {
            text.push_str(&format!("{}: {}\n", figure.name, figure.how));
            for (side, values) in &figure.values {
                let (least, most) = values.iter().fold((f64::MAX, f64::MIN), |(l, m), v| (l.min(*v), m.max(*v)));
                let (least, most) = (figure.unit.show(least), figure.unit.show(most));
                text.push_str(&format!("    {side}: {} values, {least} to {most}\n", values.len()));
            }
        }
        text
    }

    /// The figures that are not reached, or were not measured on all sides.
    pub(crate) fn lost(&self) -> Vec<String> {
        let judged = self.list.iter().filter(|figure| !matches!(figure.goal, Goal::None));
        let demanded = judged.filter(|figure| figure.reached() != Some(true));
        demanded.map(|figure| format!("{} (demanded: {})", figure.name, figure.demand())).collect()
    }

    pub(crate) fn to_json(&self) -> Value {
        let figures = self.list.iter().map(|figure| {
            json!({
                "figure": figure.name,
                "unit": format!("{:?}", figure.unit),
                "how": figure.how,
                "demanded": figure.demand(),
                "reached": figure.reached(),
                "values": figure.values,
                "medians": figure.values.keys().map(|side| (*side, figure.value(side))).collect::<BTreeMap<_, _>>(),
            })
        });
        figures.collect()
    }
}

impl Figure {
    /// What stands for all values of a side: their median, or the most of what must never be.
    fn value(&self, side: &str) -> Option<f64> {
        let values = self.values.get(side)?;
        match self.goal {
            Goal::Never => values.iter().copied().reduce(f64::max),
            _ => median(values),
        }
    }

    /// Whom the ratio is to.
    fn peer(&self) -> &'static str {
        match self.goal {
            Goal::AtMostOf(other, _) | Goal::AtLeastTimes(other, _) => other,
            _ => PM2,
        }
    }

    fn demand(&self) -> String {
        match self.goal {
            Goal::None => String::new(),
            Goal::Never => "0 in every round".into(),
            Goal::AtMost(limit) => format!("at most {}", self.unit.show(limit)),
            Goal::AtMostOf(other, 1.0) => format!("at most {other}"),
            Goal::AtMostOf(other, part) => format!("at most 1/{:.0} of {other}", 1.0 / part),
            Goal::AtLeastTimes(other, 1.0) => format!("at least {other}"),
            Goal::AtLeastTimes(other, times) => format!("at least {times} times {other}"),
            Goal::PlainPlus(more) => {
                let plain = self.value(PLAIN).map_or_else(|| "-".into(), |value| self.unit.show(value));
                format!("plain node ({plain}) + {}", self.unit.show(more))
            }
        }
    }

    fn reached(&self) -> Option<bool> {
        let ours = self.value(MUSHER)?;
        match self.goal {
            Goal::None => None,
            Goal::Never => Some(ours == 0.0),
            Goal::AtMost(limit) => Some(ours <= limit),
            Goal::AtMostOf(other, part) => Some(ours <= self.value(other)? * part),
            Goal::AtLeastTimes(other, times) => Some(ours >= self.value(other)? * times),
            Goal::PlainPlus(more) => Some(ours <= self.value(PLAIN)? + more),
        }
    }
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => sorted.get(middle).copied(),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
        if number == 0 {
            let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
            text.push_str(&format!("| {} |\n", rule.join(" | ")));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_in_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn what_must_never_be_is_judged_by_the_worst_round() {
        let mut figures = Figures::default();
        for value in [0.0, 3.0, 0.0] {
            figures.add("lost", Unit::Count, Goal::Never, "how", MUSHER, value);
        }
        figures.add("wait", Unit::Count, Goal::None, "how", MUSHER, 1.0);
        assert_eq!(figures.lost(), ["lost (demanded: 0 in every round)"]);
    }

    #[test]
    fn goals_are_judged_by_medians() {
        let mut figures = Figures::default();
        for (side, value) in [(MUSHER, 10.0), (PM2, 60.0), (MUSHER, 1000.0), (MUSHER, 9.0)] {
            figures.add("memory", Unit::Mebibytes, Goal::AtMostOf(PM2, 1.0 / 6.0), "how", side, value);
        }
        assert_eq!(figures.lost(), Vec::<String>::new());
        figures.add("speed", Unit::PerSecond, Goal::AtLeastTimes(PM2, 1.8), "how", MUSHER, 17.0);
        figures.add("speed", Unit::PerSecond, Goal::AtLeastTimes(PM2, 1.8), "how", PM2, 10.0);
        assert_eq!(figures.lost(), ["speed (demanded: at least 1.8 times PM2)"]);
        assert!(figures.table().contains("NO"));
    }
}
