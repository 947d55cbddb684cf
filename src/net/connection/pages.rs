//! From a request for a page to the page, or to a refusal.

use std::io::{self, Seek, SeekFrom};

use log::debug;

use super::{send, Connection, Shared};
use crate::net::end::End;
use crate::net::files::Found;
use crate::net::transport::Transport;
use crate::policy::admit::{Refusal, Status};
use crate::policy::page::{Page, Visit};

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

    fn begin_page(&mut self, page: &Page, source: Option<Transport>, shared: &mut Shared) {
        self.ends[1] = End::inexhaustible(source);
        let (_, mut ctx) = shared.split();
        self.link.begin_page(page.status, page.body.end - page.body.start, &mut ctx);
        send(&mut self.link, &mut self.ends[0], 0, &page.head, &mut ctx);
    }
}
