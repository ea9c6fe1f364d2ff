//! Looks for markers in bytes that come in pieces.

use std::sync::Arc;

use memchr::memmem::Finder;

/// The markers that are looked for.
#[derive(Clone, Debug)]
pub(super) struct Markers(Arc<[Finder<'static>]>);

impl Markers {
    pub(super) fn new(markers: &[&[u8]]) -> Self {
        Self(markers.iter().map(|marker| Finder::new(marker).into_owned()).collect())
    }

    /// The markers themselves.
    pub(super) fn texts(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(Finder::needle)
    }

    fn longest(&self) -> usize {
        self.texts().map(<[u8]>::len).max().unwrap_or_default()
    }
}

/// Counts the markers in one stream of bytes, across the borders of its pieces.
#[derive(Debug)]
pub(super) struct Scan {
    markers: Markers,
    hits: Vec<u64>,
    /// The last bytes seen: one less than the longest marker has.
    tail: Vec<u8>,
}

impl Scan {
    pub(super) fn new(markers: &Markers) -> Self {
        Self { markers: markers.clone(), hits: vec![0; markers.0.len()], tail: Vec::new() }
    }

    /// How often each marker has been seen.
    pub(super) fn hits(&self) -> &[u64] {
        &self.hits
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) {
        let keep = self.markers.longest().saturating_sub(1);
        let border = self.tail.len();
        self.tail.extend_from_slice(bytes.get(..keep.min(bytes.len())).unwrap_or_default());
        for (marker, hits) in self.markers.0.iter().zip(&mut self.hits) {
            let across = |&at: &usize| at < border && at + marker.needle().len() > border;
            *hits += marker.find_iter(&self.tail).filter(across).count() as u64;
            *hits += marker.find_iter(bytes).count() as u64;
        }
        if bytes.len() >= keep {
            self.tail.clear();
            self.tail.extend_from_slice(bytes.get(bytes.len() - keep..).unwrap_or_default());
        } else {
            let surplus = self.tail.len().saturating_sub(keep);
            self.tail.drain(..surplus);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_counts_once_however_it_is_cut() {
        let text = b"..SECRET....SECRETab..ab";
        for size in 1..text.len() {
            let mut scan = Scan::new(&Markers::new(&[b"SECRET", b"ab"]));
            text.chunks(size).for_each(|piece| scan.feed(piece));
            assert_eq!(scan.hits(), [2, 2], "in pieces of {size}");
        }
    }
}
