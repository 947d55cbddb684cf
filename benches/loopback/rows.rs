//! The rows of the table: what each one does to a proxy, and what it measures meanwhile.

use std::thread;
use std::time::{Duration, Instant};

use crate::load::{echo, press, pump, Client, EchoThread, Flow, Target};
use crate::proc::{Kind, Link, Memory, Server, Trace, Traced};
use crate::report::{three_digits, Bound, Judged, Line, Versus};
use crate::Outcome;
use Bound::{AtMost, Below};

/// How much of everything.
pub struct Plan {
    pub rounds: usize,
    /// Memory differs little from round to round, and takes long.
    pub memory_rounds: usize,
    /// Payload bytes of the bulk rows.
    pub down: u64,
    pub up_large: u64,
    pub up_small: u64,
    pub echoes_1: usize,
    pub echoes_32: usize,
    pub connects: usize,
    /// Idle connections, as far as `descriptors` allow.
    pub idle: usize,
    /// What one process may have open.
    pub descriptors: usize,
    /// Payload bytes per connection and direction.
    pub burst: u64,
}

impl Plan {
    pub fn full(rounds: Option<usize>, descriptors: usize) -> Self {
        let rounds = rounds.unwrap_or(5);
        Self {
            rounds,
            memory_rounds: rounds.min(3),
            down: 2 << 30,
            up_large: 2 << 30,
            up_small: 512 << 20,
            echoes_1: 20_000,
            echoes_32: 40_000,
            connects: 5_000,
            idle: 9_000,
            descriptors,
            burst: 8 << 20,
        }
    }

    /// Small volumes: enough to see that everything works, not to quote.
    pub fn quick(rounds: Option<usize>, descriptors: usize) -> Self {
        let rounds = rounds.unwrap_or(1);
        Self {
            rounds,
            memory_rounds: rounds,
            down: 256 << 20,
            up_large: 256 << 20,
            up_small: 64 << 20,
            echoes_1: 3_000,
            echoes_32: 8_000,
            connects: 500,
            idle: 2_000,
            descriptors,
            burst: 1 << 20,
        }
    }

    /// A proxy needs two descriptors for each connection, and a few of its own.
    fn idle_connections(&self) -> usize {
        self.idle.min(self.descriptors.saturating_sub(100) / 2)
    }
}

/// A row by the name that the filter sees.
pub struct Row {
    pub name: &'static str,
    pub run: fn(&Plan) -> Outcome<Vec<Line>>,
}

pub const ROWS: &[Row] = &[
    Row { name: "down", run: down },
    Row { name: "up-16k", run: up_16k },
    Row { name: "up-64", run: up_64 },
    Row { name: "up-64-syscalls", run: up_64_syscalls },
    Row { name: "echo-1", run: echo_1 },
    Row { name: "echo-32", run: echo_32 },
    Row { name: "echo-1-syscalls", run: echo_1_syscalls },
    Row { name: "echo-32-syscalls", run: echo_32_syscalls },
    Row { name: "connect", run: connect },
    Row { name: "start", run: start },
    Row { name: "idle-closed", run: idle },
    Row { name: "burst", run: burst },
    Row { name: "stall", run: stall },
];

const GB: f64 = 1e9;
const MB: f64 = 1e6;
const SMALL: usize = 64;
const LARGE: usize = 16 * 1024;
/// Payload bytes of a batch: what a sender offers in one write.
const BATCH: usize = 256 * 1024;

fn down(plan: &Plan) -> Outcome<Vec<Line>> {
    let title = "down, 1 connection: CPU s/GB";
    let [versus] = compare("down", plan.rounds, |kind| {
        let target = Target::new()?;
        with_proxy(kind, target.port, |proxy| {
            let seconds = send_down(proxy, kind, &target, plan.down)?;
            Ok([seconds / (plan.down as f64 / GB)])
        })
    })?;
    Ok(vec![by_ratio(title, versus, Below(0.45), Below(0.35))])
}

/// CPU seconds for `bytes` from the target to one client.
fn send_down(proxy: &Server, kind: Kind, target: &Target, bytes: u64) -> Outcome<f64> {
    let mut client = [Client::open(proxy.port, kind.wire())?.into_flow(0, bytes)?];
    let mut sender = [Flow::target(target.accept()?, bytes, 0)?];
    let batch = vec![0x2a; BATCH];
    let before = proxy.cpu()?;
    thread::scope(|scope| {
        let sending = scope.spawn(|| pump(&mut sender, &batch));
        pump(&mut client, &batch)?;
        let spent = proxy.cpu()? - before;
        sending.join().map_err(|_| "the sender panicked")??;
        Ok(spent.as_secs_f64())
    })
}

fn up_16k(plan: &Plan) -> Outcome<Vec<Line>> {
    let title = "up, 16 KiB messages: CPU s/GB";
    let versus = compare_up("up-16k", plan, LARGE, plan.up_large)?;
    Ok(vec![by_ratio(title, versus, Below(0.75), Below(0.50))])
}

fn up_64(plan: &Plan) -> Outcome<Vec<Line>> {
    let title = "up, 64 B messages: CPU s/GB";
    let versus = compare_up("up-64", plan, SMALL, plan.up_small)?;
    Ok(vec![by_ratio(title, versus, Below(5.0), Below(3.0))])
}

fn compare_up(name: &str, plan: &Plan, message: usize, bytes: u64) -> Outcome<Versus> {
    let [versus] = compare(name, plan.rounds, |kind| {
        let target = Target::new()?;
        with_proxy(kind, target.port, |proxy| {
            let flows = open_up(proxy, kind, &target, message, bytes)?;
            let before = proxy.cpu()?;
            send_up(flows)?;
            let spent = proxy.cpu()? - before;
            Ok([spent.as_secs_f64() / (bytes as f64 / GB)])
        })
    })?;
    Ok(versus)
}

fn up_64_syscalls(_: &Plan) -> Outcome<Vec<Line>> {
    const BYTES: u64 = 32 << 20;
    let counted = count_calls("up-64-syscalls", |kind| {
        let target = Target::new()?;
        with_proxy(kind, target.port, |proxy| {
            let flows = open_up(proxy, kind, &target, SMALL, BYTES)?;
            let calls = traced(proxy, || send_up(flows))?;
            Ok(calls.map(|calls| calls / (BYTES as f64 / MB)))
        })
    })?;
    let title = "up, 64 B messages: system calls per MB".into();
    Ok(vec![by_ours(title, counted, 1, None, Some(Below(60.0)))])
}

/// One client about to send `bytes` of payload in messages of `message` bytes.
struct Up {
    client: Flow,
    target: Flow,
    batch: Vec<u8>,
}

fn open_up(proxy: &Server, kind: Kind, target: &Target, message: usize, bytes: u64) -> Outcome<Up> {
    let batch = kind.wire().batch(message, BATCH / message);
    let on_the_wire = bytes / BATCH as u64 * batch.len() as u64;
    let client = Client::open(proxy.port, kind.wire())?.into_flow(on_the_wire, 0)?;
    let target = Flow::target(target.accept()?, 0, bytes)?;
    Ok(Up { client, target, batch })
}

/// Returns when the target has everything.
fn send_up(up: Up) -> Outcome<()> {
    let (mut client, mut target, batch) = ([up.client], [up.target], up.batch);
    thread::scope(|scope| {
        let sending = scope.spawn(|| pump(&mut client, &batch));
        pump(&mut target, &batch)?;
        sending.join().map_err(|_| "the sender panicked")?
    })
}

fn echo_1(plan: &Plan) -> Outcome<Vec<Line>> {
    echo_cpu("echo-1", plan, 1, plan.echoes_1)
}

fn echo_32(plan: &Plan) -> Outcome<Vec<Line>> {
    echo_cpu("echo-32", plan, 32, plan.echoes_32)
}

fn echo_cpu(name: &str, plan: &Plan, connections: usize, count: usize) -> Outcome<Vec<Line>> {
    let [versus] = compare(name, plan.rounds, |kind| {
        let server = EchoThread::new()?;
        with_proxy(kind, server.port, |proxy| {
            let mut clients = open_all(proxy, kind, connections)?;
            echo(&mut clients, SMALL, count / 20)?;
            let before = proxy.cpu()?;
            echo(&mut clients, SMALL, count)?;
            let spent = proxy.cpu()? - before;
            Ok([spent.as_secs_f64() * 1e6 / count as f64])
        })
    })?;
    let title = format!("echo 64 B, {}: CPU us per message", connections_text(connections));
    Ok(vec![by_ratio(&title, versus, Below(1.10), AtMost(1.00))])
}

fn echo_1_syscalls(_: &Plan) -> Outcome<Vec<Line>> {
    echo_calls("echo-1-syscalls", 1, 6.1, 5.1)
}

fn echo_32_syscalls(_: &Plan) -> Outcome<Vec<Line>> {
    echo_calls("echo-32-syscalls", 32, 4.3, 4.2)
}

fn echo_calls(name: &str, connections: usize, must: f64, aim: f64) -> Outcome<Vec<Line>> {
    const COUNT: usize = 2_000;
    let counted = count_calls(name, |kind| {
        let server = EchoThread::new()?;
        with_proxy(kind, server.port, |proxy| {
            let mut clients = open_all(proxy, kind, connections)?;
            let calls = traced(proxy, || echo(&mut clients, SMALL, COUNT))?;
            Ok(calls.map(|calls| calls / COUNT as f64))
        })
    })?;
    let title = format!("echo 64 B, {}: system calls per echo", connections_text(connections));
    let (must, aim) = (Some(AtMost(must)), Some(AtMost(aim)));
    Ok(vec![by_ours(title, counted, 1, must, aim)])
}

fn connections_text(count: usize) -> String {
    format!("{count} connection{}", if count == 1 { "" } else { "s" })
}

fn connect(plan: &Plan) -> Outcome<Vec<Line>> {
    let [versus] = compare("connect", plan.rounds, |kind| {
        let server = EchoThread::new()?;
        with_proxy(kind, server.port, |proxy| {
            let before = proxy.cpu()?;
            for _ in 0..plan.connects {
                let mut client = open_and_echo(proxy, kind)?;
                client.begin_close()?;
                client.await_end()?;
            }
            server.await_all_closed()?;
            let spent = proxy.cpu()? - before;
            Ok([spent.as_secs_f64() * 1e6 / plan.connects as f64])
        })
    })?;
    let title = "connect, handshake, echo, close: CPU us";
    Ok(vec![by_ratio(title, versus, Below(1.3), Below(1.15))])
}

fn start(plan: &Plan) -> Outcome<Vec<Line>> {
    let mut link = Link::Dynamic;
    let [anonymous, rss, pss] = compare("start", plan.rounds, |kind| {
        let target = Target::new()?;
        with_proxy(kind, target.port, |proxy| {
            if kind == Kind::Ours {
                link = proxy.link()?;
            }
            let memory = proxy.settled_memory(Duration::ZERO, Duration::from_secs(2))?;
            Ok([memory.anonymous, memory.rss, memory.pss].map(|kib| kib as f64))
        })
    })?;
    let (must, aim) = match link {
        Link::Dynamic => (2300.0, 2050.0),
        Link::StaticGlibc => (1400.0, 1150.0),
        Link::StaticMusl => (600.0, 400.0),
    };
    let rss_title = format!("start: RSS kB, ours {}", link.name());
    let line = |title: String, versus, must: Option<f64>, aim: Option<f64>| {
        by_ours(title, Ok(versus), 0, must.map(AtMost), aim.map(AtMost))
    };
    Ok(vec![
        line("start: anonymous kB".into(), anonymous, Some(150.0), Some(120.0)),
        line(rss_title, rss, Some(must), Some(aim)),
        line("start: PSS kB".into(), pss, None, None),
    ])
}

fn idle(plan: &Plan) -> Outcome<Vec<Line>> {
    let count = plan.idle_connections();
    let [idle, closed] = compare("idle-closed", plan.memory_rounds, |kind| {
        let server = Server::start_echo_server()?;
        with_proxy(kind, server.port, |proxy| {
            let (started, open, closed) = hold_idle(proxy, kind, count)?;
            let growth = less(open.anonymous, started.anonymous) * 1024.0;
            Ok([growth / count as f64, less(closed.rss, started.rss)])
        })
    })?;
    let wanted = if count < plan.idle {
        format!(" (of {}: descriptor limit)", plan.idle)
    } else {
        String::new()
    };
    let title = format!("idle, {count} connections{wanted}: bytes each");
    let (must, aim) = (Some(AtMost(400.0)), Some(AtMost(250.0)));
    Ok(vec![by_ours(title, Ok(idle), 0, must, aim), after(&format!("{count} closed"), closed)])
}

/// Memory just started, with `count` connections that have done one echo each, and 1-2 s after they
/// closed. The echo proves that both legs of a connection stand.
fn hold_idle(proxy: &Server, kind: Kind, count: usize) -> Outcome<(Memory, Memory, Memory)> {
    let started = proxy.settled_memory(Duration::ZERO, Duration::from_secs(1))?;
    // One at a time, or the listener's backlog overflows and SYNs are sent again a second later.
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(open_and_echo(proxy, kind)?);
    }
    let open = proxy.settled_memory(Duration::ZERO, Duration::from_secs(2))?;
    for client in &mut clients {
        client.begin_close()?;
    }
    for client in clients {
        client.await_end()?;
    }
    let closed = proxy.settled_memory(Duration::from_secs(1), Duration::from_secs(2))?;
    Ok((started, open, closed))
}

/// Bulk on 64 connections, both ways at once; they stay open, since it is the buffers that matter.
fn burst(plan: &Plan) -> Outcome<Vec<Line>> {
    const CONNECTIONS: usize = 64;
    let [versus] = compare("burst", plan.memory_rounds, |kind| {
        let target = Target::new()?;
        with_proxy(kind, target.port, |proxy| {
            let started = proxy.settled_memory(Duration::ZERO, Duration::from_secs(1))?;
            let batch = kind.wire().batch(LARGE, BATCH / LARGE);
            let up = plan.burst / BATCH as u64 * batch.len() as u64;
            let (mut clients, mut targets) = (Vec::new(), Vec::new());
            for client in open_all(proxy, kind, CONNECTIONS)? {
                clients.push(client.into_flow(up, plan.burst)?);
                targets.push(Flow::target(target.accept()?, plan.burst, plan.burst)?);
            }
            thread::scope(|scope| {
                let far = scope.spawn(|| pump(&mut targets, &[0x2a; BATCH]));
                pump(&mut clients, &batch)?;
                far.join().map_err(|_| "the target panicked")?
            })?;
            let now = proxy.settled_memory(Duration::from_secs(1), Duration::from_secs(2))?;
            Ok([less(now.rss, started.rss)])
        })
    })?;
    let title = format!("{CONNECTIONS} connections of bulk both ways");
    Ok(vec![after(&title, versus)])
}

fn after(what: &str, versus: Versus) -> Line {
    let title = format!("RSS above start after {what}: kB");
    let (must, aim) = (Some(AtMost(1024.0)), Some(AtMost(512.0)));
    by_ours(title, Ok(versus), 0, must, aim)
}

/// What each target offers to a client that does not read.
const OFFER: u64 = 256 << 20;

fn stall(plan: &Plan) -> Outcome<Vec<Line>> {
    const CONNECTIONS: usize = 8;
    let [versus] = compare("stall", plan.memory_rounds, |kind| {
        let target = Target::new()?;
        with_proxy(kind, target.port, |proxy| {
            // Held, and never read from.
            let clients = open_all(proxy, kind, 1 + CONNECTIONS)?;
            let mut targets = Vec::new();
            for _ in &clients {
                targets.push(Flow::target(target.accept()?, OFFER, 0)?);
            }
            // What is needed once, such as the shared buffer, is not the price of a connection: the
            // first one pays for it before the others are counted.
            press_hard(&mut targets[..1])?;
            let before = proxy.settled_memory(Duration::ZERO, Duration::from_secs(1))?;
            press_hard(&mut targets[1..])?;
            let now = proxy.settled_memory(Duration::ZERO, Duration::from_secs(3))?;
            Ok([less(now.rss, before.rss) / CONNECTIONS as f64])
        })
    })?;
    let title = format!("stall, {CONNECTIONS} clients: RSS growth kB each");
    let (must, aim) = (Some(AtMost(256.0)), Some(AtMost(64.0)));
    Ok(vec![by_ours(title, Ok(versus), 0, must, aim)])
}

/// Offers until nothing was taken for a second.
fn press_hard(targets: &mut [Flow]) -> Outcome<()> {
    let taken = press(targets, &[0x2a; BATCH], Duration::from_secs(1))?;
    if taken == OFFER * targets.len() as u64 {
        return Err("everything was taken although no client reads".into());
    }
    Ok(())
}

/// Runs `measure` for both programs in every round, the first of one round being the last of the next.
fn compare<const N: usize>(
    name: &str,
    rounds: usize,
    mut measure: impl FnMut(Kind) -> Outcome<[f64; N]>,
) -> Outcome<[Versus; N]> {
    let mut figures: [Versus; N] = std::array::from_fn(|_| Versus::default());
    for round in 0..rounds {
        let mut order = [Kind::Ours, Kind::Copier];
        order.rotate_left(round % 2);
        for kind in order {
            let began = Instant::now();
            let values = measure(kind).map_err(|e| format!("{name}, {}: {e}", kind.name()))?;
            for (figure, value) in figures.iter_mut().zip(values) {
                figure.push(kind, value);
            }
            eprintln!(
                "{name} {}/{rounds} {}: {} ({:.1} s)",
                round + 1,
                kind.name(),
                values.map(three_digits).join(", "),
                began.elapsed().as_secs_f64()
            );
        }
    }
    Ok(figures)
}

/// One count for each program, since system calls repeat well and strace is slow; or why there is none.
fn count_calls(
    name: &str,
    mut count: impl FnMut(Kind) -> Outcome<Result<f64, String>>,
) -> Outcome<Result<Versus, String>> {
    let mut unavailable = None;
    let counted = compare(name, 1, |kind| {
        let calls = count(kind)?;
        Ok([calls.unwrap_or_else(|why| {
            unavailable = Some(why);
            0.0
        })])
    })?;
    let [versus] = counted;
    Ok(unavailable.map_or(Ok(versus), Err))
}

/// The system calls of `proxy` while `work` runs.
fn traced(proxy: &Server, work: impl FnOnce() -> Outcome<()>) -> Outcome<Result<f64, String>> {
    match Trace::attach(proxy)? {
        Traced::Unavailable(why) => Ok(Err(why)),
        Traced::Attached(trace) => {
            work()?;
            Ok(Ok(trace.finish()? as f64))
        }
    }
}

/// Gives `work` a fresh process, and says so if that died.
fn with_proxy<T>(
    kind: Kind,
    target_port: u16,
    work: impl FnOnce(&Server) -> Outcome<T>,
) -> Outcome<T> {
    let mut proxy = Server::start(kind, target_port)?;
    work(&proxy).map_err(|e| match proxy.ended() {
        Some(status) => format!("it died ({status}); {e}").into(),
        None => e,
    })
}

fn open_all(proxy: &Server, kind: Kind, count: usize) -> Outcome<Vec<Client>> {
    (0..count).map(|_| Client::open(proxy.port, kind.wire())).collect()
}

fn open_and_echo(proxy: &Server, kind: Kind) -> Outcome<Client> {
    let mut client = Client::open(proxy.port, kind.wire())?;
    echo(std::slice::from_mut(&mut client), SMALL, 1)?;
    Ok(client)
}

/// `now - before`, which may be negative.
fn less(now: u64, before: u64) -> f64 {
    now as f64 - before as f64
}

fn by_ratio(title: &str, versus: Versus, must: Bound, aim: Bound) -> Line {
    Line {
        title: title.into(),
        versus: Ok(versus),
        judged: Judged::Ratio,
        must: Some(must),
        aim: Some(aim),
    }
}

fn by_ours(
    title: String,
    versus: Result<Versus, String>,
    decimals: usize,
    must: Option<Bound>,
    aim: Option<Bound>,
) -> Line {
    Line { title, versus, judged: Judged::Ours(decimals), must, aim }
}
