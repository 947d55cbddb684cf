//! JSON text to a flat tape of tokens, and a writer beside it (RFC 8259).
//!
//! Owns the grammar, its limits and the escapes of strings. Strings and numbers stay where they
//! are: a token says where, and [`Value`] reads them only when asked.
//! Never recurses, follows no reference, and knows nothing of what the text is about.
//!
//! ```text
//! text    {  "port"  :  22  ,  "tags"  :  [  "a"  ,  "b"  ]  }
//! tape   [0]  [1]      [2]      [3]      [4] [5]     [6]
//! span    7    1        1        1        3   1       1       tokens, itself included
//! ```
//!
//! A hostile text is refused as soon as it passes a limit, and costs memory in proportion: the
//! densest (`[0,0,...`) has a token of 16 bytes for every two of its own.

mod reader;
#[cfg(test)]
mod tests;
mod value;
mod writer;

pub use value::{Elements, Kind, Members, Text, Value};
pub use writer::Writer;

use std::fmt;
use std::mem::size_of;

use reader::Reader;

/// Tokens whose storage outlives their text: 16 KiB, far more than an ordinary message has.
const KEPT: usize = 1024;

/// What a text may cost. There is no default: it is for the one who reads it to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of text, white space included. More than 4 GiB - 1 are never taken.
    pub bytes: usize,
    /// Values and names of members together.
    pub nodes: usize,
    /// Arrays and objects within one another: `[[]]` is 2 deep, and 0 leaves only scalars.
    pub depth: usize,
}

/// The tokens of one text at a time, in storage that is used again.
///
/// That storage grows to 8 times the text at most (or 1 KiB), and takes 13 while old and new are
/// both there. 16 KiB of it stay for the next text; [`Tape::clear`] gives back the rest.
#[derive(Debug, Default)]
pub struct Tape {
    tokens: Vec<Token>,
}

/// One value or one name of a member.
#[derive(Debug, Clone, Copy)]
struct Token {
    /// Where it is in the text, quotes and brackets included: `start < end`.
    start: u32,
    end: u32,
    /// How many tokens it has, itself and all within it: `span >= 1`. While an array or object is
    /// open: the index of the one around it, so that no stack is needed beside the tape.
    span: u32,
    kind: Kind,
    /// A boolean's value; whether a string has escapes.
    flag: bool,
}

const _: () = assert!(size_of::<Token>() == 16);

impl Tape {
    /// Reads a whole text: one value, and white space around it (RFC 8259 §2). What the tape held
    /// before is forgotten.
    ///
    /// # Errors
    /// The first thing that is wrong with the text, its length and UTF-8 being checked first.
    pub fn read<'a>(&'a mut self, text: &'a [u8], limits: Limits) -> Result<Value<'a>, JsonError> {
        self.clear();
        match Reader::read(&mut self.tokens, text, limits) {
            Ok(text) => Ok(Value::new(text, &self.tokens)),
            Err(error) => {
                self.clear();
                Err(error)
            }
        }
    }

    /// Forgets the text and gives back the storage that an outsized one took. Reading does the
    /// same first, so this is for whoever may wait long for the next text.
    pub fn clear(&mut self) {
        self.tokens.clear();
        self.tokens.shrink_to(KEPT);
    }
}

/// What is wrong with a text, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JsonError {
    /// The byte that cannot be there, or the length of a text that ends too early.
    pub at: usize,
    /// The broken rule.
    pub reason: Reason,
}

/// The rule that a text breaks. The first three are the reader's own, the others those of RFC 8259.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// More than [`Limits::bytes`].
    TooLong(usize),
    /// More than [`Limits::nodes`].
    TooManyNodes(usize),
    /// Deeper than [`Limits::depth`].
    TooDeep(usize),
    /// §8.1: the text is UTF-8.
    NotUtf8,
    /// §8.1: no byte order mark. A reader may ignore one; JavaScript's does not, nor does this one.
    ByteOrderMark,
    /// §3: a value was due.
    Value,
    /// §5: the first element of an array, or its end.
    ValueOrEnd,
    /// §4: a member begins with its name.
    Name,
    /// §4: the first member of an object, or its end.
    NameOrEnd,
    /// §4: between name and value.
    Colon,
    /// §5: after an element.
    CommaOrBracket,
    /// §4: after a member.
    CommaOrBrace,
    /// §5, §4: too few bytes are left to close everything that is open.
    Unclosed,
    /// §6: a number has a digit here.
    Digit,
    /// §7: a string ends with a quotation mark.
    Quote,
    /// §7: control characters are escaped.
    Control,
    /// §7: the character behind a reverse solidus.
    Escape,
    /// §7: four of them follow `\u`.
    HexDigit,
    /// §2: one value is all.
    Trailing,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason {
            Reason::TooLong(limit) => write!(f, "longer than {limit} bytes"),
            Reason::TooManyNodes(limit) => write!(f, "more than {limit} values and names"),
            Reason::TooDeep(limit) => write!(f, "nested more than {limit} deep"),
            Reason::NotUtf8 => f.write_str("not UTF-8"),
            Reason::ByteOrderMark => f.write_str("byte order mark"),
            Reason::Value => f.write_str("expected a value"),
            Reason::ValueOrEnd => f.write_str("expected a value or ']'"),
            Reason::Name => f.write_str("expected a name in quotes"),
            Reason::NameOrEnd => f.write_str("expected a name in quotes or '}'"),
            Reason::Colon => f.write_str("expected ':'"),
            Reason::CommaOrBracket => f.write_str("expected ',' or ']'"),
            Reason::CommaOrBrace => f.write_str("expected ',' or '}'"),
            Reason::Unclosed => f.write_str("ends inside an array or object"),
            Reason::Digit => f.write_str("expected a digit"),
            Reason::Quote => f.write_str("expected '\"'"),
            Reason::Control => f.write_str("control character in a string"),
            Reason::Escape => f.write_str("unknown escape"),
            Reason::HexDigit => f.write_str("expected a hexadecimal digit"),
            Reason::Trailing => f.write_str("expected the end"),
        }?;
        write!(f, " at byte {}", self.at)
    }
}

impl std::error::Error for JsonError {}
