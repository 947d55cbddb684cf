//! Frame headers: wire bytes to [`FrameHeader`] and back (RFC 6455 §5.2).
//!
//! Owns the bit layout, the three length forms and the opcode table.
//! Never allocates, reads a clock, touches a socket, or looks at payload bytes.
//!
//! ```text
//!  byte 0           byte 1           0, 2 or 8 bytes      0 or 4 bytes
//! +---+---+--------+------+---------+--------------------+-------------+
//! |FIN|RSV| opcode | MASK | length7 | length16, length64 | masking-key |
//! | 1 | 3 |   4    |  1   |    7    |    big endian      |             |
//! +---+---+--------+------+---------+--------------------+-------------+
//! ```
//!
//! Both ways, with the examples of §5.7:
//!
//! ```
//! use ws_tcp_proxy::proto::frame::{FrameError, FrameHeader, Opcode, MAX_HEADER};
//! use ws_tcp_proxy::proto::mask::Mask;
//!
//! let wire = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]; // masked "Hello"
//! assert_eq!(FrameHeader::decode(&wire[..3]), Ok(None)); // more bytes are needed
//! let (header, len) = FrameHeader::decode(&wire)?.expect("all of it is there");
//! assert_eq!((header.fin, header.opcode, header.payload_len), (true, Opcode::Text, 5));
//! let mut payload = wire[len..].to_vec();
//! Mask::new(header.mask.expect("clients mask")).apply(&mut payload);
//! assert_eq!(payload, b"Hello");
//!
//! let header = FrameHeader { fin: true, opcode: Opcode::Binary, mask: None, payload_len: 256 };
//! let mut out = [0; MAX_HEADER];
//! let len = header.encode(&mut out);
//! assert_eq!(out[..len], [0x82, 0x7e, 0x01, 0x00]);
//!
//! assert_eq!(FrameHeader::decode(&[0x83]), Err(FrameError::Opcode(3)));
//! # Ok::<(), FrameError>(())
//! ```

use std::fmt;

use super::close::CloseCode;
use super::encoding::ChunkError;
use super::framing::FramingError;

/// Bytes in the longest header: two fixed, an 8-byte length, a 4-byte masking-key.
pub const MAX_HEADER: usize = 14;

/// Bytes in the payload of a control frame, at most (§5.5).
pub const MAX_CONTROL_PAYLOAD: usize = 125;

const FIN: u8 = 0x80;
const RSV: u8 = 0x70;
const OPCODE: u8 = 0x0f;
const MASK: u8 = 0x80;
const LENGTH: u8 = 0x7f;
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;

/// Which end of the connection we are (§5.1: clients mask, servers do not).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Receives masked frames, sends bare ones.
    Server,
    /// Receives bare frames, sends masked ones.
    Client,
}

impl Role {
    /// Who is at the other end.
    pub fn peer(self) -> Self {
        match self {
            Self::Server => Self::Client,
            Self::Client => Self::Server,
        }
    }

    /// Whether the frames of this end carry a masking-key.
    pub fn masks(self) -> bool {
        self == Self::Client
    }
}

/// What a frame is (§5.2, §11.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// The next fragment of the message under way.
    Continuation = 0x0,
    /// Starts a text message.
    Text = 0x1,
    /// Starts a binary message.
    Binary = 0x2,
    /// The closing handshake.
    Close = 0x8,
    /// Asks for a Pong.
    Ping = 0x9,
    /// Answers a Ping, or stands alone as a sign of life.
    Pong = 0xA,
}

impl Opcode {
    /// The opcode of a first header byte's low four bits; `None` for the reserved ones.
    pub fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return None,
        })
    }

    /// Close, Ping or Pong (§5.5).
    pub fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }
}

/// One frame's header, valid by construction when decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// The last fragment of its message.
    pub fin: bool,
    /// What the frame is.
    pub opcode: Opcode,
    /// The masking-key, present in frames from a client.
    pub mask: Option<[u8; 4]>,
    /// Bytes of payload that follow, below 2^63.
    pub payload_len: u64,
}

impl FrameHeader {
    /// Reads a header and says how many bytes it took; `Ok(None)` asks for more bytes.
    ///
    /// # Errors
    /// The rule of §5.2 or §5.5 that the bytes so far break, as early as they show it.
    #[inline]
    pub fn decode(wire: &[u8]) -> Result<Option<(Self, usize)>, FrameError> {
        let (&first, rest) = match wire.split_first() {
            Some(split) => split,
            None => return Ok(None),
        };
        if first & RSV != 0 {
            return Err(FrameError::ReservedBits(first & RSV));
        }
        let opcode = Opcode::from_bits(first & OPCODE).ok_or(FrameError::Opcode(first & OPCODE))?;
        let fin = first & FIN != 0;
        if opcode.is_control() && !fin {
            return Err(FrameError::FragmentedControl(opcode));
        }
        let Some(&second) = rest.first() else {
            return Ok(None);
        };
        let short = second & LENGTH;
        if opcode.is_control() && short > MAX_CONTROL_PAYLOAD as u8 {
            return Err(FrameError::LongControl(opcode));
        }
        let (payload_len, at) = match short {
            LENGTH_16 => match wire.get(2..4) {
                Some(bytes) => (u64::from(u16::from_be_bytes([bytes[0], bytes[1]])), 4),
                None => return Ok(None),
            },
            LENGTH_64 => match wire.get(2..10).and_then(|bytes| <[u8; 8]>::try_from(bytes).ok()) {
                Some(bytes) => (u64::from_be_bytes(bytes), 10),
                None => return Ok(None),
            },
            _ => (u64::from(short), 2),
        };
        check_length(short, payload_len)?;
        let (mask, len) = if second & MASK == 0 {
            (None, at)
        } else {
            match wire.get(at..at + 4) {
                Some(key) => (Some([key[0], key[1], key[2], key[3]]), at + 4),
                None => return Ok(None),
            }
        };
        let header = Self { fin, opcode, mask, payload_len };
        Ok(Some((header, len)))
    }

    /// Writes the header in its shortest form at the start of `out` and says how long it is.
    pub fn encode(&self, out: &mut [u8; MAX_HEADER]) -> usize {
        out[0] = self.opcode as u8 | if self.fin { FIN } else { 0 };
        let mask_bit = if self.mask.is_some() { MASK } else { 0 };
        let at = if self.payload_len < u64::from(LENGTH_16) {
            out[1] = mask_bit | self.payload_len as u8;
            2
        } else if let Ok(len) = u16::try_from(self.payload_len) {
            out[1] = mask_bit | LENGTH_16;
            out[2..4].copy_from_slice(&len.to_be_bytes());
            4
        } else {
            out[1] = mask_bit | LENGTH_64;
            out[2..10].copy_from_slice(&self.payload_len.to_be_bytes());
            10
        };
        match self.mask {
            Some(key) => {
                out[at..at + 4].copy_from_slice(&key);
                at + 4
            }
            None => at,
        }
    }
}

/// The minimal form is a MUST, and so is a clear most significant bit (§5.2).
fn check_length(short: u8, payload_len: u64) -> Result<(), FrameError> {
    let minimal = match short {
        LENGTH_16 => payload_len >= u64::from(LENGTH_16),
        LENGTH_64 => payload_len > u64::from(u16::MAX),
        _ => true,
    };
    if payload_len >> 63 != 0 {
        Err(FrameError::LengthBit63)
    } else if !minimal {
        Err(FrameError::LongForm(payload_len))
    } else {
        Ok(())
    }
}

/// A rule of RFC 6455 that the peer's frames break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameError {
    /// RSV bits without a negotiated extension (§5.2).
    ReservedBits(u8),
    /// An opcode that the RFC reserves (§5.2).
    Opcode(u8),
    /// A control frame with FIN clear (§5.5).
    FragmentedControl(Opcode),
    /// A control frame of more than 125 bytes (§5.5).
    LongControl(Opcode),
    /// A length that fits a shorter form (§5.2).
    LongForm(u64),
    /// A 64-bit length with its first bit set (§5.2).
    LengthBit63,
    /// A frame from a client without a masking-key (§5.1).
    Unmasked,
    /// A frame from a server with a masking-key (§5.1).
    Masked,
    /// A continuation without a message to continue (§5.4).
    NothingToContinue,
    /// A new message before the last fragment of the one under way (§5.4).
    Interrupted,
    /// A Close payload of one byte (§5.5.1).
    CloseLength,
    /// A Close code that must not be sent (§7.4).
    CloseCode(u16),
    /// Text, or a Close reason, that is not UTF-8 (§8.1).
    NotUtf8,
    /// A message longer than the limit.
    TooLong {
        /// Bytes announced so far, fragments added up.
        announced: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// A binary message where the encoding needs text.
    NotText,
    /// A payload that its encoding cannot decode.
    NotBase64,
    /// A text message where the encoding needs binary.
    NotBinary,
    /// A payload that is no message with chunks in it.
    NotChunk(ChunkError),
    /// A message, or a stream, that the framing cannot carry to the other side.
    Framing(FramingError),
}

impl FrameError {
    /// The close code that tells the peer (RFC 6455 §7.4.1).
    pub fn close_code(self) -> CloseCode {
        match self {
            Self::TooLong { .. } => CloseCode::MESSAGE_TOO_BIG,
            Self::NotUtf8 | Self::NotBase64 | Self::NotChunk(_) => CloseCode::INVALID_PAYLOAD,
            Self::NotText | Self::NotBinary => CloseCode::UNSUPPORTED_DATA,
            Self::Framing(error) => error.close_code(),
            _ => CloseCode::PROTOCOL_ERROR,
        }
    }

    /// The rule in a few words, which travel as the reason of the Close.
    pub fn rule(self) -> &'static str {
        match self {
            Self::ReservedBits(_) => "RSV bits set without an extension",
            Self::Opcode(_) => "reserved opcode",
            Self::FragmentedControl(_) => "control frame is fragmented",
            Self::LongControl(_) => "control frame is longer than 125 bytes",
            Self::LongForm(_) => "payload length is not in its shortest form",
            Self::LengthBit63 => "64-bit payload length has its first bit set",
            Self::Unmasked => "frame from a client is not masked",
            Self::Masked => "frame from a server is masked",
            Self::NothingToContinue => "continuation frame without a message",
            Self::Interrupted => "new message inside a fragmented one",
            Self::CloseLength => "Close payload of one byte",
            Self::CloseCode(_) => "close code that must not be sent",
            Self::NotUtf8 => "text is not UTF-8",
            Self::TooLong { .. } => "message is too long",
            Self::NotText => "binary message where base64 in text is spoken",
            Self::NotBase64 => "payload is not base64",
            Self::NotBinary => "text message where chunks in binary are spoken",
            Self::NotChunk(error) => error.rule(),
            Self::Framing(error) => error.rule(),
        }
    }
}

/// The rule, and the values that broke it.
impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReservedBits(bits) => write!(f, "{}: {bits:#04x}", self.rule()),
            Self::Opcode(opcode) => write!(f, "{}: {opcode:#x}", self.rule()),
            Self::FragmentedControl(opcode) | Self::LongControl(opcode) => {
                write!(f, "{}: {opcode:?}", self.rule())
            }
            Self::LongForm(len) => write!(f, "{}: {len}", self.rule()),
            Self::CloseCode(code) => write!(f, "{}: {code}", self.rule()),
            Self::TooLong { announced, limit } => write!(
                f,
                "message of {announced} bytes exceeds --max-message {limit}; \
                 raise it if this client is trusted"
            ),
            Self::Framing(error) => error.fmt(f),
            _ => f.write_str(self.rule()),
        }
    }
}

impl std::error::Error for FrameError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(wire: &[u8]) -> Result<Option<(FrameHeader, usize)>, FrameError> {
        FrameHeader::decode(wire)
    }

    fn header(fin: bool, opcode: Opcode, mask: Option<[u8; 4]>, payload_len: u64) -> FrameHeader {
        FrameHeader { fin, opcode, mask, payload_len }
    }

    /// RFC 6455 §5.7, every example's header.
    #[test]
    fn reads_the_examples_of_the_rfc() {
        use Opcode::*;
        let key = Some([0x37, 0xfa, 0x21, 0x3d]);
        let cases: [(&[u8], FrameHeader); 8] = [
            (&[0x81, 0x05], header(true, Text, None, 5)),
            (&[0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d], header(true, Text, key, 5)),
            (&[0x01, 0x03], header(false, Text, None, 3)),
            (&[0x80, 0x02], header(true, Continuation, None, 2)),
            (&[0x89, 0x05], header(true, Ping, None, 5)),
            (&[0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d], header(true, Pong, key, 5)),
            (&[0x82, 0x7e, 0x01, 0x00], header(true, Binary, None, 256)),
            (&[0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0], header(true, Binary, None, 65536)),
        ];
        for (wire, expected) in cases {
            assert_eq!(decode(wire), Ok(Some((expected, wire.len()))), "{wire:02x?}");
            let mut out = [0; MAX_HEADER];
            let len = expected.encode(&mut out);
            assert_eq!(&out[..len], wire);
        }
    }

    /// RFC 6455 §5.7: a masked "Hello" whose header may end anywhere.
    #[test]
    fn asks_for_more_until_the_header_is_whole() {
        let wire = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        for cut in 0..6 {
            assert_eq!(decode(&wire[..cut]), Ok(None), "cut at {cut}");
        }
        assert_eq!(decode(&wire).unwrap().unwrap().1, 6);
    }

    #[test]
    fn every_length_survives_the_way_there_and_back() {
        for shift in 0..63 {
            for len in [(1u64 << shift) - 1, 1 << shift, (1 << shift) + 1] {
                for mask in [None, Some([1, 2, 3, 4])] {
                    let sent = header(true, Opcode::Binary, mask, len);
                    let mut wire = [0; MAX_HEADER];
                    let n = sent.encode(&mut wire);
                    assert_eq!(decode(&wire[..n]), Ok(Some((sent, n))), "{len}");
                    for cut in 0..n {
                        assert_eq!(decode(&wire[..cut]), Ok(None), "{len} cut at {cut}");
                    }
                }
            }
        }
    }

    #[test]
    fn rejects_reserved_bits_and_opcodes_by_the_first_byte() {
        for bits in [0x10, 0x20, 0x40, 0x70] {
            assert_eq!(decode(&[0x81 | bits]), Err(FrameError::ReservedBits(bits)));
        }
        for opcode in [3, 4, 5, 6, 7, 0xb, 0xc, 0xd, 0xe, 0xf] {
            assert_eq!(decode(&[0x80 | opcode]), Err(FrameError::Opcode(opcode)));
        }
    }

    #[test]
    fn rejects_a_ping_longer_than_125_bytes() {
        assert!(decode(&[0x89, 125]).is_ok());
        for second in [126, 127, 0xfe] {
            assert_eq!(decode(&[0x89, second]), Err(FrameError::LongControl(Opcode::Ping)));
        }
    }

    #[test]
    fn rejects_a_fragmented_control_frame() {
        for opcode in [Opcode::Close, Opcode::Ping, Opcode::Pong] {
            let first = opcode as u8;
            assert_eq!(decode(&[first]), Err(FrameError::FragmentedControl(opcode)));
        }
    }

    #[test]
    fn rejects_lengths_that_are_not_minimal() {
        assert_eq!(decode(&[0x82, 126, 0, 125]), Err(FrameError::LongForm(125)));
        assert!(decode(&[0x82, 126, 0, 126]).is_ok());
        let long = |len: u64| [&[0x82, 127], &len.to_be_bytes()[..]].concat();
        assert_eq!(decode(&long(65535)), Err(FrameError::LongForm(65535)));
        assert!(decode(&long(65536)).is_ok());
        assert_eq!(decode(&long(1 << 63)), Err(FrameError::LengthBit63));
        assert!(decode(&long((1 << 63) - 1)).is_ok());
    }

    #[test]
    fn each_error_tells_the_peer_with_its_code() {
        assert_eq!(FrameError::LengthBit63.close_code().get(), 1002);
        assert_eq!(FrameError::NotText.close_code().get(), 1003);
        assert_eq!(FrameError::NotUtf8.close_code().get(), 1007);
        assert_eq!(FrameError::NotBase64.close_code().get(), 1007);
        assert_eq!(FrameError::NotBinary.close_code().get(), 1003);
        assert_eq!(FrameError::NotChunk(ChunkError::Group).close_code().get(), 1007);
        let long = FrameError::TooLong { announced: 70000, limit: 65536 };
        assert_eq!(long.close_code().get(), 1009);
        assert_eq!(
            long.to_string(),
            "message of 70000 bytes exceeds --max-message 65536; raise it if this client is trusted"
        );
    }
}
