//! The options about messages, as they were given, to [`Messages`].
//!
//! What a route was told stands in place of what all were told; below both are the defaults.

use std::time::Duration;

use super::units::timer_or_off;
use super::{Argument, Flaw, UsageError};
use crate::config::{Messages, Subprotocols};
use crate::proto::encoding::{Encoding, Encodings};
use crate::proto::framing::Framing;
use crate::session::Options;

/// The options about messages as they were given; an empty list or `None` is silence.
#[derive(Debug, Default)]
pub(super) struct MessageOptions {
    encoding: Option<(Argument, Encoding)>,
    framing: Option<(Argument, Framing)>,
    allowed: Vec<(Argument, Encoding)>,
    text_lossy: bool,
    subprotocols: Vec<String>,
    half_close: Option<Option<Duration>>,
}

impl MessageOptions {
    pub(super) fn set_lossy(&mut self) {
        self.text_lossy = true;
    }

    pub(super) fn set_encoding(&mut self, argument: &Argument) -> Result<(), Flaw> {
        self.encoding = Some((argument.clone(), encoding(&argument.value)?));
        Ok(())
    }

    /// Returns what was set.
    pub(super) fn set_framing(&mut self, argument: &Argument) -> Result<Framing, Flaw> {
        let framing = argument.value.parse().map_err(|()| {
            let known = Framing::ALL.map(Framing::name).join(", ");
            Flaw::new(format!("is none of the framings {known}")).like("ndjson")
        })?;
        self.framing = Some((argument.clone(), framing));
        Ok(framing)
    }

    pub(super) fn allow(&mut self, argument: &Argument) -> Result<(), Flaw> {
        for name in argument.value.split(',') {
            self.allowed.push((argument.clone(), encoding(name)?));
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
        self.encoding = later.encoding.or(self.encoding.take());
        self.framing = later.framing.or(self.framing.take());
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

    /// With `shared` where this route was told nothing of its own, and `usual` below that. Where messages
    /// do not appear in the stream, what was shared about that is for other routes.
    ///
    /// # Errors
    /// An encoding that was asked for, and does not go with the framing.
    pub(super) fn over(
        self,
        shared: &Self,
        usual: Messages,
        appear: bool,
    ) -> Result<Messages, UsageError> {
        let framing = self.framing.as_ref().or(shared.framing.as_ref());
        let framing = framing.filter(|_| appear).map_or(usual.framing, |(_, framing)| *framing);
        let fitting = framing.encodings();
        let encoding = match self.encoding.as_ref().or(shared.encoding.as_ref()) {
            Some(asked) => fits(asked, framing)?,
            None if fitting.contains(usual.encoding) => usual.encoding,
            None => framing.usual_encoding(),
        };
        let allowed = match first_filled(&self.allowed, &shared.allowed) {
            [] => usual.allowed.and(fitting),
            listed => {
                let own = Encodings::NONE.with(encoding);
                listed.iter().try_fold(own, |set, asked| Ok(set.with(fits(asked, framing)?)))?
            }
        };
        let subprotocols = match first_filled(&self.subprotocols, &shared.subprotocols) {
            [] => Subprotocols::Listed(spoken(allowed)),
            names if names.iter().any(|name| name == "*") => Subprotocols::Any,
            names => Subprotocols::Listed(names.to_vec()),
        };
        let text_lossy = self.text_lossy || shared.text_lossy;
        let half_close = self.half_close.or(shared.half_close).unwrap_or(usual.half_close);
        Ok(Messages { encoding, framing, allowed, text_lossy, subprotocols, half_close })
    }
}

/// The encoding that was asked for, if it goes with the framing.
fn fits(
    (asked, encoding): &(Argument, Encoding),
    framing: Framing,
) -> Result<Encoding, UsageError> {
    let fitting = framing.encodings();
    if fitting.contains(*encoding) {
        return Ok(*encoding);
    }
    let names = Encoding::ALL.into_iter().filter(|e| fitting.contains(*e)).map(Encoding::name);
    let names = names.collect::<Vec<_>>().join(", ");
    let problem = match encoding {
        Encoding::Chunk => "chunk goes with --framing raw alone, as parts of a stream".into(),
        _ => format!("{encoding} does not go with --framing {framing}, which takes {names}"),
    };
    let remedy =
        format!("write it like --framing {framing} --encoding {}", framing.usual_encoding());
    Err(UsageError::new(asked, problem, remedy))
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
    use crate::cli::{config_of as config, parse};
    use crate::proto::framing::LengthForm;

    fn messages(line: &str) -> Vec<Messages> {
        config(line).routes.into_iter().map(|route| route.messages).collect()
    }

    #[test]
    fn message_options_of_a_single_route_may_stand_anywhere() {
        let expected = Messages {
            encoding: Encoding::Text,
            framing: Framing::Raw,
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
    fn a_framing_narrows_the_encodings_to_those_that_fit() {
        let text = Encodings::NONE.with(Encoding::Text);
        let all = text.with(Encoding::Binary).with(Encoding::Base64);
        for (line, framing, encoding, allowed, spoken) in [
            ("--framing raw", Framing::Raw, Encoding::Binary, Encodings::ALL, 2),
            ("--framing lines", Framing::Lines, Encoding::Binary, all, 2),
            ("--framing ndjson", Framing::Ndjson, Encoding::Text, text, 0),
            (
                "--framing length --encoding base64 --allow-encoding text",
                Framing::Length(LengthForm::U32),
                Encoding::Base64,
                text.with(Encoding::Base64),
                1,
            ),
        ] {
            let of = messages(&format!("{line} -r x:1")).remove(0);
            assert_eq!(
                (of.framing, of.encoding, of.allowed),
                (framing, encoding, allowed),
                "{line}"
            );
            let Subprotocols::Listed(names) = of.subprotocols else { panic!("{line}") };
            assert_eq!(names.len(), spoken, "{line}");
        }
    }

    #[test]
    fn a_framing_before_the_first_local_is_for_the_routes_that_have_messages() {
        let of = messages(
            "--framing ndjson -l a:1 -r x:1 -l tcp://a:2 -r x:1 -l tcp://a:3 -r ws://x \
             -l a:4 -r connect: --allow any -l a:5 -r x:1 --framing lines --encoding base64 \
             -l a:6 -r x:1 --framing raw",
        );
        let of: Vec<_> =
            of.iter().map(|messages| (messages.framing.name(), messages.encoding)).collect();
        let expected = [
            ("ndjson", Encoding::Text),
            ("raw", Encoding::Binary),
            ("ndjson", Encoding::Text),
            ("raw", Encoding::Binary),
            ("lines", Encoding::Base64),
            ("raw", Encoding::Binary),
        ];
        assert_eq!(of, expected);
    }

    #[test]
    fn an_encoding_that_does_not_go_with_the_framing_is_named() {
        let text = "; write it like --framing ndjson --encoding text";
        let binary = "; write it like --framing lines --encoding binary";
        for (line, start, end) in [
            (
                "-r x:1 --framing ndjson --encoding base64",
                "--encoding base64: base64 does not",
                text,
            ),
            (
                "-r x:1 --framing ndjson --allow-encoding text,binary",
                "--allow-encoding text,binary: binary does not",
                text,
            ),
            (
                "-r x:1 --framing lines --encoding chunk",
                "--encoding chunk: chunk goes with --framing raw",
                binary,
            ),
            (
                "--encoding chunk -l a:1 -r x:1 -l a:2 -r x:1 --framing lines",
                "--encoding chunk: ",
                binary,
            ),
            (
                "-r x:1 --framing line",
                "--framing line: is none of the framings raw, lines, ",
                "; write it like --framing ndjson",
            ),
        ] {
            let error = parse(line.split(' ').map(Into::into)).expect_err(line).to_string();
            assert!(error.starts_with(start) && error.ends_with(end), "{line}\n{error}");
        }
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
