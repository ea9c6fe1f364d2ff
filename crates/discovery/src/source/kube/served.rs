//! Which kinds are read from a cluster, and in which version its API serves each: the newest that both know.

use ambit_api::Kind;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResourceList;
use kube::Client;
use kube::core::{ApiResource, GroupVersionKind};

/// The kinds that are watched: all but ServiceAccounts, of which nothing is read.
pub(super) fn watched() -> impl Iterator<Item = Kind> {
    Kind::ALL.into_iter().filter(|kind| *kind != Kind::ServiceAccount)
}

/// Where `kind` is served, in the first of `versions` that is; none if it is not.
///
/// # Errors
/// The API does not say.
pub async fn find(client: &Client, versions: &[&str], kind: &str) -> kube::Result<Option<ApiResource>> {
    for api_version in versions {
        if !api_version.contains('/') {
            return Ok(Some(ApiResource::from_gvk(&GroupVersionKind::gvk("", api_version, kind))));
        }
        match client.list_api_group_resources(api_version).await {
            Ok(list) => {
                if let Some(resource) = resource(&list, api_version, kind) {
                    return Ok(Some(resource));
                }
            }
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// True if the API answers when it is asked what is served beside `resource`.
pub(super) async fn answers(client: &Client, resource: &ApiResource) -> bool {
    let listed = match resource.group.is_empty() {
        true => client.list_core_api_resources(&resource.version).await,
        false => client.list_api_group_resources(&resource.api_version).await,
    };
    listed.is_ok()
}

/// The resource of `kind` among those that `api_version` has.
fn resource(list: &APIResourceList, api_version: &str, kind: &str) -> Option<ApiResource> {
    // Others, such as `pods/status`, are parts of one.
    let found = list.resources.iter().find(|known| known.kind == kind && !known.name.contains('/'))?;
    let (group, version) = api_version.split_once('/')?;
    Some(ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        plural: found.name.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_found_by_its_name_and_not_by_a_part_of_it() {
        let list: APIResourceList = serde_json::from_value(serde_json::json!({
            "groupVersion": "gateway.networking.k8s.io/v1",
            "resources": [
                {"name": "gateways/status", "kind": "Gateway", "namespaced": true, "singularName": "", "verbs": []},
                {"name": "gateways", "kind": "Gateway", "namespaced": true, "singularName": "gateway", "verbs": []},
            ],
        }))
        .unwrap();
        let version = "gateway.networking.k8s.io/v1";
        let found = resource(&list, version, "Gateway").unwrap();
        assert_eq!((&*found.plural, &*found.group, &*found.version), ("gateways", "gateway.networking.k8s.io", "v1"));
        assert_eq!(resource(&list, version, "GatewayClass"), None);
    }

    #[test]
    fn kinds_without_a_group_have_the_names_that_kubernetes_gave_them() {
        let names = |kind: Kind| ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", kind.as_str())).plural;
        let kinds = [Kind::Namespace, Kind::Node, Kind::Service, Kind::Pod];
        assert_eq!(kinds.map(names), ["namespaces", "nodes", "services", "pods"]);
    }
}
