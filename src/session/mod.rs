//! One WebSocket endpoint, in either role, from the opening handshake's end to the closing one's
//! (RFC 6455 §5 to §7).
//!
//! Owns what is being received and sent, and the closing handshake. Never touches a socket or a
//! clock: it rewrites bytes in the hot buffer and says what it wants to send.
//!
//! The closing handshake has two halves that end independently:
//!
//! ```text
//! sending    Open -> CloseDue -> Closed         receiving    Open -> Closed | Failed
//! ```

#![forbid(unsafe_code)]

pub mod bucket;
pub mod deadlines;
pub mod ended;
pub mod endpoint;
mod leg;
pub mod link;
mod naming;
pub mod opening;
pub mod page;
pub mod pings;
pub mod pipe;
pub mod proxied;
pub mod rates;
#[cfg(test)]
mod tests;

use std::time::Duration;

use self::pings::Pings;
use self::pipe::Flow;
use crate::buf::hot::Hot;
use crate::proto::close::{Close, CloseCode};
use crate::proto::encoding::{Encoding, Pack, Unpack};
use crate::proto::frame::{FrameError, FrameHeader, Opcode, Role, MAX_CONTROL_PAYLOAD, MAX_HEADER};
use crate::proto::mask::{Keys, Mask};
use crate::proto::message::{ControlPayload, Decoder, Kind, Piece, Step};

/// Bytes in the longest control frame.
pub const MAX_CONTROL_FRAME: usize = MAX_HEADER + MAX_CONTROL_PAYLOAD;

/// How decoding hands out what it hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passing {
    /// As a stream of bytes.
    Stream,
    /// As `Stream`, but decoding stops behind each piece of payload, so that what a stream begins
    /// with can be looked at; until [`Session::begin_stream`].
    Pieces,
    /// As `Pieces`, of messages that are as they are, whatever the encoding.
    Messages,
    /// As frames, ready for this endpoint's own peer: an echo.
    Frames,
}

/// What an endpoint is told at its birth.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// What payloads look like.
    pub encoding: Encoding,
    /// U+FFFD instead of an error for outbound text that is not UTF-8.
    pub text_lossy: bool,
    /// How what is heard is handed out.
    pub passing: Passing,
    /// Bytes in a received message, 0 for no limit.
    pub max_message: u64,
    /// After the peer's Close, for what it is still sent to make progress and end before the Close
    /// is answered (§5.5.1). Counted in tenths of a second, rounded up, [`Options::MAX_HALF_CLOSE`] at
    /// most. `None` answers at once.
    pub half_close: Option<Duration>,
}

impl Options {
    /// The longest that an endpoint lingers.
    pub const MAX_HALF_CLOSE: Duration = Duration::from_secs(3600);
}

/// Binary messages, bytes unchanged, no limit.
impl Default for Options {
    fn default() -> Self {
        Self {
            encoding: Encoding::Binary,
            text_lossy: false,
            passing: Passing::Stream,
            max_message: 0,
            half_close: None,
        }
    }
}

/// Why [`Session::decode`] stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The input is used up.
    Drained,
    /// The output must be sent before there is room for more.
    Full,
    /// The output is a piece of a message, the last one if it `ends`; there may be more input.
    Piece {
        /// What the message is.
        kind: Kind,
        /// Whether it ends.
        ends: bool,
    },
    /// A Ping wants its answer; there may be more input.
    Reply,
    /// The peer's Close; what follows it means nothing (§5.5.1).
    Closed,
}

/// Our half of the closing handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sending {
    Open,
    CloseDue,
    Closed,
}

/// The peer's half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Receiving {
    Open,
    Closed(CloseCode),
    /// It broke the protocol; nothing it says counts any more.
    Failed,
}

/// One endpoint.
#[derive(Debug)]
pub struct Session {
    decoder: Decoder,
    /// What our Close says: there while it is due. Boxed, since that lasts a moment and an endpoint
    /// long; beside its state and not in it, which would take eight bytes more.
    close: Option<Box<Close<'static>>>,
    /// What our Pong says, while one is due, if it says anything: one slot serves all Pings, the
    /// latest wins (§5.5.3).
    pong: Option<Box<ControlPayload>>,
    /// Messages whose end has come.
    received: u64,
    /// Messages whose end has been handed out to be sent.
    sent: u64,
    unpack: Unpack,
    pack: Pack,
    sending: Sending,
    receiving: Receiving,
    pong_due: bool,
    passing: Passing,
    role: Role,
    pings: Pings,
    /// [`Options::half_close`] in tenths of a second, 0 for none: two bytes, since there are many of
    /// us.
    half_close: u16,
}

impl Session {
    /// An endpoint whose opening handshake is done.
    pub fn new(role: Role, options: Options) -> Self {
        Self {
            decoder: Decoder::new(role, options.max_message),
            close: None,
            pong: None,
            received: 0,
            sent: 0,
            sending: Sending::Open,
            pong_due: false,
            unpack: Unpack::new(match options.passing {
                // Payloads stay as they are.
                Passing::Frames | Passing::Messages => Encoding::Binary,
                _ => options.encoding,
            }),
            pack: Pack::new(options.encoding, options.text_lossy),
            receiving: Receiving::Open,
            passing: options.passing,
            role,
            pings: Pings::new(),
            half_close: options.half_close.map_or(0, |time| {
                time.min(Options::MAX_HALF_CLOSE).as_millis().div_ceil(100) as u16
            }),
        }
    }

    /// What the stream began with is known: from now on decoding does not stop behind each piece.
    pub fn begin_stream(&mut self) {
        if self.passing == Passing::Messages {
            self.unpack = Unpack::new(self.pack.encoding());
        }
        self.passing = Passing::Stream;
    }

    /// A text message of our own as it goes over the wire, whatever the encoding of the stream.
    pub fn text(&mut self, text: &[u8], keys: &mut Keys) -> Vec<u8> {
        self.message(Kind::Text, text, keys)
    }

    /// A whole message of our own, likewise.
    pub fn message(&mut self, kind: Kind, payload: &[u8], keys: &mut Keys) -> Vec<u8> {
        self.sent += 1;
        let mut out = vec![0; MAX_HEADER + payload.len()];
        let len = put_frame(&mut out, self.role, keys, kind.opcode(), payload);
        out.truncate(len);
        out
    }

    /// Turns the wire bytes of the input into stream bytes of the output.
    ///
    /// `answers` is how many Pings may still stop it, one by one; of those beyond, the latest
    /// gets the answer.
    ///
    /// # Errors
    /// The rule that the peer has broken. What came before is in the output, and
    /// [`Session::fail`] is to be called.
    pub fn decode(
        &mut self,
        hot: &mut Hot,
        keys: &mut Keys,
        answers: &mut u32,
    ) -> Result<Stop, FrameError> {
        loop {
            // A header of ours may be longer than the one it replaces if we mask and the peer
            // does not.
            let grows = self.passing == Passing::Frames && self.role.masks();
            if grows && !hot.output().is_empty() {
                return Ok(Stop::Full);
            }
            let (used, step) = self.decoder.next(hot.input())?;
            hot.skip(used);
            match step {
                None => return Ok(Stop::Drained),
                Some(Step::Payload(piece)) => {
                    self.received += u64::from(piece.ends);
                    match self.passing {
                        Passing::Stream => self.unpack.pass(hot, piece)?,
                        Passing::Pieces | Passing::Messages => {
                            self.unpack.pass(hot, piece)?;
                            return Ok(Stop::Piece { kind: piece.kind, ends: piece.ends });
                        }
                        Passing::Frames => self.pass_frame(hot, keys, piece)?,
                    }
                }
                Some(Step::Control(opcode)) => {
                    if let Some(stop) = self.on_control(opcode, answers)? {
                        return Ok(stop);
                    }
                }
            }
        }
    }

    /// Turns the output, stream bytes of one read, into a message on the wire.
    ///
    /// # Errors
    /// What the encoding cannot say; the bytes before it are in the output.
    pub fn encode(&mut self, hot: &mut Hot, keys: &mut Keys) -> Result<(), FrameError> {
        if self.passing == Passing::Frames {
            return Ok(());
        }
        let packed = self.pack.pack(hot);
        self.wrap(hot, keys);
        packed
    }

    /// The stream towards the peer ends: leaves in the output what must still be sent.
    ///
    /// # Errors
    /// The stream ended where its encoding cannot.
    pub fn finish(&mut self, hot: &mut Hot, keys: &mut Keys) -> Result<(), FrameError> {
        hot.drop_output();
        self.pack.finish(hot)?;
        self.wrap(hot, keys);
        Ok(())
    }

    /// How much of the other side may be read at once, so that its messages fit in a hot buffer
    /// of `size` bytes.
    pub fn read_limit(&self, size: usize) -> usize {
        self.pack.read_limit(size)
    }

    /// How many bytes on the wire a byte of the other side may become, headers aside.
    pub fn growth(&self) -> usize {
        self.pack.growth()
    }

    /// Whether a control frame is due.
    pub fn wants_control(&self) -> bool {
        match self.sending {
            Sending::Open => self.pong_due || self.pings.is_due(),
            Sending::CloseDue => true,
            Sending::Closed => false,
        }
    }

    /// Writes the control frame that is due to the start of `out` and says how long it is. May
    /// only go out between two frames. After a Close, none is due ever.
    ///
    /// A Ping has a keepalive in front of it where the encoding has one: the Ping proves that the
    /// peer is alive, but there are intermediaries and far ends that count data messages alone.
    pub fn control(&mut self, out: &mut [u8; MAX_CONTROL_FRAME], keys: &mut Keys) -> Option<usize> {
        if self.has_sent_close() {
            return None;
        }
        let mut payload = [0; MAX_CONTROL_PAYLOAD];
        let mut at = 0;
        let (opcode, len) = if std::mem::take(&mut self.pong_due) {
            (Opcode::Pong, self.take_pong(&mut payload))
        } else if let Some(close) = self.close.take() {
            self.sending = Sending::Closed;
            (Opcode::Close, close.encode(&mut payload))
        } else if self.pings.take_due() {
            at = self.keepalive(out, keys);
            (Opcode::Ping, 0)
        } else {
            return None;
        };
        Some(at + put_frame(&mut out[at..], self.role, keys, opcode, &payload[..len]))
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
                put_frame(out, self.role, keys, self.pack.kind().opcode(), payload)
            }
            _ => 0,
        }
    }

    /// Makes a Ping due.
    pub fn ping(&mut self) {
        if !self.is_closing() {
            self.pings.make_due();
        }
    }

    /// Our Pings so far.
    pub fn pings(&self) -> &Pings {
        &self.pings
    }

    /// The same, for whoever has a clock.
    pub fn pings_mut(&mut self) -> &mut Pings {
        &mut self.pings
    }

    /// Makes our Close due, unless one already is or was. One that answers the peer's, and has
    /// nothing worse to say, has its code (§5.5.1).
    pub fn close(&mut self, code: CloseCode, reason: &'static str) {
        let code = match self.receiving {
            Receiving::Closed(theirs) if code == CloseCode::NORMAL => theirs,
            _ => code,
        };
        if !self.is_closing() {
            self.sending = Sending::CloseDue;
            self.close = Some(Box::new(Close { code, reason }));
            self.pings.cancel();
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

    /// Data messages whose end has come, good or not.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Data messages whose end has been handed out to be sent, keepalives included.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Whether our Close is due or has been sent: no payload may follow it (§5.5.1).
    pub fn is_closing(&self) -> bool {
        self.sending != Sending::Open
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
            Receiving::Closed(_) => self.role == Role::Server,
            Receiving::Failed => true,
        };
        turn && self.has_sent_close()
    }

    /// Payload to a fragment for our own peer.
    fn pass_frame(
        &mut self,
        hot: &mut Hot,
        keys: &mut Keys,
        piece: Piece,
    ) -> Result<(), FrameError> {
        let kept = hot.output().len();
        let opcode = if piece.begins { piece.kind.opcode() } else { Opcode::Continuation };
        let payload_len = piece.len as u64;
        let mask = self.role.masks().then(|| keys.next_key());
        let header = FrameHeader { fin: piece.ends, opcode, mask, payload_len };
        let mut head = [0; MAX_HEADER];
        let len = header.encode(&mut head);
        let fits = hot.put(&head[..len]);
        debug_assert!(fits, "the header that is replaced is longer");
        if let Err(error) = self.unpack.pass(hot, piece) {
            hot.truncate_output(kept);
            return Err(error);
        }
        if let Some(key) = mask {
            Mask::new(key).apply(&mut hot.output_mut()[kept + len..]);
        }
        self.sent += u64::from(piece.ends);
        Ok(())
    }

    fn on_control(
        &mut self,
        opcode: Opcode,
        answers: &mut u32,
    ) -> Result<Option<Stop>, FrameError> {
        match opcode {
            Opcode::Ping if self.has_sent_close() => Ok(None), // nothing follows our Close
            Opcode::Ping => {
                self.pong = self.decoder.take_control();
                self.pong_due = true;
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
                self.pings.on_pong(self.decoder.control());
                Ok(None)
            }
        }
    }

    /// Puts the output, if there is any, behind the header of a message of its own.
    fn wrap(&mut self, hot: &mut Hot, keys: &mut Keys) {
        if hot.output().is_empty() {
            return;
        }
        let mask = self.role.masks().then(|| keys.next_key());
        if let Some(key) = mask {
            Mask::new(key).apply(hot.output_mut());
        }
        let payload_len = hot.output().len() as u64;
        let opcode = self.pack.kind().opcode();
        let mut head = [0; MAX_HEADER];
        let len = FrameHeader { fin: true, opcode, mask, payload_len }.encode(&mut head);
        hot.prepend(&head[..len]);
        self.sent += 1;
    }
}

/// Writes a frame to the start of `out`, masked if `role` does so, and says how long it is.
fn put_frame(out: &mut [u8], role: Role, keys: &mut Keys, opcode: Opcode, payload: &[u8]) -> usize {
    let mask = role.masks().then(|| keys.next_key());
    let header = FrameHeader { fin: true, opcode, mask, payload_len: payload.len() as u64 };
    let mut head = [0; MAX_HEADER];
    let at = header.encode(&mut head);
    let end = at + payload.len();
    out[..at].copy_from_slice(&head[..at]);
    out[at..end].copy_from_slice(payload);
    mask.map_or_else(Mask::default, Mask::new).apply(&mut out[at..end]);
    end
}
