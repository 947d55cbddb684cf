//! The end of a connection in the books: counted, told and logged, once.

use log::Level;

use super::shown::{Behind, Quoted};
use super::{Connection, Shared};
use crate::net::events::Event;
use crate::proto::close::CloseCode;
use crate::session::ended::{By, Ended, Why};
use crate::stats::ConnectionStats;

impl Connection {
    /// It has ended, and has still to be forgotten.
    pub(super) fn record_end(&self, shared: &mut Shared) {
        let (ended, stats) = (self.cause(), self.stats(shared.now));
        if !self.asks_about_us() {
            self.count_end(ended, stats, shared);
        }
        let level = match ended.why {
            // What a peer can repeat at will without having reached a target.
            Why::Refused(_) | Why::NoRequest => Level::Debug,
            _ if self.link.page().is_some() => Level::Debug,
            _ => Level::Info,
        };
        let error = match ended.why {
            Why::Protocol(error) => error.to_string(),
            _ => self.link.told().to_owned(),
        };
        let client = ended.client.or_else(|| shared.clients.behind(self.id));
        let (client, error) = (Behind(client), Quoted(" error=", &error));
        log::log!(level, "{} closed {ended} {stats}{error}{client}", self.id);
    }

    /// The same for whoever counts connections or is told what happens to them.
    fn count_end(&self, ended: Ended, stats: ConnectionStats, shared: &mut Shared) {
        shared.stats.add_traffic(&stats);
        match ended.why {
            Why::Refused(status) => {
                shared.stats.refused.count(status);
                let why = self.link.told();
                shared.tell(|| Event::Refused { id: self.id, status, why: why.to_owned() });
            }
            _ => {
                match self.link.page() {
                    Some(status) => shared.stats.pages.count(status),
                    None => shared.stats.closed.count(ended.code, ended.by),
                }
                shared.tell(|| Event::Closed { id: self.id, why: ended, stats });
            }
        }
    }

    /// Every way to an end notes who took it, but for that of pages: a stop lets them go on, until the
    /// time to drain is over.
    fn cause(&self) -> Ended {
        let dropped =
            Ended { by: By::Proxy, why: Why::Shutdown, code: CloseCode::ABNORMAL, client: None };
        self.link.ended().unwrap_or(dropped)
    }
}
