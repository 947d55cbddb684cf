//! A WebSocket (RFC 6455) to byte-stream proxy: one thread, one poll loop, bounded memory.
//!
//! # In another program
//!
//! A [`Proxy`] is bound, moved to a thread of its own, and run there. It tells what happens, and its
//! [`Handle`] looks at it and stops it from wherever one is needed:
//!
//! ```
//! use std::net::TcpStream;
//! use std::thread;
//! use std::time::Duration;
//!
//! use ws_tcp_proxy::config::Config;
//! use ws_tcp_proxy::{Event, Proxy};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::builder().local("127.0.0.1:0").remote("127.0.0.1:5000").build()?;
//! let mut proxy = Proxy::bind(config)?;
//! let address = proxy.local_addr().expect("it listens on TCP");
//! let handle = proxy.handle();
//! let serving = thread::spawn(move || {
//!     proxy.run_with(|event| {
//!         if let Event::Closed { id, why, stats } = event {
//!             println!("{id} closed {why} {stats}");
//!         }
//!     })
//! });
//!
//! let client = TcpStream::connect(address)?;
//! assert!(handle.connection_count()? <= 1);
//! assert_eq!(handle.stats()?.opened, 0); // it has not asked for a WebSocket
//! drop(client);
//!
//! handle.shutdown(Duration::from_secs(5))?;
//! serving.join().expect("it does not panic")?;
//! # Ok(())
//! # }
//! ```
//!
//! [`config::Config::builder`] has a method for each option of the command line, under its name, with
//! its default and its checks. Nothing of the process is touched: no signals unless
//! [`Proxy::catch_signals`] is called, no limit of open files, no allocator, no logger. What there is
//! to say goes to the `log` crate; peers that come and go are in the events.
//!
//! A program that has its own sockets needs none of this: [`session::endpoint::Endpoint`] is a
//! WebSocket in either role from bytes to messages, and [`proto`] has the codec and the handshakes.
//!
//! # The map
//!
//! A module uses its own floor and those below, never above. Floors 0 and 1 are pure: no sockets,
//! threads or logging, and time is an argument, so byte arrays test them.
//!
//! | floor | module | one line |
//! |---|---|---|
//! | 0 bytes | [`proto`] | frame headers, masking, messages, close codes, UTF-8, encodings, framings, the opening handshake, requests for pages, `CONNECT` heads, JSON |
//! | | [`buf`] | the shared hot buffer, the rings, and who lends them |
//! | 1 state | [`session`] | one WebSocket endpoint; [`session::link`], a connection without its sockets |
//! | | [`policy`] | who is let in, and to which target |
//! | | [`admin`] | what whoever runs the proxy may ask, and the words of the answers |
//! | | [`stats`] | what there is to know of each connection, and of all together |
//! | 2 world | [`net`] | sockets, names, signals and the loop that serves them |
//! | 3 face | [`config`], [`cli`] | what the proxy is told, and how |
//! | | [`logging`] | what the command says on stderr |
//!
//! To read it: this page, then `session/mod.rs`, `session/link/mod.rs`, `net/connection/mod.rs`,
//! `net/event_loop/mod.rs`.
//!
//! # How bytes flow
//!
//! A connection is two **legs** and two **pipes**. A leg is a socket and a codec: raw, or a
//! WebSocket [`session::Session`] in either role. A pipe carries one direction. Nothing in the
//! loop knows which leg is which.
//!
//! The loop owns one [`buf::hot::Hot`] buffer; whoever is served reads into it. The source's codec
//! turns wire bytes into stream bytes in place (unmasking while payload moves over the header
//! gaps), the sink's codec turns them into its own wire bytes in place (a header right-aligned in
//! front), and one write takes them away. Only what the sink refuses is copied, once, into a ring
//! that the pool lends at that size; while it holds one, a pipe's source is not read. Idle
//! connections hold no buffer at all.
//!
//! Messages mean nothing to a stream, unless the route has a framing ([`proto::framing`]): then the
//! source's codec writes them into the stream so that they can be told apart, and the sink's finds them
//! there, part by part. Its frames are more bytes than the stream had, so they are written behind it
//! in the hot buffer, of which a read leaves enough.
//!
//! The pool has a ceiling. How much may be read is decided before the read by what could still be
//! kept, 4 KiB at the least, so nothing is dropped and everyone moves.
//!
//! Readiness is edge-triggered and kept in two latches per leg. A read that comes back short has
//! emptied the socket, unless a hang-up, an error or urgent data was signalled, which may hide
//! behind it.
//!
//! # Who names the target
//!
//! The route, or whoever connects. The request for a WebSocket may name it by its URL
//! ([`policy::named`]): that is dialled before the WebSocket opens, like the route's own. Or the
//! stream begins with its name: a `CONNECT` head, over a WebSocket or a plain stream, or a text message of
//! JSON in front of it ([`policy::json_target`]). Then the connection opens first and dials after,
//! so a refusal is answered in the same way, and by a Close. What is dialled is an address, or a
//! unix socket, that [`policy::rules`] has seen. A near end ([`config::Local::Connect`]) reads the same head from a tool and passes it
//! on; the far end's answer is the tool's answer, unless that end goes without one.
//!
//! # Who may connect
//!
//! [`policy::access`] judges a request for a WebSocket by the address it comes from, the page that
//! makes it and the credentials it shows, before anything is dialled. Other listeners hear no
//! request that could be judged before it names a target: there, an address that may not connect is
//! closed at once. A trusted proxy says in the request whose it is, so that a client has its place
//! among `--max-per-client` only from then on.
//!
//! # Who connected
//!
//! The peer, unless that is a trusted proxy: then whom it names, in fields of a request for a
//! WebSocket, or on any listener in a PROXY header that stands in front of everything
//! ([`session::proxied`]). That is who the log, the rules and, if it is told, the target take for
//! the client.
//!
//! # Requests for no WebSocket
//!
//! Where a route has a directory ([`config::Route::web`]), a request that is no upgrade is answered
//! with a file. [`policy::page`] judges it and writes the head; the body is leg 1, which says its
//! bytes and ends like any stream. What it needs of backpressure, rates and timers is there already.
//!
//! Whoever runs the proxy asks it at a listener of its own ([`config::Local::Admin`]): [`admin`] judges
//! the request, the loop answers between two turns with what [`stats`] has, and [`admin`] puts that
//! into words. Such connections count nowhere.
//!
//! # Who wants to know
//!
//! What has happened is counted in plain numbers that all connections share ([`stats`]); what is
//! going on is looked up when somebody asks. A connection sees itself alone, and another thread
//! nothing: both ask the loop, which answers between two turns. How a connection ended is recorded
//! in one place, once: counted, told to the embedding program, and logged.
//!
//! # How connections end
//!
//! TCP can half-close, WebSocket cannot; proxies lose data here. Ours drains, then ends, and always
//! holds a timer:
//!
//! | what happens | WebSocket leg | raw leg |
//! |---|---|---|
//! | target sends FIN | deliver, Close 1000; read on until the peer's Close | write side stays open |
//! | the same inside a message of the framing | deliver, Close 1002; likewise | write side stays open |
//! | peer sends Close | answer with its code; ignore later data | deliver, then shut the write side |
//! | the same under half-close | deliver what the target still says, to its end or until that makes no progress; then answer | the same |
//! | both Closes done | a server sends FIN at once, a client waits for it; read to EOF | |
//! | peer ends without Close | nothing to send; 1006 in the log | deliver, shut the write side |
//! | protocol error | Close with its code, FIN, discard until EOF | deliver, shut the write side |
//! | target resets, or a write fails | Close 1011 | drop |
//! | target refuses, or is late | HTTP 502 or 504: we dial first and upgrade after | FIN |
//! | the same of a target that was named | an answer as the name came, Close 1014 | HTTP, FIN |
//! | one of two streams ends | | deliver, shut the other's write side; it may go on |
//! | the `Close` deadline | drop | drop |
//!
//! From the first sign of an end the `Close` deadline runs, counted anew whenever a byte is
//! delivered. A socket is never closed with bytes unread, since that sends RST, which can destroy
//! what was sent last.

#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod admin;
pub mod buf;
pub mod cli;
pub mod config;
pub mod logging;
pub mod net;
pub mod policy;
pub mod proto;
pub mod session;
pub mod stats;
#[cfg(test)]
mod testing;

pub use net::{Event, Handle, Proxy};

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
