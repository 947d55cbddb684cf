//! Cuts do not matter: whole, byte by byte and at chosen cuts, the wire says the same.
//!
//! ```text
//! input = role (1 byte), message limit (1), cuts (length, then lengths), then the wire
//! ```
//!
//! Three floors are compared: the decoder, a session in front of a stream, and an echo.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ws_tcp_proxy::proto::encoding::Encoding;
use ws_tcp_proxy::proto::frame::{FrameError, Role};
use ws_tcp_proxy::session::{Options, Passing};
use ws_tcp_proxy_fuzz::cuts::Cuts;
use ws_tcp_proxy_fuzz::ear::{assert_begins, messages, Ear, Said};
use ws_tcp_proxy_fuzz::input::Input;
use ws_tcp_proxy_fuzz::receiver::{expected, receive};

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let role = input.pick(&[Role::Server, Role::Client]);
    let max_message = input.pick(&[0, 1 << 20, 300, 10]);
    let lengths = input.bytes();
    let wire = input.rest();
    let cuts = [Cuts::Whole, Cuts::Bytes, Cuts::Lengths(lengths)];

    let said = listen(Ear::new(role, max_message), wire, Cuts::Whole);
    for cuts in cuts {
        assert_eq!(listen(Ear::new(role, max_message), wire, cuts), said, "{cuts:?}");
    }
    for encoding in Encoding::ALL {
        let passing = Passing::Stream;
        let options = Options { encoding, passing, max_message, ..Options::default() };
        let outcome = expected(role, max_message, encoding, wire);
        for cuts in cuts {
            assert_eq!(receive(role, options, wire, cuts), outcome, "{encoding} {cuts:?}");
        }
    }
    for cuts in cuts {
        echo(role, max_message, wire, cuts);
    }
});

fn listen(mut ear: Ear, wire: &[u8], cuts: Cuts) -> Vec<Said> {
    for piece in cuts.pieces(wire, usize::MAX) {
        ear.hear(piece);
    }
    ear.said
}

/// The peer of an echo hears its own messages, up to the first that it got wrong.
fn echo(role: Role, max_message: u64, wire: &[u8], cuts: Cuts) {
    let (encoding, passing) = (Encoding::Text, Passing::Frames);
    let options = Options { encoding, passing, max_message, ..Options::default() };
    let outcome = receive(role, options, wire, cuts);
    let said = listen(Ear::until_close(role, max_message), wire, Cuts::Whole);
    let heard = listen(Ear::new(role.peer(), 0), &outcome.bytes, Cuts::Whole);
    assert!(!heard.iter().any(|said| matches!(said, Said::Error(_))), "{heard:?}");
    assert_begins(&said, &heard);
    if outcome.end != Some(Err(FrameError::NotUtf8)) {
        assert_eq!(messages(&heard), messages(&said), "{cuts:?}");
    }
    let plain = expected(role, max_message, encoding, wire);
    assert_eq!((outcome.pings, outcome.end), (plain.pings, plain.end), "{cuts:?}");
}
