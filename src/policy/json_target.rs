//! Targets that a client names in JSON: the greeting, its answer, and what that is answered.
//!
//! Owns the table of protocols and every text of the exchange. Never decides whether a target is
//! allowed.
//!
//! ```text
//! we     {"supported_protocols":{"tcp":{"target_ip":"IP Address",...},...}}
//! client {"protocol":"tcp","target_ip":"192.168.1.100","target_port":12345}
//! we     {"status":"Successfully connected, starting to proxy"}
//! ```
//!
//! A member that we read may be there once; of two, readers would disagree which one counts
//! (RFC 8259 §4), so neither does. Members that we do not know are ignored.

use std::fmt;

use super::admit::{Refusal, Status};
use super::unix::unix_name;
use crate::config::{Destination, Host, HostPort};
use crate::proto::json::{JsonError, Limits, Reason, Tape, Text, Value, Writer};

/// A protocol that a target may be reached by.
struct Protocol {
    name: &'static str,
    /// What names the target, and what the greeting says of it.
    fields: &'static [(&'static str, &'static str)],
    read: fn(&Value) -> Result<Destination, JsonTargetError>,
}

/// A new one is a line here, and what its fields mean below.
const PROTOCOLS: [Protocol; 2] = [
    Protocol {
        name: "tcp",
        fields: &[(IP, "IP Address"), (PORT, "Port for IP Address")],
        read: |answer| Ok(Destination::Tcp(HostPort { host: host(answer)?, port: port(answer)? })),
    },
    Protocol {
        name: "unix",
        fields: &[(PATH, "Path of a unix socket")],
        read: |answer| {
            let name = text(answer, PATH).and_then(|path| unix_name(&path.to_cow()).ok());
            Ok(Destination::Unix(name.ok_or(JsonTargetError::Field(PATH))?))
        },
    },
];

const IP: &str = "target_ip";
const PORT: &str = "target_port";
const PATH: &str = "target_path";

/// What a client is told before it says anything.
pub fn greeting() -> Vec<u8> {
    object(|json| {
        json.name("supported_protocols").begin_object();
        for protocol in PROTOCOLS {
            json.name(protocol.name).begin_object();
            for (field, meaning) in protocol.fields {
                json.name(field).string(meaning);
            }
            json.end_object();
        }
        json.end_object();
    })
}

/// What it is told when its target is there.
pub fn connected() -> Vec<u8> {
    object(|json| {
        json.name("status").string("Successfully connected, starting to proxy");
    })
}

/// What it is told when it gets none: that it has not named one that it may have, or that this one
/// cannot be had.
pub fn refused(refusal: &Refusal) -> Vec<u8> {
    let (status, reason) = match refusal.status {
        Status::RequestTimeout => (HANDSHAKE_FAILED, "Handshake timed out"),
        Status::Forbidden => (HANDSHAKE_FAILED, "Target not allowed"),
        Status::BadGateway | Status::GatewayTimeout | Status::Unavailable => {
            ("Connection failed, cancelling proxy", &refusal.reason[..])
        }
        _ => (HANDSHAKE_FAILED, &refusal.reason[..]),
    };
    object(|json| {
        json.name("status").string(status).name("reason").string(reason);
    })
}

const HANDSHAKE_FAILED: &str = "Handshake failed";

fn object(write_members: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut out = Vec::new();
    let mut json = Writer::new(&mut out);
    write_members(json.begin_object());
    json.end_object();
    drop(json);
    out
}

/// Reads the answer to the greeting, a whole text message of at most `most` bytes.
///
/// # Errors
/// Why it names no target.
pub fn parse(message: &[u8], most: usize) -> Result<Destination, JsonTargetError> {
    // An answer has four members, and room for some that are not ours.
    let limits = Limits { bytes: most, nodes: 64, depth: 8 };
    let mut tape = Tape::default();
    let answer = tape.read(message, limits)?;
    let wanted = text(&answer, "protocol").ok_or(JsonTargetError::Protocol)?;
    let known = PROTOCOLS.into_iter().find(|protocol| wanted == protocol.name);
    (known.ok_or(JsonTargetError::Unsupported)?.read)(&answer)
}

/// An address, or a name, which is looked up.
fn host(answer: &Value) -> Result<Host, JsonTargetError> {
    let host = text(answer, IP).and_then(|ip| Host::parse(&ip.to_cow()).ok());
    host.ok_or(JsonTargetError::Field(IP))
}

/// A number from 1 to 65535, written in digits alone, and checked before it is narrowed.
fn port(answer: &Value) -> Result<u16, JsonTargetError> {
    let number = only(answer, PORT).and_then(|port| port.as_u64());
    let port = number.filter(|number| (1..=65535).contains(number));
    port.and_then(|port| port.try_into().ok()).ok_or(JsonTargetError::Field(PORT))
}

fn text<'a>(answer: &Value<'a>, name: &str) -> Option<Text<'a>> {
    only(answer, name)?.as_text()
}

/// The member of that name, if there is one and no second.
fn only<'a>(answer: &Value<'a>, name: &str) -> Option<Value<'a>> {
    let mut all = answer.members()?.filter(|(text, _)| *text == name);
    let (_, value) = all.next()?;
    all.next().is_none().then_some(value)
}

/// Why a message names no target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonTargetError {
    /// It is not a text message.
    NotText,
    /// It is not JSON, or too much of it.
    Json(JsonError),
    /// No object, or no protocol in it.
    Protocol,
    /// A protocol that is not in the table.
    Unsupported,
    /// A field of its protocol is not there, or not as it must be.
    Field(&'static str),
}

impl From<JsonError> for JsonTargetError {
    fn from(error: JsonError) -> Self {
        Self::Json(error)
    }
}

/// As the client is told it.
impl fmt::Display for JsonTargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Like an error of the text: it is none from its first byte on.
            Self::NotText => f.write_str("expected a text message at byte 0"),
            Self::Json(error) => error.fmt(f),
            Self::Protocol => f.write_str("Missing or invalid protocol field"),
            Self::Unsupported => f.write_str("Unsupported protocol"),
            Self::Field(name) => write!(f, "Missing or invalid {name}"),
        }
    }
}

impl std::error::Error for JsonTargetError {}

impl From<JsonTargetError> for Refusal {
    fn from(error: JsonTargetError) -> Self {
        let status = match error {
            JsonTargetError::NotText => Status::UnsupportedMedia,
            JsonTargetError::Json(JsonError { reason: Reason::TooLong(_), .. }) => {
                Status::ContentTooLarge
            }
            _ => Status::BadRequest,
        };
        Self::new(status, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The target, or what the client is told.
    fn read(text: &str) -> Result<String, String> {
        parse(text.as_bytes(), 8192).map(|to| to.to_string()).map_err(|error| error.to_string())
    }

    fn tcp(ip: &str, port: &str) -> Result<String, String> {
        read(&format!(r#"{{"protocol":"tcp","target_ip":{ip},"target_port":{port}}}"#))
    }

    fn unix(path: &str) -> Result<String, String> {
        read(&format!(r#"{{"protocol":"unix","target_path":{path}}}"#))
    }

    #[test]
    fn says_what_the_contract_says() {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        assert_eq!(
            text(greeting()),
            r#"{"supported_protocols":{"tcp":{"target_ip":"IP Address","target_port":"Port for IP Address"},"unix":{"target_path":"Path of a unix socket"}}}"#
        );
        assert_eq!(text(connected()), r#"{"status":"Successfully connected, starting to proxy"}"#);
        for (status, said) in [
            (
                Status::RequestTimeout,
                r#"{"status":"Handshake failed","reason":"Handshake timed out"}"#,
            ),
            (Status::Forbidden, r#"{"status":"Handshake failed","reason":"Target not allowed"}"#),
            (Status::BadRequest, r#"{"status":"Handshake failed","reason":"so \"it\" is"}"#),
            (Status::ContentTooLarge, r#"{"status":"Handshake failed","reason":"so \"it\" is"}"#),
            (
                Status::BadGateway,
                r#"{"status":"Connection failed, cancelling proxy","reason":"so \"it\" is"}"#,
            ),
            (
                Status::GatewayTimeout,
                r#"{"status":"Connection failed, cancelling proxy","reason":"so \"it\" is"}"#,
            ),
        ] {
            assert_eq!(text(refused(&Refusal::new(status, "so \"it\" is"))), said);
        }
    }

    #[test]
    fn reads_what_each_protocol_is_named_by() {
        for (ip, same) in [
            ("192.168.1.100", "tcp://192.168.1.100:22"),
            ("::1", "tcp://[::1]:22"),
            ("[::1]", "tcp://[::1]:22"),
            ("Db.Internal.", "tcp://db.internal:22"),
            (r"\u0031.2.3.4", "tcp://1.2.3.4:22"),
        ] {
            assert_eq!(tcp(&format!("\"{ip}\""), "22").as_deref(), Ok(same));
        }
        assert_eq!(tcp("\"::1\"", "65535").as_deref(), Ok("tcp://[::1]:65535"));
        assert_eq!(unix("\"/run/app.sock\"").as_deref(), Ok("unix:/run/app.sock"));
        assert_eq!(unix(r#""\/run\/app.sock""#).as_deref(), Ok("unix:/run/app.sock"));
        assert_eq!(unix("\"@app\"").as_deref(), Ok("unix:@app"));
        let odd = r#" { "x" : [ {"protocol":1}, 1e9 ] , "x":null, "target_path":7,
            "target_port":1, "target_ip":"a", "pr\u006ftocol":"tcp" } "#;
        assert_eq!(read(odd).as_deref(), Ok("tcp://a:1"), "what is not asked for is ignored");
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, said) in [
            ("", "expected a value at byte 0"),
            ("{", "expected a name in quotes or '}' at byte 1"),
            (r#"{"protocol":"tcp"} x"#, "expected the end at byte 19"),
            ("\u{feff}{}", "byte order mark at byte 0"),
            ("CONNECT a:1", "expected a value at byte 0"),
            ("{}", "Missing or invalid protocol field"),
            ("[]", "Missing or invalid protocol field"),
            ("\"tcp\"", "Missing or invalid protocol field"),
            ("null", "Missing or invalid protocol field"),
            (r#"{"protocol":6}"#, "Missing or invalid protocol field"),
            (r#"{"protocol":["tcp"]}"#, "Missing or invalid protocol field"),
            (r#"{"Protocol":"tcp"}"#, "Missing or invalid protocol field"),
            (r#"{"protocol":"udp"}"#, "Unsupported protocol"),
            (r#"{"protocol":"TCP"}"#, "Unsupported protocol"),
            (r#"{"protocol":""}"#, "Unsupported protocol"),
            (r#"{"protocol":"tcp"}"#, "Missing or invalid target_ip"),
            (r#"{"protocol":"tcp","target_ip":"a"}"#, "Missing or invalid target_port"),
            (r#"{"protocol":"tcp","target_port":1}"#, "Missing or invalid target_ip"),
            (r#"{"protocol":"unix"}"#, "Missing or invalid target_path"),
        ] {
            assert_eq!(read(text).unwrap_err(), said, "{text}");
        }
    }

    #[test]
    fn of_two_members_neither_counts() {
        for (text, said) in [
            (r#"{"protocol":"tcp","protocol":"tcp"}"#, "Missing or invalid protocol field"),
            (r#"{"protocol":"tcp","pr\u006ftocol":"tcp"}"#, "Missing or invalid protocol field"),
            (
                r#"{"protocol":"tcp","target_ip":"a","target_ip":"b"}"#,
                "Missing or invalid target_ip",
            ),
            (
                r#"{"protocol":"tcp","target_ip":"a","target_port":1,"target_port":2}"#,
                "Missing or invalid target_port",
            ),
            (
                r#"{"protocol":"unix","target_path":"/a","target_path":"/a"}"#,
                "Missing or invalid target_path",
            ),
        ] {
            assert_eq!(read(text).unwrap_err(), said, "{text}");
        }
    }

    #[test]
    fn a_port_is_a_number_from_1_to_65535_in_digits() {
        for port in [
            "0",
            "65536",
            "65558",
            "4294967318",
            "18446744073709551638",
            "22.0",
            "\"22\"",
            "-1",
            "-0",
            "1e1",
            "null",
            "true",
            "[22]",
            "{}",
        ] {
            let said = tcp("\"127.0.0.1\"", port);
            assert_eq!(said.as_ref().unwrap_err(), "Missing or invalid target_port", "{port}");
        }
        for port in ["022", "0x16", "+22", "22.", ".5", "NaN"] {
            assert!(tcp("\"127.0.0.1\"", port).unwrap_err().contains(" at byte "), "{port}");
        }
    }

    #[test]
    fn an_address_that_only_a_resolver_would_take_is_none() {
        for ip in [
            "127.1",
            "0x7f000001",
            "2130706433",
            "0",
            "010.0.0.1",
            "1.2.3.256",
            "",
            ".",
            " 127.0.0.1",
            "127.0.0.1:22",
            "user@127.0.0.1",
            "http://127.0.0.1",
            "a/b",
            "a_b..c",
            "-a",
            "a b",
            r"a\u0000b",
            r"a\ud800b",
            "b\u{fc}cher.example",
            "fe80::1%eth0",
            "[::1",
            "[127.0.0.1]",
            ":::1",
        ] {
            let said = tcp(&format!("\"{ip}\""), "22");
            assert_eq!(said.as_ref().unwrap_err(), "Missing or invalid target_ip", "{ip}");
        }
        for ip in ["1", "null", "[\"a\"]"] {
            assert_eq!(tcp(ip, "22").unwrap_err(), "Missing or invalid target_ip", "{ip}");
        }
    }

    #[test]
    fn a_path_has_one_spelling() {
        for path in ["", "/", "@", "run/a", "/run/", "/run/../a", "/run//a", "/a b", r"/a\u0000"] {
            let said = unix(&format!("\"{path}\""));
            assert_eq!(said.as_ref().unwrap_err(), "Missing or invalid target_path", "{path}");
        }
        assert_eq!(unix("7").unwrap_err(), "Missing or invalid target_path");
    }

    #[test]
    fn a_hostile_message_is_refused_at_its_first_excess() {
        assert_eq!(read(&"[".repeat(8192)).unwrap_err(), "nested more than 8 deep at byte 8");
        assert_eq!(read(&"[".repeat(8193)).unwrap_err(), "longer than 8192 bytes at byte 8192");
        let zeros = format!("[{}0]", "0,".repeat(64));
        assert!(read(&zeros).unwrap_err().starts_with("more than 64 values and names at byte"));
        let refusal = |message: &[u8]| Refusal::from(parse(message, 10).unwrap_err()).status;
        assert_eq!(refusal(b"{\"a\":12345}"), Status::ContentTooLarge);
        assert_eq!(refusal(b"{\"a\":1234}"), Status::BadRequest);
    }
}
