//! The leg of a page: bytes that are ours to say, up to the length that was announced.
//!
//! Owns how many are left. Where they come from is not known here.

use crate::proto::close::CloseCode;

/// A page under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// The HTTP status that it was answered with.
    pub status: u16,
    /// Bytes that are still to be said.
    left: u64,
}

impl Page {
    /// One that has so many bytes to say.
    pub fn new(status: u16, len: u64) -> Self {
        Self { status, left: len }
    }

    /// How much to read of it, where `most` may be. Nothing ends it, even if what it is read from
    /// has grown since its length was announced.
    pub fn read_limit(&self, most: usize) -> usize {
        usize::try_from(self.left).map_or(most, |left| left.min(most))
    }

    /// It has said `n` bytes.
    pub fn count(&mut self, n: usize) {
        self.left = self.left.saturating_sub(n as u64);
    }

    /// Now that it has ended: whether all of it was there. To the peer a page that is short shows
    /// by its length.
    pub fn close_code(&self) -> CloseCode {
        match self.left {
            0 => CloseCode::NORMAL,
            _ => CloseCode::INTERNAL_ERROR,
        }
    }
}
