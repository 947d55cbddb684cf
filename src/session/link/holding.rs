//! What a session holds of a message whose length must stand in front of it: what it costs, and
//! where it goes when the length is known.
//!
//! The pool has not lent that memory, so each decoding is followed by an account of it. Then it goes
//! to the sink whole, in the storage where it is if the sink is a stream.

use super::{Context, Link};
use crate::buf::hot::Hot;
use crate::buf::pool::FLOOR;
use crate::buf::ring::Ring;
use crate::proto::frame::FrameError;
use crate::proto::framing::FramingError;
use crate::proto::mask::Keys;
use crate::session::ended::{By, Why};
use crate::session::leg::Codec;
use crate::session::{Session, Stop};

/// Bytes of a buffer in which messages are encoded that cannot be where all others are.
const APART: usize = 64 << 10;

impl Link {
    /// Whether the session on leg `side` holds anything, or has since the last account.
    #[inline]
    pub(super) fn holds(&self, side: usize) -> bool {
        matches!(&self.legs[side].codec, Codec::WebSocket(session) if session.holds())
    }

    /// Leg `side` has said what was held of a message, and that goes before the output.
    ///
    /// # Errors
    /// Of the sink's encoding, or for want of memory for what that makes of it.
    pub(super) fn pass_held(
        &mut self,
        side: usize,
        deaf: bool,
        ctx: &mut Context,
    ) -> Result<(), FrameError> {
        let Some(ready) = self.legs[side].session().and_then(Session::take_held) else {
            return Ok(());
        };
        if deaf {
            ctx.pool.give_back(ready);
            return Ok(());
        }
        let sink = self.sink_of(side);
        // Its rate has paid for it as it came.
        self.pipes[sink].bytes += ready.len() as u64;
        self.on_payload(ctx);
        let (ready, encoded) = match self.legs[sink].session() {
            Some(session) => {
                // For that moment both are there.
                let (frames, encoded) = encode_apart(session, ready.slices(), ctx.keys);
                ctx.pool.give_back(ready);
                let fits = ctx.pool.settle(frames.len(), 0);
                if !fits && frames.len() > FLOOR {
                    ctx.pool.settle(0, frames.len());
                    return Err(self.lack_memory());
                }
                (Ring::holding(frames, 0), encoded)
            }
            None => (ready, Ok(())),
        };
        self.adopt(sink, ready, ctx);
        encoded
    }

    /// The account, whatever came of the decoding: what is passed on takes its share of it along.
    /// Fails the connection if there is no memory for what leg `side` still holds.
    pub(super) fn settle_held(
        &mut self,
        side: usize,
        decoded: Result<Stop, FrameError>,
        ctx: &mut Context,
    ) -> Result<Stop, FrameError> {
        let Some(session) = self.legs[side].session() else { return decoded };
        let (taken, returned) = session.settle_held();
        let held = session.held();
        let fits = ctx.pool.settle(taken, returned);
        if taken > 0 {
            self.on_payload(ctx);
            if let Some(rates) = self.rates_mut() {
                rates.take(side, taken, ctx.now);
            }
        }
        // As much as may always be read may always be kept, here as well as in the pipe, which is empty.
        if fits || taken == 0 || held <= FLOOR || decoded.is_err() {
            return decoded;
        }
        Err(self.lack_memory())
    }

    /// Neither end has broken a rule.
    fn lack_memory(&mut self) -> FrameError {
        let error = FrameError::from(FramingError::NoMemory);
        self.end(By::Proxy, Why::Protocol(error), error.close_code());
        error
    }

    /// What leg `side` has begun to say does not come to an end.
    pub(super) fn forget_held(&mut self, side: usize, ctx: &mut Context) {
        if !self.holds(side) {
            return;
        }
        if let Some(session) = self.legs[side].session() {
            session.forget_held();
            let (taken, returned) = session.settle_held();
            ctx.pool.settle(taken, returned);
        }
    }
}

/// Stream bytes to frames, beside the hot buffer, which still has input.
fn encode_apart(
    session: &mut Session,
    (first, second): (&[u8], &[u8]),
    keys: &mut Keys,
) -> (Vec<u8>, Result<(), FrameError>) {
    let mut hot = Hot::new(APART);
    let limit = session.read_limit(APART);
    let mut frames = Vec::new();
    for part in first.chunks(limit).chain(second.chunks(limit)) {
        hot.fill(part.len()).copy_from_slice(part);
        hot.commit(part.len());
        hot.pass_all();
        let encoded = session.encode(&mut hot, keys);
        frames.extend_from_slice(hot.output());
        if encoded.is_err() {
            return (frames, encoded);
        }
    }
    (frames, Ok(()))
}
