//! Whose connection a trusted proxy passes on (`--trust-proxy`; RFC 7239, and `X-Forwarded-For`,
//! which no document defines).
//!
//! Owns how the two fields are read and how far they are believed. Never decides what the client
//! may do.
//!
//! Each proxy writes whom it heard from behind what was there already, so that only the end of the
//! list was written by somebody we know:
//!
//! ```text
//!              X-Forwarded-For: 6.6.6.6, 192.0.2.7, 10.0.0.2      peer: 10.0.0.1
//!                               made up  seen by    seen by       seen by us
//!                               by the   10.0.0.2   10.0.0.1
//!                               client
//! trusted                                           yes      <--  yes
//! the client                             192.0.2.7
//! ```
//!
//! Everything is read from the right, single elements too: what a client made up is to the left of
//! what is believed, and must not change how that is understood (a quote that is never closed, say).
//!
//! **A proxy writes one of the fields and passes the other on as it came**, which is as the client
//! made it up. Whoever calls [`client`] hands over the field that the trusted proxies write, unless
//! they remove the other.

use std::net::{IpAddr, Ipv6Addr};

use super::cidr::{canonical, Cidr};

/// The address that the first of the trusted proxies heard from, or the last one that can be
/// believed: `peer`, if it is not trusted itself.
///
/// The fields' values come in the order in which they stand in the head. If there is a `Forwarded`,
/// `x_forwarded_for` is not looked at. An element that is no address (`unknown`, `_hidden`, or
/// nonsense) ends the search at whoever wrote it. IPv4-mapped addresses come out as IPv4.
pub fn client<'a>(
    peer: IpAddr,
    trusted: &[Cidr],
    x_forwarded_for: impl DoubleEndedIterator<Item = &'a [u8]>,
    forwarded: impl DoubleEndedIterator<Item = &'a [u8]>,
) -> IpAddr {
    let mut forwarded = forwarded.rev().flat_map(elements).peekable();
    match forwarded.peek() {
        Some(_) => walk(peer, trusted, forwarded.map(forwarded_for)),
        None => walk(peer, trusted, x_forwarded_for.rev().flat_map(members).map(node)),
    }
}

/// From one to whom it heard from, as long as it is trusted. `heard` begins with the last.
fn walk(peer: IpAddr, trusted: &[Cidr], mut heard: impl Iterator<Item = Option<IpAddr>>) -> IpAddr {
    let mut client = canonical(peer);
    while trusted.iter().any(|net| net.contains(client)) {
        match heard.next() {
            Some(Some(ip)) => client = canonical(ip),
            Some(None) | None => break,
        }
    }
    client
}

/// The members of a list, the last one first. Empty ones do not count (RFC 9110 §5.6.1.2).
fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.rsplit(|b| *b == b',').map(trim).filter(|member| !member.is_empty())
}

/// The same where commas may stand in quoted strings.
fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(value);
    let next = move || {
        let value = rest?;
        let comma = last_comma(value);
        rest = comma.map(|at| &value[..at]);
        Some(trim(&value[comma.map_or(0, |at| at + 1)..]))
    };
    std::iter::from_fn(next).filter(|element| !element.is_empty())
}

/// The last comma that is not in a quoted string (RFC 9110 §5.6.4). Seen from the right, a quote
/// ends a string, and the next one begins it unless it is escaped.
fn last_comma(value: &[u8]) -> Option<usize> {
    let mut quoted = false;
    for (at, byte) in value.iter().enumerate().rev() {
        match byte {
            b'"' if quoted => quoted = is_escaped(&value[..at]),
            b'"' => quoted = true,
            b',' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

/// Whether what follows `before` is the second half of a quoted pair.
fn is_escaped(before: &[u8]) -> bool {
    before.iter().rev().take_while(|b| **b == b'\\').count() % 2 == 1
}

/// The address in an element of `Forwarded`: that of its only `for` (RFC 7239 §4).
fn forwarded_for(element: &[u8]) -> Option<IpAddr> {
    let mut rest = element;
    let mut found = None;
    loop {
        let (name, value) = pair(&mut rest)?;
        if name.eq_ignore_ascii_case(b"for") {
            match found {
                None => found = Some(value),
                Some(_) => return None,
            }
        }
        match rest.split_first() {
            None => return node(found?),
            Some((b';', others)) => rest = others,
            Some(_) => return None,
        }
    }
}

/// Takes `name=value`, or nothing where there is none, off the front of `rest` up to a semicolon.
///
/// White space around it is found, though not allowed. So are addresses that should be quoted: a
/// value without quotes is whatever has no separators. A quoted value keeps its escapes, since no
/// address needs one.
fn pair<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let text = trim_start(rest);
    if text.is_empty() || text.starts_with(b";") {
        *rest = text;
        return Some((b"", b""));
    }
    let equals = text.iter().position(|b| *b == b'=')?;
    let (name, text) = (&text[..equals], &text[equals + 1..]);
    let is_tchar = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    if name.is_empty() || !name.iter().all(is_tchar) {
        return None;
    }
    let (value, text) = match text.strip_prefix(b"\"") {
        Some(text) => {
            let end = (0..text.len()).find(|at| text[*at] == b'"' && !is_escaped(&text[..*at]))?;
            (&text[..end], &text[end + 1..])
        }
        None => {
            let stops = |b: &u8| matches!(b, b';' | b'"' | b',' | b' ' | b'\t');
            text.split_at(text.iter().position(stops).unwrap_or(text.len()))
        }
    };
    *rest = trim_start(text);
    Some((name, value))
}

/// An address, which may be in brackets and have a port (RFC 7239 §6). In `X-Forwarded-For` IPv6
/// is found with and without brackets.
fn node(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    if let Ok(ip) = text.parse() {
        return Some(ip);
    }
    let (ip, rest) = match text.strip_prefix('[') {
        Some(text) => {
            let (ip, rest) = text.split_once(']')?;
            (IpAddr::V6(ip.parse::<Ipv6Addr>().ok()?), rest)
        }
        None => {
            let at = text.find(':')?;
            (IpAddr::V4(text[..at].parse().ok()?), &text[at..])
        }
    };
    (rest.is_empty() || is_port(rest.strip_prefix(':')?)).then_some(ip)
}

/// Digits, or a pseudonym (RFC 7239 §6.3).
fn is_port(text: &str) -> bool {
    match text.strip_prefix('_') {
        Some(name) => {
            !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        }
        None => matches!(text.len(), 1..=5) && text.bytes().all(|b| b.is_ascii_digit()),
    }
}

fn trim(text: &[u8]) -> &[u8] {
    let text = trim_start(text);
    let spaces = text.iter().rev().take_while(|b| is_space(b)).count();
    &text[..text.len() - spaces]
}

fn trim_start(text: &[u8]) -> &[u8] {
    &text[text.iter().take_while(|b| is_space(b)).count()..]
}

/// RFC 9110 §5.6.3
fn is_space(b: &u8) -> bool {
    matches!(b, b' ' | b'\t')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    const TRUSTED: [&str; 3] = ["10.0.0.0/8", "fd00::/8", "127.0.0.1"];

    fn ip(text: &str) -> IpAddr {
        text.parse().expect(text)
    }

    fn trusted() -> Vec<Cidr> {
        TRUSTED.map(|text| text.parse().expect(text)).to_vec()
    }

    /// The client behind a trusted peer, told by these fields, one line each.
    fn behind(x_forwarded_for: &str, forwarded: &str) -> String {
        fn lines(text: &str) -> impl DoubleEndedIterator<Item = &[u8]> {
            text.lines().map(str::as_bytes)
        }
        let peer = ip("10.0.0.1");
        client(peer, &trusted(), lines(x_forwarded_for), lines(forwarded)).to_string()
    }

    #[test]
    fn walks_from_the_right_as_long_as_it_trusts() {
        for (field, found) in [
            ("192.0.2.7", "192.0.2.7"),
            ("192.0.2.7, 10.0.0.2", "192.0.2.7"),
            ("6.6.6.6, 192.0.2.7, 10.0.0.2", "192.0.2.7"),
            ("6.6.6.6,192.0.2.7 ,\t10.0.0.2", "192.0.2.7"),
            ("10.0.0.3, 192.0.2.7", "192.0.2.7"),
            ("10.0.0.3, 192.0.2.7, 10.0.0.2", "192.0.2.7"),
            // All of them are trusted: the first is the client.
            ("10.0.0.4, 10.0.0.3, 127.0.0.1", "10.0.0.4"),
            ("", "10.0.0.1"),
            (" , ,", "10.0.0.1"),
            (", 192.0.2.7,, 10.0.0.2, ", "192.0.2.7"),
            ("6.6.6.6\n192.0.2.7\n10.0.0.2", "192.0.2.7"),
            ("6.6.6.6, 192.0.2.7\n10.0.0.3, 10.0.0.2", "192.0.2.7"),
        ] {
            assert_eq!(behind(field, ""), found, "{field:?}");
            let forwarded: String = field
                .split_inclusive([',', '\n'])
                .map(|part| match part.trim_start_matches([' ', '\t']) {
                    empty if empty.trim_matches([' ', ',', '\n']).is_empty() => empty.to_owned(),
                    address => format!("for={address}"),
                })
                .collect();
            assert_eq!(behind("", &forwarded), found, "{forwarded:?}");
        }
    }

    #[test]
    fn nothing_is_believed_of_a_peer_that_is_not_trusted() {
        let fields = || [&b"192.0.2.7"[..]].into_iter();
        let forwarded = || [&b"for=192.0.2.7"[..]].into_iter();
        for (peer, found) in [
            ("6.6.6.6", "6.6.6.6"),
            ("::ffff:6.6.6.6", "6.6.6.6"),
            ("2001:db8::1", "2001:db8::1"),
            ("10.0.0.1", "192.0.2.7"),
            ("::ffff:10.0.0.1", "192.0.2.7"),
            ("fd00::1", "192.0.2.7"),
        ] {
            assert_eq!(client(ip(peer), &trusted(), fields(), forwarded()), ip(found), "{peer}");
            let nobody = client(ip(peer), &[], fields(), forwarded());
            assert_eq!(nobody, canonical(ip(peer)), "{peer}");
        }
    }

    #[test]
    fn reads_addresses_as_they_are_found() {
        for (field, found) in [
            ("192.0.2.7:4711", "192.0.2.7"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:DB8:0::1]:4711", "2001:db8::1"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("[::ffff:192.0.2.7]:80", "192.0.2.7"),
            ("192.0.2.7, ::ffff:10.0.0.2", "192.0.2.7"),
            ("192.0.2.7, fd00::2", "192.0.2.7"),
            ("192.0.2.7:_port, [fd00::2]:_a.b-c_d", "192.0.2.7"),
        ] {
            assert_eq!(behind(field, ""), found, "{field:?}");
        }
    }

    #[test]
    fn what_is_no_address_ends_the_walk_at_whoever_wrote_it() {
        for bad in [
            "unknown",
            "_hidden",
            "_",
            "localhost",
            "x",
            "127.1",
            "010.0.0.1",
            "1.2.3.4.5",
            "0x7f000001",
            "1.2.3.4:",
            "1.2.3.4:123456",
            "1.2.3.4:x",
            "1.2.3.4:_",
            "1.2.3.4:-1",
            "1.2.3.4 5",
            "[1.2.3.4]",
            "[::1",
            "::1]",
            "[::1]:",
            "[::1]80",
            "[::1%eth0]",
            "fe80::1%1",
            "[]",
            ":",
            "1.2.3.4;5",
            "\"1.2.3.4\"",
            "é",
            "1.2.3.4\u{0}",
        ] {
            assert_eq!(behind(&format!("6.6.6.6, {bad}"), ""), "10.0.0.1", "{bad:?}");
            assert_eq!(behind(&format!("6.6.6.6, {bad}, 10.0.0.2"), ""), "10.0.0.2", "{bad:?}");
            assert_eq!(behind(&format!("{bad}, 192.0.2.7"), ""), "192.0.2.7", "{bad:?}");
            let quoted = bad.trim_matches('"');
            if quoted == bad {
                let field = format!("for=6.6.6.6, for=\"{bad}\", for=10.0.0.2");
                assert_eq!(behind("", &field), "10.0.0.2", "{bad:?}");
            }
        }
        let invalid = [&b"6.6.6.6, 192.0.2.\xff, 10.0.0.2"[..]].into_iter();
        assert_eq!(client(ip("10.0.0.1"), &trusted(), invalid, [].into_iter()), ip("10.0.0.2"));
    }

    /// RFC 7239 §4, §6 and §7.1, and what is found.
    #[test]
    fn reads_forwarded_as_the_rfc_writes_it() {
        for (field, found) in [
            ("For=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"),
            ("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60"),
            ("for=192.0.2.43, for=198.51.100.17", "198.51.100.17"),
            ("for=192.0.2.43, for=\"[fd00::17]\"", "192.0.2.43"),
            ("for=\"_gazonk\"", "10.0.0.1"),
            ("for=192.0.2.43,for=\"[fd00:db8:cafe::17]\",for=unknown", "10.0.0.1"),
            ("for=_hidden, for=_SEVKISEK", "10.0.0.1"),
            ("for=\"192.0.2.43:47011\"", "192.0.2.43"),
            ("proto=https;by=_a;for=192.0.2.60;host=example.com", "192.0.2.60"),
            ("host=\"a, for=6.6.6.6;x\";for=192.0.2.60", "192.0.2.60"),
            ("for=192.0.2.60;host=\"a\\\", for=6.6.6.6\"", "192.0.2.60"),
            ("for=192.0.2.60;host=\"a\\\\\", for=10.0.0.2", "192.0.2.60"),
            ("secret=\"\";for=192.0.2.60", "192.0.2.60"),
            ("FOR=192.0.2.60;", "192.0.2.60"),
            (";;for=192.0.2.60 ; proto=http", "192.0.2.60"),
            ("for=[2001:db8::1]:80;proto=http", "2001:db8::1"),
            ("for=2001:db8::1", "2001:db8::1"),
            ("for=\"2001:db8::1\"", "2001:db8::1"),
        ] {
            assert_eq!(behind("", field), found, "{field:?}");
        }
    }

    #[test]
    fn an_element_that_is_malformed_ends_the_walk() {
        for bad in [
            "by=1.2.3.4",
            "for=1.2.3.4;for=1.2.3.4",
            "for",
            "for=",
            "=1.2.3.4",
            "1.2.3.4",
            "for=\"1.2.3.4",
            "for=1.2.3.4\"",
            "for=\"1.2.3.4\"x",
            "for=\"1.2.3.4\"\"x\"",
            "for =1.2.3.4",
            "for= 1.2.3.4",
            "for=1.2.3.4 proto=http",
            "f r=1;for=1.2.3.4",
            "for=1.2.3.4;proto",
            "for=\"1.2.3.\\4\"",
            "for='1.2.3.4'",
            "for:1.2.3.4",
            ";",
        ] {
            let field = format!("for=6.6.6.6, {bad}\nfor=10.0.0.2");
            assert_eq!(behind("", &field), "10.0.0.2", "{bad:?}");
        }
    }

    #[test]
    fn what_a_client_makes_up_changes_nothing_to_its_right() {
        for made_up in [
            "for=\"6.6.6.6",
            "for=6.6.6.6;x=\"",
            "for=6.6.6.6;x=\"\\",
            "\\",
            "\"\\\"",
            "\"",
            "\"\"\"",
            ";;;",
            "for=6.6.6.6;",
            "=",
            ",",
            "for=10.0.0.9",
            "x=\";for=6.6.6.6;y=\"",
            "[",
            "",
        ] {
            for proxy in [
                "for=192.0.2.7",
                "for=\"192.0.2.7\"",
                "for=\"192.0.2.7:80\", for=10.0.0.2",
                "for=192.0.2.7;host=\"a\\\\\\\", for=6.6.6.6, \\\"\"",
                "host=\", for=6.6.6.6\";for=192.0.2.7",
            ] {
                let one_line = format!("{made_up}, {proxy}");
                assert_eq!(behind("", &one_line), "192.0.2.7", "{one_line:?}");
                let two_lines = format!("{made_up}\n{proxy}");
                assert_eq!(behind("", &two_lines), "192.0.2.7", "{two_lines:?}");
            }
        }
    }

    #[test]
    fn forwarded_wins_where_both_are() {
        assert_eq!(behind("6.6.6.6", "for=192.0.2.7"), "192.0.2.7");
        assert_eq!(behind("6.6.6.6", "for=unknown"), "10.0.0.1");
        assert_eq!(behind("6.6.6.6", "nonsense"), "10.0.0.1");
        assert_eq!(behind("192.0.2.7", ""), "192.0.2.7");
        assert_eq!(behind("192.0.2.7", " , \n"), "192.0.2.7");
    }

    /// Whatever stands in the fields, the answer is an address that a trusted one has told.
    #[test]
    fn any_bytes_give_an_address_that_was_told() {
        let pieces = [
            "for=",
            "For=",
            "10.0.0.2",
            "192.0.2.7",
            "\"",
            "\\",
            ",",
            ", ",
            ";",
            "[",
            "]",
            "[fd00::2]",
            ":80",
            "unknown",
            "proto=http",
            "=",
            " ",
            "\n",
            "6.6.6.6",
            "é",
        ];
        let mut random = Random::new("any_bytes_give_an_address_that_was_told");
        let mut told = 0;
        for _ in 0..50_000 {
            let field: String =
                (0..=random.below(12)).map(|_| pieces[random.below(pieces.len())]).collect();
            for found in [behind(&field, ""), behind("", &field)] {
                assert!(found == "10.0.0.1" || found == "fd00::2" || field.contains(&found));
                told += u32::from(found != "10.0.0.1");
            }
            let honest = format!("{field}, for=192.0.2.8");
            assert_eq!(behind("", &honest), "192.0.2.8", "{field:?}");
        }
        assert!(told > 100, "{told}");
    }
}
