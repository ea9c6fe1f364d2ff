//! Why capture could not be put in force, and what the operator does about it.

use std::{io, path::PathBuf};

use aya::{EbpfError, programs::ProgramError};

/// Why capture could not be put in force.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cgroup to attach to cannot be used. The operator names a directory of the cgroup v2 hierarchy, above the
    /// pods' cgroups.
    #[error("{path} is not a directory of the cgroup v2 hierarchy ({source}): give the cgroup above the pods")]
    Cgroup {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The agent runs in the root cgroup while capture covers only a part of the hierarchy, so its own sockets could
    /// only be seen by attaching to everything. The operator starts the agent in a cgroup of its own.
    #[error(
        "the agent runs in the root cgroup, outside {attach}: start it in a cgroup of its own \
         (or, in a container, in the host's cgroup namespace), or attach to the root"
    )]
    AgentInRoot {
        /// The cgroup that capture is attached to.
        attach: PathBuf,
    },
    /// There is no bpffs to pin to and none could be mounted. The operator mounts one (`mount -t bpf bpf PATH`), in a
    /// container with bidirectional propagation, or gives the agent CAP_SYS_ADMIN.
    #[error("no bpffs at {path} and none can be mounted ({source}): run `mount -t bpf bpf {path}` on the host")]
    Bpffs {
        /// Where it was looked for.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A file or directory of pins could not be used. The operator checks that the agent may write to the bpffs.
    #[error("pin {path} cannot be used: {source}")]
    Pin {
        /// The pin.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A pinned map has another layout under the same version: another build left it. The operator removes the
    /// directory, which ends the enrolment of every pod, and restarts the agent.
    #[error("the pinned map {path} has another layout than this build's: remove {directory} and start again")]
    Layout {
        /// The map's pin.
        path: PathBuf,
        /// What to remove.
        directory: PathBuf,
    },
    /// The object does not fit this kernel. The operator compares the kernel with the table that the agent prints at
    /// start ([`probe`](crate::probe)).
    #[error("the eBPF object cannot be loaded: see the table of capabilities")]
    Object(#[source] Box<EbpfError>),
    /// The kernel refused a program; the source holds the verifier's log. The operator gives the agent CAP_BPF,
    /// CAP_NET_ADMIN and CAP_PERFMON, or reports the log.
    #[error("the kernel refuses the program {program}: see the table of capabilities")]
    Program {
        /// The program's name.
        program: &'static str,
        /// What the kernel said, with the verifier's log.
        #[source]
        source: Box<ProgramError>,
    },
    /// A program could not be attached. The operator gives the agent CAP_BPF and CAP_NET_ADMIN, and checks that no
    /// other agent holds the hook exclusively (`bpftool cgroup tree`).
    #[error("the program {program} cannot be attached to {target}: {source}")]
    Attach {
        /// The program's name.
        program: &'static str,
        /// The cgroup, or the network namespace's cookie.
        target: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A map is full. The operator spreads the pods over more nodes.
    #[error("the map {map} is full: this node has more pods or addresses than it can enrol")]
    Full {
        /// The map's name.
        map: &'static str,
    },
    /// A map could not be read or written. The operator restarts the agent, and reports it if it stays.
    #[error("the map {map} cannot be used: {source}")]
    Map {
        /// The map's name.
        map: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The listener cannot take steered connections. It must be a listening TCP socket; this is a defect.
    #[error("the listener of the network namespace {cookie} cannot be used: {source}")]
    Listener {
        /// Cookie of the network namespace.
        cookie: u64,
        /// What the kernel said.
        source: io::Error,
    },
}

impl Error {
    /// The error of an operation on `map`.
    pub(crate) fn map(map: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| match source.raw_os_error() {
            Some(nix::libc::E2BIG) => Self::Full { map },
            _ => Self::Map { map, source },
        }
    }

    /// The error of an operation on `path`.
    pub(crate) fn pin(path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Pin { path, source }
    }
}
