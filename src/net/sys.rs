//! The system calls that std and mio do not offer, and the only `unsafe` of the crate.

#![allow(unsafe_code)]

use std::ffi::{c_int, CString};
use std::io;
use std::mem::{size_of, zeroed, MaybeUninit};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::SocketAddr as UnixAddress;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::config::{Limits, UnixName};

/// Turns the -1 of a system call into its error.
fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn set_option(fd: RawFd, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    let len = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: setsockopt(2) reads `len` bytes of an int that lives until it returns.
    check(unsafe { libc::setsockopt(fd, level, name, (&value as *const c_int).cast(), len) })?;
    Ok(())
}

fn option(fd: RawFd, level: c_int, name: c_int) -> io::Result<c_int> {
    let mut value: c_int = 0;
    let mut len = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: getsockopt(2) writes at most `len` bytes to an int that lives until it returns.
    check(unsafe {
        libc::getsockopt(fd, level, name, (&mut value as *mut c_int).cast(), &mut len)
    })?;
    Ok(value)
}

/// Options of every TCP socket (tcp(7), socket(7)). A listener's are inherited by what it accepts.
///
/// # Errors
/// What setsockopt(2) says.
pub fn set_tcp_options(socket: &impl AsRawFd, limits: &Limits) -> io::Result<()> {
    let fd = socket.as_raw_fd();
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, limits.nodelay.into())?;
    // An urgent byte is a byte of the stream like any other (RFC 6093 §5).
    set_option(fd, libc::SOL_SOCKET, libc::SO_OOBINLINE, 1)?;
    if let Some(idle) = limits.keepalive {
        let secs = idle.max(Duration::from_secs(1)).as_secs();
        set_option(fd, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1)?;
        // Linux takes at most MAX_TCP_KEEPIDLE, 32767 seconds.
        set_option(fd, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, secs.min(32767) as c_int)?;
    }
    Ok(())
}

/// send(2) with `MSG_MORE`: a segment that is not full waits for what follows.
///
/// # Errors
/// What send(2) says.
pub fn send_more(socket: &impl AsRawFd, bytes: &[u8]) -> io::Result<usize> {
    let flags = libc::MSG_MORE | libc::MSG_NOSIGNAL;
    // SAFETY: send(2) reads `bytes.len()` bytes of a slice that lives until it returns.
    let n = unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) };
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}

/// A TCP socket that listens, non-blocking.
///
/// # Errors
/// What socket(2), setsockopt(2), bind(2) and listen(2) say.
pub fn listen_tcp(address: SocketAddr, limits: &Limits) -> io::Result<mio::net::TcpListener> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: socket(2) takes no pointers, and what it returns is ours alone.
    let socket = unsafe { OwnedFd::from_raw_fd(check(libc::socket(family, kind, 0))?) };
    let fd = socket.as_raw_fd();
    set_option(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    if limits.reuse_port {
        set_option(fd, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
    }
    set_tcp_options(&socket, limits)?;
    let (storage, len) = to_sockaddr(address);
    // SAFETY: bind(2) reads `len` bytes of the storage, which is larger and lives until it returns.
    check(unsafe { libc::bind(fd, (&storage as *const libc::sockaddr_storage).cast(), len) })?;
    set_backlog(fd, limits.backlog)?;
    Ok(mio::net::TcpListener::from_std(socket.into()))
}

/// listen(2), which also changes the backlog of a socket that listens already.
///
/// # Errors
/// What listen(2) says.
pub fn set_backlog(fd: RawFd, backlog: u32) -> io::Result<()> {
    let backlog = c_int::try_from(backlog).unwrap_or(c_int::MAX);
    // SAFETY: listen(2) takes no pointers.
    check(unsafe { libc::listen(fd, backlog) })?;
    Ok(())
}

/// An address as bind(2) wants it (ip(7), ipv6(7)).
fn to_sockaddr(address: SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    // SAFETY: all zeroes is a valid sockaddr_storage, and large and aligned enough for every
    // address (socket(7)).
    let mut storage: libc::sockaddr_storage = unsafe { zeroed() };
    let at = &mut storage as *mut libc::sockaddr_storage;
    let len = match address {
        SocketAddr::V4(v4) => {
            // SAFETY: as above; `at` is valid and exclusively ours.
            let sin = unsafe { &mut *at.cast::<libc::sockaddr_in>() };
            sin.sin_family = libc::AF_INET as libc::sa_family_t;
            sin.sin_port = v4.port().to_be();
            sin.sin_addr.s_addr = u32::from_ne_bytes(v4.ip().octets());
            size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(v6) => {
            // SAFETY: as above.
            let sin6 = unsafe { &mut *at.cast::<libc::sockaddr_in6>() };
            sin6.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            sin6.sin6_port = v6.port().to_be();
            sin6.sin6_addr.s6_addr = v6.ip().octets();
            sin6.sin6_scope_id = v6.scope_id();
            size_of::<libc::sockaddr_in6>()
        }
    };
    (storage, len as libc::socklen_t)
}

/// The address of a unix socket (unix(7)).
///
/// # Errors
/// A path or name that is too long or holds a NUL.
pub fn unix_address(name: &UnixName) -> io::Result<UnixAddress> {
    match name {
        UnixName::Path(path) => UnixAddress::from_pathname(path),
        UnixName::Abstract(name) => UnixAddress::from_abstract_name(name),
    }
}

/// A listening socket that was handed over.
#[derive(Debug)]
pub enum Inherited {
    /// An AF_INET or AF_INET6 one.
    Tcp(mio::net::TcpListener),
    /// An AF_UNIX one.
    Unix(mio::net::UnixListener),
}

/// Takes over a listening stream socket, and makes it non-blocking and close-on-exec.
///
/// # Errors
/// It is not open, no socket, does not listen, or carries something else than a byte stream.
pub fn inherit(fd: RawFd, limits: &Limits) -> io::Result<Inherited> {
    let not_listening = || io::Error::new(io::ErrorKind::InvalidInput, "not a listening socket");
    if option(fd, libc::SOL_SOCKET, libc::SO_TYPE)? != libc::SOCK_STREAM
        || option(fd, libc::SOL_SOCKET, libc::SO_ACCEPTCONN)? == 0
    {
        return Err(not_listening());
    }
    let family = option(fd, libc::SOL_SOCKET, libc::SO_DOMAIN)?;
    // SAFETY: fcntl(2) with these commands takes no pointers; the options above have shown that
    // the descriptor is open.
    unsafe {
        check(libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC))?;
        let flags = check(libc::fcntl(fd, libc::F_GETFL))?;
        check(libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK))?;
    }
    // SAFETY: the descriptor is open, and whoever started us with `fd:` or LISTEN_FDS has given
    // it to us (sd_listen_fds(3)); the configuration names it once.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    match family {
        libc::AF_INET | libc::AF_INET6 => {
            set_tcp_options(&socket, limits)?;
            Ok(Inherited::Tcp(mio::net::TcpListener::from_std(socket.into())))
        }
        libc::AF_UNIX => Ok(Inherited::Unix(mio::net::UnixListener::from_std(socket.into()))),
        _ => Err(not_listening()),
    }
}

/// How many descriptors the process may have open (getrlimit(2)).
///
/// # Errors
/// What getrlimit(2) says.
pub fn descriptor_limit() -> io::Result<u64> {
    read_descriptor_limit().map(|limit| limit.rlim_cur)
}

fn read_descriptor_limit() -> io::Result<libc::rlimit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: getrlimit(2) writes one rlimit, which lives until it returns.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) })?;
    Ok(limit)
}

/// Raises the soft limit of descriptors to the hard one (getrlimit(2)) and says what it is then.
///
/// # Errors
/// What getrlimit(2) says.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let mut limit = read_descriptor_limit()?;
    let raised = libc::rlimit { rlim_cur: limit.rlim_max, ..limit };
    // SAFETY: setrlimit(2) reads one rlimit, which lives until it returns.
    if check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raised) }).is_ok() {
        limit = raised;
    }
    Ok(limit.rlim_cur)
}

/// Fills `bytes` with strong entropy (getrandom(2)).
///
/// # Panics
/// If the kernel has none to give, as kernels before 3.17 do: a predictable masking-key would be
/// worse.
pub fn entropy(bytes: &mut [u8]) {
    // SAFETY: getrandom(2) writes at most `bytes.len()` bytes; up to 256 come in one call.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    assert_eq!(usize::try_from(got), Ok(bytes.len()), "getrandom(2) gives no entropy");
}

/// Whether the process has asked for its allocator to be tuned: one that only embeds the proxy has its
/// own mind about that.
static TRIMS: AtomicBool = AtomicBool::new(false);

/// Makes freed memory go back to the system: glibc otherwise raises its threshold for mmap(2) with
/// every large block that is freed (mallopt(3)), and keeps what a burst has used.
pub fn tune_allocator() {
    TRIMS.store(true, Ordering::Relaxed);
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt(3) takes no pointers; it is called before there are threads.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 16 << 10);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 64 << 10);
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Gives free pages inside the heap back to the system (malloc_trim(3)), where [`tune_allocator`]
/// was called.
pub fn trim_allocator() {
    if !TRIMS.load(Ordering::Relaxed) {
        return;
    }
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) takes no pointers and may be called at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Opens a directory whose files are to be opened by name. The handle serves for nothing else.
///
/// # Errors
/// What open(2) says; `NotADirectory` if it is something else.
pub fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let path = c_string(path.as_os_str().as_bytes())?;
    // What lies in it must be there to be found: read permission for itself is not needed.
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
    // SAFETY: open(2) reads a string that ends with a NUL and lives until it returns, and what it
    // returns is ours alone.
    unsafe { Ok(OwnedFd::from_raw_fd(check(libc::open(path.as_ptr(), flags))?)) }
}

/// For reading, and such that neither a pipe nor a terminal does harm by being opened.
const OPEN_FILE: c_int = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY;

/// Opens for reading what is called `name` beneath `directory`, through symbolic links that do not
/// lead out of it (openat2(2), `RESOLVE_BENEATH`).
///
/// # Errors
/// What openat2(2) says: see [`is_elsewhere`] and [`is_unsupported`].
pub fn open_beneath(directory: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    /// What is raced by renames is tried again, a few times.
    const TRIES: u32 = 8;
    let name = c_string(name.as_bytes())?;
    // SAFETY: all zeroes is a valid open_how, the default of everything (openat2(2)).
    let mut how: libc::open_how = unsafe { zeroed() };
    how.flags = OPEN_FILE as u64;
    how.resolve = libc::RESOLVE_BENEATH | libc::RESOLVE_NO_MAGICLINKS;
    let size = size_of::<libc::open_how>();
    let mut tries = 0;
    loop {
        // SAFETY: openat2(2) reads a string that ends with a NUL and `size` bytes of `how`, both of
        // which live until it returns; what it returns is ours alone.
        let opened = unsafe {
            libc::syscall(libc::SYS_openat2, directory.as_raw_fd(), name.as_ptr(), &how, size)
        };
        match check(opened as c_int) {
            // SAFETY: as above.
            Ok(fd) => return Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) && tries < TRIES => tries += 1,
            Err(error) => return Err(error),
        }
    }
}

/// The same through no symbolic link at all, name by name (openat(2), `O_NOFOLLOW`). None of the
/// names may be `..`.
///
/// # Errors
/// What openat(2) says: see [`is_elsewhere`].
pub fn open_without_links(directory: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    let open = |at: RawFd, name: &str, flags: c_int| {
        let name = c_string(name.as_bytes())?;
        // SAFETY: openat(2) reads a string that ends with a NUL and lives until it returns, and
        // what it returns is ours alone.
        unsafe { Ok(OwnedFd::from_raw_fd(check(libc::openat(at, name.as_ptr(), flags))?)) }
    };
    let step = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC | libc::O_NOFOLLOW;
    let mut names = name.split('/').filter(|name| !name.is_empty());
    let last = names.next_back().unwrap_or(".");
    let mut parent: Option<OwnedFd> = None;
    for name in names {
        let at = parent.as_ref().unwrap_or(directory).as_raw_fd();
        parent = Some(open(at, name, step)?);
    }
    let at = parent.as_ref().unwrap_or(directory).as_raw_fd();
    open(at, last, OPEN_FILE | libc::O_NOFOLLOW)
}

/// The error numbers of a name that stands for nothing that may be opened: it is not there, is no
/// file, goes through what is no directory, or leads out of where it was looked for (openat2(2)).
pub fn is_elsewhere(error: &io::Error) -> bool {
    let nothing = [libc::ENOENT, libc::ENOTDIR, libc::ENAMETOOLONG, libc::ENXIO, libc::ENODEV];
    let number = error.raw_os_error().unwrap_or(0);
    nothing.contains(&number) || [libc::ELOOP, libc::EXDEV].contains(&number)
}

/// The error numbers of a system call that the kernel lacks, or that a filter keeps from us.
pub fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM))
}

fn c_string(bytes: &[u8]) -> io::Result<CString> {
    CString::new(bytes).map_err(|_| io::Error::from_raw_os_error(libc::ENOENT))
}

/// The signals that the proxy acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT
    Stop,
    /// SIGHUP
    Reload,
    /// SIGUSR1
    Report,
}

/// Signals as a descriptor that becomes readable (signalfd(2)).
#[derive(Debug)]
pub struct Signals(OwnedFd);

impl Signals {
    /// Catches the signals from now on, in this thread and those it will start.
    ///
    /// # Errors
    /// What sigprocmask(2) and signalfd(2) say.
    pub fn new() -> io::Result<Self> {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigemptyset(3) initializes the set before it is used; all three calls only use
        // it while it lives; the descriptor is ours alone.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGUSR1] {
                libc::sigaddset(set.as_mut_ptr(), signal);
            }
            check(libc::sigprocmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut()))?;
            let flags = libc::SFD_NONBLOCK | libc::SFD_CLOEXEC;
            Ok(Self(OwnedFd::from_raw_fd(check(libc::signalfd(-1, set.as_ptr(), flags))?)))
        }
    }

    /// The next signal that has arrived.
    pub fn take(&mut self) -> Option<Signal> {
        let mut info = MaybeUninit::<libc::signalfd_siginfo>::uninit();
        let size = size_of::<libc::signalfd_siginfo>();
        // SAFETY: read(2) writes at most `size` bytes into `info`, which is that large.
        let n = unsafe { libc::read(self.0.as_raw_fd(), info.as_mut_ptr().cast(), size) };
        if usize::try_from(n) != Ok(size) {
            return None;
        }
        // SAFETY: signalfd(2) reads whole structures, and this one was.
        let info = unsafe { info.assume_init() };
        match info.ssi_signo as c_int {
            libc::SIGHUP => Some(Signal::Reload),
            libc::SIGUSR1 => Some(Signal::Report),
            _ => Some(Signal::Stop),
        }
    }
}

impl AsRawFd for Signals {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Ends the process now, without what exit(3) would still run: for a second signal.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: _exit(2) does not return and touches nothing of ours.
    unsafe { libc::_exit(status) }
}

/// The error numbers that mean that descriptors or kernel memory have run out (accept(2)).
pub fn is_exhaustion(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}
