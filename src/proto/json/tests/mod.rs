//! What is JSON and what is not, what a hostile text costs, and a second opinion on both.

mod refused;

use serde_json::json;

use self::refused::REFUSED;
use super::*;
use crate::testing::Random;

/// As deep as serde_json goes.
const LIMITS: Limits = Limits { bytes: 1 << 20, nodes: usize::MAX, depth: 127 };

fn refusal(text: impl AsRef<[u8]>, limits: Limits) -> JsonError {
    let text = text.as_ref();
    match Tape::default().read(text, limits) {
        Ok(_) => panic!("accepted {:?}", String::from_utf8_lossy(&text[..text.len().min(80)])),
        Err(error) => error,
    }
}

/// A value as the other library has it. Of a repeated name the last stays.
fn theirs(value: Value<'_>) -> serde_json::Value {
    match value.kind() {
        Kind::Null => json!(null),
        Kind::Bool => json!(value.as_bool().unwrap()),
        // They take -0 for a double.
        Kind::Number if value.raw() == "-0" => json!(-0.0),
        Kind::Number => match (value.as_u64(), value.as_i64()) {
            (Some(number), _) => json!(number),
            (_, Some(number)) => json!(number),
            _ => json!(value.as_f64().unwrap()),
        },
        Kind::String => json!(value.as_text().unwrap().to_cow()),
        Kind::Array => value.elements().unwrap().map(theirs).collect(),
        Kind::Object => {
            let members = value.members().unwrap();
            members.map(|(name, value)| (name.to_cow().into_owned(), theirs(value))).collect()
        }
    }
}

fn write(value: &serde_json::Value, writer: &mut Writer<'_>) {
    match value {
        serde_json::Value::Null => writer.null(),
        serde_json::Value::Bool(value) => writer.bool(*value),
        serde_json::Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => writer.uint(number),
            (_, Some(number)) => writer.int(number),
            _ => writer.float(number.as_f64().unwrap()),
        },
        serde_json::Value::String(text) => writer.string(text),
        serde_json::Value::Array(elements) => {
            writer.begin_array();
            elements.iter().for_each(|value| write(value, writer));
            writer.end_array()
        }
        serde_json::Value::Object(members) => {
            writer.begin_object();
            members.iter().for_each(|(name, value)| write(value, writer.name(name)));
            writer.end_object()
        }
    };
}

/// Escaped halves of surrogate pairs as the U+FFFD that we take them for and that the other library
/// refuses. Every place in the text stays the same.
fn without_lone_surrogates(text: &[u8]) -> Vec<u8> {
    let mut text = text.to_vec();
    let unit = |text: &[u8], at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix(b"\\u")?;
        let is_hex = digits.iter().all(u8::is_ascii_hexdigit);
        u16::from_str_radix(std::str::from_utf8(digits).ok().filter(|_| is_hex)?, 16).ok()
    };
    let mut at = 0;
    while at < text.len() {
        at += match (text[at], unit(&text, at), unit(&text, at + 6)) {
            (b'\\', Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (b'\\', Some(0xd800..=0xdfff), _) => {
                text[at + 2..at + 6].copy_from_slice(b"fffd");
                6
            }
            (b'\\', ..) => 2,
            _ => 1,
        };
    }
    text
}

/// Both accept and mean the same, or both refuse. Says whether they accept.
fn agrees_with_serde_json(text: &[u8]) -> bool {
    let mut tape = Tape::default();
    let ours = tape.read(text, LIMITS);
    let shown = String::from_utf8_lossy(text);
    match (serde_json::from_slice::<serde_json::Value>(&without_lone_surrogates(text)), ours) {
        (Ok(expected), Ok(value)) => {
            assert_eq!(theirs(value), expected, "{shown}");
            true
        }
        (Err(_), Err(error)) => {
            assert!(error.at <= text.len(), "{error} in {shown}");
            false
        }
        // A number beyond all doubles has its value for us, and what comes after it was not seen.
        (Err(error), _) if error.to_string().starts_with("number out of range") => false,
        (expected, value) => panic!("{expected:?}, but {value:?}: {shown}"),
    }
}

#[test]
fn takes_what_rfc_8259_allows() {
    let texts: &[&str] = &[
        "null",
        "true",
        "false",
        "0",
        "-0",
        "7",
        "-12",
        "0.5",
        "-0.0",
        "1e5",
        "1E+5",
        "1e-0",
        "0e0",
        "1.25E02",
        "1e007",
        "123456789012345678901234567890",
        "0.1e-400",
        "\"\"",
        "\"a\"",
        "[]",
        "{}",
        "[ ]",
        "{ }",
        "[[]]",
        "[{}]",
        "[[],[]]",
        "[[[1]],2]",
        "[1,2,3]",
        "{\"\":0}",
        "{\"a\":{}}",
        "{\"a\":1,\"a\":2}",
        "{\"a\":[{\"b\":[]}],\"c\":0}",
        " 1 ",
        "\t[\r\n1 ,\n2 ]\r",
        "{ \"a\" : 1 }",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
        "\"\\u0041\\u00e9\\u20AC\"",
        "\"\\ud83d\\ude00\"",
        "\"\\u0000\"",
        "\"/ \u{7f}\u{80}é€\u{2028}\u{2029}😀\u{10ffff}\u{feff}\u{fffe}\"",
        "\"[,]{:}\"",
        "[\"]\",\"\\\"\"]",
        "{\"]\":\"}\"}",
    ];
    for text in texts {
        assert!(agrees_with_serde_json(text.as_bytes()), "refused {text}");
    }
    // These are named differences: they have no value in UTF-8 and among doubles.
    for text in
        ["\"\\ud800\"", "\"\\uDFFF\"", "[\"\\ud800\\ud800\"]", "1e400", "-1e999999999999999999999"]
    {
        assert!(serde_json::from_str::<serde_json::Value>(text).is_err(), "{text}");
        assert!(Tape::default().read(text.as_bytes(), LIMITS).is_ok(), "{text}");
    }
}

#[test]
fn refuses_all_else_and_says_where() {
    for (text, error) in REFUSED {
        assert_eq!(refusal(text, LIMITS).to_string(), *error, "{text}");
        assert!(!agrees_with_serde_json(text.as_bytes()), "{text}");
    }
}

/// RFC 3629: overlong forms, surrogates, what is beyond U+10FFFF, and what is cut off.
#[test]
fn refuses_what_is_not_utf_8_wherever_it_is() {
    let pieces: [&[u8]; 9] = [
        b"\x80",
        b"\xc0\xaf",
        b"\xc1\xbf",
        b"\xe0\x80\xaf",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xf8\x88\x80\x80\x80",
        b"\xe2\x82",
        b"\xff",
    ];
    for piece in pieces {
        for (before, after) in
            [("", ""), ("[\"a", "\"]"), ("{\"", "\":1}"), ("[1,", "]"), ("1", "")]
        {
            let text = [before.as_bytes(), piece, after.as_bytes()].concat();
            let error = refusal(&text, LIMITS);
            assert_eq!(error, JsonError { at: before.len(), reason: Reason::NotUtf8 }, "{text:x?}");
            assert!(!agrees_with_serde_json(&text), "{text:x?}");
        }
    }
    // UTF-16 with a byte order mark.
    assert_eq!(refusal(b"\xff\xfe1\0", LIMITS).to_string(), "not UTF-8 at byte 0");
}

#[test]
fn every_limit_is_exact() {
    let text = r#" {"a":[[],1],"b":"c"} "#;
    let limits = Limits { bytes: text.len(), nodes: 7, depth: 3 };
    assert!(Tape::default().read(text.as_bytes(), limits).is_ok());
    let cases = [
        (Limits { bytes: text.len() - 1, ..limits }, "longer than 21 bytes at byte 21"),
        (Limits { nodes: 6, ..limits }, "more than 6 values and names at byte 17"),
        (Limits { nodes: 0, ..limits }, "more than 0 values and names at byte 1"),
        (Limits { depth: 2, ..limits }, "nested more than 2 deep at byte 7"),
        (Limits { depth: 0, ..limits }, "nested more than 0 deep at byte 1"),
    ];
    for (limits, error) in cases {
        assert_eq!(refusal(text, limits).to_string(), error);
    }
    let scalars = Limits { bytes: 4, nodes: 1, depth: 0 };
    assert!(Tape::default().read(b"true", scalars).is_ok());
}

#[test]
fn a_million_brackets_end_at_the_depth_limit() {
    for open in ["[", "{\"a\":", "[0,", "[[],", "{\"\":0,\"a\":[", " [\n"] {
        let text = open.repeat((1 << 20) / open.len());
        let error = refusal(&text, LIMITS);
        assert_eq!(error.reason, Reason::TooDeep(127), "{open}");
        // The stack has no part in it: with no limit the end of the text is what ends it.
        let endless = Limits { depth: usize::MAX, ..LIMITS };
        assert!(matches!(
            refusal(&text, endless).reason,
            Reason::Unclosed | Reason::Value | Reason::Name | Reason::ValueOrEnd
        ));
    }
    let deep = ["[".repeat(1 << 19), "]".repeat(1 << 19)].concat();
    let limits = Limits { depth: 1 << 19, ..LIMITS };
    let mut tape = Tape::default();
    let mut value = tape.read(deep.as_bytes(), limits).unwrap();
    let mut depth = 1;
    while let Some(inner) = value.elements().and_then(|mut elements| elements.next()) {
        (value, depth) = (inner, depth + 1);
    }
    assert_eq!(depth, 1 << 19);
}

/// `piece` again and again between two ends, about 1 MB.
fn hostile(begin: &str, piece: &str, end: &str) -> String {
    let body = piece.repeat((1_000_000 - begin.len() - end.len()) / piece.len());
    [begin, &body, end].concat()
}

#[test]
fn a_hostile_text_takes_at_most_13_times_its_size() {
    let deep = 500_000;
    let texts = [
        hostile("[", "0,", "0]"),
        hostile("[", "[],", "0]"),
        hostile("[", "{},", "0]"),
        hostile("[", "[0],", "0]"),
        hostile("[", "[[0]],", "0]"),
        hostile("[", "\"\",", "0]"),
        hostile("{", "\"\":0,", "\"\":0}"),
        hostile("{", "\"\":[],", "\"\":0}"),
        hostile("[", "{\"\":0},", "0]"),
        hostile("[", "0 ,", "0]"),
        hostile("\"", "x", "\""),
        hostile("\"", "\\n", "\""),
        ["[".repeat(deep), "]".repeat(deep)].concat(),
        ["[".repeat(deep - 1), "0".to_owned(), "]".repeat(deep - 1)].concat(),
        // Dense behind a part that is not, and the other way round.
        ["[\"", &"x".repeat(600_000), "\"", &",0".repeat(199_998), "]"].concat(),
        ["[", &"0,".repeat(199_998), "\"", &"x".repeat(600_000), "\"]"].concat(),
        // Never closed: what is left of the text is too short for what was promised.
        "[".repeat(1_000_000),
        ["\"x\"", &"[".repeat(999_997)].concat(),
        ["[\"", &"x".repeat(500_000), "\"", &",[0".repeat(166_000)].concat(),
        hostile("[", "[0,", "0]"),
    ];
    let limits = Limits { depth: usize::MAX, ..LIMITS };
    for text in &texts {
        for limits in [limits, Limits { depth: 512, ..limits }, Limits { nodes: 10_000, ..limits }]
        {
            let mut tokens = Vec::new();
            let outcome = Reader::read(&mut tokens, text.as_bytes(), limits);
            let (bytes, shown) = (tokens.capacity() * size_of::<Token>(), &text[..20]);
            assert!(bytes <= 13 * text.len(), "{bytes} bytes for {shown}, {outcome:?}");
            assert!(bytes <= 8 * text.len() + 16, "{bytes} bytes for {shown}");
            assert!(tokens.len() <= limits.nodes && tokens.capacity() <= limits.nodes.max(64));
        }
    }
}

#[test]
fn storage_is_used_again_and_what_was_outsized_goes_back() {
    let mut tape = Tape::default();
    let large = hostile("[", "0,", "0]");
    tape.read(large.as_bytes(), LIMITS).unwrap();
    assert!(tape.tokens.capacity() > KEPT);
    tape.read(b"[1,2]", LIMITS).unwrap();
    assert_eq!(tape.tokens.capacity(), KEPT);
    let place = tape.tokens.as_ptr();
    for _ in 0..10 {
        let text = ["[", &"0,".repeat(KEPT - 2), "0]"].concat();
        tape.read(text.as_bytes(), LIMITS).unwrap();
        assert!(tape.read(b"[1,2", LIMITS).is_err());
    }
    assert_eq!((tape.tokens.as_ptr(), tape.tokens.capacity()), (place, KEPT));
    // A refused text does not wait for the next, and whoever knows better need not either.
    assert!(tape.read(&large.as_bytes()[..large.len() - 1], LIMITS).is_err());
    assert_eq!(tape.tokens.capacity(), KEPT);
    tape.read(large.as_bytes(), LIMITS).unwrap();
    tape.clear();
    assert_eq!(tape.tokens.capacity(), KEPT);
}

#[test]
fn an_error_leaves_the_tape_as_good_as_new() {
    let mut tape = Tape::default();
    for broken in ["[[[", "{\"a\":[", "[1,2,\"", "\u{feff}", ""] {
        assert!(tape.read(broken.as_bytes(), LIMITS).is_err());
        let value = tape.read(b"{\"a\":[1]}", LIMITS).unwrap();
        assert_eq!(theirs(value), json!({"a": [1]}));
    }
}

/// A value at most `depth` deep, with all that is special about strings and numbers.
fn random_value(random: &mut Random, depth: usize) -> serde_json::Value {
    match random.below(if depth == 0 { 6 } else { 10 }) {
        0 => json!(null),
        1 => json!(random.below(2) == 0),
        2 => json!(random.next() >> random.below(64)),
        3 => json!((random.next() >> random.below(64)) as i64),
        4 => match f64::from_bits(random.next()) {
            number if number.is_finite() => json!(number),
            _ => json!(random.below(1000) as f64 / 8.0),
        },
        5 => json!(random_text(random)),
        6 | 7 => (0..random.below(5)).map(|_| random_value(random, depth - 1)).collect(),
        _ => {
            let members = 0..random.below(5);
            members.map(|_| (random_text(random), random_value(random, depth - 1))).collect()
        }
    }
}

fn random_text(random: &mut Random) -> String {
    let character = |_| match random.below(6) {
        0 => char::from(random.below(0x20) as u8),
        1 => ['"', '\\', '/', '\u{7f}', '\u{2028}', 'u', '\u{fffd}'][random.below(7)],
        2 => char::from_u32(random.below(0x11_0000) as u32).unwrap_or('\u{ffff}'),
        _ => char::from(b'a' + random.below(26) as u8),
    };
    (0..6).map(character).take(5).collect::<String>()
}

#[test]
fn what_serde_json_writes_we_read_and_the_other_way_round() {
    let mut random = Random::new("what_serde_json_writes_we_read_and_the_other_way_round");
    let mut tape = Tape::default();
    for _ in 0..4000 {
        let value = random_value(&mut random, 5);
        for text in [serde_json::to_vec(&value), serde_json::to_vec_pretty(&value)] {
            let text = text.unwrap();
            assert_eq!(theirs(tape.read(&text, LIMITS).unwrap()), value);
        }
        let mut text = Vec::new();
        write(&value, &mut Writer::new(&mut text));
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&text).unwrap(), value);
        assert_eq!(theirs(tape.read(&text, LIMITS).unwrap()), value);
        if let Some(members) = value.as_object() {
            let ours = tape.read(&text, LIMITS).unwrap();
            assert_eq!(ours.repeated_name(), None);
            for (name, member) in members {
                assert_eq!(theirs(ours.get(name).unwrap()), *member);
            }
        }
    }
}

#[test]
fn agrees_with_serde_json_on_damaged_texts() {
    const PIECES: [&str; 24] = [
        "[", "]", "{", "}", ",", ":", "\"", "\\", "\\u", "d800", "\\udc00", "-", "0", "1", ".",
        "e", "+", " ", "\n", "\t", "true", "null", "\"a\":", "\u{feff}",
    ];
    let mut random = Random::new("agrees_with_serde_json_on_damaged_texts");
    let mut accepted = 0;
    for _ in 0..20_000 {
        let value = random_value(&mut random, 3);
        let mut text = serde_json::to_vec(&value).unwrap();
        for _ in 0..=random.below(3) {
            let at = random.below(text.len() + 1);
            match random.below(5) {
                0 => text.truncate(at),
                1 if at < text.len() => text[at] ^= 1 << random.below(8),
                2 if at < text.len() => drop(text.remove(at)),
                3 => text.insert(at, random.next() as u8),
                _ => drop(text.splice(at..at, PIECES[random.below(24)].bytes())),
            }
        }
        accepted += usize::from(agrees_with_serde_json(&text));
    }
    assert!(accepted > 500, "{accepted} accepted: too few to mean anything");
}

#[test]
fn agrees_with_serde_json_on_every_short_text() {
    const ALPHABET: &[u8] = b"[]{},:\"\\0-.e1 ";
    for len in 0..=5 {
        for mut number in 0..ALPHABET.len().pow(len) {
            let text: Vec<u8> = (0..len)
                .map(|_| {
                    let byte = ALPHABET[number % ALPHABET.len()];
                    number /= ALPHABET.len();
                    byte
                })
                .collect();
            agrees_with_serde_json(&text);
        }
    }
}
