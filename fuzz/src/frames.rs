//! What the scripted ends say: frames in any shape, and bytes that show their place.

use base64::engine::general_purpose::STANDARD;
use base64::Engine;
use ws_tcp_proxy::proto::encoding::Encoding;
use ws_tcp_proxy::proto::frame::{FrameHeader, Opcode, MAX_HEADER};
use ws_tcp_proxy::proto::handshake::accept_key;
use ws_tcp_proxy::proto::mask::Mask;

use crate::chunk;

/// The request of RFC 6455 §1.2, for an encoding.
pub fn request(encoding: Encoding) -> Vec<u8> {
    format!(
        "GET /chat?encoding={encoding} HTTP/1.1\r\nHost: server.example.com\r\n\
         Upgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    .into_bytes()
}

/// The answer to what a client asks whose random bytes are all 0x55.
pub fn answer() -> Vec<u8> {
    let accept = accept_key(STANDARD.encode([0x55; 16]).as_bytes());
    let head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Accept: ";
    [head, &accept[..], b"\r\n\r\n"].concat()
}

/// Heads that name a target: full ones, bare ones, and some that are none.
pub const HEADS: [&[u8]; 8] = [
    b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n",
    b"CONNECT a.example:443",
    b"CONNECT [2001:db8::1]:8080 HTTP/1.1\r\nProxy-Authorization: Basic YTpi\r\n\r\n",
    b"CONNECT 192.0.2.7:22\r\n",
    b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.exam",
    b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
    b"CONNECT a.example:443 HTTP/1.1\r\nContent-Length: 5\r\n\r\n",
    b"CONNECT a.example:44",
];

/// One frame, masked if there is a key.
pub fn frame(fin: bool, opcode: Opcode, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut head = [0; MAX_HEADER];
    let header = FrameHeader { fin, opcode, mask, payload_len: payload.len() as u64 };
    let len = header.encode(&mut head);
    let mut wire = [&head[..len], payload].concat();
    mask.map_or_else(Mask::default, Mask::new).apply(&mut wire[len..]);
    wire
}

/// A whole message in `fragments` frames of about one size.
pub fn message(
    opcode: Opcode,
    payload: &[u8],
    fragments: usize,
    mut between: impl FnMut() -> Vec<u8>,
    mask: Option<[u8; 4]>,
) -> Vec<u8> {
    let size = payload.len() / fragments.max(1) + 1;
    let mut parts: Vec<&[u8]> = payload.chunks(size).collect();
    parts.resize(fragments.max(1), &[]);
    let mut wire = Vec::new();
    for (i, part) in parts.iter().enumerate() {
        let opcode = if i == 0 { opcode } else { Opcode::Continuation };
        wire.extend(frame(i + 1 == parts.len(), opcode, part, mask));
        if i + 1 < parts.len() {
            wire.extend(between());
        }
    }
    wire
}

/// An endless source of bytes in which a missing, doubled or moved one shows: counted numbers.
#[derive(Debug, Default)]
pub struct Pattern {
    count: u32,
    ready: Vec<u8>,
}

impl Pattern {
    /// The next `n` bytes: text with characters of one to four bytes.
    pub fn take(&mut self, n: usize) -> Vec<u8> {
        while self.ready.len() < n {
            self.count += 1;
            self.ready.extend(format!("{}é{:x}€😀", self.count, self.count).bytes());
        }
        let rest = self.ready.split_off(n);
        std::mem::replace(&mut self.ready, rest)
    }

    /// About `n` bytes that `encoding` allows as the payload of a message.
    pub fn payload(&mut self, encoding: Encoding, n: usize) -> Vec<u8> {
        match encoding {
            Encoding::Base64 => STANDARD.encode(self.take(n / 4 * 3)).into_bytes(),
            Encoding::Chunk => {
                // Two chunks, and fields that nobody knows.
                let (first, second) = (self.take(n / 2), self.take(n - n / 2));
                let parts: [&[u8]; 3] =
                    [&chunk::field(1, &first), b"\x10\xac\x02", &chunk::field(2, b"?")];
                [&parts.concat()[..], &chunk::field(1, &second)].concat()
            }
            Encoding::Binary | Encoding::Text => {
                // Whole characters: not inside one before, not inside one behind.
                self.ready.clear();
                let mut text = self.take(n);
                text.truncate(text.utf8_chunks().next().map_or(0, |chunk| chunk.valid().len()));
                self.ready.clear();
                text
            }
        }
    }
}
