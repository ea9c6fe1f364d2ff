//! Valid input with a few changes: gets further into a reader than what is random from end to end.

/// A change: where (as a part of 65,536 of the length), how many bytes it replaces, and by what.
pub type Edit = (u16, u8, Vec<u8>);

/// `valid` with `edits`, one after the other.
#[must_use]
pub fn mutated(valid: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut bytes = valid.to_vec();
    for (place, length, by) in edits {
        let start = (usize::from(*place) * bytes.len()) >> 16;
        let end = start.saturating_add(usize::from(*length)).min(bytes.len());
        bytes.splice(start..end, by.iter().copied());
    }
    bytes
}
