//! The rows of the table: what each one does to a proxy, and what it measures meanwhile.

use std::thread;

use crate::compare::{compare, count_calls, open_all, open_and_echo, traced, with_proxy};
use crate::load::{echo, pump, Client, EchoThread, Flow, Target};
use crate::memory::{burst, idle, stall, start};
use crate::plan::{Plan, BATCH, LARGE, SMALL};
use crate::proc::{Kind, Server};
use crate::report::{by_ours, by_ratio, Bound, Line, Versus};
use crate::Outcome;
use Bound::{AtMost, Below};

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
