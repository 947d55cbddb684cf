//! A stream that begins with a `CONNECT` head: where it wants to go.
//!
//! Owns the head while it is not complete, and what came behind it. Never decides whether the
//! target is allowed.

use crate::config::Limits;
use crate::proto::connect::{head, ConnectError, ConnectRequest, Form, ESTABLISHED};
use crate::session::opening::Head;

/// What is done about a target that was named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connect {
    /// It is dialled, and the head is answered in the stream, if its form asks for it.
    Answer,
    /// The remote is told in this form. It answers a full one itself; of a bare one the tool is
    /// told as soon as the remote is there.
    Forward(Form),
}

/// A head under way.
#[derive(Debug)]
pub struct Naming {
    head: Head,
    connect: Connect,
    /// The first message of the stream has ended: what follows makes no bare head.
    begun: bool,
}

impl Naming {
    /// Awaits a head.
    pub fn new(connect: Connect) -> Self {
        Self { head: Head::default(), connect, begun: false }
    }

    /// How much more may be read.
    pub fn read_limit(&self, limits: &Limits) -> usize {
        self.head.read_limit(limits)
    }

    /// Takes stream bytes, which may end a message. `None` asks for more of them.
    pub fn on_bytes(
        &mut self,
        bytes: &[u8],
        ends: bool,
        limits: &Limits,
    ) -> Option<Result<Tunnel, ConnectError>> {
        if bytes.is_empty() && self.head.is_empty() {
            return None; // a keepalive
        }
        let whole = ends && !self.begun;
        self.begun |= ends;
        let (request, taken) =
            self.head.on_bytes(bytes, whole, limits, |wire, sizes| match ConnectRequest::parse(
                wire, whole, sizes,
            ) {
                Ok(Some((request, len))) => Some((Ok(request), len)),
                Ok(None) => None,
                Err(error) => Some((Err(error), wire.len())),
            })?;
        let connect = self.connect;
        let rest = bytes[taken..].to_vec();
        Some(request.map(|request| Tunnel { request, connect, rest }))
    }
}

/// A stream that wants to go somewhere, and waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tunnel {
    /// Where, in which form, and who asks.
    pub request: ConnectRequest,
    connect: Connect,
    /// What stood behind the head.
    pub rest: Vec<u8>,
}

impl Tunnel {
    /// Whether a refusal is to be answered with a response head.
    pub fn awaits_answer(&self) -> bool {
        self.connect != Connect::Answer || self.request.form == Form::Full
    }

    /// Whether the remote will answer in our place.
    pub fn is_answered_by_remote(&self) -> bool {
        self.connect == Connect::Forward(Form::Full)
    }

    /// What is said first, and to which leg, once the remote is there.
    pub fn into_first(self) -> Vec<(usize, Vec<u8>)> {
        let target = &self.request.target;
        let established = || (0, ESTABLISHED.to_vec());
        let mut first = match (self.connect, self.request.form) {
            (Connect::Answer, Form::Full) => vec![established()],
            (Connect::Answer, Form::Bare) => vec![],
            (Connect::Forward(Form::Full), _) => vec![(1, head(target, Form::Full))],
            (Connect::Forward(Form::Bare), _) => vec![established(), (1, head(target, Form::Bare))],
        };
        first.push((1, self.rest));
        first
    }
}
