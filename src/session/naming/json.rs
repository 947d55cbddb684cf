//! A WebSocket whose first message, in JSON, says where it wants to go.
//!
//! Owns that message while it is not complete. What it means is the business of
//! [`crate::policy::json_target`].

pub use crate::policy::json_target::{connected, greeting, refused};

use crate::config::{Destination, Limits};
use crate::policy::json_target::{parse, JsonTargetError};
use crate::proto::message::Kind;
use crate::session::opening::Head;

/// A message under way.
#[derive(Debug, Default)]
pub struct Naming(Head);

impl Naming {
    /// How much more may be read.
    pub fn read_limit(&self, limits: &Limits) -> usize {
        self.0.read_limit(limits)
    }

    /// Takes a piece of the message. `None` asks for more of it.
    pub fn on_piece(
        &mut self,
        bytes: &[u8],
        kind: Kind,
        ends: bool,
        limits: &Limits,
    ) -> Option<Result<Destination, JsonTargetError>> {
        let most = limits.max_head;
        match (kind, ends) {
            (Kind::Binary, _) => Some(Err(JsonTargetError::NotText)),
            // What came in one read is looked at where it lies.
            (Kind::Text, true) if self.0.is_empty() => Some(parse(bytes, most)),
            (Kind::Text, _) => {
                self.0.keep(bytes, limits);
                let is_whole = ends || self.0.as_slice().len() > most;
                is_whole.then(|| parse(self.0.as_slice(), most))
            }
        }
    }
}
