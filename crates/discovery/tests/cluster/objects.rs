//! Objects as Kubernetes has them.

use serde_json::{Value, json};

pub(crate) const PODS: &str = "v1/pods";
pub(crate) const SERVICES: &str = "v1/services";
pub(crate) const NAMESPACES: &str = "v1/namespaces";
pub(crate) const NODES: &str = "v1/nodes";
pub(crate) const SLICES: &str = "discovery.k8s.io/v1/endpointslices";
pub(crate) const POLICIES: &str = "security.istio.io/v1/authorizationpolicies";
pub(crate) const PEERS: &str = "security.istio.io/v1/peerauthentications";
pub(crate) const ROUTES: &str = "networking.istio.io/v1/virtualservices";

/// A namespace in the mesh.
pub(crate) fn namespace(name: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"istio.io/dataplane-mode": "ambient"}}})
}

/// A node in a zone.
pub(crate) fn node(name: &str, zone: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": zone}},
        "status": {"addresses": [{"type": "InternalIP", "address": "192.168.0.1"}]}})
}

/// A pod, with much that the mesh does not read, as pods have it.
pub(crate) fn pod(namespace: &str, name: &str, ip: &str) -> Value {
    let app = name.split('-').next().unwrap_or(name);
    json!({
        "metadata": {
            "name": name, "namespace": namespace, "uid": format!("uid-{namespace}-{name}"),
            "labels": {"app": app, "pod-template-hash": "5d4f8c7b9"}, "creationTimestamp": "2026-01-01T00:00:00Z",
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{\"password\":\"hunter2\"}"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{app}-5d4f8c7b9"),
                "uid": "1", "controller": true}],
            "managedFields": [{"manager": "kubelet", "operation": "Update", "fieldsV1": {"f:status": {"f:phase": {}}}}],
        },
        "spec": {
            "nodeName": "node-a", "serviceAccountName": app, "restartPolicy": "Always", "tolerations": null,
            "containers": [{"name": app, "image": format!("{app}:1"),
                "env": [{"name": "PASSWORD", "value": "hunter2"}],
                "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
                "volumeMounts": [{"name": "token", "mountPath": "/var/run/secrets"}]}],
            "volumes": [{"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}],
        },
        "status": {
            "phase": "Running", "hostIP": "192.168.0.1", "podIP": ip, "podIPs": [{"ip": ip}],
            "conditions": [{"type": "Ready", "status": "True", "lastProbeTime": null,
                "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            "containerStatuses": [{"name": app, "ready": true, "restartCount": 0, "imageID": "sha256:0"}],
        },
    })
}

/// A service of the pods whose names begin with its own.
pub(crate) fn service(namespace: &str, name: &str, ip: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": namespace},
        "spec": {"clusterIP": ip, "clusterIPs": [ip], "selector": {"app": name},
            "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}]}})
}

/// An endpoint of a service; without any there is none, as Kubernetes writes it.
pub(crate) fn slice(namespace: &str, service: &str, ip: Option<&str>) -> Value {
    let endpoints = ip.map(|ip| json!([{"addresses": [ip], "conditions": {"ready": true}}]));
    json!({"metadata": {"name": format!("{service}-abcde"), "namespace": namespace,
            "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4", "endpoints": endpoints, "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}]})
}

/// A policy that refuses `principal`.
pub(crate) fn denial(namespace: &str, name: &str, principal: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": namespace},
        "spec": {"action": "DENY", "rules": [{"from": [{"source": {"principals": [principal]}}]}]}})
}

/// A route of a host to itself.
pub(crate) fn route(namespace: &str, name: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": namespace},
        "spec": {"hosts": [name], "http": [{"route": [{"destination": {"host": name}}]}]}})
}
