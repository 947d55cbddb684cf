//! Lends rings under one ceiling for the whole process.
//!
//! Owns the account, not the storage: a ring is allocated at the size that is needed and freed
//! when it is given back, so that idle connections hold nothing.
//!
//! Reads shrink, down to [`FLOOR`], as the pool is lent out, so nothing that was read is ever
//! dropped and everyone moves. For that a floor is reserved for each direction of every connection
//! there may be, all together at most half of the ceiling:
//!
//! ```text
//! lent <= (ceiling - reserve) + 2 * (FLOOR + SLACK) * connections
//! reserve = min(2 * (FLOOR + SLACK) * most connections, ceiling / 2)
//! ```
//!
//! which is the ceiling itself as long as all the floors fit in half of it: for 64 MiB up to some
//! 3900 connections.

use super::ring::Ring;

/// Bytes that each direction of a connection may always read, however full the pool is.
pub const FLOOR: usize = 4 << 10;

/// Bytes that may come on top of what was read: a header and a prefix behind it, or what goes out at
/// once between two frames, one control frame at most or a keepalive and a Ping (RFC 6455 §5.2).
const SLACK: usize = 160;

/// Bytes that must have been lent at once for their return to be worth a walk through the heap.
const MUCH: usize = 1 << 20;

/// The lender.
#[derive(Debug)]
pub struct Pool {
    ceiling: usize,
    /// `reserve <= ceiling / 2`
    reserve: usize,
    lent: usize,
    /// The most lent since [`Pool::has_calmed`] last said so.
    peak: usize,
}

impl Pool {
    /// A pool that lends at most [`Pool::worst_case`] to at most that many connections.
    pub fn new(ceiling: usize, connections: usize) -> Self {
        Self { ceiling, reserve: floors(connections).min(ceiling / 2), lent: 0, peak: 0 }
    }

    /// The most that is ever lent to that many connections.
    pub fn worst_case(ceiling: usize, connections: usize) -> usize {
        let reserve = Self::new(ceiling, connections).reserve;
        (ceiling - reserve).saturating_add(floors(connections))
    }

    /// Whether the ceiling is reached: no time for another connection.
    pub fn is_full(&self) -> bool {
        self.lent >= self.ceiling
    }

    /// Bytes lent.
    pub fn lent(&self) -> usize {
        self.lent
    }

    /// How much may be read now, out of `wanted`, given that all of it may have to be kept.
    pub fn may_read(&self, wanted: usize) -> usize {
        let free = (self.ceiling - self.reserve).saturating_sub(self.lent + SLACK);
        wanted.min(free.max(FLOOR))
    }

    /// A ring that can hold `capacity` bytes.
    pub fn lend(&mut self, capacity: usize) -> Ring {
        self.lent += capacity;
        self.peak = self.peak.max(self.lent);
        Ring::with_capacity(capacity)
    }

    /// Takes account of bytes that were not lent but are kept all the same, and of such that are not
    /// kept any more. Says whether as much could have been lent: if not, some must go.
    pub fn settle(&mut self, taken: usize, returned: usize) -> bool {
        self.lent = (self.lent + taken).saturating_sub(returned);
        self.peak = self.peak.max(self.lent);
        self.lent <= self.ceiling - self.reserve
    }

    /// Makes a ring hold `capacity` bytes, which is more than before.
    pub fn extend(&mut self, ring: &mut Ring, capacity: usize) {
        self.lent += capacity - ring.capacity();
        self.peak = self.peak.max(self.lent);
        ring.grow(capacity);
    }

    /// Takes a ring's storage back.
    pub fn give_back(&mut self, ring: Ring) {
        self.lent -= ring.capacity();
    }

    /// Whether much was lent and most of it has come back: the allocator may still have it. Says so
    /// once for each burst.
    pub fn has_calmed(&mut self) -> bool {
        let calmed = self.peak > MUCH && self.lent < self.peak / 4;
        if calmed {
            self.peak = self.lent;
        }
        calmed
    }
}

/// What all directions of that many connections need.
fn floors(connections: usize) -> usize {
    connections.saturating_mul(2 * (FLOOR + SLACK))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everybody reads as much as is allowed, and keeps all of it and a control frame; those that
    /// come first read on before the others are there.
    fn fill(ceiling: usize, connections: usize) -> usize {
        let mut pool = Pool::new(ceiling, connections);
        let mut rings = Vec::new();
        for _ in 0..2 * connections {
            let n = pool.may_read(64 << 10);
            assert!(n >= FLOOR);
            rings.push(pool.lend(n + SLACK));
        }
        let most = pool.lent();
        assert_eq!(pool.is_full(), most >= ceiling);
        rings.into_iter().for_each(|ring| pool.give_back(ring));
        assert_eq!(pool.lent(), 0);
        most
    }

    #[test]
    fn reads_shrink_to_the_floor_and_the_ceiling_holds() {
        let ceiling = 1 << 20;
        for connections in [1, 2, 10, 50, 61] {
            assert_eq!(Pool::worst_case(ceiling, connections), ceiling);
            assert!(fill(ceiling, connections) <= ceiling, "{connections}");
        }
        for connections in [62, 100, 1000] {
            let worst = Pool::worst_case(ceiling, connections);
            assert_eq!(worst, ceiling / 2 + floors(connections));
            assert!(fill(ceiling, connections) <= worst, "{connections}");
        }
    }

    #[test]
    fn what_was_not_lent_counts_and_must_go_when_there_is_no_more() {
        let mut pool = Pool::new(64 << 10, 1);
        let most = 64 << 10;
        let reserve = 2 * (FLOOR + SLACK);
        assert!(pool.settle(most - reserve, 0));
        assert_eq!(pool.may_read(most), FLOOR);
        assert!(!pool.settle(1, 0));
        assert!(pool.settle(0, 1));
        let ring = Ring::holding(vec![7; most - reserve], 0);
        pool.give_back(ring);
        assert_eq!(pool.lent(), 0);
    }

    #[test]
    fn says_once_that_a_burst_is_over() {
        let mut pool = Pool::new(64 << 20, 10);
        let small = pool.lend(MUCH / 2);
        pool.give_back(small);
        assert!(!pool.has_calmed());
        let (much, rest) = (pool.lend(2 * MUCH), pool.lend(MUCH / 4));
        assert!(!pool.has_calmed());
        pool.give_back(much);
        assert!(pool.has_calmed());
        assert!(!pool.has_calmed());
        pool.give_back(rest);
    }

    #[test]
    fn many_idle_connections_leave_long_reads_to_the_busy() {
        let pool = Pool::new(64 << 20, 100_000);
        assert_eq!(pool.may_read(256 << 10), 256 << 10);
    }
}
