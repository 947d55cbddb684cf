//! HTTP `CONNECT` heads: who wants to be connected where (RFC 9110 §9.3.6, RFC 9112).
//!
//! Owns both forms of the head, in and out. Never decides whether the target is allowed or the
//! credentials are good: that is [`crate::policy`]'s. Never dials.
//!
//! Named deviations: a request without `Host` is taken, since its target says the same and simple
//! tools leave it out (RFC 9112 §3.2 wants 400); a `Host` that contradicts the target is ignored.

use std::fmt;

use super::authority::{AuthorityError, HostPort};
use super::handshake::{basic_credentials, syntax_error, Fields, HandshakeError, HeadLimits};

/// The answer that opens a tunnel. It has no body, whatever its fields say (RFC 9110 §9.3.6).
pub const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection Established\r\n\r\n";

/// Which of its forms a head has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// A request head, which is answered with a response head.
    #[default]
    Full,
    /// `CONNECT host:port` alone, as a message of its own, which is not answered.
    Bare,
}

/// What names the target to the far end: a request head, or `CONNECT host:port` alone.
pub fn head(target: &HostPort, form: Form) -> Vec<u8> {
    match form {
        Form::Full => format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n"),
        Form::Bare => format!("CONNECT {target}"),
    }
    .into_bytes()
}

/// A request to be connected.
#[derive(Clone, PartialEq, Eq)]
pub struct ConnectRequest {
    /// Where to; not yet checked against any rule.
    pub target: HostPort,
    /// How it was asked for, and so whether it is answered.
    pub form: Form,
    /// The decoded `user:password` of `Proxy-Authorization: Basic` (RFC 7617 §2). `None` if there
    /// is no such field, or one of another scheme, or one that cannot be decoded.
    pub credentials: Option<Vec<u8>>,
}

impl ConnectRequest {
    /// Reads a head from the start of `wire` and says how long it is; `Ok(None)` asks for more.
    /// What follows the head is the tunnel's.
    ///
    /// `whole` says that `wire` is the first WebSocket message of a stream, all of it and nothing
    /// else: only then can it be a bare head, which is known by its end alone. A line's end may
    /// follow the port. A first message that is not a bare head begins a full one.
    ///
    /// The same bytes get the same answer whatever pieces they come in, and an error comes with
    /// the first byte that proves it.
    ///
    /// # Errors
    /// Why nobody can be connected by it.
    pub fn parse(
        wire: &[u8],
        whole: bool,
        limits: HeadLimits,
    ) -> Result<Option<(Self, usize)>, ConnectError> {
        if whole && wire.len() <= limits.bytes {
            if let Some(target) = bare(wire) {
                let request = Self { target, form: Form::Bare, credentials: None };
                return Ok(Some((request, wire.len())));
            }
        }
        // What lies beyond the limit must not matter, or it would depend on how much came at once.
        let seen = &wire[..wire.len().min(limits.bytes)];
        let mut fields = vec![httparse::EMPTY_HEADER; limits.headers];
        let mut head = httparse::Request::new(&mut fields);
        let parsed = head.parse(seen);
        // These are set as soon as they are complete, and whatever is wrong behind them comes later.
        if let Some(method) = head.method.filter(|method| *method != "CONNECT") {
            return Err(ConnectError::Method { head: method == "HEAD" });
        }
        let target = head.path.map(HostPort::parse).transpose().map_err(ConnectError::Authority)?;
        let more = seen.len() < limits.bytes;
        match (parsed, target) {
            (Ok(httparse::Status::Complete(len)), Some(target)) => {
                let credentials = check(&Fields(head.headers))?;
                Ok(Some((Self { target, form: Form::Full, credentials }, len)))
            }
            (Ok(httparse::Status::Partial), _) if more => Ok(None),
            // A complete parse has set the target.
            (Ok(_), _) => Err(ConnectError::TooLarge { limit: limits.bytes }),
            (Err(httparse::Error::TooManyHeaders), _) => {
                Err(ConnectError::TooManyHeaders { limit: limits.headers })
            }
            (Err(_), None) if more && may_be_bare(seen) => Ok(None),
            (Err(httparse::Error::Token), None) => {
                Err(ConnectError::Malformed(not_a_request(head.method)))
            }
            (Err(error), _) => Err(ConnectError::Malformed(syntax_error(error))),
        }
    }
}

/// The target, if `wire` is a bare head as it stands.
fn bare(wire: &[u8]) -> Option<HostPort> {
    let text = std::str::from_utf8(wire.strip_prefix(b"CONNECT ")?).ok()?;
    let line = text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
    HostPort::parse(line).ok()
}

/// Whether only the end of the message is missing to make `wire` a bare head: it may come later
/// than the bytes, in an empty frame of its own.
fn may_be_bare(wire: &[u8]) -> bool {
    bare(wire.strip_suffix(b"\r").unwrap_or(wire)).is_some()
}

/// The credentials of a head, if it has no field that spoils it.
fn check(fields: &Fields) -> Result<Option<Vec<u8>>, ConnectError> {
    // RFC 9112 §3.2: two of them may be read differently further on.
    fields.one("Host").map_err(repeated)?;
    // A CONNECT has no content (RFC 9110 §9.3.6). Of bytes that are announced as such nobody could
    // tell whether they are the tunnel's.
    if fields.all("Transfer-Encoding").next().is_some()
        || fields.all("Content-Length").any(|length| length != b"0")
    {
        return Err(ConnectError::Malformed("a CONNECT request has no body"));
    }
    Ok(fields.one("Proxy-Authorization").map_err(repeated)?.and_then(basic_credentials))
}

/// Of the errors of [`Fields`], the one that it can have here.
fn repeated(error: HandshakeError) -> ConnectError {
    match error {
        HandshakeError::Repeated(name) => ConnectError::Repeated(name),
        _ => ConnectError::Malformed("a header of the request is malformed"),
    }
}

/// Whether the line was wrong from the start, or only behind its method.
fn not_a_request(method: Option<&str>) -> &'static str {
    match method {
        Some(_) => "the request line is not CONNECT host:port HTTP/1.1",
        None => "this is not an HTTP request; a proxy is spoken to without TLS here",
    }
}

/// Without the password.
impl fmt::Debug for ConnectRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectRequest")
            .field("target", &self.target)
            .field("form", &self.form)
            .field("credentials", &self.credentials.as_ref().map(|_| ".."))
            .finish()
    }
}

/// Why a head connects nobody. Each has a status (RFC 9110 §15, RFC 6585 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectError {
    /// Not the HTTP that it should be.
    Malformed(&'static str),
    /// A field that may stand once stands more often.
    Repeated(&'static str),
    /// Its target is not `host:port`.
    Authority(AuthorityError),
    /// Another method; `head` says that it is HEAD.
    Method {
        /// The response must have no body.
        head: bool,
    },
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

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(what) => f.write_str(what),
            Self::Repeated(name) => write!(f, "{name} must not be repeated"),
            Self::Authority(error) => write!(f, "{error}; name the target as host:port"),
            Self::Method { .. } => f.write_str(
                "this port speaks HTTP CONNECT; set it as the proxy of your tool and have it tunnel \
                 (curl: -p -x), do not open it as a page",
            ),
            Self::TooLarge { limit } => {
                write!(f, "request head exceeds {limit} bytes; send fewer or shorter headers")
            }
            Self::TooManyHeaders { limit } => {
                write!(f, "request has more than {limit} headers; send fewer")
            }
        }
    }
}

impl std::error::Error for ConnectError {}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { bytes: 8192, headers: 64 };

    /// RFC 9110 §9.3.6, with the credentials of RFC 7617 §2.
    const SAMPLE: &str = "CONNECT server.example.com:80 HTTP/1.1\r\nHost: server.example.com\r\n\
        User-Agent: tool/1.0\r\nProxy-Connection: keep-alive\r\n\
        Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n";

    type Parsed = Result<Option<(ConnectRequest, usize)>, ConnectError>;

    fn parse(wire: impl AsRef<[u8]>) -> Parsed {
        ConnectRequest::parse(wire.as_ref(), false, LIMITS)
    }

    /// As the first message of a stream.
    fn message(wire: impl AsRef<[u8]>) -> Parsed {
        ConnectRequest::parse(wire.as_ref(), true, LIMITS)
    }

    fn credentials(fields: &str) -> Option<String> {
        let (request, _) = parse(format!("CONNECT a:1 HTTP/1.1\r\n{fields}\r\n")).unwrap().unwrap();
        request.credentials.map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn reads_the_sample_of_the_rfc_at_every_cut() {
        for cut in 0..SAMPLE.len() {
            assert_eq!(parse(&SAMPLE[..cut]), Ok(None), "{cut}");
            // As a message of its own, `CONNECT server.example.com:8` is a bare head.
            if !(28..=29).contains(&cut) {
                assert_eq!(message(&SAMPLE[..cut]), Ok(None), "{cut}");
            }
        }
        let expected = ConnectRequest {
            target: HostPort::parse("server.example.com:80").unwrap(),
            form: Form::Full,
            credentials: Some(b"Aladdin:open sesame".to_vec()),
        };
        let wire = format!("{SAMPLE}\u{16}\u{3}\u{1}...");
        for (request, len) in [parse(&wire), parse(SAMPLE), message(&wire), message(SAMPLE)]
            .map(|parsed| parsed.unwrap().unwrap())
        {
            assert_eq!((&request, len), (&expected, SAMPLE.len()));
        }
    }

    #[test]
    fn writes_what_it_reads() {
        for text in ["server.example.com:80", "127.0.0.1:22", "[::1]:443"] {
            let target = HostPort::parse(text).unwrap();
            for (form, wire) in [
                (Form::Full, format!("CONNECT {text} HTTP/1.1\r\nHost: {text}\r\n\r\n")),
                (Form::Bare, format!("CONNECT {text}")),
            ] {
                assert_eq!(head(&target, form), wire.as_bytes());
                let request = ConnectRequest { target: target.clone(), form, credentials: None };
                assert_eq!(message(&wire), Ok(Some((request, wire.len()))));
            }
        }
    }

    #[test]
    fn a_bare_head_is_a_whole_message() {
        for wire in ["CONNECT a:443", "CONNECT a:443\n", "CONNECT a:443\r\n"] {
            let (request, len) = message(wire).unwrap().unwrap();
            assert_eq!((request.form, request.target.port, len), (Form::Bare, 443, wire.len()));
            for cut in 0..=wire.len() {
                assert_eq!(parse(&wire[..cut]), Ok(None), "{:?}", &wire[..cut]);
            }
            // Something behind it in the same message: then it was the beginning of a full one.
            assert!(matches!(message(format!("{wire}\r\n\r\n")), Err(ConnectError::Malformed(_))));
            assert!(matches!(message(format!("{wire}\nx")), Err(ConnectError::Malformed(_))));
        }
        for wire in ["CONNECT a", "CONNECT a:", "CONNECT a:0", "CONNECT a:443 ", "CONN", ""] {
            assert_eq!(message(wire), Ok(None), "{wire}");
        }
    }

    #[test]
    fn takes_what_tools_send() {
        for head in [
            "CONNECT a:1 HTTP/1.1\r\n\r\n",
            "CONNECT a:1 HTTP/1.0\r\n\r\n",
            "CONNECT a:1 HTTP/1.1\nHost: a:1\n\n",
            "\r\n\nCONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
            "CONNECT a:1 HTTP/1.1\r\nHost: other:2\r\n\r\n",
            "CONNECT A.:1 HTTP/1.1\r\nHost:\r\nContent-Length: 0\r\n\r\n",
        ] {
            let (request, len) = parse(head).unwrap().unwrap();
            assert_eq!((request.target.to_string().as_str(), len), ("a:1", head.len()), "{head:?}");
            assert_eq!((request.form, request.credentials), (Form::Full, None));
        }
    }

    #[test]
    fn an_error_comes_with_the_byte_that_proves_it_and_stays() {
        use ConnectError::*;
        let line = "the request line is not CONNECT host:port HTTP/1.1";
        let alien = "this is not an HTTP request; a proxy is spoken to without TLS here";
        for (proof, behind, expected) in [
            ("GET ", "/ HTTP/1.1\r\n\r\n", Method { head: false }),
            ("HEAD ", "/\0", Method { head: true }),
            ("connect ", "a:1 HTTP/1.1\r\n\r\n", Method { head: false }),
            ("CONNECTS ", "a:1 HTTP/1.1\r\n\r\n", Method { head: false }),
            ("CONNECT a ", "HTTP/1.1\r\n", Authority(AuthorityError::PortMissing)),
            ("CONNECT http://a:1/ ", "HTTP/9", Authority(AuthorityError::Path)),
            ("CONNECT a:0 ", "\0", Authority(AuthorityError::PortZero)),
            ("CONNECT 127.1:80 ", "HTTP/1.1\r\n\r\n", Authority(AuthorityError::Ipv4)),
            ("CONNECT  ", "a:1 HTTP/1.1\r\n\r\n", Malformed(line)),
            ("CONNECT a\r", "\n\r\n", Malformed(line)),
            ("CONNECT a:1\n\n", "", Malformed(line)),
            ("CONNECT a\0", ":1 HTTP/1.1\r\n\r\n", Malformed(line)),
            ("CONNECT a:1 HTTP/2", ".0\r\n\r\n", Malformed("the request is not HTTP/1.1")),
            ("\x16", "\x03\x01\x02\0", Malformed(alien)),
            ("\0", "\0\0", Malformed(alien)),
            ("SSH-2.0-OpenSSH_9.2p1\r", "\n", Malformed(alien)),
        ] {
            let wire = format!("{proof}{behind}");
            for end in 0..=wire.len() {
                let expected = if end < proof.len() { Ok(None) } else { Err(expected) };
                assert_eq!(parse(&wire[..end]), expected, "{:?}", &wire[..end]);
            }
        }
    }

    #[test]
    fn refuses_fields_that_contradict_or_announce_a_body() {
        use ConnectError::*;
        let with = |line: &str| parse(SAMPLE.replace("User-Agent: tool/1.0", line));
        let body = Err(Malformed("a CONNECT request has no body"));
        assert_eq!(with("Host: server.example.com"), Err(Repeated("Host")));
        assert_eq!(with("proxy-authorization: Basic eDp5"), Err(Repeated("Proxy-Authorization")));
        assert_eq!(with("Content-Length: 5"), body);
        assert_eq!(with("Content-Length: 0\r\nContent-Length: 1"), body);
        assert_eq!(with("transfer-encoding: identity"), body);
        assert!(matches!(with("User Agent: x"), Err(Malformed(_))));
        assert!(matches!(with("X: a\0b"), Err(Malformed(_))));
        assert!(matches!(with("X: a\r\n b"), Err(Malformed(_))));
    }

    #[test]
    fn finds_basic_credentials_and_no_others() {
        assert_eq!(credentials("Proxy-Authorization: bASIC  eDp5\r\n").as_deref(), Some("x:y"));
        for line in [
            "Authorization: Basic eDp5",
            "Proxy-Authorization: Bearer eDp5",
            "Proxy-Authorization:",
        ] {
            assert_eq!(credentials(&format!("{line}\r\n")), None, "{line}");
        }
        for token in ["*", "eDp5=", "eDp", "eDp5 eDp5", "\u{e9}"] {
            assert_eq!(credentials(&format!("Proxy-Authorization: Basic {token}\r\n")), None);
        }
    }

    #[test]
    fn never_shows_a_password() {
        let (request, _) = parse(SAMPLE).unwrap().unwrap();
        let shown = format!("{request:?}");
        assert!(shown.contains("server.example.com") && shown.contains("credentials"), "{shown}");
        assert!(!shown.contains("sesame") && !shown.contains(&format!("{}", b's')), "{shown}");
    }

    #[test]
    fn limits_bytes_and_headers() {
        let limits = HeadLimits { bytes: SAMPLE.len(), headers: 4 };
        let parse = |wire: &str, limits| ConnectRequest::parse(wire.as_bytes(), false, limits);
        assert!(parse(&format!("{SAMPLE}x"), limits).unwrap().is_some());
        let tight = HeadLimits { bytes: SAMPLE.len() - 1, ..limits };
        let large = Err(ConnectError::TooLarge { limit: tight.bytes });
        assert_eq!(parse(SAMPLE, tight), large);
        assert_eq!(parse(&SAMPLE[..tight.bytes], tight), large);
        assert_eq!(parse(&SAMPLE[..tight.bytes - 1], tight), Ok(None));
        let few = HeadLimits { headers: 3, ..limits };
        assert_eq!(parse(SAMPLE, few), Err(ConnectError::TooManyHeaders { limit: 3 }));
        let short = HeadLimits { bytes: 12, headers: 4 };
        let bare = ConnectRequest::parse(b"CONNECT a:443", true, short);
        assert_eq!(bare, Err(ConnectError::TooLarge { limit: 12 }));
    }
}
