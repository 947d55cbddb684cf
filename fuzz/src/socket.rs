//! A stream socket as the loop sees it, with a script for a kernel.
//!
//! Owns what has arrived, what the other side still takes, and what epoll would say: an edge is
//! promised for what comes new and for room after a refusal, and for nothing else.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};

/// How a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// FIN.
    Eof,
    /// RST.
    Reset,
}

/// What an event says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Edge {
    pub readable: bool,
    pub writable: bool,
    /// Hang-up, error or urgent data.
    pub insists: bool,
    pub error: bool,
}

/// The socket.
#[derive(Debug)]
pub struct Socket {
    arrived: VecDeque<u8>,
    /// On the way, while `slow`.
    delayed: VecDeque<u8>,
    slow: bool,
    /// Comes behind what has arrived.
    finish: Option<Finish>,
    /// Bytes that the other side still takes.
    room: usize,
    /// A write was cut short: more room makes an edge.
    refused: bool,
    /// Writes fail.
    broken: bool,
    /// The next so many reads end early, as they would before an urgent mark, after so many bytes.
    marks: (u32, usize),
    edge: Edge,
    /// All that the other side has been given.
    pub taken: Vec<u8>,
    /// FIN has been sent.
    pub shut: bool,
}

impl Socket {
    /// A socket whose other side takes everything.
    pub fn new() -> Self {
        Self {
            arrived: VecDeque::new(),
            delayed: VecDeque::new(),
            slow: false,
            finish: None,
            room: usize::MAX,
            refused: false,
            broken: false,
            marks: (0, 0),
            edge: Edge::default(),
            taken: Vec::new(),
            shut: false,
        }
    }

    // What the other side does.

    /// Sends bytes, unless it has ended.
    pub fn send(&mut self, bytes: &[u8]) {
        if self.finish.is_some() || self.broken {
            return;
        }
        if self.slow {
            self.delayed.extend(bytes);
        } else if !bytes.is_empty() {
            self.arrived.extend(bytes);
            self.edge.readable = true;
        }
    }

    /// From now on bytes are on the way until [`Socket::arrive`].
    pub fn delay(&mut self) {
        self.slow = true;
    }

    /// `n` of the bytes on the way arrive; with the last one, the way is free again.
    pub fn arrive(&mut self, n: usize) {
        let n = n.min(self.delayed.len());
        self.arrived.extend(self.delayed.drain(..n));
        self.edge.readable |= n > 0;
        self.slow = !self.delayed.is_empty();
    }

    /// Ends its stream, once.
    pub fn finish(&mut self, how: Finish) {
        if self.finish.is_some() || self.broken {
            return;
        }
        match how {
            Finish::Eof => self.arrive(usize::MAX),
            Finish::Reset => {
                self.delayed.clear();
                self.broken = true;
                self.edge.writable = true;
                self.edge.error = true;
            }
        }
        self.finish = Some(how);
        self.edge.readable = true;
        self.edge.insists = true;
    }

    /// Goes away in silence: the next write finds out, and then the read behind what has arrived.
    pub fn break_off(&mut self) {
        self.broken = true;
        self.delayed.clear();
    }

    /// Takes `n` more bytes.
    pub fn make_room(&mut self, n: usize) {
        self.room = self.room.saturating_add(n);
        if n > 0 && self.refused {
            self.refused = false;
            self.edge.writable = true;
        }
    }

    /// Takes nothing more for now.
    pub fn stop_taking(&mut self) {
        self.room = 0;
    }

    /// Marks urgent data behind the next `n` bytes, a few times over.
    pub fn urgent(&mut self, n: usize) {
        self.marks = (16, n.max(1));
        self.edge.insists = true;
        self.edge.readable = true;
    }

    /// An event that says what is so, though it is not new.
    pub fn nudge(&mut self) {
        self.edge.readable |= self.is_readable();
        self.edge.writable |= self.room > 0;
    }

    // What the loop does.

    /// What epoll says, once.
    pub fn take_edge(&mut self) -> Edge {
        std::mem::take(&mut self.edge)
    }

    /// Whether epoll has something to say.
    pub fn has_edge(&self) -> bool {
        self.edge != Edge::default()
    }

    /// Whether epoll would say so now: what `SO_ERROR` is for.
    pub fn has_failed(&self) -> bool {
        self.edge.error
    }

    /// read(2)
    pub fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        assert!(!room.is_empty(), "a read of nothing looks like the end");
        let mut n = self.arrived.len().min(room.len());
        if let (marks @ 1.., before) = self.marks {
            n = n.min(before);
            self.marks.0 = marks - 1;
        }
        if n > 0 {
            for (byte, arrived) in room.iter_mut().zip(self.arrived.drain(..n)) {
                *byte = arrived;
            }
            return Ok(n);
        }
        match self.finish {
            Some(Finish::Eof) => Ok(0),
            Some(Finish::Reset) => {
                self.finish = Some(Finish::Eof);
                Err(ErrorKind::ConnectionReset.into())
            }
            None => Err(ErrorKind::WouldBlock.into()),
        }
    }

    /// writev(2) of two runs.
    pub fn write(&mut self, first: &[u8], second: &[u8]) -> io::Result<usize> {
        assert!(!self.shut, "a write behind the FIN");
        assert!(!first.is_empty(), "a write of nothing");
        if self.broken {
            // The error is told once; to a read, the stream has only ended. Its event may come
            // after the write that finds out.
            if self.finish.is_none() {
                self.edge = Edge { readable: true, writable: true, insists: true, error: true };
            }
            self.finish = Some(Finish::Eof);
            return Err(ErrorKind::BrokenPipe.into());
        }
        let n = (first.len() + second.len()).min(self.room);
        self.room -= if self.room == usize::MAX { 0 } else { n };
        self.refused |= n < first.len() + second.len();
        if n == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.taken.extend(first.iter().chain(second).take(n));
        Ok(n)
    }

    /// shutdown(2) of the write side.
    pub fn shutdown_write(&mut self) {
        assert!(!self.shut, "FIN is sent once");
        self.shut = true;
    }

    /// Whether a read would say something new.
    pub fn is_readable(&self) -> bool {
        !self.arrived.is_empty() || self.finish.is_some()
    }

    /// Whether bytes have arrived that nobody has read.
    pub fn has_unread(&self) -> bool {
        !self.arrived.is_empty()
    }

    /// Whether a write would take a byte.
    pub fn is_writable(&self) -> bool {
        self.room > 0 && !self.broken
    }

    /// Whether the other side may still say something.
    pub fn is_open(&self) -> bool {
        self.finish.is_none() && !self.broken
    }

    /// Whether it has gone with an error.
    pub fn is_broken(&self) -> bool {
        self.broken
    }
}

impl Default for Socket {
    fn default() -> Self {
        Self::new()
    }
}
