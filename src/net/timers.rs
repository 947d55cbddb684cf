//! When to look at which connection next: one heap for the loop.
//!
//! A deadline that moves later leaves its entry alone; the entry fires early and is pushed back.
//! One that is set in front of another leaves that other one's entry behind.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::table::Key;
use crate::session::deadlines::Time;

/// The heap.
#[derive(Default)]
pub struct Timers(BinaryHeap<Reverse<(Time, Key)>>);

impl Timers {
    /// Looks at `key` at `due`.
    pub fn push(&mut self, due: Time, key: Key) {
        self.0.push(Reverse((due, key)));
    }

    /// Whether most entries must have been left behind, of `live` that are looked at: a connection
    /// with a rate sets a deadline in front of its others many times a second.
    pub fn are_stale(&self, live: usize) -> bool {
        self.0.len() > 2 * live + 64
    }

    /// Keeps only what `is_live` says is still looked at.
    pub fn sweep(&mut self, mut is_live: impl FnMut(Time, Key) -> bool) {
        self.0.retain(|Reverse((due, key))| is_live(*due, *key));
    }

    /// When the first one is due.
    pub fn next(&self) -> Option<Time> {
        self.0.peek().map(|Reverse((due, _))| *due)
    }

    /// Takes one that is due at `now`.
    pub fn pop(&mut self, now: Time) -> Option<(Time, Key)> {
        if self.next()? > now {
            return None;
        }
        let Reverse(entry) = self.0.pop()?;
        // After a burst, its memory goes back.
        if self.0.capacity() > 1024 && self.0.len() < self.0.capacity() / 4 {
            self.0.shrink_to(self.0.capacity() / 2);
        }
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pops_in_order_and_only_what_is_due() {
        let mut timers = Timers::default();
        let key = |slot| Key { slot, generation: 0 };
        for (due, slot) in [(30, 3), (10, 1), (20, 2)] {
            timers.push(Time(due), key(slot));
        }
        assert_eq!(timers.next(), Some(Time(10)));
        assert_eq!(timers.pop(Time(20)), Some((Time(10), key(1))));
        assert_eq!(timers.pop(Time(20)), Some((Time(20), key(2))));
        assert_eq!(timers.pop(Time(20)), None);
        assert_eq!(timers.pop(Time(30)), Some((Time(30), key(3))));
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn sweeps_what_was_left_behind() {
        let mut timers = Timers::default();
        let key = Key { slot: 1, generation: 0 };
        for due in 1..=66 {
            assert!(!timers.are_stale(1));
            timers.push(Time(due), key);
        }
        timers.push(Time(67), key);
        assert!(timers.are_stale(1));
        timers.sweep(|due, _| due == Time(50));
        assert!(!timers.are_stale(0));
        assert_eq!(timers.pop(Time(67)), Some((Time(50), key)));
        assert_eq!(timers.next(), None);
    }
}
