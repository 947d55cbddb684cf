//! The near end of a CONNECT relay: what its far end is told, what the tool is told, and what
//! becomes of a tunnel whose far end does not do its part. The far end is the test's own.

mod common;

use std::time::Duration;

use common::relay::{ask, chunk, expect_established, head, near, near_to_test, ESTABLISHED};
use common::target::Refusing;
use common::ws::reason;
use common::{
    assert_same, both_ways, carries, frame, pattern, Asked, Proxy, Response, Served, Stream,
    Target, BINARY, CLOSE, FIN, PING, PONG, TEXT,
};

const GOAL: &str = "inner.example:443";

/// What the far end is told of it, in either form.
const FULL: &str = "CONNECT inner.example:443 HTTP/1.1\r\nHost: inner.example:443\r\n\r\n";
const BARE: &str = "CONNECT inner.example:443";

const EAGER: [&str; 2] = ["--connect", "eager"];

/// For ends that need no timer: this one would come too late for any test.
const NO_TIMER: [&str; 2] = ["--close-timeout", "100s"];

/// For heads that take their time.
const PATIENT: [&str; 4] = ["--handshake-timeout", "100s", "--ping-interval", "0"];

/// Long enough for what must not happen to happen.
const QUIET: Duration = Duration::from_millis(300);

// What is passed on.

#[test]
fn a_listener_says_where_it_is() {
    let (proxy, _target) = near_to_test(&[]);
    assert_eq!(proxy.listening, [format!("connect://127.0.0.1:{}", proxy.port())]);
}

#[test]
fn a_head_cut_anywhere_reaches_the_far_end_in_its_shortest_form() {
    let (proxy, target) = near_to_test(&PATIENT);
    let head = head(GOAL, &["User-Agent: tool/1.0", "Proxy-Connection: keep-alive"]);
    let wire = [head.as_bytes(), b"first"].concat();
    let begin = |cut| {
        let mut tool = Stream::tcp(proxy.port());
        tool.send(&wire[..cut]);
        (tool, cut)
    };
    for (mut tool, cut) in (1..head.len()).map(begin).collect::<Vec<_>>() {
        tool.wait_until_read();
        tool.send(&wire[cut..]);
        let mut served = Asked::at(&target).agree();
        assert_eq!(served.expect(BINARY).escape_ascii().to_string(), shown(FULL), "cut at {cut}");
        assert_same(&served.receive(5), b"first");
        served.send(BINARY, ESTABLISHED);
        expect_established(&mut tool);
    }
}

#[test]
fn a_head_that_comes_byte_by_byte_is_understood() {
    let (proxy, target) = near_to_test(&PATIENT);
    let mut tool = Stream::tcp(proxy.port());
    for byte in head(GOAL, &[]).as_bytes() {
        assert!(!target.has_caller_within(Duration::ZERO), "dialled for half a head");
        tool.send(&[*byte]);
        tool.wait_until_read();
    }
    let mut served = Asked::at(&target).agree();
    assert_same(&served.expect(BINARY), FULL.as_bytes());
}

#[test]
fn what_the_far_end_answers_reaches_the_tool_as_it_is() {
    let (proxy, target) = near_to_test(&[]);
    let answer = b"HTTP/1.1 200 Fine\r\nVia: 1.1 far\r\nX-Odd:   kept \r\n\r\nand the first bytes";
    for cut in (1..answer.len()).step_by(9) {
        let (mut tool, mut served) = asked(&proxy, &target);
        assert!(!tool.is_readable_within(Duration::from_millis(50)), "an answer of its own");
        served.send(BINARY & !FIN, &answer[..cut]);
        served.send(FIN, &answer[cut..]);
        assert_same(&tool.receive(answer.len()), answer);
    }
}

#[test]
fn a_tunnel_carries_both_ways_at_once_behind_its_head() {
    for form in ["full", "eager"] {
        let (proxy, target) = near_to_test(&["--connect", form]);
        let (there, back) = (pattern(1, 3 << 20), pattern(2, 3 << 20));
        let (mut tool, mut served) = asked_in(form, &proxy, &target);
        let mut writer = served.stream().share();
        let mut tool_writer = tool.share();
        std::thread::scope(|scope| {
            scope.spawn(|| tool_writer.send(&there));
            scope.spawn(|| {
                for part in back.chunks(100_000) {
                    writer.send(&common::server::server_frame(BINARY, part));
                }
            });
            scope.spawn(|| assert_same(&served.receive(there.len()), &there));
            assert_same(&tool.receive(back.len()), &back);
        });
    }
}

#[test]
fn an_eager_near_end_answers_as_soon_as_the_websocket_is_open() {
    let (proxy, target) = near_to_test(&EAGER);
    let mut tool = Stream::tcp(proxy.port());
    tool.send(&[head(GOAL, &[]).as_bytes(), b"first"].concat());
    let asked = Asked::at(&target);
    assert!(!tool.is_readable_within(QUIET), "200 before the far end has agreed");
    let mut served = asked.agree();
    expect_established(&mut tool);
    assert_same(&served.expect(BINARY), BARE.as_bytes());
    assert_same(&served.receive(5), b"first");
    served.send(BINARY, b"HTTP/1.1 is no answer here");
    assert_same(&tool.receive(26), b"HTTP/1.1 is no answer here");
}

#[test]
fn under_chunk_the_head_is_one_chunk_and_the_request_says_so() {
    for (form, wanted) in [("full", FULL), ("eager", BARE)] {
        let (proxy, target) = near_to_test(&["--encoding", "chunk", "--connect", form]);
        let mut tool = Stream::tcp(proxy.port());
        tool.send(&[head(GOAL, &[]).as_bytes(), b"first"].concat());
        let asked = Asked::at(&target);
        assert_eq!(asked.field("Content-Type"), Some("application/proto"));
        let mut served = asked.agree();
        assert_same(
            &served.expect(BINARY),
            &[&[0x0a, wanted.len() as u8], wanted.as_bytes()].concat(),
        );
        assert_same(&served.expect(BINARY), &chunk(b"first"));
        if form == "full" {
            served.send(BINARY, &chunk(ESTABLISHED));
        }
        expect_established(&mut tool);
        // Two chunks, and a field that nobody knows, in one message.
        served.send(BINARY, &[chunk(b"one"), vec![0x10, 0x2a], chunk(b", two")].concat());
        assert_same(&tool.receive(8), b"one, two");
    }
}

#[test]
fn a_content_type_that_was_asked_for_is_sent_instead() {
    let options = ["--encoding", "chunk", "--header", "Content-Type: application/other"];
    for (options, wanted) in [(&options[..], Some("application/other")), (&[][..], None)] {
        let (proxy, target) = near_to_test(options);
        let _tool = ask(&proxy, GOAL);
        assert_eq!(Asked::at(&target).field("Content-Type"), wanted);
    }
}

#[test]
fn text_and_pings_of_the_far_end_are_understood() {
    let (proxy, target) = near_to_test(&[]);
    let (mut tool, mut served) = asked(&proxy, &target);
    served.send(PING, b"before the answer");
    assert_same(&served.expect(PONG), b"before the answer");
    served.send(TEXT, ESTABLISHED);
    expect_established(&mut tool);
}

/// The route `connect://` to a stream: another proxy may stand there.
#[test]
fn a_plain_proxy_may_stand_behind() {
    let target = Target::listen();
    let proxy = near(&target.endpoint, &[]);
    let mut tool = Stream::tcp(proxy.port());
    tool.send(&[head(GOAL, &["X: y"]).as_bytes(), b"first"].concat());
    let mut stream = target.accept();
    assert_same(&stream.receive(FULL.len() + 5), &[FULL.as_bytes(), b"first"].concat());
    stream.send(ESTABLISHED);
    expect_established(&mut tool);
    carries(&mut tool, &mut stream);
}

// The ordinary proxy, which dials itself.

#[test]
fn without_a_far_end_it_is_an_ordinary_proxy_under_rules() {
    let target = Target::listen();
    for local in ["connect://127.0.0.1:0", "tcp://127.0.0.1:0"] {
        let proxy = local_proxy(local, &["--allow", "127.0.0.1"]);
        let mut tool = Stream::tcp(proxy.port());
        let wire = [head(&target.endpoint, &["X: y"]).as_bytes(), b"first"].concat();
        tool.send(&wire);
        let mut stream = target.accept();
        assert_same(&stream.receive(5), b"first");
        expect_established(&mut tool);
        both_ways(&mut tool, &mut stream, &pattern(3, 1 << 20), &pattern(4, 1 << 20));

        let port = target.endpoint.rsplit_once(':').unwrap().1;
        refused(&proxy, &format!("127.0.0.2:{port}"), 403);
        refused(&proxy, &Refusing::new().endpoint, 502);
        assert!(!target.has_caller_within(Duration::ZERO), "dialled in vain");
    }
}

#[test]
fn an_ordinary_proxy_half_closes_either_way() {
    let target = Target::listen();
    let proxy = local_proxy("connect://127.0.0.1:0", &["--allow", "127.0.0.1"]);
    for turned in [false, true] {
        let (tool, stream) = common::relay::tunnel(&proxy, &target);
        let (mut first, mut second) = if turned { (stream, tool) } else { (tool, stream) };
        first.send(b"question");
        first.finish();
        assert_same(&second.receive_until_fin(), b"question");
        second.send(b"answer");
        second.finish();
        assert_same(&first.receive_until_fin(), b"answer");
    }
}

// A far end that does not do its part.

#[test]
fn a_refusal_of_the_far_end_reaches_the_tool() {
    let (proxy, target) = near_to_test(&NO_TIMER);
    let (mut tool, mut served) = asked(&proxy, &target);
    let refusal = "HTTP/1.1 403 Forbidden\r\nContent-Length: 8\r\n\r\nnot you\n";
    served.send(BINARY, refusal.as_bytes());
    served.send(CLOSE, &reason(1008, b""));
    assert_eq!(served.expect_close(), 1008);
    assert_same(&tool.receive_until_fin(), refusal.as_bytes());
    drop(tool);
    served.stream().finish();
    served.expect_fin();
    let closed = &proxy.wait_for_closed(1)[0];
    assert_eq!((closed.code, &closed.by[..]), (1008, "target"));
}

#[test]
fn a_far_end_that_opens_no_websocket_is_a_502_said_once() {
    let cases: [(&str, Answer); 6] = [
        ("it answered 200 OK", |_| "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".into()),
        ("it answered 403 Forbidden: no such token", |_| {
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 14\r\n\r\nno such token\n".into()
        }),
        ("Sec-WebSocket-Accept", |asked| wrong_key(&asked.agreement(&[]))),
        ("it does not answer with HTTP", |_| "SSH-2.0-OpenSSH_9.2p1\r\n".into()),
        ("without an answer", |_| String::new()),
        ("without an answer", |_| "HTTP/1.1 101 Switching".into()),
    ];
    for form in ["full", "eager"] {
        for (why, answer) in cases {
            let (proxy, target) = near_to_test(&["--connect", form]);
            let files = proxy.open_files();
            let mut tool = ask(&proxy, GOAL);
            let mut asked = Asked::at(&target);
            let answer = answer(&asked);
            asked.stream.send(answer.as_bytes());
            asked.stream.finish();
            Response::read(&mut tool).expect_refusal(502);
            asked.stream.expect_end();
            drop((tool, asked));
            proxy.wait_for_log(0, why, |l| l.contains("cannot reach ws://") && l.contains(why));
            proxy.wait_until_idle(files);
            assert_eq!(proxy.unreached(), 1, "{why}: {:#?}", proxy.log());
        }
    }
}

#[test]
fn a_far_end_that_refuses_tcp_is_a_502_said_once() {
    let refusing = Refusing::new();
    let proxy = near(&format!("ws://{}/", refusing.endpoint), &EAGER);
    let files = proxy.open_files();
    refused(&proxy, GOAL, 502);
    proxy.wait_until_idle(files);
    assert_eq!(proxy.unreached(), 1, "{:#?}", proxy.log());
}

#[test]
fn a_far_end_that_does_not_answer_the_upgrade_is_a_504_said_once() {
    let (proxy, target) = near_to_test(&["--handshake-timeout", "500ms", "--connect", "eager"]);
    let files = proxy.open_files();
    let mut tool = ask(&proxy, GOAL);
    let mut asked = Asked::at(&target);
    Response::read(&mut tool).expect_refusal(504);
    asked.stream.expect_end();
    drop((tool, asked));
    proxy.wait_until_idle(files);
    assert_eq!(proxy.unreached(), 1, "{:#?}", proxy.log());
}

#[test]
fn a_far_end_that_agrees_and_talks_garbage_is_a_502_and_hears_1002() {
    let garbage: [&[u8]; 4] =
        [b"SSH-2.0-OpenSSH_9.2p1\r\n", &[0xff; 200], &frame(BINARY, b"masked"), &[0x83, 0x00]];
    for garbage in garbage {
        let (proxy, target) = near_to_test(&["--close-timeout", "1s"]);
        let files = proxy.open_files();
        let mut tool = ask(&proxy, GOAL);
        let mut served = Asked::at(&target).agree_with(&[], garbage);
        assert_same(&served.expect(BINARY), FULL.as_bytes());
        assert_eq!(served.expect_close(), 1002);
        served.expect_fin();
        Response::read(&mut tool).expect_refusal(502);
        drop((tool, served));
        let closed = proxy.wait_for_closed(1);
        assert_eq!((closed[0].code, &closed[0].by[..]), (1002, "target"));
        assert_eq!(closed[0].why, "protocol-error");
        proxy.wait_until_idle(files);
        assert_eq!(proxy.wait_for_closed(1).len(), 1, "said twice");
    }
}

#[test]
fn an_eager_tool_whose_far_end_talks_garbage_sees_the_end() {
    let (proxy, target) = near_to_test(&[&EAGER[..], &["--close-timeout", "1s"]].concat());
    let (mut tool, mut served) = asked_in("eager", &proxy, &target);
    served.send_raw(&[0xff; 200]);
    assert_eq!(served.expect_close(), 1002);
    served.expect_fin();
    tool.expect_fin();
}

#[test]
fn bad_chunks_of_the_far_end_are_answered_1007_and_what_came_before_is_delivered() {
    let (proxy, target) = near_to_test(&["--encoding", "chunk", "--close-timeout", "1s"]);
    for bad in [&[0x0a, 0x05, b'x'][..], &[0x0b], &[0x08, 0x01]] {
        let mut tool = ask(&proxy, GOAL);
        let mut served = Asked::at(&target).agree();
        assert_same(&served.expect(BINARY), &chunk(FULL.as_bytes()));
        served.send(BINARY, &chunk(ESTABLISHED));
        served.send(BINARY, &chunk(b"good"));
        served.send(BINARY, bad);
        assert_eq!(served.expect_close(), 1007, "{bad:02x?}");
        served.expect_fin();
        expect_established(&mut tool);
        let rest = tool.receive_until_fin();
        assert!(rest.starts_with(b"good"), "{}", rest.escape_ascii());
    }
}

#[test]
fn a_far_end_that_agrees_and_says_nothing_is_a_504() {
    let timers = ["--handshake-timeout", "300ms", "--connect-timeout", "300ms"];
    let closing = ["--close-timeout", "300ms", "--half-close=300ms"];
    let (proxy, target) = near_to_test(&[&timers[..], &closing].concat());
    let (mut tool, mut served) = asked(&proxy, &target);
    Response::read(&mut tool).expect_refusal(504);
    served.expect_close();
    served.expect_end();
}

#[test]
fn a_far_end_that_goes_before_it_has_answered_is_a_502() {
    let (proxy, target) = near_to_test(&["--close-timeout", "1s"]);
    let files = proxy.open_files();
    for close in [None, Some(1000), Some(1001), Some(1011)] {
        let (mut tool, mut served) = asked(&proxy, &target);
        if let Some(code) = close {
            served.send(CLOSE, &reason(code, b"going"));
        }
        drop(served);
        Response::read(&mut tool).expect_refusal(502);
    }
    proxy.wait_until_idle(files);
}

// The tool.

#[test]
fn a_tool_that_goes_while_the_far_end_is_asked_lets_it_go() {
    let (proxy, target) = near_to_test(&["--handshake-timeout", "20s"]);
    let files = proxy.open_files();
    let tool = ask(&proxy, GOAL);
    let mut asked = Asked::at(&target);
    tool.reset();
    asked.stream.expect_end();
    drop(asked);
    proxy.wait_until_idle(files);
}

#[test]
fn a_full_house_is_answered_503_in_http() {
    let (proxy, target) = near_to_test(&["--max-connections", "1"]);
    let (_tool, _served) = asked(&proxy, &target);
    let response = refused(&proxy, GOAL, 503);
    assert!(response.header("Retry-After").is_some(), "{response:?}");
    assert!(!target.has_caller_within(Duration::ZERO), "dialled in vain");
}

#[test]
fn sigterm_while_the_far_end_is_asked_is_answered_503() {
    let (mut proxy, target) = near_to_test(&[]);
    let mut tool = ask(&proxy, GOAL);
    let asked = Asked::at(&target);
    proxy.signal(libc::SIGTERM);
    Response::read(&mut tool).expect_refusal(503);
    drop((tool, asked));
    assert_eq!(proxy.wait_for_exit().code(), Some(0));
}

// The parts.

/// What stands in place of a far end's agreement.
type Answer = fn(&Asked) -> String;

/// A tool that has asked, and its far end, which was told so and has not answered.
#[track_caller]
fn asked(proxy: &Proxy, target: &Target) -> (Stream, Served) {
    let tool = ask(proxy, GOAL);
    let mut served = Asked::at(target).agree();
    assert_same(&served.expect(BINARY), FULL.as_bytes());
    (tool, served)
}

/// The same behind the answer, in the form that the near end was told.
#[track_caller]
fn asked_in(form: &str, proxy: &Proxy, target: &Target) -> (Stream, Served) {
    let mut tool = ask(proxy, GOAL);
    let mut served = Asked::at(target).agree();
    if form == "eager" {
        assert_same(&served.expect(BINARY), BARE.as_bytes());
    } else {
        assert_same(&served.expect(BINARY), FULL.as_bytes());
        served.send(BINARY, ESTABLISHED);
    }
    expect_established(&mut tool);
    (tool, served)
}

/// A tool's request for `target` is answered with `status` and FIN.
#[track_caller]
fn refused(proxy: &Proxy, target: &str, status: u16) -> Response {
    let response = Response::to(proxy.port(), head(target, &[]).as_bytes());
    response.expect_refusal(status);
    response
}

#[track_caller]
fn local_proxy(local: &str, arguments: &[&str]) -> Proxy {
    Proxy::start(&[&["--local", local, "--remote", "connect:"], arguments].concat())
}

/// An agreement with another key than the right one.
fn wrong_key(answer: &str) -> String {
    let at = answer.find("Accept: ").unwrap() + 8;
    let other = if answer[at..].starts_with('A') { "B" } else { "A" };
    let mut answer = answer.to_string();
    answer.replace_range(at..=at, other);
    answer
}

fn shown(text: &str) -> String {
    text.as_bytes().escape_ascii().to_string()
}
