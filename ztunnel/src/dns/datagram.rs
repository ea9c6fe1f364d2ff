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
use tokio::time::sleep;
use tracing::{debug, warn};

use super::message::{self, Query};
use super::resolver::{Resolver, Via};

/// Longest query that is read: far more than a question with its options takes.
const QUERY: usize = 4096;
/// Longest datagram.
const DATAGRAM: usize = 65_535;
/// After a failure to receive.
const PAUSE: Duration = Duration::from_millis(50);

/// Answers what comes to `socket` until `until` resolves; what is being passed on then is still answered, and `guard`
/// makes what lives as long.
pub(crate) async fn serve<G: 'static>(
    resolver: Resolver,
    socket: UdpSocket,
    until: impl Future<Output = ()>,
    guard: impl Fn() -> G,
) {
    let (resolver, socket) = (Rc::new(resolver), Rc::new(socket));
    let mut until = pin!(until);
    let mut buffer = vec![0; QUERY + 1];
    let mut failing = false;
    loop {
        let received = tokio::select! {
            received = socket.recv_from(&mut buffer) => received,
            () = &mut until => return,
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
        let own = Query::read(message).and_then(|query| resolver.answer(&query, Via::Udp));
        if let Some(answer) = own {
            send(&socket, &answer, client);
            continue;
        }
        let (resolver, socket, message, guard) = (resolver.clone(), socket.clone(), message.to_vec(), guard());
        spawn_local(async move {
            if let Some(answer) = resolver.pass_on(&message, Via::Udp, ask(&resolver, &message, client)).await {
                send(&socket, &answer, client);
            }
            drop(guard);
        });
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
