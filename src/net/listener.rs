//! Listening sockets: bind or inherit, and accept.
//!
//! Owns the socket of one route and, for a path, its removal.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use mio::event::Source;
use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};

use super::sys::{self, Inherited};
use super::transport::Transport;
use crate::config::{Bind, Host, HostPort, Limits, Local, UnixName};

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// The listening socket of one route.
pub struct Listener {
    socket: Socket,
    /// To be removed at the end.
    path: Option<UnixName>,
    /// How the user would write where it really listens.
    shown: String,
    /// May there be somebody to accept? Set by an event, cleared by `WouldBlock` alone.
    pub ready: bool,
}

impl Listener {
    /// Binds, or takes over, what `local` says.
    ///
    /// # Errors
    /// With the address and what to do about it.
    pub fn open(local: &Local, limits: &Limits) -> io::Result<Self> {
        let schemes = local.schemes();
        let opened = match local.bind() {
            Bind::Tcp(address) => Self::bind_tcp(address, schemes.0, limits),
            Bind::Unix(name) => Self::bind_unix(name, schemes.1, limits),
            Bind::Fd(fd) => Self::take(*fd, schemes, limits),
            Bind::Systemd(name) => systemd_fd(name).and_then(|fd| Self::take(fd, schemes, limits)),
        };
        opened.map_err(|error| {
            let text = format!("cannot listen on {local}: {}", explain(&error));
            io::Error::new(error.kind(), text)
        })
    }

    fn new(socket: Socket, path: Option<UnixName>, shown: String) -> Self {
        Self { socket, path, shown, ready: true }
    }

    fn bind_tcp(address: &HostPort, scheme: &str, limits: &Limits) -> io::Result<Self> {
        let address = match &address.host {
            Host::Ip(ip) => SocketAddr::new(*ip, address.port),
            Host::Name(name) => (name.as_str(), address.port)
                .to_socket_addrs()?
                .next()
                .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "name has no address"))?,
        };
        let listener = sys::listen_tcp(address, limits)?;
        let shown = format!("{scheme}{}", listener.local_addr()?);
        Ok(Self::new(Socket::Tcp(listener), None, shown))
    }

    fn bind_unix(name: &UnixName, scheme: &str, limits: &Limits) -> io::Result<Self> {
        let address = sys::unix_address(name)?;
        let listener = match UnixListener::bind_addr(&address) {
            // A path outlives the process that bound it; one that nobody serves is in the way.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let UnixName::Path(path) = name else { return Err(error) };
                if !is_left_behind(path) {
                    return Err(error);
                }
                std::fs::remove_file(path)?;
                UnixListener::bind_addr(&address)?
            }
            bound => bound?,
        };
        sys::set_backlog(listener.as_raw_fd(), limits.backlog)?;
        Ok(Self::new(Socket::Unix(listener), Some(name.clone()), format!("{scheme}{name}")))
    }

    fn take(fd: i32, schemes: (&str, &str), limits: &Limits) -> io::Result<Self> {
        Ok(match sys::inherit(fd, limits)? {
            Inherited::Tcp(listener) => {
                let shown = format!("{}{}", schemes.0, listener.local_addr()?);
                Self::new(Socket::Tcp(listener), None, shown)
            }
            Inherited::Unix(listener) => {
                let address = listener.local_addr()?;
                let shown = match address.as_pathname() {
                    Some(path) => format!("{}{}", schemes.1, path.display()),
                    None => format!("fd:{fd}"),
                };
                Self::new(Socket::Unix(listener), None, shown)
            }
        })
    }

    /// Where it listens, as the user would write it.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// The address, if it is TCP.
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.socket {
            Socket::Tcp(listener) => listener.local_addr().ok(),
            Socket::Unix(_) => None,
        }
    }

    /// accept4(2): the next connection, and who it is for a log.
    ///
    /// # Errors
    /// `WouldBlock` when nobody is waiting, or what accept(2) says.
    pub fn accept(&self) -> io::Result<(Transport, Option<SocketAddr>)> {
        match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                Ok((Transport::Tcp(stream), Some(peer)))
            }
            Socket::Unix(listener) => Ok((Transport::Unix(listener.accept()?.0), None)),
        }
    }

    /// Wakes the loop when somebody connects.
    ///
    /// # Errors
    /// What epoll_ctl(2) says.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let socket: &mut dyn Source = match &mut self.socket {
            Socket::Tcp(listener) => listener,
            Socket::Unix(listener) => listener,
        };
        registry.register(socket, token, Interest::READABLE)
    }
}

/// What we created in the file system goes when we do.
impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(UnixName::Path(path)) = &self.path {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Whether a path is a socket that nobody serves any more.
fn is_left_behind(path: &Path) -> bool {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket());
    let refused = |e: io::Error| e.kind() == io::ErrorKind::ConnectionRefused;
    is_socket && UnixStream::connect(path).is_err_and(refused)
}

/// What to do about a failure to listen.
fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "address already in use; stop whoever listens there or choose another".into()
        }
        io::ErrorKind::PermissionDenied => {
            "permission denied; use a port above 1023, a directory that is yours, \
             or grant CAP_NET_BIND_SERVICE"
                .into()
        }
        io::ErrorKind::AddrNotAvailable => {
            "this machine has no such address; 0.0.0.0 means all of them".into()
        }
        _ => error.to_string(),
    }
}

/// The descriptor that the service manager calls `name` (sd_listen_fds(3)).
fn systemd_fd(name: &str) -> io::Result<i32> {
    const FIRST: i32 = 3;
    let missing = |what: String| io::Error::new(io::ErrorKind::NotFound, what);
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    if variable("LISTEN_PID") != std::process::id().to_string() {
        let text =
            "no sockets were handed over (LISTEN_PID is not ours); start it from a socket unit";
        return Err(missing(text.into()));
    }
    let count = variable("LISTEN_FDS").parse().unwrap_or(0);
    let names = variable("LISTEN_FDNAMES");
    let position = names.split(':').take(count).position(|given| given == name);
    match position {
        Some(at) => Ok(FIRST + at as i32),
        None => Err(missing(format!(
            "no socket of that name was handed over; there are {count}: {names:?}"
        ))),
    }
}
