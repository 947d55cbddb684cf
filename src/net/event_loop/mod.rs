//! The loop: poll, dispatch, runnable connections, timers, end of batch.
//!
//! Owns every connection and what they share. Never looks at a byte.
//!
//! One turn has one `now`. Sockets come first, then connections that had more to do than a visit
//! allows, then timers; last, what has closed is freed, so that an event of this turn cannot meet
//! a stranger in a reused slot.

mod accepting;

pub(super) use accepting::ACCEPTS_PER_VISIT;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use log::{info, warn};
use mio::event::Event as Readiness;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};

use super::checks;
use super::clients::Clients;
use super::connection::{Connection, Next, Shared};
use super::dial::DialError;
use super::events::Event;
use super::files::Roots;
use super::handle::{Handle, Order, Orders};
use super::inquiry::View;
use super::listener::Listener;
use super::resolve::Resolver;
use super::secrets::Files;
use super::sys::{self, Signal, Signals};
use super::table::Table;
use super::throttle::Throttle;
use super::timers::Timers;
use crate::buf::hot::Hot;
use crate::buf::pool::Pool;
use crate::config::{Config, Route};
use crate::proto::close::CloseCode;
use crate::proto::mask::Keys;
use crate::proto::proxy_header::ProxyHeader;
use crate::session::deadlines::Time;
use crate::session::ended::Why;
use crate::stats::{ConnectionId, Stats};

const EVENTS: usize = 128;

// Above every connection's token, whose slots fit 31 bits.
const SIGNALS: Token = Token(u32::MAX as usize);
const WAKER: Token = Token(u32::MAX as usize - 1);
const LISTENERS: usize = u32::MAX as usize - (1 << 16);

/// The proxy: bound, and run until it is told to stop.
pub struct Proxy {
    poll: Poll,
    routes: Vec<Route>,
    listeners: Vec<Listener>,
    /// Where each route listens, as the user would write it.
    listening: Vec<String>,
    /// The same as addresses, `None` for a unix socket.
    addresses: Vec<Option<SocketAddr>>,
    table: Table,
    timers: Timers,
    /// Connections with more to do.
    runnable: Vec<ConnectionId>,
    shared: Shared,
    began: Instant,
    /// The next turn follows this one at once, and so tells how long this one took.
    goes_on: bool,
    max_connections: usize,
    /// Connections that ask about the proxy.
    asking: usize,
    /// Descriptors have run out: when to accept again.
    accept_again: Option<Time>,
    exhaustion: Throttle,
    dial_failure: Throttle,
    denial: Throttle,
    signals: Option<Signals>,
    /// Set once stopping: when whoever is left is dropped.
    stops_at: Option<Time>,
    /// What other threads want.
    orders: Orders,
    /// Somebody has woken the loop, for answers of the resolver or for orders.
    called: bool,
}

impl Proxy {
    /// Bytes that an open connection costs in the tables, whatever it does. Its socket buffers are
    /// the kernel's; what it keeps in flight counts among [`crate::config::Limits::max_memory`].
    pub const BYTES_PER_CONNECTION: usize = Connection::BYTES;

    /// What one costs beyond that where clients are counted, or proxies say who they are.
    pub const BYTES_PER_CLIENT: usize =
        Clients::BYTES + 2 * size_of::<(ConnectionId, ProxyHeader)>();

    /// Binds every route's listener. Nothing is accepted before [`Proxy::run`].
    ///
    /// # Errors
    /// A listener that cannot be bound, with its address and what to do. `InvalidInput` for what cannot be
    /// served, which [`Config::builder`] would not have built.
    pub fn bind(config: Config) -> io::Result<Self> {
        checks::config(&config)?;
        let Config { routes, limits } = config;
        let poll = Poll::new()?;
        let mut listeners = Vec::with_capacity(routes.len());
        for (index, route) in routes.iter().enumerate() {
            let mut listener = Listener::open(&route.local, &limits)?;
            checks::admin(&listener, route)?;
            listener.register(poll.registry(), Token(LISTENERS + index))?;
            listeners.push(listener);
        }
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let shared = Shared {
            hot: Hot::new(limits.buffer_size),
            pool: Pool::new(limits.max_memory, limits.max_connections),
            keys: Keys::new(sys::entropy),
            registry: poll.registry().try_clone()?,
            resolver: Resolver::new(Arc::clone(&waker)),
            now: Time(0),
            secrets: Files::read(&routes)?,
            roots: Roots::open(&routes)?,
            clients: Clients::new(limits.max_per_client),
            passed: BTreeMap::new(),
            admitted: 0,
            informed: 0,
            untold: 0,
            dial_failures: Vec::new(),
            stats: Stats::new(SystemTime::now()),
            events: None,
            questions: Vec::new(),
            limits,
        };
        let addresses = listeners.iter().map(Listener::address).collect();
        let listening = listeners.iter().map(|listener| listener.shown().to_owned()).collect();
        Ok(Self {
            poll,
            routes,
            listeners,
            listening,
            addresses,
            table: Table::default(),
            timers: Timers::default(),
            runnable: Vec::new(),
            began: Instant::now(),
            goes_on: false,
            max_connections: shared.limits.max_connections,
            shared,
            asking: 0,
            accept_again: None,
            exhaustion: Throttle::default(),
            dial_failure: Throttle::default(),
            denial: Throttle::default(),
            signals: None,
            stops_at: None,
            orders: Orders::new(waker),
            called: false,
        })
    }

    /// Where each route listens, as the user would write it, with the port that was chosen.
    pub fn listening(&self) -> impl Iterator<Item = &str> {
        self.listening.iter().map(String::as_str)
    }

    /// The TCP addresses, in the order of the routes; `None` for a unix socket.
    pub fn local_addrs(&self) -> impl Iterator<Item = Option<SocketAddr>> + '_ {
        self.addresses.iter().copied()
    }

    /// The first of these, with the port that was chosen.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.local_addrs().flatten().next()
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

    /// A way for other threads, and for event handlers, to look at it and to end it.
    pub fn handle(&self) -> Handle {
        self.orders.handle()
    }

    /// Serves until [`Handle::shutdown`], or a signal where [`Proxy::catch_signals`] was called, has
    /// stopped it and the last connection has ended.
    ///
    /// # Errors
    /// What epoll_wait(2) says.
    pub fn run(&mut self) -> io::Result<()> {
        self.serve(None)
    }

    /// The same, and tells what happens. The loop stands still while `on_event` is at work: what takes
    /// long belongs into another thread.
    ///
    /// # Errors
    /// What epoll_wait(2) says.
    pub fn run_with(&mut self, mut on_event: impl FnMut(Event)) -> io::Result<()> {
        self.serve(Some(&mut on_event))
    }

    fn serve(&mut self, mut on_event: Option<&mut dyn FnMut(Event)>) -> io::Result<()> {
        let _running = self.orders.begin();
        // Anew: a handler that has panicked has left some that nobody is told any more.
        self.shared.events = on_event.is_some().then(Vec::new);
        checks::descriptors(self.max_connections);
        checks::names(&self.routes, &mut self.shared.resolver);
        checks::exposure(&self.listeners, &self.routes);
        let served = self.turns(&mut on_event);
        info!("stopped, {} connections dropped", self.table.len());
        for id in self.table.ids() {
            self.remove(id);
        }
        self.table.recycle();
        self.tell(&mut on_event);
        served
    }

    fn turns(&mut self, on_event: &mut Option<&mut dyn FnMut(Event)>) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        let mut patience = Some(Duration::ZERO);
        while !self.is_stopped() {
            match self.poll.poll(&mut events, patience) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            self.turn(&events);
            self.tell(on_event);
            patience = self.patience();
        }
        Ok(())
    }

    /// What has happened since.
    fn tell(&mut self, on_event: &mut Option<&mut dyn FnMut(Event)>) {
        if let (Some(events), Some(on_event)) = (&mut self.shared.events, on_event) {
            events.drain(..).for_each(on_event);
        }
    }

    fn turn(&mut self, events: &Events) {
        let now = self.clock();
        if std::mem::take(&mut self.goes_on) {
            self.shared.stats.turn.add(now - self.shared.now);
        }
        self.shared.now = now;
        for event in events {
            self.dispatch(event);
        }
        for id in std::mem::take(&mut self.runnable) {
            self.visit(id, |connection, route, shared| {
                connection.listed = false;
                connection.serve(route, shared)
            });
        }
        while let Some((due, id)) = self.timers.pop(self.shared.now) {
            self.on_timer(due, id);
        }
        self.accept_all();
        self.answer_connections();
        if std::mem::take(&mut self.called) {
            self.orders.take().into_iter().for_each(|order| self.obey(order));
        }
        self.say_dial_failures();
        self.table.recycle();
        if self.shared.pool.has_calmed() {
            sys::trim_allocator();
        }
    }

    fn dispatch(&mut self, event: &Readiness) {
        match event.token() {
            SIGNALS => self.on_signals(),
            WAKER => {
                self.called = true;
                self.on_answers();
            }
            Token(token) if token >= LISTENERS => {
                if let Some(listener) = self.listeners.get_mut(token - LISTENERS) {
                    listener.ready = true;
                }
            }
            Token(token) => {
                let (slot, side) = ((token >> 1) as u32, token & 1);
                if let Some((id, _)) = self.table.get(slot) {
                    self.visit(id, |connection, route, shared| {
                        connection.on_event(side, event, route, shared);
                        connection.serve(route, shared)
                    });
                }
            }
        }
    }

    /// Lets a connection work, and does what follows from it.
    fn visit(
        &mut self,
        id: ConnectionId,
        work: impl FnOnce(&mut Connection, &Route, &mut Shared) -> Next,
    ) {
        let Some(connection) = self.table.get_id(id) else { return };
        let route = &self.routes[connection.route()];
        match work(connection, route, &mut self.shared) {
            Next::Over => return self.remove(id),
            Next::Again if !connection.listed => {
                connection.listed = true;
                self.runnable.push(id);
            }
            _ => {}
        }
        let wake = connection.wake_at();
        if wake < connection.scheduled {
            connection.scheduled = wake;
            self.timers.push(wake, id);
            if self.timers.are_stale(self.table.len()) {
                let table = &mut self.table;
                self.timers.sweep(|due, id| {
                    table.get_id(id).is_some_and(|connection| connection.scheduled == due)
                });
            }
        }
    }

    fn remove(&mut self, id: ConnectionId) {
        let Some(connection) = self.table.get_id(id) else { return };
        connection.finish(&mut self.shared);
        self.asking -= usize::from(connection.asks_about_us());
        self.table.remove(id.slot);
        // A descriptor is free.
        self.accept_again = None;
    }

    fn on_timer(&mut self, due: Time, id: ConnectionId) {
        let Some(connection) = self.table.get_id(id) else { return };
        if connection.scheduled != due {
            return; // an entry that an earlier one has replaced
        }
        connection.scheduled = Time::NEVER;
        self.visit(id, Connection::on_timer);
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
                Signal::Stop => self.stop(self.shared.limits.drain_timeout),
                Signal::Reload => self.shared.secrets.read_again(&self.routes),
                Signal::Report => self.report(),
            }
        }
    }

    /// Stops accepting and says 1001 to everybody; whoever is there after `drain` is dropped.
    fn stop(&mut self, drain: Duration) {
        let at = self.shared.now + drain;
        if let Some(earlier) = self.stops_at {
            self.stops_at = Some(earlier.min(at));
            return;
        }
        self.stops_at = Some(at);
        info!("stopping: {} connections to end", self.view().count());
        self.listeners.clear();
        for id in self.table.ids() {
            self.close(id, Why::Shutdown, CloseCode::GOING_AWAY);
        }
    }

    /// Ends a connection in good order.
    fn close(&mut self, id: ConnectionId, why: Why, code: CloseCode) {
        self.visit(id, |connection, route, shared| {
            connection.close(why, code, shared);
            connection.serve(route, shared)
        });
    }

    fn is_stopped(&self) -> bool {
        self.stops_at.is_some_and(|at| self.table.len() == 0 || at <= self.shared.now)
    }

    fn report(&mut self) {
        info!(
            "{} connections, {} bytes kept of {}",
            self.view().count(),
            self.shared.pool.lent(),
            self.shared.limits.max_memory
        );
        for connection in self.view().connections() {
            info!("{connection}");
        }
    }

    fn clock(&self) -> Time {
        Time(0) + self.began.elapsed()
    }

    /// How long the poll may wait.
    fn patience(&mut self) -> Option<Duration> {
        let can_accept = (0..self.listeners.len()).any(|index| self.may_accept(index));
        if !self.runnable.is_empty() || can_accept {
            self.goes_on = true;
            return Some(Duration::ZERO);
        }
        // Read again, for the turn has taken its time.
        let now = self.clock();
        self.shared.stats.turn.add(now - self.shared.now);
        let times = [self.timers.next(), self.accept_again, self.stops_at];
        let next = times.into_iter().flatten().min()?;
        // Rounded up, or it would spin.
        Some((next - now) + Duration::from_micros(999))
    }

    // Questions.

    fn answer_connections(&mut self) {
        while let Some((id, question)) = self.shared.questions.pop() {
            let answer = self.view().answer(question);
            self.visit(id, |connection, route, shared| {
                connection.on_answer(&answer, route, shared)
            });
        }
    }

    fn obey(&mut self, order: Order) {
        // Whoever has asked may be gone.
        match order {
            Order::Stats(to) => drop(to.send(self.view().stats())),
            Order::Connections(to) => drop(to.send(self.view().connections())),
            Order::Count(to) => drop(to.send(self.view().count())),
            Order::Close(id, code) => self.close(id, Why::Requested, code),
            Order::Shutdown(drain) => self.stop(drain),
        }
    }

    fn view(&self) -> View<'_> {
        let Self { table, routes, listening, shared, .. } = self;
        View { table, routes, listening, shared }
    }

    // Names.

    fn on_answers(&mut self) {
        while let Some(((name, _), answer, waiting)) = self.shared.resolver.next() {
            for who in waiting {
                match (who, &answer) {
                    (Some(id), answer) => self.visit(id, |connection, route, shared| {
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;
    use std::panic::{catch_unwind, AssertUnwindSafe};

    #[test]
    fn nothing_is_kept_to_be_told_to_nobody() {
        let config = Config::builder().local("127.0.0.1:0").remote("127.0.0.1:1").build().unwrap();
        let mut proxy = Proxy::bind(config).unwrap();
        let _peer = TcpStream::connect(proxy.local_addr().unwrap()).unwrap();
        let panics = |event| panic!("this panic is part of the test: {event}");
        catch_unwind(AssertUnwindSafe(|| proxy.run_with(panics))).unwrap_err();
        proxy.stop(Duration::ZERO);
        proxy.run().unwrap();
        assert_eq!((proxy.shared.events, proxy.table.len()), (None, 0));
    }
}
