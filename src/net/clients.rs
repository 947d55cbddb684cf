//! Who is behind a connection, where that is not its peer or is counted, and how many each has
//! (`--max-per-client`).
//!
//! Owns the counts. Empty, and never asked to allocate, while no option needs it.

use std::collections::BTreeMap;
use std::mem::size_of;
use std::net::{IpAddr, SocketAddr};

use super::event_loop::ACCEPTS_PER_VISIT;
use crate::config::Access;
use crate::policy::access::is_proxy;
use crate::policy::cidr::{canonical, Network};
use crate::stats::ConnectionId;

/// Connections of a client beyond its number that are told so at once; more are closed unheard, or
/// one client could fill the table with what awaits its answer. Whoever waits for each answer never
/// has as many: that they have ended is heard after each visit to a listener.
const REFUSED_AT_ONCE: usize = ACCEPTS_PER_VISIT;

/// Whether a client may have one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It may.
    Free,
    /// It is to be told that it may not.
    Refused,
    /// It has been told so too often.
    Unheard,
}

/// The clients of all connections.
#[derive(Debug)]
pub struct Clients {
    /// Connections that each may have.
    max: Option<usize>,
    counts: BTreeMap<IpAddr, Count>,
    known: BTreeMap<ConnectionId, Known>,
}

/// Gone when both are 0.
#[derive(Debug, Default)]
struct Count {
    served: usize,
    refused: usize,
}

#[derive(Debug)]
struct Known {
    client: IpAddr,
    /// A trusted proxy stands between.
    behind: bool,
    /// How it is counted, if it is.
    place: Option<Place>,
}

impl Clients {
    /// What one connection costs here at most, in trees whose nodes are half full or more.
    pub const BYTES: usize =
        2 * (size_of::<(ConnectionId, Known)>() + size_of::<(IpAddr, Count)>());

    /// Nobody yet; each may have `max` connections.
    pub fn new(max: Option<usize>) -> Self {
        Self { max, counts: BTreeMap::new(), known: BTreeMap::new() }
    }

    /// Somebody has connected. A trusted proxy will say later whose connection it is.
    pub fn arrive(&mut self, id: ConnectionId, peer: Option<SocketAddr>, access: &Access) -> Place {
        match peer.map(|peer| canonical(peer.ip())) {
            Some(peer) if self.max.is_some() && !is_proxy(access, peer) => {
                self.enter(id, peer, false)
            }
            _ => Place::Free,
        }
    }

    /// The proxy has said it.
    pub fn stand_behind(&mut self, id: ConnectionId, client: IpAddr) {
        self.leave(id);
        self.enter(id, client, true);
    }

    /// Whether a connection is to be served.
    pub fn place(&self, id: ConnectionId) -> Place {
        self.known.get(&id).and_then(|known| known.place).unwrap_or(Place::Free)
    }

    /// Who a connection is from, if a trusted proxy stands between.
    pub fn behind(&self, id: ConnectionId) -> Option<IpAddr> {
        self.known.get(&id).filter(|known| known.behind).map(|known| known.client)
    }

    /// A connection has ended.
    pub fn leave(&mut self, id: ConnectionId) {
        let Some(Known { client, place: Some(place), .. }) = self.known.remove(&id) else {
            return;
        };
        let network = network(client);
        let Some(count) = self.counts.get_mut(&network) else { return };
        match place {
            Place::Free => count.served -= 1,
            Place::Refused | Place::Unheard => count.refused -= 1,
        }
        if count.served + count.refused == 0 {
            self.counts.remove(&network);
        }
    }

    /// Counts a connection of that client, unless it is one too many to be heard.
    fn enter(&mut self, id: ConnectionId, client: IpAddr, behind: bool) -> Place {
        let place = self.max.map(|max| {
            let count = self.counts.entry(network(client)).or_default();
            if count.served < max {
                count.served += 1;
                return Place::Free;
            }
            // Who is behind a proxy has been heard already.
            if count.refused < REFUSED_AT_ONCE || behind {
                count.refused += 1;
                return Place::Refused;
            }
            Place::Unheard
        });
        if place != Some(Place::Unheard) {
            self.known.insert(id, Known { client, behind, place });
        }
        place.unwrap_or(Place::Free)
    }
}

/// Whoever has an address in a network of 64 bits has all of them (RFC 4291 §2.5.1, RFC 6177).
fn network(client: IpAddr) -> IpAddr {
    match canonical(client) {
        ip @ IpAddr::V4(_) => ip,
        ip @ IpAddr::V6(_) => Network::around(ip, 64).map_or(ip, |net| net.base()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(slot: u32) -> ConnectionId {
        ConnectionId { slot, generation: 7 }
    }

    fn from(ip: &str) -> Option<SocketAddr> {
        Some(SocketAddr::new(ip.parse().expect(ip), 4242))
    }

    fn behind(proxies: &[&str]) -> Access {
        let proxies = proxies.iter().map(|net| net.parse().expect(net)).collect();
        Access { proxies, ..Access::default() }
    }

    #[test]
    fn nobody_is_counted_unless_asked_for() {
        let mut clients = Clients::new(None);
        for slot in 0..100 {
            assert_eq!(clients.arrive(id(slot), from("10.0.0.1"), &behind(&[])), Place::Free);
        }
        assert!(clients.known.is_empty() && clients.counts.is_empty());
        clients.stand_behind(id(1), "192.0.2.7".parse().unwrap());
        assert_eq!(clients.behind(id(1)).map(|ip| ip.to_string()), Some("192.0.2.7".into()));
        assert_eq!((clients.behind(id(2)), clients.place(id(1))), (None, Place::Free));
        clients.leave(id(1));
        assert!(clients.known.is_empty() && clients.counts.is_empty());
    }

    #[test]
    fn each_client_has_its_number_and_gets_it_back() {
        let (mut clients, anyone) = (Clients::new(Some(2)), behind(&[]));
        for (slot, peer, place) in [
            (0, "10.0.0.1", Place::Free),
            (1, "::ffff:10.0.0.1", Place::Free),
            (2, "10.0.0.1", Place::Refused),
            (3, "10.0.0.2", Place::Free),
            (4, "2001:db8:0:1::1", Place::Free),
            (5, "2001:db8:0:1:ffff::2", Place::Free),
            (6, "2001:db8:0:1:8000::3", Place::Refused),
            (7, "2001:db8:0:2::1", Place::Free),
        ] {
            assert_eq!(clients.arrive(id(slot), from(peer), &anyone), place, "{slot}");
            assert_eq!(clients.place(id(slot)), place, "{slot}");
        }
        clients.leave(id(2));
        assert_eq!(clients.arrive(id(8), from("10.0.0.1"), &anyone), Place::Refused);
        clients.leave(id(0));
        clients.leave(id(0));
        assert_eq!(clients.arrive(id(9), from("10.0.0.1"), &anyone), Place::Free);
        assert_eq!(clients.arrive(id(10), from("10.0.0.1"), &anyone), Place::Refused);
        (0..=10).for_each(|slot| clients.leave(id(slot)));
        assert!(clients.known.is_empty() && clients.counts.is_empty());
        assert_eq!(clients.arrive(id(11), None, &anyone), Place::Free);
        assert!(clients.known.is_empty());
    }

    #[test]
    fn who_goes_on_in_spite_of_refusals_is_not_heard() {
        let (mut clients, anyone) = (Clients::new(Some(1)), behind(&[]));
        let mut arrive = |slot| clients.arrive(id(slot), from("10.0.0.1"), &anyone);
        assert_eq!(arrive(0), Place::Free);
        for slot in 1..=REFUSED_AT_ONCE as u32 {
            assert_eq!(arrive(slot), Place::Refused);
        }
        assert_eq!(arrive(900), Place::Unheard);
        clients.leave(id(900));
        assert_eq!(clients.arrive(id(901), from("10.0.0.1"), &anyone), Place::Unheard);
        clients.leave(id(1));
        assert_eq!(clients.arrive(id(902), from("10.0.0.1"), &anyone), Place::Refused);
    }

    #[test]
    fn who_stands_behind_a_proxy_is_counted_in_its_place() {
        let (mut clients, access) = (Clients::new(Some(1)), behind(&["10.0.0.0/8"]));
        let client = "192.0.2.7".parse().unwrap();
        let many = 2 * REFUSED_AT_ONCE as u32;
        for slot in 0..many {
            assert_eq!(clients.arrive(id(slot), from("10.0.0.1"), &access), Place::Free);
        }
        assert!(clients.counts.is_empty());
        for slot in 0..many {
            clients.stand_behind(id(slot), client);
            let place = if slot == 0 { Place::Free } else { Place::Refused };
            assert_eq!(clients.place(id(slot)), place, "{slot}");
        }
        clients.stand_behind(id(0), client);
        assert_eq!(clients.place(id(0)), Place::Free);
        assert_eq!(clients.arrive(id(many), from("192.0.2.7"), &access), Place::Unheard);
        (0..many).for_each(|slot| clients.leave(id(slot)));
        assert!(clients.known.is_empty() && clients.counts.is_empty());
    }
}
