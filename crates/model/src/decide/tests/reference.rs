//! A second `decide`, written from the feature rows alone: it walks plain lists from end to end, compares addresses as
//! 128-bit numbers and knows no index. The two must agree on every mesh and every connection.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::fixtures::{any_arrival, any_bound_call, any_call, any_connection, any_world};
use crate::{Distribution, Enrolment, NetworkMode, Resolution, Scope};

mod policy;
mod waypoint;

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn is_v4(ip: IpAddr) -> bool {
    number(ip) >> 32 == 0xffff
}

/// The address without the disguise of a v4 address in a v6 one.
fn plain(address: SocketAddr) -> SocketAddr {
    let bits = number(address.ip());
    let low = u32::try_from(bits & 0xffff_ffff).unwrap();
    let ip = if is_v4(address.ip()) { IpAddr::V4(low.into()) } else { IpAddr::V6(Ipv6Addr::from_bits(bits)) };
    SocketAddr::new(ip, address.port())
}

/// an address of a pod on the host network is the node's.
fn has(pod: &Workload, ip: IpAddr) -> bool {
    pod.network_mode != NetworkMode::HostNetwork && pod.addresses.iter().any(|own| number(*own) == number(ip))
}

fn pod_named<'a>(world: &'a World, uid: &WorkloadUid) -> Option<&'a Workload> {
    world.pods.iter().find(|pod| pod.uid == *uid)
}

fn pods_with(world: &World, ip: IpAddr) -> Vec<&Workload> {
    let mut pods: Vec<_> = world.pods.iter().filter(|pod| has(pod, ip)).collect();
    pods.sort_by_key(|pod| pod.uid.as_str());
    pods
}

/// The pod behind an endpoint: the one that it names if that has the address, the one that has it, the one that it names.
fn pod_of<'a>(world: &'a World, target: &Target) -> Option<&'a Workload> {
    let named = target.workload.as_ref().and_then(|uid| pod_named(world, uid));
    match named {
        Some(named) if has(named, target.address.ip()) => Some(named),
        _ => pods_with(world, target.address.ip()).first().copied().or(named),
    }
}

/// C-03: how many scopes, from the widest to the narrowest, the endpoint shares with the client.
fn rank(world: &World, client: &Workload, target: &Target) -> usize {
    let (node, subzone, zone, region) = match (pod_of(world, target), &target.topology) {
        (Some(pod), _) => (&*pod.node, &*pod.subzone, &*pod.zone, &*pod.region),
        (None, None) => ("", "", "", ""),
        (None, Some(said)) => {
            let node = world.nodes.iter().find(|node| node.name == said.node);
            let of_node = node.map_or(("", "", ""), |node| (&*node.subzone, &*node.zone, &*node.region));
            let subzone = if said.subzone.is_empty() { of_node.0 } else { &*said.subzone };
            let zone = if said.zone.is_empty() { of_node.1 } else { &*said.zone };
            (&*said.node, subzone, zone, if said.region.is_empty() { of_node.2 } else { &*said.region })
        }
    };
    let one_region = *client.region == *region && !region.is_empty();
    let may_be_one_region = one_region || region.is_empty() || client.region.is_empty();
    let one_zone = !zone.is_empty() && *client.zone == *zone && may_be_one_region;
    if !node.is_empty() && *client.node == *node {
        4
    } else if one_zone && !subzone.is_empty() && *client.subzone == *subzone {
        3
    } else if one_zone {
        2
    } else {
        usize::from(one_region)
    }
}

/// C-03: those of `candidates` that the service's clients may go to.
fn distributed<'a>(
    world: &World,
    client: &Workload,
    service: &Service,
    candidates: Vec<&'a Target>,
) -> Vec<&'a Target> {
    let number =
        |scope| 1 + [Scope::Region, Scope::Zone, Scope::Subzone, Scope::Node].iter().position(|s| *s == scope).unwrap();
    let rank = |target: &&Target| rank(world, client, target);
    match service.distribution {
        Distribution::Anywhere => candidates,
        Distribution::Only(scope) => candidates.into_iter().filter(|t| rank(t) >= number(scope)).collect(),
        Distribution::Prefer(scope) => {
            let most = candidates.iter().map(|t| rank(t).min(number(scope))).max();
            candidates.into_iter().filter(|t| Some(rank(t).min(number(scope))) == most).collect()
        }
    }
}

/// The first service for which `wanted` holds: Services before hosts, then by namespace and name.
fn least(world: &World, wanted: impl Fn(&Service) -> bool) -> Option<&Service> {
    let place = |s: &&Service| (s.key.host.clone(), s.key.namespace.clone(), s.key.name.clone());
    world.services.iter().filter(|service| wanted(service)).min_by_key(place)
}

/// C-16: how many leading bits of `ip` the longest range of `service` around it names.
fn bits_named(service: &Service, ip: IpAddr) -> Option<u8> {
    let around = |range: &&crate::Cidr| {
        let first = range.network();
        let shift = if is_v4(first) { 32 } else { 128 } - u32::from(range.length());
        let cut = |ip: IpAddr| number(ip).checked_shr(shift).unwrap_or(0);
        first.is_ipv4() == is_v4(ip) && cut(first) == cut(ip)
    };
    service.ranges.iter().filter(around).map(crate::Cidr::length).max()
}

/// The service that a client of `namespace` dials: by its very address, else by a range; the client's own before others,
/// the longest range before shorter ones.
fn service_dialled<'a>(world: &'a World, namespace: &str, ip: IpAddr) -> Option<&'a Service> {
    let exact = |s: &Service| s.vips.iter().any(|vip| number(*vip) == number(ip));
    let own = |s: &Service| *s.key.namespace == *namespace;
    let by_range = |among: &dyn Fn(&Service) -> bool| {
        let longest = world.services.iter().filter(|s| among(s)).filter_map(|s| bits_named(s, ip)).max();
        longest.and_then(|longest| least(world, |s| among(s) && bits_named(s, ip) == Some(longest)))
    };
    let of_exact = least(world, |s| exact(s) && own(s)).or_else(|| least(world, exact));
    of_exact.or_else(|| by_range(&own)).or_else(|| by_range(&|_| true))
}

/// The Service that alone has `address` among its endpoints; where none has, the host that alone has.
fn only_service_with(world: &World, address: SocketAddr) -> Option<&Service> {
    let mut with: Vec<&Service> = vec![];
    for service in &world.services {
        if service.ports.iter().any(|port| port.members.iter().any(|member| member.address == address)) {
            with.push(service);
        }
    }
    if with.iter().any(|service| service.key.host.is_none()) {
        with.retain(|service| service.key.host.is_none());
    }
    if with.len() == 1 { Some(with[0]) } else { None }
}

fn upstream(address: SocketAddr, pod: Option<&Workload>, service: Option<&Service>) -> Upstream {
    Upstream::new(address, pod.cloned().map(Arc::new), service.cloned().map(Arc::new))
}

fn expected(world: &World, connection: &Connection) -> Decision {
    let routed = expected_unjudged(world, connection);
    match (policy::judged(world, connection, &routed), routed) {
        (Some(denial), Decision::Local(upstream)) => Decision::Deny(upstream, denial),
        (_, routed) => routed,
    }
}

fn expected_unjudged(world: &World, connection: &Connection) -> Decision {
    match connection {
        Connection::Outbound { source, destination, draw } => {
            expected_outbound(world, source, plain(*destination), *draw)
        }
        // The node knows the addresses that it has given.
        Connection::InboundPlaintext { pod, destination, by_node, .. } => {
            expected_inbound(world, pod, &Authority::Address(*destination), *by_node)
        }
        Connection::InboundHbone { pod, peer, identity, authority } => {
            // D-08: the mesh's own trust domain and its aliases, no other.
            let domains = &world.mesh.trust_domains;
            let ours = |domain: &crate::TrustDomain| *domain == domains.own || domains.aliases.contains(domain);
            if !ours(&identity.trust_domain) {
                return Decision::Refuse(Reason::UntrustedDomain);
            }
            // E-09: the identity is one that the snapshot knows at the peer's address, if it knows any.
            let known = pods_with(world, peer.ip());
            let is = |pod: &&Workload| {
                let (at, shown) = (&pod.identity, identity);
                (ours(&at.trust_domain) || at.trust_domain == shown.trust_domain)
                    && (&at.namespace, &at.service_account) == (&shown.namespace, &shown.service_account)
            };
            if !known.is_empty() && !known.iter().any(is) {
                return Decision::Refuse(Reason::PeerIdentityMismatch);
            }
            expected_inbound(world, pod, authority, false)
        }
    }
}

fn expected_outbound(world: &World, source: &WorkloadUid, dialled: SocketAddr, draw: u64) -> Decision {
    let Some(source) = pod_named(world, source) else { return Decision::Refuse(Reason::UnknownWorkload) };
    let ours = [15001, 15006, 15008, 15053, 15080];
    // C-09, towards ourselves.
    let own = |ip: IpAddr| ip == IpAddr::from([127, 0, 0, 1]) || number(ip) == 1 || ip.is_unspecified();
    if ours.contains(&dialled.port()) && own(dialled.ip()) {
        return Decision::Refuse(Reason::RecursiveCall);
    }
    let (address, pod, service);
    let dialled_service = service_dialled(world, &source.namespace, dialled.ip());
    let call = (source, dialled, draw);
    if let Some(service) = dialled_service {
        if service.resolution == Resolution::Endpoints && service.ports.iter().all(|port| port.port != dialled.port()) {
            return Decision::Refuse(Reason::NoSuchServicePort);
        }
        let asked = (dialled, Some(service));
        if let Some(through) = waypoint::through(world, call, waypoint::service(world, service), asked) {
            return through;
        }
    }
    if let Some(dialled_service) = dialled_service.filter(|service| service.resolution == Resolution::Endpoints) {
        let Some(port) = dialled_service.ports.iter().find(|port| port.port == dialled.port()) else {
            return Decision::Refuse(Reason::NoSuchServicePort);
        };
        // C-02, C-04: one of the ready endpoints; of the family dialled where the service has both.
        let of_family = |v4| port.targets.iter().filter(|t| is_v4(t.address.ip()) == v4).collect::<Vec<_>>();
        let mut candidates = of_family(is_v4(dialled.ip()));
        let families: BTreeSet<bool> = dialled_service.vips.iter().map(|vip| is_v4(*vip)).collect();
        if candidates.is_empty() && (families.len() < 2 || dialled_service.key.host.is_some()) {
            candidates = of_family(!is_v4(dialled.ip()));
        }
        let candidates = distributed(world, source, dialled_service, candidates);
        if candidates.is_empty() {
            return Decision::Refuse(Reason::NoHealthyUpstream);
        }
        // L-01: as many of the draws as its weight says.
        let total: u64 = candidates.iter().map(|target| u64::from(target.weight.get())).sum();
        let upto = |place: usize| candidates[..=place].iter().map(|t| u64::from(t.weight.get())).sum::<u64>();
        let target = candidates[(0..candidates.len()).find(|place| draw % total < upto(*place)).unwrap()];
        (address, pod, service) = (target.address, pod_of(world, target), Some(dialled_service));
    } else {
        // C-05: a pod's own address; C-01: anything else as it is.
        (address, pod) = (dialled, pods_with(world, dialled.ip()).first().copied());
        service = dialled_service.or_else(|| pod.and_then(|_| only_service_with(world, dialled)));
    }
    if let Some(pod) = pod {
        if pod.is_enrolled() && ours.contains(&address.port()) {
            return Decision::Refuse(Reason::RecursiveCall);
        }
        let asked = (address, service);
        if let Some(through) = waypoint::through(world, call, waypoint::address(world, pod, address), asked) {
            return through;
        }
    }
    let upstream = upstream(address, pod, service);
    if pod.is_some_and(|pod| pod.speaks_hbone()) {
        return Decision::Tunnel(upstream);
    }
    let Some(pod) = pod.filter(|p| p.enrolment == Enrolment::Enrolled && p.network_mode == NetworkMode::Standard)
    else {
        return Decision::Passthrough(upstream);
    };
    if !pod.node.is_empty() && pod.node == source.node && world.mesh.same_node == SameNode::Direct {
        Decision::Local(upstream)
    } else {
        Decision::Tunnel(upstream)
    }
}

fn expected_inbound(world: &World, pod: &WorkloadUid, authority: &Authority, by_node: bool) -> Decision {
    let Some(pod) = pod_named(world, pod) else { return Decision::Refuse(Reason::UnknownWorkload) };
    let found = match authority {
        // E-10: an address of the pod.
        Authority::Address(address) => {
            let address = plain(*address);
            (by_node || has(pod, address.ip())).then(|| upstream(address, Some(pod), only_service_with(world, address)))
        }
        // E-11: the pod's own target port of the service's port.
        Authority::Host(host, port) => least(world, |service| service.hostname == *host).and_then(|service| {
            let port = service.ports.iter().find(|candidate| candidate.port == *port)?;
            let target = port.members.iter().find(|member| has(pod, member.address.ip()))?;
            Some(upstream(target.address, Some(pod), Some(service)))
        }),
    };
    match found {
        None => Decision::Refuse(Reason::AuthorityMismatch),
        Some(upstream) if [15001, 15006, 15008, 15053, 15080].contains(&upstream.address.port()) => {
            Decision::Refuse(Reason::RecursiveCall)
        }
        Some(upstream) => Decision::Local(upstream),
    }
}

proptest! {
    #![proptest_config(Config { cases: 2000, ..Config::default() })]

    #[test]
    fn decide_is_total_and_equals_the_naive_reference(
        world in any_world(),
        connections in prop::collection::vec(any_connection(), 1..20),
    ) {
        let snapshot = world.snapshot();
        for connection in connections {
            prop_assert_eq!(decide(&snapshot, &connection), expected(&world, &connection), "{:?}", connection);
        }
    }

    #[test]
    fn a_call_to_a_service_equals_the_naive_reference((world, connection) in any_call()) {
        prop_assert_eq!(decide(&world.snapshot(), &connection), expected(&world, &connection));
    }

    #[test]
    fn a_call_to_what_has_a_waypoint_equals_the_naive_reference((world, connection) in any_bound_call()) {
        prop_assert_eq!(decide(&world.snapshot(), &connection), expected(&world, &connection));
    }

    #[test]
    fn a_connect_for_a_pod_equals_the_naive_reference((world, connection) in any_arrival()) {
        prop_assert_eq!(decide(&world.snapshot(), &connection), expected(&world, &connection));
    }

    #[test]
    fn decide_depends_on_what_the_mesh_is_and_not_on_how_it_came_to_be(
        world in any_world(),
        connection in any_connection(),
    ) {
        let decided = decide(&world.snapshot(), &connection);
        prop_assert_eq!(&decided, &decide(&world.snapshot(), &connection));
        prop_assert_eq!(&decided, &decide(&world.reversed().snapshot(), &connection));
    }

    #[test]
    fn what_is_sent_in_clear_is_never_meant_for_a_pod_of_the_mesh(
        world in any_world(),
        connection in any_connection(),
    ) {
        if let Decision::Passthrough(upstream) = decide(&world.snapshot(), &connection) {
            prop_assert!(!upstream.workload.is_some_and(|workload| workload.is_enrolled()));
            let claimants = pods_with(&world, upstream.address.ip());
            prop_assert!(claimants.is_empty() || claimants.iter().any(|pod| !pod.is_enrolled()));
        }
    }
}

/// The meshes drawn would prove nothing if they never led to an answer: each kind of it must turn up.
#[test]
fn the_meshes_drawn_reach_every_answer() {
    let mut runner = TestRunner::deterministic();
    let (anything, arrivals, bound) = ((any_world(), any_connection()), any_arrival(), any_bound_call());
    let mut seen = BTreeSet::new();
    for number in 0..48_000 {
        let drawn = match number {
            0..40_000 => anything.new_tree(&mut runner).unwrap().current(),
            40_000..45_000 => arrivals.new_tree(&mut runner).unwrap().current(),
            _ => bound.new_tree(&mut runner).unwrap().current(),
        };
        let (world, connection) = drawn;
        let decided = decide(&world.snapshot(), &connection);
        let told = told(&decided);
        let early = matches!(&decided, Decision::Deny(_, denial) if denial.early);
        let named = ["Refuse", "Deny"].iter().any(|kind| told.starts_with(kind));
        let words = told.split(' ').take(if named { 2 } else { 1 });
        let kind = match connection {
            Connection::Outbound { .. } => "outbound",
            Connection::InboundHbone { .. } => "hbone",
            Connection::InboundPlaintext { .. } => "plaintext",
        };
        let words = if early { "Deny early".to_owned() } else { words.collect::<Vec<_>>().join(" ") };
        seen.insert(format!("{kind} {words}"));
    }
    let all = [
        "hbone Deny early",
        "hbone Deny no-policy-matched",
        "hbone Deny policy-denied",
        "hbone Deny waypoint-required",
        "hbone Local",
        "hbone Refuse authority-mismatch",
        "hbone Refuse peer-identity-mismatch",
        "hbone Refuse recursive-call",
        "hbone Refuse unknown-workload",
        "hbone Refuse untrusted-domain",
        "outbound Deny no-policy-matched",
        "outbound Deny policy-denied",
        "outbound Deny waypoint-required",
        "outbound Local",
        "outbound Passthrough",
        "outbound Refuse no-healthy-upstream",
        "outbound Refuse no-such-service-port",
        "outbound Refuse recursive-call",
        "outbound Refuse unknown-workload",
        "outbound Refuse waypoint-unavailable",
        "outbound Tunnel",
        "outbound Waypoint",
        "plaintext Deny mtls-required",
        "plaintext Deny no-policy-matched",
        "plaintext Deny policy-denied",
        "plaintext Deny waypoint-required",
        "plaintext Local",
        "plaintext Refuse authority-mismatch",
        "plaintext Refuse recursive-call",
        "plaintext Refuse unknown-workload",
    ];
    assert_eq!(seen.iter().map(String::as_str).collect::<Vec<_>>(), all);
}

/// Nor would they prove anything of a distribution that never kept a connection from where it would have gone.
#[test]
fn the_calls_drawn_make_every_distribution_matter() {
    let mut runner = TestRunner::deterministic();
    let calls = any_call();
    let mut seen = BTreeSet::new();
    for _ in 0..20_000 {
        let (mut world, connection) = calls.new_tree(&mut runner).unwrap().current();
        // Of a waypoint's own Service the distribution matters, too, and not of the one dialled.
        world.waypoints.clear();
        world.services.iter_mut().for_each(|service| service.waypoint = None);
        world.pods.iter_mut().for_each(|pod| pod.waypoint = None);
        let Connection::Outbound { destination, .. } = &connection else { panic!("{connection:?}") };
        let snapshot = world.snapshot();
        let distribution = snapshot.service_dialled(destination.ip(), "shop").unwrap().distribution;
        let decided = told(&decide(&snapshot, &connection));
        world.services.iter_mut().for_each(|service| service.distribution = Distribution::Anywhere);
        let undistributed = told(&decide(&world.snapshot(), &connection));
        if decided != undistributed {
            let refused = decided == "Refuse no-healthy-upstream";
            seen.insert(format!("{distribution:?} {}", if refused { "refuses" } else { "redirects" }));
        }
    }
    let all = [
        "Only(Node) redirects",
        "Only(Node) refuses",
        "Only(Region) redirects",
        "Only(Region) refuses",
        "Only(Subzone) redirects",
        "Only(Subzone) refuses",
        "Only(Zone) redirects",
        "Only(Zone) refuses",
        "Prefer(Node) redirects",
        "Prefer(Region) redirects",
        "Prefer(Subzone) redirects",
        "Prefer(Zone) redirects",
    ];
    assert_eq!(seen.iter().map(String::as_str).collect::<Vec<_>>(), all);
}
