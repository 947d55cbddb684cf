//! One end of a connection: a socket, whatever its family, or a file to be read.
//!
//! Callers never ask which. Nothing here blocks, but for the disk that a file is on.

use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr};

use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};

use super::sys;
use crate::config::{Limits, UnixName};

/// A connected, or connecting, stream socket, or a file.
#[derive(Debug)]
pub enum Transport {
    /// TCP over either IP.
    Tcp(TcpStream),
    /// A unix stream socket.
    Unix(UnixStream),
    /// A regular file that is read from where it stands. There is nothing to wait for, and nobody
    /// to write to.
    File(File),
}

/// Calls the same method on whichever socket it is; `$file` is what it comes to for a file.
macro_rules! each {
    ($transport:expr, $stream:ident => $call:expr, $file:expr) => {
        match $transport {
            Transport::Tcp($stream) => $call,
            Transport::Unix($stream) => $call,
            Transport::File(_) => $file,
        }
    };
}

impl Transport {
    /// Begins to connect; the first writable event tells how it went, see
    /// [`Transport::take_error`].
    ///
    /// # Errors
    /// What socket(2) and connect(2) say at once.
    pub fn connect_tcp(address: SocketAddr, limits: &Limits) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        sys::set_tcp_options(&stream, limits)?;
        Ok(Self::Tcp(stream))
    }

    /// The same for a unix socket. `WouldBlock` says that its backlog is full just now.
    ///
    /// # Errors
    /// What socket(2) and connect(2) say.
    pub fn connect_unix(name: &UnixName) -> io::Result<Self> {
        let address = sys::unix_address(name)?;
        Ok(Self::Unix(UnixStream::connect_addr(&address)?))
    }

    /// Wakes the loop for both directions from now on. Priority, because a read stops at TCP's
    /// urgent mark although there is more behind it.
    ///
    /// # Errors
    /// What epoll_ctl(2) says.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
        each!(self, stream => registry.register(stream, token, interest), Ok(()))
    }

    /// The other end's address (getpeername(2)); `None` for a unix socket, or when it is gone.
    pub fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().ok(),
            Self::Unix(_) | Self::File(_) => None,
        }
    }

    /// Our own address (getsockname(2)); `None` for a unix socket.
    pub fn local(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.local_addr().ok(),
            Self::Unix(_) | Self::File(_) => None,
        }
    }

    /// The error that a failed connect, or the peer, has left behind (`SO_ERROR`).
    ///
    /// # Errors
    /// What getsockopt(2) says.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        each!(self, stream => stream.take_error(), Ok(None))
    }

    /// read(2)
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing now.
    pub fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buf),
            Self::Unix(stream) => stream.read(buf),
            Self::File(file) => file.read(buf),
        }
    }

    /// write(2)
    ///
    /// # Errors
    /// `WouldBlock` when there is no room now.
    pub fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        each!(self, stream => stream.write(buf), Err(io::ErrorKind::BrokenPipe.into()))
    }

    /// writev(2) of two runs.
    ///
    /// # Errors
    /// `WouldBlock` when there is no room now.
    pub fn write_both(&mut self, first: &[u8], second: &[u8]) -> io::Result<usize> {
        if second.is_empty() {
            return self.write(first);
        }
        let slices = [IoSlice::new(first), IoSlice::new(second)];
        each!(self, stream => stream.write_vectored(&slices), Err(io::ErrorKind::BrokenPipe.into()))
    }

    /// send(2) of what more follows at once: TCP may wait with it.
    ///
    /// # Errors
    /// `WouldBlock` when there is no room now.
    pub fn write_more(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_io(|| sys::send_more(stream, buf)),
            _ => self.write(buf),
        }
    }

    /// Ends our direction: FIN behind what the kernel still holds.
    pub fn shutdown_write(&mut self) {
        // ENOTCONN and ECONNRESET are a simultaneous close, not a failure.
        let _ = each!(self, stream => stream.shutdown(Shutdown::Write), Ok(()));
    }

    /// Reads and drops what has arrived, as far as it takes one full buffer of the kernel's, so
    /// that the close(2) that follows sends FIN and not RST, and what the kernel still holds for
    /// the other end gets out.
    pub fn discard_arrived(&mut self, scratch: &mut [u8]) {
        const MOST: usize = 8 << 20;
        if matches!(self, Self::File(_)) {
            return;
        }
        let mut dropped = 0;
        while dropped < MOST {
            match self.read(scratch) {
                Ok(n) if n > 0 => dropped += n,
                _ => return,
            }
        }
    }
}
