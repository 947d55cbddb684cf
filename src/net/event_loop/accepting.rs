//! Who is waiting at the listeners, and how many of them are let in.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use log::{debug, warn};

use super::Proxy;
use crate::config::Local;
use crate::net::clients::Place;
use crate::net::connection::{Connection, Seat};
use crate::net::events::Event;
use crate::net::sys;
use crate::stats::ConnectionId;

/// Connections accepted in one visit to a listener.
pub const ACCEPTS_PER_VISIT: usize = 64;

/// Connections beyond `--max-connections` that are told so at once; more wait in the backlog.
const REFUSED_AT_ONCE: usize = 64;

/// Connections at `--admin` at once; more wait in the backlog. They are apart from all others, so that
/// neither keeps the other out.
const ASKING_AT_ONCE: usize = 64;

/// How soon to accept again after descriptors ran out, if none is freed before.
const ACCEPT_RETRY: Duration = Duration::from_secs(1);

impl Proxy {
    pub(super) fn accept_all(&mut self) {
        if self.stops_at.is_some() || self.accept_again.is_some_and(|at| at > self.shared.now) {
            return;
        }
        self.accept_again = None;
        for index in 0..self.listeners.len() {
            for _ in 0..ACCEPTS_PER_VISIT {
                if !self.may_accept(index) {
                    break;
                }
                self.accept(index);
            }
        }
    }

    pub(super) fn may_accept(&self, index: usize) -> bool {
        let has_room = match self.is_for_askers(index) {
            true => self.asking < ASKING_AT_ONCE,
            false => self.table.len() - self.asking < self.max_connections + REFUSED_AT_ONCE,
        };
        self.listeners[index].ready && self.accept_again.is_none() && has_room
    }

    fn is_for_askers(&self, index: usize) -> bool {
        matches!(self.routes[index].local, Local::Admin(_))
    }

    fn accept(&mut self, index: usize) {
        let listener = &mut self.listeners[index];
        let (transport, peer) = match listener.accept() {
            Ok(accepted) => accepted,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                listener.ready = false;
                return;
            }
            Err(error) if sys::is_exhaustion(&error) => {
                self.accept_again = Some(self.shared.now + ACCEPT_RETRY);
                if let Some(more) = self.exhaustion.say(self.shared.now) {
                    warn!("cannot accept: {error}; raise the limit of open files{more}");
                    let what = format!("cannot accept: {error}");
                    self.shared.tell(|| Event::Error { id: None, what });
                }
                return;
            }
            // Who was waiting has gone, or the network had an error for it (accept(2)).
            Err(error) => return debug!("accept: {error}"),
        };
        let id = self.table.next_id();
        let Some(seat) = self.seat(id, peer, index) else {
            self.shared.stats.unheard += 1;
            return debug!("a connection too many of its client is closed");
        };
        let route = (index, &self.routes[index]);
        match Connection::accepted(transport, id, route, seat, &mut self.shared) {
            Ok(connection) => {
                match peer {
                    Some(peer) => debug!("{} accepted peer={peer}", id),
                    None => debug!("{} accepted", id),
                }
                self.shared.admitted += usize::from(seat == Seat::Admitted);
                self.table.insert(connection);
                if seat == Seat::Asking {
                    self.asking += 1;
                } else {
                    self.shared.stats.accepted += 1;
                    self.shared.tell(|| Event::Opened { id, peer, route: index });
                }
                self.visit(id, Connection::begin);
            }
            Err(error) => {
                self.shared.clients.leave(id);
                warn!("cannot watch a connection: {error}");
                let what = format!("cannot watch a connection: {error}");
                self.shared.tell(|| Event::Error { id: None, what });
            }
        }
    }

    /// Among whom a connection counts; `None` if its client has so many that it is not even told.
    fn seat(&mut self, id: ConnectionId, peer: Option<SocketAddr>, index: usize) -> Option<Seat> {
        if self.is_for_askers(index) {
            return Some(Seat::Asking);
        }
        match self.shared.clients.arrive(id, peer, &self.routes[index].access) {
            Place::Unheard => None,
            Place::Free
                if self.shared.admitted < self.max_connections && !self.shared.pool.is_full() =>
            {
                Some(Seat::Admitted)
            }
            Place::Free | Place::Refused => Some(Seat::None),
        }
    }
}
