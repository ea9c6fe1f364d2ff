//! `ztunnel-config workload`: the pods that an agent knows.

use std::net::IpAddr;

use serde_json::Value;

use super::dump::{Dump, Listed, Workload, waypoint};
use crate::output::View;
use crate::table::{Shrink, Table};

/// Which pods are shown: those of which all that is given holds.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Filter {
    /// Only the pod with this address.
    #[arg(long, value_name = "IP")]
    pub(crate) address: Option<IpAddr>,

    /// Only pods of this namespace.
    #[arg(long, value_name = "NAMESPACE")]
    pub(crate) workload_namespace: Option<String>,

    /// Only pods of this node.
    #[arg(long, value_name = "NODE")]
    pub(crate) workload_node: Option<String>,
}

impl Filter {
    fn takes(&self, workload: &Workload) -> bool {
        self.address.is_none_or(|address| workload.addresses.contains(&address))
            && self.workload_namespace.as_ref().is_none_or(|namespace| workload.namespace == *namespace)
            && self.workload_node.as_ref().is_none_or(|node| workload.node == *node)
    }
}

/// The pods that `filter` takes, by namespace, name and node.
pub(crate) fn view(dump: &Dump, filter: &Filter) -> View {
    let mut shown: Vec<&Listed<Workload>> = dump.workloads.iter().filter(|listed| filter.takes(&listed.read)).collect();
    shown.sort_by_key(|Listed { read, .. }| (&read.namespace, &read.name, &read.node));
    let mut table = Table::new(&[
        ("NAMESPACE", Shrink::Middle),
        ("POD NAME", Shrink::Middle),
        ("ADDRESS", Shrink::Never),
        ("NODE", Shrink::Start),
        ("WAYPOINT", Shrink::Middle),
        ("PROTOCOL", Shrink::Never),
    ]);
    for Listed { read: pod, .. } in &shown {
        table.row([
            pod.namespace.as_str().into(),
            pod.name.as_str().into(),
            pod.addresses.first().map(ToString::to_string).unwrap_or_default().into(),
            pod.node.as_str().into(),
            waypoint(dump.bound.workloads.get(&pod.uid), pod.waypoint.as_ref(), &pod.namespace).into(),
            pod.protocol().into(),
        ]);
    }
    let whole = shown.iter().map(|listed| listed.whole.clone()).collect();
    View { empty: "No workloads.", table, whole: Value::Array(whole) }
}
