//! Our Pings: how far the last one has come, how many there were, and how long an answer took.
//!
//! Owns no clock: whoever has one says how long it was.

use std::time::Duration;

/// The last Ping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ping {
    /// There was none, or all about it is known.
    None,
    Due,
    /// Its Pong has not come.
    Awaited,
    /// Its Pong has come, and nobody has asked yet.
    Answered,
}

impl Ping {
    /// A Pong: it answers our last Ping if it says what that did, which is nothing (RFC 6455 §5.5.3).
    pub(super) fn on_pong(&mut self, payload: &[u8]) {
        if *self == Self::Awaited && payload.is_empty() {
            *self = Self::Answered;
        }
    }
}

/// The Pings of one endpoint so far: eight bytes, since there are many endpoints.
#[derive(Debug, Default)]
pub struct Pings {
    sent: u32,
    /// In microseconds, 0 for none yet.
    round_trip: u32,
}

impl Pings {
    /// How many were handed out to be sent.
    pub fn sent(&self) -> u32 {
        self.sent
    }

    /// How long the last Pong took, if one has come and somebody with a clock has heard it.
    pub fn round_trip(&self) -> Option<Duration> {
        (self.round_trip > 0).then(|| Duration::from_micros(self.round_trip.into()))
    }

    /// One was handed out.
    pub(super) fn on_sent(&mut self) {
        self.sent = self.sent.saturating_add(1);
    }

    /// The last Pong took so long.
    pub(super) fn set_round_trip(&mut self, time: Duration) {
        // 0 says that there was none: what is less than the clock can tell is its least.
        self.round_trip = u32::try_from(time.as_micros()).unwrap_or(u32::MAX).max(1);
    }
}
