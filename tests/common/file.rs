//! Files that go with the test.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A file in the system's directory for such, removed when dropped.
pub struct TempFile(PathBuf);

impl TempFile {
    pub fn new(text: &str) -> Self {
        let file = Self::absent();
        file.write(text);
        file
    }

    /// A path where nothing is yet.
    pub fn absent() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ws-tcp-proxy-file-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    /// Replaces all that it holds.
    pub fn write(&self, text: &str) {
        std::fs::write(&self.0, text).expect("write a temporary file");
    }

    pub fn path(&self) -> &str {
        self.0.to_str().expect("a path in UTF-8")
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A directory of such files, removed when dropped.
pub struct TempDir(TempFile);

impl TempDir {
    pub fn new() -> Self {
        let place = TempFile::absent();
        std::fs::create_dir(place.path()).expect("make a temporary directory");
        Self(place)
    }

    pub fn path(&self) -> &Path {
        self.0.path().as_ref()
    }

    /// A file in it with this text.
    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).expect("write a temporary file");
    }

    pub fn remove(&self, name: &str) {
        std::fs::remove_file(self.path().join(name)).expect("remove a temporary file");
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.path());
    }
}
