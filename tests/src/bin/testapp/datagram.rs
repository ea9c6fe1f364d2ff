//! What is not TCP: UDP datagrams that are answered, and ICMP echoes.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use ambit_tests::payload::MARKER;
use anyhow::{Context, ensure};
use serde::Serialize;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::print;

const PATIENCE: Duration = Duration::from_secs(2);
/// Type, code, checksum, identifier and sequence number (RFC 792, RFC 4443 section 4.1).
const ICMP_HEADER: usize = 8;

#[derive(clap::Args)]
pub(crate) struct DatagramArgs {
    /// A `datagram` server.
    #[arg(long)]
    to: SocketAddr,
    /// Datagrams, from a connected socket and again from one that is not.
    #[arg(long, default_value_t = 10)]
    count: u16,
}

#[derive(clap::Args)]
pub(crate) struct PingArgs {
    /// Whom to ping.
    #[arg(long)]
    to: IpAddr,
    /// Echo requests, one after the other.
    #[arg(long, default_value_t = 3)]
    count: u16,
}

#[derive(Serialize)]
struct Report {
    received: u16,
    /// The client's address as the server saw it last.
    #[serde(skip_serializing_if = "Option::is_none")]
    seen_as: Option<IpAddr>,
}

/// A socket that receives datagrams sent to `address`.
pub(crate) fn bind(address: SocketAddr) -> anyhow::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind(address).with_context(|| format!("cannot bind {address}"))?;
    socket.set_nonblocking(true)?;
    Ok(UdpSocket::from_std(socket)?)
}

/// Answers each datagram with its sender's address and what it held.
pub(crate) async fn serve(socket: UdpSocket) -> anyhow::Result<()> {
    let mut buffer = vec![0; 65_536];
    loop {
        let (length, peer) = socket.recv_from(&mut buffer).await?;
        let mut answer = format!("{} ", peer.ip().to_canonical()).into_bytes();
        answer.extend_from_slice(buffer.get(..length).unwrap_or_default());
        socket.send_to(&answer, peer).await?;
    }
}

/// `testapp datagram`
pub(crate) async fn run(args: DatagramArgs) -> anyhow::Result<()> {
    let any: IpAddr = if args.to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let (mut received, mut seen_as) = (0, None);
    for connected in [true, false] {
        let socket = bind((any, 0).into())?;
        if connected {
            socket.connect(args.to).await?;
        }
        for number in 0..args.count {
            let message = [MARKER, format!(" {number}").as_bytes()].concat();
            if connected {
                socket.send(&message).await?;
            } else {
                socket.send_to(&message, args.to).await?;
            }
            seen_as = Some(answer(&socket, &args, &message).await?);
            received += 1;
        }
    }
    print(&Report { received, seen_as })
}

/// The answer to `message`: as whom the server saw us.
async fn answer(socket: &UdpSocket, args: &DatagramArgs, message: &[u8]) -> anyhow::Result<IpAddr> {
    let mut buffer = vec![0; 65_536];
    let (length, from) = timeout(PATIENCE, socket.recv_from(&mut buffer)).await.context("no answer")??;
    ensure!(from == args.to, "the answer came from {from}");
    let answer = buffer.get(..length).unwrap_or_default();
    let head = answer.strip_suffix(message).context("another message came back")?;
    Ok(std::str::from_utf8(head)?.trim_end().parse()?)
}

/// `testapp ping`
pub(crate) fn ping(args: &PingArgs) -> anyhow::Result<()> {
    let (domain, protocol) = match args.to {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let mut socket = Socket::new(domain, Type::RAW, Some(protocol)).context("pinging needs CAP_NET_RAW")?;
    socket.connect(&SocketAddr::new(args.to, 0).into())?;
    socket.set_read_timeout(Some(PATIENCE))?;
    for number in 0..args.count {
        socket.write_all(&echo(args.to, true, number))?;
        let expected = echo(args.to, false, number);
        let deadline = Instant::now() + PATIENCE;
        while !is_answer(&mut socket, &expected).context("no echo")? {
            ensure!(Instant::now() < deadline, "no echo of request {number}");
        }
    }
    print(&Report { received: args.count, seen_as: None })
}

/// An echo request or reply with this sequence number.
fn echo(to: IpAddr, request: bool, number: u16) -> Vec<u8> {
    let kind = match (to, request) {
        (IpAddr::V4(_), true) => 8,
        (IpAddr::V4(_), false) => 0,
        (IpAddr::V6(_), true) => 128,
        (IpAddr::V6(_), false) => 129,
    };
    let [high, low] = std::process::id().to_be_bytes().last_chunk().copied().unwrap_or_default();
    let [first, second] = number.to_be_bytes();
    let mut message = [&[kind, 0, 0, 0, high, low, first, second], MARKER].concat();
    let sum = checksum(&message).to_be_bytes();
    // The kernel itself fills in the checksum of ICMPv6.
    if to.is_ipv4() {
        message.splice(2..4, sum);
    }
    message
}

/// True if the next packet is `expected`, its checksum aside; of IPv4, the kernel delivers the IP header too.
fn is_answer(socket: &mut Socket, expected: &[u8]) -> std::io::Result<bool> {
    let mut packet = [0; 2048];
    let length = socket.read(&mut packet)?;
    let packet = packet.get(..length).unwrap_or_default();
    let icmp = packet.len().checked_sub(expected.len()).and_then(|start| packet.get(start..)).unwrap_or_default();
    let same = |range: std::ops::RangeFrom<usize>| icmp.get(range.clone()) == expected.get(range);
    Ok(icmp.first() == expected.first() && same(ICMP_HEADER - 4..))
}

/// The internet checksum (RFC 1071).
fn checksum(message: &[u8]) -> u16 {
    let words = message.chunks(2).map(|pair| {
        let [high, low] = [pair.first(), pair.get(1)].map(|byte| u32::from(byte.copied().unwrap_or_default()));
        high << 8 | low
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    u16::try_from(sum).map_or(0, |sum| !sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_sums_to_what_receivers_check() {
        let request = echo(Ipv4Addr::LOCALHOST.into(), true, 7);
        assert_eq!((request[0], &request[6..8]), (8, &[0, 7][..]));
        assert_eq!(checksum(&request), 0);
    }
}
