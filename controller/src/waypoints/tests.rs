//! What Gateways of the tests are.

use std::collections::BTreeMap;

use super::gateway::{Gateway, Listener};

/// A waypoint's Gateway as people write it.
pub(super) fn gateway() -> Gateway {
    Gateway {
        namespace: "shop".to_owned(),
        name: "waypoint".to_owned(),
        uid: "uid-1".to_owned(),
        api_version: "gateway.networking.k8s.io/v1".to_owned(),
        class: "istio-waypoint".to_owned(),
        generation: 1,
        listeners: vec![Listener { name: "mesh".to_owned(), port: 15008, protocol: "HBONE".to_owned() }],
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        parameters: Ok(None),
        deployment: "waypoint".to_owned(),
        account: None,
        service_type: None,
        is_addressed: false,
    }
}
