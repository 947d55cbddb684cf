//! JSON text from its parts (RFC 8259).
//!
//! Owns commas, colons, quotes and escapes. Never buffers: every part goes to the end of the
//! output at once.

use std::io::Write;

/// Appends one JSON value to a buffer, part by part:
///
/// ```
/// use ws_tcp_proxy::proto::json::Writer;
///
/// let mut out = Vec::new();
/// Writer::new(&mut out).begin_object().name("ports").begin_array().uint(22).uint(80).end_array()
///     .name("open").bool(true).end_object();
/// assert_eq!(out, br#"{"ports":[22,80],"open":true}"#);
/// ```
///
/// Commas come by themselves: what was written last says whether one is due. A member without its
/// name, a name without its value, a second value, an end that fits no beginning, or none by the
/// time the writer is dropped, is a defect of the caller, and a panic where assertions are on.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
    /// Where the value begins in `out`.
    start: usize,
    /// The brackets that are due. For assertions only, and empty without them.
    open: Vec<u8>,
}

impl<'a> Writer<'a> {
    /// Writes behind what `out` holds already.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        let start = out.len();
        Self { out, start, open: Vec::new() }
    }

    /// Begins an array (§5).
    pub fn begin_array(&mut self) -> &mut Self {
        self.value(b"[");
        self.opened(b']')
    }

    /// Ends the array that was begun last.
    pub fn end_array(&mut self) -> &mut Self {
        self.close(b']')
    }

    /// Begins an object (§4).
    pub fn begin_object(&mut self) -> &mut Self {
        self.value(b"{");
        self.opened(b'}')
    }

    /// Ends the object that was begun last.
    pub fn end_object(&mut self) -> &mut Self {
        self.close(b'}')
    }

    /// The name of a member, whose value comes next.
    pub fn name(&mut self, name: &str) -> &mut Self {
        debug_assert_eq!(self.open.last(), Some(&b'}'), "a name outside an object");
        debug_assert_ne!(self.last(), Some(b':'), "a name without its value");
        self.comma();
        self.quote(name);
        self.out.push(b':');
        self
    }

    /// A string (§7).
    pub fn string(&mut self, text: &str) -> &mut Self {
        self.value(b"");
        self.quote(text);
        self
    }

    /// A whole number from 0.
    pub fn uint(&mut self, number: u64) -> &mut Self {
        self.value(b"");
        // Writing to a `Vec` cannot fail, here and below.
        let _ = write!(self.out, "{number}");
        self
    }

    /// A whole number.
    pub fn int(&mut self, number: i64) -> &mut Self {
        self.value(b"");
        let _ = write!(self.out, "{number}");
        self
    }

    /// Any number, in the fewest digits that read back as the same; `null` for what is no number
    /// or infinite, since JSON has no form for it (§6), as JavaScript does.
    pub fn float(&mut self, number: f64) -> &mut Self {
        if !number.is_finite() {
            return self.null();
        }
        self.value(b"");
        // `Debug` takes an exponent where `Display` would write 300 zeros.
        let _ = write!(self.out, "{number:?}");
        self
    }

    /// `true` or `false`.
    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.value(if value { b"true" } else { b"false" })
    }

    /// `null`.
    pub fn null(&mut self) -> &mut Self {
        self.value(b"null")
    }

    /// What comes before a value, and its first bytes.
    fn value(&mut self, bytes: &[u8]) -> &mut Self {
        debug_assert!(
            match self.open.last() {
                None => self.out.len() == self.start,
                Some(b'}') => self.last() == Some(b':'),
                Some(_) => true,
            },
            "a second value, or a member without its name"
        );
        self.comma();
        self.out.extend_from_slice(bytes);
        self
    }

    /// One is due unless a value comes first or belongs to a name. No value ends in these bytes.
    fn comma(&mut self) {
        if !matches!(self.last(), None | Some(b'[' | b'{' | b':')) {
            self.out.push(b',');
        }
    }

    fn opened(&mut self, end: u8) -> &mut Self {
        if cfg!(debug_assertions) {
            self.open.push(end);
        }
        self
    }

    fn close(&mut self, end: u8) -> &mut Self {
        debug_assert_eq!(self.open.pop(), Some(end), "an end without its beginning");
        debug_assert_ne!(self.last(), Some(b':'), "a name without its value");
        self.out.push(end);
        self
    }

    /// A string in quotes. Escaped is what has to be (§7); U+2028 and U+2029 are like any other
    /// characters, which only JavaScript source before 2019 held against them.
    fn quote(&mut self, text: &str) {
        self.out.push(b'"');
        let mut rest = text.as_bytes();
        let special = |&byte: &u8| byte == b'"' || byte == b'\\' || byte < 0x20;
        while let Some(at) = rest.iter().position(special) {
            self.out.extend_from_slice(&rest[..at]);
            let short = match rest[at] {
                0x8 => b'b',
                b'\t' => b't',
                b'\n' => b'n',
                0xc => b'f',
                b'\r' => b'r',
                itself @ (b'"' | b'\\') => itself,
                _ => b'u',
            };
            self.out.extend_from_slice(&[b'\\', short]);
            if short == b'u' {
                let _ = write!(self.out, "{:04x}", rest[at]);
            }
            rest = &rest[at + 1..];
        }
        self.out.extend_from_slice(rest);
        self.out.push(b'"');
    }

    /// The last byte of this value, so far.
    fn last(&self) -> Option<u8> {
        self.out[self.start..].last().copied()
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        let is_whole = self.open.is_empty() && self.out.len() > self.start;
        debug_assert!(is_whole || std::thread::panicking(), "half a value");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Writer<'_>)) -> String {
        let mut out = Vec::new();
        write(&mut Writer::new(&mut out));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn commas_stand_where_they_belong() {
        let text = written(|writer| {
            writer.begin_array().begin_array().end_array().begin_object().end_object();
            writer.uint(1).string("[").string("{").string(":").null();
            writer.begin_object().name("a").bool(true).name("b").begin_array().int(-1).end_array();
            writer.name(":").begin_object().name("").bool(false).end_object().end_object();
            writer.begin_array().begin_array().uint(2).end_array().uint(3).end_array().end_array();
        });
        let expected = r#"[[],{},1,"[","{",":",null,{"a":true,"b":[-1],":":{"":false}},[[2],3]]"#;
        assert_eq!(text, expected);
    }

    #[test]
    fn escapes_what_it_has_to_and_nothing_else() {
        let all: String =
            (0..0x20).map(char::from).chain("\"\\/\u{7f}é\u{2028}😀".chars()).collect();
        assert_eq!(
            written(|writer| {
                writer.string(&all);
            }),
            concat!(
                r#""\u0000\u0001\u0002\u0003\u0004\u0005\u0006\u0007\b\t\n\u000b\f\r\u000e\u000f"#,
                r#"\u0010\u0011\u0012\u0013\u0014\u0015\u0016\u0017\u0018\u0019\u001a\u001b\u001c"#,
                r#"\u001d\u001e\u001f\"\\/"#,
                "\u{7f}é\u{2028}😀\""
            )
        );
    }

    #[test]
    fn numbers_are_short_and_those_that_json_lacks_are_null() {
        let floats = [1.0, -0.0, 0.1, 1e300, f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
        let text = written(|writer| {
            writer.begin_array().uint(u64::MAX).int(i64::MIN);
            for number in floats {
                writer.float(number);
            }
            writer.end_array();
        });
        let floats = "1.0,-0.0,0.1,1e300,null,null,null";
        assert_eq!(text, format!("[18446744073709551615,-9223372036854775808,{floats}]"));
    }

    #[test]
    fn writes_behind_what_is_there() {
        let mut out = b"[1]\n".to_vec();
        Writer::new(&mut out).uint(2);
        out.push(b'\n');
        Writer::new(&mut out).begin_array().uint(3).end_array();
        assert_eq!(out, b"[1]\n2\n[3]");
    }

    #[test]
    #[cfg(debug_assertions)]
    fn misuse_is_a_panic_where_assertions_are_on() {
        type Misuse = fn(&mut Writer<'_>);
        let misuses: [(&str, Misuse); 10] = [
            ("nothing", |_| ()),
            ("two values", |writer| {
                writer.null().null();
            }),
            ("no name", |writer| {
                writer.begin_object().null().end_object();
            }),
            ("no value", |writer| {
                writer.begin_object().name("a").end_object();
            }),
            ("two names", |writer| {
                writer.begin_object().name("a").name("b");
            }),
            ("a name outside", |writer| {
                writer.name("a");
            }),
            ("a name in an array", |writer| {
                writer.begin_array().name("a");
            }),
            ("no end", |writer| {
                writer.begin_array();
            }),
            ("no beginning", |writer| {
                writer.null().end_array();
            }),
            ("another end", |writer| {
                writer.begin_array().end_object();
            }),
        ];
        for (name, misuse) in misuses {
            let outcome = std::panic::catch_unwind(|| written(misuse));
            assert!(outcome.is_err(), "{name}: {outcome:?}");
        }
    }
}
