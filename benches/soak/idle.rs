//! Connections that say nothing: what each of them costs, and what is left when they have gone.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{Proxy, Stream, Target, Wait, Ws, BINARY};
use crate::{child_besides, end_with_us, kb, start_proxy, SLACK};

/// The hidden argument under which this program is the target: with both ends in one process there
/// would be too few descriptors.
pub const AS_TARGET: &str = "--as-idle-target";

/// What each connection carries each way before it falls silent: both legs stand, and have been used.
const GREETING: usize = 1000;

/// What the project promises: bytes for each; when all have gone, no more than `SLACK` stays.
const MOST_EACH: usize = 400;

/// Pages that the first connections touch once and for all.
const ONCE: usize = 64 << 10;

/// Runs it and prints what it cost.
///
/// # Panics
/// If a connection gets lost, or memory is beyond what is promised.
pub fn run(wanted: usize) {
    let mut helper = Helper::start();
    let options = ["--log-level", "error", "--max-connections", "20000"];
    let proxy = start_proxy(&helper.endpoint, &options);
    let pid = child_besides(Some(helper.child.id()));
    let files = proxy.open_files();
    let count = wanted.min(descriptors().saturating_sub(files + 20) / 2);
    if count < wanted {
        println!("{wanted} are too many: the proxy may have {} descriptors", descriptors());
    }
    let (start, anonymous) = (proxy.memory(), anonymous(pid));

    let began = Instant::now();
    let mut peers: Vec<_> = (0..count).map(|_| greet(&proxy)).collect();
    let opened = began.elapsed();
    thread::sleep(Duration::from_secs(1));
    let (open, grown) = (proxy.memory(), self::anonymous(pid).saturating_sub(anonymous));
    assert_eq!(proxy.open_files(), files + 2 * count, "all connections are still there");

    for peer in peers.drain(..) {
        peer.close(1000);
    }
    helper.end();
    let wait = Wait::begin();
    while proxy.open_files() > files {
        wait.go_on("the proxy to close its sockets");
    }
    thread::sleep(Duration::from_secs(1));
    let after = proxy.memory();

    let each = grown / count;
    println!(
        "{count} idle connections, opened in {:.1} s, {GREETING} B each way",
        opened.as_secs_f64()
    );
    println!("  anonymous kB: start {}, grown by {}: {each} bytes each", kb(anonymous), kb(grown));
    println!(
        "  RSS kB: start {}, open {}, peak {}, 1 s after all closed {}: {} above start",
        kb(start),
        kb(open),
        kb(proxy.peak_memory()),
        kb(after),
        kb(after.saturating_sub(start))
    );
    assert!(grown <= count * MOST_EACH + ONCE, "{each} bytes each, more than {MOST_EACH}");
    let left = after.saturating_sub(start);
    assert!(left <= SLACK, "{} kB above start, more than {}", kb(left), kb(SLACK));
}

fn greet(proxy: &Proxy) -> Ws {
    let mut peer = Ws::connect(proxy);
    peer.receive(GREETING);
    peer.send(BINARY, &[b'x'; GREETING]);
    peer
}

/// The target in a process of its own.
struct Helper {
    child: Child,
    endpoint: String,
}

impl Helper {
    fn start() -> Self {
        let mut command = Command::new(env::current_exe().expect("our own name"));
        command.arg(AS_TARGET).stdin(Stdio::null()).stdout(Stdio::piped());
        end_with_us(&mut command);
        let mut child = command.spawn().expect("start the target");
        let mut endpoint = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut endpoint).expect("the target's endpoint");
        Self { child, endpoint: endpoint.trim_end().into() }
    }

    /// Ends it, and with it all of its connections in good order: it has read all there is.
    fn end(&mut self) {
        // Both fail only if it has ended already, which the connections have noticed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the helper does: greets every connection, hears its greeting, and holds it.
pub fn run_target() {
    let target = Target::listen();
    println!("{}", target.endpoint);
    let mut held: Vec<Stream> = Vec::new();
    loop {
        if !target.has_caller_within(Duration::from_secs(60)) {
            continue; // until it is killed
        }
        let mut stream = target.accept();
        stream.send(&[b'y'; GREETING]);
        stream.receive(GREETING);
        held.push(stream);
    }
}

/// Memory of its own, in bytes.
fn anonymous(pid: u32) -> usize {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("smaps_rollup");
    let line = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    kib.expect("Anonymous in smaps_rollup") * 1024
}

/// The hard limit, up to which the proxy raises its own.
fn descriptors() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: getrlimit(2) writes one rlimit.
    let outcome = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    assert_eq!(outcome, 0, "getrlimit");
    usize::try_from(limit.rlim_max).unwrap_or(usize::MAX)
}
