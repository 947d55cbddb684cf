//! A connection with its sockets: reads, writes and dials what its [`Link`] asks for.
//!
//! Owns the two transports and what is known of their readiness. Never decides who may say what:
//! that is the link's.

mod dialling;
mod ending;
mod pages;
mod passed;
mod seat;
mod shown;

use std::collections::BTreeMap;
use std::io;
use std::mem::size_of;
use std::net::SocketAddr;

use log::debug;
use mio::event::Event as Readiness;
use mio::{Registry, Token};

pub use seat::Seat;
use shown::{Behind, Goal};

use super::clients::Clients;
use super::dial::{Dial, DialError};
use super::end::{End, News};
use super::events::Event;
use super::files::Roots;
use super::inquiry::{Answer, Question};
use super::resolve::Resolver;
use super::secrets::Files;
use super::transport::Transport;
use crate::buf::hot::Hot;
use crate::buf::pool::Pool;
use crate::config::{Limits, Local, Remote, Route};
use crate::policy::access::lets_in;
use crate::policy::admit::Status;
use crate::policy::gate::Gate;
use crate::proto::close::CloseCode;
use crate::proto::mask::Keys;
use crate::proto::proxy_header::ProxyHeader;
use crate::session::deadlines::Time;
use crate::session::ended::{By, Why};
use crate::session::link::{Connect, Context, Due, Entrance, Link, Names, Step, ANSWERS_PER_READ};
use crate::session::{Session, MAX_CONTROL_FRAME};
use crate::stats::{ConnectionId, Stats};

/// Reads in one visit, so that a busy connection leaves the others their turn.
const READS_PER_VISIT: u32 = 4;

/// What all connections share.
pub struct Shared {
    pub hot: Hot,
    pub pool: Pool,
    pub keys: Keys,
    pub limits: Limits,
    pub registry: Registry,
    pub resolver: Resolver,
    /// This turn's time.
    pub now: Time,
    /// Connections that count among `--max-connections`: those that are not refused.
    pub admitted: usize,
    /// Connections that ask about the proxy and are answered at some length.
    pub informed: usize,
    /// KiB of these answers that were not taken at once.
    pub untold: usize,
    /// By route.
    pub secrets: Files,
    /// By route.
    pub roots: Roots,
    pub clients: Clients,
    /// What trusted proxies have said of connections, where they do so by a header of their own.
    pub passed: BTreeMap<ConnectionId, ProxyHeader>,
    /// Targets that could not be reached, for a line in the log.
    pub dial_failures: Vec<(String, DialError)>,
    /// What has been counted, without the connections there are.
    pub stats: Stats,
    /// What has happened, where somebody wants to know.
    pub events: Option<Vec<Event>>,
    /// What connections have asked, to be answered when the others have had their turn.
    pub questions: Vec<(ConnectionId, Question)>,
}

impl Shared {
    /// Something has happened.
    pub fn tell(&mut self, event: impl FnOnce() -> Event) {
        if let Some(events) = &mut self.events {
            events.push(event());
        }
    }

    /// The hot buffer, and the rest of what a link needs.
    fn split(&mut self) -> (&mut Hot, Context<'_>) {
        let (hot, _, context) = self.split_all();
        (hot, context)
    }

    /// The same, with the secrets by route.
    fn split_all(&mut self) -> (&mut Hot, &Files, Context<'_>) {
        let context = Context {
            now: self.now,
            limits: &self.limits,
            pool: &mut self.pool,
            keys: &mut self.keys,
            answers: ANSWERS_PER_READ,
        };
        (&mut self.hot, &self.secrets, context)
    }
}

/// How connections of that route begin.
fn entrance(route: &Route) -> Entrance {
    match (&route.local, &route.remote) {
        (Local::Admin(_), _) => Entrance::WebSocket { names: None },
        (Local::WebSocket(_), remote) => {
            let names = match remote {
                Remote::Connect => Some(Names::Connect(Connect::Answer)),
                Remote::Json => Some(Names::Json),
                _ => None,
            };
            Entrance::WebSocket { names }
        }
        (_, Remote::Connect) => Entrance::Connect(Connect::Answer),
        (Local::Connect(_), _) => Entrance::Connect(Connect::Forward(route.form)),
        (Local::Stream(_), _) => Entrance::Stream,
    }
}

/// What is to become of a connection after a visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// An event or a timer will call again.
    Wait,
    /// There is more to do in this turn.
    Again,
    /// It is finished.
    Over,
}

/// A connection.
pub struct Connection {
    link: Link,
    ends: [End; 2],
    dial: Option<Box<Dial>>,
    since: Time,
    /// The earliest entry in the loop's heap.
    pub scheduled: Time,
    id: ConnectionId,
    route: u16,
    seat: Seat,
    /// Whether it is in the runnable list.
    pub listed: bool,
}

impl Connection {
    /// What one costs in the tables: itself, its session, its timer.
    pub const BYTES: usize = size_of::<Option<Self>>() + size_of::<Session>() + 32;

    /// A connection that was accepted on that route. One without a seat is answered 503.
    ///
    /// # Errors
    /// What epoll_ctl(2) says.
    pub fn accepted(
        mut transport: Transport,
        id: ConnectionId,
        (index, route): (usize, &Route),
        seat: Seat,
        shared: &mut Shared,
    ) -> io::Result<Self> {
        transport.register(&shared.registry, token(id.slot, 0))?;
        let since = shared.now;
        let begin = if route.accept_proxy { Link::passed_on } else { Link::accepted };
        let link = begin(entrance(route), &shared.split().1);
        Ok(Self {
            link,
            ends: [End::open(transport), End::default()],
            dial: None,
            since,
            scheduled: Time::NEVER,
            id,
            route: index as u16,
            seat,
            listed: false,
        })
    }

    /// Its name in the table.
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// The index of its route.
    pub fn route(&self) -> usize {
        usize::from(self.route)
    }

    /// When it is to be looked at without an event.
    pub fn wake_at(&self) -> Time {
        self.link.wake_at()
    }

    /// Epoll says something about leg `side`.
    pub fn on_event(&mut self, side: usize, event: &Readiness, route: &Route, shared: &mut Shared) {
        let end = &mut self.ends[side];
        if event.is_read_closed() || event.is_error() || event.is_priority() {
            end.news = end.news.max(News::Insists);
            end.readable = true;
        }
        // Of a unix socket this is all that tells a close from the end of one stream.
        if event.is_write_closed() {
            end.news = News::HungUp;
        }
        end.readable |= event.is_readable();
        end.writable |= event.is_writable();
        if side == 1 && self.link.is_dialling() {
            self.on_dial_event(event, route, shared);
        } else if event.is_error() {
            self.link.on_failure(side, &mut shared.split().1);
            if self.link.is_relaying() {
                self.abandon_dial(shared);
            }
        }
    }

    /// It has just been accepted: its request may be there already, or none is needed.
    pub fn begin(&mut self, route: &Route, shared: &mut Shared) -> Next {
        // Without a request that could be answered, whoever may not connect is told by the end.
        if !self.link.is_judging() && !self.is_let_in(route, shared) {
            debug!("{} is from no --client of this route", self.id);
            self.link.turn_away(Status::Forbidden);
            return Next::Over;
        }
        if self.link.is_dialling() {
            shared.hot.fill(0);
            self.start_dial(route, shared);
        }
        self.serve(route, shared)
    }

    fn is_let_in(&self, route: &Route, shared: &Shared) -> bool {
        lets_in(&route.access, self.peer(route, shared).map(|peer| peer.ip()))
    }

    /// Moves what can be moved.
    pub fn serve(&mut self, route: &Route, shared: &mut Shared) -> Next {
        for side in 0..2 {
            self.flush(side, shared);
        }
        for _ in 0..READS_PER_VISIT {
            for side in 0..2 {
                if self.can_read(side) {
                    self.read(side, route, shared);
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

    /// What it asked for in [`Shared::questions`] is known.
    pub fn on_answer(&mut self, answer: &Answer, route: &Route, shared: &mut Shared) -> Next {
        self.pass_answer_on(answer, shared);
        self.serve(route, shared)
    }

    /// Time has passed.
    pub fn on_timer(&mut self, route: &Route, shared: &mut Shared) -> Next {
        loop {
            let (hot, mut ctx) = shared.split();
            match self.link.on_deadline(hot, &mut ctx) {
                None => break,
                Some(Due::NextAddress) => self.on_dial_timeout(route, shared),
                Some(Due::NoAnswer) => self.give_up(DialError::Unanswered, route, shared),
                Some(Due::Nothing) => self.deliver(0, shared),
            }
        }
        self.serve(route, shared)
    }

    /// Ends it in good order.
    pub fn close(&mut self, why: Why, code: CloseCode, shared: &mut Shared) {
        let (hot, mut ctx) = shared.split();
        self.link.close(By::Proxy, why, code, hot, &mut ctx);
        self.abandon_dial(shared);
        self.deliver(0, shared);
    }

    /// The close record, and a good end for its sockets.
    pub fn finish(&mut self, shared: &mut Shared) {
        self.abandon_dial(shared);
        self.give_place_up(shared);
        // Given up: what the kernel still holds for the other end is to arrive all the same.
        for end in &mut self.ends {
            if let Some(mut transport) = end.transport.take() {
                transport.discard_arrived(shared.hot.fill(usize::MAX));
            }
        }
        self.record_end(shared);
        shared.clients.leave(self.id);
        shared.passed.remove(&self.id);
    }

    /// What to do when nothing more can be moved now.
    fn rest(&mut self) -> Next {
        for (side, end) in self.ends.iter_mut().enumerate() {
            // A leg that is being dialled is not there yet.
            if self.link.is_done(side) && !self.link.is_dialling() {
                end.transport = None; // read to its end: close(2) sends no RST
            }
        }
        if self.link.is_over() {
            Next::Over
        } else {
            Next::Wait
        }
    }

    /// One read, and all that follows from it.
    fn read(&mut self, side: usize, route: &Route, shared: &mut Shared) {
        let (hot, mut ctx) = shared.split();
        let limit = self.link.read_limit(side, hot.size(), &ctx);
        match self.ends[side].read(hot.fill(limit)) {
            Ok(0) => {
                self.ends[side].readable = false;
                let step = self.link.on_end(side, false, hot, &mut ctx);
                if self.ends[side].news == News::HungUp {
                    self.link.on_failure(side, &mut ctx);
                }
                self.act(step, route, shared);
            }
            Ok(n) => {
                hot.commit(n);
                self.relay(side, route, shared);
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => self.ends[side].readable = false,
                io::ErrorKind::Interrupted => {}
                _ => {
                    debug!("{} leg {side}: {error}", self.id);
                    self.ends[side].readable = false;
                    let step = self.link.on_end(side, true, hot, &mut ctx);
                    self.act(step, route, shared);
                }
            },
        }
        if self.link.is_relaying() {
            self.relay_unread(route, shared);
        }
        for side in 0..2 {
            self.flush(side, shared);
        }
    }

    /// Takes what was read through the link, part by part, until none is left.
    fn relay(&mut self, side: usize, route: &Route, shared: &mut Shared) {
        let mut answers = ANSWERS_PER_READ;
        loop {
            let client = match self.link.is_judging() {
                true => {
                    shared.secrets.look(self.route(), shared.now);
                    self.peer(route, shared)
                }
                false => None,
            };
            let (hot, secrets, mut ctx) = shared.split_all();
            ctx.answers = answers;
            let gate = Gate { route, secrets: &secrets[self.route()], client };
            let step = self.link.on_bytes(side, hot, gate, &mut ctx);
            answers = ctx.answers;
            self.act(step, route, shared);
            if shared.hot.input().is_empty() {
                return;
            }
            self.flush(side, shared);
        }
    }

    /// Whoever connected, on a route that must know. The others go without the system call.
    fn peer(&self, route: &Route, shared: &Shared) -> Option<SocketAddr> {
        match &self.ends[0].transport {
            Some(transport) if route.access.depends_on_address() => {
                let passed = shared.passed.get(&self.id).and_then(|header| header.source);
                passed.or_else(|| transport.peer())
            }
            _ => None,
        }
    }

    /// Does what the link wants done.
    fn act(&mut self, step: Step, route: &Route, shared: &mut Shared) {
        match step {
            Step::Deliver(sink) => self.deliver(sink, shared),
            Step::Passed(header) => self.on_passed_on(header, route, shared),
            Step::Unproven(error) => self.mistrust(error, shared),
            Step::Admit(names) => self.admit(names, route, shared),
            Step::Dial => self.start_dial(route, shared),
            Step::Serve(visit) => self.serve_page(&visit, shared),
            Step::Inform(inquiry) => self.inform(inquiry, shared),
            Step::Open(opened) => self.on_open(opened, route, shared),
            Step::Disagree(error) => {
                let error = self.without_secrets(error.to_string(), route, shared);
                self.give_up(DialError::Disagreed(error), route, shared);
            }
        }
    }

    /// Sends the hot buffer's output to leg `side`; the link keeps what is refused.
    fn deliver(&mut self, side: usize, shared: &mut Shared) {
        let (hot, mut ctx) = shared.split();
        send(&mut self.link, &mut self.ends[side], side, hot.output(), &mut ctx);
        hot.drop_output();
        self.link.settle(side, &ctx);
    }

    /// Sends what leg `side` is owed: what waits, then control frames, then the end.
    fn flush(&mut self, side: usize, shared: &mut Shared) {
        let end = &mut self.ends[side];
        let (_, mut ctx) = shared.split();
        while self.link.is_due(side) {
            let (first, second) = self.link.waiting(side);
            if first.is_empty() {
                let mut frame = [0; MAX_CONTROL_FRAME];
                if let Some(len) = self.link.control(side, &mut frame, &mut ctx) {
                    // A last Close leaves in one segment with the FIN that follows.
                    end.corked = self.link.shutdown_due(side);
                    send(&mut self.link, end, side, &frame[..len], &mut ctx);
                    end.corked = false;
                } else if self.link.shutdown_due(side) {
                    if let Some(transport) = &mut end.transport {
                        transport.shutdown_write();
                    }
                    self.link.on_shut(side);
                }
                continue;
            }
            match end.write(first, second) {
                Ok(0) => return,
                Ok(n) => {
                    self.link.on_delivered(side, n, &mut ctx);
                    self.link.settle(side, &ctx);
                }
                Err(_) => self.link.on_write_error(side, &mut ctx),
            }
        }
    }
}

/// Writes to a leg for which nothing waits; the link keeps what is refused.
fn send(link: &mut Link, end: &mut End, side: usize, bytes: &[u8], ctx: &mut Context) {
    if bytes.is_empty() {
        return;
    }
    let mut taken = 0;
    if link.waiting(side).0.is_empty() {
        match end.write(bytes, &[]) {
            Ok(0) => {}
            Ok(n) => {
                taken = n;
                link.on_passed(side, n, ctx);
            }
            Err(_) => link.on_write_error(side, ctx),
        }
    }
    if taken < bytes.len() {
        link.keep(side, &bytes[taken..], ctx);
    }
}

/// The event loop's name for a leg.
pub fn token(slot: u32, side: usize) -> Token {
    Token((slot as usize) << 1 | side)
}
#[cfg(test)]
mod tests {
    use super::*;

    /// Thousands may be idle at once on a small box. Whoever must raise this says why.
    #[test]
    fn an_idle_connection_costs_its_table_entry() {
        // mio remembers each socket's poll in debug builds, to catch mistakes.
        let debug = if cfg!(debug_assertions) { 2 * 2 * size_of::<usize>() } else { 0 };
        let connection = size_of::<Option<Connection>>() - debug;
        assert!(connection <= 248, "{connection}");
        assert!(size_of::<Session>() <= 120, "{}", size_of::<Session>());
    }
}
