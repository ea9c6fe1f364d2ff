//! Who plays in the demo: the pods and services of the manifests, read from them so that the two cannot differ.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use ambit_tests::yaml;
use anyhow::{Context, ensure};
use serde_json::Value;

/// The port of every service of Bookinfo.
const PORT: u16 = 9080;

/// The pods and services of the manifests.
#[derive(Debug)]
pub(crate) struct Cast {
    /// The manifests' files.
    pub(crate) files: Vec<PathBuf>,
    /// The pods, in the order of the files.
    pub(crate) pods: Vec<Player>,
    /// The services' addresses, IPv4 first, by name.
    pub(crate) services: BTreeMap<String, Vec<IpAddr>>,
}

/// A pod.
#[derive(Clone, Debug)]
pub(crate) struct Player {
    /// Its name, such as `reviews-v2`.
    pub(crate) name: String,
    /// Its node.
    pub(crate) node: String,
    /// Its label `app`.
    pub(crate) app: String,
    /// Its label `version`.
    pub(crate) version: String,
    /// Its address.
    pub(crate) address: Ipv4Addr,
}

impl Cast {
    /// Reads every manifest in `directory`.
    ///
    /// # Errors
    /// When a file cannot be read or a pod lacks what the demo needs.
    pub(crate) fn load(directory: &Path) -> anyhow::Result<Self> {
        let entries = fs::read_dir(directory).with_context(|| format!("no manifests in {}", directory.display()))?;
        let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
        files.sort();
        let mut cast = Self { files, pods: Vec::new(), services: BTreeMap::new() };
        for file in cast.files.clone() {
            let text = fs::read_to_string(&file)?;
            let documents = yaml::load(&text).with_context(|| format!("{} cannot be read", file.display()))?;
            for document in &documents {
                cast.add(document).with_context(|| format!("in {}", file.display()))?;
            }
        }
        ensure!(!cast.pods.is_empty(), "no pods in {}", directory.display());
        Ok(cast)
    }

    /// Where the service `name` is reached: its first address and its port.
    ///
    /// # Errors
    /// When there is no such service.
    pub(crate) fn service(&self, name: &str) -> anyhow::Result<SocketAddr> {
        let addresses = self.services.get(name).with_context(|| format!("no service {name} in the manifests"))?;
        let first = addresses.first().with_context(|| format!("the service {name} has no address"))?;
        Ok(SocketAddr::new(*first, PORT))
    }

    fn add(&mut self, document: &Value) -> anyhow::Result<()> {
        let name = || text(document, "/metadata/name");
        match text(document, "/kind")?.as_str() {
            "Pod" => {
                let player = Player {
                    name: name()?,
                    node: text(document, "/spec/nodeName")?,
                    app: text(document, "/metadata/labels/app")?,
                    version: text(document, "/metadata/labels/version")?,
                    address: text(document, "/status/podIP")?.parse()?,
                };
                self.pods.push(player);
            }
            "Service" => {
                let ips = document.pointer("/spec/clusterIPs").and_then(Value::as_array);
                let ips = ips.context("clusterIPs is no list")?;
                let ips = ips.iter().filter_map(|ip| ip.as_str()?.parse().ok()).collect();
                self.services.insert(name()?, ips);
            }
            _ => {}
        }
        Ok(())
    }
}

impl Player {
    /// Where it listens.
    pub(crate) fn listens_at(&self) -> SocketAddr {
        SocketAddr::new(self.address.into(), PORT)
    }

    /// The last part of its address.
    pub(crate) fn host(&self) -> u8 {
        let [.., host] = self.address.octets();
        host
    }
}

fn text(document: &Value, path: &str) -> anyhow::Result<String> {
    let value = document.pointer(path).and_then(Value::as_str);
    value.map(str::to_owned).with_context(|| format!("{path} is missing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifests_hold_all_of_bookinfo() {
        let cast = Cast::load(&crate::build::root().join("examples/bookinfo")).unwrap();
        let mut pods: Vec<_> = cast.pods.iter().map(|pod| pod.name.as_str()).collect();
        pods.sort_unstable();
        assert_eq!(pods, ["details-v1", "productpage-v1", "ratings-v1", "reviews-v1", "reviews-v2", "reviews-v3"]);
        for service in ["productpage", "details", "reviews", "ratings"] {
            assert!(cast.service(service).unwrap().is_ipv4());
        }
    }
}
