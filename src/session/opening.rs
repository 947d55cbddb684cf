//! The opening handshake's head, which arrives in pieces: a request as a server, an answer as a
//! client.
//!
//! Owns the bytes of a head that is not complete. Never answers.

use crate::admin::Inquiry;
use crate::buf::hot::Hot;
use crate::config::{Limits, Local};
use crate::policy::admit::{admit, Admission, Refusal};
use crate::policy::gate::Gate;
use crate::policy::page::Visit;
use crate::proto::handshake::{HandshakeError, HeadLimits, Request};
use crate::proto::http::{self, Method};
use crate::proto::response::{Expectation, ResponseError};

/// A request that is welcome.
#[derive(Debug)]
pub enum Call {
    /// It is for a WebSocket.
    WebSocket(Admission),
    /// It is for a page, on a route that has some.
    Page(Visit),
    /// It is from whoever runs the proxy, where they may ask.
    Admin(Inquiry),
}

/// A request head under way.
#[derive(Debug, Default)]
pub struct Opening(Head);

impl Opening {
    /// How much more may be read.
    pub fn read_limit(&self, limits: &Limits) -> usize {
        self.0.read_limit(limits)
    }

    /// Takes the input. `None` asks for more of it; with an answer, the input that is left
    /// belongs to what follows the head.
    pub fn on_bytes(
        &mut self,
        hot: &mut Hot,
        gate: Gate,
        limits: &Limits,
    ) -> Option<Result<Call, Refusal>> {
        let is_admin = matches!(gate.route.local, Local::Admin(_));
        let met = self.0.on_bytes(hot.input(), false, limits, |wire, sizes| {
            if is_admin {
                return plain(wire, sizes, |request| {
                    Inquiry::welcome(request, gate).map(Call::Admin)
                });
            }
            match Request::parse(wire, sizes) {
                Ok(Some((request, len))) => Some((admit(&request, gate).map(Call::WebSocket), len)),
                Ok(None) => None,
                Err(HandshakeError::NotAnUpgrade { .. }) if gate.route.web.is_some() => {
                    plain(wire, sizes, |request| visit(request, gate))
                }
                Err(error) => Some((Err(error.into()), wire.len())),
            }
        });
        take(met, hot)
    }
}

/// What `judge` makes of a plain request, and how long that is.
fn plain(
    wire: &[u8],
    sizes: HeadLimits,
    judge: impl FnOnce(&http::Request) -> Result<Call, Refusal>,
) -> Option<(Result<Call, Refusal>, usize)> {
    match http::Request::parse(wire, sizes) {
        Ok(Some((request, len))) => Some((judge(&request), len)),
        Ok(None) => None,
        Err(error) => Some((Err(error.into()), wire.len())),
    }
}

/// Whether a request that cannot become a WebSocket is one for a page.
fn visit(request: &http::Request, gate: Gate) -> Result<Call, Refusal> {
    if request.asks_for_websocket() {
        let head = request.method == Method::Head;
        return Err(HandshakeError::NotAnUpgrade { head }.into());
    }
    Visit::welcome(request, gate).map(Call::Page)
}

/// An answer under way.
#[derive(Debug)]
pub struct Asking {
    head: Head,
    expects: Expectation,
}

impl Asking {
    /// Awaits what proves `expects`.
    pub fn new(expects: Expectation) -> Self {
        Self { head: Head::default(), expects }
    }

    /// How much more may be read.
    pub fn read_limit(&self, limits: &Limits) -> usize {
        self.head.read_limit(limits)
    }

    /// Takes the input. `None` asks for more of it; once it is answered, the input that is left
    /// are the server's first frames.
    pub fn on_bytes(
        &mut self,
        hot: &mut Hot,
        limits: &Limits,
    ) -> Option<Result<(), ResponseError>> {
        let expects = &self.expects;
        let met = self.head.on_bytes(hot.input(), false, limits, |wire, sizes| {
            match expects.check(wire, sizes) {
                Ok(Some(len)) => Some((Ok(()), len)),
                Ok(None) => None,
                Err(error) => Some((Err(error), wire.len())),
            }
        });
        take(met, hot)
    }
}

/// Steps over the part of the input that belongs to a head: all of it, as long as nothing is met.
pub(super) fn take<T>(met: Option<(T, usize)>, hot: &mut Hot) -> Option<T> {
    match met {
        Some((meaning, taken)) => {
            hot.skip(taken);
            Some(meaning)
        }
        None => {
            hot.drop_input();
            None
        }
    }
}

/// What earlier reads brought of a head; empty when the whole head came in one.
#[derive(Debug, Default)]
pub(super) struct Head(Vec<u8>);

impl Head {
    pub(super) fn read_limit(&self, limits: &Limits) -> usize {
        limits.max_head.saturating_sub(self.0.len()).max(1)
    }

    /// Whether nothing has come yet.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What has come.
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// Takes what came. `parse` says what a head means and how long it is; then the answer says
    /// how much of `bytes` belonged to it. `boundary` says that the end of `bytes` may complete
    /// it, not only a line's end.
    pub(super) fn on_bytes<T>(
        &mut self,
        bytes: &[u8],
        boundary: bool,
        limits: &Limits,
        parse: impl FnOnce(&[u8], HeadLimits) -> Option<(T, usize)>,
    ) -> Option<(T, usize)> {
        /// Bytes by which a stranger shows that it does not speak HTTP, if at all before a line's end.
        const GREETING: usize = 16;
        let sizes = HeadLimits { bytes: limits.max_head, headers: limits.max_headers };
        let kept = self.0.len();
        if kept > 0 {
            self.keep(bytes, limits);
            // Behind a good beginning only a line's end can complete anything, or show an error.
            let settles = boundary || kept < GREETING || bytes.contains(&b'\n');
            if !settles && self.0.len() < limits.max_head {
                return None;
            }
        }
        // A head that came in one read is looked at where it lies.
        let wire = if kept > 0 { &self.0 } else { bytes };
        match parse(wire, sizes) {
            // The head ends in these bytes, or earlier ones would have completed it.
            Some((meaning, len)) => Some((meaning, len.saturating_sub(kept))),
            None => {
                if kept == 0 {
                    self.keep(bytes, limits);
                }
                None
            }
        }
    }

    /// Keeps `bytes`, in storage that is never larger than a head may be.
    pub(super) fn keep(&mut self, bytes: &[u8], limits: &Limits) {
        let needed = self.0.len() + bytes.len();
        if needed > self.0.capacity() {
            let wanted = (2 * self.0.capacity()).clamp(needed, limits.max_head.max(needed));
            self.0.reserve_exact(wanted - self.0.len());
        }
        self.0.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Remote, Route};
    use crate::policy::gate::Secrets;
    use crate::proto::response::ClientRequest;
    use crate::testing;

    const HEAD: &str = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

    /// Feeds `wire` in pieces of the given lengths, then the rest; what was left behind the head.
    fn fed(wire: &[u8], cuts: &[usize]) -> Option<(Result<u16, u16>, Vec<u8>)> {
        fed_on(&testing::route(), wire, cuts)
    }

    /// The same on that route; a page is 200.
    fn fed_on(route: &Route, wire: &[u8], cuts: &[usize]) -> Option<(Result<u16, u16>, Vec<u8>)> {
        let (limits, secrets) = (Limits::default(), Secrets::default());
        let gate = Gate { route, secrets: &secrets, client: None };
        let (mut opening, mut hot) = (Opening::default(), Hot::new(1 << 16));
        let mut start = 0;
        for &cut in cuts.iter().chain([&wire.len()]) {
            let piece = &wire[start..cut];
            hot.fill(piece.len()).copy_from_slice(piece);
            hot.commit(piece.len());
            if let Some(answer) = opening.on_bytes(&mut hot, gate, &limits) {
                let rest = [hot.input(), &wire[cut..]].concat();
                let met = |call| if matches!(call, Call::WebSocket(_)) { 101 } else { 200 };
                return Some((answer.map(met).map_err(|r| r.status.code()), rest));
            }
            assert!(hot.input().is_empty());
            start = cut;
        }
        None
    }

    #[test]
    fn takes_the_head_at_every_cut_and_leaves_what_follows() {
        let wire = [HEAD.as_bytes(), b"\x82\x81....x"].concat();
        for first in 0..wire.len() {
            for second in (first..wire.len()).step_by(11) {
                let expected = Some((Ok(101), b"\x82\x81....x".to_vec()));
                assert_eq!(fed(&wire, &[first, second]), expected, "{first} {second}");
            }
        }
        let bytes: Vec<usize> = (1..wire.len()).collect();
        assert_eq!(fed(&wire, &bytes).unwrap().1, b"\x82\x81....x");
        assert_eq!(fed(&wire[..HEAD.len() - 1], &[5]), None);
    }

    #[test]
    fn only_what_asks_for_no_websocket_is_for_a_page_and_only_where_there_are_some() {
        let web = Route { web: Some("web".into()), ..testing::route() };
        let page = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
        for (head, with, without) in [
            (page.to_owned(), Ok(200), Err(426)),
            (page.replace("\r\n\r\n", "\r\nConnection: upgrade\r\n\r\n"), Ok(200), Err(426)),
            (page.replace("\r\n\r\n", "\r\nUpgrade: h2c\r\n\r\n"), Ok(200), Err(426)),
            (page.replace("GET", "POST"), Err(405), Err(426)),
            (page.replace("/a", "/.."), Err(400), Err(426)),
            (page.replace("Host", "Hos"), Err(400), Err(426)),
            (HEAD.to_owned(), Ok(101), Ok(101)),
            (HEAD.replace("Version: 13", "Version: 8"), Err(426), Err(426)),
            (HEAD.replace("Connection: Upgrade", "Connection: close"), Err(426), Err(426)),
            (HEAD.replace("dGhl", "!"), Err(400), Err(400)),
        ] {
            for cut in (1..head.len()).step_by(7) {
                let wire = [head.as_bytes(), b"more"].concat();
                let met = |route| fed_on(route, &wire, &[cut]).expect("it is complete").0;
                assert_eq!((met(&web), met(&testing::route())), (with, without), "{head} {cut}");
            }
        }
        let wire = [page.as_bytes(), b"more"].concat();
        assert_eq!(fed_on(&web, &wire, &[3]).unwrap().1, b"more");
        let bind = testing::route().local.bind().clone();
        let admin = Route::new(Local::Admin(bind), Remote::Admin);
        let ask = page.replace("/a", "/metrics").replace("Host: a", "Host: [::1]");
        for (head, met) in [
            (ask.clone(), Ok(200)),
            (ask.replace("\r\n\r\n", "\r\nUpgrade: websocket\r\n\r\n"), Ok(200)),
            (ask.replace("metrics", "a"), Err(404)),
            (HEAD.to_owned(), Err(403)),
        ] {
            assert_eq!(fed_on(&admin, head.as_bytes(), &[3]).unwrap().0, met, "{head}");
        }
    }

    #[test]
    fn what_is_not_http_shows_without_a_line_end_at_every_cut() {
        for stranger in [&b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"[..], b"MQIsdp\x04\x02\0<\0"] {
            for cut in 1..stranger.len() {
                assert_eq!(fed(stranger, &[cut]).map(|told| told.0), Some(Err(400)), "{cut}");
            }
        }
        let (limits, request) =
            (Limits::default(), ClientRequest::new("a", "/", &[], &[], [0; 16]));
        let (mut asking, mut hot) = (Asking::new(request.into_parts().1), Hot::new(1 << 16));
        let mut told = None;
        for byte in b"HTTQ" {
            assert_eq!(told, None);
            hot.fill(1)[0] = *byte;
            hot.commit(1);
            told = asking.on_bytes(&mut hot, &limits);
        }
        assert_eq!(told, Some(Err(ResponseError::NotHttp("HTTQ".into()))));
    }

    #[test]
    fn a_head_without_end_is_refused_at_its_limit() {
        let endless = [b"GET / HTTP/1.1\r\nX: ".to_vec(), vec![b'x'; 9000]].concat();
        assert_eq!(fed(&endless, &[3, 8000]).unwrap().0, Err(431));
        let bytes: Vec<usize> = (1..endless.len()).collect();
        assert_eq!(fed(&endless, &bytes).unwrap().0, Err(431));
    }
}
