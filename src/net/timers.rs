//! When to look at which connection next: one heap for the loop.
//!
//! A deadline that moves later leaves its entry alone; the entry fires early and is pushed back.

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
}
