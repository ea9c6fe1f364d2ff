//! Asks the kernel for what capture needs, one capability at a time, and says what to do about what is missing. It
//! changes nothing and attaches nothing.

use std::{fmt, path::Path};

use aya::{
    maps::MapType,
    programs::{ProgramError, ProgramType},
    sys::{BpfHelper, is_helper_supported, is_map_supported},
};
use nix::sys::statfs::BPF_FS_MAGIC;
use serde::Serialize;

use crate::{cgroup, sys};

const RIGHTS: &str = "give the agent CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON (CAP_SYS_ADMIN to enter pods)";

/// What capture needs of the kernel, and whether it is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Capabilities(pub Vec<Capability>);

/// One thing that capture needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Capability {
    /// What it is for, in a few words.
    pub name: &'static str,
    /// The first kernel that has it.
    pub kernel: &'static str,
    /// Whether it is there.
    pub state: Presence,
}

/// Whether a capability is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum Presence {
    /// It is.
    Available,
    /// It is not.
    Missing {
        /// What was found instead.
        why: String,
        /// What the operator does about it.
        remedy: String,
    },
}

/// Asks the kernel, with `cgroup` as the cgroup above the pods.
#[must_use]
pub fn probe(cgroup: &Path) -> Capabilities {
    let connect = ProgramType::CgroupSockAddr;
    let helpers = [
        ("socket storage in connect", "5.8", connect, BpfHelper::BPF_FUNC_sk_storage_get),
        ("network namespace in connect", "5.7", connect, BpfHelper::BPF_FUNC_get_netns_cookie),
        ("look-up of a query's socket", "5.0", connect, BpfHelper::BPF_FUNC_sk_lookup_udp),
        ("refusal with ECONNREFUSED", "5.18", connect, BpfHelper::BPF_FUNC_set_retval),
        ("socket storage in sock_ops", "5.2", ProgramType::SockOps, BpfHelper::BPF_FUNC_sk_storage_get),
        ("network namespace in sock_ops", "5.15", ProgramType::SockOps, BpfHelper::BPF_FUNC_get_netns_cookie),
        ("steering in sk_lookup", "5.9", ProgramType::SkLookup, BpfHelper::BPF_FUNC_sk_assign),
    ];
    let maps = [("socket hash", "4.18", MapType::SockHash), ("least-recently-used hash", "4.10", MapType::LruHash)];
    let mut found = vec![in_cgroup(cgroup), in_bpffs()];
    found.extend(maps.map(|(name, kernel, map)| {
        let supported = is_map_supported(map).map_err(ProgramError::from);
        Capability { name, kernel, state: presence(kernel, supported) }
    }));
    found.extend(helpers.map(|(name, kernel, program, helper)| {
        let supported = is_helper_supported(program, helper);
        Capability { name, kernel, state: presence(kernel, supported) }
    }));
    Capabilities(found)
}

impl Capabilities {
    /// True if capture can be put in force.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.missing().next().is_none()
    }

    /// Those that are not there.
    pub fn missing(&self) -> impl Iterator<Item = &Capability> {
        self.0.iter().filter(|capability| capability.state != Presence::Available)
    }
}

impl fmt::Display for Capabilities {
    /// A table, one capability a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.0.iter().map(|capability| capability.name.len()).max().unwrap_or_default();
        write!(f, "{:width$}  {:6}  state", "capability", "kernel")?;
        for Capability { name, kernel, state } in &self.0 {
            write!(f, "\n{name:width$}  {kernel:6}  ")?;
            match state {
                Presence::Available => write!(f, "available")?,
                Presence::Missing { why, remedy } => write!(f, "MISSING: {why}; {remedy}")?,
            }
        }
        Ok(())
    }
}

fn in_cgroup(cgroup: &Path) -> Capability {
    let state = match cgroup::checked(cgroup) {
        Ok(_) => Presence::Available,
        Err(error) => Presence::Missing { why: error.to_string(), remedy: "mount cgroup v2 or set the path".into() },
    };
    Capability { name: "cgroup v2 above the pods", kernel: "4.10", state }
}

fn in_bpffs() -> Capability {
    let filesystems = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let mounted = sys::is_on(Path::new("/sys/fs/bpf"), BPF_FS_MAGIC).unwrap_or_default();
    let state = if mounted || filesystems.lines().any(|line| line.trim_start_matches("nodev").trim() == "bpf") {
        Presence::Available
    } else {
        let remedy = "use a kernel with CONFIG_BPF_SYSCALL".into();
        Presence::Missing { why: "the kernel knows no bpf file system".into(), remedy }
    };
    Capability { name: "bpf file system for pins", kernel: "4.4", state }
}

fn presence(kernel: &str, supported: Result<bool, ProgramError>) -> Presence {
    match supported {
        Ok(true) => Presence::Available,
        Ok(false) => Presence::Missing {
            why: "not in this kernel, or switched off in its configuration".into(),
            remedy: format!("use Linux {kernel} or later"),
        },
        Err(error) => Presence::Missing { why: error.to_string(), remedy: RIGHTS.into() },
    }
}
