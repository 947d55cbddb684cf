//! The target that a request for a WebSocket names by its URL.
//!
//! Owns where in the URL it stands, for `token:` and `query:`. Whether it may be dialled is decided
//! by [`super::target`], which goes by rules, and by the addresses that a name leads to.
//!
//! | remote | the target is |
//! |---|---|
//! | `token:` | what the file has for `?token=NAME`, or else for the last segment of the path |
//! | `query:` | `?target=host:port`, or `?address=host:port` as Neon's serverless driver has it |
//!
//! `unix:/path` and `unix:@name` are targets too.
//!
//! A parameter that stands there twice is refused: what reads the URL in front of us may go by the
//! other one.

use std::borrow::Cow;

use super::admit::{Refusal, Status};
use super::gate::Gate;
use super::unix::unix_name;
use crate::config::{Destination, HostPort, Remote};
use crate::proto::handshake::Request;
use crate::proto::percent;

/// The target that `request` names. `None` where that is not its business, or comes later.
///
/// # Errors
/// 404 for a token that is unknown or missing, 400 for a target that is missing or malformed.
pub fn named(request: &Request, gate: Gate) -> Result<Option<Destination>, Refusal> {
    match &gate.route.remote {
        Remote::Token(_) => by_token(request, gate).map(Some),
        Remote::Query => by_query(request).map(Some),
        _ => Ok(None),
    }
}

/// Nothing that a refusal says tells tokens apart, and none repeats one.
fn by_token(request: &Request, gate: Gate) -> Result<Destination, Refusal> {
    let segment = || request.path.rsplit('/').next().and_then(percent::decode);
    let token = parameter(request, "token")?.or_else(segment).unwrap_or_default();
    let target = gate.secrets.tokens.as_ref().and_then(|tokens| tokens.get(&token));
    target.cloned().ok_or_else(|| {
        let reason = match token.is_empty() {
            true => "no token in the URL; write it like ws://HOST/?token=NAME",
            false => "unknown token; it stands in ?token=NAME, or is the last part of the path",
        };
        Refusal::new(Status::NotFound, reason)
    })
}

fn by_query(request: &Request) -> Result<Destination, Refusal> {
    let bad = |problem: String| {
        let reason = format!("{problem}; write it like ws://HOST/?target=host:port");
        Refusal::new(Status::BadRequest, reason)
    };
    match (parameter(request, "target")?, parameter(request, "address")?) {
        (Some(_), Some(_)) => Err(bad("the URL has both target= and address=".into())),
        (Some(text), None) | (None, Some(text)) => destination(&text).map_err(bad),
        (None, None) => Err(bad("no target in the URL".into())),
    }
}

fn parameter<'a>(request: &Request<'a>, name: &str) -> Result<Option<Cow<'a, str>>, Refusal> {
    if percent::is_repeated(request.query, name) {
        let reason = format!("{name}= stands in the URL more than once; write it once");
        return Err(Refusal::new(Status::BadRequest, reason));
    }
    percent::query_value(request.query, name)
        .map_err(|error| Refusal::new(Status::BadRequest, format!("{name}= in the URL: {error}")))
}

/// `host:port`, `unix:/path` or `unix:@name`, as strictly as rules compare them.
fn destination(text: &str) -> Result<Destination, String> {
    match text.strip_prefix("unix:") {
        Some(name) => unix_name(name).map(Destination::Unix).map_err(|error| error.to_string()),
        None => HostPort::parse(text).map(Destination::Tcp).map_err(|error| error.to_string()),
    }
}
