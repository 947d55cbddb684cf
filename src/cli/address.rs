//! Hosts and ports: `HOST:PORT` to [`HostPort`], or what to write instead.
//!
//! Names are checked for shape only; looking them up is not done here.

use std::net::{IpAddr, Ipv6Addr};

use super::Flaw;
use crate::config::{Host, HostPort};

/// RFC 1035 §2.3.4, without the root's dot.
const MAX_HOST: usize = 253;
const MAX_LABEL: usize = 63;

/// What the two ends do not have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Local,
    Remote,
}

impl Side {
    /// For examples, when the user gave none that can be used.
    fn port(self) -> &'static str {
        match self {
            Self::Local => "8080",
            Self::Remote => "5000",
        }
    }

    /// Likewise, with a host.
    pub(super) fn address(self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    fn unix_scheme(self) -> &'static str {
        match self {
            Self::Local => "ws+unix:",
            Self::Remote => "unix:",
        }
    }
}

/// The value of `--ip`: a host without a port, so IPv6 may go without brackets.
pub(super) fn local_host(text: &str) -> Result<Host, Flaw> {
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    match inner.parse::<Ipv6Addr>() {
        Ok(ip) => Ok(Host::Ip(ip.into())),
        Err(_) => host(text, Side::Local).map_err(|flaw| flaw.like("127.0.0.1")),
    }
}

/// The value of `--port` and `--ws-port`; 0 lets the kernel choose.
pub(super) fn local_port(text: &str) -> Result<u16, Flaw> {
    port(text, Side::Local)
}

/// `HOST:PORT` or `[IPV6]:PORT`.
pub(super) fn host_port(text: &str, side: Side) -> Result<HostPort, Flaw> {
    if text.is_empty() {
        return Err(Flaw::new("is empty"));
    }
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(Flaw::new("has a space or a control character in it"));
    }
    if text.starts_with(['/', '@']) {
        let flaw = Flaw::new("has no host and port; is it a unix socket?");
        return Err(flaw.like(format!("{}{text}", side.unix_scheme())));
    }
    if text.contains('@') {
        return Err(Flaw::new("has a user name, which is not used here"));
    }
    if text.contains(['/', '?', '#']) {
        return Err(Flaw::new("has a path behind the port, which is not used here"));
    }
    if let Some(inner) = text.strip_prefix('[') {
        return bracketed(inner, side);
    }
    let Some((name, digits)) = text.rsplit_once(':') else { return Err(one_part(text, side)) };
    if name.contains(':') {
        return Err(many_colons(text, side));
    }
    if name.is_empty() {
        return Err(Flaw::new("has no host in front of the colon").like(match side {
            Side::Local => format!("0.0.0.0:{}", usable(digits, side)),
            Side::Remote => format!("127.0.0.1:{}", usable(digits, side)),
        }));
    }
    let host = host(name, side)
        .map_err(|flaw| suffix_example(flaw, &format!(":{}", usable(digits, side))))?;
    let port = port(digits, side).map_err(|flaw| flaw.like(format!("{name}:{}", side.port())))?;
    Ok(HostPort { host, port })
}

/// `IPV6]:PORT`.
fn bracketed(text: &str, side: Side) -> Result<HostPort, Flaw> {
    let Some((inner, rest)) = text.split_once(']') else {
        return Err(Flaw::new("has no ] behind the address").like(format!("[::1]:{}", side.port())));
    };
    let ip: Ipv6Addr = inner.parse().map_err(|_| {
        Flaw::new(format!("{inner:?} is not an IPv6 address"))
            .like(format!("[::1]:{}", side.port()))
    })?;
    let example = format!("[{ip}]:{}", side.port());
    let Some(digits) = rest.strip_prefix(':') else {
        return Err(Flaw::new("has no port behind the ]").like(example));
    };
    let port = port(digits, side).map_err(|flaw| flaw.like(example))?;
    Ok(HostPort { host: Host::Ip(ip.into()), port })
}

/// No colon: a host without a port, or the other way round.
fn one_part(text: &str, side: Side) -> Flaw {
    if is_number(text) {
        return Flaw::new("has no host, only a port")
            .like(format!("127.0.0.1:{}", usable(text, side)));
    }
    match host(text, side) {
        Ok(_) => Flaw::new("has no port").like(format!("{text}:{}", side.port())),
        Err(flaw) => suffix_example(flaw, &format!(":{}", side.port())),
    }
}

/// Several colons and no brackets.
fn many_colons(text: &str, side: Side) -> Flaw {
    let port_inside = text
        .rsplit_once(':')
        .filter(|(ip, digits)| ip.parse::<Ipv6Addr>().is_ok() && usable(digits, side) == *digits);
    let flaw = Flaw::new("an IPv6 address needs brackets");
    match port_inside {
        Some((ip, digits)) => flaw.like(format!("[{ip}]:{digits}")),
        None if text.parse::<Ipv6Addr>().is_ok() => flaw.like(format!("[{text}]:{}", side.port())),
        None => Flaw::new("has more than one colon"),
    }
}

/// A literal address or a name (RFC 1123 §2.1, and the underscore that is found in the wild).
fn host(text: &str, side: Side) -> Result<Host, Flaw> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(Host::Ip(ip));
    }
    if text == "*" {
        let flaw = Flaw::new("\"*\" is no address");
        return Err(match side {
            Side::Local => {
                Flaw::new("\"*\" is no address; 0.0.0.0 is every interface").like("0.0.0.0")
            }
            Side::Remote => flaw,
        });
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    if let Some(c) = name.chars().find(|c| !c.is_ascii_alphanumeric() && !"-._".contains(*c)) {
        return Err(Flaw::new(format!("{c:?} cannot stand in a host name")));
    }
    let fits = |label: &str| {
        (1..=MAX_LABEL).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    if name.len() > MAX_HOST || !name.split('.').all(fits) {
        return Err(Flaw::new(format!("{text:?} is not a host name")));
    }
    // `127.1` and `0x7f000001` are addresses to getaddrinfo(3), though few know of which host.
    let last = name.rsplit('.').next().unwrap_or(name);
    if is_number(last) || last.to_ascii_lowercase().starts_with("0x") {
        return Err(Flaw::new(format!("{text:?} is not an IPv4 address")));
    }
    Ok(Host::Name(text.to_owned()))
}

pub(super) fn port(text: &str, side: Side) -> Result<u16, Flaw> {
    if text.is_empty() {
        return Err(Flaw::new("has no port behind the colon"));
    }
    if !is_number(text) {
        return Err(Flaw::new(format!("{text:?} is not a port number")));
    }
    match text.parse() {
        Ok(0) if side == Side::Remote => Err(Flaw::new("port 0 cannot be connected to")),
        Ok(port) => Ok(port),
        Err(_) => Err(Flaw::new(format!("port {text} is over 65535"))),
    }
}

pub(super) fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// The user's port where it can be used in an example, else a usual one.
fn usable(digits: &str, side: Side) -> &str {
    match port(digits, side) {
        Ok(_) => digits,
        Err(_) => side.port(),
    }
}

fn suffix_example(flaw: Flaw, suffix: &str) -> Flaw {
    Flaw { example: flaw.example.map(|example| example + suffix), ..flaw }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_of_its_own_needs_no_brackets() {
        let name = |text| local_host(text).map(|host| HostPort { host, port: 1 }.to_string());
        assert_eq!(name("::1").as_deref(), Ok("[::1]:1"));
        assert_eq!(name("[::1]").as_deref(), Ok("[::1]:1"));
        assert_eq!(name("10.0.0.1").as_deref(), Ok("10.0.0.1:1"));
        assert_eq!(name("localhost").as_deref(), Ok("localhost:1"));
        for bad in ["", "10.0.0", "a:80", "::1:", "[::1", "*", "a b", "ws://a"] {
            let flaw = local_host(bad).unwrap_err();
            assert_eq!(flaw.example.as_deref(), Some("127.0.0.1"), "{bad}");
        }
    }
}
