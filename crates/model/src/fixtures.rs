//! Small meshes for the tests of this crate: by hand, and generated with as many collisions as fit into few names.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};

use crate::policy::{self, Action, Attribute, Mtls, PeerAuthentication, Policy, PolicyKey, Rule, Term, Values};
use crate::route::Visibility;
use crate::waypoint::{Address, Allowed, Binding, Serves, UseWaypoint, Waypoint, WaypointKey};
use crate::{
    Authority, Cidr, Connection, Distribution, Enrolment, Excluded, Identity, Mesh, NetworkMode, Node, Owner,
    Resolution, SameNode, Scope, Service, ServiceKey, ServicePort, Snapshot, Target, Topology, TrustDomains, Waypoints,
    Workload, WorkloadUid,
};

/// What a snapshot is made of, as lists to be searched from end to end.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) mesh: Mesh,
    pub(crate) pods: Vec<Workload>,
    pub(crate) services: Vec<Service>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) waypoints: Vec<Waypoint>,
    pub(crate) policies: Vec<Policy>,
    pub(crate) peers: Vec<PeerAuthentication>,
}

impl World {
    pub(crate) fn new(pods: Vec<Workload>, services: Vec<Service>) -> Self {
        Self {
            mesh: Mesh::default(),
            pods,
            services,
            nodes: vec![],
            waypoints: vec![],
            policies: vec![],
            peers: vec![],
        }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::new(self.mesh.clone());
        self.pods.iter().for_each(|pod| snapshot.insert_workload(Arc::new(pod.clone())));
        self.services.iter().for_each(|service| snapshot.insert_service(Arc::new(service.clone())));
        self.nodes.iter().for_each(|node| snapshot.insert_node(Arc::new(node.clone())));
        self.waypoints.iter().for_each(|waypoint| snapshot.insert_waypoint(Arc::new(waypoint.clone())));
        for policy in &self.policies {
            snapshot.policies.set_authorization(&policy.key, Some(Arc::new(policy.clone())));
        }
        for peer in &self.peers {
            snapshot.policies.set_peer(&peer.key, Some(Arc::new(peer.clone())));
        }
        snapshot
    }

    pub(crate) fn reversed(mut self) -> Self {
        self.pods.reverse();
        self.services.reverse();
        self.nodes.reverse();
        self.waypoints.reverse();
        self.policies.reverse();
        self.peers.reverse();
        self
    }
}

pub(crate) fn uid(name: &str) -> WorkloadUid {
    WorkloadUid::pod("Kubernetes", "shop", name)
}

pub(crate) fn identity(account: &str) -> Identity {
    Identity::new("cluster.local".parse().unwrap(), "shop", account)
}

/// An enrolled pod of namespace `shop` whose service account has the pod's name.
pub(crate) fn pod(name: &str, node: &str, addresses: &[&str]) -> Workload {
    Workload {
        uid: uid(name),
        name: name.into(),
        namespace: "shop".into(),
        identity: identity(name),
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        node: node.into(),
        network_mode: NetworkMode::Standard,
        enrolment: Enrolment::Enrolled,
        ready: true,
        dns_capture: true,
        labels: BTreeMap::new(),
        owner: Owner { kind: "pod".into(), name: name.into() },
        canonical_name: name.into(),
        canonical_revision: "latest".into(),
        cluster: "Kubernetes".into(),
        region: "".into(),
        zone: "".into(),
        subzone: "".into(),
        waypoint: None,
        pod_uid: None,
        netns: None,
    }
}

pub(crate) fn unenrolled(pod: Workload) -> Workload {
    Workload { enrolment: Enrolment::Outside(Excluded::NotLabelled), ..pod }
}

pub(crate) fn on_host_network(pod: Workload) -> Workload {
    Workload { enrolment: Enrolment::Outside(Excluded::HostNetwork), network_mode: NetworkMode::HostNetwork, ..pod }
}

/// A port whose endpoints, all ready, are `(pod, its address and target port)`.
pub(crate) fn port(port: u16, endpoints: &[(&str, &str)]) -> ServicePort {
    let target = |(pod, address): &(&str, &str)| Target {
        address: address.parse().unwrap(),
        workload: (!pod.is_empty()).then(|| uid(pod)),
        topology: None,
        weight: NonZeroU32::MIN,
    };
    let mut members: Vec<_> = endpoints.iter().map(target).collect();
    members.sort();
    ServicePort { port, name: "".into(), app_protocol: None, targets: members.clone(), members }
}

pub(crate) fn service(name: &str, vips: &[&str], ports: Vec<ServicePort>) -> Service {
    Service {
        key: ServiceKey::new("shop", name),
        hostname: format!("{name}.shop.svc.cluster.local").into(),
        vips: vips.iter().map(|vip| vip.parse().unwrap()).collect(),
        ranges: vec![],
        resolution: Resolution::Endpoints,
        alias: None,
        visibility: Visibility::Public,
        ports,
        distribution: Distribution::Anywhere,
        waypoint: None,
    }
}

/// The waypoint `name` of namespace `shop`, for its services, reached by the Service of its name.
pub(crate) fn waypoint(name: &str) -> Waypoint {
    Waypoint {
        key: WaypointKey::new("shop", name),
        class: "ambit-waypoint".into(),
        serves: Serves::Services,
        allowed: Allowed::Same,
        address: Address::Hostname(format!("{name}.shop.svc.cluster.local").into()),
        binding: Binding::Hbone,
    }
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const NODES: [&str; 3] = ["", "east", "west"];
/// Regions and zones: one zone without its region, and two zones of one name.
const PLACES: [(&str, &str); 5] = [("", ""), ("", "a"), ("eu", "a"), ("eu", "b"), ("us", "a")];
const SUBZONES: [&str; 2] = ["", "rack"];
const PORTS: [u16; 9] = [80, 443, 8080, 9090, 15001, 15006, 15008, 15053, 15080];
const HOSTNAMES: [&str; 3] = ["a.shop.svc.cluster.local", "b.shop.svc.cluster.local", "shared.example"];

/// Addresses of pods and services alike, so that they collide.
fn ip() -> impl Strategy<Value = IpAddr> {
    select(vec!["10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::1", "fd00::2", "10.96.0.1", "fd96::1"])
        .prop_map(|text| text.parse().unwrap())
}

/// The same, and now and then a v4 address as a v6 socket shows it.
fn ip_as_seen() -> impl Strategy<Value = IpAddr> {
    (ip(), prop::bool::weighted(0.3)).prop_map(|(ip, mapped)| match ip {
        IpAddr::V4(v4) if mapped => IpAddr::V6(v4.to_ipv6_mapped()),
        _ => ip,
    })
}

fn destination() -> impl Strategy<Value = SocketAddr> {
    let loopback = select(vec![IpAddr::from([127, 0, 0, 1]), Ipv6Addr::LOCALHOST.into(), "192.0.2.9".parse().unwrap()]);
    (prop_oneof![9 => ip_as_seen().boxed(), 1 => loopback.boxed()], select(&PORTS[..])).prop_map(SocketAddr::from)
}

fn some_identity() -> impl Strategy<Value = Identity> {
    (select(vec!["cluster.local", "old.example", "foreign.example"]), select(&NAMES[..2]))
        .prop_map(|(domain, account)| Identity::new(domain.parse().unwrap(), "shop", account))
}

/// A pod of any of the few names, addresses, nodes and ways to be in or out of the mesh.
pub(crate) fn any_pod() -> impl Strategy<Value = Workload> {
    let addresses = prop::collection::vec(ip_as_seen(), 0..3);
    let place = (select(&NODES[..]), select(&PLACES[..]), select(&SUBZONES[..]));
    (select(&NAMES[..]), addresses, place, some_identity(), (0..9, any_wish(0.2))).prop_map(
        |(name, addresses, (node, (region, zone), subzone), identity, (kind, waypoint))| {
            let (region, zone, subzone) = (region.into(), zone.into(), subzone.into());
            let labels = BTreeMap::from([(Arc::from("app"), Arc::from(name))]);
            let bare = Workload { addresses, identity, region, zone, subzone, labels, ..pod(name, node, &[]) };
            let pod = Workload { waypoint, ..bare };
            match kind {
                0 => unenrolled(pod),
                3 => Workload { enrolment: Enrolment::Outside(Excluded::SpeaksHbone), ..pod },
                4 => Workload { enrolment: Enrolment::Outside(Excluded::Waypoint), waypoint: None, ..pod },
                1 => on_host_network(pod),
                // Contradicts itself: the node's network namespace must win.
                2 => Workload { network_mode: NetworkMode::HostNetwork, ..pod },
                _ => pod,
            }
        },
    )
}

fn any_port() -> impl Strategy<Value = ServicePort> {
    let port = select(vec![80, 8080, 8080, 9090, 15008]);
    let places = (select(&NODES[..]), select(vec!["", "eu"]), select(vec!["", "a", "b"]), select(&SUBZONES[..]));
    let topology = places.prop_map(|(node, region, zone, subzone)| {
        let (node, region, zone, subzone) = (node.into(), region.into(), zone.into(), subzone.into());
        Arc::new(Topology { node, region, zone, subzone })
    });
    let weight = select(vec![1, 1, 3, u32::MAX]).prop_map(|weight| NonZeroU32::new(weight).unwrap());
    let target = (ip(), port, prop::option::of(select(&NAMES[..])), prop::option::of(topology), weight).prop_map(
        |(ip, port, name, topology, weight)| Target {
            address: (ip, port).into(),
            workload: name.map(uid),
            topology,
            weight,
        },
    );
    let members = prop::collection::btree_set(target, 0..5).prop_map(Vec::from_iter);
    let ready = members.prop_flat_map(|members| {
        let count = members.len();
        (Just(members.clone()), prop_oneof![3 => Just(members).boxed(), 1 => Just(vec![]).boxed()], 0..=count)
    });
    (select(vec![80, 443, 15008]), ready).prop_map(|(port, (members, mut targets, ready))| {
        targets.truncate(ready.max(targets.len() / 2));
        ServicePort { port, name: "".into(), app_protocol: None, targets, members }
    })
}

/// A service of any of the few names, or a host of a ServiceEntry, with 0 to 2 addresses and ranges each and 0 to 2 ports
/// of 0 to 4 endpoints each.
pub(crate) fn any_service() -> impl Strategy<Value = Service> {
    let vips = prop::collection::vec(ip_as_seen(), 0..3);
    let ports = prop::collection::vec(any_port(), 0..3).prop_map(|ports| {
        let mut seen = BTreeSet::new();
        ports.into_iter().filter(|port| seen.insert(port.port)).collect()
    });
    let names = (select(&NAMES[..]), select(&HOSTNAMES[..]), select(vec!["shop", "shop", "other"]));
    let entry = prop::option::weighted(0.3, any_entry());
    (names, vips, ports, any_distribution(), (entry, any_wish(0.4))).prop_map(
        |((name, hostname, namespace), vips, ports, distribution, (entry, waypoint))| {
            let (host, (ranges, resolution)) = (entry.is_some().then(|| hostname.into()), entry.unwrap_or_default());
            let key = ServiceKey { host, ..ServiceKey::new(namespace, name) };
            Service {
                key,
                hostname: hostname.into(),
                vips,
                ranges,
                resolution,
                distribution,
                waypoint,
                ..service(name, &[], ports)
            }
        },
    )
}

/// A wish for one of three waypoints, of which one never exists, as likely as `share` says.
fn any_wish(share: f64) -> impl Strategy<Value = Option<UseWaypoint>> {
    let wish = (select(&NAMES[..3]), any::<bool>()).prop_map(|(name, inherited)| UseWaypoint {
        key: WaypointKey::new("shop", name),
        inherited,
        passed_by_gateways: false,
    });
    prop::option::weighted(share, wish)
}

/// One of two waypoints, which may be reached by any Service and serve anything.
fn any_waypoint() -> impl Strategy<Value = Waypoint> {
    let allowed = vec![Allowed::Same, Allowed::Same, Allowed::All, Allowed::Selected(["other".into()].into())];
    let hostname = select(&HOSTNAMES[..]).prop_map(|name| Address::Hostname(name.into()));
    let address = prop_oneof![3 => hostname.boxed(), 1 => ip().prop_map(Address::Ip).boxed()];
    let serves = select(vec![Serves::Services, Serves::Services, Serves::Workloads, Serves::All, Serves::Nothing]);
    (select(&NAMES[..2]), serves, select(allowed), address).prop_map(|(name, serves, allowed, address)| Waypoint {
        serves,
        allowed,
        address,
        ..waypoint(name)
    })
}

/// What only a ServiceEntry has: ranges, nested ones among them, and endpoints or none.
fn any_entry() -> impl Strategy<Value = (Vec<Cidr>, Resolution)> {
    let ranges = ["10.0.0.0/30", "10.0.0.2/31", "10.96.0.0/16", "0.0.0.0/0", "fd00::/64", "fd00::2/127", "::/0"];
    let ranges = ranges.map(|text| text.parse::<Cidr>().unwrap()).to_vec();
    (subsequence(ranges, 0..3), select(vec![Resolution::Endpoints, Resolution::AsDialled]))
}

fn any_distribution() -> impl Strategy<Value = Distribution> {
    let scope = || select(vec![Scope::Region, Scope::Zone, Scope::Subzone, Scope::Node]);
    prop_oneof![
        Just(Distribution::Anywhere),
        scope().prop_map(Distribution::Prefer),
        scope().prop_map(Distribution::Only)
    ]
}

/// A node of any of the few names, addresses and places.
pub(crate) fn any_node() -> impl Strategy<Value = Node> {
    let addresses = prop::collection::vec(ip_as_seen(), 0..3);
    let place = (select(&PLACES[..]), select(&SUBZONES[..]));
    (select(&NODES[1..]), addresses, place).prop_map(|(name, addresses, ((region, zone), subzone))| Node {
        name: name.into(),
        addresses,
        region: region.into(),
        zone: zone.into(),
        subzone: subzone.into(),
    })
}

/// A small mesh: no two pods of one UID, no two services of one key, no two nodes of one name, everything else as it happens.
pub(crate) fn any_world() -> impl Strategy<Value = World> {
    let pods = prop::collection::vec(any_pod(), 0..6);
    let services = prop::collection::vec(any_service(), 0..5);
    let nodes = prop::collection::vec(any_node(), 0..3);
    let aliases = subsequence(vec!["old.example"], 0..=1);
    let objects = (pods, services, nodes, prop::collection::vec(any_waypoint(), 0..3));
    let rules = (prop::collection::vec(any_policy(), 0..4), prop::collection::vec(any_peer(), 0..4));
    (objects, rules, aliases, (any::<bool>(), prop::bool::weighted(0.2))).prop_map(
        |(objects, rules, aliases, (tls, preferred))| {
            let (mut pods, mut services, mut nodes, mut waypoints) = objects;
            let mut seen_waypoints = BTreeSet::new();
            waypoints.retain(|waypoint| seen_waypoints.insert(waypoint.key.clone()));
            let (mut policies, mut peers) = rules;
            let (mut seen, mut seen_peers) = (BTreeSet::new(), BTreeSet::new());
            policies.retain(|policy| seen.insert(policy.key.clone()));
            peers.retain(|peer| seen_peers.insert(peer.key.clone()));
            let (mut uids, mut keys, mut names) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
            pods.retain(|pod| uids.insert(pod.uid.clone()));
            services.retain(|service| keys.insert(service.key.clone()));
            nodes.retain(|node| names.insert(node.name.clone()));
            let mesh = Mesh {
                trust_domains: TrustDomains {
                    aliases: aliases.iter().map(|domain| domain.parse().unwrap()).collect(),
                    ..TrustDomains::default()
                },
                same_node: if tls { SameNode::Tls } else { SameNode::Direct },
                waypoints: if preferred { Waypoints::Preferred } else { Waypoints::Required },
                ..Mesh::default()
            };
            World { mesh, pods, services, nodes, waypoints, policies, peers }
        },
    )
}

/// A connection of any kind, to and from the addresses and names that the meshes use.
pub(crate) fn any_connection() -> impl Strategy<Value = Connection> {
    let name = || select(&NAMES[..]).prop_map(uid);
    let authority = prop_oneof![
        destination().prop_map(Authority::Address),
        (select(&HOSTNAMES[..]), select(vec![80, 443, 8080]))
            .prop_map(|(host, port)| Authority::Host(host.into(), port)),
    ];
    prop_oneof![
        (name(), destination(), any::<u64>()).prop_map(|(source, destination, draw)| Connection::Outbound {
            source,
            destination,
            draw
        }),
        (name(), destination(), some_identity(), authority).prop_map(|(pod, peer, identity, authority)| {
            Connection::InboundHbone { pod, peer, identity, authority }
        }),
        (name(), destination(), destination(), any::<bool>()).prop_map(|(pod, peer, destination, by_node)| {
            Connection::InboundPlaintext { pod, peer, destination, by_node }
        }),
    ]
}

/// A small mesh in which one of the pods dials a port of one of the services.
pub(crate) fn any_call() -> impl Strategy<Value = (World, Connection)> {
    (any_world(), any::<Index>(), any::<Index>(), any::<u64>()).prop_filter_map(
        "nobody to dial, or nothing to be dialled",
        |(world, who, whom, draw)| {
            let ports =
                |vip: IpAddr, of: &Service| of.ports.iter().map(move |p| (vip, p.port).into()).collect::<Vec<_>>();
            let of_service = |of: &Service| of.vips.iter().flat_map(|vip| ports(*vip, of)).collect::<Vec<_>>();
            let dialled: Vec<SocketAddr> = world.services.iter().flat_map(of_service).collect();
            if world.pods.is_empty() || dialled.is_empty() {
                return None;
            }
            let (source, destination) = (who.get(&world.pods).uid.clone(), *whom.get(&dialled));
            Some((world, Connection::Outbound { source, destination, draw }))
        },
    )
}

/// A small mesh in which one of the pods dials one of the services, or an endpoint of it, that is to be reached by a
/// waypoint of two pods.
pub(crate) fn any_bound_call() -> impl Strategy<Value = (World, Connection)> {
    let pods = (any_pod(), any_pod(), any::<bool>());
    (any_call(), any_waypoint(), pods, any_distribution(), any::<Index>()).prop_map(
        |((mut world, call), waypoint, (first, second, ready), distribution, whom)| {
            let Connection::Outbound { source, destination, draw } = call else { return (world, call) };
            let address = Address::Hostname("wp.example".into());
            let waypoint = Waypoint { allowed: Allowed::All, address, ..waypoint };
            let wish = Some(UseWaypoint { key: waypoint.key.clone(), inherited: false, passed_by_gateways: false });
            let canonical = destination.ip().to_canonical();
            let dialled = |service: &&mut Service| service.vips.iter().any(|vip| vip.to_canonical() == canonical);
            let mut dialling = vec![destination];
            for service in world.services.iter_mut().filter(|service| dialled(service)) {
                service.waypoint = wish.clone();
                dialling.extend(service.ports.iter().flat_map(|port| &port.members).map(|target| target.address));
            }
            let destination = *whom.get(&dialling);
            let mut endpoints = port(15008, &[("wp-0", "10.0.9.1:15008"), ("wp-1", "[fd00::9]:15008")]);
            endpoints.targets.truncate(if ready { 2 } else { 1 });
            for (name, address, pod) in [("wp-0", "10.0.9.1", first), ("wp-1", "fd00::9", second)] {
                let addresses = vec![address.parse().unwrap()];
                world.pods.push(Workload { uid: uid(name), name: name.into(), addresses, waypoint: None, ..pod });
            }
            let own = service("wp", &["10.96.9.1"], vec![endpoints]);
            world.services.push(Service { hostname: "wp.example".into(), distribution, ..own });
            world.waypoints.retain(|known| known.key != waypoint.key);
            world.waypoints.push(waypoint);
            (world, Connection::Outbound { source, destination, draw })
        },
    )
}

/// A small mesh, and a CONNECT for an address that one of its pods has.
pub(crate) fn any_arrival() -> impl Strategy<Value = (World, Connection)> {
    (any_world(), any::<Index>(), ip_as_seen(), some_identity(), select(&PORTS[..3])).prop_filter_map(
        "nobody to reach",
        |(world, which, peer, identity, port)| {
            let of_pod = |pod: &Workload| pod.addresses.iter().map(|ip| (pod.uid.clone(), *ip)).collect::<Vec<_>>();
            let reachable: Vec<_> = world.pods.iter().flat_map(of_pod).collect();
            if reachable.is_empty() {
                return None;
            }
            let (pod, ip) = which.get(&reachable).clone();
            let authority = Authority::Address((ip, port).into());
            Some((world, Connection::InboundHbone { pod, peer: (peer, 40000).into(), identity, authority }))
        },
    )
}

fn any_scope() -> impl Strategy<Value = policy::Scope> {
    let labels = |name: &str| BTreeMap::from([(Arc::from("app"), Arc::from(name))]);
    let namespace = || prop::option::of(select(vec![Arc::from("shop"), Arc::from("other")]));
    prop_oneof![
        Just(policy::Scope::Mesh),
        select(vec!["shop", "other"]).prop_map(|namespace| policy::Scope::Namespace(namespace.into())),
        (namespace(), select(&NAMES[..])).prop_map(move |(ns, name)| policy::Scope::Selector(ns, labels(name))),
        Just(policy::Scope::Targets(vec![policy::TargetRef::new(policy::TargetKind::Service, "shop", "a")])),
    ]
}

fn any_values<T: std::str::FromStr<Err: std::fmt::Debug> + Clone + std::fmt::Debug + 'static>(
    texts: &[&str],
) -> impl Strategy<Value = Values<T>> + use<T> {
    let values: Vec<T> = texts.iter().map(|text| text.parse().unwrap()).collect();
    let list = move || subsequence(values.clone(), 0..3);
    (list(), list()).prop_map(|(any, none)| Values { any, none })
}

fn any_term() -> impl Strategy<Value = Term> {
    let text = |attribute: Attribute, texts: &[&str]| {
        any_values(texts).prop_map(move |values| Term::Text(attribute.clone(), values)).boxed()
    };
    let blocks = ["10.0.0.1", "10.0.0.0/30", "fd00::/127", "::/0", "10.96.0.1"];
    prop_oneof![
        text(Attribute::Principal, &["cluster.local/ns/shop/sa/a", "old.example/*", "*/sa/b", "*"]),
        text(Attribute::Namespace, &["shop", "other", "*"]),
        text(Attribute::ServiceAccount, &["shop/a", "shop/b"]),
        text(Attribute::TrustDomain, &["old.example", "cluster*", "*"]),
        text(Attribute::Label("app".into()), &["a", "b", "*"]),
        text(Attribute::Label("none".into()), &["a", "*"]),
        any_values(&blocks).prop_map(Term::SourceIp),
        any_values(&blocks).prop_map(Term::RemoteIp),
        any_values(&blocks).prop_map(Term::DestinationIp),
        any_values(&["80", "8080", "9090"]).prop_map(Term::DestinationPort),
        text(Attribute::Sni, &["a.example", "*"]),
        text(Attribute::Host, &["a.example", "*.example", "a.example:80", "*"]),
        text(Attribute::Method, &["GET", "P*", "*"]),
        any_values(&["/a", "/a*", "*/b", "/{*}/b", "/a/{**}", "*"]).prop_map(Term::Path),
        text(Attribute::Header("x-a".into()), &["a", "b*", "*a", "*"]),
        text(Attribute::Token(policy::TokenAttribute::Principal), &["a", "*"]),
        Just(Term::Beyond("experimental.envoy.filters.network.mysql_proxy[a.b]".into())),
    ]
}

/// A policy of any of the few names, for any of the pods, with 0 to 2 rules.
pub(crate) fn any_policy() -> impl Strategy<Value = Policy> {
    let terms = || prop::collection::vec(any_term(), 0..3);
    let rule = (prop::collection::vec(terms(), 0..3), prop::collection::vec(terms(), 0..2), terms())
        .prop_map(|(from, to, when)| Rule { from, to, when });
    let action = select(vec![Action::Allow, Action::Allow, Action::Deny, Action::Audit, Action::Custom]);
    let rules = prop::collection::vec(rule, 0..3);
    (select(&NAMES[..]), any_scope(), action, prop::bool::weighted(0.2), rules).prop_map(
        |(name, scope, action, dry_run, rules)| Policy {
            key: PolicyKey::new("shop", name),
            scope,
            action,
            dry_run,
            rules,
        },
    )
}

fn any_peer() -> impl Strategy<Value = PeerAuthentication> {
    let mode = || select(vec![Mtls::Strict, Mtls::Permissive]);
    let ports = prop::collection::btree_map(select(vec![80, 8080]), mode(), 0..2);
    let created = prop::option::of(select(vec!["2023-01-01T00:00:00Z", "2024-01-01T00:00:00Z"]));
    (select(&NAMES[..]), any_scope(), created, prop::option::of(mode()), ports).prop_map(
        |(name, scope, created, mode, ports)| PeerAuthentication {
            key: PolicyKey::new("shop", name),
            scope,
            created: created.map(Arc::from),
            mode,
            ports,
        },
    )
}

/// A small mesh of at least one pod, and a connection that reaches the first of them at an address.
pub(crate) fn any_access_world() -> impl Strategy<Value = (World, Connection, SocketAddr)> {
    (any_world(), any_connection(), destination())
        .prop_filter("nobody to reach", |(world, _, _)| !world.pods.is_empty())
}
