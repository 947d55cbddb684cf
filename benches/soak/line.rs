//! One line, or one message, of any length each way at the same time: what is never stored anywhere.
//!
//! ```text
//! client sends     one frame, then fragments     ->  target receives  a line, or a length and its bytes
//! client receives  fragments of one message      <-  target sends     the same
//! ```
//!
//! Two rounds: in the first the client's message is a single frame, whose header has the whole length; in
//! the second it has as many fragments as it has blocks. Under `length:varint` only the first can be, since
//! a fragmented message would have to be gathered.

use std::io::Read;
use std::thread;
use std::time::{Duration, Instant};

use ws_tcp_proxy::proto::frame::{FrameHeader, Opcode, Role, MAX_HEADER};
use ws_tcp_proxy::proto::mask::Mask;
use ws_tcp_proxy::proto::message::{Decoder, Step};

use crate::common::relay::varint;
use crate::common::stream::explain;
use crate::common::ws::reason;
use crate::common::{Random, Stream, Target, Ws};
use crate::ends::{spawn, Sum, Tally, READ};
use crate::script::fill;
use crate::{grouped, kb, start_proxy, BUFFER_SIZE, SLACK};

/// Bytes that are made at a time.
const BLOCK: usize = 256 << 10;

/// Between two looks at the memory.
const LOOK: Duration = Duration::from_millis(50);

/// What the stream's side is like.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    Lines,
    Varint,
}

impl Framing {
    pub fn named(name: &str) -> Option<Self> {
        [Self::Lines, Self::Varint].into_iter().find(|framing| framing.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Lines => "lines",
            Self::Varint => "length:varint",
        }
    }

    /// What stands in front of a message of `bytes`, and behind it.
    fn around(self, bytes: u64) -> (Vec<u8>, &'static [u8]) {
        match self {
            Self::Lines => (Vec::new(), b"\n"),
            Self::Varint => (varint(bytes), b""),
        }
    }
}

/// Runs it and prints what it took.
///
/// # Panics
/// If any end saw anything else than it should, or if the proxy kept more than its buffers.
pub fn run(bytes: u64, framing: Framing, seed: u64) {
    let target = Target::listen();
    // The client that has said its message answers no Pings.
    let quiet = ["--ping-interval", "0", "--close-timeout", "120s"];
    let arguments = [&["--framing", framing.name(), "--max-message", "0"], &quiet[..]].concat();
    let proxy = start_proxy(&target.endpoint, &arguments);
    let start = proxy.memory();
    println!("one message of {} bytes each way, --framing {}", grouped(bytes), framing.name());
    let rounds: &[u64] = match framing {
        Framing::Lines => &[bytes, BLOCK as u64],
        Framing::Varint => &[bytes],
    };
    for (round, &frame) in rounds.iter().enumerate() {
        let (began, ticks) = (Instant::now(), proxy.cpu_ticks());
        let client = Ws::open(Stream::tcp(proxy.port()), "/", &[]).into_stream();
        let far = target.accept();
        let (client_in, far_in) = (client.share(), far.share());
        let (last_of_client, last_of_far) = (client.share(), far.share());
        let seed = seed + 2 * round as u64;
        let ends = [
            spawn(round, "client sends", move || send_message(client, bytes, frame, seed)),
            spawn(round, "target receives", move || receive_stream(far_in, bytes, framing)),
            spawn(round, "target sends", move || send_stream(far, bytes, framing, seed + 1)),
            spawn(round, "client receives", move || receive_message(client_in)),
        ];
        while !ends.iter().all(thread::JoinHandle::is_finished) {
            let now = proxy.memory();
            assert!(now <= start + 2 * BUFFER_SIZE + SLACK, "RSS {} kB", kb(now));
            thread::sleep(LOOK);
        }
        let [said, heard, answered, got] =
            ends.map(|end| end.join().expect("a thread that panics ends the process"));
        assert_eq!(heard, said, "client to target");
        assert_eq!(got, answered, "target to client");
        close(last_of_client, last_of_far);
        let closed = &proxy.wait_for_closed(round + 1)[round];
        assert_eq!(closed.code, 1000, "code in the proxy's log");
        println!(
            "  client's frames of {}: {:.1} s, SHA-256 equal both ways, Close 1000; proxy CPU {:.3} s/GB",
            grouped(frame),
            began.elapsed().as_secs_f64(),
            (proxy.cpu_ticks() - ticks) as f64 / 100.0 / (2.0 * bytes as f64 / 1e9)
        );
    }
    println!("  seed {seed}; RSS kB: start {}, peak {}", kb(start), kb(proxy.peak_memory()));
}

/// The closing handshake, begun by the client; both ends hear the end, and nothing before it.
fn close(mut client: Stream, mut far: Stream) {
    let payload = reason(1000, b"");
    let mut frame = header(true, Opcode::Close, [0; 4], payload.len() as u64);
    frame.extend(&payload);
    client.send(&frame);
    assert_eq!(read(&mut far, &mut [0]), 0, "bytes behind the message");
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap_or_else(|error| panic!("{}", explain(&error)));
    assert_eq!(answer, [&[0x88, 2], &payload[..]].concat(), "the Close that answers ours, and FIN");
}

/// One message in frames of at most `frame` bytes.
fn send_message(mut stream: Stream, bytes: u64, frame: u64, seed: u64) -> Sum {
    let (mut said, mut random) = (Tally::default(), Random::new(seed));
    let (mut block, mut left_of_frame, mut mask) = (vec![0; BLOCK], 0, Mask::default());
    while said.bytes < bytes {
        if left_of_frame == 0 {
            let left = bytes - said.bytes;
            left_of_frame = left.min(frame);
            let opcode = if said.bytes == 0 { Opcode::Binary } else { Opcode::Continuation };
            let key = (random.number() as u32).to_be_bytes();
            stream.send(&header(left_of_frame == left, opcode, key, left_of_frame));
            mask = Mask::new(key);
        }
        let piece = some(&mut random, &mut block, left_of_frame);
        said.add(piece);
        left_of_frame -= piece.len() as u64;
        mask.apply(piece);
        stream.send(piece);
    }
    said.finish()
}

fn header(fin: bool, opcode: Opcode, key: [u8; 4], payload_len: u64) -> Vec<u8> {
    let mut head = [0; MAX_HEADER];
    let len = FrameHeader { fin, opcode, mask: Some(key), payload_len }.encode(&mut head);
    head[..len].to_vec()
}

fn send_stream(mut stream: Stream, bytes: u64, framing: Framing, seed: u64) -> Sum {
    let (mut said, mut random) = (Tally::default(), Random::new(seed));
    let (before, behind) = framing.around(bytes);
    let mut block = vec![0; BLOCK];
    stream.send(&before);
    while said.bytes < bytes {
        let piece = some(&mut random, &mut block, bytes - said.bytes);
        said.add(piece);
        stream.send(piece);
    }
    stream.send(behind);
    said.finish()
}

/// At most `most` random bytes, none of which ends a line.
fn some<'a>(random: &mut Random, block: &'a mut [u8], most: u64) -> &'a mut [u8] {
    let len = usize::try_from(most).map_or(block.len(), |most| most.min(block.len()));
    let piece = &mut block[..len];
    fill(random, piece);
    piece.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b' ');
    piece
}

/// One message as the stream has it.
fn receive_stream(mut stream: Stream, bytes: u64, framing: Framing) -> Sum {
    let (before, behind) = framing.around(bytes);
    let mut received = Tally::default();
    let mut buffer = vec![0; READ];
    let mut head = vec![0; before.len()];
    exactly(&mut stream, &mut head);
    assert_eq!(head, before, "what stands before the message");
    while received.bytes < bytes {
        let most = usize::try_from(bytes - received.bytes).map_or(READ, |left| left.min(READ));
        let n = read(&mut stream, &mut buffer[..most]);
        assert!(n > 0, "FIN after {} bytes", received.bytes);
        received.add(&buffer[..n]);
    }
    let mut tail = vec![0; behind.len()];
    exactly(&mut stream, &mut tail);
    assert_eq!(tail, behind, "what stands behind the message");
    received.finish()
}

/// One message, whatever its fragments.
fn receive_message(mut stream: Stream) -> Sum {
    let mut decoder = Decoder::new(Role::Client, 0);
    let mut received = Tally::default();
    let mut buffer = vec![0; READ];
    loop {
        let n = read(&mut stream, &mut buffer);
        assert!(n > 0, "FIN without Close after {} bytes", received.bytes);
        let mut wire = &buffer[..n];
        while !wire.is_empty() {
            let (used, step) = decoder.next(wire).expect("the proxy's frames follow the RFC");
            wire = &wire[used..];
            match step {
                None => {}
                Some(Step::Payload(piece)) => {
                    assert_eq!(piece.begins, received.bytes == 0, "one message");
                    received.add(&wire[..piece.len]);
                    wire = &wire[piece.len..];
                    if piece.ends {
                        assert!(wire.is_empty(), "{} bytes behind the message", wire.len());
                        return received.finish();
                    }
                }
                Some(Step::Control(Opcode::Close)) => {
                    panic!("Close after {} bytes: {:?}", received.bytes, decoder.control());
                }
                // The proxy may ask whether we are there; what we send shows it.
                Some(Step::Control(_)) => {}
            }
        }
    }
}

fn exactly(stream: &mut Stream, mut room: &mut [u8]) {
    while !room.is_empty() {
        let n = read(stream, room);
        assert!(n > 0, "FIN {} bytes too early", room.len());
        room = &mut room[n..];
    }
}

fn read(stream: &mut Stream, room: &mut [u8]) -> usize {
    stream.read(room).unwrap_or_else(|error| panic!("{}", explain(&error)))
}
