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

mod clock;
mod ending;
#[cfg(test)]
mod script;
#[cfg(test)]
mod tests;

use super::deadlines::{Deadline, Deadlines, Time};
use super::ended::Ended;
use super::leg::{Codec, Leg, Reading, Writing};
use super::pipe::{Flow, Pipe};
use super::{Framing, Options, Session, Stop, MAX_CONTROL_FRAME};
use crate::buf::hot::Hot;
use crate::buf::pool::Pool;
use crate::config::{Limits, Messages};
use crate::policy::admit::Admission;
use crate::proto::frame::Role;
use crate::proto::mask::Keys;

/// Pings of one read that are answered one by one; of more, the latest gets the answer.
pub const ANSWERS_PER_READ: u32 = 16;

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
    /// Leg 0 has not said what it wants.
    Head,
    /// It is welcome when the target answers.
    Dial(Box<Admission>),
    /// Both legs are there, or what is left of them.
    Relay,
}

/// What the loop must do after bytes came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The output is for this leg; there may be more input.
    Deliver(usize),
    /// The request is good: dial. The input that is left comes first when the link is open.
    Dial,
}

/// What the loop must do after time passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Try the next address, or call [`Link::refuse`].
    NextAddress,
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
    ended: Option<Box<Ended>>,
    /// Leg 0 is its own sink.
    echo: bool,
    /// The `Close` deadline fired.
    given_up: bool,
}

impl Link {
    /// A connection that was accepted by a WebSocket server.
    pub fn accepted(ctx: &Context) -> Self {
        let mut deadlines = Deadlines::new(ctx.now);
        deadlines.set(Deadline::Handshake, ctx.now + ctx.limits.handshake_timeout);
        if let Some(lifetime) = ctx.limits.max_lifetime {
            deadlines.set(Deadline::Lifetime, ctx.now + lifetime);
        }
        Self {
            legs: [Leg::new(Codec::Opening(Box::default())), Leg::absent()],
            pipes: [Pipe::new(), Pipe::new()],
            deadlines,
            stage: Stage::Head,
            ended: None,
            echo: false,
            given_up: false,
        }
    }

    // What the loop asks.

    /// Whether leg `side` may be read now: a pipe that cannot write does not read.
    #[inline]
    pub fn may_read(&self, side: usize) -> bool {
        match self.legs[side].reading {
            Reading::Relaying => match self.stage {
                Stage::Head => side == 0,
                Stage::Dial(_) => false,
                Stage::Relay => self.pipes[self.sink_of(side)].is_clear(),
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
        if let Codec::Opening(opening) = &self.legs[side].codec {
            return opening.read_limit(ctx.limits).min(size);
        }
        let sink = self.sink_of(side);
        let (fits, growth) = match &self.legs[sink].codec {
            Codec::WebSocket(session) => (session.read_limit(size), session.growth()),
            _ => (size, 1),
        };
        // All of it may have to be kept, in the form that goes to the sink.
        let kept = ctx.pool.may_read(self.pipes[sink].reach(fits) * growth);
        (kept / growth).max(1)
    }

    /// What waits for leg `side`, in two runs.
    pub fn waiting(&self, side: usize) -> (&[u8], &[u8]) {
        self.pipes[side].waiting()
    }

    /// Bytes kept for both legs.
    pub fn buffered(&self) -> usize {
        self.pipes.iter().map(Pipe::waiting_len).sum()
    }

    /// Payload bytes that leg `side` has said.
    pub fn bytes_from(&self, side: usize) -> u64 {
        self.pipes[self.sink_of(side)].bytes
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
        let len = leg.session()?.control(out, ctx.keys);
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

    /// Whether a target is being dialled.
    pub fn is_dialling(&self) -> bool {
        matches!(self.stage, Stage::Dial(_))
    }

    /// Whether the relay has begun, or has been refused.
    pub fn is_relaying(&self) -> bool {
        matches!(self.stage, Stage::Relay)
    }

    /// Who ended it and why; `None` while nobody has.
    pub fn ended(&self) -> Option<Ended> {
        self.ended.as_deref().copied()
    }

    // What the loop brings.

    /// Leg `side` said what is the hot buffer's input. To be called until no input is left.
    pub fn on_bytes(
        &mut self,
        side: usize,
        hot: &mut Hot,
        messages: &Messages,
        ctx: &mut Context,
    ) -> Step {
        match &mut self.legs[side].codec {
            Codec::Opening(opening) => match opening.on_bytes(hot, messages, ctx.limits) {
                None => Step::Deliver(side),
                Some(Ok(admission)) => {
                    self.deadlines.clear(Deadline::Handshake);
                    self.deadlines.set(Deadline::Dial, ctx.now + ctx.limits.connect_timeout);
                    self.stage = Stage::Dial(Box::new(admission));
                    Step::Dial
                }
                Some(Err(refusal)) => {
                    self.refuse(&refusal, hot, ctx);
                    Step::Deliver(side)
                }
            },
            _ => self.relay(side, hot, ctx),
        }
    }

    /// Leg `side` took `n` bytes right away.
    #[inline]
    pub fn on_passed(&mut self, side: usize, n: usize, ctx: &Context) {
        self.pipes[side].passed(n);
        self.on_progress(ctx);
    }

    /// Leg `side` refused `bytes`.
    pub fn keep(&mut self, side: usize, bytes: &[u8], ctx: &mut Context) {
        if bytes.is_empty() || self.legs[side].writing == Writing::Shut {
            return;
        }
        let first = self.pipes[side].is_clear();
        self.pipes[side].keep(bytes, ctx.pool);
        if let (true, Some(timeout)) = (first, ctx.limits.send_timeout) {
            self.deadlines.set(Deadline::Send(side), ctx.now + timeout);
        }
    }

    /// Leg `side` took `n` of the bytes that wait for it.
    pub fn on_delivered(&mut self, side: usize, n: usize, ctx: &mut Context) {
        if self.pipes[side].delivered(n, ctx.pool) {
            self.deadlines.clear(Deadline::Send(side));
            let source = self.sink_of(side);
            if self.legs[source].awaits_pong {
                // Its Pong may have waited behind the reads that we paused.
                self.deadlines.set(Deadline::Pong(source), ctx.now + ctx.limits.pong_timeout);
            }
        } else if let Some(timeout) = ctx.limits.send_timeout {
            self.deadlines.set(Deadline::Send(side), ctx.now + timeout);
        }
        self.on_progress(ctx);
    }

    /// The write side of leg `side` is shut.
    pub fn on_shut(&mut self, side: usize) {
        self.legs[side].writing = Writing::Shut;
    }

    /// The target answered: the output opens leg 0, which is to be read on, its input first.
    pub fn on_connected(&mut self, echo: bool, messages: &Messages, hot: &mut Hot, ctx: &Context) {
        let Stage::Dial(admission) = std::mem::replace(&mut self.stage, Stage::Relay) else {
            return;
        };
        hot.fill(admission.response.len()).copy_from_slice(&admission.response);
        hot.commit(admission.response.len());
        hot.pass_all();
        let framing = if echo { Framing::Frames } else { Framing::Raw };
        let options = Options {
            encoding: admission.encoding,
            text_lossy: messages.text_lossy,
            framing,
            max_message: ctx.limits.max_message,
        };
        self.legs[0].codec = Codec::WebSocket(Box::new(Session::new(Role::Server, options)));
        self.echo = echo;
        if !echo {
            self.legs[1] = Leg::new(Codec::Raw);
        }
        self.deadlines.clear(Deadline::Dial);
        self.on_life(0, ctx);
        self.on_payload(ctx);
    }

    // What follows from it.

    fn sink_of(&self, side: usize) -> usize {
        if self.echo {
            side
        } else {
            1 - side
        }
    }

    /// One leg's wire bytes to the other leg's wire bytes.
    #[inline]
    fn relay(&mut self, side: usize, hot: &mut Hot, ctx: &mut Context) -> Step {
        let sink = self.sink_of(side);
        self.on_life(side, ctx);
        if self.legs[side].reading != Reading::Relaying {
            hot.drop_input();
            return Step::Deliver(sink);
        }
        // Asked before decoding: what stands before a Close in this read still goes out.
        let deaf = self.is_deaf(sink);
        let decoded = match &mut self.legs[side].codec {
            Codec::WebSocket(session) => {
                if !self.pipes[side].is_clear() {
                    ctx.answers = 0; // no answer could go out now
                }
                session.decode(hot, ctx.keys, &mut ctx.answers)
            }
            _ => {
                hot.pass_all();
                Ok(Stop::Drained)
            }
        };
        if deaf {
            hot.drop_output();
        }
        if !hot.output().is_empty() {
            self.pipes[sink].bytes += hot.output().len() as u64;
            self.on_payload(ctx);
        }
        let encoded = match &mut self.legs[sink].codec {
            Codec::WebSocket(session) => session.encode(hot, ctx.keys),
            _ => Ok(()),
        };
        match decoded {
            Ok(Stop::Closed) => self.on_close(side, hot, ctx),
            Ok(_) => {}
            Err(error) => self.on_protocol_error(side, error, hot, ctx),
        }
        if let Err(error) = encoded {
            self.on_unsayable(sink, error, hot, ctx);
        }
        Step::Deliver(sink)
    }

    /// Whether leg `side` takes no more payload: it is gone, or has been told the end.
    fn is_deaf(&self, side: usize) -> bool {
        self.pipes[side].flow == Flow::Broken
            || matches!(&self.legs[side].codec, Codec::WebSocket(s) if s.is_closing())
    }
}
