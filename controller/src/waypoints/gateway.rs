//! A Gateway of a waypoint's class, as far as its Deployment and its status need it: read once from what the API says.

use std::collections::BTreeMap;

use ambit_model::policy::WAYPOINT_CLASSES;
use ambit_model::ports;
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::Value;

use crate::json::at;

/// What a waypoint listens by, at the port [`ports::HBONE`].
pub(crate) const PROTOCOL: &str = "HBONE";

/// Another name for what is deployed (Istio's `gateway.istio.io/name-override`).
const NAME_OVERRIDE: &str = "gateway.istio.io/name-override";
/// A service account that is there already (Istio's `gateway.istio.io/service-account`).
const SERVICE_ACCOUNT: &str = "gateway.istio.io/service-account";
/// The Service's type (Istio's `networking.istio.io/service-type`).
const SERVICE_TYPE: &str = "networking.istio.io/service-type";
/// What is for the Gateway alone, and not for what is deployed for it.
const OWN_ANNOTATIONS: [&str; 5] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "gateway.istio.io/controller-version",
    NAME_OVERRIDE,
    SERVICE_ACCOUNT,
    SERVICE_TYPE,
];

/// A Gateway.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Gateway {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    /// The `apiVersion` that it is served as.
    pub(crate) api_version: String,
    pub(crate) class: String,
    pub(crate) generation: i64,
    pub(crate) listeners: Vec<Listener>,
    /// What is put on everything that is deployed (`spec.infrastructure`).
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
    /// The ConfigMap that shapes what is deployed; an error says why there is none.
    pub(crate) parameters: Result<Option<String>, String>,
    /// The name of the Deployment, and of all that belongs to it.
    pub(crate) deployment: String,
    /// The service account, if it is somebody else's.
    pub(crate) account: Option<String>,
    /// The Service's type, if that is said.
    pub(crate) service_type: Option<String>,
    /// True if it says itself where it is reached: then nothing is deployed for it (Gateway API, `spec.addresses`).
    pub(crate) is_addressed: bool,
}

/// A listener of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listener {
    pub(crate) name: String,
    pub(crate) port: i64,
    pub(crate) protocol: String,
}

impl Gateway {
    /// Reads `object`, which is served as `api_version`; none if it is of no class of ours.
    pub(crate) fn read(object: &DynamicObject, api_version: &str) -> Option<Self> {
        let spec = at(&object.data, &["spec"]);
        let class = spec["gatewayClassName"].as_str().filter(|class| WAYPOINT_CLASSES.contains(class))?.to_owned();
        let infrastructure = &spec["infrastructure"];
        // Before there was `infrastructure`, what is deployed had what the Gateway has.
        let inherited = |own: &BTreeMap<String, String>, said: &Value| match said.as_object() {
            Some(said) => {
                said.iter().filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
            }
            None => own.clone(),
        };
        let annotation = |name: &str| object.annotations().get(name).filter(|value| !value.is_empty()).cloned();
        let mut annotations = inherited(object.annotations(), &infrastructure["annotations"]);
        annotations.retain(|name, _| !OWN_ANNOTATIONS.contains(&name.as_str()));
        Some(Self {
            namespace: object.namespace()?,
            name: object.name_any(),
            uid: object.uid()?,
            api_version: api_version.to_owned(),
            class,
            generation: object.metadata.generation.unwrap_or_default(),
            listeners: spec["listeners"].as_array().into_iter().flatten().map(Listener::read).collect(),
            labels: inherited(object.labels(), &infrastructure["labels"]),
            annotations,
            parameters: parameters(&infrastructure["parametersRef"]),
            deployment: annotation(NAME_OVERRIDE).unwrap_or_else(|| object.name_any()),
            account: annotation(SERVICE_ACCOUNT),
            service_type: annotation(SERVICE_TYPE),
            is_addressed: spec["addresses"].as_array().is_some_and(|addresses| !addresses.is_empty()),
        })
    }

    /// True if it has the listener that a waypoint has.
    pub(crate) fn is_accepted(&self) -> bool {
        self.listeners.iter().any(Listener::is_served)
    }

    /// The service account that its pods run as.
    pub(crate) fn account(&self) -> &str {
        self.account.as_deref().unwrap_or(&self.deployment)
    }
}

impl Listener {
    /// True if a waypoint listens so.
    pub(crate) fn is_served(&self) -> bool {
        self.protocol == PROTOCOL && self.port == i64::from(ports::HBONE)
    }

    fn read(listener: &Value) -> Self {
        let text = |field: &str| listener[field].as_str().unwrap_or_default().to_owned();
        Self { name: text("name"), port: listener["port"].as_i64().unwrap_or_default(), protocol: text("protocol") }
    }
}

fn parameters(reference: &Value) -> Result<Option<String>, String> {
    if reference.is_null() {
        return Ok(None);
    }
    match (reference["group"].as_str().unwrap_or_default(), reference["kind"].as_str(), reference["name"].as_str()) {
        ("", Some("ConfigMap"), Some(name)) => Ok(Some(name.to_owned())),
        (group, kind, _) => Err(format!(
            "spec.infrastructure.parametersRef is a {} of the group {group:?}: name a ConfigMap of the group \"\"",
            kind.unwrap_or("nothing")
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(annotations: &Value, spec: &Value) -> Option<Gateway> {
        let object = json!({
            "metadata": {
                "name": "waypoint",
                "namespace": "shop",
                "uid": "uid-1",
                "generation": 1,
                "labels": {"team": "shop"},
                "annotations": annotations,
            },
            "spec": spec,
        });
        Gateway::read(&serde_json::from_value(object).unwrap(), "gateway.networking.k8s.io/v1")
    }

    fn spec() -> Value {
        let listeners = json!([{"name": "mesh", "port": 15008, "protocol": "HBONE"}]);
        json!({"gatewayClassName": "istio-waypoint", "listeners": listeners})
    }

    #[test]
    fn a_gateway_of_another_class_is_not_ours() {
        assert!(read(&json!({}), &json!({"gatewayClassName": "istio"})).is_none());
        assert!(read(&json!({}), &json!({})).is_none());
    }

    #[test]
    fn annotations_name_what_is_deployed_and_are_not_passed_on() {
        let annotations = json!({
            NAME_OVERRIDE: "other",
            SERVICE_ACCOUNT: "theirs",
            SERVICE_TYPE: "LoadBalancer",
            "kubectl.kubernetes.io/last-applied-configuration": "{}",
            "note": "ours",
        });
        let gateway = read(&annotations, &spec()).unwrap();
        assert_eq!((gateway.deployment.as_str(), gateway.account()), ("other", "theirs"));
        assert_eq!(gateway.service_type.as_deref(), Some("LoadBalancer"));
        assert_eq!(gateway.annotations, BTreeMap::from([("note".to_owned(), "ours".to_owned())]));
        assert_eq!(gateway.labels, BTreeMap::from([("team".to_owned(), "shop".to_owned())]));
        let plain = read(&json!({}), &spec()).unwrap();
        assert_eq!((plain.deployment.as_str(), plain.account()), ("waypoint", "waypoint"));
        assert!(plain.is_accepted() && !plain.is_addressed);
    }

    #[test]
    fn infrastructure_says_what_is_put_on_what_is_deployed() {
        let mut spec = spec();
        spec["infrastructure"] = json!({
            "labels": {"a": "b"},
            "annotations": {"c": "d"},
            "parametersRef": {"group": "", "kind": "ConfigMap", "name": "shape"},
        });
        let gateway = read(&json!({"note": "ours"}), &spec).unwrap();
        assert_eq!(gateway.labels, BTreeMap::from([("a".to_owned(), "b".to_owned())]));
        assert_eq!(gateway.annotations, BTreeMap::from([("c".to_owned(), "d".to_owned())]));
        assert_eq!(gateway.parameters, Ok(Some("shape".to_owned())));
        spec["infrastructure"]["parametersRef"]["kind"] = json!("Secret");
        assert!(read(&json!({}), &spec).unwrap().parameters.unwrap_err().contains("name a ConfigMap"));
    }
}
