//! UDP sockets of the proxy inside a network namespace, for DNS. Knows no message.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::netns::NetNs;
use crate::socket::{OUR_MARK, canonical};

/// SO_MARK of a socket that asks, by connecting to a captured client, where the client's queries were to go.
const ASK_MARK: u32 = 0x53a;

/// A socket of the proxy's inside `namespace` on `address`, whether the namespace has that yet or not; it shares its
/// port with the other workers' (SO_REUSEPORT).
///
/// # Errors
/// The kernel's: `AddrInUse`, `PermissionDenied`, ...
pub fn bind(namespace: &NetNs, address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = open(namespace, address, OUR_MARK)?;
    socket.set_reuse_port(true)?;
    setsockopt(&socket, sockopt::IpFreebind, &true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// A socket of the proxy's inside `namespace` that speaks with `server` only.
///
/// # Errors
/// The kernel's, as when there is no route to `server`.
pub fn connect(namespace: &NetNs, server: SocketAddr) -> io::Result<UdpSocket> {
    let server = canonical(server);
    let socket = open(namespace, server, OUR_MARK)?;
    socket.connect(&server.into())?;
    Ok(socket.into())
}

/// As [`connect`], to whom the captured UDP socket at `client` sends its queries. The capture programs know: they turn
/// this connection to the client into one to that server.
///
/// # Errors
/// `NotFound` if there is no such socket any more, or it was not captured; else as [`connect`].
pub fn connect_as(namespace: &NetNs, client: SocketAddr) -> io::Result<UdpSocket> {
    let client = canonical(client);
    let socket = open(namespace, client, ASK_MARK)?;
    let unknown = || io::Error::new(io::ErrorKind::NotFound, format!("{client} was not captured"));
    socket.connect(&client.into()).map_err(|error| match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ECONNREFUSED) => unknown(),
        _ => error,
    })?;
    let socket = UdpSocket::from(socket);
    // Nothing has turned the connection: the pod is not captured any more.
    if socket.peer_addr()? == client {
        return Err(unknown());
    }
    SockRef::from(&socket).set_mark(OUR_MARK)?;
    Ok(socket)
}

/// Has the kernel give `socket`, as [`bind`] made it, nothing more, but to others on its port. What it has been given can still be
/// read, and anybody be answered.
///
/// # Errors
/// The kernel's.
pub fn turn_away(socket: impl AsFd) -> io::Result<()> {
    /// Discard (RFC 863): who has this port on loopback is nobody that asks for anything.
    const DISCARD: u16 = 9;
    let socket = SockRef::from(&socket);
    let local = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::InvalidInput)?;
    let loopback: IpAddr = if local.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
    // A socket with a peer hears its peer alone.
    socket.connect(&SocketAddr::new(loopback, DISCARD).into())
}

fn open(namespace: &NetNs, address: SocketAddr, mark: u32) -> io::Result<Socket> {
    let kind = Type::DGRAM.nonblocking().cloexec();
    let socket = namespace.run(|| Socket::new_raw(Domain::for_address(address), kind, Some(Protocol::UDP)))??;
    socket.set_mark(mark)?;
    Ok(socket)
}
