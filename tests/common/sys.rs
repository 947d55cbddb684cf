//! The system calls that std does not offer, each behind a safe function.

use std::ffi::CString;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// Whether `socket` gets ready for `events` (`POLLIN`, `POLLOUT`) within `patience` (poll(2)).
pub fn ready(socket: RawFd, events: i16, patience: Duration) -> bool {
    let mut entry = libc::pollfd { fd: socket, events, revents: 0 };
    let millis = i32::try_from(patience.as_millis()).unwrap();
    // SAFETY: poll(2) is given one valid entry and its count.
    unsafe { libc::poll(&mut entry, 1, millis) > 0 }
}

/// Takes the next connection from a listener of any family (accept(2)).
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let null = std::ptr::null_mut();
    // SAFETY: accept4(2) allows null where the address is not wanted; the result is ours alone.
    unsafe {
        owned(libc::accept4(listener.as_raw_fd(), null, std::ptr::null_mut(), libc::SOCK_CLOEXEC))
    }
}

/// A TCP socket bound to a free loopback port, connected to nothing.
pub fn bound_socket() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    // SAFETY: socket(2) takes plain numbers; the descriptor is ours alone.
    let socket = unsafe { owned(libc::socket(libc::AF_INET, kind, 0))? };
    let address = loopback(0);
    // SAFETY: bind(2) is given a valid sockaddr_in and its size.
    check(unsafe { libc::bind(socket.as_raw_fd(), as_sockaddr(&address), ADDRESS_LEN) })?;
    Ok(socket)
}

/// Connects from that address (bind(2), connect(2)).
pub fn connect_from(from: Ipv4Addr, port: u16) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    // SAFETY: socket(2) takes plain numbers; the descriptor is ours alone.
    let socket = unsafe { owned(libc::socket(libc::AF_INET, kind, 0))? };
    let (here, there) = (address(from, 0), loopback(port));
    // SAFETY: bind(2) and connect(2) are given valid sockaddr_in and their size.
    unsafe {
        check(libc::bind(socket.as_raw_fd(), as_sockaddr(&here), ADDRESS_LEN))?;
        check(libc::connect(socket.as_raw_fd(), as_sockaddr(&there), ADDRESS_LEN))?;
    }
    Ok(socket)
}

/// Begins to connect without waiting for the outcome (connect(2)).
pub fn begin_connect(port: u16) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: socket(2) takes plain numbers; the descriptor is ours alone.
    let socket = unsafe { owned(libc::socket(libc::AF_INET, kind, 0))? };
    let address = loopback(port);
    // SAFETY: connect(2) is given a valid sockaddr_in and its size.
    unsafe { libc::connect(socket.as_raw_fd(), as_sockaddr(&address), ADDRESS_LEN) };
    Ok(socket)
}

/// Connects with kernel buffers of a few KiB and small segments: the proxy's kernel buffers stay
/// small too, since they grow with the segments that the other end asked for.
pub fn connect_narrow(port: u16) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    // SAFETY: socket(2) takes plain numbers; the descriptor is ours alone.
    let socket = unsafe { owned(libc::socket(libc::AF_INET, kind, 0))? };
    narrow(socket.as_raw_fd())?;
    let address = loopback(port);
    // SAFETY: connect(2) is given a valid sockaddr_in and its size.
    check(unsafe { libc::connect(socket.as_raw_fd(), as_sockaddr(&address), ADDRESS_LEN) })?;
    Ok(socket)
}

/// The same for a listener: the sockets it accepts inherit it.
pub fn narrow(socket: RawFd) -> io::Result<()> {
    set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUF, 8 << 10)?;
    set_option(socket, libc::SOL_SOCKET, libc::SO_SNDBUF, 8 << 10)?;
    set_option(socket, libc::IPPROTO_TCP, libc::TCP_MAXSEG, 1000)
}

/// Turns a bound socket into a listener (listen(2)).
pub fn listen(socket: &OwnedFd, backlog: i32) -> io::Result<()> {
    // SAFETY: listen(2) takes plain numbers.
    check(unsafe { libc::listen(socket.as_raw_fd(), backlog) })
}

/// Sets an integer option (setsockopt(2)).
fn set_option(socket: RawFd, level: i32, option: i32, value: i32) -> io::Result<()> {
    let len = std::mem::size_of_val(&value) as libc::socklen_t;
    let value: *const i32 = &value;
    // SAFETY: setsockopt(2) reads `len` bytes from a valid integer.
    check(unsafe { libc::setsockopt(socket, level, option, value.cast(), len) })
}

/// Makes close(2) send RST instead of FIN (`SO_LINGER` of zero, socket(7)).
pub fn reset_on_close(socket: RawFd) -> io::Result<()> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let len = std::mem::size_of_val(&linger) as libc::socklen_t;
    let value: *const libc::linger = &linger;
    // SAFETY: setsockopt(2) reads `len` bytes from a valid struct.
    check(unsafe { libc::setsockopt(socket, libc::SOL_SOCKET, libc::SO_LINGER, value.cast(), len) })
}

/// Sends a signal to one process (kill(2)).
pub fn kill(pid: u32, signal: i32) -> io::Result<()> {
    // SAFETY: kill(2) takes plain numbers.
    check(unsafe { libc::kill(pid as i32, signal) })
}

/// Makes a named pipe (mkfifo(3)).
pub fn make_pipe(path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: mkfifo(3) reads a string that ends in NUL and lives until it returns.
    check(unsafe { libc::mkfifo(path.as_ptr(), 0o600) })
}

/// In a child before exec: at most `files` open descriptors (setrlimit(2)).
pub fn limit_files(files: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: files as libc::rlim_t, rlim_max: files as libc::rlim_t };
    // SAFETY: setrlimit(2) reads one valid struct.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) })
}

/// In a child before exec: `descriptors` become 3, 4, ... and survive the exec.
pub fn hand_over(descriptors: &[RawFd]) -> io::Result<()> {
    // First out of the way of each other, then to their places.
    let mut parked = [0; 8];
    for (place, &descriptor) in parked.iter_mut().zip(descriptors) {
        // SAFETY: fcntl(2) with F_DUPFD takes plain numbers.
        *place = unsafe { libc::fcntl(descriptor, libc::F_DUPFD_CLOEXEC, 100) };
        check(*place)?;
    }
    for (i, &descriptor) in parked[..descriptors.len()].iter().enumerate() {
        // SAFETY: dup2(2) takes plain numbers and clears close-on-exec of the copy.
        check(unsafe { libc::dup2(descriptor, 3 + i as RawFd) })?;
    }
    Ok(())
}

/// In a child before exec: `descriptor` survives the exec under its own number.
pub fn keep_over_exec(descriptor: RawFd) -> io::Result<()> {
    // SAFETY: fcntl(2) with F_SETFD takes plain numbers.
    check(unsafe { libc::fcntl(descriptor, libc::F_SETFD, 0) })
}

/// In a child before exec: `file` is seen in place of /etc/hosts (mount_namespaces(7)).
/// Fails where neither root nor user namespaces are at hand.
pub fn replace_hosts_file(file: &std::ffi::CStr) -> io::Result<()> {
    let hosts = b"/etc/hosts\0".as_ptr().cast();
    let none = b"none\0".as_ptr().cast();
    let root = b"/\0".as_ptr().cast();
    let null = std::ptr::null();
    // SAFETY: unshare(2) takes plain numbers; mount(2) gets strings that end in NUL, null elsewhere.
    unsafe {
        if libc::unshare(libc::CLONE_NEWNS) != 0 {
            check(libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS))?;
        }
        let private = libc::MS_REC | libc::MS_PRIVATE;
        check(libc::mount(none, root, null, private, null.cast()))?;
        check(libc::mount(file.as_ptr(), hosts, null, libc::MS_BIND, null.cast()))
    }
}

const ADDRESS_LEN: libc::socklen_t = std::mem::size_of::<libc::sockaddr_in>() as libc::socklen_t;

fn loopback(port: u16) -> libc::sockaddr_in {
    address(Ipv4Addr::LOCALHOST, port)
}

fn address(ip: Ipv4Addr, port: u16) -> libc::sockaddr_in {
    // SAFETY: all-zero is a valid sockaddr_in (ip(7)).
    let mut address: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    address.sin_family = libc::AF_INET as libc::sa_family_t;
    address.sin_port = port.to_be();
    address.sin_addr.s_addr = u32::from(ip).to_be();
    address
}

fn as_sockaddr(address: &libc::sockaddr_in) -> *const libc::sockaddr {
    let address: *const libc::sockaddr_in = address;
    address.cast()
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// # Safety
/// `descriptor` is negative, or open and owned by nobody else.
unsafe fn owned(descriptor: RawFd) -> io::Result<OwnedFd> {
    check(descriptor)?;
    Ok(OwnedFd::from_raw_fd(descriptor))
}
