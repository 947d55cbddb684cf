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
mod closing;
pub mod deadlines;
pub mod ended;
pub mod endpoint;
mod framed;
#[cfg(test)]
mod framed_tests;
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

use self::framed::Framer;
use self::pings::{Ping, Pings};
use crate::buf::hot::Hot;
use crate::buf::ring::Ring;
use crate::proto::close::{Close, CloseCode};
use crate::proto::encoding::{Encoding, Pack, Unpack};
use crate::proto::frame::{FrameError, FrameHeader, Opcode, Role, MAX_CONTROL_PAYLOAD, MAX_HEADER};
use crate::proto::framing::Framing;
use crate::proto::mask::{Keys, Mask};
use crate::proto::message::{ControlPayload, Decoder, Kind, Piece, Step};

/// Bytes in the longest control frame.
pub const MAX_CONTROL_FRAME: usize = MAX_HEADER + MAX_CONTROL_PAYLOAD;

/// How decoding hands out what it hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passing {
    /// As a stream of bytes, in which messages appear as the framing has it.
    Stream,
    /// As `Stream`, but decoding stops behind each piece of payload, so that what a stream begins
    /// with can be looked at; until [`Session::begin_stream`]. Whatever the framing: what is told by
    /// pieces is a stream.
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
    /// How messages appear in the stream. Chunks never do: they are parts of it.
    pub framing: Framing,
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
            framing: Framing::Raw,
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
    Open { ping: Ping, pong_due: bool },
    CloseDue { pong_due: bool },
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
    /// `None` where messages do not appear in the stream.
    framer: Option<Box<Framer>>,
    unpack: Unpack,
    pack: Pack,
    sending: Sending,
    receiving: Receiving,
    passing: Passing,
    pings: Pings,
    /// [`Options::half_close`] in tenths of a second, 0 for none: two bytes, since there are many of
    /// us.
    half_close: u16,
}

impl Session {
    /// What one costs more where messages appear in the stream, in bytes.
    pub const FRAMED: usize = std::mem::size_of::<Framer>();

    /// An endpoint whose opening handshake is done.
    pub fn new(role: Role, options: Options) -> Self {
        let Options { framing, encoding, text_lossy, max_message, .. } = options;
        let framer = match options.passing {
            Passing::Stream | Passing::Messages => {
                Framer::new(framing, role, encoding, text_lossy, max_message)
            }
            Passing::Pieces | Passing::Frames => None,
        };
        let max_message = framer.as_ref().map_or(max_message, |f| f.max_message(max_message));
        Self {
            decoder: Decoder::new(role, max_message),
            framer,
            close: None,
            pong: None,
            received: 0,
            sent: 0,
            sending: Sending::Open { ping: Ping::None, pong_due: false },
            unpack: Unpack::new(match options.passing {
                // Payloads stay as they are.
                Passing::Frames | Passing::Messages => Encoding::Binary,
                _ => options.encoding,
            }),
            pack: Pack::new(options.encoding, options.text_lossy),
            receiving: Receiving::Open,
            passing: options.passing,
            pings: Pings::default(),
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
        let len = put_frame(&mut out, self.role(), keys, kind.opcode(), payload);
        out.truncate(len);
        out
    }

    fn role(&self) -> Role {
        self.decoder.role()
    }

    /// Turns the wire bytes of the input into stream bytes of the output. What [`Session::take_held`]
    /// then has goes before it.
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
        if let Some(framer) = &mut self.framer {
            framer.join.begin(hot);
        }
        let stop = self.decode_steps(hot, keys, answers);
        if let Some(framer) = &mut self.framer {
            framer.join.hold(hot);
        }
        stop
    }

    #[inline]
    fn decode_steps(
        &mut self,
        hot: &mut Hot,
        keys: &mut Keys,
        answers: &mut u32,
    ) -> Result<Stop, FrameError> {
        loop {
            // A header of ours may be longer than the one it replaces if we mask and the peer
            // does not.
            let grows = self.passing == Passing::Frames && self.role().masks();
            if grows && !hot.output().is_empty() {
                return Ok(Stop::Full);
            }
            let (used, step) = match self.decoder.next(hot.input()) {
                Ok(next) => next,
                Err(error) => return Err(self.framer.as_ref().map_or(error, |f| f.explain(error))),
            };
            hot.skip(used);
            match step {
                None => return Ok(Stop::Drained),
                Some(Step::Payload(piece)) => {
                    self.received += u64::from(piece.ends);
                    match self.passing {
                        Passing::Stream => match &mut self.framer {
                            None => self.unpack.pass(hot, piece)?,
                            Some(f) => f.pass(hot, piece, &mut self.unpack, &self.decoder)?,
                        },
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

    /// Turns the output, stream bytes of one read, into messages on the wire, one if they do not appear
    /// in it.
    ///
    /// # Errors
    /// What the encoding cannot say; the bytes before it are in the output.
    pub fn encode(&mut self, hot: &mut Hot, keys: &mut Keys) -> Result<(), FrameError> {
        if self.passing == Passing::Frames {
            return Ok(());
        }
        if let Some(framer) = &mut self.framer {
            let (ended, encoded) = framer.encode_output(hot, keys);
            self.sent += ended;
            return encoded;
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
        if let Some(framer) = &self.framer {
            return framer.finish();
        }
        self.pack.finish(hot)?;
        self.wrap(hot, keys);
        Ok(())
    }

    /// How much of the other side may be read at once, so that its messages fit in a hot buffer
    /// of `size` bytes.
    pub fn read_limit(&self, size: usize) -> usize {
        match &self.framer {
            None => self.pack.read_limit(size),
            Some(framer) => framer.read_limit(size),
        }
    }

    /// How many bytes on the wire a byte of the other side may become; the headers of one message
    /// aside.
    pub fn growth(&self) -> usize {
        match &self.framer {
            None => self.pack.growth(),
            Some(framer) => framer.growth(),
        }
    }

    /// How many bytes of the stream a byte on the wire may become.
    pub fn growth_of_heard(&self) -> usize {
        self.framer.as_ref().map_or(1, |framer| framer.join.growth(self.role() == Role::Server))
    }

    /// Whether parts of a message are held, or have been since [`Session::settle_held`] was last asked:
    /// its length stands in front of it in the stream, and is known when its last frame comes.
    #[inline]
    pub fn holds(&self) -> bool {
        self.framer.as_ref().is_some_and(|framer| !framer.join.is_idle())
    }

    /// Bytes that are held.
    pub fn held(&self) -> usize {
        self.framer.as_ref().map_or(0, |framer| framer.join.held())
    }

    /// Bytes that were taken to hold such parts, and bytes that were given back, since this was asked
    /// last. What [`Session::take_held`] takes is not given back.
    pub fn settle_held(&mut self) -> (usize, usize) {
        self.framer.as_mut().map_or((0, 0), |framer| framer.join.unsettled())
    }

    /// Stream bytes that go before the output: they were held and need not be any more.
    pub fn take_held(&mut self) -> Option<Ring> {
        self.framer.as_mut()?.join.take_ready()
    }

    /// The rest of a message that is held will not come.
    pub fn forget_held(&mut self) {
        if let Some(framer) = &mut self.framer {
            framer.join.forget();
        }
    }

    /// Data messages whose end has come, good or not.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Data messages whose end has been handed out to be sent, keepalives included.
    pub fn sent(&self) -> u64 {
        self.sent
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
        let mask = self.role().masks().then(|| keys.next_key());
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

    /// Puts the output, if there is any, behind the header of a message of its own.
    fn wrap(&mut self, hot: &mut Hot, keys: &mut Keys) {
        if hot.output().is_empty() {
            return;
        }
        let mask = self.role().masks().then(|| keys.next_key());
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
