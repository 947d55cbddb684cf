//! Lends rings under one ceiling for the whole process.
//!
//! Owns the account, not the storage: a ring is allocated at the size that is needed and freed
//! when it is given back, so that idle connections hold nothing.
//!
//! Every connection that is admitted reserves [`FLOOR`] for each of its two directions. Reads
//! shrink to that floor when the rest is lent out, so nothing that was read is ever dropped, and
//! the ceiling holds all the same:
//!
//! ```text
//! lent <= (ceiling - reserved) + 2 * FLOOR * admitted = ceiling
//! ```

use super::ring::Ring;

/// Bytes that each direction of a connection may always read, however full the pool is.
pub const FLOOR: usize = 4 << 10;

/// The lender.
#[derive(Debug)]
pub struct Pool {
    ceiling: usize,
    reserved: usize,
    lent: usize,
}

impl Pool {
    /// A pool that lends at most `ceiling` bytes.
    pub fn new(ceiling: usize) -> Self {
        Self { ceiling, reserved: 0, lent: 0 }
    }

    /// Reserves the floor of one more connection; `false` if the ceiling forbids it.
    pub fn admit(&mut self) -> bool {
        let fits = self.reserved + 2 * FLOOR <= self.ceiling;
        if fits {
            self.reserved += 2 * FLOOR;
        }
        fits
    }

    /// Takes back what [`Pool::admit`] reserved.
    pub fn dismiss(&mut self) {
        self.reserved = self.reserved.saturating_sub(2 * FLOOR);
    }

    /// Bytes lent.
    pub fn lent(&self) -> usize {
        self.lent
    }

    /// How much may be read now, out of `wanted`, given that all of it may have to be kept.
    pub fn may_read(&self, wanted: usize) -> usize {
        let free = self.ceiling.saturating_sub(self.reserved).saturating_sub(self.lent);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_shrink_to_the_floor_and_the_ceiling_holds() {
        let ceiling = 200 << 10;
        let mut pool = Pool::new(ceiling);
        let mut admitted = 0;
        while pool.admit() {
            admitted += 1;
        }
        assert_eq!(admitted, 25);
        for _ in 0..5 {
            pool.dismiss();
        }
        let mut rings = Vec::new();
        for _ in 0..2 * 20 {
            let n = pool.may_read(64 << 10);
            assert!(n >= FLOOR);
            rings.push(pool.lend(n));
            assert!(pool.lent() <= ceiling, "{}", pool.lent());
        }
        assert_eq!(pool.may_read(64 << 10), FLOOR);
        for ring in rings {
            pool.give_back(ring);
        }
        assert_eq!(pool.lent(), 0);
        assert_eq!(pool.may_read(16 << 10), 16 << 10);
    }
}
