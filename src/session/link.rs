//! A connection without its sockets: two legs and the two pipes between them.
//!
//! Owns what is due on each leg, who ended the connection and why, and its deadlines. The loop
//! brings bytes, ends, errors and the time, and does what [`Link`] says is due. No leg is special:
//! what differs is in its [`Codec`].
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

use super::deadlines::{Deadline, Deadlines, Time};
use super::opening::Opening;
use super::pipe::{Flow, Pipe};
use super::{Framing, Options, Session, Stop, MAX_CONTROL_FRAME};
use crate::buf::hot::Hot;
use crate::buf::pool::Pool;
use crate::config::{Limits, Messages};
use crate::policy::admit::{Admission, Refusal, Status};
use crate::proto::close::CloseCode;
use crate::proto::frame::{FrameError, Role};
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

/// What speaks on a leg.
#[derive(Debug)]
pub enum Codec {
    /// Bytes as they are.
    Raw,
    /// A server that awaits its request head.
    Opening(Box<Opening>),
    /// An open or closing WebSocket.
    WebSocket(Box<Session>),
}

/// What is done with a leg's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// They go to the sink.
    Relaying,
    /// They are read and dropped, up to the end.
    Discarding,
    /// There are no more.
    Ended,
}

/// What may still be sent on a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writing {
    Open,
    /// Nothing after what waits; then the write side is to be shut.
    ShutdownDue,
    Shut,
}

#[derive(Debug)]
struct Leg {
    codec: Codec,
    reading: Reading,
    writing: Writing,
    /// A Ping has gone out and no byte has come since.
    awaits_pong: bool,
    /// A write has failed: when the rest has been read, it counts as a reset.
    failed: bool,
}

impl Leg {
    fn new(codec: Codec) -> Self {
        let (reading, writing) = (Reading::Relaying, Writing::Open);
        Self { codec, reading, writing, awaits_pong: false, failed: false }
    }

    /// A leg that is not there: nothing comes, nothing goes.
    fn absent() -> Self {
        Self { reading: Reading::Ended, writing: Writing::Shut, ..Self::new(Codec::Raw) }
    }

    fn session(&mut self) -> Option<&mut Session> {
        match &mut self.codec {
            Codec::WebSocket(session) => Some(session),
            _ => None,
        }
    }

    fn is_done(&self) -> bool {
        self.reading == Reading::Ended && self.writing == Writing::Shut
    }
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

/// Who ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The WebSocket side.
    Peer,
    /// The TCP side.
    Target,
    /// We did.
    Proxy,
}

impl By {
    /// The word in a log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Target => "target",
            Self::Proxy => "proxy",
        }
    }
}

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// A WebSocket leg said Close.
    Close,
    /// A raw leg ended its stream.
    Eof,
    /// The transport of a WebSocket leg ended without a Close.
    Lost,
    /// A transport failed.
    Reset,
    /// A rule of the protocol or of an encoding was broken.
    Protocol(FrameError),
    /// Answered with an HTTP status.
    Refused(Status),
    /// The leg ended before it had said what it wanted.
    NoRequest,
    /// `--idle-timeout`
    IdleTimeout,
    /// `--max-lifetime`
    MaxLifetime,
    /// `--pong-timeout`
    PongTimeout,
    /// `--send-timeout`
    SendTimeout,
    /// The proxy is stopping.
    Shutdown,
}

impl Why {
    /// The words in a log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Close => "close",
            Self::Eof => "eof",
            Self::Lost => "lost",
            Self::Reset => "reset",
            Self::Protocol(_) => "protocol-error",
            Self::Refused(_) => "refused",
            Self::NoRequest => "no-request",
            Self::IdleTimeout => "idle-timeout",
            Self::MaxLifetime => "max-lifetime",
            Self::PongTimeout => "pong-timeout",
            Self::SendTimeout => "send-timeout",
            Self::Shutdown => "shutdown",
        }
    }
}

/// The first cause of an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Who.
    pub by: By,
    /// Why.
    pub why: Why,
    /// The close code that was received, or else sent.
    pub code: CloseCode,
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
        let fits = match &self.legs[sink].codec {
            Codec::WebSocket(session) => session.read_limit(size),
            _ => size,
        };
        ctx.pool.may_read(self.pipes[sink].reach(fits)).max(1)
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

    /// When [`Link::on_deadline`] wants to be called, at the latest.
    #[inline]
    pub fn wake_at(&self) -> Time {
        self.deadlines.earliest()
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

    /// Leg `side` has said its last: its stream ended (`reset` is false) or failed. What is left
    /// to say of it is in the output, for the leg that is returned.
    pub fn on_end(&mut self, side: usize, reset: bool, hot: &mut Hot, ctx: &mut Context) -> usize {
        hot.fill(0);
        let sink = self.sink_of(side);
        let was = self.legs[side].reading;
        let reset = reset || self.legs[side].failed;
        self.legs[side].reading = Reading::Ended;
        if reset {
            self.break_leg(side, ctx);
        }
        match &mut self.legs[side].codec {
            Codec::Opening(_) => {
                self.end(By::Peer, Why::NoRequest, CloseCode::ABNORMAL);
                self.legs[side].writing = Writing::Shut;
            }
            Codec::WebSocket(session) if !session.has_heard_all() => {
                self.end(By::Peer, if reset { Why::Reset } else { Why::Lost }, CloseCode::ABNORMAL);
                // It went without a Close: nothing that we could say would be heard.
                self.break_leg(side, ctx);
                self.discard_source_of(side);
                self.pipes[sink].end(CloseCode::INTERNAL_ERROR);
                self.start_closing(ctx);
            }
            // The server's end of TCP, which a client waits for (§7.1.1).
            Codec::WebSocket(_) => self.check_transport_end(side),
            Codec::Raw if was == Reading::Relaying => {
                let (why, code) = match reset {
                    true => (Why::Reset, CloseCode::INTERNAL_ERROR),
                    false => (Why::Eof, CloseCode::NORMAL),
                };
                self.end(By::Target, why, code);
                self.finish_encoding(sink, hot, ctx);
                self.pipes[sink].end(code);
            }
            Codec::Raw => {}
        }
        sink
    }

    /// A write to leg `side` failed. What it has said can still be read.
    pub fn on_write_error(&mut self, side: usize, ctx: &mut Context) {
        self.legs[side].failed = true;
        self.break_leg(side, ctx);
    }

    /// Leg `side` took `n` bytes right away.
    #[inline]
    pub fn on_passed(&mut self, side: usize, n: usize, ctx: &Context) {
        self.pipes[side].passed(n);
        self.on_progress(ctx);
    }

    /// Leg `side` refused `bytes`.
    pub fn keep(&mut self, side: usize, bytes: &[u8], ctx: &mut Context) {
        if self.legs[side].writing == Writing::Shut {
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

    /// Everything that leg `side` was owed right now is sent: a pipe that was ending is drained.
    #[inline]
    pub fn settle(&mut self, side: usize, ctx: &Context) {
        if let Flow::Ending(code) = self.pipes[side].flow {
            if self.pipes[side].is_clear() {
                self.pipes[side].flow = Flow::Drained;
                self.end_sink(side, code, ctx);
            }
        }
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

    /// How long the current attempt to connect may take.
    pub fn set_dial_deadline(&mut self, due: Time) {
        self.deadlines.set(Deadline::Dial, due);
    }

    /// Answers the request with a status; the output is for leg 0.
    pub fn refuse(&mut self, refusal: &Refusal, hot: &mut Hot, ctx: &mut Context) {
        let response = refusal.response();
        let room = hot.fill(response.len());
        let len = room.len().min(response.len());
        room[..len].copy_from_slice(&response[..len]);
        hot.commit(len);
        hot.pass_all();
        self.stage = Stage::Relay;
        self.legs[0].codec = Codec::Raw;
        self.legs[0].reading = Reading::Discarding;
        self.legs[0].writing = Writing::ShutdownDue;
        self.end(By::Proxy, Why::Refused(refusal.status), CloseCode::ABNORMAL);
        self.start_closing(ctx);
    }

    /// Ends the connection from our side, in good order. Before the relay has begun the request is
    /// refused instead, with the output for leg 0.
    pub fn close(&mut self, by: By, why: Why, code: CloseCode, hot: &mut Hot, ctx: &mut Context) {
        if !self.is_relaying() {
            let reason = format!("the proxy is stopping ({}); try again later", why.name());
            return self.refuse(&Refusal::new(Status::Unavailable, reason), hot, ctx);
        }
        hot.fill(0);
        self.end(by, why, code);
        for side in 0..2 {
            if let Some(session) = self.legs[side].session() {
                session.close(code, why.name());
                self.discard_source_of(side);
            }
        }
        self.start_closing(ctx);
    }

    /// Time has passed. To be called until it returns `None`; the output is for leg 0.
    pub fn on_deadline(&mut self, hot: &mut Hot, ctx: &mut Context) -> Option<Due> {
        hot.fill(0);
        match self.deadlines.take_due(ctx.now)? {
            Deadline::Handshake => {
                let secs = ctx.limits.handshake_timeout.as_secs_f32();
                let reason = format!("no complete request within {secs} s");
                self.refuse(&Refusal::new(Status::RequestTimeout, reason), hot, ctx);
            }
            Deadline::Dial => return Some(Due::NextAddress),
            Deadline::Idle => {
                self.close(By::Proxy, Why::IdleTimeout, CloseCode::GOING_AWAY, hot, ctx);
            }
            Deadline::Lifetime if self.deadlines.is_set(Deadline::Close) => self.given_up = true,
            Deadline::Lifetime => {
                self.close(By::Proxy, Why::MaxLifetime, CloseCode::GOING_AWAY, hot, ctx);
            }
            Deadline::Close => self.given_up = true,
            Deadline::Send(side) => self.on_stuck(side, ctx),
            Deadline::Pong(side) => self.on_silence(side, hot, ctx),
        }
        Some(Due::Nothing)
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

    /// The peer on leg `side` said Close: what it said before is delivered, our Close answers it.
    fn on_close(&mut self, side: usize, hot: &mut Hot, ctx: &Context) {
        hot.drop_input();
        let code = self.legs[side].session().and_then(|s| s.peer_code());
        self.end(By::Peer, Why::Close, code.unwrap_or(CloseCode::NO_STATUS));
        self.stop_hearing(side, ctx);
    }

    /// The peer on leg `side` broke a rule: the same, but our Close says which.
    fn on_protocol_error(&mut self, side: usize, error: FrameError, hot: &mut Hot, ctx: &Context) {
        hot.drop_input();
        self.end(By::Peer, Why::Protocol(error), error.close_code());
        if let Some(session) = self.legs[side].session() {
            session.fail(error);
        }
        self.stop_hearing(side, ctx);
    }

    /// The source of leg `side` said what its encoding cannot carry.
    fn on_unsayable(&mut self, side: usize, error: FrameError, hot: &mut Hot, ctx: &Context) {
        hot.drop_input();
        self.end(By::Target, Why::Protocol(error), error.close_code());
        if let Some(session) = self.legs[side].session() {
            session.close(error.close_code(), error.rule());
        }
        self.discard_source_of(side);
        self.start_closing(ctx);
    }

    /// Nothing that leg `side` says from now on counts, and it is told nothing new.
    fn stop_hearing(&mut self, side: usize, ctx: &Context) {
        self.legs[side].reading = Reading::Discarding;
        self.discard_source_of(side);
        let sink = self.sink_of(side);
        self.pipes[sink].end(CloseCode::NORMAL);
        self.check_transport_end(side);
        self.start_closing(ctx);
    }

    /// What the source of leg `side` says has nowhere to go any more, unless it is a WebSocket:
    /// that one is heard for its Close.
    fn discard_source_of(&mut self, side: usize) {
        let source = &mut self.legs[1 - side];
        if matches!(source.codec, Codec::Raw) && source.reading == Reading::Relaying {
            source.reading = Reading::Discarding;
        }
    }

    /// The stream towards leg `side` has ended and was delivered.
    fn end_sink(&mut self, side: usize, code: CloseCode, ctx: &Context) {
        let leg = &mut self.legs[side];
        match &mut leg.codec {
            Codec::WebSocket(session) => {
                session.close(code, if code == CloseCode::NORMAL { "" } else { "other side lost" });
                self.start_closing(ctx);
            }
            _ if leg.writing == Writing::Open => leg.writing = Writing::ShutdownDue,
            _ => {}
        }
    }

    /// The stream towards leg `side` ends: what its encoding held back goes out, or cannot.
    fn finish_encoding(&mut self, side: usize, hot: &mut Hot, ctx: &mut Context) {
        let finished = match self.legs[side].session() {
            Some(session) => session.finish(hot, ctx.keys),
            None => Ok(()),
        };
        if let Err(error) = finished {
            self.on_unsayable(side, error, hot, ctx);
        }
    }

    /// Nothing can be sent on leg `side` any more.
    fn break_leg(&mut self, side: usize, ctx: &mut Context) {
        self.legs[side].writing = Writing::Shut;
        self.pipes[side].break_off(ctx.pool);
        self.deadlines.clear(Deadline::Send(side));
    }

    /// Ends TCP on leg `side` if that is our turn.
    fn check_transport_end(&mut self, side: usize) {
        let leg = &mut self.legs[side];
        let heard_end = leg.reading == Reading::Ended;
        let ends = matches!(&leg.codec, Codec::WebSocket(session)
            if session.ends_transport() || heard_end && session.has_sent_close());
        if ends && leg.writing == Writing::Open {
            leg.writing = Writing::ShutdownDue;
        }
    }

    /// Leg `side` has taken nothing for `--send-timeout`.
    fn on_stuck(&mut self, side: usize, ctx: &mut Context) {
        let is_raw = matches!(self.legs[side].codec, Codec::Raw);
        let by = if is_raw { By::Target } else { By::Peer };
        let code = if is_raw { CloseCode::INTERNAL_ERROR } else { CloseCode::ABNORMAL };
        self.end(by, Why::SendTimeout, code);
        self.break_leg(side, ctx);
        self.legs[side].reading = Reading::Ended;
        self.discard_source_of(side);
        let sink = self.sink_of(side);
        self.pipes[sink].end(CloseCode::INTERNAL_ERROR);
        self.settle(sink, ctx);
        self.start_closing(ctx);
    }

    /// Leg `side` has said nothing for the ping interval, or since its Ping.
    fn on_silence(&mut self, side: usize, hot: &mut Hot, ctx: &mut Context) {
        let paused = !self.may_read(side);
        let awaited = self.legs[side].awaits_pong;
        if awaited && !paused {
            let code = CloseCode::INTERNAL_ERROR;
            return self.close(By::Peer, Why::PongTimeout, code, hot, ctx);
        }
        if let Some(session) = self.legs[side].session() {
            session.ping();
            self.legs[side].awaits_pong = true;
            self.deadlines.set(Deadline::Pong(side), ctx.now + ctx.limits.pong_timeout);
        }
    }

    /// Leg `side` lives.
    #[inline]
    fn on_life(&mut self, side: usize, ctx: &Context) {
        if let (Codec::WebSocket(_), Some(interval)) =
            (&self.legs[side].codec, ctx.limits.ping_interval)
        {
            self.legs[side].awaits_pong = false;
            if !self.deadlines.is_set(Deadline::Close) {
                self.deadlines.set(Deadline::Pong(side), ctx.now + interval);
            }
        }
    }

    /// Payload came.
    #[inline]
    fn on_payload(&mut self, ctx: &Context) {
        if let Some(timeout) = ctx.limits.idle_timeout {
            if !self.deadlines.is_set(Deadline::Close) {
                self.deadlines.set(Deadline::Idle, ctx.now + timeout);
            }
        }
    }

    /// Bytes went out: a closing gets its time anew.
    #[inline]
    fn on_progress(&mut self, ctx: &Context) {
        if self.deadlines.is_set(Deadline::Close) {
            self.deadlines.set(Deadline::Close, ctx.now + ctx.limits.close_timeout);
        }
    }

    /// From now on the `Close` deadline rules, and those that would start a close are off.
    fn start_closing(&mut self, ctx: &Context) {
        if self.deadlines.is_set(Deadline::Close) {
            return;
        }
        for other in [
            Deadline::Handshake,
            Deadline::Dial,
            Deadline::Idle,
            Deadline::Pong(0),
            Deadline::Pong(1),
        ] {
            self.deadlines.clear(other);
        }
        self.deadlines.set(Deadline::Close, ctx.now + ctx.limits.close_timeout);
    }

    /// Notes the first cause.
    fn end(&mut self, by: By, why: Why, code: CloseCode) {
        self.ended.get_or_insert_with(|| Box::new(Ended { by, why, code }));
    }
}
