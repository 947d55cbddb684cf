//! Unix sockets that a stranger names, and rules about them.
//!
//! Owns the one spelling in which a name is taken and compared, which is narrower than what the
//! command line takes. Never asks the file system: a path is compared as it is written, so a
//! symbolic link leads wherever it leads. Let nobody else write to a directory that a rule opens.

use std::fmt;

use crate::config::UnixName;

/// `sun_path` has 108 bytes, one of which ends a path or begins an abstract name (unix(7)).
const MAX_NAME: usize = 107;

/// Reads `/path` or `@name` as a stranger may write it: printable ASCII without spaces, and a path
/// in one spelling, without `//`, `.` or `..`, so that no rule is evaded by another.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn unix_name(text: &str) -> Result<UnixName, UnixError> {
    check_length_and_characters(text)?;
    match (text.strip_prefix('@'), text.strip_prefix('/')) {
        (Some(""), _) | (_, Some("")) => Err(UnixError::Empty),
        (Some(name), _) => Ok(UnixName::Abstract(name.to_owned())),
        (_, Some(path)) if path.split('/').all(is_component) => Ok(UnixName::Path(text.into())),
        (_, Some(path)) if path.ends_with('/') => Err(UnixError::Directory),
        (_, Some(_)) => Err(UnixError::Spelling),
        (None, None) => Err(UnixError::Relative),
    }
}

/// Which sockets a rule is about: one, or those in a directory, however deep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sockets {
    One(UnixName),
    /// Begins and ends with `/`.
    Under(String),
}

impl Sockets {
    /// What stands behind `unix:` in a rule.
    pub(super) fn parse(text: &str) -> Result<Self, UnixError> {
        match text.strip_suffix('/') {
            Some(directory) if text.starts_with('/') => {
                check_length_and_characters(text)?;
                let inner = directory.strip_prefix('/').unwrap_or(directory);
                match directory.is_empty() || inner.split('/').all(is_component) {
                    true => Ok(Self::Under(text.to_owned())),
                    false => Err(UnixError::Spelling),
                }
            }
            _ if text.ends_with("/*") => Err(UnixError::Star),
            _ => unix_name(text).map(Self::One),
        }
    }

    /// Whether the name is among them. One that no stranger could write never is.
    pub(super) fn contain(&self, name: &UnixName) -> bool {
        match self {
            Self::One(ours) => ours == name,
            Self::Under(directory) => is_plain(name) && name.to_string().starts_with(directory),
        }
    }
}

impl fmt::Display for Sockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(name) => write!(f, "unix:{name}"),
            Self::Under(directory) => write!(f, "unix:{directory}"),
        }
    }
}

/// Whether a name has the spelling that rules compare.
pub(super) fn is_plain(name: &UnixName) -> bool {
    unix_name(&name.to_string()).as_ref() == Ok(name)
}

fn check_length_and_characters(text: &str) -> Result<(), UnixError> {
    if let Some(c) = text.chars().find(|c| !c.is_ascii_graphic()) {
        return Err(UnixError::Character(c));
    }
    // An abstract name's @ stands for the NUL that is not counted.
    match text.strip_prefix('@').unwrap_or(text).len() {
        0 => Err(UnixError::Empty),
        len if len > MAX_NAME => Err(UnixError::Length(len)),
        _ => Ok(()),
    }
}

fn is_component(text: &str) -> bool {
    !matches!(text, "" | "." | "..")
}

/// Why a text does not name a unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnixError {
    /// Nothing, or nothing behind the `/` or `@`.
    Empty,
    /// More bytes than a socket's name can have.
    Length(usize),
    /// A space, a control character, one beyond ASCII.
    Character(char),
    /// Neither `/path` nor `@name`.
    Relative,
    /// A path that ends with `/`.
    Directory,
    /// A path with `//`, `.` or `..` in it.
    Spelling,
    /// A `*` where a directory is meant.
    Star,
}

impl fmt::Display for UnixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("has no path or name"),
            Self::Length(len) => {
                write!(f, "is {len} bytes long; a unix socket's name has at most {MAX_NAME}")
            }
            // As a literal, so that a control character stays one line.
            Self::Character(c) => write!(f, "has {c:?} in it, which cannot be asked for"),
            Self::Relative => f.write_str("is neither an absolute path nor an @name"),
            Self::Directory => f.write_str("is a directory"),
            Self::Spelling => f.write_str("has //, . or .. in its path"),
            Self::Star => f.write_str("has a *; a directory is written with / at its end"),
        }
    }
}

impl std::error::Error for UnixError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_one_spelling_of_a_name() {
        let longest = format!("/{}", "p".repeat(106));
        for text in ["/run/app.sock", "/a", "/run/..app/.b", "@name", "@/a/../b", "@@", &longest] {
            let name = unix_name(text);
            assert_eq!(name.as_ref().map(UnixName::to_string).as_deref(), Ok(text));
            assert!(is_plain(&name.unwrap()), "{text}");
        }
    }

    #[test]
    fn refuses_every_other() {
        use UnixError::*;
        for (text, flaw) in [
            ("", Empty),
            ("/", Empty),
            ("@", Empty),
            ("run/app.sock", Relative),
            ("../app.sock", Relative),
            ("unix:/run/app.sock", Relative),
            ("/run/", Directory),
            ("/..", Spelling),
            ("/run/../etc/app.sock", Spelling),
            ("/run/app/..", Spelling),
            ("/run/./app.sock", Spelling),
            ("/run//app.sock", Spelling),
            ("//run/app.sock", Spelling),
            ("/run/a b", Character(' ')),
            ("/run/a\0b", Character('\0')),
            ("/run/a\n", Character('\n')),
            ("/run/\u{e9}", Character('\u{e9}')),
            ("@a\0", Character('\0')),
        ] {
            assert_eq!(unix_name(text), Err(flaw), "{text:?}");
            assert!(!flaw.to_string().contains(char::is_control), "{text:?}");
        }
        assert_eq!(unix_name(&format!("/{}", "p".repeat(107))), Err(Length(108)));
        assert_eq!(unix_name(&format!("@{}", "n".repeat(108))), Err(Length(108)));
    }

    #[test]
    fn a_name_of_another_spelling_is_in_no_directory() {
        let all = Sockets::parse("/").unwrap();
        for (path, is_in) in
            [("/a", true), ("/a/../b", false), ("/a//b", false), ("/\u{e9}", false)]
        {
            assert_eq!(all.contain(&UnixName::Path(path.into())), is_in, "{path}");
        }
        assert!(!all.contain(&UnixName::Abstract("/a".into())));
    }
}
