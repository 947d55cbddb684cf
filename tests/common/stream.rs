//! A connected stream socket whose every wait is bounded and says what it waited for.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{sys, PATIENCE};

/// A TCP or unix stream socket. The socket calls that std's `TcpStream` makes are answered by a unix
/// socket just as well, so one type serves for both.
#[derive(Debug)]
pub struct Stream(TcpStream);

/// How a stream ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    Fin,
    Reset,
}

impl Stream {
    pub fn tcp(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("connect to the proxy");
        Self::new(stream.into())
    }

    /// From that address of this host (127.0.0.0/8), which is then the client's.
    pub fn tcp_from(address: Ipv4Addr, port: u16) -> Self {
        Self::new(sys::connect_from(address, port).expect("connect to the proxy"))
    }

    /// Like [`Self::tcp`], with little room in the kernel on both ends.
    pub fn tcp_narrow(port: u16) -> Self {
        Self::new(sys::connect_narrow(port).expect("connect to the proxy"))
    }

    pub fn unix(path: &Path) -> Self {
        let stream = UnixStream::connect(path).expect("connect to the proxy's unix socket");
        Self::new(stream.into())
    }

    pub fn new(socket: OwnedFd) -> Self {
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let _ = stream.set_nodelay(true); // a unix socket has no such option
        Self(stream)
    }

    /// A second handle to the same socket, for another thread.
    pub fn share(&self) -> Self {
        Self(self.0.try_clone().unwrap())
    }

    /// Sends what the kernel takes in one call.
    ///
    /// # Errors
    /// The other end is gone.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        let outcome = self.0.write_all(bytes);
        outcome.unwrap_or_else(|e| panic!("sending {} bytes: {}", bytes.len(), explain(&e)));
    }

    /// Sends everything.
    ///
    /// # Errors
    /// The other end is gone.
    pub fn try_send_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    /// Sends until all is gone or `quiet` passes in which nothing is taken; returns what was taken.
    #[track_caller]
    pub fn send_until_stalled(&mut self, bytes: &[u8], quiet: Duration) -> usize {
        self.0.set_write_timeout(Some(quiet)).unwrap();
        let mut sent = 0;
        while sent < bytes.len() {
            match self.0.write(&bytes[sent..]) {
                Ok(n) => sent += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => panic!("after {sent} bytes: {e}"),
            }
        }
        self.0.set_write_timeout(Some(PATIENCE)).unwrap();
        sent
    }

    /// Sends until the other end is gone; fails if everything was taken.
    #[track_caller]
    pub fn send_until_refused(&mut self, bytes: &[u8]) {
        let error = self.0.write_all(bytes).expect_err("somebody took it all");
        let gone = [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset];
        assert!(gone.contains(&error.kind()), "{}", explain(&error));
    }

    /// Exactly `n` bytes.
    #[track_caller]
    pub fn receive(&mut self, n: usize) -> Vec<u8> {
        let mut bytes = vec![0; n];
        let mut filled = 0;
        while filled < n {
            match self.0.read(&mut bytes[filled..]) {
                Ok(0) => panic!("end after {filled} of {n} bytes"),
                Ok(read) => filled += read,
                Err(e) => panic!("after {filled} of {n} bytes: {}", explain(&e)),
            }
        }
        bytes
    }

    /// The next `n` bytes, which stay to be read again.
    #[track_caller]
    pub fn peek(&self, n: usize) -> Vec<u8> {
        let wait = Wait::begin();
        let mut bytes = vec![0; n];
        while self.0.peek(&mut bytes).expect("peek at the answer") < n {
            wait.go_on("the start of the answer");
        }
        bytes
    }

    /// All that comes before the end, and how the stream ended.
    #[track_caller]
    pub fn receive_all(&mut self) -> (Vec<u8>, End) {
        let mut bytes = Vec::new();
        match self.0.read_to_end(&mut bytes) {
            Ok(_) => (bytes, End::Fin),
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => (bytes, End::Reset),
            Err(e) => panic!("no end after {} bytes: {}", bytes.len(), explain(&e)),
        }
    }

    /// All that comes before the FIN; a reset is a failure.
    #[track_caller]
    pub fn receive_until_fin(&mut self) -> Vec<u8> {
        let (bytes, end) = self.receive_all();
        assert_eq!(end, End::Fin, "reset after {} bytes", bytes.len());
        bytes
    }

    /// Nothing but FIN.
    #[track_caller]
    pub fn expect_fin(&mut self) {
        assert_nothing(&self.receive_until_fin());
    }

    /// The end in either form, whatever comes before it.
    #[track_caller]
    pub fn expect_end(&mut self) {
        self.receive_all();
    }

    /// Sends FIN; reading goes on.
    pub fn finish(&self) {
        self.try_finish().unwrap();
    }

    /// Sends FIN.
    ///
    /// # Errors
    /// The other end is gone.
    pub fn try_finish(&self) -> io::Result<()> {
        self.0.shutdown(std::net::Shutdown::Write)
    }

    /// Sends RST.
    pub fn reset(self) {
        sys::reset_on_close(self.0.as_raw_fd()).unwrap();
    }

    /// Whether bytes or the end arrive within `patience`.
    pub fn is_readable_within(&self, patience: Duration) -> bool {
        sys::ready(self.0.as_raw_fd(), libc::POLLIN, patience)
    }

    /// Waits until the process at the other end has read every byte sent so far (TCP on loopback).
    #[track_caller]
    pub fn wait_until_read(&self) {
        let wait = Wait::begin();
        while self.unread() > 0 {
            wait.go_on("the proxy to read what was sent");
        }
    }

    /// Bytes sent that the process at the other end has not read (TCP over loopback): what waits in
    /// our kernel buffer and in that of the other end.
    pub fn unread(&self) -> usize {
        let (unsent, unread) = self.queued();
        unsent + unread
    }

    /// What waits in our kernel buffer, and in that of the other end.
    fn queued(&self) -> (usize, usize) {
        let here = self.0.local_addr().unwrap().port();
        let there = self.0.peer_addr().unwrap().port();
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let unsent = queues(&table, here, there).map_or(0, |(tx, _)| tx);
        let unread = queues(&table, there, here).map_or(0, |(_, rx)| rx);
        (unsent, unread)
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

/// A wait for something that gives no event: asks again and again, and fails after [`PATIENCE`].
pub struct Wait(Instant);

impl Wait {
    pub fn begin() -> Self {
        Self(Instant::now())
    }

    #[track_caller]
    pub fn go_on(&self, what: &str) {
        assert!(self.0.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::yield_now();
    }
}

/// What a failed read or write means.
pub fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock => format!("nothing happened for {PATIENCE:?}"),
        _ => error.to_string(),
    }
}

#[track_caller]
fn assert_nothing(bytes: &[u8]) {
    let start = &bytes[..bytes.len().min(40)];
    let text = start.escape_ascii();
    assert!(bytes.is_empty(), "{} bytes before FIN: {text}", bytes.len());
}

/// Send and receive queue of the socket with these ports (proc_net_tcp).
fn queues(table: &str, local: u16, remote: u16) -> Option<(usize, usize)> {
    let (local, remote) = (format!(":{local:04X}"), format!(":{remote:04X}"));
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (here, there) = (fields.next()?, fields.next()?);
        if !here.ends_with(&local) || !there.ends_with(&remote) {
            return None;
        }
        let (tx, rx) = fields.nth(1)?.split_once(':')?;
        let number = |hex| usize::from_str_radix(hex, 16).ok();
        Some((number(tx)?, number(rx)?))
    })
}
