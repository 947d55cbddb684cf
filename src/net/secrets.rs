//! The files of the routes: read at the start, and again at SIGHUP.
//!
//! Never shows what was in them.

use std::io;
use std::ops::Index;
use std::path::{Path, PathBuf};

use log::{info, warn};

use super::file;
use super::tokens::TokenFiles;
use crate::config::{CredentialFile, Remote, Route};
use crate::policy::credentials::{Credentials, Kind, MAX_FILE};
use crate::policy::gate::Secrets;
use crate::session::deadlines::Time;

/// What the files of the routes say, by route.
pub struct Files {
    /// As long as `tokens`.
    said: Vec<Secrets>,
    tokens: Vec<Option<TokenFiles>>,
}

impl Index<usize> for Files {
    type Output = Secrets;

    fn index(&self, route: usize) -> &Secrets {
        &self.said[route]
    }
}

impl Files {
    /// Reads them all.
    ///
    /// # Errors
    /// The file, what is wrong with it and in which line; never what stands there.
    pub fn read(routes: &[Route]) -> io::Result<Self> {
        let mut tokens: Vec<_> = routes.iter().map(TokenFiles::of).collect();
        let each = routes.iter().zip(&mut tokens);
        let said = each.map(|(route, tokens)| read(route, tokens.as_mut()));
        Ok(Self { said: said.collect::<io::Result<_>>()?, tokens })
    }

    /// Reads them again (SIGHUP). Where something is wrong, a route keeps what it had.
    pub fn read_again(&mut self, routes: &[Route]) {
        let (mut good, mut bad) = (0, 0);
        for ((route, said), tokens) in routes.iter().zip(&mut self.said).zip(&mut self.tokens) {
            match read(route, tokens.as_mut()) {
                Ok(new) => {
                    good += usize::from(new.are_there());
                    *said = new;
                }
                Err(error) => {
                    bad += 1;
                    warn!("SIGHUP: {error}; the old ones stay");
                }
            }
        }
        match good {
            0 if bad == 0 => info!("SIGHUP: no files are configured that could be re-read"),
            0 => {}
            n => info!("SIGHUP: files of {n} routes re-read"),
        }
    }

    /// Somebody is about to be judged by the files of `route`: those that change are looked at.
    pub fn look(&mut self, route: usize, now: Time) {
        let Some(tokens) = &mut self.tokens[route] else { return };
        match tokens.look(now) {
            Ok(None) => {}
            Ok(new) => self.said[route].tokens = new,
            Err(error) => warn!("{error}; the old ones stay"),
        }
    }
}

fn read(route: &Route, tokens: Option<&mut TokenFiles>) -> io::Result<Secrets> {
    let known = |path: &Option<PathBuf>, kind| {
        path.as_deref().map(|path| credentials(path, kind)).transpose()
    };
    Ok(Secrets {
        ours: match &route.remote {
            Remote::WebSocket(url) => url.credential.as_ref().map(ours).transpose()?,
            _ => None,
        },
        users: known(&route.users, Kind::Basic)?,
        basic: known(&route.access.basic, Kind::Basic)?,
        bearer: known(&route.access.bearer, Kind::Bearer)?,
        tokens: tokens.map(TokenFiles::read).transpose()?,
    })
}

/// What our requests are authorized with.
fn ours(file: &CredentialFile) -> io::Result<Credentials> {
    let (path, kind) = match file {
        CredentialFile::Basic(path) => (path, Kind::Basic),
        CredentialFile::Bearer(path) => (path, Kind::Bearer),
    };
    let read = credentials(path, kind)?;
    match read.authorization() {
        Some(_) => Ok(read),
        None => {
            let what = "it begins with a hash, and what we show must be the credential itself";
            Err(wrong(path, io::ErrorKind::InvalidData, what))
        }
    }
}

fn credentials(path: &Path, kind: Kind) -> io::Result<Credentials> {
    let text = file::read(path, MAX_FILE as u64).map_err(|error| {
        let options = "--basic-file, --bearer-file, --admin-token-file and the like";
        wrong(path, error.kind(), &format!("{error}; check {options}"))
    })?;
    Credentials::parse(&text, kind)
        .map_err(|error| wrong(path, io::ErrorKind::InvalidData, &error.to_string()))
}

fn wrong(path: &Path, kind: io::ErrorKind, what: &str) -> io::Error {
    io::Error::new(kind, format!("cannot use the credentials in {}: {what}", path.display()))
}
