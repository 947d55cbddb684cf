//! From a good request to a target that is there, or to a refusal: `net/connection/dialling.rs`
//! without addresses and names.

use ws_tcp_proxy::policy::admit::{Refusal, Status};
use ws_tcp_proxy::proto::response::ClientRequest;
use ws_tcp_proxy::session::link::{Far, Names, Opened, Reached};

use super::Driver;
use crate::end::{send, End};
use crate::model::Shape;

impl Driver {
    /// The attempt to reach the target has come to an end.
    pub fn on_dialled(&mut self, answer: Result<(), Status>) {
        if !self.link.is_dialling() {
            return;
        }
        match answer {
            Ok(()) if self.sockets[1].has_failed() => self.give_up(Status::BadGateway),
            Ok(()) => {
                // One event may say that the target is there, has spoken, and has ended.
                self.on_event(1);
                self.on_connected();
            }
            Err(status) => self.give_up(status),
        }
        self.serve();
        self.schedule();
    }

    // As in the original.

    pub(super) fn admit(&mut self, names: Names) {
        if !self.fate.admitted {
            return self.refuse(&busy());
        }
        let (_, gate, mut ctx) = self.shared.split();
        let response = self.link.admit(names, &gate.route.messages, &mut ctx);
        self.model.on_admitted(&response);
        let (end, socket) = (&mut self.ends[0], &mut self.sockets[0]);
        send(&mut self.link, end, socket, 0, &response, &mut ctx);
    }

    pub(super) fn start_dial(&mut self) {
        if !self.fate.admitted {
            return self.refuse(&busy());
        }
        self.unread = Some(self.shared.hot.input().to_vec());
        self.shared.hot.drop_input();
        match self.fate.denied {
            Some(status) => self.give_up(status),
            None if self.setup.shape == Shape::Echo => self.on_connected(),
            None => {}
        }
    }

    pub(super) fn on_dial_timeout(&mut self) {
        self.addresses -= 1;
        if self.addresses == 0 {
            return self.give_up(Status::GatewayTimeout);
        }
        self.link.set_dial_deadline(self.shared.now + self.shared.limits.connect_timeout);
    }

    fn on_connected(&mut self) {
        if self.unread.is_none() {
            return;
        }
        self.ends[1].open = self.setup.shape != Shape::Echo;
        for end in &mut self.ends {
            (end.readable, end.writable) = (true, true);
        }
        let far = match self.setup.shape {
            Shape::Echo => Far::Echo,
            Shape::Server | Shape::Plain => Far::Raw,
            Shape::Client => {
                let nonce = self.shared.keys.nonce();
                Far::WebSocket(ClientRequest::new("server.example.com", "/chat", &[], &[], nonce))
            }
        };
        let (_, gate, mut ctx) = self.shared.split();
        match self.link.on_connected(far, &gate.route.messages, &mut ctx) {
            Reached::Open(opened) => {
                self.on_open(opened);
                self.relay_unread();
            }
            Reached::Asked(request) => {
                self.model.on_asked(&request);
                let (end, socket) = (&mut self.ends[1], &mut self.sockets[1]);
                send(&mut self.link, end, socket, 1, &request, &mut ctx);
            }
        }
    }

    pub(super) fn on_open(&mut self, opened: Opened) {
        self.model.on_connected(&opened.head);
        let (_, _, mut ctx) = self.shared.split();
        let (end, socket) = (&mut self.ends[0], &mut self.sockets[0]);
        send(&mut self.link, end, socket, 0, &opened.head, &mut ctx);
        if opened.first.is_empty() {
            return;
        }
        let input = self.shared.hot.input().to_vec();
        for (side, bytes) in opened.first {
            let (hot, _, ctx) = self.shared.split();
            let limit = self.link.read_limit(1 - side, hot.size(), &ctx);
            for part in bytes.chunks(limit) {
                let (hot, _, mut ctx) = self.shared.split();
                self.link.say(side, part, hot, &mut ctx);
                self.deliver(side);
            }
        }
        self.shared.hot.fill(input.len()).copy_from_slice(&input);
        self.shared.hot.commit(input.len());
    }

    pub(super) fn relay_unread(&mut self) {
        let Some(unread) = self.unread.take() else { return };
        let (hot, _, ctx) = self.shared.split();
        let limit = self.link.read_limit(0, hot.size(), &ctx);
        for part in unread.chunks(limit) {
            self.shared.hot.fill(part.len()).copy_from_slice(part);
            self.shared.hot.commit(part.len());
            self.relay(0);
        }
    }

    pub(super) fn give_up(&mut self, status: Status) {
        self.refuse(&Refusal::new(status, "the target cannot be had"));
    }

    fn refuse(&mut self, refusal: &Refusal) {
        self.model.on_refused(refusal.status);
        let (hot, _, mut ctx) = self.shared.split();
        self.link.refuse(refusal, hot, &mut ctx);
        self.abandon_dial();
        self.deliver(0);
    }

    pub(super) fn abandon_dial(&mut self) {
        if self.unread.take().is_some() {
            self.ends[1] = End::default();
        }
    }
}

fn busy() -> Refusal {
    Refusal::new(Status::Unavailable, "all connections are in use; try again later")
}
