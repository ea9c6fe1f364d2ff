//! Pods are captured before anything of theirs runs: a chained CNI plugin (CNI 1.0), which asks this node's agent for each
//! pod that is being made and holds it back until the agent has it. The plugin is this very program, started as
//! `ambit-cni`; the agent puts it into its place and keeps it there.

mod ask;
mod chain;
mod desk;
mod environment;
mod install;
mod known;
mod plugin;

use std::path::PathBuf;

use serde::Serialize;

pub(crate) use ask::{About, Ask, Reply};
pub(crate) use desk::{Asked, Desk};
pub(crate) use environment::{Environment, invoked};
pub(crate) use install::Installation;
pub(crate) use known::Known;
pub(crate) use plugin::{WhenAway, run};

/// The plugin's name: its type in the configuration, and its file's.
pub(crate) const NAME: &str = "ambit-cni";

/// Where the plugin is on the node, and how it reaches the agent. Paths are the node's: in a container the same are to be
/// mounted.
#[derive(Clone, Debug, clap::Args, Serialize)]
#[group(id = "cni")]
pub(crate) struct Settings {
    /// Directory of the network configuration that the container runtime reads, such as /etc/cni/net.d: the agent chains
    /// its plugin there, so that no pod runs before it is captured. Default: pods are captured once they run.
    #[arg(long, env = "ZTUNNEL_CNI_CONF_DIR", value_name = "DIR")]
    pub(crate) cni_conf_dir: Option<PathBuf>,

    /// File in it, first by name, that the agent keeps as a configuration of its own: the network's, with the plugin. Whoever
    /// writes the network's anew, as many installers do when a node boots, does not take the plugin out. Default: the
    /// plugin is chained into the network's.
    #[arg(long, env = "ZTUNNEL_CNI_OWN_CONF", value_name = "NAME", value_parser = own_conf, requires = "cni_conf_dir")]
    pub(crate) cni_own_conf: Option<String>,

    /// Directory of the network's plugins.
    #[arg(long, env = "ZTUNNEL_CNI_BIN_DIR", value_name = "DIR", default_value = "/opt/cni/bin")]
    pub(crate) cni_bin_dir: PathBuf,

    /// Socket at which the plugin asks the agent.
    #[arg(long, env = "ZTUNNEL_CNI_SOCKET", value_name = "PATH", default_value = "/var/run/ambit/cni.sock")]
    pub(crate) cni_socket: PathBuf,

    /// Directory, kept over reboots, of what the plugin goes by while the agent is away.
    #[arg(long, env = "ZTUNNEL_CNI_STATE_DIR", value_name = "DIR", default_value = "/var/lib/ambit/cni")]
    pub(crate) cni_state_dir: PathBuf,

    /// What becomes of new pods of the mesh's namespaces while the agent is away.
    #[arg(long, env = "ZTUNNEL_CNI_WHEN_AWAY", value_enum, default_value_t = WhenAway::Wait)]
    pub(crate) cni_when_away: WhenAway,
}

/// The name of a list of plugins in a directory.
fn own_conf(name: &str) -> Result<String, String> {
    if name.contains('/') || name.starts_with('.') || !name.ends_with(".conflist") {
        return Err(format!("{name:?} is no name of a list of plugins: write one such as 00-ambit.conflist"));
    }
    Ok(name.to_owned())
}

impl Settings {
    /// The file that says which namespaces are in the mesh.
    pub(crate) fn known(&self) -> PathBuf {
        self.cni_state_dir.join("enrolled")
    }
}
