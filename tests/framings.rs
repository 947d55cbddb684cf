//! Messages that appear in the stream: as lines, as JSON in lines, behind their lengths; both ways,
//! in both roles, and between two WebSockets. What does not fit ends with the code that says so, after
//! everything before it was delivered. The ends are the test's own.

mod common;

use common::frame::{close_parts, header};
use common::relay::varint;
use common::server::server_frame;
use common::ws::{frame, reason, request, Response};
use common::{
    assert_same, bridge, connect, connect_narrow, narrow_bridge, text_pattern, Asked, Proxy,
    Random, Served, Stream, Target, Wait, Ws, BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, TEXT,
};

const LINES: [&str; 2] = ["--framing", "lines"];
const NDJSON: [&str; 2] = ["--framing", "ndjson"];
const LENGTH: [&str; 2] = ["--framing", "length"];

/// The first bytes of fragments (RFC 6455 §5.4).
const TEXT_BEGINS: u8 = TEXT & !FIN;
const BINARY_BEGINS: u8 = BINARY & !FIN;
const ENDS: u8 = FIN | CONTINUATION;

/// A message behind its length in four bytes.
fn measured(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u32).to_be_bytes(), message].concat()
}

// What is carried.

#[test]
fn a_line_is_a_message_and_a_message_a_line() {
    let (proxy, target) = bridge(&LINES);
    let (mut peer, mut stream) = connect(&proxy, &target);
    stream.send(b"one\ntwo\r\n\n\nthree\n");
    for line in [&b"one"[..], b"two\r", b"three"] {
        assert_eq!(peer.message(), (BINARY, line.to_vec()));
    }
    peer.send(TEXT, b"four");
    peer.send(BINARY, b"");
    peer.send(BINARY, b"five\r");
    assert_same(&stream.receive(12), b"four\n\nfive\r\n");
}

#[test]
fn json_passes_as_text_and_becomes_one_line() {
    let (proxy, target) = bridge(&NDJSON);
    let (mut peer, mut stream) = connect(&proxy, &target);
    stream.send(b"{\"a\":1}\n[2]\n");
    assert_same(&peer.expect(TEXT), b"{\"a\":1}");
    assert_same(&peer.expect(TEXT), b"[2]");
    peer.send(TEXT, "{\r\n \"b\": \"ä\"\n}".as_bytes());
    peer.send(BINARY, b"[\n]");
    let lines = "{   \"b\": \"ä\" }\n[ ]\n".as_bytes();
    assert_same(&stream.receive(lines.len()), lines);
}

#[test]
fn every_form_of_length_stands_in_front_of_its_message() {
    let long = [b'x'; 300];
    type Form = (&'static str, fn(usize) -> Vec<u8>);
    let forms: [Form; 6] = [
        ("length", |n| (n as u32).to_be_bytes().into()),
        ("length:u32", |n| (n as u32).to_be_bytes().into()),
        ("length:u32le", |n| (n as u32).to_le_bytes().into()),
        ("length:u16", |n| (n as u16).to_be_bytes().into()),
        ("length:u16le", |n| (n as u16).to_le_bytes().into()),
        ("length:varint", |n| {
            if n < 128 {
                vec![n as u8]
            } else {
                vec![n as u8 | 0x80, (n >> 7) as u8]
            }
        }),
    ];
    for (name, length) in forms {
        let (proxy, target) = bridge(&["--framing", name]);
        let (mut peer, mut stream) = connect(&proxy, &target);
        let messages = [&b"abc"[..], b"", b"\n", &long, b"d"];
        let said = messages.map(|message| [&length(message.len())[..], message].concat()).concat();
        stream.send(&said);
        for message in messages {
            assert_eq!(peer.message(), (BINARY, message.to_vec()), "{name}");
        }
        for message in messages {
            peer.send(BINARY, message);
        }
        assert_same(&stream.receive(said.len()), &said);
    }
}

#[test]
fn base64_and_text_carry_every_framing_that_takes_them() {
    let (proxy, target) = bridge(&["--framing", "length", "--encoding", "base64"]);
    let (mut peer, mut stream) = connect(&proxy, &target);
    stream.send(&[measured(b"hello"), measured(b""), measured(b"\xff")].concat());
    for text in [&b"aGVsbG8="[..], b"", b"/w=="] {
        assert_eq!(peer.message(), (TEXT, text.to_vec()));
        peer.send(TEXT, text);
    }
    let back = [measured(b"hello"), measured(b""), measured(b"\xff")].concat();
    assert_same(&stream.receive(back.len()), &back);
    let (proxy, target) = bridge(&["--framing", "lines", "--encoding", "text"]);
    let (mut peer, mut stream) = connect(&proxy, &target);
    stream.send("ä\n".as_bytes());
    assert_eq!(peer.message(), (TEXT, "ä".as_bytes().to_vec()));
    peer.send(TEXT, b"x");
    assert_same(&stream.receive(2), b"x\n");
}

/// Messages of all sizes, both ways at once, with reads and frames cut wherever they are.
#[test]
fn any_messages_arrive_as_they_were_both_ways() {
    for arguments in
        [&["--framing", "ndjson"][..], &["--framing", "length:varint", "--encoding", "text"]]
    {
        let (proxy, target) = narrow_bridge(&[arguments, &["--buffer-size", "8KiB"]].concat());
        let (mut peer, mut stream) = connect_narrow(&proxy, &target);
        let is_json = arguments[1] == "ndjson";
        let messages = random_messages(if is_json { 1 } else { 2 });
        let wire: Vec<u8> =
            messages.iter().enumerate().flat_map(|(i, m)| in_frames(i, m)).collect();
        let said: Vec<u8> = messages
            .iter()
            .flat_map(|m| if is_json { [m, &b"\n"[..]].concat() } else { varint_measured(m) })
            .collect();
        let (mut peer_writer, mut stream_writer) = (peer.stream().share(), stream.share());
        std::thread::scope(|scope| {
            scope.spawn(|| peer_writer.send(&wire));
            scope.spawn(|| stream_writer.send(&said));
            scope.spawn(|| assert_same(&stream.receive(said.len()), &said));
            for message in &messages {
                let (first, payload) = peer.message();
                assert_eq!(first, TEXT);
                assert_same(&payload, message);
            }
        });
    }
}

fn random_messages(seed: u64) -> Vec<Vec<u8>> {
    let mut random = Random::new(seed);
    (0..200)
        .map(|i| {
            let len = 1 + random.size() / 2;
            let mut text = text_pattern(i, len);
            text.iter_mut().filter(|b| **b == b'\n').for_each(|b| *b = b'.');
            text
        })
        .collect()
}

fn varint_measured(message: &[u8]) -> Vec<u8> {
    [&varint(message.len() as u64)[..], message].concat()
}

/// A text message in one to four frames.
fn in_frames(i: usize, message: &[u8]) -> Vec<u8> {
    let part = message.len().div_ceil(1 + i % 4);
    let last = message.chunks(part).count() - 1;
    let frames = message.chunks(part).enumerate().flat_map(|(at, part)| {
        let first = if at == 0 { TEXT_BEGINS } else { CONTINUATION };
        frame(if at == last { first | FIN } else { first }, part)
    });
    frames.collect()
}

/// The proxy in the middle is a client of one WebSocket and a server of another.
#[test]
fn messages_stay_whole_between_two_websockets() {
    let encodings = ["binary", "text", "base64"];
    for (framing, encoding) in ["lines", "ndjson", "length", "length:varint"]
        .into_iter()
        .flat_map(|framing| encodings.map(|encoding| (framing, encoding)))
        .filter(|(framing, encoding)| *framing != "ndjson" || *encoding == "text")
    {
        let far = Target::listen();
        let url = format!("ws://{}/", far.endpoint);
        let proxy = Proxy::to(&url, &["--framing", framing, "--encoding", encoding]);
        let (mut near, mut served) = open_both(&proxy, &far);
        let kind = if encoding == "binary" { BINARY } else { TEXT };
        let messages = [&b"b25l"[..], b"dHdvZm91cg==", b"dGhyZWU="];
        for message in messages {
            near.send(kind, message);
            served.send(kind, message);
        }
        // In fragments, with a Ping between them.
        near.send(kind & !FIN, b"Zml2");
        near.send(PING, b"?");
        near.send(ENDS, b"ZQ==");
        for message in messages.into_iter().chain([&b"Zml2ZQ=="[..]]) {
            assert_eq!(served.message(), (kind, message.to_vec()), "{framing} {encoding}");
        }
        let mut pongs = 0;
        for message in messages {
            let mut frame = near.frame();
            if frame.first == PONG {
                pongs += 1;
                frame = near.frame();
            }
            assert_eq!((frame.first, frame.payload), (kind, message.to_vec()));
        }
        if pongs == 0 {
            assert_eq!(near.expect(PONG), b"?");
        }
    }
}

/// Both legs of a connection between two WebSockets.
fn open_both(proxy: &Proxy, far: &Target) -> (Ws, Served) {
    let mut stream = Stream::tcp(proxy.port());
    stream.send(request("/", &[]).as_bytes());
    let served = Asked::at(far).agree();
    (Ws::opened(stream), served)
}

/// A stream in, a WebSocket out.
fn client_of(arguments: &[&str]) -> (Proxy, Stream, Served) {
    let far = Target::listen();
    let url = format!("ws://{}/", far.endpoint);
    let route = ["--local", "tcp://127.0.0.1:0", "--remote", &url];
    let proxy = Proxy::start(&[&route, arguments].concat());
    let stream = Stream::tcp(proxy.port());
    let served = Asked::at(&far).agree();
    (proxy, stream, served)
}

#[test]
fn a_client_frames_what_a_plain_stream_says() {
    let (_proxy, mut stream, mut served) = client_of(&NDJSON);
    stream.send(b"{}\n\n[]\n");
    assert_same(&served.expect(TEXT), b"{}");
    assert_same(&served.expect(TEXT), b"[]");
    served.send(TEXT, b"[1,\n2]");
    assert_same(&stream.receive(7), b"[1, 2]\n");
    let (_proxy, mut stream, mut served) = client_of(&LENGTH);
    let small: Vec<u8> = (0..500u32).flat_map(|i| server_frame(BINARY, &[i as u8])).collect();
    served.send_raw(&small);
    let expected: Vec<u8> = (0..500u32).flat_map(|i| measured(&[i as u8])).collect();
    assert_same(&stream.receive(expected.len()), &expected);
    stream.send(&[measured(b""), measured(b"x")].concat());
    assert_same(&served.expect(BINARY), b"");
    assert_same(&served.expect(BINARY), b"x");
}

#[test]
fn behind_json_that_names_the_target_the_framing_begins() {
    let target = Target::listen();
    let proxy = Proxy::to("json:", &["--allow", "127.0.0.1", "--framing", "lines"]);
    let mut peer = Ws::connect(&proxy);
    assert!(peer.expect(TEXT).starts_with(b"{\"supported_protocols\""));
    let (host, port) = target.endpoint.split_once(':').unwrap();
    // Of several lines: it is heard as it is. What follows in the same segment waits for the target.
    let asks =
        format!("{{\"protocol\":\"tcp\",\n\"target_ip\":\"{host}\",\n\"target_port\":{port}}}");
    peer.send_raw(
        &[frame(TEXT, asks.as_bytes()), frame(BINARY, b"early"), frame(BINARY, b"")].concat(),
    );
    let mut stream = target.accept();
    assert!(peer.expect(TEXT).starts_with(b"{\"status\":\"Successfully"));
    assert_same(&stream.receive(7), b"early\n\n");
    stream.send(b"a\nb\n");
    assert_same(&peer.expect(BINARY), b"a");
    assert_same(&peer.expect(BINARY), b"b");
}

#[test]
fn a_request_chooses_among_the_encodings_that_fit() {
    let (proxy, target) = bridge(&NDJSON);
    let mut stream = Stream::tcp(proxy.port());
    stream.send(request("/?encoding=binary", &[]).as_bytes());
    let response = Response::read(&mut stream);
    assert_eq!(response.status, 400);
    assert!(response.body.contains("one of: text\n"), "{response:?}");
    let offer = ["Sec-WebSocket-Protocol: binary, base64"];
    let peer = Ws::connect_to(&proxy, "/?encoding=text", &offer);
    assert_eq!(peer.response.header("Sec-WebSocket-Protocol"), None);
    drop(target.accept());
    let (proxy, target) = bridge(&LINES);
    let mut peer = Ws::connect_to(&proxy, "/?encoding=base64", &offer);
    assert_eq!(peer.response.header("Sec-WebSocket-Protocol"), Some("base64"));
    target.accept().send(b"one\n");
    assert_same(&peer.expect(TEXT), b"b25l");
}

// How it is cut.

#[test]
fn a_line_goes_out_as_it_comes() {
    let (proxy, target) = bridge(&NDJSON);
    let (mut peer, mut stream) = connect(&proxy, &target);
    stream.send(b"{\"a\":");
    assert_same(&peer.expect(TEXT_BEGINS), b"{\"a\":");
    stream.send(b"[]");
    assert_same(&peer.expect(CONTINUATION), b"[]");
    // A Ping between the fragments is answered between them.
    peer.send(PING, b"now");
    assert_same(&peer.expect(PONG), b"now");
    stream.send(b"}");
    assert_same(&peer.expect(CONTINUATION), b"}");
    stream.send(b"\n\n\n{}");
    assert_same(&peer.expect(ENDS), b"");
    assert_same(&peer.expect(TEXT_BEGINS), b"{}");
}

#[test]
fn text_that_is_cut_inside_a_character_waits_for_the_rest() {
    let (proxy, target) = bridge(&["--framing", "length:u16", "--encoding", "text"]);
    let (mut peer, mut stream) = connect(&proxy, &target);
    let text = "aä€\u{1f600}";
    let said = [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat();
    for cut in 1..said.len() {
        stream.send(&said[..cut]);
        stream.wait_until_read();
        stream.send(&said[cut..]);
        let mut message = String::new();
        loop {
            let frame = peer.frame();
            message += std::str::from_utf8(&frame.payload).expect("each fragment is UTF-8");
            if frame.first & FIN != 0 {
                break;
            }
        }
        assert_eq!(message, text, "cut at {cut}");
    }
}

#[test]
fn a_message_of_65_537_fragments_is_one() {
    for arguments in [&["--framing", "lines"][..], &LENGTH, &["--framing", "length:varint"]] {
        let (proxy, target) = bridge(arguments);
        let (mut peer, mut stream) = connect(&proxy, &target);
        let mut wire = frame(BINARY_BEGINS, b"x");
        (1..65_536).for_each(|_| wire.extend(frame(CONTINUATION, b"x")));
        wire.extend(frame(ENDS, b"x"));
        wire.extend(frame(BINARY, b"y"));
        let mut writer = peer.stream().share();
        let all = vec![b'x'; 65_537];
        let expected = match arguments[1] {
            "lines" => [&all, &b"\ny\n"[..]].concat(),
            "length" => [measured(&all), measured(b"y")].concat(),
            _ => [varint_measured(&all), varint_measured(b"y")].concat(),
        };
        std::thread::scope(|scope| {
            scope.spawn(|| writer.send(&wire));
            assert_same(&stream.receive(expected.len()), &expected);
        });
        peer.send(CLOSE, &reason(1000, b""));
        assert_eq!(peer.expect_close(), 1000);
    }
}

#[test]
fn a_fragmented_message_of_several_reads_waits_for_its_last_frame_only() {
    let (proxy, target) = narrow_bridge(&["--framing", "length", "--buffer-size", "16KiB"]);
    let (mut peer, mut stream) = connect_narrow(&proxy, &target);
    let (first, last) = (vec![b'a'; 700_000], vec![b'z'; 500_000]);
    peer.send(BINARY, b"before");
    let mut writer = peer.stream().share();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            writer.send(&frame(BINARY_BEGINS, &first));
            writer.send(&frame(CONTINUATION, b""));
            writer.send(&frame(ENDS, &last));
            writer.send(&frame(BINARY, b"behind"));
        });
        let whole = [&first[..], &last].concat();
        let expected = [measured(b"before"), measured(&whole), measured(b"behind")].concat();
        assert_same(&stream.receive(expected.len()), &expected);
    });
    proxy_holds_nothing(&proxy);
}

/// Waits until no memory is kept for any connection.
#[track_caller]
fn proxy_holds_nothing(proxy: &Proxy) {
    let wait = Wait::begin();
    loop {
        let from = proxy.stderr.count();
        proxy.signal(libc::SIGUSR1);
        let report =
            proxy.wait_for_log(from, "the report", |line| line.contains(" bytes kept of "));
        if report.contains(" 0 bytes kept ") {
            return;
        }
        wait.go_on(&report);
    }
}

#[test]
fn a_slow_reader_of_fragments_gets_all_of_them() {
    let (proxy, target) = narrow_bridge(&["--framing", "lines", "--encoding", "base64"]);
    let (mut peer, stream) = connect_narrow(&proxy, &target);
    let lines: Vec<Vec<u8>> = random_messages(3);
    let said: Vec<u8> = lines.iter().flat_map(|line| [&line[..], b"\n"].concat()).collect();
    std::thread::scope(|scope| {
        let mut writer = stream.share();
        let said = &said;
        scope.spawn(move || writer.send(said));
        let wait = Wait::begin();
        while stream.unread() == 0 {
            wait.go_on("the proxy to stop reading");
        }
        // A Ping that comes now is answered, behind what is under way.
        peer.send(PING, b"slow");
        let (mut pongs, mut got) = (0, Vec::new());
        let mut message = Vec::new();
        while got.len() < lines.len() {
            let frame = peer.frame();
            if frame.first == PONG {
                pongs += 1;
                continue;
            }
            message.extend(frame.payload);
            if frame.first & FIN != 0 {
                got.push(std::mem::take(&mut message));
            }
        }
        assert_eq!(pongs, 1);
        for (text, line) in got.iter().zip(&lines) {
            use base64::engine::general_purpose::STANDARD;
            use base64::Engine;
            assert_same(&STANDARD.decode(text).unwrap(), line);
        }
    });
}

// How it ends.

#[test]
fn a_stream_that_ends_inside_a_message_closes_with_1002() {
    for (framing, said, heard, what) in [
        ("lines", &b"one\nha"[..], &b"oneha"[..], "inside a line"),
        ("length:u16", b"\0\x03one\0\x03ha", b"oneha", "inside a message"),
        ("length", b"\0\0\0\x03one\0\0", b"one", "inside the length"),
    ] {
        let (proxy, target) = bridge(&["--framing", framing, "--log-level", "debug"]);
        let (mut peer, mut stream) = connect(&proxy, &target);
        stream.send(said);
        stream.finish();
        let mut bytes = Vec::new();
        let (code, text) = loop {
            let frame = peer.frame();
            if frame.first == CLOSE {
                let (code, text) = close_parts(&frame.payload);
                break (code, text.to_string());
            }
            bytes.extend(frame.payload);
        };
        assert_same(&bytes, heard);
        assert!(code == 1002 && text.contains(what), "{code} {text}");
        peer.send(CLOSE, &reason(1002, b""));
        peer.expect_fin();
        drop(peer);
        let closed = &proxy.wait_for_closed(1)[0];
        assert_eq!(
            (closed.code, &closed.by[..], &closed.why[..]),
            (1002, "target", "protocol-error")
        );
        proxy.wait_for_log(0, "what was cut", |line| line.contains(what));
    }
}

#[test]
fn a_stream_that_ends_between_messages_closes_with_1000() {
    for (framing, said) in [("lines", &b"one\n\n"[..]), ("ndjson", b""), ("length:u16", b"\0\0")] {
        let (proxy, target) = bridge(&["--framing", framing]);
        let (mut peer, mut stream) = connect(&proxy, &target);
        stream.send(said);
        stream.finish();
        assert_eq!(peer.receive_until_close().1, 1000, "{framing}");
    }
}

#[test]
fn a_target_that_resets_inside_a_message_closes_with_1011() {
    let (proxy, target) = bridge(&LINES);
    let (mut peer, mut stream) = connect(&proxy, &target);
    stream.send(b"half");
    assert_same(&peer.expect(BINARY_BEGINS), b"half");
    stream.reset();
    assert_eq!(peer.expect_close(), 1011);
}

#[test]
fn a_newline_inside_a_line_closes_with_1003_behind_what_came_before() {
    let (proxy, target) = bridge(&LINES);
    let (mut peer, mut stream) = connect(&proxy, &target);
    peer.send(TEXT, b"one");
    peer.send(TEXT, b"tw\no");
    peer.send(TEXT, b"never");
    let (code, text) = peer.expect_close_and_reason();
    assert!(code == 1003 && text.contains("newline"), "{code} {text}");
    assert_same(&stream.receive_until_fin(), b"one\ntw");
}

#[test]
fn text_that_is_none_closes_with_1007_both_ways() {
    let arguments = ["--framing", "ndjson"];
    let (proxy, target) = bridge(&arguments);
    let (mut peer, mut stream) = connect(&proxy, &target);
    stream.send(b"\"a\"\n\"\xff\"\n");
    assert_same(&peer.expect(TEXT), b"\"a\"");
    assert_eq!(peer.receive_until_close(), (b"\"".to_vec(), 1007));
    let (mut peer, mut stream) = connect(&proxy, &target);
    peer.send(TEXT_BEGINS, b"\"\xe2\x82");
    peer.send(ENDS, b"x");
    assert_eq!(peer.receive_until_close().1, 1007);
    assert_same(&stream.receive_until_fin(), b"\"\xe2\x82");
    let (proxy, target) = bridge(&[&arguments[..], &["--text-lossy"]].concat());
    let (mut peer, mut stream) = connect(&proxy, &target);
    stream.send(b"\xff\xe2\x82\n");
    assert_eq!(peer.message(), (TEXT, "\u{fffd}\u{fffd}".as_bytes().to_vec()));
}

#[test]
fn what_its_length_cannot_say_closes_with_1009_before_a_byte_of_it() {
    let (proxy, target) = bridge(&["--framing", "length:u16"]);
    let (mut peer, mut stream) = connect(&proxy, &target);
    let longest = vec![7; 65_535];
    peer.send(BINARY, &longest);
    // The header is enough.
    peer.send_raw(&header(BINARY, 65_536, Some([1, 2, 3, 4])));
    let (code, text) = peer.expect_close_and_reason();
    assert!(code == 1009 && text.contains("length:u32"), "{code} {text}");
    assert_same(&stream.receive_until_fin(), &[&[0xff, 0xff], &longest[..]].concat());
}

#[test]
fn more_than_max_message_closes_with_1009_both_ways() {
    let arguments = ["--framing", "length", "--max-message", "1000"];
    let (proxy, target) = bridge(&arguments);
    let (mut peer, mut stream) = connect(&proxy, &target);
    stream.send(&[measured(b"good"), vec![0, 0, 3, 0xe9, b'x']].concat());
    assert_same(&peer.expect(BINARY), b"good");
    let (code, text) = peer.expect_close_and_reason();
    assert!(code == 1009 && text.contains("announces"), "{code} {text}");
    let (mut peer, mut stream) = connect(&proxy, &target);
    // Three fragments that are too long together, of which none is delivered.
    peer.send(BINARY, b"good");
    peer.send(BINARY_BEGINS, &[1; 500]);
    peer.send(CONTINUATION, &[2; 500]);
    peer.send(ENDS, b"3");
    assert_eq!(peer.receive_until_close().1, 1009);
    assert_same(&stream.receive_until_fin(), &measured(b"good"));
    proxy_holds_nothing(&proxy);
}

#[test]
fn a_varint_of_eleven_bytes_closes_with_1002() {
    let (proxy, target) = bridge(&["--framing", "length:varint", "--max-message", "0"]);
    let (mut peer, mut stream) = connect(&proxy, &target);
    stream.send(&[&b"\x01a"[..], &[0x80; 10], b"\0"].concat());
    assert_eq!(peer.receive_until_close(), (b"a".to_vec(), 1002));
}

#[test]
fn without_memory_for_its_fragments_a_message_closes_with_1013() {
    let (proxy, target) = bridge(&[
        "--framing",
        "length",
        "--buffer-size",
        "4KiB",
        "--max-memory",
        "64KiB",
        "--max-connections",
        "2",
    ]);
    let (mut peer, mut stream) = connect(&proxy, &target);
    peer.send(BINARY, b"before");
    let mut writer = peer.stream().share();
    let fragment = frame(CONTINUATION, &[7; 4096]);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut sent = writer.try_send_all(&frame(BINARY_BEGINS, b"x"));
            for _ in 0..64 {
                sent = sent.and_then(|()| writer.try_send_all(&fragment));
            }
        });
        let (code, text) = peer.expect_close_and_reason();
        assert!(code == 1013 && text.contains("no memory"), "{code} {text}");
    });
    assert_same(&stream.receive_until_fin(), &measured(b"before"));
    // The others are served, and nothing is lost of the memory.
    let (mut other, mut far) = connect(&proxy, &target);
    other.send(BINARY_BEGINS, &[1; 9000]);
    other.send(ENDS, &[1; 9000]);
    assert_same(&far.receive(18_004), &measured(&[1; 18_000]));
    proxy_holds_nothing(&proxy);
}

#[test]
fn what_was_held_is_given_back_when_the_connection_goes() {
    let (proxy, target) = bridge(&LENGTH);
    for goes in ["close", "reset", "target"] {
        let (mut peer, stream) = connect(&proxy, &target);
        peer.send(BINARY_BEGINS, &[7; 100_000]);
        peer.send(PING, b"heard");
        assert_same(&peer.expect(PONG), b"heard");
        match goes {
            "close" => peer.close(1000),
            "reset" => peer.into_stream().reset(),
            _ => {
                stream.reset();
                assert_eq!(peer.receive_until_close().1, 1011);
                drop(peer);
            }
        }
        proxy_holds_nothing(&proxy);
    }
}

// What is refused at the start.

#[test]
fn what_has_no_messages_takes_no_framing() {
    for arguments in [
        &["--local", "tcp://127.0.0.1:0", "--remote", "127.0.0.1:1", "--framing", "lines"][..],
        &["--remote", "127.0.0.1:1", "--framing", "lines", "--encoding", "chunk"],
        &["--remote", "127.0.0.1:1", "--framing", "paragraphs"],
    ] {
        let (code, said) = Proxy::fail(arguments);
        assert!(code == Some(2) && said.contains("write it like"), "{code:?} {said}");
    }
}

/// 64 MiB of one line each way, of which nothing is kept.
#[test]
fn a_line_without_end_takes_no_memory() {
    let (proxy, target) = bridge(&["--framing", "ndjson", "--max-message", "0"]);
    let (mut peer, mut stream) = connect(&proxy, &target);
    stream.send(b"warm\n");
    assert_same(&peer.expect(TEXT), b"warm");
    let before = proxy.peak_memory();
    let (block, blocks) = (vec![b'x'; 1 << 20], 64);
    let mut writer = stream.share();
    let mut peer_writer = peer.stream().share();
    std::thread::scope(|scope| {
        scope.spawn(|| (0..blocks).for_each(|_| writer.send(&block)));
        let len = (blocks * block.len()) as u64;
        let block = &block;
        scope.spawn(move || {
            peer_writer.send(&header(TEXT, len, Some([0; 4])));
            (0..blocks).for_each(|_| peer_writer.send(block));
        });
        scope.spawn(|| (0..blocks).for_each(|_| assert_same(&stream.receive(block.len()), block)));
        let mut got = 0;
        while got < len {
            let frame = peer.frame();
            assert!(frame.first & FIN == 0 && frame.payload.iter().all(|b| *b == b'x'));
            got += frame.payload.len() as u64;
        }
    });
    let grown = proxy.peak_memory() - before;
    assert!(grown < 2 << 20, "{grown} bytes");
    assert_same(&stream.receive(1), b"\n");
}
