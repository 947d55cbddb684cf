//! A WebSocket server that the proxy connects to, played by the test step by step (RFC 6455 §4.2).

use std::io::{BufReader, Read};

use base64::engine::general_purpose::STANDARD;
use base64::Engine;

use super::stream::explain;
use super::ws::{close_code, header, Frame, BINARY, CLOSE};
use super::{Stream, Target};

/// The GUID of RFC 6455 §1.3.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A request that waits for its answer.
pub struct Asked {
    pub stream: Stream,
    /// The request line.
    pub line: String,
    fields: Vec<(String, String)>,
}

impl Asked {
    /// The next connection's request.
    #[track_caller]
    pub fn at(target: &Target) -> Self {
        let mut stream = target.accept();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(stream.receive(1));
        }
        let head = String::from_utf8(head).expect("the head is text");
        let mut lines = head.split("\r\n").take_while(|l| !l.is_empty());
        let line = lines.next().unwrap_or_default().to_string();
        let field = |line: &str| {
            let (name, value) = line.split_once(':').expect("a header has a colon");
            (name.to_string(), value.trim().to_string())
        };
        Self { stream, line, fields: lines.map(field).collect() }
    }

    /// One header's value; `None` if it is absent, a failure if it is repeated.
    #[track_caller]
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        let value = values.next().map(|(_, v)| v.as_str());
        assert!(values.next().is_none(), "{name} is repeated");
        value
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
        Served { reader: BufReader::new(self.stream), keys: Vec::new() }
    }
}

/// An open WebSocket, seen by the server.
pub struct Served {
    reader: BufReader<Stream>,
    /// The masking-keys of all frames so far.
    pub keys: Vec<[u8; 4]>,
}

impl Served {
    pub fn stream(&self) -> &Stream {
        self.reader.get_ref()
    }

    #[track_caller]
    pub fn send(&mut self, first: u8, payload: &[u8]) {
        self.send_raw(&server_frame(first, payload));
    }

    #[track_caller]
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.reader.get_mut().send(bytes);
    }

    /// The next frame, or `None` at FIN. One that is not masked fails the test.
    #[track_caller]
    pub fn next_frame(&mut self) -> Option<Frame> {
        let mut first = [0];
        match self.reader.read(&mut first) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(e) => panic!("waiting for a frame: {}", explain(&e)),
        }
        let first = first[0];
        assert_eq!(first & 0x70, 0, "RSV bits in {first:#04x}");
        let [short] = self.read_array();
        assert_eq!(short & 0x80, 0x80, "a client's frame is not masked (RFC 6455 §5.3)");
        let len = match short & 0x7f {
            126 => u64::from(u16::from_be_bytes(self.read_array())),
            127 => u64::from_be_bytes(self.read_array()),
            n => u64::from(n),
        };
        let key = self.read_array();
        assert_eq!(
            header(first, len, Some(key))[1],
            short,
            "length {len} is not in its shortest form"
        );
        self.keys.push(key);
        let mut payload = vec![0; usize::try_from(len).unwrap()];
        self.read_exact(&mut payload);
        payload.iter_mut().zip(key.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
        Some(Frame { first, payload })
    }

    /// The next frame, which must be `first`; its payload.
    #[track_caller]
    pub fn expect(&mut self, first: u8) -> Vec<u8> {
        let frame = self.next_frame().expect("FIN instead of a frame");
        assert_eq!(frame.first, first, "frame with payload {}", frame.payload.escape_ascii());
        frame.payload
    }

    /// The payloads of the next binary messages, exactly `n` bytes.
    #[track_caller]
    pub fn receive(&mut self, n: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(n);
        while bytes.len() < n {
            bytes.extend(self.expect(BINARY));
        }
        assert_eq!(bytes.len(), n, "more than was expected");
        bytes
    }

    /// The next frame is Close; its code.
    #[track_caller]
    pub fn expect_close(&mut self) -> u16 {
        let payload = self.expect(CLOSE);
        close_code(&payload)
    }

    /// Nothing more comes but FIN.
    #[track_caller]
    pub fn expect_fin(&mut self) {
        let frame = self.next_frame();
        assert!(frame.is_none(), "instead of FIN: {frame:?}");
    }

    #[track_caller]
    fn read_array<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.read_exact(&mut bytes);
        bytes
    }

    #[track_caller]
    fn read_exact(&mut self, bytes: &mut [u8]) {
        let outcome = self.reader.read_exact(bytes);
        outcome.unwrap_or_else(|e| panic!("in a frame of {}: {}", bytes.len(), explain(&e)));
    }
}

/// A frame as a server sends it.
pub fn server_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(first, payload.len() as u64, None);
    bytes.extend_from_slice(payload);
    bytes
}
