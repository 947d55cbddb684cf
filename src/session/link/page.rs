//! A link that answers a request for a page: leg 1 is the page, and leg 0 has said all it has to
//! say.
//!
//! What leg 0 says from then on is read and dropped to its end, since closing a socket with unread
//! bytes sends RST, which can destroy the page on its way.

use std::net::IpAddr;

use super::{Context, Link, Relayed, Stage, Step};
use crate::admin::Inquiry;
use crate::policy::page::Visit;
use crate::session::deadlines::Deadline;
use crate::session::leg::{Codec, Leg, Reading, Writing};
use crate::session::page::Page;
use crate::session::rates::Rates;

/// Who waits for a page.
#[derive(Debug)]
pub(super) struct Asker {
    /// Who that is, where a trusted proxy has said so.
    pub client: Option<IpAddr>,
    /// What is asked, where that is about the proxy.
    inquiry: Option<Inquiry>,
}

impl Link {
    /// The HTTP status of the page that leg 1 is; `None` if it is none.
    pub fn page(&self) -> Option<u16> {
        match &self.legs[1].codec {
            Codec::Page(page) => Some(page.status),
            _ => None,
        }
    }

    /// Leg 0 has asked for a page, which is to be found now.
    pub(super) fn expect_page(&mut self, visit: Visit) -> Step {
        self.await_page(Asker { client: visit.client, inquiry: None });
        Step::Serve(Box::new(visit))
    }

    /// The same of an answer about the proxy.
    pub(super) fn expect_answer(&mut self, inquiry: Inquiry) -> Step {
        self.await_page(Asker { client: None, inquiry: Some(inquiry) });
        Step::Inform(inquiry)
    }

    fn await_page(&mut self, asker: Asker) {
        self.legs[0].codec = Codec::Raw;
        self.stage = Stage::Page(Box::new(asker));
    }

    /// What is asked about the proxy, until that is answered.
    pub fn inquiry(&self) -> Option<Inquiry> {
        match &self.stage {
            Stage::Page(asker) => asker.inquiry,
            _ => None,
        }
    }

    /// The page is found: `len` bytes, behind a head with that status which goes to leg 0 first.
    pub fn begin_page(&mut self, status: u16, len: u64, ctx: &mut Context) {
        let rates = Rates::new(ctx.limits);
        let relayed = rates.map(|rates| Box::new(Relayed { named: None, rates: Some(rates) }));
        self.stage = Stage::Relay(relayed);
        self.legs[0].reading = Reading::Discarding;
        let codec = Codec::Page(Box::new(Page::new(status, len)));
        self.legs[1] = Leg { writing: Writing::Shut, ..Leg::new(codec) };
        self.deadlines.clear(Deadline::Handshake);
        self.on_payload(ctx);
    }
}
