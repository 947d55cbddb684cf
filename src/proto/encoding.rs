//! What a WebSocket payload looks like: binary, text or base64.
//!
//! Owns the bytes that an encoding cannot pass on yet: the head of a character, the bits of a
//! base64 quantum. Never knows where a frame begins or ends; it is told where a message does.

use std::fmt;
use std::str::FromStr;

use base64::engine::general_purpose::STANDARD;
use base64::Engine;

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
    fn unpack(&mut self, hot: &mut Hot, n: usize, ends: bool) -> Result<(), FrameError> {
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

/// The beginning of a character whose rest has not been read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tail {
    bytes: [u8; 3],
    /// `len <= 3`
    len: u8,
}

/// Bytes of U+FFFD in UTF-8.
const REPLACEMENT: &str = "\u{fffd}";

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
            Self::TextLossy(_) => REPLACEMENT.len(),
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
                hot.expand(|bytes, out| {
                    // `read_limit` left room; an empty message is the worst that could follow.
                    STANDARD.encode_slice(bytes, out).unwrap_or(0)
                });
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
            Self::Text(tail) if tail.len > 0 => {
                tail.len = 0;
                Err(FrameError::NotUtf8)
            }
            Self::TextLossy(tail) if tail.len > 0 => {
                tail.len = 0;
                hot.fill(0);
                hot.put(REPLACEMENT.as_bytes());
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Tail {
    fn prepend_to(&mut self, hot: &mut Hot) {
        hot.prepend(&self.bytes[..usize::from(self.len)]);
        self.len = 0;
    }

    /// Keeps `bytes`, the at most three of an incomplete character.
    fn keep(&mut self, bytes: &[u8]) {
        self.bytes[..bytes.len()].copy_from_slice(bytes);
        self.len = bytes.len() as u8;
    }

    fn pack(&mut self, hot: &mut Hot) -> Result<(), FrameError> {
        self.prepend_to(hot);
        let Err(error) = std::str::from_utf8(hot.output()) else {
            return Ok(());
        };
        let valid = error.valid_up_to();
        let result = match error.error_len() {
            Some(_) => Err(FrameError::NotUtf8),
            None => {
                self.keep(&hot.output()[valid..]);
                Ok(())
            }
        };
        hot.truncate_output(valid);
        result
    }

    fn pack_lossy(&mut self, hot: &mut Hot) {
        self.prepend_to(hot);
        if std::str::from_utf8(hot.output()).is_ok() {
            return;
        }
        hot.expand(|bytes, out| {
            let mut len = 0;
            let mut add = |text: &[u8]| {
                out[len..len + text.len()].copy_from_slice(text);
                len += text.len();
            };
            let mut rest = bytes;
            while let Err(error) = std::str::from_utf8(rest) {
                let (valid, bad) = rest.split_at(error.valid_up_to());
                add(valid);
                let Some(n) = error.error_len() else {
                    self.keep(bad);
                    return len;
                };
                add(REPLACEMENT.as_bytes());
                rest = &bad[n..];
            }
            add(rest);
            len
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    /// Feeds `text` as one message cut at `cuts`.
    fn unpacked(text: &[u8], cuts: &[usize]) -> (Vec<u8>, Result<(), FrameError>) {
        let mut unpack = Unpack::new(Encoding::Base64);
        let mut hot = Hot::new(1 << 12);
        let (mut bytes, mut start) = (Vec::new(), 0);
        for &cut in cuts.iter().chain([&text.len()]) {
            let piece = &text[start..cut];
            hot.fill(piece.len()).copy_from_slice(piece);
            hot.commit(piece.len());
            hot.pass_all();
            let result = unpack.unpack(&mut hot, piece.len(), cut == text.len());
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
        assert_eq!(Unpack::new(Encoding::Base64).accept(Kind::Binary), Err(FrameError::NotText));
        assert!(Unpack::new(Encoding::Text).accept(Kind::Binary).is_ok());
    }

    /// Packs `bytes` read by read; the messages, and the error that ended it.
    fn packed(pack: &mut Pack, bytes: &[u8], cuts: &[usize]) -> (Vec<Vec<u8>>, bool) {
        let mut hot = Hot::new(1 << 12);
        let (mut messages, mut start) = (Vec::new(), 0);
        for &cut in cuts.iter().chain([&bytes.len()]) {
            let piece = &bytes[start..cut];
            assert!(piece.len() <= pack.read_limit(hot.size()));
            hot.fill(piece.len()).copy_from_slice(piece);
            hot.commit(piece.len());
            hot.pass_all();
            let result = pack.pack(&mut hot);
            messages.push(hot.output().to_vec());
            if result.is_err() {
                return (messages, false);
            }
            start = cut;
        }
        hot.fill(0);
        let ended = pack.finish(&mut hot).is_ok();
        messages.push(hot.output().to_vec());
        (messages, ended)
    }

    #[test]
    fn text_is_never_cut_inside_a_character() {
        let text = "aé€😀z".as_bytes();
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let mut pack = Pack::new(Encoding::Text, false);
                let (messages, ended) = packed(&mut pack, text, &[first, second]);
                assert!(ended);
                assert!(messages.iter().all(|m| std::str::from_utf8(m).is_ok()));
                assert_eq!(messages.concat(), text);
            }
        }
    }

    #[test]
    fn text_ends_where_it_stops_being_utf8() {
        let cut_off = &"né€".as_bytes()[..5];
        for (bytes, kept) in
            [(&b"ok\xffno"[..], &b"ok"[..]), (b"\xe2\x82x", b""), (cut_off, b"n\xc3\xa9")]
        {
            for cut in 0..=bytes.len() {
                let mut pack = Pack::new(Encoding::Text, false);
                let (messages, ended) = packed(&mut pack, bytes, &[cut]);
                assert_eq!((messages.concat(), ended), (kept.to_vec(), false), "{bytes:x?} {cut}");
            }
        }
    }

    #[test]
    fn lossy_text_agrees_with_the_standard_library() {
        let mut random = Random::new("lossy");
        let alphabet = [0x41, 0x80, 0xbf, 0xc3, 0xa9, 0xe2, 0x82, 0xac, 0xf0, 0x9f, 0x98, 0xff];
        for _ in 0..500 {
            let len = random.below(20);
            let bytes: Vec<u8> = (0..len).map(|_| alphabet[random.below(alphabet.len())]).collect();
            let cut = random.below(len + 1);
            let mut pack = Pack::new(Encoding::Text, true);
            let (messages, ended) = packed(&mut pack, &bytes, &[cut]);
            assert!(ended);
            let text = String::from_utf8(messages.concat()).unwrap();
            assert_eq!(text, String::from_utf8_lossy(&bytes), "{bytes:x?} cut at {cut}");
        }
    }

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
