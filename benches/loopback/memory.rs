//! The rows about memory.

use std::thread;
use std::time::Duration;

use crate::compare::{compare, open_all, open_and_echo, with_proxy};
use crate::load::{press, pump, Flow, Target};
use crate::plan::{Plan, BATCH, LARGE};
use crate::proc::{Kind, Link, Memory, Server};
use crate::report::{by_ours, Bound, Line, Versus};
use crate::Outcome;
use Bound::AtMost;

pub fn start(plan: &Plan) -> Outcome<Vec<Line>> {
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

pub fn idle(plan: &Plan) -> Outcome<Vec<Line>> {
    let count = plan.idle_connections();
    let [idle, closed] = compare("idle-closed", plan.memory_rounds, |kind| {
        let server = Server::start_echo_server()?;
        with_proxy(kind, server.port, |proxy| {
            let (started, open, closed) = hold_idle(proxy, count)?;
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
fn hold_idle(proxy: &Server, count: usize) -> Outcome<(Memory, Memory, Memory)> {
    let started = proxy.settled_memory(Duration::ZERO, Duration::from_secs(1))?;
    // One at a time, or the listener's backlog overflows and SYNs are sent again a second later.
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(open_and_echo(proxy)?);
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
pub fn burst(plan: &Plan) -> Outcome<Vec<Line>> {
    const CONNECTIONS: usize = 64;
    let [versus] = compare("burst", plan.memory_rounds, |kind| {
        let target = Target::new()?;
        with_proxy(kind, target.port, |proxy| {
            let started = proxy.settled_memory(Duration::ZERO, Duration::from_secs(1))?;
            let batch = proxy.wire.batch(LARGE, BATCH / LARGE);
            let up = plan.burst / BATCH as u64 * batch.len() as u64;
            let (mut clients, mut targets) = (Vec::new(), Vec::new());
            for client in open_all(proxy, CONNECTIONS)? {
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

pub fn stall(plan: &Plan) -> Outcome<Vec<Line>> {
    const CONNECTIONS: usize = 8;
    let [versus] = compare("stall", plan.memory_rounds, |kind| {
        let target = Target::new()?;
        with_proxy(kind, target.port, |proxy| {
            // Held, and never read from.
            let clients = open_all(proxy, 1 + CONNECTIONS)?;
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

/// `now - before`, which may be negative.
fn less(now: u64, before: u64) -> f64 {
    now as f64 - before as f64
}
