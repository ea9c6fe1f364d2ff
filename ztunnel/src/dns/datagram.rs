//! DNS over UDP: a datagram is a query, and so is its answer.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use ambit_net::udp;
use tokio::net::UdpSocket;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{debug, warn};

use super::message::{self, Query};
use super::resolver::{Plan, Resolver, Via};

/// Longest query that is read: far more than a question with its options takes.
const QUERY: usize = 4096;
/// Longest datagram.
const DATAGRAM: usize = 65_535;
/// How long what the kernel has taken in may take to be seen here.
const ARRIVALS: Duration = Duration::from_millis(20);
/// After a failure to receive.
const PAUSE: Duration = Duration::from_millis(50);

/// Answers what comes to `socket` until `until` resolves; what has come by then, or is being passed on, is still answered,
/// and `guard` makes what lives as long.
pub(crate) async fn serve<G: 'static>(
    resolver: Resolver,
    socket: UdpSocket,
    until: impl Future,
    guard: impl Fn() -> G,
) {
    let (resolver, socket) = (Rc::new(resolver), Rc::new(socket));
    let mut until = pin!(until);
    let mut buffer = vec![0; QUERY + 1];
    let (mut failing, mut last) = (false, None);
    loop {
        let received = tokio::select! {
            received = socket.recv_from(&mut buffer), if last.is_none() => received,
            _ = &mut until, if last.is_none() => {
                last = Some(Instant::now() + ARRIVALS);
                if let Err(error) = udp::turn_away(&*socket) {
                    debug!(pod = %resolver.pod, "a last DNS query may be lost: {error}");
                }
                continue;
            }
            else => match timeout_at(last.unwrap_or_else(Instant::now), socket.recv_from(&mut buffer)).await {
                Ok(received) => received,
                Err(_) => return,
            },
        };
        let (length, client) = match received {
            Ok(received) => received,
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    warn!(pod = %resolver.pod, "DNS queries cannot be received: {error}");
                }
                sleep(PAUSE).await;
                continue;
            }
        };
        failing = false;
        let Some(message) = buffer.get(..length).filter(|message| message.len() <= QUERY) else { continue };
        match resolver.plan(message, Query::read(message), Via::Udp) {
            None => {}
            Some(Plan::Answer(answer)) => send(&socket, &answer, client),
            Some(Plan::Ask(errand)) => {
                let (resolver, socket, guard) = (resolver.clone(), socket.clone(), guard());
                spawn_local(async move {
                    let asked = async |message: &[u8]| ask(&resolver, message, client).await;
                    send(&socket, &resolver.pass_on(errand, Via::Udp, asked).await, client);
                    drop(guard);
                });
            }
        }
    }
}

/// What the server that `client` asked answers to `message`.
async fn ask(resolver: &Resolver, message: &[u8], client: SocketAddr) -> io::Result<Vec<u8>> {
    let server = match resolver.upstream {
        Some(upstream) => udp::connect(&resolver.netns, upstream)?,
        None => udp::connect_as(&resolver.netns, client)?,
    };
    let server = UdpSocket::from_std(server)?;
    server.send(message).await?;
    loop {
        // Pages that nothing is written to cost nothing.
        let mut answer = Vec::with_capacity(DATAGRAM);
        server.recv_buf(&mut answer).await?;
        if message::answers(&answer, message) {
            return Ok(answer);
        }
    }
}

/// A client that cannot take its answer asks again.
fn send(socket: &UdpSocket, answer: &[u8], client: SocketAddr) {
    if let Err(error) = socket.try_send_to(answer, client) {
        debug!(%client, "a DNS answer cannot be sent: {error}");
    }
}
