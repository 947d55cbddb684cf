//! JSON: serde_json's opinion is ours, limits are exact, and what is written again is the same.
//!
//! The input is the text. Named differences: half a surrogate pair is U+FFFD for us and an error
//! for the other library, and so is a number beyond all doubles, which has its value for us.

#![no_main]

use std::collections::HashMap;

use libfuzzer_sys::fuzz_target;
use serde_json::json;
use ws_tcp_proxy::proto::json::{JsonError, Kind, Limits, Reason, Tape, Text, Value, Writer};

/// As deep as serde_json goes.
const LIMITS: Limits = Limits { bytes: usize::MAX, nodes: usize::MAX, depth: 127 };

fuzz_target!(|data: &[u8]| {
    let repaired = without_lone_surrogates(data);
    let theirs = serde_json::from_slice::<serde_json::Value>(&repaired);
    let mut tape = Tape::default();
    match (theirs, tape.read(data, LIMITS)) {
        (Ok(theirs), Ok(value)) => {
            assert_eq!(model(value), theirs);
            check(data, value, &theirs);
        }
        (Err(error), Ok(value)) if error.to_string().starts_with("number out of range") => {
            assert!(has_infinity(value), "{error}");
        }
        (Err(_), Err(error)) => check_error(data, error),
        (theirs, ours) => panic!("{theirs:?}, but {ours:?}"),
    }
});

/// A value as the other library has it. Of a repeated name the last stays.
fn model(value: Value<'_>) -> serde_json::Value {
    match value.kind() {
        Kind::Null => json!(null),
        Kind::Bool => json!(value.as_bool().unwrap()),
        Kind::Number if value.raw() == "-0" => json!(-0.0),
        Kind::Number => match (value.as_u64(), value.as_i64()) {
            (Some(number), _) => json!(number),
            (_, Some(number)) => json!(number),
            _ => json!(value.as_f64().unwrap()),
        },
        Kind::String => json!(string(value.as_text().unwrap())),
        Kind::Array => value.elements().unwrap().map(model).collect(),
        Kind::Object => {
            value.members().unwrap().map(|(name, value)| (string(name), model(value))).collect()
        }
    }
}

/// A string, the same in every way of asking for it.
fn string(text: Text<'_>) -> String {
    let mut out = String::from(">");
    text.unescape(&mut out);
    assert_eq!(text.to_cow(), out[1..]);
    assert!(text.as_str().map_or(true, |plain| plain == &out[1..]));
    assert!(text.chars().eq(out[1..].chars()) && text == &out[1..] && text != out.as_str());
    out.split_off(1)
}

/// What holds for a text that was accepted.
fn check(data: &[u8], value: Value<'_>, theirs: &serde_json::Value) {
    let (nodes, depth) = size(value);
    let exact = Limits { bytes: data.len(), nodes, depth };
    assert!(Tape::default().read(data, exact).is_ok(), "{exact:?}");
    let refused = |limits| Tape::default().read(data, limits).unwrap_err().reason;
    let bytes = data.len() - 1;
    assert_eq!(refused(Limits { bytes, ..exact }), Reason::TooLong(bytes));
    assert_eq!(refused(Limits { nodes: nodes - 1, ..exact }), Reason::TooManyNodes(nodes - 1));
    if let Some(depth) = depth.checked_sub(1) {
        assert_eq!(refused(Limits { depth, ..exact }), Reason::TooDeep(depth));
    }
    names(value);
    let mut again = b"\0".to_vec();
    write(value, &mut Writer::new(&mut again));
    assert_eq!(&serde_json::from_slice::<serde_json::Value>(&again[1..]).unwrap(), theirs);
    let mut tape = Tape::default();
    assert_eq!(&model(tape.read(&again[1..], LIMITS).unwrap()), theirs);
}

/// Values and names, and how deep they are.
fn size(value: Value<'_>) -> (usize, usize) {
    let add = |(nodes, depth): (usize, usize), (n, inner): (usize, usize)| {
        (nodes + n, depth.max(inner + 1))
    };
    let elements = value.elements().into_iter().flatten().map(size);
    let members = value.members().into_iter().flatten().map(|(_, value)| {
        let (nodes, depth) = size(value);
        (nodes + 1, depth)
    });
    let is_nested = value.elements().is_some() || value.members().is_some();
    elements.chain(members).fold((1, usize::from(is_nested)), add)
}

/// Names lead to the last member that has them, and one that is repeated is found.
fn names(value: Value<'_>) {
    let mut last = HashMap::new();
    let mut repeated = Vec::new();
    for (name, member) in value.members().into_iter().flatten() {
        if last.insert(string(name), member.offset()).is_some() {
            repeated.push(string(name));
        }
        names(member);
    }
    value.elements().into_iter().flatten().for_each(names);
    for (name, offset) in &last {
        assert_eq!(value.get(name).map(|value| value.offset()), Some(*offset));
    }
    match value.repeated_name() {
        Some(name) => assert!(repeated.contains(&string(name))),
        None => assert!(repeated.is_empty()),
    }
}

fn write(value: Value<'_>, writer: &mut Writer<'_>) {
    match value.kind() {
        Kind::Null => writer.null(),
        Kind::Bool => writer.bool(value.as_bool().unwrap()),
        Kind::Number if value.raw() == "-0" => writer.float(-0.0),
        Kind::Number => match (value.as_u64(), value.as_i64()) {
            (Some(number), _) => writer.uint(number),
            (_, Some(number)) => writer.int(number),
            _ => writer.float(value.as_f64().unwrap()),
        },
        Kind::String => writer.string(&value.as_text().unwrap().to_cow()),
        Kind::Array => {
            writer.begin_array();
            value.elements().unwrap().for_each(|value| write(value, writer));
            writer.end_array()
        }
        Kind::Object => {
            writer.begin_object();
            for (name, value) in value.members().unwrap() {
                write(value, writer.name(&name.to_cow()));
            }
            writer.end_object()
        }
    };
}

/// What holds for a text that was refused: the error is in it, and the text up to there is enough,
/// unless so little text is too little for its brackets already.
fn check_error(data: &[u8], error: JsonError) {
    assert!(error.at <= data.len(), "{error}");
    assert!(!error.to_string().contains(char::is_control));
    let end = data.len().min(error.at + 1);
    if std::str::from_utf8(&data[..end]).is_ok() {
        let seen = Tape::default().read(&data[..end], LIMITS).unwrap_err();
        assert!(seen == error || seen.reason == Reason::Unclosed, "{seen}, but {error}");
    }
}

fn has_infinity(value: Value<'_>) -> bool {
    value.as_f64().is_some_and(f64::is_infinite)
        || value.elements().into_iter().flatten().any(has_infinity)
        || value.members().into_iter().flatten().any(|(_, value)| has_infinity(value))
}

/// Escaped halves of surrogate pairs as U+FFFD, every place in the text staying the same.
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
