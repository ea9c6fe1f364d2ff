//! Joins what sources tell into snapshots, as a pure data structure: pods with their namespaces' labels and their
//! nodes' zones, services and hosts of ServiceEntries with their endpoints, the addresses that they are given and their
//! namespaces' annotations. A change costs what it touches, not what there is.

mod allocation;
mod attachments;
mod endpoints;
mod findings;
mod namespace;
mod selections;
mod waypoints;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ambit_api::resource::{DataplaneMode, WaypointWish};
use ambit_api::{Kind, ObjectRef, Resource, labels, resource, translate};
use ambit_model::gateway;
use ambit_model::policy::PolicyKey;
use ambit_model::route::{RouteId, RouteKind};
use ambit_model::waypoint::Binding;
use ambit_model::workload::Excluded;
use ambit_model::{
    Enrolment, Mesh, NetworkMode, Node, Service, ServiceKey, Snapshot, WaypointKey, Workload, WorkloadUid,
};

use crate::event::Event;
use crate::report::Report;
use allocation::Allocation;
use attachments::Attachments;
use namespace::Namespace;
use selections::Selections;
use waypoints::Waypoints;

pub(crate) use findings::Finding;

/// Everything that sources have told, joined.
#[derive(Debug)]
pub struct Index {
    snapshot: Snapshot,
    excluded: BTreeSet<Arc<str>>,
    namespaces: BTreeMap<Arc<str>, Namespace>,
    pods_by_node: BTreeMap<Arc<str>, BTreeSet<PodKey>>,
    allocation: Allocation,
    waypoints: Waypoints,
    attachments: Attachments,
    /// Whether there are pods for Gateways.
    selections: Selections,
    /// Who asks for which waypoint by labels of his own.
    asking: BTreeMap<ObjectRef, WaypointKey>,
    findings: Vec<Finding>,
}

/// A pod's namespace and name.
type PodKey = (Arc<str>, Arc<str>);

/// What has to be joined anew.
#[derive(Default)]
struct Touched {
    pods: BTreeSet<PodKey>,
    services: BTreeSet<ServiceKey>,
    waypoints: BTreeSet<WaypointKey>,
    routes: BTreeSet<RouteId>,
    anything: bool,
    /// What is wrong between objects may be something else now.
    bindings: bool,
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
            waypoints: Waypoints::default(),
            attachments: Attachments::default(),
            selections: Selections::default(),
            asking: BTreeMap::new(),
            findings: Vec::new(),
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
        for key in std::mem::take(&mut touched.waypoints) {
            self.join_waypoint(&key, &mut touched);
        }
        for (namespace, name) in std::mem::take(&mut touched.pods) {
            self.join_pod(&namespace, &name, &mut touched);
        }
        touched.services.extend(self.allocation.settle());
        for key in std::mem::take(&mut touched.services) {
            self.join_service(&key, &mut touched);
        }
        for id in std::mem::take(&mut touched.routes) {
            let joined = self.attachments.join(&id, &self.snapshot, &self.namespaces);
            touched.anything |= self.snapshot.routes.set_service_route(&id, joined);
            touched.bindings = true;
        }
        if touched.bindings {
            self.findings = findings::all(&self.snapshot, &self.asking, &self.selections);
            self.findings.extend(self.attachments.findings().cloned());
        }
        touched.anything
    }

    /// What holds now. Shares its structure with the index: cheap.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.snapshot.clone()
    }

    /// What is wrong between objects, which no look at one of them tells.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The same as whoever shows them has them.
    #[must_use]
    pub fn reports(&self) -> Vec<Report> {
        self.findings.iter().map(Report::of_object).collect()
    }

    fn upsert(&mut self, resource: Resource, touched: &mut Touched) {
        self.ask(resource.reference(), wish(&resource), touched);
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
            Resource::RequestAuthentication(policy) => {
                touched.bindings = true;
                touched.anything |= self.snapshot.policies.set_authentication(&policy.key.clone(), Some(policy));
            }
            Resource::VirtualService(service) => {
                touched.bindings = true;
                touched.anything |= self.snapshot.routes.set(&service.key.clone(), Some(service));
            }
            Resource::DestinationRule(rule) => {
                touched.bindings = true;
                touched.anything |= self.snapshot.destinations.set(&rule.key.clone(), Some(rule));
            }
            Resource::Gateway(gateway) => self.set_gateway(&gateway.key.clone(), Some(gateway), touched),
            Resource::IstioGateway(gateway) => self.set_istio_gateway(&gateway.key.clone(), Some(gateway), touched),
            Resource::GatewayClass(class) => touched.waypoints.extend(self.waypoints.set_class(&class)),
            Resource::Route(route) => self.set_route(route.id.clone(), Some(route), touched),
            Resource::ReferenceGrant(grant) => {
                touched.routes.extend(self.attachments.set_grant(&grant.key.clone(), Some(grant)));
            }
            Resource::Inert(_) => {}
        }
    }

    fn remove(&mut self, reference: &ObjectRef, touched: &mut Touched) {
        self.ask(reference.clone(), None, touched);
        let ObjectRef { kind, namespace, name } = reference;
        match kind {
            Kind::Namespace => {
                let (name, labels) = (name.clone(), BTreeMap::new());
                let unmarked = resource::Namespace {
                    name,
                    mode: None,
                    distribution: None,
                    waypoint: None,
                    passed_by_gateways: None,
                    labels,
                };
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
            Kind::PeerAuthentication
            | Kind::AuthorizationPolicy
            | Kind::RequestAuthentication
            | Kind::VirtualService
            | Kind::DestinationRule => {
                let key = PolicyKey { namespace: namespace.clone(), name: name.clone() };
                let snapshot = &mut self.snapshot;
                touched.bindings |= !matches!(kind, Kind::PeerAuthentication | Kind::AuthorizationPolicy);
                touched.anything |= match kind {
                    Kind::PeerAuthentication => snapshot.policies.set_peer(&key, None),
                    Kind::RequestAuthentication => snapshot.policies.set_authentication(&key, None),
                    Kind::VirtualService => snapshot.routes.set(&key, None),
                    Kind::DestinationRule => snapshot.destinations.set(&key, None),
                    _ => snapshot.policies.set_authorization(&key, None),
                };
            }
            Kind::Gateway => self.set_gateway(&WaypointKey::new(namespace, name), None, touched),
            Kind::IstioGateway => {
                let key = PolicyKey { namespace: namespace.clone(), name: name.clone() };
                self.set_istio_gateway(&key, None, touched);
            }
            Kind::GatewayClass => {
                let class = resource::GatewayClass { name: name.clone(), serves: None };
                touched.waypoints.extend(self.waypoints.set_class(&class));
            }
            Kind::HttpRoute | Kind::GrpcRoute => {
                let kind = if *kind == Kind::GrpcRoute { RouteKind::Grpc } else { RouteKind::Http };
                let key = PolicyKey { namespace: namespace.clone(), name: name.clone() };
                self.set_route(RouteId { kind, key }, None, touched);
            }
            Kind::ReferenceGrant => {
                let key = PolicyKey { namespace: namespace.clone(), name: name.clone() };
                touched.routes.extend(self.attachments.set_grant(&key, None));
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
        let enrolled = written.mode == Some(DataplaneMode::Ambient) && !self.excluded.contains(name);
        touched.anything |= self.snapshot.set_enrolled(name, enrolled);
        let namespace = self.namespace(name);
        if namespace.distribution != written.distribution {
            namespace.distribution = written.distribution;
            touched.services.extend(namespace.inheriting().cloned());
        }
        if namespace.waypoint != written.waypoint {
            namespace.waypoint.clone_from(&written.waypoint);
            touched.pods.extend(namespace.pods.keys().map(|pod| (name.clone(), pod.clone())));
            touched.services.extend(namespace.inheriting_waypoint().cloned());
        }
        if namespace.passed_by_gateways != written.passed_by_gateways {
            namespace.passed_by_gateways = written.passed_by_gateways;
            touched.services.extend(namespace.inheriting_passage().cloned());
        }
        if namespace.labels != written.labels {
            namespace.labels.clone_from(&written.labels);
            touched.waypoints.extend(self.waypoints.selecting());
        }
    }

    fn set_gateway(&mut self, key: &WaypointKey, gateway: Option<Arc<resource::Gateway>>, touched: &mut Touched) {
        self.waypoints.set(key, gateway);
        touched.waypoints.insert(key.clone());
        touched.routes.extend(self.attachments.naming(&key.namespace, &key.name, None));
        // Its pods are not what other pods are.
        let pods = self.namespaces.get(&key.namespace).into_iter().flat_map(|namespace| &namespace.pods);
        let own = pods.filter(|(_, pod)| gateway_of(&pod.workload).as_ref() == Some(key));
        touched.pods.extend(own.map(|(pod, _)| (key.namespace.clone(), pod.clone())));
    }

    fn set_istio_gateway(&mut self, key: &PolicyKey, gateway: Option<Arc<gateway::Gateway>>, touched: &mut Touched) {
        if let Some(old) = self.snapshot.gateways.get(key) {
            self.selections.remove(&old.selector);
        }
        if let Some(new) = &gateway {
            self.selections.add(&new.selector, &self.snapshot);
        }
        touched.bindings = true;
        touched.anything |= self.snapshot.gateways.set(key, gateway);
    }

    fn set_route(&mut self, id: RouteId, route: Option<Arc<resource::Route>>, touched: &mut Touched) {
        self.attachments.set(&id, route);
        touched.routes.insert(id);
    }

    /// Notes what the labels of `object` ask for.
    fn ask(&mut self, object: ObjectRef, wanted: Option<WaypointKey>, touched: &mut Touched) {
        let before = match wanted.clone() {
            Some(key) => self.asking.insert(object, key),
            None => self.asking.remove(&object),
        };
        touched.bindings |= before != wanted;
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

    /// Joins a pod with its namespace and node.
    fn join_pod(&mut self, namespace: &Arc<str>, name: &Arc<str>, touched: &mut Touched) {
        let uid = WorkloadUid::pod(&self.snapshot.mesh.cluster, namespace, name);
        let known = self.snapshot.workload(&uid).map(|known| &**known);
        let joined = self.joined(namespace, name);
        if known == joined.as_ref() {
            return;
        }
        touched.anything = true;
        let (before, after) = (known.map(|pod| &pod.labels), joined.as_ref().map(|pod| &pod.labels));
        touched.bindings |= self.selections.change(before, after);
        match joined {
            Some(workload) => self.snapshot.insert_workload(Arc::new(workload)),
            None => self.snapshot.remove_workload(&uid),
        }
    }

    /// The pod as it is in its namespace and on its node; none if it is gone.
    fn joined(&self, namespace: &Arc<str>, name: &Arc<str>) -> Option<Workload> {
        let home = self.namespaces.get(namespace)?;
        let pod = home.pods.get(name)?;
        let (region, zone, subzone) = locality(self.snapshot.node(&pod.workload.node).map(|node| &**node));
        let own = gateway_of(&pod.workload).and_then(|gateway| self.waypoints.binding(&gateway));
        let own = own.filter(|_| pod.workload.network_mode == NetworkMode::Standard);
        let enrolment = match own {
            // It serves port 15008 itself.
            Some(Binding::Hbone) => Enrolment::Outside(Excluded::Waypoint),
            _ => translate::enrolment(pod, home.mode, self.excluded.contains(namespace)),
        };
        let wanted = || waypoints::wanted(pod.waypoint.as_ref(), home.waypoint.as_ref(), false);
        let waypoint = if own.is_none() { wanted() } else { None };
        Some(Workload { enrolment, waypoint, region, zone, subzone, ..pod.workload.clone() })
    }

    /// Joins a service with its endpoints.
    fn join_service(&mut self, key: &ServiceKey, touched: &mut Touched) {
        let known = self.snapshot.service(key);
        let home = self.namespaces.get(&key.namespace);
        let joined = home.and_then(|home| home.join_service(key, self.allocation.addresses(key)));
        if known.map(|known| &**known) == joined.as_ref() {
            return;
        }
        let asks = |service: Option<&Service>| service.and_then(|service| service.waypoint.clone());
        touched.bindings |= asks(known.map(|known| &**known)) != asks(joined.as_ref());
        if matters_to_routes(known.map(|known| &**known), joined.as_ref()) {
            let hostname = known.map(|known| &known.hostname).or(joined.as_ref().map(|joined| &joined.hostname));
            touched.routes.extend(self.attachments.naming(&key.namespace, &key.name, hostname));
        }
        touched.anything = true;
        match joined {
            Some(service) => self.snapshot.insert_service(Arc::new(service)),
            None => self.snapshot.remove_service(key),
        }
    }

    /// Joins a waypoint with its class and with the namespaces that it selects.
    fn join_waypoint(&mut self, key: &WaypointKey, touched: &mut Touched) {
        let joined = self.waypoints.join(key, &self.namespaces);
        if self.snapshot.waypoint(key).map(|known| &**known) == joined.as_ref() {
            return;
        }
        touched.anything = true;
        touched.bindings = true;
        match joined {
            Some(waypoint) => self.snapshot.insert_waypoint(Arc::new(waypoint)),
            None => self.snapshot.remove_waypoint(key),
        }
    }
}

/// True if routes that name a service have to be joined anew when it was `before` and is `after`.
fn matters_to_routes(before: Option<&Service>, after: Option<&Service>) -> bool {
    let Some((before, after)) = before.zip(after) else { return before.is_some() || after.is_some() };
    let ports =
        |service: &'_ Service| service.ports.iter().map(|port| (port.port, port.name.clone())).collect::<Vec<_>>();
    before.hostname != after.hostname || before.visibility != after.visibility || ports(before) != ports(after)
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
        Event::Upsert(Resource::RequestAuthentication(_)) => Kind::RequestAuthentication,
        Event::Upsert(Resource::VirtualService(_)) => Kind::VirtualService,
        Event::Upsert(Resource::DestinationRule(_)) => Kind::DestinationRule,
        Event::Upsert(Resource::Gateway(_)) => Kind::Gateway,
        Event::Upsert(Resource::IstioGateway(_)) => Kind::IstioGateway,
        Event::Upsert(Resource::GatewayClass(_)) => Kind::GatewayClass,
        Event::Upsert(Resource::Route(route)) => Kind::of_route(route.id.kind),
        Event::Upsert(Resource::ReferenceGrant(_)) => Kind::ReferenceGrant,
        Event::Upsert(Resource::Inert(reference)) | Event::Delete(reference) => reference.kind,
    }
}

/// The waypoint that the labels of `resource` ask for, if it is one that can.
fn wish(resource: &Resource) -> Option<WaypointKey> {
    let wish = match resource {
        Resource::Namespace(namespace) => namespace.waypoint.as_ref(),
        Resource::Pod(pod) => pod.waypoint.as_ref(),
        Resource::Service(service) => service.waypoint.as_ref(),
        Resource::ServiceEntry(entry) => entry.hosts.first().and_then(|host| host.waypoint.as_ref()),
        _ => None,
    };
    wish.and_then(WaypointWish::key).cloned()
}

/// The Gateway that `workload` says that it belongs to.
fn gateway_of(workload: &Workload) -> Option<WaypointKey> {
    let name = workload.labels.get(labels::GATEWAY_NAME)?;
    Some(WaypointKey { namespace: workload.namespace.clone(), name: name.clone() })
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
