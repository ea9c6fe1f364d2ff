//! The rules that a schema cannot express, a row a rule: named as in Istio's `validation_test.go` where that has one, with
//! the other side of every bound beside it. What is refused or remarked on is so by one finding, at the row's path.
#![allow(clippy::too_many_lines, reason = "a table is read from top to bottom, not taken apart")]

use super::*;

mod destinations;
mod entries;
mod gateways;
mod policies;
mod routes;
mod tokens;

/// What becomes of an object, with the path and the first words of the message.
#[derive(Clone, Copy, Debug)]
enum Becomes {
    Accepted,
    Warned(&'static str),
    Refused(&'static str),
}

use Becomes::{Accepted, Refused, Warned};

/// An object of this spec in the namespace `shop`.
fn of(spec: Value) -> Value {
    json!({"metadata": {"name": "x", "namespace": "shop"}, "spec": spec})
}

fn check(kind: Kind, rows: Vec<(&str, Value, Becomes)>) {
    for (name, object, becomes) in rows {
        let (refused, found): (bool, Vec<String>) = match read(kind, object.clone()) {
            Ok(read) => {
                let warnings = read.remarks.iter().filter(|remark| remark.severity == Severity::Warning);
                (false, warnings.map(|remark| remark.field.to_string()).collect())
            }
            Err(errors) => (true, errors.iter().map(ToString::to_string).collect()),
        };
        let shown: String = object.to_string().chars().take(300).collect();
        let context = format!("{kind}, {name}: {shown} is {becomes:?}, found {found:?}");
        let (refuses, said) = match becomes {
            Accepted => (false, None),
            Warned(said) => (false, Some(said)),
            Refused(said) => (true, Some(said)),
        };
        assert_eq!(refused, refuses, "{context}");
        assert_eq!(found.len(), said.iter().len(), "{context}");
        assert!(found.iter().zip(said).all(|(found, said)| found.starts_with(said)), "{context}");
    }
}

#[test]
fn an_object_is_on_trial_only_where_that_can_be() {
    let annotated = |kind: Kind, action: &str, value: &str| {
        let spec = match kind {
            Kind::AuthorizationPolicy => {
                json!({"action": action, "rules": [{}], "provider": if action == "CUSTOM" { json!({"name": "a"}) } else { json!(null) }})
            }
            Kind::DestinationRule => json!({"host": "a"}),
            Kind::IstioGateway => {
                json!({"servers": [{"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}]})
            }
            _ => json!({"hosts": ["a"], "http": [{"route": [{"destination": {"host": "a"}}]}]}),
        };
        let mut object = of(spec);
        object["metadata"]["annotations"] = json!({"istio.io/dry-run": value});
        read(kind, object).map_or_else(|errors| errors[0].path.clone(), |_| String::new())
    };
    let refused = "metadata.annotations[istio.io/dry-run]";
    for (name, kind, action, value, expected) in [
        ("dry-run-valid-allow", Kind::AuthorizationPolicy, "ALLOW", "true", ""),
        ("dry-run-valid-deny", Kind::AuthorizationPolicy, "DENY", "false", ""),
        ("strconv.ParseBool", Kind::AuthorizationPolicy, "DENY", "1", ""),
        ("strconv.ParseBool", Kind::AuthorizationPolicy, "DENY", "tRUE", refused),
        ("dry-run-invalid-value", Kind::AuthorizationPolicy, "ALLOW", "foo", refused),
        ("dry-run-invalid-action-custom", Kind::AuthorizationPolicy, "CUSTOM", "true", refused),
        ("dry-run-invalid-action-audit", Kind::AuthorizationPolicy, "AUDIT", "true", refused),
        ("dry run annotation not supported", Kind::VirtualService, "", "true", refused),
        ("dry run annotation not supported", Kind::DestinationRule, "", "false", refused),
        ("dry run annotation not supported", Kind::IstioGateway, "", "true", refused),
    ] {
        assert_eq!(annotated(kind, action, value), expected, "{name} {kind} {action} {value}");
    }
}
