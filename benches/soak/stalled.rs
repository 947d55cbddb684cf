//! Peers that never read while their targets offer megabytes, and an echo beside them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::common::{pattern, Proxy, Stream, Target, Ws, BINARY};
use crate::{child_besides, cores, grouped, kb, start_proxy, BUFFER_SIZE, MAX_MEMORY, SLACK};

/// Echoes of 64 bytes in a row.
const ECHOES: usize = 5_000;
const MESSAGE: usize = 64;

/// When no target got rid of a byte for so long, the peers are stalled.
const QUIET: Duration = Duration::from_secs(2);

/// Runs it and prints what it cost.
///
/// # Panics
/// If the proxy keeps more than its options allow, or an echo is wrong or late.
pub fn run(peers: usize, offer: u64) {
    let cores = cores::divide().expect("divide the cores");
    let target = Target::listen();
    let most = (peers + 10).to_string();
    // By default those who take nothing for 60 s are let go. Here they are to stay.
    let proxy = start_proxy(&target.endpoint, &["--send-timeout", "0", "--max-connections", &most]);
    cores::give_measured_core(child_besides(None)).expect("give the proxy its core");
    let start = proxy.memory();
    let echo = Echo::start(&proxy, &target);
    let before = echo.measure(ECHOES);
    let warm = proxy.memory();

    let stalled: Vec<_> = (0..peers).map(|_| Stalled::start(&proxy, &target, offer)).collect();
    let taken = || stalled.iter().map(|s| s.taken.load(Ordering::Relaxed)).sum::<u64>();
    let (mut filling, mut samples) = (Latency::default(), Vec::new());
    let (mut last, mut changed) = (0, Instant::now());
    while changed.elapsed() < QUIET {
        filling.0.extend(echo.measure(50).0);
        samples.push(proxy.memory());
        if taken() != last {
            (last, changed) = (taken(), Instant::now());
        }
    }
    let during = echo.measure(ECHOES);
    let (full, peak) = (proxy.memory(), proxy.peak_memory());
    for one in &stalled {
        let taken = one.taken.load(Ordering::Relaxed);
        assert!(taken < offer, "the kernel took all {offer} bytes; offer more");
    }

    let offers: Vec<_> = stalled.into_iter().map(Stalled::leave).collect();
    for thread in offers {
        thread.join().expect("a thread that panics ends the process");
    }
    proxy.wait_for_closed(peers);
    let afterwards = echo.measure(ECHOES);
    thread::sleep(Duration::from_secs(1));
    let after = proxy.memory();

    println!("{peers} peers that never read, {} bytes offered to each", grouped(offer));
    println!("  taken from the targets, most of it in the kernel: {} kB", kb(last as usize));
    println!(
        "  proxy RSS kB: start {}, after the first echoes {}, peak {}, stalled {}, 1 s after {}",
        kb(start),
        kb(warm),
        kb(peak),
        kb(full),
        kb(after)
    );
    let highest = samples.iter().copied().max().unwrap_or(full);
    println!("  {} samples while filling, highest {} kB", samples.len(), kb(highest));
    let grown = peak.saturating_sub(warm);
    let allowed = MAX_MEMORY.min(peers * BUFFER_SIZE);
    println!(
        "  grown by {} kB, {:.1} kB a peer; allowed {} kB",
        kb(grown),
        grown as f64 / 1024.0 / peers as f64,
        kb(allowed)
    );
    println!("  echo of {MESSAGE} B beside them, round trips in us ({cores}):");
    let phases =
        [("before", before), ("filling", filling), ("stalled", during), ("after", afterwards)];
    for (name, latency) in phases {
        println!("    {name:8} {latency}");
    }
    assert!(grown <= allowed + SLACK, "{} kB more than allowed", kb(grown - allowed));
    assert!(after <= start + SLACK, "RSS stayed {} kB above start", kb(after - start));
}

/// A peer that does not read, and the thread by which its target offers.
struct Stalled {
    peer: Stream,
    taken: Arc<AtomicU64>,
    offers: JoinHandle<()>,
}

impl Stalled {
    fn start(proxy: &Proxy, target: &Target, offer: u64) -> Self {
        let peer = Ws::connect(proxy).into_stream();
        let mut stream = target.accept();
        let taken = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&taken);
        let offers = thread::spawn(move || {
            let piece = vec![0x2a; 1 << 20];
            let mut left = offer;
            while left > 0 {
                let n = left.min(piece.len() as u64) as usize;
                match stream.try_send(&piece[..n]) {
                    Ok(n) => {
                        left -= n as u64;
                        count.fetch_add(n as u64, Ordering::Relaxed);
                    }
                    Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
                    Err(_) => return, // the peer has left
                }
            }
        });
        Self { peer, taken, offers }
    }

    /// The peer goes away, with all that it has not read.
    fn leave(self) -> JoinHandle<()> {
        drop(self.peer);
        self.offers
    }
}

/// One connection whose target answers with what it gets.
///
/// A thread of its own is peer and target by turns, so that a trip waits for nobody but the proxy,
/// whose core it shares: from core to core a wake-up costs ten times as much, unless both are busy.
struct Echo {
    asks: Sender<usize>,
    tells: Receiver<Vec<Duration>>,
}

impl Echo {
    fn start(proxy: &Proxy, target: &Target) -> Self {
        let mut peer = Ws::connect(proxy);
        let mut target = target.accept();
        let (asks, asked) = mpsc::channel();
        let (tell, tells) = mpsc::channel();
        thread::spawn(move || {
            // SAFETY: gettid(2) takes nothing and always succeeds.
            let this = unsafe { libc::gettid() };
            cores::give_measured_core(this as u32).expect("join the proxy on its core");
            let message = pattern(1, MESSAGE);
            for count in asked {
                let trips = (0..count).map(|_| trip(&mut peer, &mut target, &message));
                if tell.send(trips.collect()).is_err() {
                    return;
                }
            }
        });
        Self { asks, tells }
    }

    fn measure(&self, count: usize) -> Latency {
        self.asks.send(count).expect("a thread that panics ends the process");
        Latency(self.tells.recv().expect("a thread that panics ends the process"))
    }
}

fn trip(peer: &mut Ws, target: &mut Stream, message: &[u8]) -> Duration {
    let began = Instant::now();
    peer.send(BINARY, message);
    let arrived = target.receive(MESSAGE);
    assert_eq!(arrived, message, "at the target");
    target.send(&arrived);
    assert_eq!(peer.receive(MESSAGE), message, "back at the peer");
    began.elapsed()
}

/// Round trips.
#[derive(Default)]
struct Latency(Vec<Duration>);

impl std::fmt::Display for Latency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let at = |per_mille: usize| {
            let trip = sorted.get((sorted.len() * per_mille / 1000).min(sorted.len() - 1));
            trip.map_or(f64::NAN, |trip| trip.as_secs_f64() * 1e6)
        };
        let (median, p99, worst) = (at(500), at(990), at(1000));
        write!(f, "median {median:.1}, p99 {p99:.1}, worst {worst:.0} of {}", sorted.len())
    }
}
