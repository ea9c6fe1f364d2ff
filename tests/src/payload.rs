//! Bytes whose every position is known, for transfers that are checked on arrival; each KiB begins with a marker that a
//! capture can look for.

/// What every payload of the tests carries, and what must never be seen on the link between nodes.
pub const MARKER: &[u8] = b"AMBIT-MARKER-IN-THE-CLEAR";

const BLOCK: usize = 1024;

/// The endless sequence of bytes, from its beginning.
#[derive(Clone, Debug)]
pub struct Pattern {
    offset: u64,
    block: [u8; BLOCK],
}

/// The bytes differ from the sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The position, from the beginning of the sequence, of the chunk that holds the first wrong byte.
    pub near: u64,
}

impl Default for Pattern {
    fn default() -> Self {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut block = [0; BLOCK];
        for byte in &mut block {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *byte = state.to_le_bytes()[3];
        }
        for (byte, marker) in block.iter_mut().zip(MARKER) {
            *byte = *marker;
        }
        Self { offset: 0, block }
    }
}

impl Pattern {
    /// Fills `buffer` with the bytes that come next.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        let mut rest = buffer;
        while !rest.is_empty() {
            let piece = self.piece(rest.len());
            let (head, tail) = rest.split_at_mut(piece.len());
            head.copy_from_slice(piece);
            rest = tail;
        }
    }

    /// Checks that `bytes` are what comes next.
    ///
    /// # Errors
    /// When they are not.
    pub fn check(&mut self, bytes: &[u8]) -> Result<(), Mismatch> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let near = self.offset;
            let piece = self.piece(rest.len());
            let (head, tail) = rest.split_at(piece.len());
            if head != piece {
                return Err(Mismatch { near });
            }
            rest = tail;
        }
        Ok(())
    }

    /// How many bytes have been filled or checked.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// At most `limit` bytes of the block that the offset is in, from the offset on.
    fn piece(&mut self, limit: usize) -> &[u8] {
        let number = self.offset / BLOCK as u64;
        for (byte, digit) in self.block.iter_mut().skip(MARKER.len()).zip(number.to_le_bytes()) {
            *byte = digit;
        }
        let start = usize::try_from(self.offset % BLOCK as u64).unwrap_or_default();
        let end = BLOCK.min(start.saturating_add(limit));
        self.offset += end.saturating_sub(start) as u64;
        self.block.get(start..end).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_filled_in_any_pieces_checks_in_any_other() {
        let mut bytes = vec![0; 10_000];
        let mut pattern = Pattern::default();
        for piece in bytes.chunks_mut(777) {
            pattern.fill(piece);
        }
        let mut check = Pattern::default();
        for piece in bytes.chunks(1_025) {
            assert_eq!(check.check(piece), Ok(()));
        }
        assert_eq!(check.offset(), 10_000);
        assert_eq!(memchr::memmem::find_iter(&bytes, MARKER).count(), 10);
    }

    #[test]
    fn a_lost_or_changed_byte_is_found() {
        let mut bytes = vec![0; 4_096];
        Pattern::default().fill(&mut bytes);
        let lost: Vec<u8> = bytes[..2_000].iter().chain(&bytes[2_001..]).copied().collect();
        assert_eq!(Pattern::default().check(&lost), Err(Mismatch { near: 1_024 }));
        bytes[4_095] ^= 1;
        assert_eq!(Pattern::default().check(&bytes), Err(Mismatch { near: 3_072 }));
    }
}
