//! From a good request to a target that is there, or to a refusal.

use std::io;
use std::net::SocketAddr;

use log::{debug, info};
use mio::event::Event as Readiness;

use super::{send, token, Behind, Connection, Goal, Shared};
use crate::config::{Destination, Host, HostPort, Remote, Route};
use crate::net::dial::{Address, Attempt, Dial, DialError};
use crate::net::end::End;
use crate::net::events::Event;
use crate::net::resolve::{Asker, Question};
use crate::policy::admit::Refusal;
use crate::policy::credentials::Credentials;
use crate::policy::target::{check, checked, target};
use crate::session::link::{Far, Names, Opened, Reached};

impl Connection {
    /// The name that was asked for has an answer.
    pub fn on_resolved(
        &mut self,
        answer: &io::Result<Vec<SocketAddr>>,
        route: &Route,
        shared: &mut Shared,
    ) {
        let Some(dial) = &mut self.dial else { return };
        dial.awaits = None;
        match answer {
            Ok(addresses) if addresses.is_empty() => {
                dial.failed(DialError::UnknownName("no address".into()));
            }
            Ok(addresses) => {
                for checked in checked(route, self.link.named(), addresses) {
                    match checked {
                        Ok(address) => dial.add(Address::Tcp(address)),
                        Err(denied) => dial.failed(DialError::Denied(denied.into())),
                    }
                }
            }
            Err(error) => dial.failed(DialError::UnknownName(error.to_string())),
        }
        self.dial_next(route, shared);
    }

    /// The request is good, and the target will be named in what follows.
    pub(super) fn admit(&mut self, names: Names, route: &Route, shared: &mut Shared) {
        if let Some(refusal) = self.lacks_place(shared) {
            return self.refuse(&refusal, shared);
        }
        let (_, mut ctx) = shared.split();
        let response = self.link.admit(names, &route.messages, &mut ctx);
        send(&mut self.link, &mut self.ends[0], 0, &response, &mut ctx);
    }

    /// The request is good. What came behind it is kept until there is somewhere to send it.
    pub(super) fn start_dial(&mut self, route: &Route, shared: &mut Shared) {
        if let Some(refusal) = self.lacks_place(shared) {
            return self.refuse(&refusal, shared);
        }
        let until = shared.now + shared.limits.connect_timeout;
        self.dial = Some(Box::new(Dial::new(shared.hot.input(), shared.now, until)));
        shared.hot.drop_input();
        let users = shared.secrets[self.route()].users.as_ref();
        match target(route, self.link.named(), self.link.shown_credentials(), users) {
            Ok(None) => self.on_connected(route, shared),
            Ok(Some(Destination::Unix(name))) => {
                self.dial_address(Address::Unix(name), route, shared);
            }
            Ok(Some(Destination::Tcp(HostPort { host: Host::Ip(ip), port }))) => {
                match check(route, self.link.named(), ip) {
                    Ok(()) => {
                        let address = Address::Tcp(SocketAddr::new(ip, port));
                        self.dial_address(address, route, shared);
                    }
                    Err(denied) => self.give_up(DialError::Denied(denied.into()), route, shared),
                }
            }
            Ok(Some(Destination::Tcp(HostPort { host: Host::Name(name), port }))) => {
                let asker = match self.link.named() {
                    Some(_) if route.remote.is_named_by_peer() => Asker::Peer,
                    _ => Asker::Operator,
                };
                let question = (name, port);
                match shared.resolver.ask(question.clone(), Some(self.id), asker) {
                    Ok(()) => self.await_answer(question),
                    Err(error) => self.give_up(error.into(), route, shared),
                }
            }
            Err(error) => self.give_up(DialError::Denied(error), route, shared),
        }
    }

    fn dial_address(&mut self, address: Address, route: &Route, shared: &mut Shared) {
        if let Some(dial) = &mut self.dial {
            dial.add(address);
        }
        self.dial_next(route, shared);
    }

    /// Tries the next address, or gives up.
    pub(super) fn dial_next(&mut self, route: &Route, shared: &mut Shared) {
        self.ends[1] = End::default();
        let Some(dial) = &mut self.dial else { return };
        loop {
            match dial.attempt(shared.now, &shared.limits) {
                Attempt::Started(mut transport, until) => {
                    if let Err(error) = transport.register(&shared.registry, token(self.id.slot, 1))
                    {
                        dial.failed(error.into());
                        continue;
                    }
                    self.ends[1].transport = Some(transport);
                    return self.link.set_dial_deadline(until);
                }
                Attempt::Later(at) => return self.link.set_dial_deadline(at),
                Attempt::Exhausted => {
                    let error = dial.error();
                    return self.give_up(error, route, shared);
                }
            }
        }
    }

    pub(super) fn on_dial_event(&mut self, event: &Readiness, route: &Route, shared: &mut Shared) {
        let Some(transport) = &self.ends[1].transport else { return };
        let failed = match transport.take_error() {
            Ok(None) if event.is_writable() => return self.on_connected(route, shared),
            Ok(None) => return,
            Ok(Some(error)) | Err(error) => error,
        };
        if let Some(dial) = &mut self.dial {
            dial.failed(failed.into());
        }
        self.dial_next(route, shared);
    }

    pub(super) fn on_dial_timeout(&mut self, route: &Route, shared: &mut Shared) {
        if let Some(dial) = &mut self.dial {
            dial.failed(DialError::TimedOut);
        }
        self.dial_next(route, shared);
    }

    /// The target is there.
    pub(super) fn on_connected(&mut self, route: &Route, shared: &mut Shared) {
        // What the event that told us so has also told, a hang-up say, is not told again.
        for end in &mut self.ends {
            (end.readable, end.writable) = (true, true);
        }
        if let (Some(_), Some(dial)) = (&self.ends[1].transport, &self.dial) {
            shared.stats.connect.add(shared.now - dial.since);
        }
        let far = match &route.remote {
            // The latter is never dialled.
            Remote::Echo | Remote::Admin => Far::Echo,
            Remote::Tcp(_)
            | Remote::Unix(_)
            | Remote::Connect
            | Remote::Json
            | Remote::Token(_)
            | Remote::Query => Far::Raw,
            Remote::WebSocket(url) => {
                let ours = shared.secrets[self.route()].ours.as_ref();
                let authorization = ours.and_then(Credentials::authorization);
                let nonce = shared.keys.nonce();
                Far::WebSocket(url.request(nonce, route.messages.encoding, authorization))
            }
        };
        let mut first = self.introduction(route, shared);
        let (_, mut ctx) = shared.split();
        match self.link.on_connected(far, &route.messages, &mut ctx) {
            Reached::Open(opened) => {
                send(&mut self.link, &mut self.ends[1], 1, &first, &mut ctx);
                self.on_open(opened, route, shared);
                self.relay_unread(route, shared);
            }
            Reached::Asked(request) => {
                first.extend(request);
                send(&mut self.link, &mut self.ends[1], 1, &first, &mut ctx);
            }
        }
    }

    /// The relay begins, and the legs are told so. What is left of the input stays.
    pub(super) fn on_open(&mut self, opened: Opened, route: &Route, shared: &mut Shared) {
        shared.stats.opened += 1;
        shared.stats.handshake.add(shared.now - self.since);
        let (goal, client) = (Goal(route, self.link.named()), shared.clients.behind(self.id));
        info!("{} open target={goal}{}", self.id, Behind(client));
        shared.tell(|| Event::Connected { id: self.id, target: goal.to_string() });
        send(&mut self.link, &mut self.ends[0], 0, &opened.head, &mut shared.split().1);
        if opened.first.is_empty() {
            return;
        }
        let input = shared.hot.input().to_vec();
        for (side, bytes) in opened.first {
            let (hot, ctx) = shared.split();
            let limit = self.link.relay_limit(1 - side, hot.size(), &ctx);
            for part in bytes.chunks(limit) {
                let (hot, mut ctx) = shared.split();
                self.link.say(side, part, hot, &mut ctx);
                self.deliver(side, shared);
            }
        }
        shared.hot.fill(input.len()).copy_from_slice(&input);
        shared.hot.commit(input.len());
    }

    /// What stood behind the request comes first. It is not long, so that it is relayed without
    /// asking what the target takes.
    pub(super) fn relay_unread(&mut self, route: &Route, shared: &mut Shared) {
        let Some(dial) = self.dial.take() else { return };
        let (hot, ctx) = shared.split();
        let limit = self.link.relay_limit(0, hot.size(), &ctx);
        for part in dial.unread().chunks(limit) {
            shared.hot.fill(part.len()).copy_from_slice(part);
            shared.hot.commit(part.len());
            self.relay(0, route, shared);
        }
    }

    /// The target cannot be had.
    pub(super) fn give_up(&mut self, error: DialError, route: &Route, shared: &mut Shared) {
        let goal = Goal(route, self.link.named());
        debug!("{} cannot reach {goal}: {error}", self.id);
        shared.tell(|| {
            let what = format!("cannot reach {goal}: {error}");
            Event::Error { id: Some(self.id), what }
        });
        let refusal = Refusal::from(&error);
        shared.dial_failures.push((goal.to_string(), error));
        self.refuse(&refusal, shared);
    }

    pub(super) fn refuse(&mut self, refusal: &Refusal, shared: &mut Shared) {
        let (hot, mut ctx) = shared.split();
        self.link.refuse(refusal, hot, &mut ctx);
        self.abandon_dial(shared);
        self.give_place_up(shared);
        self.deliver(0, shared);
    }

    /// What a server answered, for the log, should it have said our own secrets back to us.
    pub(super) fn without_secrets(
        &self,
        mut said: String,
        route: &Route,
        shared: &Shared,
    ) -> String {
        let Remote::WebSocket(url) = &route.remote else { return said };
        let ours = shared.secrets[self.route()].ours.as_ref();
        let shown = ours.and_then(Credentials::authorization).unwrap_or_default();
        // Without the scheme's name as well.
        let bare = shown.split_once(' ').map_or("", |(_, secret)| secret);
        let query = url.path.split_once('?').map_or("", |(_, query)| query);
        let fields = url.fields.iter().map(|(_, value)| &value[..]);
        for secret in [shown, bare, query].into_iter().chain(fields).filter(|s| s.len() > 3) {
            said = said.replace(secret, "...");
        }
        said
    }

    fn await_answer(&mut self, question: Question) {
        if let Some(dial) = &mut self.dial {
            dial.awaits = Some(question);
        }
    }

    pub(super) fn abandon_dial(&mut self, shared: &mut Shared) {
        let Some(dial) = self.dial.take() else { return };
        if let Some(question) = &dial.awaits {
            shared.resolver.forget(question, self.id);
        }
        self.ends[1] = End::default();
    }
}
