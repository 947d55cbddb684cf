//! What several modules' tests need.

use crate::config::{Bind, Host, HostPort, Local, Remote, Route};

/// Reproducible pseudo-random numbers (xorshift64*). Prints its seed, which a failing test shows;
/// `TEST_SEED=0x...` runs that seed again.
pub struct Random(u64);

impl Random {
    pub fn new(test: &str) -> Self {
        let seed = match std::env::var("TEST_SEED") {
            Ok(text) => u64::from_str_radix(text.trim_start_matches("0x"), 16).expect("hex seed"),
            Err(_) => std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .expect("after 1970")
                .as_nanos() as u64,
        };
        println!("{test}: TEST_SEED={seed:#x}");
        Self(seed | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `n`; 0 if `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() >> 11) as usize % n.max(1)
    }

    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.next() as u8).collect()
    }
}

/// A route from anywhere to nowhere, with the defaults.
pub fn route() -> Route {
    let local = HostPort { host: Host::Name("local".into()), port: 0 };
    Route::new(Local::WebSocket(Bind::Tcp(local)), Remote::Echo)
}
