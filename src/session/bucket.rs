//! A token bucket: how many bytes one direction may move by now (`--rate-in`, `--rate-out`).
//!
//! Owns the count. Never waits and reads no clock: whoever reads asks first, says what it took, and
//! where there is nothing to take comes back at a time that is told.
//!
//! ```text
//!                rate, all the time
//!                       |
//!   debt      0         v                capacity
//!    |--------|=========================|
//!    a read   ^ level: what may be      a burst; what would come on top is lost
//!    too much   taken now
//! ```

use super::deadlines::Time;

/// What a byte is counted in: a rate of n bytes in a second is one of n grains in a microsecond, so
/// that nothing is ever rounded and nothing adds up over the years.
const GRAINS: i64 = 1_000_000;

/// Of a capacity, and of a debt; far beyond every buffer. Together they fit the grains of an `i64`.
const MAX_BYTES: u64 = 1 << 42;

/// A burst lasts at most an eighth of a second: 2.5 % of five seconds, within which a rate is to be
/// kept to 5 %.
const LONGEST_BURST: u64 = 8;

/// And at least a fiftieth. A wake-up is late by a millisecond of the timers and by all that the
/// loop did first; what came in meanwhile must fit.
const SHORTEST_BURST: u64 = 50;

/// A direction's allowance.
///
/// Invariant: `-MAX_BYTES * GRAINS <= level <= capacity <= MAX_BYTES * GRAINS`, `2 * GRAINS <= capacity`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// Bytes in a second, grains in a microsecond.
    rate: u64,
    /// In grains.
    capacity: i64,
    /// In grains, when `at` was now; negative after more was taken than there was.
    level: i64,
    at: Time,
}

impl Bucket {
    /// A full one. `rate` is in bytes per second; 0 lets two bytes through and no more.
    ///
    /// `burst` is how many bytes may go out at once after a silence, best the size of the buffer
    /// that is read into. It holds within limits that depend on the rate: more than an eighth of a
    /// second's worth would break the rate for seconds, less than a fiftieth would lose some of it
    /// at every wake-up.
    pub fn new(rate: u64, burst: usize) -> Self {
        let burst = u64::try_from(burst).unwrap_or(u64::MAX);
        let bytes = burst.clamp(rate / SHORTEST_BURST, rate / LONGEST_BURST).clamp(2, MAX_BYTES);
        // At most 2^42, and 2^42 * 10^6 < 2^62.
        let capacity = bytes as i64 * GRAINS;
        Self { rate, capacity, level: capacity, at: Time(0) }
    }

    /// Bytes that may be moved at `now`.
    pub fn may_take(&self, now: Time) -> usize {
        let bytes = self.level_at(now).max(0) / GRAINS;
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// `n` bytes were moved. They may be more than there were (a read may bring what could not be
    /// known before); what follows then waits so much longer.
    pub fn take(&mut self, n: usize, now: Time) {
        let n = u64::try_from(n).unwrap_or(u64::MAX).min(MAX_BYTES) as i64;
        self.level = (self.level_at(now) - n * GRAINS).max(MAX_BYTES as i64 * -GRAINS);
        self.at = self.at.max(now);
    }

    /// When `enough` bytes may be taken, as long as nobody takes any before; a time that has passed
    /// if they may be taken now. At a rate of 0 that may be [`Time::NEVER`].
    ///
    /// `enough` keeps a slow rate from being moved byte by byte. No more is waited for than half of
    /// what the bucket holds: the other half takes in what comes until a late wake-up.
    pub fn ready_at(&self, enough: usize) -> Time {
        let half = self.capacity / GRAINS / 2;
        let enough = i64::try_from(enough).unwrap_or(i64::MAX).clamp(1, half);
        let missing = enough * GRAINS - self.level;
        match u64::try_from(missing) {
            Ok(0) | Err(_) => self.at,
            Ok(_) if self.rate == 0 => Time::NEVER,
            Ok(missing) => Time(self.at.0.saturating_add(missing.div_ceil(self.rate))),
        }
    }

    /// In grains. Time does not run backwards: an earlier `now` is the last one.
    fn level_at(&self, now: Time) -> i64 {
        let micros = now.0.saturating_sub(self.at.0);
        // 2^63 grains fill the deepest debt and the largest capacity: a product that is cut there
        // comes to the same.
        let gain = i64::try_from(micros.saturating_mul(self.rate)).unwrap_or(i64::MAX);
        self.level.saturating_add(gain).min(self.capacity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;
    use std::time::Duration;

    const SECOND: u64 = 1_000_000;
    const RATES: [u64; 12] = [
        100,
        300,
        1_000,
        9_600,
        65_536,
        1_000_000,
        12_500_000,
        125_000_000,
        1_000_000_000,
        1_234_567_891,
        9_999_999_999,
        10_000_000_000,
    ];

    /// What moves in the window from `start`, by somebody who always has more to move: in chunks of
    /// any size, sometimes too large by a little, waking up late.
    fn moved(bucket: &mut Bucket, now: &mut Time, window: Duration, random: &mut Random) -> u64 {
        let end = *now + window;
        let capacity = (bucket.capacity / GRAINS) as usize;
        let mut sum = 0;
        while *now < end {
            let may = bucket.may_take(*now);
            if may == 0 || random.below(4) == 0 && bucket.ready_at(4096) > *now {
                let late = random.below(2_000) as u64;
                *now = Time(bucket.ready_at(4096).0.max(now.0) + late);
                continue;
            }
            let most = may.min(256 << 10);
            let too_much = if random.below(10) == 0 { capacity / 8 } else { 0 };
            let n = 1 + random.below(most + too_much);
            bucket.take(n, *now);
            sum += n as u64;
        }
        sum
    }

    #[test]
    fn five_seconds_are_exact_to_five_percent_at_every_rate() {
        let mut random = Random::new("five_seconds_are_exact_to_five_percent_at_every_rate");
        let window = Duration::from_secs(5);
        for rate in RATES {
            for burst in [0, 1, 1500, 4096, 256 << 10, 1 << 30] {
                let mut bucket = Bucket::new(rate, burst);
                let mut now = Time(random.next() >> 20);
                // The first begins with a full bucket, the third behind a silence.
                for turn in 0..3 {
                    let start = now;
                    let n = moved(&mut bucket, &mut now, window, &mut random);
                    let due = rate as f64 * (now - start).as_secs_f64();
                    let ratio = n as f64 / due;
                    assert!((0.95..1.05).contains(&ratio), "{rate} {burst} {turn}: {ratio}");
                    now = now + Duration::from_secs(turn * 3600);
                }
            }
        }
    }

    #[test]
    fn lets_a_burst_through_and_then_the_rate() {
        let mut bucket = Bucket::new(1_000_000, 64 << 10);
        let now = Time(7 * SECOND);
        assert_eq!(bucket.may_take(now), 64 << 10);
        bucket.take(64 << 10, now);
        assert_eq!(bucket.may_take(now), 0);
        assert_eq!(bucket.may_take(Time(now.0 + 1)), 1);
        assert_eq!(bucket.ready_at(4096), Time(now.0 + 4096));
        assert_eq!(bucket.may_take(Time(now.0 + SECOND)), 64 << 10);
    }

    #[test]
    fn a_burst_fits_the_rate() {
        for (rate, burst, expected) in [
            (100, 256 << 10, 12),
            (100, 0, 2),
            (1 << 20, 256 << 10, 128 << 10),
            (4 << 20, 256 << 10, 256 << 10),
            (10_000_000_000, 256 << 10, 200_000_000),
            (1, 1 << 20, 2),
            (0, 1 << 20, 2),
        ] {
            assert_eq!(Bucket::new(rate, burst).may_take(Time(0)), expected, "{rate} {burst}");
        }
    }

    #[test]
    fn a_debt_is_paid_first() {
        let mut bucket = Bucket::new(1000, 100);
        bucket.take(600, Time(0));
        assert_eq!(bucket.may_take(Time(0)), 0);
        assert_eq!(bucket.may_take(Time(SECOND / 2)), 0);
        assert_eq!(bucket.ready_at(1), Time(501_000));
        assert_eq!(bucket.may_take(Time(501_000 - 1)), 0);
        assert_eq!(bucket.may_take(Time(501_000)), 1);
    }

    #[test]
    fn is_ready_when_it_says_so_and_not_before() {
        let mut random = Random::new("is_ready_when_it_says_so_and_not_before");
        for _ in 0..20_000 {
            let rate = RATES[random.below(RATES.len())];
            let mut bucket = Bucket::new(rate, random.below(1 << 20));
            let now = Time(random.next() >> 8);
            let half = bucket.may_take(now) / 2;
            bucket.take(random.below(3 * half), now);
            let enough = random.below(2 * half);
            let ready = bucket.ready_at(enough);
            let least = enough.clamp(1, half);
            assert!(bucket.may_take(ready.max(now)) >= least, "{rate} {enough} {bucket:?}");
            if ready > now {
                let before = Time(ready.0 - 1);
                assert!(bucket.may_take(before) < least, "{rate} {enough} {bucket:?}");
            }
        }
    }

    #[test]
    fn waits_for_no_more_than_half_of_what_it_holds() {
        let mut bucket = Bucket::new(1000, 100);
        bucket.take(100, Time(0));
        assert_eq!(bucket.ready_at(usize::MAX), Time(50_000));
        assert_eq!(bucket.ready_at(0), Time(1000));
    }

    #[test]
    fn a_rate_of_0_ends_after_two_bytes() {
        let mut bucket = Bucket::new(0, 4096);
        assert_eq!(bucket.ready_at(1), Time(0));
        bucket.take(2, Time(5));
        assert_eq!(bucket.may_take(Time(u64::MAX - 1)), 0);
        assert_eq!(bucket.ready_at(1), Time::NEVER);
    }

    #[test]
    fn nothing_overflows_over_years_or_at_any_number() {
        for rate in [0, 1, 7, 100, 10_000_000_000, u64::MAX / 2, u64::MAX] {
            for burst in [0, 1, 256 << 10, usize::MAX] {
                let mut bucket = Bucket::new(rate, burst);
                let full = bucket.may_take(Time(0));
                assert!((2..=1 << 42).contains(&full));
                let mut now = Time(0);
                for n in [0, 1, full, usize::MAX, usize::MAX] {
                    bucket.take(n, now);
                    assert!(bucket.may_take(now) <= full);
                    assert!(bucket.ready_at(n) >= now || bucket.may_take(now) > 0);
                    now = now + Duration::from_secs(50 * 365 * 86_400);
                }
                bucket.take(usize::MAX, Time(u64::MAX - 1));
                assert_eq!(bucket.may_take(Time(u64::MAX - 1)), 0);
                assert!(bucket.ready_at(usize::MAX) > Time(u64::MAX - 1));
            }
        }
    }

    #[test]
    fn asking_often_loses_nothing() {
        let mut bucket = Bucket::new(333, 10);
        let (mut now, mut sum) = (Time(0), 0u64);
        bucket.take(bucket.may_take(now), now);
        for _ in 0..1_000_000 {
            now = Time(now.0 + 1_999);
            let n = bucket.may_take(now);
            bucket.take(n, now);
            sum += n as u64;
        }
        assert_eq!(sum, now.0 * 333 / SECOND);
    }

    #[test]
    fn an_earlier_now_changes_nothing() {
        let mut bucket = Bucket::new(1000, 100);
        bucket.take(100, Time(SECOND));
        bucket.take(0, Time(0));
        assert_eq!(bucket.may_take(Time(0)), 0);
        assert_eq!(bucket.may_take(Time(SECOND + 10_000)), 10);
    }
}
