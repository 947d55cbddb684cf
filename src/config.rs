//! What the proxy is told: routes and tunables, with their units and defaults.
//!
//! Owns the types that [`crate::cli`] fills from argv and a program may fill itself.
//! Never parses text, opens a socket or reads a clock.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::policy::cidr::Cidr;
use crate::policy::origin::Origin;
use crate::policy::rules::Rules;
pub use crate::proto::authority::{Host, HostPort};
use crate::proto::connect::Form;
use crate::proto::encoding::{Encoding, Encodings};
use crate::proto::framing::Framing;
use crate::proto::proxy_header;
use crate::proto::response::ClientRequest;

/// Everything a [`crate::Proxy`] needs: where from, where to, and the limits.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// At least one; each is served until the process ends.
    pub routes: Vec<Route>,
    /// Limits, timers and socket options, the same for all routes.
    pub limits: Limits,
}

/// One way in and the way out that belongs to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Where connections come from.
    pub local: Local,
    /// Where they go.
    pub remote: Remote,
    /// What a WebSocket payload looks like on this route.
    pub messages: Messages,
    /// The targets that whoever connects may name, where `remote` leaves it to them. Where it is a
    /// token's file that names them, nothing allowed means whatever is listed there.
    pub rules: Rules,
    /// How a `connect://` listener passes on which target was named.
    pub form: Form,
    /// Who may use a `connect://` listener: a file with a `user:password` in each line. `None` is
    /// everybody.
    pub users: Option<PathBuf>,
    /// Who may connect.
    pub access: Access,
    /// Connections begin with a PROXY header, which is believed from [`Access::proxies`] and from
    /// nobody else (`--accept-proxy`).
    pub accept_proxy: bool,
    /// The directory whose files a request gets that asks for no WebSocket (`--web`). `None` is
    /// none. For [`Local::WebSocket`] alone.
    pub web: Option<PathBuf>,
    /// What the target is told first of whoever connects (`--send-proxy`). `None` is nothing.
    pub send_proxy: Option<proxy_header::Version>,
}

impl Route {
    /// A route with the defaults of the command line.
    pub fn new(local: Local, remote: Remote) -> Self {
        // A CONNECT tunnel carries streams whose two ways end one after the other.
        let tunnel = matches!(local, Local::Connect(_)) || remote == Remote::Connect;
        let half_close = tunnel.then_some(Messages::HALF_CLOSE);
        Self {
            local,
            remote,
            messages: Messages { half_close, ..Messages::default() },
            rules: Rules::default(),
            form: Form::default(),
            users: None,
            access: Access::default(),
            accept_proxy: false,
            web: None,
            send_proxy: None,
        }
    }
}

/// Who may connect to a route, wherever it leads: everybody, unless something here says otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Whose pages may (`--origin`). Empty is all, and whoever is no page.
    pub origins: Vec<Origin>,
    /// From where one may (`--client`). Empty is anywhere; a unix socket is nowhere.
    pub clients: Vec<Cidr>,
    /// Proxies whose word is taken for whom they pass on (`--trust-proxy`).
    pub proxies: Vec<Cidr>,
    /// A file of the users one of which a request for a WebSocket must show. `None` asks for none.
    pub basic: Option<PathBuf>,
    /// The same of tokens. With both, either will do.
    pub bearer: Option<PathBuf>,
}

impl Access {
    /// Whether the address of who connects matters. To ask the kernel for it is a system call.
    pub fn depends_on_address(&self) -> bool {
        !self.clients.is_empty() || !self.proxies.is_empty()
    }

    /// Whether credentials must be shown.
    pub fn asks_for_credentials(&self) -> bool {
        self.basic.is_some() || self.bearer.is_some()
    }
}

/// Where connections come from (`--local`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Local {
    /// A WebSocket server: `HOST:PORT`, `ws://`, `ws+unix:`, `fd:`, `systemd:`.
    WebSocket(Bind),
    /// A listener for plain byte streams: `tcp://`, `unix:`.
    Stream(Bind),
    /// A listener for HTTP `CONNECT`, whose clients name the target: `connect://`.
    Connect(Bind),
    /// Where those who run the proxy may ask about it (`--admin`), for [`Remote::Admin`] alone. Its
    /// connections have a place of their own, and are counted nowhere.
    Admin(Bind),
}

impl Local {
    /// The socket, whatever is spoken on it.
    pub fn bind(&self) -> &Bind {
        match self {
            Self::WebSocket(bind)
            | Self::Stream(bind)
            | Self::Connect(bind)
            | Self::Admin(bind) => bind,
        }
    }

    /// The schemes of a TCP and of a unix socket for what is spoken on it.
    pub fn schemes(&self) -> (&'static str, &'static str) {
        match self {
            Self::WebSocket(_) => ("ws://", "ws+unix:"),
            Self::Stream(_) => ("tcp://", "unix:"),
            Self::Connect(_) => ("connect://", "connect+unix:"),
            Self::Admin(_) => ("http://", "http+unix:"),
        }
    }
}

/// The socket that a [`Local`] listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bind {
    /// A TCP address; port 0 lets the kernel choose.
    Tcp(HostPort),
    /// A unix stream socket.
    Unix(UnixName),
    /// A listening socket inherited as this descriptor.
    Fd(i32),
    /// A listening socket handed over by name (`LISTEN_FDS`, `LISTEN_FDNAMES`, sd_listen_fds(3)).
    Systemd(String),
}

/// Where connections go (`--remote`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remote {
    /// A TCP address; of a name's addresses each is tried in turn.
    Tcp(HostPort),
    /// A unix stream socket.
    Unix(UnixName),
    /// A WebSocket server.
    WebSocket(WebSocketUrl),
    /// Where whoever connects says, by an HTTP `CONNECT` head at the start of the stream.
    Connect,
    /// Where a WebSocket client says, in a first message of JSON. For [`Local::WebSocket`] alone.
    Json,
    /// Where a file, or the files of a directory, say that the token of the request leads.
    Token(PathBuf),
    /// Where the query of the request says.
    Query,
    /// The proxy itself, which is asked about what it does. For [`Local::Admin`] alone.
    Admin,
    /// Back to where it came from, message by message. For tests and examples: no argument of the
    /// command line makes one.
    Echo,
}

impl Remote {
    /// The address that is dialled, if it is one of TCP.
    pub fn address(&self) -> Option<&HostPort> {
        match self {
            Self::Tcp(target) | Self::WebSocket(WebSocketUrl { target, .. }) => Some(target),
            Self::Unix(_)
            | Self::Connect
            | Self::Json
            | Self::Token(_)
            | Self::Query
            | Self::Admin
            | Self::Echo => None,
        }
    }

    /// Whether the value of that query parameter says where to go, and so nothing else.
    pub fn reads_parameter(&self, name: &str) -> bool {
        match self {
            Self::Token(_) => name == "token",
            Self::Query => ["target", "address"].contains(&name),
            Self::Tcp(_)
            | Self::Unix(_)
            | Self::WebSocket(_)
            | Self::Connect
            | Self::Json
            | Self::Admin
            | Self::Echo => false,
        }
    }

    /// Whether whoever connects names the target, under the rules of the route.
    pub fn is_named_by_peer(&self) -> bool {
        matches!(self, Self::Connect | Self::Json | Self::Token(_) | Self::Query)
    }
}

/// A WebSocket server and how it is asked (`ws://HOST[:PORT]/path?query`, RFC 6455 §3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebSocketUrl {
    /// What is dialled.
    pub target: HostPort,
    /// The value of the `Host` field: the authority as it was written.
    pub host: String,
    /// Path and query, beginning with `/`.
    pub path: String,
    /// The subprotocols that are offered.
    pub subprotocols: Vec<String>,
    /// Further header fields (`--header`).
    pub fields: Vec<(String, String)>,
    /// What the request is authorized with.
    pub credential: Option<CredentialFile>,
}

/// A file whose first line is a credential (RFC 7617, RFC 6750). Secrets never stand in argv.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialFile {
    /// `user:password`, sent as `Authorization: Basic` (`--basic-file`).
    Basic(PathBuf),
    /// A token, sent as `Authorization: Bearer` (`--bearer-file`).
    Bearer(PathBuf),
}

impl WebSocketUrl {
    /// A request with that nonce, for payloads of that encoding.
    pub fn request(
        &self,
        nonce: [u8; 16],
        encoding: Encoding,
        authorization: Option<&str>,
    ) -> ClientRequest {
        let mut fields = self.fields.clone();
        fields.extend(authorization.map(|value| ("Authorization".into(), value.into())));
        let is_type = |(name, _): &(String, String)| name.eq_ignore_ascii_case("Content-Type");
        if encoding == Encoding::Chunk && !fields.iter().any(is_type) {
            fields.push(("Content-Type".into(), "application/proto".into()));
        }
        ClientRequest::new(&self.host, &self.path, &self.subprotocols, &fields, nonce)
    }
}

/// The address of a unix socket (unix(7)).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum UnixName {
    /// A path in the file system.
    Path(PathBuf),
    /// A name in the abstract namespace, written `@name`.
    Abstract(String),
}

/// What is dialled, wherever that was said.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Destination {
    /// Over TCP.
    Tcp(HostPort),
    /// A unix stream socket.
    Unix(UnixName),
}

/// As an endpoint.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(target) => write!(f, "tcp://{target}"),
            Self::Unix(name) => write!(f, "unix:{name}"),
        }
    }
}

/// How stream bytes map to WebSocket messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Messages {
    /// The encoding of a connection that asks for none.
    pub encoding: Encoding,
    /// How messages appear in the stream (`--framing`). Not for routes that carry CONNECT tunnels, which
    /// are streams.
    pub framing: Framing,
    /// The encodings a connection may ask for by `?encoding=` or a subprotocol, of those that fit the
    /// framing.
    pub allowed: Encodings,
    /// Send U+FFFD for target bytes that are not UTF-8, instead of closing with 1007.
    pub text_lossy: bool,
    /// The subprotocols we speak.
    pub subprotocols: Subprotocols,
    /// After a peer's Close, for the stream behind it to make progress and end before the Close is
    /// answered (`--half-close`, RFC 6455 section 5.5.1). `None` answers at once.
    pub half_close: Option<Duration>,
}

impl Messages {
    /// `half_close` where a route carries CONNECT tunnels.
    pub const HALF_CLOSE: Duration = Duration::from_secs(5);

    /// Whether a connection may ask for that encoding, or has it unasked.
    pub fn allows(&self, encoding: Encoding) -> bool {
        self.allowed.contains(encoding) && self.framing.encodings().contains(encoding)
    }
}

/// Which of the offered subprotocols is answered (RFC 6455 section 4.2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subprotocols {
    /// The first offered that is in this list.
    Listed(Vec<String>),
    /// The first offered, whatever it is.
    Any,
}

/// Limits, timers and socket options. In a timer `None` means off.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Connections served at once; more are answered 503. Default 1000.
    pub max_connections: usize,
    /// The same for one client's address, or network of 64 bits under IPv6. Default off.
    pub max_per_client: Option<usize>,
    /// Bytes in one inbound message, fragments added up; 0 is no limit. Default 16 MiB.
    pub max_message: u64,
    /// Bytes in a request head. Default 8 KiB.
    pub max_head: usize,
    /// Header fields in a request head. Default 64.
    pub max_headers: usize,
    /// From accept to a complete request head. Default 10 s.
    pub handshake_timeout: Duration,
    /// For the target to answer, name lookup and all addresses included. Default 10 s.
    pub connect_timeout: Duration,
    /// Silence from a WebSocket peer before it is sent a Ping. Default 30 s.
    pub ping_interval: Option<Duration>,
    /// For any byte to arrive after a Ping. Default 20 s.
    pub pong_timeout: Duration,
    /// Without a payload byte in either direction. Default off.
    pub idle_timeout: Option<Duration>,
    /// For a whole connection. Default off.
    pub max_lifetime: Option<Duration>,
    /// From the moment a Close is due, counted anew whenever a byte is delivered. Default 5 s.
    pub close_timeout: Duration,
    /// From SIGTERM to the end, whoever is still connected. Default 30 s.
    pub drain_timeout: Duration,
    /// Without progress while bytes wait to be sent. Default 60 s.
    pub send_timeout: Option<Duration>,
    /// Payload bytes per second that leg 0 of a connection, whoever connects, is heard at. `None` is
    /// as fast as they go. Default off.
    pub rate_in: Option<u64>,
    /// The same for what the target says.
    pub rate_out: Option<u64>,
    /// Bytes of the shared read buffer: the most one read takes and one direction keeps. Default 256 KiB.
    pub buffer_size: usize,
    /// Bytes that all connections together may keep. Default 64 MiB.
    pub max_memory: usize,
    /// Connections the kernel queues before we accept them (listen(2)). Default 1024.
    pub backlog: u32,
    /// Send small segments at once (`TCP_NODELAY`). Default on.
    pub nodelay: bool,
    /// Idle time before TCP probes the other end (`SO_KEEPALIVE`, `TCP_KEEPIDLE`). Default 60 s.
    pub keepalive: Option<Duration>,
    /// Share the port with other processes (`SO_REUSEPORT`). Default off.
    pub reuse_port: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 1000,
            max_per_client: None,
            max_message: 16 << 20,
            max_head: 8 << 10,
            max_headers: 64,
            handshake_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(10),
            ping_interval: Some(Duration::from_secs(30)),
            pong_timeout: Duration::from_secs(20),
            idle_timeout: None,
            max_lifetime: None,
            close_timeout: Duration::from_secs(5),
            drain_timeout: Duration::from_secs(30),
            send_timeout: Some(Duration::from_secs(60)),
            rate_in: None,
            rate_out: None,
            buffer_size: 256 << 10,
            max_memory: 64 << 20,
            backlog: 1024,
            nodelay: true,
            keepalive: Some(Duration::from_secs(60)),
            reuse_port: false,
        }
    }
}

impl Default for Messages {
    fn default() -> Self {
        Self {
            encoding: Encoding::Binary,
            framing: Framing::Raw,
            allowed: Encodings::ALL,
            text_lossy: false,
            subprotocols: Subprotocols::Listed(vec!["binary".into(), "base64".into()]),
            half_close: None,
        }
    }
}

impl fmt::Display for UnixName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Abstract(name) => write!(f, "@{name}"),
        }
    }
}

/// As the user would write it, scheme included.
impl fmt::Display for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tcp, unix) = self.schemes();
        match self.bind() {
            Bind::Tcp(address) => write!(f, "{tcp}{address}"),
            Bind::Unix(name) => write!(f, "{unix}{name}"),
            Bind::Fd(fd) => write!(f, "fd:{fd}"),
            Bind::Systemd(name) => write!(f, "systemd:{name}"),
        }
    }
}

/// As the user would write it, scheme included.
impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Unix(name) => write!(f, "unix:{name}"),
            // Without its query, which may hold secrets.
            Self::WebSocket(url) => {
                write!(f, "ws://{}{}", url.host, url.path.split('?').next().unwrap_or("/"))
            }
            Self::Connect => f.write_str("connect:"),
            Self::Json => f.write_str("json:"),
            Self::Token(path) => write!(f, "token:{}", path.display()),
            Self::Query => f.write_str("query:"),
            Self::Admin => f.write_str("admin"),
            Self::Echo => f.write_str("echo"),
        }
    }
}
