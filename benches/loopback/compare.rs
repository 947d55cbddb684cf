//! Both programs in turns, with fresh processes.

use std::collections::VecDeque;
use std::time::Instant;

use crate::cores;
use crate::load::{echo, Client};
use crate::plan::SMALL;
use crate::proc::{Kind, Role, Server, Trace, Traced};
use crate::report::{three_digits, Versus};
use crate::Outcome;

/// Runs `measure` for both programs in every round, the first of one round being the last of the next.
pub fn compare<const N: usize>(
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

/// The same with one figure for each lay.
pub fn compare_lays<const N: usize>(
    name: &str,
    rounds: usize,
    lays: [Lay; N],
    mut measure: impl FnMut(Lay, Kind) -> Outcome<f64>,
) -> Outcome<[Versus; N]> {
    compare(name, rounds, |kind| {
        let mut figures = [0.0; N];
        for (figure, lay) in figures.iter_mut().zip(lays) {
            *figure = measure(lay, kind)?;
        }
        Ok(figures)
    })
}

/// One count for each program, since system calls repeat well and strace is slow; or why there is none.
pub fn count_calls<const N: usize>(
    name: &str,
    lays: [Lay; N],
    mut count: impl FnMut(Lay, Kind) -> Outcome<Result<f64, String>>,
) -> Outcome<Result<[Versus; N], String>> {
    let mut unavailable = None;
    let counted = compare_lays(name, 1, lays, |lay, kind| {
        let calls = count(lay, kind)?;
        Ok(calls.unwrap_or_else(|why| {
            unavailable = Some(why);
            0.0
        }))
    })?;
    Ok(unavailable.map_or(Ok(counted), Err))
}

/// The system calls of `proxy` while `work` runs.
pub fn traced(proxy: &Server, work: impl FnOnce() -> Outcome<()>) -> Outcome<Result<f64, String>> {
    match Trace::attach(proxy)? {
        Traced::Unavailable(why) => Ok(Err(why)),
        Traced::Attached(trace) => {
            work()?;
            Ok(Ok(trace.finish()? as f64))
        }
    }
}

/// Proxies in a row, from where clients connect to the one before the target. The one at `measured`
/// has the measured core to itself, the others are part of the load.
#[derive(Clone, Copy)]
pub struct Lay {
    pub roles: &'static [Role],
    pub measured: usize,
}

pub const ALONE: Lay = Lay { roles: &[Role::Server], measured: 0 };

/// Gives `work` the first and the measured one of fresh processes, and says so if one of them died.
pub fn with_row<T>(
    lay: Lay,
    kind: Kind,
    target_port: u16,
    work: impl FnOnce(&Server, &Server) -> Outcome<T>,
) -> Outcome<T> {
    let mut row = VecDeque::new();
    for &role in lay.roles.iter().rev() {
        let before = row.front().map_or(target_port, |next: &Server| next.port);
        row.push_front(Server::start(kind, role, before)?);
    }
    cores::give_measured_core(row[lay.measured].pid())?;
    work(&row[0], &row[lay.measured]).map_err(|e| match row.iter_mut().find_map(Server::ended) {
        Some(status) => format!("it died ({status}); {e}").into(),
        None => e,
    })
}

/// The same for one that is first, last and measured.
pub fn with_proxy<T>(
    kind: Kind,
    target_port: u16,
    work: impl FnOnce(&Server) -> Outcome<T>,
) -> Outcome<T> {
    with_row(ALONE, kind, target_port, |proxy, _| work(proxy))
}

pub fn open_all(proxy: &Server, count: usize) -> Outcome<Vec<Client>> {
    (0..count).map(|_| Client::open(proxy)).collect()
}

pub fn open_and_echo(proxy: &Server) -> Outcome<Client> {
    let mut client = Client::open(proxy)?;
    echo(std::slice::from_mut(&mut client), SMALL, 1)?;
    Ok(client)
}
