//! `version`: which versions of the mesh's programs there are. Pure: `app` asks. The fields' names are istioctl's.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// This program's own.
pub(crate) const OWN: &str = env!("CARGO_PKG_VERSION");

/// A program of the cluster, and its version or why that is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// `pod.namespace`.
    pub(crate) name: String,
    pub(crate) version: Result<String, String>,
}

/// What a cluster has: the control plane's replicas, and the proxies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Remote {
    pub(crate) controllers: Vec<Found>,
    pub(crate) proxies: Vec<Found>,
}

/// The versions as text: each once, or of every proxy.
pub(crate) fn text(remote: Option<&Remote>, short: bool) -> String {
    let mut text = format!("client version: {OWN}\n");
    let Some(Remote { controllers, proxies }) = remote else { return text };
    for (version, count) in counted(controllers) {
        let replicas = if count > 1 { format!(" ({count} replicas)") } else { String::new() };
        text.push_str(&format!("control plane version: {version}{replicas}\n"));
    }
    if short {
        let versions = counted(proxies).into_iter();
        let noun = |count| if count == 1 { "proxy" } else { "proxies" };
        let all: Vec<String> =
            versions.map(|(version, count)| format!("{version} ({count} {})", noun(count))).collect();
        text.push_str(&format!(
            "data plane version: {}\n",
            if all.is_empty() { "none".to_owned() } else { all.join(", ") }
        ));
    } else {
        for Found { name, version } in proxies {
            text.push_str(&format!("{name}: {}\n", shown(version)));
        }
    }
    text
}

/// The same for programs.
pub(crate) fn whole(remote: Option<&Remote>) -> Value {
    let own = json!({"version": OWN});
    let Some(Remote { controllers, proxies }) = remote else { return json!({"clientVersion": own}) };
    let component = |found: &Found| json!({"Component": "controller", "Info": {"version": shown(&found.version)}});
    let proxy = |found: &Found| json!({"ID": found.name, "IstioVersion": shown(&found.version)});
    json!({
        "clientVersion": own,
        "meshVersion": controllers.iter().map(component).collect::<Vec<_>>(),
        "dataPlaneVersion": proxies.iter().map(proxy).collect::<Vec<_>>(),
    })
}

fn shown(version: &Result<String, String>) -> &str {
    version.as_deref().unwrap_or("unknown")
}

/// How many have each version, ascending.
fn counted(all: &[Found]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for found in all {
        *counts.entry(shown(&found.version)).or_default() += 1;
    }
    counts
}

/// The version that a page of metrics tells: that of `istio_build`.
pub(crate) fn of_metrics(page: &str) -> Option<String> {
    let line = page.lines().find(|line| line.starts_with("istio_build{"))?;
    let (_, rest) = line.split_once("tag=\"")?;
    rest.split_once('"').map(|(version, _)| version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote() -> Remote {
        let found = |name: &str, version: Result<&str, &str>| Found {
            name: name.to_owned(),
            version: version.map(str::to_owned).map_err(str::to_owned),
        };
        Remote {
            controllers: vec![found("ambit-controller-1.istio-system", Ok("0.1.0"))],
            proxies: vec![
                found("ztunnel-a.istio-system", Ok("0.1.0")),
                found("ztunnel-b.istio-system", Err("no answer")),
                found("waypoint-1.shop", Ok("0.1.0")),
            ],
        }
    }

    #[test]
    fn versions_are_told_once_each_or_for_every_proxy() {
        assert_eq!(text(None, true), "client version: 0.1.0\n");
        let all = "client version: 0.1.0\ncontrol plane version: 0.1.0\ndata plane version: 0.1.0 (2 proxies), unknown (1 proxy)\n";
        assert_eq!(text(Some(&remote()), true), all);
        let each = "client version: 0.1.0\ncontrol plane version: 0.1.0\n\
                    ztunnel-a.istio-system: 0.1.0\nztunnel-b.istio-system: unknown\nwaypoint-1.shop: 0.1.0\n";
        assert_eq!(text(Some(&remote()), false), each);
        let none = "client version: 0.1.0\ndata plane version: none\n";
        assert_eq!(text(Some(&Remote::default()), true), none);
    }

    #[test]
    fn programs_find_versions_where_istioctl_has_them() {
        assert_eq!(whole(None), json!({"clientVersion": {"version": "0.1.0"}}));
        let whole = whole(Some(&remote()));
        assert_eq!(whole["meshVersion"], json!([{"Component": "controller", "Info": {"version": "0.1.0"}}]));
        assert_eq!(whole["dataPlaneVersion"][1], json!({"ID": "ztunnel-b.istio-system", "IstioVersion": "unknown"}));
    }

    #[test]
    fn a_page_of_metrics_tells_its_programs_version() {
        let page =
            "# HELP istio_build x\n# TYPE istio_build gauge\nistio_build{component=\"controller\",tag=\"0.1.0\"} 1\n";
        assert_eq!(of_metrics(page).as_deref(), Some("0.1.0"));
        assert_eq!(of_metrics("# TYPE istio_build gauge\n"), None);
    }
}
