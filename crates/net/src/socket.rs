//! TCP sockets of the proxy: listening and connecting inside a network namespace, with the marks that tell the proxy's
//! connections from those of applications. Knows nothing of what is sent.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpSocket, TcpStream};

use crate::netns::NetNs;
use crate::ports;

/// SO_MARK of the proxy's own sockets: what carries it is never captured.
pub const OUR_MARK: u32 = 0x539;
/// SO_MARK of connections that the proxy delivers to an application under its client's address. The mark is what
/// brings the application's answers back to the proxy: see [`crate::routes`].
pub const SPOOF_MARK: u32 = 0x111;

/// How soon a connection whose peer has gone silent counts as broken. The default is Istio's: 180 s of silence, then
/// 9 probes 180 s apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Silence before the first probe (TCP_KEEPIDLE; whole seconds, 1 to 32767).
    pub time: Duration,
    /// Between two probes (TCP_KEEPINTVL; whole seconds, 1 to 32767).
    pub interval: Duration,
    /// Unanswered probes that break the connection (TCP_KEEPCNT; 1 to 127).
    pub probes: u32,
    /// How long sent data may stay unacknowledged (TCP_USER_TIMEOUT; whole milliseconds); the system's default if none.
    pub user_timeout: Option<Duration>,
}

impl Default for Keepalive {
    fn default() -> Self {
        Self { time: Duration::from_secs(180), interval: Duration::from_secs(180), probes: 9, user_timeout: None }
    }
}

/// How a listener is opened. It shares its port with the other workers' (SO_REUSEPORT), and the connections that it
/// accepts inherit its mark, keepalive and TCP_NODELAY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenOptions {
    /// On an IPv6 address also accept IPv4, whose addresses then come v4-mapped; else the one family of the address.
    pub dual_stack: bool,
    /// Also accept connections to addresses that the namespace does not have (IP_TRANSPARENT; CAP_NET_ADMIN).
    pub transparent: bool,
    /// Also bind to an address that the namespace does not have (IP_FREEBIND).
    pub freebind: bool,
    /// SO_MARK of the listener and of what it accepts (CAP_NET_ADMIN); 0 sets none.
    pub mark: u32,
    /// Connections that wait to be accepted; the namespace's `net.core.somaxconn` bounds it too.
    pub backlog: i32,
    /// Keepalive of accepted connections; none leaves it off.
    pub keepalive: Option<Keepalive>,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            dual_stack: false,
            transparent: false,
            freebind: false,
            mark: OUR_MARK,
            backlog: 4096,
            keepalive: Some(Keepalive::default()),
        }
    }
}

/// How a connection is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectOptions {
    /// The address to connect from though the namespace does not have it, of the target's family (IP_TRANSPARENT;
    /// CAP_NET_ADMIN). The kernel chooses if none.
    pub source: Option<IpAddr>,
    /// Connect from a port that the client does not choose for itself: see [`crate::ports`]. For a client whose own
    /// connections to the target end in this namespace too.
    pub apart: bool,
    /// SO_MARK (CAP_NET_ADMIN); 0 sets none.
    pub mark: u32,
    /// How long the target may take to answer.
    pub timeout: Duration,
    /// Keepalive of the connection; none leaves it off.
    pub keepalive: Option<Keepalive>,
}

impl ConnectOptions {
    /// For a connection of the proxy's own, such as a tunnel: [`OUR_MARK`], 10 s.
    #[must_use]
    pub fn outward() -> Self {
        let (timeout, keepalive) = (Duration::from_secs(10), Some(Keepalive::default()));
        Self { source: None, apart: false, mark: OUR_MARK, timeout, keepalive }
    }

    /// For a connection that an application is to take for `client`'s: [`SPOOF_MARK`], 10 s. The application's
    /// namespace must have been prepared by [`crate::routes::allow_spoofed_delivery`].
    #[must_use]
    pub fn delivery(client: IpAddr) -> Self {
        Self { source: Some(client.to_canonical()), mark: SPOOF_MARK, ..Self::outward() }
    }
}

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nothing listens there. Start the application, or correct the Service's `targetPort`.
    #[error("connection refused by {0}")]
    Refused(SocketAddr),
    /// No answer in time. Look for a NetworkPolicy or a firewall on the way, or an overloaded destination.
    #[error("{0} did not answer in time")]
    TimedOut(SocketAddr),
    /// The namespace has no route to the address, or a router said so. Check the CNI and that the pod still exists.
    #[error("no route to {0}")]
    NoRoute(SocketAddr),
    /// The client's address cannot be kept: connect without `source`, and the application sees the proxy's address.
    /// Grant CAP_NET_ADMIN, or where the families differ leave it so.
    #[error("cannot connect to {target} in the name of {client}: {error}")]
    Source {
        /// The address that was to be connected from.
        client: IpAddr,
        /// The address that was to be connected to.
        target: SocketAddr,
        /// What the kernel said.
        error: io::Error,
    },
    /// Anything else, such as a lack of descriptors or a namespace that may not be entered: see the error.
    #[error("cannot connect to {target}: {error}")]
    Other {
        /// The address that was to be connected to.
        target: SocketAddr,
        /// What the kernel said.
        error: io::Error,
    },
}

/// Listens inside `namespace` on `address`; accepting works from any namespace.
///
/// # Errors
/// The kernel's: `AddrInUse`, `AddrNotAvailable`, `PermissionDenied`, ...
pub fn listen(namespace: &NetNs, address: SocketAddr, options: &ListenOptions) -> io::Result<TcpListener> {
    let socket = open(namespace, address)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(!options.dual_stack)?;
    }
    if options.freebind {
        setsockopt(&socket, sockopt::IpFreebind, &true)?;
    }
    if options.transparent {
        set_transparent(&socket, address.ip())?;
    }
    mark(&socket, options.mark)?;
    prepare(&socket, options.keepalive.as_ref())?;
    socket.bind(&address.into())?;
    socket.listen(options.backlog)?;
    Ok(socket.into())
}

/// Has the kernel drop every further SYN to `listener`: nobody new is let in, and whoever tries asks again after a second,
/// of whoever listens then. Handshakes that have begun go on and arrive. What has arrived must still be accepted before
/// the listener is closed, for closing resets it.
///
/// # Errors
/// The kernel's, such as a lack of memory for the filter.
pub fn turn_away(listener: impl AsFd) -> io::Result<()> {
    /// The byte of the TCP header that holds SYN, and SYN in it (RFC 9293, section 3.1).
    const FLAGS: u32 = 13;
    const SYN: u32 = 0x02;
    // Classic BPF (linux/bpf_common.h); a socket's filter sees a segment from its TCP header on.
    const LOAD_BYTE: u16 = 0x30;
    const JUMP_IF_SET: u16 = 0x45;
    const RETURN: u16 = 0x06;
    SockRef::from(&listener).attach_filter(&[
        SockFilter::new(LOAD_BYTE, 0, 0, FLAGS),
        SockFilter::new(JUMP_IF_SET, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ])
}

/// Connects from inside `namespace` to `target`. Needs a tokio runtime with I/O and time.
///
/// # Errors
/// See [`ConnectError`].
pub async fn connect(
    namespace: &NetNs,
    target: SocketAddr,
    options: &ConnectOptions,
) -> Result<TcpStream, ConnectError> {
    let target = canonical(target);
    for port in ports::apart().filter(|_| options.apart && options.source.is_some()) {
        match connect_from(namespace, port, target, options).await {
            Err(ConnectError::Source { error, .. }) if is_taken(&error) => {}
            outcome => return outcome,
        }
    }
    connect_from(namespace, ports::ANY, target, options).await
}

/// One attempt, from `port` if there is a source to connect from.
async fn connect_from(
    namespace: &NetNs,
    port: u16,
    target: SocketAddr,
    options: &ConnectOptions,
) -> Result<TcpStream, ConnectError> {
    let failed = |error| match options.source {
        Some(client) if port != ports::ANY && is_taken(&error) => ConnectError::Source { client, target, error },
        _ => ConnectError::because(target, error),
    };
    let socket = open(namespace, target).map_err(failed)?;
    mark(&socket, options.mark).map_err(failed)?;
    prepare(&socket, options.keepalive.as_ref()).map_err(failed)?;
    if let Some(client) = options.source {
        bind_source(&socket, SocketAddr::new(client, port), target).map_err(|error| ConnectError::Source {
            client,
            target,
            error,
        })?;
    }
    let connecting = TcpSocket::from_std_stream(socket.into()).connect(target);
    match tokio::time::timeout(options.timeout, connecting).await {
        Ok(outcome) => outcome.map_err(failed),
        Err(_) => Err(ConnectError::TimedOut(target)),
    }
}

impl ConnectError {
    fn because(target: SocketAddr, error: io::Error) -> Self {
        match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ECONNREFUSED) => Self::Refused(target),
            Some(Errno::ETIMEDOUT) => Self::TimedOut(target),
            Some(Errno::EHOSTUNREACH | Errno::ENETUNREACH | Errno::EHOSTDOWN | Errno::ENETDOWN) => {
                Self::NoRoute(target)
            }
            _ => Self::Other { target, error },
        }
    }
}

pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(v4) => SocketAddr::new(v4.into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

/// A TCP socket of `namespace`, non-blocking. A socket stays in the namespace in which it was made, so that is the one
/// step that must be done inside.
fn open(namespace: &NetNs, address: SocketAddr) -> io::Result<Socket> {
    let kind = Type::STREAM.nonblocking().cloexec();
    namespace.run(|| Socket::new_raw(Domain::for_address(address), kind, Some(Protocol::TCP)))?
}

fn prepare(socket: &Socket, keepalive: Option<&Keepalive>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    let Some(keepalive) = keepalive else { return Ok(()) };
    let probing = TcpKeepalive::new().with_time(keepalive.time).with_interval(keepalive.interval);
    socket.set_tcp_keepalive(&probing.with_retries(keepalive.probes))?;
    if let Some(timeout) = keepalive.user_timeout {
        socket.set_tcp_user_timeout(Some(timeout))?;
    }
    Ok(())
}

fn mark(socket: &Socket, mark: u32) -> io::Result<()> {
    if mark == 0 { Ok(()) } else { socket.set_mark(mark) }
}

fn set_transparent(socket: &Socket, address: IpAddr) -> io::Result<()> {
    match address {
        IpAddr::V4(_) => socket.set_ip_transparent_v4(true),
        IpAddr::V6(_) => socket.set_ip_transparent_v6(true),
    }
}

/// Lets `socket` speak in `client`'s name. A port that the kernel may choose, it chooses once it knows the target: so a
/// port is taken only if this very pair of addresses has it already (IP_BIND_ADDRESS_NO_PORT).
fn bind_source(socket: &Socket, client: SocketAddr, target: SocketAddr) -> io::Result<()> {
    set_transparent(socket, target.ip())?;
    if client.port() == ports::ANY {
        setsockopt(socket, sockopt::IpBindAddressNoPort, &true)?;
    } else {
        // What else has the port may be connected to something else, or be a connection that has ended.
        socket.set_reuse_address(true)?;
    }
    socket.bind(&SocketAddr::new(client.ip().to_canonical(), client.port()).into())
}

/// True if another port may do.
fn is_taken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable)
}
