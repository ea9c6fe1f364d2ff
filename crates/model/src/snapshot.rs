//! The snapshot: everything the mesh knows at one moment, indexed for the questions that a connection asks.
//! Copies share their structure, so publishing a change costs what changed and readers keep what they hold.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use serde::Serialize;

use crate::cidr::Cidr;
use crate::destination::DestinationRules;
use crate::gateway::Gateways;
use crate::identity::TrustDomains;
use crate::policy::Policies;
use crate::route::Routes;
use crate::service::{Service, ServiceKey};
use crate::waypoint::{Binding, Waypoint, WaypointKey};
use crate::workload::{NetworkMode, Workload, WorkloadUid};

pub use names::Resolved;

/// What holds for the whole mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mesh {
    /// The trust domain and its aliases.
    pub trust_domains: TrustDomains,
    /// This cluster's name, as metrics and baggage carry it (Istio's default is `Kubernetes`).
    pub cluster: Arc<str>,
    /// The DNS suffix of services (`cluster.local`).
    pub domain: Arc<str>,
    /// How enrolled pods of one node reach one another.
    pub same_node: SameNode,
    /// The namespace whose policies are for the whole mesh (Istio MeshConfig `rootNamespace`).
    pub root_namespace: Arc<str>,
    /// Whether a waypoint can be gone around.
    pub waypoints: Waypoints,
}

impl Default for Mesh {
    fn default() -> Self {
        Self {
            trust_domains: TrustDomains::default(),
            cluster: Arc::from("Kubernetes"),
            domain: Arc::from("cluster.local"),
            same_node: SameNode::default(),
            root_namespace: Arc::from("istio-system"),
            waypoints: Waypoints::default(),
        }
    }
}

/// How enrolled pods of one node reach one another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum SameNode {
    /// By the node's one ztunnel, which holds both ends: bytes never leave the node and are not encrypted to itself.
    #[default]
    Direct,
    /// By HBONE, as if they were on two nodes.
    Tls,
}

/// Whether what is bound to a waypoint can be reached without it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Waypoints {
    /// No: where the waypoint cannot serve it is not reached at all, and a destination refuses who comes another way.
    #[default]
    Required,
    /// Yes, as with Istio: where the waypoint cannot serve it is gone around, and a destination takes whoever comes.
    Preferred,
}

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Node {
    /// `metadata.name`.
    pub name: Arc<str>,
    /// `status.addresses` of type InternalIP and ExternalIP.
    pub addresses: Vec<IpAddr>,
    /// Label `topology.kubernetes.io/region`.
    pub region: Arc<str>,
    /// Label `topology.kubernetes.io/zone`.
    pub zone: Arc<str>,
    /// Label `topology.istio.io/subzone`.
    pub subzone: Arc<str>,
}

/// Everything the mesh knows at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// What holds for the whole mesh.
    pub mesh: Arc<Mesh>,
    /// Who may talk to whom.
    pub policies: Policies,
    /// Where traffic goes, at waypoints and gateways.
    pub routes: Routes,
    /// How endpoints are reached, from waypoints and gateways.
    pub destinations: DestinationRules,
    /// What is let in from outside, and where.
    pub gateways: Gateways,
    workloads: OrdMap<WorkloadUid, Arc<Workload>>,
    services: OrdMap<ServiceKey, Arc<Service>>,
    waypoints: OrdMap<WaypointKey, Arc<Waypoint>>,
    /// The waypoints whose pods' agents take HBONE for them.
    behind_agents: OrdSet<WaypointKey>,
    /// The services that ask for a waypoint.
    binding: OrdSet<ServiceKey>,
    nodes: OrdMap<Arc<str>, Arc<Node>>,
    /// The namespaces whose pods are in the mesh unless they say otherwise.
    enrolled: OrdSet<Arc<str>>,
    // What claims a key, ascending: the first answers. Several claim it while an address changes hands.
    workloads_by_address: OrdMap<IpAddr, Vec<WorkloadUid>>,
    services_by_vip: OrdMap<IpAddr, Vec<ServiceKey>>,
    services_by_range: OrdMap<Cidr, Vec<ServiceKey>>,
    services_by_hostname: OrdMap<Arc<str>, Vec<ServiceKey>>,
    services_by_endpoint: OrdMap<SocketAddr, Vec<ServiceKey>>,
    nodes_by_address: OrdMap<IpAddr, Vec<Arc<str>>>,
}

impl Snapshot {
    /// A snapshot of an empty mesh.
    #[must_use]
    pub fn new(mesh: Mesh) -> Self {
        Self { mesh: Arc::new(mesh), ..Self::default() }
    }

    /// Adds `workload`, replacing the one of its UID.
    pub fn insert_workload(&mut self, workload: Arc<Workload>) {
        self.remove_workload(&workload.uid.clone());
        for address in indexed_addresses(&workload) {
            claim(&mut self.workloads_by_address, address, &workload.uid);
        }
        self.workloads.insert(workload.uid.clone(), workload);
    }

    /// Removes the workload `uid`, if it is there.
    pub fn remove_workload(&mut self, uid: &WorkloadUid) {
        let Some(old) = self.workloads.remove(uid) else { return };
        for address in indexed_addresses(&old) {
            release(&mut self.workloads_by_address, &address, uid);
        }
    }

    /// Adds `service`, replacing the one of its key.
    pub fn insert_service(&mut self, service: Arc<Service>) {
        self.remove_service(&service.key.clone());
        for vip in &service.vips {
            claim(&mut self.services_by_vip, vip.to_canonical(), &service.key);
        }
        for range in &service.ranges {
            claim(&mut self.services_by_range, *range, &service.key);
        }
        claim(&mut self.services_by_hostname, service.hostname.clone(), &service.key);
        for address in endpoints(&service) {
            claim(&mut self.services_by_endpoint, address, &service.key);
        }
        if service.waypoint.is_some() {
            self.binding.insert(service.key.clone());
        }
        self.services.insert(service.key.clone(), service);
    }

    /// Removes the service `key`, if it is there.
    pub fn remove_service(&mut self, key: &ServiceKey) {
        let Some(old) = self.services.remove(key) else { return };
        self.binding.remove(key);
        for vip in &old.vips {
            release(&mut self.services_by_vip, &vip.to_canonical(), key);
        }
        for range in &old.ranges {
            release(&mut self.services_by_range, range, key);
        }
        release(&mut self.services_by_hostname, &old.hostname, key);
        for address in endpoints(&old) {
            release(&mut self.services_by_endpoint, &address, key);
        }
    }

    /// Adds `waypoint`, replacing the one of its key.
    pub fn insert_waypoint(&mut self, waypoint: Arc<Waypoint>) {
        match waypoint.binding {
            Binding::Hbone => drop(self.behind_agents.remove(&waypoint.key)),
            Binding::Proxy(_) | Binding::Raw(_) => drop(self.behind_agents.insert(waypoint.key.clone())),
        }
        self.waypoints.insert(waypoint.key.clone(), waypoint);
    }

    /// Removes the waypoint `key`, if it is there.
    pub fn remove_waypoint(&mut self, key: &WaypointKey) {
        self.behind_agents.remove(key);
        self.waypoints.remove(key);
    }

    /// Adds `node`, replacing the one of its name.
    pub fn insert_node(&mut self, node: Arc<Node>) {
        self.remove_node(&node.name.clone());
        for address in &node.addresses {
            claim(&mut self.nodes_by_address, address.to_canonical(), &node.name);
        }
        self.nodes.insert(node.name.clone(), node);
    }

    /// Removes the node `name`, if it is there.
    pub fn remove_node(&mut self, name: &str) {
        let Some(old) = self.nodes.remove(name) else { return };
        for address in &old.addresses {
            release(&mut self.nodes_by_address, &address.to_canonical(), &old.name);
        }
    }

    /// True if `other` admits whom this one does, since workloads, nodes and policies are the same, and where services ask
    /// for waypoints, services, waypoints and gateways. Costs nothing; false may be an error.
    #[must_use]
    pub fn admits_as(&self, other: &Self) -> bool {
        let known = self.workloads.ptr_eq(&other.workloads) && self.nodes.ptr_eq(&other.nodes);
        let unbound = !self.binds_services() && !other.binds_services();
        let bound = unbound || (self.services.ptr_eq(&other.services) && self.gateways.is_same(&other.gateways));
        known && bound && self.waypoints.ptr_eq(&other.waypoints) && self.policies.is_same(&other.policies)
    }

    /// The workload `uid`.
    #[must_use]
    pub fn workload(&self, uid: &WorkloadUid) -> Option<&Arc<Workload>> {
        self.workloads.get(uid)
    }

    /// The workload whose own address is `address`; never one in a node's network namespace.
    #[must_use]
    pub fn workload_at(&self, address: IpAddr) -> Option<&Arc<Workload>> {
        self.claimants_of(address).next()
    }

    /// Every workload that claims `address` as its own, ascending by UID: more than one while it changes hands.
    pub fn claimants_of(&self, address: IpAddr) -> impl Iterator<Item = &Arc<Workload>> {
        let uids = self.workloads_by_address.get(&address.to_canonical());
        uids.into_iter().flatten().filter_map(|uid| self.workloads.get(uid))
    }

    /// The waypoint `key`.
    #[must_use]
    pub fn waypoint(&self, key: &WaypointKey) -> Option<&Arc<Waypoint>> {
        self.waypoints.get(key)
    }

    /// The waypoints whose pods' agents take HBONE for them.
    pub(crate) fn waypoints_behind_agents(&self) -> impl Iterator<Item = &Arc<Waypoint>> {
        self.behind_agents.iter().filter_map(|key| self.waypoints.get(key))
    }

    /// True if there is a service that asks for a waypoint.
    #[must_use]
    pub fn binds_services(&self) -> bool {
        !self.binding.is_empty()
    }

    /// The services that ask for a waypoint, ascending by key.
    pub fn binding_services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.binding.iter().filter_map(|key| self.services.get(key))
    }

    /// The service `key`.
    #[must_use]
    pub fn service(&self, key: &ServiceKey) -> Option<&Arc<Service>> {
        self.services.get(key)
    }

    /// The service that a client of `namespace` means by `address`: one that has exactly this address, or else one with
    /// a range around it. Of several, one of the client's own namespace, then the one with the longest range, then the
    /// first (as Istio ranks them).
    #[must_use]
    pub fn service_dialled(&self, address: IpAddr, namespace: &str) -> Option<&Arc<Service>> {
        let address = address.to_canonical();
        let exact = self.services_by_vip.get(&address).into_iter().flatten();
        self.preferred(exact, namespace).or_else(|| self.preferred(self.around(address).flatten(), namespace))
    }

    /// Of the services that clients of `namespace` see, its own, or else the first.
    fn preferred<'a>(
        &'a self,
        keys: impl Iterator<Item = &'a ServiceKey>,
        namespace: &str,
    ) -> Option<&'a Arc<Service>> {
        let seen = |service: &&Arc<Service>| service.visibility.admits(namespace);
        let mut services = keys.filter_map(|key| self.services.get(key)).filter(seen).peekable();
        let first = services.peek().copied();
        services.find(|service| *service.key.namespace == *namespace).or(first)
    }

    /// Who claims the ranges around `address`, the longest range first.
    fn around(&self, address: IpAddr) -> impl Iterator<Item = &Vec<ServiceKey>> {
        let mut longest = Some(u8::MAX);
        // Only lengths that some range has are looked at.
        std::iter::from_fn(move || {
            loop {
                let probe = Cidr::around(address, longest?);
                let (range, keys) = self.services_by_range.get_prev(&probe)?;
                longest = range.length().min(probe.length()).checked_sub(u8::from(range.length() == probe.length()));
                if *range == probe {
                    return Some(keys);
                }
            }
        })
    }

    /// The service named `hostname`, such as `reviews.shop.svc.cluster.local`.
    #[must_use]
    pub fn service_named(&self, hostname: &str) -> Option<&Arc<Service>> {
        self.services.get(self.services_by_hostname.get(hostname)?.first()?)
    }

    /// The services that have `address` as an endpoint of one of their ports, ascending by key.
    pub fn services_with(&self, address: SocketAddr) -> impl Iterator<Item = &Arc<Service>> {
        self.services_by_endpoint.get(&address).into_iter().flatten().filter_map(|key| self.services.get(key))
    }

    /// Says whether the pods of `namespace` are in the mesh unless they say otherwise. True if that is a change.
    pub fn set_enrolled(&mut self, namespace: &Arc<str>, enrolled: bool) -> bool {
        if enrolled {
            self.enrolled.insert(namespace.clone()).is_none()
        } else {
            self.enrolled.remove(namespace).is_some()
        }
    }

    /// The namespaces whose pods are in the mesh unless they say otherwise, ascending.
    pub fn enrolled_namespaces(&self) -> impl Iterator<Item = &Arc<str>> {
        self.enrolled.iter()
    }

    /// The node `name`.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&Arc<Node>> {
        self.nodes.get(name)
    }

    /// The node that has `address`.
    #[must_use]
    pub fn node_at(&self, address: IpAddr) -> Option<&Arc<Node>> {
        let address = address.to_canonical();
        self.nodes.get(self.nodes_by_address.get(&address)?.first()?)
    }

    /// Every workload, ascending by UID.
    pub fn workloads(&self) -> impl Iterator<Item = &Arc<Workload>> {
        self.workloads.values()
    }

    /// Every service, ascending by key.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.values()
    }

    /// Every waypoint, ascending by key.
    pub fn waypoints(&self) -> impl Iterator<Item = &Arc<Waypoint>> {
        self.waypoints.values()
    }

    /// Every node, ascending by name.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes.values()
    }

    /// Addresses that more than one workload claims, with the claimants: the first of each answers.
    pub fn disputed_addresses(&self) -> impl Iterator<Item = (&IpAddr, &[WorkloadUid])> {
        self.workloads_by_address.iter().filter(|(_, uids)| uids.len() > 1).map(|(ip, uids)| (ip, uids.as_slice()))
    }
}

/// The addresses by which a workload is found: those in a node's namespace name no single workload.
fn indexed_addresses(workload: &Workload) -> Vec<IpAddr> {
    match workload.network_mode {
        NetworkMode::Standard => workload.addresses.iter().map(IpAddr::to_canonical).collect(),
        NetworkMode::HostNetwork => Vec::new(),
    }
}

fn endpoints(service: &Service) -> impl Iterator<Item = SocketAddr> + '_ {
    service.ports.iter().flat_map(|port| &port.members).map(|target| target.address)
}

fn claim<K: Ord + Clone, V: Ord + Clone>(index: &mut OrdMap<K, Vec<V>>, key: K, claimant: &V) {
    let claimants = index.entry(key).or_default();
    if let Err(place) = claimants.binary_search(claimant) {
        claimants.insert(place, claimant.clone());
    }
}

fn release<K: Ord + Clone, V: Ord + Clone>(index: &mut OrdMap<K, Vec<V>>, key: &K, claimant: &V) {
    let Some(claimants) = index.get_mut(key) else { return };
    claimants.retain(|c| c != claimant);
    if claimants.is_empty() {
        index.remove(key);
    }
}

mod names;
#[cfg(test)]
mod tests;
