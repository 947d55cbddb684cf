//! A blocking WebSocket client (RFC 6455) that can also say what no client may say.

use std::io::BufReader;
use std::ops::{Deref, DerefMut};

pub use super::frame::{close_code, frame, header, parse_frames, reason, Frame, CLOSE};
pub use super::http::Response;
use super::socket::{Plays, Socket};
use super::{Proxy, Stream};

/// The key of RFC 6455 §1.3 and the answer to it.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A correct request for `path`, `extra` lines included.
pub fn request(path: &str, extra: &[&str]) -> String {
    let mut head = format!(
        "GET {path} HTTP/1.1\r\nHost: proxy.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n"
    );
    for line in extra {
        head += line;
        head += "\r\n";
    }
    head + "\r\n"
}

/// An open WebSocket, seen by the client.
pub struct Ws {
    socket: Socket,
    /// The answer to the opening handshake.
    pub response: Response,
}

impl Ws {
    #[track_caller]
    pub fn connect(proxy: &Proxy) -> Self {
        Self::open(Stream::tcp(proxy.port()), "/", &[])
    }

    #[track_caller]
    pub fn connect_to(proxy: &Proxy, path: &str, extra: &[&str]) -> Self {
        Self::open(Stream::tcp(proxy.port()), path, extra)
    }

    #[track_caller]
    pub fn open(mut stream: Stream, path: &str, extra: &[&str]) -> Self {
        stream.send(request(path, extra).as_bytes());
        Self::opened(stream)
    }

    /// Reads the answer to a request that was sent before.
    #[track_caller]
    pub fn opened(stream: Stream) -> Self {
        let mut reader = BufReader::with_capacity(16 << 10, stream);
        let response = Response::read_head(&mut reader);
        assert_eq!(response.status, 101, "{response:?}");
        assert_eq!(response.header("Sec-WebSocket-Accept"), Some(ACCEPT));
        let upgrade = response.header("Upgrade").map(str::to_ascii_lowercase);
        assert_eq!(upgrade.as_deref(), Some("websocket"));
        assert!(response.has_token("Connection", "upgrade"), "{response:?}");
        Self { socket: Socket::new(reader, Plays::Client), response }
    }

    pub fn into_stream(self) -> Stream {
        self.socket.into_stream()
    }

    /// The closing handshake, begun here.
    #[track_caller]
    pub fn close(mut self, code: u16) {
        self.send(CLOSE, &reason(code, b""));
        assert_eq!(self.receive_until_close().1, code);
        self.expect_fin();
    }
}

impl Deref for Ws {
    type Target = Socket;

    fn deref(&self) -> &Socket {
        &self.socket
    }
}

impl DerefMut for Ws {
    fn deref_mut(&mut self) -> &mut Socket {
        &mut self.socket
    }
}
