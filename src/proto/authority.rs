//! Where a stream leads: a host and a port (RFC 3986 §3.2).
//!
//! Owns the two types. Never looks a name up.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// A host and a port, the host still unresolved if it is a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// A literal address or a name.
    pub host: Host,
    /// 1 to 65535, or 0 where a listener may choose.
    pub port: u16,
}

/// A literal address or a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// Written as a number; never looked up.
    Ip(IpAddr),
    /// Looked up each time it is dialled.
    Name(String),
}

impl From<SocketAddr> for HostPort {
    fn from(address: SocketAddr) -> Self {
        Self { host: Host::Ip(address.ip()), port: address.port() }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            Host::Ip(ip) => write!(f, "{ip}:{}", self.port),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}
