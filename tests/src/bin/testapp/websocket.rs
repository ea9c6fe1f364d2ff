//! WebSocket messages, each echoed.

use std::net::SocketAddr;
use std::time::Duration;

use ambit_tests::payload::MARKER;
use anyhow::{Context, ensure};
use futures_util::{SinkExt, StreamExt};
use serde::Serialize;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::dial::dial;
use crate::print;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A `websocket` server.
    #[arg(long)]
    to: SocketAddr,
    /// Messages to exchange.
    #[arg(long, default_value_t = 100)]
    messages: u64,
}

#[derive(Serialize)]
struct Report {
    received: u64,
    closed: bool,
}

pub(crate) async fn serve(stream: TcpStream) -> anyhow::Result<()> {
    let mut socket = tokio_tungstenite::accept_async(stream).await?;
    while let Some(message) = socket.next().await {
        let message = message?;
        if message.is_text() || message.is_binary() {
            socket.send(message).await?;
        }
    }
    Ok(())
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let stream = dial(args.to, Duration::from_secs(10)).await?;
    let (mut socket, _) = tokio_tungstenite::client_async(format!("ws://{}/", args.to), stream).await?;
    for number in 0..args.messages {
        let text = Message::text(format!("{} {number}", String::from_utf8_lossy(MARKER)));
        socket.send(text.clone()).await?;
        let echo = socket.next().await.context("the server closed")??;
        ensure!(echo == text, "message {number} came back as {echo:?}");
    }
    socket.close(None).await?;
    let closed = matches!(socket.next().await, Some(Ok(Message::Close(_))));
    print(&Report { received: args.messages, closed })
}
