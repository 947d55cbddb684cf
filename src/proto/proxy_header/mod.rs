//! The PROXY protocol: between whom a connection was made that somebody passes on (HAProxy's
//! `proxy-protocol.txt`, versions 1 and 2; its sections are cited here).
//!
//! Owns the header, in both directions. Never decides who may send one: it is to be awaited from
//! trusted proxies alone, and then from the first byte on, since whoever may leave it out may make
//! it up (§5).
//!
//! ```text
//! 1   PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n
//!
//! 2   signature    | version, | family,   | length of | addresses | TLVs
//!     0D 0A 0D ... | command  | transport | the rest  | and ports |
//!     12 bytes     | 1        | 1         | 2         | 12, 36, 216
//! ```

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

mod v1;
mod v2;

/// Bytes in any header that is taken. Version 2 allows 16 + 65535; the addresses and what proxies
/// tell of TLS fit many times.
pub const MAX_HEADER: usize = 4 << 10;

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyHeader {
    /// Who connected to the proxy. `None` if it does not say: for `UNKNOWN`, unix sockets and
    /// `LOCAL`, which is the proxy itself, looking whether we are well.
    pub source: Option<SocketAddr>,
    /// Where they connected to; there whenever `source` is.
    pub destination: Option<SocketAddr>,
}

/// Which of the formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// A line of text.
    V1,
    /// Binary, with room for more than addresses.
    V2,
}

type Parsed = Result<Option<(ProxyHeader, usize)>, ProxyHeaderError>;

impl ProxyHeader {
    const UNKNOWN: Self = Self { source: None, destination: None };

    /// Reads a header of either version from the start of `wire` and says how long it is;
    /// `Ok(None)` asks for more, though never for more than [`MAX_HEADER`] bytes.
    ///
    /// # Errors
    /// As early as the bytes show it.
    pub fn parse(wire: &[u8]) -> Parsed {
        match wire.first() {
            None => Ok(None),
            Some(b'P') => v1::parse(wire),
            Some(_) => v2::parse(wire),
        }
    }
}

/// Takes `literal` off the front of `rest`. Whether it was all there.
fn literal(rest: &mut &[u8], literal: &[u8]) -> Result<bool, ProxyHeaderError> {
    let seen = rest.len().min(literal.len());
    if rest[..seen] != literal[..seen] {
        return Err(ProxyHeaderError::Missing);
    }
    *rest = &rest[seen..];
    Ok(seen == literal.len())
}

/// Writes a header. Without both addresses it says that they are unknown (`UNKNOWN`, `LOCAL`).
/// IPv4-mapped addresses are written as IPv4, unless the other one is IPv6: then both are.
///
/// `unique_id` names the connection in logs on both sides; version 1 has no place for one, and of
/// one over 128 bytes the rest is left out.
pub fn encode(
    version: Version,
    source: Option<SocketAddr>,
    destination: Option<SocketAddr>,
    unique_id: Option<&[u8]>,
) -> Vec<u8> {
    let pair = source.zip(destination).map(|(source, destination)| {
        let ips = match (canonical(source.ip()), canonical(destination.ip())) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => Ips::V4(source, destination),
            (source, destination) => Ips::V6(ipv6(source), ipv6(destination)),
        };
        Pair { ips, ports: [source.port(), destination.port()] }
    });
    match version {
        Version::V1 => v1::encode(pair),
        Version::V2 => v2::encode(pair, unique_id.unwrap_or_default()),
    }
}

/// Source and destination, in that order.
struct Pair {
    ips: Ips,
    ports: [u16; 2],
}

/// Of one family.
enum Ips {
    V4(Ipv4Addr, Ipv4Addr),
    V6(Ipv6Addr, Ipv6Addr),
}

fn canonical(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(ip, IpAddr::V4),
        IpAddr::V4(_) => ip,
    }
}

fn ipv6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

/// Why a connection does not begin with a PROXY header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyHeaderError {
    /// It begins with something else.
    Missing,
    /// Not a line as §2.1 has it.
    Line,
    /// A line that has not ended after 107 bytes.
    LineTooLong,
    /// An address that is none, or of another family than the line says.
    Address,
    /// A port that is none.
    Port,
    /// A version other than 2 behind the signature of version 2.
    UnknownVersion(u8),
    /// Neither `LOCAL` nor `PROXY`.
    UnknownCommand(u8),
    /// A family or a transport that §2.2 does not know; the byte that has both.
    UnknownFamily(u8),
    /// More than is taken.
    TooLong {
        /// Bytes in the whole header.
        len: usize,
    },
    /// No room for the addresses of the family.
    TooShort {
        /// Bytes behind the first 16.
        len: usize,
        /// Bytes that the addresses take.
        least: usize,
    },
    /// TLVs that do not fill the header, or a checksum that is none or there twice.
    Tlv,
    /// The bytes are not those that were sent.
    Checksum,
}

impl fmt::Display for ProxyHeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str(
                "no PROXY header at the start of the connection; does the proxy in front send one?",
            ),
            Self::Line => f.write_str("a PROXY line is not as version 1 has it"),
            Self::LineTooLong => f.write_str("a PROXY line is longer than 107 bytes"),
            Self::Address => f.write_str("a PROXY line has no address of its family"),
            Self::Port => f.write_str("a PROXY line has a port that is not 0 to 65535"),
            Self::UnknownVersion(version) => {
                write!(f, "a PROXY header has version {version}, not 2")
            }
            Self::UnknownCommand(command) => {
                write!(f, "a PROXY header has unknown command {command:#x}")
            }
            Self::UnknownFamily(family) => {
                write!(f, "a PROXY header has unknown family {family:#04x}")
            }
            Self::TooLong { len } => write!(
                f,
                "a PROXY header of {len} bytes exceeds {MAX_HEADER}; let the proxy in front send \
                 fewer TLVs"
            ),
            Self::TooShort { len, least } => {
                write!(f, "a PROXY header has {len} bytes for addresses that take {least}")
            }
            Self::Tlv => f.write_str("a PROXY header has TLVs that do not fill it"),
            Self::Checksum => f.write_str("a PROXY header has a wrong CRC32c"),
        }
    }
}

impl std::error::Error for ProxyHeaderError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;
    use ProxyHeaderError::*;

    fn address(text: &str) -> Option<SocketAddr> {
        text.parse().ok()
    }

    fn header(source: &str, destination: &str) -> ProxyHeader {
        ProxyHeader { source: address(source), destination: address(destination) }
    }

    /// The header, and that nothing but its bytes matters.
    fn parsed(wire: &[u8]) -> Result<ProxyHeader, ProxyHeaderError> {
        for end in 0..wire.len() {
            assert_eq!(ProxyHeader::parse(&wire[..end]), Ok(None), "{wire:?} up to {end}");
        }
        let whole = ProxyHeader::parse(wire);
        for behind in ["\r\n", "GET / HTTP/1.1\r\n", "PROXY UNKNOWN\r\n"] {
            let more = [wire, behind.as_bytes()].concat();
            assert_eq!(ProxyHeader::parse(&more), whole, "{wire:?} and {behind:?}");
        }
        whole.map(|parsed| {
            let (header, len) = parsed.expect("a whole header");
            assert_eq!(len, wire.len());
            header
        })
    }

    /// What is wrong, found when the last byte of `wire` came and not later; whatever follows.
    fn flaw(wire: &[u8]) -> ProxyHeaderError {
        let error = ProxyHeader::parse(wire).expect_err("an error");
        for end in 0..wire.len() {
            assert_eq!(ProxyHeader::parse(&wire[..end]), Ok(None), "{wire:?} up to {end}");
        }
        let more = [wire, b"\r\n 1 2\r\n"].concat();
        assert_eq!(ProxyHeader::parse(&more), Err(error), "{wire:?}");
        error
    }

    #[test]
    fn reads_lines() {
        for (line, expected) in [
            // §2.1
            (
                "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n",
                header("192.168.0.1:56324", "192.168.0.11:443"),
            ),
            (
                "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
                header("255.255.255.255:65535", "255.255.255.255:65535"),
            ),
            ("PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", header("0.0.0.0:0", "0.0.0.0:0")),
            // HAProxy 2.6.12
            ("PROXY TCP6 ::1 ::1 46886 52503\r\n", header("[::1]:46886", "[::1]:52503")),
            (
                "PROXY TCP6 2001:DB8::1 ::ffff:10.0.0.1 1 2\r\n",
                header("[2001:db8::1]:1", "[::ffff:10.0.0.1]:2"),
            ),
            (
                "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff \
                 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
                header(
                    "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
                    "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
                ),
            ),
            ("PROXY UNKNOWN\r\n", ProxyHeader::UNKNOWN),
            ("PROXY UNKNOWN \r\n", ProxyHeader::UNKNOWN),
            ("PROXY UNKNOWN ffff::1 \0\n\r what ever\r\n", ProxyHeader::UNKNOWN),
        ] {
            assert_eq!(parsed(line.as_bytes()), Ok(expected), "{line:?}");
        }
        let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(91));
        assert_eq!((longest.len(), parsed(longest.as_bytes())), (107, Ok(ProxyHeader::UNKNOWN)));
    }

    /// Each up to the byte that proves it.
    #[test]
    fn refuses_other_lines_at_once() {
        for (line, expected) in [
            ("PO", Missing),
            ("PROXY\t", Missing),
            ("PROXY  ", Line),
            ("PROXY X", Line),
            ("PROXY TCP5", Line),
            ("PROXY TCP\r", Line),
            ("PROXY t", Line),
            ("PROXY UNKNOWNX", Line),
            ("PROXY UNKNOWN\n", Line),
            ("PROXY TCP4  ", Line),
            ("PROXY TCP4 \r", Line),
            ("PROXY TCP4 1.2.3.4\t", Line),
            ("PROXY TCP4 1.2.3.4\r", Line),
            ("PROXY TCP4 1.2.3.4,", Line),
            ("PROXY TCP4 1234567890123456", Line),
            ("PROXY TCP4 1.2.3 ", Address),
            ("PROXY TCP4 1.2.3.256 ", Address),
            ("PROXY TCP4 01.2.3.4 ", Address),
            ("PROXY TCP4 ::1 ", Address),
            ("PROXY TCP4 1.2.3.4 ::1 ", Address),
            ("PROXY TCP6 1.2.3.4 ", Address),
            ("PROXY TCP6 ::1 1.2.3.4 ", Address),
            ("PROXY TCP6 ::1::1 ", Address),
            ("PROXY TCP6 ::1%", Line),
            ("PROXY TCP6 [", Line),
            ("PROXY TCP6 0000:0000:0000:0000:0000:0000:0000:00000", Line),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 -", Line),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 +", Line),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 65536 ", Port),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 080 ", Port),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 00 ", Port),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 a ", Port),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 1.0 ", Port),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 123456", Line),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 1\r", Line),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 1  ", Line),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 1 \r", Line),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 1 2 ", Line),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n", Line),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\rx", Line),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n", Port),
        ] {
            assert_eq!(flaw(line.as_bytes()), expected, "{line:?}");
        }
        let endless = format!("PROXY UNKNOWN {}", "x".repeat(93));
        assert_eq!((endless.len(), flaw(endless.as_bytes())), (107, LineTooLong));
    }

    #[test]
    fn refuses_whatever_else_a_connection_begins_with() {
        for (wire, proof) in [
            ("GET / HTTP/1.1\r\n", 1),
            ("POST / HTTP/1.1\r\n", 2),
            ("PROPFIND / HTTP/1.1\r\n", 4),
            ("\x16\x03\x01\x02\0", 1),
            ("\r\nGET /", 3),
            ("\r\n\r\n\0\r\nQUIT\r\n", 12),
            (" PROXY UNKNOWN\r\n", 1),
            ("proxy UNKNOWN\r\n", 1),
            ("\0", 1),
        ] {
            assert_eq!(flaw(&wire.as_bytes()[..proof]), Missing, "{wire:?}");
            assert_eq!(ProxyHeader::parse(wire.as_bytes()), Err(Missing), "{wire:?}");
        }
    }

    /// What HAProxy 2.6.12 writes for clients over IPv4, IPv6 and a unix socket, and for its own
    /// checks.
    #[test]
    fn reads_what_haproxy_writes() {
        let signature = b"\r\n\r\n\0\r\nQUIT\n";
        let ipv4 = b"\x21\x11\x00\x0c\x7f\0\0\x01\x7f\0\0\x01\xdb\xae\xe7\xc3";
        let wire = [&signature[..], ipv4].concat();
        assert_eq!(parsed(&wire), Ok(header("127.0.0.1:56238", "127.0.0.1:59331")));
        let one = [&[0; 15][..], &[1]].concat();
        let wire = [&signature[..], b"\x21\x21\x00\x24", &one, &one, b"\xd0\xfa\x99\xf1"].concat();
        assert_eq!(parsed(&wire), Ok(header("[::1]:53498", "[::1]:39409")));
        for local in ["\x20\0\0\0", "\x20\0\0\x0a\x03\0\x04\x26\x37\x4b\x38\x05\0\0"] {
            let wire = [&signature[..], local.as_bytes()].concat();
            assert_eq!(parsed(&wire), Ok(ProxyHeader::UNKNOWN), "{local:?}");
        }
    }

    #[test]
    fn writes_lines() {
        for (source, destination, line) in [
            ("192.0.2.7:56324", "198.51.100.1:443", "TCP4 192.0.2.7 198.51.100.1 56324 443"),
            ("[2001:db8::7]:1", "[::1]:65535", "TCP6 2001:db8::7 ::1 1 65535"),
            ("192.0.2.7:1", "[2001:db8::1]:2", "TCP6 ::ffff:192.0.2.7 2001:db8::1 1 2"),
            ("[2001:db8::1]:1", "192.0.2.7:2", "TCP6 2001:db8::1 ::ffff:192.0.2.7 1 2"),
            ("[::ffff:192.0.2.7]:1", "[::ffff:10.0.0.1]:2", "TCP4 192.0.2.7 10.0.0.1 1 2"),
            ("[::ffff:192.0.2.7]:1", "10.0.0.1:2", "TCP4 192.0.2.7 10.0.0.1 1 2"),
            ("none", "10.0.0.1:2", "UNKNOWN"),
            ("10.0.0.1:2", "none", "UNKNOWN"),
            ("none", "none", "UNKNOWN"),
        ] {
            let wire = encode(Version::V1, address(source), address(destination), Some(b"id"));
            assert_eq!(String::from_utf8(wire), Ok(format!("PROXY {line}\r\n")));
        }
    }

    /// HAProxy 2.6.12 (`accept-proxy`) reads these as they were meant.
    #[test]
    fn writes_version_2() {
        let signature = b"\r\n\r\n\0\r\nQUIT\n";
        let wire = |source, destination, id: Option<&[u8]>| {
            let wire = encode(Version::V2, address(source), address(destination), id);
            wire.strip_prefix(signature).expect("the signature").to_vec()
        };
        let ipv4 = b"\xc0\0\x02\x07\xc6\x33\x64\x01\xdc\x04\x01\xbb";
        let both = ("192.0.2.7:56324", "198.51.100.1:443");
        assert_eq!(wire(both.0, both.1, None), [b"\x21\x11\0\x0c", &ipv4[..]].concat());
        assert_eq!(
            wire(both.0, both.1, Some(b"c42.7")),
            [b"\x21\x11\0\x14", &ipv4[..], b"\x05\0\x05c42.7"].concat()
        );
        let ipv6 = b"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x07\
            \0\0\0\0\0\0\0\0\0\0\xff\xff\xc6\x33\x64\x01\xdc\x04\x01\xbb";
        assert_eq!(
            wire("[2001:db8::7]:56324", both.1, Some(b"c42.7")),
            [b"\x21\x21\0\x2c", &ipv6[..], b"\x05\0\x05c42.7"].concat()
        );
        assert_eq!(wire("none", both.1, None), b"\x20\0\0\0");
        assert_eq!(wire("none", "none", Some(b"")), b"\x20\0\0\0");
        assert_eq!(wire("none", "none", Some(b"c42.7")), b"\x20\0\0\x08\x05\0\x05c42.7");
        assert_eq!(wire("none", "none", Some(&[b'x'; 200])).len(), 4 + 3 + 128);
    }

    #[test]
    fn reads_what_it_writes() {
        let mut random = Random::new("reads_what_it_writes");
        let some = |random: &mut Random| {
            let bytes = random.bytes(16);
            let port = random.next() as u16;
            let v6 = <[u8; 16]>::try_from(&bytes[..]).expect("16 bytes");
            let v4 = Ipv4Addr::new(v6[0], v6[1], v6[2], v6[3]);
            match random.below(4) {
                0 => None,
                1 => Some(SocketAddr::new(v4.into(), port)),
                2 => Some(SocketAddr::new(v4.to_ipv6_mapped().into(), port)),
                _ => Some(SocketAddr::new(v6.into(), port)),
            }
        };
        for _ in 0..2_000 {
            let (source, destination) = (some(&mut random), some(&mut random));
            let n = random.below(140);
            let id = random.bytes(n);
            for version in [Version::V1, Version::V2] {
                let wire = encode(version, source, destination, Some(&id));
                let read = parsed(&wire).expect("what was written");
                let plain = |address: Option<SocketAddr>| {
                    address.map(|address| (canonical(address.ip()), address.port()))
                };
                match source.zip(destination) {
                    None => assert_eq!(read, ProxyHeader::UNKNOWN),
                    Some((source, destination)) => {
                        assert_eq!(plain(read.source), plain(Some(source)));
                        assert_eq!(plain(read.destination), plain(Some(destination)));
                        let ips = read.source.zip(read.destination).expect("both");
                        assert_eq!(ips.0.is_ipv4(), ips.1.is_ipv4());
                    }
                }
            }
        }
    }

    #[test]
    fn every_error_is_one_line() {
        for error in [
            Missing,
            Line,
            LineTooLong,
            Address,
            Port,
            UnknownVersion(7),
            UnknownCommand(9),
            UnknownFamily(0x0f),
            TooLong { len: 5000 },
            TooShort { len: 3, least: 12 },
            Tlv,
            Checksum,
        ] {
            let said = error.to_string();
            assert!(said.contains("PROXY") && !said.contains(char::is_control), "{said}");
        }
        let long =
            "a PROXY header of 5000 bytes exceeds 4096; let the proxy in front send fewer TLVs";
        assert_eq!(TooLong { len: 5000 }.to_string(), long);
    }
}
