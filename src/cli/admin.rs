//! The listener for those who run the proxy, as it was given, to its [`Route`].
//!
//! Owns that it is for this host alone, unless a token must be shown. Never opens a file.

use std::path::PathBuf;

use super::route_options::file;
use super::{endpoint, Argument, Flaw, UsageError};
use crate::config::{Bind, Host, Local, Remote, Route};

/// What was said of it.
#[derive(Debug, Default)]
pub(super) struct AdminOptions {
    listener: Option<(Argument, Local)>,
    tokens: Option<(Argument, PathBuf)>,
}

impl AdminOptions {
    /// `--admin ENDPOINT`
    pub(super) fn set_listener(&mut self, argument: &Argument) -> Result<(), Flaw> {
        self.listener = Some((argument.clone(), endpoint::admin(&argument.value)?));
        Ok(())
    }

    /// `--admin-token-file FILE`
    pub(super) fn set_tokens(&mut self, argument: &Argument) -> Result<(), Flaw> {
        self.tokens = Some((argument.clone(), file(&argument.value)?));
        Ok(())
    }

    /// Its route beside those, if there is to be one.
    pub(super) fn route(self, others: &[Route]) -> Result<Option<Route>, UsageError> {
        let (argument, local) = match (self.listener, &self.tokens) {
            (Some(listener), _) => listener,
            (None, None) => return Ok(None),
            (None, Some((argument, _))) => {
                let remedy = "write it like --admin 127.0.0.1:9000";
                return Err(UsageError::new(argument, "is for --admin, and there is none", remedy));
            }
        };
        let any_port = matches!(local.bind(), Bind::Tcp(address) if address.port == 0);
        if !any_port && others.iter().any(|route| route.local.bind() == local.bind()) {
            let problem = "is where a --local listens already";
            return Err(UsageError::new(argument, problem, "give it a port of its own"));
        }
        if self.tokens.is_none() && is_open_to_others(local.bind()) {
            let problem = "can be reached from elsewhere, and shows who is connected to what";
            let remedy = "listen on 127.0.0.1, [::1], localhost or a unix socket, \
                          or add --admin-token-file FILE";
            return Err(UsageError::new(argument, problem, remedy));
        }
        let mut route = Route::new(local, Remote::Admin);
        route.access.bearer = self.tokens.map(|(_, path)| path);
        Ok(Some(route))
    }
}

/// Whether another host may reach it. What a socket that is handed over is bound to shows later.
fn is_open_to_others(bind: &Bind) -> bool {
    match bind {
        Bind::Tcp(address) => match &address.host {
            Host::Ip(ip) => !ip.is_loopback(),
            Host::Name(name) => !name.eq_ignore_ascii_case("localhost"),
        },
        Bind::Unix(_) | Bind::Fd(_) | Bind::Systemd(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::{config_of, parse};
    use crate::config::{Local, Remote};

    #[test]
    fn it_is_the_last_route_wherever_it_stands() {
        for (text, shown) in [
            ("127.0.0.1:9000", "http://127.0.0.1:9000"),
            ("http://127.0.0.1:0/", "http://127.0.0.1:0"),
            ("[::1]:9000", "http://[::1]:9000"),
            ("127.3.4.5:9000", "http://127.3.4.5:9000"),
            ("LocalHost:9000", "http://LocalHost:9000"),
            ("unix:/run/a.sock", "http+unix:/run/a.sock"),
            ("http+unix:@a", "http+unix:@a"),
            ("fd:5", "fd:5"),
            ("systemd:admin", "systemd:admin"),
        ] {
            for line in [
                format!("--admin {text} -r b:1"),
                format!("-l a:1 -r b:1 -l a:2 -r b:1 --admin x:1 --admin {text}"),
            ] {
                let route = config_of(&line).routes.pop().unwrap();
                assert!(matches!(route.local, Local::Admin(_)), "{line}");
                assert_eq!((route.local.to_string(), route.remote), (shown.into(), Remote::Admin));
                assert_eq!(route.access.bearer, None, "{line}");
            }
        }
        let line = "--admin-token-file /x -r b:1 --admin 0.0.0.0:9000 --bearer-file y";
        let route = config_of(line).routes.pop().unwrap();
        assert_eq!(route.access.bearer, Some("/x".into()));
        assert_eq!(config_of("-r b:1").routes.len(), 1);
    }

    #[test]
    fn says_what_is_wrong_with_it() {
        let open = "can be reached from elsewhere, and shows who is connected to what; \
                    listen on 127.0.0.1, [::1], localhost or a unix socket, \
                    or add --admin-token-file FILE";
        for (line, start) in [
            ("-r b:1 --admin 0.0.0.0:9000", &format!("--admin 0.0.0.0:9000: {open}")[..]),
            ("-r b:1 --admin box.example:9000", &format!("--admin box.example:9000: {open}")),
            ("-r b:1 --admin [::ffff:127.0.0.1]:9", "--admin [::ffff:127.0.0.1]:9: can be reached"),
            (
                "-r b:1 --admin 9000",
                "--admin 9000: has no host, only a port; write it like --admin 127",
            ),
            ("-r b:1 --admin ws://a:1", "--admin ws://a:1: \"ws\" is not one of the schemes http"),
            ("-r b:1 --admin unix:", "--admin unix:: has no path or name"),
            (
                "-r b:1 --admin-token-file /x",
                "--admin-token-file /x: is for --admin, and there is none; write it like --admin 1",
            ),
            (
                "-l 127.0.0.1:80 -r b:1 --admin 127.0.0.1:80",
                "--admin 127.0.0.1:80: is where a --local listens already; give it",
            ),
            ("-l fd:3 -r b:1 --admin fd:3", "--admin fd:3: is where a --local listens already"),
            ("--admin 127.0.0.1:80", "--remote: is missing"),
        ] {
            let error = parse(line.split(' ').map(Into::into)).expect_err(line).to_string();
            assert!(error.starts_with(start), "{line}: {error}");
        }
    }
}
