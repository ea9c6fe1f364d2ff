//! Which pods are meant: the mesh's own, and those that a user names. Choosing is pure; finding asks the API.

use ambit_api::labels::GATEWAY_NAME;
use ambit_discovery::resource;
use kube::ResourceExt;
use kube::api::{DynamicObject, ListParams};
use kube::core::ApiResource;
use serde_json::Value;

use super::Cluster;
use crate::error::{Error, is_missing};

/// By this label the agents' pods are known.
const AGENTS: &str = "app=ztunnel";
/// And the controller's.
const CONTROLLER: &str = "app=ambit-controller";

/// A pod, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pod {
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// Empty before it is scheduled.
    pub(crate) node: String,
    /// True if its containers run.
    pub(crate) runs: bool,
    /// True if it is an agent's.
    pub(crate) is_agent: bool,
}

/// What a user calls a pod: `[TYPE/]NAME[.NAMESPACE]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    kind: Type,
    name: String,
    namespace: Option<String>,
}

/// What a name is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Pod,
    Service,
    Deployment,
    DaemonSet,
    StatefulSet,
    ReplicaSet,
}

impl Type {
    fn read(text: &str) -> Option<Self> {
        Some(match text {
            "pod" | "pods" | "po" => Self::Pod,
            "service" | "services" | "svc" => Self::Service,
            "deployment" | "deployments" | "deploy" => Self::Deployment,
            "daemonset" | "daemonsets" | "ds" => Self::DaemonSet,
            "statefulset" | "statefulsets" | "sts" => Self::StatefulSet,
            "replicaset" | "replicasets" | "rs" => Self::ReplicaSet,
            _ => return None,
        })
    }

    fn resource(self) -> ApiResource {
        match self {
            Self::Pod => pods(),
            Self::Service => resource("v1", "Service", "services"),
            Self::Deployment => resource("apps/v1", "Deployment", "deployments"),
            Self::DaemonSet => resource("apps/v1", "DaemonSet", "daemonsets"),
            Self::StatefulSet => resource("apps/v1", "StatefulSet", "statefulsets"),
            Self::ReplicaSet => resource("apps/v1", "ReplicaSet", "replicasets"),
        }
    }
}

impl std::str::FromStr for Named {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (kind, rest) = text.split_once('/').unwrap_or(("pod", text));
        let kind = Type::read(kind).ok_or_else(|| {
            let types = "pod, service, deployment, daemonset, statefulset, replicaset";
            Error::Unmet(format!("{kind:?} in {text:?} is no type that has pods: one of {types}"))
        })?;
        let (name, namespace) = match rest.rsplit_once('.') {
            Some((name, namespace)) => (name, Some(namespace.to_owned())),
            None => (rest, None),
        };
        Ok(Self { kind, name: name.to_owned(), namespace })
    }
}

fn pods() -> ApiResource {
    resource("v1", "Pod", "pods")
}

impl Pod {
    fn read(object: &DynamicObject) -> Self {
        let text = |pointer: &str| object.data.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        Self {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            node: text("/spec/nodeName").to_owned(),
            runs: text("/status/phase") == "Running" && object.metadata.deletion_timestamp.is_none(),
            is_agent: object.labels().get("app").is_some_and(|app| app == "ztunnel"),
        }
    }
}

/// The first that runs, else the first.
fn first(pods: Vec<Pod>) -> Option<Pod> {
    let running = pods.iter().position(|pod| pod.runs).unwrap_or_default();
    pods.into_iter().nth(running)
}

impl Cluster {
    /// The agents' pods, by name.
    pub(crate) async fn agents(&self) -> Result<Vec<Pod>, Error> {
        self.pods(Some(&self.home), &ListParams::default().labels(AGENTS)).await
    }

    /// The controller's pods, by name.
    pub(crate) async fn controllers(&self) -> Result<Vec<Pod>, Error> {
        self.pods(Some(&self.home), &ListParams::default().labels(CONTROLLER)).await
    }

    /// The waypoints' pods: of the namespace that was said, or of all.
    pub(crate) async fn waypoints(&self) -> Result<Vec<Pod>, Error> {
        let classes = crate::waypoint::CLASSES.join(",");
        let labels = format!("{GATEWAY_NAME},gateway.networking.k8s.io/gateway-class-name in ({classes})");
        let namespace = self.is_said.then_some(self.namespace.as_str());
        self.pods(namespace, &ListParams::default().labels(&labels)).await
    }

    /// The agent of the node `node`.
    ///
    /// # Errors
    /// Where there is none.
    pub(crate) async fn agent_of(&self, node: &str) -> Result<Pod, Error> {
        let wanted = ListParams::default().labels(AGENTS).fields(&format!("spec.nodeName={node}"));
        first(self.pods(Some(&self.home), &wanted).await?).ok_or_else(|| {
            let home = &self.home;
            Error::Unmet(format!(
                "there is no agent on node {node:?}: `kubectl get pods -n {home} -l {AGENTS} -o wide` lists the agents; \
                 -i names the namespace of another installation"
            ))
        })
    }

    /// The agents that run, by name; if none does, those that there are.
    ///
    /// # Errors
    /// Where there are none.
    pub(crate) async fn running_agents(&self) -> Result<Vec<Pod>, Error> {
        let all = self.agents().await?;
        let running: Vec<Pod> = all.iter().filter(|pod| pod.runs).cloned().collect();
        match (running.is_empty(), all.is_empty()) {
            (false, _) => Ok(running),
            (true, false) => Ok(all),
            (true, true) => Err(self.no_agents()),
        }
    }

    /// That there are no agents.
    pub(crate) fn no_agents(&self) -> Error {
        let home = &self.home;
        Error::Unmet(format!(
            "there is no agent in namespace {home}: install the mesh (charts/ambit), or name its namespace with -i"
        ))
    }

    /// The agent that `named` means: itself, or that of the node where it runs.
    ///
    /// # Errors
    /// Where there is no such pod, or no agent where it runs.
    pub(crate) async fn agent_named(&self, named: &Named) -> Result<Pod, Error> {
        let pod = self.named(named).await?;
        match (pod.is_agent, pod.node.as_str()) {
            (true, _) => Ok(pod),
            (false, "") => Err(Error::Unmet(format!(
                "pod {}/{} is on no node yet: `kubectl describe pod` says why",
                pod.namespace, pod.name
            ))),
            (false, node) => self.agent_of(node).await,
        }
    }

    /// The pod that `named` means: by a namespace that is said, or the mesh's, or the context's.
    async fn named(&self, named: &Named) -> Result<Pod, Error> {
        let said = named.namespace.as_deref().or(self.is_said.then_some(self.namespace.as_str()));
        let places = said.map_or_else(|| vec![self.home.as_str(), self.namespace.as_str()], |said| vec![said]);
        for namespace in &places {
            if let Some(pod) = self.named_in(named, namespace).await? {
                return Ok(pod);
            }
        }
        let kind = named.kind.resource().kind;
        let places = places.join(" or ");
        let name = &named.name;
        Err(Error::Unmet(format!(
            "there is no {kind} {name} with a pod in namespace {places}: write {name}.NAMESPACE, or give -n"
        )))
    }

    async fn named_in(&self, named: &Named, namespace: &str) -> Result<Option<Pod>, Error> {
        let kind = named.kind.resource();
        let object = match self.within(namespace, &kind).get(&named.name).await {
            Ok(object) => object,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(Error::api(format!("get {} {namespace}/{}", kind.kind, named.name), &error)),
        };
        if named.kind == Type::Pod {
            return Ok(Some(Pod::read(&object)));
        }
        let Some(selector) = selector(&object) else { return Ok(None) };
        Ok(first(self.pods(Some(namespace), &ListParams::default().labels(&selector)).await?))
    }

    async fn pods(&self, namespace: Option<&str>, wanted: &ListParams) -> Result<Vec<Pod>, Error> {
        Ok(self.list(namespace, &pods(), wanted).await?.iter().map(Pod::read).collect())
    }

    /// The mesh's proxies: agents, then waypoints.
    pub(crate) async fn proxies(&self) -> Result<Vec<Pod>, Error> {
        let (agents, waypoints) = futures_util::try_join!(self.agents(), self.waypoints())?;
        Ok([agents, waypoints].concat())
    }
}

/// Which pods `object` has, as a list asks for them; of those that say it by expressions, none.
fn selector(object: &DynamicObject) -> Option<String> {
    let spec = object.data.get("spec")?.get("selector")?;
    let labels = spec.get("matchLabels").unwrap_or(spec).as_object()?;
    let terms: Vec<String> =
        labels.iter().filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?))).collect();
    (!terms.is_empty()).then(|| terms.join(","))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn named(text: &str) -> Result<(Type, String, Option<String>), String> {
        let Named { kind, name, namespace } = text.parse().map_err(|error: Error| error.to_string())?;
        Ok((kind, name, namespace))
    }

    #[test]
    fn a_pod_is_named_as_with_istioctl() {
        let expected =
            |kind, name: &str, namespace: Option<&str>| Ok((kind, name.to_owned(), namespace.map(str::to_owned)));
        assert_eq!(named("web-7d"), expected(Type::Pod, "web-7d", None));
        assert_eq!(named("web-7d.shop"), expected(Type::Pod, "web-7d", Some("shop")));
        assert_eq!(named("deploy/web.shop"), expected(Type::Deployment, "web", Some("shop")));
        assert_eq!(named("daemonset/ztunnel"), expected(Type::DaemonSet, "ztunnel", None));
        assert_eq!(named("svc/a.b.shop"), expected(Type::Service, "a.b", Some("shop")));
        assert!(named("gateway/web").unwrap_err().contains("deployment"), "{:?}", named("gateway/web"));
    }

    fn object(value: Value) -> DynamicObject {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_runs_comes_before_what_does_not() {
        let pod = |name: &str, phase: &str| {
            Pod::read(&object(json!({
                "metadata": {"name": name, "namespace": "istio-system", "labels": {"app": "ztunnel"}},
                "spec": {"nodeName": "a"},
                "status": {"phase": phase},
            })))
        };
        let chosen = first(vec![pod("one", "Pending"), pod("two", "Running"), pod("three", "Running")]).unwrap();
        assert_eq!((chosen.name.as_str(), chosen.node.as_str(), chosen.is_agent), ("two", "a", true));
        assert_eq!(first(vec![pod("one", "Failed")]).unwrap().name, "one");
        assert_eq!(first(Vec::new()), None);
    }

    #[test]
    fn pods_are_selected_as_their_owner_selects_them() {
        let of = |spec: Value| selector(&object(json!({"metadata": {"name": "web"}, "spec": spec})));
        let deployment = json!({"selector": {"matchLabels": {"app": "web", "tier": "front"}}});
        assert_eq!(of(deployment).as_deref(), Some("app=web,tier=front"));
        assert_eq!(of(json!({"selector": {"app": "web"}})).as_deref(), Some("app=web"));
        assert_eq!(of(json!({"type": "ExternalName"})), None);
        assert_eq!(of(json!({"selector": {}})), None);
    }
}
