//! The hot buffer: one per loop, lent to whoever is served.
//!
//! Wire bytes are read into it behind some room, rewritten in place, and sent from it. What has
//! been rewritten never overtakes what is still to be read:
//!
//! ```text
//! 0         HEADER_ROOM
//! | room     | output | gap | input | free |      output.end <= input.start
//! ```
//!
//! A frame's payload moves left over the gap that its header left; a header that is written in
//! front of the first payload goes right-aligned into the room.

use std::ops::Range;

use crate::proto::encoding::MAX_PREFIX;
use crate::proto::frame::MAX_HEADER;
use crate::proto::mask::Mask;

/// Bytes in front of what is read: what goes there once its length is known, the longest header
/// and the longest prefix of an encoding behind it.
pub const HEADER_ROOM: usize = MAX_HEADER + MAX_PREFIX;

/// The shared buffer with its two regions.
#[derive(Debug)]
pub struct Hot {
    bytes: Box<[u8]>,
    input: Range<usize>,
    output: Range<usize>,
    /// How far left of the first payload the output begins.
    lead: usize,
}

impl Hot {
    /// A buffer that reads at most `size` bytes at a time. Zeroed memory from the allocator stays
    /// untouched, and so unpaid, until the first read.
    pub fn new(size: usize) -> Self {
        let bytes = vec![0; HEADER_ROOM + size].into_boxed_slice();
        Self { bytes, input: HEADER_ROOM..HEADER_ROOM, output: HEADER_ROOM..HEADER_ROOM, lead: 0 }
    }

    /// Bytes that one read may take.
    pub fn size(&self) -> usize {
        self.bytes.len() - HEADER_ROOM
    }

    /// Empties the buffer and lends at most `limit` bytes of it to a read.
    pub fn fill(&mut self, limit: usize) -> &mut [u8] {
        self.input = HEADER_ROOM..HEADER_ROOM;
        self.output = HEADER_ROOM..HEADER_ROOM;
        self.lead = 0;
        let end = HEADER_ROOM + limit.min(self.size());
        &mut self.bytes[HEADER_ROOM..end]
    }

    /// The read put `n` bytes there.
    pub fn commit(&mut self, n: usize) {
        debug_assert!(n <= self.size());
        self.input = HEADER_ROOM..HEADER_ROOM + n;
    }

    /// What has not been looked at.
    #[inline]
    pub fn input(&self) -> &[u8] {
        &self.bytes[self.input.clone()]
    }

    /// The input is looked at, all of it.
    pub fn drop_input(&mut self) {
        self.input.start = self.input.end;
    }

    /// What is ready for the sink.
    #[inline]
    pub fn output(&self) -> &[u8] {
        &self.bytes[self.output.clone()]
    }

    /// The same, to be changed in place.
    pub fn output_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.output.clone()]
    }

    /// The sink has it, or the ring.
    pub fn drop_output(&mut self) {
        self.output = self.input.start..self.input.start;
    }

    /// Keeps the first `len` bytes of the output.
    pub fn truncate_output(&mut self, len: usize) {
        self.output.end = self.output.end.min(self.output.start + len);
    }

    /// Steps over `n` bytes of input.
    #[inline]
    pub fn skip(&mut self, n: usize) {
        debug_assert!(n <= self.input.len());
        self.input.start += n;
    }

    /// Until the next read, an output that begins leaves a gap of `n` bytes, at most
    /// [`HEADER_ROOM`], behind it, for what is put between payloads.
    pub fn set_lead(&mut self, n: usize) {
        debug_assert!(n <= HEADER_ROOM);
        self.lead = n;
    }

    /// Takes one byte of the input away, unmasked.
    #[inline]
    pub fn take(&mut self, mask: &mut Mask) -> u8 {
        debug_assert!(!self.input.is_empty());
        let byte = mask.apply_to_byte(self.bytes[self.input.start]);
        self.input.start += 1;
        byte
    }

    /// Moves `n` bytes from the input to the output, unmasking them on the way. The first ones
    /// stay where they are, if there is no lead.
    #[inline]
    pub fn pass(&mut self, n: usize, mask: &mut Mask) {
        debug_assert!(n <= self.input.len());
        if self.output.is_empty() {
            let start = self.input.start - self.lead;
            self.output = start..start;
        }
        mask.apply_moving(&mut self.bytes, self.input.start, self.output.end, n);
        self.input.start += n;
        self.output.end += n;
    }

    /// Makes all of the input output, as it is.
    pub fn pass_all(&mut self) {
        self.pass_plain(self.input.len());
    }

    fn pass_plain(&mut self, n: usize) {
        if self.output.is_empty() {
            self.output = self.input.start..self.input.start;
        }
        let from = self.input.start..self.input.start + n;
        if from.start != self.output.end {
            self.bytes.copy_within(from, self.output.end);
        }
        self.input.start += n;
        self.output.end += n;
    }

    /// Appends `bytes` to the output, in the gap. `false` if the gap is too small: when the
    /// output is out of the way, there is room for [`HEADER_ROOM`] bytes.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) -> bool {
        let n = bytes.len();
        if self.output.is_empty() {
            debug_assert!(n <= HEADER_ROOM);
            let start = self.input.start - n.max(self.lead);
            self.output = start..start;
        } else if self.output.end + n > self.input.start {
            return false;
        }
        self.bytes[self.output.end..self.output.end + n].copy_from_slice(bytes);
        self.output.end += n;
        true
    }

    /// Puts `bytes` into the output, at `at` in it, and so into the gap. `false` if that is too small.
    pub fn insert(&mut self, at: usize, bytes: &[u8]) -> bool {
        let (end, n) = (self.output.end, bytes.len());
        if at == self.output.len() {
            return self.put(bytes);
        }
        if end + n > self.input.start {
            return false;
        }
        let from = self.output.start + at;
        self.bytes.copy_within(from..end, from + n);
        self.bytes[from..from + n].copy_from_slice(bytes);
        self.output.end += n;
        true
    }

    /// Moves the input to the free end of the buffer, and so widens the gap.
    pub fn spread(&mut self) {
        let start = self.bytes.len() - self.input.len();
        self.bytes.copy_within(self.input.clone(), start);
        self.input = start..self.bytes.len();
    }

    /// Writes `bytes`, at most [`HEADER_ROOM`], in front of the output.
    pub fn prepend(&mut self, bytes: &[u8]) {
        let start = self.output.start - bytes.len();
        self.bytes[start..self.output.start].copy_from_slice(bytes);
        self.output.start = start;
    }

    /// Replaces the last `n` bytes of the output by what `rewrite` leaves of them: it works in
    /// place and says how many bytes remain, whether or not it fails.
    pub fn shrink_tail<E>(
        &mut self,
        n: usize,
        rewrite: impl FnOnce(&mut [u8]) -> (usize, Result<(), E>),
    ) -> Result<(), E> {
        let start = self.output.end - n;
        let (kept, result) = rewrite(&mut self.bytes[start..self.output.end]);
        self.output.end = start + kept.min(n);
        result
    }

    /// Replaces the output by a rewriting that may be longer, written behind it into the free
    /// end of the buffer: `rewrite` gets both and says how much it wrote. There must be no input
    /// left.
    pub fn expand(&mut self, rewrite: impl FnOnce(&[u8], &mut [u8]) -> usize) {
        debug_assert!(self.input.is_empty());
        let (front, free) = self.bytes.split_at_mut(self.output.end);
        let n = rewrite(&front[self.output.start..], free);
        self.output = self.output.end..self.output.end + n;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(bytes: &[u8]) -> Hot {
        let mut hot = Hot::new(64);
        hot.fill(64)[..bytes.len()].copy_from_slice(bytes);
        hot.commit(bytes.len());
        hot
    }

    #[test]
    fn payload_moves_over_the_header_gaps() {
        let mut hot = filled(b"..abc..def.gh");
        for (header, payload) in [(2, 3), (2, 3), (1, 2)] {
            hot.skip(header);
            hot.pass(payload, &mut Mask::default());
        }
        assert_eq!(hot.output(), b"abcdefgh");
        assert!(hot.input().is_empty());
    }

    #[test]
    fn bytes_that_are_taken_leave_a_gap_of_their_own() {
        let mut hot = filled(b"\x02\x41bc\x01d");
        let mut mask = Mask::new([0x01, 0x02, 0, 0]);
        assert_eq!(hot.take(&mut mask), 0x03);
        assert!(hot.output().is_empty());
        assert_eq!(hot.take(&mut mask), 0x43);
        hot.pass(2, &mut mask);
        assert_eq!(hot.take(&mut mask), 0x00);
        hot.pass(1, &mut mask);
        assert_eq!((hot.output(), hot.input()), (&b"bcf"[..], &b""[..]));
    }

    #[test]
    fn the_first_header_goes_into_the_room_and_later_ones_into_gaps() {
        let mut hot = filled(b"..ab...cd");
        hot.skip(2);
        assert!(hot.put(b"<long header>"));
        hot.pass(2, &mut Mask::default());
        hot.skip(3);
        assert!(hot.put(b"<h>"));
        hot.pass(2, &mut Mask::default());
        assert_eq!(hot.output(), b"<long header>ab<h>cd");
    }

    #[test]
    fn a_gap_that_is_too_small_asks_for_a_flush() {
        let mut hot = filled(b"ab.cd");
        hot.pass(2, &mut Mask::default());
        hot.skip(1);
        assert!(!hot.put(b"<h>"));
        assert_eq!(hot.output(), b"ab");
        hot.drop_output();
        assert!(hot.put(b"<h>"));
        hot.pass(2, &mut Mask::default());
        assert_eq!(hot.output(), b"<h>cd");
    }

    #[test]
    fn with_a_lead_the_first_payload_leaves_a_gap_too() {
        for put_first in [false, true] {
            let mut hot = filled(b"abc.d");
            hot.set_lead(4);
            if put_first {
                assert!(hot.put(b"#"));
            }
            hot.pass(3, &mut Mask::default());
            assert!(hot.put(b"!?") && hot.insert(0, b">"));
            hot.skip(1);
            assert!(!hot.insert(0, b"too long"));
            hot.pass(1, &mut Mask::default());
            let expected: &[u8] = if put_first { b">#abc!?d" } else { b">abc!?d" };
            assert_eq!(hot.output(), expected);
            hot.fill(1)[0] = b'e';
            hot.commit(1);
            hot.pass(1, &mut Mask::default());
            assert!(!hot.put(b"!"), "the lead was for one read");
        }
    }

    #[test]
    fn a_gap_that_is_too_small_widens_when_the_input_moves() {
        let mut hot = filled(b"ab.cd");
        hot.pass(2, &mut Mask::default());
        hot.skip(1);
        assert!(!hot.insert(1, b"<longer than all there is>"));
        hot.spread();
        assert_eq!((hot.output(), hot.input()), (&b"ab"[..], &b"cd"[..]));
        assert!(hot.insert(1, b"<longer than all there is>") && hot.put(b"!"));
        hot.pass(2, &mut Mask::default());
        assert_eq!(hot.output(), b"a<longer than all there is>b!cd");
    }

    #[test]
    fn output_can_grow_at_both_ends() {
        let mut hot = filled(b"xyz");
        hot.pass_all();
        hot.prepend(b"->");
        assert_eq!(hot.output(), b"->xyz");
        hot.expand(|from, to| {
            to[..2 * from.len()].copy_from_slice(&[from, from].concat());
            2 * from.len()
        });
        hot.prepend(b"1234567");
        assert_eq!(hot.output(), b"1234567->xyz->xyz");
    }

    #[test]
    fn a_tail_may_shrink_and_fail() {
        let mut hot = filled(b"keep....");
        hot.pass_all();
        let result = hot.shrink_tail(4, |tail| {
            tail[0] = b'!';
            (1, Err("why"))
        });
        assert_eq!((hot.output(), result), (&b"keep!"[..], Err("why")));
    }
}
