//! The options about who may connect, as they were given, to [`Access`].
//!
//! What a route was told stands in place of what all were told, option by option; what must be shown
//! counts as one. Never opens a file.

use super::messages::first_filled;
use super::need::Need;
use super::route_options::{file, is_met, Credential};
use super::{Argument, Flaw, UsageError};
use crate::config::{Access, CredentialFile, Route};
use crate::policy::cidr::Cidr;
use crate::policy::origin::Origin;

/// An empty list is silence.
#[derive(Debug, Default)]
pub(super) struct AccessOptions {
    origins: Vec<Origin>,
    clients: Vec<Cidr>,
    proxies: Vec<Cidr>,
    /// What clients must show.
    shown: Vec<(Argument, CredentialFile)>,
}

impl AccessOptions {
    /// `--origin ORIGIN`
    pub(super) fn add_origin(&mut self, argument: &Argument) -> Result<(), Flaw> {
        self.origins.push(argument.value.parse()?);
        Ok(())
    }

    /// `--client CIDR`
    pub(super) fn add_client(&mut self, argument: &Argument) -> Result<(), Flaw> {
        self.clients.push(argument.value.parse()?);
        Ok(())
    }

    /// `--trust-proxy CIDR`
    pub(super) fn add_proxy(&mut self, argument: &Argument) -> Result<(), Flaw> {
        self.proxies.push(argument.value.parse()?);
        Ok(())
    }

    /// `--listen-basic-file FILE`
    pub(super) fn set_basic(&mut self, argument: &Argument) -> Result<(), Flaw> {
        let path = file(&argument.value)?;
        self.shown.push((argument.clone(), CredentialFile::Basic(path)));
        Ok(())
    }

    /// `--listen-bearer-file FILE`
    pub(super) fn set_bearer(&mut self, argument: &Argument) -> Result<(), Flaw> {
        let path = file(&argument.value)?;
        self.shown.push((argument.clone(), CredentialFile::Bearer(path)));
        Ok(())
    }

    /// What was said later of the same route.
    pub(super) fn extend(&mut self, later: Self) {
        self.origins.extend(later.origins);
        self.clients.extend(later.clients);
        self.proxies.extend(later.proxies);
        self.shown.extend(later.shown);
    }

    /// Who may connect to `route`. `ours` are the other options about credentials that it was told,
    /// `shared` what all were told of both.
    pub(super) fn access(
        &self,
        ours: &[Credential],
        shared: (&Self, &[Credential]),
        route: &Route,
    ) -> Result<Access, UsageError> {
        let has = |need: Need| is_met(need, route);
        let mut access = Access::default();
        if has(Need::Addresses) {
            access.clients = first_filled(&self.clients, &shared.0.clients).to_vec();
        }
        if has(Need::Passed) {
            access.proxies = first_filled(&self.proxies, &shared.0.proxies).to_vec();
        }
        if has(Need::WebSocket) {
            access.origins = first_filled(&self.origins, &shared.0.origins).to_vec();
            let sends = has(Need::Request);
            if !sends {
                self.agree_with(ours)?;
            }
            let own = self.to_be_shown(ours, sends);
            match own.is_empty() {
                true => show(&mut access, &shared.0.to_be_shown(shared.1, sends)),
                false => show(&mut access, &own),
            }
        }
        Ok(access)
    }

    /// Where no request is sent, `ours` is about what clients must show too.
    pub(super) fn agree_with(&self, ours: &[Credential]) -> Result<(), UsageError> {
        match (&self.shown[..], ours) {
            ([(said, _), ..], [(other, _), ..]) => {
                let problem = format!("{said} already says what clients must show");
                Err(UsageError::new(other, problem, "keep one of the two"))
            }
            _ => Ok(()),
        }
    }

    /// What clients must show on a route that `sends` a request, or does not.
    fn to_be_shown<'a>(&'a self, ours: &'a [Credential], sends: bool) -> Vec<&'a CredentialFile> {
        match self.shown.is_empty() {
            false => self.shown.iter().map(|(_, file)| file).collect(),
            true if sends => Vec::new(),
            true => ours.iter().filter_map(|(_, file)| file.as_ref()).collect(),
        }
    }
}

/// Of each kind the last.
fn show(access: &mut Access, files: &[&CredentialFile]) {
    for file in files {
        match file {
            CredentialFile::Basic(path) => access.basic = Some(path.clone()),
            CredentialFile::Bearer(path) => access.bearer = Some(path.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::{config_of, parse};
    use crate::config::Access;

    fn each(line: &str) -> Vec<Access> {
        config_of(line).routes.into_iter().map(|route| route.access).collect()
    }

    /// The files of what clients must show.
    fn shown(line: &str) -> Vec<String> {
        let name = |path: Option<std::path::PathBuf>| {
            path.map_or("-".into(), |path| path.display().to_string())
        };
        let files = |access: Access| format!("{} {}", name(access.basic), name(access.bearer));
        each(line).into_iter().map(files).collect()
    }

    #[test]
    fn lists_are_the_routes_own_or_those_of_all() {
        let line = "--origin null --client 10.0.0.1 --trust-proxy ::1 \
                    -l a:1 -r b:1 \
                    -l a:2 -r b:1 --client 10.0.0.2 --client 10.0.0.3 --origin *.b --origin *.c \
                    -l tcp://a:3 -r b:1 \
                    -l ws+unix:/a -r b:1 --origin *.d \
                    -l unix:/b -r b:1";
        let each = each(line);
        let counts: Vec<_> =
            each.iter().map(|a| [a.origins.len(), a.clients.len(), a.proxies.len()]).collect();
        assert_eq!(counts, [[1, 1, 1], [2, 2, 1], [0, 1, 0], [1, 0, 0], [0, 0, 0]]);
        assert_eq!(each[3].origins[0].to_string(), "*.d");
        assert_eq!(each[4], Access::default());
    }

    #[test]
    fn a_file_says_what_clients_show_or_what_we_do() {
        for (line, files) in [
            ("-r b:1", "- -"),
            ("-r b:1 --basic-file x --bearer-file y --basic-file z", "z y"),
            ("--bearer-file y -r connect: --allow any", "- y"),
            ("-r b:1 --listen-basic-file x --listen-bearer-file y", "x y"),
            ("-r ws://b --basic-file x", "- -"),
            ("-r ws://b --bearer-file x --listen-bearer-file y", "- y"),
            ("-l ws+unix:/a -r b:1 --basic-file x", "x -"),
            ("-l fd:3 -r b:1 --basic-file x", "x -"),
            ("-l tcp://a:1 -r ws://b --basic-file x", "- -"),
        ] {
            assert_eq!(shown(line), [files], "{line}");
        }
        let line = "--basic-file x --bearer-file y -l a:1 -r b:1 -l a:2 -r b:1 --bearer-file z \
                    -l a:3 -r b:1 --listen-basic-file w -l tcp://a:4 -r b:1";
        assert_eq!(shown(line), ["x y", "- z", "w -", "- -"]);
        let line = "--basic-file x --listen-bearer-file y -l a:1 -r ws://b -l a:2 -r b:1 \
                    -l a:3 -r b:1 --basic-file z";
        assert_eq!(shown(line), ["- y", "- y", "z -"]);
    }

    #[test]
    fn says_what_must_be_shown_in_one_way() {
        let problem = "--basic-file x: --listen-bearer-file y already says what clients must \
                       show; keep one of the two";
        for line in [
            "-r a:1 --basic-file x --listen-bearer-file y",
            "--basic-file x --listen-bearer-file y -l a:1 -r b:1 -l a:2 -r b:1",
        ] {
            let error = parse(line.split(' ').map(Into::into)).expect_err(line).to_string();
            assert_eq!(error, problem, "{line}");
        }
    }
}
