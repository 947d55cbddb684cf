//! The opening handshake as a client: request heads out, response heads in (RFC 6455 §4.1).
//!
//! Owns what a server must answer to have understood a WebSocket request. Never decides what to
//! ask for.

use std::fmt;

use base64::engine::general_purpose::STANDARD;
use base64::Engine;

use super::handshake::{accept_key, Fields, HeadLimits};

/// Bytes of what a server said instead that are repeated in an error.
const MAX_QUOTE: usize = 100;

/// A request that opens a WebSocket, and what its answer must prove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientRequest {
    /// The head as it goes over the wire.
    pub head: Vec<u8>,
    expects: Expectation,
}

/// What the answer must prove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    accept: [u8; 28],
    offered: Vec<String>,
}

impl ClientRequest {
    /// A request to `host` (as the `Host` field has it) for `target` (path and query), with the
    /// `offered` subprotocols and further header `fields`. The nonce must be fresh and random.
    pub fn new(
        host: &str,
        target: &str,
        offered: &[String],
        fields: &[(String, String)],
        nonce: [u8; 16],
    ) -> Self {
        let key = STANDARD.encode(nonce);
        let mut head = format!(
            "GET {target} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
        );
        if !offered.is_empty() {
            head += &format!("Sec-WebSocket-Protocol: {}\r\n", offered.join(", "));
        }
        for (name, value) in fields {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        let expects = Expectation { accept: accept_key(key.as_bytes()), offered: offered.to_vec() };
        Self { head: head.into_bytes(), expects }
    }

    /// The request to send, and what to hold its answer against.
    pub fn into_parts(self) -> (Vec<u8>, Expectation) {
        (self.head, self.expects)
    }
}

impl Expectation {
    /// Reads the answer from the start of `wire` and says how long its head is; `Ok(None)` asks
    /// for more. What follows the head are the server's first frames.
    ///
    /// # Errors
    /// Why this is no WebSocket now.
    pub fn check(&self, wire: &[u8], limits: HeadLimits) -> Result<Option<usize>, ResponseError> {
        let mut fields = vec![httparse::EMPTY_HEADER; limits.headers];
        let mut head = httparse::Response::new(&mut fields);
        let len = match head.parse(wire) {
            Ok(httparse::Status::Complete(len)) if len <= limits.bytes => len,
            Ok(httparse::Status::Partial) if wire.len() < limits.bytes => return Ok(None),
            Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(ResponseError::TooLarge),
            Err(_) => return Err(ResponseError::NotHttp(quote(wire))),
        };
        let (status, reason) = (head.code.unwrap_or(0), head.reason.unwrap_or(""));
        let fields = Fields(head.headers);
        if status != 101 {
            let location = fields.all("Location").next().map(quote);
            let body = wire[len..].split(|b| *b == b'\n').find(|line| !line.is_empty());
            return Err(ResponseError::Status {
                status,
                reason: quote(reason.as_bytes()),
                detail: location.map_or_else(
                    || body.map(quote).unwrap_or_default(),
                    |to| format!("redirects are not followed; name {to} itself"),
                ),
            });
        }
        self.check_upgrade(&fields).map_err(ResponseError::Upgrade)?;
        Ok(Some(len))
    }

    /// §4.1, items 2 to 6 of what a client must validate.
    fn check_upgrade(&self, fields: &Fields) -> Result<(), &'static str> {
        let accept = |name| fields.one(name).unwrap_or(None);
        let answered = accept("Sec-WebSocket-Protocol");
        if !fields.has_token("Upgrade", "websocket") {
            Err("its Upgrade is not websocket")
        } else if !fields.has_token("Connection", "upgrade") {
            Err("its Connection is not Upgrade")
        } else if accept("Sec-WebSocket-Accept") != Some(&self.accept[..]) {
            Err("its Sec-WebSocket-Accept does not fit our key")
        } else if fields.tokens("Sec-WebSocket-Extensions").next().is_some() {
            Err("it chose an extension that was not offered")
        } else if fields.all("Sec-WebSocket-Protocol").count() > 1
            || answered.is_some_and(|name| !self.offered.iter().any(|o| o.as_bytes() == name))
        {
            Err("it chose a subprotocol that was not offered")
        } else {
            Ok(())
        }
    }
}

/// What a stranger said, fit for a log: printable, and cut short.
fn quote(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(MAX_QUOTE)];
    // Neither controls nor what turns or breaks a line without being one.
    let is_plain = |c: char| c.is_alphanumeric() || c.is_ascii_graphic() || c == ' ';
    let printable = |c: char| if is_plain(c) { c } else { '.' };
    String::from_utf8_lossy(cut).trim().chars().map(printable).collect()
}

/// Why an answer opens no WebSocket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResponseError {
    /// The stream ended first.
    Silent,
    /// More bytes or fields than a head may have.
    TooLarge,
    /// Not an HTTP response.
    NotHttp(String),
    /// A status other than 101.
    Status {
        /// The number.
        status: u16,
        /// The phrase behind it.
        reason: String,
        /// The first line of the body, or what to do about a redirect.
        detail: String,
    },
    /// 101, but not to what was asked for.
    Upgrade(&'static str),
}

impl fmt::Display for ResponseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent => f.write_str("it closed the connection without an answer"),
            Self::TooLarge => f.write_str("its answer exceeds --max-head or --max-headers"),
            Self::NotHttp(start) => write!(f, "it does not answer with HTTP: {start:?}"),
            Self::Status { status, reason, detail } if detail.is_empty() => {
                write!(f, "it answered {status} {reason}")
            }
            Self::Status { status, reason, detail } => {
                write!(f, "it answered {status} {reason}: {detail}")
            }
            Self::Upgrade(what) => write!(f, "it answered 101, but {what}"),
        }
    }
}

impl std::error::Error for ResponseError {}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { bytes: 8192, headers: 64 };

    /// RFC 6455 §1.2 and §1.3.
    const ANSWER: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
        Sec-WebSocket-Protocol: chat\r\n\r\n";

    fn sample() -> ClientRequest {
        let offered = ["chat".to_owned(), "superchat".to_owned()];
        let fields = [("Origin".to_owned(), "http://example.com".to_owned())];
        ClientRequest::new("server.example.com", "/chat", &offered, &fields, *b"the sample nonce")
    }

    fn check(answer: &str) -> Result<Option<usize>, ResponseError> {
        sample().into_parts().1.check(answer.as_bytes(), LIMITS)
    }

    #[test]
    fn asks_as_the_rfc_does() {
        let expected = "GET /chat HTTP/1.1\r\nHost: server.example.com\r\n\
            Upgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Protocol: chat, superchat\r\nOrigin: http://example.com\r\n\r\n";
        assert_eq!(String::from_utf8(sample().head).unwrap(), expected);
    }

    #[test]
    fn takes_the_answer_of_the_rfc_at_every_cut() {
        for cut in 0..ANSWER.len() {
            assert_eq!(check(&ANSWER[..cut]), Ok(None), "{cut}");
        }
        assert_eq!(check(&format!("{ANSWER}\u{1}frames")), Ok(Some(ANSWER.len())));
        let none = ANSWER.replace("Sec-WebSocket-Protocol: chat\r\n", "");
        assert_eq!(check(&none), Ok(Some(none.len())));
    }

    #[test]
    fn tells_what_is_wrong_with_a_101() {
        for (from, to, what) in [
            ("Upgrade: websocket", "Upgrade: h2c", "Upgrade is not"),
            ("Connection: Upgrade", "Connection: close", "Connection is not"),
            ("s3pPLMB", "S3pPLMB", "does not fit our key"),
            ("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", "", "does not fit our key"),
            ("chat\r\n", "mqtt\r\n", "subprotocol that was not offered"),
            ("chat\r\n", "chat\r\nSec-WebSocket-Protocol: chat\r\n", "subprotocol"),
            ("chat\r\n", "chat\r\nSec-WebSocket-Extensions: permessage-deflate\r\n", "extension"),
        ] {
            let error = check(&ANSWER.replace(from, to)).unwrap_err();
            assert!(error.to_string().contains(what), "{to}: {error}");
        }
    }

    #[test]
    fn reports_another_status_with_its_body_or_where_it_leads() {
        let error = |answer: &str| check(answer).unwrap_err().to_string();
        assert_eq!(
            error("HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\n\r\ngo away\x1b\nplease\n"),
            "it answered 403 Forbidden: go away."
        );
        assert_eq!(error("HTTP/1.1 200 OK\r\n\r\n"), "it answered 200 OK");
        assert_eq!(
            error("HTTP/1.1 302 Found\r\nLocation: https://other/\r\n\r\nmoved"),
            "it answered 302 Found: redirects are not followed; name https://other/ itself"
        );
        assert!(error("SSH-2.0-OpenSSH_9.2p1\r\n").contains("SSH-2.0-OpenSSH"));
    }

    #[test]
    fn limits_the_head() {
        let long = ANSWER.replace("\r\n\r\n", &format!("\r\nX: {}\r\n\r\n", "x".repeat(9000)));
        assert_eq!(check(&long), Err(ResponseError::TooLarge));
        assert_eq!(check(&long[..8192]), Err(ResponseError::TooLarge));
        let many = ANSWER.replace("\r\n\r\n", &format!("\r\n{}\r\n", "X: x\r\n".repeat(64)));
        assert_eq!(check(&many), Err(ResponseError::TooLarge));
    }
}
