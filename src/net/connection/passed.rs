//! Whose connection it is: as a trusted proxy says (`--accept-proxy`), and as targets are told
//! (`--send-proxy`).

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use log::debug;

use super::{Connection, Shared};
use crate::config::Route;
use crate::policy::admit::{Refusal, Status};
use crate::policy::cidr::canonical;
use crate::proto::proxy_header::{encode, ProxyHeader};
use crate::session::proxied::ProxiedError;

impl Connection {
    /// It begins behind a header that a trusted proxy has put there.
    pub(super) fn on_passed_on(&mut self, header: ProxyHeader, route: &Route, shared: &mut Shared) {
        // A proxy that looks whether we are well has no client.
        if let Some(client) = header.source {
            debug!("{} passed on client={client}", self.id);
            shared.clients.stand_behind(self.id, canonical(client.ip()));
            shared.passed.insert(self.id, header);
        }
        // Not first when it has asked for something: its place is somebody else's.
        if let Some(refusal) = self.lacks_place(shared) {
            self.refuse(&refusal, shared);
        } else if !self.link.is_judging() && !self.is_let_in(route, shared) {
            debug!("{} is from no --client of this route", self.id);
            let reason = "this address may not connect";
            self.refuse(&Refusal::new(Status::Forbidden, reason), shared);
        } else if self.link.is_dialling() {
            self.start_dial(route, shared);
        }
    }

    /// It is not known whose connection it is.
    pub(super) fn mistrust(&mut self, error: ProxiedError, shared: &mut Shared) {
        debug!("{} {error}", self.id);
        let reason = "this route is for trusted proxies, which speak the PROXY protocol";
        self.refuse(&Refusal::new(Status::BadRequest, reason), shared);
    }

    /// What the target hears before anything else; nothing on most routes.
    pub(super) fn introduction(&self, route: &Route, shared: &Shared) -> Vec<u8> {
        let Some(version) = route.send_proxy else { return Vec::new() };
        let [client, local] = self.way_in(shared);
        // The name that the log has, and what tells it from that of another start.
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let id = format!("{}-{:x}", self.id, since_epoch.as_micros());
        encode(version, client, local, Some(id.as_bytes()))
    }

    /// Who connected, and to which address: both `None` over a unix socket. Of a client that a
    /// trusted proxy has named in a request the port is not known, and 0.
    fn way_in(&self, shared: &Shared) -> [Option<SocketAddr>; 2] {
        let Some(transport) = &self.ends[0].transport else { return [None; 2] };
        let [client, local] = match shared.passed.get(&self.id) {
            Some(header) => [header.source, header.destination],
            None => [transport.peer(), transport.local()],
        };
        let known = client.map(|client| canonical(client.ip()));
        let behind = shared.clients.behind(self.id).filter(|behind| Some(*behind) != known);
        [behind.map(|behind| SocketAddr::new(behind, 0)).or(client), local]
    }
}
