//! What is said of a wrong command line: the argument, what is wrong with it, what to write instead.
//!
//! Owns how arguments are shown. Never decides what is wrong.

use std::fmt;

use crate::policy::syntax::SyntaxError;

/// A command line that cannot be run: which argument, what is wrong with it, what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageError {
    argument: String,
    problem: String,
    remedy: String,
}

impl UsageError {
    pub(super) fn new(
        argument: impl fmt::Display,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { argument: argument.to_string(), problem: problem.into(), remedy: remedy.into() }
    }
}

/// One line; control characters an argument brought along come out escaped.
impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.argument, self.problem, self.remedy)
    }
}

impl std::error::Error for UsageError {}

/// What is wrong with a value, said where it is not known which option the value was given to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Flaw {
    pub problem: String,
    /// A value that would do; `None` where any value that the option takes is as good.
    pub example: Option<String>,
}

impl Flaw {
    pub(super) fn new(problem: impl Into<String>) -> Self {
        Self { problem: problem.into(), example: None }
    }

    pub(super) fn like(self, example: impl Into<String>) -> Self {
        Self { example: Some(example.into()), ..self }
    }

    pub(super) fn of(self, argument: &Argument, usual: &str) -> UsageError {
        let example = self.example.as_deref().unwrap_or(usual);
        let remedy = format!("write it like {}{}{example}", argument.option, argument.gap());
        UsageError::new(argument, self.problem, remedy)
    }
}

impl From<SyntaxError> for Flaw {
    fn from(error: SyntaxError) -> Self {
        Self::new(error.to_string()).like(error.example())
    }
}

/// An option and its value as the user spelled them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Argument {
    /// With its dashes, and with `=` where only that may stand before the value; empty for a word
    /// that stands alone.
    pub option: String,
    pub value: String,
}

impl Argument {
    fn gap(&self) -> &'static str {
        match self.option.is_empty() || self.option.ends_with('=') {
            true => "",
            false => " ",
        }
    }
}

impl fmt::Display for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.option, self.gap(), printable(&self.value))
    }
}

/// The text as it can stand in a message: quoted and escaped where it would otherwise mislead.
pub(super) fn printable(text: &str) -> String {
    let plain = !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control());
    if plain {
        text.to_owned()
    } else {
        format!("{text:?}")
    }
}
