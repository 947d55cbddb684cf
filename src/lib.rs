//! A WebSocket (RFC 6455) to byte-stream proxy: one thread, one poll loop, bounded memory.

#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod buf;
pub mod proto;
#[cfg(test)]
mod testing;
