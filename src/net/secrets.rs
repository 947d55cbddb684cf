//! The files of a route: read at the start, and again at SIGHUP.
//!
//! Never shows what was in them.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::tokens::TokenFiles;
use crate::config::{CredentialFile, Remote, Route};
use crate::policy::credentials::{Credentials, Kind, MAX_FILE};
use crate::policy::gate::Secrets;

/// Reads the files of `route`, `tokens` among them.
///
/// # Errors
/// The file, what is wrong with it and in which line; never what stands there.
pub fn read(route: &Route, tokens: Option<&mut TokenFiles>) -> io::Result<Secrets> {
    let ours = match &route.remote {
        Remote::WebSocket(url) => match &url.credential {
            Some(CredentialFile::Basic(path)) => Some(credentials(path, Kind::Basic)?),
            Some(CredentialFile::Bearer(path)) => Some(credentials(path, Kind::Bearer)?),
            None => None,
        },
        _ => None,
    };
    let users = match &route.users {
        Some(path) => Some(credentials(path, Kind::Basic)?),
        None => None,
    };
    let tokens = tokens.map(TokenFiles::read).transpose()?;
    Ok(Secrets { ours, users, tokens })
}

fn credentials(path: &Path, kind: Kind) -> io::Result<Credentials> {
    let wrong = |kind: io::ErrorKind, what: String| {
        io::Error::new(kind, format!("cannot use the credentials in {}: {what}", path.display()))
    };
    let mut text = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE as u64 + 1).read_to_end(&mut text))
        .map_err(|error| {
            wrong(
                error.kind(),
                format!("{error}; check --basic-file, --bearer-file and --proxy-basic-file"),
            )
        })?;
    Credentials::parse(&text, kind)
        .map_err(|error| wrong(io::ErrorKind::InvalidData, error.to_string()))
}
