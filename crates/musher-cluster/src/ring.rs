//! Turns: who gets the next connection. Pure.

use std::collections::VecDeque;

/// Takers in the order of their last turn, the longest ago first. Strictly so: an unlucky one is passed over, but keeps
/// its place, which spreads few long connections evenly where "fewest unanswered first" bunches them.
#[derive(Clone, Debug)]
pub(crate) struct Ring<T> {
    order: VecDeque<T>,
}

impl<T> Default for Ring<T> {
    fn default() -> Self {
        Ring { order: VecDeque::new() }
    }
}

impl<T: Copy + PartialEq> Ring<T> {
    /// Adds a taker, in front: it has had none yet.
    pub(crate) fn add(&mut self, taker: T) {
        if !self.order.contains(&taker) {
            self.order.push_front(taker);
        }
    }

    /// Removes a taker.
    pub(crate) fn remove(&mut self, taker: T) {
        self.order.retain(|other| *other != taker);
    }

    /// Everybody, the next first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = T> + '_ {
        self.order.iter().copied()
    }

    /// Gives the turn to the first that `can`.
    pub(crate) fn next(&mut self, mut can: impl FnMut(T) -> bool) -> Option<T> {
        let at = self.order.iter().position(|taker| can(*taker))?;
        let taker = self.order.remove(at)?;
        self.order.push_back(taker);
        Some(taker)
    }
}

#[cfg(test)]
mod tests {
    use super::Ring;

    #[test]
    fn turns_are_strict_and_a_passed_over_taker_keeps_its_place() {
        let mut ring = Ring::default();
        for n in [3, 2, 1, 1] {
            ring.add(n);
        }
        let turns: Vec<_> = (0..5).map(|_| ring.next(|_| true).unwrap()).collect();
        assert_eq!(turns, [1, 2, 3, 1, 2]);
        assert_eq!(ring.next(|n| n != 3), Some(1));
        assert_eq!(ring.next(|_| true), Some(3));
        assert_eq!(ring.next(|_| false), None);
        ring.remove(2);
        assert_eq!(ring.iter().collect::<Vec<_>>(), [1, 3]);
    }
}
