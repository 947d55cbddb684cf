//! One leg of a connection: what speaks on it, and how far its two directions have come.
//!
//! Owns no decision: [`super::link`] makes them.

use std::time::Duration;

use super::deadlines::Time;
use super::opening::{Asking, Opening};
use super::page::Page;
use super::Session;

/// What speaks on a leg.
#[derive(Debug)]
pub enum Codec {
    /// Bytes as they are.
    Raw,
    /// A server that awaits its request head.
    Opening(Box<Opening>),
    /// A client that has sent its request head and awaits the answer.
    Asking(Box<Asking>),
    /// An open or closing WebSocket.
    WebSocket(Box<Session>),
    /// A page of ours: nobody is there who could be told anything.
    Page(Box<Page>),
}

/// What is done with a leg's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// They go to the sink.
    Relaying,
    /// They are read and dropped, up to the end.
    Discarding,
    /// There are no more.
    Ended,
}

/// What may still be sent on a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writing {
    Open,
    /// Nothing after what waits; then the write side is to be shut.
    ShutdownDue,
    Shut,
}

#[derive(Debug)]
pub struct Leg {
    pub codec: Codec,
    pub reading: Reading,
    pub writing: Writing,
    /// A Ping has gone out and no byte has come since.
    pub awaits_pong: bool,
    /// When the last Ping went out, in microseconds since the loop began. Wraps after 71 minutes, far
    /// beyond what a Ping waits for its Pong.
    pub pinged_at: u32,
    /// A write has failed: when the rest has been read, it counts as a reset.
    pub failed: bool,
}

impl Leg {
    pub fn new(codec: Codec) -> Self {
        let (reading, writing) = (Reading::Relaying, Writing::Open);
        Self { codec, reading, writing, awaits_pong: false, pinged_at: 0, failed: false }
    }

    /// A leg that is not there: nothing comes, nothing goes.
    pub fn absent() -> Self {
        Self { reading: Reading::Ended, writing: Writing::Shut, ..Self::new(Codec::Raw) }
    }

    /// The Pong to our last Ping has come.
    pub fn on_pong(&mut self, now: Time) {
        let micros = (now.0 as u32).wrapping_sub(self.pinged_at);
        if let Some(session) = self.session() {
            session.set_round_trip(Duration::from_micros(micros.into()));
        }
    }

    pub fn open_session(&self) -> Option<&Session> {
        match &self.codec {
            Codec::WebSocket(session) => Some(session),
            _ => None,
        }
    }

    pub fn session(&mut self) -> Option<&mut Session> {
        match &mut self.codec {
            Codec::WebSocket(session) => Some(session),
            _ => None,
        }
    }

    pub fn is_done(&self) -> bool {
        self.reading == Reading::Ended && self.writing == Writing::Shut
    }
}
