//! What comes of a `CONNECT` head at the start of a stream: who is told what.
//!
//! The head itself is read by the crate's own parser: the target `connect_head` is what makes that
//! one trustworthy. It is shown the stream as a whole, whatever pieces it came in.

use ws_tcp_proxy::policy::admit::Status;
use ws_tcp_proxy::proto::connect::{ConnectError, ConnectRequest, Form};
use ws_tcp_proxy::proto::handshake::HeadLimits;
use ws_tcp_proxy::session::ended::{By, Ended, Why};
use ws_tcp_proxy::session::link::{Connect, Link};

use super::{Model, Shape};
use crate::socket::Socket;

/// A head that is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub target: String,
    pub form: Form,
    /// Bytes of the stream that it is made of.
    pub len: usize,
}

impl Named {
    /// What `stream` names, whose first message that says something ends at `first_end`. A stream
    /// without messages has no such end.
    ///
    /// # Errors
    /// It names nothing, whatever follows.
    pub fn read(
        stream: &[u8],
        first_end: Option<usize>,
        limits: HeadLimits,
    ) -> Result<Option<Self>, ConnectError> {
        let alone = first_end.map(|end| ConnectRequest::parse(&stream[..end], true, limits));
        let parsed = match alone {
            Some(Ok(Some((request, len)))) if request.form == Form::Bare => Some((request, len)),
            _ => ConnectRequest::parse(stream, false, limits)?,
        };
        Ok(parsed.map(|(request, len)| Self {
            target: request.target.to_string(),
            form: request.form,
            len,
        }))
    }

    /// What each leg is told in front of the stream that follows the head.
    pub fn told(&self, connect: Connect) -> [Vec<u8>; 2] {
        let target = &self.target;
        let established = "HTTP/1.1 200 Connection Established\r\n\r\n".to_owned();
        let [near, far] = match (connect, self.form) {
            (Connect::Answer, Form::Full) => [established, String::new()],
            (Connect::Answer, Form::Bare) => [String::new(), String::new()],
            (Connect::Forward(Form::Full), _) => {
                [String::new(), format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n")]
            }
            (Connect::Forward(Form::Bare), _) => [established, format!("CONNECT {target}")],
        };
        [near.into_bytes(), far.into_bytes()]
    }
}

impl Model {
    /// Whether leg 0 says where it wants to go.
    pub(super) fn is_naming(&self) -> bool {
        let is_there = match self.setup.shape {
            Shape::Server | Shape::Echo => self.admitted,
            Shape::Client | Shape::Plain => self.setup.names.is_some(),
        };
        is_there && self.named.is_none() && self.refused.is_none()
    }

    /// What is owed to each leg.
    pub(super) fn streams(&mut self) -> [&mut Vec<u8>; 2] {
        match self.setup.shape {
            Shape::Plain => [&mut self.back.said, &mut self.there.said],
            Shape::Client => [&mut self.inbound.expected, &mut self.outbound.said],
            Shape::Server | Shape::Echo => [&mut self.outbound.said, &mut self.inbound.expected],
        }
    }

    /// What the stream of leg 0 names so far.
    pub(super) fn read_name(&self) -> Result<Option<Named>, ConnectError> {
        let (stream, first_end) = match self.setup.shape {
            Shape::Plain => (&self.there.said, None),
            Shape::Client => (&self.outbound.said, None),
            Shape::Server | Shape::Echo => (&self.inbound.expected, self.inbound.first_end),
        };
        Named::read(stream, first_end, self.setup.head)
    }

    /// A bare head is known by the end of its message alone.
    pub(super) fn check_bare_head(&self) {
        let bare = Some(Connect::Forward(Form::Bare));
        let (Shape::Client, Some(named)) = (self.setup.shape, &self.named) else { return };
        if self.setup.names == bare {
            let [_, head] = named.told(Connect::Forward(Form::Bare));
            let other = self.outbound.first.is_some_and(|len| len != head.len());
            assert!(!other, "a bare head is not a message of its own");
        }
    }

    /// With which status leg 0 was refused.
    pub(super) fn status(&self, ended: Option<Ended>) -> Option<Status> {
        self.refused.or_else(|| match ended?.why {
            Why::Refused(status) => Some(status),
            _ => None,
        })
    }

    /// What leg 0 is told where no relay begins: why, if it awaits an answer, and nothing else.
    pub(super) fn check_refused(&self, told: &[u8], whole: bool, ended: Option<Ended>) {
        let awaits = match (self.setup.names, &self.named) {
            (None, _) => matches!(self.setup.shape, Shape::Server | Shape::Echo),
            (Some(Connect::Answer), Some(named)) => named.form == Form::Full,
            (Some(_), _) => true,
        };
        match self.status(ended) {
            Some(status) if awaits => check_answer(told, status, whole),
            _ => assert!(told.is_empty(), "an answer without a question"),
        }
    }

    /// Whether leg 0 awaits from leg 1 the answer to its `CONNECT`.
    pub(super) fn owes_answer(&self) -> bool {
        let told = match self.setup.shape {
            Shape::Plain => &self.back.said,
            _ => &self.inbound.expected,
        };
        let passed_on = self.setup.names == Some(Connect::Forward(Form::Full));
        self.connected && passed_on && told.is_empty()
    }

    pub(super) fn note_stand_in(&mut self, sockets: &[Socket; 2], link: &Link) {
        let is_told = !sockets[0].taken.is_empty() || !link.waiting(0).0.is_empty();
        self.stood_in |= self.owes_answer() && is_told;
    }

    /// What leg 0 is told where the far end has not answered its `CONNECT`. If nobody else has
    /// ended it, leg 0 does not go without.
    pub(super) fn check_stand_in(&self, told: &[u8], whole: bool, ended: Option<Ended>) {
        let by = ended.map(|ended| (ended.by, ended.why));
        let theirs = matches!(by, Some((By::Target, _)));
        let late = match by {
            Some((By::Target, why)) => why == Why::Unanswered,
            _ => told.starts_with(b"HTTP/1.1 504 "),
        };
        if !told.is_empty() || whole && theirs {
            let status = if late { Status::GatewayTimeout } else { Status::BadGateway };
            check_answer(told, status, whole);
        }
    }
}

/// The close code that says the same as an HTTP status, where the WebSocket is open already.
pub fn close_code(status: Status) -> u16 {
    match status.code() {
        503 => 1013,
        502 | 504 => 1014,
        _ => 1008,
    }
}

/// `told` is the beginning of an answer with that status, or all of it if it is `whole`.
fn check_answer(told: &[u8], status: Status, whole: bool) {
    let line = format!("HTTP/1.1 {} ", status.code());
    let n = told.len().min(line.len());
    assert_eq!(told[..n], line.as_bytes()[..n], "another answer");
    if !whole {
        return;
    }
    let text = std::str::from_utf8(told).expect("an answer is text");
    let (head, body) = text.split_once("\r\n\r\n").expect("an answer is whole");
    let announced = head.lines().find_map(|field| field.strip_prefix("Content-Length: "));
    let len: usize = announced.and_then(|len| len.parse().ok()).expect("an answer has a length");
    // Of HEAD, the body is only announced.
    assert!(body.is_empty() || body.len() == len, "a body of another length");
}
