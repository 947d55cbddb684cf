//! The command line: argv to a [`Command`], or to a sentence that says what to write instead.
//!
//! Owns the words a user writes: options (`options`), the routes they add up to (`routes`,
//! `route_options`, `messages`, `access`, `admin`, `need`), endpoints (`endpoint`, `address`), durations and sizes
//! (`units`), what is said of wrong ones (`usage`), and what `--help` and `--check` answer (`help`,
//! `check`). A program says the same by method calls (`builder`).
//! Never opens a socket, reads a file, or looks at the environment.

mod access;
mod address;
mod admin;
mod builder;
mod check;
mod endpoint;
mod help;
mod messages;
mod need;
mod options;
mod route_options;
mod routes;
mod units;
mod usage;

use std::ffi::OsString;

use log::LevelFilter;

use crate::config::{Config, Limits};
use crate::logging::Format;
use admin::AdminOptions;
use options::{Action, Opt};
use routes::Routes;
use usage::{printable, Argument, Flaw};

pub use builder::Builder;
pub use check::describe;
pub use help::{Topic, VERSION};
pub use usage::UsageError;

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Serve until told to stop.
    Run {
        /// Routes and limits, checked against each other.
        config: Config,
        /// What is worth a line in the log.
        level: LevelFilter,
        /// How such a line looks.
        format: Format,
    },
    /// Print [`describe`] and exit 0.
    Check {
        /// Routes and limits, checked against each other.
        config: Config,
    },
    /// Print [`Topic::text`] on stdout and exit 0.
    Help(Topic),
    /// Print [`VERSION`] on stdout and exit 0.
    Version,
}

/// What has been read so far.
struct CommandLine {
    routes: Routes,
    admin: AdminOptions,
    limits: Limits,
    level: LevelFilter,
    format: Format,
    check: bool,
}

/// Reads the arguments that follow the program's name.
///
/// `--help` and `--version` answer at once, whatever follows. An option that takes one value and
/// is given twice keeps the last, as users of getopt_long(3) expect; `--local` and `--remote`
/// make routes.
///
/// # Errors
///
/// The first argument that is wrong, or after the last one what is missing or contradictory.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, UsageError> {
    let mut words = lexopt::Parser::from_args(args);
    let mut line = CommandLine::new();
    while let Some(word) = words.next().map_err(surplus_value)? {
        let (spelled, option) = match word {
            lexopt::Arg::Long(name) => (format!("--{name}"), options::by_name(name)),
            lexopt::Arg::Short(letter) => (format!("-{letter}"), options::by_letter(letter)),
            lexopt::Arg::Value(value) => {
                line.routes.positional(utf8(value, "")?);
                continue;
            }
        };
        let Some(option) = option else { return Err(unknown_option(&spelled)) };
        match option.action {
            Action::Help => return topic(&mut words).map(Command::Help),
            Action::Version => return Ok(Command::Version),
            Action::Switch(set) => set(&mut line),
            Action::Limit(set) => {
                let argument = argument(&mut words, spelled, option)?;
                set(&mut line.limits, &argument.value)
                    .map_err(|flaw| flaw.of(&argument, option.example))?;
            }
            Action::Optional(set) => {
                let argument = optional_argument(&mut words, spelled, option, set)?;
                set(&mut line, &argument).map_err(|flaw| flaw.of(&argument, option.example))?;
            }
            Action::Value(set) => {
                let argument = argument(&mut words, spelled, option)?;
                set(&mut line, &argument).map_err(|flaw| flaw.of(&argument, option.example))?;
            }
        }
    }
    line.finish()
}

impl CommandLine {
    fn new() -> Self {
        Self {
            routes: Routes::default(),
            admin: AdminOptions::default(),
            limits: Limits::default(),
            level: LevelFilter::Info,
            format: Format::Text,
            check: false,
        }
    }

    fn finish(self) -> Result<Command, UsageError> {
        let mut routes = self.routes.finish()?;
        let admin = self.admin.route(&routes)?;
        routes.extend(admin);
        let config = Config { routes, limits: self.limits };
        let Limits { buffer_size, max_memory, .. } = config.limits;
        if max_memory < buffer_size {
            let [kept, buffer] = [max_memory, buffer_size].map(|n| units::size_text(n as u64));
            return Err(UsageError::new(
                "--max-memory",
                format!("{kept} is less than one --buffer-size of {buffer}"),
                format!("write it like --max-memory {buffer}"),
            ));
        }
        Ok(match self.check {
            true => Command::Check { config },
            false => Command::Run { config, level: self.level, format: self.format },
        })
    }
}

/// The value of an option: behind `=`, or the next word unless that is plainly another option.
fn argument(
    words: &mut lexopt::Parser,
    spelled: String,
    option: &Opt,
) -> Result<Argument, UsageError> {
    let value = match words.optional_value() {
        Some(value) => Some(value),
        None => words.value().ok().filter(|value| !value.as_encoded_bytes().starts_with(b"--")),
    };
    let Some(value) = value else {
        let remedy = format!("write it like {spelled} {}", option.example);
        return Err(UsageError::new(spelled, "needs a value", remedy));
    };
    let value = utf8(value, &spelled)?;
    Ok(Argument { option: spelled, value })
}

/// The value behind `=`, or without one what the option means alone.
fn optional_argument(
    words: &mut lexopt::Parser,
    spelled: String,
    option: &Opt,
    set: fn(&mut CommandLine, &Argument) -> Result<(), Flaw>,
) -> Result<Argument, UsageError> {
    let joined = |value| Argument { option: format!("{spelled}="), value };
    if let Some(value) = words.optional_value() {
        return Ok(joined(utf8(value, &format!("{spelled}="))?));
    }
    // The next word is no value of this option, and `5s` can be nothing else: a slip that is
    // better said here. A bare number may be the port of the short form.
    let next = words.try_raw_args().and_then(|rest| rest.peek()?.to_str().map(str::to_owned));
    if let Some(next) = next.filter(|word| word.parse::<u64>().is_err()).map(joined) {
        if set(&mut CommandLine::new(), &next).is_ok() {
            let remedy = format!("write it like {next}");
            return Err(UsageError::new(spelled, "takes its value behind =", remedy));
        }
    }
    Ok(joined(option.example.to_owned()))
}

/// The word behind `--help`, if there is one.
fn topic(words: &mut lexopt::Parser) -> Result<Topic, UsageError> {
    let word = match (words.optional_value(), words.next()) {
        (Some(word), _) | (None, Ok(Some(lexopt::Arg::Value(word)))) => word,
        _ => return Ok(Topic::Overview),
    };
    let name = utf8(word, "--help")?;
    Topic::named(&name).ok_or_else(|| {
        let topics = Topic::ALL.map(Topic::name).join(", ");
        let argument = Argument { option: "--help".into(), value: name };
        UsageError::new(argument, "no such topic", format!("the topics are {topics}"))
    })
}

fn utf8(word: OsString, place: &str) -> Result<String, UsageError> {
    word.into_string().map_err(|word| {
        let argument = Argument { option: place.into(), value: word.to_string_lossy().into() };
        UsageError::new(argument, "not valid UTF-8", "write it in UTF-8")
    })
}

fn unknown_option(spelled: &str) -> UsageError {
    let word = spelled.strip_prefix("--").unwrap_or_default();
    let close: Vec<_> = options::like(word).map(|name| format!("--{name}")).collect();
    let remedy = match close.is_empty() {
        true => "ws-tcp-proxy --help lists the options".into(),
        false => format!("did you mean {}?", close.join(" or ")),
    };
    UsageError::new(printable(spelled), "unknown option", remedy)
}

fn surplus_value(error: lexopt::Error) -> UsageError {
    match error {
        lexopt::Error::UnexpectedValue { option, value } => UsageError::new(
            format!("{option}={}", printable(&value.to_string_lossy())),
            "takes no value",
            format!("write it like {option}"),
        ),
        other => UsageError::new("argument", other.to_string(), "see ws-tcp-proxy --help"),
    }
}

/// What a good command line is read as, its words apart by single spaces.
#[cfg(test)]
fn config_of(line: &str) -> Config {
    match parse(line.split(' ').map(Into::into)) {
        Ok(Command::Run { config, .. }) => config,
        other => panic!("{line}: {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(words: &[&str]) -> Command {
        parse(words.iter().map(Into::into)).unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    fn error(words: &[&str]) -> String {
        parse(words.iter().map(Into::into)).expect_err(&words.join(" ")).to_string()
    }

    fn level(words: &[&str]) -> LevelFilter {
        match command(&[words, &["-r", "x:1"]].concat()) {
            Command::Run { level, .. } => level,
            other => panic!("{words:?}: {other:?}"),
        }
    }

    #[test]
    fn an_error_names_the_argument_and_shows_a_right_one() {
        for (words, text) in [
            (
                &["--remote", "127.0.0.1:99999"][..],
                "--remote 127.0.0.1:99999: port 99999 is over 65535; \
                 write it like --remote 127.0.0.1:5000",
            ),
            (&["-t=host"], "-t host: has no port; write it like -t host:5000"),
            (&["--remote"], "--remote: needs a value; write it like --remote 127.0.0.1:5000"),
            (&["-r", "--local"], "-r: needs a value; write it like -r 127.0.0.1:5000"),
            (&["--remote="], "--remote \"\": is empty; write it like --remote 127.0.0.1:5000"),
            (
                &["--remote", "a b:1"],
                "--remote \"a b:1\": has a space or a control character in it; \
                 write it like --remote 127.0.0.1:5000",
            ),
            (&["--check=yes"], "--check=yes: takes no value; write it like --check"),
            (&["-d=yes"], "-d=yes: takes no value; write it like -d"),
            (
                &["--timeout", "0"],
                "--timeout 0: must be more than 0; this timer cannot be off; \
                 write it like --timeout 10s",
            ),
            (
                &["--buffer-size", "1K"],
                "--buffer-size 1K: is outside 4KiB to 16MiB; write it like --buffer-size 256KiB",
            ),
            (
                &["--nodelay", "yes"],
                "--nodelay yes: is neither on nor off; write it like --nodelay on",
            ),
            (
                &["--log-level", "loud"],
                "--log-level loud: is none of off, error, warn, info, debug, trace; \
                 write it like --log-level info",
            ),
            (
                &["--log-format", "xml"],
                "--log-format xml: is neither text nor json; write it like --log-format text",
            ),
            (
                &["--encoding", "hex"],
                "--encoding hex: \"hex\" is none of the encodings binary, text, base64, chunk; \
                 write it like --encoding binary",
            ),
            (
                &["--subprotocol", "a,b"],
                "--subprotocol a,b: is not a token as in RFC 7230; repeat the option for several; \
                 write it like --subprotocol binary",
            ),
            (
                &["-r", "x:1", "--buffer-size", "1M", "--max-memory", "512K"],
                "--max-memory: 512KiB is less than one --buffer-size of 1MiB; \
                 write it like --max-memory 1MiB",
            ),
            (
                &["--help", "me"],
                "--help me: no such topic; \
                 the topics are overview, endpoints, messages, relay, access, http, limits, \
                 timers, process",
            ),
        ] {
            assert_eq!(error(words), text);
        }
    }

    #[test]
    fn an_optional_value_stands_behind_an_equals_sign() {
        for (words, text) in [
            (
                &["--half-close=soon"][..],
                "--half-close=soon: does not begin with a digit; write it like --half-close=5s",
            ),
            (&["--half-close="], "--half-close=\"\": is empty; write it like --half-close=5s"),
            (
                &["--half-close=961h"],
                "--half-close=961h: longer than 40 days; write it like --half-close=5s",
            ),
            (
                &["--half-close", "10s"],
                "--half-close: takes its value behind =; write it like --half-close=10s",
            ),
            (
                &["--half-close", "off"],
                "--half-close: takes its value behind =; write it like --half-close=off",
            ),
            (
                &["--half-close", "10"],
                "10: stands alone; [HOST:]PORT TARGET:PORT come as two; \
                 write it like ws-tcp-proxy 8080 127.0.0.1:5000",
            ),
        ] {
            assert_eq!(error(&[words, &["-r", "x:1"]].concat()), text);
        }
        assert!(error(&["--half-close"]).starts_with("--remote: is missing"));
    }

    #[test]
    fn every_value_is_checked() {
        for (option, values) in [
            ("--max-connections", &["0", "1000001", "-1", "1K", "", "1.5"][..]),
            ("--max-message", &["18446744073709551616", "17179869184GiB", "-1", "1MB"]),
            ("--rate-in", &["-1", "1Mbit", "2048GiB"]),
            ("--send-proxy", &["", "1", "V2"]),
            ("--rate-out", &["off", "10/s"]),
            ("--max-head", &["255", "1048577", "2M"]),
            ("--max-headers", &["0", "1025"]),
            ("--buffer-size", &["0", "4095", "16777217"]),
            ("--max-memory", &["0", "4095", "1048577G"]),
            ("--backlog", &["0", "65536"]),
            ("--handshake-timeout", &["0", "0ms", "366d", "8761h", "1e3", "-1s"]),
            ("--connect-timeout", &["0"]),
            ("--pong-timeout", &["0"]),
            ("--close-timeout", &["0"]),
            ("--drain-timeout", &["0"]),
            ("--ping-interval", &["off", "31536001"]),
            ("--keepalive", &["1500ms", "32768", "10h"]),
            ("--port", &["65536", "-1", "http", ""]),
            ("-p", &["65536", "127.0.0.1:80"]),
            ("--subprotocol", &["", "a b", "a/b", "\u{fc}", "a\0"]),
            ("--connect", &["", "lazy", "Full"]),
            ("--allow", &["", "10.0.0.0/33", "a:0", "a b", "*"]),
            ("--deny", &["http://a/", "a:1-65536"]),
            ("--basic-file", &[""]),
            ("--bearer-file", &["", "/etc/"]),
            ("--proxy-basic-file", &[""]),
            ("--listen-basic-file", &["", "/"]),
            ("--listen-bearer-file", &[""]),
            ("--origin", &["", "*", "app.example", "https://app.example/"]),
            ("--client", &["", "10.0.0.1/8", "localhost", "10.0.0.0/33"]),
            ("--trust-proxy", &["", "any", "[::1"]),
            ("--max-per-client", &["-1", "1000001", "1K"]),
            ("--header", &["Authorization", ": x", "Host: a", "A: b\nc"]),
            ("--allow-encoding", &["", "text,", "text, binary", "none"]),
        ] {
            for value in values {
                let start = format!("{option} {}: ", printable(value));
                let error = error(&["-r", "x:1", &format!("{option}={value}")]);
                assert!(error.starts_with(&start), "{error}");
                assert!(error.contains(&format!("; write it like {option} ")), "{error}");
            }
        }
    }

    #[test]
    fn an_unknown_option_is_named_with_those_it_may_mean() {
        for (word, remedy) in [
            ("--rmote", "did you mean --remote?"),
            ("--prot", "did you mean --port?"),
            ("--max_headers", "did you mean --max-headers?"),
            ("--connections", "did you mean --max-connections?"),
            ("--colour", "ws-tcp-proxy --help lists the options"),
            ("--framings", "did you mean --framing?"),
            ("--rate", "did you mean --rate-in or --rate-out?"),
            ("--allow-encodings", "did you mean --allow-encoding?"),
            ("--proxy", "did you mean --trust-proxy or --accept-proxy or --send-proxy or --proxy-basic-file?"),
            ("-x", "ws-tcp-proxy --help lists the options"),
            ("-\u{1b}", "ws-tcp-proxy --help lists the options"),
        ] {
            let error = error(&["-r", "x:1", word, "value"]);
            assert_eq!(error, format!("{}: unknown option; {remedy}", printable(word)));
        }
        assert!(error(&["--\u{1b}[31m"]).starts_with("\"--\\u{1b}[31m\": unknown option"));
    }

    #[test]
    fn help_and_version_answer_whatever_else_is_there() {
        for (words, answer) in [
            (&["--help"][..], Command::Help(Topic::Overview)),
            (&["-h"], Command::Help(Topic::Overview)),
            (&["-dh"], Command::Help(Topic::Overview)),
            (&["--help", "limits"], Command::Help(Topic::Limits)),
            (&["--help=timers"], Command::Help(Topic::Timers)),
            (&["-h", "process"], Command::Help(Topic::Process)),
            (&["-r", "x:1", "-r", "y:1", "--help", "--nonsense"], Command::Help(Topic::Overview)),
            (&["-V"], Command::Version),
            (&["--version", "--nonsense"], Command::Version),
        ] {
            assert_eq!(command(words), answer, "{words:?}");
        }
        assert!(error(&["--nonsense", "--help"]).starts_with("--nonsense: "));
    }

    #[test]
    fn the_last_level_counts() {
        assert_eq!(level(&[]), LevelFilter::Info);
        assert_eq!(level(&["-d"]), LevelFilter::Debug);
        assert_eq!(level(&["--debug", "--log-level", "trace"]), LevelFilter::Trace);
        assert_eq!(level(&["--log-level", "off", "-d"]), LevelFilter::Debug);
        assert_eq!(level(&["--log-level=warn"]), LevelFilter::Warn);
    }

    #[test]
    fn check_has_the_configuration_that_would_run() {
        let Command::Run { config, .. } = command(&["-r", "x:1"]) else { panic!("a run") };
        assert_eq!(command(&["--check", "-r", "x:1"]), Command::Check { config });
        assert!(error(&["--check"]).starts_with("--remote: is missing"));
    }

    #[cfg(unix)]
    #[test]
    fn what_is_not_utf8_is_shown_as_far_as_it_is() {
        use std::os::unix::ffi::OsStringExt;
        for (words, start) in [
            (&[&b"-r"[..], b"a\xff:1"][..], "-r a\u{fffd}:1: not valid UTF-8; "),
            (&[b"--remote=a\xff:1"], "--remote a\u{fffd}:1: not valid UTF-8; "),
            (&[b"80", b"a\xff:1"], "a\u{fffd}:1: not valid UTF-8; "),
            (&[b"--help", b"a\xff"], "--help a\u{fffd}: not valid UTF-8; "),
            (&[b"--rem\xffte", b"x"], "--rem\u{fffd}te: unknown option; did you mean --remote?"),
            (&[b"-\xff"], "-\u{fffd}: unknown option; "),
            (&[b"--check=\xff"], "--check=\u{fffd}: takes no value; "),
        ] {
            let error = parse(words.iter().map(|word| OsString::from_vec(word.to_vec())));
            let error = error.unwrap_err().to_string();
            assert!(error.starts_with(start), "{error}");
        }
    }
}
