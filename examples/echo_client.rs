//! A WebSocket client that sends every message back, as the Autobahn Testsuite asks clients to:
//! the library's session and handshake over a blocking socket, without its loop.
//!
//!     cargo run --release --example echo_client ws://127.0.0.1:9001 AGENT

use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;

use ws_tcp_proxy::buf::hot::Hot;
use ws_tcp_proxy::net::sys;
use ws_tcp_proxy::proto::frame::Role;
use ws_tcp_proxy::proto::handshake::HeadLimits;
use ws_tcp_proxy::proto::mask::Keys;
use ws_tcp_proxy::proto::response::ClientRequest;
use ws_tcp_proxy::session::{Options, Passing, Session, Stop, MAX_CONTROL_FRAME};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let usage = "usage: echo_client ws://HOST:PORT AGENT";
    let mut args = std::env::args().skip(1);
    let url = args.next().ok_or(usage)?;
    let agent = args.next().ok_or(usage)?;
    let host = url.strip_prefix("ws://").ok_or(usage)?.trim_end_matches('/');
    let count: u32 = Client::open(host, "/getCaseCount", Passing::Stream)?.run()?.parse()?;
    for case in 1..=count {
        // A case may end with any error there is; the suite is the judge.
        let path = format!("/runCase?case={case}&agent={agent}");
        let _ = Client::open(host, &path, Passing::Frames).and_then(Client::run);
    }
    println!("{count} cases run");
    let path = format!("/updateReports?agent={agent}&shutdownOnComplete=true");
    // The suite ends with this, and may not stay to say so.
    let _ = Client::open(host, &path, Passing::Stream).and_then(Client::run);
    Ok(())
}

struct Client {
    /// Whether what is heard goes back.
    echoes: bool,
    stream: TcpStream,
    session: Session,
    hot: Hot,
    keys: Keys,
}

impl Client {
    /// Connects and shakes hands.
    fn open(host: &str, path: &str, passing: Passing) -> Result<Self> {
        let mut keys = Keys::new(sys::entropy);
        let request = ClientRequest::new(host, path, &[], &[], keys.nonce());
        let (head, expects) = request.into_parts();
        let mut stream = TcpStream::connect(host)?;
        stream.set_nodelay(true)?;
        stream.write_all(&head)?;
        let limits = HeadLimits { bytes: 8192, headers: 64 };
        let (mut answer, mut byte) = (Vec::new(), [0]);
        while expects.check(&answer, limits)?.is_none() {
            stream.read_exact(&mut byte)?; // one by one, since frames may follow the head
            answer.push(byte[0]);
        }
        let options = Options { passing, ..Options::default() };
        let session = Session::new(Role::Client, options);
        Ok(Self {
            echoes: passing == Passing::Frames,
            stream,
            session,
            hot: Hot::new(256 << 10),
            keys,
        })
    }

    /// Reads to the end. With [`Passing::Frames`] every message goes back; with [`Passing::Stream`]
    /// returns what was said.
    fn run(mut self) -> Result<String> {
        let mut said = Vec::new();
        loop {
            let n = match self.stream.read(self.hot.fill(usize::MAX)) {
                // Behind the closing handshake it does not matter how TCP ends.
                Err(_) if self.session.has_heard_all() => 0,
                result => result?,
            };
            if n == 0 {
                return Ok(String::from_utf8(said)?);
            }
            self.hot.commit(n);
            if self.session.has_heard_all() {
                continue; // what follows a Close or an error means nothing; the server ends TCP
            }
            while !self.hot.input().is_empty() {
                self.take(&mut said)?;
            }
        }
    }

    /// Takes what was read, up to where something must be sent first.
    fn take(&mut self, said: &mut Vec<u8>) -> Result<()> {
        let mut answers = u32::MAX; // every Ping gets its Pong
        let stop = self.session.decode(&mut self.hot, &mut self.keys, &mut answers);
        if self.echoes {
            self.stream.write_all(self.hot.output())?;
        } else {
            said.extend_from_slice(self.hot.output());
        }
        self.hot.drop_output();
        match stop {
            Ok(Stop::Closed) => self.hot.drop_input(),
            Ok(_) => {}
            Err(error) => {
                self.session.fail(error);
                self.hot.drop_input();
            }
        }
        let mut frame = [0; MAX_CONTROL_FRAME];
        while let Some(n) = self.session.control(&mut frame, &mut self.keys) {
            self.stream.write_all(&frame[..n])?;
        }
        if self.session.ends_transport() {
            self.stream.shutdown(std::net::Shutdown::Write)?;
        }
        Ok(())
    }
}
