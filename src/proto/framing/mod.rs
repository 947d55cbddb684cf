//! How messages appear in a stream of bytes: not at all, as lines, or behind their lengths.
//!
//! Owns the choice and its names, and both ways across: [`Join`] writes messages into a stream,
//! [`Split`] finds them in one. Never knows what a payload looks like: that is its encoding's.

mod join;
mod length;
mod lines;
mod split;

use std::fmt;
use std::str::FromStr;

pub use join::{FrameEnd, Join};
pub use length::{LengthForm, MAX_PREFIX};
pub use lines::find;
pub use split::{Part, Split};

use super::close::CloseCode;
use super::encoding::{Encoding, Encodings};
use super::frame::FrameError;

/// How message boundaries appear in the stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Framing {
    /// Not at all: each read of the stream becomes a message.
    #[default]
    Raw,
    /// A message is a line, without the newline that ends it.
    Lines,
    /// The same for JSON, in which a raw CR or LF is white space.
    Ndjson,
    /// In front of each message stands how long it is.
    Length(LengthForm),
}

impl Framing {
    /// Every framing, in the order the documentation lists them.
    pub const ALL: [Self; 8] = [
        Self::Raw,
        Self::Lines,
        Self::Ndjson,
        Self::Length(LengthForm::U16),
        Self::Length(LengthForm::U16Le),
        Self::Length(LengthForm::U32),
        Self::Length(LengthForm::U32Le),
        Self::Length(LengthForm::Varint),
    ];

    /// The name in options.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Lines => "lines",
            Self::Ndjson => "ndjson",
            Self::Length(form) => form.name(),
        }
    }

    /// The encodings that go with it: chunks are parts of a stream, whose messages mean nothing by
    /// themselves, and JSON is text.
    pub fn encodings(self) -> Encodings {
        let text = Encodings::NONE.with(Encoding::Text);
        match self {
            Self::Raw => Encodings::ALL,
            Self::Ndjson => text,
            Self::Lines | Self::Length(_) => text.with(Encoding::Binary).with(Encoding::Base64),
        }
    }

    /// The encoding where none is asked for.
    pub fn usual_encoding(self) -> Encoding {
        match self {
            Self::Ndjson => Encoding::Text,
            Self::Raw | Self::Lines | Self::Length(_) => Encoding::Binary,
        }
    }
}

/// An error that lists what is known is the caller's to write.
impl FromStr for Framing {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        if name == "length" {
            return Ok(Self::Length(LengthForm::U32));
        }
        Self::ALL.into_iter().find(|framing| framing.name() == name).ok_or(())
    }
}

impl fmt::Display for Framing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What cannot be told apart in the stream, or cannot be said to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FramingError {
    /// A message that is to be a line has a newline inside.
    NewlineInside,
    /// A message is longer than what stands in front of it can say.
    BeyondPrefix {
        /// Bytes of the message, as far as they are known.
        announced: u64,
        /// Bytes that the form can say.
        limit: u64,
    },
    /// There is no memory for parts of a message whose length must stand in front of it.
    NoMemory,
    /// The stream announces a message longer than the limit.
    TooLong {
        /// Bytes announced.
        announced: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// A length in more than ten bytes, or of more than 64 bits.
    Varint,
    /// The stream ends inside a line.
    CutLine,
    /// The stream ends inside a length.
    CutLength,
    /// The stream ends inside a message whose length it has said.
    CutMessage,
}

impl FramingError {
    /// The close code that tells the peer (RFC 6455 §7.4.1 and the IANA registry).
    pub fn close_code(self) -> CloseCode {
        match self {
            Self::NewlineInside => CloseCode::UNSUPPORTED_DATA,
            Self::BeyondPrefix { .. } | Self::TooLong { .. } => CloseCode::MESSAGE_TOO_BIG,
            Self::NoMemory => CloseCode::TRY_AGAIN_LATER,
            Self::Varint | Self::CutLine | Self::CutLength | Self::CutMessage => {
                CloseCode::PROTOCOL_ERROR
            }
        }
    }

    /// The rule in a few words.
    pub fn rule(self) -> &'static str {
        match self {
            Self::NewlineInside => "newline inside a message that is to be a line",
            Self::BeyondPrefix { limit, .. } if limit <= u64::from(u16::MAX) => {
                "message is too long for length:u16; use length:u32 or length:varint"
            }
            Self::BeyondPrefix { .. } => "message is too long for length:u32; use length:varint",
            Self::NoMemory => "no memory for a fragmented message; send it in one frame",
            Self::TooLong { .. } => "the stream announces a message that is too long",
            Self::Varint => "the stream has a length of more than 64 bits",
            Self::CutLine => "the stream ended inside a line, which was dropped",
            Self::CutLength => "the stream ended inside the length of a message",
            Self::CutMessage => "the stream ended inside a message, which was dropped",
        }
    }
}

/// The rule, and the values that broke it.
impl fmt::Display for FramingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BeyondPrefix { announced, .. } => write!(f, "{}: {announced}", self.rule()),
            Self::TooLong { announced, limit } => write!(
                f,
                "{}: {announced} bytes exceed --max-message {limit}; \
                 raise it if the target is trusted, or see whether it speaks this --framing",
                self.rule()
            ),
            Self::NoMemory => write!(f, "{}, or raise --max-memory", self.rule()),
            _ => f.write_str(self.rule()),
        }
    }
}

impl From<FramingError> for FrameError {
    fn from(error: FramingError) -> Self {
        Self::Framing(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_what_they_name() {
        for framing in Framing::ALL {
            assert_eq!(framing.to_string().parse(), Ok(framing));
        }
        assert_eq!("length".parse(), Ok(Framing::Length(LengthForm::U32)));
        for wrong in ["", "line", "Lines", "length:", "length:u8", "length:u32be"] {
            assert_eq!(wrong.parse::<Framing>(), Err(()), "{wrong}");
        }
    }

    #[test]
    fn the_usual_encoding_fits_and_chunks_fit_raw_alone() {
        for framing in Framing::ALL {
            let encodings = framing.encodings();
            assert!(encodings.contains(framing.usual_encoding()), "{framing}");
            assert_eq!(encodings.contains(Encoding::Chunk), framing == Framing::Raw, "{framing}");
            let is_json = framing == Framing::Ndjson;
            assert_eq!(encodings.contains(Encoding::Base64), !is_json, "{framing}");
        }
    }

    /// RFC 6455 §5.5: what travels in a Close has 123 bytes at most.
    #[test]
    fn every_rule_fits_into_a_close() {
        let (announced, limit) = (u64::MAX, u64::from(u16::MAX));
        for error in [
            FramingError::NewlineInside,
            FramingError::BeyondPrefix { announced, limit },
            FramingError::BeyondPrefix { announced, limit: limit + 1 },
            FramingError::NoMemory,
            FramingError::TooLong { announced, limit },
            FramingError::Varint,
            FramingError::CutLine,
            FramingError::CutLength,
            FramingError::CutMessage,
        ] {
            assert!(error.rule().len() <= 123, "{error}");
            assert!(error.to_string().starts_with(error.rule()));
        }
    }
}
