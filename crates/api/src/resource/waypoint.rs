//! Waypoints after translation, as far as a Gateway alone tells, and what labels ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ambit_model::WaypointKey;
use ambit_model::waypoint::{Address, Binding, Serves};

/// What the labels of an object ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaypointWish {
    /// To be reached without a waypoint (`istio.io/use-waypoint: none`).
    Without,
    /// To be reached by this one.
    By(WaypointKey),
}

impl WaypointWish {
    /// The waypoint that it names.
    #[must_use]
    pub fn key(&self) -> Option<&WaypointKey> {
        match self {
            Self::Without => None,
            Self::By(key) => Some(key),
        }
    }
}

/// A Gateway of a waypoint's class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Its namespace and name.
    pub key: WaypointKey,
    /// Its class.
    pub class: Arc<str>,
    /// What it serves; none if it leaves that to its class.
    pub serves: Option<Serves>,
    /// Whom it serves.
    pub allowed: AllowedNamespaces,
    /// Where it is reached.
    pub address: Address,
    /// What its pods take connections by.
    pub binding: Binding,
}

/// A GatewayClass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayClass {
    /// Its name.
    pub name: Arc<str>,
    /// What waypoints of this class serve that do not say so themselves.
    pub serves: Option<Serves>,
}

/// The namespaces that a Gateway allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedNamespaces {
    /// Its own.
    Same,
    /// Every one.
    All,
    /// Those for whose labels all of these hold.
    Selected(Vec<Requirement>),
}

/// What has to hold of labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The label.
    pub key: Arc<str>,
    /// What it has to be.
    pub operator: Operator,
}

/// What a label has to be (meta/v1 LabelSelectorRequirement).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operator {
    /// There, with one of these values.
    In(BTreeSet<Arc<str>>),
    /// Of none of these values, or not there.
    NotIn(BTreeSet<Arc<str>>),
    /// There.
    Exists,
    /// Not there.
    DoesNotExist,
}

impl Requirement {
    /// True if it holds of `labels`.
    #[must_use]
    pub fn holds(&self, labels: &BTreeMap<Arc<str>, Arc<str>>) -> bool {
        let value = labels.get(&self.key);
        match &self.operator {
            Operator::In(values) => value.is_some_and(|value| values.contains(value)),
            Operator::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}
