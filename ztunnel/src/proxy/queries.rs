//! Brings the DNS queries of a captured pod to its DNS server: whose they are, where they were to go, and until when they
//! are taken.

use std::net::SocketAddr;
use std::rc::Rc;

use tokio::net::{TcpStream, UdpSocket};
use tracing::debug;

use super::guest::Guest;
use super::outbound::captured;
use super::worker::Worker;
use crate::dns::{self, Resolver};

/// Serves the UDP queries that reach `socket` until `guest` leaves.
pub(crate) async fn serve_datagrams(worker: Rc<Worker>, guest: Rc<Guest>, socket: UdpSocket) {
    let resolver = resolver(&worker, &guest);
    dns::datagram::serve(resolver, socket, guest.leaving(), || worker.guard()).await;
}

/// Serves the queries of one captured connection of `guest`.
pub(crate) async fn serve_stream(worker: Rc<Worker>, guest: Rc<Guest>, stream: TcpStream, client: SocketAddr) {
    let client = SocketAddr::new(client.ip().to_canonical(), client.port());
    let Some((stream, server)) = captured(&worker, &guest, stream, client) else { return };
    let resolver = resolver(&worker, &guest);
    let served = tokio::select! {
        served = dns::stream::serve(&resolver, stream, server) => served,
        _ = guest.cut() => return,
    };
    served.unwrap_or_else(|error| debug!(%client, %server, "a DNS connection ended: {error}"));
}

fn resolver(worker: &Worker, guest: &Guest) -> Resolver {
    Resolver {
        snapshots: worker.shared.snapshots.clone(),
        pod: guest.pod.uid.clone(),
        netns: guest.pod.netns.clone(),
        upstream: worker.shared.dns_upstream,
        meter: worker.meter.clone(),
        permits: guest.queries.clone(),
    }
}
