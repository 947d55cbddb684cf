//! Messages of chunks as the protobuf wire format describes them, once more and as plain as can be.
//!
//! The model of a decoder that never holds a message: this one wants all of it, from its start.

use ws_tcp_proxy::proto::encoding::ChunkError;

/// What a message delivers, and the first thing that is wrong with it. Of a message that is not
/// complete yet, that is [`ChunkError::CutOff`], or nothing where it might end.
pub fn parse(message: &[u8]) -> (Vec<u8>, Option<ChunkError>) {
    let mut reader = Reader { rest: message, data: Vec::new() };
    while !reader.rest.is_empty() {
        if let Err(error) = reader.field() {
            return (reader.data, Some(error));
        }
    }
    (reader.data, None)
}

/// A field of wire type 2.
pub fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    assert!((1..16).contains(&number), "the tag is one byte");
    let mut field = vec![number * 8 + 2];
    let mut len = bytes.len();
    while len >= 128 {
        field.push((len % 128) as u8 + 128);
        len /= 128;
    }
    field.push(len as u8);
    field.extend_from_slice(bytes);
    field
}

struct Reader<'a> {
    rest: &'a [u8],
    data: Vec<u8>,
}

impl Reader<'_> {
    fn field(&mut self) -> Result<(), ChunkError> {
        let tag = self.varint()?;
        if tag >= 1 << 32 {
            return Err(ChunkError::Tag);
        }
        let (number, wire_type) = (tag / 8, tag % 8);
        if number == 0 {
            return Err(ChunkError::FieldZero);
        }
        match wire_type {
            3 | 4 => return Err(ChunkError::Group),
            6 | 7 => return Err(ChunkError::WireType),
            2 => {}
            _ if number == 1 => return Err(ChunkError::NotBytes),
            _ => {}
        }
        match wire_type {
            0 => drop(self.varint()?),
            1 => drop(self.take(8)?),
            5 => drop(self.take(4)?),
            _ => {
                let len = self.varint()?;
                let there = self.rest.len() as u128;
                let bytes = self.take(len.min(there))?;
                if number == 1 {
                    self.data.extend(bytes);
                }
                if len > there {
                    return Err(ChunkError::CutOff);
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, n: u128) -> Result<Vec<u8>, ChunkError> {
        if n > self.rest.len() as u128 {
            return Err(ChunkError::CutOff);
        }
        let (taken, rest) = self.rest.split_at(n as usize);
        self.rest = rest;
        Ok(taken.to_vec())
    }

    /// Seven bits a byte, the lowest first, in at most ten bytes and 64 bits.
    fn varint(&mut self) -> Result<u128, ChunkError> {
        let mut value = 0;
        for i in 0..10 {
            let byte = u128::from(self.take(1)?[0]);
            value += byte % 128 << (7 * i);
            if byte < 128 {
                return if value >> 64 == 0 { Ok(value) } else { Err(ChunkError::Varint) };
            }
        }
        Err(ChunkError::Varint)
    }
}
