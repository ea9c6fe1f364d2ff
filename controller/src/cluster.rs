//! What the controller does with a Kubernetes API beyond reading the mesh from it: the client, the resources that it writes,
//! and how it writes them (server-side apply). Knows nothing of what is written.

use std::fmt;

use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::ApiResource;
use kube::{Client, ResourceExt};
use serde_json::Value;

use crate::json::at;

/// By this name the API knows which fields are ours.
pub(crate) const FIELD_MANAGER: &str = "ambit-controller";

/// The API and where in it the controller is at home.
#[derive(Clone)]
pub(crate) struct Cluster {
    /// Asks the API.
    pub(crate) client: Client,
    /// The controller's own namespace: of the CA's Secret and of the Lease.
    pub(crate) namespace: String,
}

impl Cluster {
    /// The objects of `resource` in `namespace`.
    pub(crate) fn within(&self, namespace: &str, resource: &ApiResource) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, resource)
    }

    /// The objects of `resource` in all namespaces, or in none.
    pub(crate) fn all(&self, resource: &ApiResource) -> Api<DynamicObject> {
        Api::all_with(self.client.clone(), resource)
    }
}

/// How an object is written where it may be there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It was not there: what somebody else writes first stays his.
    New,
    /// It is ours, whatever others have written into it.
    Ours,
}

/// Writes the fields of `object` by server-side apply.
///
/// # Errors
/// What the API says: 409 where it is somebody else's.
pub(crate) async fn apply(api: &Api<DynamicObject>, object: &Value, claim: Claim) -> kube::Result<DynamicObject> {
    let name = at(object, &["metadata", "name"]).as_str().unwrap_or_default();
    let mut how = PatchParams::apply(FIELD_MANAGER);
    how.force = claim == Claim::Ours;
    api.patch(name, &how, &Patch::Apply(object)).await
}

/// Why the API did not do what it was asked, in a line.
pub(crate) struct Why<'a>(pub(crate) &'a kube::Error);

impl fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            kube::Error::Api(status) => write!(f, "{} {}", status.code, status.message),
            other => write!(f, "{other}"),
        }
    }
}

/// The name of `object` with its namespace.
pub(crate) fn full_name(object: &DynamicObject) -> String {
    match object.namespace() {
        Some(namespace) => format!("{namespace}/{}", object.name_any()),
        None => object.name_any(),
    }
}
