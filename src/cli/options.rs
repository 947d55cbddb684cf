//! The options: a table of what each is called and sets, and the routes that they add up to.
//!
//! The table is the one place that knows an option's spelling, range and example; `help`
//! is checked against it. An option exists if it has a row here.

use std::net::{IpAddr, Ipv4Addr};

use log::LevelFilter;

use super::units::{count, keepalive, size, switch as on_or_off, timer, timer_or_off};
use super::{endpoint, Argument, CommandLine, Flaw, UsageError};
use crate::config::{Bind, Host, Limits, Local, Messages, Remote, Route, Subprotocols};
use crate::proto::encoding::{Encoding, Encodings};

/// A row of the table.
#[derive(Clone, Copy)]
pub(super) struct Opt {
    /// Without its dashes.
    pub name: &'static str,
    pub letter: Option<char>,
    /// A value that is always right: the default, where there is one that can be written.
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
    /// Takes none.
    Switch(fn(&mut CommandLine)),
    Help,
    Version,
}

/// Where the only route listens if nothing says otherwise.
const DEFAULT_HOST: Host = Host::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
const DEFAULT_PORT: u16 = 8080;
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
    value("encoding", "binary", |c, a| c.routes.messages().set_encoding(&a.value)),
    value("allow-encoding", "binary,text,base64", |c, a| c.routes.messages().allow(&a.value)),
    switch("text-lossy", |c| c.routes.messages().text_lossy = true),
    value("subprotocol", "binary", |c, a| c.routes.messages().add_subprotocol(&a.value)),
    value("header", "Name: value", |c, a| c.routes.messages().add_field(&a.value)),
    limit("max-connections", "1000", |l, v| {
        count(v, 1..=MAX_CONNECTIONS).map(|n| l.max_connections = n)
    }),
    limit("max-message", "16MiB", |l, v| size(v, 0..=u64::MAX).map(|n| l.max_message = n)),
    limit("max-head", "8KiB", |l, v| size(v, 256..=1 << 20).map(|n| l.max_head = n)),
    limit("max-headers", "64", |l, v| count(v, 1..=1024).map(|n| l.max_headers = n)),
    limit("buffer-size", "256KiB", |l, v| size(v, 4 << 10..=16 << 20).map(|n| l.buffer_size = n)),
    limit("max-memory", "64MiB", |l, v| size(v, 4 << 10..=MAX_MEMORY).map(|n| l.max_memory = n)),
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

fn log_level(text: &str) -> Result<LevelFilter, Flaw> {
    text.parse().map_err(|_| Flaw::new("is none of off, error, warn, info, debug, trace"))
}

/// An endpoint and where it was written.
#[derive(Debug)]
struct Named<T> {
    argument: Argument,
    endpoint: T,
}

/// What one route was told. What is left out comes from the options before the first `--local`.
#[derive(Debug, Default)]
struct Draft {
    local: Option<Named<Local>>,
    remotes: Vec<Named<Remote>>,
    messages: MessageOptions,
}

/// The options about messages as they were given; an empty list or `None` is silence.
#[derive(Debug, Default)]
pub(super) struct MessageOptions {
    encoding: Option<Encoding>,
    allowed: Vec<Encoding>,
    text_lossy: bool,
    subprotocols: Vec<String>,
    fields: Vec<(String, String)>,
}

/// The routes so far, in the order of the command line.
#[derive(Debug, Default)]
pub(super) struct Routes {
    /// What stands before the first `--local`: all of it, if there is none.
    shared: Draft,
    /// One for each `--local`, with what stands behind it.
    drafts: Vec<Draft>,
    ws_port: Option<(Argument, u16)>,
    ip: Option<(Argument, Host)>,
    port: Option<(Argument, u16)>,
    positional: Vec<Argument>,
}

/// While the arguments are read.
impl Routes {
    fn latest(&mut self) -> &mut Draft {
        self.drafts.last_mut().unwrap_or(&mut self.shared)
    }

    fn add_local(&mut self, argument: &Argument) -> Result<(), Flaw> {
        let local =
            Named { endpoint: endpoint::local(&argument.value)?, argument: argument.clone() };
        self.drafts.push(Draft { local: Some(local), ..Draft::default() });
        Ok(())
    }

    fn add_remote(&mut self, argument: &Argument) -> Result<(), Flaw> {
        let endpoint = endpoint::remote(&argument.value)?;
        self.latest().remotes.push(Named { endpoint, argument: argument.clone() });
        Ok(())
    }

    fn set_ws_port(&mut self, argument: &Argument) -> Result<(), Flaw> {
        self.ws_port = Some((argument.clone(), endpoint::local_port(&argument.value)?));
        Ok(())
    }

    fn set_ip(&mut self, argument: &Argument) -> Result<(), Flaw> {
        self.ip = Some((argument.clone(), endpoint::local_host(&argument.value)?));
        Ok(())
    }

    fn set_port(&mut self, argument: &Argument) -> Result<(), Flaw> {
        self.port = Some((argument.clone(), endpoint::local_port(&argument.value)?));
        Ok(())
    }

    /// A word that belongs to no option.
    pub(super) fn positional(&mut self, value: String) {
        self.positional.push(Argument { option: String::new(), value });
    }

    fn messages(&mut self) -> &mut MessageOptions {
        &mut self.latest().messages
    }
}

/// Once all are read.
impl Routes {
    /// One route at least, each with both ends.
    pub(super) fn finish(mut self) -> Result<Vec<Route>, UsageError> {
        self.take_positional()?;
        self.take_aliases()?;
        match self.drafts.len() {
            0 | 1 => Ok(vec![self.only()?]),
            _ => self.several(),
        }
    }

    /// `[HOST:]PORT TARGET:PORT`, as websockify has it.
    fn take_positional(&mut self) -> Result<(), UsageError> {
        let remedy = "write it like ws-tcp-proxy 8080 127.0.0.1:5000";
        let wrong =
            |argument: &Argument, problem: String| Err(UsageError::new(argument, problem, remedy));
        let (local, remote) = match &self.positional[..] {
            [] => return Ok(()),
            [local, remote] => (local, remote),
            [word] => {
                return wrong(word, "stands alone; [HOST:]PORT TARGET:PORT come as two".into())
            }
            [_, _, third, ..] => return wrong(third, "is one argument too many".into()),
        };
        if let Some(other) =
            self.drafts.iter().chain([&self.shared]).find_map(|d| d.remotes.first())
        {
            return wrong(&other.argument, format!("{remote} already says where to connect"));
        }
        let from = match endpoint::short_local(&local.value) {
            Ok(endpoint) => Named { endpoint, argument: local.clone() },
            Err(flaw) => return wrong(local, flaw.problem),
        };
        let to = match endpoint::remote(&remote.value) {
            Ok(endpoint) => Named { endpoint, argument: remote.clone() },
            Err(flaw) => return wrong(remote, flaw.problem),
        };
        self.shared.remotes.push(to);
        self.listen_on(from)
    }

    /// `-p`, `--ip` and `--port`; what the last two leave out is as in the default of `--local`.
    fn take_aliases(&mut self) -> Result<(), UsageError> {
        if let Some((argument, port)) = self.ws_port.take() {
            self.listen_on(Named { argument, endpoint: endpoint::every_interface(port) })?;
        }
        let (argument, host, port) = match (self.ip.take(), self.port.take()) {
            (None, None) => return Ok(()),
            (Some((argument, host)), None) => (argument, host, DEFAULT_PORT),
            (None, Some((argument, port))) => (argument, DEFAULT_HOST, port),
            (Some((argument, host)), Some((_, port))) => (argument, host, port),
        };
        self.listen_on(Named { argument, endpoint: endpoint::tcp(host, port) })
    }

    /// Where the only route listens, unless that has been said in another way.
    fn listen_on(&mut self, local: Named<Local>) -> Result<(), UsageError> {
        let said = self.drafts.first().unwrap_or(&self.shared).local.as_ref();
        if let Some(other) = said {
            let problem = format!("{} already says where to listen", other.argument);
            return Err(UsageError::new(local.argument, problem, "keep one of the two"));
        }
        self.shared.local = Some(local);
        Ok(())
    }

    /// With at most one `--local` there is nothing to tell apart, so order does not matter.
    fn only(&mut self) -> Result<Route, UsageError> {
        let mut only = std::mem::take(&mut self.shared);
        if let Some(draft) = self.drafts.pop() {
            only.local = draft.local;
            only.remotes.extend(draft.remotes);
            only.messages.extend(draft.messages);
        }
        only.into_route(&MessageOptions::default())
    }

    fn several(self) -> Result<Vec<Route>, UsageError> {
        if let Some(early) = self.shared.remotes.first() {
            return Err(UsageError::new(
                &early.argument,
                "stands before every --local; with several routes it follows its own",
                format!("write it like --local 127.0.0.1:8080 {}", early.argument),
            ));
        }
        reject_listening_twice(&self.drafts)?;
        let shared = &self.shared.messages;
        self.drafts.into_iter().map(|draft| draft.into_route(shared)).collect()
    }
}

impl Draft {
    fn into_route(self, shared: &MessageOptions) -> Result<Route, UsageError> {
        let mut remotes = self.remotes.into_iter();
        let (first, second) = (remotes.next(), remotes.next());
        if let (Some(first), Some(second)) = (&first, second) {
            return Err(UsageError::new(
                &second.argument,
                format!("{} is the remote of this route already", first.argument),
                format!("write it like --local 127.0.0.1:8081 {}", second.argument),
            ));
        }
        let Some(remote) = first else { return Err(no_remote(self.local)) };
        let Named { mut endpoint, argument } = remote;
        let local = self.local.map_or_else(default_local, |local| local.endpoint);
        let fields = first_filled(&self.messages.fields, &shared.fields);
        if let Remote::WebSocket(url) = &mut endpoint {
            url.fields = fields.to_vec();
            url.subprotocols =
                first_filled(&self.messages.subprotocols, &shared.subprotocols).to_vec();
            url.subprotocols.retain(|name| name != "*"); // which is for those who are offered some
        } else if let Some((name, _)) = self.messages.fields.first() {
            return Err(UsageError::new(
                Argument { option: "--header".into(), value: name.clone() },
                format!("is for the request to a ws:// remote, and {argument} is none"),
                "write it like --remote ws://127.0.0.1:8080/",
            ));
        }
        if bites_its_tail(&local, &endpoint) {
            return Err(UsageError::new(
                &argument,
                "is where the route itself listens",
                "give one of them another port, like --remote 127.0.0.1:5000",
            ));
        }
        let messages = self.messages.over(shared);
        Ok(Route { messages, ..Route::new(local, endpoint) })
    }
}

fn no_remote(local: Option<Named<Local>>) -> UsageError {
    match local {
        Some(Named { argument, .. }) => {
            let remedy = format!("write it like {argument} --remote 127.0.0.1:5000");
            UsageError::new(argument, "has no --remote", remedy)
        }
        None => UsageError::new(
            "--remote",
            "is missing",
            "write it like ws-tcp-proxy --local 127.0.0.1:8080 --remote 127.0.0.1:5000",
        ),
    }
}

fn default_local() -> Local {
    endpoint::tcp(DEFAULT_HOST, DEFAULT_PORT)
}

/// Port 0 is a new port each time; anything else can be listened on once.
fn reject_listening_twice(drafts: &[Draft]) -> Result<(), UsageError> {
    let locals: Vec<_> = drafts.iter().filter_map(|draft| draft.local.as_ref()).collect();
    for (i, local) in locals.iter().enumerate() {
        let bind = local.endpoint.bind();
        let any_port = matches!(bind, Bind::Tcp(address) if address.port == 0);
        if !any_port && locals[..i].iter().any(|earlier| earlier.endpoint.bind() == bind) {
            let remedy = "give each route its own, like --local 127.0.0.1:8081";
            return Err(UsageError::new(&local.argument, "is there twice", remedy));
        }
    }
    Ok(())
}

/// Whether a connection of the route would come in again as its own target.
fn bites_its_tail(local: &Local, remote: &Remote) -> bool {
    match (local.bind(), remote) {
        (Bind::Tcp(from), to) => Some(from) == to.address(),
        (Bind::Unix(from), Remote::Unix(to)) => from == to,
        _ => false,
    }
}

impl MessageOptions {
    fn set_encoding(&mut self, text: &str) -> Result<(), Flaw> {
        self.encoding = Some(encoding(text)?);
        Ok(())
    }

    fn allow(&mut self, list: &str) -> Result<(), Flaw> {
        for name in list.split(',') {
            self.allowed.push(encoding(name)?);
        }
        Ok(())
    }

    fn add_subprotocol(&mut self, name: &str) -> Result<(), Flaw> {
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(Flaw::new("is not a token as in RFC 7230; repeat the option for several"));
        }
        self.subprotocols.push(name.to_owned());
        Ok(())
    }

    /// `Name: value`, for the request to a `ws://` remote.
    fn add_field(&mut self, text: &str) -> Result<(), Flaw> {
        let split = text.split_once(':').map(|(name, value)| (name, value.trim()));
        let Some((name, value)) =
            split.filter(|(name, _)| !name.is_empty() && name.bytes().all(is_token))
        else {
            return Err(Flaw::new("is not a header field, NAME: VALUE"));
        };
        if value.chars().any(char::is_control) {
            return Err(Flaw::new("has a control character in its value"));
        }
        let lower = name.to_ascii_lowercase();
        if ["host", "upgrade", "connection"].contains(&lower.as_str())
            || lower.starts_with("sec-websocket-")
        {
            return Err(Flaw::new(format!("sets {name}, which the handshake sets itself")));
        }
        self.fields.push((name.to_owned(), value.to_owned()));
        Ok(())
    }

    /// What was said later of the same route.
    fn extend(&mut self, later: Self) {
        self.encoding = later.encoding.or(self.encoding);
        self.text_lossy |= later.text_lossy;
        self.allowed.extend(later.allowed);
        self.subprotocols.extend(later.subprotocols);
        self.fields.extend(later.fields);
    }

    /// With `shared` where this route was told nothing of its own, and the defaults below that.
    fn over(self, shared: &Self) -> Messages {
        let encoding = self.encoding.or(shared.encoding).unwrap_or(Encoding::Binary);
        let allowed = match first_filled(&self.allowed, &shared.allowed) {
            [] => Encodings::ALL,
            listed => listed.iter().fold(Encodings::NONE.with(encoding), |set, e| set.with(*e)),
        };
        let subprotocols = match first_filled(&self.subprotocols, &shared.subprotocols) {
            [] => Subprotocols::Listed(spoken(allowed)),
            names if names.iter().any(|name| name == "*") => Subprotocols::Any,
            names => Subprotocols::Listed(names.to_vec()),
        };
        let text_lossy = self.text_lossy || shared.text_lossy;
        Messages { encoding, allowed, text_lossy, subprotocols, half_close: None }
    }
}

/// The default subprotocols that choose an encoding the route allows.
fn spoken(allowed: Encodings) -> Vec<String> {
    let ours = [Encoding::Binary, Encoding::Base64].into_iter();
    ours.filter(|e| allowed.contains(*e)).map(|e| e.name().to_owned()).collect()
}

fn first_filled<'a, T>(own: &'a [T], shared: &'a [T]) -> &'a [T] {
    if own.is_empty() {
        shared
    } else {
        own
    }
}

fn encoding(name: &str) -> Result<Encoding, Flaw> {
    name.parse().map_err(|()| {
        let known = Encoding::ALL.map(Encoding::name).join(", ");
        Flaw::new(format!("{name:?} is none of the encodings {known}"))
    })
}

/// `tchar` (RFC 7230 §3.2.6).
fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{parse, Command};
    use crate::config::Config;

    fn config(line: &str) -> Config {
        match parse(line.split(' ').map(Into::into)) {
            Ok(Command::Run { config, .. }) => config,
            other => panic!("{line}: {other:?}"),
        }
    }

    /// The ends of each route, as `--check` shows them.
    fn ends(line: &str) -> Vec<String> {
        let routes = config(line).routes.into_iter();
        routes.map(|route| format!("{} {}", route.local, route.remote)).collect()
    }

    fn messages(line: &str) -> Vec<Messages> {
        config(line).routes.into_iter().map(|route| route.messages).collect()
    }

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
            if let Action::Value(_) = option.action {
                let example = format!("--{}={}", option.name, option.example);
                let error = parse(["--check".into(), example.into()]).err();
                let known = error.map(|e| e.to_string()).unwrap_or_default();
                assert!(known.is_empty() || known.contains("--remote"), "{known}");
            }
        }
    }

    #[test]
    fn every_limit_goes_where_its_name_says() {
        let line = "-r a:1 --max-connections 1 --max-message 2 --max-head 256 --max-headers 4 \
                    --handshake-timeout 5 --connect-timeout 6 --ping-interval 7 --pong-timeout 8 \
                    --idle-timeout 9 --max-lifetime 10 --close-timeout 11 --drain-timeout 12 \
                    --send-timeout 13 --buffer-size 5K --max-memory 6K --backlog 14 --nodelay off \
                    --keepalive 15 --reuse-port";
        let secs = std::time::Duration::from_secs;
        let limits = Limits {
            max_connections: 1,
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
             --keepalive 0 --max-message 0",
        )
        .limits;
        let Limits { ping_interval, idle_timeout, max_lifetime, send_timeout, keepalive, .. } =
            limits;
        assert_eq!([ping_interval, idle_timeout, max_lifetime, send_timeout, keepalive], [None; 5]);
        assert_eq!(limits.max_message, 0);
    }

    #[test]
    fn one_route_can_be_written_in_many_ways() {
        for (line, route) in [
            ("--remote b:2", "ws://127.0.0.1:8080 tcp://b:2"),
            ("--local a:1 --remote b:2", "ws://a:1 tcp://b:2"),
            ("--remote b:2 --local a:1", "ws://a:1 tcp://b:2"),
            ("--remote=b:2 --local=a:1", "ws://a:1 tcp://b:2"),
            ("-la:1 -rb:2", "ws://a:1 tcp://b:2"),
            ("-dla:1 -d -r b:2", "ws://a:1 tcp://b:2"),
            ("-p 1 -t b:2", "ws://0.0.0.0:1 tcp://b:2"),
            ("--target b:2 --ws-port 1", "ws://0.0.0.0:1 tcp://b:2"),
            ("-p 3 -t b:2 -p 1", "ws://0.0.0.0:1 tcp://b:2"),
            ("--port 1 -r b:2", "ws://127.0.0.1:1 tcp://b:2"),
            ("--ip a -r b:2", "ws://a:8080 tcp://b:2"),
            ("--port 3 --ip ::1 -r b:2 --port 1", "ws://[::1]:1 tcp://b:2"),
            ("1 b:2", "ws://0.0.0.0:1 tcp://b:2"),
            ("--nodelay on a:1 --reuse-port b:2", "ws://a:1 tcp://b:2"),
            ("-- a:1 unix:/b", "ws://a:1 unix:/b"),
        ] {
            assert_eq!(ends(line), [route], "{line}");
        }
    }

    #[test]
    fn each_remote_belongs_to_the_local_before_it() {
        let two = ["ws://a:1 tcp://b:2", "ws+unix:/c unix:@d"];
        assert_eq!(ends("-l a:1 -r b:2 -l ws+unix:/c -r unix:@d"), two);
        assert_eq!(ends("-l a:0 -r b:2 -l a:0 -t b:2").len(), 2);
    }

    #[test]
    fn says_what_is_wrong_with_the_routes() {
        for (line, start) in [
            ("-d", "--remote: is missing; write it like ws-tcp-proxy --local 127"),
            ("-l a:1", "-l a:1: has no --remote; write it like -l a:1 --remote 127"),
            ("-p 80", "-p 80: has no --remote; write it like -p 80 --remote 127"),
            ("-r b:1 -r b:2", "-r b:2: -r b:1 is the remote of this route already; "),
            ("-r b:1 -l a:1 -r b:2", "-r b:2: -r b:1 is the remote of this route already; "),
            ("-l a:1 -l a:2 -r b:1", "-l a:1: has no --remote"),
            ("-l a:1 -r b:1 -l a:2", "-l a:2: has no --remote"),
            ("-l a:1 -r b:1 -r b:2 -l a:2", "-r b:2: -r b:1 is the remote"),
            ("-r b:1 -l a:1 -r b:2 -l a:2", "-r b:1: stands before every --local"),
            ("-l a:1 -r b:1 --local ws://a:1 -r b:2", "--local ws://a:1: is there twice"),
            ("-l fd:3 -r b:1 -l fd:3 -r b:2", "-l fd:3: is there twice"),
            ("-l a:1 -r a:1", "-r a:1: is where the route itself listens"),
            ("-r 127.0.0.1:8080", "-r 127.0.0.1:8080: is where the route itself listens"),
            ("-l ws+unix:/a -r unix:/a", "-r unix:/a: is where the route itself listens"),
            ("-l a:1 -p 80 -r b:1", "-p 80: -l a:1 already says where to listen"),
            ("-l a:1 --ip ::1 -r b:1", "--ip ::1: -l a:1 already says where to listen"),
            ("--port 1 -r b:1 -l a:1", "--port 1: -l a:1 already says where to listen"),
            ("-p 80 --ip ::1 -r b:1", "--ip ::1: -p 80 already says where to listen"),
            ("-p 80 --port 81 -r b:1", "--port 81: -p 80 already says where to listen"),
            ("80 b:1 -p 80", "-p 80: 80 already says where to listen"),
            ("80 b:1 -l a:1", "80: -l a:1 already says where to listen"),
            ("80 b:1 -r b:2", "-r b:2: b:1 already says where to connect"),
            ("80 b:1 -l a:1 -r b:2", "-r b:2: b:1 already says where to connect"),
            ("80", "80: stands alone; [HOST:]PORT TARGET:PORT come as two; write it like ws-tcp"),
            ("-l a:1 b:1", "b:1: stands alone"),
            ("80 b:1 more", "more: is one argument too many"),
            ("99999 b:1", "99999: port 99999 is over 65535; write it like ws-tcp-proxy 8080"),
            (":80 b:1", ":80: has no host"),
            ("80 81", "81: has no host, only a port; write it like ws-tcp-proxy 8080"),
        ] {
            let error = parse(line.split(' ').map(Into::into)).expect_err(line).to_string();
            assert!(error.starts_with(start), "{line}\n{error}");
        }
    }

    #[test]
    fn message_options_of_a_single_route_may_stand_anywhere() {
        let expected = Messages {
            encoding: Encoding::Text,
            allowed: Encodings::NONE.with(Encoding::Text).with(Encoding::Base64),
            text_lossy: true,
            subprotocols: Subprotocols::Listed(vec!["a".into(), "b".into()]),
            half_close: None,
        };
        for line in [
            "--encoding text --subprotocol a --subprotocol b --allow-encoding base64 \
             --text-lossy -r x:1",
            "-r x:1 --text-lossy --subprotocol a -l y:1 --encoding text --subprotocol b \
             --allow-encoding base64",
            "--encoding base64 --allow-encoding text --subprotocol a -l y:1 --subprotocol b \
             --encoding text --text-lossy -r x:1 --allow-encoding base64,base64",
        ] {
            assert_eq!(messages(line), std::slice::from_ref(&expected), "{line}");
        }
    }

    #[test]
    fn message_options_before_the_first_local_hold_where_a_route_has_none_of_its_own() {
        let of = messages(
            "--encoding text --subprotocol a --allow-encoding base64 -l a:1 -r x:1 \
             -l b:1 -r x:1 --encoding base64 --subprotocol b --subprotocol c \
             --allow-encoding binary",
        );
        let (text, base64) =
            (Encodings::NONE.with(Encoding::Text), Encodings::NONE.with(Encoding::Base64));
        let listed =
            |names: &[&str]| Subprotocols::Listed(names.iter().map(|n| n.to_string()).collect());
        assert_eq!((of[0].encoding, of[1].encoding), (Encoding::Text, Encoding::Base64));
        assert_eq!(of[0].allowed, text.with(Encoding::Base64));
        assert_eq!(of[1].allowed, base64.with(Encoding::Binary));
        assert_eq!(of[0].subprotocols, listed(&["a"]));
        assert_eq!(of[1].subprotocols, listed(&["b", "c"]));
        let lossy = messages("-l a:1 -r x:1 --text-lossy -l b:1 -r x:1");
        assert_eq!((lossy[0].text_lossy, lossy[1].text_lossy), (true, false));
    }

    #[test]
    fn a_route_that_is_told_nothing_has_the_defaults() {
        assert_eq!(messages("-r x:1"), [Messages::default()]);
    }

    #[test]
    fn default_subprotocols_are_those_of_allowed_encodings() {
        let of = |line| messages(line).remove(0).subprotocols;
        assert_eq!(of("-r x:1 --allow-encoding text"), Subprotocols::Listed(vec!["binary".into()]));
        assert_eq!(
            of("-r x:1 --encoding text --allow-encoding text"),
            Subprotocols::Listed(vec![])
        );
        assert_eq!(of("-r x:1 --subprotocol * --subprotocol a"), Subprotocols::Any);
        assert_eq!(of("-r x:1 --subprotocol a*"), Subprotocols::Listed(vec!["a*".into()]));
    }
}
