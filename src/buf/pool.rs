//! Lends rings under one ceiling for the whole process.
//!
//! Owns the account, not the storage: a ring is allocated at the size that is needed and freed
//! when it is given back, so that idle connections hold nothing.
//!
//! Reads shrink, down to [`FLOOR`], as the pool is lent out, so nothing that was read is ever
//! dropped and everyone moves. For that each connection's two directions have a floor reserved,
//! all together at most half of the ceiling:
//!
//! ```text
//! lent <= (ceiling - reserve) + 2 * FLOOR * connections
//! reserve = min(2 * FLOOR * connections, ceiling / 2)
//! ```
//!
//! which is the ceiling itself for up to `ceiling / 4 / FLOOR` connections: 4096 for 64 MiB.

use super::ring::Ring;

/// Bytes that each direction of a connection may always read, however full the pool is.
pub const FLOOR: usize = 4 << 10;

/// The lender.
#[derive(Debug)]
pub struct Pool {
    ceiling: usize,
    connections: usize,
    lent: usize,
}

impl Pool {
    /// A pool that lends at most [`Pool::worst_case`] of `ceiling` bytes.
    pub fn new(ceiling: usize) -> Self {
        Self { ceiling, connections: 0, lent: 0 }
    }

    /// The most that is ever lent to that many connections.
    pub fn worst_case(ceiling: usize, connections: usize) -> usize {
        let floors = connections.saturating_mul(2 * FLOOR);
        (ceiling - reserve(ceiling, connections)).saturating_add(floors)
    }

    /// Reserves the floor of one more connection; `false` if the ceiling is reached.
    pub fn admit(&mut self) -> bool {
        let fits = self.lent < self.ceiling;
        self.connections += usize::from(fits);
        fits
    }

    /// Takes back what [`Pool::admit`] reserved.
    pub fn dismiss(&mut self) {
        self.connections = self.connections.saturating_sub(1);
    }

    /// Bytes lent.
    pub fn lent(&self) -> usize {
        self.lent
    }

    /// How much may be read now, out of `wanted`, given that all of it may have to be kept.
    pub fn may_read(&self, wanted: usize) -> usize {
        let free =
            (self.ceiling - reserve(self.ceiling, self.connections)).saturating_sub(self.lent);
        wanted.min(free.max(FLOOR))
    }

    /// A ring that can hold `capacity` bytes.
    pub fn lend(&mut self, capacity: usize) -> Ring {
        self.lent += capacity;
        Ring::with_capacity(capacity)
    }

    /// Takes a ring's storage back.
    pub fn give_back(&mut self, ring: Ring) {
        self.lent -= ring.capacity();
    }
}

/// What is kept free for floors.
fn reserve(ceiling: usize, connections: usize) -> usize {
    connections.saturating_mul(2 * FLOOR).min(ceiling / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everybody reads as much as is allowed, and keeps all of it.
    fn fill(ceiling: usize, connections: usize) -> usize {
        let mut pool = Pool::new(ceiling);
        for _ in 0..connections {
            assert!(pool.admit());
        }
        let mut rings = Vec::new();
        for _ in 0..2 * connections {
            let n = pool.may_read(64 << 10);
            assert!(n >= FLOOR);
            rings.push(pool.lend(n));
        }
        let most = pool.lent();
        assert_eq!(pool.admit(), most < ceiling);
        rings.into_iter().for_each(|ring| pool.give_back(ring));
        assert_eq!(pool.lent(), 0);
        most
    }

    #[test]
    fn reads_shrink_to_the_floor_and_the_ceiling_holds() {
        let ceiling = 1 << 20;
        for connections in [1, 2, 10, 50, 64] {
            assert_eq!(Pool::worst_case(ceiling, connections), ceiling);
            assert!(fill(ceiling, connections) <= ceiling, "{connections}");
        }
        for connections in [65, 100, 1000] {
            let worst = Pool::worst_case(ceiling, connections);
            assert_eq!(worst, ceiling / 2 + connections * 2 * FLOOR);
            assert!(fill(ceiling, connections) <= worst, "{connections}");
        }
    }

    #[test]
    fn many_idle_connections_leave_long_reads_to_the_busy() {
        let mut pool = Pool::new(64 << 20);
        for _ in 0..100_000 {
            assert!(pool.admit());
        }
        assert_eq!(pool.may_read(256 << 10), 256 << 10);
    }
}
