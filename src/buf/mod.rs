//! Floor 0: where bytes are while they are in flight.

#![forbid(unsafe_code)]

pub mod hot;
pub mod pool;
pub mod ring;
