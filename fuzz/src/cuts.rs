//! The same bytes in other pieces.
//!
//! A socket hands over bytes as it likes; nothing that reads them may care.

/// How to cut.
#[derive(Debug, Clone, Copy)]
pub enum Cuts<'a> {
    /// In one piece.
    Whole,
    /// Byte by byte.
    Bytes,
    /// One piece of each length, those over and over again; a length of 0 is an empty piece that
    /// is not fed, since no read brings one.
    Lengths(&'a [u8]),
}

impl Cuts<'_> {
    /// The pieces of `wire`, none longer than `most`.
    pub fn pieces<'w>(&self, wire: &'w [u8], most: usize) -> Vec<&'w [u8]> {
        let mut pieces = Vec::new();
        let (mut rest, mut turn) = (wire, 0);
        while !rest.is_empty() {
            let wanted = match self {
                Self::Bytes => 1,
                Self::Lengths(lengths) if lengths.iter().any(|&n| n > 0) => {
                    turn += 1;
                    usize::from(lengths[(turn - 1) % lengths.len()])
                }
                Self::Whole | Self::Lengths(_) => rest.len(),
            };
            let (piece, others) = rest.split_at(wanted.min(most).min(rest.len()));
            rest = others;
            if !piece.is_empty() {
                pieces.push(piece);
            }
        }
        pieces
    }
}
