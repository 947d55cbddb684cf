//! Base64 as RFC 4648 section 4 describes it, once more and as plain as can be.
//!
//! The model of a decoder that hands out each byte with the character that completes it, so that
//! the bytes in front of a mistake count. Padding may be missing, but not wrong.

/// A character that cannot stand where it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mistake;

/// The four characters under way.
#[derive(Debug, Clone, Default)]
pub struct Quantum {
    values: Vec<u8>,
    padding: usize,
}

impl Quantum {
    /// The next character, and the byte that it completes.
    ///
    /// # Errors
    /// It cannot stand here.
    pub fn push(&mut self, character: u8) -> Result<Option<u8>, Mistake> {
        let at = self.values.len() + self.padding;
        if character == b'=' {
            self.padding += 1;
            return if at < 4 && self.may_end() { Ok(None) } else { Err(Mistake) };
        }
        let value = match character {
            b'A'..=b'Z' => character - b'A',
            b'a'..=b'z' => character - b'a' + 26,
            b'0'..=b'9' => character - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return Err(Mistake),
        };
        if self.padding > 0 {
            return Err(Mistake);
        }
        if at == 4 {
            self.values.clear();
        }
        self.values.push(value);
        Ok(match self.values[..] {
            [a, b] => Some(a << 2 | b >> 4),
            [_, b, c] => Some(b << 4 | c >> 2),
            [_, _, c, d] => Some(c << 6 | d),
            _ => None,
        })
    }

    /// Whether a text may end here.
    pub fn is_whole(&self) -> bool {
        match self.padding {
            0 => self.values.is_empty() || self.values.len() == 4 || self.may_end(),
            n => self.values.len() + n == 4,
        }
    }

    /// Whether padding may follow: a byte is complete and no bit is left over.
    fn may_end(&self) -> bool {
        match self.values[..] {
            [_, b] => b & 0x0f == 0,
            [_, _, c] => c & 0x03 == 0,
            _ => false,
        }
    }
}

/// The bytes of a text up to its first mistake, and whether there is none.
pub fn decode(text: &[u8]) -> (Vec<u8>, bool) {
    let mut quantum = Quantum::default();
    let mut bytes = Vec::new();
    for &character in text {
        match quantum.push(character) {
            Ok(byte) => bytes.extend(byte),
            Err(Mistake) => return (bytes, false),
        }
    }
    (bytes, quantum.is_whole())
}
