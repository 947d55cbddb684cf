//! A script for a connection: what both ends do, and when.
//!
//! ```text
//! input = setup (5 bytes; bits 0x0c of the third say who speaks WebSocket), then operations: 1 byte each, and their arguments
//! ```
//!
//! The low bits of an operation say what happens, the high bit that the loop has not looked yet
//! when the next one does. Behind the last one, time passes until the connection is over.

use std::time::Duration;

use ws_tcp_proxy::buf::hot::Hot;
use ws_tcp_proxy::buf::pool::Pool;
use ws_tcp_proxy::buf::ring::Ring;
use ws_tcp_proxy::config::{Limits, Messages};
use ws_tcp_proxy::proto::close::CloseCode;
use ws_tcp_proxy::proto::encoding::Encoding;
use ws_tcp_proxy::proto::frame::Opcode;
use ws_tcp_proxy::proto::mask::Keys;
use ws_tcp_proxy::session::deadlines::Time;
use ws_tcp_proxy::session::ended::Why;

use crate::driver::{Driver, Shared, CONNECTIONS};
use crate::frames::{self, Pattern};
use crate::input::Input;
use crate::model::{Model, Setup, Shape};
use crate::socket::Finish;

/// Operations that one script may have; more would only be slow.
const MOST: usize = 128;

/// Timers that may fire between the last operation and the end.
const MOST_TIMERS: usize = 64;

/// Plays the script that `data` is.
pub fn play(data: &[u8]) {
    let mut input = Input::new(data);
    let mut script = Script::new(&mut input);
    for _ in 0..MOST {
        if input.is_empty() || script.driver.is_over() {
            break;
        }
        script.step(&mut input);
    }
    script.end();
}

struct Script {
    driver: Driver,
    encoding: Encoding,
    shape: Shape,
    /// Behind the script both ends answer what asks for an answer.
    polite: bool,
    /// Behind the script both ends take what comes.
    takes: bool,
    peer: Pattern,
    target: Pattern,
    key: u32,
    /// What somebody else has borrowed.
    squeeze: Option<Ring>,
    traced: bool,
}

impl Script {
    fn new(input: &mut Input) -> Self {
        let [bits, timers, sizes] = [input.byte(), input.byte(), input.byte()];
        let encoding = Encoding::ALL[usize::from(bits & 3)];
        let lossy = bits & 0x04 != 0;
        let shape = match (bits & 0x08 != 0, sizes & 0x0c) {
            (true, _) => Shape::Echo,
            (false, 0x04) => Shape::Client,
            (false, 0x08) => Shape::Plain,
            (false, _) => Shape::Server,
        };
        let secs = |on: bool, secs| on.then(|| Duration::from_secs(secs));
        let limits = Limits {
            ping_interval: secs(timers & 1 != 0, 30),
            idle_timeout: secs(timers & 2 != 0, 45),
            max_lifetime: secs(timers & 4 != 0, 100),
            send_timeout: secs(timers & 8 != 0, 60),
            buffer_size: [4 << 10, 5000, 16 << 10, 64 << 10][usize::from(sizes & 3)],
            max_message: input.pick(&[0, 16 << 20, 1000, 10]),
            max_memory: input.pick(&[64 << 20, 64 << 10, 12 << 10, 4 << 10]),
            max_head: [8 << 10, 256][usize::from(timers >> 7)],
            ..Limits::default()
        };
        let setup = Setup {
            encoding,
            lossy,
            shape,
            max_message: limits.max_message,
            drops_the_stuck: limits.send_timeout.is_some(),
            closes_in_time: limits.idle_timeout.is_some() || limits.max_lifetime.is_some(),
        };
        let messages = Messages { text_lossy: lossy, encoding, ..Messages::default() };
        let shared = Shared {
            hot: Hot::new(limits.buffer_size),
            pool: Pool::new(limits.max_memory, CONNECTIONS),
            keys: Keys::new(|bytes| bytes.fill(0x55)),
            limits,
            messages,
            now: Time(1_000_000),
        };
        let mut driver = Driver::accepted(shared, Model::new(setup), shape);
        let asks = matches!(shape, Shape::Server | Shape::Echo);
        if bits & 0x10 == 0 && asks {
            driver.sockets[0].send(&frames::request(encoding));
        }
        if bits & 0x10 == 0 && bits & 0x20 == 0 {
            driver.turn_until_quiet();
            driver.on_dialled(true);
        }
        if bits & 0x10 == 0 && shape == Shape::Client {
            driver.sockets[1].send(&frames::answer());
        }
        let (peer, target) = (Pattern::default(), Pattern::default());
        let (polite, takes) = (bits & 0x40 == 0, bits & 0x80 == 0);
        let traced = std::env::var_os("FUZZ_TRACE").is_some();
        let key = 0x1234_5678;
        Self { driver, encoding, shape, polite, takes, peer, target, key, squeeze: None, traced }
    }

    /// One operation.
    fn step(&mut self, input: &mut Input) {
        let operation = input.byte();
        self.trace(&format!("operation {operation:#04x} {:02x?}", input.peek(12)));
        let [near, far] = &mut self.driver.sockets;
        let (peer, target) = match self.shape {
            Shape::Client => (far, near),
            _ => (near, far),
        };
        let end = match operation & 0x40 == 0 {
            true => &mut *peer,
            false => &mut *target,
        };
        match operation & 0x1f {
            0 => self.message(input),
            1 => self.frame(input),
            2 => peer.send(input.bytes()),
            3 => self.control(Opcode::Ping, input),
            4 => self.control(Opcode::Close, input),
            5 => self.close_with_code(input),
            6 => peer.send(&self.peer.take(input.len())),
            7 | 8 => target.send(&self.target.take(input.len())),
            9 => target.send(input.bytes()),
            10 => end.finish(Finish::Eof),
            11 => end.finish(Finish::Reset),
            12 => end.break_off(),
            13 | 14 => end.make_room(input.len()),
            15 => end.make_room(usize::MAX),
            16 => end.stop_taking(),
            17 => end.delay(),
            18 => end.arrive(input.len()),
            19 => end.urgent(input.len()),
            20 => end.nudge(),
            21 | 22 => self.pass_time(Duration::from_millis(100 * input.len() as u64)),
            23 => self.wake(),
            24 => self.driver.close(Why::Shutdown, CloseCode::GOING_AWAY),
            25 => self.driver.on_dialled(true),
            26 => self.driver.on_dialled(false),
            27 => self.squeeze(input.len()),
            28 if self.shape == Shape::Client => peer.send(&frames::answer()),
            28 => peer.send(&frames::request(self.encoding)),
            _ => {}
        }
        if operation & 0x80 != 0 || self.driver.is_over() {
            return;
        }
        match operation & 0x20 == 0 {
            true => self.driver.turn_until_quiet(),
            false => self.driver.turn(),
        }
        self.driver.check();
    }

    /// With `FUZZ_TRACE` set, what happens is told.
    fn trace(&self, what: &str) {
        if self.traced {
            eprintln!("at {:?}: {:?}\n{what}", self.driver.shared.now, self.driver.link);
        }
    }

    // What the peer says.

    /// A message that keeps every rule.
    fn message(&mut self, input: &mut Input) {
        let shape = input.byte();
        let payload = self.peer.payload(self.encoding, input.len());
        let kind = match self.encoding {
            Encoding::Binary if shape & 1 == 0 => Opcode::Binary,
            Encoding::Chunk => Opcode::Binary,
            _ => Opcode::Text,
        };
        let key = self.key();
        let ping = move || match shape & 2 {
            0 => Vec::new(),
            _ => frames::frame(true, Opcode::Ping, &[shape], key),
        };
        let fragments = usize::from(shape >> 2 & 7);
        let wire = frames::message(kind, &payload, fragments, ping, key);
        self.peer_sends(&wire);
    }

    /// A frame that may break one.
    fn frame(&mut self, input: &mut Input) {
        let first = input.byte();
        let payload = input.bytes();
        let key = match first & 0x70 {
            0x70 if self.shape == Shape::Client => Some([0x37, 0xfa, 0x21, 0x3d]),
            0x70 => None,
            _ => self.key(),
        };
        let opcode = Opcode::from_bits(first & 0x0f).unwrap_or(Opcode::Binary);
        let mut wire = frames::frame(true, opcode, payload, key);
        wire[0] = first;
        self.peer_sends(&wire);
    }

    fn control(&mut self, opcode: Opcode, input: &mut Input) {
        let payload = input.bytes();
        let wire = frames::frame(true, opcode, &payload[..payload.len().min(125)], self.key());
        self.peer_sends(&wire);
    }

    fn close_with_code(&mut self, input: &mut Input) {
        let code = input.pick(&[1000u16, 1001, 1011, 3000, 4999, 999, 1005, 1006, 5000]);
        let wire = frames::frame(true, Opcode::Close, &code.to_be_bytes(), self.key());
        self.peer_sends(&wire);
    }

    fn peer_sends(&mut self, wire: &[u8]) {
        self.driver.sockets[self.shape.peer()].send(wire);
    }

    /// A server's frames are not masked.
    fn key(&mut self) -> Option<[u8; 4]> {
        self.key = self.key.rotate_left(5).wrapping_mul(0x9e37_79b1);
        (self.shape != Shape::Client).then_some(self.key.to_be_bytes())
    }

    // What happens around them.

    fn pass_time(&mut self, time: Duration) {
        self.driver.shared.now = self.driver.shared.now + time;
    }

    /// The next timer fires.
    fn wake(&mut self) {
        let wake = self.driver.link.wake_at();
        if wake != Time::NEVER {
            self.driver.shared.now = self.driver.shared.now.max(wake);
        }
    }

    /// Another connection borrows, or gives back.
    fn squeeze(&mut self, n: usize) {
        let pool = &mut self.driver.shared.pool;
        match self.squeeze.take() {
            Some(ring) => pool.give_back(ring),
            None => self.squeeze = Some(pool.lend(pool.may_read(n))),
        }
    }

    // How it ends.

    /// Plays on until the connection is over, which must not take long.
    fn end(mut self) {
        self.trace("no more operations");
        if !self.driver.is_over() {
            self.driver.turn_until_quiet();
        }
        if self.driver.link.ended().is_none() || self.shape == Shape::Plain {
            self.driver.close(Why::Shutdown, CloseCode::GOING_AWAY);
        }
        for side in 0..2 {
            self.driver.sockets[side].arrive(usize::MAX);
            if self.takes {
                self.driver.sockets[side].make_room(usize::MAX);
            }
        }
        for _ in 0..MOST_TIMERS {
            if self.driver.is_over() {
                return self.settle_accounts();
            }
            self.driver.turn_until_quiet();
            self.driver.check();
            if !self.answer() {
                self.wake();
            }
        }
        panic!("it never ends: {:?}", self.driver.link);
    }

    /// Ends what is still open, in good manners; `false` if there is nothing to be said.
    fn answer(&mut self) -> bool {
        let mut answered = false;
        for socket in &mut self.driver.sockets {
            if self.polite && socket.shut && socket.is_open() {
                socket.finish(Finish::Eof);
                answered = true;
            }
        }
        answered
    }

    /// Nobody owes anybody.
    fn settle_accounts(mut self) {
        if self.squeeze.is_some() {
            self.squeeze(0);
        }
        assert_eq!(self.driver.shared.pool.lent(), 0, "lent and never given back");
    }
}
