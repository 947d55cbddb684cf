//! Our Pings: whether one is due, under way or answered, and how long the last one took.
//!
//! Owns no clock: whoever has one says how long it was.

use std::time::Duration;

/// The Pings of one endpoint: twelve bytes, since there are many endpoints.
#[derive(Debug)]
pub struct Pings {
    sent: u32,
    /// In microseconds, 0 for none yet.
    round_trip: u32,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    None,
    Due,
    Sent,
    /// Its Pong has come, and nobody has asked yet.
    Answered,
}

impl Pings {
    pub(super) fn new() -> Self {
        Self { sent: 0, round_trip: 0, state: State::None }
    }

    /// How many were handed out to be sent.
    pub fn sent(&self) -> u32 {
        self.sent
    }

    /// How long the last Pong took, if one has come.
    pub fn round_trip(&self) -> Option<Duration> {
        (self.round_trip > 0).then(|| Duration::from_micros(self.round_trip.into()))
    }

    /// Whether the Pong to the last of them has come; says so once.
    #[inline]
    pub fn take_answer(&mut self) -> bool {
        self.take(State::Answered, State::None)
    }

    /// That Pong took so long.
    pub fn set_round_trip(&mut self, time: Duration) {
        // 0 says that there was none: what is less than the clock can tell is its least.
        self.round_trip = u32::try_from(time.as_micros()).unwrap_or(u32::MAX).max(1);
    }

    pub(super) fn is_due(&self) -> bool {
        self.state == State::Due
    }

    pub(super) fn make_due(&mut self) {
        self.state = State::Due;
    }

    /// No Ping goes out any more.
    pub(super) fn cancel(&mut self) {
        self.state = State::None;
    }

    /// Whether one is to go out now.
    pub(super) fn take_due(&mut self) -> bool {
        let due = self.take(State::Due, State::Sent);
        self.sent = self.sent.saturating_add(due.into());
        due
    }

    /// A Pong: it answers our last Ping if it says what that did, which is nothing (§5.5.3).
    pub(super) fn on_pong(&mut self, payload: &[u8]) {
        if payload.is_empty() {
            self.take(State::Sent, State::Answered);
        }
    }

    #[inline]
    fn take(&mut self, from: State, to: State) -> bool {
        let found = self.state == from;
        if found {
            self.state = to;
        }
        found
    }
}
