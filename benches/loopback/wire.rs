//! What the load clients speak: bare TCP to the copier, the client's half of RFC 6455 to the proxy.
//!
//! Builds masked frames ahead of time and skims those that come back. Never touches a socket; knows
//! neither fragments nor extensions, since a load needs only payload bytes and their number.

use crate::Outcome;

/// The two ways of saying the same thing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    Raw,
    WebSocket,
}

const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;

impl Wire {
    /// `count` messages of `len` bytes each, to be written in large pieces again and again.
    pub fn batch(self, len: usize, count: usize) -> Vec<u8> {
        let payload = pattern(len);
        let mut out = Vec::with_capacity(count * (len + 14));
        for index in 0..count as u32 {
            match self {
                Self::Raw => out.extend_from_slice(&payload),
                Self::WebSocket => encode(BINARY, masking_key(index), &payload, &mut out),
            }
        }
        out
    }

    /// What a client says before it waits for the end of the stream: Close 1000, or nothing.
    pub fn farewell(self) -> Vec<u8> {
        let mut out = Vec::new();
        if self == Self::WebSocket {
            encode(CLOSE, masking_key(0), &1000u16.to_be_bytes(), &mut out);
        }
        out
    }
}

/// The payload of every message, so that an echo can be compared.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|index| index as u8).collect()
}

/// Any sequence without zero bytes does: what costs is that every frame has another key.
fn masking_key(index: u32) -> [u8; 4] {
    (index.wrapping_mul(0x9e37_79b9) | 0x0101_0101).to_be_bytes()
}

/// One masked frame with FIN set (RFC 6455 §5.2).
fn encode(first: u8, key: [u8; 4], payload: &[u8], out: &mut Vec<u8>) {
    out.push(first);
    match payload.len() {
        len @ 0..=125 => out.push(0x80 | len as u8),
        len @ 126..=0xffff => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&key);
    out.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

/// Steps over frame headers, wherever reads cut them, and hands out the payload of data frames.
pub struct Skim {
    wire: Wire,
    /// The header so far: `header[..have]`, `have <= 10`.
    header: [u8; 10],
    have: usize,
    /// Payload bytes of the current frame still to come.
    left: u64,
    is_control: bool,
}

impl Skim {
    pub fn new(wire: Wire) -> Self {
        Self { wire, header: [0; 10], have: 0, left: 0, is_control: false }
    }

    /// Gives `sink` the payload in `bytes`; Ping, Pong and Close are stepped over.
    ///
    /// # Errors
    /// What no server may send: a masked frame, reserved bits or an unknown opcode.
    pub fn feed(&mut self, mut bytes: &[u8], mut sink: impl FnMut(&[u8])) -> Outcome<()> {
        if self.wire == Wire::Raw {
            sink(bytes);
            return Ok(());
        }
        while !bytes.is_empty() {
            if self.left == 0 {
                bytes = self.take_header(bytes)?;
                continue;
            }
            let n = self.left.min(bytes.len() as u64) as usize;
            if !self.is_control {
                sink(&bytes[..n]);
            }
            self.left -= n as u64;
            bytes = &bytes[n..];
        }
        Ok(())
    }

    fn take_header<'a>(&mut self, bytes: &'a [u8]) -> Outcome<&'a [u8]> {
        let n = bytes.len().min(self.header_len() - self.have);
        self.header[self.have..self.have + n].copy_from_slice(&bytes[..n]);
        self.have += n;
        if self.have == self.header_len() {
            self.begin_frame()?;
        }
        Ok(&bytes[n..])
    }

    /// What is known of it: two bytes until those are there.
    fn header_len(&self) -> usize {
        match self.header[1] {
            126 if self.have >= 2 => 4,
            127 if self.have >= 2 => 10,
            _ => 2,
        }
    }

    fn begin_frame(&mut self) -> Outcome<()> {
        let [first, second, ..] = self.header;
        if second & 0x80 != 0 || first & 0x70 != 0 || !matches!(first & 0x0f, 0..=2 | 8..=10) {
            return Err(format!(
                "the proxy sent a frame that starts with {first:#04x} {second:#04x}"
            )
            .into());
        }
        self.is_control = first & 0x08 != 0;
        self.left = match second {
            126 => u64::from(u16::from_be_bytes([self.header[2], self.header[3]])),
            127 => self.header[2..].iter().fold(0, |length, &byte| length << 8 | u64::from(byte)),
            short => u64::from(short),
        };
        self.have = 0;
        Ok(())
    }
}
