//! The header `traceparent` (W3C Trace Context section 3.2): the trace that a connection belongs to.

use std::fmt;

/// The position of a connection in a trace. Neither of its identifiers is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Traceparent {
    trace_id: u128,
    parent_id: u64,
    flags: u8,
}

impl Traceparent {
    /// A new trace, not sampled, out of 24 random bytes.
    #[must_use]
    pub fn new(random: [u8; 24]) -> Self {
        let number = |bytes: &[u8]| bytes.iter().fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
        let (trace, parent) = random.split_at(16);
        let parent = u64::try_from(number(parent)).unwrap_or(u64::MAX);
        // Zero means "invalid" for both.
        Self { trace_id: number(trace).max(1), parent_id: parent.max(1), flags: 0 }
    }

    /// Reads a header's value; of a version from the future that which version 00 has. `None` if it is not valid.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let mut fields = std::str::from_utf8(value).ok()?.trim().split('-');
        let mut field = |digits: usize| {
            let field = fields.next()?;
            let is_hex = field.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            (field.len() == digits && is_hex).then(|| u128::from_str_radix(field, 16).ok())?
        };
        let version = u8::try_from(field(2)?).ok()?;
        let trace_id = field(32)?;
        let parent_id = u64::try_from(field(16)?).ok()?;
        let flags = u8::try_from(field(2)?).ok()?;
        let is_valid = trace_id != 0 && parent_id != 0 && version != 0xff && (version != 0 || fields.next().is_none());
        is_valid.then_some(Self { trace_id, parent_id, flags })
    }

    /// The trace's identifier, never zero.
    #[must_use]
    pub fn trace_id(self) -> u128 {
        self.trace_id
    }

    /// The parent's identifier in the trace, never zero.
    #[must_use]
    pub fn parent_id(self) -> u64 {
        self.parent_id
    }
}

impl fmt::Display for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.parent_id, self.flags)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn is_written_in_version_00_with_flags_00() {
        let mut random = [0xab; 24];
        random[0] = 0;
        assert_eq!(Traceparent::new(random).to_string(), "00-00ababababababababababababababab-abababababababab-00");
        assert_eq!(Traceparent::new([0; 24]).to_string(), "00-00000000000000000000000000000001-0000000000000001-00");
    }

    #[test]
    fn what_is_not_valid_is_not_read() {
        let valid = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(Traceparent::parse(valid.as_bytes()).unwrap().to_string(), valid);
        let future = "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more";
        assert_eq!(Traceparent::parse(future.as_bytes()).unwrap().to_string(), valid);
        for invalid in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(Traceparent::parse(invalid.as_bytes()), None, "{invalid}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(random: [u8; 24]) {
            let traceparent = Traceparent::new(random);
            prop_assert_eq!(Traceparent::parse(traceparent.to_string().as_bytes()), Some(traceparent));
        }
    }
}
