//! Pages (`--web`): what a browser gets over the port of the WebSockets, byte for byte, and that
//! nothing outside of the directory is ever among it.

mod common;

use std::fs::{self, File};
use std::io::{Seek, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::time::Duration;

use common::ws::request;
use common::{
    assert_same, bridge, pattern, sys, Proxy, Response, Stream, Target, TempDir, TempFile, Wait, Ws,
};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// What stands in the files, and in the one outside.
const INDEX: &str = "<!doctype html><title>index</title>\n";
const OUTSIDE: &str = "nobody may read this";

/// A directory of pages in a directory where something else lies as well.
struct Site(TempDir);

impl Site {
    fn new() -> Self {
        let place = TempDir::new();
        fs::create_dir_all(place.path().join("site/sub dir/.well-known")).unwrap();
        fs::create_dir_all(place.path().join("site/.well-known")).unwrap();
        fs::create_dir(place.path().join("site/empty")).unwrap();
        for (name, text) in [
            ("outside", OUTSIDE),
            ("site/index.html", INDEX),
            ("site/app.js", "export {}\n"),
            ("site/data", "0123456789"),
            ("site/nothing.txt", ""),
            ("site/sub dir/index.html", "sub\n"),
            ("site/.htpasswd", OUTSIDE),
            ("site/.well-known/security.txt", "Contact: a@b\n"),
            ("site/sub dir/.well-known/x", OUTSIDE),
        ] {
            place.write(name, text);
        }
        Self(place)
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join("site").join(name)
    }

    fn root(&self) -> String {
        self.path("").display().to_string()
    }

    /// A proxy that serves it, and the target of its WebSockets.
    fn serve(&self, arguments: &[&str]) -> (Proxy, Target) {
        bridge(&[&["--web", &self.root(), "-d"], arguments].concat())
    }
}

/// Sends these lines and reads the answer to its end.
#[track_caller]
fn ask(proxy: &Proxy, head: &str) -> (Response, Vec<u8>) {
    let mut stream = Stream::tcp(proxy.port());
    stream.send(head.as_bytes());
    answer(&mut stream)
}

#[track_caller]
fn answer(stream: &mut Stream) -> (Response, Vec<u8>) {
    let bytes = stream.receive_until_fin();
    let mut rest = &bytes[..];
    let response = Response::read_head(&mut rest);
    assert!(response.has_token("Connection", "close"), "{response:?}");
    (response, rest.to_vec())
}

#[track_caller]
fn get(proxy: &Proxy, target: &str, fields: &str) -> (Response, Vec<u8>) {
    ask(proxy, &format!("GET {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n"))
}

/// The same for a target that is refused.
#[track_caller]
fn refused(proxy: &Proxy, target: &str, status: u16) {
    let (response, body) = get(proxy, target, "");
    assert_eq!(response.status, status, "{target}");
    let body = String::from_utf8(body).expect("a text");
    assert!(!body.contains(OUTSIDE), "{target}: {body}");
    assert!(body.ends_with('\n') && body.len() > 10, "{target}: {body}");
}

#[test]
fn files_are_answered_whole_and_say_what_they_are() {
    let site = Site::new();
    let (proxy, target) = site.serve(&[]);
    for (path, kind, text) in [
        ("/", "text/html; charset=utf-8", INDEX),
        ("/?a=/../b", "text/html; charset=utf-8", INDEX),
        ("/index.html", "text/html; charset=utf-8", INDEX),
        ("/app.js?v=3", "text/javascript; charset=utf-8", "export {}\n"),
        ("/data", "application/octet-stream", "0123456789"),
        ("http://a/data?b", "application/octet-stream", "0123456789"),
        ("/nothing.txt", "text/plain; charset=utf-8", ""),
        ("/sub%20dir/", "text/html; charset=utf-8", "sub\n"),
        ("/%73ub%20dir/index%2ehtml", "text/html; charset=utf-8", "sub\n"),
        ("/.well-known/security.txt", "text/plain; charset=utf-8", "Contact: a@b\n"),
    ] {
        let (response, body) = get(&proxy, path, "");
        assert_eq!((response.status, &body[..]), (200, text.as_bytes()), "{path}");
        for (name, value) in [
            ("Content-Type", kind),
            ("Content-Length", &text.len().to_string()),
            ("Accept-Ranges", "bytes"),
            ("Cache-Control", "no-cache"),
            ("X-Content-Type-Options", "nosniff"),
        ] {
            assert_eq!(response.header(name), Some(value), "{path}");
        }
        // The same without the body, and from an older client.
        let (head, body) = ask(&proxy, &format!("HEAD {path} HTTP/1.0\r\n\r\n"));
        assert_eq!((head.status, body.len()), (200, 0), "{path}");
        assert_eq!(head.header("Content-Length"), response.header("Content-Length"));
        assert_eq!(head.header("ETag"), response.header("ETag"));
    }
    assert!(!target.has_caller_within(Duration::ZERO), "a page needs no target");
}

#[test]
fn a_directory_is_redirected_to_its_slash_and_never_listed() {
    let site = Site::new();
    let (proxy, _target) = site.serve(&[]);
    for (path, location) in [
        ("/sub%20dir", "/sub%20dir/"),
        ("/sub%20dir?a=b", "/sub%20dir/?a=b"),
        ("/empty", "/empty/"),
        ("/.well-known", "/.well-known/"),
    ] {
        let (response, body) = get(&proxy, path, "");
        assert_eq!(response.status, 301, "{path}");
        assert_eq!(response.header("Location"), Some(location));
        assert_eq!(response.header("Content-Length"), Some(&body.len().to_string()[..]));
    }
    for path in ["/empty/", "/.well-known/", "/index.html/", "/missing/", "/missing"] {
        refused(&proxy, path, 404);
    }
}

#[test]
fn parts_are_exact() {
    let site = Site::new();
    let bytes = pattern(1, 300_000);
    fs::write(site.path("big.bin"), &bytes).unwrap();
    let (proxy, _target) = site.serve(&["--buffer-size", "16KiB"]);
    let (_, whole) = get(&proxy, "/big.bin", "");
    assert_same(&whole, &bytes);
    for (range, part) in [
        ("0-0", 0..1),
        ("1-99999", 1..100_000),
        ("299999-", 299_999..300_000),
        ("16000-", 16_000..300_000),
        ("-1", 299_999..300_000),
        ("-300001", 0..300_000),
        ("0-", 0..300_000),
        ("100-999999999999", 100..300_000),
    ] {
        let (response, body) = get(&proxy, "/big.bin", &format!("Range: bytes={range}\r\n"));
        assert_eq!(response.status, 206, "{range}");
        assert_same(&body, &bytes[part.clone()]);
        let said = format!("bytes {}-{}/300000", part.start, part.end - 1);
        assert_eq!(response.header("Content-Range"), Some(&said[..]));
        assert_eq!(response.header("Content-Length"), Some(&body.len().to_string()[..]));
    }
    for range in ["300000-", "-0"] {
        let (response, _) = get(&proxy, "/big.bin", &format!("Range: bytes={range}\r\n"));
        assert_eq!(response.status, 416, "{range}");
        assert_eq!(response.header("Content-Range"), Some("bytes */300000"));
    }
    for range in ["bytes=0-1,3-4", "bytes=5-4", "lines=0-1", "nonsense"] {
        let (response, body) = get(&proxy, "/big.bin", &format!("Range: {range}\r\n"));
        assert_eq!((response.status, body.len()), (200, 300_000), "{range}");
    }
}

#[test]
fn what_a_browser_has_is_not_sent_again_until_it_changes() {
    let site = Site::new();
    let (proxy, _target) = site.serve(&[]);
    let (first, _) = get(&proxy, "/data", "");
    let tag = first.header("ETag").expect("a tag").to_owned();
    let known = format!("If-None-Match: \"other\", W/{tag}\r\n");
    let (again, body) = get(&proxy, "/data", &known);
    assert_eq!((again.status, body.len()), (304, 0));
    assert_eq!(again.header("ETag"), Some(&tag[..]));
    let part = format!("Range: bytes=2-3\r\nIf-Range: {tag}\r\n");
    assert_eq!(get(&proxy, "/data", &part).1, b"23");
    fs::write(site.path("data"), "abcdefghijk").unwrap();
    let (changed, body) = get(&proxy, "/data", &known);
    assert_eq!((changed.status, &body[..]), (200, &b"abcdefghijk"[..]));
    assert_ne!(changed.header("ETag"), Some(&tag[..]));
    assert_eq!(get(&proxy, "/data", &part).0.status, 200, "a part of another state");
}

#[test]
fn nothing_outside_is_reached_by_any_path() {
    let site = Site::new();
    let (proxy, _target) = site.serve(&[]);
    for target in [
        "/../outside",
        "/../../../../../../etc/passwd",
        "/%2e%2e/outside",
        "/%2E%2E/%2e%2e/etc/passwd",
        "/..%2foutside",
        "/%2e%2e%2foutside",
        "/%2e%2e%5coutside",
        "/..\\outside",
        "/sub%20dir/../../outside",
        "/sub%20dir/..",
        "/./index.html",
        "//etc/passwd",
        "//",
        "///etc/passwd",
        "/sub%20dir//index.html",
        "/%2fetc%2fpasswd",
        "/index.html%00.txt",
        "/%00",
        "/%",
        "/%c0%ae%c0%ae/outside",
        "*",
        "ftp://a/index.html",
        "http://a/../outside",
        "/#",
    ] {
        refused(&proxy, target, 400);
    }
    for target in ["/.htpasswd", "/%2ehtpasswd", "/sub%20dir/.well-known/x", "/.../outside"] {
        refused(&proxy, target, 404);
    }
    // Decoded once: this is a name that nothing has.
    refused(&proxy, "/%252e%252e/outside", 404);
    refused(&proxy, &format!("/{}", "a".repeat(4000)), 404);
    refused(&proxy, &format!("/{}", "a/".repeat(2000)), 404);
}

#[test]
fn links_lead_nowhere_but_inside_and_only_files_are_opened() {
    let site = Site::new();
    for (target, link) in [
        ("data", "link"),
        ("sub dir", "links"),
        ("../outside", "out"),
        ("..", "up"),
        ("/", "root"),
        ("/proc/self/root", "magic"),
        ("nowhere", "dangling"),
        ("loop", "loop"),
        ("loop2", "loop1"),
        ("loop1", "loop2"),
    ] {
        symlink(target, site.path(link)).unwrap();
    }
    symlink(site.0.path().join("outside"), site.path("absolute")).unwrap();
    sys::make_pipe(&site.path("pipe")).unwrap();
    let _socket = UnixListener::bind(site.path("socket")).unwrap();
    let (proxy, _target) = site.serve(&[]);
    for target in [
        "/out",
        "/absolute",
        "/up",
        "/up/",
        "/up/outside",
        "/root/etc/passwd",
        "/root",
        "/magic",
        "/magic/etc/passwd",
        "/dangling",
        "/loop",
        "/loop1",
        "/pipe",
        "/socket",
        "/pipe/x",
    ] {
        refused(&proxy, target, 404);
    }
    // On kernels without openat2(2) no link is followed.
    let (response, body) = get(&proxy, "/link", "");
    if response.status == 200 {
        assert_eq!(body, b"0123456789");
        assert_eq!(get(&proxy, "/links/", "").1, b"sub\n");
        assert_eq!(get(&proxy, "/links/index.html", "").1, b"sub\n");
    } else {
        eprintln!("openat2(2) is missing: links are not followed");
        assert_eq!(response.status, 404);
    }
}

#[test]
fn other_methods_bad_heads_and_slow_ones_have_their_status() {
    let site = Site::new();
    let (proxy, _target) = site.serve(&["--handshake-timeout", "500ms"]);
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "get"] {
        let head = format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n");
        let (response, _) = ask(&proxy, &format!("{head}some body"));
        assert_eq!(response.status, 405, "{method}");
        assert_eq!(response.header("Allow"), Some("GET, HEAD"));
    }
    let long = format!("X: {}\r\n", "x".repeat(9000));
    for (head, status) in [
        ("\x16\x03\x01\x02\0\x01\0\x01\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{long}\r\n"), 431),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(64)), 431),
        ("GET / HTTP/1.1\r\nHost: a\r\n".to_owned(), 408),
    ] {
        Response::to(proxy.port(), head.as_bytes()).expect_refusal(status);
    }
}

#[test]
fn a_websocket_on_the_same_port_is_one_as_before() {
    let site = Site::new();
    let (proxy, target) = site.serve(&[]);
    let mut peer = Ws::connect(&proxy);
    let mut stream = target.accept();
    assert_eq!(get(&proxy, "/data", "").1, b"0123456789");
    peer.send(0x82, b"there");
    assert_eq!(stream.receive(5), b"there");
    for (head, status) in [
        (request("/", &[]).replace("Version: 13", "Version: 8"), 426),
        (request("/", &[]).replace("Connection: Upgrade", "Connection: close"), 426),
        (request("/", &[]).replace("Sec-WebSocket-Key", "X"), 400),
    ] {
        Response::to(proxy.port(), head.as_bytes()).expect_refusal(status);
    }
    let (plain, _target) = bridge(&[]);
    refused(&plain, "/data", 426);
}

#[test]
fn who_may_connect_may_have_pages_and_an_origin_is_not_asked_for() {
    let site = Site::new();
    let users = TempFile::new("user:sesame\n");
    let (proxy, _target) =
        site.serve(&["--basic-file", users.path(), "--origin", "https://app.example"]);
    let (response, _) = get(&proxy, "/data", "");
    assert_eq!(response.status, 401);
    assert!(response.header("WWW-Authenticate").is_some_and(|way| way.starts_with("Basic ")));
    assert_eq!(get(&proxy, "/missing", "").0.status, 401, "tells nothing of what is there");
    let shown = "Authorization: Basic dXNlcjpzZXNhbWU=\r\nOrigin: https://other.example\r\n";
    assert_eq!(get(&proxy, "/data", shown).1, b"0123456789");
    let (head, body) = ask(&proxy, "HEAD /data HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((head.status, body.len()), (401, 0));
    let (proxy, _target) = site.serve(&["--client", "10.0.0.0/8"]);
    refused(&proxy, "/data", 403);
    let (proxy, target) = site.serve(&["--max-connections", "1"]);
    let peer = Ws::connect(&proxy);
    let _stream = target.accept();
    refused(&proxy, "/data", 503);
    drop(peer);
}

#[test]
fn a_slow_reader_gets_every_byte_and_costs_one_buffer() {
    let site = Site::new();
    let bytes = pattern(2, 20 * MIB);
    fs::write(site.path("big.bin"), &bytes).unwrap();
    let (proxy, _target) = site.serve(&[]);
    assert_same(&get(&proxy, "/big.bin", "").1, &bytes);
    let before = proxy.peak_memory();
    let mut readers: Vec<_> = (0..8).map(|_| Stream::tcp_narrow(proxy.port())).collect();
    for reader in &mut readers {
        reader.send(b"GET /big.bin HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    for reader in &mut readers {
        let mut head = reader.share();
        assert_eq!(Response::read_head(&mut head).status, 200);
        assert_same(&reader.receive(5 * MIB), &bytes[..5 * MIB]);
    }
    let grown = proxy.peak_memory() - before;
    assert!(grown < 8 * 256 * KIB + MIB, "{} KiB more", grown / KIB);
    for reader in &mut readers {
        assert_same(&reader.receive_until_fin(), &bytes[5 * MIB..]);
    }
}

#[test]
fn a_file_that_changes_under_way_ends_short_or_at_its_length() {
    let site = Site::new();
    let bytes = pattern(3, 20 * MIB);
    for (grows, name) in [(false, "shrinks"), (true, "grows")] {
        fs::write(site.path(name), &bytes).unwrap();
        let (proxy, _target) = site.serve(&[]);
        let mut reader = Stream::tcp_narrow(proxy.port());
        reader.send(format!("GET /{name} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        let response = Response::read_head(&mut reader);
        let length = bytes.len().to_string();
        assert_eq!(response.header("Content-Length"), Some(&length[..]));
        let mut file = File::options().write(true).open(site.path(name)).unwrap();
        match grows {
            true => {
                file.seek(std::io::SeekFrom::End(0)).unwrap();
                file.write_all(&[b'x'; MIB]).unwrap();
            }
            false => file.set_len(10 * MIB as u64).unwrap(),
        }
        let got = reader.receive_until_fin();
        assert_same(&got, &bytes[..if grows { 20 * MIB } else { 10 * MIB }]);
        drop(reader);
        proxy.wait_for_log(0, "the end of the page", |line| {
            let sent = format!(" in=0 out={} ", got.len());
            line.contains(" closed code=200 by=proxy why=served ") && line.contains(&sent)
        });
    }
}

#[test]
fn a_page_that_is_under_way_is_finished_before_a_stop() {
    let site = Site::new();
    let bytes = pattern(4, 20 * MIB);
    fs::write(site.path("big.bin"), &bytes).unwrap();
    let (mut proxy, _target) = site.serve(&[]);
    let mut reader = Stream::tcp_narrow(proxy.port());
    reader.send(b"GET /big.bin HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(Response::read_head(&mut reader).status, 200);
    proxy.signal(libc::SIGTERM);
    proxy.wait_for_log(0, "the stop", |line| line.contains("stopping: 1 connections"));
    assert_same(&reader.receive_until_fin(), &bytes);
    drop(reader);
    assert_eq!(proxy.wait_for_exit().code(), Some(0));
}

#[test]
fn a_page_that_is_not_read_is_recorded_as_dropped_by_a_stop() {
    let site = Site::new();
    fs::write(site.path("big.bin"), vec![0; 20 * MIB]).unwrap();
    let (mut proxy, _target) = site.serve(&["--drain-timeout", "100ms"]);
    let mut reader = Stream::tcp_narrow(proxy.port());
    reader.send(b"GET /big.bin HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(Response::read_head(&mut reader).status, 200);
    proxy.signal(libc::SIGTERM);
    assert_eq!(proxy.wait_for_exit().code(), Some(0));
    let end = proxy.wait_for_log(0, "its end", |line| line.contains(" closed "));
    assert!(end.contains(" closed code=1006 by=proxy why=shutdown in=0 "), "{end}");
}

#[test]
fn whoever_sends_more_than_a_request_gets_the_answer_and_no_reset() {
    let site = Site::new();
    let (proxy, _target) = site.serve(&["--close-timeout", "1s"]);
    let more = "GET /app.js HTTP/1.1\r\nHost: a\r\n\r\n".repeat(2000);
    let (response, body) = get(&proxy, "/data", &format!("\r\n{more}"));
    assert_eq!((response.status, &body[..]), (200, &b"0123456789"[..]));
    // One that has ended its own stream gets it as well.
    let mut stream = Stream::tcp(proxy.port());
    stream.send(b"GET /data HTTP/1.1\r\nHost: a\r\n\r\n");
    stream.finish();
    assert_eq!(answer(&mut stream).1, b"0123456789");
}

#[test]
fn those_who_go_or_never_read_leave_nothing_behind() {
    let site = Site::new();
    fs::write(site.path("big.bin"), pattern(5, 20 * MIB)).unwrap();
    let (proxy, _target) = site.serve(&["--send-timeout", "1s"]);
    let idle = proxy.open_files();
    for reset in [true, false] {
        let mut reader = Stream::tcp_narrow(proxy.port());
        reader.send(b"GET /big.bin HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(Response::read_head(&mut reader).status, 200);
        if reset {
            reader.reset();
            proxy.wait_until_idle(idle);
        } else {
            proxy.wait_until_idle(idle); // --send-timeout
        }
    }
}

#[test]
fn without_a_descriptor_to_open_it_a_page_is_503() {
    let site = Site::new();
    let target = Target::listen();
    let mut command = Proxy::command(&["--local", "127.0.0.1:0", "--remote", &target.endpoint]);
    command.args(["-d", "--web", &site.root()]);
    // SAFETY: setrlimit(2) is async-signal-safe, and nothing else happens before exec.
    unsafe { command.pre_exec(|| sys::limit_files(40)) };
    let proxy = Proxy::spawn(command).unwrap();
    // The last one is not accepted until another has gone, and then takes the last descriptor.
    let mut streams = Vec::new();
    let is_full = |n| {
        proxy.stderr.wait_for("to be accepted", |lines| {
            let accepted = lines.iter().filter(|line| line.contains(" accepted peer=")).count();
            let full = lines.iter().any(|line| line.contains("cannot accept"));
            (full || accepted == n).then_some(full)
        })
    };
    while !is_full(streams.len()) {
        streams.push(Stream::tcp(proxy.port()));
    }
    let mut last = streams.pop().expect("more than one");
    last.send(b"GET /data HTTP/1.1\r\nHost: a\r\n\r\n");
    streams.pop();
    Response::read(&mut last).expect_refusal(503);
    drop((streams, last));
    let wait = Wait::begin();
    while get(&proxy, "/data", "").0.status != 200 {
        wait.go_on("a descriptor to be free");
    }
}

#[test]
fn a_directory_that_is_none_is_said_at_the_start() {
    let site = Site::new();
    for path in [site.path("missing"), site.path("data")] {
        let path = path.display().to_string();
        let (code, said) =
            Proxy::fail(&["--local", "127.0.0.1:0", "--remote", "127.0.0.1:1", "--web", &path]);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(&format!("--web {path}: ")), "{said}");
    }
    let (code, said) =
        Proxy::fail(&["--local", "tcp://127.0.0.1:0", "--remote", "a:1", "--web", "/"]);
    assert_eq!(code, Some(2), "{said}");
}
