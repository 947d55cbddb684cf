//! Close codes and the payload of a Close frame (RFC 6455 §5.5.1, §7.4).
//!
//! Owns which codes may travel. Never decides when to close.

use super::frame::{FrameError, MAX_CONTROL_PAYLOAD};

/// Why a connection ends, as the Close frame says it (§7.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloseCode(u16);

impl CloseCode {
    /// The purpose is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// This endpoint is going away.
    pub const GOING_AWAY: Self = Self(1001);
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// A type of data that cannot be accepted.
    pub const UNSUPPORTED_DATA: Self = Self(1003);
    /// A Close without a code. Never on the wire.
    pub const NO_STATUS: Self = Self(1005);
    /// The end of the stream without a Close. Never on the wire.
    pub const ABNORMAL: Self = Self(1006);
    /// Data that its type or encoding does not allow.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// What the peer asks for is not allowed.
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// A message too big to process.
    pub const MESSAGE_TOO_BIG: Self = Self(1009);
    /// Something failed on our side or behind us.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// Too much is going on here just now (IANA registry).
    pub const TRY_AGAIN_LATER: Self = Self(1013);
    /// What stands behind us does not answer as it should (IANA registry).
    pub const BAD_GATEWAY: Self = Self(1014);

    /// A code that an endpoint may send (§7.4.1, §7.4.2 and the IANA registry, which added 1012 to
    /// 1014): 1000-1003, 1007-1014, 3000-4999.
    pub fn sendable(code: u16) -> Option<Self> {
        match code {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Some(Self(code)),
            _ => None,
        }
    }

    /// The number.
    pub fn get(self) -> u16 {
        self.0
    }
}

/// As [`CloseCode::sendable`], and the error says which code is none.
impl TryFrom<u16> for CloseCode {
    type Error = FrameError;

    fn try_from(code: u16) -> Result<Self, FrameError> {
        Self::sendable(code).ok_or(FrameError::CloseCode(code))
    }
}

/// The payload of a Close frame, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Close<'a> {
    /// The code, or [`CloseCode::NO_STATUS`] for an empty payload.
    pub code: CloseCode,
    /// Words for a log, at most 123 bytes.
    pub reason: &'a str,
}

impl<'a> Close<'a> {
    /// Reads the unmasked payload of a whole Close frame.
    ///
    /// # Errors
    /// A payload of one byte, a code that must not be sent, a reason that is not UTF-8.
    pub fn decode(payload: &'a [u8]) -> Result<Self, FrameError> {
        let (code, reason) = match payload {
            [] => return Ok(Self { code: CloseCode::NO_STATUS, reason: "" }),
            [_] => return Err(FrameError::CloseLength),
            [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
        };
        let code = CloseCode::try_from(code)?;
        let reason = std::str::from_utf8(reason).map_err(|_| FrameError::NotUtf8)?;
        Ok(Self { code, reason })
    }

    /// Writes the payload at the start of `out` and says how long it is. A reason that does not
    /// fit is cut between characters; a code that never travels makes an empty payload.
    pub fn encode(&self, out: &mut [u8; MAX_CONTROL_PAYLOAD]) -> usize {
        if CloseCode::sendable(self.code.0).is_none() {
            return 0;
        }
        let mut len = self.reason.len().min(MAX_CONTROL_PAYLOAD - 2);
        while !self.reason.is_char_boundary(len) {
            len -= 1;
        }
        out[..2].copy_from_slice(&self.code.0.to_be_bytes());
        out[2..2 + len].copy_from_slice(&self.reason.as_bytes()[..len]);
        2 + len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_codes_that_may_travel() {
        for code in [1000, 1003, 1007, 1011, 1012, 1014, 3000, 4999] {
            assert_eq!(Close::decode(&u16::to_be_bytes(code)).unwrap().code.get(), code);
        }
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
            assert_eq!(Close::decode(&u16::to_be_bytes(code)), Err(FrameError::CloseCode(code)));
        }
    }

    #[test]
    fn checks_the_payload() {
        assert_eq!(Close::decode(&[]).unwrap().code, CloseCode::NO_STATUS);
        assert_eq!(Close::decode(&[3]), Err(FrameError::CloseLength));
        assert_eq!(Close::decode(&[3, 232, b'o', b'k']).unwrap().reason, "ok");
        assert_eq!(Close::decode(&[3, 232, 0xff]), Err(FrameError::NotUtf8));
        assert_eq!(Close::decode(&[3, 232, 0xe2, 0x82]), Err(FrameError::NotUtf8));
    }

    #[test]
    fn cuts_a_long_reason_between_characters() {
        let reason = "é".repeat(100);
        let mut out = [0; MAX_CONTROL_PAYLOAD];
        let len = Close { code: CloseCode::NORMAL, reason: &reason }.encode(&mut out);
        assert_eq!(len, 2 + 122);
        assert_eq!(Close::decode(&out[..len]).unwrap().reason, "é".repeat(61));
        for code in [CloseCode::NO_STATUS, CloseCode::ABNORMAL] {
            assert_eq!(Close { code, reason: "lost" }.encode(&mut out), 0, "{code:?}");
        }
    }
}
