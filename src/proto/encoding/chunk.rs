//! Chunks in binary messages: each is the protobuf field `bytes data = 1`.
//!
//! Owns the place in a message: a tag or length that a read cut, and how much of a field is still
//! to come. A chunk is never held, and its length never sizes anything.
//!
//! ```text
//! message = { field }
//! field   = tag, value         tag = number << 3 | wire type, a varint
//!
//! wire type 0  a varint                         skipped
//! wire type 1  8 bytes                          skipped
//! wire type 2  a length (varint), its bytes     number 1: stream bytes; else skipped
//! wire type 5  4 bytes                          skipped
//! ```
//!
//! A varint has seven bits a byte, the lowest first; all bytes but the last have their high bit
//! set. Whoever sends may add fields that we do not know, put several chunks into one message, or
//! send none, as a sign of life.

use crate::buf::hot::Hot;
use crate::proto::frame::FrameError;
use crate::proto::message::{Kind, Piece};

/// Bytes that stand in front of a chunk, at most: the tag, and a length in the longest varint.
pub(super) const MAX_PREFIX: usize = 1 + MAX_VARINT;

/// An empty chunk: a message that brings nothing.
pub(super) const EMPTY: &[u8] = &[DATA_TAG, 0];

/// Field 1 of wire type 2.
const DATA_TAG: u8 = 1 << 3 | 2;

/// Bytes in a varint of 64 bits.
const MAX_VARINT: usize = 10;

/// A rule of the protobuf wire format, or of `bytes data = 1`, that a message breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkError {
    /// A varint of more than ten bytes, or of more than 64 bits.
    Varint,
    /// A tag of more than 32 bits.
    Tag,
    /// Field number 0.
    FieldZero,
    /// Wire type 3 or 4, which is long deprecated and could nest without end.
    Group,
    /// Wire type 6 or 7, whose length nobody knows.
    WireType,
    /// Field 1 with another wire type than 2.
    NotBytes,
    /// The message ends inside a tag, a length or a field.
    CutOff,
}

impl ChunkError {
    /// The rule in a few words.
    pub fn rule(self) -> &'static str {
        match self {
            Self::Varint => "chunk message has a varint of more than 64 bits",
            Self::Tag => "chunk message has a tag of more than 32 bits",
            Self::FieldZero => "chunk message has a field number 0",
            Self::Group => "chunk message has a group",
            Self::WireType => "chunk message has a wire type of 6 or 7",
            Self::NotBytes => "chunk message has a field 1 that is not bytes",
            Self::CutOff => "chunk message ends inside a field",
        }
    }
}

impl From<ChunkError> for FrameError {
    fn from(error: ChunkError) -> Self {
        Self::NotChunk(error)
    }
}

/// Finds the chunks in messages, whatever the cuts.
#[derive(Debug, Clone, Copy)]
pub struct Chunk(At);

/// Where in a message the stream stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Before or inside a varint: `len` bytes of it have come, `len < MAX_VARINT`.
    Varint { what: What, len: u8, value: Unaligned },
    /// Inside a chunk that still has that many bytes, more than 0.
    Data(Unaligned),
    /// The same of a field that is skipped.
    Skipped(Unaligned),
}

/// What a varint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Tag,
    DataLength,
    /// Of a field that is skipped.
    SkippedLength,
    /// It is skipped itself.
    SkippedValue,
}

/// A number that may lie anywhere: its alignment would cost each session eight bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, packed)]
struct Unaligned(u64);

impl Default for Chunk {
    fn default() -> Self {
        Self(At::FIELD)
    }
}

impl Chunk {
    /// Moves the chunks of a piece to the output, each over the gap that its prefix leaves: the
    /// move that unmasks them is the only one.
    #[inline(never)]
    pub(super) fn pass(&mut self, hot: &mut Hot, mut piece: Piece) -> Result<(), FrameError> {
        if piece.kind == Kind::Text {
            return Err(FrameError::NotBinary);
        }
        while piece.len > 0 {
            let used = match self.0 {
                At::Varint { what, len, value: Unaligned(value) } => {
                    self.0 = At::push(what, len, value, hot.take(&mut piece.mask))?;
                    1
                }
                At::Data(Unaligned(remaining)) => {
                    let n = run(remaining, piece.len);
                    hot.pass(n, &mut piece.mask);
                    self.0 = At::data(remaining - n as u64);
                    n
                }
                At::Skipped(Unaligned(remaining)) => {
                    let n = run(remaining, piece.len);
                    hot.skip(n);
                    piece.mask.turn(n);
                    self.0 = At::skipped(remaining - n as u64);
                    n
                }
            };
            piece.len -= used;
        }
        // A message that ends well ends where the next one begins.
        if piece.ends && std::mem::take(self).0 != At::FIELD {
            return Err(ChunkError::CutOff.into());
        }
        Ok(())
    }
}

impl At {
    /// Before a field, or the message's end.
    const FIELD: Self = Self::varint(What::Tag);

    const fn varint(what: What) -> Self {
        Self::Varint { what, len: 0, value: Unaligned(0) }
    }

    fn data(remaining: u64) -> Self {
        match remaining {
            0 => Self::FIELD,
            _ => Self::Data(Unaligned(remaining)),
        }
    }

    fn skipped(remaining: u64) -> Self {
        match remaining {
            0 => Self::FIELD,
            _ => Self::Skipped(Unaligned(remaining)),
        }
    }

    /// Behind one more byte of a varint.
    #[inline]
    fn push(what: What, len: u8, value: u64, byte: u8) -> Result<Self, ChunkError> {
        // Nine bytes are 63 bits: the tenth has room for one, and for no byte behind it.
        if usize::from(len) == MAX_VARINT - 1 && byte > 1 {
            return Err(ChunkError::Varint);
        }
        let value = value | u64::from(byte & 0x7f) << (7 * len);
        if byte & 0x80 != 0 {
            return Ok(Self::Varint { what, len: len + 1, value: Unaligned(value) });
        }
        match what {
            What::Tag => Self::behind_tag(value),
            What::DataLength => Ok(Self::data(value)),
            What::SkippedLength => Ok(Self::skipped(value)),
            What::SkippedValue => Ok(Self::FIELD),
        }
    }

    fn behind_tag(tag: u64) -> Result<Self, ChunkError> {
        let tag = u32::try_from(tag).map_err(|_| ChunkError::Tag)?;
        match (tag >> 3, tag & 7) {
            (0, _) => Err(ChunkError::FieldZero),
            (_, 3 | 4) => Err(ChunkError::Group),
            (_, 6 | 7) => Err(ChunkError::WireType),
            (1, 2) => Ok(Self::varint(What::DataLength)),
            (1, _) => Err(ChunkError::NotBytes),
            (_, 0) => Ok(Self::varint(What::SkippedValue)),
            (_, 1) => Ok(Self::skipped(8)),
            (_, 5) => Ok(Self::skipped(4)),
            _ => Ok(Self::varint(What::SkippedLength)),
        }
    }
}

/// How much of what remains is there.
fn run(remaining: u64, available: usize) -> usize {
    usize::try_from(remaining).map_or(available, |n| n.min(available))
}

/// Packs the output, all of it one read, as one chunk. Nothing stays nothing.
pub(super) fn pack(hot: &mut Hot) {
    let mut len = hot.output().len();
    if len == 0 {
        return;
    }
    let mut prefix = [DATA_TAG; MAX_PREFIX];
    let mut at = 1;
    while len > 0x7f {
        prefix[at] = 0x80 | (len & 0x7f) as u8;
        len >>= 7;
        at += 1;
    }
    prefix[at] = len as u8;
    hot.prepend(&prefix[..at + 1]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::encoding::{Encoding, Pack, Unpack};
    use crate::proto::frame::{FrameHeader, Opcode, Role, MAX_HEADER};
    use crate::proto::mask::Mask;
    use crate::proto::message::{Decoder, Step};
    use crate::testing::Random;
    use ChunkError::*;

    type Outcome = (Vec<u8>, Option<ChunkError>);

    /// What a message delivers and what is wrong with it, field by field, with all of it at hand.
    fn model(message: &[u8]) -> Outcome {
        let (mut data, mut rest) = (Vec::new(), message);
        while !rest.is_empty() {
            if let Err(error) = field(&mut rest, &mut data) {
                return (data, Some(error));
            }
        }
        (data, None)
    }

    fn field(rest: &mut &[u8], data: &mut Vec<u8>) -> Result<(), ChunkError> {
        let tag = varint(rest)?;
        if tag > u128::from(u32::MAX) {
            return Err(Tag);
        }
        let len = match (tag / 8, tag % 8) {
            (0, _) => return Err(FieldZero),
            (_, 3 | 4) => return Err(Group),
            (_, 6 | 7) => return Err(WireType),
            (1, 0 | 1 | 5) => return Err(NotBytes),
            (_, 0) => varint(rest).map(|_| 0)?,
            (_, 1) => 8,
            (_, 5) => 4,
            _ => varint(rest)?,
        };
        let there = rest.len().min(usize::try_from(len).unwrap_or(usize::MAX));
        let (bytes, others) = rest.split_at(there);
        if tag == 0x0a {
            data.extend(bytes);
        }
        *rest = others;
        if (there as u128) < len {
            return Err(CutOff);
        }
        Ok(())
    }

    fn varint(rest: &mut &[u8]) -> Result<u128, ChunkError> {
        let len = rest.iter().take(10).position(|byte| byte & 0x80 == 0).map(|at| at + 1);
        let Some(len) = len else {
            return Err(if rest.len() < 10 { CutOff } else { Varint });
        };
        let (bytes, others) = rest.split_at(len);
        *rest = others;
        let value = bytes.iter().rev().fold(0, |sum, byte| sum * 128 + u128::from(byte % 128));
        if value > u128::from(u64::MAX) {
            return Err(Varint);
        }
        Ok(value)
    }

    /// What comes of a wire in reads that end at `cuts`; the first error ends it.
    fn heard(unpack: &mut Unpack, role: Role, wire: &[u8], cuts: &[usize]) -> Outcome {
        let mut decoder = Decoder::new(role, 0);
        let mut hot = Hot::new(1 << 12);
        let (mut bytes, mut start) = (Vec::new(), 0);
        for &cut in cuts.iter().chain([&wire.len()]) {
            hot.fill(cut - start).copy_from_slice(&wire[start..cut]);
            hot.commit(cut - start);
            let mut error = None;
            loop {
                let (used, step) = decoder.next(hot.input()).expect("good frames");
                hot.skip(used);
                let Some(Step::Payload(piece)) = step else { break };
                match unpack.pass(&mut hot, piece) {
                    Ok(()) => {}
                    Err(FrameError::NotChunk(flaw)) => error = Some(flaw),
                    Err(other) => panic!("{other}"),
                }
                if error.is_some() {
                    break;
                }
            }
            bytes.extend_from_slice(hot.output());
            if error.is_some() {
                return (bytes, error);
            }
            assert!(hot.input().is_empty());
            start = cut;
        }
        (bytes, None)
    }

    fn frame(fin: bool, opcode: Opcode, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
        let header = FrameHeader { fin, opcode, mask, payload_len: payload.len() as u64 };
        let mut head = [0; MAX_HEADER];
        let n = header.encode(&mut head);
        let mut wire = [&head[..n], payload].concat();
        mask.map_or_else(Mask::default, Mask::new).apply(&mut wire[n..]);
        wire
    }

    const KEY: Option<[u8; 4]> = Some([0x37, 0xfa, 0x21, 0x3d]);

    /// One message in one masked frame, cut everywhere, comes out as the model has it.
    fn check(message: &[u8]) -> Outcome {
        let expected = model(message);
        let wire = frame(true, Opcode::Binary, KEY, message);
        for first in 0..=wire.len() {
            let mut unpack = Unpack::new(Encoding::Chunk);
            let got = heard(&mut unpack, Role::Server, &wire, &[first]);
            assert_eq!(got, expected, "{message:02x?} cut at {first}");
        }
        let all: Vec<usize> = (0..wire.len()).collect();
        let got = heard(&mut Unpack::new(Encoding::Chunk), Role::Server, &wire, &all);
        assert_eq!(got, expected, "{message:02x?} byte by byte");
        expected
    }

    fn good(data: &[u8]) -> Outcome {
        (data.to_vec(), None)
    }

    fn bad(data: &[u8], error: ChunkError) -> Outcome {
        (data.to_vec(), Some(error))
    }

    #[test]
    fn any_number_of_chunks_in_a_message_come_out_in_a_row() {
        assert_eq!(check(b""), good(b""));
        assert_eq!(check(EMPTY), good(b""));
        assert_eq!(check(b"\x0a\x05hello"), good(b"hello"));
        assert_eq!(check(b"\x0a\x02he\x0a\x00\x0a\x03llo"), good(b"hello"));
        // A tag and a length need not be in their shortest form.
        assert_eq!(
            check(b"\x8a\x80\x00\x85\x80\x80\x80\x80\x80\x80\x80\x80\x00hello"),
            good(b"hello")
        );
        let long = [&[0x0a, 0xac, 0x02], &[7; 300][..]].concat();
        assert_eq!(check(&long), good(&[7; 300]));
    }

    #[test]
    fn unknown_fields_are_skipped_by_their_wire_type() {
        let varints = b"\x10\x00\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x0a\x01a";
        assert_eq!(check(varints), good(b"a"));
        assert_eq!(check(b"\x0a\x01a\x11\x0a\x01x\x0a\x01x\x0a\x01\x0a\x01b"), good(b"ab"));
        assert_eq!(check(b"\x0a\x01a\x12\x03\x0a\x01x\x0a\x01b\x12\x00"), good(b"ab"));
        assert_eq!(check(b"\x15\x0a\x02xx\x0a\x01a\x15\xff\xff\xff\xff"), good(b"a"));
        // The highest number, 2^29 - 1, which fills the 32 bits of a tag.
        assert_eq!(check(b"\xfa\xff\xff\xff\x0f\x01x\x0a\x01a"), good(b"a"));
    }

    #[test]
    fn each_broken_rule_is_named_behind_what_came_before_it() {
        for (rest, error) in [
            (&b"\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"[..], Varint),
            (b"\x10\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", Varint),
            (b"\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", Varint),
            (b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02x", Varint),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", Varint),
            (b"\x8a\x80\x80\x80\x10\x01x", Tag),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", Tag),
            (b"\x00\x01", FieldZero),
            (b"\x02\x01x", FieldZero),
            (b"\x07", FieldZero),
            (b"\x13\x14", Group),
            (b"\x14", Group),
            (b"\x0b", Group),
            (b"\x16", WireType),
            (b"\x0f", WireType),
            (b"\x08\x01", NotBytes),
            (b"\x09xxxxxxxx", NotBytes),
            (b"\x0dxxxx", NotBytes),
            (b"\x8a", CutOff),
            (b"\x0a", CutOff),
            (b"\x0a\x80", CutOff),
            (b"\x10", CutOff),
            (b"\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", Varint),
            (b"\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff", CutOff),
            (b"\x11xxxxxxx", CutOff),
            (b"\x12\x02x", CutOff),
            (b"\x15xxx", CutOff),
        ] {
            let message = [b"\x0a\x04kept", rest].concat();
            assert_eq!(check(&message), bad(b"kept", error), "{rest:02x?}");
        }
    }

    /// The bytes of a chunk are delivered before anybody knows that some are missing, and a length
    /// is believed only as far as there are bytes.
    #[test]
    fn a_chunk_longer_than_its_message_is_delivered_as_far_as_it_goes() {
        assert_eq!(check(b"\x0a\x06hello"), bad(b"hello", CutOff));
        let endless = b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01hello";
        assert_eq!(check(endless), bad(b"hello", CutOff));
        assert_eq!(check(b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x"), bad(b"", CutOff));
    }

    #[test]
    fn each_message_begins_anew_and_fragments_do_not_matter() {
        let message = b"\x0a\x03abc\x12\x82\x00xx\x0a\x83\x00def";
        for first in 0..=message.len() {
            for second in first..=message.len() {
                let (parts, end) = message.split_at(second);
                let (start, middle) = parts.split_at(first);
                let wire = [
                    frame(true, Opcode::Binary, None, b"\x0a\x01<"),
                    frame(false, Opcode::Binary, None, start),
                    frame(false, Opcode::Continuation, None, middle),
                    frame(true, Opcode::Continuation, None, end),
                    frame(true, Opcode::Binary, None, EMPTY),
                    frame(true, Opcode::Binary, None, b"\x0a\x01>\x0a"),
                ]
                .concat();
                for cuts in [vec![], (0..wire.len()).collect()] {
                    let got = heard(&mut Unpack::new(Encoding::Chunk), Role::Client, &wire, &cuts);
                    assert_eq!(got, bad(b"<abcdef>", CutOff), "{first} {second}");
                }
            }
        }
    }

    #[test]
    fn agrees_with_the_model_on_anything() {
        let mut random = Random::new("chunk");
        let likely = [0x0a, 0x0a, 0x00, 0x01, 0x02, 0x03, 0x10, 0x11, 0x12, 0x15, 0x80, 0x8a, 0xff];
        for _ in 0..3000 {
            let len = random.below(40);
            let message: Vec<u8> = (0..len)
                .map(|_| match random.below(16) {
                    0 => random.next() as u8,
                    _ => likely[random.below(likely.len())],
                })
                .collect();
            check(&message);
        }
    }

    #[test]
    fn text_is_refused() {
        let piece =
            Piece { kind: Kind::Text, begins: true, ends: true, len: 0, mask: Mask::default() };
        let refused = Unpack::new(Encoding::Chunk).pass(&mut Hot::new(64), piece);
        assert_eq!(refused, Err(FrameError::NotBinary));
    }

    #[test]
    fn what_is_packed_read_by_read_unpacks_to_the_same_stream() {
        let mut random = Random::new("chunk there and back");
        let mut pack = Pack::new(Encoding::Chunk, false);
        let mut unpack = Unpack::new(Encoding::Chunk);
        for len in [0, 1, 2, 126, 127, 128, 129, 1000, 16383, 16384, 16385, 1 << 21] {
            let read = random.bytes(len);
            let mut hot = Hot::new(len + MAX_PREFIX);
            assert!(len <= pack.read_limit(hot.size()));
            hot.fill(len).copy_from_slice(&read);
            hot.commit(len);
            hot.pass_all();
            pack.pack(&mut hot).unwrap();
            let message = hot.output().to_vec();
            assert_eq!(message.is_empty(), read.is_empty(), "no message for an empty read");
            assert_eq!(model(&message), good(&read), "{len}");
            hot.prepend(&[0; MAX_HEADER]);

            let mut hot = Hot::new(message.len());
            hot.fill(message.len()).copy_from_slice(&message);
            hot.commit(message.len());
            let (len, mask) = (message.len(), Mask::default());
            let piece = Piece { kind: Kind::Binary, begins: true, ends: true, len, mask };
            assert_eq!(unpack.pass(&mut hot, piece), Ok(()));
            assert!(hot.output() == read);
        }
    }
}
