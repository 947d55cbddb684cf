//! Where connections come from and where they go: TCP, unix and abstract sockets, listeners that
//! were handed over, several routes in one process, names with several addresses or none.

mod common;

use std::ffi::CString;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::target::Silent;
use common::ws::{request, Response};
use common::{assert_same, bridge, pattern, sys, Proxy, Stream, Target, Ws, BINARY};

#[test]
fn port_0_prints_the_port_that_was_chosen() {
    let (proxy, target) = bridge(&[]);
    assert_ne!(proxy.port(), 0);
    let name = format!("ws://127.0.0.1:{}", proxy.port());
    assert_eq!(proxy.listening, [name]);
    carries(Ws::connect(&proxy), target.accept());
}

/// One event may tell all of it, and is not told again.
#[test]
fn a_target_that_connects_speaks_and_ends_at_once_is_heard_to_its_end() {
    let silent = Silent::new();
    let proxy = Proxy::to(&silent.endpoint, &[]);
    let mut stream = Stream::tcp(proxy.port());
    stream.send(request("/", &[]).as_bytes());
    stream.wait_until_read();
    // Another turn of the loop has passed, so the target is being dialled.
    Response::to(proxy.port(), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect_refusal(426);
    proxy.signal(libc::SIGSTOP);
    let target = silent.speak();
    let mut end = target.accept();
    end.send(b"hi");
    drop(end);
    proxy.signal(libc::SIGCONT);
    let mut peer = Ws::opened(stream);
    assert_eq!(peer.receive_until_close(), (b"hi".to_vec(), 1000));
}

#[test]
fn a_unix_socket_may_be_the_target() {
    let directory = Directory::new("unix-target");
    let target = Target::unix(&directory.0.join("target"));
    let proxy = Proxy::to(&target.endpoint, &[]);
    carries(Ws::connect(&proxy), target.accept());
}

#[test]
fn an_abstract_unix_socket_may_be_the_target() {
    let name = format!("ws-tcp-proxy-test-{}", std::process::id());
    let target = Target::unix_abstract(&name);
    let proxy = Proxy::to(&target.endpoint, &[]);
    carries(Ws::connect(&proxy), target.accept());
}

#[test]
fn a_unix_target_that_is_not_there_yet_is_answered_502() {
    let directory = Directory::new("unix-late");
    let path = directory.0.join("target");
    let proxy = Proxy::to(&format!("unix:{}", path.display()), &[]);
    Response::to(proxy.port(), request("/", &[]).as_bytes()).expect_refusal(502);
    let target = Target::unix(&path);
    carries(Ws::connect(&proxy), target.accept());
}

#[test]
fn the_listener_may_be_a_unix_socket() {
    let directory = Directory::new("unix-local");
    let (proxy, target, path) = unix_bridge(&directory);
    assert_eq!(proxy.listening, [format!("ws+unix:{}", path.display())]);
    for _ in 0..3 {
        carries(Ws::open(Stream::unix(&path), "/", &[]), target.accept());
    }
}

#[test]
fn a_stale_unix_socket_of_a_killed_proxy_is_replaced() {
    let directory = Directory::new("unix-stale");
    let (proxy, _target, _path) = unix_bridge(&directory);
    drop(proxy); // by SIGKILL, so that nobody unlinks it
    let (_proxy, target, path) = unix_bridge(&directory);
    carries(Ws::open(Stream::unix(&path), "/", &[]), target.accept());
}

#[test]
fn a_file_in_the_place_of_the_unix_socket_is_left_alone() {
    let directory = Directory::new("unix-file");
    let path = directory.0.join("local");
    std::fs::write(&path, "precious").unwrap();
    let local = format!("ws+unix:{}", path.display());
    let arguments = ["--local", &local, "--remote", "127.0.0.1:9"];
    let mut proxy = Proxy::spawn_unready(Proxy::command(&arguments)).unwrap();
    assert_eq!(proxy.wait_for_exit().code(), Some(1));
    proxy.wait_for_log(0, "the path", |line| line.contains(path.to_str().unwrap()));
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}

#[test]
fn a_unix_socket_in_use_by_another_process_is_left_alone() {
    let directory = Directory::new("unix-busy");
    let (_first, target, path) = unix_bridge(&directory);
    let local = format!("ws+unix:{}", path.display());
    let arguments = ["--local", &local, "--remote", "127.0.0.1:9"];
    let mut second = Proxy::spawn_unready(Proxy::command(&arguments)).unwrap();
    assert_eq!(second.wait_for_exit().code(), Some(1));
    assert!(std::fs::metadata(&path).unwrap().file_type().is_socket());
    carries(Ws::open(Stream::unix(&path), "/", &[]), target.accept());
}

#[test]
fn a_listening_socket_may_be_inherited_by_number() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let fd = listener.as_raw_fd();
    let target = Target::listen();
    let local = format!("fd:{fd}");
    let mut command = Proxy::command(&["--local", &local, "--remote", &target.endpoint]);
    before_exec(&mut command, move || sys::keep_over_exec(fd));
    let _proxy = Proxy::spawn(command).unwrap();
    drop(listener); // the proxy's copy is the only one left
    carries(Ws::open(Stream::tcp(port), "/", &[]), target.accept());
}

#[test]
fn a_descriptor_that_is_no_listener_ends_with_1() {
    for local in ["fd:200", "fd:0", "systemd:nobody"] {
        let command = Proxy::command(&["--local", local, "--remote", "127.0.0.1:9"]);
        let mut proxy = Proxy::spawn_unready(command).unwrap();
        assert_eq!(proxy.wait_for_exit().code(), Some(1), "{local}");
        proxy.wait_for_log(0, local, |line| line.contains(local));
    }
}

#[test]
fn listening_sockets_may_be_handed_over_by_name() {
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let ports = [0, 1, 2].map(|i| listeners[i].local_addr().unwrap().port());
    let (one, two) = (Target::listen(), Target::listen());
    let routes = [
        ["--local", "systemd:web", "--remote", &one.endpoint],
        ["--local", "systemd:admin", "--remote", &two.endpoint],
    ];
    let mut command = through_shell(&routes.concat());
    command.env("LISTEN_FDS", "3");
    command.env("LISTEN_FDNAMES", "admin:other:web");
    let descriptors = [0, 1, 2].map(|i| listeners[i].as_raw_fd());
    before_exec(&mut command, move || sys::hand_over(&descriptors));
    let _proxy = Proxy::spawn(command).unwrap();
    drop(listeners);
    carries(Ws::open(Stream::tcp(ports[2]), "/", &[]), one.accept());
    carries(Ws::open(Stream::tcp(ports[0]), "/", &[]), two.accept());
}

#[test]
fn a_handover_meant_for_another_process_is_not_taken() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let fd: RawFd = listener.as_raw_fd();
    let mut command = Proxy::command(&["--local", "systemd:web", "--remote", "127.0.0.1:9"]);
    command.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", "web");
    command.env("LISTEN_PID", "1");
    before_exec(&mut command, move || sys::hand_over(&[fd]));
    let mut proxy = Proxy::spawn_unready(command).unwrap();
    assert_eq!(proxy.wait_for_exit().code(), Some(1));
}

#[test]
fn one_process_serves_several_routes() {
    let directory = Directory::new("routes");
    let path = directory.0.join("local");
    let local = format!("ws+unix:{}", path.display());
    let (one, two) = (Target::listen(), Target::unix(&directory.0.join("target")));
    let three = Target::listen();
    let routes = [
        ["--local", "127.0.0.1:0", "--remote", &one.endpoint],
        ["--local", "127.0.0.1:0", "--remote", &two.endpoint],
        ["--local", &local, "--remote", &three.endpoint],
    ];
    let proxy = Proxy::start(&routes.concat());
    assert_eq!(proxy.listening.len(), 3);
    assert_ne!(proxy.port_of(0), proxy.port_of(1));
    let first = Ws::open(Stream::tcp(proxy.port_of(0)), "/", &[]);
    let second = Ws::open(Stream::tcp(proxy.port_of(1)), "/", &[]);
    let third = Ws::open(Stream::unix(&path), "/", &[]);
    carries(third, three.accept());
    carries(second, two.accept());
    carries(first, one.accept());
}

#[test]
fn ipv6_is_spoken_on_both_sides() {
    let Ok(target) = Target::listen_on("[::1]:0") else {
        eprintln!("left out: no IPv6 here");
        return;
    };
    let arguments = ["--local", "[::1]:0", "--remote", &target.endpoint];
    let proxy = Proxy::start(&arguments);
    let name = format!("ws://[::1]:{}", proxy.port());
    assert_eq!(proxy.listening, [name]);
    let stream = std::net::TcpStream::connect(("::1", proxy.port())).unwrap();
    let peer = Ws::open(Stream::new(stream.into()), "/", &[]);
    carries(peer, target.accept());
}

#[test]
fn a_name_is_resolved() {
    let target = Target::listen();
    let port = target.endpoint.rsplit(':').next().unwrap();
    let proxy = Proxy::to(&format!("localhost:{port}"), &[]);
    carries(Ws::connect(&proxy), target.accept());
}

#[test]
fn every_address_of_a_name_is_tried() {
    let directory = Directory::new("hosts");
    let hosts = directory.0.join("hosts");
    let text = "127.0.0.2 several.test\n127.0.0.3 several.test\n::1 several.test\n";
    std::fs::write(&hosts, text).unwrap();
    for address in ["127.0.0.2:0", "127.0.0.3:0", "[::1]:0"] {
        let Ok(target) = Target::listen_on(address) else {
            eprintln!("left out: {address} cannot be had here");
            continue;
        };
        let port = target.endpoint.rsplit(':').next().unwrap();
        let remote = format!("several.test:{port}");
        let mut command = Proxy::command(&["--local", "127.0.0.1:0", "--remote", &remote]);
        let file = CString::new(hosts.as_os_str().as_bytes()).unwrap();
        before_exec(&mut command, move || sys::replace_hosts_file(&file));
        match Proxy::spawn(command) {
            Ok(proxy) => carries(Ws::connect(&proxy), target.accept()),
            Err(e) => eprintln!("left out, needs a mount namespace: {e}"),
        }
    }
}

#[test]
fn a_name_that_does_not_resolve_is_a_warning_at_start_and_502_for_each_connection() {
    let arguments = [
        ["--local", "127.0.0.1:0"],
        ["--remote", "nonexistent.invalid:80"],
        ["--connect-timeout", "20s"],
    ];
    let mut command = Proxy::command(&arguments.concat());
    command.env("RES_OPTIONS", "timeout:1 attempts:1");
    let mut proxy = Proxy::spawn(command).unwrap();
    proxy.wait_for_log(0, "a warning that names the host", |line| {
        line.contains("nonexistent.invalid") && line.to_ascii_lowercase().contains("warn")
    });
    for _ in 0..2 {
        let response = Response::to(proxy.port(), request("/", &[]).as_bytes());
        response.expect_refusal(502);
    }
    assert!(proxy.is_running());
}

/// Some bytes each way and a good end.
#[track_caller]
fn carries(mut peer: Ws, mut stream: Stream) {
    let bytes = pattern(1, 100_000);
    peer.send(BINARY, &bytes);
    assert_same(&stream.receive(bytes.len()), &bytes);
    stream.send(&bytes);
    assert_same(&peer.receive(bytes.len()), &bytes);
    peer.close(1000);
    stream.expect_fin();
}

fn unix_bridge(directory: &Directory) -> (Proxy, Target, PathBuf) {
    let path = directory.0.join("local");
    let local = format!("ws+unix:{}", path.display());
    let target = Target::listen();
    let proxy = Proxy::start(&["--local", &local, "--remote", &target.endpoint]);
    (proxy, target, path)
}

/// The proxy started by a shell that puts the process id into `LISTEN_PID` (sd_listen_fds(3)).
fn through_shell(arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "LISTEN_PID=$$ exec \"$0\" \"$@\""]);
    command.arg(env!("CARGO_BIN_EXE_ws-tcp-proxy"));
    command.args(["--log-level", "info"]).args(arguments);
    command
}

fn before_exec<F>(command: &mut Command, action: F)
where
    F: FnMut() -> io::Result<()> + Send + Sync + 'static,
{
    // SAFETY: every action above makes plain system calls only (signal-safety(7)).
    unsafe { command.pre_exec(action) };
}

/// A directory of our own, removed when dropped.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let name = format!("ws-tcp-proxy-{}-{name}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&name);
        // A path of a socket has at most 107 bytes (unix(7)).
        let path = if path.as_os_str().len() < 90 { path } else { std::env::temp_dir().join(name) };
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
