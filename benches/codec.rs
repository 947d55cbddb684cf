//! The codec in memory: masking, decoding and encoding, beside tungstenite and fastwebsockets.
//!
//! ```text
//! cargo bench --bench codec                        everything, about a minute and a half
//! cargo bench --bench codec -- "decode 64 B"       the rows whose names match
//! ```
//!
//! No socket is involved: a [`Memory`] stands for it, and copies wire bytes into the reader's
//! buffer as recv(2) would, so that each codec works on fresh bytes and pays for the same copy.
//! What is written goes nowhere. Each row is checked once, before it is measured, against payload
//! that the byte loop of RFC 6455 §5.3 has masked.
//!
//! Payload counts, headers do not: frames are `elem`, and of 64-byte frames 1 Melem/s is 64 MB/s.
//!
//! Peers are set up to their advantage: tungstenite gets a read buffer as large as ours,
//! fastwebsockets is polled once per pass over the wire, and neither has to join the payloads of many
//! frames for one write, as ours does.

use std::future::Future;
use std::hint::black_box;
use std::io::{self, IoSlice, Read, Write};
use std::pin::{pin, Pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use criterion::{criterion_group, criterion_main, Criterion, Throughput};
use fastwebsockets::{Frame, Payload};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tungstenite::protocol::WebSocketConfig;
use tungstenite::Message;

use ws_tcp_proxy::buf::hot::Hot;
use ws_tcp_proxy::net::sys;
use ws_tcp_proxy::proto::frame::{FrameHeader, Opcode, Role, MAX_HEADER};
use ws_tcp_proxy::proto::mask::{Keys, Mask};
use ws_tcp_proxy::session::{Options, Session, Stop};

/// What the proxy reads at a time, unless told otherwise.
const HOT: usize = 256 << 10;

/// Bytes on the wire per pass: several reads, and little enough for a second-level cache.
const WIRE: usize = 1 << 20;

const SMALL: usize = 64;
const LARGE: usize = 16 << 10;
const SIZES: [(usize, &str); 2] = [(SMALL, "64 B"), (LARGE, "16 KiB")];

criterion_group! {
    name = codec;
    config = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(2))
        .without_plots();
    targets = mask, decode, encode
}
criterion_main!(codec);

fn mask(c: &mut Criterion) {
    let key = [0x37, 0xfa, 0x21, 0x3d];
    let plain = payload(0, LARGE);
    let masked = masked_by_bytes(&plain, key);
    let mut group = c.benchmark_group("mask 16 KiB");
    group.throughput(Throughput::Bytes(LARGE as u64));

    let mut bytes = masked.clone();
    Mask::new(key).apply(&mut bytes);
    assert!(bytes == plain);
    group.bench_function("in place", |b| {
        b.iter(|| Mask::new(black_box(key)).apply(black_box(&mut bytes)));
    });

    let mut gap = vec![0; 8];
    gap.extend(&masked);
    Mask::new(key).apply_moving(&mut gap, 8, 0, LARGE);
    assert!(gap[..LARGE] == plain);
    group.bench_function("moving by 8 bytes", |b| {
        b.iter(|| Mask::new(black_box(key)).apply_moving(black_box(&mut gap), 8, 0, LARGE));
    });

    group.bench_function("plain memcpy, for scale", |b| {
        b.iter(|| black_box(&mut bytes).copy_from_slice(black_box(&plain)));
    });
}

fn decode(c: &mut Criterion) {
    for (size, name) in SIZES {
        let wire = Wire::new(size);
        let mut group = c.benchmark_group(format!("decode {name}"));
        group.throughput(throughput(size, wire.frames));

        let mut ours = Ours::new(Role::Server);
        let mut memory = Memory::new(&wire.bytes);
        wire.check(|keep| ours.decode(&mut memory, keep));
        group.bench_function("ours", |b| {
            b.iter(|| ours.decode(&mut memory, |bytes| _ = black_box(bytes)));
        });

        let mut ws = tungstenite(tungstenite::protocol::Role::Server, &wire.bytes);
        wire.check(|keep| read_tungstenite(&mut ws, wire.frames, keep));
        group.bench_function("tungstenite", |b| {
            b.iter(|| read_tungstenite(&mut ws, wire.frames, |bytes| _ = black_box(bytes)));
        });

        let mut ws = fastwebsockets(fastwebsockets::Role::Server, &wire.bytes);
        let waker = waker();
        wire.check(|keep| read_fastwebsockets(&mut ws, wire.frames, &waker, keep));
        group.bench_function("fastwebsockets", |b| {
            b.iter(|| {
                read_fastwebsockets(&mut ws, wire.frames, &waker, |bytes| _ = black_box(bytes));
            });
        });
    }
}

fn encode(c: &mut Criterion) {
    for (size, name) in SIZES {
        for role in [Role::Server, Role::Client] {
            encode_in_role(c, role, size, name);
        }
    }
}

fn encode_in_role(c: &mut Criterion, role: Role, size: usize, name: &str) {
    let payload = payload(0, size);
    let (who, their_role, fast_role) = match role {
        Role::Server => {
            ("server", tungstenite::protocol::Role::Server, fastwebsockets::Role::Server)
        }
        Role::Client => {
            ("client", tungstenite::protocol::Role::Client, fastwebsockets::Role::Client)
        }
    };
    let mut group = c.benchmark_group(format!("encode {name} as {who}"));
    group.throughput(throughput(size, 1));

    let mut ours = Ours::new(role);
    check_frame(role, &payload, ours.encode(&payload));
    group.bench_function("ours", |b| b.iter(|| _ = black_box(ours.encode(black_box(&payload)))));

    let mut ws = tungstenite(their_role, &[]);
    ws.get_mut().kept = Some(Vec::new());
    write_tungstenite(&mut ws, &payload);
    check_frame(role, &payload, &ws.get_mut().kept.take().unwrap_or_default());
    group.bench_function("tungstenite", |b| {
        b.iter(|| write_tungstenite(&mut ws, black_box(&payload)));
    });

    let waker = waker();
    let mut copy = vec![0; size];
    let mut memory = Memory::new(&[]);
    memory.kept = Some(Vec::new());
    let mut ws = fastwebsockets::WebSocket::after_handshake(memory, fast_role);
    write_fastwebsockets(&mut ws, &payload, &mut copy, &waker);
    check_frame(role, &payload, &ws.into_inner().kept.unwrap_or_default());
    let mut ws = fastwebsockets(fast_role, &[]);
    group.bench_function("fastwebsockets", |b| {
        b.iter(|| write_fastwebsockets(&mut ws, black_box(&payload), &mut copy, &waker));
    });
}

fn throughput(size: usize, frames: usize) -> Throughput {
    match size {
        SMALL => Throughput::Elements(frames as u64),
        _ => Throughput::Bytes((size * frames) as u64),
    }
}

/// An endpoint of ours, and what the loop lends it.
struct Ours {
    session: Session,
    hot: Hot,
    keys: Keys,
}

impl Ours {
    fn new(role: Role) -> Self {
        Self {
            session: Session::new(role, Options::default()),
            hot: Hot::new(HOT),
            keys: Keys::new(sys::entropy),
        }
    }

    /// One pass over the wire, as the loop does it; `each` is the write of one read's payload.
    fn decode(&mut self, memory: &mut Memory, mut each: impl FnMut(&[u8])) {
        let mut left = memory.wire.len();
        while left > 0 {
            let n = memory.take(self.hot.fill(HOT));
            self.hot.commit(n);
            left -= n;
            let stop = self.session.decode(&mut self.hot, &mut self.keys, &mut 0);
            assert_eq!(stop, Ok(Stop::Drained));
            each(self.hot.output());
        }
    }

    /// One message out of one read; the bytes to be sent.
    fn encode(&mut self, payload: &[u8]) -> &[u8] {
        self.hot.fill(payload.len()).copy_from_slice(payload);
        self.hot.commit(payload.len());
        self.hot.pass_all();
        let done = self.session.encode(&mut self.hot, &mut self.keys);
        assert_eq!(done, Ok(()));
        self.hot.output()
    }
}

type Tungstenite<'a> = tungstenite::WebSocket<Memory<'a>>;

fn tungstenite(role: tungstenite::protocol::Role, wire: &[u8]) -> Tungstenite<'_> {
    let config = WebSocketConfig::default().read_buffer_size(HOT);
    tungstenite::WebSocket::from_raw_socket(Memory::new(wire), role, Some(config))
}

fn read_tungstenite(ws: &mut Tungstenite, frames: usize, mut each: impl FnMut(&[u8])) {
    for _ in 0..frames {
        match ws.read() {
            Ok(Message::Binary(bytes)) => each(&bytes),
            other => panic!("{other:?}"),
        }
    }
}

fn write_tungstenite(ws: &mut Tungstenite, payload: &[u8]) {
    ws.send(Message::binary(payload.to_vec())).expect("memory takes everything");
}

type Fastwebsockets<'a> = fastwebsockets::WebSocket<Memory<'a>>;

fn fastwebsockets(role: fastwebsockets::Role, wire: &[u8]) -> Fastwebsockets<'_> {
    fastwebsockets::WebSocket::after_handshake(Memory::new(wire), role)
}

fn read_fastwebsockets(
    ws: &mut Fastwebsockets,
    frames: usize,
    waker: &Waker,
    mut each: impl FnMut(&[u8]),
) {
    ready(waker, async {
        for _ in 0..frames {
            match ws.read_frame().await {
                Ok(frame) => each(&frame.payload),
                Err(e) => panic!("{e}"),
            }
        }
    });
}

fn write_fastwebsockets(ws: &mut Fastwebsockets, payload: &[u8], copy: &mut [u8], waker: &Waker) {
    copy.copy_from_slice(payload);
    let frame = Frame::binary(Payload::BorrowedMut(copy));
    ready(waker, ws.write_frame(frame)).expect("memory takes everything");
}

/// Polls a future that never has to wait.
fn ready<F: Future>(waker: &Waker, future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(waker)) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("memory is always ready"),
    }
}

fn waker() -> Waker {
    struct Nobody;

    impl Wake for Nobody {
        fn wake(self: Arc<Self>) {}
    }

    Waker::from(Arc::new(Nobody))
}

/// A peer's stream that repeats itself, and swallows what is said to it.
struct Memory<'a> {
    wire: &'a [u8],
    at: usize,
    /// What was written, if somebody wants to see it.
    kept: Option<Vec<u8>>,
}

impl<'a> Memory<'a> {
    fn new(wire: &'a [u8]) -> Self {
        Self { wire, at: 0, kept: None }
    }

    /// As much as fits, up to the end of the wire; then from its start.
    fn take(&mut self, into: &mut [u8]) -> usize {
        let n = into.len().min(self.wire.len() - self.at);
        into[..n].copy_from_slice(&self.wire[self.at..self.at + n]);
        self.at = (self.at + n) % self.wire.len();
        n
    }

    fn swallow(&mut self, bytes: &[u8]) -> usize {
        if let Some(kept) = &mut self.kept {
            kept.extend(bytes);
        }
        black_box(bytes).len()
    }
}

impl Read for Memory<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        Ok(self.take(into))
    }
}

impl Write for Memory<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(self.swallow(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for Memory<'_> {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context,
        into: &mut ReadBuf,
    ) -> Poll<io::Result<()>> {
        let memory = self.get_mut();
        let n = into.remaining().min(memory.wire.len() - memory.at);
        into.put_slice(&memory.wire[memory.at..memory.at + n]);
        memory.at = (memory.at + n) % memory.wire.len();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Memory<'_> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(self.get_mut().swallow(bytes)))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context,
        slices: &[IoSlice],
    ) -> Poll<io::Result<usize>> {
        let memory = self.get_mut();
        Poll::Ready(Ok(slices.iter().map(|slice| memory.swallow(slice)).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Masked binary frames of one size, each with a key of its own.
struct Wire {
    bytes: Vec<u8>,
    payload: Vec<u8>,
    frames: usize,
}

impl Wire {
    fn new(size: usize) -> Self {
        let mut wire = Self { bytes: Vec::new(), payload: Vec::new(), frames: 0 };
        while wire.bytes.len() < WIRE {
            let key = (wire.frames as u32).wrapping_mul(0x9e37_79b9).to_ne_bytes();
            let payload = payload(wire.payload.len(), size);
            let payload_len = size as u64;
            let header =
                FrameHeader { fin: true, opcode: Opcode::Binary, mask: Some(key), payload_len };
            let mut head = [0; MAX_HEADER];
            let len = header.encode(&mut head);
            wire.bytes.extend(&head[..len]);
            wire.bytes.extend(masked_by_bytes(&payload, key));
            wire.payload.extend(payload);
            wire.frames += 1;
        }
        wire
    }

    /// One pass must bring the payload, however it is cut.
    fn check(&self, pass: impl FnOnce(&mut dyn FnMut(&[u8]))) {
        let mut came: Vec<u8> = Vec::new();
        pass(&mut |bytes| came.extend(bytes));
        assert!(came == self.payload, "the payload that came out is wrong");
    }
}

/// The frame holds this payload, masked if it comes from a client.
fn check_frame(role: Role, payload: &[u8], wire: &[u8]) {
    let (header, len) = FrameHeader::decode(wire).expect("valid").expect("whole");
    assert_eq!((header.fin, header.opcode), (true, Opcode::Binary));
    assert_eq!(header.mask.is_some(), role == Role::Client);
    assert!(masked_by_bytes(&wire[len..], header.mask.unwrap_or_default()) == payload);
}

/// `size` bytes of a stream that hardly repeats itself, from its byte `at`.
fn payload(at: usize, size: usize) -> Vec<u8> {
    (at..at + size).map(|i| (i ^ i >> 7 ^ i >> 13) as u8).collect()
}

fn masked_by_bytes(bytes: &[u8], key: [u8; 4]) -> Vec<u8> {
    bytes.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]).collect()
}
