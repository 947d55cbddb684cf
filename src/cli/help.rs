//! What `--help` and `--version` print: screens of 80 columns and at most 40 lines.

/// Name and version, for one line.
pub const VERSION: &str = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"));

/// A screen of help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// The usual options, and the other topics.
    Overview,
    /// What `--local` and `--remote` take, and how they make routes.
    Endpoints,
    /// Encodings, framings and subprotocols.
    Messages,
    /// CONNECT at both ends, rules about targets, credentials.
    Relay,
    /// Who may connect.
    Access,
    /// What plain HTTP requests get.
    Http,
    /// Counts and memory.
    Limits,
    /// Every duration.
    Timers,
    /// Log, sockets, signals, exit status.
    Process,
}

impl Topic {
    /// Every topic, in the order the overview lists them.
    pub const ALL: [Self; 9] = [
        Self::Overview,
        Self::Endpoints,
        Self::Messages,
        Self::Relay,
        Self::Access,
        Self::Http,
        Self::Limits,
        Self::Timers,
        Self::Process,
    ];

    /// What to write behind `--help`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Overview => "overview",
            Self::Endpoints => "endpoints",
            Self::Messages => "messages",
            Self::Relay => "relay",
            Self::Access => "access",
            Self::Http => "http",
            Self::Limits => "limits",
            Self::Timers => "timers",
            Self::Process => "process",
        }
    }

    /// The topic of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|topic| topic.name() == name)
    }

    /// The whole screen, newline at its end.
    pub fn text(self) -> &'static str {
        match self {
            Self::Overview => OVERVIEW,
            Self::Endpoints => ENDPOINTS,
            Self::Messages => MESSAGES,
            Self::Relay => RELAY,
            Self::Access => ACCESS,
            Self::Http => HTTP,
            Self::Limits => LIMITS,
            Self::Timers => TIMERS,
            Self::Process => PROCESS,
        }
    }
}

const OVERVIEW: &str = "\
ws-tcp-proxy: lets WebSocket clients reach TCP and unix sockets

usage: ws-tcp-proxy [OPTIONS] [--local ENDPOINT] --remote ENDPOINT
       ws-tcp-proxy [OPTIONS] --local ENDPOINT --remote ENDPOINT --local ...
       ws-tcp-proxy [OPTIONS] [HOST:]PORT TARGET:PORT

Defaults are in [brackets].

  -l, --local ENDPOINT      where WebSocket clients connect [127.0.0.1:8080]
  -r, --remote ENDPOINT     where their bytes go
      --encoding NAME       payloads as binary, text, base64 or chunk [binary]
      --framing NAME        messages as raw, lines, ndjson or length [raw]
      --allow RULE          what --remote connect:, json: and query: may dial
      --max-connections N   more are answered 503 [1000]
      --max-message SIZE    longest message from a client [16MiB]
      --idle-timeout TIME   end a connection without traffic; 0 is off [0]
      --check               print routes and worst-case memory, and exit
  -d, --debug               log what happens to each connection
  -h, --help [TOPIC]        this text, or one of the topics below
  -V, --version             print the version, and exit

topics:
  endpoints   what ENDPOINT can be, several routes, names of older options
  messages    encodings, framings and subprotocols
  relay       CONNECT and JSON, rules about targets
  access      who may connect: pages, credentials, addresses
  http        files for browsers; health, metrics, connections
  limits      connections, messages, heads, buffers
  timers      handshake, connect, ping, idle, close
  process     log, socket options, signals, exit status

examples:
  ws-tcp-proxy --local 0.0.0.0:8080 --remote 127.0.0.1:5000
  ws-tcp-proxy -l '[::1]:8080' -r unix:/run/app.sock --encoding text
  ws-tcp-proxy 6080 127.0.0.1:5900
  ws-tcp-proxy --local connect://127.0.0.1:3128 --remote ws://far.example/
";

const ENDPOINTS: &str = "\
Endpoints and routes

  -l, --local ENDPOINT      where connections come from [127.0.0.1:8080]
      HOST:PORT             WebSocket server; ws://HOST:PORT is the same
      ws+unix:/path         WebSocket server on a unix socket
      ws+unix:@name         the same in the abstract namespace
      fd:N                  a listening socket inherited as descriptor N
      systemd:NAME          one handed over by socket activation
      tcp://HOST:PORT       plain byte streams, no WebSocket
      unix:/path            the same on a unix socket; unix:@name too
      connect://HOST:PORT   an HTTP proxy for CONNECT; connect+unix:/path too

  -r, --remote ENDPOINT     where they go; required
      HOST:PORT             TCP; tcp://HOST:PORT is the same. Every address of
                            a name is tried
      unix:/path            unix stream socket
      unix:@name            the same in the abstract namespace
      ws://HOST[:PORT]/path WebSocket client, with the route's --encoding
      connect:              where the client says, by a CONNECT of its own
      json:                 where a WebSocket client says, in a JSON message
      token:FILE_OR_DIR     where a line NAME: HOST:PORT in it says, for URLs
                            with ?token=NAME, or with NAME as the last part
      query:                where ?target=HOST:PORT or ?address= in the URL says

An IPv6 address has brackets: [::1]:8080. Port 0 is for --local only; the
kernel chooses, and a line on stdout tells the port.

Several routes: write --local, then its --remote, then the next --local.
What --help messages, relay and access list holds for all routes before the
first --local, and for one behind its own. With one order does not matter.

Other ways to name the ends of a single route:

  [HOST:]PORT TARGET:PORT   a bare PORT listens on all interfaces
  -p, --ws-port PORT        --local 0.0.0.0:PORT
      --ip HOST             host of --local [127.0.0.1]
      --port PORT           port of --local [8080]
  -t, --target HOST:PORT    --remote HOST:PORT

If an option is given twice the last counts, except --local, --remote and lists.
";

const MESSAGES: &str = "\
Messages: how bytes of the target become WebSocket messages and back

      --encoding NAME       for clients that ask for none [binary]
      binary                binary messages, bytes unchanged
      text                  text messages, never cut inside a character; bytes
                            that are not UTF-8 end the connection with 1007
      base64                text messages of base64
      chunk                 binary messages, each one protobuf field 1; an empty
                            one keeps alive

      --allow-encoding LIST what a client may ask for, by ?encoding=NAME in
                            its URL or by a subprotocol of that name [all
                            that fit the framing]. Repeat it or use commas;
                            the route's own encoding is always allowed
      --framing NAME        how messages appear to the other side [raw]
      raw                   not at all; what one read brings is a message
      lines                 a line is one; a blank line is none, and a newline
                            inside one closes with 1003
      ndjson                the same for JSON, of text alone; a newline inside
                            one becomes a space
      length                behind their length in four bytes, big endian; also
                            length:u16, :u16le, :u32, :u32le, :varint (protobuf)

      --text-lossy          under text, send U+FFFD for what is not UTF-8
      --subprotocol NAME    one that we speak; repeat it for several. '*' is
                            whichever the client offers first. By default
                            binary and base64, where they are allowed. A
                            ws:// remote is offered what is listed
      --header 'NAME: VALUE'  a field of the request to a ws:// remote; repeat
                            it for several

A client that offers none of the subprotocols is served without one.

With several routes, these before the first --local hold for all of them,
and behind a --local for that route, in place of what holds for all.
";

const RELAY: &str = "\
Relay: targets named by CONNECT or JSON, and who may go where

Near end: the tools of this host use it as their proxy.
  ws-tcp-proxy --local connect://127.0.0.1:3128 --remote ws://far.example/ \\
               --encoding chunk --bearer-file /etc/ws-tcp-proxy/token
      --connect full|eager  full: the far end gets a request head, the tool its
                            answer. eager: the tool gets 200 once the WebSocket
                            is open, the far end a bare CONNECT HOST:PORT [full]
      --proxy-basic-file FILE  who may use it: a user:password in each line

Far end: dials what a tunnel asks for, if a rule allows it.
  ws-tcp-proxy --local 0.0.0.0:8080 --remote connect: --encoding chunk \\
               --allow '*.example.com:443'
      --allow RULE          repeat it for several; one at least is required
      --deny RULE           not these, whatever is allowed

JSON: the same for WebSocket clients, who name a target in their first message.
  ws-tcp-proxy --remote json: --allow 10.0.0.0/8 --allow unix:/run/app/

RULE is HOST[:PORTS]. HOST is a name, *.NAME, an address, a network such as
10.0.0.0/8 or [fd00::/8], or any. PORTS is like 443 or 22,8000-8010. Rules see
the address that a name leads to, and that very address is dialled. Loopback,
link-local, multicast, unspecified, IPv4-mapped and cloud metadata addresses
need a rule for their own network: any, 0.0.0.0/0 or a name that leads there
does not cover them. Only localhost is a name for loopback. Or RULE is
unix:/path, unix:/directory/ or unix:@name, which any does not cover either.

      --basic-file FILE     authorize the request to a ws:// remote by the
      --bearer-file FILE    first line of FILE: a user:password, or a token.
                            With any other remote: see --help access
      --half-close[=TIME]   after a Close, let the other way go on until it ends
                            or stands still for TIME, 1h at most. 0 or off: end
                            it at once
                            [5s with CONNECT at either end, else off]

A connect:// listener with --remote connect: dials by itself, under rules. So
does --remote query:. What a token: file lists is allowed, unless rules are
given. Changed, it is read again at the next use, or at once at SIGHUP.
Of several routes each may be told its own, as with --help messages.
";

const ACCESS: &str = "\
Access: who may connect. Without any of these, everybody who can reach it

      --origin ORIGIN       only pages from there; repeat it for several. Like
                            https://app.example, http://*.lan.example:8080,
                            *.app.example (http and https, any port), null.
                            A request without Origin, which is from no page,
                            is let in only where it must show credentials
      --basic-file FILE     only who shows a user:password of FILE, or a token
      --bearer-file FILE    of FILE, one in each line; with both, either will
                            do. With a ws:// remote they are what we show it,
                            and the next two are what clients must show
      --listen-basic-file FILE, --listen-bearer-file FILE
      --client CIDR         only addresses like 10.0.0.0/8, fd00::/8 or ::1;
                            repeat it for several
      --trust-proxy CIDR    a proxy there says in X-Forwarded-For or Forwarded
                            whose connection it passes on; that is who the log,
                            --client and --max-per-client take for the client
      --accept-proxy        connections begin with a header of the PROXY
                            protocol, v1 or v2, and come from a --trust-proxy
      --send-proxy v1|v2    tell the target first whose connection it is, by a
                            header of the PROXY protocol
      --proxy-basic-file FILE  for connect:// listeners: see --help relay
      --max-per-client N    for all routes: see --help limits

Refused are an address or a page with 403, missing or wrong credentials with
401, one connection too many with 503. Plain and connect:// listeners close
on an address at once.

A page in a browser shows a token by the URL, ?token=TOKEN or ?access_token=,
or by a subprotocol: new WebSocket(url, ['binary', 'bearer.TOKEN']). Others
send Authorization: Bearer TOKEN. A user and password go into the URL
(ws://user:password@host/) or into Authorization: Basic.

A line sha256:HEX stands for what has that SHA-256, for secrets that nobody
can guess (a build with the feature hashed-credentials). SIGHUP reads the files
again. Over plain ws:// whoever listens in sees all of it.
";

const HTTP: &str = "\
HTTP: requests that ask for no WebSocket. Without these they are answered 426

      --web DIR             on a WebSocket listener: the files beneath DIR, for
                            GET and HEAD, one request on each connection

The path of the request names the file, and a directory's index.html stands for
it; nothing is listed. What a path leads to lies beneath DIR: .. is refused,
hidden files are not there but for .well-known, and a symbolic link that leads
out of DIR leads nowhere (on kernels before 5.6, so does any other). DIR is
opened at the start; files in it may change at any time.

Parts (Range), and 304 for what a browser has already (If-None-Match), are
answered. What a file is goes by its extension.

--client, --basic-file and --bearer-file hold for pages too; --origin does not,
since a page that is loaded has none. A request for a WebSocket on the same port
is one as before.

Of several routes each may have its own, as with --help messages.

      --admin ENDPOINT      answer those who run the proxy, at HOST:PORT,
                            unix:/path, unix:@name, fd:N or systemd:NAME
      --admin-token-file FILE  only who shows a line of FILE as a bearer token.
                            Without it ENDPOINT is this host's alone: 127.0.0.1,
                            [::1], localhost or a unix socket

It has /healthz, /version, /metrics for Prometheus, and /connections, every
connection in JSON. Who asks there counts in no figure and in no limit.
";

const LIMITS: &str = "\
Limits, each for the whole process

      --max-connections N   at once; more are answered 503 [1000]
                            1 to 1000000
      --max-per-client N    of these from one address, or from one network of
                            64 bits under IPv6; more are answered 503 [0]
                            0 is no limit
      --max-message SIZE    one message from a client, fragments added up, or
                            announced by a target (--framing length); a longer
                            one closes with 1009 [16MiB] 0 is no limit
      --max-head SIZE       a request's head; a larger one is answered 431.
                            A json: message too; that one is told 1009
                            [8KiB] 256B to 1MiB
      --max-headers N       fields in it, likewise [64] 1 to 1024
      --buffer-size SIZE    the shared read buffer: the most one read takes,
                            and one direction keeps while the other side is
                            slow [256KiB] 4KiB to 16MiB
      --rate-in SIZE        payload that is read from one client in a second [0]
      --rate-out SIZE       and from its target [0]; 0 is no limit
      --max-memory SIZE     kept for slow sides by all connections together;
                            at least --buffer-size [64MiB]

SIZE is a number of bytes, or has a unit: 64KiB, 16MiB, 1GiB; K, M and G are
the same. --check prints what all this adds up to.
";

const TIMERS: &str = "\
Timers, with [default]; each for every connection

      --handshake-timeout TIME  from accept to a whole request head [10s]; for
                                what names the target behind it, anew
      --timeout TIME            the same
      --connect-timeout TIME    for the target to answer, name lookup and all
                                its addresses included [10s]
      --ping-interval TIME      silence before a client is sent a Ping [30s]*
      --pong-timeout TIME       for any byte after that Ping [20s]
      --send-timeout TIME       bytes wait, and none can be sent [60s]*
      --idle-timeout TIME       no payload in either direction [0]*
      --max-lifetime TIME       a whole connection [0]*
      --close-timeout TIME      from the moment a Close is due; begins anew
                                whenever a byte is delivered [5s]
      --drain-timeout TIME      from SIGTERM until those still connected are
                                cut off [30s]

* 0 turns it off; the others must be more than 0.

TIME is 500ms, 10s, 5m or 2h; a bare number is seconds. At most 40 days.
";

const PROCESS: &str = "\
The process

      --log-level LEVEL     off, error, warn, info, debug or trace [info]
  -d, --debug               --log-level debug
      --log-format FORMAT   text, or json: an object in each line [text]
      --check               print routes and worst-case memory, and exit
  -h, --help [TOPIC]        print help, and exit
  -V, --version             print the version, and exit

      --nodelay on|off      send small segments at once (TCP_NODELAY) [on]
      --keepalive TIME      idle time before TCP probes the other end, whole
                            seconds up to 32767 [60s] 0 is off
      --backlog N           connections the kernel queues for us [1024]
      --reuse-port          share the port with other processes (SO_REUSEPORT)

SIGTERM and SIGINT: no new connections, Close 1001 to every client, deliver
what is under way, exit when all have ended or --drain-timeout has passed. A
second one exits at once. SIGUSR1 logs one line for each connection. SIGHUP
reads credential files again.

Exit status: 0 after a graceful stop, 1 when running failed (an address in
use, say) or a second signal cut it short, 2 when the command line is wrong.
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{endpoint, options, parse, Command};
    use crate::proto::encoding::Encoding;

    /// Small screens show it whole, and it can be quoted in a mail.
    #[test]
    fn every_topic_fits_a_screen() {
        for topic in Topic::ALL {
            let text = topic.text();
            assert!(text.ends_with('\n') && text.is_ascii(), "{topic:?}");
            assert!(text.lines().count() <= 40, "{topic:?}: {} lines", text.lines().count());
            for line in text.lines() {
                assert!(line.len() <= 80 && line.trim_end() == line, "{topic:?}: {line:?}");
            }
        }
    }

    #[test]
    fn the_overview_names_every_other_topic() {
        for topic in Topic::ALL {
            assert_eq!(Topic::named(topic.name()), Some(topic));
            let listed = OVERVIEW.contains(&format!("\n  {} ", topic.name()));
            assert_eq!(listed, topic != Topic::Overview, "{topic:?}");
        }
        assert_eq!(Topic::named("limit"), None);
    }

    #[test]
    fn every_option_is_explained_and_every_explained_option_exists() {
        let all = Topic::ALL.map(Topic::text).concat();
        let words: Vec<_> = all.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').collect();
        for name in options::names() {
            assert!(words.contains(&format!("--{name}").as_str()), "--{name} is not in --help");
        }
        for word in words {
            if let Some(name) = word.strip_prefix("--") {
                assert!(options::by_name(name).is_some(), "{word} does not exist");
            }
        }
    }

    #[test]
    fn an_optional_value_is_shown_as_one() {
        let all = Topic::ALL.map(Topic::text).concat();
        for option in options::names().filter_map(options::by_name) {
            let optional = matches!(option.action, options::Action::Optional(_));
            assert_eq!(all.contains(&format!("--{}[=", option.name)), optional, "{}", option.name);
            assert!(!optional || all.contains(&format!("[{}", option.example)));
        }
    }

    #[test]
    fn every_scheme_is_explained() {
        for scheme in endpoint::schemes() {
            assert!(ENDPOINTS.contains(&format!(" {scheme}")), "{scheme}");
        }
    }

    #[test]
    fn the_lines_that_are_shown_are_good_ones() {
        let whole = [OVERVIEW, RELAY, HTTP].concat().replace("\\\n", "");
        let lines = whole.lines().filter_map(|line| line.strip_prefix("  ws-tcp-proxy "));
        // Not every build has the encoding.
        let known = |line: &&str| !line.contains("chunk") || "chunk".parse::<Encoding>().is_ok();
        for line in lines.filter(known) {
            let words = line.split_whitespace().map(|word| word.trim_matches('\'').into());
            assert!(matches!(parse(words), Ok(Command::Run { .. })), "{line}");
        }
    }

    /// The text from an option to its next blank or option line says `[default]`.
    #[test]
    fn every_limit_is_explained_with_its_default() {
        let screens = [MESSAGES, LIMITS, TIMERS, PROCESS].concat();
        for name in options::names() {
            let option = options::by_name(name).unwrap();
            if name == "timeout" || !matches!(option.action, options::Action::Limit(_)) {
                continue;
            }
            let start = screens.find(&format!("\n      --{name} ")).expect(name) + 1;
            let end = screens[start..].find("\n      --").unwrap_or(screens.len() - start);
            let default = format!("[{}]", option.example);
            assert!(screens[start..start + end].contains(&default), "--{name} {default}");
        }
    }
}
