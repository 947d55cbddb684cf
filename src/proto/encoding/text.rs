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
