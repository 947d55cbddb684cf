//! One leg's socket and what is known of its readiness.
//!
//! Readiness is edge-triggered: a latch is set by an event and cleared by what a call says.

use std::io;

use super::transport::Transport;

/// What an event tells beyond readiness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum News {
    #[default]
    None,
    /// A short read proves nothing: the end, an error or urgent data may stand behind it, and no
    /// further event is promised.
    Insists,
    /// That, and the other end has gone altogether: nothing that is sent could arrive.
    HungUp,
}

/// One leg's socket.
#[derive(Default)]
pub struct End {
    pub transport: Option<Transport>,
    /// Set by an event and cleared by `WouldBlock`, or by a read that came back short.
    pub readable: bool,
    /// Set by an event and cleared by a write that was not taken whole.
    pub writable: bool,
    /// What the events told beyond that.
    pub news: News,
    /// The end follows: the kernel may wait for it before it sends.
    pub corked: bool,
}

impl End {
    pub fn open(transport: Transport) -> Self {
        let transport = Some(transport);
        Self { transport, readable: true, writable: true, news: News::None, corked: false }
    }

    /// What comes from it is there already, up to its end: no event will say so.
    pub fn inexhaustible(transport: Option<Transport>) -> Self {
        Self { transport, readable: true, news: News::Insists, ..Self::default() }
    }

    /// Reads into all of `room` and keeps what that says about readiness.
    pub fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let Some(transport) = &mut self.transport else { return Ok(0) };
        let n = transport.read(room)?;
        if n < room.len() && self.news == News::None {
            self.readable = false;
        }
        Ok(n)
    }

    /// Writes two runs and keeps what that says about readiness. Takes 0 bytes if it may not
    /// write now.
    pub fn write(&mut self, first: &[u8], second: &[u8]) -> io::Result<usize> {
        let (true, Some(transport)) = (self.writable, &mut self.transport) else {
            return Ok(0);
        };
        let written = match self.corked {
            true => transport.write_more(first),
            false => transport.write_both(first, second),
        };
        match written {
            Ok(n) => {
                self.writable = n == first.len() + second.len();
                Ok(n)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.writable = false;
                Ok(0)
            }
            Err(error) => {
                // The read will say what happened, behind what has arrived.
                self.readable = true;
                self.news = self.news.max(News::Insists);
                Err(error)
            }
        }
    }
}
