//! Which routes an option is for.
//!
//! An option that would do nothing is a mistake, and one about access a dangerous one: whoever
//! wrote it believes in it.

use super::{Argument, UsageError};
use crate::config::{Bind, Local, Remote};

/// The routes that an option is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Those that send a request of their own.
    Request,
    /// Those that dial whatever target they are told.
    Targets,
    /// Those that are told the target and pass it on in messages, which have ends.
    Relay,
    /// Those with a WebSocket at one end or both, whose messages mean something: those that carry
    /// a CONNECT tunnel are parts of a stream.
    Messages,
    /// Those with a listener for CONNECT.
    Listener,
    /// Those with a listener for WebSockets.
    WebSocket,
    /// Those with a listener for WebSockets, or that send a request of their own.
    Credentials,
    /// Those whose clients have an address.
    Addresses,
    /// Those whose clients may say whose connection they pass on.
    Passed,
}

impl Need {
    pub(super) fn met(self, local: &Local, remote: &Remote) -> bool {
        let listener = matches!(local, Local::Connect(_));
        let websocket = matches!(local, Local::WebSocket(_));
        let addresses = !matches!(local.bind(), Bind::Unix(_));
        match self {
            Self::Request => matches!(remote, Remote::WebSocket(_)),
            Self::Targets => remote.is_named_by_peer(),
            Self::Relay => listener && matches!(remote, Remote::WebSocket(_)),
            Self::Messages => {
                let tunnels = listener || *remote == Remote::Connect;
                !tunnels && (websocket || Self::Request.met(local, remote))
            }
            Self::Listener => listener,
            Self::WebSocket => websocket,
            Self::Credentials => websocket || Self::Request.met(local, remote),
            Self::Addresses => addresses,
            Self::Passed => websocket && addresses,
        }
    }

    /// What the option is for, and a route that has it.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Request => ("the request to a ws:// remote", "--remote ws://127.0.0.1:8080/"),
            Self::Targets => ("targets that whoever connects names", "--remote connect:"),
            Self::Relay => (
                "a connect:// listener with a ws:// remote",
                "--local connect://127.0.0.1:8080 --remote ws://127.0.0.1:8081/",
            ),
            Self::Messages => (
                "messages of a WebSocket, which no stream and no CONNECT tunnel has",
                "--local 127.0.0.1:8080 --remote 127.0.0.1:5000",
            ),
            Self::Listener => (
                "those who use a connect:// listener",
                "--local connect://127.0.0.1:8080 --remote ws://127.0.0.1:8081/",
            ),
            Self::WebSocket => ("those who use a WebSocket listener", "--local 127.0.0.1:8080"),
            Self::Credentials => (
                "those who use a WebSocket listener, or the request to a ws:// remote",
                "--local 127.0.0.1:8080",
            ),
            Self::Addresses => ("those who have an address", "--local 127.0.0.1:8080"),
            Self::Passed => {
                ("proxies that use a WebSocket listener over TCP", "--local 127.0.0.1:8080")
            }
        }
    }

    /// What is said of an option where there is no such route but those described by `instead`.
    pub(super) fn missing(self, argument: &Argument, instead: &str) -> UsageError {
        let (purpose, example) = self.words();
        let problem = format!("is for {purpose}, {instead}");
        UsageError::new(argument, problem, format!("write it like {example}"))
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::parse;

    #[test]
    fn says_which_routes_an_option_is_for() {
        let local = "write it like --local 127.0.0.1:8080";
        let ws = "write it like --remote ws://127.0.0.1:8080/";
        let listener =
            "write it like --local connect://127.0.0.1:8080 --remote ws://127.0.0.1:8081/";
        for (line, named, problem, remedy) in [
            (
                "-r a:1 --allow any",
                "--allow any",
                "is for targets that whoever connects names, \
                 and this route is ws://127.0.0.1:8080 -> tcp://a:1",
                "write it like --remote connect:",
            ),
            ("-l connect://a:1 -r ws://b --deny any", "--deny any", "is for targets", "write it"),
            ("-r a:1 --connect eager", "--connect eager", "is for a connect:// listener", listener),
            (
                "-l connect://a:1 -r connect: --allow any --connect full",
                "--connect full",
                "is for a connect:// listener with a ws:// remote, \
                 and this route is connect://a:1 -> connect:",
                listener,
            ),
            (
                "-l connect://a:1 -r b:1 --connect eager",
                "--connect eager",
                "is for a connect:// listener with a ws:// remote",
                listener,
            ),
            ("-r a:1 --header b:secret", "--header b", "is for the request to a ws:// remote", ws),
            ("-l tcp://b:1 -r a:1 --basic-file x", "--basic-file x", "is for those who", local),
            (
                "-l connect://b:1 -r connect: --allow any --bearer-file x",
                "--bearer-file x",
                "is for those who use a WebSocket listener, or the request to a ws:// remote",
                local,
            ),
            (
                "-l tcp://b:1 -r a:1 --web /x",
                "--web /x",
                "is for those who use a WebSocket listener, and this route is tcp://b:1 -> tcp://a:1",
                local,
            ),
            ("-l tcp://b:1 -r ws://a --origin null", "--origin null", "is for those who", local),
            (
                "-l connect://b:1 -r ws://a --listen-basic-file x",
                "--listen-basic-file x",
                "is for those who use a WebSocket listener, and this route is connect://b:1",
                local,
            ),
            (
                "-l tcp://b:1 -r a:1 --framing lines",
                "--framing lines",
                "is for messages of a WebSocket, which no stream and no CONNECT tunnel has, \
                 and this route is tcp://b:1 -> tcp://a:1",
                "write it like --local 127.0.0.1:8080 --remote 127.0.0.1:5000",
            ),
            ("-l connect://b:1 -r ws://a --framing length", "--framing length", "is for", local),
            ("-r connect: --allow any --framing ndjson", "--framing ndjson", "is for", local),
            (
                "--framing lines -l tcp://a:1 -r b:1 -l a:2 -r connect: --allow any",
                "--framing lines",
                "is for messages of a WebSocket, which no stream and no CONNECT tunnel has, \
                 and no route has any",
                local,
            ),
            (
                "-l unix:/b -r ws://a --client 10.0.0.1",
                "--client 10.0.0.1",
                "is for those who have an address, and this route is unix:/b",
                local,
            ),
            (
                "-l tcp://b:1 -r a:1 --trust-proxy 10.0.0.1",
                "--trust-proxy 10.0.0.1",
                "is for proxies that use a WebSocket listener over TCP",
                local,
            ),
            (
                "-l unix:/b -r a:1 --accept-proxy --trust-proxy 10.0.0.1",
                "--accept-proxy",
                "is for proxies that have an address, and unix:/b has none",
                "write it like --local 127.0.0.1:8080 --accept-proxy",
            ),
            (
                "-r a:1 --accept-proxy",
                "--accept-proxy",
                "believes proxies, and no --trust-proxy says which",
                "write it like --accept-proxy --trust-proxy 127.0.0.1",
            ),
            (
                "-l ws+unix:/b -r a:1 --trust-proxy 10.0.0.1",
                "--trust-proxy 10.0.0.1",
                "is for proxies",
                local,
            ),
            (
                "-r ws://a --proxy-basic-file x",
                "--proxy-basic-file x",
                "is for those who",
                listener,
            ),
            (
                "-l a:1 -r ws://b -l tcp://a:2 -r c:1 --basic-file x",
                "--basic-file x",
                "is for",
                local,
            ),
            (
                "--bearer-file x -l tcp://a:1 -r b:1 -l connect://a:2 -r connect: --allow any",
                "--bearer-file x",
                "is for those who use a WebSocket listener, or the request to a ws:// remote, \
                 and no route has any",
                local,
            ),
        ] {
            let error = parse(line.split(' ').map(Into::into)).expect_err(line).to_string();
            assert!(error.starts_with(&format!("{named}: {problem}")), "{line}\n{error}");
            assert!(error.contains(&format!("; {remedy}")), "{line}\n{error}");
        }
    }
}
