//! Half-close: how long a peer that has said Close is sent the rest of the stream.

use std::time::Duration;

use ws_tcp_proxy::session::deadlines::Time;

use crate::socket::Socket;

/// Time without progress since the peer's Close.
#[derive(Debug)]
pub struct Lingering {
    /// `None` answers at once.
    half_close: Option<Duration>,
    /// The peer's Close, or the last byte that somebody took behind it.
    since: Option<Time>,
    /// Bytes that both ends have taken.
    taken: usize,
    expired: bool,
}

impl Lingering {
    /// The peer has not said Close.
    pub fn new(half_close: Option<Duration>) -> Self {
        Self { half_close, since: None, taken: 0, expired: false }
    }

    /// Whether the rest of the stream still has time, if the peer has said Close.
    pub fn lasts(&self) -> bool {
        self.half_close.is_some() && !self.expired
    }

    /// Whether that time is up.
    pub fn has_expired(&self) -> bool {
        self.expired
    }

    /// The loop is about to serve. Whatever time has passed, it has passed without progress.
    pub fn on_visit(&mut self, now: Time) {
        let over = |since, half_close| now >= since + half_close;
        self.expired |= matches!((self.since, self.half_close), (Some(s), Some(h)) if over(s, h));
    }

    /// The loop has served.
    pub fn on_visited(&mut self, now: Time, sockets: &[Socket; 2], closed_by_peer: bool) {
        let taken = sockets.iter().map(|socket| socket.taken.len()).sum();
        if closed_by_peer && (self.since.is_none() || taken > self.taken) {
            self.since = Some(now);
        }
        self.taken = taken;
    }
}
