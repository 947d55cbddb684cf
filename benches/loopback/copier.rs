//! The yardstick: a plain TCP copier without any WebSocket in it.
//!
//! One thread, level-triggered epoll, one shared 64 KiB buffer, one read and one write per event. What
//! the other side refuses waits in a buffer of its own, and the source is not read until that is gone.
//! Runs as a process of its own, so that its CPU and memory can be told from those of the load.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use crate::epoll::{self, Epoll, ERROR, HANG_UP, IN, OUT};

const BUFFER: usize = 64 * 1024;
const LISTENER: u64 = u64::MAX;
const CLIENT: usize = 0;
const TARGET: usize = 1;

/// Copies between a new loopback port, told on stdout, and `target_port`, until it is killed.
pub fn run(target_port: u16) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let epoll = Epoll::new(1024)?;
    epoll.add(&listener, LISTENER, IN)?;
    println!("listening tcp://127.0.0.1:{}", listener.local_addr()?.port());
    let mut copier = Copier {
        listener,
        target_port,
        epoll,
        pairs: Vec::new(),
        free: Vec::new(),
        buffer: vec![0; BUFFER],
    };
    loop {
        copier.turn()?;
    }
}

struct Copier {
    listener: TcpListener,
    target_port: u16,
    epoll: Epoll,
    /// A token is `slot << 1 | side`.
    pairs: Vec<Option<Pair>>,
    /// Slots that hold `None`.
    free: Vec<usize>,
    buffer: Vec<u8>,
}

struct Pair {
    legs: [Leg; 2],
    /// The target has not answered; the client is not registered until it has.
    dialling: bool,
}

struct Leg {
    stream: TcpStream,
    /// `pending[sent..]` is still to be written to this leg; empty when everything was taken.
    pending: Vec<u8>,
    sent: usize,
    /// This leg's stream has ended: nothing more is read from it.
    ended: bool,
    /// What epoll was last told; `None` when the leg is not registered.
    interest: Option<u32>,
}

/// What is to become of a pair after an event.
#[derive(PartialEq)]
enum Next {
    Keep,
    Close,
}

impl Copier {
    /// One wait and all it reported. Slots are used again only in the next turn, so that an event of a
    /// pair that closed in this one finds nothing.
    fn turn(&mut self) -> io::Result<()> {
        let count = self.epoll.wait(None)?;
        let mut closed = Vec::new();
        for index in 0..count {
            let (token, events) = self.epoll.event(index);
            if token == LISTENER {
                self.accept()?;
            } else if self.serve(token, events)? == Next::Close {
                self.pairs[(token >> 1) as usize] = None;
                closed.push((token >> 1) as usize);
            }
        }
        self.free.append(&mut closed);
        Ok(())
    }

    /// Takes one connection; if more wait, level triggering says so again.
    fn accept(&mut self) -> io::Result<()> {
        let client = match epoll::accept(&self.listener) {
            Ok(client) => client,
            Err(e) if is_passing(&e) => return Ok(()),
            Err(e) => return Err(e),
        };
        let target = epoll::dial(self.target_port)?;
        client.set_nodelay(true)?;
        target.set_nodelay(true)?;
        let mut pair = Pair { legs: [Leg::new(client), Leg::new(target)], dialling: true };
        let slot = self.free.pop().unwrap_or_else(|| {
            self.pairs.push(None);
            self.pairs.len() - 1
        });
        pair.legs[TARGET].register(&self.epoll, slot, TARGET, OUT)?;
        self.pairs[slot] = Some(pair);
        Ok(())
    }

    fn serve(&mut self, token: u64, events: u32) -> io::Result<Next> {
        let (slot, side) = ((token >> 1) as usize, (token & 1) as usize);
        let Some(pair) = self.pairs[slot].as_mut() else {
            return Ok(Next::Keep);
        };
        if pair.dialling {
            if events & (ERROR | HANG_UP) != 0 || pair.legs[TARGET].stream.take_error()?.is_some() {
                return Ok(Next::Close);
            }
            pair.dialling = false;
        } else if events & ERROR != 0 || pair.copy(side, events, &mut self.buffer).is_err() {
            return Ok(Next::Close);
        }
        if pair.is_done() {
            return Ok(Next::Close);
        }
        pair.register(&self.epoll, slot, side, events)?;
        Ok(Next::Keep)
    }
}

impl Pair {
    /// Writes what waits for `side`, then moves one read from it to the other leg.
    fn copy(&mut self, side: usize, events: u32, buffer: &mut [u8]) -> io::Result<()> {
        if events & OUT != 0 {
            self.legs[side].flush()?;
            if self.legs[side].pending.is_empty() && self.legs[1 - side].ended {
                self.legs[side].end()?;
            }
        }
        if events & (IN | HANG_UP) == 0 || !self.wants_read(side) {
            return Ok(());
        }
        match self.legs[side].stream.read(buffer) {
            Ok(0) => {
                self.legs[side].ended = true;
                if self.legs[1 - side].pending.is_empty() {
                    self.legs[1 - side].end()?;
                }
                Ok(())
            }
            Ok(n) => self.legs[1 - side].write(&buffer[..n]),
            Err(e) if is_passing(&e) => Ok(()),
            Err(e) => Err(e),
        }
    }

    fn wants_read(&self, side: usize) -> bool {
        !self.legs[side].ended && self.legs[1 - side].pending.is_empty()
    }

    fn is_done(&self) -> bool {
        self.legs.iter().all(|leg| leg.ended && leg.pending.is_empty())
    }

    /// Tells epoll what each leg waits for, where that changed. A leg that hung up and may not be read
    /// is taken out, or its hang-up would be reported in every turn.
    fn register(
        &mut self,
        epoll: &Epoll,
        slot: usize,
        served: usize,
        events: u32,
    ) -> io::Result<()> {
        for side in [TARGET, CLIENT] {
            let may_read = if self.wants_read(side) { IN } else { 0 };
            let leg = &mut self.legs[side];
            let interest = may_read | if leg.pending.is_empty() { 0 } else { OUT };
            if side == served && events & HANG_UP != 0 && interest == 0 {
                leg.unregister(epoll)?;
            } else {
                leg.register(epoll, slot, side, interest)?;
            }
        }
        Ok(())
    }
}

impl Leg {
    fn new(stream: TcpStream) -> Self {
        Self { stream, pending: Vec::new(), sent: 0, ended: false, interest: None }
    }

    /// Writes at once; what was refused is kept.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let n = match self.stream.write(bytes) {
            Ok(n) => n,
            Err(e) if is_passing(&e) => 0,
            Err(e) => return Err(e),
        };
        if n < bytes.len() {
            self.pending = bytes[n..].to_vec();
            self.sent = 0;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.stream.write(&self.pending[self.sent..]) {
            Ok(n) => self.sent += n,
            Err(e) if is_passing(&e) => {}
            Err(e) => return Err(e),
        }
        if self.sent == self.pending.len() {
            self.pending = Vec::new();
            self.sent = 0;
        }
        Ok(())
    }

    /// Passes the end of the other leg's stream on.
    fn end(&self) -> io::Result<()> {
        match self.stream.shutdown(std::net::Shutdown::Write) {
            // The other side ended at the same time.
            Err(e) if e.kind() == ErrorKind::NotConnected => Ok(()),
            other => other,
        }
    }

    fn register(
        &mut self,
        epoll: &Epoll,
        slot: usize,
        side: usize,
        interest: u32,
    ) -> io::Result<()> {
        let token = (slot << 1 | side) as u64;
        match self.interest {
            Some(known) if known == interest => return Ok(()),
            Some(_) => epoll.modify(&self.stream, token, interest)?,
            None if interest == 0 => return Ok(()),
            None => epoll.add(&self.stream, token, interest)?,
        }
        self.interest = Some(interest);
        Ok(())
    }

    fn unregister(&mut self, epoll: &Epoll) -> io::Result<()> {
        match self.interest.take() {
            Some(_) => epoll.remove(&self.stream),
            None => Ok(()),
        }
    }
}

/// Nothing is wrong, there is only nothing to do now.
fn is_passing(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::ConnectionAborted
    )
}
