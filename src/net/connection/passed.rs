//! Whose connection it is, as targets are told that (`--send-proxy`).

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Connection, Name, Shared};
use crate::config::Route;
use crate::proto::proxy_header::encode;

impl Connection {
    /// What the target hears before anything else; nothing on most routes.
    pub(super) fn introduction(&self, route: &Route, shared: &Shared) -> Vec<u8> {
        let Some(version) = route.send_proxy else { return Vec::new() };
        let [client, local] = self.way_in(shared);
        // The name that the log has, and what tells it from that of another start.
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let id = format!("{}-{:x}", Name(self.key), since_epoch.as_micros());
        encode(version, client, local, Some(id.as_bytes()))
    }

    /// Who connected, and to which of our addresses: both `None` over a unix socket. Of a client
    /// that a trusted proxy has named the port is not known, and 0.
    fn way_in(&self, shared: &Shared) -> [Option<SocketAddr>; 2] {
        let Some(transport) = &self.ends[0].transport else { return [None; 2] };
        let behind = shared.clients.behind(self.key).map(|client| SocketAddr::new(client, 0));
        [behind.or_else(|| transport.peer()), transport.local()]
    }
}
