//! What Kubernetes is built of: Debian's packages and the flags of its compiler. The text of this file, and of the one
//! that compiles, is the key of the cache: what an older recipe built is never taken for what this one builds.

use std::path::{Path, PathBuf};

use crate::digest;

/// The version that Debian's source package holds.
pub const VERSION: &str = "1.20.2";
/// Debian's source package.
pub const SOURCE: &str = "kubernetes";
/// Debian's packages with the compiler, its library, and a library that replaces one of the source's own.
pub const BUILD_PACKAGES: [&str; 3] = ["golang-1.19-go", "golang-1.19-src", "golang-github-modern-go-reflect2-dev"];
/// Where those packages put the compiler.
pub const GO_ROOT: &str = "usr/lib/go-1.19";
/// Where the replacing library is in its package, and where the one that it replaces is in the source: reflect2 1.0.1
/// crashes under Go 1.18 and later at the first custom resource; Debian has 1.0.2.
pub const REPLACED: (&str, &str) =
    ("usr/share/gocode/src/github.com/modern-go/reflect2", "vendor/github.com/modern-go/reflect2");
/// Neither cloud providers nor the Docker shim: nothing here uses them, and they are a third of the build.
pub const TAGS: &str = "providerless dockerless";
/// The packages in which the source keeps its own version, as the linker names them.
pub const VERSION_PACKAGES: [&str; 2] =
    ["k8s.io/kubernetes/vendor/k8s.io/component-base/version", "k8s.io/kubernetes/vendor/k8s.io/client-go/pkg/version"];

/// What can be built by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The API server, its controllers, its store and its client.
    Api,
    /// What nodes need in addition: scheduler, kubelet, kube-proxy, containerd, runc and CNI plugins.
    Nodes,
}

impl Part {
    /// The programs that are compiled.
    #[must_use]
    pub const fn components(self) -> &'static [&'static str] {
        match self {
            Self::Api => &["kube-apiserver", "kube-controller-manager"],
            Self::Nodes => &["kube-scheduler", "kubelet", "kube-proxy"],
        }
    }

    /// Debian's packages that are taken as they are.
    #[must_use]
    pub const fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Api => &["etcd-server", "kubernetes-client"],
            Self::Nodes => &["containerd", "runc", "containernetworking-plugins"],
        }
    }

    /// The files and directories of those packages that are kept, each with the place that it gets.
    #[must_use]
    pub const fn kept(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Api => &[("usr/bin/etcd", "bin/etcd"), ("usr/bin/kubectl", "bin/kubectl")],
            Self::Nodes => &[
                ("usr/bin/containerd", "bin/containerd"),
                ("usr/bin/containerd-shim-runc-v2", "bin/containerd-shim-runc-v2"),
                ("usr/bin/ctr", "bin/ctr"),
                ("usr/sbin/runc", "bin/runc"),
                ("usr/lib/cni", "cni"),
            ],
        }
    }

    /// The directory in `cache` that it is built into; it exists once the part is complete.
    #[must_use]
    pub fn directory(self, cache: &Path) -> PathBuf {
        let name = match self {
            Self::Api => "api",
            Self::Nodes => "nodes",
        };
        cache.join(format!("{name}-{}", key()))
    }
}

/// What tells this recipe's programs from those of another recipe or for another machine.
fn key() -> String {
    let recipe = [std::env::consts::ARCH, include_str!("recipe.rs"), include_str!("build/compile.rs")];
    digest::sha256(recipe.join("\n").as_bytes()).chars().take(16).collect()
}
