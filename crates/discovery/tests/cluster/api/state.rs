//! What the API has: objects, their history, and what it serves to whom.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::Fault;

/// The kinds that are always there, by path and name.
const CORE: [(&str, &str); 4] =
    [("v1/namespaces", "Namespace"), ("v1/nodes", "Node"), ("v1/services", "Service"), ("v1/pods", "Pod")];

const GROUPS: [(&str, &str); 14] = [
    ("discovery.k8s.io/v1/endpointslices", "EndpointSlice"),
    ("networking.istio.io/v1/serviceentries", "ServiceEntry"),
    ("networking.istio.io/v1/workloadentries", "WorkloadEntry"),
    ("networking.istio.io/v1/virtualservices", "VirtualService"),
    ("networking.istio.io/v1/destinationrules", "DestinationRule"),
    ("networking.istio.io/v1/gateways", "Gateway"),
    ("security.istio.io/v1/peerauthentications", "PeerAuthentication"),
    ("security.istio.io/v1/authorizationpolicies", "AuthorizationPolicy"),
    ("security.istio.io/v1/requestauthentications", "RequestAuthentication"),
    ("gateway.networking.k8s.io/v1/gateways", "Gateway"),
    ("gateway.networking.k8s.io/v1/gatewayclasses", "GatewayClass"),
    ("gateway.networking.k8s.io/v1/httproutes", "HTTPRoute"),
    ("gateway.networking.k8s.io/v1/grpcroutes", "GRPCRoute"),
    ("gateway.networking.k8s.io/v1/referencegrants", "ReferenceGrant"),
];

type Fails = Box<dyn FnMut(&str) -> Option<Fault> + Send>;

/// A change of an object.
#[derive(Clone)]
pub(crate) struct Change {
    pub(crate) version: u64,
    pub(crate) resource: Arc<str>,
    /// `ADDED`, `MODIFIED` or `DELETED`.
    pub(crate) what: &'static str,
    pub(crate) object: Arc<Value>,
}

/// A list that is read page by page.
pub(crate) struct Pages {
    pub(crate) version: u64,
    pub(crate) objects: Vec<Arc<Value>>,
}

/// What the API has.
pub(crate) struct State {
    /// What is served, by path, with the kind's name.
    pub(crate) served: BTreeMap<String, String>,
    /// Paths that nobody may read.
    pub(crate) denied: BTreeSet<String>,
    /// Bearer token that is asked for.
    pub(crate) token: Option<String>,
    pub(crate) objects: BTreeMap<String, BTreeMap<(String, String), Arc<Value>>>,
    pub(crate) history: Vec<Change>,
    pub(crate) version: u64,
    /// What happened up to this version is no longer known.
    pub(crate) compacted: u64,
    /// Who asks for what is no longer known is told so by the answer, and not by an event. Both are seen of real servers.
    pub(crate) refuses: bool,
    pub(crate) pages: BTreeMap<u64, Pages>,
    pub(crate) requests: Vec<String>,
    pub(crate) fault: Fails,
    /// Grows when all watches are to end.
    pub(crate) cuts: u64,
    /// A watch that has sent nothing for this long sends a bookmark.
    pub(crate) bookmarks: std::time::Duration,
    /// Open watches, by resource.
    pub(crate) watches: BTreeMap<String, usize>,
}

impl State {
    pub(super) fn new() -> Self {
        let served = CORE.iter().chain(&GROUPS).map(|(path, kind)| ((*path).to_owned(), (*kind).to_owned())).collect();
        Self {
            served,
            denied: BTreeSet::new(),
            token: None,
            objects: BTreeMap::new(),
            history: Vec::new(),
            version: 100,
            compacted: 0,
            refuses: false,
            pages: BTreeMap::new(),
            requests: Vec::new(),
            fault: Box::new(|_| None),
            cuts: 0,
            bookmarks: std::time::Duration::from_secs(1),
            watches: BTreeMap::new(),
        }
    }

    pub(crate) fn put(&mut self, resource: &str, mut object: Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = Value::String(self.version.to_string());
        let object = Arc::new(object);
        let before = self.objects.entry(resource.to_owned()).or_default().insert(name(&object), object.clone());
        self.note(resource, if before.is_some() { "MODIFIED" } else { "ADDED" }, object);
    }

    pub(crate) fn delete(&mut self, resource: &str, namespace: &str, name: &str) {
        let objects = self.objects.entry(resource.to_owned()).or_default();
        let Some(object) = objects.remove(&(namespace.to_owned(), name.to_owned())) else { return };
        self.version += 1;
        let mut last = (*object).clone();
        last["metadata"]["resourceVersion"] = Value::String(self.version.to_string());
        self.note(resource, "DELETED", Arc::new(last));
    }

    /// Forgets all that happened by now, and every list that is being read.
    pub(crate) fn compact(&mut self) {
        self.version += 1;
        self.compacted = self.version;
        self.history.clear();
        self.pages.clear();
    }

    /// Installs a kind, or with none removes it with all its objects, without a word to whoever watches.
    pub(crate) fn serve(&mut self, resource: &str, kind: Option<&str>) {
        match kind {
            Some(kind) => drop(self.served.insert(resource.to_owned(), kind.to_owned())),
            None => {
                self.served.remove(resource);
                self.objects.remove(resource);
                self.cuts += 1;
            }
        }
    }

    /// Serves the kinds of `group` in `version` and no other.
    pub(crate) fn serve_only(&mut self, group: &str, version: &str) {
        let all = std::mem::take(&mut self.served);
        self.served = all
            .into_iter()
            .map(|(path, kind)| match path.split('/').collect::<Vec<_>>()[..] {
                [known, _, plural] if known == group => (format!("{group}/{version}/{plural}"), kind),
                _ => (path, kind),
            })
            .collect();
    }

    /// The first change of `resource` after the version `seen`.
    pub(super) fn next(&self, resource: &str, seen: u64) -> Option<&Change> {
        let from = self.history.partition_point(|change| change.version <= seen);
        self.history.iter().skip(from).find(|change| *change.resource == *resource)
    }

    fn note(&mut self, resource: &str, what: &'static str, object: Arc<Value>) {
        self.history.push(Change { version: self.version, resource: Arc::from(resource), what, object });
    }
}

fn name(object: &Value) -> (String, String) {
    let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
    (text("namespace"), text("name"))
}
