//! Who may connect: by address, by the page that asks, by what is shown.
//!
//! Owns the order of the checks and what each refusal says. Never tells in it, or in a log, what was
//! shown.
//!
//! | check | refused with |
//! |---|---|
//! | whose connection a trusted proxy passes on (`--trust-proxy`) | 403 where its fields disagree |
//! | the client's address (`--client`) | 403 |
//! | the page's origin (`--origin`), where a WebSocket is asked for | 403 |
//! | credentials (`--basic-file`, `--bearer-file`) | 401 |
//!
//! A request without `Origin` comes from no page in a browser. Where origins are listed, it is let
//! in if credentials are asked for, which then say who it is; else whoever leaves the field out
//! would be let in.

use std::borrow::Cow;
use std::net::IpAddr;

use httparse::Header;

use super::admit::{Challenge, Refusal, Status};
use super::cidr::canonical;
use super::credentials::Credentials;
use super::forwarded;
use super::gate::Gate;
use crate::config::{Access, Local, Remote, Route};
use crate::proto::handshake::{basic_credentials, bearer_token, Request};
use crate::proto::{http, percent};

/// The query parameters that a token may be in, since a page cannot set a header.
const PARAMETERS: [&str; 2] = ["token", "access_token"];

/// What stands before a token in the list of subprotocols.
const SUBPROTOCOL: &str = "bearer.";

/// What a request shows of who makes it.
#[derive(Clone, Copy)]
struct Shown<'r, 'a> {
    fields: &'r [Header<'a>],
    query: &'a str,
    subprotocols: &'r [&'a str],
}

impl<'r, 'a: 'r> Shown<'r, 'a> {
    /// The values of a header field, line by line.
    fn lines(self, name: &'static str) -> impl DoubleEndedIterator<Item = &'a [u8]> + 'r {
        self.fields.iter().filter(move |f| f.name.eq_ignore_ascii_case(name)).map(|f| f.value)
    }
}

/// Decides whether a request for a WebSocket is welcome, and says who asks if a trusted proxy
/// stands between.
///
/// # Errors
/// 401 or 403, with what would have been needed.
pub fn judge(request: &Request, gate: Gate) -> Result<Option<IpAddr>, Refusal> {
    let Request { fields, query, subprotocols, .. } = request;
    let access = &gate.route.access;
    judge_by(Shown { fields, query, subprotocols }, gate, |shown| page(shown, access))
}

/// The same for a request for a page: it comes from no page yet, so that none is asked for.
///
/// # Errors
/// 401 or 403, with what would have been needed.
pub fn judge_visit(request: &http::Request, gate: Gate) -> Result<Option<IpAddr>, Refusal> {
    let shown = Shown { fields: &request.fields, query: request.query(), subprotocols: &[] };
    judge_by(shown, gate, |_| Ok(()))
}

fn judge_by(
    shown: Shown,
    gate: Gate,
    page: impl FnOnce(Shown) -> Result<(), Refusal>,
) -> Result<Option<IpAddr>, Refusal> {
    let access = &gate.route.access;
    let peer = gate.client.map(|address| address.ip());
    let behind = behind_proxy(shown, access, peer, gate.route.accept_proxy)?;
    let verdict = address(access, behind.or(peer))
        .and_then(|()| page(shown))
        .and_then(|()| credentials(shown, gate));
    verdict.map(|()| behind).map_err(|refusal| Refusal { client: behind, ..refusal })
}

/// Whether somebody at that address may connect; `None` is nobody who has one.
pub fn lets_in(access: &Access, client: Option<IpAddr>) -> bool {
    let listed = |client| access.clients.iter().any(|net| net.contains(client));
    access.clients.is_empty() || client.is_some_and(listed)
}

/// Whether that is a proxy which speaks for others.
pub fn is_proxy(access: &Access, peer: IpAddr) -> bool {
    access.proxies.iter().any(|net| net.contains(peer))
}

/// The token in a subprotocol that is one for our eyes only, as it stands.
pub fn bearer(subprotocol: &str) -> Option<&str> {
    let start = subprotocol.get(..SUBPROTOCOL.len())?;
    start.eq_ignore_ascii_case(SUBPROTOCOL).then(|| &subprotocol[SUBPROTOCOL.len()..])
}

/// What to add to a route that lets in everybody; `None` if it asks for something.
pub fn remedy(route: &Route) -> Option<&'static str> {
    let access = &route.access;
    let asks = !access.clients.is_empty()
        || !access.origins.is_empty()
        || access.asks_for_credentials()
        || route.users.is_some();
    match (&route.local, &route.remote) {
        _ if asks => None,
        (Local::WebSocket(_), Remote::WebSocket(_)) => {
            Some("--origin, --listen-basic-file, --listen-bearer-file or --client")
        }
        (Local::WebSocket(_), _) => Some("--origin, --basic-file, --bearer-file or --client"),
        (Local::Connect(_), _) => Some("--proxy-basic-file or --client"),
        (Local::Stream(_), _) => Some("--client"),
        (Local::Admin(_), _) => Some("--admin-token-file"),
    }
}

/// Whose connection it is, if a trusted proxy passes it on.
fn behind_proxy(
    shown: Shown,
    access: &Access,
    peer: Option<IpAddr>,
    accepts_header: bool,
) -> Result<Option<IpAddr>, Refusal> {
    let Some(peer) = peer.map(canonical).filter(|peer| is_proxy(access, *peer)) else {
        return Ok(None);
    };
    if accepts_header {
        // Who speaks the PROXY protocol passes a request on as it came, from the client.
        return Ok(None);
    }
    let usual = || shown.lines("X-Forwarded-For");
    let standard = || shown.lines("Forwarded");
    let heard = |usual, standard| forwarded::client(peer, &access.proxies, usual, standard);
    if usual().next().is_none() || standard().next().is_none() {
        return Ok(Some(heard(all(usual()), all(standard()))));
    }
    // Proxies write one of them and pass on the other as it came, from the client for all we know.
    // That the two agree is the one thing a client cannot make up.
    let client = heard(all(usual()), Vec::new().into_iter());
    if client == heard(Vec::new().into_iter(), all(standard())) {
        return Ok(Some(client));
    }
    Err(forbidden(
        "X-Forwarded-For and Forwarded do not agree; the proxy in front must remove one of them",
    ))
}

/// The values of a field, of a type that two fields share.
fn all<'a>(values: impl Iterator<Item = &'a [u8]>) -> std::vec::IntoIter<&'a [u8]> {
    values.collect::<Vec<_>>().into_iter()
}

fn address(access: &Access, client: Option<IpAddr>) -> Result<(), Refusal> {
    match lets_in(access, client) {
        true => Ok(()),
        false => Err(forbidden(
            "this address may not connect; ask whoever runs the proxy for a --client",
        )),
    }
}

fn page(shown: Shown, access: &Access) -> Result<(), Refusal> {
    if access.origins.is_empty() {
        return Ok(());
    }
    let mut origins = shown.lines("Origin");
    match (origins.next(), origins.next()) {
        (None, _) if access.asks_for_credentials() => Ok(()),
        (None, _) => Err(forbidden(
            "only pages of a listed --origin may connect, and this request has no Origin",
        )),
        (Some(origin), None) if is_listed(origin, access) => Ok(()),
        _ => Err(forbidden(
            "pages of this origin may not connect; ask whoever runs the proxy for an --origin",
        )),
    }
}

fn is_listed(origin: &[u8], access: &Access) -> bool {
    let origin = std::str::from_utf8(origin).map(|text| text.trim_matches([' ', '\t']));
    origin.is_ok_and(|origin| access.origins.iter().any(|rule| rule.matches(origin)))
}

/// Credentials of either kind will do. Each way to show some counts once, the first time, so that a
/// request is one guess and not hundreds.
fn credentials(shown: Shown, gate: Gate) -> Result<(), Refusal> {
    let access = &gate.route.access;
    let (challenge, reason) = match (&access.basic, &access.bearer) {
        (None, None) => return Ok(()),
        (Some(_), None) => (Challenge::Basic, "a user name and a password are needed here"),
        (None, Some(_)) => (Challenge::Bearer, "a bearer token is needed here"),
        (Some(_), Some(_)) => {
            (Challenge::Either, "a user name and a password, or a bearer token, are needed here")
        }
    };
    let field = shown.lines("Authorization").next();
    let accepts = |known: &Option<Credentials>, credential: &[u8]| {
        known.as_ref().is_some_and(|known| known.accepts(credential))
    };
    let user = field.and_then(basic_credentials);
    let mut tokens = [
        field.and_then(bearer_token).map(Cow::Borrowed),
        parameter(shown, gate.route, PARAMETERS[0]),
        parameter(shown, gate.route, PARAMETERS[1]),
        shown.subprotocols.iter().find_map(|name| bearer(name)).and_then(percent::decode),
    ]
    .into_iter()
    .flatten();
    if user.is_some_and(|user| accepts(&gate.secrets.basic, &user))
        || tokens.any(|token| accepts(&gate.secrets.bearer, token.as_bytes()))
    {
        return Ok(());
    }
    Err(Refusal::new(Status::Unauthorized(challenge), reason))
}

/// The value of a query parameter that is not the target's.
fn parameter<'a>(shown: Shown<'_, 'a>, route: &Route, name: &str) -> Option<Cow<'a, str>> {
    match route.remote.reads_parameter(name) {
        true => None,
        false => percent::query_value(shown.query, name).ok().flatten(),
    }
}

fn forbidden(reason: &str) -> Refusal {
    Refusal::new(Status::Forbidden, reason)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::policy::credentials::Kind;
    use crate::policy::gate::Secrets;
    use crate::testing;

    /// Fields in the place of a request's own.
    type Fields<'a> = &'a [(&'static str, &'a str)];

    /// A route and who asks it, `None` over a unix socket.
    struct Case {
        route: Route,
        secrets: Secrets,
        peer: Option<&'static str>,
    }

    impl Case {
        fn new(access: Access) -> Self {
            let known = |path: &Option<_>, text: &str, kind| {
                path.as_ref().map(|_| Credentials::parse(text.as_bytes(), kind).unwrap())
            };
            let secrets = Secrets {
                basic: known(&access.basic, "user:sesame\nuser:open:up", Kind::Basic),
                bearer: known(&access.bearer, "abc.+/==\ndef", Kind::Bearer),
                ..Secrets::default()
            };
            let route = Route { access, ..testing::route() };
            Self { route, secrets, peer: Some("192.0.2.7") }
        }

        fn judge(
            &self,
            query: &str,
            subprotocols: &[&str],
            fields: Fields,
        ) -> Result<String, (u16, String)> {
            let header = |(name, value): &(&'static str, &'_ str)| (*name, value.to_string());
            let owned: Vec<_> = fields.iter().map(header).collect();
            let fields = owned.iter().map(|(name, value)| Header { name, value: value.as_bytes() });
            let request = Request {
                path: "/",
                query,
                accept: [b'x'; 28],
                subprotocols: subprotocols.to_vec(),
                fields: fields.collect(),
            };
            let client = self.peer.map(|ip| SocketAddr::new(ip.parse().expect(ip), 4242));
            let gate = Gate { route: &self.route, secrets: &self.secrets, client };
            match judge(&request, gate) {
                Ok(client) => Ok(client.map_or(String::new(), |ip| ip.to_string())),
                Err(refusal) => {
                    assert!(!refusal.reason.contains('\n'), "{refusal:?}");
                    Err((refusal.status.code(), refusal.reason))
                }
            }
        }

        /// 101 or the status of the refusal.
        fn status(&self, query: &str, subprotocols: &[&str], fields: Fields) -> u16 {
            self.judge(query, subprotocols, fields).map_or_else(|refused| refused.0, |_| 101)
        }
    }

    fn origins(rules: &[&str]) -> Access {
        let origins = rules.iter().map(|rule| rule.parse().expect(rule)).collect();
        Access { origins, ..Access::default() }
    }

    fn networks(clients: &[&str], proxies: &[&str]) -> Access {
        let read = |nets: &[&str]| nets.iter().map(|net| net.parse().expect(net)).collect();
        Access { clients: read(clients), proxies: read(proxies), ..Access::default() }
    }

    fn files(basic: bool, bearer: bool) -> Access {
        let file = |is: bool| is.then(|| "file".into());
        Access { basic: file(basic), bearer: file(bearer), ..Access::default() }
    }

    #[test]
    fn everybody_is_welcome_where_nothing_is_said() {
        let case = Case::new(Access::default());
        let fields = [("Origin", "https://a"), ("X-Forwarded-For", "10.0.0.1")];
        assert_eq!(case.judge("token=x", &["bearer.x"], &fields), Ok(String::new()));
    }

    #[test]
    fn a_page_must_be_listed() {
        let case = Case::new(origins(&["https://app.example", "http://*.lan:8080", "null"]));
        for (fields, status) in [
            (&[("Origin", "https://app.example")][..], 101),
            (&[("origin", "https://app.example:443")], 101),
            (&[("Origin", "http://a.b.lan:8080")], 101),
            (&[("Origin", "null")], 101),
            (&[("Origin", "http://app.example")], 403),
            (&[("Origin", "http://lan:8080")], 403),
            (&[("Origin", "https://app.example.evil")], 403),
            (&[("Origin", "")], 403),
            (&[("Origin", "https://app.example"), ("Origin", "https://evil")], 403),
            (&[("Origin", "https://app.example"), ("Origin", "https://app.example")], 403),
            (&[("Origin", "https://app.example, https://app.example")], 403),
            (&[], 403),
            (&[("Sec-WebSocket-Origin", "https://app.example")], 403),
        ] {
            assert_eq!(case.status("", &[], fields), status, "{fields:?}");
        }
        for fields in [&[][..], &[("Origin", "https://evil")]] {
            assert!(case.judge("", &[], fields).unwrap_err().1.contains("--origin"));
        }
    }

    #[test]
    fn who_is_no_page_needs_credentials_where_pages_are_listed() {
        let case =
            Case::new(Access { origins: origins(&["https://a"]).origins, ..files(false, true) });
        let shown = ("Authorization", "Bearer def");
        assert_eq!(case.status("", &[], &[shown]), 101);
        assert_eq!(case.status("", &[], &[]), 401);
        assert_eq!(case.status("", &[], &[shown, ("Origin", "https://a")]), 101);
        assert_eq!(case.status("", &[], &[shown, ("Origin", "https://b")]), 403);
        assert_eq!(case.status("", &[], &[("Origin", "https://a")]), 401);
    }

    #[test]
    fn every_way_to_show_a_token_counts_once() {
        let case = Case::new(files(false, true));
        let field = |value| [("Authorization", value)];
        for (query, subprotocols, fields, status) in [
            ("", &[][..], &field("Bearer abc.+/==")[..], 101),
            ("", &[], &field("bEARER  def "), 101),
            ("token=def", &[], &[], 101),
            ("a=b&access_token=def", &[], &[], 101),
            ("token=abc.+/==", &[], &[], 101),
            ("token=abc.%2B%2f%3D=", &[], &[], 101),
            ("", &["binary", "bearer.def"], &[], 101),
            ("", &["Bearer.abc.%2b%2F=="], &[], 101),
            ("token=no", &["bearer.no"], &field("Bearer def"), 101),
            ("token=no&access_token=def", &["bearer.no"], &[], 101),
            ("", &[], &[], 401),
            ("", &[], &field("Bearer de"), 401),
            ("", &[], &field("Bearer"), 401),
            ("", &[], &field("Bearer "), 401),
            ("", &[], &field("def"), 401),
            ("", &[], &field("Token def"), 401),
            ("", &[], &field("Basic ZGVm"), 401),
            ("token=no&token=def", &[], &[], 401),
            ("Token=def", &[], &[], 401),
            ("token=def%00", &[], &[], 401),
            ("token=%zz", &[], &[], 401),
            ("token", &[], &[], 401),
            ("", &["def"], &[], 401),
            ("", &["bearer"], &[], 401),
            ("", &["bearer."], &[], 401),
            ("", &["bearer.no", "bearer.def"], &[], 401),
            ("", &["bearer.é"], &[], 401),
            ("", &[], &[("Authorization", "Bearer no"), ("Authorization", "Bearer def")], 401),
            ("", &[], &[("Proxy-Authorization", "Bearer def")], 401),
        ] {
            let said = format!("{query} {subprotocols:?} {fields:?}");
            assert_eq!(case.status(query, subprotocols, fields), status, "{said}");
        }
    }

    #[test]
    fn what_names_the_target_shows_nothing() {
        let mut case = Case::new(files(false, true));
        case.route.remote = Remote::Token("tokens".into());
        assert_eq!(case.status("token=def", &[], &[]), 401);
        assert_eq!(case.status("token=def&access_token=def", &[], &[]), 101);
        assert_eq!(case.status("token=a", &["bearer.def"], &[]), 101);
        case.route.remote = Remote::Query;
        assert_eq!(case.status("target=a:1&token=def", &[], &[]), 101);
    }

    #[test]
    fn either_kind_of_credentials_will_do() {
        // user:sesame, user:open:up, user:no
        let [sesame, open, no] = ["dXNlcjpzZXNhbWU=", "dXNlcjpvcGVuOnVw", "dXNlcjpubw=="];
        for (access, basic, bearer, reason) in [
            (files(true, false), 101, 401, "a user name and a password are"),
            (files(false, true), 401, 101, "a bearer token is"),
            (files(true, true), 101, 101, "a user name and a password, or a bearer token, are"),
        ] {
            let case = Case::new(access);
            for shown in [sesame, open] {
                let field = format!("Basic {shown}");
                assert_eq!(case.status("", &[], &[("Authorization", &field)]), basic);
            }
            assert_eq!(case.status("token=def", &[], &[]), bearer);
            let field = format!("Basic {no}");
            let refused = case.judge("token=no", &[], &[("Authorization", &field)]).unwrap_err();
            assert_eq!(refused, (401, format!("{reason} needed here")));
        }
        let case = Case::new(files(true, true));
        assert_eq!(case.status("token=user:sesame", &["bearer.user:sesame"], &[]), 401);
    }

    #[test]
    fn an_address_must_be_listed() {
        let mut case = Case::new(networks(&["10.0.0.0/8", "2001:db8::/32"], &[]));
        for (peer, status) in [
            (Some("10.1.2.3"), 101),
            (Some("::ffff:10.1.2.3"), 101),
            (Some("2001:db8:1::"), 101),
            (Some("11.0.0.1"), 403),
            (Some("127.0.0.1"), 403),
            (Some("::1"), 403),
            (Some("::10.1.2.3"), 403),
            (None, 403),
        ] {
            case.peer = peer;
            let forged = [("X-Forwarded-For", "10.0.0.1"), ("Forwarded", "for=10.0.0.1")];
            assert_eq!(case.status("", &[], &forged), status, "{peer:?}");
        }
    }

    #[test]
    fn a_trusted_proxy_says_who_asks() {
        let mut case = Case::new(networks(&["10.0.0.0/8"], &["192.0.2.0/24"]));
        let (usual, standard) = ("X-Forwarded-For", "Forwarded");
        for (fields, verdict) in [
            (&[(usual, "10.0.0.1")][..], Ok("10.0.0.1")),
            (&[(standard, "for=10.0.0.1;proto=https")], Ok("10.0.0.1")),
            (&[(usual, "6.6.6.6"), (usual, "10.0.0.1, 192.0.2.9")], Ok("10.0.0.1")),
            (&[(usual, "10.0.0.1, 6.6.6.6")], Err(403)),
            (&[(usual, "nonsense")], Err(403)),
            (&[], Err(403)),
            (&[(usual, "10.0.0.1"), (standard, "for=10.0.0.1")], Ok("10.0.0.1")),
            (&[(usual, "6.6.6.6"), (standard, "for=10.0.0.1")], Err(403)),
            (&[(usual, "10.0.0.1"), (standard, "for=10.0.0.2")], Err(403)),
            (&[(usual, "10.0.0.1"), (standard, "")], Err(403)),
        ] {
            let judged = case.judge("", &[], fields).map_err(|refused| refused.0);
            assert_eq!(judged, verdict.map(str::to_owned), "{fields:?}");
        }
        for stranger in [Some("198.51.100.1"), None] {
            case.peer = stranger;
            assert_eq!(case.status("", &[], &[(usual, "10.0.0.1")]), 403);
        }
        let mut open = Case::new(networks(&[], &["192.0.2.7"]));
        assert_eq!(open.judge("", &[], &[(usual, "6.6.6.6")]), Ok("6.6.6.6".into()));
        assert_eq!(open.judge("", &[], &[]), Ok("192.0.2.7".into()));
        open.peer = Some("192.0.2.8");
        assert_eq!(open.judge("", &[], &[(usual, "6.6.6.6")]), Ok(String::new()));
    }

    /// It knows of connections, not of requests: those it passes on as they came.
    #[test]
    fn behind_a_proxy_header_a_field_is_the_clients_own_word() {
        let mut case = Case::new(networks(&["10.0.0.0/8"], &["192.0.2.0/24"]));
        case.route.accept_proxy = true;
        assert_eq!(case.status("", &[], &[("X-Forwarded-For", "10.0.0.1")]), 403);
    }

    /// To ask costs a system call for each connection.
    #[test]
    fn the_kernel_is_asked_for_an_address_only_where_it_matters() {
        for (access, depends) in [
            (Access::default(), false),
            (origins(&["null"]), false),
            (files(true, true), false),
            (networks(&["0.0.0.0/0"], &[]), true),
            (networks(&[], &["10.0.0.1"]), true),
        ] {
            assert_eq!(access.depends_on_address(), depends, "{access:?}");
        }
    }

    #[test]
    fn an_open_route_is_told_what_to_add() {
        let lines = |route: &Route| remedy(route).unwrap_or("nothing");
        let mut route = testing::route();
        assert!(lines(&route).starts_with("--origin, --basic-file"));
        route.access.proxies = networks(&[], &["10.0.0.1"]).proxies;
        assert!(lines(&route).starts_with("--origin, --basic-file"));
        for access in [origins(&["null"]), networks(&["0.0.0.0/0"], &[]), files(true, false)] {
            assert_eq!(lines(&Route { access, ..route.clone() }), "nothing");
        }
        let bind = route.local.bind().clone();
        let stream = Route { local: Local::Stream(bind.clone()), ..testing::route() };
        assert_eq!(lines(&stream), "--client");
        let mut connect = Route { local: Local::Connect(bind), ..testing::route() };
        assert_eq!(lines(&connect), "--proxy-basic-file or --client");
        connect.users = Some("users".into());
        assert_eq!(lines(&connect), "nothing");
    }
}
