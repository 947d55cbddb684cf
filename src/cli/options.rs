//! The options: a table of what each is called and sets.
//!
//! The table is the one place that knows an option's spelling, range and example; `help`
//! is checked against it. An option exists if it has a row here.

use log::LevelFilter;

use super::access::AccessOptions;
use super::need::Need;
use super::units::{count, keepalive, rate, size, switch as on_or_off, timer, timer_or_off};
use super::{Argument, CommandLine, Flaw};
use crate::config::Limits;
use crate::logging::Format;

/// A row of the table.
#[derive(Clone, Copy)]
pub(super) struct Opt {
    /// Without its dashes.
    pub name: &'static str,
    pub letter: Option<char>,
    /// A value that is always right: the default, where there is one that can be written. What
    /// an option with an optional value means alone.
    pub example: &'static str,
    pub action: Action,
}

/// What an option does when it is met.
#[derive(Clone, Copy)]
pub(super) enum Action {
    /// Takes a value that tunes the whole process.
    Limit(fn(&mut Limits, &str) -> Result<(), Flaw>),
    /// Takes a value.
    Value(fn(&mut CommandLine, &Argument) -> Result<(), Flaw>),
    /// Takes a value behind `=`, or stands alone.
    Optional(fn(&mut CommandLine, &Argument) -> Result<(), Flaw>),
    /// Takes none.
    Switch(fn(&mut CommandLine)),
    Help,
    Version,
}

/// More than a process can have descriptors almost anywhere.
const MAX_CONNECTIONS: u64 = 1_000_000;
/// Beyond any device this is for, and within what a pointer of the target can reach.
const MAX_MEMORY: u64 = if usize::BITS < 64 { 1 << 30 } else { 1 << 40 };
/// What listen(2) takes on every kernel; it cuts more to `somaxconn` itself.
const MAX_BACKLOG: u64 = 65_535;

const OPTIONS: &[Opt] = &[
    value("local", "127.0.0.1:8080", |c, a| c.routes.add_local(a)).or('l'),
    value("remote", "127.0.0.1:5000", |c, a| c.routes.add_remote(a)).or('r'),
    value("target", "127.0.0.1:5000", |c, a| c.routes.add_remote(a)).or('t'),
    value("ws-port", "8080", |c, a| c.routes.set_ws_port(a)).or('p'),
    value("ip", "127.0.0.1", |c, a| c.routes.set_ip(a)),
    value("port", "8080", |c, a| c.routes.set_port(a)),
    value("encoding", "binary", |c, a| c.routes.messages().set_encoding(a)),
    value("allow-encoding", "binary,text,base64", |c, a| c.routes.messages().allow(a)),
    value("framing", "raw", |c, a| c.routes.options().set_framing(a)),
    switch("text-lossy", |c| c.routes.messages().set_lossy()),
    value("subprotocol", "binary", |c, a| c.routes.messages().add_subprotocol(&a.value)),
    optional("half-close", "5s", |c, a| c.routes.messages().set_half_close(&a.value)),
    value("allow", "example.com:443", |c, a| c.routes.options().allow(a)),
    value("deny", "10.0.0.0/8", |c, a| c.routes.options().deny(a)),
    value("connect", "full", |c, a| c.routes.options().set_form(a)),
    value("header", "Name: value", |c, a| c.routes.options().add_field(a)),
    value("basic-file", "/etc/ws-tcp-proxy/basic", |c, a| c.routes.options().set_basic(a)),
    value("bearer-file", "/etc/ws-tcp-proxy/token", |c, a| c.routes.options().set_bearer(a)),
    value("listen-basic-file", "/etc/ws-tcp-proxy/users", |c, a| {
        c.routes.options().restrict(a, Need::WebSocket, AccessOptions::set_basic)
    }),
    value("listen-bearer-file", "/etc/ws-tcp-proxy/tokens", |c, a| {
        c.routes.options().restrict(a, Need::WebSocket, AccessOptions::set_bearer)
    }),
    value("origin", "https://app.example", |c, a| {
        c.routes.options().restrict(a, Need::WebSocket, AccessOptions::add_origin)
    }),
    value("client", "10.0.0.0/8", |c, a| {
        c.routes.options().restrict(a, Need::Addresses, AccessOptions::add_client)
    }),
    value("trust-proxy", "127.0.0.1", |c, a| {
        c.routes.options().restrict(a, Need::Passed, AccessOptions::add_proxy)
    }),
    switch("accept-proxy", |c| c.routes.options().accept_proxy()),
    value("send-proxy", "v2", |c, a| c.routes.options().set_send_proxy(&a.value)),
    value("proxy-basic-file", "/etc/ws-tcp-proxy/users", |c, a| c.routes.options().set_users(a)),
    value("web", "/usr/share/novnc", |c, a| c.routes.options().set_web(a)),
    value("admin", "127.0.0.1:9000", |c, a| c.admin.set_listener(a)),
    value("admin-token-file", "/etc/ws-tcp-proxy/admin", |c, a| c.admin.set_tokens(a)),
    limit("max-connections", "1000", |l, v| {
        count(v, 1..=MAX_CONNECTIONS).map(|n| l.max_connections = n)
    }),
    limit("max-per-client", "0", |l, v| {
        count(v, 0..=MAX_CONNECTIONS).map(|n| l.max_per_client = Some(n).filter(|n| *n > 0))
    }),
    limit("max-message", "16MiB", |l, v| size(v, 0..=u64::MAX).map(|n| l.max_message = n)),
    limit("max-head", "8KiB", |l, v| size(v, 256..=1 << 20).map(|n| l.max_head = n)),
    limit("max-headers", "64", |l, v| count(v, 1..=1024).map(|n| l.max_headers = n)),
    limit("buffer-size", "256KiB", |l, v| size(v, 4 << 10..=16 << 20).map(|n| l.buffer_size = n)),
    limit("max-memory", "64MiB", |l, v| size(v, 4 << 10..=MAX_MEMORY).map(|n| l.max_memory = n)),
    limit("rate-in", "0", |l, v| rate(v).map(|n| l.rate_in = n)),
    limit("rate-out", "0", |l, v| rate(v).map(|n| l.rate_out = n)),
    limit("handshake-timeout", "10s", |l, v| timer(v).map(|t| l.handshake_timeout = t)),
    limit("timeout", "10s", |l, v| timer(v).map(|t| l.handshake_timeout = t)),
    limit("connect-timeout", "10s", |l, v| timer(v).map(|t| l.connect_timeout = t)),
    limit("ping-interval", "30s", |l, v| timer_or_off(v).map(|t| l.ping_interval = t)),
    limit("pong-timeout", "20s", |l, v| timer(v).map(|t| l.pong_timeout = t)),
    limit("idle-timeout", "0", |l, v| timer_or_off(v).map(|t| l.idle_timeout = t)),
    limit("max-lifetime", "0", |l, v| timer_or_off(v).map(|t| l.max_lifetime = t)),
    limit("close-timeout", "5s", |l, v| timer(v).map(|t| l.close_timeout = t)),
    limit("drain-timeout", "30s", |l, v| timer(v).map(|t| l.drain_timeout = t)),
    limit("send-timeout", "60s", |l, v| timer_or_off(v).map(|t| l.send_timeout = t)),
    limit("backlog", "1024", |l, v| count(v, 1..=MAX_BACKLOG).map(|n| l.backlog = n)),
    limit("nodelay", "on", |l, v| on_or_off(v).map(|on| l.nodelay = on)),
    limit("keepalive", "60s", |l, v| keepalive(v).map(|t| l.keepalive = t)),
    switch("reuse-port", |c| c.limits.reuse_port = true),
    value("log-level", "info", |c, a| log_level(&a.value).map(|level| c.level = level)),
    value("log-format", "text", |c, a| log_format(&a.value).map(|format| c.format = format)),
    switch("debug", |c| c.level = LevelFilter::Debug).or('d'),
    switch("check", |c| c.check = true),
    Opt { name: "help", letter: Some('h'), example: "", action: Action::Help },
    Opt { name: "version", letter: Some('V'), example: "", action: Action::Version },
];

const fn value(
    name: &'static str,
    example: &'static str,
    set: fn(&mut CommandLine, &Argument) -> Result<(), Flaw>,
) -> Opt {
    Opt { name, letter: None, example, action: Action::Value(set) }
}

const fn optional(
    name: &'static str,
    alone: &'static str,
    set: fn(&mut CommandLine, &Argument) -> Result<(), Flaw>,
) -> Opt {
    Opt { name, letter: None, example: alone, action: Action::Optional(set) }
}

const fn limit(
    name: &'static str,
    example: &'static str,
    set: fn(&mut Limits, &str) -> Result<(), Flaw>,
) -> Opt {
    Opt { name, letter: None, example, action: Action::Limit(set) }
}

const fn switch(name: &'static str, set: fn(&mut CommandLine)) -> Opt {
    Opt { name, letter: None, example: "", action: Action::Switch(set) }
}

impl Opt {
    const fn or(self, letter: char) -> Self {
        Self { letter: Some(letter), ..self }
    }
}

/// The option of a long name without its dashes.
pub(super) fn by_name(name: &str) -> Option<&'static Opt> {
    OPTIONS.iter().find(|option| option.name == name)
}

/// The option of a short name without its dash.
pub(super) fn by_letter(letter: char) -> Option<&'static Opt> {
    OPTIONS.iter().find(|option| option.letter == Some(letter))
}

/// Every long name without its dashes.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    OPTIONS.iter().map(|option| option.name)
}

/// The long names that a word which is none may stand for.
pub(super) fn like(word: &str) -> impl Iterator<Item = &'static str> + '_ {
    names().filter(move |name| may_mean(word, name))
}

/// Whether `word` begins `name` or is one of its words, or is a slip or two away from it.
fn may_mean(word: &str, name: &str) -> bool {
    let part = name.starts_with(word) || name.split('-').any(|part| part == word);
    let slips = edits(word, name);
    (word.len() >= 3 && part) || (slips <= 2 && slips * 2 <= name.len())
}

/// Characters to insert, delete or replace to get from one word to the other (Levenshtein).
fn edits(a: &str, b: &str) -> usize {
    // One row of the table of distances: from the part of `a` read so far to each prefix of `b`.
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, to) in b.chars().enumerate() {
            let replaced = corner + usize::from(from != to);
            corner = row[j + 1];
            row[j + 1] = replaced.min(corner + 1).min(row[j] + 1);
        }
    }
    row[row.len() - 1]
}

fn log_level(text: &str) -> Result<LevelFilter, Flaw> {
    text.parse().map_err(|_| Flaw::new("is none of off, error, warn, info, debug, trace"))
}

fn log_format(text: &str) -> Result<Format, Flaw> {
    Format::named(text).ok_or_else(|| Flaw::new("is neither text nor json"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{config_of as config, parse};

    #[test]
    fn every_name_and_letter_is_there_once() {
        for (i, option) in OPTIONS.iter().enumerate() {
            for earlier in &OPTIONS[..i] {
                assert_ne!(option.name, earlier.name);
                assert!(option.letter.is_none() || option.letter != earlier.letter);
            }
        }
    }

    #[test]
    fn every_example_is_right_and_a_limit_is_at_its_default() {
        for option in OPTIONS {
            if let Action::Limit(set) = option.action {
                let mut limits = Limits::default();
                assert_eq!(set(&mut limits, option.example), Ok(()), "--{}", option.name);
                assert_eq!(limits, Limits::default(), "--{}", option.name);
            }
            if let Action::Value(_) | Action::Optional(_) = option.action {
                let example = format!("--{}={}", option.name, option.example);
                let error = parse(["--check".into(), example.into()]).err();
                let known = error.map(|e| e.to_string()).unwrap_or_default();
                assert!(known.is_empty() || known.contains("--remote"), "{known}");
            }
        }
    }

    #[test]
    fn every_limit_goes_where_its_name_says() {
        let line = "-r a:1 --max-connections 1 --max-per-client 3 --max-message 2 --max-head 256 --max-headers 4 \
                    --handshake-timeout 5 --connect-timeout 6 --ping-interval 7 --pong-timeout 8 \
                    --idle-timeout 9 --max-lifetime 10 --close-timeout 11 --drain-timeout 12 \
                    --send-timeout 13 --rate-in 16 --rate-out 17K --buffer-size 5K --max-memory 6K --backlog 14 --nodelay off \
                    --keepalive 15 --reuse-port";
        let secs = std::time::Duration::from_secs;
        let limits = Limits {
            max_connections: 1,
            max_per_client: Some(3),
            max_message: 2,
            max_head: 256,
            max_headers: 4,
            handshake_timeout: secs(5),
            connect_timeout: secs(6),
            ping_interval: Some(secs(7)),
            pong_timeout: secs(8),
            idle_timeout: Some(secs(9)),
            max_lifetime: Some(secs(10)),
            close_timeout: secs(11),
            drain_timeout: secs(12),
            send_timeout: Some(secs(13)),
            rate_in: Some(16),
            rate_out: Some(17 << 10),
            buffer_size: 5 << 10,
            max_memory: 6 << 10,
            backlog: 14,
            nodelay: false,
            keepalive: Some(secs(15)),
            reuse_port: true,
        };
        assert_eq!(config(line).limits, limits);
        assert_eq!(
            config("-r a:1 --timeout 10 --timeout 500ms").limits.handshake_timeout.as_millis(),
            500
        );
        assert_eq!(config("-r a:1").limits, Limits::default());
    }

    #[test]
    fn zero_turns_off_what_may_be_off() {
        let limits = config(
            "-r a:1 --ping-interval 0 --idle-timeout 0 --max-lifetime 0s --send-timeout 0ms \
             --keepalive 0 --max-message 0 --rate-in 0 --rate-out 0KiB",
        )
        .limits;
        let Limits { ping_interval, idle_timeout, max_lifetime, send_timeout, keepalive, .. } =
            limits;
        assert_eq!([ping_interval, idle_timeout, max_lifetime, send_timeout, keepalive], [None; 5]);
        assert_eq!((limits.max_message, limits.rate_in, limits.rate_out), (0, None, None));
    }
}
