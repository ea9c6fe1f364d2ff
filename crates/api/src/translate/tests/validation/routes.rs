//! VirtualServices (Istio's `TestValidateVirtualService`, `TestValidateHTTPRoute` and what these call).

use super::*;

fn check_all(rows: Vec<(&str, Value, Becomes)>) {
    check(Kind::VirtualService, rows);
}

fn to() -> Value {
    json!([{"destination": {"host": "a.b"}}])
}

/// A VirtualService for `foo.bar` with these fields.
fn service(more: &Value) -> Value {
    let mut spec = json!({"hosts": ["foo.bar"]});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    of(spec)
}

/// One with this rule for requests.
fn rule(rule: &Value) -> Value {
    service(&json!({ "http": [rule] }))
}

/// One with a rule that leads somewhere and this.
fn with(more: &Value) -> Value {
    let mut whole = more.clone();
    whole["route"] = to();
    rule(&whole)
}

/// One with a rule for these requests.
fn matching(block: &Value) -> Value {
    with(&json!({ "match": [block] }))
}

#[test]
fn hosts_gateways_and_who_sees_them() {
    let http = json!([{"route": to()}]);
    let hosts = |hosts: Value| of(json!({"hosts": hosts, "http": http}));
    let gateways = |gateways: Value| service(&json!({"gateways": gateways, "http": http}));
    let export = |names: Value| service(&json!({"exportTo": names, "http": http}));
    check_all(vec![
        ("simple", hosts(json!(["foo.bar"])), Accepted),
        ("duplicate hosts", hosts(json!(["*.foo.bar", "*.bar"])), Refused("spec.hosts[1]: *.bar stands in the list")),
        ("duplicate hosts", hosts(json!(["*.foo.bar", "foo.bar"])), Accepted),
        ("bad host", hosts(json!(["foo.ba!r"])), Refused("spec.hosts[0]: ")),
        ("no tcp or http routing", of(json!({"hosts": ["foo.bar"]})), Refused("spec: says nothing")),
        ("bad gateway", gateways(json!(["b@dgateway"])), Refused("spec.gateways[0]: ")),
        (
            "FQDN for gateway",
            gateways(json!(["gateway.example.com"])),
            Warned("spec.gateways[0]: is Istio's old way to name a gateway: write example/gateway"),
        ),
        ("namespace/name for gateway", gateways(json!(["ns1/gateway"])), Accepted),
        ("namespace/* for gateway", gateways(json!(["ns1/*"])), Refused("spec.gateways[0]: ")),
        ("*/name for gateway", gateways(json!(["*/gateway"])), Refused("spec.gateways[0]: ")),
        ("a gateway's name is a label", gateways(json!(["ns1/a.b"])), Refused("spec.gateways[0]: ")),
        (
            "wildcard for mesh gateway",
            of(json!({"hosts": ["*"], "http": http})),
            Refused("spec.hosts[0]: * would take every service"),
        ),
        (
            "wildcard for non-mesh gateway",
            of(json!({"hosts": ["*"], "gateways": ["somegateway"], "http": http})),
            Accepted,
        ),
        ("delegate with no hosts", of(json!({"http": http})), Accepted),
        ("delegate with gateways", of(json!({"gateways": ["mesh"], "http": http})), Refused("spec.gateways: ")),
        (
            "delegate HTTP route cannot contain delegate",
            of(json!({"http": [{"delegate": {"name": "x"}}]})),
            Refused("spec.http[0].delegate: "),
        ),
        ("empty exportTo is okay", export(json!([])), Accepted),
        ("* is allowed", export(json!(["*"])), Accepted),
        (". and ns1 are allowed", export(json!([".", "ns1"])), Accepted),
        ("~ not allowed for non service entry configs", export(json!(["~"])), Refused("spec.exportTo[0]: ~ is for")),
        (". and * together are not allowed", export(json!([".", "*"])), Refused("spec.exportTo[1]: * says it of all")),
        (
            "* and ns1 together are not allowed",
            export(json!(["*", "ns1"])),
            Refused("spec.exportTo[0]: * says it of all"),
        ),
        (
            ". and same namespace in exportTo is not okay",
            export(json!([".", "shop"])),
            Refused("spec.exportTo[1]: shop stands in the list already"),
        ),
        (
            "duplicate namespaces in exportTo is not okay",
            export(json!(["a", "b", "a"])),
            Refused("spec.exportTo[2]: a "),
        ),
        ("invalid namespace names are not okay", export(json!(["ns1_"])), Refused("spec.exportTo[0]: ")),
    ]);
}

#[test]
fn matches() {
    let long = |length: usize| json!({"uri": {"regex": "a".repeat(length)}});
    let header = |text: Value| json!({"headers": {"x": text}});
    let stream = |block: Value| service(&json!({"tls": [{"match": [block], "route": to()}]}));
    check_all(vec![
        ("regex of 1024 bytes", matching(&long(1024)), Accepted),
        ("regex is too large", matching(&long(1025)), Refused("spec.http[0].match[0].uri.regex: has 1025 bytes")),
        (
            "no RE2 expression",
            matching(&json!({"uri": {"regex": "(?!a)b"}})),
            Refused("spec.http[0].match[0].uri.regex: "),
        ),
        (
            "regex should not be empty",
            matching(&json!({"uri": {"regex": ""}})),
            Refused("spec.http[0].match[0].uri.regex: "),
        ),
        ("uri allows empty prefix match", matching(&json!({"uri": {"prefix": ""}})), Accepted),
        (
            "prefix should not be empty",
            matching(&json!({"scheme": {"prefix": ""}})),
            Refused("spec.http[0].match[0].scheme"),
        ),
        (
            "empty prefix header match",
            matching(&header(json!({"prefix": ""}))),
            Refused("spec.http[0].match[0].headers[x]"),
        ),
        ("null header match", matching(&header(json!(null))), Refused("spec.http[0].match[0].headers[x]: is null")),
        ("header that is there", matching(&header(json!({}))), Accepted),
        ("null is presence where there is to be none", matching(&json!({"withoutHeaders": {"x": null}})), Accepted),
        ("* is presence", matching(&json!({"withoutHeaders": {"x": {"regex": "*"}}})), Accepted),
        (
            "header name",
            matching(&json!({"headers": {"a b": {"exact": "c"}}})),
            Refused("spec.http[0].match[0].headers[a b]"),
        ),
        (
            "jwt claim route without gateway",
            matching(&json!({"headers": {"@request.auth.claims.foo": {"exact": "bar"}}})),
            Accepted,
        ),
        ("port", matching(&json!({"port": 65535})), Accepted),
        ("port", matching(&json!({"port": 65536})), Refused("spec.http[0].match[0].port: ")),
        (
            "sourceNamespace",
            matching(&json!({"sourceNamespace": "a.b"})),
            Refused("spec.http[0].match[0].sourceNamespace: "),
        ),
        ("missing tls match", service(&json!({"tls": [{"route": to()}]})), Refused("spec.tls[0].match: ")),
        ("SNI host of the hosts", stream(json!({"sniHosts": ["foo.bar"]})), Accepted),
        (
            "SNI host is not a subset",
            stream(json!({"sniHosts": ["bar.foo"]})),
            Refused("spec.tls[0].match[0].sniHosts[0]: "),
        ),
        (
            "ip address as sni host",
            stream(json!({"sniHosts": ["1.1.1.1"]})),
            Warned("spec.tls[0].match[0].sniHosts[0]: is an address"),
        ),
        (
            "invalid wildcard as sni host",
            of(json!({"hosts": ["*.com"], "tls": [{"match": [{"sniHosts": ["foo.*.com"]}], "route": to()}]})),
            Refused("spec.tls[0].match[0].sniHosts[0]: "),
        ),
        (
            "missing tls route",
            service(&json!({"tls": [{"match": [{"sniHosts": ["foo.bar"]}]}]})),
            Refused("spec.tls[0].route: "),
        ),
        ("missing tcp route", service(&json!({"tcp": [{"match": [{"port": 999}]}]})), Refused("spec.tcp[0].route: ")),
    ]);
}

#[test]
fn where_requests_go() {
    let routes = |routes: Value| rule(&json!({ "route": routes }));
    let share = |weight: i64| json!({"destination": {"host": "a.b"}, "weight": weight});
    let one = |host: &str| routes(json!([{"destination": {"host": host}}]));
    let redirect = |redirect: Value| rule(&json!({ "redirect": redirect }));
    let prefix = |block: Value| rule(&json!({"match": [block], "redirect": {"prefixRewrite": "/new"}}));
    let respond = |status: i64| rule(&json!({"directResponse": {"status": status}}));
    let body =
        |length: usize| rule(&json!({"directResponse": {"status": 200, "body": {"string": "x".repeat(length)}}}));
    check_all(vec![
        ("empty", rule(&json!({})), Refused("spec.http[0]: says nothing")),
        ("wildcard prefix", one("*.foo.com"), Accepted),
        ("wildcard", one("*"), Refused("spec.http[0].route[0].destination.host: * is no service")),
        ("bad wildcard", one("foo.*.com"), Refused("spec.http[0].route[0].destination.host: ")),
        ("bad fqdn", one("default.foo.com/bar"), Refused("spec.http[0].route[0].destination.host: ")),
        ("no destination", routes(json!([{"weight": 1}])), Refused("spec.http[0].route[0].destination: ")),
        ("weighted", routes(json!([share(75), share(25)])), Accepted),
        ("weight < 0", routes(json!([share(5), share(-1)])), Refused("spec.http[0].route[1].weight: -1 is no weight")),
        ("total weight > 100", routes(json!([share(75), share(50)])), Accepted),
        (
            "total weight = 0 with multi RouteDestination",
            routes(json!([share(0), share(0)])),
            Refused("spec.http[0].route: the weights"),
        ),
        ("weight = 0", routes(json!([share(0)])), Accepted),
        (
            "conflicting redirect and route",
            rule(&json!({"route": to(), "redirect": {"uri": "/a"}})),
            Refused("spec.http[0]: says more than one"),
        ),
        (
            "route and direct_response",
            rule(&json!({"route": to(), "directResponse": {"status": 200}})),
            Refused("spec.http[0]: says more than one"),
        ),
        (
            "root HTTP route must not specify route",
            rule(&json!({"route": to(), "delegate": {"name": "d"}})),
            Refused("spec.http[0]: says more than one"),
        ),
        (
            "root HTTP route must not specify redirect",
            rule(&json!({"redirect": {"uri": "/a"}, "delegate": {"name": "d"}})),
            Refused("spec.http[0]: says more than one"),
        ),
        ("root route", rule(&json!({"delegate": {"name": "d"}})), Accepted),
        (
            "rewrite and redirect",
            rule(&json!({"redirect": {"uri": "/a"}, "rewrite": {"uri": "/"}})),
            Refused("spec.http[0].rewrite: "),
        ),
        (
            "fault and redirect",
            rule(
                &json!({"redirect": {"uri": "/a"}, "fault": {"abort": {"httpStatus": 500, "percentage": {"value": 1}}}}),
            ),
            Refused("spec.http[0].fault: "),
        ),
        (
            "fault and direct_response",
            rule(
                &json!({"directResponse": {"status": 200}, "fault": {"abort": {"httpStatus": 500, "percentage": {"value": 1}}}}),
            ),
            Refused("spec.http[0].fault: "),
        ),
        ("empty uri and authority", redirect(json!({})), Refused("spec.http[0].redirect: leads back")),
        (
            "too small redirect code",
            redirect(json!({"uri": "/a", "redirectCode": 299})),
            Refused("spec.http[0].redirect.redirectCode: "),
        ),
        (
            "too large redirect code",
            redirect(json!({"uri": "/a", "redirectCode": 400})),
            Refused("spec.http[0].redirect.redirectCode: "),
        ),
        ("normal redirect", redirect(json!({"uri": "/a", "authority": "foo.biz", "redirectCode": 308})), Accepted),
        ("redirect scheme", redirect(json!({"scheme": "https"})), Accepted),
        (
            "invalid redirect scheme",
            redirect(json!({"uri": "/a", "scheme": "ws"})),
            Refused("spec.http[0].redirect.scheme: "),
        ),
        (
            "uri and prefix_rewrite mutually exclusive",
            redirect(json!({"uri": "/a", "prefixRewrite": "/b", "authority": "foo.biz"})),
            Refused("spec.http[0].redirect.prefixRewrite: "),
        ),
        ("prefix_rewrite redirect with prefix URI match", prefix(json!({"uri": {"prefix": "/old"}})), Accepted),
        (
            "prefix_rewrite redirect with exact URI match is invalid",
            prefix(json!({"uri": {"exact": "/old"}})),
            Refused("spec.http[0].redirect.prefixRewrite: "),
        ),
        (
            "prefix_rewrite redirect with regex URI match is invalid",
            prefix(json!({"uri": {"regex": "/old.*"}})),
            Refused("spec.http[0].redirect.prefixRewrite: "),
        ),
        (
            "prefix_rewrite redirect with no URI match (wildcard) is valid",
            prefix(json!({"headers": {"a": {"exact": "b"}}})),
            Accepted,
        ),
        ("status 200", respond(200), Accepted),
        ("status 100", respond(199), Refused("spec.http[0].directResponse.status: ")),
        ("status 599", respond(599), Accepted),
        ("status 600", respond(601), Refused("spec.http[0].directResponse.status: ")),
        ("with string body", body(100 << 10), Accepted),
        (
            "with string body over 100kb",
            body((100 << 10) + 1),
            Warned("spec.http[0].directResponse.body: has 102401 bytes"),
        ),
        ("with string body of 1mb", body(1 << 20), Warned("spec.http[0].directResponse.body: has 1048576 bytes")),
        (
            "with string body over 1mb",
            body((1 << 20) + 1),
            Refused("spec.http[0].directResponse.body: has 1048577 bytes"),
        ),
    ]);
}

#[test]
fn faults_retries_and_timeouts() {
    let whole = json!({"value": 100});
    let abort = |abort: Value| with(&json!({"fault": {"abort": abort}}));
    let status = |status: i64| abort(json!({"httpStatus": status, "percentage": whole}));
    let grpc = |status: &str| abort(json!({"grpcStatus": status, "percentage": whole}));
    let delay = |delay: Value| with(&json!({"fault": {"delay": delay}}));
    let share = |value: f64| delay(json!({"fixedDelay": "3s", "percentage": {"value": value}}));
    let retries = |retries: Value| with(&json!({ "retries": retries }));
    let on = |words: &str| retries(json!({"attempts": 3, "retryOn": words}));
    let timeout = |text: &str| with(&json!({ "timeout": text }));
    check_all(vec![
        (
            "HTTP fault injection must have an abort and/or a delay",
            with(&json!({"fault": {}})),
            Refused("spec.http[0].fault: is empty"),
        ),
        ("valid", status(200), Accepted),
        ("invalid low http status", status(199), Refused("spec.http[0].fault.abort.httpStatus: 199")),
        ("valid", status(599), Accepted),
        ("invalid http status", status(9000), Refused("spec.http[0].fault.abort.httpStatus: 9000")),
        ("grpc: valid default percentage", grpc("DEADLINE_EXCEEDED"), Accepted),
        ("grpc: invalid status", grpc("BAD_STATUS"), Refused("spec.http[0].fault.abort.grpcStatus: ")),
        (
            "valid default",
            abort(json!({"percentage": whole})),
            Warned("spec.http[0].fault.abort.httpStatus: is missing"),
        ),
        (
            "HTTP/2 abort fault injection not supported yet",
            abort(json!({"http2Error": "x", "percentage": whole})),
            Refused("spec.http[0].fault.abort.http2Error: "),
        ),
        ("valid fixed", share(20.0), Accepted),
        ("valid fractional percentage", share(0.0001), Accepted),
        ("invalid fractional percentage", share(0.000_09), Refused("spec.http[0].fault.delay.percentage: ")),
        ("percentage of 0", share(0.0), Accepted),
        ("percentage of 100", share(100.0), Accepted),
        ("invalid percent", share(101.0), Refused("spec.http[0].fault.delay.percentage: ")),
        ("negative percent", share(-1.0), Refused("spec.http[0].fault.delay.percentage: ")),
        (
            "valid default",
            delay(json!({"percentage": whole})),
            Warned("spec.http[0].fault.delay.fixedDelay: is missing"),
        ),
        (
            "invalid delay",
            delay(json!({"fixedDelay": "0.0005s", "percentage": whole})),
            Refused("spec.http[0].fault.delay.fixedDelay: "),
        ),
        (
            "exponentialDelay not supported yet",
            delay(json!({"exponentialDelay": "1s", "percentage": whole})),
            Refused("spec.http[0].fault.delay.exponentialDelay: "),
        ),
        ("valid", retries(json!({"attempts": 10, "retryOn": "5xx,gateway-error"})), Accepted),
        ("disable retries", retries(json!({"attempts": 0})), Accepted),
        (
            "invalid, retry policy configured but attempts set to zero",
            retries(json!({"attempts": 0, "retryOn": "5xx"})),
            Refused("spec.http[0].retries.attempts: is 0"),
        ),
        (
            "invalid, retryRemoteLocalities configured but attempts set to zero",
            retries(json!({"attempts": 0, "retryRemoteLocalities": false})),
            Refused("spec.http[0].retries.attempts: is 0"),
        ),
        ("invalid attempts", retries(json!({"attempts": -1})), Refused("spec.http[0].retries.attempts: ")),
        (
            "invalid timeout",
            retries(json!({"attempts": 1, "perTryTimeout": "0.0005s"})),
            Refused("spec.http[0].retries.perTryTimeout: "),
        ),
        ("timeout of 1ms", retries(json!({"attempts": 1, "perTryTimeout": "1ms"})), Accepted),
        (
            "invalid backoff",
            retries(json!({"attempts": 1, "backoff": "0.9ms"})),
            Refused("spec.http[0].retries.backoff: "),
        ),
        ("valid http status retryOn", on("503,connect-failure"), Accepted),
        (
            "invalid policy retryOn",
            on("5xx,invalid policy"),
            Refused("spec.http[0].retries.retryOn: \"invalid policy\""),
        ),
        ("invalid http status retryOn", on("600,connect-failure"), Refused("spec.http[0].retries.retryOn: \"600\"")),
        ("a status that has no meaning", on("299"), Refused("spec.http[0].retries.retryOn: \"299\"")),
        ("nothing but commas between the words", on("5xx, reset"), Refused("spec.http[0].retries.retryOn: \" reset\"")),
        ("timeout", timeout("1ms"), Accepted),
        ("duration must be greater than 1ms", timeout("0s"), Refused("spec.http[0].timeout: ")),
        ("only durations to ms precision are supported", timeout("1.5ms"), Refused("spec.http[0].timeout: ")),
    ]);
}

#[test]
fn what_is_changed_and_who_gets_copies() {
    let headers = |which: &str, operations: Value| with(&json!({"headers": {which: operations}}));
    let value = |value: &str| headers("request", json!({"set": {"name": value}}));
    let rewrite = |rewrite: Value| with(&json!({ "rewrite": rewrite }));
    let regex = |of: &str, into: &str| rewrite(json!({"uriRegexRewrite": {"match": of, "rewrite": into}}));
    let mirrors =
        |percentage: Value| with(&json!({"mirrors": [{"destination": {"host": "a.b"}, "percentage": percentage}]}));
    let (both, twice) = (
        json!({"mirror": {"host": "a.b"}, "mirrors": [{"destination": {"host": "b.c"}}]}),
        json!({"rewrite": {"authority": "foo"}, "headers": {"request": {"set": {":authority": "bar"}}}}),
    );
    check_all(vec![
        (
            "valid headers",
            headers("request", json!({"add": {"name": ""}, "set": {"n": "a"}, "remove": ["x"]})),
            Accepted,
        ),
        (
            "empty header name - request add",
            headers("request", json!({"add": {"": "value"}})),
            Refused("spec.http[0].headers.request.add[]: "),
        ),
        (
            "empty header name - request set",
            headers("request", json!({"set": {"": "value"}})),
            Refused("spec.http[0].headers.request.set[]: "),
        ),
        (
            "empty header name - request remove",
            headers("request", json!({"remove": [""]})),
            Refused("spec.http[0].headers.request.remove[0]: "),
        ),
        (
            "empty header name - response add",
            headers("response", json!({"add": {"": "value"}})),
            Refused("spec.http[0].headers.response.add[]: "),
        ),
        (
            "empty header name - response remove",
            headers("response", json!({"remove": [""]})),
            Refused("spec.http[0].headers.response.remove[0]: "),
        ),
        (
            "cannot set Host header",
            headers("response", json!({"set": {"Host": "a"}})),
            Refused("spec.http[0].headers.response.set[Host]: "),
        ),
        (
            "header cannot have : prefix",
            headers("request", json!({"set": {":path": "/"}})),
            Refused("spec.http[0].headers.request.set[:path]: "),
        ),
        ("envoy escaped % set", value("i love 100%% cotton"), Accepted),
        ("envoy unescaped % set", value("abcd%oijasodifj"), Refused("spec.http[0].headers.request.set[name]: ")),
        ("a tabulator", value("a\tb"), Accepted),
        ("a control character", value("a\u{1}b"), Refused("spec.http[0].headers.request.set[name]: ")),
        ("delete is one", value("a\u{7f}b"), Refused("spec.http[0].headers.request.set[name]: ")),
        ("set authority", headers("request", json!({"set": {":authority": "foo"}})), Accepted),
        (
            "set authority in rewrite and header",
            with(&twice),
            Refused("spec.http[0].rewrite.authority: is said in headers"),
        ),
        (
            "authority set twice",
            headers("request", json!({"set": {"host": "a"}, "add": {":authority": "b"}})),
            Refused("spec.http[0].headers.request.add[:authority]: "),
        ),
        ("uri and authority", rewrite(json!({"uri": "/path/to/resource", "authority": "foobar.org"})), Accepted),
        ("uriRegexRewrite", regex("^/service/([^/]+)(/.*)$", r"\2/instance/\1"), Accepted),
        (
            "uriRegexRewrite and uri",
            rewrite(json!({"uri": "/a", "uriRegexRewrite": {"match": "a", "rewrite": "b"}})),
            Refused("spec.http[0].rewrite.uriRegexRewrite: "),
        ),
        ("no uri, uriRegexRewrite, or authority", rewrite(json!({})), Refused("spec.http[0].rewrite: says nothing")),
        ("uriRegexRewrite missing match", regex("", "b"), Refused("spec.http[0].rewrite.uriRegexRewrite.match: ")),
        ("uriRegexRewrite missing rewrite", regex("a", ""), Refused("spec.http[0].rewrite.uriRegexRewrite.rewrite: ")),
        (
            "uriRegexRewrite invalid regex patterns",
            regex("[", "b"),
            Refused("spec.http[0].rewrite.uriRegexRewrite.match: "),
        ),
        ("conflicting mirror and mirrors", with(&both), Refused("spec.http[0].mirror: stands beside mirrors")),
        (
            "invalid mirror percent",
            with(&json!({"mirrorPercentage": {"value": 101}})),
            Refused("spec.http[0].mirrorPercentage: "),
        ),
        (
            "deprecated mirror",
            with(&json!({"mirror": {"host": "a.b"}, "mirrorPercent": 5})),
            Warned("spec.http[0].mirrorPercent: "),
        ),
        (
            "negative mirror percentage",
            with(&json!({"mirror": {"host": "a.b"}, "mirrorPercentage": {"value": -1}})),
            Refused("spec.http[0].mirrorPercentage: "),
        ),
        (
            "mirrors without destination",
            with(&json!({"mirrors": [{}]})),
            Refused("spec.http[0].mirrors[0].destination: "),
        ),
        ("mirrors valid mirror percentage", mirrors(json!({"value": 100})), Accepted),
        (
            "mirrors invalid mirror percentage",
            mirrors(json!({"value": 101})),
            Refused("spec.http[0].mirrors[0].percentage: "),
        ),
        (
            "mirrors negative mirror percentage",
            mirrors(json!({"value": -1})),
            Refused("spec.http[0].mirrors[0].percentage: "),
        ),
    ]);
}

#[test]
fn pages_from_elsewhere() {
    let cors = |cors: Value| {
        let mut whole = json!({"allowOrigins": [{"exact": "*"}]});
        whole.as_object_mut().unwrap().extend(cors.as_object().unwrap().clone());
        with(&json!({ "corsPolicy": whole }))
    };
    let origin = |origin: Value| with(&json!({"corsPolicy": {"allowOrigins": [origin]}}));
    check_all(vec![
        (
            "valid",
            cors(json!({"allowMethods": ["GET", "*"], "allowHeaders": ["header1", "*"], "maxAge": "2s"})),
            Accepted,
        ),
        (
            "bad method",
            cors(json!({"allowMethods": ["GET", "PUTT"]})),
            Refused("spec.http[0].corsPolicy.allowMethods[1]: \"PUTT\" is none of GET"),
        ),
        (
            "bad header",
            cors(json!({"allowHeaders": ["header@"]})),
            Refused("spec.http[0].corsPolicy.allowHeaders[0]: "),
        ),
        (
            "bad exposed header",
            cors(json!({"exposeHeaders": [""]})),
            Refused("spec.http[0].corsPolicy.exposeHeaders[0]: "),
        ),
        (
            "bad max age",
            cors(json!({"maxAge": "2.042s"})),
            Refused("spec.http[0].corsPolicy.maxAge: is told in whole seconds"),
        ),
        (
            "empty matchType AllowOrigins",
            origin(json!({})),
            Refused("spec.http[0].corsPolicy.allowOrigins[0]: is empty"),
        ),
        (
            "empty matchType AllowOrigins",
            origin(json!({"exact": ""})),
            Refused("spec.http[0].corsPolicy.allowOrigins[0]: is empty"),
        ),
        (
            "empty matchType AllowOrigins",
            origin(json!({"prefix": ""})),
            Refused("spec.http[0].corsPolicy.allowOrigins[0].prefix: "),
        ),
        (
            "empty matchType AllowOrigins",
            origin(json!({"regex": ""})),
            Refused("spec.http[0].corsPolicy.allowOrigins[0].regex: "),
        ),
        ("non empty matchType AllowOrigins", origin(json!({"regex": "https://.*"})), Accepted),
    ]);
}

#[test]
fn rules_that_nothing_comes_to() {
    let rules = |blocks: &[Value]| {
        let rules: Vec<Value> = blocks.iter().map(|blocks| json!({"match": blocks, "route": to()})).collect();
        service(&json!({ "http": rules }))
    };
    let prefix = |prefix: &str| json!({"uri": {"prefix": prefix}});
    let streams = |blocks: &[Value]| {
        let rules: Vec<Value> = blocks.iter().map(|blocks| json!({"match": blocks, "route": to()})).collect();
        service(&json!({ "tcp": rules }))
    };
    let two = |block: Value| json!([prefix("/a"), block]);
    check_all(vec![
        (
            "VirtualServiceUnreachableRule",
            rules(&[json!([]), json!([prefix("/a")])]),
            Warned("spec.http[1]: is never reached: spec.http[0] takes everything"),
        ),
        (
            "VirtualServiceUnreachableRule",
            rules(&[json!([prefix("/a")]), json!([prefix("/a")])]),
            Warned("spec.http[1]: is never reached: spec.http[0].match[0] takes what it is for"),
        ),
        ("the rule before is narrower", rules(&[json!([prefix("/ab")]), json!([prefix("/a")]), json!([])]), Accepted),
        (
            "uri-with-prefix-exact",
            rules(&[json!([prefix("/a")]), json!([{"uri": {"exact": "/ab"}}])]),
            Warned("spec.http[1]: is never reached"),
        ),
        (
            "VirtualServiceIneffectiveMatch",
            rules(&[json!([prefix("/a")]), two(prefix("/b"))]),
            Warned("spec.http[1].match[0]: is never reached: spec.http[0].match[0]"),
        ),
        (
            "names do not tell blocks apart",
            rules(&[
                json!([{"name": "x", "method": {"exact": "GET"}}]),
                json!([{"name": "y", "method": {"exact": "GET"}}]),
            ]),
            Warned("spec.http[1]: "),
        ),
        (
            "non-method-get",
            rules(&[json!([{"uri": {"prefix": "/a"}, "method": {"exact": "GET"}}]), json!([prefix("/ab")])]),
            Accepted,
        ),
        ("case", rules(&[json!([{"uri": {"prefix": "/a"}, "ignoreUriCase": true}]), json!([prefix("/ab")])]), Accepted),
        ("another port", rules(&[json!([{"uri": {"prefix": "/a"}, "port": 80}]), json!([prefix("/ab")])]), Accepted),
        ("streams", streams(&[json!([{"port": 80}]), json!([{"port": 80}])]), Warned("spec.tcp[1]: is never reached")),
        ("streams", streams(&[json!([{"port": 80}]), json!([{"port": 81}])]), Accepted),
    ]);
}
