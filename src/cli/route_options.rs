//! The options of one route, as they were given, to the [`Route`] they make.
//!
//! What a route was told stands in place of what all were told, option by option. Owns what a route
//! must be told, and what contradicts what. Never opens a file.

use std::path::PathBuf;

use super::access::AccessOptions;
use super::messages::{first_filled, is_token, MessageOptions};
use super::need::Need;
use super::{Argument, Flaw, UsageError};
use crate::config::{CredentialFile, Local, Remote, Route};
use crate::policy::rules::{Rule, Rules};
use crate::proto::connect::Form;
use crate::proto::framing::Framing;
use crate::proto::proxy_header::Version;

/// What authorizes a request: a file, or `None` for one of its fields.
pub(super) type Credential = (Argument, Option<CredentialFile>);

/// An empty list or `None` is silence.
#[derive(Debug, Default)]
pub(super) struct RouteOptions {
    pub messages: MessageOptions,
    allowed: Vec<Rule>,
    denied: Vec<Rule>,
    form: Option<Form>,
    users: Option<PathBuf>,
    accept_proxy: bool,
    send_proxy: Option<Version>,
    web: Option<PathBuf>,
    fields: Vec<(String, String)>,
    /// On a route that sends no request, its files are those whose credentials clients must show.
    credentials: Vec<Credential>,
    access: AccessOptions,
    /// What is of no use to every route, and to which it is.
    needs: Vec<(Argument, Need)>,
}

/// While the arguments are read.
impl RouteOptions {
    /// `--allow RULE`
    pub(super) fn allow(&mut self, argument: &Argument) -> Result<(), Flaw> {
        self.allowed.push(argument.value.parse()?);
        self.need(argument, Need::Targets)
    }

    /// `--deny RULE`
    pub(super) fn deny(&mut self, argument: &Argument) -> Result<(), Flaw> {
        self.denied.push(argument.value.parse()?);
        self.need(argument, Need::Targets)
    }

    /// `--framing NAME`
    pub(super) fn set_framing(&mut self, argument: &Argument) -> Result<(), Flaw> {
        match self.messages.set_framing(argument)? {
            Framing::Raw => Ok(()),
            _ => self.need(argument, Need::Messages),
        }
    }

    /// `--connect full|eager`
    pub(super) fn set_form(&mut self, argument: &Argument) -> Result<(), Flaw> {
        self.form = Some(match argument.value.as_str() {
            "full" => Form::Full,
            "eager" => Form::Bare,
            _ => return Err(Flaw::new("is neither full nor eager")),
        });
        self.need(argument, Need::Relay)
    }

    /// `--proxy-basic-file FILE`
    pub(super) fn set_users(&mut self, argument: &Argument) -> Result<(), Flaw> {
        self.users = Some(file(&argument.value)?);
        self.need(argument, Need::Listener)
    }

    /// `--accept-proxy`
    pub(super) fn accept_proxy(&mut self) {
        self.accept_proxy = true;
    }

    /// `--send-proxy v1|v2`
    pub(super) fn set_send_proxy(&mut self, version: &str) -> Result<(), Flaw> {
        self.send_proxy = Some(match version {
            "v1" => Version::V1,
            "v2" => Version::V2,
            _ => return Err(Flaw::new("is neither v1 nor v2")),
        });
        Ok(())
    }

    /// `--web DIR`
    pub(super) fn set_web(&mut self, argument: &Argument) -> Result<(), Flaw> {
        if argument.value.is_empty() {
            return Err(Flaw::new("is empty"));
        }
        self.web = Some(PathBuf::from(&argument.value));
        self.need(argument, Need::WebSocket)
    }

    /// `--basic-file FILE`
    pub(super) fn set_basic(&mut self, argument: &Argument) -> Result<(), Flaw> {
        let credential = CredentialFile::Basic(file(&argument.value)?);
        self.credentials.push((argument.clone(), Some(credential)));
        self.need(argument, Need::Credentials)
    }

    /// `--bearer-file FILE`
    pub(super) fn set_bearer(&mut self, argument: &Argument) -> Result<(), Flaw> {
        let credential = CredentialFile::Bearer(file(&argument.value)?);
        self.credentials.push((argument.clone(), Some(credential)));
        self.need(argument, Need::Credentials)
    }

    /// One of the options about who may connect.
    pub(super) fn restrict(
        &mut self,
        argument: &Argument,
        need: Need,
        set: fn(&mut AccessOptions, &Argument) -> Result<(), Flaw>,
    ) -> Result<(), Flaw> {
        set(&mut self.access, argument)?;
        self.need(argument, need)
    }

    /// `--header 'NAME: VALUE'`
    pub(super) fn add_field(&mut self, argument: &Argument) -> Result<(), Flaw> {
        let (name, value) = field(&argument.value)?;
        // What is said of it later leaves the value out, which may be a secret.
        let named = Argument { option: argument.option.clone(), value: name.to_owned() };
        if is_authorization(name) {
            self.credentials.push((named.clone(), None));
        }
        self.fields.push((name.to_owned(), value.to_owned()));
        self.need(&named, Need::Request)
    }

    fn need(&mut self, argument: &Argument, need: Need) -> Result<(), Flaw> {
        self.needs.push((argument.clone(), need));
        Ok(())
    }

    /// What was said later of the same route.
    pub(super) fn extend(&mut self, later: Self) {
        self.messages.extend(later.messages);
        self.allowed.extend(later.allowed);
        self.denied.extend(later.denied);
        self.form = later.form.or(self.form);
        self.users = later.users.or(self.users.take());
        self.accept_proxy |= later.accept_proxy;
        self.send_proxy = later.send_proxy.or(self.send_proxy);
        self.web = later.web.or(self.web.take());
        self.fields.extend(later.fields);
        self.credentials.extend(later.credentials);
        self.access.extend(later.access);
        self.needs.extend(later.needs);
    }
}

/// Once all are read.
impl RouteOptions {
    /// The route from `local` to `remote`, with `shared` where this one was told nothing of its
    /// own, and the defaults below that. `named` is the argument that `remote` was.
    pub(super) fn route(
        self,
        shared: &Self,
        local: Local,
        remote: Remote,
        named: &Argument,
    ) -> Result<Route, UsageError> {
        let mut route = Route::new(local, remote);
        let addresses = Need::Addresses.met(&route.local, &route.remote);
        if self.accept_proxy && !addresses {
            return Err(UsageError::new(
                "--accept-proxy",
                format!("is for proxies that have an address, and {} has none", route.local),
                "write it like --local 127.0.0.1:8080 --accept-proxy",
            ));
        }
        route.accept_proxy = addresses && (self.accept_proxy || shared.accept_proxy);
        let misplaced = self.needs.iter().find(|(_, need)| !is_met(*need, &route));
        if let Some((argument, need)) = misplaced {
            let instead = format!("and this route is {} -> {}", route.local, route.remote);
            return Err(need.missing(argument, &instead));
        }
        route.access =
            self.access.access(&self.credentials, (&shared.access, &shared.credentials), &route)?;
        if route.accept_proxy && route.access.proxies.is_empty() {
            return Err(UsageError::new(
                "--accept-proxy",
                "believes proxies, and no --trust-proxy says which",
                "write it like --accept-proxy --trust-proxy 127.0.0.1",
            ));
        }
        let has = |need: Need| need.met(&route.local, &route.remote);
        let (dials, relays, listens) = (has(Need::Targets), has(Need::Relay), has(Need::Listener));
        route.send_proxy = self.send_proxy.or(shared.send_proxy);
        if has(Need::WebSocket) {
            route.web = self.web.clone().or_else(|| shared.web.clone());
        }
        if dials {
            route.rules = self.rules(shared, &route.remote, named)?;
        }
        if relays {
            route.form = self.form.or(shared.form).unwrap_or_default();
        }
        if listens {
            route.users = self.users.clone().or_else(|| shared.users.clone());
        }
        if let Remote::WebSocket(url) = &mut route.remote {
            (url.fields, url.credential) = self.authorized_fields(shared)?;
            url.subprotocols = self.messages.offered(&shared.messages);
        }
        let usual = std::mem::take(&mut route.messages);
        let appear = Need::Messages.met(&route.local, &route.remote);
        route.messages = self.messages.over(&shared.messages, usual, appear)?;
        Ok(route)
    }

    /// As options for all `routes`, each is of use to one of them.
    pub(super) fn of_use(&self, routes: &[Route]) -> Result<(), UsageError> {
        let met = |need: Need| routes.iter().any(|route| is_met(need, route));
        match self.needs.iter().find(|(_, need)| !met(*need)) {
            Some((argument, need)) => Err(need.missing(argument, "and no route has any")),
            None if met(Need::Request) => Ok(()),
            None => self.access.agree_with(&self.credentials),
        }
    }

    fn rules(&self, shared: &Self, to: &Remote, remote: &Argument) -> Result<Rules, UsageError> {
        let allowed = first_filled(&self.allowed, &shared.allowed);
        // What stands in a file of the operator's is allowed by that.
        if allowed.is_empty() && !matches!(to, Remote::Token(_)) {
            return Err(UsageError::new(
                remote,
                "lets whoever connects name the target, and no --allow says which",
                format!("write it like {remote} --allow '*.example.com:443'"),
            ));
        }
        let mut rules = Rules::default();
        allowed.iter().cloned().for_each(|rule| rules.allow(rule));
        let denied = first_filled(&self.denied, &shared.denied);
        denied.iter().cloned().for_each(|rule| rules.deny(rule));
        Ok(rules)
    }

    /// The fields of the request, and the file that authorizes it. An `Authorization` that all
    /// routes share gives way to a file of the route's own, and the other way round.
    fn authorized_fields(&self, shared: &Self) -> Result<Authorized, UsageError> {
        let mut fields = first_filled(&self.fields, &shared.fields).to_vec();
        let credentials = first_filled(&self.credentials, &shared.credentials);
        agree(credentials)?;
        let file = credentials.last().and_then(|(_, file)| file.clone());
        if file.is_some() {
            fields.retain(|(name, _)| !is_authorization(name));
        }
        Ok((fields, file))
    }
}

/// The fields of a request, and the file that authorizes it.
type Authorized = (Vec<(String, String)>, Option<CredentialFile>);

/// One of them is enough to authorize a request.
fn agree(credentials: &[Credential]) -> Result<(), UsageError> {
    let [(first, _), rest @ ..] = credentials else { return Ok(()) };
    match rest.iter().find(|(other, _)| other.option != first.option) {
        Some((other, _)) => {
            let problem = format!("{first} authorizes the request already");
            Err(UsageError::new(other, problem, "keep one of the two"))
        }
        None => Ok(()),
    }
}

/// Whether the option is of use to the route.
pub(super) fn is_met(need: Need, route: &Route) -> bool {
    let passed = need == Need::Passed && route.accept_proxy;
    passed || need.met(&route.local, &route.remote)
}

pub(super) fn file(path: &str) -> Result<PathBuf, Flaw> {
    match path {
        "" => Err(Flaw::new("is empty")),
        _ if path.ends_with('/') => Err(Flaw::new("is a directory")),
        _ => Ok(path.into()),
    }
}

/// `Name: value`, for the request to a `ws://` remote.
fn field(text: &str) -> Result<(&str, &str), Flaw> {
    let split = text.split_once(':').map(|(name, value)| (name, value.trim()));
    let Some((name, value)) =
        split.filter(|(name, _)| !name.is_empty() && name.bytes().all(is_token))
    else {
        return Err(Flaw::new("is not a header field, NAME: VALUE"));
    };
    if value.chars().any(char::is_control) {
        return Err(Flaw::new("has a control character in its value"));
    }
    let lower = name.to_ascii_lowercase();
    if ["host", "upgrade", "connection"].contains(&lower.as_str())
        || lower.starts_with("sec-websocket-")
    {
        return Err(Flaw::new(format!("sets {name}, which the handshake sets itself")));
    }
    Ok((name, value))
}

fn is_authorization(name: &str) -> bool {
    name.eq_ignore_ascii_case("authorization")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{config_of as config, parse};
    use std::time::Duration;

    fn only(line: &str) -> Route {
        config(line).routes.remove(0)
    }

    /// Fields and credential of each request.
    fn requests(line: &str) -> Vec<(Vec<String>, Option<CredentialFile>)> {
        let of = |route: Route| match route.remote {
            Remote::WebSocket(url) => {
                let fields = url.fields.into_iter().map(|(name, value)| format!("{name}:{value}"));
                (fields.collect(), url.credential)
            }
            _ => (Vec::new(), None),
        };
        config(line).routes.into_iter().map(of).collect()
    }

    #[test]
    fn a_route_has_the_rules_that_it_was_told() {
        let rules = |line: &str| -> Vec<_> {
            config(line).routes.iter().map(|route| route.rules.to_string()).collect()
        };
        let one = "allow a:1, 10.0.0.0/8; deny 10.0.0.1";
        for line in [
            "--allow a:1 --allow 10.0.0.0/8 --deny 10.0.0.1 -r connect:",
            "--allow a:1 -l connect://b:1 -r connect: --deny=10.0.0.1 --allow 10.0.0.0/8",
        ] {
            assert_eq!(rules(line), [one], "{line}");
        }
        let many = "--allow any --deny b -l a:1 -r connect: -l a:2 -r connect: --allow c:3 \
                    -l a:3 -r connect: --deny d -l a:4 -r x:1";
        let each = ["allow any; deny b", "allow c:3; deny b", "allow any; deny d", "allow nothing"];
        assert_eq!(rules(many), each);
        assert_eq!(rules("-r query: --allow a"), ["allow a"]);
        assert_eq!(rules("-r token:x"), ["allow nothing"]);
        assert_eq!(rules("-r token:x --deny a"), ["allow nothing; deny a"]);
    }

    #[test]
    fn a_listener_passes_the_target_on_in_the_form_it_was_told() {
        let forms = |line: &str| -> Vec<_> {
            config(line).routes.into_iter().map(|route| route.form).collect()
        };
        assert_eq!(forms("-l connect://a:1 -r ws://b:1"), [Form::Full]);
        assert_eq!(forms("-l connect://a:1 -r ws://b --connect full"), [Form::Full]);
        assert_eq!(
            forms("--connect full --connect eager -r ws://b -l connect://a:1"),
            [Form::Bare]
        );
        assert_eq!(
            forms(
                "--connect eager -l connect://a:1 -r ws://b:1 -l connect://a:2 -r ws://b:1 \
                 --connect full -l a:3 -r b:1"
            ),
            [Form::Bare, Form::Full, Form::Full]
        );
    }

    #[test]
    fn a_close_is_answered_late_where_there_is_connect_or_it_was_asked_for() {
        let of = |line: &str| only(line).messages.half_close;
        let secs = |n| Some(Duration::from_secs(n));
        for (line, time) in [
            ("-r a:1", None),
            ("-r ws://a:1 -l tcp://b:1", None),
            ("-r connect: --allow any", secs(5)),
            ("-l connect://a:1 -r ws://b:1", secs(5)),
            ("-l connect://a:1 -r ws://b:1 --half-close=off", None),
            ("-l connect://a:1 -r ws://b:1 --half-close=0", None),
            ("-l connect://a:1 -r ws://b:1 --half-close=2m", secs(120)),
            ("--half-close -r a:1", secs(5)),
            ("-r a:1 --half-close", secs(5)),
            ("--half-close=1h -r a:1", secs(3600)),
            ("--half-close=7 -r a:1 --half-close=off", None),
            ("--half-close 6080 127.0.0.1:5900", secs(5)),
        ] {
            assert_eq!(of(line), time, "{line}");
        }
        let line = "--half-close=1 -l a:1 -r b:1 -l a:2 -r b:1 --half-close=off \
                    -l a:3 -r b:1 --half-close=3";
        let each = config(line).routes.into_iter().map(|route| route.messages.half_close);
        assert_eq!(each.collect::<Vec<_>>(), [secs(1), None, secs(3)]);
    }

    #[test]
    fn users_are_those_of_the_last_file() {
        let line = "-l connect://a:1 -r ws://b:1 --proxy-basic-file x --proxy-basic-file y";
        assert_eq!(only(line).users, Some("y".into()));
        let line = "--proxy-basic-file x -l connect://a:1 -r ws://b:1 -l a:2 -r b:1";
        let each = config(line).routes.into_iter().map(|route| route.users);
        assert_eq!(each.collect::<Vec<_>>(), [Some("x".into()), None]);
    }

    #[test]
    fn pages_are_those_of_the_last_directory() {
        let line = "--web /x -l a:1 -r b:1 -l a:2 -r b:1 --web y/ --web z/ -l tcp://a:3 -r b:1";
        let each = config(line).routes.into_iter().map(|route| route.web);
        assert_eq!(each.collect::<Vec<_>>(), [Some("/x".into()), Some("z/".into()), None]);
        assert_eq!(only("--web /x 6080 b:1").web, Some("/x".into()));
    }

    #[test]
    fn one_file_authorizes_the_request() {
        let basic = |name: &str| Some(CredentialFile::Basic(name.into()));
        let bearer = |name: &str| Some(CredentialFile::Bearer(name.into()));
        let of = |line| requests(line).remove(0);
        let none = Vec::<String>::new;
        assert_eq!(of("-r ws://a --basic-file x --basic-file y"), (none(), basic("y")));
        assert_eq!(of("--bearer-file /x -r ws://a"), (none(), bearer("/x")));
        assert_eq!(
            of("-r ws://a --header authorization:z --header b:c"),
            (vec!["authorization:z".into(), "b:c".into()], None)
        );
    }

    #[test]
    fn what_authorizes_a_route_stands_in_place_of_what_does_all() {
        let basic = Some(CredentialFile::Basic("x".into()));
        let bearer = Some(CredentialFile::Bearer("y".into()));
        let fields = |fields: &[&str]| fields.iter().map(|f| f.to_string()).collect::<Vec<_>>();
        assert_eq!(
            requests(
                "--basic-file x --header b:c -l a:1 -r ws://h -l a:2 -r ws://h --bearer-file y \
                 -l a:3 -r ws://h --header Authorization:z -l a:4 -r ws://h --header d:e \
                 -l a:5 -r h:1"
            ),
            [
                (fields(&["b:c"]), basic.clone()),
                (fields(&["b:c"]), bearer),
                (fields(&["Authorization:z"]), None),
                (fields(&["d:e"]), basic.clone()),
                (fields(&[]), None),
            ]
        );
        assert_eq!(
            requests(
                "--header Authorization:z --header b:c -l a:1 -r ws://h -l a:2 -r ws://h \
                 --basic-file x"
            ),
            [(fields(&["Authorization:z", "b:c"]), None), (fields(&["b:c"]), basic)]
        );
    }

    #[test]
    fn says_what_a_route_lacks_or_has_twice() {
        for (line, text) in [
            (
                "--remote connect:",
                "--remote connect:: lets whoever connects name the target, and no --allow says \
                 which; write it like --remote connect: --allow '*.example.com:443'",
            ),
            (
                "-l connect://a:1 -r connect: --deny 10.0.0.1",
                "-r connect:: lets whoever connects name the target, and no --allow says which; \
                 write it like -r connect: --allow '*.example.com:443'",
            ),
            (
                "-l a:1 -r connect: --allow any -l a:2 --remote=CONNECT:",
                "--remote CONNECT:: lets whoever connects name the target, and no --allow says \
                 which; write it like --remote CONNECT: --allow '*.example.com:443'",
            ),
            (
                "-r query:",
                "-r query:: lets whoever connects name the target, and no --allow says which; \
                 write it like -r query: --allow '*.example.com:443'",
            ),
            (
                "-r ws://a --basic-file x --bearer-file y",
                "--bearer-file y: --basic-file x authorizes the request already; keep one of the \
                 two",
            ),
            (
                "-r ws://a --bearer-file y --header Authorization:secret",
                "--header Authorization: --bearer-file y authorizes the request already; keep \
                 one of the two",
            ),
            (
                "--basic-file x --bearer-file y -l a:1 -r ws://a -l a:2 -r ws://a",
                "--bearer-file y: --basic-file x authorizes the request already; keep one of the \
                 two",
            ),
        ] {
            let error = parse(line.split(' ').map(Into::into)).expect_err(line).to_string();
            assert_eq!(error, text);
        }
    }
}
