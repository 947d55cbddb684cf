//! What it costs to carry something: each load on a row of proxies, and the figure of the measured one.

use std::thread;

use crate::compare::{open_all, open_and_echo, traced, with_row, Lay};
use crate::load::{self, pump, Client, EchoThread, Flow, Target};
use crate::plan::{BATCH, SMALL};
use crate::proc::{Kind, Server};
use crate::Outcome;

const GB: f64 = 1e9;
const MB: f64 = 1e6;

/// CPU s/GB for `bytes` from the target to one client.
pub fn down(lay: Lay, kind: Kind, bytes: u64) -> Outcome<f64> {
    let target = Target::new()?;
    with_row(lay, kind, target.port, |first, measured| {
        let mut client = [Client::open(first)?.into_flow(0, bytes)?];
        let mut sender = [Flow::target(target.accept()?, bytes, 0)?];
        let batch = vec![0x2a; BATCH];
        let before = measured.cpu()?;
        thread::scope(|scope| {
            let sending = scope.spawn(|| pump(&mut sender, &batch));
            pump(&mut client, &batch)?;
            let spent = measured.cpu()? - before;
            sending.join().map_err(|_| "the sender panicked")??;
            Ok(spent.as_secs_f64() / (bytes as f64 / GB))
        })
    })
}

/// CPU s/GB for `bytes` from one client to the target, in messages of `message` bytes.
pub fn up(lay: Lay, kind: Kind, message: usize, bytes: u64) -> Outcome<f64> {
    let target = Target::new()?;
    with_row(lay, kind, target.port, |first, measured| {
        let up = Up::open(first, &target, message, bytes)?;
        let before = measured.cpu()?;
        up.send()?;
        let spent = measured.cpu()? - before;
        Ok(spent.as_secs_f64() / (bytes as f64 / GB))
    })
}

/// System calls per MB of the same.
pub fn up_calls(lay: Lay, kind: Kind, message: usize, bytes: u64) -> Outcome<Result<f64, String>> {
    let target = Target::new()?;
    with_row(lay, kind, target.port, |first, measured| {
        let up = Up::open(first, &target, message, bytes)?;
        let calls = traced(measured, || up.send())?;
        Ok(calls.map(|calls| calls / (bytes as f64 / MB)))
    })
}

/// CPU us for each of `count` messages that come back, on so many connections.
pub fn echo(lay: Lay, kind: Kind, connections: usize, count: usize) -> Outcome<f64> {
    let server = EchoThread::new()?;
    with_row(lay, kind, server.port, |first, measured| {
        let mut clients = open_all(first, connections)?;
        load::echo(&mut clients, SMALL, count / 20)?;
        let before = measured.cpu()?;
        load::echo(&mut clients, SMALL, count)?;
        let spent = measured.cpu()? - before;
        Ok(spent.as_secs_f64() * 1e6 / count as f64)
    })
}

/// System calls for each message that comes back, on so many connections.
pub fn echo_calls(lay: Lay, kind: Kind, connections: usize) -> Outcome<Result<f64, String>> {
    const COUNT: usize = 2_000;
    let server = EchoThread::new()?;
    with_row(lay, kind, server.port, |first, measured| {
        let mut clients = open_all(first, connections)?;
        // Once around, so that all the connections behind these stand before anything is counted.
        load::echo(&mut clients, SMALL, connections)?;
        let calls = traced(measured, || load::echo(&mut clients, SMALL, COUNT))?;
        Ok(calls.map(|calls| calls / COUNT as f64))
    })
}

/// CPU us for each of `count` connections that carry one message and back, one after the other.
pub fn connect(lay: Lay, kind: Kind, count: usize) -> Outcome<f64> {
    let server = EchoThread::new()?;
    with_row(lay, kind, server.port, |first, measured| {
        let before = measured.cpu()?;
        for _ in 0..count {
            let mut client = open_and_echo(first)?;
            client.begin_close()?;
            client.await_end()?;
        }
        server.await_all_closed()?;
        let spent = measured.cpu()? - before;
        Ok(spent.as_secs_f64() * 1e6 / count as f64)
    })
}

/// One client about to send `bytes` of payload in messages of `message` bytes.
struct Up {
    client: Flow,
    target: Flow,
    batch: Vec<u8>,
}

impl Up {
    fn open(proxy: &Server, target: &Target, message: usize, bytes: u64) -> Outcome<Self> {
        let batch = proxy.wire.batch(message, BATCH / message);
        let on_the_wire = bytes / BATCH as u64 * batch.len() as u64;
        let client = Client::open(proxy)?.into_flow(on_the_wire, 0)?;
        let target = Flow::target(target.accept()?, 0, bytes)?;
        Ok(Self { client, target, batch })
    }

    /// Returns when the target has everything.
    fn send(self) -> Outcome<()> {
        let (mut client, mut target, batch) = ([self.client], [self.target], self.batch);
        thread::scope(|scope| {
            let sending = scope.spawn(|| pump(&mut client, &batch));
            pump(&mut target, &batch)?;
            sending.join().map_err(|_| "the sender panicked")?
        })
    }
}
