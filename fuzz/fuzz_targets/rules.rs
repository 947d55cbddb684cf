//! Rules about targets: no text may panic, and the verdict is that of plain intervals of numbers.
//!
//! ```text
//! input = options (1 byte), port (2), address (16), name (length and bytes), then
//!         rules, one a line; those that begin with ! deny
//! ```

#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use ws_tcp_proxy::config::{Host, HostPort};
use ws_tcp_proxy::policy::rules::{Rule, Rules};
use ws_tcp_proxy_fuzz::input::Input;

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let options = input.byte();
    let port = u16::from_be_bytes([input.byte(), input.byte()]);
    let mut address = [0; 16];
    address.iter_mut().for_each(|byte| *byte = input.byte());
    let name = String::from_utf8_lossy(input.bytes()).into_owned();
    let text = String::from_utf8_lossy(input.rest());
    let (mut allow, mut deny) = (Vec::new(), Vec::new());
    for line in text.lines() {
        match line.strip_prefix('!') {
            Some(line) => deny.extend(read(line)),
            None => allow.extend(read(line)),
        }
    }
    // A small change of the address is to stay near a rule.
    let near = allow.iter().chain(&deny).find_map(|rule| model(rule).interval);
    let ip = match near.filter(|_| options & 1 == 1) {
        Some(near) => near.address(address),
        None if options & 2 == 2 => IpAddr::from([address[0], address[1], address[2], address[3]]),
        None => IpAddr::from(address),
    };
    let host = if options & 4 == 4 { Host::Ip(ip) } else { Host::Name(name) };
    let target = HostPort { host, port };
    judges(&allow, &deny, &target, ip);
    denying_beats_allowing(&allow, &deny, &target, ip);
    wide_rules_open_nothing_special(&target, ip);
});

/// A rule that comes back as it was read; or none, and an example that is one.
fn read(line: &str) -> Option<Rule> {
    match line.parse::<Rule>() {
        Ok(rule) => {
            let written = rule.to_string();
            let again: Rule = written.parse().expect("what it wrote");
            assert_eq!(again, rule, "{line:?}");
            assert_eq!(again.to_string(), written);
            // The model knows addresses and names alone.
            (!written.starts_with("unix:")).then_some(rule)
        }
        Err(error) => {
            assert!(error.example().parse::<Rule>().is_ok(), "{line:?}: {error:?}");
            assert!(!error.to_string().contains(char::is_control), "{line:?}: {error:?}");
            None
        }
    }
}

fn rules(allow: &[Rule], deny: &[Rule]) -> Rules {
    let mut rules = Rules::default();
    allow.iter().for_each(|rule| rules.allow(rule.clone()));
    deny.iter().for_each(|rule| rules.deny(rule.clone()));
    assert_eq!(rules.is_empty(), allow.is_empty());
    rules
}

fn judges(allow: &[Rule], deny: &[Rule], target: &HostPort, ip: IpAddr) {
    let rules = rules(allow, deny);
    let (verdict, before) = (rules.check(target, ip), rules.may_allow(target));
    let at = Interval::single(ip);
    let special = special().iter().filter(|(range, _)| at.is_within(range));
    let special = special.min_by_key(|(range, _)| range.last - range.first);
    let inner = embedded(&at);
    let denied = deny.iter().map(model).any(|rule| {
        let hits = |net: Interval| {
            at.is_within(&net) || inner.as_ref().is_some_and(|inner| inner.is_within(&net))
        };
        rule.has_port(target) && rule.interval.map_or_else(|| rule.has_name(target), hits)
    });
    let allowed = allow.iter().map(model).any(|rule| {
        let opens = match (rule.interval, special) {
            (Some(net), None) => at.is_within(&net),
            (Some(net), Some((range, _))) => at.is_within(&net) && net.is_within(range),
            (None, None) => rule.has_name(target),
            (None, Some((_, is_loopback))) => {
                let host = format!(".{}", rule.host.trim_start_matches("*."));
                *is_loopback && host.ends_with(".localhost") && rule.has_name(target)
            }
        };
        rule.has_port(target) && opens
    });
    assert_eq!(verdict.is_ok(), allowed && !denied, "{rules:?} {target} at {ip}: {verdict:?}");
    match target.host {
        Host::Ip(_) => assert_eq!(before, verdict),
        Host::Name(_) => assert!(before.is_ok() || verdict.is_err(), "{rules:?} {target} {ip}"),
    }
    let reason = verdict.map_or_else(|denied| denied.to_string(), |()| "none".to_owned());
    assert!(!reason.is_empty() && reason.len() < 100);
}

fn denying_beats_allowing(allow: &[Rule], deny: &[Rule], target: &HostPort, ip: IpAddr) {
    // Whatever they allow, all of them denied allow nothing.
    assert!(rules(allow, allow).check(target, ip).is_err());
    // And to deny one more opens nothing.
    for more in allow {
        let more = [deny, std::slice::from_ref(more)].concat();
        let was_denied = rules(allow, deny).check(target, ip).is_err();
        assert!(!was_denied || rules(allow, &more).check(target, ip).is_err());
    }
}

fn wide_rules_open_nothing_special(target: &HostPort, ip: IpAddr) {
    static WIDE: OnceLock<Vec<Rule>> = OnceLock::new();
    let wide = WIDE.get_or_init(|| {
        ["any", "0.0.0.0/0", "[::/0]", "*.example"].map(|text| text.parse().expect(text)).to_vec()
    });
    let at = Interval::single(ip);
    let is_special = special().iter().any(|(range, _)| at.is_within(range));
    let mut rules = rules(wide, &[]);
    rule_for(&target.host).into_iter().for_each(|rule| rules.allow(rule));
    assert_eq!(rules.check(target, ip).is_ok(), !is_special && target.port != 0, "{target} {ip}");
}

/// A rule for that name, unless it is one that names loopback.
fn rule_for(host: &Host) -> Option<Rule> {
    let Host::Name(name) = host else { return None };
    let rule: Rule = name.parse().ok()?;
    let model = model(&rule);
    let is_wide = model.interval.is_none() && !model.host.ends_with("localhost");
    is_wide.then_some(rule)
}

/// A rule, taken from its text in normal form.
struct Model {
    host: String,
    /// For a network.
    interval: Option<Interval>,
    ports: Vec<(u16, u16)>,
}

fn model(rule: &Rule) -> Model {
    let text = rule.to_string();
    let (host, ports) = match text.split_once(']') {
        Some((inner, rest)) => (inner.trim_start_matches('['), rest.strip_prefix(':')),
        None => text.split_once(':').map_or((&text[..], None), |(host, rest)| (host, Some(rest))),
    };
    let number = |text: &str| text.parse::<u16>().expect("a port");
    let ports = ports.unwrap_or("1-65535").split(',').map(|member| {
        let (first, last) = member.split_once('-').unwrap_or((member, member));
        (number(first), number(last))
    });
    Model { host: host.to_owned(), interval: Interval::read(host), ports: ports.collect() }
}

impl Model {
    fn has_port(&self, target: &HostPort) -> bool {
        self.ports.iter().any(|(first, last)| (first..=last).contains(&&target.port))
    }

    fn has_name(&self, target: &HostPort) -> bool {
        let Host::Name(name) = &target.host else { return self.host == "any" };
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        match self.host.strip_prefix('*') {
            _ if self.host == "any" => true,
            Some(end) => name.len() > end.len() && name.ends_with(end),
            None => name == self.host,
        }
    }
}

/// All addresses from the first to the last, both among them.
#[derive(Clone, Copy)]
struct Interval {
    is_ipv4: bool,
    first: u128,
    last: u128,
}

impl Interval {
    fn single(ip: IpAddr) -> Self {
        let number = match ip {
            IpAddr::V4(ip) => u32::from(ip).into(),
            IpAddr::V6(ip) => ip.into(),
        };
        Self { is_ipv4: ip.is_ipv4(), first: number, last: number }
    }

    /// `ADDRESS[/PREFIX]`
    fn read(text: &str) -> Option<Self> {
        let (base, prefix) = text.split_once('/').unwrap_or((text, ""));
        let single = Self::single(base.parse().ok()?);
        let width = if single.is_ipv4 { 32 } else { 128 };
        let open: u32 = width - prefix.parse().unwrap_or(width);
        let size = 1u128.checked_shl(open).unwrap_or(0).wrapping_sub(1);
        Some(Self { last: single.first + size, ..single })
    }

    fn is_within(&self, other: &Self) -> bool {
        self.is_ipv4 == other.is_ipv4 && other.first <= self.first && self.last <= other.last
    }

    /// One that differs from the first in those bits.
    fn address(&self, bits: [u8; 16]) -> IpAddr {
        match self.is_ipv4 {
            true => Ipv4Addr::from((self.first ^ u128::from_be_bytes(bits)) as u32).into(),
            false => Ipv6Addr::from(self.first ^ u128::from_be_bytes(bits)).into(),
        }
    }
}

/// What `any` does not open, and whether it is loopback. IPv4 within IPv6 is written out.
fn special() -> &'static [(Interval, bool)] {
    const OWN: &str = "0.0.0.0/8 127.0.0.0/8 169.254.0.0/16 224.0.0.0/4 240.0.0.0/4 \
        255.255.255.255 169.254.169.254 169.254.170.2 169.254.170.23 169.254.42.42 \
        100.100.100.200 168.63.129.16 192.0.0.192 :: ::1 ::/96 ::ffff:0:0/96 64:ff9b::/96 \
        64:ff9b:1::/48 2002::/16 2001::/32 fe80::/10 ff00::/8 fd00:ec2::254 fd00:ec2::23 \
        fd20:ce::254 fd00:c1::a9fe:a9fe fd00:42::42";
    static ALL: OnceLock<Vec<(Interval, bool)>> = OnceLock::new();
    ALL.get_or_init(|| {
        let read = |text: &str| Interval::read(text).expect("an interval");
        let own = OWN.split_ascii_whitespace();
        let own: Vec<_> =
            own.map(|text| (read(text), matches!(text, "127.0.0.0/8" | "::1"))).collect();
        let mut all = own.clone();
        for (outer, shift) in [("::", 0), ("::ffff:0:0", 0), ("64:ff9b::", 0), ("2002::", 80)] {
            let outer = read(outer).first;
            let inner = own.iter().filter(|(range, _)| range.is_ipv4).map(|(range, _)| Interval {
                is_ipv4: false,
                first: outer + (range.first << shift),
                last: outer + ((range.last + 1) << shift) - 1,
            });
            all.extend(inner.map(|range| (range, false)));
        }
        all
    })
}

/// The IPv4 address that an IPv6 address leads to.
fn embedded(at: &Interval) -> Option<Interval> {
    let within = |text: &str| Interval::read(text).is_some_and(|range| at.is_within(&range));
    let number = if within("2002::/16") {
        at.first >> 80
    } else if !within("::/127")
        && ["::/96", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48"].into_iter().any(within)
    {
        at.first
    } else {
        return None;
    };
    Some(Interval::single(Ipv4Addr::from(number as u32).into()))
}
