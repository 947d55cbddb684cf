//! One leg's latches, as in `net/connection/`.

use std::io::{self, ErrorKind};

use ws_tcp_proxy::session::link::{Context, Link};

use crate::socket::Socket;

/// What the loop knows of a socket's readiness.
#[derive(Debug, Default)]
pub struct End {
    /// Whether there is a socket, and it is not closed.
    pub open: bool,
    pub readable: bool,
    pub writable: bool,
    pub insists: bool,
}

impl End {
    /// There is a socket, and nothing is known of it.
    pub fn open() -> Self {
        Self { open: true, readable: true, writable: true, insists: false }
    }

    /// Reads into all of `room` and keeps what that says about readiness.
    pub fn read(&mut self, socket: &mut Socket, room: &mut [u8]) -> io::Result<usize> {
        if !self.open {
            return Ok(0);
        }
        let n = socket.read(room)?;
        if n < room.len() && !self.insists {
            self.readable = false;
        }
        Ok(n)
    }

    /// Writes two runs and keeps what that says. Takes 0 bytes if it may not write now.
    pub fn write(&mut self, socket: &mut Socket, first: &[u8], second: &[u8]) -> io::Result<usize> {
        if !self.writable || !self.open {
            return Ok(0);
        }
        match socket.write(first, second) {
            Ok(n) => {
                self.writable = n == first.len() + second.len();
                Ok(n)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.writable = false;
                Ok(0)
            }
            Err(error) => {
                self.readable = true;
                self.insists = true;
                Err(error)
            }
        }
    }
}

/// Writes to a leg for which nothing waits; the link keeps what is refused.
pub fn send(
    link: &mut Link,
    end: &mut End,
    socket: &mut Socket,
    side: usize,
    bytes: &[u8],
    ctx: &mut Context,
) {
    if bytes.is_empty() {
        return;
    }
    let mut taken = 0;
    if link.waiting(side).0.is_empty() {
        match end.write(socket, bytes, &[]) {
            Ok(0) => {}
            Ok(n) => {
                taken = n;
                link.on_passed(side, n, ctx);
            }
            Err(_) => link.on_write_error(side, ctx),
        }
    }
    if taken < bytes.len() {
        link.keep(side, &bytes[taken..], ctx);
    }
}
