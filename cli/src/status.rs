//! `proxy-status`: every proxy of the mesh, and whether what it has in force is what its source says. Pure: `app` asks.
//!
//! Nothing is sent to Ambit's proxies: each reads its source itself. So there is nothing to acknowledge; what a proxy can
//! be is behind what its source says, and that it says itself (`/status`).

use serde::Deserialize;
use serde_json::{Value, json};

use crate::output::View;
use crate::table::{Cell, Shrink, Table, Tone};

/// What a proxy says of itself (`/status`).
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Said {
    /// `ztunnel` or `waypoint`.
    pub(crate) program: String,
    pub(crate) version: String,
    cluster: String,
    node: Option<String>,
    source: String,
    configuration: Standing,
}

/// How what is in force stands to what the source says.
#[derive(Clone, Debug, Deserialize)]
struct Standing {
    sync: Sync,
    why: Vec<String>,
    errors: u64,
}

/// The same in a word.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Sync {
    Unread,
    Stale,
    Synced,
}

impl Sync {
    const fn word(self) -> &'static str {
        match self {
            Self::Unread => "NOT READY",
            Self::Stale => "STALE",
            Self::Synced => "SYNCED",
        }
    }
}

/// A proxy, and what it says or why it says nothing.
#[derive(Clone, Debug)]
pub(crate) struct Proxy {
    /// `pod.namespace`, or the address that was asked.
    pub(crate) name: String,
    /// The node that its pod is on; empty where that is not known.
    pub(crate) node: String,
    pub(crate) said: Result<Said, String>,
}

/// The proxies as they are given.
pub(crate) fn view(proxies: &[Proxy]) -> View {
    let mut table = Table::new(&[
        ("NAME", Shrink::Middle),
        ("CLUSTER", Shrink::Middle),
        ("NODE", Shrink::Start),
        ("SOURCE", Shrink::Start),
        ("STATUS", Shrink::Never),
        ("ERRORS", Shrink::Never),
        ("VERSION", Shrink::Never),
    ]);
    for Proxy { name, node, said } in proxies {
        let (status, [cluster, node, source, errors, version]) = match said {
            Ok(said) => {
                let Said { cluster, source, version, configuration, .. } = said;
                let node = if node.is_empty() { said.node.as_deref().unwrap_or_default() } else { node };
                let errors = configuration.errors.to_string();
                let cells = [cluster.as_str(), node, source, errors.as_str(), version].map(Cell::from);
                (configuration.sync.word(), cells)
            }
            Err(_) => ("UNREACHABLE", ["", node.as_str(), "", "", ""].map(Cell::from)),
        };
        let tone = if status == Sync::Synced.word() { Tone::Good } else { Tone::Bad };
        table.row([name.as_str().into(), cluster, node, source, Cell::toned(status, tone), errors, version]);
    }
    View { empty: "No proxies.", table, whole: proxies.iter().map(whole).collect() }
}

/// Why those that are not in sync are not: a line for each reason, as often as proxies have it.
pub(crate) fn reasons(proxies: &[Proxy]) -> Vec<String> {
    let lines = proxies.iter().flat_map(|Proxy { name, said, .. }| match said {
        Ok(said) if said.configuration.why.is_empty() && said.configuration.sync == Sync::Unread => {
            vec![format!("{name}: its source has not been read yet")]
        }
        Ok(said) => said.configuration.why.iter().map(|why| format!("{name}: {why}")).collect(),
        Err(why) => vec![format!("{name}: {why}")],
    });
    lines.collect()
}

fn whole(proxy: &Proxy) -> Value {
    let Proxy { name, node, .. } = proxy;
    match &proxy.said {
        Ok(said) => {
            let Standing { sync, why, errors } = &said.configuration;
            let own = said.node.as_ref().filter(|_| node.is_empty());
            json!({
                "name": name,
                "type": said.program,
                "node": own.unwrap_or(node),
                "cluster": said.cluster,
                "version": said.version,
                "source": said.source,
                "status": sync.word(),
                "why": why,
                "errors": errors,
            })
        }
        Err(why) => json!({"name": name, "node": node, "status": "UNREACHABLE", "why": [why]}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Format;
    use crate::table::Screen;

    fn said(value: Value) -> Result<Said, String> {
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    fn proxies() -> Vec<Proxy> {
        let away =
            "the Kubernetes API does not answer as it should: connection refused; what it said last stays in force";
        let standing = |sync: &str, why: &[&str], errors: u64| json!({"sync": sync, "why": why, "errors": errors});
        let agent = |node: &str, standing: Value| {
            said(json!({
                "program": "ztunnel",
                "version": "0.1.0",
                "cluster": "Kubernetes",
                "node": node,
                "source": "kubernetes",
                "configuration": standing,
            }))
        };
        let waypoint = json!({
            "program": "waypoint",
            "version": "0.1.0",
            "cluster": "Kubernetes",
            "namespace": "shop",
            "name": "waypoint",
            "source": "/etc/ambit/mesh",
            "configuration": standing("unread", &[], 0),
        });
        let proxy = |name: &str, node: &str, said| Proxy { name: name.to_owned(), node: node.to_owned(), said };
        vec![
            proxy("ztunnel-4xk2p.istio-system", "node-1", agent("node-1", standing("synced", &[], 0))),
            proxy("ztunnel-9qz7w.istio-system", "", agent("node-2", standing("stale", &[away], 2))),
            proxy("ztunnel-b2b2b.istio-system", "node-3", Err("its pod does not run".to_owned())),
            proxy("waypoint-7d9c5f6b8-abcde.shop", "node-1", said(waypoint)),
        ]
    }

    #[test]
    fn every_proxy_is_shown_with_its_standing_within_100_columns() {
        let text = view(&proxies()).text(Format::Table, Screen { width: Some(100), colours: false }).unwrap();
        let expected = "\
NAME                           CLUSTER     NODE    SOURCE           STATUS       ERRORS  VERSION
ztunnel-4xk2p.istio-system     Kubernetes  node-1  kubernetes       SYNCED       0       0.1.0
ztunnel-9qz7w.istio-system     Kubernetes  node-2  kubernetes       STALE        2       0.1.0
ztunnel-b2b2b.istio-system                 node-3                   UNREACHABLE
waypoint-7d9c5f6b8-abcde.shop  Kubernetes  node-1  /etc/ambit/mesh  NOT READY    0       0.1.0
";
        assert_eq!(text, expected);
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    }

    #[test]
    fn who_is_not_in_sync_says_why() {
        let lines = reasons(&proxies());
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[0].starts_with("ztunnel-9qz7w.istio-system: the Kubernetes API does not answer"), "{}", lines[0]);
        assert_eq!(lines[1], "ztunnel-b2b2b.istio-system: its pod does not run");
        assert_eq!(lines[2], "waypoint-7d9c5f6b8-abcde.shop: its source has not been read yet");
    }

    #[test]
    fn programs_are_given_the_same() {
        let whole = view(&proxies()).whole;
        let column = |field: &str| whole.as_array().unwrap().iter().map(|row| row[field].clone()).collect::<Vec<_>>();
        assert_eq!(column("status"), ["SYNCED", "STALE", "UNREACHABLE", "NOT READY"]);
        assert_eq!(column("node"), ["node-1", "node-2", "node-3", "node-1"]);
        assert_eq!(
            whole[2],
            json!({
                "name": "ztunnel-b2b2b.istio-system",
                "node": "node-3",
                "status": "UNREACHABLE",
                "why": ["its pod does not run"],
            })
        );
        assert_eq!(whole[3]["type"], "waypoint");
    }
}
