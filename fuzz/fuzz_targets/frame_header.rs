//! Frame headers against a second reading of RFC 6455 §5.2.
//!
//! Whatever the bytes are, every prefix of them must ask for more or give the final answer, and
//! what is read must be written back as it was: the shortest form is the only one.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ws_tcp_proxy::proto::frame::{FrameHeader, Opcode, MAX_HEADER};

fuzz_target!(|data: &[u8]| {
    reads(data);
    writes(data);
});

/// Bytes to a header, at every cut.
fn reads(wire: &[u8]) {
    let answer = FrameHeader::decode(wire);
    let decides = (0..=wire.len())
        .find(|&cut| FrameHeader::decode(&wire[..cut]) != Ok(None))
        .unwrap_or(wire.len() + 1);
    for cut in decides..=wire.len() {
        assert_eq!(FrameHeader::decode(&wire[..cut]), answer, "cut at {cut}");
    }
    assert_eq!(matches!(answer, Ok(None)), decides > wire.len());
    assert_eq!(answer.is_err(), breaks_a_rule(wire), "{answer:?}");
    if let Ok(Some((header, len))) = answer {
        assert_eq!(len, decides, "it is read with its last byte, not sooner or later");
        let mut out = [0; MAX_HEADER];
        assert_eq!(header.encode(&mut out), len);
        assert_eq!(&out[..len], &wire[..len]);
    }
}

/// The rules of §5.2 and §5.5, as far as these bytes show them broken.
fn breaks_a_rule(wire: &[u8]) -> bool {
    let [first, rest @ ..] = wire else { return false };
    let opcode = first & 0x0f;
    let control = opcode >= 8;
    if first & 0x70 != 0 || !matches!(opcode, 0..=2 | 8..=10) || control && first & 0x80 == 0 {
        return true;
    }
    let [second, rest @ ..] = rest else { return false };
    let number = |bytes: &[u8]| bytes.iter().fold(0, |n: u64, &b| n << 8 | u64::from(b));
    match second & 0x7f {
        126.. if control => true,
        126 if rest.len() >= 2 => number(&rest[..2]) < 126,
        127 if rest.len() >= 8 => {
            let len = number(&rest[..8]);
            !(1 << 16..1 << 63).contains(&len)
        }
        _ => false,
    }
}

/// A header to bytes and back.
fn writes(data: &[u8]) {
    let [bits, shift, key @ .., a, b, c, d, e, f, g, h] = data else { return };
    let Some(opcode) = Opcode::from_bits(bits & 0x0f) else { return };
    // Shifted, so that short lengths are as likely as long ones.
    let len = u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]) >> (1 + shift % 63);
    let header = FrameHeader {
        fin: bits & 0x80 != 0 || opcode.is_control(),
        opcode,
        mask: key.first_chunk().copied(),
        payload_len: if opcode.is_control() { len.min(125) } else { len },
    };
    let mut out = [0; MAX_HEADER];
    let n = header.encode(&mut out);
    assert_eq!(FrameHeader::decode(&out[..n]), Ok(Some((header, n))));
    for cut in 0..n {
        assert_eq!(FrameHeader::decode(&out[..cut]), Ok(None), "cut at {cut}");
    }
    // What follows is payload, and nothing to a header.
    assert_eq!(FrameHeader::decode(&[&out[..n], data].concat()), Ok(Some((header, n))));
}
