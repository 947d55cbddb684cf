//! Credential files: what the client role shows a WebSocket server, who may use a `connect://`
//! listener, what SIGHUP changes, and that no secret is ever told, to the log least of all.

mod common;

use std::time::Duration;

use base64::engine::general_purpose::STANDARD;
use base64::Engine;

use common::relay::{expect_established, head, near, near_to_test, ESTABLISHED};
use common::secret::{basic, re_read, tells_no_secret, SECRET};
use common::{carries, Asked, Proxy, Response, Stream, Target, TempFile, BINARY};

const GOAL: &str = "inner.example:443";

// What the client role shows.

#[test]
fn a_basic_file_authorizes_the_request() {
    let file = TempFile::new("# ours\n\nAladdin:hunter open sesame\nsecond:hunter\n");
    let (proxy, target) = client(&["--basic-file", file.path()]);
    assert_eq!(authorization(&proxy, &target), basic("Aladdin:hunter open sesame"));
    tells_no_secret(&proxy);
}

/// A server that says back what it was shown, where its answer is quoted in the log.
#[test]
fn what_we_show_is_not_quoted_from_an_answer() {
    let file = TempFile::new("Aladdin:hunter open sesame");
    let (proxy, target) = client(&["--basic-file", file.path()]);
    let _tool = Stream::tcp(proxy.port());
    let mut asked = Asked::at(&target);
    let shown = asked.field("Authorization").unwrap().to_owned();
    asked.stream.send(format!("HTTP/1.1 401 {shown}\r\n\r\nnot {shown}\n").as_bytes());
    let line = proxy.wait_for_log(0, "a warning", |l| l.contains("cannot reach ws://"));
    assert!(line.contains("it answered 401 ...: not ..."), "{line}");
    tells_no_secret(&proxy);
}

#[test]
fn a_bearer_file_authorizes_the_request() {
    for text in ["hunter.2-_~+/==", "  hunter.2-_~+/==\r\n", "\u{feff}# ours\nhunter.2-_~+/==\n"] {
        let file = TempFile::new(text);
        let (proxy, target) = client(&["--bearer-file", file.path()]);
        assert_eq!(authorization(&proxy, &target), "Bearer hunter.2-_~+/==");
        tells_no_secret(&proxy);
    }
}

#[test]
fn a_near_end_and_a_websocket_listener_authorize_their_requests_too() {
    let file = TempFile::new("hunter2");
    let target = Target::listen();
    let remote = format!("ws://{}/", target.endpoint);
    for local in ["connect://127.0.0.1:0", "ws://127.0.0.1:0"] {
        let route = ["--local", local, "--remote", &remote, "--bearer-file", file.path()];
        let proxy = Proxy::start(&route);
        let mut caller = Stream::tcp(proxy.port());
        match local.starts_with("ws") {
            true => caller.send(common::ws::request("/", &[]).as_bytes()),
            false => caller.send(head(GOAL, &[]).as_bytes()),
        }
        assert_eq!(Asked::at(&target).field("Authorization"), Some("Bearer hunter2"));
    }
}

#[test]
fn a_server_that_does_not_know_us_is_told_without_the_secret() {
    let file = TempFile::new("hunter2");
    let (proxy, target) = client(&["--bearer-file", file.path()]);
    let mut caller = Stream::tcp(proxy.port());
    let mut asked = Asked::at(&target);
    asked.stream.send(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n");
    caller.expect_fin();
    proxy.wait_for_log(0, "a warning", |l| l.contains("it answered 401 Unauthorized"));
    tells_no_secret(&proxy);
}

// Files that cannot be used.

#[test]
fn a_file_that_cannot_be_used_is_named_with_the_line_and_ends_it_with_1() {
    let missing = TempFile::absent();
    let (empty, comments) = (TempFile::new(""), TempFile::new("# hunter\n\n \n"));
    let colonless = TempFile::new("# ours\na:hunter\nhunter2\n");
    let control = TempFile::new("a:hunter\x07\n");
    let token = TempFile::new("hunter2\nhunter 3\n");
    let long = TempFile::new(&format!("a:{SECRET}{}\n", "x".repeat(2000)));
    let cases: [(&str, &TempFile, &str); 9] = [
        ("--basic-file", &missing, "No such file"),
        ("--bearer-file", &missing, "No such file"),
        ("--proxy-basic-file", &missing, "No such file"),
        ("--basic-file", &empty, "no credentials"),
        ("--bearer-file", &comments, "no credentials"),
        ("--basic-file", &colonless, "line 3"),
        ("--proxy-basic-file", &control, "line 1"),
        ("--bearer-file", &token, "line 2"),
        ("--basic-file", &long, "line 1"),
    ];
    for (option, file, why) in cases {
        let route = ["--local", "connect://127.0.0.1:0", "--remote", "ws://127.0.0.1:9/"];
        let options = ["--log-level", "trace", option, file.path()];
        let (status, said) = Proxy::fail(&[&route[..], &options].concat());
        assert_eq!(status, Some(1), "{option}: {said}");
        assert!(said.contains(file.path()) && said.contains(why), "{option}: {said}");
        assert!(!said.contains(SECRET), "{said}");
    }
}

#[test]
fn sighup_reads_what_the_client_role_shows_again() {
    for (option, texts, shown) in [
        (
            "--basic-file",
            ["a:hunter1", "a:hunter2", "hunter3"],
            [basic("a:hunter1"), basic("a:hunter2")],
        ),
        (
            "--bearer-file",
            ["hunter1", "hunter2", "hunter 3"],
            ["Bearer hunter1".into(), "Bearer hunter2".into()],
        ),
    ] {
        let file = TempFile::new(texts[0]);
        let (proxy, target) = client(&[option, file.path()]);
        assert_eq!(authorization(&proxy, &target), shown[0]);
        file.write(texts[1]);
        assert_eq!(authorization(&proxy, &target), shown[0], "before the signal");
        re_read(&proxy);
        assert_eq!(authorization(&proxy, &target), shown[1]);

        file.write(&format!("# one\n# two\n{}\n", texts[2]));
        let line = re_read_in_vain(&proxy, &file);
        assert!(line.contains("line 3"), "{line}");
        assert_eq!(authorization(&proxy, &target), shown[1], "a bad file must not count");
        drop(file);
        proxy.signal(libc::SIGHUP);
        proxy.wait_for_log(0, "the warning", |l| l.contains("No such file"));
        assert_eq!(authorization(&proxy, &target), shown[1], "a missing file must not count");
        tells_no_secret(&proxy);
    }
}

// Who may use a listener.

#[test]
fn without_credentials_or_with_wrong_ones_a_tool_is_answered_407() {
    let file = TempFile::new("Aladdin:hunter open sesame\nsecond:hunter:2\n");
    for remote in ["ws", "connect:"] {
        let gate = Gate::before(remote, &file);
        let files = gate.proxy.open_files();
        let schemeless = STANDARD.encode("Aladdin:hunter open sesame");
        let wrong = [
            None,
            Some(basic("Aladdin:hunter open sesam")),
            Some(basic("Aladdin:hunter open sesame ")),
            Some(basic("aladdin:hunter open sesame")),
            Some(basic("second:hunter")),
            Some(basic(":")),
            Some(basic("")),
            Some("Basic hunter=".into()),
            Some("Basic".into()),
            Some(String::new()),
            Some(format!("Bearer {schemeless}")),
            Some(schemeless),
        ];
        for shown in wrong {
            let response = gate.refuses(shown.as_deref());
            let challenge = response.header("Proxy-Authenticate").expect("a challenge");
            assert!(challenge.starts_with("Basic realm="), "{challenge}");
        }
        // A field that is not the proxy's counts for nothing.
        let field = format!("Authorization: {}", basic("second:hunter:2"));
        let head = head(GOAL, &[&field]);
        Response::to(gate.proxy.port(), head.as_bytes()).expect_refusal(407);
        assert!(!gate.target.has_caller_within(Duration::ZERO), "dialled in vain");
        gate.proxy.wait_until_idle(files);
        tells_no_secret(&gate.proxy);
    }
}

#[test]
fn right_credentials_open_the_tunnel() {
    let file = TempFile::new("# users\nAladdin:hunter open sesame\n\nsecond:hunter:2\r\n");
    for remote in ["ws", "connect:"] {
        let gate = Gate::before(remote, &file);
        for user in ["Aladdin:hunter open sesame", "second:hunter:2"] {
            for shown in [basic(user), basic(user).replace("Basic ", "bAsIc   ")] {
                let (mut tool, mut stream) = gate.opens(&shown);
                tool.send(b"there");
                stream.receive(5);
            }
        }
        tells_no_secret(&gate.proxy);
    }
}

/// What a tool shows the proxy is the proxy's, and goes no further.
#[test]
fn the_far_end_does_not_see_who_asked() {
    let file = TempFile::new("a:hunter");
    let (proxy, target) = near_to_test(&["--proxy-basic-file", file.path()]);
    let field = format!("Proxy-Authorization: {}", basic("a:hunter"));
    let mut tool = Stream::tcp(proxy.port());
    tool.send(head(GOAL, &[&field]).as_bytes());
    let asked = Asked::at(&target);
    for name in ["Proxy-Authorization", "Authorization"] {
        assert_eq!(asked.field(name), None);
    }
    let first = asked.agree().expect(BINARY);
    assert_eq!(first, format!("CONNECT {GOAL} HTTP/1.1\r\nHost: {GOAL}\r\n\r\n").as_bytes());
}

#[test]
fn sighup_reads_the_users_again() {
    let file = TempFile::new("a:hunter1\n");
    let gate = Gate::before("connect:", &file);
    gate.opens(&basic("a:hunter1"));
    file.write("a:hunter2\n");
    gate.opens(&basic("a:hunter1"));
    re_read(&gate.proxy);
    gate.refuses(Some(&basic("a:hunter1")));
    gate.opens(&basic("a:hunter2"));

    file.write("a:hunter3\nhunter4\n");
    let line = re_read_in_vain(&gate.proxy, &file);
    assert!(line.contains("line 2"), "{line}");
    gate.refuses(Some(&basic("a:hunter3")));
    gate.opens(&basic("a:hunter2"));
    tells_no_secret(&gate.proxy);
}

/// A tunnel that is open stays so, whatever becomes of its user.
#[test]
fn sighup_ends_no_tunnel() {
    let file = TempFile::new("a:hunter1");
    let gate = Gate::before("connect:", &file);
    let (mut tool, mut stream) = gate.opens(&basic("a:hunter1"));
    file.write("b:hunter1");
    re_read(&gate.proxy);
    gate.refuses(Some(&basic("a:hunter1")));
    carries(&mut tool, &mut stream);
}

// The parts.

/// A plain listener that leads to a WebSocket server.
#[track_caller]
fn client(options: &[&str]) -> (Proxy, Target) {
    let target = Target::listen();
    let remote = format!("ws://{}/", target.endpoint);
    let route = ["--log-level", "trace", "--local", "tcp://127.0.0.1:0", "--remote", &remote];
    (Proxy::start(&[&route, options].concat()), target)
}

/// What a new connection shows the server.
#[track_caller]
fn authorization(proxy: &Proxy, target: &Target) -> String {
    let _caller = Stream::tcp(proxy.port());
    let asked = Asked::at(target);
    asked.field("Authorization").expect("Authorization").to_string()
}

/// A `connect://` listener for the users in a file, and what is behind it.
struct Gate {
    proxy: Proxy,
    /// The target, or the place where the test plays the far end.
    target: Target,
    has_far_end: bool,
}

impl Gate {
    #[track_caller]
    fn before(remote: &str, users: &TempFile) -> Self {
        let options = ["--log-level", "trace", "--proxy-basic-file", users.path()];
        if remote == "ws" {
            let (proxy, target) = near_to_test(&options);
            return Self { proxy, target, has_far_end: true };
        }
        let proxy = near(remote, &[&["--allow", "127.0.0.1"], &options[..]].concat());
        Self { proxy, target: Target::listen(), has_far_end: false }
    }

    /// A tool that shows this gets its tunnel; both ends of it.
    #[track_caller]
    fn opens(&self, shown: &str) -> (Stream, Stream) {
        let mut tool = Stream::tcp(self.proxy.port());
        let field = format!("Proxy-Authorization: {shown}");
        tool.send(head(&self.target.endpoint, &[&field]).as_bytes());
        let stream = if self.has_far_end {
            let mut served = Asked::at(&self.target).agree();
            served.expect(BINARY);
            served.send(BINARY, ESTABLISHED);
            served.into_stream()
        } else {
            self.target.accept()
        };
        expect_established(&mut tool);
        (tool, stream)
    }

    /// A tool that shows this is answered 407.
    #[track_caller]
    fn refuses(&self, shown: Option<&str>) -> Response {
        let field = shown.map(|shown| format!("Proxy-Authorization: {shown}"));
        let fields: Vec<&str> = field.as_deref().into_iter().collect();
        let head = head(&self.target.endpoint, &fields);
        let response = Response::to(self.proxy.port(), head.as_bytes());
        assert_eq!(response.status, 407, "for {shown:?}");
        response.expect_refusal(407);
        response
    }
}

/// SIGHUP for a file that cannot be used; the warning.
#[track_caller]
fn re_read_in_vain(proxy: &Proxy, file: &TempFile) -> String {
    let from = proxy.stderr.count();
    proxy.signal(libc::SIGHUP);
    // What a tool was told before may be in the log after.
    let is_it = |line: &str| line.contains("WARN") && line.contains("SIGHUP");
    let line = proxy.wait_for_log(from, "the warning", is_it);
    assert!(line.contains(file.path()), "{line}");
    assert!(line.contains("the old ones stay"), "{line}");
    line
}
