//! How fast each leg of a connection is heard (`--rate-in`, `--rate-out`).
//!
//! Owns a bucket for each leg that has a rate, and whether that leg is paused. Never reads: a leg
//! that is paused is not read until its time has come, and what TCP does then slows its sender.

use std::mem::size_of;

use super::bucket::Bucket;
use super::deadlines::Time;
use crate::config::Limits;

/// With fewer bytes left than this, a leg is paused: it would be read piece by piece, down to the
/// single bytes of a frame's header, which take nothing from the bucket.
const FEW: usize = 512;

/// The rates of a connection, by leg.
#[derive(Debug)]
pub struct Rates([Option<Way>; 2]);

#[derive(Debug)]
struct Way {
    bucket: Bucket,
    /// `None` while the leg may be read.
    resumes: Option<Time>,
}

impl Rates {
    /// `None` where both are off, so that a connection without rates does not pay for them.
    pub fn new(limits: &Limits) -> Option<Box<Self>> {
        let way = |rate: Option<u64>| {
            let bucket = Bucket::new(rate?, limits.buffer_size);
            Some(Way { bucket, resumes: None })
        };
        let ways = [limits.rate_in, limits.rate_out].map(way);
        ways.iter().any(Option::is_some).then(|| Box::new(Self(ways)))
    }

    /// What those of one connection cost, in bytes.
    pub fn bytes(limits: &Limits) -> usize {
        match (limits.rate_in, limits.rate_out) {
            (None, None) => 0,
            _ => size_of::<Self>(),
        }
    }

    /// Whether leg `side` is not to be read now.
    pub fn is_paused(&self, side: usize) -> bool {
        self.0[side].as_ref().is_some_and(|way| way.resumes.is_some())
    }

    /// Bytes that leg `side` may say now.
    pub fn may_take(&self, side: usize, now: Time) -> usize {
        self.0[side].as_ref().map_or(usize::MAX, |way| way.bucket.may_take(now))
    }

    /// Leg `side` has said `n` bytes, and is paused if few are left. Then as much is waited for as
    /// the bucket bears, which takes the fewest timers.
    pub fn take(&mut self, side: usize, n: usize, now: Time) {
        if let Some(way) = &mut self.0[side] {
            way.bucket.take(n, now);
            if way.bucket.ready_at(FEW) > now {
                way.resumes = Some(way.bucket.ready_at(usize::MAX));
            }
        }
    }

    /// When [`Rates::resume`] is to be asked, at the latest.
    pub fn wake_at(&self) -> Time {
        let times = self.0.iter().flatten().filter_map(|way| way.resumes);
        times.min().unwrap_or(Time::NEVER)
    }

    /// A leg that was paused and may be read again; `None` when there are no more.
    pub fn resume(&mut self, now: Time) -> Option<usize> {
        let is_due = |way: &Option<Way>| {
            way.as_ref().and_then(|way| way.resumes).is_some_and(|resumes| resumes <= now)
        };
        let side = self.0.iter().position(is_due)?;
        self.0[side].as_mut()?.resumes = None;
        Some(side)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(rate_in: Option<u64>, rate_out: Option<u64>) -> Option<Box<Rates>> {
        Rates::new(&Limits { rate_in, rate_out, ..Limits::default() })
    }

    #[test]
    fn nothing_is_kept_where_there_is_no_rate() {
        assert!(rates(None, None).is_none());
        let mut one = rates(None, Some(1000)).unwrap();
        one.take(0, usize::MAX, Time(0));
        assert!(!one.is_paused(0));
        assert_eq!(one.may_take(0, Time(0)), usize::MAX);
        assert_eq!(one.wake_at(), Time::NEVER);
    }

    #[test]
    fn a_leg_is_paused_when_few_bytes_are_left_and_resumes_with_half_a_burst() {
        // A burst of an eighth of a second.
        let mut rates = rates(Some(80_000), Some(800)).unwrap();
        rates.take(0, 9_000, Time(0));
        assert!(!rates.is_paused(0));
        rates.take(0, 500, Time(0));
        assert!(rates.is_paused(0) && !rates.is_paused(1));
        assert_eq!(rates.wake_at(), Time(56_250));
        assert_eq!(rates.resume(Time(56_249)), None);
        rates.take(1, 100, Time(0));
        assert_eq!(rates.wake_at(), Time(56_250));
        assert_eq!(rates.resume(Time(70_000)), Some(0));
        assert_eq!(rates.resume(Time(70_000)), Some(1));
        assert_eq!(rates.resume(Time(70_000)), None);
        assert!(!rates.is_paused(0) && !rates.is_paused(1));
        assert_eq!(rates.may_take(0, Time(56_250)), 5_000);
    }
}
