//! Lines: where a newline is.

/// Bytes that are looked at together: enough for vectors, few enough to look again at one by one.
const BLOCK: usize = 64;

/// The index of the first `byte`.
///
/// Most blocks have none, and for that alone each is read from its beginning to its end, without a
/// branch: so the compiler uses vectors.
pub fn find(byte: u8, bytes: &[u8]) -> Option<usize> {
    let has = |block: &[u8]| block.iter().fold(0, |any, b| any | u8::from(*b == byte)) != 0;
    let blocks = bytes.chunks_exact(BLOCK).take_while(|block| !has(block)).count();
    let at = blocks * BLOCK;
    let words = bytes[at..].chunks_exact(8).take_while(|word| !has(word)).count();
    let at = at + words * 8;
    bytes[at..].iter().position(|b| *b == byte).map(|n| at + n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    #[test]
    fn finds_the_first_of_them_wherever_it_is() {
        let mut random = Random::new("find");
        for len in 0..300 {
            let mut bytes = vec![b'.'; len];
            assert_eq!(find(b'\n', &bytes), None);
            for at in (0..len).rev() {
                bytes[at] = b'\n';
                assert_eq!(find(b'\n', &bytes), Some(at), "{len}");
                if random.below(2) == 0 {
                    bytes[at] = 0x0a ^ 0x80; // its high bit set
                    let next = bytes.iter().position(|b| *b == b'\n');
                    assert_eq!(find(b'\n', &bytes), next, "{len}");
                }
            }
        }
    }
}
