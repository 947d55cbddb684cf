//! Credential files: who may use a listener, or what a client authorizes itself with (RFC 7617,
//! RFC 6750).
//!
//! Owns the format: one credential per line, blank lines and lines that begin with `#` skipped. In
//! place of a credential there can be its hash, `sha256:` and 64 hexadecimal digits (feature
//! `hashed-credentials`), so that whoever reads the file learns nothing that could be shown. That
//! holds for what cannot be guessed: no salt or slow hash makes up for a short password.
//! Never reads a file, and never shows a secret: not in an error, not in `Debug`.

use std::fmt;
use std::hint::black_box;

use base64::engine::general_purpose::STANDARD;
use base64::Engine;
use sha1_smol::Sha1;

/// Bytes in a line; `Authorization` must fit in the head that a server takes.
const MAX_LINE: usize = 1 << 10;
/// Bytes in a file.
pub const MAX_FILE: usize = 1 << 20;
/// What some editors put in front of UTF-8.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// Which scheme a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `user:password` (RFC 7617 §2).
    Basic,
    /// A token (RFC 6750 §2.1).
    Bearer,
}

/// What stands before the hash of a credential.
const HASHED: &str = "sha256:";

/// The credentials of a file; at least one.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    authorization: Option<String>,
    digests: Vec<[u8; 20]>,
    hashes: Vec<[u8; 32]>,
}

impl Credentials {
    /// Reads what a credential file holds. A byte order mark and CRLF are tolerated. Spaces around
    /// a token are not part of it; those of a password are.
    ///
    /// # Errors
    /// A line that is not a credential, a file without any, or one over 1 MiB.
    pub fn parse(text: &[u8], kind: Kind) -> Result<Self, CredentialsError> {
        if text.len() > MAX_FILE {
            return Err(CredentialsError::TooLarge);
        }
        let text = text.strip_prefix(BOM).unwrap_or(text);
        let mut lines = Vec::new();
        for (index, line) in text.split(|b| *b == b'\n').enumerate() {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.starts_with(b"#") || line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let line = read(line, kind)
                .map_err(|flaw| CredentialsError::Line { number: index + 1, flaw })?;
            lines.push(line);
        }
        let authorization = match lines.first().ok_or(CredentialsError::Empty)? {
            Line::Plain(first) => Some(match kind {
                Kind::Basic => format!("Basic {}", STANDARD.encode(first)),
                Kind::Bearer => format!("Bearer {first}"),
            }),
            Line::Hashed(_) => None,
        };
        let (mut digests, mut hashes) = (Vec::new(), Vec::new());
        for line in lines {
            match line {
                Line::Plain(secret) => digests.push(digest(secret.as_bytes())),
                Line::Hashed(hash) => hashes.push(hash),
            }
        }
        Ok(Self { authorization, digests, hashes })
    }

    /// The value of `Authorization` or `Proxy-Authorization` for the first credential. A secret.
    /// `None` if only its hash is known.
    pub fn authorization(&self) -> Option<&str> {
        self.authorization.as_deref()
    }

    /// Whether `presented` is one of the credentials: a token, or `user:password` as decoded.
    ///
    /// How long it takes depends on the length of `presented` and on how many there are, which its
    /// sender knows or may know. Digests of equal length are compared rather than secrets; every
    /// byte of every one is visited, none decides a branch, and a match ends nothing. Of SHA-1 no
    /// more is asked than that nobody finds a second text for the digest of an unknown one.
    pub fn accepts(&self, presented: &[u8]) -> bool {
        let mut found = matches(&self.digests, digest(presented));
        if !self.hashes.is_empty() {
            found |= sha256(presented).map_or(0, |hash| matches(&self.hashes, hash));
        }
        black_box(found) != 0
    }
}

/// 1 if one of the digests is that one, else 0.
fn matches<const N: usize>(stored: &[[u8; N]], presented: [u8; N]) -> u8 {
    let mut found = 0;
    for stored in stored {
        let differs = stored.iter().zip(presented).fold(0, |bits, (a, b)| bits | (a ^ b));
        // Opaque to the optimizer, which might otherwise stop at the first match.
        found |= u8::from(black_box(differs) == 0);
    }
    found
}

/// How many there are, and nothing of them.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({})", self.digests.len() + self.hashes.len())
    }
}

/// A line that is neither blank nor a comment.
enum Line<'a> {
    /// The credential itself.
    Plain(&'a str),
    /// Its SHA-256.
    Hashed([u8; 32]),
}

fn digest(secret: &[u8]) -> [u8; 20] {
    Sha1::from(secret).digest().bytes()
}

/// `None` where it cannot be computed.
#[cfg(feature = "hashed-credentials")]
fn sha256(secret: &[u8]) -> Option<[u8; 32]> {
    use sha2::Digest;
    Some(sha2::Sha256::digest(secret).into())
}

#[cfg(not(feature = "hashed-credentials"))]
fn sha256(_: &[u8]) -> Option<[u8; 32]> {
    None
}

/// What stands in a line that is neither blank nor a comment.
fn read(line: &[u8], kind: Kind) -> Result<Line<'_>, Flaw> {
    if line.len() > MAX_LINE {
        return Err(Flaw::TooLong);
    }
    let text = std::str::from_utf8(line).map_err(|_| Flaw::NotUtf8)?;
    let trimmed = text.trim_matches([' ', '\t']);
    match (trimmed.strip_prefix(HASHED), kind) {
        // A user may be called sha256; a token has no colon.
        (Some(digits), Kind::Bearer) => hashed(digits).map(Line::Hashed),
        (Some(digits), Kind::Basic) if digits.len() == 64 => hashed(digits).map(Line::Hashed),
        (_, Kind::Bearer) => secret(trimmed, kind).map(Line::Plain),
        (_, Kind::Basic) => secret(text, kind).map(Line::Plain),
    }
}

fn hashed(digits: &str) -> Result<[u8; 32], Flaw> {
    if sha256(b"").is_none() {
        return Err(Flaw::Hashed);
    }
    let mut hash = [0; 32];
    let nibbles = digits.chars().map(|digit| digit.to_digit(16)).collect::<Option<Vec<_>>>();
    let nibbles = nibbles.filter(|nibbles| nibbles.len() == 64).ok_or(Flaw::NotAHash)?;
    for (byte, pair) in hash.iter_mut().zip(nibbles.chunks_exact(2)) {
        *byte = (pair[0] << 4 | pair[1]) as u8; // two digits of four bits
    }
    Ok(hash)
}

fn secret(text: &str, kind: Kind) -> Result<&str, Flaw> {
    if text.contains(char::is_control) {
        return Err(Flaw::Control);
    }
    match kind {
        Kind::Basic if !text.contains(':') => Err(Flaw::NoColon),
        Kind::Bearer if !is_b64token(text) => Err(Flaw::NotAToken),
        _ => Ok(text),
    }
}

/// `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="` (RFC 6750 §2.1).
fn is_b64token(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    !body.is_empty() && body.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b))
}

/// Why a text is not a credential file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialsError {
    /// Nothing but blank lines and comments.
    Empty,
    /// Over 1 MiB.
    TooLarge,
    /// A line that is not a credential.
    Line {
        /// Counted from 1.
        number: usize,
        /// What is wrong with it.
        flaw: Flaw,
    },
}

/// What is wrong with a line. Never says what stands in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// Over 1 KiB.
    TooLong,
    /// Not UTF-8, which the challenge asks for (RFC 7617 §2.1).
    NotUtf8,
    /// A control character (RFC 7617 §2).
    Control,
    /// No colon between user and password.
    NoColon,
    /// A token with characters that none has.
    NotAToken,
    /// Something else than 64 hexadecimal digits where the hash of a credential should be.
    NotAHash,
    /// A hash, and the feature `hashed-credentials` is not there to compute one.
    Hashed,
}

impl fmt::Display for CredentialsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, flaw) = match self {
            Self::Empty => return f.write_str("holds no credentials; write one per line"),
            Self::TooLarge => return f.write_str("is over 1 MiB; is it a credential file?"),
            Self::Line { number, flaw } => (number, flaw),
        };
        let flaw = match flaw {
            Flaw::TooLong => "is over 1 KiB; write one credential per line",
            Flaw::NotUtf8 => "is not UTF-8; save the file as UTF-8",
            Flaw::Control => "has a control character in it; remove it",
            Flaw::NoColon => "has no colon; write user:password",
            Flaw::NotAToken => {
                "is not a bearer token; it takes letters, digits and -._~+/ with = at the end"
            }
            Flaw::NotAHash => "is not a hash; write sha256: and 64 hexadecimal digits",
            Flaw::Hashed => {
                "is a hash, which this build cannot check; build it with \
                 --features hashed-credentials, or write the credential itself"
            }
        };
        write!(f, "line {number} {flaw}")
    }
}

impl std::error::Error for CredentialsError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(text: impl AsRef<[u8]>) -> Result<Credentials, CredentialsError> {
        Credentials::parse(text.as_ref(), Kind::Basic)
    }

    fn bearer(text: impl AsRef<[u8]>) -> Result<Credentials, CredentialsError> {
        Credentials::parse(text.as_ref(), Kind::Bearer)
    }

    fn flaw(parsed: Result<Credentials, CredentialsError>) -> (usize, Flaw) {
        match parsed {
            Err(CredentialsError::Line { number, flaw }) => (number, flaw),
            other => panic!("{other:?}"),
        }
    }

    /// RFC 7617 §2 and §2.1, RFC 6750 §2.1.
    #[test]
    fn authorizes_as_the_rfcs_do_with_the_first_credential() {
        let authorization = |parsed: Result<Credentials, _>| parsed.unwrap().authorization.unwrap();
        let aladdin = "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==";
        assert_eq!(authorization(basic("Aladdin:open sesame")), aladdin);
        assert_eq!(authorization(basic("# us\n\nAladdin:open sesame\na:b\n")), aladdin);
        assert_eq!(authorization(basic("test:123£")), "Basic dGVzdDoxMjPCow==");
        assert_eq!(authorization(bearer("mF_9.B5f-4.1JqM\n")), "Bearer mF_9.B5f-4.1JqM");
    }

    #[test]
    fn accepts_each_line_and_nothing_else() {
        let users = basic("\u{feff}a:1\r\n\r\n  \r\n#x:1\r\nb:2:3\r\nc: 4 \r\n:\r\nd:").unwrap();
        for good in ["a:1", "b:2:3", "c: 4 ", ":", "d:"] {
            assert!(users.accepts(good.as_bytes()), "{good:?}");
        }
        for bad in
            ["", "a", "a:", "a:1\r", "a:11", "A:1", "#x:1", "x:1", "c:4", "b:2", "\u{feff}a:1"]
        {
            assert!(!users.accepts(bad.as_bytes()), "{bad:?}");
        }
        let tokens = bearer("  abc==\t\n\t\nd-._~+/9\r\n").unwrap();
        for (token, good) in [("abc==", true), ("d-._~+/9", true), ("abc", false), ("", false)] {
            assert_eq!(tokens.accepts(token.as_bytes()), good, "{token:?}");
        }
    }

    #[test]
    fn compares_every_byte_of_the_digests() {
        let mut users = basic("a:1\nb:2\nc:3").unwrap();
        for at in 0..20 {
            users.digests[1] = digest(b"b:2");
            users.digests[1][at] ^= 1 << (at % 8);
            assert!(!users.accepts(b"b:2"), "{at}");
            assert!(users.accepts(b"a:1") && users.accepts(b"c:3"));
        }
    }

    #[test]
    fn tells_the_line_and_what_is_wrong_with_it() {
        assert_eq!(flaw(basic("a:1\n# b\n\nsecret\n")), (4, Flaw::NoColon));
        assert_eq!(flaw(basic("a:1\r\na:\tsecret")), (2, Flaw::Control));
        assert_eq!(flaw(basic("a:1\rb:2\r\n")), (1, Flaw::Control));
        assert_eq!(flaw(basic("a:\0")), (1, Flaw::Control));
        assert_eq!(flaw(basic("a:\u{85}")), (1, Flaw::Control));
        assert_eq!(flaw(basic(b"a:1\na:\xa3")), (2, Flaw::NotUtf8));
        for token in ["a b", "a=b", "=", "a:b", "Bearer abc", "é", "\"abc\""] {
            assert_eq!(flaw(bearer(format!("\n{token}\n"))), (2, Flaw::NotAToken), "{token}");
        }
        assert_eq!(flaw(bearer("a\tb")), (1, Flaw::Control));
        for empty in ["", "\n\r\n \t\n", "# a:1", "\u{feff}"] {
            assert_eq!(basic(empty), Err(CredentialsError::Empty), "{empty:?}");
        }
    }

    /// What `printf %s user:sesame | sha256sum` prints, and what the same of `sesame` does.
    const USER: &str = "238ec1e47335e1e20075036869de394c799ea4562564be7d0da1758238998090";
    const TOKEN: &str = "d0c04f4b1951e4aeaaec8223ed2039e542f3aae805a6fa7f6d794e5afff5d272";

    #[test]
    #[cfg(feature = "hashed-credentials")]
    fn a_hash_stands_for_its_credential() {
        let users = basic(format!("a:1\nsha256:{USER}\n")).unwrap();
        assert_eq!(users.authorization(), Some("Basic YTox"));
        let tokens = bearer(format!(" sha256:{}\r\nabc", TOKEN.to_uppercase())).unwrap();
        assert_eq!(tokens.authorization(), None);
        assert_eq!(format!("{tokens:?}"), "Credentials(2)");
        for (known, good, bad) in [(&users, "user:sesame", "sesame"), (&tokens, "sesame", "user")] {
            assert!(known.accepts(good.as_bytes()) && !known.accepts(bad.as_bytes()));
            for hash in [USER, TOKEN] {
                assert!(!known.accepts(hash.as_bytes()));
                assert!(!known.accepts(format!("sha256:{hash}").as_bytes()));
            }
        }
        assert!(users.accepts(b"a:1") && tokens.accepts(b"abc"));
        for wrong in [&TOKEN[1..], "", &TOKEN.replace('d', "g"), &TOKEN.replace('d', "\u{e9}")] {
            assert_eq!(flaw(bearer(format!("sha256:{wrong}"))), (1, Flaw::NotAHash), "{wrong}");
        }
        assert!(basic("sha256:secret").unwrap().accepts(b"sha256:secret"));
    }

    #[test]
    #[cfg(not(feature = "hashed-credentials"))]
    fn a_hash_asks_for_a_build_that_can_check_it() {
        assert_eq!(flaw(basic(format!("a:1\nsha256:{USER}\n"))), (2, Flaw::Hashed));
        assert_eq!(flaw(bearer(format!("sha256:{TOKEN}"))), (1, Flaw::Hashed));
        let text = bearer(format!("sha256:{TOKEN}")).unwrap_err().to_string();
        assert!(text.contains("--features hashed-credentials"), "{text}");
        assert!(basic("sha256:secret").unwrap().accepts(b"sha256:secret"));
    }

    #[test]
    fn limits_lines_and_the_file() {
        let line = format!("a:{}", "x".repeat(MAX_LINE - 2));
        assert!(basic(format!("{line}\r\n")).unwrap().accepts(line.as_bytes()));
        assert_eq!(flaw(basic(format!("b:1\n{line}x\n"))), (2, Flaw::TooLong));
        let long_comment = format!("#{line}\na:1\n");
        assert!(basic(&long_comment).is_ok());
        let lines = "a:1\n".repeat(MAX_FILE / 4);
        assert!(basic(&lines).is_ok());
        assert_eq!(basic(lines + "\n"), Err(CredentialsError::TooLarge));
    }

    #[test]
    fn never_shows_a_secret() {
        let secrets = "user:sesame\n";
        assert_eq!(format!("{:?}", basic(secrets).unwrap()), "Credentials(1)");
        for parsed in [bearer(secrets), basic("sesame"), basic("user:sesame\x07")] {
            let error = parsed.unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(shown.contains("line 1 ") && !shown.contains("sesame"), "{shown}");
        }
    }
}
