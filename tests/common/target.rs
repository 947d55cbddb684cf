//! The byte-stream side: what the proxy dials.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use super::{sys, Stream, PATIENCE};

/// A listener, and its name on the proxy's command line.
pub struct Target {
    listener: OwnedFd,
    pub endpoint: String,
}

impl Target {
    /// On a free loopback port.
    pub fn listen() -> Self {
        Self::listen_on("127.0.0.1:0").unwrap()
    }

    pub fn listen_on(address: &str) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        Ok(Self { endpoint: listener.local_addr()?.to_string(), listener: listener.into() })
    }

    pub fn unix(path: &Path) -> Self {
        Self {
            endpoint: format!("unix:{}", path.display()),
            listener: UnixListener::bind(path).unwrap().into(),
        }
    }

    /// In the abstract namespace (unix(7)).
    pub fn unix_abstract(name: &str) -> Self {
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap();
        Self {
            endpoint: format!("unix:@{name}"),
            listener: UnixListener::bind_addr(&address).unwrap().into(),
        }
    }

    /// Answers every connection with its own bytes, for as long as the test runs.
    pub fn echo() -> String {
        let target = Self::listen();
        let endpoint = target.endpoint.clone();
        let listener = TcpListener::from(target.listener);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    let (mut from, mut to) = (&stream, &stream);
                    let _ = io::copy(&mut from, &mut to);
                    let _ = stream.shutdown(std::net::Shutdown::Write);
                });
            }
        });
        endpoint
    }

    /// On a free loopback port, with little room in the kernel on both ends of each connection.
    pub fn listen_narrow() -> Self {
        let target = Self::listen();
        sys::narrow(target.listener.as_raw_fd()).unwrap();
        target
    }

    #[track_caller]
    pub fn accept(&self) -> Stream {
        assert!(self.has_caller_within(PATIENCE), "nobody connected to the target");
        Stream::new(sys::accept(self.listener.as_fd()).expect("accept at the target"))
    }

    /// Whether the proxy dials within `patience`.
    pub fn has_caller_within(&self, patience: Duration) -> bool {
        sys::ready(self.listener.as_raw_fd(), libc::POLLIN, patience)
    }
}

/// A port that refuses: bound, so that nobody else gets it, but not listening.
pub struct Refusing {
    _socket: OwnedFd,
    pub endpoint: String,
}

impl Refusing {
    pub fn new() -> Self {
        let socket = sys::bound_socket().unwrap();
        Self { endpoint: address_of(&socket).to_string(), _socket: socket }
    }
}

/// A target that lets callers wait: its backlog is full, so the kernel ignores their SYN.
pub struct Silent {
    listener: OwnedFd,
    waiting: Vec<OwnedFd>,
    pub endpoint: String,
}

impl Silent {
    pub fn new() -> Self {
        let listener = sys::bound_socket().unwrap();
        sys::listen(&listener, 0).unwrap();
        let address = address_of(&listener);
        let mut waiting = Vec::new();
        while waiting.len() < 8 {
            let socket = sys::begin_connect(address.port()).unwrap();
            if !sys::ready(socket.as_raw_fd(), libc::POLLOUT, Duration::from_millis(300)) {
                break; // this one was ignored: the backlog is full
            }
            waiting.push(socket);
        }
        assert!(waiting.len() < 8, "the backlog does not get full");
        Self { listener, waiting, endpoint: address.to_string() }
    }

    /// Makes room in the backlog: who repeats its SYN is connected from now on.
    pub fn speak(mut self) -> Target {
        sys::listen(&self.listener, 64).unwrap();
        for _ in self.waiting.drain(..) {
            sys::accept(self.listener.as_fd()).unwrap();
        }
        Target { listener: self.listener, endpoint: self.endpoint }
    }
}

fn address_of(socket: &OwnedFd) -> SocketAddr {
    let view = TcpListener::from(socket.try_clone().unwrap());
    view.local_addr().unwrap()
}
