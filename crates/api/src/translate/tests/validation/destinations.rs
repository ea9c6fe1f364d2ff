//! DestinationRules (Istio's `TestValidateDestinationRule`, `TestValidateTrafficPolicy` and what these call).

use super::*;

fn check_all(rows: Vec<(&str, Value, Becomes)>) {
    check(Kind::DestinationRule, rows);
}

/// A DestinationRule for `reviews` with these fields.
fn with(more: &Value) -> Value {
    let mut spec = json!({"host": "reviews"});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    of(spec)
}

/// One with this trafficPolicy.
fn policy(policy: &Value) -> Value {
    with(&json!({ "trafficPolicy": policy }))
}

#[test]
fn subsets_and_who_sees_them() {
    let subsets = |subsets: Value| with(&json!({ "subsets": subsets }));
    let selecting = |names: Value| with(&json!({"workloadSelector": {"matchLabels": {"app": "a"}}, "exportTo": names}));
    check_all(vec![
        ("simple destination rule", subsets(json!([{"name": "foo"}, {"name": "bar"}])), Accepted),
        (
            "simple destination rule with empty selector labels",
            with(&json!({"workloadSelector": {}})),
            Warned("spec.workloadSelector.matchLabels: is empty"),
        ),
        ("missing destination name", of(json!({})), Refused("spec.host: ")),
        ("missing subset name", subsets(json!([{"name": ""}])), Refused("spec.subsets[0].name: ")),
        (
            "duplicate subset names",
            subsets(json!([{"name": "foo"}, {"name": "foo"}])),
            Refused("spec.subsets[1].name: "),
        ),
        (
            "invalid traffic policy, subset level",
            subsets(json!([{"name": "foo", "trafficPolicy": {}}])),
            Refused("spec.subsets[0].trafficPolicy: says nothing"),
        ),
        (
            "duplicate namespaces in exportTo is not okay",
            with(&json!({"exportTo": ["a", "a"]})),
            Refused("spec.exportTo[1]: "),
        ),
        (
            "destination rule with workloadselector cannot have exportTo (*)",
            selecting(json!(["*"])),
            Refused("spec.exportTo: stands beside a workloadSelector"),
        ),
        ("destination rule with workloadselector can have only exportTo (.)", selecting(json!(["."])), Accepted),
        ("its own namespace by name", selecting(json!(["shop"])), Accepted),
        (
            "destination rule with workloadselector cannot have another ns in exportTo",
            selecting(json!(["somens"])),
            Refused("spec.exportTo: stands beside a workloadSelector"),
        ),
        (
            "destination rule with workloadselector cannot have another ns in addition to own ns in exportTo",
            selecting(json!([".", "somens"])),
            Refused("spec.exportTo: stands beside a workloadSelector"),
        ),
    ]);
}

#[test]
fn traffic_policies() {
    let ports = |setting: Value| policy(&json!({ "portLevelSettings": [setting] }));
    let tunnel = |tunnel: Value| policy(&json!({ "tunnel": tunnel }));
    let path = "spec.trafficPolicy.tunnel: is not in effect";
    check_all(vec![
        ("invalid traffic policy, nil entries", policy(&json!({})), Refused("spec.trafficPolicy: says nothing")),
        ("valid traffic policy", policy(&json!({"loadBalancer": {"simple": "ROUND_ROBIN"}})), Accepted),
        ("a retry budget is something", policy(&json!({"retryBudget": {}})), Accepted),
        (
            "invalid traffic policy, missing port in port level settings",
            ports(json!({"loadBalancer": {"simple": "ROUND_ROBIN"}})),
            Refused("spec.trafficPolicy.portLevelSettings[0].port: "),
        ),
        (
            "port traffic policy must have at least one field",
            ports(json!({"port": {"number": 80}})),
            Refused("spec.trafficPolicy.portLevelSettings[0]: says nothing"),
        ),
        ("tunnel", tunnel(json!({"targetHost": "example.com", "targetPort": 443})), Warned(path)),
        ("tunnel", tunnel(json!({"protocol": "POST", "targetHost": "192.0.2.1", "targetPort": 65535})), Warned(path)),
        (
            "tunnel protocol must be CONNECT or POST",
            tunnel(json!({"protocol": "UDP", "targetHost": "example.com", "targetPort": 443})),
            Refused("spec.trafficPolicy.tunnel.protocol: \"UDP\""),
        ),
        (
            "tunnel target host must be valid FQDN or IP address",
            tunnel(json!({"targetHost": "exa mple", "targetPort": 443})),
            Refused("spec.trafficPolicy.tunnel.targetHost: "),
        ),
        (
            "tunnel target port is invalid",
            tunnel(json!({"targetHost": "example.com", "targetPort": 0})),
            Refused("spec.trafficPolicy.tunnel.targetPort: "),
        ),
        (
            "tunnel and proxyProtocol must not be set together",
            policy(&json!({"tunnel": {"targetHost": "a.b", "targetPort": 1}, "proxyProtocol": {"version": "V2"}})),
            Refused("spec.trafficPolicy.tunnel: stands beside proxyProtocol"),
        ),
        ("proxyProtocol", policy(&json!({"proxyProtocol": {"version": "V2"}})), Accepted),
    ]);
}

#[test]
fn connection_pools() {
    let pool = |pool: Value| policy(&json!({ "connectionPool": pool }));
    let (tcp, http) = (|tcp: Value| pool(json!({ "tcp": tcp })), |http: Value| pool(json!({ "http": http })));
    let ping = |ping: Value| http(json!({ "http2KeepAlive": ping }));
    check_all(vec![
        (
            "valid connection pool, tcp and http",
            pool(json!({"tcp": {"maxConnections": 7}, "http": {"maxRetries": 2}})),
            Accepted,
        ),
        ("invalid connection pool, empty", pool(json!({})), Refused("spec.trafficPolicy.connectionPool: is empty")),
        (
            "invalid connection pool, bad max connections",
            tcp(json!({"maxConnections": -1})),
            Refused("spec.trafficPolicy.connectionPool.tcp.maxConnections: "),
        ),
        (
            "invalid connection pool, bad connect timeout",
            tcp(json!({"connectTimeout": "0.002001s"})),
            Refused("spec.trafficPolicy.connectionPool.tcp.connectTimeout: "),
        ),
        (
            "invalid traffic policy, bad max connection duration",
            tcp(json!({"maxConnectionDuration": "500ns"})),
            Refused("spec.trafficPolicy.connectionPool.tcp.maxConnectionDuration: "),
        ),
        ("valid connection pool, tcp timeout disabled", tcp(json!({"idleTimeout": "0s"})), Accepted),
        (
            "invalid connection pool, bad max pending requests",
            http(json!({"http1MaxPendingRequests": -1})),
            Refused("spec.trafficPolicy.connectionPool.http.http1MaxPendingRequests: "),
        ),
        (
            "invalid connection pool, bad max requests",
            http(json!({"http2MaxRequests": -1})),
            Refused("spec.trafficPolicy.connectionPool.http.http2MaxRequests: "),
        ),
        (
            "invalid connection pool, bad max requests per connection",
            http(json!({"maxRequestsPerConnection": -1})),
            Refused("spec.trafficPolicy.connectionPool.http.maxRequestsPerConnection: "),
        ),
        (
            "invalid connection pool, bad max retries",
            http(json!({"maxRetries": -1})),
            Refused("spec.trafficPolicy.connectionPool.http.maxRetries: "),
        ),
        (
            "invalid connection pool, bad max concurrent streams",
            http(json!({"maxConcurrentStreams": -1})),
            Refused("spec.trafficPolicy.connectionPool.http.maxConcurrentStreams: "),
        ),
        (
            "invalid connection pool, bad idle timeout",
            http(json!({"idleTimeout": "0.0005s"})),
            Refused("spec.trafficPolicy.connectionPool.http.idleTimeout: "),
        ),
        (
            "invalid traffic policy, both upgrade and use client protocol set",
            http(json!({"h2UpgradePolicy": "UPGRADE", "useClientProtocol": true})),
            Refused("spec.trafficPolicy.connectionPool.http.useClientProtocol: "),
        ),
        ("valid connection pool, http2 keepalive", ping(json!({"interval": "10s", "timeout": "5s"})), Accepted),
        (
            "invalid connection pool, http2 keepalive without interval",
            ping(json!({"timeout": "5s"})),
            Refused("spec.trafficPolicy.connectionPool.http.http2KeepAlive.interval: "),
        ),
        (
            "invalid connection pool, http2 keepalive without timeout",
            ping(json!({"interval": "5s"})),
            Refused("spec.trafficPolicy.connectionPool.http.http2KeepAlive.timeout: "),
        ),
    ]);
}

#[test]
fn load_balancers() {
    let hash = |more: Value| {
        let mut hash = json!({"useSourceIp": true});
        hash.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        policy(&json!({"loadBalancer": {"consistentHash": hash}}))
    };
    let cookie = |attributes: Value| {
        let cookie = json!({"name": "test", "ttl": "3s", "attributes": attributes});
        policy(&json!({"loadBalancer": {"consistentHash": {"httpCookie": cookie}}}))
    };
    let unnamed = policy(&json!({"loadBalancer": {"consistentHash": {"httpCookie": {"ttl": "3s"}}}}));
    let size = |size: i64| hash(json!({"maglev": {"tableSize": size}}));
    let warmup = |warmup: Value| policy(&json!({"loadBalancer": {"simple": "ROUND_ROBIN", "warmup": warmup}}));
    let path = "spec.trafficPolicy.loadBalancer.consistentHash.maglev.tableSize: ";
    check_all(vec![
        (
            "valid load balancer with consistentHash load balancing",
            hash(json!({"ringHash": {"minimumRingSize": 1024}})),
            Accepted,
        ),
        (
            "consistent hash MinimumRingSize is deprecated",
            hash(json!({"minimumRingSize": 1024})),
            Warned("spec.trafficPolicy.loadBalancer.consistentHash.minimumRingSize: "),
        ),
        (
            "only one of MinimumRingSize or Maglev/Ringhash can be specified",
            hash(json!({"minimumRingSize": 1024, "maglev": {"tableSize": 7}})),
            Refused("spec.trafficPolicy.loadBalancer.consistentHash: says more"),
        ),
        (
            "invalid load balancer with consistentHash load balancing, missing name",
            unnamed,
            Refused("spec.trafficPolicy.loadBalancer.consistentHash.httpCookie.name: "),
        ),
        (
            "tableSize must be set for maglev",
            hash(json!({"maglev": {}})),
            Refused("spec.trafficPolicy.loadBalancer.consistentHash.maglev.tableSize: is missing"),
        ),
        ("invalid load balancer with consistentHash load balancing, maglev not prime", size(1000), Refused(path)),
        ("maglev prime", size(997), Accepted),
        ("the largest prime below the limit", size(4_999_999), Accepted),
        ("tableSize must be less than 5000011 for maglev", size(5_000_011), Refused(path)),
        (
            "valid load balancer with consistentHash load balancing and unique cookie attributes",
            cookie(json!([{"name": "a"}, {"name": "b", "value": "c"}])),
            Accepted,
        ),
        (
            "invalid load balancer with consistentHash load balancing and duplicate cookie attribute names",
            cookie(json!([{"name": "a"}, {"name": "a"}])),
            Refused("spec.trafficPolicy.loadBalancer.consistentHash.httpCookie.attributes[1].name: "),
        ),
        (
            "invalid load balancer with consistentHash load balancing and empty cookie attribute name",
            cookie(json!([{"name": ""}])),
            Refused("spec.trafficPolicy.loadBalancer.consistentHash.httpCookie.attributes[0].name: "),
        ),
        ("valid: warmup", warmup(json!({"duration": "3s", "minimumPercent": 100, "aggression": 1.0})), Accepted),
        (
            "invalid: warmup without duration",
            warmup(json!({})),
            Refused("spec.trafficPolicy.loadBalancer.warmup.duration: "),
        ),
        (
            "minimumPercent value should be less than or equal to 100",
            warmup(json!({"duration": "3s", "minimumPercent": 104})),
            Refused("spec.trafficPolicy.loadBalancer.warmup.minimumPercent: "),
        ),
        (
            "aggression should be greater than 0",
            warmup(json!({"duration": "3s", "aggression": 0})),
            Refused("spec.trafficPolicy.loadBalancer.warmup.aggression: "),
        ),
    ]);
}

#[test]
fn places_and_endpoints_that_fail() {
    let locality = |setting: Value, ejects: bool| {
        let outliers = if ejects { json!({"consecutive5xxErrors": 5}) } else { json!(null) };
        policy(&json!({"loadBalancer": {"localityLbSetting": setting}, "outlierDetection": outliers}))
    };
    let distribute = |to: Value| locality(json!({"distribute": [{"from": "a/b/c", "to": to}]}), false);
    let failover = |from: &str, to: &str| locality(json!({"failover": [{"from": from, "to": to}]}), true);
    let outliers = |outliers: Value| policy(&json!({ "outlierDetection": outliers }));
    check_all(vec![
        ("valid mesh config with LocalityLoadBalancerSetting", distribute(json!({"a/b/c": 80, "a/b1": 20})), Accepted),
        (
            "invalid LocalityLoadBalancerSetting_Distribute total weight > 100",
            distribute(json!({"a/b/c": 80, "a/b1": 25})),
            Refused("spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[0].to: has shares of 105"),
        ),
        (
            "invalid LocalityLoadBalancerSetting_Distribute total weight < 100",
            distribute(json!({"a/b/c": 80, "a/b1": 15})),
            Refused("spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[0].to: has shares of 95"),
        ),
        (
            "invalid LocalityLoadBalancerSetting_Distribute weight = 0",
            distribute(json!({"a/b/c": 100, "a/b1": 0})),
            Refused("spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[0].to[a/b1]: "),
        ),
        (
            "invalid LocalityLoadBalancerSetting specify both distribute and failover",
            locality(
                json!({"distribute": [{"from": "a", "to": {"a": 100}}], "failover": [{"from": "r1", "to": "r2"}]}),
                true,
            ),
            Refused("spec.trafficPolicy.loadBalancer.localityLbSetting.distribute: "),
        ),
        (
            "invalid failover src and dst have same region",
            failover("region1", "region1"),
            Refused("spec.trafficPolicy.loadBalancer.localityLbSetting.failover[0].to: "),
        ),
        (
            "invalid failover src contain '*' wildcard",
            failover("*", "region2"),
            Refused("spec.trafficPolicy.loadBalancer.localityLbSetting.failover[0].from: "),
        ),
        (
            "invalid failover dst contain '/' separator",
            failover("region1", "region2/zone1"),
            Refused("spec.trafficPolicy.loadBalancer.localityLbSetting.failover[0].to: "),
        ),
        ("valid failover", failover("region1", "region2"), Accepted),
        (
            "outlier detection policy must be provided for failover",
            locality(json!({"failoverPriority": ["app"]}), false),
            Warned("spec.trafficPolicy.loadBalancer.localityLbSetting: stands without outlierDetection"),
        ),
        (
            "failover with a label",
            locality(json!({"failover": [{"from": "a", "to": "b"}], "failoverPriority": ["app"]}), true),
            Accepted,
        ),
        (
            "failover and topology label",
            locality(
                json!({"failover": [{"from": "a", "to": "b"}], "failoverPriority": ["topology.kubernetes.io/region"]}),
                true,
            ),
            Refused("spec.trafficPolicy.loadBalancer.localityLbSetting.failoverPriority[0]: is a place"),
        ),
        (
            "only one of localityLbSetting and zoneAwareLbSetting can be set",
            policy(&json!({"loadBalancer": {"localityLbSetting": {}, "zoneAwareLbSetting": {}}})),
            Refused("spec.trafficPolicy.loadBalancer.zoneAwareLbSetting: "),
        ),
        (
            "valid outlier detection",
            outliers(json!({"interval": "2s", "baseEjectionTime": "2s", "maxEjectionPercent": 100})),
            Accepted,
        ),
        (
            "invalid outlier detection, bad interval",
            outliers(json!({"interval": "0.0005s"})),
            Refused("spec.trafficPolicy.outlierDetection.interval: "),
        ),
        (
            "invalid outlier detection, bad base ejection time",
            outliers(json!({"baseEjectionTime": "0.0005s"})),
            Refused("spec.trafficPolicy.outlierDetection.baseEjectionTime: "),
        ),
        (
            "invalid outlier detection, bad max ejection percent",
            outliers(json!({"maxEjectionPercent": 105})),
            Refused("spec.trafficPolicy.outlierDetection.maxEjectionPercent: "),
        ),
        (
            "invalid outlier detection, panic threshold too low",
            outliers(json!({"minHealthPercent": -1})),
            Refused("spec.trafficPolicy.outlierDetection.minHealthPercent: "),
        ),
        (
            "invalid outlier detection, panic threshold too high",
            outliers(json!({"minHealthPercent": 101})),
            Refused("spec.trafficPolicy.outlierDetection.minHealthPercent: "),
        ),
        (
            "deprecated outlier detection, ConsecutiveErrors",
            outliers(json!({"consecutiveErrors": 101})),
            Warned("spec.trafficPolicy.outlierDetection.consecutiveErrors: "),
        ),
        (
            "consecutive local origin errors is set but split local origin errors is not set",
            outliers(json!({"consecutiveLocalOriginFailures": 10})),
            Refused("spec.trafficPolicy.outlierDetection.consecutiveLocalOriginFailures: "),
        ),
        (
            "consecutive local origin errors",
            outliers(json!({"consecutiveLocalOriginFailures": 10, "splitExternalLocalOriginErrors": true})),
            Accepted,
        ),
    ]);
}

#[test]
fn tls() {
    let tls = |tls: Value| policy(&json!({ "tls": tls }));
    let skip = |mode: &str, more: Value| {
        let mut whole = json!({"mode": mode, "insecureSkipVerify": true});
        whole.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        tls(whole)
    };
    let own = json!({"clientCertificate": "/c", "privateKey": "/k"});
    let and = |more: Value| {
        let mut whole = own.clone();
        whole.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        whole
    };
    let refused = Refused("spec.trafficPolicy.tls.insecureSkipVerify: contradicts");
    check_all(vec![
        (
            "InsecureSkipVerify is not specified with tls mode simple, and the ca cert is specified by CaCertificates",
            tls(json!({"mode": "SIMPLE", "caCertificates": "test"})),
            Accepted,
        ),
        ("InsecureSkipVerify is set true with tls mode simple", skip("SIMPLE", json!({})), Accepted),
        (
            "InsecureSkipVerify is set true with tls mode simple, and the ca cert is specified by CaCertificates",
            skip("SIMPLE", json!({"caCertificates": "test"})),
            refused,
        ),
        (
            "InsecureSkipVerify is set true with tls mode simple, and the san is specified",
            skip("SIMPLE", json!({"subjectAltNames": ["a"]})),
            refused,
        ),
        (
            "InsecureSkipVerify is set true with tls mode mutual, and the ca cert is specified by CaCertificates",
            skip("MUTUAL", and(json!({"caCertificates": "test"}))),
            refused,
        ),
        (
            "InsecureSkipVerify is set true with tls mode mutual, and the ca cert is not specified",
            skip("MUTUAL", own.clone()),
            Accepted,
        ),
        (
            "InsecureSkipVerify is set true with tls mode mutual, and the san is specified",
            skip("MUTUAL", and(json!({"subjectAltNames": ["a"]}))),
            refused,
        ),
        (
            "client certificate required for mutual tls",
            tls(json!({"mode": "MUTUAL", "privateKey": "/k"})),
            Refused("spec.trafficPolicy.tls.clientCertificate: "),
        ),
        (
            "private key required for mutual tls",
            tls(json!({"mode": "MUTUAL", "clientCertificate": "/c"})),
            Refused("spec.trafficPolicy.tls.privateKey: "),
        ),
        (
            "cannot specify client certificates or CA certificate or CA CRL If credentialName is set",
            tls(json!({"mode": "MUTUAL", "credentialName": "x", "caCrl": "y"})),
            Refused("spec.trafficPolicy.tls.caCrl: "),
        ),
        (
            "InsecureSkipVerify is set true with tls mode simple, and the ca cert is specified by CredentialName",
            skip("SIMPLE", json!({"credentialName": "x"})),
            refused,
        ),
        (
            "InsecureSkipVerify is set true with tls mode mutual, and the ca cert is specified by CredentialName",
            skip("MUTUAL", json!({"credentialName": "x"})),
            Warned("spec.trafficPolicy.tls.credentialName: "),
        ),
        (
            "ISTIO_MUTUAL with certificates",
            tls(json!({"mode": "ISTIO_MUTUAL", "clientCertificate": "/c"})),
            Refused("spec.trafficPolicy.tls.clientCertificate: "),
        ),
    ]);
}
