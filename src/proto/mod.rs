//! Floor 0: bytes to meaning and back. No sockets, no clock, no log.

#![forbid(unsafe_code)]

pub mod authority;
pub mod close;
pub mod connect;
pub mod encoding;
pub mod frame;
pub mod framing;
pub mod handshake;
pub mod http;
pub mod json;
pub mod mask;
pub mod message;
pub mod percent;
pub mod proxy_header;
pub mod response;
pub mod utf8;
