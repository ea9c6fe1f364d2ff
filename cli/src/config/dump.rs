//! What an agent says of itself (`/config_dump`, `/connections`), as far as tables need it: parsed once, each entry kept
//! whole beside that. Knows nothing of where it comes from.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::error::Error;

/// An entry of a list: what is read of it, and all that it says.
#[derive(Clone, Debug)]
pub(crate) struct Listed<T> {
    /// What is read.
    pub(crate) read: T,
    /// All of it.
    pub(crate) whole: Value,
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Listed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let whole = Value::deserialize(deserializer)?;
        let read = T::deserialize(&whole).map_err(D::Error::custom)?;
        Ok(Self { read, whole })
    }
}

/// The configuration in force at an agent.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Dump {
    pub(crate) mesh: Mesh,
    pub(crate) workloads: Vec<Listed<Workload>>,
    pub(crate) services: Vec<Listed<Service>>,
    #[serde(default)]
    pub(crate) bound: Bindings,
    pub(crate) authorization_policies: Vec<Listed<Authorization>>,
    pub(crate) peer_authentications: Vec<Listed<Peers>>,
    pub(crate) certificates: Vec<Listed<Certificate>>,
    /// The open connections, a list for each worker, where they have been saved with it.
    #[serde(default)]
    pub(crate) connections: Option<Vec<Vec<Listed<Connection>>>>,
}

/// What holds for the whole mesh.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Mesh {
    /// The DNS suffix of Services, such as `cluster.local`.
    pub(crate) domain: String,
}

/// A pod.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Workload {
    pub(crate) uid: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) node: String,
    network_mode: String,
    enrolment: Value,
    pub(crate) waypoint: Option<UseWaypoint>,
}

impl Workload {
    /// What it is reached by: `HBONE` in the mesh, and where it speaks that itself, else `TCP`.
    pub(crate) fn protocol(&self) -> &'static str {
        let own = self.enrolment.get("Outside").and_then(Value::as_str);
        let hbone = self.enrolment == "Enrolled" || own.is_some_and(|why| matches!(why, "Waypoint" | "SpeaksHbone"));
        if hbone && self.network_mode == "Standard" { "HBONE" } else { "TCP" }
    }
}

/// The waypoint that labels ask for: `namespace/name`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct UseWaypoint {
    pub(crate) key: String,
}

/// By which waypoints things are reached, as the agent has decided; what is reached by none is not there.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Bindings {
    /// By the keys of services.
    pub(crate) services: BTreeMap<String, Bound>,
    /// By the IDs of workloads.
    pub(crate) workloads: BTreeMap<String, Bound>,
}

/// How something is bound to a waypoint.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Bound {
    /// To this one: `namespace/name`.
    Waypoint(String),
    /// To one that cannot serve it, so that nothing reaches it.
    Unavailable(Unavailable),
}

/// Why a waypoint cannot serve what asks for it.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) enum Unavailable {
    /// There is none of this name.
    Missing,
    /// It does not let the namespace in.
    AttachmentDenied,
}

/// A Service, or a host of a ServiceEntry.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Service {
    /// `namespace/name`, and of a ServiceEntry `/host` after that.
    pub(crate) key: String,
    pub(crate) vips: Vec<IpAddr>,
    #[serde(default)]
    pub(crate) ranges: Vec<String>,
    pub(crate) ports: Vec<Port>,
    pub(crate) waypoint: Option<UseWaypoint>,
}

/// A port of a Service.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Port {
    /// The endpoints that take connections.
    pub(crate) targets: Vec<Target>,
    /// All of them.
    pub(crate) members: Vec<Target>,
}

/// An endpoint.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// The ID of the pod behind it, where it is one.
    pub(crate) workload: Option<String>,
}

/// An AuthorizationPolicy.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Authorization {
    /// `namespace/name`.
    pub(crate) key: String,
    pub(crate) scope: Scope,
    pub(crate) action: String,
    #[serde(default)]
    pub(crate) dry_run: bool,
}

/// A PeerAuthentication.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Peers {
    /// `namespace/name`.
    pub(crate) key: String,
    pub(crate) scope: Scope,
    pub(crate) mode: Option<String>,
    pub(crate) ports: BTreeMap<u16, String>,
}

/// What a policy is for.
#[derive(Clone, Debug, Deserialize)]
pub(crate) enum Scope {
    Mesh,
    Namespace(serde::de::IgnoredAny),
    /// In this namespace, or in all.
    Selector(Option<serde::de::IgnoredAny>, BTreeMap<String, String>),
    Targets(Vec<String>),
}

/// A certificate.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Certificate {
    pub(crate) identity: String,
    pub(crate) kind: String,
    pub(crate) status: String,
    /// None where there is none yet.
    pub(crate) certificate: Option<Facts>,
}

/// What a certificate says.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Facts {
    pub(crate) valid: bool,
    pub(crate) serial: String,
    pub(crate) not_before: String,
    pub(crate) not_after: String,
}

/// An open connection.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Connection {
    pub(crate) direction: Direction,
    pub(crate) src: SocketAddr,
    pub(crate) src_workload: Option<String>,
    pub(crate) src_namespace: Option<String>,
    pub(crate) dst: SocketAddr,
    /// What the CONNECT asks for; none without HBONE.
    pub(crate) hbone: Option<String>,
    pub(crate) dst_service: Option<String>,
    pub(crate) dst_workload: Option<String>,
    pub(crate) dst_namespace: Option<String>,
}

/// Which way a connection goes, as its agent sees it.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Direction {
    /// Into a pod of the node.
    Inbound,
    /// Out of a pod of the node.
    Outbound,
}

/// What `whom` says, `text`, as a list of connections for each worker: what `/connections` says, or a dump that was saved
/// with them.
///
/// # Errors
/// When it is neither.
pub(crate) fn connections(whom: &str, text: &[u8]) -> Result<Vec<Listed<Connection>>, Error> {
    let value: Value = parse(whom, text)?;
    let lists = value.get("connections").unwrap_or(&value);
    if !lists.is_array() {
        let why = "there are no connections in it: save them with `ambit ztunnel-config all -o json`".to_owned();
        return Err(Error::Foreign { whom: whom.to_owned(), why });
    }
    let lists: Vec<Vec<Listed<Connection>>> = of(whom, lists)?;
    Ok(lists.into_iter().flatten().collect())
}

/// The DNS suffix of the mesh, where what `whom` says, `text`, has it: a status or a dump.
///
/// # Errors
/// When it is no JSON.
pub(crate) fn domain(whom: &str, text: &[u8]) -> Result<Option<String>, Error> {
    let value: Value = parse(whom, text)?;
    let domain = value.pointer("/domain").or_else(|| value.pointer("/mesh/domain")).and_then(Value::as_str);
    Ok(domain.map(str::to_owned))
}

/// What `whom` says, `text`, as JSON of this shape.
///
/// # Errors
/// When it is none.
pub(crate) fn parse<T: DeserializeOwned>(whom: &str, text: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(text).map_err(|error| foreign(whom, &error))
}

/// The same of what has been parsed already.
///
/// # Errors
/// When it is not of this shape.
pub(crate) fn of<T: DeserializeOwned>(whom: &str, value: &Value) -> Result<T, Error> {
    T::deserialize(value).map_err(|error| foreign(whom, &error))
}

fn foreign(whom: &str, error: &serde_json::Error) -> Error {
    Error::Foreign { whom: whom.to_owned(), why: error.to_string() }
}

impl Dump {
    /// The open connections, where they were saved with it.
    pub(crate) fn open(&self) -> Vec<Listed<Connection>> {
        self.connections.iter().flatten().flatten().cloned().collect()
    }
}

/// How a table names the waypoint that something of `namespace` is `bound` to, where its labels ask for `asked`.
pub(crate) fn waypoint(bound: Option<&Bound>, asked: Option<&UseWaypoint>, namespace: &str) -> String {
    let short = |key: &str| match split(key) {
        (own, name) if own == namespace => name.to_owned(),
        _ => key.to_owned(),
    };
    let wanted = || short(asked.map(|asked| asked.key.as_str()).unwrap_or_default());
    match bound {
        None => "None".to_owned(),
        Some(Bound::Waypoint(key)) => short(key),
        Some(Bound::Unavailable(Unavailable::Missing)) => format!("{} (missing)", wanted()),
        Some(Bound::Unavailable(Unavailable::AttachmentDenied)) => format!("{} (not allowed)", wanted()),
    }
}

/// The namespace of a key, and the rest of it.
pub(crate) fn split(key: &str) -> (&str, &str) {
    key.split_once('/').unwrap_or(("", key))
}
