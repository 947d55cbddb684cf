//! Version 1: a line of text (§2.1).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{literal, Ips, Pair, Parsed, ProxyHeader, ProxyHeaderError};

/// Bytes in a line.
const MAX_LINE: usize = 107;

pub(super) fn parse(wire: &[u8]) -> Parsed {
    let line = &wire[..wire.len().min(MAX_LINE)];
    match parse_line(line)? {
        None if line.len() == MAX_LINE => Err(ProxyHeaderError::LineTooLong),
        parsed => Ok(parsed),
    }
}

fn parse_line(line: &[u8]) -> Parsed {
    let mut rest = line;
    if !literal(&mut rest, b"PROXY ")? {
        return Ok(None);
    }
    let protocols = [&b"TCP4 "[..], b"TCP6 ", b"UNKNOWN"];
    let Some(protocol) = protocols.into_iter().find(|protocol| rest.starts_with(protocol)) else {
        return match protocols.iter().any(|protocol| protocol.starts_with(rest)) {
            true => Ok(None),
            false => Err(ProxyHeaderError::Line),
        };
    };
    rest = &rest[protocol.len()..];
    let header = match protocol {
        b"TCP4 " => addresses::<Ipv4Addr>(&mut rest, 15)?,
        b"TCP6 " => addresses::<Ipv6Addr>(&mut rest, 39)?,
        _ => unknown(&mut rest)?,
    };
    Ok(header.map(|header| (header, line.len() - rest.len())))
}

/// What follows `UNKNOWN` is to be ignored up to the end of the line.
fn unknown(rest: &mut &[u8]) -> Result<Option<ProxyHeader>, ProxyHeaderError> {
    if !matches!(rest.first(), None | Some(b' ' | b'\r')) {
        return Err(ProxyHeaderError::Line);
    }
    let end = rest.windows(2).position(|pair| pair == b"\r\n");
    *rest = end.map_or(&[], |at| &rest[at + 2..]);
    Ok(end.map(|_| ProxyHeader::UNKNOWN))
}

/// Both addresses, of at most `most` characters, and both ports.
fn addresses<T>(rest: &mut &[u8], most: usize) -> Result<Option<ProxyHeader>, ProxyHeaderError>
where
    T: std::str::FromStr + Into<IpAddr>,
{
    let ip = |field: &str| match field.parse::<T>() {
        Ok(ip) => Ok(ip.into()),
        Err(_) => Err(ProxyHeaderError::Address),
    };
    let Some(source) = field(rest, b" ", most)? else { return Ok(None) };
    let source = ip(source)?;
    let Some(destination) = field(rest, b" ", most)? else { return Ok(None) };
    let destination = ip(destination)?;
    let Some(source_port) = field(rest, b" ", 5)? else { return Ok(None) };
    let source = SocketAddr::new(source, port(source_port)?);
    let Some(destination_port) = field(rest, b"\r\n", 5)? else { return Ok(None) };
    let destination = SocketAddr::new(destination, port(destination_port)?);
    Ok(Some(ProxyHeader { source: Some(source), destination: Some(destination) }))
}

/// Takes an address or a port, and what ends it, off the front of `rest`; `None` if that has not
/// come yet.
fn field<'a>(
    rest: &mut &'a [u8],
    end: &[u8],
    most: usize,
) -> Result<Option<&'a str>, ProxyHeaderError> {
    let is_ours = |b: &&u8| b.is_ascii_hexdigit() || matches!(b, b'.' | b':');
    let len = rest.iter().take_while(is_ours).count();
    let (field, behind) = rest.split_at(len);
    let seen = behind.len().min(end.len());
    if len > most || behind[..seen] != end[..seen] || (len == 0 && seen > 0) {
        return Err(ProxyHeaderError::Line);
    }
    if seen < end.len() {
        return Ok(None);
    }
    *rest = &behind[seen..];
    // All of it is ASCII.
    Ok(std::str::from_utf8(field).ok())
}

/// Without leading zeros.
fn port(digits: &str) -> Result<u16, ProxyHeaderError> {
    match digits.parse() {
        Ok(port) if digits.len() == 1 || !digits.starts_with('0') => Ok(port),
        _ => Err(ProxyHeaderError::Port),
    }
}

pub(super) fn encode(pair: Option<Pair>) -> Vec<u8> {
    let line = match pair {
        Some(Pair { ips: Ips::V4(source, destination), ports: [from, to] }) => {
            format!("PROXY TCP4 {source} {destination} {from} {to}\r\n")
        }
        Some(Pair { ips: Ips::V6(source, destination), ports: [from, to] }) => {
            format!("PROXY TCP6 {source} {destination} {from} {to}\r\n")
        }
        None => "PROXY UNKNOWN\r\n".to_owned(),
    };
    line.into_bytes()
}
