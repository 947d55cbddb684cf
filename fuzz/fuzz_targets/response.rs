//! Answers to our own request: no bytes may panic, cuts do not matter, and only a proof opens.
//!
//! ```text
//! input = options (1 byte), cuts (length, then lengths), then
//!         the bytes on the wire, or
//!         more header lines (length and bytes) of an answer that agrees, and what follows the head
//! ```

#![no_main]

use libfuzzer_sys::fuzz_target;
use ws_tcp_proxy::buf::hot::Hot;
use ws_tcp_proxy::config::Limits;
use ws_tcp_proxy::proto::handshake::HeadLimits;
use ws_tcp_proxy::proto::response::{ClientRequest, Expectation, ResponseError};
use ws_tcp_proxy::session::opening::Asking;
use ws_tcp_proxy_fuzz::cuts::Cuts;
use ws_tcp_proxy_fuzz::frames;
use ws_tcp_proxy_fuzz::input::Input;

/// What an answer came to, and the bytes behind its head. `None` asks for more.
type Outcome = Option<Result<Vec<u8>, ResponseError>>;

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let options = input.byte();
    let cuts = input.bytes();
    let offered = match options & 1 {
        0 => Vec::new(),
        _ => vec!["chat".to_owned(), "superchat".to_owned()],
    };
    let limits = Limits {
        max_head: [8 << 10, 160][usize::from(options >> 1 & 1)],
        max_headers: [64, 4][usize::from(options >> 2 & 1)],
        ..Limits::default()
    };
    let wire = match options & 8 {
        0 => input.rest().to_vec(),
        _ => {
            let agreement = frames::answer();
            let fields = input.bytes();
            [&agreement[..agreement.len() - 2], fields, b"\r\n\r\n", input.rest()].concat()
        }
    };
    let request = ClientRequest::new("a", "/", &offered, &[], [0x55; 16]);
    let expects = request.into_parts().1;
    let whole = told(&expects, &wire, Cuts::Whole, &limits);
    check(&expects, &wire, &whole, &limits);
    for cuts in [Cuts::Bytes, Cuts::Lengths(cuts)] {
        let pieces = told(&expects, &wire, cuts, &limits);
        if pieces.is_none() {
            // What arrives in pieces is looked at line by line.
            let lines = wire.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
            assert_eq!(told(&expects, &wire[..lines], Cuts::Whole, &limits), None);
            continue;
        }
        assert_eq!(kind(&pieces), kind(&whole), "cuts: {cuts:?}");
    }
});

/// An answer that opens has the proof in its head, and everything behind the head is left over.
fn check(expects: &Expectation, wire: &[u8], whole: &Outcome, limits: &Limits) {
    let sizes = HeadLimits { bytes: limits.max_head, headers: limits.max_headers };
    match expects.check(&wire[..wire.len().min(limits.max_head)], sizes) {
        Ok(Some(len)) => {
            let (head, rest) = wire.split_at(len);
            assert!(head.starts_with(b"HTTP/1.") && head.ends_with(b"\n"));
            let proof = frames::answer();
            let proof = &proof[proof.len() - 4 - 28..proof.len() - 4];
            assert!(head.windows(28).any(|w| w == proof), "opened without a proof");
            assert_eq!(whole.as_ref(), Some(&Ok(rest.to_vec())));
        }
        Ok(None) => assert!(whole.is_none(), "{whole:?}"),
        Err(error) => {
            assert_eq!(whole.as_ref(), Some(&Err(error.clone())));
            let text = error.to_string();
            assert!(!text.contains(char::is_control) && text.len() < 1000, "{text:?}");
        }
    }
}

/// Feeds an answer as the loop does.
fn told(expects: &Expectation, wire: &[u8], cuts: Cuts, limits: &Limits) -> Outcome {
    let (mut asking, mut hot) = (Asking::new(expects.clone()), Hot::new(1 << 14));
    let mut at = 0;
    for piece in cuts.pieces(wire, usize::MAX) {
        let end = at + piece.len();
        while at < end {
            let n = (end - at).min(asking.read_limit(limits));
            assert!(n > 0, "a read of nothing looks like the end");
            hot.fill(n).copy_from_slice(&wire[at..at + n]);
            hot.commit(n);
            at += n;
            if let Some(answer) = asking.on_bytes(&mut hot, limits) {
                return Some(answer.map(|()| [hot.input(), &wire[at..]].concat()));
            }
            assert!(hot.input().is_empty(), "it wants more and leaves some");
        }
    }
    None
}

/// What cuts may not change. A status is told with as much of its body as came with it, and what is
/// not HTTP is quoted as far as it came.
fn kind(outcome: &Outcome) -> Outcome {
    match outcome {
        Some(Err(ResponseError::Status { status, reason, .. })) => {
            let (status, reason) = (*status, reason.clone());
            Some(Err(ResponseError::Status { status, reason, detail: String::new() }))
        }
        Some(Err(ResponseError::NotHttp(_))) => Some(Err(ResponseError::NotHttp(String::new()))),
        other => other.clone(),
    }
}
