//! Which web pages may connect (`--origin`; RFC 6454, RFC 6455 §10.2).
//!
//! Owns how a rule is written and which `Origin` fields it lets in. Never decides about a request
//! that has none: that is no page in a browser.
//!
//! | a rule | lets in |
//! |---|---|
//! | `https://app.example` | that origin, on port 443 |
//! | `http://app.example:8080` | that origin |
//! | `https://*.app.example` | hosts with one or more labels in front, on port 443 |
//! | `*.app.example:8443` | the same under http and https, on that port |
//! | `*.app.example` | under http and https, on any port |
//! | `null` | sandboxed frames, `data:` and `file:` pages, whoever they belong to |
//!
//! An origin is protection against pages in honest browsers. Any other client sends what it likes.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use super::rule::is_under;
use super::syntax::SyntaxError;
use crate::proto::authority::{Host, HostPort};

/// The value of `--origin`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(Pattern);

impl Origin {
    /// Whether it lets in a page whose `Origin` field has that value, white space around it removed.
    ///
    /// Compared are scheme, host and port as RFC 6454 §5 says; a field with anything else in it, a
    /// list of origins (§7.1) too, matches nothing.
    pub fn matches(&self, header: &str) -> bool {
        match &self.0 {
            Pattern::Null => header == "null",
            Pattern::Tuple { scheme, host, port } => Tuple::read(header).is_some_and(|shown| {
                scheme.matches(shown.scheme) && port.matches(shown.port) && host.matches(shown.host)
            }),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    /// An opaque origin (RFC 6454 §6.1).
    Null,
    Tuple {
        scheme: Scheme,
        host: HostPattern,
        port: PortPattern,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Scheme {
    /// http and https.
    Web,
    /// In lower case.
    One(String),
}

impl Scheme {
    fn matches(&self, shown: &str) -> bool {
        match self {
            Self::Web => ["http", "https"].into_iter().any(|web| web.eq_ignore_ascii_case(shown)),
            Self::One(scheme) => scheme.eq_ignore_ascii_case(shown),
        }
    }
}

/// Names are in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
enum HostPattern {
    /// A name or an IPv4 address; empty for schemes that have no hosts.
    Text(String),
    /// As a number, since browsers and we write some of them differently.
    Ipv6(Ipv6Addr),
    /// Without its `*.`.
    Under(String),
}

impl HostPattern {
    fn matches(&self, shown: &str) -> bool {
        match self {
            Self::Text(host) => host.eq_ignore_ascii_case(shown),
            Self::Ipv6(ip) => bracketed(shown) == Some(*ip),
            Self::Under(domain) => is_under(domain, shown),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PortPattern {
    Any,
    /// None for a scheme that has no default.
    One(Option<u16>),
}

impl PortPattern {
    fn matches(self, shown: Option<u16>) -> bool {
        match self {
            Self::Any => true,
            Self::One(port) => port == shown,
        }
    }
}

/// A serialized origin (RFC 6454 §6.2).
struct Tuple<'a> {
    scheme: &'a str,
    /// Has letters, digits and `-._` alone, or brackets around an IPv6 address.
    host: &'a str,
    /// With the scheme's default filled in.
    port: Option<u16>,
}

impl<'a> Tuple<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let (host, rest) = split(authority);
        let plain = host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
        if !is_scheme(scheme) || !(plain || bracketed(host).is_some()) {
            return None;
        }
        let port = match rest.strip_prefix(':') {
            Some(digits) => Some(port(digits)?),
            None if rest.is_empty() => default_port(scheme),
            None => return None,
        };
        Some(Self { scheme, host, port })
    }
}

/// A host, and what follows it: nothing, or a port with its colon, if it is an authority at all.
fn split(authority: &str) -> (&str, &str) {
    let start = authority.find(']').unwrap_or(0);
    let colon = authority[start..].find(':').map_or(authority.len(), |at| start + at);
    authority.split_at(colon)
}

/// RFC 3986 §3.1
fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        _ if scheme.eq_ignore_ascii_case("http") => Some(80),
        _ if scheme.eq_ignore_ascii_case("https") => Some(443),
        _ => None,
    }
}

fn bracketed(host: &str) -> Option<Ipv6Addr> {
    host.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

/// Digits alone, as browsers write them; `u16::from_str` would take a sign as well.
fn port(digits: &str) -> Option<u16> {
    let plain = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
    digits.parse().ok().filter(|_| plain)
}

/// As a user would write it: a parsed rule comes back the same.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Pattern::Tuple { scheme, host, port } = &self.0 else { return f.write_str("null") };
        let default = match scheme {
            Scheme::Web => None,
            Scheme::One(scheme) => {
                write!(f, "{scheme}://")?;
                default_port(scheme)
            }
        };
        match host {
            HostPattern::Text(host) => f.write_str(host),
            HostPattern::Ipv6(ip) => write!(f, "[{ip}]"),
            HostPattern::Under(domain) => write!(f, "*.{domain}"),
        }?;
        match port {
            PortPattern::One(Some(port)) if Some(*port) != default => write!(f, ":{port}"),
            _ => Ok(()),
        }
    }
}

impl FromStr for Origin {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Self, SyntaxError> {
        // An example that is made of the user's text may have another fault of that text.
        read(text).map(Self).map_err(|error| match read(error.example()) {
            Ok(_) => error,
            Err(_) => error.like("https://app.example:8443"),
        })
    }
}

fn read(text: &str) -> Result<Pattern, SyntaxError> {
    if text.is_empty() {
        return Err(SyntaxError::new("is empty"));
    }
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(SyntaxError::new("has a space or a control character in it"));
    }
    match text.split_once("://") {
        Some((scheme, rest)) => with_scheme(scheme, rest),
        None if text.eq_ignore_ascii_case("null") => Ok(Pattern::Null),
        None => without_scheme(text),
    }
}

fn with_scheme(scheme: &str, rest: &str) -> Result<Pattern, SyntaxError> {
    let scheme = scheme.to_ascii_lowercase();
    let page = match &scheme[..] {
        "ws" => Some("http"),
        "wss" => Some("https"),
        _ => None,
    };
    if let Some(page) = page {
        let problem = format!("{scheme} is no scheme of a page, from which an origin comes");
        return Err(SyntaxError::new(problem).like(format!("{page}://{rest}")));
    }
    if scheme == "*" {
        let https = if rest.starts_with("*.") { "" } else { "https://" };
        let problem = "a * can only stand for all labels in front of a name";
        return Err(SyntaxError::new(problem).like(format!("{https}{rest}")));
    }
    if !is_scheme(&scheme) {
        return Err(SyntaxError::new(format!("{scheme:?} is not a scheme")));
    }
    let default = default_port(&scheme);
    // `file://` is what some web views send.
    let (host, port) = match rest {
        "" if default.is_none() => (HostPattern::Text(String::new()), None),
        _ => authority(rest).map_err(|error| {
            let example = format!("{scheme}://{}", error.example());
            error.like(example)
        })?,
    };
    let port = PortPattern::One(port.or(default));
    Ok(Pattern::Tuple { scheme: Scheme::One(scheme), host, port })
}

fn without_scheme(text: &str) -> Result<Pattern, SyntaxError> {
    if text == "*" {
        let problem = "\"*\" alone is no origin; without --origin every origin is let in";
        return Err(SyntaxError::new(problem).like("*.app.example"));
    }
    let https = if text.starts_with("*.") { "" } else { "https://" };
    let (host, port) = authority(text).map_err(|error| {
        let example = format!("{https}{}", error.example());
        error.like(example)
    })?;
    if !matches!(host, HostPattern::Under(_)) {
        let problem = "has no scheme, which every origin but null has";
        return Err(SyntaxError::new(problem).like(format!("{https}{text}")));
    }
    let port = port.map_or(PortPattern::Any, |port| PortPattern::One(Some(port)));
    Ok(Pattern::Tuple { scheme: Scheme::Web, host, port })
}

/// `[*.]HOST[:PORT]`. Examples are without a scheme.
fn authority(text: &str) -> Result<(HostPattern, Option<u16>), SyntaxError> {
    if let Some(at) = text.find(['/', '?', '#']) {
        let problem = "has something behind host and port, where an origin ends";
        return Err(SyntaxError::new(problem).like(&text[..at]));
    }
    if let Some((_, rest)) = text.rsplit_once('@') {
        return Err(SyntaxError::new("has a user name, which origins do not have").like(rest));
    }
    if let Some(c) = text.chars().find(|c| !c.is_ascii()) {
        return Err(SyntaxError::new(format!("{c:?} is not ASCII; a name goes in its xn-- form")));
    }
    let (host, port) = split(text);
    let domain = host.strip_prefix("*.");
    let name = domain.unwrap_or(host);
    if name.contains('*') {
        let problem = "a * can only stand for all labels in front of a name";
        return Err(SyntaxError::new(problem).like(format!("*.app.example{port}")));
    }
    // To a browser a host with the root's dot is another one; the reader below drops it.
    if let Some(dotless) = host.strip_suffix('.') {
        let error = SyntaxError::new("the host ends in a dot, which hardly any page's does");
        return Err(error.like(format!("{dotless}{port}")));
    }
    if let Some((ipv6, rest)) = host.split_once(']').filter(|(_, rest)| !rest.is_empty()) {
        let error = SyntaxError::new(format!("{rest:?} cannot stand behind the ]"));
        return Err(error.like(format!("{ipv6}]{port}")));
    }
    // The reader wants a port.
    let stand_in = if port.is_empty() { ":1" } else { port };
    let target = HostPort::parse(&format!("{name}{stand_in}"))
        .map_err(|flaw| SyntaxError::new(flaw.to_string()).like(host))?;
    let host = match (target.host, domain) {
        (Host::Name(name), None) => HostPattern::Text(name),
        (Host::Name(name), Some(_)) => HostPattern::Under(name),
        (Host::Ip(IpAddr::V4(ip)), None) => HostPattern::Text(ip.to_string()),
        (Host::Ip(IpAddr::V6(ip)), None) => HostPattern::Ipv6(ip),
        (Host::Ip(_), Some(_)) => {
            let problem = "a * can only stand in front of a name";
            return Err(SyntaxError::new(problem).like(format!("{name}{port}")));
        }
    };
    Ok((host, (!port.is_empty()).then_some(target.port)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    fn origin(text: &str) -> Origin {
        text.parse().expect(text)
    }

    #[test]
    fn an_exact_origin_is_scheme_host_and_port() {
        for (rule, same, others) in [
            (
                "https://app.example",
                &["https://app.example", "https://app.example:443", "HTTPS://App.EXAMPLE"][..],
                &[
                    "http://app.example",
                    "https://app.example:80",
                    "https://app.example:8443",
                    "https://www.app.example",
                    "https://app.example.evil.example",
                    "https://evilapp.example",
                    "https://app.example.",
                    "https://app.exampl",
                    "wss://app.example",
                    "null",
                    "",
                ][..],
            ),
            (
                "HTTP://App.Example:80",
                &["http://app.example", "http://app.example:80"],
                &["https://app.example:80", "https://app.example", "http://app.example:8080"],
            ),
            (
                "https://app.example:8443",
                &["https://app.example:8443"],
                &["https://app.example", "http://app.example:8443", "https://app.example:443"],
            ),
            (
                "https://app.example:80",
                &["https://app.example:80"],
                &["https://app.example", "http://app.example"],
            ),
            (
                "http://192.168.1.5:8080",
                &["http://192.168.1.5:8080"],
                &["http://192.168.1.5", "http://192.168.1.50:8080", "http://0xc0a80105:8080"],
            ),
            (
                "http://[2001:DB8:0::1]:3000",
                &["http://[2001:db8::1]:3000"],
                &["http://[2001:db8::1]", "http://2001:db8::1:3000", "http://[2001:db8::2]:3000"],
            ),
            // WHATWG URL §3.5 writes no dotted form, Rust does.
            ("http://[::ffff:127.0.0.1]", &["http://[::ffff:7f00:1]"], &["http://127.0.0.1"]),
            (
                "chrome-extension://abcdefghijklmnop",
                &["chrome-extension://abcdefghijklmnop"],
                &["chrome-extension://abcdefghijklmnop:443", "https://abcdefghijklmnop"],
            ),
            ("file://", &["file://"], &["file://a", "file:///", "null", "http://"]),
            ("null", &["null"], &["NULL", "", "https://null", "null://", "nul", " null"]),
        ] {
            let rule = origin(rule);
            same.iter().for_each(|header| assert!(rule.matches(header), "{rule} {header}"));
            others.iter().for_each(|header| assert!(!rule.matches(header), "{rule} {header}"));
        }
    }

    #[test]
    fn a_wildcard_is_one_or_more_labels() {
        let rule = origin("https://*.app.example");
        for header in
            ["https://a.app.example", "https://a.b.app.example:443", "https://A.APP.example"]
        {
            assert!(rule.matches(header), "{header}");
        }
        for header in [
            "https://app.example",
            "https://.app.example",
            "https://aapp.example",
            "https://a.app.example:8443",
            "http://a.app.example",
            "https://a.app.example.evil.example",
            "https://*.app.example.evil.example",
        ] {
            assert!(!rule.matches(header), "{header}");
        }
    }

    #[test]
    fn without_a_scheme_it_is_http_and_https_on_any_port_or_the_one_that_is_given() {
        let any = origin("*.app.example");
        for header in
            ["http://a.app.example", "https://a.app.example", "https://a.app.example:8443"]
        {
            assert!(any.matches(header), "{header}");
        }
        assert!(!any.matches("ftp://a.app.example") && !any.matches("a.app.example"));
        let one = origin("*.app.example:443");
        assert!(one.matches("https://a.app.example") && one.matches("http://a.app.example:443"));
        assert!(!one.matches("http://a.app.example") && !one.matches("https://a.app.example:80"));
    }

    #[test]
    fn what_is_no_origin_matches_nothing() {
        let rules = ["*.app.example", "https://*.app.example", "https://a.app.example", "null"];
        for header in [
            "https://evil.example/.app.example",
            "https://evil.example?.app.example",
            "https://evil.example#.app.example",
            "https://evil.example\\.app.example",
            "https://evil.example:80.app.example",
            "https://evil.example:443:.app.example",
            "https://evil.example%2f.app.example",
            "https://evil.example a.app.example",
            "https://evil.example,https://a.app.example",
            "https://a.app.example https://evil.example",
            "https://a.app.example/",
            "https://a.app.example:",
            "https://a.app.example:+443",
            "https://a.app.example:0443",
            "https://a.app.example:65979",
            "https://a@a.app.example",
            "https://[a.app.example]",
            "https://[::1].app.example",
            "https:a.app.example",
            "https//a.app.example",
            "//a.app.example",
            "://a.app.example",
            "https://https://a.app.example",
            "a.app.example",
            "https://ä.app.example",
            "https://a.app.example\0",
            "[]://]",
            "https://]",
            "https://]:",
        ] {
            for rule in rules {
                assert!(!origin(rule).matches(header), "{rule} {header}");
            }
        }
    }

    #[test]
    fn says_what_is_wrong_and_what_to_write() {
        let usual = "https://app.example:8443";
        for (text, problem, example) in [
            ("", "is empty", usual),
            ("https://a b", "a space", usual),
            ("https://a https://b", "a space", usual),
            ("https://a\u{7}", "a control character", usual),
            ("*", "without --origin every origin", "*.app.example"),
            ("app.example", "no scheme", "https://app.example"),
            ("app.example:8443", "no scheme", "https://app.example:8443"),
            ("localhost:3000", "no scheme", "https://localhost:3000"),
            ("app.example:0", "port 0", "https://app.example"),
            ("app.example/a", "where an origin ends", "https://app.example"),
            ("[::1]:3000", "no scheme", "https://[::1]:3000"),
            ("https://app.example/", "where an origin ends", "https://app.example"),
            ("https://app.example:8443/a?b", "where an origin ends", "https://app.example:8443"),
            ("*.app.example/", "where an origin ends", "*.app.example"),
            ("https://me@app.example", "a user name", "https://app.example"),
            ("wss://app.example:8443", "wss is no scheme of a page", "https://app.example:8443"),
            ("ws://app.example", "ws is no scheme of a page", "http://app.example"),
            ("*://app.example", "a * can only", "https://app.example"),
            ("*://*.app.example", "a * can only", "*.app.example"),
            ("ht_tp://a", "\"ht_tp\" is not a scheme", usual),
            ("://a", "\"\" is not a scheme", usual),
            ("https://", "the host is missing", usual),
            ("https://:443", "the host is missing", usual),
            ("https://app.example:", "the port is missing", "https://app.example"),
            ("https://app.example:0", "port 0", "https://app.example"),
            ("https://app.example:65536", "over 65535", "https://app.example"),
            ("https://app.example:https", "not a number", "https://app.example"),
            ("https://*:8443", "a * can only", "https://*.app.example:8443"),
            ("https://a.*.example", "a * can only", "https://*.app.example"),
            ("https://*app.example", "a * can only", "https://*.app.example"),
            ("*.*.example", "a * can only", "*.app.example"),
            ("*.", "ends in a dot", usual),
            ("https://*.10.0.0.1", "in front of a name", "https://10.0.0.1"),
            ("https://app.example.", "ends in a dot", "https://app.example"),
            ("https://*.app.example.:1", "ends in a dot", "https://*.app.example:1"),
            ("https://127.1", "not an IPv4 address", usual),
            ("https://[::1", "not closed", usual),
            ("https://[::1]x:8443", "\"x\" cannot stand behind", "https://[::1]:8443"),
            ("https://[::1]]", "\"]\" cannot stand behind", "https://[::1]"),
            ("https://[a]", "no IPv6 address", usual),
            ("https://::1", "more than one colon", usual),
            ("https://bücher.example", "xn-- form", usual),
            ("https://a..b", "is empty or longer", usual),
        ] {
            let error = text.parse::<Origin>().expect_err(text);
            assert!(error.to_string().contains(problem), "{text}: {error}");
            assert_eq!(error.example(), example, "{text}");
        }
    }

    #[test]
    fn comes_back_as_it_was_read() {
        for (text, written) in [
            ("https://app.example", "https://app.example"),
            ("HTTPS://APP.example:443", "https://app.example"),
            ("http://app.example:443", "http://app.example:443"),
            ("http://[0::1]:80", "http://[::1]"),
            ("https://*.App.example", "https://*.app.example"),
            ("*.app.example:8443", "*.app.example:8443"),
            ("*.app.example", "*.app.example"),
            ("*.localhost", "*.localhost"),
            ("app://localhost:80", "app://localhost:80"),
            ("file://", "file://"),
            ("Null", "null"),
        ] {
            assert_eq!(origin(text).to_string(), written, "{text}");
            assert_eq!(origin(written), origin(text), "{text}");
        }
    }

    /// Text made of what origins are made of, so that many are good and most are nearly.
    #[test]
    fn any_text_is_a_rule_for_itself_or_has_an_example() {
        let pieces = [
            "https",
            "http",
            "ws",
            "app",
            "null",
            "file",
            "://",
            "://",
            "//",
            ":",
            "*",
            "*.",
            ".",
            "a.example",
            "b",
            "[::1]",
            "10.0.0.1",
            "0x7f",
            "80",
            ":443",
            ":8443",
            "0",
            "/",
            "?",
            "@",
            " ",
            "é",
            "]",
            "[",
            "-",
        ];
        let mut random = Random::new("any_text_is_a_rule_for_itself_or_has_an_example");
        let mut good = 0;
        for _ in 0..50_000 {
            let text: String =
                (0..=random.below(5)).map(|_| pieces[random.below(pieces.len())]).collect();
            match text.parse::<Origin>() {
                Ok(rule) => {
                    let written = rule.to_string();
                    assert_eq!(written.parse(), Ok(rule.clone()), "{text}");
                    assert_eq!(rule.matches(&text), !text.contains('*'), "{text}");
                    assert_eq!(rule.matches(&written), !text.contains('*'), "{text}");
                    good += 1;
                }
                Err(error) => {
                    assert!(error.example().parse::<Origin>().is_ok(), "{text}: {error:?}");
                    assert!(!error.to_string().contains(char::is_control), "{text}: {error:?}");
                }
            }
        }
        assert!(good > 100, "{good}");
    }
}
