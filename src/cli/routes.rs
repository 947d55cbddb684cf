//! Routes: each `--local` with its `--remote`, or the older ways to say the same.
//!
//! Owns what belongs to which route, and whether the routes can stand side by side.

use std::net::{IpAddr, Ipv4Addr};

use super::messages::MessageOptions;
use super::route_options::RouteOptions;
use super::{address, endpoint, Argument, Flaw, UsageError};
use crate::config::{Bind, Host, Local, Remote, Route};

/// Where the only route listens if nothing says otherwise.
const DEFAULT_HOST: Host = Host::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
const DEFAULT_PORT: u16 = 8080;

/// The routes so far, in the order of the command line.
#[derive(Debug, Default)]
pub(super) struct Routes {
    /// What stands before the first `--local`: all of it, if there is none.
    shared: Draft,
    /// One for each `--local`, with what stands behind it.
    drafts: Vec<Draft>,
    ws_port: Option<(Argument, u16)>,
    ip: Option<(Argument, Host)>,
    port: Option<(Argument, u16)>,
    positional: Vec<Argument>,
}

/// An endpoint and where it was written.
#[derive(Debug)]
struct Named<T> {
    argument: Argument,
    endpoint: T,
}

/// What one route was told. What is left out comes from the options before the first `--local`.
#[derive(Debug, Default)]
struct Draft {
    local: Option<Named<Local>>,
    remotes: Vec<Named<Remote>>,
    options: RouteOptions,
}

/// While the arguments are read.
impl Routes {
    fn latest(&mut self) -> &mut Draft {
        self.drafts.last_mut().unwrap_or(&mut self.shared)
    }

    pub(super) fn add_local(&mut self, argument: &Argument) -> Result<(), Flaw> {
        let local =
            Named { endpoint: endpoint::local(&argument.value)?, argument: argument.clone() };
        self.drafts.push(Draft { local: Some(local), ..Draft::default() });
        Ok(())
    }

    pub(super) fn add_remote(&mut self, argument: &Argument) -> Result<(), Flaw> {
        let endpoint = endpoint::remote(&argument.value)?;
        self.latest().remotes.push(Named { endpoint, argument: argument.clone() });
        Ok(())
    }

    pub(super) fn set_ws_port(&mut self, argument: &Argument) -> Result<(), Flaw> {
        self.ws_port = Some((argument.clone(), address::local_port(&argument.value)?));
        Ok(())
    }

    pub(super) fn set_ip(&mut self, argument: &Argument) -> Result<(), Flaw> {
        self.ip = Some((argument.clone(), address::local_host(&argument.value)?));
        Ok(())
    }

    pub(super) fn set_port(&mut self, argument: &Argument) -> Result<(), Flaw> {
        self.port = Some((argument.clone(), address::local_port(&argument.value)?));
        Ok(())
    }

    /// A word that belongs to no option.
    pub(super) fn positional(&mut self, value: String) {
        self.positional.push(Argument { option: String::new(), value });
    }

    pub(super) fn options(&mut self) -> &mut RouteOptions {
        &mut self.latest().options
    }

    pub(super) fn messages(&mut self) -> &mut MessageOptions {
        &mut self.options().messages
    }
}

/// Once all are read.
impl Routes {
    /// One route at least, each with both ends.
    pub(super) fn finish(mut self) -> Result<Vec<Route>, UsageError> {
        self.take_positional()?;
        self.take_aliases()?;
        match self.drafts.len() {
            0 | 1 => Ok(vec![self.only()?]),
            _ => self.several(),
        }
    }

    /// `[HOST:]PORT TARGET:PORT`, as websockify has it.
    fn take_positional(&mut self) -> Result<(), UsageError> {
        let remedy = "write it like ws-tcp-proxy 8080 127.0.0.1:5000";
        let wrong =
            |argument: &Argument, problem: String| Err(UsageError::new(argument, problem, remedy));
        let (local, remote) = match &self.positional[..] {
            [] => return Ok(()),
            [local, remote] => (local, remote),
            [word] => {
                return wrong(word, "stands alone; [HOST:]PORT TARGET:PORT come as two".into())
            }
            [_, _, third, ..] => return wrong(third, "is one argument too many".into()),
        };
        if let Some(other) =
            self.drafts.iter().chain([&self.shared]).find_map(|d| d.remotes.first())
        {
            return wrong(&other.argument, format!("{remote} already says where to connect"));
        }
        let from = match endpoint::short_local(&local.value) {
            Ok(endpoint) => Named { endpoint, argument: local.clone() },
            Err(flaw) => return wrong(local, flaw.problem),
        };
        let to = match endpoint::remote(&remote.value) {
            Ok(endpoint) => Named { endpoint, argument: remote.clone() },
            Err(flaw) => return wrong(remote, flaw.problem),
        };
        self.shared.remotes.push(to);
        self.listen_on(from)
    }

    /// `-p`, `--ip` and `--port`; what the last two leave out is as in the default of `--local`.
    fn take_aliases(&mut self) -> Result<(), UsageError> {
        if let Some((argument, port)) = self.ws_port.take() {
            self.listen_on(Named { argument, endpoint: endpoint::every_interface(port) })?;
        }
        let (argument, host, port) = match (self.ip.take(), self.port.take()) {
            (None, None) => return Ok(()),
            (Some((argument, host)), None) => (argument, host, DEFAULT_PORT),
            (None, Some((argument, port))) => (argument, DEFAULT_HOST, port),
            (Some((argument, host)), Some((_, port))) => (argument, host, port),
        };
        self.listen_on(Named { argument, endpoint: endpoint::tcp(host, port) })
    }

    /// Where the only route listens, unless that has been said in another way.
    fn listen_on(&mut self, local: Named<Local>) -> Result<(), UsageError> {
        let said = self.drafts.first().unwrap_or(&self.shared).local.as_ref();
        if let Some(other) = said {
            let problem = format!("{} already says where to listen", other.argument);
            return Err(UsageError::new(local.argument, problem, "keep one of the two"));
        }
        self.shared.local = Some(local);
        Ok(())
    }

    /// With at most one `--local` there is nothing to tell apart, so order does not matter.
    fn only(&mut self) -> Result<Route, UsageError> {
        let mut only = std::mem::take(&mut self.shared);
        if let Some(draft) = self.drafts.pop() {
            only.local = draft.local;
            only.remotes.extend(draft.remotes);
            only.options.extend(draft.options);
        }
        only.into_route(&RouteOptions::default())
    }

    fn several(self) -> Result<Vec<Route>, UsageError> {
        if let Some(early) = self.shared.remotes.first() {
            return Err(UsageError::new(
                &early.argument,
                "stands before every --local; with several routes it follows its own",
                format!("write it like --local 127.0.0.1:8080 {}", early.argument),
            ));
        }
        reject_listening_twice(&self.drafts)?;
        let shared = &self.shared.options;
        let drafts = self.drafts.into_iter();
        let routes: Vec<_> =
            drafts.map(|draft| draft.into_route(shared)).collect::<Result<_, _>>()?;
        shared.of_use(&routes)?;
        Ok(routes)
    }
}

impl Draft {
    fn into_route(self, shared: &RouteOptions) -> Result<Route, UsageError> {
        let mut remotes = self.remotes.into_iter();
        let (first, second) = (remotes.next(), remotes.next());
        if let (Some(first), Some(second)) = (&first, second) {
            return Err(UsageError::new(
                &second.argument,
                format!("{} is the remote of this route already", first.argument),
                format!("write it like --local 127.0.0.1:8081 {}", second.argument),
            ));
        }
        let Some(remote) = first else { return Err(no_remote(self.local)) };
        let Named { endpoint, argument } = remote;
        let local = self.local.map_or_else(default_local, |local| local.endpoint);
        if matches!(endpoint, Remote::Token(_) | Remote::Query)
            && !matches!(local, Local::WebSocket(_))
        {
            return Err(UsageError::new(
                &argument,
                format!("goes by the URL of a WebSocket request, and none comes to {local}"),
                format!("write it like --local ws://127.0.0.1:8080 {argument}"),
            ));
        }
        if bites_its_tail(&local, &endpoint) {
            return Err(UsageError::new(
                &argument,
                "is where the route itself listens",
                "give one of them another port, like --remote 127.0.0.1:5000",
            ));
        }
        if endpoint == Remote::Json && !matches!(local, Local::WebSocket(_)) {
            return Err(UsageError::new(
                &argument,
                format!("takes the target from a WebSocket message, and {local} has none"),
                "write it like --local 127.0.0.1:8080 --remote json:",
            ));
        }
        self.options.route(shared, local, endpoint, &argument)
    }
}

fn no_remote(local: Option<Named<Local>>) -> UsageError {
    match local {
        Some(Named { argument, .. }) => {
            let remedy = format!("write it like {argument} --remote 127.0.0.1:5000");
            UsageError::new(argument, "has no --remote", remedy)
        }
        None => UsageError::new(
            "--remote",
            "is missing",
            "write it like ws-tcp-proxy --local 127.0.0.1:8080 --remote 127.0.0.1:5000",
        ),
    }
}

fn default_local() -> Local {
    endpoint::tcp(DEFAULT_HOST, DEFAULT_PORT)
}

/// Port 0 is a new port each time; anything else can be listened on once.
fn reject_listening_twice(drafts: &[Draft]) -> Result<(), UsageError> {
    let locals: Vec<_> = drafts.iter().filter_map(|draft| draft.local.as_ref()).collect();
    for (i, local) in locals.iter().enumerate() {
        let bind = local.endpoint.bind();
        let any_port = matches!(bind, Bind::Tcp(address) if address.port == 0);
        if !any_port && locals[..i].iter().any(|earlier| earlier.endpoint.bind() == bind) {
            let remedy = "give each route its own, like --local 127.0.0.1:8081";
            return Err(UsageError::new(&local.argument, "is there twice", remedy));
        }
    }
    Ok(())
}

/// Whether a connection of the route would come in again as its own target.
fn bites_its_tail(local: &Local, remote: &Remote) -> bool {
    match (local.bind(), remote) {
        (Bind::Tcp(from), to) => Some(from) == to.address(),
        (Bind::Unix(from), Remote::Unix(to)) => from == to,
        _ => false,
    }
}
#[cfg(test)]
mod tests {
    use crate::cli::{config_of as config, parse};

    /// The ends of each route, as `--check` shows them.
    fn ends(line: &str) -> Vec<String> {
        let routes = config(line).routes.into_iter();
        routes.map(|route| format!("{} {}", route.local, route.remote)).collect()
    }

    #[test]
    fn one_route_can_be_written_in_many_ways() {
        for (line, route) in [
            ("--remote b:2", "ws://127.0.0.1:8080 tcp://b:2"),
            ("--local a:1 --remote b:2", "ws://a:1 tcp://b:2"),
            ("--remote b:2 --local a:1", "ws://a:1 tcp://b:2"),
            ("--remote=b:2 --local=a:1", "ws://a:1 tcp://b:2"),
            ("-la:1 -rb:2", "ws://a:1 tcp://b:2"),
            ("-dla:1 -d -r b:2", "ws://a:1 tcp://b:2"),
            ("-p 1 -t b:2", "ws://0.0.0.0:1 tcp://b:2"),
            ("--target b:2 --ws-port 1", "ws://0.0.0.0:1 tcp://b:2"),
            ("-p 3 -t b:2 -p 1", "ws://0.0.0.0:1 tcp://b:2"),
            ("--port 1 -r b:2", "ws://127.0.0.1:1 tcp://b:2"),
            ("--ip a -r b:2", "ws://a:8080 tcp://b:2"),
            ("--port 3 --ip ::1 -r b:2 --port 1", "ws://[::1]:1 tcp://b:2"),
            ("1 b:2", "ws://0.0.0.0:1 tcp://b:2"),
            ("--nodelay on a:1 --reuse-port b:2", "ws://a:1 tcp://b:2"),
            ("-- a:1 unix:/b", "ws://a:1 unix:/b"),
        ] {
            assert_eq!(ends(line), [route], "{line}");
        }
    }

    #[test]
    fn each_remote_belongs_to_the_local_before_it() {
        let two = ["ws://a:1 tcp://b:2", "ws+unix:/c unix:@d"];
        assert_eq!(ends("-l a:1 -r b:2 -l ws+unix:/c -r unix:@d"), two);
        assert_eq!(ends("-l a:0 -r b:2 -l a:0 -t b:2").len(), 2);
    }

    #[test]
    fn says_what_is_wrong_with_the_routes() {
        for (line, start) in [
            ("-d", "--remote: is missing; write it like ws-tcp-proxy --local 127"),
            ("-l a:1", "-l a:1: has no --remote; write it like -l a:1 --remote 127"),
            ("-p 80", "-p 80: has no --remote; write it like -p 80 --remote 127"),
            ("-r b:1 -r b:2", "-r b:2: -r b:1 is the remote of this route already; "),
            ("-r b:1 -l a:1 -r b:2", "-r b:2: -r b:1 is the remote of this route already; "),
            ("-l a:1 -l a:2 -r b:1", "-l a:1: has no --remote"),
            ("-l a:1 -r b:1 -l a:2", "-l a:2: has no --remote"),
            ("-l a:1 -r b:1 -r b:2 -l a:2", "-r b:2: -r b:1 is the remote"),
            ("-r b:1 -l a:1 -r b:2 -l a:2", "-r b:1: stands before every --local"),
            ("-l a:1 -r b:1 --local ws://a:1 -r b:2", "--local ws://a:1: is there twice"),
            ("-l fd:3 -r b:1 -l fd:3 -r b:2", "-l fd:3: is there twice"),
            ("-l a:1 -r a:1", "-r a:1: is where the route itself listens"),
            ("-r 127.0.0.1:8080", "-r 127.0.0.1:8080: is where the route itself listens"),
            ("-l ws+unix:/a -r unix:/a", "-r unix:/a: is where the route itself listens"),
            (
                "-l tcp://a:1 -r query: --allow any",
                "-r query:: goes by the URL of a WebSocket request, and none comes to tcp://a:1; \
                 write it like --local ws://127.0.0.1:8080 -r query:",
            ),
            ("-l connect://a:1 -r token:/x", "-r token:/x: goes by the URL of a WebSocket"),
            ("-l a:1 -p 80 -r b:1", "-p 80: -l a:1 already says where to listen"),
            ("-l a:1 --ip ::1 -r b:1", "--ip ::1: -l a:1 already says where to listen"),
            ("--port 1 -r b:1 -l a:1", "--port 1: -l a:1 already says where to listen"),
            ("-p 80 --ip ::1 -r b:1", "--ip ::1: -p 80 already says where to listen"),
            ("-p 80 --port 81 -r b:1", "--port 81: -p 80 already says where to listen"),
            ("80 b:1 -p 80", "-p 80: 80 already says where to listen"),
            ("80 b:1 -l a:1", "80: -l a:1 already says where to listen"),
            ("80 b:1 -r b:2", "-r b:2: b:1 already says where to connect"),
            ("80 b:1 -l a:1 -r b:2", "-r b:2: b:1 already says where to connect"),
            ("80", "80: stands alone; [HOST:]PORT TARGET:PORT come as two; write it like ws-tcp"),
            ("-l a:1 b:1", "b:1: stands alone"),
            ("80 b:1 more", "more: is one argument too many"),
            ("99999 b:1", "99999: port 99999 is over 65535; write it like ws-tcp-proxy 8080"),
            (":80 b:1", ":80: has no host"),
            (
                "-l tcp://a:1 -r json:",
                "-r json:: takes the target from a WebSocket message, and tcp",
            ),
            ("-l unix:/a -r json: --allow any", "-r json:: takes the target from a WebSocket"),
            ("-l connect://a:1 -r json:", "-r json:: takes the target from a WebSocket message"),
            ("80 81", "81: has no host, only a port; write it like ws-tcp-proxy 8080"),
        ] {
            let error = parse(line.split(' ').map(Into::into)).expect_err(line).to_string();
            assert!(error.starts_with(start), "{line}\n{error}");
        }
    }
}
