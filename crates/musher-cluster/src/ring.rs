//! Turns: who gets the next connection. Pure.

use std::collections::VecDeque;

/// Takers by how often they had a turn, the least often first, and among equals the longest ago. So turns are strict as
/// long as everybody takes his; who is passed over makes up for it afterwards, within limits. That spreads few long
/// connections evenly, where "fewest unanswered first" bunches them.
#[derive(Clone, Debug)]
pub(crate) struct Ring<T> {
    order: VecDeque<(T, u64)>,
}

/// The most turns that one makes up for: more would flood a worker that was away for long.
const MOST_MISSED: u64 = 16;

impl<T> Default for Ring<T> {
    fn default() -> Self {
        Ring { order: VecDeque::new() }
    }
}

impl<T: Copy + PartialEq> Ring<T> {
    /// Adds a taker. It has missed nothing.
    pub(crate) fn add(&mut self, taker: T) {
        if !self.iter().any(|other| other == taker) {
            let turns = self.order.back().map_or(0, |(_, turns)| *turns);
            let at = self.order.partition_point(|(_, others)| *others < turns);
            self.order.insert(at, (taker, turns));
        }
    }

    /// Removes a taker.
    pub(crate) fn remove(&mut self, taker: T) {
        self.order.retain(|(other, _)| *other != taker);
    }

    /// Everybody, the next first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = T> + '_ {
        self.order.iter().map(|(taker, _)| *taker)
    }

    /// Gives the turn to the first that `can`.
    pub(crate) fn next(&mut self, mut can: impl FnMut(T) -> bool) -> Option<T> {
        let at = self.order.iter().position(|(taker, _)| can(*taker))?;
        let (taker, turns) = self.order.remove(at)?;
        let turns = turns + 1;
        let back = self.order.partition_point(|(_, others)| *others <= turns);
        self.order.insert(back, (taker, turns));
        let least = self.order.back().map_or(0, |(_, most)| most.saturating_sub(MOST_MISSED));
        for (_, turns) in self.order.iter_mut().take_while(|(_, turns)| *turns < least) {
            *turns = least;
        }
        Some(taker)
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST_MISSED, Ring};

    fn turns(ring: &mut Ring<u32>, count: usize, can: impl Fn(u32) -> bool) -> Vec<u32> {
        (0..count).filter_map(|_| ring.next(&can)).collect()
    }

    #[test]
    fn turns_are_strict() {
        let mut ring = Ring::default();
        for n in [3, 2, 1, 1] {
            ring.add(n);
        }
        assert_eq!(turns(&mut ring, 5, |_| true), [1, 2, 3, 1, 2]);
        assert_eq!(ring.next(|_| false), None);
        ring.remove(2);
        assert_eq!(turns(&mut ring, 3, |_| true), [3, 1, 3]);
    }

    #[test]
    fn who_is_passed_over_makes_up_for_it() {
        let mut ring = Ring::default();
        for n in [2, 1] {
            ring.add(n);
        }
        assert_eq!(turns(&mut ring, 3, |n| n != 1), [2, 2, 2]);
        assert_eq!(turns(&mut ring, 5, |_| true), [1, 1, 1, 2, 1]);
        turns(&mut ring, 1000, |n| n != 1);
        let made_up = turns(&mut ring, 100, |_| true).iter().take_while(|n| **n == 1).count();
        assert_eq!(made_up as u64, MOST_MISSED);
    }

    #[test]
    fn a_new_taker_has_missed_nothing() {
        let mut ring = Ring::default();
        ring.add(1);
        turns(&mut ring, 10, |_| true);
        ring.add(2);
        assert_eq!(turns(&mut ring, 4, |_| true), [2, 1, 2, 1]);
    }
}
