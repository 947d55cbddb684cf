//! A plain HTTP request: what it asks for, and on which conditions (RFC 9110, RFC 9112 §3).
//!
//! Owns what the head of a request for a page must be. Never decides whether there is such a page,
//! nor who may have it: that is [`crate::policy`]'s.

pub mod path;
pub mod range;
pub mod tag;

use httparse::Header;

use super::handshake::{read_head, Fields, HandshakeError, HeadLimits};

/// What is to be done (RFC 9110 §9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// The page.
    Get,
    /// Its head alone.
    Head,
    /// Something that is not done to pages.
    Other,
}

/// A request for a page.
#[derive(Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// What is to be done.
    pub method: Method,
    /// What it is about, as it stands: see [`path::Path`] for one that may be followed.
    pub target: &'a str,
    /// All header fields, in the client's order.
    pub fields: Vec<Header<'a>>,
}

impl<'a> Request<'a> {
    /// Reads a head from the start of `wire` and says how long it is; `Ok(None)` asks for more.
    ///
    /// # Errors
    /// It is no good head.
    pub fn parse(
        wire: &'a [u8],
        limits: HeadLimits,
    ) -> Result<Option<(Self, usize)>, HandshakeError> {
        let mut lines = vec![httparse::EMPTY_HEADER; limits.headers];
        let Some((head, len)) = read_head(wire, limits, &mut lines)? else { return Ok(None) };
        let method = match head.method {
            Some("GET") => Method::Get,
            Some("HEAD") => Method::Head,
            _ => Method::Other,
        };
        // A complete parse has set both.
        let (target, version) = (head.path.unwrap_or("/"), head.version.unwrap_or(0));
        let fields = Fields(head.headers);
        // RFC 9112 §3.2.
        if fields.one("Host")?.is_none() && version > 0 {
            return Err(HandshakeError::Malformed("no Host in the request"));
        }
        let count = fields.0.len();
        lines.truncate(count);
        let (authority, target) = split_absolute(target);
        if let Some(authority) = authority {
            // It is that host that is meant, whatever the field says (§3.2.2).
            lines.retain(|line| !line.name.eq_ignore_ascii_case("Host"));
            lines.push(Header { name: "Host", value: authority.as_bytes() });
        }
        Ok(Some((Self { method, target, fields: lines }, len)))
    }

    /// Whether it asks for a WebSocket, however badly.
    pub fn asks_for_websocket(&self) -> bool {
        Fields(&self.fields).has_token("Upgrade", "websocket")
    }

    /// What follows the `?` of the target, without it.
    pub fn query(&self) -> &'a str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// The values of a header field, line by line.
    pub fn field_lines(
        &self,
        name: &'static str,
    ) -> impl DoubleEndedIterator<Item = &'a [u8]> + '_ {
        Fields(&self.fields).all(name)
    }

    /// The value of a header field that is text and stands there once.
    pub fn field(&self, name: &'static str) -> Option<&'a str> {
        let mut lines = self.field_lines(name);
        let (first, second) = (lines.next()?, lines.next());
        std::str::from_utf8(first).ok().filter(|_| second.is_none())
    }

    /// The values of a header field that is a list, as one list (RFC 9110 §5.3). `None` if there
    /// is none of text.
    pub fn list(&self, name: &'static str) -> Option<String> {
        let lines: Vec<_> =
            self.field_lines(name).filter_map(|line| std::str::from_utf8(line).ok()).collect();
        (!lines.is_empty()).then(|| lines.join(", "))
    }
}

/// The authority of a target in absolute form, which every server must understand (RFC 9112 §3.2.2),
/// and its path. Any other target is its own.
fn split_absolute(target: &str) -> (Option<&str>, &str) {
    let rest = match target.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
        _ => return (None, target),
    };
    match rest.find(['/', '?', '#']) {
        None if !rest.is_empty() => (Some(rest), "/"),
        Some(at) if at > 0 && rest[at..].starts_with('/') => (Some(&rest[..at]), &rest[at..]),
        // No host, or no path for its query to stand behind.
        _ => (None, target),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { bytes: 8192, headers: 64 };

    const SAMPLE: &str = "GET /a/b%20c?d=e?f HTTP/1.1\r\nHost: a\r\nIf-None-Match: \"x\"\r\n\
        Range: bytes=0-1\r\nIF-NONE-MATCH: W/\"y\", \"z\"\r\n\r\n";

    fn error(head: &str) -> HandshakeError {
        match Request::parse(head.as_bytes(), LIMITS) {
            Err(error) => error,
            other => panic!("{head:?}: {other:?}"),
        }
    }

    #[test]
    fn reads_a_request_at_every_cut() {
        for cut in 0..SAMPLE.len() {
            assert_eq!(Request::parse(&SAMPLE.as_bytes()[..cut], LIMITS), Ok(None), "{cut}");
        }
        let wire = [SAMPLE, "GET /next"].concat();
        let (request, len) = Request::parse(wire.as_bytes(), LIMITS).unwrap().unwrap();
        assert_eq!(len, SAMPLE.len());
        let said = (request.method, request.target, request.query());
        assert_eq!(said, (Method::Get, "/a/b%20c?d=e?f", "d=e?f"));
        assert_eq!(request.field("Range"), Some("bytes=0-1"));
        assert_eq!(request.field("If-None-Match"), None, "two lines");
        assert_eq!(request.list("If-None-Match").as_deref(), Some("\"x\", W/\"y\", \"z\""));
        assert_eq!(request.list("If-Match"), None);
    }

    #[test]
    fn tells_methods_apart() {
        for (method, read) in [
            ("GET", Method::Get),
            ("HEAD", Method::Head),
            ("get", Method::Other),
            ("POST", Method::Other),
            ("OPTIONS", Method::Other),
        ] {
            let head = SAMPLE.replace("GET", method);
            let (request, _) = Request::parse(head.as_bytes(), LIMITS).unwrap().unwrap();
            assert_eq!(request.method, read, "{method}");
        }
    }

    #[test]
    fn tells_who_asks_for_a_websocket() {
        for (field, asks) in [
            ("Upgrade: WebSocket", true),
            ("Upgrade: h2c\r\nUPGRADE: a, websocket", true),
            ("Upgrade: h2c", false),
            ("Connection: websocket", false),
        ] {
            let head = SAMPLE.replace("Host: a", &format!("Host: a\r\n{field}"));
            let (request, _) = Request::parse(head.as_bytes(), LIMITS).unwrap().unwrap();
            assert_eq!(request.asks_for_websocket(), asks, "{field}");
        }
    }

    /// RFC 9112 §3.2.2.
    #[test]
    fn an_absolute_target_names_the_host_as_well() {
        for (target, path, host) in [
            ("http://b:80/a?c", "/a?c", "b:80"),
            ("HTTP://b", "/", "b"),
            ("http://[::1]:1//a", "//a", "[::1]:1"),
            ("http:///a", "http:///a", "a"),
            ("http://", "http://", "a"),
            ("http://b?c", "http://b?c", "a"),
            ("ftp://b/a", "ftp://b/a", "a"),
            ("/http://b/a", "/http://b/a", "a"),
        ] {
            let head = SAMPLE.replace("/a/b%20c?d=e?f", target);
            let (request, _) = Request::parse(head.as_bytes(), LIMITS).unwrap().unwrap();
            assert_eq!((request.target, request.field("Host")), (path, Some(host)), "{target}");
        }
    }

    #[test]
    fn an_older_http_needs_no_host() {
        let old = "GET / HTTP/1.0\r\n\r\n";
        assert!(matches!(Request::parse(old.as_bytes(), LIMITS), Ok(Some(_))));
    }

    #[test]
    fn tells_what_is_wrong() {
        use HandshakeError::{Malformed, Repeated};
        assert_eq!(error(&SAMPLE.replace("Host: a", "Host: a\r\nHost: a")), Repeated("Host"));
        assert!(matches!(error(&SAMPLE.replace("Host: a", "X: a")), Malformed(_)));
        assert!(matches!(error(&SAMPLE.replace("HTTP/1.1", "HTTP/3")), Malformed(_)));
        let large = SAMPLE.replace("Host: a", &format!("Host: {}", "a".repeat(8192)));
        assert_eq!(error(&large), HandshakeError::TooLarge { limit: 8192 });
        let many = SAMPLE.replace("Host: a", &format!("Host: a{}", "\r\nX: y".repeat(64)));
        assert_eq!(error(&many), HandshakeError::TooManyHeaders { limit: 64 });
    }
}
