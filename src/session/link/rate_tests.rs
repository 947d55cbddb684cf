//! A link whose legs are heard at a rate, under a fake clock.

use super::script::*;
use super::*;
use crate::config::Messages;
use crate::proto::frame::Opcode;
use crate::proto::framing::{Framing, LengthForm};

fn rated(rate_in: u64, rate_out: u64) -> Limits {
    let rate = |n| Some(n).filter(|n| *n > 0);
    Limits { rate_in: rate(rate_in), rate_out: rate(rate_out), ..Limits::default() }
}

fn messages(count: usize, len: usize) -> Vec<u8> {
    binary(&vec![b'm'; len]).repeat(count)
}

/// Whether that many bytes are what a rate allows in a time, to five percent.
#[track_caller]
fn assert_due(bytes: usize, rate: u64, time: u64) {
    let ratio = bytes as f64 / (rate * time) as f64;
    assert!((0.95..1.05).contains(&ratio), "{bytes} bytes in {time} s at {rate}: {ratio}");
}

#[test]
fn five_seconds_are_exact_both_ways_whatever_the_messages() {
    for (rate_in, rate_out, len) in [
        (20_000, 40_000, 1),
        (100_000, 10_000, 60),
        (700, 100, 60),
        (100, 700, 1000),
        (1_000_000, 2_000_000, 200_000),
    ] {
        let mut s = Script::open(rated(rate_in, rate_out), Messages::default());
        s.peer_sends(&messages(6 * rate_in as usize / len + 1, len));
        s.target_sends(&vec![b't'; 6 * rate_out as usize]);
        s.at(secs(5));
        assert_due(s.got[TARGET].len(), rate_in, 5);
        assert_due(s.heard().0.len(), rate_out, 5);
    }
}

#[test]
fn one_way_has_no_rate_unless_it_was_given_one() {
    let mut s = Script::open(rated(0, 1000), Messages::default());
    s.peer_sends(&messages(100, 1000));
    s.target_sends(&[b't'; 5000]);
    assert_eq!(s.got[TARGET].len(), 100_000);
    assert_eq!(s.heard().0.len(), 125);
    let mut s = Script::open(rated(1000, 0), Messages::default());
    s.peer_sends(&messages(100, 1000));
    s.target_sends(&[b't'; 5000]);
    assert_eq!(s.heard().0.len(), 5000);
    assert!(s.got[TARGET].len() <= 125);
}

/// A message whose length must stand in front of it is paid for as it comes, not when it goes.
#[test]
fn a_message_that_is_held_comes_at_its_rate() {
    let framing = Framing::Length(LengthForm::U32);
    let mut s = Script::open(rated(1000, 0), Messages { framing, ..Messages::default() });
    let part = frame(false, Opcode::Continuation, &[b'm'; 1000]);
    let first = frame(false, Opcode::Binary, &[b'm'; 1000]);
    let last = frame(true, Opcode::Continuation, b"");
    s.peer_sends(&[&first, &part.repeat(9)[..], &last].concat());
    s.at(secs(5));
    assert!(s.got[TARGET].is_empty());
    assert_due(s.link.buffered(), 1000, 5);
    s.at(secs(11));
    assert_eq!(s.got[TARGET].len(), 4 + 10_000);
}

/// Nobody could take what a paused leg still has to say: that is no reason to wait, and no time is
/// none to come back at again and again.
#[test]
fn a_paused_leg_is_not_waited_for_when_the_other_is_gone() {
    let messages_ = Messages { half_close: Some(secs(2)), ..Messages::default() };
    let mut s = Script::open(rated(100, 0), messages_);
    s.peer_sends(&messages(10, 1000));
    s.ends(TARGET, true);
    let (mut turns, now) = (0, s.now);
    while s.with(|link, hot, ctx| link.on_deadline(hot, ctx)).is_some() {
        turns += 1;
        assert!(turns < 10, "it would never end");
    }
    s.work();
    s.at(secs(1));
    assert!(s.link.is_over());
    assert_eq!((s.close_code(), s.now - now), (Some(1011), secs(1)));
}

#[test]
fn two_streams_have_rates_as_well() {
    let mut s = Script::begin(Entrance::Stream, rated(3000, 5000), Messages::default());
    s.connect(Far::Raw);
    s.peer_sends(&[b'p'; 20_000]);
    s.target_sends(&[b't'; 30_000]);
    s.at(secs(5));
    assert_due(s.got[TARGET].len(), 3000, 5);
    assert_due(s.got[PEER].len(), 5000, 5);
}

#[test]
fn a_leg_that_is_paused_is_not_read_before_its_time() {
    let mut s = Script::open(rated(8000, 0), Messages::default());
    s.peer_sends(&binary(&[b'm'; 5000]));
    let got = s.got[TARGET].len();
    assert!((500..=1000).contains(&got), "{got}");
    assert!(!s.link.may_read(PEER) && s.link.may_read(TARGET));
    let resumes = s.link.wake_at();
    assert!(resumes > s.now && resumes <= s.now + secs(1) / 16, "{resumes:?}");
    s.at((resumes - s.now) / 2);
    assert_eq!((s.got[TARGET].len(), s.link.may_read(PEER)), (got, false));
    s.at(secs(1) / 16);
    assert!(s.got[TARGET].len() > got);
    s.at(secs(1));
    assert_eq!(s.got[TARGET].len(), 5000);
    assert!(s.link.may_read(PEER));
    // Nothing but the next Ping is to come.
    assert!(s.link.wake_at() > s.now + secs(20));
}

#[test]
fn pings_take_nothing_of_a_rate() {
    let mut s = Script::open(rated(100, 0), Messages::default());
    for _ in 0..100 {
        s.peer_sends(&frame(true, Opcode::Ping, &[b'?'; 125]));
    }
    assert_eq!(s.heard().1.len(), 100);
}

#[test]
fn a_close_behind_a_pause_comes_behind_all_that_was_said() {
    let limits = Limits { close_timeout: secs(1), ..rated(1000, 0) };
    let mut s = Script::open(limits, Messages::default());
    s.peer_sends(&[messages(5, 1000), close(1000)].concat());
    s.at(secs(4));
    assert!(!s.fin[TARGET] && s.close_code().is_none());
    s.at(secs(2));
    assert_eq!((s.got[TARGET].len(), s.fin[TARGET]), (5000, true));
    assert_eq!(s.close_code(), Some(1000));
}

#[test]
fn the_end_of_a_target_waits_behind_what_it_said() {
    let mut s = Script::open(rated(0, 1000), Messages::default());
    s.target_sends(&[b't'; 5000]);
    s.at(secs(5));
    s.ends(TARGET, false);
    assert_eq!((s.heard().0.len(), s.close_code()), (5000, Some(1000)));
}

/// What came with the request was relayed at once, which a long pause makes up for: 40 s.
fn in_debt(limits: Limits) -> Script {
    let mut s = Script::open(limits, Messages::default());
    s.with(|link, _, ctx| link.count(PEER, 4000, ctx));
    s
}

#[test]
fn a_closing_waits_for_a_peer_that_is_not_read() {
    let limits = Limits { close_timeout: secs(1), ..rated(100, 0) };
    let mut s = in_debt(limits);
    s.ends(TARGET, false);
    assert_eq!(s.close_code(), Some(1000));
    s.peer_sends(&[binary(b"late"), close(1000)].concat());
    s.at(secs(39));
    assert!(s.got[TARGET].is_empty() && !s.link.is_over());
    s.at(secs(2));
    assert_eq!(s.got[TARGET], b"late");
    s.ends(PEER, false);
    assert!(s.link.is_over());
    assert_eq!(s.ended().1, "eof");
}

#[test]
fn a_pause_does_not_look_like_death() {
    let limits = Limits { ping_interval: Some(secs(1)), pong_timeout: secs(1), ..rated(100, 0) };
    let mut s = in_debt(limits);
    s.at(secs(39));
    assert_eq!((s.heard().1.len(), s.close_code()), (1, None));
    s.peer_sends(&frame(true, Opcode::Pong, b""));
    s.at(secs(2));
    assert_eq!(s.close_code(), None);
}

#[test]
fn whoever_is_silent_is_still_given_up() {
    let limits = Limits { ping_interval: Some(secs(1)), pong_timeout: secs(1), ..rated(100, 0) };
    let mut s = Script::open(limits, Messages::default());
    s.peer_sends(&messages(1, 100));
    s.at(secs(5));
    assert_eq!(s.ended().1, "pong-timeout");
}
