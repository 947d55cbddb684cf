//! One direction of a connection, from a source to a sink.
//!
//! Owns the ring of what the sink has refused, and how much to read next. Never touches a leg.

use crate::buf::pool::Pool;
use crate::buf::ring::Ring;
use crate::proto::close::CloseCode;

/// Bytes that one read takes at first: a sink that never takes anything then costs little.
const SHORT_REACH: usize = 64 << 10;

/// Bytes that the sink must have taken, more than kernels commonly queue for a reader that does
/// not read, before reads use the whole hot buffer, which costs half the CPU per byte.
const TRUST: u32 = 8 << 20;

/// How far one direction has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// The source may still say something.
    Running,
    /// The source has ended; the ring is still to be delivered. What the sink's close will say.
    Ending(CloseCode),
    /// The source has ended and every byte was delivered.
    Drained,
    /// The sink is gone; what comes is dropped.
    Broken,
}

/// One direction.
#[derive(Debug)]
pub struct Pipe {
    ring: Option<Box<Ring>>,
    /// Payload bytes that the source has said.
    pub bytes: u64,
    /// Bytes that the sink has taken, up to [`TRUST`].
    taken: u32,
    /// How far it has come.
    pub flow: Flow,
}

impl Pipe {
    /// A direction that runs.
    pub fn new() -> Self {
        Self { ring: None, bytes: 0, taken: 0, flow: Flow::Running }
    }

    /// Whether the sink owes us nothing: only then may the source be read.
    #[inline]
    pub fn is_clear(&self) -> bool {
        self.ring.is_none()
    }

    /// How much to read at once, when `most` would fit.
    pub fn reach(&self, most: usize) -> usize {
        if self.taken < TRUST {
            most.min(SHORT_REACH)
        } else {
            most
        }
    }

    /// What waits for the sink, oldest first, in two runs.
    pub fn waiting(&self) -> (&[u8], &[u8]) {
        self.ring.as_deref().map_or((&[], &[]), Ring::slices)
    }

    /// Bytes that wait for the sink.
    pub fn waiting_len(&self) -> usize {
        self.ring.as_deref().map_or(0, Ring::len)
    }

    /// The sink took `n` bytes right away.
    #[inline]
    pub fn passed(&mut self, n: usize) {
        self.taken = self.taken.saturating_add(n as u32).min(TRUST);
    }

    /// The sink refused `bytes`: they wait behind what already does.
    pub fn keep(&mut self, bytes: &[u8], pool: &mut Pool) {
        if bytes.is_empty() {
            return;
        }
        let ring = self.ring.get_or_insert_with(|| Box::new(pool.lend(bytes.len())));
        let wanted = ring.len() + bytes.len();
        if wanted > ring.capacity() {
            pool.extend(ring, wanted);
        }
        ring.push(bytes);
    }

    /// What `ring` has waits behind what already does, in the same storage if that is nothing.
    pub fn adopt(&mut self, ring: Ring, pool: &mut Pool) {
        if self.is_clear() {
            self.ring = Some(Box::new(ring));
            return;
        }
        let (first, second) = ring.slices();
        self.keep(first, pool);
        self.keep(second, pool);
        pool.give_back(ring);
    }

    /// The sink took `n` of the bytes that wait. Says whether none are left.
    pub fn delivered(&mut self, n: usize, pool: &mut Pool) -> bool {
        match &mut self.ring {
            Some(ring) if n < ring.len() => {
                ring.consume(n);
                false
            }
            _ => {
                self.drop_waiting(pool);
                true
            }
        }
    }

    /// The source has ended; `code` is for the sink's close. A pipe that has come further stays.
    pub fn end(&mut self, code: CloseCode) {
        if self.flow == Flow::Running {
            self.flow = Flow::Ending(code);
        }
    }

    /// The sink is gone, and with it what waits.
    pub fn break_off(&mut self, pool: &mut Pool) {
        self.flow = Flow::Broken;
        self.drop_waiting(pool);
    }

    fn drop_waiting(&mut self, pool: &mut Pool) {
        if let Some(ring) = self.ring.take() {
            pool.give_back(*ring);
        }
    }
}

impl Default for Pipe {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(pipe: &Pipe) -> Vec<u8> {
        let (first, second) = pipe.waiting();
        [first, second].concat()
    }

    #[test]
    fn keeps_in_order_and_gives_the_storage_back() {
        let mut pool = Pool::new(1 << 20, 1);
        let mut pipe = Pipe::new();
        assert!(pipe.is_clear());
        pipe.keep(b"abc", &mut pool);
        pipe.keep(b"defg", &mut pool);
        assert!(!pipe.delivered(2, &mut pool));
        pipe.keep(b"h", &mut pool);
        assert_eq!(content(&pipe), b"cdefgh");
        assert!(!pipe.delivered(5, &mut pool));
        assert!(pipe.delivered(1, &mut pool));
        assert!(pipe.is_clear());
        assert_eq!(pool.lent(), 0);
        pipe.keep(b"lost", &mut pool);
        pipe.break_off(&mut pool);
        assert_eq!((pool.lent(), pipe.is_clear(), pipe.flow), (0, true, Flow::Broken));
    }

    #[test]
    fn reads_far_only_when_much_has_been_taken() {
        let mut pipe = Pipe::new();
        assert_eq!(pipe.reach(256 << 10), 64 << 10);
        assert_eq!(pipe.reach(4 << 10), 4 << 10);
        pipe.passed(TRUST as usize - 1);
        assert_eq!(pipe.reach(256 << 10), 64 << 10);
        pipe.passed(1);
        assert_eq!(pipe.reach(256 << 10), 256 << 10);
    }
}
