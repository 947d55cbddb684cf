//! Numbers with units: durations, sizes, counts and switches, and back to text.
//!
//! Every function takes the value alone and says what is wrong with it; the caller knows to which
//! option it was given.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::Flaw;

/// Milliseconds per unit; a bare number is seconds, as it was for the older tools.
const DURATIONS: [(&str, u64); 5] =
    [("", 1_000), ("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];

/// A connection's deadlines are counted in 32 bits of milliseconds, which is 49 days.
const LONGEST_DAYS: u64 = 40;

/// Bytes per unit, in lower case; what the disk trade calls 1000 is not offered.
const SIZES: [(&str, u64); 8] = [
    ("", 1),
    ("b", 1),
    ("k", 1 << 10),
    ("m", 1 << 20),
    ("g", 1 << 30),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
];

/// A duration that must pass: `500ms`, `10s`, `5m`, `2h`, or seconds.
pub(super) fn timer(text: &str) -> Result<Duration, Flaw> {
    timer_or_off(text)?.ok_or_else(|| Flaw::new("must be more than 0; this timer cannot be off"))
}

/// A duration, or `None` for 0 in any unit.
pub(super) fn timer_or_off(text: &str) -> Result<Option<Duration>, Flaw> {
    let (number, unit) = split(text)?;
    let Some((_, scale)) = DURATIONS.iter().find(|(name, _)| *name == unit) else {
        return Err(Flaw::new(format!("{unit:?} is not a unit of time (ms, s, m, h)")));
    };
    let longest = LONGEST_DAYS * 24 * 3_600_000;
    match number.checked_mul(*scale).filter(|millis| *millis <= longest) {
        Some(0) => Ok(None),
        Some(millis) => Ok(Some(Duration::from_millis(millis))),
        None => Err(Flaw::new(format!("longer than {LONGEST_DAYS} days"))),
    }
}

/// What `TCP_KEEPIDLE` takes: whole seconds up to 32767 (tcp(7)), or `None` for 0.
pub(super) fn keepalive(text: &str) -> Result<Option<Duration>, Flaw> {
    let idle = timer_or_off(text)?;
    match idle {
        Some(idle) if idle.subsec_millis() != 0 => {
            Err(Flaw::new("the kernel counts whole seconds"))
        }
        Some(idle) if idle.as_secs() > 32_767 => {
            Err(Flaw::new("longer than 32767s, the longest Linux takes"))
        }
        _ => Ok(idle),
    }
}

/// A number of bytes within `range`: `64KiB`, `64K`, or bare.
pub(super) fn size<N: TryFrom<u64>>(text: &str, range: RangeInclusive<u64>) -> Result<N, Flaw> {
    let (number, unit) = split(text)?;
    let lower = unit.to_ascii_lowercase();
    let Some((_, scale)) = SIZES.iter().find(|(name, _)| *name == lower) else {
        return Err(Flaw::new(format!(
            "{unit:?} is not a unit of size (KiB, MiB, GiB or K, M, G)"
        )));
    };
    let bytes = number.checked_mul(*scale).ok_or_else(too_large)?;
    within(bytes, range, size_text)
}

/// Bytes in a second, or `None` for 0 in any unit. What no network reaches is a slip.
pub(super) fn rate(text: &str) -> Result<Option<u64>, Flaw> {
    size(text, 0..=1 << 40).map(|rate| Some(rate).filter(|rate| *rate > 0))
}

/// A number without a unit within `range`.
pub(super) fn count<N: TryFrom<u64>>(text: &str, range: RangeInclusive<u64>) -> Result<N, Flaw> {
    match split(text)? {
        (number, "") => within(number, range, |n| n.to_string()),
        (_, unit) => Err(Flaw::new(format!("takes a plain number, not {unit:?}"))),
    }
}

/// `on` or `off`.
pub(super) fn switch(text: &str) -> Result<bool, Flaw> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(Flaw::new("is neither on nor off")),
    }
}

/// Bytes in the largest unit that leaves a whole part: exact where it divides, else to a tenth.
pub(super) fn size_text(bytes: u64) -> String {
    let units = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let Some((name, unit)) = units.into_iter().find(|(_, unit)| bytes >= *unit) else {
        return format!("{bytes}B");
    };
    match (bytes / unit, bytes % unit) {
        (whole, 0) => format!("{whole}{name}"),
        (whole, rest) => format!("{whole}.{}{name}", rest * 10 / unit),
    }
}

/// A duration in the largest unit that divides it, as [`timer`] reads it.
pub(super) fn time_text(time: Duration) -> String {
    let millis = time.as_millis();
    let units = [("h", 3_600_000), ("m", 60_000), ("s", 1_000)];
    match units.into_iter().find(|(_, unit)| millis % unit == 0) {
        Some((name, unit)) => format!("{}{name}", millis / unit),
        None => format!("{millis}ms"),
    }
}

/// The digits in front and whatever follows them.
fn split(text: &str) -> Result<(u64, &str), Flaw> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    // Cut behind ASCII digits, so on a character boundary.
    let (number, unit) = text.split_at(digits);
    match (number, unit.chars().next()) {
        ("", None) => Err(Flaw::new("is empty")),
        ("", Some('-')) => Err(Flaw::new("is negative")),
        ("", Some(_)) => Err(Flaw::new("does not begin with a digit")),
        (_, Some('.' | ',')) => Err(Flaw::new("fractions are not understood, take a smaller unit")),
        (number, _) => Ok((number.parse().map_err(|_| too_large())?, unit)),
    }
}

fn within<N: TryFrom<u64>>(
    number: u64,
    range: RangeInclusive<u64>,
    show: fn(u64) -> String,
) -> Result<N, Flaw> {
    let (least, most) = (show(*range.start()), show(*range.end()));
    match N::try_from(number) {
        Ok(n) if range.contains(&number) => Ok(n),
        _ if *range.end() == u64::MAX => Err(too_large()),
        _ => Err(Flaw::new(format!("is outside {least} to {most}"))),
    }
}

fn too_large() -> Flaw {
    Flaw::new("is too large a number")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem<T: std::fmt::Debug>(result: Result<T, Flaw>) -> String {
        result.unwrap_err().problem
    }

    #[test]
    fn reads_durations_in_every_unit() {
        for (text, millis) in [
            ("1ms", 1),
            ("500ms", 500),
            ("10s", 10_000),
            ("10", 10_000),
            ("5m", 300_000),
            ("2h", 7_200_000),
            ("007s", 7_000),
            ("960h", 3_456_000_000),
        ] {
            assert_eq!(timer(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn says_what_is_wrong_with_a_duration() {
        for (text, part) in [
            ("", "is empty"),
            ("s", "does not begin with a digit"),
            ("-5", "is negative"),
            ("+5", "does not begin with a digit"),
            (" 5s", "does not begin with a digit"),
            ("five", "does not begin with a digit"),
            ("٣s", "does not begin with a digit"),
            ("1.5s", "fractions"),
            ("1,5s", "fractions"),
            ("5 s", "\" s\" is not a unit of time"),
            ("5M", "\"M\" is not a unit of time"),
            ("1d", "\"d\" is not a unit of time"),
            ("1h30m", "\"h30m\" is not a unit of time"),
            ("10s\0", "is not a unit of time"),
            ("5µs", "is not a unit of time"),
            ("961h", "longer than 40 days"),
            ("3456001", "longer than 40 days"),
            ("18446744073709551615h", "longer than 40 days"),
            ("18446744073709551616", "too large"),
        ] {
            assert!(problem(timer(text)).contains(part), "{text:?}: {}", problem(timer(text)));
        }
    }

    #[test]
    fn zero_is_off_only_where_a_timer_may_be_off() {
        for text in ["0", "0ms", "0s", "00h"] {
            assert_eq!(timer_or_off(text), Ok(None));
            assert!(problem(timer(text)).contains("cannot be off"), "{text}");
        }
    }

    #[test]
    fn keepalive_takes_what_the_kernel_takes() {
        assert_eq!(keepalive("0"), Ok(None));
        assert_eq!(keepalive("32767"), Ok(Some(Duration::from_secs(32_767))));
        assert_eq!(keepalive("2000ms"), Ok(Some(Duration::from_secs(2))));
        assert!(problem(keepalive("1500ms")).contains("whole seconds"));
        assert!(problem(keepalive("32768")).contains("32767s"));
    }

    #[test]
    fn reads_sizes_in_every_unit_and_case() {
        for (text, bytes) in [
            ("0", 0),
            ("12", 12),
            ("12B", 12),
            ("4k", 4096),
            ("4K", 4096),
            ("64KiB", 65_536),
            ("64kib", 65_536),
            ("16M", 16 << 20),
            ("16MiB", 16 << 20),
            ("1G", 1 << 30),
            ("1GiB", 1 << 30),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(size(text, 0..=u64::MAX), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn says_what_is_wrong_with_a_size() {
        for (text, part) in [
            ("", "is empty"),
            ("-1", "is negative"),
            ("1.5MiB", "fractions"),
            ("64KB", "\"KB\" is not a unit of size"),
            ("64 KiB", "\" KiB\" is not a unit of size"),
            ("64s", "\"s\" is not a unit of size"),
            ("17179869184GiB", "too large"),
            ("18446744073709551616", "too large"),
        ] {
            let flaw = problem(size::<u64>(text, 0..=u64::MAX));
            assert!(flaw.contains(part), "{text:?}: {flaw}");
        }
    }

    #[test]
    fn names_the_range_that_a_number_missed() {
        let range = 4 << 10..=16 << 20;
        assert_eq!(problem(size::<usize>("4095", range.clone())), "is outside 4KiB to 16MiB");
        assert_eq!(problem(size::<usize>("17M", range.clone())), "is outside 4KiB to 16MiB");
        assert_eq!(size::<usize>("4096", range.clone()), Ok(4096));
        assert_eq!(size::<usize>("16M", range), Ok(16 << 20));
        assert_eq!(problem(count::<u32>("0", 1..=10)), "is outside 1 to 10");
        assert_eq!(problem(count::<u8>("256", 1..=1000)), "is outside 1 to 1000");
        assert_eq!(problem(count::<u32>("1k", 1..=10_000)), "takes a plain number, not \"k\"");
    }

    #[test]
    fn durations_are_shown_as_they_are_read() {
        for text in ["1ms", "500ms", "1001ms", "5s", "90s", "2m", "3h", "960h"] {
            assert_eq!(timer(text).map(time_text).as_deref(), Ok(text));
        }
        assert_eq!(time_text(Duration::from_secs(120)), "2m");
    }

    #[test]
    fn sizes_are_shown_in_the_unit_that_suits_them() {
        for (bytes, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1KiB"),
            (1536, "1.5KiB"),
            (64 << 20, "64MiB"),
            ((64 << 20) + (256 << 10), "64.2MiB"),
            (1 << 40, "1TiB"),
            (u64::MAX, "16777215.9TiB"),
        ] {
            assert_eq!(size_text(bytes), text);
        }
    }
}
