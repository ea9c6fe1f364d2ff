//! HTTP/1.1 requests on one connection, as a browser without a pool would send them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use serde::Serialize;

use crate::dial::dial;
use crate::print;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where to connect.
    #[arg(long)]
    to: SocketAddr,
    /// The path.
    #[arg(long, default_value = "/")]
    path: String,
    /// Requests on the one connection.
    #[arg(long, default_value_t = 1)]
    count: u32,
}

#[derive(Serialize)]
struct Report {
    status: u16,
    body: String,
    count: u32,
    ms: f64,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let started = Instant::now();
    let stream = dial(args.to, Duration::from_secs(10)).await?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::task::spawn_local(connection);
    let (mut status, mut body) = (0, Bytes::new());
    for _ in 0..args.count {
        let request = Request::get(&args.path).header("host", args.to.to_string()).body(Empty::<Bytes>::new())?;
        sender.ready().await?;
        let answer = sender.send_request(request).await?;
        status = answer.status().as_u16();
        body = answer.into_body().collect().await?.to_bytes();
    }
    let ms = started.elapsed().as_secs_f64() * 1000.0;
    print(&Report { status, body: String::from_utf8_lossy(&body).into_owned(), count: args.count, ms })
}
