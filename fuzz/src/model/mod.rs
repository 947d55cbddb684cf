//! What must come out of a connection, given what went in.
//!
//! Knows nothing of rings, deadlines or states: only that a stream has one order, that what was
//! accepted is delivered, that nothing follows a Close, and what a `CONNECT` head asks for.

mod lingering;
mod naming;
mod ways;

use std::time::Duration;

use ws_tcp_proxy::config::Destination;
use ws_tcp_proxy::policy::admit::Status;
use ws_tcp_proxy::proto::close::{Close, CloseCode};
use ws_tcp_proxy::proto::encoding::Encoding;
use ws_tcp_proxy::proto::frame::{Opcode, Role};
use ws_tcp_proxy::proto::handshake::HeadLimits;
use ws_tcp_proxy::session::deadlines::Time;
use ws_tcp_proxy::session::ended::{By, Ended, Why};
use ws_tcp_proxy::session::link::{Connect, Link};

use crate::ear::{assert_begins, messages, payloads, Ear};
use crate::socket::Socket;
use lingering::Lingering;
use naming::{close_code, Named};
use ways::{carried, without_tail, Inbound, Outbound, Way};

/// What the connection was told at its birth.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    pub encoding: Encoding,
    pub lossy: bool,
    pub shape: Shape,
    /// The stream of leg 0 begins with a `CONNECT` head, with which this is done.
    pub names: Option<Connect>,
    /// What a `CONNECT` head may have.
    pub head: HeadLimits,
    pub half_close: Option<Duration>,
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
    /// What the head at the start of the stream has named.
    named: Option<Named>,
    /// Leg 0 is let in, although its target is not known.
    admitted: bool,
    connected: bool,
    refused: Option<Status>,
    closed_by_us: bool,
    /// Leg 0 has its answer to `CONNECT` from us, since the far end owes it.
    stood_in: bool,
    lingering: Lingering,
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
            named: None,
            admitted: false,
            connected: false,
            refused: None,
            closed_by_us: false,
            stood_in: false,
            lingering: Lingering::new(setup.half_close),
        }
    }

    /// Whether it may last as long as it likes, although one of its streams has ended.
    pub fn may_go_on(&self, ended: Option<Ended>) -> bool {
        let ended_well = ended.is_some_and(|ended| ended.why == Why::Eof);
        let left_alone = !self.closed_by_us && !self.setup.closes_in_time && !self.stood_in;
        self.setup.shape == Shape::Plain && ended_well && left_alone && !self.owes_answer()
    }

    /// Whether the peer was the first to end it, by its Close.
    fn is_closed_by_peer(&self, ended: Option<Ended>) -> bool {
        let peer = By::side(self.setup.shape.peer());
        ended.is_some_and(|ended| (ended.by, ended.why) == (peer, Why::Close))
    }

    /// Whether the peer, which has said Close, is still owed what the other side says.
    fn lingers(&self, ended: Option<Ended>) -> bool {
        let theirs = payloads(&self.peer.said, Opcode::Close).last();
        // With another code the peer says that it has failed.
        let is_good = matches!(theirs, Some([] | [0x03, 0xe8, ..]));
        self.is_closed_by_peer(ended)
            && is_good
            && self.connected
            && self.setup.shape != Shape::Echo
            && !self.closed_by_us
            && self.lingering.lasts()
    }

    // What happens.

    /// The loop is about to serve.
    pub fn on_visit(&mut self, now: Time, sockets: &[Socket; 2], link: &Link) {
        self.lingering.on_visit(now);
        self.note_stand_in(sockets, link);
    }

    /// The loop has served.
    pub fn on_visited(&mut self, now: Time, sockets: &[Socket; 2], link: &Link) {
        let closed_by_peer = self.is_closed_by_peer(link.ended());
        self.lingering.on_visited(now, sockets, closed_by_peer);
        self.note_stand_in(sockets, link);
    }

    /// Leg 0 is let in with these bytes, and its stream is to name the target.
    pub fn on_admitted(&mut self, response: &[u8]) {
        assert!(!std::mem::replace(&mut self.admitted, true), "let in twice");
        self.outbound.response = response.to_vec();
    }

    /// Leg 0 has asked, and its stream has named this target, if it was to name one.
    pub fn on_request(&mut self, target: Option<&Destination>) {
        assert_eq!(target.is_some(), self.setup.names.is_some());
        let Some(target) = target else { return };
        let named = self.read_name().ok().flatten().expect("it is named by a head");
        assert_eq!(format!("tcp://{}", named.target), target.to_string());
        self.named = Some(named);
    }

    /// The target, which is there, is asked for a WebSocket with these bytes.
    pub fn on_asked(&mut self, request: &[u8]) {
        self.outbound.response = request.to_vec();
    }

    /// The relay begins, and leg 0 is told so with these bytes.
    pub fn on_connected(&mut self, response: &[u8]) {
        assert!(!std::mem::replace(&mut self.connected, true), "connected twice");
        match self.setup.shape {
            Shape::Server | Shape::Echo if !self.admitted => {
                self.outbound.response = response.to_vec();
            }
            _ => assert!(response.is_empty(), "a response that nobody awaits"),
        }
        let (Some(named), Some(connect)) = (&self.named, self.setup.names) else { return };
        let (len, [near, far]) = (named.len, named.told(connect));
        let [back, there] = self.streams();
        there.splice(..len, far);
        back.splice(..0, near);
        for way in [&mut self.there, &mut self.back] {
            way.owed = way.said.len();
        }
        self.outbound.owed = self.outbound.said.len();
    }

    /// Leg 0 does not get what it asked for.
    pub fn on_refused(&mut self, status: Status) {
        self.refused = Some(status);
    }

    /// The link was given bytes of leg `side`, when it had ended so.
    pub fn on_read(&mut self, side: usize, bytes: &[u8], ended: Option<Ended>) {
        if side == self.setup.shape.peer() && (self.connected || self.admitted) {
            self.peer.hear(bytes);
        }
        let failed_at_most = matches!(ended.map(|ended| ended.why), None | Some(Why::Reset));
        let is_naming = side == 0 && self.is_naming() && failed_at_most;
        if !self.connected && !is_naming {
            return; // a head of HTTP, or refused: what comes is dropped
        }
        // The other side has been told the end.
        let is_late = self.stood_in && side == 1
            || side == self.setup.shape.peer()
                && ended.is_some_and(|ended| ended.why == Why::PongTimeout);
        if is_late {
            return;
        }
        if self.setup.shape == Shape::Plain {
            let owed = self.may_go_on(ended) || ended.is_none();
            let way = match side {
                0 => &mut self.there,
                _ => &mut self.back,
            };
            way.said.extend_from_slice(bytes);
            if owed {
                way.owed = way.said.len();
            }
        } else if side == self.setup.shape.peer() {
            self.inbound.read(bytes);
        } else {
            self.outbound.said.extend_from_slice(bytes);
            // What a target that has failed had said before still counts, unless another reason to
            // close is there.
            let failed = Some((By::side(side), Why::Reset));
            let cause = ended.map(|ended| (ended.by, ended.why));
            let still = cause == failed && !self.inbound.over && !self.closed_by_us;
            if cause.is_none() || still || self.lingers(ended) {
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
        let shape = self.setup.shape;
        if !self.connected && !self.admitted {
            assert_eq!(side, 0, "FIN to a target that nobody has");
            self.check_refused(&socket.taken, true, link.ended());
        } else if side == 0 && self.owes_answer() {
            self.check_stand_in(&socket.taken, true, link.ended());
        } else if shape == Shape::Plain {
            let way = [&self.back, &self.there][side];
            assert!(socket.taken.len() >= way.owed, "FIN before the last byte");
        } else if side == shape.stream() {
            assert_eq!(socket.taken.len(), self.inbound.expected.len(), "FIN before the last byte");
        } else {
            self.outbound.listen(socket);
            assert!(self.outbound.closed.is_some(), "FIN without a Close: {link:?}");
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
        let shape = self.setup.shape;
        if !self.connected {
            return self.check_unconnected(sockets, link);
        }
        self.note_stand_in(sockets, link);
        if self.stood_in {
            self.check_stand_in(&sockets[0].taken, false, link.ended());
        }
        if shape == Shape::Plain {
            self.there.check(&sockets[1]);
            if !self.stood_in {
                self.back.check(&sockets[0]);
            }
            return;
        }
        if !self.stood_in {
            self.inbound.check(&sockets[shape.stream()]);
        }
        self.outbound.listen(&sockets[shape.peer()]);
        if shape == Shape::Echo {
            assert_begins(&self.peer.said, &self.outbound.ear.said);
        } else {
            self.outbound.unpack(self.setup.encoding);
            let expected = carried(self.setup, &self.outbound.said);
            let payload = &self.outbound.payload;
            assert!(expected.starts_with(payload), "the peer hears what the target did not say");
            self.check_bare_head();
        }
        self.check_pongs();
        if let Some(code) = self.outbound.closed {
            self.check_close(code, sockets, link);
        }
    }

    /// The same, while leg 1 is not relayed to.
    fn check_unconnected(&mut self, sockets: &[Socket; 2], link: &Link) {
        let asked = match self.setup.shape {
            Shape::Client => &self.outbound.response[..],
            _ => &[],
        };
        assert!(asked.starts_with(&sockets[1].taken), "more than the question goes to a stranger");
        if !self.admitted {
            return self.check_refused(&sockets[0].taken, false, link.ended());
        }
        self.outbound.listen(&sockets[0]);
        self.outbound.unpack(self.setup.encoding);
        let closed = self.outbound.closed;
        self.check_refused(&self.outbound.payload, closed.is_some(), link.ended());
        self.check_pongs();
        if let (Some(code), Some(status)) = (closed, self.status(link.ended())) {
            assert_eq!(code.get(), close_code(status), "a Close that does not say {status:?}");
        }
    }

    /// With nothing left to do: everything that went in came out.
    pub fn check_rest(&mut self, sockets: &[Socket; 2], link: &Link) {
        let shape = self.setup.shape;
        if self.connected && shape == Shape::Plain {
            return self.check_ways(sockets, link);
        }
        if self.is_naming() && link.ended().is_none() {
            let named = self.read_name().is_ok_and(|named| named.is_some());
            assert!(!named, "it is named, and nobody goes there");
        }
        if !self.connected && !self.admitted {
            return;
        }
        let (peer, stream) = (&sockets[shape.peer()], &sockets[shape.stream()]);
        let clear = |side: usize| link.waiting(side).0.is_empty();
        let relays = self.connected && shape != Shape::Echo;
        if relays && clear(shape.stream()) && !link.is_done(shape.stream()) {
            let all = stream.taken.len() == self.inbound.expected.len();
            assert!(all || stream.is_broken() || self.stood_in, "inbound loss");
        }
        if peer.is_broken() || link.is_done(shape.peer()) || !clear(shape.peer()) {
            return;
        }
        let lingers = self.lingers(link.ended());
        if self.connected && (link.ended().is_none() || lingers) {
            self.check_all_heard(self.outbound.said.len());
        }
        if link.ended().is_none() || lingers {
            assert_eq!(self.pings().last(), self.pongs().last(), "a Ping without its Pong");
        }
        if self.is_closed_by_peer(link.ended()) && !lingers && !self.lingering.has_expired() {
            assert!(self.outbound.closed.is_some(), "a Close that waits for nobody: {link:?}");
        }
    }

    fn check_ways(&self, sockets: &[Socket; 2], link: &Link) {
        let lost = sockets.iter().any(Socket::is_broken);
        for (way, sink) in [(&self.back, 0), (&self.there, 1)] {
            let waiting = !link.waiting(sink).0.is_empty() || link.is_done(sink);
            let all = sockets[sink].taken.len() >= way.owed;
            assert!(lost || waiting || all, "loss on the way to leg {sink}");
        }
    }

    /// The peer has heard our Close: no byte that was read before that was due is missing, and a
    /// peer that said Close first was not answered while it was still owed something.
    fn check_close(&self, code: CloseCode, sockets: &[Socket; 2], link: &Link) {
        let ended = link.ended();
        let why = ended.map(|ended| ended.why);
        if self.setup.shape != Shape::Echo || why == Some(Why::Close) {
            self.check_all_heard(self.outbound.owed);
        }
        if !self.is_closed_by_peer(ended) {
            return;
        }
        let theirs = payloads(&self.peer.said, Opcode::Close).last().map(Close::decode);
        let theirs = theirs.expect("the peer said Close").expect("one that keeps the rules").code;
        let ours = self.closed_by_us || self.setup.closes_in_time;
        let known = [1007, 1011].contains(&code.get()) || code.get() == 1001 && ours;
        assert!(code == theirs || known, "{theirs:?} is answered by {code:?}");
        let stream = &sockets[self.setup.shape.stream()];
        let timed = self.setup.drops_the_stuck || self.setup.closes_in_time;
        let strict = self.setup.encoding == Encoding::Text && !self.setup.lossy;
        let early = self.lingers(ended) && stream.is_open() && !timed && !strict;
        assert!(!early, "the peer's Close is answered while the other side still speaks");
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
