//! UTF-8 as the standard library has it, byte by byte.

/// The index of the first byte that makes `bytes` impossible as the beginning of a text.
pub fn first_offence(bytes: &[u8]) -> Option<usize> {
    let error = std::str::from_utf8(bytes).err()?;
    error.error_len()?;
    let at = error.valid_up_to();
    let offends =
        |i: &usize| std::str::from_utf8(&bytes[at..=*i]).is_err_and(|e| e.error_len().is_some());
    (at..bytes.len()).find(offends)
}
