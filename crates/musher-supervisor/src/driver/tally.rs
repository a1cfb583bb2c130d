//! What is counted of an app for its metrics. The counts are in its record: they go on over a death of the supervisor.

use std::collections::BTreeMap;

use musher_api::Death;
use musher_core::RunId;
use musher_core::lifecycle::{Event, Slot};
use serde::{Deserialize, Serialize};

use super::death::LastWords;

/// How many different ends of workers are told apart: what comes after them is counted as `other`.
const MOST_ENDS: usize = 32;

/// The counts, since the app was added.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Tally {
    /// How workers ended: `reason/code`, as [`Tally::ends`] gives it.
    exits: BTreeMap<String, u64>,
    pub(crate) spawn_failures: u64,
    pub(crate) not_ready: u64,
    pub(crate) giveups: u64,
    pub(crate) reloads_done: u64,
    pub(crate) reloads_aborted: u64,
    /// Connections that were closed or reset.
    pub(crate) cut: u64,
    /// Restarts of all slots, also of those that are scaled away.
    pub(crate) restarts: u64,
    /// How many of them are known of each slot.
    restarts_seen: Vec<u32>,
    /// Lines of output that could not be written.
    pub(crate) lines_lost: u64,
    /// Runs that ended and whose last words are not known yet: they may tell why.
    #[serde(skip)]
    ended: BTreeMap<RunId, (&'static str, String)>,
}

impl Tally {
    /// Counts what was decided.
    pub(super) fn note(&mut self, event: &Event) {
        let count = match event {
            Event::SpawnFailed { .. } => &mut self.spawn_failures,
            Event::NotReady { .. } => &mut self.not_ready,
            Event::Giveup { .. } => &mut self.giveups,
            Event::ReloadFinished { .. } => &mut self.reloads_done,
            Event::ReloadAborted { .. } | Event::CanaryFailed { .. } => &mut self.reloads_aborted,
            _ => return,
        };
        *count += 1;
    }

    /// Counts the restarts of the slots since the last look. A slot that is new, or was reset, has begun at 0.
    pub(super) fn look_at(&mut self, slots: &[Slot]) {
        self.look_at_restarts(slots.iter().map(|slot| slot.restarts).collect());
    }

    fn look_at_restarts(&mut self, now: Vec<u32>) {
        let before = self.restarts_seen.iter().copied().chain(std::iter::repeat(0));
        let more = now.iter().zip(before).map(|(now, before)| u64::from(now.checked_sub(before).unwrap_or(*now)));
        self.restarts += more.sum::<u64>();
        self.restarts_seen = now;
    }

    /// A run has ended; it is counted when its story is complete.
    pub(super) fn ended(&mut self, run: RunId, death: &Death) {
        let code = match (death.code, &death.signal_name) {
            (Some(code), _) => code.to_string(),
            (None, Some(name)) => name.clone(),
            (None, None) => String::new(),
        };
        let reason = if death.unfit.is_some() || death.status.contains("killed by musher") {
            "limit"
        } else if death.asked {
            "asked"
        } else if death.code.is_some() {
            "code"
        } else if death.signal.is_some() {
            "signal"
        } else {
            "unknown"
        };
        self.ended.insert(run, (reason, code));
    }

    /// The story of a run is complete.
    pub(super) fn told(&mut self, run: RunId, last_words: &LastWords) {
        let Some((reason, code)) = self.ended.remove(&run) else { return };
        let reason = if last_words.is_out_of_memory() { "oom" } else { reason };
        let mut end = format!("{reason}/{code}");
        if self.exits.len() >= MOST_ENDS && !self.exits.contains_key(&end) {
            end = format!("{reason}/other");
        }
        *self.exits.entry(end).or_default() += 1;
    }

    /// How often workers ended how: reason, code, count.
    pub(crate) fn ends(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        self.exits.iter().filter_map(|(end, count)| end.split_once('/').map(|(reason, code)| (reason, code, *count)))
    }
}

#[cfg(test)]
mod tests {
    use musher_api::Death;
    use musher_core::RunId;

    use super::{LastWords, MOST_ENDS, Tally};

    fn ended(tally: &mut Tally, run: u64, death: &Death) {
        tally.ended(RunId(run), death);
        tally.told(RunId(run), &LastWords::default());
    }

    #[test]
    fn ends_are_told_apart_by_reason_and_code() {
        let mut tally = Tally::default();
        let code = |code| Death { code: Some(code), ..Death::default() };
        let kill = Death { signal: Some(9), signal_name: Some("SIGKILL".into()), ..Death::default() };
        ended(&mut tally, 1, &code(3));
        ended(&mut tally, 2, &code(3));
        ended(&mut tally, 3, &kill);
        ended(&mut tally, 4, &Death { asked: true, ..code(0) });
        ended(&mut tally, 5, &Death { asked: true, unfit: Some("too much memory".into()), ..kill });
        tally.told(RunId(5), &LastWords::default());
        let ends: Vec<_> = tally.ends().collect();
        assert_eq!(ends, [("asked", "0", 1), ("code", "3", 2), ("limit", "SIGKILL", 1), ("signal", "SIGKILL", 1)]);
    }

    #[test]
    fn a_program_that_ends_in_every_way_makes_no_endless_list() {
        let mut tally = Tally::default();
        for code in 0..256 {
            ended(&mut tally, u64::try_from(code).unwrap(), &Death { code: Some(code), ..Death::default() });
        }
        assert_eq!(tally.ends().count(), MOST_ENDS + 1);
        assert_eq!(tally.ends().map(|(.., count)| count).sum::<u64>(), 256);
    }

    #[test]
    fn restarts_are_never_fewer_than_they_were() {
        let mut tally = Tally::default();
        // Three slots, one away, all anew, and one more again.
        let looks = [(vec![1, 0, 4], 5), (vec![2, 0], 6), (vec![0, 0], 6), (vec![1, 0], 7), (vec![1, 0, 2], 9)];
        for (slots, total) in looks {
            tally.look_at_restarts(slots.clone());
            assert_eq!(tally.restarts, total, "{slots:?}");
            tally.look_at_restarts(slots);
            assert_eq!(tally.restarts, total);
        }
        let mut again: Tally = serde_json::from_value(serde_json::to_value(&tally).unwrap()).unwrap();
        again.look_at_restarts(vec![1, 0, 2]);
        assert_eq!(again.restarts, 9);
    }

    #[test]
    fn counts_survive_and_old_records_have_none() {
        let mut tally = Tally { cut: 4, ..Tally::default() };
        ended(&mut tally, 1, &Death { code: Some(3), ..Death::default() });
        let again: Tally = serde_json::from_value(serde_json::to_value(&tally).unwrap()).unwrap();
        assert_eq!(again, tally);
        assert_eq!(serde_json::from_str::<Tally>("{}").unwrap(), Tally::default());
    }
}
