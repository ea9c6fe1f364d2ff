//! Destinations: which endpoints and settings one stands for at the moment. A cluster is shared by all workers; each worker
//! remembers what it found for as long as nothing that it was made of changes.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ambit_model::decide::{behind, place};
use ambit_model::destination::{self, Balance, HashKey, HttpUpgrade, Subset, TrafficPolicy};
use ambit_model::route::{Destination, RuleKey, http_status};
use ambit_model::waypoint::{self, Bound};
use ambit_model::{
    Distribution, Locality, Service, ServiceKey, ServicePort, Snapshot, Target, Topology, Waypoint, Workload,
    WorkloadUid,
};
use http::{Response, Version};
use hyper::body::Incoming;

use super::cluster::{Ask, Cluster, Endpoint, Picked, Settings};
use super::limits::{Limits, RequestSlot, RetrySlot};
use super::multiplexed::Place as SharedPlace;
use super::outlier::{Event, Outcome};
use crate::arrival::{Addressed, Arrival};
use crate::protocol::Declared;
use crate::proxy::Shared;

/// Which cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum ClusterKey {
    /// A port of a service, or its subset of that name.
    Service(ServiceKey, u16, Option<Arc<str>>),
    /// A pod's address.
    Workload(WorkloadUid, SocketAddr),
}

/// Clusters, and the rule that each is made by if that is for some clients only.
type AllKnown = BTreeMap<(ClusterKey, Option<RuleKey>), Arc<Known>>;

/// Every cluster that a worker has asked for.
#[derive(Default)]
pub(crate) struct Registry {
    /// Locked to find one that a worker does not remember, and by whoever looks at all of them.
    clusters: Mutex<AllKnown>,
    last: AtomicU64,
}

/// A cluster, and what it was made of.
pub(crate) struct Known {
    /// How the log calls it.
    pub(crate) name: Arc<str>,
    /// Its endpoints.
    pub(crate) cluster: Arc<Cluster>,
    number: u64,
    /// What it was made of, to tell whether that has changed.
    made_of: Mutex<(Settings, Vec<Endpoint>)>,
}

/// The clusters that a worker remembers: what it found when it last looked at this snapshot.
#[derive(Default)]
pub(crate) struct Clusters {
    seen: RefCell<Seen>,
}

#[derive(Default)]
struct Seen {
    snapshot: Option<Arc<Snapshot>>,
    /// Some rules are for some clients only.
    selective: bool,
    places: HashMap<(ClusterKey, Option<WorkloadUid>), Place>,
}

/// Where a request goes: a cluster, with what holds for it now.
#[derive(Clone)]
pub(crate) struct Place {
    known: Arc<Known>,
    settings: Arc<Settings>,
    declared: Declared,
    service: Option<Arc<Service>>,
    through: Option<Arc<Through>>,
}

/// What a waypoint is asked for that stands between a gateway and a service.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Through {
    /// The service's address, or its host where it has none, and its port.
    pub(crate) authority: String,
    /// The subset that the gateway's route names.
    pub(crate) subset: Option<Arc<str>>,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoCluster;

/// What a request holds until its response has ended.
pub(crate) struct Held {
    _request: RequestSlot,
    retries: Vec<RetrySlot>,
    endpoint: Option<(Picked, Option<SharedPlace>)>,
}

impl Held {
    /// A request's place among those there may be.
    pub(crate) fn of(request: RequestSlot) -> Self {
        Self { _request: request, retries: Vec::new(), endpoint: None }
    }

    /// One more try's.
    pub(crate) fn retries(&mut self, slot: RetrySlot) {
        self.retries.push(slot);
    }

    /// The endpoint that answers, and its place on a connection that is shared.
    pub(crate) fn endpoint(&mut self, picked: Picked, place: Option<SharedPlace>) {
        self.endpoint = Some((picked, place));
    }
}

impl Clusters {
    /// Where what came by `arrival` goes for `destination`.
    ///
    /// # Errors
    /// The mesh has no such service, or it has no such port or subset.
    pub(crate) fn place(
        &self,
        shared: &Shared,
        snapshot: &Arc<Snapshot>,
        arrival: &Arrival,
        destination: &Destination,
    ) -> Result<Place, NoCluster> {
        let wanted = Wanted::new(shared, snapshot, arrival, destination).ok_or(NoCluster)?;
        let mut seen = self.seen.borrow_mut();
        seen.turn_to(snapshot);
        let client = arrival.workload.as_ref().filter(|_| seen.selective).map(|workload| workload.uid.clone());
        let key = (wanted.key(), client);
        if let Some(place) = seen.places.get(&key) {
            return Ok(place.clone());
        }
        let place = wanted.find(shared, snapshot, arrival).ok_or(NoCluster)?;
        seen.places.insert(key, place.clone());
        Ok(place)
    }
}

impl Seen {
    fn turn_to(&mut self, snapshot: &Arc<Snapshot>) {
        if self.snapshot.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, snapshot)) {
            return;
        }
        self.selective = snapshot.destinations.rules().any(|rule| rule.selector.is_some());
        self.snapshot = Some(snapshot.clone());
        self.places.clear();
    }
}

/// What is asked for, as the snapshot has it.
enum Wanted<'a> {
    Service(OfService<'a>),
    Workload { workload: &'a Arc<Workload>, address: SocketAddr },
}

/// A port of a service, or of its subset.
#[derive(Clone, Copy)]
struct OfService<'a> {
    service: &'a Arc<Service>,
    port: &'a ServicePort,
    subset: Option<&'a Arc<str>>,
    /// The waypoint by which alone it is reached from here.
    bound: Bound<'a>,
}

/// What a cluster is made of.
struct Made {
    policy: TrafficPolicy,
    distribution: Distribution,
    endpoints: Vec<Endpoint>,
    /// The rule that it is made by, if that is for some clients only.
    rule: Option<RuleKey>,
    through: Option<Arc<Through>>,
}

impl<'a> Wanted<'a> {
    fn new(
        shared: &Shared,
        snapshot: &'a Snapshot,
        arrival: &'a Arrival,
        destination: &'a Destination,
    ) -> Option<Self> {
        let own = arrival.destination.as_ref() == Some(destination);
        let service = match &arrival.addressed {
            Addressed::Workload(workload, address, _) if own => {
                let workload = snapshot.workload(&workload.uid).unwrap_or(workload);
                return Some(Self::Workload { workload, address: *address });
            }
            Addressed::Service(service, _) if own => snapshot.service(&service.key)?,
            _ => snapshot.service_named(destination.host.as_str())?,
        };
        let port = match (destination.port, &service.ports[..]) {
            (Some(port), _) => service.port(port)?,
            // A service with one port leaves no choice.
            (None, [only]) => only,
            (None, _) => service.port(arrival.addressed.port())?,
        };
        let gateway = arrival.door().and_then(|_| shared.own_pod());
        let bound = match gateway {
            Some(gateway) if !waypoint::goes_past(snapshot, &gateway, service, port) => {
                waypoint::of_service(snapshot, service)
            }
            // A waypoint is between its clients and the service already.
            _ => Bound::None,
        };
        Some(Self::Service(OfService { service, port, subset: destination.subset.as_ref(), bound }))
    }

    fn key(&self) -> ClusterKey {
        match self {
            Self::Service(OfService { service, port, subset, .. }) => {
                ClusterKey::Service(service.key.clone(), port.port, subset.cloned())
            }
            Self::Workload { workload, address } => ClusterKey::Workload(workload.uid.clone(), *address),
        }
    }

    fn find(&self, shared: &Shared, snapshot: &Snapshot, arrival: &Arrival) -> Option<Place> {
        let made = match self {
            Self::Workload { workload, address } => Made {
                policy: TrafficPolicy::default(),
                distribution: Distribution::default(),
                endpoints: vec![Endpoint {
                    address: *address,
                    workload: Some((*workload).clone()),
                    topology: None,
                    weight: NonZeroU32::MIN,
                }],
                rule: None,
                through: None,
            },
            Self::Service(of) => match of.bound {
                Bound::None => of.direct(shared, snapshot, arrival)?,
                Bound::Waypoint(waypoint) => of.through(snapshot, Some(waypoint)),
                Bound::Unavailable(_) => of.through(snapshot, None),
            },
        };
        let settings = Settings::new(&made.policy, made.distribution);
        let known = shared.registry.known((self.key(), made.rule), || self.name(), &settings, made.endpoints);
        let (declared, service) = match self {
            Self::Service(of) => (Declared::of(of.port), Some(of.service.clone())),
            Self::Workload { .. } => (Declared::Unknown, None),
        };
        Some(Place { known, settings: Arc::new(settings), declared, service, through: made.through })
    }

    /// The name that Istio's waypoints give a cluster.
    fn name(&self) -> String {
        match self {
            Self::Service(OfService { service, port, subset, .. }) => {
                let kind = if Declared::of(port) == Declared::Opaque { "tcp" } else { "http" };
                let subset = subset.map(|subset| format!("/{subset}")).unwrap_or_default();
                format!("inbound-vip|{}|{kind}{subset}|{}", port.port, service.hostname)
            }
            Self::Workload { workload, address } => format!("inbound-pod|{}||{}", address.port(), workload.uid),
        }
    }
}

impl OfService<'_> {
    /// It is reached at its own endpoints.
    fn direct(self, shared: &Shared, snapshot: &Snapshot, arrival: &Arrival) -> Option<Made> {
        let Self { service, port, subset, .. } = self;
        let rules = snapshot.destinations.find(destination::Asked {
            host: &service.hostname,
            service_namespace: &service.key.namespace,
            viewer: &shared.key.namespace,
            root_namespace: &snapshot.mesh.root_namespace,
            client: arrival.routed().client,
        });
        let name = subset.map(|subset| &**subset);
        let policy = match rules {
            Some(rules) => rules.effective(None, name, port.port)?,
            None if name.is_some() => return None,
            None => TrafficPolicy::default(),
        };
        let chosen = name.and_then(|name| rules?.subsets.get(name));
        let endpoints = endpoints(snapshot, service.targets(port, self.dialled(arrival)), chosen);
        let selective = rules.and_then(|rules| rules.rules.first()).filter(|rule| rule.selector.is_some());
        let rule = selective.map(|rule| rule.key.clone());
        Some(Made { policy, distribution: service.distribution, endpoints, rule, through: None })
    }

    /// It is reached by a waypoint, which knows the rest; by nobody where that cannot serve.
    fn through(self, snapshot: &Snapshot, waypoint: Option<&Waypoint>) -> Made {
        let vip = self.service.vips.first().map(IpAddr::to_canonical);
        let address = vip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let pods = waypoint.into_iter().flat_map(|waypoint| waypoint.endpoints(snapshot, address));
        let endpoints = pods.map(|(address, target, pod)| Endpoint {
            address,
            workload: Some(pod.clone()),
            topology: None,
            weight: target.weight,
        });
        let port = self.port.port;
        let named = || format!("{}:{port}", self.service.hostname);
        let authority = vip.map_or_else(named, |vip| SocketAddr::new(vip, port).to_string());
        Made {
            policy: TrafficPolicy::default(),
            distribution: Distribution::default(),
            endpoints: endpoints.collect(),
            rule: None,
            through: Some(Arc::new(Through { authority, subset: self.subset.cloned() })),
        }
    }

    /// The address that its clients mean: that which was dialled, and where it was a gateway's, its own.
    fn dialled(self, arrival: &Arrival) -> IpAddr {
        let own = arrival.door().and_then(|_| self.service.vips.first());
        own.map_or_else(|| arrival.dialled().ip(), IpAddr::to_canonical)
    }
}

fn endpoints(snapshot: &Snapshot, targets: &[Target], subset: Option<&Subset>) -> Vec<Endpoint> {
    let endpoint = |target: &Target| {
        let workload = behind(snapshot, target).cloned();
        let labels = workload.as_ref().map(|workload| &workload.labels);
        let covered = subset.is_none_or(|subset| labels.is_some_and(|labels| subset.covers(labels)));
        covered.then(|| Endpoint {
            address: target.address,
            workload,
            topology: target.topology.as_ref().map(|topology| settled(snapshot, topology)),
            weight: target.weight,
        })
    };
    targets.iter().filter_map(endpoint).collect()
}

/// `topology`, with what it leaves out as its node is.
fn settled(snapshot: &Snapshot, topology: &Arc<Topology>) -> Arc<Topology> {
    let Locality { region, zone, subzone, .. } = place(snapshot, topology);
    if (region, zone, subzone) == (&*topology.region, &*topology.zone, &*topology.subzone) {
        return topology.clone();
    }
    let [region, zone, subzone] = [region, zone, subzone].map(Arc::from);
    Arc::new(Topology { node: topology.node.clone(), region, zone, subzone })
}

impl Registry {
    /// The cluster `key`, with these settings and endpoints from now on.
    fn known(
        &self,
        key: (ClusterKey, Option<RuleKey>),
        name: impl FnOnce() -> String,
        settings: &Settings,
        endpoints: Vec<Endpoint>,
    ) -> Arc<Known> {
        let now = Instant::now();
        let known = self.lock().get(&key).cloned();
        if let Some(known) = known {
            let mut made_of = known.made_of.lock().unwrap_or_else(PoisonError::into_inner);
            if made_of.0 != *settings || made_of.1 != endpoints {
                tell(&known, known.cluster.update(settings, endpoints.clone(), now));
                *made_of = (settings.clone(), endpoints);
            }
            drop(made_of);
            return known;
        }
        let known = Arc::new(Known {
            name: Arc::from(name()),
            cluster: Cluster::new(settings, endpoints.clone(), now),
            number: self.last.fetch_add(1, Ordering::Relaxed),
            made_of: Mutex::new((settings.clone(), endpoints)),
        });
        // Another worker may have been first.
        self.lock().entry(key).or_insert(known).clone()
    }

    /// Every cluster.
    pub(crate) fn all(&self) -> Vec<Arc<Known>> {
        self.lock().values().cloned().collect()
    }

    /// Brings back endpoints whose time is over, and forgets clusters of services that are no more.
    pub(crate) fn sweep(&self, snapshot: &Snapshot, now: Instant) {
        self.lock().retain(|(key, _), known| {
            let exists = match key {
                ClusterKey::Service(service, ..) => snapshot.service(service).is_some(),
                ClusterKey::Workload(workload, _) => snapshot.workload(workload).is_some(),
            };
            exists || Arc::strong_count(known) > 1
        });
        for known in self.all() {
            if known.cluster.next_sweep().is_some_and(|due| due <= now) {
                tell(&known, known.cluster.sweep(now));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, AllKnown> {
        self.clusters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tell(known: &Known, events: impl IntoIterator<Item = Event>) {
    for event in events {
        tracing::warn!(cluster = %known.name, "{event}");
    }
}

impl Place {
    /// The number of its cluster.
    pub(crate) fn number(&self) -> u64 {
        self.known.number
    }

    /// How the log calls it.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.known.name
    }

    /// The service that it is.
    pub(crate) fn service(&self) -> Option<&Arc<Service>> {
        self.service.as_ref()
    }

    /// What its endpoints are asked for, if those are a waypoint's pods.
    pub(crate) fn through(&self) -> Option<&Arc<Through>> {
        self.through.as_ref()
    }

    /// What holds for it.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What of a request is hashed, where that decides.
    pub(crate) fn hash_key(&self) -> Option<&HashKey> {
        match &self.settings.balancer.balance {
            Balance::Hash(key, _) => Some(key),
            Balance::Simple(_) => None,
        }
    }

    /// The limits of its connections and requests.
    pub(crate) fn limits(&self) -> &Arc<Limits> {
        self.known.cluster.limits()
    }

    /// The endpoint that is next; none if there is nobody.
    pub(crate) fn pick(&self, ask: &Ask<'_>) -> Option<Picked> {
        self.known.cluster.pick(ask).ok()
    }

    /// An endpoint for a request that nothing is known of.
    pub(crate) fn pick_any(&self, arrival: &Arrival) -> Option<Picked> {
        self.pick(&Ask {
            now: Instant::now(),
            draw: rand::random(),
            hash: None,
            dialled: arrival.dialled(),
            client: arrival.workload.as_deref(),
            avoid: &[],
        })
    }

    /// Tells what became of a request to `picked`: its answer, or that there was none, which is no sign of anything unless
    /// the endpoint `failed`.
    pub(crate) fn learn(&self, picked: &Picked, outcome: Result<&Response<Incoming>, bool>) {
        let outcome = match outcome {
            Ok(response) => Outcome::Answered(status_of(response)),
            Err(true) => Outcome::Failed,
            Err(false) => return,
        };
        tell(&self.known, picked.report(outcome, Instant::now()));
    }

    /// Tells whether a connection that carries bytes could be made to `picked`.
    pub(crate) fn learn_connected(&self, picked: &Picked, connected: bool) {
        let outcome = if connected { Outcome::Connected } else { Outcome::Failed };
        tell(&self.known, picked.report(outcome, Instant::now()));
    }

    /// The version of HTTP that endpoints are spoken to in, for a client that speaks `client`.
    pub(crate) fn version(&self, client: Version, is_grpc: bool, upgrades: bool) -> Version {
        let as_client = if client == Version::HTTP_2 { Version::HTTP_2 } else { Version::HTTP_11 };
        if upgrades {
            return Version::HTTP_11;
        }
        match (self.settings.pool.upgrade, self.declared) {
            (HttpUpgrade::Always, _) | (_, Declared::Http2) => Version::HTTP_2,
            (HttpUpgrade::AsClient, _) | (_, Declared::Unknown | Declared::Opaque) => as_client,
            // There is no gRPC over HTTP/1.1.
            (HttpUpgrade::Mesh | HttpUpgrade::Never, Declared::Http) if is_grpc => as_client,
            (HttpUpgrade::Mesh | HttpUpgrade::Never, Declared::Http) => Version::HTTP_11,
        }
    }
}

/// The status of an answer; that of a gRPC call, if its head says it already, as the one of HTTP that stands for it.
fn status_of(response: &Response<Incoming>) -> u16 {
    let grpc = response.headers().get("grpc-status").and_then(|value| value.to_str().ok()?.parse().ok());
    grpc.map_or(response.status().as_u16(), http_status)
}
