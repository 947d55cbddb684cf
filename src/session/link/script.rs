//! The other side of the tests: a loop, a fake clock and two scripted ends.

use std::time::Duration;

use super::*;
use crate::config::Messages;
use crate::config::Route;
use crate::policy::admit::{Refusal, Status};
use crate::policy::gate::Secrets;
use crate::proto::close::Close;
use crate::proto::frame::{FrameHeader, Opcode, MAX_HEADER};
use crate::proto::mask::Mask;
use crate::proto::message::{Decoder, Step as Heard};
use crate::session::ended::By;
use crate::testing;

pub const PEER: usize = 0;
pub const TARGET: usize = 1;

pub const HEAD: &str = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// RFC 6455 §1.3: the answer to a request with its nonce.
pub const ANSWER: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

pub fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// The loop, the clock and both ends.
pub struct Script {
    pub link: Link,
    pub hot: Hot,
    pub pool: Pool,
    keys: Keys,
    limits: Limits,
    messages: Messages,
    pub now: Time,
    /// What each end was sent.
    pub got: [Vec<u8>; 2],
    /// Bytes that each end still takes.
    takes: [usize; 2],
    /// Which end saw our FIN.
    pub fin: [bool; 2],
    /// What each end has said and we have not read.
    pub said: [Vec<u8>; 2],
    pub dials: bool,
    /// Whether its route has pages, and the one that was asked for.
    pub web: bool,
    pub visit: Option<Box<Visit>>,
    /// Whose connection it is.
    pub passed: Option<ProxyHeader>,
    answers: u32,
}

impl Script {
    pub fn new(limits: Limits, messages: Messages) -> Self {
        Self::begin(Entrance::WebSocket { names: None }, limits, messages)
    }

    /// A link of a plain listener.
    pub fn stream() -> Self {
        Self::begin(Entrance::Stream, Limits::default(), Messages::default())
    }

    pub fn begin(entrance: Entrance, limits: Limits, messages: Messages) -> Self {
        let (mut pool, mut keys) = (Pool::new(limits.max_memory, 1), Keys::new(|_| ()));
        let context =
            Context { now: Time(0), limits: &limits, pool: &mut pool, keys: &mut keys, answers: 0 };
        Self {
            link: Link::accepted(entrance, &context),
            hot: Hot::new(limits.buffer_size),
            pool,
            keys,
            messages,
            limits,
            now: Time(0),
            got: Default::default(),
            takes: [usize::MAX; 2],
            fin: [false; 2],
            said: Default::default(),
            dials: false,
            web: false,
            visit: None,
            passed: None,
            answers: 0,
        }
    }

    /// A link past its opening handshake.
    pub fn open(limits: Limits, messages: Messages) -> Self {
        let mut script = Self::new(limits, messages);
        script.peer_sends(HEAD.as_bytes());
        assert!(script.dials);
        script.connect(Far::Raw);
        let head = String::from_utf8(std::mem::take(&mut script.got[PEER])).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        script
    }

    pub fn plain() -> Self {
        Self::open(Limits::default(), Messages::default())
    }

    pub fn with<R>(&mut self, work: impl FnOnce(&mut Link, &mut Hot, &mut Context) -> R) -> R {
        let mut ctx = Context {
            now: self.now,
            limits: &self.limits,
            pool: &mut self.pool,
            keys: &mut self.keys,
            answers: self.answers,
        };
        let result = work(&mut self.link, &mut self.hot, &mut ctx);
        self.answers = ctx.answers;
        result
    }

    pub fn connect(&mut self, far: Far) {
        let messages = self.messages.clone();
        match self.with(|link, _, ctx| link.on_connected(far, &messages, ctx)) {
            Reached::Open(opened) => self.on_open(opened),
            Reached::Asked(request) => self.send(TARGET, &request),
        }
        self.work();
    }

    /// The target is there, and is asked for a WebSocket.
    pub fn ask(&mut self) {
        let request = ClientRequest::new("a", "/", &[], &[], *b"the sample nonce");
        let head = request.head.clone();
        self.connect(Far::WebSocket(request));
        assert_eq!(std::mem::take(&mut self.got[TARGET]), head);
    }

    /// The page that was asked for is found, and has `len` bytes.
    pub fn serve(&mut self, status: u16, len: u64) {
        assert!(self.visit.take().is_some(), "no page was asked for");
        self.with(|link, _, ctx| link.begin_page(status, len, ctx));
        self.send(PEER, b"head ");
        if len == 0 {
            self.ends(TARGET, false);
        }
        self.work();
    }

    fn on_open(&mut self, opened: Opened) {
        self.send(PEER, &opened.head);
        let input = self.hot.input().to_vec();
        for (side, bytes) in opened.first {
            self.with(|link, hot, ctx| link.say(side, &bytes, hot, ctx));
            self.deliver(side);
        }
        self.hot.fill(input.len()).copy_from_slice(&input);
        self.hot.commit(input.len());
    }

    /// The target cannot be had.
    pub fn refuse(&mut self, status: Status) {
        let refusal = Refusal::new(status, "no");
        self.with(|link, hot, ctx| link.refuse(&refusal, hot, ctx));
        self.deliver(PEER);
        self.work();
    }

    pub fn peer_sends(&mut self, bytes: &[u8]) {
        self.said[PEER].extend_from_slice(bytes);
        self.work();
    }

    pub fn target_sends(&mut self, bytes: &[u8]) {
        self.said[TARGET].extend_from_slice(bytes);
        self.work();
    }

    /// An end takes so many bytes more, and no more.
    pub fn takes(&mut self, side: usize, n: usize) {
        self.takes[side] = n;
        self.work();
    }

    /// An end's stream ends, or fails.
    pub fn ends(&mut self, side: usize, reset: bool) {
        assert!(self.said[side].is_empty(), "unread before its end");
        let step = self.with(|link, hot, ctx| link.on_end(side, reset, hot, ctx));
        self.act(step, side);
        self.work();
    }

    /// Time passes, event by event.
    pub fn at(&mut self, after: Duration) {
        let until = self.now + after;
        while self.link.wake_at() <= until && !self.link.is_over() {
            self.now = self.now.max(self.link.wake_at());
            while let Some(due) = self.with(|link, hot, ctx| link.on_deadline(hot, ctx)) {
                if due == Due::NoAnswer {
                    let refusal = Refusal::new(Status::GatewayTimeout, "no answer");
                    self.with(|link, hot, ctx| link.refuse(&refusal, hot, ctx));
                }
                self.deliver(PEER);
            }
            self.work();
        }
        self.now = self.now.max(until);
    }

    /// What the loop does until nothing moves.
    pub fn work(&mut self) {
        loop {
            self.flush(PEER);
            self.flush(TARGET);
            let ready = |s: &usize| !self.said[*s].is_empty() && self.link.may_read(*s);
            let Some(side) = [PEER, TARGET].into_iter().find(ready) else { return };
            let said = std::mem::take(&mut self.said[side]);
            let size = self.hot.size();
            let limit = self.with(|link, _, ctx| link.read_limit(side, size, ctx));
            let n = limit.min(said.len());
            if n == 0 {
                // A file may have more in it than a page.
                self.ends(side, false);
                continue;
            }
            self.said[side] = said[n..].to_vec();
            self.hot.fill(n).copy_from_slice(&said[..n]);
            self.hot.commit(n);
            self.answers = ANSWERS_PER_READ;
            while !self.hot.input().is_empty() {
                let web = self.web.then(|| "web".into());
                let messages = self.messages.clone();
                let route = Route { messages, web, ..testing::route() };
                let secrets = Secrets::default();
                let gate = Gate { route: &route, secrets: &secrets, client: None };
                let step = self.with(|link, hot, ctx| link.on_bytes(side, hot, gate, ctx));
                self.act(step, side);
                self.flush(side);
            }
        }
    }

    /// Does what the link wants done with what leg `side` said.
    fn act(&mut self, step: Step, side: usize) {
        match step {
            Step::Deliver(sink) => self.deliver(sink),
            Step::Dial => {
                self.dials = true;
                let unread = self.hot.input().to_vec();
                self.said[side].splice(0..0, unread);
                self.hot.drop_input();
            }
            Step::Admit(names) => {
                let messages = self.messages.clone();
                let response = self.with(|link, _, ctx| link.admit(names, &messages, ctx));
                self.send(PEER, &response);
            }
            Step::Passed(header) => {
                self.passed = Some(header);
                if self.link.is_dialling() {
                    self.act(Step::Dial, side);
                }
            }
            Step::Unproven(error) => {
                let refusal = Refusal::new(Status::BadRequest, error.to_string());
                self.with(|link, hot, ctx| link.refuse(&refusal, hot, ctx));
                self.deliver(PEER);
            }
            Step::Serve(visit) => {
                self.visit = Some(visit);
                self.hot.drop_input();
            }
            Step::Inform(_) => unreachable!("it is no listener for that"),
            Step::Open(opened) => self.on_open(opened),
            Step::Disagree(error) => {
                let refusal = Refusal::new(Status::BadGateway, error.to_string());
                self.with(|link, hot, ctx| link.refuse(&refusal, hot, ctx));
                self.deliver(PEER);
            }
        }
    }

    pub fn deliver(&mut self, side: usize) {
        let output = self.hot.output().to_vec();
        self.hot.drop_output();
        self.send(side, &output);
        self.with(|link, _, ctx| link.settle(side, ctx));
    }

    pub fn send(&mut self, side: usize, bytes: &[u8]) {
        let clear = self.link.waiting(side).0.is_empty();
        let n = if clear { bytes.len().min(self.takes[side]) } else { 0 };
        self.take(side, &bytes[..n]);
        if n > 0 {
            self.with(|link, _, ctx| link.on_passed(side, n, ctx));
        }
        self.with(|link, _, ctx| link.keep(side, &bytes[n..], ctx));
    }

    pub fn take(&mut self, side: usize, bytes: &[u8]) {
        assert!(bytes.is_empty() || !self.fin[side], "bytes behind our FIN");
        self.got[side].extend_from_slice(bytes);
        self.takes[side] -= bytes.len();
    }

    pub fn flush(&mut self, side: usize) {
        while self.link.is_due(side) {
            let (first, second) = self.link.waiting(side);
            let waiting = [first, second].concat();
            if !waiting.is_empty() {
                let n = waiting.len().min(self.takes[side]);
                if n == 0 {
                    return;
                }
                self.take(side, &waiting[..n]);
                self.with(|link, _, ctx| {
                    link.on_delivered(side, n, ctx);
                    link.settle(side, ctx);
                });
                continue;
            }
            let mut frame = [0; MAX_CONTROL_FRAME];
            match self.with(|link, _, ctx| link.control(side, &mut frame, ctx)) {
                Some(len) => self.send(side, &frame[..len]),
                None if self.link.shutdown_due(side) => {
                    self.fin[side] = true;
                    self.link.on_shut(side);
                }
                None => {}
            }
        }
    }

    /// What the peer heard, as a client: payload of its messages, and control frames.
    pub fn heard(&self) -> (Vec<u8>, Vec<(Opcode, Vec<u8>)>) {
        hear(Role::Client, &self.got[PEER])
    }

    /// The code of the one Close that the peer heard.
    pub fn close_code(&self) -> Option<u16> {
        let (_, control) = self.heard();
        let closes: Vec<_> = control.iter().filter(|(op, _)| *op == Opcode::Close).collect();
        assert!(closes.len() <= 1, "{closes:?}");
        closes.first().map(|(_, payload)| Close::decode(payload).unwrap().code.get())
    }

    pub fn ended(&self) -> (By, &'static str, u16) {
        let ended = self.link.ended().expect("it has ended");
        (ended.by, ended.why.name(), ended.code.get())
    }
}

pub fn frame(fin: bool, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let key = [0xa1, 0xb2, 0xc3, 0xd4];
    let mut out = [0; MAX_HEADER];
    let payload_len = payload.len() as u64;
    let n = FrameHeader { fin, opcode, mask: Some(key), payload_len }.encode(&mut out);
    let mut body = payload.to_vec();
    Mask::new(key).apply(&mut body);
    [&out[..n], &body].concat()
}

pub fn binary(payload: &[u8]) -> Vec<u8> {
    frame(true, Opcode::Binary, payload)
}

pub fn close(code: u16) -> Vec<u8> {
    frame(true, Opcode::Close, &code.to_be_bytes())
}

/// Payload of the messages, and control frames, as an endpoint in `role` hears them.
pub fn hear(role: Role, mut wire: &[u8]) -> (Vec<u8>, Vec<(Opcode, Vec<u8>)>) {
    let mut decoder = Decoder::new(role, 0);
    let (mut payload, mut control) = (Vec::new(), Vec::new());
    loop {
        let (used, step) = decoder.next(wire).expect("our frames are valid");
        wire = &wire[used..];
        match step {
            None => return (payload, control),
            Some(Heard::Payload(mut piece)) => {
                assert!(control.iter().all(|(op, _)| *op != Opcode::Close), "data after Close");
                let mut bytes = wire[..piece.len].to_vec();
                piece.mask.apply(&mut bytes);
                payload.extend(bytes);
                wire = &wire[piece.len..];
            }
            Some(Heard::Control(op)) => control.push((op, decoder.control().to_vec())),
        }
    }
}
