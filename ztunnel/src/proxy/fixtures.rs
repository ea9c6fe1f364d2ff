//! Pods, workloads and services for the tests of the proxy.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use ambit_model::{
    Enrolment, Identity, NetworkMode, Owner, Service, ServiceKey, ServicePort, Target, Workload, WorkloadUid,
};
use ambit_net::netns::NetNs;

use super::pod::Pod;

pub(crate) fn uid(name: &str) -> WorkloadUid {
    WorkloadUid::pod("Kubernetes", "shop", name)
}

pub(crate) fn identity(account: &str) -> Identity {
    Identity::new("cluster.local".parse().unwrap(), "shop", account)
}

/// A pod in the namespace that the tests run in.
pub(crate) fn pod(name: &str, addresses: &[&str]) -> Pod {
    Pod {
        uid: uid(name),
        identity: identity(name),
        netns: NetNs::current().unwrap(),
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        path: PathBuf::from("/proc/self/ns/net"),
    }
}

/// An enrolled pod of namespace `shop` on node `a`, of a Deployment of the same name.
pub(crate) fn workload(name: &str, addresses: &[&str]) -> Workload {
    Workload {
        uid: uid(name),
        name: format!("{name}-x").as_str().into(),
        namespace: "shop".into(),
        identity: identity(name),
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        node: "a".into(),
        network_mode: NetworkMode::Standard,
        enrolment: Enrolment::Enrolled,
        ready: true,
        dns_capture: true,
        waypoint: None,
        labels: BTreeMap::new(),
        owner: Owner { kind: "deployment".into(), name: name.into() },
        canonical_name: name.into(),
        canonical_revision: "v1".into(),
        cluster: "Kubernetes".into(),
        region: "".into(),
        zone: "".into(),
        subzone: "".into(),
        pod_uid: None,
        netns: None,
    }
}

/// A service of namespace `shop` with one port and one endpoint.
pub(crate) fn service(name: &str, endpoint: &str) -> Arc<Service> {
    let (address, weight) = (endpoint.parse::<SocketAddr>().unwrap(), std::num::NonZeroU32::MIN);
    let target = Target { address, workload: None, topology: None, weight };
    let (targets, members) = (vec![target.clone()], vec![target]);
    Arc::new(Service {
        key: ServiceKey::new("shop", name),
        hostname: format!("{name}.shop.svc.cluster.local").as_str().into(),
        vips: Vec::new(),
        ranges: Vec::new(),
        resolution: ambit_model::Resolution::Endpoints,
        alias: None,
        visibility: ambit_model::route::Visibility::Public,
        waypoint: None,
        ports: vec![ServicePort { port: 80, name: "".into(), app_protocol: None, targets, members }],
        distribution: ambit_model::Distribution::Anywhere,
    })
}
