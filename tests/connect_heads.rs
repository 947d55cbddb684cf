//! CONNECT heads that nobody can follow, at every place that reads one: the near end, the ordinary
//! proxy, a plain stream and the far end behind its WebSocket. Each gets a status and a line that
//! says why, and nothing is dialled.

mod common;

use std::time::Duration;

use common::relay::{expect_refusal, head, say};
use common::{Proxy, Response, Stream, Target, Ws, BINARY, FIN};

/// Targets that are none.
const AUTHORITIES: [&str; 34] = [
    "127.0.0.1",
    "127.0.0.1:",
    "localhost",
    "127.0.0.1:0",
    "127.0.0.1:65536",
    "127.0.0.1:65558",
    "127.0.0.1:22.0",
    "127.0.0.1:-1",
    "127.0.0.1:+22",
    "127.0.0.1:0x16",
    "127.0.0.1:99999999999999999999",
    "127.0.0.1:22:22",
    "::1:443",
    "::1",
    "[::1]",
    "[::1]443",
    "[::1:443",
    "[127.0.0.1]:443",
    "[::1%25lo]:443",
    "user:secret@127.0.0.1:443",
    "user@127.0.0.1:443",
    "127.1:443",
    "0x7f000001:443",
    "0x7f.0.0.1:443",
    "2130706433:443",
    "0177.0.0.1:443",
    "127.0.0.01:443",
    ":443",
    "a..b:443",
    "-a:443",
    "http://127.0.0.1:443/",
    "127.0.0.1:443/path",
    "*",
    "/",
];

/// Heads, and the status each is answered with.
fn bad_heads() -> Vec<(Vec<u8>, u16)> {
    let mut heads: Vec<_> = AUTHORITIES.map(|a| (head(a, &[]).into_bytes(), 400)).into();
    let good = head("127.0.0.1:443", &[]);
    let other: [(Vec<u8>, u16); 14] = [
        (head("127.0.0.1:443\0", &[]).into(), 400),
        (head("127.0\0.0.1:443", &[]).into(), 400),
        (good.replace("Host: ", "X: a\0b\r\nHost: ").into(), 400),
        (b"\0\0\0\0\r\n\r\n".to_vec(), 400),
        (b"CONNECT 127.0.0.1:443\r\n\r\n".to_vec(), 400),
        (good.replace("HTTP/1.1", "HTTP/2.0").into(), 400),
        (good.replace("\r\nHost", "\r\nHost: b\r\nHost").into(), 400),
        (head("127.0.0.1:443", &["Content-Length: 5"]).into(), 400),
        (head("127.0.0.1:443", &["Transfer-Encoding: chunked"]).into(), 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), 400),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n".to_vec(), 400),
        (format!("CONNECT {}", "a".repeat(9 << 10)).into(), 431),
        (format!("{}X: {}", &good[..good.len() - 2], "x".repeat(9 << 10)).into(), 431),
        (head("127.0.0.1:443", &["X: y"; 65]).into(), 431),
    ];
    heads.extend(other);
    for method in ["GET", "POST", "OPTIONS", "connect", "PRI"] {
        heads.push((good.replacen("CONNECT", method, 1).into(), 405));
    }
    heads.push((b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), 405));
    heads.push((b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc".to_vec(), 405));
    heads
}

#[test]
fn a_near_end_answers_each_in_http() {
    let target = Target::listen();
    let remote = format!("ws://{}/", target.endpoint);
    for form in ["full", "eager"] {
        let connect = ["--connect", form];
        refuses_in_http(&listener("connect://127.0.0.1:0", &remote, &connect));
        assert!(!target.has_caller_within(Duration::ZERO), "dialled in vain");
    }
}

#[test]
fn an_ordinary_proxy_answers_each_in_http() {
    for local in ["connect://127.0.0.1:0", "tcp://127.0.0.1:0"] {
        refuses_in_http(&listener(local, "connect:", &["--allow", "127.0.0.0/8"]));
    }
}

#[test]
fn a_far_end_answers_each_in_the_stream_and_closes() {
    let proxy = far(&[]);
    let files = proxy.open_files();
    for (head, status) in bad_heads() {
        let mut peer = say(&proxy, &head);
        let (bytes, code) = peer.receive_until_close();
        assert!(!bytes.is_empty(), "no answer to {}", start(&head));
        check(&Response::parse(&bytes), status, &head);
        assert_eq!(code, 1008, "for {}", start(&head));
        peer.expect_fin();
    }
    nothing_is_left_or_told(&proxy, files);
}

/// A first message that ends where its head does not go on is no different.
#[test]
fn a_far_end_knows_a_bad_head_whatever_its_messages() {
    let proxy = far(&[]);
    for wire in [
        &b"CONNECT user:secret@127.0.0.1:443 HTTP/1.1\r\n\r\n"[..],
        b"CONNECT 127.0.0.1:22.0 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT ::1:443 HTTP/1.1\r\n\r\n",
    ] {
        let mut peer = Ws::connect(&proxy);
        for byte in wire {
            peer.send(BINARY, &[*byte]);
        }
        expect_refusal(&mut peer, 400, 1008);
        let mut peer = Ws::connect(&proxy);
        let last = wire.len() - 1;
        for (n, byte) in wire.iter().enumerate() {
            let first = if n == 0 { BINARY & !FIN } else { 0 };
            peer.send(if n == last { first | FIN } else { first }, &[*byte]);
        }
        expect_refusal(&mut peer, 400, 1008);
    }
}

/// Bare heads cannot be told apart from the start of a full one, so these are waited for.
#[test]
fn a_bare_head_that_is_none_is_awaited_and_then_answered_408() {
    let proxy = far(&["--handshake-timeout", "300ms"]);
    for bare in ["CONNECT 127.0.0.1", "CONNECT 127.0.0.1:0", "CONNECT user@127.0.0.1:443"] {
        expect_refusal(&mut say(&proxy, bare.as_bytes()), 408, 1008);
    }
}

#[test]
fn a_head_that_comes_too_slowly_is_answered_408() {
    let slow = ["--handshake-timeout", "300ms"];
    let allow = [&slow[..], &["--allow", "127.0.0.1"]].concat();
    let head = head("127.0.0.1:443", &[]);
    let proxies = [
        listener("connect://127.0.0.1:0", "ws://127.0.0.1:9/", &slow),
        listener("connect://127.0.0.1:0", "connect:", &allow),
        listener("tcp://127.0.0.1:0", "connect:", &allow),
    ];
    for proxy in &proxies {
        let files = proxy.open_files();
        let begin = |len| {
            let mut tool = Stream::tcp(proxy.port());
            tool.send(&head.as_bytes()[..len]);
            tool
        };
        for mut tool in [1, 15, head.len() - 1].map(begin) {
            Response::read(&mut tool).expect_refusal(408);
        }
        proxy.wait_until_idle(files);
    }
    let proxy = far(&slow);
    let files = proxy.open_files();
    let begin = |len| say(&proxy, &head.as_bytes()[..len]);
    for mut peer in [0, 1, 15, head.len() - 1].map(begin) {
        expect_refusal(&mut peer, 408, 1008);
    }
    expect_refusal(&mut Ws::connect(&proxy), 408, 1008);
    proxy.wait_until_idle(files);
}

#[test]
fn a_head_request_is_answered_without_a_body() {
    let proxy = listener("connect://127.0.0.1:0", "ws://127.0.0.1:9/", &[]);
    let response = Response::to(proxy.port(), b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((response.status, &response.body[..]), (405, ""), "{response:?}");
    assert_eq!(response.header("Allow"), Some("CONNECT"));
}

#[test]
fn a_refusal_ends_in_fin_even_if_more_was_sent() {
    let proxy = listener("connect://127.0.0.1:0", "ws://127.0.0.1:9/", &[]);
    let more = vec![b'x'; 300_000];
    for (start, status) in [("GET / HTTP/1.1\r\n\r\n", 405), ("CONNECT a HTTP/1.1\r\n\r\n", 400)] {
        let wire = [start.as_bytes(), &more].concat();
        Response::to(proxy.port(), &wire).expect_refusal(status);
    }
}

#[test]
fn a_tool_that_gives_up_in_the_head_leaves_nothing() {
    let proxy = listener("connect://127.0.0.1:0", "ws://127.0.0.1:9/", &[]);
    let files = proxy.open_files();
    let head = head("127.0.0.1:443", &[]);
    for len in [0, 1, 30, head.len() - 1] {
        let mut tool = Stream::tcp(proxy.port());
        tool.send(&head.as_bytes()[..len]);
        tool.finish();
        tool.expect_end();
        let mut tool = Stream::tcp(proxy.port());
        tool.send(&head.as_bytes()[..len]);
        tool.reset();
    }
    proxy.wait_until_idle(files);
}

#[track_caller]
fn listener(local: &str, remote: &str, arguments: &[&str]) -> Proxy {
    let route = ["--log-level", "trace", "--local", local, "--remote", remote];
    Proxy::start(&[&route, arguments].concat())
}

/// A far end that may dial whatever the bad heads seem to name.
#[track_caller]
fn far(arguments: &[&str]) -> Proxy {
    let rules = ["--allow", "127.0.0.0/8", "--allow", "[::1]", "--allow", "localhost"];
    listener("ws://127.0.0.1:0", "connect:", &[&rules, arguments].concat())
}

/// Every bad head gets its answer from a port that speaks HTTP.
#[track_caller]
fn refuses_in_http(proxy: &Proxy) {
    let files = proxy.open_files();
    for (head, status) in bad_heads() {
        let mut tool = Stream::tcp(proxy.port());
        tool.send(&head);
        check(&Response::read(&mut tool), status, &head);
    }
    nothing_is_left_or_told(proxy, files);
}

#[track_caller]
fn check(response: &Response, status: u16, head: &[u8]) {
    assert_eq!(response.status, status, "{response:?} for {}", start(head));
    response.expect_refusal(status);
    let allowed = (status == 405).then_some("CONNECT");
    assert_eq!(response.header("Allow"), allowed, "{response:?}");
    assert!(!response.body.contains("secret"), "{response:?}");
}

#[track_caller]
fn nothing_is_left_or_told(proxy: &Proxy, files: usize) {
    proxy.wait_until_idle(files);
    assert_eq!(proxy.unreached(), 0, "{:#?}", proxy.log());
    let log = proxy.log().join("\n");
    assert!(!log.contains("secret"), "{log}");
}

fn start(head: &[u8]) -> String {
    head[..head.len().min(80)].escape_ascii().to_string()
}
