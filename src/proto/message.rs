//! Streaming decoder: frames, their fragments and interleaved control frames, to steps
//! (RFC 6455 §5.4, §5.5).
//!
//! Owns what must be remembered between two reads: at most 13 bytes of a cut header, the frame
//! and the message under way, and a control frame until it is whole. A data frame is never held,
//! and its length never sizes a buffer. Payload stays masked where it lies; who moves it unmasks
//! it with [`Piece::mask`].

use super::frame::{FrameError, FrameHeader, Opcode, Role, MAX_CONTROL_PAYLOAD, MAX_HEADER};
use super::mask::Mask;

/// What a data message says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8.
    Text,
    /// Any bytes.
    Binary,
}

impl Kind {
    /// The opcode of the message's first frame.
    pub fn opcode(self) -> Opcode {
        match self {
            Self::Text => Opcode::Text,
            Self::Binary => Opcode::Binary,
        }
    }
}

/// A run of payload bytes that arrived in one read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// What the message is.
    pub kind: Kind,
    /// The message starts with this piece.
    pub begins: bool,
    /// The message ends behind this piece.
    pub ends: bool,
    /// Bytes, possibly none.
    pub len: usize,
    /// Unmasks them, from the first to the last.
    pub mask: Mask,
}

/// What the wire says next. Its tag is a word of its own: hidden in a byte of the piece, it would have
/// the compiler take every piece apart and put it together again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Step {
    /// Payload of a message; the bytes follow, still masked.
    Payload(Piece),
    /// A whole control frame; [`Decoder::control`] has its payload, unmasked.
    Control(Opcode),
}

/// The payload of a control frame (§5.5: at most 125 bytes).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlPayload {
    bytes: [u8; MAX_CONTROL_PAYLOAD],
    /// `len <= MAX_CONTROL_PAYLOAD`
    len: u8,
}

impl ControlPayload {
    /// The bytes that have arrived.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// Where in a frame the stream stands. What is needed in one place is not kept in another.
#[derive(Debug, Clone, Copy)]
enum Frame {
    /// Before a frame.
    Before,
    /// Inside a header: `bytes[..len]` is what earlier reads brought, `0 < len < MAX_HEADER`.
    Header { bytes: [u8; MAX_HEADER], len: u8 },
    /// Behind a header.
    Body(Body),
}

/// What is left of a frame.
#[derive(Debug, Clone, Copy)]
enum Body {
    /// Payload of a message.
    Data { remaining: u64, mask: Mask, fin: bool },
    /// Payload of a control frame.
    Control { opcode: Opcode, remaining: u8, mask: Mask },
}

impl Body {
    /// All that a header announces.
    #[inline]
    fn new(header: FrameHeader) -> Self {
        let mask = header.mask.map_or_else(Mask::default, Mask::new);
        if header.opcode.is_control() {
            // At most 125, or the header would have been refused.
            let remaining = header.payload_len as u8;
            Self::Control { opcode: header.opcode, remaining, mask }
        } else {
            Self::Data { remaining: header.payload_len, mask, fin: header.fin }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Message {
    None,
    Expected(Kind),
    /// A piece of it has been handed out.
    Begun(Kind),
}

/// Decodes what one endpoint receives.
#[derive(Debug)]
pub struct Decoder {
    frame: Frame,
    /// Bytes announced for the message under way, fragments added up.
    announced: u64,
    /// The limit of [`FrameError::TooLong`]; `u64::MAX` is none.
    max_message: u64,
    /// Lent to each control frame that has a payload, and kept for the next.
    control: Option<Box<ControlPayload>>,
    message: Message,
    /// Whose end we are.
    role: Role,
}

impl Decoder {
    /// A decoder for the endpoint in `role`. `max_message` is in bytes, 0 is no limit.
    pub fn new(role: Role, max_message: u64) -> Self {
        Self {
            frame: Frame::Before,
            announced: 0,
            max_message: if max_message == 0 { u64::MAX } else { max_message },
            control: None,
            message: Message::None,
            role,
        }
    }

    /// Whose end we are.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Whether the stream may end here without cutting a frame or a message.
    pub fn is_between_messages(&self) -> bool {
        matches!(self.frame, Frame::Before) && self.message == Message::None
    }

    /// Whether the data frame under way is its message's last.
    pub fn is_in_last_frame(&self) -> bool {
        matches!(self.frame, Frame::Body(Body::Data { fin: true, .. }))
    }

    /// Bytes that the frames of the message under way have announced so far, or of the one that has
    /// ended last.
    pub fn announced(&self) -> u64 {
        self.announced
    }

    /// The payload of the control frame just handed out.
    pub fn control(&self) -> &[u8] {
        self.control.as_deref().map_or(&[], ControlPayload::as_slice)
    }

    /// Takes that payload away, to answer it later; `None` if it is empty.
    pub fn take_control(&mut self) -> Option<Box<ControlPayload>> {
        self.control.take().filter(|payload| payload.len > 0)
    }

    /// Gives a payload's storage back for the next control frame.
    pub fn recycle(&mut self, mut payload: Box<ControlPayload>) {
        // The next control frame may have begun already.
        payload.len = 0;
        self.control.get_or_insert(payload);
    }

    /// Reads on in `wire`. Says how many bytes are used up and what they, and for
    /// [`Step::Payload`] the bytes right behind them, mean; without a step all are used up.
    ///
    /// # Errors
    /// The rule that is broken. The stream has no meaning behind it.
    #[inline]
    pub fn next(&mut self, wire: &[u8]) -> Result<(usize, Option<Step>), FrameError> {
        let mut used = 0;
        loop {
            // The body of a frame that begins here stays in registers on its way to `piece`.
            let body = match self.frame {
                Frame::Body(body) => body,
                Frame::Before => {
                    let rest = &wire[used..];
                    let Some((header, n)) = FrameHeader::decode(rest)? else {
                        self.keep_header(rest);
                        return Ok((wire.len(), None));
                    };
                    used += n;
                    self.admit(header)?;
                    Body::new(header)
                }
                Frame::Header { bytes, len } => {
                    let Some((header, n)) = self.resume_header(bytes, len, wire)? else {
                        return Ok((wire.len(), None));
                    };
                    used += n;
                    self.admit(header)?;
                    Body::new(header)
                }
            };
            match body {
                Body::Data { remaining, mask, fin } => {
                    let available = wire.len() - used;
                    if let Some(piece) = self.piece(remaining, mask, fin, available) {
                        return Ok((used, Some(Step::Payload(piece))));
                    }
                    if available == 0 {
                        return Ok((used, None));
                    }
                }
                Body::Control { opcode, remaining, mask } => {
                    let n = wire[used..].len().min(usize::from(remaining));
                    let left = remaining - n as u8;
                    let mask = self.collect(&wire[used..used + n], mask);
                    used += n;
                    if left > 0 {
                        self.frame = Frame::Body(Body::Control { opcode, remaining: left, mask });
                        return Ok((used, None));
                    }
                    self.frame = Frame::Before;
                    return Ok((used, Some(Step::Control(opcode))));
                }
            }
        }
    }

    /// Remembers a header that is not whole, and so shorter than the longest one.
    fn keep_header(&mut self, wire: &[u8]) {
        if !wire.is_empty() {
            let mut bytes = [0; MAX_HEADER];
            bytes[..wire.len()].copy_from_slice(wire);
            self.frame = Frame::Header { bytes, len: wire.len() as u8 };
        }
    }

    /// A header put together from what earlier reads left and what is there now. Rare: a read ends
    /// inside a header.
    #[cold]
    fn resume_header(
        &mut self,
        mut bytes: [u8; MAX_HEADER],
        len: u8,
        wire: &[u8],
    ) -> Result<Option<(FrameHeader, usize)>, FrameError> {
        let had = usize::from(len);
        let end = MAX_HEADER.min(had + wire.len());
        bytes[had..end].copy_from_slice(&wire[..end - had]);
        let found = FrameHeader::decode(&bytes[..end])?;
        if found.is_none() {
            self.frame = Frame::Header { bytes, len: end as u8 };
        }
        // The bytes kept were too few to be the header, so it ends in `wire`.
        Ok(found.map(|(header, n)| (header, n - had)))
    }

    /// Holds a header against what came before it (§5.1, §5.4).
    #[inline]
    fn admit(&mut self, header: FrameHeader) -> Result<(), FrameError> {
        match (header.mask, self.role) {
            (None, Role::Server) => return Err(FrameError::Unmasked),
            (Some(_), Role::Client) => return Err(FrameError::Masked),
            _ => {}
        }
        match (header.opcode, self.message) {
            (Opcode::Continuation, Message::None) => return Err(FrameError::NothingToContinue),
            (Opcode::Continuation, _) => {}
            (Opcode::Text, Message::None) => self.expect(Kind::Text),
            (Opcode::Binary, Message::None) => self.expect(Kind::Binary),
            (Opcode::Text | Opcode::Binary, _) => return Err(FrameError::Interrupted),
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => {
                if let Some(payload) = &mut self.control {
                    payload.len = 0;
                }
                return Ok(());
            }
        }
        // Below 2^63 each; the sum saturates far above any limit that is set.
        self.announced = self.announced.saturating_add(header.payload_len);
        if self.announced > self.max_message {
            let limit = self.max_message;
            return Err(FrameError::TooLong { announced: self.announced, limit });
        }
        Ok(())
    }

    fn expect(&mut self, kind: Kind) {
        self.message = Message::Expected(kind);
        self.announced = 0;
    }

    /// The run of payload at hand; `None` when it says nothing: no byte and no end.
    #[inline]
    fn piece(&mut self, remaining: u64, mask: Mask, fin: bool, available: usize) -> Option<Piece> {
        let len = usize::try_from(remaining).map_or(available, |r| r.min(available));
        let left = remaining - len as u64;
        self.frame = match left {
            0 => Frame::Before,
            _ => {
                let mut after = mask;
                after.turn(len);
                Frame::Body(Body::Data { remaining: left, mask: after, fin })
            }
        };
        let ends = left == 0 && fin;
        if len == 0 && !ends {
            return None;
        }
        let (kind, begins) = match self.message {
            Message::Expected(kind) => (kind, true),
            Message::Begun(kind) => (kind, false),
            Message::None => return None, // a data frame always has a message
        };
        self.message = if ends { Message::None } else { Message::Begun(kind) };
        Some(Piece { kind, begins, ends, len, mask })
    }

    /// Adds to the control frame under way; the mask as it is behind that.
    fn collect(&mut self, wire: &[u8], mut mask: Mask) -> Mask {
        if !wire.is_empty() {
            let payload = self.control.get_or_insert_with(|| {
                Box::new(ControlPayload { bytes: [0; MAX_CONTROL_PAYLOAD], len: 0 })
            });
            let at = usize::from(payload.len);
            let end = at + wire.len();
            payload.bytes[at..end].copy_from_slice(wire);
            mask.apply(&mut payload.bytes[at..end]);
            payload.len = end as u8;
        }
        mask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a decoder said, with neighbouring pieces of a message joined, so that cuts vanish.
    #[derive(Debug, PartialEq, Clone)]
    enum Said {
        Message(Kind, Vec<u8>, bool),
        Control(Opcode, Vec<u8>),
        Error(FrameError),
    }

    fn listen(decoder: &mut Decoder, wire: &[u8], said: &mut Vec<Said>) {
        let mut at = 0;
        loop {
            let (used, step) = match decoder.next(&wire[at..]) {
                Ok(next) => next,
                Err(error) => return said.push(Said::Error(error)),
            };
            at += used;
            match step {
                None => return assert_eq!(at, wire.len()),
                Some(Step::Control(op)) => said.push(Said::Control(op, decoder.control().to_vec())),
                Some(Step::Payload(mut piece)) => {
                    let mut bytes = wire[at..at + piece.len].to_vec();
                    piece.mask.apply(&mut bytes);
                    at += piece.len;
                    if piece.begins {
                        said.push(Said::Message(piece.kind, bytes, piece.ends));
                        continue;
                    }
                    let open = said.iter_mut().rev().find_map(|s| match s {
                        Said::Message(kind, text, ended @ false) => Some((kind, text, ended)),
                        _ => None,
                    });
                    let (kind, text, ended) = open.expect("a piece continues a message");
                    assert_eq!(*kind, piece.kind);
                    text.extend(bytes);
                    *ended = piece.ends;
                }
            }
        }
    }

    fn said(role: Role, wire: &[u8], cuts: &[usize]) -> Vec<Said> {
        let mut decoder = Decoder::new(role, 1000);
        let mut said = Vec::new();
        let mut start = 0;
        for &cut in cuts.iter().chain([&wire.len()]) {
            listen(&mut decoder, &wire[start..cut], &mut said);
            if matches!(said.last(), Some(Said::Error(_))) {
                break;
            }
            start = cut;
        }
        said
    }

    fn frame(fin: bool, opcode: Opcode, payload: &[u8], key: Option<[u8; 4]>) -> Vec<u8> {
        let mut out = [0; MAX_HEADER];
        let header = FrameHeader { fin, opcode, mask: key, payload_len: payload.len() as u64 };
        let n = header.encode(&mut out);
        let mut body = payload.to_vec();
        key.map_or_else(Mask::default, Mask::new).apply(&mut body);
        [&out[..n], &body].concat()
    }

    fn conversation(key: Option<[u8; 4]>) -> Vec<u8> {
        use Opcode::*;
        [
            frame(false, Text, b"Hel", key),
            frame(true, Ping, b"are you there", key),
            frame(false, Continuation, b"", key),
            frame(true, Continuation, b"lo", key),
            frame(true, Binary, &[7; 200], key),
            frame(true, Binary, b"", key),
            frame(true, Pong, b"", key),
            frame(false, Binary, b"", key),
            frame(true, Continuation, b"", key),
            frame(true, Close, &[3, 232], key),
        ]
        .concat()
    }

    #[test]
    fn cuts_do_not_matter() {
        for (role, key) in [(Role::Server, Some([9, 8, 7, 6])), (Role::Client, None)] {
            let wire = conversation(key);
            let whole = said(role, &wire, &[]);
            assert_eq!(whole.len(), 7);
            assert_eq!(whole[0], Said::Message(Kind::Text, b"Hello".to_vec(), true));
            assert_eq!(whole[1], Said::Control(Opcode::Ping, b"are you there".to_vec()));
            assert_eq!(whole[4], Said::Control(Opcode::Pong, vec![]));
            assert_eq!(whole[6], Said::Control(Opcode::Close, vec![3, 232]));
            for first in 0..wire.len() {
                for second in (first..wire.len()).step_by(7) {
                    assert_eq!(said(role, &wire, &[first, second]), whole, "{first} {second}");
                }
            }
            let bytes: Vec<usize> = (0..wire.len()).collect();
            assert_eq!(said(role, &wire, &bytes), whole);
        }
    }

    #[test]
    fn names_the_broken_rule_whatever_the_cuts() {
        use Opcode::*;
        let key = Some([1, 2, 3, 4]);
        let ok = frame(true, Binary, b"before", key);
        let cases = [
            (frame(true, Binary, b"x", None), FrameError::Unmasked),
            (frame(true, Continuation, b"x", key), FrameError::NothingToContinue),
            (
                [frame(false, Text, b"a", key), frame(true, Text, b"b", key)].concat(),
                FrameError::Interrupted,
            ),
            (
                frame(true, Binary, &[0; 1001], key),
                FrameError::TooLong { announced: 1001, limit: 1000 },
            ),
            (
                [frame(false, Text, &[0; 600], key), frame(true, Continuation, &[0; 401], key)]
                    .concat(),
                FrameError::TooLong { announced: 1001, limit: 1000 },
            ),
            (vec![0xc2, 0x80], FrameError::ReservedBits(0x40)),
        ];
        for (bad, error) in cases {
            let wire = [&ok[..], &bad].concat();
            let whole = said(Role::Server, &wire, &[]);
            assert_eq!(whole[0], Said::Message(Kind::Binary, b"before".to_vec(), true));
            assert_eq!(whole.last(), Some(&Said::Error(error)));
            let bytes: Vec<usize> = (0..wire.len()).collect();
            assert_eq!(said(Role::Server, &wire, &bytes), whole);
        }
        let wire = frame(true, Binary, b"x", key);
        assert_eq!(said(Role::Client, &wire, &[]), [Said::Error(FrameError::Masked)]);
    }

    #[test]
    fn a_frame_of_2_to_the_62_costs_nothing() {
        let mut decoder = Decoder::new(Role::Client, 0);
        let mut out = [0; MAX_HEADER];
        let header =
            FrameHeader { fin: true, opcode: Opcode::Binary, mask: None, payload_len: 1 << 62 };
        let n = header.encode(&mut out);
        assert_eq!(decoder.next(&out[..n]), Ok((n, None)));
        let mask = Mask::default();
        let piece = Piece { kind: Kind::Binary, begins: true, ends: false, len: 3, mask };
        assert_eq!(decoder.next(b"abc"), Ok((0, Some(Step::Payload(piece)))));
        assert!(!decoder.is_between_messages());
    }

    /// What comes back is no part of the control frame whose header has been read meanwhile.
    #[test]
    fn storage_that_comes_back_is_empty() {
        let mut decoder = Decoder::new(Role::Client, 0);
        let first = frame(true, Opcode::Ping, &[1; 125], None);
        decoder.next(&first).unwrap();
        let payload = decoder.take_control().unwrap();
        let second = frame(true, Opcode::Ping, &[2; 125], None);
        decoder.next(&second[..2]).unwrap();
        decoder.recycle(payload);
        decoder.next(&second[2..]).unwrap();
        assert_eq!(decoder.control(), [2; 125]);
    }

    #[test]
    fn a_message_of_exactly_the_limit_passes() {
        let wire = frame(true, Opcode::Binary, &[1; 1000], Some([0; 4]));
        let expected = [Said::Message(Kind::Binary, vec![1; 1000], true)];
        assert_eq!(said(Role::Server, &wire, &[]), expected);
    }
}
