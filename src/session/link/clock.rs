//! What a link does when time has passed, and what moves its deadlines.

use std::time::Duration;

use super::{Context, Due, Link, Stage};
use crate::buf::hot::Hot;
use crate::policy::admit::{Refusal, Status};
use crate::proto::close::CloseCode;
use crate::session::deadlines::{Deadline, Time};
use crate::session::ended::{By, Why};
use crate::session::leg::{Codec, Leg, Reading};
use crate::session::rates::Rates;

impl Link {
    /// When [`Link::on_deadline`] wants to be called, at the latest.
    #[inline]
    pub fn wake_at(&self) -> Time {
        let rates = self.rates().map_or(Time::NEVER, Rates::wake_at);
        self.deadlines.earliest().min(rates)
    }

    /// Pings that were sent on both legs.
    pub fn pings(&self) -> u32 {
        let sent = |leg: &Leg| leg.open_session().map_or(0, |session| session.pings().sent());
        self.legs.iter().map(sent).fold(0, u32::saturating_add)
    }

    /// How long the last Pong took: the client's, or where that sends none the target's.
    pub fn round_trip(&self) -> Option<Duration> {
        self.legs.iter().find_map(|leg| leg.open_session()?.pings().round_trip())
    }

    /// How long the current attempt to connect may take.
    pub fn set_dial_deadline(&mut self, due: Time) {
        self.deadlines.set(Deadline::Dial, due);
    }

    /// Time has passed. To be called until it returns `None`; the output is for leg 0.
    pub fn on_deadline(&mut self, hot: &mut Hot, ctx: &mut Context) -> Option<Due> {
        hot.fill(0);
        if let Some(side) = self.rates_mut().and_then(|rates| rates.resume(ctx.now)) {
            self.await_pong(side, ctx);
            return Some(Due::Nothing);
        }
        match self.deadlines.take_due(ctx.now)? {
            Deadline::Handshake if matches!(self.stage, Stage::Ask(_)) => {
                return Some(Due::NoAnswer)
            }
            Deadline::Handshake if self.is_relaying() => {
                if self.owes_answer() {
                    let code = CloseCode::GOING_AWAY;
                    self.close(By::Target, Why::Unanswered, code, hot, ctx);
                }
            }
            Deadline::Handshake => {
                let secs = ctx.limits.handshake_timeout.as_secs_f32();
                let reason = format!("no complete request within {secs} s");
                self.refuse(&Refusal::new(Status::RequestTimeout, reason), hot, ctx);
            }
            Deadline::Dial => return Some(Due::NextAddress),
            Deadline::Idle => {
                self.close(By::Proxy, Why::IdleTimeout, CloseCode::GOING_AWAY, hot, ctx);
            }
            Deadline::Lifetime if self.deadlines.is_set(Deadline::Close) => self.give_up(ctx),
            Deadline::Lifetime => {
                self.close(By::Proxy, Why::MaxLifetime, CloseCode::GOING_AWAY, hot, ctx);
            }
            Deadline::Close => match self.patience(ctx) {
                // It would be us who make no progress.
                patience if patience > Duration::ZERO && self.is_holding_up() => {
                    self.deadlines.set(Deadline::Close, ctx.now + patience);
                }
                _ => self.on_impatience(ctx),
            },
            Deadline::Send(side) => self.on_stuck(side, ctx),
            Deadline::Pong(side) => self.on_silence(side, hot, ctx),
        }
        Some(Due::Nothing)
    }

    /// Whoever still waits, waits in vain.
    pub(super) fn give_up(&mut self, ctx: &mut Context) {
        self.given_up = true;
        for side in 0..2 {
            self.forget_held(side, ctx);
            self.break_leg(side, ctx);
        }
    }

    /// Leg `side` has taken nothing for `--send-timeout`.
    pub(super) fn on_stuck(&mut self, side: usize, ctx: &mut Context) {
        let is_raw = matches!(self.legs[side].codec, Codec::Raw);
        let code = if is_raw { CloseCode::INTERNAL_ERROR } else { CloseCode::ABNORMAL };
        self.end(By::side(side), Why::SendTimeout, code);
        self.break_leg(side, ctx);
        self.legs[side].reading = Reading::Ended;
        self.forget_held(side, ctx);
        self.discard_source_of(side);
        let sink = self.sink_of(side);
        self.pipes[sink].end(CloseCode::INTERNAL_ERROR);
        self.settle(sink, ctx);
        self.start_closing(ctx);
    }

    /// Leg `side` has said nothing for the ping interval, or since its Ping.
    pub(super) fn on_silence(&mut self, side: usize, hot: &mut Hot, ctx: &mut Context) {
        let awaited = self.legs[side].awaits_pong;
        if awaited && self.may_read(side) && self.pipes[side].is_clear() {
            let code = CloseCode::INTERNAL_ERROR;
            return self.close(By::side(side), Why::PongTimeout, code, hot, ctx);
        }
        if let Some(session) = self.legs[side].session() {
            // Backpressure would look like death: the Ping may wait behind what the leg has not
            // taken, or its Pong behind the reads that we paused.
            if !awaited {
                session.ping();
            }
            self.legs[side].awaits_pong = true;
            self.deadlines.set(Deadline::Pong(side), ctx.now + ctx.limits.pong_timeout);
        }
    }

    /// Leg `side` is read again: its Pong may have waited behind the reads that we paused.
    pub(super) fn await_pong(&mut self, side: usize, ctx: &Context) {
        if self.legs[side].awaits_pong && !self.deadlines.is_set(Deadline::Close) {
            self.deadlines.set(Deadline::Pong(side), ctx.now + ctx.limits.pong_timeout);
        }
    }

    /// Leg `side` lives.
    #[inline]
    pub(super) fn on_life(&mut self, side: usize, ctx: &Context) {
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
    pub(super) fn on_payload(&mut self, ctx: &Context) {
        if let Some(timeout) = ctx.limits.idle_timeout {
            if !self.deadlines.is_set(Deadline::Close) {
                self.deadlines.set(Deadline::Idle, ctx.now + timeout);
            }
        }
    }

    /// Bytes went out to leg `side`: a closing gets its time anew.
    #[inline]
    pub(super) fn on_progress(&mut self, side: usize, ctx: &Context) {
        if self.deadlines.is_set(Deadline::Close) && !self.is_overdue(self.sink_of(side)) {
            self.deadlines.set(Deadline::Close, ctx.now + self.patience(ctx));
        }
    }

    /// Whether a leg is paused that may still have something to say.
    fn is_holding_up(&self) -> bool {
        (0..2).any(|side| self.is_paused(side) && !self.is_overdue(side))
    }

    /// Whether leg `source` was told that its time is over, and should have nothing more to say.
    fn is_overdue(&self, source: usize) -> bool {
        let is_told = matches!(&self.legs[source].codec, Codec::WebSocket(s) if s.is_closing());
        let why = self.ended().map(|ended| ended.why);
        is_told && matches!(why, Some(Why::MaxLifetime | Why::IdleTimeout))
    }
}
