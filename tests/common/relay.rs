//! The two ends of a CONNECT relay, and the tool that uses it (DESIGN 5).

use super::http::Response;
use super::{Proxy, Stream, Target, Ws, BINARY};

/// What a tool is told when its tunnel is there.
pub const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection Established\r\n\r\n";

/// The head of a tool that wants to go to `target`, `extra` lines included.
pub fn head(target: &str, extra: &[&str]) -> String {
    let mut head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    for line in extra {
        head += line;
        head += "\r\n";
    }
    head + "\r\n"
}

/// A near end: a CONNECT proxy whose tunnels go to `remote`.
#[track_caller]
pub fn near(remote: &str, arguments: &[&str]) -> Proxy {
    let route = ["--local", "connect://127.0.0.1:0", "--remote", remote];
    Proxy::start(&[&route, arguments].concat())
}

/// A near end, and the place where the test plays its far end.
#[track_caller]
pub fn near_to_test(arguments: &[&str]) -> (Proxy, Target) {
    let target = Target::listen();
    let proxy = near(&format!("ws://{}/tunnel", target.endpoint), arguments);
    (proxy, target)
}

/// A far end: a WebSocket server that dials what a tunnel asks for.
#[track_caller]
pub fn far(arguments: &[&str]) -> Proxy {
    Proxy::to("connect:", arguments)
}

/// A far end that may dial 127.0.0.1, and a near end that leads to it. Both are told `arguments`.
#[track_caller]
pub fn pair(arguments: &[&str]) -> (Proxy, Proxy) {
    let far = far(&[&["--allow", "127.0.0.1"], arguments].concat());
    (near(&url(&far), arguments), far)
}

/// A WebSocket listener as a `--remote`.
pub fn url(proxy: &Proxy) -> String {
    format!("ws://127.0.0.1:{}/", proxy.port())
}

/// A tool that asks for `target`, and has not heard an answer.
#[track_caller]
pub fn ask(proxy: &Proxy, target: &str) -> Stream {
    let mut tool = Stream::tcp(proxy.port());
    tool.send(head(target, &[]).as_bytes());
    tool
}

/// A tool whose tunnel is there, and the target's end of it.
#[track_caller]
pub fn tunnel(near: &Proxy, target: &Target) -> (Stream, Stream) {
    let mut tool = ask(near, &target.endpoint);
    let stream = target.accept();
    expect_established(&mut tool);
    (tool, stream)
}

/// The next bytes are the answer of a proxy of ours that says yes.
#[track_caller]
pub fn expect_established(tool: &mut Stream) {
    let answer = tool.receive(ESTABLISHED.len());
    assert_eq!(answer.escape_ascii().to_string(), ESTABLISHED.escape_ascii().to_string());
}

/// A client of a far end that has sent one binary message, and has not heard an answer.
#[track_caller]
pub fn say(far: &Proxy, first: &[u8]) -> Ws {
    let mut peer = Ws::connect(far);
    peer.send(BINARY, first);
    peer
}

/// A far end refuses in the stream and says Close with this code; then TCP ends.
#[track_caller]
pub fn expect_refusal(peer: &mut Ws, status: u16, code: u16) -> Response {
    let (bytes, close) = peer.receive_until_close();
    let response = Response::parse(&bytes);
    response.expect_refusal(status);
    assert_eq!(close, code, "the Close behind {status}");
    peer.expect_fin();
    response
}

/// A payload of `--encoding chunk`: protobuf's `bytes data = 1`.
pub fn chunk(bytes: &[u8]) -> Vec<u8> {
    [&[0x0a], &varint(bytes.len() as u64)[..], bytes].concat()
}

/// A number as protobuf writes it: seven bits a byte, the lowest first.
pub fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// What a payload of one chunk holds.
#[track_caller]
pub fn unchunk(message: &[u8]) -> Vec<u8> {
    let shown = message[..message.len().min(20)].escape_ascii().to_string();
    assert_eq!(message.first(), Some(&0x0a), "no chunk: {shown}");
    let more = message[1..].iter().take_while(|b| **b & 0x80 != 0).count();
    let varint = &message[1..more + 2];
    let len = varint.iter().rev().fold(0, |len, b| len << 7 | usize::from(b & 0x7f));
    let bytes = &message[more + 2..];
    assert_eq!(bytes.len(), len, "one chunk and nothing else: {shown}");
    bytes.to_vec()
}
