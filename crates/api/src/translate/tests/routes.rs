//! What is wrong with VirtualServices and DestinationRules that are not taken, and what their authors are told of others.

use super::*;

fn told(kind: Kind, object: Value) -> Vec<(Severity, String)> {
    let mut told = remarked(kind, object);
    told.sort_unstable();
    told
}

fn written(spec: Value) -> Value {
    json!({"metadata": {"name": "x", "namespace": "shop"}, "spec": spec})
}

/// A VirtualService with this rule for requests.
fn http(rule: Value) -> Value {
    written(json!({"hosts": ["reviews"], "http": [rule]}))
}

/// A rule with a route, and this.
fn with(more: Value) -> Value {
    let mut rule = more;
    rule["route"] = json!([{"destination": {"host": "reviews"}}]);
    http(rule)
}

#[test]
fn what_is_wrong_with_a_virtual_services_hosts_is_named() {
    let route = json!([{"route": [{"destination": {"host": "a"}}]}]);
    for (spec, path) in [
        (json!({"hosts": ["*"], "http": route}), "spec.hosts[0]"),
        (json!({"hosts": ["a_b"], "http": route}), "spec.hosts[0]"),
        (json!({"hosts": ["*a.example"], "http": route}), "spec.hosts[0]"),
        (json!({"hosts": ["a", "a.shop.svc.cluster.local"], "http": route}), "spec.hosts[1]"),
        (json!({"hosts": ["*.example.com", "a.example.com"], "http": route}), "spec.hosts[1]"),
        (json!({"hosts": ["a"]}), "spec"),
        (json!({"hosts": ["a"], "http": route, "gateways": ["a/b/c"]}), "spec.gateways[0]"),
        (json!({"hosts": ["a"], "http": route, "gateways": ["Mesh!"]}), "spec.gateways[0]"),
        (json!({"hosts": ["a"], "http": route, "exportTo": ["a.b"]}), "spec.exportTo[0]"),
        (json!({"hosts": ["a"], "http": route, "export": ["a"]}), "spec.export"),
        (json!({"http": route, "gateways": ["mesh"]}), "spec.gateways"),
        (json!({"http": [{"delegate": {"name": "a"}}]}), "spec.http[0].delegate"),
        (json!({"tcp": route}), "spec.tcp"),
    ] {
        assert_eq!(wrong(Kind::VirtualService, written(spec.clone())), [path], "{spec}");
    }
}

#[test]
fn claims_of_tokens_are_written_as_fields_and_are_none() {
    let claim = |parts: &[&str]| ambit_model::policy::ClaimPath::new(parts.iter().copied()).unwrap();
    for (key, expected) in [
        ("@request.auth.claims.sub", claim(&["sub"])),
        ("@request.auth.claims.a.b", claim(&["a", "b"])),
        ("@request.auth.claims[a.b][c]", claim(&["a.b", "c"])),
        ("@Request.Auth.Claims.sub", claim(&["sub"])),
    ] {
        let block = json!({"headers": {key: {"exact": "x"}}, "withoutHeaders": {key: {}}});
        let object = with(json!({ "match": [block] }));
        let object = super::read(Kind::VirtualService, object).unwrap();
        let Resource::VirtualService(service) = object.resource else { panic!("another kind") };
        let matched = &service.http[0].matches[0];
        assert!(matched.headers.is_empty() && matched.without_headers.is_empty(), "{key}");
        assert_eq!(matched.claims, [(expected.clone(), ambit_model::route::Text::Exact("x".into()))].into(), "{key}");
        assert_eq!(matched.without_claims, [(expected, ambit_model::route::Text::Present)].into(), "{key}");
    }
}

#[test]
fn what_is_wrong_with_a_match_is_named() {
    for (block, path) in [
        (json!({"uri": {"regex": "("}}), "uri.regex"),
        (json!({"uri": {"regex": "(?:\\pL{100}){100}"}}), "uri.regex"),
        (json!({"uri": {"regex": "(?=a)"}}), "uri.regex"),
        (json!({"uri": {"regex": ""}}), "uri.regex"),
        (json!({"uri": {"exact": "/a", "prefix": "/b"}}), "uri"),
        (json!({"uri": {"suffix": "/a"}}), "uri.suffix"),
        (json!({"method": {"prefix": ""}}), "method.prefix"),
        (json!({"headers": {"a b": {"exact": "c"}}}), "headers[a b]"),
        (json!({"headers": {"a": {"regex": "["}}}), "headers[a].regex"),
        (json!({"headers": {"@request.auth.claims": {"exact": "a"}}}), "headers[@request.auth.claims]"),
        (json!({"headers": {"@request.auth.claims.a..b": {}}}), "headers[@request.auth.claims.a..b]"),
        (json!({"headers": {"@request.auth.claims[a": {}}}), "headers[@request.auth.claims[a]"),
        (json!({"withoutHeaders": {"@request.auth.claims[a][]": {}}}), "withoutHeaders[@request.auth.claims[a][]]"),
        (json!({"withoutHeaders": {"a": {"prefix": ""}}}), "withoutHeaders[a].prefix"),
        (json!({"queryParams": {"a": {"regex": ")"}}}), "queryParams[a].regex"),
        (json!({"port": 70000}), "port"),
        (json!({"sourceLabels": {"a": "b c"}}), "sourceLabels[a]"),
        (json!({"sourceNamespace": "A"}), "sourceNamespace"),
        (json!({"gateways": [""]}), "gateways[0]"),
        (json!({"path": "/a"}), "path"),
    ] {
        let expected = format!("spec.http[0].match[0].{path}");
        assert_eq!(wrong(Kind::VirtualService, with(json!({ "match": [block] }))), [expected], "{block}");
    }
}

#[test]
fn what_is_wrong_with_what_a_rule_does_is_named() {
    let to = json!({"destination": {"host": "a"}});
    let redirect = |redirect: Value| json!({ "redirect": redirect });
    for (rule, path) in [
        (json!({}), ""),
        (json!({"route": [to], "redirect": {"uri": "/a"}}), ""),
        (json!({"route": [to], "routes": []}), ".routes"),
        (json!({"route": [to, to]}), ".route"),
        (json!({"route": [{"destination": {"host": "a"}, "weight": -1}]}), ".route[0].weight"),
        (json!({"route": [{"weight": 1}]}), ".route[0].destination"),
        (json!({"route": [{"destination": {"host": "*"}}]}), ".route[0].destination.host"),
        (json!({"route": [{"destination": {"host": "a", "subset": "V 1"}}]}), ".route[0].destination.subset"),
        (
            json!({"route": [{"destination": {"host": "a", "port": {"number": 0}}}]}),
            ".route[0].destination.port.number",
        ),
        (json!({"route": [{"destination": {"host": "a", "port": {"name": "http"}}}]}), ".route[0].destination.port"),
        (redirect(json!({})), ".redirect"),
        (redirect(json!({"uri": "/a", "prefixRewrite": "/b"})), ".redirect.prefixRewrite"),
        (redirect(json!({"uri": "/a", "redirectCode": 305})), ".redirect.redirectCode"),
        (redirect(json!({"scheme": "ftp"})), ".redirect.scheme"),
        (redirect(json!({"port": 80, "derivePort": "FROM_REQUEST_PORT"})), ".redirect.derivePort"),
        (redirect(json!({"uri": "/a", "derivePort": "REQUEST"})), ".redirect.derivePort"),
        (json!({"match": [{"uri": {"exact": "/a"}}], "redirect": {"prefixRewrite": "/b"}}), ".redirect.prefixRewrite"),
        (
            json!({"redirect": {"uri": "/a"}, "fault": {"abort": {"httpStatus": 500, "percentage": {"value": 1}}}}),
            ".fault",
        ),
        (json!({"directResponse": {"status": 200}, "rewrite": {"uri": "/"}}), ".rewrite"),
        (json!({"directResponse": {"status": 99}}), ".directResponse.status"),
        (json!({"directResponse": {"status": 200, "body": {"bytes": "?"}}}), ".directResponse.body.bytes"),
        (json!({"directResponse": {"status": 200, "body": {"string": "a", "bytes": "YQ=="}}}), ".directResponse.body"),
        (
            json!({"directResponse": {"status": 200, "body": {"string": "a".repeat((1 << 20) + 1)}}}),
            ".directResponse.body",
        ),
        (json!({"delegate": {"name": ""}}), ".delegate.name"),
        (json!({"delegate": {"name": "a", "namespace": "A"}}), ".delegate.namespace"),
    ] {
        let shown: String = rule.to_string().chars().take(200).collect();
        let found = wrong(Kind::VirtualService, http(rule));
        // What a port's name is mistaken for is an error of its own.
        assert!(
            found.first().is_some_and(|first| first.starts_with(&format!("spec.http[0]{path}"))),
            "{shown} {found:?}"
        );
    }
}

#[test]
fn what_is_wrong_with_what_is_done_on_the_way_is_named() {
    let (half, abort) = (json!({"value": 50}), |abort: Value| json!({"fault": {"abort": abort}}));
    let delay = |delay: Value| json!({"fault": {"delay": delay}});
    let request = |operations: Value| json!({"headers": {"request": operations}});
    for (more, path) in [
        (json!({"timeout": "0s"}), "timeout"),
        (json!({"timeout": "5"}), "timeout"),
        (json!({"retries": {"attempts": -1}}), "retries.attempts"),
        (json!({"retries": {"attempts": 0, "retryOn": "5xx"}}), "retries.attempts"),
        (json!({"retries": {"attempts": 1, "retryOn": "5xx,sometimes"}}), "retries.retryOn"),
        (json!({"retries": {"attempts": 1, "perTryTimeout": "0s"}}), "retries.perTryTimeout"),
        (json!({"retries": {"attempts": 1, "backoff": "1us"}}), "retries.backoff"),
        (json!({"fault": {}}), "fault"),
        (abort(json!({"httpStatus": 199, "percentage": half})), "fault.abort.httpStatus"),
        (abort(json!({"httpStatus": 600, "percentage": half})), "fault.abort.httpStatus"),
        (abort(json!({"grpcStatus": "14", "percentage": half})), "fault.abort.grpcStatus"),
        (abort(json!({"httpStatus": 500, "grpcStatus": "OK", "percentage": half})), "fault.abort"),
        (abort(json!({"httpStatus": 500, "percentage": {"value": 101}})), "fault.abort.percentage"),
        (abort(json!({"httpStatus": 500, "percentage": {"value": 0.00001}})), "fault.abort.percentage"),
        (abort(json!({"httpStatus": 500, "percentage": {"value": -1}})), "fault.abort.percentage"),
        (delay(json!({"fixedDelay": "0.5ms", "percentage": half})), "fault.delay.fixedDelay"),
        (delay(json!({"exponentialDelay": "1s", "percentage": half})), "fault.delay.exponentialDelay"),
        (json!({"mirror": {"host": "a"}, "mirrors": [{"destination": {"host": "b"}}]}), "mirror"),
        (json!({"mirrors": [{}]}), "mirrors[0].destination"),
        (json!({"mirror": {"host": "a"}, "mirrorPercentage": {"value": 200}}), "mirrorPercentage"),
        (json!({"rewrite": {}}), "rewrite"),
        (
            json!({"rewrite": {"uri": "/", "uriRegexRewrite": {"match": "a", "rewrite": "b"}}}),
            "rewrite.uriRegexRewrite",
        ),
        (json!({"rewrite": {"uriRegexRewrite": {"match": "(", "rewrite": "b"}}}), "rewrite.uriRegexRewrite.match"),
        (json!({"rewrite": {"uriRegexRewrite": {"match": "a", "rewrite": "\\1"}}}), "rewrite.uriRegexRewrite.rewrite"),
        (json!({"rewrite": {"uriRegexRewrite": {"match": "a", "rewrite": "\\x"}}}), "rewrite.uriRegexRewrite.rewrite"),
        (json!({"rewrite": {"authority": "a"}, "headers": {"request": {"set": {"host": "b"}}}}), "rewrite.authority"),
        (request(json!({"set": {"host": "a"}, "add": {":authority": "b"}})), "headers.request.add[:authority]"),
        (request(json!({"set": {"a b": "c"}})), "headers.request.set[a b]"),
        (request(json!({"set": {"a": "b\nc"}})), "headers.request.set[a]"),
        (request(json!({"add": {"a": "%PROTOCOL%"}})), "headers.request.add[a]"),
        (request(json!({"remove": ["host"]})), "headers.request.remove[0]"),
        (json!({"headers": {"response": {"set": {":status": "1"}}}}), "headers.response.set[:status]"),
        (json!({"corsPolicy": {"allowOrigins": [{"regex": "("}]}}), "corsPolicy.allowOrigins[0].regex"),
        (json!({"corsPolicy": {"allowOrigins": [{"exact": "*"}], "maxAge": "1.5s"}}), "corsPolicy.maxAge"),
        (
            json!({"corsPolicy": {"allowOrigins": [{"exact": "*"}], "allowMethods": ["G T"]}}),
            "corsPolicy.allowMethods[0]",
        ),
        (
            json!({"corsPolicy": {"allowOrigins": [{"exact": "*"}], "unmatchedPreflights": "DROP"}}),
            "corsPolicy.unmatchedPreflights",
        ),
    ] {
        let found = wrong(Kind::VirtualService, with(more.clone()));
        assert_eq!(found.first().map(String::as_str), Some(&*format!("spec.http[0].{path}")), "{more} {found:?}");
    }
}

#[test]
fn what_is_wrong_with_rules_for_connections_is_named() {
    let to = json!([{"destination": {"host": "a"}}]);
    for (spec, path) in [
        (json!({"tls": [{"route": to}]}), "tls[0].match"),
        (json!({"tls": [{"match": [{}], "route": to}]}), "tls[0].match[0].sniHosts"),
        (json!({"tls": [{"match": [{"sniHosts": ["b.example"]}], "route": to}]}), "tls[0].match[0].sniHosts[0]"),
        (json!({"tcp": [{"match": [{"sniHosts": ["a"]}], "route": to}]}), "tcp[0].match[0].sniHosts"),
        (
            json!({"tcp": [{"match": [{"destinationSubnets": ["10.0.0.0/33"]}], "route": to}]}),
            "tcp[0].match[0].destinationSubnets[0]",
        ),
        (json!({"tcp": [{"match": [{"sourceSubnet": "a"}], "route": to}]}), "tcp[0].match[0].sourceSubnet"),
        (json!({"tcp": [{"match": [{"port": -1}], "route": to}]}), "tcp[0].match[0].port"),
        (json!({"tcp": [{}]}), "tcp[0].route"),
        (json!({"tcp": [{"route": [{"destination": {"host": "a"}, "headers": {}}]}]}), "tcp[0].route[0].headers"),
    ] {
        let mut whole = spec.clone();
        whole["hosts"] = json!(["a.example"]);
        assert_eq!(wrong(Kind::VirtualService, written(whole)), [format!("spec.{path}")], "{spec}");
    }
}

#[test]
fn authors_of_virtual_services_are_told_what_has_no_effect() {
    let to = json!([{"destination": {"host": "a"}}]);
    let warning = |path: &str| vec![(Severity::Warning, path.to_owned())];
    let source = json!([{"match": [{"sourceLabels": {"app": "a"}}], "route": to}]);
    for (spec, expected) in [
        (json!({"http": [{"route": to}]}), vec![]),
        (json!({"http": [{"route": to}, {"match": [{"uri": {"exact": "/a"}}], "route": to}]}), warning("spec.http[1]")),
        (json!({"http": [{"match": [{"uri": {"prefix": "/"}}], "route": to}, {"route": to}]}), warning("spec.http[1]")),
        (json!({"http": [{"match": [{"uri": {"prefix": "/"}, "port": 1}], "route": to}, {"route": to}]}), vec![]),
        (json!({"tcp": [{"route": to}, {"route": to}]}), warning("spec.tcp[1]")),
        (json!({"http": source}), vec![]),
        (json!({"http": source, "gateways": ["g", "mesh"]}), vec![]),
        (json!({"http": source, "gateways": ["g"]}), warning("spec.http[0].match[0]")),
        (json!({"tcp": source, "gateways": ["g"]}), warning("spec.tcp[0].match[0]")),
        (
            json!({"http": [{"match": [{"headers": {"uri": {"exact": "/a"}}}], "route": to}]}),
            warning("spec.http[0].match[0].headers[uri]"),
        ),
        (
            json!({"http": [{"fault": {"abort": {"httpStatus": 500}}, "route": to}]}),
            warning("spec.http[0].fault.abort.percentage"),
        ),
        (
            json!({"http": [{"retries": {"attempts": 1, "retryOn": "retriable-headers"}, "route": to}]}),
            warning("spec.http[0].retries.retryOn"),
        ),
        (json!({"http": [{"corsPolicy": {}, "route": to}]}), warning("spec.http[0].corsPolicy.allowOrigins")),
        (
            json!({"http": [{"match": [{"statPrefix": "a"}], "route": to}]}),
            vec![(Severity::Notice, "spec.http[0].match[0].statPrefix".to_owned())],
        ),
    ] {
        let mut whole = spec.clone();
        whole["hosts"] = json!(["reviews"]);
        assert_eq!(
            told(Kind::VirtualService, written(whole)),
            {
                let mut expected = expected;
                expected.sort_unstable();
                expected
            },
            "{spec}"
        );
    }
}

#[test]
fn what_is_wrong_with_a_destination_rule_is_named() {
    let policy = |policy: Value| json!({"host": "a", "trafficPolicy": policy});
    let hash = |hash: Value| policy(json!({"loadBalancer": {"consistentHash": hash}}));
    let tls = |tls: Value| policy(json!({ "tls": tls }));
    let locality = |setting: Value| policy(json!({"loadBalancer": {"localityLbSetting": setting}}));
    let (balancer, pool) = ("spec.trafficPolicy.loadBalancer", "spec.trafficPolicy.connectionPool");
    let outliers = "spec.trafficPolicy.outlierDetection";
    for (spec, path) in [
        (json!({}), "spec.host".to_owned()),
        (json!({"host": "a", "subset": []}), "spec.subset".to_owned()),
        (json!({"host": "a", "subsets": [{"name": "V1"}]}), "spec.subsets[0].name".to_owned()),
        (json!({"host": "a", "subsets": [{"name": "v"}, {"name": "v"}]}), "spec.subsets[1].name".to_owned()),
        (
            json!({"host": "a", "subsets": [{"name": "v", "labels": {"a": "b c"}}]}),
            "spec.subsets[0].labels[a]".to_owned(),
        ),
        (
            json!({"host": "a", "workloadSelector": {"labels": {"a": "b"}, "matchLabels": {"a": "b"}}}),
            "spec.workloadSelector.labels".to_owned(),
        ),
        (policy(json!({"loadBalancer": {"simple": "FASTEST"}})), format!("{balancer}.simple")),
        (
            policy(json!({"loadBalancer": {"simple": "RANDOM", "consistentHash": {"useSourceIp": true}}})),
            format!("{balancer}.simple"),
        ),
        (hash(json!({})), format!("{balancer}.consistentHash")),
        (hash(json!({"useSourceIp": true, "httpHeaderName": "a"})), format!("{balancer}.consistentHash")),
        (
            hash(json!({"useSourceIp": true, "maglev": {"tableSize": 65536}})),
            format!("{balancer}.consistentHash.maglev.tableSize"),
        ),
        (
            hash(json!({"useSourceIp": true, "maglev": {"tableSize": 5_000_011}})),
            format!("{balancer}.consistentHash.maglev.tableSize"),
        ),
        (
            hash(json!({"useSourceIp": true, "maglev": {"tableSize": 7}, "ringHash": {}})),
            format!("{balancer}.consistentHash"),
        ),
        (hash(json!({"httpCookie": {"name": ""}})), format!("{balancer}.consistentHash.httpCookie.name")),
        (policy(json!({"loadBalancer": {"warmup": {}}})), format!("{balancer}.warmup.duration")),
        (
            policy(json!({"loadBalancer": {"warmup": {"duration": "1s", "minimumPercent": 101}}})),
            format!("{balancer}.warmup.minimumPercent"),
        ),
        (
            policy(json!({"loadBalancer": {"warmup": {"duration": "1s", "aggression": 0}}})),
            format!("{balancer}.warmup.aggression"),
        ),
        (locality(json!({"locality": 1})), format!("{balancer}.localityLbSetting.locality")),
        (
            locality(json!({"distribute": [{"from": "a", "to": {"a": 100}}], "failoverPriority": ["a"]})),
            format!("{balancer}.localityLbSetting.distribute"),
        ),
        (
            locality(json!({"distribute": [{"from": "a/*/b", "to": {"a": 100}}]})),
            format!("{balancer}.localityLbSetting.distribute[0].from"),
        ),
        (
            locality(json!({"distribute": [{"from": "a", "to": {"a": 100}}, {"from": "a/b", "to": {"a": 100}}]})),
            format!("{balancer}.localityLbSetting.distribute[1].from"),
        ),
        (
            locality(json!({"distribute": [{"from": "a", "to": {"a": 80, "b": 10}}]})),
            format!("{balancer}.localityLbSetting.distribute[0].to"),
        ),
        (
            locality(json!({"distribute": [{"from": "a", "to": {"a": 80, "a/b": 20}}]})),
            format!("{balancer}.localityLbSetting.distribute[0].to[a/b]"),
        ),
        (
            locality(json!({"distribute": [{"from": "a", "to": {"a": 100, "b": 0}}]})),
            format!("{balancer}.localityLbSetting.distribute[0].to[b]"),
        ),
        (
            locality(json!({"failover": [{"from": "a", "to": "a"}]})),
            format!("{balancer}.localityLbSetting.failover[0].to"),
        ),
        (
            locality(json!({"failover": [{"from": "a/b", "to": "a"}]})),
            format!("{balancer}.localityLbSetting.failover[0].from"),
        ),
        (
            locality(json!({"failoverPriority": ["a", "a=b"]})),
            format!("{balancer}.localityLbSetting.failoverPriority[1]"),
        ),
        (policy(json!({"connectionPool": {}})), pool.to_owned()),
        (policy(json!({"connectionPool": {"tcp": {"maxConnections": -1}}})), format!("{pool}.tcp.maxConnections")),
        (policy(json!({"connectionPool": {"tcp": {"connectTimeout": "0s"}}})), format!("{pool}.tcp.connectTimeout")),
        (
            policy(json!({"connectionPool": {"http": {"http2KeepAlive": {"interval": "1s"}}}})),
            format!("{pool}.http.http2KeepAlive.timeout"),
        ),
        (
            policy(json!({"connectionPool": {"http": {"h2UpgradePolicy": "UPGRADE", "useClientProtocol": true}}})),
            format!("{pool}.http.useClientProtocol"),
        ),
        (policy(json!({"outlierDetection": {"maxEjectionPercent": 101}})), format!("{outliers}.maxEjectionPercent")),
        (
            policy(json!({"outlierDetection": {"consecutiveLocalOriginFailures": 1}})),
            format!("{outliers}.consecutiveLocalOriginFailures"),
        ),
        (
            policy(json!({"outlierDetection": {"outlierDetectionHttpErrorCodes": [99]}})),
            format!("{outliers}.outlierDetectionHttpErrorCodes[0]"),
        ),
        (tls(json!({"mode": "ON"})), "spec.trafficPolicy.tls.mode".to_owned()),
        (tls(json!({"mode": "MUTUAL", "clientCertificate": "a"})), "spec.trafficPolicy.tls.privateKey".to_owned()),
        (
            tls(json!({"mode": "ISTIO_MUTUAL", "caCertificates": "a"})),
            "spec.trafficPolicy.tls.caCertificates".to_owned(),
        ),
        (
            tls(json!({"mode": "SIMPLE", "credentialName": "a", "caCrl": "b"})),
            "spec.trafficPolicy.tls.caCrl".to_owned(),
        ),
        (
            policy(json!({"portLevelSettings": [{"tls": {}}]})),
            "spec.trafficPolicy.portLevelSettings[0].port".to_owned(),
        ),
        (
            policy(json!({"portLevelSettings": [{"port": {"number": 80}, "retryBudget": {}}]})),
            "spec.trafficPolicy.portLevelSettings[0].retryBudget".to_owned(),
        ),
        (policy(json!({"retryBudget": {"percent": 101}})), "spec.trafficPolicy.retryBudget.percent".to_owned()),
        (policy(json!({"proxyProtocol": {"version": "V3"}})), "spec.trafficPolicy.proxyProtocol.version".to_owned()),
        (policy(json!({"loadBalancers": {}})), "spec.trafficPolicy.loadBalancers".to_owned()),
    ] {
        assert_eq!(wrong(Kind::DestinationRule, written(spec.clone())), [path], "{spec}");
    }
}

#[test]
fn a_destination_rule_says_what_it_says() {
    use ambit_model::destination::{
        Balance, ConnectionPool, HashAlgorithm, HashKey, OutlierDetection, Simple, TlsMode,
    };
    use std::time::Duration;
    let read = |policy: Value| {
        let object = written(json!({"host": "reviews", "trafficPolicy": policy}));
        let Resource::DestinationRule(rule) = super::read(Kind::DestinationRule, object).unwrap().resource else {
            panic!()
        };
        assert_eq!(rule.host.as_str(), "reviews.shop.svc.cluster.local");
        rule.policy.clone().unwrap()
    };
    let balance = |balancer: Value| read(json!({ "loadBalancer": balancer })).settings.load_balancer.unwrap().balance;
    for (simple, expected) in [
        ("LEAST_CONN", Simple::LeastRequest),
        ("LEAST_REQUEST", Simple::LeastRequest),
        ("UNSPECIFIED", Simple::LeastRequest),
        ("ROUND_ROBIN", Simple::RoundRobin),
        ("RANDOM", Simple::Random),
        ("PASSTHROUGH", Simple::Passthrough),
    ] {
        assert_eq!(balance(json!({ "simple": simple })), Balance::Simple(expected));
    }
    for (hash, key, algorithm) in [
        (json!({"httpHeaderName": "X-User"}), HashKey::Header("x-user".into()), HashAlgorithm::Ring(1024)),
        (json!({"useSourceIp": true, "ringHash": {"minimumRingSize": 7}}), HashKey::SourceIp, HashAlgorithm::Ring(7)),
        (
            json!({"httpQueryParameterName": "u", "maglev": {"tableSize": 65537}}),
            HashKey::Parameter("u".into()),
            HashAlgorithm::Maglev(65_537),
        ),
        (json!({"useSourceIp": true, "maglev": {"tableSize": 251}}), HashKey::SourceIp, HashAlgorithm::Maglev(251)),
    ] {
        assert_eq!(balance(json!({ "consistentHash": hash })), Balance::Hash(key, algorithm), "{hash}");
    }
    // A pool of 100 connections, and at most 10 requests on each.
    let pool =
        read(json!({"connectionPool": {"tcp": {"maxConnections": 100}, "http": {"maxRequestsPerConnection": 10}}}));
    let expected = ConnectionPool {
        max_connections: Some(100),
        max_requests_per_connection: Some(10),
        ..ConnectionPool::default()
    };
    assert_eq!(pool.settings.connection_pool, Some(expected));
    let idle = read(json!({"connectionPool": {"tcp": {"idleTimeout": "0s"}}})).settings.connection_pool.unwrap();
    assert_eq!(idle.tcp_idle_timeout, None);
    // Seven errors one after the other: for 15 minutes, looked at every 5.
    let outliers = json!({"consecutive5xxErrors": 7, "interval": "5m", "baseEjectionTime": "15m"});
    let expected = OutlierDetection {
        consecutive_5xx: Some(7),
        interval: Duration::from_secs(300),
        base_ejection_time: Duration::from_secs(900),
        ..OutlierDetection::default()
    };
    assert_eq!(read(json!({ "outlierDetection": outliers })).settings.outlier_detection, Some(expected));
    let off = read(json!({"outlierDetection": {"consecutive5xxErrors": 0, "consecutiveGatewayErrors": 3}}));
    let off = off.settings.outlier_detection.unwrap();
    assert_eq!((off.consecutive_5xx, off.consecutive_gateway), (None, Some(3)));
    for (mode, expected) in
        [("DISABLE", TlsMode::Disable), ("SIMPLE", TlsMode::Simple), ("ISTIO_MUTUAL", TlsMode::IstioMutual)]
    {
        assert_eq!(read(json!({"tls": {"mode": mode}})).settings.tls.unwrap().mode, expected);
    }
    let ports = read(json!({"portLevelSettings": [{"port": {"number": 80}, "tls": {"mode": "SIMPLE"}}]})).ports;
    assert_eq!(ports[&80].tls.as_ref().unwrap().mode, TlsMode::Simple);
}

#[test]
fn a_destination_rule_says_how_load_keeps_to_places() {
    use ambit_model::destination::{ByLocality, Distribute, FailoverLabel, Place};
    use std::collections::BTreeMap;
    let read = |balancer: Value| {
        let object = written(json!({"host": "reviews", "trafficPolicy": {"loadBalancer": balancer}}));
        let Resource::DestinationRule(rule) = super::read(Kind::DestinationRule, object).unwrap().resource else {
            panic!()
        };
        rule.policy.clone().unwrap().settings.load_balancer.unwrap().locality
    };
    let locality = |setting: Value| read(json!({ "localityLbSetting": setting }));
    let place = |parts: &[&str]| {
        let mut parts = parts.iter().map(|part| (*part).into());
        Place { region: parts.next(), zone: parts.next(), subzone: parts.next() }
    };
    // What is not said is said for the whole mesh: the nearest first.
    assert_eq!(read(json!({})), Some(ByLocality::default()));
    assert_eq!(locality(json!({"enabled": false, "failoverPriority": ["a"]})), None);
    let to = json!({"eu/a/*": 80, "eu/b": 20});
    let distribute =
        Distribute { from: place(&["eu", "a"]), to: vec![(place(&["eu", "a"]), 80), (place(&["eu", "b"]), 20)] };
    assert_eq!(
        locality(json!({"distribute": [{"from": "eu/a/*", "to": to}]})),
        Some(ByLocality { distribute: vec![distribute], ..ByLocality::default() })
    );
    let any = locality(json!({"distribute": [{"from": "*", "to": {"*": 100}}]})).unwrap();
    assert_eq!(any.distribute, [Distribute { from: Place::default(), to: vec![(Place::default(), 100)] }]);
    let failover = BTreeMap::from([("eu".into(), "us".into())]);
    let label = |key: &str, value: Option<&str>| FailoverLabel { key: key.into(), value: value.map(Into::into) };
    let failover_priority = vec![label("app", None), label("version", Some("v2"))];
    assert_eq!(
        locality(json!({
            "failover": [{"from": "eu", "to": "us"}],
            "failoverPriority": ["app", "version=v2"]
        })),
        Some(ByLocality { failover, failover_priority, distribute: Vec::new() })
    );
}
