//! A WebSocket (RFC 6455) to byte-stream proxy: one thread, one poll loop, bounded memory.

#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod buf;
pub mod config;
pub mod policy;
pub mod proto;
pub mod session;
#[cfg(test)]
mod testing;
