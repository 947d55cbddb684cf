//! Targets that are named in JSON, under a fake clock.

use super::script::*;
use super::*;
use crate::config::Messages;
use crate::policy::admit::Status;
use crate::proto::close::CloseCode;
use crate::proto::encoding::Encoding;
use crate::proto::frame::Opcode;
use crate::session::ended::{By, Why};

const GREETING: &str = r#"{"supported_protocols":{"tcp":{"target_ip":"IP Address","target_port":"Port for IP Address"},"unix":{"target_path":"Path of a unix socket"}}}"#;
const TCP: &str = r#"{"protocol":"tcp","target_ip":"192.168.1.100","target_port":12345}"#;
const CONNECTED: &str = r#"{"status":"Successfully connected, starting to proxy"}"#;

fn text(payload: &str) -> Vec<u8> {
    frame(true, Opcode::Text, payload.as_bytes())
}

/// Past the opening handshake and the greeting.
fn greeted_in(encoding: Encoding) -> Script {
    let entrance = Entrance::WebSocket { names: Some(Names::Json) };
    let messages = Messages { encoding, ..Messages::default() };
    let mut script = Script::begin(entrance, Limits::default(), messages);
    script.peer_sends(HEAD.as_bytes());
    let got = std::mem::take(&mut script.got[PEER]);
    let end = got.windows(4).position(|w| w == b"\r\n\r\n").expect("a head") + 4;
    assert!(got.starts_with(b"HTTP/1.1 101 "), "let in before it names a target");
    assert_eq!(got[end] & 0x0f, Opcode::Text as u8, "in a text message");
    assert_eq!(String::from_utf8(hear(Role::Client, &got[end..]).0).unwrap(), GREETING);
    script
}

fn greeted() -> Script {
    greeted_in(Encoding::Binary)
}

fn heard(script: &Script) -> String {
    String::from_utf8(script.heard().0).unwrap()
}

fn failed(reason: &str) -> String {
    format!(r#"{{"status":"Handshake failed","reason":"{reason}"}}"#)
}

/// The client is told so and hears Close with that code; then all is over.
#[track_caller]
fn expect_end(mut script: Script, said: &str, code: u16) {
    assert_eq!(heard(&script), said);
    assert_eq!(script.got[PEER][0], 0x81, "in a text message");
    assert_eq!(script.close_code(), Some(code), "{said}");
    assert!(script.fin[PEER]);
    script.ends(PEER, false);
    assert!(script.link.is_over());
    assert_eq!(script.ended(), (By::Proxy, "refused", 1006));
}

/// Every cut of the message into reads, and into fragments.
#[test]
fn dials_what_is_named_and_says_so() {
    for cut in 0..TCP.len() {
        for fragments in [false, true] {
            let mut script = greeted();
            let (first, rest) = TCP.as_bytes().split_at(cut);
            let wire = match fragments {
                true => {
                    [frame(false, Opcode::Text, first), frame(true, Opcode::Continuation, rest)]
                        .concat()
                }
                false => text(TCP),
            };
            script.peer_sends(&wire[..cut]);
            assert!(!script.dials, "cut at {cut}");
            script.peer_sends(&[&wire[cut..], &binary(b"first")].concat());
            assert!(script.dials, "cut at {cut}");
            let named = script.link.named().map(ToString::to_string);
            assert_eq!(named.as_deref(), Some("tcp://192.168.1.100:12345"));
            assert!(script.got[PEER].is_empty(), "an answer before the target is there");
            script.connect(Far::Raw);
            assert_eq!(heard(&script), CONNECTED);
            assert_eq!(script.got[TARGET], b"first", "the second message is the first data");
            assert_eq!(script.link.bytes_from(PEER), 5, "{TCP} is none");
        }
    }
}

#[test]
fn a_unix_socket_is_named_by_its_path() {
    let mut script = greeted();
    script.peer_sends(&text(r#"{"protocol":"unix","target_path":"/run/app.sock"}"#));
    let named = script.link.named().map(ToString::to_string);
    assert_eq!(named.as_deref(), Some("unix:/run/app.sock"));
}

/// The exchange is plain text whatever the route's encoding is; the stream is in that.
#[test]
fn behind_the_exchange_the_stream_has_its_encoding() {
    for (encoding, there, back) in [
        (Encoding::Binary, binary(b"there"), &b"\x82\x04back"[..]),
        (Encoding::Text, text("there"), b"\x81\x04back"),
        (Encoding::Base64, text("dGhlcmU="), b"\x81\x08YmFjaw=="),
        (Encoding::Chunk, binary(b"\x0a\x05there"), b"\x82\x06\x0a\x04back"),
    ] {
        for at_once in [true, false] {
            let mut script = greeted_in(encoding);
            let (with, after) =
                if at_once { (&there[..], &b""[..]) } else { (&b""[..], &there[..]) };
            script.peer_sends(&[&text(TCP), with].concat());
            script.connect(Far::Raw);
            assert_eq!(heard(&script), CONNECTED, "{encoding}");
            script.got[PEER].clear();
            script.peer_sends(after);
            script.target_sends(b"back");
            assert_eq!(script.got[TARGET], b"there", "{encoding}");
            assert_eq!(script.got[PEER], back, "{encoding}");
        }
    }
}

#[test]
fn pings_are_answered_before_the_message_and_within() {
    let mut script = greeted();
    script.peer_sends(&frame(true, Opcode::Ping, b"hi"));
    script.peer_sends(&frame(false, Opcode::Text, &TCP.as_bytes()[..9]));
    script.peer_sends(&frame(true, Opcode::Ping, b"ho"));
    let pong = |payload: &[u8]| (Opcode::Pong, payload.to_vec());
    assert_eq!(script.heard().1, [pong(b"hi"), pong(b"ho")]);
    script.peer_sends(&frame(true, Opcode::Continuation, &TCP.as_bytes()[9..]));
    assert!(script.dials);
}

#[test]
fn a_message_that_names_no_target_is_told_why() {
    for (said, reason, code) in [
        ("", "expected a value at byte 0", 1008),
        ("{", "expected a name in quotes or '}' at byte 1", 1008),
        ("[1]", "Missing or invalid protocol field", 1008),
        (r#"{"protocol":"sctp"}"#, "Unsupported protocol", 1008),
        (r#"{"protocol":"tcp","target_port":1}"#, "Missing or invalid target_ip", 1008),
        (
            r#"{"protocol":"tcp","target_ip":"a","target_port":65558}"#,
            "Missing or invalid target_port",
            1008,
        ),
        (r#"{"protocol":"unix"}"#, "Missing or invalid target_path", 1008),
    ] {
        let mut script = greeted();
        script.peer_sends(&[text(said), binary(b"what comes behind it")].concat());
        assert!(!script.dials, "{said}");
        expect_end(script, &failed(reason), code);
    }
}

#[test]
fn a_binary_message_is_told_so_by_1003() {
    for said in [binary(TCP.as_bytes()), frame(false, Opcode::Binary, b"{"), binary(b"")] {
        let mut script = greeted();
        script.peer_sends(&said);
        expect_end(script, &failed("expected a text message at byte 0"), 1003);
    }
}

/// At the first byte that is too many, whatever the pieces and however much was announced.
#[test]
fn a_message_that_is_too_big_is_told_so_by_1009() {
    let padded = |len: usize| format!("{}{TCP}", " ".repeat(len - TCP.len()));
    let mut script = greeted();
    script.peer_sends(&text(&padded(8192)));
    assert!(script.dials);

    let too_long = failed("longer than 8192 bytes at byte 8192");
    let mut script = greeted();
    script.peer_sends(&text(&padded(8193)));
    expect_end(script, &too_long, 1009);

    let mut script = greeted();
    let million = text(&"[".repeat(1 << 20));
    script.peer_sends(&million[..8 + 8192]);
    assert!(script.got[PEER].is_empty(), "not yet");
    script.peer_sends(&million[8 + 8192..]);
    expect_end(script, &too_long, 1009);

    let mut script = greeted();
    script.peer_sends(&frame(false, Opcode::Text, b""));
    for _ in 0..8192 {
        script.peer_sends(&frame(false, Opcode::Continuation, b" "));
    }
    assert!(script.got[PEER].is_empty(), "8192 fragments of a byte fit");
    script.peer_sends(&frame(false, Opcode::Continuation, b" "));
    expect_end(script, &too_long, 1009);

    let mut script = greeted();
    script.peer_sends(&text(&"[".repeat(8192)));
    expect_end(script, &failed("nested more than 8 deep at byte 8"), 1008);
}

#[test]
fn text_that_is_none_breaks_the_protocol() {
    let mut script = greeted();
    script.peer_sends(&frame(false, Opcode::Text, b"{\"protocol\":\"\xff"));
    assert_eq!(heard(&script), "");
    assert_eq!(script.close_code(), Some(1007));
}

#[test]
fn what_cannot_be_had_is_told_so() {
    let said = r#"{"status":"Connection failed, cancelling proxy","reason":"no"}"#;
    for (status, code) in
        [(Status::BadGateway, 1014), (Status::GatewayTimeout, 1014), (Status::Unavailable, 1013)]
    {
        let mut script = greeted();
        script.peer_sends(&text(TCP));
        script.refuse(status);
        expect_end(script, said, code);
    }
}

#[test]
fn what_is_not_allowed_is_told_so() {
    let mut script = greeted();
    script.peer_sends(&text(TCP));
    script.refuse(Status::Forbidden);
    expect_end(script, &failed("Target not allowed"), 1008);
}

#[test]
fn a_message_that_does_not_come_in_time_is_told_so() {
    let half = frame(false, Opcode::Text, b"{");
    for said in [&b""[..], &half, &text(TCP)[..9], &frame(true, Opcode::Ping, b"")] {
        let mut script = greeted();
        script.at(secs(5));
        script.peer_sends(said);
        script.got[PEER].clear();
        script.at(secs(4));
        assert!(script.got[PEER].is_empty(), "after 9 s");
        script.at(secs(1));
        expect_end(script, &failed("Handshake timed out"), 1008);
    }
}

#[test]
fn a_client_that_goes_before_it_names_a_target_leaves_nothing() {
    for said in [&b""[..], &frame(false, Opcode::Text, b"{")] {
        let mut script = greeted();
        script.peer_sends(&[said, &close(1000)].concat());
        assert_eq!((heard(&script), script.close_code()), (String::new(), Some(1000)));
        script.ends(PEER, false);
        assert!(script.link.is_over());
        assert_eq!(script.ended(), (By::Peer, "close", 1000));

        let mut script = greeted();
        script.peer_sends(said);
        script.ends(PEER, false);
        assert!(script.link.is_over());
        assert_eq!(script.ended(), (By::Peer, "lost", 1006));
    }
}

#[test]
fn stopping_closes_whoever_has_not_got_its_target() {
    for named in [false, true] {
        let mut script = greeted();
        if named {
            script.peer_sends(&text(TCP));
        }
        script.with(|link, hot, ctx| {
            link.close(By::Proxy, Why::Shutdown, CloseCode::GOING_AWAY, hot, ctx);
        });
        script.deliver(PEER);
        script.work();
        assert_eq!((heard(&script), script.close_code()), (String::new(), Some(1001)));
        script.peer_sends(&close(1001));
        script.ends(PEER, false);
        assert!(script.link.is_over(), "named: {named}");
    }
}

/// A client that takes nothing is not read, so that what it is told waits in front of its answers.
#[test]
fn a_client_that_does_not_take_the_greeting_is_not_read() {
    let entrance = Entrance::WebSocket { names: Some(Names::Json) };
    let mut script = Script::begin(entrance, Limits::default(), Messages::default());
    script.takes(PEER, 10);
    script.peer_sends(&[HEAD.as_bytes(), &text(TCP)].concat());
    assert!(!script.link.may_read(PEER));
    script.takes(PEER, usize::MAX);
    assert!(script.dials);
    let got = String::from_utf8_lossy(&script.got[PEER]).into_owned();
    assert!(got.ends_with(GREETING), "{got}");
}
