//! One rule about targets: what it means, and how it is written.
//!
//! Owns the syntax and what a rule matches. Which rule wins is the business of [`super::rules`].

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::cidr::{self, is_number, Network};
use super::special::{Class, Special};
use super::syntax::SyntaxError;
use super::unix::{Sockets, UnixError};
use crate::config::UnixName;
use crate::proto::authority::{Host, HostPort};

/// RFC 1035 §2.3.4, without the root's dot.
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// `HOST[:PORTS]` or `unix:NAME`, the value of `--allow` and `--deny`.
///
/// HOST is an address, a network (`10.0.0.0/8`, `[fd00::/8]`), a name, `*.` and a name, or `any`.
/// PORTS is a list of ports and ranges (`22,8000-8010`); without one it is every port.
/// NAME is `/path`, `@name`, or a directory, `/path/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    host: Pattern,
    /// Every port, where there are none.
    ports: Ports,
}

impl Rule {
    /// Whether its ports include that of the target.
    pub(super) fn has_port(&self, target: &HostPort) -> bool {
        self.ports.0.iter().any(|range| range.contains(&target.port))
    }

    /// Whether it takes in what the target was called. `any` takes in all.
    pub(super) fn has_name(&self, target: &HostPort) -> bool {
        match (&self.host, &target.host) {
            (Pattern::Any, _) => true,
            (Pattern::Name(ours), Host::Name(name)) => ours.eq_ignore_ascii_case(rootless(name)),
            (Pattern::Under(ours), Host::Name(name)) => is_under(ours, rootless(name)),
            (Pattern::Net(_) | Pattern::Unix(_), _) | (_, Host::Ip(_)) => false,
        }
    }

    /// Whether it is about that unix socket. `any` is not.
    pub(super) fn has_unix(&self, name: &UnixName) -> bool {
        matches!(&self.host, Pattern::Unix(sockets) if sockets.contain(name))
    }

    /// Whether it is about everything that there is.
    pub(super) fn is_everything(&self) -> bool {
        self.host == Pattern::Any && self.ports.0 == [EVERY_PORT]
    }

    /// Whether it goes by the address alone.
    pub(super) fn is_network(&self) -> bool {
        matches!(self.host, Pattern::Net(_))
    }

    /// Whether it names loopback (RFC 6761 §6.3).
    fn is_localhost(&self) -> bool {
        match &self.host {
            Pattern::Name(name) | Pattern::Under(name) => {
                name == "localhost" || is_under("localhost", name)
            }
            Pattern::Any | Pattern::Net(_) | Pattern::Unix(_) => false,
        }
    }

    /// Whether denying it hits that address of the target, or `inner`, which it embeds.
    pub(super) fn shuts(&self, target: &HostPort, ip: IpAddr, inner: Option<IpAddr>) -> bool {
        match &self.host {
            Pattern::Net(net) => net.contains(ip) || inner.is_some_and(|inner| net.contains(inner)),
            _ => self.has_name(target),
        }
    }

    /// Whether allowing it opens that address of the target, about which `special` is known.
    pub(super) fn opens(&self, target: &HostPort, ip: IpAddr, special: Option<Special>) -> bool {
        match (&self.host, special) {
            (Pattern::Net(net), None) => net.contains(ip),
            // Both contain it, so the longer prefix lies within the other.
            (Pattern::Net(net), Some(range)) => net.contains(ip) && net.prefix() >= range.prefix,
            (_, None) => self.has_name(target),
            (_, Some(range)) => {
                range.class == Class::Loopback && self.is_localhost() && self.has_name(target)
            }
        }
    }
}

/// Names are in lower case, without the root's dot.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Any,
    Net(Network),
    Name(String),
    /// Without its `*.`.
    Under(String),
    Unix(Sockets),
}

/// Whether labels stand in front of `domain`. Byte by byte, since what a peer names may be anything.
pub(super) fn is_under(domain: &str, name: &str) -> bool {
    let (domain, name) = (domain.as_bytes(), name.as_bytes());
    match name.len().checked_sub(domain.len() + 1) {
        Some(dot @ 1..) => name[dot] == b'.' && name[dot + 1..].eq_ignore_ascii_case(domain),
        _ => false,
    }
}

/// `example.` is `example` (RFC 1034 §3.1).
fn rootless(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

/// Never empty; 0 is in no range.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ports(Vec<RangeInclusive<u16>>);

const EVERY_PORT: RangeInclusive<u16> = 1..=u16::MAX;

/// As a user would write it: a parsed rule comes back the same.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Pattern::Any => f.write_str("any"),
            Pattern::Net(net) => write!(f, "{net}"),
            Pattern::Name(name) => f.write_str(name),
            Pattern::Under(name) => write!(f, "*.{name}"),
            Pattern::Unix(sockets) => write!(f, "{sockets}"),
        }?;
        if self.ports.0 == [EVERY_PORT] {
            return Ok(());
        }
        for (i, range) in self.ports.0.iter().enumerate() {
            f.write_str(if i == 0 { ":" } else { "," })?;
            match (range.start(), range.end()) {
                (first, last) if first == last => write!(f, "{first}"),
                (first, last) => write!(f, "{first}-{last}"),
            }?;
        }
        Ok(())
    }
}

impl FromStr for Rule {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Self, SyntaxError> {
        // An example that is made of the user's text may have another fault of that text.
        read(text).map_err(|error| match read(error.example()) {
            Ok(_) => error,
            Err(_) => error.like("10.0.0.0/8:1-1024"),
        })
    }
}

fn read(text: &str) -> Result<Rule, SyntaxError> {
    if let Some(name) = behind_unix(text) {
        let sockets = Sockets::parse(name).map_err(|error| {
            let example = match error {
                UnixError::Star => format!("unix:{}", name.trim_end_matches('*')),
                _ => "unix:/run/app.sock".into(),
            };
            SyntaxError::new(error.to_string()).like(example)
        })?;
        return Ok(Rule { host: Pattern::Unix(sockets), ports: Ports(vec![EVERY_PORT]) });
    }
    let (host_text, ports_text) = split(text)?;
    let suffix = ports_text.map(|ports| format!(":{ports}")).unwrap_or_default();
    let host = host(host_text).map_err(|error| {
        let example = format!("{}{suffix}", error.example());
        error.like(example)
    })?;
    let ports = match ports_text {
        Some(list) => ports(list).map_err(|e| e.like(format!("{host_text}:22,8000-8010")))?,
        None => Ports(vec![EVERY_PORT]),
    };
    Ok(Rule { host, ports })
}

/// What follows `unix:`, unless that is a host of that name in front of its ports.
fn behind_unix(text: &str) -> Option<&str> {
    let (scheme, name) = text.split_once(':')?;
    let is_ports = name.starts_with(|c: char| c.is_ascii_digit());
    (scheme.eq_ignore_ascii_case("unix") && !is_ports).then_some(name)
}

/// HOST, and PORTS if there are some.
fn split(text: &str) -> Result<(&str, Option<&str>), SyntaxError> {
    if text.is_empty() {
        return Err(SyntaxError::new("is empty"));
    }
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(SyntaxError::new("has a space or a control character in it"));
    }
    if let Some(c) = text.chars().find(|c| !c.is_ascii()) {
        return Err(SyntaxError::new(format!("{c:?} is not ASCII; a name goes in its xn-- form")));
    }
    if text.contains('@') {
        return Err(SyntaxError::new("has a user name, which targets do not have"));
    }
    if let Some((_, rest)) = text.split_once("://") {
        let error = SyntaxError::new("has a scheme, which targets do not have");
        return Err(error.like(rest.trim_end_matches('/')));
    }
    let bracket = match text.find(']') {
        _ if !text.starts_with('[') => 0,
        Some(at) => at,
        None => return Err(SyntaxError::new("has no ] behind the address").like("[fd00::/8]")),
    };
    match text[bracket..].matches(':').count() {
        0 => Ok((text, None)),
        1 => Ok(text.rsplit_once(':').map_or((text, None), |(host, ports)| (host, Some(ports)))),
        _ if bracket == 0 => unbracketed(text).map(|()| (text, None)),
        _ => Err(SyntaxError::new("has more than one colon behind the ]")),
    }
}

/// IPv6 without brackets, where no port can be meant.
fn unbracketed(text: &str) -> Result<(), SyntaxError> {
    let is_ipv6 = |text: &str| {
        let address = text.split('/').next().unwrap_or(text);
        address.parse::<Ipv6Addr>().is_ok()
    };
    // `::1:443` is an address of its own, yet hardly ever meant: denying it would deny nothing.
    match text.rsplit_once(':') {
        Some((address, list)) if is_ipv6(address) && ports(list).is_ok() => {
            let error = SyntaxError::new("an IPv6 address in front of ports needs brackets");
            Err(error.like(format!("[{address}]:{list}")))
        }
        _ if is_ipv6(text) => Ok(()),
        _ => Err(SyntaxError::new("has more than one colon, and is not an IPv6 address")),
    }
}

fn host(text: &str) -> Result<Pattern, SyntaxError> {
    if let Some(inner) = text.strip_prefix('[') {
        return Ok(Pattern::Net(cidr::bracketed(inner)?));
    }
    if text.is_empty() {
        return Err(SyntaxError::new("has no host in front of the colon").like("any"));
    }
    if text.eq_ignore_ascii_case("any") {
        return Ok(Pattern::Any);
    }
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    match address.parse() {
        Ok(ip) => Ok(Pattern::Net(cidr::network(ip, prefix)?)),
        Err(_) if is_ipv4_like(rootless(address)) => Err(not_dotted(address)),
        Err(_) if prefix.is_some() => {
            Err(SyntaxError::new("has a path, which targets do not have").like(address))
        }
        Err(_) => name(text),
    }
}

/// A name (RFC 1123 §2.1, and the underscore that is found in the wild), or `*.` and a name.
fn name(text: &str) -> Result<Pattern, SyntaxError> {
    if text == "*" {
        return Err(SyntaxError::new("\"*\" alone is no name; every target is any").like("any"));
    }
    let domain = text.strip_prefix("*.");
    let name = rootless(domain.unwrap_or(text));
    if name.contains('*') {
        let problem = "a * can only stand for all labels in front of a name";
        return Err(SyntaxError::new(problem).like("*.lab.example"));
    }
    if let Some(c) = name.chars().find(|c| !c.is_ascii_alphanumeric() && !"-._".contains(*c)) {
        return Err(SyntaxError::new(format!("{c:?} cannot stand in a host name")));
    }
    let fits = |label: &str| {
        (1..=MAX_LABEL).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    if name.len() > MAX_NAME || !name.split('.').all(fits) {
        return Err(SyntaxError::new(format!("{text:?} is not a host name")));
    }
    if is_ipv4_like(name) {
        return Err(not_dotted(text));
    }
    let lower = name.to_ascii_lowercase();
    match domain {
        Some(_) => Ok(Pattern::Under(lower)),
        // Taken for a name, a --deny of it would deny nothing.
        None if lower == "any" => {
            Err(SyntaxError::new("every target is any, without a dot").like("any"))
        }
        None => Ok(Pattern::Name(lower)),
    }
}

/// `127.1` and `0x7f000001` are addresses to getaddrinfo(3), though few know of which host.
fn is_ipv4_like(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    is_number(last) || last.get(..2).is_some_and(|sign| sign.eq_ignore_ascii_case("0x"))
}

fn not_dotted(text: &str) -> SyntaxError {
    let problem = format!("{text:?} is not an IPv4 address, which is four decimal numbers");
    SyntaxError::new(problem).like("10.0.0.1")
}

fn ports(list: &str) -> Result<Ports, SyntaxError> {
    if list.is_empty() {
        return Err(SyntaxError::new("has no port behind the colon"));
    }
    list.split(',').map(port_range).collect::<Result<_, _>>().map(Ports)
}

fn port_range(member: &str) -> Result<RangeInclusive<u16>, SyntaxError> {
    if member.is_empty() {
        return Err(SyntaxError::new("has a comma with no port next to it"));
    }
    let (first, last) = member.split_once('-').unwrap_or((member, member));
    if first.is_empty() || last.is_empty() {
        return Err(SyntaxError::new(format!("{member:?} is not a range of ports")));
    }
    let range = port(first)?..=port(last)?;
    match range.is_empty() {
        true => Err(SyntaxError::new(format!("the range of ports {member} ends before it begins"))),
        false => Ok(range),
    }
}

fn port(text: &str) -> Result<u16, SyntaxError> {
    match text.parse() {
        _ if !is_number(text) => Err(SyntaxError::new(format!("{text:?} is not a port number"))),
        Ok(0) => Err(SyntaxError::new("port 0 cannot be connected to")),
        Ok(port) => Ok(port),
        Err(_) => Err(SyntaxError::new(format!("port {text} is over 65535"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    fn same(text: &str) -> String {
        text.parse::<Rule>().map_or_else(|error| format!("ERROR {error}"), |rule| rule.to_string())
    }

    #[test]
    fn reads_every_form_and_writes_it_back() {
        for (text, written) in [
            ("10.0.0.1", "10.0.0.1"),
            ("10.0.0.1/32", "10.0.0.1"),
            ("10.0.0.0/8:1-1024", "10.0.0.0/8:1-1024"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("[fd00::/8]", "[fd00::/8]"),
            ("[fd00::]/8", "[fd00::/8]"),
            ("fd00::/8", "[fd00::/8]"),
            ("[fd00::/8]:443", "[fd00::/8]:443"),
            ("[fd00::]/8:443", "[fd00::/8]:443"),
            ("::1", "[::1]"),
            ("[0:0::1]:80", "[::1]:80"),
            ("::", "[::]"),
            ("::/0", "[::/0]"),
            ("2001:db8::a:b", "[2001:db8::a:b]"),
            ("2001:db8:0:0:0:0:0:1", "[2001:db8::1]"),
            ("2001:db8::5:6/128", "[2001:db8::5:6]"),
            ("::ffff:10.0.0.0/104", "[::ffff:10.0.0.0/104]"),
            ("db.internal:5432", "db.internal:5432"),
            ("DB.Internal.", "db.internal"),
            ("a_b-c", "a_b-c"),
            ("*.lab.example:22,80", "*.lab.example:22,80"),
            ("*.Lab.Example.", "*.lab.example"),
            ("any", "any"),
            ("ANY:443", "any:443"),
            ("*.any", "*.any"),
            ("any:1-65535", "any"),
            ("any:22,8000-8010,9-9", "any:22,8000-8010,9"),
            ("any:65535", "any:65535"),
            ("unix:/run/app.sock", "unix:/run/app.sock"),
            ("Unix:/run/app/", "unix:/run/app/"),
            ("unix:/", "unix:/"),
            ("unix:@name", "unix:@name"),
            ("unix:22", "unix:22"),
            ("unix", "unix"),
        ] {
            assert_eq!(same(text), written, "{text}");
            assert_eq!(same(written), written, "{text}");
        }
    }

    #[test]
    fn says_what_is_wrong_and_what_to_write() {
        let usual = "10.0.0.0/8:1-1024";
        for (text, problem, example) in [
            ("", "is empty", usual),
            ("a b", "a space", usual),
            ("a\u{7}", "control character", usual),
            ("bücher.example", "'ü' is not ASCII", usual),
            ("root@db:22", "user name", usual),
            ("http://db.internal:80/", "a scheme", "db.internal:80"),
            ("db.internal/index.html", "a path", "db.internal"),
            ("db.internal:80/x", "\"80/x\" is not a port number", "db.internal:22,8000-8010"),
            ("db:0", "port 0", "db:22,8000-8010"),
            ("db:65536", "port 65536 is over 65535", "db:22,8000-8010"),
            ("db:99999999999999999999", "is over 65535", "db:22,8000-8010"),
            ("db:", "no port behind the colon", "db:22,8000-8010"),
            ("db:80,", "a comma", "db:22,8000-8010"),
            ("db:,80", "a comma", "db:22,8000-8010"),
            ("db:80,,81", "a comma", "db:22,8000-8010"),
            ("db:80-22", "80-22 ends before it begins", "db:22,8000-8010"),
            ("db:80-", "\"80-\" is not a range", "db:22,8000-8010"),
            ("db:-80", "\"-80\" is not a range", "db:22,8000-8010"),
            ("db:1-2-3", "\"2-3\" is not a port number", "db:22,8000-8010"),
            ("db:+80", "\"+80\" is not a port number", "db:22,8000-8010"),
            (":80", "no host", "any:80"),
            ("10.0.0.1/8:22", "its network is 10.0.0.0/8", "10.0.0.0/8:22"),
            ("[fd00::1/8]:22", "its network is [fd00::/8]", "[fd00::/8]:22"),
            ("10.0.0.0/33", "prefix /33 is longer than /32", usual),
            ("fd00::/129", "prefix /129 is longer than /128", usual),
            ("10.0.0.0/4294967304", "is longer than /32", usual),
            ("10.0.0.0/", "\"\" is not the length", usual),
            ("10.0.0.0/+8", "\"+8\" is not the length", usual),
            ("*", "every target is any", "any"),
            ("*:443", "every target is any", "any:443"),
            ("*lab.example:22", "a * can only", "*.lab.example:22"),
            ("a.*.example", "a * can only", "*.lab.example"),
            ("*.*.example", "a * can only", "*.lab.example"),
            ("*.", "not a host name", usual),
            ("*.:80", "not a host name", usual),
            (".", "not a host name", usual),
            ("any.", "without a dot", "any"),
            ("127.1", "\"127.1\" is not an IPv4", "10.0.0.1"),
            ("0x7f000001:80", "is not an IPv4", "10.0.0.1:80"),
            ("0X7F.1", "is not an IPv4", "10.0.0.1"),
            ("2130706433", "is not an IPv4", "10.0.0.1"),
            ("010.0.0.1", "is not an IPv4", "10.0.0.1"),
            ("010.0.0.0/8", "is not an IPv4", "10.0.0.1"),
            ("1.2.3.256", "is not an IPv4", "10.0.0.1"),
            ("1.2.3.4.", "is not an IPv4", "10.0.0.1"),
            ("*.0.0.1", "is not an IPv4", "10.0.0.1"),
            ("10/8", "is not an IPv4", "10.0.0.1"),
            ("a..b", "not a host name", usual),
            (".a", "not a host name", usual),
            ("a-.b", "not a host name", usual),
            ("a%b", "'%' cannot stand", usual),
            ("[::1", "no ] behind", "[fd00::/8]"),
            ("::1]", "is not an IPv6 address", usual),
            ("[10.0.0.0/8]:80", "\"10.0.0.0\" is not an IPv6", "[fd00::/8]:80"),
            ("[fe80::1%eth0]", "is not an IPv6", "[fd00::/8]"),
            ("[::1]80", "\"80\" cannot stand behind", "[::1]"),
            ("[fd00::/8]/8", "\"/8\" cannot stand behind", "[fd00::/8]"),
            ("[::1]:80:80", "more than one colon", usual),
            ("fd00::/8:443", "needs brackets", "[fd00::/8]:443"),
            ("::1:443", "needs brackets", "[::1]:443"),
            ("::1:22,80", "needs brackets", "[::1]:22,80"),
            ("::1:0x", "is not an IPv6 address", usual),
            ("a:b:c", "is not an IPv6 address", usual),
            ("unix:", "no path or name", "unix:/run/app.sock"),
            ("unix:@", "no path or name", "unix:/run/app.sock"),
            ("unix:run/app.sock", "is neither an absolute path", "unix:/run/app.sock"),
            ("unix:http", "is neither an absolute path", "unix:/run/app.sock"),
            ("unix:/run/*", "has a *", "unix:/run/"),
            ("unix:/run/../*", "has a *", usual),
            ("unix:/run/../a", "has //, . or ..", "unix:/run/app.sock"),
            ("unix://", "has //, . or ..", "unix:/run/app.sock"),
            ("unix:/run/a b", "' '", "unix:/run/app.sock"),
        ] {
            let error = text.parse::<Rule>().expect_err(text);
            assert!(error.to_string().contains(problem), "{text}: {error}");
            assert_eq!(error.example(), example, "{text}");
        }
    }

    #[test]
    fn names_have_their_lengths() {
        let label = "a".repeat(63);
        let name = [&label[..], &label, &label, &label[..61]].join(".");
        assert_eq!(name.len(), 253);
        assert_eq!(same(&name), name);
        assert_eq!(same(&format!("{name}.")), name);
        assert!(format!("{name}a").parse::<Rule>().is_err());
        assert!(format!("{label}a.b").parse::<Rule>().is_err());
    }

    /// Text made of what rules are made of, so that many are good and most are nearly.
    #[test]
    fn any_text_comes_back_as_it_was_read_or_has_an_example() {
        let pieces = [
            "any",
            "unix:",
            "*",
            "*.",
            "a",
            "lab.example",
            "localhost",
            "10.0.0.0",
            "0x7f",
            "1",
            "fd00::",
            "::1",
            "::ffff:1.2.3.4",
            "[",
            "]",
            ":",
            ":",
            "/",
            "/8",
            "/128",
            "80",
            "0",
            ",",
            "-",
            ".",
            "65536",
            "@",
            " ",
            "é",
            "\u{7f}",
            "//",
        ];
        let mut random = Random::new("any_text_comes_back_as_it_was_read_or_has_an_example");
        let mut good = 0;
        for _ in 0..20_000 {
            let text: String =
                (0..=random.below(6)).map(|_| pieces[random.below(pieces.len())]).collect();
            match text.parse::<Rule>() {
                Ok(rule) => {
                    assert_eq!(rule.to_string().parse(), Ok(rule), "{text}");
                    good += 1;
                }
                Err(error) => {
                    assert!(error.example().parse::<Rule>().is_ok(), "{text}: {error:?}");
                    assert!(!error.to_string().contains(char::is_control), "{text}: {error:?}");
                }
            }
        }
        assert!(good > 100, "{good}");
    }
}
