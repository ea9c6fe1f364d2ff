//! Whether a stream of bytes is a sequence of TLS records (RFC 8446 section 5.1). Knows nothing of what is in them.

/// The longest record: 2^14 bytes and 256 of expansion (RFC 8446 section 5.2).
const LONGEST: u16 = (1 << 14) + 256;
const APPLICATION_DATA: u8 = 23;

/// Follows one direction of a connection record by record.
#[derive(Clone, Debug, Default)]
pub(super) struct Records {
    header: Vec<u8>,
    /// Bytes of the present record still to come.
    left: usize,
    count: u64,
    application_data: u64,
    violation: Option<String>,
}

impl Records {
    /// Takes the next bytes; after a violation everything is passed over.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.violation.is_none() {
            if self.left > 0 {
                let skipped = self.left.min(bytes.len());
                self.left -= skipped;
                bytes = bytes.get(skipped..).unwrap_or_default();
                continue;
            }
            let wanted = (5 - self.header.len()).min(bytes.len());
            let (head, rest) = bytes.split_at(wanted);
            self.header.extend_from_slice(head);
            bytes = rest;
            if let [kind, major, minor, high, low] = *self.header.as_slice() {
                self.record(kind, (major, minor), u16::from_be_bytes([high, low]));
                self.header.clear();
            }
        }
    }

    /// Records seen.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Records of application data seen.
    pub(super) fn application_data(&self) -> u64 {
        self.application_data
    }

    /// What was no record, if anything.
    pub(super) fn violation(&self) -> Option<&str> {
        self.violation.as_deref()
    }

    fn record(&mut self, kind: u8, version: (u8, u8), length: u16) {
        if !(20..=23).contains(&kind) || !matches!(version, (3, 1) | (3, 3)) || length > LONGEST {
            self.violation = Some(format!("type {kind}, version {version:?}, length {length} is no TLS record"));
            return;
        }
        self.count += 1;
        self.application_data += u64::from(kind == APPLICATION_DATA);
        self.left = usize::from(length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_followed_however_they_are_cut() {
        let stream = [&[22, 3, 1, 0, 2, 9, 9][..], &[23, 3, 3, 1, 0], &[7; 256], &[23, 3, 3, 0, 0]].concat();
        for size in 1..stream.len() {
            let mut records = Records::default();
            stream.chunks(size).for_each(|piece| records.feed(piece));
            assert_eq!((records.count(), records.application_data(), records.violation()), (3, 2, None));
        }
    }

    #[test]
    fn clear_text_is_no_record() {
        let mut records = Records::default();
        records.feed(b"GET / HTTP/1.1\r\n");
        assert!(records.violation().is_some());
    }
}
