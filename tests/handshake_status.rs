//! The opening handshake: every row of the status table of DESIGN 3 that can be reached, heads cut
//! anywhere, and garbage. A refusal is a readable answer that ends in FIN, even if more was sent.

mod common;

use std::time::Duration;

use common::target::{Refusing, Silent};
use common::ws::{frame, request, Response, KEY};
use common::{assert_same, bridge, connect, Proxy, Stream, Target, Ws, BINARY};

#[test]
fn a_page_request_is_answered_426_with_upgrade() {
    let (proxy, target) = bridge(&[]);
    let heads = [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_string(),
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n".to_string(),
        without(&request("/", &[]), "Upgrade"),
        request("/", &[]).replace("Upgrade: websocket", "Upgrade: h2c"),
        request("/", &[]).replace("Connection: Upgrade", "Connection: keep-alive"),
        without(&request("/", &[]), "Connection"),
    ];
    for head in heads {
        let response = refusal(&proxy, &head, 426);
        let upgrade = response.header("Upgrade").map(str::to_ascii_lowercase);
        assert_eq!(upgrade.as_deref(), Some("websocket"), "{head}");
    }
    assert!(!target.has_caller_within(Duration::ZERO), "dialled in vain");
}

#[test]
fn a_malformed_missing_or_repeated_key_is_answered_400() {
    let (proxy, target) = bridge(&[]);
    let good = request("/", &[]);
    let keys = [
        "",
        "dGhlIHNhbXBsZSBub25jZQ=",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25j",
        "dGhlIHNhbXBsZSBub25jZSE=",
        "dGhlIHNhbXBsZSBub25jZQ==x",
        "dGhlIHNhbXBsZSBu,25jZQ==",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    ];
    for key in keys {
        refusal(&proxy, &good.replace(KEY, key), 400);
    }
    refusal(&proxy, &without(&good, "Sec-WebSocket-Key"), 400);
    let again = format!("Sec-WebSocket-Key: {KEY}");
    refusal(&proxy, &request("/", &[&again]), 400);
    assert!(!target.has_caller_within(Duration::ZERO), "dialled in vain");
}

#[test]
fn a_request_without_one_host_is_answered_400() {
    let (proxy, _target) = bridge(&[]);
    refusal(&proxy, &without(&request("/", &[]), "Host"), 400);
    refusal(&proxy, &request("/", &["Host: other.test"]), 400);
}

#[test]
fn a_head_that_is_not_http_is_answered_400() {
    let (proxy, _target) = bridge(&[]);
    let heads = [
        "\0\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/1.1\r\nHost\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHo st: a\r\n\r\n",
        "GET / HTTP/9.9\r\nHost: a\r\n\r\n",
        "SSH-2.0-OpenSSH_9.6\r\n\r\n",
    ];
    for head in heads {
        refusal(&proxy, head, 400);
    }
}

#[test]
fn only_get_and_http_1_1_open_a_websocket() {
    let (proxy, target) = bridge(&[]);
    let good = request("/", &[]);
    let heads = [
        good.replace("GET", "POST"),
        good.replace("GET", "OPTIONS"),
        good.replace("HTTP/1.1", "HTTP/1.0"),
    ];
    for head in heads {
        let response = Response::to(proxy.port(), head.as_bytes());
        response.expect_refusal(response.status);
        assert!((400..500).contains(&response.status), "{response:?}");
    }
    assert!(!target.has_caller_within(Duration::ZERO), "dialled in vain");
}

#[test]
fn a_wrong_version_is_answered_426_with_ours() {
    let (proxy, _target) = bridge(&[]);
    for version in ["8", "0", "14", "130", "013", "13, 8", "x"] {
        let line = format!("Sec-WebSocket-Version: {version}");
        let head = request("/", &[]).replace("Sec-WebSocket-Version: 13", &line);
        let response = refusal(&proxy, &head, 426);
        assert_eq!(response.header("Sec-WebSocket-Version"), Some("13"));
    }
    let response = refusal(&proxy, &without(&request("/", &[]), "Sec-WebSocket-Version"), 426);
    assert_eq!(response.header("Sec-WebSocket-Version"), Some("13"));
}

#[test]
fn a_head_that_is_too_large_is_answered_431() {
    let (proxy, _target) = bridge(&[]);
    let long = format!("X-Long: {}", "x".repeat(9000));
    refusal(&proxy, &request("/", &[&long]), 431);
    let path = format!("/{}", "x".repeat(9000));
    refusal(&proxy, &request(&path, &[]), 431);
    // Without an end, too: nobody waits for more than can be taken.
    refusal(&proxy, &format!("GET /{}", "x".repeat(9000)), 431);
}

#[test]
fn max_head_and_max_headers_draw_the_line_exactly() {
    let padding = format!("X-Padding: {}", "x".repeat(200));
    let plain = request("/", &[&padding]);
    let headers = plain.matches("\r\n").count() - 2;
    let len = plain.len().to_string();
    let (proxy, target) = bridge(&["--max-head", &len, "--max-headers", "64"]);
    fits(&proxy, &target, &plain);
    refusal(&proxy, &request("/x", &[&padding]), 431);

    let (proxy, target) = bridge(&["--max-headers", &headers.to_string()]);
    fits(&proxy, &target, &plain);
    refusal(&proxy, &request("/", &[&padding, "X-One: more"]), 431);
}

#[test]
fn too_many_headers_are_answered_431() {
    let (proxy, _target) = bridge(&[]);
    refusal(&proxy, &request("/", &["X-A: b"; 65]), 431);
}

#[test]
fn the_head_limit_does_not_count_frames_behind_the_head() {
    let (proxy, target) = bridge(&[]);
    let mut stream = Stream::tcp(proxy.port());
    let payload = [b'x'; 60_000];
    stream.send(&[request("/", &[]).as_bytes(), &frame(BINARY, &payload)].concat());
    let _peer = Ws::opened(stream);
    assert_same(&target.accept().receive(payload.len()), &payload);
}

#[test]
fn a_head_that_comes_too_slowly_is_answered_408() {
    let (proxy, _target) = bridge(&["--handshake-timeout", "1s"]);
    let head = request("/", &[]);
    for start in [&head[..1], &head[..20], &head[..head.len() - 1]] {
        let mut stream = Stream::tcp(proxy.port());
        stream.send(start.as_bytes());
        Response::read(&mut stream).expect_refusal(408);
    }
}

#[test]
fn a_head_that_drips_does_not_gain_time() {
    let (proxy, _target) = bridge(&["--handshake-timeout", "1s"]);
    let mut stream = Stream::tcp(proxy.port());
    let begin = std::time::Instant::now();
    let head = format!("GET /{}", "x".repeat(2000));
    for byte in head.as_bytes() {
        stream.send(&[*byte]);
        if stream.is_readable_within(Duration::from_millis(50)) {
            break;
        }
    }
    Response::read(&mut stream).expect_refusal(408);
    assert!(begin.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_connection_that_says_nothing_is_ended() {
    let (proxy, _target) = bridge(&["--handshake-timeout", "1s"]);
    let mut stream = Stream::tcp(proxy.port());
    let answer = stream.receive_until_fin();
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 408 "));
}

#[test]
fn a_client_that_gives_up_in_the_head_harms_nobody() {
    let (proxy, target) = bridge(&[]);
    let head = request("/", &[]);
    for len in [0, 1, 30] {
        let mut stream = Stream::tcp(proxy.port());
        stream.send(&head.as_bytes()[..len]);
        stream.finish();
        stream.expect_end();
        let mut stream = Stream::tcp(proxy.port());
        stream.send(&head.as_bytes()[..len]);
        stream.reset();
    }
    fits(&proxy, &target, &head);
}

#[test]
fn a_full_house_is_answered_503_and_open_again_when_one_leaves() {
    let (proxy, target) = bridge(&["--max-connections", "2"]);
    let first = connect(&proxy, &target);
    let (mut second, mut second_stream) = connect(&proxy, &target);
    let response = refusal(&proxy, &request("/", &[]), 503);
    let retry: u32 = response.header("Retry-After").expect("Retry-After").parse().unwrap();
    assert!(retry > 0);
    assert!(!target.has_caller_within(Duration::ZERO), "dialled in vain");

    first.0.close(1000);
    drop(first.1);
    let (mut third, mut third_stream) = (served_at_last(&proxy), target.accept());
    for (peer, stream) in [(&mut second, &mut second_stream), (&mut third, &mut third_stream)] {
        peer.send(BINARY, b"served");
        assert_same(&stream.receive(6), b"served");
    }
    refusal(&proxy, &request("/", &[]), 503);
}

#[test]
fn refusals_do_not_use_up_the_house() {
    let (proxy, target) = bridge(&["--max-connections", "2"]);
    for _ in 0..20 {
        refusal(&proxy, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 426);
    }
    let (_one, _two) = (served_at_last(&proxy), served_at_last(&proxy));
    drop(target);
}

#[test]
fn a_target_that_refuses_is_answered_502() {
    let refusing = Refusing::new();
    let proxy = Proxy::to(&refusing.endpoint, &[]);
    let response = refusal(&proxy, &request("/", &[]), 502);
    assert_eq!(response.header("Sec-WebSocket-Accept"), None);
}

#[test]
fn a_target_that_is_too_slow_is_answered_504() {
    let silent = Silent::new();
    let proxy = Proxy::to(&silent.endpoint, &["--connect-timeout", "500ms"]);
    refusal(&proxy, &request("/", &[]), 504);
}

#[test]
fn a_client_that_leaves_while_the_target_is_dialled_gives_its_place_back() {
    let silent = Silent::new();
    let options = ["--max-connections", "1", "--connect-timeout", "100s"];
    let proxy = Proxy::to(&silent.endpoint, &options);
    let mut stream = Stream::tcp(proxy.port());
    stream.send(request("/", &[]).as_bytes());
    stream.wait_until_read();
    refusal(&proxy, &request("/", &[]), 503);
    stream.reset();
    let wait = common::Wait::begin();
    loop {
        let mut stream = Stream::tcp(proxy.port());
        stream.send(request("/", &[]).as_bytes());
        if !stream.is_readable_within(Duration::from_millis(300)) {
            return; // not refused, so it is being dialled for
        }
        Response::read(&mut stream).expect_refusal(503);
        wait.go_on("the place of a client that left");
    }
}

#[test]
fn a_refusal_ends_in_fin_even_if_more_was_sent() {
    let refusing = Refusing::new();
    let proxy = Proxy::to(&refusing.endpoint, &[]);
    let more = frame(BINARY, &vec![b'x'; 300_000]);
    let heads = [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_string(), 426),
        (request("/", &[]).replace(KEY, "bad"), 400),
        (request("/", &[]), 502),
        (format!("GET /{}", "x".repeat(9000)), 431),
    ];
    for (head, status) in heads {
        let mut stream = Stream::tcp(proxy.port());
        stream.send(&[head.as_bytes(), &more].concat());
        Response::read(&mut stream).expect_refusal(status);
    }
}

#[test]
fn a_refusal_ends_in_fin_even_if_more_follows_it() {
    let (proxy, _target) = bridge(&[]);
    let mut stream = Stream::tcp(proxy.port());
    stream.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    stream.peek(12);
    for _ in 0..10 {
        stream.send(&[b'x'; 10_000]);
        stream.wait_until_read();
    }
    Response::read(&mut stream).expect_refusal(426);
}

#[test]
fn a_refusal_to_a_client_that_keeps_sending_ends_within_the_close_timeout() {
    let (proxy, _target) = bridge(&["--close-timeout", "1s"]);
    let mut stream = Stream::tcp(proxy.port());
    stream.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    stream.receive(12);
    let begin = std::time::Instant::now();
    while stream.try_send(b"more").is_ok() {
        assert!(begin.elapsed() < Duration::from_secs(15), "still served");
        std::thread::sleep(Duration::from_millis(20)); // the pace of this client
    }
}

#[test]
fn garbage_is_answered_and_closed() {
    let (proxy, target) = bridge(&[]);
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let tls = [&hello[..], &[0x5a; 506]].concat();
    let mut random = common::pattern(12, 65536);
    random[0] = 0xff;
    let cases = [
        tls,
        vec![0; 65536],
        vec![0xff; 65536],
        vec![b'A'; 65536],
        b"GET ".repeat(16384),
        b"\r\n".repeat(32768),
        b"X: y\r\n".repeat(11000),
        random,
    ];
    for case in cases {
        let response = Response::to(proxy.port(), &case);
        let status = response.status;
        let start = case[..12].escape_ascii();
        assert!([400, 431].contains(&status), "{status} for {start}");
        response.expect_refusal(status);
    }
    fits(&proxy, &target, &request("/", &[]));
}

#[test]
fn a_head_request_is_answered_without_a_body() {
    let (proxy, _target) = bridge(&[]);
    let head = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
    let response = Response::to(proxy.port(), head);
    assert_eq!(response.status, 426, "{response:?}");
    assert_eq!(response.body, "");
}

#[test]
fn a_head_split_at_every_byte_is_understood() {
    let (proxy, target) = bridge(&[]);
    let head = request("/", &[]);
    for cut in 1..head.len() {
        let mut stream = Stream::tcp(proxy.port());
        stream.send(&head.as_bytes()[..cut]);
        stream.wait_until_read();
        stream.send(&head.as_bytes()[cut..]);
        Ws::opened(stream);
        target.accept();
    }
}

#[test]
fn header_names_and_tokens_are_matched_in_any_case_and_in_lists() {
    let (proxy, target) = bridge(&[]);
    let good = request("/chat?x=y", &["Origin: http://a.test", "Cookie: a=b"]);
    let heads = [
        good.replace("Connection: Upgrade", "connection: keep-alive, UPGRADE"),
        good.replace("Connection: Upgrade", "Connection:keep-alive,upgrade"),
        good.replace("Connection: Upgrade", "Connection: foo\r\nConnection: upgrade"),
        good.replace("Upgrade: websocket", "UPGRADE: WebSocket"),
        good.replace("Upgrade: websocket", "Upgrade: h2c, websocket"),
        good.replace("Sec-WebSocket-Key", "sec-websocket-key"),
        good.replace("Sec-WebSocket-Version: 13", "SEC-WEBSOCKET-VERSION:   13  "),
        good.replace("Host: ", "host:"),
    ];
    for head in heads {
        fits(&proxy, &target, &head);
    }
}

#[test]
fn offered_extensions_are_not_accepted() {
    let (proxy, target) = bridge(&[]);
    let offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits";
    let peer = Ws::connect_to(&proxy, "/", &[offer]);
    assert_eq!(peer.response.header("Sec-WebSocket-Extensions"), None);
    target.accept();
}

#[test]
fn the_target_is_dialled_before_the_upgrade_is_granted() {
    let silent = Silent::new();
    let proxy = Proxy::to(&silent.endpoint, &[]);
    let mut stream = Stream::tcp(proxy.port());
    stream.send(request("/", &[]).as_bytes());
    stream.wait_until_read();
    assert!(
        !stream.is_readable_within(Duration::from_millis(200)),
        "an answer before the target's"
    );
    let target = silent.speak();
    Ws::opened(stream);
    target.accept();
}

/// `head` is answered with `status` in the form that every refusal has.
#[track_caller]
fn refusal(proxy: &Proxy, head: &str, status: u16) -> Response {
    let response = Response::to(proxy.port(), head.as_bytes());
    assert_eq!(response.status, status, "{response:?} for {head:?}");
    response.expect_refusal(status);
    response
}

/// Asks until a place is free.
#[track_caller]
fn served_at_last(proxy: &Proxy) -> Ws {
    let wait = common::Wait::begin();
    loop {
        let mut stream = Stream::tcp(proxy.port());
        stream.send(request("/", &[]).as_bytes());
        match stream.peek(12).as_slice() {
            b"HTTP/1.1 101" => return Ws::opened(stream),
            start => assert_same(start, b"HTTP/1.1 503"),
        }
        wait.go_on("a free place");
    }
}

/// `head` opens a connection that carries bytes.
#[track_caller]
fn fits(proxy: &Proxy, target: &Target, head: &str) {
    let mut stream = Stream::tcp(proxy.port());
    stream.send(head.as_bytes());
    let mut peer = Ws::opened(stream);
    let mut stream = target.accept();
    peer.send(BINARY, b"fits");
    assert_same(&stream.receive(4), b"fits");
}

/// The request without the lines of one header.
fn without(request: &str, name: &str) -> String {
    let start = format!("{name}:");
    let lines = request.split_inclusive("\r\n");
    lines.filter(|line| !line.starts_with(&start)).collect()
}
