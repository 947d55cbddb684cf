//! What must come out of a connection, given what went in.
//!
//! Knows nothing of rings, deadlines or states: only that a stream has one order, that what was
//! accepted is delivered, and that nothing follows a Close.

use ws_tcp_proxy::buf::hot::Hot;
use ws_tcp_proxy::proto::close::Close;
use ws_tcp_proxy::proto::encoding::Encoding;
use ws_tcp_proxy::proto::frame::{Opcode, Role};
use ws_tcp_proxy::proto::mask::Keys;
use ws_tcp_proxy::proto::message::Kind;
use ws_tcp_proxy::session::ended::{By, Why};
use ws_tcp_proxy::session::link::Link;
use ws_tcp_proxy::session::{Framing, Options, Session, Stop};

use crate::ear::{assert_begins, messages, payloads, Ear, Said};
use crate::socket::Socket;

/// What the connection was told at its birth.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    pub encoding: Encoding,
    pub lossy: bool,
    pub shape: Shape,
    pub max_message: u64,
    /// The `Send` deadline may drop a leg with bytes unread.
    pub drops_the_stuck: bool,
    /// The `Idle` or `Lifetime` deadline may end what nobody else ends.
    pub closes_in_time: bool,
}

/// Who speaks WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Leg 0; leg 1 is a stream of bytes.
    Server,
    /// Leg 0, to itself.
    Echo,
    /// Leg 1, which we ask for it; leg 0 is a stream of bytes.
    Client,
    /// Nobody.
    Plain,
}

impl Shape {
    /// The leg of the WebSocket peer, or of whoever stands for it.
    pub fn peer(self) -> usize {
        usize::from(self == Self::Client)
    }

    /// The leg of the byte stream.
    pub fn stream(self) -> usize {
        1 - self.peer()
    }

    /// What we are to the peer.
    fn role(self) -> Role {
        match self {
            Self::Client => Role::Client,
            _ => Role::Server,
        }
    }
}

/// Both directions.
pub struct Model {
    setup: Setup,
    inbound: Inbound,
    outbound: Outbound,
    /// From leg 0 to leg 1 where nobody speaks WebSocket.
    there: Way,
    /// And from leg 1 to leg 0.
    back: Way,
    /// The peer's messages and Pings, as frames.
    peer: Ear,
    connected: bool,
    closed_by_us: bool,
}

impl Model {
    /// Nothing has been said.
    pub fn new(setup: Setup) -> Self {
        Self {
            setup,
            inbound: Inbound::new(setup),
            outbound: Outbound::new(setup.shape.role().peer()),
            peer: Ear::until_close(setup.shape.role(), setup.max_message),
            there: Way::default(),
            back: Way::default(),
            connected: false,
            closed_by_us: false,
        }
    }

    /// Whether it may last as long as it likes, although one of its streams has ended.
    pub fn may_go_on(&self, link: &Link) -> bool {
        let ended_well = link.ended().is_some_and(|ended| ended.why == Why::Eof);
        let left_alone = !self.closed_by_us && !self.setup.closes_in_time;
        self.setup.shape == Shape::Plain && ended_well && left_alone
    }

    // What happens.

    /// The target is there, and the peer is told so with these bytes.
    pub fn on_connected(&mut self, response: &[u8]) {
        assert!(!std::mem::replace(&mut self.connected, true), "connected twice");
        self.outbound.response = response.to_vec();
    }

    /// The link is about to be given bytes of leg `side`.
    pub fn on_read(&mut self, side: usize, bytes: &[u8], link: &Link) {
        if !self.connected {
            return; // refused: what comes is dropped
        }
        if self.setup.shape == Shape::Plain {
            let owed = self.may_go_on(link) || link.ended().is_none();
            let way = match side {
                0 => &mut self.there,
                _ => &mut self.back,
            };
            way.said.extend_from_slice(bytes);
            if owed {
                way.owed = way.said.len();
            }
        } else if side == self.setup.shape.peer() {
            self.peer.hear(bytes);
            self.inbound.read(bytes);
        } else {
            self.outbound.said.extend_from_slice(bytes);
            // What a target that has failed had said before still counts, unless another reason to
            // close is there.
            let failed = Some((By::side(side), Why::Reset));
            let cause = link.ended().map(|ended| (ended.by, ended.why));
            if cause.is_none() || cause == failed && !self.inbound.over && !self.closed_by_us {
                self.outbound.owed = self.outbound.said.len();
            }
        }
    }

    /// We close it.
    pub fn on_close(&mut self) {
        self.closed_by_us = true;
    }

    /// Leg `side` sends its FIN.
    pub fn on_shut(&mut self, side: usize, socket: &Socket, link: &Link) {
        if self.setup.shape == Shape::Plain {
            let way = [&self.back, &self.there][side];
            assert!(socket.taken.len() >= way.owed, "FIN before the last byte");
        } else if side == self.setup.shape.stream() && (self.connected || side == 1) {
            assert_eq!(socket.taken.len(), self.inbound.expected.len(), "FIN before the last byte");
        } else if self.connected {
            self.outbound.listen(socket);
            assert!(self.outbound.close_heard, "FIN without a Close: {link:?}");
        } else if self.setup.shape == Shape::Client {
            assert!(socket.taken.is_empty(), "an answer without a question");
        } else {
            assert!(socket.taken.starts_with(b"HTTP/1.1 "), "FIN without an answer");
        }
    }

    /// The socket of leg `side`, which has nothing more to do, is closed.
    pub fn on_closed(&mut self, side: usize, socket: &Socket, link: &Link) {
        let may_reset = self.setup.drops_the_stuck || socket.is_broken();
        assert!(may_reset || !socket.has_unread(), "leg {side} closes with bytes unread: {link:?}");
    }

    /// The connection is finished, or given up.
    pub fn on_over(&mut self, given_up: bool, sockets: &[Socket; 2], link: &Link) {
        self.check(sockets, link);
        assert!(link.ended().is_some(), "it is over for no reason");
        if given_up || self.setup.drops_the_stuck || !self.connected {
            return;
        }
        let target = &sockets[self.setup.shape.stream()];
        let echo = self.setup.shape == Shape::Echo;
        let delivered = target.shut || target.is_broken() || echo;
        assert!(delivered, "a good end without the target's FIN: {link:?}");
    }

    // What must be true.

    /// At any time: everything that came out went in, in that order.
    pub fn check(&mut self, sockets: &[Socket; 2], link: &Link) {
        if !self.connected {
            return;
        }
        let shape = self.setup.shape;
        if shape == Shape::Plain {
            self.there.check(&sockets[1]);
            return self.back.check(&sockets[0]);
        }
        self.inbound.check(&sockets[shape.stream()]);
        self.outbound.listen(&sockets[shape.peer()]);
        if shape == Shape::Echo {
            assert_begins(&self.peer.said, &self.outbound.ear.said);
        } else {
            self.outbound.unpack(self.setup.encoding);
            let expected = carried(self.setup, &self.outbound.said);
            let payload = &self.outbound.payload;
            assert!(expected.starts_with(payload), "the peer hears what the target did not say");
        }
        self.check_pongs();
        if self.outbound.close_heard {
            self.check_close(link);
        }
    }

    /// With nothing left to do: everything that went in came out.
    pub fn check_rest(&mut self, sockets: &[Socket; 2], link: &Link) {
        if !self.connected {
            return;
        }
        let shape = self.setup.shape;
        if shape == Shape::Plain {
            let lost = sockets.iter().any(Socket::is_broken);
            for (way, sink) in [(&self.back, 0), (&self.there, 1)] {
                let waiting = !link.waiting(sink).0.is_empty() || link.is_done(sink);
                let all = sockets[sink].taken.len() >= way.owed;
                assert!(lost || waiting || all, "loss on the way to leg {sink}");
            }
            return;
        }
        let (peer, stream) = (&sockets[shape.peer()], &sockets[shape.stream()]);
        let clear = |side: usize| link.waiting(side).0.is_empty();
        if shape != Shape::Echo && clear(shape.stream()) && !link.is_done(shape.stream()) {
            let all = stream.taken.len() == self.inbound.expected.len();
            assert!(all || stream.is_broken(), "inbound loss");
        }
        let open = link.ended().is_none() && !peer.is_broken();
        if !open || !clear(shape.peer()) {
            return;
        }
        self.check_all_heard(self.outbound.said.len());
        assert_eq!(self.pings().last(), self.pongs().last(), "a Ping without its Pong");
    }

    /// The peer has heard our Close: no byte that was read before that was due is missing.
    fn check_close(&self, link: &Link) {
        let why = link.ended().map(|ended| ended.why);
        if self.setup.shape != Shape::Echo || why == Some(Why::Close) {
            self.check_all_heard(self.outbound.owed);
        }
    }

    fn check_all_heard(&self, owed: usize) {
        if self.setup.shape == Shape::Echo {
            assert_eq!(messages(&self.peer.said), messages(&self.outbound.ear.said));
        } else {
            let mut owed = carried(self.setup, &self.outbound.said[..owed]);
            if self.setup.lossy && self.setup.encoding == Encoding::Text {
                owed = without_tail(owed);
            }
            assert!(self.outbound.payload.len() >= owed.len(), "outbound loss");
        }
    }

    /// Each Pong answers a Ping, in their order; of several Pings the latest may do (§5.5.3).
    fn check_pongs(&self) {
        let mut pings = self.pings();
        for pong in self.pongs() {
            assert!(pings.any(|ping| ping == pong), "a Pong that nobody asked for");
        }
    }

    fn pings(&self) -> impl Iterator<Item = &[u8]> {
        payloads(&self.peer.said, Opcode::Ping)
    }

    fn pongs(&self) -> impl Iterator<Item = &[u8]> {
        payloads(&self.outbound.ear.said, Opcode::Pong)
    }
}

/// One way of a connection of two byte streams.
#[derive(Debug, Default)]
struct Way {
    said: Vec<u8>,
    /// Bytes of it that nothing but a failure may keep from being delivered.
    owed: usize,
    /// How much of it has been compared.
    compared: usize,
}

impl Way {
    fn check(&mut self, sink: &Socket) {
        let new = &sink.taken[self.compared..];
        assert!(self.said[self.compared..].starts_with(new), "one hears what nobody said");
        self.compared = sink.taken.len();
    }
}

/// Peer to target: a session that is fed the same bytes and nothing else.
struct Inbound {
    session: Session,
    hot: Hot,
    keys: Keys,
    /// The peer has said Close, or broken a rule.
    over: bool,
    /// What the target must get.
    expected: Vec<u8>,
    /// How much of it has been compared.
    compared: usize,
}

impl Inbound {
    fn new(setup: Setup) -> Self {
        let Setup { encoding, lossy: text_lossy, max_message, shape, .. } = setup;
        let options = Options { encoding, text_lossy, max_message, ..Options::default() };
        Self {
            session: Session::new(shape.role(), options),
            hot: Hot::new(1 << 16),
            keys: Keys::new(|bytes| bytes.fill(0x55)),
            over: false,
            expected: Vec::new(),
            compared: 0,
        }
    }

    fn read(&mut self, wire: &[u8]) {
        self.hot.fill(wire.len()).copy_from_slice(wire);
        self.hot.commit(wire.len());
        while !self.over {
            let stop = self.session.decode(&mut self.hot, &mut self.keys, &mut 0);
            self.expected.extend_from_slice(self.hot.output());
            self.hot.drop_output();
            self.over = matches!(stop, Ok(Stop::Closed) | Err(_));
            if stop == Ok(Stop::Drained) {
                return;
            }
        }
    }

    fn check(&mut self, target: &Socket) {
        let new = &target.taken[self.compared..];
        assert!(
            self.expected[self.compared..].starts_with(new),
            "the target gets what the peer did not say"
        );
        self.compared = target.taken.len();
    }
}

/// Target to peer: what the target said, and a client that listens.
struct Outbound {
    response: Vec<u8>,
    said: Vec<u8>,
    /// Bytes of it that were read before the connection began to end.
    owed: usize,
    ear: Ear,
    /// Bytes of the wire that the ear has heard, the response included.
    heard: usize,
    /// What the client makes of the messages.
    payload: Vec<u8>,
    /// Messages that are in `payload`.
    unpacked: usize,
    close_heard: bool,
}

impl Outbound {
    /// For the peer in `role`.
    fn new(role: Role) -> Self {
        Self {
            response: Vec::new(),
            said: Vec::new(),
            owed: 0,
            ear: Ear::until_close(role, 0),
            heard: 0,
            payload: Vec::new(),
            unpacked: 0,
            close_heard: false,
        }
    }

    /// Hears what is new on the wire.
    fn listen(&mut self, peer: &Socket) {
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
                Close::decode(payload).expect("our Close keeps the rules");
                self.close_heard = true;
            }
            Some(Said::Error(error)) => panic!("our frames break a rule: {error}"),
            _ => {}
        }
    }

    /// Takes the bytes out of the messages that are complete; a raw stream's come whole.
    fn unpack(&mut self, encoding: Encoding) {
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
            }
            self.unpacked += 1;
        }
    }
}

/// What the encoding can carry of a stream of bytes.
fn carried(setup: Setup, said: &[u8]) -> Vec<u8> {
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
fn without_tail(mut text: Vec<u8>) -> Vec<u8> {
    if text.ends_with("\u{fffd}".as_bytes()) {
        text.truncate(text.len() - 3);
    }
    text
}
