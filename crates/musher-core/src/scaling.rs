//! How many slots an app should have for its load. Pure: what was measured goes in, a number comes out.
//!
//! It grows fast and shrinks slowly. Each look at the load gives a *strain*, 1.0 being as much as one wants; the number
//! of slots that would bring it to that is what it grows to at once, but at most to twice what it is, and not again before
//! the new workers could take their part. It shrinks by one slot at a time, when the load would have fitted into one slot
//! less, with room to spare, for a long time.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::spec::AutoScale;
use crate::time::Time;

/// What was measured of all workers that are ready, since the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// CPU of each worker on average, in percent of one core.
    pub cpu_percent: f64,
    /// How late the event loops were, the worst worker's.
    pub delay: Option<Duration>,
    /// How many connections wait to be accepted, at the fullest slot.
    pub queued: Option<u32>,
}

/// What is remembered between two looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// When the number changed last.
    changed: Option<Time>,
    /// Since when the load would have fitted into one slot less.
    idle_since: Option<Time>,
    /// How many looks in a row found too much.
    strained: u32,
}

/// A worker that is this busy has no room for a burst.
const CPU_TARGET: f64 = 70.0;
/// An event loop that is this late is felt by clients.
const DELAY_TARGET: Duration = Duration::from_millis(100);
/// More waiting connections than this are more than an accept loop takes at a time.
const QUEUE_TARGET: f64 = 16.0;
/// This much above what is wanted is still all right: it keeps the number from going up and down.
const HIGH: f64 = 1.1;
/// The load has to be this small, seen from one slot less, before that slot is taken away.
const LOW: f64 = 0.7;
/// One look may have been at a burst.
const LOOKS: u32 = 2;

impl Memory {
    /// Somebody else changed the number.
    pub fn changed(&mut self, now: Time) {
        *self = Memory { changed: Some(now), ..Memory::default() };
    }
}

/// The number of slots from now on. `slots` is the number now, `ready` how many of them serve: while some do not yet,
/// it does not grow.
pub fn decide(now: Time, memory: &mut Memory, rule: &AutoScale, slots: u32, ready: u32, load: &Load) -> u32 {
    let inside = slots.clamp(rule.min, rule.max);
    if inside != slots {
        memory.changed(now);
        return inside;
    }
    if ready < slots || ready == 0 {
        memory.idle_since = None;
        memory.strained = 0;
        return slots;
    }
    let strain = strain(load);
    let since_change = memory.changed.map(|changed| now.since(changed));
    if strain > HIGH {
        memory.idle_since = None;
        memory.strained += 1;
        if memory.strained < LOOKS || since_change.is_some_and(|since| since < rule.up_after) {
            return slots;
        }
        let wanted = (f64::from(slots) * strain).ceil().min(f64::from(slots) * 2.0);
        let to = to_count(wanted).max(slots + 1).min(rule.max);
        if to != slots {
            memory.changed(now);
        }
        return to;
    }
    memory.strained = 0;
    // What each of the others would have to bear.
    let without_one = strain * f64::from(slots) / f64::from(slots.max(2) - 1);
    if slots <= rule.min || without_one > LOW {
        memory.idle_since = None;
        return slots;
    }
    let idle_since = *memory.idle_since.get_or_insert(now);
    let cooled = since_change.is_none_or(|since| since >= rule.down_after);
    if now.since(idle_since) < rule.down_after || !cooled {
        return slots;
    }
    memory.changed(now);
    slots - 1
}

/// The load in units of what is wanted: the worst of what is known.
fn strain(load: &Load) -> f64 {
    let cpu = load.cpu_percent / CPU_TARGET;
    let delay = load.delay.map_or(0.0, |delay| delay.as_secs_f64() / DELAY_TARGET.as_secs_f64());
    let queue = load.queued.map_or(0.0, |queued| f64::from(queued) / QUEUE_TARGET);
    let worst = cpu.max(delay).max(queue);
    if worst.is_finite() { worst.max(0.0) } else { 0.0 }
}

/// A number of slots; what does not fit is as many as there can be.
fn to_count(wanted: f64) -> u32 {
    if wanted >= f64::from(crate::spec::MAX_INSTANCES) {
        return crate::spec::MAX_INSTANCES;
    }
    (0..crate::spec::MAX_INSTANCES).find(|count| f64::from(*count) >= wanted).unwrap_or(crate::spec::MAX_INSTANCES)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::collection::vec;
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    use super::{Load, Memory, decide};
    use crate::spec::AutoScale;
    use crate::time::Time;

    fn rule(min: u32, max: u32) -> AutoScale {
        AutoScale { min, max, up_after: Duration::from_secs(10), down_after: Duration::from_secs(60) }
    }

    fn cpu(cpu_percent: f64) -> Load {
        Load { cpu_percent, ..Load::default() }
    }

    /// An app under a load that is looked at every two seconds; all its workers are ready at once.
    struct Scaled {
        now: Time,
        memory: Memory,
        rule: AutoScale,
        slots: u32,
    }

    impl Scaled {
        fn new(min: u32, max: u32, slots: u32) -> Scaled {
            Scaled { now: Time(1_000_000), memory: Memory::default(), rule: rule(min, max), slots }
        }

        fn look(&mut self, load: &Load) -> u32 {
            self.now = self.now + Duration::from_secs(2);
            self.slots = decide(self.now, &mut self.memory, &self.rule, self.slots, self.slots, load);
            self.slots
        }

        fn looks(&mut self, seconds: u64, load: &Load) -> u32 {
            (0..seconds / 2).map(|_| self.look(load)).last().unwrap_or(self.slots)
        }

        /// So much CPU in all, shared by the workers.
        fn bears(&mut self, seconds: u64, cores_percent: f64) -> u32 {
            for _ in 0..seconds / 2 {
                let each = (cores_percent / f64::from(self.slots)).min(100.0);
                self.look(&cpu(each));
            }
            self.slots
        }
    }

    #[test]
    fn each_kind_of_load_makes_it_grow_to_what_it_needs() {
        let delay = |ms| Load { delay: Some(Duration::from_millis(ms)), ..Load::default() };
        let queued = |queued| Load { queued: Some(queued), ..Load::default() };
        let cases = [
            (cpu(0.0), 4),
            (cpu(70.0), 4),
            (cpu(77.0), 4),
            (cpu(78.0), 5),
            (cpu(100.0), 6),
            (delay(100), 4),
            (delay(150), 6),
            (delay(5000), 8),
            (queued(16), 4),
            (queued(20), 5),
            (queued(4000), 8),
            (Load { cpu_percent: f64::NAN, ..Load::default() }, 4),
        ];
        for (load, expected) in cases {
            let mut app = Scaled::new(1, 100, 4);
            assert_eq!(app.looks(4, &load), expected, "{load:?}");
        }
    }

    #[test]
    fn one_burst_changes_nothing() {
        let mut app = Scaled::new(1, 8, 2);
        for _ in 0..50 {
            app.look(&cpu(100.0));
            assert_eq!(app.look(&cpu(50.0)), 2);
        }
    }

    #[test]
    fn it_grows_fast_but_waits_for_what_it_began() {
        let mut app = Scaled::new(1, 64, 1);
        assert_eq!(app.looks(4, &cpu(100.0)), 2);
        assert_eq!(app.looks(8, &cpu(100.0)), 2, "the new one has to take its part first");
        assert_eq!(app.looks(2, &cpu(100.0)), 3);
        let grown = decide(app.now, &mut app.memory, &app.rule, 3, 2, &cpu(100.0));
        assert_eq!(grown, 3, "one is not ready yet");
    }

    #[test]
    fn it_shrinks_by_one_after_a_long_quiet_time() {
        let mut app = Scaled::new(2, 8, 4);
        assert_eq!(app.looks(60, &cpu(1.0)), 4);
        assert_eq!(app.looks(2, &cpu(1.0)), 3);
        assert_eq!(app.looks(60, &cpu(1.0)), 3);
        assert_eq!(app.looks(2, &cpu(1.0)), 2);
        assert_eq!(app.looks(600, &cpu(0.0)), 2, "never below the least");
    }

    #[test]
    fn a_quiet_time_that_is_interrupted_begins_anew() {
        let mut app = Scaled::new(1, 8, 4);
        for _ in 0..10 {
            app.looks(50, &cpu(1.0));
            assert_eq!(app.look(&cpu(60.0)), 4);
        }
    }

    #[test]
    fn a_steady_load_finds_a_number_and_stays_there() {
        for load in [50.0, 120.0, 333.0, 480.0, 560.0] {
            let mut app = Scaled::new(1, 16, 1);
            app.bears(1200, load);
            let settled = app.slots;
            for _ in 0..300 {
                app.bears(2, load);
                assert_eq!(app.slots, settled, "{load} % on {settled} slots");
            }
            assert!(load / f64::from(settled) <= 77.0, "{load} % on {settled} slots");
        }
    }

    #[test]
    fn what_a_user_scaled_to_is_brought_inside_and_left_for_a_while() {
        let mut app = Scaled::new(2, 4, 9);
        assert_eq!(app.look(&cpu(100.0)), 4);
        let mut app = Scaled::new(1, 8, 6);
        app.memory.changed(app.now);
        assert_eq!(app.looks(60, &cpu(1.0)), 6);
        assert_eq!(app.looks(4, &cpu(1.0)), 5);
    }

    proptest! {
        #[test]
        fn it_stays_inside_and_never_shrinks_faster_than_it_may(
            min in 1..10_u32,
            more in 0..20_u32,
            slots in 1..40_u32,
            loads in vec((0.0..200.0_f64, 0..2000_u64, 0..100_u32, 0..3_u32), 1..400),
        ) {
            let mut app = Scaled::new(min, min + more, slots);
            let mut last_change = None;
            for (cpu_percent, delay, queued, missing) in loads {
                app.now = app.now + Duration::from_secs(2);
                let load = Load { cpu_percent, delay: Some(Duration::from_millis(delay)), queued: Some(queued) };
                let before = app.slots;
                let ready = before.saturating_sub(missing);
                let after = decide(app.now, &mut app.memory, &app.rule, before, ready, &load);
                prop_assert!((min..=min + more).contains(&after));
                if (min..=min + more).contains(&before) && after != before {
                    prop_assert!(after > before || after == before - 1);
                    prop_assert!(after <= before * 2);
                    prop_assert_eq!(ready, before);
                    let least = if after < before { app.rule.down_after } else { app.rule.up_after };
                    prop_assert!(last_change.is_none_or(|last| app.now.since(last) >= least));
                }
                if after != before {
                    last_change = Some(app.now);
                }
                app.slots = after;
            }
        }
    }
}
