//! Which targets a peer may name (`--allow`, `--deny`).
//!
//! Owns the verdict; [`super::rule`] has what a single rule says. Never looks a name up: whoever
//! does asks before ([`Rules::may_allow`]), asks again about each address that was found
//! ([`Rules::check`]) and dials that very address, so a name that changes its address in between
//! gains nothing.
//!
//! A target is refused unless a rule allows it, and a rule that denies it wins:
//!
//! | a rule for | allows | denies |
//! |---|---|---|
//! | `10.0.0.0/8`, `[fd00::/8]` | those addresses, whatever led there | and IPv6 that embeds them |
//! | `db.internal` | where that name leads | that name |
//! | `*.lab.example` | the same with one or more labels in front | those names |
//! | `any` | every ordinary address | everything |
//! | `unix:/path`, `unix:@name` | that unix socket | that one |
//! | `unix:/path/` | those in that directory, however deep | those |
//!
//! The addresses in [`super::special`] (loopback, link-local, cloud metadata, ...) are not ordinary.
//! They need a network that lies within their own range, for nobody who allows a name, `any` or
//! `0.0.0.0/0` means to open the machine's own services, and whoever controls a name decides where
//! it leads. One kind of name does mean them: `localhost`, and what ends in `.localhost`, is loopback
//! by definition (RFC 6761 §6.3), so a rule for it opens 127.0.0.0/8 and `::1` under that name.
//!
//! A denied name has other spellings: its address, an alias (CNAME), its short form in a search
//! domain. To keep a host out for certain, deny its address.

use std::fmt;
use std::net::IpAddr;

use super::special::{embedded, Class, Special};
use super::unix::is_plain;
use crate::config::UnixName;
use crate::proto::authority::{Host, HostPort};

pub use super::rule::Rule;

/// `--allow` and `--deny`. The default allows nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    allow: Vec<Rule>,
    deny: Vec<Rule>,
}

impl Rules {
    /// Adds to what is allowed.
    pub fn allow(&mut self, rule: Rule) {
        self.allow.push(rule);
    }

    /// Adds to what is denied, whatever is allowed.
    pub fn deny(&mut self, rule: Rule) {
        self.deny.push(rule);
    }

    /// Whether nothing is allowed at all: a proxy whose peers name targets must not start then.
    pub fn is_empty(&self) -> bool {
        self.allow.is_empty()
    }

    /// Asked before a name is looked up, so that a denied one costs no query. `Ok` promises nothing:
    /// the addresses are still to be checked.
    ///
    /// # Errors
    /// No address of `target` can be allowed: of a name, because it is denied or no rule fits its
    /// port; of a literal, because [`Rules::check`] denies it.
    pub fn may_allow(&self, target: &HostPort) -> Result<(), Denied> {
        if let Host::Ip(ip) = target.host {
            return self.check(target, ip);
        }
        if self.deny.iter().any(|rule| rule.has_port(target) && rule.has_name(target)) {
            return Err(Denied::ByRule);
        }
        let may_lead = |rule: &Rule| rule.is_network() || rule.has_name(target);
        match self.allow.iter().any(|rule| rule.has_port(target) && may_lead(rule)) {
            true => Ok(()),
            false => Err(Denied::NoRule),
        }
    }

    /// The part of [`Rules::check`] that is about `--deny`, for a target that needs no rule that
    /// allows it.
    ///
    /// # Errors
    /// A rule denies it.
    pub fn check_denied(&self, target: &HostPort, ip: IpAddr) -> Result<(), Denied> {
        let inner = embedded(ip).map(|(inner, _)| inner);
        match self.deny.iter().any(|rule| rule.has_port(target) && rule.shuts(target, ip, inner)) {
            true => Err(Denied::ByRule),
            false => Ok(()),
        }
    }

    /// Decides on one resolved address of `target`: the very address that will be dialled. For a
    /// literal host that is the literal.
    ///
    /// # Errors
    /// It must not be dialled.
    pub fn check(&self, target: &HostPort, ip: IpAddr) -> Result<(), Denied> {
        self.check_denied(target, ip)?;
        let special = Special::of(ip);
        let opening = || self.allow.iter().filter(|rule| rule.opens(target, ip, special));
        if opening().any(|rule| rule.has_port(target)) {
            return Ok(());
        }
        match special {
            // A rule that names it and has another port would belie the reason.
            Some(Special { class, .. }) if opening().next().is_none() => {
                Err(Denied::Special(class))
            }
            _ => Err(Denied::NoRule),
        }
    }

    /// The part of [`Rules::check_unix`] that is about `--deny`.
    ///
    /// # Errors
    /// A rule denies it.
    pub fn check_unix_denied(&self, name: &UnixName) -> Result<(), Denied> {
        match self.deny.iter().any(|rule| rule.is_everything() || rule.has_unix(name)) {
            true => Err(Denied::ByRule),
            false => Ok(()),
        }
    }

    /// Decides on a unix socket, whose path is compared as it is written. One in another spelling
    /// than [`super::unix::unix_name`] takes is never allowed.
    ///
    /// # Errors
    /// It must not be dialled.
    pub fn check_unix(&self, name: &UnixName) -> Result<(), Denied> {
        self.check_unix_denied(name)?;
        match is_plain(name) && self.allow.iter().any(|rule| rule.has_unix(name)) {
            true => Ok(()),
            false => Err(Denied::NoRule),
        }
    }
}

/// For a person: `allow *.lab.example:22, 10.0.0.0/8; deny 10.0.0.1`.
impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list =
            |rules: &[Rule]| rules.iter().map(Rule::to_string).collect::<Vec<_>>().join(", ");
        match &self.allow[..] {
            [] => f.write_str("allow nothing"),
            rules => write!(f, "allow {}", list(rules)),
        }?;
        match &self.deny[..] {
            [] => Ok(()),
            rules => write!(f, "; deny {}", list(rules)),
        }
    }
}

/// Why a target must not be dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// What is not allowed is denied.
    NoRule,
    /// It is denied, whatever else is allowed.
    ByRule,
    /// A special address, which a name, `any` or a wide network does not open.
    Special(Class),
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRule => f.write_str("no --allow rule matches"),
            Self::ByRule => f.write_str("a --deny rule matches"),
            Self::Special(class) => write!(f, "it is {class} address that no --allow rule names"),
        }
    }
}

impl std::error::Error for Denied {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;
    use Class::*;

    /// Of texts with spaces between the rules.
    fn rules(allow: &str, deny: &str) -> Rules {
        let mut rules = Rules::default();
        allow.split(' ').filter(|s| !s.is_empty()).for_each(|s| rules.allow(s.parse().expect(s)));
        deny.split(' ').filter(|s| !s.is_empty()).for_each(|s| rules.deny(s.parse().expect(s)));
        rules
    }

    fn target(host: &str, port: u16) -> HostPort {
        let host = host.parse().map_or_else(|_| Host::Name(host.into()), Host::Ip);
        HostPort { host, port }
    }

    /// The verdict on a literal address, port 80.
    fn literal(rules: &Rules, ip: &str) -> Result<(), Denied> {
        let target = target(ip, 80);
        let verdict = rules.check(&target, ip.parse().expect(ip));
        assert_eq!(rules.may_allow(&target), verdict, "{ip}");
        verdict
    }

    /// The verdict on a name that leads to that address.
    fn named(rules: &Rules, name: &str, ip: &str) -> Result<(), Denied> {
        let target = target(name, 80);
        let verdict = rules.check(&target, ip.parse().expect(ip));
        assert!(rules.may_allow(&target).is_ok() || verdict.is_err(), "{name} {ip}");
        verdict
    }

    #[test]
    fn are_shown_as_they_were_added() {
        let text = "allow *.lab.example:22, 10.0.0.0/8; deny 10.0.0.1, any:1-1023";
        assert_eq!(rules("*.lab.example:22 10.0.0.0/8", "10.0.0.1 any:1-1023").to_string(), text);
        assert_eq!(rules("any", "").to_string(), "allow any");
        assert_eq!(rules("", "").to_string(), "allow nothing");
    }

    #[test]
    fn what_no_rule_allows_is_denied() {
        let none = Rules::default();
        assert!(none.is_empty() && rules("", "any").is_empty());
        assert!(!rules("10.0.0.1", "").is_empty());
        assert_eq!(literal(&none, "10.0.0.1"), Err(Denied::NoRule));
        assert_eq!(none.may_allow(&target("db.internal", 80)), Err(Denied::NoRule));
        assert_eq!(literal(&rules("10.0.0.0/8", ""), "11.0.0.0"), Err(Denied::NoRule));
        assert_eq!(
            literal(&rules("10.0.0.0/8", ""), "::ffff:10.0.0.1"),
            Err(Denied::Special(Mapped))
        );
        assert_eq!(literal(&rules("[::/0]", ""), "10.0.0.1"), Err(Denied::NoRule));
    }

    #[test]
    fn a_network_allows_its_addresses_however_they_were_named() {
        let rules = rules("10.0.0.0/8 [fd00::/8]", "");
        for ip in ["10.0.0.0", "10.255.255.255", "fd00::1", "fdff::"] {
            assert_eq!(literal(&rules, ip), Ok(()));
            assert_eq!(named(&rules, "whatever.example", ip), Ok(()));
        }
        assert_eq!(named(&rules, "whatever.example", "11.0.0.0"), Err(Denied::NoRule));
    }

    #[test]
    fn a_rule_without_ports_has_all_and_one_with_ports_has_those() {
        let ip = "10.0.0.1".parse().unwrap();
        for (rule, inside, outside) in [
            ("any", &[1, 80, 65535][..], &[0][..]),
            ("10.0.0.0/8:443", &[443], &[442, 444, 0]),
            ("db.internal:1-1024", &[1, 1024], &[0, 1025, 65535]),
            ("*.internal:22,8000-8010", &[22, 8000, 8010], &[21, 23, 7999, 8011]),
        ] {
            for (ports, verdict) in [(inside, Ok(())), (outside, Err(Denied::NoRule))] {
                for port in ports {
                    let target = target("db.internal", *port);
                    assert_eq!(rules(rule, "").check(&target, ip), verdict, "{rule} {port}");
                    assert_eq!(rules(rule, "").may_allow(&target), verdict, "{rule} {port}");
                    let denied = rules("any:1-65535", rule).check(&target, ip).is_err();
                    assert_eq!(denied, verdict.is_ok() || *port == 0, "--deny {rule} {port}");
                }
            }
        }
    }

    #[test]
    fn names_are_compared_whole_in_any_case_and_with_or_without_the_last_dot() {
        let ip = "10.0.0.1";
        for (rule, name, is_it) in [
            ("db.internal", "db.internal", true),
            ("db.internal", "DB.Internal.", true),
            ("DB.internal.", "db.internal", true),
            ("db.internal", "db.internal..", false),
            ("db.internal", "xdb.internal", false),
            ("db.internal", "a.db.internal", false),
            ("db.internal", "internal", false),
            ("*.lab.example", "a.lab.example", true),
            ("*.lab.example", "a.b.lab.example", true),
            ("*.lab.example", "A.LAB.Example.", true),
            ("*.lab.example.", "a.lab.example", true),
            ("*.lab.example", "lab.example", false),
            ("*.lab.example", "lab.example.", false),
            ("*.lab.example", ".lab.example", false),
            ("*.lab.example", "xlab.example", false),
            ("*.lab.example", "a.lab.example.org", false),
            ("*.lab.example", "élab.example", false),
            ("*.lab.example", "", false),
            ("any", "", true),
            ("any", "x", true),
            ("*.any", "any", false),
        ] {
            assert_eq!(named(&rules(rule, ""), name, ip).is_ok(), is_it, "--allow {rule}, {name}");
            let denied = named(&rules("any", rule), name, ip).is_err();
            assert_eq!(denied, is_it, "--deny {rule}, {name}");
        }
    }

    #[test]
    fn a_name_rule_never_allows_or_denies_a_literal() {
        assert_eq!(literal(&rules("db.internal *.internal", ""), "10.0.0.1"), Err(Denied::NoRule));
        assert_eq!(literal(&rules("any", "db.internal *.internal"), "10.0.0.1"), Ok(()));
    }

    #[test]
    fn special_addresses_need_a_network_within_their_range() {
        for (allow, ip, verdict) in [
            ("any 0.0.0.0/0", "127.0.0.1", Err(Denied::Special(Loopback))),
            ("126.0.0.0/7", "127.0.0.1", Err(Denied::Special(Loopback))),
            ("127.0.0.0/8", "127.0.0.1", Ok(())),
            ("127.0.0.2", "127.0.0.2", Ok(())),
            ("127.0.0.2", "127.0.0.1", Err(Denied::Special(Loopback))),
            ("any [::/0] [::/96] [::/127]", "::1", Err(Denied::Special(Loopback))),
            ("::1", "::1", Ok(())),
            ("any", "::", Err(Denied::Special(Unspecified))),
            ("::", "::", Ok(())),
            ("any", "0.0.0.0", Err(Denied::Special(Unspecified))),
            ("0.0.0.0/8", "0.0.0.0", Ok(())),
            ("any", "169.254.1.1", Err(Denied::Special(LinkLocal))),
            ("169.254.0.0/16", "169.254.1.1", Ok(())),
            ("169.254.0.0/16", "169.254.169.254", Err(Denied::Special(Metadata))),
            ("169.254.169.254/31", "169.254.169.254", Err(Denied::Special(Metadata))),
            ("169.254.169.254", "169.254.169.254", Ok(())),
            ("any fd00::/8", "fd00:ec2::254", Err(Denied::Special(Metadata))),
            ("fd00:ec2::254", "fd00:ec2::254", Ok(())),
            ("any 100.64.0.0/10", "100.100.100.200", Err(Denied::Special(Metadata))),
            ("fe80::/10", "fe80::1", Ok(())),
            ("fe80::/9", "fe80::1", Err(Denied::Special(LinkLocal))),
            ("any", "224.0.0.1", Err(Denied::Special(Multicast))),
            ("224.0.0.0/4", "239.255.255.255", Ok(())),
            ("any", "ff02::1", Err(Denied::Special(Multicast))),
            ("any", "240.0.0.1", Err(Denied::Special(Reserved))),
            ("240.0.0.0/4", "255.255.255.255", Err(Denied::Special(Broadcast))),
            ("255.255.255.255", "255.255.255.255", Ok(())),
            ("any 10.0.0.0/8", "::ffff:10.0.0.1", Err(Denied::Special(Mapped))),
            ("::ffff:0:0/96", "::ffff:10.0.0.1", Ok(())),
            ("::ffff:0:0/96", "::ffff:127.0.0.1", Err(Denied::Special(Mapped))),
            ("::ffff:127.0.0.0/104", "::ffff:127.0.0.1", Ok(())),
            ("any", "::10.0.0.1", Err(Denied::Special(Compatible))),
            ("any", "64:ff9b::10.0.0.1", Err(Denied::Special(Nat64))),
            ("64:ff9b::/96", "64:ff9b::8.8.8.8", Ok(())),
            ("64:ff9b::/96", "64:ff9b::169.254.169.254", Err(Denied::Special(Nat64))),
            ("any", "64:ff9b:1::1", Err(Denied::Special(Nat64))),
            ("any", "2002:a00:1::1", Err(Denied::Special(SixToFour))),
            ("2002::/16", "2002:a00:1::1", Ok(())),
            ("any", "2001::1", Err(Denied::Special(Teredo))),
        ] {
            assert_eq!(literal(&rules(allow, ""), ip), verdict, "--allow {allow}, {ip}");
            let by_name = named(&rules(allow, ""), "x.example", ip);
            assert_eq!(by_name, verdict, "--allow {allow}, {ip} of a name");
            assert!(named(&rules("x.example *.example", ""), "x.example", ip).is_err(), "{ip}");
        }
    }

    #[test]
    fn a_named_special_address_on_another_port_is_no_surprise() {
        assert_eq!(literal(&rules("127.0.0.1:22", ""), "127.0.0.1"), Err(Denied::NoRule));
        assert_eq!(literal(&rules("127.0.0.1:22 127.0.0.0/8:80", ""), "127.0.0.1"), Ok(()));
    }

    #[test]
    fn localhost_names_loopback_and_nothing_else() {
        for (rule, name, ip, is_allowed) in [
            ("localhost", "localhost", "127.0.0.1", true),
            ("localhost", "LocalHost.", "::1", true),
            ("localhost", "localhost", "127.255.255.255", true),
            ("localhost", "localhost", "10.0.0.1", true),
            ("localhost", "localhost", "::ffff:127.0.0.1", false),
            ("localhost", "localhost", "0.0.0.0", false),
            ("localhost", "localhost", "169.254.169.254", false),
            ("localhost", "a.localhost", "127.0.0.1", false),
            ("*.localhost", "a.localhost", "127.0.0.1", true),
            ("*.localhost", "localhost", "127.0.0.1", false),
            ("a.localhost", "a.localhost", "127.0.0.1", true),
            ("*.a.localhost", "b.a.localhost", "::1", true),
            ("xlocalhost", "xlocalhost", "127.0.0.1", false),
            ("localhost.example", "localhost.example", "127.0.0.1", false),
            ("*.example", "localhost.example", "127.0.0.1", false),
            ("any", "localhost", "127.0.0.1", false),
        ] {
            let verdict = named(&rules(rule, ""), name, ip);
            assert_eq!(verdict.is_ok(), is_allowed, "--allow {rule}, {name} at {ip}");
        }
        assert_eq!(literal(&rules("localhost", ""), "127.0.0.1"), Err(Denied::Special(Loopback)));
    }

    #[test]
    fn denying_wins_and_follows_an_address_into_ipv6() {
        let all = "any 127.0.0.0/8 ::ffff:0:0/96 ::/96 64:ff9b::/96 64:ff9b:1::/48 2002::/16 ::1 \
                   ::/128 ::ffff:127.0.0.0/104";
        for (deny, ip, is_denied) in [
            ("10.0.0.0/8", "10.0.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
            ("10.0.0.0/8", "::ffff:11.0.0.1", false),
            ("10.0.0.0/8", "64:ff9b::10.0.0.1", true),
            ("10.0.0.0/8", "64:ff9b:1:2:3::10.0.0.1", true),
            ("10.0.0.0/8", "2002:a00:1::1", true),
            ("10.0.0.0/8", "2002:b00:1::10.0.0.1", false),
            ("10.0.0.0/8", "::10.0.0.1", true),
            ("127.0.0.1", "::ffff:127.0.0.1", true),
            ("127.0.0.1", "::ffff:127.0.0.2", false),
            ("0.0.0.0/0", "::1", false),
            ("0.0.0.0/0", "::", false),
            ("::/0", "::ffff:10.0.0.1", true),
            ("::/0", "10.0.0.1", false),
            ("10.0.0.1:81", "10.0.0.1", false),
            ("10.0.0.1:80", "10.0.0.1", true),
            ("any", "10.0.0.1", true),
            ("any", "127.0.0.1", true),
            ("any:81", "127.0.0.1", false),
        ] {
            let expected = if is_denied { Err(Denied::ByRule) } else { Ok(()) };
            assert_eq!(literal(&rules(all, deny), ip), expected, "--deny {deny}, {ip}");
            assert_eq!(named(&rules(all, deny), "x.example", ip), expected, "--deny {deny}, {ip}");
        }
        let rules = rules("10.0.0.1 db.internal", "10.0.0.1 db.internal:22");
        assert_eq!(named(&rules, "db.internal", "10.0.0.1"), Err(Denied::ByRule));
        assert_eq!(named(&rules, "db.internal", "10.0.0.2"), Ok(()));
    }

    #[test]
    fn a_name_is_looked_up_only_if_an_address_of_it_may_be_allowed() {
        for (allow, deny, name, port, verdict) in [
            ("10.0.0.0/8", "", "db.internal", 80, Ok(())),
            ("10.0.0.0/8:443", "", "db.internal", 80, Err(Denied::NoRule)),
            ("db.internal", "", "db.internal", 80, Ok(())),
            ("db.internal", "", "other.internal", 80, Err(Denied::NoRule)),
            ("any", "db.internal", "DB.internal.", 80, Err(Denied::ByRule)),
            ("any", "db.internal:22", "db.internal", 80, Ok(())),
            ("any", "*.internal", "db.internal", 80, Err(Denied::ByRule)),
            ("any", "any:80", "db.internal", 80, Err(Denied::ByRule)),
            ("any", "10.0.0.0/8", "db.internal", 80, Ok(())),
            ("any", "", "localhost", 80, Ok(())),
            ("any", "", "db.internal", 0, Err(Denied::NoRule)),
        ] {
            let answer = rules(allow, deny).may_allow(&target(name, port));
            assert_eq!(answer, verdict, "--allow {allow} --deny {deny}, {name}:{port}");
        }
    }

    #[test]
    fn a_unix_socket_needs_a_rule_of_its_own() {
        for (allow, deny, name, verdict) in [
            ("unix:/run/app.sock", "", "/run/app.sock", Ok(())),
            ("unix:/run/app.sock", "", "/run/app.sock2", Err(Denied::NoRule)),
            ("unix:/run/app.sock", "", "/run/app.sock/x", Err(Denied::NoRule)),
            ("unix:/run/app.sock", "", "@/run/app.sock", Err(Denied::NoRule)),
            ("unix:/run/app/", "", "/run/app/a", Ok(())),
            ("unix:/run/app/", "", "/run/app/a/b", Ok(())),
            ("unix:/run/app/", "", "/run/app", Err(Denied::NoRule)),
            ("unix:/run/app/", "", "/run/apple", Err(Denied::NoRule)),
            ("unix:/run/app/", "", "/run/app/../a", Err(Denied::NoRule)),
            ("unix:/", "", "/etc/a", Ok(())),
            ("unix:@app", "", "@app", Ok(())),
            ("unix:@app", "", "@app2", Err(Denied::NoRule)),
            ("unix:@app", "", "/app", Err(Denied::NoRule)),
            ("any 0.0.0.0/0 localhost unix", "", "/run/app.sock", Err(Denied::NoRule)),
            ("any", "", "@app", Err(Denied::NoRule)),
            ("unix:/run/", "unix:/run/app/", "/run/app/a", Err(Denied::ByRule)),
            ("unix:/run/", "unix:/run/app/", "/run/app//a", Err(Denied::NoRule)),
            ("unix:/run/", "unix:/run/app/", "/run/b", Ok(())),
            ("unix:/run/", "any", "/run/b", Err(Denied::ByRule)),
            ("unix:/run/", "any:1-1023", "/run/b", Ok(())),
        ] {
            let unix = match name.strip_prefix('@') {
                Some(name) => UnixName::Abstract(name.into()),
                None => UnixName::Path(name.into()),
            };
            let said = rules(allow, deny).check_unix(&unix);
            assert_eq!(said, verdict, "--allow {allow} --deny {deny}, {name}");
        }
        let sockets = rules("unix:/ unix:@app", "");
        assert_eq!(literal(&sockets, "10.0.0.1"), Err(Denied::NoRule));
        assert_eq!(named(&sockets, "app", "10.0.0.1"), Err(Denied::NoRule));
        assert_eq!(literal(&rules("any", "unix:/"), "10.0.0.1"), Ok(()));
    }

    #[test]
    fn says_why() {
        for (denied, reason) in [
            (Denied::NoRule, "no --allow rule matches"),
            (Denied::ByRule, "a --deny rule matches"),
            (Denied::Special(Loopback), "it is a loopback address that no --allow rule names"),
            (Denied::Special(Mapped), "it is an IPv4-mapped address that no --allow rule names"),
        ] {
            assert_eq!(denied.to_string(), reason);
        }
    }

    /// The same decision over strings of binary digits, where a network is a string that addresses
    /// begin with.
    mod model {
        use std::net::IpAddr;

        const SPECIAL: &str =
            "0.0.0.0/8 127.0.0.0/8 169.254.0.0/16 224.0.0.0/4 240.0.0.0/4 255.255.255.255/32 \
             ::/128 ::1/128 fe80::/10 ff00::/8 ::ffff:0:0/96 ::/96 64:ff9b::/96 64:ff9b:1::/48 \
             2002::/16 2001::/32 169.254.169.254/32 169.254.170.2/32 169.254.170.23/32 \
             169.254.42.42/32 100.100.100.200/32 168.63.129.16/32 192.0.0.192/32 \
             fd00:ec2::254/128 fd00:ec2::23/128 fd20:ce::254/128 fd00:c1::a9fe:a9fe/128 \
             fd00:42::42/128";

        /// Digits, with the family in front.
        pub fn address(ip: IpAddr) -> String {
            match ip {
                IpAddr::V4(ip) => format!("4{:032b}", u32::from(ip)),
                IpAddr::V6(ip) => format!("6{:0128b}", u128::from(ip)),
            }
        }

        pub fn network(text: &str) -> String {
            let (base, prefix) = text.split_once('/').unwrap();
            address(base.parse().unwrap())[..=prefix.parse().unwrap()].to_owned()
        }

        /// Every range that is special, those in an IPv6 address's IPv4 one written out.
        pub fn special() -> Vec<String> {
            let own: Vec<_> = SPECIAL.split(' ').map(network).collect();
            let mut all = own.clone();
            for outer in ["::ffff:0:0/96", "::/96", "64:ff9b::/96", "2002::/16"] {
                let inner = own.iter().filter_map(|range| range.strip_prefix('4'));
                all.extend(inner.map(|digits| network(outer) + digits));
            }
            all
        }

        pub fn inner(ip: &str) -> Option<String> {
            let within = |text: &str| ip.starts_with(&network(text));
            if within("::/128") || within("::1/128") {
                None
            } else if within("2002::/16") {
                Some(format!("4{}", &ip[1 + 16..1 + 48]))
            } else {
                let ranges = ["::ffff:0:0/96", "::/96", "64:ff9b::/96", "64:ff9b:1::/48"];
                ranges.into_iter().any(within).then(|| format!("4{}", &ip[1 + 96..]))
            }
        }
    }

    /// What a generated rule is made of.
    struct Parts {
        host: String,
        /// For a network.
        digits: Option<String>,
        ports: std::ops::RangeInclusive<u16>,
    }

    impl Parts {
        fn random(random: &mut Random, bases: &[IpAddr]) -> Self {
            let names = ["any", "localhost", "*.localhost", "db.internal", "*.internal"];
            let (host, digits) = match random.below(3) {
                0 => (names[random.below(names.len())].to_owned(), None),
                _ => {
                    let digits = model::address(bases[random.below(bases.len())]);
                    let prefix = random.below(digits.len());
                    (written(&digits, prefix), Some(digits[..=prefix].to_owned()))
                }
            };
            let ports = [1..=65535, 80..=80, 1..=1024, 8000..=8010][random.below(4)].clone();
            Self { host, digits, ports }
        }

        fn rule(&self) -> Rule {
            let text = format!("{}:{}-{}", self.host, self.ports.start(), self.ports.end());
            text.parse().expect(&text)
        }

        fn has_name(&self, name: Option<&str>) -> bool {
            match (self.host.strip_prefix('*'), name) {
                _ if self.host == "any" => true,
                (Some(end), Some(name)) => name.ends_with(end),
                (None, Some(name)) => name == self.host,
                (_, None) => false,
            }
        }
    }

    /// The network of the first `prefix` digits.
    fn written(digits: &str, prefix: usize) -> String {
        let width = digits.len() - 1;
        let padded = format!("{:0<width$}", &digits[1..=prefix]);
        match width {
            32 => format!("{}/{prefix}", std::net::Ipv4Addr::from(number(&padded) as u32)),
            _ => format!("[{}/{prefix}]", std::net::Ipv6Addr::from(number(&padded))),
        }
    }

    fn number(digits: &str) -> u128 {
        u128::from_str_radix(digits, 2).unwrap()
    }

    /// Whether the model allows it.
    fn model_allows(
        special: &[String],
        (allow, deny): (&[Parts], &[Parts]),
        name: Option<&str>,
        port: u16,
        ip: IpAddr,
    ) -> bool {
        let ip = model::address(ip);
        let ranges = special.iter().filter(|range| ip.starts_with(range.as_str()));
        let needed = ranges.map(String::len).max();
        let loopback = ["127.0.0.0/8", "::1/128"].map(model::network);
        let is_loopback = loopback.iter().any(|range| ip.starts_with(range));
        let denied = deny.iter().filter(|rule| rule.ports.contains(&port)).any(|rule| {
            let inner = model::inner(&ip);
            match &rule.digits {
                Some(net) => {
                    ip.starts_with(net) || inner.is_some_and(|inner| inner.starts_with(net))
                }
                None => rule.has_name(name),
            }
        });
        let allowed = allow.iter().filter(|rule| rule.ports.contains(&port)).any(|rule| {
            match (&rule.digits, needed) {
                (Some(net), needed) => ip.starts_with(net) && net.len() >= needed.unwrap_or(0),
                (None, None) => rule.has_name(name),
                (None, Some(_)) => {
                    is_loopback && rule.host.ends_with("localhost") && rule.has_name(name)
                }
            }
        });
        allowed && !denied
    }

    #[test]
    fn agrees_with_a_model_of_binary_digits() {
        let bases =
            "10.1.2.3 127.0.0.1 169.254.169.254 224.0.0.1 0.0.0.0 255.255.255.255 :: ::1 ::2 \
             fe80::1 fd00:ec2::254 ::ffff:10.1.2.3 ::ffff:127.0.0.1 64:ff9b::10.1.2.3 \
             64:ff9b::127.0.0.1 64:ff9b:1::10.1.2.3 2002:a01:203::1 2002:7f00:1::1 2001::1 \
             2001:db8::1";
        let bases: Vec<IpAddr> = bases.split(' ').map(|text| text.parse().expect(text)).collect();
        let mut random = Random::new("agrees_with_a_model_of_binary_digits");
        let (mut allowed, mut denied) = (0, 0);
        let special = model::special();
        for _ in 0..5_000 {
            let ip = bases[random.below(bases.len())];
            // Half of the networks are around the address itself.
            let near = [vec![ip; bases.len()], bases.clone()].concat();
            let some = |random: &mut Random, most| -> Vec<Parts> {
                (0..random.below(most)).map(|_| Parts::random(random, &near)).collect()
            };
            let (allow, deny) = (some(&mut random, 6), some(&mut random, 3));
            let mut rules = Rules::default();
            allow.iter().for_each(|parts| rules.allow(parts.rule()));
            deny.iter().for_each(|parts| rules.deny(parts.rule()));
            let name = [None, Some("localhost"), Some("a.localhost"), Some("db.internal")]
                [random.below(4)];
            let port = [80, 80, 80, 8000, 65535, 0][random.below(6)];
            let host = name.map_or(Host::Ip(ip), |name| Host::Name(name.into()));
            let target = HostPort { host, port };
            let expected = model_allows(&special, (&allow, &deny), name, port, ip);
            let verdict = rules.check(&target, ip);
            assert_eq!(verdict.is_ok(), expected, "{rules:?} {target} at {ip}: {verdict:?}");
            assert!(rules.may_allow(&target).is_ok() || !expected, "{rules:?} {target}");
            *if expected { &mut allowed } else { &mut denied } += 1;
        }
        assert!(allowed > 500 && denied > 500, "{allowed} {denied}");
    }
}
