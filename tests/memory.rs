//! Memory stays within its bounds: peers that never read cost at most one buffer each and the
//! ceiling together, idle ones nothing, and those beside them are served as if they were alone.

mod common;

use std::time::{Duration, Instant};

use common::{
    assert_same, bridge, connect, connect_narrow, frame, narrow_bridge, pattern, Proxy, Stream,
    Target, Ws, BINARY,
};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const QUIET: Duration = Duration::from_secs(1);

#[test]
fn peers_that_never_read_cost_one_buffer_each() {
    let buffer = 256 * KIB;
    let (proxy, target) = narrow_bridge(&[]);
    warm_up(&proxy, &target);
    let before = proxy.peak_memory();
    let bytes = pattern(1, 64 * MIB);
    let pairs = stall_readers(&proxy, &target, 20, &bytes);
    assert!(pairs.iter().all(|p| p.2 < 60 * MIB), "a peer that does not read took it all");
    served_beside(&proxy, &target);
    let grown = proxy.peak_memory() - before;
    assert!(grown < 20 * buffer + MIB, "{} KiB more", grown / KIB);
    drop(pairs);
}

#[test]
fn targets_that_never_read_cost_one_buffer_each() {
    let buffer = 256 * KIB;
    let (proxy, target) = narrow_bridge(&["--max-message", "0"]);
    warm_up(&proxy, &target);
    let before = proxy.peak_memory();
    let wire = frame(BINARY, &pattern(2, 64 * MIB));
    let pairs: Vec<_> = (0..20).map(|_| connect(&proxy, &target)).collect();
    std::thread::scope(|scope| {
        for (peer, _) in &pairs {
            scope.spawn(|| {
                let sent = peer.stream().share().send_until_stalled(&wire, QUIET);
                assert!(sent < wire.len(), "a target that does not read took it all");
            });
        }
    });
    served_beside(&proxy, &target);
    let grown = proxy.peak_memory() - before;
    assert!(grown < 20 * buffer + MIB, "{} KiB more", grown / KIB);
}

#[test]
fn a_small_buffer_size_bounds_what_a_stalled_peer_costs() {
    let (proxy, target) = narrow_bridge(&["--buffer-size", "16KiB"]);
    warm_up(&proxy, &target);
    let before = proxy.peak_memory();
    let bytes = pattern(3, 16 * MIB);
    let pairs = stall_readers(&proxy, &target, 40, &bytes);
    assert!(pairs.iter().all(|p| p.2 < 15 * MIB), "a peer that does not read took it all");
    let grown = proxy.peak_memory() - before;
    assert!(grown < 40 * 16 * KIB + MIB, "{} KiB more", grown / KIB);
    drop(pairs);
}

#[test]
fn the_ceiling_holds_for_all_together_and_nobody_loses_a_byte() {
    let options = ["--max-memory", "1MiB", "--send-timeout", "0"];
    let (proxy, target) = narrow_bridge(&options);
    warm_up(&proxy, &target);
    let before = proxy.peak_memory();
    let bytes = pattern(4, 6 * MIB);
    let pairs = stall_readers(&proxy, &target, 48, &bytes);
    served_beside(&proxy, &target);

    // Now they read after all, every second one first.
    let (first, second): (Vec<_>, Vec<_>) =
        pairs.into_iter().enumerate().partition(|p| p.0 % 2 == 0);
    for half in [first, second] {
        std::thread::scope(|scope| {
            for (i, (mut peer, mut stream, sent)) in half {
                let mine = &bytes[i * 1000..];
                scope.spawn(move || {
                    stream.send(&mine[sent..]);
                    stream.finish();
                });
                scope.spawn(move || {
                    let (received, code) = peer.receive_until_close();
                    assert_same(&received, mine);
                    assert_eq!(code, 1000);
                });
            }
        });
    }
    let grown = proxy.peak_memory() - before;
    let floor = 2 * 48 * 4 * KIB; // a direction may always have the smallest read
    assert!(grown < MIB + floor + MIB, "{} KiB more", grown / KIB);
}

#[test]
fn memory_is_given_back_when_the_stalled_read_again() {
    let (proxy, target) = narrow_bridge(&[]);
    warm_up(&proxy, &target);
    let bytes = pattern(5, 5 * MIB);
    let mut peak = 0;
    for _ in 0..3 {
        let pairs = stall_readers(&proxy, &target, 16, &bytes);
        std::thread::scope(|scope| {
            for (i, (mut peer, mut stream, sent)) in pairs.into_iter().enumerate() {
                let mine = &bytes[i * 1000..];
                scope.spawn(move || stream.send(&mine[sent..]));
                scope.spawn(move || assert_same(&peer.receive(mine.len()), mine));
            }
        });
        let now = proxy.peak_memory();
        let first = peak == 0;
        assert!(first || now < peak + MIB, "{} KiB more", (now - peak) / KIB);
        peak = now;
    }
}

#[test]
fn idle_connections_hold_no_buffer() {
    let (proxy, target) = bridge(&[]);
    warm_up(&proxy, &target);
    let before = proxy.memory();
    let mut pairs: Vec<_> = (0..400).map(|_| connect(&proxy, &target)).collect();
    for (peer, stream) in &mut pairs {
        peer.send(BINARY, &[b'x'; 5000]);
        stream.receive(5000);
        stream.send(&[b'y'; 5000]);
        peer.receive(5000);
    }
    let grown = proxy.memory().saturating_sub(before);
    assert!(grown < 400 * 2 * KIB + MIB / 2, "{} KiB more", grown / KIB);
}

#[test]
fn a_thousand_heads_that_never_end_cost_no_more_than_their_bytes() {
    let options = ["--max-head", "8KiB", "--handshake-timeout", "60s"];
    let (proxy, target) = bridge(&options);
    warm_up(&proxy, &target);
    let before = proxy.peak_memory();
    let start = format!("GET /{} HTTP/1.1\r\nHost: a\r\n", "x".repeat(7000));
    let heads: Vec<Stream> = (0..900)
        .map(|_| {
            let mut stream = Stream::tcp(proxy.port());
            stream.send(start.as_bytes());
            stream
        })
        .collect();
    heads.iter().step_by(100).for_each(Stream::wait_until_read);
    served_beside(&proxy, &target);
    let grown = proxy.peak_memory() - before;
    assert!(grown < 900 * 10 * KIB + MIB, "{} KiB more", grown / KIB);
}

/// One connection that moves megabytes each way, so that what is touched once has been touched.
fn warm_up(proxy: &Proxy, target: &Target) {
    let (mut peer, mut stream) = connect(proxy, target);
    let bytes = pattern(6, 4 * MIB);
    let mut writer = peer.stream().share();
    let mut reader = stream.share();
    std::thread::scope(|scope| {
        scope.spawn(|| writer.send(&frame(BINARY, &bytes)));
        scope.spawn(|| stream.send(&bytes));
        scope.spawn(|| assert_same(&reader.receive(bytes.len()), &bytes));
        assert_same(&peer.receive(bytes.len()), &bytes);
    });
    peer.close(1000);
    stream.expect_fin();
}

/// Peers that do not read, each with a target that offers `bytes` (from another place for each)
/// until nothing moves any more; with what the target has got rid of.
fn stall_readers(
    proxy: &Proxy,
    target: &Target,
    n: usize,
    bytes: &[u8],
) -> Vec<(Ws, Stream, usize)> {
    let pairs: Vec<_> = (0..n).map(|_| connect_narrow(proxy, target)).collect();
    std::thread::scope(|scope| {
        let stalled = pairs.into_iter().enumerate().map(|(i, (peer, mut stream))| {
            let mine = &bytes[i * 1000..];
            scope.spawn(move || {
                let sent = stream.send_until_stalled(mine, QUIET);
                (peer, stream, sent)
            })
        });
        let stalled: Vec<_> = stalled.collect();
        stalled.into_iter().map(|s| s.join().unwrap()).collect()
    })
}

/// Fifty round trips of an ordinary connection, in a time that only says that nobody starves.
#[track_caller]
fn served_beside(proxy: &Proxy, target: &Target) {
    let (mut peer, mut stream) = connect(proxy, target);
    let begin = Instant::now();
    for _ in 0..50 {
        peer.send(BINARY, &[b'x'; 1000]);
        assert_same(&stream.receive(1000), &[b'x'; 1000]);
        stream.send(&[b'y'; 1000]);
        assert_same(&peer.receive(1000), &[b'y'; 1000]);
    }
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(10), "50 round trips in {took:?}");
    peer.close(1000);
    stream.expect_fin();
}
