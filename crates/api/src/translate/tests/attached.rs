//! What AuthorizationPolicies for waypoints say: what they are attached to, what they ask of requests, and what is wrong
//! with those that are not taken.

use ambit_model::policy::{Attribute, ClaimPath, Policy, Scope, TargetKind, TargetRef, Term, TokenAttribute, Values};

use super::*;

fn written(namespace: &str, targets: Value, rule: Value) -> Value {
    json!({"metadata": {"name": "p", "namespace": namespace}, "spec": {"targetRefs": targets, "rules": [rule]}})
}

fn to_reviews() -> Value {
    json!([{"kind": "Service", "name": "reviews"}])
}

fn read_policy(object: Value) -> Arc<Policy> {
    match read(Kind::AuthorizationPolicy, object).unwrap().resource {
        Resource::AuthorizationPolicy(policy) => policy,
        other => panic!("{other:?}"),
    }
}

#[test]
fn targets_are_read_in_the_policys_own_namespace() {
    use TargetKind::{Gateway, GatewayClass, Service, ServiceEntry};
    for (namespace, kind, group, expected) in [
        ("shop", "Service", "", Service),
        ("shop", "Service", "core", Service),
        ("shop", "Gateway", "gateway.networking.k8s.io", Gateway),
        ("shop", "Gateway", "", Gateway),
        ("shop", "ServiceEntry", "networking.istio.io", ServiceEntry),
        ("istio-system", "GatewayClass", "gateway.networking.k8s.io", GatewayClass),
    ] {
        for own in ["", namespace] {
            let target = json!({"kind": kind, "group": group, "name": "a", "namespace": own});
            let object = written(namespace, json!([target]), json!({}));
            assert_eq!(remarked(Kind::AuthorizationPolicy, object.clone()), [], "{object}");
            let scope = read_policy(object).scope.clone();
            assert_eq!(scope, Scope::Targets(vec![TargetRef::new(expected, namespace, "a")]));
        }
    }
    let both = json!([{"kind": "Service", "name": "a"}, {"kind": "Gateway", "name": "w"}]);
    let expected = vec![TargetRef::new(Service, "shop", "a"), TargetRef::new(Gateway, "shop", "w")];
    assert_eq!(read_policy(written("shop", both, json!({}))).scope, Scope::Targets(expected));
    let single = json!({"metadata": {"name": "p", "namespace": "shop"},
                        "spec": {"targetRef": {"kind": "Service", "name": "a"}}});
    assert_eq!(read_policy(single).scope, Scope::Targets(vec![TargetRef::new(Service, "shop", "a")]));
}

#[test]
fn targets_that_are_none_are_named() {
    let path = |field: &str| format!("spec.targetRefs[0]{field}");
    for (target, expected) in [
        (json!({"kind": "Pod", "name": "a"}), path(".kind")),
        (json!({"kind": "service", "name": "a"}), path(".kind")),
        (json!({"name": "a"}), path(".kind")),
        (json!({"kind": "Service"}), path(".name")),
        (json!({"kind": "Service", "name": "A_b"}), path(".name")),
        (json!({"kind": "Service", "group": "apps", "name": "a"}), path(".group")),
        (json!({"kind": "Gateway", "group": "networking.istio.io", "name": "a"}), path(".group")),
        (json!({"kind": "Gateway", "group": "core", "name": "a"}), path(".group")),
        (json!({"kind": "Service", "name": "a", "namespace": "other"}), path(".namespace")),
        (json!({"kind": "GatewayClass", "name": "istio-waypoint"}), path(".kind")),
        (json!({"kind": "Service", "name": "a", "sectionName": "http"}), path(".sectionName")),
    ] {
        let object = written("shop", json!([target]), json!({}));
        assert_eq!(wrong(Kind::AuthorizationPolicy, object), [expected], "{target}");
    }
    let spec = |spec: Value| json!({"metadata": {"name": "p", "namespace": "shop"}, "spec": spec});
    let single = json!({"kind": "Service", "name": "a"});
    let both = spec(json!({"targetRef": single, "targetRefs": [single]}));
    assert_eq!(wrong(Kind::AuthorizationPolicy, both), ["spec.targetRef"]);
    let selecting = spec(json!({"targetRef": single, "selector": {"matchLabels": {"a": "b"}}}));
    assert_eq!(wrong(Kind::AuthorizationPolicy, selecting), ["spec.selector"]);
}

fn texts(attribute: Attribute, any: &str, none: &str) -> Term {
    Term::Text(attribute, Values { any: vec![any.parse().unwrap()], none: vec![none.parse().unwrap()] })
}

#[test]
fn every_key_of_a_request_says_what_it_says() {
    let claim = |parts: &[&str]| TokenAttribute::Claim(ClaimPath::new(parts.iter().copied()).unwrap());
    let paths = |any: &str, none: &str| {
        Term::Path(Values { any: vec![any.parse().unwrap()], none: vec![none.parse().unwrap()] })
    };
    for (key, not, any, none, expected) in [
        ("hosts", "notHosts", "A.Example", "*.B.Example", texts(Attribute::Host, "a.example", "*.b.example")),
        ("methods", "notMethods", "GET", "P*", texts(Attribute::Method, "GET", "P*")),
        ("paths", "notPaths", "/a*", "*/B", paths("/a*", "*/B")),
        ("paths", "notPaths", "/a/{*}/b", "/{**}", paths("/a/{*}/b", "/{**}")),
    ] {
        let rule = json!({"to": [{"operation": {key: [any], not: [none]}}]});
        let object = written("shop", to_reviews(), rule);
        assert_eq!(remarked(Kind::AuthorizationPolicy, object.clone()), [], "{key}");
        assert_eq!(read_policy(object).rules[0].to, [vec![expected]], "{key}");
    }
    let source = json!({"requestPrincipals": ["a/*"], "notRequestPrincipals": ["*"]});
    let read = read_policy(written("shop", to_reviews(), json!({"from": [{"source": source}]})));
    assert_eq!(read.rules[0].from, [vec![texts(Attribute::Token(TokenAttribute::RequestPrincipal), "a/*", "*")]]);
    for (key, attribute) in [
        ("request.headers[X-A]", Attribute::Header("x-a".into())),
        ("connection.sni", Attribute::Sni),
        ("request.auth.principal", Attribute::Token(TokenAttribute::Principal)),
        ("request.auth.audiences", Attribute::Token(TokenAttribute::Audiences)),
        ("request.auth.presenter", Attribute::Token(TokenAttribute::Presenter)),
        ("request.auth.claims[a]", Attribute::Token(claim(&["a"]))),
        ("request.auth.claims[a][b]", Attribute::Token(claim(&["a", "b"]))),
    ] {
        let condition = json!({"key": key, "values": ["a*"], "notValues": ["*"]});
        let read = read_policy(written("shop", to_reviews(), json!({"when": [condition]})));
        assert_eq!(read.rules[0].when, [texts(attribute, "a*", "*")], "{key}");
    }
}

#[test]
fn what_a_waypoint_cannot_see_is_reported() {
    let rule = json!({"when": [{"key": "experimental.envoy.filters.network.mysql_proxy[a.b]", "values": ["a"]}]});
    let remarks = read(Kind::AuthorizationPolicy, written("shop", to_reviews(), rule)).unwrap().remarks;
    let [remark] = &remarks[..] else { panic!("{remarks:?}") };
    assert_eq!((remark.severity, remark.field.path.as_str()), (Severity::Warning, "spec.rules[0]"));
    assert!(remark.field.message.contains("cannot be seen at a waypoint"), "{remark:?}");
}

#[test]
fn what_is_wrong_with_what_is_asked_of_requests_is_named() {
    let operation = |operation: Value| json!({"to": [{"operation": operation}]});
    let condition = |key: &str, values: Value| json!({"when": [{"key": key, "values": values}]});
    let (to, when) = ("spec.rules[0].to[0].operation", "spec.rules[0].when[0]");
    for (rule, path) in [
        (operation(json!({"paths": ["/a", "/{**}/{*}"]})), format!("{to}.paths[1]")),
        (operation(json!({"notPaths": ["/{a}"]})), format!("{to}.notPaths[0]")),
        (operation(json!({"paths": ["/{*}/*"]})), format!("{to}.paths[0]")),
        (operation(json!({"paths": ["a/{*}"]})), format!("{to}.paths[0]")),
        (operation(json!({"paths": ["/a*b"]})), format!("{to}.paths[0]")),
        (operation(json!({"paths": [""]})), format!("{to}.paths[0]")),
        (operation(json!({"hosts": ["a*b"]})), format!("{to}.hosts[0]")),
        (operation(json!({"methods": [""]})), format!("{to}.methods[0]")),
        (operation(json!({"methods": []})), to.to_owned()),
        (operation(json!({"method": ["GET"]})), format!("{to}.method")),
        (condition("request.headers", json!(["a"])), format!("{when}.key")),
        (condition("request.headers[]", json!(["a"])), format!("{when}.key")),
        (condition("request.headers[a b]", json!(["a"])), format!("{when}.key")),
        (condition("request.headers[:path]", json!(["a"])), format!("{when}.key")),
        (condition("request.headers[a]", json!(["a*b"])), format!("{when}.values[0]")),
        (condition("request.auth.claims[a][]", json!(["a"])), format!("{when}.key")),
        (condition("request.auth.claim", json!(["a"])), format!("{when}.key")),
        (condition("request.method", json!(["GET"])), format!("{when}.key")),
        (condition("experimental.envoy.filters.", json!(["a"])), format!("{when}.key")),
        (condition("experimental.a", json!(["a"])), format!("{when}.key")),
        (condition("connection.sni", json!([])), format!("{when}.values")),
        (condition("remote.ip", json!(["10.0.0.0/33"])), format!("{when}.values[0]")),
    ] {
        assert_eq!(wrong(Kind::AuthorizationPolicy, written("shop", to_reviews(), rule.clone())), [path], "{rule}");
    }
}
