//! Fuzzer input as a list of choices.
//!
//! Never fails: what is not there is zero, so that every input means something and a cut seed is
//! a shorter seed.

/// What is left of the input.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// All of it.
    pub fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    /// Whether all choices are made.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What comes next, at most `n` bytes.
    pub fn peek(&self, n: usize) -> &'a [u8] {
        &self.0[..n.min(self.0.len())]
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((&first, rest)) => {
                self.0 = rest;
                first
            }
            None => 0,
        }
    }

    /// One of `options`.
    pub fn pick<T: Copy>(&mut self, options: &[T]) -> T {
        options[usize::from(self.byte()) % options.len()]
    }

    /// A length in one byte: small ones exactly, and some beyond every buffer in use.
    pub fn len(&mut self) -> usize {
        match self.byte() {
            small @ 0..=199 => usize::from(small),
            large => usize::from(large - 199) * 523,
        }
    }

    /// The next `n` bytes, or as many as there are.
    pub fn take(&mut self, n: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// The bytes of a length that comes first.
    pub fn bytes(&mut self) -> &'a [u8] {
        let n = usize::from(self.byte());
        self.take(n)
    }

    /// Everything that is left.
    pub fn rest(self) -> &'a [u8] {
        self.0
    }
}
