//! Connections that a pod asks for by SOCKS5, on port 15080: who asks, and what for. From there on they are like those
//! that it opens.

use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Instant;

use ambit_model::{Authority, Reason, Snapshot};
use ambit_net::stream::ByteSink;
use ambit_net::tcp::{self, TcpHalves, TcpSink, TcpSource};
use bytes::Bytes;
use rand::seq::IndexedRandom as _;
use tokio::net::TcpStream;
use tokio::task::spawn_local;

use super::failure::Failure;
use super::guest::Guest;
use super::outbound::{self, Call};
use super::pod::Pod;
use super::session::Caller;
use super::worker::Worker;
use crate::socks::{self, Reply};

/// Serves one connection to the port, of a process in the pod of `guest` or of a stranger.
pub(crate) async fn serve(worker: Rc<Worker>, guest: Rc<Guest>, mut stream: TcpStream, client: SocketAddr) {
    let start = Instant::now();
    let client = SocketAddr::new(client.ip().to_canonical(), client.port());
    let Ok(port) = stream.local_addr() else { return };
    if !is_of(&guest.pod, client.ip(), port.ip().to_canonical()) {
        return outbound::refuse_early(&worker, stream, client, Reason::RecursiveCall.into());
    }
    let asked = tokio::select! {
        biased;
        reason = guest.cut() => return outbound::refuse_early(&worker, stream, client, reason.into()),
        asked = socks::negotiate(&mut stream) => asked,
    };
    let caller = Requester(tcp::split(stream));
    let wanted = match asked {
        Ok(wanted) => wanted,
        Err((error, last)) => {
            let why = Failure::new(Reason::BadRequest, format!("SOCKS5: {error}"));
            outbound::fail_early(&worker, client, port, why);
            return socks::dismiss(caller.0, &last).await;
        }
    };
    match find(&worker.shared.snapshots.load(), &guest.pod, &wanted) {
        Ok(dialled) => {
            let ip = guest.pod.seen_as(client.ip(), dialled.ip()).unwrap_or(client.ip());
            let call = Call { client: SocketAddr::new(ip, client.port()), dialled, start };
            outbound::carry(&worker, &guest, caller, call).await;
        }
        Err(reason) => {
            let why = Failure::new(reason, wanted.to_string());
            caller.refuse(&why);
            outbound::fail_early(&worker, client, port, why);
        }
    }
}

/// True if what comes from `client` to `port`, both addresses, never left the pod. The kernel sees to it that nobody
/// else reaches this port of a pod that is captured; this is for the moments before and after.
fn is_of(pod: &Pod, client: IpAddr, port: IpAddr) -> bool {
    client.is_loopback() || client == port || pod.addresses.contains(&client)
}

/// The address that `wanted` means to `pod`: of a name one at random, of the pod's own first family if it has such.
fn find(snapshot: &Snapshot, pod: &Pod, wanted: &Authority) -> Result<SocketAddr, Reason> {
    let (name, port) = match wanted {
        Authority::Address(address) => return Ok(*address),
        Authority::Host(name, port) => (name, *port),
    };
    let resolved = snapshot.resolve(&pod.identity.namespace, name).and_then(|resolved| resolved.addresses);
    let addresses = resolved.ok_or(Reason::UnknownHost)?;
    let v4 = pod.addresses.first().is_none_or(IpAddr::is_ipv4);
    let (first, second): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| address.is_ipv4() == v4);
    let choice = if first.is_empty() { second } else { first };
    let address = choice.choose(&mut rand::rng()).ok_or(Reason::NoHealthyUpstream)?;
    Ok(SocketAddr::new(*address, port))
}

/// An application that waits for the reply to its request.
struct Requester(TcpHalves);

impl Caller for Requester {
    type Source = TcpSource;
    type Sink = TcpSink;

    const WAITS: bool = true;

    async fn gave_up(&mut self) -> Failure {
        self.0.gave_up().await
    }

    async fn accept(self) -> Result<TcpHalves, Failure> {
        let (source, mut sink) = self.0;
        let mut reply = Bytes::copy_from_slice(&Reply::Succeeded.message());
        match poll_fn(|cx| sink.poll_send(cx, &mut reply)).await {
            Ok(()) => Ok((source, sink)),
            Err(error) => Err(Failure::of_abort(Reason::ResetByClient, &error)),
        }
    }

    fn refuse(self, why: &Failure) {
        let reply = Reply::from(why.reason);
        spawn_local(async move { socks::dismiss(self.0, &reply.message()).await });
    }
}

#[cfg(test)]
mod tests;
