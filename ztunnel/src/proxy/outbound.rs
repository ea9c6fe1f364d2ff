//! Connections that a captured pod opens: where each goes, and who is told about it.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use ambit_hbone::{ConnectRequest, StreamSink, StreamSource};
use ambit_model::{Connection, Decision, Reason, Tried, Upstream, Workload, decide_again, ports};
use ambit_net::socket::{ConnectOptions, OUR_MARK, connect};
use ambit_net::tcp::{self, TcpHalves};
use ambit_telemetry::{Refused, Reporter};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::begun::Begun;
use super::failure::Failure;
use super::guest::Guest;
use super::session::{Caller, Unserved};
use super::tunnels::PeerKey;
use super::verdict::Verdict;
use super::worker::{Arrival, Worker};
use super::{introduction, record, session};

/// Carries one captured connection of `guest` from its first byte to its record.
pub(crate) async fn serve(worker: Rc<Worker>, guest: Rc<Guest>, stream: TcpStream, client: SocketAddr) {
    let start = Instant::now();
    let client = SocketAddr::new(client.ip().to_canonical(), client.port());
    let Some((stream, dialled)) = captured(&worker, &guest, stream, client) else { return };
    carry(&worker, &guest, tcp::split(stream), Call { client, dialled, start }).await;
}

/// What a pod wants to be connected to.
pub(super) struct Call {
    /// Where the connection comes from.
    pub(super) client: SocketAddr,
    /// Where it is to go.
    pub(super) dialled: SocketAddr,
    /// When it was first heard of.
    pub(super) start: Instant,
}

/// How many endpoints of a service are asked for one connection.
const ENDPOINTS: usize = 3;

/// Decides where `call` of `guest` goes and carries it there, on behalf of `caller`. Where nobody is, another endpoint of the
/// same service is asked, before anybody has heard a byte; and where the two ends have not heard the same of a waypoint yet, it
/// waits until they have.
pub(super) async fn carry<C: Caller>(worker: &Worker, guest: &Guest, caller: C, call: Call) {
    let source = guest.pod.uid.clone();
    let connection = Connection::Outbound { source, destination: call.dialled, draw: rand::random() };
    let mut verdict = worker.decide(guest, &connection).await;
    let (mut begun, mut attempts) = (Begun::from(caller), Attempts::default());
    loop {
        let Some(unserved) = attempt(worker, guest, begun, &call, (&connection, &verdict)).await else { return };
        let outcome = (&verdict.decision, unserved.reason());
        match attempts.next(worker, guest, &connection, outcome).await {
            Some((next, whom)) => {
                begun = unserved.again(whom);
                verdict = next;
            }
            None => return unserved.refuse(),
        }
    }
}

/// What has come to nothing of one connection.
#[derive(Default)]
struct Attempts {
    /// Where nobody was.
    tried: Vec<Tried>,
    /// How often the other end has asked for a waypoint of which this agent knows nothing.
    disputed: u32,
}

impl Attempts {
    /// Where `connection` goes, and whom that means, after what was `decided` has come to nothing for `reason`; none if it is
    /// refused.
    async fn next(
        &mut self,
        worker: &Worker,
        guest: &Guest,
        connection: &Connection,
        (decided, reason): (&Decision, Reason),
    ) -> Option<(Verdict, &'static str)> {
        if let (Decision::Tunnel(to), Reason::WaypointRequired) = (decided, reason) {
            self.disputed += 1;
            let verdict = worker.settle(guest, connection, (to, self.disputed)).await?;
            let whom = if let Decision::Waypoint { .. } = verdict.decision { "the waypoint" } else { "it once more" };
            return Some((verdict, whom));
        }
        self.tried.extend(decided.tried());
        if self.tried.len() >= ENDPOINTS || !reason.is_of_endpoint() {
            return None;
        }
        let snapshot = worker.shared.snapshots.load();
        let decision = decide_again(&snapshot, connection, &self.tried)?;
        Some((Verdict { decision, snapshot }, "another endpoint"))
    }
}

/// Carries a call to one endpoint; if nobody is there, or it is refused, the caller comes back.
async fn attempt<C: Caller>(
    worker: &Worker,
    guest: &Guest,
    begun: Begun<C>,
    call: &Call,
    (connection, Verdict { decision, snapshot }): (&Connection, &Verdict),
) -> Option<Unserved<C>> {
    let Call { client, dialled, start } = *call;
    let record = record::Outbound { meter: &worker.meter, snapshot, pod: &guest.pod, client, dialled, start };
    match decision {
        Decision::Local(to) => {
            let lives = record.local(to);
            let leave = worker.admit(snapshot, connection, to, None);
            let cut = leave.or(cut_at_either(worker, guest, to));
            session::attempt(begun, local(worker, to, client), cut, lives).await
        }
        Decision::Tunnel(to) => {
            let (peer, asked) = (SocketAddr::new(to.address.ip(), ports::HBONE), to.address);
            by_hbone(worker, guest, begun, Hop { record, to, peer, asked }).await
        }
        Decision::Waypoint { upstream: to, authority, .. } => {
            let (peer, asked) = (to.address, *authority);
            by_hbone(worker, guest, begun, Hop { record, to, peer, asked }).await
        }
        Decision::Passthrough(to) => {
            let lives = record.passthrough(to);
            session::attempt(begun, passthrough(worker, guest, to), guest.cut(), lives).await
        }
        Decision::Refuse(reason) => {
            session::refuse(begun.caller, *reason, record.refused());
            None
        }
        Decision::Deny(to, denial) => {
            session::refuse(begun.caller, denial, record.local(to));
            None
        }
    }
}

/// A way by HBONE.
struct Hop<'a> {
    record: record::Outbound<'a>,
    /// The pod there, and the service that it is dialled for.
    to: &'a Upstream,
    /// Where that pod takes HBONE.
    peer: SocketAddr,
    /// What it is asked for.
    asked: SocketAddr,
}

/// Carries a connection to the pod itself, or to a waypoint that knows where to go from there.
async fn by_hbone<C: Caller>(worker: &Worker, guest: &Guest, begun: Begun<C>, hop: Hop<'_>) -> Option<Unserved<C>> {
    let Hop { record, to, peer, asked } = hop;
    let lives = record.tunnel(to, peer, asked);
    let source = record.snapshot.workload(&guest.pod.uid).map(|workload| &**workload);
    let request = introduction::request(source, record.client, to.service.as_deref(), asked);
    let dial = async {
        let (mut source, sink) = tunnel(worker, guest, to.workload.as_deref(), peer, &request).await?;
        if C::WAITS {
            source.answer().await?;
        }
        Ok((source, sink))
    };
    session::attempt(begun, dial, guest.cut(), lives).await
}

/// To a pod that this very agent serves: it stands at both ends.
async fn local(worker: &Worker, to: &Upstream, client: SocketAddr) -> Result<TcpHalves, Failure> {
    let workload = to.workload.as_ref().ok_or(Reason::Internal)?;
    let arrival = worker.guests.arrival(&workload.uid, to.address.ip());
    let guest = timeout(worker.shared.limits.patience, arrival).await.map_err(|_| Reason::UnknownWorkload)?;
    worker.deliver(&guest.pod, Arrival::Carried(client.ip()), to.address).await
}

/// Resolves once what is open has to be cut at either end of a connection that stays on this node.
async fn cut_at_either(worker: &Worker, source: &Guest, to: &Upstream) -> Reason {
    let destination = async {
        match &to.workload {
            Some(workload) => worker.guests.arrival(&workload.uid, to.address.ip()).await.cut().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        reason = source.cut() => reason,
        reason = destination => reason,
    }
}

/// To a pod elsewhere, at the address where that takes HBONE. Bytes may travel before the peer has answered.
async fn tunnel(
    worker: &Worker,
    guest: &Guest,
    destination: Option<&Workload>,
    address: SocketAddr,
    request: &ConnectRequest,
) -> Result<(StreamSource, StreamSink), Failure> {
    let destination = destination.ok_or(Reason::Internal)?;
    let key = PeerKey {
        source: guest.pod.uid.clone(),
        cookie: guest.pod.netns.cookie(),
        destination: destination.uid.clone(),
        address,
        expected: destination.identity.clone(),
    };
    Ok(worker.tunnels.open(&key, request).await?)
}

/// To what is not in the mesh, in clear and from the pod itself.
async fn passthrough(worker: &Worker, guest: &Guest, to: &Upstream) -> Result<TcpHalves, Failure> {
    let keepalive = worker.shared.limits.keepalive.clone();
    let options = ConnectOptions { source: None, apart: false, mark: OUR_MARK, timeout: PASSTHROUGH, keepalive };
    Ok(tcp::split(connect(&guest.pod.netns, to.address, &options).await?))
}

/// Longer than the kernel tries: outside the mesh a connection fails when it would have failed without us.
const PASSTHROUGH: Duration = Duration::from_secs(200);

/// Where `stream`, which `client` opened, was to go. Whoever reached a capture port without having been captured is
/// refused.
pub(super) fn captured(
    worker: &Worker,
    guest: &Guest,
    stream: TcpStream,
    client: SocketAddr,
) -> Option<(TcpStream, SocketAddr)> {
    let detail = match worker.shared.taps.load().originals.take(guest.pod.netns.cookie(), client) {
        Ok(Some(dialled)) => return Some((stream, dialled)),
        Ok(None) => String::new(),
        Err(error) => error.to_string(),
    };
    refuse_early(worker, stream, client, Failure::new(Reason::NoOriginalDestination, detail));
    None
}

/// Resets `client`, of which it is not known where it wants to go, and records `why`.
pub(super) fn refuse_early(worker: &Worker, stream: TcpStream, client: SocketAddr, why: Failure) {
    let destination = stream.local_addr().unwrap_or(client);
    tcp::split(stream).refuse(&why);
    fail_early(worker, client, destination, why);
}

/// Records why `client` is refused at `destination`, before it was known where to.
pub(super) fn fail_early(worker: &Worker, client: SocketAddr, destination: SocketAddr, why: Failure) {
    let (reason, detail) = why.told();
    worker.meter.fail_early(Refused { reporter: Reporter::Source, client, destination, reason, detail });
}
