//! What holds for all policies and requests: less to see never admits more, and no rule that matches is overlooked.

use proptest::sample::{select, subsequence};

use super::request::{Ask, asking, at, reviews};
use super::*;
use crate::Connection;

fn any_ask() -> impl Strategy<Value = Ask> {
    let fields = vec![("x-a", "a"), ("x-a", "ba"), ("x-a", "c,a"), ("x-b", "a")];
    let head = (
        select(vec!["GET", "POST", "PUT", ""]),
        select(vec!["a.example", "A.Example:80", "b.example.:8080", "example", ""]),
        select(vec!["/", "/a", "/a/b", "/a/b/c?q", "/ab", "/x/b", "/a/", ""]),
        subsequence(fields, 0..=4),
    );
    (prop::option::weighted(0.8, head), prop::option::of(Just("a.example"))).prop_map(|(head, sni)| Ask {
        client: proven(),
        remote: None,
        destination: "10.0.0.1:80",
        sni,
        head,
        claims: None,
    })
}

/// The policies of `world`, all for `scope`, and no other reason to refuse or to admit.
fn all_for(world: &World, scope: &Scope) -> World {
    let policies = world.policies.iter().map(|policy| Policy { scope: scope.clone(), ..policy.clone() }).collect();
    World { policies, peers: vec![], nodes: vec![], ..world.clone() }
}

/// `connection` by somebody of whom the node does not know that he is its own: whom policies are about.
fn unprobing(connection: Connection) -> Connection {
    match connection {
        Connection::InboundPlaintext { pod, peer, destination, .. } => {
            Connection::InboundPlaintext { pod, peer, destination, by_node: false }
        }
        other => other,
    }
}

/// `world` in which all policies are attached to the service, and who `connection` is from.
fn at_waypoint(world: &World, connection: &Connection, address: SocketAddr) -> (crate::Snapshot, Access) {
    let upstream = Upstream::new(address, Some(Arc::new(world.pods[0].clone())), None);
    let targets = vec![TargetRef::from(&reviews())];
    (all_for(world, &Scope::Targets(targets)).snapshot(), Access::new(connection, &upstream).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn what_layer_4_admits_a_waypoint_admits_whatever_the_request(
        (world, connection, address) in any_access_world(),
        ask in any_ask(),
    ) {
        let connection = unprobing(connection);
        let (snapshot, access) = at_waypoint(&world, &connection, address);
        let judge = |request: &RequestAccess<'_, [(&str, &str)]>| {
            let own = RequestAccess { client: &access.client, destination: address, ..*request };
            let admits = |request| evaluate_request(&snapshot, &at(Some(&reviews())), request).is_ok();
            (admits(&RequestAccess { head: None, ..own }), admits(&own))
        };
        let (as_stream, as_request) = asking(&ask, judge);
        let layer_4 = admits(&all_for(&world, &Scope::Mesh), &connection, address);
        prop_assert!(!layer_4 || as_stream, "layer 4 admits, and the waypoint not the connection");
        prop_assert!(!as_stream || as_request, "the connection is admitted, and not the request");
    }

    #[test]
    fn the_index_overlooks_no_rule_that_matches(
        (world, connection, address) in any_access_world(),
        ask in any_ask(),
    ) {
        let (snapshot, access) = at_waypoint(&world, &connection, address);
        let (answer, expected) = asking(&ask, |request| {
            let own = RequestAccess { client: &access.client, destination: address, ..*request };
            let answer = evaluate_request(&snapshot, &at(Some(&reviews())), &own);
            let none: &[(&str, &str)] = &[];
            let fields = seen::Of(own.head.map_or(none, |head| head.fields));
            let seen = Seen::of_request(&snapshot, &own, &fields);
            let truths = |actions: [Action; 2]| {
                let policies = snapshot.policies.authorizations().filter(|policy| !policy.dry_run);
                let policies = policies.filter(move |policy| actions.contains(&policy.action));
                policies.flat_map(|policy| &policy.rules).map(|rule| rule.matches(&seen, Truth::Unknown)).max()
            };
            let refused = truths([Action::Deny, Action::Custom]).is_some_and(|truth| truth != Truth::False);
            let mut live = snapshot.policies.authorizations().filter(|policy| !policy.dry_run);
            let asked = live.any(|policy| policy.action == Action::Allow);
            let admitted = truths([Action::Allow; 2]) == Some(Truth::True);
            (answer, !refused && (!asked || admitted))
        });
        prop_assert_eq!(answer.is_ok(), expected, "{:?}", answer);
    }
}
