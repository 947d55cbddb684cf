//! Messages to a stream of bytes in which they can be told apart.
//!
//! Owns what must be held of a message whose length is not known before its end has come, and
//! nothing else: every other message passes as it arrives. Never decides how much may be held.
//!
//! ```text
//! a message in one frame     its header says the length: that goes first, the payload as it comes
//! in several, or base64      from + .. in the output while the read lasts, then held; when the
//!                            length is known it goes in front, and the rest passes as it comes
//! ```

use super::find;
use super::length::{LengthForm, MAX_PREFIX};
use super::{Framing, FramingError};
use crate::buf::hot::Hot;
use crate::buf::ring::Ring;
use crate::proto::encoding::{Encoding, Unpack};
use crate::proto::frame::FrameError;
use crate::proto::message::Piece;

/// What a decoder knows of the frame that a piece is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameEnd {
    /// Bytes that the frames of the message have announced so far.
    pub announced: u64,
    /// Whether it is the message's last.
    pub last: bool,
}

/// Writes messages into a stream.
#[derive(Debug)]
pub struct Join {
    way: Way,
    /// Part of a message whose length is not known: behind room for that, or nothing at all.
    held: Vec<u8>,
    /// Whether a message is under way whose length is not known, and where it begins in the output.
    gathering: Option<usize>,
    /// What goes before the output. `ready_from <= ready.len()`
    ready: Vec<u8>,
    ready_from: usize,
    /// Bytes of both that [`Join::unsettled`] has said.
    settled: usize,
}

#[derive(Debug, Clone, Copy)]
enum Way {
    Lines,
    Ndjson,
    /// Whether payload is as long as what it stands for.
    Length(LengthForm, bool),
}

impl Join {
    /// How messages of that encoding appear under that framing; `None` if not at all.
    pub fn new(framing: Framing, encoding: Encoding) -> Option<Self> {
        let way = match framing {
            Framing::Raw => return None,
            Framing::Lines => Way::Lines,
            Framing::Ndjson => Way::Ndjson,
            Framing::Length(form) => Way::Length(form, encoding != Encoding::Base64),
        };
        let (held, ready) = (Vec::new(), Vec::new());
        Some(Self { way, held, gathering: None, ready, ready_from: 0, settled: 0 })
    }

    /// How many bytes a byte on the wire may become, if the peer masks or does not: four bytes of
    /// length may stand in for a header of two. What else is added fits into the gaps that headers
    /// leave, but for a few bytes once.
    pub fn growth(&self, masked: bool) -> usize {
        match self.way {
            Way::Length(LengthForm::U32 | LengthForm::U32Le, _) if !masked => 2,
            _ => 1,
        }
    }

    /// The input is new, or the output is.
    pub fn begin(&mut self, hot: &mut Hot) {
        hot.set_lead(MAX_PREFIX);
        self.gathering = self.gathering.map(|_| hot.output().len());
    }

    /// Moves a piece, which is the next of the input, to the output and unpacks it on the way. What is
    /// [`Join::take_ready`] then goes before the output.
    ///
    /// # Errors
    /// The payload is not of its encoding, or cannot stand in such a stream; what came before the bytes
    /// that show it is in the output.
    pub fn pass(
        &mut self,
        hot: &mut Hot,
        piece: Piece,
        unpack: &mut Unpack,
        frame: FrameEnd,
    ) -> Result<(), FrameError> {
        let kept = hot.output().len();
        match self.way {
            Way::Lines => {
                let passed = pass(unpack, hot, piece);
                if let Some(at) = find(b'\n', &hot.output()[kept..]) {
                    hot.truncate_output(kept + at);
                    return Err(FramingError::NewlineInside.into());
                }
                passed?;
            }
            Way::Ndjson => {
                let passed = pass(unpack, hot, piece);
                flatten(&mut hot.output_mut()[kept..]);
                passed?;
            }
            Way::Length(form, exact) => {
                return self.pass_measured(hot, piece, unpack, frame, (form, exact))
            }
        }
        if piece.ends {
            self.insert(hot, hot.output().len(), b"\n");
        }
        Ok(())
    }

    fn pass_measured(
        &mut self,
        hot: &mut Hot,
        piece: Piece,
        unpack: &mut Unpack,
        frame: FrameEnd,
        (form, exact): (LengthForm, bool),
    ) -> Result<(), FrameError> {
        let known = frame.last && exact;
        if piece.begins && !known {
            self.gathering = Some(hot.output().len());
        }
        if let (true, Some(from)) = (known, self.gathering) {
            self.announce(hot, from, form, frame.announced);
        } else if known && piece.begins {
            self.announce(hot, hot.output().len(), form, frame.announced);
        }
        pass(unpack, hot, piece)?;
        if let Some(from) = self.gathering {
            let (announced, limit) = (self.gathered(hot, from), form.limit());
            if announced > limit {
                return Err(FramingError::BeyondPrefix { announced, limit }.into());
            }
            if piece.ends {
                self.announce(hot, from, form, announced);
            }
        }
        Ok(())
    }

    /// Bytes of the message under way, held and in the output.
    fn gathered(&self, hot: &Hot, from: usize) -> u64 {
        (self.held.len().saturating_sub(MAX_PREFIX) + hot.output().len() - from) as u64
    }

    /// The length of the message that begins at `from` in the output, or in what is held, is known.
    fn announce(&mut self, hot: &mut Hot, from: usize, form: LengthForm, len: u64) {
        self.gathering = None;
        let mut prefix = [0; MAX_PREFIX];
        let n = form.encode(len, &mut prefix);
        if self.held.is_empty() {
            return self.insert(hot, from, &prefix[..n]);
        }
        self.hold_from(hot, from);
        let mut held = std::mem::take(&mut self.held);
        held[MAX_PREFIX - n..MAX_PREFIX].copy_from_slice(&prefix[..n]);
        if self.ready.is_empty() {
            (self.ready, self.ready_from) = (held, MAX_PREFIX - n);
        } else {
            self.ready.extend_from_slice(&held[MAX_PREFIX - n..]);
        }
    }

    /// The output goes: part of a message whose length is not known is not part of it.
    pub fn hold(&mut self, hot: &mut Hot) {
        if let Some(from) = self.gathering {
            self.hold_from(hot, from);
            self.gathering = Some(hot.output().len());
        }
    }

    fn hold_from(&mut self, hot: &mut Hot, from: usize) {
        let more = &hot.output()[from..];
        if more.is_empty() {
            return;
        }
        if self.held.is_empty() {
            self.held.extend_from_slice(&[0; MAX_PREFIX]);
        }
        self.held.extend_from_slice(more);
        hot.truncate_output(from);
    }

    /// Puts `bytes` into the output, at `at` in it. There is room for them in the gap that the headers
    /// have left, in the free end where the input may move to, or at last beside the buffer, should more
    /// have been read than [`Join::growth`] allows.
    fn insert(&mut self, hot: &mut Hot, at: usize, bytes: &[u8]) {
        if hot.insert(at, bytes) {
            return;
        }
        hot.spread();
        if hot.insert(at, bytes) {
            return;
        }
        let (before, behind) = hot.output().split_at(at);
        for part in [before, bytes, behind] {
            self.ready.extend_from_slice(part);
        }
        hot.drop_output();
    }

    /// What goes before the output, if there is anything: parts of a message that was held.
    pub fn take_ready(&mut self) -> Option<Ring> {
        if self.ready.is_empty() {
            return None;
        }
        let (ready, from) = (std::mem::take(&mut self.ready), std::mem::take(&mut self.ready_from));
        self.settled = self.settled.saturating_sub(ready.len());
        Some(Ring::holding(ready, from))
    }

    /// Whether anything is held, ready, or not accounted for.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.held.is_empty() && self.ready.is_empty() && self.settled == 0
    }

    /// Bytes that are held.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// How much memory was taken, or given back, since this was asked last. What is taken away as ready
    /// takes its share along.
    pub fn unsettled(&mut self) -> (usize, usize) {
        let now = self.held.len() + self.ready.len();
        let before = std::mem::replace(&mut self.settled, now);
        (now.saturating_sub(before), before.saturating_sub(now))
    }

    /// The rest of the message under way will not come.
    pub fn forget(&mut self) {
        self.held = Vec::new();
        self.gathering = None;
    }
}

/// Out of line: the loop that passes pieces of a raw stream has the only copy that needs to be fast.
#[inline(never)]
fn pass(unpack: &mut Unpack, hot: &mut Hot, piece: Piece) -> Result<(), FrameError> {
    unpack.pass(hot, piece)
}

/// Makes one line of a text of JSON: in a string, both stand escaped.
fn flatten(json: &mut [u8]) {
    for byte in json {
        // Always written, so that the compiler uses vectors.
        *byte = if matches!(*byte, b'\n' | b'\r') { b' ' } else { *byte };
    }
}
