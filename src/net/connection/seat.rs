//! Among whom a connection counts, and whether there is a place for it.

use super::{Connection, Shared};
use crate::net::clients::Place;
use crate::policy::admit::{Refusal, Status};

/// Among whom a connection counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seat {
    /// Nobody: there is no place for it.
    None,
    /// `--max-connections`
    Admitted,
    /// Nobody, since it came to ask about the proxy.
    Asking,
    /// Those who are answered at some length at once.
    Informed {
        /// KiB of the answer that were not taken at once.
        kept: u16,
    },
}

impl Connection {
    /// Why there is no place for it, if there is none. From here on it counts as the connection of
    /// whoever a trusted proxy has passed on.
    pub(super) fn lacks_place(&mut self, shared: &mut Shared) -> Option<Refusal> {
        if let Some(client) = self.link.client() {
            shared.clients.stand_behind(self.id, client);
        }
        let reason = match shared.clients.place(self.id) {
            Place::Free if self.seat == Seat::Admitted => return None,
            Place::Free => "the proxy serves as many connections as it may; try again later",
            Place::Refused | Place::Unheard => {
                "your address has as many connections as one may; end one, or try again later"
            }
        };
        Some(Refusal::new(Status::Unavailable, reason))
    }

    /// From now on it does not count among those there are at most.
    pub(super) fn give_place_up(&mut self, shared: &mut Shared) {
        self.seat = match self.seat {
            Seat::Admitted => {
                shared.admitted -= 1;
                Seat::None
            }
            Seat::Informed { kept } => {
                shared.informed -= 1;
                shared.untold -= usize::from(kept);
                Seat::Asking
            }
            seat => seat,
        };
    }

    /// Whether it asks about the proxy: then it counts nowhere.
    pub fn asks_about_us(&self) -> bool {
        matches!(self.seat, Seat::Asking | Seat::Informed { .. })
    }
}
