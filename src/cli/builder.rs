//! A configuration by method calls, in the words of the command line.
//!
//! Every method stands for the option of its name, and [`Builder::build`] reads what they add up to
//! as [`super::parse`] does: the same defaults, the same checks, the same sentences about what is
//! wrong. There is no second set of rules that could differ.

use std::ffi::OsString;
use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

use super::{parse, Command, UsageError};
use crate::config::Config;
use crate::proto::connect::Form;
use crate::proto::encoding::Encoding;
use crate::proto::framing::Framing;
use crate::proto::proxy_header;

impl Config {
    /// A configuration in the making: see [`Builder`].
    pub fn builder() -> Builder {
        Builder::default()
    }
}

/// A [`Config`] in the making.
///
/// ```
/// use std::time::Duration;
/// use ws_tcp_proxy::config::Config;
///
/// let config = Config::builder()
///     .local("127.0.0.1:0")
///     .remote("127.0.0.1:5000")
///     .max_connections(50)
///     .ping_interval(Duration::from_secs(5))
///     .build()?;
/// assert_eq!(config.limits.max_connections, 50);
///
/// let error = Config::builder().remote("127.0.0.1:99999").build().unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "--remote 127.0.0.1:99999: port 99999 is over 65535; write it like --remote 127.0.0.1:5000"
/// );
/// # Ok::<(), ws_tcp_proxy::cli::UsageError>(())
/// ```
///
/// Several routes: each [`Builder::local`] begins one, and what follows, limits aside, is for that
/// route; what comes before the first is for all of them. A time or a number of 0 is off where that
/// can be. What is wrong, a time that is too long say, is said by [`Builder::build`].
#[derive(Debug, Clone, Default)]
pub struct Builder {
    words: Vec<OsString>,
}

/// Routes.
impl Builder {
    /// Where connections come from, as `--local` has it: `127.0.0.1:8080`, `unix:/path` and so on.
    /// Begins the next route.
    pub fn local(self, endpoint: impl Display) -> Self {
        self.option("local", endpoint)
    }

    /// Where they go, as `--remote` has it.
    pub fn remote(self, endpoint: impl Display) -> Self {
        self.option("remote", endpoint)
    }

    /// What payloads look like for clients that ask for nothing else.
    pub fn encoding(self, encoding: Encoding) -> Self {
        self.option("encoding", encoding)
    }

    /// One more encoding that clients may ask for.
    pub fn allow_encoding(self, encoding: Encoding) -> Self {
        self.option("allow-encoding", encoding)
    }

    /// How messages appear in the stream.
    pub fn framing(self, framing: Framing) -> Self {
        self.option("framing", framing)
    }

    /// U+FFFD for target bytes that are not UTF-8, in place of Close 1007.
    pub fn text_lossy(self) -> Self {
        self.switch("text-lossy")
    }

    /// One more subprotocol that we speak; `*` is any.
    pub fn subprotocol(self, name: impl Display) -> Self {
        self.option("subprotocol", name)
    }

    /// After a Close, for the other way to end first, or to stand still. 0 is not at all.
    pub fn half_close(self, time: Duration) -> Self {
        self.time("half-close", time)
    }

    /// One more rule about targets that clients name: `*.example.com:443`, `10.0.0.0/8:22`.
    pub fn allow(self, rule: impl Display) -> Self {
        self.option("allow", rule)
    }

    /// One more rule about targets that they may not name.
    pub fn deny(self, rule: impl Display) -> Self {
        self.option("deny", rule)
    }

    /// How a `connect://` listener tells a `ws://` remote.
    pub fn connect(self, form: Form) -> Self {
        self.option("connect", if form == Form::Bare { "eager" } else { "full" })
    }

    /// One more field of the request to a `ws://` remote.
    pub fn header(self, name: impl Display, value: impl Display) -> Self {
        self.option("header", format_args!("{name}: {value}"))
    }

    /// A `user:password` that is shown to a `ws://` remote, or with any other remote those of which
    /// clients must show one.
    pub fn basic_file(self, file: impl AsRef<Path>) -> Self {
        self.path("basic-file", file)
    }

    /// The same with tokens.
    pub fn bearer_file(self, file: impl AsRef<Path>) -> Self {
        self.path("bearer-file", file)
    }

    /// The users one of which clients must show, whatever the remote.
    pub fn listen_basic_file(self, file: impl AsRef<Path>) -> Self {
        self.path("listen-basic-file", file)
    }

    /// The same with tokens.
    pub fn listen_bearer_file(self, file: impl AsRef<Path>) -> Self {
        self.path("listen-bearer-file", file)
    }

    /// The files that requests get which ask for no WebSocket: those beneath that directory.
    pub fn web(self, directory: impl AsRef<Path>) -> Self {
        self.path("web", directory)
    }

    /// Who may use a `connect://` listener.
    pub fn proxy_basic_file(self, file: impl AsRef<Path>) -> Self {
        self.path("proxy-basic-file", file)
    }

    /// One more origin whose pages may connect: `https://app.example`.
    pub fn origin(self, origin: impl Display) -> Self {
        self.option("origin", origin)
    }

    /// One more network that may connect: `10.0.0.0/8`.
    pub fn client(self, network: impl Display) -> Self {
        self.option("client", network)
    }

    /// One more network of proxies that say whose connection they pass on.
    pub fn trust_proxy(self, network: impl Display) -> Self {
        self.option("trust-proxy", network)
    }

    /// Connections begin with a PROXY header.
    pub fn accept_proxy(self) -> Self {
        self.switch("accept-proxy")
    }

    /// The target hears first whose connection it is.
    pub fn send_proxy(self, version: proxy_header::Version) -> Self {
        let v2 = version == proxy_header::Version::V2;
        self.option("send-proxy", if v2 { "v2" } else { "v1" })
    }
}

/// Limits and the like, the same for all routes.
impl Builder {
    /// Connections served at once.
    pub fn max_connections(self, n: usize) -> Self {
        self.option("max-connections", n)
    }

    /// Of these, from one address. 0 is no limit.
    pub fn max_per_client(self, n: usize) -> Self {
        self.option("max-per-client", n)
    }

    /// Bytes in one message from a client. 0 is no limit.
    pub fn max_message(self, bytes: u64) -> Self {
        self.option("max-message", bytes)
    }

    /// Bytes in a request head.
    pub fn max_head(self, bytes: usize) -> Self {
        self.option("max-head", bytes)
    }

    /// Fields in a request head.
    pub fn max_headers(self, n: usize) -> Self {
        self.option("max-headers", n)
    }

    /// Bytes of the shared read buffer.
    pub fn buffer_size(self, bytes: usize) -> Self {
        self.option("buffer-size", bytes)
    }

    /// Bytes kept for slow sides by all connections together.
    pub fn max_memory(self, bytes: usize) -> Self {
        self.option("max-memory", bytes)
    }

    /// Payload bytes per second that are read from one client. 0 is no limit.
    pub fn rate_in(self, bytes: u64) -> Self {
        self.option("rate-in", bytes)
    }

    /// The same from its target.
    pub fn rate_out(self, bytes: u64) -> Self {
        self.option("rate-out", bytes)
    }

    /// For a whole request head.
    pub fn handshake_timeout(self, time: Duration) -> Self {
        self.time("handshake-timeout", time)
    }

    /// For the target to answer.
    pub fn connect_timeout(self, time: Duration) -> Self {
        self.time("connect-timeout", time)
    }

    /// Silence before a Ping. 0 is off.
    pub fn ping_interval(self, time: Duration) -> Self {
        self.time("ping-interval", time)
    }

    /// For any byte after it.
    pub fn pong_timeout(self, time: Duration) -> Self {
        self.time("pong-timeout", time)
    }

    /// While bytes wait and none can be sent. 0 is off.
    pub fn send_timeout(self, time: Duration) -> Self {
        self.time("send-timeout", time)
    }

    /// Without payload in either direction. 0 is off.
    pub fn idle_timeout(self, time: Duration) -> Self {
        self.time("idle-timeout", time)
    }

    /// For a whole connection. 0 is off.
    pub fn max_lifetime(self, time: Duration) -> Self {
        self.time("max-lifetime", time)
    }

    /// For a closing to make progress.
    pub fn close_timeout(self, time: Duration) -> Self {
        self.time("close-timeout", time)
    }

    /// From a signal to stop to the end. [`crate::Handle::shutdown`] brings its own.
    pub fn drain_timeout(self, time: Duration) -> Self {
        self.time("drain-timeout", time)
    }

    /// Where those who run the proxy may ask about it, over HTTP.
    pub fn admin(self, endpoint: impl Display) -> Self {
        self.option("admin", endpoint)
    }

    /// The tokens one of which they must show.
    pub fn admin_token_file(self, file: impl AsRef<Path>) -> Self {
        self.path("admin-token-file", file)
    }

    /// Connections that the kernel queues for us.
    pub fn backlog(self, n: u32) -> Self {
        self.option("backlog", n)
    }

    /// Whether small segments are sent at once.
    pub fn nodelay(self, on: bool) -> Self {
        self.option("nodelay", if on { "on" } else { "off" })
    }

    /// Idle time before TCP probes the other end, in whole seconds. 0 is off.
    pub fn keepalive(self, time: Duration) -> Self {
        self.time("keepalive", time)
    }

    /// Share the port with other processes.
    pub fn reuse_port(self) -> Self {
        self.switch("reuse-port")
    }
}

impl Builder {
    /// What all of it adds up to.
    ///
    /// # Errors
    /// The first value that is wrong, or what is missing or contradictory, in the words of the command
    /// line.
    pub fn build(self) -> Result<Config, UsageError> {
        match parse(self.words)? {
            Command::Run { config, .. } | Command::Check { config } => Ok(config),
            Command::Help(_) | Command::Version => unreachable!("no method asks for them"),
        }
    }

    fn option(mut self, name: &str, value: impl Display) -> Self {
        self.words.push(format!("--{name}={value}").into());
        self
    }

    fn path(mut self, name: &str, path: impl AsRef<Path>) -> Self {
        let mut word = OsString::from(format!("--{name}="));
        word.push(path.as_ref());
        self.words.push(word);
        self
    }

    /// Options know milliseconds; what is shorter must not become 0, which may be off.
    fn time(self, name: &str, time: Duration) -> Self {
        let millis = time.as_nanos().div_ceil(1_000_000);
        self.option(name, format_args!("{millis}ms"))
    }

    fn switch(mut self, name: &str) -> Self {
        self.words.push(format!("--{name}").into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{config_of, options};
    use crate::proto::proxy_header::Version;

    /// What says the same as another option, is no part of a configuration, or answers at once.
    const WITHOUT_METHOD: [&str; 10] = [
        "target",
        "ws-port",
        "ip",
        "port",
        "timeout",
        "log-level",
        "log-format",
        "debug",
        "check",
        "help",
    ];

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn everything() -> Builder {
        Config::builder()
            .local("ws://127.0.0.1:0")
            .remote("ws://far.example/")
            .encoding(Encoding::Base64)
            .allow_encoding(Encoding::Binary)
            .allow_encoding(Encoding::Text)
            .framing(Framing::Lines)
            .text_lossy()
            .subprotocol("binary")
            .half_close(secs(2))
            .header("X-A", "b c")
            .basic_file("/etc/a b")
            .listen_basic_file("users")
            .listen_bearer_file("tokens")
            .origin("https://app.example")
            .client("10.0.0.0/8")
            .trust_proxy("127.0.0.1")
            .accept_proxy()
            .send_proxy(Version::V1)
            .local("connect://127.0.0.1:0")
            .remote("ws://far.example/")
            .connect(Form::Bare)
            .bearer_file("token")
            .proxy_basic_file("users")
            .local("127.0.0.1:0")
            .remote("query:")
            .web("/usr/share/my pages")
            .allow("10.0.0.0/8")
            .deny("10.0.0.1")
            .max_connections(2)
            .max_per_client(3)
            .max_message(4)
            .max_head(500)
            .max_headers(6)
            .buffer_size(7000)
            .max_memory(8000)
            .rate_in(9)
            .rate_out(10)
            .handshake_timeout(secs(11))
            .connect_timeout(Duration::from_micros(1))
            .ping_interval(secs(13))
            .pong_timeout(secs(14))
            .send_timeout(secs(15))
            .idle_timeout(secs(16))
            .max_lifetime(secs(17))
            .close_timeout(secs(18))
            .drain_timeout(secs(19))
            .admin("0.0.0.0:0")
            .admin_token_file("admin")
            .backlog(20)
            .nodelay(false)
            .keepalive(secs(21))
            .reuse_port()
    }

    #[test]
    fn every_option_has_its_method() {
        let words: Vec<_> =
            everything().words.into_iter().map(|w| w.into_string().unwrap()).collect();
        for name in options::names().filter(|name| *name != "version") {
            let stands_for = |word: &&String| word[2..].split('=').next() == Some(name);
            let called = words.iter().any(|word| stands_for(&word));
            assert_eq!(called, !WITHOUT_METHOD.contains(&name), "--{name}");
        }
    }

    #[test]
    fn methods_say_what_options_do() {
        let line = "--local ws://127.0.0.1:0 --remote ws://far.example/ --encoding base64 \
            --allow-encoding binary,text --framing lines --text-lossy --subprotocol binary --half-close=2s \
            --header X-A:b\u{a0}c --basic-file /etc/a\u{a0}b --listen-basic-file users \
            --listen-bearer-file tokens --origin https://app.example --client 10.0.0.0/8 \
            --trust-proxy 127.0.0.1 --accept-proxy --send-proxy v1 \
            --local connect://127.0.0.1:0 --remote ws://far.example/ --connect eager \
            --bearer-file token --proxy-basic-file users \
            --local 127.0.0.1:0 --remote query: \
            --web /usr/share/my\u{a0}pages --allow 10.0.0.0/8 --deny 10.0.0.1 \
            --max-connections 2 --max-per-client 3 --max-message 4 --max-head 500 --max-headers 6 \
            --buffer-size 7000 --max-memory 8000 --rate-in 9 --rate-out 10 \
            --handshake-timeout 11 --connect-timeout 1ms --ping-interval 13 --pong-timeout 14 \
            --send-timeout 15 --idle-timeout 16 --max-lifetime 17 --close-timeout 18 \
            --drain-timeout 19 --admin 0.0.0.0:0 --admin-token-file admin --backlog 20 --nodelay off --keepalive 21 --reuse-port";
        let words = line.split(' ').filter(|word| !word.is_empty());
        let words = words.map(|word| word.replace('\u{a0}', " ").into());
        let Ok(Command::Run { config, .. }) = parse(words) else { panic!("{line}") };
        assert_eq!(everything().build(), Ok(config));
    }

    #[test]
    fn nothing_said_is_the_default() {
        let config = Config::builder().remote("b:1").build();
        assert_eq!(config, Ok(config_of("--remote b:1")));
    }

    #[test]
    fn zero_is_off_and_what_is_too_long_is_an_error() {
        let with = |builder: Builder| builder.remote("b:1").build();
        let zero = Duration::ZERO;
        let off = with(Config::builder().ping_interval(zero).send_timeout(zero).keepalive(zero));
        let limits = off.unwrap().limits;
        assert_eq!([limits.ping_interval, limits.send_timeout, limits.keepalive], [None; 3]);
        for (builder, start) in [
            (Config::builder().pong_timeout(zero), "--pong-timeout 0ms: must be more than 0"),
            (Config::builder().idle_timeout(Duration::MAX), "--idle-timeout "),
            (
                Config::builder().idle_timeout(secs(41 * 86400)),
                "--idle-timeout 3542400000ms: longer",
            ),
            (Config::builder().keepalive(Duration::from_millis(1)), "--keepalive 1ms: the kernel"),
            (Config::builder().buffer_size(0), "--buffer-size 0: is outside 4KiB to 16MiB"),
            (Config::builder().subprotocol("a b"), "--subprotocol \"a b\": is not a token"),
            (Config::builder().remote(""), "--remote \"\": is empty"),
        ] {
            let error = with(builder).unwrap_err().to_string();
            assert!(error.starts_with(start), "{error}");
        }
        let error = Config::builder().build().unwrap_err().to_string();
        assert!(error.starts_with("--remote: is missing"), "{error}");
    }
}
