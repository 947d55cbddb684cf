//! Frames that RFC 6455 forbids or that our limits forbid: each closes with its code, the valid bytes
//! before it reach the target, and it costs no memory.

mod common;

use common::ws::{close_code, header, reason};
use common::{
    assert_same, bridge, connect, frame, pattern, Proxy, Target, BINARY, CLOSE, CONTINUATION, FIN,
    PING, PONG, TEXT,
};

const KEY: Option<[u8; 4]> = Some([1, 2, 3, 4]);
const PARTS: u8 = BINARY & !FIN;
const TEXT_PARTS: u8 = TEXT & !FIN;

/// What is sent behind a valid message, the code that it earns, and what of it is still delivered.
struct Case {
    name: &'static str,
    wire: Vec<u8>,
    code: u16,
    delivered: &'static [u8],
}

fn case(name: &'static str, code: u16, wire: Vec<u8>) -> Case {
    let delivered = b"";
    Case { name, wire, code, delivered }
}

fn delivers(delivered: &'static [u8], case: Case) -> Case {
    Case { delivered, ..case }
}

#[test]
fn headers_that_break_a_rule_are_1002() {
    let (proxy, target) = bridge(&[]);
    let unmasked = [header(BINARY, 5, None), b"hello".to_vec()].concat();
    let mut cases = vec![
        case("unmasked frame", 1002, unmasked),
        case("unmasked Close", 1002, vec![CLOSE, 0]),
        case("RSV1", 1002, frame(BINARY | 0x40, b"x")),
        case("RSV2", 1002, frame(BINARY | 0x20, b"x")),
        case("RSV3", 1002, frame(BINARY | 0x10, b"x")),
        case("RSV1 on a Ping", 1002, frame(PING | 0x40, b"x")),
        case("length of 125 in 16 bits", 1002, long_form(126, 125)),
        case("length of 0 in 16 bits", 1002, long_form(126, 0)),
        case("length of 65535 in 64 bits", 1002, long_form(127, 65535)),
        case("length of 5 in 64 bits", 1002, long_form(127, 5)),
        case("length of 2^63", 1002, long_form(127, 1 << 63)),
        case("length of 2^64 - 1", 1002, long_form(127, u64::MAX)),
    ];
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        cases.push(case("unknown opcode", 1002, frame(FIN | opcode, b"x")));
    }
    run(&proxy, &target, cases);
}

#[test]
fn control_frames_that_break_a_rule_are_1002() {
    let (proxy, target) = bridge(&[]);
    let cases = vec![
        case("fragmented Ping", 1002, frame(PING & !FIN, b"x")),
        case("fragmented Pong", 1002, frame(PONG & !FIN, b"x")),
        case("fragmented Close", 1002, frame(CLOSE & !FIN, b"")),
        case("Ping of 126 bytes", 1002, frame(PING, &[b'x'; 126])),
        case("Pong of 126 bytes", 1002, frame(PONG, &[b'x'; 126])),
        case("Close of 126 bytes", 1002, frame(CLOSE, &[3; 126])),
        case("Ping of 70000 bytes", 1002, frame(PING, &[b'x'; 70_000])),
        case("Close of one byte", 1002, frame(CLOSE, b"\x03")),
        case("reason not UTF-8", 1007, close(1000, b"\xff")),
        case("reason cut short", 1007, close(1000, b"a\xe2\x82")),
    ];
    run(&proxy, &target, cases);
    let codes = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535];
    let cases = codes.map(|code| case("forbidden close code", 1002, close(code, b"x")));
    run(&proxy, &target, cases.into());
}

#[test]
fn fragments_out_of_order_are_1002() {
    let (proxy, target) = bridge(&[]);
    let part = frame(PARTS, b"part");
    let ping = frame(PING, b"?");
    let follows = |next: Vec<u8>| [&part[..], &next].concat();
    let cases = vec![
        case("continuation first", 1002, frame(CONTINUATION | FIN, b"x")),
        case("open continuation first", 1002, frame(CONTINUATION, b"x")),
        delivers(b"part", case("binary inside", 1002, follows(frame(BINARY, b"x")))),
        delivers(b"part", case("text inside", 1002, follows(frame(TEXT, b"x")))),
        delivers(b"part", case("start inside", 1002, follows(frame(PARTS, b"x")))),
        delivers(
            b"partend",
            case(
                "continuation behind the end",
                1002,
                follows(
                    [ping, frame(CONTINUATION | FIN, b"end"), frame(CONTINUATION | FIN, b"x")]
                        .concat(),
                ),
            ),
        ),
    ];
    run(&proxy, &target, cases);
}

#[test]
fn text_that_is_not_utf_8_is_1007() {
    let (proxy, target) = bridge(&[]);
    let split =
        [frame(TEXT_PARTS, b"ab\xe2"), frame(PING, b"?"), frame(CONTINUATION | FIN, b"\x82A")];
    let cut = [frame(TEXT_PARTS, b"ab\xe2"), frame(CONTINUATION | FIN, b"\x82")];
    let cases = vec![
        delivers(b"ab", case("bad byte", 1007, frame(TEXT, b"ab\xffcd"))),
        delivers(b"", case("overlong", 1007, frame(TEXT, b"\xc0\xaf"))),
        delivers(b"", case("surrogate", 1007, frame(TEXT, b"\xed\xa0\x80"))),
        delivers(b"", case("too high", 1007, frame(TEXT, b"\xf4\x90\x80\x80"))),
        delivers(b"ab", case("cut short", 1007, frame(TEXT, b"ab\xe2\x82"))),
        delivers(b"ab", case("bad over fragments", 1007, split.concat())),
        delivers(b"ab", case("cut short in fragments", 1007, cut.concat())),
    ];
    for case in cases {
        for bytewise in [false, true] {
            let received = outcome(&proxy, &target, &case, bytewise);
            // Of a character that turns out bad, its start may or may not have gone.
            let tail = received.strip_prefix(b"before").expect("what was before");
            assert!(tail.starts_with(case.delivered), "{}: {tail:x?}", case.name);
        }
    }
}

#[test]
fn a_bad_byte_in_text_is_seen_before_the_frame_ends() {
    let (proxy, target) = bridge(&[]);
    let (mut peer, mut stream) = connect(&proxy, &target);
    peer.send(BINARY, b"before");
    peer.send_raw(&header(TEXT, 1000, Some([0; 4])));
    peer.send_raw(b"ab\xf5");
    assert_eq!(peer.expect_close(), 1007);
    peer.expect_fin();
    assert!(stream.receive_until_fin().starts_with(b"beforeab"));
}

#[test]
fn text_may_be_cut_inside_a_character_by_frames_and_segments() {
    let (proxy, target) = bridge(&[]);
    let (mut peer, mut stream) = connect(&proxy, &target);
    let text = "a\u{e4}\u{20ac}\u{1f600}";
    let mut first = TEXT_PARTS;
    for byte in text.as_bytes() {
        peer.send(first, &[*byte]);
        peer.stream().wait_until_read();
        first = CONTINUATION;
    }
    peer.send(CONTINUATION | FIN, b"");
    assert_same(&stream.receive(text.len()), text.as_bytes());
    for byte in frame(TEXT, text.as_bytes()) {
        peer.send_raw(&[byte]);
        peer.stream().wait_until_read();
    }
    assert_same(&stream.receive(text.len()), text.as_bytes());
    peer.close(1000);
}

#[test]
fn binary_is_not_taken_for_text() {
    let (proxy, target) = bridge(&[]);
    let (mut peer, mut stream) = connect(&proxy, &target);
    peer.send(BINARY, b"\xff\xfe");
    peer.send(PING, b"\xff\xfe");
    assert_same(&stream.receive(2), b"\xff\xfe");
    peer.close(1000);
}

#[test]
fn a_message_that_is_too_long_is_1009_before_a_byte_of_the_frame() {
    let (proxy, target) = bridge(&["--max-message", "1000"]);
    let part = frame(PARTS, &[b'x'; 600]);
    let fits = frame(CONTINUATION, &[b'x'; 400]);
    let cases = vec![
        case("one frame", 1009, frame(BINARY, &[b'x'; 1001])),
        case("only announced", 1009, header(BINARY, 1001, KEY)),
        case("2^62 announced", 1009, header(BINARY, 1 << 62, KEY)),
        case("2^63 - 1 announced", 1009, header(TEXT, (1 << 63) - 1, KEY)),
        delivers(
            &[b'x'; 600],
            case(
                "over fragments",
                1009,
                [&part[..], &frame(CONTINUATION | FIN, &[b'x'; 401])].concat(),
            ),
        ),
        delivers(
            &[b'x'; 1000],
            case(
                "one byte more",
                1009,
                [&part[..], &fits, &frame(CONTINUATION | FIN, b"y")].concat(),
            ),
        ),
    ];
    run(&proxy, &target, cases);
}

#[test]
fn a_message_of_the_full_length_passes_again_and_again() {
    let (proxy, target) = bridge(&["--max-message", "1000"]);
    let (mut peer, mut stream) = connect(&proxy, &target);
    for _ in 0..3 {
        peer.send(BINARY, &[b'x'; 1000]);
        peer.send(PARTS, &[b'y'; 600]);
        peer.send(PING, &[b'z'; 125]);
        peer.send(CONTINUATION, &[b'y'; 400]);
        peer.send(CONTINUATION | FIN, b"");
        assert_same(&stream.receive(1000), &[b'x'; 1000]);
        assert_same(&stream.receive(1000), &[b'y'; 1000]);
    }
}

#[test]
fn the_default_limit_is_16_mib() {
    let (proxy, target) = bridge(&[]);
    let one_more = header(BINARY, (16 << 20) + 1, KEY);
    let huge = header(BINARY, 1 << 62, KEY);
    run(
        &proxy,
        &target,
        vec![case("16 MiB and one", 1009, one_more), case("2^62 announced", 1009, huge)],
    );
    let (mut peer, mut stream) = connect(&proxy, &target);
    let bytes = pattern(1, 16 << 20);
    let wire = frame(BINARY, &bytes);
    let writer = std::thread::spawn(move || peer.send_raw(&wire));
    assert_same(&stream.receive(bytes.len()), &bytes);
    writer.join().unwrap();
}

#[test]
fn an_announced_length_costs_no_memory() {
    let (proxy, target) = bridge(&["--max-message", "0"]);
    let (mut peer, mut stream) = connect(&proxy, &target);
    peer.send(BINARY, &[b'x'; 300_000]); // the buffer is touched once
    stream.receive(300_000);
    let before = proxy.peak_memory();
    for announced in [1 << 62, (1 << 63) - 1] {
        let (mut peer, mut stream) = connect(&proxy, &target);
        peer.send_raw(&header(BINARY, announced, Some([0; 4])));
        peer.send_raw(b"streams");
        assert_same(&stream.receive(7), b"streams");
    }
    let grown = proxy.peak_memory() - before;
    assert!(grown < 1 << 20, "{grown} bytes more");
}

#[test]
fn every_close_code_that_may_be_sent_is_answered_with_itself() {
    let (proxy, target) = bridge(&[]);
    let known = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014];
    for code in known.into_iter().chain([3000, 3999, 4000, 4999]) {
        let (mut peer, mut stream) = connect(&proxy, &target);
        peer.send_raw(&close(code, &[b'r'; 123]));
        stream.expect_fin();
        drop(stream);
        assert_eq!(peer.expect_close(), code);
        peer.expect_fin();
    }
}

#[test]
fn random_bytes_always_end_and_harm_nobody() {
    let (proxy, target) = bridge(&["--close-timeout", "1s"]);
    let (mut bystander, mut beside) = connect(&proxy, &target);
    for seed in 0..300 {
        let (mut peer, mut stream) = connect(&proxy, &target);
        let mut noise = pattern(seed, 20 + seed as usize * 5);
        if seed % 2 == 0 {
            // A valid opcode and mask bit lead further into the decoder.
            noise[0] &= 0x8b;
            noise[1] |= 0x80;
        }
        peer.send(BINARY, b"before");
        peer.send_raw(&noise);
        peer.stream().finish();
        let received = stream.receive_until_fin();
        assert!(received.starts_with(b"before"), "seed {seed}");
        drop(stream);
        while peer.next_frame().is_some() {}
    }
    bystander.send(BINARY, b"unharmed");
    assert_same(&beside.receive(8), b"unharmed");
    beside.send(b"unharmed");
    assert_same(&bystander.receive(8), b"unharmed");
}

/// Every case in one segment and byte by byte.
#[track_caller]
fn run(proxy: &Proxy, target: &Target, cases: Vec<Case>) {
    for case in cases {
        for bytewise in [false, true] {
            let received = outcome(proxy, target, &case, bytewise);
            let wanted = [&b"before"[..], case.delivered].concat();
            let [got, wanted] = [&received, &wanted].map(|b| b.escape_ascii().to_string());
            assert_eq!(got, wanted, "{} (bytewise: {bytewise})", case.name);
        }
    }
}

/// Plays one case up to its Close code and FIN; what the target received.
#[track_caller]
fn outcome(proxy: &Proxy, target: &Target, case: &Case, bytewise: bool) -> Vec<u8> {
    let (mut peer, mut stream) = connect(proxy, target);
    let wire = [&frame(BINARY, b"before")[..], &case.wire].concat();
    let step = if bytewise { 1 } else { wire.len() };
    for part in wire.chunks(step).take(2000) {
        peer.send_raw(part);
    }
    let received = stream.receive_until_fin();
    drop(stream);
    let name = case.name;
    loop {
        match peer.frame() {
            frame if frame.first == PONG => {}
            frame if frame.first == CLOSE => {
                let code = close_code(&frame.payload);
                assert_eq!(code, case.code, "{name} (bytewise: {bytewise})");
                break;
            }
            frame => panic!("{name}: {frame:?}"),
        }
    }
    peer.expect_fin();
    received
}

fn close(code: u16, text: &[u8]) -> Vec<u8> {
    frame(CLOSE, &reason(code, text))
}

/// A binary header whose length is in the form of `marker`, needed or not, and a small payload.
fn long_form(marker: u8, len: u64) -> Vec<u8> {
    let bytes = len.to_be_bytes();
    let len = match marker {
        126 => &bytes[6..],
        _ => &bytes[..],
    };
    [&[BINARY, 0x80 | marker], len, &[1, 2, 3, 4], b"payload"].concat()
}
