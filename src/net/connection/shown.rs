//! What the log calls a connection, where it goes and whose it is.

use std::fmt;
use std::net::IpAddr;

use log::info;

use super::{Connection, Shared};
use crate::config::{Destination, Route};
use crate::net::table::Key;

impl Connection {
    /// One line for SIGUSR1.
    pub fn report(&self, route: &Route, shared: &Shared) {
        info!(
            "{} {} target={} in={} out={} buffered={} secs={:.1}{}",
            Name(self.key),
            if self.link.is_relaying() { "open" } else { "opening" },
            Goal(route, self.link.named()),
            self.link.bytes_from(0),
            self.link.bytes_from(1),
            self.link.buffered(),
            (shared.now - self.since).as_secs_f32(),
            Behind(shared.clients.behind(self.key)),
        );
    }
}

/// How a connection is called in the log: slot and generation.
pub struct Name(pub Key);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}.{}", self.0.slot, self.0.generation)
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
