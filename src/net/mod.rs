//! Floor 2: the world. Sockets, names, signals, the clock and the loop that serves them.

mod checks;
mod clients;
mod connection;
mod dial;
mod end;
mod event_loop;
mod events;
mod file;
mod files;
mod handle;
mod inquiry;
mod listener;
mod resolve;
mod secrets;
pub mod sys;
mod table;
mod throttle;
mod timers;
mod tokens;
mod transport;

pub use event_loop::Proxy;
pub use events::Event;
pub use handle::Handle;
