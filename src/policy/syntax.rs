//! What is wrong with a text that a user wrote: a rule, a network, an origin.

use std::fmt;

/// What is wrong with such a text, and what could stand in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    problem: String,
    example: String,
}

impl SyntaxError {
    pub(super) fn new(problem: impl Into<String>) -> Self {
        Self { problem: problem.into(), example: String::new() }
    }

    pub(super) fn like(self, example: impl Into<String>) -> Self {
        Self { example: example.into(), ..self }
    }

    /// A text that can be written instead; close to what was meant, where that can be told.
    pub fn example(&self) -> &str {
        &self.example
    }
}

/// The problem alone, with the values.
impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)
    }
}

impl std::error::Error for SyntaxError {}
