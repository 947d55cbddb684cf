//! What a tape says: values, names, and the strings among them (RFC 8259 §3 to §7).
//!
//! Owns the meaning of escapes and numbers. Nothing here allocates but [`Text::to_cow`],
//! [`Text::unescape`] and [`Value::repeated_name`], and nothing here can fail: the reader has seen
//! the whole text.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use super::Token;

/// What a value is (§3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
    /// A number, as text.
    Number,
    /// A string, its escapes unresolved.
    String,
    /// Elements in order.
    Array,
    /// Members in order, repeated names included.
    Object,
}

/// A value of a text that was read. Questions that do not fit its [`Kind`] are answered by `None`.
#[derive(Clone, Copy)]
pub struct Value<'a> {
    /// The whole text, which the places in tokens are counted from.
    text: &'a str,
    /// The value's own: `tokens.len() == tokens[0].span`.
    tokens: &'a [Token],
}

impl<'a> Value<'a> {
    /// The value whose token comes first.
    pub(super) fn new(text: &'a str, tokens: &'a [Token]) -> Self {
        Self { text, tokens: &tokens[..tokens[0].span as usize] }
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.tokens[0].kind
    }

    /// Where its first byte is in the text.
    pub fn offset(&self) -> usize {
        self.tokens[0].start as usize
    }

    /// The piece of the text that it was read from.
    pub fn raw(&self) -> &'a str {
        raw(self.text, &self.tokens[0])
    }

    /// A boolean.
    pub fn as_bool(&self) -> Option<bool> {
        self.is(Kind::Bool).then_some(self.tokens[0].flag)
    }

    /// A whole number from 0, written without sign, point or exponent: `22` and never `22.0`.
    pub fn as_u64(&self) -> Option<u64> {
        self.as_number()?.parse().ok()
    }

    /// A whole number, written without point or exponent.
    pub fn as_i64(&self) -> Option<i64> {
        self.as_number()?.parse().ok()
    }

    /// The nearest double to any number, which beyond their range is an infinity, as in JavaScript.
    pub fn as_f64(&self) -> Option<f64> {
        self.as_number()?.parse().ok()
    }

    /// Any number, as it is written (§6).
    pub fn as_number(&self) -> Option<&'a str> {
        self.is(Kind::Number).then(|| self.raw())
    }

    /// A string.
    pub fn as_text(&self) -> Option<Text<'a>> {
        self.is(Kind::String).then(|| Text::new(self.text, &self.tokens[0]))
    }

    /// The elements of an array.
    pub fn elements(&self) -> Option<Elements<'a>> {
        let rest = &self.tokens[1..];
        self.is(Kind::Array).then_some(Elements { text: self.text, rest })
    }

    /// The members of an object.
    pub fn members(&self) -> Option<Members<'a>> {
        let rest = &self.tokens[1..];
        self.is(Kind::Object).then_some(Members { text: self.text, rest })
    }

    /// The value of an object's member, the last one if there are several, as in JavaScript. Looks
    /// at all names.
    pub fn get(&self, name: &str) -> Option<Value<'a>> {
        self.members()?.filter(|(text, _)| *text == name).last().map(|(_, value)| value)
    }

    /// A name that an object has more than once (§4 says what that leads to). Names are the same
    /// when their characters are, however they are escaped.
    ///
    /// Sorts the names, at 4 bytes each. A hundred thousand take a tenth of a second, so whoever
    /// asks has limited the nodes.
    pub fn repeated_name(&self) -> Option<Text<'a>> {
        let mut names = Vec::new();
        let mut rest = self.members()?.rest;
        while let [_, value, ..] = rest {
            names.push((self.tokens.len() - rest.len()) as u32);
            rest = &rest[1 + value.span as usize..];
        }
        let name = |at: &u32| Text::new(self.text, &self.tokens[*at as usize]);
        names.sort_unstable_by(|a, b| name(a).order(name(b)));
        let pair = names.windows(2).find(|pair| name(&pair[0]) == name(&pair[1]))?;
        Some(name(&pair[0]))
    }

    fn is(&self, kind: Kind) -> bool {
        self.kind() == kind
    }
}

/// As it was written.
impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.raw())
    }
}

/// The elements of an array, in order. What is not looked at costs nothing.
#[derive(Debug, Clone)]
pub struct Elements<'a> {
    text: &'a str,
    rest: &'a [Token],
}

impl<'a> Iterator for Elements<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let value = Value::new(self.text, self.rest);
        self.rest = &self.rest[value.tokens.len()..];
        Some(value)
    }
}

/// The members of an object, in order. What is not looked at costs nothing.
#[derive(Debug, Clone)]
pub struct Members<'a> {
    text: &'a str,
    rest: &'a [Token],
}

impl<'a> Iterator for Members<'a> {
    type Item = (Text<'a>, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, rest) = self.rest.split_first()?;
        let value = Value::new(self.text, rest);
        self.rest = &rest[value.tokens.len()..];
        Some((Text::new(self.text, name), value))
    }
}

/// A string or a name: a piece of the text, without its quotes and with its escapes.
///
/// Texts are equal, to each other and to a `&str`, when they are so with their escapes resolved. An
/// escaped surrogate without its other half, which JavaScript writes and UTF-8 has no room for, is
/// U+FFFD (§8.2).
#[derive(Debug, Clone, Copy)]
pub struct Text<'a> {
    inner: &'a str,
    has_escapes: bool,
}

impl<'a> Text<'a> {
    fn new(text: &'a str, token: &Token) -> Self {
        let quoted = raw(text, token);
        Self { inner: &quoted[1..quoted.len() - 1], has_escapes: token.flag }
    }

    /// The string itself, if it has no escapes.
    pub fn as_str(&self) -> Option<&'a str> {
        (!self.has_escapes).then_some(self.inner)
    }

    /// The string, copied only if it has escapes.
    pub fn to_cow(&self) -> Cow<'a, str> {
        match self.as_str() {
            Some(plain) => Cow::Borrowed(plain),
            None => {
                let mut out = String::new();
                self.unescape(&mut out);
                Cow::Owned(out)
            }
        }
    }

    /// Appends the string to `out`. It never becomes longer than its escapes were.
    pub fn unescape(&self, out: &mut String) {
        out.reserve(self.inner.len());
        let mut rest = self.inner;
        while let Some(at) = rest.find('\\') {
            let (plain, escaped) = rest.split_at(at);
            let (character, len) = resolve(escaped);
            out.push_str(plain);
            out.push(character);
            rest = &escaped[len..];
        }
        out.push_str(rest);
    }

    /// The characters of the string.
    pub fn chars(&self) -> impl Iterator<Item = char> + 'a {
        let mut rest = self.inner;
        std::iter::from_fn(move || {
            let (character, len) = match rest.chars().next()? {
                '\\' => resolve(rest),
                plain => (plain, plain.len_utf8()),
            };
            rest = &rest[len..];
            Some(character)
        })
    }

    /// By characters, which is the order of UTF-8 bytes as well.
    fn order(self, other: Text<'_>) -> Ordering {
        match (self.as_str(), other.as_str()) {
            (Some(a), Some(b)) => a.cmp(b),
            _ => self.chars().cmp(other.chars()),
        }
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.order(*other).is_eq()
    }
}

impl Eq for Text<'_> {}

impl PartialEq<&str> for Text<'_> {
    fn eq(&self, other: &&str) -> bool {
        match self.as_str() {
            Some(plain) => plain == *other,
            None => self.chars().eq(other.chars()),
        }
    }
}

fn raw<'a>(text: &'a str, token: &Token) -> &'a str {
    &text[token.start as usize..token.end as usize]
}

/// The character of the escape at the start of `text`, which the reader has checked, and the
/// length of that escape (§7).
fn resolve(text: &str) -> (char, usize) {
    let character = match text.as_bytes()[1] {
        b'u' => return resolve_code(text),
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        itself => char::from(itself),
    };
    (character, 2)
}

/// `\u` and four digits, or two of them for what is beyond the Basic Multilingual Plane (§7).
fn resolve_code(text: &str) -> (char, usize) {
    let unit = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
        u32::from_str_radix(digits, 16).ok()
    };
    match (unit(0), unit(6)) {
        (Some(high @ 0xd800..=0xdbff), Some(low @ 0xdc00..=0xdfff)) => {
            let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
            (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 12)
        }
        (code, _) => {
            let character = code.and_then(char::from_u32);
            (character.unwrap_or(char::REPLACEMENT_CHARACTER), 6)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Limits, Tape};
    use super::*;

    const LIMITS: Limits = Limits { bytes: 1 << 20, nodes: 1 << 20, depth: 64 };

    /// What `question` gets out of `text`.
    fn ask<T>(text: &str, question: impl Fn(Value<'_>) -> T) -> T {
        let mut tape = Tape::default();
        question(tape.read(text.as_bytes(), LIMITS).expect(text))
    }

    #[test]
    fn a_port_is_digits_and_nothing_else() {
        for (text, number) in [("0", 0), ("22", 22), (" 65536\n", 65536)] {
            assert_eq!(ask(text, |value| value.as_u64()), Some(number));
        }
        assert_eq!(ask("18446744073709551615", |value| value.as_u64()), Some(u64::MAX));
        for text in ["22.0", "1e1", "-1", "-0", "18446744073709551616", "\"22\"", "[22]", "null"] {
            assert_eq!(ask(text, |value| value.as_u64()), None, "{text}");
        }
    }

    #[test]
    fn numbers_are_kept_as_written_and_read_as_asked() {
        assert_eq!(ask("-9223372036854775808", |value| value.as_i64()), Some(i64::MIN));
        assert_eq!(ask("-0", |value| value.as_i64()), Some(0));
        for text in ["9223372036854775808", "1.0", "-1e2", "true"] {
            assert_eq!(ask(text, |value| value.as_i64()), None, "{text}");
        }
        let doubles = [
            ("0.1", 0.1),
            ("1E+5", 1e5),
            ("9007199254740993", 9007199254740992.0),
            ("1e400", f64::INFINITY),
            ("-1e400", f64::NEG_INFINITY),
            ("1e-400", 0.0),
        ];
        for (text, number) in doubles {
            assert_eq!(ask(text, |value| value.as_f64()), Some(number), "{text}");
            assert!(ask(text, |value| value.as_number() == Some(text)));
        }
        assert!(ask("-0", |value| value.as_f64().is_some_and(f64::is_sign_negative)));
        assert_eq!(ask("\"1\"", |value| value.as_f64()), None);
    }

    #[test]
    fn a_string_without_escapes_is_a_piece_of_the_text() {
        let text = r#"["tcp","a\u0062c"]"#;
        let mut tape = Tape::default();
        let value = tape.read(text.as_bytes(), LIMITS).unwrap();
        let texts: Vec<_> = value.elements().unwrap().filter_map(|value| value.as_text()).collect();
        let plain = texts[0].as_str().unwrap();
        assert_eq!((plain, plain.as_ptr()), ("tcp", text[2..].as_ptr()));
        assert!(matches!(texts[0].to_cow(), Cow::Borrowed("tcp")));
        assert_eq!(texts[1].as_str(), None);
        assert_eq!(texts[1].to_cow(), "abc");
        assert!(texts[1] == "abc" && texts[1] != "ab" && texts[1] != "abcd");
    }

    #[test]
    fn resolves_escapes() {
        let cases = [
            (r#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{c}\n\r\t"),
            (r#""\u0000\u001F\u00e9\u20AC""#, "\0\u{1f}é€"),
            (r#""\uFFFF\uffff""#, "\u{ffff}\u{ffff}"),
            (r#""a\ud83d\ude00b""#, "a😀b"),
            (r#""\udbff\udfff""#, "\u{10ffff}"),
            (r#""\\u0041""#, "\\u0041"),
            // A half without its other one is U+FFFD, and what follows it is itself.
            (r#""\ud800""#, "\u{fffd}"),
            (r#""\udc00\ud800""#, "\u{fffd}\u{fffd}"),
            (r#""\ud800\ud83d\ude00""#, "\u{fffd}😀"),
            (r#""\ud800\u0041""#, "\u{fffd}A"),
            (r#""\ud800\n""#, "\u{fffd}\n"),
            (r#""\ud800\\udc00""#, "\u{fffd}\\udc00"),
            (r#""\ud800udc00é""#, "\u{fffd}udc00é"),
            (r#""\ud800ééé""#, "\u{fffd}ééé"),
        ];
        for (text, string) in cases {
            assert_eq!(ask(text, |value| value.as_text().unwrap().to_cow().into_owned()), string);
            assert!(ask(text, |value| value.as_text().unwrap() == string), "{text}");
            let appended = ask(text, |value| {
                let mut out = String::from("x");
                value.as_text().unwrap().unescape(&mut out);
                out
            });
            assert_eq!(appended, format!("x{string}"));
        }
    }

    #[test]
    fn members_keep_their_order_and_the_last_of_a_name_is_found() {
        let text = r#"{"a":1,"b":{"c":[2,{"a":9}]},"\u0061":3,"":4}"#;
        let names = ask(text, |value| {
            value.members().unwrap().map(|(name, _)| name.to_cow().into_owned()).collect::<Vec<_>>()
        });
        assert_eq!(names, ["a", "b", "a", ""]);
        assert_eq!(ask(text, |value| value.get("a")?.as_u64()), Some(3));
        assert_eq!(ask(text, |value| value.get("")?.as_u64()), Some(4));
        assert!(ask(text, |value| value.get("c").is_none()));
        let inner =
            |value: Value<'_>| value.get("b")?.get("c")?.elements()?.nth(1)?.get("a")?.as_u64();
        assert_eq!(ask(text, inner), Some(9));
        assert!(ask("[1]", |value| value.get("a").is_none() && value.members().is_none()));
    }

    #[test]
    fn a_repeated_name_can_be_refused() {
        let repeated = |text: &str| {
            ask(text, |value| value.repeated_name().map(|name| name.to_cow().into_owned()))
        };
        for text in ["{}", "[]", r#"{"a":1}"#, r#"{"a":{"a":1},"b":{"a":1},"A":2,"a ":3}"#] {
            assert_eq!(repeated(text), None, "{text}");
        }
        assert_eq!(repeated(r#"{"a":[1,2],"b":{"c":0},"\u0061":3}"#).as_deref(), Some("a"));
        assert_eq!(repeated(r#"{"":1,"x":2,"":3}"#).as_deref(), Some(""));
    }

    #[test]
    fn a_value_knows_its_place_in_the_text() {
        let text = "  [ \"é\" , {\"a\" : [ ] } , -1.5e3,null ] ";
        let mut tape = Tape::default();
        let value = tape.read(text.as_bytes(), LIMITS).unwrap();
        assert_eq!((value.offset(), value.raw()), (2, text.trim()));
        let raws: Vec<_> = value.elements().unwrap().map(|value| value.raw()).collect();
        assert_eq!(raws, ["\"é\"", "{\"a\" : [ ] }", "-1.5e3", "null"]);
        let kinds: Vec<_> = value.elements().unwrap().map(|value| value.kind()).collect();
        assert_eq!(kinds, [Kind::String, Kind::Object, Kind::Number, Kind::Null]);
    }
}
