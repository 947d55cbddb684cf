//! The PROXY protocol (HAProxy's `proxy-protocol.txt`), read and written here from its text alone:
//! what targets are told of a client.

mod common;

use std::net::SocketAddr;

use common::ws::request;
use common::{bridge, carries, Proxy, Stream, Target, Ws, BINARY};

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
