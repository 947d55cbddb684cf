//! PROXY headers: no bytes may panic, cuts do not matter, and what is read is what was written.
//!
//! ```text
//! input = options (1 byte), cuts (length, then lengths), then
//!         the bytes on the wire, or
//!         behind the signature of version 2: version and command, family and transport (1 each), a
//!         block (length and bytes), and what follows
//! ```
//!
//! The bytes are also taken for addresses, ports and an id, that are written and read again.

#![no_main]

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use libfuzzer_sys::fuzz_target;
use ws_tcp_proxy::proto::proxy_header::{
    encode, ProxyHeader, ProxyHeaderError, Version, MAX_HEADER,
};
use ws_tcp_proxy_fuzz::cuts::Cuts;
use ws_tcp_proxy_fuzz::input::Input;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// `None` asks for more.
type Outcome = Option<Result<(ProxyHeader, usize), ProxyHeaderError>>;

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let options = input.byte();
    let lengths = input.bytes();
    let wire = if options & 1 == 0 { input.rest().to_vec() } else { version_2(input) };
    let whole = ProxyHeader::parse(&wire).transpose();
    for cuts in [Cuts::Bytes, Cuts::Lengths(lengths)] {
        assert_eq!(outcome(&wire, cuts), whole, "{cuts:?}");
    }
    match &whole {
        Some(Ok((header, len))) => {
            assert!(*len <= MAX_HEADER.min(wire.len()));
            assert_eq!(header.source.is_some(), header.destination.is_some());
            let (head, rest) = wire.split_at(*len);
            assert_eq!(ProxyHeader::parse(head).transpose(), whole, "without {rest:?}");
            match head.starts_with(b"PROXY ") {
                true => check_line(head, header),
                false => check_block(head, header),
            }
        }
        Some(Err(error)) => {
            let said = error.to_string();
            assert!(said.contains("PROXY") && !said.contains(char::is_control), "{said:?}");
        }
        None => assert!(wire.len() < MAX_HEADER, "{} bytes and no answer", wire.len()),
    }
    comes_back(Input::new(data));
});

fn version_2(mut input: Input) -> Vec<u8> {
    let kind = [input.byte(), input.byte()];
    let block = input.bytes();
    [SIGNATURE, &kind, &[0, block.len() as u8], block, input.rest()].concat()
}

fn outcome(wire: &[u8], cuts: Cuts) -> Outcome {
    let mut end = 0;
    let mut ends = cuts.pieces(wire, usize::MAX).into_iter().map(|piece| {
        end += piece.len();
        end
    });
    ends.find_map(|end| ProxyHeader::parse(&wire[..end]).transpose())
}

/// As its words say.
fn check_line(head: &[u8], header: &ProxyHeader) {
    let line = head.strip_suffix(b"\r\n").expect("the end of a line");
    assert!(head.len() <= 107 && !line.windows(2).any(|pair| pair == b"\r\n"));
    let (Some(source), Some(destination)) = (header.source, header.destination) else {
        assert!(line.starts_with(b"PROXY UNKNOWN"));
        return;
    };
    let text = std::str::from_utf8(line).expect("ASCII");
    let words: Vec<_> = text.split(' ').collect();
    assert_eq!((words.len(), words[0]), (6, "PROXY"));
    assert_eq!(words[1], if source.is_ipv4() { "TCP4" } else { "TCP6" });
    assert_eq!(source.is_ipv4(), destination.is_ipv4());
    assert_eq!([words[2].parse(), words[3].parse()], [Ok(source.ip()), Ok(destination.ip())]);
    assert_eq!(words[4..], [source.port().to_string(), destination.port().to_string()]);
}

/// As its numbers say.
fn check_block(head: &[u8], header: &ProxyHeader) {
    let (fixed, block) = head.split_at(16);
    assert!(fixed.starts_with(SIGNATURE));
    assert_eq!(u32::from(fixed[14]) * 256 + u32::from(fixed[15]), block.len() as u32);
    let width = match (fixed[12], fixed[13]) {
        (0x21, 0x11 | 0x12) => 4,
        (0x21, 0x21 | 0x22) => 16,
        (0x21, 0x31 | 0x32) => {
            assert!(block.len() >= 216);
            return assert_eq!(header.source, None);
        }
        (kind, _) => {
            assert!(matches!(kind, 0x20 | 0x21));
            return assert_eq!(header.source, None);
        }
    };
    let number = |at: usize, n: usize| {
        block[at..at + n].iter().fold(0, |number, byte| number << 8 | u128::from(*byte))
    };
    let found = [header.source, header.destination].map(|address| address.expect("an address"));
    for (index, address) in found.into_iter().enumerate() {
        let ip = match address.ip() {
            IpAddr::V4(ip) if width == 4 => u128::from(u32::from(ip)),
            IpAddr::V6(ip) if width == 16 => u128::from(ip),
            ip => panic!("{ip} of {width} bytes"),
        };
        assert_eq!(ip, number(index * width, width));
        assert_eq!(u128::from(address.port()), number(2 * width + 2 * index, 2));
    }
    // Types and lengths lead from the ports to the end.
    let mut at = 2 * width + 4;
    while at < block.len() {
        at += 3 + number(at + 1, 2) as usize;
    }
    assert_eq!(at, block.len());
}

fn comes_back(mut input: Input) {
    let kinds = input.byte();
    let mut address = |kind: u8| {
        let mut octets = [0; 16];
        octets.iter_mut().for_each(|byte| *byte = input.byte());
        let v6 = Ipv6Addr::from(octets);
        let v4 = std::net::Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]);
        let ip = [v6.into(), v4.into(), v4.to_ipv6_mapped().into()];
        let ip: Option<&IpAddr> = ip.get(usize::from(kind));
        let port = u16::from_be_bytes([input.byte(), input.byte()]);
        ip.map(|ip| SocketAddr::new(*ip, port))
    };
    let (source, destination) = (address(kinds & 3), address(kinds >> 2 & 3));
    let id = input.rest();
    let expected = source.zip(destination).map(|pair| [mapped(pair.0), mapped(pair.1)]);
    for version in [Version::V1, Version::V2] {
        let wire = encode(version, source, destination, Some(id));
        let (read, len) = ProxyHeader::parse(&wire).expect("our own").expect("all of it");
        assert_eq!(len, wire.len());
        let pair = read.source.zip(read.destination);
        assert_eq!(pair.map(|pair| [mapped(pair.0), mapped(pair.1)]), expected);
        if let Some([source, destination]) = expected {
            let is_v4 = |ip: IpAddr| matches!(ip, IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some());
            let both = is_v4(source.0) && is_v4(destination.0);
            assert!(pair.is_some_and(|pair| pair.0.is_ipv4() == both && pair.1.is_ipv4() == both));
        }
        let id = &id[..id.len().min(128)];
        assert!(version == Version::V1 || wire.ends_with(id));
    }
}

fn mapped(address: SocketAddr) -> (IpAddr, u16) {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().into(),
        ip => ip,
    };
    (ip, address.port())
}
