//! The endpoints of a service's port, or of a subset of them, with what is known of each: how busy it is, since when it is
//! there, and whether it is passed over. One for all workers: choosing takes no lock. Which endpoints and settings there
//! are is told from outside; nothing here is dialled.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ambit_model::destination::{
    Balance, ClientTls, ConnectionPool, LoadBalancer, OutlierDetection, RetryBudget, Simple, TlsMode, TrafficPolicy,
};
use ambit_model::{Distribution, Locality, Topology, Workload};
use arc_swap::ArcSwap;

use super::balance::Terms;
use super::limits::Limits;
use super::locality::View;
use super::outlier::{Ejections, Event, History, Outcome};

/// For so many kinds of clients it is remembered which endpoints are near them.
const VIEWS: usize = 64;

/// An endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Where the application listens.
    pub(crate) address: SocketAddr,
    /// The pod behind it, where it is one.
    pub(crate) workload: Option<Arc<Workload>>,
    /// Where it is, if it is no pod: what was left out of it is as its node is.
    pub(crate) topology: Option<Arc<Topology>>,
    /// How much it gets, next to the others' weights.
    pub(crate) weight: NonZeroU32,
}

impl Endpoint {
    /// Where it is.
    pub(crate) fn locality(&self) -> Locality<'_> {
        match (&self.workload, self.topology.as_deref()) {
            (Some(workload), _) => workload.locality(),
            (None, Some(Topology { node, region, zone, subzone })) => Locality { region, zone, subzone, node },
            (None, None) => Locality::default(),
        }
    }
}

/// What holds for a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    /// `loadBalancer`
    pub(crate) balancer: LoadBalancer,
    /// `outlierDetection`
    pub(crate) outliers: Option<OutlierDetection>,
    /// `connectionPool`
    pub(crate) pool: ConnectionPool,
    /// `tls`, where it is more than the mesh's own.
    pub(crate) tls: Option<Arc<ClientTls>>,
    /// `retryBudget`
    pub(crate) retry_budget: Option<RetryBudget>,
    /// Where the service has its connections go, whatever a rule says.
    pub(crate) distribution: Distribution,
}

impl Settings {
    /// What `policy`, which holds for the port, and the service say.
    pub(crate) fn new(policy: &TrafficPolicy, distribution: Distribution) -> Self {
        let begun = |tls: &&ClientTls| matches!(tls.mode, TlsMode::Simple | TlsMode::Mutual);
        Self {
            tls: policy.settings.tls.as_ref().filter(begun).cloned().map(Arc::new),
            balancer: policy.settings.load_balancer.clone().unwrap_or_default(),
            outliers: policy.settings.outlier_detection.clone(),
            pool: policy.settings.connection_pool.clone().unwrap_or_default(),
            retry_budget: policy.retry_budget,
            distribution,
        }
    }
}

/// Who asks for an endpoint, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask<'a> {
    /// Now.
    pub(crate) now: Instant,
    /// A random number.
    pub(crate) draw: u64,
    /// What the balancer's key has in the request, as [`super::key_hash`] says.
    pub(crate) hash: Option<u64>,
    /// The address that the client dialled: for `PASSTHROUGH`.
    pub(crate) dialled: SocketAddr,
    /// Who is to be near.
    pub(crate) client: Option<&'a Workload>,
    /// Endpoints that were tried: they are tried again only if there are no others.
    pub(crate) avoid: &'a [SocketAddr],
}

/// There is nobody to carry it to: 503, flag `UH`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoEndpoint {
    /// Start pods that the service, or the subset, selects, and see that they become ready.
    #[error("it has no endpoints")]
    Absent,
    /// See why they fail, or lower `outlierDetection.maxEjectionPercent`.
    #[error("all of its endpoints are ejected, or too far away")]
    Ejected,
}

/// An endpoint with what is known of it.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) endpoint: Endpoint,
    kept: Arc<Kept>,
}

/// What is kept of an endpoint as long as its address is there.
#[derive(Debug)]
struct Kept {
    since: Instant,
    active: AtomicU32,
    history: History,
}

impl Host {
    pub(super) fn new(endpoint: Endpoint, now: Instant) -> Self {
        Self { endpoint, kept: Arc::new(Kept { since: now, active: AtomicU32::new(0), history: History::default() }) }
    }

    pub(super) fn since(&self) -> Instant {
        self.kept.since
    }

    pub(super) fn active(&self) -> u32 {
        self.kept.active.load(Ordering::Relaxed)
    }

    pub(super) fn is_ejected(&self) -> bool {
        self.kept.history.is_ejected()
    }

    pub(super) fn history(&self) -> &History {
        &self.kept.history
    }
}

/// The endpoints, and what holds for them.
#[derive(Debug)]
struct Roster {
    settings: Arc<Settings>,
    /// Ascending by address, each once.
    hosts: Vec<Arc<Host>>,
    views: ArcSwap<Vec<Arc<View>>>,
}

type ByAddress = BTreeMap<SocketAddr, Endpoint>;

fn by_address(endpoints: Vec<Endpoint>) -> ByAddress {
    endpoints.into_iter().map(|endpoint| (endpoint.address, endpoint)).collect()
}

impl Roster {
    fn new(settings: &Settings, by_address: ByAddress, now: Instant, old: Option<&Self>) -> Self {
        let host = |endpoint: Endpoint| match old.and_then(|old| old.host(endpoint.address)) {
            Some(known) => Host { kept: known.kept.clone(), endpoint },
            None => Host::new(endpoint, now),
        };
        let hosts: Vec<_> = by_address.into_values().map(|endpoint| Arc::new(host(endpoint))).collect();
        let views = if View::depends_on_place(settings) {
            Vec::new()
        } else {
            vec![Arc::new(View::new(&hosts, settings, None))]
        };
        Self { settings: Arc::new(settings.clone()), hosts, views: ArcSwap::from_pointee(views) }
    }

    fn is_of(&self, settings: &Settings, by_address: &ByAddress) -> bool {
        *self.settings == *settings && self.hosts.iter().map(|host| &host.endpoint).eq(by_address.values())
    }

    fn host(&self, address: SocketAddr) -> Option<&Arc<Host>> {
        let place = self.hosts.binary_search_by_key(&address, |host| host.endpoint.address).ok()?;
        self.hosts.get(place)
    }

    fn history(&self, address: SocketAddr) -> Option<&History> {
        self.host(address).map(|host| host.history())
    }
}

/// The endpoints of a service's port, or of a subset of them.
#[derive(Debug)]
pub(crate) struct Cluster {
    roster: ArcSwap<Roster>,
    limits: Arc<Limits>,
    /// How many are ejected.
    ejected: AtomicUsize,
    /// Locked to eject, to sweep, and when endpoints and settings change.
    ejections: Mutex<Ejections>,
    /// Locked to take up endpoints and settings, and for the first request of a kind of clients: large tables take their
    /// time, and nobody else is to wait.
    building: Mutex<()>,
}

impl Cluster {
    /// `endpoints`, for which `settings` hold; all of them are new.
    pub(crate) fn new(settings: &Settings, endpoints: Vec<Endpoint>, now: Instant) -> Arc<Self> {
        Arc::new(Self {
            roster: ArcSwap::from_pointee(Roster::new(settings, by_address(endpoints), now, None)),
            limits: Limits::new(&settings.pool, settings.retry_budget, now),
            ejected: AtomicUsize::new(0),
            ejections: Mutex::new(Ejections::new(settings.outliers.as_ref(), now)),
            building: Mutex::new(()),
        })
    }

    /// Takes up endpoints and settings, if they are others. What is known of an endpoint is kept if its address stays.
    /// The largest table of Maglev's takes a second or more to fill: requests go on meanwhile, but on other threads.
    pub(crate) fn update(&self, settings: &Settings, endpoints: Vec<Endpoint>, now: Instant) -> Vec<Event> {
        let _one_at_a_time = lock(&self.building);
        let old = self.roster.load_full();
        let endpoints = by_address(endpoints);
        if old.is_of(settings, &endpoints) {
            return Vec::new();
        }
        let new = Arc::new(Roster::new(settings, endpoints, now, Some(&old)));
        let mut ejections = lock(&self.ejections);
        self.roster.store(new.clone());
        let events = ejections.update(settings.outliers.as_ref(), |address| new.history(address), now);
        self.ejected.store(ejections.active(), Ordering::Relaxed);
        self.limits.update(&settings.pool, settings.retry_budget, now);
        events
    }

    /// The limits of its connections and requests.
    pub(crate) fn limits(&self) -> &Arc<Limits> {
        &self.limits
    }

    /// The endpoint that is next.
    ///
    /// # Errors
    /// There is none, or every one is ejected: then nothing is sent to those either (Envoy's panic threshold is off, as
    /// with Istio).
    pub(crate) fn pick(self: &Arc<Self>, ask: &Ask<'_>) -> Result<Picked, NoEndpoint> {
        let roster = self.roster.load();
        if roster.hosts.is_empty() {
            return Err(NoEndpoint::Absent);
        }
        // A client that dialled the service's own address dialled none of its endpoints: any of them is as good.
        let passthrough = roster.settings.balancer.balance == Balance::Simple(Simple::Passthrough);
        if let Some(dialled) = passthrough.then(|| roster.host(ask.dialled)).flatten() {
            return if dialled.is_ejected() { Err(NoEndpoint::Ejected) } else { Ok(Picked::new(self, dialled)) };
        }
        let views = roster.views.load();
        let first_of_its_kind;
        let view = match views.iter().find(|view| view.is_for(&roster.settings, ask.client)) {
            Some(view) => view,
            None => {
                first_of_its_kind = self.see(&roster, ask.client);
                &first_of_its_kind
            }
        };
        let warmup = roster.settings.balancer.warmup.as_ref();
        let hash = ask.hash.filter(|_| matches!(roster.settings.balancer.balance, Balance::Hash(..)));
        let terms = Terms { now: ask.now, hash, warmup, avoid: ask.avoid };
        let ejections = self.ejected() > 0;
        let mut host = view.next(&terms, ask.draw, ejections);
        if host.is_none() && !ask.avoid.is_empty() {
            host = view.next(&Terms { avoid: &[], ..terms }, ask.draw, ejections);
        }
        host.map(|host| Picked::new(self, host)).ok_or(NoEndpoint::Ejected)
    }

    /// Brings back endpoints whose time is over; to be called at [`Cluster::next_sweep`], or soon after.
    pub(crate) fn sweep(&self, now: Instant) -> Vec<Event> {
        let mut ejections = lock(&self.ejections);
        let roster = self.roster.load();
        let events = ejections.sweep(|address| roster.history(address), now);
        self.ejected.store(ejections.active(), Ordering::Relaxed);
        events
    }

    /// When it is to be looked at who returns; none where nobody is ever ejected.
    pub(crate) fn next_sweep(&self) -> Option<Instant> {
        lock(&self.ejections).next_sweep()
    }

    /// How many endpoints are ejected (Envoy's `outlier_detection.ejections_active`).
    pub(crate) fn ejected(&self) -> usize {
        self.ejected.load(Ordering::Relaxed)
    }

    /// How many endpoints there are, ejected ones included.
    pub(crate) fn endpoints(&self) -> usize {
        self.roster.load().hosts.len()
    }

    /// How `client`, the first of its kind, sees the endpoints.
    fn see(&self, roster: &Roster, client: Option<&Workload>) -> Arc<View> {
        let _one_at_a_time = lock(&self.building);
        let mut views = roster.views.load().to_vec();
        if let Some(view) = views.iter().find(|view| view.is_for(&roster.settings, client)) {
            return view.clone();
        }
        let view = Arc::new(View::new(&roster.hosts, &roster.settings, client));
        if views.len() >= VIEWS {
            views.remove(0);
        }
        views.push(view.clone());
        roster.views.store(Arc::new(views));
        view
    }

    fn report(&self, host: &Host, outcome: Outcome, now: Instant) -> Option<Event> {
        let roster = self.roster.load();
        let rules = roster.settings.outliers.as_ref()?;
        let cause = host.history().count(rules, outcome)?;
        let mut ejections = lock(&self.ejections);
        // Others may have come meanwhile.
        let roster = self.roster.load();
        let address = host.endpoint.address;
        roster.host(address).filter(|known| Arc::ptr_eq(&known.kept, &host.kept))?;
        let event = ejections.eject((address, host.history()), cause, roster.hosts.len(), now);
        self.ejected.store(ejections.active(), Ordering::Relaxed);
        event
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An endpoint that was chosen: it is busy with one request, or connection, more until this is dropped.
#[derive(Debug)]
pub(crate) struct Picked {
    cluster: Arc<Cluster>,
    host: Arc<Host>,
}

impl Picked {
    fn new(cluster: &Arc<Cluster>, host: &Arc<Host>) -> Self {
        host.kept.active.fetch_add(1, Ordering::Relaxed);
        Self { cluster: cluster.clone(), host: host.clone() }
    }

    /// Which endpoint it is.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.host.endpoint
    }

    /// Tells what became of it. An event if that has the endpoint ejected.
    pub(crate) fn report(&self, outcome: Outcome, now: Instant) -> Option<Event> {
        self.cluster.report(&self.host, outcome, now)
    }
}

impl Drop for Picked {
    fn drop(&mut self) {
        self.host.kept.active.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
