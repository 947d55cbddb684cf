//! UTF-8 that arrives in pieces (RFC 6455 §8.1, RFC 3629).
//!
//! Owns the at most three bytes of a character that is not complete yet.
//! Says where the first offending byte is, as soon as that byte is there.

/// Checks a stream of text, whatever its cuts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Utf8 {
    /// Bytes of the character under way. Invariant: `partial[..len]` may still become valid.
    partial: [u8; 3],
    /// `len <= 3`
    len: u8,
}

impl Utf8 {
    /// Takes the next piece.
    ///
    /// # Errors
    /// The index in `piece` of the byte that cannot be part of any text. The bytes before it were
    /// possible, whatever the cuts.
    pub fn check(&mut self, piece: &[u8]) -> Result<(), usize> {
        let mut at = 0;
        while self.len > 0 {
            let Some(&byte) = piece.get(at) else {
                return Ok(());
            };
            self.complete(byte).map_err(|()| at)?;
            at += 1;
        }
        let rest = &piece[at..];
        let Err(error) = std::str::from_utf8(rest) else {
            return Ok(());
        };
        let valid = error.valid_up_to();
        match error.error_len() {
            None => {
                let tail = &rest[valid..];
                self.partial[..tail.len()].copy_from_slice(tail);
                self.len = tail.len() as u8;
                Ok(())
            }
            // A good first byte is possible text; what offends is the byte after its good prefix.
            Some(len) if (0xc2..=0xf4).contains(&rest[valid]) => Err(at + valid + len),
            Some(_) => Err(at + valid),
        }
    }

    /// Whether text may end here: no character is incomplete.
    pub fn is_complete(&self) -> bool {
        self.len == 0
    }

    /// Adds one byte to the character under way.
    fn complete(&mut self, byte: u8) -> Result<(), ()> {
        let len = usize::from(self.len);
        let mut character = [0; 4];
        character[..len].copy_from_slice(&self.partial[..len]);
        character[len] = byte;
        match std::str::from_utf8(&character[..len + 1]) {
            Ok(_) => self.len = 0,
            // `error_len` of `None` means that more bytes could complete it, which four never need.
            Err(error) if error.error_len().is_none() => {
                self.partial[len] = byte;
                self.len += 1;
            }
            Err(_) => return Err(()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The index of the first byte that makes `bytes` impossible as the beginning of a text.
    fn model(bytes: &[u8]) -> Option<usize> {
        (0..bytes.len()).find(|&i| {
            std::str::from_utf8(&bytes[..=i]).is_err_and(|error| error.error_len().is_some())
        })
    }

    fn fed(bytes: &[u8], cuts: &[usize]) -> (Option<usize>, bool) {
        let mut utf8 = Utf8::default();
        let mut start = 0;
        for &cut in cuts.iter().chain([&bytes.len()]) {
            if let Err(at) = utf8.check(&bytes[start..cut]) {
                return (Some(start + at), false);
            }
            start = cut;
        }
        (None, utf8.is_complete())
    }

    #[test]
    fn finds_the_offending_byte_at_every_cut() {
        let texts: [&[u8]; 12] = [
            b"plain",
            "κόσμε €😀 end".as_bytes(),
            b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80edited",
            b"\xed\xa0\x80",
            b"a\xf8\x88\x80\x80\x80",
            b"\xc0\xaf",
            b"\xe2\x82",
            b"\xe2\x82\xff",
            b"\xf0\x9f\x98\x80\x80",
            b"ok\x80",
            b"\xe0\x80\x80",
            b"\xf4\x8f\xbf\xbf\xf5",
        ];
        for text in texts {
            let expected =
                (model(text), model(text).is_none() && std::str::from_utf8(text).is_ok());
            for first in 0..=text.len() {
                for second in first..=text.len() {
                    assert_eq!(fed(text, &[first, second]), expected, "{text:x?} {first} {second}");
                }
            }
            let bytes: Vec<usize> = (0..text.len()).collect();
            assert_eq!(fed(text, &bytes), expected, "{text:x?} byte by byte");
        }
    }

    /// Every two-byte and, sampled, three-byte beginning against the standard library.
    #[test]
    fn agrees_with_the_standard_library() {
        for first in 0..=255u8 {
            for second in 0..=255u8 {
                for third in [0, 0x7f, 0x80, 0x9f, 0xa0, 0xbf, 0xc2, 0xff] {
                    let text = [first, second, third, 0x80];
                    assert_eq!(fed(&text, &[1, 2, 3]).0, model(&text), "{text:x?}");
                    assert_eq!(fed(&text, &[]).0, model(&text), "{text:x?}");
                }
            }
        }
    }
}
