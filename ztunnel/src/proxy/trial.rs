//! What policies on trial say of a connection that has been admitted: a line of the log, under a
//! target of its own as the access log has, and a count for each.

use ambit_model::policy::{self, Client};
use ambit_model::{Access, Connection, Snapshot, Upstream};
use ambit_telemetry::{Meter, Trial};

/// Logs and counts what AUDIT policies and dry runs say of `connection`, which `snapshot` has just admitted to `to`.
pub(crate) fn rehearse(meter: &Meter, snapshot: &Snapshot, connection: &Connection, to: &Upstream) {
    if snapshot.policies.is_empty() {
        return;
    }
    let (Some(access), Some(pod)) = (Access::new(connection, to), &to.workload) else { return };
    for (policy, rule) in policy::rehearse(snapshot, pod, &access) {
        meter.on_trial(Trial::new(&policy, rule.is_some()));
        let (action, policy, client): (_, _, &Client) = (policy.action, &policy.key, &access.client);
        tracing::info!(target: "trial", %policy, ?action, ?rule, ?client, to = %to.address, "policy on trial");
    }
}
