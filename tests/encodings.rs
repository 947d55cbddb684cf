//! What payloads look like: `binary`, `text` and `base64`, chosen by option, query or subprotocol.
//! Text is never cut inside a character, and what cannot be decoded closes with 1007 after
//! everything before it was delivered.

mod common;

use common::ws::{frame, reason, request, Response};
use common::{
    assert_same, bridge, connect, connect_narrow, narrow_bridge, pattern, Random, Stream, Ws,
    BINARY, CLOSE, CONTINUATION, FIN, TEXT,
};

#[test]
fn binary_passes_every_byte_and_takes_text_too() {
    let (proxy, target) = bridge(&["--encoding", "binary"]);
    let (mut peer, mut stream) = connect(&proxy, &target);
    let bytes: Vec<u8> = (0..=255).collect();
    peer.send(BINARY, &bytes);
    peer.send(TEXT, "zwölf €".as_bytes());
    assert_same(&stream.receive(256), &bytes);
    assert_same(&stream.receive(10), "zwölf €".as_bytes());
    stream.send(&bytes);
    assert_same(&peer.expect(BINARY), &bytes);
}

#[test]
fn text_goes_out_as_text_messages_and_takes_both_kinds() {
    let (proxy, target) = bridge(&["--encoding", "text"]);
    let (mut peer, mut stream) = connect(&proxy, &target);
    peer.send(TEXT, "größer ".as_bytes());
    peer.send(BINARY, b"\xff\x00");
    assert_same(&stream.receive(11), b"gr\xc3\xb6\xc3\x9fer \xff\x00");
    stream.send("größer\r\n".as_bytes());
    assert_same(&peer.expect(TEXT), "größer\r\n".as_bytes());
}

#[test]
fn text_waits_for_the_rest_of_a_character() {
    let (proxy, target) = bridge(&["--encoding", "text"]);
    let (mut peer, mut stream) = connect(&proxy, &target);
    for (first, second) in [("a\u{20ac}", 2), ("a\u{1f600}", 1), ("a\u{1f600}", 3), ("aä", 1)]
        .map(|(text, cut)| text.as_bytes().split_at(1 + cut))
    {
        stream.send(first);
        assert_same(&peer.expect(TEXT), b"a");
        stream.send(second);
        let whole = [&first[1..], second].concat();
        assert_same(&peer.expect(TEXT), &whole);
    }
}

#[test]
fn text_sends_no_empty_message_while_it_waits() {
    let (proxy, target) = bridge(&["--encoding", "text"]);
    let (mut peer, mut stream) = connect(&proxy, &target);
    for byte in "\u{1f600}".as_bytes() {
        stream.send(&[*byte]);
        stream.wait_until_read();
    }
    assert_same(&peer.expect(TEXT), "\u{1f600}".as_bytes());
}

#[test]
fn text_is_never_cut_inside_a_character() {
    let (proxy, target) = bridge(&["--encoding", "text", "--buffer-size", "4KiB"]);
    let (mut peer, mut stream) = connect(&proxy, &target);
    let text = random_text(7, 300_000);
    let sent = text.clone();
    let writer = std::thread::spawn(move || {
        let (mut rest, mut random) = (sent.as_bytes(), Random::new(8));
        while !rest.is_empty() {
            let (part, tail) = rest.split_at(random.size().min(rest.len()));
            stream.send(part);
            rest = tail;
        }
    });
    let mut received = String::new();
    while received.len() < text.len() {
        let payload = peer.expect(TEXT);
        assert!(!payload.is_empty(), "an empty message");
        received += std::str::from_utf8(&payload).expect("each message is UTF-8");
    }
    assert_same(received.as_bytes(), text.as_bytes());
    writer.join().unwrap();
}

#[test]
fn target_bytes_that_are_not_utf_8_close_with_1007_behind_the_valid_ones() {
    let invalid: [&[u8]; 7] = [
        b"\xff",
        b"\xc0\x80",         // overlong
        b"\xed\xa0\x80",     // a surrogate
        b"\xf4\x90\x80\x80", // beyond U+10FFFF
        b"\x80",             // a continuation without its start
        b"\xe2\x82A",        // a start without its rest
        b"\xe2\xe2",
    ];
    let (proxy, target) = bridge(&["--encoding", "text"]);
    for bytes in invalid {
        let (mut peer, mut stream) = connect(&proxy, &target);
        stream.send("gültig".as_bytes());
        stream.send(bytes);
        stream.send(b"never seen");
        let (received, code) = peer.receive_until_close();
        assert_eq!((&received[..], code), ("gültig".as_bytes(), 1007), "{bytes:x?}");
        peer.send(CLOSE, &reason(1007, b""));
        peer.expect_fin();
        stream.expect_end();
    }
}

#[test]
fn a_character_that_the_target_never_finishes_closes_with_1007() {
    let (proxy, target) = bridge(&["--encoding", "text"]);
    let (mut peer, mut stream) = connect(&proxy, &target);
    stream.send(b"whole\xe2\x82");
    stream.finish();
    let (received, code) = peer.receive_until_close();
    assert_eq!((&received[..], code), (&b"whole"[..], 1007));
}

#[test]
fn text_lossy_sends_replacement_characters_instead() {
    let (proxy, target) = bridge(&["--encoding", "text", "--text-lossy"]);
    let (mut peer, mut stream) = connect(&proxy, &target);
    let bytes = b"a\xffb\xc3\xa4c\xed\xa0\x80d\xe2\x82e\x80\x80";
    stream.send(bytes);
    stream.send(b"tail\xe2\x82");
    stream.finish();
    let (received, code) = peer.receive_until_close();
    let wanted = String::from_utf8_lossy(&[&bytes[..], b"tail\xe2\x82"].concat()).into_owned();
    assert_eq!(String::from_utf8(received).unwrap(), wanted);
    assert_eq!(code, 1000);
}

#[test]
fn base64_goes_out_as_text_that_decodes_message_by_message() {
    let (proxy, target) = bridge(&["--encoding", "base64"]);
    let (mut peer, mut stream) = connect(&proxy, &target);
    let bytes = pattern(9, 500_000);
    let sent = bytes.clone();
    let writer = std::thread::spawn(move || {
        for part in [&sent[..1], &sent[1..3], &sent[3..6], &sent[6..]] {
            stream.send(part);
        }
    });
    let mut received = Vec::new();
    while received.len() < bytes.len() {
        let payload = peer.expect(TEXT);
        assert!(!payload.is_empty(), "an empty message");
        received.extend(decode(&payload));
    }
    assert_same(&received, &bytes);
    writer.join().unwrap();
}

#[test]
fn base64_from_the_peer_is_decoded_wherever_it_is_cut() {
    let (proxy, target) = bridge(&["--encoding", "base64"]);
    let (mut peer, mut stream) = connect(&proxy, &target);
    for text in ["", "YQ==", "YWI=", "YWJj", "YWJjZA==", "+/+/"] {
        peer.send(TEXT, text.as_bytes());
        let wanted = decode(text.as_bytes());
        assert_same(&stream.receive(wanted.len()), &wanted);
    }
    let bytes = pattern(10, 3001);
    let text = encode(&bytes);
    let mut first = TEXT & !FIN;
    for part in text.as_bytes().chunks(7) {
        peer.send(first, part);
        first = CONTINUATION;
    }
    peer.send(CONTINUATION | FIN, b"");
    assert_same(&stream.receive(bytes.len()), &bytes);
    for byte in frame(TEXT, b"d2hvbGU=") {
        peer.send_raw(&[byte]);
        peer.stream().wait_until_read();
    }
    assert_same(&stream.receive(5), b"whole");
}

#[test]
fn base64_with_large_messages_arrives_intact() {
    let (proxy, target) = bridge(&["--encoding", "base64"]);
    let (mut peer, mut stream) = connect(&proxy, &target);
    let bytes = pattern(11, 4 << 20);
    let text = encode(&bytes);
    let writer = std::thread::spawn(move || {
        peer.send(TEXT, text.as_bytes());
        peer
    });
    assert_same(&stream.receive(bytes.len()), &bytes);
    writer.join().unwrap().close(1000);
}

#[test]
fn base64_arrives_intact_both_ways_through_full_buffers() {
    let (proxy, target) = narrow_bridge(&["--encoding", "base64", "--buffer-size", "8KiB"]);
    let (mut peer, mut stream) = connect_narrow(&proxy, &target);
    let (up, down) = (pattern(12, 1 << 20), pattern(13, 1 << 20));
    let (mut writer, mut reader) = (peer.stream().share(), stream.share());
    let mut random = Random::new(14);
    let received = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut rest = &up[..];
            while !rest.is_empty() {
                let (part, tail) = rest.split_at(random.size().min(rest.len()));
                writer.send(&frame(TEXT, encode(part).as_bytes()));
                rest = tail;
            }
        });
        scope.spawn(|| stream.send(&down));
        scope.spawn(|| assert_same(&reader.receive(up.len()), &up));
        let mut received = Vec::new();
        while received.len() < down.len() {
            received.extend(decode(&peer.expect(TEXT)));
        }
        received
    });
    assert_same(&received, &down);
}

#[test]
fn text_arrives_intact_through_full_buffers() {
    let (proxy, target) = narrow_bridge(&["--encoding", "text", "--buffer-size", "8KiB"]);
    let (mut peer, mut stream) = connect_narrow(&proxy, &target);
    let text = random_text(15, 400_000);
    let sent = text.clone();
    let writer = std::thread::spawn(move || {
        stream.send(sent.as_bytes());
        stream.finish();
    });
    let (received, code) = peer.receive_until_close();
    assert_same(&received, text.as_bytes());
    assert_eq!(code, 1000);
    writer.join().unwrap();
}

#[test]
fn a_bad_character_in_base64_closes_with_1007_behind_the_valid_ones() {
    let (proxy, target) = bridge(&["--encoding", "base64"]);
    for bad in ["YWJj*", "YWJjZ===", "YWJj\u{e4}", "YWJjZ", "YWJj=", "YWJj=AAA"] {
        let (mut peer, mut stream) = connect(&proxy, &target);
        peer.send(TEXT, b"eHl6");
        peer.send(TEXT, bad.as_bytes());
        assert_eq!(peer.expect_close(), 1007, "{bad}");
        peer.expect_fin();
        let received = stream.receive_until_fin();
        assert!(received.starts_with(b"xyz"), "{bad}: {received:?}");
        assert!(b"xyzabc".starts_with(&received[..]), "{bad}: {received:?}");
    }
}

#[test]
fn a_binary_message_where_base64_is_spoken_closes_with_1003() {
    let (proxy, target) = bridge(&["--encoding", "base64"]);
    let (mut peer, mut stream) = connect(&proxy, &target);
    peer.send(TEXT, b"eHl6");
    peer.send(BINARY, b"eHl6");
    assert_eq!(peer.expect_close(), 1003);
    peer.expect_fin();
    assert_same(&stream.receive_until_fin(), b"xyz");
}

#[test]
fn the_query_chooses_the_encoding() {
    let (proxy, target) = bridge(&[]);
    let queries = [
        ("/?encoding=text", TEXT, "abc"),
        ("/?encoding=base64", TEXT, "YWJj"),
        ("/?encoding=binary", BINARY, "abc"),
        ("/path?a=b&encoding=text&c", TEXT, "abc"),
        ("/?encodings=text", BINARY, "abc"),
        ("/encoding=text", BINARY, "abc"),
    ];
    for (path, first, wanted) in queries {
        let mut peer = Ws::connect_to(&proxy, path, &[]);
        let mut stream = target.accept();
        stream.send(b"abc");
        assert_same(&peer.expect(first), wanted.as_bytes());
    }
}

#[test]
fn a_query_overrides_the_option() {
    let (proxy, target) = bridge(&["--encoding", "base64"]);
    let mut peer = Ws::connect_to(&proxy, "/?encoding=binary", &[]);
    let mut stream = target.accept();
    stream.send(b"abc");
    assert_same(&peer.expect(BINARY), b"abc");
}

#[test]
fn an_unknown_or_forbidden_encoding_is_answered_400() {
    let (proxy, target) = bridge(&["--allow-encoding", "text"]);
    for path in ["/?encoding=base64", "/?encoding=morse", "/?encoding="] {
        let response = Response::to(proxy.port(), request(path, &[]).as_bytes());
        response.expect_refusal(400);
        assert!(response.body.contains("encoding"), "{}", response.body);
    }
    let mut peer = Ws::connect_to(&proxy, "/?encoding=text", &[]);
    target.accept().send(b"abc");
    assert_same(&peer.expect(TEXT), b"abc");
}

#[test]
fn the_subprotocol_is_one_that_was_offered_and_chooses_the_encoding() {
    let (proxy, target) = bridge(&[]);
    let offers = [
        ("binary", Some("binary"), BINARY, "abc"),
        ("base64", Some("base64"), TEXT, "YWJj"),
        ("base64, binary", Some("base64"), TEXT, "YWJj"),
        ("binary, base64", Some("binary"), BINARY, "abc"),
        ("chat,base64", Some("base64"), TEXT, "YWJj"),
        ("chat, v2.chat", None, BINARY, "abc"),
    ];
    for (offer, answer, first, wanted) in offers {
        let line = format!("Sec-WebSocket-Protocol: {offer}");
        let mut peer = Ws::connect_to(&proxy, "/", &[&line]);
        assert_eq!(subprotocol(&peer), answer, "offered {offer}");
        target.accept().send(b"abc");
        assert_same(&peer.expect(first), wanted.as_bytes());
    }
}

#[test]
fn subprotocols_may_be_offered_in_several_header_lines() {
    let (proxy, target) = bridge(&[]);
    let lines = ["Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Protocol: v2.chat, base64"];
    let peer = Ws::connect_to(&proxy, "/", &lines);
    assert_eq!(subprotocol(&peer), Some("base64"));
    target.accept();
}

#[test]
fn no_subprotocol_is_answered_when_none_was_offered() {
    let (proxy, target) = bridge(&["--subprotocol", "*"]);
    let peer = Ws::connect(&proxy);
    assert_eq!(subprotocol(&peer), None);
    target.accept();
}

#[test]
fn the_option_subprotocol_sets_the_list() {
    let (proxy, target) = bridge(&["--subprotocol", "mqtt", "--subprotocol", "v2.mqtt"]);
    let offers = [("mqtt", Some("mqtt")), ("binary, v2.mqtt", Some("v2.mqtt")), ("binary", None)];
    for (offer, answer) in offers {
        let line = format!("Sec-WebSocket-Protocol: {offer}");
        let peer = Ws::connect_to(&proxy, "/", &[&line]);
        assert_eq!(subprotocol(&peer), answer, "offered {offer}");
        target.accept();
    }
}

#[test]
fn a_star_echoes_the_first_offered_subprotocol() {
    let (proxy, target) = bridge(&["--subprotocol", "*"]);
    let lines = ["Sec-WebSocket-Protocol: whatever.v1, binary"];
    let mut peer = Ws::connect_to(&proxy, "/", &lines);
    assert_eq!(subprotocol(&peer), Some("whatever.v1"));
    let mut stream: Stream = target.accept();
    stream.send(b"abc");
    assert_same(&peer.expect(BINARY), b"abc");
}

fn subprotocol(peer: &Ws) -> Option<&str> {
    peer.response.header("Sec-WebSocket-Protocol")
}

/// Characters of one to four bytes, in turn and at random.
fn random_text(seed: u64, characters: usize) -> String {
    let mut random = Random::new(seed);
    let mut character = || ['a', 'ä', '€', '\u{1f600}'][random.below(4)];
    (0..characters).map(|_| character()).collect()
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// RFC 4648 §4, written down once more so that the crate's codec has a witness.
fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let byte = |i: usize| u32::from(group.get(i).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..4 {
            let sextet = (bits >> (18 - 6 * i)) & 0x3f;
            let used = i <= group.len();
            text.push(if used { ALPHABET[sextet as usize] as char } else { '=' });
        }
    }
    text
}

fn decode(text: &[u8]) -> Vec<u8> {
    assert_eq!(text.len() % 4, 0, "a message of {} characters", text.len());
    let mut bytes = Vec::new();
    for group in text.chunks(4) {
        let kept = group.iter().take_while(|c| **c != b'=').count();
        let sextet = |c: &u8| ALPHABET.iter().position(|a| a == c).unwrap_or(0) as u32;
        let bits = group.iter().fold(0, |bits, c| bits << 6 | sextet(c));
        assert!(group.iter().skip(kept).all(|c| *c == b'='), "{group:?}");
        assert!(kept >= 2, "{group:?}");
        bytes.extend(&bits.to_be_bytes()[1..kept]);
    }
    bytes
}
