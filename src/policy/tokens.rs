//! Token files: which target a request's token stands for (`--remote token:`).
//!
//! Owns the format, which is that of websockify's `TokenFile`, and the table that is made of it.
//! Never reads a file, and never shows a token, which is all that somebody needs to get in: not in
//! an error, not in `Debug`.
//!
//! ```text
//! # comment, or blank
//! name: host:port
//! name: [2001:db8::1]:5900
//! name: unix:/run/app.sock
//! name: unix:@abstract
//! ```
//!
//! A name is printable and has neither white space nor a colon. The space behind its colon may be
//! missing. `unix_socket:/path` is how websockify writes a unix socket.

use std::collections::hash_map::{Entry, HashMap};
use std::fmt;

use crate::config::{Destination, UnixName};
use crate::proto::authority::{AuthorityError, HostPort};

/// Bytes in a line.
const MAX_LINE: usize = 4 << 10;
/// Bytes in all files of a table together.
pub const MAX_TEXT: usize = 4 << 20;
/// Tokens in a table.
pub const MAX_TOKENS: usize = 100_000;
/// What some editors put in front of UTF-8.
const BOM: &[u8] = b"\xef\xbb\xbf";
/// `sun_path` holds 108 bytes, of which one ends a path or begins an abstract name (unix(7)).
const MAX_UNIX_NAME: usize = 107;

impl Destination {
    /// Reads `host:port`, `unix:/path` or `unix:@name`.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, DestinationError> {
        let unix = text.strip_prefix("unix:").or_else(|| text.strip_prefix("unix_socket:"));
        match unix {
            Some(name) => unix_name(name).map(Self::Unix),
            None => HostPort::parse(text).map(Self::Tcp).map_err(DestinationError::Authority),
        }
    }
}

fn unix_name(text: &str) -> Result<UnixName, DestinationError> {
    let name = text.strip_prefix('@').unwrap_or(text);
    if name.is_empty() {
        Err(DestinationError::UnixMissing)
    } else if name.contains(char::is_control) {
        Err(DestinationError::UnixControl)
    } else if name.len() > MAX_UNIX_NAME {
        Err(DestinationError::UnixLength)
    } else if text.starts_with('@') {
        Ok(UnixName::Abstract(name.to_owned()))
    } else if !text.starts_with('/') || text.starts_with("//") {
        Err(DestinationError::UnixRelative)
    } else if text.ends_with('/') {
        Err(DestinationError::UnixDirectory)
    } else {
        Ok(UnixName::Path(text.into()))
    }
}

/// What tokens stand for. The default knows none.
#[derive(Default)]
pub struct Tokens {
    by_name: HashMap<Box<str>, Line>,
    /// Names of the texts, in the order in which they came.
    files: Vec<String>,
    /// Bytes of all texts.
    len: usize,
}

/// A token's line, remembered for the message that another one has the same name.
struct Line {
    destination: Destination,
    /// `file < files.len()`
    file: usize,
    /// Counted from 1.
    number: usize,
}

impl Tokens {
    /// Reads the text of one file, which `file` is the name of in errors. A byte order mark, CRLF
    /// and white space around a line are tolerated, and so is a file without any tokens: a table
    /// may be waiting for its first.
    ///
    /// # Errors
    /// A line that is not an entry, or more than a table may hold.
    pub fn parse(text: &[u8], file: &str) -> Result<Self, TokensError> {
        let mut tokens = Self::default();
        tokens.add(text, file)?;
        Ok(tokens)
    }

    /// Reads one more file, say of a directory, into the same table. Which of two equal names is
    /// named as the first depends on the order; what the table then holds does not.
    ///
    /// # Errors
    /// As of [`Tokens::parse`], and a name that is there already. The table then holds a part of
    /// the text, and is good for nothing.
    pub fn add(&mut self, text: &[u8], file: &str) -> Result<(), TokensError> {
        let at = |line, what| TokensError { file: file.to_owned(), line, what };
        self.len = self.len.saturating_add(text.len());
        if self.len > MAX_TEXT {
            return Err(at(None, Flaw::TooLarge));
        }
        self.files.push(file.to_owned());
        let text = text.strip_prefix(BOM).unwrap_or(text);
        for (index, line) in text.split(|b| *b == b'\n').enumerate() {
            let number = index + 1;
            self.add_line(line, number).map_err(|what| at(Some(number), what))?;
        }
        Ok(())
    }

    /// A line of the last file.
    fn add_line(&mut self, line: &[u8], number: usize) -> Result<(), Flaw> {
        let Some((name, destination)) = entry(line)? else { return Ok(()) };
        let destination = Destination::parse(destination).map_err(Flaw::Destination)?;
        if self.by_name.len() == MAX_TOKENS {
            return Err(Flaw::TooMany);
        }
        match self.by_name.entry(name.into()) {
            Entry::Vacant(vacant) => {
                vacant.insert(Line { destination, file: self.files.len() - 1, number });
                Ok(())
            }
            Entry::Occupied(first) => {
                let Line { file, number, .. } = *first.get();
                Err(Flaw::Repeated { file: self.files[file].clone(), line: number })
            }
        }
    }

    /// Where `token` leads; `None` if nobody wrote it down.
    ///
    /// How long it takes tells nothing about tokens that are nearly right: they are found by a hash
    /// that is keyed anew for each table, and only one with the same hash is compared.
    pub fn get(&self, token: &str) -> Option<&Destination> {
        self.by_name.get(token).map(|line| &line.destination)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether every token is unknown.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}

/// How many there are, and nothing of them.
impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({})", self.len())
    }
}

/// The name and the destination in a line, if it is neither blank nor a comment.
fn entry(line: &[u8]) -> Result<Option<(&str, &str)>, Flaw> {
    // Before anything else, so that no work is done on a file that is none of ours.
    if line.len() > MAX_LINE {
        return Err(Flaw::TooLong);
    }
    let text = std::str::from_utf8(line).map_err(|_| Flaw::NotUtf8)?;
    let text = text.trim_matches(|c: char| c.is_ascii_whitespace());
    if text.is_empty() || text.starts_with('#') {
        return Ok(None);
    }
    let (name, destination) = text.split_once(':').ok_or(Flaw::NoColon)?;
    if name.is_empty() {
        return Err(Flaw::NameMissing);
    }
    if name.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(Flaw::Name);
    }
    Ok(Some((name, destination.trim_start_matches([' ', '\t']))))
}

/// Why a text is not a token file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokensError {
    /// The name it was given.
    pub file: String,
    /// Counted from 1; `None` for the text as a whole.
    pub line: Option<usize>,
    /// What is wrong with it.
    pub what: Flaw,
}

/// What is wrong with a line or a file. Never says what stands in front of its colon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flaw {
    /// All files together are over 4 MiB.
    TooLarge,
    /// Over 100,000 tokens.
    TooMany,
    /// A line over 4 KiB.
    TooLong,
    /// Not UTF-8.
    NotUtf8,
    /// No colon between name and destination.
    NoColon,
    /// Nothing in front of the colon.
    NameMissing,
    /// A name with white space or a control character in it.
    Name,
    /// Not a destination behind the colon.
    Destination(DestinationError),
    /// A name that was there before.
    Repeated {
        /// Where.
        file: String,
        /// In which line.
        line: usize,
    },
}

/// Why a text is not a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DestinationError {
    /// Not a host and a port.
    Authority(AuthorityError),
    /// Nothing behind `unix:`.
    UnixMissing,
    /// A control character in the name of a unix socket.
    UnixControl,
    /// More bytes than such a name has.
    UnixLength,
    /// Neither an absolute path nor an abstract name.
    UnixRelative,
    /// A path that ends in a slash.
    UnixDirectory,
}

/// One clause, which may be shown to whoever named the destination.
impl fmt::Display for DestinationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Authority(error) => return error.fmt(f),
            Self::UnixMissing => "there is no path or @name behind unix:",
            Self::UnixControl => "the name of the unix socket has a control character in it",
            Self::UnixLength => "the name of the unix socket is longer than 107 bytes",
            Self::UnixRelative => "what follows unix: is neither an absolute path nor an @name",
            Self::UnixDirectory => "the path of the unix socket is that of a directory",
        })
    }
}

impl std::error::Error for DestinationError {}

/// `FILE line N: WHAT`
impl fmt::Display for TokensError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, " line {line}")?;
        }
        f.write_str(match &self.what {
            Flaw::TooLarge => " makes the token files larger than 4 MiB; are they token files?",
            Flaw::TooMany => " is one token more than 100000; split them over several routes",
            Flaw::TooLong => " is over 4 KiB; write one token per line",
            Flaw::NotUtf8 => " is not UTF-8; save the file as UTF-8",
            Flaw::NoColon => " has no colon; write name: host:port",
            Flaw::NameMissing => " has no name in front of the colon; write name: host:port",
            Flaw::Name => " has a space or a control character in the name; write name: host:port",
            Flaw::Destination(error) => {
                return write!(f, ": {error}; write name: host:port or name: unix:/path")
            }
            Flaw::Repeated { file, line } => {
                return write!(f, " has the name of {file} line {line}; remove one of the two")
            }
        })
    }
}

impl std::error::Error for TokensError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    fn tokens(text: impl AsRef<[u8]>) -> Result<Tokens, TokensError> {
        Tokens::parse(text.as_ref(), "tokens")
    }

    fn leads(tokens: &Tokens, token: &str) -> Option<String> {
        tokens.get(token).map(|destination| match destination {
            Destination::Tcp(target) => target.to_string(),
            Destination::Unix(name) => format!("unix:{name}"),
        })
    }

    fn flaw(text: impl AsRef<[u8]>) -> (usize, Flaw) {
        let error = tokens(text).unwrap_err();
        assert_eq!(error.file, "tokens");
        (error.line.unwrap(), error.what)
    }

    #[test]
    fn reads_every_kind_of_destination() {
        let text = "\
# the lab
vm1: db.internal:5900

vm2:10.0.0.1:5901
\t vm3 :  \t[2001:db8::1]:22 \t
  # not: a:1
a/b?c=%41#d!\"é: HOST.Example.:80
app: unix:/run/my app.sock
abstract:unix:@name with: colons
theirs: unix_socket:/run/theirs.sock
last: localhost:65535";
        let expected = [
            ("vm1", "db.internal:5900"),
            ("vm2", "10.0.0.1:5901"),
            ("a/b?c=%41#d!\"é", "host.example:80"),
            ("app", "unix:/run/my app.sock"),
            ("abstract", "unix:@name with: colons"),
            ("theirs", "unix:/run/theirs.sock"),
            ("last", "localhost:65535"),
        ];
        assert_eq!(flaw(text), (5, Flaw::Name));
        let text = text.replace("vm3 :", "vm3:");
        for text in [text.clone(), text.replace('\n', "\r\n"), format!("\u{feff}{text}\n\n")] {
            let tokens = tokens(&text).unwrap();
            for (token, destination) in expected {
                assert_eq!(leads(&tokens, token).as_deref(), Some(destination), "{token}");
            }
            assert_eq!(leads(&tokens, "vm3").as_deref(), Some("[2001:db8::1]:22"));
            assert_eq!(tokens.len(), expected.len() + 1);
            for unknown in ["", "vm", "vm11", "VM1", "vm1:", " vm1", "# not", "not", "\u{feff}vm1"]
            {
                assert_eq!(tokens.get(unknown), None, "{unknown}");
            }
        }
    }

    #[test]
    fn a_file_without_tokens_is_one() {
        for text in ["", "\n", "\r\n \t\n", "# a: b:1", "\u{feff}", "\u{feff}\n#"] {
            let tokens = tokens(text).unwrap();
            assert!(tokens.is_empty() && tokens.get("a").is_none(), "{text:?}");
        }
    }

    #[test]
    fn tells_the_line_and_what_is_wrong_with_it() {
        use AuthorityError as A;
        use DestinationError::*;
        let destination = |error| Flaw::Destination(error);
        for (line, what) in [
            ("secret", Flaw::NoColon),
            ("secret host", Flaw::NoColon),
            (": host:1", Flaw::NameMissing),
            ("sec ret: host:1", Flaw::Name),
            ("sec\u{a0}ret: host:1", Flaw::Name),
            ("sec\0ret: host:1", Flaw::Name),
            ("sec\rret: host:1", Flaw::Name),
            ("sec\u{85}ret: host:1", Flaw::Name),
            ("secret:", destination(Authority(A::HostMissing))),
            ("secret: ", destination(Authority(A::HostMissing))),
            ("secret: host", destination(Authority(A::PortMissing))),
            ("secret: host:", destination(Authority(A::PortMissing))),
            ("secret: host:0", destination(Authority(A::PortZero))),
            ("secret: host:65558", destination(Authority(A::PortRange))),
            ("secret: host:22.0", destination(Authority(A::Port))),
            ("secret: host:1 # why", destination(Authority(A::Character(' ')))),
            ("secret: host:1\ra: b:1", destination(Authority(A::Character('\r')))),
            ("secret: 127.1:22", destination(Authority(A::Ipv4))),
            ("secret: ::1:22", destination(Authority(A::Colons))),
            ("secret: user@host:22", destination(Authority(A::UserInfo))),
            ("secret: tcp://host:22", destination(Authority(A::Path))),
            ("se:cret: host:22", destination(Authority(A::Character(' ')))),
            ("secret: unix:", destination(UnixMissing)),
            ("secret: unix:@", destination(UnixMissing)),
            ("secret: unix:run/app.sock", destination(UnixRelative)),
            ("secret: unix://run/app.sock", destination(UnixRelative)),
            ("secret: unix:22", destination(UnixRelative)),
            ("secret: unix:/run/", destination(UnixDirectory)),
            ("secret: unix:/run/\x07", destination(UnixControl)),
            ("secret: unix:@\u{85}a", destination(UnixControl)),
        ] {
            for end in ["", "\n", "\r\n", "\nb: c:1"] {
                let text = format!("a: b:1\n# c\n{line}{end}");
                assert_eq!(flaw(&text), (3, what.clone()), "{text:?}");
            }
        }
        assert_eq!(flaw(b"a: b:1\n\xff: b:1"), (2, Flaw::NotUtf8));
        assert_eq!(flaw(b"# \xff"), (1, Flaw::NotUtf8));
    }

    #[test]
    fn names_both_lines_of_a_name_that_is_repeated() {
        let again = |line| Flaw::Repeated { file: "tokens".into(), line };
        assert_eq!(flaw("\na: b:1\n\nc: d:1\na: b:1"), (5, again(2)));
        assert_eq!(flaw("a: b:1\na:c:1"), (2, again(1)));
        assert_eq!(tokens("a: b:1\nA: b:1").map(|tokens| tokens.len()), Ok(2));
        let mut tokens = Tokens::parse(b"a: b:1\nc: d:1", "one").unwrap();
        tokens.add(b"e: f:1", "two").unwrap();
        assert_eq!((tokens.len(), leads(&tokens, "e").as_deref()), (3, Some("f:1")));
        let error = tokens.add(b"\n\nc: d:1", "three").unwrap_err();
        let shown = "three line 3 has the name of one line 2; remove one of the two";
        assert_eq!(error.to_string(), shown);
    }

    #[test]
    fn limits_lines_files_and_tokens() {
        let line = format!("{}: b:1", "a".repeat(MAX_LINE - 5));
        assert_eq!(tokens(&line).map(|tokens| tokens.len()), Ok(1));
        assert_eq!(flaw(format!("b: b:1\n{line}1")), (2, Flaw::TooLong));
        assert_eq!(flaw("x".repeat(1 << 20)), (1, Flaw::TooLong));
        assert_eq!(flaw(format!("#{}", "x".repeat(MAX_LINE))), (1, Flaw::TooLong));

        let large = tokens("\n".repeat(MAX_TEXT + 1)).unwrap_err();
        assert_eq!((large.line, large.what), (None, Flaw::TooLarge));
        let mut table = tokens("\n".repeat(MAX_TEXT - 6)).unwrap();
        table.add(b"a: b:1", "rest").unwrap();
        assert_eq!(table.add(b"\n", "more").unwrap_err().what, Flaw::TooLarge);

        let many: String = (0..MAX_TOKENS).map(|n| format!("{n:x}:b:1\n")).collect();
        let mut table = tokens(&many).unwrap();
        assert_eq!(table.len(), MAX_TOKENS);
        table.add(b"# comment", "comment").unwrap();
        let error = table.add(b"\nx:b:1", "more").unwrap_err();
        assert_eq!((error.line, error.what), (Some(2), Flaw::TooMany));

        let name = "x".repeat(107);
        for (name, good) in [(format!("@{name}"), true), (format!("@{name}x"), false)] {
            assert_eq!(Destination::parse(&format!("unix:{name}")).is_ok(), good);
        }
        assert!(Destination::parse(&format!("unix:/{}", &name[1..])).is_ok());
        let long = Destination::parse(&format!("unix:/{name}"));
        assert_eq!(long, Err(DestinationError::UnixLength));
    }

    #[test]
    fn never_shows_a_token() {
        let good = tokens("hushhush: b:1\n").unwrap();
        assert_eq!(format!("{good:?}"), "Tokens(1)");
        for text in [
            "hushhush",
            "hush hush: b:1",
            "hush\x07hush: b:1",
            "hushhush: b",
            "hushhush: 127.1:1",
            "hushhush: unix:x",
            "hushhush: b:1\nhushhush: b:1",
            "hushhush:hushhush: b:1",
        ] {
            let error = tokens(text).unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(shown.starts_with("tokens line "), "{shown}");
            assert!(!shown.contains("hush") && !shown.contains(char::is_control), "{shown}");
        }
    }

    /// The same entries in any order, in any number of files, make the same table.
    #[test]
    fn the_order_of_lines_and_files_does_not_matter() {
        let mut random = Random::new("the_order_of_lines_and_files_does_not_matter");
        for _ in 0..50 {
            let mut lines: Vec<_> =
                (1..200).map(|n| (format!("t{n}"), format!("h{n}:{n}"))).collect();
            for at in 0..lines.len() {
                let other = random.below(lines.len());
                lines.swap(at, other);
            }
            let mut table = Tokens::default();
            let files = 1 + random.below(9);
            for (index, part) in lines.chunks(200 / files).enumerate() {
                let text: String =
                    part.iter().map(|(name, to)| format!("{name}: {to}\n")).collect();
                table.add(text.as_bytes(), &format!("file{index}")).unwrap();
            }
            for (name, to) in &lines {
                assert_eq!(leads(&table, name).as_ref(), Some(to));
            }
            let again = format!("# again\n{}: x:1", lines[random.below(lines.len())].0);
            let error = table.add(again.as_bytes(), "again").unwrap_err();
            assert!(matches!(error.what, Flaw::Repeated { .. }) && error.line == Some(2));
        }
    }
}
