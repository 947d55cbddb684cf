//! Half-close across a WebSocket (RFC 6455 §5.5.1), under a fake clock.

use super::script::*;
use super::*;
use crate::config::Messages;
use crate::proto::frame::Opcode;
use crate::session::ended::By;

fn half_closing() -> Messages {
    Messages { half_close: Some(secs(5)), ..Messages::default() }
}

fn open() -> Script {
    Script::open(Limits::default(), half_closing())
}

#[test]
fn a_peer_that_closes_gets_the_rest_of_the_stream_first() {
    let mut script = open();
    script.peer_sends(&[binary(b"question"), close(1000)].concat());
    assert_eq!(script.got[TARGET], b"question");
    assert!(script.fin[TARGET], "the target is told the end");
    assert_eq!(script.close_code(), None);
    script.target_sends(b"answer");
    script.at(secs(4));
    script.target_sends(b", all of it");
    script.at(secs(4));
    script.ends(TARGET, false);
    assert_eq!(script.heard().0, b"answer, all of it");
    assert_eq!(script.close_code(), Some(1000));
    assert!(script.fin[PEER]);
    script.ends(PEER, false);
    assert!(script.link.is_over());
    assert_eq!(script.ended(), (By::Peer, "close", 1000));
}

#[test]
fn a_target_that_says_nothing_more_is_not_waited_for() {
    let mut script = open();
    script.peer_sends(&close(1000));
    script.at(secs(4));
    assert_eq!(script.close_code(), None);
    script.at(secs(1));
    assert_eq!(script.close_code(), Some(1000), "after 5 s without progress");
    script.target_sends(b"too late");
    script.ends(PEER, false);
    script.at(secs(5));
    assert!(script.link.is_over());
    assert_eq!(script.heard().0, b"");
}

#[test]
fn a_close_without_a_code_is_answered_without_one() {
    let mut script = open();
    script.peer_sends(&frame(true, Opcode::Close, b""));
    script.ends(TARGET, false);
    let (_, control) = script.heard();
    assert_eq!(control, [(Opcode::Close, Vec::new())]);
}

#[test]
fn a_slow_reader_gets_all_that_is_left() {
    let mut script = open();
    script.takes(PEER, 0);
    script.target_sends(&[7; 1000]);
    script.peer_sends(&close(1000));
    script.ends(TARGET, false);
    for _ in 0..10 {
        script.at(secs(4));
        script.takes(PEER, 100);
    }
    script.takes(PEER, usize::MAX);
    assert_eq!(script.heard().0.len(), 1000);
    assert_eq!(script.close_code(), Some(1000));
}

#[test]
fn who_said_close_first_waits_longer_than_the_other_may_linger() {
    let mut script = open();
    script.ends(TARGET, false);
    assert_eq!(script.close_code(), Some(1000));
    script.at(secs(9));
    script.peer_sends(&binary(b"still here"));
    assert_eq!(script.got[TARGET], b"still here");
    script.at(secs(9));
    assert!(!script.link.is_over());
    script.at(secs(1));
    assert!(script.link.is_over());
}

#[test]
fn a_target_that_fails_meanwhile_is_told_as_1011() {
    let mut script = open();
    script.peer_sends(&close(1000));
    script.ends(TARGET, true);
    assert_eq!(script.close_code(), Some(1011), "the answer was cut");
}

#[test]
fn without_it_a_close_is_answered_at_once() {
    let mut script = Script::plain();
    script.peer_sends(&close(1000));
    assert_eq!(script.close_code(), Some(1000));
    script.target_sends(b"lost");
    assert_eq!(script.heard().0, b"");
}

/// What says that the peer has failed says that it waits for nothing.
#[test]
fn another_code_is_answered_at_once() {
    for code in [1001, 1011, 3000] {
        let mut script = open();
        script.peer_sends(&close(code));
        assert_eq!(script.close_code(), Some(code));
    }
}

#[test]
fn what_nobody_takes_is_not_waited_for() {
    let mut script = Script::begin(Entrance::Stream, Limits::default(), half_closing());
    script.ask();
    script.target_sends(ANSWER.as_bytes());
    script.ends(PEER, false);
    script.with(|link, _, ctx| link.on_write_error(PEER, ctx));
    script.at(secs(0));
    assert!(script.link.is_over(), "its far end might talk for hours");
}

/// There is no stream yet that it could be sent the rest of.
#[test]
fn a_peer_that_closes_before_it_names_a_target_is_answered_at_once() {
    let entrance = Entrance::WebSocket { names: Some(Names::Connect(Connect::Answer)) };
    let mut script = Script::begin(entrance, Limits::default(), half_closing());
    script.peer_sends(HEAD.as_bytes());
    script.got[PEER].clear();
    script.peer_sends(&[binary(b"CONNECT a.exa"), close(1000)].concat());
    assert_eq!(script.close_code(), Some(1000));
    assert!(script.fin[PEER]);
    script.ends(PEER, false);
    assert!(script.link.is_over());
    assert_eq!(script.ended(), (By::Peer, "close", 1000));
}

#[test]
fn a_peer_that_resets_while_it_lingers_is_not_waited_for() {
    let mut script = open();
    script.peer_sends(&close(1000));
    script.ends(PEER, true);
    script.at(secs(0));
    assert!(script.link.is_over(), "the target might talk for hours");
}

/// Without half-close's patience: from a silent end nothing can come.
#[test]
fn the_other_side_of_a_silent_end_is_told_at_once() {
    let mut script = Script::begin(Entrance::Stream, Limits::default(), half_closing());
    script.ask();
    script.target_sends(ANSWER.as_bytes());
    script.at(secs(30 + 20));
    assert_eq!(script.ended(), (By::Target, "pong-timeout", 1011));
    assert!(script.fin[PEER]);
    script.at(secs(5));
    assert!(script.link.is_over());
}
