//! A blocking WebSocket client (RFC 6455) that can also say what no client may say.

use std::io::{self, BufReader, Read};

use super::stream::explain;
use super::{Proxy, Stream};

/// First bytes of frames: FIN and opcode (RFC 6455 §5.2).
pub const FIN: u8 = 0x80;
pub const CONTINUATION: u8 = 0x00;
pub const TEXT: u8 = FIN | 0x01;
pub const BINARY: u8 = FIN | 0x02;
pub const CLOSE: u8 = FIN | 0x08;
pub const PING: u8 = FIN | 0x09;
pub const PONG: u8 = FIN | 0x0a;

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

/// A masked frame.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let key = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = header(first, payload.len() as u64, Some(key));
    bytes.extend(payload.iter().zip(key.iter().cycle()).map(|(b, k)| b ^ k));
    bytes
}

/// The payload of a Close frame.
pub fn reason(code: u16, text: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes(), text].concat()
}

/// A header in the shortest form, whether or not a payload of `len` follows.
pub fn header(first: u8, len: u64, key: Option<[u8; 4]>) -> Vec<u8> {
    let masked = if key.is_some() { 0x80 } else { 0 };
    let mut bytes = vec![first];
    match len {
        0..=125 => bytes.push(masked | len as u8),
        126..=0xffff => {
            bytes.push(masked | 126);
            bytes.extend((len as u16).to_be_bytes());
        }
        _ => {
            bytes.push(masked | 127);
            bytes.extend(len.to_be_bytes());
        }
    }
    bytes.extend(key.iter().flatten());
    bytes
}

/// A frame that arrived.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    /// FIN and opcode.
    pub first: u8,
    pub payload: Vec<u8>,
}

/// An open WebSocket, seen by the client.
pub struct Ws {
    reader: BufReader<Stream>,
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
        Self { reader, response }
    }

    pub fn stream(&self) -> &Stream {
        self.reader.get_ref()
    }

    pub fn into_stream(self) -> Stream {
        self.reader.into_inner()
    }

    #[track_caller]
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.reader.get_mut().send(bytes);
    }

    #[track_caller]
    pub fn send(&mut self, first: u8, payload: &[u8]) {
        self.send_raw(&frame(first, payload));
    }

    /// The next frame, or `None` at FIN. What no server may send fails the test.
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
        assert_eq!(short & 0x80, 0, "a server's frame is masked");
        let len = match short {
            126 => u64::from(u16::from_be_bytes(self.read_array())),
            127 => u64::from_be_bytes(self.read_array()),
            n => u64::from(n),
        };
        assert_eq!(header(first, len, None)[1], short, "length {len} not in its shortest form");
        let known = [0, 1, 2, 8, 9, 10].contains(&(first & 0x0f));
        assert!(known, "unknown opcode in {first:#04x}");
        let control_fits = first & 0x08 == 0 || (first & FIN != 0 && len <= 125);
        assert!(control_fits, "control frame {first:#04x} of {len} bytes");
        let mut payload = vec![0; usize::try_from(len).unwrap()];
        self.read_exact(&mut payload);
        Some(Frame { first, payload })
    }

    #[track_caller]
    pub fn frame(&mut self) -> Frame {
        self.next_frame().expect("FIN instead of a frame")
    }

    /// The next frame, which must be `first`; its payload.
    #[track_caller]
    pub fn expect(&mut self, first: u8) -> Vec<u8> {
        let frame = self.frame();
        assert_eq!(frame.first, first, "frame with payload {}", frame.payload.escape_ascii());
        frame.payload
    }

    /// The payloads of the next data frames, exactly `n` bytes.
    #[track_caller]
    pub fn receive(&mut self, n: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(n);
        while bytes.len() < n {
            let frame = self.frame();
            assert!(frame.first & 0x08 == 0, "{frame:?} after {} of {n} bytes", bytes.len());
            bytes.extend(frame.payload);
        }
        assert_eq!(bytes.len(), n, "more than was expected");
        bytes
    }

    /// The payloads of all data frames up to the Close frame, and its code. Pings and Pongs are let pass.
    #[track_caller]
    pub fn receive_until_close(&mut self) -> (Vec<u8>, u16) {
        let mut bytes = Vec::new();
        loop {
            let Some(frame) = self.next_frame() else {
                panic!("FIN without Close after {} bytes", bytes.len());
            };
            match frame.first {
                CLOSE => return (bytes, close_code(&frame.payload)),
                PING | PONG => {}
                first if first & 0x08 == 0 => bytes.extend(frame.payload),
                _ => panic!("{frame:?} after {} bytes", bytes.len()),
            }
        }
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

    /// The end in any form, whatever comes before it.
    #[track_caller]
    pub fn expect_end(&mut self) {
        let mut rest = Vec::new();
        match self.reader.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => {}
            Err(e) => panic!("no end: {}", explain(&e)),
        }
    }

    /// All frames up to the end in any form; one that was cut is left out.
    #[track_caller]
    pub fn frames_to_the_end(&mut self) -> Vec<Frame> {
        let mut raw = self.reader.buffer().to_vec();
        raw.extend(self.reader.get_mut().receive_all().0);
        parse_frames(&raw)
    }

    /// The closing handshake, begun here.
    #[track_caller]
    pub fn close(mut self, code: u16) {
        self.send(CLOSE, &reason(code, b""));
        assert_eq!(self.receive_until_close().1, code);
        self.expect_fin();
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

/// The unmasked frames in `raw`; one that is cut at the end is left out.
pub fn parse_frames(mut raw: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let [first, short, rest @ ..] = raw {
        let (len_bytes, marker) = match short {
            126 => (2, 0),
            127 => (8, 0),
            n => (0, usize::from(*n)),
        };
        let Some(long) = rest.get(..len_bytes) else { break };
        let len = long.iter().fold(marker, |len, byte| len << 8 | usize::from(*byte));
        let Some(payload) = rest.get(len_bytes..len_bytes + len) else { break };
        frames.push(Frame { first: *first, payload: payload.to_vec() });
        raw = &rest[len_bytes + len..];
    }
    frames
}

/// The code in a Close frame's payload; 1005 if there is none (RFC 6455 §7.1.5).
#[track_caller]
pub fn close_code(payload: &[u8]) -> u16 {
    match payload {
        [] => 1005,
        [a, b, text @ ..] => {
            std::str::from_utf8(text).expect("the reason is UTF-8");
            u16::from_be_bytes([*a, *b])
        }
        _ => panic!("a Close payload of one byte"),
    }
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: String,
}

impl Response {
    /// Sends `request` and reads what is answered until FIN. A reset fails the test.
    #[track_caller]
    pub fn to(port: u16, request: &[u8]) -> Self {
        let mut stream = Stream::tcp(port);
        stream.send(request);
        Self::read(&mut stream)
    }

    /// Reads an answer until FIN. A reset fails the test.
    #[track_caller]
    pub fn read(stream: &mut Stream) -> Self {
        let bytes = stream.receive_until_fin();
        assert!(!bytes.is_empty(), "FIN without an answer");
        let mut rest = &bytes[..];
        let mut response = Self::read_head(&mut rest);
        response.body = String::from_utf8(rest.to_vec()).expect("the body is text");
        response
    }

    /// One header's value; `None` if it is absent, a failure if it is repeated.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        let value = values.next().map(|(_, v)| v.as_str());
        assert!(values.next().is_none(), "{name} is repeated");
        value
    }

    /// Whether one of the comma-separated lists in headers of this name has `token`.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        let lists = self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        let mut tokens = lists.flat_map(|(_, v)| v.split(',')).map(str::trim);
        tokens.any(|t| t.eq_ignore_ascii_case(token))
    }

    /// What every refusal has (DESIGN 3): one line of plain text, and the end announced.
    #[track_caller]
    pub fn expect_refusal(&self, status: u16) {
        assert_eq!(self.status, status, "{self:?}");
        assert!(self.has_token("Connection", "close"), "{self:?}");
        let length = self.header("Content-Length").map(str::parse);
        assert_eq!(length, Some(Ok(self.body.len())), "{self:?}");
        let kind = self.header("Content-Type").expect("Content-Type");
        assert!(kind.starts_with("text/plain"), "{kind}");
        let text = self.body.trim_end();
        assert!(text.len() > 10, "the body says too little: {text:?}");
        assert!(!text.contains('\n'), "more than one line: {text:?}");
    }

    #[track_caller]
    fn read_head(reader: &mut impl Read) -> Self {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            match reader.read(&mut byte) {
                Ok(0) => panic!("FIN in the head: {}", head.escape_ascii()),
                Ok(_) => head.push(byte[0]),
                Err(e) => panic!("in the head: {}", explain(&e)),
            }
        }
        let head = String::from_utf8(head).expect("the head is text");
        let mut lines = head.split("\r\n").take_while(|l| !l.is_empty());
        let first = lines.next().unwrap_or_default();
        let status = first.strip_prefix("HTTP/1.1 ").and_then(|l| l.get(..3));
        let field = |line: &str| {
            let (name, value) = line.split_once(':').expect("a header has a colon");
            (name.to_string(), value.trim().to_string())
        };
        Self {
            status: status.and_then(|s| s.parse().ok()).expect("a status line"),
            headers: lines.map(field).collect(),
            body: String::new(),
        }
    }
}
