//! How a peer's port 15008 is dialled: TCP out of a network namespace, for a while also where it is refused.

use std::net::SocketAddr;
use std::time::Duration;

use ambit_model::Reason;
use ambit_net::netns::NetNs;
use ambit_net::socket::{ConnectError, ConnectOptions, connect};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::Failure;

/// A peer whose port 15008 is refused may just be enrolling: its node can know of it later than this one.
const STARTING: Duration = Duration::from_secs(2);

/// Dials `to` from within `from`.
///
/// # Errors
/// Why it cannot be reached.
pub async fn peer(from: &NetNs, to: SocketAddr, options: &ConnectOptions) -> Result<TcpStream, Failure> {
    let begun = Instant::now();
    let mut pause = Duration::from_millis(10);
    loop {
        match connect(from, to, options).await {
            Err(ConnectError::Refused(_)) if begun.elapsed() < STARTING => {
                sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(200));
            }
            Err(ConnectError::TimedOut(to)) => return Err(Failure::new(Reason::TunnelPortBlocked, to.to_string())),
            other => return Ok(other?),
        }
    }
}
