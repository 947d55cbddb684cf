//! Which targets a stranger may name, as a decision alone: text in, verdict out, and nothing is
//! looked up or dialled. Every well-known detour to what is not meant to be reached is a row.

use std::net::SocketAddr;

use ws_tcp_proxy::config::{Bind, Destination, Host, HostPort, Local, Remote, Route};
use ws_tcp_proxy::policy::admit::{admit, Refusal};
use ws_tcp_proxy::policy::gate::{Gate, Secrets};
use ws_tcp_proxy::policy::target::{checked, target, TargetError};
use ws_tcp_proxy::policy::tokens::Tokens;
use ws_tcp_proxy::proto::handshake::{HeadLimits, Request};

/// What would be dialled for a request to `path`, if its name has these `addresses`; or the status
/// of the refusal.
fn dialled(
    route: &Route,
    secrets: &Secrets,
    path: &str,
    addresses: &[&str],
) -> Result<Vec<String>, u16> {
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    let limits = HeadLimits { bytes: 8192, headers: 64 };
    let (request, _) = Request::parse(head.as_bytes(), limits).expect(path).expect(path);
    let gate = Gate { route, secrets, client: None };
    let status = |refusal: Refusal| refusal.status.code();
    let denied = |error: &TargetError| status(Refusal::from(error));
    let named = admit(&request, gate).map_err(status)?.named;
    match target(route, named.as_ref(), None, None).map_err(|error| denied(&error))? {
        Some(Destination::Tcp(HostPort { host, port })) => {
            let found: Vec<_> = match host {
                Host::Ip(ip) => vec![SocketAddr::new(ip, port)],
                Host::Name(_) => {
                    addresses.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), port)).collect()
                }
            };
            let verdicts: Vec<_> = checked(route, named.as_ref(), &found).collect();
            let good = |address: &SocketAddr| address.to_string();
            let allowed: Vec<_> = verdicts.iter().flatten().map(good).collect();
            match verdicts.into_iter().find_map(Result::err) {
                Some(error) if allowed.is_empty() => Err(denied(&error.into())),
                _ => Ok(allowed),
            }
        }
        Some(Destination::Unix(name)) => Ok(vec![format!("unix:{name}")]),
        None => Ok(Vec::new()),
    }
}

fn route(remote: Remote, allow: &[&str], deny: &[&str]) -> Route {
    let local = HostPort { host: Host::Name("local".into()), port: 0 };
    let mut route = Route::new(Local::WebSocket(Bind::Tcp(local)), remote);
    allow.iter().for_each(|rule| route.rules.allow(rule.parse().expect(rule)));
    deny.iter().for_each(|rule| route.rules.deny(rule.parse().expect(rule)));
    route
}

/// The verdict on `?target=`, everything in it escaped.
fn query(route: &Route, text: &str, addresses: &[&str]) -> Result<Vec<String>, u16> {
    let escaped: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let verdict = dialled(route, &Secrets::default(), &format!("/?target={escaped}"), addresses);
    let other = dialled(route, &Secrets::default(), &format!("/x?address={escaped}"), addresses);
    assert_eq!(verdict, other, "{text}");
    verdict
}

/// Under the widest rules that anybody might write.
#[test]
fn no_detour_leads_where_nobody_meant_to_lead() {
    let wide = ["any", "0.0.0.0/0", "[::/0]", "*.example", "*.example.com", "10.0.0.0/8"];
    let route = route(Remote::Query, &wide, &[]);
    // Not how a host is written. A name may be called unix, yet what follows is no host then.
    let plain = "127.1 127.0.1 0x7f000001 0x7f.0.0.1 0177.0.0.1 2130706433 0 00 0.0 127.0.0.1. \
        127.0.0.256 1.2.3.4.5 [:: ::1 [::1 [127.0.0.1] [::1%25lo] [::1%lo] [v1.a] . .. a..b -a \
        \u{2460}\u{2461} \u{ff11}27.0.0.1 127\u{3002}0.0.1 user@127.0.0.1 http://127.0.0.1 \
        //127.0.0.1 127.0.0.1/x 127.0.0.1# 127.0.0.1? a%2eb a:80:b * *.example \"a\" 'a' a,b unix";
    for host in plain.split(' ').chain(["", "a b", "a\tb", "a\r\nb", "a\0b"]) {
        let verdict = query(&route, &format!("{host}:80"), &["127.0.0.1"]);
        assert_eq!(verdict, Err(400), "{host:?}");
    }
    // Addresses that need a rule of their own.
    let special = "127.0.0.1 127.0.0.2 127.255.255.255 0.0.0.0 0.1.2.3 [::] [::1] \
        [0:0:0:0:0:0:0:1] [::ffff:127.0.0.1] [::ffff:7f00:1] [::ffff:10.0.0.1] [::127.0.0.1] \
        [64:ff9b::7f00:1] [64:ff9b::127.0.0.1] [64:ff9b:1::1] [2002:7f00:1::] [2001:0:7f00:1::] \
        169.254.169.254 169.254.1.1 [::ffff:169.254.169.254] [64:ff9b::a9fe:a9fe] \
        [fd00:ec2::254] 100.100.100.200 [fe80::1] 224.0.0.1 239.255.255.255 [ff02::1] 240.0.0.1 \
        255.255.255.255";
    for host in special.split(' ') {
        assert_eq!(query(&route, &format!("{host}:80"), &[]), Err(403), "{host}");
        // A name may lead there as well.
        let ip = host.trim_matches(['[', ']']);
        for name in ["db.example", "at.example.com", "localhost", "localhost.", "LOCALHOST"] {
            assert_eq!(query(&route, &format!("{name}:80"), &[ip]), Err(403), "{name} at {host}");
        }
    }
    let plain = "0 00000 65536 65558 99999 4294967376 22.0 -1 +22 1e1 0x16 \"22\" 22a \
        \u{0662}\u{0662} 22,80 000022";
    for port in plain.split(' ').chain(["", " 22", "22 ", "22\0", "22\n"]) {
        assert_eq!(query(&route, &format!("10.0.0.1:{port}"), &[]), Err(400), "{port:?}");
    }
    for socket in ["unix:/run/docker.sock", "unix:@x"] {
        assert_eq!(query(&route, socket, &[]), Err(403), "{socket}");
    }
    for text in ["10.0.0.1", "db.example", "22", ":", "::", "", "[fd00::1]22", "[fd00::1]"] {
        assert_eq!(query(&route, text, &["10.0.0.1"]), Err(400), "{text:?}");
    }
}

#[test]
fn what_is_meant_is_dialled_however_it_is_written() {
    let allow =
        ["10.0.0.0/8:22", "[fd00::/8]", "*.example", "127.0.0.2", "unix:/run/app/", "unix:@app"];
    let route = route(Remote::Query, &allow, &[]);
    let one = |address: &str| Ok(vec![address.to_owned()]);
    for (text, addresses, verdict) in [
        ("10.0.0.1:22", &[][..], one("10.0.0.1:22")),
        ("10.0.0.1:00022", &[], one("10.0.0.1:22")),
        ("10.0.0.1:23", &[], Err(403)),
        ("11.0.0.1:22", &[], Err(403)),
        ("[FD00:0::1]:5432", &[], one("[fd00::1]:5432")),
        ("127.0.0.2:1", &[], one("127.0.0.2:1")),
        ("127.0.0.1:1", &[], Err(403)),
        ("DB.Example.:5432", &["192.0.2.1"], one("192.0.2.1:5432")),
        ("db.example.org:5432", &["192.0.2.1"], Err(403)),
        ("any.where:22", &["10.1.2.3"], one("10.1.2.3:22")),
        ("any.where:23", &["10.1.2.3"], Err(403)),
        ("unix:/run/app/a.sock", &[], one("unix:/run/app/a.sock")),
        ("unix:/run/b.sock", &[], Err(403)),
        ("unix:/run/app/../b.sock", &[], Err(400)),
        ("unix:@app", &[], one("unix:@app")),
        ("unix:@b", &[], Err(403)),
        ("unix:run/app", &[], Err(400)),
        ("unix:/run/app/\r\nx", &[], Err(400)),
        ("unix_socket:/run/app/a.sock", &[], Err(400)),
    ] {
        assert_eq!(query(&route, text, addresses), verdict, "{text}");
    }
}

/// A name is looked up once, each address is judged by itself, and those that pass are what is
/// dialled: nothing is left that a second lookup could change.
#[test]
fn of_a_name_those_addresses_are_dialled_that_were_allowed() {
    let route = route(Remote::Query, &["*.example"], &["10.0.0.2"]);
    let mixed = ["127.0.0.1", "10.0.0.1", "::1", "10.0.0.2", "169.254.169.254", "fd00::1"];
    let allowed = vec!["10.0.0.1:80".to_owned(), "[fd00::1]:80".to_owned()];
    assert_eq!(query(&route, "rebound.example:80", &mixed), Ok(allowed));
    assert_eq!(query(&route, "rebound.example:80", &["127.0.0.1", "10.0.0.2"]), Err(403));
}

#[test]
fn a_query_names_one_target() {
    let route = route(Remote::Query, &["10.0.0.0/8"], &[]);
    let of = |path| dialled(&route, &Secrets::default(), path, &[]);
    let good = Ok(vec!["10.0.0.1:80".to_owned()]);
    for path in [
        "/?target=10.0.0.1:80",
        "/v1?address=10.0.0.1:80",
        "/?encoding=text&target=10.0.0.1:80&x",
        "/any/path?%74arget=10.0.0.1%3a80",
    ] {
        assert_eq!(of(path), good, "{path}");
    }
    for path in [
        "/",
        "/?",
        "/?target",
        "/?target=",
        "/10.0.0.1:80",
        "/?Target=10.0.0.1:80",
        "/?target=10.0.0.1:80&target=10.0.0.1:80",
        "/?target=10.0.0.1:80&%74arget=10.0.0.2:80",
        "/?target=10.0.0.1:80&address=10.0.0.1:80",
        "/?target=10.0.0.1%3",
        "/?target=%ff:80",
        "/?target=10.0.0.1%253A80",
        "/?target=10.0.0.1:80+",
        "/?encoding=rot13&target=10.0.0.1:80",
    ] {
        assert_eq!(of(path), Err(400), "{path}");
    }
}

#[test]
fn a_token_leads_where_its_line_says_unless_rules_say_otherwise() {
    let text = "one: 127.0.0.1:5901\nb/%2=: 10.0.0.2:22\nname: db.example:1\nunix: unix:/run/a\n";
    let tokens = Tokens::parse(text.as_bytes(), "tokens").unwrap();
    let secrets = Secrets { tokens: Some(tokens), ..Secrets::default() };
    let remote = || Remote::Token("tokens".into());
    let listed = route(remote(), &[], &[]);
    let denied = route(remote(), &[], &["10.0.0.0/8", "db.example", "unix:/run/"]);
    let ruled = route(remote(), &["10.0.0.0/8"], &[]);
    let of = |route: &Route, path: &str| dialled(route, &secrets, path, &["127.0.0.1"]);
    let one = |address: &str| Ok(vec![address.to_owned()]);
    for (path, as_listed, but_denied, as_ruled) in [
        ("/?token=one", one("127.0.0.1:5901"), one("127.0.0.1:5901"), Err(403)),
        ("/one", one("127.0.0.1:5901"), one("127.0.0.1:5901"), Err(403)),
        ("/a/one?x=y", one("127.0.0.1:5901"), one("127.0.0.1:5901"), Err(403)),
        ("/one?token=name", one("127.0.0.1:1"), Err(403), Err(403)),
        ("/?x&token=b/%252%3D", one("10.0.0.2:22"), Err(403), one("10.0.0.2:22")),
        ("/websockify/b%2F%252%3d", one("10.0.0.2:22"), Err(403), one("10.0.0.2:22")),
        ("/unix", one("unix:/run/a"), Err(403), Err(403)),
    ] {
        assert_eq!(of(&listed, path), as_listed, "{path}");
        assert_eq!(of(&denied, path), but_denied, "{path}");
        assert_eq!(of(&ruled, path), as_ruled, "{path}");
    }
    for path in ["/", "/?token=", "/?token", "/?token=o", "/?token=one%20", "/One", "/one/", "/x/"]
    {
        assert_eq!(of(&listed, path), Err(404), "{path}");
    }
    for path in ["/?token=one&token=one", "/?token=%", "/one?token=%00"] {
        assert_eq!(of(&listed, path), Err(400), "{path}");
    }
    assert_eq!(of(&listed, "/one?token="), Err(404), "an empty token is one too");
    let none = dialled(&listed, &Secrets::default(), "/one", &[]);
    assert_eq!(none, Err(404));
}
