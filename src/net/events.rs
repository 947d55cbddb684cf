//! What happens, for the program that the proxy is part of.

use std::fmt;
use std::net::SocketAddr;

use crate::policy::admit::Status;
use crate::session::ended::Ended;
use crate::stats::{ConnectionId, ConnectionStats};

/// What has happened, as [`crate::Proxy::run_with`] tells it.
///
/// Every `Opened` is followed by exactly one `Closed` or `Refused` of that connection, and nothing
/// about it follows that.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Somebody has connected.
    Opened {
        /// The connection's name from now on.
        id: ConnectionId,
        /// Who: `None` over a unix socket. A trusted proxy may say later whose connection it is.
        peer: Option<SocketAddr>,
        /// The index of the route in [`crate::config::Config::routes`].
        route: usize,
    },
    /// The target is reached, and the connection open.
    Connected {
        /// Whose.
        id: ConnectionId,
        /// Where it goes.
        target: String,
    },
    /// It has ended.
    Closed {
        /// Which.
        id: ConnectionId,
        /// Who ended it and why.
        why: Ended,
        /// What has gone over it.
        stats: ConnectionStats,
    },
    /// It has ended with a refusal: an HTTP status, or what says the same where a WebSocket was open
    /// already.
    Refused {
        /// Which.
        id: ConnectionId,
        /// As which status.
        status: Status,
        /// What the peer was told. May quote what the peer has said.
        why: String,
    },
    /// Something an operator would want to know: a target that cannot be reached, descriptors that
    /// run out.
    Error {
        /// Whose connection it concerns; `None` if no single one.
        id: Option<ConnectionId>,
        /// What has gone wrong.
        what: String,
    },
}

impl Event {
    /// Which connection it is about, if it is about one.
    pub fn id(&self) -> Option<ConnectionId> {
        match self {
            Self::Opened { id, .. }
            | Self::Connected { id, .. }
            | Self::Closed { id, .. }
            | Self::Refused { id, .. } => Some(*id),
            Self::Error { id, .. } => *id,
        }
    }
}

/// A line for a log, in the words that our own has.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened { id, peer, route } => {
                write!(f, "{id} accepted route={route}")?;
                peer.map_or(Ok(()), |peer| write!(f, " peer={peer}"))
            }
            Self::Connected { id, target } => write!(f, "{id} open target={target}"),
            Self::Closed { id, why, stats } => write!(f, "{id} closed {why} {stats}"),
            Self::Refused { id, status, why } => {
                let (code, name) = (status.code(), status.name());
                write!(f, "{id} refused code={code} status={name} error={why:?}")
            }
            Self::Error { id: Some(id), what } => write!(f, "{id} {what}"),
            Self::Error { id: None, what } => f.write_str(what),
        }
    }
}
