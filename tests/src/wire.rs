//! A capture on the link between nodes, with no program outside this process: every frame is read from a packet
//! socket, TCP is put together again, and what is asked of it is counted on the way. Frames are not kept.

mod analysis;
mod packet;
mod report;
mod scan;
mod stream;
mod tls;

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, SockaddrLike, bind, setsockopt, socket, sockopt,
};

use crate::netns::{self, Netns};
use crate::topology::Topology;
use analysis::Analysis;
pub use report::{Flow, MarkerHits, Report};

/// How long the reader waits for a frame before it looks whether it shall stop.
const TURN: Duration = Duration::from_millis(10);
/// Frames that the kernel may hold for us, in bytes.
const BUFFER: usize = 256 << 20;

/// A running capture.
#[derive(Debug)]
pub struct Wire {
    shared: Arc<Shared>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    caught_up: Condvar,
}

#[derive(Debug)]
struct State {
    analysis: Analysis,
    /// How often somebody asked that everything sent so far be read, and how often that was so.
    asked: u64,
    answered: u64,
    stop: bool,
    failure: Option<String>,
}

impl Wire {
    /// Captures on the link between the first two nodes of `topology`, looking for `markers`.
    ///
    /// # Errors
    /// Without CAP_NET_RAW, or when the topology has one node only.
    pub fn between(topology: &Topology, markers: &[&[u8]]) -> anyhow::Result<Self> {
        let [near, far, ..] = topology.nodes() else { anyhow::bail!("a link needs two nodes") };
        Self::capture(&near.netns, &near.link_to(far.number), markers)
    }

    /// Captures on `interface` of `netns`, both directions, looking for `markers`.
    ///
    /// # Errors
    /// Without CAP_NET_RAW, or when there is no such interface.
    pub fn capture(netns: &Netns, interface: &str, markers: &[&[u8]]) -> anyhow::Result<Self> {
        let socket = netns::run_in(&netns.path(), || open(interface))?
            .with_context(|| format!("cannot capture on {interface} of {}", netns.name()))?;
        let analysis = Analysis::new(markers);
        let state = State { analysis, asked: 0, answered: 0, stop: false, failure: None };
        let shared = Arc::new(Shared { state: Mutex::new(state), caught_up: Condvar::new() });
        let reader = std::thread::spawn({
            let shared = shared.clone();
            move || read(&File::from(socket), &shared)
        });
        Ok(Self { shared, reader: Some(reader) })
    }

    /// What has been sent until now.
    ///
    /// # Errors
    /// When the capture broke off.
    pub fn report(&self) -> anyhow::Result<Report> {
        let mut state = self.shared.lock();
        state.asked += 1;
        let asked = state.asked;
        while state.answered < asked && state.failure.is_none() {
            state = self.shared.caught_up.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        match &state.failure {
            Some(failure) => Err(anyhow::anyhow!("the capture broke off: {failure}")),
            None => Ok(state.analysis.report()),
        }
    }

    /// What was sent, to the end.
    ///
    /// # Errors
    /// When the capture broke off.
    pub fn stop(self) -> anyhow::Result<Report> {
        self.report()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        if let Some(reader) = self.reader.take() {
            // The reader does not panic; if it did, `report` has said so.
            let _ = reader.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open(interface: &str) -> anyhow::Result<OwnedFd> {
    let is_it = |address: &nix::ifaddrs::InterfaceAddress| address.interface_name == interface;
    let links = nix::ifaddrs::getifaddrs()?.filter(is_it);
    let link: LinkAddr = links
        .filter_map(|found| found.address?.as_link_addr().copied())
        .find(|link| link.family() == Some(AddressFamily::Packet))
        .context("no such interface")?;
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)?;
    bind(socket.as_raw_fd(), &link)?;
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER)?;
    socket2::SockRef::from(&socket).set_read_timeout(Some(TURN))?;
    Ok(socket)
}

fn read(mut socket: &File, shared: &Shared) {
    let mut frame = vec![0; 256 << 10];
    loop {
        let result = socket.read(&mut frame);
        let mut state = shared.lock();
        match result {
            Ok(length) => state.analysis.frame(frame.get(..length).unwrap_or_default()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                state.answered = state.asked;
                shared.caught_up.notify_all();
                if state.stop {
                    return;
                }
            }
            Err(error) => {
                state.failure = Some(error.to_string());
                shared.caught_up.notify_all();
                return;
            }
        }
    }
}
