//! What whoever runs the proxy is told (`--admin`): every figure, every connection, and who is told
//! nothing.

mod common;

use std::collections::HashMap;
use std::io::Write;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use common::secret::{re_read, tells_no_secret, SECRET};
use common::target::Refusing;
use common::ws::request;
use common::{
    bridge, connect, sys, Proxy, Response, Stream, Target, TempDir, TempFile, Wait, Ws, BINARY,
    PATIENCE,
};
use serde_json::Value;

const ADMIN: [&str; 2] = ["--admin", "127.0.0.1:0"];

/// A proxy that may be asked, and the target of its WebSockets.
fn admin(arguments: &[&str]) -> (Proxy, Target) {
    bridge(&[&ADMIN, arguments].concat())
}

/// Where a proxy is asked: its last listener.
fn port(proxy: &Proxy) -> u16 {
    proxy.port_of(proxy.listening.len() - 1)
}

/// Asks for a path with these further fields.
#[track_caller]
fn ask(proxy: &Proxy, path: &str, fields: &[&str]) -> Response {
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
    Response::to(port(proxy), head.as_bytes())
}

/// The body of a good answer, with what every one has.
#[track_caller]
fn told(proxy: &Proxy, path: &str) -> String {
    good(ask(proxy, path, &[]))
}

#[track_caller]
fn good(response: Response) -> String {
    assert_eq!(response.status, 200, "{response:?}");
    assert!(response.has_token("Connection", "close"));
    assert_eq!(response.header("Cache-Control"), Some("no-store"));
    assert_eq!(response.header("Content-Length"), Some(&response.body.len().to_string()[..]));
    response.body
}

/// Every connection that the proxy tells of.
#[track_caller]
fn connections(proxy: &Proxy) -> Vec<Value> {
    match serde_json::from_str(&told(proxy, "/connections")) {
        Ok(Value::Array(all)) => all,
        other => panic!("{other:?}"),
    }
}

/// The figures, by name and labels.
#[track_caller]
fn metrics(proxy: &Proxy) -> HashMap<String, f64> {
    let text = told(proxy, "/metrics");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let figure = |line: &str| {
        let (name, value) = line.rsplit_once(' ').expect("a name and a value");
        let name = name.strip_prefix("ws_tcp_proxy_").expect("our prefix");
        (name.to_string(), value.parse().expect("a number"))
    };
    lines.map(figure).collect()
}

/// The figures that are not 0, once all that is `wanted` is among them; without times and their buckets.
#[track_caller]
fn counts(proxy: &Proxy, wanted: &[(&str, f64)]) -> Vec<(String, f64)> {
    let wait = Wait::begin();
    loop {
        let all = metrics(proxy);
        if wanted.iter().all(|(name, value)| all.get(*name) == Some(value)) {
            let counts = all.into_iter().filter(|(name, value)| {
                *value != 0.0 && !name.contains("seconds_bucket") && !name.ends_with("seconds_sum")
            });
            let mut counts: Vec<_> = counts.collect();
            counts.sort_by(|a, b| a.0.cmp(&b.0));
            return counts;
        }
        wait.go_on(&format!("{wanted:?}"));
    }
}

#[test]
fn every_path_has_its_answer_and_no_other_is_there() {
    let (proxy, _target) = admin(&[]);
    assert!(proxy.listening[1].starts_with("http://127.0.0.1:"), "{:?}", proxy.listening);
    assert_eq!(told(&proxy, "/healthz"), "ok\n");
    let version: Value = serde_json::from_str(&told(&proxy, "/version")).unwrap();
    assert_eq!(version["name"], "ws-tcp-proxy");
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(told(&proxy, "/connections?a=b"), "[]\n");
    for (path, kind) in [
        ("/healthz", "text/plain; charset=utf-8"),
        ("/version", "application/json; charset=utf-8"),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8"),
        ("/connections", "application/json; charset=utf-8"),
    ] {
        let response = ask(&proxy, path, &[]);
        assert_eq!(response.header("Content-Type"), Some(kind), "{path}");
        let head = format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let bare = Response::to(port(&proxy), head.as_bytes());
        assert_eq!((bare.status, &bare.body[..]), (200, ""), "{path}");
        let post =
            head.replace("HEAD", "POST").replace("\r\n\r\n", "\r\nContent-Length: 3\r\n\r\nabc");
        let refused = Response::to(port(&proxy), post.as_bytes());
        refused.expect_refusal(405);
        assert_eq!(refused.header("Allow"), Some("GET, HEAD"));
    }
    for path in ["/", "/metric", "/metrics/", "//metrics", "/../metrics", "*"] {
        let refused = ask(&proxy, path, &[]);
        refused.expect_refusal(404);
        assert_eq!(refused.body, "there are /healthz, /version, /metrics, /connections\n");
    }
    // A WebSocket is not spoken here.
    let upgrade = request("/metrics", &[]).replace("Host: ", "Host: localhost\r\nX: ");
    good(Response::to(port(&proxy), upgrade.as_bytes()));
}

#[test]
fn what_is_no_request_or_too_much_of_one_has_its_status() {
    let (proxy, _target) = admin(&["--handshake-timeout", "500ms"]);
    let megabyte = format!("X: {}\r\n", "x".repeat(1000)).repeat(1000);
    for (head, status) in [
        ("\x16\x03\x01\x02\0\x01\0\x01\r\n".to_owned(), 400),
        ("GET /metrics HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET /metrics HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n".to_owned(), 400),
        (format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\n{megabyte}\r\n"), 431),
        ("GET /metrics HTTP/1.1\r\nHost: localhost\r\n".to_owned(), 408),
    ] {
        Response::to(port(&proxy), head.as_bytes()).expect_refusal(status);
    }
    assert_eq!(told(&proxy, "/healthz"), "ok\n");
}

#[test]
fn no_page_of_another_name_or_origin_is_told_anything() {
    let (proxy, _target) = admin(&[]);
    for (host, status) in [
        ("localhost", 200),
        ("127.0.0.1:9", 200),
        ("[::1]", 200),
        ("evil.example", 403),
        ("localhost.evil.example:9", 403),
    ] {
        let head = format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let response = Response::to(port(&proxy), head.as_bytes());
        assert_eq!(response.status, status, "{host}");
    }
    for origin in ["https://evil.example", "null", "http://localhost:1"] {
        ask(&proxy, "/metrics", &[&format!("Origin: {origin}")]).expect_refusal(403);
    }
    good(ask(&proxy, "/metrics", &["Origin: http://localhost"]));
}

#[test]
fn figures_are_exactly_what_has_happened() {
    let pages = TempDir::new();
    pages.write("page.txt", "a page\n");
    let refusing = Refusing::new();
    let directory = pages.path().display().to_string();
    let (proxy, target) = admin(&[
        "-d",
        "--web",
        &directory,
        "--local",
        "127.0.0.1:0",
        "--remote",
        &refusing.endpoint,
        "--max-memory",
        "8MiB",
    ]);
    // Three connections, of which the first two end.
    let mut peers: Vec<_> = (0..3).map(|_| connect(&proxy, &target)).collect();
    for (peer, stream) in &mut peers {
        for _ in 0..2 {
            peer.send(BINARY, b"0123456789");
        }
        assert_eq!(stream.receive(20), b"01234567890123456789");
        stream.send(b"hello");
        assert_eq!(peer.receive(5), b"hello");
    }
    let (peer, mut stream) = peers.remove(0);
    peer.close(1000);
    stream.expect_end();
    drop(stream);
    let (mut peer, stream) = peers.remove(0);
    stream.finish();
    assert_eq!(peer.expect_close(), 1000);
    peer.send(0x88, &1000u16.to_be_bytes());
    peer.expect_end();
    drop((peer, stream));
    proxy.wait_for_closed(2);
    // Two that are refused, and three requests for pages.
    let old = request("/", &[]).replace("Version: 13", "Version: 8");
    Response::to(proxy.port(), old.as_bytes()).expect_refusal(426);
    Response::to(proxy.port_of(1), request("/", &[]).as_bytes()).expect_refusal(502);
    for (path, status) in [("/page.txt", 200), ("/page.txt", 200), ("/missing", 404)] {
        let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(Response::to(proxy.port(), head.as_bytes()).status, status);
    }
    let mut waiting = Stream::tcp(proxy.port());
    waiting.send(b"GET / HTTP/1.1\r\n");
    let settled =
        [("connections{state=\"opening\"}", 1.0), ("connections{state=\"closing\"}", 0.0)];
    let figures = counts(&proxy, &settled);
    // Nobody who asks is among them, however often.
    let version = format!("build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    let mut expected = vec![
        (&version[..], 1.0),
        ("bytes_total{direction=\"in\"}", 60.0),
        ("bytes_total{direction=\"out\"}", 3.0 * 5.0 + 2.0 * 7.0),
        ("connect_duration_seconds_count", 3.0),
        ("connections_accepted_total", 9.0),
        ("connections_closed_total{code=\"1000\",by=\"peer\"}", 1.0),
        ("connections_closed_total{code=\"1000\",by=\"target\"}", 1.0),
        ("connections_opened_total", 3.0),
        ("connections_refused_total{status=\"404\",reason=\"not-found\"}", 1.0),
        ("connections_refused_total{status=\"426\",reason=\"version-required\"}", 1.0),
        ("connections_refused_total{status=\"502\",reason=\"bad-gateway\"}", 1.0),
        ("connections{state=\"open\"}", 1.0),
        ("connections{state=\"opening\"}", 1.0),
        ("handshake_duration_seconds_count", 3.0),
        ("kept_limit_bytes", (8 << 20) as f64),
        ("max_connections", 1000.0),
        ("messages_total{direction=\"in\"}", 6.0),
        ("messages_total{direction=\"out\"}", 3.0),
        ("pages_total{status=\"200\"}", 2.0),
    ];
    expected.sort_by(|a, b| a.0.cmp(b.0));
    // When it began and how many turns there were is nobody's to know before.
    let known = |(name, _): &&(String, f64)| {
        !name.starts_with("start_time") && !name.starts_with("turn_duration")
    };
    let figures: Vec<_> =
        figures.iter().filter(known).map(|(name, value)| (&name[..], *value)).collect();
    assert_eq!(figures, expected);
    let all = metrics(&proxy);
    for name in ["handshake", "connect", "turn"] {
        let of = |part: &str| all[&format!("{name}_duration_seconds_{part}")];
        assert_eq!(of("bucket{le=\"+Inf\"}"), of("count"), "{name}");
        assert!(of("sum") > 0.0 && of("bucket{le=\"67.108864\"}") == of("count"), "{name}");
    }
    drop((peers, waiting));
}

#[test]
fn connections_are_told_newest_first_whatever_their_peers_have_said() {
    let place = TempDir::new();
    let path = place.path().join("a\"},{\\b");
    let target = Target::unix(&path);
    let rule = format!("unix:{}/", place.path().display());
    let proxy = Proxy::start(
        &[&["--local", "127.0.0.1:0", "--remote", "query:", "--allow", &rule], &ADMIN[..]].concat(),
    );
    let query: String = target.endpoint.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let mut peer = Ws::connect_to(&proxy, &format!("/?target={query}"), &[]);
    let mut stream = target.accept();
    peer.send(BINARY, b"abc");
    assert_eq!(stream.receive(3), b"abc");
    let mut second = Stream::tcp(proxy.port());
    second.send(b"GET /?target=%22},{ HTTP/1.1\r\nX: \"},{\\\xe9\r\n");
    let wait = Wait::begin();
    let all = loop {
        let all = connections(&proxy);
        if all.len() == 2 {
            break all;
        }
        wait.go_on("both connections");
    };
    let (new, old) = (&all[0], &all[1]);
    assert_eq!((&new["state"], &old["state"]), (&"opening".into(), &"open".into()));
    assert_eq!((&new["target"], &new["bytes_in"]), (&"query:".into(), &0.into()));
    assert_eq!(old["target"], format!("unix:{}", path.display()));
    assert_eq!((&old["bytes_in"], &old["messages_in"]), (&3.into(), &1.into()));
    assert_eq!(
        (&old["route"], &old["ended"], &old["client"]),
        (&0.into(), &Value::Null, &Value::Null)
    );
    assert_eq!(old["local"], proxy.listening[0]);
    assert!(old["peer"].as_str().is_some_and(|peer| peer.starts_with("127.0.0.1:")), "{old}");
    assert!(old["id"].as_str().is_some_and(|id| id.starts_with('c')), "{old}");
    assert!(old["since_secs"].as_f64() <= new["since_secs"].as_f64());
    assert!(old["lasted_secs"].as_f64().is_some_and(|secs| secs < PATIENCE.as_secs_f64()));
    // What is told of them is what ended them.
    stream.finish();
    assert_eq!(peer.expect_close(), 1000);
    let closing = &connections(&proxy)[1];
    assert_eq!(closing["state"], "closing");
    assert_eq!(closing["ended"]["by"], "target");
    assert_eq!(
        (&closing["ended"]["code"], &closing["ended"]["why"]),
        (&1000.into(), &"eof".into())
    );
}

#[test]
fn it_listens_on_unix_sockets() {
    let place = TempDir::new();
    let path = place.path().join("admin.sock");
    let endpoint = format!("unix:{}", path.display());
    let (proxy, _target) = bridge(&["--admin", &endpoint]);
    assert_eq!(proxy.listening[1], format!("http+{endpoint}"));
    for host in ["localhost", "whatever.example"] {
        let mut stream = Stream::unix(&path);
        stream.send(format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
        assert_eq!(good(Response::read(&mut stream)), "ok\n");
    }
}

#[test]
fn a_token_opens_it_to_others_and_sighup_changes_it() {
    let tokens = TempFile::new(&format!("{SECRET}1\n"));
    let target = Target::listen();
    let open = ["--admin", "0.0.0.0:0", "--admin-token-file", tokens.path()];
    let proxy = Proxy::to(&target.endpoint, &open);
    let shown = |token: &str| format!("Authorization: Bearer {token}");
    let refused = ask(&proxy, "/metrics", &[]);
    refused.expect_refusal(401);
    assert!(refused.header("WWW-Authenticate").is_some_and(|way| way.starts_with("Bearer ")));
    ask(&proxy, "/nothing", &[]).expect_refusal(401);
    ask(&proxy, "/metrics", &[&shown("wrong")]).expect_refusal(401);
    good(ask(&proxy, "/metrics", &[&shown(&format!("{SECRET}1"))]));
    // Whatever it is called, then.
    let head = format!(
        "GET /healthz HTTP/1.1\r\nHost: box.example\r\n{}\r\n\r\n",
        shown(&format!("{SECRET}1"))
    );
    good(Response::to(port(&proxy), head.as_bytes()));
    tokens.write(&format!("{SECRET}2\n"));
    re_read(&proxy);
    ask(&proxy, "/metrics", &[&shown(&format!("{SECRET}1"))]).expect_refusal(401);
    good(ask(&proxy, "/metrics", &[&shown(&format!("{SECRET}2"))]));
    tells_no_secret(&proxy);
}

#[test]
fn without_a_token_it_is_for_this_host_alone() {
    let route = ["--local", "127.0.0.1:0", "--remote", "127.0.0.1:1"];
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:9000", "box.example:9000"] {
        let (code, said) = Proxy::fail(&[&route[..], &["--admin", address]].concat());
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("--admin-token-file"), "{said}");
    }
    let missing = ["--admin", "127.0.0.1:0", "--admin-token-file", "/no/such/file"];
    let (code, said) = Proxy::fail(&[&route[..], &missing].concat());
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("/no/such/file"), "{said}");
}

/// What a socket that is handed over is bound to shows only when it is there.
#[test]
fn a_socket_that_is_handed_over_is_for_this_host_alone_as_well() {
    for (address, serves) in [("127.0.0.1:0", true), ("0.0.0.0:0", false)] {
        let listener = TcpListener::bind(address).unwrap();
        let route = ["--local", "127.0.0.1:0", "--remote", "127.0.0.1:1", "--admin", "fd:3"];
        let mut command = Proxy::command(&route);
        let fd = listener.as_raw_fd();
        // SAFETY: hand_over makes plain system calls only (signal-safety(7)).
        unsafe { command.pre_exec(move || sys::hand_over(&[fd])) };
        if serves {
            let proxy = Proxy::spawn(command).unwrap();
            assert_eq!(told(&proxy, "/healthz"), "ok\n");
        } else {
            let mut proxy = Proxy::spawn_unready(command).unwrap();
            assert_eq!(proxy.wait_for_exit().code(), Some(1));
            proxy.wait_for_end_of_log();
            let said = proxy.stderr.all().join("\n");
            assert!(said.contains("or add --admin-token-file"), "{said}");
        }
    }
}

#[test]
fn it_answers_when_no_other_connection_may_come() {
    let (proxy, target) = admin(&["--max-connections", "1"]);
    let _open = connect(&proxy, &target);
    Response::to(proxy.port(), request("/", &[]).as_bytes()).expect_refusal(503);
    assert_eq!(told(&proxy, "/healthz"), "ok\n");
    let figures = metrics(&proxy);
    assert_eq!(figures["connections{state=\"open\"}"], 1.0);
    let busy = "connections_refused_total{status=\"503\",reason=\"unavailable\"}";
    assert_eq!(counts(&proxy, &[(busy, 1.0)]).iter().filter(|(name, _)| name == busy).count(), 1);
    assert_eq!(connections(&proxy).len(), 1);
}

/// Neither those who say nothing to be refused for, nor those who ask and say nothing, keep the others
/// out. 64 of each are heard at once.
#[test]
fn those_who_wait_to_be_refused_and_those_who_ask_have_their_own_places() {
    let (proxy, target) = admin(&["--max-connections", "1", "--handshake-timeout", "60s"]);
    let silent = |port| (0..80).map(|_| Stream::tcp(port)).collect::<Vec<_>>();
    let strangers = silent(proxy.port());
    counts(&proxy, &[("connections_accepted_total", 65.0)]);
    assert_eq!(told(&proxy, "/healthz"), "ok\n");
    drop(strangers);
    counts(
        &proxy,
        &[("connections_accepted_total", 80.0), ("connections{state=\"opening\"}", 0.0)],
    );
    let _askers = silent(port(&proxy));
    let _open = connect(&proxy, &target);
}

#[test]
fn only_so_many_are_answered_at_once() {
    let (proxy, _target) = admin(&["--close-timeout", "60s", "--handshake-timeout", "60s"]);
    let mut readers = Vec::new();
    for _ in 0..8 {
        let mut reader = Stream::tcp(port(&proxy));
        reader.send(b"GET /connections HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(Response::read_head(&mut reader).status, 200);
        readers.push(reader);
    }
    for path in ["/connections", "/metrics"] {
        ask(&proxy, path, &[]).expect_refusal(503);
    }
    for path in ["/healthz", "/version"] {
        told(&proxy, path);
    }
    readers.pop();
    let wait = Wait::begin();
    let figures = loop {
        let response = ask(&proxy, "/metrics", &[]);
        if response.status == 200 {
            break good(response);
        }
        wait.go_on("a place");
    };
    assert!(figures.contains("\nws_tcp_proxy_connections_accepted_total 0\n"), "{figures}");
}

/// A list of all connections is long. Those who ask for it and do not read leave memory for others.
#[test]
fn lists_that_are_not_read_leave_room_for_connections() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let far = format!("ws://{}/{}", silent.local_addr().unwrap(), "x".repeat(100_000));
    let place = TempDir::new();
    let socket = place.path().join("admin");
    let at = format!("unix:{}", socket.display());
    let second = ["--local", "127.0.0.1:0", "--remote", &far, "--admin", &at];
    let (proxy, target) = bridge(&[&second, &["--max-memory", "1MiB"][..]].concat());
    let dialling: Vec<_> = (0..10)
        .map(|_| {
            let mut stream = Stream::tcp(proxy.port_of(1));
            stream.send(request("/", &[]).as_bytes());
            silent.accept().unwrap();
            stream
        })
        .collect();
    let ask = |path: &str| {
        let mut stream = Stream::unix(&socket);
        stream.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
        (Response::read_head(&mut stream), stream)
    };
    let (first, reader) = ask("/connections");
    assert_eq!(first.status, 200);
    for _ in 0..3 {
        assert_eq!(ask("/connections").0.status, 503);
        assert_eq!(ask("/metrics").0.status, 200);
    }
    connect(&proxy, &target);
    drop(reader);
    let wait = Wait::begin();
    while ask("/connections").0.status != 200 {
        wait.go_on("room for a list");
    }
    drop(dialling);
}

#[test]
fn prometheus_reads_the_figures() {
    let (proxy, target) = admin(&[]);
    let _open = connect(&proxy, &target);
    let text = told(&proxy, "/metrics");
    let child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        eprintln!("1 check skipped: promtool is not installed");
        return;
    };
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let said = child.wait_with_output().unwrap();
    let words = [said.stdout, said.stderr].concat();
    assert!(said.status.success() && words.is_empty(), "{}", String::from_utf8_lossy(&words));
}
