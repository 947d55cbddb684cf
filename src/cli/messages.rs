//! The options about messages, as they were given, to [`Messages`].
//!
//! What a route was told stands in place of what all were told; below both are the defaults.

use std::time::Duration;

use super::units::timer_or_off;
use super::Flaw;
use crate::config::{Messages, Subprotocols};
use crate::proto::encoding::{Encoding, Encodings};
use crate::session::Options;

/// The options about messages as they were given; an empty list or `None` is silence.
#[derive(Debug, Default)]
pub(super) struct MessageOptions {
    encoding: Option<Encoding>,
    allowed: Vec<Encoding>,
    text_lossy: bool,
    subprotocols: Vec<String>,
    half_close: Option<Option<Duration>>,
}

impl MessageOptions {
    pub(super) fn set_lossy(&mut self) {
        self.text_lossy = true;
    }

    pub(super) fn set_encoding(&mut self, text: &str) -> Result<(), Flaw> {
        self.encoding = Some(encoding(text)?);
        Ok(())
    }

    pub(super) fn allow(&mut self, list: &str) -> Result<(), Flaw> {
        for name in list.split(',') {
            self.allowed.push(encoding(name)?);
        }
        Ok(())
    }

    pub(super) fn add_subprotocol(&mut self, name: &str) -> Result<(), Flaw> {
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(Flaw::new("is not a token as in RFC 7230; repeat the option for several"));
        }
        self.subprotocols.push(name.to_owned());
        Ok(())
    }

    /// `off`, or 0 in any unit, answers a Close at once.
    pub(super) fn set_half_close(&mut self, text: &str) -> Result<(), Flaw> {
        self.half_close = Some(match text {
            "off" => None,
            _ => timer_or_off(text)?,
        });
        match self.half_close {
            Some(Some(time)) if time > Options::MAX_HALF_CLOSE => {
                Err(Flaw::new("longer than an hour"))
            }
            _ => Ok(()),
        }
    }

    /// What was said later of the same route.
    pub(super) fn extend(&mut self, later: Self) {
        self.encoding = later.encoding.or(self.encoding);
        self.text_lossy |= later.text_lossy;
        self.allowed.extend(later.allowed);
        self.subprotocols.extend(later.subprotocols);
        self.half_close = later.half_close.or(self.half_close);
    }

    /// The subprotocols that a `ws://` remote is offered.
    pub(super) fn offered(&self, shared: &Self) -> Vec<String> {
        let names = first_filled(&self.subprotocols, &shared.subprotocols).iter();
        // The other side chooses among names; `*` is for what we choose from.
        names.filter(|name| *name != "*").cloned().collect()
    }

    /// With `shared` where this route was told nothing of its own, and `usual` below that.
    pub(super) fn over(self, shared: &Self, usual: Messages) -> Messages {
        let encoding = self.encoding.or(shared.encoding).unwrap_or(usual.encoding);
        let allowed = match first_filled(&self.allowed, &shared.allowed) {
            [] => usual.allowed,
            listed => listed.iter().fold(Encodings::NONE.with(encoding), |set, e| set.with(*e)),
        };
        let subprotocols = match first_filled(&self.subprotocols, &shared.subprotocols) {
            [] => Subprotocols::Listed(spoken(allowed)),
            names if names.iter().any(|name| name == "*") => Subprotocols::Any,
            names => Subprotocols::Listed(names.to_vec()),
        };
        let text_lossy = self.text_lossy || shared.text_lossy;
        let half_close = self.half_close.or(shared.half_close).unwrap_or(usual.half_close);
        Messages { encoding, allowed, text_lossy, subprotocols, half_close }
    }
}

/// The default subprotocols that choose an encoding the route allows.
fn spoken(allowed: Encodings) -> Vec<String> {
    let ours = [Encoding::Binary, Encoding::Base64].into_iter();
    ours.filter(|e| allowed.contains(*e)).map(|e| e.name().to_owned()).collect()
}

pub(super) fn first_filled<'a, T>(own: &'a [T], shared: &'a [T]) -> &'a [T] {
    if own.is_empty() {
        shared
    } else {
        own
    }
}

fn encoding(name: &str) -> Result<Encoding, Flaw> {
    name.parse().map_err(|()| {
        let known = Encoding::ALL.map(Encoding::name).join(", ");
        Flaw::new(format!("{name:?} is none of the encodings {known}"))
    })
}

/// `tchar` (RFC 7230 §3.2.6).
pub(super) fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}
#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::config_of as config;

    fn messages(line: &str) -> Vec<Messages> {
        config(line).routes.into_iter().map(|route| route.messages).collect()
    }

    #[test]
    fn message_options_of_a_single_route_may_stand_anywhere() {
        let expected = Messages {
            encoding: Encoding::Text,
            allowed: Encodings::NONE.with(Encoding::Text).with(Encoding::Base64),
            text_lossy: true,
            subprotocols: Subprotocols::Listed(vec!["a".into(), "b".into()]),
            half_close: None,
        };
        for line in [
            "--encoding text --subprotocol a --subprotocol b --allow-encoding base64 \
             --text-lossy -r x:1",
            "-r x:1 --text-lossy --subprotocol a -l y:1 --encoding text --subprotocol b \
             --allow-encoding base64",
            "--encoding base64 --allow-encoding text --subprotocol a -l y:1 --subprotocol b \
             --encoding text --text-lossy -r x:1 --allow-encoding base64,base64",
        ] {
            assert_eq!(messages(line), std::slice::from_ref(&expected), "{line}");
        }
    }

    #[test]
    fn message_options_before_the_first_local_hold_where_a_route_has_none_of_its_own() {
        let of = messages(
            "--encoding text --subprotocol a --allow-encoding base64 -l a:1 -r x:1 \
             -l b:1 -r x:1 --encoding base64 --subprotocol b --subprotocol c \
             --allow-encoding binary",
        );
        let (text, base64) =
            (Encodings::NONE.with(Encoding::Text), Encodings::NONE.with(Encoding::Base64));
        let listed =
            |names: &[&str]| Subprotocols::Listed(names.iter().map(|n| n.to_string()).collect());
        assert_eq!((of[0].encoding, of[1].encoding), (Encoding::Text, Encoding::Base64));
        assert_eq!(of[0].allowed, text.with(Encoding::Base64));
        assert_eq!(of[1].allowed, base64.with(Encoding::Binary));
        assert_eq!(of[0].subprotocols, listed(&["a"]));
        assert_eq!(of[1].subprotocols, listed(&["b", "c"]));
        let lossy = messages("-l a:1 -r x:1 --text-lossy -l b:1 -r x:1");
        assert_eq!((lossy[0].text_lossy, lossy[1].text_lossy), (true, false));
    }

    #[test]
    fn a_route_that_is_told_nothing_has_the_defaults() {
        assert_eq!(messages("-r x:1"), [Messages::default()]);
    }

    #[test]
    fn default_subprotocols_are_those_of_allowed_encodings() {
        let of = |line| messages(line).remove(0).subprotocols;
        assert_eq!(of("-r x:1 --allow-encoding text"), Subprotocols::Listed(vec!["binary".into()]));
        assert_eq!(
            of("-r x:1 --encoding text --allow-encoding text"),
            Subprotocols::Listed(vec![])
        );
        assert_eq!(of("-r x:1 --subprotocol * --subprotocol a"), Subprotocols::Any);
        assert_eq!(of("-r x:1 --subprotocol a*"), Subprotocols::Listed(vec!["a*".into()]));
    }
}
