//! What the environment says of the Kubernetes that the tests use: envtest's names, so that a newer one can stand in.

use std::path::{Path, PathBuf};

/// What the environment says.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// `KUBEBUILDER_ASSETS`: a directory with kube-apiserver, etcd and kubectl, and whatever else is to be run.
    pub assets: Option<PathBuf>,
    /// `KUBECONFIG`, if `USE_EXISTING_CLUSTER` is `true`: a cluster that is there already.
    pub existing: Option<PathBuf>,
    /// `AMBIT_KUBERNETES`: where built programs are kept, instead of below `target/`.
    pub cache: Option<PathBuf>,
}

impl Settings {
    /// Reads the environment. A `KUBECONFIG` alone is no consent: who works with clusters has one for another purpose, and
    /// tests install, change and delete.
    #[must_use]
    pub fn from_environment() -> Self {
        let path = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let consent = std::env::var_os("USE_EXISTING_CLUSTER").is_some_and(|value| value == "true");
        Self {
            assets: path("KUBEBUILDER_ASSETS"),
            existing: path("KUBECONFIG").filter(|_| consent),
            cache: path("AMBIT_KUBERNETES"),
        }
    }

    /// The directory that built programs are kept in.
    #[must_use]
    pub fn cache(&self) -> PathBuf {
        let below_target = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/kubernetes");
        self.cache.clone().unwrap_or_else(below_target)
    }
}
