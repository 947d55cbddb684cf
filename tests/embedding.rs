//! The proxy inside another program, this one: what its events tell, what a handle sees and orders
//! from any thread, and that all of it adds up to what really happened.

mod common;

use std::io;
use std::sync::mpsc::{channel, Receiver};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use common::ws::request;
use common::{
    Stream, Target, TempDir, Wait, Ws, BINARY, CONTINUATION, FIN, PATIENCE, PING, PONG, TEXT,
};
use ws_tcp_proxy::cli::Builder;
use ws_tcp_proxy::config::Config;
use ws_tcp_proxy::policy::admit::Status;
use ws_tcp_proxy::proto::close::CloseCode;
use ws_tcp_proxy::session::ended::{By, Ended, Why};
use ws_tcp_proxy::stats::{ConnectionId, ConnectionStats, State, Stats};
use ws_tcp_proxy::{Event, Handle, Proxy};

/// A proxy in a thread of its own, stopped when dropped.
struct Embedded {
    handle: Handle,
    events: Receiver<Event>,
    port: u16,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Embedded {
    /// From a free loopback port to `remote`.
    fn to(remote: &str, options: impl FnOnce(Builder) -> Builder) -> Self {
        let config =
            options(Config::builder().local("127.0.0.1:0").remote(remote)).build().unwrap();
        Self::serve(config, |_, _| {})
    }

    /// `also` sees each event first.
    fn serve(config: Config, also: fn(&Handle, &Event)) -> Self {
        let mut proxy = Proxy::bind(config).unwrap();
        let (handle, port) = (proxy.handle(), proxy.local_addr().map_or(0, |at| at.port()));
        let (happens, events) = channel();
        let ours = handle.clone();
        let thread = thread::spawn(move || {
            proxy.run_with(|event| {
                also(&ours, &event);
                let _ = happens.send(event);
            })
        });
        Self { handle, events, port, thread: Some(thread) }
    }

    #[track_caller]
    fn event(&self) -> Event {
        self.events.recv_timeout(PATIENCE).expect("an event")
    }

    /// The next events, which are all about one connection.
    #[track_caller]
    fn events<const N: usize>(&self) -> (ConnectionId, [Event; N]) {
        let events = [(); N].map(|()| self.event());
        let id = events[0].id().expect("the first tells of a connection");
        assert!(events.iter().all(|event| event.id() == Some(id)), "{events:#?}");
        (id, events)
    }

    /// Waits until that is how things stand.
    #[track_caller]
    fn wait_for(&self, what: &str, is_so: impl Fn(&Stats) -> bool) -> Stats {
        let wait = Wait::begin();
        loop {
            let stats = self.handle.stats().unwrap();
            if is_so(&stats) {
                return stats;
            }
            wait.go_on(&format!("{what}: {stats:#?}"));
        }
    }

    fn stream(&self) -> Stream {
        Stream::tcp(self.port)
    }

    fn open(&self) -> Ws {
        Ws::open(self.stream(), "/", &[])
    }

    /// Stops it and returns the events that are left.
    #[track_caller]
    fn stop(mut self, drain: Duration) -> Vec<Event> {
        self.handle.shutdown(drain).unwrap();
        self.thread.take().unwrap().join().expect("the proxy does not panic").unwrap();
        self.events.try_iter().collect()
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        let _ = self.handle.shutdown(Duration::ZERO);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn code(code: u16) -> CloseCode {
    CloseCode::try_from(code).unwrap()
}

fn ended(event: &Event) -> (Ended, ConnectionStats) {
    match event {
        Event::Closed { why, stats, .. } => (*why, *stats),
        other => panic!("{other:?}"),
    }
}

#[test]
fn it_can_be_moved_and_asked_from_anywhere() {
    fn is_send<T: Send>() {}
    fn is_shared<T: Send + Sync + Clone>() {}
    is_send::<Proxy>();
    is_send::<Event>();
    is_shared::<Handle>();
}

#[test]
fn a_good_connection_is_opened_connected_and_closed() {
    let target = Target::listen();
    let proxy = Embedded::to(&target.endpoint, |b| b);
    let mut peer = proxy.open();
    let mut far = target.accept();
    let (id, [opened, connected]) = proxy.events();
    let Event::Opened { peer: Some(from), route: 0, .. } = opened else { panic!("{opened:?}") };
    assert!(from.ip().is_loopback());
    let address = format!("tcp://{}", target.endpoint);
    assert_eq!(connected, Event::Connected { id, target: address.clone() });

    peer.send(BINARY, b"five!");
    peer.send(TEXT & !FIN, b"and ");
    peer.send(FIN | CONTINUATION, b"six");
    assert_eq!(far.receive(12), b"five!and six");
    far.send(b"answer");
    assert_eq!(peer.receive(6), b"answer");
    let [seen] = &proxy.handle.connections().unwrap()[..] else { panic!("one connection") };
    assert_eq!((seen.id, seen.state, seen.peer, seen.route), (id, State::Open, Some(from), 0));
    assert_eq!((&seen.target, seen.client, seen.ended), (&address, None, None));
    assert_eq!(seen.local, format!("ws://127.0.0.1:{}", proxy.port));
    assert_eq!((seen.stats.bytes_in, seen.stats.messages_in), (12, 2));
    assert_eq!((seen.stats.bytes_out, seen.stats.messages_out), (6, 1));
    assert_eq!((seen.stats.pings, seen.stats.round_trip, seen.stats.buffered), (0, None, 0));

    peer.close(4001);
    far.expect_fin();
    drop(far);
    let (why, stats) = ended(&proxy.event());
    assert_eq!((why.by, why.why, why.code.get()), (By::Peer, Why::Close, 4001));
    assert_eq!(ConnectionStats { lasted: seen.stats.lasted, ..stats }, seen.stats);
    assert_eq!(proxy.handle.connection_count().unwrap(), 0);
    assert!(proxy.stop(PATIENCE).is_empty());
}

#[test]
fn whoever_is_refused_or_leaves_early_is_told_of_once() {
    let nobody = Target::listen().endpoint; // closed at once
    let proxy = Embedded::to(&nobody, |b| b);

    let mut page = proxy.stream();
    page.send(b"GET /page HTTP/1.1\r\nHost: a\r\n\r\n");
    page.receive_until_fin();
    drop(page);
    let (_, [opened, refused]) = proxy.events();
    assert!(matches!(opened, Event::Opened { .. }), "{opened:?}");
    let Event::Refused { status: Status::UpgradeRequired, why, .. } = &refused else {
        panic!("{refused:?}")
    };
    assert!(!why.is_empty());

    let mut unlucky = proxy.stream();
    unlucky.send(request("/", &[]).as_bytes());
    assert!(unlucky.receive_until_fin().starts_with(b"HTTP/1.1 502 "));
    drop(unlucky);
    let (_, [_, error, refused]) = proxy.events();
    let Event::Error { what, .. } = &error else { panic!("{error:?}") };
    assert!(what.contains(&nobody), "{what}");
    assert!(matches!(refused, Event::Refused { status: Status::BadGateway, .. }), "{refused:?}");

    drop(proxy.stream());
    let (_, [_, left]) = proxy.events();
    assert_eq!(ended(&left).0.why, Why::NoRequest);
    assert!(proxy.stop(PATIENCE).is_empty());
}

/// What the log, an event and a connection say of the same is said in the same words.
#[test]
fn events_and_connections_read_like_the_log() {
    let target = Target::listen();
    let proxy = Embedded::to(&target.endpoint, |b| b);
    let mut peer = proxy.open();
    let mut far = target.accept();
    peer.send(BINARY, b"four");
    far.receive(4);
    let (id, [opened, connected]) = proxy.events();
    assert!(opened.to_string().starts_with(&format!("{id} accepted route=0 peer=127.0.0.1:")));
    assert_eq!(connected.to_string(), format!("{id} open target=tcp://{}", target.endpoint));
    let seen = proxy.handle.connections().unwrap()[0].to_string();
    assert!(seen.starts_with(&format!("{id} open peer=127.0.0.1:")), "{seen}");
    assert!(seen.contains(" in=4 out=0 msgs_in=1 msgs_out=0 secs="), "{seen}");
    peer.close(1000);
    drop(far);
    let closed = proxy.event().to_string();
    let start = "closed code=1000 by=peer why=close in=4 out=0 msgs_in=1 msgs_out=0 secs=";
    assert!(closed.starts_with(&format!("{id} {start}")), "{closed}");
}

#[test]
fn a_handle_ends_a_connection_with_the_code_it_was_told() {
    let target = Target::listen();
    let proxy = Embedded::to(&target.endpoint, |b| b);
    let mut peer = proxy.open();
    let mut far = target.accept();
    let (id, [_, _]) = proxy.events();
    far.send(b"in flight");
    assert_eq!(peer.receive(9), b"in flight");
    proxy.handle.close(id, code(4000)).unwrap();
    let (said, text) = peer.expect_close_and_reason();
    assert_eq!((said, &text[..]), (4000, "requested"));
    peer.send(common::CLOSE, &common::ws::reason(4000, b""));
    peer.expect_fin();
    drop(peer);
    far.expect_fin();
    drop(far);
    let (why, _) = ended(&proxy.event());
    assert_eq!((why.by, why.why, why.code.get()), (By::Proxy, Why::Requested, 4000));
    // It is gone: nobody has its name any more.
    proxy.handle.close(id, code(1000)).unwrap();
    let stats = proxy.handle.stats().unwrap();
    assert_eq!((stats.closed.of(code(4000), By::Proxy), stats.closed.total()), (1, 1));
}

#[test]
fn a_handle_ends_a_connection_that_is_not_open_yet() {
    let target = Target::listen();
    let proxy = Embedded::to("json:", |b| b.allow("127.0.0.1"));
    // Before the request.
    let mut early = proxy.stream();
    let (id, [_]) = proxy.events();
    proxy.handle.close(id, code(4000)).unwrap();
    assert!(early.receive_until_fin().starts_with(b"HTTP/1.1 503 "));
    drop(early);
    let refused = proxy.event();
    assert!(matches!(refused, Event::Refused { status: Status::Unavailable, .. }), "{refused:?}");
    // Behind it, before the target is named.
    let mut peer = proxy.open();
    peer.expect(TEXT);
    let (id, [_]) = proxy.events();
    proxy.handle.close(id, code(4000)).unwrap();
    assert_eq!(peer.expect_close(), 4000);
    drop(peer);
    let (why, _) = ended(&proxy.event());
    assert_eq!((why.why, why.code.get()), (Why::Requested, 4000));
    drop(target);
}

#[test]
fn a_handle_ends_a_connection_of_two_streams() {
    let target = Target::listen();
    let config = Config::builder().local("tcp://127.0.0.1:0").remote(&target.endpoint);
    let proxy = Embedded::serve(config.build().unwrap(), |_, _| {});
    let mut near = proxy.stream();
    let mut far = target.accept();
    let (id, [_, _]) = proxy.events();
    proxy.handle.close(id, code(4000)).unwrap();
    near.expect_fin();
    far.expect_fin();
    drop((near, far));
    assert_eq!(ended(&proxy.event()).0.why, Why::Requested);
}

#[test]
fn an_event_handler_may_order_and_is_told_that_it_cannot_ask() {
    let target = Target::listen();
    let config = Config::builder().local("127.0.0.1:0").remote(&target.endpoint).build().unwrap();
    let proxy = Embedded::serve(config, |handle, event| {
        if let Event::Connected { id, .. } = event {
            for error in [
                handle.stats().unwrap_err(),
                handle.connections().unwrap_err(),
                handle.connection_count().unwrap_err(),
            ] {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
            }
            handle.close(*id, CloseCode::try_from(4999).unwrap()).unwrap();
        }
    });
    let mut peer = proxy.open();
    assert_eq!(peer.expect_close(), 4999);
    drop((peer, target.accept()));
    let (_, [_, _, closed]) = proxy.events();
    assert_eq!(ended(&closed).0.code.get(), 4999);
}

#[test]
fn figures_are_those_of_what_was_done() {
    let target = Target::listen();
    let proxy = Embedded::to(&target.endpoint, |b| b.max_connections(9));
    let (mut bytes, mut messages) = (0, 0);
    for n in 1..=7_usize {
        let mut peer = proxy.open();
        let mut far = target.accept();
        for _ in 0..n {
            peer.send(BINARY, &vec![1; 100 * n]);
        }
        peer.send(PING, b"is no message");
        peer.expect(PONG);
        far.receive(100 * n * n);
        far.send(&vec![2; 10 * n]);
        peer.receive(10 * n);
        (bytes, messages) = (bytes + 100 * n * n, messages + n);
        match n {
            1..=4 => peer.close(1000),
            5 => peer.close(4242),
            // It goes without a word.
            _ => drop(peer),
        }
        far.expect_fin();
        drop(far);
    }
    for path in ["/?encoding=none", "/?encoding=hex", "/?encoding="] {
        let mut refused = proxy.stream();
        refused.send(request(path, &[]).as_bytes());
        assert!(refused.receive_until_fin().starts_with(b"HTTP/1.1 400 "));
    }
    let stats = proxy
        .wait_for("all have ended", |stats| stats.refused.total() + stats.closed.total() == 10);
    assert_eq!((stats.accepted, stats.opened, stats.unheard), (10, 7, 0));
    assert_eq!([stats.opening, stats.open, stats.closing], [0; 3]);
    assert_eq!((stats.refused.of(Status::BadRequest), stats.refused.total()), (3, 3));
    let closed: Vec<_> = stats.closed.iter().filter(|(_, _, count)| *count > 0).collect();
    assert_eq!(closed, [("1000", By::Peer, 4), ("1006", By::Peer, 2), ("4000-4999", By::Peer, 1)]);
    assert_eq!((stats.bytes_in, stats.messages_in), (bytes as u64, messages as u64));
    assert_eq!(stats.bytes_out, (1..=7).sum::<u64>() * 10);
    assert_eq!(stats.messages_out, 7, "what comes in one segment is one message");
    assert_eq!((stats.handshake.count(), stats.connect.count()), (7, 7));
    assert!(stats.turn.count() > 0 && stats.pings == 0, "{stats:?}");
    assert_eq!((stats.pool_bytes, stats.pool_limit, stats.max_connections), (0, 64 << 20, 9));
    // One that is open counts as well, and its state.
    let mut peer = proxy.open();
    peer.send(BINARY, b"now");
    let mut far = target.accept();
    far.receive(3);
    let now = proxy.handle.stats().unwrap();
    assert_eq!((now.accepted, now.opened, now.open), (11, 8, 1));
    assert_eq!((now.bytes_in, now.messages_in), (stats.bytes_in + 3, stats.messages_in + 1));
}

#[test]
fn the_newest_connection_comes_first() {
    let target = Target::listen();
    let proxy = Embedded::to(&target.endpoint, |b| b);
    let mut peers = Vec::new();
    let mut ids = Vec::new();
    for _ in 0..5 {
        peers.push((proxy.open(), target.accept()));
        ids.push(proxy.events::<2>().0);
    }
    // The slot of the first is used again, by the newest.
    let (peer, far) = peers.remove(0);
    peer.close(1000);
    drop(far);
    assert_eq!(proxy.event().id(), Some(ids.remove(0)));
    peers.push((proxy.open(), target.accept()));
    ids.push(proxy.events::<2>().0);
    ids.reverse();
    let seen = proxy.handle.connections().unwrap();
    assert_eq!(seen.iter().map(|connection| connection.id).collect::<Vec<_>>(), ids);
    assert!(seen.windows(2).all(|pair| pair[0].since >= pair[1].since), "{seen:#?}");
    assert_eq!(proxy.handle.connection_count().unwrap(), 5);
}

#[test]
fn stopping_does_not_wait_for_a_stuck_peer_longer_than_it_may() {
    let target = Target::listen();
    let proxy = Embedded::to(&target.endpoint, |b| b.close_timeout(Duration::from_secs(3600)));
    let stuck = proxy.open();
    let far = target.accept();
    let (id, [_, _]) = proxy.events();
    let handle = proxy.handle.clone();
    let rest = proxy.stop(Duration::from_millis(200));
    let [closed] = &rest[..] else { panic!("{rest:#?}") };
    assert_eq!((closed.id(), ended(closed).0.why), (Some(id), Why::Shutdown));
    assert_eq!(handle.connection_count().unwrap_err().kind(), io::ErrorKind::NotConnected);
    drop((stuck, far));
}

/// The earlier end counts, and whoever ends in good order ends it sooner still.
#[test]
fn a_second_shutdown_can_only_hurry() {
    let target = Target::listen();
    let proxy = Embedded::to(&target.endpoint, |b| b.close_timeout(Duration::from_secs(3600)));
    let stuck = proxy.open();
    let _far = target.accept();
    let handle = proxy.handle.clone();
    for drain in [Duration::MAX, Duration::from_secs(7200)] {
        handle.shutdown(drain).unwrap();
    }
    proxy.wait_for("it is ending", |stats| stats.closing == 1);
    proxy.stop(Duration::ZERO);
    drop(stuck);
}

#[test]
fn a_handle_outlives_the_proxy() {
    let config = || Config::builder().local("127.0.0.1:0").remote("127.0.0.1:1").build().unwrap();
    let gone = |handle: &Handle| {
        let id = "c0.1".parse().unwrap();
        for error in [
            handle.stats().map(drop),
            handle.connections().map(drop),
            handle.connection_count().map(drop),
            handle.close(id, CloseCode::NORMAL),
            handle.shutdown(Duration::ZERO),
        ] {
            assert_eq!(error.unwrap_err().kind(), io::ErrorKind::NotConnected);
        }
    };
    // It has run.
    let mut proxy = Proxy::bind(config()).unwrap();
    let handle = proxy.handle();
    handle.shutdown(Duration::ZERO).unwrap();
    proxy.run().unwrap();
    gone(&handle);
    // It never has, and somebody is waiting for that.
    let proxy = Proxy::bind(config()).unwrap();
    let handle = proxy.handle();
    let waiting = thread::spawn({
        let handle = handle.clone();
        move || handle.stats().map(drop)
    });
    drop(proxy);
    assert_eq!(waiting.join().unwrap().unwrap_err().kind(), io::ErrorKind::NotConnected);
    gone(&handle);
    // Its event handler has panicked.
    let target = Target::listen();
    let config = Config::builder().local("127.0.0.1:0").remote(&target.endpoint).build().unwrap();
    let mut proxy = Proxy::bind(config).unwrap();
    let (handle, port) = (proxy.handle(), proxy.local_addr().unwrap().port());
    let running = thread::spawn(move || {
        proxy.run_with(|event| panic!("this panic is part of the test: {event}"))
    });
    let _peer = Stream::tcp(port);
    assert!(running.join().is_err());
    gone(&handle);
}

#[test]
fn many_threads_may_ask_while_connections_come_and_go() {
    let echo = Target::echo();
    let proxy = Embedded::to(&echo, |b| b);
    thread::scope(|scope| {
        for _ in 0..8 {
            let handle = proxy.handle.clone();
            scope.spawn(move || {
                let mut accepted = 0;
                for _ in 0..200 {
                    let stats = handle.stats().unwrap();
                    assert!(stats.accepted >= accepted, "{stats:?}");
                    accepted = stats.accepted;
                    let now = (stats.opening + stats.open + stats.closing) as u64;
                    let before = stats.refused.total() + stats.closed.total();
                    assert_eq!(accepted, now + before, "{stats:?}");
                    assert!(handle.connections().unwrap().len() <= 40);
                    assert!(handle.connection_count().unwrap() <= 40);
                }
            });
        }
        for _ in 0..4 {
            let port = proxy.port;
            scope.spawn(move || {
                for n in 0..10 {
                    let mut peer = Ws::open(Stream::tcp(port), "/", &[]);
                    peer.send(BINARY, &[n; 10]);
                    assert_eq!(peer.receive(10), [n; 10]);
                    peer.close(1000);
                }
            });
        }
    });
    let stats = proxy.wait_for("all have ended", |stats| stats.closed.total() == 40);
    assert_eq!((stats.accepted, stats.opened), (40, 40));
    assert_eq!((stats.bytes_in, stats.bytes_out), (400, 400));
    let events: Vec<_> = proxy.stop(PATIENCE);
    let count = |is: fn(&Event) -> bool| events.iter().filter(|event| is(event)).count();
    assert_eq!(count(|event| matches!(event, Event::Opened { .. })), 40);
    assert_eq!(count(|event| matches!(event, Event::Connected { .. })), 40);
    assert_eq!(count(|event| matches!(event, Event::Closed { .. })), 40);
    assert_eq!(events.len(), 120);
}

#[test]
fn every_route_says_where_it_listens() {
    let directory = TempDir::new();
    let path = directory.path().join("socket");
    let config = Config::builder()
        .local(format!("ws+unix:{}", path.display()))
        .remote("127.0.0.1:1")
        .local("127.0.0.1:0")
        .remote("127.0.0.1:1")
        .build()
        .unwrap();
    let proxy = Proxy::bind(config).unwrap();
    let all: Vec<_> = proxy.local_addrs().collect();
    assert_eq!((all[0], all[1]), (None, proxy.local_addr()));
    let port = proxy.local_addr().expect("the second is TCP").port();
    let names: Vec<_> = proxy.listening().collect();
    assert_eq!(names, [format!("ws+unix:{}", path.display()), format!("ws://127.0.0.1:{port}")]);
}

#[test]
fn what_cannot_be_served_is_an_error_and_no_panic() {
    let mut config = Config::builder().local("127.0.0.1:0").remote("127.0.0.1:1").build().unwrap();
    config.limits.buffer_size = 0;
    let error = Proxy::bind(config.clone()).map(drop).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    config.routes.clear();
    assert_eq!(Proxy::bind(config).map(drop).unwrap_err().kind(), io::ErrorKind::InvalidInput);
}
