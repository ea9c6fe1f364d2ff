//! The schema of security.istio.io PeerAuthentication.

use super::{Schema, map, object, selector, text};

/// `spec`.
pub(super) fn spec() -> Schema {
    let ports = map("What holds for single ports of the workloads, by number.", mtls(""))
        .at_least(1)
        .rule("self.all(key, 0 < int(key) && int(key) <= 65535)", "a port is between 1 and 65535");
    object(
        "Who takes connections in clear.",
        [
            ("selector", selector::workloads("The workloads that this is for; absent for all of the namespace.")),
            ("mtls", mtls("What holds for all ports; absent for what the namespace, or the mesh, says.")),
            ("portLevelMtls", ports),
        ],
    )
    .rule(
        "has(self.portLevelMtls) ? (((has(self.selector) && has(self.selector.matchLabels)) ? \
         self.selector.matchLabels : {}).size() > 0) : true",
        "portLevelMtls is for the ports of selected workloads: it needs a selector",
    )
}

fn mtls(description: &'static str) -> Schema {
    let mode =
        text("`STRICT` refuses what comes in clear, `PERMISSIVE` takes it; `UNSET` leaves it to the next level.");
    object(description, [("mode", mode.of(&["UNSET", "DISABLE", "PERMISSIVE", "STRICT"]))])
}
