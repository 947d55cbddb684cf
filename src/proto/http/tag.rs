//! Entity tags: which state of a page a client has (RFC 9110 §8.8.3, §13.1).
//!
//! Owns how tags are compared. What a page's tag is made of is [`crate::policy::page`]'s.

/// Whether the list of an `If-None-Match` field has `tag`, weak or strong, or is a `*` (§13.1.2).
/// What comes behind a mistake in it counts for nothing.
pub fn is_listed(list: &str, tag: &str) -> bool {
    if list.trim_matches([' ', '\t']) == "*" {
        return true;
    }
    let mut rest = list;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let opaque = rest.strip_prefix("W/").unwrap_or(rest);
        // A tag may hold a comma, but no quote.
        let Some(end) = opaque.strip_prefix('"').and_then(|text| text.find('"')) else {
            return false;
        };
        let (listed, behind) = opaque.split_at(end + 2);
        if listed == tag {
            return true;
        }
        rest = behind.trim_start_matches([' ', '\t']);
        if !rest.is_empty() && !rest.starts_with(',') {
            return false;
        }
    }
}

/// Whether an `If-Range` field names exactly that state of the page: it has the same tag, and not
/// a weak one, nor a date (§13.1.5).
pub fn is_same(value: &str, tag: &str) -> bool {
    value.trim_matches([' ', '\t']) == tag
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_tag_in_a_list() {
        for (list, is_there) in [
            ("\"a-1\"", true),
            ("W/\"a-1\"", true),
            ("*", true),
            (" * ", true),
            ("\"x\", \"a-1\"", true),
            ("\"x\",W/\"a-1\",\"y\"", true),
            (", ,\"a-1\"", true),
            ("\"x,y\", \"a-1\"", true),
            ("\"x\" , \"\" ,\"a-1\"", true),
            ("", false),
            ("a-1", false),
            ("\"a-1", false),
            ("\"A-1\"", false),
            ("w/\"a-1\"", false),
            ("\"a-12\"", false),
            ("\"x, \"a-1\"", false),
            ("\"x\" \"a-1\"", false),
            ("\"x\"\"a-1\"", false),
            ("*, \"x\"", false),
            ("\"*\"", false),
        ] {
            assert_eq!(is_listed(list, "\"a-1\""), is_there, "{list}");
        }
    }

    #[test]
    fn a_part_needs_the_very_same_state() {
        assert!(is_same("\"a\"", "\"a\""));
        for other in
            ["W/\"a\"", "\"b\"", "a", "", "*", "\"a\", \"b\"", "Sat, 29 Oct 1994 19:43:31 GMT"]
        {
            assert!(!is_same(other, "\"a\""), "{other}");
        }
    }
}
