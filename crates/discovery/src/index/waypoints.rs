//! Waypoints: Gateways joined with their classes and with the labels of namespaces.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ambit_api::resource::{AllowedNamespaces, Gateway, GatewayClass, WaypointWish};
use ambit_model::waypoint::{Allowed, Binding, Serves};
use ambit_model::{UseWaypoint, Waypoint, WaypointKey};

use super::namespace::Namespace;

/// The Gateways that are waypoints, and what their classes say.
#[derive(Debug, Default)]
pub(super) struct Waypoints {
    gateways: BTreeMap<WaypointKey, Arc<Gateway>>,
    classes: BTreeMap<Arc<str>, Serves>,
}

impl Waypoints {
    /// Adds, replaces or removes the Gateway `key`.
    pub(super) fn set(&mut self, key: &WaypointKey, gateway: Option<Arc<Gateway>>) {
        match gateway {
            Some(gateway) => drop(self.gateways.insert(key.clone(), gateway)),
            None => drop(self.gateways.remove(key)),
        }
    }

    /// Says what `class` says. Returns the Gateways that are of it.
    pub(super) fn set_class(&mut self, class: &GatewayClass) -> Vec<WaypointKey> {
        match class.serves {
            Some(serves) => drop(self.classes.insert(class.name.clone(), serves)),
            None => drop(self.classes.remove(&class.name)),
        }
        self.such(|gateway| gateway.class == class.name)
    }

    /// The Gateways that ask for labels of namespaces.
    pub(super) fn selecting(&self) -> Vec<WaypointKey> {
        self.such(|gateway| matches!(gateway.allowed, AllowedNamespaces::Selected(_)))
    }

    /// What the pods of the waypoint `key` take connections by; none if there is no such waypoint.
    pub(super) fn binding(&self, key: &WaypointKey) -> Option<Binding> {
        self.gateways.get(key).map(|gateway| gateway.binding)
    }

    /// The waypoint `key`, where these are the namespaces.
    pub(super) fn join(&self, key: &WaypointKey, namespaces: &BTreeMap<Arc<str>, Namespace>) -> Option<Waypoint> {
        let gateway = self.gateways.get(key)?;
        let allowed = match &gateway.allowed {
            AllowedNamespaces::Same => Allowed::Same,
            AllowedNamespaces::All => Allowed::All,
            AllowedNamespaces::Selected(requirements) => {
                let selected = |namespace: &Namespace| requirements.iter().all(|one| one.holds(&namespace.labels));
                let names = namespaces.iter().filter(|(_, namespace)| namespace.is_labelled() && selected(namespace));
                Allowed::Selected(names.map(|(name, _)| name.clone()).collect::<BTreeSet<_>>())
            }
        };
        let serves = gateway.serves.or_else(|| self.classes.get(&gateway.class).copied()).unwrap_or_default();
        let (class, address) = (gateway.class.clone(), gateway.address.clone());
        let binding = gateway.binding;
        Some(Waypoint { key: gateway.key.clone(), class, serves, allowed, address, binding })
    }

    fn such(&self, wanted: impl Fn(&Gateway) -> bool) -> Vec<WaypointKey> {
        self.gateways.values().filter(|gateway| wanted(gateway)).map(|gateway| gateway.key.clone()).collect()
    }
}

/// The waypoint that an object asks for: by its own labels, or failing those by its namespace's.
pub(super) fn wanted(
    own: Option<&WaypointWish>,
    namespaces: Option<&WaypointWish>,
    passed_by_gateways: bool,
) -> Option<UseWaypoint> {
    let key = own.or(namespaces)?.key()?.clone();
    Some(UseWaypoint { key, inherited: own.is_none(), passed_by_gateways })
}
