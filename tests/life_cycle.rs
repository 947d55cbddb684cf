//! The process from its first line to its exit: signals and draining, a port that cannot be had,
//! too few descriptors, ends that vanish in the middle of a write (DESIGN 8).

mod common;

use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use common::ws::{header, reason, request, Response};
use common::{
    assert_same, bridge, connect, connect_narrow, frame, narrow_bridge, pattern, sys, Proxy,
    Stream, Target, Wait, Ws, BINARY, CLOSE,
};

const MIB: usize = 1 << 20;
const QUIET: Duration = Duration::from_millis(500);

#[test]
fn sigterm_and_sigint_close_every_peer_with_1001_and_exit_with_0() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let (mut proxy, target) = bridge(&[]);
        let mut pairs: Vec<_> = (0..3).map(|_| connect(&proxy, &target)).collect();
        proxy.signal(signal);
        for (peer, _) in &mut pairs {
            assert_eq!(peer.expect_close(), 1001);
        }
        for (peer, stream) in &mut pairs {
            peer.send(CLOSE, &reason(1001, b""));
            peer.expect_fin();
            stream.expect_fin();
        }
        drop(pairs);
        assert_eq!(proxy.wait_for_exit().code(), Some(0));
    }
}

#[test]
fn without_connections_a_signal_ends_at_once() {
    let (mut proxy, _target) = bridge(&[]);
    proxy.signal(libc::SIGTERM);
    assert_eq!(proxy.wait_for_exit().code(), Some(0));
}

#[test]
fn while_draining_nobody_new_is_served() {
    let (mut proxy, target) = bridge(&["--close-timeout", "60s"]);
    let (mut peer, stream) = connect(&proxy, &target);
    proxy.signal(libc::SIGTERM);
    assert_eq!(peer.expect_close(), 1001);
    let late = TcpStream::connect(("127.0.0.1", proxy.port()));
    peer.send(CLOSE, &reason(1001, b""));
    drop((peer, stream));
    assert_eq!(proxy.wait_for_exit().code(), Some(0));
    if let Ok(late) = late {
        let mut late = Stream::new(late.into());
        let _ = late.try_send(request("/", &[]).as_bytes());
        assert!(!late.receive_all().0.starts_with(b"HTTP/1.1 101"));
    }
}

#[test]
fn what_the_target_sent_before_the_signal_is_delivered_before_1001() {
    let (mut proxy, target) = narrow_bridge(&[]);
    let (mut peer, mut stream) = connect_narrow(&proxy, &target);
    let bytes = pattern(1, 8 * MIB);
    let sent = stream.send_until_stalled(&bytes, QUIET);
    let accepted = sent - stream.unread();
    proxy.signal(libc::SIGTERM);
    let (received, code) = peer.receive_until_close();
    assert_same(&received, &bytes[..received.len()]);
    assert!(received.len() >= accepted, "{} of {accepted}", received.len());
    assert_eq!(code, 1001);
    peer.send(CLOSE, &reason(1001, b""));
    peer.expect_fin();
    stream.expect_end();
    assert_eq!(proxy.wait_for_exit().code(), Some(0));
}

#[test]
fn what_the_peer_sent_before_its_close_is_delivered_after_the_signal() {
    let (mut proxy, target) = narrow_bridge(&[]);
    let (mut peer, mut stream) = connect_narrow(&proxy, &target);
    let bytes = pattern(2, 4 * MIB);
    let mut writer = peer.stream().share();
    let wire = frame(BINARY, &bytes);
    let sent = writer.send_until_stalled(&wire, QUIET);
    proxy.signal(libc::SIGTERM);
    assert_eq!(peer.expect_close(), 1001);
    let sender = std::thread::spawn(move || {
        writer.send(&wire[sent..]);
        writer.send(&frame(CLOSE, &reason(1001, b"")));
    });
    assert_same(&stream.receive_until_fin(), &bytes);
    drop(stream);
    sender.join().unwrap();
    peer.expect_fin();
    assert_eq!(proxy.wait_for_exit().code(), Some(0));
}

#[test]
fn the_drain_timeout_ends_what_does_not_end_itself() {
    let options = ["--close-timeout", "100s", "--drain-timeout", "1s"];
    let (mut proxy, target) = bridge(&options);
    let (mut peer, _stream) = connect(&proxy, &target);
    let begin = Instant::now();
    proxy.signal(libc::SIGTERM);
    assert_eq!(peer.expect_close(), 1001);
    assert_eq!(proxy.wait_for_exit().code(), Some(0));
    assert!(begin.elapsed() < Duration::from_secs(15));
}

#[test]
fn a_second_signal_ends_at_once() {
    let options = ["--close-timeout", "100s", "--drain-timeout", "100s"];
    for second in [libc::SIGTERM, libc::SIGINT] {
        let (mut proxy, target) = bridge(&options);
        let (mut peer, _stream) = connect(&proxy, &target);
        proxy.signal(libc::SIGTERM);
        assert_eq!(peer.expect_close(), 1001);
        proxy.signal(second);
        assert_eq!(proxy.wait_for_exit().code(), Some(1));
    }
}

#[test]
fn a_handshake_in_progress_does_not_hold_up_the_exit() {
    let (mut proxy, _target) = bridge(&["--handshake-timeout", "100s"]);
    let mut stream = Stream::tcp(proxy.port());
    stream.send(b"GET / HTTP/1.1\r\n");
    stream.wait_until_read();
    let begin = Instant::now();
    proxy.signal(libc::SIGTERM);
    assert_eq!(proxy.wait_for_exit().code(), Some(0));
    assert!(begin.elapsed() < Duration::from_secs(20));
}

#[test]
fn sigusr1_logs_one_line_per_connection() {
    let (proxy, target) = bridge(&[]);
    let pairs: Vec<_> = (0..3).map(|_| connect(&proxy, &target)).collect();
    let opened = proxy.stderr.wait_for("three lines of opening", |lines| {
        let names: Vec<String> = lines.iter().filter_map(|l| connection(l)).collect();
        (names.len() >= 3).then_some(names)
    });
    let before = proxy.stderr.count();
    proxy.signal(libc::SIGUSR1);
    let mut listed = proxy.stderr.wait_for("a line per connection", |lines| {
        let names = lines.iter().skip(before).filter_map(|l| connection(l));
        let names: Vec<String> = names.collect();
        (names.len() >= 3).then_some(names)
    });
    listed.sort_unstable();
    let mut opened = opened;
    opened.sort_unstable();
    assert_eq!(listed, opened);
    drop(pairs);
}

#[test]
fn sighup_and_sigusr1_leave_connections_alone() {
    let (mut proxy, target) = bridge(&[]);
    let (mut peer, mut stream) = connect(&proxy, &target);
    for signal in [libc::SIGHUP, libc::SIGUSR1, libc::SIGPIPE] {
        proxy.signal(signal);
        peer.send(BINARY, b"still here");
        assert_same(&stream.receive(10), b"still here");
    }
    serves(&proxy, &target);
    assert!(proxy.is_running());
}

#[test]
fn a_port_that_is_taken_exits_with_1_and_names_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let arguments = ["--local", &address, "--remote", "127.0.0.1:9"];
    let mut proxy = Proxy::spawn_unready(Proxy::command(&arguments)).unwrap();
    assert_eq!(proxy.wait_for_exit().code(), Some(1));
    proxy.wait_for_log(0, "the address", |line| line.contains(&address));
}

#[test]
fn one_route_that_cannot_be_had_ends_the_start() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let routes = [
        ["--local", "127.0.0.1:0", "--remote", "127.0.0.1:9"],
        ["--local", &address, "--remote", "127.0.0.1:9"],
    ];
    let mut proxy = Proxy::spawn_unready(Proxy::command(&routes.concat())).unwrap();
    assert_eq!(proxy.wait_for_exit().code(), Some(1));
}

#[test]
fn an_address_that_is_not_ours_exits_with_1_and_names_it() {
    // 192.0.2.0/24 is for documentation (RFC 5737); its last address is nobody's.
    let arguments = ["--local", "192.0.2.254:8080", "--remote", "127.0.0.1:9"];
    let mut proxy = Proxy::spawn_unready(Proxy::command(&arguments)).unwrap();
    assert_eq!(proxy.wait_for_exit().code(), Some(1));
    proxy.wait_for_log(0, "the address", |line| line.contains("192.0.2.254:8080"));
}

#[test]
fn with_too_few_descriptors_the_established_are_served_and_others_later() {
    for limit in [24, 25] {
        let target = Target::listen();
        let mut command = Proxy::command(&["--local", "127.0.0.1:0", "--remote", &target.endpoint]);
        // SAFETY: setrlimit(2) is a plain system call (signal-safety(7)).
        unsafe { command.pre_exec(move || sys::limit_files(limit)) };
        let proxy = Proxy::spawn(command).unwrap();
        let (mut served, waiting) = crowd(&proxy, &target);
        assert!(served.len() >= 2, "only {} were served", served.len());
        proxy.wait_for_log(0, "a line about descriptors", |line| {
            line.contains("open files") && line.contains("accept")
        });

        let ticks = proxy.cpu_ticks();
        for _ in 0..10 {
            for (peer, stream) in &mut served {
                peer.send(BINARY, b"served");
                assert_same(&stream.receive(6), b"served");
            }
            std::thread::sleep(Duration::from_millis(100)); // the pace of these peers
        }
        let ticks = proxy.cpu_ticks() - ticks;
        assert!(ticks < 50, "{ticks} % of a processor while nobody can be accepted");

        for (peer, stream) in served.drain(..2) {
            peer.close(1000);
            drop(stream);
        }
        wait_for_an_answer(&waiting);
        drop((waiting, served));
        served_at_last(&proxy);
        let lines = proxy.stderr.count();
        assert!(lines < 100, "{lines} log lines");
    }
}

/// Fourteen connections at once: those that are served, and those that hear nothing. The others
/// must have been told why.
fn crowd(proxy: &Proxy, target: &Target) -> (Vec<(Ws, Stream)>, Vec<Stream>) {
    let (mut served, mut waiting) = (Vec::new(), Vec::new());
    for _ in 0..14 {
        let mut stream = Stream::tcp(proxy.port());
        stream.send(request("/", &[]).as_bytes());
        if !stream.is_readable_within(QUIET) {
            waiting.push(stream);
        } else if stream.peek(12) == b"HTTP/1.1 101" {
            served.push((Ws::opened(stream), target.accept()));
        } else {
            Response::read(&mut stream).expect_refusal(503);
        }
    }
    (served, waiting)
}

fn wait_for_an_answer(waiting: &[Stream]) {
    let wait = Wait::begin();
    let mut answered = waiting.is_empty();
    while !answered {
        wait.go_on("a waiting connection to be answered");
        answered = waiting.iter().any(|s| s.is_readable_within(Duration::ZERO));
    }
}

fn served_at_last(proxy: &Proxy) {
    let wait = Wait::begin();
    loop {
        let mut stream = Stream::tcp(proxy.port());
        stream.send(request("/", &[]).as_bytes());
        if stream.peek(12) == b"HTTP/1.1 101" {
            return;
        }
        wait.go_on("a connection to be served again");
    }
}

#[test]
fn ends_that_vanish_in_the_middle_of_a_write_do_not_kill_the_proxy() {
    let (mut proxy, target) = narrow_bridge(&["--max-message", "0"]);
    for _ in 0..3 {
        let (peer, stream) = connect_narrow(&proxy, &target);
        let wire = [header(BINARY, 2 * MIB as u64, Some([0; 4])), pattern(3, 2 * MIB)];
        peer.stream().share().send_until_stalled(&wire.concat(), QUIET / 5);
        stream.reset();
        drop(peer);

        let (peer, mut stream) = connect_narrow(&proxy, &target);
        stream.send_until_stalled(&pattern(4, 2 * MIB), QUIET / 5);
        peer.into_stream().reset();
        drop(stream);

        let (peer, mut stream) = connect_narrow(&proxy, &target);
        stream.send_until_stalled(&pattern(5, 2 * MIB), QUIET / 5);
        peer.stream().share().send_until_stalled(&wire.concat(), QUIET / 5);
        drop((peer, stream)); // both with unread bytes
    }
    serves(&proxy, &target);
    assert!(proxy.is_running());
}

#[test]
fn a_stdout_that_takes_nothing_does_not_kill_the_proxy() {
    for redirection in [">&-", ">/dev/full"] {
        let target = Target::listen();
        let path = std::env::temp_dir().join(format!("ws-tcp-proxy-{}", std::process::id()));
        let local = format!("ws+unix:{}", path.display());
        let script = format!("exec \"$0\" \"$@\" {redirection}");
        let mut command = Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_ws-tcp-proxy")]);
        command.args(["--local", &local, "--remote", &target.endpoint]);
        let mut proxy = Proxy::spawn_unready(command).unwrap();
        let wait = Wait::begin();
        while UnixStream::connect(&path).is_err() {
            wait.go_on("the unix socket");
        }
        let mut peer = Ws::open(Stream::unix(&path), "/", &[]);
        peer.send(BINARY, b"served");
        let mut stream = target.accept();
        assert_same(&stream.receive(6), b"served");
        assert!(proxy.is_running());
        proxy.signal(libc::SIGTERM);
        assert_eq!(peer.expect_close(), 1001);
        drop((peer, stream));
        proxy.wait_for_end_of_log();
        let _ = std::fs::remove_file(&path);
    }
}

/// The name of the connection that a log line is about: `c42.7`.
fn connection(line: &str) -> Option<String> {
    let mut words = line.split(|c: char| c.is_whitespace() || ":]".contains(c));
    let is_name = |word: &&str| {
        let numbers = word.strip_prefix('c').and_then(|w| w.split_once('.'));
        numbers.is_some_and(|(a, b)| a.parse::<u32>().is_ok() && b.parse::<u32>().is_ok())
    };
    words.find(is_name).map(String::from)
}

#[track_caller]
fn serves(proxy: &Proxy, target: &Target) {
    let (mut peer, mut stream) = connect(proxy, target);
    peer.send(BINARY, b"served");
    assert_same(&stream.receive(6), b"served");
    peer.close(1000);
    stream.expect_fin();
}
