//! What is known when somebody asks to be let in: what the route says, and who asks.

use std::net::SocketAddr;

use super::credentials::Credentials;
use super::tokens::Tokens;
use crate::config::Route;

/// What the files of a route say.
#[derive(Debug, Default)]
pub struct Secrets {
    /// What our requests are authorized with.
    pub ours: Option<Credentials>,
    /// Who may use a `connect://` listener.
    pub users: Option<Credentials>,
    /// The users one of which a request for a WebSocket must show.
    pub basic: Option<Credentials>,
    /// The same by token.
    pub bearer: Option<Credentials>,
    /// Where tokens lead.
    pub tokens: Option<Tokens>,
}

impl Secrets {
    /// Whether there are any.
    pub fn are_there(&self) -> bool {
        let files = [&self.ours, &self.users, &self.basic, &self.bearer];
        files.into_iter().any(Option::is_some) || self.tokens.is_some()
    }
}

/// The terms on which a request is judged.
#[derive(Debug, Clone, Copy)]
pub struct Gate<'a> {
    /// What the route says.
    pub route: &'a Route,
    /// What its files say.
    pub secrets: &'a Secrets,
    /// Whoever connected. `None` over a unix socket, or where nobody is judged any more.
    pub client: Option<SocketAddr>,
}
