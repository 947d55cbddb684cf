//! What the proxy knows of itself and of its connections, for whoever asks.
//!
//! Owns the counters and their shape: plain numbers and fixed arrays, so that counting allocates
//! nothing and whoever answers a question copies them. Never reads a clock, and never decides what
//! is counted when: that is the loop's.

#![forbid(unsafe_code)]

use std::fmt;
use std::mem::discriminant;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use crate::policy::admit::Status;
use crate::proto::close::CloseCode;
use crate::session::ended::{By, Ended};

/// A connection's name as long as the proxy runs: in the log, in events, and for whoever asks.
/// Written `c42.7`: slot and generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId {
    /// Index in the table.
    pub slot: u32,
    /// Counts connections, so that a slot's next one has another.
    pub generation: u32,
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}.{}", self.slot, self.generation)
    }
}

/// A text that is no [`ConnectionId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionIdError;

impl fmt::Display for ConnectionIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not the name of a connection; the log has them, like c42.7")
    }
}

impl std::error::Error for ConnectionIdError {}

impl FromStr for ConnectionId {
    type Err = ConnectionIdError;

    fn from_str(text: &str) -> Result<Self, ConnectionIdError> {
        let number = |digits: &str| {
            let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            digits.parse().ok().filter(|_| plain).ok_or(ConnectionIdError)
        };
        let (slot, generation) = text
            .strip_prefix('c')
            .and_then(|rest| rest.split_once('.'))
            .ok_or(ConnectionIdError)?;
        Ok(Self { slot: number(slot)?, generation: number(generation)? })
    }
}

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// It is not known yet where it goes, or that is being reached.
    Opening,
    /// Bytes are relayed.
    Open,
    /// One end has ended it, or we have: what is in flight is delivered.
    Closing,
}

impl State {
    /// Every state, in the order in which they come.
    pub const ALL: [Self; 3] = [Self::Opening, Self::Open, Self::Closing];

    /// The word in a log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Open => "open",
            Self::Closing => "closing",
        }
    }
}

/// What has gone over a connection. *In* is what whoever connected has said, *out* what the target
/// has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ConnectionStats {
    /// Payload bytes in: of the stream, without frames and encodings.
    pub bytes_in: u64,
    /// Payload bytes out.
    pub bytes_out: u64,
    /// Whole WebSocket messages in; 0 where neither end is a WebSocket.
    pub messages_in: u64,
    /// Whole WebSocket messages out.
    pub messages_out: u64,
    /// Pings that we have sent.
    pub pings: u32,
    /// From the last Ping that was answered to its Pong. `None` while none was.
    pub round_trip: Option<Duration>,
    /// Bytes kept now: for an end that does not take them, or of a message that is still to be whole.
    pub buffered: usize,
    /// Since it was accepted.
    pub lasted: Duration,
}

/// As the log has it; what is 0 only because there was no need for it is left out.
impl fmt::Display for ConnectionStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "in={} out={} ", self.bytes_in, self.bytes_out)?;
        write!(f, "msgs_in={} msgs_out={} ", self.messages_in, self.messages_out)?;
        if self.buffered > 0 {
            write!(f, "buffered={} ", self.buffered)?;
        }
        if self.pings > 0 {
            write!(f, "pings={} ", self.pings)?;
        }
        if let Some(time) = self.round_trip {
            write!(f, "rtt_ms={:.3} ", time.as_secs_f64() * 1000.0)?;
        }
        write!(f, "secs={:.1}", self.lasted.as_secs_f64())
    }
}

/// One connection, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// Its name.
    pub id: ConnectionId,
    /// How far it has come.
    pub state: State,
    /// Who connected. `None` over a unix socket, or once that end is gone.
    pub peer: Option<SocketAddr>,
    /// Whose connection it is, where a trusted proxy that passed it on has said so.
    pub client: Option<IpAddr>,
    /// The index of its route in [`crate::config::Config::routes`].
    pub route: usize,
    /// Where that route listens, as [`crate::Proxy::listening`] has it.
    pub local: String,
    /// Where it goes, or will, as far as that is known.
    pub target: String,
    /// When it was accepted.
    pub since: SystemTime,
    /// What has gone over it.
    pub stats: ConnectionStats,
    /// Who is ending it, and why. `None` while nobody is.
    pub ended: Option<Ended>,
}

/// The line that SIGUSR1 puts into the log.
impl fmt::Display for ConnectionInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ", self.id, self.state.name())?;
        if let Some(ended) = &self.ended {
            write!(f, "{ended} ")?;
        }
        if let Some(peer) = self.peer {
            write!(f, "peer={peer} ")?;
        }
        write!(f, "target={} {}", self.target, self.stats)?;
        self.client.map_or(Ok(()), |client| write!(f, " client={client}"))
    }
}

/// Everything together, since the proxy was bound.
///
/// Each connection that was accepted is one of those there are, was refused, or was closed:
/// `accepted = opening + open + closing + refused.total() + closed.total() + pages.total()`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// When the proxy was bound.
    pub since: SystemTime,
    /// Connections that were accepted.
    pub accepted: u64,
    /// Of these, those whose target was reached, so that the relay began.
    pub opened: u64,
    /// Connections that await their target now.
    pub opening: usize,
    /// Connections that relay now.
    pub open: usize,
    /// Connections that are ending now.
    pub closing: usize,
    /// The most connections that are served at once (`--max-connections`).
    pub max_connections: usize,
    /// Connections closed as they came, beyond `accepted`: of a client that has so many already that
    /// it is not even told so (`--max-per-client`).
    pub unheard: u64,
    /// Connections that ended with an HTTP status, or with what says the same where a WebSocket was
    /// open already.
    pub refused: Refusals,
    /// Connections that ended in any other way.
    pub closed: Closes,
    /// Connections that were answered with a page (`--web`), whatever became of it on its way.
    pub pages: Pages,
    /// Payload bytes that whoever connected has said, now and before.
    pub bytes_in: u64,
    /// Payload bytes that targets have said, and pages.
    pub bytes_out: u64,
    /// Whole WebSocket messages in.
    pub messages_in: u64,
    /// Whole WebSocket messages out.
    pub messages_out: u64,
    /// Pings that we have sent.
    pub pings: u64,
    /// From accepting to the answer that opens the connection, of those opened.
    pub handshake: Histogram,
    /// From the beginning of a dial to the target's answer, name lookup included, of those reached.
    pub connect: Histogram,
    /// Turns of the loop: how long everybody else waits for whoever is served.
    pub turn: Histogram,
    /// Bytes kept now for all ends that do not take them.
    pub pool_bytes: usize,
    /// The most that is kept (`--max-memory`).
    pub pool_limit: usize,
}

impl Stats {
    /// Nothing has happened since then.
    pub fn new(since: SystemTime) -> Self {
        Self {
            since,
            accepted: 0,
            opened: 0,
            opening: 0,
            open: 0,
            closing: 0,
            max_connections: 0,
            unheard: 0,
            refused: Refusals::default(),
            closed: Closes::default(),
            pages: Pages::default(),
            bytes_in: 0,
            bytes_out: 0,
            messages_in: 0,
            messages_out: 0,
            pings: 0,
            handshake: Histogram::default(),
            connect: Histogram::default(),
            turn: Histogram::default(),
            pool_bytes: 0,
            pool_limit: 0,
        }
    }

    /// One more connection, in that state.
    pub fn add_live(&mut self, state: State, connection: &ConnectionStats) {
        *match state {
            State::Opening => &mut self.opening,
            State::Open => &mut self.open,
            State::Closing => &mut self.closing,
        } += 1;
        self.add_traffic(connection);
    }

    /// What has gone over one more connection.
    pub fn add_traffic(&mut self, connection: &ConnectionStats) {
        self.bytes_in += connection.bytes_in;
        self.bytes_out += connection.bytes_out;
        self.messages_in += connection.messages_in;
        self.messages_out += connection.messages_out;
        self.pings += u64::from(connection.pings);
    }
}

/// Connections that were refused, by status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Refusals([u64; Status::ALL.len()]);

impl Refusals {
    /// One more.
    pub fn count(&mut self, status: Status) {
        self.0[Self::index(status)] += 1;
    }

    /// How many were refused with that status, whatever a 401 has asked for.
    pub fn of(&self, status: Status) -> u64 {
        self.0[Self::index(status)]
    }

    /// Every status with its count: [`Status::code`] and [`Status::name`] are for labels.
    pub fn iter(&self) -> impl Iterator<Item = (Status, u64)> + '_ {
        Status::ALL.into_iter().zip(self.0)
    }

    /// All together.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    fn index(status: Status) -> usize {
        let same = |other: &Status| discriminant(other) == discriminant(&status);
        Status::ALL.iter().position(same).unwrap_or(0)
    }
}

/// Connections that were closed, by close code and by who ended them. A peer chooses its code, so
/// that those without a meaning of their own are counted by their ranges (RFC 6455 §7.4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Closes([[u64; By::ALL.len()]; Self::CODES.len()]);

impl Closes {
    /// The codes, or ranges of them, that are counted apart.
    pub const CODES: [&'static str; 18] = [
        "1000",
        "1001",
        "1002",
        "1003",
        "1004",
        "1005",
        "1006",
        "1007",
        "1008",
        "1009",
        "1010",
        "1011",
        "1012",
        "1013",
        "1014",
        "1015",
        "3000-3999",
        "4000-4999",
    ];

    /// One more.
    pub fn count(&mut self, code: CloseCode, by: By) {
        self.0[Self::index(code)][by as usize] += 1;
    }

    /// How many there were, with that code or another of its range.
    pub fn of(&self, code: CloseCode, by: By) -> u64 {
        self.0[Self::index(code)][by as usize]
    }

    /// Every code or range, with each of those who may have ended it, and the count.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, By, u64)> + '_ {
        let codes = Self::CODES.into_iter().zip(&self.0);
        codes.flat_map(|(code, counts)| {
            By::ALL.into_iter().zip(counts).map(move |(by, count)| (code, by, *count))
        })
    }

    /// All together.
    pub fn total(&self) -> u64 {
        self.0.iter().flatten().sum()
    }

    fn index(code: CloseCode) -> usize {
        match code.get() {
            code @ 1000..=1015 => usize::from(code - 1000),
            3000..=3999 => 16,
            _ => 17,
        }
    }
}

/// Pages served, by HTTP status. What is wrong with other requests is among the refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pages([u64; Self::CODES.len() + 1]);

impl Pages {
    /// The statuses that are counted apart.
    pub const CODES: [u16; 5] = [200, 206, 301, 304, 416];

    /// One more.
    pub fn count(&mut self, code: u16) {
        self.0[Self::index(code)] += 1;
    }

    /// How many there were of that status.
    pub fn of(&self, code: u16) -> u64 {
        self.0[Self::index(code)]
    }

    /// Every status and its count; 0 stands for all others.
    pub fn iter(&self) -> impl Iterator<Item = (u16, u64)> + '_ {
        Self::CODES.into_iter().chain([0]).zip(self.0)
    }

    /// All together.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    fn index(code: u16) -> usize {
        Self::CODES.iter().position(|known| *known == code).unwrap_or(Self::CODES.len())
    }
}

/// How long something took, in buckets that are four times as wide each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Histogram {
    /// By bucket, see [`Histogram::BOUNDS`]; the last is for what is longer than all of them. Each
    /// is counted in one bucket alone.
    pub counts: [u64; Self::BOUNDS.len() + 1],
    /// All that was counted, together.
    pub sum: Duration,
}

impl Histogram {
    /// The longest time of each bucket, in microseconds: from 16 us to 67 s.
    pub const BOUNDS: [u64; 12] = [
        1 << 4,
        1 << 6,
        1 << 8,
        1 << 10,
        1 << 12,
        1 << 14,
        1 << 16,
        1 << 18,
        1 << 20,
        1 << 22,
        1 << 24,
        1 << 26,
    ];

    /// One more.
    #[inline]
    pub fn add(&mut self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        // Two bits to a bucket, above the four of the first.
        let above = micros.saturating_sub(1) >> 4;
        let bucket = (u64::BITS - above.leading_zeros()).div_ceil(2) as usize;
        self.counts[bucket.min(Self::BOUNDS.len())] += 1;
        self.sum = self.sum.saturating_add(time);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::admit::Challenge;

    #[test]
    fn a_connections_name_reads_back() {
        for (slot, generation) in [(0, 0), (42, 7), (u32::MAX, u32::MAX)] {
            let id = ConnectionId { slot, generation };
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        assert_eq!(ConnectionId { slot: 42, generation: 7 }.to_string(), "c42.7");
        for text in [
            "",
            "c",
            "c1",
            "c.1",
            "c1.",
            "42.7",
            "c1.2.3",
            "c+1.2",
            "c1.-2",
            "c4294967296.0",
            "c 1.2",
        ] {
            assert_eq!(text.parse::<ConnectionId>(), Err(ConnectionIdError), "{text}");
        }
    }

    #[test]
    fn a_time_is_counted_in_the_first_bucket_that_holds_it() {
        let counted_in = |micros| {
            let mut histogram = Histogram::default();
            histogram.add(Duration::from_micros(micros));
            assert_eq!((histogram.count(), histogram.sum), (1, Duration::from_micros(micros)));
            histogram.counts.iter().position(|count| *count == 1)
        };
        assert_eq!(counted_in(0), Some(0));
        for (bucket, bound) in Histogram::BOUNDS.into_iter().enumerate() {
            assert_eq!(counted_in(bound), Some(bucket), "{bound}");
            assert_eq!(counted_in(bound - 1), Some(bucket), "{bound}");
            assert_eq!(counted_in(bound + 1), Some(bucket + 1), "{bound}");
        }
        assert_eq!(counted_in(u64::MAX), Some(Histogram::BOUNDS.len()));
    }

    #[test]
    fn each_status_is_counted_apart_and_under_a_name_of_its_own() {
        let mut refusals = Refusals::default();
        for (n, status) in Status::ALL.into_iter().enumerate() {
            for _ in 0..=n {
                refusals.count(status);
            }
        }
        let all = Status::ALL.len() as u64;
        assert_eq!(
            refusals.iter().map(|(_, count)| count).collect::<Vec<_>>(),
            (1..=all).collect::<Vec<_>>()
        );
        assert_eq!(refusals.total(), all * (all + 1) / 2);
        let names: std::collections::BTreeSet<_> = Status::ALL.map(Status::name).into();
        assert_eq!(names.len(), Status::ALL.len());
        // Whatever it asks for.
        let asks =
            [Challenge::Basic, Challenge::Bearer, Challenge::Either].map(Status::Unauthorized);
        assert!(asks.iter().all(|status| refusals.of(*status) == 2), "{refusals:?}");
    }

    #[test]
    fn codes_that_peers_may_invent_share_two_counters() {
        let mut closes = Closes::default();
        let code = |code| CloseCode::sendable(code).unwrap();
        for number in 3000..=4999 {
            closes.count(code(number), By::Peer);
        }
        closes.count(CloseCode::ABNORMAL, By::Target);
        closes.count(CloseCode::NORMAL, By::Proxy);
        let counted: Vec<_> = closes.iter().filter(|(_, _, count)| *count > 0).collect();
        assert_eq!(
            counted,
            [
                ("1000", By::Proxy, 1),
                ("1006", By::Target, 1),
                ("3000-3999", By::Peer, 1000),
                ("4000-4999", By::Peer, 1000)
            ]
        );
        assert_eq!(closes.of(code(3999), By::Peer), 1000);
        assert_eq!((closes.total(), closes.iter().count()), (2002, 18 * 3));
    }

    #[test]
    fn a_status_that_no_page_is_known_to_have_is_counted_with_the_others() {
        let mut pages = Pages::default();
        [200, 200, 418, 599].into_iter().for_each(|code| pages.count(code));
        let counted: Vec<_> = pages.iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!((counted, pages.total()), (vec![(200, 2), (0, 2)], 4));
    }
}
