//! The loop: poll, dispatch, runnable connections, timers, end of batch.
//!
//! Owns every connection and what they share. Never looks at a byte.
//!
//! One turn has one `now`. Sockets come first, then connections that had more to do than a visit
//! allows, then timers; last, what has closed is freed, so that an event of this turn cannot meet
//! a stranger in a reused slot.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use log::{debug, error, info, warn};
use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};

use super::clients::{Clients, Place};
use super::connection::{Connection, Name, Next, Shared};
use super::dial::DialError;
use super::files::Roots;
use super::listener::Listener;
use super::resolve::{Asker, Resolver};
use super::secrets::Files;
use super::sys::{self, Signal, Signals};
use super::table::{Key, Table};
use super::timers::Timers;
use crate::buf::hot::Hot;
use crate::buf::pool::Pool;
use crate::config::{Config, Host, HostPort, Route};
use crate::policy::access;
use crate::proto::close::CloseCode;
use crate::proto::mask::Keys;
use crate::proto::proxy_header::ProxyHeader;
use crate::session::deadlines::Time;
use crate::session::ended::Why;

/// Connections accepted in one visit to a listener.
pub(super) const ACCEPTS_PER_VISIT: usize = 64;

/// Connections beyond `--max-connections` that are told so at once; more wait in the backlog.
const REFUSED_AT_ONCE: usize = 64;

/// How soon to accept again after descriptors ran out, if none is freed before.
const ACCEPT_RETRY: Duration = Duration::from_secs(1);

/// What anybody can repeat at will is logged this often.
const SAY_AGAIN: Duration = Duration::from_secs(60);

const EVENTS: usize = 256;

// Above every connection's token, whose slots fit 31 bits.
const SIGNALS: Token = Token(u32::MAX as usize);
const WAKER: Token = Token(u32::MAX as usize - 1);
const LISTENERS: usize = u32::MAX as usize - (1 << 16);

/// The proxy: bound, and run until it is told to stop.
pub struct Proxy {
    poll: Poll,
    routes: Vec<Route>,
    listeners: Vec<Listener>,
    table: Table,
    timers: Timers,
    /// Connections with more to do.
    runnable: Vec<Key>,
    shared: Shared,
    began: Instant,
    max_connections: usize,
    /// Descriptors have run out: when to accept again.
    accept_again: Option<Time>,
    exhaustion: Throttle,
    dial_failure: Throttle,
    denial: Throttle,
    signals: Option<Signals>,
    /// Set once stopping: when whoever is left is dropped.
    stops_at: Option<Time>,
}

impl Proxy {
    /// Bytes that an open connection costs in the tables, whatever it does. Its socket buffers are
    /// the kernel's; what it keeps in flight counts among [`crate::config::Limits::max_memory`].
    pub const BYTES_PER_CONNECTION: usize = Connection::BYTES;

    /// What one costs beyond that where clients are counted, or proxies say who they are.
    pub const BYTES_PER_CLIENT: usize = Clients::BYTES + 2 * size_of::<(Key, ProxyHeader)>();

    /// Binds every route's listener. Nothing is accepted before [`Proxy::run`].
    ///
    /// # Errors
    /// A listener that cannot be bound, with its address and what to do.
    pub fn bind(config: Config) -> io::Result<Self> {
        let Config { routes, limits } = config;
        let poll = Poll::new()?;
        let mut listeners = Vec::with_capacity(routes.len());
        for (index, route) in routes.iter().enumerate() {
            let mut listener = Listener::open(&route.local, &limits)?;
            listener.register(poll.registry(), Token(LISTENERS + index))?;
            listeners.push(listener);
        }
        let shared = Shared {
            hot: Hot::new(limits.buffer_size),
            pool: Pool::new(limits.max_memory, limits.max_connections),
            keys: Keys::new(sys::entropy),
            registry: poll.registry().try_clone()?,
            resolver: Resolver::new(Waker::new(poll.registry(), WAKER)?),
            now: Time(0),
            secrets: Files::read(&routes)?,
            roots: Roots::open(&routes)?,
            clients: Clients::new(limits.max_per_client),
            passed: BTreeMap::new(),
            admitted: 0,
            dial_failures: Vec::new(),
            limits,
        };
        Ok(Self {
            poll,
            routes,
            listeners,
            table: Table::default(),
            timers: Timers::default(),
            runnable: Vec::new(),
            began: Instant::now(),
            max_connections: shared.limits.max_connections,
            shared,
            accept_again: None,
            exhaustion: Throttle::default(),
            dial_failure: Throttle::default(),
            denial: Throttle::default(),
            signals: None,
            stops_at: None,
        })
    }

    /// Where each route listens, as the user would write it, with the port that was chosen.
    pub fn listening(&self) -> impl Iterator<Item = &str> {
        self.listeners.iter().map(Listener::shown)
    }

    /// The TCP addresses, in the order of the routes; `None` for a unix socket.
    pub fn local_addrs(&self) -> impl Iterator<Item = Option<SocketAddr>> + '_ {
        self.listeners.iter().map(Listener::address)
    }

    /// Makes the process's signals this loop's: SIGTERM and SIGINT stop it, SIGUSR1 logs the
    /// connections, SIGHUP re-reads files. To be called before other threads start.
    ///
    /// # Errors
    /// What signalfd(2) and epoll_ctl(2) say.
    pub fn catch_signals(&mut self) -> io::Result<()> {
        let signals = Signals::new()?;
        let fd = signals.as_raw_fd();
        self.poll.registry().register(&mut SourceFd(&fd), SIGNALS, Interest::READABLE)?;
        self.signals = Some(signals);
        Ok(())
    }

    /// Serves until a signal stops it and the last connection has ended.
    ///
    /// # Errors
    /// What epoll_wait(2) says.
    pub fn run(&mut self) -> io::Result<()> {
        self.check_descriptors();
        self.check_names();
        self.check_exposure();
        let mut events = Events::with_capacity(EVENTS);
        while !self.is_stopped() {
            match self.poll.poll(&mut events, self.patience()) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            self.turn(&events);
        }
        info!("stopped, {} connections dropped", self.table.len());
        Ok(())
    }

    fn turn(&mut self, events: &Events) {
        self.shared.now = Time(0) + self.began.elapsed();
        for event in events {
            self.dispatch(event);
        }
        for key in std::mem::take(&mut self.runnable) {
            self.visit(key, |connection, route, shared| {
                connection.listed = false;
                connection.serve(route, shared)
            });
        }
        while let Some((due, key)) = self.timers.pop(self.shared.now) {
            self.on_timer(due, key);
        }
        self.accept_all();
        self.say_dial_failures();
        self.table.recycle();
        if self.shared.pool.has_calmed() {
            sys::trim_allocator();
        }
    }

    fn dispatch(&mut self, event: &Event) {
        match event.token() {
            SIGNALS => self.on_signals(),
            WAKER => self.on_answers(),
            Token(token) if token >= LISTENERS => {
                if let Some(listener) = self.listeners.get_mut(token - LISTENERS) {
                    listener.ready = true;
                }
            }
            Token(token) => {
                let (slot, side) = ((token >> 1) as u32, token & 1);
                if let Some((key, _)) = self.table.get(slot) {
                    self.visit(key, |connection, route, shared| {
                        connection.on_event(side, event, route, shared);
                        connection.serve(route, shared)
                    });
                }
            }
        }
    }

    /// Lets a connection work, and does what follows from it.
    fn visit(&mut self, key: Key, work: impl FnOnce(&mut Connection, &Route, &mut Shared) -> Next) {
        let Some(connection) = self.table.get_key(key) else { return };
        let route = &self.routes[connection.route()];
        match work(connection, route, &mut self.shared) {
            Next::Over => return self.remove(key),
            Next::Again if !connection.listed => {
                connection.listed = true;
                self.runnable.push(key);
            }
            _ => {}
        }
        let wake = connection.wake_at();
        if wake < connection.scheduled {
            connection.scheduled = wake;
            self.timers.push(wake, key);
            if self.timers.are_stale(self.table.len()) {
                let table = &mut self.table;
                self.timers.sweep(|due, key| {
                    table.get_key(key).is_some_and(|connection| connection.scheduled == due)
                });
            }
        }
    }

    fn remove(&mut self, key: Key) {
        let Some(connection) = self.table.get_key(key) else { return };
        connection.finish(&mut self.shared);
        self.table.remove(key.slot);
        // A descriptor is free.
        self.accept_again = None;
    }

    fn on_timer(&mut self, due: Time, key: Key) {
        let Some(connection) = self.table.get_key(key) else { return };
        if connection.scheduled != due {
            return; // an entry that an earlier one has replaced
        }
        connection.scheduled = Time::NEVER;
        self.visit(key, Connection::on_timer);
    }

    // Accepting.

    fn accept_all(&mut self) {
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

    fn may_accept(&self, index: usize) -> bool {
        self.listeners[index].ready
            && self.accept_again.is_none()
            && self.table.len() < self.max_connections + REFUSED_AT_ONCE
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
                }
                return;
            }
            // Who was waiting has gone, or the network had an error for it (accept(2)).
            Err(error) => return debug!("accept: {error}"),
        };
        let key = self.table.next_key();
        let route = (index, &self.routes[index]);
        let place = self.shared.clients.arrive(key, peer, &route.1.access);
        if place == Place::Unheard {
            return debug!("a connection too many of its client is closed");
        }
        let admitted = place == Place::Free
            && self.shared.admitted < self.max_connections
            && !self.shared.pool.is_full();
        match Connection::accepted(transport, key, route, admitted, &mut self.shared) {
            Ok(connection) => {
                match peer {
                    Some(peer) => debug!("{} accepted peer={peer}", Name(key)),
                    None => debug!("{} accepted", Name(key)),
                }
                self.shared.admitted += usize::from(admitted);
                self.table.insert(connection);
                self.visit(key, Connection::begin);
            }
            Err(error) => {
                self.shared.clients.leave(key);
                warn!("cannot watch a connection: {error}");
            }
        }
    }

    // Stopping.

    fn on_signals(&mut self) {
        while let Some(signal) = self.signals.as_mut().and_then(Signals::take) {
            match signal {
                Signal::Stop if self.stops_at.is_some() => {
                    warn!("second signal: {} connections dropped", self.table.len());
                    self.listeners.clear(); // removes the paths of unix sockets
                    sys::exit_now(1);
                }
                Signal::Stop => self.stop(),
                Signal::Reload => self.shared.secrets.read_again(&self.routes),
                Signal::Report => self.report(),
            }
        }
    }

    /// Stops accepting and says 1001 to everybody.
    fn stop(&mut self) {
        self.stops_at = Some(self.shared.now + self.shared.limits.drain_timeout);
        info!("stopping: {} connections to end", self.table.len());
        self.listeners.clear();
        for key in self.table.keys() {
            self.visit(key, |connection, route, shared| {
                connection.close(Why::Shutdown, CloseCode::GOING_AWAY, shared);
                connection.serve(route, shared)
            });
        }
    }

    fn is_stopped(&self) -> bool {
        self.stops_at.is_some_and(|at| self.table.len() == 0 || at <= self.shared.now)
    }

    fn report(&mut self) {
        info!(
            "{} connections, {} bytes kept of {}",
            self.table.len(),
            self.shared.pool.lent(),
            self.shared.limits.max_memory
        );
        for key in self.table.keys() {
            if let Some((_, connection)) = self.table.get(key.slot) {
                connection.report(&self.routes[connection.route()], &self.shared);
            }
        }
    }

    /// How long the poll may wait.
    fn patience(&self) -> Option<Duration> {
        let can_accept = (0..self.listeners.len()).any(|index| self.may_accept(index));
        if !self.runnable.is_empty() || can_accept {
            return Some(Duration::ZERO);
        }
        let times = [self.timers.next(), self.accept_again, self.stops_at];
        let next = times.into_iter().flatten().min()?;
        // Counted from the clock: the turn has taken its time. Rounded up, or it would spin.
        let now = Time(0) + self.began.elapsed();
        Some((next - now) + Duration::from_micros(999))
    }

    // Names.

    /// Says at the start which names have no address.
    fn check_names(&mut self) {
        for route in &self.routes {
            if let Some(HostPort { host: Host::Name(name), port }) = route.remote.address() {
                if let Err(error) =
                    self.shared.resolver.ask((name.clone(), *port), None, Asker::Operator)
                {
                    warn!("cannot look up {name}: {error}");
                }
            }
        }
    }

    fn on_answers(&mut self) {
        while let Some(((name, _), answer, waiting)) = self.shared.resolver.next() {
            for who in waiting {
                match (who, &answer) {
                    (Some(key), answer) => self.visit(key, |connection, route, shared| {
                        connection.on_resolved(answer, route, shared);
                        connection.serve(route, shared)
                    }),
                    (None, Err(error)) => warn!(
                        "{name} cannot be resolved now: {error}; \
                         it will be looked up again for each connection"
                    ),
                    (None, Ok(_)) => {}
                }
            }
        }
    }

    fn say_dial_failures(&mut self) {
        for (target, error) in self.shared.dial_failures.drain(..) {
            // What strangers may not do must not hide what does not work.
            let (throttle, what) = match error {
                DialError::Denied(_) => (&mut self.denial, "refused to reach"),
                _ => (&mut self.dial_failure, "cannot reach"),
            };
            if let Some(more) = throttle.say(self.shared.now) {
                warn!("{what} {target}: {error}{more}");
            }
        }
    }

    /// Says which routes let in whoever reaches them from elsewhere.
    fn check_exposure(&self) {
        for (listener, route) in self.listeners.iter().zip(&self.routes) {
            let exposed = listener.address().is_some_and(|address| !address.ip().is_loopback());
            if let (true, Some(options)) = (exposed, access::remedy(route)) {
                let shown = listener.shown();
                warn!("{shown} lets in everybody who can reach it; add {options}, or listen on 127.0.0.1");
            }
        }
    }

    /// Raises the limit of open files, and says if it does not suffice.
    fn check_descriptors(&self) {
        // Two a connection, and a few of our own.
        let wanted = 2 * self.max_connections as u64 + 16;
        match sys::raise_descriptor_limit() {
            Ok(limit) if limit < wanted => warn!(
                "--max-connections {} needs {wanted} open files, the limit is {limit}; \
                 raise it (ulimit -n) or serve fewer",
                self.max_connections
            ),
            Ok(_) => {}
            Err(error) => error!("cannot read the limit of open files: {error}"),
        }
    }
}

/// Lets one of many like messages through, each minute.
#[derive(Default)]
struct Throttle {
    next: Option<Time>,
    unsaid: u64,
}

impl Throttle {
    /// What to add to the message; `None` if it is not to be said now.
    fn say(&mut self, now: Time) -> Option<String> {
        if self.next.is_some_and(|next| now < next) {
            self.unsaid += 1;
            return None;
        }
        self.next = Some(now + SAY_AGAIN);
        match std::mem::take(&mut self.unsaid) {
            0 => Some(String::new()),
            n => Some(format!(" ({n} more in the last minute)")),
        }
    }
}
