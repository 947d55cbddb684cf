//! Targets that a WebSocket client names in JSON: the exchange word by word, what is refused and
//! how, and the stream behind it. The client is the test's own.

mod common;

use std::time::Duration;

use common::target::{Refusing, Silent};
use common::ws::{frame, reason, request, Response};
use common::{
    assert_same, pattern, Proxy, Stream, Target, TempFile, Ws, BINARY, CLOSE, FIN, PING, PONG, TEXT,
};

const GREETING: &str = r#"{"supported_protocols":{"tcp":{"target_ip":"IP Address","target_port":"Port for IP Address"},"unix":{"target_path":"Path of a unix socket"}}}"#;
const CONNECTED: &str = r#"{"status":"Successfully connected, starting to proxy"}"#;

const LOOPBACK: [&str; 2] = ["--allow", "127.0.0.1"];

/// Long enough for what must not happen to happen.
const QUIET: Duration = Duration::from_millis(300);

// The exchange.

#[test]
fn a_client_is_greeted_names_its_target_and_is_told_that_it_is_there() {
    let (proxy, target) = (to_json(&LOOPBACK), Target::listen());
    let mut peer = greeted(&proxy);
    peer.send(TEXT, asks_for(&target.endpoint).as_bytes());
    let mut stream = target.accept();
    expect_text(&mut peer, CONNECTED);
    carries(&mut peer, &mut stream);
    let opened = proxy.wait_for_log(0, "the line `open`", |l| l.contains(" open target="));
    assert!(opened.ends_with(&format!(" target=tcp://{}", target.endpoint)), "{opened}");
    drop(stream);
    assert_eq!(peer.expect_close(), 1000);
    peer.send(CLOSE, &reason(1000, b""));
    peer.expect_fin();
    drop(peer);
    let closed = &proxy.wait_for_closed(1)[0];
    assert_eq!((closed.code, closed.inbound, closed.outbound), (1000, 5, 4), "the stream alone");
}

#[test]
fn behind_the_exchange_it_carries_both_ways_at_once() {
    let (proxy, target) = (to_json(&LOOPBACK), Target::listen());
    let mut peer = greeted(&proxy);
    peer.send(TEXT, asks_for(&target.endpoint).as_bytes());
    let mut stream = target.accept();
    expect_text(&mut peer, CONNECTED);
    let (there, back) = (pattern(1, 3 << 20), pattern(2, 3 << 20));
    let mut writer = peer.stream().share();
    let mut target_writer = stream.share();
    std::thread::scope(|scope| {
        scope.spawn(|| writer.send(&frame(BINARY, &there)));
        scope.spawn(|| target_writer.send(&back));
        scope.spawn(|| assert_same(&stream.receive(there.len()), &there));
        assert_same(&peer.receive(back.len()), &back);
    });
}

#[test]
fn the_stream_has_the_encoding_that_was_asked_for() {
    let (proxy, target) = (to_json(&LOOPBACK), Target::listen());
    let mut peer = Ws::connect_to(&proxy, "/?encoding=base64", &[]);
    expect_text(&mut peer, GREETING);
    peer.send(TEXT, asks_for(&target.endpoint).as_bytes());
    let mut stream = target.accept();
    expect_text(&mut peer, CONNECTED);
    peer.send(TEXT, b"dGhlcmU=");
    assert_same(&stream.receive(5), b"there");
    stream.send(b"back");
    assert_same(&peer.expect(TEXT), b"YmFjaw==");
}

#[test]
fn whoever_says_everything_at_once_loses_nothing() {
    let (proxy, target) = (to_json(&LOOPBACK), Target::listen());
    let rest = pattern(3, 100_000);
    let wire = [
        request("/", &[]).into_bytes(),
        frame(TEXT, asks_for(&target.endpoint).as_bytes()),
        frame(BINARY, b"first"),
        frame(BINARY, &rest),
    ]
    .concat();
    let stream = Stream::tcp(proxy.port());
    let mut writer = stream.share();
    std::thread::scope(|scope| {
        scope.spawn(|| writer.send(&wire));
        let mut far = target.accept();
        assert_same(&far.receive(5), b"first");
        assert_same(&far.receive(rest.len()), &rest);
    });
    stream.wait_until_read();
    let mut peer = Ws::opened(stream);
    expect_text(&mut peer, GREETING);
    expect_text(&mut peer, CONNECTED);
}

#[test]
fn a_message_in_fragments_with_pings_within_is_understood() {
    let (proxy, target) = (to_json(&LOOPBACK), Target::listen());
    let message = asks_for(&target.endpoint).into_bytes();
    let mut peer = greeted(&proxy);
    peer.send(PING, b"before");
    assert_same(&peer.expect(PONG), b"before");
    peer.send(TEXT & !FIN, b"");
    for byte in &message {
        peer.send(0, &[*byte]);
    }
    peer.send(PING, b"within");
    assert_same(&peer.expect(PONG), b"within");
    assert!(!target.has_caller_within(QUIET), "dialled before the message has ended");
    peer.send(FIN, b"");
    let mut stream = target.accept();
    expect_text(&mut peer, CONNECTED);
    carries(&mut peer, &mut stream);
}

#[test]
fn a_message_cut_anywhere_is_understood() {
    let (proxy, target) = (to_json(&LOOPBACK), Target::listen());
    let wire = frame(TEXT, asks_for(&target.endpoint).as_bytes());
    let begin = |cut| {
        let mut peer = greeted(&proxy);
        peer.send_raw(&wire[..cut]);
        (peer, cut)
    };
    for (mut peer, cut) in (1..wire.len()).step_by(3).map(begin).collect::<Vec<_>>() {
        peer.stream().wait_until_read();
        peer.send_raw(&wire[cut..]);
        let mut stream = target.accept();
        expect_text(&mut peer, CONNECTED);
        carries(&mut peer, &mut stream);
    }
}

// Where it goes.

#[test]
fn a_name_leads_to_an_address_that_is_allowed() {
    let target = Target::listen();
    let name = target.endpoint.replace("127.0.0.1", "localhost");
    for rule in ["localhost", "127.0.0.0/8", &name] {
        let proxy = to_json(&["--allow", rule]);
        let mut peer = greeted(&proxy);
        peer.send(TEXT, asks_for(&name).as_bytes());
        let mut stream = target.accept();
        expect_text(&mut peer, CONNECTED);
        carries(&mut peer, &mut stream);
    }
}

#[test]
fn an_ipv6_address_needs_no_brackets() {
    let Ok(target) = Target::listen_on("[::1]:0") else { return };
    let proxy = to_json(&["--allow", "::1"]);
    for endpoint in [&target.endpoint, &target.endpoint.replace(['[', ']'], "")] {
        let mut peer = greeted(&proxy);
        peer.send(TEXT, asks_for(endpoint).as_bytes());
        let mut stream = target.accept();
        expect_text(&mut peer, CONNECTED);
        carries(&mut peer, &mut stream);
    }
}

#[test]
fn a_unix_socket_is_dialled_if_a_rule_names_it() {
    let file = TempFile::absent();
    let (target, path) = (Target::unix(file.path().as_ref()), file.path());
    let (directory, name) = path.rsplit_once('/').unwrap();
    let in_directory = format!("unix:{directory}/");
    for rule in [&target.endpoint, &in_directory] {
        let proxy = to_json(&["--allow", rule]);
        let mut peer = greeted(&proxy);
        peer.send(TEXT, unix(path).as_bytes());
        let mut stream = target.accept();
        expect_text(&mut peer, CONNECTED);
        carries(&mut peer, &mut stream);
    }
    for other in ["any", "127.0.0.1", "unix:/nowhere/", "unix:@x"] {
        let proxy = to_json(&["--allow", other]);
        refused(&proxy, &unix(path), &failed("Target not allowed"), 1008);
    }
    let proxy = to_json(&["--allow", &in_directory, "--deny", &target.endpoint]);
    refused(&proxy, &unix(path), &failed("Target not allowed"), 1008);
    for evasion in [format!("{directory}//{name}"), format!("{directory}/../{path}"), "a".into()] {
        refused(&proxy, &unix(&evasion), &failed("Missing or invalid target_path"), 1008);
    }
    let reason = "the target cannot be reached; is it running?";
    refused(&proxy, &unix(&format!("{path}.gone")), &unreachable(reason), 1014);
    assert!(!target.has_caller_within(Duration::ZERO), "dialled in vain");
}

#[test]
fn an_abstract_unix_socket_is_dialled_if_a_rule_names_it() {
    let name = format!("ws-tcp-proxy-json-{}", std::process::id());
    let target = Target::unix_abstract(&name);
    let proxy = to_json(&["--allow", &format!("unix:@{name}")]);
    let mut peer = greeted(&proxy);
    peer.send(TEXT, unix(&format!("@{name}")).as_bytes());
    let mut stream = target.accept();
    expect_text(&mut peer, CONNECTED);
    carries(&mut peer, &mut stream);
    refused(&proxy, &unix(&format!("@{name}x")), &failed("Target not allowed"), 1008);
}

#[test]
fn what_no_rule_allows_is_not_dialled() {
    let target = Target::listen();
    let port = target.endpoint.rsplit_once(':').unwrap().1;
    for (rules, host) in [
        (&LOOPBACK[..], "127.0.0.2"),
        (&LOOPBACK, "::1"),
        (&LOOPBACK, "::ffff:127.0.0.1"),
        (&LOOPBACK, "64:ff9b::7f00:1"),
        (&LOOPBACK, "0.0.0.0"),
        (&LOOPBACK, "169.254.169.254"),
        (&["--allow", "any"], "127.0.0.1"),
        (&["--allow", "any"], "127.0.0.2"),
        (&["--allow", "any"], "::"),
        (&["--allow", "any"], "localhost"),
        (&["--allow", "any"], "localhost."),
        (&["--allow", "any"], "255.255.255.255"),
        (&["--allow", "any"], "224.0.0.1"),
        (&["--allow", "127.0.0.1:1-1023"], "127.0.0.1"),
        (&["--allow", "127.0.0.0/8", "--deny", "127.0.0.1"], "127.0.0.1"),
        (&["--allow", "unix:/"], "127.0.0.1"),
    ] {
        let proxy = to_json(rules);
        refused(&proxy, &tcp(host, port), &failed("Target not allowed"), 1008);
        let line = proxy.wait_for_log(0, "a warning", |l| l.contains("refused to reach tcp://"));
        assert!(line.contains(host.trim_end_matches('.')), "{line}");
        assert!(!target.has_caller_within(Duration::ZERO), "{host} under {rules:?}");
    }
}

// What is told of a target that cannot be had.

#[test]
fn a_target_that_cannot_be_reached_is_told_so_and_1014() {
    let (refusing, silent) = (Refusing::new(), Silent::new());
    let proxy = to_json(&[&LOOPBACK[..], &["--connect-timeout", "500ms"]].concat());
    let files = proxy.open_files();
    let reason = "the target cannot be reached; is it running?";
    refused(&proxy, &asks_for(&refusing.endpoint), &unreachable(reason), 1014);
    let reason = "the target did not answer in time; try again later";
    refused(&proxy, &asks_for(&silent.endpoint), &unreachable(reason), 1014);
    assert_eq!(proxy.unreached(), 1, "what can be repeated is said once a minute");
    proxy.wait_until_idle(files);
}

// What names no target.

#[test]
fn a_message_that_names_no_target_is_told_why() {
    let proxy = to_json(&["--allow", "127.0.0.0/8"]);
    let files = proxy.open_files();
    let cases = [
        ("", "expected a value at byte 0"),
        ("CONNECT 127.0.0.1:80", "expected a value at byte 0"),
        ("{\"protocol\":\"tcp\",}", "expected a name in quotes at byte 18"),
        ("{} {}", "expected the end at byte 3"),
        ("[{}]", "Missing or invalid protocol field"),
        ("{\"target_ip\":\"127.0.0.1\",\"target_port\":80}", "Missing or invalid protocol field"),
        ("{\"protocol\":\"udp\"}", "Unsupported protocol"),
        ("{\"protocol\":\"tcp\",\"protocol\":\"tcp\"}", "Missing or invalid protocol field"),
        ("{\"protocol\":\"tcp\",\"target_port\":80}", "Missing or invalid target_ip"),
        ("{\"protocol\":\"tcp\",\"target_ip\":\"127.0.0.1\"}", "Missing or invalid target_port"),
        ("{\"protocol\":\"unix\",\"target_path\":\"a\"}", "Missing or invalid target_path"),
    ];
    for (message, why) in cases {
        refused(&proxy, message, &failed(why), 1008);
    }
    for port in ["0", "65558", "22.0", "\"22\"", "-1", "1e1"] {
        refused(&proxy, &tcp("127.0.0.1", port), &failed("Missing or invalid target_port"), 1008);
    }
    for ip in ["127.1", "0x7f000001", "2130706433", "0", "127.0.0.1:80", "", "a b"] {
        refused(&proxy, &tcp(ip, "22"), &failed("Missing or invalid target_ip"), 1008);
    }
    proxy.wait_until_idle(files);
    assert_eq!(proxy.unreached(), 0, "a peer can repeat that at will");
}

#[test]
fn a_message_that_is_too_big_is_told_so_and_1009() {
    let proxy = to_json(&LOOPBACK);
    let before = proxy.memory();
    for million in ["[".repeat(1 << 20), " ".repeat(1 << 20)] {
        let mut peer = greeted(&proxy);
        let mut writer = peer.stream().share();
        std::thread::scope(|scope| {
            // The rest of it is read and dropped.
            scope.spawn(move || writer.send(&frame(TEXT, million.as_bytes())));
            expect_text(&mut peer, &failed("longer than 8192 bytes at byte 8192"));
            assert_eq!(peer.expect_close(), 1009);
            peer.expect_fin();
        });
    }
    let grown = proxy.peak_memory() - before;
    assert!(grown < 1 << 20, "{grown} bytes");
    let small = to_json(&["--allow", "127.0.0.1", "--max-head", "256B"]);
    refused(&small, &" ".repeat(257), &failed("longer than 256 bytes at byte 256"), 1009);
}

#[test]
fn a_binary_message_is_told_so_and_1003() {
    let (proxy, target) = (to_json(&LOOPBACK), Target::listen());
    let mut peer = greeted(&proxy);
    peer.send(BINARY, asks_for(&target.endpoint).as_bytes());
    expect_text(&mut peer, &failed("expected a text message at byte 0"));
    assert_eq!(peer.expect_close(), 1003);
    peer.expect_fin();
    assert!(!target.has_caller_within(Duration::ZERO), "dialled");
}

#[test]
fn text_that_is_not_utf8_is_1007_and_no_frame_1002() {
    let proxy = to_json(&LOOPBACK);
    let mut peer = greeted(&proxy);
    peer.send(TEXT, b"{\"protocol\":\"\xff\"}");
    assert_eq!(peer.expect_close(), 1007);
    peer.expect_fin();
    let mut peer = greeted(&proxy);
    peer.send_raw(&[0xff; 100]);
    assert_eq!(peer.expect_close(), 1002);
    peer.expect_fin();
}

// Clients that say nothing, go, or are too many.

#[test]
fn who_says_nothing_in_time_is_told_so() {
    let proxy = to_json(&[&LOOPBACK[..], &["--handshake-timeout", "400ms"]].concat());
    let files = proxy.open_files();
    for said in [&b""[..], &frame(TEXT & !FIN, b"{"), &frame(TEXT, b"{}")[..5]] {
        let mut peer = greeted(&proxy);
        peer.send_raw(said);
        expect_text(&mut peer, &failed("Handshake timed out"));
        assert_eq!(peer.expect_close(), 1008);
        peer.expect_fin();
    }
    proxy.wait_until_idle(files);
}

#[test]
fn who_goes_before_a_target_is_there_leaves_nothing() {
    let silent = Silent::new();
    let proxy = to_json(&[&LOOPBACK[..], &["--connect-timeout", "100s"]].concat());
    let files = proxy.open_files();
    for (first, said) in [(PING, ""), (TEXT & !FIN, "{"), (TEXT, &asks_for(&silent.endpoint))] {
        let mut peer = greeted(&proxy);
        peer.send(first, said.as_bytes());
        peer.stream().wait_until_read();
        peer.into_stream().reset();
    }
    let mut peer = greeted(&proxy);
    peer.send(CLOSE, &reason(1000, b""));
    assert_eq!(peer.expect_close(), 1000);
    peer.expect_fin();
    drop(peer);
    proxy.wait_until_idle(files);
}

#[test]
fn a_full_house_is_503_before_any_101() {
    let proxy = to_json(&[&LOOPBACK[..], &["--max-connections", "1"]].concat());
    let _first = greeted(&proxy);
    let response = Response::to(proxy.port(), request("/", &[]).as_bytes());
    response.expect_refusal(503);
    assert!(response.header("Retry-After").is_some(), "{response:?}");
}

#[test]
fn sigterm_closes_who_has_not_named_a_target_with_1001() {
    let mut proxy = to_json(&LOOPBACK);
    let mut peer = greeted(&proxy);
    proxy.signal(libc::SIGTERM);
    assert_eq!(peer.expect_close(), 1001);
    peer.send(CLOSE, &reason(1001, b""));
    peer.expect_fin();
    drop(peer);
    assert_eq!(proxy.wait_for_exit().code(), Some(0));
}

// The parts.

#[track_caller]
fn to_json(arguments: &[&str]) -> Proxy {
    Proxy::to("json:", arguments)
}

#[track_caller]
fn greeted(proxy: &Proxy) -> Ws {
    let mut peer = Ws::connect(proxy);
    expect_text(&mut peer, GREETING);
    peer
}

#[track_caller]
fn expect_text(peer: &mut Ws, wanted: &str) {
    assert_eq!(String::from_utf8(peer.expect(TEXT)).unwrap(), wanted);
}

/// Whoever says this is told that, and then Close; nothing follows.
#[track_caller]
fn refused(proxy: &Proxy, message: &str, told: &str, code: u16) {
    let mut peer = greeted(proxy);
    peer.send(TEXT, message.as_bytes());
    expect_text(&mut peer, told);
    assert_eq!(peer.expect_close(), code, "{message}");
    peer.expect_fin();
}

fn failed(reason: &str) -> String {
    format!(r#"{{"status":"Handshake failed","reason":"{reason}"}}"#)
}

fn unreachable(reason: &str) -> String {
    format!(r#"{{"status":"Connection failed, cancelling proxy","reason":"{reason}"}}"#)
}

fn asks_for(endpoint: &str) -> String {
    let (host, port) = endpoint.rsplit_once(':').unwrap();
    tcp(host, port)
}

fn tcp(host: &str, port: &str) -> String {
    format!(r#"{{"protocol":"tcp","target_ip":"{host}","target_port":{port}}}"#)
}

fn unix(path: &str) -> String {
    format!(r#"{{"protocol":"unix","target_path":"{path}"}}"#)
}

#[track_caller]
fn carries(peer: &mut Ws, stream: &mut Stream) {
    peer.send(BINARY, b"there");
    assert_same(&stream.receive(5), b"there");
    stream.send(b"back");
    assert_same(&peer.expect(BINARY), b"back");
}
