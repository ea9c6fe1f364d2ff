//! What a tunnel may use: windows, frames, streams, patience. Knows nothing of where the numbers were set.

use std::time::Duration;

/// The largest flow-control window there is (RFC 9113 section 6.9.1).
const MAX_WINDOW: u32 = (1 << 31) - 1;

/// The bounds of SETTINGS_MAX_FRAME_SIZE (RFC 9113 section 6.5.2).
const FRAME_SIZES: (u32, u32) = (1 << 14, (1 << 24) - 1);

/// What one tunnel may use (features.md E-07, E-08). Numbers out of HTTP/2's bounds are moved to the nearest in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Bytes that a peer may send on one stream ahead of its reader. One sleeping reader costs this much memory.
    pub stream_window: u32,
    /// Bytes that a peer may send on all streams together ahead of their readers. Never less in effect than
    /// `max_concurrent_streams` times `stream_window`, so that sleeping readers cannot use it up.
    pub connection_window: u32,
    /// The largest frame, in bytes, that a peer may send.
    pub frame_size: u32,
    /// Bytes taken from the writer of one stream ahead of the transport.
    pub send_buffer: usize,
    /// Streams at once: what a server grants, and what a client opens at most (or fewer, if its peer grants fewer).
    pub max_concurrent_streams: u32,
    /// Bytes of headers that a request or a response may have, as HTTP/2 counts them (RFC 9113 section 6.5.2).
    pub max_header_list_size: u32,
    /// Streams that a peer may have opened and reset again before the server has come to see them; one more ends
    /// the tunnel with ENHANCE_YOUR_CALM.
    pub max_pending_resets: usize,
    /// After this long without a byte from the peer it is asked for a sign of life.
    pub ping_interval: Duration,
    /// After this long without an answer to that the peer is gone.
    pub ping_timeout: Duration,
    /// How long the peer may take for its first bytes (the client's preface, the server's SETTINGS).
    pub handshake_timeout: Duration,
    /// How long streams may go on once a server drains; `None` for as long as they like. When it has passed, the
    /// rest are ended with [`Error::Drained`](crate::Error::Drained) and the transport is shut down in good order.
    pub drain_timeout: Option<Duration>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            stream_window: 512 << 10,
            connection_window: 50 << 20,
            frame_size: 64 << 10,
            send_buffer: 256 << 10,
            max_concurrent_streams: 100,
            max_header_list_size: 16 << 10,
            max_pending_resets: 100,
            ping_interval: Duration::from_secs(10),
            ping_timeout: Duration::from_secs(20),
            handshake_timeout: Duration::from_secs(10),
            drain_timeout: None,
        }
    }
}

impl Config {
    pub(crate) fn stream_window(&self) -> u32 {
        self.stream_window.clamp(1, MAX_WINDOW)
    }

    /// The tunnel's window while `held` streams have a reader here.
    pub(crate) fn connection_window(&self, held: usize) -> u32 {
        let streams = u32::try_from(held).unwrap_or(u32::MAX).max(self.max_concurrent_streams);
        streams.saturating_mul(self.stream_window()).max(self.connection_window).clamp(1, MAX_WINDOW)
    }

    pub(crate) fn frame_size(&self) -> u32 {
        self.frame_size.clamp(FRAME_SIZES.0, FRAME_SIZES.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeping_readers_never_add_up_to_the_tunnels_window() {
        let config = Config { connection_window: 1, ..Config::default() };
        for held in [0, 1, 99, 100, 101, 1000] {
            let window = u64::from(config.connection_window(held));
            let streams = u64::from(config.max_concurrent_streams).max(held as u64);
            assert!(window >= streams * u64::from(config.stream_window()), "{held} streams, window {window}");
        }
        assert_eq!(config.connection_window(usize::MAX), MAX_WINDOW);
    }

    #[test]
    fn nonsense_is_moved_into_bounds() {
        let config = Config { stream_window: 0, frame_size: 1, connection_window: u32::MAX, ..Config::default() };
        assert_eq!((config.stream_window(), config.frame_size()), (1, 16_384));
        assert_eq!(config.connection_window(0), MAX_WINDOW);
    }
}
