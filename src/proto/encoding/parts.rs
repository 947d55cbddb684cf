//! Messages that are packed part by part.
//!
//! Owns what an encoding holds back between two parts of a message: at most three bytes of a
//! character, or two of a base64 quantum. Never holds anything back where a message ends.

use super::base64::Left;
use super::{Encoding, Tail};
use crate::proto::frame::FrameError;
use crate::proto::message::Kind;

/// Parts of messages to payload, beside the buffer in which they are.
#[derive(Debug, Clone, Copy)]
pub enum PackParts {
    /// Bytes unchanged.
    Binary,
    /// Text, which must be UTF-8.
    Text(Tail),
    /// Text, with U+FFFD for what is not UTF-8.
    TextLossy(Tail),
    /// Base64 in text, padded where the message ends.
    Base64(Left),
}

impl PackParts {
    /// The way to `encoding`; `None` to one whose messages are no more than parts of a stream.
    pub fn new(encoding: Encoding, lossy: bool) -> Option<Self> {
        match encoding {
            Encoding::Binary => Some(Self::Binary),
            Encoding::Text if lossy => Some(Self::TextLossy(Tail::default())),
            Encoding::Text => Some(Self::Text(Tail::default())),
            Encoding::Base64 => Some(Self::Base64(Left::default())),
            Encoding::Chunk => None,
        }
    }

    /// What the messages say they are.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Binary => Kind::Binary,
            Self::Text(_) | Self::TextLossy(_) | Self::Base64(_) => Kind::Text,
        }
    }

    /// The most that a message of `len` bytes becomes.
    pub fn most(&self, len: usize) -> usize {
        match self {
            Self::Binary | Self::Text(_) => len,
            Self::TextLossy(_) => 3 * len,
            Self::Base64(_) => len.div_ceil(3) * 4,
        }
    }

    /// How long the payload of a part will be, as far as can be said without looking at it.
    pub fn guess(&self, len: usize, ends: bool) -> usize {
        match self {
            Self::Binary => len,
            Self::Text(tail) | Self::TextLossy(tail) => tail.len() + len,
            Self::Base64(left) => left.packed_len(len, ends),
        }
    }

    /// Writes a part of a message to the start of `out` and says how long it is there.
    ///
    /// # Errors
    /// [`FrameError::NotUtf8`]; the text before the offending bytes is written.
    pub fn pack(
        &mut self,
        part: &[u8],
        ends: bool,
        out: &mut [u8],
    ) -> (usize, Result<(), FrameError>) {
        match self {
            Self::Binary => {
                out[..part.len()].copy_from_slice(part);
                (part.len(), Ok(()))
            }
            Self::Text(tail) => tail.pack_part(part, ends, false, out),
            Self::TextLossy(tail) => tail.pack_part(part, ends, true, out),
            Self::Base64(left) => (left.pack_part(part, ends, out), Ok(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;
    use base64::engine::general_purpose::STANDARD;
    use base64::Engine;

    type Outcome = (Vec<u8>, bool);

    /// The payload of a message cut at `cuts`, and whether it was good.
    fn packed(pack: &mut PackParts, message: &[u8], cuts: &[usize]) -> Outcome {
        let (mut payload, mut start) = (Vec::new(), 0);
        for (i, &cut) in cuts.iter().chain([&message.len()]).enumerate() {
            let (part, ends) = (&message[start..cut], i == cuts.len());
            let guess = pack.guess(part.len(), ends);
            let mut out = vec![0; pack.most(part.len() + 3)];
            let (n, result) = pack.pack(part, ends, &mut out);
            if matches!(pack, PackParts::Base64(_) | PackParts::Binary) {
                assert_eq!(n, guess);
            }
            payload.extend(&out[..n]);
            if pack.kind() == Kind::Text {
                assert!(std::str::from_utf8(&out[..n]).is_ok());
            }
            if result.is_err() {
                return (payload, false);
            }
            start = cut;
        }
        (payload, true)
    }

    /// Packs as often as there are two cuts, each time the same message behind the one before.
    fn check(mut pack: PackParts, message: &[u8], expected: &Outcome) {
        for first in 0..=message.len() {
            for second in first..=message.len() {
                if !expected.1 {
                    pack = PackParts::Text(Tail::default());
                }
                let got = packed(&mut pack, message, &[first, second]);
                assert_eq!(got, *expected, "{message:x?} cut at {first}, {second}");
            }
        }
    }

    #[test]
    fn cuts_do_not_matter() {
        let mut random = Random::new("parts");
        let alphabet = [0x41, 0x80, 0xbf, 0xc3, 0xa9, 0xe2, 0x82, 0xac, 0xf0, 0x9f, 0x98, 0xff];
        for _ in 0..300 {
            let len = random.below(12);
            let message: Vec<u8> = (0..len).map(|_| alphabet[random.below(12)]).collect();
            let new = |encoding, lossy| PackParts::new(encoding, lossy).unwrap();
            check(new(Encoding::Binary, false), &message, &(message.clone(), true));
            let base64 = STANDARD.encode(&message).into_bytes();
            check(new(Encoding::Base64, false), &message, &(base64, true));
            let lossy = String::from_utf8_lossy(&message).into_owned().into_bytes();
            check(new(Encoding::Text, true), &message, &(lossy, true));
            let text = match std::str::from_utf8(&message) {
                Ok(text) => (text.as_bytes().to_vec(), true),
                Err(error) => (message[..error.valid_up_to()].to_vec(), false),
            };
            check(new(Encoding::Text, false), &message, &text);
        }
    }
}
