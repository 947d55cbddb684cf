//! A WebSocket for programs that bring their own I/O: bytes in, whole messages out, and back.
//!
//! Owns a [`Session`] and what it needs to work on, and gathers the messages that the proxy would
//! only pass on. Never touches a socket or a clock; the opening handshake is
//! [`crate::proto::handshake`]'s, or of a client [`crate::proto::response`]'s.

use std::collections::VecDeque;

use super::{Options, Passing, Session, Stop, MAX_CONTROL_FRAME};
use crate::buf::hot::Hot;
use crate::proto::close::CloseCode;
use crate::proto::frame::{FrameError, Role};
use crate::proto::mask::Keys;
use crate::proto::message::Kind;

/// Bytes that are looked at together.
const PORTION: usize = 16 << 10;

/// A whole message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Text.
    Text(String),
    /// Any bytes.
    Binary(Vec<u8>),
}

/// One end of a WebSocket whose opening handshake is done.
///
/// A server, from the first byte of a connection to the last; what would be read from a socket is
/// `wire`, and what would be written to it `out`:
///
/// ```
/// use ws_tcp_proxy::net::sys;
/// use ws_tcp_proxy::proto::frame::Role;
/// use ws_tcp_proxy::proto::handshake::{switching_protocols, HeadLimits, Request};
/// use ws_tcp_proxy::proto::mask::Keys;
/// use ws_tcp_proxy::session::endpoint::{Endpoint, Message};
///
/// let mut wire = b"GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
///     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
///     .to_vec();
/// wire.extend(b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"); // RFC 6455, 5.7: a masked "Hello"
///
/// // The handshake. `None` asks for more bytes, an error is answered with a status.
/// let limits = HeadLimits { bytes: 8192, headers: 64 };
/// let (request, len) = Request::parse(&wire, limits)?.expect("all of it is there");
/// assert_eq!(request.path, "/chat");
/// let mut out = switching_protocols(&request.accept, None);
/// assert!(out.starts_with(b"HTTP/1.1 101 "));
///
/// // What follows it, in portions of any size. Messages of more than 1 MiB are an error.
/// let mut server = Endpoint::new(Role::Server, 1 << 20, Keys::new(sys::entropy));
/// for portion in wire[len..].chunks(3) {
///     server.hear(portion)?;
/// }
/// while let Some(message) = server.next_message() {
///     assert_eq!(message, Message::Text("Hello".into()));
///     server.say(&message);
/// }
/// out = server.take_outgoing();
/// assert_eq!(out, b"\x81\x05Hello");
///
/// // The client says Close, 1000; that is answered, and then a server ends TCP.
/// server.hear(b"\x88\x82\0\0\0\0\x03\xe8")?;
/// assert_eq!(server.take_outgoing(), b"\x88\x02\x03\xe8");
/// assert!(server.ends_transport());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// And a client, which masks what it says and waits for the server to end TCP:
///
/// ```
/// use ws_tcp_proxy::net::sys;
/// use ws_tcp_proxy::proto::close::CloseCode;
/// use ws_tcp_proxy::proto::frame::Role;
/// use ws_tcp_proxy::proto::handshake::HeadLimits;
/// use ws_tcp_proxy::proto::mask::Keys;
/// use ws_tcp_proxy::proto::response::ClientRequest;
/// use ws_tcp_proxy::session::endpoint::{Endpoint, Message};
///
/// // The handshake, with the nonce that RFC 6455 has for an example; `keys.nonce()` makes a real one.
/// let mut keys = Keys::new(sys::entropy);
/// let request = ClientRequest::new("a", "/chat", &[], &[], *b"the sample nonce");
/// let (head, expects) = request.into_parts();
/// assert!(head.starts_with(b"GET /chat HTTP/1.1\r\n")); // to be sent
/// let mut wire = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
///     Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
///     .to_vec();
/// wire.extend(b"\x82\x03\x01\x02\x03");
/// let limits = HeadLimits { bytes: 8192, headers: 64 };
/// let len = expects.check(&wire, limits)?.expect("all of it is there");
///
/// let mut client = Endpoint::new(Role::Client, 0, keys);
/// client.hear(&wire[len..])?;
/// assert_eq!(client.next_message(), Some(Message::Binary(vec![1, 2, 3])));
/// client.say(&Message::Text("thanks".into()));
/// client.close(CloseCode::NORMAL, "done");
/// let out = client.take_outgoing();
/// assert_eq!(out[..2], [0x81, 0x80 | 6]); // text, masked, 6 bytes; then the Close
/// client.hear(b"\x88\x02\x03\xe8")?;
/// assert_eq!(client.peer_code(), Some(CloseCode::NORMAL));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Endpoint {
    session: Session,
    hot: Hot,
    keys: Keys,
    /// The beginning of a message whose end has not come.
    begun: Vec<u8>,
    heard: VecDeque<Message>,
    outgoing: Vec<u8>,
}

impl Endpoint {
    /// An endpoint that hears messages of at most `max_message` bytes, 0 for no limit: a message is
    /// held whole. Only a client takes masking-keys from `keys`.
    pub fn new(role: Role, max_message: u64, keys: Keys) -> Self {
        let options = Options { passing: Passing::Messages, max_message, ..Options::default() };
        Self {
            session: Session::new(role, options),
            hot: Hot::new(PORTION),
            keys,
            begun: Vec::new(),
            heard: VecDeque::new(),
            outgoing: Vec::new(),
        }
    }

    /// Takes bytes that the peer has sent, however they were cut. What is due in return, a Pong say,
    /// is outgoing then. Behind a Close, or an error, nothing counts any more.
    ///
    /// # Errors
    /// The rule that the peer has broken. A Close that says so is outgoing, and messages that came
    /// before it can still be taken.
    pub fn hear(&mut self, bytes: &[u8]) -> Result<(), FrameError> {
        for portion in bytes.chunks(PORTION) {
            if self.session.has_heard_all() {
                break;
            }
            self.hot.fill(portion.len()).copy_from_slice(portion);
            self.hot.commit(portion.len());
            while !self.hot.input().is_empty() {
                let heard = self.decode();
                self.send_control();
                heard?;
            }
        }
        Ok(())
    }

    /// The next message that has come whole.
    pub fn next_message(&mut self) -> Option<Message> {
        self.heard.pop_front()
    }

    /// Sends a message. `false` if it cannot be sent any more: our Close has been.
    pub fn say(&mut self, message: &Message) -> bool {
        let may = !self.session.is_closing();
        if may {
            let (kind, payload) = match message {
                Message::Text(text) => (Kind::Text, text.as_bytes()),
                Message::Binary(bytes) => (Kind::Binary, &bytes[..]),
            };
            self.outgoing.extend(self.session.message(kind, payload, &mut self.keys));
        }
        may
    }

    /// Sends a Ping.
    pub fn ping(&mut self) {
        self.session.ping();
        self.send_control();
    }

    /// Sends a Close, unless one was sent. The peer may go on until it answers.
    pub fn close(&mut self, code: CloseCode, reason: &'static str) {
        self.session.close(code, reason);
        self.send_control();
    }

    /// What is to be sent to the peer since this was called last.
    pub fn take_outgoing(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.outgoing)
    }

    /// The code of the peer's Close, if it has come.
    pub fn peer_code(&self) -> Option<CloseCode> {
        self.session.peer_code()
    }

    /// Whether it is for us to end the transport, behind what is outgoing (RFC 6455 §7.1.1).
    pub fn ends_transport(&self) -> bool {
        self.session.ends_transport()
    }

    /// The session itself: how many messages, Pings and so on.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Takes what was heard, up to where something is to be sent or a piece of a message ends.
    fn decode(&mut self) -> Result<(), FrameError> {
        let mut answers = u32::MAX; // every Ping gets its Pong
        let stop = self.session.decode(&mut self.hot, &mut self.keys, &mut answers);
        match stop {
            Ok(Stop::Piece { kind, ends }) => {
                self.begun.extend_from_slice(self.hot.output());
                if ends {
                    self.end_message(kind);
                }
            }
            Ok(Stop::Closed) => self.hot.drop_input(),
            Ok(_) => {}
            Err(error) => {
                self.hot.drop_input();
                self.session.fail(error);
            }
        }
        self.hot.drop_output();
        stop.map(drop)
    }

    fn end_message(&mut self, kind: Kind) {
        let whole = std::mem::take(&mut self.begun);
        self.heard.push_back(match kind {
            // The session has checked it: nothing is replaced, and nothing copied.
            Kind::Text => Message::Text(match String::from_utf8(whole) {
                Ok(text) => text,
                Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
            }),
            Kind::Binary => Message::Binary(whole),
        });
    }

    fn send_control(&mut self) {
        let mut frame = [0; MAX_CONTROL_FRAME];
        while let Some(len) = self.session.control(&mut frame, &mut self.keys) {
            self.outgoing.extend_from_slice(&frame[..len]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    fn pair() -> (Endpoint, Endpoint) {
        let keys = || Keys::new(|bytes| bytes.fill(0x5a));
        (Endpoint::new(Role::Client, 0, keys()), Endpoint::new(Role::Server, 100_000, keys()))
    }

    fn all(endpoint: &mut Endpoint) -> Vec<Message> {
        std::iter::from_fn(|| endpoint.next_message()).collect()
    }

    #[test]
    fn messages_arrive_however_they_are_cut() {
        let mut random = Random::new("messages_arrive_however_they_are_cut");
        for _ in 0..50 {
            let (mut client, mut server) = pair();
            let messages: Vec<_> = (0..random.below(20))
                .map(|_| {
                    let len = [0, 1, 125, 126, 70_000][random.below(5)];
                    match random.below(2) {
                        0 => Message::Text("é".repeat(len / 2)),
                        _ => Message::Binary(random.bytes(len)),
                    }
                })
                .collect();
            for message in &messages {
                assert!(client.say(message));
                client.ping();
            }
            let wire = client.take_outgoing();
            let mut rest = &wire[..];
            while !rest.is_empty() {
                let (portion, next) = rest.split_at((1 + random.below(40_000)).min(rest.len()));
                server.hear(portion).unwrap();
                rest = next;
            }
            assert_eq!(all(&mut server), messages);
            assert_eq!(server.session().received(), messages.len() as u64);
            // Every Ping has its Pong.
            let pongs = server.take_outgoing();
            assert_eq!(pongs, [0x8a, 0].repeat(messages.len()));
            client.hear(&pongs).unwrap();
            assert_eq!(client.session().pings().sent(), messages.len() as u32);
        }
    }

    #[test]
    fn a_broken_rule_is_answered_and_what_came_before_is_kept() {
        let (mut client, mut server) = pair();
        client.say(&Message::Text("good".into()));
        let mut wire = client.take_outgoing();
        wire.extend(b"\x82\x05plain");
        assert_eq!(server.hear(&wire), Err(FrameError::Unmasked));
        assert_eq!(all(&mut server), [Message::Text("good".into())]);
        assert_eq!(server.take_outgoing()[2..4], 1002_u16.to_be_bytes());
        assert!(server.ends_transport() && !server.say(&Message::Binary(vec![1])));
        assert_eq!(server.hear(&wire), Ok(()), "it is not listened to any more");
        assert!(all(&mut server).is_empty() && server.take_outgoing().is_empty());
    }

    #[test]
    fn a_message_that_is_too_long_is_refused_before_it_is_held() {
        let (mut client, mut server) = pair();
        client.say(&Message::Binary(vec![0; 100_001]));
        let wire = client.take_outgoing();
        let error = server.hear(&wire[..20]).unwrap_err();
        assert_eq!(error.close_code(), CloseCode::MESSAGE_TOO_BIG);
        assert!(server.begun.is_empty());
    }

    #[test]
    fn text_that_is_none_closes_with_1007() {
        let (_, mut server) = pair();
        let wire = b"\x81\x82\0\0\0\0\xc3\x28";
        assert_eq!(server.hear(wire), Err(FrameError::NotUtf8));
        assert!(all(&mut server).is_empty());
    }

    #[test]
    fn either_may_close_and_a_client_waits_for_the_end() {
        let (mut client, mut server) = pair();
        server.close(CloseCode::try_from(4000).unwrap(), "enough");
        client.hear(&server.take_outgoing()).unwrap();
        assert_eq!(client.peer_code().map(CloseCode::get), Some(4000));
        assert!(!client.ends_transport() && !server.ends_transport());
        server.hear(&client.take_outgoing()).unwrap();
        assert_eq!(server.peer_code().map(CloseCode::get), Some(4000));
        assert!(!client.ends_transport() && server.ends_transport());
    }
}
