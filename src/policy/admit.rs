//! A request head to an admission, or to an HTTP status.
//!
//! Owns the status table and the choice of encoding and subprotocol. Never dials, and leaves it to
//! [`super::target`] whether a target may be.

use std::net::IpAddr;

use super::access;
use super::gate::Gate;
use super::named::named;
use crate::config::{Destination, Messages, Subprotocols};
use crate::proto::close::CloseCode;
use crate::proto::connect::ConnectError;
use crate::proto::encoding::Encoding;
use crate::proto::handshake::{switching_protocols, HandshakeError, Request};

/// Bytes in a subprotocol that is answered; longer ones are ignored, so that the answer fits in
/// the smallest hot buffer.
const MAX_SUBPROTOCOL: usize = 1024;

/// What a request gets, once the target has answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// What payloads of this connection look like.
    pub encoding: Encoding,
    /// The response that opens it.
    pub response: Vec<u8>,
    /// Who asks, where that is not who connected: a trusted proxy stands between.
    pub client: Option<IpAddr>,
    /// The target, where the request names it.
    pub named: Option<Destination>,
}

/// A refusal over HTTP (RFC 9110 §15).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// 400
    BadRequest,
    /// 401, for a request without credentials, or with wrong ones.
    Unauthorized(Challenge),
    /// 403
    Forbidden,
    /// 404
    NotFound,
    /// 405, for what is not `CONNECT` where nothing else is spoken.
    MethodNotAllowed,
    /// 405, for what is neither GET nor HEAD where there are pages.
    NotForPages,
    /// 407, for a `CONNECT` without credentials, or with wrong ones (RFC 7617 §2).
    ProxyAuthRequired,
    /// 408
    RequestTimeout,
    /// 413, which a WebSocket alone is told, by its close code.
    ContentTooLarge,
    /// 415, likewise.
    UnsupportedMedia,
    /// 426, for what is no upgrade.
    UpgradeRequired,
    /// 426, for an upgrade to another version.
    VersionRequired,
    /// 431
    HeadTooLarge,
    /// 502
    BadGateway,
    /// 503
    Unavailable,
    /// 504
    GatewayTimeout,
}

/// What a 401 asks for, by `WWW-Authenticate` (RFC 7617 §2, RFC 6750 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Challenge {
    /// User and password.
    Basic,
    /// A token.
    Bearer,
    /// One of the two.
    Either,
}

impl Challenge {
    /// In a line each, which more clients understand than one list.
    fn fields(self) -> &'static str {
        match self {
            Self::Basic => "WWW-Authenticate: Basic realm=\"ws-tcp-proxy\", charset=\"UTF-8\"\r\n",
            Self::Bearer => "WWW-Authenticate: Bearer realm=\"ws-tcp-proxy\"\r\n",
            Self::Either => {
                "WWW-Authenticate: Basic realm=\"ws-tcp-proxy\", charset=\"UTF-8\"\r\n\
                 WWW-Authenticate: Bearer realm=\"ws-tcp-proxy\"\r\n"
            }
        }
    }
}

impl Status {
    /// Every status; which credentials a 401 asks for makes no difference here.
    pub const ALL: [Self; 16] = [
        Self::BadRequest,
        Self::Unauthorized(Challenge::Either),
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::NotForPages,
        Self::ProxyAuthRequired,
        Self::RequestTimeout,
        Self::ContentTooLarge,
        Self::UnsupportedMedia,
        Self::UpgradeRequired,
        Self::VersionRequired,
        Self::HeadTooLarge,
        Self::BadGateway,
        Self::Unavailable,
        Self::GatewayTimeout,
    ];

    /// The word in a log and in statistics.
    pub fn name(self) -> &'static str {
        match self {
            Self::BadRequest => "bad-request",
            Self::Unauthorized(_) => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not-found",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::NotForPages => "not-for-pages",
            Self::ProxyAuthRequired => "proxy-auth-required",
            Self::RequestTimeout => "request-timeout",
            Self::ContentTooLarge => "content-too-large",
            Self::UnsupportedMedia => "unsupported-media",
            Self::UpgradeRequired => "upgrade-required",
            Self::VersionRequired => "version-required",
            Self::HeadTooLarge => "head-too-large",
            Self::BadGateway => "bad-gateway",
            Self::Unavailable => "unavailable",
            Self::GatewayTimeout => "gateway-timeout",
        }
    }

    /// The number.
    pub fn code(self) -> u16 {
        self.line().0
    }

    /// The words behind it.
    pub fn phrase(self) -> &'static str {
        self.line().1
    }

    /// The close code that says the same where the WebSocket is open already (RFC 6455 §7.4.1 and
    /// the IANA registry).
    pub fn close_code(self) -> CloseCode {
        match self {
            Self::BadRequest
            | Self::Unauthorized(_)
            | Self::Forbidden
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::NotForPages
            | Self::ProxyAuthRequired
            | Self::RequestTimeout
            | Self::UpgradeRequired
            | Self::VersionRequired
            | Self::HeadTooLarge => CloseCode::POLICY_VIOLATION,
            Self::ContentTooLarge => CloseCode::MESSAGE_TOO_BIG,
            Self::UnsupportedMedia => CloseCode::UNSUPPORTED_DATA,
            Self::Unavailable => CloseCode::TRY_AGAIN_LATER,
            Self::BadGateway | Self::GatewayTimeout => CloseCode::BAD_GATEWAY,
        }
    }

    fn line(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::BadRequest => (400, "Bad Request", ""),
            Self::Unauthorized(challenge) => (401, "Unauthorized", challenge.fields()),
            Self::Forbidden => (403, "Forbidden", ""),
            Self::NotFound => (404, "Not Found", ""),
            // What is allowed must be named (RFC 9110 §15.5.6), and how to authenticate (§11.7.1).
            Self::MethodNotAllowed => (405, "Method Not Allowed", "Allow: CONNECT\r\n"),
            Self::NotForPages => (405, "Method Not Allowed", "Allow: GET, HEAD\r\n"),
            Self::ProxyAuthRequired => (
                407,
                "Proxy Authentication Required",
                "Proxy-Authenticate: Basic realm=\"ws-tcp-proxy\", charset=\"UTF-8\"\r\n",
            ),
            Self::RequestTimeout => (408, "Request Timeout", ""),
            Self::ContentTooLarge => (413, "Content Too Large", ""),
            Self::UnsupportedMedia => (415, "Unsupported Media Type", ""),
            // An Upgrade field must be named by Connection (RFC 9110 §7.8).
            Self::UpgradeRequired => {
                (426, "Upgrade Required", "Upgrade: websocket\r\nConnection: Upgrade\r\n")
            }
            Self::VersionRequired => (
                426,
                "Upgrade Required",
                "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n",
            ),
            Self::HeadTooLarge => (431, "Request Header Fields Too Large", ""),
            Self::BadGateway => (502, "Bad Gateway", ""),
            Self::Unavailable => (503, "Service Unavailable", "Retry-After: 5\r\n"),
            Self::GatewayTimeout => (504, "Gateway Timeout", ""),
        }
    }
}

/// A status and the line that says what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: Status,
    /// One line for the person at the other end.
    pub reason: String,
    /// The request was HEAD: no body (RFC 9110 §9.3.2).
    pub bodiless: bool,
    /// Who was refused, where a trusted proxy stands between.
    pub client: Option<IpAddr>,
}

impl Refusal {
    /// A refusal with a body.
    pub fn new(status: Status, reason: impl Into<String>) -> Self {
        Self { status, reason: reason.into(), bodiless: false, client: None }
    }

    /// The response as it goes over the wire.
    pub fn response(&self) -> Vec<u8> {
        let (code, phrase, fields) = self.status.line();
        let body = if self.bodiless { "" } else { &self.reason };
        let newline = if self.bodiless { "" } else { "\n" };
        let len = self.reason.len() + 1;
        format!(
            "HTTP/1.1 {code} {phrase}\r\nConnection: close\r\n{fields}\
             Content-Type: text/plain; charset=utf-8\r\nContent-Length: {len}\r\n\r\n\
             {body}{newline}"
        )
        .into_bytes()
    }
}

impl From<HandshakeError> for Refusal {
    fn from(error: HandshakeError) -> Self {
        let status = match error {
            HandshakeError::NotAnUpgrade { .. } => Status::UpgradeRequired,
            HandshakeError::Version => Status::VersionRequired,
            HandshakeError::TooLarge { .. } | HandshakeError::TooManyHeaders { .. } => {
                Status::HeadTooLarge
            }
            HandshakeError::Malformed(_) | HandshakeError::Repeated(_) => Status::BadRequest,
        };
        let bodiless = error == HandshakeError::NotAnUpgrade { head: true };
        Self { bodiless, ..Self::new(status, error.to_string()) }
    }
}

impl From<ConnectError> for Refusal {
    fn from(error: ConnectError) -> Self {
        let status = match error {
            ConnectError::Method { .. } => Status::MethodNotAllowed,
            ConnectError::TooLarge { .. } | ConnectError::TooManyHeaders { .. } => {
                Status::HeadTooLarge
            }
            ConnectError::Malformed(_) | ConnectError::Repeated(_) | ConnectError::Authority(_) => {
                Status::BadRequest
            }
        };
        let bodiless = error == ConnectError::Method { head: true };
        Self { bodiless, ..Self::new(status, error.to_string()) }
    }
}

/// Decides whether a good request is welcome, and what it is answered with.
///
/// # Errors
/// What [`access::judge`] and [`named`] say, or 400 for an `?encoding=` that is unknown or not allowed
/// here.
pub fn admit(request: &Request, gate: Gate) -> Result<Admission, Refusal> {
    let client = access::judge(request, gate)?;
    let messages = &gate.route.messages;
    let asked = match request.query_value("encoding") {
        Some(name) => Some(asked_encoding(name, messages)?),
        None => None,
    };
    let subprotocol =
        request.subprotocols.iter().copied().find(|name| speaks(name, asked, messages));
    // `binary` and `base64` are the subprotocols of websockify and name an encoding.
    let encoding = asked.or_else(|| subprotocol.and_then(negotiated)).unwrap_or(messages.encoding);
    let named = named(request, gate)?;
    let response = switching_protocols(&request.accept, subprotocol);
    Ok(Admission { encoding, response, client, named })
}

fn asked_encoding(name: &str, messages: &Messages) -> Result<Encoding, Refusal> {
    match name.parse() {
        Ok(encoding) if messages.allows(encoding) => Ok(encoding),
        _ => {
            let allowed: Vec<_> = Encoding::ALL
                .into_iter()
                .filter(|&encoding| messages.allows(encoding))
                .map(Encoding::name)
                .collect();
            let reason = format!("?encoding= must be one of: {}", allowed.join(", "));
            Err(Refusal::new(Status::BadRequest, reason))
        }
    }
}

/// The encoding that a subprotocol names.
fn negotiated(subprotocol: &str) -> Option<Encoding> {
    match subprotocol {
        "binary" => Some(Encoding::Binary),
        "base64" => Some(Encoding::Base64),
        _ => None,
    }
}

/// Whether we answer with this subprotocol: it is in our list, it is not a secret, and the encoding
/// it names, if any, is allowed and not contradicted by the query.
fn speaks(name: &str, asked: Option<Encoding>, messages: &Messages) -> bool {
    let listed = match &messages.subprotocols {
        Subprotocols::Any => is_token(name),
        Subprotocols::Listed(list) => list.iter().any(|ours| ours == name),
    };
    let fits = negotiated(name).map_or(true, |encoding| {
        messages.allows(encoding) && asked.map_or(true, |asked| asked == encoding)
    });
    listed && fits && access::bearer(name).is_none() && name.len() <= MAX_SUBPROTOCOL
}

/// RFC 9110 §5.6.2; what is echoed must be one, whatever the client offered.
fn is_token(name: &str) -> bool {
    let special = b"!#$%&'*+-.^_`|~";
    name.bytes().all(|b| b.is_ascii_alphanumeric() || special.contains(&b)) && !name.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Route;
    use crate::policy::gate::Secrets;
    use crate::proto::encoding::Encodings;
    use crate::proto::framing::Framing;
    use crate::testing;

    fn request<'a>(query: &'a str, subprotocols: &[&'a str]) -> Request<'a> {
        Request {
            path: "/",
            query,
            accept: [b'x'; 28],
            subprotocols: subprotocols.to_vec(),
            fields: Vec::new(),
        }
    }

    /// The encoding and the subprotocol of the answer.
    fn choice(
        query: &str,
        offered: &[&str],
        messages: &Messages,
    ) -> Result<(Encoding, Option<String>), u16> {
        let route = Route { messages: messages.clone(), ..testing::route() };
        let gate = Gate { route: &route, secrets: &Secrets::default(), client: None };
        let admission =
            admit(&request(query, offered), gate).map_err(|refusal| refusal.status.code())?;
        let head = String::from_utf8(admission.response).unwrap();
        let name = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Protocol: "));
        Ok((admission.encoding, name.map(str::to_owned)))
    }

    #[test]
    fn chooses_encoding_and_subprotocol() {
        use Encoding::*;
        let ours = Messages::default();
        let some = |name: &str| Some(name.to_owned());
        assert_eq!(choice("", &[], &ours), Ok((Binary, None)));
        assert_eq!(choice("a=b&encoding=text", &[], &ours), Ok((Text, None)));
        assert_eq!(choice("", &["base64"], &ours), Ok((Base64, some("base64"))));
        assert_eq!(choice("", &["chat", "binary", "base64"], &ours), Ok((Binary, some("binary"))));
        assert_eq!(choice("", &["chat"], &ours), Ok((Binary, None)));
        let both = ["binary", "base64"];
        assert_eq!(choice("encoding=base64", &both, &ours), Ok((Base64, some("base64"))));
        assert_eq!(choice("encoding=text", &both, &ours), Ok((Text, None)));
        assert_eq!(choice("encoding=rot13", &[], &ours), Err(400));
        assert_eq!(choice("encoding=", &[], &ours), Err(400));
    }

    #[test]
    fn what_is_not_allowed_is_neither_answered_nor_negotiated() {
        let narrow = Messages {
            encoding: Encoding::Text,
            allowed: Encodings::NONE.with(Encoding::Text),
            ..Messages::default()
        };
        assert_eq!(choice("encoding=binary", &[], &narrow), Err(400));
        assert_eq!(choice("", &["binary"], &narrow), Ok((Encoding::Text, None)));
    }

    /// Whatever the list says, which a program may have left as it was.
    #[test]
    fn an_encoding_that_does_not_fit_the_framing_is_not_allowed() {
        let ndjson =
            Messages { framing: Framing::Ndjson, encoding: Encoding::Text, ..Messages::default() };
        assert_eq!(choice("encoding=binary", &[], &ndjson), Err(400));
        assert_eq!(choice("encoding=text", &[], &ndjson), Ok((Encoding::Text, None)));
        assert_eq!(choice("", &["base64", "binary"], &ndjson), Ok((Encoding::Text, None)));
        let lines = Messages { framing: Framing::Lines, ..Messages::default() };
        assert_eq!(choice("encoding=chunk", &[], &lines), Err(400));
        let base64 = Ok((Encoding::Base64, Some("base64".into())));
        assert_eq!(choice("", &["base64"], &lines), base64);
    }

    #[test]
    fn any_subprotocol_echoes_the_first_that_is_a_token() {
        let any = Messages { subprotocols: Subprotocols::Any, ..Messages::default() };
        let answer = choice("", &["mqtt", "binary"], &any);
        assert_eq!(answer, Ok((Encoding::Binary, Some("mqtt".into()))));
        let long = "x".repeat(MAX_SUBPROTOCOL + 1);
        let answer = choice("", &["a b", &long, "mqtt"], &any);
        assert_eq!(answer, Ok((Encoding::Binary, Some("mqtt".into()))));
    }

    /// A page offers it beside one that can be answered.
    #[test]
    fn a_token_among_the_subprotocols_is_never_echoed() {
        let any = Messages { subprotocols: Subprotocols::Any, ..Messages::default() };
        let named = Subprotocols::Listed(vec!["bearer.abc".into(), "Bearer.".into()]);
        let named = Messages { subprotocols: named, ..Messages::default() };
        for messages in [&any, &named] {
            for offered in ["bearer.abc", "Bearer.", "BEARER.abc"] {
                assert_eq!(choice("", &[offered], messages), Ok((Encoding::Binary, None)));
            }
        }
        let answer = choice("", &["bearer.abc", "mqtt"], &any);
        assert_eq!(answer, Ok((Encoding::Binary, Some("mqtt".into()))));
    }

    #[test]
    fn a_refusal_is_one_line_with_its_length() {
        let text = |refusal: &Refusal| String::from_utf8(refusal.response()).unwrap();
        let mut refusal = Refusal::from(HandshakeError::Version);
        let (head, body) = text(&refusal).split_once("\r\n\r\n").map(own).unwrap();
        assert!(head.starts_with("HTTP/1.1 426 Upgrade Required\r\n"), "{head}");
        for field in ["Sec-WebSocket-Version: 13", "Upgrade: websocket", "Connection: close"] {
            assert!(head.lines().any(|line| line == field), "{field} in {head}");
        }
        assert!(head.contains(&format!("Content-Length: {}", body.len())));
        assert_eq!(body.lines().count(), 1);
        refusal.bodiless = true;
        assert!(text(&refusal).ends_with("\r\n\r\n"));
        assert!(text(&Refusal::new(Status::Unavailable, "x")).contains("Retry-After: "));
    }

    #[test]
    fn a_refused_connect_is_told_what_to_do() {
        use crate::proto::authority::AuthorityError;
        for (error, code, field, advice) in [
            (ConnectError::Method { head: false }, 405, "Allow: CONNECT", "set it as the proxy"),
            (ConnectError::Malformed("no"), 400, "Connection: close", "no"),
            (ConnectError::Repeated("Host"), 400, "Connection: close", "Host must not"),
            (
                ConnectError::Authority(AuthorityError::PortMissing),
                400,
                "Connection: close",
                "the port is missing; name the target as host:port",
            ),
            (ConnectError::TooLarge { limit: 8192 }, 431, "Connection: close", "8192 bytes"),
            (ConnectError::TooManyHeaders { limit: 64 }, 431, "Connection: close", "64 headers"),
        ] {
            let refusal = Refusal::from(error);
            assert_eq!(refusal.status.code(), code);
            let response = String::from_utf8(refusal.response()).unwrap();
            let (head, body) = response.split_once("\r\n\r\n").unwrap();
            assert!(head.lines().any(|line| line == field), "{field} in {head}");
            assert!(body.contains(advice) && body.lines().count() == 1, "{body}");
        }
        let head = Refusal::from(ConnectError::Method { head: true });
        assert!(head.response().ends_with(b"\r\n\r\n"));
        let asks = Refusal::new(Status::ProxyAuthRequired, "x").response();
        let challenge =
            "\r\nProxy-Authenticate: Basic realm=\"ws-tcp-proxy\", charset=\"UTF-8\"\r\n";
        assert!(String::from_utf8(asks).unwrap().contains(challenge));
    }

    /// RFC 7617 §2, RFC 6750 §3.
    #[test]
    fn a_401_says_what_to_show() {
        let basic = "WWW-Authenticate: Basic realm=\"ws-tcp-proxy\", charset=\"UTF-8\"";
        let bearer = "WWW-Authenticate: Bearer realm=\"ws-tcp-proxy\"";
        for (challenge, lines) in [
            (Challenge::Basic, &[basic][..]),
            (Challenge::Bearer, &[bearer]),
            (Challenge::Either, &[basic, bearer]),
        ] {
            let refusal = Refusal::new(Status::Unauthorized(challenge), "x");
            let response = String::from_utf8(refusal.response()).unwrap();
            assert!(response.starts_with("HTTP/1.1 401 Unauthorized\r\n"), "{response}");
            let challenges = response.lines().filter(|line| line.starts_with("WWW-"));
            assert_eq!(challenges.collect::<Vec<_>>(), lines);
        }
    }

    #[test]
    fn every_status_has_a_close_code() {
        use Status::*;
        for (status, code) in [
            (BadRequest, 1008),
            (Unauthorized(Challenge::Basic), 1008),
            (Forbidden, 1008),
            (NotFound, 1008),
            (MethodNotAllowed, 1008),
            (ProxyAuthRequired, 1008),
            (RequestTimeout, 1008),
            (UpgradeRequired, 1008),
            (VersionRequired, 1008),
            (HeadTooLarge, 1008),
            (BadGateway, 1014),
            (Unavailable, 1013),
            (GatewayTimeout, 1014),
        ] {
            assert_eq!(status.close_code().get(), code, "{status:?}");
            assert!(CloseCode::sendable(code).is_some());
        }
    }

    fn own((head, body): (&str, &str)) -> (String, String) {
        (head.into(), body.into())
    }
}
