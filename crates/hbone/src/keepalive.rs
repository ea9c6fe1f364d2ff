//! When a silent peer is pinged and when it is given up. The decision is pure; [`Pulse`] gives it a clock and pings.
//!
//! Any byte from the peer proves that it lives, so a busy tunnel is never pinged. That is not only cheaper: an
//! endpoint that must answer a ping before it reads on, while its peer does the same, can stall a tunnel that is
//! full in both directions.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::{Config, Error};

/// What is due.
#[derive(Debug, PartialEq, Eq)]
enum Due {
    /// Nothing before the instant.
    Wait(Instant),
    /// A ping now; look again at the instant.
    Ping(Instant),
    /// The peer is gone, having been silent this long.
    Gone(Duration),
    /// The peer has not sent one byte since the tunnel was made.
    NeverSpoke,
}

/// The decision.
#[derive(Debug)]
struct Keepalive {
    interval: Duration,
    timeout: Duration,
    seen: u64,
    awaits: Awaits,
}

/// What the instant of the next look is.
#[derive(Debug)]
enum Awaits {
    FirstByte,
    Silence,
    SignOfLife,
}

impl Keepalive {
    fn tick(&mut self, now: Instant, received: u64) -> Due {
        if received != self.seen {
            self.seen = received;
            self.awaits = Awaits::Silence;
            return Due::Wait(now + self.interval);
        }
        match self.awaits {
            Awaits::FirstByte => Due::NeverSpoke,
            Awaits::Silence => {
                self.awaits = Awaits::SignOfLife;
                Due::Ping(now + self.timeout)
            }
            Awaits::SignOfLife => Due::Gone(self.interval + self.timeout),
        }
    }
}

/// The keepalive of one tunnel, with its timer.
pub(crate) struct Pulse {
    keepalive: Keepalive,
    handshake_timeout: Duration,
    timer: Pin<Box<Sleep>>,
    pings: Option<h2::PingPong>,
}

impl Pulse {
    /// Starts to watch a peer that has yet to send its first byte if `received` is 0.
    pub(crate) fn new(config: &Config, pings: Option<h2::PingPong>, received: u64) -> Self {
        let handshake_timeout = config.handshake_timeout;
        let (awaits, first_look) = match received {
            0 => (Awaits::FirstByte, handshake_timeout),
            _ => (Awaits::Silence, config.ping_interval),
        };
        Self {
            keepalive: Keepalive {
                interval: config.ping_interval,
                timeout: config.ping_timeout,
                seen: received,
                awaits,
            },
            handshake_timeout,
            timer: Box::pin(sleep_until(Instant::now() + first_look)),
            pings,
        }
    }

    /// Ready once the peer, from which `received` bytes have come, is to be given up.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, received: impl Fn() -> u64) -> Poll<Error> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let next = match self.keepalive.tick(Instant::now(), received()) {
                Due::Wait(next) => next,
                Due::Ping(next) => {
                    self.ping(cx);
                    next
                }
                Due::Gone(silence) => return Poll::Ready(Error::PeerGone { silence }),
                Due::NeverSpoke => return Poll::Ready(Error::HandshakeTimeout { after: self.handshake_timeout }),
            };
            self.timer.as_mut().reset(next);
        }
    }

    fn ping(&mut self, cx: &mut Context<'_>) {
        let Some(pings) = &mut self.pings else { return };
        // The pong of the last ping has to be taken before there can be another.
        let _ = pings.poll_pong(cx);
        // One is still under way otherwise, which does as well.
        let _ = pings.send_ping(h2::Ping::opaque());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);
    const TIMEOUT: Duration = Duration::from_secs(20);

    fn keepalive(awaits: Awaits) -> Keepalive {
        Keepalive { interval: INTERVAL, timeout: TIMEOUT, seen: 0, awaits }
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_peer_is_never_pinged_and_a_silent_one_once() {
        let mut keepalive = keepalive(Awaits::Silence);
        let start = Instant::now();
        assert_eq!(keepalive.tick(start, 5), Due::Wait(start + INTERVAL));
        assert_eq!(keepalive.tick(start + INTERVAL, 9), Due::Wait(start + 2 * INTERVAL));
        assert_eq!(keepalive.tick(start + 2 * INTERVAL, 9), Due::Ping(start + 2 * INTERVAL + TIMEOUT));
        assert_eq!(keepalive.tick(start + 2 * INTERVAL + TIMEOUT, 9), Due::Gone(INTERVAL + TIMEOUT));
    }

    #[tokio::test(start_paused = true)]
    async fn any_byte_answers_a_ping() {
        let mut keepalive = keepalive(Awaits::Silence);
        let start = Instant::now();
        assert_eq!(keepalive.tick(start, 0), Due::Ping(start + TIMEOUT));
        assert_eq!(keepalive.tick(start + TIMEOUT, 1), Due::Wait(start + TIMEOUT + INTERVAL));
        assert_eq!(keepalive.tick(start + TIMEOUT + INTERVAL, 1), Due::Ping(start + 2 * TIMEOUT + INTERVAL));
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_never_spoke_is_told_apart() {
        assert_eq!(keepalive(Awaits::FirstByte).tick(Instant::now(), 0), Due::NeverSpoke);
    }
}
