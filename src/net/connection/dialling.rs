//! From a good request to a target that is there, or to a refusal.

use std::io;
use std::net::SocketAddr;

use log::{debug, info};
use mio::event::Event;

use super::{send, token, Connection, Name, Shared};
use crate::config::{Host, Remote, Route, WebSocketUrl};
use crate::net::dial::{Address, Attempt, Dial, DialError};
use crate::net::end::End;
use crate::policy::admit::{Refusal, Status};
use crate::session::link::Far;

impl Connection {
    /// The name that was asked for has an answer.
    pub fn on_resolved(
        &mut self,
        answer: &io::Result<Vec<SocketAddr>>,
        route: &Route,
        shared: &mut Shared,
    ) {
        let Some(dial) = &mut self.dial else { return };
        match answer {
            Ok(addresses) if addresses.is_empty() => {
                dial.failed(DialError::UnknownName("no address".into()));
            }
            Ok(addresses) => addresses.iter().for_each(|a| dial.add(Address::Tcp(*a))),
            Err(error) => dial.failed(DialError::UnknownName(error.to_string())),
        }
        self.dial_next(route, shared);
    }

    /// The request is good. What came behind it is kept until there is somewhere to send it.
    pub(super) fn start_dial(&mut self, route: &Route, shared: &mut Shared) {
        if !self.admitted {
            let reason = "the proxy serves as many connections as it may; try again later";
            return self.refuse(&Refusal::new(Status::Unavailable, reason), shared);
        }
        let mut dial = Dial::new(shared.hot.input(), shared.now + shared.limits.connect_timeout);
        let mut waits = false;
        match &route.remote {
            Remote::Echo | Remote::Connect => {}
            Remote::Unix(name) => dial.add(Address::Unix(name.clone())),
            Remote::Tcp(target) | Remote::WebSocket(WebSocketUrl { target, .. }) => match &target
                .host
            {
                Host::Ip(ip) => dial.add(Address::Tcp(SocketAddr::new(*ip, target.port))),
                Host::Name(name) => match shared.resolver.ask(name, target.port, Some(self.key)) {
                    Ok(()) => waits = true,
                    Err(error) => dial.failed(error.into()),
                },
            },
        }
        shared.hot.drop_input();
        self.dial = Some(Box::new(dial));
        match &route.remote {
            Remote::Echo => self.on_connected(route, shared),
            _ if waits => {}
            _ => self.dial_next(route, shared),
        }
    }

    /// Tries the next address, or gives up.
    pub(super) fn dial_next(&mut self, route: &Route, shared: &mut Shared) {
        self.ends[1] = End::default();
        let Some(dial) = &mut self.dial else { return };
        loop {
            match dial.attempt(shared.now, &shared.limits) {
                Attempt::Started(mut transport, until) => {
                    if let Err(error) =
                        transport.register(&shared.registry, token(self.key.slot, 1))
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

    pub(super) fn on_dial_event(&mut self, event: &Event, route: &Route, shared: &mut Shared) {
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
        let far = match &route.remote {
            Remote::Echo => Far::Echo,
            Remote::Tcp(_) | Remote::Unix(_) | Remote::Connect => Far::Raw,
            Remote::WebSocket(url) => Far::WebSocket(url.request(shared.keys.nonce())),
        };
        let (_, mut ctx) = shared.split();
        let (side, bytes) = self.link.on_connected(far, &route.messages, &ctx);
        if self.link.is_relaying() {
            self.on_open(&bytes, route, shared);
            self.relay_unread(route, shared);
        } else {
            send(&mut self.link, &mut self.ends[side], side, &bytes, &mut ctx);
        }
    }

    /// The relay begins, and leg 0 is told so.
    pub(super) fn on_open(&mut self, bytes: &[u8], route: &Route, shared: &mut Shared) {
        info!("{} open target={}", Name(self.key), route.remote);
        send(&mut self.link, &mut self.ends[0], 0, bytes, &mut shared.split().1);
    }

    /// What stood behind the request comes first. It is not long, so that it is relayed without
    /// asking what the target takes.
    pub(super) fn relay_unread(&mut self, route: &Route, shared: &mut Shared) {
        let Some(dial) = self.dial.take() else { return };
        for part in dial.unread().chunks(shared.hot.size()) {
            shared.hot.fill(part.len()).copy_from_slice(part);
            shared.hot.commit(part.len());
            self.relay(0, route, shared);
        }
    }

    /// The target cannot be had.
    pub(super) fn give_up(&mut self, error: DialError, route: &Route, shared: &mut Shared) {
        debug!("{} cannot reach {}: {error}", Name(self.key), route.remote);
        let refusal = Refusal::from(&error);
        shared.dial_failures.push((self.route(), error));
        self.refuse(&refusal, shared);
    }

    pub(super) fn refuse(&mut self, refusal: &Refusal, shared: &mut Shared) {
        let (hot, mut ctx) = shared.split();
        self.link.refuse(refusal, hot, &mut ctx);
        self.abandon_dial();
        self.deliver(0, shared);
    }

    pub(super) fn abandon_dial(&mut self) {
        if self.dial.take().is_some() {
            self.ends[1] = End::default();
        }
    }
}
