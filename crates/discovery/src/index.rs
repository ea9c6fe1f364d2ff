//! Joins what sources tell into snapshots, as a pure data structure: pods with their namespaces' labels and their
//! nodes' zones, services and hosts of ServiceEntries with their endpoints, the addresses that they are given and their
//! namespaces' annotations. A change costs what it touches, not what there is.

mod allocation;
mod endpoints;
mod namespace;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ambit_api::{Kind, ObjectRef, Resource, resource, translate};
use ambit_model::policy::PolicyKey;
use ambit_model::{Mesh, Node, ServiceKey, Snapshot, Workload, WorkloadUid};

use crate::event::Event;
use allocation::Allocation;
use namespace::Namespace;

/// Everything that sources have told, joined.
#[derive(Debug)]
pub struct Index {
    snapshot: Snapshot,
    excluded: BTreeSet<Arc<str>>,
    namespaces: BTreeMap<Arc<str>, Namespace>,
    pods_by_node: BTreeMap<Arc<str>, BTreeSet<PodKey>>,
    allocation: Allocation,
}

/// A pod's namespace and name.
type PodKey = (Arc<str>, Arc<str>);

/// What has to be joined anew.
#[derive(Default)]
struct Touched {
    pods: BTreeSet<PodKey>,
    services: BTreeSet<ServiceKey>,
    anything: bool,
}

impl Index {
    /// An index of nothing, for `mesh`, where pods of the `excluded` namespaces are never enrolled.
    pub fn new(mesh: Mesh, excluded: impl IntoIterator<Item = Arc<str>>) -> Self {
        Self {
            snapshot: Snapshot::new(mesh),
            excluded: excluded.into_iter().collect(),
            namespaces: BTreeMap::new(),
            pods_by_node: BTreeMap::new(),
            allocation: Allocation::default(),
        }
    }

    /// Applies `events` as one change. False if they change nothing that a snapshot shows.
    pub fn apply(&mut self, mut events: Vec<Event>) -> bool {
        // Kinds do not depend on one another's order. Services first: each pod then finds those that select it,
        // where otherwise each service would look through all pods.
        events.sort_by_key(rank);
        let mut touched = Touched::default();
        for event in events {
            match event {
                Event::Upsert(Resource::Inert(reference)) | Event::Delete(reference) => {
                    self.remove(&reference, &mut touched);
                }
                Event::Upsert(resource) => self.upsert(resource, &mut touched),
            }
        }
        for (namespace, name) in std::mem::take(&mut touched.pods) {
            touched.anything |= self.join_pod(&namespace, &name);
        }
        touched.services.extend(self.allocation.settle());
        for key in std::mem::take(&mut touched.services) {
            touched.anything |= self.join_service(&key);
        }
        touched.anything
    }

    /// What holds now. Shares its structure with the index: cheap.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.snapshot.clone()
    }

    fn upsert(&mut self, resource: Resource, touched: &mut Touched) {
        match resource {
            Resource::Namespace(namespace) => self.set_namespace(&namespace, touched),
            Resource::Node(node) => self.set_node(&node.name.clone(), Some(node), touched),
            Resource::Pod(pod) => {
                let (namespace, name) = (pod.workload.namespace.clone(), pod.workload.name.clone());
                self.set_pod(&namespace, &name, Some(pod), touched);
            }
            Resource::Service(service) => self.set_service(service.key(), Some(service), touched),
            Resource::ServiceEntry(entry) => self.set_hosts(&entry.namespace, &entry.name, &entry.hosts, touched),
            Resource::WorkloadEntry(entry) => {
                let (namespace, name) = (entry.namespace.clone(), entry.name.clone());
                touched.services.extend(self.namespace(&namespace).set_workload_entry(&name, Some(entry)));
            }
            Resource::EndpointSlice(slice) => {
                let (namespace, name) = (slice.namespace.clone(), slice.name.clone());
                self.set_slice(&namespace, &name, Some(slice), touched);
            }
            Resource::PeerAuthentication(policy) => {
                touched.anything |= self.snapshot.policies.set_peer(&policy.key.clone(), Some(policy));
            }
            Resource::AuthorizationPolicy(policy) => {
                touched.anything |= self.snapshot.policies.set_authorization(&policy.key.clone(), Some(policy));
            }
            Resource::VirtualService(service) => {
                touched.anything |= self.snapshot.routes.set(&service.key.clone(), Some(service));
            }
            Resource::DestinationRule(rule) => {
                touched.anything |= self.snapshot.destinations.set(&rule.key.clone(), Some(rule));
            }
            Resource::Inert(_) => {}
        }
    }

    fn remove(&mut self, reference: &ObjectRef, touched: &mut Touched) {
        let ObjectRef { kind, namespace, name } = reference;
        match kind {
            Kind::Namespace => {
                let unmarked = resource::Namespace { name: name.clone(), mode: None, distribution: None };
                self.set_namespace(&unmarked, touched);
            }
            Kind::Node => self.set_node(name, None, touched),
            Kind::Pod => self.set_pod(namespace, name, None, touched),
            Kind::Service => self.set_service(ServiceKey::new(namespace, name), None, touched),
            Kind::ServiceEntry => self.set_hosts(namespace, name, &[], touched),
            Kind::WorkloadEntry => {
                touched.services.extend(self.namespace(namespace).set_workload_entry(name, None));
            }
            Kind::EndpointSlice => self.set_slice(namespace, name, None, touched),
            Kind::PeerAuthentication | Kind::AuthorizationPolicy | Kind::VirtualService | Kind::DestinationRule => {
                let key = PolicyKey { namespace: namespace.clone(), name: name.clone() };
                let snapshot = &mut self.snapshot;
                touched.anything |= match kind {
                    Kind::PeerAuthentication => snapshot.policies.set_peer(&key, None),
                    Kind::VirtualService => snapshot.routes.set(&key, None),
                    Kind::DestinationRule => snapshot.destinations.set(&key, None),
                    _ => snapshot.policies.set_authorization(&key, None),
                };
            }
            Kind::ServiceAccount => {}
        }
        let home = if *kind == Kind::Namespace { name } else { namespace };
        if self.namespaces.get(home).is_some_and(Namespace::is_empty) {
            self.namespaces.remove(home);
        }
    }

    fn set_namespace(&mut self, written: &resource::Namespace, touched: &mut Touched) {
        let name = &written.name;
        let namespace = self.namespace(name);
        if namespace.mode != written.mode {
            namespace.mode = written.mode;
            touched.pods.extend(namespace.pods.keys().map(|pod| (name.clone(), pod.clone())));
        }
        if namespace.distribution != written.distribution {
            namespace.distribution = written.distribution;
            touched.services.extend(namespace.inheriting().cloned());
        }
    }

    fn set_service(&mut self, key: ServiceKey, service: Option<Arc<resource::Service>>, touched: &mut Touched) {
        let old = self.namespace(&key.namespace).set_service(&key, service.clone());
        self.allocation.set(&key, old.as_deref(), service.as_deref());
        touched.services.insert(key);
    }

    fn set_hosts(
        &mut self,
        namespace: &Arc<str>,
        name: &Arc<str>,
        hosts: &[Arc<resource::Service>],
        touched: &mut Touched,
    ) {
        let keys = hosts.iter().map(|host| host.key()).collect();
        for gone in self.namespace(namespace).set_hosts(name, keys) {
            self.set_service(gone, None, touched);
        }
        for host in hosts {
            self.set_service(host.key(), Some(host.clone()), touched);
        }
    }

    fn set_node(&mut self, name: &Arc<str>, node: Option<Arc<Node>>, touched: &mut Touched) {
        let old = self.snapshot.node(name).cloned();
        if old == node {
            return;
        }
        touched.anything = true;
        if locality(old.as_deref()) != locality(node.as_deref()) {
            touched.pods.extend(self.pods_by_node.get(name).into_iter().flatten().cloned());
        }
        match node {
            Some(node) => self.snapshot.insert_node(node),
            None => self.snapshot.remove_node(name),
        }
    }

    fn set_pod(
        &mut self,
        namespace: &Arc<str>,
        name: &Arc<str>,
        pod: Option<Arc<resource::Pod>>,
        touched: &mut Touched,
    ) {
        let key = (namespace.clone(), name.clone());
        let new_node = pod.as_ref().map(|pod| pod.workload.node.clone()).filter(|node| !node.is_empty());
        let (old, selecting) = self.namespace(namespace).set_pod(name, pod);
        touched.services.extend(selecting);
        let old_node = old.map(|pod| pod.workload.node.clone()).filter(|node| !node.is_empty());
        if old_node != new_node {
            if let Some(old) = old_node {
                release(&mut self.pods_by_node, &old, &key);
            }
            if let Some(new) = new_node {
                self.pods_by_node.entry(new).or_default().insert(key.clone());
            }
        }
        touched.pods.insert(key);
    }

    fn set_slice(
        &mut self,
        namespace: &Arc<str>,
        name: &Arc<str>,
        slice: Option<Arc<resource::EndpointSlice>>,
        touched: &mut Touched,
    ) {
        let services = self.namespace(namespace).set_slice(name, slice);
        touched.services.extend(services.iter().map(|service| ServiceKey::new(namespace, service)));
    }

    fn namespace(&mut self, name: &Arc<str>) -> &mut Namespace {
        self.namespaces.entry(name.clone()).or_default()
    }

    /// Joins a pod with its namespace and node. False if that changed nothing.
    fn join_pod(&mut self, namespace: &Arc<str>, name: &Arc<str>) -> bool {
        let home = self.namespaces.get(namespace);
        let Some((home, pod)) = home.and_then(|home| Some((home, home.pods.get(name)?))) else {
            let uid = WorkloadUid::pod(&self.snapshot.mesh.cluster, namespace, name);
            let known = self.snapshot.workload(&uid).is_some();
            self.snapshot.remove_workload(&uid);
            return known;
        };
        let (region, zone, subzone) = locality(self.snapshot.node(&pod.workload.node).map(|node| &**node));
        let workload = Workload {
            enrolment: translate::enrolment(pod, home.mode, self.excluded.contains(namespace)),
            region,
            zone,
            subzone,
            ..pod.workload.clone()
        };
        if self.snapshot.workload(&workload.uid).is_some_and(|known| **known == workload) {
            return false;
        }
        self.snapshot.insert_workload(Arc::new(workload));
        true
    }

    /// Joins a service with its endpoints. False if that changed nothing.
    fn join_service(&mut self, key: &ServiceKey) -> bool {
        let known = self.snapshot.service(key);
        match self
            .namespaces
            .get(&key.namespace)
            .and_then(|home| home.join_service(key, self.allocation.addresses(key)))
        {
            Some(service) if known.is_some_and(|known| **known == service) => false,
            Some(service) => {
                self.snapshot.insert_service(Arc::new(service));
                true
            }
            None => {
                let known = known.is_some();
                self.snapshot.remove_service(key);
                known
            }
        }
    }
}

fn rank(event: &Event) -> Kind {
    match event {
        Event::Upsert(Resource::Namespace(_)) => Kind::Namespace,
        Event::Upsert(Resource::Node(_)) => Kind::Node,
        Event::Upsert(Resource::Service(_)) => Kind::Service,
        Event::Upsert(Resource::ServiceEntry(_)) => Kind::ServiceEntry,
        Event::Upsert(Resource::EndpointSlice(_)) => Kind::EndpointSlice,
        Event::Upsert(Resource::WorkloadEntry(_)) => Kind::WorkloadEntry,
        Event::Upsert(Resource::Pod(_)) => Kind::Pod,
        Event::Upsert(Resource::PeerAuthentication(_)) => Kind::PeerAuthentication,
        Event::Upsert(Resource::AuthorizationPolicy(_)) => Kind::AuthorizationPolicy,
        Event::Upsert(Resource::VirtualService(_)) => Kind::VirtualService,
        Event::Upsert(Resource::DestinationRule(_)) => Kind::DestinationRule,
        Event::Upsert(Resource::Inert(reference)) | Event::Delete(reference) => reference.kind,
    }
}

/// Region, zone and subzone.
fn locality(node: Option<&Node>) -> (Arc<str>, Arc<str>, Arc<str>) {
    node.map(|node| (node.region.clone(), node.zone.clone(), node.subzone.clone())).unwrap_or_default()
}

/// Removes `member` from the set at `key`, and the set once it is empty.
fn release<K: Ord, V: Ord>(sets: &mut BTreeMap<K, BTreeSet<V>>, key: &K, member: &V) {
    let Some(set) = sets.get_mut(key) else { return };
    set.remove(member);
    if set.is_empty() {
        sets.remove(key);
    }
}

#[cfg(test)]
mod tests;
