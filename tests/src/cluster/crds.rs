//! CustomResourceDefinitions of the kinds that the mesh reads: the mesh's own as its chart installs them, the others (Gateway
//! API's, EndpointSlices) as small as the API server takes them, with every field kept and none checked.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Value, json};

use super::kubectl::Kubectl;

/// A kind and how it is served.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    /// The API group.
    pub group: &'static str,
    /// The kind.
    pub kind: &'static str,
    /// Its name in paths.
    pub plural: &'static str,
    /// The versions that are served; the first one is stored.
    pub versions: &'static [&'static str],
    /// True if its objects live in namespaces.
    pub namespaced: bool,
}

const NETWORKING: &str = "networking.istio.io";
const SECURITY: &str = "security.istio.io";
/// The directory of the chart's definitions.
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/ambit/files/crds");
const GATEWAY: &str = "gateway.networking.k8s.io";

/// Istio's and Gateway API's kinds that the mesh reads.
pub const MESH: [Definition; 13] = [
    of(NETWORKING, "VirtualService", "virtualservices"),
    of(NETWORKING, "DestinationRule", "destinationrules"),
    of(NETWORKING, "Gateway", "gateways"),
    of(NETWORKING, "ServiceEntry", "serviceentries"),
    of(NETWORKING, "WorkloadEntry", "workloadentries"),
    Definition { versions: &["v1", "v1beta1"], ..of(SECURITY, "AuthorizationPolicy", "authorizationpolicies") },
    Definition { versions: &["v1", "v1beta1"], ..of(SECURITY, "PeerAuthentication", "peerauthentications") },
    Definition { versions: &["v1", "v1beta1"], ..of(SECURITY, "RequestAuthentication", "requestauthentications") },
    Definition { versions: &["v1", "v1beta1"], ..of(GATEWAY, "Gateway", "gateways") },
    Definition { versions: &["v1", "v1beta1"], namespaced: false, ..of(GATEWAY, "GatewayClass", "gatewayclasses") },
    Definition { versions: &["v1", "v1beta1"], ..of(GATEWAY, "HTTPRoute", "httproutes") },
    Definition { versions: &["v1"], ..of(GATEWAY, "GRPCRoute", "grpcroutes") },
    Definition { versions: &["v1beta1"], ..of(GATEWAY, "ReferenceGrant", "referencegrants") },
];

/// EndpointSlices of v1, for an API server that has only their betas, and that is told to serve none of those.
pub const ENDPOINT_SLICE: Definition =
    Definition { versions: &["v1"], ..of("discovery.k8s.io", "EndpointSlice", "endpointslices") };

/// Defines those of `definitions` that the cluster does not have, and waits until they are served.
///
/// # Errors
/// When the server refuses them, or does not serve them within 30 seconds.
pub fn install(kubectl: &Kubectl, definitions: &[Definition]) -> anyhow::Result<()> {
    let names = kubectl.run(&["get", "customresourcedefinitions", "-o", "name"])?;
    let present: BTreeSet<_> = names.lines().filter_map(|name| name.split_once('/').map(|(_, name)| name)).collect();
    let missing: Vec<_> = definitions.iter().filter(|one| !present.contains(one.name().as_str())).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = missing.iter().map(|definition| format!("crd/{}", definition.name())).collect();
    let lenient = takes_empty_text_for_null(kubectl)?;
    let (of_chart, open): (Vec<&Definition>, Vec<_>) = missing.into_iter().partition(|one| one.is_of_chart());
    let text = |definition: &&Definition| {
        let file = definition.file();
        fs::read_to_string(&file).with_context(|| format!("{} cannot be read", file.display()))
    };
    let texts = of_chart.iter().map(text).collect::<anyhow::Result<Vec<_>>>()?;
    let mut manifests = if texts.is_empty() { Vec::new() } else { kubectl.read(&texts.join("\n---\n"))? };
    if lenient {
        manifests.iter_mut().for_each(let_text_be_null);
    }
    manifests.extend(open.iter().map(|definition| definition.manifest()));
    kubectl.apply(&manifests)?;
    let mut wait = vec!["wait", "--for=condition=Established", "--timeout=30s"];
    wait.extend(names.iter().map(String::as_str));
    kubectl.run(&wait).map(drop)
}

/// True for API servers that take empty text in an object for null, and refuse it: those of before 1.21, when a Go that is
/// newer than they are has compiled them.
fn takes_empty_text_for_null(kubectl: &Kubectl) -> anyhow::Result<bool> {
    let version = kubectl.get_path("/version")?;
    let minor = version.get("minor").and_then(Value::as_str).unwrap_or_default();
    Ok(minor.trim_end_matches('+').parse::<u32>().is_ok_and(|minor| minor < 21))
}

/// Lets every text of a schema be null as well.
fn let_text_be_null(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.get("type") == Some(&json!("string")) && !fields.contains_key("jsonPath") {
                fields.insert("nullable".to_owned(), json!(true));
            }
            // Nothing in alternatives, nor of what tells the entries of a list apart, can be null.
            let keyed = fields.contains_key("x-kubernetes-list-map-keys");
            let inner = fields.iter_mut().filter(|(name, _)| *name != "anyOf" && !(keyed && *name == "items"));
            inner.for_each(|(_, value)| let_text_be_null(value));
        }
        Value::Array(entries) => entries.iter_mut().for_each(let_text_be_null),
        _ => {}
    }
}

impl Definition {
    /// The definition's own name: `<plural>.<group>`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}.{}", self.plural, self.group)
    }

    /// The `apiVersion` of its objects as they are stored.
    #[must_use]
    pub fn api_version(&self) -> String {
        format!("{}/{}", self.group, self.versions.first().copied().unwrap_or_default())
    }

    /// True if the mesh's chart defines it.
    #[must_use]
    pub fn is_of_chart(&self) -> bool {
        [NETWORKING, SECURITY].contains(&self.group)
    }

    /// The file that it is in, if the chart defines it.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        Path::new(CHART).join(format!("{}.yaml", self.name()))
    }

    /// A definition with this name that keeps every field and checks none.
    #[must_use]
    pub fn manifest(&self) -> Value {
        // Structural, as v1 demands, and open.
        let any = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let schema = json!({
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": true,
            "properties": {"spec": any, "status": any},
        });
        let version = |(place, version): (usize, &&str)| {
            json!({
                "name": version,
                "served": true,
                "storage": place == 0,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": schema},
            })
        };
        let names = json!({
            "kind": self.kind,
            "listKind": format!("{}List", self.kind),
            "plural": self.plural,
            "singular": self.kind.to_lowercase(),
        });
        json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            // Groups of Kubernetes itself ask for this annotation; others do not mind it.
            "metadata": {
                "name": self.name(),
                "annotations": {"api-approved.kubernetes.io": "unapproved, for tests alone"},
            },
            "spec": {
                "group": self.group,
                "names": names,
                "scope": if self.namespaced { "Namespaced" } else { "Cluster" },
                "versions": self.versions.iter().enumerate().map(version).collect::<Vec<_>>(),
            },
        })
    }
}

const fn of(group: &'static str, kind: &'static str, plural: &'static str) -> Definition {
    Definition { group, kind, plural, versions: &["v1", "v1beta1", "v1alpha3"], namespaced: true }
}

#[cfg(test)]
mod tests {
    use ambit_api::kind::{Recognised, recognise};

    use super::*;

    #[test]
    fn every_version_that_is_served_is_one_that_the_mesh_reads() {
        for definition in MESH.iter().chain(&[ENDPOINT_SLICE]) {
            for version in definition.versions {
                let api_version = format!("{}/{version}", definition.group);
                let recognised = recognise(&api_version, definition.kind);
                let Recognised::Known(kind) = recognised else {
                    panic!("{api_version} {} is {recognised:?}", definition.kind)
                };
                assert_eq!(kind.is_namespaced(), definition.namespaced, "{}", definition.kind);
            }
        }
    }
}
