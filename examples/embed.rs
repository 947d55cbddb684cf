//! The proxy in a thread of another program: `cargo run --example embed`

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::{sync::mpsc::channel, thread, time::Duration};

use ws_tcp_proxy::{config::Config, proto::close::CloseCode, Event, Proxy};

const REQUEST: &[u8] =
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let target = TcpListener::bind("127.0.0.1:0")?; // says everything back
    let config = Config::builder().local("127.0.0.1:0").remote(target.local_addr()?).build()?;
    thread::spawn(move || target.accept().and_then(|(s, _)| io::copy(&mut &s, &mut &s)));

    let mut proxy = Proxy::bind(config)?;
    let (address, handle) = (proxy.local_addr().ok_or("no TCP address")?, proxy.handle());
    let (connected, ids) = channel();
    let serving = thread::spawn(move || {
        proxy.run_with(|event| {
            println!("{event}");
            if let Event::Connected { id, .. } = event {
                let _ = connected.send(id);
            }
        })
    });
    let mut client = BufReader::new(TcpStream::connect(address)?);
    client.get_mut().write_all(REQUEST)?;
    let id = ids.recv()?;
    handle.connections()?.iter().for_each(|connection| println!("there is {connection}"));
    handle.close(id, CloseCode::try_from(4000)?)?;
    while client.by_ref().lines().next().is_some_and(|line| line.is_ok_and(|l| !l.is_empty())) {}
    client.read_exact(&mut [0; 4])?; // the Close
    drop(client);
    handle.shutdown(Duration::from_secs(5))?;
    Ok(serving.join().expect("the proxy does not panic")?)
}
