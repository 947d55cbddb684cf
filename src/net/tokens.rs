//! Token files: read at the start, whenever they have changed, and at SIGHUP.
//!
//! Owns when they are read again. Never shows what stands in them.
//!
//! No timer asks whether they have changed; a lookup does, at most once a second. The loop waits for
//! the disk meanwhile, so a route's files have a limit.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::file;
use crate::config::{Remote, Route};
use crate::policy::tokens::{Tokens, MAX_TEXT};
use crate::session::deadlines::Time;

const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Files in a directory, each of which is looked at once a second.
const MAX_FILES: usize = 1000;

/// Within this, a file may change twice and show the same time: that of FAT counts by two seconds.
const COARSE: Duration = Duration::from_secs(2);

/// The file of a route, or the files in its directory, and how they were when last seen.
#[derive(Debug)]
pub struct TokenFiles {
    path: PathBuf,
    /// In the order of their names; or why that could not be told.
    seen: Result<Vec<Stamp>, String>,
    /// They had just been written, so that they may have changed since without a trace.
    unsettled: bool,
    look_at: Time,
    /// What was wrong with them, as long as it is.
    said: Option<String>,
}

/// One that differs was written in between.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    path: PathBuf,
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl TokenFiles {
    /// Those of a route, not read yet. `None` if it has none.
    pub fn of(route: &Route) -> Option<Self> {
        let Remote::Token(path) = &route.remote else { return None };
        let seen = Ok(Vec::new());
        Some(Self { path: path.clone(), seen, unsettled: true, look_at: Time(0), said: None })
    }

    /// Reads them, whether or not they have changed.
    ///
    /// # Errors
    /// The file, what is wrong with it and in which line; never what stands there.
    pub fn read(&mut self) -> io::Result<Tokens> {
        self.seen = stamps(&self.path);
        let read = self.read_seen();
        self.said = read.as_ref().err().map(io::Error::to_string);
        read
    }

    /// Reads them if they have changed since they were seen, as far as that is to be asked `now`.
    ///
    /// # Errors
    /// As [`TokenFiles::read`], once for as long as it stays the same.
    pub fn look(&mut self, now: Time) -> io::Result<Option<Tokens>> {
        if now < self.look_at {
            return Ok(None);
        }
        self.look_at = now + LOOK_AGAIN;
        let seen = stamps(&self.path);
        if seen == self.seen && !self.unsettled {
            return Ok(None);
        }
        self.seen = seen;
        let read = self.read_seen();
        let wrong = read.as_ref().err().map(io::Error::to_string);
        if wrong.is_some() && wrong == self.said {
            return Ok(None);
        }
        self.said = wrong;
        read.map(Some)
    }

    /// The stamps are taken before, so that what is written meanwhile is seen as a change.
    fn read_seen(&mut self) -> io::Result<Tokens> {
        let stamps = self.seen.as_ref().map_err(|wrong| io::Error::other(wrong.clone()))?;
        let now = SystemTime::now();
        self.unsettled = stamps.iter().any(|stamp| stamp.is_recent(now));
        let mut tokens = Tokens::default();
        let mut left = MAX_TEXT as u64;
        for Stamp { path, .. } in stamps {
            let text = text(path, &mut left).map_err(|error| wrong(path, &error))?;
            tokens
                .add(&text, &path.display().to_string())
                .map_err(|error| io::Error::other(format!("cannot use the tokens: {error}")))?;
        }
        Ok(tokens)
    }
}

impl Stamp {
    fn new(path: PathBuf, met: &Metadata) -> Self {
        Self {
            path,
            file: (met.dev(), met.ino()),
            size: met.size(),
            modified: (met.mtime(), met.mtime_nsec()),
            changed: (met.ctime(), met.ctime_nsec()),
        }
    }

    /// Times to come are those of a clock that was wrong, and say nothing.
    fn is_recent(&self, now: SystemTime) -> bool {
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let (now, coarse) = (since.as_secs() as i64, COARSE.as_secs() as i64);
        (now - coarse..=now).contains(&self.modified.0.max(self.changed.0))
    }
}

/// The files as they are now.
fn stamps(root: &Path) -> Result<Vec<Stamp>, String> {
    let of = |path: &Path| fs::metadata(path).map_err(|error| wrong(path, &error).to_string());
    let met = of(root)?;
    if !met.is_dir() {
        return Ok(vec![Stamp::new(root.into(), &met)]);
    }
    let unlisted = |error: io::Error| wrong(root, &error).to_string();
    let mut stamps = Vec::new();
    for entry in fs::read_dir(root).map_err(unlisted)? {
        let name = entry.map_err(unlisted)?.file_name();
        // What editors and mounted volumes keep beside the files.
        let beside = name.as_encoded_bytes();
        if beside.starts_with(b".") || beside.ends_with(b"~") {
            continue;
        }
        let path = root.join(name);
        let met = of(&path)?;
        if !met.is_dir() {
            stamps.push(Stamp::new(path, &met));
        }
        if stamps.len() > MAX_FILES {
            let problem = format!("it has more than {MAX_FILES} files");
            return Err(wrong(root, &problem).to_string());
        }
    }
    stamps.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(stamps)
}

/// Reads a file, of which `left` bytes may be used up.
fn text(path: &Path, left: &mut u64) -> io::Result<Vec<u8>> {
    let text = file::read(path, *left)?;
    *left = left.saturating_sub(text.len() as u64);
    Ok(text)
}

fn wrong(path: &Path, what: &dyn std::fmt::Display) -> io::Error {
    io::Error::other(format!(
        "cannot use the tokens: {}: {what}; check --remote token:",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    /// A directory that is removed when dropped, and the token files in it.
    struct Place(PathBuf, TokenFiles);

    impl Place {
        fn new(test: &str) -> Self {
            let path = std::env::temp_dir().join(format!("{test}-{}", std::process::id()));
            fs::create_dir(&path).unwrap();
            let route = Route { remote: Remote::Token(path.clone()), ..testing::route() };
            let mut place = Self(path, TokenFiles::of(&route).unwrap());
            place.write("a", "a: a:1\n");
            assert_eq!(place.1.read().unwrap().len(), 1);
            place
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.0.join(name), text).unwrap();
        }

        /// How many tokens a lookup after so many milliseconds finds, `None` for no change. Nothing
        /// is taken for recent.
        fn look(&mut self, millis: u64) -> Result<Option<usize>, String> {
            self.1.unsettled = false;
            let looked = self.1.look(Time(0) + Duration::from_millis(millis));
            looked.map(|new| new.map(|tokens| tokens.len())).map_err(|error| error.to_string())
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn files_are_looked_at_once_a_second_and_read_when_they_have_changed() {
        let mut place = Place::new("files_are_looked_at_once_a_second");
        assert_eq!(place.look(0), Ok(None));
        place.write("a", "a: a:1\nb: a:1\n");
        assert_eq!(place.look(999), Ok(None), "too soon");
        assert_eq!(place.look(1000), Ok(Some(2)));
        assert_eq!(place.look(2000), Ok(None));
        place.write("b", "c: a:1\n");
        assert_eq!(place.look(2500), Ok(None), "too soon");
        assert_eq!(place.look(9000), Ok(Some(3)));
        fs::rename(place.0.join("b"), place.0.join("a")).unwrap();
        assert_eq!(place.look(10_000), Ok(Some(1)));
        fs::remove_file(place.0.join("a")).unwrap();
        assert_eq!(place.look(11_000), Ok(Some(0)));
    }

    #[test]
    fn what_is_wrong_is_said_once_while_it_lasts() {
        let mut place = Place::new("what_is_wrong_is_said_once");
        place.write("a", "secret\n");
        let said = place.look(0).unwrap_err();
        assert!(said.contains("/a line 1 has no colon") && !said.contains("secret"), "{said}");
        assert_eq!(place.look(1000), Ok(None));
        place.write("a", "other\n");
        assert_eq!(place.look(2000), Ok(None), "the same again");
        place.write("a", "a: a:0\n");
        assert!(place.look(3000).unwrap_err().contains("port 0"));
        fs::remove_dir_all(&place.0).unwrap();
        assert!(place.look(4000).unwrap_err().contains("No such file"));
        assert_eq!(place.look(5000), Ok(None));
        fs::create_dir(&place.0).unwrap();
        place.write("a", "secret\n");
        assert!(place.look(6000).is_err(), "there was another in between");
        place.write("a", "a: a:1\n");
        assert_eq!(place.look(7000), Ok(Some(1)));
    }

    #[test]
    fn what_was_written_just_now_is_read_again() {
        let mut place = Place::new("what_was_written_just_now");
        assert_eq!(place.look(0), Ok(None));
        place.1.read().unwrap();
        let again = place.1.look(Time(0) + LOOK_AGAIN).unwrap();
        assert_eq!(again.map(|tokens| tokens.len()), Some(1));
        let stamp = &place.1.seen.as_ref().unwrap()[0];
        let (now, hour) = (SystemTime::now(), Duration::from_secs(3600));
        assert!(stamp.is_recent(now));
        assert!(!stamp.is_recent(now + hour) && !stamp.is_recent(now - hour));
    }

    #[test]
    fn only_so_much_is_read() {
        let mut place = Place::new("only_so_much_is_read");
        let half = "#\n".repeat(MAX_TEXT / 4);
        place.write("b", &half);
        place.write("c", &half[..half.len() - 7]);
        assert_eq!(place.look(0), Ok(Some(1)), "4 MiB in all");
        place.write("d", "#");
        assert!(place.look(1000).unwrap_err().contains("/d makes the token files larger"));
        fs::remove_file(place.0.join("b")).unwrap();
        (0..MAX_FILES).for_each(|n| place.write(&format!("n{n}"), ""));
        assert!(place.look(2000).unwrap_err().contains("more than 1000 files"));
    }
}
