//! Archives as POSIX.1-1988 has them (ustar), of regular files that belong to root and are of no time.

use anyhow::{Context, ensure};

/// Everything in an archive is a multiple of it.
const BLOCK: usize = 512;

/// An archive while it is written.
#[derive(Debug, Default)]
pub(super) struct Tar(Vec<u8>);

impl Tar {
    /// Adds a file with the permissions `mode`.
    ///
    /// # Errors
    /// When its path has more than 100 bytes, or it has more than 8 GiB.
    pub(super) fn file(&mut self, path: &str, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
        ensure!(path.len() <= 100 && bytes.len() < 1 << 33, "{path} does not fit into an archive");
        let mut header = [b' '; BLOCK];
        let mut at = 0;
        // Each field with the bytes that it has in all; what is not written is NUL, but for the checksum, which is counted as
        // blanks and written last.
        for (text, length) in [
            (path.to_owned(), 100),
            (format!("{mode:07o}"), 8),
            (format!("{:07o}", 0), 8),
            (format!("{:07o}", 0), 8),
            (format!("{:011o}", bytes.len()), 12),
            (format!("{:011o}", 0), 12),
            (" ".repeat(8), 8),
            ("0".to_owned(), 1),
            (String::new(), 100),
            ("ustar\0".to_owned() + "00", 8),
            ("root".to_owned(), 32),
            ("root".to_owned(), 32),
            (String::new(), BLOCK - 329),
        ] {
            let field = header.get_mut(at..at + length).context("a header has 512 bytes")?;
            field.fill(0);
            field.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
            at += length;
        }
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        let checksum = format!("{sum:06o}\0 ");
        header.iter_mut().skip(148).zip(checksum.bytes()).for_each(|(to, from)| *to = from);
        self.0.extend_from_slice(&header);
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(BLOCK), 0);
        Ok(())
    }

    /// The whole archive.
    pub(super) fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 2 * BLOCK, 0);
        self.0
    }
}
