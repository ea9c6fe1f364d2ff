//! One worker: the pods that it serves, its tunnels and its counters. Everything here lives on the worker's thread.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use ambit_hbone::{Tunnels, pool};
use ambit_identity::Peer;
use ambit_model::{Connection, Decision, Reason, Snapshot, Upstream};
use ambit_net::accept::{self, Left};
use ambit_net::socket::{ConnectOptions, SPOOF_MARK, connect};
use ambit_net::tcp::{self, TcpHalves};
use ambit_process::drain::{self, Drain, Guard};
use ambit_telemetry::{AccessLog, Meter};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::failure::Failure;
use super::guest::{Guest, Guests, Phase};
use super::listeners::Listeners;
use super::pod::Pod;
use super::shared::Shared;
use super::standing::{self, Leave, Standing};
use super::tunnels::{PeerConnector, PeerKey};
use super::verdict::{self, Verdict};
use super::{inbound, outbound, queries, socks5, trial};

/// A client whose connection is to be delivered to an application, and how it got to the application's pod.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Arrival {
    /// In a tunnel, or from another pod of this node: its own connection ends in another place.
    Carried(IpAddr),
    /// By itself: its own connection is open in the pod's namespace as well, and must not be taken for the delivered one.
    InClear(IpAddr),
}

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
    standing: Standing,
    drain: Drain,
}

impl Worker {
    /// A worker without pods, on the thread that it is called on (within a `LocalRuntime`).
    pub(crate) fn new(shared: Arc<Shared>, access: AccessLog, drain: &Drain) -> Self {
        let guests = Guests::default();
        let standing = Standing::default();
        let connector = PeerConnector { shared: shared.clone(), guests: guests.clone(), standing: standing.clone() };
        let limits = &shared.limits;
        let pool = pool::Settings {
            max_streams: usize::try_from(limits.tunnel.max_concurrent_streams).unwrap_or(usize::MAX),
            max_idle: limits.tunnel_idle,
        };
        let tunnels = Tunnels::new(connector, limits.tunnel.clone(), pool);
        let drain = drain.scoped();
        spawn_local(wind_down(drain.clone(), shared.clone(), guests.clone(), tunnels.clone()));
        let trust = shared.certificates.trust_store().clone();
        spawn_local(standing::follow_revocations(trust, standing.clone()));
        spawn_local(standing::follow(shared.snapshots.clone(), standing.clone()));
        Self { shared, meter: Meter::new(access), tunnels, guests, standing, drain }
    }

    /// Serves `pod` on `listeners`, in the place of whatever was served under its name.
    pub(crate) fn serve(self: &Rc<Self>, pod: Arc<Pod>, listeners: Listeners<TcpListener, UdpSocket>) {
        let guest = Guest::new(pod);
        if self.drain.phase() != drain::Phase::Running {
            // It came too late to be told with the others.
            guest.advance(Phase::Leaving(Left::Alone));
        }
        self.guests.insert(guest.clone(), self.shared.succeeded());
        let Listeners { outbound, plaintext, hbone, dns, socks5, queries: sockets } = listeners;
        self.accept(&guest, outbound, outbound::serve);
        self.accept(&guest, plaintext, inbound::serve_plaintext);
        self.accept(&guest, hbone, inbound::serve_tunnel);
        self.accept(&guest, dns, queries::serve_stream);
        self.accept(&guest, socks5, socks5::serve);
        for socket in sockets {
            spawn_local(queries::serve_datagrams(self.clone(), guest.clone(), socket));
        }
    }

    /// Ends the service of `pod` once nobody can still be on the way to it; what is open goes on.
    pub(crate) fn withdraw(self: &Rc<Self>, pod: &Pod) {
        let Some(guest) = self.guest(pod) else { return };
        let worker = self.clone();
        spawn_local(async move {
            tokio::select! {
                () = sleep(worker.shared.limits.linger) => guest.advance(Phase::Leaving(Left::Alone)),
                _ = guest.leaving() => {}
            }
            if worker.guests.remove(&guest) {
                worker.retire_tunnels(guest.pod.netns.cookie());
            }
        });
    }

    /// Ends whatever the network namespace `cookie` has here, and cuts what is open: its pod is gone.
    pub(crate) fn cut(&self, cookie: u64) {
        for guest in self.guests.within(cookie) {
            guest.advance(Phase::Cut(Reason::PeerGone));
            self.guests.remove(&guest);
        }
        self.retire_tunnels(cookie);
    }

    /// True while the network namespace `cookie` has anything here, be it but a connection that has not ended.
    pub(crate) fn has(&self, cookie: u64) -> bool {
        !self.guests.within(cookie).is_empty()
    }

    /// Decides where `connection` of `guest` goes, holding it for as long as the answer may only be late.
    pub(crate) async fn decide(&self, guest: &Guest, connection: &Connection) -> Verdict {
        let (snapshots, patience) = (&self.shared.snapshots, self.shared.limits.patience);
        tokio::select! {
            biased;
            verdict = verdict::of(snapshots, patience, connection) => verdict,
            reason = guest.cut() => Verdict { decision: Decision::Refuse(reason), snapshot: snapshots.load() },
        }
    }

    /// Where `connection` of `guest` goes after `refusing` has asked for a waypoint so many `times`.
    pub(crate) async fn settle(
        &self,
        guest: &Guest,
        connection: &Connection,
        (refusing, times): (&Upstream, u32),
    ) -> Option<Verdict> {
        tokio::select! {
            biased;
            verdict = verdict::settled(&self.shared.snapshots, times, connection, refusing) => verdict,
            _ = guest.cut() => None,
        }
    }

    /// Notes that `connection`, which `peer` carries here, goes to `to`, as `snapshot` has just admitted: until policy
    /// changes its mind or the peer's certificate is revoked.
    pub(crate) fn admit(
        &self,
        snapshot: &Snapshot,
        connection: &Connection,
        to: &Upstream,
        peer: Option<&Rc<Peer>>,
    ) -> Leave {
        trial::rehearse(&self.meter, snapshot, connection, to);
        self.standing.enter(connection, to, peer)
    }

    /// Notes a tunnel from `peer`: until its certificate is revoked.
    pub(crate) fn admit_tunnel(&self, peer: Rc<Peer>) -> Leave {
        self.standing.tunnel(peer)
    }

    /// Something that the drain waits for until the guard is dropped.
    pub(crate) fn guard(&self) -> Guard {
        self.drain.guard()
    }

    /// Connects to the application at `address` in `pod`, which sees the connection come from `client`.
    pub(crate) async fn deliver(&self, pod: &Pod, client: Arrival, address: SocketAddr) -> Result<TcpHalves, Failure> {
        if !pod.addresses.contains(&address.ip()) {
            // What is not an address of the pod would lead out of it.
            return Err(Failure::new(Reason::UnknownWorkload, format!("{} is not served at {address} yet", pod.uid)));
        }
        let (ip, apart) = match client {
            Arrival::Carried(ip) => (ip, false),
            Arrival::InClear(ip) => (ip, true),
        };
        let options = ConnectOptions {
            source: pod.seen_as(ip, address.ip()),
            apart,
            mark: SPOOF_MARK,
            timeout: self.shared.limits.connect_timeout,
            keepalive: self.shared.limits.keepalive.clone(),
        };
        Ok(tcp::split(connect(&pod.netns, address, &options).await?))
    }

    fn retire_tunnels(&self, cookie: u64) {
        self.tunnels.retire(|key| key.cookie == cookie);
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
                let guard = worker.guard();
                let connection = serve(worker.clone(), guest.clone(), stream, peer);
                spawn_local(async move {
                    connection.await;
                    drop(guard);
                });
            }
        };
        // What has come by the time of a drain is accepted before it can end.
        let guard = self.guard();
        spawn_local(async move {
            accept::accept(listener, &guest.pod.uid, guest.leaving(), each).await;
            drop(guard);
        });
    }
}

/// Follows the process's drain: first nothing new, then nothing at all.
async fn wind_down(drain: Drain, shared: Arc<Shared>, guests: Guests, tunnels: Tunnels<PeerKey, PeerConnector>) {
    drain.graceful().await;
    for guest in guests.all() {
        guest.advance(Phase::Leaving(shared.left()));
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
