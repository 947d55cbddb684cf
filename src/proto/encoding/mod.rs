//! What a WebSocket payload looks like: binary, text or base64.
//!
//! Owns the bytes that an encoding cannot pass on yet: the head of a character, the bits of a
//! base64 quantum. Never knows where a frame begins or ends; it is told where a message does.

mod base64;
mod text;

use std::fmt;
use std::str::FromStr;

pub use base64::Base64;
pub use text::Tail;

use super::frame::FrameError;
use super::message::Kind;
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
}

impl Encoding {
    /// Every encoding, in the order the documentation lists them.
    pub const ALL: [Self; 3] = [Self::Binary, Self::Text, Self::Base64];

    /// The name in options, queries and subprotocols.
    pub fn name(self) -> &'static str {
        match self {
            Self::Binary => "binary",
            Self::Text => "text",
            Self::Base64 => "base64",
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

/// A set of encodings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encodings(u8);

impl Encodings {
    /// All of them.
    pub const ALL: Self = Self(0b111);
    /// None of them.
    pub const NONE: Self = Self(0);

    /// This set with one more.
    #[must_use]
    pub fn with(self, encoding: Encoding) -> Self {
        Self(self.0 | 1 << encoding as u8)
    }

    /// Whether the set has it.
    pub fn contains(self, encoding: Encoding) -> bool {
        self.0 & (1 << encoding as u8) != 0
    }
}

/// Payload to stream bytes, piece by piece.
#[derive(Debug, Clone, Copy)]
pub enum Unpack {
    /// Bytes unchanged, binary or text.
    AsIs,
    /// Base64 in text messages.
    Base64(Base64),
}

impl Unpack {
    /// The way back from `encoding`.
    pub fn new(encoding: Encoding) -> Self {
        match encoding {
            Encoding::Binary | Encoding::Text => Self::AsIs,
            Encoding::Base64 => Self::Base64(Base64::default()),
        }
    }

    /// Whether messages of this kind can be unpacked.
    ///
    /// # Errors
    /// [`FrameError::NotText`] for a binary message of base64.
    pub fn accept(&self, kind: Kind) -> Result<(), FrameError> {
        match (self, kind) {
            (Self::Base64(_), Kind::Binary) => Err(FrameError::NotText),
            _ => Ok(()),
        }
    }

    /// Unpacks the last `n` bytes of the output, in place; `ends` says that the message does.
    ///
    /// # Errors
    /// [`FrameError::NotBase64`]; what came before the bad character is kept.
    #[inline]
    pub fn unpack(&mut self, hot: &mut Hot, n: usize, ends: bool) -> Result<(), FrameError> {
        match self {
            Self::AsIs => Ok(()),
            Self::Base64(base64) => base64.unpack(hot, n, ends),
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
}

impl Pack {
    /// The way to `encoding`; `lossy` matters to text alone.
    pub fn new(encoding: Encoding, lossy: bool) -> Self {
        match encoding {
            Encoding::Binary => Self::Binary,
            Encoding::Text if lossy => Self::TextLossy(Tail::default()),
            Encoding::Text => Self::Text(Tail::default()),
            Encoding::Base64 => Self::Base64,
        }
    }

    /// What the messages say they are.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Binary => Kind::Binary,
            _ => Kind::Text,
        }
    }

    /// How much may be read into a buffer of `size` bytes, so that the packed form fits behind it.
    pub fn read_limit(&self, size: usize) -> usize {
        let room = size.saturating_sub(32);
        match self {
            Self::Binary | Self::Text(_) => size,
            // Read and written: 1 + 4/3, and padding.
            Self::Base64 => room / 7 * 3,
            // Read and written: 1 + 3.
            Self::TextLossy(_) => room / 4,
        }
    }

    /// How many bytes a byte may become.
    pub fn growth(&self) -> usize {
        match self {
            Self::Binary | Self::Text(_) => 1,
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
            Self::Binary | Self::Base64 => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_read_fits_in_its_packed_form() {
        for size in [4096, 5000, 65536] {
            for (encoding, byte) in [(Encoding::Base64, 0u8), (Encoding::Text, 0xff)] {
                let mut pack = Pack::new(encoding, true);
                let mut hot = Hot::new(size);
                let limit = pack.read_limit(size);
                hot.fill(limit).fill(byte);
                hot.commit(limit);
                hot.pass_all();
                pack.pack(&mut hot).unwrap();
                let grown = if byte == 0 { limit.div_ceil(3) * 4 } else { limit * 3 };
                assert_eq!(hot.output().len(), grown);
                hot.prepend(&[0; crate::proto::frame::MAX_HEADER]);
            }
        }
    }
}
