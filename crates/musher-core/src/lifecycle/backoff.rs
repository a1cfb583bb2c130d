//! How long to wait before a restart.

use std::time::Duration;

use super::policy::Policy;

/// The wait after so many failures in a row. None after a stable run: its restart is immediate.
pub(super) fn delay(policy: &Policy, failures: u32, chance: &mut dyn FnMut() -> u32) -> Duration {
    if failures == 0 {
        return Duration::ZERO;
    }
    // Microseconds, so that a small wait still grows by a small factor.
    let max = policy.backoff_max.as_micros();
    let factor = u128::from(policy.backoff_factor_percent.max(100));
    let mut wait = policy.backoff_initial.as_micros().min(max);
    for _ in 1..failures {
        if wait >= max || wait == 0 || factor == 100 {
            break;
        }
        wait = (wait * factor / 100).min(max);
    }
    let jitter = wait * u128::from(policy.backoff_jitter_percent.min(100)) / 100;
    let taken = if jitter == 0 { 0 } else { (jitter * u128::from(chance())) >> 32 };
    Duration::from_micros(u64::try_from(wait - taken).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::delay;
    use crate::lifecycle::Policy;

    fn wait(policy: &Policy, failures: u32, chance: u32) -> u128 {
        delay(policy, failures, &mut || chance).as_millis()
    }

    #[test]
    fn waits_grow_to_the_cap() {
        let policy = Policy { backoff_jitter_percent: 0, ..Policy::default() };
        let waits: Vec<u128> = (0..11).map(|failures| wait(&policy, failures, 0)).collect();
        assert_eq!(waits, [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000, 5000]);
        assert_eq!(wait(&policy, u32::MAX, 0), 5000);
    }

    #[test]
    fn a_factor_of_one_hundred_percent_is_a_fixed_wait() {
        let policy = Policy { backoff_jitter_percent: 0, backoff_factor_percent: 100, ..Policy::default() };
        assert_eq!([1, 2, 50, u32::MAX].map(|failures| wait(&policy, failures, 0)), [100; 4]);
    }

    #[test]
    fn no_initial_wait_is_never_a_wait() {
        let policy = Policy { backoff_initial: Duration::ZERO, ..Policy::default() };
        assert_eq!([0, 1, 9, u32::MAX].map(|failures| wait(&policy, failures, 7)), [0; 4]);
    }

    #[test]
    fn jitter_takes_off_at_most_its_share() {
        let policy =
            Policy { backoff_jitter_percent: 20, backoff_initial: Duration::from_secs(1), ..Policy::default() };
        assert_eq!(wait(&policy, 1, 0), 1000);
        assert_eq!(wait(&policy, 1, u32::MAX / 2), 900);
        assert_eq!(wait(&policy, 1, u32::MAX), 800);
    }

    #[test]
    fn the_cap_holds_for_the_first_wait_too() {
        let policy =
            Policy { backoff_initial: Duration::from_secs(60), backoff_jitter_percent: 0, ..Policy::default() };
        assert_eq!(wait(&policy, 1, 0), 5000);
    }
}

#[cfg(test)]
mod properties {
    use std::time::Duration;

    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::delay;
    use crate::lifecycle::Policy;

    proptest! {
        #[test]
        fn a_wait_never_shrinks_and_never_passes_the_cap(
            initial in 0..100_000_u64,
            max in 0..100_000_u64,
            factor in 100..1001_u32,
            failures in 1..200_u32,
        ) {
            let policy = Policy {
                backoff_initial: Duration::from_millis(initial),
                backoff_max: Duration::from_millis(max),
                backoff_factor_percent: factor,
                backoff_jitter_percent: 0,
                ..Policy::default()
            };
            let wait = delay(&policy, failures, &mut || 0);
            prop_assert!(wait <= policy.backoff_max);
            prop_assert!(wait <= delay(&policy, failures + 1, &mut || 0));
            prop_assert_eq!(delay(&policy, 1, &mut || 0), policy.backoff_initial.min(policy.backoff_max));
        }

        #[test]
        fn chance_only_takes_off_its_share(jitter in 0..101_u32, failures in 0..20_u32, chance in any::<u32>()) {
            let policy = Policy { backoff_jitter_percent: jitter, ..Policy::default() };
            let whole = delay(&policy, failures, &mut || 0);
            let wait = delay(&policy, failures, &mut || chance);
            prop_assert!(wait <= whole);
            prop_assert!(wait >= whole * (100 - jitter) / 100);
        }
    }
}
