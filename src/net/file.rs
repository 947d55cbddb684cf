//! Small files that are read whole, while the loop waits.

use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Reads a file, one byte more than `most` at most, which is enough to see that it is too large. A
/// pipe, whose writer might never come, is not opened.
///
/// # Errors
/// What open(2) and read(2) say, or that it is no regular file.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    // It may have become a pipe since then.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let mut text = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_no_more_than_shows_that_it_is_too_much() {
        let this = Path::new(file!());
        assert_eq!(read(this, 3).unwrap(), b"//! ");
        assert_eq!(read(this, u64::MAX).unwrap(), include_bytes!("file.rs"));
    }

    /// What may keep its reader waiting, or never ends.
    #[test]
    fn opens_regular_files_alone() {
        for path in ["/dev/null", "/dev/zero", "/dev"] {
            assert!(
                read(Path::new(path), 1).unwrap_err().to_string().contains("regular"),
                "{path}"
            );
        }
        assert_eq!(read(Path::new("/no/such"), 1).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
