//! What a soaking client says: random messages in random fragments, with control frames between.
//!
//! Owns the shape of the conversation and the account of Pings. Never touches a socket.

use std::collections::VecDeque;

use ws_tcp_proxy::proto::frame::{FrameHeader, Opcode, MAX_CONTROL_PAYLOAD, MAX_HEADER};
use ws_tcp_proxy::proto::mask::Mask;

use crate::common::Random;
use crate::ends::Tally;

/// A frame, and a write of the target, is at most this long.
pub const LONGEST: usize = 1 << 20;

/// A message ends when it is this long, below the proxy's `--max-message`.
const LONG_MESSAGE: usize = 8 << 20;

/// Where the form of a frame's length changes (RFC 6455 §5.2), and beside it.
const EDGES: [usize; 8] = [1, 124, 125, 126, 127, 65535, 65536, 65537];

/// The client's side of a conversation.
pub struct Script {
    random: Random,
    /// Payload bytes still to be said.
    left: u64,
    /// Bytes of the message under way.
    message: Option<usize>,
    /// What was said.
    pub said: Tally,
    pub frames: u64,
}

impl Script {
    /// A conversation of `bytes` of payload.
    pub fn new(seed: u64, bytes: u64) -> Self {
        let (random, said) = (Random::new(seed), Tally::default());
        Self { random, left: bytes, message: None, said, frames: 0 }
    }

    /// Whether all was said, in whole messages.
    pub fn is_over(&self) -> bool {
        self.left == 0 && self.message.is_none()
    }

    /// Appends a data frame to `wire`, with or without control frames before it.
    pub fn go_on(&mut self, wire: &mut Vec<u8>, pings: &mut Pings) {
        match self.random.below(256) {
            // More than the proxy answers one by one: the latest must win.
            0 => (0..40).for_each(|_| self.ping(wire, pings)),
            1..=63 => self.ping(wire, pings),
            64..=79 => self.pong_uncalled(wire),
            _ => {}
        }
        self.data(wire);
    }

    pub fn ping(&mut self, wire: &mut Vec<u8>, pings: &mut Pings) {
        let payload = self.control_payload();
        self.control(Opcode::Ping, &payload, wire);
        pings.on_sent(payload);
    }

    /// A control frame of any kind.
    pub fn control(&mut self, opcode: Opcode, payload: &[u8], wire: &mut Vec<u8>) {
        self.frame(true, opcode, payload.len(), wire, |_, _, room| room.copy_from_slice(payload));
    }

    /// A sign of life, which asks for nothing (§5.5.3).
    fn pong_uncalled(&mut self, wire: &mut Vec<u8>) {
        let payload = self.control_payload();
        self.control(Opcode::Pong, &payload, wire);
    }

    fn control_payload(&mut self) -> Vec<u8> {
        let mut payload = vec![0; self.random.below(MAX_CONTROL_PAYLOAD + 1)];
        fill(&mut self.random, &mut payload);
        payload
    }

    fn data(&mut self, wire: &mut Vec<u8>) {
        let len = length(&mut self.random).min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let opcode = if self.message.is_some() { Opcode::Continuation } else { Opcode::Binary };
        let message = self.message.unwrap_or(0) + len;
        let fin = message >= LONG_MESSAGE || self.random.below(3) > 0;
        self.message = (!fin).then_some(message);
        self.left -= len as u64;
        self.frame(fin, opcode, len, wire, |random, said, payload| {
            fill(random, payload);
            said.add(payload);
        });
    }

    fn frame(
        &mut self,
        fin: bool,
        opcode: Opcode,
        len: usize,
        wire: &mut Vec<u8>,
        write: impl FnOnce(&mut Random, &mut Tally, &mut [u8]),
    ) {
        let key = (self.random.number() as u32).to_be_bytes();
        let header = FrameHeader { fin, opcode, mask: Some(key), payload_len: len as u64 };
        let mut head = [0; MAX_HEADER];
        let head_len = header.encode(&mut head);
        wire.extend_from_slice(&head[..head_len]);
        let at = wire.len();
        wire.resize(at + len, 0);
        write(&mut self.random, &mut self.said, &mut wire[at..]);
        Mask::new(key).apply(&mut wire[at..]);
        self.frames += 1;
    }

    /// Heads or tails.
    pub fn toss(&mut self) -> bool {
        self.random.below(2) == 0
    }

    /// Where to cut what is sent: often within a frame, sometimes within a header.
    pub fn cut(&mut self, len: usize) -> usize {
        let most = if self.random.below(4) == 0 { 16 } else { len };
        1 + self.random.below(most.min(len))
    }
}

/// The length of a frame or a write: mostly small, often at an edge, seldom up to [`LONGEST`].
pub fn length(random: &mut Random) -> usize {
    match random.below(16) {
        0 => 0,
        1..=5 => random.below(126),
        6..=8 => EDGES[random.below(EDGES.len())],
        9..=13 => random.below(5_000),
        14 => random.below(2 * 65_536),
        _ => random.below(LONGEST + 1),
    }
}

/// Random bytes.
pub fn fill(random: &mut Random, bytes: &mut [u8]) {
    let mut words = bytes.chunks_exact_mut(8);
    for word in &mut words {
        word.copy_from_slice(&random.number().to_le_bytes());
    }
    let rest = words.into_remainder();
    rest.copy_from_slice(&random.number().to_le_bytes()[..rest.len()]);
}

/// The account of Pings: each Pong answers one of them in their order, and what was sent before
/// that one is superseded (RFC 6455 §5.5.3).
#[derive(Default)]
pub struct Pings {
    waiting: VecDeque<Vec<u8>>,
    pub answered: u64,
    pub superseded: u64,
}

impl Pings {
    fn on_sent(&mut self, payload: Vec<u8>) {
        self.waiting.push_back(payload);
    }

    /// # Panics
    /// If no Ping that waits has this payload.
    pub fn on_pong(&mut self, payload: &[u8]) {
        // Of equal ones the earliest, so that every other can still be answered.
        let Some(earlier) = self.waiting.iter().position(|ping| ping == payload) else {
            panic!(
                "a Pong that answers none of {} Pings: {}",
                self.waiting.len(),
                payload.escape_ascii()
            );
        };
        self.waiting.drain(..=earlier);
        self.answered += 1;
        self.superseded += earlier as u64;
    }

    /// Whether the latest is answered.
    pub fn is_settled(&self) -> bool {
        self.waiting.is_empty()
    }
}
