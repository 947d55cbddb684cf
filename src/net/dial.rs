//! Reaching the target: every address in order, within one time.
//!
//! Owns the addresses that are left and what became of those that were tried. Never waits.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::resolve::Question;
use super::sys;
use super::transport::Transport;
use crate::config::{Limits, UnixName};
use crate::policy::admit::{Refusal, Status};
use crate::policy::target::TargetError;
use crate::session::deadlines::Time;

/// How soon a unix socket whose backlog is full is tried again: nothing tells when it has room.
const RETRY: Duration = Duration::from_millis(20);

/// An address to be tried.
#[derive(Debug, Clone)]
pub enum Address {
    /// Over TCP.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(UnixName),
}

/// What an attempt came to at once.
#[derive(Debug)]
pub enum Attempt {
    /// Under way until then.
    Started(Transport, Time),
    /// To be made again then.
    Later(Time),
    /// There is no address left.
    Exhausted,
}

/// A target that is being reached.
#[derive(Debug)]
pub struct Dial {
    left: VecDeque<Address>,
    /// When it began.
    pub since: Time,
    until: Time,
    error: Option<DialError>,
    unread: Box<[u8]>,
    /// The name whose addresses are awaited.
    pub awaits: Option<Question>,
}

impl Dial {
    /// A dial without an address yet, that begins now and may last until then. Keeps what the peer has said
    /// meanwhile.
    pub fn new(unread: &[u8], since: Time, until: Time) -> Self {
        Self {
            left: VecDeque::new(),
            since,
            until,
            error: None,
            unread: unread.into(),
            awaits: None,
        }
    }

    /// One more address to try.
    pub fn add(&mut self, address: Address) {
        self.left.push_back(address);
    }

    /// What the peer has said meanwhile.
    pub fn unread(&self) -> &[u8] {
        &self.unread
    }

    /// The last attempt, or the lookup, failed.
    pub fn failed(&mut self, error: DialError) {
        self.error = Some(error);
    }

    /// Tries the next address. Each gets an equal share of the time that is left, so that one
    /// that does not answer leaves some for the others.
    pub fn attempt(&mut self, now: Time, limits: &Limits) -> Attempt {
        while let Some(address) = self.left.pop_front() {
            let share = (self.until - now) / (self.left.len() as u32 + 1);
            if share.is_zero() {
                self.failed(DialError::TimedOut);
                return Attempt::Exhausted;
            }
            let started = match &address {
                Address::Tcp(address) => Transport::connect_tcp(*address, limits),
                Address::Unix(name) => Transport::connect_unix(name),
            };
            match started {
                Ok(transport) => return Attempt::Started(transport, now + share),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.failed(DialError::TimedOut);
                    self.left.push_front(address);
                    return Attempt::Later(self.until.min(now + RETRY));
                }
                Err(error) => self.failed(error.into()),
            }
        }
        Attempt::Exhausted
    }

    /// Why it has failed, once it is exhausted.
    pub fn error(&self) -> DialError {
        self.error.clone().unwrap_or(DialError::TimedOut)
    }
}

/// Why a target could not be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DialError {
    /// No answer within `--connect-timeout`.
    TimedOut,
    /// The name has no address.
    UnknownName(String),
    /// We have no descriptor, or no memory, for another socket.
    Exhausted(String),
    /// It is not for whoever asked.
    Denied(TargetError),
    /// What connect(2) said.
    Failed(String),
    /// It did not agree to speak WebSocket.
    Disagreed(String),
    /// It did not answer the WebSocket request in time.
    Unanswered,
}

impl From<io::Error> for DialError {
    fn from(error: io::Error) -> Self {
        if sys::is_exhaustion(&error) {
            Self::Exhausted(error.to_string())
        } else if error.kind() == io::ErrorKind::TimedOut {
            Self::TimedOut
        } else {
            Self::Failed(error.to_string())
        }
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unanswered => {
                f.write_str("no answer to the WebSocket request within --handshake-timeout")
            }
            Self::TimedOut => f.write_str("no answer within --connect-timeout"),
            Self::UnknownName(error) => write!(f, "name lookup failed: {error}"),
            Self::Denied(error) => error.fmt(f),
            Self::Exhausted(error) | Self::Failed(error) | Self::Disagreed(error) => {
                f.write_str(error)
            }
        }
    }
}

impl std::error::Error for DialError {}

/// What the peer is told. The target's address is not its business.
impl From<&DialError> for Refusal {
    fn from(error: &DialError) -> Self {
        match error {
            DialError::TimedOut => Self::new(
                Status::GatewayTimeout,
                "the target did not answer in time; try again later",
            ),
            DialError::UnknownName(_) => {
                Self::new(Status::BadGateway, "the target's name is unknown; is it spelled right?")
            }
            DialError::Denied(error) => error.into(),
            DialError::Exhausted(_) => {
                Self::new(Status::Unavailable, "the proxy is out of descriptors; try again later")
            }
            DialError::Unanswered => Self::new(
                Status::GatewayTimeout,
                "the target did not answer the WebSocket request in time",
            ),
            DialError::Disagreed(_) => Self::new(
                Status::BadGateway,
                "the target did not agree to a WebSocket; see the log",
            ),
            DialError::Failed(_) => {
                Self::new(Status::BadGateway, "the target cannot be reached; is it running?")
            }
        }
    }
}
