//! CONNECT heads: no bytes may panic, cuts do not matter, and the target is what the request line
//! says.
//!
//! ```text
//! input = options (1 byte), cuts (length, then lengths), length of the first message (1 byte), then
//!         the bytes on the wire, or
//!         target and header lines (length and bytes each), and what follows the head
//! ```

#![no_main]

use base64::engine::general_purpose::STANDARD;
use base64::Engine;
use libfuzzer_sys::fuzz_target;
use ws_tcp_proxy::policy::admit::Refusal;
use ws_tcp_proxy::proto::authority::{Host, HostPort};
use ws_tcp_proxy::proto::connect::{head, ConnectError, ConnectRequest, Form};
use ws_tcp_proxy::proto::handshake::HeadLimits;
use ws_tcp_proxy_fuzz::cuts::Cuts;
use ws_tcp_proxy_fuzz::input::Input;

/// The smallest `--buffer-size`: an answer is written into it whole.
const SMALLEST_BUFFER: usize = 4096;

/// `None` asks for more.
type Outcome = Option<Result<(ConnectRequest, usize), ConnectError>>;

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let options = input.byte();
    let lengths = input.bytes();
    let first = usize::from(input.byte());
    let wire = if options & 1 == 0 { input.rest().to_vec() } else { request(input) };
    let limits = HeadLimits {
        bytes: [8192, 80][usize::from(options >> 1 & 1)],
        headers: [64, 3][usize::from(options >> 2 & 1)],
    };
    let whole = outcome(&wire, Cuts::Whole, first, limits);
    for cuts in [Cuts::Bytes, Cuts::Lengths(lengths)] {
        assert_eq!(outcome(&wire, cuts, first, limits), whole, "{cuts:?}");
    }
    match &whole {
        Some(Ok((request, len))) => {
            assert!(*len <= limits.bytes);
            match request.form {
                Form::Full => check_full(request, &wire[..*len]),
                Form::Bare => {
                    assert_eq!(*len, first);
                    check_bare(request, &wire[..*len]);
                }
            }
            check_round_trip(&request.target);
        }
        Some(Err(error)) => check_refusal(*error),
        None => assert!(wire.len() < limits.bytes, "{} bytes and no answer", wire.len()),
    }
});

/// A request around the parts that matter most.
fn request(mut input: Input) -> Vec<u8> {
    let (target, lines) = (input.bytes(), input.bytes());
    [b"CONNECT ", target, b" HTTP/1.1\r\n", lines, b"\r\n", input.rest()].concat()
}

/// What comes of `wire` in these pieces; the end of the first message is the end of a piece.
fn outcome(wire: &[u8], cuts: Cuts, first: usize, limits: HeadLimits) -> Outcome {
    let mut ends: Vec<usize> = Vec::new();
    for piece in cuts.pieces(wire, usize::MAX) {
        let start = ends.last().copied().unwrap_or(0);
        let end = start + piece.len();
        if (start + 1..end).contains(&first) {
            ends.push(first);
        }
        ends.push(end);
    }
    ends.into_iter()
        .find_map(|end| ConnectRequest::parse(&wire[..end], end == first, limits).transpose())
}

fn check_full(request: &ConnectRequest, head: &[u8]) {
    let text = head.iter().position(|b| !b"\r\n".contains(b)).map(|at| &head[at..]);
    let line = text.and_then(|text| text.split(|b| *b == b'\n').next()).expect("a line");
    let parts: Vec<_> = unreturned(line).split(|b| *b == b' ').collect();
    assert_eq!((parts.len(), parts[0]), (3, &b"CONNECT"[..]));
    assert!(parts[2] == b"HTTP/1.1" || parts[2] == b"HTTP/1.0");
    check_target(&request.target, parts[1]);
    assert!(head.ends_with(b"\n\r\n") || head.ends_with(b"\n\n"));
    if let Some(credentials) = request.credentials.as_deref().filter(|bytes| !bytes.is_empty()) {
        let token = STANDARD.encode(credentials);
        assert!(head.windows(token.len()).any(|bytes| bytes == token.as_bytes()));
    }
}

fn check_bare(request: &ConnectRequest, message: &[u8]) {
    assert_eq!(request.credentials, None);
    let line = message.strip_prefix(b"CONNECT ").expect("the method");
    check_target(&request.target, line.strip_suffix(b"\n").map_or(line, unreturned));
}

/// `target` against the text it was read from.
fn check_target(target: &HostPort, text: &[u8]) {
    let text = std::str::from_utf8(text).expect("ASCII");
    let (host, digits) = text.rsplit_once(':').expect("a colon");
    assert_eq!(digits.parse::<u16>().ok().filter(|&port| port > 0), Some(target.port));
    assert!(digits.len() <= 5 && !digits.starts_with('+'));
    match &target.host {
        Host::Ip(ip) if ip.is_ipv4() => assert_eq!(host, ip.to_string()),
        Host::Ip(ip) => {
            let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
            assert_eq!(inner.expect("brackets").parse(), Ok(*ip));
        }
        Host::Name(name) => {
            assert_eq!(host.strip_suffix('.').unwrap_or(host).to_lowercase(), *name);
            let letter =
                |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
            assert!(name.bytes().all(letter) && name.len() < 254, "{name:?}");
            assert!(name.split('.').all(|label| matches!(label.len(), 1..=63)), "{name:?}");
            assert!(!name.split('.').all(is_number), "an address to inet_aton(3): {name:?}");
        }
    }
}

/// As a part of an address in inet_aton(3): decimal, octal or hexadecimal.
fn is_number(part: &str) -> bool {
    match part.strip_prefix("0x") {
        Some(hex) => hex.bytes().all(|b| b.is_ascii_hexdigit()),
        None => part.bytes().all(|b| b.is_ascii_digit()),
    }
}

/// What is sent to the far end means the same there.
fn check_round_trip(target: &HostPort) {
    let limits = HeadLimits { bytes: 8192, headers: 1 };
    for form in [Form::Full, Form::Bare] {
        let wire = head(target, form);
        let expected = ConnectRequest { target: target.clone(), form, credentials: None };
        let read = ConnectRequest::parse(&wire, true, limits);
        assert_eq!(read, Ok(Some((expected.clone(), wire.len()))));
        let stream = ConnectRequest::parse(&wire, false, limits);
        assert_eq!(stream.map(|read| read.is_some()), Ok(form == Form::Full));
    }
}

fn check_refusal(error: ConnectError) {
    let refusal = Refusal::from(error);
    assert!(!refusal.reason.is_empty() && !refusal.reason.contains(char::is_control));
    assert!([400, 405, 431].contains(&refusal.status.code()));
    assert_eq!(refusal.status.close_code().get(), 1008);
    assert!(refusal.response().len() <= SMALLEST_BUFFER);
}

fn unreturned(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}
