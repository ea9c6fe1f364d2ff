//! HTTP/2 with prior knowledge: plain requests, and gRPC in its framing (a flag, a length, a message).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ambit_tests::payload::MARKER;
use anyhow::{Context, ensure};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::task::{JoinSet, spawn_local};
use tokio::time::interval;

use crate::dial::dial;
use crate::print;
use crate::summary::Latency;

const GRPC: &str = "application/grpc";

#[derive(clap::Args)]
pub(crate) struct GrpcArgs {
    /// An `http2` server.
    #[arg(long)]
    to: SocketAddr,
    /// Messages to stream.
    #[arg(long, default_value_t = 100)]
    messages: u64,
    /// Milliseconds from one message to the next.
    #[arg(long, default_value_t = 1)]
    every: u64,
}

#[derive(clap::Args)]
pub(crate) struct H2cArgs {
    /// An `http2` server.
    #[arg(long)]
    to: SocketAddr,
    /// Requests, all at once on one connection.
    #[arg(long, default_value_t = 100)]
    requests: u64,
}

#[derive(Serialize)]
struct GrpcReport {
    sent: u64,
    received: u64,
    status: String,
}

#[derive(Serialize)]
struct H2cReport {
    ok: u64,
    latency: Latency,
}

/// Answers every request of one connection.
pub(crate) async fn serve(stream: TcpStream) -> anyhow::Result<()> {
    let mut connection = h2::server::handshake(stream).await?;
    while let Some(request) = connection.accept().await {
        let (request, respond) = request?;
        spawn_local(async move {
            // A request that its client gives up is the client's to report.
            let _ = answer(request, respond).await;
        });
    }
    Ok(())
}

async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) -> anyhow::Result<()> {
    let is_grpc = request.headers().get("content-type").is_some_and(|kind| kind == GRPC);
    if !is_grpc {
        let mut body = respond.send_response(Response::new(()), false)?;
        return Ok(body.send_data(Bytes::from_static(MARKER), true)?);
    }
    let answer = Response::builder().header("content-type", GRPC).body(())?;
    let mut sending = respond.send_response(answer, false)?;
    let mut receiving = request.into_body();
    while let Some(message) = receiving.data().await {
        let message = message?;
        receiving.flow_control().release_capacity(message.len())?;
        sending.send_data(message, false)?;
    }
    let trailers = HeaderMap::from_iter([("grpc-status".parse()?, HeaderValue::from_static("0"))]);
    Ok(sending.send_trailers(trailers)?)
}

/// `testapp grpc`
pub(crate) async fn grpc(args: GrpcArgs) -> anyhow::Result<()> {
    let mut client = connect(args.to).await?;
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("http://{}/ambit.Test/Echo", args.to))
        .header("content-type", GRPC)
        .header("te", "trailers")
        .body(())?;
    let (answer, sending) = client.send_request(request, false)?;
    let (sent, (received, status)) =
        tokio::try_join!(send_messages(sending, args.messages, args.every), receive_messages(answer))?;
    print(&GrpcReport { sent, received, status })
}

async fn send_messages(mut sending: SendStream<Bytes>, messages: u64, every: u64) -> anyhow::Result<u64> {
    let mut ticks = interval(Duration::from_millis(every));
    for number in 0..messages {
        ticks.tick().await;
        sending.send_data(message(number)?, false)?;
    }
    sending.send_data(Bytes::new(), true)?;
    Ok(messages)
}

async fn receive_messages(answer: h2::client::ResponseFuture) -> anyhow::Result<(u64, String)> {
    let answer = answer.await?;
    ensure!(answer.status() == 200, "the answer is {}", answer.status());
    let mut body = answer.into_body();
    let (mut received, mut buffer) = (0, BytesMut::new());
    while let Some(bytes) = body.data().await {
        let bytes = bytes?;
        body.flow_control().release_capacity(bytes.len())?;
        buffer.extend_from_slice(&bytes);
        let expected = message(received)?;
        while buffer.len() >= expected.len() {
            let expected = message(received)?;
            ensure!(buffer.starts_with(&expected), "message {received} is another");
            buffer.advance(expected.len());
            received += 1;
        }
    }
    ensure!(buffer.is_empty(), "{} bytes are left over", buffer.len());
    let trailers = body.trailers().await?.context("no trailers")?;
    let status = trailers.get("grpc-status").context("no grpc-status")?;
    Ok((received, status.to_str()?.to_owned()))
}

/// A gRPC message: not compressed, its length, its bytes. All are of one length.
fn message(number: u64) -> anyhow::Result<Bytes> {
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(MARKER.len() + 8)?);
    framed.put_slice(MARKER);
    framed.put_u64(number);
    Ok(framed.freeze())
}

/// `testapp h2c`
pub(crate) async fn h2c(args: H2cArgs) -> anyhow::Result<()> {
    let client = connect(args.to).await?;
    let mut running = JoinSet::new();
    for _ in 0..args.requests {
        running.spawn_local(request(client.clone(), args.to));
    }
    let mut durations = Vec::new();
    while let Some(done) = running.join_next().await {
        durations.push(done??);
    }
    print(&H2cReport { ok: args.requests, latency: Latency::of(durations) })
}

/// Sends one request, and returns how long its answer took to the end.
pub(crate) async fn request(client: SendRequest<Bytes>, to: SocketAddr) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let mut client = client.ready().await?;
    let (answer, _) = client.send_request(Request::get(format!("http://{to}/")).body(())?, true)?;
    let mut body = answer.await?.into_body();
    let mut received = Vec::new();
    while let Some(bytes) = body.data().await {
        let bytes = bytes?;
        body.flow_control().release_capacity(bytes.len())?;
        received.extend_from_slice(&bytes);
    }
    ensure!(received == MARKER, "another body");
    Ok(begun.elapsed())
}

/// A connection for requests.
pub(crate) async fn connect(to: SocketAddr) -> anyhow::Result<SendRequest<Bytes>> {
    let stream = dial(to, Duration::from_secs(10)).await?;
    let (client, connection) = h2::client::handshake(stream).await?;
    spawn_local(connection);
    Ok(client.ready().await?)
}
