//! Secrets: how they are shown, that they are read again, and that they are never told.

use base64::engine::general_purpose::STANDARD;
use base64::Engine;

use super::Proxy;

/// Stands in every secret of the tests, and must stand nowhere else.
pub const SECRET: &str = "hunter";

/// SIGHUP, and the event that the file was read.
#[track_caller]
pub fn re_read(proxy: &Proxy) {
    let from = proxy.stderr.count();
    proxy.signal(libc::SIGHUP);
    proxy.wait_for_log(from, "the re-reading", |l| l.contains("SIGHUP: files of"));
}

/// The log does not have it, in no alignment of base64 either.
#[track_caller]
pub fn tells_no_secret(proxy: &Proxy) {
    let log = proxy.log().join("\n");
    assert!(!log.contains(SECRET), "{log}");
    for pad in 0..3 {
        let text = format!("{}{SECRET}", &"xx"[..pad]);
        let code = STANDARD.encode(&text);
        let inner = &code[(pad * 4).div_ceil(3)..text.len() * 4 / 3];
        assert!(!log.contains(inner), "{inner} is in {log}");
    }
}

/// What `Authorization` and the like say of a `user:password`.
pub fn basic(user: &str) -> String {
    format!("Basic {}", STANDARD.encode(user))
}
