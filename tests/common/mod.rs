//! What the black-box tests lean on: the proxy as a child process, a target, both WebSocket ends.
//!
//! Every wait is for an event (bytes, the end of a stream, a log line, an exit) and fails the test
//! after [`PATIENCE`] with a message that says what was awaited. Client and server are written from
//! RFC 6455 alone and share no code with the crate, so that a mistake there cannot hide here.

#![allow(dead_code, unused_imports)] // each test file uses the part it needs

use std::time::Duration;

pub mod file;
pub mod frame;
pub mod http;
pub mod proxy;
pub mod relay;
pub mod secret;
pub mod server;
pub mod socket;
pub mod stream;
pub mod sys;
pub mod target;
pub mod ws;

pub use file::{TempDir, TempFile};
pub use frame::{frame, BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, TEXT};
pub use http::Response;
pub use proxy::Proxy;
pub use server::{Asked, Served};
pub use stream::{Stream, Wait};
pub use target::Target;
pub use ws::Ws;

/// How long any single wait may take before the test fails. Far beyond what any event needs, and
/// below the proxy's default ping interval, so that no Ping comes uncalled.
pub const PATIENCE: Duration = Duration::from_secs(25);

/// One proxy with these further arguments, and the target that it dials.
pub fn bridge(arguments: &[&str]) -> (Proxy, Target) {
    let target = Target::listen();
    let proxy = Proxy::to(&target.endpoint, arguments);
    (proxy, target)
}

/// One connection through the proxy: the peer and the target's end of it.
pub fn connect(proxy: &Proxy, target: &Target) -> (Ws, Stream) {
    (Ws::connect(proxy), target.accept())
}

/// Like [`bridge`] and [`connect`], with so little room in the kernel that a reader who stops is
/// felt by the proxy after some hundred KiB.
pub fn narrow_bridge(arguments: &[&str]) -> (Proxy, Target) {
    let target = Target::listen_narrow();
    let proxy = Proxy::to(&target.endpoint, arguments);
    (proxy, target)
}

pub fn connect_narrow(proxy: &Proxy, target: &Target) -> (Ws, Stream) {
    let peer = Ws::open(Stream::tcp_narrow(proxy.port()), "/", &[]);
    (peer, target.accept())
}

/// Both ends send at once, `near` what goes `there`, and read what the other one sends.
#[track_caller]
pub fn both_ways(near: &mut Stream, far: &mut Stream, there: &[u8], back: &[u8]) {
    let (mut near_writer, mut far_writer) = (near.share(), far.share());
    std::thread::scope(|scope| {
        scope.spawn(|| near_writer.send(there));
        scope.spawn(|| far_writer.send(back));
        scope.spawn(|| assert_same(&far.receive(there.len()), there));
        assert_same(&near.receive(back.len()), back);
    });
}

/// A few bytes there and back.
#[track_caller]
pub fn carries(near: &mut Stream, far: &mut Stream) {
    near.send(b"there");
    assert_eq!(far.receive(5), b"there");
    far.send(b"back");
    assert_eq!(near.receive(4), b"back");
}

/// Bytes that look random and are the same for the same `seed`.
pub fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&random.number().to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Text of characters of one to four bytes, about `len` bytes of it and the same for the same `seed`.
pub fn text_pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut text = String::with_capacity(len + 4);
    while text.len() < len {
        text.push(['a', '\n', 'ß', '€', '\u{10348}'][random.below(5)]);
    }
    text.into_bytes()
}

/// Fails with the first difference, not with megabytes of debug output.
#[track_caller]
pub fn assert_same(got: &[u8], wanted: &[u8]) {
    if got == wanted {
        return;
    }
    let at = got.iter().zip(wanted).take_while(|(g, w)| g == w).count();
    let part = |bytes: &[u8]| format!("{:02x?}", &bytes[at..bytes.len().min(at + 16)]);
    panic!(
        "{} bytes instead of {}, different from {at} on: {} instead of {}",
        got.len(),
        wanted.len(),
        part(got),
        part(wanted)
    );
}

/// The xorshift64* generator: repeatable from its seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.number() >> 16) as usize % limit
    }

    /// A length that is often tiny, sometimes at an edge of the frame format, seldom large.
    pub fn size(&mut self) -> usize {
        match self.below(8) {
            0 => self.below(4),
            1 => 124 + self.below(4),
            2 => 65533 + self.below(6),
            3 => self.below(300_000),
            _ => self.below(5000),
        }
    }
}
