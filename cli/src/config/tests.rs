//! Every table from what an agent said: node-a.json is Bookinfo's agent on `node-a`, with policies, a waypoint, a label
//! that names none, and open connections (`ambit ztunnel-config all -o json`).

use serde_json::Value;

use super::dump::{self, Direction, Dump};
use super::{certificate, connection, policy, service, workload};
use crate::output::{Format, View};
use crate::table::Screen;

const SAVED: &str = include_str!("tests/node-a.json");

fn dump() -> Dump {
    dump::parse("node-a.json", SAVED.as_bytes()).unwrap()
}

/// The table as on a terminal of 100 columns without colours.
fn table(view: &View) -> String {
    let text = view.text(Format::Table, Screen { width: Some(100), colours: false }).unwrap();
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    text
}

fn names(view: &View, pointer: &str) -> Vec<String> {
    let rows = view.whole.as_array().unwrap().iter();
    rows.map(|row| row.pointer(pointer).and_then(Value::as_str).unwrap().to_owned()).collect()
}

#[test]
fn workloads() {
    let expected = "\
NAMESPACE  POD NAME        ADDRESS       NODE    WAYPOINT  PROTOCOL
default    details-v1      10.244.2.10   node-b  None      HBONE
default    productpage-v1  10.244.1.10   node-a  None      HBONE
default    ratings-v1      10.244.2.13   node-b  None      HBONE
default    reviews-v1      10.244.1.11   node-a  None      HBONE
default    reviews-v2      10.244.2.11   node-b  None      HBONE
default    reviews-v3      10.244.2.12   node-b  None      HBONE
default    visitor         10.244.2.100  node-b  None      HBONE
";
    assert_eq!(table(&workload::view(&dump(), &workload::Filter::default())), expected);
}

#[test]
fn services() {
    let expected = "\
NAMESPACE  SERVICE NAME         SERVICE VIP                WAYPOINT        ENDPOINTS
default    api/api.example.com  192.0.2.0/24               None            2/2
default    details              10.96.0.11,fd00:10:96::11  gone (missing)  1/1
default    productpage          10.96.0.10,fd00:10:96::10  None            1/1
default    ratings              10.96.0.13,fd00:10:96::13  None            1/1
default    reviews              10.96.0.12,fd00:10:96::12  waypoint        3/3
";
    assert_eq!(table(&service::view(&dump(), &service::Filter::default())), expected);
}

#[test]
fn policies() {
    let expected = "\
NAMESPACE     POLICY NAME            ACTION                        SCOPE
default       deny-other-namespaces  Deny (dry run)                Namespace
default       details-get            Allow                         Waypoint Service default/details
default       ratings                mTLS Strict, 9081 Permissive  WorkloadSelector app=ratings
default       ratings-viewer         Allow                         WorkloadSelector app=ratings
istio-system  default                mTLS Strict                   Global
";
    assert_eq!(table(&policy::view(&dump(), &policy::Filter::default())), expected);
}

#[test]
fn certificates() {
    let expected = "\
CERTIFICATE NAME           TYPE STATUS    VALID CERT SERIAL NUMBER              NOT AFTER
…t/sa/bookinfo-productpage Leaf Available true       612221aad9b55a35d76f72b52… 2026-11-23T03:54:20Z
…t/sa/bookinfo-productpage Root Available true       6def9daa8d4057e33b8d730eb… 2036-11-19T03:54:20Z
…fault/sa/bookinfo-reviews Leaf Available true       4181b6270d8f345c3186abfbf… 2026-11-23T03:54:20Z
…fault/sa/bookinfo-reviews Root Available true       6def9daa8d4057e33b8d730eb… 2036-11-19T03:54:20Z
";
    assert_eq!(table(&certificate::view(&dump())), expected);
}

#[test]
fn connections() {
    let expected = "\
WORKLOAD              DIRECTION LOCAL             REMOTE                REMOTE TARGET       PROTOCOL
productpag…v1.default Inbound   10.244.1.10:9080  visitor.default:49086 productpage.default HBONE
productpag…v1.default Outbound  10.244.1.10:57582 reviews-v1…fault:9080 reviews.default     TCP
productpag…v1.default Outbound  10.244.1.10:57590 details-v1…fault:9080 details.default     HBONE
reviews-v1.default    Inbound   10.244.1.11:9080  productpag…ault:57582 reviews.default     TCP
";
    let open = dump::connections("node-a.json", SAVED.as_bytes()).unwrap();
    let domain = dump::domain("node-a.json", SAVED.as_bytes()).unwrap();
    assert_eq!(table(&connection::view(&open, &connection::Filter::default(), domain.as_deref())), expected);
    let raw = connection::Filter { raw: true, direction: Some(Direction::Outbound), ..connection::Filter::default() };
    let expected = "\
WORKLOAD     DIRECTION  LOCAL              REMOTE            REMOTE TARGET     PROTOCOL
10.244.1.10  Outbound   10.244.1.10:57582  10.244.1.11:9080                    TCP
10.244.1.10  Outbound   10.244.1.10:57590  10.244.2.10:9080  10.244.2.10:9080  HBONE
";
    assert_eq!(table(&connection::view(&open, &raw, domain.as_deref())), expected);
}

#[test]
fn filters_take_what_they_say_and_programs_are_given_it_whole() {
    let dump = dump();
    let all = workload::view(&dump, &workload::Filter::default());
    let by_address = workload::Filter { address: Some("10.244.1.11".parse().unwrap()), ..workload::Filter::default() };
    let one = workload::view(&dump, &by_address);
    assert_eq!(names(&one, "/name"), ["reviews-v1"]);
    assert_eq!(one.whole[0]["identity"], "spiffe://cluster.local/ns/default/sa/bookinfo-reviews");
    let by_node = workload::Filter { workload_node: Some("node-a".to_owned()), ..workload::Filter::default() };
    assert_eq!(names(&workload::view(&dump, &by_node), "/name"), ["productpage-v1", "reviews-v1"]);
    let own = workload::Filter { workload_namespace: Some("default".to_owned()), ..workload::Filter::default() };
    assert_eq!(workload::view(&dump, &own), all);
    let none = workload::Filter { workload_namespace: Some("shop".to_owned()), ..workload::Filter::default() };
    assert_eq!(table(&workload::view(&dump, &none)), "No workloads.\n");
    let root = policy::Filter { policy_namespace: Some("istio-system".to_owned()) };
    assert_eq!(names(&policy::view(&dump, &root), "/key"), ["istio-system/default"]);
    let elsewhere = service::Filter { service_namespace: Some("shop".to_owned()) };
    assert_eq!(service::view(&dump, &elsewhere).whole, Value::Array(Vec::new()));
    let open = dump::connections("node-a.json", SAVED.as_bytes()).unwrap();
    let elsewhere = connection::Filter { workload_namespace: Some("shop".to_owned()), ..connection::Filter::default() };
    assert_eq!(table(&connection::view(&open, &elsewhere, None)), "No open connections.\n");
}

#[test]
fn whether_a_pod_speaks_hbone_is_told_by_why_it_is_outside() {
    let protocol = |mode: &str, enrolment: Value| {
        let mut pod = serde_json::from_str::<Value>(SAVED).unwrap()["workloads"][0].clone();
        pod["network_mode"] = mode.into();
        pod["enrolment"] = enrolment;
        serde_json::from_value::<dump::Workload>(pod).unwrap().protocol()
    };
    let outside = |why: &str| serde_json::json!({"Outside": why});
    assert_eq!(protocol("Standard", "Enrolled".into()), "HBONE");
    assert_eq!(protocol("Standard", outside("SpeaksHbone")), "HBONE");
    assert_eq!(protocol("Standard", outside("Waypoint")), "HBONE");
    assert_eq!(protocol("Standard", outside("NotLabelled")), "TCP");
    assert_eq!(protocol("HostNetwork", outside("HostNetwork")), "TCP");
}

#[test]
fn what_is_no_dump_is_refused_by_name() {
    let refused = |text: &str| dump::parse::<Dump>("saved.json", text.as_bytes()).unwrap_err().to_string();
    assert!(
        refused("{}").starts_with("saved.json says something else than an agent does: missing field"),
        "{}",
        refused("{}")
    );
    assert!(refused("<html>").contains("saved.json"));
    let without = dump::connections("saved.json", b"{\"mesh\": {}}").unwrap_err().to_string();
    assert!(without.contains("ztunnel-config all -o json"), "{without}");
    assert_eq!(dump::connections("saved.json", b"[[], []]").unwrap().len(), 0);
}

#[test]
fn certificates_show_everything_where_there_is_room() {
    let text = certificate::view(&dump()).text(Format::Table, Screen::default()).unwrap();
    let head = text.lines().next().unwrap().split("  ").map(str::trim).filter(|word| !word.is_empty());
    let expected = ["CERTIFICATE NAME", "TYPE", "STATUS", "VALID CERT", "SERIAL NUMBER", "NOT AFTER", "NOT BEFORE"];
    assert_eq!(head.collect::<Vec<_>>(), expected);
}

#[test]
fn a_waypoint_is_named_as_its_namespace_would() {
    let asked: dump::UseWaypoint = serde_json::from_value(serde_json::json!({"key": "shop/door"})).unwrap();
    let named = |bound: Option<Value>, namespace: &str| {
        let bound = bound.map(|bound| serde_json::from_value(bound).unwrap());
        dump::waypoint(bound.as_ref(), Some(&asked), namespace)
    };
    let to = |key: &str| Some(serde_json::json!({"waypoint": key}));
    let not = |why: &str| Some(serde_json::json!({"unavailable": why}));
    assert_eq!(named(None, "shop"), "None");
    assert_eq!((named(to("shop/door"), "shop"), named(to("shop/door"), "bank")), ("door".into(), "shop/door".into()));
    assert_eq!(named(not("Missing"), "shop"), "door (missing)");
    assert_eq!(named(not("AttachmentDenied"), "bank"), "shop/door (not allowed)");
}
