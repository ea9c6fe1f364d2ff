//! Which waypoints may read the mesh's configuration from the API: the accounts of those that there are, by one binding, which
//! says exactly that. Names of accounts go in, nothing is decided here.

use std::collections::BTreeSet;

use ambit_discovery::resource;
use serde_json::{Value, json};
use tracing::warn;

use crate::cluster::{Claim, Cluster, Why, apply};
use crate::json::{at, set};

/// The binding.
const NAME: &str = "ambit-waypoints";
/// The role that it is of (docs/operations/kubernetes.md).
const ROLE: &str = "ambit-read";

/// Grants what waypoints read to `accounts`, each a namespace and a name, and to nobody else.
///
/// # Errors
/// What the API says.
pub(super) async fn grant(cluster: &Cluster, accounts: &BTreeSet<(String, String)>) -> kube::Result<()> {
    let api = cluster.all(&resource("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "clusterrolebindings"));
    let there = api.get_opt(NAME).await?;
    let wanted = binding(accounts);
    let granted = there.as_ref().map_or(Value::Null, |binding| at(&binding.data, &["subjects"]).clone());
    if granted == *at(&wanted, &["subjects"]) || (there.is_none() && accounts.is_empty()) {
        return Ok(());
    }
    apply(&api, &wanted, Claim::Ours).await.map(drop).inspect_err(|error| {
        warn!("waypoints cannot be let read the mesh's configuration: {}", Why(error));
    })
}

fn binding(accounts: &BTreeSet<(String, String)>) -> Value {
    let subject =
        |(namespace, name): &(String, String)| json!({"kind": "ServiceAccount", "name": name, "namespace": namespace});
    let mut binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": NAME},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": ROLE},
    });
    // The API leaves out a list that is empty.
    if !accounts.is_empty() {
        set(&mut binding, &["subjects"], accounts.iter().map(subject).collect());
    }
    binding
}
