//! A WebSocket server that the proxy connects to, played by the test step by step (RFC 6455 §4.2).

use std::io::BufReader;
use std::ops::Deref;

use base64::engine::general_purpose::STANDARD;
use base64::Engine;

pub use super::frame::server_frame;
use super::http::Head;
use super::socket::{Plays, Socket};
use super::{Stream, Target};

/// The GUID of RFC 6455 §1.3.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// An open WebSocket, seen by the server.
pub type Served = Socket;

/// A request that waits for its answer.
pub struct Asked {
    pub stream: Stream,
    head: Head,
}

impl Asked {
    /// The next connection's request.
    #[track_caller]
    pub fn at(target: &Target) -> Self {
        let mut stream = target.accept();
        let head = Head::read(&mut stream);
        Self { stream, head }
    }

    /// The nonce behind the key.
    #[track_caller]
    pub fn nonce(&self) -> Vec<u8> {
        STANDARD.decode(self.field("Sec-WebSocket-Key").expect("a key")).expect("base64")
    }

    /// The head of an answer that agrees, `extra` lines included.
    #[track_caller]
    pub fn agreement(&self, extra: &[&str]) -> String {
        let key = self.field("Sec-WebSocket-Key").expect("a key");
        let digest = sha1_smol::Sha1::from(format!("{key}{GUID}")).digest().bytes();
        let mut head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n",
            STANDARD.encode(digest)
        );
        for line in extra {
            head += line;
            head += "\r\n";
        }
        head + "\r\n"
    }

    /// Answers 101.
    #[track_caller]
    pub fn agree(self) -> Served {
        self.agree_with(&[], b"")
    }

    /// Answers 101 with these further lines, and sends what follows in the same segment.
    #[track_caller]
    pub fn agree_with(mut self, extra: &[&str], following: &[u8]) -> Served {
        let head = self.agreement(extra);
        self.stream.send(&[head.as_bytes(), following].concat());
        Socket::new(BufReader::new(self.stream), Plays::Server)
    }
}

/// Its line and fields.
impl Deref for Asked {
    type Target = Head;

    fn deref(&self) -> &Head {
        &self.head
    }
}
