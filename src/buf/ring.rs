//! A FIFO of bytes in storage of its own: what one direction keeps while its sink refuses.
//!
//! ```text
//!        start          start + len (mod capacity)
//!          v                 v
//! [ free  | wwwwwwwwwwwwwwwww | free ]      len <= capacity, start < capacity
//! ```

/// Bytes that wait, oldest first.
#[derive(Debug)]
pub struct Ring {
    storage: Box<[u8]>,
    /// `start < storage.len()`, or 0 without storage.
    start: usize,
    /// `len <= storage.len()`
    len: usize,
}

impl Ring {
    /// An empty ring that can hold `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { storage: vec![0; capacity].into_boxed_slice(), start: 0, len: 0 }
    }

    /// A ring that holds `bytes` from the index `from` on, in the storage where they are.
    pub fn holding(bytes: Vec<u8>, from: usize) -> Self {
        let len = bytes.len().saturating_sub(from);
        let start = if len == 0 { 0 } else { from };
        Self { storage: bytes.into_boxed_slice(), start, len }
    }

    /// Makes it hold `capacity` bytes, which is more than before: in the storage where it is, if the
    /// allocator can make that longer, so that what is long is not there twice.
    pub fn grow(&mut self, capacity: usize) {
        let old = self.capacity();
        let mut storage = std::mem::take(&mut self.storage).into_vec();
        storage.reserve_exact(capacity.saturating_sub(old));
        storage.resize(capacity.max(old), 0);
        self.storage = storage.into_boxed_slice();
        if self.start + self.len > old {
            // The older of two runs goes to the end again.
            let start = self.capacity() - (old - self.start);
            self.storage.copy_within(self.start..old, start);
            self.start = start;
        }
    }

    /// Bytes it can hold.
    pub fn capacity(&self) -> usize {
        self.storage.len()
    }

    /// Bytes it holds.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends as much of `bytes` as fits and says how much that was.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        let n = bytes.len().min(self.capacity() - self.len);
        if n == 0 {
            return 0;
        }
        let end = (self.start + self.len) % self.capacity();
        let first = n.min(self.capacity() - end);
        self.storage[end..end + first].copy_from_slice(&bytes[..first]);
        self.storage[..n - first].copy_from_slice(&bytes[first..n]);
        self.len += n;
        n
    }

    /// The bytes, oldest first, in the two runs in which they lie.
    pub fn slices(&self) -> (&[u8], &[u8]) {
        let first = self.len.min(self.capacity() - self.start);
        let (wrapped, from_start) = self.storage.split_at(self.start);
        (&from_start[..first], &wrapped[..self.len - first])
    }

    /// Forgets the oldest `n` bytes, or all if there are fewer.
    pub fn consume(&mut self, n: usize) {
        let n = n.min(self.len);
        self.len -= n;
        self.start = if self.len == 0 { 0 } else { (self.start + n) % self.capacity() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    fn content(ring: &Ring) -> Vec<u8> {
        let (first, second) = ring.slices();
        [first, second].concat()
    }

    #[test]
    fn wraps_around() {
        let mut ring = Ring::with_capacity(8);
        assert_eq!(ring.push(b"abcdef"), 6);
        ring.consume(4);
        assert_eq!(ring.push(b"ghijklmn"), 6);
        assert_eq!(content(&ring), b"efghijkl");
        assert_eq!(ring.push(b"x"), 0);
    }

    #[test]
    fn grows_with_what_it_holds() {
        for start in 0..8 {
            for len in 0..=8 {
                for capacity in 9..20 {
                    let mut ring = Ring::with_capacity(8);
                    ring.push(&[b'.'; 8][..start]);
                    ring.consume(start.saturating_sub(1));
                    ring.push(&b"abcdefgh"[..len.min(8 - ring.len())]);
                    ring.consume(start.min(1));
                    let before = content(&ring);
                    ring.grow(capacity);
                    assert_eq!((content(&ring), ring.capacity()), (before.clone(), capacity));
                    let more = vec![b'x'; capacity - before.len()];
                    assert_eq!(ring.push(&more), more.len());
                    assert_eq!(content(&ring), [before, more].concat());
                }
            }
        }
    }

    #[test]
    fn holds_what_it_is_given_in_the_same_storage() {
        let mut ring = Ring::holding(b"..abc".to_vec(), 2);
        assert_eq!((content(&ring), ring.capacity()), (b"abc".to_vec(), 5));
        ring.consume(1);
        assert_eq!(ring.push(b"defg"), 3);
        assert_eq!(content(&ring), b"bcdef");
        for nothing in [Ring::holding(Vec::new(), 0), Ring::holding(b"..".to_vec(), 2)] {
            assert!(nothing.is_empty());
            assert_eq!(nothing.slices(), (&[][..], &[][..]));
        }
    }

    #[test]
    fn without_storage_it_takes_nothing() {
        let mut ring = Ring::with_capacity(0);
        assert_eq!(ring.push(b"x"), 0);
        ring.consume(1);
        assert!(ring.is_empty());
        assert_eq!(ring.slices(), (&[][..], &[][..]));
    }

    /// Random pushes and takes against a `VecDeque`.
    #[test]
    fn behaves_like_a_queue() {
        let mut random = crate::testing::Random::new("ring");
        for _ in 0..200 {
            let capacity = random.below(40);
            let (mut ring, mut model) = (Ring::with_capacity(capacity), VecDeque::new());
            for step in 0..200u8 {
                let n = random.below(20);
                if random.below(2) == 0 {
                    let took = ring.push(&vec![step; n]);
                    assert_eq!(took, n.min(capacity - model.len()));
                    model.extend(vec![step; took]);
                } else {
                    ring.consume(n);
                    model.drain(..n.min(model.len()));
                }
                assert_eq!(content(&ring), Vec::from(model.clone()));
                assert_eq!((ring.len(), ring.is_empty()), (model.len(), model.is_empty()));
            }
        }
    }
}
