//! Chunks: messages of any bytes deliver what the protobuf wire format says, whatever the cuts, and
//! what is packed comes back.
//!
//! ```text
//! input = role (1 byte), cuts (length, then lengths), then messages: shape (1), length (1), bytes
//! ```
//!
//! The shape says how many fragments a message has, whether a Ping stands between them, and whether
//! it says to be text, which is refused.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ws_tcp_proxy::buf::hot::Hot;
use ws_tcp_proxy::proto::encoding::{ChunkError, Encoding, MAX_PREFIX};
use ws_tcp_proxy::proto::frame::{FrameError, Opcode, Role};
use ws_tcp_proxy::proto::framing::Framing;
use ws_tcp_proxy::proto::mask::Keys;
use ws_tcp_proxy::proto::message::Kind;
use ws_tcp_proxy::session::{Options, Passing, Session, MAX_CONTROL_FRAME};
use ws_tcp_proxy_fuzz::chunk;
use ws_tcp_proxy_fuzz::cuts::Cuts;
use ws_tcp_proxy_fuzz::ear::{Ear, Said};
use ws_tcp_proxy_fuzz::frames;
use ws_tcp_proxy_fuzz::input::Input;
use ws_tcp_proxy_fuzz::receiver::{receive, Outcome};

const OPTIONS: Options = Options {
    encoding: Encoding::Chunk,
    text_lossy: false,
    framing: Framing::Raw,
    passing: Passing::Stream,
    max_message: 0,
    half_close: None,
};

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let role = input.pick(&[Role::Server, Role::Client]);
    let lengths = input.bytes();
    let stream = input.rest();
    let (wire, expected) = conversation(role, input);
    for cuts in [Cuts::Whole, Cuts::Bytes, Cuts::Lengths(lengths)] {
        assert_eq!(receive(role, OPTIONS, &wire, cuts), expected, "{cuts:?}");
        there_and_back(role, stream, cuts);
    }
});

/// What a peer says to an endpoint in `role`, and what must become of it.
fn conversation(role: Role, mut input: Input) -> (Vec<u8>, Outcome) {
    let (mut wire, mut expected) = (Vec::new(), Outcome::default());
    let mut key = 0x1234_5678u32;
    while !input.is_empty() && expected.end.is_none() {
        let shape = input.byte();
        let message = input.bytes();
        key = key.wrapping_mul(0x9e37_79b9) | 1;
        let mask = role.peer().masks().then_some(key.to_le_bytes());
        if shape & 0x80 != 0 {
            // As text it is refused, wherever it is looked at first.
            wire.extend(frames::frame(true, Opcode::Text, b"", mask));
            expected.end = Some(Err(FrameError::NotBinary));
            break;
        }
        let fragments = 1 + usize::from(shape & 0x03);
        let mut pings = Vec::new();
        let ping = || match shape & 0x04 {
            0 => Vec::new(),
            _ => {
                pings.push(vec![shape]);
                frames::frame(true, Opcode::Ping, &[shape], mask)
            }
        };
        wire.extend(frames::message(Opcode::Binary, message, fragments, ping, mask));
        let (bytes, flaw) = chunk::parse(message);
        expected.bytes.extend(bytes);
        expected.end = flaw.map(|flaw| Err(flaw.into()));
        if flaw.is_some() {
            // A Ping behind the flaw goes unheard.
            pings.truncate(pings_heard(message, fragments));
        }
        expected.pings.extend(pings);
    }
    (wire, expected)
}

/// How many fragments of a message are good, taken together: behind each of them stands a Ping.
fn pings_heard(message: &[u8], fragments: usize) -> usize {
    let size = message.len() / fragments + 1;
    let good = |n: &usize| {
        let (_, flaw) = chunk::parse(&message[..message.len().min(n * size)]);
        matches!(flaw, None | Some(ChunkError::CutOff))
    };
    (1..fragments).take_while(good).count()
}

/// A stream goes out in chunks, one for each read, a keepalive in between, and comes back.
fn there_and_back(role: Role, stream: &[u8], cuts: Cuts) {
    let mut session = Session::new(role, OPTIONS);
    let mut keys = Keys::new(|bytes| bytes.fill(0x55));
    let mut hot = Hot::new(64);
    let mut wire = Vec::new();
    let reads = cuts.pieces(stream, session.read_limit(hot.size()));
    for read in &reads {
        assert!(read.len() + MAX_PREFIX <= hot.size());
        hot.fill(read.len()).copy_from_slice(read);
        hot.commit(read.len());
        hot.pass_all();
        assert_eq!(session.encode(&mut hot, &mut keys), Ok(()));
        wire.extend_from_slice(hot.output());
        session.ping();
        let mut frame = [0; MAX_CONTROL_FRAME];
        let len = session.control(&mut frame, &mut keys).expect("a Ping is due");
        wire.extend_from_slice(&frame[..len]);
    }
    let mut ear = Ear::new(role.peer(), 0);
    ear.hear(&wire);
    let mut said = ear.said.iter();
    for read in &reads {
        for data in [read, &b""[..]] {
            let message = match said.next() {
                Some(Said::Message { kind: Kind::Binary, bytes, ended: true }) => bytes,
                other => panic!("no chunk but {other:?}"),
            };
            assert_eq!(chunk::parse(message), (data.to_vec(), None));
        }
        assert_eq!(said.next(), Some(&Said::Control(Opcode::Ping, Vec::new())));
    }
    assert_eq!(said.next(), None);
    let back = receive(role.peer(), OPTIONS, &wire, cuts);
    assert_eq!((&back.bytes[..], back.end), (stream, None));
}
