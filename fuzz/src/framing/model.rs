//! What a framing does, with all bytes at hand and no state.

use ws_tcp_proxy::proto::encoding::Encoding;
use ws_tcp_proxy::proto::frame::{FrameError, Opcode};
use ws_tcp_proxy::proto::framing::{Framing, FramingError, LengthForm, MAX_PREFIX};

use super::{Messages, Said, Side, Wrong};
use crate::base64::Quantum;
use crate::utf8::first_offence;

impl Side {
    /// The stream that messages become, and the first error.
    pub(super) fn model_stream(&self, said: &[Said]) -> (Vec<u8>, Option<FrameError>) {
        let mut stream = Vec::new();
        for said in said {
            let (begun, error) = self.model_of(said);
            stream.extend(begun);
            if error.is_some() {
                return (stream, error);
            }
        }
        (stream, None)
    }

    /// What one message becomes, up to its first mistake.
    fn model_of(&self, said: &Said) -> (Vec<u8>, Option<FrameError>) {
        let form = match self.options.framing {
            Framing::Length(form) => Some(form),
            _ => None,
        };
        let exact = self.options.encoding != Encoding::Base64;
        let most = form.filter(|_| exact).map_or(u64::MAX, LengthForm::limit);
        let limit = match self.options.max_message {
            0 => most,
            max => max.min(most),
        };
        let too_long = match limit == most {
            true => FramingError::BeyondPrefix { announced: 0, limit }.into(),
            false => FrameError::TooLong { announced: 0, limit },
        };
        // Frame after frame, since a header may be one too many.
        let size = said.payload.len() / said.fragments + 1;
        let (mut payload, mut error) = (Vec::new(), None);
        for frame in said.payload.chunks(size) {
            if (payload.len() + frame.len()) as u64 > limit {
                error = Some(too_long);
                break;
            }
            payload.extend_from_slice(frame);
        }
        let wrong = error.is_some();
        let (bytes, offence) = unpacked(self.options.encoding, said.opcode, &payload, !wrong);
        let error = offence.or(error);
        match self.options.framing {
            Framing::Raw => (bytes, error),
            Framing::Lines => match bytes.iter().position(|b| *b == b'\n') {
                Some(at) => (bytes[..at].to_vec(), Some(FramingError::NewlineInside.into())),
                None => (with_end(bytes, error.is_none()), error),
            },
            Framing::Ndjson => {
                let flat = |b: &u8| if b"\r\n".contains(b) { b' ' } else { *b };
                (with_end(bytes.iter().map(flat).collect(), error.is_none()), error)
            }
            Framing::Length(form) => {
                let limit = form.limit();
                if bytes.len() as u64 > limit {
                    let error = FramingError::BeyondPrefix { announced: 0, limit };
                    return (Vec::new(), Some(error.into()));
                }
                // The length is known with the last frame's header, of base64 with its last byte.
                let last = said.payload.len().min(size * (said.fragments - 1));
                let is_known = error.is_none() || exact && !wrong && bytes.len() >= last;
                if !is_known {
                    return (Vec::new(), error);
                }
                let len = if exact { said.payload.len() } else { bytes.len() };
                let mut prefix = [0; MAX_PREFIX];
                let n = form.encode(len as u64, &mut prefix);
                ([&prefix[..n], &bytes].concat(), error)
            }
        }
    }

    /// The messages in a stream, and what is wrong with the rest of it.
    pub(super) fn model_messages(&self, stream: &[u8]) -> Messages {
        let (found, mut wrong) = match self.options.framing {
            Framing::Length(form) => measured(stream, form, self.options.max_message),
            _ => lines(stream),
        };
        let strict = self.options.encoding == Encoding::Text && !self.options.text_lossy;
        let lossy = self.options.encoding == Encoding::Text && self.options.text_lossy;
        let mut messages = Vec::new();
        for (message, is_whole) in found {
            let offence = std::str::from_utf8(&message).err().filter(|_| strict);
            if offence.is_some_and(|error| is_whole || error.error_len().is_some()) {
                wrong = Some(Wrong::NotText);
                break;
            }
            if is_whole {
                messages.push(match lossy {
                    true => String::from_utf8_lossy(&message).into_owned().into_bytes(),
                    false => message,
                });
            }
        }
        (messages, wrong)
    }
}

fn with_end(mut line: Vec<u8>, is_whole: bool) -> Vec<u8> {
    if is_whole {
        line.push(b'\n');
    }
    line
}

/// What a payload stands for, up to the first byte that cannot be.
fn unpacked(
    encoding: Encoding,
    opcode: Opcode,
    payload: &[u8],
    is_whole: bool,
) -> (Vec<u8>, Option<FrameError>) {
    match (encoding, opcode) {
        (Encoding::Base64, Opcode::Text) => unpacked_base64(payload, is_whole),
        // Known with the first byte, or the end.
        (Encoding::Base64, _) if is_whole || !payload.is_empty() => {
            (Vec::new(), Some(FrameError::NotText))
        }
        (Encoding::Base64, _) => (Vec::new(), None),
        (_, Opcode::Text) => match std::str::from_utf8(payload) {
            Err(error) if is_whole || error.error_len().is_some() => {
                let good = first_offence(payload).unwrap_or(payload.len());
                (payload[..good].to_vec(), Some(FrameError::NotUtf8))
            }
            _ => (payload.to_vec(), None),
        },
        _ => (payload.to_vec(), None),
    }
}

fn unpacked_base64(text: &[u8], is_whole: bool) -> (Vec<u8>, Option<FrameError>) {
    let (mut quantum, mut bytes) = (Quantum::default(), Vec::new());
    for &character in text {
        match quantum.push(character) {
            Ok(byte) => bytes.extend(byte),
            // No text begins like this; any other character is one of text.
            Err(_) if matches!(character, 0x80..=0xc1 | 0xf5..) => {
                return (bytes, Some(FrameError::NotUtf8))
            }
            Err(_) => return (bytes, Some(FrameError::NotBase64)),
        }
    }
    let error = (is_whole && !quantum.is_whole()).then_some(FrameError::NotBase64);
    (bytes, error)
}

/// Messages, the last one perhaps without its end, and what is wrong behind them.
type Found = (Vec<(Vec<u8>, bool)>, Option<Wrong>);

fn lines(stream: &[u8]) -> Found {
    let mut lines: Vec<_> =
        stream.split(|b| *b == b'\n').map(|line| (line.to_vec(), true)).collect();
    let cut = lines.pop().filter(|(rest, _)| !rest.is_empty()).map(|(rest, _)| (rest, false));
    lines.retain(|(line, _)| !line.is_empty());
    let wrong = cut.as_ref().map(|_| Wrong::Cut);
    lines.extend(cut);
    (lines, wrong)
}

fn measured(mut stream: &[u8], form: LengthForm, max_message: u64) -> Found {
    let mut found = Vec::new();
    while !stream.is_empty() {
        let (len, used) = match length(stream, form) {
            Ok(Some(length)) => length,
            Ok(None) => return (found, Some(Wrong::Cut)),
            Err(wrong) => return (found, Some(wrong)),
        };
        if max_message > 0 && len > u128::from(max_message) {
            return (found, Some(Wrong::Length));
        }
        stream = &stream[used..];
        if len > stream.len() as u128 {
            found.push((stream.to_vec(), false));
            return (found, Some(Wrong::Cut));
        }
        let (message, rest) = stream.split_at(len as usize);
        found.push((message.to_vec(), true));
        stream = rest;
    }
    (found, None)
}

/// A length and how many bytes it takes; `None` if it is not whole.
fn length(stream: &[u8], form: LengthForm) -> Result<Option<(u128, usize)>, Wrong> {
    let fixed = |n: usize| stream.get(..n);
    let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, b| sum << 8 | u128::from(*b));
    let reversed = |bytes: &[u8]| number(&bytes.iter().rev().copied().collect::<Vec<_>>());
    Ok(match form {
        LengthForm::U16 => fixed(2).map(|bytes| (number(bytes), 2)),
        LengthForm::U16Le => fixed(2).map(|bytes| (reversed(bytes), 2)),
        LengthForm::U32 => fixed(4).map(|bytes| (number(bytes), 4)),
        LengthForm::U32Le => fixed(4).map(|bytes| (reversed(bytes), 4)),
        LengthForm::Varint => {
            let mut value = 0u128;
            for (at, byte) in stream.iter().take(10).enumerate() {
                value |= u128::from(byte & 0x7f) << (7 * at);
                if value > u128::from(u64::MAX) || at == 9 && byte & 0x80 != 0 {
                    return Err(Wrong::Length);
                }
                if byte & 0x80 == 0 {
                    return Ok(Some((value, at + 1)));
                }
            }
            None
        }
    })
}
