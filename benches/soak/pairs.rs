//! Pairs of a client and a target that send each other bulk at the same time.
//!
//! A pair has four threads, one for each end and direction:
//!
//! ```text
//! client sends     random frames, fragments, Pings  ->  target receives   raw bytes to the FIN
//! client receives  frames, Pongs, Close, FIN        <-  target sends      random writes
//! ```
//!
//! When both directions are through, the client says Close 1000.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ws_tcp_proxy::proto::close::Close;
use ws_tcp_proxy::proto::frame::{Opcode, Role};
use ws_tcp_proxy::proto::message::{Decoder, Kind, Step};

use crate::common::ws::reason;
use crate::common::{Proxy, Random, Stream, Target, Ws, PATIENCE};
use crate::ends::{receive_bytes, send_bytes, spawn, Pace, Sum, Tally, READ};
use crate::script::{Pings, Script, LONGEST};
use crate::{grouped, kb, start_proxy, BUFFER_SIZE, MAX_MEMORY, SLACK};

/// Bytes of frames that are made before they are sent.
const BATCH: usize = 256 << 10;

/// What to run.
#[derive(Clone, Copy)]
pub struct Plan {
    pub pairs: usize,
    /// Of payload, each way in each pair.
    pub bytes: u64,
    /// Readers take single bytes at the start and in the middle.
    pub dribble: bool,
    /// Kernel buffers of a few KiB at both ends.
    pub narrow: bool,
    pub seed: u64,
}

impl Plan {
    pub fn total(&self) -> u64 {
        self.bytes.saturating_mul(2 * self.pairs as u64)
    }

    /// What even a small and busy machine does it in.
    pub fn usual_limit(&self) -> Duration {
        let rate = if self.narrow { 2_000_000 } else { 40_000_000 };
        Duration::from_secs(120 + self.total() / rate)
    }

    pub fn listen(&self) -> Target {
        if self.narrow {
            Target::listen_narrow()
        } else {
            Target::listen()
        }
    }

    pub fn connect(&self, proxy: &Proxy) -> Stream {
        let connect = if self.narrow { Stream::tcp_narrow } else { Stream::tcp };
        connect(proxy.port())
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = if self.dribble { " --dribble" } else { "" };
        let room = if self.narrow { " --narrow" } else { "" };
        write!(f, "pairs {}, {} bytes each way{mode}{room}", self.pairs, grouped(self.bytes))
    }
}

/// Runs it and prints what it took.
///
/// # Panics
/// If any end saw anything else than it should.
pub fn run(plan: Plan) {
    let target = plan.listen();
    // An end that only this deadline brings about comes after our patience.
    let proxy = start_proxy(&target.endpoint, &["--close-timeout", "120s"]);
    let start = proxy.memory();
    let ends: Vec<_> = (0..plan.pairs).map(|_| connect(plan, &proxy, &target)).collect();
    let (began, ticks) = (Instant::now(), proxy.cpu_ticks());
    let pairs: Vec<_> =
        ends.into_iter().enumerate().map(|(i, e)| Pair::start(plan, i, e)).collect();
    let counts = pairs.into_iter().fold(Counts::default(), |sum, pair| sum.plus(&pair.finish()));
    let (took, ticks) = (began.elapsed().as_secs_f64(), proxy.cpu_ticks() - ticks);
    check_log(plan, &proxy, plan.pairs);
    let peak = proxy.peak_memory();
    thread::sleep(Duration::from_secs(1));
    let after = proxy.memory();

    let gb = plan.total() as f64 / 1e9;
    println!("{plan}");
    println!(
        "  seed {}; SHA-256 equal at both ends of all {} directions",
        plan.seed,
        2 * plan.pairs
    );
    println!(
        "  Close 1000 and FIN at every client, FIN at every target, nothing behind the last byte"
    );
    println!(
        "  client frames {}; Pings answered {}, superseded {}",
        grouped(counts.frames),
        grouped(counts.answered),
        grouped(counts.superseded)
    );
    println!(
        "  {took:.2} s, {:.2} GB/s of payload both ways, proxy CPU {:.3} s/GB",
        gb / took,
        ticks as f64 / 100.0 / gb
    );
    println!("  proxy RSS kB: start {}, peak {}, 1 s after {}", kb(start), kb(peak), kb(after));
    check_memory(plan, start, peak, after);
}

/// The client's end and the target's.
fn connect(plan: Plan, proxy: &Proxy, target: &Target) -> (Stream, Stream) {
    // No target has spoken yet, so nothing behind the answer's head gets lost.
    let client = Ws::open(plan.connect(proxy), "/", &[]).into_stream();
    (client, target.accept())
}

/// What the proxy may have needed, and what it may keep.
///
/// # Panics
/// If it was more.
pub fn check_memory(plan: Plan, start: usize, peak: usize, after: usize) {
    let allowed = start + MAX_MEMORY.min(2 * plan.pairs * BUFFER_SIZE) + SLACK;
    assert!(peak <= allowed, "RSS was {} kB, more than {}", kb(peak), kb(allowed));
    assert!(after <= start + SLACK, "RSS stayed {} kB above start", kb(after - start));
}

/// The proxy's own account of the first `count` pairs.
///
/// # Panics
/// If it differs from ours.
pub fn check_log(plan: Plan, proxy: &Proxy, count: usize) {
    for closed in proxy.wait_for_closed(count) {
        let logged = (closed.code, closed.inbound, closed.outbound);
        assert_eq!(logged, (1000, plan.bytes, plan.bytes), "code, in and out in the proxy's log");
    }
}

/// What a pair, or all of them, did besides.
#[derive(Default)]
struct Counts {
    frames: u64,
    answered: u64,
    superseded: u64,
}

impl Counts {
    fn plus(self, other: &Self) -> Self {
        Self {
            frames: self.frames + other.frames,
            answered: self.answered + other.answered,
            superseded: self.superseded + other.superseded,
        }
    }
}

/// A running pair.
struct Pair {
    number: usize,
    bytes: u64,
    client: Arc<Client>,
    client_sends: JoinHandle<(Sum, u64)>,
    client_receives: JoinHandle<Sum>,
    target_sends: JoinHandle<Sum>,
    target_receives: JoinHandle<Sum>,
}

impl Pair {
    fn start(plan: Plan, number: usize, (peer, target): (Stream, Stream)) -> Self {
        let client = Arc::new(Client::default());
        let bytes = plan.bytes;
        let seed = move |end: u64| plan.seed + 4 * number as u64 + end;
        let pace = move |end| Pace::new(plan, seed(end));
        let (peer_in, target_in) = (peer.share(), target.share());
        let (sending, receiving) = (Arc::clone(&client), Arc::clone(&client));
        Self {
            number,
            bytes,
            client,
            client_sends: spawn(number, "client sends", move || {
                send_frames(peer, Script::new(seed(0), bytes), &sending)
            }),
            client_receives: spawn(number, "client receives", move || {
                receive_frames(peer_in, bytes, pace(1), &receiving)
            }),
            target_sends: spawn(number, "target sends", move || {
                send_all(target, bytes, Random::new(seed(2)))
            }),
            target_receives: spawn(number, "target receives", move || {
                receive_bytes(target_in, pace(3))
            }),
        }
    }

    /// Waits for all ends and compares what they saw.
    fn finish(self) -> Counts {
        let join = "a thread that panics ends the process";
        let (sent, frames) = self.client_sends.join().expect(join);
        let received = self.target_receives.join().expect(join);
        assert_eq!(received, sent, "pair {}, client to target", self.number);
        let sent_back = self.target_sends.join().expect(join);
        let received_back = self.client_receives.join().expect(join);
        assert_eq!(received_back, sent_back, "pair {}, target to client", self.number);
        assert_eq!((sent.bytes, sent_back.bytes), (self.bytes, self.bytes), "the harness itself");
        let state = self.client.state();
        assert!(state.pings.is_settled(), "pair {}: the last Ping has no Pong", self.number);
        Counts { frames, answered: state.pings.answered, superseded: state.pings.superseded }
    }
}

/// What the two threads of a client tell each other.
#[derive(Default)]
struct Client {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    pings: Pings,
    /// The proxy's Ping that waits for an answer.
    asked: Option<Vec<u8>>,
    /// All of the target's bytes are there.
    has_all: bool,
}

impl Client {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("a thread that panics ends the process")
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    /// Waits while `is_early`. The reader's own patience bounds it: as long as bytes come, it lasts.
    fn wait_while(&self, is_early: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let wait = self.changed.wait_while(self.state(), |state| is_early(state));
        wait.expect("a thread that panics ends the process")
    }

    /// Waits for the latest Ping's answer.
    fn await_pong(&self) {
        let wait = |state: &mut State| !state.pings.is_settled();
        let (state, _) = self.changed.wait_timeout_while(self.state(), PATIENCE, wait).unwrap();
        assert!(state.pings.is_settled(), "no Pong for {PATIENCE:?}");
    }
}

fn send_frames(mut stream: Stream, mut script: Script, client: &Client) -> (Sum, u64) {
    let mut wire = Vec::with_capacity(BATCH + LONGEST);
    while !script.is_over() {
        let mut state = client.state();
        while wire.len() < BATCH && !script.is_over() {
            script.go_on(&mut wire, &mut state.pings);
        }
        if let Some(payload) = state.asked.take() {
            script.control(Opcode::Pong, &payload, &mut wire);
        }
        drop(state);
        send_cut(&mut stream, &mut script, &mut wire);
    }
    loop {
        let mut state = client.wait_while(|state| !state.has_all && state.asked.is_none());
        let Some(payload) = state.asked.take() else { break };
        drop(state);
        script.control(Opcode::Pong, &payload, &mut wire);
        send_cut(&mut stream, &mut script, &mut wire);
    }
    // One, or more than are answered one by one.
    for _ in 0..if script.toss() { 1 } else { 40 } {
        script.ping(&mut wire, &mut client.state().pings);
    }
    // The Pong that is due goes before the Close that answers ours, however close ours comes.
    if script.toss() {
        send_cut(&mut stream, &mut script, &mut wire);
        client.await_pong();
    }
    script.control(Opcode::Close, &reason(1000, b"enough"), &mut wire);
    stream.send(&wire);
    (script.said.finish(), script.frames)
}

/// Sends all of it in pieces that know nothing of frames.
fn send_cut(stream: &mut Stream, script: &mut Script, wire: &mut Vec<u8>) {
    let mut rest = &wire[..];
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(script.cut(rest.len()));
        stream.send(piece);
        rest = after;
    }
    wire.clear();
}

fn receive_frames(mut stream: Stream, bytes: u64, mut pace: Pace, client: &Client) -> Sum {
    let mut decoder = Decoder::new(Role::Client, 0);
    let mut received = Tally::default();
    let mut buffer = vec![0; READ];
    loop {
        if received.bytes == bytes && !client.state().has_all {
            client.change(|state| state.has_all = true);
        }
        let n = pace.read(&mut stream, &mut buffer);
        assert!(n > 0, "FIN without Close after {} bytes of payload", received.bytes);
        let mut wire = &buffer[..n];
        while !wire.is_empty() {
            let (used, step) = decoder.next(wire).expect("the proxy's frames follow the RFC");
            wire = &wire[used..];
            match step {
                None => {}
                Some(Step::Payload(piece)) => {
                    assert_eq!(piece.kind, Kind::Binary);
                    received.add(&wire[..piece.len]);
                    wire = &wire[piece.len..];
                }
                Some(Step::Control(Opcode::Pong)) => {
                    client.change(|state| state.pings.on_pong(decoder.control()));
                }
                Some(Step::Control(Opcode::Ping)) => {
                    client.change(|state| state.asked = Some(decoder.control().to_vec()));
                }
                Some(Step::Control(_)) => {
                    let close = Close::decode(decoder.control()).expect("a Close with a code");
                    assert_eq!(close.code.get(), 1000, "after {} bytes", received.bytes);
                    assert!(wire.is_empty(), "{} bytes behind the Close", wire.len());
                    let n = pace.read(&mut stream, &mut buffer);
                    assert_eq!(n, 0, "bytes between Close and FIN");
                    return received.finish();
                }
            }
        }
    }
}

fn send_all(mut stream: Stream, bytes: u64, mut random: Random) -> Sum {
    let mut sent = Tally::default();
    send_bytes(&mut stream, &mut sent, bytes, &mut random);
    sent.finish()
}
