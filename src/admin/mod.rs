//! What whoever runs the proxy may ask of it over HTTP (`--admin`).
//!
//! Owns who is answered, the paths there are, and the words of the answers. Never looks at the
//! proxy: what it knows of itself comes as values.
//!
//! Who can reach the listener may read it. Where no token is asked for that is this host alone, and
//! what a browser on it shows must not count as this host: a page whose name leads here (DNS
//! rebinding) is told by its `Host`, any other by its `Origin`.

#![forbid(unsafe_code)]

mod listing;
mod metrics;

use std::net::IpAddr;

use crate::config::{Bind, Host};
use crate::policy::access;
use crate::policy::admit::{Refusal, Status};
use crate::policy::gate::Gate;
use crate::proto::http::{Method, Request};
use crate::proto::json::Writer;
use crate::stats::{ConnectionInfo, Stats};

/// What may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// Whether it serves at all.
    Health,
    /// Which version it is.
    Version,
    /// Everything together, for Prometheus.
    Metrics,
    /// Every connection.
    Connections,
}

impl Topic {
    /// Every topic.
    pub const ALL: [Self; 4] = [Self::Health, Self::Version, Self::Metrics, Self::Connections];

    /// Where it is found.
    pub fn path(self) -> &'static str {
        match self {
            Self::Health => "/healthz",
            Self::Version => "/version",
            Self::Metrics => "/metrics",
            Self::Connections => "/connections",
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Health => "text/plain; charset=utf-8",
            Self::Version | Self::Connections => "application/json; charset=utf-8",
            Self::Metrics => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// What an answer is made of.
#[derive(Debug, Clone, Copy)]
pub enum Knowledge<'a> {
    /// What never changes.
    Nothing,
    /// Everything together.
    Stats(&'a Stats),
    /// Every connection, the newest first.
    Connections(&'a [ConnectionInfo]),
}

/// A question that is welcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inquiry {
    /// About what.
    pub topic: Topic,
    /// The head alone is asked for: no answer has a body (RFC 9110 §9.3.2).
    bodiless: bool,
}

impl Inquiry {
    /// Decides whether a request is welcome.
    ///
    /// # Errors
    /// 403 and 401 for those who may not ask, 405, or 404 with the paths there are.
    pub fn welcome(request: &Request, gate: Gate) -> Result<Self, Refusal> {
        let bodiless = request.method == Method::Head;
        let refused = |status, reason: &str| Err(Refusal::new(status, reason));
        let welcome = || {
            if !gate.route.access.asks_for_credentials() && !is_this_host(request, gate) {
                let reason =
                    "the Host of this request is no address of this host; ask by address, \
                              or run the proxy with --admin-token-file";
                return refused(Status::Forbidden, reason);
            }
            if !is_no_other_page(request) {
                return refused(Status::Forbidden, "pages may not ask");
            }
            access::judge_visit(request, gate)?;
            if request.method == Method::Other {
                return refused(Status::NotForPages, "there is nothing here but to GET");
            }
            let path = request.target.split('?').next().unwrap_or_default();
            match Topic::ALL.into_iter().find(|topic| topic.path() == path) {
                Some(topic) => Ok(Self { topic, bodiless }),
                None => {
                    let paths = Topic::ALL.map(Topic::path).join(", ");
                    refused(Status::NotFound, &format!("there are {paths}"))
                }
            }
        };
        welcome().map_err(|refusal| Refusal { bodiless, ..refusal })
    }

    /// Why there is no answer.
    pub fn refused(&self, status: Status, reason: &str) -> Refusal {
        Refusal { bodiless: self.bodiless, ..Refusal::new(status, reason) }
    }

    /// The answer, as it goes over the wire. `None` if it takes to know something else.
    pub fn answer(&self, knowledge: Knowledge) -> Option<Vec<u8>> {
        let body = match (self.topic, knowledge) {
            (Topic::Health, _) => b"ok\n".to_vec(),
            (Topic::Version, _) => version(),
            (Topic::Metrics, Knowledge::Stats(stats)) => metrics::text(stats).into_bytes(),
            (Topic::Connections, Knowledge::Connections(all)) => listing::json(all),
            _ => return None,
        };
        let mut answer = format!(
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: {}\r\nContent-Length: {}\r\n\
             Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\r\n",
            self.topic.content_type(),
            body.len()
        )
        .into_bytes();
        if !self.bodiless {
            answer.extend(body);
        }
        Some(answer)
    }
}

fn version() -> Vec<u8> {
    let mut out = Vec::new();
    Writer::new(&mut out)
        .begin_object()
        .name("name")
        .string(env!("CARGO_PKG_NAME"))
        .name("version")
        .string(env!("CARGO_PKG_VERSION"))
        .end_object();
    out.push(b'\n');
    out
}

/// Whether the request names this host by its address, as `localhost`, or as the listener does:
/// names that nobody else can lead here.
fn is_this_host(request: &Request, gate: Gate) -> bool {
    let ours = match gate.route.local.bind() {
        // No browser gets there.
        Bind::Unix(_) => return true,
        Bind::Tcp(address) => Some(&address.host),
        Bind::Fd(_) | Bind::Systemd(_) => None,
    };
    // A request without the field is no browser's: HTTP/1.1 needs it.
    let Some(host) = request.field("Host") else { return true };
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or(host),
    };
    name.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || matches!(ours, Some(Host::Name(ours)) if name.eq_ignore_ascii_case(ours))
}

/// Whether no page makes the request, or one that came from here.
fn is_no_other_page(request: &Request) -> bool {
    let mut origins = request.field_lines("Origin");
    match (origins.next(), origins.next()) {
        (None, _) => true,
        (Some(origin), None) => {
            let origin = origin.strip_prefix(b"http://");
            let host = request.field("Host").map(str::as_bytes);
            origin.is_some() && origin == host
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Access, HostPort, Local, Remote, Route, UnixName};
    use crate::policy::credentials::{Credentials, Kind};
    use crate::policy::gate::Secrets;
    use crate::proto::handshake::HeadLimits;

    /// What becomes of a request at that listener.
    fn ask(bind: Bind, token: bool, head: &str) -> Result<Inquiry, (u16, String)> {
        let limits = HeadLimits { bytes: 8192, headers: 64 };
        let wire = head.replace('\n', "\r\n") + "\r\n\r\n";
        let (request, _) = Request::parse(wire.as_bytes(), limits).unwrap().unwrap();
        let access = Access { bearer: token.then(|| "token".into()), ..Access::default() };
        let route = Route { access, ..Route::new(Local::Admin(bind), Remote::Admin) };
        let bearer = token.then(|| Credentials::parse(b"sesame", Kind::Bearer).unwrap());
        let secrets = Secrets { bearer, ..Secrets::default() };
        let gate = Gate { route: &route, secrets: &secrets, client: None };
        Inquiry::welcome(&request, gate).map_err(|refusal| {
            assert_eq!(refusal.bodiless, head.starts_with("HEAD"), "{head}");
            (refusal.status.code(), refusal.reason)
        })
    }

    fn tcp(host: &str) -> Bind {
        let host = host.parse().map_or_else(|_| Host::Name(host.into()), Host::Ip);
        Bind::Tcp(HostPort { host, port: 9000 })
    }

    fn status(bind: Bind, token: bool, head: &str) -> u16 {
        ask(bind, token, head).map_or_else(|refused| refused.0, |_| 200)
    }

    #[test]
    fn every_topic_has_its_path_and_no_other_is_there() {
        for topic in Topic::ALL {
            for line in ["GET PATH", "HEAD PATH", "GET PATH?a=b"] {
                let line = line.replace("PATH", topic.path());
                let asked = ask(tcp("::1"), false, &format!("{line} HTTP/1.1\nHost: [::1]:9000"));
                assert_eq!(asked.map(|inquiry| inquiry.topic), Ok(topic), "{line}");
            }
        }
        for path in ["/", "/metrics/", "/Metrics", "//metrics", "/../metrics", "*", "/%6detrics"] {
            let head = format!("GET {path} HTTP/1.1\nHost: localhost");
            let (status, reason) = ask(tcp("127.0.0.1"), false, &head).unwrap_err();
            assert_eq!(status, 404, "{path}");
            assert_eq!(reason, "there are /healthz, /version, /metrics, /connections");
        }
        let absolute = |host| format!("GET http://{host}/metrics HTTP/1.1\nHost: localhost");
        assert_eq!(status(tcp("127.0.0.1"), false, &absolute("127.0.0.1:9000")), 200);
        assert_eq!(status(tcp("127.0.0.1"), false, &absolute("evil.example")), 403);
        let post = "POST /metrics HTTP/1.1\nHost: 127.0.0.1";
        assert_eq!(status(tcp("127.0.0.1"), false, post), 405);
    }

    /// A page's own name can be made to lead to 127.0.0.1.
    #[test]
    fn a_foreign_name_of_this_host_is_refused_unless_a_token_is_shown() {
        for (host, answered) in [
            ("127.0.0.1:9000", 200),
            ("127.0.0.1", 200),
            ("10.0.0.7:9000", 200),
            ("[::1]:9000", 200),
            ("[::1]", 200),
            ("localhost:9000", 200),
            ("LocalHost", 200),
            ("box.example:9000", 200),
            ("evil.example:9000", 403),
            ("localhost.evil.example", 403),
            ("127.0.0.1.evil.example:9000", 403),
            ("[evil]:9000", 403),
            ("", 403),
            ("::1", 403),
        ] {
            let head = format!("GET /metrics HTTP/1.1\nHost: {host}");
            assert_eq!(status(tcp("box.example"), false, &head), answered, "{host}");
            let shown = format!("{head}\nAuthorization: Bearer sesame");
            assert_eq!(status(tcp("box.example"), true, &shown), 200, "{host}");
            assert_eq!(status(tcp("box.example"), true, &head), 401, "{host}");
            let unix = Bind::Unix(UnixName::Path("/run/a".into()));
            assert_eq!(status(unix, false, &head), 200, "{host}");
            let named = if answered == 200 && !host.starts_with("box") { 200 } else { 403 };
            assert_eq!(status(Bind::Fd(3), false, &head), named, "{host}");
        }
        assert_eq!(status(tcp("127.0.0.1"), false, "GET /metrics HTTP/1.0"), 200);
    }

    #[test]
    fn a_page_of_another_origin_is_refused_whatever_it_shows() {
        for (origin, answered) in [
            ("http://127.0.0.1:9000", 200),
            ("https://127.0.0.1:9000", 403),
            ("http://127.0.0.1:9001", 403),
            ("http://evil.example", 403),
            ("null", 403),
            ("", 403),
            ("http://127.0.0.1:9000\nOrigin: http://127.0.0.1:9000", 403),
        ] {
            let head = format!("GET /metrics HTTP/1.1\nHost: 127.0.0.1:9000\nOrigin: {origin}");
            assert_eq!(status(tcp("127.0.0.1"), false, &head), answered, "{origin}");
            let shown = format!("{head}\nAuthorization: Bearer sesame");
            assert_eq!(status(tcp("127.0.0.1"), true, &shown), answered, "{origin}");
        }
    }

    #[test]
    fn an_answer_says_what_it_is_and_how_long() {
        let head = "GET /version HTTP/1.1\nHost: localhost";
        for head in [head.to_owned(), head.replace("GET", "HEAD")] {
            let inquiry = ask(tcp("127.0.0.1"), false, &head).unwrap();
            let answer = String::from_utf8(inquiry.answer(Knowledge::Nothing).unwrap()).unwrap();
            let (fields, body) = answer.split_once("\r\n\r\n").unwrap();
            let json = format!(
                "{{\"name\":\"ws-tcp-proxy\",\"version\":\"{}\"}}\n",
                env!("CARGO_PKG_VERSION")
            );
            assert_eq!(body, if inquiry.bodiless { "" } else { &json });
            for field in [
                "HTTP/1.1 200 OK",
                "Connection: close",
                "Content-Type: application/json; charset=utf-8",
                &format!("Content-Length: {}", json.len()),
                "Cache-Control: no-store",
            ] {
                assert!(fields.split("\r\n").any(|line| line == field), "{field}: {fields}");
            }
        }
        let metrics = ask(tcp("127.0.0.1"), false, "GET /metrics HTTP/1.1\nHost: localhost");
        assert_eq!(metrics.unwrap().answer(Knowledge::Nothing), None, "it must be asked first");
    }
}
