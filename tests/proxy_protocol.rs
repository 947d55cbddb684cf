//! The PROXY protocol (HAProxy's `proxy-protocol.txt`), read and written here from its text alone:
//! what targets are told of a client, and what a proxy in front of us tells of it.

mod common;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use common::ws::request;
use common::{assert_same, bridge, carries, pattern, Proxy, Response, Stream, Target, Ws, BINARY};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The header in version 1 that a stream begins with.
#[track_caller]
fn line(stream: &mut Stream) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.extend(stream.receive(1));
        assert!(line.len() <= 107, "{}", line.escape_ascii());
    }
    String::from_utf8(line).unwrap()
}

/// A header in version 2: version and command, family, addresses and TLVs.
#[track_caller]
fn header(stream: &mut Stream) -> (u8, u8, Vec<u8>) {
    assert_eq!(stream.receive(12), SIGNATURE);
    let fixed = stream.receive(4);
    let len = usize::from(fixed[2]) << 8 | usize::from(fixed[3]);
    (fixed[0], fixed[1], stream.receive(len))
}

/// The value of the unique id in a block of TLVs that has nothing else.
#[track_caller]
fn unique_id(tlvs: &[u8]) -> String {
    assert_eq!((tlvs[0], tlvs[1], usize::from(tlvs[2])), (0x05, 0, tlvs.len() - 3), "{tlvs:02x?}");
    String::from_utf8(tlvs[3..].to_vec()).unwrap()
}

/// A client's socket, and the line that tells of it.
fn client(proxy: &Proxy) -> (Stream, String) {
    let socket = std::net::TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
    let (from, to): (SocketAddr, _) = (socket.local_addr().unwrap(), proxy.port());
    let line = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {to}\r\n", from.port());
    (Stream::new(socket.into()), line)
}

#[test]
fn a_target_hears_first_who_connected_in_version_1() {
    let (proxy, target) = bridge(&["--send-proxy", "v1"]);
    let (socket, expected) = client(&proxy);
    let mut peer = Ws::open(socket, "/", &[]);
    let mut stream = target.accept();
    assert_eq!(line(&mut stream), expected);
    peer.send(BINARY, b"first");
    assert_eq!(stream.receive(5), b"first");
    peer.close(1000);
    drop(stream);
    assert_eq!(proxy.wait_for_closed(1)[0].inbound, 5);
}

#[test]
fn a_target_hears_first_who_connected_in_version_2() {
    let (proxy, target) = bridge(&["--send-proxy", "v2", "--send-proxy", "v2"]);
    let mut ids = Vec::new();
    for _ in 0..2 {
        let (socket, text) = client(&proxy);
        let _peer = Ws::open(socket, "/", &[]);
        let (command, family, block) = header(&mut target.accept());
        assert_eq!((command, family), (0x21, 0x11));
        let ports = [&block[8..10], &block[10..12]].map(|p| u16::from_be_bytes([p[0], p[1]]));
        let ips = [&block[..4], &block[4..8]]
            .map(|ip| format!("{}.{}.{}.{}", ip[0], ip[1], ip[2], ip[3]));
        let told = format!("PROXY TCP4 {} {} {} {}\r\n", ips[0], ips[1], ports[0], ports[1]);
        assert_eq!(told, text);
        ids.push(unique_id(&block[12..]));
    }
    // What the log calls them comes first.
    assert!(ids.iter().all(|id| id.starts_with('c') && id.contains('-')), "{ids:?}");
    assert_ne!(ids[0], ids[1]);
    let log = proxy.log().join("\n");
    for id in ids {
        let name = id.split('-').next().unwrap();
        assert!(log.contains(&format!("{name} open ")), "{name}\n{log}");
    }
}

#[test]
fn it_stands_in_front_of_the_request_to_a_ws_remote() {
    let target = Target::listen();
    let remote = format!("ws://{}/", target.endpoint);
    let proxy =
        Proxy::start(&["--local", "tcp://127.0.0.1:0", "--remote", &remote, "--send-proxy", "v1"]);
    let (_tool, expected) = client(&proxy);
    let mut stream = target.accept();
    assert_eq!(line(&mut stream), expected);
    assert_eq!(stream.receive(4), b"GET ");
}

#[test]
fn it_stands_in_front_of_what_a_tool_said_early() {
    let target = Target::listen();
    let proxy = Proxy::start(&[
        "--local",
        "tcp://127.0.0.1:0",
        "--remote",
        &target.endpoint,
        "--send-proxy",
        "v1",
    ]);
    let (mut tool, expected) = client(&proxy);
    tool.send(b"early");
    let mut stream = target.accept();
    assert_eq!(line(&mut stream), expected);
    assert_eq!(stream.receive(5), b"early");
    carries(&mut tool, &mut stream);
}

#[test]
fn early_frames_come_behind_it() {
    let (proxy, target) = bridge(&["--send-proxy", "v1"]);
    let (mut socket, expected) = client(&proxy);
    let frame = common::frame(BINARY, b"early");
    socket.send(&[request("/", &[]).as_bytes(), &frame].concat());
    let mut stream = target.accept();
    assert_eq!(line(&mut stream), expected);
    assert_eq!(stream.receive(5), b"early");
}

#[test]
fn a_client_over_a_unix_socket_has_no_address() {
    let path = std::env::temp_dir().join(format!("proxy-protocol-{}.sock", std::process::id()));
    let local = format!("unix:{}", path.display());
    for (version, wire) in [("v1", &b"PROXY UNKNOWN\r\n"[..]), ("v2", SIGNATURE)] {
        let target = Target::listen();
        let arguments = ["--local", &local, "--remote", &target.endpoint, "--send-proxy", version];
        let proxy = Proxy::start(&arguments);
        let mut tool = Stream::unix(&path);
        let mut stream = target.accept();
        assert_eq!(stream.receive(wire.len()), wire);
        if version == "v2" {
            let fixed = stream.receive(4);
            assert_eq!(fixed[..2], [0x20, 0x00], "LOCAL");
            unique_id(&stream.receive(usize::from(fixed[3])));
        }
        carries(&mut tool, &mut stream);
        drop(proxy);
    }
    let _ = std::fs::remove_file(path);
}

const ACCEPT: [&str; 3] = ["--accept-proxy", "--trust-proxy", "127.0.0.1"];

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n";
const V2: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x01\xdc\x04\x01\xbb";

/// A listener of every kind, and what a client of it says first.
fn plain(target: &Target, more: &[&str]) -> Proxy {
    let route = ["--local", "tcp://127.0.0.1:0", "--remote", &target.endpoint];
    Proxy::start(&[&route, &ACCEPT[..], &["--log-level", "debug"], more].concat())
}

fn websocket(target: &Target, more: &[&str]) -> Proxy {
    Proxy::to(&target.endpoint, &[&ACCEPT[..], &["--log-level", "debug"], more].concat())
}

#[test]
fn a_proxy_says_who_the_client_is_and_the_target_and_the_log_hear_it() {
    let target = Target::listen();
    let proxy = websocket(&target, &["--send-proxy", "v1"]);
    for (n, header) in [V1, V2].into_iter().enumerate() {
        let mut socket = Stream::tcp(proxy.port());
        socket.send(header);
        let mut peer = Ws::open(socket, "/", &[]);
        let mut stream = target.accept();
        assert_eq!(stream.receive(V1.len()), V1);
        peer.send(BINARY, b"up");
        assert_eq!(stream.receive(2), b"up");
        peer.close(1000);
        drop(stream);
        proxy.wait_for_closed(n + 1);
    }
    let log = proxy.log();
    let said = |word: &str| {
        log.iter().filter(|l| l.contains(word) && l.ends_with(" client=192.0.2.7")).count()
    };
    assert_eq!((said(" open target="), said(" closed code=1000")), (2, 2), "{log:#?}");
}

#[test]
fn a_header_may_be_split_anywhere() {
    let target = Target::listen();
    let proxy = plain(&target, &["--send-proxy", "v1"]);
    for header in [V1, V2] {
        let bytes = [header, b"first"].concat();
        for cut in 1..bytes.len() {
            let mut socket = Stream::tcp(proxy.port());
            socket.send(&bytes[..cut]);
            socket.wait_until_read();
            socket.send(&bytes[cut..]);
            let mut stream = target.accept();
            assert_eq!(stream.receive(V1.len()), V1, "cut at {cut}");
            assert_eq!(stream.receive(5), b"first", "cut at {cut}");
        }
    }
}

#[test]
fn what_comes_with_the_header_is_not_lost() {
    let target = Target::listen();
    let proxy = plain(&target, &[]);
    let bytes = pattern(1, 100_000);
    let mut socket = Stream::tcp(proxy.port());
    let mut writer = socket.share();
    let sent = [V2, &bytes].concat();
    let sender = std::thread::spawn(move || writer.send(&sent));
    let mut stream = target.accept();
    assert_same(&stream.receive(bytes.len()), &bytes);
    sender.join().unwrap();
    carries(&mut socket, &mut stream);
    let proxy = websocket(&target, &[]);
    let mut socket = Stream::tcp(proxy.port());
    let frame = common::frame(BINARY, b"early");
    socket.send(&[V1, request("/", &[]).as_bytes(), &frame].concat());
    assert_eq!(target.accept().receive(5), b"early");
}

#[test]
fn a_connect_listener_takes_it_as_well() {
    let target = Target::listen();
    let allow = target.endpoint.clone();
    let route = ["--local", "connect://127.0.0.1:0", "--remote", "connect:", "--allow", &allow];
    let proxy = Proxy::start(&[&route[..], &ACCEPT, &["--send-proxy", "v1"]].concat());
    let mut tool = Stream::tcp(proxy.port());
    tool.send(&[V2, common::relay::head(&target.endpoint, &[]).as_bytes()].concat());
    let mut stream = target.accept();
    assert_eq!(stream.receive(V1.len()), V1);
    common::relay::expect_established(&mut tool);
    carries(&mut tool, &mut stream);
}

#[test]
fn a_proxy_may_look_whether_we_are_well() {
    let target = Target::listen();
    let proxy = plain(&target, &["--client", "127.0.0.1", "--send-proxy", "v1"]);
    let local = [SIGNATURE, b"\x20\0\0\0"].concat();
    for header in [&b"PROXY UNKNOWN\r\n"[..], &local] {
        let (mut socket, expected) = client(&proxy);
        socket.send(header);
        let mut stream = target.accept();
        assert_eq!(line(&mut stream), expected);
        carries(&mut socket, &mut stream);
    }
}

#[test]
fn the_client_is_whom_the_rules_judge() {
    let target = Target::listen();
    let proxy = plain(&target, &["--client", "192.0.2.0/24"]);
    let mut let_in = Stream::tcp(proxy.port());
    let_in.send(V1);
    carries(&mut let_in, &mut target.accept());
    let mut stranger = Stream::tcp(proxy.port());
    stranger.send(b"PROXY TCP4 203.0.113.1 198.51.100.1 1 443\r\nhello");
    stranger.expect_fin();
    let proxy = websocket(&target, &["--client", "192.0.2.0/24"]);
    let mut socket = Stream::tcp(proxy.port());
    socket.send(V2);
    drop(Ws::open(socket, "/", &[]));
    target.accept();
    let mut socket = Stream::tcp(proxy.port());
    socket.send(b"PROXY TCP4 203.0.113.1 198.51.100.1 1 443\r\n");
    socket.send(request("/", &[]).as_bytes());
    assert_eq!(answer(socket), 403);
    assert!(!target.has_caller_within(Duration::ZERO));
}

#[test]
fn the_client_is_who_is_counted() {
    let target = Target::listen();
    let proxy = plain(&target, &["--max-per-client", "1"]);
    let passed_on = |header: &[u8]| {
        let mut socket = Stream::tcp(proxy.port());
        socket.send(header);
        socket
    };
    let mut first = passed_on(V1);
    let mut stream = target.accept();
    carries(&mut first, &mut stream);
    passed_on(V2).expect_fin();
    let mut other = passed_on(b"PROXY TCP4 192.0.2.8 198.51.100.1 1 443\r\n");
    carries(&mut other, &mut target.accept());
    first.finish();
    stream.expect_fin();
    drop((first, stream));
    proxy.wait_for_log(0, "its end", |line| line.contains("why=eof") && line.contains("2.0.2.7"));
    carries(&mut passed_on(V1), &mut target.accept());
}

/// Half heads, each behind a header: those beyond the client's number are refused at once.
#[test]
fn a_client_does_not_take_the_places_of_others() {
    let target = Target::listen();
    let limits = ["--max-per-client", "1", "--max-connections", "3"];
    let proxy = websocket(&target, &limits);
    let half = || {
        let mut socket = Stream::tcp(proxy.port());
        socket.send(V1);
        socket.send(b"GET / HTTP/1.1\r\n");
        socket
    };
    let first = half();
    for _ in 0..4 {
        assert_eq!(answer(half()), 503);
    }
    let mut socket = Stream::tcp(proxy.port());
    socket.send(b"PROXY TCP4 192.0.2.8 198.51.100.1 1 443\r\n");
    let mut other = Ws::open(socket, "/", &[]);
    other.send(BINARY, b"served");
    assert_eq!(target.accept().receive(6), b"served");
    drop(first);
}

#[test]
fn nobody_else_is_believed() {
    let target = Target::listen();
    for (proxy, is_http) in [(plain(&target, &[]), false), (websocket(&target, &[]), true)] {
        let from = |ip| Stream::tcp_from(Ipv4Addr::new(127, 0, 0, ip), proxy.port());
        for header in [V1, V2] {
            let mut stranger = from(2);
            stranger.send(&[header, request("/", &[]).as_bytes()].concat());
            stranger.expect_fin();
        }
        for ip in [1, 2] {
            let mut socket = from(ip);
            socket.send(request("/", &[]).as_bytes());
            match is_http {
                true => assert_eq!(answer(socket), 400),
                false => socket.expect_fin(),
            }
        }
        for garbage in [&b"PROXY TCP4 1.2.3.4\r\n"[..], b"\x16\x03\x01\0", b"PROXY TCP4 0x7f"] {
            let mut socket = from(1);
            socket.send(garbage);
            socket.expect_fin();
        }
        proxy.wait_for_log(0, "the reason", |line| line.contains("only a --trust-proxy may"));
    }
    assert!(!target.has_caller_within(Duration::ZERO));
}

#[test]
fn a_header_has_the_time_and_the_room_of_a_request() {
    let target = Target::listen();
    let options = ["--handshake-timeout", "500ms", "--max-head", "256"];
    for proxy in [plain(&target, &options), websocket(&target, &options)] {
        for start in [&b""[..], b"PROXY TCP4 19", &V2[..20]] {
            let mut slow = Stream::tcp(proxy.port());
            slow.send(start);
            slow.expect_fin();
        }
        let mut long = Stream::tcp(proxy.port());
        long.send(&[&V2[..14], b"\x01\0", &V2[16..], &[4, 0, 0xf1], &[0; 0xf1]].concat());
        long.expect_fin();
    }
    assert!(!target.has_caller_within(Duration::ZERO));
}

#[test]
fn it_needs_a_proxy_to_trust_and_addresses() {
    for (line, problem) in [
        ("--local 127.0.0.1:0 --remote a:1 --accept-proxy", "no --trust-proxy says which"),
        (
            "--local unix:/x --remote a:1 --accept-proxy --trust-proxy ::1",
            "is for proxies that have an address",
        ),
    ] {
        let (code, said) = Proxy::fail(&line.split(' ').collect::<Vec<_>>());
        assert_eq!(code, Some(2));
        assert!(said.contains("--accept-proxy: ") && said.contains(problem), "{said}");
    }
}

/// The status of an answer that the end of the connection follows.
#[track_caller]
fn answer(stream: Stream) -> u16 {
    Response::read_head(&mut std::io::BufReader::new(stream)).status
}
