//! The messages of a gRPC call, counted as their bytes go by (gRPC over HTTP/2, "Length-Prefixed-Message"). Knows nothing of
//! what they say.

/// How many messages have begun on one way of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Messages {
    count: u64,
    /// What is left of the message that is going by.
    left: u64,
    /// How much of the next one's prefix has come, and what its length is by that.
    prefix: u8,
    length: u32,
}

/// A flag, and four bytes of length.
const PREFIX: u8 = 5;

impl Messages {
    /// `bytes` go by.
    pub(crate) fn pass(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.left > 0 {
                let here = usize::try_from(self.left).unwrap_or(usize::MAX).min(rest.len());
                self.left = self.left.saturating_sub(u64::try_from(here).unwrap_or(u64::MAX));
                rest = rest.get(here..).unwrap_or_default();
                continue;
            }
            let Some((byte, after)) = rest.split_first() else { return };
            rest = after;
            if self.prefix > 0 {
                self.length = (self.length << 8) | u32::from(*byte);
            }
            self.prefix += 1;
            if self.prefix == PREFIX {
                *self = Self { count: self.count.saturating_add(1), left: self.length.into(), ..Self::default() };
            }
        }
    }

    /// How many there were.
    pub(crate) fn count(self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_however_their_bytes_come() {
        let stream = b"\0\0\0\0\x03abc\0\0\0\0\0\x01\0\0\x01\0".iter().copied().chain([7; 256]).collect::<Vec<u8>>();
        for piece in [1, 2, 3, 5, 7, 100, stream.len()] {
            let mut messages = Messages::default();
            stream.chunks(piece).for_each(|chunk| messages.pass(chunk));
            assert_eq!(messages.count(), 3, "{piece}");
        }
    }
}
