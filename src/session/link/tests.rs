//! A link under a fake clock, between two scripted ends.

use super::script::*;
use super::*;
use crate::config::Messages;
use crate::policy::admit::{Refusal, Status};
use crate::proto::close::CloseCode;
use crate::proto::encoding::Encoding;
use crate::proto::frame::{FrameError, Opcode};
use crate::session::ended::{By, Why};

#[test]
fn relays_both_ways() {
    let mut s = Script::plain();
    s.peer_sends(&[binary(b"to the "), frame(true, Opcode::Text, b"target")].concat());
    s.target_sends(b"to the peer");
    assert_eq!(s.got[TARGET], b"to the target");
    assert_eq!(s.got[PEER], b"\x82\x0bto the peer");
    assert_eq!((s.link.bytes_from(PEER), s.link.bytes_from(TARGET)), (13, 11));
}

#[test]
fn the_first_frames_may_come_with_the_request() {
    let mut s = Script::new(Limits::default(), Messages::default());
    s.peer_sends(&[HEAD.as_bytes(), &binary(b"early"), &binary(b" bird")].concat());
    assert!(s.got[TARGET].is_empty());
    s.connect(Far::Raw);
    assert_eq!(s.got[TARGET], b"early bird");
}

#[test]
fn a_ping_is_answered_and_does_not_reach_the_target() {
    let mut s = Script::plain();
    let wire = [
        frame(false, Opcode::Binary, b"be"),
        frame(true, Opcode::Ping, b"one"),
        frame(true, Opcode::Ping, b""),
        frame(true, Opcode::Continuation, b"fore"),
    ];
    s.peer_sends(&wire.concat());
    assert_eq!(s.got[TARGET], b"before");
    let pong = |payload: &[u8]| (Opcode::Pong, payload.to_vec());
    assert_eq!(s.heard().1, [pong(b"one"), pong(b"")]);
}

#[test]
fn of_many_pings_that_cannot_be_answered_the_latest_is() {
    let mut s = Script::plain();
    s.takes(PEER, 3);
    s.target_sends(b"half a frame");
    for n in 0..50u8 {
        s.peer_sends(&frame(true, Opcode::Ping, &[n]));
    }
    s.takes(PEER, usize::MAX);
    assert_eq!(s.heard(), (b"half a frame".to_vec(), vec![(Opcode::Pong, vec![49])]));
    // Nor does a flood in one read cost a write for each.
    let flood: Vec<u8> = (0..1000u32).flat_map(|_| frame(true, Opcode::Ping, b"!")).collect();
    s.peer_sends(&flood);
    assert!(s.heard().1.len() < 40, "{}", s.heard().1.len());
}

#[test]
fn a_ping_behind_our_close_is_not_answered() {
    let mut s = Script::plain();
    s.ends(TARGET, false);
    s.peer_sends(&[frame(true, Opcode::Ping, b"?"), frame(true, Opcode::Ping, b"")].concat());
    assert_eq!((s.heard().1.len(), s.close_code()), (1, Some(1000)));
}

// The closing table, row by row, with bytes queued that the sink does not take at first.

#[test]
fn target_sends_fin() {
    let mut s = Script::plain();
    s.takes(PEER, 5);
    s.target_sends(&[7; 1000]);
    s.ends(TARGET, false);
    assert_eq!(s.close_code(), None);
    s.takes(PEER, usize::MAX);
    assert_eq!((s.heard().0, s.close_code()), (vec![7; 1000], Some(1000)));
    // The target's read side is still open, and the peer is read on until its Close.
    s.peer_sends(&binary(b"late"));
    assert_eq!((s.got[TARGET].as_slice(), s.fin), (&b"late"[..], [false, false]));
    s.peer_sends(&[close(1000), binary(b"ignored")].concat());
    assert_eq!((s.got[TARGET].as_slice(), s.fin), (&b"late"[..], [true, true]));
    assert!(!s.link.is_over());
    s.ends(PEER, false);
    assert!(s.link.is_over());
    assert_eq!(s.ended(), (By::Target, "eof", 1000));
    assert_eq!(s.pool.lent(), 0);
}

#[test]
fn peer_sends_close() {
    let mut s = Script::plain();
    s.takes(TARGET, 10);
    s.peer_sends(&[binary(&[1; 500]), close(4000), binary(b"ignored")].concat());
    assert_eq!((s.close_code(), s.fin), (Some(4000), [true, false]));
    s.takes(TARGET, usize::MAX);
    assert_eq!((s.got[TARGET].len(), s.fin[TARGET]), (500, true));
    s.target_sends(b"nobody hears this");
    assert_eq!(s.heard().0, b"");
    s.ends(PEER, false);
    s.ends(TARGET, false);
    assert!(s.link.is_over());
    assert_eq!(s.ended(), (By::Peer, "close", 4000));
}

#[test]
fn peer_sends_close_without_a_code() {
    let mut s = Script::plain();
    s.peer_sends(&frame(true, Opcode::Close, b""));
    assert_eq!(s.got[PEER], [0x88, 0]);
    assert_eq!(s.ended(), (By::Peer, "close", 1005));
}

#[test]
fn peer_ends_without_close() {
    for reset in [false, true] {
        let mut s = Script::plain();
        s.takes(TARGET, 10);
        s.peer_sends(&binary(&[2; 500]));
        s.ends(PEER, reset);
        s.takes(TARGET, usize::MAX);
        assert_eq!((s.got[TARGET].len(), s.fin[TARGET]), (500, true), "reset: {reset}");
        assert_eq!(s.close_code(), None);
        s.at(secs(4));
        assert!(!s.link.is_over());
        s.at(secs(2));
        assert!(s.link.is_over(), "the Close deadline");
        assert_eq!(s.ended(), (By::Peer, if reset { "reset" } else { "lost" }, 1006));
    }
}

#[test]
fn protocol_error() {
    let mut s = Script::plain();
    s.peer_sends(&[binary(b"good"), vec![0xff, 0xff], binary(b"bad")].concat());
    assert_eq!((s.got[TARGET].as_slice(), s.fin), (&b"good"[..], [true, true]));
    assert_eq!(s.close_code(), Some(1002));
    s.peer_sends(&[3; 1 << 20]); // discarded, and no life for the deadline
    s.ends(TARGET, false);
    s.at(secs(6));
    assert!(s.link.is_over());
    let error = FrameError::ReservedBits(0x70);
    assert_eq!(s.link.ended().unwrap().why, Why::Protocol(error));
}

#[test]
fn target_resets() {
    let mut s = Script::plain();
    s.takes(PEER, 5);
    s.target_sends(&[9; 300]);
    s.ends(TARGET, true);
    s.takes(PEER, usize::MAX);
    assert_eq!((s.heard().0.len(), s.close_code()), (300, Some(1011)));
    s.peer_sends(&[binary(b"to nobody"), close(1011)].concat());
    s.ends(PEER, false);
    assert!(s.link.is_over());
    assert_eq!(s.ended(), (By::Target, "reset", 1011));
}

#[test]
fn a_transport_that_fails_while_it_is_not_read_must_make_progress() {
    let mut s = Script::plain();
    s.takes(PEER, 5);
    s.target_sends(&[9; 300]);
    s.with(|link, _, ctx| link.on_failure(TARGET, ctx));
    s.at(secs(4));
    s.takes(PEER, 5);
    s.at(secs(4));
    assert!(!s.link.is_over());
    s.at(secs(1));
    assert!(s.link.is_over());
    assert_eq!(s.ended(), (By::Target, "reset", 1011));
}

#[test]
fn a_write_to_the_target_fails() {
    let mut s = Script::plain();
    s.with(|link, _, ctx| link.on_write_error(TARGET, ctx));
    s.target_sends(b"its last words");
    s.ends(TARGET, false);
    assert_eq!((s.heard().0, s.close_code()), (b"its last words".to_vec(), Some(1011)));
}

/// Its reads are paused behind a target that takes nothing: the deadline ends it, for that reason.
#[test]
fn a_write_fails_and_nothing_more_can_be_heard() {
    let mut s = Script::plain();
    s.takes(TARGET, 1);
    s.peer_sends(&binary(b"waits"));
    s.with(|link, _, ctx| link.on_write_error(PEER, ctx));
    s.at(secs(5));
    assert!(s.link.is_over());
    assert_eq!(s.ended(), (By::Peer, "reset", 1006));
}

#[test]
fn a_write_to_the_peer_fails() {
    let mut s = Script::plain();
    s.with(|link, _, ctx| link.on_write_error(PEER, ctx));
    s.peer_sends(&binary(b"its last words"));
    s.ends(PEER, true);
    assert_eq!((s.got[TARGET].as_slice(), s.fin[TARGET]), (&b"its last words"[..], true));
    assert_eq!(s.ended(), (By::Peer, "reset", 1006));
}

#[test]
fn target_refuses() {
    let mut s = Script::new(Limits::default(), Messages::default());
    s.peer_sends(&[HEAD.as_bytes(), &binary(b"early")].concat());
    let refusal = Refusal::new(Status::BadGateway, "down");
    s.with(|link, hot, ctx| link.refuse(&refusal, hot, ctx));
    s.deliver(PEER);
    s.work();
    assert!(s.got[PEER].starts_with(b"HTTP/1.1 502 ") && s.fin[PEER]);
    s.ends(PEER, false);
    assert!(s.link.is_over() && s.got[TARGET].is_empty());
}

#[test]
fn a_peer_that_fails_while_its_target_is_dialled_is_done() {
    let mut s = Script::new(Limits::default(), Messages::default());
    s.peer_sends(HEAD.as_bytes());
    s.with(|link, _, ctx| link.on_failure(PEER, ctx));
    assert!(s.link.is_over() && !s.link.is_dialling());
}

#[test]
fn the_close_deadline_fires() {
    let mut s = Script::plain();
    s.ends(TARGET, false);
    s.at(secs(4));
    assert!(!s.link.is_over());
    s.at(secs(1));
    assert!(s.link.is_over());
    assert_eq!(s.ended(), (By::Target, "eof", 1000));
}

#[test]
fn what_waits_goes_back_to_the_pool_when_the_link_is_given_up() {
    let mut s = Script::plain();
    s.takes(PEER, 10);
    s.takes(TARGET, 10);
    s.target_sends(&[1; 5000]);
    s.peer_sends(&binary(&[2; 100]));
    assert!(s.pool.lent() > 5000);
    s.with(|link, _, ctx| link.on_failure(TARGET, ctx));
    s.at(secs(5));
    assert!(s.link.is_over());
    assert_eq!(s.pool.lent(), 0);
}

#[test]
fn a_slow_reader_gets_all_that_was_queued() {
    let mut s = Script::plain();
    s.takes(PEER, 0);
    s.target_sends(&[5; 60_000]);
    s.ends(TARGET, false);
    for _ in 0..200 {
        s.at(secs(4));
        s.takes(PEER, 301);
    }
    assert_eq!((s.heard().0.len(), s.close_code()), (60_000, Some(1000)));
}

// Timers.

#[test]
fn stopping_says_1001_and_delivers_what_is_in_flight() {
    let mut s = Script::plain();
    s.takes(PEER, 5);
    s.target_sends(&[8; 100]);
    s.with(|link, hot, ctx| {
        link.close(By::Proxy, Why::Shutdown, CloseCode::GOING_AWAY, hot, ctx);
    });
    s.deliver(PEER);
    s.takes(PEER, usize::MAX);
    s.target_sends(b"too late");
    assert_eq!((s.heard().0, s.close_code()), (vec![8; 100], Some(1001)));
    s.peer_sends(&[binary(b"in flight"), close(1001)].concat());
    assert_eq!((s.got[TARGET].as_slice(), s.fin), (&b"in flight"[..], [true, true]));
}

// Encodings and echo.

#[test]
fn target_bytes_that_are_no_text_close_with_1007() {
    let messages = Messages { encoding: Encoding::Text, ..Messages::default() };
    for (bytes, ends) in [(&b"good\xffbad"[..], false), (b"good\xe2\x82", true)] {
        let mut s = Script::open(Limits::default(), messages.clone());
        s.target_sends(bytes);
        if ends {
            s.ends(TARGET, false);
        }
        assert_eq!((s.heard().0, s.close_code()), (b"good".to_vec(), Some(1007)));
        assert_eq!(s.ended(), (By::Target, "protocol-error", 1007));
        s.peer_sends(&close(1007));
        s.ends(PEER, false);
        if !ends {
            s.ends(TARGET, false);
        }
        assert!(s.link.is_over());
    }
}

#[test]
fn an_echo_keeps_messages_apart_and_ends_with_the_peers_code() {
    let mut s = Script::new(Limits::default(), Messages::default());
    s.peer_sends(HEAD.as_bytes());
    s.connect(Far::Echo);
    s.got[PEER].clear();
    let parts = [
        frame(false, Opcode::Text, "é".as_bytes()),
        frame(true, Opcode::Ping, b"p"),
        frame(true, Opcode::Continuation, b"!"),
        binary(&[4; 300]),
    ];
    s.peer_sends(&parts.concat());
    let mut expected = b"\x01\x02\xc3\xa9\x8a\x01p\x80\x01!\x82\x7e\x01\x2c".to_vec();
    expected.extend([4; 300]);
    assert_eq!(s.got[PEER], expected);
    s.peer_sends(&[binary(b"last"), close(3000), binary(b"ignored")].concat());
    expected.extend(b"\x82\x04last\x88\x02\x0b\xb8");
    assert_eq!((&s.got[PEER], s.fin[PEER]), (&expected, true));
    s.ends(PEER, false);
    assert!(s.link.is_over());
}

#[test]
fn an_echo_of_bad_text_fails_at_the_offending_byte() {
    let mut s = Script::new(Limits::default(), Messages::default());
    s.peer_sends(HEAD.as_bytes());
    s.connect(Far::Echo);
    s.got[PEER].clear();
    let wire = frame(true, Opcode::Text, b"\xce\xba\xff and more to come");
    s.peer_sends(&wire[..6 + 2]);
    assert_eq!(s.close_code(), None);
    s.peer_sends(&wire[6 + 2..6 + 3]);
    assert_eq!(s.close_code(), Some(1007));
}
