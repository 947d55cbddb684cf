//! A stream of bytes to the messages in it, part by part.
//!
//! Owns what must be remembered between two reads: how much of a message is still to come, or a
//! length that was cut. A message is never held.

use super::length::Lengths;
use super::lines::find;
use super::{Framing, FramingError};

/// What of a stream belongs to one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Where its payload begins in the stream at hand.
    pub start: usize,
    /// Where that ends: behind its first byte, or there is none.
    pub end: usize,
    /// Bytes of the stream that are used up, what stands around the payload included.
    pub used: usize,
    /// Whether the message ends here.
    pub ends: bool,
}

/// Finds messages in a stream, whatever the cuts.
#[derive(Debug, Clone, Copy)]
pub enum Split {
    /// Lines; whether one has begun.
    Lines(bool),
    /// Messages behind their lengths.
    Length(Measured),
}

/// A message behind its length.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    lengths: Lengths,
    /// Bytes of the message that are still to come; 0 in front of a length.
    remaining: u64,
    /// Bytes that a message may have.
    limit: u64,
}

impl Split {
    /// How messages appear under that framing; `None` if not at all. `max_message` is in bytes, 0 is
    /// no limit.
    pub fn new(framing: Framing, max_message: u64) -> Option<Self> {
        match framing {
            Framing::Raw => None,
            Framing::Lines | Framing::Ndjson => Some(Self::Lines(false)),
            Framing::Length(form) => {
                let limit = if max_message == 0 { u64::MAX } else { max_message };
                Some(Self::Length(Measured { lengths: Lengths::new(form), remaining: 0, limit }))
            }
        }
    }

    /// The part that the stream goes on with. One without payload that does not end its message says
    /// nothing.
    ///
    /// # Errors
    /// What is wrong with a length; the stream has no meaning behind it.
    pub fn next(&mut self, stream: &[u8]) -> Result<Part, FramingError> {
        match self {
            Self::Lines(begun) => Ok(next_line(begun, stream)),
            Self::Length(measured) => measured.next(stream),
        }
    }

    /// The stream ends.
    ///
    /// # Errors
    /// Where, if not between two messages.
    pub fn finish(&self) -> Result<(), FramingError> {
        match self {
            Self::Lines(true) => Err(FramingError::CutLine),
            Self::Length(measured) if measured.remaining > 0 => Err(FramingError::CutMessage),
            Self::Length(measured) if measured.lengths.is_inside() => Err(FramingError::CutLength),
            Self::Lines(false) | Self::Length(_) => Ok(()),
        }
    }
}

/// A blank line is no message.
fn next_line(begun: &mut bool, stream: &[u8]) -> Part {
    match find(b'\n', stream) {
        Some(end) => {
            let ends = std::mem::take(begun) || end > 0;
            Part { start: 0, end, used: end + 1, ends }
        }
        None => {
            let end = stream.len();
            *begun |= end > 0;
            Part { start: 0, end, used: end, ends: false }
        }
    }
}

impl Measured {
    fn next(&mut self, stream: &[u8]) -> Result<Part, FramingError> {
        let mut start = 0;
        if self.remaining == 0 {
            loop {
                let Some(&byte) = stream.get(start) else {
                    return Ok(Part { start, end: start, used: start, ends: false });
                };
                start += 1;
                if let Some(announced) = self.lengths.push(byte)? {
                    self.begin(announced)?;
                    break;
                }
            }
        }
        let there = stream.len() - start;
        let n = usize::try_from(self.remaining).map_or(there, |remaining| remaining.min(there));
        self.remaining -= n as u64;
        let end = start + n;
        Ok(Part { start, end, used: end, ends: self.remaining == 0 })
    }

    fn begin(&mut self, announced: u64) -> Result<(), FramingError> {
        let limit = self.limit;
        if announced > limit {
            return Err(FramingError::TooLong { announced, limit });
        }
        self.remaining = announced;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::framing::LengthForm;

    type Outcome = (Vec<Vec<u8>>, Result<(), FramingError>);

    /// The messages that ended, whatever the cut, and how the stream ended.
    fn messages(framing: Framing, stream: &[u8], cut: usize) -> Outcome {
        let mut split = Split::new(framing, 1000).unwrap();
        let (mut messages, mut message) = (Vec::new(), Vec::new());
        for mut read in [&stream[..cut], &stream[cut..]] {
            while !read.is_empty() {
                let part = match split.next(read) {
                    Ok(part) => part,
                    Err(error) => return (messages, Err(error)),
                };
                assert!(part.used > 0 && part.start <= part.end && part.end <= part.used);
                message.extend(&read[part.start..part.end]);
                if part.ends {
                    messages.push(std::mem::take(&mut message));
                }
                read = &read[part.used..];
            }
        }
        (messages, split.finish())
    }

    #[track_caller]
    fn check(framing: Framing, stream: &[u8], expected: &[&[u8]], end: Result<(), FramingError>) {
        for cut in 0..=stream.len() {
            let expected = expected.iter().map(|message| message.to_vec()).collect();
            assert_eq!(messages(framing, stream, cut), (expected, end), "cut at {cut}");
        }
    }

    #[test]
    fn a_line_is_a_message_and_a_blank_one_is_none() {
        for framing in [Framing::Lines, Framing::Ndjson] {
            check(framing, b"a\n\n\nbc\r\n\r\n\nd\n", &[b"a", b"bc\r", b"\r", b"d"], Ok(()));
            check(framing, b"\n\n", &[], Ok(()));
            check(framing, b"a\nhalf", &[b"a"], Err(FramingError::CutLine));
        }
    }

    #[test]
    fn a_length_announces_a_message_that_may_be_empty() {
        let u16 = Framing::Length(LengthForm::U16);
        check(u16, b"\0\x03abc\0\0\0\x01d", &[b"abc", b"", b"d"], Ok(()));
        check(u16, b"\0\x03ab", &[], Err(FramingError::CutMessage));
        check(u16, b"\0\0\0", &[b""], Err(FramingError::CutLength));
        let varint = Framing::Length(LengthForm::Varint);
        check(varint, b"\x83\0abc\0\x01d\x80", &[b"abc", b"", b"d"], Err(FramingError::CutLength));
        check(varint, b"\x01a\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\x81\0", &[b"a", b""], {
            Err(FramingError::Varint)
        });
    }

    #[test]
    fn a_length_beyond_the_limit_is_none() {
        let u32le = Framing::Length(LengthForm::U32Le);
        let limit = 1000;
        let good = [&[0xe8, 3, 0, 0][..], &[7; 1000]].concat();
        check(u32le, &good, &[&[7; 1000]], Ok(()));
        let error = FramingError::TooLong { announced: 1001, limit };
        check(u32le, &[0xe9, 3, 0, 0, 7], &[], Err(error));
        let mut unlimited = Split::new(Framing::Length(LengthForm::U32), 0).unwrap();
        let part = unlimited.next(b"\xff\xff\xff\xffabc").unwrap();
        assert_eq!(part, Part { start: 4, end: 7, used: 7, ends: false });
    }
}
