//! What is written for a waypoint, and what is shown of Gateways.

use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::*;
use crate::output::{Format, written};
use crate::table::Screen;

const VERSION: &str = "gateway.networking.k8s.io/v1";

fn shape() -> Shape {
    Shape { name: "waypoint".to_owned(), traffic: None, revision: None, class: CLASSES[0].to_owned() }
}

fn an_object(name: &str, labels: Value, conditions: &[(&str, &str, &str, &str)]) -> DynamicObject {
    let conditions: Vec<Value> = conditions
        .iter()
        .map(|(kind, status, reason, message)| {
            json!({"type": kind, "status": status, "reason": reason, "message": message, "observedGeneration": 2})
        })
        .collect();
    let mut gateway = gateway(&shape(), VERSION, Some("shop"));
    gateway["metadata"]["name"] = json!(name);
    gateway["metadata"]["labels"] = labels;
    gateway["metadata"]["generation"] = json!(2);
    gateway["metadata"]["managedFields"] = json!([{"manager": "ambit"}]);
    gateway["status"] = json!({"conditions": conditions});
    serde_json::from_value(gateway).unwrap()
}

fn gateways() -> Vec<DynamicObject> {
    let accepted = ("Accepted", "True", "Accepted", "it is a waypoint");
    let refused =
        ("Accepted", "False", "ListenersNotValid", "a waypoint has a listener with port: 15008 and protocol: HBONE");
    let mut stale = an_object("stale", json!({}), &[accepted, ("Programmed", "True", "Programmed", "")]);
    stale.metadata.generation = Some(3);
    vec![
        an_object(
            "bookinfo",
            json!({"istio.io/waypoint-for": "all", "istio.io/rev": "blue"}),
            &[accepted, ("Programmed", "True", "Programmed", "its pods take connections")],
        ),
        an_object("broken", json!({}), &[refused, ("Programmed", "False", "Invalid", "it is not accepted")]),
        an_object(
            "pending",
            json!({}),
            &[accepted, ("Programmed", "False", "Pending", "none of its pods is ready: see its Deployment")],
        ),
        stale,
    ]
}

fn table(view: &View) -> String {
    let text = view.text(Format::Table, Screen { width: Some(100), colours: false }).unwrap();
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    text
}

#[test]
fn a_gateway_says_what_was_asked_for_and_nothing_else() {
    let expected = "\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  name: waypoint
spec:
  gatewayClassName: istio-waypoint
  listeners:
  - name: mesh
    port: 15008
    protocol: HBONE
";
    let plain = gateway(&shape(), VERSION, None);
    assert_eq!(written(&plain, Format::Yaml).unwrap(), expected);
    let shape = Shape { traffic: Some(Traffic::Workload), revision: Some("blue".to_owned()), ..shape() };
    let full = gateway(&shape, VERSION, Some("shop"));
    let labels = json!({"istio.io/waypoint-for": "workload", "istio.io/rev": "blue"});
    assert_eq!(full["metadata"], json!({"name": "waypoint", "namespace": "shop", "labels": labels}));
    assert_eq!(full["spec"], plain["spec"]);
}

#[test]
fn waypoints_are_listed() {
    let expected = "\
NAMESPACE  NAME      REVISION  TRAFFIC TYPE  PROGRAMMED
shop       bookinfo  blue      all           True
shop       broken    default   service       False
shop       pending   default   service       False
shop       stale     default   service       False
";
    let view = list(&gateways());
    assert_eq!(table(&view), expected);
    assert_eq!(view.whole[0]["metadata"]["name"], "bookinfo");
    assert!(view.whole[0]["metadata"].get("managedFields").is_none());
    assert_eq!(table(&list(&[])), "No waypoints found.\n");
}

#[test]
fn the_status_is_the_first_that_does_not_hold() {
    let expected = "\
NAMESPACE NAME     STATUS  TYPE       REASON            MESSAGE
shop      bookinfo True    Programmed Programmed        its pods take connections
shop      broken   False   Accepted   ListenersNotValid a waypoint has a listener with port: 15008 …
shop      pending  False   Programmed Pending           none of its pods is ready: see its Deployme…
shop      stale    Unknown Programmed Pending           no controller has said anything of it: does…
";
    assert_eq!(table(&status(&gateways())), expected);
    assert_eq!(gateways().iter().filter(|gateway| is_programmed(gateway)).count(), 1);
}

#[test]
fn a_gateway_of_another_class_is_no_waypoint() {
    let mut other = an_object("ingress", json!({}), &[]);
    other.data["spec"]["gatewayClassName"] = json!("istio");
    assert!(!is_waypoint(&other) && is_waypoint(&an_object("waypoint", json!({}), &[])));
    assert_eq!(condition(&other), None);
}
