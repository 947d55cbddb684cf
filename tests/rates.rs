//! `--rate-in` and `--rate-out`: how many bytes arrive in a time, and that nothing is lost by it.
//! What a rate is exact to is shown under a fake clock; here the bounds are wide, for a busy host.

mod common;

use std::io::Read;
use std::thread;
use std::time::{Duration, Instant};

use common::ws::{header, reason};
use common::{assert_same, bridge, connect, pattern, Stream, BINARY, CLOSE, PING, PONG};

const RATE: usize = 256 << 10;

/// For how long is counted.
const WINDOW: Duration = Duration::from_secs(2);

/// What is read from the stream until the window has passed.
fn count(stream: &mut impl Read) -> (usize, Duration) {
    let begin = Instant::now();
    let mut bytes = vec![0; 64 << 10];
    let mut sum = 0;
    while begin.elapsed() < WINDOW {
        sum += stream.read(&mut bytes).expect("it goes on");
    }
    (sum, begin.elapsed())
}

/// A burst may come on top at the start, of an eighth of a second.
#[track_caller]
fn assert_rate((bytes, time): (usize, Duration)) {
    let due = RATE as f64 * time.as_secs_f64();
    let most = due + RATE as f64 / 4.0;
    assert!(bytes as f64 <= most, "{bytes} bytes in {time:?}");
    assert!(bytes as f64 > due / 2.0, "{bytes} bytes in {time:?}");
}

/// Sends far more than is read, until the other end is gone.
fn flood(mut stream: Stream) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let bytes = vec![7; 64 << 10];
        while stream.try_send(&bytes).is_ok() {}
    })
}

#[test]
fn a_target_is_heard_at_its_rate() {
    let (proxy, target) = bridge(&["--rate-out", "256KiB"]);
    let (peer, stream) = connect(&proxy, &target);
    let sender = flood(stream.share());
    let ticks = proxy.cpu_ticks();
    let mut peer = peer.into_stream();
    assert_rate(count(&mut peer));
    let spent = proxy.cpu_ticks() - ticks;
    assert!(spent < 50, "{spent} hundredths of a second: it spins");
    drop((peer, proxy));
    sender.join().unwrap();
}

#[test]
fn a_peer_is_heard_at_its_rate() {
    let (proxy, target) = bridge(&["--rate-in", "256KiB", "--max-message", "0"]);
    let (mut peer, mut stream) = connect(&proxy, &target);
    peer.send_raw(&header(BINARY, 1 << 40, Some([0; 4])));
    let sender = flood(peer.stream().share());
    assert_rate(count(&mut stream));
    drop((stream, proxy));
    sender.join().unwrap();
}

#[test]
fn each_connection_has_a_rate_of_its_own_and_both_ways_have() {
    let options = ["--rate-in", "256KiB", "--rate-out", "256KiB", "--max-message", "0"];
    let (proxy, target) = bridge(&options);
    let mut counted = Vec::new();
    let mut senders = Vec::new();
    for _ in 0..2 {
        let (mut peer, stream) = connect(&proxy, &target);
        peer.send_raw(&header(BINARY, 1 << 40, Some([0; 4])));
        let ends = [peer.into_stream(), stream];
        senders.extend(ends.iter().map(|end| flood(end.share())));
        let count_one = |mut end: Stream| thread::spawn(move || count(&mut end));
        counted.extend(ends.map(count_one));
    }
    for one in counted {
        assert_rate(one.join().unwrap());
    }
    drop(proxy);
    senders.into_iter().for_each(|sender| sender.join().unwrap());
}

#[test]
fn everything_arrives_at_a_rate_and_a_close_behind_it() {
    let (proxy, target) = bridge(&["--rate-in", "1MiB", "--close-timeout", "1s"]);
    let (mut peer, mut stream) = connect(&proxy, &target);
    let bytes = pattern(1, 3 << 20);
    let begin = Instant::now();
    let mut writer = peer.stream().share();
    let sent = bytes.clone();
    let sender = thread::spawn(move || {
        writer.send(&header(BINARY, sent.len() as u64, Some([0; 4])));
        writer.send(&sent);
        writer.send(&common::frame(CLOSE, &reason(1000, b"")));
    });
    assert_same(&stream.receive(bytes.len()), &bytes);
    assert!(begin.elapsed() > Duration::from_secs(2), "{:?}", begin.elapsed());
    stream.expect_fin();
    sender.join().unwrap();
    drop(stream);
    assert_eq!(peer.receive_until_close().1, 1000);
    proxy.wait_for_closed(1);
}

#[test]
fn the_end_of_a_target_comes_behind_what_it_said() {
    let (proxy, target) = bridge(&["--rate-out", "1MiB", "--close-timeout", "1s"]);
    let (mut peer, mut stream) = connect(&proxy, &target);
    let bytes = pattern(2, 3 << 20);
    let sent = bytes.clone();
    let sender = thread::spawn(move || {
        stream.send(&sent);
        stream.finish();
        stream
    });
    let (received, code) = peer.receive_until_close();
    assert_same(&received, &bytes);
    assert_eq!(code, 1000);
    sender.join().unwrap();
    drop(proxy);
}

#[test]
fn a_peer_that_is_slowed_down_lives() {
    let options = ["--rate-in", "64KiB", "--ping-interval", "300ms", "--pong-timeout", "300ms"];
    let (proxy, target) = bridge(&options);
    let (mut peer, mut stream) = connect(&proxy, &target);
    // A second of its rate waits in the kernel, in front of every Pong.
    let bytes = pattern(3, 128 << 10);
    peer.send(BINARY, &bytes);
    peer.send(PONG, b"");
    assert_same(&stream.receive(bytes.len()), &bytes);
    for _ in 0..3 {
        let payload = peer.expect(PING);
        peer.send(PONG, &payload);
    }
    peer.send(BINARY, b"up");
    assert_same(&stream.receive(2), b"up");
}
