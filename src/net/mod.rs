//! Floor 2: the world. Sockets, names, signals, the clock and the loop that serves them.

mod clients;
mod connection;
mod dial;
mod end;
mod event_loop;
mod file;
mod files;
mod listener;
mod resolve;
mod secrets;
pub mod sys;
mod table;
mod timers;
mod tokens;
mod transport;

pub use event_loop::Proxy;
