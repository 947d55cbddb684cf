//! A script for a connection: what both ends do, and when.
//!
//! ```text
//! input = setup, then operations: 1 byte each, and their arguments
//! setup = bits, timers, sizes, largest message, memory; and for a target that is named: a head
//!
//! bits    03 encoding   04 lossy   08 echo   10 says nothing yet   20 not dialled yet
//!         40 impolite   80 takes nothing at the end
//! timers  01 ping   02 idle   04 lifetime   08 send
//!         10 busy   20 denied   40 unknown user   80 short heads
//! sizes   03 buffer   0c who speaks WebSocket   30 who names the target, and how   c0 half-close
//! ```
//!
//! The low bits of an operation say what happens, the high bit that the loop has not looked yet
//! when the next one does. Behind the last one, time passes until the connection is over.

use std::time::Duration;

use base64::engine::general_purpose::STANDARD;
use base64::Engine;
use ws_tcp_proxy::buf::hot::Hot;
use ws_tcp_proxy::buf::pool::Pool;
use ws_tcp_proxy::buf::ring::Ring;
use ws_tcp_proxy::config::{Bind, Limits, Local, Messages, Remote, Route};
use ws_tcp_proxy::policy::admit::Status;
use ws_tcp_proxy::policy::gate::Secrets;
use ws_tcp_proxy::proto::close::CloseCode;
use ws_tcp_proxy::proto::connect::Form;
use ws_tcp_proxy::proto::encoding::Encoding;
use ws_tcp_proxy::proto::frame::Opcode;
use ws_tcp_proxy::proto::handshake::HeadLimits;
use ws_tcp_proxy::proto::mask::Keys;
use ws_tcp_proxy::session::deadlines::Time;
use ws_tcp_proxy::session::ended::Why;
use ws_tcp_proxy::session::link::Connect;

use crate::chunk;
use crate::driver::{Driver, Fate, Shared, CONNECTIONS};
use crate::frames::{self, Pattern};
use crate::input::Input;
use crate::model::{Setup, Shape};
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

/// What a dial may come to, if not to a target.
const REFUSALS: [Status; 4] =
    [Status::Forbidden, Status::BadGateway, Status::GatewayTimeout, Status::Unavailable];

/// So many seconds, if at all.
fn secs(on: bool, secs: u64) -> Option<Duration> {
    on.then(|| Duration::from_secs(secs))
}

fn limits(timers: u8, sizes: u8, input: &mut Input) -> Limits {
    Limits {
        ping_interval: secs(timers & 1 != 0, 30),
        idle_timeout: secs(timers & 2 != 0, 45),
        max_lifetime: secs(timers & 4 != 0, 100),
        send_timeout: secs(timers & 8 != 0, 60),
        buffer_size: [4 << 10, 5000, 16 << 10, 64 << 10][usize::from(sizes & 3)],
        max_message: input.pick(&[0, 16 << 20, 1000, 10]),
        max_memory: input.pick(&[64 << 20, 64 << 10, 12 << 10, 4 << 10]),
        max_head: [8 << 10, 256][usize::from(timers >> 7)],
        ..Limits::default()
    }
}

fn setup(bits: u8, sizes: u8, limits: &Limits) -> Setup {
    let shape = match (bits & 0x08 != 0, sizes & 0x0c) {
        (true, _) => Shape::Echo,
        (false, 0x04) => Shape::Client,
        (false, 0x08) => Shape::Plain,
        (false, _) => Shape::Server,
    };
    Setup {
        encoding: Encoding::ALL[usize::from(bits & 3)],
        lossy: bits & 0x04 != 0,
        shape,
        names: names(shape, sizes >> 4 & 3),
        head: HeadLimits { bytes: limits.max_head, headers: limits.max_headers },
        half_close: secs(sizes >> 6 > 0, [0, 1, 5, 20][usize::from(sizes >> 6)]),
        max_message: limits.max_message,
        drops_the_stuck: limits.send_timeout.is_some(),
        closes_in_time: limits.idle_timeout.is_some() || limits.max_lifetime.is_some(),
    }
}

/// What is done with a `CONNECT` head. Whoever is asked for a WebSocket is told where to go; a
/// WebSocket of ours leads where its stream says.
fn names(shape: Shape, how: u8) -> Option<Connect> {
    match (shape, how) {
        (_, 0) | (Shape::Echo, _) => None,
        (Shape::Server, _) | (Shape::Plain, 1) => Some(Connect::Answer),
        (Shape::Client | Shape::Plain, 3) => Some(Connect::Forward(Form::Bare)),
        (Shape::Client | Shape::Plain, _) => Some(Connect::Forward(Form::Full)),
    }
}

/// Why nothing is dialled: users are asked for before rules, and rules are for named targets.
fn denied(timers: u8, names: Option<Connect>) -> Option<Status> {
    match names {
        Some(_) if timers & 0x40 != 0 => Some(Status::ProxyAuthRequired),
        Some(Connect::Answer) if timers & 0x20 != 0 => Some(Status::Forbidden),
        _ => None,
    }
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
        let limits = limits(timers, sizes, input);
        let setup = setup(bits, sizes, &limits);
        let Setup { encoding, lossy, shape, names, half_close, .. } = setup;
        let messages = Messages { text_lossy: lossy, encoding, half_close, ..Messages::default() };
        let shared = Shared {
            hot: Hot::new(limits.buffer_size),
            pool: Pool::new(limits.max_memory, CONNECTIONS),
            keys: Keys::new(|bytes| bytes.fill(0x55)),
            limits,
            route: Route { messages, ..Route::new(Local::Stream(Bind::Fd(0)), Remote::Echo) },
            secrets: Secrets::default(),
            now: Time(1_000_000),
        };
        let fate = Fate { admitted: timers & 0x10 == 0, denied: denied(timers, names) };
        let mut script = Self {
            driver: Driver::accepted(shared, setup, fate),
            encoding,
            shape,
            polite: bits & 0x40 == 0,
            takes: bits & 0x80 == 0,
            peer: Pattern::default(),
            target: Pattern::default(),
            key: 0x1234_5678,
            squeeze: None,
            traced: std::env::var_os("FUZZ_TRACE").is_some(),
        };
        if bits & 0x10 == 0 {
            script.begin(names.is_some(), bits & 0x20 == 0, input);
        }
        script
    }

    /// Both ends do what opens the connection.
    fn begin(&mut self, names: bool, dialled: bool, input: &mut Input) {
        if matches!(self.shape, Shape::Server | Shape::Echo) {
            self.driver.sockets[0].send(&frames::request(self.encoding));
        }
        if names {
            self.head(input);
        }
        if dialled {
            self.driver.turn_until_quiet();
            self.driver.on_dialled(Ok(()));
        }
        if self.shape == Shape::Client {
            self.driver.sockets[1].send(&frames::answer());
        }
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
            25 => self.driver.on_dialled(Ok(())),
            26 => self.driver.on_dialled(Err(Status::BadGateway)),
            27 => self.squeeze(input.len()),
            28 if self.shape == Shape::Client => peer.send(&frames::answer()),
            28 => peer.send(&frames::request(self.encoding)),
            29 => self.driver.on_dialled(Err(input.pick(&REFUSALS))),
            30 => self.head(input),
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

    /// A `CONNECT` head at the start of leg 0's stream, and the first bytes behind it.
    fn head(&mut self, input: &mut Input) {
        let how = input.byte();
        let mut head = frames::HEADS[usize::from(how & 7)].to_vec();
        if how & 0x08 != 0 {
            head.extend(self.peer.take(10));
        }
        if self.shape != Shape::Server {
            return self.driver.sockets[0].send(&head);
        }
        let (payload, kind) = match self.encoding {
            Encoding::Binary => (head, Opcode::Binary),
            Encoding::Chunk => (chunk::field(1, &head), Opcode::Binary),
            Encoding::Text => (head, Opcode::Text),
            Encoding::Base64 => (STANDARD.encode(head).into_bytes(), Opcode::Text),
        };
        let (fragments, key) = (usize::from(how >> 4 & 3), self.key());
        let wire = frames::message(kind, &payload, fragments, Vec::new, key);
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
