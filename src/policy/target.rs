//! A request to the target that is dialled for it.
//!
//! Owns who may name a target, and where a route leads. Never dials, never looks a name up: every
//! address that a named target resolves to is to be held against [`check`], and dialled as it was
//! checked.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::admit::{Refusal, Status};
use super::credentials::Credentials;
use super::rules::Denied;
use crate::config::{Destination, Remote, Route, WebSocketUrl};

/// Where a route leads for somebody who has `named` a target and `shown` a user's credentials, if
/// the route lets them. `None` is an echo: whoever asks is the target. So is
/// it where nothing is ever dialled. `users` are those who may
/// ask, `None` for everybody.
///
/// # Errors
/// Who is told so: an unknown user, or one who names what no rule could allow.
pub fn target(
    route: &Route,
    named: Option<&Destination>,
    shown: Option<&[u8]>,
    users: Option<&Credentials>,
) -> Result<Option<Destination>, TargetError> {
    if users.is_some_and(|users| !shown.is_some_and(|shown| users.accepts(shown))) {
        return Err(TargetError::UnknownUser);
    }
    Ok(Some(match &route.remote {
        Remote::Echo | Remote::Admin => return Ok(None),
        Remote::Unix(name) => Destination::Unix(name.clone()),
        Remote::Tcp(target) | Remote::WebSocket(WebSocketUrl { target, .. }) => {
            Destination::Tcp(target.clone())
        }
        Remote::Connect | Remote::Json | Remote::Token(_) | Remote::Query => {
            let named = named.ok_or(TargetError::Unnamed)?;
            may_allow(route, named)?;
            named.clone()
        }
    }))
}

/// Whether `named` may lead anywhere, asked before it is looked up.
fn may_allow(route: &Route, named: &Destination) -> Result<(), Denied> {
    match named {
        Destination::Tcp(_) if is_listed(route) => Ok(()),
        Destination::Tcp(named) => route.rules.may_allow(named),
        Destination::Unix(named) if is_listed(route) => route.rules.check_unix_denied(named),
        Destination::Unix(named) => route.rules.check_unix(named),
    }
}

/// Whether a target is allowed by standing in the file that names it: whoever connects has chosen
/// a line that the operator wrote.
fn is_listed(route: &Route) -> bool {
    matches!(route.remote, Remote::Token(_)) && route.rules.is_empty()
}

/// Decides on an address of a target that was named, before it is dialled.
///
/// # Errors
/// No rule of the route allows it.
pub fn check(route: &Route, named: Option<&Destination>, ip: IpAddr) -> Result<(), Denied> {
    match named {
        Some(Destination::Tcp(named)) if is_listed(route) => route.rules.check_denied(named, ip),
        Some(Destination::Tcp(named)) if route.remote.is_named_by_peer() => {
            route.rules.check(named, ip)
        }
        _ => Ok(()),
    }
}

/// Decides on what one lookup has answered. Those of the addresses that come out well are to be
/// dialled as they are: a second lookup may say something else.
pub fn checked<'a>(
    route: &'a Route,
    named: Option<&'a Destination>,
    addresses: &'a [SocketAddr],
) -> impl Iterator<Item = Result<SocketAddr, Denied>> + 'a {
    addresses.iter().map(move |address| check(route, named, address.ip()).map(|()| *address))
}

/// Why nothing is dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetError {
    /// Nobody has named the target.
    Unnamed,
    /// No credentials, or none of those in the route's file.
    UnknownUser,
    /// The rules do not allow it.
    Denied(Denied),
}

impl From<Denied> for TargetError {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unnamed => f.write_str("no target was named"),
            Self::UnknownUser => f.write_str("no Proxy-Authorization that is in the users' file"),
            Self::Denied(denied) => denied.fmt(f),
        }
    }
}

impl std::error::Error for TargetError {}

/// What whoever asks is told; which rule it was is the operator's business.
impl From<&TargetError> for Refusal {
    fn from(error: &TargetError) -> Self {
        match error {
            TargetError::Unnamed => Self::new(Status::BadRequest, "no target was named"),
            TargetError::UnknownUser => Self::new(
                Status::ProxyAuthRequired,
                "this proxy asks for a user name and a password",
            ),
            TargetError::Denied(_) => Self::new(
                Status::Forbidden,
                "this target is not allowed; ask whoever runs the proxy for an --allow rule",
            ),
        }
    }
}
