//! An open WebSocket seen from either end. Whatever the proxy must not send fails the test.

use std::io::{self, BufReader, Read};

use super::frame::{
    close_code, close_parts, frame, header, parse_frames, server_frame, Frame, CLOSE, FIN, PING,
    PONG,
};
use super::stream::explain;
use super::Stream;

/// Which end the test plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plays {
    Client,
    Server,
}

/// An open WebSocket.
pub struct Socket {
    reader: BufReader<Stream>,
    plays: Plays,
    /// The masking-keys of all frames that came, where the proxy is the client.
    pub keys: Vec<[u8; 4]>,
}

impl Socket {
    pub fn new(reader: BufReader<Stream>, plays: Plays) -> Self {
        Self { reader, plays, keys: Vec::new() }
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
        self.send_raw(&match self.plays {
            Plays::Client => frame(first, payload),
            Plays::Server => server_frame(first, payload),
        });
    }

    /// The next frame, or `None` at FIN.
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
        let masked = short & 0x80 != 0;
        assert_eq!(masked, self.plays == Plays::Server, "whose frames are masked (RFC 6455 §5.1)");
        let len = match short & 0x7f {
            126 => u64::from(u16::from_be_bytes(self.read_array())),
            127 => u64::from_be_bytes(self.read_array()),
            n => u64::from(n),
        };
        let key: Option<[u8; 4]> = masked.then(|| self.read_array());
        assert_eq!(header(first, len, key)[1], short, "length {len} not in its shortest form");
        let known = [0, 1, 2, 8, 9, 10].contains(&(first & 0x0f));
        assert!(known, "unknown opcode in {first:#04x}");
        let control_fits = first & 0x08 == 0 || (first & FIN != 0 && len <= 125);
        assert!(control_fits, "control frame {first:#04x} of {len} bytes");
        let mut payload = vec![0; usize::try_from(len).unwrap()];
        self.read_exact(&mut payload);
        if let Some(key) = key {
            self.keys.push(key);
            payload.iter_mut().zip(key.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
        }
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

    /// The next message, its fragments put together, and the first byte of the first of them with FIN.
    #[track_caller]
    pub fn message(&mut self) -> (u8, Vec<u8>) {
        let Frame { first, mut payload } = self.frame();
        assert!(first & 0x08 == 0 && first & 0x0f != 0, "frame {first:#04x} begins no message");
        let mut last = first;
        while last & FIN == 0 {
            let next = self.frame();
            assert_eq!(next.first & 0x0f, 0, "frame {:#04x} continues no message", next.first);
            last = next.first;
            payload.extend(next.payload);
        }
        (first | FIN, payload)
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

    /// The next frame is Close; its code and what it says.
    #[track_caller]
    pub fn expect_close_and_reason(&mut self) -> (u16, String) {
        let payload = self.expect(CLOSE);
        let (code, reason) = close_parts(&payload);
        (code, reason.to_string())
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

    /// All frames of a server up to the end in any form; one that was cut is left out.
    #[track_caller]
    pub fn frames_to_the_end(&mut self) -> Vec<Frame> {
        assert_eq!(self.plays, Plays::Client, "a client's frames are masked");
        let mut raw = self.reader.buffer().to_vec();
        raw.extend(self.reader.get_mut().receive_all().0);
        parse_frames(&raw)
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
