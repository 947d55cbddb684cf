//! The proxy from other threads: [`Handle`], and what its orders wait in.
//!
//! Owns the way from a thread to the loop: a list of orders and what wakes the loop. Never looks at
//! a connection: the loop does, between two turns.

use std::fmt;
use std::io;
use std::sync::mpsc::{sync_channel, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use mio::Waker;

use crate::proto::close::CloseCode;
use crate::stats::{ConnectionId, ConnectionInfo, Stats};

/// A running [`crate::Proxy`], for any thread: looks at it, ends connections, ends it. Cheap to clone.
///
/// What asks waits for the loop's answer, or for [`crate::Proxy::run`] to begin; it never waits for a
/// peer. What orders does not wait, and so may be called from the event handler of
/// [`crate::Proxy::run_with`] as well.
#[derive(Clone)]
pub struct Handle(Arc<Desk>);

impl Handle {
    /// Everything together.
    ///
    /// # Errors
    /// `NotConnected` when the proxy has stopped. `WouldBlock` on its own thread, in the event
    /// handler, which would wait for itself.
    pub fn stats(&self) -> io::Result<Stats> {
        self.ask(Order::Stats)
    }

    /// Every connection there is, the newest first.
    ///
    /// # Errors
    /// As of [`Handle::stats`].
    pub fn connections(&self) -> io::Result<Vec<ConnectionInfo>> {
        self.ask(Order::Connections)
    }

    /// How many connections there are, whatever state they are in.
    ///
    /// # Errors
    /// As of [`Handle::stats`].
    pub fn connection_count(&self) -> io::Result<usize> {
        self.ask(Order::Count)
    }

    /// Ends a connection in good order, however far it has come: a WebSocket is told that code, what
    /// is in flight is delivered, and a request that was not answered yet is refused with 503. One
    /// that has ended meanwhile is left alone. Returns before any of it has happened.
    ///
    /// # Errors
    /// `NotConnected` when the proxy has stopped, `InvalidInput` for a code that must not be sent
    /// (RFC 6455 §7.4.1), such as [`CloseCode::ABNORMAL`].
    pub fn close(&self, id: ConnectionId, code: CloseCode) -> io::Result<()> {
        if CloseCode::sendable(code.get()).is_none() {
            let text =
                format!("close code {} must not be sent; use 1000, or 3000 to 4999", code.get());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        self.give(Order::Close(id, code))
    }

    /// Stops the proxy in good order, as SIGTERM does: nobody is accepted any more, every WebSocket
    /// is told 1001, and [`crate::Proxy::run`] returns when the last connection has ended, or after
    /// `drain`. Where it is stopping already the earlier end counts. Returns before any of it has
    /// happened.
    ///
    /// # Errors
    /// `NotConnected` when the proxy has stopped.
    pub fn shutdown(&self, drain: Duration) -> io::Result<()> {
        self.give(Order::Shutdown(drain))
    }

    fn ask<T>(&self, order: impl FnOnce(SyncSender<T>) -> Order) -> io::Result<T> {
        if matches!(self.0.inbox().stage, Stage::Running(thread) if thread == thread::current().id())
        {
            let text = "the proxy's own thread cannot wait for its answer; ask from another one";
            return Err(io::Error::new(io::ErrorKind::WouldBlock, text));
        }
        let (answer, answered) = sync_channel(1);
        self.give(order(answer))?;
        // Fails when the order was dropped: the loop has ended meanwhile.
        answered.recv().map_err(|_| stopped())
    }

    fn give(&self, order: Order) -> io::Result<()> {
        let mut inbox = self.0.inbox();
        if inbox.stage == Stage::Ended {
            return Err(stopped());
        }
        inbox.orders.push(order);
        drop(inbox);
        self.0.waker.wake()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handle").field(&self.0.inbox().stage).finish()
    }
}

fn stopped() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the proxy has stopped")
}

/// What the loop is asked or told.
pub enum Order {
    Stats(SyncSender<Stats>),
    Connections(SyncSender<Vec<ConnectionInfo>>),
    Count(SyncSender<usize>),
    Close(ConnectionId, CloseCode),
    Shutdown(Duration),
}

/// What handles and the loop share.
struct Desk {
    waker: Arc<Waker>,
    inbox: Mutex<Inbox>,
}

struct Inbox {
    stage: Stage,
    orders: Vec<Order>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Orders wait for the loop to begin.
    Bound,
    Running(ThreadId),
    /// No order is taken any more.
    Ended,
}

impl Desk {
    /// Nothing panics while it is locked, so that a poisoned one is as good as any.
    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The loop's end. When it is dropped every handle is told that the proxy has stopped.
pub struct Orders(Arc<Desk>);

impl Orders {
    /// None yet; `waker` is called when there are.
    pub fn new(waker: Arc<Waker>) -> Self {
        let inbox = Mutex::new(Inbox { stage: Stage::Bound, orders: Vec::new() });
        Self(Arc::new(Desk { waker, inbox }))
    }

    /// One more handle.
    pub fn handle(&self) -> Handle {
        Handle(Arc::clone(&self.0))
    }

    /// This thread serves, until what is returned is dropped.
    pub fn begin(&self) -> Running {
        self.0.inbox().stage = Stage::Running(thread::current().id());
        Running(Arc::clone(&self.0))
    }

    /// What has come.
    pub fn take(&self) -> Vec<Order> {
        std::mem::take(&mut self.0.inbox().orders)
    }
}

impl Drop for Orders {
    fn drop(&mut self) {
        end(&self.0);
    }
}

/// While the loop runs. However it ends, nobody waits for it any more.
pub struct Running(Arc<Desk>);

impl Drop for Running {
    fn drop(&mut self) {
        end(&self.0);
    }
}

/// Whoever waits for an answer learns that none will come, by the end of what it waits at.
fn end(desk: &Desk) {
    let mut inbox = desk.inbox();
    inbox.stage = Stage::Ended;
    inbox.orders.clear();
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Poll, Token};

    fn orders() -> (Orders, Poll) {
        let poll = Poll::new().unwrap();
        let waker = Waker::new(poll.registry(), Token(0)).unwrap();
        (Orders::new(Arc::new(waker)), poll)
    }

    #[test]
    fn whoever_waits_is_told_when_the_loop_ends() {
        let (orders, mut poll) = orders();
        let handle = orders.handle();
        let asking = thread::spawn(move || (handle.connection_count(), handle));
        poll.poll(&mut mio::Events::with_capacity(1), None).unwrap();
        drop(orders.begin());
        let (answer, handle) = asking.join().unwrap();
        assert_eq!(answer.unwrap_err().kind(), io::ErrorKind::NotConnected);
        assert_eq!(handle.stats().unwrap_err().kind(), io::ErrorKind::NotConnected);
        assert_eq!(
            handle.shutdown(Duration::ZERO).unwrap_err().kind(),
            io::ErrorKind::NotConnected
        );
    }

    #[test]
    fn the_loops_own_thread_may_order_and_not_ask() {
        let (orders, _poll) = orders();
        let handle = orders.handle();
        let _running = orders.begin();
        assert_eq!(handle.stats().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        handle.shutdown(Duration::ZERO).unwrap();
        assert!(matches!(orders.take()[..], [Order::Shutdown(_)]));
    }

    #[test]
    fn sends_no_code_that_must_not_be_sent() {
        let (orders, _poll) = orders();
        let id = ConnectionId { slot: 0, generation: 1 };
        for code in [CloseCode::ABNORMAL, CloseCode::NO_STATUS] {
            let error = orders.handle().close(id, code).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
        assert!(orders.take().is_empty());
    }
}
