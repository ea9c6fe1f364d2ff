//! What a stream has received ahead of its reader, with small pieces copied together so that a sleeping reader costs
//! its bytes and not its frames. Knows nothing of flow control.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// A piece at least this long is kept as it came; a shorter one is copied, as it would hold on to a buffer far
/// larger than itself.
const WORTH_KEEPING: usize = 8 << 10;

/// Small pieces are copied together into pieces of at most this length.
const PIECE: usize = 64 << 10;

/// Bytes in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    pieces: VecDeque<Bytes>,
    /// The small pieces that came after all of `pieces`.
    tail: BytesMut,
    len: usize,
}

impl Inbox {
    /// The bytes in it.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn push(&mut self, piece: Bytes) {
        self.len += piece.len();
        if piece.len() >= WORTH_KEEPING || self.tail.len() + piece.len() > PIECE {
            self.close_tail();
        }
        if piece.len() >= WORTH_KEEPING {
            self.pieces.push_back(piece);
        } else {
            self.tail.extend_from_slice(&piece);
        }
    }

    /// The next bytes, never empty.
    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        if self.pieces.is_empty() {
            self.close_tail();
        }
        let piece = self.pieces.pop_front()?;
        self.len -= piece.len();
        Some(piece)
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            self.pieces.push_back(std::mem::take(&mut self.tail).freeze());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_goes_in_comes_out(steps in proptest::collection::vec((0..20_000_usize, any::<bool>()), 1..60)) {
            let (mut inbox, mut pushed, mut popped) = (Inbox::default(), Vec::new(), Vec::new());
            for (i, (len, pop)) in steps.into_iter().enumerate() {
                let piece = vec![i as u8; len];
                pushed.extend_from_slice(&piece);
                inbox.push(Bytes::from(piece));
                if pop && let Some(piece) = inbox.pop() {
                    prop_assert!(!piece.is_empty());
                    popped.extend_from_slice(&piece);
                }
                prop_assert_eq!(inbox.len(), pushed.len() - popped.len());
            }
            while let Some(piece) = inbox.pop() {
                popped.extend_from_slice(&piece);
            }
            prop_assert_eq!((inbox.len(), popped), (0, pushed));
        }
    }

    #[test]
    fn single_bytes_do_not_hold_on_to_what_they_were_part_of() {
        let mut inbox = Inbox::default();
        for _ in 0..PIECE * 2 {
            inbox.push(Bytes::from_static(b"x"));
        }
        assert_eq!(inbox.len(), PIECE * 2);
        let capacity: usize = inbox.tail.capacity() + inbox.pieces.iter().map(Bytes::len).sum::<usize>();
        assert!(inbox.pieces.len() <= 2 && capacity <= PIECE * 4, "{} pieces, {capacity}", inbox.pieces.len());
    }
}
