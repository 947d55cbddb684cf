//! Networks: addresses that begin with the same bits, and how they are written.
//!
//! Owns CIDR arithmetic and syntax. Never says what a network is for.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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

/// What is wrong with the text of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CidrError {
    pub(super) problem: String,
    /// What can be written instead; empty where that cannot be told.
    pub(super) example: String,
}

impl CidrError {
    fn new(problem: impl Into<String>) -> Self {
        Self { problem: problem.into(), example: String::new() }
    }

    fn like(self, example: impl Into<String>) -> Self {
        Self { example: example.into(), ..self }
    }
}

/// `IPV6]`, `IPV6/PREFIX]` or `IPV6]/PREFIX`.
pub(super) fn bracketed(text: &str) -> Result<Network, CidrError> {
    let (inner, rest) = text.split_once(']').unwrap_or((text, ""));
    let (address, prefix) = match (inner.split_once('/'), rest.strip_prefix('/')) {
        (Some((address, prefix)), None) if rest.is_empty() => (address, Some(prefix)),
        (None, Some(prefix)) => (inner, Some(prefix)),
        (None, None) if rest.is_empty() => (inner, None),
        _ => {
            let error = CidrError::new(format!("{rest:?} cannot stand behind the ]"));
            return Err(error.like(format!("[{inner}]")));
        }
    };
    match address.parse::<Ipv6Addr>() {
        Ok(ip) => network(ip.into(), prefix),
        Err(_) => {
            Err(CidrError::new(format!("{address:?} is not an IPv6 address")).like("[fd00::/8]"))
        }
    }
}

pub(super) fn network(ip: IpAddr, prefix: Option<&str>) -> Result<Network, CidrError> {
    let Some(digits) = prefix else { return Ok(Network::host(ip)) };
    if !is_number(digits) {
        return Err(CidrError::new(format!("{digits:?} is not the length of a prefix")));
    }
    let Some(net) = digits.parse().ok().and_then(|prefix| Network::around(ip, prefix)) else {
        let most = Network::host(ip).prefix();
        return Err(CidrError::new(format!("prefix /{digits} is longer than /{most}")));
    };
    if net.base() != ip {
        let problem = format!("{ip} has bits behind the prefix /{digits}; its network is {net}");
        return Err(CidrError::new(problem).like(net.to_string()));
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
}
