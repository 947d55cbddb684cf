//! Half-close across a WebSocket (RFC 6455 §5.5.1): whoever says all it has to say and then waits
//! gets its whole answer, through two copies and through each alone; and nobody waits for ever.

mod common;

use std::time::Duration;

use common::relay::{self, expect_established, head, near_to_test, say, url, ESTABLISHED};
use common::ws::reason;
use common::{assert_same, bridge, connect, pattern, Asked, Proxy, Stream, Target, BINARY, CLOSE};

const MIB: usize = 1 << 20;

/// For ends that need no timer: these would come too late for any test.
const NO_TIMER: [&str; 2] = ["--close-timeout", "100s"];
const HALF_CLOSE: [&str; 3] = ["--half-close=100s", "--close-timeout", "100s"];

/// The one timer that is to fire.
const SHORT: [&str; 3] = ["--half-close=300ms", "--close-timeout", "100s"];

/// Long enough for what must not happen to happen.
const QUIET: Duration = Duration::from_millis(300);

// Through two copies.

#[test]
fn a_question_that_ends_gets_its_whole_answer_through_two_copies() {
    let target = Target::listen();
    for encoding in ["binary", "base64", "chunk"] {
        let options = [&HALF_CLOSE[..], &["--encoding", encoding]].concat();
        let far = Proxy::to(&target.endpoint, &options);
        let near = plain(&url(&far), &options);
        let mut client = Stream::tcp(near.port());
        let mut server = target.accept();
        question_and_answer(&mut client, &mut server);
        for proxy in [&near, &far] {
            let closed = &proxy.wait_for_closed(1)[0];
            let counted = (closed.code, closed.inbound, closed.outbound);
            assert_eq!(counted, (1000, 8, MIB as u64), "{encoding}");
        }
    }
}

#[test]
fn a_connect_relay_does_so_without_being_asked() {
    let target = Target::listen();
    for (encoding, form) in [("binary", "full"), ("binary", "eager"), ("chunk", "full")] {
        let options = [&NO_TIMER[..], &["--encoding", encoding]].concat();
        let far = relay::far(&[&["--allow", "127.0.0.1"], &options[..]].concat());
        let near = relay::near(&url(&far), &[&options[..], &["--connect", form]].concat());
        let (mut client, mut server) = relay::tunnel(&near, &target);
        question_and_answer(&mut client, &mut server);
    }
}

/// `printf x | nc -N`: the head, the question and the end come in one segment.
#[test]
fn a_tool_may_end_its_stream_before_its_tunnel_is_there() {
    let target = Target::listen();
    let (near, _far) = relay::pair(&NO_TIMER);
    let mut client = Stream::tcp(near.port());
    client.send(&[head(&target.endpoint, &[]).as_bytes(), b"question"].concat());
    client.finish();
    let mut server = target.accept();
    assert_same(&server.receive_until_fin(), b"question");
    let answer = pattern(1, MIB);
    server.send(&answer);
    drop(server);
    expect_established(&mut client);
    assert_same(&client.receive_until_fin(), &answer);
}

#[test]
fn a_server_that_ends_first_hears_the_client_to_its_end() {
    let target = Target::listen();
    let far = Proxy::to(&target.endpoint, &HALF_CLOSE);
    let plain = plain(&url(&far), &HALF_CLOSE);
    let (near, _connect_far) = relay::pair(&NO_TIMER);
    for proxy in [&plain, &near] {
        let (mut client, mut server) = if std::ptr::eq(proxy, &near) {
            relay::tunnel(proxy, &target)
        } else {
            (Stream::tcp(proxy.port()), target.accept())
        };
        server.send(b"greeting");
        assert_same(&client.receive(8), b"greeting");
        question_and_answer(&mut server, &mut client);
    }
}

#[test]
fn both_may_end_at_once() {
    let target = Target::listen();
    let (near, far) = relay::pair(&NO_TIMER);
    let (mut client, mut server) = relay::tunnel(&near, &target);
    client.send(b"bye");
    server.send(b"bye");
    client.finish();
    server.finish();
    assert_same(&client.receive_until_fin(), b"bye");
    assert_same(&server.receive_until_fin(), b"bye");
    for proxy in [&near, &far] {
        assert_eq!(proxy.wait_for_closed(1)[0].code, 1000);
    }
}

// One copy, in either role.

#[test]
fn a_close_is_answered_behind_the_rest_of_the_stream() {
    let (proxy, target) = bridge(&HALF_CLOSE);
    let (mut peer, mut stream) = connect(&proxy, &target);
    peer.send(BINARY, b"question");
    peer.send(CLOSE, &reason(1000, b""));
    assert_same(&stream.receive_until_fin(), b"question");
    assert!(!peer.stream().is_readable_within(QUIET), "answered before the stream's end");
    let answer = pattern(2, MIB);
    let mut writer = stream.share();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            writer.send(&answer);
            writer.finish();
        });
        let (got, code) = peer.receive_until_close();
        assert_same(&got, &answer);
        assert_eq!(code, 1000);
    });
    peer.expect_fin();
    drop(peer);
    assert_eq!(proxy.wait_for_closed(1)[0].code, 1000);
}

#[test]
fn a_servers_close_is_answered_behind_the_rest_of_ours() {
    let target = Target::listen();
    let proxy = plain(&format!("ws://{}/", target.endpoint), &HALF_CLOSE);
    let mut near = Stream::tcp(proxy.port());
    let mut served = Asked::at(&target).agree();
    served.send(BINARY, b"greeting");
    served.send(CLOSE, &reason(1000, b""));
    assert_same(&near.receive_until_fin(), b"greeting");
    assert!(!served.stream().is_readable_within(QUIET), "answered before the stream's end");
    let rest = pattern(3, MIB);
    let mut writer = near.share();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            writer.send(&rest);
            writer.finish();
        });
        assert_same(&served.receive(rest.len()), &rest);
    });
    assert_eq!(served.expect_close(), 1000);
    served.stream().finish();
    served.expect_fin();
}

#[test]
fn a_fin_becomes_a_close_and_the_answer_comes_behind_it() {
    let (proxy, target) = near_to_test(&NO_TIMER);
    let mut client = relay::ask(&proxy, "inner.example:443");
    let mut served = Asked::at(&target).agree();
    served.expect(BINARY);
    served.send(BINARY, ESTABLISHED);
    expect_established(&mut client);
    client.send(b"question");
    client.finish();
    assert_same(&served.receive(8), b"question");
    assert_eq!(served.expect_close(), 1000);
    let answer = pattern(4, MIB);
    for part in answer.chunks(100_000) {
        served.send(BINARY, part);
    }
    served.send(CLOSE, &reason(1000, b""));
    assert_same(&client.receive_until_fin(), &answer);
    served.stream().finish();
    served.expect_fin();
}

// Not by default towards others, and not if it is turned off.

#[test]
fn without_it_a_close_is_answered_at_once() {
    for options in [&NO_TIMER[..], &["--half-close=off", "--close-timeout", "100s"]] {
        let (proxy, target) = bridge(options);
        let (mut peer, mut stream) = connect(&proxy, &target);
        peer.send(CLOSE, &reason(1000, b""));
        assert_eq!(peer.expect_close(), 1000, "although the target has not ended");
        peer.expect_fin();
        stream.expect_fin();
    }
    let far = relay::far(&["--allow", "127.0.0.1", "--half-close=0"]);
    let target = Target::listen();
    let mut peer = say(&far, head(&target.endpoint, &[]).as_bytes());
    let _stream = target.accept();
    assert_same(&peer.expect(BINARY), ESTABLISHED);
    peer.send(CLOSE, &reason(1000, b""));
    assert_eq!(peer.expect_close(), 1000);
}

/// Any other code says that the peer has failed, and awaits nothing.
#[test]
fn a_close_that_tells_of_a_failure_is_answered_at_once() {
    let (proxy, target) = bridge(&HALF_CLOSE);
    for code in [1001, 1002, 1011, 3000, 4999] {
        let (mut peer, mut stream) = connect(&proxy, &target);
        peer.send(CLOSE, &reason(code, b""));
        assert_eq!(peer.expect_close(), code);
        peer.expect_fin();
        stream.expect_fin();
    }
}

// Nobody waits for ever.

#[test]
fn a_target_that_says_nothing_more_is_not_waited_for() {
    let (proxy, target) = bridge(&SHORT);
    let (mut peer, mut stream) = connect(&proxy, &target);
    peer.send(CLOSE, &reason(1000, b""));
    stream.expect_fin();
    assert_eq!(peer.expect_close(), 1000, "although the target has not ended");
    peer.expect_fin();
    drop((peer, stream));
    assert_eq!(proxy.wait_for_closed(1)[0].code, 1000);
}

#[test]
fn a_target_that_stops_in_the_middle_is_not_waited_for() {
    let (proxy, target) = bridge(&SHORT);
    let (mut peer, mut stream) = connect(&proxy, &target);
    peer.send(CLOSE, &reason(1000, b""));
    stream.expect_fin();
    stream.send(b"the first half");
    let (got, code) = peer.receive_until_close();
    assert_same(&got, b"the first half");
    assert_eq!(code, 1000);
    peer.expect_fin();
}

#[test]
fn a_target_that_fails_meanwhile_is_told_as_1011() {
    let (proxy, target) = bridge(&HALF_CLOSE);
    let (mut peer, mut stream) = connect(&proxy, &target);
    peer.send(CLOSE, &reason(1000, b""));
    stream.expect_fin();
    stream.send(b"the first half");
    assert_same(&peer.receive(14), b"the first half");
    stream.reset();
    assert_eq!(peer.expect_close(), 1011, "the answer was cut");
}

#[test]
fn a_peer_that_goes_without_waiting_leaves_nothing() {
    let (proxy, target) = bridge(&["--half-close=300ms", "--close-timeout", "300ms"]);
    let files = proxy.open_files();
    let (mut peer, mut stream) = connect(&proxy, &target);
    peer.send(CLOSE, &reason(1000, b""));
    stream.expect_fin();
    peer.into_stream().reset();
    proxy.wait_until_idle(files);
}

/// Each step is shorter than the time without progress, all together are longer.
#[test]
fn a_target_that_goes_on_slowly_is_not_cut() {
    const STEPS: u8 = 8;
    let (proxy, target) = bridge(&["--half-close=2s", "--close-timeout", "100s"]);
    let (mut peer, mut stream) = connect(&proxy, &target);
    peer.send(CLOSE, &reason(1000, b""));
    stream.expect_fin();
    let begin = std::time::Instant::now();
    for step in 0..STEPS {
        // The pace of this target.
        assert!(!peer.stream().is_readable_within(Duration::from_millis(400)), "cut at {step}");
        stream.send(&[step]);
        assert_eq!(peer.expect(BINARY), [step]);
    }
    assert!(begin.elapsed() > Duration::from_secs(2), "not longer than the timer");
    drop(stream);
    assert_eq!(peer.expect_close(), 1000);
    peer.expect_fin();
}

// The parts.

/// The first one asks, ends its stream, and gets its answer although that takes a while.
#[track_caller]
fn question_and_answer(first: &mut Stream, second: &mut Stream) {
    first.send(b"question");
    first.finish();
    assert_same(&second.receive_until_fin(), b"question");
    assert!(!first.is_readable_within(QUIET), "an end before the answer");
    let answer = pattern(5, MIB);
    let mut writer = second.share();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            writer.send(&answer);
            writer.finish();
        });
        assert_same(&first.receive_until_fin(), &answer);
    });
}

/// A plain listener on a free port that leads to `remote`.
#[track_caller]
fn plain(remote: &str, arguments: &[&str]) -> Proxy {
    Proxy::start(&[&["--local", "tcp://127.0.0.1:0", "--remote", remote], arguments].concat())
}
