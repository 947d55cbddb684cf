//! Soak: the proxy under what a day of real use does to it, with every byte accounted for.
//!
//! ```text
//! cargo bench --bench soak                                 1 GiB each way at once, SHA-256 at all ends
//! cargo bench --bench soak -- --dribble                    readers that take single bytes for a while
//! cargo bench --bench soak -- --pairs 64 --bytes 256MiB    many of them at once
//! cargo bench --bench soak -- --narrow --bytes 64MiB       kernel buffers of a few KiB
//! cargo bench --bench soak -- --tunnel                     TCP to TCP through two proxies, half-closed
//! cargo bench --bench soak -- --line 5GiB                  one line each way, generated and never stored
//! cargo bench --bench soak -- --stalled 100 --offer 256MiB peers that never read, and an echo beside
//! cargo bench --bench soak -- --idle 9000                  memory of connections that say nothing
//! ```
//!
//! The proxy is a process of its own on a free loopback port. The clients frame with the library's own
//! [`ws_tcp_proxy::proto`]; that both ends saw the same bytes is shown by SHA-256, which shares no code with it.
//!
//! What goes wrong panics in a thread that says which end it is, and ends everything with exit status 1.
//! Every wait for a socket is bounded by `common::PATIENCE`, the whole by `--limit SECONDS`.

#[path = "../../tests/common/mod.rs"]
mod common;
#[path = "../loopback/cores.rs"]
mod cores;
mod ends;
mod idle;
mod line;
mod pairs;
mod script;
mod stalled;
mod tunnel;

use std::env;
use std::fs;
use std::os::unix::process::CommandExt;
use std::panic;
use std::process::{self, Command, ExitCode};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::proxy::Lines;
use common::Proxy;

const USAGE: &str = "\
usage: cargo bench --bench soak -- [--pairs N] [--bytes SIZE] [--dribble] [--narrow] [--seed N]
       cargo bench --bench soak -- --tunnel [--encoding NAME] [--half-close TIME] [... as above]
       cargo bench --bench soak -- --line SIZE [--framing lines|length:varint] [--seed N]
       cargo bench --bench soak -- --stalled N [--offer SIZE]
       cargo bench --bench soak -- --idle N
       each with [--limit SECONDS]; SIZE is bytes, or has a unit: 64KiB, 256MiB, 1GiB";

const GIB: u64 = 1 << 30;

/// The proxy's defaults for `--buffer-size` and `--max-memory`: what one direction, and all of them
/// together, may keep while the other side is slow.
const BUFFER_SIZE: usize = 256 << 10;
const MAX_MEMORY: usize = 64 << 20;

/// What the hot buffer, tables and the allocator may take besides, and keep afterwards.
const SLACK: usize = 1 << 20;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == idle::AS_TARGET) {
        idle::run_target();
        return ExitCode::SUCCESS;
    }
    let Some(request) = Request::parse(&arguments) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    end_all_on_panic();
    give_up_after(request.limit);
    match request.mode {
        Mode::Pairs(plan) => pairs::run(plan),
        Mode::Tunnel(plan, options) => tunnel::run(plan, &options),
        Mode::Line(bytes, framing, seed) => line::run(bytes, framing, seed),
        Mode::Stalled { peers, offer } => stalled::run(peers, offer),
        Mode::Idle(connections) => idle::run(connections),
    }
    ExitCode::SUCCESS
}

/// What the command line asks for.
struct Request {
    mode: Mode,
    limit: Duration,
}

enum Mode {
    Pairs(pairs::Plan),
    Tunnel(pairs::Plan, tunnel::Options),
    Line(u64, line::Framing, u64),
    Stalled { peers: usize, offer: u64 },
    Idle(usize),
}

impl Request {
    /// `None` if it cannot be understood.
    fn parse(arguments: &[String]) -> Option<Self> {
        let mut plan = pairs::Plan {
            pairs: 1,
            bytes: GIB,
            dribble: false,
            narrow: false,
            seed: SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs(),
        };
        let (mut stalled, mut offer, mut idle, mut limit) = (None, GIB / 4, None, None);
        let (mut line, mut framing) = (None, line::Framing::Lines);
        let (mut is_tunnel, mut tunnel) = (false, tunnel::Options::default());
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            match argument.as_str() {
                "--bench" => {} // what cargo itself says
                "--pairs" => plan.pairs = rest.next()?.parse().ok().filter(|n| *n > 0)?,
                "--bytes" => plan.bytes = size(rest.next()?)?,
                "--dribble" => plan.dribble = true,
                "--narrow" => plan.narrow = true,
                "--seed" => plan.seed = rest.next()?.parse().ok()?,
                "--tunnel" => is_tunnel = true,
                "--encoding" => tunnel.encoding.clone_from(rest.next()?),
                "--half-close" => tunnel.half_close.clone_from(rest.next()?),
                "--line" => line = Some(size(rest.next()?)?),
                "--framing" => framing = line::Framing::named(rest.next()?)?,
                "--stalled" => stalled = Some(rest.next()?.parse().ok()?),
                "--offer" => offer = size(rest.next()?)?,
                "--idle" => idle = Some(rest.next()?.parse().ok().filter(|n| *n > 0)?),
                "--limit" => limit = Some(Duration::from_secs(rest.next()?.parse().ok()?)),
                _ => return None,
            }
        }
        let minutes = Duration::from_secs(300);
        let (mode, usual) = match (is_tunnel, line, stalled, idle) {
            (false, None, None, None) => (Mode::Pairs(plan), plan.usual_limit()),
            (true, None, None, None) => (Mode::Tunnel(plan, tunnel), tunnel::usual_limit(plan)),
            (false, Some(bytes), None, None) => {
                let plan = pairs::Plan { bytes, ..plan };
                (Mode::Line(bytes, framing, plan.seed), plan.usual_limit() * 2)
            }
            (false, None, Some(peers), None) => (Mode::Stalled { peers, offer }, minutes),
            (false, None, None, Some(connections)) => (Mode::Idle(connections), minutes),
            _ => return None,
        };
        Some(Self { mode, limit: limit.unwrap_or(usual) })
    }
}

/// A number of bytes, with or without a unit.
fn size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let shift = match &text[digits..] {
        "" | "B" => 0,
        "KiB" | "K" => 10,
        "MiB" | "M" => 20,
        "GiB" | "G" => 30,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// The logs of the proxies that are being soaked.
static LOGS: Mutex<Vec<Lines>> = Mutex::new(Vec::new());

/// A proxy between a free loopback port and `remote`.
fn start_proxy(remote: &str, arguments: &[&str]) -> Proxy {
    start_proxy_at("127.0.0.1:0", remote, arguments)
}

/// A proxy between `local` and `remote`: the binary under test, or `PROXY_BIN`.
fn start_proxy_at(local: &str, remote: &str, arguments: &[&str]) -> Proxy {
    let route = ["--local", local, "--remote", remote];
    let mut command = Proxy::command(&[&route, arguments].concat());
    if let Some(binary) = env::var_os("PROXY_BIN") {
        let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        command = Command::new(binary);
        command.args(arguments);
    }
    end_with_us(&mut command);
    let proxy = Proxy::spawn(command).expect("start the proxy");
    LOGS.lock().expect("nothing panics while it holds this").push(proxy.stderr.clone());
    proxy
}

/// The proxy's pid: the child of the main thread that is not `known` (proc_pid_task(5)).
fn child_besides(known: Option<u32>) -> u32 {
    let path = "/proc/thread-self/children";
    let children = fs::read_to_string(path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let mut children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
    children.find(|pid| Some(*pid) != known).expect("the proxy is a child of the main thread")
}

/// A child must not outlive this process, however that ends. The signal is bound to the thread that
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

/// One end that fails is the end of the run: the others would wait for it in vain.
fn end_all_on_panic() {
    let say = panic::take_hook();
    panic::set_hook(Box::new(move |what| {
        say(what);
        give_up("failed");
    }));
}

/// The last resort against hanging.
fn give_up_after(limit: Duration) {
    thread::spawn(move || {
        thread::sleep(limit);
        give_up(&format!("not done after {} s", limit.as_secs()));
    });
}

fn give_up(why: &str) -> ! {
    for (number, log) in LOGS.lock().iter().flat_map(|logs| logs.iter()).enumerate() {
        let log = log.all();
        for line in &log[log.len().saturating_sub(20)..] {
            eprintln!("proxy {}: {line}", number + 1);
        }
    }
    eprintln!("soak: {why}");
    process::exit(1)
}

/// Bytes as whole kB, with a comma between thousands.
fn kb(bytes: usize) -> String {
    grouped(bytes as u64 / 1024)
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
