//! The schema of networking.istio.io WorkloadEntry, which endpoints of a ServiceEntry have as well.

use super::{Schema, labels, map, object, port, text, uint32};

/// `spec`.
pub(super) fn spec() -> Schema {
    let address = text("Its address, or the DNS name that has it, or `unix://` and the path of a socket.")
        .at_most(256)
        .rule(
            "self.startsWith('unix://') ? (self.substring(7, 8) == '/' || self.substring(7, 8) == '@') : true",
            "the path of a socket begins with / or @",
        )
        .rule("self.startsWith('unix://') ? !self.endsWith('/') : true", "a socket is no directory");
    let ports = map("Where it listens, by the names of the service's ports.", port("")).at_most(128).rule(
        "self.all(key, size(key) < 63 && key.matches('^[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?$'))",
        "the name of a port has letters, digits and hyphens, 62 at most",
    );
    object(
        "A workload that is no pod.",
        [
            ("address", address),
            ("ports", ports),
            ("labels", labels("What selectors match.").at_most(256)),
            ("network", text("The network that its address is of.").at_most(2048)),
            ("locality", text("Where it is: `region/zone/subzone`, or the beginning of that.").at_most(2048)),
            ("weight", uint32("How much of the load it takes next to others; absent or 0 for 1.")),
            ("serviceAccount", text("The service account that it runs as.").at_most(253)),
        ],
    )
    .rule("has(self.address) || has(self.network)", "an address is missing")
    .rule(
        "(has(self.address) ? self.address : '').startsWith('unix://') ? !has(self.ports) : true",
        "a socket has no ports",
    )
}
