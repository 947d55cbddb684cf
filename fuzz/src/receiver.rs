//! What a session must make of a wire, and what it does make of it.
//!
//! The model goes byte by byte and knows only the rules: which encoding needs text, what text is,
//! what a message of chunks is, what a Close may say.

use ws_tcp_proxy::buf::hot::Hot;
use ws_tcp_proxy::proto::encoding::{ChunkError, Encoding};
use ws_tcp_proxy::proto::frame::{FrameError, Opcode, Role};
use ws_tcp_proxy::proto::mask::Keys;
use ws_tcp_proxy::proto::message::{Decoder, Kind, Step};
use ws_tcp_proxy::session::{Options, Session, Stop, MAX_CONTROL_FRAME};

use crate::base64::Quantum;
use crate::chunk;
use crate::cuts::Cuts;
use crate::ear::{Ear, Said};

/// What became of a wire.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What was delivered.
    pub bytes: Vec<u8>,
    /// The payloads of the Pings.
    pub pings: Vec<Vec<u8>>,
    /// The peer's Close, or the rule it broke.
    pub end: Option<Result<(), FrameError>>,
}

/// Feeds a session as the loop does: it reads, and takes what there is until all is used up.
pub fn receive(role: Role, options: Options, wire: &[u8], cuts: Cuts) -> Outcome {
    let mut session = Session::new(role, options);
    let mut keys = Keys::new(|bytes| bytes.fill(0x55));
    let mut hot = Hot::new(wire.len().max(1));
    let mut outcome = Outcome::default();
    for piece in cuts.pieces(wire, usize::MAX) {
        hot.fill(piece.len()).copy_from_slice(piece);
        hot.commit(piece.len());
        loop {
            let before = hot.input().len();
            let stop = session.decode(&mut hot, &mut keys, &mut { u32::MAX });
            let moved = before > hot.input().len() || !hot.output().is_empty();
            outcome.bytes.extend_from_slice(hot.output());
            hot.drop_output();
            match stop {
                Ok(Stop::Drained) => break,
                Ok(Stop::Full | Stop::Piece { .. }) => {
                    assert!(moved, "it stops without having done anything")
                }
                Ok(Stop::Reply) => outcome.pings.push(pong(role, &mut session, &mut keys)),
                Ok(Stop::Closed) => outcome.end = Some(Ok(())),
                Err(error) => outcome.end = Some(Err(error)),
            }
            if outcome.end.is_some() {
                return outcome;
            }
        }
        assert!(hot.input().is_empty(), "drained, and yet there is input");
    }
    outcome
}

/// The payload of the Pong that is due.
fn pong(role: Role, session: &mut Session, keys: &mut Keys) -> Vec<u8> {
    let mut frame = [0; MAX_CONTROL_FRAME];
    let len = session.control(&mut frame, keys).expect("it stopped for a reply");
    let mut ear = Ear::new(role.peer(), 0);
    ear.hear(&frame[..len]);
    match &ear.said[..] {
        [Said::Control(Opcode::Pong, payload)] => payload.clone(),
        other => panic!("a Ping is answered by {other:?}"),
    }
}

/// What must become of the wire where a stream of bytes is behind the session.
pub fn expected(role: Role, max_message: u64, encoding: Encoding, wire: &[u8]) -> Outcome {
    let mut decoder = Decoder::new(role, max_message);
    let mut model = Model { encoding, ..Model::default() };
    for byte in wire {
        let mut rest = std::slice::from_ref(byte);
        loop {
            let (used, step) = match decoder.next(rest) {
                Ok(next) => next,
                Err(error) => return model.fail(error),
            };
            rest = &rest[used..];
            let said = match step {
                None => break,
                Some(Step::Control(opcode)) => model.control(opcode, decoder.control()),
                Some(Step::Payload(piece)) => {
                    let mut bytes = rest[..piece.len].to_vec();
                    rest = &rest[piece.len..];
                    let mut mask = piece.mask;
                    mask.apply(&mut bytes);
                    model.payload(piece.kind, &bytes, piece.ends)
                }
            };
            if let Err(error) = said {
                return model.fail(error);
            }
            if model.outcome.end.is_some() {
                return model.outcome;
            }
        }
    }
    model.outcome
}

struct Model {
    encoding: Encoding,
    outcome: Outcome,
    /// The character under way.
    character: Vec<u8>,
    quantum: Quantum,
    /// The message of chunks under way, and where in the outcome what it delivers begins.
    message: Vec<u8>,
    delivered: usize,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            encoding: Encoding::Binary,
            outcome: Outcome::default(),
            character: Vec::new(),
            quantum: Quantum::default(),
            message: Vec::new(),
            delivered: 0,
        }
    }
}

impl Model {
    fn fail(mut self, error: FrameError) -> Outcome {
        self.outcome.end = Some(Err(error));
        self.outcome
    }

    fn payload(&mut self, kind: Kind, bytes: &[u8], ends: bool) -> Result<(), FrameError> {
        if kind == Kind::Binary && self.encoding == Encoding::Base64 {
            return Err(FrameError::NotText);
        }
        if self.encoding == Encoding::Chunk {
            return match kind {
                Kind::Text => Err(FrameError::NotBinary),
                Kind::Binary => self.chunks(bytes, ends),
            };
        }
        for &byte in bytes {
            if kind == Kind::Text {
                self.text(byte)?;
            }
            match self.encoding {
                Encoding::Base64 => {
                    let byte = self.quantum.push(byte).map_err(|_| FrameError::NotBase64)?;
                    self.outcome.bytes.extend(byte);
                }
                Encoding::Binary | Encoding::Text | Encoding::Chunk => {
                    self.outcome.bytes.push(byte);
                }
            }
        }
        if ends && !self.character.is_empty() {
            return Err(FrameError::NotUtf8);
        }
        if ends && !std::mem::take(&mut self.quantum).is_whole() {
            return Err(FrameError::NotBase64);
        }
        Ok(())
    }

    /// Reads the message again from its start, whenever there is more of it.
    fn chunks(&mut self, bytes: &[u8], ends: bool) -> Result<(), FrameError> {
        self.message.extend_from_slice(bytes);
        let (data, flaw) = chunk::parse(&self.message);
        self.outcome.bytes.truncate(self.delivered);
        self.outcome.bytes.extend(data);
        if ends {
            self.message.clear();
            self.delivered = self.outcome.bytes.len();
        }
        match flaw {
            Some(ChunkError::CutOff) if !ends => Ok(()),
            Some(flaw) => Err(flaw.into()),
            None => Ok(()),
        }
    }

    fn text(&mut self, byte: u8) -> Result<(), FrameError> {
        self.character.push(byte);
        match std::str::from_utf8(&self.character) {
            Ok(_) => self.character.clear(),
            Err(error) if error.error_len().is_none() => {}
            Err(_) => return Err(FrameError::NotUtf8),
        }
        Ok(())
    }

    fn control(&mut self, opcode: Opcode, payload: &[u8]) -> Result<(), FrameError> {
        match (opcode, payload) {
            (Opcode::Ping, _) => self.outcome.pings.push(payload.to_vec()),
            (Opcode::Close, [_]) => return Err(FrameError::CloseLength),
            (Opcode::Close, [high, low, reason @ ..]) => {
                let code = u16::from_be_bytes([*high, *low]);
                if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                    return Err(FrameError::CloseCode(code));
                }
                if std::str::from_utf8(reason).is_err() {
                    return Err(FrameError::NotUtf8);
                }
                self.outcome.end = Some(Ok(()));
            }
            (Opcode::Close, []) => self.outcome.end = Some(Ok(())),
            _ => {}
        }
        Ok(())
    }
}
