//! The schema of networking.istio.io ServiceEntry.

use super::{Schema, list, map, object, port, text, texts, workload_entry};

/// `spec`.
pub(super) fn spec() -> Schema {
    let host = text("").rule("self != '*'", "a host is more than a wildcard");
    let label = text("").at_most(63).rule("!self.contains('*')", "a label's value has no wildcards here");
    let selected = map("The labels that they must have, all of them.", label).at_most(256);
    let location = text("`MESH_INTERNAL` if it is part of the mesh; absent for `MESH_EXTERNAL`.");
    let resolution = text("How its addresses are found; absent for `NONE`, which takes those that clients dial.");
    let fields = [
        ("hosts", list("The DNS names that are declared; the first label may be `*`.", host).at_least(1).at_most(256)),
        (
            "addresses",
            list("Addresses, or ranges of them, that stand for all the hosts.", text("").at_most(64)).at_most(256),
        ),
        ("ports", ports()),
        ("location", location.of(&["MESH_EXTERNAL", "MESH_INTERNAL"])),
        ("resolution", resolution.of(&["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"])),
        ("endpoints", list("Its endpoints.", workload_entry::spec().about("")).at_most(4096)),
        (
            "workloadSelector",
            object("Its endpoints: pods and WorkloadEntries, by their labels.", [("labels", selected)]),
        ),
        (
            "exportTo",
            texts("The namespaces that may see it: names, `.` for its own, `*` for all, `~` for none; absent for all."),
        ),
        ("subjectAltNames", texts("The names that servers' certificates carry.")),
    ];
    object("Hosts that are declared.", fields)
        .needs(&["hosts"])
        .rule(
            "(has(self.workloadSelector) ? 1 : 0) + (has(self.endpoints) ? 1 : 0) <= 1",
            "only one of workloadSelector and endpoints can be set",
        )
        .rule(
            "!((has(self.addresses) ? self.addresses : []).exists(k, k.contains('/')) && \
             !((has(self.resolution) ? self.resolution : 'NONE') in ['STATIC', 'NONE']))",
            "ranges of addresses go with the resolutions NONE and STATIC alone",
        )
        .rule(
            "((has(self.resolution) ? self.resolution : 'NONE') == 'NONE') ? !has(self.endpoints) : true",
            "the resolution NONE has no endpoints",
        )
        .rule(
            "((has(self.resolution) ? self.resolution : '') == 'DNS_ROUND_ROBIN') ? \
             ((has(self.endpoints) ? self.endpoints : []).size() <= 1) : true",
            "the resolution DNS_ROUND_ROBIN has one endpoint at the most",
        )
}

fn ports() -> Schema {
    let one = object(
        "",
        [
            ("number", port("The port that clients dial.")),
            ("name", text("Its name.").at_most(256)),
            ("protocol", text("What is spoken: HTTP, HTTPS, GRPC, HTTP2, MONGO, TCP or TLS.").at_most(256)),
            ("targetPort", port("The endpoints' port; absent for the same number.")),
        ],
    )
    .needs(&["number", "name"]);
    list("The ports of the hosts.", one)
        .at_most(256)
        .by("name")
        .rule("self.all(l1, self.exists_one(l2, l1.number == l2.number))", "a port's number is there once")
}
