//! Targets that a request names by its URL: `token:`, whose file may change while the proxy runs,
//! and `query:`. What a refusal says, and that no token reaches the log.

mod common;

use std::time::Duration;

use common::target::Refusing;
use common::ws::request;
use common::{
    assert_same, Proxy, Response, Stream, Target, TempDir, TempFile, Wait, Ws, BINARY, TEXT,
};

/// Part of every token of these tests, and nothing of it may be told.
const SECRET: &str = "hunter";

/// What the log says of a file that cannot be used.
const OLD_STAY: &str = "; the old ones stay";

// Tokens.

#[test]
fn a_token_of_the_query_or_the_path_chooses_the_target() {
    let (one, two) = (Target::listen(), Target::listen());
    let text = format!("# the lab\nhunter1: {}\r\nhunter/%2:{}\n", one.endpoint, two.endpoint);
    let file = TempFile::new(&text);
    let proxy = by_token(file.path(), &["--log-level", "trace"]);
    for (path, target) in [
        ("/?token=hunter1", &one),
        ("/websockify?token=hunter1", &one),
        ("/websockify/?x=y&token=hunter1&z", &one),
        ("/hunter1", &one),
        ("/a/hunter1?x", &one),
        ("/%68unter1", &one),
        ("/hunter1?token=hunter%2f%252", &two),
        ("/a/hunter%2F%252", &two),
    ] {
        leads(&proxy, path, target);
    }
    for path in ["/", "/?token=", "/?token=hunter", "/hunter3", "/hunter1/", "/hunter1?token=x"] {
        refused(&proxy, path, 404);
    }
    for path in ["/?token=hunter1&token=hunter1", "/?token=hunter%1"] {
        refused(&proxy, path, 400);
    }
    assert!([&one, &two].iter().all(|t| !t.has_caller_within(Duration::ZERO)), "dialled in vain");
    tells_no_token(&proxy);
}

#[test]
fn a_token_goes_together_with_an_encoding_and_a_subprotocol() {
    let target = Target::listen();
    let file = TempFile::new(&format!("hunter: {}", target.endpoint));
    let proxy = by_token(file.path(), &[]);
    let mut peer = Ws::connect_to(&proxy, "/?encoding=text&token=hunter", &[]);
    target.accept().send(b"text");
    assert_same(&peer.expect(TEXT), b"text");
    let offer = ["Sec-WebSocket-Protocol: chat, base64"];
    let mut peer = Ws::connect_to(&proxy, "/hunter", &offer);
    assert_eq!(peer.response.header("Sec-WebSocket-Protocol"), Some("base64"));
    target.accept().send(b"bytes");
    assert_same(&peer.expect(TEXT), b"Ynl0ZXM=");
    refused(&proxy, "/hunter?encoding=rot13", 400);
}

#[test]
fn a_token_may_lead_to_a_unix_socket() {
    let place = TempFile::absent();
    let target = Target::unix(place.path().as_ref());
    let named = format!("ws-tcp-proxy-test-{}", std::process::id());
    let hidden = Target::unix_abstract(&named);
    let file = TempFile::new(&format!("a: {}\nb: {}\n", target.endpoint, hidden.endpoint));
    let proxy = by_token(file.path(), &[]);
    leads(&proxy, "/a", &target);
    leads(&proxy, "/?token=b", &hidden);
}

#[test]
fn a_target_that_a_token_leads_to_and_is_not_there_is_answered_502() {
    let refusing = Refusing::new();
    let file = TempFile::new(&format!("hunter: {}\n", refusing.endpoint));
    let proxy = by_token(file.path(), &[]);
    refused(&proxy, "/hunter", 502);
    let line = proxy.wait_for_log(0, "a warning", |line| line.contains("cannot reach "));
    assert!(line.contains(&refusing.endpoint), "{line}");
    tells_no_token(&proxy);
}

#[test]
fn rules_hold_for_what_is_listed_where_there_are_any() {
    let target = Target::listen();
    let file = TempFile::new(&format!("a: {}\n", target.endpoint));
    for rules in [["--deny", "127.0.0.0/8"], ["--allow", "10.0.0.0/8"]] {
        refused(&by_token(file.path(), &rules), "/a", 403);
    }
    assert!(!target.has_caller_within(Duration::ZERO), "dialled in vain");
    leads(&by_token(file.path(), &["--allow", "127.0.0.1"]), "/a", &target);
}

// Files that change.

#[test]
fn a_changed_file_is_used_without_a_restart() {
    let (old, new) = (Target::listen(), Target::listen());
    let file = TempFile::new(&format!("hunter1: {}\n", old.endpoint));
    let proxy = by_token(file.path(), &[]);
    leads(&proxy, "/hunter1", &old);
    file.write(&format!("hunter2: {}\n", new.endpoint));
    leads_at_last(&proxy, "/hunter2", &new);
    refused(&proxy, "/hunter1", 404);
    replace(&file, &format!("hunter3: {}\n", new.endpoint));
    leads_at_last(&proxy, "/hunter3", &new);
    refused(&proxy, "/hunter2", 404);
    tells_no_token(&proxy);
}

#[test]
fn a_broken_file_keeps_the_old_table_and_is_said_once() {
    let (old, new) = (Target::listen(), Target::listen());
    let file = TempFile::new(&format!("hunter1: {}\n", old.endpoint));
    let proxy = by_token(file.path(), &[]);
    replace(&file, "# hunter\nhunter1: 10.0.0.1:22\nhunter2 10.0.0.1:22\n");
    let line = log_at_last(&proxy, "line 3");
    assert!(line.contains("WARN") && line.contains(file.path()), "{line}");
    leads(&proxy, "/hunter1", &old);
    replace(&file, "hunter1: 10.0.0.1:99999\n");
    log_at_last(&proxy, "line 1");
    std::fs::remove_file(file.path()).unwrap();
    log_at_last(&proxy, "No such file");
    leads(&proxy, "/hunter1", &old);
    replace(&file, &format!("hunter1: {}\n", new.endpoint));
    leads_at_last(&proxy, "/hunter1", &new);
    let said = proxy.log().iter().filter(|line| line.contains(OLD_STAY)).count();
    assert_eq!(said, 3, "{:#?}", proxy.log());
    tells_no_token(&proxy);
}

#[test]
fn sighup_reads_the_file_at_once() {
    let (old, new) = (Target::listen(), Target::listen());
    let file = TempFile::new(&format!("hunter: {}\n", old.endpoint));
    let proxy = by_token(file.path(), &[]);
    leads(&proxy, "/hunter", &old);
    file.write(&format!("hunter: {}\n", new.endpoint));
    let from = proxy.stderr.count();
    proxy.signal(libc::SIGHUP);
    proxy.wait_for_log(from, "what SIGHUP did", |line| line.contains("files of 1 routes re-read"));
    leads(&proxy, "/hunter", &new);
    file.write("hunter");
    proxy.signal(libc::SIGHUP);
    let is_it = |line: &str| line.contains("SIGHUP: ") && line.contains("line 1 has no colon");
    let line = proxy.wait_for_log(from, "what is wrong", is_it);
    assert!(line.contains(OLD_STAY) && line.contains(file.path()), "{line}");
    leads(&proxy, "/hunter", &new);
    tells_no_token(&proxy);
}

#[test]
fn the_files_of_a_directory_are_one_table() {
    let (one, two) = (Target::listen(), Target::listen());
    let directory = TempDir::new();
    directory.write("one", &format!("hunter1: {}\n", one.endpoint));
    directory.write(".one.swp", "not hunter's");
    directory.write("one~", "not hunter's");
    std::fs::create_dir(directory.path().join("more")).unwrap();
    let proxy = by_token(directory.path().to_str().unwrap(), &[]);
    leads(&proxy, "/hunter1", &one);
    refused(&proxy, "/hunter2", 404);
    directory.write("two", &format!("hunter2: {}\n", two.endpoint));
    leads_at_last(&proxy, "/hunter2", &two);
    leads(&proxy, "/hunter1", &one);
    // Which of them would count?
    directory.write("three", &format!("hunter1: {}\n", two.endpoint));
    log_at_last(&proxy, "has the name of");
    leads(&proxy, "/hunter1", &one);
    directory.remove("three");
    directory.remove("one");
    at_last("a token that is gone", || peek(&proxy, "/hunter1") == 404);
    leads(&proxy, "/hunter2", &two);
    tells_no_token(&proxy);
}

#[test]
fn does_not_start_with_a_file_that_cannot_be_used() {
    let fails = |path: &str, problem: &str| {
        let remote = format!("token:{path}");
        let (status, said) = Proxy::fail(&["--local", "127.0.0.1:0", "--remote", &remote]);
        assert_eq!(status, Some(1), "{said}");
        assert!(said.contains(path) && said.contains(problem), "{said}");
        assert!(!said.contains(SECRET), "{said}");
    };
    for (text, problem) in [
        ("a: 10.0.0.1:22\n\nhunter\n", " line 3 has no colon"),
        ("hunter: 10.0.0.1", " line 1: the port is missing"),
        ("hunter: 127.1:22", " line 1: the host is a number"),
        ("hunter: unix:run", " line 1: what follows unix:"),
        ("hunter: a:1\nhunter: a:1\n", " line 2 has the name of "),
    ] {
        fails(TempFile::new(text).path(), problem);
    }
    fails(TempFile::new(&"x".repeat(1 << 20)).path(), " line 1 is over 4 KiB");
    fails(TempFile::new(&"#\n".repeat(3 << 20)).path(), "4 MiB");
    fails(TempFile::absent().path(), "No such file");
    fails("/dev/null", "no regular file");
    let directory = TempDir::new();
    directory.write("bad", "hunter: a");
    let (status, said) = Proxy::fail(&[
        "--local",
        "127.0.0.1:0",
        "--remote",
        &format!("token:{}", directory.path().display()),
    ]);
    assert!(status == Some(1) && said.contains("/bad line 1: "), "{said}");
}

// Queries.

#[test]
fn a_query_chooses_the_target() {
    let target = Target::listen();
    let place = TempFile::absent();
    let socket = Target::unix(place.path().as_ref());
    let rules = ["--allow", "127.0.0.1", "--allow", "localhost", "--allow", &socket.endpoint];
    let proxy = Proxy::to("query:", &rules);
    let (to, port) = (&target.endpoint, target.endpoint.rsplit_once(':').unwrap().1);
    for path in [
        format!("/?target={to}"),
        format!("/v1?address={to}"),
        format!("/?encoding=binary&target=127.0.0.1%3A{port}"),
        format!("/?target=localhost:{port}"),
        format!("/?target=LocalHost.:{port}"),
    ] {
        leads(&proxy, &path, &target);
    }
    leads(&proxy, &format!("/?target={}", socket.endpoint), &socket);
    leads(&proxy, &format!("/?target={}", socket.endpoint.replace('/', "%2F")), &socket);

    let mut peer = Ws::connect_to(&proxy, &format!("/?address={to}&encoding=text"), &[]);
    target.accept().send(b"text");
    assert_same(&peer.expect(TEXT), b"text");
    let offer = ["Sec-WebSocket-Protocol: base64"];
    let peer = Ws::connect_to(&proxy, &format!("/?target={to}"), &offer);
    assert_eq!(peer.response.header("Sec-WebSocket-Protocol"), Some("base64"));
    target.accept();
}

#[test]
fn a_query_is_told_what_is_wrong_with_it() {
    let target = Target::listen();
    let refusing = Refusing::new();
    let proxy = Proxy::to("query:", &["--allow", "127.0.0.1", "--deny", "db.example"]);
    let port = target.endpoint.rsplit_once(':').unwrap().1;
    for query in ["", "?", "?target", "?target=127.0.0.1", "?target=a:1&address=a:1"] {
        let response = refused(&proxy, &format!("/{query}"), 400);
        assert!(
            response.body.contains("write it like ws://HOST/?target=host:port"),
            "{response:?}"
        );
    }
    for host in ["127.1", "0x7f000001", "2130706433", "0", "[127.0.0.1]", "a%20b", "a%0d%0ab"] {
        refused(&proxy, &format!("/?target={host}:{port}"), 400);
    }
    for host in ["127.0.0.2", "0.0.0.0", "[::]", "[::1]", "[::ffff:127.0.0.1]", "db.example"] {
        refused(&proxy, &format!("/?target={host}:{port}"), 403);
    }
    refused(&proxy, "/?target=unix:/run/docker.sock", 403);
    refused(&proxy, &format!("/?target={}", refusing.endpoint), 502);
    assert!(!target.has_caller_within(Duration::ZERO), "dialled in vain");
}

/// A name that no rule has a word about may lead to an allowed address, or not.
#[test]
fn a_name_is_judged_by_where_it_leads() {
    let target = Target::listen();
    let port = target.endpoint.rsplit_once(':').unwrap().1;
    let path = format!("/?target=localhost:{port}");
    for rules in [&["--allow", "any"][..], &["--allow", "127.0.0.0/8", "--deny", "127.0.0.1"]] {
        refused(&Proxy::to("query:", rules), &path, 403);
    }
    assert!(!target.has_caller_within(Duration::ZERO), "dialled in vain");
    leads(&Proxy::to("query:", &["--allow", "127.0.0.0/8"]), &path, &target);
}

/// A proxy whose tokens are in `path`.
#[track_caller]
fn by_token(path: &str, arguments: &[&str]) -> Proxy {
    Proxy::to(&format!("token:{path}"), arguments)
}

/// A connection for `path` reaches `target`, both ways.
#[track_caller]
fn leads(proxy: &Proxy, path: &str, target: &Target) {
    let mut peer = Ws::connect_to(proxy, path, &[]);
    let mut stream = target.accept();
    peer.send(BINARY, b"there");
    assert_same(&stream.receive(5), b"there");
    stream.send(b"back");
    assert_same(&peer.expect(BINARY), b"back");
}

/// The same, as soon as the proxy knows. Before, it answers as it did.
#[track_caller]
fn leads_at_last(proxy: &Proxy, path: &str, target: &Target) {
    at_last("a new table", || peek(proxy, path) == 101 && target.has_caller_within(Duration::ZERO));
    target.accept();
    leads(proxy, path, target);
}

/// Waits for the line that says so, while somebody asks for a token.
#[track_caller]
fn log_at_last(proxy: &Proxy, problem: &str) -> String {
    let said = || {
        proxy
            .stderr
            .all()
            .into_iter()
            .find(|line| line.contains(problem) && line.contains(OLD_STAY))
    };
    at_last(problem, || peek(proxy, "/nobody") == 404 && said().is_some());
    said().unwrap()
}

/// Another file takes its place, as editors and provisioning tools do it: nobody sees half of it.
fn replace(file: &TempFile, text: &str) {
    std::fs::rename(TempFile::new(text).path(), file.path()).expect("replace a temporary file");
}

/// Asks until it is so, at the pace of a client.
#[track_caller]
fn at_last(what: &str, is_so: impl Fn() -> bool) {
    let wait = Wait::begin();
    while !is_so() {
        wait.go_on(what);
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The status of the answer to a request for `path`.
#[track_caller]
fn peek(proxy: &Proxy, path: &str) -> u16 {
    let mut stream = Stream::tcp(proxy.port());
    stream.send(request(path, &[]).as_bytes());
    let start = String::from_utf8(stream.peek(12)).unwrap();
    start["HTTP/1.1 ".len()..].parse().unwrap()
}

#[track_caller]
fn refused(proxy: &Proxy, path: &str, status: u16) -> Response {
    let response = Response::to(proxy.port(), request(path, &[]).as_bytes());
    assert_eq!(response.status, status, "{path}: {response:?}");
    response.expect_refusal(status);
    assert!(!response.body.contains(SECRET), "{response:?}");
    response
}

#[track_caller]
fn tells_no_token(proxy: &Proxy) {
    for line in proxy.log() {
        assert!(!line.contains(SECRET) && !line.contains("%68unter"), "{line}");
    }
}
