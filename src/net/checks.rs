//! What must be right, and what is worth a warning, before anybody is served.
//!
//! Owns the sentences. Changes nothing: neither the process's limits nor the routes.

use std::io;

use log::{error, warn};

use super::listener::Listener;
use super::resolve::{Asker, Resolver};
use super::sys;
use crate::config::{Config, Host, HostPort, Limits, Local, Messages, Remote, Route};
use crate::policy::access;

/// Whether it can be served at all. What the command line has made can; a program may have filled in
/// anything.
///
/// # Errors
/// `InvalidInput` with what is wrong.
pub fn config(config: &Config) -> io::Result<()> {
    let problem = match &config.routes[..] {
        [] => Some("there is no route; add one".to_owned()),
        routes if routes.len() > MAX_ROUTES => {
            Some(format!("{} routes are more than {MAX_ROUTES}", routes.len()))
        }
        routes => routes.iter().find_map(route_problem),
    };
    match problem.or_else(|| limits_problem(&config.limits)) {
        Some(problem) => Err(io::Error::new(io::ErrorKind::InvalidInput, problem)),
        None => Ok(()),
    }
}

/// What tokens of the loop leave room for.
const MAX_ROUTES: usize = 65_000;

fn route_problem(route: &Route) -> Option<String> {
    if matches!(route.local, Local::Admin(_)) != (route.remote == Remote::Admin) {
        return Some(format!(
            "{} -> {}: an admin listener goes with the admin remote, and nothing else does",
            route.local, route.remote
        ));
    }
    if route.web.is_some() && !matches!(route.local, Local::WebSocket(_)) {
        return Some(format!("web is for a WebSocket listener, and {} is none", route.local));
    }
    let Messages { encoding, framing, allowed, .. } = route.messages;
    let fitting = framing.encodings();
    if !fitting.contains(encoding) || allowed.and(fitting) != allowed {
        return Some(format!("framing {framing} does not go with every encoding of its route"));
    }
    let names = match route.remote {
        Remote::Json => "a WebSocket message",
        Remote::Token(_) | Remote::Query => "the URL of a WebSocket request",
        _ => return None,
    };
    let is_websocket = matches!(route.local, Local::WebSocket(_));
    (!is_websocket).then(|| {
        format!("{} takes the target from {names}, and {} has none", route.remote, route.local)
    })
}

fn limits_problem(limits: &Limits) -> Option<String> {
    let Limits { buffer_size, max_memory, max_connections, max_head, max_headers, .. } = *limits;
    let within = |name: &str, n: usize, least: usize, most: usize| {
        (n < least || n > most).then(|| format!("{name} {n} is outside {least} to {most}"))
    };
    let rate = |name: &str, rate: Option<u64>| {
        (rate == Some(0)).then(|| format!("{name} is 0, at which nothing moves; None is no limit"))
    };
    within("buffer_size", buffer_size, 4 << 10, 16 << 20)
        .or_else(|| within("max_memory", max_memory, buffer_size, usize::MAX))
        .or_else(|| within("max_connections", max_connections, 1, 1_000_000))
        .or_else(|| within("max_head", max_head, 256, 1 << 20))
        .or_else(|| within("max_headers", max_headers, 1, 1024))
        .or_else(|| rate("rate_in", limits.rate_in))
        .or_else(|| rate("rate_out", limits.rate_out))
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::framing::Framing;

    #[test]
    fn a_configuration_that_cannot_be_served_is_refused() {
        let usual = Config::builder().local("127.0.0.1:0").remote("127.0.0.1:1").build().unwrap();
        config(&usual).unwrap();
        let changed = |change: fn(&mut Config)| {
            let mut changed = usual.clone();
            change(&mut changed);
            let error = config(&changed).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            error.to_string()
        };
        for (change, start) in [
            (|c| c.routes.clear(), "there is no route"),
            (|c| c.routes = vec![c.routes[0].clone(); MAX_ROUTES + 1], "65001 routes are"),
            (|c| c.routes[0].messages.framing = Framing::Ndjson, "framing ndjson does not go"),
            (|c| c.limits.buffer_size = 0, "buffer_size 0 is outside 4096 to"),
            (|c| c.limits.buffer_size = 1 << 30, "buffer_size 1073741824 is"),
            (|c| c.limits.max_memory = 4096, "max_memory 4096 is outside 262144 to"),
            (|c| c.limits.max_connections = 0, "max_connections 0 is"),
            (|c| c.limits.max_head = 0, "max_head 0 is"),
            (|c| c.limits.max_headers = 1025, "max_headers 1025 is"),
            (|c| c.limits.rate_in = Some(0), "rate_in is 0"),
            (|c| c.limits.rate_out = Some(0), "rate_out is 0"),
            (
                |c| {
                    c.routes[0].local = Local::Stream(c.routes[0].local.bind().clone());
                    c.routes[0].remote = Remote::Json;
                },
                "json: takes the target from a WebSocket message, and tcp://127.0.0.1:0 has none",
            ),
        ] as [(fn(&mut Config), &str); 12]
        {
            let error = changed(change);
            assert!(error.starts_with(start), "{error}");
        }
    }
}
