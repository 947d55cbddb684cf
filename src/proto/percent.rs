//! Percent-encoding: what the segments of a path and the values of a query stand for (RFC 3986 §2.1,
//! §3.4).
//!
//! Owns the decoding, and how a query is a list of names and values. Never judges a value.
//!
//! Decoding comes last, after a URL was taken to pieces: what was escaped separates nothing. It is
//! done once; `%2541` is `%41`. A `+` stays one: that it may be a space is a rule for forms (WHATWG
//! URL §5.1), and in a token of base64 it is none.

use std::borrow::Cow;
use std::fmt;

/// What `text` stands for; without escapes, `text` itself.
///
/// `None` if a `%` is not followed by two hexadecimal digits, if the outcome is not UTF-8, or if
/// there is a NUL in it, behind which whoever reads it as a C string would see nothing.
pub fn decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.bytes().any(|b| matches!(b, b'%' | 0)) {
        return Some(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let byte = match byte {
            b'%' => nibble(rest.next()?)? << 4 | nibble(rest.next()?)?,
            _ => byte,
        };
        if byte == 0 {
            return None;
        }
        decoded.push(byte);
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

/// Either case will do (RFC 3986 §6.2.2.1).
fn nibble(digit: u8) -> Option<u8> {
    // A hexadecimal digit is below 16.
    char::from(digit).to_digit(16).map(|value| value as u8)
}

/// The decoded value of the first `name` in a query (what is behind the `?`); `None` if there is
/// none. A name without a `=` has the empty value.
///
/// # Errors
/// The value cannot be decoded.
pub fn query_value<'a>(query: &'a str, name: &str) -> Result<Option<Cow<'a, str>>, Undecodable> {
    let first = raw_values(query, name).next();
    first.map(|value| decode(value).ok_or(Undecodable)).transpose()
}

/// Whether `name` stands in a query more than once: which one counts is then decided differently
/// by every reader, and what is a matter of access is better refused.
pub fn is_repeated(query: &str, name: &str) -> bool {
    raw_values(query, name).nth(1).is_some()
}

/// The values of `name`, however it is escaped itself, as they stand.
fn raw_values<'a, 'n>(query: &'a str, name: &'n str) -> impl Iterator<Item = &'a str> + 'n
where
    'a: 'n,
{
    query.split('&').filter_map(move |pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(key).as_deref() == Some(name)).then_some(value)
    })
}

/// A value whose escapes stand for nothing, or for what is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Undecodable;

/// One clause, for whoever sent it.
impl fmt::Display for Undecodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a % takes two hexadecimal digits that make up UTF-8 without NUL; a % itself is %25",
        )
    }
}

impl std::error::Error for Undecodable {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    #[test]
    fn decodes_escapes_and_nothing_else() {
        for (text, decoded) in [
            ("", ""),
            ("db.internal:5432", "db.internal:5432"),
            ("db.internal%3A5432", "db.internal:5432"),
            ("%5B%3a%3A1%5d%3A22", "[::1]:22"),
            ("unix%3A%2frun%2Fapp.sock", "unix:/run/app.sock"),
            ("a+b%20c%2Bd", "a+b c+d"),
            ("%2541", "%41"),
            ("%25", "%"),
            ("%26%3d%23", "&=#"),
            ("%41%C3%A9%e2%82%ac%F0%9F%A6%80", "Aé€🦀"),
            ("é%C3%A9", "éé"),
            ("%0D%0A%7f", "\r\n\x7f"),
        ] {
            assert_eq!(decode(text).as_deref(), Some(decoded), "{text}");
        }
        assert!(matches!(decode("plain"), Some(Cow::Borrowed("plain"))));
    }

    #[test]
    fn refuses_what_stands_for_nothing() {
        for text in [
            "%",
            "a%",
            "%2",
            "%%",
            "%%41",
            "%4",
            "%4g",
            "%g4",
            "%+4",
            "% 4",
            "%4%31",
            "%u0041",
            "%0",
            "%00",
            "a%00b",
            "a\0b",
            "%\u{ff14}1",
            "%é",
            // Not UTF-8: a lone byte, one too many, an overlong slash, a surrogate, too large.
            "%ff",
            "%C3",
            "%C3A9",
            "%C3%A9%A9",
            "%c0%af",
            "%ED%A0%80",
            "%F4%90%80%80",
            "%C0%80",
        ] {
            assert_eq!(decode(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_first_value_of_a_name_counts() {
        let query = "x=1&target=db%3A22&target=other:1&y&=z&%74arget=third&t%=4&Target=5";
        let value = |name| query_value(query, name).unwrap();
        assert_eq!(value("target").as_deref(), Some("db:22"));
        assert_eq!(value("x").as_deref(), Some("1"));
        assert_eq!(value("y").as_deref(), Some(""));
        assert_eq!(value("Target").as_deref(), Some("5"));
        for none in ["z", "tar", "targe", "TARGET", "t%", "%74arget", "target=db%3A22"] {
            assert_eq!(value(none), None, "{none}");
        }
        assert!(is_repeated(query, "target"));
        assert!(
            !is_repeated(query, "x") && !is_repeated(query, "Target") && !is_repeated(query, "z")
        );
        assert!(is_repeated("a&a", "a") && is_repeated("a=%zz&a=1", "a"));
    }

    #[test]
    fn what_is_escaped_separates_nothing() {
        let query = "a=1%26b=2&c%3Dd=3&e=f=g?h#i";
        let value = |name| query_value(query, name).unwrap();
        assert_eq!(value("a").as_deref(), Some("1&b=2"));
        assert_eq!(value("b"), None);
        assert_eq!(value("c"), None);
        assert_eq!(value("c=d").as_deref(), Some("3"));
        assert_eq!(value("e").as_deref(), Some("f=g?h#i"));
    }

    #[test]
    fn tells_a_bad_value_from_none() {
        assert_eq!(query_value("a=%zz&a=1", "a"), Err(Undecodable));
        assert_eq!(query_value("a=%00", "a"), Err(Undecodable));
        assert_eq!(query_value("b=%zz&a=1", "a"), Ok(Some("1".into())));
        assert_eq!(query_value("b=%zz", "a"), Ok(None));
        assert_eq!(query_value("", "a"), Ok(None));
    }

    #[test]
    fn any_text_comes_back_from_its_escapes() {
        let mut random = Random::new("any_text_comes_back_from_its_escapes");
        for _ in 0..2_000 {
            let n = random.below(40);
            let text = String::from_utf8_lossy(&random.bytes(n)).replace('\0', "0");
            let escaped: String = text
                .bytes()
                .map(|b| match random.below(2) {
                    0 if b.is_ascii_alphanumeric() => char::from(b).to_string(),
                    0 => format!("%{b:02x}"),
                    _ => format!("%{b:02X}"),
                })
                .collect();
            assert_eq!(decode(&escaped).as_deref(), Some(&text[..]), "{escaped}");
            let query = format!("a=b&{escaped}={escaped}&c");
            if text != "a" && text != "c" {
                assert_eq!(query_value(&query, &text), Ok(Some(Cow::Borrowed(&text[..]))));
            }
        }
    }
}
