//! Masking: XOR with a four-byte key (RFC 6455 §5.3).
//!
//! Owns the key's running phase, so that a payload may be cut anywhere.
//! [`Mask::apply_moving`] unmasks while it moves, since bytes that are touched anyway move for
//! nothing.

/// A masking-key, turned so that its low byte belongs to the next byte of the payload.
///
/// The default changes nothing: the mask of a frame that has none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mask(u32);

impl Mask {
    /// A key as it stands in a frame header.
    pub fn new(key: [u8; 4]) -> Self {
        Self(u32::from_le_bytes(key))
    }

    /// Masks or unmasks `bytes`, and turns the key behind them.
    pub fn apply(&mut self, bytes: &mut [u8]) {
        xor(bytes, self.word());
        self.turn(bytes.len());
    }

    /// Masks or unmasks one byte, and turns the key behind it.
    #[inline]
    pub fn apply_to_byte(&mut self, byte: u8) -> u8 {
        let masked = byte ^ self.0 as u8;
        self.turn(1);
        masked
    }

    /// Moves `len` bytes within `buf` from `from` down to `to`, masking or unmasking them on the
    /// way, and turns the key behind them.
    ///
    /// # Panics
    /// If `to > from` or the source leaves the buffer.
    // Always, or small frames pay as much for the call as for the move.
    #[inline(always)]
    pub fn apply_moving(&mut self, buf: &mut [u8], from: usize, to: usize, len: usize) {
        assert!(to <= from, "a move upwards would overwrite what is still to be read");
        let bytes = &mut buf[to..from + len];
        let gap = from - to;
        if gap == 0 {
            return self.apply(bytes);
        }
        let word = self.word();
        // In blocks of 64 the compiler uses vectors; at most seven bytes are left to the loop.
        let bytes = move_blocks::<64>(bytes, gap, word);
        let bytes = move_blocks::<8>(bytes, gap, word);
        for (at, key) in (gap..bytes.len()).zip(word.to_le_bytes()) {
            bytes[at - gap] = bytes[at] ^ key;
        }
        self.turn(len);
    }

    /// The key twice, for eight bytes at once.
    fn word(self) -> u64 {
        u64::from(self.0) << 32 | u64::from(self.0)
    }

    /// Turns the key as if `len` bytes had been masked.
    #[inline]
    pub fn turn(&mut self, len: usize) {
        self.0 = self.0.rotate_right(8 * (len % 4) as u32);
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

/// Moves whole blocks of `N` bytes, a multiple of eight, down to the start of `bytes` from `gap` on,
/// masking them on the way; what is left of `bytes` is still to be moved. Front to back: what a block
/// overwrites has been read already.
#[inline]
fn move_blocks<const N: usize>(mut bytes: &mut [u8], gap: usize, word: u64) -> &mut [u8] {
    while bytes.len() >= gap + N {
        // Through a local array, so that the compiler may use vectors although source and
        // destination overlap.
        let mut block = [0; N];
        block.copy_from_slice(&bytes[gap..gap + N]);
        xor(&mut block, word);
        bytes[..N].copy_from_slice(&block);
        bytes = &mut bytes[N..];
    }
    bytes
}

/// XORs `bytes` with `word`, over and over.
#[inline]
fn xor(bytes: &mut [u8], word: u64) {
    let mut words = bytes.chunks_exact_mut(8);
    for bytes in &mut words {
        let mut eight = [0; 8];
        eight.copy_from_slice(bytes);
        bytes.copy_from_slice(&(u64::from_le_bytes(eight) ^ word).to_le_bytes());
    }
    for (byte, key) in words.into_remainder().iter_mut().zip(word.to_le_bytes()) {
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
                    assert_eq!(mask.apply_to_byte(0), key[len % 4], "phase after {len}");
                    let mut next = [0];
                    mask.apply(&mut next);
                    assert_eq!(next[0], key[(len + 1) % 4], "phase after {len} and one");
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
