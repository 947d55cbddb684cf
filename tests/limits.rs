//! The timers of DESIGN 7: who is silent, idle, too old or too slow is ended, and who is not, stays.

mod common;

use std::time::{Duration, Instant};

use common::ws::{close_code, header, reason};
use common::{
    assert_same, bridge, connect, connect_narrow, frame, narrow_bridge, pattern, Stream, Ws,
    BINARY, CLOSE, PING, PONG,
};

const MIB: usize = 1 << 20;

/// Generous room for timers of about a second; the defaults that might act instead are longer.
const BOUND: Duration = Duration::from_secs(15);

/// For how long we watch that nothing happens.
const WATCH: Duration = Duration::from_secs(3);

const PINGS: [&str; 4] = ["--ping-interval", "500ms", "--pong-timeout", "500ms"];

const SEND: [&str; 4] = ["--send-timeout", "1s", "--close-timeout", "1s"];

#[test]
fn a_silent_peer_is_pinged_and_ended() {
    let (proxy, target) = bridge(&[&PINGS[..], &["--close-timeout", "1s"]].concat());
    let (mut peer, mut stream) = connect(&proxy, &target);
    let begin = Instant::now();
    let ping = peer.frame();
    assert_eq!(ping.first, PING);
    // A Close for one that may still listen is fine, another Ping is not needed.
    while let Some(frame) = peer.next_frame() {
        assert!([PING, CLOSE].contains(&frame.first), "{frame:?}");
        assert!(begin.elapsed() < BOUND, "still served");
    }
    stream.expect_end();
    proxy.wait_for_closed(1);
}

#[test]
fn a_peer_that_answers_pings_stays() {
    let (proxy, target) = bridge(&PINGS);
    let (mut peer, mut stream) = connect(&proxy, &target);
    for _ in 0..5 {
        let payload = peer.expect(PING);
        peer.send(PONG, &payload);
    }
    echo(&mut peer, &mut stream);
}

#[test]
fn any_byte_of_the_peer_is_a_sign_of_life() {
    let (proxy, target) = bridge(&PINGS);
    let (mut peer, mut stream) = connect(&proxy, &target);
    let begin = Instant::now();
    while begin.elapsed() < WATCH {
        peer.send(BINARY, b"no pong, but alive");
        stream.receive(18);
        std::thread::sleep(Duration::from_millis(100)); // the pace of this peer
    }
    stream.finish();
    assert_eq!(peer.receive_until_close().1, 1000);
}

#[test]
fn a_peer_is_not_blamed_while_the_target_does_not_read() {
    let (proxy, target) = narrow_bridge(&[&PINGS[..], &["--max-message", "0"]].concat());
    let (mut peer, mut stream) = connect_narrow(&proxy, &target);
    let bytes = pattern(1, 32 * MIB);
    peer.send_raw(&header(BINARY, bytes.len() as u64, Some([0; 4])));
    let mut writer = peer.stream().share();
    let sent = writer.send_until_stalled(&bytes, WATCH);
    assert!(sent < bytes.len(), "a target that does not read takes it all");
    assert_same(&stream.receive(sent), &bytes[..sent]);
}

#[test]
fn pings_can_be_switched_off() {
    let options = ["--ping-interval", "0", "--pong-timeout", "500ms"];
    let (proxy, target) = bridge(&options);
    let (mut peer, mut stream) = connect(&proxy, &target);
    assert!(!peer.stream().is_readable_within(WATCH), "something came");
    echo(&mut peer, &mut stream);
}

#[test]
fn an_idle_connection_is_ended_even_if_it_answers_pings() {
    let options = ["--idle-timeout", "1s", "--ping-interval", "300ms"];
    let (proxy, target) = bridge(&options);
    let (mut peer, mut stream) = connect(&proxy, &target);
    let begin = Instant::now();
    let code = loop {
        let frame = peer.frame();
        assert!(begin.elapsed() < BOUND, "still served");
        match frame.first {
            PING => peer.send(PONG, &frame.payload),
            CLOSE => break close_code(&frame.payload),
            _ => panic!("{frame:?}"),
        }
    };
    assert_eq!(code, 1001);
    peer.send(CLOSE, &reason(code, b""));
    peer.expect_fin();
    stream.expect_end();
}

#[test]
fn a_connection_that_moves_bytes_either_way_is_not_idle() {
    let (proxy, target) = bridge(&["--idle-timeout", "1s"]);
    let (mut talks, mut hears) = connect(&proxy, &target);
    let (mut listens, mut tells) = connect(&proxy, &target);
    let begin = Instant::now();
    while begin.elapsed() < WATCH {
        talks.send(BINARY, b"up");
        assert_same(&hears.receive(2), b"up");
        tells.send(b"down");
        assert_same(&listens.receive(4), b"down");
        std::thread::sleep(Duration::from_millis(100)); // the pace of this talk
    }
    echo(&mut talks, &mut hears);
    echo(&mut listens, &mut tells);
}

#[test]
fn nothing_is_idle_by_default() {
    let (proxy, target) = bridge(&[]);
    let (mut peer, mut stream) = connect(&proxy, &target);
    assert!(!peer.stream().is_readable_within(WATCH), "something came");
    assert!(!stream.is_readable_within(Duration::ZERO), "the target's end");
    echo(&mut peer, &mut stream);
}

#[test]
fn a_connection_ends_at_its_max_lifetime_however_busy_it_is() {
    let (proxy, target) = bridge(&["--max-lifetime", "1s"]);
    let (mut peer, mut stream) = connect(&proxy, &target);
    let begin = Instant::now();
    let code = loop {
        assert!(begin.elapsed() < BOUND, "still served");
        peer.send(BINARY, b"up");
        let _ = stream.try_send(b"down");
        match peer.frame() {
            frame if frame.first == CLOSE => break close_code(&frame.payload),
            frame => assert_eq!(frame.first, BINARY),
        }
        std::thread::sleep(Duration::from_millis(10)); // the pace of this talk
    };
    assert_eq!(code, 1001);
    peer.send(CLOSE, &reason(code, b""));
    peer.expect_fin();
    stream.expect_end();
}

#[test]
fn a_peer_that_takes_nothing_ends_at_the_send_timeout() {
    let (proxy, target) = narrow_bridge(&SEND);
    let (mut peer, stream) = connect_narrow(&proxy, &target);
    send_until_refused(stream, &pattern(2, MIB));
    proxy.wait_for_closed(1);
    peer.expect_end();
}

#[test]
fn a_target_that_takes_nothing_ends_at_the_send_timeout() {
    let (proxy, target) = narrow_bridge(&SEND);
    let (peer, mut stream) = connect_narrow(&proxy, &target);
    send_until_refused(peer.into_stream(), &frame(BINARY, &pattern(3, MIB)));
    proxy.wait_for_closed(1);
    stream.expect_end();
}

#[test]
fn a_peer_that_takes_a_little_now_and_then_is_not_ended_by_the_send_timeout() {
    let (proxy, target) = narrow_bridge(&["--send-timeout", "1s"]);
    let (mut peer, stream) = connect_narrow(&proxy, &target);
    let bytes = pattern(4, MIB);
    let sent = bytes.clone();
    let sender = std::thread::spawn(move || {
        let mut stream = stream;
        stream.send(&sent);
        stream
    });
    let mut received = Vec::new();
    while received.len() < 400_000 {
        received.extend(peer.expect(BINARY));
        std::thread::sleep(Duration::from_millis(100)); // the pace of this reader
    }
    let rest = peer.receive(bytes.len() - received.len());
    received.extend(rest);
    assert_same(&received, &bytes);
    sender.join().unwrap();
}

/// Sends the same again and again until the other end is gone.
#[track_caller]
fn send_until_refused(mut stream: Stream, bytes: &[u8]) {
    let begin = Instant::now();
    while stream.try_send(bytes).is_ok() {
        assert!(begin.elapsed() < BOUND, "still served");
    }
}

#[track_caller]
fn echo(peer: &mut Ws, stream: &mut Stream) {
    peer.send(BINARY, b"up");
    assert_same(&stream.receive(2), b"up");
    stream.send(b"down");
    assert_same(&peer.receive(4), b"down");
}
