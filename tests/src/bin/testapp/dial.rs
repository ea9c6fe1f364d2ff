//! Connecting, with the errors named.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Connects to `to` within `patience`.
pub(crate) async fn dial(to: SocketAddr, patience: Duration) -> anyhow::Result<TcpStream> {
    let stream = timeout(patience, TcpStream::connect(to))
        .await
        .unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut)));
    let stream = stream.with_context(|| format!("cannot connect to {to}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
