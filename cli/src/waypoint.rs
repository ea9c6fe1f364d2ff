//! `waypoint`: what the Gateway of a waypoint says, and what is shown of Gateways. Pure; `verbs` asks the cluster.

pub(crate) mod verbs;

use std::collections::BTreeMap;

use ambit_api::labels::WAYPOINT_FOR;
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::output::View;
use crate::settings::{Shape, Traffic};
use crate::table::{Cell, Shrink, Table, Tone};

/// The classes whose Gateways are waypoints.
pub(crate) const CLASSES: [&str; 2] = ["istio-waypoint", "ambit-waypoint"];

/// The label of a revision.
const REVISION: &str = "istio.io/rev";

/// The Gateway of a waypoint of this shape, in the version that is served as `api_version`; without a namespace whoever
/// applies it chooses one.
pub(crate) fn gateway(shape: &Shape, api_version: &str, namespace: Option<&str>) -> Value {
    let traffic = shape.traffic.map(|traffic| (WAYPOINT_FOR, word(traffic)));
    let revision = shape.revision.as_deref().map(|revision| (REVISION, revision));
    let labels: BTreeMap<&str, &str> = traffic.into_iter().chain(revision).collect();
    let name = Some(("name", json!(shape.name)));
    let namespace = namespace.map(|namespace| ("namespace", json!(namespace)));
    let labels = (!labels.is_empty()).then(|| ("labels", json!(labels)));
    let metadata: BTreeMap<&str, Value> = [name, namespace, labels].into_iter().flatten().collect();
    json!({
        "apiVersion": api_version,
        "kind": "Gateway",
        "metadata": metadata,
        "spec": {
            "gatewayClassName": shape.class,
            "listeners": [{"name": "mesh", "port": 15008, "protocol": "HBONE"}],
        },
    })
}

const fn word(traffic: Traffic) -> &'static str {
    match traffic {
        Traffic::Service => "service",
        Traffic::Workload => "workload",
        Traffic::All => "all",
        Traffic::None => "none",
    }
}

/// The class of a Gateway.
pub(crate) fn class(gateway: &DynamicObject) -> &str {
    gateway.data.pointer("/spec/gatewayClassName").and_then(Value::as_str).unwrap_or_default()
}

/// True if a Gateway is a waypoint.
pub(crate) fn is_waypoint(gateway: &DynamicObject) -> bool {
    CLASSES.contains(&class(gateway))
}

/// A condition of a Gateway (Gateway API, `status.conditions`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Condition<'a> {
    pub(crate) kind: &'a str,
    pub(crate) status: &'a str,
    pub(crate) reason: &'a str,
    pub(crate) message: &'a str,
}

/// What is the matter with a Gateway: the first condition that does not hold; and if all do, that it is programmed. None
/// before anybody has said anything of what it says now.
pub(crate) fn condition(gateway: &DynamicObject) -> Option<Condition<'_>> {
    let all: Vec<Condition<'_>> = conditions(gateway).collect();
    let failing =
        all.iter().find(|condition| matches!(condition.kind, "Accepted" | "Programmed") && condition.status != "True");
    failing.or_else(|| all.iter().find(|condition| condition.kind == "Programmed")).copied()
}

/// True if a Gateway takes connections: `Programmed`, as it is written now.
pub(crate) fn is_programmed(gateway: &DynamicObject) -> bool {
    condition(gateway).is_some_and(|condition| condition.kind == "Programmed" && condition.status == "True")
}

fn conditions(gateway: &DynamicObject) -> impl Iterator<Item = Condition<'_>> {
    let generation = gateway.metadata.generation;
    let all = gateway.data.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    // What was said of an older version of it does not count.
    let current = all.filter(move |condition| {
        let observed = condition.get("observedGeneration").and_then(Value::as_i64);
        observed.is_none() || generation.is_none() || observed >= generation
    });
    current.map(|condition| {
        let text = |field: &str| condition.get(field).and_then(Value::as_str).unwrap_or_default();
        Condition { kind: text("type"), status: text("status"), reason: text("reason"), message: text("message") }
    })
}

fn toned(status: &str) -> Cell {
    let tone = if status == "True" { Tone::Good } else { Tone::Bad };
    Cell::toned(status, tone)
}

/// `waypoint list`.
pub(crate) fn list(gateways: &[DynamicObject]) -> View {
    let mut table = Table::new(&[
        ("NAMESPACE", Shrink::Middle),
        ("NAME", Shrink::Middle),
        ("REVISION", Shrink::Middle),
        ("TRAFFIC TYPE", Shrink::Never),
        ("PROGRAMMED", Shrink::Never),
    ]);
    for gateway in gateways {
        let label = |name: &str, otherwise: &str| {
            gateway.labels().get(name).filter(|value| !value.is_empty()).map_or(otherwise, String::as_str).to_owned()
        };
        table.row([
            gateway.namespace().unwrap_or_default().into(),
            gateway.name_any().into(),
            label(REVISION, "default").into(),
            label(WAYPOINT_FOR, "service").into(),
            toned(if is_programmed(gateway) { "True" } else { "False" }),
        ]);
    }
    View { empty: "No waypoints found.", table, whole: whole(gateways) }
}

/// `waypoint status`.
pub(crate) fn status(gateways: &[DynamicObject]) -> View {
    let mut table = Table::new(&[
        ("NAMESPACE", Shrink::Middle),
        ("NAME", Shrink::Middle),
        ("STATUS", Shrink::Never),
        ("TYPE", Shrink::Never),
        ("REASON", Shrink::Never),
        ("MESSAGE", Shrink::End),
    ]);
    for gateway in gateways {
        let silent = Condition { status: "Unknown", kind: "Programmed", reason: "Pending", message: UNSAID };
        let said = condition(gateway).unwrap_or(silent);
        table.row([
            gateway.namespace().unwrap_or_default().into(),
            gateway.name_any().into(),
            toned(said.status),
            said.kind.into(),
            said.reason.into(),
            said.message.into(),
        ]);
    }
    View { empty: "No waypoints found.", table, whole: whole(gateways) }
}

/// What is said of a Gateway of which no controller has said anything.
pub(crate) const UNSAID: &str = "no controller has said anything of it: does ambit-controller run?";

/// The objects as the API has them, but for who manages which field.
fn whole(gateways: &[DynamicObject]) -> Value {
    let shown = gateways.iter().map(|gateway| {
        let mut gateway = gateway.clone();
        gateway.metadata.managed_fields = None;
        serde_json::to_value(gateway).unwrap_or_default()
    });
    shown.collect()
}

#[cfg(test)]
mod tests;
