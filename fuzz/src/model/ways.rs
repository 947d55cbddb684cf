//! The two ways of a connection: what goes in, and what must come out.

use ws_tcp_proxy::buf::hot::Hot;
use ws_tcp_proxy::proto::close::{Close, CloseCode};
use ws_tcp_proxy::proto::encoding::Encoding;
use ws_tcp_proxy::proto::frame::{Opcode, Role};
use ws_tcp_proxy::proto::mask::Keys;
use ws_tcp_proxy::proto::message::Kind;
use ws_tcp_proxy::session::{Options, Passing, Session, Stop};

use super::Setup;
use crate::ear::{Ear, Said};
use crate::socket::Socket;

/// One way of a connection of two byte streams.
#[derive(Debug, Default)]
pub struct Way {
    pub said: Vec<u8>,
    /// Bytes of it that nothing but a failure may keep from being delivered.
    pub owed: usize,
    /// How much of it has been compared.
    compared: usize,
}

impl Way {
    pub fn check(&mut self, sink: &Socket) {
        let new = &sink.taken[self.compared..];
        assert!(self.said[self.compared..].starts_with(new), "one hears what nobody said");
        self.compared = sink.taken.len();
    }
}

/// Peer to target: a session that is fed the same bytes and nothing else.
pub struct Inbound {
    session: Session,
    hot: Hot,
    keys: Keys,
    /// The peer has said Close, or broken a rule.
    pub over: bool,
    /// Where its first message that says something ends.
    pub first_end: Option<usize>,
    /// What the target must get.
    pub expected: Vec<u8>,
    /// How much of it has been compared.
    compared: usize,
}

impl Inbound {
    pub fn new(setup: Setup) -> Self {
        let Setup { encoding, lossy: text_lossy, max_message, shape, .. } = setup;
        let passing = Passing::Pieces;
        let options = Options { encoding, text_lossy, passing, max_message, ..Options::default() };
        Self {
            session: Session::new(shape.role(), options),
            hot: Hot::new(1 << 16),
            keys: Keys::new(|bytes| bytes.fill(0x55)),
            over: false,
            first_end: None,
            expected: Vec::new(),
            compared: 0,
        }
    }

    pub fn read(&mut self, wire: &[u8]) {
        self.hot.fill(wire.len()).copy_from_slice(wire);
        self.hot.commit(wire.len());
        while !self.over {
            let stop = self.session.decode(&mut self.hot, &mut self.keys, &mut 0);
            self.expected.extend_from_slice(self.hot.output());
            self.hot.drop_output();
            self.over = matches!(stop, Ok(Stop::Closed) | Err(_));
            let ends = matches!(stop, Ok(Stop::Piece { ends: true, .. }));
            if ends && !self.expected.is_empty() {
                self.first_end.get_or_insert(self.expected.len());
            }
            if stop == Ok(Stop::Drained) {
                return;
            }
        }
    }

    pub fn check(&mut self, target: &Socket) {
        let new = &target.taken[self.compared..];
        assert!(
            self.expected[self.compared..].starts_with(new),
            "the target gets what the peer did not say"
        );
        self.compared = target.taken.len();
    }
}

/// Target to peer: what the target said, and a client that listens.
pub struct Outbound {
    /// What the peer's leg is sent before the first frame.
    pub response: Vec<u8>,
    pub said: Vec<u8>,
    /// Bytes of it that were read before the connection began to end.
    pub owed: usize,
    pub ear: Ear,
    /// Bytes of the wire that the ear has heard, the response included.
    heard: usize,
    /// What the client makes of the messages.
    pub payload: Vec<u8>,
    /// Bytes in the first message that says something.
    pub first: Option<usize>,
    /// Messages that are in `payload`.
    unpacked: usize,
    /// The code of our Close.
    pub closed: Option<CloseCode>,
}

impl Outbound {
    /// For the peer in `role`.
    pub fn new(role: Role) -> Self {
        Self {
            response: Vec::new(),
            said: Vec::new(),
            owed: 0,
            ear: Ear::until_close(role, 0),
            heard: 0,
            payload: Vec::new(),
            first: None,
            unpacked: 0,
            closed: None,
        }
    }

    /// Hears what is new on the wire.
    pub fn listen(&mut self, peer: &Socket) {
        let response = self.response.len();
        if self.heard < response {
            self.heard = peer.taken.len().min(response);
            assert_eq!(peer.taken[..self.heard], self.response[..self.heard]);
        }
        let new = &peer.taken[self.heard..];
        self.heard = peer.taken.len();
        let unheard = self.ear.hear(new);
        assert_eq!(unheard, 0, "something follows our Close");
        match self.ear.said.last() {
            Some(Said::Control(Opcode::Close, payload)) => {
                let close = Close::decode(payload).expect("our Close keeps the rules");
                self.closed = Some(close.code);
            }
            Some(Said::Error(error)) => panic!("our frames break a rule: {error}"),
            _ => {}
        }
    }

    /// Takes the bytes out of the messages that are complete; a raw stream's come whole.
    pub fn unpack(&mut self, encoding: Encoding) {
        while let Some(said) = self.ear.said.get(self.unpacked) {
            if let Said::Message { kind, bytes, ended } = said {
                if !ended {
                    return;
                }
                let is_text = *kind == Kind::Text;
                assert_eq!(is_text, matches!(encoding, Encoding::Text | Encoding::Base64));
                assert!(!bytes.is_empty(), "a message of nothing");
                if is_text {
                    std::str::from_utf8(bytes).expect("text is UTF-8, message by message");
                }
                if encoding == Encoding::Base64 {
                    let (bytes, right) = crate::base64::decode(bytes);
                    assert!(right, "our base64 is whole, message by message");
                    self.payload.extend(bytes);
                } else if encoding == Encoding::Chunk {
                    let (data, flaw) = crate::chunk::parse(bytes);
                    assert_eq!(flaw, None, "our chunks are whole, message by message");
                    self.payload.extend(data);
                } else {
                    self.payload.extend_from_slice(bytes);
                }
                if !self.payload.is_empty() {
                    self.first.get_or_insert(self.payload.len());
                }
            }
            self.unpacked += 1;
        }
    }
}

/// What the encoding can carry of a stream of bytes.
pub fn carried(setup: Setup, said: &[u8]) -> Vec<u8> {
    match setup.encoding {
        Encoding::Text if setup.lossy => String::from_utf8_lossy(said).into_owned().into_bytes(),
        Encoding::Text => {
            let good = std::str::from_utf8(said).map_or_else(|e| e.valid_up_to(), str::len);
            said[..good].to_vec()
        }
        Encoding::Binary | Encoding::Base64 | Encoding::Chunk => said.to_vec(),
    }
}

/// Without a U+FFFD at the end, which may stand for a character whose rest is to come.
pub fn without_tail(mut text: Vec<u8>) -> Vec<u8> {
    if text.ends_with("\u{fffd}".as_bytes()) {
        text.truncate(text.len() - 3);
    }
    text
}
