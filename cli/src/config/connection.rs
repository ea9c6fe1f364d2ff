//! `ztunnel-config connections`: the connections that an agent has open, each as its pod sees it.

use std::net::SocketAddr;

use serde_json::Value;

use super::dump::{Connection, Direction, Listed};
use crate::output::View;
use crate::table::{Shrink, Table};

/// Which connections are shown, and how.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Filter {
    /// Only connections of pods of this namespace.
    #[arg(long, value_name = "NAMESPACE")]
    pub(crate) workload_namespace: Option<String>,

    /// Only connections that go this way.
    #[arg(long, value_enum)]
    pub(crate) direction: Option<Direction>,

    /// Addresses, and no names of pods.
    #[arg(long)]
    pub(crate) raw: bool,
}

/// A connection from where its pod stands.
struct Seen<'a> {
    workload: Option<&'a str>,
    namespace: Option<&'a str>,
    local: SocketAddr,
    remote: (Option<&'a str>, Option<&'a str>, SocketAddr),
    target: String,
}

impl Connection {
    fn seen(&self, names: &Names<'_>) -> Seen<'_> {
        let source = (self.src_workload.as_deref(), self.src_namespace.as_deref(), self.src);
        let destination = (self.dst_workload.as_deref(), self.dst_namespace.as_deref(), self.reached());
        let ((workload, namespace, local), remote) = match self.direction {
            Direction::Outbound => (source, destination),
            Direction::Inbound => (destination, source),
        };
        Seen { workload, namespace, local, remote, target: self.target(names) }
    }

    /// Where the connection ends: of a tunnel to a pod, the port of the pod that was asked for.
    fn reached(&self) -> SocketAddr {
        let asked = self.hbone.as_deref().and_then(|authority| authority.parse::<SocketAddr>().ok());
        asked.filter(|asked| asked.ip() == self.dst.ip()).unwrap_or(self.dst)
    }

    /// By which service it was reached; without one, or in numbers, what the CONNECT asks for.
    fn target(&self, names: &Names<'_>) -> String {
        let authority = || self.hbone.clone().unwrap_or_default();
        let Some(service) = self.dst_service.as_deref().filter(|_| !names.raw) else { return authority() };
        let below =
            names.domain.and_then(|domain| service.strip_suffix(domain)).and_then(|rest| rest.strip_suffix(".svc."));
        below.unwrap_or(service).to_owned()
    }
}

/// How things are named.
struct Names<'a> {
    /// The DNS suffix of Services, which need only their name and namespace.
    domain: Option<&'a str>,
    /// Not at all.
    raw: bool,
}

/// The connections that `filter` takes, by pod, direction and addresses; Services are named without their `domain`.
pub(crate) fn view(open: &[Listed<Connection>], filter: &Filter, domain: Option<&str>) -> View {
    let names = Names { domain, raw: filter.raw };
    let mut shown: Vec<(Seen<'_>, &Listed<Connection>)> =
        open.iter().map(|listed| (listed.read.seen(&names), listed)).collect();
    shown.retain(|(seen, listed)| {
        filter.direction.is_none_or(|direction| listed.read.direction == direction)
            && filter.workload_namespace.as_deref().is_none_or(|namespace| seen.namespace == Some(namespace))
    });
    shown.sort_by_key(|(seen, listed)| {
        (seen.namespace, seen.workload, listed.read.direction, seen.local, seen.remote.2)
    });
    let mut table = Table::new(&[
        ("WORKLOAD", Shrink::Middle),
        ("DIRECTION", Shrink::Never),
        ("LOCAL", Shrink::Never),
        ("REMOTE", Shrink::Middle),
        ("REMOTE TARGET", Shrink::Middle),
        ("PROTOCOL", Shrink::Never),
    ]);
    for (seen, Listed { read, .. }) in &shown {
        let named = |name: Option<&str>, namespace: Option<&str>| match (name, namespace) {
            (Some(name), Some(namespace)) if !filter.raw => Some(format!("{name}.{namespace}")),
            _ => None,
        };
        let (name, namespace, address) = seen.remote;
        let remote = named(name, namespace).map(|name| format!("{name}:{}", address.port()));
        table.row([
            named(seen.workload, seen.namespace).unwrap_or_else(|| seen.local.ip().to_string()).into(),
            (if read.direction == Direction::Inbound { "Inbound" } else { "Outbound" }).into(),
            seen.local.to_string().into(),
            remote.unwrap_or_else(|| address.to_string()).into(),
            seen.target.as_str().into(),
            (if read.hbone.is_some() { "HBONE" } else { "TCP" }).into(),
        ]);
    }
    let whole = shown.iter().map(|(_, listed)| listed.whole.clone()).collect();
    View { empty: "No open connections.", table, whole: Value::Array(whole) }
}
