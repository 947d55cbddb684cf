//! What a WebSocket payload looks like: binary, text, base64 or chunks.
//!
//! Owns the bytes that an encoding cannot pass on yet: the head of a character, the bits of a
//! base64 quantum, the length of a chunk. Never knows where a frame begins or ends; it is told
//! where a message does.

mod base64;
mod chunk;
mod parts;
mod text;

use std::fmt;
use std::str::FromStr;

pub use base64::Base64;
pub use chunk::{Chunk, ChunkError};
pub use parts::PackParts;
pub use text::Tail;

use super::frame::FrameError;
use super::message::{Kind, Piece};
use super::utf8::Utf8;
use crate::buf::hot::Hot;

/// How stream bytes are written into WebSocket payloads and read from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Binary messages, bytes unchanged.
    Binary,
    /// Text messages, bytes unchanged, never cut inside a character.
    Text,
    /// Text messages of base64 (RFC 4648 section 4).
    Base64,
    /// Binary messages, each one protobuf `bytes data = 1`.
    Chunk,
}

impl Encoding {
    /// Every encoding, in the order the documentation lists them.
    pub const ALL: [Self; 4] = [Self::Binary, Self::Text, Self::Base64, Self::Chunk];

    /// The name in options, queries and subprotocols.
    pub fn name(self) -> &'static str {
        match self {
            Self::Binary => "binary",
            Self::Text => "text",
            Self::Base64 => "base64",
            Self::Chunk => "chunk",
        }
    }
}

/// An error that lists what is known is the caller's to write.
impl FromStr for Encoding {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|e| e.name() == name).ok_or(())
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Bytes that an encoding writes in front of what it has read, at most: the tag and the length of a
/// chunk; or the three bytes of a character that an earlier read cut.
pub const MAX_PREFIX: usize = chunk::MAX_PREFIX;

/// A set of encodings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encodings(u8);

impl Encodings {
    /// All of them.
    pub const ALL: Self = Self(0b1111);
    /// None of them.
    pub const NONE: Self = Self(0);

    /// This set with one more.
    #[must_use]
    pub fn with(self, encoding: Encoding) -> Self {
        Self(self.0 | 1 << encoding as u8)
    }

    /// What both have.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether the set has it.
    pub fn contains(self, encoding: Encoding) -> bool {
        self.0 & (1 << encoding as u8) != 0
    }
}

/// Payload to stream bytes, piece by piece. What is spoken in text has been checked to be text.
#[derive(Debug, Clone, Copy)]
pub enum Unpack {
    /// Bytes unchanged, binary or text.
    AsIs(Utf8),
    /// Base64 in text messages.
    Base64(Utf8, Base64),
    /// Chunks in binary messages.
    Chunk(Chunk),
}

impl Unpack {
    /// The way back from `encoding`.
    pub fn new(encoding: Encoding) -> Self {
        match encoding {
            Encoding::Binary | Encoding::Text => Self::AsIs(Utf8::default()),
            Encoding::Base64 => Self::Base64(Utf8::default(), Base64::default()),
            Encoding::Chunk => Self::Chunk(Chunk::default()),
        }
    }

    /// Moves a piece, which is the next of the input, to the output and unpacks it on the way.
    ///
    /// # Errors
    /// The payload is not of this encoding; what came before the bytes that show it is in the
    /// output.
    // Always, for what passes as it is: small frames would pay as much for the call as for the move.
    #[inline(always)]
    pub fn pass(&mut self, hot: &mut Hot, piece: Piece) -> Result<(), FrameError> {
        match self {
            Self::AsIs(utf8) => pass_as_is(utf8, hot, piece).map_err(|_| FrameError::NotUtf8),
            Self::Base64(utf8, base64) => pass_base64(utf8, base64, hot, piece),
            Self::Chunk(chunk) => chunk.pass(hot, piece),
        }
    }
}

/// Moves a piece to the output and checks it if it is text; the error is how many of its bytes
/// were possible, and these are kept.
#[inline(always)]
fn pass_as_is(utf8: &mut Utf8, hot: &mut Hot, piece: Piece) -> Result<(), usize> {
    // The mask alone is copied: a copy of the whole piece would cost a tenth of the speed.
    let mut mask = piece.mask;
    hot.pass(piece.len, &mut mask);
    match piece.kind {
        Kind::Binary => Ok(()),
        Kind::Text => check_text(utf8, hot, piece.len, piece.ends),
    }
}

/// Checks the last `n` bytes of the output.
fn check_text(utf8: &mut Utf8, hot: &mut Hot, n: usize, ends: bool) -> Result<(), usize> {
    let kept = hot.output().len() - n;
    let checked = match utf8.check(&hot.output()[kept..]) {
        Ok(()) if ends && !utf8.is_complete() => Err(n),
        checked => checked,
    };
    if let Err(good) = checked {
        hot.truncate_output(kept + good);
    }
    checked
}

#[inline(never)]
fn pass_base64(
    utf8: &mut Utf8,
    base64: &mut Base64,
    hot: &mut Hot,
    piece: Piece,
) -> Result<(), FrameError> {
    if piece.kind == Kind::Binary {
        return Err(FrameError::NotText);
    }
    match pass_as_is(utf8, hot, piece) {
        Ok(()) => base64.unpack(hot, piece.len, piece.ends),
        Err(good) => {
            // What the encoding makes of the good part counts as delivered.
            base64.unpack(hot, good, false)?;
            Err(FrameError::NotUtf8)
        }
    }
}

/// Stream bytes to payload, read by read.
#[derive(Debug, Clone, Copy)]
pub enum Pack {
    /// Binary messages, bytes unchanged.
    Binary,
    /// Text messages, never cut inside a character.
    Text(Tail),
    /// The same, with U+FFFD for what is not UTF-8.
    TextLossy(Tail),
    /// Text messages of base64, each padded by itself.
    Base64,
    /// Binary messages of one chunk.
    Chunk,
}

impl Pack {
    /// The way to `encoding`; `lossy` matters to text alone.
    pub fn new(encoding: Encoding, lossy: bool) -> Self {
        match encoding {
            Encoding::Binary => Self::Binary,
            Encoding::Text if lossy => Self::TextLossy(Tail::default()),
            Encoding::Text => Self::Text(Tail::default()),
            Encoding::Base64 => Self::Base64,
            Encoding::Chunk => Self::Chunk,
        }
    }

    /// The encoding that it is the way to.
    pub fn encoding(&self) -> Encoding {
        match self {
            Self::Binary => Encoding::Binary,
            Self::Text(_) | Self::TextLossy(_) => Encoding::Text,
            Self::Base64 => Encoding::Base64,
            Self::Chunk => Encoding::Chunk,
        }
    }

    /// What the messages say they are.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Binary | Self::Chunk => Kind::Binary,
            Self::Text(_) | Self::TextLossy(_) | Self::Base64 => Kind::Text,
        }
    }

    /// How much may be read into a buffer of `size` bytes, so that the packed form fits behind it.
    pub fn read_limit(&self, size: usize) -> usize {
        let room = size.saturating_sub(32);
        match self {
            Self::Binary | Self::Text(_) => size,
            // The prefix goes in front, into room of its own, but counts in the frame's length.
            Self::Chunk => size.saturating_sub(MAX_PREFIX),
            // Read and written: 1 + 4/3, and padding.
            Self::Base64 => room / 7 * 3,
            // Read and written: 1 + 3.
            Self::TextLossy(_) => room / 4,
        }
    }

    /// How many bytes a byte may become; what is added to each message once, at most
    /// [`MAX_PREFIX`], is not counted.
    pub fn growth(&self) -> usize {
        match self {
            Self::Binary | Self::Text(_) | Self::Chunk => 1,
            Self::Base64 => 2,
            Self::TextLossy(_) => text::REPLACEMENT.len(),
        }
    }

    /// Packs the output, all of which is one read. What is left may be empty.
    ///
    /// # Errors
    /// [`FrameError::NotUtf8`]; the text before the offending bytes is kept.
    pub fn pack(&mut self, hot: &mut Hot) -> Result<(), FrameError> {
        match self {
            Self::Binary => Ok(()),
            Self::Text(tail) => tail.pack(hot),
            Self::TextLossy(tail) => {
                tail.pack_lossy(hot);
                Ok(())
            }
            Self::Base64 => {
                base64::pack(hot);
                Ok(())
            }
            Self::Chunk => {
                chunk::pack(hot);
                Ok(())
            }
        }
    }

    /// The stream ends: what waits for its rest will not get it. Leaves in the output what stands
    /// for it.
    ///
    /// # Errors
    /// [`FrameError::NotUtf8`] if the stream ended inside a character.
    pub fn finish(&mut self, hot: &mut Hot) -> Result<(), FrameError> {
        match self {
            Self::Text(tail) => tail.finish(),
            Self::TextLossy(tail) => {
                tail.finish_lossy(hot);
                Ok(())
            }
            Self::Binary | Self::Base64 | Self::Chunk => Ok(()),
        }
    }

    /// The payload of a message that says nothing but that we are here; `None` if there is none,
    /// since every message brings something.
    pub fn keepalive(&self) -> Option<&'static [u8]> {
        match self {
            Self::Chunk => Some(chunk::EMPTY),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_read_fits_in_its_packed_form() {
        for size in [4096, 5000, 65536] {
            for (encoding, byte) in
                [(Encoding::Base64, 0u8), (Encoding::Text, 0xff), (Encoding::Chunk, 1)]
            {
                let mut pack = Pack::new(encoding, true);
                let mut hot = Hot::new(size);
                let limit = pack.read_limit(size);
                hot.fill(limit).fill(byte);
                hot.commit(limit);
                hot.pass_all();
                pack.pack(&mut hot).unwrap();
                let grown = match encoding {
                    Encoding::Base64 => limit.div_ceil(3) * 4,
                    Encoding::Text => limit * 3,
                    // The length takes two bytes, or three.
                    _ => limit + if limit < 1 << 14 { 3 } else { 4 },
                };
                assert_eq!(hot.output().len(), grown);
                assert!(grown <= size);
                hot.prepend(&[0; crate::proto::frame::MAX_HEADER]);
            }
        }
    }
}
