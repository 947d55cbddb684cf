//! Requests for pages: no bytes may panic, cuts do not matter, no path leads out of a directory, and
//! every answer is well-formed and says how long it is.
//!
//! ```text
//! input = options (1 byte), cuts (length, then lengths), how long the file is (length), then
//!         the bytes on the wire, or
//!         target and more header lines (length and bytes each), and what follows the head
//! ```

#![no_main]

use libfuzzer_sys::fuzz_target;
use ws_tcp_proxy::config::{Bind, Limits, Local, Remote, Route};
use ws_tcp_proxy::policy::admit::Refusal;
use ws_tcp_proxy::policy::gate::{Gate, Secrets};
use ws_tcp_proxy::policy::page::{Facts, Page, Visit};
use ws_tcp_proxy::proto::handshake::{HandshakeError, HeadLimits};
use ws_tcp_proxy::proto::http::path::Path;
use ws_tcp_proxy::proto::http::{Method, Request};
use ws_tcp_proxy::session::opening::Call;
use ws_tcp_proxy_fuzz::cuts::Cuts;
use ws_tcp_proxy_fuzz::heads::meet;
use ws_tcp_proxy_fuzz::input::Input;

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let options = input.byte();
    let lengths = input.bytes();
    let len = input.len() as u64;
    let wire = if options & 1 == 0 { input.rest().to_vec() } else { request(options, input) };
    let local = Local::WebSocket(Bind::Fd(3));
    let route = Route { web: Some("web".into()), ..Route::new(local, Remote::Echo) };
    let gate = Gate { route: &route, secrets: &Secrets::default(), client: None };
    let limits = Limits {
        max_head: [8192, 256][usize::from(options >> 1 & 1)],
        max_headers: [64, 8][usize::from(options >> 2 & 1)],
        ..Limits::default()
    };
    let facts = Facts { len, modified: 0x1f };
    parse(&wire, &limits, gate, facts);
    // A line's end behind it all makes every answer come that the bytes can bring about.
    let wire = [&wire[..], b"\n"].concat();
    let whole = answer(&wire, Cuts::Whole, &limits, gate);
    for cuts in [Cuts::Bytes, Cuts::Lengths(lengths)] {
        assert_eq!(answer(&wire, cuts, &limits, gate), whole, "{cuts:?}");
    }
});

/// A good request around the parts that a client chooses freely.
fn request(options: u8, mut input: Input) -> Vec<u8> {
    let (target, lines) = (input.bytes(), input.bytes());
    let head: [&[u8]; 7] = [
        if options & 8 == 0 { b"GET" } else { b"HEAD" },
        b" /",
        target,
        b" HTTP/1.1\r\nHost: a\r\n",
        lines,
        b"\r\n",
        input.rest(),
    ];
    head.concat()
}

/// What is parsed at once.
fn parse(wire: &[u8], limits: &Limits, gate: Gate, facts: Facts) {
    let sizes = HeadLimits { bytes: limits.max_head, headers: limits.max_headers };
    let Ok(Some((request, len))) = Request::parse(wire, sizes) else { return };
    assert!(len <= wire.len() && len <= sizes.bytes);
    assert_eq!(Request::parse(&wire[..len - 1], sizes), Ok(None), "the last byte completes it");
    let upgrades = |line: &[u8]| line.to_ascii_lowercase() == b"websocket";
    assert!(!request.field_lines("Upgrade").any(upgrades) || request.asks_for_websocket());
    match Visit::welcome(&request, gate) {
        Ok(visit) => {
            assert_ne!(request.method, Method::Other);
            stays_beneath(&visit.path);
            assert!(!visit.file().is_empty());
            check(&visit.found(&visit.file(), facts), &request, facts.len);
            check(&visit.directory(), &request, 0);
        }
        Err(refusal) => check_refusal(&refusal, &request),
    }
}

/// None of its names leads elsewhere, and a client that is sent there means the same.
fn stays_beneath(path: &Path) {
    let names = path.names();
    for name in names.split('/').filter(|_| !names.is_empty()) {
        assert!(!name.is_empty() && !name.contains(['\\', '\0']), "{names:?}");
        assert!(!name.starts_with('.') || name == ".well-known", "{names:?}");
    }
    let location = path.as_directory();
    assert!(location.bytes().all(|b| b.is_ascii_graphic()) && !location.starts_with("//"));
    let again = Path::parse(&location).expect("what we send a client to can be followed");
    assert_eq!((again.names(), again.is_directory()), (names, true));
}

/// What a request gets is a head of one line for each field, and a body as long as it says.
fn check(page: &Page, request: &Request, len: u64) {
    let mut fields = [httparse::EMPTY_HEADER; 16];
    let mut response = httparse::Response::new(&mut fields);
    let head = response.parse(&page.head).expect("a response").unwrap();
    assert_eq!(response.code, Some(page.status));
    let text = std::str::from_utf8(&page.head[..head]).expect("ours is text");
    let field = |name: &str| {
        let mut lines =
            text.split("\r\n").filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let value = lines.next();
        assert_eq!(lines.next(), None, "{name} is repeated");
        value
    };
    assert_eq!(field("Connection"), Some("close"));
    let sent = (page.head.len() - head) as u64 + page.body.end - page.body.start;
    assert!(page.body.end <= len && page.body.start <= page.body.end);
    let said = field("Content-Length").map(|text| text.parse().expect("a length"));
    match (page.status, request.method) {
        (304, _) => assert_eq!((said, sent), (None, 0)),
        (_, Method::Head) => assert_eq!((said.is_some(), sent), (true, 0)),
        _ => assert_eq!(said, Some(sent)),
    }
    match page.status {
        200 => assert!(sent == len || request.method == Method::Head),
        206 => {
            let part = format!("bytes {}-{}/{len}", page.body.start, page.body.end - 1);
            assert_eq!(field("Content-Range"), Some(&part[..]));
            assert!(request.field("Range").is_some() && sent > 0);
        }
        416 => assert_eq!(field("Content-Range"), Some(&format!("bytes */{len}")[..])),
        301 => assert!(field("Location").is_some_and(|at| !at.starts_with("//"))),
        304 => assert!(request.list("If-None-Match").is_some()),
        other => panic!("{other}"),
    }
}

fn check_refusal(refusal: &Refusal, request: &Request) {
    assert!([400, 404, 405].contains(&refusal.status.code()), "{refusal:?}");
    assert_eq!(refusal.bodiless, request.method == Method::Head);
    assert!(!refusal.reason.contains(char::is_control));
}

/// What becomes of a head that comes in pieces, and what stands behind it.
type Answer = (Result<Option<Visit>, Refusal>, Vec<u8>);

fn answer(wire: &[u8], cuts: Cuts, limits: &Limits, gate: Gate) -> Option<Answer> {
    let (met, rest) = meet(wire, cuts, limits, gate)?;
    let met = met.map(|call| match call {
        Call::Page(visit) => Some(visit),
        _ => None,
    });
    let refused = Refusal::from(HandshakeError::NotAnUpgrade { head: false }).status;
    assert!(met.as_ref().err().map_or(true, |refusal| {
        refusal.status != refused || wire.windows(9).any(|w| w.eq_ignore_ascii_case(b"websocket"))
    }));
    Some((met, rest))
}
