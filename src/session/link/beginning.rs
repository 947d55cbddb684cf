//! How a link begins: who it is that connected, what it asks for, and how it is told that it has
//! it.
//!
//! A connection is let in, names its target or has it from its route, waits while that is reached,
//! and then both legs are told. A refusal is an end: see `ending`.

use std::net::IpAddr;
use std::time::Duration;

use super::{Context, Far, Link, Relayed, Stage, Step};
use crate::buf::hot::Hot;
use crate::config::{Destination, Limits, Messages};
use crate::policy::admit::Admission;
use crate::policy::gate::Gate;
use crate::proto::close::CloseCode;
use crate::proto::encoding::Encoding;
use crate::proto::frame::Role;
use crate::session::deadlines::Deadline;
use crate::session::leg::{Codec, Leg, Reading};
use crate::session::naming::{Connect, Names, Naming, Tunnel, Words};
use crate::session::opening::Asking;
use crate::session::proxied::Proxied;
use crate::session::rates::Rates;
use crate::session::{Options, Passing, Session, Stop};

/// How a connection begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entrance {
    /// With the request for a WebSocket.
    WebSocket {
        /// How the target is named in it, if it is.
        names: Option<Names>,
    },
    /// With a `CONNECT` head.
    Connect(Connect),
    /// With the stream itself.
    Stream,
}

impl Entrance {
    /// What leg 0 speaks, how far it has come, and what it has how much time for.
    fn begin(self, limits: &Limits) -> (Codec, Stage, Deadline, Duration) {
        match self {
            Entrance::WebSocket { names } => (
                Codec::Opening(Box::default()),
                Stage::Head { names },
                Deadline::Handshake,
                limits.handshake_timeout,
            ),
            Entrance::Connect(connect) => (
                Codec::Raw,
                Stage::Name(Box::new(Naming::new(Names::Connect(connect)))),
                Deadline::Handshake,
                limits.handshake_timeout,
            ),
            Entrance::Stream => {
                (Codec::Raw, Stage::Dial(None), Deadline::Dial, limits.connect_timeout)
            }
        }
    }
}

/// What leg 0 has asked for.
#[derive(Debug)]
pub(super) struct Asked {
    /// The target, if it has named one.
    pub named: Option<Destination>,
    /// What awaits the target.
    pub welcome: Welcome,
}

/// How leg 0 is told that the target is there.
#[derive(Debug)]
pub(super) enum Welcome {
    /// By the response to its request for a WebSocket.
    Handshake(Admission),
    /// As the way has it by which it has named the target.
    Named(Tunnel),
}

/// What is sent when the relay begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Opened {
    /// For leg 0, as it is.
    pub head: Vec<u8>,
    /// Then the start of the streams: to be said, by [`Link::say`], to these legs in this order.
    pub first: Vec<(usize, Vec<u8>)>,
}

/// What the target is sent when it is reached.
#[derive(Debug, PartialEq, Eq)]
pub enum Reached {
    /// Nothing: the relay has begun.
    Open(Opened),
    /// A request for a WebSocket.
    Asked(Vec<u8>),
}

impl Link {
    /// A connection that was accepted. One that [`Link::is_dialling`] is to be dialled for.
    pub fn accepted(entrance: Entrance, ctx: &Context) -> Self {
        let (codec, stage, deadline, timeout) = entrance.begin(ctx.limits);
        let mut link = Self::new(codec, stage, ctx);
        link.deadlines.set(deadline, ctx.now + timeout);
        link
    }

    /// One that begins with a PROXY header, and so on behind that.
    pub fn passed_on(entrance: Entrance, ctx: &Context) -> Self {
        let stage = Stage::Proxied(Box::new(Proxied::new(entrance)));
        let mut link = Self::new(Codec::Raw, stage, ctx);
        link.deadlines.set(Deadline::Handshake, ctx.now + ctx.limits.handshake_timeout);
        link
    }

    /// Leg 0 says whose connection it is. The time for a request has begun before that.
    pub(super) fn hear_proxy(&mut self, hot: &mut Hot, gate: Gate, ctx: &Context) -> Step {
        let Stage::Proxied(proxied) = &mut self.stage else { return Step::Deliver(0) };
        match proxied.on_bytes(hot, gate, ctx.limits) {
            None => Step::Deliver(0),
            Some(Err(error)) => Step::Unproven(error),
            Some(Ok(header)) => {
                let (codec, stage, deadline, timeout) = proxied.entrance.begin(ctx.limits);
                self.legs[0].codec = codec;
                self.stage = stage;
                if deadline != Deadline::Handshake {
                    self.deadlines.clear(Deadline::Handshake);
                    self.deadlines.set(deadline, ctx.now + timeout);
                }
                Step::Passed(header)
            }
        }
    }

    /// What leg 0 has asked for, while that is being reached.
    pub(super) fn asked(&self) -> Option<&Asked> {
        match &self.stage {
            Stage::Dial(asked) | Stage::Ask(asked) => asked.as_deref(),
            _ => None,
        }
    }

    /// The target that leg 0 has named, from then on.
    pub fn named(&self) -> Option<&Destination> {
        match &self.stage {
            Stage::Relay(relayed) => relayed.as_deref()?.named.as_ref(),
            _ => self.asked()?.named.as_ref(),
        }
    }

    /// The user and password that came with the name of the target, until that is reached.
    pub fn shown_credentials(&self) -> Option<&[u8]> {
        match &self.asked()?.welcome {
            Welcome::Named(tunnel) => tunnel.credentials(),
            Welcome::Handshake(_) => None,
        }
    }

    /// Who leg 0 is, where a trusted proxy has said so, until the target is reached.
    pub fn client(&self) -> Option<IpAddr> {
        if let Stage::Page(asker) = &self.stage {
            return asker.client;
        }
        match &self.asked()?.welcome {
            Welcome::Handshake(admission) => admission.client,
            Welcome::Named(_) => None,
        }
    }

    /// Leg 0 is let in before its target is known. Returns what tells it so, as it is.
    pub fn admit(&mut self, names: Names, messages: &Messages, ctx: &mut Context) -> Vec<u8> {
        let naming = Stage::Name(Box::new(Naming::new(names)));
        let Stage::Dial(Some(asked)) = std::mem::replace(&mut self.stage, naming) else {
            return Vec::new(); // there was no Step::Admit
        };
        let Welcome::Handshake(admission) = asked.welcome else { return Vec::new() };
        let Admission { encoding, response: mut welcome, .. } = admission;
        self.legs[0].codec = websocket(Role::Server, encoding, names.passing(), messages, ctx);
        self.on_life(0, ctx);
        self.deadlines.clear(Deadline::Dial);
        self.deadlines.set(Deadline::Handshake, ctx.now + ctx.limits.handshake_timeout);
        if let (Some(greeting), Some(session)) = (names.greeting(), self.legs[0].session()) {
            welcome.extend(session.text(&greeting, ctx.keys));
        }
        welcome
    }

    /// Puts stream bytes for leg `side`, at most [`Link::relay_limit`] of the other one, into the
    /// output as it is sent them.
    pub fn say(&mut self, side: usize, bytes: &[u8], hot: &mut Hot, ctx: &mut Context) {
        hot.fill(bytes.len()).copy_from_slice(bytes);
        hot.commit(bytes.len());
        hot.pass_all();
        if self.is_deaf(side) {
            hot.drop_output(); // an earlier part could not be said, or not be sent
        }
        if let Some(session) = self.legs[side].session() {
            if let Err(error) = session.encode(hot, ctx.keys) {
                self.on_unsayable(side, error, hot, ctx);
            }
        }
    }

    /// Puts words for leg 0 into the output as they are sent.
    pub(super) fn tell(&mut self, words: &Words, hot: &mut Hot, ctx: &mut Context) {
        let text = match words {
            Words::Stream(bytes) => {
                return self.say(0, &bytes[..bytes.len().min(hot.size())], hot, ctx)
            }
            Words::Text(text) => text,
        };
        let is_deaf = self.is_deaf(0);
        if let Some(session) = self.legs[0].session().filter(|_| !is_deaf) {
            let frame = session.text(text, ctx.keys);
            hot.fill(frame.len()).copy_from_slice(&frame);
            hot.commit(frame.len());
            hot.pass_all();
        }
    }

    /// The target is reached.
    pub fn on_connected(&mut self, far: Far, messages: &Messages, ctx: &mut Context) -> Reached {
        let passing = if far == Far::Echo { Passing::Frames } else { Passing::Stream };
        match far {
            Far::Echo => self.echo = true,
            Far::Raw => self.legs[1] = Leg::new(Codec::Raw),
            Far::WebSocket(request) => {
                let (head, expects) = request.into_parts();
                self.legs[1] = Leg::new(Codec::Asking(Box::new(Asking::new(expects))));
                self.stage = match std::mem::replace(&mut self.stage, Stage::Relay(None)) {
                    Stage::Dial(asked) => Stage::Ask(asked),
                    other => other,
                };
                self.deadlines.clear(Deadline::Dial);
                self.deadlines.set(Deadline::Handshake, ctx.now + ctx.limits.handshake_timeout);
                return Reached::Asked(head);
            }
        }
        Reached::Open(self.open(passing, messages, ctx))
    }

    /// Begins the relay.
    pub(super) fn open(
        &mut self,
        passing: Passing,
        messages: &Messages,
        ctx: &mut Context,
    ) -> Opened {
        let (named, rates) = (self.named().cloned(), Rates::new(ctx.limits));
        let has_any = named.is_some() || rates.is_some();
        let relayed = has_any.then(|| Box::new(Relayed { named, rates }));
        let (Stage::Dial(asked) | Stage::Ask(asked)) =
            std::mem::replace(&mut self.stage, Stage::Relay(relayed))
        else {
            return Opened::default();
        };
        self.deadlines.clear(Deadline::Dial);
        self.deadlines.clear(Deadline::Handshake);
        self.on_payload(ctx);
        match asked.map(|asked| asked.welcome) {
            None => Opened::default(),
            Some(Welcome::Handshake(admission)) => {
                let encoding = admission.encoding;
                self.legs[0].codec = websocket(Role::Server, encoding, passing, messages, ctx);
                self.on_life(0, ctx);
                Opened { head: admission.response, first: Vec::new() }
            }
            Some(Welcome::Named(tunnel)) => {
                let mut head = Vec::new();
                if let Some(session) = self.legs[0].session() {
                    if let Some(text) = tunnel.welcome() {
                        head = session.text(&text, ctx.keys);
                    }
                    session.begin_stream();
                }
                self.count(0, tunnel.rest().len(), ctx);
                self.owed_answer = tunnel.is_answered_by_remote();
                if self.owed_answer {
                    // The far end may take its own time to dial.
                    let patience = ctx.limits.handshake_timeout + ctx.limits.connect_timeout;
                    self.deadlines.set(Deadline::Handshake, ctx.now + patience);
                }
                Opened { head, first: tunnel.into_first() }
            }
        }
    }

    /// Leg 0 is welcome, if the target can be reached in time.
    pub(super) fn start_dial(
        &mut self,
        named: Option<Destination>,
        welcome: Welcome,
        ctx: &Context,
    ) {
        self.deadlines.clear(Deadline::Handshake);
        self.deadlines.set(Deadline::Dial, ctx.now + ctx.limits.connect_timeout);
        self.stage = Stage::Dial(Some(Box::new(Asked { named, welcome })));
    }

    /// Leg 0 says where it wants to go.
    pub(super) fn hear_name(&mut self, hot: &mut Hot, ctx: &mut Context) -> Step {
        self.on_life(0, ctx);
        if self.legs[0].reading != Reading::Relaying {
            hot.drop_input();
            return Step::Deliver(0);
        }
        let decoded = self.decode(0, hot, ctx);
        let named = match (&mut self.stage, decoded) {
            (Stage::Name(naming), Ok(stop)) => naming.on_bytes(hot.output(), stop, ctx.limits),
            _ => None,
        };
        hot.drop_output();
        match (named, decoded) {
            (_, Err(error)) => self.on_protocol_error(0, error, hot, ctx),
            (Some(Ok(tunnel)), _) => {
                self.start_dial(Some(tunnel.destination()), Welcome::Named(tunnel), ctx);
                return Step::Dial;
            }
            (Some(Err(refusal)), _) => self.refuse(&refusal, hot, ctx),
            (None, Ok(Stop::Closed)) => {
                // No stream is there of which it could be sent the rest.
                if let Some(session) = self.legs[0].session() {
                    session.close(CloseCode::NORMAL, "");
                }
                self.on_close(0, hot, ctx);
            }
            (None, Ok(_)) => {}
        }
        Step::Deliver(0)
    }
}

/// An endpoint whose opening handshake is done.
pub(super) fn websocket(
    role: Role,
    encoding: Encoding,
    passing: Passing,
    messages: &Messages,
    ctx: &Context,
) -> Codec {
    let (text_lossy, max_message) = (messages.text_lossy, ctx.limits.max_message);
    let (framing, half_close) = (messages.framing, messages.half_close);
    let options = Options { encoding, text_lossy, framing, passing, max_message, half_close };
    Codec::WebSocket(Box::new(Session::new(role, options)))
}
