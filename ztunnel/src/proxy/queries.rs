//! Brings the DNS queries of a captured pod to its DNS server: whose they are, where they were to go, and until when they
//! are taken.

use std::net::SocketAddr;
use std::rc::Rc;

use ambit_model::Reason;
use ambit_net::tcp;
use ambit_telemetry::{Refused, Reporter};
use tokio::net::{TcpStream, UdpSocket};
use tracing::debug;

use super::failure::Failure;
use super::guest::Guest;
use super::session::Caller as _;
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
    let detail = match worker.shared.originals.take(guest.pod.netns.cookie(), client) {
        Ok(Some(server)) => {
            let resolver = resolver(&worker, &guest);
            let served = tokio::select! {
                served = dns::stream::serve(&resolver, stream, server) => served,
                _ = guest.cut() => return,
            };
            return served.unwrap_or_else(|error| debug!(%client, %server, "a DNS connection ended: {error}"));
        }
        Ok(None) => String::new(),
        Err(error) => error.to_string(),
    };
    let (reason, detail) = Failure::new(Reason::NoOriginalDestination, detail).told();
    let destination = stream.local_addr().unwrap_or(client);
    tcp::split(stream).refuse(reason);
    worker.meter.fail_early(Refused { reporter: Reporter::Source, client, destination, reason, detail });
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
