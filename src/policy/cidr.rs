//! Networks: addresses that begin with the same bits, and how they are written.
//!
//! Owns CIDR arithmetic and syntax, for targets ([`Network`]), where an IPv4 address is not the IPv6
//! one that embeds it, and for peers ([`Cidr`]), where it is. Never says what a network is for.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::syntax::SyntaxError;

/// All addresses that begin with the same bits (RFC 4632 §3.1, RFC 4291 §2.3).
///
/// Invariant: `prefix <= 32` or `128` by family, and the bits of `base` behind it are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    base: IpAddr,
    prefix: u8,
}

impl Network {
    /// The network of that many bits which `ip` lies in; `None` if its family has fewer bits.
    pub fn around(ip: IpAddr, prefix: u8) -> Option<Self> {
        let bits = bits(ip) & !behind(prefix);
        let base = match ip {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from((bits >> 96) as u32)),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from(bits)),
        };
        (prefix <= width(ip)).then_some(Self { base, prefix })
    }

    /// The network of that address alone.
    pub fn host(ip: IpAddr) -> Self {
        Self { base: ip, prefix: width(ip) }
    }

    /// Its lowest address.
    pub fn base(&self) -> IpAddr {
        self.base
    }

    /// Bits that its addresses have in common.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Never across families, whatever an address embeds.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.base.is_ipv4() == ip.is_ipv4()
            && (bits(self.base) ^ bits(ip)) & !behind(self.prefix) == 0
    }
}

/// As a rule writes it: IPv6 in brackets, a single address without its length.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let single = self.prefix == width(self.base);
        match (self.base, self.prefix) {
            (IpAddr::V4(ip), _) if single => write!(f, "{ip}"),
            (IpAddr::V4(ip), prefix) => write!(f, "{ip}/{prefix}"),
            (IpAddr::V6(ip), _) if single => write!(f, "[{ip}]"),
            (IpAddr::V6(ip), prefix) => write!(f, "[{ip}/{prefix}]"),
        }
    }
}

/// Flush left, so that a prefix means the same in both families.
pub(super) fn bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)) << 96,
        IpAddr::V6(ip) => u128::from(ip),
    }
}

fn width(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// The bits that a prefix leaves open.
fn behind(prefix: u8) -> u128 {
    u128::MAX.checked_shr(prefix.into()).unwrap_or(0)
}

/// For tables: `base` has no bits behind `prefix`.
pub(super) const fn v4([a, b, c, d]: [u8; 4], prefix: u8) -> Network {
    Network { base: IpAddr::V4(Ipv4Addr::new(a, b, c, d)), prefix }
}

/// For tables: `base` has no bits behind `prefix`.
pub(super) const fn v6([a, b, c, d, e, f, g, h]: [u16; 8], prefix: u8) -> Network {
    Network { base: IpAddr::V6(Ipv6Addr::new(a, b, c, d, e, f, g, h)), prefix }
}

/// A network that peers come from: `10.0.0.0/8`, `fd00::/8`, a single address.
///
/// A listener for both families shows an IPv4 peer as `::ffff:10.0.0.1` (RFC 4291 §2.5.5.2). Here
/// that is 10.0.0.1, in the network as in the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr(Network);

impl Cidr {
    /// Whether the peer comes from it.
    pub fn contains(&self, peer: IpAddr) -> bool {
        self.0.contains(canonical(peer))
    }
}

/// The IPv4 address that an IPv4-mapped one stands for; any other as it is.
pub fn canonical(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(ip, IpAddr::V4),
        IpAddr::V4(_) => ip,
    }
}

/// A parsed one comes back the same: IPv6 in brackets, which it may also go without.
impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Cidr {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Self, SyntaxError> {
        // An example that is made of the user's text may have another fault of that text.
        read(text).map(unmapped).map_err(|error| match read(error.example()) {
            Ok(_) => error,
            Err(_) => error.like("10.0.0.0/8"),
        })
    }
}

/// `::ffff:10.0.0.0/104` is 10.0.0.0/8. What is wider than all mapped addresses keeps out of IPv4.
fn unmapped(net: Network) -> Cidr {
    let inner = net.prefix.checked_sub(96).and_then(|prefix| match canonical(net.base) {
        ip @ IpAddr::V4(_) if net.base.is_ipv6() => Network::around(ip, prefix),
        _ => None,
    });
    Cidr(inner.unwrap_or(net))
}

fn read(text: &str) -> Result<Network, SyntaxError> {
    if text.is_empty() {
        return Err(SyntaxError::new("is empty"));
    }
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(SyntaxError::new("has a space or a control character in it"));
    }
    if let Some(inner) = text.strip_prefix('[') {
        if !inner.contains(']') {
            return Err(SyntaxError::new("has no ] behind the address").like("[fd00::/8]"));
        }
        return bracketed(inner);
    }
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    match address.parse() {
        Ok(ip) => network(ip, prefix),
        Err(_) => Err(SyntaxError::new(format!("{address:?} is not an IP address"))),
    }
}

/// `IPV6]`, `IPV6/PREFIX]` or `IPV6]/PREFIX`.
pub(super) fn bracketed(text: &str) -> Result<Network, SyntaxError> {
    let (inner, rest) = text.split_once(']').unwrap_or((text, ""));
    let (address, prefix) = match (inner.split_once('/'), rest.strip_prefix('/')) {
        (Some((address, prefix)), None) if rest.is_empty() => (address, Some(prefix)),
        (None, Some(prefix)) => (inner, Some(prefix)),
        (None, None) if rest.is_empty() => (inner, None),
        _ => {
            let error = SyntaxError::new(format!("{rest:?} cannot stand behind the ]"));
            return Err(error.like(format!("[{inner}]")));
        }
    };
    match address.parse::<Ipv6Addr>() {
        Ok(ip) => network(ip.into(), prefix),
        Err(_) => {
            Err(SyntaxError::new(format!("{address:?} is not an IPv6 address")).like("[fd00::/8]"))
        }
    }
}

pub(super) fn network(ip: IpAddr, prefix: Option<&str>) -> Result<Network, SyntaxError> {
    let Some(digits) = prefix else { return Ok(Network::host(ip)) };
    if !is_number(digits) {
        return Err(SyntaxError::new(format!("{digits:?} is not the length of a prefix")));
    }
    let Some(net) = digits.parse().ok().and_then(|prefix| Network::around(ip, prefix)) else {
        let most = Network::host(ip).prefix();
        return Err(SyntaxError::new(format!("prefix /{digits} is longer than /{most}")));
    };
    if net.base() != ip {
        let problem = format!("{ip} has bits behind the prefix /{digits}; its network is {net}");
        return Err(SyntaxError::new(problem).like(net.to_string()));
    }
    Ok(net)
}

pub(super) fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect(text)
    }

    #[test]
    fn a_network_is_what_shares_its_prefix() {
        for (base, prefix, inside, outside) in [
            ("10.0.0.0", 8, "10.255.255.255", "11.0.0.0"),
            ("192.168.4.0", 22, "192.168.7.255", "192.168.8.0"),
            ("10.0.0.1", 32, "10.0.0.1", "10.0.0.0"),
            ("0.0.0.0", 0, "255.255.255.255", "::"),
            ("0.0.0.0", 1, "127.255.255.255", "128.0.0.0"),
            ("::", 0, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "0.0.0.0"),
            ("fd00::", 8, "fdff:ffff::", "fe00::"),
            ("2001:db8::", 33, "2001:db8:7fff::", "2001:db8:8000::"),
            ("::1", 128, "::1", "::2"),
        ] {
            let net = Network::around(ip(base), prefix).unwrap();
            assert_eq!(net.base(), ip(base));
            assert!(net.contains(ip(base)) && net.contains(ip(inside)), "{inside} in {net}");
            assert!(!net.contains(ip(outside)), "{outside} not in {net}");
            assert_eq!(Network::around(ip(inside), prefix), Some(net));
        }
        assert_eq!(Network::around(ip("10.0.0.1"), 33), None);
        assert_eq!(Network::around(ip("::1"), 129), None);
        assert_eq!(Network::around(ip("::1"), 255), None);
    }

    #[test]
    fn an_ipv4_peer_is_the_same_however_it_is_shown() {
        for (cidr, inside, outside) in [
            ("10.0.0.0/8", &["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3"][..], "11.0.0.0"),
            ("10.0.0.1", &["10.0.0.1", "::ffff:10.0.0.1"], "::ffff:10.0.0.2"),
            ("::ffff:10.0.0.0/104", &["10.1.2.3", "::ffff:10.1.2.3"], "11.0.0.0"),
            ("::ffff:0:0/96", &["10.1.2.3", "::ffff:255.255.255.255"], "::1"),
            ("::ffff:10.0.0.1", &["10.0.0.1"], "10.0.0.2"),
            ("0.0.0.0/0", &["0.0.0.0", "::ffff:8.8.8.8"], "::"),
            ("::/0", &["::", "2001:db8::1"], "10.0.0.1"),
            ("::/0", &["::1"], "::ffff:10.0.0.1"),
            ("::/80", &["::1"], "::ffff:10.0.0.1"),
            ("fd00::/8", &["fd00::1", "fdff::"], "fe00::"),
            ("[fd00::/8]", &["fd00::1"], "fe00::"),
            ("[fd00::]/8", &["fd00::1"], "fe00::"),
            ("::1", &["::1"], "127.0.0.1"),
            // Others embed IPv4 too, and are not it.
            ("10.0.0.0/8", &["10.0.0.1"], "::10.0.0.1"),
            ("10.0.0.0/8", &["10.0.0.1"], "64:ff9b::10.0.0.1"),
        ] {
            let net: Cidr = cidr.parse().expect(cidr);
            inside.iter().for_each(|peer| assert!(net.contains(ip(peer)), "{peer} in {cidr}"));
            assert!(!net.contains(ip(outside)), "{outside} not in {cidr}");
            assert_eq!(net.to_string().parse(), Ok(net), "{cidr}");
        }
    }

    #[test]
    fn says_what_is_wrong_and_what_to_write() {
        let usual = "10.0.0.0/8";
        for (text, problem, example) in [
            ("", "is empty", usual),
            (" 10.0.0.0/8", "a space", usual),
            ("10.0.0.1/8", "its network is 10.0.0.0/8", "10.0.0.0/8"),
            ("192.168.1.77/24", "its network is 192.168.1.0/24", "192.168.1.0/24"),
            ("fd00::1/8", "its network is [fd00::/8]", "[fd00::/8]"),
            ("10.0.0.0/33", "prefix /33 is longer than /32", usual),
            ("::1/129", "prefix /129 is longer than /128", usual),
            ("10.0.0.0/", "\"\" is not the length", usual),
            ("10.0.0.0/255.0.0.0", "\"255.0.0.0\" is not the length", usual),
            ("10.0.0.0/+8", "\"+8\" is not the length", usual),
            ("10.0.0.0/8:80", "\"8:80\" is not the length", usual),
            ("10/8", "\"10\" is not an IP address", usual),
            ("010.0.0.1", "is not an IP address", usual),
            ("localhost", "\"localhost\" is not an IP address", usual),
            ("any", "is not an IP address", usual),
            ("fe80::1%eth0", "is not an IP address", usual),
            ("[::1", "no ] behind", "[fd00::/8]"),
            ("[::1]:80", "\":80\" cannot stand behind", "[::1]"),
            ("[10.0.0.0/8]", "is not an IPv6 address", "[fd00::/8]"),
        ] {
            let error = text.parse::<Cidr>().expect_err(text);
            assert!(error.to_string().contains(problem), "{text}: {error}");
            assert_eq!(error.example(), example, "{text}");
        }
    }
}
