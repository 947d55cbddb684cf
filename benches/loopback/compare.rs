//! Both programs in turns, with fresh processes.

use std::time::Instant;

use crate::load::{echo, Client};
use crate::plan::SMALL;
use crate::proc::{Kind, Server, Trace, Traced};
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

/// One count for each program, since system calls repeat well and strace is slow; or why there is none.
pub fn count_calls(
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
pub fn traced(proxy: &Server, work: impl FnOnce() -> Outcome<()>) -> Outcome<Result<f64, String>> {
    match Trace::attach(proxy)? {
        Traced::Unavailable(why) => Ok(Err(why)),
        Traced::Attached(trace) => {
            work()?;
            Ok(Ok(trace.finish()? as f64))
        }
    }
}

/// Gives `work` a fresh process, and says so if that died.
pub fn with_proxy<T>(
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

pub fn open_all(proxy: &Server, kind: Kind, count: usize) -> Outcome<Vec<Client>> {
    (0..count).map(|_| Client::open(proxy.port, kind.wire())).collect()
}

pub fn open_and_echo(proxy: &Server, kind: Kind) -> Outcome<Client> {
    let mut client = Client::open(proxy.port, kind.wire())?;
    echo(std::slice::from_mut(&mut client), SMALL, 1)?;
    Ok(client)
}
