//! From which port the proxy connects to an application in the name of a client whose own connections to that application
//! end in the same namespace: at the proxy, which took them over.
//!
//! Both connections are between the client's address and the application's address and port, the one seen from this side
//! and the other from that. Had they the same port, the kernel would take the segments of the one for those of the other,
//! and the younger connection would hang. The kernel chooses ports for both by the same secret, so that left to itself it
//! does choose the same ones. Hence ports that clients are not given: those outside the range that Linux chooses from,
//! 32768 to 60999 (`net.ipv4.ip_local_port_range`).

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::iter;
use std::ops::Range;

/// The port that stands for «whichever the kernel chooses».
pub const ANY: u16 = 0;
/// Above the clients' range, where servers hardly ever listen; then, should these be taken, below it.
const RANGES: [Range<u32>; 2] = [61_000..65_536, 16_384..32_768];
/// Ports of a range that are tried before it counts as full.
const TRIES: usize = 64;

thread_local! {
    /// How many ports this thread has chosen, from a random beginning: so that a port comes round as late as it can.
    static CHOSEN: Cell<u32> = Cell::new(u32::try_from(RandomState::new().hash_one(()) >> 33).unwrap_or_default());
}

/// The ports to try, one after the other.
pub(crate) fn apart() -> impl Iterator<Item = u16> {
    RANGES.iter().flat_map(|range| iter::repeat_with(|| next(range)).take(TRIES))
}

fn next(range: &Range<u32>) -> u16 {
    let chosen = CHOSEN.get();
    CHOSEN.set(chosen.wrapping_add(1));
    let port = range.start + chosen % (range.end - range.start);
    u16::try_from(port).unwrap_or(ANY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_one_that_clients_are_given_and_none_comes_back_soon() {
        let tried: Vec<u16> = apart().collect();
        assert_eq!(tried.len(), 2 * TRIES);
        assert!(tried.iter().all(|port| *port > 60_999 || (16_384..32_768).contains(port)), "{tried:?}");
        let mut distinct = tried.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), tried.len());
        let again = apart().next();
        assert!(!again.is_some_and(|port| tried.contains(&port)), "{again:?} is tried again at once");
    }
}
