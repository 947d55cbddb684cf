//! Text messages, never cut inside a character.
//!
//! Owns the head of a character whose rest has not been read.

use crate::buf::hot::Hot;
use crate::proto::frame::FrameError;

/// The beginning of a character whose rest has not been read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tail {
    bytes: [u8; 3],
    /// `len <= 3`
    len: u8,
}

/// Bytes of U+FFFD in UTF-8.
pub(super) const REPLACEMENT: &str = "\u{fffd}";

impl Tail {
    fn prepend_to(&mut self, hot: &mut Hot) {
        hot.prepend(&self.bytes[..usize::from(self.len)]);
        self.len = 0;
    }

    /// Bytes that wait for their rest.
    pub(super) fn len(self) -> usize {
        usize::from(self.len)
    }

    /// Keeps `bytes`, the at most three of an incomplete character.
    fn keep(&mut self, bytes: &[u8]) {
        self.bytes[..bytes.len()].copy_from_slice(bytes);
        self.len = bytes.len() as u8;
    }

    pub(super) fn pack(&mut self, hot: &mut Hot) -> Result<(), FrameError> {
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

    pub(super) fn pack_lossy(&mut self, hot: &mut Hot) {
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

    /// Writes a part of a message to the start of `out` and says how long it is there; `out` is long
    /// enough for U+FFFD in place of each byte.
    pub(super) fn pack_part(
        &mut self,
        part: &[u8],
        ends: bool,
        lossy: bool,
        out: &mut [u8],
    ) -> (usize, Result<(), FrameError>) {
        let mut out = Packed { out, len: 0, lossy };
        let result = self.put_part(part, ends, &mut out);
        (out.len, result)
    }

    fn put_part(&mut self, part: &[u8], ends: bool, out: &mut Packed) -> Result<(), FrameError> {
        let mut rest = part;
        while self.len > 0 {
            let Some((&byte, behind)) = rest.split_first() else { break };
            // A byte that does not go on with the character may begin another.
            match self.push(byte, out) {
                true => rest = behind,
                false => out.replace()?,
            }
        }
        while let Err(error) = std::str::from_utf8(rest) {
            let (valid, bad) = rest.split_at(error.valid_up_to());
            out.add(valid);
            rest = match error.error_len() {
                Some(n) => {
                    out.replace()?;
                    &bad[n..]
                }
                None => {
                    self.keep(bad);
                    &[]
                }
            };
        }
        out.add(rest);
        if ends && std::mem::take(&mut self.len) > 0 {
            out.replace()?;
        }
        Ok(())
    }

    /// Adds a byte to the character that has begun, and that one to `out` if it is whole. `false` if it
    /// cannot be one.
    fn push(&mut self, byte: u8, out: &mut Packed) -> bool {
        let len = usize::from(self.len);
        let mut character = [0; 4];
        character[..len].copy_from_slice(&self.bytes[..len]);
        character[len] = byte;
        match std::str::from_utf8(&character[..len + 1]) {
            Ok(whole) => {
                out.add(whole.as_bytes());
                self.len = 0;
                true
            }
            // That more bytes could complete it is never said of four.
            Err(error) if error.error_len().is_none() => {
                self.bytes[len] = byte;
                self.len += 1;
                true
            }
            Err(_) => {
                self.len = 0;
                false
            }
        }
    }

    /// The stream ends: a character must not have begun.
    pub(super) fn finish(&mut self) -> Result<(), FrameError> {
        match std::mem::take(&mut self.len) {
            0 => Ok(()),
            _ => Err(FrameError::NotUtf8),
        }
    }

    /// The stream ends: leaves in the output what stands for a character that has begun.
    pub(super) fn finish_lossy(&mut self, hot: &mut Hot) {
        if std::mem::take(&mut self.len) > 0 {
            hot.fill(0);
            hot.put(REPLACEMENT.as_bytes());
        }
    }
}

/// Payload under way.
struct Packed<'a> {
    out: &'a mut [u8],
    len: usize,
    lossy: bool,
}

impl Packed<'_> {
    fn add(&mut self, text: &[u8]) {
        let end = self.len + text.len();
        self.out[self.len..end].copy_from_slice(text);
        self.len = end;
    }

    /// Bytes that are not UTF-8 stood here.
    fn replace(&mut self) -> Result<(), FrameError> {
        if !self.lossy {
            return Err(FrameError::NotUtf8);
        }
        self.add(REPLACEMENT.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::encoding::{Encoding, Pack};
    use crate::testing::Random;

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
}
