//! The path of a request as names of files beneath a directory (RFC 3986 §3.3).
//!
//! Owns which targets can be followed at all: a [`Path`] never leads up, never to the root of the
//! file system, and never to a hidden file. Links are the file system's; whoever opens it sees to them.

use std::fmt::{self, Write};

use crate::proto::percent;

/// The one hidden directory that is for everybody (RFC 8615).
const WELL_KNOWN: &str = ".well-known";

/// A path that may be followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// Names with a `/` between them: none is empty, begins with a dot (but for `.well-known` as
    /// the first) or has a slash, a backslash or a control character in it. Empty is the directory
    /// itself.
    names: String,
    /// Whether it ends with a `/`.
    is_directory: bool,
}

impl Path {
    /// Reads the target of a request, whose query is left out. Escapes are decoded once, each name
    /// for itself, so that what is escaped separates nothing.
    ///
    /// # Errors
    /// It is no path, or one that must not be followed.
    pub fn parse(target: &str) -> Result<Self, PathError> {
        use PathError::{Hidden, Malformed};
        let path = target.split('?').next().unwrap_or(target);
        let path = path
            .strip_prefix('/')
            .ok_or(Malformed("the request target must be a path, beginning with /"))?;
        let (path, is_directory) = match path.strip_suffix('/') {
            Some(path) => (path, true),
            None => (path, path.is_empty()),
        };
        let mut names = String::with_capacity(path.len());
        // Of a lone `/`, nothing is left; of `//` there is one empty name.
        if path.is_empty() && target.starts_with("//") {
            return Err(Malformed("the path has an empty name in it"));
        }
        for part in path.split('/').filter(|_| !path.is_empty()) {
            let name = percent::decode(part).ok_or(Malformed(
                "the path has a % in it that stands for nothing; a % itself is %25",
            ))?;
            if name.is_empty() {
                return Err(Malformed("the path has an empty name in it"));
            }
            if name == "." || name == ".." {
                return Err(Malformed("the path has . or .. in it; write where it leads"));
            }
            if name.contains(['/', '\\', '#']) || name.chars().any(char::is_control) {
                return Err(Malformed("the path has a character in it that no name may have here"));
            }
            if name.starts_with('.') && !(names.is_empty() && name == WELL_KNOWN) {
                return Err(Hidden);
            }
            if !names.is_empty() {
                names.push('/');
            }
            names.push_str(&name);
        }
        Ok(Self { names, is_directory })
    }

    /// Where it leads, beneath a directory; empty is that directory itself.
    pub fn names(&self) -> &str {
        &self.names
    }

    /// Whether it ends with a `/`, and so is a directory's.
    pub fn is_directory(&self) -> bool {
        self.is_directory
    }

    /// The same as a directory's, as it goes into a URL: it begins with one `/` and ends with one,
    /// so that no part of it can be taken for a host.
    pub fn as_directory(&self) -> String {
        let mut path = String::from("/");
        for name in self.names.split('/').filter(|name| !name.is_empty()) {
            for byte in name.bytes() {
                // Unreserved characters (RFC 3986 §2.3).
                let _ = match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                    true => path.write_char(char::from(byte)),
                    false => write!(path, "%{byte:02X}"), // writing to a String does not fail
                };
            }
            path.push('/');
        }
        path
    }
}

/// Why a path is not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathError {
    /// It is none, or leads where nothing is served.
    Malformed(&'static str),
    /// It leads to what is hidden, which is as if it were not there.
    Hidden,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(what) => f.write_str(what),
            Self::Hidden => f.write_str("there is no such page here"),
        }
    }
}

impl std::error::Error for PathError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    #[test]
    fn follows_names() {
        for (target, names, is_directory, location) in [
            ("/", "", true, "/"),
            ("/?a/../b", "", true, "/"),
            ("/a", "a", false, "/a/"),
            ("/a/", "a", true, "/a/"),
            ("/a/b.c?d", "a/b.c", false, "/a/b.c/"),
            ("/a%20b/%C3%A9", "a b/é", false, "/a%20b/%C3%A9/"),
            ("/é", "é", false, "/%C3%A9/"),
            ("/%2541", "%41", false, "/%2541/"),
            ("/a..b/c...", "a..b/c...", false, "/a..b/c.../"),
            ("/.well-known/x", ".well-known/x", false, "/.well-known/x/"),
            ("/%2ewell-known/", ".well-known", true, "/.well-known/"),
            ("/a:b@c;d=e&f+g", "a:b@c;d=e&f+g", false, "/a%3Ab%40c%3Bd%3De%26f%2Bg/"),
            ("/~x*", "~x*", false, "/~x%2A/"),
        ] {
            let path = Path::parse(target).unwrap_or_else(|error| panic!("{target}: {error}"));
            assert_eq!((path.names(), path.is_directory()), (names, is_directory), "{target}");
            assert_eq!(path.as_directory(), location, "{target}");
        }
    }

    #[test]
    fn follows_nothing_that_leads_elsewhere() {
        for target in [
            "",
            "a",
            "*",
            "a:80",
            "http://a/b",
            "//",
            "//etc/passwd",
            "///",
            "/a//b",
            "/a//",
            "/..",
            "/../",
            "/../etc/passwd",
            "/a/../../x",
            "/a/..",
            "/./a",
            "/.",
            "/%2e%2e/etc/passwd",
            "/%2E./x",
            "/.%2e/x",
            "/..%2f",
            "/%2e%2e%2f",
            "/%2fetc/passwd",
            "/a%2Fb",
            "/..\\x",
            "/a\\b",
            "/%5c..%5c",
            "/%00",
            "/a%00b",
            "/a%0ab",
            "/%7f",
            "/%c2%85",
            "/%",
            "/%2",
            "/%zz",
            "/%u002e",
            "/%ff",
            "/%c0%ae%c0%ae/x",
            "/a#b",
        ] {
            let error = Path::parse(target).expect_err(target);
            assert!(matches!(error, PathError::Malformed(_)), "{target}: {error:?}");
        }
    }

    #[test]
    fn what_is_hidden_is_not_there() {
        for target in [
            "/.git/config",
            "/.htpasswd",
            "/a/.b/c",
            "/%2ehtpasswd",
            "/...",
            "/..a",
            "/a/.well-known/x",
            "/.well-known/.x",
            "/.well-knownx",
        ] {
            assert_eq!(Path::parse(target), Err(PathError::Hidden), "{target}");
        }
    }

    #[test]
    fn whatever_is_asked_for_stays_beneath() {
        let mut random = Random::new("whatever_is_asked_for_stays_beneath");
        let parts = [
            "/",
            "/",
            ".",
            "..",
            "%2e",
            "%2f",
            "%5c",
            "\\",
            "a",
            "%25",
            "?",
            "%",
            "é",
            ".well-known",
        ];
        let mut followed = 0;
        for _ in 0..20_000 {
            let n = random.below(9);
            let target: String = (0..n).map(|_| parts[random.below(parts.len())]).collect();
            let Ok(path) = Path::parse(&target) else { continue };
            followed += 1;
            assert!(!path.names().starts_with('/') && !path.names().ends_with('/'), "{target}");
            for name in path.names().split('/').filter(|_| !path.names().is_empty()) {
                let hidden = name.starts_with('.') && name != WELL_KNOWN;
                assert!(!name.is_empty() && !hidden && !name.contains('\\'), "{target}");
            }
            // Where a client is sent to is what it meant, with a slash behind it.
            let sent = Path::parse(&path.as_directory()).expect(&target);
            assert_eq!((sent.names(), sent.is_directory()), (path.names(), true), "{target}");
        }
        assert!(followed > 500, "{followed}");
    }
}
