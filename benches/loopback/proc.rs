//! The processes under measurement: started, watched and ended by pid.
//!
//! Owns what /proc, the CPU clocks and strace tell about them.

use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::wire::Wire;
use crate::Outcome;

/// The longest a program may take to say where it listens, or strace to attach.
const START: Duration = Duration::from_secs(10);

/// Hidden arguments under which this program is one of its own helpers.
pub const AS_COPIER: &str = "--as-copier";
pub const AS_ECHO_SERVER: &str = "--as-echo-server";

/// Which program is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Ours,
    Copier,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Copier => "copier",
        }
    }
}

/// What ours speaks on either side; a copier knows no difference.
#[derive(Clone, Copy)]
pub enum Role {
    /// WebSocket to clients, TCP to the target: alone, or the far end of a tunnel.
    Server,
    /// TCP to clients, WebSocket to the far end.
    Client,
}

/// The binary under measurement: `PROXY_BIN`, or the one cargo built with this harness.
pub fn proxy_binary() -> PathBuf {
    std::env::var_os("PROXY_BIN")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_ws-tcp-proxy")), PathBuf::from)
}

/// The arguments that lead to `target`, a port or a word for it, and what `PROXY_ARGS` adds to them.
pub fn proxy_arguments(role: Role, target: &str) -> Vec<String> {
    let more = std::env::var("PROXY_ARGS").unwrap_or_default();
    let (local, remote) = match role {
        Role::Server => ("127.0.0.1:0", format!("127.0.0.1:{target}")),
        Role::Client => ("tcp://127.0.0.1:0", format!("ws://127.0.0.1:{target}/")),
    };
    let fixed = ["--log-level", "error", "--max-connections", "20000"];
    let route = ["--local", local, "--remote", &remote];
    let all = route.into_iter().chain(fixed).chain(more.split_whitespace());
    all.map(String::from).collect()
}

/// A running program that listens; killed and reaped when dropped.
pub struct Server {
    child: Child,
    pub port: u16,
    /// What its clients speak.
    pub wire: Wire,
}

impl Server {
    /// A fresh proxy or copier in front of `target_port`.
    pub fn start(kind: Kind, role: Role, target_port: u16) -> Outcome<Self> {
        let port = target_port.to_string();
        let mut server = match kind {
            Kind::Ours => {
                Self::spawn(Command::new(proxy_binary()).args(proxy_arguments(role, &port)))
            }
            Kind::Copier => {
                Self::spawn(Command::new(std::env::current_exe()?).args([AS_COPIER, &port]))
            }
        }?;
        if let (Kind::Ours, Role::Server) = (kind, role) {
            server.wire = Wire::WebSocket;
        }
        Ok(server)
    }

    /// A part of the load, with more connections than one process may hold both ends of.
    pub fn start_echo_server() -> Outcome<Self> {
        Self::spawn(Command::new(std::env::current_exe()?).arg(AS_ECHO_SERVER))
    }

    fn spawn(command: &mut Command) -> Outcome<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        end_with_us(command);
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("cannot start {program}: {e}"))?;
        // From here on a failure drops, and so kills, the child.
        let mut server = Self { child, port: 0, wire: Wire::Raw };
        let line = server.first_line()?;
        let port = line.trim_end().rsplit(':').next();
        server.port = port
            .filter(|_| line.starts_with("listening "))
            .and_then(|port| port.parse().ok())
            .ok_or_else(|| {
                format!("{program} should say \"listening ...:PORT\", but said {line:?}")
            })?;
        Ok(server)
    }

    fn first_line(&mut self) -> Outcome<String> {
        let stdout = self.child.stdout.take().ok_or("no stdout")?;
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            let mut reader = BufReader::new(stdout);
            let mut line = String::new();
            let outcome = reader.read_line(&mut line).map(|_| line);
            // Nobody listens any more if START has passed.
            let _ = tell.send(outcome);
            // The pipe stays open and empty, whatever else is said, until the program ends.
            let _ = io::copy(&mut reader, &mut io::sink());
        });
        match told.recv_timeout(START) {
            Ok(line) => Ok(line?),
            Err(_) => Err("no \"listening\" line within 10 s".into()),
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<String> {
        // A process that is just dying has closed its sockets a moment before.
        thread::sleep(Duration::from_millis(50));
        let status = self.child.try_wait().ok().flatten()?;
        Some(status.to_string())
    }

    /// User and system time of all its threads: what /proc/PID/stat gives in ticks, in nanoseconds.
    pub fn cpu(&self) -> Outcome<Duration> {
        let mut clock = 0;
        let pid = self.child.id() as libc::pid_t;
        // SAFETY: clock_getcpuclockid(3) writes one clockid_t.
        let error = unsafe { libc::clock_getcpuclockid(pid, &mut clock) };
        if error != 0 {
            return Err(io::Error::from_raw_os_error(error).into());
        }
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: clock_gettime(2) writes one timespec.
        if unsafe { libc::clock_gettime(clock, &mut time) } != 0 {
            return Err(io::Error::last_os_error().into());
        }
        Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
    }

    pub fn memory(&self) -> Outcome<Memory> {
        let path = format!("/proc/{}/smaps_rollup", self.child.id());
        let text = fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))?;
        let kib = |name: &str| -> Outcome<u64> {
            let line = text.lines().find(|line| line.starts_with(name));
            let value = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
            Ok(value.ok_or_else(|| format!("no {name} in {path}"))?)
        };
        Ok(Memory { rss: kib("Rss:")?, pss: kib("Pss:")?, anonymous: kib("Anonymous:")? })
    }

    /// The memory once it has not changed for half a second, from `earliest` on and at `latest`.
    pub fn settled_memory(&self, earliest: Duration, latest: Duration) -> Outcome<Memory> {
        let began = Instant::now();
        let mut last = self.memory()?;
        let mut changed_at = began;
        loop {
            thread::sleep(Duration::from_millis(100));
            let now = self.memory()?;
            if now != last {
                (last, changed_at) = (now, Instant::now());
            }
            let is_still = changed_at.elapsed() > Duration::from_millis(500);
            if (is_still && began.elapsed() > earliest) || began.elapsed() > latest {
                return Ok(last);
            }
        }
    }

    /// How the program is linked, which decides what its RSS may be.
    pub fn link(&self) -> Outcome<Link> {
        let maps = fs::read_to_string(format!("/proc/{}/maps", self.child.id()))?;
        if maps.contains(".so") {
            return Ok(Link::Dynamic);
        }
        // Of the static start files only glibc's carry an ABI tag: name size 4, size 16, type 1, "GNU".
        let mut tag = Vec::new();
        for word in [4u32, 16, 1] {
            tag.extend_from_slice(&word.to_ne_bytes());
        }
        tag.extend_from_slice(b"GNU\0");
        let image = fs::read(format!("/proc/{}/exe", self.child.id()))?;
        let has_tag = image.windows(tag.len()).any(|window| window == tag);
        Ok(if has_tag { Link::StaticGlibc } else { Link::StaticMusl })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if it has ended and been reaped already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// From smaps_rollup, in KiB.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    pub rss: u64,
    pub pss: u64,
    pub anonymous: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Link {
    Dynamic,
    StaticGlibc,
    StaticMusl,
}

impl Link {
    pub fn name(self) -> &'static str {
        match self {
            Self::Dynamic => "dynamic",
            Self::StaticGlibc => "static glibc",
            Self::StaticMusl => "static musl",
        }
    }
}

/// strace, attached to a server and counting its system calls.
pub struct Trace {
    child: Child,
    report: Option<JoinHandle<String>>,
}

/// What a trace came to.
pub enum Traced<T> {
    Attached(T),
    /// Why there can be no count.
    Unavailable(String),
}

impl Trace {
    pub fn attach(server: &Server) -> Outcome<Traced<Self>> {
        let pid = server.child.id().to_string();
        let mut command = Command::new("strace");
        end_with_us(&mut command);
        command
            .args(["-c", "-f", "-p", &pid])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Ok(Traced::Unavailable("strace not installed".into()))
            }
            Err(e) => return Err(format!("cannot start strace: {e}").into()),
        };
        let stderr = child.stderr.take().ok_or("no stderr")?;
        let (tell, told) = mpsc::channel();
        let report = thread::spawn(move || read_report(stderr, &tell));
        let trace = Self { child, report: Some(report) };
        match told.recv_timeout(START) {
            Ok(line) if line.contains("attached") => Ok(Traced::Attached(trace)),
            Ok(line) => Ok(Traced::Unavailable(line.trim_end().replace('|', "/"))),
            Err(_) => Ok(Traced::Unavailable("strace did not attach".into())),
        }
    }

    /// Detaches; the number of calls since it was attached.
    pub fn finish(mut self) -> Outcome<u64> {
        // SAFETY: kill(2) takes no pointers; the child is not reaped yet, so the pid is still its own.
        if unsafe { libc::kill(self.child.id() as libc::pid_t, libc::SIGINT) } != 0 {
            return Err(io::Error::last_os_error().into());
        }
        let report = self.report.take().ok_or("no report")?;
        let report = report.join().map_err(|_| "the reader of strace panicked")?;
        let calls: u64 = report.lines().filter_map(calls).sum();
        if calls == 0 {
            return Err(format!("strace counted nothing and said {report:?}").into());
        }
        Ok(calls)
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        // The traced program is let go by the kernel.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Tells the first line as soon as it is there, and returns all the others.
fn read_report(stderr: ChildStderr, tell: &mpsc::Sender<String>) -> String {
    let mut reader = BufReader::new(stderr);
    let (mut first, mut rest) = (String::new(), String::new());
    // An unreadable report is an empty one, which the caller refuses.
    let _ = reader.read_line(&mut first);
    let _ = tell.send(first);
    let _ = reader.read_to_string(&mut rest);
    rest
}

/// The calls of one line of `strace -c`: percent, seconds, usecs/call, calls, perhaps errors, name.
fn calls(line: &str) -> Option<u64> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    fields.first()?.parse::<f64>().ok()?;
    if fields.last() == Some(&"total") {
        return None;
    }
    fields.get(3)?.parse().ok()
}

/// A child must not outlive the harness, however that ends. The signal is bound to the thread that
/// spawns, which is always the main one.
fn end_with_us(command: &mut Command) {
    // SAFETY: prctl(2) is a bare system call, allowed between fork and exec.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
}

/// Raises the limit of open descriptors as far as allowed, for the children too; what it is then.
pub fn raise_descriptor_limit() -> Outcome<usize> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: getrlimit(2) writes one rlimit.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return Err(io::Error::last_os_error().into());
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: setrlimit(2) reads one rlimit.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } != 0 {
        return Err(io::Error::last_os_error().into());
    }
    // "No limit" does not fit everywhere.
    Ok(usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX))
}

/// Cores, processor, kernel and how busy it is, in one line.
pub fn machine() -> String {
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let read = |path: &str| fs::read_to_string(Path::new(path)).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or(std::env::consts::ARCH, |(_, name)| name.trim());
    let kernel = read("/proc/sys/kernel/osrelease");
    let loads = read("/proc/loadavg");
    let load = loads.split(' ').next().unwrap_or_default();
    format!("{cores} cores, {model}, Linux {}, load average before {load}", kernel.trim_end())
}
