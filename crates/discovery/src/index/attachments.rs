//! HTTPRoutes and GRPCRoutes joined with what they name: the services that they are attached to, the backends that there
//! are, and the ReferenceGrants that let backends of other namespaces be named (Gateway API, GEP-1426).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ambit_api::resource::{
    Backend, BackendRef, Mirrored, ParentKind, ParentRef, ReferenceGrant, Route, RouteAction, RouteRule,
};
use ambit_api::{FieldError, Kind, ObjectRef, Severity};
use ambit_model::policy::PolicyKey;
use ambit_model::route::{
    Destination, Host, HttpAction, HttpRoute, Mirror, Parent, Partly, RouteId, ServiceRoute, ServiceRule, Weighted,
};
use ambit_model::{Service, ServiceKey, ServicePort, Snapshot, WaypointKey};

use super::findings::Finding;
use super::namespace::Namespace;
use super::release;

/// The routes and the grants, and what is wrong with what the routes name.
#[derive(Debug, Default)]
pub(super) struct Attachments {
    routes: BTreeMap<RouteId, Arc<Route>>,
    grants: BTreeMap<PolicyKey, Arc<ReferenceGrant>>,
    /// Which routes name what.
    naming: BTreeMap<Named, BTreeSet<RouteId>>,
    findings: BTreeMap<RouteId, Vec<Finding>>,
}

/// What a route can name.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Named {
    /// A Service, a ServiceEntry or a Gateway, by namespace and name.
    Object(Arc<str>, Arc<str>),
    Host(Arc<str>),
}

impl Attachments {
    /// Adds, replaces or removes the route `id`.
    pub(super) fn set(&mut self, id: &RouteId, new: Option<Arc<Route>>) {
        if let Some(old) = self.routes.remove(id) {
            for named in named(&old) {
                release(&mut self.naming, &named, id);
            }
        }
        if let Some(new) = new {
            for named in named(&new) {
                self.naming.entry(named).or_default().insert(id.clone());
            }
            self.routes.insert(id.clone(), new);
        }
    }

    /// Adds, replaces or removes the grant `key`. Returns the routes that it can make a difference to.
    pub(super) fn set_grant(&mut self, key: &PolicyKey, new: Option<Arc<ReferenceGrant>>) -> Vec<RouteId> {
        let old = match new {
            Some(new) => self.grants.insert(key.clone(), new.clone()).filter(|old| *old != new).or(Some(new)),
            None => self.grants.remove(key),
        };
        if old.is_none() {
            return Vec::new();
        }
        let names = |route: &&Arc<Route>| {
            named(route).any(|named| matches!(named, Named::Object(namespace, _) if namespace == key.namespace))
        };
        self.routes.values().filter(names).map(|route| route.id.clone()).collect()
    }

    /// The routes that name the object, or the host.
    pub(super) fn naming(&self, namespace: &Arc<str>, name: &Arc<str>, host: Option<&Arc<str>>) -> Vec<RouteId> {
        let object = self.naming.get(&Named::Object(namespace.clone(), name.clone()));
        let host = host.and_then(|host| self.naming.get(&Named::Host(host.clone())));
        object.into_iter().chain(host).flatten().cloned().collect()
    }

    /// What is wrong with what routes name.
    pub(super) fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.findings.values().flatten()
    }

    /// The route `id` joined with what it names; none if there is no such route, or nothing that it is attached to.
    pub(super) fn join(
        &mut self,
        id: &RouteId,
        snapshot: &Snapshot,
        namespaces: &BTreeMap<Arc<str>, Namespace>,
    ) -> Option<Arc<ServiceRoute>> {
        self.findings.remove(id);
        let route = self.routes.get(id)?.clone();
        let mut joining = Joining { route: &route, grants: &self.grants, snapshot, namespaces, findings: Vec::new() };
        let joined = joining.join();
        let findings = joining.findings;
        if !findings.is_empty() {
            self.findings.insert(id.clone(), findings);
        }
        (!joined.parents.is_empty()).then(|| Arc::new(joined))
    }
}

/// Everything that `route` names.
fn named(route: &Route) -> impl Iterator<Item = Named> {
    let parents = route.parents.iter().map(|parent| Named::Object(parent.namespace.clone(), parent.name.clone()));
    let backends = route.rules.iter().flat_map(|rule| {
        let backends = match &rule.action {
            RouteAction::Backends(backends) => &backends[..],
            RouteAction::Settled(_) => &[],
        };
        backends.iter().map(|backend| &backend.to).chain(rule.mirrors.iter().map(|mirror| &mirror.to))
    });
    let backends = backends.filter_map(|backend| match backend {
        BackendRef::Service { namespace, name, .. } => Some(Named::Object(namespace.clone(), name.clone())),
        BackendRef::Host(host, _) => Some(Named::Host(host.shared().clone())),
        BackendRef::Unusable => None,
    });
    parents.chain(backends)
}

/// A route that is being joined.
struct Joining<'a> {
    route: &'a Route,
    grants: &'a BTreeMap<PolicyKey, Arc<ReferenceGrant>>,
    snapshot: &'a Snapshot,
    namespaces: &'a BTreeMap<Arc<str>, Namespace>,
    findings: Vec<Finding>,
}

impl<'a> Joining<'a> {
    fn join(&mut self) -> ServiceRoute {
        let route = self.route;
        let mut parents: Vec<Parent> = route.parents.iter().flat_map(|parent| self.parent(parent)).collect();
        parents.sort_unstable();
        parents.dedup();
        let rules = route.rules.iter().flat_map(|rule| self.rule(rule)).collect();
        ServiceRoute { id: route.id.clone(), created: route.created.clone(), parents, rules }
    }

    fn parent(&mut self, parent: &ParentRef) -> Vec<Parent> {
        let services = match parent.kind {
            ParentKind::Service => {
                self.snapshot.service(&ServiceKey::new(&parent.namespace, &parent.name)).into_iter().collect()
            }
            ParentKind::ServiceEntry => {
                let home = self.namespaces.get(&parent.namespace);
                let hosts = home.into_iter().flat_map(|home| home.hosts_of(&parent.name));
                hosts.filter_map(|key| self.snapshot.service(key)).collect::<Vec<_>>()
            }
            ParentKind::Gateway => {
                let key = WaypointKey { namespace: parent.namespace.clone(), name: parent.name.clone() };
                self.find(
                    &parent.path,
                    match self.snapshot.waypoint(&key) {
                        Some(_) => {
                            "is a waypoint, whose listener takes no routes (NotAllowedByListeners): name the Service"
                        }
                        None => {
                            "is for a gateway that Gateway API describes, which this version does not run: there it is as if the route were not"
                        }
                    },
                    None,
                );
                return Vec::new();
            }
        };
        if services.is_empty() {
            self.find(&parent.path, "is not there: the route is attached to nothing of that name", None);
            return Vec::new();
        }
        let own = parent.namespace == self.route.id.key.namespace;
        let clients = (!own).then(|| self.route.id.key.namespace.clone());
        let mut parents = Vec::new();
        for service in services {
            let of = |port: Option<u16>| Parent { host: service.hostname.clone(), port, clients: clients.clone() };
            if parent.port.is_none() && parent.section.is_none() {
                parents.push(of(None));
                continue;
            }
            let is = |port: &&ServicePort| {
                parent.port.is_none_or(|number| number == port.port)
                    && parent.section.as_ref().is_none_or(|name| *name == port.name)
            };
            match service.ports.iter().find(is) {
                Some(port) => parents.push(of(Some(port.port))),
                None => self.find(&parent.path, "has no such port: the route is not attached there", None),
            }
        }
        parents
    }

    /// What a rule says, match by match.
    fn rule(&mut self, rule: &RouteRule) -> Vec<ServiceRule> {
        let action = match &rule.action {
            RouteAction::Settled(action) => action.clone(),
            RouteAction::Backends(backends) => self.action(backends, rule),
        };
        let mirrors: Vec<Mirror> = rule.mirrors.iter().filter_map(|mirror| self.mirror(mirror)).collect();
        let rules = rule.matches.iter().map(|(precedence, block)| ServiceRule {
            precedence: *precedence,
            route: Arc::new(HttpRoute {
                matches: vec![block.clone()],
                action: action.clone(),
                mirrors: mirrors.clone(),
                ..rule.rest.clone()
            }),
        });
        rules.collect()
    }

    fn action(&mut self, backends: &[Backend], rule: &RouteRule) -> HttpAction {
        let (mut destinations, mut lost) = (Vec::new(), 0_u32);
        for Backend { path, to, weight, headers } in backends {
            let found = self.destination(path, to);
            match found {
                // What has no share is nobody's, wherever it leads.
                _ if *weight == 0 => {}
                Some(destination) => {
                    destinations.push(Weighted { destination, weight: *weight, headers: headers.clone() })
                }
                None => lost = lost.saturating_add(*weight),
            }
        }
        let answer = rule.unavailable.clone();
        match (destinations.is_empty(), lost) {
            (true, _) => HttpAction::Respond(answer),
            (false, 0) => HttpAction::Forward(destinations),
            (false, lost) => HttpAction::Partly(Partly { destinations, lost, answer }),
        }
    }

    fn mirror(&mut self, mirror: &Mirrored) -> Option<Mirror> {
        let destination = self.destination(&mirror.path, &mirror.to)?;
        Some(Mirror { destination, share: mirror.share })
    }

    /// The backend at `path`, if there is one that the route may name.
    fn destination(&mut self, path: &str, to: &BackendRef) -> Option<Destination> {
        let own = &self.route.id.key.namespace;
        let (service, port) = match to {
            BackendRef::Unusable => return None,
            BackendRef::Service { namespace, name, port } => {
                if !self.may_name(namespace, name) {
                    let message = format!(
                        "is of another namespace, where no ReferenceGrant lets it be named (RefNotPermitted): its share is \
                         answered 500. Write one in {namespace}"
                    );
                    self.find(path, &message, Some("RefNotPermitted"));
                    return None;
                }
                (self.snapshot.service(&ServiceKey::new(namespace, name)), *port)
            }
            BackendRef::Host(host, port) => {
                let seen = |service: &&Arc<Service>| service.visibility.admits(own);
                (self.snapshot.service_named(host.as_str()).filter(seen), *port)
            }
        };
        match service {
            None => {
                self.find(path, "is not there (BackendNotFound): its share is answered 500", Some("BackendNotFound"))
            }
            Some(service) if service.port(port).is_none() => {
                self.find(
                    path,
                    "has no such port (BackendNotFound): its share is answered 500",
                    Some("BackendNotFound"),
                );
            }
            Some(service) => {
                return Some(Destination { host: Host::literal(&service.hostname), subset: None, port: Some(port) });
            }
        }
        None
    }

    /// True if the route may name the Service as a backend: in its own namespace, where a grant lets it, or as what it is
    /// attached to, which its clients have asked for. A waypoint dials in its own name, so that whoever may lead it anywhere
    /// would borrow that.
    fn may_name(&self, namespace: &Arc<str>, name: &Arc<str>) -> bool {
        let Route { id, parents, .. } = self.route;
        let is_it = |parent: &ParentRef| {
            parent.kind == ParentKind::Service && parent.namespace == *namespace && parent.name == *name
        };
        let granted = |grant: &ReferenceGrant| grant.key.namespace == *namespace && grant.admits(id, name);
        *namespace == id.key.namespace || parents.iter().any(is_it) || self.grants.values().any(|grant| granted(grant))
    }

    fn find(&mut self, path: &str, message: &str, code: Option<&'static str>) {
        let RouteId { kind, key } = &self.route.id;
        let object = ObjectRef::new(Kind::of_route(*kind), &key.namespace, &key.name);
        let field = FieldError { path: path.to_owned(), message: message.to_owned() };
        self.findings.push(Finding { object, field, severity: Severity::Warning, code });
    }
}
