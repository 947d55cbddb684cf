//! A WebSocket server that sends every message back, made of the library's own loop and session.
//!
//!     cargo run --release --example echo 127.0.0.1:9001

use std::error::Error;
use std::net::SocketAddr;

use ws_tcp_proxy::config::{Bind, Config, Limits, Local, Remote, Route};
use ws_tcp_proxy::Proxy;

fn main() -> Result<(), Box<dyn Error>> {
    let address: SocketAddr = std::env::args().nth(1).ok_or("usage: echo IP:PORT")?.parse()?;
    let route = Route::new(Local::WebSocket(Bind::Tcp(address.into())), Remote::Echo);
    let mut proxy = Proxy::bind(Config { routes: vec![route], limits: Limits::default() })?;
    for at in proxy.listening() {
        println!("listening {at}");
    }
    Ok(proxy.run()?)
}
