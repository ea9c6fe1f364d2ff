//! Who is at the two ends of a connection or of a request. Pure: knows no counter.

mod labels;

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use ambit_model::{Identity, Node, Service, Workload};
use serde::Serialize;

pub(crate) use self::labels::Label;

/// Where on the way of a connection or of a request the proxy that counts it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reporter {
    /// At the client's end.
    Source,
    /// At the server's end.
    Destination,
    /// Between them, as the waypoint of the server or of its service.
    Waypoint,
}

impl Reporter {
    /// All, in the order of their labels' documentation.
    pub const ALL: [Self; 3] = [Self::Source, Self::Destination, Self::Waypoint];

    /// The value of the label `reporter`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
            Self::Waypoint => "waypoint",
        }
    }

    /// The value of the access log's field `direction`.
    #[must_use]
    pub const fn direction(self) -> &'static str {
        match self {
            Self::Source => "outbound",
            Self::Destination | Self::Waypoint => "inbound",
        }
    }
}

/// How the connection is protected between the two proxies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Security {
    /// By nothing that the mesh vouches for: `unknown`.
    #[default]
    Unknown,
    /// By mutual TLS: `mutual_tls`.
    MutualTls {
        /// Whom the client's certificate names.
        client: Identity,
    },
}

impl Security {
    /// The value of the label `connection_security_policy`.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::MutualTls { .. } => "mutual_tls",
        }
    }

    /// Whom the client proved to be.
    #[must_use]
    pub const fn client(&self) -> Option<&Identity> {
        match self {
            Self::Unknown => None,
            Self::MutualTls { client } => Some(client),
        }
    }
}

/// One end of a connection.
#[derive(Clone, Debug)]
pub enum Party {
    /// A pod that the snapshot holds.
    Workload(Arc<Workload>),
    /// Something known only by what it said of itself or what could be gathered about it.
    Derived(Arc<Derived>),
}

/// What is known of an end that is no pod of the snapshot; what is not known becomes `unknown`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Derived {
    /// The workload's name, such as that of its Deployment.
    pub workload: Option<Arc<str>>,
    /// Its namespace.
    pub namespace: Option<Arc<str>>,
    /// Its canonical service.
    pub app: Option<Arc<str>>,
    /// Its canonical revision.
    pub revision: Option<Arc<str>>,
    /// Its cluster.
    pub cluster: Option<Arc<str>>,
    /// Its region.
    pub region: Option<Arc<str>>,
    /// Its zone.
    pub zone: Option<Arc<str>>,
    /// Whom its certificate names or must name.
    pub identity: Option<Identity>,
}

impl Party {
    /// An end of which nothing is known.
    #[must_use]
    pub fn unknown() -> Self {
        Self::Derived(Arc::default())
    }

    /// An end of which only the identity is known; its namespace is the identity's.
    #[must_use]
    pub fn identity(identity: Identity) -> Self {
        let namespace = Some(identity.namespace.clone());
        Self::Derived(Arc::new(Derived { namespace, identity: Some(identity), ..Derived::default() }))
    }

    /// A process in a node's own network namespace, such as the kubelet with its probes: `node/<name>`.
    #[must_use]
    pub fn node(node: &Node) -> Self {
        let name: Arc<str> = Arc::from(format!("node/{}", node.name));
        Self::Derived(Arc::new(Derived {
            workload: Some(name.clone()),
            app: Some(name),
            region: Some(node.region.clone()),
            zone: Some(node.zone.clone()),
            ..Derived::default()
        }))
    }

    /// Whom a certificate of this end names.
    #[must_use]
    pub fn principal(&self) -> Option<&Identity> {
        match self {
            Self::Workload(workload) => Some(&workload.identity),
            Self::Derived(derived) => derived.identity.as_ref(),
        }
    }

    /// What the access log calls this end: the pod, failing that the canonical service, failing that the workload.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Workload(workload) => known(&workload.name),
            Self::Derived(derived) => text(&derived.app).or(text(&derived.workload)),
        }
    }

    /// The namespace of this end.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        self.facts().namespace
    }

    /// The cluster of this end.
    #[must_use]
    pub fn cluster(&self) -> Option<&str> {
        self.facts().cluster
    }

    fn facts(&self) -> Facts<'_> {
        match self {
            Self::Workload(workload) => Facts {
                workload: known(&workload.owner.name),
                canonical: known(&workload.canonical_name),
                revision: known(&workload.canonical_revision),
                namespace: known(&workload.namespace),
                cluster: known(&workload.cluster),
                region: known(&workload.region),
                zone: known(&workload.zone),
            },
            Self::Derived(derived) => Facts {
                workload: text(&derived.workload),
                canonical: text(&derived.app),
                revision: text(&derived.revision),
                namespace: text(&derived.namespace),
                cluster: text(&derived.cluster),
                region: text(&derived.region),
                zone: text(&derived.zone),
            },
        }
    }

    fn is_labelled_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Workload(a), Self::Workload(b)) if Arc::ptr_eq(a, b) => true,
            (Self::Derived(a), Self::Derived(b)) if Arc::ptr_eq(a, b) => true,
            (a, b) => a.facts() == b.facts() && a.principal() == b.principal(),
        }
    }
}

/// What the labels of one end are made of: of a Deployment's pods all alike.
#[derive(PartialEq, Eq)]
struct Facts<'a> {
    workload: Option<&'a str>,
    canonical: Option<&'a str>,
    revision: Option<&'a str>,
    namespace: Option<&'a str>,
    cluster: Option<&'a str>,
    region: Option<&'a str>,
    zone: Option<&'a str>,
}

fn known(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn text(text: &Option<Arc<str>>) -> Option<&str> {
    text.as_deref().and_then(known)
}

/// What all connections or requests of one time series have in common. Two are equal if their labels are.
#[derive(Clone, Debug)]
pub struct Ends {
    /// Who counts.
    pub reporter: Reporter,
    /// The client.
    pub source: Party,
    /// The server.
    pub destination: Party,
    /// The service by which the client reached the server, where it is known.
    pub service: Option<Arc<Service>>,
    /// What protects the connection.
    pub security: Security,
}

impl PartialEq for Ends {
    fn eq(&self, other: &Self) -> bool {
        let same_service = match (&self.service, &other.service) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b) || (a.key == b.key && a.hostname == b.hostname),
            (None, None) => true,
            _ => false,
        };
        self.reporter == other.reporter
            && same_service
            && self.security == other.security
            && self.source.is_labelled_like(&other.source)
            && self.destination.is_labelled_like(&other.destination)
    }
}

impl Eq for Ends {}

impl Hash for Ends {
    /// Hashes what tells most series apart: this runs once a connection, and equality looks at the rest.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.reporter.hash(state);
        for party in [&self.source, &self.destination] {
            let facts = party.facts();
            (facts.workload, facts.namespace, facts.revision).hash(state);
        }
        self.service.as_ref().map(|service| &service.key).hash(state);
    }
}
