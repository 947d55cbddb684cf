//! The messages of an endpoint where they appear in the stream as something that keeps them apart.
//!
//! Owns both ways of a framing for one endpoint, and whether a message of ours is under way: then
//! its next frame continues it. Never holds outbound bytes, but those of a cut character or quantum.

use crate::buf::hot::Hot;
use crate::proto::encoding::{Encoding, PackParts, Unpack};
use crate::proto::frame::{FrameError, FrameHeader, Opcode, Role, MAX_HEADER};
use crate::proto::framing::{FrameEnd, Framing, FramingError, Join, LengthForm, Split, MAX_PREFIX};
use crate::proto::mask::{Keys, Mask};
use crate::proto::message::{Decoder, Piece};

/// Bytes that frames may take beyond what [`Framer::growth`] says, however much is framed at once:
/// a header, and what an encoding has held back, of a message that began earlier, and the header of one
/// that does not end.
const SLACK: usize = 64;

/// A framing at work.
#[derive(Debug)]
pub(super) struct Framer {
    pub join: Join,
    split: Split,
    pack: PackParts,
    role: Role,
    /// A fragment has gone out, and its message has not ended.
    begun: bool,
    /// Messages longer than that cannot stand behind their length.
    limit: u64,
    growth: usize,
}

impl Framer {
    /// `None` where messages do not appear in the stream, or are no more than parts of it.
    pub(super) fn new(
        framing: Framing,
        role: Role,
        encoding: Encoding,
        lossy: bool,
        max_message: u64,
    ) -> Option<Box<Self>> {
        let pack = PackParts::new(encoding, lossy)?;
        let growth = growth(framing, role, &pack);
        let limit = match framing {
            // How much base64 stands for is known when it has come.
            Framing::Length(form) if encoding != Encoding::Base64 => form.limit(),
            _ => u64::MAX,
        };
        Some(Box::new(Self {
            join: Join::new(framing, encoding)?,
            split: Split::new(framing, max_message)?,
            pack,
            role,
            begun: false,
            limit,
            growth,
        }))
    }

    /// Bytes that a message may have at most, if it may have `max_message` otherwise, 0 for no limit.
    pub(super) fn max_message(&self, max_message: u64) -> u64 {
        match max_message {
            0 if self.limit == u64::MAX => 0,
            0 => self.limit,
            _ => max_message.min(self.limit),
        }
    }

    /// What is wrong, where it is our limit that was passed.
    #[cold]
    pub(super) fn explain(&self, error: FrameError) -> FrameError {
        match error {
            FrameError::TooLong { announced, limit } if limit == self.limit => {
                FramingError::BeyondPrefix { announced, limit }.into()
            }
            _ => error,
        }
    }

    /// See [`Join::pass`].
    pub(super) fn pass(
        &mut self,
        hot: &mut Hot,
        piece: Piece,
        unpack: &mut Unpack,
        decoder: &Decoder,
    ) -> Result<(), FrameError> {
        let last = piece.ends || decoder.is_in_last_frame();
        self.join.pass(hot, piece, unpack, FrameEnd { announced: decoder.announced(), last })
    }

    /// Turns the output, all of it stream, into frames, and says how many messages end in them.
    ///
    /// # Errors
    /// What cannot be said, or makes no sense; what came before it is in the output.
    // Out of line, for those that do without.
    #[inline(never)]
    pub(super) fn encode_output(
        &mut self,
        hot: &mut Hot,
        keys: &mut Keys,
    ) -> (u64, Result<(), FrameError>) {
        let mut outcome = (0, Ok(()));
        hot.expand(|stream, out| {
            let (len, ended, result) = self.encode(stream, out, keys);
            outcome = (ended, result);
            len
        });
        outcome
    }

    /// Writes the messages in `stream` to the start of `out` as frames, and says how long they are there
    /// and how many messages end in them.
    fn encode(
        &mut self,
        stream: &[u8],
        out: &mut [u8],
        keys: &mut Keys,
    ) -> (usize, u64, Result<(), FrameError>) {
        let (mut rest, mut len, mut ended) = (stream, 0, 0);
        while !rest.is_empty() {
            let part = match self.split.next(rest) {
                Ok(part) => part,
                Err(error) => return (len, ended, Err(error.into())),
            };
            let (payload, ends) = (&rest[part.start..part.end], part.ends);
            if ends || !payload.is_empty() {
                let (n, result) = self.put_part(payload, ends, &mut out[len..], keys);
                len += n;
                if result.is_err() {
                    return (len, ended, result);
                }
                ended += u64::from(ends);
            }
            rest = &rest[part.used..];
        }
        (len, ended, Ok(()))
    }

    /// Writes a part of a message as a frame. Nothing if all of it must wait for its rest.
    fn put_part(
        &mut self,
        part: &[u8],
        ends: bool,
        out: &mut [u8],
        keys: &mut Keys,
    ) -> (usize, Result<(), FrameError>) {
        let at = header_len(self.role, self.pack.guess(part.len(), ends));
        let (n, result) = self.pack.pack(part, ends, &mut out[at..]);
        let fin = ends && result.is_ok();
        if n == 0 && !fin {
            return (0, result);
        }
        let opcode = if self.begun { Opcode::Continuation } else { self.pack.kind().opcode() };
        let mask = self.role.masks().then(|| keys.next_key());
        let mut head = [0; MAX_HEADER];
        let len = FrameHeader { fin, opcode, mask, payload_len: n as u64 }.encode(&mut head);
        if len != at {
            out.copy_within(at..at + n, len);
        }
        out[..len].copy_from_slice(&head[..len]);
        if let Some(key) = mask {
            Mask::new(key).apply(&mut out[len..len + n]);
        }
        self.begun = !fin;
        (len + n, result)
    }

    /// The stream ends.
    ///
    /// # Errors
    /// It does so inside a message, which does not end.
    pub(super) fn finish(&self) -> Result<(), FrameError> {
        Ok(self.split.finish()?)
    }

    /// How many bytes of frames a byte of the stream may become, [`SLACK`] aside.
    pub(super) fn growth(&self) -> usize {
        self.growth
    }

    /// How much of the stream may be in a buffer of `size` bytes, so that its frames fit behind it.
    pub(super) fn read_limit(&self, size: usize) -> usize {
        (size.saturating_sub(SLACK) / (1 + self.growth)).max(1)
    }
}

/// Bytes of the header in front of a payload.
fn header_len(role: Role, payload_len: usize) -> usize {
    let len = match payload_len {
        0..=125 => 2,
        126..=65_535 => 4,
        _ => 10,
    };
    len + if role.masks() { 4 } else { 0 }
}

/// The most that whole messages grow, in whole times. Two at least, since frames are written behind the
/// stream, which therefore must all have been decoded: see `Link::relay`.
///
/// A message of `n` bytes takes `n` and a newline or a length in the stream, and a header and what `n`
/// becomes as a frame. The header grows in two steps. Between them the quotient is that of two straight
/// lines (for base64, of those through the lengths that leave one byte for the last quantum), so it is
/// greatest where a step has just been taken, or it nears what a byte becomes.
fn growth(framing: Framing, role: Role, pack: &PackParts) -> usize {
    // The first lengths that take each header, of plain bytes, base64 and U+FFFD; and the shortest.
    let steps = [0, 1, 42, 94, 126, 21_846, 49_150, 65_536];
    let grown = steps.into_iter().filter_map(|n| {
        let around = match framing {
            Framing::Length(form) => prefix_len(form, n)?,
            _ if n == 0 => return None, // a blank line is no message
            _ => 1,
        };
        let payload = pack.most(n);
        Some((header_len(role, payload) + payload).div_ceil(around + n))
    });
    grown.max().unwrap_or(1).max(2)
}

/// Bytes in a length; `None` if there is no such length.
fn prefix_len(form: LengthForm, len: usize) -> Option<usize> {
    (len as u64 <= form.limit()).then(|| form.encode(len as u64, &mut [0; MAX_PREFIX]))
}
