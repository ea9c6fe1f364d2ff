//! `ztunnel-config policy`: the policies that an agent knows: who may talk to whom, and who has to prove who he is.

use serde_json::Value;

use super::dump::{Authorization, Dump, Peers, Scope, split};
use crate::output::View;
use crate::table::{Shrink, Table};

/// Which policies are shown.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Filter {
    /// Only policies of this namespace.
    #[arg(long, value_name = "NAMESPACE")]
    pub(crate) policy_namespace: Option<String>,
}

/// The policies that `filter` takes, AuthorizationPolicies before PeerAuthentications, by namespace and name.
pub(crate) fn view(dump: &Dump, filter: &Filter) -> View {
    let authorizations = dump.authorization_policies.iter().map(|listed| {
        let Authorization { key, scope, .. } = &listed.read;
        (split(key), action(&listed.read), scope, &listed.whole)
    });
    let peers = dump.peer_authentications.iter().map(|listed| {
        let Peers { key, scope, .. } = &listed.read;
        (split(key), mode(&listed.read), scope, &listed.whole)
    });
    let takes = |namespace: &str| filter.policy_namespace.as_deref().is_none_or(|it| namespace == it);
    let mut shown: Vec<_> = authorizations.chain(peers).filter(|((namespace, _), ..)| takes(namespace)).collect();
    // Stable: of one name the AuthorizationPolicy comes first.
    shown.sort_by_key(|(key, ..)| *key);
    let mut table = Table::new(&[
        ("NAMESPACE", Shrink::Middle),
        ("POLICY NAME", Shrink::Middle),
        ("ACTION", Shrink::End),
        ("SCOPE", Shrink::End),
    ]);
    for ((namespace, name), action, scope, _) in &shown {
        table.row([(*namespace).into(), (*name).into(), action.as_str().into(), said(scope).into()]);
    }
    let whole = shown.iter().map(|(.., whole)| (*whole).clone()).collect();
    View { empty: "No policies.", table, whole: Value::Array(whole) }
}

fn action(policy: &Authorization) -> String {
    if policy.dry_run { format!("{} (dry run)", policy.action) } else { policy.action.clone() }
}

/// What a PeerAuthentication demands: `mTLS Strict, 8080 Permissive`.
fn mode(peers: &Peers) -> String {
    let all = peers.mode.iter().cloned();
    let ports = peers.ports.iter().map(|(port, mode)| format!("{port} {mode}"));
    format!("mTLS {}", all.chain(ports).collect::<Vec<_>>().join(", "))
}

/// What a policy is for: in Istio's word, and which.
fn said(scope: &Scope) -> String {
    match scope {
        Scope::Mesh => "Global".to_owned(),
        Scope::Namespace(_) => "Namespace".to_owned(),
        Scope::Selector(namespace, labels) => {
            let labels = labels.iter().map(|(key, value)| format!("{key}={value}"));
            let wherever = if namespace.is_none() { " (all namespaces)" } else { "" };
            format!("WorkloadSelector {}{wherever}", labels.collect::<Vec<_>>().join(","))
        }
        Scope::Targets(targets) => format!("Waypoint {}", targets.join(", ")),
    }
}
