//! How much a run does of everything.

/// Bytes of a small and of a large message.
pub const SMALL: usize = 64;
pub const LARGE: usize = 16 * 1024;
/// Payload bytes of a batch: what a sender offers in one write.
pub const BATCH: usize = 256 * 1024;

/// How much of everything.
pub struct Plan {
    pub rounds: usize,
    /// Memory differs little from round to round, and takes long.
    pub memory_rounds: usize,
    /// Payload bytes of the bulk rows.
    pub down: u64,
    pub up_large: u64,
    pub up_small: u64,
    pub echoes_1: usize,
    pub echoes_32: usize,
    pub connects: usize,
    /// Idle connections, as far as `descriptors` allow.
    pub idle: usize,
    /// What one process may have open.
    pub descriptors: usize,
    /// Payload bytes per connection and direction.
    pub burst: u64,
}

impl Plan {
    pub fn full(rounds: Option<usize>, descriptors: usize) -> Self {
        let rounds = rounds.unwrap_or(5);
        Self {
            rounds,
            memory_rounds: rounds.min(3),
            down: 2 << 30,
            up_large: 2 << 30,
            up_small: 512 << 20,
            echoes_1: 20_000,
            echoes_32: 40_000,
            connects: 5_000,
            idle: 9_000,
            descriptors,
            burst: 8 << 20,
        }
    }

    /// Small volumes: enough to see that everything works, not to quote.
    pub fn quick(rounds: Option<usize>, descriptors: usize) -> Self {
        let rounds = rounds.unwrap_or(1);
        Self {
            rounds,
            memory_rounds: rounds,
            down: 256 << 20,
            up_large: 256 << 20,
            up_small: 64 << 20,
            echoes_1: 3_000,
            echoes_32: 8_000,
            connects: 500,
            idle: 2_000,
            descriptors,
            burst: 1 << 20,
        }
    }

    /// A proxy needs two descriptors for each connection, and a few of its own.
    pub fn idle_connections(&self) -> usize {
        self.idle.min(self.descriptors.saturating_sub(100) / 2)
    }
}
