//! WebSocket frames as bytes (RFC 6455 §5), good ones and bad ones.

/// First bytes of frames: FIN and opcode (RFC 6455 §5.2).
pub const FIN: u8 = 0x80;
pub const CONTINUATION: u8 = 0x00;
pub const TEXT: u8 = FIN | 0x01;
pub const BINARY: u8 = FIN | 0x02;
pub const CLOSE: u8 = FIN | 0x08;
pub const PING: u8 = FIN | 0x09;
pub const PONG: u8 = FIN | 0x0a;

/// A frame that arrived.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    /// FIN and opcode.
    pub first: u8,
    pub payload: Vec<u8>,
}

/// A frame as a client sends it: masked.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let key = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = header(first, payload.len() as u64, Some(key));
    bytes.extend(payload.iter().zip(key.iter().cycle()).map(|(b, k)| b ^ k));
    bytes
}

/// A frame as a server sends it.
pub fn server_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(first, payload.len() as u64, None);
    bytes.extend_from_slice(payload);
    bytes
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

/// The payload of a Close frame.
pub fn reason(code: u16, text: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes(), text].concat()
}

/// The code in a Close frame's payload; 1005 if there is none (RFC 6455 §7.1.5).
#[track_caller]
pub fn close_code(payload: &[u8]) -> u16 {
    close_parts(payload).0
}

/// The code in a Close frame's payload, and the reason behind it.
#[track_caller]
pub fn close_parts(payload: &[u8]) -> (u16, &str) {
    match payload {
        [] => (1005, ""),
        [a, b, text @ ..] => {
            let text = std::str::from_utf8(text).expect("the reason is UTF-8");
            (u16::from_be_bytes([*a, *b]), text)
        }
        _ => panic!("a Close payload of one byte"),
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
