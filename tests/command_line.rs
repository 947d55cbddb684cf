//! The command line as a person meets it: what goes to which stream, and with which exit status.
//!
//! Nothing here listens: every line is wrong, or asks for a text.

use std::ffi::OsStr;
use std::process::{Command, Output, Stdio};

fn run<W: AsRef<OsStr>>(words: &[W]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ws-tcp-proxy"))
        .args(words)
        .stdin(Stdio::null())
        .output()
        .expect("the binary starts")
}

/// Exit status 0, nothing on stderr; what is on stdout.
#[track_caller]
fn answer(words: &[&str]) -> String {
    let Output { status, stdout, stderr } = run(words);
    assert_eq!(status.code(), Some(0), "{words:?}: {}", String::from_utf8_lossy(&stderr));
    assert_eq!(String::from_utf8_lossy(&stderr), "", "{words:?}");
    String::from_utf8(stdout).expect("text")
}

/// Exit status 2, nothing on stdout; the one line on stderr.
#[track_caller]
fn complaint<W: AsRef<OsStr> + std::fmt::Debug>(words: &[W]) -> String {
    let Output { status, stdout, stderr } = run(words);
    let text = String::from_utf8(stderr).expect("text");
    assert_eq!(status.code(), Some(2), "{words:?}: {text}");
    assert_eq!(String::from_utf8_lossy(&stdout), "", "{words:?}");
    assert_eq!(text.lines().count(), 1, "{words:?}: {text}");
    text
}

#[test]
fn a_wrong_command_line_exits_2_and_names_the_argument() {
    for (line, named) in [
        ("", "--remote"),
        ("--local 127.0.0.1:0", "--local 127.0.0.1:0"),
        ("--remote 127.0.0.1:99999", "--remote 127.0.0.1:99999"),
        ("--remote 127.0.0.1", "--remote 127.0.0.1"),
        ("--remote 127.0.0.1:0", "--remote 127.0.0.1:0"),
        ("--remote :5000", "--remote :5000"),
        ("--remote ::1:5000", "--remote ::1:5000"),
        ("--remote wss://127.0.0.1:5000/", "--remote wss://127.0.0.1:5000/"),
        ("--remote a:1 --header a:b", "--header a"),
        ("--remote ws://a:1 --header Host:b", "--header Host:b"),
        ("--remote json:", "--remote json:"),
        ("--remote json: --deny any", "--remote json:"),
        ("--remote json: --allow unix:/run/../x", "--allow unix:/run/../x"),
        ("--remote json:80 --allow any", "--remote json:80"),
        ("--local tcp://127.0.0.1:0 --remote json: --allow any", "--remote json:"),
        ("--remote unix:", "--remote unix:"),
        ("--remote", "--remote"),
        ("--local *:8080 --remote a:1", "--local *:8080"),
        ("--local connect://a --remote a:1", "--local connect://a"),
        ("--local connect: --remote a:1", "--local connect:"),
        ("--remote connect://a:1", "--remote connect://a:1"),
        ("--remote connect:80 --allow any", "--remote connect:80"),
        ("--remote connect:", "--remote connect:"),
        ("--remote connect: --deny 10.0.0.0/8", "--remote connect:"),
        ("--remote connect: --allow 10.0.0.0/64", "--allow 10.0.0.0/64"),
        ("--remote connect: --allow http://a", "--allow http://a"),
        ("--remote a:1 --allow any", "--allow any"),
        ("--remote a:1 --deny any", "--deny any"),
        ("--remote a:1 --connect full", "--connect full"),
        ("-l connect://a:1 -r ws://b --connect late", "--connect late"),
        ("-l connect://a:1 -r connect: --allow any --connect full", "--connect full"),
        ("--remote a:1 --half-close=never", "--half-close=never"),
        ("--remote a:1 --half-close 5s", "--half-close"),
        ("-l tcp://b:1 --remote a:1 --basic-file x", "--basic-file x"),
        ("-l connect://b:1 -r connect: --allow any --bearer-file x", "--bearer-file x"),
        ("--remote a:1 --listen-basic-file x --basic-file y", "--basic-file y"),
        ("-l tcp://b:1 -r a:1 --listen-basic-file x", "--listen-basic-file x"),
        ("-l tcp://b:1 -r a:1 --origin null", "--origin null"),
        ("-l unix:/b -r a:1 --client 10.0.0.1", "--client 10.0.0.1"),
        ("-r a:1 --client 10.0.0.1/8", "--client 10.0.0.1/8"),
        ("-l tcp://b:1 -r a:1 --trust-proxy 10.0.0.1", "--trust-proxy 10.0.0.1"),
        ("-r a:1 --max-per-client many", "--max-per-client many"),
        ("--remote ws://a --bearer-file x --basic-file y", "--basic-file y"),
        ("--remote ws://a --bearer-file x --header Authorization:b", "--header Authorization"),
        ("--remote ws://a --proxy-basic-file x", "--proxy-basic-file x"),
        ("--local wss://a:1 --remote a:1", "--local wss://a:1"),
        ("-l a:1 -r b:1 -r c:1", "-r c:1"),
        ("-l a:1 -l b:1 -r c:1", "-l a:1"),
        ("-p 80 -l a:1 -r b:1", "-p 80"),
        ("8080", "8080"),
        ("8080 127.0.0.1", "127.0.0.1"),
        ("8080 a:1 b:1", "b:1"),
        ("8080 a:1 --remote b:1", "--remote b:1"),
        ("-r a:1 --timeout 0", "--timeout 0"),
        ("-r a:1 --idle-timeout -5", "--idle-timeout -5"),
        ("-r a:1 --idle-timeout 400d", "--idle-timeout 400d"),
        ("-r a:1 --buffer-size 1", "--buffer-size 1"),
        ("-r a:1 --max-memory 64KiB", "--max-memory"),
        ("-r a:1 --max-connections many", "--max-connections many"),
        ("-r a:1 --encoding utf8", "--encoding utf8"),
        ("-r a:1 --subprotocol a/b", "--subprotocol a/b"),
        ("-r a:1 --log-level loud", "--log-level loud"),
        ("-r a:1 --check=yes", "--check=yes"),
        ("-r a:1 --origin example.com", "--origin example.com"),
        ("-r a:1 --rate-up 1000", "--rate-up"),
        ("-r a:1 -x", "-x"),
        ("--help nothing", "--help nothing"),
    ] {
        let words: Vec<_> = line.split_whitespace().collect();
        let text = complaint(&words);
        assert!(text.starts_with(&format!("ws-tcp-proxy: {named}: ")), "{line}: {text}");
        assert!(text.contains("; "), "no advice for {line}: {text}");
    }
}

#[cfg(unix)]
#[test]
fn an_argument_that_is_not_utf8_is_a_wrong_one() {
    use std::os::unix::ffi::OsStrExt;
    let text = complaint(&[OsStr::new("--remote"), OsStr::from_bytes(b"host\xff:1")]);
    assert!(text.contains("host\u{fffd}:1"), "{text}");
}

#[test]
fn help_fits_a_screen_for_every_topic() {
    let overview = answer(&["--help"]);
    assert_eq!(answer(&["-h"]), overview);
    for topic in ["overview", "endpoints", "messages", "relay", "limits", "timers", "process"] {
        let text = answer(&["--help", topic]);
        assert!(text.lines().count() <= 45, "{topic}: {} lines", text.lines().count());
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{topic}");
        assert!(topic == "overview" || overview.contains(topic), "{topic}");
    }
}

#[test]
fn version_is_one_line_with_the_name() {
    let line = format!("ws-tcp-proxy {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(answer(&["--version"]), line);
    assert_eq!(answer(&["-V"]), line);
}

#[test]
fn check_prints_who_may_go_where_and_opens_no_file() {
    let near = "--local connect://192.0.2.1:3128 --remote ws://far.example/t --connect eager \
                --bearer-file /nowhere/token --proxy-basic-file /nowhere/users";
    let far = "--local 192.0.2.1:80 --remote connect: --allow *.example.com:443 \
               --allow 10.0.0.0/8:1-1024 --deny 10.0.0.1 --half-close=10s --check";
    let words: Vec<_> = near.split_whitespace().chain(far.split_whitespace()).collect();
    let text = answer(&words);
    for part in [
        "connect://192.0.2.1:3128 -> ws://far.example/t\n",
        "connect eager",
        "/nowhere/token",
        "/nowhere/users",
        "half-close 5s",
        "ws://192.0.2.1:80 -> connect:\n",
        "allow *.example.com:443, 10.0.0.0/8:1-1024; deny 10.0.0.1",
        "half-close 10s",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}

#[test]
fn check_prints_the_routes_and_memory_and_does_not_listen() {
    // Nobody may listen on this address (RFC 5737), and yet it is a good command line.
    let two = ["--local", "192.0.2.1:80", "--remote", "[::1]:5000", "--encoding", "text"];
    let more = ["--local", "ws+unix:/nowhere/a.sock", "--remote", "unix:@b", "--check"];
    let text = answer(&[&two[..], &more[..]].concat());
    for part in [
        "ws://192.0.2.1:80 -> tcp://[::1]:5000\n",
        "encoding text",
        "ws+unix:/nowhere/a.sock -> unix:@b\n",
        "encoding binary",
        "--max-memory",
        "total",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}
