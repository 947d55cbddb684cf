//! The far end of a CONNECT relay: which heads it takes, where it goes, what it says in the stream
//! when it does not go there, and what it makes of bad payloads. The near end is the test's own.

mod common;

use std::time::Duration;

use common::relay::{chunk, expect_refusal, far, head, say, unchunk, ESTABLISHED};
use common::target::{Refusing, Silent};
use common::ws::{frame, reason, request, Response};
use common::{assert_same, pattern, Stream, Target, Ws, BINARY, CLOSE, FIN, PING, PONG, TEXT};

const LOOPBACK: [&str; 2] = ["--allow", "127.0.0.1"];

/// The same where many wait with half a head until it is their turn.
const PATIENT: [&str; 6] =
    ["--allow", "127.0.0.1", "--handshake-timeout", "100s", "--ping-interval", "0"];

const CHUNK: [&str; 4] = ["--allow", "127.0.0.1", "--encoding", "chunk"];

/// Long enough for what must not happen to happen.
const QUIET: Duration = Duration::from_millis(300);

// Which heads are taken.

#[test]
fn a_full_head_is_answered_in_the_stream() {
    let (proxy, target) = (far(&LOOPBACK), Target::listen());
    let mut peer = say(&proxy, head(&target.endpoint, &["X: y"]).as_bytes());
    let mut stream = target.accept();
    assert_same(&peer.expect(BINARY), ESTABLISHED);
    carries(&mut peer, &mut stream);
    let opened = proxy.wait_for_log(0, "the line `open`", |l| l.contains(" open target="));
    assert!(opened.contains(&format!(" target=tcp://{}", target.endpoint)), "{opened}");
    drop(stream);
    assert_eq!(peer.expect_close(), 1000);
    peer.send(CLOSE, &reason(1000, b""));
    peer.expect_fin();
    drop(peer);
    let closed = &proxy.wait_for_closed(1)[0];
    assert_eq!((closed.code, closed.inbound, closed.outbound), (1000, 5, 4));
}

#[test]
fn pings_are_answered_before_the_head_and_inside_it() {
    let (proxy, target) = (far(&LOOPBACK), Target::listen());
    let mut peer = Ws::connect(&proxy);
    peer.send(PING, b"before");
    assert_same(&peer.expect(PONG), b"before");
    let wire = [head(&target.endpoint, &[]).as_bytes(), b"behind"].concat();
    peer.send(BINARY & !FIN, &wire[..12]);
    peer.send(PING, b"inside");
    assert_same(&peer.expect(PONG), b"inside");
    peer.send(FIN, &wire[12..]);
    understood(&mut peer, &target);
}

/// But a first message that ends within the port is a bare head, as far as anybody can tell.
#[test]
fn a_head_cut_anywhere_into_messages_is_understood() {
    let (proxy, target) = (far(&PATIENT), Target::listen());
    let head = head(&target.endpoint, &[]);
    let wire = [head.as_bytes(), b"behind"].concat();
    let port = head.find(" HTTP").unwrap();
    let in_port = head[..port].rfind(':').unwrap() + 2..=port;
    let cuts = (1..head.len()).filter(|cut| !in_port.contains(cut));
    let begin = |cut| {
        let peer = say(&proxy, &wire[..cut]);
        (peer, cut)
    };
    for (mut peer, cut) in cuts.map(begin).collect::<Vec<_>>() {
        peer.stream().wait_until_read();
        peer.send(TEXT, &wire[cut..]);
        understood(&mut peer, &target);
    }
}

#[test]
fn a_head_cut_anywhere_into_fragments_is_understood() {
    let (proxy, target) = (far(&PATIENT), Target::listen());
    let head = head(&target.endpoint, &[]);
    let wire = [head.as_bytes(), b"behind"].concat();
    let begin = |cut| {
        let mut peer = Ws::connect(&proxy);
        peer.send(BINARY & !FIN, &wire[..cut]);
        (peer, cut)
    };
    for (mut peer, cut) in (1..head.len()).map(begin).collect::<Vec<_>>() {
        peer.stream().wait_until_read();
        peer.send(FIN, &wire[cut..]);
        understood(&mut peer, &target);
    }
}

#[test]
fn a_frame_cut_anywhere_is_understood_and_may_come_with_the_request() {
    let (proxy, target) = (far(&PATIENT), Target::listen());
    let first = [head(&target.endpoint, &[]).as_bytes(), b"behind"].concat();
    let wire = [request("/", &[]).into_bytes(), frame(BINARY, &first)].concat();
    let begin = |cut| {
        let mut stream = Stream::tcp(proxy.port());
        stream.send(&wire[..cut]);
        (stream, cut)
    };
    for (mut stream, cut) in (1..wire.len() - 6).step_by(3).map(begin).collect::<Vec<_>>() {
        stream.wait_until_read();
        stream.send(&wire[cut..]);
        understood(&mut Ws::opened(stream), &target);
    }
}

#[test]
fn a_bare_head_is_not_answered() {
    let (proxy, target) = (far(&LOOPBACK), Target::listen());
    for end in ["", "\n", "\r\n"] {
        let mut peer = say(&proxy, format!("CONNECT {}{end}", target.endpoint).as_bytes());
        let mut stream = target.accept();
        assert!(!peer.stream().is_readable_within(QUIET), "an answer");
        carries(&mut peer, &mut stream);
    }
    // In fragments, the last of them empty.
    let mut peer = Ws::connect(&proxy);
    peer.send(BINARY & !FIN, b"CONNECT ");
    peer.send(0, target.endpoint.as_bytes());
    peer.stream().wait_until_read();
    assert!(!target.has_caller_within(QUIET), "dialled before the message has ended");
    peer.send(FIN, b"");
    let mut stream = target.accept();
    carries(&mut peer, &mut stream);
}

#[test]
fn under_chunk_both_forms_are_understood() {
    let (proxy, target) = (far(&CHUNK), Target::listen());
    let full = head(&target.endpoint, &[]);
    let bare = format!("CONNECT {}", target.endpoint);
    for (first, answered) in [(&full, true), (&bare, false)] {
        let mut peer = Ws::connect(&proxy);
        peer.send(BINARY, &chunk(b"")); // a keepalive is no head
        peer.send(BINARY, &chunk(first.as_bytes()));
        let mut stream = target.accept();
        if answered {
            assert_same(&unchunk(&peer.expect(BINARY)), ESTABLISHED);
        }
        peer.send(BINARY, &[chunk(b"th"), chunk(b"ere")].concat());
        assert_same(&stream.receive(5), b"there");
        stream.send(b"back");
        assert_same(&unchunk(&peer.expect(BINARY)), b"back");
    }
}

#[test]
fn what_stands_behind_the_head_comes_first_however_much_it_is() {
    let (proxy, target) = (far(&LOOPBACK), Target::listen());
    let rest = pattern(1, 1 << 20);
    let mut peer = Ws::connect(&proxy);
    let wire = [head(&target.endpoint, &[]).into_bytes(), rest.clone()].concat();
    let mut writer = peer.stream().share();
    std::thread::scope(|scope| {
        scope.spawn(|| writer.send(&frame(BINARY, &wire)));
        assert_same(&target.accept().receive(rest.len()), &rest);
    });
    assert_same(&peer.expect(BINARY), ESTABLISHED);
}

#[test]
fn a_peer_that_goes_before_it_names_a_target_leaves_nothing() {
    let proxy = far(&LOOPBACK);
    let files = proxy.open_files();
    for start in [&b""[..], b"CONNECT 127.0"] {
        drop(say(&proxy, start));
        say(&proxy, start).into_stream().reset();
    }
    proxy.wait_until_idle(files);
}

/// There is nothing that could come behind its Close, so there is nothing to wait for.
#[test]
fn a_close_before_a_target_is_named_is_answered_at_once() {
    let proxy = far(&[&LOOPBACK[..], &["--half-close=100s"]].concat());
    for start in [&b""[..], b"CONNECT 127.0"] {
        let mut peer = say(&proxy, start);
        peer.send(CLOSE, &reason(1000, b""));
        assert_eq!(peer.expect_close(), 1000);
        peer.expect_fin();
    }
}

// Where it goes.

#[test]
fn a_name_leads_to_an_address_that_is_allowed() {
    let target = Target::listen();
    let port = port_of(&target);
    let name = format!("localhost:{port}");
    let own = format!("127.0.0.1:{port}");
    // An address opens it under any name, and this one name opens loopback.
    for rule in ["127.0.0.1", "127.0.0.0/8", "localhost", &name, &own] {
        let proxy = far(&["--allow", rule]);
        let mut peer = say(&proxy, head(&name, &[]).as_bytes());
        let mut stream = target.accept();
        assert_same(&peer.expect(BINARY), ESTABLISHED);
        carries(&mut peer, &mut stream);
    }
}

#[test]
fn what_no_rule_allows_is_403_and_1008() {
    let target = Target::listen();
    let port = port_of(&target);
    let low = ["--allow", "127.0.0.1:1-1023"];
    let denied = ["--allow", "127.0.0.0/8", "--deny", "127.0.0.1"];
    let without_name = ["--allow", "127.0.0.1", "--deny", "localhost"];
    let cases: [(&[&str], &str); 14] = [
        (&LOOPBACK, "127.0.0.2"),
        (&LOOPBACK, "[::1]"),
        (&LOOPBACK, "[::ffff:127.0.0.1]"),
        (&LOOPBACK, "0.0.0.0"),
        (&["--allow", "any"], "127.0.0.1"),
        (&["--allow", "any"], "127.0.0.2"),
        (&["--allow", "any"], "0.0.0.0"),
        (&["--allow", "any"], "localhost"),
        (&["--allow", "0.0.0.0/0"], "127.0.0.1"),
        (&["--allow", "10.0.0.0/8"], "localhost"),
        (&low, "127.0.0.1"),
        (&denied, "127.0.0.1"),
        (&denied, "localhost"),
        (&without_name, "localhost"),
    ];
    for (rules, host) in cases {
        let proxy = far(rules);
        let goal = format!("{host}:{port}");
        expect_refusal(&mut say(&proxy, head(&goal, &[]).as_bytes()), 403, 1008);
        assert!(!target.has_caller_within(Duration::ZERO), "{host} under {rules:?}");
        let line = proxy.wait_for_log(0, "a warning", |l| l.contains("refused to reach tcp://"));
        assert!(line.contains(&goal), "{line}");
        assert_eq!(proxy.unreached(), 1);
    }
}

#[test]
fn a_denied_name_leaves_its_address_open() {
    let (proxy, target) = (far(&["--allow", "127.0.0.1", "--deny", "localhost"]), Target::listen());
    let _peer = say(&proxy, head(&target.endpoint, &[]).as_bytes());
    target.accept();
}

// What it says when it does not go there.

#[test]
fn a_target_that_refuses_is_502_and_1014() {
    let (proxy, refusing) = (far(&LOOPBACK), Refusing::new());
    let files = proxy.open_files();
    expect_refusal(&mut say(&proxy, head(&refusing.endpoint, &[]).as_bytes()), 502, 1014);
    proxy.wait_until_idle(files);
    assert_eq!(proxy.unreached(), 1);
}

#[test]
fn a_target_that_is_too_slow_is_504_and_1014() {
    let silent = Silent::new();
    let proxy = far(&[&LOOPBACK[..], &["--connect-timeout", "500ms"]].concat());
    let files = proxy.open_files();
    expect_refusal(&mut say(&proxy, head(&silent.endpoint, &[]).as_bytes()), 504, 1014);
    proxy.wait_until_idle(files);
    assert_eq!(proxy.unreached(), 1);
}

#[test]
fn a_bare_head_is_refused_by_a_close_alone() {
    let (target, refusing, silent) = (Target::listen(), Refusing::new(), Silent::new());
    let proxy = far(&[&LOOPBACK[..], &["--connect-timeout", "500ms"]].concat());
    let denied = target.endpoint.replace("127.0.0.1", "127.0.0.2");
    for (goal, code) in [(&denied, 1008), (&refusing.endpoint, 1014), (&silent.endpoint, 1014)] {
        let mut peer = say(&proxy, format!("CONNECT {goal}").as_bytes());
        assert_eq!(peer.expect_close(), code, "{goal}");
        peer.expect_fin();
    }
}

#[test]
fn under_chunk_a_refusal_is_a_chunk() {
    let (proxy, refusing) = (far(&CHUNK), Refusing::new());
    let mut peer = say(&proxy, &chunk(head(&refusing.endpoint, &[]).as_bytes()));
    Response::parse(&unchunk(&peer.expect(BINARY))).expect_refusal(502);
    assert_eq!(peer.expect_close(), 1014);
    peer.expect_fin();
}

#[test]
fn a_full_house_is_503_before_any_101() {
    let proxy = far(&[&LOOPBACK[..], &["--max-connections", "1"]].concat());
    let _first = Ws::connect(&proxy);
    let response = Response::to(proxy.port(), request("/", &[]).as_bytes());
    response.expect_refusal(503);
    assert!(response.header("Retry-After").is_some(), "{response:?}");
}

#[test]
fn a_peer_that_leaves_while_its_target_is_dialled_leaves_nothing() {
    let silent = Silent::new();
    let proxy = far(&[&LOOPBACK[..], &["--connect-timeout", "100s"]].concat());
    let files = proxy.open_files();
    let peer = say(&proxy, head(&silent.endpoint, &[]).as_bytes());
    peer.stream().wait_until_read();
    peer.into_stream().reset();
    proxy.wait_until_idle(files);
}

#[test]
fn sigterm_closes_who_has_not_named_a_target_with_1001() {
    let mut proxy = far(&LOOPBACK);
    let mut peer = say(&proxy, b"CONNECT 127.0");
    peer.stream().wait_until_read();
    proxy.signal(libc::SIGTERM);
    assert_eq!(peer.expect_close(), 1001);
    peer.send(CLOSE, &reason(1001, b""));
    peer.expect_fin();
    drop(peer);
    assert_eq!(proxy.wait_for_exit().code(), Some(0));
}

// Bad payloads.

#[test]
fn chunks_that_are_none_are_answered_1007_behind_what_came_before() {
    let (proxy, target) =
        (far(&[&CHUNK[..], &["--close-timeout", "1s"]].concat()), Target::listen());
    let files = proxy.open_files();
    let head = chunk(head(&target.endpoint, &[]).as_bytes());
    for (what, bad) in bad_chunks() {
        let mut peer = say(&proxy, &head);
        let mut stream = target.accept();
        assert_same(&unchunk(&peer.expect(BINARY)), ESTABLISHED);
        peer.send(BINARY, &chunk(b"good"));
        peer.send(BINARY, &bad);
        let (code, said) = peer.expect_close_and_reason();
        assert_eq!(code, 1007, "{what}: {said}");
        assert!(!said.is_empty(), "{what}: it does not say which rule");
        peer.expect_fin();
        let got = stream.receive_until_fin();
        assert!(got.starts_with(b"good"), "{what}: {}", got.escape_ascii());
        assert!(got.len() <= 5, "{what}: {}", got.escape_ascii());
    }
    let closed = proxy.wait_for_closed(bad_chunks().len());
    assert_eq!(closed.len(), bad_chunks().len());
    for closed in closed {
        assert_eq!((closed.code, &closed.why[..]), (1007, "protocol-error"));
    }
    proxy.wait_until_idle(files);
}

#[test]
fn a_first_message_that_is_no_chunk_is_answered_1007() {
    let proxy = far(&CHUNK);
    for (what, bad) in bad_chunks() {
        let mut peer = say(&proxy, &bad);
        assert_eq!(peer.expect_close(), 1007, "{what}");
        peer.expect_fin();
    }
    let mut peer = Ws::connect(&proxy);
    peer.send(TEXT, b"CONNECT 127.0.0.1:443");
    assert_eq!(peer.expect_close(), 1003, "text where chunks are spoken");
}

#[test]
fn a_frame_that_is_none_is_answered_1002_before_and_behind_the_head() {
    let (proxy, target) =
        (far(&[&LOOPBACK[..], &["--close-timeout", "1s"]].concat()), Target::listen());
    for named in [false, true] {
        let mut peer = Ws::connect(&proxy);
        let mut stream = named.then(|| {
            peer.send(BINARY, head(&target.endpoint, &[]).as_bytes());
            assert_same(&peer.expect(BINARY), ESTABLISHED);
            target.accept()
        });
        peer.send_raw(&[0xff; 100]);
        assert_eq!(peer.expect_close(), 1002);
        peer.expect_fin();
        if let Some(stream) = &mut stream {
            stream.expect_fin();
        }
    }
}

// The parts.

/// Messages that are not of `bytes data = 1` and fields to skip.
fn bad_chunks() -> Vec<(&'static str, Vec<u8>)> {
    let long = [0x80; 10];
    vec![
        ("a length of 11 bytes", [&[0x0a][..], &long, &[0x00]].concat()),
        ("a length of 65 bits", [&[0x0a][..], &[0xff; 9], &[0x02]].concat()),
        ("a tag of 11 bytes", [&long[..], &[0x01]].concat()),
        ("a tag of 33 bits", vec![0x8a, 0x80, 0x80, 0x80, 0x10, 0x00]),
        ("a skipped varint of 11 bytes", [&[0x10][..], &long, &[0x00]].concat()),
        ("a length past the message", vec![0x0a, 0x02, b'x']),
        ("a length without bytes", vec![0x0a, 0x7f]),
        ("a length of 2^64 - 1", [&[0x0a][..], &[0xff; 9], &[0x01]].concat()),
        ("a tag without a length", vec![0x0a]),
        ("half a varint", vec![0x0a, 0x80]),
        ("a skipped field past the message", vec![0x12, 0x05, 0x00]),
        ("a skipped word that is cut", vec![0x15, 0x00, 0x00]),
        ("field 1 as a varint", vec![0x08, 0x01]),
        ("field 1 as eight bytes", vec![0x09, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("field 1 as four bytes", vec![0x0d, 0, 0, 0, 0]),
        ("field 1 as a group", vec![0x0b, 0x0c]),
        ("another field as a group", vec![0x13, 0x14]),
        ("the end of a group", vec![0x14]),
        ("wire type 6", vec![0x16, 0x00]),
        ("wire type 7", vec![0x17, 0x00]),
        ("field 0", vec![0x02, 0x00]),
    ]
}

/// The head reached the target that it names, and what stood behind it came first.
#[track_caller]
fn understood(peer: &mut Ws, target: &Target) {
    let mut stream = target.accept();
    assert_same(&stream.receive(6), b"behind");
    assert_same(&peer.expect(BINARY), ESTABLISHED);
}

#[track_caller]
fn carries(peer: &mut Ws, stream: &mut Stream) {
    peer.send(BINARY, b"there");
    assert_same(&stream.receive(5), b"there");
    stream.send(b"back");
    assert_same(&peer.expect(BINARY), b"back");
}

fn port_of(target: &Target) -> &str {
    target.endpoint.rsplit_once(':').unwrap().1
}
