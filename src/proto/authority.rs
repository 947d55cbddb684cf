//! Where a stream leads: a host and a port, as types and as text (RFC 3986 §3.2, RFC 9110 §7.1).
//!
//! Owns the `host:port` that a stranger may name, which is narrower than what is taken from the
//! command line. Never looks a name up, and never judges whether a target is allowed.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// RFC 1035 §2.3.4, without the root's dot.
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// A host and a port, the host still unresolved if it is a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// A literal address or a name.
    pub host: Host,
    /// 1 to 65535, or 0 where a listener may choose.
    pub port: u16,
}

/// A literal address or a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// Written as a number; never looked up.
    Ip(IpAddr),
    /// Looked up each time it is dialled.
    Name(String),
}

impl HostPort {
    /// Reads the `host:port` of a `CONNECT` request (RFC 9110 §9.3.6): both parts are there, an
    /// IPv6 address stands in brackets, and nothing else stands beside them.
    ///
    /// Equal targets come out equal, so that rules need to compare only once: a name is
    /// lower-cased and loses the root's dot. What getaddrinfo(3) would read as an address, though
    /// it is not one in four decimal parts (`127.1`, `0x7f000001`), is neither address nor name.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, AuthorityError> {
        if let Some(c) = text.chars().find(|c| !c.is_ascii_graphic()) {
            return Err(AuthorityError::Character(c));
        }
        if text.contains('@') {
            return Err(AuthorityError::UserInfo);
        }
        if text.contains(['/', '?', '#']) {
            return Err(AuthorityError::Path);
        }
        let (host, digits) = match text.strip_prefix('[') {
            Some(rest) => {
                let (inner, rest) = rest.split_once(']').ok_or(AuthorityError::Unclosed)?;
                let host = ipv6(inner)?;
                (host, rest.strip_prefix(':').ok_or(AuthorityError::PortMissing)?)
            }
            None => {
                let (host, digits) = text.split_once(':').unwrap_or((text, ""));
                if digits.contains(':') {
                    return Err(AuthorityError::Colons);
                }
                (ipv4_or_name(host)?, digits)
            }
        };
        Ok(Self { host, port: port(digits)? })
    }
}

impl Host {
    /// Reads a host that stands alone, an IPv6 address in brackets or without. Everything else is
    /// as with [`HostPort::parse`].
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, AuthorityError> {
        if let Some(rest) = text.strip_prefix('[') {
            return ipv6(rest.strip_suffix(']').ok_or(AuthorityError::Unclosed)?);
        }
        match text.contains(':') {
            true => ipv6(text),
            false => ipv4_or_name(text),
        }
    }
}

/// What stands in brackets. A zone means something on one machine only (RFC 6874 §1).
fn ipv6(text: &str) -> Result<Host, AuthorityError> {
    if text.contains('%') {
        return Err(AuthorityError::Zone);
    }
    match text.parse::<Ipv6Addr>() {
        Ok(ip) => Ok(Host::Ip(ip.into())),
        Err(_) => Err(AuthorityError::Ipv6),
    }
}

/// Four decimal parts, or a name (RFC 1123 §2.1, and the underscore that is found in the wild).
fn ipv4_or_name(text: &str) -> Result<Host, AuthorityError> {
    if let Ok(ip) = text.parse::<Ipv4Addr>() {
        return Ok(Host::Ip(ip.into()));
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.is_empty() {
        return Err(AuthorityError::HostMissing);
    }
    let odd = |c: &char| !c.is_ascii_alphanumeric() && !"-._".contains(*c);
    if let Some(c) = name.chars().find(odd) {
        return Err(AuthorityError::Character(c));
    }
    if name.len() > MAX_NAME {
        return Err(AuthorityError::NameLength);
    }
    if !name.split('.').all(|label| (1..=MAX_LABEL).contains(&label.len())) {
        return Err(AuthorityError::LabelLength);
    }
    if name.split('.').any(|label| label.starts_with('-') || label.ends_with('-')) {
        return Err(AuthorityError::Hyphen);
    }
    let name = name.to_ascii_lowercase();
    // No top-level domain is a number (RFC 3696 §2), and every shortened, octal or hexadecimal
    // IPv4 address ends in one. Passed on as a name it would slip by rules for addresses.
    let last = name.rsplit('.').next().unwrap_or(&name);
    if last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x") {
        return Err(AuthorityError::Ipv4);
    }
    Ok(Host::Name(name))
}

/// 1 to 65535 in digits alone: `u16::from_str` would take a sign as well.
fn port(digits: &str) -> Result<u16, AuthorityError> {
    if digits.is_empty() {
        return Err(AuthorityError::PortMissing);
    }
    if digits.len() > 5 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(AuthorityError::Port);
    }
    match digits.parse() {
        Ok(0) => Err(AuthorityError::PortZero),
        Ok(port) => Ok(port),
        Err(_) => Err(AuthorityError::PortRange),
    }
}

/// Why a text is not the `host:port` of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthorityError {
    /// A character that no host name has: a space, a control character, one beyond ASCII.
    Character(char),
    /// An `@` (RFC 3986 §3.2.1).
    UserInfo,
    /// A `/`, `?` or `#`.
    Path,
    /// Nothing in front of the colon.
    HostMissing,
    /// A name longer than 253 characters.
    NameLength,
    /// Two dots in a row, or more than 63 characters without one.
    LabelLength,
    /// A part of a name that begins or ends with a hyphen.
    Hyphen,
    /// What looks like an IPv4 address and has not four decimal parts.
    Ipv4,
    /// Brackets around something else.
    Ipv6,
    /// An IPv6 address with a zone (RFC 4007 §11).
    Zone,
    /// `[` without `]`.
    Unclosed,
    /// More than one colon outside of brackets.
    Colons,
    /// No port, or no colon.
    PortMissing,
    /// Something else than one to five digits.
    Port,
    /// Port 0.
    PortZero,
    /// A port over 65535.
    PortRange,
}

/// One clause, which may be shown to whoever named the target.
impl fmt::Display for AuthorityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            // As a literal, so that a control character stays one line.
            Self::Character(c) => return write!(f, "{c:?} cannot stand in a host name"),
            Self::UserInfo => "a user name cannot stand in front of the host",
            Self::Path => "a scheme or a path cannot stand beside host and port",
            Self::HostMissing => "the host is missing",
            Self::NameLength => "the host name is longer than 253 characters",
            Self::LabelLength => "a part of the host name is empty or longer than 63 characters",
            Self::Hyphen => "a part of the host name begins or ends with a hyphen",
            Self::Ipv4 => "the host is a number, but not an IPv4 address in four decimal parts",
            Self::Ipv6 => "there is no IPv6 address in the brackets",
            Self::Zone => "the IPv6 address has a zone",
            Self::Unclosed => "the bracket in front of the IPv6 address is not closed",
            Self::Colons => "there is more than one colon, and an IPv6 address needs brackets",
            Self::PortMissing => "the port is missing",
            Self::Port => "the port is not a number of at most five digits",
            Self::PortZero => "port 0 cannot be connected to",
            Self::PortRange => "the port is over 65535",
        })
    }
}

impl std::error::Error for AuthorityError {}

impl From<SocketAddr> for HostPort {
    fn from(address: SocketAddr) -> Self {
        Self { host: Host::Ip(address.ip()), port: address.port() }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            Host::Ip(ip) => write!(f, "{ip}:{}", self.port),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_a_host_and_a_port() {
        for (text, same) in [
            ("example.com:443", "example.com:443"),
            ("localhost:1", "localhost:1"),
            ("a:65535", "a:65535"),
            ("a:00080", "a:80"),
            ("Example.COM.:443", "example.com:443"),
            ("_srv.db_1.x--y.example:5432", "_srv.db_1.x--y.example:5432"),
            ("3com.example:80", "3com.example:80"),
            ("1.2.3.4a:80", "1.2.3.4a:80"),
            ("0x7f.example:80", "0x7f.example:80"),
            ("dead.beef:80", "dead.beef:80"),
            ("127.0.0.1:22", "127.0.0.1:22"),
            ("255.255.255.255:22", "255.255.255.255:22"),
            ("[::1]:443", "[::1]:443"),
            ("[2001:DB8::0:1]:443", "[2001:db8::1]:443"),
            ("[::ffff:10.0.0.1]:443", "[::ffff:10.0.0.1]:443"),
        ] {
            let target = HostPort::parse(text);
            assert_eq!(target.as_ref().map(HostPort::to_string).as_deref(), Ok(same), "{text}");
            assert_eq!(HostPort::parse(same), target, "{same}");
        }
    }

    #[test]
    fn a_host_alone_is_what_stands_in_front_of_a_port() {
        for host in ["example.com", "A.", "127.0.0.1", "[::1]", "127.1", "", "[::1", "[a]", "a@b"] {
            let with_port = HostPort::parse(&format!("{host}:1")).map(|target| target.host);
            assert_eq!(Host::parse(host).ok(), with_port.ok(), "{host}");
        }
        assert_eq!(Host::parse("::1"), Host::parse("[::1]"));
        assert_eq!(Host::parse("a:80"), Err(AuthorityError::Ipv6));
        assert_eq!(Host::parse("fe80::1%eth0"), Err(AuthorityError::Zone));
    }

    #[test]
    fn tells_an_address_from_a_name() {
        let host = |text| HostPort::parse(text).unwrap().host;
        assert_eq!(host("10.0.0.1:1"), Host::Ip(Ipv4Addr::new(10, 0, 0, 1).into()));
        assert_eq!(host("[::]:1"), Host::Ip(Ipv6Addr::UNSPECIFIED.into()));
        assert_eq!(host("10.0.0.x:1"), Host::Name("10.0.0.x".into()));
    }

    #[test]
    fn refuses_ports_that_are_not_one_to_65535() {
        use AuthorityError::*;
        for (port, flaw) in [
            ("", PortMissing),
            ("0", PortZero),
            ("00000", PortZero),
            ("65536", PortRange),
            ("65558", PortRange),
            ("99999", PortRange),
            ("000022", Port),
            ("4294967318", Port),
            ("22.0", Port),
            ("1e1", Port),
            ("+22", Port),
            ("-22", Port),
            ("0x16", Port),
            ("http", Port),
            ("*", Port),
            (" 22", Character(' ')),
            ("22\n", Character('\n')),
            ("٢٢", Character('٢')),
        ] {
            for host in ["a.example", "127.0.0.1", "[::1]"] {
                let text = format!("{host}:{port}");
                assert_eq!(HostPort::parse(&text), Err(flaw), "{text:?}");
            }
        }
    }

    #[test]
    fn refuses_numbers_that_a_resolver_would_take_for_addresses() {
        for host in [
            "127.1",
            "127.0.1",
            "0x7f000001",
            "0X7F.0.0.1",
            "127.0.0.0x1",
            "2130706433",
            "0",
            "010.0.0.1",
            "0177.0.0.1",
            "256.0.0.1",
            "1.2.3.4.5",
            "1.2.3.4.",
            "127.1.",
            "example.123",
        ] {
            let text = format!("{host}:80");
            assert_eq!(HostPort::parse(&text), Err(AuthorityError::Ipv4), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_not_a_host_and_a_port() {
        use AuthorityError::*;
        for (text, flaw) in [
            ("", HostMissing),
            (":80", HostMissing),
            (".:80", HostMissing),
            ("a", PortMissing),
            ("443", Ipv4),
            ("a..b:80", LabelLength),
            (".a:80", LabelLength),
            ("a..:80", LabelLength),
            ("-a.example:80", Hyphen),
            ("a-.example:80", Hyphen),
            ("user@a:80", UserInfo),
            ("user:secret@a:80", UserInfo),
            ("http://a:80", Path),
            ("a:80/", Path),
            ("a:80?x", Path),
            ("a:80#x", Path),
            ("*:80", Character('*')),
            ("a%2eb:80", Character('%')),
            ("a\\b:80", Character('\\')),
            ("a b:80", Character(' ')),
            ("a\0:80", Character('\0')),
            ("a\r\nX-Y:80", Character('\r')),
            ("bücher.example:80", Character('ü')),
            ("a]:80", Character(']')),
            ("::1:443", Colons),
            ("::1", Colons),
            ("a:b:80", Colons),
            ("a:80:", Colons),
            ("[::1", Unclosed),
            ("[::1]", PortMissing),
            ("[::1]443", PortMissing),
            ("[]:443", Ipv6),
            ("[127.0.0.1]:443", Ipv6),
            ("[a.example]:443", Ipv6),
            ("[::1::]:443", Ipv6),
            ("[[::1]]:443", Ipv6),
            ("[v1.x]:443", Ipv6),
            ("[fe80::1%eth0]:443", Zone),
            ("[fe80::1%25eth0]:443", Zone),
        ] {
            assert_eq!(HostPort::parse(text), Err(flaw), "{text:?}");
            let said = flaw.to_string();
            assert!(!said.contains(char::is_control) && !said.ends_with('.'), "{said:?}");
        }
    }

    #[test]
    fn limits_names_and_their_parts() {
        let (label, long) = ("x".repeat(63), "x".repeat(64));
        assert!(HostPort::parse(&format!("{label}.example:80")).is_ok());
        let error = HostPort::parse(&format!("{long}.example:80"));
        assert_eq!(error, Err(AuthorityError::LabelLength));
        let name = format!("{label}.{label}.{label}.{}", &label[..61]);
        assert_eq!(name.len(), 253);
        assert!(HostPort::parse(&format!("{name}:80")).is_ok());
        assert!(HostPort::parse(&format!("{name}.:80")).is_ok());
        assert_eq!(HostPort::parse(&format!("{name}x:80")), Err(AuthorityError::NameLength));
    }
}
