//! The other direction: streams in, WebSocket out, and between two WebSockets; under a fake clock.

use super::script::*;
use super::*;
use crate::config::Messages;
use crate::proto::close::CloseCode;
use crate::proto::encoding::Encoding;
use crate::proto::frame::Opcode;
use crate::session::ended::{By, Why};
use base64::engine::general_purpose::STANDARD;
use base64::Engine;

fn asking(mut s: Script) -> Script {
    s.ask();
    s
}

/// A stream in, a WebSocket out, past the opening handshake.
fn client() -> Script {
    let mut s = asking(Script::stream());
    s.target_sends(ANSWER.as_bytes());
    s
}

fn bare(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    [&[0x80 | opcode as u8, payload.len() as u8], payload].concat()
}

#[test]
fn a_stream_waits_for_its_target_and_the_first_frames_may_come_with_the_answer() {
    let mut s = Script::stream();
    s.peer_sends(b"early");
    let mut s = asking(s);
    s.target_sends(&[ANSWER.as_bytes(), &bare(Opcode::Text, b"bird")].concat());
    assert_eq!(hear(Role::Server, &s.got[TARGET]).0, b"early");
    assert_eq!(s.got[PEER], b"bird");
    s.peer_sends(b"and more");
    assert_eq!([PEER, TARGET].map(|side| s.link.messages_from(side)), [2, 1]);
}

#[test]
fn a_client_answers_pings_and_waits_for_the_server_to_end_tcp() {
    let mut s = client();
    s.target_sends(&[bare(Opcode::Ping, b"?"), bare(Opcode::Close, &[3, 233])].concat());
    let (_, control) = hear(Role::Server, &s.got[TARGET]);
    let expected = [(Opcode::Pong, b"?".to_vec()), (Opcode::Close, vec![3, 233])];
    assert_eq!(control, expected);
    assert_eq!((s.fin, s.ended()), ([true, false], (By::Target, "close", 1001)));
    s.ends(TARGET, false);
    assert!(s.fin[TARGET] && s.link.is_done(TARGET));
    s.ends(PEER, false);
    assert!(s.link.is_over());
}

#[test]
fn the_end_of_a_stream_is_a_close_to_the_server() {
    let mut s = client();
    s.takes(TARGET, 4);
    s.peer_sends(b"all of it");
    s.ends(PEER, false);
    s.takes(TARGET, usize::MAX);
    let close = (Opcode::Close, vec![3, 232]);
    assert_eq!(hear(Role::Server, &s.got[TARGET]), (b"all of it".to_vec(), vec![close]));
    s.target_sends(&[bare(Opcode::Binary, b"late"), bare(Opcode::Close, &[3, 232])].concat());
    assert_eq!((s.got[PEER].as_slice(), s.fin), (&b"late"[..], [true, false]));
    s.ends(TARGET, false);
    assert!(s.link.is_over());
    assert_eq!(s.ended(), (By::Peer, "eof", 1000));
}

#[test]
fn a_masked_frame_from_a_server_breaks_the_rules() {
    let mut s = client();
    s.target_sends(&binary(b"masked"));
    let (_, control) = hear(Role::Server, &s.got[TARGET]);
    assert_eq!(control[0].1[..2], [3, 234]);
    assert_eq!((s.fin, s.ended()), ([true, true], (By::Target, "protocol-error", 1002)));
}

#[test]
fn a_target_that_does_not_agree_is_502_to_whoever_asked() {
    for answer in ["HTTP/1.1 403 Forbidden\r\n\r\n", &ANSWER.replace("s3p", "S3p"), ""] {
        let mut s = Script::new(Limits::default(), Messages::default());
        s.peer_sends(HEAD.as_bytes());
        let mut s = asking(s);
        match answer {
            "" => s.ends(TARGET, false),
            _ => s.target_sends(answer.as_bytes()),
        }
        assert!(s.got[PEER].starts_with(b"HTTP/1.1 502 ") && s.fin[PEER], "{answer}");
        assert!(s.link.is_done(TARGET));
        let mut s = asking(Script::stream());
        match answer {
            "" => s.ends(TARGET, true),
            _ => s.target_sends(answer.as_bytes()),
        }
        assert_eq!((s.got[PEER].as_slice(), s.fin[PEER]), (&b""[..], true), "{answer}");
    }
}

#[test]
fn a_target_that_does_not_answer_is_504() {
    let mut s = Script::new(Limits::default(), Messages::default());
    s.peer_sends(HEAD.as_bytes());
    let mut s = asking(s);
    s.at(secs(9));
    assert!(s.got[PEER].is_empty());
    s.at(secs(1));
    assert!(s.got[PEER].starts_with(b"HTTP/1.1 504 "));
}

#[test]
fn a_request_that_the_target_never_took_goes_back_to_the_pool() {
    let mut s = Script::stream();
    s.takes(TARGET, 10);
    let request = ClientRequest::new("a", "/", &[], &[], *b"the sample nonce");
    s.connect(Far::WebSocket(request));
    assert!(s.pool.lent() > 0);
    s.at(secs(20));
    assert!(s.link.is_done(TARGET));
    assert_eq!(s.pool.lent(), 0);
}

#[test]
fn between_two_websockets_close_codes_travel() {
    let mut s = Script::new(Limits::default(), Messages::default());
    s.peer_sends(HEAD.as_bytes());
    let mut s = asking(s);
    s.target_sends(&[ANSWER.as_bytes(), &bare(Opcode::Text, b"hi")].concat());
    s.got[PEER].drain(..s.got[PEER].len() - 4); // its 101
    s.peer_sends(&[binary(b"ho"), close(4001)].concat());
    let (payload, control) = hear(Role::Server, &s.got[TARGET]);
    assert_eq!((payload, &control[0].1[..2]), (b"ho".to_vec(), &4001u16.to_be_bytes()[..]));
    assert_eq!((s.heard().0, s.close_code()), (b"hi".to_vec(), Some(4001)));
    s.target_sends(&bare(Opcode::Close, &4001u16.to_be_bytes()));
    s.ends(PEER, false);
    s.ends(TARGET, false);
    assert!(s.link.is_over());
}

// Streams on both sides.

#[test]
fn streams_half_close_each_on_its_own() {
    let mut s = Script::stream();
    s.connect(Far::Raw);
    s.peer_sends(b"question");
    s.ends(PEER, false);
    assert_eq!((s.got[TARGET].as_slice(), s.fin), (&b"question"[..], [false, true]));
    s.at(secs(3600));
    s.target_sends(b"answer, later");
    s.ends(TARGET, false);
    assert_eq!((s.got[PEER].as_slice(), s.fin), (&b"answer, later"[..], [true, true]));
    assert!(s.link.is_over());
}

#[test]
fn a_stream_that_resets_ends_the_other() {
    let mut s = Script::stream();
    s.connect(Far::Raw);
    s.takes(PEER, 3);
    s.target_sends(b"last words");
    s.ends(TARGET, true);
    s.takes(PEER, usize::MAX);
    assert_eq!((s.got[PEER].as_slice(), s.fin[PEER]), (&b"last words"[..], true));
    s.peer_sends(b"to nobody");
    s.at(secs(6));
    assert!(s.link.is_over());
}

#[test]
fn stopping_ends_both_streams_behind_what_is_in_flight() {
    let mut s = Script::stream();
    s.connect(Far::Raw);
    s.takes(TARGET, 3);
    s.peer_sends(b"in flight");
    s.with(|link, hot, ctx| {
        link.close(By::Proxy, Why::Shutdown, CloseCode::GOING_AWAY, hot, ctx);
    });
    s.deliver(PEER);
    s.takes(TARGET, usize::MAX);
    assert_eq!((s.got[TARGET].as_slice(), s.fin), (&b"in flight"[..], [true, true]));
}

/// Between two WebSockets: text of base64 is longer than what it stands for, and is written behind
/// what was read, which must not be there any more.
#[test]
fn what_grows_does_not_overwrite_what_follows_a_ping() {
    for (text_lossy, encoding) in [(false, Encoding::Base64), (true, Encoding::Text)] {
        let messages = Messages { encoding, text_lossy, ..Messages::default() };
        let mut s = Script::new(Limits::default(), messages);
        s.peer_sends(HEAD.replace("GET /", "GET /?encoding=binary").as_bytes());
        s.ask();
        s.target_sends(ANSWER.as_bytes());
        s.got[PEER].clear();
        let ping = frame(true, Opcode::Ping, b"p");
        s.peer_sends(&[binary(&[b'a'; 100]), ping, binary(&[b'b'; 100])].concat());
        let (payload, control) = hear(Role::Server, &s.got[TARGET]);
        assert!(control.is_empty(), "{control:?}");
        let expected = [[b'a'; 100], [b'b'; 100]].concat();
        assert!(payload == expected || payload == STANDARD.encode(&expected).as_bytes());
        assert_eq!(s.heard().1, [(Opcode::Pong, b"p".to_vec())]);
    }
}

/// A client that has closed altogether, which shows behind the end of its stream, and a target that
/// takes no notice.
#[test]
fn a_stream_that_fails_behind_its_end_is_not_kept_for_ever() {
    let mut s = Script::stream();
    s.connect(Far::Raw);
    s.ends(PEER, false);
    s.at(secs(3600));
    assert!(!s.link.is_over(), "it may go on as long as it likes");
    s.with(|link, _, ctx| link.on_failure(PEER, ctx));
    s.at(secs(5));
    assert!(s.link.is_over());
}
