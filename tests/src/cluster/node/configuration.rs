//! What a node's components are told: files in their own formats.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Value, json};

use super::{Ground, Node};
use crate::cluster::certificates::Credential;
use crate::cluster::network::{self, DNS_SERVICE, PODS};
use crate::cluster::programs::NodePrograms;
use crate::image::PAUSE;

/// Where containerd listens, as the kubelet names it.
pub(super) const SOCKET: &str = "unix:///run/containerd/containerd.sock";

/// The PATH of a node's components: containerd looks for its shim there.
pub(super) fn path(programs: &NodePrograms) -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let all = std::iter::once(programs.runtime.clone()).chain(std::env::split_paths(&path)).chain(system);
    std::env::join_paths(all).unwrap_or(path)
}

/// containerd's configuration and, in the directory that becomes the node's /etc, that of the pods' network.
pub(super) fn containerd(ground: &Ground<'_>, number: u8) -> anyhow::Result<PathBuf> {
    let network = json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [{
            "type": "bridge",
            "bridge": "pods",
            "isGateway": true,
            "hairpinMode": true,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": network::pods(number)}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }],
    });
    let networks = ground.directory.join("etc/cni/net.d");
    fs::create_dir_all(&networks)?;
    write(&networks, "10-pods.conflist", &network)?;
    let runc = ground.programs.runtime.join("runc");
    let text = format!(
        "version = 2\n\
         [plugins.\"io.containerd.grpc.v1.cri\"]\n\
         sandbox_image = \"{PAUSE}\"\n\
         disable_apparmor = true\n\
         # Root may lack the right to lower it.\n\
         restrict_oom_score_adj = true\n\
         [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc]\n\
         runtime_type = \"io.containerd.runc.v2\"\n\
         [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc.options]\n\
         BinaryName = \"{}\"\n\
         SystemdCgroup = false\n",
        runc.display()
    );
    let path = ground.directory.join("containerd.toml");
    fs::write(&path, text).with_context(|| format!("{}", path.display()))?;
    Ok(path)
}

/// The kubelet's; its pods are below the cgroup `group`.
pub(super) fn kubelet(
    ground: &Ground<'_>,
    node: &Node,
    credential: &Credential,
    group: &Path,
) -> anyhow::Result<PathBuf> {
    fs::write(ground.directory.join("resolv.conf"), format!("nameserver {DNS_SERVICE}\n"))?;
    // Disks of a developer's machine are full as a matter of course.
    let eviction = json!({
        "memory.available": "50Mi",
        "nodefs.available": "0%",
        "nodefs.inodesFree": "0%",
        "imagefs.available": "0%",
    });
    let configuration = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": node.address,
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": ground.control_plane.authority().file("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": credential.certificate_file,
        "tlsPrivateKeyFile": credential.key_file,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": Path::new("/").join(group),
        "failSwapOn": false,
        "makeIPTablesUtilChains": false,
        "resolvConf": ground.directory.join("resolv.conf"),
        "clusterDomain": "cluster.local",
        "clusterDNS": [DNS_SERVICE],
        "evictionHard": eviction,
        "imageGCHighThresholdPercent": 100,
        "maxPods": 200,
        "nodeStatusUpdateFrequency": "5s",
        "syncFrequency": "10s",
    });
    write(&ground.directory, "kubelet.json", &configuration)
}

/// kube-proxy's.
pub(super) fn kube_proxy(ground: &Ground<'_>, node: &Node, kubeconfig: &Path) -> anyhow::Result<PathBuf> {
    let configuration = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": kubeconfig},
        "mode": "iptables",
        "clusterCIDR": PODS,
        "hostnameOverride": node.name,
        // These settings of the kernel are the machine's, not the namespace's.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "healthzBindAddress": format!("{}:10256", node.address),
        "metricsBindAddress": "127.0.0.1:10249",
    });
    write(&ground.directory, "kube-proxy.json", &configuration)
}

fn write(directory: &Path, name: &str, value: &Value) -> anyhow::Result<PathBuf> {
    let path = directory.join(name);
    fs::write(&path, serde_json::to_vec_pretty(value)?).with_context(|| format!("{}", path.display()))?;
    Ok(path)
}
