//! A level-triggered epoll(7) set, and the few socket calls std has no safe form of.
//!
//! Owns the system calls; never reads or writes a stream.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

pub const IN: u32 = libc::EPOLLIN as u32;
pub const OUT: u32 = libc::EPOLLOUT as u32;
/// Reported whether asked for or not.
pub const ERROR: u32 = libc::EPOLLERR as u32;
/// Reported whether asked for or not, once both directions have ended.
pub const HANG_UP: u32 = libc::EPOLLHUP as u32;

/// A set of descriptors, each with a token of the caller's choice. A closed descriptor leaves it by itself.
pub struct Epoll {
    fd: OwnedFd,
    ready: Vec<libc::epoll_event>,
}

impl Epoll {
    /// A set that reports at most `batch` events in one wait.
    pub fn new(batch: usize) -> io::Result<Self> {
        // SAFETY: epoll_create1(2) takes no pointers.
        let raw = checked(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the descriptor was just made and belongs to nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        let ready = vec![libc::epoll_event { events: 0, u64: 0 }; batch];
        Ok(Self { fd, ready })
    }

    pub fn add(&self, source: &impl AsRawFd, token: u64, interest: u32) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, source, token, interest)
    }

    pub fn modify(&self, source: &impl AsRawFd, token: u64, interest: u32) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, source, token, interest)
    }

    pub fn remove(&self, source: &impl AsRawFd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, source, 0, 0)
    }

    fn control(
        &self,
        operation: i32,
        source: &impl AsRawFd,
        token: u64,
        interest: u32,
    ) -> io::Result<()> {
        let mut event = libc::epoll_event { events: interest, u64: token };
        // SAFETY: epoll_ctl(2) reads `event` during the call only.
        checked(unsafe {
            libc::epoll_ctl(self.fd.as_raw_fd(), operation, source.as_raw_fd(), &mut event)
        })
        .map(drop)
    }

    /// Number of events, 0 after `timeout`; `None` waits for ever.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        loop {
            match self.wait_once(timeout) {
                // Being stopped and traced interrupts too.
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                outcome => return outcome,
            }
        }
    }

    fn wait_once(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        let millis = timeout.map_or(-1, |limit| limit.as_millis() as i32);
        // SAFETY: epoll_wait(2) writes at most `ready.len()` events into `ready`.
        let count = checked(unsafe {
            libc::epoll_wait(
                self.fd.as_raw_fd(),
                self.ready.as_mut_ptr(),
                self.ready.len() as i32,
                millis,
            )
        })?;
        Ok(count as usize)
    }

    /// Token and event bits of the `index`-th event of the last wait.
    pub fn event(&self, index: usize) -> (u64, u32) {
        let event = self.ready[index];
        (event.u64, event.events)
    }
}

/// accept4(2): the accepted socket is non-blocking from the start, which std needs another call for.
pub fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: accept4(2) allows null for an address that is not wanted.
    let fd = checked(unsafe {
        libc::accept4(listener.as_raw_fd(), std::ptr::null_mut(), std::ptr::null_mut(), flags)
    })?;
    // SAFETY: the descriptor was just made and belongs to nobody else.
    Ok(unsafe { TcpStream::from_raw_fd(fd) })
}

/// A non-blocking connect(2) to a loopback port, under way: `OUT` tells when it is decided.
pub fn dial(port: u16) -> io::Result<TcpStream> {
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: socket(2) takes no pointers.
    let fd = checked(unsafe { libc::socket(libc::AF_INET, kind, 0) })?;
    // SAFETY: the descriptor was just made and belongs to nobody else.
    let stream = unsafe { TcpStream::from_raw_fd(fd) };
    let address = wire_address(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port));
    let length = std::mem::size_of_val(&address) as libc::socklen_t;
    // SAFETY: connect(2) reads `length` bytes of `address` during the call only.
    let outcome = checked(unsafe {
        libc::connect(stream.as_raw_fd(), std::ptr::addr_of!(address).cast(), length)
    });
    match outcome {
        Err(e) if e.raw_os_error() != Some(libc::EINPROGRESS) => Err(e),
        _ => Ok(stream),
    }
}

fn wire_address(address: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
        sin_zero: [0; 8],
    }
}

fn checked(outcome: i32) -> io::Result<i32> {
    if outcome < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(outcome)
}
