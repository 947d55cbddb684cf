//! Base64 in text messages (RFC 4648 section 4).
//!
//! Owns the bits of a quantum whose rest has not come.

use base64::engine::general_purpose::STANDARD;
use base64::Engine;

use crate::buf::hot::Hot;
use crate::proto::frame::FrameError;

/// A base64 decoder that hands out each byte with the character that completes it, so that it
/// works in place and whatever the cuts (which the block decoder of the crate cannot). Padding
/// may be missing, but must be right where it is present.
#[derive(Debug, Clone, Copy, Default)]
pub struct Base64 {
    /// Bits of the byte under way, in the low `bits_len` bits.
    bits: u8,
    /// Characters of the quantum so far, padding included; 0 to 3.
    at: u8,
    /// Padding has been seen: only padding may follow, and nothing behind the quantum.
    padded: bool,
}

impl Base64 {
    pub(super) fn unpack(&mut self, hot: &mut Hot, n: usize, ends: bool) -> Result<(), FrameError> {
        hot.shrink_tail(n, |tail| self.decode(tail))?;
        if ends {
            self.end()
        } else {
            Ok(())
        }
    }

    /// Decodes in place; says how many bytes stand at the front, also when it fails.
    fn decode(&mut self, text: &mut [u8]) -> (usize, Result<(), FrameError>) {
        let mut len = 0;
        for i in 0..text.len() {
            let character = text[i];
            if character == b'=' {
                if !self.pad() {
                    return (len, Err(FrameError::NotBase64));
                }
                continue;
            }
            let value = VALUES[usize::from(character)];
            if value == BAD || self.padded {
                return (len, Err(FrameError::NotBase64));
            }
            // The bits left over from the character before, followed by this one's first bits.
            let byte = match self.at {
                0 => None,
                1 => Some(self.bits << 2 | value >> 4),
                2 => Some(self.bits << 4 | value >> 2),
                _ => Some(self.bits << 6 | value),
            };
            self.bits = value & [0x3f, 0x0f, 0x03, 0][usize::from(self.at)];
            self.at = (self.at + 1) % 4;
            if let Some(byte) = byte {
                text[len] = byte;
                len += 1;
            }
        }
        (len, Ok(()))
    }

    /// One `=`: the third or fourth of a quantum, with no bits left over.
    fn pad(&mut self) -> bool {
        let fits = match self.at {
            2 | 3 => self.bits == 0,
            _ => false,
        };
        self.padded = true;
        self.at = (self.at + 1) % 4;
        fits
    }

    /// A message ends here. One lone character, bits left over and half a padding are errors.
    fn end(&mut self) -> Result<(), FrameError> {
        let ended = std::mem::take(self);
        let whole = match ended.at {
            0 => true,
            1 => false,
            _ => ended.bits == 0 && !ended.padded,
        };
        if whole {
            Ok(())
        } else {
            Err(FrameError::NotBase64)
        }
    }
}

/// Packs the output, all of it one read, as a text padded by itself.
pub(super) fn pack(hot: &mut Hot) {
    hot.expand(|bytes, out| {
        // `read_limit` left room; an empty message is the worst that could follow.
        STANDARD.encode_slice(bytes, out).unwrap_or(0)
    });
}

/// What an earlier part of a message has left: fewer bytes than a quantum has.
#[derive(Debug, Clone, Copy, Default)]
pub struct Left {
    bytes: [u8; 2],
    /// `len <= 2`
    len: u8,
}

impl Left {
    /// Bytes that `n` more become.
    pub(super) fn packed_len(&self, n: usize, ends: bool) -> usize {
        let all = usize::from(self.len) + n;
        (if ends { all.div_ceil(3) } else { all / 3 }) * 4
    }

    /// Writes a part of a message to the start of `out`, padded where the message ends, and says how
    /// long it is there: [`Left::packed_len`].
    pub(super) fn pack_part(&mut self, part: &[u8], ends: bool, out: &mut [u8]) -> usize {
        let had = usize::from(self.len);
        let (first, rest) = part.split_at(part.len().min(3 - had));
        let mut quantum = [0; 3];
        quantum[..had].copy_from_slice(&self.bytes[..had]);
        let len = had + first.len();
        quantum[had..len].copy_from_slice(first);
        if len < 3 && !ends {
            self.bytes.copy_from_slice(&quantum[..2]);
            self.len = len as u8;
            return 0;
        }
        let whole = if ends { rest.len() } else { rest.len() / 3 * 3 };
        let (rest, left) = rest.split_at(whole);
        self.bytes[..left.len()].copy_from_slice(left);
        self.len = left.len() as u8;
        // There is room: see `read_limit` of who calls.
        let n = STANDARD.encode_slice(&quantum[..len], &mut *out).unwrap_or(0);
        n + STANDARD.encode_slice(rest, &mut out[n..]).unwrap_or(0)
    }
}

const BAD: u8 = 0xff;

/// RFC 4648 section 4, table 1, the other way round.
const VALUES: [u8; 256] = {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut values = [BAD; 256];
    let mut i = 0;
    while i < alphabet.len() {
        values[alphabet[i] as usize] = i as u8;
        i += 1;
    }
    values
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::encoding::{Encoding, Unpack};
    use crate::proto::mask::Mask;
    use crate::proto::message::{Kind, Piece};
    use crate::testing::Random;

    fn piece_of(kind: Kind, len: usize, ends: bool) -> Piece {
        Piece { kind, begins: true, ends, len, mask: Mask::default() }
    }

    /// Feeds `text` as one message cut at `cuts`.
    fn unpacked(text: &[u8], cuts: &[usize]) -> (Vec<u8>, Result<(), FrameError>) {
        let mut unpack = Unpack::new(Encoding::Base64);
        let mut hot = Hot::new(1 << 12);
        let (mut bytes, mut start) = (Vec::new(), 0);
        for &cut in cuts.iter().chain([&text.len()]) {
            let piece = &text[start..cut];
            hot.fill(piece.len()).copy_from_slice(piece);
            hot.commit(piece.len());
            let (len, ends) = (piece.len(), cut == text.len());
            let result = unpack.pass(&mut hot, piece_of(Kind::Text, len, ends));
            bytes.extend_from_slice(hot.output());
            if result.is_err() {
                return (bytes, result);
            }
            start = cut;
        }
        (bytes, Ok(()))
    }

    #[test]
    fn base64_agrees_with_the_crate_at_every_cut() {
        let mut random = Random::new("base64");
        for len in 0..60 {
            let bytes = random.bytes(len);
            let text = STANDARD.encode(&bytes);
            let bare = text.trim_end_matches('=');
            for text in [&text, bare] {
                for cut in 0..text.len() {
                    let got = unpacked(text.as_bytes(), &[cut]);
                    assert_eq!(got, (bytes.clone(), Ok(())), "{text} cut at {cut}");
                }
            }
        }
    }

    #[test]
    fn base64_keeps_what_came_before_a_bad_character() {
        for (text, kept) in [
            ("aGVsbG8*", &b"hello"[..]),
            ("aGVs bG8=", b"hel"),
            ("aGVsbG8==", b"hello"),
            ("aGVsbA=", b"hell"),
            ("aGVsbG8=aGVs", b"hello"),
            ("aGVsb", b"hel"),
            ("=", b""),
            ("a", b""),
            ("aR==", b"i"),
            ("aR", b"i"),
            ("a===", b""),
            ("aGVsbG8-", b"hello"),
        ] {
            for cut in 0..text.len() {
                let (bytes, result) = unpacked(text.as_bytes(), &[cut]);
                assert_eq!(result, Err(FrameError::NotBase64), "{text} cut at {cut}");
                assert_eq!(bytes, kept, "{text} cut at {cut}");
            }
        }
    }

    #[test]
    fn base64_is_text() {
        let pass = |encoding| {
            Unpack::new(encoding).pass(&mut Hot::new(64), piece_of(Kind::Binary, 0, true))
        };
        assert_eq!(pass(Encoding::Base64), Err(FrameError::NotText));
        assert_eq!(pass(Encoding::Text), Ok(()));
    }
}
