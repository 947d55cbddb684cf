//! What kind of file a name stands for (RFC 9110 §8.3).
//!
//! Owns the table. Never looks into a file: what a page is must not depend on what somebody put
//! there.

/// By extension, in any case.
const TYPES: [(&str, &str); 29] = [
    ("html", "text/html; charset=utf-8"),
    ("htm", "text/html; charset=utf-8"),
    ("js", "text/javascript; charset=utf-8"),
    ("mjs", "text/javascript; charset=utf-8"),
    ("css", "text/css; charset=utf-8"),
    ("json", "application/json; charset=utf-8"),
    ("map", "application/json; charset=utf-8"),
    ("webmanifest", "application/manifest+json; charset=utf-8"),
    ("txt", "text/plain; charset=utf-8"),
    ("xml", "text/xml; charset=utf-8"),
    ("svg", "image/svg+xml; charset=utf-8"),
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("gif", "image/gif"),
    ("webp", "image/webp"),
    ("avif", "image/avif"),
    ("ico", "image/x-icon"),
    ("wasm", "application/wasm"),
    ("woff", "font/woff"),
    ("woff2", "font/woff2"),
    ("ttf", "font/ttf"),
    ("otf", "font/otf"),
    ("pdf", "application/pdf"),
    ("mp3", "audio/mpeg"),
    ("oga", "audio/ogg"),
    ("ogg", "audio/ogg"),
    ("wav", "audio/wav"),
    ("mp4", "video/mp4"),
];

/// The value of `Content-Type` for a file of that name.
pub fn content_type(name: &str) -> &'static str {
    let name = name.rsplit('/').next().unwrap_or(name);
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    TYPES
        .iter()
        .find(|(known, _)| extension.eq_ignore_ascii_case(known))
        .map_or("application/octet-stream", |(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_by_the_last_extension() {
        for (name, kind) in [
            ("index.html", "text/html; charset=utf-8"),
            ("a/b.min.JS", "text/javascript; charset=utf-8"),
            ("a.html/b", "application/octet-stream"),
            ("a.tar.gz", "application/octet-stream"),
            ("core.wasm", "application/wasm"),
            ("html", "application/octet-stream"),
            ("a.", "application/octet-stream"),
            ("", "application/octet-stream"),
            ("a.html ", "application/octet-stream"),
        ] {
            assert_eq!(content_type(name), kind, "{name:?}");
        }
    }

    #[test]
    fn each_extension_stands_for_one_type_and_text_says_its_charset() {
        for (i, (extension, kind)) in TYPES.iter().enumerate() {
            assert!(TYPES[..i].iter().all(|(earlier, _)| earlier != extension), "{extension}");
            let is_text = ["text/", "json", "xml"].iter().any(|part| kind.contains(part));
            assert_eq!(kind.ends_with("; charset=utf-8"), is_text, "{kind}");
        }
    }
}
