//! One direction of a TCP connection put together from its segments: in order, without repetitions, gaps noticed.

use std::collections::BTreeMap;

/// Bytes that may wait for a missing segment before the segment counts as lost to the capture.
const PATIENCE: usize = 64 << 20;

/// Puts segments into order.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// The sequence number that comes next, and the offset in the stream that it stands for.
    next: Option<(u32, u64)>,
    /// What came too early, by its offset.
    early: BTreeMap<u64, Vec<u8>>,
    waiting: usize,
    from_start: bool,
    lost: u64,
}

impl Stream {
    /// The connection begins: data follows `sequence` (RFC 9293 section 3.4, the SYN takes one number).
    pub(super) fn start(&mut self, sequence: u32) {
        if self.next.is_none() {
            self.next = Some((sequence.wrapping_add(1), 0));
            self.from_start = true;
        }
    }

    /// True if the capture saw the connection begin.
    pub(super) fn saw_start(&self) -> bool {
        self.from_start
    }

    /// Bytes that the capture has not seen though later ones.
    pub(super) fn missing(&self) -> u64 {
        let (_, offset) = self.next.unwrap_or_default();
        let first = self.early.keys().next();
        self.lost + first.map_or(0, |first| first.saturating_sub(offset))
    }

    /// Takes a segment and hands `sink` what is now in order.
    pub(super) fn segment(&mut self, sequence: u32, payload: &[u8], mut sink: impl FnMut(&[u8])) {
        if payload.is_empty() {
            return;
        }
        let (next, offset) = *self.next.get_or_insert((sequence, 0));
        // Sequence numbers wrap: the distance to the expected one is what counts, as a signed number.
        let distance = i64::from(sequence.wrapping_sub(next).cast_signed());
        if distance > 0 {
            self.waiting += payload.len();
            self.early.insert(offset.saturating_add_signed(distance), payload.to_vec());
            if self.waiting > PATIENCE {
                self.skip(&mut sink);
            }
            return;
        }
        let repeated = usize::try_from(-distance).unwrap_or(usize::MAX);
        if let Some(new) = payload.get(repeated..).filter(|new| !new.is_empty()) {
            self.advance(new, &mut sink);
            self.release(&mut sink);
        }
    }

    fn advance(&mut self, bytes: &[u8], sink: &mut impl FnMut(&[u8])) {
        if let Some((next, offset)) = &mut self.next {
            *next = next.wrapping_add(u32::try_from(bytes.len()).unwrap_or_default());
            *offset += bytes.len() as u64;
            sink(bytes);
        }
    }

    fn release(&mut self, sink: &mut impl FnMut(&[u8])) {
        while let Some((_, offset)) = self.next
            && let Some(entry) = self.early.first_entry().filter(|entry| *entry.key() <= offset)
        {
            let (start, bytes) = entry.remove_entry();
            self.waiting -= bytes.len();
            let repeated = usize::try_from(offset - start).unwrap_or(usize::MAX);
            if let Some(new) = bytes.get(repeated..).filter(|new| !new.is_empty()) {
                self.advance(new, sink);
            }
        }
    }

    /// Gives the missing bytes up and goes on with what follows them.
    fn skip(&mut self, sink: &mut impl FnMut(&[u8])) {
        let (Some((next, offset)), Some(first)) = (&mut self.next, self.early.keys().next()) else { return };
        let gap = first.saturating_sub(*offset);
        self.lost += gap;
        *offset += gap;
        *next = next.wrapping_add(u32::try_from(gap).unwrap_or_default());
        self.release(sink);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put_together(start: u32, segments: &[(u32, &[u8])]) -> (Vec<u8>, u64) {
        let mut stream = Stream::default();
        let mut bytes = Vec::new();
        stream.start(start);
        for (sequence, payload) in segments {
            stream.segment(start.wrapping_add(*sequence), payload, |new| bytes.extend_from_slice(new));
        }
        (bytes, stream.missing())
    }

    #[test]
    fn order_repetition_and_wrapping_do_not_matter() {
        let segments: [(u32, &[u8]); 6] = [(1, b"ab"), (5, b"ef"), (1, b"ab"), (2, b"bcd"), (4, b"def"), (7, b"g")];
        for start in [0, 1_000, u32::MAX - 3] {
            assert_eq!(put_together(start, &segments), (b"abcdefg".to_vec(), 0));
        }
    }

    #[test]
    fn what_the_capture_missed_is_counted() {
        assert_eq!(put_together(9, &[(1, b"ab"), (10, b"z")]), (b"ab".to_vec(), 7));
    }

    #[test]
    fn a_connection_that_was_open_before_has_no_start() {
        let mut stream = Stream::default();
        stream.segment(77, b"x", |_| ());
        assert!(!stream.saw_start());
    }
}
