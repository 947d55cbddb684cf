//! Request heads: no bytes may panic, and cuts do not matter here either.
//!
//! ```text
//! input = options (1 byte), cuts (length, then lengths), then
//!         the bytes on the wire, or
//!         target and more header lines (length and bytes each), and what follows the head
//! ```

#![no_main]

use libfuzzer_sys::fuzz_target;
use ws_tcp_proxy::config::{Bind, Limits, Local, Messages, Remote, Route, Subprotocols};
use ws_tcp_proxy::policy::admit::{admit, Admission, Refusal};
use ws_tcp_proxy::policy::gate::{Gate, Secrets};
use ws_tcp_proxy::proto::encoding::{Encoding, Encodings};
use ws_tcp_proxy::proto::handshake::{HeadLimits, Request};
use ws_tcp_proxy::session::opening::Call;
use ws_tcp_proxy_fuzz::cuts::Cuts;
use ws_tcp_proxy_fuzz::heads::meet;
use ws_tcp_proxy_fuzz::input::Input;

/// The smallest `--buffer-size`: an answer is written into it whole.
const SMALLEST_BUFFER: usize = 4096;

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let options = input.byte();
    let lengths = input.bytes();
    let wire = if options & 1 == 0 { input.rest().to_vec() } else { request(input) };
    let local = Local::Stream(Bind::Fd(3));
    let route = Route { messages: messages(options), ..Route::new(local, Remote::Echo) };
    let gate = Gate { route: &route, secrets: &Secrets::default(), client: None };
    let limits = Limits {
        max_head: [8192, 256][usize::from(options >> 1 & 1)],
        max_headers: [64, 8][usize::from(options >> 2 & 1)],
        ..Limits::default()
    };
    parse(&wire, &limits, gate);
    // A line's end behind it all makes every answer come that the bytes can bring about.
    let wire = [&wire[..], b"\n"].concat();
    let whole = answer(&wire, Cuts::Whole, &limits, gate);
    for cuts in [Cuts::Bytes, Cuts::Lengths(lengths)] {
        assert_eq!(answer(&wire, cuts, &limits, gate), whole, "{cuts:?}");
    }
    match &whole {
        Some((Ok(admission), _)) => check_admission(admission, &route.messages),
        Some((Err(refusal), _)) => check_refusal(refusal),
        None => {}
    }
});

fn messages(options: u8) -> Messages {
    let narrow = Encodings::NONE.with(Encoding::Text);
    let allowed = [Encodings::ALL, narrow][usize::from(options >> 3 & 1)];
    let subprotocols = match options >> 4 & 1 {
        0 => Messages::default().subprotocols,
        _ => Subprotocols::Any,
    };
    Messages { encoding: Encoding::Text, allowed, subprotocols, ..Messages::default() }
}

/// A good request around the parts that a client chooses freely.
fn request(mut input: Input) -> Vec<u8> {
    let (target, lines) = (input.bytes(), input.bytes());
    let head: [&[u8]; 6] = [
        b"GET /",
        target,
        b" HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
          Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n",
        lines,
        b"\r\n",
        input.rest(),
    ];
    head.concat()
}

/// What is parsed at once.
fn parse(wire: &[u8], limits: &Limits, gate: Gate) {
    let sizes = HeadLimits { bytes: limits.max_head, headers: limits.max_headers };
    let Ok(Some((request, len))) = Request::parse(wire, sizes) else { return };
    assert!(len <= wire.len() && len <= sizes.bytes);
    assert_eq!(Request::parse(&wire[..len - 1], sizes), Ok(None), "the last byte completes it");
    assert!(wire[..len].ends_with(b"\n"));
    assert!(!request.path.is_empty() && !request.path.contains('?'));
    let offered = &request.subprotocols;
    assert!(offered.iter().all(|name| !name.is_empty() && !name.contains(',')));
    let Ok(admission) = admit(&request, gate) else { return };
    if let Some(name) = field(&admission.response, "Sec-WebSocket-Protocol") {
        assert!(offered.contains(&&name[..]), "{name} was not offered");
    }
    let accept = field(&admission.response, "Sec-WebSocket-Accept").expect("a proof");
    assert_eq!(accept.as_bytes(), request.accept);
}

/// The answer to a head that comes in pieces, and what stands behind it.
type Answer = (Result<Admission, Refusal>, Vec<u8>);

fn answer(wire: &[u8], cuts: Cuts, limits: &Limits, gate: Gate) -> Option<Answer> {
    let (met, rest) = meet(wire, cuts, limits, gate)?;
    let answer = met.map(|call| match call {
        Call::WebSocket(admission) => admission,
        other => panic!("there is nothing else: {other:?}"),
    });
    Some((answer, rest))
}

fn check_admission(admission: &Admission, messages: &Messages) {
    assert!(admission.response.len() <= SMALLEST_BUFFER);
    let allowed = messages.allowed.contains(admission.encoding);
    assert!(allowed || admission.encoding == messages.encoding);
    let mut fields = [httparse::EMPTY_HEADER; 16];
    let mut response = httparse::Response::new(&mut fields);
    let len = response.parse(&admission.response).expect("a response").unwrap();
    assert_eq!(len, admission.response.len(), "something follows the head");
    assert_eq!((response.version, response.code), (Some(1), Some(101)));
    for (name, value) in [("Upgrade", "websocket"), ("Connection", "Upgrade")] {
        assert_eq!(field(&admission.response, name).as_deref(), Some(value));
    }
    if let Some(name) = field(&admission.response, "Sec-WebSocket-Protocol") {
        let listed = match &messages.subprotocols {
            Subprotocols::Any => true,
            Subprotocols::Listed(list) => list.contains(&name),
        };
        let token = |b: u8| b.is_ascii_graphic() && !br#"(),/:;<=>?@[\]{}""#.contains(&b);
        assert!(listed && name.bytes().all(token), "{name:?}");
    }
}

fn check_refusal(refusal: &Refusal) {
    assert!(!refusal.reason.is_empty() && !refusal.reason.contains(char::is_control));
    let wire = refusal.response();
    assert!(wire.len() <= SMALLEST_BUFFER);
    let mut fields = [httparse::EMPTY_HEADER; 16];
    let mut response = httparse::Response::new(&mut fields);
    let len = response.parse(&wire).expect("a response").unwrap();
    assert_eq!(response.code, Some(refusal.status.code()));
    let body = format!("{}\n", refusal.reason);
    assert_eq!(field(&wire, "Content-Length"), Some(body.len().to_string()));
    assert_eq!(field(&wire, "Connection").as_deref(), Some("close"));
    assert_eq!(&wire[len..], if refusal.bodiless { "" } else { &body }.as_bytes());
}

/// The value of the first field of that name.
fn field(response: &[u8], name: &str) -> Option<String> {
    let text = std::str::from_utf8(response).expect("ours is text");
    let (head, _) = text.split_once("\r\n\r\n").expect("a blank line");
    let mut lines = head.split("\r\n").skip(1);
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned))
}
