//! The rows about a tunnel of two: what it costs, and which of its ends costs how much.
//!
//! The first table has both ends together, ours against two copiers in a row; the second has the near
//! end of each program against its far end. The near end of ours is a WebSocket client, the far end a
//! server.
//!
//! Each end is measured in a run of its own, with the other one among the load, as if it were on
//! another machine. On one core they would hand each other bytes that are still in its cache, and who
//! passes them on to another core would seem three times as expensive, whatever its role. The copiers
//! show how much of that is left.

use crate::compare::{compare_lays, count_calls, Lay};
use crate::cost;
use crate::plan::{Plan, LARGE};
use crate::proc::{Kind, Role};
use crate::report::{Between, Bound, Judged, Line, Versus};
use crate::rows::connections_text;
use crate::Outcome;

const NEAR: Lay = Lay { roles: &[Role::Client, Role::Server], measured: 0 };
const FAR: Lay = Lay { measured: 1, ..NEAR };

/// What the client role may cost, where the server role costs 1.
const MUST: Bound = Bound::Below(1.3);

pub fn down(plan: &Plan) -> Outcome<Vec<Line>> {
    cpu("tunnel-down", "down: CPU s/GB", plan, |lay, kind| cost::down(lay, kind, plan.down))
}

pub fn up(plan: &Plan) -> Outcome<Vec<Line>> {
    cpu("tunnel-up", "up: CPU s/GB", plan, |lay, kind| cost::up(lay, kind, LARGE, plan.up_large))
}

pub fn echo_1(plan: &Plan) -> Outcome<Vec<Line>> {
    echo("tunnel-echo-1", plan, 1, plan.echoes_1)
}

pub fn echo_32(plan: &Plan) -> Outcome<Vec<Line>> {
    echo("tunnel-echo-32", plan, 32, plan.echoes_32)
}

fn echo(name: &str, plan: &Plan, connections: usize, count: usize) -> Outcome<Vec<Line>> {
    let what = format!("echo 64 B, {}: CPU us per message", connections_text(connections));
    cpu(name, &what, plan, |lay, kind| cost::echo(lay, kind, connections, count))
}

fn cpu(
    name: &str,
    what: &str,
    plan: &Plan,
    measure: impl Fn(Lay, Kind) -> Outcome<f64>,
) -> Outcome<Vec<Line>> {
    let ends = compare_lays(name, plan.rounds, [NEAR, FAR], measure)?;
    Ok(lines(what, Ok(ends), Some(MUST)))
}

pub fn echo_1_syscalls(_: &Plan) -> Outcome<Vec<Line>> {
    echo_calls("tunnel-echo-1-syscalls", 1)
}

pub fn echo_32_syscalls(_: &Plan) -> Outcome<Vec<Line>> {
    echo_calls("tunnel-echo-32-syscalls", 32)
}

fn echo_calls(name: &str, connections: usize) -> Outcome<Vec<Line>> {
    let count = |lay, kind| cost::echo_calls(lay, kind, connections);
    let ends = count_calls(name, [NEAR, FAR], count)?;
    let what = format!("echo 64 B, {}: system calls per echo", connections_text(connections));
    Ok(lines(&what, ends, None))
}

/// What the near and the far end came to, together and apart; `must` is about the roles of ours.
fn lines(what: &str, ends: Result<[Versus; 2], String>, must: Option<Bound>) -> Vec<Line> {
    let sum = ends.clone().map(|[near, far]| near.plus(&far));
    let [ours, copiers] = match ends.map(Versus::transposed) {
        Ok(programs) => programs.map(Ok),
        Err(why) => [Err(why.clone()), Err(why)],
    };
    let line = |whose, versus, between, must| Line {
        title: format!("{whose}, {what}"),
        versus,
        between,
        judged: Judged::Ratio,
        must,
        aim: None,
    };
    vec![
        line("tunnel of two", sum, Between::Programs, None),
        line("ours", ours, Between::Ends, must),
        line("copiers", copiers, Between::Ends, None),
    ]
}
