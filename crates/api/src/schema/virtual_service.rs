//! The schema of networking.istio.io VirtualService.

use super::{Schema, boolean, double, duration, int32, labels, list, map, object, text, texts, uint32};

/// `spec`.
pub(super) fn spec() -> Schema {
    object(
        "Where traffic goes.",
        [
            ("hosts", texts("The names that this is for, short or whole; the first label may be `*`.")),
            ("gateways", texts("Where it applies: names of Gateways, and `mesh`; absent for `mesh` alone.")),
            ("http", list("The rules for requests; the first one that describes a request is for it.", http_route())),
            ("tls", list("The rules for TLS connections; the first one that describes one is for it.", tls_route())),
            ("tcp", list("The rules for other connections; the first one that describes one is for it.", tcp_route())),
            ("exportTo", texts("The namespaces that may see it: names, `.` for its own, `*` for all; absent for all.")),
        ],
    )
}

fn http_route() -> Schema {
    let whole =
        || uint32("Of how many requests copies are sent, of a hundred; mirrorPercentage is in its place.").or_null();
    let mirror = object(
        "",
        [
            ("destination", destination("Who gets copies.")),
            ("percentage", percent("Of how many requests; absent for all.")),
        ],
    )
    .needs(&["destination"]);
    let delegate = object(
        "Another VirtualService that says instead.",
        [("name", text("Its name.")), ("namespace", text("Its namespace; absent for the same."))],
    );
    object(
        "",
        [
            ("name", text("Its name, for logs.")),
            ("match", list("Which requests it is for: whatever one of these describes; absent for all.", http_match())),
            ("route", list("Where they go; several share them by weight.", http_destination())),
            ("redirect", redirect()),
            ("directResponse", direct_response()),
            ("delegate", delegate),
            ("rewrite", rewrite()),
            ("timeout", duration("How long an answer may take, retries included; absent for any time.")),
            ("retries", retries()),
            ("fault", fault()),
            ("mirror", destination("Who gets copies of requests.")),
            ("mirrors", list("Who get copies of requests.", mirror)),
            ("mirrorPercent", whole()),
            ("mirror_percent", whole()),
            ("mirrorPercentage", percent("Of how many requests copies are sent; absent for all.")),
            ("corsPolicy", cors()),
            ("headers", headers()),
        ],
    )
}

fn http_match() -> Schema {
    let presence = |description| map(description, string_match("").or_null());
    object(
        "",
        [
            ("name", text("Its name, for logs.")),
            ("uri", string_match("The path.")),
            ("scheme", string_match("The scheme.")),
            ("method", string_match("The method.")),
            ("authority", string_match("The authority.")),
            ("headers", presence("Header fields, by their names in lower case; an empty one asks for presence.")),
            ("withoutHeaders", presence("What header fields are not; an empty one asks for absence.")),
            ("queryParams", presence("Query parameters; an empty one asks for presence.")),
            ("ignoreUriCase", boolean("The case of the path makes no difference.")),
            ("port", uint32("The service's port.")),
            ("sourceLabels", labels("The labels of the client.")),
            ("sourceNamespace", text("The namespace of the client.")),
            ("gateways", texts("Where it applies; absent for wherever the VirtualService does.")),
            ("statPrefix", text("What statistics call it.")),
        ],
    )
}

fn string_match(description: &'static str) -> Schema {
    object(
        description,
        [
            ("exact", text("It is this.")),
            ("prefix", text("It begins so.")),
            ("regex", text("This expression (RE2) describes all of it.")),
        ],
    )
    .one_of(&["exact", "prefix", "regex"])
}

fn destination(description: &'static str) -> Schema {
    object(
        description,
        [
            ("host", text("The service, by its short or whole name.")),
            ("subset", text("Some of its endpoints, as a DestinationRule has them.")),
            ("port", object("Its port; may be absent where there is only one.", [("number", uint32("The number."))])),
        ],
    )
    .needs(&["host"])
}

fn http_destination() -> Schema {
    stream_destination([("headers", headers())])
}

/// A destination with its share.
fn stream_destination(more: impl IntoIterator<Item = (&'static str, Schema)>) -> Schema {
    let fields = [
        ("destination", destination("Where to.")),
        ("weight", int32("Its share, in proportion to the others'; may be absent where there is only one.")),
    ];
    object("", fields.into_iter().chain(more)).needs(&["destination"])
}

fn redirect() -> Schema {
    let derived = text("Which port where `port` is absent: the scheme's own, or the request's.");
    object(
        "Where clients are told to go instead.",
        [
            ("uri", text("The whole path.")),
            ("prefixRewrite", text("What takes the place of the prefix that was matched.")),
            ("authority", text("The authority.")),
            ("port", uint32("The port.")),
            ("derivePort", derived.of(&["FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"])),
            ("scheme", text("`http` or `https`; absent for the request's.")),
            ("redirectCode", uint32("The status; absent for 301.")),
        ],
    )
    .one_of(&["port", "derivePort"])
}

fn direct_response() -> Schema {
    let bytes = Schema { format: Some("byte"), ..text("Bytes, in base64.") };
    let body = object("The body.", [("string", text("Text.")), ("bytes", bytes)]).one_of(&["string", "bytes"]);
    object("What requests are answered.", [("status", uint32("The status.")), ("body", body)]).needs(&["status"])
}

fn rewrite() -> Schema {
    let expression = object(
        "What becomes of parts of the path.",
        [("match", text("The expression (RE2).")), ("rewrite", text("What takes the place of what it describes."))],
    );
    object(
        "What paths and authorities become.",
        [
            ("uri", text("What takes the place of the prefix that was matched, or of the path.")),
            ("authority", text("The authority.")),
            ("uriRegexRewrite", expression),
        ],
    )
}

fn retries() -> Schema {
    object(
        "When requests are tried again.",
        [
            ("attempts", int32("How often at the most; 0 for never.")),
            ("perTryTimeout", duration("How long each try may take; absent for as long as all of them.")),
            ("retryOn", text("After what: conditions or statuses, with commas between them.")),
            ("retryRemoteLocalities", boolean("In other localities as well.").or_null()),
            ("retryIgnorePreviousHosts", boolean("Not where it was tried already; absent for yes.").or_null()),
            ("backoff", duration("How long until the first one; absent for 25ms.")),
        ],
    )
}

fn fault() -> Schema {
    let delay = object(
        "Requests wait.",
        [
            ("fixedDelay", duration("For how long.")),
            ("exponentialDelay", duration("Not implemented.")),
            ("percentage", percent("Of how many requests; absent for all.")),
            ("percent", int32("Of how many requests, of a hundred; percentage is in its place.")),
        ],
    )
    .one_of(&["fixedDelay", "exponentialDelay"]);
    let abort = object(
        "Requests fail.",
        [
            ("httpStatus", int32("With this status.")),
            ("grpcStatus", text("With this status of gRPC, such as `UNAVAILABLE`.")),
            ("http2Error", text("Not implemented.")),
            ("percentage", percent("Of how many requests; absent for all.")),
        ],
    )
    .one_of(&["httpStatus", "grpcStatus", "http2Error"]);
    object("What is done to requests on purpose.", [("delay", delay), ("abort", abort)])
}

fn percent(description: &'static str) -> Schema {
    object(description, [("value", double("Of a hundred."))])
}

fn cors() -> Schema {
    let unmatched = text("What becomes of preflights that are not allowed; absent for `FORWARD`.");
    object(
        "Pages from elsewhere that may ask.",
        [
            ("allowOrigins", list("Where pages may be from.", string_match(""))),
            ("allowOrigin", texts("Where pages may be from, each in full; allowOrigins is in its place.")),
            ("allowMethods", texts("The methods that they may use.")),
            ("allowHeaders", texts("The header fields that they may send.")),
            ("exposeHeaders", texts("The header fields that they may see.")),
            ("maxAge", duration("How long browsers may remember that.")),
            ("allowCredentials", boolean("With credentials.").or_null()),
            ("unmatchedPreflights", unmatched.of(&["UNSPECIFIED", "FORWARD", "IGNORE"])),
        ],
    )
}

fn headers() -> Schema {
    let operations = |description| {
        object(
            description,
            [
                ("set", labels("Fields that become this, whatever they were.")),
                ("add", labels("Fields that become this as well.")),
                ("remove", texts("Fields that are taken away.")),
            ],
        )
    };
    object(
        "What becomes of header fields.",
        [("request", operations("Those of requests.")), ("response", operations("Those of answers."))],
    )
}

fn tls_route() -> Schema {
    let names = texts("The names that clients ask for (SNI); the first label may be `*`.");
    let matches = object("", stream_match().into_iter().chain([("sniHosts", names)])).needs(&["sniHosts"]);
    stream_route(matches).needs(&["match"])
}

fn tcp_route() -> Schema {
    let subnet = text("The range of addresses that clients are in; not implemented.");
    stream_route(object("", stream_match().into_iter().chain([("sourceSubnet", subnet)])))
}

fn stream_route(matches: Schema) -> Schema {
    object(
        "",
        [
            ("match", list("Which connections it is for: whatever one of these describes.", matches)),
            ("route", list("Where they go; several share them by weight.", stream_destination([]))),
        ],
    )
}

fn stream_match() -> [(&'static str, Schema); 5] {
    [
        ("destinationSubnets", texts("The ranges of addresses that they go to.")),
        ("port", uint32("The port that they go to.")),
        ("sourceLabels", labels("The labels of the client.")),
        ("sourceNamespace", text("The namespace of the client.")),
        ("gateways", texts("Where it applies; absent for wherever the VirtualService does.")),
    ]
}
