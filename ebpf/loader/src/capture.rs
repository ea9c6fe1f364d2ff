//! Capture as the agent sees it: open, enrol and withdraw pods, compare with the kernel, remove. The order of changes is
//! decided by [`project`](crate::project), and what a connection meets by the kernel programs.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
};

use ambit_ebpf_abi::programs;

use crate::{
    cgroup,
    counters::{CounterMap, Counters},
    destinations::OriginalDestinations,
    error::Error,
    host_pods::HostPods,
    link,
    object::{self, Programs},
    pins::Pins,
    project::{Enrolled, Operation, Own, Wanted, diff},
    state::{Sockets, State},
    sys::{self, AttachType},
};

/// Where capture is put in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The cgroup (v2) above the pods': connections opened below it can be captured.
    pub cgroup: PathBuf,
    /// The directory for pins, in a bpffs. Two agents on one kernel need two.
    pub pins: PathBuf,
    /// Cookie of the node's own network namespace: what is opened there by processes below the cgroup is known to be a
    /// pod's, unless the cgroup is the root, which everything is below of.
    pub host: u64,
}

impl Settings {
    /// The usual directory for pins.
    pub const PINS: &str = "/sys/fs/bpf/ambit";
}

/// A pod to be enrolled.
#[derive(Clone, Debug)]
pub struct Pod<'fd> {
    /// Cookie of its network namespace (`SO_NETNS_COOKIE` of a socket in it).
    pub cookie: u64,
    /// Its network namespace.
    pub netns: BorrowedFd<'fd>,
    /// Its IPv4 address: captured connections are redirected to it, to port 15001.
    pub v4: Option<Ipv4Addr>,
    /// Its IPv6 address, likewise. Without an address of the family, loopback takes its place.
    pub v6: Option<Ipv6Addr>,
    /// Whether its DNS queries are captured as well: they are redirected to port 15053.
    pub dns: bool,
    /// All its addresses but loopback; `v4` and `v6` need not be repeated. Connections between them stay in the pod.
    pub addresses: Vec<IpAddr>,
    /// Its plaintext listener: a listening TCP socket inside the network namespace, dual-stack (`[::]` without
    /// `IPV6_V6ONLY`) if the pod has both families. Of a reuseport group any member will do.
    pub listener: BorrowedFd<'fd>,
}

/// Capture in force. Dropping it changes nothing in the kernel: everything is pinned, and stays until withdrawn.
pub struct Capture {
    pins: Pins,
    state: State,
    destinations: OriginalDestinations,
    host_pods: HostPods,
    counters: CounterMap,
}

impl Capture {
    /// Puts this build's programs in force, in the place of those of an earlier agent, whose maps and enrolled pods it
    /// takes over. There is no moment without a program at a hook, nor with two.
    ///
    /// # Errors
    /// Every [`Error`] but those of pods. What was in force before stays in force.
    pub fn open(settings: &Settings) -> Result<Self, Error> {
        let attach = cgroup::checked(&settings.cgroup)?;
        let apart = cgroup::agents_own(&attach)?;
        let pins = Pins::open(&settings.pins)?;
        let host = if cgroup::is_root(&attach)? { 0 } else { settings.host };
        let programs = object::load(&pins, host)?;
        // Whatever else is in the agent's cgroup, the kubelet perhaps, is no pod.
        let publish = apart.as_ref().map(|_| object::load(&pins, 0).map(|programs| programs.publish)).transpose()?;
        let apart = apart.as_deref().zip(publish.as_ref());
        hook_agent(&pins, &programs, apart)?;
        hook_pods(&pins, &programs, &attach)?;
        let destinations = OriginalDestinations::open(&pins.maps())?;
        let host_pods = HostPods::open(&pins.maps())?;
        let counters = CounterMap::open(&pins.maps())?;
        let state = State::open(pins.clone(), programs.steer)?;
        state.refresh()?;
        Ok(Self { pins, state, destinations, host_pods, counters })
    }

    /// Captures `pod`, or brings what the kernel has of it up to date. Connections that are open are left alone. When
    /// it fails half way, the pod is not captured yet, and calling again goes on.
    ///
    /// # Errors
    /// [`Error::Listener`], [`Error::Attach`], [`Error::Full`], [`Error::Map`].
    pub fn enrol(&mut self, pod: &Pod<'_>) -> Result<Vec<Operation>, Error> {
        let mut kernel = self.state.read()?;
        kernel.retain(|&cookie, _| cookie == pod.cookie);
        self.apply(std::slice::from_ref(pod), &kernel)
    }

    /// Ends the capture of the pod in the network namespace `cookie`. Connections that are open are left alone; those
    /// already on their way to the agent's listener still have their original destinations.
    ///
    /// # Errors
    /// [`Error::Pin`], [`Error::Map`].
    pub fn withdraw(&mut self, cookie: u64) -> Result<Vec<Operation>, Error> {
        let mut kernel = self.state.read()?;
        kernel.retain(|&has, _| has == cookie);
        self.apply(&[], &kernel)
    }

    /// What the kernel has now, by the cookies of the network namespaces.
    ///
    /// # Errors
    /// [`Error::Pin`], [`Error::Map`].
    pub fn enrolled(&self) -> Result<BTreeMap<u64, Enrolled>, Error> {
        self.state.read()
    }

    /// Makes the kernel have exactly `wanted`, and returns what was wrong. Pods that are not wanted are withdrawn, the
    /// pins of network namespaces that are gone are removed, and so is what other versions of the agent have left:
    /// an agent that has just started calls this once it has enrolled every pod, not before.
    ///
    /// # Errors
    /// As [`enrol`](Self::enrol), of the first pod that failed. The others are as wanted; the next call goes on.
    pub fn audit(&mut self, wanted: &[Pod<'_>]) -> Result<Vec<Operation>, Error> {
        let kernel = self.state.read()?;
        let operations = self.apply(wanted, &kernel)?;
        self.pins.retire_others()?;
        Ok(operations)
    }

    /// Where captured connections wanted to go, for those who accept them.
    #[must_use]
    pub fn original_destinations(&self) -> OriginalDestinations {
        self.destinations.clone()
    }

    /// What pods with the node's own network have opened, for those who accept it.
    #[must_use]
    pub fn host_pods(&self) -> HostPods {
        self.host_pods.clone()
    }

    /// What the programs have counted.
    ///
    /// # Errors
    /// [`Error::Map`].
    pub fn counters(&self) -> Result<Counters, Error> {
        self.counters.read()
    }

    /// Takes everything out of force and removes it: no pod is captured any more.
    ///
    /// # Errors
    /// [`Error::Pin`], [`Error::Map`].
    pub fn remove(mut self) -> Result<(), Error> {
        let kernel = self.state.read()?;
        self.apply(&[], &kernel)?;
        self.pins.remove_all()
    }

    fn apply(&mut self, wanted: &[Pod<'_>], kernel: &BTreeMap<u64, Enrolled>) -> Result<Vec<Operation>, Error> {
        let pods = wanted.iter().map(|pod| Ok((pod.cookie, pod.wanted()?))).collect::<Result<_, Error>>()?;
        let sockets: BTreeMap<u64, Sockets<'_>> =
            wanted.iter().map(|pod| (pod.cookie, Sockets { netns: pod.netns, listener: pod.listener })).collect();
        let (mut done, mut failed) = (Vec::new(), BTreeMap::new());
        for operation in diff(&pods, kernel) {
            let cookie = operation.cookie();
            if failed.contains_key(&cookie) {
                // The order matters within a pod: what follows a failure would capture it by half.
                continue;
            }
            match self.state.apply(operation, sockets.get(&cookie).copied()) {
                Ok(()) => {
                    tracing::debug!(%operation, "kernel changed");
                    done.push(operation);
                }
                Err(error) => drop(failed.insert(cookie, error)),
            }
        }
        failed.into_values().next().map_or(Ok(done), Err)
    }
}

impl Pod<'_> {
    fn wanted(&self) -> Result<Wanted, Error> {
        let listener = sys::socket_cookie(self.listener);
        let listener = listener.map_err(|source| Error::Listener { cookie: self.cookie, source })?;
        let own = [self.v4.map(IpAddr::V4), self.v6.map(IpAddr::V6)];
        let all = self.addresses.iter().copied().chain(own.into_iter().flatten());
        let addresses = all.map(|address| address.to_canonical()).filter(|address| !address.is_loopback()).collect();
        Ok(Wanted { own: Own { v4: self.v4, v6: self.v6, dns: self.dns }, addresses, listener })
    }
}

/// Puts the programs in force at the agent's own cgroup if that is apart from the pods', where what watches sockets is another
/// program, and removes what is left of those of earlier agents that are gone: in one that is there another agent may still serve.
/// Comes first: a connection that is redirected must be published as well.
fn hook_agent(pins: &Pins, programs: &Programs, apart: Option<(&Path, &OwnedFd)>) -> Result<(), Error> {
    // The agent's own sockets are published when they deliver, and ask by connecting.
    let agents = [
        (programs::PUBLISH, apart.map_or(&programs.publish, |(_, publish)| publish)),
        (programs::CONNECT4, &programs.connect4),
        (programs::CONNECT6, &programs.connect6),
    ];
    let mut own = BTreeSet::new();
    for (name, program) in agents {
        let Some((agent, _)) = apart else { continue };
        let id = std::fs::metadata(agent).map_err(Error::pin(agent))?.ino();
        let path = pins.agent_link(name, id);
        hook(&path, name, program, agent)?;
        own.insert(path);
    }
    for path in pins.agent_links()? {
        let target = link::target_of(&path, AttachType::BPF_CGROUP_SOCK_OPS).map_err(Error::pin(&path))?;
        if !own.contains(&path) && target == Some(0) {
            link::remove(&path).map_err(Error::pin(&path))?;
        }
    }
    Ok(())
}

/// Puts the programs in force at the cgroup above the pods'.
fn hook_pods(pins: &Pins, programs: &Programs, attach: &Path) -> Result<(), Error> {
    let hooks = [
        (programs::PUBLISH, &programs.publish),
        (programs::PEER4, &programs.peer4),
        (programs::PEER6, &programs.peer6),
        (programs::RECEIVE4, &programs.receive4),
        (programs::RECEIVE6, &programs.receive6),
        (programs::SEND4, &programs.send4),
        (programs::SEND6, &programs.send6),
        (programs::CONNECT4, &programs.connect4),
        (programs::CONNECT6, &programs.connect6),
    ];
    for (name, program) in hooks {
        hook(&pins.links().join(name), name, program, attach)?;
    }
    Ok(())
}

fn hook(pin: &Path, name: &'static str, program: &OwnedFd, cgroup: &Path) -> Result<(), Error> {
    let at = match name {
        programs::CONNECT4 => AttachType::BPF_CGROUP_INET4_CONNECT,
        programs::CONNECT6 => AttachType::BPF_CGROUP_INET6_CONNECT,
        programs::PEER4 => AttachType::BPF_CGROUP_INET4_GETPEERNAME,
        programs::PEER6 => AttachType::BPF_CGROUP_INET6_GETPEERNAME,
        programs::SEND4 => AttachType::BPF_CGROUP_UDP4_SENDMSG,
        programs::SEND6 => AttachType::BPF_CGROUP_UDP6_SENDMSG,
        programs::RECEIVE4 => AttachType::BPF_CGROUP_UDP4_RECVMSG,
        programs::RECEIVE6 => AttachType::BPF_CGROUP_UDP6_RECVMSG,
        _ => AttachType::BPF_CGROUP_SOCK_OPS,
    };
    let attached = sys::directory(cgroup).and_then(|target| {
        // A cgroup's id is the inode of its directory.
        let id = std::fs::metadata(cgroup)?.ino();
        link::put(pin, at, program.as_fd(), target.as_fd(), id)
    });
    attached.map_err(|source| Error::Attach { program: name, target: cgroup.display().to_string(), source })
}
