//! The ends of a stream that carries bulk: what they say, how fast they read, and their account of it.

use std::io::Read;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::common::stream::explain;
use crate::common::{Random, Stream};
use crate::pairs::Plan;
use crate::script::{fill, length, LONGEST};

/// Bytes of a read at full speed, at most.
pub const READ: usize = 256 << 10;

/// Reads of a single byte in a row, and the pause before each: long enough for every buffer behind
/// the reader to get full.
const DRIBBLE: u32 = 20_000;
const PAUSE: Duration = Duration::from_micros(50);

/// Bytes that passed one end in one direction.
#[derive(Default)]
pub struct Tally {
    pub bytes: u64,
    sha256: Sha256,
}

impl Tally {
    pub fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.sha256.update(bytes);
    }

    pub fn finish(self) -> Sum {
        Sum { bytes: self.bytes, sha256: format!("{:x}", self.sha256.finalize()) }
    }
}

/// What a finished [`Tally`] comes to.
#[derive(Debug, PartialEq, Eq)]
pub struct Sum {
    pub bytes: u64,
    sha256: String,
}

/// A thread that says in a panic which end it is.
pub fn spawn<T: Send + 'static>(
    pair: usize,
    end: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    let thread = thread::Builder::new().name(format!("pair {pair}, {end}"));
    thread.spawn(work).expect("start a thread")
}

/// Goes on until `bytes` were sent in all.
pub fn send_bytes(stream: &mut Stream, sent: &mut Tally, bytes: u64, random: &mut Random) {
    let mut buffer = vec![0; LONGEST];
    while sent.bytes < bytes {
        let left = usize::try_from(bytes - sent.bytes).unwrap_or(usize::MAX);
        let piece = &mut buffer[..length(random).min(left)];
        fill(random, piece);
        sent.add(piece);
        stream.send(piece);
    }
}

/// All that comes before FIN.
pub fn receive_bytes(mut stream: Stream, mut pace: Pace) -> Sum {
    let mut received = Tally::default();
    let mut buffer = vec![0; READ];
    loop {
        match pace.read(&mut stream, &mut buffer) {
            0 => return received.finish(),
            n => received.add(&buffer[..n]),
        }
    }
}

/// How much each read takes: any number of bytes at full speed, one where it dribbles.
pub struct Pace {
    random: Random,
    /// Bytes after which to dribble, the next one last.
    dribbles: Vec<u64>,
    /// Single bytes still to be read.
    single: u32,
    read: u64,
}

impl Pace {
    pub fn new(plan: Plan, seed: u64) -> Self {
        let dribbles = if plan.dribble { vec![plan.bytes / 2, 0] } else { Vec::new() };
        Self { random: Random::new(seed), dribbles, single: 0, read: 0 }
    }

    /// One read, 0 at FIN.
    ///
    /// # Panics
    /// If the stream was reset, or nothing comes for [`PATIENCE`].
    pub fn read(&mut self, stream: &mut Stream, buffer: &mut [u8]) -> usize {
        if self.dribbles.last().is_some_and(|at| *at <= self.read) {
            self.dribbles.pop();
            self.single = DRIBBLE;
        }
        let most = if self.single > 0 {
            self.single -= 1;
            thread::sleep(PAUSE);
            1
        } else {
            1 + self.random.below(buffer.len())
        };
        let outcome = stream.read(&mut buffer[..most]);
        let n = outcome.unwrap_or_else(|e| panic!("after {} bytes: {}", self.read, explain(&e)));
        self.read += n as u64;
        n
    }
}
