//! The main job: every byte of a WebSocket peer reaches the target and every byte of the target
//! reaches the peer, however frames and segments cut them. The defects that the libuv original is
//! known for are here as tests: a 200-byte frame, a frame split over two reads, an empty frame, a
//! ping payload that reaches the target, large reads, a first frame beside the request.

mod common;

use common::ws::{header, request, Frame};
use common::{
    assert_same, bridge, connect, connect_narrow, frame, narrow_bridge, pattern, Proxy, Random,
    Stream, Target, Ws, BINARY, CONTINUATION, FIN, PING, PONG, TEXT,
};

const MIB: usize = 1 << 20;

/// `--buffer-size`: no outbound frame is longer.
const BUFFER: usize = 256 << 10;

#[test]
fn a_200_byte_frame_arrives_whole() {
    let (proxy, target) = bridge(&[]);
    let (mut peer, mut stream) = connect(&proxy, &target);
    let bytes = pattern(1, 200);
    peer.send(BINARY, &bytes);
    assert_same(&stream.receive(200), &bytes);
    stream.send(&bytes);
    assert_same(&peer.expect(BINARY), &bytes);
}

#[test]
fn a_frame_split_over_two_reads_arrives_whole() {
    let (proxy, target) = bridge(&[]);
    let (mut peer, mut stream) = connect(&proxy, &target);
    for len in [5, 200, 70_000] {
        let bytes = pattern(len as u64, len);
        let wire = frame(BINARY, &bytes);
        for cut in (1..20.min(wire.len())).chain([wire.len() / 2, wire.len() - 1]) {
            peer.send_raw(&wire[..cut]);
            peer.stream().wait_until_read();
            peer.send_raw(&wire[cut..]);
            assert_same(&stream.receive(len), &bytes);
        }
    }
}

#[test]
fn part_of_a_frame_is_forwarded_before_the_rest_arrives() {
    let (proxy, target) = bridge(&[]);
    let (mut peer, mut stream) = connect(&proxy, &target);
    let wire = frame(BINARY, b"the first half, the second half");
    let middle = wire.len() - 16;
    peer.send_raw(&wire[..middle]);
    assert_same(&stream.receive(15), b"the first half,");
    peer.send_raw(&wire[middle..]);
    assert_same(&stream.receive(16), b" the second half");
}

#[test]
fn data_follows_an_empty_frame() {
    let (proxy, target) = bridge(&[]);
    let (mut peer, mut stream) = connect(&proxy, &target);
    for empty in [BINARY, TEXT] {
        peer.send(empty, b"");
        peer.send(BINARY, b"after");
        assert_same(&stream.receive(5), b"after");
    }
    peer.send(BINARY & !FIN, b"");
    peer.send(CONTINUATION, b"");
    peer.send(CONTINUATION | FIN, b"");
    peer.send(BINARY, b"after fragments");
    assert_same(&stream.receive(15), b"after fragments");
}

#[test]
fn a_ping_is_answered_and_its_payload_does_not_reach_the_target() {
    let (proxy, target) = bridge(&[]);
    let (mut peer, mut stream) = connect(&proxy, &target);
    for payload in [&b""[..], b"secret", &[0xff; 125]] {
        peer.send(BINARY, b"before ");
        peer.send(PING, payload);
        peer.send(BINARY, b"behind");
        assert_same(&peer.expect(PONG), payload);
        assert_same(&stream.receive(13), b"before behind");
    }
    peer.send(PONG, b"uncalled");
    peer.send(BINARY, b"still here");
    assert_same(&stream.receive(10), b"still here");
}

#[test]
fn of_many_pings_the_last_one_is_answered() {
    let (proxy, target) = bridge(&[]);
    let (mut peer, _stream) = connect(&proxy, &target);
    let pings: Vec<u8> = (0..1000).flat_map(|i| frame(PING, format!("{i}").as_bytes())).collect();
    peer.send_raw(&pings);
    while peer.expect(PONG) != b"999" {}
}

#[test]
fn reads_of_more_than_64_kib_from_the_target_arrive_whole() {
    let (proxy, target) = bridge(&[]);
    let (mut peer, mut stream) = connect(&proxy, &target);
    let bytes = pattern(2, 5 * MIB);
    let sent = bytes.clone();
    let writer = std::thread::spawn(move || stream.send(&sent));
    let mut received = Vec::new();
    while received.len() < bytes.len() {
        let Frame { first, payload } = peer.frame();
        assert_eq!(first, BINARY, "one message out per read");
        assert!(!payload.is_empty(), "an empty message");
        assert!(payload.len() <= BUFFER, "a frame of {}", payload.len());
        received.extend(payload);
    }
    assert_same(&received, &bytes);
    writer.join().unwrap();
}

#[test]
fn a_frame_of_many_megabytes_streams_through() {
    let (proxy, target) = bridge(&["--max-message", "0"]);
    let (mut peer, mut stream) = connect(&proxy, &target);
    let bytes = pattern(3, 24 * MIB);
    let wire = frame(BINARY, &bytes);
    let writer = std::thread::spawn(move || peer.send_raw(&wire));
    assert_same(&stream.receive(24 * MIB), &bytes);
    writer.join().unwrap();
}

#[test]
fn the_first_frames_may_share_a_segment_with_the_request() {
    let (proxy, target) = bridge(&[]);
    for len in [1, 200, 7000, 100_000] {
        let bytes = pattern(len as u64, len);
        let (mut peer, mut stream) = eager(&proxy, &target, &bytes);
        assert_same(&stream.receive(2 * len), &[&bytes[..], &bytes].concat());
        stream.send(b"answer");
        assert_same(&peer.receive(6), b"answer");
    }
}

#[test]
fn the_first_frames_wait_for_a_target_that_is_slow_to_answer() {
    for len in [200, 100_000] {
        let slow = common::target::Silent::new();
        let proxy = Proxy::to(&slow.endpoint, &[]);
        let bytes = pattern(len as u64, len);
        let mut stream = Stream::tcp(proxy.port());
        stream.send(&[request("/", &[]).as_bytes(), &frame(BINARY, &bytes)].concat());
        assert!(
            !stream.is_readable_within(std::time::Duration::from_millis(100)),
            "an answer before the target's"
        );
        let target = slow.speak();
        let mut peer = Ws::opened(stream);
        let mut stream = target.accept();
        assert_same(&stream.receive(len), &bytes);
        stream.send(b"answer");
        assert_same(&peer.receive(6), b"answer");
    }
}

#[test]
fn fragments_with_a_ping_between_are_one_stream() {
    let (proxy, target) = bridge(&[]);
    let (mut peer, mut stream) = connect(&proxy, &target);
    let parts = [
        frame(BINARY & !FIN, b"one "),
        frame(PING, b"?"),
        frame(CONTINUATION, b"two "),
        frame(PONG, b"uncalled"),
        frame(CONTINUATION, b""),
        frame(CONTINUATION | FIN, b"three"),
        frame(TEXT, b" four"),
    ];
    peer.send_raw(&parts.concat());
    assert_same(&stream.receive(18), b"one two three four");
    assert_same(&peer.expect(PONG), b"?");
}

#[test]
fn a_peer_that_writes_one_byte_at_a_time_is_understood() {
    let (proxy, target) = bridge(&[]);
    let bytes = pattern(4, 300);
    let mut peer = Stream::tcp(proxy.port());
    for byte in request("/", &[]).as_bytes() {
        peer.send(&[*byte]);
    }
    let mut peer = Ws::opened(peer);
    let mut stream = target.accept();
    let wire = [
        frame(BINARY & !FIN, &bytes[..130]),
        frame(PING, b"?"),
        frame(CONTINUATION | FIN, &bytes[130..]),
    ];
    for byte in wire.concat() {
        peer.send_raw(&[byte]);
        peer.stream().wait_until_read();
    }
    assert_same(&stream.receive(300), &bytes);
    assert_same(&peer.expect(PONG), b"?");
}

#[test]
fn a_reader_that_takes_one_byte_at_a_time_gets_every_byte() {
    let (proxy, target) = narrow_bridge(&[]);
    let (mut peer, mut stream) = connect_narrow(&proxy, &target);
    let bytes = pattern(5, 2 * MIB);
    let (wire, sent) = (frame(BINARY, &bytes), bytes.clone());
    let mut reader = stream.share();
    std::thread::scope(|scope| {
        scope.spawn(|| stream.send(&sent));
        let mut writer = peer.stream().share();
        scope.spawn(move || writer.send(&wire));
        scope.spawn(|| {
            let slowly: Vec<u8> = (0..5000).flat_map(|_| reader.receive(1)).collect();
            assert_same(&slowly, &bytes[..5000]);
            assert_same(&reader.receive(bytes.len() - 5000), &bytes[5000..]);
        });
        let mut slow = peer.stream().share();
        let slowly: Vec<u8> = (0..5000).flat_map(|_| slow.receive(1)).collect();
        let rest = slow_rest(&mut peer, slowly);
        assert_same(&rest, &bytes);
    });
}

#[test]
fn random_sizes_both_ways_at_once_arrive_intact() {
    let (proxy, target) = bridge(&[]);
    let (peer, stream) = connect(&proxy, &target);
    exchange(peer, stream, 6, 32 * MIB);
}

#[test]
fn random_sizes_arrive_intact_through_full_buffers() {
    let (proxy, target) = narrow_bridge(&["--buffer-size", "16KiB"]);
    let (peer, stream) = connect_narrow(&proxy, &target);
    exchange(peer, stream, 7, 6 * MIB);
}

#[test]
fn thirty_two_connections_at_once_do_not_mix() {
    let (proxy, target) = bridge(&[]);
    std::thread::scope(|scope| {
        for seed in 0..32 {
            let (peer, stream) = connect(&proxy, &target);
            scope.spawn(move || exchange(peer, stream, 100 + seed, MIB));
        }
    });
}

/// A request and two frames in one write, the second one larger than the first segment.
fn eager(proxy: &Proxy, target: &Target, bytes: &[u8]) -> (Ws, Stream) {
    let mut stream = Stream::tcp(proxy.port());
    let one = frame(BINARY, bytes);
    stream.send(&[request("/", &[]).as_bytes(), &one, &one].concat());
    (Ws::opened(stream), target.accept())
}

/// Joins the frames that `start` begins in the middle of a header or a payload.
fn slow_rest(peer: &mut Ws, start: Vec<u8>) -> Vec<u8> {
    let mut wire = std::io::Read::chain(&start[..], peer.stream().share());
    let mut bytes = Vec::new();
    while bytes.len() < 2 * MIB {
        let payload = read_frame(&mut wire);
        bytes.extend(payload);
    }
    bytes
}

/// One unmasked binary frame of any length form.
fn read_frame(wire: &mut impl std::io::Read) -> Vec<u8> {
    let mut start = [0; 2];
    wire.read_exact(&mut start).unwrap();
    assert_eq!(start[0], BINARY);
    let extra = match start[1] {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let mut long = [0; 8];
    wire.read_exact(&mut long[8 - extra..]).unwrap();
    let len = match extra {
        0 => u64::from(start[1]),
        _ => u64::from_be_bytes(long),
    };
    assert_eq!(header(BINARY, len, None).len(), 2 + extra);
    let mut payload = vec![0; len as usize];
    wire.read_exact(&mut payload).unwrap();
    payload
}

/// Random frames with pings one way and random writes the other way, both at once.
fn exchange(mut peer: Ws, mut stream: Stream, seed: u64, len: usize) {
    let up = pattern(seed, len);
    let down = pattern(seed ^ 0xffff, len);
    let (mut writer, mut reader) = (peer.stream().share(), stream.share());
    std::thread::scope(|scope| {
        scope.spawn(|| send_in_frames(&mut writer, &up, seed));
        scope.spawn(|| send_in_pieces(&mut stream, &down, seed));
        scope.spawn(|| assert_same(&reader.receive(len), &up));
        let mut received = Vec::with_capacity(len);
        while received.len() < len {
            let frame = peer.frame();
            match frame.first {
                PONG => assert_eq!(frame.payload, b"in between", "seed {seed}"),
                BINARY => received.extend(frame.payload),
                _ => panic!("seed {seed}: {:#04x}", frame.first),
            }
        }
        assert_same(&received, &down);
    });
    // Pongs may still be on their way, but nothing else is.
    peer.close(1000);
    stream.expect_fin();
}

/// Whole and fragmented messages of random sizes, with pings between and inside.
fn send_in_frames(writer: &mut Stream, bytes: &[u8], seed: u64) {
    let mut random = Random::new(seed);
    let (mut rest, mut open) = (bytes, false);
    while !rest.is_empty() || open {
        let (part, tail) = rest.split_at(random.size().min(rest.len()));
        rest = tail;
        let opcode = if open { CONTINUATION } else { BINARY & !FIN };
        open = random.below(3) == 0;
        let fin = if open { 0 } else { FIN };
        writer.send(&frame(opcode | fin, part));
        if random.below(8) == 0 {
            writer.send(&frame(PING, b"in between"));
        }
    }
}

fn send_in_pieces(stream: &mut Stream, bytes: &[u8], seed: u64) {
    let mut random = Random::new(seed);
    let mut rest = bytes;
    while !rest.is_empty() {
        let (part, tail) = rest.split_at(random.size().min(rest.len()));
        stream.send(part);
        rest = tail;
    }
}
