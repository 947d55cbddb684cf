//! Version 2: binary (§2.2).

use std::net::{IpAddr, SocketAddr};

use super::{literal, Ips, Pair, Parsed, ProxyHeader, ProxyHeaderError, MAX_HEADER};

/// What no other protocol begins with.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The signature, and four bytes about what follows.
const FIXED: usize = 16;
/// Type and length of a TLV.
const TLV_HEAD: usize = 3;
const TYPE_CRC32C: u8 = 0x03;
const TYPE_UNIQUE_ID: u8 = 0x05;
/// Bytes in a unique id (§2.2.5).
const MAX_UNIQUE_ID: usize = 128;

pub(super) fn parse(wire: &[u8]) -> Parsed {
    let mut rest = wire;
    if !literal(&mut rest, SIGNATURE)? {
        return Ok(None);
    }
    let Some(&first) = rest.first() else { return Ok(None) };
    if first >> 4 != 2 {
        return Err(ProxyHeaderError::UnknownVersion(first >> 4));
    }
    let is_local = match first & 0xf {
        0x0 => true,
        0x1 => false,
        command => return Err(ProxyHeaderError::UnknownCommand(command)),
    };
    let Some(&family) = rest.get(1) else { return Ok(None) };
    // Of LOCAL the rest is to be discarded, whatever family it is. A datagram has addresses too.
    let least = match (family >> 4, family & 0xf) {
        _ if is_local => 0,
        (0x1, 0x1 | 0x2) => 2 * 4 + 4,
        (0x2, 0x1 | 0x2) => 2 * 16 + 4,
        (0x3, 0x1 | 0x2) => 2 * 108,
        // Unspecified, one or the other.
        (0x0, 0x0..=0x2) | (0x1..=0x3, 0x0) => 0,
        _ => return Err(ProxyHeaderError::UnknownFamily(family)),
    };
    let Some(len) = rest.get(2..4).map(|len| usize::from(len[0]) << 8 | usize::from(len[1])) else {
        return Ok(None);
    };
    if FIXED + len > MAX_HEADER {
        return Err(ProxyHeaderError::TooLong { len: FIXED + len });
    }
    if len < least {
        return Err(ProxyHeaderError::TooShort { len, least });
    }
    let header = &wire[..wire.len().min(FIXED + len)];
    // Where unknown addresses end and TLVs begin cannot be told.
    if least > 0 && !check_tlvs(header, FIXED + least, FIXED + len)? {
        return Ok(None);
    }
    let Some(block) = header.get(FIXED..FIXED + len) else { return Ok(None) };
    let parsed = match least {
        12 => addresses::<4>(block),
        36 => addresses::<16>(block),
        _ => ProxyHeader::UNKNOWN,
    };
    Ok(Some((parsed, FIXED + len)))
}

/// Both addresses, of `N` bytes, then both ports; the block has them all.
fn addresses<const N: usize>(block: &[u8]) -> ProxyHeader
where
    IpAddr: From<[u8; N]>,
{
    let address = |index: usize| {
        let mut octets = [0; N];
        octets.copy_from_slice(&block[index * N..][..N]);
        let port = &block[2 * N + 2 * index..][..2];
        Some(SocketAddr::new(octets.into(), u16::from_be_bytes([port[0], port[1]])))
    };
    ProxyHeader { source: address(0), destination: address(1) }
}

/// Whether all TLVs are there, which fill the header from `at` to `end`. They are skipped but for
/// the checksum: a damaged address is worth less than none, and the sum costs a microsecond.
fn check_tlvs(header: &[u8], mut at: usize, end: usize) -> Result<bool, ProxyHeaderError> {
    let mut checksum = None;
    while at < end {
        let value = at + TLV_HEAD;
        if value > end {
            return Err(ProxyHeaderError::Tlv);
        }
        let Some(head) = header.get(at..value) else { return Ok(false) };
        let len = usize::from(head[1]) << 8 | usize::from(head[2]);
        let is_checksum = head[0] == TYPE_CRC32C;
        if len > end - value || (is_checksum && (len != 4 || checksum.is_some())) {
            return Err(ProxyHeaderError::Tlv);
        }
        if is_checksum {
            checksum = Some(value);
        }
        at = value + len;
    }
    if header.len() < end {
        return Ok(false);
    }
    match checksum {
        Some(at) if header[at..at + 4] != crc32c_without(header, at).to_be_bytes() => {
            Err(ProxyHeaderError::Checksum)
        }
        _ => Ok(true),
    }
}

/// CRC32c (RFC 9260 appendix A) of a header, whose checksum at `at` counts as zeros (§2.2.3). Bit
/// by bit, since it is taken once per connection at most.
fn crc32c_without(header: &[u8], at: usize) -> u32 {
    let zeros = [0; 4];
    let bytes = header[..at].iter().chain(&zeros).chain(&header[at + 4..]);
    !bytes.fold(!0, |mut sum, byte| {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = sum >> 1 ^ if sum & 1 == 1 { 0x82f6_3b78 } else { 0 };
        }
        sum
    })
}

pub(super) fn encode(pair: Option<Pair>, unique_id: &[u8]) -> Vec<u8> {
    // Version and command, family and transport.
    let kind = match &pair {
        Some(Pair { ips: Ips::V4(..), .. }) => [0x21, 0x11],
        Some(Pair { ips: Ips::V6(..), .. }) => [0x21, 0x21],
        None => [0x20, 0x00],
    };
    let mut block = Vec::new();
    if let Some(Pair { ips, ports }) = pair {
        match ips {
            Ips::V4(a, b) => block.extend([a.octets(), b.octets()].concat()),
            Ips::V6(a, b) => block.extend([a.octets(), b.octets()].concat()),
        }
        block.extend(ports.map(u16::to_be_bytes).concat());
    }
    let id = &unique_id[..unique_id.len().min(MAX_UNIQUE_ID)];
    if !id.is_empty() {
        block.extend([TYPE_UNIQUE_ID, 0, id.len() as u8]);
        block.extend(id);
    }
    // At most 36 + 3 + 128.
    let len = (block.len() as u16).to_be_bytes();
    [SIGNATURE, &kind, &len, &block].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;
    use ProxyHeaderError::*;

    fn header(kind: [u8; 2], block: &[u8]) -> Vec<u8> {
        let len = (block.len() as u16).to_be_bytes();
        [SIGNATURE, &kind, &len, block].concat()
    }

    const IPV4: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0xdc, 0x04, 0x01, 0xbb];

    fn with_tlvs(tlvs: &[u8]) -> Vec<u8> {
        header([0x21, 0x11], &[&IPV4, tlvs].concat())
    }

    fn source(wire: &[u8]) -> Result<Option<SocketAddr>, ProxyHeaderError> {
        parse(wire).map(|parsed| {
            let (header, len) = parsed.expect("a whole header");
            assert_eq!(len, wire.len());
            header.source
        })
    }

    #[test]
    fn commands_families_and_transports_are_those_of_the_document() {
        let known = Ok(Some("192.0.2.7:56324".parse().unwrap()));
        for (kind, found) in [
            ([0x21, 0x11], known),
            ([0x21, 0x12], known),
            ([0x21, 0x10], Ok(None)),
            ([0x21, 0x00], Ok(None)),
            ([0x21, 0x01], Ok(None)),
            ([0x21, 0x13], Err(UnknownFamily(0x13))),
            ([0x21, 0x03], Err(UnknownFamily(0x03))),
            ([0x21, 0x41], Err(UnknownFamily(0x41))),
            ([0x21, 0xff], Err(UnknownFamily(0xff))),
            ([0x21, 0x21], Err(TooShort { len: 12, least: 36 })),
            ([0x21, 0x32], Err(TooShort { len: 12, least: 216 })),
            ([0x20, 0x11], Ok(None)),
            ([0x20, 0xff], Ok(None)),
            ([0x22, 0x11], Err(UnknownCommand(2))),
            ([0x2f, 0x11], Err(UnknownCommand(15))),
            ([0x11, 0x11], Err(UnknownVersion(1))),
            ([0x31, 0x11], Err(UnknownVersion(3))),
            ([0x01, 0x11], Err(UnknownVersion(0))),
        ] {
            assert_eq!(source(&header(kind, &IPV4)), found, "{kind:02x?}");
        }
        assert_eq!(source(&header([0x21, 0x31], &[b'/'; 216])), Ok(None));
        assert_eq!(
            source(&header([0x21, 0x11], &IPV4[..11])),
            Err(TooShort { len: 11, least: 12 })
        );
    }

    #[test]
    fn skips_tlvs_that_fill_the_header() {
        for tlvs in
            [&[0x04, 0, 0][..], &[0x04, 0, 1, 9], &[0xee, 0, 2, 1, 2, 0x02, 0, 0, 0x05, 0, 1, b'x']]
        {
            assert!(matches!(source(&with_tlvs(tlvs)), Ok(Some(_))), "{tlvs:?}");
        }
        for tlvs in [
            &[0x04][..],
            &[0x04, 0],
            &[0x04, 0, 1],
            &[0x04, 0, 2, 1],
            &[0x04, 0xff, 0xff, 1],
            &[0x04, 0, 0, 1],
            &[0x03, 0, 3, 1, 2, 3],
            &[0x03, 0, 0],
        ] {
            assert_eq!(source(&with_tlvs(tlvs)), Err(Tlv), "{tlvs:?}");
        }
        // Where they are to be discarded, they may be anything.
        assert_eq!(source(&header([0x20, 0x00], &[4, 0xff])), Ok(None));
        assert_eq!(source(&header([0x21, 0x00], &[4, 0xff])), Ok(None));
    }

    #[test]
    fn refuses_what_is_too_long_before_it_comes() {
        let most = MAX_HEADER - FIXED - IPV4.len() - TLV_HEAD;
        let tlv = |n: usize| [&[0x04, (n >> 8) as u8, n as u8][..], &vec![0; n]].concat();
        assert!(matches!(source(&with_tlvs(&tlv(most))), Ok(Some(_))));
        let long = with_tlvs(&tlv(most + 1));
        assert_eq!(parse(&long[..FIXED]), Err(TooLong { len: MAX_HEADER + 1 }));
        for kind in [[0x20, 0x00], [0x21, 0x00], [0x21, 0x31]] {
            let endless = [SIGNATURE, &kind, &[0xff, 0xff]].concat();
            assert_eq!(parse(&endless), Err(TooLong { len: FIXED + 65535 }));
        }
    }

    /// Written by HAProxy 2.6.12 with `proxy-v2-options crc32c,unique-id`.
    #[test]
    fn verifies_the_checksum() {
        let wire = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x28\x7f\0\0\x01\x7f\0\0\x01\xbb\x34\x9d\xb3\
            \x03\x00\x04\x77\x6a\x82\x59\x05\x00\x127F000001:BB34_0006";
        assert_eq!(source(wire), Ok(Some("127.0.0.1:47924".parse().unwrap())));
        for bit in FIXED * 8..wire.len() * 8 {
            let mut wire = wire.to_vec();
            wire[bit / 8] ^= 1 << (bit % 8);
            // A type or a length that is damaged may be one without a checksum.
            if !(28..31).contains(&(bit / 8)) {
                assert!(matches!(source(&wire), Err(Checksum | Tlv)), "bit {bit}");
            }
        }
        let twice = [&wire[28..35], &wire[28..35]].concat();
        assert_eq!(source(&with_tlvs(&twice)), Err(Tlv));
    }

    /// 32 bytes of zeros (RFC 3720 §B.4).
    #[test]
    fn the_checksum_is_crc32c() {
        assert_eq!(crc32c_without(&[0; 32], 4), 0x8a91_36aa);
        let mut damaged = [0; 32];
        damaged[4..8].copy_from_slice(&[1, 2, 3, 4]);
        assert_eq!(crc32c_without(&damaged, 4), 0x8a91_36aa);
    }

    #[test]
    fn any_block_is_read_or_refused() {
        let mut random = Random::new("any_block_is_read_or_refused");
        for _ in 0..20_000 {
            let len = random.below(300);
            let mut block = random.bytes(len);
            // Short lengths, so that TLVs fit at times.
            block.iter_mut().skip(12).step_by(3).for_each(|byte| *byte &= 0x03);
            let kind = [0x20 | random.below(3) as u8, random.next() as u8 & 0x33];
            let wire = header(kind, &block);
            let whole = parse(&wire);
            let first = (0..=wire.len()).find_map(|end| parse(&wire[..end]).transpose());
            assert_eq!(first, whole.transpose(), "{wire:02x?}");
        }
    }
}
