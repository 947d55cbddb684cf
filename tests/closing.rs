//! How connections end: every row of the closing table of STYLE, with megabytes on their way. Every
//! byte that was accepted is delivered, the code is right, and both sockets go within
//! `--close-timeout`, whatever the two ends do or leave undone.

mod common;

use std::time::{Duration, Instant};

use common::target::Refusing;
use common::ws::{close_code, header, parse_frames, reason, request, Response};
use common::{
    assert_same, bridge, connect, connect_narrow, frame, narrow_bridge, pattern, Proxy, Stream,
    Target, Ws, BINARY, CLOSE, FIN, PING,
};

const MIB: usize = 1 << 20;

/// What all but the default timers are set to here.
const TIMER: [&str; 2] = ["--close-timeout", "2s"];

/// For ends that need no timer: this one would come too late for any test.
const NO_TIMER: [&str; 2] = ["--close-timeout", "100s"];

/// For slow readers: what is queued takes longer than the timer, each step less.
const SLOW: [&str; 2] = ["--close-timeout", "1500ms"];

/// The close timeout and generous room for a busy machine; the next longer timer has 30 s.
const BOUND: Duration = Duration::from_secs(15);

/// No progress for this long means that everything on the way is full.
const QUIET: Duration = Duration::from_millis(500);

#[test]
fn target_fin_delivers_everything_then_1000() {
    let (proxy, target) = bridge(&NO_TIMER);
    let (mut peer, stream) = connect(&proxy, &target);
    let bytes = pattern(1, 8 * MIB);
    let mut reader = stream.share();
    let writer = send_and_finish(stream, bytes.clone());
    let (received, code) = peer.receive_until_close();
    assert_same(&received, &bytes);
    assert_eq!(code, 1000);
    peer.send(CLOSE, &reason(1000, b""));
    peer.expect_fin();
    reader.expect_fin();
    writer.join().unwrap();
    drop(peer);
    let closed = &proxy.wait_for_closed(1)[0];
    assert_eq!(closed.code, 1000);
    assert_eq!((closed.inbound, closed.outbound), (0, 8 * MIB as u64));
}

#[test]
fn after_target_fin_the_peer_may_go_on_until_its_close() {
    let (proxy, target) = bridge(&NO_TIMER);
    let (mut peer, mut stream) = connect(&proxy, &target);
    stream.finish();
    assert_eq!(peer.expect_close(), 1000);
    let bytes = pattern(2, 4 * MIB);
    let wire = [frame(BINARY, &bytes), frame(CLOSE, &reason(1000, b""))].concat();
    let mut writer = peer.stream().share();
    std::thread::scope(|scope| {
        scope.spawn(|| writer.send(&wire));
        assert_same(&stream.receive_until_fin(), &bytes);
    });
    peer.expect_fin();
}

#[test]
fn target_fin_before_anything_was_said_is_1000_too() {
    let (proxy, target) = bridge(&NO_TIMER);
    let (peer, stream) = connect(&proxy, &target);
    drop(stream);
    let mut peer = peer;
    assert_eq!(peer.expect_close(), 1000);
    peer.send(CLOSE, &reason(1000, b""));
    peer.expect_fin();
}

#[test]
fn peer_close_delivers_everything_and_is_answered_with_its_code() {
    let (proxy, target) = narrow_bridge(&NO_TIMER);
    for code in [4000, 1000, 1001, 3999] {
        let (mut peer, mut stream) = connect_narrow(&proxy, &target);
        let bytes = pattern(code.into(), 3 * MIB);
        let close = frame(CLOSE, &reason(code, b"enough"));
        let writer = send_queued(&peer, [frame(BINARY, &bytes), close].concat());
        assert_same(&stream.receive_until_fin(), &bytes);
        drop(stream);
        assert_eq!(peer.expect_close(), code);
        peer.expect_fin();
        writer.join().unwrap();
    }
    let codes: Vec<u16> = proxy.wait_for_closed(4).iter().map(|c| c.code).collect();
    assert_eq!(codes, [4000, 1000, 1001, 3999]);
}

#[test]
fn peer_close_without_a_code_is_answered() {
    let (proxy, target) = bridge(&NO_TIMER);
    let (mut peer, mut stream) = connect(&proxy, &target);
    peer.send(BINARY, b"last words");
    peer.send(CLOSE, b"");
    assert_same(&stream.receive_until_fin(), b"last words");
    drop(stream);
    let code = peer.expect_close();
    assert!([1000, 1005].contains(&code), "{code}");
    peer.expect_fin();
}

#[test]
fn what_follows_the_peers_close_is_ignored() {
    let (proxy, target) = bridge(&NO_TIMER);
    let (mut peer, mut stream) = connect(&proxy, &target);
    let wire = [
        frame(BINARY, b"before"),
        frame(CLOSE, &reason(4000, b"")),
        frame(BINARY, &[b'x'; 100_000]),
        frame(PING, b"?"),
        frame(CLOSE, &reason(4001, b"")),
        vec![0xff; 100],
    ];
    peer.send_raw(&wire.concat());
    assert_same(&stream.receive_until_fin(), b"before");
    drop(stream);
    assert_eq!(peer.expect_close(), 4000);
    peer.expect_fin();
}

#[test]
fn bytes_of_the_target_before_the_peers_close_are_delivered_before_the_answer() {
    let (proxy, target) = bridge(&NO_TIMER);
    let (mut peer, mut stream) = connect(&proxy, &target);
    let bytes = pattern(3, 100_000);
    stream.send(&bytes);
    stream.wait_until_read();
    peer.send(CLOSE, &reason(1000, b""));
    let (received, code) = peer.receive_until_close();
    assert_same(&received, &bytes);
    assert_eq!(code, 1000);
    stream.expect_fin();
}

#[test]
fn peer_fin_without_close_delivers_everything_then_fin() {
    let (proxy, target) = narrow_bridge(&NO_TIMER);
    let (peer, mut stream) = connect_narrow(&proxy, &target);
    let bytes = pattern(4, 4 * MIB);
    let writer = send_queued(&peer, frame(BINARY, &bytes));
    let finish = std::thread::spawn(move || {
        writer.join().unwrap();
        peer.stream().finish();
        peer
    });
    assert_same(&stream.receive_until_fin(), &bytes);
    drop(stream);
    finish.join().unwrap().expect_end();
    assert_eq!(proxy.wait_for_closed(1)[0].code, 1006);
}

#[test]
fn peer_fin_inside_a_frame_delivers_what_came_of_it() {
    let (proxy, target) = bridge(&NO_TIMER);
    let (mut peer, mut stream) = connect(&proxy, &target);
    let wire = frame(BINARY, &[b'x'; 1000]);
    peer.send_raw(&wire[..wire.len() - 300]);
    peer.stream().finish();
    assert_same(&stream.receive_until_fin(), &[b'x'; 700]);
}

#[test]
fn peer_reset_delivers_everything_that_was_accepted_then_fin() {
    let (proxy, target) = narrow_bridge(&[&NO_TIMER[..], &["--max-message", "0"]].concat());
    let (mut peer, mut stream) = connect_narrow(&proxy, &target);
    let bytes = pattern(5, 16 * MIB);
    peer.send_raw(&header(BINARY, bytes.len() as u64, Some([0; 4])));
    let sent = peer.stream().share().send_until_stalled(&bytes, QUIET);
    let accepted = sent - peer.stream().unread();
    peer.into_stream().reset();
    let received = stream.receive_until_fin();
    assert_same(&received, &bytes[..received.len()]);
    assert!(received.len() >= accepted, "{} of {accepted}", received.len());
    drop(stream);
    assert_eq!(proxy.wait_for_closed(1)[0].code, 1006);
}

#[test]
fn a_request_with_frames_and_fin_in_one_segment_is_delivered() {
    let (proxy, target) = bridge(&NO_TIMER);
    for len in [5, 100_000] {
        let bytes = pattern(5, len);
        let mut stream = Stream::tcp(proxy.port());
        stream.send(&[request("/", &[]).as_bytes(), &frame(BINARY, &bytes)].concat());
        stream.finish();
        assert_same(&target.accept().receive_until_fin(), &bytes);
        let mut peer = Ws::opened(stream);
        peer.expect_end();
    }
}

#[test]
fn a_peer_reset_is_heard_while_its_reads_are_paused() {
    let (proxy, target) = narrow_bridge(&[&TIMER[..], &["--max-message", "0"]].concat());
    let (peer, stream) = connect_narrow(&proxy, &target);
    let wire = frame(BINARY, &pattern(5, 32 * MIB));
    let sent = peer.stream().share().send_until_stalled(&wire, QUIET);
    assert!(sent < wire.len(), "a target that does not read takes it all");
    let begin = Instant::now();
    peer.into_stream().reset();
    proxy.wait_for_closed(1);
    assert!(begin.elapsed() < BOUND, "{:?}", begin.elapsed());
    drop(stream);
}

#[test]
fn a_target_reset_is_heard_while_its_reads_are_paused() {
    let (proxy, target) = narrow_bridge(&TIMER);
    let (peer, mut stream) = connect_narrow(&proxy, &target);
    let bytes = pattern(5, 32 * MIB);
    let sent = stream.send_until_stalled(&bytes, QUIET);
    assert!(sent < bytes.len(), "a peer that does not read takes it all");
    let begin = Instant::now();
    stream.reset();
    proxy.wait_for_closed(1);
    assert!(begin.elapsed() < BOUND, "{:?}", begin.elapsed());
    drop(peer);
}

#[test]
fn a_protocol_error_delivers_everything_before_it_then_1002() {
    let (proxy, target) = narrow_bridge(&NO_TIMER);
    let (mut peer, mut stream) = connect_narrow(&proxy, &target);
    let bytes = pattern(6, 4 * MIB);
    let bad = frame(BINARY | 0x40, b"never seen");
    let more = frame(BINARY, &[b'x'; 50_000]);
    let writer = send_queued(&peer, [frame(BINARY, &bytes), bad, more].concat());
    assert_same(&stream.receive_until_fin(), &bytes);
    drop(stream);
    assert_eq!(peer.expect_close(), 1002);
    peer.expect_fin();
    writer.join().unwrap();
    drop(peer);
    assert_eq!(proxy.wait_for_closed(1)[0].code, 1002);
}

#[test]
fn target_reset_is_1011_behind_what_was_delivered() {
    let (proxy, target) = bridge(&NO_TIMER);
    let (mut peer, mut stream) = connect(&proxy, &target);
    let bytes = pattern(7, 100_000);
    stream.send(&bytes);
    assert_same(&peer.receive(bytes.len()), &bytes);
    stream.reset();
    assert_eq!(peer.expect_close(), 1011);
    peer.send(CLOSE, &reason(1011, b""));
    peer.expect_fin();
    drop(peer);
    assert_eq!(proxy.wait_for_closed(1)[0].code, 1011);
}

#[test]
fn target_reset_delivers_what_was_accepted_before_it() {
    let (proxy, target) = narrow_bridge(&NO_TIMER);
    let (mut peer, mut stream) = connect_narrow(&proxy, &target);
    let bytes = pattern(8, 16 * MIB);
    let sent = stream.send_until_stalled(&bytes, QUIET);
    let accepted = sent - stream.unread();
    stream.reset();
    let (received, code) = peer.receive_until_close();
    assert_same(&received, &bytes[..received.len()]);
    assert!(received.len() >= accepted, "{} of {accepted}", received.len());
    assert_eq!(code, 1011);
    peer.send(CLOSE, &reason(1011, b""));
    peer.expect_fin();
}

#[test]
fn a_write_that_the_target_refuses_is_1011() {
    let (proxy, target) = bridge(&NO_TIMER);
    let (mut peer, mut stream) = connect(&proxy, &target);
    let mut writer = peer.stream().share();
    let wire = frame(BINARY, &pattern(9, 12 * MIB));
    let sender = std::thread::spawn(move || writer.send(&wire));
    stream.receive(1000);
    stream.reset(); // with unread bytes in both kernels
    assert_eq!(peer.expect_close(), 1011);
    sender.join().unwrap();
    peer.send(CLOSE, &reason(1011, b""));
    peer.expect_fin();
}

#[test]
fn a_target_that_refuses_is_502() {
    let refusing = Refusing::new();
    let proxy = Proxy::to(&refusing.endpoint, &TIMER);
    let wire = [request("/", &[]).as_bytes(), &frame(BINARY, b"lost")].concat();
    Response::to(proxy.port(), &wire).expect_refusal(502);
}

#[test]
fn a_peer_that_never_answers_the_close_is_dropped() {
    let (proxy, target) = bridge(&TIMER);
    let (mut peer, mut stream) = connect(&proxy, &target);
    stream.send(b"bye");
    stream.finish();
    let (received, code) = peer.receive_until_close();
    assert_eq!((&received[..], code), (&b"bye"[..], 1000));
    let begin = Instant::now();
    peer.expect_fin();
    stream.expect_end();
    proxy.wait_for_closed(1);
    assert!(begin.elapsed() < BOUND, "{:?}", begin.elapsed());
}

#[test]
fn a_peer_that_only_sends_pings_after_the_close_is_dropped() {
    let (proxy, target) = bridge(&TIMER);
    let (mut peer, stream) = connect(&proxy, &target);
    drop(stream);
    assert_eq!(peer.expect_close(), 1000);
    let begin = Instant::now();
    let mut writer = peer.stream().share();
    while writer.try_send(&frame(PING, b"?")).is_ok() {
        assert!(begin.elapsed() < BOUND, "still served");
        std::thread::sleep(Duration::from_millis(50)); // the pace of this peer
    }
    proxy.wait_for_closed(1);
}

#[test]
fn pings_after_our_close_do_not_disturb_others() {
    let (proxy, target) = bridge(&NO_TIMER);
    let (mut peer, stream) = connect(&proxy, &target);
    drop(stream);
    assert_eq!(peer.expect_close(), 1000);
    for _ in 0..10 {
        peer.send(PING, b"?");
        peer.stream().wait_until_read();
        serves(&proxy, &target);
    }
    peer.send(CLOSE, &reason(1000, b""));
    peer.expect_fin();
}

#[test]
fn a_target_that_never_takes_the_rest_is_dropped() {
    let (proxy, target) = narrow_bridge(&TIMER);
    let (mut peer, stream) = connect(&proxy, &target);
    let close = frame(CLOSE, &reason(1000, b""));
    peer.send_raw(&[frame(BINARY, &pattern(10, 60_000)), close].concat());
    let begin = Instant::now();
    proxy.wait_for_closed(1);
    assert!(begin.elapsed() < BOUND, "{:?}", begin.elapsed());
    peer.expect_end();
    drop(stream);
}

#[test]
fn a_target_that_stays_open_when_the_peer_is_gone_is_dropped() {
    let (proxy, target) = bridge(&TIMER);
    let (peer, mut stream) = connect(&proxy, &target);
    drop(peer);
    let begin = Instant::now();
    stream.expect_fin();
    proxy.wait_for_closed(1);
    assert!(begin.elapsed() < BOUND, "{:?}", begin.elapsed());
    stream.send_until_refused(&vec![0; 8 * MIB]);
}

#[test]
fn a_target_that_talks_on_to_a_peer_that_is_gone_is_dropped() {
    let (proxy, target) = bridge(&TIMER);
    let (peer, mut stream) = connect(&proxy, &target);
    peer.stream().finish();
    stream.expect_fin();
    let begin = Instant::now();
    while stream.try_send(b"still here").is_ok() {
        assert!(begin.elapsed() < BOUND, "still served");
        std::thread::sleep(Duration::from_millis(50)); // the pace of this target
    }
    proxy.wait_for_closed(1);
}

#[test]
fn a_slow_peer_gets_all_that_was_queued_before_our_close() {
    let path = socket_path("slow-peer");
    let target = Target::unix(&path); // whose bytes come in large reads
    let proxy = Proxy::to(&target.endpoint, &SLOW);
    let (peer, mut stream) = connect_narrow(&proxy, &target);
    let bytes = pattern(11, 4 * MIB);
    stream.send_until_stalled(&bytes, QUIET);
    proxy.signal(libc::SIGTERM);
    let raw = read_slowly_at_first(peer.into_stream());
    let mut frames = parse_frames(&raw);
    let close = frames.pop().expect("a Close frame");
    assert_eq!((close.first, close_code(&close.payload)), (CLOSE, 1001));
    let received: Vec<u8> = frames.into_iter().flat_map(|f| f.payload).collect();
    assert_same(&received, &bytes[..received.len()]);
    let read = proxy.wait_for_closed(1)[0].outbound;
    assert_eq!(received.len() as u64, read, "what was read from the target");
    let _ = std::fs::remove_file(path);
}

#[test]
fn a_slow_target_gets_all_that_the_peer_sent_around_our_close() {
    let target = Target::listen_narrow();
    let proxy = Proxy::to(&target.endpoint, &[&SLOW[..], &["--max-message", "0"]].concat());
    let (mut peer, stream) = connect(&proxy, &target);
    let bytes = pattern(12, 32 * MIB);
    peer.send_raw(&header(BINARY, bytes.len() as u64, Some([0; 4])));
    let sent = peer.stream().share().send_until_stalled(&bytes, QUIET);
    proxy.signal(libc::SIGTERM);
    assert_same(&read_slowly_at_first(stream), &bytes[..sent]);
    assert_eq!(peer.expect_close(), 1001);
}

#[test]
fn what_the_kernel_holds_when_the_timer_fires_is_still_let_out() {
    let (proxy, target) = bridge(&["--close-timeout", "500ms"]);
    let (mut peer, mut stream) = connect(&proxy, &target);
    let bytes = pattern(13, 200_000);
    stream.send(&bytes);
    stream.finish();
    proxy.wait_for_closed(1);
    let (received, code) = peer.receive_until_close();
    assert_same(&received, &bytes);
    assert_eq!(code, 1000);
    peer.expect_fin();
}

#[test]
fn what_the_kernel_holds_is_let_out_even_if_the_peer_has_sent_more_than_was_read() {
    let target = Target::listen_narrow();
    let proxy = Proxy::to(&target.endpoint, &["--close-timeout", "500ms"]);
    let (mut peer, mut stream) = connect(&proxy, &target);
    peer.send(BINARY, &pattern(14, 400_000)); // more than waits for a target that does not read
    let bytes = pattern(15, 20_000);
    stream.send(&bytes);
    stream.finish();
    proxy.wait_for_closed(1);
    let (received, code) = peer.receive_until_close();
    assert_same(&received, &bytes);
    assert_eq!(code, 1000);
    peer.expect_fin();
}

#[test]
fn both_ends_may_close_at_once() {
    let (proxy, target) = bridge(&NO_TIMER);
    for _ in 0..50 {
        let (mut peer, mut stream) = connect(&proxy, &target);
        peer.send(BINARY, b"up");
        stream.send(b"down");
        assert_same(&peer.receive(4), b"down");
        assert_same(&stream.receive(2), b"up");
        let mut writer = peer.stream().share();
        std::thread::scope(|scope| {
            scope.spawn(|| writer.send(&frame(CLOSE, &reason(1000, b""))));
            scope.spawn(|| stream.finish());
        });
        assert_eq!(peer.expect_close(), 1000);
        peer.expect_fin();
        stream.expect_fin();
    }
    let closed = proxy.wait_for_closed(50);
    assert!(closed.iter().all(|c| c.code == 1000), "{closed:?}");
}

#[test]
fn both_ends_may_vanish_at_once() {
    let (proxy, target) = bridge(&TIMER);
    for _ in 0..50 {
        let (mut peer, mut stream) = connect(&proxy, &target);
        peer.send(BINARY, &[b'x'; 10_000]);
        stream.send(&[b'y'; 10_000]);
        peer.into_stream().reset();
        stream.reset();
    }
    proxy.wait_for_closed(50);
    serves(&proxy, &target);
}

#[test]
fn no_way_of_ending_leaves_a_descriptor_behind() {
    let (proxy, target) = bridge(&["--close-timeout", "200ms"]);
    serves(&proxy, &target);
    proxy.wait_for_closed(1);
    let before = proxy.open_files();
    for _ in 0..5 {
        for way in [
            |_peer: Ws, stream: Stream| stream.reset(),
            |peer: Ws, _stream: Stream| peer.into_stream().reset(),
            |peer: Ws, _stream: Stream| peer.stream().finish(),
            |_peer: Ws, stream: Stream| stream.finish(),
            |mut peer: Ws, _stream: Stream| peer.send(CLOSE, b""),
            |mut peer: Ws, _stream: Stream| peer.send(FIN | 0x0b, b""),
        ] {
            let (peer, stream) = connect(&proxy, &target);
            way(peer, stream);
        }
        Stream::tcp(proxy.port()).send(b"GET / HT");
    }
    proxy.wait_for_closed(31);
    let wait = common::Wait::begin();
    while proxy.open_files() > before {
        wait.go_on("all sockets to be closed");
    }
}

/// Sends all and then FIN, from a thread.
fn send_and_finish(mut stream: Stream, bytes: Vec<u8>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        stream.send(&bytes);
        stream.finish();
    })
}

/// Sends until everything on the way is full, or all of it waits there; the rest from a thread.
fn send_queued(peer: &Ws, wire: Vec<u8>) -> std::thread::JoinHandle<()> {
    let mut writer = peer.stream().share();
    let sent = writer.send_until_stalled(&wire, QUIET);
    std::thread::spawn(move || writer.send(&wire[sent..]))
}

fn socket_path(name: &str) -> std::path::PathBuf {
    std::env::temp_dir().join(format!("ws-tcp-proxy-{}-{name}", std::process::id()))
}

/// Takes 5 kB every 100 ms, for longer than [`SLOW`] would let a stream stand still, and then the
/// rest up to FIN.
fn read_slowly_at_first(mut stream: Stream) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..40 {
        let mut part = std::io::Read::take(&mut stream, 5_000);
        std::io::Read::read_to_end(&mut part, &mut bytes).expect("FIN, not RST");
        std::thread::sleep(Duration::from_millis(100)); // the pace of this reader
    }
    bytes.extend(stream.receive_until_fin());
    bytes
}

#[track_caller]
fn serves(proxy: &Proxy, target: &Target) {
    let (mut peer, mut stream) = connect(proxy, target);
    peer.send(BINARY, b"served");
    assert_same(&stream.receive(6), b"served");
    peer.close(1000);
    stream.expect_fin();
}
