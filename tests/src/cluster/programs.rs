//! Where the programs of Kubernetes are: in the directory that `KUBEBUILDER_ASSETS` names, or in the cache.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};

use super::recipe::Part;
use super::settings::Settings;
use crate::python::run;

/// The programs of a control plane.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The store.
    pub etcd: PathBuf,
    /// The API server.
    pub apiserver: PathBuf,
    /// The client.
    pub kubectl: PathBuf,
    /// The controllers; what `KUBEBUILDER_ASSETS` names may lack them.
    pub controller_manager: Option<PathBuf>,
    /// The minor version of the API server, such as 20.
    pub minor: u32,
}

/// The programs of a cluster with nodes, beyond its control plane's.
#[derive(Clone, Debug)]
pub struct NodePrograms {
    /// The scheduler.
    pub scheduler: PathBuf,
    /// The kubelet.
    pub kubelet: PathBuf,
    /// The proxy of Services.
    pub kube_proxy: PathBuf,
    /// The directory of containerd, its shim, its client and runc.
    pub runtime: PathBuf,
    /// The directory of the CNI plugins.
    pub cni: PathBuf,
}

impl Programs {
    /// Those that `settings` point to.
    ///
    /// # Errors
    /// When they are not there; the message says how they get there.
    pub fn find(settings: &Settings) -> anyhow::Result<Self> {
        let directory = match &settings.assets {
            Some(directory) => directory.clone(),
            None => built(settings, Part::Api)?.join("bin"),
        };
        let apiserver = present(&directory, "kube-apiserver")?;
        Ok(Self {
            etcd: present(&directory, "etcd")?,
            kubectl: present(&directory, "kubectl")?,
            controller_manager: present(&directory, "kube-controller-manager").ok(),
            minor: minor(&apiserver)?,
            apiserver,
        })
    }
}

impl NodePrograms {
    /// Those in the cache; nothing stands in for them, since what they are told depends on their version.
    ///
    /// # Errors
    /// When they are not there; the message says how they get there.
    pub fn find(settings: &Settings) -> anyhow::Result<Self> {
        let cache = built(settings, Part::Nodes)?;
        let runtime = cache.join("bin");
        Ok(Self {
            scheduler: present(&runtime, "kube-scheduler")?,
            kubelet: present(&runtime, "kubelet")?,
            kube_proxy: present(&runtime, "kube-proxy")?,
            cni: cache.join("cni"),
            runtime,
        })
    }
}

fn built(settings: &Settings, part: Part) -> anyhow::Result<PathBuf> {
    let directory = part.directory(&settings.cache());
    ensure!(directory.is_dir(), "{} is not there: `cargo xtask cluster build` makes it", directory.display());
    Ok(directory.canonicalize()?)
}

fn present(directory: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let program = directory.join(name);
    if !program.is_file() {
        bail!("{} is not there", program.display());
    }
    Ok(program)
}

/// The minor version that `Kubernetes v1.20.2` says.
fn minor(apiserver: &Path) -> anyhow::Result<u32> {
    let said = run(Command::new(apiserver).arg("--version"))?;
    let number = said.split('.').nth(1).and_then(|number| number.parse().ok());
    number.with_context(|| format!("{} is of no version that is known: {said}", apiserver.display()))
}
