//! A framing against a plain model, both ways and in both roles, whatever the cuts.
//!
//! ```text
//! input = form, role, encoding, lossy or not, limit, buffer size (a byte each), cuts (length, then
//!         lengths), messages, then a stream as it comes
//! messages = how many, each: flags, length, bytes
//! ```
//!
//! Messages go in as frames, and what comes of them as a stream goes out as messages again.

mod model;

use base64::engine::general_purpose::STANDARD;
use base64::Engine;
use ws_tcp_proxy::buf::hot::Hot;
use ws_tcp_proxy::proto::encoding::Encoding;
use ws_tcp_proxy::proto::frame::{FrameError, Opcode, Role};
use ws_tcp_proxy::proto::framing::{Framing, FramingError, MAX_PREFIX};
use ws_tcp_proxy::proto::mask::Keys;
use ws_tcp_proxy::proto::message::{Decoder, Kind, Step};
use ws_tcp_proxy::session::{Options, Session, Stop, MAX_CONTROL_FRAME};

use crate::cuts::Cuts;
use crate::frames::{frame, message};
use crate::input::Input;

/// One run.
pub fn check(framings: &[Framing], data: &[u8]) {
    let mut input = Input::new(data);
    let framing = input.pick(framings);
    let role = input.pick(&[Role::Server, Role::Client]);
    let encodings = [Encoding::Binary, Encoding::Text, Encoding::Base64];
    let encoding = match framing {
        Framing::Ndjson => Encoding::Text,
        _ => input.pick(&encodings),
    };
    let text_lossy = input.byte() % 2 == 1;
    let max_message = input.pick(&[0, 0, 40, 66_000]);
    let size = 256 + 16 * usize::from(input.byte());
    let lengths = input.bytes();
    let said: Vec<Said> = (0..input.byte() % 8).map(|_| Said::pick(&mut input, encoding)).collect();
    let stream = input.rest();
    let options = Options { encoding, text_lossy, framing, max_message, ..Options::default() };
    let side = Side { role, options, size };

    let (expected, error) = side.model_stream(&said);
    // Byte by byte takes long for what is long.
    let fine = if expected.len() > 4096 { Cuts::Lengths(&[251]) } else { Cuts::Bytes };
    for cuts in [Cuts::Whole, fine, Cuts::Lengths(lengths)] {
        let heard = side.hear(&said, cuts);
        assert_eq!(heard, (expected.clone(), error), "{side:?}, {cuts:?}");
        for stream in [&expected[..], stream] {
            assert_eq!(side.say(stream, cuts), side.model_messages(stream), "{side:?}, {cuts:?}");
        }
    }
}

/// What a peer says in one message.
#[derive(Debug)]
struct Said {
    opcode: Opcode,
    /// As it is on the wire.
    payload: Vec<u8>,
    fragments: usize,
    /// Between the fragments.
    pings: bool,
}

impl Said {
    fn pick(input: &mut Input, encoding: Encoding) -> Self {
        let flags = input.byte();
        let bytes = input.bytes().repeat(if flags & 0xe0 == 0xe0 { 300 } else { 1 });
        let (payload, is_text) = match encoding {
            // Seldom something else.
            Encoding::Base64 if flags & 0x3c != 0x3c => (STANDARD.encode(bytes).into_bytes(), true),
            _ => (bytes, flags & 1 == 1),
        };
        let opcode = if is_text { Opcode::Text } else { Opcode::Binary };
        Self { opcode, payload, fragments: 1 + usize::from(flags >> 2 & 3), pings: flags & 2 != 0 }
    }

    fn wire(&self, mask: Option<[u8; 4]>) -> Vec<u8> {
        let between = || match self.pings {
            true => frame(true, Opcode::Ping, b"ping", mask),
            false => Vec::new(),
        };
        message(self.opcode, &self.payload, self.fragments, between, mask)
    }
}

/// The endpoint that is looked at.
#[derive(Debug, Clone, Copy)]
struct Side {
    role: Role,
    options: Options,
    size: usize,
}

/// What came of a stream: whole messages, and what was wrong with the rest of it.
type Messages = (Vec<Vec<u8>>, Option<Wrong>);

/// What can be wrong with what is to become a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    NotText,
    Length,
    Cut,
}

impl Wrong {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::NotUtf8 => Self::NotText,
            FrameError::Framing(FramingError::TooLong { .. } | FramingError::Varint) => {
                Self::Length
            }
            FrameError::Framing(
                FramingError::CutLine | FramingError::CutLength | FramingError::CutMessage,
            ) => Self::Cut,
            other => panic!("{other}"),
        }
    }
}

/// Frames to a stream.
impl Side {
    /// The stream that frames become, and the first error.
    fn hear(&self, said: &[Said], cuts: Cuts) -> (Vec<u8>, Option<FrameError>) {
        let mask = (self.role == Role::Server).then_some([0x37, 0xfa, 0x21, 0x3d]);
        let wire: Vec<u8> = said.iter().flat_map(|said| said.wire(mask)).collect();
        let mut session = Session::new(self.role, self.options);
        let (mut hot, mut keys) = (Hot::new(self.size), keys());
        let (mut heard, mut held) = (Vec::new(), 0);
        let growth = session.growth_of_heard();
        for read in cuts.pieces(&wire, (self.size / growth).max(1)) {
            let before = heard.len();
            hot.fill(read.len()).copy_from_slice(read);
            hot.commit(read.len());
            let mut answers = 16;
            loop {
                let stop = session.decode(&mut hot, &mut keys, &mut answers);
                let (taken, returned) = session.settle_held();
                held = held + taken - returned;
                if let Some(ready) = session.take_held() {
                    let (first, second) = ready.slices();
                    heard.extend_from_slice(first);
                    heard.extend_from_slice(second);
                    held -= ready.capacity();
                } else {
                    // What a read may become at most.
                    assert!(hot.output().len() <= growth * read.len() + MAX_PREFIX);
                }
                heard.extend_from_slice(hot.output());
                hot.drop_output();
                match stop {
                    Err(error) => return (heard, Some(self.without_count(error))),
                    Ok(Stop::Drained) => break,
                    Ok(Stop::Reply) => {
                        let pong = session.control(&mut [0; MAX_CONTROL_FRAME], &mut keys);
                        assert!(pong.is_some());
                    }
                    Ok(Stop::Full) => assert!(heard.len() > before, "nothing was handed out"),
                    Ok(other) => panic!("{other:?}"),
                }
            }
        }
        session.forget_held();
        let (taken, returned) = session.settle_held();
        assert_eq!(held + taken, returned, "what is held is given back");
        (heard, None)
    }

    /// Errors without the value that depends on how far it was.
    fn without_count(&self, error: FrameError) -> FrameError {
        match error {
            FrameError::TooLong { limit, .. } => FrameError::TooLong { announced: 0, limit },
            FrameError::Framing(FramingError::BeyondPrefix { limit, .. }) => {
                FramingError::BeyondPrefix { announced: 0, limit }.into()
            }
            other => other,
        }
    }
}

/// A stream to frames.
impl Side {
    /// The messages that the peer makes of our frames.
    fn say(&self, stream: &[u8], cuts: Cuts) -> Messages {
        let mut session = Session::new(self.role, self.options);
        let (mut hot, mut keys) = (Hot::new(self.size), keys());
        let (mut wire, mut wrong) = (Vec::new(), None);
        let growth = session.growth();
        for read in cuts.pieces(stream, session.read_limit(self.size)) {
            hot.fill(read.len()).copy_from_slice(read);
            hot.commit(read.len());
            hot.pass_all();
            let encoded = session.encode(&mut hot, &mut keys);
            // A header and what was held back may come once on top.
            assert!(hot.output().len() <= growth * read.len() + 24);
            wire.extend_from_slice(hot.output());
            if let Err(error) = encoded {
                wrong = Some(Wrong::from(error));
                break;
            }
        }
        if wrong.is_none() {
            hot.fill(0);
            wrong = session.finish(&mut hot, &mut keys).err().map(Wrong::from);
            wire.extend_from_slice(hot.output());
        }
        let messages = self.received(&wire, wrong.is_none());
        assert_eq!(session.sent(), messages.len() as u64);
        (messages, wrong)
    }

    /// The whole messages in frames of ours.
    fn received(&self, mut wire: &[u8], is_whole: bool) -> Vec<Vec<u8>> {
        let theirs = if self.role == Role::Server { Role::Client } else { Role::Server };
        let mut decoder = Decoder::new(theirs, 0);
        let (mut messages, mut message) = (Vec::new(), Vec::new());
        let is_text = self.options.encoding != Encoding::Binary;
        while !wire.is_empty() {
            let (used, step) = decoder.next(wire).expect("our frames follow the RFC");
            wire = &wire[used..];
            let Some(Step::Payload(mut piece)) = step else { panic!("{step:?}") };
            assert_eq!(piece.kind, if is_text { Kind::Text } else { Kind::Binary });
            let at = message.len();
            message.extend_from_slice(&wire[..piece.len]);
            piece.mask.apply(&mut message[at..]);
            wire = &wire[piece.len..];
            // A character is never cut, not even by a fragment's end.
            assert!(!is_text || std::str::from_utf8(&message[at..]).is_ok());
            if piece.ends {
                messages.push(std::mem::take(&mut message));
            }
        }
        assert!(!is_whole || decoder.is_between_messages());
        if self.options.encoding == Encoding::Base64 {
            let decode = |text: Vec<u8>| STANDARD.decode(text).expect("padded as a whole");
            return messages.into_iter().map(decode).collect();
        }
        messages
    }
}

fn keys() -> Keys {
    Keys::new(|bytes| bytes.fill(0x55))
}
