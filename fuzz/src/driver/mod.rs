//! The loop's half of a connection: `net/connection/` with scripted sockets.
//!
//! Follows the original function by function, so that what a [`Link`] is asked and told is what
//! it is asked and told there; a change there is to be made here. Beyond that it counts: work
//! that is not progress is a spin, and with nothing left to call it nothing may be left to do.

mod dialling;

use std::io::ErrorKind;

use ws_tcp_proxy::buf::hot::{Hot, HEADER_ROOM};
use ws_tcp_proxy::buf::pool::Pool;
use ws_tcp_proxy::config::{Limits, Route};
use ws_tcp_proxy::policy::admit::Status;
use ws_tcp_proxy::policy::gate::{Gate, Secrets};
use ws_tcp_proxy::proto::close::CloseCode;
use ws_tcp_proxy::proto::mask::Keys;
use ws_tcp_proxy::session::deadlines::Time;
use ws_tcp_proxy::session::ended::{By, Why};
use ws_tcp_proxy::session::link::{Context, Due, Entrance, Link, Names, Step, ANSWERS_PER_READ};
use ws_tcp_proxy::session::MAX_CONTROL_FRAME;

use crate::end::{send, End};
use crate::model::{Model, Setup, Shape};
use crate::socket::Socket;

const READS_PER_VISIT: u32 = 4;

/// Frames and ends that one call may send without a byte having come: a Pong, a Ping, a Close,
/// the FIN, what waits in front, and some for luck.
const MOST_DUE: u32 = 16;

/// Bytes in a `CONNECT` head that is passed on: the target twice, and some words.
const MOST_HEAD: usize = 1 << 10;

/// This one, and the one that the script lends to.
pub const CONNECTIONS: usize = 2;

/// What is to become of a connection after a visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    Wait,
    Again,
    Over,
}

/// What is the same for all connections.
pub struct Shared {
    pub hot: Hot,
    pub pool: Pool,
    pub keys: Keys,
    pub limits: Limits,
    pub route: Route,
    pub secrets: Secrets,
    pub now: Time,
}

impl Shared {
    fn split(&mut self) -> (&mut Hot, Gate<'_>, Context<'_>) {
        let gate = Gate { route: &self.route, secrets: &self.secrets, client: None };
        let context = Context {
            now: self.now,
            limits: &self.limits,
            pool: &mut self.pool,
            keys: &mut self.keys,
            answers: ANSWERS_PER_READ,
        };
        (&mut self.hot, gate, context)
    }
}

/// How connections of that setup begin.
fn entrance(setup: &Setup) -> Entrance {
    match (setup.shape, setup.names) {
        (Shape::Server | Shape::Echo, connect) => {
            Entrance::WebSocket { names: connect.map(Names::Connect) }
        }
        (Shape::Client | Shape::Plain, Some(connect)) => Entrance::Connect(connect),
        (Shape::Client | Shape::Plain, None) => Entrance::Stream,
    }
}

/// What the loop and the policy say of a connection, whatever it does.
#[derive(Debug, Clone, Copy)]
pub struct Fate {
    /// It has a place among `--max-connections`.
    pub admitted: bool,
    /// Why nothing is dialled for it. `None` dials.
    pub denied: Option<Status>,
}

/// A connection with scripted sockets.
pub struct Driver {
    pub link: Link,
    pub sockets: [Socket; 2],
    pub shared: Shared,
    pub model: Model,
    ends: [End; 2],
    /// What stood behind the request, while the target is dialled.
    unread: Option<Vec<u8>>,
    /// The earliest entry in the loop's heap.
    scheduled: Time,
    setup: Setup,
    fate: Fate,
    /// Addresses that are left to try.
    addresses: u32,
    /// A deadline ended it.
    given_up: bool,
    /// What the last visit said.
    next: Next,
}

impl Driver {
    /// A connection that was accepted just now.
    pub fn accepted(mut shared: Shared, setup: Setup, fate: Fate) -> Self {
        let link = Link::accepted(entrance(&setup), &shared.split().2);
        let mut driver = Self {
            link,
            sockets: [Socket::new(), Socket::new()],
            shared,
            model: Model::new(setup),
            ends: [End::open(), End::default()],
            unread: None,
            scheduled: Time::NEVER,
            setup,
            fate,
            addresses: 2,
            given_up: false,
            next: Next::Again,
        };
        if driver.link.is_dialling() {
            driver.shared.hot.fill(0);
            driver.start_dial();
        }
        driver
    }

    /// Whether it is finished, and its sockets are closed.
    pub fn is_over(&self) -> bool {
        self.next == Next::Over
    }

    /// One turn of the loop: events, the visit that they or the last one asked for, timers.
    pub fn turn(&mut self) {
        let mut visit = self.next == Next::Again;
        for side in 0..2 {
            // Events for a socket that is not there yet wait; after it is closed, there are none.
            if self.has_event(side) {
                self.on_event(side);
                self.serve();
                visit = false;
            }
            if self.is_over() {
                return;
            }
        }
        if visit {
            self.serve();
        }
        self.schedule();
        let mut served = 0;
        while self.scheduled <= self.shared.now && !self.is_over() {
            self.scheduled = Time::NEVER;
            self.on_timer();
            self.schedule();
            served += 1;
            // What nobody hears is not waited for: then an end is due with what began it.
            assert!(served <= 2, "a timer that is served is due again: {:?}", self.link);
        }
        self.check_memory();
        // Another connection has used it since.
        self.shared.hot.fill(64).fill(0xaa);
    }

    /// Turns of the loop until it would wait.
    pub fn turn_until_quiet(&mut self) {
        // A turn reads at least a byte or finds out that there is none.
        for _ in 0..200_000 {
            self.turn();
            if self.next != Next::Again && !self.has_event(0) && !self.has_event(1) {
                return;
            }
        }
        panic!("it never rests");
    }

    /// We end it.
    pub fn close(&mut self, why: Why, code: CloseCode) {
        if self.is_over() {
            return;
        }
        let (hot, _, mut ctx) = self.shared.split();
        self.link.close(By::Proxy, why, code, hot, &mut ctx);
        self.model.on_close();
        self.abandon_dial();
        self.deliver(0);
        self.serve();
        self.schedule();
    }

    // As in the original.

    fn has_event(&self, side: usize) -> bool {
        self.ends[side].open && self.sockets[side].has_edge()
    }

    fn on_event(&mut self, side: usize) {
        let edge = self.sockets[side].take_edge();
        let end = &mut self.ends[side];
        end.insists |= edge.insists;
        end.readable |= edge.readable || edge.insists;
        end.writable |= edge.writable;
        if edge.error {
            let (_, _, mut ctx) = self.shared.split();
            self.link.on_failure(side, &mut ctx);
            if self.link.is_relaying() {
                self.abandon_dial();
            }
        }
    }

    fn serve(&mut self) {
        self.model.on_visit(self.shared.now, &self.sockets, &self.link);
        self.next = self.visit();
        self.model.on_visited(self.shared.now, &self.sockets, &self.link);
        if self.next == Next::Over {
            self.finish();
        }
    }

    fn visit(&mut self) -> Next {
        for side in 0..2 {
            self.flush(side);
        }
        for _ in 0..READS_PER_VISIT {
            for side in 0..2 {
                if self.can_read(side) {
                    self.read(side);
                }
            }
            if !self.can_read(0) && !self.can_read(1) {
                return self.rest();
            }
        }
        match self.rest() {
            Next::Wait => Next::Again,
            next => next,
        }
    }

    fn can_read(&self, side: usize) -> bool {
        self.ends[side].readable && self.link.may_read(side)
    }

    fn on_timer(&mut self) {
        // Each deadline is set anew at most once by what another one did.
        for _ in 0..64 {
            let (hot, _, mut ctx) = self.shared.split();
            match self.link.on_deadline(hot, &mut ctx) {
                None => {
                    self.given_up = self.link.is_over();
                    return self.serve();
                }
                Some(Due::NextAddress) => self.on_dial_timeout(),
                Some(Due::NoAnswer) => self.give_up(Status::GatewayTimeout),
                Some(Due::Nothing) => self.deliver(0),
            }
        }
        panic!("deadlines without end");
    }

    fn rest(&mut self) -> Next {
        for side in 0..2 {
            if self.link.is_done(side) && !self.link.is_dialling() && self.ends[side].open {
                self.ends[side].open = false;
                self.model.on_closed(side, &self.sockets[side], &self.link);
            }
        }
        if self.link.is_over() {
            Next::Over
        } else {
            Next::Wait
        }
    }

    fn read(&mut self, side: usize) {
        let (hot, _, mut ctx) = self.shared.split();
        let limit = self.link.read_limit(side, hot.size(), &ctx);
        assert!(limit > 0 && limit <= hot.size(), "{limit} bytes to read");
        let end = &mut self.ends[side];
        let step = match end.read(&mut self.sockets[side], hot.fill(limit)) {
            Ok(0) => {
                end.readable = false;
                Some(self.link.on_end(side, false, hot, &mut ctx))
            }
            Ok(n) => {
                hot.commit(n);
                self.relay(side);
                None
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                end.readable = false;
                None
            }
            Err(_) => {
                end.readable = false;
                Some(self.link.on_end(side, true, hot, &mut ctx))
            }
        };
        if let Some(step) = step {
            self.act(step);
        }
        if self.link.is_relaying() {
            self.relay_unread();
        }
        for side in 0..2 {
            self.flush(side);
        }
    }

    fn relay(&mut self, side: usize) {
        let mut answers = ANSWERS_PER_READ;
        loop {
            let ended = self.link.ended();
            let (hot, gate, mut ctx) = self.shared.split();
            ctx.answers = answers;
            let heard = hot.input().to_vec();
            let step = self.link.on_bytes(side, hot, gate, &mut ctx);
            answers = ctx.answers;
            // What is left may be said again later, behind the start of the relay.
            let used = heard.len() - self.shared.hot.input().len();
            self.model.on_read(side, &heard[..used], ended);
            self.act(step);
            if self.shared.hot.input().is_empty() {
                return;
            }
            assert!(used > 0, "each step uses some of the input");
            self.flush(side);
        }
    }

    fn act(&mut self, step: Step) {
        match step {
            Step::Deliver(sink) => self.deliver(sink),
            Step::Passed(_) | Step::Unproven(_) => unreachable!("nobody passes connections on"),
            Step::Admit(names) => self.admit(names),
            Step::Serve(_) | Step::Inform(_) => unreachable!("no route has pages"),
            Step::Dial => {
                self.model.on_request(self.link.named());
                self.start_dial();
            }
            Step::Open(opened) => self.on_open(opened),
            Step::Disagree(_) => self.give_up(Status::BadGateway),
        }
    }

    fn deliver(&mut self, side: usize) {
        let (hot, _, mut ctx) = self.shared.split();
        send(
            &mut self.link,
            &mut self.ends[side],
            &mut self.sockets[side],
            side,
            hot.output(),
            &mut ctx,
        );
        hot.drop_output();
        self.link.settle(side, &ctx);
    }

    fn flush(&mut self, side: usize) {
        let (_, _, mut ctx) = self.shared.split();
        let (end, socket) = (&mut self.ends[side], &mut self.sockets[side]);
        let mut turns = 0;
        while self.link.is_due(side) {
            turns += 1;
            assert!(turns <= MOST_DUE, "leg {side} is always due: {:?}", self.link);
            let (first, second) = self.link.waiting(side);
            if first.is_empty() {
                let mut frame = [0; MAX_CONTROL_FRAME];
                if let Some(len) = self.link.control(side, &mut frame, &mut ctx) {
                    send(&mut self.link, end, socket, side, &frame[..len], &mut ctx);
                } else if self.link.shutdown_due(side) {
                    if end.open {
                        socket.shutdown_write();
                        self.model.on_shut(side, socket, &self.link);
                    }
                    self.link.on_shut(side);
                }
                continue;
            }
            match end.write(socket, first, second) {
                Ok(0) => return,
                Ok(n) => {
                    self.link.on_delivered(side, n, &mut ctx);
                    self.link.settle(side, &ctx);
                }
                Err(_) => self.link.on_write_error(side, &mut ctx),
            }
        }
    }

    /// What the loop does when a connection is over.
    fn finish(&mut self) {
        for side in 0..2 {
            self.ends[side].open = false;
        }
        self.model.on_over(self.given_up, &self.sockets, &self.link);
    }

    fn schedule(&mut self) {
        let wake = self.link.wake_at();
        if !self.is_over() && wake < self.scheduled {
            self.scheduled = wake;
        }
    }

    /// What must be true between two turns. What came out is looked at as a whole, so that now and
    /// then is enough.
    pub fn check(&mut self) {
        self.check_memory();
        self.model.check(&self.sockets, &self.link);
        if self.is_over() {
            return;
        }
        let bounded = self.link.ended().is_some() || !self.link.is_relaying();
        assert!(
            !bounded || self.model.may_go_on(self.link.ended()) || self.scheduled < Time::NEVER,
            "an end without a timer: {:?}",
            self.link
        );
        if self.next == Next::Wait {
            self.check_rest();
            self.model.check_rest(&self.sockets, &self.link);
        }
    }

    /// Nobody will call before an edge or a timer: nothing may be left to do.
    fn check_rest(&self) {
        for side in 0..2 {
            let (end, socket) = (&self.ends[side], &self.sockets[side]);
            if !end.open || socket.has_edge() {
                continue;
            }
            let forgotten = self.link.may_read(side) && socket.is_readable();
            assert!(!forgotten, "leg {side} has bytes or an end, and nobody reads");
            let forgotten = self.link.is_due(side) && socket.is_writable();
            assert!(!forgotten, "leg {side} is owed something, and nobody writes");
        }
    }

    /// A leg is owed at most what one read became, or what stood behind the request, and control
    /// frames. The pool lends no more than it says, but for those.
    fn check_memory(&self) {
        let Shared { hot, pool, limits, .. } = &self.shared;
        let mut more = HEADER_ROOM + 2 * MAX_CONTROL_FRAME;
        if self.setup.names.is_some() {
            // What stood behind the head in its longest form, and the head itself.
            more += 3 * limits.max_head + MOST_HEAD;
        }
        for side in 0..2 {
            let (first, second) = self.link.waiting(side);
            let waiting = first.len() + second.len();
            let most = hot.size().max(limits.max_head) + more;
            assert!(waiting <= most, "{waiting} bytes wait for leg {side}");
        }
        let most = Pool::worst_case(limits.max_memory, CONNECTIONS) + limits.max_head + 2 * more;
        assert!(pool.lent() <= most, "{} bytes are lent, more than {most}", pool.lent());
    }
}
