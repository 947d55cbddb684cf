//! Who may connect (DESIGN 6): pages, credentials, addresses, and how many from one; whose word is
//! taken for an address; that whoever is refused reaches no target, and that no secret is told.

mod common;

use std::net::Ipv4Addr;
use std::time::Duration;

use common::relay::{head, near};
use common::secret::{basic, re_read, tells_no_secret};
use common::ws::request;
use common::{bridge, carries, Proxy, Response, Stream, Target, TempFile, Ws};

const ORIGINS: [&str; 4] = ["--origin", "https://app.example", "--origin", "http://*.lan:8080"];

const TRACE: [&str; 2] = ["--log-level", "trace"];

/// Clients other than 127.0.0.1.
const SECOND: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const THIRD: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

// Pages.

#[test]
fn a_page_of_a_listed_origin_may_connect_and_no_other() {
    let (proxy, target) = bridge(&ORIGINS);
    let files = proxy.open_files();
    for origin in ["https://app.example", "https://app.example:443", "http://a.b.lan:8080"] {
        opens(&proxy, &target, "/", &[&format!("Origin: {origin}")]);
    }
    for origin in
        ["http://app.example", "https://app.example.evil.example", "http://lan:8080", "null"]
    {
        let said = refused(&proxy, "/", &[&format!("Origin: {origin}")], 403);
        assert!(said.body.contains("--origin") && !said.body.contains("evil"), "{}", said.body);
    }
    let twice = ["Origin: https://app.example", "Origin: https://app.example"];
    refused(&proxy, "/", &twice, 403);
    refused(&proxy, "/", &[], 403);
    is_undisturbed(&proxy, &target, files);
}

#[test]
fn null_is_an_origin_where_it_is_listed() {
    let (proxy, target) = bridge(&["--origin", "null"]);
    opens(&proxy, &target, "/", &["Origin: null"]);
    refused(&proxy, "/", &["Origin: https://app.example"], 403);
}

#[test]
fn a_client_that_is_no_page_shows_credentials_in_its_place() {
    let tokens = TempFile::new("hunter2");
    let (proxy, target) = bridge(&[&ORIGINS[..], &["--bearer-file", tokens.path()]].concat());
    opens(&proxy, &target, "/", &["Authorization: Bearer hunter2"]);
    opens(&proxy, &target, "/?token=hunter2", &["Origin: https://app.example"]);
    refused(&proxy, "/?token=hunter2", &["Origin: https://evil.example"], 403);
    refused(&proxy, "/", &[], 401);
}

// Credentials.

#[test]
fn who_shows_nothing_is_told_what_to_show() {
    let (users, tokens) = (TempFile::new("user:hunter2"), TempFile::new("hunter3"));
    let (user, token) = (["--basic-file", users.path()], ["--bearer-file", tokens.path()]);
    for (options, basic, bearer) in [
        (user.to_vec(), true, false),
        (token.to_vec(), false, true),
        ([user, token].concat(), true, true),
    ] {
        let (proxy, target) = bridge(&options);
        let files = proxy.open_files();
        let said = refused(&proxy, "/", &[], 401);
        let has = |challenge| said.has_token("WWW-Authenticate", challenge);
        assert_eq!(has("Basic realm=\"ws-tcp-proxy\""), basic, "{said:?}");
        assert_eq!(has("charset=\"UTF-8\""), basic, "{said:?}");
        assert_eq!(has("Bearer realm=\"ws-tcp-proxy\""), bearer, "{said:?}");
        is_undisturbed(&proxy, &target, files);
    }
}

#[test]
fn a_user_of_the_file_may_connect() {
    let users = TempFile::new("# ours\nAladdin:hunter open sesame\nsecond:hunter:2\r\n");
    let (proxy, target) = bridge(&[&TRACE[..], &["--basic-file", users.path()]].concat());
    let files = proxy.open_files();
    let field = |shown: String| format!("Authorization: {shown}");
    for user in ["Aladdin:hunter open sesame", "second:hunter:2"] {
        opens(&proxy, &target, "/", &[&field(basic(user))]);
        opens(&proxy, &target, "/", &[&field(basic(user).replace("Basic ", "bAsIc  "))]);
    }
    for wrong in ["Aladdin:hunter open sesam", "second:hunter", "Second:hunter:2", "second:", ""] {
        refused(&proxy, "/", &[&field(basic(wrong))], 401);
    }
    for field in [
        field(basic("second:hunter:2").replace("Basic", "Bearer")),
        field("Basic hunter".into()),
        format!("Proxy-{}", field(basic("second:hunter:2"))),
    ] {
        refused(&proxy, "/", &[&field], 401);
    }
    refused(&proxy, "/?token=second:hunter:2", &[], 401);
    is_undisturbed(&proxy, &target, files);
    tells_no_secret(&proxy);
}

#[test]
fn a_token_is_shown_in_any_of_four_ways() {
    let tokens = TempFile::new("hunter.2-_~+/==\nhunter3\n");
    let (proxy, target) = bridge(&[&TRACE[..], &["--bearer-file", tokens.path()]].concat());
    let files = proxy.open_files();
    let offers = |list: &str| format!("Sec-WebSocket-Protocol: {list}");
    for (path, fields) in [
        ("/", &["Authorization: Bearer hunter.2-_~+/==".to_string()][..]),
        ("/", &["authorization: BEARER hunter3".into()]),
        ("/?token=hunter3", &[]),
        ("/?encoding=text&access_token=hunter.2-_~%2B%2F%3D%3D", &[]),
        ("/", &[offers("bearer.hunter3")]),
        ("/?token=hunter", &[offers("bearer.hunter.2-_~+%2F%3d%3D")]),
    ] {
        let fields: Vec<_> = fields.iter().map(String::as_str).collect();
        opens(&proxy, &target, path, &fields);
    }
    for (path, fields) in [
        ("/hunter3?hunter3", &["Authorization: Bearer hunter".to_string()][..]),
        ("/?token=hunter&token=hunter3", &["Authorization: hunter3".into()]),
        ("/?Token=hunter3", &["X-Token: hunter3".into()]),
        ("/?access_token=hunter3%00", &[offers("hunter3")]),
        ("/", &[offers("bearer.hunter, bearer.hunter3")]),
        ("/", &["Cookie: token=hunter3".into()]),
    ] {
        let fields: Vec<_> = fields.iter().map(String::as_str).collect();
        let said = refused(&proxy, path, &fields, 401);
        assert!(!said.body.contains("hunter"), "{}", said.body);
    }
    is_undisturbed(&proxy, &target, files);
    tells_no_secret(&proxy);
}

/// What a browser asks for: a page that offers subprotocols must be answered with one of them.
#[test]
fn a_token_among_the_subprotocols_is_not_echoed() {
    let tokens = TempFile::new("hunter2");
    for spoken in [&[][..], &["--subprotocol", "*"], &["--subprotocol", "bearer.hunter2"]] {
        let options = [&TRACE[..], spoken, &["--bearer-file", tokens.path()]].concat();
        let (proxy, target) = bridge(&options);
        for (offered, answered) in [
            ("bearer.hunter2", None),
            ("Bearer.hunter2", None),
            ("bearer.hunter2, binary", Some("binary")),
            ("binary, bearer.hunter2", Some("binary")),
        ] {
            let field = format!("Sec-WebSocket-Protocol: {offered}");
            let (peer, _stream) = opens(&proxy, &target, "/", &[&field]);
            let said = peer.response.header("Sec-WebSocket-Protocol");
            let expected = answered.filter(|_| !spoken.contains(&"bearer.hunter2"));
            assert_eq!(said, expected, "{offered} {spoken:?}");
        }
        tells_no_secret(&proxy);
    }
}

#[test]
fn a_route_with_a_request_of_its_own_shows_one_file_and_asks_for_another() {
    let (ours, theirs) = (TempFile::new("hunter1"), TempFile::new("hunter2"));
    let target = Target::listen();
    let remote = format!("ws://{}/", target.endpoint);
    let files = ["--bearer-file", ours.path(), "--listen-bearer-file", theirs.path()];
    let proxy = Proxy::to(&remote, &[&TRACE[..], &files].concat());
    refused(&proxy, "/", &[], 401);
    refused(&proxy, "/?token=hunter1", &[], 401);
    let mut peer = Stream::tcp(proxy.port());
    peer.send(request("/", &["Authorization: Bearer hunter2"]).as_bytes());
    let asked = common::Asked::at(&target);
    assert_eq!(asked.field("Authorization"), Some("Bearer hunter1"));
    asked.agree();
    Ws::opened(peer);
    tells_no_secret(&proxy);
}

#[test]
fn sighup_reads_what_clients_must_show_again() {
    let (users, tokens) = (TempFile::new("a:hunter1"), TempFile::new("hunter1"));
    let files = ["--basic-file", users.path(), "--bearer-file", tokens.path()];
    let (proxy, target) = bridge(&[&TRACE[..], &files].concat());
    let user = |user: &str| format!("Authorization: {}", basic(user));
    opens(&proxy, &target, "/", &[&user("a:hunter1")]);
    let (mut peer, mut stream) = opens(&proxy, &target, "/?token=hunter1", &[]);
    users.write("a:hunter2");
    tokens.write("hunter2");
    opens(&proxy, &target, "/?token=hunter1", &[]);
    re_read(&proxy);
    for (path, field) in [("/", user("a:hunter1")), ("/?token=hunter1", user("a:hunter"))] {
        refused(&proxy, path, &[&field], 401);
    }
    opens(&proxy, &target, "/", &[&user("a:hunter2")]);
    opens(&proxy, &target, "/?token=hunter2", &[]);
    peer.send(common::BINARY, b"still here");
    assert_eq!(stream.receive(10), b"still here");

    tokens.write("hunter 3");
    let from = proxy.stderr.count();
    proxy.signal(libc::SIGHUP);
    proxy.wait_for_log(from, "the warning", |l| l.contains("WARN") && l.contains("line 1"));
    opens(&proxy, &target, "/?token=hunter2", &[]);
    tells_no_secret(&proxy);
}

#[cfg(not(feature = "hashed-credentials"))]
#[test]
fn a_hash_that_this_build_cannot_check_ends_it_with_1() {
    let tokens = TempFile::new(&format!("sha256:{}", "ab".repeat(32)));
    let route = ["--local", "127.0.0.1:0", "--remote", "127.0.0.1:9"];
    let (status, said) = Proxy::fail(&[&route[..], &["--bearer-file", tokens.path()]].concat());
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("--features hashed-credentials") && !said.contains("abab"), "{said}");
}

#[cfg(feature = "hashed-credentials")]
#[test]
fn a_hash_stands_for_its_credential() {
    // Of `hunter2` and of `user:hunter2`.
    let token = "f52fbd32b2b3b86ff88ef6c490628285f482af15ddcb29541f94bcf526a3f6c7";
    let tokens = TempFile::new(&format!("sha256:{token}\n"));
    let (proxy, target) = bridge(&["--bearer-file", tokens.path()]);
    opens(&proxy, &target, "/?token=hunter2", &[]);
    refused(&proxy, &format!("/?token={token}"), &[], 401);
    let route = ["--local", "127.0.0.1:0", "--remote", "ws://127.0.0.1:9/"];
    let (status, said) = Proxy::fail(&[&route[..], &["--bearer-file", tokens.path()]].concat());
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("the credential itself"), "{said}");
}

// Addresses.

#[test]
fn an_address_that_is_not_listed_is_answered_403() {
    let (proxy, target) = bridge(&["--client", "127.0.0.2", "--client", "127.0.1.0/24"]);
    let files = proxy.open_files();
    for (from, is_listed) in [
        (SECOND, true),
        (Ipv4Addr::new(127, 0, 1, 200), true),
        (Ipv4Addr::LOCALHOST, false),
        (THIRD, false),
    ] {
        let mut peer = Stream::tcp_from(from, proxy.port());
        // Nobody's word is taken for it.
        peer.send(request("/", &["X-Forwarded-For: 127.0.0.2"]).as_bytes());
        match is_listed {
            true => drop((Ws::opened(peer), target.accept())),
            false => Response::read(&mut peer).expect_refusal(403),
        }
    }
    is_undisturbed(&proxy, &target, files);
}

#[test]
fn without_a_request_to_answer_a_strangers_connection_is_closed_at_once() {
    let target = Target::listen();
    let client = ["-d", "--client", "127.0.0.2"];
    let plain = ["--local", "tcp://127.0.0.1:0", "--remote", &target.endpoint];
    let connect = ["--local", "connect://127.0.0.1:0", "--remote", "connect:", "--allow"];
    let plain = Proxy::start(&[&plain[..], &client].concat());
    let connect = Proxy::start(&[&connect[..], &["127.0.0.1"], &client].concat());
    for proxy in [&plain, &connect] {
        let files = proxy.open_files();
        Stream::tcp(proxy.port()).expect_fin();
        proxy.wait_for_log(0, "a line", |l| l.contains("DEBUG") && l.contains("--client"));
        is_undisturbed(proxy, &target, files);
    }
    let mut peer = Stream::tcp_from(SECOND, plain.port());
    carries(&mut peer, &mut target.accept());
    let mut tool = Stream::tcp_from(SECOND, connect.port());
    tool.send(head(&target.endpoint, &[]).as_bytes());
    common::relay::expect_established(&mut tool);
}

#[test]
fn only_a_trusted_proxy_says_whose_connection_it_passes_on() {
    let options = ["--client", "192.0.2.0/24", "--trust-proxy", "127.0.0.2"];
    let (proxy, target) = bridge(&[&["-d"], &options[..]].concat());
    let files = proxy.open_files();
    for (from, fields, is_welcome) in [
        (SECOND, &["X-Forwarded-For: 192.0.2.7"][..], true),
        (SECOND, &["X-Forwarded-For: 6.6.6.6, 192.0.2.7"], true),
        (SECOND, &["X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 192.0.2.7, 127.0.0.2"], true),
        (SECOND, &["Forwarded: for=192.0.2.7;proto=https"], true),
        (SECOND, &["Forwarded: for=192.0.2.7", "X-Forwarded-For: 192.0.2.7"], true),
        (SECOND, &["X-Forwarded-For: 192.0.2.7, 6.6.6.6"], false),
        (SECOND, &["Forwarded: for=192.0.2.7", "X-Forwarded-For: 6.6.6.6"], false),
        (SECOND, &["Forwarded: for=6.6.6.6", "X-Forwarded-For: 192.0.2.7"], false),
        (SECOND, &["X-Forwarded-For: 6.6.6.6"], false),
        (SECOND, &[], false),
        (THIRD, &["X-Forwarded-For: 192.0.2.7"], false),
        (THIRD, &["Forwarded: for=192.0.2.7"], false),
    ] {
        let mut peer = Stream::tcp_from(from, proxy.port());
        peer.send(request("/", fields).as_bytes());
        match is_welcome {
            true => drop((Ws::opened(peer), target.accept())),
            false => Response::read(&mut peer).expect_refusal(403),
        }
    }
    is_undisturbed(&proxy, &target, files);
    let closed = |client: &str, code: &str| {
        let record = |l: &&String| l.contains(" closed code=") && l.contains(code);
        let lines = proxy.log();
        lines.iter().filter(record).filter(|l| l.ends_with(&format!(" client={client}"))).count()
    };
    assert_eq!((closed("192.0.2.7", "code=403"), closed("6.6.6.6", "code=403")), (0, 2));
    assert_eq!(closed("127.0.0.2", "code=403"), 1);
    let opened = format!(" open target=tcp://{} client=192.0.2.7", target.endpoint);
    let open = |l: &&String| l.ends_with(&opened);
    assert_eq!(proxy.log().iter().filter(open).count(), 5);
    assert_eq!(closed("192.0.2.7", ""), 5);
}

#[test]
fn the_log_names_nobody_where_nobody_stands_between() {
    let (proxy, target) = bridge(&["-d", "--trust-proxy", "127.0.0.2", "--max-per-client", "5"]);
    opens(&proxy, &target, "/?secret=1", &["X-Forwarded-For: 192.0.2.7"]);
    proxy.wait_for_closed(1);
    let log = proxy.log().join("\n");
    assert!(!log.contains("client=") && !log.contains("secret"), "{log}");
}

// How many.

#[test]
fn a_client_has_its_number_and_gets_it_back() {
    let (proxy, target) = bridge(&["--max-per-client", "2"]);
    let files = proxy.open_files();
    for round in 0..3 {
        let (mut first, stream) = opens(&proxy, &target, "/", &[]);
        let second = opens(&proxy, &target, "/", &[]);
        for _ in 0..10 {
            let said = refused(&proxy, "/", &[], 503);
            assert!(said.header("Retry-After").is_some(), "{said:?}");
            assert!(said.body.contains("your address"), "{}", said.body);
        }
        // Another address is another client.
        served(Stream::tcp_from(SECOND, proxy.port()), &target, "/", &[]);
        // A place is free again whichever way somebody leaves.
        match round {
            0 => {
                first.send(common::CLOSE, &common::ws::reason(1000, b""));
                drop(stream);
                first.receive_until_close();
                drop(first);
            }
            1 => {
                first.into_stream().reset();
                drop(stream);
            }
            _ => {
                stream.reset();
                drop(first);
            }
        }
        drop(second);
        proxy.wait_until_idle(files);
    }
    assert!(!target.has_caller_within(Duration::ZERO), "dialled in vain");
}

#[test]
fn whoever_is_refused_or_falls_silent_gives_its_place_back() {
    let users = TempFile::new("a:hunter");
    let options = ["--max-per-client", "1", "--basic-file", users.path()];
    let (proxy, target) = bridge(&options);
    let files = proxy.open_files();
    let field = format!("Authorization: {}", basic("a:hunter"));
    for _ in 0..3 {
        refused(&proxy, "/", &[], 401);
        proxy.wait_until_idle(files);
        Response::to(proxy.port(), b"GET / HTTP/1.1\r\n\r\n").expect_refusal(426);
        Response::to(proxy.port(), b"nonsense\r\n\r\n").expect_refusal(400);
        proxy.wait_until_idle(files);
        let silent = Stream::tcp(proxy.port());
        refused(&proxy, "/", &[&field], 503);
        silent.reset();
        Stream::tcp(proxy.port()).finish();
        proxy.wait_until_idle(files);
    }
    opens(&proxy, &target, "/", &[&field]);
}

#[test]
fn a_client_without_end_is_not_heard_and_others_are() {
    let (proxy, target) = bridge(&["--max-per-client", "2", "--max-connections", "5"]);
    let files = proxy.open_files();
    let flood: Vec<_> = (0..200).map(|_| Stream::tcp(proxy.port())).collect();
    let other = Stream::tcp_from(SECOND, proxy.port());
    let (mut peer, mut stream) = served(other, &target, "/", &[]);
    peer.send(common::BINARY, b"heard");
    assert_eq!(stream.receive(5), b"heard");
    drop((flood, peer, stream));
    proxy.wait_until_idle(files);
}

#[test]
fn who_stands_behind_a_trusted_proxy_is_counted_in_its_place() {
    let (proxy, target) = bridge(&["--max-per-client", "1", "--trust-proxy", "127.0.0.1"]);
    let files = proxy.open_files();
    let as_client = |ip: &str| format!("X-Forwarded-For: {ip}");
    let first = opens(&proxy, &target, "/", &[&as_client("192.0.2.7")]);
    let second = opens(&proxy, &target, "/", &[&as_client("2001:db8::1:1")]);
    for _ in 0..20 {
        refused(&proxy, "/", &[&as_client("192.0.2.7")], 503);
        // Whoever has one address of such a network has them all.
        refused(&proxy, "/", &[&as_client("2001:db8::ffff:2")], 503);
    }
    opens(&proxy, &target, "/", &[&as_client("2001:db8:0:1::1")]);
    drop((first, second));
    proxy.wait_until_idle(files);
    opens(&proxy, &target, "/", &[&as_client("192.0.2.7")]);
}

#[test]
fn plain_and_connect_listeners_count_too() {
    let target = Target::listen();
    let plain = ["--local", "tcp://127.0.0.1:0", "--remote", &target.endpoint];
    let plain = Proxy::start(&[&plain[..], &["--max-per-client", "1"]].concat());
    let (mut peer, mut stream) = (Stream::tcp(plain.port()), target.accept());
    Stream::tcp(plain.port()).expect_fin();
    carries(&mut peer, &mut stream);
    let connect = near("connect:", &["--allow", "127.0.0.1", "--max-per-client", "1"]);
    let (_tool, _stream) = common::relay::tunnel(&connect, &target);
    let head = head(&target.endpoint, &[]);
    Response::to(connect.port(), head.as_bytes()).expect_refusal(503);
    assert!(!target.has_caller_within(Duration::ZERO), "dialled in vain");
}

// The warning.

#[test]
fn an_open_route_beyond_loopback_is_warned_of_once() {
    let users = TempFile::new("a:hunter");
    let warned = |options: &[&str]| {
        let proxy = Proxy::start(&[&["--remote", "127.0.0.1:9"], options].concat());
        let log = proxy.log();
        let lines = log.iter().filter(|l| l.contains("WARN") && l.contains("lets in everybody"));
        lines.cloned().collect::<Vec<_>>()
    };
    let lines = warned(&["--local", "0.0.0.0:0"]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("ws://0.0.0.0:") && lines[0].contains("add --origin, "), "{lines:?}");
    assert_eq!(warned(&["--local", "[::]:0"]).len(), 1);
    let lines = warned(&["--local", "tcp://0.0.0.0:0"]);
    assert!(lines[0].contains("add --client, or "), "{lines:?}");
    for options in [
        &["--local", "127.0.0.1:0"][..],
        &["--local", "127.0.0.2:0"],
        &["--local", "0.0.0.0:0", "--origin", "https://a"],
        &["--local", "0.0.0.0:0", "--basic-file", users.path()],
        &["--local", "0.0.0.0:0", "--client", "10.0.0.0/8"],
    ] {
        assert_eq!(warned(options), Vec::<String>::new(), "{options:?}");
    }
}

// The parts.

/// A client that shows this is served; both ends.
#[track_caller]
fn opens(proxy: &Proxy, target: &Target, path: &str, fields: &[&str]) -> (Ws, Stream) {
    served(Stream::tcp(proxy.port()), target, path, fields)
}

/// The same from an address of its own.
#[track_caller]
fn served(peer: Stream, target: &Target, path: &str, fields: &[&str]) -> (Ws, Stream) {
    (Ws::open(peer, path, fields), target.accept())
}

/// A client that shows this is answered with that status.
#[track_caller]
fn refused(proxy: &Proxy, path: &str, fields: &[&str], status: u16) -> Response {
    let response = Response::to(proxy.port(), request(path, fields).as_bytes());
    response.expect_refusal(status);
    response
}

/// Whoever was refused is forgotten, and the target has not heard of it.
#[track_caller]
fn is_undisturbed(proxy: &Proxy, target: &Target, files: usize) {
    assert!(!target.has_caller_within(Duration::ZERO), "dialled in vain");
    proxy.wait_until_idle(files);
}
