//! The load: clients on one side of a proxy, targets on the other.
//!
//! Every loop is bounded: a wait without an event, and every blocking call, ends after [`PATIENCE`] with
//! an error that says what was still due.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::epoll::{Epoll, IN, OUT};
use crate::proc::Server;
use crate::wire::{pattern, Skim, Wire};
use crate::Outcome;

/// The longest that nothing may happen before a run is given up.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// RFC 6455 §1.3 gives both, so that the harness needs no SHA-1.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// One established connection to a proxy.
pub struct Client {
    stream: TcpStream,
    skim: Skim,
    wire: Wire,
}

impl Client {
    /// Connects and, for a WebSocket, completes the opening handshake.
    pub fn open(proxy: &Server) -> Outcome<Self> {
        let (port, wire) = (proxy.port, proxy.wire);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        set_patience(&stream)?;
        let mut client = Self { stream, skim: Skim::new(wire), wire };
        if wire == Wire::WebSocket {
            client.upgrade(port)?;
        }
        Ok(client)
    }

    fn upgrade(&mut self, port: u16) -> Outcome<()> {
        let request = format!(
            "GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        self.stream.write_all(request.as_bytes())?;
        let mut head = Vec::new();
        let mut buffer = [0; 1024];
        while !head.windows(4).any(|end| end == b"\r\n\r\n") {
            let n = within_patience(self.stream.read(&mut buffer), "the answer to an upgrade")?;
            head.extend_from_slice(&buffer[..n]);
            if n == 0 || head.len() > 8192 {
                break;
            }
        }
        let head = String::from_utf8_lossy(&head);
        // No target speaks first, so nothing may follow the head.
        if head.starts_with("HTTP/1.1 101 ") && head.contains(ACCEPT) && head.ends_with("\r\n\r\n")
        {
            return Ok(());
        }
        Err(format!("the upgrade was answered with {head:?}").into())
    }

    /// Says that nothing more will come.
    pub fn begin_close(&mut self) -> Outcome<()> {
        match self.wire {
            Wire::Raw => self.stream.shutdown(Shutdown::Write)?,
            Wire::WebSocket => self.stream.write_all(&self.wire.farewell())?,
        }
        Ok(())
    }

    /// Reads to the end of the stream, which the proxy owes after [`Client::begin_close`].
    pub fn await_end(mut self) -> Outcome<()> {
        let mut buffer = [0; 1024];
        while within_patience(self.stream.read(&mut buffer), "the end of a stream")? > 0 {}
        Ok(())
    }

    /// The bulk form of this connection.
    pub fn into_flow(self, to_send: u64, to_receive: u64) -> Outcome<Flow> {
        Flow::new(self.stream, self.skim, to_send, to_receive)
    }
}

/// Closed loop: each client sends one message of `len` bytes and the next one when its echo is whole,
/// `count` echoes in all.
pub fn echo(clients: &mut [Client], len: usize, count: usize) -> Outcome<()> {
    let (expected, mut buffer) = (pattern(len), [0; 4096]);
    let mut epoll = Epoll::new(clients.len())?;
    let mut arrived = vec![0; clients.len()];
    let (mut started, mut finished) = (0, 0);
    let message = clients[0].wire.batch(len, 1);
    for (index, client) in clients.iter_mut().enumerate() {
        epoll.add(&client.stream, index as u64, IN)?;
        client.stream.write_all(&message)?;
        started += 1;
    }
    while finished < count.max(started) {
        let ready = epoll.wait(Some(PATIENCE))?;
        if ready == 0 {
            return Err(stuck(&format!("{finished} of {count} echoes")));
        }
        for event in 0..ready {
            let index = epoll.event(event).0 as usize;
            receive_echo(&mut clients[index], &mut buffer, &expected, &mut arrived[index])?;
            if arrived[index] < len {
                continue;
            }
            (arrived[index], finished) = (0, finished + 1);
            if started < count {
                clients[index].stream.write_all(&message)?;
                started += 1;
            }
        }
    }
    Ok(())
}

/// One read; `arrived` of the `expected` bytes are there.
fn receive_echo(
    client: &mut Client,
    buffer: &mut [u8],
    expected: &[u8],
    arrived: &mut usize,
) -> Outcome<()> {
    let n = within_patience(client.stream.read(buffer), "an echo")?;
    if n == 0 {
        return Err("the proxy ended a connection that waited for an echo".into());
    }
    let mut is_same = true;
    client.skim.feed(&buffer[..n], |payload| {
        is_same &= expected[*arrived..].starts_with(payload);
        *arrived += payload.len();
    })?;
    if is_same {
        return Ok(());
    }
    Err("an echo differs from what was sent".into())
}

/// One end of a connection with bulk to send, to receive, or both.
pub struct Flow {
    stream: TcpStream,
    skim: Skim,
    /// On the wire, in bytes.
    to_send: u64,
    /// Payload bytes.
    to_receive: u64,
    /// The next byte to send is `batch[at]`.
    at: usize,
}

impl Flow {
    /// The target's end: an accepted stream, always without framing.
    pub fn target(stream: TcpStream, to_send: u64, to_receive: u64) -> Outcome<Self> {
        Self::new(stream, Skim::new(Wire::Raw), to_send, to_receive)
    }

    fn new(stream: TcpStream, skim: Skim, to_send: u64, to_receive: u64) -> Outcome<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream, skim, to_send, to_receive, at: 0 })
    }

    fn interest(&self) -> u32 {
        let may_read = if self.to_receive > 0 { IN } else { 0 };
        may_read | if self.to_send > 0 { OUT } else { 0 }
    }

    /// One write of what is left of the batch; the bytes taken, 0 when the socket is full.
    fn send(&mut self, batch: &[u8]) -> Outcome<u64> {
        let rest = &batch[self.at..];
        let rest = &rest[..self.to_send.min(rest.len() as u64) as usize];
        let n = match self.stream.write(rest) {
            Err(e) if e.kind() == ErrorKind::WouldBlock => 0,
            other => other?,
        };
        self.at = (self.at + n) % batch.len();
        self.to_send -= n as u64;
        Ok(n as u64)
    }

    /// One read, counted and thrown away.
    fn receive(&mut self, buffer: &mut [u8]) -> Outcome<()> {
        let n = match self.stream.read(buffer) {
            Ok(0) => return Err(format!("a stream ended {} bytes early", self.to_receive).into()),
            Err(e) if e.kind() == ErrorKind::WouldBlock => 0,
            other => other?,
        };
        let mut payload = 0;
        self.skim.feed(&buffer[..n], |bytes| payload += bytes.len() as u64)?;
        match self.to_receive.checked_sub(payload) {
            Some(left) => self.to_receive = left,
            None => return Err("more bytes arrived than were sent".into()),
        }
        Ok(())
    }
}

/// Moves everything the flows have due, sending `batch` over and over.
pub fn pump(flows: &mut [Flow], batch: &[u8]) -> Outcome<()> {
    let mut buffer = vec![0; 256 * 1024];
    let mut epoll = Epoll::new(flows.len())?;
    let mut busy = flows.len();
    for (index, flow) in flows.iter().enumerate() {
        epoll.add(&flow.stream, index as u64, flow.interest())?;
    }
    while busy > 0 {
        let ready = epoll.wait(Some(PATIENCE))?;
        if ready == 0 {
            return Err(stuck("bulk"));
        }
        for event in 0..ready {
            let (token, events) = epoll.event(event);
            let flow = &mut flows[token as usize];
            let before = flow.interest();
            if flow.to_receive > 0 && events & !OUT != 0 {
                flow.receive(&mut buffer)?;
            }
            if flow.to_send > 0 && events & OUT != 0 {
                flow.send(batch)?;
            }
            match flow.interest() {
                0 => {
                    epoll.remove(&flow.stream)?;
                    busy -= 1;
                }
                now if now != before => epoll.modify(&flow.stream, token, now)?,
                _ => {}
            }
        }
    }
    Ok(())
}

/// Writes on all flows until nothing was taken for `quiet`, or all is sent; the bytes taken.
pub fn press(flows: &mut [Flow], batch: &[u8], quiet: Duration) -> Outcome<u64> {
    let (mut taken, mut moved_at) = (0, Instant::now());
    while moved_at.elapsed() < quiet && flows.iter().any(|flow| flow.to_send > 0) {
        let mut n = 0;
        for flow in flows.iter_mut().filter(|flow| flow.to_send > 0) {
            n += flow.send(batch)?;
        }
        taken += n;
        if n > 0 {
            moved_at = Instant::now();
        } else {
            thread::sleep(Duration::from_millis(10));
        }
    }
    Ok(taken)
}

/// A target that the harness accepts from itself.
pub struct Target {
    listener: TcpListener,
    pub port: u16,
}

impl Target {
    pub fn new() -> Outcome<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        Ok(Self { listener, port })
    }

    /// The next connection a proxy has dialled.
    pub fn accept(&self) -> Outcome<TcpStream> {
        let began = Instant::now();
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => return Ok(stream),
                Err(e) if e.kind() != ErrorKind::WouldBlock => return Err(e.into()),
                Err(_) if began.elapsed() > PATIENCE => {
                    return Err(stuck("a connection to the target"))
                }
                Err(_) => thread::sleep(Duration::from_millis(1)),
            }
        }
    }
}

/// An echo server in a thread, stopped when dropped.
pub struct EchoThread {
    pub port: u16,
    open: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl EchoThread {
    pub fn new() -> Outcome<Self> {
        let mut server = EchoServer::new()?;
        let port = server.port()?;
        let (open, is_over) = (Arc::clone(&server.open), Arc::new(AtomicBool::new(false)));
        let stop = Arc::clone(&is_over);
        let thread = thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                if let Err(e) = server.turn(Duration::from_millis(20)) {
                    // Whoever waits for an echo gives up after PATIENCE.
                    eprintln!("echo server: {e}");
                    return;
                }
            }
        });
        Ok(Self { port, open, is_over, thread: Some(thread) })
    }

    /// Waits until the proxy has let go of every connection.
    pub fn await_all_closed(&self) -> Outcome<()> {
        let began = Instant::now();
        while self.open.load(Ordering::Relaxed) > 0 {
            if began.elapsed() > PATIENCE {
                return Err(stuck("the end of the target's connections"));
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

impl Drop for EchoThread {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic in it has been printed already.
            let _ = thread.join();
        }
    }
}

/// The same echo server as a process of its own, for more connections than one process may hold both
/// ends of. Tells its port on stdout and runs until it is killed.
pub fn run_echo_server() -> io::Result<()> {
    let mut server = EchoServer::new()?;
    println!("listening tcp://127.0.0.1:{}", server.port()?);
    loop {
        server.turn(PATIENCE)?;
    }
}

struct EchoServer {
    listener: TcpListener,
    epoll: Epoll,
    streams: HashMap<u64, TcpStream>,
    next: u64,
    open: Arc<AtomicUsize>,
}

const LISTENER: u64 = 0;

impl EchoServer {
    fn new() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let epoll = Epoll::new(256)?;
        epoll.add(&listener, LISTENER, IN)?;
        Ok(Self {
            listener,
            epoll,
            streams: HashMap::new(),
            next: LISTENER + 1,
            open: Arc::default(),
        })
    }

    fn port(&self) -> io::Result<u16> {
        Ok(self.listener.local_addr()?.port())
    }

    fn turn(&mut self, timeout: Duration) -> io::Result<()> {
        for event in 0..self.epoll.wait(Some(timeout))? {
            let (token, _) = self.epoll.event(event);
            if token == LISTENER {
                self.accept()?;
            } else if !self.streams.get_mut(&token).is_some_and(answer) {
                self.streams.remove(&token);
            }
        }
        self.open.store(self.streams.len(), Ordering::Relaxed);
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        let (stream, _) = self.listener.accept()?;
        set_patience(&stream)?;
        self.epoll.add(&stream, self.next, IN)?;
        self.streams.insert(self.next, stream);
        self.next += 1;
        Ok(())
    }
}

/// Sends one read back; false when the stream is over.
fn answer(stream: &mut TcpStream) -> bool {
    let mut buffer = [0; 4096];
    match stream.read(&mut buffer) {
        Ok(0) | Err(_) => false,
        Ok(n) => stream.write_all(&buffer[..n]).is_ok(),
    }
}

fn set_patience(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))
}

fn within_patience(outcome: io::Result<usize>, what: &str) -> Outcome<usize> {
    match outcome {
        Err(e) if e.kind() == ErrorKind::WouldBlock => Err(stuck(what)),
        other => Ok(other?),
    }
}

fn stuck(what: &str) -> crate::Failure {
    format!("{what} did not come; nothing moved for {} s", PATIENCE.as_secs()).into()
}
