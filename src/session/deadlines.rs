//! Time as a number, and the named deadlines of one connection.
//!
//! Owns when something is due, never what is done then. Reads no clock.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A moment: microseconds since the loop began. Eight bytes, for tables of many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub u64);

impl Time {
    /// Later than everything.
    pub const NEVER: Self = Self(u64::MAX);
}

/// Saturates at [`Time::NEVER`].
impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(micros))
    }
}

/// Zero if `earlier` is later.
impl Sub for Time {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// What may be due. Those of a leg come twice, by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deadline {
    /// The request head must be complete.
    Handshake,
    /// The attempt to reach the target, or one of its addresses, must have succeeded.
    Dial,
    /// Payload must have moved.
    Idle,
    /// The connection must have ended, however busy.
    Lifetime,
    /// The closing must have made progress.
    Close,
    /// The leg must have taken some of the bytes that wait for it.
    Send(usize),
    /// The leg must have shown life, or is sent a Ping; after the Ping, or is given up.
    Pong(usize),
}

const SLOTS: usize = 9;

impl Deadline {
    const ALL: [Self; SLOTS] = [
        Self::Handshake,
        Self::Dial,
        Self::Idle,
        Self::Lifetime,
        Self::Close,
        Self::Send(0),
        Self::Send(1),
        Self::Pong(0),
        Self::Pong(1),
    ];

    fn slot(self) -> usize {
        match self {
            Self::Handshake => 0,
            Self::Dial => 1,
            Self::Idle => 2,
            Self::Lifetime => 3,
            Self::Close => 4,
            Self::Send(side) => 5 + side,
            Self::Pong(side) => 7 + side,
        }
    }
}

/// The deadlines of one connection, as milliseconds since `base`, rounded up: four bytes each, for
/// tables of many. What is more than 49 days away is as good as never.
#[derive(Debug)]
pub struct Deadlines {
    base: Time,
    /// `NEVER` where none is set.
    due: [u32; SLOTS],
    /// `earliest <= due[i]` for every `i`: lowered when one is set, made exact when it has passed.
    earliest: u32,
}

const NEVER: u32 = u32::MAX;

impl Deadlines {
    /// None is set, and none will be set before `now`.
    pub fn new(now: Time) -> Self {
        Self { base: now, due: [NEVER; SLOTS], earliest: NEVER }
    }

    /// Sets or moves one.
    #[inline]
    pub fn set(&mut self, deadline: Deadline, due: Time) {
        let due = self.pack(due);
        self.due[deadline.slot()] = due;
        self.earliest = self.earliest.min(due);
    }

    /// Unsets one.
    pub fn clear(&mut self, deadline: Deadline) {
        self.due[deadline.slot()] = NEVER;
    }

    /// Whether one is set.
    pub fn is_set(&self, deadline: Deadline) -> bool {
        self.due[deadline.slot()] != NEVER
    }

    /// When to look again: no deadline is earlier.
    #[inline]
    pub fn earliest(&self) -> Time {
        self.unpack(self.earliest)
    }

    /// Takes one that is due at `now`; `None` when no more are.
    pub fn take_due(&mut self, now: Time) -> Option<Deadline> {
        let found = Deadline::ALL.into_iter().find(|d| self.unpack(self.due[d.slot()]) <= now);
        match found {
            Some(deadline) => self.clear(deadline),
            None => {
                self.rebase(now);
                self.earliest = self.due.into_iter().min().unwrap_or(NEVER);
            }
        }
        found
    }

    #[inline]
    fn pack(&self, due: Time) -> u32 {
        if due == Time::NEVER {
            return NEVER;
        }
        let millis = due.0.saturating_sub(self.base.0).div_ceil(1000);
        u32::try_from(millis).unwrap_or(NEVER)
    }

    fn unpack(&self, due: u32) -> Time {
        match due {
            NEVER => Time::NEVER,
            millis => Time(self.base.0 + u64::from(millis) * 1000),
        }
    }

    /// Counts from `now`, when nothing that is set is earlier, so that a long life does not run
    /// out of numbers: this is called at least as often as something passes.
    fn rebase(&mut self, now: Time) {
        let millis = ((now.0 - self.base.0) / 1000) as u32;
        self.base = Time(self.base.0 + u64::from(millis) * 1000);
        for due in &mut self.due {
            if *due != NEVER {
                *due -= millis;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Time {
        Time(n * 1000)
    }

    #[test]
    fn hands_out_each_that_is_due_once() {
        let mut deadlines = Deadlines::new(ms(7));
        deadlines.set(Deadline::Close, ms(50));
        deadlines.set(Deadline::Send(1), ms(20));
        deadlines.set(Deadline::Pong(0), ms(30));
        assert_eq!(deadlines.earliest(), ms(20));
        assert_eq!(deadlines.take_due(ms(19)), None);
        assert_eq!(deadlines.take_due(ms(30)), Some(Deadline::Send(1)));
        assert_eq!(deadlines.take_due(ms(30)), Some(Deadline::Pong(0)));
        assert_eq!(deadlines.take_due(ms(30)), None);
        assert_eq!(deadlines.earliest(), ms(50));
    }

    #[test]
    fn moving_one_later_leaves_the_earliest_alone_until_it_passes() {
        let mut deadlines = Deadlines::new(ms(0));
        deadlines.set(Deadline::Idle, ms(10));
        deadlines.set(Deadline::Idle, ms(90));
        assert_eq!(deadlines.earliest(), ms(10));
        assert_eq!(deadlines.take_due(ms(10)), None);
        assert_eq!(deadlines.earliest(), ms(90));
        deadlines.clear(Deadline::Idle);
        assert_eq!(deadlines.take_due(ms(90)), None);
        assert_eq!(deadlines.earliest(), Time::NEVER);
    }

    #[test]
    fn is_never_early_and_at_most_a_millisecond_late() {
        let mut deadlines = Deadlines::new(Time(1));
        deadlines.set(Deadline::Idle, Time(2_500));
        assert_eq!(deadlines.take_due(Time(2_499)), None);
        assert_eq!(deadlines.take_due(Time(3_499)), Some(Deadline::Idle));
    }

    /// 49.7 days fit the numbers; a connection may live longer.
    #[test]
    fn years_do_not_wrap() {
        let day = Duration::from_secs(86_400);
        let mut deadlines = Deadlines::new(Time(0));
        let mut now = Time(123);
        for _ in 0..1000 {
            deadlines.set(Deadline::Pong(0), now + day);
            deadlines.set(Deadline::Lifetime, now + day * 40);
            assert_eq!(deadlines.take_due(now), None);
            now = now + day + Duration::from_millis(1);
            assert_eq!(deadlines.take_due(now), Some(Deadline::Pong(0)));
            assert_eq!(deadlines.take_due(now), None);
            assert!(deadlines.is_set(Deadline::Lifetime));
        }
        deadlines.set(Deadline::Idle, now + day * 60);
        assert!(!deadlines.is_set(Deadline::Idle));
    }

    #[test]
    fn time_saturates() {
        assert_eq!(Time(5) + Duration::MAX, Time::NEVER);
        assert_eq!(Time(5) - Time(7), Duration::ZERO);
        assert_eq!(Time(7_000) - Time(5_000), Duration::from_millis(2));
    }
}
