//! The log of the command: lines on stderr, as text or as JSON.
//!
//! Owns how a line looks. What stands in it is said where it happens: words, and behind them fields as
//! `key=value`, which become members. A program that only embeds the proxy brings a logger of its own,
//! or none.

use std::fmt::Display;
use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use log::{Level, LevelFilter};

use crate::proto::json::Writer;
use crate::stats::ConnectionId;

/// How a line looks (`--log-format`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// `[INFO ] c42.7 open target=tcp://127.0.0.1:5000`
    #[default]
    Text,
    /// One object a line.
    Json,
}

impl Format {
    /// The format of that name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "text" => Some(Self::Text),
            "json" => Some(Self::Json),
            _ => None,
        }
    }

    /// The last line of a command that has failed, whatever the level.
    pub fn failure(self, error: &dyn Display) -> Vec<u8> {
        match self {
            Self::Text => format!("ws-tcp-proxy: {error}\n").into_bytes(),
            Self::Json => json_line(SystemTime::now(), Level::Error, &error.to_string()),
        }
    }
}

/// Makes this the log of the process. To be called once.
pub fn start(level: LevelFilter, format: Format) {
    let mut builder = env_logger::Builder::new();
    builder.filter_level(level).format_target(false);
    if format == Format::Json {
        builder.format(|out, record| {
            let line = json_line(SystemTime::now(), record.level(), &record.args().to_string());
            out.write_all(&line)
        });
    }
    builder.init();
}

/// The words of the lines that have fields: each is followed by nothing but these. What other lines
/// quote stays in the message, so that nobody can add members by what they say.
const RECORDS: [&str; 6] = ["accepted", "passed on", "open", "closed", "opening", "closing"];

/// The fields that our lines have.
const FIELDS: [&str; 18] = [
    "code", "by", "why", "in", "out", "msgs_in", "msgs_out", "buffered", "pings", "rtt_ms", "secs",
    "client", "peer", "target", "for", "route", "status", "error",
];

/// A line as one JSON object (RFC 8259): `time`, `level`, `connection` if it is about one, `message`,
/// and its fields, numbers as numbers.
fn json_line(time: SystemTime, level: Level, text: &str) -> Vec<u8> {
    let (connection, rest) = match text.split_once(' ') {
        Some((first, rest)) if first.parse::<ConnectionId>().is_ok() => (Some(first), rest),
        _ => (None, text),
    };
    let (message, fields) = fields(rest).unwrap_or((rest, Vec::new()));
    let mut line = Vec::with_capacity(text.len() + 100);
    let mut json = Writer::new(&mut line);
    json.begin_object();
    json.name("time").string(&rfc3339(time));
    json.name("level").string(&level.as_str().to_ascii_lowercase());
    if let Some(connection) = connection {
        json.name("connection").string(connection);
    }
    json.name("message").string(message);
    for (name, value) in fields {
        json.name(name);
        match value.strip_prefix('"') {
            Some(quoted) => json.string(&unquoted(quoted)),
            None => put_plain(&mut json, value),
        };
    }
    json.end_object();
    drop(json);
    line.push(b'\n');
    line
}

/// The words in front, and the fields behind them. `None` if these are not the words of a record, or
/// what follows them is not all fields of ours, each there once.
fn fields(text: &str) -> Option<(&str, Vec<(&str, &str)>)> {
    let starts = |at: usize| at == 0 || text.as_bytes()[at - 1] == b' ';
    let first = FIELDS.iter().filter_map(|name| {
        let found = text.match_indices(name).map(|(at, _)| at);
        found.filter(|at| starts(*at) && text[at + name.len()..].starts_with('=')).min()
    });
    let begin = first.min()?;
    let (message, mut rest) = (text[..begin].trim_end(), &text[begin..]);
    if !RECORDS.contains(&message) {
        return None;
    }
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let (name, behind) = rest.split_once('=')?;
        let name = FIELDS.into_iter().find(|field| *field == name)?;
        let (value, next) = behind.split_at(value_len(behind)?);
        if fields.iter().any(|(earlier, _)| *earlier == name) {
            return None;
        }
        fields.push((name, value));
        rest = match next.strip_prefix(' ') {
            Some(next) if !next.is_empty() => next,
            None if next.is_empty() => next,
            _ => return None,
        };
    }
    Some((message, fields))
}

/// Up to the next space, or behind the closing quote.
fn value_len(text: &str) -> Option<usize> {
    let Some(quoted) = text.strip_prefix('"') else {
        return Some(text.find(' ').unwrap_or(text.len()));
    };
    let mut escaped = false;
    for (at, byte) in quoted.bytes().enumerate() {
        match byte {
            b'"' if !escaped => return Some(at + 2),
            b'\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    None
}

/// What stood in quotes, as `{:?}` has written it.
fn unquoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.strip_suffix('"').unwrap_or(text).chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('0') => out.push('\0'),
            Some('u') => {
                let hex: String = chars.by_ref().skip(1).take_while(|c| *c != '}').collect();
                let code = u32::from_str_radix(&hex, 16).ok().and_then(char::from_u32);
                out.push(code.unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    out
}

fn put_plain<'a, 'b>(json: &'b mut Writer<'a>, value: &str) -> &'b mut Writer<'a> {
    let is_number = value.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    match (value.parse::<u64>(), value.parse::<f64>()) {
        (Ok(number), _) if is_number => json.uint(number),
        (_, Ok(number)) if is_number => json.float(number),
        _ => json.string(value),
    }
}

/// `2026-11-20T16:51:00.123Z` (RFC 3339); what is before 1970 is 1970.
fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}.{:03}Z",
        second % 60,
        since.subsec_millis()
    )
}

/// The date so many days after 1970-01-01, in the Gregorian calendar. Years are counted from March,
/// so that a leap day is the last of its year.
fn date(days: u64) -> (u64, u64, u64) {
    const FOUR_CENTURIES: u64 = 146_097;
    // From 0000-03-01.
    let days = days + 719_468;
    let (era, day) = (days / FOUR_CENTURIES, days % FOUR_CENTURIES);
    // Without the leap days before it: one in four years, none in a century, one in four of these.
    let year = (day - day / 1_460 + day / 36_524 - day / (FOUR_CENTURIES - 1)) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // Five months from March have 153 days, and so have the next five.
    let month = (5 * day + 2) / 153;
    let day_of_month = day - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next_year, month, day_of_month)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{json, Value};

    /// The members of a line, as another parser reads them, without time and level.
    fn members(text: &str) -> Value {
        let line = json_line(UNIX_EPOCH, Level::Info, text);
        assert_eq!(line.iter().filter(|b| **b < b' ').count(), 1, "one line: {line:?}");
        let mut value: Value = serde_json::from_slice(&line).expect("valid JSON");
        let members = value.as_object_mut().unwrap();
        assert_eq!(members.remove("time"), Some(json!("1970-01-01T00:00:00.000Z")));
        assert_eq!(members.remove("level"), Some(json!("info")));
        value
    }

    #[test]
    fn fields_become_members() {
        for (text, expected) in [
            ("stopped, 3 connections dropped", json!({"message": "stopped, 3 connections dropped"})),
            (
                "c42.7 open target=tcp://127.0.0.1:5000 client=192.0.2.7",
                json!({"connection": "c42.7", "message": "open", "target": "tcp://127.0.0.1:5000",
                       "client": "192.0.2.7"}),
            ),
            (
                "c0.1 closed code=1000 by=peer why=close in=1834 out=0 msgs_in=3 msgs_out=0 pings=2 \
                 rtt_ms=0.312 secs=12.0",
                json!({"connection": "c0.1", "message": "closed", "code": 1000, "by": "peer",
                       "why": "close", "in": 1834, "out": 0, "msgs_in": 3, "msgs_out": 0,
                       "pings": 2, "rtt_ms": 0.312, "secs": 12.0}),
            ),
            (
                "c0.1 closed why=protocol-error error=\"a \\\"b\\\" c=1 \\\\ \\u{7f}\\n\\u{2028} é\"",
                json!({"connection": "c0.1", "message": "closed", "why": "protocol-error",
                       "error": "a \"b\" c=1 \\ \u{7f}\n\u{2028} é"}),
            ),
            ("c0.1 leg 0: gone", json!({"connection": "c0.1", "message": "leg 0: gone"})),
            ("c0.1", json!({"message": "c0.1"})),
            ("", json!({"message": ""})),
        ] {
            assert_eq!(members(text), expected);
        }
    }

    /// What a field is, only a line that is ours throughout can say.
    #[test]
    fn nothing_that_is_said_adds_members() {
        for text in [
            "level=error",
            "time=0 message=x connection=c0.1",
            "SIGHUP: cannot read a code=1000 file",
            "code=1000 then words",
            "code=1000 code=1001",
            "code=1000  by=peer",
            "in= out",
            "error=\"never closed",
            "error=\"closed\"too early",
            "unknown=1 code=1",
            "code=1 unknown=1",
            "closed code=1 unknown=1",
            "closed code=1000 code=1001",
            "closed code=1000  by=peer",
            "cannot reach ws://a:1/: it answered 200 x code=1000 by=target",
            "cannot reach ws://a:1/: it does not answer with HTTP: \"x by=target",
            "a\u{0}b\r\n\u{1b}[31m \"quotes\" \\ \u{2028}\u{fffd}\u{10ffff}",
        ] {
            let written = members(text);
            assert_eq!(written, json!({ "message": text }));
        }
        assert_eq!(members("closed code= by=")["code"], json!(""));
        assert_eq!(members("closed in=1.2.3 out=..")["out"], json!(".."));
        assert_eq!(members("open in=99999999999999999999")["in"], json!(1e20));
    }

    /// Whatever bytes come, another parser reads a line, and a connection's members are its own.
    #[test]
    fn every_line_is_valid() {
        let mut random = crate::testing::Random::new("every_line_is_valid");
        let parts = [
            "c1.2 ", "closed ", "code=", "error=", "\"", "\\", "\\u{", "}", "=", " ", "é", "\n",
            "1", ".", "\u{0}",
        ];
        for _ in 0..20_000 {
            let text: String =
                (0..random.below(12)).map(|_| parts[random.below(parts.len())]).collect();
            let written = members(&text);
            assert!(written["message"].is_string(), "{text:?}: {written}");
        }
    }

    #[test]
    fn what_was_quoted_reads_back() {
        for text in [
            "",
            "a",
            "\"",
            "\\",
            "\\\"",
            "\n\r\t\0'",
            "\u{7f}\u{85}\u{2028}",
            "é\u{10348}",
            "\\u{41}",
        ] {
            let quoted = format!("{text:?}");
            assert_eq!(value_len(&quoted), Some(quoted.len()));
            assert_eq!(unquoted(&quoted[1..]), text);
        }
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        let at = |millis| rfc3339(UNIX_EPOCH + Duration::from_millis(millis));
        assert_eq!(at(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(at(1_709_251_199_999), "2024-02-29T23:59:59.999Z");
        assert_eq!(at(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
        assert_eq!(at(253_402_300_799_001), "9999-12-31T23:59:59.001Z");
        assert_eq!(rfc3339(UNIX_EPOCH - Duration::from_secs(1)), at(0));
    }

    /// Day after day, by the rules as the calendar has them.
    #[test]
    fn no_day_is_left_out_and_none_is_twice() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..200_000 {
            assert_eq!(date(days), (year, month, day));
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let last = match month {
                2 => 28 + u64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            (year, month, day) = match (month, day) {
                (12, 31) => (year + 1, 1, 1),
                (month, day) if day == last => (year, month + 1, 1),
                (month, day) => (year, month, day + 1),
            };
        }
    }
}
