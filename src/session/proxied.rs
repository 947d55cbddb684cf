//! A connection that somebody passes on, and that begins with a PROXY header (`--accept-proxy`).
//!
//! Owns the header while it is not complete, and whether it is believed: from a trusted proxy, and
//! there it must be, since whoever may leave it out may make it up.

use std::fmt;

use super::link::Entrance;
use super::opening::{take, Head};
use crate::buf::hot::Hot;
use crate::config::Limits;
use crate::policy::access::is_proxy;
use crate::policy::cidr::canonical;
use crate::policy::gate::Gate;
use crate::proto::proxy_header::{ProxyHeader, ProxyHeaderError};

/// What a header in version 1 begins with, which looks like the method of a request.
const PROXY: &[u8] = b"PROXY ";

/// A header under way.
#[derive(Debug)]
pub struct Proxied {
    head: Head,
    /// How the connection goes on behind it.
    pub entrance: Entrance,
    /// In its place came an HTTP request, where one was to follow.
    pub is_http: bool,
}

impl Proxied {
    /// Awaits a header.
    pub fn new(entrance: Entrance) -> Self {
        Self { head: Head::default(), entrance, is_http: false }
    }

    /// How much more may be read.
    pub fn read_limit(&self, limits: &Limits) -> usize {
        self.head.read_limit(limits)
    }

    /// Takes the input. `None` asks for more of it; with a header, the input that is left is what
    /// the client said.
    pub fn on_bytes(
        &mut self,
        hot: &mut Hot,
        gate: Gate,
        limits: &Limits,
    ) -> Option<Result<ProxyHeader, ProxiedError>> {
        let peer = gate.client.map(|peer| canonical(peer.ip()));
        let is_trusted = peer.is_some_and(|peer| is_proxy(&gate.route.access, peer));
        let awaits_http = self.entrance != Entrance::Stream;
        let is_http = &mut self.is_http;
        let met = self.head.on_bytes(hot.input(), true, limits, |wire, sizes| {
            let error = match ProxyHeader::parse(wire) {
                _ if !is_trusted => ProxiedError::Untrusted,
                Ok(Some((header, len))) if len <= sizes.bytes => return Some((Ok(header), len)),
                Ok(None) if wire.len() < sizes.bytes => return None,
                Ok(_) => ProxiedError::TooLong,
                Err(error) => ProxiedError::Header(error),
            };
            let is_word = wire.first().is_some_and(u8::is_ascii_uppercase);
            let seen = wire.len().min(PROXY.len());
            *is_http = awaits_http && is_word && wire[..seen] != PROXY[..seen];
            Some((Err(error), wire.len()))
        });
        take(met, hot)
    }
}

/// Why it is not known whose connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxiedError {
    /// The peer is no trusted proxy.
    Untrusted,
    /// The header is longer than a head may be.
    TooLong,
    /// It is not a good one.
    Header(ProxyHeaderError),
}

impl fmt::Display for ProxiedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untrusted => f.write_str("only a --trust-proxy may connect to this route"),
            Self::TooLong => f.write_str("PROXY header longer than --max-head"),
            Self::Header(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ProxiedError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Route;
    use crate::policy::gate::Secrets;
    use crate::testing;

    const V1: &[u8] = b"PROXY TCP6 2001:db8::7 2001:db8::1 56324 443\r\n";
    const WEBSOCKET: Entrance = Entrance::WebSocket { names: None };

    type Told = Option<(Result<ProxyHeader, ProxiedError>, bool, Vec<u8>)>;

    /// Feeds `wire` in two pieces from `peer`: what is made of it, whether that is HTTP, and what
    /// is left.
    fn fed(entrance: Entrance, peer: &str, wire: &[u8], cut: usize, limits: &Limits) -> Told {
        let mut route: Route = testing::route();
        route.access.proxies = vec!["10.0.0.0/8".parse().unwrap()];
        let secrets = Secrets::default();
        let client = Some(peer.parse().expect(peer));
        let gate = Gate { route: &route, secrets: &secrets, client };
        let (mut proxied, mut hot) = (Proxied::new(entrance), Hot::new(1 << 16));
        for (piece, rest) in [(&wire[..cut], &wire[cut..]), (&wire[cut..], &[])] {
            hot.fill(piece.len()).copy_from_slice(piece);
            hot.commit(piece.len());
            if let Some(told) = proxied.on_bytes(&mut hot, gate, limits) {
                return Some((told, proxied.is_http, [hot.input(), rest].concat()));
            }
        }
        None
    }

    #[test]
    fn a_trusted_proxy_is_believed_at_every_cut() {
        let limits = Limits::default();
        let wire = [V1, b"GET /"].concat();
        for cut in 0..wire.len() {
            for peer in ["10.1.2.3:4", "[::ffff:10.1.2.3]:4"] {
                let (told, _, left) = fed(WEBSOCKET, peer, &wire, cut, &limits).unwrap();
                let source = told.unwrap().source.map(|source| source.to_string());
                assert_eq!(source.as_deref(), Some("[2001:db8::7]:56324"), "cut at {cut}");
                assert_eq!(left, b"GET /", "cut at {cut}");
            }
        }
        assert_eq!(fed(WEBSOCKET, "10.0.0.1:4", &V1[..V1.len() - 1], 3, &limits), None);
    }

    #[test]
    fn nobody_else_is_and_only_a_request_is_answered() {
        let limits = Limits::default();
        let missing = ProxiedError::Header(ProxyHeaderError::Missing);
        for (entrance, peer, wire, error, is_http) in [
            (WEBSOCKET, "192.0.2.1:4", V1, ProxiedError::Untrusted, false),
            (WEBSOCKET, "192.0.2.1:4", b"GET / HTTP", ProxiedError::Untrusted, true),
            (WEBSOCKET, "10.0.0.1:4", b"GET / HTTP", missing, true),
            (WEBSOCKET, "10.0.0.1:4", b"\x16\x03\x01", missing, false),
            (Entrance::Stream, "10.0.0.1:4", b"GET / HTTP", missing, false),
        ] {
            let (told, http, _) = fed(entrance, peer, wire, 2, &limits).unwrap();
            assert_eq!((told, http), (Err(error), is_http), "{peer} {}", wire.escape_ascii());
        }
    }

    #[test]
    fn a_header_is_no_longer_than_a_head_may_be() {
        let limits = Limits { max_head: V1.len(), ..Limits::default() };
        assert!(fed(WEBSOCKET, "10.0.0.1:4", V1, 9, &limits).unwrap().0.is_ok());
        let limits = Limits { max_head: V1.len() - 1, ..Limits::default() };
        for cut in [0, 9, V1.len() - 1] {
            let (told, ..) = fed(WEBSOCKET, "10.0.0.1:4", V1, cut, &limits).unwrap();
            assert_eq!(told, Err(ProxiedError::TooLong), "cut at {cut}");
        }
    }
}
