//! The rows of the table: what each one does to a proxy, and what it measures meanwhile.

use crate::compare::{compare_lays, count_calls, ALONE};
use crate::cost;
use crate::memory::{burst, idle, stall, start};
use crate::plan::{Plan, LARGE, SMALL};
use crate::report::{by_ours, by_ratio, Bound, Line};
use crate::{tunnel, Outcome};
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
    Row { name: "tunnel-down", run: tunnel::down },
    Row { name: "tunnel-up", run: tunnel::up },
    Row { name: "tunnel-echo-1", run: tunnel::echo_1 },
    Row { name: "tunnel-echo-32", run: tunnel::echo_32 },
    Row { name: "tunnel-echo-1-syscalls", run: tunnel::echo_1_syscalls },
    Row { name: "tunnel-echo-32-syscalls", run: tunnel::echo_32_syscalls },
    Row { name: "start", run: start },
    Row { name: "idle-closed", run: idle },
    Row { name: "burst", run: burst },
    Row { name: "stall", run: stall },
];

fn down(plan: &Plan) -> Outcome<Vec<Line>> {
    let measure = |lay, kind| cost::down(lay, kind, plan.down);
    let [versus] = compare_lays("down", plan.rounds, [ALONE], measure)?;
    Ok(vec![by_ratio("down, 1 connection: CPU s/GB", versus, Below(0.45), Below(0.35))])
}

fn up_16k(plan: &Plan) -> Outcome<Vec<Line>> {
    let measure = |lay, kind| cost::up(lay, kind, LARGE, plan.up_large);
    let [versus] = compare_lays("up-16k", plan.rounds, [ALONE], measure)?;
    Ok(vec![by_ratio("up, 16 KiB messages: CPU s/GB", versus, Below(0.75), Below(0.50))])
}

fn up_64(plan: &Plan) -> Outcome<Vec<Line>> {
    let measure = |lay, kind| cost::up(lay, kind, SMALL, plan.up_small);
    let [versus] = compare_lays("up-64", plan.rounds, [ALONE], measure)?;
    Ok(vec![by_ratio("up, 64 B messages: CPU s/GB", versus, Below(5.0), Below(3.0))])
}

fn up_64_syscalls(_: &Plan) -> Outcome<Vec<Line>> {
    let count = |lay, kind| cost::up_calls(lay, kind, SMALL, 32 << 20);
    let counted = count_calls("up-64-syscalls", [ALONE], count)?;
    let title = "up, 64 B messages: system calls per MB".into();
    Ok(vec![by_ours(title, counted.map(|[calls]| calls), 1, None, Some(Below(60.0)))])
}

fn echo_1(plan: &Plan) -> Outcome<Vec<Line>> {
    echo_cpu("echo-1", plan, 1, plan.echoes_1)
}

fn echo_32(plan: &Plan) -> Outcome<Vec<Line>> {
    echo_cpu("echo-32", plan, 32, plan.echoes_32)
}

fn echo_cpu(name: &str, plan: &Plan, connections: usize, count: usize) -> Outcome<Vec<Line>> {
    let measure = |lay, kind| cost::echo(lay, kind, connections, count);
    let [versus] = compare_lays(name, plan.rounds, [ALONE], measure)?;
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
    let count = |lay, kind| cost::echo_calls(lay, kind, connections);
    let counted = count_calls(name, [ALONE], count)?;
    let title = format!("echo 64 B, {}: system calls per echo", connections_text(connections));
    let (must, aim) = (Some(AtMost(must)), Some(AtMost(aim)));
    Ok(vec![by_ours(title, counted.map(|[calls]| calls), 1, must, aim)])
}

pub fn connections_text(count: usize) -> String {
    format!("{count} connection{}", if count == 1 { "" } else { "s" })
}

fn connect(plan: &Plan) -> Outcome<Vec<Line>> {
    let measure = |lay, kind| cost::connect(lay, kind, plan.connects);
    let [versus] = compare_lays("connect", plan.rounds, [ALONE], measure)?;
    let title = "connect, handshake, echo, close: CPU us";
    Ok(vec![by_ratio(title, versus, Below(1.3), Below(1.15))])
}
