//! The schema of security.istio.io AuthorizationPolicy.

use super::{Schema, list, object, selector, text, texts};

/// `spec`.
pub(super) fn spec() -> Schema {
    let action = text("What becomes of what the rules describe; absent for `ALLOW`.");
    let provider = object("Who decides, for `CUSTOM`.", [("name", text("Its name in the mesh's configuration."))]);
    let fields = [
        ("selector", selector::workloads("The workloads that this is for; absent for all of the namespace.")),
        ("action", action.of(&["ALLOW", "DENY", "AUDIT", "CUSTOM"])),
        ("rules", list("What is meant: whatever one of them describes. Without rules, nothing.", rule()).at_most(512)),
        ("provider", provider),
    ];
    object("Who may do what.", fields.into_iter().chain(selector::targets()))
        .one_of(&["provider"])
        .rule(selector::ONE_TARGET, selector::ONE_TARGET_MESSAGE)
}

fn rule() -> Schema {
    let from = object("", [("source", source())]);
    let to = object("", [("operation", operation())]);
    let condition = object(
        "",
        [
            ("key", text("An attribute, such as `source.ip` or `request.headers[version]`.")),
            ("values", texts("It is one of these.")),
            ("notValues", texts("It is none of these.")),
        ],
    )
    .needs(&["key"]);
    object(
        "",
        [
            ("from", list("Who: one of these sources; absent for anybody.", from).at_most(512)),
            ("to", list("What: one of these operations; absent for anything.", to)),
            ("when", list("What else holds: all of these.", condition)),
        ],
    )
}

fn source() -> Schema {
    let accounts = |description| list(description, text("").at_most(320)).at_most(16);
    object(
        "Who: all of these hold.",
        [
            ("principals", texts("Identities, such as `cluster.local/ns/shop/sa/web`.")),
            ("notPrincipals", texts("Identities that are not meant.")),
            ("requestPrincipals", texts("Identities that a token of the request proves, `issuer/subject`.")),
            ("notRequestPrincipals", texts("Such identities that are not meant.")),
            ("namespaces", texts("Namespaces.")),
            ("notNamespaces", texts("Namespaces that are not meant.")),
            ("serviceAccounts", accounts("Service accounts, `namespace/name`, or `name` for the policy's namespace.")),
            ("notServiceAccounts", accounts("Service accounts that are not meant.")),
            ("ipBlocks", texts("Addresses and ranges that connections come from.")),
            ("notIpBlocks", texts("Addresses and ranges that are not meant.")),
            (
                "remoteIpBlocks",
                texts("Addresses and ranges of clients, as x-forwarded-for or the PROXY protocol has them."),
            ),
            ("notRemoteIpBlocks", texts("Such addresses and ranges that are not meant.")),
            ("trustDomains", texts("Trust domains.")),
            ("notTrustDomains", texts("Trust domains that are not meant.")),
        ],
    )
    .rule(
        "(has(self.serviceAccounts) || has(self.notServiceAccounts)) ? (!has(self.principals) && \
         !has(self.notPrincipals) && !has(self.namespaces) && !has(self.notNamespaces)) : true",
        "service accounts do not go with namespaces or principals",
    )
}

fn operation() -> Schema {
    object(
        "What: all of these hold.",
        [
            ("hosts", texts("The authorities of requests.")),
            ("notHosts", texts("Authorities that are not meant.")),
            ("ports", texts("The workload's ports.")),
            ("notPorts", texts("Ports that are not meant.")),
            ("methods", texts("The methods of requests.")),
            ("notMethods", texts("Methods that are not meant.")),
            ("paths", texts("The paths of requests.")),
            ("notPaths", texts("Paths that are not meant.")),
        ],
    )
}
