//! Buffers that sockets are read into: each worker keeps a few, and a connection holds one only while bytes are in it.
//! Knows nothing of sockets.

use std::cell::RefCell;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};

/// The sizes of buffer, and how many of each a thread keeps while nobody uses them: at most 1.5 MiB in all.
const KEPT: [(usize, usize); 3] = [(16 << 10, 16), (64 << 10, 4), (256 << 10, 4)];
/// A chunk up to this size is copied out of its buffer, so that a peer who stops reading pins no more than he was sent.
const COPIED: usize = 4 << 10;

thread_local! {
    static SPARE: RefCell<[Vec<Box<[u8]>>; 3]> = const { RefCell::new([Vec::new(), Vec::new(), Vec::new()]) };
}

/// How large a buffer a connection reads into: grows while reads fill it, shrinks when they leave most of it empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(usize);

impl Size {
    /// The size for the next read, after a read of `filled` bytes into a buffer of this one.
    pub(crate) fn after(self, filled: usize) -> Self {
        let length = self.bytes();
        if filled == length {
            Self((self.0 + 1).min(KEPT.len() - 1))
        } else if filled < length / 4 {
            Self(self.0.saturating_sub(1))
        } else {
            self
        }
    }

    /// Bytes in a buffer of this size.
    fn bytes(self) -> usize {
        KEPT.get(self.0).map_or(0, |(bytes, _)| *bytes)
    }
}

/// Reads of `from` what is there, never nothing, into a buffer of `size`; `Ok(None)` at its end.
///
/// # Errors
/// The reader's.
pub fn poll_read(
    from: Pin<&mut impl AsyncRead>,
    size: &mut Size,
    cx: &mut Context<'_>,
) -> Poll<std::io::Result<Option<Bytes>>> {
    let mut buffer = Buffer::take(*size);
    let mut room = ReadBuf::new(buffer.room());
    ready!(from.poll_read(cx, &mut room))?;
    let filled = room.filled().len();
    if filled == 0 {
        return Poll::Ready(Ok(None));
    }
    *size = size.after(filled);
    Poll::Ready(Ok(Some(buffer.into_chunk(filled))))
}

/// A buffer of this thread's, which takes it back when dropped.
pub(crate) struct Buffer {
    bytes: Box<[u8]>,
    size: Size,
    filled: usize,
}

impl Buffer {
    /// A buffer of `size`.
    pub(crate) fn take(size: Size) -> Self {
        let spare = SPARE.with_borrow_mut(|spare| spare.get_mut(size.0).and_then(Vec::pop));
        let bytes = spare.unwrap_or_else(|| vec![0; size.bytes()].into_boxed_slice());
        Self { bytes, size, filled: 0 }
    }

    /// All of the buffer, to be read into.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// The first `filled` bytes as a chunk that brings the buffer back once nobody holds it.
    pub(crate) fn into_chunk(mut self, filled: usize) -> Bytes {
        self.filled = filled;
        if filled <= COPIED { Bytes::copy_from_slice(self.as_ref()) } else { Bytes::from_owner(self) }
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.filled).unwrap_or_default()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = mem::take(&mut self.bytes);
        // A thread that is ending keeps nothing.
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if let (Some(spare), Some((_, kept))) = (spare.get_mut(self.size.0), KEPT.get(self.size.0))
                && spare.len() < *kept
            {
                spare.push(bytes);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spare() -> [usize; 3] {
        SPARE.with_borrow(|spare| [0, 1, 2].map(|size| spare[size].len()))
    }

    #[test]
    fn one_buffer_serves_all_connections_in_turn() {
        for _ in 0..100 {
            let mut buffer = Buffer::take(Size::default());
            buffer.room()[..5000].fill(7);
            let chunk = buffer.into_chunk(5000);
            assert_eq!(spare(), [0, 0, 0]);
            assert_eq!(chunk, vec![7; 5000]);
            drop(chunk);
            assert_eq!(spare(), [1, 0, 0]);
        }
    }

    #[test]
    fn a_small_chunk_keeps_no_buffer() {
        let chunk = Buffer::take(Size::default()).into_chunk(COPIED);
        assert_eq!((chunk.len(), spare()), (COPIED, [1, 0, 0]));
    }

    #[test]
    fn a_thread_keeps_a_bounded_number() {
        for (size, (_, kept)) in KEPT.iter().enumerate() {
            let taken: Vec<_> = (0..2 * kept).map(|_| Buffer::take(Size(size))).collect();
            drop(taken);
            assert_eq!(spare()[size], *kept);
        }
        assert!(KEPT.iter().map(|(bytes, kept)| bytes * kept).sum::<usize>() <= 3 << 19);
    }

    #[test]
    fn the_size_follows_the_reads() {
        let (small, middle, large) = (Size(0), Size(1), Size(2));
        assert_eq!((small.after(16 << 10), small.after(100)), (middle, small));
        assert_eq!(
            (middle.after(64 << 10), middle.after(16 << 10), middle.after((16 << 10) - 1)),
            (large, middle, small)
        );
        assert_eq!((large.after(256 << 10), large.after(1)), (large, middle));
    }
}
