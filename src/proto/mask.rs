//! Masking: XOR with a four-byte key (RFC 6455 §5.3).
//!
//! Owns the key's running phase, so that a payload may be cut anywhere.
//! [`Mask::apply_moving`] unmasks while it moves, since bytes that are touched anyway move for
//! nothing.

/// Bytes handled at once. Copied through a local array, so that the compiler may use vectors
/// although source and destination overlap.
const BLOCK: usize = 64;

/// A masking-key, turned so that its first byte belongs to the next byte of the payload.
///
/// The default changes nothing: the mask of a frame that has none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mask([u8; 4]);

impl Mask {
    /// A key as it stands in a frame header.
    pub fn new(key: [u8; 4]) -> Self {
        Self(key)
    }

    /// Masks or unmasks `bytes`, and turns the key behind them.
    pub fn apply(&mut self, bytes: &mut [u8]) {
        let wide = self.wide();
        let mut blocks = bytes.chunks_exact_mut(BLOCK);
        for block in &mut blocks {
            xor(block, &wide);
        }
        xor(blocks.into_remainder(), &wide);
        self.turn(bytes.len());
    }

    /// Moves `len` bytes within `buf` from `from` down to `to`, masking or unmasking them on the
    /// way, and turns the key behind them.
    ///
    /// # Panics
    /// If `to > from` or the source leaves the buffer.
    #[inline]
    pub fn apply_moving(&mut self, buf: &mut [u8], from: usize, to: usize, len: usize) {
        assert!(to <= from, "a move upwards would overwrite what is still to be read");
        if to == from {
            return self.apply(&mut buf[from..from + len]);
        }
        let wide = self.wide();
        let mut done = 0;
        let mut block = [0; BLOCK];
        // Front to back: what a block's destination overwrites has been read already.
        while len - done >= BLOCK {
            block.copy_from_slice(&buf[from + done..from + done + BLOCK]);
            xor(&mut block, &wide);
            buf[to + done..to + done + BLOCK].copy_from_slice(&block);
            done += BLOCK;
        }
        let rest = len - done;
        let block = &mut block[..rest];
        block.copy_from_slice(&buf[from + done..from + len]);
        xor(block, &wide);
        buf[to + done..to + len].copy_from_slice(block);
        self.turn(len);
    }

    /// The key repeated over a block.
    fn wide(self) -> [u8; BLOCK] {
        let mut wide = [0; BLOCK];
        for (i, byte) in wide.iter_mut().enumerate() {
            *byte = self.0[i % 4];
        }
        wide
    }

    /// Turns the key as if `len` bytes had been masked.
    #[inline]
    pub fn turn(&mut self, len: usize) {
        self.0.rotate_left(len % 4);
    }
}

/// Fresh masking-keys for a client (§10.3: unpredictable, never reused).
pub struct Keys {
    /// Strong entropy, bought in bulk.
    bytes: [u8; 256],
    used: usize,
    fill: fn(&mut [u8]),
}

impl Keys {
    /// Keys from `fill`, which must be the system's strong entropy outside tests.
    pub fn new(fill: fn(&mut [u8])) -> Self {
        Self { bytes: [0; 256], used: 256, fill }
    }

    /// Sixteen bytes for a `Sec-WebSocket-Key` (§4.1).
    pub fn nonce(&mut self) -> [u8; 16] {
        let mut nonce = [0; 16];
        for part in nonce.chunks_exact_mut(4) {
            part.copy_from_slice(&self.next_key());
        }
        nonce
    }

    /// The next key.
    pub fn next_key(&mut self) -> [u8; 4] {
        if self.used + 4 > self.bytes.len() {
            (self.fill)(&mut self.bytes);
            self.used = 0;
        }
        let key = [0, 1, 2, 3].map(|i| self.bytes[self.used + i]);
        self.used += 4;
        key
    }
}

/// XORs at most a block.
#[inline]
fn xor(block: &mut [u8], wide: &[u8; BLOCK]) {
    for (byte, key) in block.iter_mut().zip(wide) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The byte loop of §5.3, as plain as the RFC has it.
    fn model(bytes: &[u8], key: [u8; 4], phase: usize) -> Vec<u8> {
        bytes.iter().enumerate().map(|(i, b)| b ^ key[(phase + i) % 4]).collect()
    }

    /// RFC 6455 §5.7: the masked "Hello".
    #[test]
    fn unmasks_the_hello_of_the_rfc() {
        let mut bytes = [0x7f, 0x9f, 0x4d, 0x51, 0x58];
        Mask::new([0x37, 0xfa, 0x21, 0x3d]).apply(&mut bytes);
        assert_eq!(&bytes, b"Hello");
    }

    #[test]
    fn cuts_and_moves_do_not_matter() {
        let key = [0x11, 0x22, 0x84, 0xf8];
        let plain: Vec<u8> = (0..300u32).map(|i| (i * 7) as u8).collect();
        for len in [0, 1, 3, 4, 5, 63, 64, 65, 127, 128, 200, 300] {
            for cut in (0..=len).step_by(1 + len / 40) {
                for gap in [0, 1, 2, 6, 7, 8, 63, 64, 65, 130] {
                    let mut mask = Mask::new(key);
                    let mut buf = vec![0xee; gap + len];
                    buf[gap..].copy_from_slice(&plain[..len]);
                    mask.apply_moving(&mut buf, gap, 0, cut);
                    mask.apply_moving(&mut buf, gap + cut, cut, len - cut);
                    assert_eq!(buf[..len], model(&plain[..len], key, 0), "{len} {cut} {gap}");
                    let mut next = [0];
                    mask.apply(&mut next);
                    assert_eq!(next[0], key[len % 4], "phase after {len}");
                }
            }
        }
    }

    #[test]
    fn no_mask_changes_nothing() {
        let mut bytes = *b"as it was";
        Mask::default().apply(&mut bytes);
        assert_eq!(&bytes, b"as it was");
    }
}
