//! The part of a page that a request asks for (`Range`, RFC 9110 §14).
//!
//! Owns the one kind of range that is answered by a part: a single one, of bytes. Whatever else a
//! client asks for, it gets the whole page, as §14.2 allows.

use std::ops::Range;

/// A range of bytes, as it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteRange {
    /// `bytes=FIRST-`: to the end.
    From(u64),
    /// `bytes=FIRST-LAST`, both included; `first <= last`.
    Between(u64, u64),
    /// `bytes=-N`: the last so many.
    Last(u64),
}

impl ByteRange {
    /// The value of a `Range` field. `None` for what is answered by the whole page: several ranges,
    /// another unit, or nonsense.
    pub fn parse(value: &str) -> Option<Self> {
        let (unit, set) = value.split_once('=')?;
        let (first, last) = set.trim_matches([' ', '\t']).split_once('-')?;
        if !unit.trim_matches([' ', '\t']).eq_ignore_ascii_case("bytes") {
            return None;
        }
        match (first, last) {
            ("", last) => Some(Self::Last(number(last)?)),
            (first, "") => Some(Self::From(number(first)?)),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Self::Between(first, last))
            }
        }
    }

    /// The bytes of a page of `len` that are meant, never none.
    ///
    /// # Errors
    /// There are no such bytes: 416.
    pub fn within(self, len: u64) -> Result<Range<u64>, Unsatisfiable> {
        let range = match self {
            Self::From(first) => first..len,
            Self::Between(first, last) => first..len.min(last.saturating_add(1)),
            Self::Last(n) => len.saturating_sub(n)..len,
        };
        match range.is_empty() {
            false => Ok(range),
            true => Err(Unsatisfiable),
        }
    }
}

/// A range beyond the end, or of nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsatisfiable;

/// Digits. A number that is too large for us is larger than any page, and stays so.
fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of §14.1.2 for a page of 10000 bytes, and what lies at the edges.
    #[test]
    fn finds_the_bytes_that_are_meant() {
        for (value, range) in [
            ("bytes=0-499", Ok(0..500)),
            ("bytes=500-999", Ok(500..1000)),
            ("bytes=-500", Ok(9500..10000)),
            ("bytes=9500-", Ok(9500..10000)),
            ("bytes=0-0", Ok(0..1)),
            ("bytes=-1", Ok(9999..10000)),
            ("BYTES = 5-", Ok(5..10000)),
            ("bytes=0-", Ok(0..10000)),
            ("bytes=9999-99999", Ok(9999..10000)),
            ("bytes=-99999", Ok(0..10000)),
            ("bytes=1-18446744073709551615", Ok(1..10000)),
            ("bytes=1-99999999999999999999999", Ok(1..10000)),
            ("bytes=-99999999999999999999999", Ok(0..10000)),
            ("bytes=10000-", Err(Unsatisfiable)),
            ("bytes=10000-10001", Err(Unsatisfiable)),
            ("bytes=99999999999999999999999-", Err(Unsatisfiable)),
            ("bytes=-0", Err(Unsatisfiable)),
        ] {
            assert_eq!(ByteRange::parse(value).expect(value).within(10_000), range, "{value}");
        }
        for value in ["bytes=0-", "bytes=0-0", "bytes=-1"] {
            assert_eq!(ByteRange::parse(value).expect(value).within(0), Err(Unsatisfiable));
        }
    }

    #[test]
    fn whatever_else_is_asked_for_is_no_part() {
        for value in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=5",
            "bytes=2-1",
            "bytes=0-1,3-4",
            "bytes=0-1,",
            "bytes=a-b",
            "bytes=+1-2",
            "bytes=0x1-2",
            "bytes=1-2-3",
            "bytes=--1",
            "bytes:0-1",
            "lines=0-1",
            "bytes=0 - 1",
        ] {
            assert_eq!(ByteRange::parse(value), None, "{value}");
        }
    }
}
