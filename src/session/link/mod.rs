//! A connection without its sockets: two legs and the two pipes between them.
//!
//! Owns what is due on each leg, who ended the connection and why, and its deadlines. The loop
//! brings bytes, ends, errors and the time, and does what [`Link`] says is due. No leg is special:
//! what differs is in its `Codec`.
//!
//! ```text
//!             pipes[1]
//!  legs[0]  ----------->  legs[1]        pipes[i] is what waits for leg i
//!           <-----------
//!             pipes[0]                   an echo is legs[0] and pipes[0] alone
//! ```
//!
//! How it ends. A source that ends lets its pipe drain; then the sink's codec says so in its own
//! way: a raw leg shuts its write side, a WebSocket leg says Close. A leg whose bytes have no
//! sink any more is read to its end, since closing a socket with unread bytes sends RST, which
//! can destroy what we sent last. From the first sign of an end the `Close` deadline runs.

mod beginning;
#[cfg(test)]
mod client_tests;
mod clock;
#[cfg(test)]
mod clock_tests;
#[cfg(test)]
mod connect_tests;
mod ending;
#[cfg(test)]
mod framing_tests;
#[cfg(test)]
mod half_close_tests;
mod holding;
#[cfg(test)]
mod json_tests;
mod page;
#[cfg(test)]
mod page_tests;
#[cfg(test)]
mod rate_tests;
mod relaying;
#[cfg(test)]
mod script;
#[cfg(test)]
mod tests;

use self::beginning::{websocket, Asked, Welcome};
pub use self::beginning::{Entrance, Opened, Reached};
use self::page::Asker;
use super::deadlines::{Deadline, Deadlines, Time};
use super::ended::{Ended, Ending};
use super::leg::{Codec, Leg, Reading, Writing};
use super::naming::Naming;
pub use super::naming::{Connect, Names};
use super::opening::Call;
use super::pipe::Pipe;
use super::proxied::{Proxied, ProxiedError};
use super::rates::Rates;
use super::{Passing, Session, MAX_CONTROL_FRAME};
use crate::admin::Inquiry;
use crate::buf::hot::Hot;
use crate::buf::pool::Pool;
use crate::buf::ring::Ring;
use crate::config::{Destination, Limits};
use crate::policy::gate::Gate;
use crate::policy::page::Visit;
use crate::proto::frame::Role;
use crate::proto::mask::Keys;
use crate::proto::proxy_header::ProxyHeader;
use crate::proto::response::{ClientRequest, ResponseError};

/// Pings of one read that are answered one by one; of more, the latest gets the answer.
pub const ANSWERS_PER_READ: u32 = 16;

/// How much shorter than the buffer a read must be for what it says to fit in it, whatever the codecs
/// of both legs: seven times as long with its frames behind it, and twice that where lengths stand in
/// front of what is heard.
const MOST_GROWTH: usize = 16;

/// What the loop lends for the time of a call.
pub struct Context<'a> {
    /// This turn's time.
    pub now: Time,
    /// Limits and timers.
    pub limits: &'a Limits,
    /// Lends the rings.
    pub pool: &'a mut Pool,
    /// Masking-keys, for a client's frames.
    pub keys: &'a mut Keys,
    /// How many Pings of this read may still be answered one by one: [`ANSWERS_PER_READ`] anew for
    /// each read.
    pub answers: u32,
}

/// How far the connection has come.
#[derive(Debug)]
enum Stage {
    /// It is not known whose connection it is.
    Proxied(Box<Proxied>),
    /// Leg 0 has not asked for its WebSocket. How it will name the target there, if it will.
    Head { names: Option<Names> },
    /// Leg 0 has asked for a page, which is not found yet.
    Page(Box<Asker>),
    /// Leg 0 is there, and has not named its target.
    Name(Box<Naming>),
    /// The target is to be reached. `None` if leg 0 asked for nothing.
    Dial(Option<Box<Asked>>),
    /// The target is reached, and is asked for a WebSocket.
    Ask(Option<Box<Asked>>),
    /// Both legs are there, or what is left of them.
    Relay(Option<Box<Relayed>>),
}

/// What only some relays have.
#[derive(Debug)]
struct Relayed {
    /// What leg 0 has named.
    named: Option<Destination>,
    /// How fast the legs are heard.
    rates: Option<Box<Rates>>,
}

/// What the loop must do after bytes came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The output is for this leg; there may be more input.
    Deliver(usize),
    /// Whose connection it is: there may be more input, and the target may have to be dialled.
    Passed(ProxyHeader),
    /// That is not known: call [`Link::refuse`].
    Unproven(ProxiedError),
    /// The request is good, and the target will be named like this: call [`Link::admit`], or
    /// [`Link::refuse`].
    Admit(Names),
    /// The request is good: dial, or call [`Link::refuse`]. The input that is left comes first
    /// when the link is open.
    Dial,
    /// A page is asked for: call [`Link::begin_page`], or [`Link::refuse`].
    Serve(Box<Visit>),
    /// The same of an answer about the proxy, which may take a while.
    Inform(Inquiry),
    /// The target agrees, and the relay has begun.
    Open(Opened),
    /// The target does not agree: call [`Link::refuse`].
    Disagree(ResponseError),
}

/// What is at the other end of leg 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Far {
    /// Leg 0 itself.
    Echo,
    /// A byte stream.
    Raw,
    /// A WebSocket server, to be asked like this.
    WebSocket(ClientRequest),
}

/// What the loop must do after time passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Try the next address, or call [`Link::refuse`].
    NextAddress,
    /// The target was asked for a WebSocket and says nothing: call [`Link::refuse`].
    NoAnswer,
    /// Nothing beyond what [`Link::is_due`] and [`Link::is_over`] say.
    Nothing,
}

/// A connection without its sockets.
#[derive(Debug)]
pub struct Link {
    legs: [Leg; 2],
    /// By sink.
    pipes: [Pipe; 2],
    deadlines: Deadlines,
    stage: Stage,
    /// Boxed, since it is set when the rest is about to go.
    ending: Option<Box<Ending>>,
    /// Leg 0 is its own sink.
    echo: bool,
    /// Leg 0 awaits a response head from leg 1: the first that this one says.
    owed_answer: bool,
    /// The `Close` deadline fired.
    given_up: bool,
}

impl Link {
    fn new(codec: Codec, stage: Stage, ctx: &Context) -> Self {
        let mut deadlines = Deadlines::new(ctx.now);
        if let Some(lifetime) = ctx.limits.max_lifetime {
            deadlines.set(Deadline::Lifetime, ctx.now + lifetime);
        }
        Self {
            legs: [Leg::new(codec), Leg::absent()],
            pipes: [Pipe::new(), Pipe::new()],
            deadlines,
            stage,
            ending: None,
            echo: false,
            owed_answer: false,
            given_up: false,
        }
    }

    // What the loop asks.

    /// Whether leg `side` may be read now: a pipe that cannot write does not read.
    #[inline]
    pub fn may_read(&self, side: usize) -> bool {
        match self.legs[side].reading {
            Reading::Relaying => match self.stage {
                Stage::Proxied(_) | Stage::Head { .. } => side == 0,
                // A piece at a time: what is owed goes out first.
                Stage::Name(_) => side == 0 && self.pipes[0].is_clear(),
                Stage::Page(_) | Stage::Dial(_) => false,
                Stage::Ask(_) => side == 1,
                Stage::Relay(_) => {
                    self.pipes[self.sink_of(side)].is_clear() && !self.is_paused(side)
                }
            },
            Reading::Discarding => true,
            Reading::Ended => false,
        }
    }

    /// How much of leg `side` to read at once, at most.
    pub fn read_limit(&self, side: usize, size: usize, ctx: &Context) -> usize {
        if self.legs[side].reading == Reading::Discarding {
            return size;
        }
        match &self.legs[side].codec {
            Codec::Opening(opening) => return opening.read_limit(ctx.limits).min(size),
            // The frames behind the answer are relayed from where they are, whatever becomes of them.
            Codec::Asking(asking) => {
                return asking.read_limit(ctx.limits).min(size / MOST_GROWTH);
            }
            _ => {}
        }
        match &self.stage {
            Stage::Proxied(proxied) => return proxied.read_limit(ctx.limits).min(size),
            Stage::Name(naming) => return naming.read_limit(ctx.limits).min(size),
            _ => {}
        }
        let limit = self.relay_limit(side, size, ctx);
        // Payload is never longer than the wire bytes it comes in, but for what the framing adds: the
        // bucket bears that.
        let rated = self.rates().map(|rates| rates.may_take(side, ctx.now));
        let limit = rated.map_or(limit, |rated| limit.min(rated.max(1)));
        match &self.legs[side].codec {
            Codec::Page(page) => page.read_limit(limit),
            _ => limit,
        }
    }

    /// How much of what leg `side` says to relay at once, at most, however fast it may speak.
    pub fn relay_limit(&self, side: usize, size: usize, ctx: &Context) -> usize {
        let sink = self.sink_of(side);
        let (fits, growth) = match &self.legs[sink].codec {
            Codec::WebSocket(session) => (session.read_limit(size), session.growth()),
            _ => (size, 1),
        };
        let (fits, growth) = match &self.legs[side].codec {
            Codec::WebSocket(session) => {
                let heard = session.growth_of_heard();
                (fits / heard, growth * heard)
            }
            _ => (fits, growth),
        };
        // All of it may have to be kept, in the form that goes to the sink.
        let kept = ctx.pool.may_read(self.pipes[sink].reach(fits) * growth);
        (kept / growth).max(1)
    }

    /// What waits for leg `side`, in two runs.
    pub fn waiting(&self, side: usize) -> (&[u8], &[u8]) {
        self.pipes[side].waiting()
    }

    /// Bytes kept: for both legs, and of messages whose length must be known first.
    pub fn buffered(&self) -> usize {
        let held = |leg: &Leg| leg.open_session().map_or(0, Session::held);
        let waiting: usize = self.pipes.iter().map(Pipe::waiting_len).sum();
        waiting + self.legs.iter().map(held).sum::<usize>()
    }

    /// Payload bytes that leg `side` has said.
    pub fn bytes_from(&self, side: usize) -> u64 {
        self.pipes[self.sink_of(side)].bytes
    }

    /// Messages in the direction of what leg `side` says: those that a WebSocket there has said, or
    /// else those that became of its stream. None between two streams.
    pub fn messages_from(&self, side: usize) -> u64 {
        match (&self.legs[side].codec, &self.legs[self.sink_of(side)].codec) {
            (Codec::WebSocket(session), _) => session.received(),
            (_, Codec::WebSocket(session)) => session.sent(),
            _ => 0,
        }
    }

    /// Whether leg `side` has something to be sent or shut.
    #[inline]
    pub fn is_due(&self, side: usize) -> bool {
        let leg = &self.legs[side];
        !self.pipes[side].is_clear()
            || leg.writing == Writing::ShutdownDue
            || matches!(&leg.codec, Codec::WebSocket(s)
                if leg.writing == Writing::Open && s.wants_control())
    }

    /// The control frame that is due on leg `side` once nothing waits for it.
    pub fn control(
        &mut self,
        side: usize,
        out: &mut [u8; MAX_CONTROL_FRAME],
        ctx: &mut Context,
    ) -> Option<usize> {
        let leg = &mut self.legs[side];
        if leg.writing != Writing::Open {
            return None;
        }
        let session = leg.session()?;
        let pings = session.pings().sent();
        let len = session.control(out, ctx.keys);
        if session.pings().sent() > pings {
            leg.pinged_at = ctx.now.0 as u32;
        }
        self.check_transport_end(side);
        len
    }

    /// Whether the write side of leg `side` is to be shut once nothing waits for it.
    pub fn shutdown_due(&self, side: usize) -> bool {
        self.legs[side].writing == Writing::ShutdownDue
    }

    /// Whether leg `side` has nothing more to do.
    pub fn is_done(&self, side: usize) -> bool {
        self.legs[side].is_done()
    }

    /// Whether the connection is finished, or given up.
    pub fn is_over(&self) -> bool {
        self.given_up || self.legs.iter().all(Leg::is_done)
    }

    /// Whether leg 0 has not yet been let in, for which [`Gate::client`] is needed.
    pub fn is_judging(&self) -> bool {
        matches!(self.stage, Stage::Proxied(_) | Stage::Head { .. })
    }

    /// Whether a target is being dialled.
    pub fn is_dialling(&self) -> bool {
        matches!(self.stage, Stage::Dial(_))
    }

    /// Whether the relay has begun, or has been refused.
    pub fn is_relaying(&self) -> bool {
        matches!(self.stage, Stage::Relay(_))
    }

    /// Who ended it and why; `None` while nobody has.
    pub fn ended(&self) -> Option<Ended> {
        self.ending.as_deref().map(|ending| ending.ended)
    }

    // What the loop brings.

    /// Leg `side` said what is the hot buffer's input. To be called until no input is left.
    pub fn on_bytes(&mut self, side: usize, hot: &mut Hot, gate: Gate, ctx: &mut Context) -> Step {
        let messages = &gate.route.messages;
        match &mut self.legs[side].codec {
            Codec::Opening(opening) => match opening.on_bytes(hot, gate, ctx.limits) {
                None => Step::Deliver(side),
                Some(Ok(Call::Page(visit))) => self.expect_page(visit),
                Some(Ok(Call::Admin(inquiry))) => self.expect_answer(inquiry),
                Some(Ok(Call::WebSocket(mut admission))) => {
                    let names = match self.stage {
                        Stage::Head { names } => names,
                        _ => None,
                    };
                    let named = admission.named.take();
                    self.start_dial(named, Welcome::Handshake(admission), ctx);
                    names.map_or(Step::Dial, Step::Admit)
                }
                Some(Err(refusal)) => {
                    self.refuse(&refusal, hot, ctx);
                    Step::Deliver(side)
                }
            },
            Codec::Asking(asking) => match asking.on_bytes(hot, ctx.limits) {
                None => Step::Deliver(side),
                Some(Ok(())) => {
                    let encoding = messages.encoding;
                    self.legs[side].codec =
                        websocket(Role::Client, encoding, Passing::Stream, messages, ctx);
                    self.on_life(side, ctx);
                    Step::Open(self.open(Passing::Stream, messages, ctx))
                }
                Some(Err(error)) => Step::Disagree(error),
            },
            _ => match &self.stage {
                Stage::Proxied(_) => self.hear_proxy(hot, gate, ctx),
                Stage::Name(_) => self.hear_name(hot, ctx),
                _ => self.relay(side, hot, ctx),
            },
        }
    }

    /// Leg `side` took `n` bytes right away.
    #[inline]
    pub fn on_passed(&mut self, side: usize, n: usize, ctx: &Context) {
        self.pipes[side].passed(n);
        self.on_progress(side, ctx);
    }

    /// Leg `side` refused `bytes`.
    pub fn keep(&mut self, side: usize, bytes: &[u8], ctx: &mut Context) {
        if bytes.is_empty() || self.legs[side].writing == Writing::Shut {
            return;
        }
        self.await_taking(side, ctx);
        self.pipes[side].keep(bytes, ctx.pool);
    }

    /// Leg `side` has not been offered what the ring has.
    fn adopt(&mut self, side: usize, ring: Ring, ctx: &mut Context) {
        if ring.is_empty() || self.legs[side].writing == Writing::Shut {
            return ctx.pool.give_back(ring);
        }
        self.await_taking(side, ctx);
        self.pipes[side].adopt(ring, ctx.pool);
    }

    /// Something is about to wait for leg `side`.
    fn await_taking(&mut self, side: usize, ctx: &Context) {
        if let (true, Some(timeout)) = (self.pipes[side].is_clear(), ctx.limits.send_timeout) {
            self.deadlines.set(Deadline::Send(side), ctx.now + timeout);
        }
    }

    /// Leg `side` took `n` of the bytes that wait for it.
    pub fn on_delivered(&mut self, side: usize, n: usize, ctx: &mut Context) {
        if self.pipes[side].delivered(n, ctx.pool) {
            self.deadlines.clear(Deadline::Send(side));
            self.await_pong(self.sink_of(side), ctx);
        } else if let Some(timeout) = ctx.limits.send_timeout {
            self.deadlines.set(Deadline::Send(side), ctx.now + timeout);
        }
        self.on_progress(side, ctx);
    }

    /// The write side of leg `side` is shut.
    pub fn on_shut(&mut self, side: usize) {
        self.legs[side].writing = Writing::Shut;
    }
}
