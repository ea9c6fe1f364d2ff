//! One worker: the pods that it serves, its tunnels and its counters. Everything here lives on the worker's thread.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use ambit_hbone::{Tunnels, pool};
use ambit_model::Reason;
use ambit_net::socket::{ConnectOptions, SPOOF_MARK, connect};
use ambit_net::tcp::{self, TcpHalves};
use ambit_process::drain::{Drain, Guard};
use ambit_telemetry::{AccessLog, Meter};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::failure::Failure;
use super::guest::{self, Guest, Guests, Phase};
use super::listeners::Listeners;
use super::pod::Pod;
use super::shared::Shared;
use super::tunnels::{PeerConnector, PeerKey};
use super::{inbound, outbound};

/// One worker.
pub(crate) struct Worker {
    /// What all workers see.
    pub(crate) shared: Arc<Shared>,
    /// What this worker counts.
    pub(crate) meter: Meter,
    /// Its tunnels to peers.
    pub(crate) tunnels: Tunnels<PeerKey, PeerConnector>,
    /// The pods that it serves.
    pub(crate) guests: Guests,
    drain: Drain,
}

impl Worker {
    /// A worker without pods, on the thread that it is called on (within a `LocalSet`).
    pub(crate) fn new(shared: Arc<Shared>, access: AccessLog, drain: &Drain) -> Self {
        let guests = Guests::default();
        let connector = PeerConnector { shared: shared.clone(), guests: guests.clone() };
        let limits = &shared.limits;
        let pool = pool::Settings {
            max_streams: usize::try_from(limits.tunnel.max_concurrent_streams).unwrap_or(usize::MAX),
            max_idle: limits.tunnel_idle,
        };
        let tunnels = Tunnels::new(connector, limits.tunnel.clone(), pool);
        let drain = drain.scoped();
        spawn_local(wind_down(drain.clone(), guests.clone(), tunnels.clone()));
        Self { shared, meter: Meter::new(access), tunnels, guests, drain }
    }

    /// Serves `pod` on `listeners`, in the place of whatever was served under its name.
    pub(crate) fn serve(self: &Rc<Self>, pod: Arc<Pod>, listeners: Listeners<TcpListener>) {
        let guest = Guest::new(pod);
        if let Some(before) = self.guests.insert(guest.clone()) {
            before.advance(Phase::Leaving);
        }
        let Listeners { outbound, plaintext, hbone } = listeners;
        self.accept(&guest, outbound, outbound::serve);
        self.accept(&guest, plaintext, inbound::serve_plaintext);
        self.accept(&guest, hbone, inbound::serve_tunnel);
    }

    /// Ends the service of `pod` once nobody can still be on the way to it; what is open goes on.
    pub(crate) fn withdraw(self: &Rc<Self>, pod: &Pod) {
        let Some(guest) = self.guest(pod) else { return };
        let (guests, linger) = (self.guests.clone(), self.shared.limits.linger);
        spawn_local(async move {
            tokio::select! {
                () = sleep(linger) => guest.advance(Phase::Leaving),
                () = guest.leaving() => {}
            }
            guests.remove(&guest);
        });
    }

    /// Ends the service of `pod` and cuts what it has open: the pod is gone.
    pub(crate) fn cut(&self, pod: &Pod) {
        let Some(guest) = self.guest(pod) else { return };
        guest.advance(Phase::Cut(Reason::PeerGone));
        self.guests.remove(&guest);
        self.tunnels.retire(|key| key.cookie == guest.pod.netns.cookie());
    }

    /// Connects to the application at `address` in `pod`, which sees the connection come from `client`.
    pub(crate) async fn deliver(&self, pod: &Pod, client: IpAddr, address: SocketAddr) -> Result<TcpHalves, Failure> {
        let options = ConnectOptions {
            source: pod.seen_as(client, address.ip()),
            mark: SPOOF_MARK,
            timeout: self.shared.limits.connect_timeout,
            keepalive: self.shared.limits.keepalive.clone(),
        };
        Ok(tcp::split(connect(&pod.netns, address, &options).await?))
    }

    fn guest(&self, pod: &Pod) -> Option<Rc<Guest>> {
        self.guests.find(&pod.uid).filter(|guest| guest.pod.netns.cookie() == pod.netns.cookie())
    }

    fn accept<F>(
        self: &Rc<Self>,
        guest: &Rc<Guest>,
        listener: TcpListener,
        serve: fn(Rc<Self>, Rc<Guest>, TcpStream, SocketAddr) -> F,
    ) where
        F: Future<Output = ()> + 'static,
    {
        let (worker, guest) = (self.clone(), guest.clone());
        let each = {
            let guest = guest.clone();
            move |stream, peer| {
                let guard: Guard = worker.drain.guard();
                let connection = serve(worker.clone(), guest.clone(), stream, peer);
                spawn_local(async move {
                    connection.await;
                    drop(guard);
                });
            }
        };
        spawn_local(guest::accept(guest, listener, each));
    }
}

/// Follows the process's drain: first nothing new, then nothing at all.
async fn wind_down(drain: Drain, guests: Guests, tunnels: Tunnels<PeerKey, PeerConnector>) {
    drain.graceful().await;
    for guest in guests.all() {
        guest.advance(Phase::Leaving);
    }
    tokio::select! {
        () = tunnels.drain() => {}
        () = drain.forced() => {}
    }
    drain.forced().await;
    for guest in guests.all() {
        guest.advance(Phase::Cut(Reason::Draining));
    }
}
