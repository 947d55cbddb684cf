//! How a link ends: sources that end, peers that say Close or break rules, ourselves.
//!
//! Every way leads through the same few steps: the first cause is noted, the source is heard or
//! discarded, the pipe drains, the sink is told in its own way, and the `Close` deadline runs.

use std::time::Duration;

use super::beginning::Welcome;
use super::{Context, Link, Stage, Step};
use crate::buf::hot::Hot;
use crate::policy::admit::{Refusal, Status};
use crate::proto::close::CloseCode;
use crate::proto::frame::FrameError;
use crate::proto::response::ResponseError;
use crate::session::deadlines::Deadline;
use crate::session::ended::{By, Ended, Ending, Why};
use crate::session::leg::{Codec, Leg, Reading, Writing};
use crate::session::naming::Words;
use crate::session::pipe::Flow;

impl Link {
    /// Leg `side` has said its last: its stream ended (`reset` is false) or failed. What is left
    /// to say of it is in the output.
    pub fn on_end(&mut self, side: usize, reset: bool, hot: &mut Hot, ctx: &mut Context) -> Step {
        hot.fill(0);
        let sink = self.sink_of(side);
        let was = self.legs[side].reading;
        let reset = reset || self.legs[side].failed;
        self.legs[side].reading = Reading::Ended;
        if reset {
            self.break_leg(side, ctx);
        }
        self.forget_held(side, ctx);
        match &mut self.legs[side].codec {
            Codec::Opening(_) => {
                self.end(By::side(side), Why::NoRequest, CloseCode::ABNORMAL);
                self.legs[side].writing = Writing::Shut;
            }
            Codec::Asking(_) => return Step::Disagree(ResponseError::Silent),
            Codec::WebSocket(session) if !session.has_heard_all() => {
                let why = if reset { Why::Reset } else { Why::Lost };
                self.end(By::side(side), why, CloseCode::ABNORMAL);
                // It went without a Close: nothing that we could say would be heard.
                self.break_leg(side, ctx);
                self.discard_source_of(side);
                self.pipes[sink].end(CloseCode::INTERNAL_ERROR);
                self.start_closing(ctx);
            }
            // The server's end of TCP, which a client waits for (§7.1.1).
            Codec::WebSocket(_) => self.check_transport_end(side),
            Codec::Raw if side == 0 && matches!(self.stage, Stage::Proxied(_) | Stage::Name(_)) => {
                self.end(By::side(side), Why::NoRequest, CloseCode::ABNORMAL);
                self.legs[side].writing = Writing::Shut;
            }
            Codec::Raw if was == Reading::Relaying => self.on_stream_end(side, reset, hot, ctx),
            // It was discarded. If that is the first sign of an end, a page was under way.
            Codec::Raw if reset => self.note_failure(side),
            Codec::Raw => {}
            Codec::Page(page) => {
                let page = **page;
                self.end(By::Proxy, Why::Served(page.status), page.close_code());
                self.pipes[sink].end(page.close_code());
            }
        }
        if side == 1 {
            self.answer_for_target(Status::BadGateway, hot, ctx);
        }
        if reset {
            self.hurry(ctx);
        }
        Step::Deliver(sink)
    }

    /// The stream of leg `side`, which was relayed, ended or failed.
    fn on_stream_end(&mut self, side: usize, reset: bool, hot: &mut Hot, ctx: &mut Context) {
        let sink = self.sink_of(side);
        let (why, code) = match reset {
            true => (Why::Reset, CloseCode::INTERNAL_ERROR),
            false => (Why::Eof, CloseCode::NORMAL),
        };
        if !reset {
            self.finish_encoding(sink, hot, ctx);
        }
        self.end(By::side(side), why, code);
        self.pipes[sink].end(code);
        if reset {
            self.discard_source_of(side);
        }
        // Until a Close can follow the rest, --send-timeout watches whoever takes it.
        if ctx.limits.send_timeout.is_none() && self.legs[sink].session().is_some() {
            self.start_closing(ctx);
        }
    }

    /// The transport of leg `side` has failed, although nobody reads it now. What it has said can
    /// still be read and delivered, but that must make progress.
    pub fn on_failure(&mut self, side: usize, ctx: &mut Context) {
        let is_waiting = matches!(self.stage, Stage::Ask(_) | Stage::Page(_));
        if self.is_dialling() || side == 0 && is_waiting {
            // Whoever asked is gone: nobody needs the target any more.
            self.end(By::side(side), Why::Reset, CloseCode::ABNORMAL);
            self.stage = Stage::Relay(None);
            self.legs[side].reading = Reading::Ended;
            self.break_leg(side, ctx);
            self.drop_target(ctx);
        } else if self.is_relaying() && !self.legs[side].is_done() {
            // One whose stream has ended may have been waited for; nothing can be sent to it now.
            self.note_failure(side);
            self.start_closing(ctx);
        }
    }

    /// A write to leg `side` failed. What it has said can still be read.
    pub fn on_write_error(&mut self, side: usize, ctx: &mut Context) {
        self.legs[side].failed = true;
        self.note_failure(side);
        self.break_leg(side, ctx);
        self.start_closing(ctx);
        self.hurry(ctx);
    }

    /// A closing that has begun may have less to wait for now.
    fn hurry(&mut self, ctx: &Context) {
        if self.deadlines.is_set(Deadline::Close) {
            self.deadlines.set(Deadline::Close, ctx.now + self.patience(ctx));
        }
    }

    /// If nothing else has ended it, the transport of leg `side` has.
    fn note_failure(&mut self, side: usize) {
        let code = match self.legs[side].codec {
            Codec::Raw => CloseCode::INTERNAL_ERROR,
            _ => CloseCode::ABNORMAL,
        };
        self.end(By::side(side), Why::Reset, code);
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

    /// Answers the request with a status, if leg 0 has asked for something; the output is for it.
    pub fn refuse(&mut self, refusal: &Refusal, hot: &mut Hot, ctx: &mut Context) {
        let words = match std::mem::replace(&mut self.stage, Stage::Relay(None)) {
            Stage::Proxied(proxied) if !proxied.is_http => None,
            Stage::Proxied(_) | Stage::Head { .. } | Stage::Page(_) => {
                Some(Words::Stream(refusal.response()))
            }
            Stage::Name(naming) => Some(naming.refused(refusal)),
            Stage::Dial(asked) | Stage::Ask(asked) => match asked.map(|asked| asked.welcome) {
                Some(Welcome::Handshake(_)) => Some(Words::Stream(refusal.response())),
                Some(Welcome::Named(tunnel)) => tunnel.refused(refusal),
                None => None,
            },
            Stage::Relay(_) => None,
        };
        self.legs[0].reading = Reading::Discarding;
        if self.legs[0].session().is_none() {
            self.legs[0].codec = Codec::Raw;
        }
        hot.fill(0);
        if let Some(words) = words {
            self.tell(&words, hot, ctx);
        }
        match self.legs[0].session() {
            Some(session) => session.abort(refusal.status.close_code(), refusal.status.phrase()),
            None => self.legs[0].writing = Writing::ShutdownDue,
        }
        self.drop_target(ctx);
        self.end(By::Proxy, Why::Refused(refusal.status), CloseCode::ABNORMAL);
        if let Some(ending) = &mut self.ending {
            ending.ended.client = refusal.client;
            ending.told.clone_from(&refusal.reason);
        }
        self.start_closing(ctx);
    }

    /// What whoever connected was told, where that was refused.
    pub fn told(&self) -> &str {
        self.ending.as_deref().map_or("", |ending| &ending.told)
    }

    /// Ends it without a word, before anything was heard.
    pub fn turn_away(&mut self, status: Status) {
        self.end(By::Proxy, Why::Refused(status), CloseCode::ABNORMAL);
        self.given_up = true;
    }

    /// Ends the connection from our side, in good order. Before the relay has begun the request is
    /// refused instead, with the output for leg 0.
    pub fn close(&mut self, by: By, why: Why, code: CloseCode, hot: &mut Hot, ctx: &mut Context) {
        if !self.is_relaying() && self.legs[0].session().is_none() {
            let reason = match why {
                Why::Requested => "the operator has ended this connection; try again later".into(),
                _ => format!("the proxy is stopping ({}); try again later", why.name()),
            };
            return self.refuse(&Refusal::new(Status::Unavailable, reason), hot, ctx);
        }
        hot.fill(0);
        if why == Why::Shutdown && self.page().is_some() {
            return; // what has begun is finished: the drain has an end of its own
        }
        if !self.is_relaying() {
            self.stage = Stage::Relay(None);
            self.drop_target(ctx);
        }
        self.end(by, why, code);
        if by == By::Target && self.owes_answer() {
            let late = why == Why::Unanswered;
            let status = if late { Status::GatewayTimeout } else { Status::BadGateway };
            self.answer_for_target(status, hot, ctx);
            self.pipes[0].end(code);
        }
        let all_raw = self.legs.iter_mut().all(|leg| leg.session().is_none());
        for side in 0..2 {
            if let Some(session) = self.legs[side].session() {
                session.close(code, Ended { by, why, code, client: None }.reason());
                self.discard_source_of(side);
            } else if all_raw || why == Why::PongTimeout {
                // Nobody there could answer a Close: both get what is in flight, and the end.
                self.discard_source_of(side);
                self.pipes[side].end(code);
                self.settle(side, ctx);
            }
        }
        self.start_closing(ctx);
    }

    /// The peer on leg `side` said Close: what it said before is delivered, our Close answers it.
    pub(super) fn on_close(&mut self, side: usize, hot: &mut Hot, ctx: &mut Context) {
        hot.drop_input();
        let code = self.legs[side].session().and_then(|s| s.peer_code());
        let code = code.unwrap_or(CloseCode::NO_STATUS);
        self.end(By::side(side), Why::Close, code);
        self.stop_hearing(side, code, ctx);
        if side == 1 {
            self.answer_for_target(Status::BadGateway, hot, ctx);
        }
    }

    /// Whether leg 0 awaits the answer to its `CONNECT` from leg 1, which has not said a byte.
    pub(super) fn owes_answer(&self) -> bool {
        self.owed_answer && self.pipes[0].bytes == 0
    }

    /// The answer to `CONNECT`, if it is owed, will not come: the output says so in its place.
    fn answer_for_target(&mut self, status: Status, hot: &mut Hot, ctx: &mut Context) {
        if self.owes_answer() {
            self.owed_answer = false;
            let reason = "the far end of the tunnel went without an answer; see the log";
            self.say(0, &Refusal::new(status, reason).response(), hot, ctx);
            self.start_closing(ctx);
        }
    }

    /// A closing has not made progress for long enough. Who lingered is answered now; after that,
    /// whoever still waits, waits in vain.
    pub(super) fn on_impatience(&mut self, ctx: &mut Context) {
        let mut answered = false;
        for side in 0..2 {
            let is_gone = self.pipes[side].flow == Flow::Broken;
            let Some(session) = self.legs[side].session().filter(|s| s.lingers() && !is_gone)
            else {
                continue;
            };
            session.close(CloseCode::NORMAL, "");
            self.discard_source_of(side);
            answered = true;
        }
        match answered {
            true => self.deadlines.set(Deadline::Close, ctx.now + self.patience(ctx)),
            false => self.give_up(ctx),
        }
    }

    /// How long the closing may go without progress from now on.
    pub(super) fn patience(&self, ctx: &Context) -> Duration {
        let usual = ctx.limits.close_timeout;
        let of = |side: usize| match &self.legs[side].codec {
            Codec::WebSocket(session) => {
                let [to, from] = [side, self.sink_of(side)].map(|sink| self.pipes[sink].flow);
                Some(session.patience(usual, to, from))
            }
            _ => None,
        };
        of(0).max(of(1)).unwrap_or(usual)
    }

    /// The peer on leg `side` broke a rule: the same, but our Close says which.
    pub(super) fn on_protocol_error(
        &mut self,
        side: usize,
        error: FrameError,
        hot: &mut Hot,
        ctx: &mut Context,
    ) {
        hot.drop_input();
        self.end(By::side(side), Why::Protocol(error), error.close_code());
        if let Some(session) = self.legs[side].session() {
            session.fail(error);
        }
        self.stop_hearing(side, CloseCode::INTERNAL_ERROR, ctx);
        if side == 1 {
            self.answer_for_target(Status::BadGateway, hot, ctx);
        }
    }

    /// The source of leg `side` said what its encoding cannot carry.
    pub(super) fn on_unsayable(
        &mut self,
        side: usize,
        error: FrameError,
        hot: &mut Hot,
        ctx: &Context,
    ) {
        hot.drop_input();
        self.end(By::side(1 - side), Why::Protocol(error), error.close_code());
        if let Some(session) = self.legs[side].session() {
            session.close(error.close_code(), error.rule());
        }
        self.discard_source_of(side);
        self.start_closing(ctx);
    }

    /// Nothing that leg `side` says from now on counts, and it is told nothing new; `code` is what
    /// a WebSocket on the other side is told.
    pub(super) fn stop_hearing(&mut self, side: usize, code: CloseCode, ctx: &mut Context) {
        self.legs[side].reading = Reading::Discarding;
        self.forget_held(side, ctx);
        if !self.legs[side].session().is_some_and(|session| session.lingers()) {
            self.discard_source_of(side);
        }
        let sink = self.sink_of(side);
        self.pipes[sink].end(if code == CloseCode::NO_STATUS { CloseCode::NORMAL } else { code });
        self.check_transport_end(side);
        self.start_closing(ctx);
    }

    /// What the source of leg `side` says has nowhere to go any more, unless it is a WebSocket:
    /// that one is heard for its Close.
    pub(super) fn discard_source_of(&mut self, side: usize) {
        let source = &mut self.legs[1 - side];
        if source.reading == Reading::Relaying {
            source.reading = match source.codec {
                Codec::Raw => Reading::Discarding,
                // Nobody waits for us to hear the rest.
                Codec::Page(_) => Reading::Ended,
                _ => Reading::Relaying,
            };
        }
    }

    /// The stream towards leg `side` has ended and was delivered.
    pub(super) fn end_sink(&mut self, side: usize, code: CloseCode, ctx: &Context) {
        let leg = &mut self.legs[side];
        match &mut leg.codec {
            Codec::WebSocket(session) => {
                session.close(
                    code,
                    if code != CloseCode::INTERNAL_ERROR { "" } else { "other side lost" },
                );
                self.start_closing(ctx);
            }
            _ if leg.writing == Writing::Open => {
                leg.writing = Writing::ShutdownDue;
                // Of two streams that ended well, the other may go on as long as it likes, if
                // that is any use.
                if code == CloseCode::INTERNAL_ERROR || leg.reading == Reading::Discarding {
                    self.start_closing(ctx);
                }
            }
            _ => {}
        }
    }

    /// The stream towards leg `side` ends: what its encoding held back goes out, or cannot.
    pub(super) fn finish_encoding(&mut self, side: usize, hot: &mut Hot, ctx: &mut Context) {
        let finished = match self.legs[side].session() {
            Some(session) => session.finish(hot, ctx.keys),
            None => Ok(()),
        };
        if let Err(error) = finished {
            self.on_unsayable(side, error, hot, ctx);
        }
    }

    /// Leg 1, which is not relayed to yet, goes, and with it what it was asked.
    fn drop_target(&mut self, ctx: &mut Context) {
        self.break_leg(1, ctx);
        self.legs[1] = Leg::absent();
    }

    /// Nothing can be sent on leg `side` any more.
    pub(super) fn break_leg(&mut self, side: usize, ctx: &mut Context) {
        self.legs[side].writing = Writing::Shut;
        self.pipes[side].break_off(ctx.pool);
        self.deadlines.clear(Deadline::Send(side));
        if side == 0 && self.page().is_some() {
            self.discard_source_of(side);
        }
    }

    /// Ends TCP on leg `side` if that is our turn.
    pub(super) fn check_transport_end(&mut self, side: usize) {
        let leg = &mut self.legs[side];
        let heard_end = leg.reading == Reading::Ended;
        let ends = matches!(&leg.codec, Codec::WebSocket(session)
            if session.ends_transport() || heard_end && session.has_sent_close());
        if ends && leg.writing == Writing::Open {
            leg.writing = Writing::ShutdownDue;
        }
    }

    /// From now on the `Close` deadline rules, and those that would start a close are off.
    pub(super) fn start_closing(&mut self, ctx: &Context) {
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
        self.deadlines.set(Deadline::Close, ctx.now + self.patience(ctx));
    }

    /// Notes the first cause.
    pub(super) fn end(&mut self, by: By, why: Why, code: CloseCode) {
        let ended = Ended { by, why, code, client: None };
        self.ending.get_or_insert_with(|| Box::new(Ending { ended, told: String::new() }));
    }
}
