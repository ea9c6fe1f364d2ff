//! The classes of waypoints: made where they are missing, as Istio does, and never changed. A class of our name that names
//! another controller is that one's, with its Gateways.

use kube::api::{Api, DynamicObject, PostParams};
use kube::core::ApiResource;
use serde_json::json;
use tracing::info;

use crate::cluster::FIELD_MANAGER;
use crate::json::at;

/// Who serves the classes, as Istio's waypoints have it.
pub(crate) const CONTROLLER: &str = "istio.io/mesh-controller";

/// Makes the class `name`, unless somebody just has.
///
/// # Errors
/// What the API says.
pub(super) async fn create(api: &Api<DynamicObject>, kind: &ApiResource, name: &str) -> kube::Result<DynamicObject> {
    let spec = json!({"controllerName": CONTROLLER, "description": "The waypoints of the mesh"});
    let class = DynamicObject::new(name, kind).data(json!({"spec": spec}));
    let how = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    match api.create(&how, &class).await {
        Err(kube::Error::Api(status)) if status.code == 409 => api.get(name).await,
        created => {
            info!(class = name, "a class of waypoints is made");
            created
        }
    }
}

/// True if the class is served by this controller.
pub(super) fn is_ours(class: &DynamicObject) -> bool {
    at(&class.data, &["spec", "controllerName"]) == CONTROLLER
}
