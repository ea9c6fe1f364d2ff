//! Bytes of one connection, counted by whoever relays it and read by whoever reports it, on one worker.

use std::cell::Cell;

/// The bytes that a connection has carried so far.
#[derive(Debug, Default)]
pub struct Traffic {
    sent: Cell<u64>,
    received: Cell<u64>,
}

impl Traffic {
    /// Counts `bytes` relayed from the client (who dialled) to the server.
    pub fn add_sent(&self, bytes: u64) {
        self.sent.set(self.sent.get().saturating_add(bytes));
    }

    /// Counts `bytes` relayed from the server to the client.
    pub fn add_received(&self, bytes: u64) {
        self.received.set(self.received.get().saturating_add(bytes));
    }

    /// Bytes from the client to the server.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.get()
    }

    /// Bytes from the server to the client.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received.get()
    }
}
