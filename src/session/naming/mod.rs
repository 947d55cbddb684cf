//! A connection whose leg 0 names its target: how it does, and what it is told.
//!
//! Owns the ways to name one behind one face, so that whoever serves them need not ask which it
//! is. Never decides whether a target is allowed.

mod connect;
mod json;

pub use connect::Connect;

use super::{Passing, Stop};
use crate::config::{Destination, Limits};
use crate::policy::admit::Refusal;

/// How whoever connects names its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// By a `CONNECT` head, the first bytes of the stream.
    Connect(Connect),
    /// By a text message of JSON in answer to ours. For a WebSocket alone.
    Json,
}

impl Names {
    /// How a WebSocket hands out what it hears until then.
    pub fn passing(self) -> Passing {
        match self {
            Self::Connect(_) => Passing::Pieces,
            Self::Json => Passing::Messages,
        }
    }

    /// What is said before the target is named, in a text message.
    pub fn greeting(self) -> Option<Vec<u8>> {
        match self {
            Self::Connect(_) => None,
            Self::Json => Some(json::greeting()),
        }
    }
}

/// What leg 0 is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Words {
    /// Bytes of the stream, in its encoding.
    Stream(Vec<u8>),
    /// A text message of its own, whatever the encoding.
    Text(Vec<u8>),
}

/// A target's name under way.
#[derive(Debug)]
pub enum Naming {
    /// See [`Names::Connect`].
    Connect(connect::Naming),
    /// See [`Names::Json`].
    Json(json::Naming),
}

impl Naming {
    /// Awaits a name.
    pub fn new(names: Names) -> Self {
        match names {
            Names::Connect(connect) => Self::Connect(connect::Naming::new(connect)),
            Names::Json => Self::Json(json::Naming::default()),
        }
    }

    /// How much more may be read.
    pub fn read_limit(&self, limits: &Limits) -> usize {
        match self {
            Self::Connect(naming) => naming.read_limit(limits),
            Self::Json(naming) => naming.read_limit(limits),
        }
    }

    /// Takes what leg 0 says, of which `stop` says what it is. `None` asks for more of it.
    pub fn on_bytes(
        &mut self,
        bytes: &[u8],
        stop: Stop,
        limits: &Limits,
    ) -> Option<Result<Tunnel, Refusal>> {
        match self {
            Self::Connect(naming) => {
                let ends = matches!(stop, Stop::Piece { ends: true, .. });
                let named = naming.on_bytes(bytes, ends, limits)?;
                Some(named.map(Tunnel::Connect).map_err(Refusal::from))
            }
            Self::Json(naming) => {
                let Stop::Piece { kind, ends } = stop else { return None };
                let named = naming.on_piece(bytes, kind, ends, limits)?;
                Some(named.map(Tunnel::Json).map_err(Refusal::from))
            }
        }
    }

    /// What leg 0 is told when it is refused before it has named a target.
    pub fn refused(&self, refusal: &Refusal) -> Words {
        match self {
            Self::Connect(_) => Words::Stream(refusal.response()),
            Self::Json(_) => Words::Text(json::refused(refusal)),
        }
    }
}

/// A stream that wants to go somewhere, and waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tunnel {
    /// See [`Names::Connect`].
    Connect(connect::Tunnel),
    /// See [`Names::Json`].
    Json(Destination),
}

impl Tunnel {
    /// Where to.
    pub fn destination(&self) -> Destination {
        match self {
            Self::Connect(tunnel) => Destination::Tcp(tunnel.request.target.clone()),
            Self::Json(destination) => destination.clone(),
        }
    }

    /// The user and password that came with it.
    pub fn credentials(&self) -> Option<&[u8]> {
        match self {
            Self::Connect(tunnel) => tunnel.request.credentials.as_deref(),
            Self::Json(_) => None,
        }
    }

    /// What leg 0 is told if it is refused.
    pub fn refused(&self, refusal: &Refusal) -> Option<Words> {
        match self {
            Self::Connect(tunnel) => {
                tunnel.awaits_answer().then(|| Words::Stream(refusal.response()))
            }
            Self::Json(_) => Some(Words::Text(json::refused(refusal))),
        }
    }

    /// Whether the remote will answer in our place.
    pub fn is_answered_by_remote(&self) -> bool {
        matches!(self, Self::Connect(tunnel) if tunnel.is_answered_by_remote())
    }

    /// What leg 0 is told, in a text message, once the remote is there.
    pub fn welcome(&self) -> Option<Vec<u8>> {
        match self {
            Self::Connect(_) => None,
            Self::Json(_) => Some(json::connected()),
        }
    }

    /// Bytes of the stream that came with the name.
    pub fn rest(&self) -> &[u8] {
        match self {
            Self::Connect(tunnel) => &tunnel.rest,
            Self::Json(_) => &[],
        }
    }

    /// How the streams begin, and to which leg, once the remote is there.
    pub fn into_first(self) -> Vec<(usize, Vec<u8>)> {
        match self {
            Self::Connect(tunnel) => tunnel.into_first(),
            Self::Json(_) => Vec::new(),
        }
    }
}
