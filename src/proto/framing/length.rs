//! Lengths in front of messages: two or four bytes in either order, or a varint as in protobuf.
//!
//! Owns the bytes of a length that a read has cut. A length never sizes anything.

use super::FramingError;

/// Bytes in the longest length: a varint of 64 bits.
pub const MAX_PREFIX: usize = 10;

/// How a length is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LengthForm {
    /// Two bytes, big endian.
    U16,
    /// Two bytes, little endian.
    U16Le,
    /// Four bytes, big endian.
    U32,
    /// Four bytes, little endian.
    U32Le,
    /// Seven bits a byte, the lowest first; all bytes but the last have their high bit set (LEB128).
    Varint,
}

impl LengthForm {
    /// The name of the framing.
    pub fn name(self) -> &'static str {
        match self {
            Self::U16 => "length:u16",
            Self::U16Le => "length:u16le",
            Self::U32 => "length:u32",
            Self::U32Le => "length:u32le",
            Self::Varint => "length:varint",
        }
    }

    /// The longest message whose length it can say.
    pub fn limit(self) -> u64 {
        match self {
            Self::U16 | Self::U16Le => u64::from(u16::MAX),
            Self::U32 | Self::U32Le => u64::from(u32::MAX),
            Self::Varint => u64::MAX,
        }
    }

    /// Writes a length, at most [`LengthForm::limit`], to the start of `out` and says in how many
    /// bytes.
    pub fn encode(self, len: u64, out: &mut [u8; MAX_PREFIX]) -> usize {
        debug_assert!(len <= self.limit());
        let mut put = |bytes: &[u8]| {
            out[..bytes.len()].copy_from_slice(bytes);
            bytes.len()
        };
        match self {
            Self::U16 => put(&(len as u16).to_be_bytes()),
            Self::U16Le => put(&(len as u16).to_le_bytes()),
            Self::U32 => put(&(len as u32).to_be_bytes()),
            Self::U32Le => put(&(len as u32).to_le_bytes()),
            Self::Varint => encode_varint(len, out),
        }
    }
}

fn encode_varint(mut len: u64, out: &mut [u8; MAX_PREFIX]) -> usize {
    let mut at = 0;
    while len > 0x7f {
        out[at] = 0x80 | len as u8;
        len >>= 7;
        at += 1;
    }
    out[at] = len as u8;
    at + 1
}

/// Reads lengths, whatever the cuts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lengths {
    form: LengthForm,
    /// Of the one under way: its bytes so far, `len < MAX_PREFIX`, and what they say.
    len: u8,
    value: u64,
}

impl Lengths {
    pub(super) fn new(form: LengthForm) -> Self {
        Self { form, len: 0, value: 0 }
    }

    /// Whether a length has begun and not ended.
    pub(super) fn is_inside(&self) -> bool {
        self.len > 0
    }

    /// Takes the next byte, and says the length if that is its last one.
    ///
    /// # Errors
    /// [`FramingError::Varint`].
    pub(super) fn push(&mut self, byte: u8) -> Result<Option<u64>, FramingError> {
        let (at, byte) = (u32::from(self.len), u64::from(byte));
        let whole = match self.form {
            LengthForm::U16 | LengthForm::U32 => {
                self.value = self.value << 8 | byte;
                at + 1 == if self.form == LengthForm::U16 { 2 } else { 4 }
            }
            LengthForm::U16Le | LengthForm::U32Le => {
                self.value |= byte << (8 * at);
                at + 1 == if self.form == LengthForm::U16Le { 2 } else { 4 }
            }
            LengthForm::Varint => {
                // Nine bytes are 63 bits: the tenth has room for one, and for no byte behind it.
                if at as usize == MAX_PREFIX - 1 && byte > 1 {
                    return Err(FramingError::Varint);
                }
                self.value |= (byte & 0x7f) << (7 * at);
                byte & 0x80 == 0
            }
        };
        self.len += 1;
        if !whole {
            return Ok(None);
        }
        let value = self.value;
        *self = Self::new(self.form);
        Ok(Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMS: [LengthForm; 5] = [
        LengthForm::U16,
        LengthForm::U16Le,
        LengthForm::U32,
        LengthForm::U32Le,
        LengthForm::Varint,
    ];

    fn encoded(form: LengthForm, len: u64) -> Vec<u8> {
        let mut out = [0xee; MAX_PREFIX];
        let n = form.encode(len, &mut out);
        out[..n].to_vec()
    }

    fn read(form: LengthForm, bytes: &[u8]) -> Result<Option<u64>, FramingError> {
        let mut lengths = Lengths::new(form);
        for (at, byte) in bytes.iter().enumerate() {
            if let Some(len) = lengths.push(*byte)? {
                assert_eq!((at + 1, lengths.is_inside()), (bytes.len(), false));
                return Ok(Some(len));
            }
            assert!(lengths.is_inside());
        }
        Ok(None)
    }

    #[test]
    fn writes_a_length_as_its_form_has_it() {
        assert_eq!(encoded(LengthForm::U16, 0x0102), [1, 2]);
        assert_eq!(encoded(LengthForm::U16Le, 0x0102), [2, 1]);
        assert_eq!(encoded(LengthForm::U32, 0x0102_0304), [1, 2, 3, 4]);
        assert_eq!(encoded(LengthForm::U32Le, 0x0102_0304), [4, 3, 2, 1]);
        // As the protobuf documentation has them.
        assert_eq!(encoded(LengthForm::Varint, 1), [1]);
        assert_eq!(encoded(LengthForm::Varint, 150), [0x96, 1]);
        assert_eq!(encoded(LengthForm::Varint, u64::MAX).len(), MAX_PREFIX);
    }

    #[test]
    fn reads_what_it_has_written() {
        for form in FORMS {
            for shift in 0..64 {
                for len in [0, (1u64 << shift) - 1, 1 << shift, u64::MAX >> shift] {
                    if len <= form.limit() {
                        assert_eq!(read(form, &encoded(form, len)), Ok(Some(len)), "{form:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_varint_has_ten_bytes_and_64_bits_at_most() {
        let nines = [0xff; 9];
        let with = |last: &[u8]| read(LengthForm::Varint, &[&nines[..], last].concat());
        assert_eq!(with(&[1]), Ok(Some(u64::MAX)));
        assert_eq!(with(&[0]), Ok(Some(u64::MAX >> 1)));
        assert_eq!(with(&[2]), Err(FramingError::Varint));
        assert_eq!(with(&[0x81, 0]), Err(FramingError::Varint));
        assert_eq!(read(LengthForm::Varint, &[0x80, 0x80, 0]), Ok(Some(0)), "longer than it must");
    }
}
