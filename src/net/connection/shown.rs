//! What the log calls a connection, where it goes and whose it is.

use std::fmt;
use std::net::IpAddr;
use std::time::SystemTime;

use super::{Connection, Shared};
use crate::config::{Destination, Route};
use crate::net::transport::Transport;
use crate::session::deadlines::Time;
use crate::stats::{ConnectionInfo, ConnectionStats, State};

impl Connection {
    /// How far it has come.
    pub fn state(&self) -> State {
        match self.link.ended() {
            Some(_) => State::Closing,
            None if self.link.is_relaying() => State::Open,
            None => State::Opening,
        }
    }

    /// What has gone over it.
    pub fn stats(&self, now: Time) -> ConnectionStats {
        ConnectionStats {
            bytes_in: self.link.bytes_from(0),
            bytes_out: self.link.bytes_from(1),
            messages_in: self.link.messages_from(0),
            messages_out: self.link.messages_from(1),
            pings: self.link.pings(),
            round_trip: self.link.round_trip(),
            buffered: self.link.buffered(),
            lasted: now - self.since,
        }
    }

    /// All there is to know of it: it came in where `local` says, and `clock` is the time now.
    pub fn info(
        &self,
        route: &Route,
        local: &str,
        clock: SystemTime,
        shared: &Shared,
    ) -> ConnectionInfo {
        let (ended, stats) = (self.link.ended(), self.stats(shared.now));
        let client = ended.and_then(|ended| ended.client);
        ConnectionInfo {
            id: self.id,
            state: self.state(),
            peer: self.ends[0].transport.as_ref().and_then(Transport::peer),
            client: client.or_else(|| shared.clients.behind(self.id)),
            route: self.route(),
            local: local.to_owned(),
            target: Goal(route, self.link.named()).to_string(),
            since: clock.checked_sub(stats.lasted).unwrap_or(SystemTime::UNIX_EPOCH),
            stats,
            ended,
        }
    }

    /// What sorts connections by when they came.
    pub fn age_order(&self) -> (Time, u32) {
        (self.since, self.id.generation)
    }
}

/// Where a connection goes, for the log.
pub(super) struct Goal<'a>(pub &'a Route, pub Option<&'a Destination>);

impl fmt::Display for Goal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.0.remote, self.1) {
            (remote, Some(named)) if remote.is_named_by_peer() => named.fmt(f),
            (remote, Some(named)) => write!(f, "{remote} for={named}"),
            (remote, None) => remote.fmt(f),
        }
    }
}

/// Whose connection it is, where a trusted proxy stands between, for the log.
pub(super) struct Behind(pub Option<IpAddr>);

impl fmt::Display for Behind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |client| write!(f, " client={client}"))
    }
}

/// What somebody else may have said, behind a name, for the log: in quotes, escaped and cut short.
/// Nothing if it is empty.
pub(super) struct Quoted<'a>(pub &'static str, pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = 200;
        if self.1.is_empty() {
            return Ok(());
        }
        let end = self.1.char_indices().nth(MOST).map_or(self.1.len(), |(at, _)| at);
        write!(f, "{}{:?}", self.0, &self.1[..end])
    }
}
