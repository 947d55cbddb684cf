//! Endpoints: `[scheme:]address` to [`Local`] and [`Remote`].
//!
//! A scheme that is followed by `//` has a host and a port behind it, any other a name of its own
//! kind.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use super::address::{host_port, is_number, port, Side};
use super::Flaw;
use crate::config::{Bind, Host, HostPort, Local, Remote, UnixName, WebSocketUrl};

/// `sun_path` has 108 bytes, one of which ends a path or begins an abstract name (unix(7)).
const MAX_UNIX_NAME: usize = 107;

/// For examples.
const TOKENS: &str = "/etc/ws-tcp-proxy/tokens";

/// What a scheme makes of the text behind it. The example of a flaw stands behind it likewise.
type Scheme<T> = (&'static str, fn(&str) -> Result<T, Flaw>);

const LOCAL: [Scheme<Local>; 8] = [
    ("ws://", |rest| Ok(Local::WebSocket(Bind::Tcp(authority(rest, Side::Local)?)))),
    ("ws+unix:", |rest| Ok(Local::WebSocket(Bind::Unix(unix_name(rest)?)))),
    ("fd:", |rest| Ok(Local::WebSocket(Bind::Fd(descriptor(rest)?)))),
    ("systemd:", |rest| Ok(Local::WebSocket(Bind::Systemd(fd_name(rest)?)))),
    ("tcp://", |rest| Ok(Local::Stream(Bind::Tcp(authority(rest, Side::Local)?)))),
    ("unix:", |rest| Ok(Local::Stream(Bind::Unix(unix_name(rest)?)))),
    ("connect://", |rest| Ok(Local::Connect(Bind::Tcp(authority(rest, Side::Local)?)))),
    ("connect+unix:", |rest| Ok(Local::Connect(Bind::Unix(unix_name(rest)?)))),
];

const REMOTE: [Scheme<Remote>; 7] = [
    ("tcp://", |rest| Ok(Remote::Tcp(authority(rest, Side::Remote)?))),
    ("unix:", |rest| Ok(Remote::Unix(unix_name(rest)?))),
    ("ws://", |rest| Ok(Remote::WebSocket(websocket_url(rest)?))),
    ("connect:", |rest| nothing_behind("connect:", rest).map(|()| Remote::Connect)),
    ("json:", |rest| nothing_behind("json:", rest).map(|()| Remote::Json)),
    ("token:", |rest| Ok(Remote::Token(token_path(rest)?))),
    ("query:", |rest| nothing_behind("query:", rest).map(|()| Remote::Query)),
];

const ADMIN: [Scheme<Local>; 5] = [
    ("http://", |rest| Ok(Local::Admin(Bind::Tcp(authority(rest, Side::Local)?)))),
    ("http+unix:", |rest| Ok(Local::Admin(Bind::Unix(unix_name(rest)?)))),
    ("unix:", |rest| Ok(Local::Admin(Bind::Unix(unix_name(rest)?)))),
    ("fd:", |rest| Ok(Local::Admin(Bind::Fd(descriptor(rest)?)))),
    ("systemd:", |rest| Ok(Local::Admin(Bind::Systemd(fd_name(rest)?)))),
];

/// The value of `--admin`.
pub(super) fn admin(text: &str) -> Result<Local, Flaw> {
    read(text, &ADMIN, |text| Ok(Local::Admin(Bind::Tcp(host_port(text, Side::Local)?))))
}

/// The value of `--local`.
pub(super) fn local(text: &str) -> Result<Local, Flaw> {
    if behind(text, "connect:") == Some("") {
        let flaw = Flaw::new("is for --remote; what listens for CONNECT has a host and a port");
        return Err(flaw.like(format!("connect://{}", Side::Local.address())));
    }
    read(text, &LOCAL, |text| Ok(Local::WebSocket(Bind::Tcp(host_port(text, Side::Local)?))))
}

/// The value of `--remote`.
pub(super) fn remote(text: &str) -> Result<Remote, Flaw> {
    read(text, &REMOTE, |text| Ok(Remote::Tcp(host_port(text, Side::Remote)?)))
}

/// Where websockify's first argument listens: a bare port means all interfaces.
pub(super) fn short_local(text: &str) -> Result<Local, Flaw> {
    match is_number(text) {
        true => Ok(every_interface(port(text, Side::Local)?)),
        false => local(text),
    }
}

/// All IPv4 interfaces.
pub(super) fn every_interface(port: u16) -> Local {
    tcp(Host::Ip(Ipv4Addr::UNSPECIFIED.into()), port)
}

/// A TCP listener.
pub(super) fn tcp(host: Host, port: u16) -> Local {
    Local::WebSocket(Bind::Tcp(HostPort { host, port }))
}

/// By scheme if it has one of `schemes`, else as an address of the default one.
fn read<T>(
    text: &str,
    schemes: &[Scheme<T>],
    bare: impl Fn(&str) -> Result<T, Flaw>,
) -> Result<T, Flaw> {
    for (scheme, read) in schemes {
        if let Some(rest) = behind(text, scheme) {
            return read(rest).map_err(|flaw| behind_scheme(flaw, scheme));
        }
        // `ws:8080` may be a host of that name, `ws:host:8080` is none.
        let slashless = scheme.strip_suffix("//").and_then(|scheme| behind(text, scheme));
        if let Some(rest) = slashless.filter(|rest| !is_number(rest)) {
            let flaw = Flaw::new(format!("the scheme is spelled {scheme}"));
            let whole = format!("{scheme}{rest}");
            return Err(if read(rest).is_ok() { flaw.like(whole) } else { flaw });
        }
    }
    let known = || schemes.iter().map(|(scheme, _)| *scheme).collect::<Vec<_>>().join(", ");
    match foreign_scheme(text) {
        Some((scheme, "//")) => {
            Err(Flaw::new(format!("{scheme:?} is not one of the schemes {}", known())))
        }
        Some((word, _)) => Err(Flaw::new(format!(
            "{word:?} is neither one of the schemes {} nor a host with a port behind it",
            known()
        ))),
        None => bare(text),
    }
}

/// What was shown in place of the text behind `scheme`, with the scheme. What has one of its own
/// stays.
fn behind_scheme(flaw: Flaw, scheme: &str) -> Flaw {
    let whole = |example: String| match foreign_scheme(&example) {
        Some(_) => example,
        None => format!("{scheme}{example}"),
    };
    Flaw { example: flaw.example.map(whole), ..flaw }
}

/// What follows `scheme`, in any case (RFC 3986 §3.1).
fn behind<'a>(text: &'a str, scheme: &str) -> Option<&'a str> {
    let head = text.get(..scheme.len())?;
    head.eq_ignore_ascii_case(scheme).then(|| &text[scheme.len()..])
}

/// A word that stands where a scheme would, with `//` or nothing for what follows its colon.
///
/// What may be a port, a badly written one too, makes the word a host.
fn foreign_scheme(text: &str) -> Option<(&str, &str)> {
    let (word, rest) = text.split_once(':')?;
    let shaped = word.starts_with(|c: char| c.is_ascii_alphabetic())
        && word.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    if shaped && rest.starts_with("//") {
        return Some((word, "//"));
    }
    let port_like = |c: char| c.is_ascii_digit() || c.is_whitespace() || "-+:".contains(c);
    (shaped && !word.contains('.') && !rest.starts_with(port_like)).then_some((word, ""))
}

/// What stands behind `//`. The `/` that ends a copied URL is no path.
fn authority(text: &str, side: Side) -> Result<HostPort, Flaw> {
    host_port(text.strip_suffix('/').unwrap_or(text), side).map_err(|flaw| {
        let example = flaw.example.unwrap_or_else(|| side.address());
        Flaw { example: Some(example), ..flaw }
    })
}

/// As they are spelled, for both ends.
#[cfg(test)]
pub(super) fn schemes() -> impl Iterator<Item = &'static str> {
    LOCAL.iter().map(|(scheme, _)| *scheme).chain(REMOTE.iter().map(|(scheme, _)| *scheme))
}

/// What is behind a scheme that leaves the target to whoever connects.
fn nothing_behind(scheme: &str, text: &str) -> Result<(), Flaw> {
    if text.is_empty() {
        return Ok(());
    }
    let flaw = Flaw::new(match (scheme, text.strip_prefix("//")) {
        // This is how a listener is spelled.
        ("connect:", Some(_)) => "connect:// is for --local; as a remote, connect: leaves the \
                                  target to whoever connects, and nothing follows it"
            .into(),
        _ => format!("nothing follows {scheme}, for whoever connects names the target"),
    });
    // A host may be called like the scheme.
    Err(flaw.like(if is_number(text) { format!("tcp://{scheme}{text}") } else { String::new() }))
}

/// The path of a file or a directory. `scheme:///path` is one as well, for it is often seen.
fn token_path(text: &str) -> Result<PathBuf, Flaw> {
    let text = if text.starts_with("///") { &text[2..] } else { text };
    let (flaw, example) = if text.is_empty() {
        ("has no path of a file or a directory behind the scheme", TOKENS.into())
    } else if text.contains(char::is_control) {
        ("has a control character in it", TOKENS.into())
    } else if text.starts_with("//") {
        ("has a host where the path of a file is expected", TOKENS.into())
    } else if is_number(text) {
        // A host may be called like the scheme, and a file like a port.
        ("may be a host or a file; write tcp://token: for the host", format!("./{text}"))
    } else {
        return Ok(text.into());
    };
    Err(Flaw::new(flaw).like(example))
}

/// `HOST[:PORT][/path][?query]` (RFC 6455 §3); the port is 80 if there is none.
fn websocket_url(text: &str) -> Result<WebSocketUrl, Flaw> {
    let (authority, path) = match text.find(['/', '?', '#']) {
        Some(at) => text.split_at(at),
        None => (text, "/"),
    };
    if path.contains('#') {
        return Err(Flaw::new("has a fragment (#), which a WebSocket URL must not have"));
    }
    // What goes into the request line must not end it (RFC 3986 §2).
    if let Some(bad) = path.chars().find(|c| !c.is_ascii_graphic()) {
        return Err(Flaw::new(format!("has {bad:?} in its path; write it percent-encoded")));
    }
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    let target = match has_port {
        true => host_port(authority, Side::Remote)?,
        false => host_port(&format!("{authority}:80"), Side::Remote)?,
    };
    let slash = if path.starts_with('/') { "" } else { "/" };
    Ok(WebSocketUrl {
        target,
        host: authority.to_owned(),
        path: format!("{slash}{path}"),
        subprotocols: Vec::new(),
        fields: Vec::new(),
        credential: None,
    })
}

/// `/path` or `@name`. `scheme:///path` is a path as well, for it is often seen.
fn unix_name(text: &str) -> Result<UnixName, Flaw> {
    let text = if text.starts_with("///") { &text[2..] } else { text };
    let name = text.strip_prefix('@').unwrap_or(text);
    let flaw = if name.is_empty() {
        "has no path or name behind the scheme".into()
    } else if name.contains(char::is_control) {
        "has a control character in it".into()
    } else if name.len() > MAX_UNIX_NAME {
        format!("is {} bytes long; a unix socket's name has at most {MAX_UNIX_NAME}", name.len())
    } else if text.starts_with('@') {
        return Ok(UnixName::Abstract(name.to_owned()));
    } else if !text.starts_with('/') || text.starts_with("//") {
        "is neither an absolute path nor an @name".into()
    } else if text.ends_with('/') {
        "is a directory".into()
    } else {
        return Ok(UnixName::Path(text.into()));
    };
    Err(Flaw::new(flaw).like("/run/app.sock"))
}

/// A descriptor that can be a listening socket; inetd(8) hands it over as 0.
fn descriptor(text: &str) -> Result<i32, Flaw> {
    let flaw = match text.parse() {
        _ if !is_number(text) => "takes the number of an open descriptor",
        Ok(1 | 2) => "is stdout or stderr, not a listening socket",
        Ok(fd) => return Ok(fd),
        Err(_) => "is not a descriptor number",
    };
    Err(Flaw::new(flaw).like("3"))
}

/// A name as `LISTEN_FDNAMES` can carry it (sd_listen_fds(3)).
fn fd_name(text: &str) -> Result<String, Flaw> {
    let good = (1..=255).contains(&text.len())
        && text.bytes().all(|b| (b.is_ascii_graphic() || b == b' ') && b != b':');
    match good {
        true => Ok(text.to_owned()),
        false => {
            Err(Flaw::new("takes a FileDescriptorName= of at most 255 ASCII characters")
                .like("web"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `Display` gives an endpoint as it is documented, so text in and out can be compared.
    fn local_text(text: &str) -> Result<String, Flaw> {
        local(text).map(|local| local.to_string())
    }

    fn remote_text(text: &str) -> Result<String, Flaw> {
        remote(text).map(|remote| remote.to_string())
    }

    #[test]
    fn reads_every_form_of_a_local_endpoint() {
        for (text, same) in [
            ("127.0.0.1:8080", "ws://127.0.0.1:8080"),
            ("ws://127.0.0.1:8080", "ws://127.0.0.1:8080"),
            ("WS://127.0.0.1:8080/", "ws://127.0.0.1:8080"),
            ("0.0.0.0:0", "ws://0.0.0.0:0"),
            ("[::1]:8080", "ws://[::1]:8080"),
            ("ws://[0:0::0]:80", "ws://[::]:80"),
            ("localhost:65535", "ws://localhost:65535"),
            ("fd:3", "fd:3"),
            ("fd:0", "fd:0"),
            ("systemd:web socket", "systemd:web socket"),
            ("ws+unix:/run/a.sock", "ws+unix:/run/a.sock"),
            ("ws+unix:///run/a.sock", "ws+unix:/run/a.sock"),
            ("ws+unix:@a/b", "ws+unix:@a/b"),
            ("connect://127.0.0.1:0", "connect://127.0.0.1:0"),
            ("CONNECT://[::1]:3128/", "connect://[::1]:3128"),
            ("connect:8080", "ws://connect:8080"),
            ("connect+unix:/run/a.sock", "connect+unix:/run/a.sock"),
        ] {
            assert_eq!(local_text(text).as_deref(), Ok(same), "{text}");
        }
    }

    #[test]
    fn reads_every_form_of_a_remote_endpoint() {
        for (text, same) in [
            ("127.0.0.1:5000", "tcp://127.0.0.1:5000"),
            ("tcp://db_1.internal.:5000/", "tcp://db_1.internal.:5000"),
            ("[::ffff:10.0.0.1]:1", "tcp://[::ffff:10.0.0.1]:1"),
            ("3com.example:80", "tcp://3com.example:80"),
            // Hosts that are called like a scheme, as services in a container network may be.
            ("ws:8080", "tcp://ws:8080"),
            ("tcp:5000", "tcp://tcp:5000"),
            ("unix:/run/a b.sock", "unix:/run/a b.sock"),
            ("unix:@name", "unix:@name"),
            ("connect:", "connect:"),
            ("Connect:", "connect:"),
            ("token:/etc/tokens", "token:/etc/tokens"),
            ("Token:tokens.d/", "token:tokens.d/"),
            ("token:///etc/my tokens", "token:/etc/my tokens"),
            ("token:./5000", "token:./5000"),
            ("QUERY:", "query:"),
            ("json:", "json:"),
            ("JSON:", "json:"),
        ] {
            assert_eq!(remote_text(text).as_deref(), Ok(same), "{text}");
        }
    }

    #[test]
    fn a_bare_port_is_every_interface_in_the_short_form_alone() {
        let text = |text| short_local(text).map(|local| local.to_string());
        assert_eq!(text("6080").as_deref(), Ok("ws://0.0.0.0:6080"));
        assert_eq!(text("[::1]:6080").as_deref(), Ok("ws://[::1]:6080"));
        assert!(text("65536").is_err());
        assert!(local("6080").is_err());
    }

    /// What is wrong is said, and what is shown instead can be read.
    #[track_caller]
    fn assert_flaw<T: std::fmt::Debug>(
        text: &str,
        read: fn(&str) -> Result<T, Flaw>,
        problem: &str,
        example: &str,
    ) {
        let flaw = read(text).expect_err(text);
        assert!(flaw.problem.contains(problem), "{text:?}: {}", flaw.problem);
        assert_eq!(flaw.example.as_deref().unwrap_or_default(), example, "{text:?}");
        if let Some(example) = flaw.example {
            read(&example).unwrap_or_else(|flaw| panic!("{text:?} -> {example:?}: {flaw:?}"));
        }
    }

    #[test]
    fn says_what_is_wrong_with_a_local_endpoint() {
        for (text, problem, example) in [
            ("", "is empty", ""),
            ("8080", "has no host", "127.0.0.1:8080"),
            ("99999", "has no host", "127.0.0.1:8080"),
            (":9000", "has no host", "0.0.0.0:9000"),
            (":", "has no host", "0.0.0.0:8080"),
            ("*:9000", "0.0.0.0 is every interface", "0.0.0.0:9000"),
            ("*", "0.0.0.0 is every interface", "0.0.0.0:8080"),
            ("localhost", "has no port", "localhost:8080"),
            ("127.0.0.1", "has no port", "127.0.0.1:8080"),
            ("127.0.0.1:", "has no port behind the colon", "127.0.0.1:8080"),
            ("127.0.0.1:65536", "port 65536 is over 65535", "127.0.0.1:8080"),
            ("127.0.0.1:80x", "\"80x\" is not a port number", "127.0.0.1:8080"),
            ("127.0.0.1:+80", "\"+80\" is not a port number", "127.0.0.1:8080"),
            ("127.0.0.1:-1", "\"-1\" is not a port number", "127.0.0.1:8080"),
            ("localhost:-1", "\"-1\" is not a port number", "localhost:8080"),
            ("::1:9000", "needs brackets", "[::1]:9000"),
            ("fe80::a", "needs brackets", "[fe80::a]:8080"),
            ("a:80:90", "more than one colon", ""),
            ("[::1]", "no port behind the ]", "[::1]:8080"),
            ("[::1]9000", "no port behind the ]", "[::1]:8080"),
            ("[::1]:99999", "over 65535", "[::1]:8080"),
            ("[::1", "no ]", "[::1]:8080"),
            ("[fe80::1%eth0]:80", "is not an IPv6 address", "[::1]:8080"),
            ("[127.0.0.1]:80", "is not an IPv6 address", "[::1]:8080"),
            ("/run/a.sock", "is it a unix socket?", "ws+unix:/run/a.sock"),
            ("@name", "is it a unix socket?", "ws+unix:@name"),
            ("127.0.0.1:80/", "path", ""),
            ("ws://127.0.0.1:80/chat", "path", "ws://127.0.0.1:8080"),
            ("ws://127.0.0.1:80//", "path", "ws://127.0.0.1:8080"),
            ("ws://", "is empty", "ws://127.0.0.1:8080"),
            ("ws:///", "is empty", "ws://127.0.0.1:8080"),
            ("ws:///run/a.sock", "is it a unix socket?", "ws+unix:/run/a.sock"),
            ("ws:127.0.0.1:80", "is spelled ws://", "ws://127.0.0.1:80"),
            ("ws:", "is spelled ws://", ""),
            ("wss://0.0.0.0:443", "\"wss\" is not one of the schemes ws://, ws+unix:, fd:", ""),
            ("connect:", "is for --remote", "connect://127.0.0.1:8080"),
            ("connect:a:80", "is spelled connect://", "connect://a:80"),
            ("connect://", "is empty", "connect://127.0.0.1:8080"),
            ("connect://a", "has no port", "connect://a:8080"),
            ("connect://u:p@a:80", "user name", "connect://127.0.0.1:8080"),
            ("connect+unix:a", "is neither an absolute path", "connect+unix:/run/app.sock"),
            ("udp://0.0.0.0:80", "\"udp\" is not one of the schemes", ""),
            ("tcp://0.0.0.0", "has no port", "tcp://0.0.0.0:8080"),
            ("unix:a", "is neither an absolute path", "unix:/run/app.sock"),
            ("fd:", "number of an open descriptor", "fd:3"),
            ("fd:-1", "number of an open descriptor", "fd:3"),
            ("fd:3x", "number of an open descriptor", "fd:3"),
            ("fd:2", "stdout or stderr", "fd:3"),
            ("fd:2147483648", "is not a descriptor number", "fd:3"),
            ("systemd:", "FileDescriptorName", "systemd:web"),
            ("systemd:a:b", "FileDescriptorName", "systemd:web"),
            ("ws+unix:", "no path or name", "ws+unix:/run/app.sock"),
            ("ws+unix:run/a", "is neither an absolute path", "ws+unix:/run/app.sock"),
        ] {
            assert_flaw(text, local, problem, example);
        }
    }

    #[test]
    fn reads_the_url_of_a_websocket() {
        for (text, target, host, path) in [
            ("ws://h", "h:80", "h", "/"),
            ("ws://h:8080/", "h:8080", "h:8080", "/"),
            ("WS://h/a/b?c=d&e", "h:80", "h", "/a/b?c=d&e"),
            ("ws://h?q", "h:80", "h", "/?q"),
            ("ws://[::1]/x", "[::1]:80", "[::1]", "/x"),
            ("ws://[::1]:9/x", "[::1]:9", "[::1]:9", "/x"),
        ] {
            let Ok(Remote::WebSocket(url)) = remote(text) else { panic!("{text}") };
            let got = (url.target.to_string(), url.host.as_str(), url.path.as_str());
            assert_eq!(got, (target.to_string(), host, path), "{text}");
        }
    }

    #[test]
    fn says_what_is_wrong_with_a_remote_endpoint() {
        for (text, problem, example) in [
            ("127.0.0.1:0", "port 0", "127.0.0.1:5000"),
            ("127.0.0.1:99999", "port 99999 is over 65535", "127.0.0.1:5000"),
            (":5900", "has no host", "127.0.0.1:5900"),
            ("*:5900", "is no address", ""),
            ("user@host:22", "user name", ""),
            ("tcp://user:secret@host:22", "user name", "tcp://127.0.0.1:5000"),
            ("host name:22", "has a space", ""),
            (" host:22", "has a space", ""),
            ("host:22 ", "has a space", ""),
            ("host\0:22", "control character", ""),
            ("host:22\n", "control character", ""),
            ("h\u{fc}gel:22", "cannot stand in a host name", ""),
            ("a,b:22", "cannot stand in a host name", ""),
            ("a..b:22", "is not a host name", ""),
            (".:22", "is not a host name", ""),
            ("-a:22", "is not a host name", ""),
            ("256.1.1.1:22", "is not an IPv4 address", ""),
            ("127.1:22", "is not an IPv4 address", ""),
            ("2130706433:22", "is not an IPv4 address", ""),
            ("0x7f000001:22", "is not an IPv4 address", ""),
            ("ws://", "has no host", "ws://127.0.0.1:80"),
            ("ws:///chat", "has no host", "ws://127.0.0.1:80"),
            ("ws://host:0/", "port 0", "ws://host:5000"),
            ("ws://host:99999/", "over 65535", "ws://host:5000"),
            ("ws://host/a#b", "fragment", ""),
            ("ws://host/a\u{e9}", "percent-encoded", ""),
            ("ws://host/a b", "percent-encoded", ""),
            ("ws://user@host/", "user name", ""),
            ("wss://host/", "\"wss\" is not one of the schemes tcp://, unix:, ws://", ""),
            ("tls://host:443", "\"tls\" is not one of the schemes", ""),
            (
                "jsonp:",
                "\"jsonp\" is neither one of the schemes tcp://, unix:, ws://, connect:, json:, token:, \
                 query: nor a host",
                "",
            ),
            ("json://a:80", "nothing follows json:", "json:"),
            ("json:a:80", "nothing follows json:", "json:"),
            ("json:80", "nothing follows json:", "tcp://json:80"),
            ("connect://a:80", "connect:// is for --local", "connect:"),
            ("connect:a:80", "nothing follows connect:", "connect:"),
            ("connect:/", "nothing follows connect:", "connect:"),
            ("connect:80", "nothing follows connect:", "tcp://connect:80"),
            ("token:", "no path of a file", "token:/etc/ws-tcp-proxy/tokens"),
            ("token://host/x", "has a host", "token:/etc/ws-tcp-proxy/tokens"),
            ("token:a\nb", "control character", "token:/etc/ws-tcp-proxy/tokens"),
            ("token:5000", "may be a host or a file", "token:./5000"),
            ("query:a:80", "nothing follows query:", "query:"),
            ("query:80", "nothing follows query:", "tcp://query:80"),
            ("query://a", "nothing follows query:", "query:"),
            ("host:http", "\"host\" is neither", ""),
            ("host:", "\"host\" is neither", ""),
            ("unix:", "no path or name", "unix:/run/app.sock"),
            ("unix:@", "no path or name", "unix:/run/app.sock"),
            ("unix:a.sock", "is neither an absolute path", "unix:/run/app.sock"),
            ("unix://a.sock", "is neither an absolute path", "unix:/run/app.sock"),
            ("unix:/run/", "is a directory", "unix:/run/app.sock"),
            ("unix:/run/a\0b", "control character", "unix:/run/app.sock"),
            ("\u{e9}\u{e9}", "cannot stand in a host name", ""),
        ] {
            assert_flaw(text, remote, problem, example);
        }
    }

    #[test]
    fn names_may_be_as_long_as_the_kernel_and_dns_allow() {
        for (length, fits) in [(107, true), (108, false)] {
            let path = format!("unix:/{}", "p".repeat(length - 1));
            assert_eq!(remote(&path).is_ok(), fits, "path of {length}");
            let name = format!("unix:@{}", "n".repeat(length));
            assert_eq!(remote(&name).is_ok(), fits, "name of {length}");
        }
        let labels = format!("{}.", "a".repeat(63)).repeat(4);
        for (length, fits) in [(253, true), (254, false)] {
            assert_eq!(
                remote(&format!("{}:1", &labels[..length])).is_ok(),
                fits,
                "host of {length}"
            );
        }
        assert!(remote(&format!("{}:1", "a".repeat(64))).is_err());
    }
}
