//! What is worth a warning, or an error, before anybody is served.
//!
//! Owns the sentences. Changes nothing: neither the process's limits nor the routes.

use std::io;

use log::{error, warn};

use super::listener::Listener;
use super::resolve::{Asker, Resolver};
use super::sys;
use crate::config::{Host, HostPort, Local, Route};
use crate::policy::access;

/// Has every name looked up, so that one without an address is said at once.
pub fn names(routes: &[Route], resolver: &mut Resolver) {
    for route in routes {
        if let Some(HostPort { host: Host::Name(name), port }) = route.remote.address() {
            if let Err(error) = resolver.ask((name.clone(), *port), None, Asker::Operator) {
                warn!("cannot look up {name}: {error}");
            }
        }
    }
}

/// Refuses a listener for those who run the proxy that others can reach, unless they must show a
/// token.
///
/// # Errors
/// With the address and what to do about it.
pub fn admin(listener: &Listener, route: &Route) -> io::Result<()> {
    let exposed = listener.address().is_some_and(|address| !address.ip().is_loopback());
    if !exposed || !matches!(route.local, Local::Admin(_)) || route.access.asks_for_credentials() {
        return Ok(());
    }
    let text = format!(
        "cannot let anybody ask at --admin {}, which can be reached from elsewhere; \
         listen on 127.0.0.1 or add --admin-token-file",
        listener.shown()
    );
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}

/// Says which routes let in whoever reaches them from elsewhere.
pub fn exposure(listeners: &[Listener], routes: &[Route]) {
    for (listener, route) in listeners.iter().zip(routes) {
        let exposed = listener.address().is_some_and(|address| !address.ip().is_loopback());
        if let (true, Some(options)) = (exposed, access::remedy(route)) {
            let shown = listener.shown();
            warn!(
                "{shown} lets in everybody who can reach it; add {options}, or listen on 127.0.0.1"
            );
        }
    }
}

/// Says if the limit of open files does not suffice.
pub fn descriptors(max_connections: usize) {
    // Two a connection, and a few of our own.
    let wanted = 2 * max_connections as u64 + 16;
    match sys::descriptor_limit() {
        Ok(limit) if limit < wanted => warn!(
            "--max-connections {max_connections} needs {wanted} open files, the limit is {limit}; \
             raise it (ulimit -n) or serve fewer"
        ),
        Ok(_) => {}
        Err(error) => error!("cannot read the limit of open files: {error}"),
    }
}
