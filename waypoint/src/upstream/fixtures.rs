//! Clusters for tests: endpoints by number, and how often each is picked.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use ambit_model::destination::{Balance, LoadBalancer};
use ambit_model::{Enrolment, Identity, NetworkMode, Owner, Workload, WorkloadUid};

use super::cluster::{Ask, Cluster, Endpoint, NoEndpoint, Picked, Settings};

/// How often each endpoint was picked, by number.
pub(crate) type Counts = BTreeMap<u8, u32>;

pub(crate) fn address(number: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, number], 80))
}

/// The number of an endpoint.
pub(crate) fn number(picked: &Picked) -> u8 {
    match picked.endpoint().address {
        SocketAddr::V4(address) => address.ip().octets()[3],
        SocketAddr::V6(_) => panic!("there is none"),
    }
}

pub(crate) fn weighted(number: u8, weight: u32) -> Endpoint {
    Endpoint { address: address(number), workload: None, topology: None, weight: NonZeroU32::new(weight).unwrap() }
}

/// Endpoints numbered from 1 on, all alike.
pub(crate) fn endpoints(count: u8) -> Vec<Endpoint> {
    (1..=count).map(|number| weighted(number, 1)).collect()
}

/// An endpoint at `region/zone/subzone/node`, with a label `version`.
pub(crate) fn placed(number: u8, place: &str, version: &str) -> Endpoint {
    Endpoint { workload: Some(Arc::new(workload(place, version))), ..weighted(number, 1) }
}

/// A pod at `region/zone/subzone/node`, with a label `version`.
pub(crate) fn workload(place: &str, version: &str) -> Workload {
    let mut parts = place.split('/');
    let mut next = || Arc::from(parts.next().unwrap_or_default());
    Workload {
        uid: WorkloadUid::pod("Kubernetes", "shop", "web"),
        name: "web".into(),
        namespace: "shop".into(),
        identity: Identity::new("cluster.local".parse().unwrap(), "shop", "web"),
        addresses: Vec::new(),
        network_mode: NetworkMode::Standard,
        enrolment: Enrolment::Enrolled,
        ready: true,
        dns_capture: true,
        labels: BTreeMap::from([("version".into(), version.into())]),
        owner: Owner { kind: "pod".into(), name: "web".into() },
        canonical_name: "web".into(),
        canonical_revision: version.into(),
        cluster: "Kubernetes".into(),
        region: next(),
        zone: next(),
        subzone: next(),
        waypoint: None,
        node: next(),
        pod_uid: None,
        netns: None,
    }
}

pub(crate) fn settings(balance: Balance) -> Settings {
    Settings { balancer: LoadBalancer { balance, ..LoadBalancer::default() }, ..Settings::default() }
}

pub(crate) fn ask(now: Instant, draw: u64) -> Ask<'static> {
    Ask { now, draw, hash: None, dialled: address(0), client: None, avoid: &[] }
}

/// Picks `many` times, one after the other, each with a draw of its own.
pub(crate) fn counts(cluster: &Arc<Cluster>, many: u32, with: impl Fn(Ask<'static>) -> Ask<'static>) -> Counts {
    let mut counts = Counts::new();
    let now = Instant::now();
    for draw in 0..many {
        let picked = cluster.pick(&with(ask(now, draw.into()))).unwrap();
        *counts.entry(number(&picked)).or_default() += 1;
    }
    counts
}

/// Why nobody is picked.
pub(crate) fn nobody(cluster: &Arc<Cluster>) -> NoEndpoint {
    cluster.pick(&ask(Instant::now(), 1)).unwrap_err()
}

/// Fails unless `count` of `many` is what a chance of `expected` gives, to five standard deviations.
pub(crate) fn assert_likely(count: u32, many: u32, expected: f64) {
    let many = f64::from(many);
    let deviation = (many * expected * (1.0 - expected)).sqrt();
    let off = (f64::from(count) - many * expected).abs();
    assert!(off <= 5.0 * deviation + 1e-6, "{count} of {many}, where {expected} was to be expected");
}
