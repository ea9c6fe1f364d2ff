//! What is wrong with HTTPRoutes, GRPCRoutes and ReferenceGrants that are not taken, and what their authors are told of
//! others.

use super::*;

fn written(spec: Value) -> Value {
    json!({"metadata": {"name": "x", "namespace": "shop"}, "spec": spec})
}

/// A route of a Service with this rule.
fn with(rule: Value) -> Value {
    written(json!({"parentRefs": [{"group": "", "kind": "Service", "name": "reviews"}], "rules": [rule]}))
}

fn filter(filter: Value) -> Value {
    json!({"filters": [filter], "backendRefs": [{"name": "a", "port": 80}]})
}

#[test]
fn what_is_wrong_with_a_match_of_a_route_is_named() {
    for (block, path) in [
        (json!({"path": {"value": "a"}}), "path.value"),
        (json!({"path": {"value": "/a//b"}}), "path.value"),
        (json!({"path": {"type": "Exact", "value": "/a/.."}}), "path.value"),
        (json!({"path": {"type": "RegularExpression", "value": "("}}), "path.value"),
        (json!({"path": {"type": "Suffix", "value": "/a"}}), "path.type"),
        (json!({"path": {"value": "/a", "case": "any"}}), "path.case"),
        (json!({"headers": [{"name": "a b", "value": "c"}]}), "headers[0].name"),
        (json!({"headers": [{"name": "a"}]}), "headers[0].value"),
        (json!({"headers": [{"name": "a", "type": "Prefix", "value": "b"}]}), "headers[0].type"),
        (json!({"queryParams": [{"name": "", "value": "b"}]}), "queryParams[0].name"),
        (json!({"queryParams": [{"name": "a", "type": "RegularExpression", "value": "["}]}), "queryParams[0].value"),
        (json!({"method": "get"}), "method"),
        (json!({"cookies": []}), "cookies"),
    ] {
        let expected = format!("spec.rules[0].matches[0].{path}");
        assert_eq!(wrong(Kind::HttpRoute, with(json!({ "matches": [block] }))), [expected], "{block}");
    }
    for (block, path) in [
        (json!({"method": {}}), "method"),
        (json!({"method": {"service": "a/b"}}), "method.service"),
        (json!({"method": {"type": "Prefix", "service": "a"}}), "method.type"),
        (json!({"method": {"type": "RegularExpression", "service": "("}}), "method"),
        (json!({"path": {"value": "/a"}}), "path"),
    ] {
        let expected = format!("spec.rules[0].matches[0].{path}");
        assert_eq!(wrong(Kind::GrpcRoute, with(json!({ "matches": [block] }))), [expected], "{block}");
    }
}

#[test]
fn what_is_wrong_with_what_a_route_does_is_named() {
    let modifier =
        |modifier: Value| filter(json!({"type": "RequestHeaderModifier", "requestHeaderModifier": modifier}));
    let rewrite = |rewrite: Value| filter(json!({"type": "URLRewrite", "urlRewrite": rewrite}));
    let cors = |cors: Value| filter(json!({"type": "CORS", "cors": cors}));
    let to = json!([{"name": "a", "port": 80}]);
    let redirect = json!({"type": "RequestRedirect", "requestRedirect": {"hostname": "a.example"}});
    for (rule, path) in [
        (json!({"backendRefs": [{"name": "a"}]}), "backendRefs[0].port"),
        (json!({"backendRefs": [{"name": "a", "port": 80, "weight": 1_000_001}]}), "backendRefs[0].weight"),
        (json!({"backendRefs": [{"name": "a", "port": 80, "namespace": "A"}]}), "backendRefs[0].namespace"),
        (json!({"backendRefs": to, "filters": [redirect]}), "backendRefs"),
        (filter(json!({"type": "URLRewrite"})), "filters[0].urlRewrite"),
        (rewrite(json!({"path": {"type": "ReplaceFullPath"}})), "filters[0].urlRewrite.path"),
        (rewrite(json!({"path": {"type": "Replace"}})), "filters[0].urlRewrite.path.type"),
        (rewrite(json!({"hostname": "a_b"})), "filters[0].urlRewrite.hostname"),
        (modifier(json!({"set": [{"name": "a b", "value": "c"}]})), "filters[0].requestHeaderModifier.set[0].name"),
        (modifier(json!({"add": [{"name": "a", "value": "b\n"}]})), "filters[0].requestHeaderModifier.add[0].value"),
        (modifier(json!({"remove": [":path"]})), "filters[0].requestHeaderModifier.remove[0]"),
        (cors(json!({"allowOrigins": ["a.example"]})), "filters[0].cors.allowOrigins[0]"),
        (cors(json!({"allowMethods": ["*", "GET"]})), "filters[0].cors.allowMethods"),
        (cors(json!({"maxAge": 0})), "filters[0].cors.maxAge"),
        (json!({"backendRefs": to, "timeouts": {"request": "1d"}}), "timeouts.request"),
        (json!({"backendRefs": to, "timeouts": {"request": "1.5s"}}), "timeouts.request"),
        (json!({"backendRefs": to, "timeouts": {"request": "1s", "backendRequest": "2s"}}), "timeouts.backendRequest"),
        (json!({"backendRefs": to, "retry": {"codes": [200]}}), "retry.codes[0]"),
        (json!({"backendRefs": to, "retries": 1}), "retries"),
    ] {
        assert_eq!(wrong(Kind::HttpRoute, with(rule.clone())), [format!("spec.rules[0].{path}")], "{rule}");
    }
    // What replaces a prefix takes matches by prefix, and a filter stands once.
    let prefix = json!({"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}}});
    let exact =
        json!({"backendRefs": to, "filters": [prefix], "matches": [{"path": {"type": "Exact", "value": "/a"}}]});
    assert_eq!(wrong(Kind::HttpRoute, with(exact)), ["spec.rules[0].filters"]);
    let twice = json!({"backendRefs": to, "filters": [prefix, prefix]});
    assert_eq!(wrong(Kind::HttpRoute, with(twice)), ["spec.rules[0].filters[1]"]);
    let mirror = |share: Value| {
        let mut mirror = share;
        mirror["backendRef"] = json!({"name": "b", "port": 80});
        with(filter(json!({"type": "RequestMirror", "requestMirror": mirror})))
    };
    for (share, path) in [
        (json!({"percent": 101}), "percent"),
        (json!({"fraction": {"numerator": 3, "denominator": 2}}), "fraction"),
        (json!({"percent": 1, "fraction": {"numerator": 1}}), "percent"),
    ] {
        let expected = format!("spec.rules[0].filters[0].requestMirror.{path}");
        assert_eq!(wrong(Kind::HttpRoute, mirror(share.clone())), [expected], "{share}");
    }
}

#[test]
fn what_a_route_says_without_effect_is_remarked_on() {
    let told = |kind: Kind, object: Value| -> Vec<String> {
        remarked(kind, object).into_iter().map(|(severity, path)| format!("{severity:?} {path}")).collect()
    };
    let rule = |more: Value| {
        let mut rule = more;
        rule["backendRefs"] = json!([{"name": "a", "port": 80}]);
        with(rule)
    };
    let external = json!([{"type": "ExtensionRef", "extensionRef": {"group": "a", "kind": "B", "name": "c"}}]);
    for (kind, object, expected) in [
        (Kind::HttpRoute, rule(json!({})), vec![]),
        (Kind::HttpRoute, rule(json!({ "filters": external })), vec!["Warning spec.rules[0].filters[0].type"]),
        (Kind::GrpcRoute, rule(json!({ "filters": external })), vec!["Warning spec.rules[0].filters[0].type"]),
        // What an HTTPRoute can do and a GRPCRoute cannot.
        (
            Kind::GrpcRoute,
            rule(json!({"filters": [{"type": "URLRewrite", "urlRewrite": {"hostname": "a.example"}}]})),
            vec!["Warning spec.rules[0].filters[0].type"],
        ),
        (Kind::HttpRoute, rule(json!({"sessionPersistence": {}})), vec!["Warning spec.rules[0].sessionPersistence"]),
        (Kind::HttpRoute, with(json!({"backendRefs": []})), vec!["Warning spec.rules[0].backendRefs"]),
        (
            Kind::HttpRoute,
            with(json!({"backendRefs": [{"group": "a.example", "kind": "Bucket", "name": "b"}]})),
            vec!["Warning spec.rules[0].backendRefs[0]"],
        ),
        (
            Kind::HttpRoute,
            written(json!({"parentRefs": [{"kind": "Mesh", "name": "m"}], "hostnames": ["a.example"],
                "rules": [{"backendRefs": [{"name": "a", "port": 80}]}]})),
            vec!["Notice spec.hostnames", "Warning spec.parentRefs[0]"],
        ),
    ] {
        assert_eq!(told(kind, object.clone()), expected, "{object}");
    }
}

#[test]
fn a_grant_is_read_as_far_as_it_is_about_routes_and_services() {
    let from = json!({"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "A"});
    let spec = json!({"from": [from], "to": [{"kind": "Service", "names": []}]});
    assert_eq!(wrong(Kind::ReferenceGrant, written(spec)), ["spec.from[0].namespace", "spec.to[0].names"]);
    let spec = json!({"from": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": "a"}],
        "to": [{"kind": "Secret"}]});
    match read(Kind::ReferenceGrant, written(spec)).unwrap().resource {
        Resource::ReferenceGrant(grant) => assert!(grant.from.is_empty() && grant.to.is_empty()),
        other => panic!("{other:?}"),
    }
}
