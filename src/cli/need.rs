//! Which routes an option is for.
//!
//! An option that would do nothing is a mistake, and one about access a dangerous one: whoever
//! wrote it believes in it.

use super::{Argument, UsageError};
use crate::config::{Local, Remote};

/// The routes that an option is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Those that send a request of their own.
    Request,
    /// Those that dial whatever target they are told.
    Targets,
    /// Those that are told the target and pass it on in messages, which have ends.
    Relay,
    /// Those with a listener for CONNECT.
    Listener,
}

impl Need {
    pub(super) fn met(self, local: &Local, remote: &Remote) -> bool {
        let listener = matches!(local, Local::Connect(_));
        match self {
            Self::Request => matches!(remote, Remote::WebSocket(_)),
            Self::Targets => remote.is_named_by_peer(),
            Self::Relay => listener && matches!(remote, Remote::WebSocket(_)),
            Self::Listener => listener,
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
            Self::Listener => (
                "those who use a connect:// listener",
                "--local connect://127.0.0.1:8080 --remote ws://127.0.0.1:8081/",
            ),
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
            ("-r a:1 --basic-file x", "--basic-file x", "is for the request to a ws://", ws),
            ("-r connect: --allow any --bearer-file x", "--bearer-file x", "is for the req", ws),
            (
                "-r ws://a --proxy-basic-file x",
                "--proxy-basic-file x",
                "is for those who",
                listener,
            ),
            ("-l a:1 -r ws://b -l a:2 -r c:1 --basic-file x", "--basic-file x", "is for", ws),
            (
                "--bearer-file x -l a:1 -r b:1 -l a:2 -r connect: --allow any",
                "--bearer-file x",
                "is for the request to a ws:// remote, and no route has any",
                ws,
            ),
        ] {
            let error = parse(line.split(' ').map(Into::into)).expect_err(line).to_string();
            assert!(error.starts_with(&format!("{named}: {problem}")), "{line}\n{error}");
            assert!(error.contains(&format!("; {remedy}")), "{line}\n{error}");
        }
    }
}
