//! The listeners of a pod and its DNS sockets, one set a worker, opened inside the pod's network namespace.

use std::io;
use std::net::TcpListener as StdListener;
use std::net::UdpSocket as StdUdpSocket;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ambit_ebpf_loader::Migration;
use ambit_model::ports;
use ambit_net::socket::{Keepalive, ListenOptions, listen};
use ambit_net::udp;
use nix::errno::Errno;
use tokio::net::{TcpListener, UdpSocket};

use super::pod::Pod;

/// A pod's listeners, each for both address families, and its DNS sockets.
pub(crate) struct Listeners<L, D> {
    /// Port 15001: what the pod opens.
    pub(crate) outbound: L,
    /// Port 15006: what reaches the pod in clear.
    pub(crate) plaintext: L,
    /// Port 15008: what reaches the pod by HBONE.
    pub(crate) hbone: L,
    /// Port 15053: DNS queries by TCP.
    pub(crate) dns: L,
    /// Port 15080: what the pod asks for by SOCKS5.
    pub(crate) socks5: L,
    /// Port 15053: DNS queries by UDP, a socket for each family.
    pub(crate) queries: Vec<D>,
}

impl Listeners<StdListener, StdUdpSocket> {
    /// Opens listeners in the network namespace of `pod`, from which what waits moves over to others by `migration`.
    ///
    /// # Errors
    /// The kernel's, with the port.
    pub(crate) fn open(pod: &Pod, keepalive: Option<&Keepalive>, migration: Option<&Migration>) -> io::Result<Self> {
        let options = ListenOptions { keepalive: keepalive.cloned(), dual_stack: true, ..ListenOptions::default() };
        let on = |port: u16| {
            let on = |ip: IpAddr| listen(&pod.netns, SocketAddr::new(ip, port), &options);
            let listener = match on(Ipv6Addr::UNSPECIFIED.into()) {
                // The kernel has no IPv6 at all.
                Err(error) if error.raw_os_error() == Some(Errno::EAFNOSUPPORT as i32) => {
                    on(Ipv4Addr::UNSPECIFIED.into())
                }
                other => other,
            };
            let listener = listener.and_then(|listener| {
                migration.map_or(Ok(()), |migration| migration.permit(&listener))?;
                Ok(listener)
            });
            listener.map_err(|error| io::Error::new(error.kind(), format!("port {port}: {error}")))
        };
        Ok(Self {
            outbound: on(ports::OUTBOUND)?,
            plaintext: on(ports::INBOUND_PLAINTEXT)?,
            hbone: on(ports::HBONE)?,
            dns: on(ports::DNS)?,
            socks5: on(ports::SOCKS5)?,
            queries: datagrams(pod)?,
        })
    }

    /// Hands the listeners to the runtime that this is called on.
    ///
    /// # Errors
    /// When the runtime cannot watch another descriptor.
    pub(crate) fn register(self) -> io::Result<Listeners<TcpListener, UdpSocket>> {
        let Self { outbound, plaintext, hbone, dns, socks5, queries } = self;
        let on = TcpListener::from_std;
        Ok(Listeners {
            outbound: on(outbound)?,
            plaintext: on(plaintext)?,
            hbone: on(hbone)?,
            dns: on(dns)?,
            socks5: on(socks5)?,
            queries: queries.into_iter().map(UdpSocket::from_std).collect::<io::Result<_>>()?,
        })
    }
}

/// A socket on port 15053 of the very address that queries of a family are redirected to, so that answers come from it:
/// the pod's own, or loopback where it has none.
fn datagrams(pod: &Pod) -> io::Result<Vec<StdUdpSocket>> {
    let mut sockets = Vec::new();
    for loopback in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
        let own = pod.addresses.iter().copied().find(|address| address.is_ipv4() == loopback.is_ipv4());
        let address = SocketAddr::new(own.unwrap_or(loopback), ports::DNS);
        match udp::bind(&pod.netns, address) {
            Ok(socket) => sockets.push(socket),
            // The kernel has no IPv6 at all.
            Err(error) if error.raw_os_error() == Some(Errno::EAFNOSUPPORT as i32) => {}
            Err(error) => return Err(io::Error::new(error.kind(), format!("{address} (UDP): {error}"))),
        }
    }
    Ok(sockets)
}
