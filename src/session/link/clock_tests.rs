//! A link as time passes: limits, timeouts, Pings and the impatience of a closing.

use std::time::Duration;

use super::script::*;
use super::*;
use crate::config::Messages;
use crate::proto::frame::Opcode;
use crate::session::ended::By;

#[test]
fn a_request_that_does_not_come_is_refused_in_time() {
    let mut s = Script::new(Limits::default(), Messages::default());
    s.peer_sends(&HEAD.as_bytes()[..30]);
    s.at(Duration::from_millis(9_999));
    assert!(s.got[PEER].is_empty());
    s.at(Duration::from_millis(1));
    assert!(s.got[PEER].starts_with(b"HTTP/1.1 408 ") && s.fin[PEER]);
}

#[test]
fn a_silent_peer_gets_a_ping_and_then_a_close() {
    let mut s = Script::plain();
    s.at(secs(29));
    assert_eq!(s.got[PEER], b"");
    s.at(secs(1));
    assert_eq!(s.got[PEER], [0x89, 0]);
    s.peer_sends(&frame(true, Opcode::Pong, b""));
    s.at(secs(30));
    assert_eq!(s.got[PEER], [0x89, 0, 0x89, 0]);
    s.at(secs(20));
    assert_eq!(s.close_code(), Some(1011));
    assert_eq!(s.ended(), (By::Peer, "pong-timeout", 1011));
    s.at(secs(5));
    assert!(s.link.is_over());
}

#[test]
fn a_pong_tells_the_round_trip_and_only_of_our_last_ping() {
    let mut s = Script::plain();
    let pong = |payload: &[u8]| frame(true, Opcode::Pong, payload);
    let micros = Duration::from_micros;
    s.peer_sends(&pong(b""));
    assert_eq!((s.link.pings(), s.link.round_trip()), (0, None), "nobody has asked");
    s.at(secs(30));
    s.at(micros(1_234));
    s.peer_sends(&pong(b"something else"));
    assert_eq!((s.link.pings(), s.link.round_trip()), (1, None));
    s.at(micros(766));
    s.peer_sends(&[&pong(b"")[..], &binary(b"x")].concat());
    assert_eq!((s.link.pings(), s.link.round_trip()), (1, Some(micros(2_000))));
    s.at(secs(7));
    s.peer_sends(&pong(b""));
    assert_eq!(s.link.round_trip(), Some(micros(2_000)), "said twice");
    // Any byte is a sign of life; the Pong that comes behind it still tells its time.
    s.at(secs(30));
    s.peer_sends(&binary(b"x"));
    s.at(micros(50));
    s.peer_sends(&pong(b""));
    assert_eq!((s.link.pings(), s.link.round_trip()), (2, Some(micros(50))));
    // In this very turn: less than the clock can tell, and still an answer.
    s.at(secs(30) + micros(950));
    s.peer_sends(&pong(b""));
    assert_eq!((s.link.pings(), s.link.round_trip()), (3, Some(micros(1))));
}

/// The clock of a Ping has 32 bits of microseconds.
#[test]
fn a_round_trip_is_right_when_its_clock_wraps() {
    let mut s = Script::plain();
    s.now = Time(4_264_917_000);
    s.peer_sends(&binary(b"x"));
    s.at(secs(30));
    assert_eq!(s.link.pings(), 1);
    assert!(s.now.0 < u32::MAX.into());
    s.at(Duration::from_micros(200_000));
    assert!(s.now.0 > u32::MAX.into());
    s.peer_sends(&frame(true, Opcode::Pong, b""));
    assert_eq!(s.link.round_trip(), Some(Duration::from_micros(200_000)));
}

#[test]
fn backpressure_does_not_look_like_death() {
    let limits = Limits { send_timeout: None, ..Limits::default() };
    let mut s = Script::open(limits, Messages::default());
    s.takes(TARGET, 1);
    s.peer_sends(&binary(b"waits"));
    s.peer_sends(&frame(true, Opcode::Pong, b"behind what waits"));
    s.at(secs(500));
    assert_eq!(s.heard().1, [(Opcode::Ping, vec![])]);
    s.takes(TARGET, usize::MAX);
    s.at(secs(29));
    assert_eq!((s.close_code(), s.got[TARGET].as_slice()), (None, &b"waits"[..]));
}

#[test]
fn idle_and_lifetime_close_with_1001() {
    let limits = Limits {
        idle_timeout: Some(secs(60)),
        max_lifetime: Some(secs(200)),
        ping_interval: None,
        ..Limits::default()
    };
    let mut s = Script::open(limits.clone(), Messages::default());
    s.at(secs(59));
    s.target_sends(b"x");
    s.at(secs(59));
    assert_eq!(s.close_code(), None);
    s.at(secs(1));
    assert_eq!((s.close_code(), s.ended().1), (Some(1001), "idle-timeout"));
    let mut s = Script::open(limits, Messages::default());
    for _ in 0..5 {
        s.at(secs(40));
        s.peer_sends(&binary(b"busy"));
    }
    assert_eq!((s.close_code(), s.ended().1), (Some(1001), "max-lifetime"));
}

#[test]
fn whoever_takes_nothing_is_given_up() {
    let mut s = Script::plain();
    s.takes(PEER, 3);
    s.target_sends(b"stuck");
    s.at(secs(59));
    s.takes(PEER, 1); // a byte is progress
    s.at(secs(59));
    assert!(s.link.ended().is_none());
    s.at(secs(1));
    assert_eq!(s.ended(), (By::Peer, "send-timeout", 1006));
    assert!(s.link.is_done(PEER) && s.fin[TARGET]);
    let mut s = Script::plain();
    s.takes(TARGET, 3);
    s.peer_sends(&binary(b"stuck"));
    s.at(secs(60));
    assert_eq!((s.ended(), s.close_code()), ((By::Target, "send-timeout", 1011), Some(1011)));
    assert_eq!(s.pool.lent(), 0);
}

/// What it still says reaches the target, but gains it nothing.
#[test]
fn a_peer_that_goes_on_behind_its_time_is_given_up() {
    let limits = Limits { max_lifetime: Some(secs(10)), ..Limits::default() };
    let mut s = Script::open(limits, Messages::default());
    s.at(secs(10));
    assert_eq!(s.close_code(), Some(1001));
    for _ in 0..4 {
        s.at(secs(1));
        s.peer_sends(&binary(b"more"));
    }
    assert!(!s.link.is_over());
    s.at(secs(1));
    assert!(s.link.is_over());
    assert_eq!(s.got[TARGET], b"more".repeat(4));
}

/// Every other timer is off: the rest of an ended stream must not wait for ever.
#[test]
fn a_reader_that_stops_before_the_end_is_given_up_without_a_send_timeout() {
    let off = Limits { send_timeout: None, ping_interval: None, ..Limits::default() };
    let mut s = Script::open(off, Messages::default());
    s.takes(PEER, 0);
    s.target_sends(&[8; 100]);
    s.ends(TARGET, false);
    s.at(secs(4));
    s.takes(PEER, 1);
    s.at(secs(4));
    assert!(!s.link.is_over(), "a byte was taken");
    s.at(secs(1));
    assert!(s.link.is_over());
}
