//! Who ended a connection, and why: for the log, and for whoever asks.

use std::fmt;
use std::net::IpAddr;

use crate::policy::admit::Status;
use crate::proto::close::CloseCode;
use crate::proto::frame::FrameError;

/// Who ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Who connected to us.
    Peer,
    /// Whom we connected to.
    Target,
    /// We did.
    Proxy,
}

impl By {
    /// Everybody.
    pub const ALL: [Self; 3] = [Self::Peer, Self::Target, Self::Proxy];

    /// Whoever is at that end.
    pub fn side(side: usize) -> Self {
        if side == 0 {
            Self::Peer
        } else {
            Self::Target
        }
    }

    /// The word in a log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Target => "target",
            Self::Proxy => "proxy",
        }
    }
}

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// A WebSocket leg said Close.
    Close,
    /// A raw leg ended its stream.
    Eof,
    /// The transport of a WebSocket leg ended without a Close.
    Lost,
    /// A transport failed.
    Reset,
    /// A rule of the protocol or of an encoding was broken.
    Protocol(FrameError),
    /// Answered with an HTTP status.
    Refused(Status),
    /// Answered with a page, and this HTTP status.
    Served(u16),
    /// The leg ended before it had said what it wanted.
    NoRequest,
    /// `--idle-timeout`
    IdleTimeout,
    /// `--max-lifetime`
    MaxLifetime,
    /// The far end did not answer the `CONNECT` that was passed on to it.
    Unanswered,
    /// `--pong-timeout`
    PongTimeout,
    /// `--send-timeout`
    SendTimeout,
    /// Somebody asked for it, by [`crate::Handle::close`].
    Requested,
    /// The proxy is stopping.
    Shutdown,
}

impl Why {
    /// The words in a log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Close => "close",
            Self::Eof => "eof",
            Self::Lost => "lost",
            Self::Reset => "reset",
            Self::Protocol(_) => "protocol-error",
            Self::Refused(_) => "refused",
            Self::Served(_) => "served",
            Self::NoRequest => "no-request",
            Self::IdleTimeout => "idle-timeout",
            Self::MaxLifetime => "max-lifetime",
            Self::Unanswered => "unanswered",
            Self::PongTimeout => "pong-timeout",
            Self::SendTimeout => "send-timeout",
            Self::Requested => "requested",
            Self::Shutdown => "shutdown",
        }
    }
}

/// The first cause of an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Who.
    pub by: By,
    /// Why.
    pub why: Why,
    /// The close code that was received, or else sent.
    pub code: CloseCode,
    /// Who leg 0 is, where a request was refused and a trusted proxy had said so in it.
    pub client: Option<IpAddr>,
}

/// As the log has it. Of a refusal and of a page the code is the HTTP status.
impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = match self.why {
            Why::Refused(status) => status.code(),
            Why::Served(status) => status,
            _ => self.code.get(),
        };
        write!(f, "code={code} by={} why={}", self.by.name(), self.why.name())
    }
}

/// The same, with words.
#[derive(Debug)]
pub(super) struct Ending {
    pub ended: Ended,
    /// What a refusal has said.
    pub told: String,
}

impl Ended {
    /// What a Close says of it.
    pub fn reason(self) -> &'static str {
        match (self.why, self.by) {
            (Why::PongTimeout, By::Peer) => "the client does not answer pings",
            (Why::PongTimeout, _) => "the target does not answer pings",
            (Why::Unanswered, _) => "no answer to CONNECT",
            (why, _) => why.name(),
        }
    }
}
