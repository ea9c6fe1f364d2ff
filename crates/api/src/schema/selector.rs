//! What policies and rules are for: workloads by their labels, or objects by their names (type.istio.io).

use super::{Schema, list, map, object, text};

/// type.istio.io WorkloadSelector.
pub(super) fn workloads(description: &'static str) -> Schema {
    let value = text("").at_most(63).rule("!self.contains('*')", "a label's value has no wildcards here");
    let matched = map("The labels that a workload must have, all of them.", value)
        .at_most(4096)
        .rule("self.all(key, !key.contains('*'))", "a label's key has no wildcards")
        .rule("self.all(key, key.size() != 0)", "a label's key is not empty");
    object(description, [("matchLabels", matched)])
}

/// `targetRef` and `targetRefs` (type.istio.io PolicyTargetReference), as fields.
pub(super) fn targets() -> [(&'static str, Schema); 2] {
    [
        (
            "targetRef",
            target().about("The one object that this is for: a Gateway, GatewayClass, Service or ServiceEntry."),
        ),
        (
            "targetRefs",
            list("The objects that this is for: Gateways, GatewayClasses, Services or ServiceEntries.", target())
                .at_most(16),
        ),
    ]
}

/// What must hold of an object that has all three.
pub(super) const ONE_TARGET: &str =
    "(has(self.selector) ? 1 : 0) + (has(self.targetRef) ? 1 : 0) + (has(self.targetRefs) ? 1 : 0) <= 1";

/// What is said where it does not.
pub(super) const ONE_TARGET_MESSAGE: &str = "only one of selector, targetRef and targetRefs can be set";

fn target() -> Schema {
    const GROUP: &str = r"^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
    const KIND: &str = "^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$";
    let namespace = text("Its namespace; only the policy's own, which is meant where this is absent.");
    object(
        "",
        [
            ("group", text("The API group of its kind; empty for `core`.").at_most(253).like(GROUP)),
            ("kind", text("Its kind.").at_least(1).at_most(63).like(KIND)),
            ("name", text("Its name.").at_least(1).at_most(253)),
            ("namespace", namespace.rule("self.size() == 0", "objects of other namespaces cannot be named")),
        ],
    )
    .needs(&["kind", "name"])
}
