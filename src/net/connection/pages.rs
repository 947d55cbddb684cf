//! From a request for a page, or for what the proxy knows of itself, to the answer.

use std::io::{self, Seek, SeekFrom};

use log::debug;

use super::{send, Connection, Seat, Shared};
use crate::admin::{Inquiry, Knowledge, Topic};
use crate::net::end::End;
use crate::net::files::Found;
use crate::net::inquiry::{Answer, Question};
use crate::net::transport::Transport;
use crate::policy::admit::{Refusal, Status};
use crate::policy::page::{Page, Visit};

/// Answers of some length about the proxy that are under way at once. Each is made as a whole, and waits in memory
/// for somebody who may read slowly.
const INFORMED_AT_ONCE: usize = 8;

/// How much of `--max-memory` those who read slowly may fill with answers until no other list of all
/// connections is made: the rest is for the connections.
const UNTOLD_SHARE: usize = 4;

impl Connection {
    /// A page is asked for. What came behind the request means nothing: one is answered.
    pub(super) fn serve_page(&mut self, visit: &Visit, shared: &mut Shared) {
        shared.hot.drop_input();
        if let Some(refusal) = self.lacks_place(shared) {
            return self.refuse(&visit.refused(refusal.status, &refusal.reason), shared);
        }
        match self.find_page(visit, shared) {
            Ok((page, source)) => self.begin_page(&page, source, shared),
            Err(refusal) => self.refuse(&refusal, shared),
        }
    }

    /// The page, and where its body comes from.
    fn find_page(
        &self,
        visit: &Visit,
        shared: &Shared,
    ) -> Result<(Page, Option<Transport>), Refusal> {
        let missing = || visit.refused(Status::NotFound, "there is no such page here");
        let name = visit.file();
        let root = shared.roots[self.route()].as_ref().ok_or_else(missing)?;
        match root.find(&name) {
            Ok(Found::Directory) if visit.path.is_directory() => Err(missing()),
            Ok(Found::Directory) => Ok((visit.directory(), None)),
            Ok(Found::File(mut file, facts)) => {
                let page = visit.found(&name, facts);
                if page.body.is_empty() {
                    return Ok((page, None));
                }
                match file.seek(SeekFrom::Start(page.body.start)) {
                    Ok(_) => Ok((page, Some(Transport::File(file)))),
                    Err(error) => Err(self.unreadable(visit, &error)),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(missing()),
            Err(error) => Err(self.unreadable(visit, &error)),
        }
    }

    fn unreadable(&self, visit: &Visit, error: &io::Error) -> Refusal {
        debug!("{} cannot open {:?}: {error}", self.id, visit.path.names());
        match error.kind() {
            io::ErrorKind::PermissionDenied => {
                visit.refused(Status::Forbidden, "the proxy may not read this page")
            }
            _ => {
                let reason = "the proxy cannot open this page now; try again later";
                visit.refused(Status::Unavailable, reason)
            }
        }
    }

    /// What the proxy knows is asked for.
    pub(super) fn inform(&mut self, inquiry: Inquiry, shared: &mut Shared) {
        shared.hot.drop_input();
        let question = match inquiry.topic {
            // A few words, whoever reads them how slowly.
            Topic::Health | Topic::Version => {
                return self.tell(inquiry, Knowledge::Nothing, shared)
            }
            Topic::Metrics => Question::Stats,
            Topic::Connections => Question::Connections,
        };
        if shared.informed >= INFORMED_AT_ONCE {
            let reason = "many others are being answered; try again later";
            return self.refuse(&inquiry.refused(Status::Unavailable, reason), shared);
        }
        shared.informed += 1;
        self.seat = Seat::Informed { kept: 0 };
        shared.questions.push((self.id, question));
    }

    /// It is known now.
    pub(super) fn pass_answer_on(&mut self, answer: &Answer, shared: &mut Shared) {
        let Some(inquiry) = self.link.inquiry() else { return };
        let knowledge = match answer {
            Answer::Stats(stats) => Knowledge::Stats(stats),
            Answer::Connections(_)
                if shared.untold >= (shared.limits.max_memory >> 10) / UNTOLD_SHARE =>
            {
                let reason = "others read such lists too slowly; try again later";
                return self.refuse(&inquiry.refused(Status::Unavailable, reason), shared);
            }
            Answer::Connections(all) => Knowledge::Connections(all),
        };
        self.tell(inquiry, knowledge, shared);
        let kept = u16::try_from(self.link.buffered() >> 10).unwrap_or(u16::MAX);
        self.seat = Seat::Informed { kept };
        shared.untold += usize::from(kept);
    }

    /// The answer goes out as a head alone: what is not taken at once waits like any other bytes.
    fn tell(&mut self, inquiry: Inquiry, knowledge: Knowledge, shared: &mut Shared) {
        if let Some(head) = inquiry.answer(knowledge) {
            self.begin_page(&Page { status: 200, head, body: 0..0 }, None, shared);
        }
    }

    fn begin_page(&mut self, page: &Page, source: Option<Transport>, shared: &mut Shared) {
        self.ends[1] = End::inexhaustible(source);
        let (_, mut ctx) = shared.split();
        self.link.begin_page(page.status, page.body.end - page.body.start, &mut ctx);
        send(&mut self.link, &mut self.ends[0], 0, &page.head, &mut ctx);
    }
}
