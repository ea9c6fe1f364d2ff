//! Routing of a pod's network namespace that brings an application's answers to a client back to the proxy, which
//! connected in that client's name. Knows nothing of which pods need it.
//!
//! The proxy's socket carries [`SPOOF_MARK`]. `tcp_fwmark_accept` gives the application's socket the mark of the SYN
//! that made it, `fwmark_reflect` gives it to answers that no socket sends (the RST of a closed port), and a rule takes
//! what is marked to a table that delivers everything locally.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use netlink_packet_route::route::{RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;

use crate::netns::NetNs;
use crate::socket::SPOOF_MARK;

/// The bits of a mark that the rule compares: the others may be a CNI's.
const MARK_MASK: u32 = 0xfff;
/// The table that delivers everything locally.
const TABLE: u8 = 100;
/// After the kernel's table of local addresses (0) and before every rule that a CNI sets.
const PRIORITY: u32 = 10;
/// The index of `lo`: the first interface of every namespace.
const LOOPBACK: u32 = 1;

const NEW: u16 = NLM_F_CREATE | NLM_F_EXCL;

/// One address family, and what asks the kernel where its marked packets go.
struct Family {
    name: AddressFamily,
    reflect: &'static str,
    anywhere: IpAddr,
}

/// Below where proc(5) is mounted.
const ACCEPT: &str = "sys/net/ipv4/tcp_fwmark_accept";
const V6_DISABLED: &str = "sys/net/ipv6/conf/lo/disable_ipv6";
const V4: Family = Family {
    name: AddressFamily::Inet,
    reflect: "sys/net/ipv4/fwmark_reflect",
    anywhere: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
};
const V6: Family = Family {
    name: AddressFamily::Inet6,
    reflect: "sys/net/ipv6/fwmark_reflect",
    anywhere: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
};

/// Prepares `namespace` so that an application can answer connections opened by
/// [`ConnectOptions::delivery`](crate::socket::ConnectOptions::delivery), also bringing `lo` up. Does nothing where all
/// is as it should be. Where IPv6 is disabled the IPv4 part is done alone. `proc` is where proc(5) is mounted to be written:
/// in a container its own is read-only, and sysctls of the network are always those of the namespace that the thread is in.
///
/// # Errors
/// The namespace may not be entered or changed (CAP_NET_ADMIN, a read-only `proc`), or something else in it claims
/// routing table 100 or the marked packets.
pub fn allow_spoofed_delivery(namespace: &NetNs, proc: &Path) -> io::Result<()> {
    namespace.run(|| {
        let mut netlink = Netlink::open()?;
        netlink.change(loopback_up(), 0, &[])?;
        write_sysctl(&proc.join(ACCEPT), true)?;
        for family in families(proc) {
            write_sysctl(&proc.join(family.reflect), true)?;
            netlink.change(RouteNetlinkMessage::NewRoute(local_route(family)), NEW, &[Errno::EEXIST])?;
            netlink.change(RouteNetlinkMessage::NewRule(mark_rule(family)), NEW, &[Errno::EEXIST])?;
            if netlink.kind_of_marked_route(family)? != RouteType::Local {
                let message =
                    format!("marked packets do not go to lo: table {TABLE} or a rule before {PRIORITY} is not ours");
                return Err(io::Error::new(io::ErrorKind::AddrInUse, message));
            }
        }
        Ok(())
    })?
}

/// Undoes [`allow_spoofed_delivery`], but for `lo`. Connections delivered in a client's name break: close them before.
///
/// # Errors
/// The namespace may not be entered or changed.
pub fn undo(namespace: &NetNs, proc: &Path) -> io::Result<()> {
    namespace.run(|| {
        let mut netlink = Netlink::open()?;
        for family in families(proc) {
            let absent = [Errno::ENOENT, Errno::ESRCH];
            netlink.change(RouteNetlinkMessage::DelRule(mark_rule(family)), 0, &absent)?;
            netlink.change(RouteNetlinkMessage::DelRoute(local_route(family)), 0, &absent)?;
            write_sysctl(&proc.join(family.reflect), false)?;
        }
        write_sysctl(&proc.join(ACCEPT), false)
    })?
}

/// The families that the calling thread's namespace speaks.
fn families(proc: &Path) -> impl Iterator<Item = &'static Family> + use<> {
    let v6 = fs::read_to_string(proc.join(V6_DISABLED)).is_ok_and(|disabled| disabled.trim() == "0");
    [Some(&V4), v6.then_some(&V6)].into_iter().flatten()
}

/// Sets a sysctl of the calling thread's namespace; leaves it alone where it is so already, as /proc/sys may be
/// read-only.
fn write_sysctl(path: &Path, on: bool) -> io::Result<()> {
    let wanted = if on { "1" } else { "0" };
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    if fs::read_to_string(path).map_err(named)?.trim() == wanted {
        Ok(())
    } else {
        fs::write(path, wanted).map_err(named)
    }
}

fn loopback_up() -> RouteNetlinkMessage {
    let mut link = LinkMessage::default();
    link.header.index = LOOPBACK;
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    RouteNetlinkMessage::SetLink(link)
}

/// `ip route add local default dev lo table 100`.
fn local_route(family: &Family) -> RouteMessage {
    let mut route = RouteMessage::default();
    route.header = RouteHeader {
        address_family: family.name,
        table: TABLE,
        protocol: RouteProtocol::Static,
        scope: RouteScope::Host,
        kind: RouteType::Local,
        ..RouteHeader::default()
    };
    route.attributes = vec![RouteAttribute::Table(TABLE.into()), RouteAttribute::Oif(LOOPBACK)];
    route
}

/// `ip rule add fwmark 0x111/0xfff lookup 100`.
fn mark_rule(family: &Family) -> RuleMessage {
    let mut rule = RuleMessage::default();
    rule.header.family = family.name;
    rule.header.table = TABLE;
    rule.header.action = RuleAction::ToTable;
    rule.attributes = vec![
        RuleAttribute::Priority(PRIORITY),
        RuleAttribute::FwMark(SPOOF_MARK),
        RuleAttribute::FwMask(MARK_MASK),
        RuleAttribute::Table(TABLE.into()),
    ];
    rule
}

/// A conversation with the routing of the namespace in which it was opened.
struct Netlink(Socket);

impl Netlink {
    fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self(socket))
    }

    /// Makes a change; a refusal that is among `agreeable` says that there was nothing to change.
    fn change(&mut self, message: RouteNetlinkMessage, flags: u16, agreeable: &[Errno]) -> io::Result<()> {
        match self.ask(message, NLM_F_REQUEST | NLM_F_ACK | flags) {
            Err(error) if error.raw_os_error().is_some_and(|raw| agreeable.contains(&Errno::from_raw(raw))) => Ok(()),
            outcome => outcome.map(|_| ()),
        }
    }

    /// `ip route get 192.0.2.1 mark 0x111`.
    fn kind_of_marked_route(&mut self, family: &Family) -> io::Result<RouteType> {
        let mut query = RouteMessage::default();
        query.header.address_family = family.name;
        query.header.destination_prefix_length = if family.anywhere.is_ipv4() { 32 } else { 128 };
        query.attributes = vec![RouteAttribute::Destination(family.anywhere.into()), RouteAttribute::Mark(SPOOF_MARK)];
        match self.ask(RouteNetlinkMessage::GetRoute(query), NLM_F_REQUEST)? {
            Some(RouteNetlinkMessage::NewRoute(route)) => Ok(route.header.kind),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Sends `message`; the kernel has answered when this returns: with a message, or with the acknowledgement alone.
    fn ask(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<Option<RouteNetlinkMessage>> {
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::from(message));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.0.send(&bytes, 0)?;
        let (answer, _) = self.0.recv_from_full()?;
        let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer).map_err(io::Error::other)?;
        match answer.payload {
            NetlinkPayload::Error(error) if error.code.is_some() => Err(error.to_io()),
            NetlinkPayload::InnerMessage(inner) => Ok(Some(inner)),
            _ => Ok(None),
        }
    }
}
