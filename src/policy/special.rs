//! Networks that lead elsewhere than to a host out there.
//!
//! Owns the table of special ranges and the IPv4 addresses that hide in IPv6 ones. Never decides:
//! [`crate::policy::rules`] says who may go where.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use super::cidr::{bits, v4, v6, Network};

/// What a special address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// "This host on this network"; Linux connects to loopback instead.
    Unspecified,
    /// The machine the proxy runs on.
    Loopback,
    /// Whoever is on the same wire.
    LinkLocal,
    /// Many hosts, or none.
    Multicast,
    /// All hosts on the wire.
    Broadcast,
    /// Not in use.
    Reserved,
    /// IPv4 on an IPv6 socket: the kernel connects to the address inside.
    Mapped,
    /// The same, deprecated.
    Compatible,
    /// A translator passes the connection on to the IPv4 address inside.
    Nat64,
    /// A tunnel does.
    SixToFour,
    /// A tunnel through UDP.
    Teredo,
    /// Hands out the credentials of the machine to whoever asks from there.
    Metadata,
}

/// With its article, in front of "address".
impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "an unspecified",
            Self::Loopback => "a loopback",
            Self::LinkLocal => "a link-local",
            Self::Multicast => "a multicast",
            Self::Broadcast => "a broadcast",
            Self::Reserved => "a reserved",
            Self::Mapped => "an IPv4-mapped",
            Self::Compatible => "an IPv4-compatible",
            Self::Nat64 => "a NAT64",
            Self::SixToFour => "a 6to4",
            Self::Teredo => "a Teredo",
            Self::Metadata => "a cloud-metadata",
        })
    }
}

/// Ranges may lie in one another; the longest prefix says what an address is.
static SPECIAL: [(Network, Class); 28] = [
    // RFC 1122 §3.2.1.3, RFC 4291 §2.5.2
    (v4([0, 0, 0, 0], 8), Class::Unspecified),
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 128), Class::Unspecified),
    // RFC 1122 §3.2.1.3, RFC 4291 §2.5.3
    (v4([127, 0, 0, 0], 8), Class::Loopback),
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), Class::Loopback),
    // RFC 3927, RFC 4291 §2.5.6
    (v4([169, 254, 0, 0], 16), Class::LinkLocal),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), Class::LinkLocal),
    // RFC 5771, RFC 4291 §2.7
    (v4([224, 0, 0, 0], 4), Class::Multicast),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), Class::Multicast),
    // RFC 919 §7, RFC 1112 §4
    (v4([255, 255, 255, 255], 32), Class::Broadcast),
    (v4([240, 0, 0, 0], 4), Class::Reserved),
    // RFC 4291 §2.5.5.2 and §2.5.5.1
    (v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96), Class::Mapped),
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 96), Class::Compatible),
    // RFC 6052 §2.1, RFC 8215
    (v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96), Class::Nat64),
    (v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48), Class::Nat64),
    // RFC 3056 §2, RFC 4380 §2.6
    (v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), Class::SixToFour),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32), Class::Teredo),
    // Cloud metadata services: nearly every cloud, ...
    (v4([169, 254, 169, 254], 32), Class::Metadata),
    // ... AWS with its containers (ECS) and pods (EKS),
    (v4([169, 254, 170, 2], 32), Class::Metadata),
    (v4([169, 254, 170, 23], 32), Class::Metadata),
    (v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128), Class::Metadata),
    (v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23], 128), Class::Metadata),
    // Alibaba, Azure, Google,
    (v4([100, 100, 100, 200], 32), Class::Metadata),
    (v4([168, 63, 129, 16], 32), Class::Metadata),
    (v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128), Class::Metadata),
    // Oracle, Scaleway.
    (v4([192, 0, 0, 192], 32), Class::Metadata),
    (v6([0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe], 128), Class::Metadata),
    (v4([169, 254, 42, 42], 32), Class::Metadata),
    (v6([0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42], 128), Class::Metadata),
];

/// What is special about an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Special {
    /// What it is.
    pub class: Class,
    /// Bits that a network around it has at least, if it was meant to lead here.
    pub prefix: u8,
}

impl Special {
    /// `None` for the address of an ordinary host, in a private network too.
    ///
    /// Where an IPv4 address follows the prefix of an IPv6 range, what is special about the inner
    /// one counts as well: `::ffff:127.0.0.1` takes a network within `::ffff:127.0.0.0/104`, for
    /// whoever opened `::ffff:0:0/96` thought of the world and not of this machine.
    pub fn of(ip: IpAddr) -> Option<Self> {
        let (own, class) = most_specific(ip)?;
        let inner = embedded(ip).filter(|(_, at)| *at == own.prefix()).and_then(|(inner, at)| {
            let (range, _) = most_specific(inner)?;
            Some(at + range.prefix())
        });
        Some(Self { class: *class, prefix: inner.unwrap_or(own.prefix()) })
    }
}

/// The IPv4 address in an IPv6 one, and how many bits are in front of it.
///
/// How `64:ff9b:1::/48` is divided is the network's own affair (RFC 8215 §5); here it is read as
/// most do, in prefixes of 96 bits.
pub fn embedded(ip: IpAddr) -> Option<(IpAddr, u8)> {
    let at = match most_specific(ip)?.1 {
        Class::Mapped | Class::Compatible | Class::Nat64 => 96,
        Class::SixToFour => 16,
        // `::` and `::1` among them, which embed nothing.
        _ => return None,
    };
    let inner = Ipv4Addr::from((bits(ip) << at >> 96) as u32);
    Some((inner.into(), at))
}

fn most_specific(ip: IpAddr) -> Option<&'static (Network, Class)> {
    SPECIAL.iter().filter(|(range, _)| range.contains(ip)).max_by_key(|(range, _)| range.prefix())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect(text)
    }

    fn class(ip: IpAddr) -> Option<Class> {
        Special::of(ip).map(|special| special.class)
    }

    /// The addresses before and after, around the end of the family too.
    fn neighbours(ip: IpAddr) -> [IpAddr; 2] {
        [1, -1].map(|step| match ip {
            IpAddr::V4(ip) => Ipv4Addr::from(u32::from(ip).wrapping_add(step as u32)).into(),
            IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip).wrapping_add(step as u128)).into(),
        })
    }

    #[test]
    fn every_class_begins_and_ends_where_its_document_says() {
        use Class::*;
        for (first, last, expected) in [
            ("0.0.0.0", "0.255.255.255", Unspecified),
            ("127.0.0.0", "127.255.255.255", Loopback),
            ("169.254.0.0", "169.254.255.255", LinkLocal),
            ("224.0.0.0", "239.255.255.255", Multicast),
            ("240.0.0.0", "255.255.255.254", Reserved),
            ("255.255.255.255", "255.255.255.255", Broadcast),
            ("169.254.169.254", "169.254.169.254", Metadata),
            ("169.254.170.2", "169.254.170.2", Metadata),
            ("169.254.170.23", "169.254.170.23", Metadata),
            ("169.254.42.42", "169.254.42.42", Metadata),
            ("100.100.100.200", "100.100.100.200", Metadata),
            ("168.63.129.16", "168.63.129.16", Metadata),
            ("192.0.0.192", "192.0.0.192", Metadata),
            ("::", "::", Unspecified),
            ("::1", "::1", Loopback),
            ("::2", "::255.255.255.255", Compatible),
            ("::ffff:0.0.0.0", "::ffff:255.255.255.255", Mapped),
            ("64:ff9b::", "64:ff9b::255.255.255.255", Nat64),
            ("64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", Nat64),
            ("2001::", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff", Teredo),
            ("2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", SixToFour),
            ("fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", LinkLocal),
            ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Multicast),
            ("fd00:ec2::254", "fd00:ec2::254", Metadata),
            ("fd00:ec2::23", "fd00:ec2::23", Metadata),
            ("fd20:ce::254", "fd20:ce::254", Metadata),
            ("fd00:c1::a9fe:a9fe", "fd00:c1::a9fe:a9fe", Metadata),
            ("fd00:42::42", "fd00:42::42", Metadata),
        ] {
            assert_eq!(class(ip(first)), Some(expected), "{first}");
            assert_eq!(class(ip(last)), Some(expected), "{last}");
            let [after, _] = neighbours(ip(last));
            let [_, before] = neighbours(ip(first));
            assert_ne!(class(before), Some(expected), "{before}, before {first}");
            assert_ne!(class(after), Some(expected), "{after}, after {last}");
        }
    }

    #[test]
    fn private_and_public_addresses_are_ordinary() {
        for text in [
            "1.1.1.1",
            "10.0.0.1",
            "100.64.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "198.18.0.1",
            "2001:db8::1",
            "2606:4700::1111",
            "fc00::1",
            "fd00::1",
        ] {
            assert_eq!(Special::of(ip(text)), None, "{text}");
        }
    }

    #[test]
    fn what_an_inner_address_is_narrows_what_names_the_outer_one() {
        for (text, prefix) in [
            ("::ffff:10.0.0.1", 96),
            ("::ffff:127.0.0.1", 96 + 8),
            ("::ffff:169.254.1.1", 96 + 16),
            ("::ffff:169.254.169.254", 128),
            ("64:ff9b::127.0.0.1", 96 + 8),
            ("64:ff9b::8.8.8.8", 96),
            ("64:ff9b:1::127.0.0.1", 48),
            ("2002:7f00:1::1", 16 + 8),
            ("2002:808:808::1", 16),
            ("::224.0.0.1", 96 + 4),
            ("::1", 128),
            ("::", 128),
        ] {
            assert_eq!(Special::of(ip(text)).map(|special| special.prefix), Some(prefix), "{text}");
        }
    }

    #[test]
    fn finds_the_embedded_address() {
        for (text, inner) in [
            ("::ffff:10.1.2.3", Some(("10.1.2.3", 96))),
            ("::10.1.2.3", Some(("10.1.2.3", 96))),
            ("64:ff9b::10.1.2.3", Some(("10.1.2.3", 96))),
            ("64:ff9b:1:ff::10.1.2.3", Some(("10.1.2.3", 96))),
            ("2002:a01:203:4:5:6:7:8", Some(("10.1.2.3", 16))),
            ("::", None),
            ("::1", None),
            ("64:ff9b:0:1::10.1.2.3", None),
            ("fe80::10.1.2.3", None),
            ("2001:db8::10.1.2.3", None),
            ("10.1.2.3", None),
        ] {
            let inner = inner.map(|(text, at)| (ip(text), at));
            assert_eq!(embedded(ip(text)), inner, "{text}");
        }
    }
}
