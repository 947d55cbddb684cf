//! A request to the target that is dialled for it.
//!
//! Owns who may name a target, and where a route leads. Never dials, never looks a name up: every
//! address that a named target resolves to is to be held against [`check`], and dialled as it was
//! checked.

use std::fmt;
use std::net::IpAddr;

use super::admit::{Refusal, Status};
use super::credentials::Credentials;
use super::rules::Denied;
use crate::config::{HostPort, Remote, Route, UnixName, WebSocketUrl};
use crate::proto::connect::ConnectRequest;

/// What is dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Nothing: whoever asks is the target.
    Echo,
    /// A unix stream socket.
    Unix(UnixName),
    /// Over TCP.
    Tcp(HostPort),
}

/// Where a route leads for somebody who asked for `request`, if the route lets them. `users` are
/// those who may ask, `None` for everybody.
///
/// # Errors
/// Who is told so: an unknown user, or one who names what no rule could allow.
pub fn target(
    route: &Route,
    request: Option<&ConnectRequest>,
    users: Option<&Credentials>,
) -> Result<Target, TargetError> {
    if let (Some(request), Some(users)) = (request, users) {
        let known = request.credentials.as_deref().is_some_and(|shown| users.accepts(shown));
        if !known {
            return Err(TargetError::UnknownUser);
        }
    }
    match &route.remote {
        Remote::Echo => Ok(Target::Echo),
        Remote::Unix(name) => Ok(Target::Unix(name.clone())),
        Remote::Tcp(target) | Remote::WebSocket(WebSocketUrl { target, .. }) => {
            Ok(Target::Tcp(target.clone()))
        }
        Remote::Connect => {
            let named = &request.ok_or(TargetError::Unnamed)?.target;
            route.rules.may_allow(named)?;
            Ok(Target::Tcp(named.clone()))
        }
    }
}

/// Decides on an address of a target that was named, before it is dialled.
///
/// # Errors
/// No rule of the route allows it.
pub fn check(route: &Route, named: Option<&HostPort>, ip: IpAddr) -> Result<(), Denied> {
    match (&route.remote, named) {
        (Remote::Connect, Some(named)) => route.rules.check(named, ip),
        _ => Ok(()),
    }
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
