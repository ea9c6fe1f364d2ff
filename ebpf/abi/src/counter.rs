//! What the programs count, and what each count is called as a metric label.

/// A counter of the programs, as an index into the counters' map.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Counter {
    /// A connect of an enrolled pod was redirected to the proxy.
    Captured = 0,
    /// A connect of an enrolled pod went to itself (loopback, or an address of its own).
    Local = 1,
    /// A connect in an enrolled pod was the proxy's own.
    Proxy = 2,
    /// A connect was refused because its destination could not be remembered (out of memory).
    StorageFull = 3,
    /// A captured connection was refused because too many wait to be accepted ([`MAX_FLOWS`](crate::MAX_FLOWS)).
    FlowsFull = 4,
    /// A connection from outside was steered to the pod's plaintext listener.
    Steered = 5,
    /// A connection of the proxy towards an application was let through.
    Relayed = 6,
    /// A connection from outside was refused because the proxy is not listening.
    NoListener = 7,
    /// What came to a port for captured connections or queries was refused because it had not been captured.
    Stray = 8,
    /// A connection of the proxy towards an application could not be remembered; it is steered back to the proxy.
    OwnFull = 9,
    /// A UDP query of an enrolled pod was redirected to the proxy, or a socket's queries by its connect.
    Query = 10,
}

impl Counter {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// Every counter, in the order of the map.
    pub const ALL: [Self; 11] = [
        Self::Captured,
        Self::Local,
        Self::Proxy,
        Self::StorageFull,
        Self::FlowsFull,
        Self::Steered,
        Self::Relayed,
        Self::NoListener,
        Self::Stray,
        Self::OwnFull,
        Self::Query,
    ];

    /// The counter's name, as a metric label has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Captured => "captured",
            Self::Local => "local",
            Self::Proxy => "proxy",
            Self::StorageFull => "storage_full",
            Self::FlowsFull => "flows_full",
            Self::Steered => "steered",
            Self::Relayed => "relayed",
            Self::NoListener => "no_listener",
            Self::Stray => "stray",
            Self::OwnFull => "own_full",
            Self::Query => "query",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_stands_at_its_own_index() {
        for (index, counter) in Counter::ALL.into_iter().enumerate() {
            assert_eq!(counter as usize, index, "{}", counter.name());
        }
    }
}
