//! What follows the death of a run: stay down, wait and restart, or give up.

use super::Effect;
use super::app::{App, Turn, count};
use super::backoff;
use super::event::Event;
use super::policy::Policy;
use super::run::{Death, ExitOutcome, Life};
use super::slot::{History, Vacancy};
use crate::ids::{Generation, SlotId};
use crate::spec::RestartPolicy;
use crate::time::Time;

impl Policy {
    /// Whether a slot is left empty after this death.
    pub fn stays_down(&self, death: &Death) -> bool {
        match self.restart {
            RestartPolicy::Always => self.is_stop_code(death),
            RestartPolicy::OnFailure => self.is_stop_code(death) || death.is_success(),
            RestartPolicy::Never => true,
        }
    }

    /// Whether this death, after which the slot stays down, is what the user had in mind: code 0 or a stop code.
    pub fn ended_well(&self, death: &Death) -> bool {
        self.stays_down(death) && (death.is_success() || self.is_stop_code(death))
    }

    fn is_stop_code(&self, death: &Death) -> bool {
        match death {
            Death::Exited(ExitOutcome::Code(code)) => self.stop_exit_codes.contains(code),
            Death::Exited(ExitOutcome::Signal { .. } | ExitOutcome::Unknown)
            | Death::SpawnFailed { .. }
            | Death::NotReady { .. }
            | Death::Uncaught => false,
        }
    }
}

/// How many runs in a row that were ready, though not for long, are replaced without a wait: what kills them may come
/// from outside, and there is a restart for each within the window. One that never gets ready always waits.
const AT_ONCE: u32 = 3;

impl History {
    /// Notes how a run lived that died; gives the number of failures in a row that the next one has to wait for.
    pub(super) fn died(&mut self, life: Life) -> u32 {
        match life {
            Life::Stable => (self.failures, self.at_once) = (0, 0),
            Life::Ready if self.at_once < AT_ONCE => {
                self.at_once += 1;
                return 0;
            }
            Life::Ready | Life::Starting => self.failures = self.failures.saturating_add(1),
        }
        self.failures
    }

    /// How many restarts a window that ends at `at` already has.
    fn restarts_before(&self, at: Time, policy: &Policy) -> u32 {
        count(self.restarts.iter().filter(|restart| **restart + policy.window > at))
    }

    /// The first time, not before `at`, when a window that ends then has room for a restart; none when none ever has.
    pub(super) fn room_from(&self, at: Time, policy: &Policy) -> Option<Time> {
        let most = usize::try_from(policy.max_restarts).unwrap_or(usize::MAX);
        let within: Vec<Time> =
            self.restarts.iter().map(|restart| *restart + policy.window).filter(|end| *end > at).collect();
        match within.len().checked_sub(most) {
            None => Some(at),
            // The oldest ones have to leave the window first.
            Some(too_many) => within.get(too_many).copied(),
        }
    }

    /// Notes a restart, and forgets those that no window reaches any more.
    pub(super) fn restarted(&mut self, now: Time, policy: &Policy) {
        while self.restarts.front().is_some_and(|oldest| *oldest + policy.window <= now) {
            self.restarts.pop_front();
        }
        self.restarts.push_back(now);
    }
}

impl App {
    /// What becomes of a slot whose run died. The restart would be made when the wait is over; when the window that
    /// ends then is full already, it is not made: the slot gives up now.
    pub(super) fn verdict(
        &mut self,
        turn: &mut Turn<'_>,
        slot: SlotId,
        generation: Generation,
        death: &Death,
        life: Life,
    ) -> Vacancy {
        let policy = self.policy(generation);
        let death = death.clone();
        let Some(state) = self.slot_mut(slot) else { return Vacancy::Stopped };
        let history = &mut state.history;
        let attempt = history.died(life);
        if policy.stays_down(&death) {
            history.died(Life::Stable);
            turn.event(Event::Ended { slot, death: death.clone() });
            return Vacancy::Ended { death };
        }
        let delay = backoff::delay(&policy, attempt, turn.chance);
        let until = turn.now + delay;
        let restarts = history.restarts_before(until, &policy);
        if restarts >= policy.max_restarts {
            let window_ms = millis(policy.window);
            turn.event(Event::Giveup { slot, restarts, window_ms, death: death.clone() });
            return Vacancy::GaveUp { restarts, death };
        }
        if !delay.is_zero() {
            turn.event(Event::Backoff { slot, delay_ms: millis(delay), attempt });
        }
        Vacancy::Backoff { until, attempt }
    }
}

impl Turn<'_> {
    pub(super) fn event(&mut self, event: Event) {
        self.effects.push(Effect::Event(event));
    }
}

/// A duration as whole milliseconds.
pub(super) fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
