//! Targets that are named in the stream, on either side of a relay, under a fake clock.

use super::script::*;
use super::*;
use crate::config::Messages;
use crate::policy::admit::Status;
use crate::proto::close::CloseCode;
use crate::proto::connect::Form;
use crate::proto::encoding::Encoding;
use crate::proto::frame::Opcode;
use crate::session::ended::{By, Why};

const FULL: &str = "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n";
const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection Established\r\n\r\n";

/// A far end behind a WebSocket, past its opening handshake.
fn far() -> Script {
    let entrance = Entrance::WebSocket { names: Some(Names::Connect(Connect::Answer)) };
    let mut script = Script::begin(entrance, Limits::default(), Messages::default());
    script.peer_sends(HEAD.as_bytes());
    assert!(script.got[PEER].starts_with(b"HTTP/1.1 101 "), "let in before it names a target");
    script.got[PEER].clear();
    script
}

fn stream(connect: Connect) -> Script {
    Script::begin(Entrance::Connect(connect), Limits::default(), Messages::default())
}

fn target(script: &Script) -> Option<String> {
    script.link.named().map(ToString::to_string)
}

/// Every cut of the head, and of what follows it in the same message. But a first message that
/// ends within the port is a bare head, as far as anybody can tell.
#[test]
fn a_far_end_dials_what_is_named_and_answers_in_the_stream() {
    let said = [FULL.as_bytes(), b"behind"].concat();
    let in_port = "CONNECT a.example:4".len().."CONNECT a.example:443 ".len();
    for cut in (0..said.len()).filter(|cut| !in_port.contains(cut)) {
        let mut script = far();
        script.peer_sends(&binary(&said[..cut]));
        script.peer_sends(&binary(&said[cut..]));
        assert!(script.dials, "cut at {cut}");
        assert_eq!(target(&script).as_deref(), Some("tcp://a.example:443"), "cut at {cut}");
        script.peer_sends(&binary(b" and more"));
        script.connect(Far::Raw);
        assert_eq!(script.heard().0, ESTABLISHED);
        assert_eq!(script.got[TARGET], b"behind and more", "cut at {cut}");
        assert_eq!(
            target(&script).as_deref(),
            Some("tcp://a.example:443"),
            "for as long as it lives"
        );
        assert_eq!(script.link.bytes_from(PEER), 15);
        script.target_sends(b"answer");
        assert!(script.heard().0.ends_with(b"\r\n\r\nanswer"));
    }
}

#[test]
fn a_bare_head_is_a_message_of_its_own_and_gets_no_answer() {
    let mut script = far();
    let head = [frame(false, Opcode::Binary, b"CONNECT a.exam"), binary(b"")].concat();
    script.peer_sends(&head[..head.len() - 6]);
    assert!(!script.dials, "its message has not ended");
    script.peer_sends(&frame(true, Opcode::Continuation, b"ple:443"));
    assert!(script.dials);
    script.peer_sends(&binary(b"first data"));
    script.connect(Far::Raw);
    assert_eq!(script.got[TARGET], b"first data");
    assert_eq!(script.heard().0, b"");
}

/// A keepalive is no first message, and what is cut behind the host is no bare head.
#[test]
fn empty_messages_and_pings_may_come_before_the_head() {
    let mut script = far();
    script.peer_sends(&[binary(b""), frame(true, Opcode::Ping, b"hi")].concat());
    assert_eq!(script.heard().1, [(Opcode::Pong, b"hi".to_vec())]);
    script.peer_sends(&binary(b"CONNECT a.example:443"));
    assert!(script.dials);
}

#[test]
fn a_far_end_refuses_in_the_stream_and_closes() {
    for (status, head, code) in [
        (Status::Forbidden, "HTTP/1.1 403 ", 1008),
        (Status::BadGateway, "HTTP/1.1 502 ", 1014),
        (Status::GatewayTimeout, "HTTP/1.1 504 ", 1014),
        (Status::Unavailable, "HTTP/1.1 503 ", 1013),
    ] {
        for (said, answered) in [(FULL, true), ("CONNECT a.example:443", false)] {
            let mut script = far();
            script.peer_sends(&binary(said.as_bytes()));
            script.refuse(status);
            let answer = String::from_utf8(script.heard().0).unwrap();
            assert_eq!(answer.starts_with(head), answered, "{answer:?}");
            assert_eq!(answer.is_empty(), !answered, "{answer:?}");
            assert_eq!(script.close_code(), Some(code));
            assert!(script.fin[PEER]);
            script.ends(PEER, false);
            assert!(script.link.is_over());
        }
    }
}

#[test]
fn what_is_no_head_is_answered_at_once() {
    for (said, status) in [
        ("GET / HTTP/1.1\r\n\r\n", "405"),
        ("CONNECT a.example HTTP/1.1\r\n\r\n", "400"),
        ("CONNECT ::1:443 HTTP/1.1\r\n\r\n", "400"),
        ("\x16\x03\x01\x02", "400"),
        ("\0", "400"),
    ] {
        let mut over_websocket = far();
        over_websocket.peer_sends(&binary(said.as_bytes()));
        let answer = String::from_utf8(over_websocket.heard().0).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{said:?}: {answer}");
        assert_eq!(over_websocket.close_code(), Some(1008));

        let mut plain = stream(Connect::Forward(Form::Full));
        plain.peer_sends(said.as_bytes());
        assert_eq!(plain.got[PEER], answer.as_bytes(), "{said:?}");
        assert!(plain.fin[PEER]);
        plain.ends(PEER, false);
        assert!(plain.link.is_over());
    }
}

#[test]
fn a_head_that_does_not_come_is_answered_408_in_time() {
    for mut script in [far(), stream(Connect::Answer), stream(Connect::Forward(Form::Bare))] {
        let over_websocket = script.link.legs[PEER].session().is_some();
        let said = b"CONNECT a.example:443 HTTP/1.1\r\nX: ";
        script.peer_sends(&if over_websocket { binary(said) } else { said.to_vec() });
        script.at(secs(9));
        assert!(script.got[PEER].is_empty());
        script.at(secs(1));
        let got = String::from_utf8_lossy(&script.got[PEER]).into_owned();
        assert!(got.contains("HTTP/1.1 408 "), "{got}");
        script.ends(PEER, false);
        assert!(script.link.is_over());
        assert_eq!(script.ended(), (By::Proxy, "refused", 1006));
    }
}

#[test]
fn a_peer_that_goes_before_it_names_a_target_leaves_nothing() {
    let mut script = far();
    script.peer_sends(&close(1000));
    assert_eq!(script.close_code(), Some(1000));
    script.ends(PEER, false);
    assert!(script.link.is_over());
    assert_eq!(script.ended(), (By::Peer, "close", 1000));

    let mut script = far();
    script.peer_sends(&binary(b"CONNECT a.exa"));
    script.ends(PEER, false);
    assert!(script.link.is_over());
    assert_eq!(script.ended(), (By::Peer, "lost", 1006));

    let mut script = stream(Connect::Answer);
    script.peer_sends(b"CONNECT a.exa");
    script.ends(PEER, false);
    assert!(script.link.is_over());
    assert_eq!(script.ended(), (By::Peer, "no-request", 1006));
}

#[test]
fn a_near_end_passes_the_head_on_in_either_form() {
    let asked =
        [b"CONNECT a.example:443 HTTP/1.0\r\nUser-Agent: x\r\n\r\n", &b"first"[..]].concat();
    for (form, sent, told) in [
        (Form::Full, FULL.as_bytes(), &b""[..]),
        (Form::Bare, b"CONNECT a.example:443", ESTABLISHED),
    ] {
        let mut script = stream(Connect::Forward(form));
        script.peer_sends(&asked);
        assert_eq!(target(&script).as_deref(), Some("tcp://a.example:443"));
        script.connect(Far::Raw);
        assert_eq!(script.got[TARGET], [sent, b"first"].concat());
        assert_eq!(script.got[PEER], told);
        script.target_sends(b"HTTP/1.1 200 OK\r\n\r\nhello");
        assert!(script.got[PEER].ends_with(b"hello"));
    }
}

#[test]
fn a_near_end_answers_for_a_remote_that_cannot_be_had() {
    let mut script = stream(Connect::Forward(Form::Bare));
    script.peer_sends(FULL.as_bytes());
    script.refuse(Status::BadGateway);
    assert!(script.got[PEER].starts_with(b"HTTP/1.1 502 "), "before any 200");
    assert!(script.fin[PEER]);
}

/// A peer that closes while its target is dialled is heard when the dial has come to something.
#[test]
fn stopping_closes_whoever_has_not_named_a_target() {
    for named in [false, true] {
        let mut script = far();
        if named {
            script.peer_sends(&binary(FULL.as_bytes()));
        }
        script.with(|link, hot, ctx| {
            link.close(By::Proxy, Why::Shutdown, CloseCode::GOING_AWAY, hot, ctx);
        });
        script.deliver(PEER);
        script.work();
        assert_eq!(script.close_code(), Some(1001));
        script.peer_sends(&close(1001));
        script.ends(PEER, false);
        assert!(script.link.is_over(), "named: {named}");
    }
}

/// The far end that goes, breaks the protocol or says nothing, before it has answered.
#[test]
fn a_near_end_answers_for_a_far_end_that_does_not() {
    let asked = || {
        let mut script = stream(Connect::Forward(Form::Full));
        script.peer_sends(FULL.as_bytes());
        script.ask();
        script.target_sends(ANSWER.as_bytes());
        assert!(hear(Role::Server, &script.got[TARGET]).0.starts_with(FULL.as_bytes()));
        script
    };
    let masked = binary(b"HTTP/1.1 200 OK");
    let polite = &[0x88, 0x02, 0x03, 0xe8][..];
    for (said, status) in [(&masked[..], "502"), (polite, "502"), (b"", "504")] {
        let mut script = asked();
        script.target_sends(said);
        script.at(secs(20));
        let got = String::from_utf8(script.got[PEER].clone()).unwrap();
        assert!(got.starts_with(&format!("HTTP/1.1 {status} ")), "{said:x?}: {got}");
        assert!(script.fin[PEER]);
    }
    let mut script = asked();
    script.ends(TARGET, false);
    assert!(script.got[PEER].starts_with(b"HTTP/1.1 502 "));

    let mut script = asked();
    let answer = [&[0x82, ESTABLISHED.len() as u8], ESTABLISHED, polite].concat();
    script.target_sends(&answer);
    script.at(secs(20));
    assert_eq!(script.got[PEER], ESTABLISHED, "once it has answered, it is its answer");
}

/// The loop says what is long in parts.
#[test]
fn nothing_follows_what_cannot_be_said() {
    let messages = Messages { encoding: Encoding::Text, ..Messages::default() };
    let mut script = Script::open(Limits::default(), messages);
    for part in [b"good\xff", b" more"] {
        script.with(|link, hot, ctx| link.say(PEER, part, hot, ctx));
        script.deliver(PEER);
    }
    script.work();
    assert_eq!(script.heard().0, b"good");
    assert_eq!(script.close_code(), Some(1007));
}

/// A tool whose far end answers, or goes without an answer, when it has been told the end.
#[test]
fn nothing_follows_the_end_of_a_near_end() {
    let mut script = stream(Connect::Forward(Form::Full));
    script.peer_sends(FULL.as_bytes());
    script.connect(Far::Raw);
    script.with(|link, hot, ctx| {
        link.close(By::Proxy, Why::Shutdown, CloseCode::GOING_AWAY, hot, ctx);
    });
    script.deliver(PEER);
    script.work();
    assert!(script.fin[PEER]);
    script.ends(TARGET, false);
    assert_eq!(script.got[PEER], b"");

    let mut script = stream(Connect::Forward(Form::Full));
    script.peer_sends(FULL.as_bytes());
    script.ask();
    script.target_sends(ANSWER.as_bytes());
    script.at(secs(20));
    assert!(script.fin[PEER]);
    let told = script.got[PEER].clone();
    assert!(told.starts_with(b"HTTP/1.1 504 "));
    script.target_sends(&[&[0x82, ESTABLISHED.len() as u8], ESTABLISHED].concat());
    assert_eq!(script.got[PEER], told);
}

#[test]
fn a_tool_that_was_answered_in_place_of_its_far_end_must_go() {
    let mut script = stream(Connect::Forward(Form::Full));
    script.peer_sends(FULL.as_bytes());
    script.connect(Far::Raw);
    script.ends(TARGET, false);
    assert!(script.got[PEER].starts_with(b"HTTP/1.1 502 "));
    assert!(script.fin[PEER]);
    script.at(secs(5));
    assert!(script.link.is_over(), "nothing else would end it");
}
