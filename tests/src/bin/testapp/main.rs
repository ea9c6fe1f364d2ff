//! `testapp`: the small servers and clients that the tests, the demo and the benchmark run in pods. It knows nothing of
//! a mesh; what it prints last is one line of JSON.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "its product is what it prints")]

mod ask;
mod bookinfo;
mod datagram;
mod dial;
mod dns;
mod duplex;
mod enter;
mod failure;
mod fetch;
mod forward;
mod greeting;
mod hold;
mod hostile;
mod http2;
mod inspect;
mod load;
mod pause;
mod peer;
mod requests;
mod room;
mod sequence;
mod serve;
mod socks;
mod summary;
mod websocket;

use std::future::Future;

use clap::{Parser, Subcommand};
use serde::Serialize;

/// Servers and clients for tests.
#[derive(Parser)]
struct Testapp {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Enters a network namespace and a cgroup and becomes another program there.
    Enter(enter::Args),
    /// Enters the file system of a cluster's node, or makes it, and becomes another program there.
    Room(room::Args),
    /// Takes connections and dials each on from another network namespace.
    Forward(forward::Args),
    /// Does nothing until it is told to stop.
    Pause,
    /// Serves protocols, each on a port of its own.
    Serve(serve::Args),
    /// Serves one of the services of Bookinfo.
    Bookinfo(bookinfo::Args),
    /// Plays one end of a connection by a script and prints what it sees.
    Peer(peer::Args),
    /// Sends one HTTP/1.1 request, or several on one connection.
    Fetch(fetch::Args),
    /// Sends requests as a list says and prints what came of each.
    Ask(ask::Args),
    /// Sends a request on a new connection at fixed intervals until it is told to stop.
    Requests(requests::Args),
    /// Keeps connections open to an echo server, and sends something on all of them for each line of its input.
    Hold(hold::Args),
    /// Sends numbered messages on many connections to an echo server until it is told to stop.
    Sequence(sequence::Args),
    /// Speaks HBONE by itself, rightly or with a defect: as a client or as a server.
    Hostile(hostile::Args),
    /// Sends and receives at once, checking every byte.
    Duplex(duplex::Args),
    /// Reads what a server says first, on one connection after the other.
    Greeting(greeting::Args),
    /// Sends UDP datagrams, each answered.
    Datagram(datagram::DatagramArgs),
    /// Asks a DNS server one question.
    Dns(dns::Args),
    /// Asks a SOCKS5 server for a connection.
    Socks(socks::Args),
    /// Sends ICMP echo requests.
    Ping(datagram::PingArgs),
    /// Streams messages by gRPC, each answered.
    Grpc(http2::GrpcArgs),
    /// Sends HTTP/2 requests with prior knowledge, all at once on one connection.
    H2c(http2::H2cArgs),
    /// Exchanges messages over a WebSocket.
    Websocket(websocket::Args),
    /// Produces load and measures it.
    Load(load::Args),
}

fn main() -> anyhow::Result<()> {
    match Testapp::parse().command {
        Command::Enter(args) => enter::run(&args),
        Command::Room(args) => room::run(&args),
        Command::Forward(args) => forward::run(&args),
        Command::Pause => block_on(pause::run()),
        Command::Serve(args) => block_on(serve::run(args)),
        Command::Bookinfo(args) => block_on(bookinfo::run(args)),
        Command::Peer(args) => block_on(peer::run(args)),
        Command::Fetch(args) => block_on(fetch::run(args)),
        Command::Ask(args) => block_on(ask::run(args)),
        Command::Requests(args) => block_on(requests::run(args)),
        Command::Hold(args) => block_on(hold::run(args)),
        Command::Sequence(args) => block_on(sequence::run(args)),
        Command::Hostile(args) => block_on(hostile::run(args)),
        Command::Duplex(args) => block_on(duplex::run(args)),
        Command::Greeting(args) => block_on(greeting::run(args)),
        Command::Datagram(args) => block_on(datagram::run(args)),
        Command::Dns(args) => block_on(dns::run(args)),
        Command::Socks(args) => block_on(socks::run(args)),
        Command::Ping(args) => datagram::ping(&args),
        Command::Grpc(args) => block_on(http2::grpc(args)),
        Command::H2c(args) => block_on(http2::h2c(args)),
        Command::Websocket(args) => block_on(websocket::run(args)),
        Command::Load(args) => block_on(load::run(args)),
    }
}

/// Runs `work` on this thread, with the tasks that it spawns.
fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, work)
}

/// Prints `value` as one line of JSON.
fn print(value: &impl Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(value)?);
    Ok(())
}

/// Completes when this process is asked to stop (SIGTERM, SIGINT).
async fn asked_to_stop() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    Ok(())
}
