//! The grammar (RFC 8259 §2 to §7), as a loop over the text.
//!
//! Owns the way from bytes to tokens and the growth of the tape. Never looks at what a string or a
//! number means.

use super::{JsonError, Kind, Limits, Reason, Token};

/// Tokens that any text may have, and the first storage of a tape: 1 KiB.
const LEAST: usize = 64;

/// The text being read, and how far.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    /// `at <= bytes.len()`
    at: usize,
    tokens: &'a mut Vec<Token>,
    limits: Limits,
    /// Arrays and objects that are open.
    depth: usize,
    /// The token of the innermost of them, where `depth > 0`.
    open: u32,
}

impl<'a> Reader<'a> {
    /// Fills the tape, which is empty, with all of `text`, and hands it back as text.
    pub(super) fn read<'t>(
        tokens: &mut Vec<Token>,
        text: &'t [u8],
        limits: Limits,
    ) -> Result<&'t str, JsonError> {
        // Places in the text are 32 bits wide in a token, and so are counts of tokens.
        let bytes = limits.bytes.min(u32::MAX as usize);
        if text.len() > bytes {
            return Err(JsonError { at: bytes, reason: Reason::TooLong(bytes) });
        }
        let checked = std::str::from_utf8(text)
            .map_err(|error| JsonError { at: error.valid_up_to(), reason: Reason::NotUtf8 })?;
        if checked.starts_with('\u{feff}') {
            return Err(JsonError { at: 0, reason: Reason::ByteOrderMark });
        }
        Reader { bytes: text, at: 0, tokens, limits, depth: 0, open: 0 }.document()?;
        Ok(checked)
    }

    /// One value and the end of the text. A turn of the loop begins where a value is due.
    fn document(&mut self) -> Result<(), JsonError> {
        loop {
            match self.peek() {
                Some(b'[') => {
                    self.begin(Kind::Array)?;
                    if self.peek() != Some(b']') {
                        self.value_follows()?;
                        continue;
                    }
                    self.end();
                }
                Some(b'{') => {
                    self.begin(Kind::Object)?;
                    if self.peek() != Some(b'}') {
                        self.name(Reason::NameOrEnd)?;
                        continue;
                    }
                    self.end();
                }
                _ => self.scalar()?,
            }
            if self.is_over()? {
                return Ok(());
            }
        }
    }

    /// What comes after a whole value: the end of what is open, as often as it is there, and then
    /// either the next element or member or, if nothing is open any more, the end of the text.
    fn is_over(&mut self) -> Result<bool, JsonError> {
        while self.depth > 0 {
            let byte = self.peek();
            match self.tokens[self.open as usize].kind {
                Kind::Object => match byte {
                    Some(b'}') => self.end(),
                    Some(b',') => {
                        self.at += 1;
                        return self.name(Reason::Name).map(|()| false);
                    }
                    _ => return self.fail(Reason::CommaOrBrace),
                },
                _ => match byte {
                    Some(b']') => self.end(),
                    Some(b',') => {
                        self.at += 1;
                        return Ok(false);
                    }
                    _ => return self.fail(Reason::CommaOrBracket),
                },
            }
        }
        match self.peek() {
            Some(_) => self.fail(Reason::Trailing),
            None => Ok(true),
        }
    }

    /// Opens an array or object. It closes in [`Reader::end`].
    fn begin(&mut self, kind: Kind) -> Result<(), JsonError> {
        if self.depth >= self.limits.depth {
            return self.fail(Reason::TooDeep(self.limits.depth));
        }
        let around = std::mem::replace(&mut self.open, self.tokens.len() as u32);
        self.push(Token { start: self.at as u32, end: 0, span: around, kind, flag: false })?;
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    /// Closes what is open, its bracket being next.
    fn end(&mut self) {
        self.at += 1;
        let span = self.tokens.len() as u32 - self.open;
        let token = &mut self.tokens[self.open as usize];
        token.end = self.at as u32;
        self.open = std::mem::replace(&mut token.span, span);
        self.depth -= 1;
    }

    /// A member's name and its colon.
    fn name(&mut self, missing: Reason) -> Result<(), JsonError> {
        if self.peek() != Some(b'"') {
            return self.fail(missing);
        }
        self.string()?;
        if self.peek() != Some(b':') {
            return self.fail(Reason::Colon);
        }
        self.at += 1;
        Ok(())
    }

    /// Behind `[` the end was possible too, which is worth saying.
    fn value_follows(&mut self) -> Result<(), JsonError> {
        match self.byte() {
            Some(b'"' | b'-' | b'0'..=b'9' | b'[' | b'{' | b't' | b'f' | b'n') => Ok(()),
            _ => self.fail(Reason::ValueOrEnd),
        }
    }

    /// A value that holds no others.
    fn scalar(&mut self) -> Result<(), JsonError> {
        match self.byte() {
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.literal(b"true", Kind::Bool),
            Some(b'f') => self.literal(b"false", Kind::Bool),
            Some(b'n') => self.literal(b"null", Kind::Null),
            _ => self.fail(Reason::Value),
        }
    }

    fn literal(&mut self, word: &[u8], kind: Kind) -> Result<(), JsonError> {
        if !self.bytes[self.at..].starts_with(word) {
            return self.fail(Reason::Value);
        }
        let start = self.at;
        self.at += word.len();
        self.whole(start, kind, word == b"true")
    }

    /// §6. What cannot follow a number, as the `1` of `01`, is left to what comes after a value.
    fn number(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        self.at += usize::from(self.byte() == Some(b'-'));
        match self.byte() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.byte() {
            self.at += 1;
            self.at += usize::from(matches!(self.byte(), Some(b'+' | b'-')));
            self.digits()?;
        }
        self.whole(start, Kind::Number, false)
    }

    /// At least one digit.
    fn digits(&mut self) -> Result<(), JsonError> {
        if !self.byte().is_some_and(|byte| byte.is_ascii_digit()) {
            return self.fail(Reason::Digit);
        }
        while self.byte().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        Ok(())
    }

    /// §7. The escapes are checked here, and are taken for good from then on.
    fn string(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        let mut has_escapes = false;
        self.at += 1;
        loop {
            let rest = &self.bytes[self.at..];
            let ends = |&byte: &u8| byte == b'"' || byte == b'\\' || byte < 0x20;
            self.at += rest.iter().position(ends).unwrap_or(rest.len());
            match self.byte() {
                Some(b'"') => break,
                Some(b'\\') => {
                    self.escape()?;
                    has_escapes = true;
                }
                Some(_) => return self.fail(Reason::Control),
                None => return self.fail(Reason::Quote),
            }
        }
        self.at += 1;
        self.whole(start, Kind::String, has_escapes)
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        self.at += 1;
        match self.byte() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                self.at += 1;
                for _ in 0..4 {
                    if !self.byte().is_some_and(|byte| byte.is_ascii_hexdigit()) {
                        return self.fail(Reason::HexDigit);
                    }
                    self.at += 1;
                }
            }
            _ => return self.fail(Reason::Escape),
        }
        Ok(())
    }

    /// Notes a scalar that began at `start` and ends here.
    fn whole(&mut self, start: usize, kind: Kind, flag: bool) -> Result<(), JsonError> {
        self.push(Token { start: start as u32, end: self.at as u32, span: 1, kind, flag })
    }

    fn push(&mut self, token: Token) -> Result<(), JsonError> {
        let most = self.bytes.len().div_ceil(2).max(LEAST);
        let used = self.tokens.len();
        if used >= self.limits.nodes {
            let reason = Reason::TooManyNodes(self.limits.nodes);
            return Err(JsonError { at: token.start as usize, reason });
        }
        // A token takes two bytes: an element its own and the comma before it, which the first of
        // an array lacks, and an array its brackets. Only a text whose brackets cannot all be
        // closed has more. (A short one may: what is missing from it is said more exactly.)
        if used >= most {
            return Err(JsonError { at: self.bytes.len(), reason: Reason::Unclosed });
        }
        if used == self.tokens.capacity() {
            // The same for what is left, where brackets not closed yet may be short of bytes.
            let left = self.bytes.len() - token.start as usize;
            let unclosed = self.limits.depth - self.depth;
            let more = left.saturating_add(unclosed).div_ceil(2);
            let most = most.min(self.limits.nodes).min(used.saturating_add(more));
            self.tokens.reserve_exact(larger(used, most) - used);
        }
        self.tokens.push(token);
        Ok(())
    }

    /// The next byte that is not white space (§2).
    fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.byte() {
            self.at += 1;
        }
        self.byte()
    }

    fn byte(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn fail<T>(&self, reason: Reason) -> Result<T, JsonError> {
        Err(JsonError { at: self.at, reason })
    }
}

/// How many tokens to have room for when `capacity < most` are full and there may be `most`.
///
/// Old and new storage exist together while tokens move. The last step is therefore one from at
/// most 5/8 of `most`; with `most` at 8 bytes for each of the text's, both together are 13.
fn larger(capacity: usize, most: usize) -> usize {
    let step = (capacity.saturating_mul(8) / 5).max(LEAST);
    if step > most / 8 * 5 {
        most
    } else {
        step
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storage_grows_in_few_steps_that_never_hold_more_than_13_times_the_text() {
        for len in [128, 200, 1 << 10, 12_345, 1 << 20, u32::MAX as usize] {
            let most = len.div_ceil(2);
            let (mut capacity, mut steps) = (0, 0);
            while capacity < most {
                let next = larger(capacity, most);
                assert!(next > capacity && next <= most, "{capacity} to {next} of {most}");
                assert!((capacity + next) * 16 <= 13 * (len + 1), "{capacity} to {next} of {len}");
                (capacity, steps) = (next, steps + 1);
            }
            assert!(steps <= 40, "{steps} for {len}");
        }
    }
}
