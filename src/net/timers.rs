//! When to look at which connection next: one heap for the loop.
//!
//! A deadline that moves later leaves its entry alone; the entry fires early and is pushed back.
//! One that is set in front of another leaves that other one's entry behind.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::session::deadlines::Time;
use crate::stats::ConnectionId;

/// The heap.
#[derive(Default)]
pub struct Timers(BinaryHeap<Reverse<(Time, ConnectionId)>>);

impl Timers {
    /// Looks at `id` at `due`.
    pub fn push(&mut self, due: Time, id: ConnectionId) {
        self.0.push(Reverse((due, id)));
    }

    /// Whether most entries must have been left behind, of `live` that are looked at: a connection
    /// with a rate sets a deadline in front of its others many times a second.
    pub fn are_stale(&self, live: usize) -> bool {
        self.0.len() > 2 * live + 64
    }

    /// Keeps only what `is_live` says is still looked at.
    pub fn sweep(&mut self, mut is_live: impl FnMut(Time, ConnectionId) -> bool) {
        self.0.retain(|Reverse((due, id))| is_live(*due, *id));
    }

    /// When the first one is due.
    pub fn next(&self) -> Option<Time> {
        self.0.peek().map(|Reverse((due, _))| *due)
    }

    /// Takes one that is due at `now`.
    pub fn pop(&mut self, now: Time) -> Option<(Time, ConnectionId)> {
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
        let id = |slot| ConnectionId { slot, generation: 0 };
        for (due, slot) in [(30, 3), (10, 1), (20, 2)] {
            timers.push(Time(due), id(slot));
        }
        assert_eq!(timers.next(), Some(Time(10)));
        assert_eq!(timers.pop(Time(20)), Some((Time(10), id(1))));
        assert_eq!(timers.pop(Time(20)), Some((Time(20), id(2))));
        assert_eq!(timers.pop(Time(20)), None);
        assert_eq!(timers.pop(Time(30)), Some((Time(30), id(3))));
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn sweeps_what_was_left_behind() {
        let mut timers = Timers::default();
        let id = ConnectionId { slot: 1, generation: 0 };
        for due in 1..=66 {
            assert!(!timers.are_stale(1));
            timers.push(Time(due), id);
        }
        timers.push(Time(67), id);
        assert!(timers.are_stale(1));
        timers.sweep(|due, _| due == Time(50));
        assert!(!timers.are_stale(0));
        assert_eq!(timers.pop(Time(67)), Some((Time(50), id)));
        assert_eq!(timers.next(), None);
    }
}
