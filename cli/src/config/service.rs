//! `ztunnel-config service`: the services that an agent knows.

use std::collections::BTreeSet;

use serde_json::Value;

use super::dump::{Dump, Listed, Service, Target, split, waypoint};
use crate::output::View;
use crate::table::{Shrink, Table};

/// Which services are shown.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Filter {
    /// Only services of this namespace.
    #[arg(long, value_name = "NAMESPACE")]
    pub(crate) service_namespace: Option<String>,
}

/// The services that `filter` takes, by namespace and name.
pub(crate) fn view(dump: &Dump, filter: &Filter) -> View {
    let takes = |service: &Service| filter.service_namespace.as_deref().is_none_or(|it| split(&service.key).0 == it);
    let mut shown: Vec<&Listed<Service>> = dump.services.iter().filter(|listed| takes(&listed.read)).collect();
    shown.sort_by_key(|Listed { read, .. }| split(&read.key));
    let mut table = Table::new(&[
        ("NAMESPACE", Shrink::Middle),
        ("SERVICE NAME", Shrink::Middle),
        ("SERVICE VIP", Shrink::Middle),
        ("WAYPOINT", Shrink::Middle),
        ("ENDPOINTS", Shrink::Never),
    ]);
    for Listed { read: service, .. } in &shown {
        let (namespace, name) = split(&service.key);
        table.row([
            namespace.into(),
            name.into(),
            addresses(service).into(),
            waypoint(dump.bound.services.get(&service.key), service.waypoint.as_ref(), namespace).into(),
            endpoints(service).into(),
        ]);
    }
    let whole = shown.iter().map(|listed| listed.whole.clone()).collect();
    View { empty: "No services.", table, whole: Value::Array(whole) }
}

fn addresses(service: &Service) -> String {
    let vips = service.vips.iter().map(ToString::to_string);
    vips.chain(service.ranges.iter().cloned()).collect::<Vec<_>>().join(",")
}

/// How many endpoints take connections, of all that there are: `2/3`.
fn endpoints(service: &Service) -> String {
    let count = |endpoints: fn(&super::dump::Port) -> &[Target]| {
        // A pod counts once, however many addresses it has.
        let of_port = |port| {
            endpoints(port).iter().map(|Target { address, workload }| match workload {
                Some(pod) => Err(pod),
                None => Ok(address.ip()),
            })
        };
        service.ports.iter().flat_map(of_port).collect::<BTreeSet<_>>().len()
    };
    format!("{}/{}", count(|port| &port.targets), count(|port| &port.members))
}
