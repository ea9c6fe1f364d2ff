//! What PeerAuthentication and AuthorizationPolicy say, and what is wrong with those that are not taken.

use ambit_model::policy::{self as model, Action, Attribute, Mtls, Policy, Rule, Term, Values};

use super::*;

fn written(namespace: &str, spec: Value) -> Value {
    json!({"metadata": {"name": "p", "namespace": namespace}, "spec": spec})
}

fn authorization(object: Value) -> Arc<Policy> {
    match read(Kind::AuthorizationPolicy, object).unwrap().resource {
        Resource::AuthorizationPolicy(policy) => policy,
        other => panic!("{other:?}"),
    }
}

fn peer(namespace: &str, spec: Value) -> Arc<model::PeerAuthentication> {
    match read(Kind::PeerAuthentication, written(namespace, spec)).unwrap().resource {
        Resource::PeerAuthentication(policy) => policy,
        other => panic!("{other:?}"),
    }
}

fn rules(rules: Value) -> Vec<Rule> {
    authorization(written("shop", json!({ "rules": rules }))).rules.clone()
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Debug>>(any: &[&str], none: &[&str]) -> Values<T> {
    let list = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    Values { any: list(any), none: list(none) }
}

#[test]
fn a_policy_is_for_the_mesh_a_namespace_or_pods() {
    let labels = std::collections::BTreeMap::from([(Arc::from("app"), Arc::from("db"))]);
    let selector = json!({"matchLabels": {"app": "db"}});
    for (namespace, spec, expected) in [
        ("shop", json!({}), model::Scope::Namespace("shop".into())),
        ("shop", json!({"selector": {}}), model::Scope::Namespace("shop".into())),
        ("istio-system", json!({}), model::Scope::Mesh),
        ("shop", json!({"selector": selector}), model::Scope::Selector(Some("shop".into()), labels.clone())),
        ("istio-system", json!({"selector": selector}), model::Scope::Selector(None, labels)),
    ] {
        assert_eq!(authorization(written(namespace, spec.clone())).scope, expected, "{spec}");
        assert_eq!(peer(namespace, spec.clone()).scope, expected, "{spec}");
    }
}

#[test]
fn every_key_of_layer_4_says_what_it_says() {
    let text = |attribute, any: &[&str], none: &[&str]| Term::Text(attribute, parsed(any, none));
    let principal = "cluster.local/ns/shop/sa/web";
    for (key, not, any, none, expected) in [
        ("principals", "notPrincipals", principal, "*/sa/x", text(Attribute::Principal, &[principal], &["*/sa/x"])),
        ("namespaces", "notNamespaces", "shop*", "*", text(Attribute::Namespace, &["shop*"], &["*"])),
        ("trustDomains", "notTrustDomains", "a.example", "b*", text(Attribute::TrustDomain, &["a.example"], &["b*"])),
        (
            "serviceAccounts",
            "notServiceAccounts",
            "web",
            "other/web",
            text(Attribute::ServiceAccount, &["shop/web"], &["other/web"]),
        ),
        ("ipBlocks", "notIpBlocks", "10.0.0.0/8", "fd00::1", Term::SourceIp(parsed(&["10.0.0.0/8"], &["fd00::1"]))),
        ("remoteIpBlocks", "notRemoteIpBlocks", "::/0", "10.0.0.1", Term::RemoteIp(parsed(&["::/0"], &["10.0.0.1"]))),
    ] {
        let source = json!({key: [any], not: [none]});
        assert_eq!(rules(json!([{"from": [{"source": source}]}]))[0].from, [vec![expected]], "{key}");
    }
    let operation = json!({"ports": ["80", "8080"], "notPorts": ["81"]});
    let expected = Term::DestinationPort(parsed(&["80", "8080"], &["81"]));
    assert_eq!(rules(json!([{"to": [{"operation": operation}]}]))[0].to, [vec![expected]]);
    for (key, any, none, expected) in [
        ("source.ip", "10.0.0.0/8", "10.0.0.1", Term::SourceIp(parsed(&["10.0.0.0/8"], &["10.0.0.1"]))),
        ("remote.ip", "10.0.0.0/8", "10.0.0.1", Term::RemoteIp(parsed(&["10.0.0.0/8"], &["10.0.0.1"]))),
        ("source.namespace", "a", "b*", text(Attribute::Namespace, &["a"], &["b*"])),
        ("source.principal", "*/sa/a", "*", text(Attribute::Principal, &["*/sa/a"], &["*"])),
        ("source.serviceAccount", "a", "b/c", text(Attribute::ServiceAccount, &["shop/a"], &["b/c"])),
        ("source.labels[app]", "todoui", "*", text(Attribute::Label("app".into()), &["todoui"], &["*"])),
        ("destination.ip", "10.0.0.2", "fd00::/8", Term::DestinationIp(parsed(&["10.0.0.2"], &["fd00::/8"]))),
        ("destination.port", "80", "81", Term::DestinationPort(parsed(&["80"], &["81"]))),
    ] {
        let condition = json!({"key": key, "values": [any], "notValues": [none]});
        assert_eq!(rules(json!([{ "when": [condition] }]))[0].when, [expected], "{key}");
    }
    // A clause's keys all hold; several clauses, rules and conditions stay apart.
    let rule = json!({
        "from": [{"source": {"namespaces": ["a"], "ipBlocks": ["10.0.0.1"]}}, {"source": {"namespaces": ["b"]}}],
        "when": [{"key": "source.ip", "values": ["10.0.0.1"]}, {"key": "destination.port", "values": ["80"]}],
    });
    let read = rules(json!([rule, {}]));
    assert_eq!((read[0].from[0].len(), read[0].from[1].len(), read[0].when.len()), (2, 1, 2));
    assert_eq!(read[1], Rule::default());
}

#[test]
fn what_only_http_shows_is_kept_as_such_and_reported() {
    for (rule, beyond) in [
        (json!({"to": [{"operation": {"methods": ["GET"]}}]}), "operation.methods"),
        (json!({"to": [{"operation": {"notPaths": ["/a"]}}]}), "operation.paths"),
        (json!({"to": [{"operation": {"hosts": ["a"], "ports": ["80"]}}]}), "operation.hosts"),
        (json!({"from": [{"source": {"requestPrincipals": ["*"]}}]}), "source.requestPrincipals"),
        (json!({"when": [{"key": "request.headers[a]", "values": ["b"]}]}), "request.headers[a]"),
        (json!({"when": [{"key": "connection.sni", "values": ["b"]}]}), "connection.sni"),
        (json!({"when": [{"key": "request.auth.claims[a]", "values": ["b"]}]}), "request.auth.claims[a]"),
        (json!({"when": [{"key": "experimental.envoy.filters.a", "values": ["b"]}]}), "experimental.envoy.filters.a"),
    ] {
        for action in ["ALLOW", "DENY"] {
            let object = written("shop", json!({"action": action, "rules": [{}, rule]}));
            let read = authorization(object.clone()).rules.clone();
            let terms = read[1].from.iter().chain(&read[1].to).flatten().chain(&read[1].when);
            assert_eq!(terms.filter_map(Term::beyond_layer_4).collect::<Vec<_>>(), [beyond.into()], "{rule}");
            let expected = (Severity::Warning, "spec.rules[1]".to_owned());
            assert_eq!(remarked(Kind::AuthorizationPolicy, object), [expected], "{rule}");
        }
    }
}

#[test]
fn actions_and_dry_runs_are_read_and_explained() {
    let of = |action: &str| {
        let provider = if action == "CUSTOM" { json!({"name": "opa"}) } else { Value::Null };
        written("shop", json!({"action": action, "rules": [{}], "provider": provider}))
    };
    for (action, expected, remarks) in [
        ("", Action::Allow, vec![]),
        ("ALLOW", Action::Allow, vec![]),
        ("DENY", Action::Deny, vec![]),
        ("AUDIT", Action::Audit, vec![(Severity::Notice, "spec.action".to_owned())]),
        ("CUSTOM", Action::Custom, vec![(Severity::Warning, "spec.action".to_owned())]),
    ] {
        assert_eq!(authorization(of(action)).action, expected);
        assert_eq!(remarked(Kind::AuthorizationPolicy, of(action)), remarks);
    }
    for (value, expected) in [("true", true), ("false", false)] {
        let mut object = of("DENY");
        object["metadata"]["annotations"] = json!({"istio.io/dry-run": value});
        assert_eq!(authorization(object).dry_run, expected);
    }
    // Allow nothing: no spec at all, and no rule.
    assert_eq!(authorization(json!({"metadata": {"name": "p"}})).rules, []);
}

#[test]
fn modes_are_read_by_level_and_port() {
    for (mode, expected) in [
        ("", None),
        ("UNSET", None),
        ("PERMISSIVE", Some(Mtls::Permissive)),
        ("DISABLE", Some(Mtls::Permissive)),
        ("STRICT", Some(Mtls::Strict)),
    ] {
        assert_eq!(peer("shop", json!({"mtls": {"mode": mode}})).mode, expected, "{mode}");
    }
    let disabled = written("shop", json!({"mtls": {"mode": "DISABLE"}}));
    let expected = (Severity::Warning, "spec.mtls.mode".to_owned());
    assert_eq!(remarked(Kind::PeerAuthentication, disabled), [expected]);
    let ports = json!({"8080": {"mode": "PERMISSIVE"}, "81": {"mode": "UNSET"}});
    let selector = json!({"matchLabels": {"app": "db"}});
    let read = peer("shop", json!({"selector": selector, "mtls": {"mode": "STRICT"}, "portLevelMtls": ports}));
    let mode = |port| read.mode_of(port);
    assert_eq!((mode(8080), mode(81), mode(80)), (Some(Mtls::Permissive), Some(Mtls::Strict), Some(Mtls::Strict)));
    let dated = json!({"metadata": {"name": "p", "creationTimestamp": "2024-01-01T00:00:00Z"}});
    let Resource::PeerAuthentication(dated) = read_ok(Kind::PeerAuthentication, dated) else { panic!() };
    assert_eq!(dated.created.as_deref(), Some("2024-01-01T00:00:00Z"));
}

fn read_ok(kind: Kind, object: Value) -> Resource {
    read(kind, object).unwrap().resource
}

#[test]
fn what_is_wrong_with_a_peer_authentication_is_named() {
    let selector = json!({"matchLabels": {"app": "db"}});
    for (spec, path) in [
        (json!({"mtls": {"mode": "strict"}}), "spec.mtls.mode"),
        (json!({"mtls": {"mod": "STRICT"}}), "spec.mtls.mod"),
        (json!({"mtlss": {"mode": "STRICT"}}), "spec.mtlss"),
        (json!({"portLevelMtls": {"80": {"mode": "STRICT"}}}), "spec.portLevelMtls"),
        (json!({"selector": selector, "portLevelMtls": {"http": {"mode": "STRICT"}}}), "spec.portLevelMtls[http]"),
        (json!({"selector": selector, "portLevelMtls": {"80": {"mode": "ON"}}}), "spec.portLevelMtls[80].mode"),
        (json!({"selector": {"matchExpressions": []}}), "spec.selector.matchExpressions"),
        (json!({"selector": {"matchLabels": {"a b": "c"}}}), "spec.selector.matchLabels[a b]"),
        (json!({"selector": {"matchLabels": {"a": "*"}}}), "spec.selector.matchLabels[a]"),
    ] {
        assert_eq!(wrong(Kind::PeerAuthentication, written("shop", spec.clone())), [path], "{spec}");
    }
}

#[test]
fn what_is_wrong_with_an_authorization_policy_is_named() {
    let source = |source: Value| json!({"rules": [{"from": [{"source": source}]}]});
    let operation = |operation: Value| json!({"rules": [{"to": [{"operation": operation}]}]});
    let condition = |condition: Value| json!({"rules": [{"when": [condition]}]});
    let (from, to, when) = ("spec.rules[0].from[0]", "spec.rules[0].to[0].operation", "spec.rules[0].when[0]");
    for (spec, path) in [
        (json!({"action": "Deny", "rules": [{}]}), "spec.action".to_owned()),
        (json!({"action": "DENY"}), "spec.rules".to_owned()),
        (json!({"action": "AUDIT", "rules": []}), "spec.rules".to_owned()),
        (json!({"action": "CUSTOM"}), "spec.rules".to_owned()),
        (json!({"provider": {"name": "x"}, "rules": [{}]}), "spec.provider".to_owned()),
        (json!({"rule": [{}]}), "spec.rule".to_owned()),
        (json!({"rules": [{"form": []}]}), "spec.rules[0].form".to_owned()),
        (json!({"rules": [{"from": []}]}), "spec.rules[0].from".to_owned()),
        (json!({"rules": [{"to": []}]}), "spec.rules[0].to".to_owned()),
        (json!({"rules": [{"from": [{"sources": {}, "source": {"namespaces": ["a"]}}]}]}), format!("{from}.sources")),
        (source(json!({})), format!("{from}.source")),
        (source(json!({"principals": []})), format!("{from}.source")),
        (source(json!({"principal": ["a"]})), format!("{from}.source.principal")),
        (source(json!({"notPrincipal": ["a"]})), format!("{from}.source.notPrincipal")),
        (source(json!({"principals": ["a", "a*b"]})), format!("{from}.source.principals[1]")),
        (source(json!({"principals": ["spiffe://a/ns/b/sa/c"]})), format!("{from}.source.principals[0]")),
        (source(json!({"notNamespaces": [""]})), format!("{from}.source.notNamespaces[0]")),
        (source(json!({"serviceAccounts": ["a/*"]})), format!("{from}.source.serviceAccounts[0]")),
        (source(json!({"serviceAccounts": ["a"], "namespaces": ["b"]})), format!("{from}.source.serviceAccounts")),
        (source(json!({"ipBlocks": ["10.0.0.0/33"]})), format!("{from}.source.ipBlocks[0]")),
        (source(json!({"notRemoteIpBlocks": ["web"]})), format!("{from}.source.notRemoteIpBlocks[0]")),
        (operation(json!({"ports": ["http"]})), format!("{to}.ports[0]")),
        (operation(json!({"notPorts": ["0"]})), format!("{to}.notPorts[0]")),
        (operation(json!({"port": ["80"]})), format!("{to}.port")),
        (condition(json!({"key": "source.pod", "values": ["a"]})), format!("{when}.key")),
        (condition(json!({"values": ["a"]})), format!("{when}.key")),
        (condition(json!({"key": "source.ip"})), format!("{when}.values")),
        (condition(json!({"key": "source.ip", "values": ["a"]})), format!("{when}.values[0]")),
        (condition(json!({"key": "source.namespace", "notValues": ["a*b"]})), format!("{when}.notValues[0]")),
        (condition(json!({"key": "source.labels[a b]", "values": ["a"]})), format!("{when}.key")),
        (condition(json!({"key": "destination.port", "values": ["80-90"]})), format!("{when}.values[0]")),
        (
            json!({"selector": {"matchLabels": {"a": "b"}}, "targetRefs": [{"kind": "Service", "name": "a"}]}),
            "spec.selector".to_owned(),
        ),
        (json!({"targetRefs": [{"kind": "Pod", "name": "a"}]}), "spec.targetRefs[0].kind".to_owned()),
        (json!({"targetRefs": [{"kind": "Service"}]}), "spec.targetRefs[0].name".to_owned()),
    ] {
        assert_eq!(wrong(Kind::AuthorizationPolicy, written("shop", spec.clone())), [path], "{spec}");
    }
    let mut object = written("shop", json!({}));
    object["metadata"]["annotations"] = json!({"istio.io/dry-run": "yes"});
    assert_eq!(wrong(Kind::AuthorizationPolicy, object), ["metadata.annotations[istio.io/dry-run]"]);
}

#[test]
fn ten_thousand_rules_are_read_and_every_bad_one_is_named() {
    let rule = |n: usize| {
        let block =
            if n.is_multiple_of(1000) { "10.0.0.0/99".to_owned() } else { format!("10.0.{}.{}", n / 256, n % 256) };
        json!({"from": [{"source": {"ipBlocks": [block]}}]})
    };
    let rules: Vec<Value> = (0..10_000).map(rule).collect();
    let paths = wrong(Kind::AuthorizationPolicy, written("shop", json!({ "rules": rules })));
    assert_eq!(paths.len(), 10);
    assert_eq!(paths[9], "spec.rules[9000].from[0].source.ipBlocks[0]");
}
