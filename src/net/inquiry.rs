//! Questions about all connections, and the loop's answers.
//!
//! A connection sees itself alone, and other threads see nothing: both ask, and the loop, which owns
//! everything, looks and answers between two turns. What lives is added up only then.

use std::cmp::Reverse;
use std::time::SystemTime;

use super::connection::{Connection, Shared};
use super::table::Table;
use crate::config::Route;
use crate::stats::{ConnectionInfo, Stats};

/// What may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Everything together.
    Stats,
    /// Every connection there is.
    Connections,
}

/// What was asked for.
#[derive(Debug)]
pub enum Answer {
    /// Everything together.
    Stats(Box<Stats>),
    /// Every connection there is, the newest first.
    Connections(Vec<ConnectionInfo>),
}

/// All that answers are made of.
pub struct View<'a> {
    pub table: &'a Table,
    pub routes: &'a [Route],
    /// Where each route listens, as the user would write it.
    pub listening: &'a [String],
    pub shared: &'a Shared,
}

impl View<'_> {
    /// The answer, as things are now.
    pub fn answer(&self, question: Question) -> Answer {
        match question {
            Question::Stats => Answer::Stats(Box::new(self.stats())),
            Question::Connections => Answer::Connections(self.connections()),
        }
    }

    /// Everything together.
    pub fn stats(&self) -> Stats {
        let shared = self.shared;
        let mut stats = shared.stats.clone();
        for connection in self.counted() {
            stats.add_live(connection.state(), &connection.stats(shared.now));
        }
        stats.pool_bytes = shared.pool.lent();
        stats.pool_limit = shared.limits.max_memory;
        stats.max_connections = shared.limits.max_connections;
        stats
    }

    /// How many connections there are.
    pub fn count(&self) -> usize {
        self.counted().count()
    }

    /// Those that are not there to ask.
    fn counted(&self) -> impl Iterator<Item = &Connection> {
        self.table.iter().filter(|connection| !connection.asks_about_us())
    }

    /// Every connection, the newest first.
    pub fn connections(&self) -> Vec<ConnectionInfo> {
        let clock = SystemTime::now();
        let mut all: Vec<_> = self.counted().collect();
        // Generations wrap, so that they alone do not tell who is older.
        all.sort_by_key(|connection| Reverse(connection.age_order()));
        let info = |connection: &&Connection| {
            let route = connection.route();
            let (route, local) = (&self.routes[route], &self.listening[route]);
            connection.info(route, local, clock, self.shared)
        };
        all.iter().map(info).collect()
    }
}
