//! The opening handshake as a server: request heads in, response heads out (RFC 6455 §4.2,
//! RFC 9112).
//!
//! Owns what a request must be to become a WebSocket. Never decides whether it is welcome:
//! that is [`crate::policy`]'s.
//!
//! ```
//! use ws_tcp_proxy::proto::handshake::{switching_protocols, HandshakeError, HeadLimits, Request};
//!
//! let limits = HeadLimits { bytes: 8192, headers: 64 };
//! let head = b"GET /chat?a=b HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\n\
//!     Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
//!     Sec-WebSocket-Protocol: chat, superchat\r\nSec-WebSocket-Version: 13\r\n\r\n";
//!
//! assert_eq!(Request::parse(&head[..100], limits)?, None); // more bytes are needed
//! let (request, len) = Request::parse(head, limits)?.expect("all of it is there");
//! assert_eq!((request.path, request.query, len), ("/chat", "a=b", head.len()));
//! assert_eq!(request.subprotocols, ["chat", "superchat"]);
//! assert_eq!(&request.accept, b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="); // §1.3
//!
//! let response = switching_protocols(&request.accept, Some("chat"));
//! assert!(response.starts_with(b"HTTP/1.1 101 Switching Protocols\r\n"));
//!
//! let page = b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n";
//! assert!(matches!(Request::parse(page, limits), Err(HandshakeError::NotAnUpgrade { .. })));
//! # Ok::<(), HandshakeError>(())
//! ```
//!
//! What follows it is a [`crate::session::endpoint::Endpoint`]'s.

use std::fmt;

use base64::engine::general_purpose::STANDARD;
use base64::Engine;
use sha1_smol::Sha1;

/// The GUID of §1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// How large a head may be.
#[derive(Debug, Clone, Copy)]
pub struct HeadLimits {
    /// Bytes, the blank line included.
    pub bytes: usize,
    /// Header fields.
    pub headers: usize,
}

/// A request that asks for a WebSocket, as far as the RFC says.
#[derive(Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The path, without the query.
    pub path: &'a str,
    /// What follows the `?`, without it.
    pub query: &'a str,
    /// The value for `Sec-WebSocket-Accept`.
    pub accept: [u8; 28],
    /// The offered subprotocols, in the client's order.
    pub subprotocols: Vec<&'a str>,
    /// All header fields, in the client's order.
    pub fields: Vec<httparse::Header<'a>>,
}

impl<'a> Request<'a> {
    /// Reads a head from the start of `wire` and says how long it is; `Ok(None)` asks for more.
    ///
    /// # Errors
    /// Why this cannot become a WebSocket, as early as the bytes show it.
    pub fn parse(
        wire: &'a [u8],
        limits: HeadLimits,
    ) -> Result<Option<(Self, usize)>, HandshakeError> {
        let mut lines = vec![httparse::EMPTY_HEADER; limits.headers];
        let Some((head, len)) = read_head(wire, limits, &mut lines)? else { return Ok(None) };
        // A complete parse has set all three.
        let (method, version) = (head.method.unwrap_or(""), head.version.unwrap_or(0));
        let target = head.path.unwrap_or("/");
        let fields = Fields(head.headers);
        let accept = fields.check(method, version)?;
        let target = origin_form(target)
            .ok_or(HandshakeError::Malformed("the request target is neither a path nor a URL"))?;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let subprotocols = fields.tokens("Sec-WebSocket-Protocol").collect();
        let count = fields.0.len();
        lines.truncate(count);
        Ok(Some((Self { path, query, accept, subprotocols, fields: lines }, len)))
    }

    /// The values of a header field, line by line.
    pub fn field_lines(
        &self,
        name: &'static str,
    ) -> impl DoubleEndedIterator<Item = &'a [u8]> + '_ {
        Fields(&self.fields).all(name)
    }

    /// The value of the query parameter `name`, as it stands; the first one counts.
    pub fn query_value(&self, name: &str) -> Option<&'a str> {
        self.query.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (key == name).then_some(value)
        })
    }
}

/// Reads a request head from the start of `wire` into `lines`, of which there are as many as there
/// may be fields, and says how long it is; `Ok(None)` asks for more.
pub(super) fn read_head<'h, 'a>(
    wire: &'a [u8],
    limits: HeadLimits,
    lines: &'h mut [httparse::Header<'a>],
) -> Result<Option<(httparse::Request<'h, 'a>, usize)>, HandshakeError> {
    let mut head = httparse::Request::new(lines);
    match head.parse(wire) {
        Ok(httparse::Status::Complete(len)) if len <= limits.bytes => Ok(Some((head, len))),
        Ok(httparse::Status::Partial) if wire.len() < limits.bytes => Ok(None),
        Ok(_) => Err(HandshakeError::TooLarge { limit: limits.bytes }),
        Err(httparse::Error::TooManyHeaders) => {
            Err(HandshakeError::TooManyHeaders { limit: limits.headers })
        }
        Err(error) => Err(HandshakeError::Malformed(syntax_error(error))),
    }
}

/// The header fields of a head.
pub(super) struct Fields<'h, 'a>(pub(super) &'h [httparse::Header<'a>]);

impl<'h, 'a: 'h> Fields<'h, 'a> {
    /// Whether the head asks for an upgrade, and asks well (§4.2.1).
    fn check(&self, method: &str, version: u8) -> Result<[u8; 28], HandshakeError> {
        use HandshakeError::{Malformed, NotAnUpgrade, Version};
        if !self.has_token("Upgrade", "websocket") || !self.has_token("Connection", "upgrade") {
            return Err(NotAnUpgrade { head: method == "HEAD" });
        }
        if method != "GET" {
            return Err(Malformed("a WebSocket handshake is a GET request"));
        }
        if version == 0 {
            return Err(Malformed("a WebSocket handshake needs HTTP/1.1"));
        }
        if self.one("Host")?.is_none() {
            return Err(Malformed("no Host in the request"));
        }
        // A body would be taken for frames, and a proxy in front might see another request in it.
        if self.all("Transfer-Encoding").next().is_some()
            || self.all("Content-Length").any(|length| length != b"0")
        {
            return Err(Malformed("a WebSocket handshake has no body"));
        }
        if self.one("Sec-WebSocket-Version")? != Some(b"13") {
            return Err(Version);
        }
        let key = self.one("Sec-WebSocket-Key")?.ok_or(Malformed(
            "no Sec-WebSocket-Key in the request; is this a browser page opened at a WebSocket port?",
        ))?;
        let mut nonce = [0; 18];
        match STANDARD.decode_slice(key, &mut nonce) {
            Ok(16) => Ok(accept_key(key)),
            _ => Err(Malformed("Sec-WebSocket-Key is not the base64 of 16 bytes")),
        }
    }

    pub(super) fn all(&self, name: &'static str) -> impl DoubleEndedIterator<Item = &'a [u8]> + 'h {
        self.0.iter().filter(move |f| f.name.eq_ignore_ascii_case(name)).map(|f| f.value)
    }

    /// The value of a field that must not be repeated.
    pub(super) fn one(&self, name: &'static str) -> Result<Option<&'a [u8]>, HandshakeError> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            _ => Err(HandshakeError::Repeated(name)),
        }
    }

    /// The members of a list field, all its lines together (RFC 9110 §5.6.1).
    pub(super) fn tokens(&self, name: &'static str) -> impl Iterator<Item = &'a str> + 'h {
        self.all(name)
            .flat_map(|value| std::str::from_utf8(value).unwrap_or("").split(','))
            .map(str::trim)
            .filter(|token| !token.is_empty())
    }

    pub(super) fn has_token(&self, name: &'static str, token: &str) -> bool {
        self.tokens(name).any(|t| t.eq_ignore_ascii_case(token))
    }
}

/// The `user:password` in the value of `Authorization` or `Proxy-Authorization`: what is behind
/// `Basic`, decoded (RFC 7617 §2). `None` for another scheme, or if it cannot be decoded.
pub fn basic_credentials(value: &[u8]) -> Option<Vec<u8>> {
    STANDARD.decode(behind_scheme(value, "Basic")?).ok()
}

/// The token in the value of `Authorization` (RFC 6750 §2.1).
pub fn bearer_token(value: &[u8]) -> Option<&str> {
    behind_scheme(value, "Bearer")
}

/// What a field shows under that scheme, whose name may be in any case (RFC 9110 §11.1).
fn behind_scheme<'a>(value: &'a [u8], name: &str) -> Option<&'a str> {
    let (scheme, shown) = std::str::from_utf8(value).ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case(name).then(|| shown.trim_matches(' '))
}

/// Path and query of a request target, which may be a whole URL (RFC 9112 §3.2).
fn origin_form(target: &str) -> Option<&str> {
    if target.starts_with('/') {
        return Some(target);
    }
    let (_, rest) = target.split_once("://")?;
    Some(rest.find('/').map_or("/", |at| &rest[at..]))
}

/// Proves that the request was understood as a WebSocket handshake (§4.2.2, item 5.4).
pub fn accept_key(key: &[u8]) -> [u8; 28] {
    let mut sha1 = Sha1::new();
    sha1.update(key);
    sha1.update(GUID);
    let mut accept = [0; 28];
    // 20 bytes are 28 characters of base64, always.
    let _ = STANDARD.encode_slice(sha1.digest().bytes(), &mut accept);
    accept
}

/// The response that switches protocols (§4.2.2).
pub fn switching_protocols(accept: &[u8; 28], subprotocol: Option<&str>) -> Vec<u8> {
    let mut head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Accept: "
        .to_vec();
    head.extend_from_slice(accept);
    if let Some(name) = subprotocol {
        head.extend_from_slice(b"\r\nSec-WebSocket-Protocol: ");
        head.extend_from_slice(name.as_bytes());
    }
    head.extend_from_slice(b"\r\n\r\n");
    head
}

/// Why a head is no opening handshake. Each has a status (RFC 9110 §15, RFC 6585 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeError {
    /// An ordinary HTTP request; `head` says that its method is HEAD.
    NotAnUpgrade {
        /// The response must have no body.
        head: bool,
    },
    /// Not the HTTP, or not the handshake, that it should be.
    Malformed(&'static str),
    /// A field that may stand once stands more often.
    Repeated(&'static str),
    /// A `Sec-WebSocket-Version` that is not 13, or none.
    Version,
    /// More bytes than a head may have.
    TooLarge {
        /// Bytes allowed.
        limit: usize,
    },
    /// More fields than a head may have.
    TooManyHeaders {
        /// Fields allowed.
        limit: usize,
    },
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnUpgrade { .. } => {
                f.write_str("this is a WebSocket port; connect with a WebSocket client (ws://)")
            }
            Self::Malformed(what) => f.write_str(what),
            Self::Repeated(name) => write!(f, "{name} must be present once"),
            Self::Version => f.write_str("only WebSocket version 13 is spoken here"),
            Self::TooLarge { limit } => {
                write!(f, "request head exceeds {limit} bytes; send fewer or shorter headers")
            }
            Self::TooManyHeaders { limit } => {
                write!(f, "request has more than {limit} headers; send fewer")
            }
        }
    }
}

impl std::error::Error for HandshakeError {}

pub(super) fn syntax_error(error: httparse::Error) -> &'static str {
    match error {
        httparse::Error::HeaderName => "a header name in the request is malformed",
        httparse::Error::HeaderValue => "a header value in the request is malformed",
        httparse::Error::NewLine => "a line of the request ends wrongly",
        httparse::Error::Version => "the request is not HTTP/1.1",
        _ => "this is not an HTTP request; a TLS client must use a wss:// port",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { bytes: 8192, headers: 64 };

    /// RFC 6455 §1.2, with the subprotocols of §1.2 and a query.
    const SAMPLE: &str = "GET /chat?encoding=text&x HTTP/1.1\r\nHost: server.example.com\r\n\
        Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://example.com\r\n\
        Sec-WebSocket-Protocol: chat, superchat\r\nSec-WebSocket-Protocol: binary\r\n\
        Sec-WebSocket-Version: 13\r\n\r\n";

    fn error(head: &str) -> HandshakeError {
        match Request::parse(head.as_bytes(), LIMITS) {
            Err(error) => error,
            other => panic!("{head:?}: {other:?}"),
        }
    }

    /// RFC 6455 §1.3.
    #[test]
    fn computes_the_accept_key_of_the_rfc() {
        assert_eq!(&accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn reads_the_sample_of_the_rfc_at_every_cut() {
        for cut in 0..SAMPLE.len() {
            assert_eq!(Request::parse(&SAMPLE.as_bytes()[..cut], LIMITS), Ok(None), "{cut}");
        }
        let wire = [SAMPLE.as_bytes(), b"\x81\x80...."].concat();
        let (request, len) = Request::parse(&wire, LIMITS).unwrap().unwrap();
        assert_eq!(len, SAMPLE.len());
        assert_eq!((request.path, request.query), ("/chat", "encoding=text&x"));
        assert_eq!(request.query_value("encoding"), Some("text"));
        assert_eq!(request.query_value("x"), Some(""));
        assert_eq!(request.query_value("y"), None);
        assert_eq!(request.subprotocols, ["chat", "superchat", "binary"]);
        assert_eq!(&request.accept, b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn takes_a_url_as_the_target() {
        for (target, path, query) in
            [("ws://a:80/b?c", "/b", "c"), ("http://a", "/", ""), ("http://a?b", "/", "")]
        {
            let head = SAMPLE.replace("/chat?encoding=text&x", target);
            let (request, _) = Request::parse(head.as_bytes(), LIMITS).unwrap().unwrap();
            assert_eq!((request.path, request.query), (path, query), "{target}");
        }
    }

    #[test]
    fn takes_names_and_tokens_in_any_case() {
        let head = SAMPLE
            .replace("Upgrade: websocket", "UPGRADE: WebSocket")
            .replace("keep-alive, Upgrade", "close ,uPGRADE")
            .replace("Sec-WebSocket-Key", "sec-websocket-key");
        assert!(matches!(Request::parse(head.as_bytes(), LIMITS), Ok(Some(_))));
    }

    #[test]
    fn tells_what_is_missing_or_wrong() {
        use HandshakeError::*;
        let without = |line: &str| SAMPLE.replace(line, "");
        assert_eq!(error(&without("Upgrade: websocket\r\n")), NotAnUpgrade { head: false });
        assert_eq!(error("HEAD / HTTP/1.0\r\n\r\n"), NotAnUpgrade { head: true });
        assert_eq!(error(&SAMPLE.replace("ket-Version: 13", "ket-Version: 8")), Version);
        assert_eq!(error(&without("Sec-WebSocket-Version: 13\r\n")), Version);
        assert_eq!(
            error(&SAMPLE.replace("Host: server", "Host: a\r\nHost: server")),
            Repeated("Host")
        );
        for (from, to) in [
            ("GET /chat", "GET chat"),
            ("GET /chat?encoding=text&x", "GET ?encoding=text"),
            ("GET /chat?encoding=text&x", "GET *"),
            ("GET", "POST"),
            ("HTTP/1.1", "HTTP/1.0"),
            ("HTTP/1.1", "HTTP/2.0"),
            ("Host: server.example.com\r\n", ""),
            ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ"),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZTEyMw=="),
            ("dGhlIHNhbXBsZSBub25jZQ==", "****"),
            ("Origin:", "Content-Length: 5\r\nOrigin:"),
            ("Origin:", "Transfer-Encoding: chunked\r\nOrigin:"),
            ("Origin:", "Ori gin:"),
            ("Origin: http", "Origin: \0http"),
        ] {
            let error = error(&SAMPLE.replace(from, to));
            assert!(matches!(error, Malformed(_)), "{to}: {error:?}");
        }
        assert!(matches!(error("\x16\x03\x01\x02\0"), Malformed(_)));
        assert!(matches!(error("\0\0\0\0"), Malformed(_)));
    }

    #[test]
    fn limits_bytes_and_headers() {
        let padded =
            |n: usize| SAMPLE.replace("Origin:", &format!("X: {}\r\nOrigin:", "x".repeat(n)));
        let room = LIMITS.bytes - padded(0).len();
        assert!(Request::parse(padded(room).as_bytes(), LIMITS).unwrap().is_some());
        let long = HandshakeError::TooLarge { limit: 8192 };
        assert_eq!(error(&padded(room + 1)), long);
        assert_eq!(error(&padded(room + 1)[..8192]), long);
        let many =
            |n: usize| SAMPLE.replace("Origin:", &format!("{}Origin:", "X: x\r\n".repeat(n)));
        assert!(Request::parse(many(64 - 8).as_bytes(), LIMITS).unwrap().is_some());
        assert_eq!(error(&many(64 - 7)), HandshakeError::TooManyHeaders { limit: 64 });
    }

    #[test]
    fn answers_as_the_rfc_does() {
        let accept = accept_key(b"dGhlIHNhbXBsZSBub25jZQ==");
        let expected = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
            Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
        let plain = switching_protocols(&accept, None);
        assert_eq!(plain, format!("{expected}\r\n").as_bytes());
        let chat = switching_protocols(&accept, Some("chat"));
        assert_eq!(chat, format!("{expected}Sec-WebSocket-Protocol: chat\r\n\r\n").as_bytes());
    }
}
