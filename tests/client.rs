//! Plain listeners, and the client role: what is asked of a WebSocket server, what of its answers is
//! believed, and how such connections carry and end. The server is the test's own, or a second proxy.

mod common;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use common::server::server_frame;
use common::target::Refusing;
use common::ws::{reason, request, Response};
use common::{
    assert_same, both_ways, carries, frame, pattern, Asked, Proxy, Stream, Target, Ws, BINARY,
    CLOSE, FIN, PING, PONG, TEXT,
};

const MIB: usize = 1 << 20;

/// For ends that need no timer: this one would come too late for any test.
const NO_TIMER: [&str; 2] = ["--close-timeout", "100s"];

/// Long enough for what must not happen to happen.
const QUIET: Duration = Duration::from_millis(300);

// What is carried.

#[test]
fn a_plain_listener_prints_its_port() {
    let target = Target::listen();
    let proxy = plain(&target.endpoint, &[]);
    assert_ne!(proxy.port(), 0);
    assert_eq!(proxy.listening, [format!("tcp://127.0.0.1:{}", proxy.port())]);
    carries(&mut Stream::tcp(proxy.port()), &mut target.accept());
}

#[test]
fn two_proxies_carry_20_mib_each_way_at_once() {
    let target = Target::listen();
    let server = Proxy::to(&target.endpoint, &NO_TIMER);
    let client = plain(&format!("ws://127.0.0.1:{}/", server.port()), &NO_TIMER);
    let mut near = Stream::tcp(client.port());
    near.send(b"!"); // until then nobody need have dialled the target
    let mut far = target.accept();
    assert_eq!(far.receive(1), b"!");
    both_ways(&mut near, &mut far, &pattern(1, 20 * MIB), &pattern(2, 20 * MIB));
    near.finish();
    far.expect_fin();
    drop(far);
    near.expect_fin();
    for proxy in [&client, &server] {
        let closed = &proxy.wait_for_closed(1)[0];
        let all = 20 * MIB as u64;
        assert_eq!((closed.code, closed.inbound, closed.outbound), (1000, all + 1, all));
    }
}

#[test]
fn tcp_to_tcp_half_closes_either_way() {
    let target = Target::listen();
    let proxy = plain(&target.endpoint, &NO_TIMER);
    for turned in [false, true] {
        let near = Stream::tcp(proxy.port());
        let far = target.accept();
        let (mut first, mut second) = if turned { (far, near) } else { (near, far) };
        let (there, back) = (pattern(1, 5 * MIB), pattern(2, 3 * MIB));
        let mut writer = first.share();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                writer.send(&there);
                writer.finish();
            });
            assert_same(&second.receive_until_fin(), &there);
        });
        assert!(!first.is_readable_within(QUIET), "the other way has ended too");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                second.send(&back);
                second.finish();
            });
            assert_same(&first.receive_until_fin(), &back);
        });
    }
    let codes: Vec<u16> = proxy.wait_for_closed(2).iter().map(|c| c.code).collect();
    assert_eq!(codes, [1000, 1000]);
}

#[test]
fn tcp_to_tcp_carries_both_ways_at_once() {
    let target = Target::listen();
    let proxy = plain(&target.endpoint, &NO_TIMER);
    let (mut near, mut far) = (Stream::tcp(proxy.port()), target.accept());
    both_ways(&mut near, &mut far, &pattern(1, 8 * MIB), &pattern(2, 8 * MIB));
}

#[test]
fn a_reset_on_one_plain_leg_ends_the_other() {
    let target = Target::listen();
    let proxy = plain(&target.endpoint, &["--close-timeout", "1s"]);
    for turned in [false, true] {
        let (mut near, mut far) = (Stream::tcp(proxy.port()), target.accept());
        near.send(b"both are there");
        far.receive(14);
        let (first, mut second) = if turned { (far, near) } else { (near, far) };
        first.reset();
        second.expect_end();
    }
    proxy.wait_for_closed(2);
}

#[test]
fn a_plain_listener_whose_target_refuses_just_ends() {
    let refusing = Refusing::new();
    let proxy = plain(&refusing.endpoint, &[]);
    let mut near = Stream::tcp(proxy.port());
    near.send(b"lost");
    near.expect_fin();
    proxy.wait_for_log(0, "a warning", |l| l.contains("cannot reach tcp://"));
}

#[test]
fn a_plain_listener_beyond_max_connections_just_ends() {
    let target = Target::listen();
    let proxy = plain(&target.endpoint, &["--max-connections", "1"]);
    let (mut near, mut far) = (Stream::tcp(proxy.port()), target.accept());
    Stream::tcp(proxy.port()).expect_fin();
    assert!(!target.has_caller_within(QUIET), "the target is bothered");
    carries(&mut near, &mut far);
}

#[test]
fn a_plain_listener_may_be_a_unix_socket() {
    let path = std::env::temp_dir().join(format!("ws-tcp-proxy-plain-{}", std::process::id()));
    let endpoint = format!("unix:{}", path.display());
    let target = Target::listen();
    let proxy = Proxy::start(&["--local", &endpoint, "--remote", &target.endpoint]);
    let _gone = Removed(path.clone());
    assert_eq!(proxy.listening, [endpoint]);
    let (mut near, mut far) = (Stream::unix(&path), target.accept());
    both_ways(&mut near, &mut far, &pattern(1, MIB), &pattern(2, MIB));
    near.finish();
    far.expect_fin();
    far.send(b"late");
    drop(far);
    assert_same(&near.receive_until_fin(), b"late");
}

#[test]
fn a_plain_unix_listener_may_lead_to_a_websocket() {
    let name = format!("unix:@ws-tcp-proxy-plain-{}", std::process::id());
    let target = Target::listen();
    let remote = format!("ws://{}/", target.endpoint);
    let proxy = Proxy::start(&["--local", &name, "--remote", &remote]);
    assert_eq!(proxy.listening, std::slice::from_ref(&name));
    // The same binary reaches the abstract name.
    let outer = plain(&name, &[]);
    let mut near = Stream::tcp(outer.port());
    let mut served = Asked::at(&target).agree();
    near.send(b"there");
    assert_eq!(served.receive(5), b"there");
    served.send(TEXT, b"back");
    assert_eq!(near.receive(4), b"back");
}

#[test]
fn sigterm_on_plain_legs_delivers_what_is_in_flight_and_ends_both() {
    let target = Target::listen();
    let mut proxy = plain(&target.endpoint, &NO_TIMER);
    let (mut near, mut far) = (Stream::tcp(proxy.port()), target.accept());
    let (there, back) = (pattern(1, 100_000), pattern(2, 100_000));
    near.send(&there);
    far.send(&back);
    near.wait_until_read();
    far.wait_until_read();
    proxy.signal(libc::SIGTERM);
    assert_same(&near.receive_until_fin(), &back);
    assert_same(&far.receive_until_fin(), &there);
    drop((near, far));
    assert_eq!(proxy.wait_for_exit().code(), Some(0));
}

#[test]
fn sigterm_closes_the_websocket_that_we_opened_with_1001() {
    let (mut proxy, target) = tunnel(&NO_TIMER);
    let mut near = Stream::tcp(proxy.port());
    let mut served = Asked::at(&target).agree();
    served.send(BINARY, b"ready");
    assert_eq!(near.receive(5), b"ready");
    proxy.signal(libc::SIGTERM);
    assert_eq!(served.expect_close(), 1001);
    served.send(CLOSE, &reason(1001, b""));
    served.stream().finish();
    served.expect_fin();
    near.expect_fin();
    drop(near);
    assert_eq!(proxy.wait_for_exit().code(), Some(0));
}

// What is asked.

#[test]
fn the_request_is_what_the_command_line_says() {
    let target = Target::listen();
    let proxy = plain(
        &format!("ws://{}/a/path?and=query&x=%20", target.endpoint),
        &[
            "--header",
            "Authorization: Bearer secret",
            "--header",
            "X-Two:  words here ",
            "--subprotocol",
            "chat",
            "--subprotocol",
            "superchat",
        ],
    );
    let mut nonces = Vec::new();
    for _ in 0..3 {
        let mut near = Stream::tcp(proxy.port());
        let asked = Asked::at(&target);
        assert_eq!(asked.line, "GET /a/path?and=query&x=%20 HTTP/1.1");
        assert_eq!(asked.field("Host"), Some(&target.endpoint[..]));
        for (name, wanted) in [("Upgrade", "websocket"), ("Connection", "Upgrade")] {
            let value = asked.field(name).expect(name);
            assert!(value.eq_ignore_ascii_case(wanted), "{name}: {value}");
        }
        assert_eq!(asked.field("Sec-WebSocket-Version"), Some("13"));
        assert_eq!(asked.field("Sec-WebSocket-Protocol"), Some("chat, superchat"));
        assert_eq!(asked.field("Sec-WebSocket-Extensions"), None);
        assert_eq!(asked.field("Authorization"), Some("Bearer secret"));
        assert_eq!(asked.field("X-Two"), Some("words here"));
        assert_eq!(asked.nonce().len(), 16);
        nonces.push(asked.nonce());
        let mut served = asked.agree_with(&["Sec-WebSocket-Protocol: superchat"], b"");
        served.send(BINARY, b"hello");
        assert_eq!(near.receive(5), b"hello");
    }
    assert_distinct(&nonces);
    let log = proxy.stderr.all().join("\n");
    assert!(!log.contains("secret") && !log.contains("query"), "{log}");
}

#[test]
fn a_url_without_a_path_asks_for_the_root() {
    let target = Target::listen();
    let proxy = plain(&format!("ws://{}", target.endpoint), &[]);
    let _near = Stream::tcp(proxy.port());
    let asked = Asked::at(&target);
    assert_eq!(asked.line, "GET / HTTP/1.1");
    assert_eq!(asked.field("Sec-WebSocket-Protocol"), None);
}

#[test]
fn every_frame_is_masked_with_a_key_of_its_own() {
    let (proxy, target) = tunnel(&NO_TIMER);
    let mut near = Stream::tcp(proxy.port());
    let mut served = Asked::at(&target).agree();
    for n in 0..30u8 {
        let bytes = pattern(n.into(), 1 + usize::from(n) * 100);
        near.send(&bytes);
        assert_same(&served.receive(bytes.len()), &bytes);
        served.send(PING, &[n]);
        assert_eq!(served.expect(PONG), [n]);
    }
    near.finish();
    assert_eq!(served.expect_close(), 1000);
    assert_distinct(&served.keys);
}

// What is answered.

#[test]
fn frames_behind_the_answer_and_bytes_before_it_are_not_lost() {
    let (proxy, target) = tunnel(&NO_TIMER);
    let mut near = Stream::tcp(proxy.port());
    near.send(b"early");
    let asked = Asked::at(&target);
    assert!(!near.is_readable_within(QUIET));
    let frames = [server_frame(TEXT & !FIN, b"fi"), server_frame(FIN, b"rst")].concat();
    let mut served = asked.agree_with(&[], &frames);
    assert_eq!(near.receive(5), b"first");
    assert_eq!(served.receive(5), b"early");
}

#[test]
fn an_answer_may_come_byte_by_byte() {
    let (proxy, target) = tunnel(&NO_TIMER);
    let mut near = Stream::tcp(proxy.port());
    let mut asked = Asked::at(&target);
    let wire = [asked.agreement(&[]).into_bytes(), server_frame(BINARY, b"hello")].concat();
    for byte in &wire {
        asked.stream.send(&[*byte]);
        asked.stream.wait_until_read();
    }
    assert_eq!(near.receive(5), b"hello");
}

#[test]
fn an_answer_that_ends_at_once_is_heard_to_its_end() {
    let (proxy, target) = tunnel(&NO_TIMER);
    let mut near = Stream::tcp(proxy.port());
    let frames = [server_frame(BINARY, b"bye"), server_frame(CLOSE, &reason(4000, b""))].concat();
    let served = Asked::at(&target).agree_with(&[], &frames);
    served.stream().finish();
    assert_same(&near.receive_until_fin(), b"bye");
    drop(near);
    assert_eq!(proxy.wait_for_closed(1)[0].code, 4000);
}

#[test]
fn a_refusal_is_told_with_its_status_and_the_first_line_of_its_body() {
    let line = refused(&[], |_| {
        "HTTP/1.1 403 Forbidden\r\nContent-Length: 15\r\n\r\nno such token\r\n".into()
    });
    assert!(line.contains(": it answered 403 Forbidden: no such token"), "{line}");
    assert!(!line.contains("secret"), "{line}");
}

#[test]
fn a_redirect_is_not_followed_but_named() {
    let line = refused(&[], |_| {
        "HTTP/1.1 302 Found\r\nLocation: https://elsewhere/\r\nContent-Length: 0\r\n\r\n".into()
    });
    assert!(line.contains("it answered 302 Found: redirects are not followed"), "{line}");
    assert!(line.contains("https://elsewhere/"), "{line}");
}

#[test]
fn a_page_is_no_websocket() {
    let line = refused(&[], |_| "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".into());
    assert!(line.contains("it answered 200 OK"), "{line}");
}

#[test]
fn a_wrong_accept_key_is_refused() {
    let line = refused(&[], |asked| {
        let mut answer = asked.agreement(&[]);
        let at = answer.find("Accept: ").unwrap() + 8;
        let other = if answer[at..].starts_with('A') { "B" } else { "A" };
        answer.replace_range(at..=at, other);
        answer
    });
    assert!(line.contains("it answered 101, but its Sec-WebSocket-Accept"), "{line}");
}

#[test]
fn a_subprotocol_that_was_not_offered_is_refused() {
    for offer in [&[][..], &["--subprotocol", "chat"]] {
        let line = refused(offer, |a| a.agreement(&["Sec-WebSocket-Protocol: mqtt"]));
        assert!(line.contains("a subprotocol that was not offered"), "{line}");
    }
}

#[test]
fn an_extension_that_was_not_offered_is_refused() {
    let line = refused(&[], |a| a.agreement(&["Sec-WebSocket-Extensions: permessage-deflate"]));
    assert!(line.contains("an extension that was not offered"), "{line}");
}

#[test]
fn what_is_not_http_is_refused() {
    let line = refused(&[], |_| "SSH-2.0-OpenSSH_9.2p1\r\n".into());
    assert!(line.contains("it does not answer with HTTP: \"SSH-2.0-OpenSSH_9.2p1"), "{line}");
}

#[test]
fn a_head_without_end_is_refused() {
    let line = refused(&["--max-head", "4096"], |_| {
        format!("HTTP/1.1 101 Switching Protocols\r\nX: {}", "x".repeat(5000))
    });
    assert!(line.contains("--max-head"), "{line}");
}

#[test]
fn an_end_instead_of_an_answer_is_refused() {
    let (proxy, target) = tunnel(&[]);
    for answer in ["", "HTTP/1.1 101 Switching"] {
        let mut near = Stream::tcp(proxy.port());
        let mut asked = Asked::at(&target);
        asked.stream.send(answer.as_bytes());
        drop(asked);
        near.expect_fin();
    }
    warning(&proxy, "it closed the connection without an answer");
}

/// The event that tells of a reset must not hide its cause behind the timer.
#[test]
fn a_reset_instead_of_an_answer_is_refused_at_once() {
    let target = Target::listen();
    let proxy = Proxy::to(&format!("ws://{}/", target.endpoint), &["--handshake-timeout", "20s"]);
    let begin = Instant::now();
    let mut peer = Stream::tcp(proxy.port());
    peer.send(request("/", &[]).as_bytes());
    Asked::at(&target).stream.reset();
    Response::read(&mut peer).expect_refusal(502);
    assert!(begin.elapsed() < Duration::from_secs(10), "only the timer ended it");
    proxy.wait_for_log(0, "a warning", |l| l.contains("cannot reach ws://"));
}

#[test]
fn a_caller_who_resets_while_the_target_is_asked_lets_it_go() {
    let (proxy, target) = tunnel(&["--handshake-timeout", "20s"]);
    let near = Stream::tcp(proxy.port());
    let mut asked = Asked::at(&target);
    let begin = Instant::now();
    near.reset();
    asked.stream.expect_end();
    assert!(begin.elapsed() < Duration::from_secs(10), "only the timer ended it");
    proxy.wait_for_closed(1);
    assert!(begin.elapsed() < Duration::from_secs(10), "the connection lives on");
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    let (proxy, target) = tunnel(&["--handshake-timeout", "1s"]);
    let mut near = Stream::tcp(proxy.port());
    let begin = Instant::now();
    let mut asked = Asked::at(&target);
    near.expect_fin();
    assert!(begin.elapsed() > Duration::from_millis(900), "{:?}", begin.elapsed());
    asked.stream.expect_end();
    warning(&proxy, "");
}

#[test]
fn a_masked_frame_of_the_server_is_answered_1002() {
    let (proxy, target) = tunnel(&["--close-timeout", "1s"]);
    let mut near = Stream::tcp(proxy.port());
    let mut served = Asked::at(&target).agree();
    served.send(BINARY, b"good");
    served.send_raw(&frame(BINARY, b"bad"));
    assert_eq!(served.expect_close(), 1002);
    served.expect_fin();
    assert_same(&near.receive_until_fin(), b"good");
    drop((served, near));
    assert_eq!(proxy.wait_for_closed(1)[0].code, 1002);
}

// WebSocket on both sides.

#[test]
fn a_websocket_may_lead_to_another() {
    let target = Target::listen();
    let proxy = Proxy::to(&format!("ws://{}/", target.endpoint), &NO_TIMER);
    let mut stream = Stream::tcp(proxy.port());
    // The first frame comes with the request.
    stream.send(&[request("/", &[]).into_bytes(), frame(BINARY, b"early")].concat());
    let asked = Asked::at(&target);
    assert!(!stream.is_readable_within(QUIET), "101 before the far end has agreed");
    let mut served = asked.agree_with(&[], &server_frame(BINARY, b"first"));
    let mut peer = Ws::opened(stream);
    assert_eq!(peer.receive(5), b"first");
    assert_eq!(served.receive(5), b"early");
    for (n, len) in [1, 125, 126, 70_000, MIB].into_iter().enumerate() {
        let bytes = pattern(n as u64, len);
        peer.send(BINARY, &bytes);
        assert_same(&served.receive(len), &bytes);
        served.send(BINARY, &bytes);
        assert_same(&peer.receive(len), &bytes);
    }
    peer.send(PING, b"near");
    assert_eq!(peer.expect(PONG), b"near");
    served.send(PING, b"far");
    assert_eq!(served.expect(PONG), b"far");
    peer.send(CLOSE, &reason(4001, b"enough"));
    assert_eq!(served.expect_close(), 4001);
    served.send(CLOSE, &reason(4001, b""));
    assert!(!served.stream().is_readable_within(QUIET), "the client ends TCP first");
    served.stream().finish();
    served.expect_fin();
    assert_eq!(peer.expect_close(), 4001);
    peer.expect_fin();
}

#[test]
fn the_far_ends_close_reaches_the_near_end() {
    let target = Target::listen();
    let proxy = Proxy::to(&format!("ws://{}/", target.endpoint), &NO_TIMER);
    let mut stream = Stream::tcp(proxy.port());
    stream.send(request("/", &[]).as_bytes());
    let mut served = Asked::at(&target).agree();
    let mut peer = Ws::opened(stream);
    served.send(BINARY, b"last words");
    served.send(CLOSE, &reason(4002, b""));
    assert_eq!(served.expect_close(), 4002);
    served.stream().finish();
    served.expect_fin();
    assert_eq!(peer.receive_until_close(), (b"last words".to_vec(), 4002));
    peer.send(CLOSE, &reason(4002, b""));
    peer.expect_fin();
    drop(peer);
    assert_eq!(proxy.wait_for_closed(1)[0].code, 4002);
}

#[test]
fn a_far_end_that_does_not_agree_is_answered_502() {
    let target = Target::listen();
    let proxy = Proxy::to(&format!("ws://{}/?token=secret", target.endpoint), &[]);
    for answer in ["HTTP/1.1 403 Forbidden\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n", "?\r\n\r\n", ""] {
        let mut peer = Stream::tcp(proxy.port());
        peer.send(request("/", &[]).as_bytes());
        let mut asked = Asked::at(&target);
        asked.stream.send(answer.as_bytes());
        drop(asked);
        Response::read(&mut peer).expect_refusal(502);
    }
    warning(&proxy, "it answered 403 Forbidden");
}

#[test]
fn a_far_end_that_refuses_the_connection_is_answered_502() {
    let refusing = Refusing::new();
    let proxy = Proxy::to(&format!("ws://{}/", refusing.endpoint), &[]);
    Response::to(proxy.port(), request("/", &[]).as_bytes()).expect_refusal(502);
}

#[test]
fn a_far_end_that_says_nothing_is_answered_504() {
    let target = Target::listen();
    let remote = format!("ws://{}/", target.endpoint);
    let proxy = Proxy::to(&remote, &["--handshake-timeout", "1s"]);
    let mut peer = Stream::tcp(proxy.port());
    peer.send(request("/", &[]).as_bytes());
    let mut asked = Asked::at(&target);
    Response::read(&mut peer).expect_refusal(504);
    asked.stream.expect_end();
}

#[test]
fn sigterm_while_the_far_end_is_asked_is_answered_503() {
    let target = Target::listen();
    let mut proxy = Proxy::to(&format!("ws://{}/", target.endpoint), &[]);
    let mut peer = Stream::tcp(proxy.port());
    peer.send(request("/", &[]).as_bytes());
    let mut asked = Asked::at(&target);
    proxy.signal(libc::SIGTERM);
    Response::read(&mut peer).expect_refusal(503);
    drop(peer);
    asked.stream.expect_end();
    assert_eq!(proxy.wait_for_exit().code(), Some(0));
}

// How the client role ends.

#[test]
fn the_servers_close_is_answered_and_its_fin_awaited() {
    let (proxy, target) = tunnel(&NO_TIMER);
    let mut near = Stream::tcp(proxy.port());
    let mut served = Asked::at(&target).agree();
    served.send(BINARY, b"last words");
    served.send(CLOSE, &reason(1001, b"going"));
    assert_eq!(served.expect_close(), 1001);
    assert_same(&near.receive_until_fin(), b"last words");
    assert!(!served.stream().is_readable_within(QUIET), "the client ends TCP first");
    served.stream().finish();
    served.expect_fin();
    drop(near);
    assert_eq!(proxy.wait_for_closed(1)[0].code, 1001);
}

#[test]
fn our_streams_fin_becomes_close_1000() {
    let (proxy, target) = tunnel(&NO_TIMER);
    let mut near = Stream::tcp(proxy.port());
    let mut served = Asked::at(&target).agree();
    let bytes = pattern(3, 2 * MIB);
    let mut writer = near.share();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            writer.send(&bytes);
            writer.finish();
        });
        assert_same(&served.receive(bytes.len()), &bytes);
    });
    assert_eq!(served.expect_close(), 1000);
    served.send(BINARY, b"one more");
    served.send(CLOSE, &reason(1000, b""));
    assert_same(&near.receive_until_fin(), b"one more");
    assert!(!served.stream().is_readable_within(QUIET), "the client ends TCP first");
    served.stream().finish();
    served.expect_fin();
    assert_eq!(proxy.wait_for_closed(1)[0].code, 1000);
}

#[test]
fn a_server_that_never_ends_tcp_is_left_after_the_close_timeout() {
    let (proxy, target) = tunnel(&["--close-timeout", "1s"]);
    let mut near = Stream::tcp(proxy.port());
    let mut served = Asked::at(&target).agree();
    served.send(CLOSE, &reason(1000, b""));
    assert_eq!(served.expect_close(), 1000);
    near.expect_fin();
    served.expect_fin();
    assert_eq!(proxy.wait_for_closed(1)[0].code, 1000);
}

#[test]
fn a_server_that_goes_without_close_ends_the_stream() {
    let (proxy, target) = tunnel(&NO_TIMER);
    let mut near = Stream::tcp(proxy.port());
    let mut served = Asked::at(&target).agree();
    served.send(BINARY, b"last words");
    drop(served);
    assert_same(&near.receive_until_fin(), b"last words");
    drop(near);
    assert_eq!(proxy.wait_for_closed(1)[0].code, 1006);
}

#[test]
fn a_server_that_is_silent_is_pinged() {
    let timers = ["--ping-interval", "1s", "--pong-timeout", "1s", "--close-timeout", "1s"];
    let (proxy, target) = tunnel(&timers);
    let mut near = Stream::tcp(proxy.port());
    let mut served = Asked::at(&target).agree();
    let payload = served.expect(PING);
    served.send(PONG, &payload);
    served.expect(PING);
    assert_eq!(served.expect_close(), 1011);
    near.expect_end();
}

// The parts.

/// A plain listener on a free port that leads to `remote`.
#[track_caller]
fn plain(remote: &str, arguments: &[&str]) -> Proxy {
    Proxy::start(&[&["--local", "tcp://127.0.0.1:0", "--remote", remote], arguments].concat())
}

/// A plain listener that leads to a WebSocket server, and that server.
#[track_caller]
fn tunnel(arguments: &[&str]) -> (Proxy, Target) {
    let target = Target::listen();
    let proxy = plain(&format!("ws://{}/path?token=secret", target.endpoint), arguments);
    (proxy, target)
}

/// Answers a request with what opens no WebSocket. Both ends must go, and the log says why: that line.
#[track_caller]
fn refused(arguments: &[&str], answer: impl FnOnce(&Asked) -> String) -> String {
    let (proxy, target) = tunnel(arguments);
    let mut near = Stream::tcp(proxy.port());
    near.send(b"lost");
    let mut asked = Asked::at(&target);
    let answer = answer(&asked);
    asked.stream.send(answer.as_bytes());
    near.expect_fin();
    asked.stream.expect_end();
    warning(&proxy, "")
}

/// The line that warns of a WebSocket server, and why.
#[track_caller]
fn warning(proxy: &Proxy, why: &str) -> String {
    proxy.wait_for_log(0, "a warning", |line| {
        line.contains("WARN") && line.contains("cannot reach ws://") && line.contains(why)
    })
}

#[track_caller]
fn assert_distinct<T: Ord + Clone + std::fmt::Debug>(values: &[T]) {
    let mut sorted = values.to_vec();
    sorted.sort();
    sorted.dedup();
    assert_eq!(sorted.len(), values.len(), "one is repeated: {values:?}");
}

/// A path that goes with the test.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
