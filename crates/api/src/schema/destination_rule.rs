//! The schema of networking.istio.io DestinationRule.

use super::{
    Schema, boolean, double, duration, int32, labels, list, map, natural, object, of_type, selector, text, texts,
    uint32,
};
use crate::schema::Type;

/// `spec`.
pub(super) fn spec() -> Schema {
    let subset = object(
        "",
        [
            ("name", text("Its name, by which routes ask for it.")),
            ("labels", labels("What its endpoints are labelled with.")),
            ("trafficPolicy", traffic_policy("What holds for it instead.")),
        ],
    )
    .needs(&["name"]);
    object(
        "How the endpoints of a service are reached.",
        [
            ("host", text("The service, by its short or whole name; the first label may be `*`.")),
            ("trafficPolicy", traffic_policy("What holds for all of it.")),
            ("subsets", list("Some of its endpoints each, by their labels.", subset)),
            ("exportTo", texts("The namespaces that may see it: names, `.` for its own, `*` for all; absent for all.")),
            ("workloadSelector", selector::workloads("The clients that it is for; absent for all.")),
        ],
    )
    .needs(&["host"])
}

fn traffic_policy(description: &'static str) -> Schema {
    let port = object("The port.", [("number", uint32("Its number."))]);
    let of_port = object("", settings().into_iter().chain([("port", port)]));
    let version = text("Which version of it; absent for `V1`.").of(&["V1", "V2"]);
    let tunnel = object(
        "How connections are carried by another proxy.",
        [
            ("protocol", text("`CONNECT` or `POST`.")),
            ("targetHost", text("The host that it is asked for.")),
            ("targetPort", uint32("The port that it is asked for.")),
        ],
    )
    .needs(&["targetHost", "targetPort"]);
    let budget = object(
        "How many retries there may be at once, in proportion to requests.",
        [
            ("percent", double("So many, of a hundred requests; absent for 20.").at_least(0).at_most(100).or_null()),
            ("minRetryConcurrency", uint32("As many always; absent for 3.")),
            ("budgetInterval", text("How long a request counts.")),
        ],
    );
    let more = [
        ("portLevelSettings", list("What holds for single ports instead.", of_port).at_most(4096)),
        ("tunnel", tunnel),
        ("proxyProtocol", object("A PROXY protocol header goes first.", [("version", version)])),
        ("retryBudget", budget),
    ];
    object(description, settings().into_iter().chain(more))
}

/// What single ports have as well.
fn settings() -> [(&'static str, Schema); 4] {
    [
        ("loadBalancer", load_balancer()),
        ("connectionPool", object("How much there may be at once.", [("tcp", tcp()), ("http", http())])),
        ("outlierDetection", outlier_detection()),
        ("tls", tls()),
    ]
}

fn load_balancer() -> Schema {
    const SIMPLE: [&str; 6] = ["UNSPECIFIED", "LEAST_CONN", "RANDOM", "PASSTHROUGH", "ROUND_ROBIN", "LEAST_REQUEST"];
    let warmup = object(
        "New endpoints come to their share little by little.",
        [
            ("duration", duration("How long that takes.")),
            ("minimumPercent", double("What they begin with, of a hundred.").at_least(0).at_most(100).or_null()),
            ("aggression", double("How fast it goes; absent for 1, which is evenly.").at_least(0).or_null()),
        ],
    )
    .needs(&["duration"]);
    object(
        "How load is spread over endpoints.",
        [
            ("simple", text("In turn, at random, or to whom is least busy.").of(&SIMPLE)),
            ("consistentHash", consistent_hash()),
            ("localityLbSetting", locality()),
            ("zoneAwareLbSetting", zone_aware()),
            ("warmup", warmup),
            ("warmupDurationSecs", duration("How long new endpoints take to their share; warmup is in its place.")),
        ],
    )
    .one_of(&["simple", "consistentHash"])
}

fn consistent_hash() -> Schema {
    let attribute = object("", [("name", text("Its name.")), ("value", text("Its value; may be absent."))]);
    let cookie = object(
        "A cookie, which is made where it is missing.",
        [
            ("name", text("Its name.")),
            ("path", text("Its path.")),
            ("ttl", text("How long it lives; absent for a session.")),
            ("attributes", list("What else it says.", attribute.needs(&["name"]))),
        ],
    )
    .needs(&["name"]);
    let ring_size = |description| [("minimumRingSize", natural(description))];
    object(
        "The same endpoint for what is the same.",
        [
            ("httpHeaderName", text("The header field that is looked at.")),
            ("httpCookie", cookie),
            ("useSourceIp", boolean("The client's address is looked at.")),
            ("httpQueryParameterName", text("The query parameter that is looked at.")),
            ("ringHash", object("By a ring.", ring_size("How many places it has at the least; absent for 1024."))),
            ("maglev", object("By a table.", [("tableSize", natural("How many places it has: a prime."))])),
        ]
        .into_iter()
        .chain(ring_size("How many places the ring has; ringHash is in its place.")),
    )
    .one_of(&["httpHeaderName", "httpCookie", "useSourceIp", "httpQueryParameterName"])
    .one_of(&["ringHash", "maglev"])
}

fn locality() -> Schema {
    let share = object(
        "",
        [
            ("from", text("Where clients are: `region/zone/subzone`, or the beginning of that and `/*`.")),
            ("to", map("Where their load goes, and how much of a hundred.", uint32(""))),
        ],
    );
    object(
        "How the place of clients and endpoints counts.",
        [("distribute", list("Load by place; not with the other two.", share))]
            .into_iter()
            .chain(failover())
            .chain([("enabled", boolean("At all; absent for what the mesh says.").or_null())]),
    )
}

fn zone_aware() -> Schema {
    let size = of_type(Type::Integer, "How many endpoints a service has at the least for this.").at_least(1).or_null();
    object(
        "Clients prefer endpoints of their zone, as far as load stays even.",
        failover().into_iter().chain([("enabled", boolean("At all.").or_null()), ("minClusterSize", size)]),
    )
}

fn failover() -> [(&'static str, Schema); 2] {
    let next = object("", [("from", text("A region.")), ("to", text("The one that comes next."))]);
    [
        ("failover", list("Where load goes when a region fails.", next)),
        ("failoverPriority", texts("Labels whose likeness, in this order, decides which endpoints come first.")),
    ]
}

fn tcp() -> Schema {
    let keepalive = object(
        "Probes on connections that are idle.",
        [
            ("probes", uint32("How many stay without an answer until a connection is given up.")),
            ("time", duration("How long until the first one.")),
            ("interval", duration("How long between two.")),
        ],
    );
    object(
        "Of connections.",
        [
            ("maxConnections", int32("How many at once.")),
            ("connectTimeout", duration("How long it may take until there is one; absent for 10s.")),
            ("tcpKeepalive", keepalive),
            ("maxConnectionDuration", duration("How long one may live.")),
            ("idleTimeout", text("How long one may be idle; absent for 1h, `0s` for ever.")),
        ],
    )
}

fn http() -> Schema {
    let keepalive = object(
        "PING frames on HTTP/2 connections.",
        [("interval", duration("How often.")), ("timeout", duration("How long the answer may take."))],
    );
    let upgrade = text("Whether requests by HTTP/1.1 go on by HTTP/2.").of(&["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"]);
    object(
        "Of requests.",
        [
            ("http1MaxPendingRequests", int32("How many wait for a connection.")),
            ("http2MaxRequests", int32("How many at once.")),
            ("maxRequestsPerConnection", int32("How many by one connection; 0 for any number.")),
            ("maxRetries", int32("How many retries at once.")),
            ("idleTimeout", duration("How long a connection may be without one; absent for 1h.")),
            ("h2UpgradePolicy", upgrade),
            ("useClientProtocol", boolean("They go on by the protocol that they came by.")),
            ("maxConcurrentStreams", int32("How many at once by one HTTP/2 connection.")),
            ("http2KeepAlive", keepalive),
        ],
    )
}

fn outlier_detection() -> Schema {
    let status = of_type(Type::Integer, "").at_least(100).at_most(599);
    object(
        "Endpoints that fail are passed over for a while.",
        [
            ("consecutive5xxErrors", uint32("After so many errors in a row; absent for 5, 0 for never.").or_null()),
            ("consecutiveGatewayErrors", uint32("After so many 502, 503 or 504 in a row; 0 for never.").or_null()),
            ("consecutiveErrors", int32("After so many errors in a row; the others are in its place.")),
            ("consecutiveLocalOriginFailures", uint32("After so many failures to reach it in a row.").or_null()),
            ("splitExternalLocalOriginErrors", boolean("Failures to reach it are counted apart from its errors.")),
            ("interval", duration("How often it is looked; absent for 10s.")),
            ("baseEjectionTime", duration("For how long, times how often it happened; absent for 30s.")),
            ("maxEjectionPercent", int32("How many of a hundred endpoints at the most; absent for 10.")),
            ("minHealthPercent", int32("With fewer than so many of a hundred left, all of them are used.")),
            ("outlierDetectionHttpErrorCodes", list("The statuses that are errors; absent for 5xx.", status)),
        ],
    )
}

fn tls() -> Schema {
    object(
        "How endpoints are spoken to.",
        [
            ("mode", text("In clear, by TLS, or by mutual TLS.").of(&["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"])),
            ("clientCertificate", text("The file with the client's certificate, for `MUTUAL`.")),
            ("privateKey", text("The file with the client's key, for `MUTUAL`.")),
            (
                "caCertificates",
                text("The file with the roots that servers are checked against; absent for the system's."),
            ),
            ("credentialName", text("The Secret that has all of that.")),
            ("subjectAltNames", texts("The names one of which a server's certificate has.")),
            ("sni", text("The name that servers are asked for.")),
            ("insecureSkipVerify", boolean("Servers are not checked.").or_null()),
            ("caCrl", text("The file with certificates that are revoked.")),
        ],
    )
}
