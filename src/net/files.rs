//! The files beneath a route's directory (`--web`).
//!
//! Owns the directory, open since the start, and that nothing outside of it is ever opened. Never
//! decides what a request gets: see [`crate::policy::page`].

use std::fs::File;
use std::io;
use std::ops::Index;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use log::warn;

use super::sys;
use crate::config::Route;
use crate::policy::page::Facts;

/// The directories of the routes, by route.
pub struct Roots(Vec<Option<Root>>);

impl Roots {
    /// Opens them all.
    ///
    /// # Errors
    /// The directory, and why it cannot be used.
    pub fn open(routes: &[Route]) -> io::Result<Self> {
        let open = |route: &Route| route.web.as_deref().map(Root::open).transpose();
        routes.iter().map(open).collect::<io::Result<_>>().map(Self)
    }
}

impl Index<usize> for Roots {
    type Output = Option<Root>;

    fn index(&self, route: usize) -> &Option<Root> {
        &self.0[route]
    }
}

/// A directory whose files are served.
#[derive(Debug)]
pub struct Root {
    directory: OwnedFd,
    follows: Links,
}

/// Which symbolic links are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Links {
    /// Those that stay inside: openat2(2) sees to that.
    Inside,
    /// None, where the kernel lacks it (before 5.6) or a filter of system calls denies it.
    No,
}

/// What a name stands for.
#[derive(Debug)]
pub enum Found {
    /// A regular file that may be read.
    File(File, Facts),
    /// A directory.
    Directory,
}

impl Root {
    fn open(path: &Path) -> io::Result<Self> {
        let opened = sys::open_directory(path).map(|directory| {
            let follows = match sys::open_beneath(&directory, ".") {
                Err(error) if sys::is_unsupported(&error) => {
                    warn!(
                        "--web {}: openat2(2) is not to be had ({error}), \
                         so that no symbolic link is followed",
                        path.display()
                    );
                    Links::No
                }
                _ => Links::Inside,
            };
            Self { directory, follows }
        });
        opened.map_err(|error| {
            let text = format!(
                "cannot serve the files of --web {}: {error}; it must be a directory",
                path.display()
            );
            io::Error::new(error.kind(), text)
        })
    }

    /// Opens what is called `name`: names with a `/` between them, of which none leads up.
    ///
    /// # Errors
    /// `NotFound` for what is not there, or is no file, or lies outside; else what openat(2) says.
    pub fn find(&self, name: &str) -> io::Result<Found> {
        let opened = match self.follows {
            Links::Inside => sys::open_beneath(&self.directory, name),
            Links::No => sys::open_without_links(&self.directory, name),
        };
        let file = File::from(opened.map_err(|error| match sys::is_elsewhere(&error) {
            true => io::Error::new(io::ErrorKind::NotFound, error),
            false => error,
        })?);
        let about = file.metadata()?;
        if about.is_dir() {
            return Ok(Found::Directory);
        }
        // A pipe, a socket or a device could keep its reader waiting, or never end.
        if !about.is_file() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let modified = i128::from(about.mtime()) * 1_000_000_000 + i128::from(about.mtime_nsec());
        Ok(Found::File(file, Facts { len: about.len(), modified }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    /// A directory with something outside of it, removed when dropped.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str) -> Self {
            let place = std::env::temp_dir().join(format!("files-{name}-{}", std::process::id()));
            let root = place.join("root");
            std::fs::create_dir_all(root.join("sub/.well-known")).unwrap();
            for file in ["outside", "root/a.html", "root/sub/b.txt"] {
                std::fs::write(place.join(file), file).unwrap();
            }
            for (target, link) in [
                ("a.html", "in"),
                ("sub", "dir"),
                ("sub/../a.html", "around"),
                ("../outside", "out"),
                ("/etc/passwd", "absolute"),
                ("..", "up"),
                ("/proc/self/root", "magic"),
                ("nowhere", "dangling"),
                ("loop", "loop"),
            ] {
                symlink(target, root.join(link)).unwrap();
            }
            Self(place)
        }

        fn root(&self, follows: Links) -> Root {
            let root = Root::open(&self.0.join("root")).unwrap();
            Root { follows, ..root }
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    /// What is found, or how it is refused.
    fn find(root: &Root, name: &str) -> String {
        match root.find(name) {
            Ok(Found::File(file, facts)) => {
                let text = io::read_to_string(file).unwrap();
                assert_eq!(text.len() as u64, facts.len);
                text
            }
            Ok(Found::Directory) => "directory".into(),
            Err(error) => format!("{:?}", error.kind()),
        }
    }

    #[test]
    fn nothing_outside_is_found_with_either_system_call() {
        let tree = Tree::new("outside");
        for follows in [Links::Inside, Links::No] {
            let root = tree.root(follows);
            for (name, found) in [
                ("a.html", "root/a.html"),
                ("sub/b.txt", "root/sub/b.txt"),
                ("sub", "directory"),
                (".", "directory"),
                ("missing", "NotFound"),
                ("missing/a", "NotFound"),
                ("a.html/x", "NotFound"),
                ("out", "NotFound"),
                ("absolute", "NotFound"),
                ("up", "NotFound"),
                ("up/outside", "NotFound"),
                ("up/root/a.html", "NotFound"),
                ("magic", "NotFound"),
                ("magic/etc/passwd", "NotFound"),
                ("dangling", "NotFound"),
                ("loop", "NotFound"),
                (&"a".repeat(300), "NotFound"),
                (&"a/".repeat(3000), "NotFound"),
            ] {
                assert_eq!(find(&root, name), found, "{name} {follows:?}");
            }
        }
    }

    #[test]
    fn links_that_stay_inside_are_followed_where_the_kernel_sees_to_it() {
        let tree = Tree::new("inside");
        let root = Root::open(&tree.0.join("root")).unwrap();
        let inside = root.follows == Links::Inside;
        for (name, found) in
            [("in", "root/a.html"), ("dir/b.txt", "root/sub/b.txt"), ("around", "root/a.html")]
        {
            assert_eq!(find(&root, name), if inside { found } else { "NotFound" }, "{name}");
        }
        let root = tree.root(Links::No);
        for name in ["in", "dir", "dir/b.txt", "around"] {
            assert_eq!(find(&root, name), "NotFound", "{name}");
        }
    }

    #[test]
    fn says_what_is_no_directory() {
        let this = std::env::current_exe().unwrap();
        for path in [Path::new("/no/such"), &this] {
            let error = Root::open(path).unwrap_err().to_string();
            assert!(error.contains(&format!("--web {}: ", path.display())), "{error}");
        }
        let device = Root::open(Path::new("/dev")).unwrap();
        assert_eq!(find(&device, "null"), "NotFound");
    }
}
