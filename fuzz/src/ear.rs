//! What an endpoint hears, with the pieces of each message joined, so that cuts vanish.
//!
//! Made of the crate's own decoder: the target `decoder_cuts` is what makes that one trustworthy.

use ws_tcp_proxy::proto::frame::{FrameError, Opcode, Role};
use ws_tcp_proxy::proto::message::{Decoder, Kind, Step};

/// One thing that was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// A message, or as much of it as has come.
    Message { kind: Kind, bytes: Vec<u8>, ended: bool },
    /// A control frame.
    Control(Opcode, Vec<u8>),
    /// A broken rule; nothing is heard behind it.
    Error(FrameError),
}

/// An endpoint that only listens.
#[derive(Debug)]
pub struct Ear {
    decoder: Decoder,
    /// In the order of their beginnings.
    pub said: Vec<Said>,
    /// Where in `said` the message under way is.
    open: Option<usize>,
    /// What follows a Close is not heard (RFC 6455 §5.5.1).
    until_close: bool,
    over: bool,
}

impl Ear {
    /// The ear of the endpoint in `role`. `max_message` is 0 for no limit.
    pub fn new(role: Role, max_message: u64) -> Self {
        Self {
            decoder: Decoder::new(role, max_message),
            said: Vec::new(),
            open: None,
            until_close: false,
            over: false,
        }
    }

    /// The same, deaf to what follows a Close.
    pub fn until_close(role: Role, max_message: u64) -> Self {
        Self { until_close: true, ..Self::new(role, max_message) }
    }

    /// Listens to one piece and says how much of it was not heard, because something ended all.
    pub fn hear(&mut self, wire: &[u8]) -> usize {
        let mut at = 0;
        while !self.over {
            let (used, step) = match self.decoder.next(&wire[at..]) {
                Ok(next) => next,
                Err(error) => {
                    self.said.push(Said::Error(error));
                    self.over = true;
                    break;
                }
            };
            assert!(used <= wire.len() - at);
            at += used;
            match step {
                None => {
                    assert_eq!(at, wire.len(), "without a step all is used up");
                    break;
                }
                Some(Step::Control(opcode)) => {
                    assert!(opcode.is_control());
                    self.said.push(Said::Control(opcode, self.decoder.control().to_vec()));
                    self.over = self.until_close && opcode == Opcode::Close;
                }
                Some(Step::Payload(piece)) => {
                    let mut bytes = wire[at..at + piece.len].to_vec();
                    let mut mask = piece.mask;
                    mask.apply(&mut bytes);
                    at += piece.len;
                    self.join(piece.kind, piece.begins, piece.ends, bytes);
                }
            }
        }
        wire.len() - at
    }

    /// Whether no frame and no message is under way.
    pub fn is_between_messages(&self) -> bool {
        self.decoder.is_between_messages()
    }

    /// The payload of all messages in a row.
    pub fn payload(&self) -> Vec<u8> {
        let mut payload = Vec::new();
        for said in &self.said {
            if let Said::Message { bytes, .. } = said {
                payload.extend_from_slice(bytes);
            }
        }
        payload
    }

    fn join(&mut self, piece_kind: Kind, begins: bool, ends: bool, piece: Vec<u8>) {
        assert_eq!(begins, self.open.is_none(), "messages begin once and do not overlap");
        assert!(ends || !piece.is_empty(), "a piece of nothing says nothing");
        let at = match self.open {
            Some(at) => at,
            None => {
                self.said.push(Said::Message { kind: piece_kind, bytes: Vec::new(), ended: false });
                self.said.len() - 1
            }
        };
        if let Said::Message { kind, bytes, ended } = &mut self.said[at] {
            assert_eq!(*kind, piece_kind);
            bytes.extend(piece);
            *ended = ends;
        }
        self.open = (!ends).then_some(at);
    }
}

/// The messages alone.
pub fn messages(said: &[Said]) -> Vec<&Said> {
    said.iter().filter(|said| matches!(said, Said::Message { .. })).collect()
}

/// The payloads of one kind of control frame.
pub fn payloads(said: &[Said], wanted: Opcode) -> impl Iterator<Item = &[u8]> {
    said.iter().filter_map(move |said| match said {
        Said::Control(opcode, payload) if *opcode == wanted => Some(&payload[..]),
        _ => None,
    })
}

/// The messages of an echo are those that were said, the last one perhaps not to its end.
pub fn assert_begins(said: &[Said], heard: &[Said]) {
    let (said, heard) = (messages(said), messages(heard));
    assert!(heard.len() <= said.len());
    for (i, (said, part)) in said.iter().zip(&heard).enumerate() {
        let (Said::Message { kind, bytes, ended }, Said::Message { kind: k, bytes: b, ended: e }) =
            (said, part)
        else {
            continue;
        };
        let whole = i + 1 < heard.len() || *e;
        assert!(kind == k && bytes.starts_with(b), "an echo of what was not said");
        assert!(!whole || ended == e && bytes == b, "an echo ends early");
    }
}
