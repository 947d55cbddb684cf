//! A request for a page to the head of its answer.
//!
//! Owns who may have pages, and what a file is answered with: its state, its part, its kind (RFC
//! 9110 §13.2, §14, §15). Never opens a file: what there is, it is told.

use std::fmt::Write;
use std::net::IpAddr;
use std::ops::Range;

use super::access;
use super::admit::{Refusal, Status};
use super::gate::Gate;
use super::media::content_type;
use crate::proto::http::path::{Path, PathError};
use crate::proto::http::range::ByteRange;
use crate::proto::http::tag;
use crate::proto::http::{Method, Request};

/// The file that stands for its directory.
const INDEX: &str = "index.html";

/// What a server says in every answer that may be shown: it is asked again before it is shown
/// again, and nobody guesses what it is.
const USUAL: &str = "Cache-Control: no-cache\r\nX-Content-Type-Options: nosniff\r\n";

/// A request for a page that is welcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visit {
    /// Where the page is, if it is.
    pub path: Path,
    /// What follows the `?`, for where a directory is found.
    query: String,
    /// The head alone is asked for: no answer has a body (RFC 9110 §9.3.2).
    bodiless: bool,
    /// The states that the client has.
    known: Option<String>,
    /// The part that it wants, and of which state alone.
    part: Option<(ByteRange, Option<String>)>,
    /// Who asks, where that is not who connected: a trusted proxy stands between.
    pub client: Option<IpAddr>,
}

/// What is known of a regular file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Bytes.
    pub len: u64,
    /// When it was changed last, in nanoseconds since 1970.
    pub modified: i128,
}

/// The answer to a request for a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The HTTP status.
    pub status: u16,
    /// The head, and a body that is none of the file's.
    pub head: Vec<u8>,
    /// The bytes of the file that follow.
    pub body: Range<u64>,
}

impl Visit {
    /// Decides whether a request for a page is welcome.
    ///
    /// # Errors
    /// What [`access::judge_visit`] says, 405, or 400 and 404 for a path that is not followed.
    pub fn welcome(request: &Request, gate: Gate) -> Result<Self, Refusal> {
        let bodiless = request.method == Method::Head;
        let welcome = || {
            let client = access::judge_visit(request, gate)?;
            if request.method == Method::Other {
                let reason = "pages are for GET and HEAD; a WebSocket is asked for by GET";
                return Err(Refusal { client, ..Refusal::new(Status::NotForPages, reason) });
            }
            let path = Path::parse(request.target)
                .map_err(|error| Refusal { client, ..Refusal::from(error) })?;
            let part = request.field("Range").and_then(ByteRange::parse);
            // One that cannot be read is of no state that there is (RFC 9110 §13.1.5).
            let has_state = request.field_lines("If-Range").next().is_some();
            let state = has_state.then(|| request.field("If-Range").unwrap_or_default().to_owned());
            Ok(Self {
                path,
                query: request.query().to_owned(),
                bodiless,
                known: request.list("If-None-Match"),
                // A Range means something to GET alone (RFC 9110 §14.2).
                part: part.filter(|_| !bodiless).map(|part| (part, state)),
                client,
            })
        };
        welcome().map_err(|refusal| Refusal { bodiless, ..refusal })
    }

    /// The name of the file to look for, beneath the route's directory.
    pub fn file(&self) -> String {
        match (self.path.names(), self.path.is_directory()) {
            ("", _) => INDEX.into(),
            (names, true) => format!("{names}/{INDEX}"),
            (names, false) => names.into(),
        }
    }

    /// Why there is no page.
    pub fn refused(&self, status: Status, reason: &str) -> Refusal {
        let Self { bodiless, client, .. } = *self;
        Refusal { bodiless, client, ..Refusal::new(status, reason) }
    }

    /// The answer where there is a directory, and the path does not end like one.
    pub fn directory(&self) -> Page {
        let mut location = self.path.as_directory();
        // What goes into a header field must not end it.
        if !self.query.is_empty() && self.query.bytes().all(|byte| byte.is_ascii_graphic()) {
            location.push('?');
            location.push_str(&self.query);
        }
        self.text(301, &format!("Location: {location}\r\n"), "it is a directory")
    }

    /// The answer where there is a file with that name.
    pub fn found(&self, name: &str, facts: Facts) -> Page {
        let tag = format!("\"{:x}-{:x}\"", facts.modified, facts.len);
        if self.known.as_deref().is_some_and(|known| tag::is_listed(known, &tag)) {
            let head = format!("{}ETag: {tag}\r\n{USUAL}\r\n", status_line(304));
            return Page { status: 304, head: head.into_bytes(), body: 0..0 };
        }
        let (status, body) = match self.wanted_part(&tag) {
            None => (200, 0..facts.len),
            // All that there is are its last bytes, but no field could say so.
            Some(ByteRange::Last(1..)) if facts.len == 0 => (200, 0..0),
            Some(part) => match part.within(facts.len) {
                Ok(body) => (206, body),
                Err(_) => return self.unsatisfiable(facts),
            },
        };
        let mut head = status_line(status);
        let Range { start, end } = body;
        // Writing to a String does not fail.
        let _ = write!(
            head,
            "Content-Type: {}\r\nContent-Length: {}\r\n",
            content_type(name),
            end - start
        );
        if status == 206 {
            let _ = write!(head, "Content-Range: bytes {start}-{}/{}\r\n", end - 1, facts.len);
        }
        let _ = write!(head, "ETag: {tag}\r\nAccept-Ranges: bytes\r\n{USUAL}\r\n");
        let body = if self.bodiless { 0..0 } else { start..end };
        Page { status, head: head.into_bytes(), body }
    }

    /// The part that is wanted of the state with that tag.
    fn wanted_part(&self, tag: &str) -> Option<ByteRange> {
        let (part, state) = self.part.as_ref()?;
        state.as_deref().map_or(true, |state| tag::is_same(state, tag)).then_some(*part)
    }

    fn unsatisfiable(&self, facts: Facts) -> Page {
        let field = format!("Content-Range: bytes */{}\r\n", facts.len);
        let reason = format!("the page has {} bytes, and none of those", facts.len);
        self.text(416, &field, &reason)
    }

    /// An answer of our own words.
    fn text(&self, status: u16, fields: &str, words: &str) -> Page {
        let mut head = status_line(status);
        let _ = write!(
            head,
            "{fields}Content-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n{USUAL}\r\n",
            words.len() + 1
        );
        if !self.bodiless {
            head.push_str(words);
            head.push('\n');
        }
        Page { status, head: head.into_bytes(), body: 0..0 }
    }
}

/// The start of a head: one request is answered on each connection.
fn status_line(status: u16) -> String {
    let phrase = match status {
        200 => "OK",
        206 => "Partial Content",
        301 => "Moved Permanently",
        304 => "Not Modified",
        _ => "Range Not Satisfiable",
    };
    format!("HTTP/1.1 {status} {phrase}\r\nConnection: close\r\n")
}

impl From<PathError> for Refusal {
    fn from(error: PathError) -> Self {
        let status = match error {
            PathError::Malformed(_) => Status::BadRequest,
            PathError::Hidden => Status::NotFound,
        };
        Self::new(status, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Access, Route};
    use crate::policy::credentials::{Credentials, Kind};
    use crate::policy::gate::Secrets;
    use crate::proto::handshake::HeadLimits;
    use crate::testing;

    const FACTS: Facts = Facts { len: 1000, modified: 0x1f };
    const TAG: &str = "\"1f-3e8\"";

    /// What becomes of a request for these files, on a route with that access.
    fn visit(line: &str, fields: &str, access: Access) -> Result<Visit, Refusal> {
        let wire = format!("{line} HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let limits = HeadLimits { bytes: 8192, headers: 64 };
        let (request, _) = Request::parse(wire.as_bytes(), limits).unwrap().unwrap();
        let known = |path: &Option<_>, text: &[u8], kind| {
            path.as_ref().map(|_| Credentials::parse(text, kind).unwrap())
        };
        let secrets = Secrets {
            basic: known(&access.basic, b"user:sesame", Kind::Basic),
            bearer: known(&access.bearer, b"token", Kind::Bearer),
            ..Secrets::default()
        };
        let route = Route { access, ..testing::route() };
        let client = Some("192.0.2.7:4242".parse().unwrap());
        Visit::welcome(&request, Gate { route: &route, secrets: &secrets, client })
    }

    fn welcome(line: &str, fields: &str) -> Visit {
        visit(line, fields, Access::default()).unwrap_or_else(|refusal| panic!("{refusal:?}"))
    }

    fn page(line: &str, fields: &str) -> (u16, String, Range<u64>) {
        let Page { status, head, body } = welcome(line, fields).found("a/b.html", FACTS);
        (status, String::from_utf8(head).unwrap(), body)
    }

    #[test]
    fn a_file_is_answered_with_all_that_is_known_of_it() {
        let head = "HTTP/1.1 200 OK\r\nConnection: close\r\n\
            Content-Type: text/html; charset=utf-8\r\nContent-Length: 1000\r\n\
            ETag: \"1f-3e8\"\r\nAccept-Ranges: bytes\r\nCache-Control: no-cache\r\n\
            X-Content-Type-Options: nosniff\r\n\r\n";
        assert_eq!(page("GET /a", ""), (200, head.into(), 0..1000));
        assert_eq!(page("HEAD /a", ""), (200, head.into(), 0..0));
        assert_eq!(page("HEAD /a", "Range: bytes=0-1\r\n"), (200, head.into(), 0..0));
    }

    #[test]
    fn a_part_is_answered_where_it_fits() {
        for (fields, status, body, said) in [
            ("Range: bytes=0-0", 206, 0..1, "bytes 0-0/1000"),
            ("Range: bytes=-1", 206, 999..1000, "bytes 999-999/1000"),
            ("Range: bytes=0-", 206, 0..1000, "bytes 0-999/1000"),
            ("Range: bytes=10-5000", 206, 10..1000, "bytes 10-999/1000"),
            ("Range: bytes=1000-", 416, 0..0, "bytes */1000"),
            ("Range: bytes=-0", 416, 0..0, "bytes */1000"),
            ("Range: bytes=0-0,5-6", 200, 0..1000, ""),
            ("Range: bytes=0-0\r\nRange: bytes=5-6", 200, 0..1000, ""),
            ("Range: nonsense", 200, 0..1000, ""),
            ("Range: bytes=0-0\r\nIf-Range: \"1f-3e8\"", 206, 0..1, "bytes 0-0/1000"),
            ("Range: bytes=0-0\r\nIf-Range: W/\"1f-3e8\"", 200, 0..1000, ""),
            ("Range: bytes=0-0\r\nIf-Range: \"x\"", 200, 0..1000, ""),
            ("Range: bytes=5000-\r\nIf-Range: \"x\"", 200, 0..1000, ""),
            ("Range: bytes=0-0\r\nIf-Range: \"1f-3e8\"\r\nIf-Range: \"x\"", 200, 0..1000, ""),
            ("Range: bytes=0-0\r\nIf-None-Match: \"x\"", 206, 0..1, "bytes 0-0/1000"),
        ] {
            let (got, head, part) = page("GET /a", &format!("{fields}\r\n"));
            assert_eq!((got, &part), (status, &body), "{fields}");
            let field = head.lines().find_map(|line| line.strip_prefix("Content-Range: "));
            assert_eq!(field.unwrap_or_default(), said, "{fields}");
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            let text = head.split_once("\r\n\r\n").unwrap().1.len() as u64;
            let sent = part.end - part.start + text;
            assert_eq!(length.and_then(|text| text.parse().ok()), Some(sent), "{fields}");
        }
    }

    #[test]
    fn an_empty_file_has_no_part_to_answer() {
        let facts = Facts { len: 0, modified: 0 };
        for (range, status) in
            [("bytes=0-", 416), ("bytes=0-0", 416), ("bytes=-0", 416), ("bytes=-5", 200)]
        {
            let page = welcome("GET /a", &format!("Range: {range}\r\n")).found("a", facts);
            assert_eq!((page.status, page.body), (status, 0..0), "{range}");
        }
    }

    #[test]
    fn a_state_that_is_known_is_not_sent_again() {
        for (fields, status) in [
            (format!("If-None-Match: {TAG}"), 304),
            (format!("If-None-Match: W/{TAG}"), 304),
            (format!("If-None-Match: \"x\", {TAG}"), 304),
            (format!("If-None-Match: \"x\"\r\nIf-None-Match: {TAG}"), 304),
            ("If-None-Match: *".into(), 304),
            (format!("If-None-Match: {TAG}\r\nRange: bytes=0-0"), 304),
            (format!("If-None-Match: {TAG}\r\nRange: bytes=5000-"), 304),
            ("If-None-Match: \"x\"".into(), 200),
            ("If-None-Match: 1f-3e8".into(), 200),
        ] {
            let (got, head, body) = page("GET /a", &format!("{fields}\r\n"));
            assert_eq!(got, status, "{fields}");
            assert!(head.contains(&format!("ETag: {TAG}\r\n")), "{head}");
            assert_eq!((head.contains("\nContent-"), body.is_empty()), (got == 200, got == 304));
        }
    }

    #[test]
    fn a_directory_is_found_behind_its_slash() {
        for (target, location) in [
            ("/a", "/a/"),
            ("/a/b%20c?d=e", "/a/b%20c/?d=e"),
            ("/%C3%A9", "/%C3%A9/"),
            ("/a?", "/a/"),
            ("/a?\u{e9}", "/a/"),
        ] {
            let page = welcome(&format!("GET {target}"), "").directory();
            let head = String::from_utf8(page.head).unwrap();
            assert!(head.contains(&format!("\r\nLocation: {location}\r\n")), "{head}");
            assert_eq!((page.status, page.body), (301, 0..0));
        }
        let head = welcome("HEAD /a", "").directory().head;
        assert!(head.ends_with(b"\r\n\r\n"));
        for (target, file) in [("/", "index.html"), ("/a/", "a/index.html"), ("/a", "a")] {
            assert_eq!(welcome(&format!("GET {target}"), "").file(), file);
        }
    }

    #[test]
    fn says_why_there_is_no_page() {
        let access = |access: Access| move || access.clone();
        let open = access(Access::default());
        let closed = access(Access { basic: Some("x".into()), ..Access::default() });
        let far =
            access(Access { clients: vec!["10.0.0.0/8".parse().unwrap()], ..Access::default() });
        for (access, line, fields, status) in [
            (&open as &dyn Fn() -> Access, "POST /a", "", 405),
            (&open, "OPTIONS *", "", 405),
            (&open, "GET *", "", 400),
            (&open, "GET ftp://a/b", "", 400),
            (&open, "GET /../a", "", 400),
            (&open, "HEAD //a", "", 400),
            (&open, "GET /.git/config", "", 404),
            (&closed, "GET /.git/config", "", 401),
            (&closed, "GET /a", "Authorization: Basic dXNlcjpubw==\r\n", 401),
            (&far, "GET /a", "", 403),
        ] {
            let refusal = visit(line, fields, access()).expect_err(line);
            assert_eq!(refusal.status.code(), status, "{line}");
            assert_eq!(refusal.bodiless, line.starts_with("HEAD"), "{line}");
        }
        let shown = "Authorization: Basic dXNlcjpzZXNhbWU=\r\n";
        assert!(visit("GET /a", shown, closed()).is_ok());
        let pages = Access { origins: vec!["https://a".parse().unwrap()], ..Access::default() };
        assert!(visit("GET /a", "Origin: https://b\r\n", pages).is_ok(), "pages are for all");
    }
}
