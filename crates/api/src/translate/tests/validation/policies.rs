//! PeerAuthentications and AuthorizationPolicies (Istio's `TestValidatePeerAuthentication`,
//! `TestValidateAuthorizationPolicy`).

use super::*;

#[test]
fn peer_authentications() {
    let ports = |selector: Value, ports: Value| of(json!({"selector": selector, "portLevelMtls": ports}));
    let db = json!({"matchLabels": {"app": "db"}});
    let strict = json!({"mode": "STRICT"});
    let empty = "spec.selector: is empty";
    check(
        Kind::PeerAuthentication,
        vec![
            ("empty spec", of(json!({})), Accepted),
            ("empty mtls with selector of empty labels", of(json!({"selector": {}})), Warned(empty)),
            ("default name with non empty selector", of(json!({"selector": db})), Accepted),
            ("unset mode", of(json!({"mtls": {"mode": "UNSET"}})), Accepted),
            ("empty port level mtls", ports(db.clone(), json!({})), Refused("spec.portLevelMtls: is empty")),
            (
                "empty selector with port level mtls",
                ports(json!(null), json!({"8080": strict})),
                Refused("spec.portLevelMtls: takes a selector"),
            ),
            ("port 0", ports(db.clone(), json!({"0": strict})), Refused("spec.portLevelMtls[0]: ")),
            ("port 1", ports(db.clone(), json!({"1": strict})), Accepted),
            ("port 65535", ports(db.clone(), json!({"65535": strict})), Accepted),
            ("port 65536", ports(db, json!({"65536": strict})), Refused("spec.portLevelMtls[65536]: ")),
        ],
    );
}

fn check_all(rows: Vec<(&str, Value, Becomes)>) {
    check(Kind::AuthorizationPolicy, rows);
}

fn rule(rule: &Value) -> Value {
    of(json!({ "rules": [rule] }))
}

#[test]
fn actions_and_what_a_policy_is_for() {
    let action = |action: &str, more: Value| {
        let mut spec = more;
        spec["action"] = json!(action);
        of(spec)
    };
    let custom = |provider: Value, rule: Value| action("CUSTOM", json!({"provider": provider, "rules": [rule]}));
    let opa = json!({"name": "my-custom-authz"});
    let asks = |rule: Value| custom(opa.clone(), rule);
    let selector = |labels: Value| of(json!({"selector": {"matchLabels": labels}, "rules": []}));
    let target = |target: Value| of(json!({ "targetRefs": [target] }));
    let gateway = |more: Value| {
        let mut whole = json!({"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "foo"});
        whole.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        whole
    };
    let known = Warned("spec.action: CUSTOM asks somebody");
    check_all(vec![
        ("custom-good", custom(opa.clone(), json!({})), known),
        ("custom-empty-provider", custom(json!({"name": ""}), json!({})), Refused("spec.provider.name: is missing")),
        ("custom-nil-provider", custom(json!(null), json!({})), Refused("spec.provider.name: is missing")),
        ("custom-rules-nil", action("CUSTOM", json!({})), Refused("spec.rules: is missing")),
        (
            "custom-invalid-rule",
            asks(json!({"from": [{"source": {"namespaces": ["ns"]}}]})),
            Refused("spec.rules[0].from[0].source.namespaces: is none of what CUSTOM"),
        ),
        (
            "custom-invalid-rule",
            asks(json!({"from": [{"source": {"notPrincipals": ["p"]}}]})),
            Refused("spec.rules[0].from[0].source.notPrincipals: "),
        ),
        (
            "custom-invalid-rule",
            asks(json!({"from": [{"source": {"requestPrincipals": ["p"]}}]})),
            Refused("spec.rules[0].from[0].source.requestPrincipals: "),
        ),
        (
            "custom-invalid-rule",
            asks(json!({"when": [{"key": "source.principal", "values": ["a"]}]})),
            Refused("spec.rules[0].when[0].key: "),
        ),
        (
            "custom-invalid-rule",
            asks(json!({"when": [{"key": "request.auth.claims[a]", "values": ["a"]}]})),
            Refused("spec.rules[0].when[0].key: "),
        ),
        ("custom-valid-rule", asks(json!({"from": [{"source": {"ipBlocks": ["10.0.0.0/8"]}}]})), known),
        (
            "provider-wrong-action",
            action("ALLOW", json!({"provider": opa, "rules": [{}]})),
            Refused("spec.provider: is for the action CUSTOM"),
        ),
        ("allow-rules-nil", action("ALLOW", json!({})), Accepted),
        ("deny-rules-nil", action("DENY", json!({})), Refused("spec.rules: is missing")),
        ("selector-empty-value", selector(json!({"app": "httpbin", "version": ""})), Accepted),
        ("selector-empty-key", selector(json!({"app": "httpbin", "": "v1"})), Refused("spec.selector.matchLabels[]: ")),
        ("selector-empty-labels", selector(json!({})), Warned("spec.selector: is empty")),
        ("selector-wildcard-value", selector(json!({"app": "httpbin-*"})), Refused("spec.selector.matchLabels[app]: ")),
        ("selector-wildcard-key", selector(json!({"app-*": "httpbin"})), Refused("spec.selector.matchLabels[app-*]: ")),
        ("target-ref-good", of(json!({"targetRef": gateway(json!({}))})), Accepted),
        ("target-refs-good", target(gateway(json!({}))), Accepted),
        ("target-refs-good-service", target(json!({"group": "core", "kind": "Service", "name": "foo"})), Accepted),
        ("target-refs-good-service", target(json!({"group": "", "kind": "Service", "name": "foo"})), Accepted),
        (
            "target-ref-non-empty-namespace",
            target(gateway(json!({"namespace": "elsewhere"}))),
            Refused("spec.targetRefs[0].namespace: "),
        ),
        ("target-ref-empty-name", target(gateway(json!({"name": ""}))), Refused("spec.targetRefs[0].name: ")),
        (
            "target-ref-wrong-group",
            target(gateway(json!({"group": "wrong-group"}))),
            Refused("spec.targetRefs[0].group: "),
        ),
        (
            // Istio takes one for core; the kind alone says it.
            "a group that is missing is the kind's",
            target(gateway(json!({"group": ""}))),
            Accepted,
        ),
        ("target-ref-wrong-kind", target(gateway(json!({"kind": "Pod"}))), Refused("spec.targetRefs[0].kind: ")),
        (
            "target-refs-and-selector-cannot-both-be-set",
            of(json!({"selector": {"matchLabels": {"a": "b"}}, "targetRefs": [gateway(json!({}))]})),
            Refused("spec.selector: stands beside targetRefs"),
        ),
        (
            "targetRef and targetRefs",
            of(json!({"targetRef": gateway(json!({})), "targetRefs": [gateway(json!({}))]})),
            Refused("spec.targetRef: stands beside targetRefs"),
        ),
    ]);
}

#[test]
fn rules() {
    let source = |source: Value| rule(&json!({"from": [{"source": source}]}));
    let operation = |operation: Value| rule(&json!({"to": [{"operation": operation}]}));
    let condition = |condition: Value| rule(&json!({"when": [condition]}));
    let accounts = |count: usize| source(json!({"serviceAccounts": vec!["a"; count]}));
    let held = |count: usize| condition(json!({"key": "source.serviceAccount", "notValues": vec!["a"; count]}));
    check_all(vec![
        ("good", source(json!({"principals": ["sa1"], "ipBlocks": ["1.2.3.4", "5.6.7.0/24"]})), Accepted),
        ("from-empty", rule(&json!({"from": []})), Refused("spec.rules[0].from: is empty")),
        ("source-nil", rule(&json!({"from": [{}]})), Refused("spec.rules[0].from[0].source: is empty")),
        ("source-empty", source(json!({})), Refused("spec.rules[0].from[0].source: is empty")),
        ("to-empty", rule(&json!({"to": []})), Refused("spec.rules[0].to: is empty")),
        ("operation-nil", rule(&json!({"to": [{}]})), Refused("spec.rules[0].to[0].operation: is empty")),
        ("operation-empty", operation(json!({})), Refused("spec.rules[0].to[0].operation: is empty")),
        (
            "Principals-empty",
            source(json!({"principals": ["p1", ""]})),
            Refused("spec.rules[0].from[0].source.principals[1]: "),
        ),
        (
            "NotPrincipals-empty",
            source(json!({"notPrincipals": ["p1", ""]})),
            Refused("spec.rules[0].from[0].source.notPrincipals[1]: "),
        ),
        (
            "Namespaces-empty",
            source(json!({"namespaces": ["ns", ""]})),
            Refused("spec.rules[0].from[0].source.namespaces[1]: "),
        ),
        (
            "NotNamespaces-empty",
            source(json!({"notNamespaces": ["ns", ""]})),
            Refused("spec.rules[0].from[0].source.notNamespaces[1]: "),
        ),
        (
            "ServiceAccounts-empty",
            source(json!({"serviceAccounts": ["ns/sa", ""]})),
            Refused("spec.rules[0].from[0].source.serviceAccounts[1]: "),
        ),
        (
            "RequestPrincipals-empty",
            source(json!({"requestPrincipals": ["p1", ""]})),
            Refused("spec.rules[0].from[0].source.requestPrincipals[1]: "),
        ),
        (
            "IpBlocks-empty",
            source(json!({"ipBlocks": ["1.2.3.4", ""]})),
            Refused("spec.rules[0].from[0].source.ipBlocks[1]: "),
        ),
        (
            "NotRemoteIpBlocks-empty",
            source(json!({"notRemoteIpBlocks": ["1.2.3.4", ""]})),
            Refused("spec.rules[0].from[0].source.notRemoteIpBlocks[1]: "),
        ),
        ("Hosts-empty", operation(json!({"hosts": ["host", ""]})), Refused("spec.rules[0].to[0].operation.hosts[1]: ")),
        (
            "NotMethods-empty",
            operation(json!({"notMethods": ["method", ""]})),
            Refused("spec.rules[0].to[0].operation.notMethods[1]: "),
        ),
        (
            "Paths-empty",
            operation(json!({"paths": ["/path", ""]})),
            Refused("spec.rules[0].to[0].operation.paths[1]: "),
        ),
        ("Ports-empty", operation(json!({"ports": ["80", ""]})), Refused("spec.rules[0].to[0].operation.ports[1]: ")),
        ("ports", operation(json!({"ports": ["1", "65535"]})), Accepted),
        ("bad port", operation(json!({"ports": ["65536"]})), Refused("spec.rules[0].to[0].operation.ports[0]: ")),
        (
            "invalid path template",
            operation(json!({"paths": ["/{**}/foo/{*"]})),
            Refused("spec.rules[0].to[0].operation.paths[0]: "),
        ),
        (
            "invalid ip and port in ipBlocks",
            source(json!({"ipBlocks": ["1.2.3.4.5"]})),
            Refused("spec.rules[0].from[0].source.ipBlocks[0]: "),
        ),
        (
            "serviceAccounts and namespaces",
            source(json!({"serviceAccounts": ["sa"], "namespaces": ["ns"]})),
            Refused("spec.rules[0].from[0].source.serviceAccounts: stands beside"),
        ),
        ("good serviceAccounts", accounts(16), Accepted),
        (
            "may not have more than 16 values",
            accounts(17),
            Warned("spec.rules[0].from[0].source.serviceAccounts: has 17 accounts"),
        ),
        ("may not have more than 16 values", held(16), Accepted),
        ("may not have more than 16 values", held(17), Warned("spec.rules[0].when[0].notValues: has 17 accounts")),
        ("trust domain", source(json!({"trustDomains": ["cluster.local", "*.example"]})), Accepted),
        (
            "trust domain must not contain '/'",
            source(json!({"trustDomains": ["a/b"]})),
            Refused("spec.rules[0].from[0].source.trustDomains[0]: "),
        ),
        (
            "wildcard is only allowed at the start or end",
            source(json!({"notTrustDomains": ["a*b"]})),
            Refused("spec.rules[0].from[0].source.notTrustDomains[0]: "),
        ),
        ("condition-key-missing", condition(json!({"values": ["v1"]})), Refused("spec.rules[0].when[0].key: ")),
        (
            "condition-value-missing",
            condition(json!({"key": "source.principal"})),
            Refused("spec.rules[0].when[0].values: is missing"),
        ),
        (
            "condition-value-invalid",
            condition(json!({"key": "source.ip", "values": ["a.b.c.d"]})),
            Refused("spec.rules[0].when[0].values[0]: "),
        ),
        (
            "condition-notValue-invalid",
            condition(json!({"key": "source.ip", "notValues": ["a.b.c.d"]})),
            Refused("spec.rules[0].when[0].notValues[0]: "),
        ),
        (
            "condition-unknown",
            condition(json!({"key": "key1", "values": ["v1"]})),
            Refused("spec.rules[0].when[0].key: "),
        ),
    ]);
}

#[test]
fn a_deny_by_what_only_http_shows_is_remarked_on() {
    let deny = |rule: Value| of(json!({"action": "DENY", "rules": [rule]}));
    let said = Warned("spec.rules[0]: ");
    check_all(vec![
        ("L7DenyWithFrom", deny(json!({"from": [{"source": {"requestPrincipals": ["p"]}}]})), said),
        ("L7DenyWithTo", deny(json!({"to": [{"operation": {"methods": ["GET"]}}]})), said),
        ("L4 alone", deny(json!({"from": [{"source": {"namespaces": ["a"]}}]})), Accepted),
    ]);
}
