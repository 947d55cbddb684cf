//! The relay: one leg's wire bytes to the other leg's.
//!
//! Owns the order in which what was heard is decoded, counted, encoded and answered. How a leg ends is
//! in `ending`.

use super::{Context, Link, Stage, Step};
use crate::buf::hot::Hot;
use crate::proto::frame::FrameError;
use crate::session::leg::{Codec, Reading, Writing};
use crate::session::pipe::Flow;
use crate::session::rates::Rates;
use crate::session::Stop;

impl Link {
    /// Wire bytes of leg `side` to stream bytes.
    #[inline]
    pub(super) fn decode(
        &mut self,
        side: usize,
        hot: &mut Hot,
        ctx: &mut Context,
    ) -> Result<Stop, FrameError> {
        match &mut self.legs[side].codec {
            Codec::WebSocket(session) => {
                if !self.pipes[side].is_clear() {
                    ctx.answers = 0; // no answer could go out now
                }
                let decoded = session.decode(hot, ctx.keys, &mut ctx.answers);
                if session.take_answer() {
                    self.legs[side].on_pong(ctx.now);
                }
                decoded
            }
            _ => {
                hot.pass_all();
                Ok(Stop::Drained)
            }
        }
    }

    #[inline]
    pub(super) fn rates(&self) -> Option<&Rates> {
        match &self.stage {
            Stage::Relay(Some(relayed)) => relayed.rates.as_deref(),
            _ => None,
        }
    }

    #[inline]
    pub(super) fn rates_mut(&mut self) -> Option<&mut Rates> {
        match &mut self.stage {
            Stage::Relay(Some(relayed)) => relayed.rates.as_deref_mut(),
            _ => None,
        }
    }

    pub(super) fn sink_of(&self, side: usize) -> usize {
        if self.echo {
            side
        } else {
            1 - side
        }
    }

    /// One leg's wire bytes to the other leg's wire bytes.
    #[inline]
    pub(super) fn relay(&mut self, side: usize, hot: &mut Hot, ctx: &mut Context) -> Step {
        let sink = self.sink_of(side);
        self.on_life(side, ctx);
        if self.legs[side].reading != Reading::Relaying {
            hot.drop_input();
            return Step::Deliver(sink);
        }
        // Asked before decoding: what stands before a Close in this read still goes out.
        let deaf = self.is_deaf(sink);
        if matches!(&self.legs[sink].codec, Codec::WebSocket(s) if s.growth() > 1) {
            // What grows is written behind what was read, so that all of that must be used up.
            ctx.answers = 0;
        }
        let mut decoded = self.decode(side, hot, ctx);
        let mut encoded = Ok(());
        if self.holds(side) {
            if deaf {
                self.forget_held(side, ctx);
            }
            decoded = self.settle_held(side, decoded, ctx);
            encoded = self.pass_held(side, deaf, ctx);
        }
        if matches!(decoded, Ok(Stop::Closed) | Err(_)) {
            hot.drop_input();
        }
        if deaf || encoded.is_err() {
            hot.drop_output();
        }
        if !hot.output().is_empty() {
            self.count(side, hot.output().len(), ctx);
            self.on_payload(ctx);
        }
        match &mut self.legs[sink].codec {
            Codec::WebSocket(session) if encoded.is_ok() => encoded = session.encode(hot, ctx.keys),
            _ => {}
        }
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

    /// Leg `side` has said `n` bytes of payload.
    #[inline]
    pub(super) fn count(&mut self, side: usize, n: usize, ctx: &Context) {
        self.pipes[self.sink_of(side)].bytes += n as u64;
        if let Codec::Page(page) = &mut self.legs[side].codec {
            page.count(n);
        }
        if let Some(rates) = self.rates_mut() {
            rates.take(side, n, ctx.now);
        }
    }

    /// Whether leg `side` has said more than its rate allows, and has more to say.
    #[inline]
    pub(super) fn is_paused(&self, side: usize) -> bool {
        self.legs[side].reading == Reading::Relaying
            && self.rates().is_some_and(|rates| rates.is_paused(side))
    }

    /// Whether leg `side` takes no more payload: it is gone, or has been told the end.
    pub(super) fn is_deaf(&self, side: usize) -> bool {
        self.legs[side].writing != Writing::Open
            || self.pipes[side].flow == Flow::Broken
            || matches!(&self.legs[side].codec, Codec::WebSocket(s) if s.is_closing())
    }
}
