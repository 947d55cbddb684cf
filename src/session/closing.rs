//! Control frames and the closing handshake: what an endpoint says between two frames, and how its two
//! halves end (RFC 6455 §5.5, §7).
//!
//! Owns no state of its own: these are the ways of a [`Session`] that carry no payload.

use std::time::Duration;

use super::pings::{Ping, Pings};
use super::pipe::Flow;
use super::{put_frame, Passing, Receiving, Sending, Session, Stop, MAX_CONTROL_FRAME};
use crate::proto::close::{Close, CloseCode};
use crate::proto::frame::{FrameError, Opcode, Role, MAX_CONTROL_PAYLOAD};
use crate::proto::mask::Keys;

impl Session {
    /// Whether a control frame is due.
    pub fn wants_control(&self) -> bool {
        match self.sending {
            Sending::Open { ping, pong_due } => ping == Ping::Due || pong_due,
            Sending::CloseDue { .. } => true,
            Sending::Closed => false,
        }
    }

    /// Writes the control frame that is due to the start of `out` and says how long it is. May
    /// only go out between two frames. After a Close, none is due ever.
    ///
    /// A Ping has a keepalive in front of it where the encoding has one: the Ping proves that the
    /// peer is alive, but there are intermediaries and far ends that count data messages alone.
    pub fn control(&mut self, out: &mut [u8; MAX_CONTROL_FRAME], keys: &mut Keys) -> Option<usize> {
        let mut payload = [0; MAX_CONTROL_PAYLOAD];
        let mut at = 0;
        let (opcode, len) = match &mut self.sending {
            Sending::Open { pong_due: due @ true, .. }
            | Sending::CloseDue { pong_due: due @ true } => {
                *due = false;
                (Opcode::Pong, self.take_pong(&mut payload))
            }
            Sending::Open { ping: ping @ Ping::Due, .. } => {
                *ping = Ping::Awaited;
                self.pings.on_sent();
                at = self.keepalive(out, keys);
                (Opcode::Ping, 0)
            }
            Sending::CloseDue { .. } => {
                self.sending = Sending::Closed;
                (Opcode::Close, self.close.take()?.encode(&mut payload))
            }
            Sending::Open { .. } | Sending::Closed => return None,
        };
        Some(at + put_frame(&mut out[at..], self.role(), keys, opcode, &payload[..len]))
    }

    /// Writes what the Pong says to the start of `payload` and says how long it is.
    fn take_pong(&mut self, payload: &mut [u8; MAX_CONTROL_PAYLOAD]) -> usize {
        let Some(pong) = self.pong.take() else { return 0 };
        let len = pong.as_slice().len();
        payload[..len].copy_from_slice(pong.as_slice());
        self.decoder.recycle(pong);
        len
    }

    /// Writes the data message that goes before a Ping, if any, to the start of `out` and says how
    /// long it is. Not between fragments of our own, where only control frames may stand (§5.4).
    fn keepalive(&mut self, out: &mut [u8], keys: &mut Keys) -> usize {
        match (self.passing, self.pack.keepalive()) {
            (Passing::Stream, Some(payload)) => {
                self.sent += 1;
                put_frame(out, self.role(), keys, self.pack.kind().opcode(), payload)
            }
            _ => 0,
        }
    }

    /// Makes a Ping due.
    pub fn ping(&mut self) {
        if let Sending::Open { ping, .. } = &mut self.sending {
            *ping = Ping::Due;
        }
    }

    /// Our Pings so far.
    pub fn pings(&self) -> &Pings {
        &self.pings
    }

    /// Whether the Pong to the last of them has come; says so once.
    #[inline]
    pub fn take_answer(&mut self) -> bool {
        match &mut self.sending {
            Sending::Open { ping: ping @ Ping::Answered, .. } => {
                *ping = Ping::None;
                true
            }
            _ => false,
        }
    }

    /// That took so long: an endpoint has no clock.
    pub fn set_round_trip(&mut self, time: Duration) {
        self.pings.set_round_trip(time);
    }

    /// Makes our Close due, unless one already is or was. One that answers the peer's, and has
    /// nothing worse to say, has its code (§5.5.1).
    pub fn close(&mut self, code: CloseCode, reason: &'static str) {
        let code = match self.receiving {
            Receiving::Closed(theirs) if code == CloseCode::NORMAL => theirs,
            _ => code,
        };
        if let Sending::Open { pong_due, .. } = self.sending {
            self.sending = Sending::CloseDue { pong_due };
            self.close = Some(Box::new(Close { code, reason }));
        }
    }

    /// Fails the connection (§7.1.7): our Close says why, and nothing received counts any more.
    pub fn fail(&mut self, error: FrameError) {
        self.abort(error.close_code(), error.rule());
    }

    /// The same for a reason of our own.
    pub fn abort(&mut self, code: CloseCode, reason: &'static str) {
        self.receiving = Receiving::Failed;
        self.close(code, reason);
    }

    /// Whether our Close is due or has been sent: no payload may follow it (§5.5.1).
    pub fn is_closing(&self) -> bool {
        !matches!(self.sending, Sending::Open { .. })
    }

    /// Whether our Close has been handed out by [`Session::control`].
    pub fn has_sent_close(&self) -> bool {
        self.sending == Sending::Closed
    }

    /// Whether the peer has said Close, and ours waits for the end of what it is sent.
    pub fn lingers(&self) -> bool {
        matches!(self.receiving, Receiving::Closed(_)) && !self.is_closing()
    }

    /// How long a closing may go without progress, if it were `usual` without half-close: a peer
    /// may linger for so long, if what it is sent (`to`) has somewhere to go. Who waits for a
    /// lingering peer waits longer, if what that says (`from`) is awaited, and not at all if nobody
    /// could take it: it may go on for long.
    pub fn patience(&self, usual: Duration, to: Flow, from: Flow) -> Duration {
        let half_close = Duration::from_millis(u64::from(self.half_close) * 100);
        if self.lingers() {
            return if to == Flow::Broken { Duration::ZERO } else { half_close };
        }
        let awaits_lingering = half_close > Duration::ZERO && self.is_closing();
        match from {
            _ if !awaits_lingering || self.has_heard_all() => usual,
            Flow::Running => half_close + usual,
            Flow::Broken => Duration::ZERO,
            Flow::Ending(_) | Flow::Drained => usual,
        }
    }

    /// Whether the peer will say nothing more that counts.
    pub fn has_heard_all(&self) -> bool {
        self.receiving != Receiving::Open
    }

    /// The code of the peer's Close, if it has come.
    pub fn peer_code(&self) -> Option<CloseCode> {
        match self.receiving {
            Receiving::Closed(code) => Some(code),
            _ => None,
        }
    }

    /// Whether it is for us to end the TCP connection now: a server does so when both have said
    /// Close, a client waits for it (§7.1.1); after a failure either does (§7.1.7).
    pub fn ends_transport(&self) -> bool {
        let turn = match self.receiving {
            Receiving::Open => false,
            Receiving::Closed(_) => self.role() == Role::Server,
            Receiving::Failed => true,
        };
        turn && self.has_sent_close()
    }

    pub(super) fn on_control(
        &mut self,
        opcode: Opcode,
        answers: &mut u32,
    ) -> Result<Option<Stop>, FrameError> {
        match opcode {
            Opcode::Ping => {
                match &mut self.sending {
                    Sending::Open { pong_due, .. } | Sending::CloseDue { pong_due } => {
                        *pong_due = true;
                        self.pong = self.decoder.take_control();
                    }
                    Sending::Closed => return Ok(None), // nothing follows our Close
                }
                if *answers == 0 {
                    return Ok(None);
                }
                *answers -= 1;
                Ok(Some(Stop::Reply))
            }
            Opcode::Close => {
                let code = Close::decode(self.decoder.control())?.code;
                self.receiving = Receiving::Closed(code);
                // Any other code says that it has failed: it does not await the rest.
                let is_good = code == CloseCode::NORMAL || code == CloseCode::NO_STATUS;
                if self.half_close == 0 || !is_good {
                    self.close(code, "");
                }
                Ok(Some(Stop::Closed))
            }
            // A Pong: of life, it is enough that bytes came.
            _ => {
                if let Sending::Open { ping, .. } = &mut self.sending {
                    ping.on_pong(self.decoder.control());
                }
                Ok(None)
            }
        }
    }
}
