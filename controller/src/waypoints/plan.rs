//! What is deployed for a waypoint's Gateway: pure. Shaped as Istio's waypoints are (labels, names, ports, the token's and the
//! roots' places), and then as the Gateway's ConfigMap says.

use std::collections::BTreeMap;

use ambit_api::labels::{CANONICAL_NAME, CANONICAL_REVISION, DATAPLANE_MODE, GATEWAY_NAME, TRAFFIC_DISTRIBUTION};
use ambit_model::ports;
use serde_json::{Value, json};

use super::gateway::Gateway;
use super::merge::merge;
use crate::json::set;
use crate::roots;

/// The label that tells, of all that is deployed for a waypoint, its Gateway's class; [`GATEWAY_NAME`] tells the Gateway.
pub(crate) const GATEWAY_CLASS: &str = "gateway.networking.k8s.io/gateway-class-name";
const MANAGED: (&str, &str) = ("gateway.istio.io/managed", "istio.io-mesh-controller");

const ROOTS: &str = "/var/run/secrets/istio";
const TOKENS: &str = "/var/run/secrets/tokens";
const TOKEN: &str = "istio-token";
/// Where it keeps its key for the next container of the same pod.
const KEPT: &str = "/var/run/certificates";
/// How long a token is valid; the kubelet replaces it at four fifths.
const TOKEN_SECONDS: u32 = 43_200;
/// Whom the program runs as: nobody else in the pod needs to be told from it.
const USER: u32 = 1337;
/// How long a pod that stops may take: as long as the waypoint drains (30 s), and a little.
const GRACE_SECONDS: u32 = 45;

/// What holds for all waypoints.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// The image of the program.
    pub(crate) image: String,
    /// Where certificates are asked for (`https://HOST:PORT`).
    pub(crate) ca_address: String,
    /// The audience of the token for there.
    pub(crate) audience: String,
    /// Settings that agents and waypoints have to have alike, each a flag and its value.
    pub(crate) alike: Vec<(&'static str, String)>,
}

/// What the ConfigMap of a Gateway puts on what is deployed, by its key.
pub(crate) type Overlays = BTreeMap<Part, Value>;

/// A part of what is deployed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    ServiceAccount,
    Deployment,
    Service,
    HorizontalPodAutoscaler,
    PodDisruptionBudget,
}

impl Part {
    /// All of them, in the order in which they are made.
    pub(crate) const ALL: [Self; 5] = [
        Self::ServiceAccount,
        Self::Deployment,
        Self::Service,
        Self::HorizontalPodAutoscaler,
        Self::PodDisruptionBudget,
    ];

    /// Its key in a ConfigMap, as Istio has it.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::ServiceAccount => "serviceAccount",
            Self::Deployment => "deployment",
            Self::Service => "service",
            Self::HorizontalPodAutoscaler => "horizontalPodAutoscaler",
            Self::PodDisruptionBudget => "podDisruptionBudget",
        }
    }

    /// Its kind.
    pub(crate) const fn kind(self) -> &'static str {
        match self {
            Self::ServiceAccount => "ServiceAccount",
            Self::Deployment => "Deployment",
            Self::Service => "Service",
            Self::HorizontalPodAutoscaler => "HorizontalPodAutoscaler",
            Self::PodDisruptionBudget => "PodDisruptionBudget",
        }
    }

    /// The versions that it is written in, the one to be preferred first: all read what is written here alike.
    pub(crate) const fn versions(self) -> &'static [&'static str] {
        match self {
            Self::ServiceAccount | Self::Service => &["v1"],
            Self::Deployment => &["apps/v1"],
            Self::HorizontalPodAutoscaler => &["autoscaling/v2", "autoscaling/v2beta2"],
            Self::PodDisruptionBudget => &["policy/v1", "policy/v1beta1"],
        }
    }
}

/// What a ConfigMap says, each entry YAML.
///
/// # Errors
/// What is wrong with it, by its key.
pub(crate) fn overlays(entries: &BTreeMap<String, String>) -> Result<Overlays, String> {
    let read = |(key, text): (&String, &String)| {
        let known = Part::ALL.into_iter().find(|part| part.key() == key);
        let part =
            known.ok_or_else(|| format!("the key {key:?} is none of {}", Part::ALL.map(Part::key).join(", ")))?;
        let overlay = ambit_discovery::read_yaml(text).map_err(|error| format!("{key}: {error}"))?;
        match overlay {
            Value::Null => Ok((part, json!({}))),
            Value::Object(_) => Ok((part, overlay)),
            _ => Err(format!("{key}: is no map")),
        }
    };
    entries.iter().map(read).collect()
}

/// What is deployed for `gateway`, in the order in which it is made; each object without its `apiVersion`, which is the API's
/// to choose.
pub(crate) fn plan(gateway: &Gateway, overlays: &Overlays, shape: &Shape) -> Vec<(Part, Value)> {
    let wanted = |part: &Part| match part {
        Part::ServiceAccount => gateway.account.is_none(),
        Part::Deployment | Part::Service => true,
        // Only on request.
        Part::HorizontalPodAutoscaler | Part::PodDisruptionBudget => overlays.contains_key(part),
    };
    Part::ALL.into_iter().filter(wanted).map(|part| (part, object(part, gateway, overlays, shape))).collect()
}

fn object(part: Part, gateway: &Gateway, overlays: &Overlays, shape: &Shape) -> Value {
    let body = match part {
        Part::ServiceAccount => json!({}),
        Part::Deployment => json!({"spec": deployment(gateway, shape)}),
        Part::Service => json!({"spec": service(gateway)}),
        Part::HorizontalPodAutoscaler => {
            let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": gateway.deployment});
            json!({"spec": {"scaleTargetRef": target, "maxReplicas": 1}})
        }
        Part::PodDisruptionBudget => {
            json!({"spec": {"selector": {"matchLabels": {GATEWAY_NAME: gateway.name}}}})
        }
    };
    let mut object = body;
    let mut annotations = gateway.annotations.clone();
    if part == Part::Service {
        annotations.entry(TRAFFIC_DISTRIBUTION.to_owned()).or_insert("PreferClose".to_owned());
    }
    set(&mut object, &["metadata", "labels"], json!(labels(gateway)));
    if !annotations.is_empty() {
        set(&mut object, &["metadata", "annotations"], json!(annotations));
    }
    if let Some(overlay) = overlays.get(&part) {
        merge(&mut object, overlay);
    }
    // What says whose it is is nobody's to change.
    set(&mut object, &["kind"], json!(part.kind()));
    for (path, value) in [
        (&["metadata", "name"][..], &gateway.deployment),
        (&["metadata", "namespace"], &gateway.namespace),
        (&["metadata", "labels", GATEWAY_NAME], &gateway.name),
        (&["metadata", "labels", GATEWAY_CLASS], &gateway.class),
    ] {
        set(&mut object, path, json!(value));
    }
    let owner = json!({
        "apiVersion": gateway.api_version,
        "kind": "Gateway",
        "name": gateway.name,
        "uid": gateway.uid,
    });
    set(&mut object, &["metadata", "ownerReferences"], json!([owner]));
    if part == Part::Deployment {
        // Nor is as whom it runs: that is the Gateway's to say.
        set(&mut object, &["spec", "template", "spec", "serviceAccountName"], json!(gateway.account()));
    }
    if let Some(object) = object.as_object_mut() {
        object.remove("apiVersion");
        object.remove("status");
    }
    object
}

fn labels(gateway: &Gateway) -> BTreeMap<String, String> {
    let mut labels = gateway.labels.clone();
    for (name, value) in [(GATEWAY_NAME, gateway.name.as_str()), (GATEWAY_CLASS, &gateway.class), MANAGED] {
        labels.insert(name.to_owned(), value.to_owned());
    }
    labels
}

fn service(gateway: &Gateway) -> Value {
    json!({
        "type": gateway.service_type.as_deref().unwrap_or("ClusterIP"),
        "selector": {GATEWAY_NAME: gateway.name},
        "ports": [
            {"name": "status-port", "port": ports::READINESS, "protocol": "TCP", "appProtocol": "tcp"},
            {"name": "mesh", "port": ports::HBONE, "protocol": "TCP", "appProtocol": "hbone"},
        ],
    })
}

fn deployment(gateway: &Gateway, shape: &Shape) -> Value {
    let mut pod_labels = labels(gateway);
    for (name, value) in [
        ("sidecar.istio.io/inject", "false"),
        // A waypoint serves HBONE itself.
        (DATAPLANE_MODE, "none"),
        (CANONICAL_NAME, &gateway.deployment),
        (CANONICAL_REVISION, "latest"),
    ] {
        pod_labels.entry(name.to_owned()).or_insert(value.to_owned());
    }
    let mut annotations = gateway.annotations.clone();
    let scraped = ports::METRICS.to_string();
    for (name, value) in [
        ("prometheus.io/path", "/stats/prometheus"),
        ("prometheus.io/port", &scraped),
        ("prometheus.io/scrape", "true"),
    ] {
        annotations.entry(name.to_owned()).or_insert(value.to_owned());
    }
    let token = json!({"audience": shape.audience, "expirationSeconds": TOKEN_SECONDS, "path": TOKEN});
    json!({
        "selector": {"matchLabels": {GATEWAY_NAME: gateway.name}},
        "template": {
            "metadata": {"labels": pod_labels, "annotations": annotations},
            "spec": {
                "serviceAccountName": gateway.account(),
                "terminationGracePeriodSeconds": GRACE_SECONDS,
                "securityContext": {
                    "runAsNonRoot": true,
                    "runAsUser": USER,
                    "runAsGroup": USER,
                    // What is projected into the pod can be read.
                    "fsGroup": USER,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [container(gateway, shape)],
                "volumes": [
                    {"name": "istio-token", "projected": {"sources": [{"serviceAccountToken": token}]}},
                    {"name": "istiod-ca-cert", "configMap": {"name": roots::NAME}},
                    {"name": "certificates", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
                ],
            },
        },
    })
}

fn container(gateway: &Gateway, shape: &Shape) -> Value {
    let from = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    let mut args: Vec<String> = vec!["--kube".to_owned()];
    let flags = [
        ("--namespace", "$(POD_NAMESPACE)".to_owned()),
        ("--name", gateway.name.clone()),
        ("--service-account", gateway.account().to_owned()),
        ("--ca-address", shape.ca_address.clone()),
        ("--ca-token", format!("{TOKENS}/{TOKEN}")),
        ("--roots", format!("{ROOTS}/root-cert.pem")),
        ("--keep-certificates", format!("{KEPT}/kept")),
    ];
    for (flag, value) in flags.into_iter().chain(shape.alike.iter().cloned()) {
        args.extend([flag.to_owned(), value]);
    }
    let ready = |failures: u32, seconds: u32| {
        json!({
            "httpGet": {"path": "/healthz/ready", "port": ports::READINESS},
            "failureThreshold": failures,
            "periodSeconds": seconds,
        })
    };
    json!({
        "name": "istio-proxy",
        "image": shape.image,
        "command": ["waypoint"],
        "args": args,
        "env": [from("POD_NAME", "metadata.name"), from("POD_NAMESPACE", "metadata.namespace")],
        "ports": [
            {"name": "mesh", "containerPort": ports::HBONE, "protocol": "TCP"},
            {"name": "metrics", "containerPort": ports::METRICS, "protocol": "TCP"},
            {"name": "status-port", "containerPort": ports::READINESS, "protocol": "TCP"},
        ],
        "startupProbe": ready(60, 1),
        "readinessProbe": ready(2, 5),
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
        "securityContext": {
            "privileged": false,
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "istio-token", "mountPath": TOKENS, "readOnly": true},
            {"name": "istiod-ca-cert", "mountPath": ROOTS, "readOnly": true},
            {"name": "certificates", "mountPath": KEPT},
        ],
    })
}

#[cfg(test)]
mod tests;
