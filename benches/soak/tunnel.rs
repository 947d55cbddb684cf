//! A tunnel of two proxies that carries bulk both ways at once, and is half-closed from either side.
//!
//! ```text
//! client  <- TCP ->  near end  <- WebSocket ->  far end  <- TCP ->  target
//! ```
//!
//! Whoever has said all it has to say shuts its write side. In the first round the client does so
//! first, in the second the target, and the other one keeps its last bytes until it has heard the end:
//! they pass a tunnel that has ended in one direction. In the third round nobody waits.

use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::common::{Proxy, Random, Stream};
use crate::ends::{receive_bytes, send_bytes, spawn, Pace, Sum, Tally};
use crate::pairs::{check_log, check_memory, Plan};
use crate::{kb, start_proxy_at};

/// What is kept for after the other side's end: more than both proxies and a usual kernel hold.
const LAST: u64 = 32 << 20;

/// Between two looks at the memory.
const LOOK: Duration = Duration::from_millis(50);

/// What both proxies are told.
pub struct Options {
    pub encoding: String,
    pub half_close: String,
}

/// An end that only a deadline brings about comes after our patience.
impl Default for Options {
    fn default() -> Self {
        Self { encoding: "binary".into(), half_close: "120s".into() }
    }
}

/// Who ends its stream before the other one has said its last bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum First {
    Client,
    Target,
    Either,
}

const ROUNDS: [First; 3] = [First::Client, First::Target, First::Either];

impl First {
    fn text(self) -> &'static str {
        match self {
            Self::Client => "client ends first",
            Self::Target => "target ends first",
            Self::Either => "nobody waits",
        }
    }
}

pub fn usual_limit(plan: Plan) -> Duration {
    plan.usual_limit() * ROUNDS.len() as u32
}

/// Runs it and prints what it took.
///
/// # Panics
/// If any end saw anything else than it should.
pub fn run(plan: Plan, options: &Options) {
    let target = plan.listen();
    let half_close = format!("--half-close={}", options.half_close);
    let arguments = ["--encoding", &options.encoding, &half_close, "--close-timeout", "120s"];
    let mut far = Hop::start("127.0.0.1:0", &target.endpoint, &arguments);
    let far_end = format!("ws://127.0.0.1:{}/", far.proxy.port());
    let mut near = Hop::start("tcp://127.0.0.1:0", &far_end, &arguments);

    println!("tunnel: {plan}, encoding {}, half-close {}", options.encoding, options.half_close);
    let gb = plan.total() as f64 / 1e9;
    for (round, first) in ROUNDS.into_iter().enumerate() {
        let began = Instant::now();
        let start_pair = |number| {
            let client = plan.connect(&near.proxy);
            Pair::start(plan, first, round * plan.pairs + number, client, target.accept())
        };
        let pairs: Vec<_> = (0..plan.pairs).map(start_pair).collect();
        while !pairs.iter().all(Pair::is_over) {
            near.look();
            far.look();
            thread::sleep(LOOK);
        }
        pairs.into_iter().for_each(|pair| pair.finish(plan));
        let took = began.elapsed().as_secs_f64();
        check_log(plan, &near.proxy, (round + 1) * plan.pairs);
        check_log(plan, &far.proxy, (round + 1) * plan.pairs);
        let (near, far) = (near.end_round(), far.end_round());
        println!(
            "  {}: {took:.2} s, {:.2} GB/s of payload both ways; RSS kB median of near {near}, far {far}",
            first.text(),
            gb / took
        );
    }
    let directions = 2 * plan.pairs * ROUNDS.len();
    println!("  seed {}; SHA-256 equal at both ends of all {directions} directions", plan.seed);
    println!(
        "  each end's FIN came to the other one, behind the last byte; code 1000 in both logs"
    );
    near.finish("near end", plan);
    far.finish("far end", plan);
}

/// One of the proxies, and its memory.
struct Hop {
    proxy: Proxy,
    start: usize,
    /// RSS in this round.
    looks: Vec<usize>,
}

impl Hop {
    fn start(local: &str, remote: &str, arguments: &[&str]) -> Self {
        let proxy = start_proxy_at(local, remote, arguments);
        Self { start: proxy.memory(), looks: Vec::new(), proxy }
    }

    fn look(&mut self) {
        self.looks.push(self.proxy.memory());
    }

    /// The median of the looks, in kB.
    fn end_round(&mut self) -> String {
        self.looks.sort_unstable();
        let median = self.looks.get(self.looks.len() / 2).copied();
        self.looks.clear();
        median.map_or("-".into(), kb)
    }

    fn finish(self, name: &str, plan: Plan) {
        let (ticks, peak) = (self.proxy.cpu_ticks(), self.proxy.peak_memory());
        thread::sleep(Duration::from_secs(1));
        let after = self.proxy.memory();
        println!(
            "  {name}: CPU {:.3} s/GB; RSS kB: start {}, peak {}, 1 s after {}",
            ticks as f64 / 100.0 / (plan.total() as f64 / 1e9 * ROUNDS.len() as f64),
            kb(self.start),
            kb(peak),
            kb(after)
        );
        check_memory(plan, self.start, peak, after);
    }
}

/// A client and the target that it talks to.
struct Pair {
    client: End,
    target: End,
}

impl Pair {
    fn start(plan: Plan, first: First, number: usize, client: Stream, target: Stream) -> Self {
        let seed = plan.seed + 4 * number as u64;
        let end = |name, stream, seed, waits| End::start(plan, number, name, stream, seed, waits);
        Self {
            client: end("client", client, seed, first == First::Target),
            target: end("target", target, seed + 2, first == First::Client),
        }
    }

    fn is_over(&self) -> bool {
        self.client.is_over() && self.target.is_over()
    }

    /// Compares what both saw.
    fn finish(self, plan: Plan) {
        let (said, answer) = self.client.finish();
        let (said_back, heard) = self.target.finish();
        assert_eq!(heard, said, "client to target");
        assert_eq!(answer, said_back, "target to client");
        assert_eq!((said.bytes, said_back.bytes), (plan.bytes, plan.bytes), "the harness itself");
    }
}

/// One end of a pair.
struct End {
    sends: JoinHandle<Sum>,
    receives: JoinHandle<Sum>,
}

impl End {
    /// If it `waits`, its last bytes are for after the other one's FIN.
    fn start(
        plan: Plan,
        pair: usize,
        name: &str,
        mut stream: Stream,
        seed: u64,
        waits: bool,
    ) -> Self {
        let (tell, heard_fin) = mpsc::channel();
        let incoming = stream.share();
        let sends = spawn(pair, &format!("{name} sends"), move || {
            let (mut sent, mut random) = (Tally::default(), Random::new(seed));
            if waits {
                let before = plan.bytes.saturating_sub(LAST);
                send_bytes(&mut stream, &mut sent, before, &mut random);
                heard_fin.recv().expect("a thread that panics ends the process");
            }
            send_bytes(&mut stream, &mut sent, plan.bytes, &mut random);
            stream.finish();
            sent.finish()
        });
        let receives = spawn(pair, &format!("{name} receives"), move || {
            let sum = receive_bytes(incoming, Pace::new(plan, seed + 1));
            let _ = tell.send(()); // who does not wait may have ended already
            sum
        });
        Self { sends, receives }
    }

    fn is_over(&self) -> bool {
        self.sends.is_finished() && self.receives.is_finished()
    }

    /// What it said and what it heard.
    fn finish(self) -> (Sum, Sum) {
        let join = "a thread that panics ends the process";
        (self.sends.join().expect(join), self.receives.join().expect(join))
    }
}
