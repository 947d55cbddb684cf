//! Token files, percent-encoding and queries: no bytes may panic, and each says what a plain reading
//! of it says.
//!
//! ```text
//! input = where the text is cut into two files (2 bytes), a name (length and bytes), then
//!         a text, which is read as a token file, as a destination and as a query
//! ```

#![no_main]

use std::collections::HashMap;

use libfuzzer_sys::fuzz_target;
use ws_tcp_proxy::config::Destination;
use ws_tcp_proxy::config::UnixName;
use ws_tcp_proxy::policy::tokens::{Flaw, Tokens, TokensError};
use ws_tcp_proxy::proto::percent::{decode, is_repeated, query_value, Undecodable};
use ws_tcp_proxy_fuzz::input::Input;

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let cut = usize::from(u16::from_be_bytes([input.byte(), input.byte()]));
    let name = String::from_utf8_lossy(input.bytes()).into_owned();
    let text = input.rest();
    match Tokens::parse(text, "file") {
        Ok(tokens) => holds_its_lines(&tokens, text, &name),
        Err(error) => blames_the_first_bad_line(&error, text),
    }
    in_two_files_it_is_the_same(text, cut);
    let text = String::from_utf8_lossy(text);
    reads_a_destination(&text);
    decodes(&text);
    looks_up(&text, &name);
});

fn holds_its_lines(tokens: &Tokens, text: &[u8], name: &str) {
    let text = std::str::from_utf8(text).expect("what was read");
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut expected = HashMap::new();
    for line in text.split('\n') {
        let line = line.trim_matches([' ', '\t', '\r', '\x0c']);
        if let Some((name, to)) = line.split_once(':').filter(|_| !line.starts_with('#')) {
            assert!(!name.is_empty() && !name.contains(|c: char| c.is_whitespace()), "{line:?}");
            let to = Destination::parse(to.trim_start_matches([' ', '\t'])).expect("what was read");
            assert_eq!(tokens.get(name), Some(&to), "{line:?}");
            assert!(expected.insert(name, to).is_none(), "twice: {line:?}");
        }
    }
    assert_eq!((tokens.len(), tokens.is_empty()), (expected.len(), expected.is_empty()));
    assert_eq!(tokens.get(name), expected.get(name), "{name:?}");
    assert_eq!(format!("{tokens:?}"), format!("Tokens({})", expected.len()));
}

/// What stands before it is good, and it is not.
fn blames_the_first_bad_line(error: &TokensError, text: &[u8]) {
    let shown = error.to_string();
    assert!(shown.starts_with("file line ") && shown.len() < 200, "{shown:?}");
    assert!(!shown.contains(char::is_control), "{shown:?}");
    let number = error.line.expect("a line, in so little text");
    let before: Vec<_> = text.split(|b| *b == b'\n').take(number - 1).collect();
    let good = Tokens::parse(&before.join(&b'\n'), "file").expect("the lines before");
    let line = text.split(|b| *b == b'\n').nth(number - 1).expect("the line");
    match &error.what {
        Flaw::Repeated { file, line: first } => {
            assert!(file == "file" && *first < number);
            let name = String::from_utf8_lossy(line);
            let name = name.split(':').next().expect("a first part");
            assert!(good.get(name.trim_start_matches([' ', '\t', '\r', '\x0c'])).is_some());
        }
        // A byte order mark is none in a later line.
        _ if number > 1 => {
            let alone = [b"\n", line].concat();
            assert!(Tokens::parse(&alone, "file").is_err(), "{line:?}");
        }
        _ => {}
    }
}

/// Behind the first file's last line, or it would be cut.
fn in_two_files_it_is_the_same(text: &[u8], cut: usize) {
    let newlines: Vec<_> = (0..text.len()).filter(|at| text[*at] == b'\n').collect();
    let Some(at) = newlines.get(cut % newlines.len().max(1)) else { return };
    let (first, second) = (&text[..*at], &text[at + 1..]);
    // Only at the beginning of a file is a byte order mark no text.
    if second.starts_with(b"\xef\xbb\xbf") {
        return;
    }
    let whole = Tokens::parse(text, "file");
    let mut both = Tokens::default();
    match both.add(first, "first").and_then(|()| both.add(second, "second")) {
        Ok(()) => assert_eq!(whole.expect("all is good").len(), both.len()),
        Err(error) => {
            let skipped = if error.file == "first" { 0 } else { first.split(is_newline).count() };
            let whole = whole.expect_err("one is bad");
            assert_eq!(whole.line, error.line.map(|line| skipped + line));
            assert_eq!(std::mem::discriminant(&whole.what), std::mem::discriminant(&error.what));
        }
    }
}

fn is_newline(byte: &u8) -> bool {
    *byte == b'\n'
}

fn reads_a_destination(text: &str) {
    match Destination::parse(text) {
        Ok(Destination::Tcp(target)) => {
            assert!(target.port > 0 && !text.contains(char::is_whitespace));
            assert_eq!(Destination::parse(&target.to_string()), Ok(Destination::Tcp(target)));
        }
        Ok(Destination::Unix(name)) => {
            let shown = name.to_string();
            assert!(text.ends_with(&shown) && !shown.contains(char::is_control));
            match name {
                UnixName::Path(path) => assert!(path.is_absolute() && shown.len() <= 107),
                UnixName::Abstract(name) => assert!(matches!(name.len(), 1..=107)),
            }
        }
        Err(error) => {
            let shown = error.to_string();
            assert!(!shown.is_empty() && !shown.contains(char::is_control), "{shown:?}");
        }
    }
}

/// As a person would: an escape at a time.
fn plainly_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('%') {
        bytes.extend(before.as_bytes());
        let digits = behind.get(..2)?;
        if !digits.chars().all(|c| c.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &behind[2..];
    }
    bytes.extend(rest.as_bytes());
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

fn decodes(text: &str) {
    let decoded = decode(text);
    assert_eq!(decoded.as_deref(), plainly_decoded(text).as_deref(), "{text:?}");
    let escaped: String = text.bytes().map(|b| format!("%{b:02X}")).collect();
    let expected = Some(text).filter(|text| !text.contains('\0'));
    assert_eq!(decode(&escaped).as_deref(), expected);
}

fn looks_up(query: &str, name: &str) {
    let named = |pair: &&str| {
        plainly_decoded(pair.split('=').next().expect("a first part")).as_deref() == Some(name)
    };
    let mut pairs = query.split('&').filter(named);
    let expected = match pairs.next().map(|pair| pair.split_once('=').map_or("", |pair| pair.1)) {
        Some(value) => plainly_decoded(value).map(Some).ok_or(Undecodable),
        None => Ok(None),
    };
    let found = query_value(query, name).map(|value| value.map(|value| value.into_owned()));
    assert_eq!(found, expected, "{name:?} in {query:?}");
    assert_eq!(is_repeated(query, name), pairs.next().is_some());
}
