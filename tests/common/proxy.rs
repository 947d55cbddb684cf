//! The proxy as a child process: its arguments, its two outputs, its memory and its end.

use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use super::{sys, Wait, PATIENCE};

/// A running `ws-tcp-proxy`, killed when dropped.
pub struct Proxy {
    child: Child,
    /// What follows `listening ` on stdout, one for each `--local`, and one for `--admin`.
    pub listening: Vec<String>,
    stdout: Lines,
    /// The log.
    pub stderr: Lines,
}

impl Proxy {
    /// From a free loopback port to `remote`.
    #[track_caller]
    pub fn to(remote: &str, arguments: &[&str]) -> Self {
        let route = ["--local", "127.0.0.1:0", "--remote", remote];
        Self::start(&[&route, arguments].concat())
    }

    #[track_caller]
    pub fn start(arguments: &[&str]) -> Self {
        Self::spawn(Self::command(arguments)).expect("start the proxy")
    }

    /// The command that [`Self::spawn`] takes, for a test that has more to say about the child.
    pub fn command(arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ws-tcp-proxy"));
        command.args(["--log-level", "info"]).args(arguments);
        command
    }

    /// Starts it and waits until it listens on every `--local`, and at `--admin`.
    ///
    /// # Errors
    /// The child could not be started.
    #[track_caller]
    pub fn spawn(command: Command) -> io::Result<Self> {
        let routes = command.get_args().filter(|a| *a == "--local" || *a == "--admin").count();
        let mut proxy = Self::spawn_unready(command)?;
        proxy.listening = proxy.stdout.wait_for("the line `listening ...`", |lines| {
            let names = lines.iter().filter_map(|l| l.strip_prefix("listening "));
            let names: Vec<String> = names.map(String::from).collect();
            (names.len() >= routes.max(1)).then_some(names)
        });
        Ok(proxy)
    }

    /// Starts one that cannot run: waits for its end and returns its exit status and what it said.
    #[track_caller]
    pub fn fail(arguments: &[&str]) -> (Option<i32>, String) {
        let mut proxy = Self::spawn_unready(Self::command(arguments)).expect("start the proxy");
        let status = proxy.wait_for_exit();
        proxy.wait_for_end_of_log();
        (status.code(), proxy.stderr.all().join("\n"))
    }

    /// Starts it without waiting for anything.
    ///
    /// # Errors
    /// The child could not be started.
    pub fn spawn_unready(mut command: Command) -> io::Result<Self> {
        command.stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        Ok(Self {
            stdout: Lines::follow(child.stdout.take().unwrap()),
            stderr: Lines::follow(child.stderr.take().unwrap()),
            listening: Vec::new(),
            child,
        })
    }

    /// The port of the first `--local`.
    pub fn port(&self) -> u16 {
        self.port_of(0)
    }

    #[track_caller]
    pub fn port_of(&self, route: usize) -> u16 {
        let name = &self.listening[route];
        let port = name.rsplit_once(':').and_then(|(_, p)| p.parse().ok());
        port.unwrap_or_else(|| panic!("no port in `listening {name}`"))
    }

    pub fn signal(&self, signal: i32) {
        sys::kill(self.child.id(), signal).expect("signal the proxy");
    }

    /// Waits until the process has ended of itself.
    #[track_caller]
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        self.stdout.wait_for_end("the proxy to exit");
        self.child.wait().unwrap()
    }

    /// The same for one whose stdout is not ours.
    #[track_caller]
    pub fn wait_for_end_of_log(&self) {
        self.stderr.wait_for_end("the proxy to exit");
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for the next log line that `wanted` accepts, the first `from` lines left out.
    #[track_caller]
    pub fn wait_for_log(&self, from: usize, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        self.stderr.wait_for(what, |lines| lines.iter().skip(from).find(|l| wanted(l)).cloned())
    }

    /// Waits until `n` connections have ended in all; returns the lines that say so.
    #[track_caller]
    pub fn wait_for_closed(&self, n: usize) -> Vec<Closed> {
        self.stderr.wait_for("the line `closed code=...`", |lines| {
            let closed: Vec<Closed> = lines.iter().filter_map(|l| Closed::parse(l)).collect();
            (closed.len() >= n).then_some(closed)
        })
    }

    /// The log up to here: what was written before the proxy's answer to a signal.
    #[track_caller]
    pub fn log(&self) -> Vec<String> {
        let report = self.report();
        let mut lines = self.stderr.all();
        lines.truncate(lines.iter().rposition(|line| *line == report).unwrap_or(lines.len()));
        lines
    }

    /// How many lines of the log so far are warnings about a remote that is not reached.
    #[track_caller]
    pub fn unreached(&self) -> usize {
        let said = |line: &&String| line.contains("WARN") && line.contains(" reach ");
        self.log().iter().filter(said).count()
    }

    /// Waits until nothing is left of any connection, and as many descriptors are open as `files`.
    #[track_caller]
    pub fn wait_until_idle(&self, files: usize) {
        let wait = Wait::begin();
        loop {
            let report = self.report();
            let open = self.open_files();
            if report.contains(" 0 connections, 0 bytes kept ") && open == files {
                return;
            }
            wait.go_on(&format!("{files} descriptors instead of {open}, and not: {report}"));
        }
    }

    /// What it says of its connections.
    #[track_caller]
    fn report(&self) -> String {
        let from = self.stderr.count();
        self.signal(libc::SIGUSR1);
        self.wait_for_log(from, "the report", |line| line.contains(" bytes kept of "))
    }

    /// Resident memory in bytes, now.
    pub fn memory(&self) -> usize {
        self.status("VmRSS:")
    }

    /// The most resident memory in bytes there ever was.
    pub fn peak_memory(&self) -> usize {
        self.status("VmHWM:")
    }

    /// Processor time used so far, in clock ticks (a hundred a second).
    pub fn cpu_ticks(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields = text.rsplit_once(')').unwrap().1.split_whitespace();
        fields.skip(11).take(2).map(|f| f.parse::<u64>().unwrap()).sum()
    }

    /// Open descriptors of the process.
    pub fn open_files(&self) -> usize {
        let directory = format!("/proc/{}/fd", self.child.id());
        std::fs::read_dir(directory).unwrap().count()
    }

    fn status(&self, field: &str) -> usize {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = text.lines().find_map(|l| l.strip_prefix(field)).unwrap();
        let kib: usize = line.trim().trim_end_matches(" kB").parse().unwrap();
        kib * 1024
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of the proxy ---\n{}", self.stderr.all().join("\n"));
        }
    }
}

/// The log line of a connection's end: `c42.7 closed code=1000 by=target in=1834 out=99120 secs=12.4`.
#[derive(Debug, Clone)]
pub struct Closed {
    pub code: u16,
    pub by: String,
    pub why: String,
    pub inbound: u64,
    pub outbound: u64,
}

impl Closed {
    fn parse(line: &str) -> Option<Self> {
        let (_, fields) = line.split_once(" closed code=")?;
        let word = |name: &str| fields.split(' ').find_map(|f| f.strip_prefix(name));
        let number = |name: &str| word(name).and_then(|f| f.parse::<u64>().ok());
        Some(Self {
            code: fields.split(' ').next()?.parse().ok()?,
            by: word("by=")?.to_string(),
            why: word("why=")?.to_string(),
            inbound: number("in=")?,
            outbound: number("out=")?,
        })
    }
}

/// The lines of a pipe, read by a thread as they come and kept for later looks.
#[derive(Clone)]
pub struct Lines(Arc<(Mutex<Text>, Condvar)>);

#[derive(Default)]
struct Text {
    lines: Vec<String>,
    ended: bool,
}

impl Lines {
    pub fn follow(pipe: impl Read + Send + 'static) -> Self {
        let lines = Self(Arc::default());
        let shared = lines.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n') {
                let Ok(line) = line else { break };
                let line = String::from_utf8_lossy(&line).into_owned();
                shared.change(|read| read.lines.push(line));
            }
            shared.change(|read| read.ended = true);
        });
        lines
    }

    pub fn all(&self) -> Vec<String> {
        self.0 .0.lock().unwrap().lines.clone()
    }

    pub fn count(&self) -> usize {
        self.0 .0.lock().unwrap().lines.len()
    }

    /// Waits until `wanted` finds in the lines what it looks for.
    #[track_caller]
    pub fn wait_for<T>(&self, what: &str, wanted: impl Fn(&[String]) -> Option<T>) -> T {
        let found = self.wait(|read| wanted(&read.lines).map(Ok).or(read.ended.then_some(Err(()))));
        match found {
            Some(Ok(found)) => found,
            Some(Err(())) => panic!("the output ended without {what}: {:#?}", self.all()),
            None => panic!("waited in vain for {what}: {:#?}", self.all()),
        }
    }

    #[track_caller]
    pub fn wait_for_end(&self, what: &str) {
        let ended = self.wait(|read| read.ended.then_some(()));
        assert!(ended.is_some(), "waited in vain for {what}");
    }

    fn wait<T>(&self, wanted: impl Fn(&Text) -> Option<T>) -> Option<T> {
        let (lock, changed) = &*self.0;
        let begin = Instant::now();
        let mut read = lock.lock().unwrap();
        loop {
            if let Some(found) = wanted(&read) {
                return Some(found);
            }
            let left = PATIENCE.checked_sub(begin.elapsed())?;
            read = changed.wait_timeout(read, left).unwrap().0;
        }
    }

    fn change(&self, change: impl FnOnce(&mut Text)) {
        let (lock, changed) = &*self.0;
        change(&mut lock.lock().unwrap());
        changed.notify_all();
    }
}
