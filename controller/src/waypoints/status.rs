//! What is said of a Gateway and of a class: pure. (Gateway API, `GatewayStatus`, `GatewayClassStatus`.)

use ambit_model::ports;
use serde_json::{Value, json};

use super::gateway::{Gateway, Listener, PROTOCOL};
use crate::status::{Condition, conditions};

/// What has become of a Gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// What is wrong with what the Gateway's parameters say.
    pub(crate) parameters: Option<String>,
    /// Objects of the names that are needed, which are somebody else's.
    pub(crate) taken: Vec<String>,
    /// What the API refused.
    pub(crate) failed: Option<String>,
    /// True if there is a Deployment for it.
    pub(crate) runs: bool,
    /// True if there is a Service before it.
    pub(crate) is_served: bool,
    /// Its pods that take connections.
    pub(crate) available: u64,
}

/// The types of conditions that are ours.
const OF_GATEWAY: [&str; 2] = ["Accepted", "Programmed"];
const OF_LISTENER: [&str; 3] = ["Accepted", "Programmed", "ResolvedRefs"];
const OF_CLASS: [&str; 1] = ["Accepted"];

/// The status of `gateway` after `outcome`, at `now` (RFC 3339), where it was `before`; `host` is what it is reached by.
pub(crate) fn gateway(gateway: &Gateway, outcome: &Outcome, host: &str, before: &Value, now: &str) -> Value {
    let when = (gateway.generation, now);
    let listeners = gateway.listeners.iter().map(|listener| {
        let was = before["listeners"].as_array().into_iter().flatten().find(|was| was["name"] == *listener.name);
        let was = was.map_or(&Value::Null, |was| &was["conditions"]);
        json!({
            "name": listener.name,
            "attachedRoutes": 0,
            "supportedKinds": [],
            "conditions": conditions(was, &OF_LISTENER, &of_listener(listener, outcome), when),
        })
    });
    let found = [accepted(gateway, outcome), programmed(gateway, outcome)];
    let is_reached = outcome.is_served && !gateway.is_addressed;
    json!({
        "conditions": conditions(&before["conditions"], &OF_GATEWAY, &found, when),
        "listeners": listeners.collect::<Vec<_>>(),
        "addresses": if is_reached { json!([{"type": "Hostname", "value": host}]) } else { Value::Null },
    })
}

/// The status of a class that is ours.
pub(crate) fn class(generation: i64, before: &Value, now: &str) -> Value {
    let accepted = Condition::yes("Accepted", "Accepted", "waypoints of this class are run by the mesh");
    json!({"conditions": conditions(&before["conditions"], &OF_CLASS, &[accepted], (generation, now))})
}

fn accepted(gateway: &Gateway, outcome: &Outcome) -> Condition {
    if let Some(cause) = &outcome.parameters {
        return Condition::no("Accepted", "InvalidParameters", cause.clone());
    }
    if !gateway.is_accepted() {
        let message = format!("a waypoint has a listener with port: {} and protocol: {PROTOCOL}", ports::HBONE);
        return Condition::no("Accepted", "ListenersNotValid", message);
    }
    Condition::yes("Accepted", "Accepted", "it is a waypoint")
}

fn programmed(gateway: &Gateway, outcome: &Outcome) -> Condition {
    let not = |reason, message: String| Condition::no("Programmed", reason, message);
    if gateway.is_addressed {
        let message = "spec.addresses says where it is reached: nothing is deployed for it";
        return Condition::yes("Programmed", "Programmed", message);
    }
    if outcome.parameters.is_some() || !gateway.is_accepted() {
        return not("Invalid", "it is not accepted: what was deployed before stays as it is".to_owned());
    }
    if !outcome.taken.is_empty() {
        let taken = outcome.taken.join(", ");
        let message = format!("{taken}: somebody else's; give the Gateway another name, or remove what is in the way");
        return not("NameTaken", message);
    }
    if let Some(cause) = &outcome.failed {
        return not("NoResources", cause.clone());
    }
    if !outcome.is_served {
        return not("AddressNotAssigned", "its Service is not there yet".to_owned());
    }
    if outcome.available == 0 {
        return not("Pending", "none of its pods is ready: see its Deployment".to_owned());
    }
    Condition::yes("Programmed", "Programmed", "its pods take connections")
}

fn of_listener(listener: &Listener, outcome: &Outcome) -> Vec<Condition> {
    let is_ready = outcome.available > 0 && outcome.taken.is_empty();
    let resolved = Condition::yes("ResolvedRefs", "ResolvedRefs", "");
    if !listener.is_served() {
        let reason = if listener.protocol == PROTOCOL { "PortUnavailable" } else { "UnsupportedProtocol" };
        let message = format!("a waypoint listens by {PROTOCOL} on port {} alone", ports::HBONE);
        let programmed = Condition::no("Programmed", "Invalid", message.clone());
        return vec![Condition::no("Accepted", reason, message), programmed, resolved];
    }
    let accepted = Condition::yes("Accepted", "Accepted", "");
    let reason = if is_ready { "Programmed" } else { "Pending" };
    vec![accepted, Condition { kind: "Programmed", holds: is_ready, reason, message: String::new() }, resolved]
}

#[cfg(test)]
mod tests {
    use crate::waypoints::tests::gateway as a_gateway;

    use super::*;

    const HOST: &str = "waypoint.shop.svc.cluster.local";

    fn ready() -> Outcome {
        Outcome { runs: true, is_served: true, available: 1, ..Outcome::default() }
    }

    fn condition(status: &Value, kind: &str) -> (String, String) {
        let conditions = status["conditions"].as_array().unwrap();
        let found = conditions.iter().find(|condition| condition["type"] == kind).unwrap();
        let text = |field: &str| found[field].as_str().unwrap().to_owned();
        (text("status"), text("reason"))
    }

    #[test]
    fn each_outcome_has_its_reason() {
        let ok = a_gateway();
        let mut odd = a_gateway();
        odd.listeners[0].port = 80;
        let mut addressed = a_gateway();
        addressed.is_addressed = true;
        let taken = Outcome { taken: vec!["Service shop/waypoint".to_owned()], ..ready() };
        let said = Some("said".to_owned());
        for (gateway, outcome, accepted, programmed) in [
            (&ok, ready(), ("True", "Accepted"), ("True", "Programmed")),
            (&ok, Outcome { available: 0, ..ready() }, ("True", "Accepted"), ("False", "Pending")),
            (&ok, Outcome::default(), ("True", "Accepted"), ("False", "AddressNotAssigned")),
            (&ok, Outcome { failed: said.clone(), ..ready() }, ("True", "Accepted"), ("False", "NoResources")),
            (&ok, taken, ("True", "Accepted"), ("False", "NameTaken")),
            (&ok, Outcome { parameters: said, ..ready() }, ("False", "InvalidParameters"), ("False", "Invalid")),
            (&odd, ready(), ("False", "ListenersNotValid"), ("False", "Invalid")),
            (&addressed, Outcome::default(), ("True", "Accepted"), ("True", "Programmed")),
        ] {
            let status = super::gateway(gateway, &outcome, HOST, &Value::Null, "now");
            let found = (condition(&status, "Accepted"), condition(&status, "Programmed"));
            let expected = |(status, reason): (&str, &str)| (status.to_owned(), reason.to_owned());
            assert_eq!(found, (expected(accepted), expected(programmed)), "{outcome:?}");
        }
    }

    #[test]
    fn a_listener_that_a_waypoint_cannot_have_is_refused_beside_one_that_it_has() {
        let mut gateway = a_gateway();
        for (name, port, protocol) in [("http", 80, "HTTP"), ("other", 15009, "HBONE")] {
            gateway.listeners.push(Listener { name: name.to_owned(), port, protocol: protocol.to_owned() });
        }
        let status = super::gateway(&gateway, &ready(), HOST, &Value::Null, "now");
        assert_eq!(condition(&status, "Accepted").0, "True");
        let reasons = status["listeners"].as_array().unwrap().iter().map(|one| condition(one, "Accepted").1);
        assert_eq!(reasons.collect::<Vec<_>>(), ["Accepted", "UnsupportedProtocol", "PortUnavailable"]);
        assert_eq!(status["addresses"], json!([{"type": "Hostname", "value": HOST}]));
    }

    #[test]
    fn what_has_not_changed_keeps_its_time_and_is_the_same() {
        let gateway = a_gateway();
        let first = super::gateway(&gateway, &ready(), HOST, &Value::Null, "first");
        assert_eq!(super::gateway(&gateway, &ready(), HOST, &first, "later"), first);
        let away = super::gateway(&gateway, &Outcome { available: 0, ..ready() }, HOST, &first, "later");
        assert_eq!(away["conditions"][0]["lastTransitionTime"], "first");
        assert_eq!(away["conditions"][1]["lastTransitionTime"], "later");
        let first = class(1, &Value::Null, "first");
        assert_eq!(class(1, &first, "later"), first);
    }
}
