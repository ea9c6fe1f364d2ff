//! The listeners of a pod, one set a worker, opened inside the pod's network namespace.

use std::io;
use std::net::TcpListener as StdListener;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ambit_model::ports;
use ambit_net::netns::NetNs;
use ambit_net::socket::{Keepalive, ListenOptions, listen};
use nix::errno::Errno;
use tokio::net::TcpListener;

/// A pod's listeners, each for both address families.
pub(crate) struct Listeners<L> {
    /// Port 15001: what the pod opens.
    pub(crate) outbound: L,
    /// Port 15006: what reaches the pod in clear.
    pub(crate) plaintext: L,
    /// Port 15008: what reaches the pod by HBONE.
    pub(crate) hbone: L,
}

impl Listeners<StdListener> {
    /// Opens listeners in `netns`.
    ///
    /// # Errors
    /// The kernel's, with the port.
    pub(crate) fn open(netns: &NetNs, keepalive: Option<&Keepalive>) -> io::Result<Self> {
        let options = ListenOptions { keepalive: keepalive.cloned(), dual_stack: true, ..ListenOptions::default() };
        let on = |port: u16| {
            let on = |ip: IpAddr| listen(netns, SocketAddr::new(ip, port), &options);
            let listener = match on(Ipv6Addr::UNSPECIFIED.into()) {
                // The kernel has no IPv6 at all.
                Err(error) if error.raw_os_error() == Some(Errno::EAFNOSUPPORT as i32) => {
                    on(Ipv4Addr::UNSPECIFIED.into())
                }
                other => other,
            };
            listener.map_err(|error| io::Error::new(error.kind(), format!("port {port}: {error}")))
        };
        Ok(Self { outbound: on(ports::OUTBOUND)?, plaintext: on(ports::INBOUND_PLAINTEXT)?, hbone: on(ports::HBONE)? })
    }

    /// Hands the listeners to the runtime that this is called on.
    ///
    /// # Errors
    /// When the runtime cannot watch another descriptor.
    pub(crate) fn register(self) -> io::Result<Listeners<TcpListener>> {
        let Self { outbound, plaintext, hbone } = self;
        let on = TcpListener::from_std;
        Ok(Listeners { outbound: on(outbound)?, plaintext: on(plaintext)?, hbone: on(hbone)? })
    }
}
