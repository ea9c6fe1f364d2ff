//! What policies admit, as tables to read, and what holds for all of them.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;
use crate::fixtures::{World, any_access_world, pod, uid};
use crate::{Identity, Upstream};

mod early;
mod layers;
mod request;

fn values<T: std::str::FromStr>(positive: bool, texts: &[&str]) -> Values<T>
where
    T::Err: std::fmt::Debug,
{
    let list: Vec<T> = texts.iter().map(|text| text.parse().unwrap()).collect();
    if positive { Values { any: list, none: vec![] } } else { Values { any: vec![], none: list } }
}

fn policy(name: &str, action: Action, rules: Vec<Rule>) -> Policy {
    Policy { key: PolicyKey::new("shop", name), scope: Scope::Namespace("shop".into()), action, dry_run: false, rules }
}

fn when(terms: Vec<Term>) -> Rule {
    Rule { when: terms, ..Rule::default() }
}

fn peer(name: &str, scope: Scope, created: Option<&str>, mode: Option<Mtls>) -> PeerAuthentication {
    let key = PolicyKey::new("shop", name);
    PeerAuthentication { key, scope, created: created.map(Arc::from), mode, ports: BTreeMap::new() }
}

fn selector(namespace: Option<&str>, labels: &[(&str, &str)]) -> Scope {
    let labels = labels.iter().map(|(key, value)| (Arc::from(*key), Arc::from(*value))).collect();
    Scope::Selector(namespace.map(Arc::from), labels)
}

/// `server` on node `west`, dialled by `web`, which is labelled `app: todoui`.
fn shop() -> World {
    let mut web = pod("web", "east", &["10.0.0.1", "fd00::1"]);
    web.labels.insert("app".into(), "todoui".into());
    let server = pod("server", "west", &["10.0.0.2", "fd00::2"]);
    World::new(vec![web, server], vec![])
}

fn proven() -> Client {
    Client::Proven("10.0.0.1".parse().unwrap(), "spiffe://cluster.local/ns/shop/sa/web".parse().unwrap())
}

fn stranger(address: &str) -> Client {
    Client::Stranger(address.parse().unwrap())
}

fn ask(world: &World, client: Client, to: &str) -> Result<(), Denial> {
    let snapshot = world.snapshot();
    let address: SocketAddr = to.parse().unwrap();
    let access = Access { client, pod: uid("server"), address };
    evaluate(&snapshot, snapshot.workload(&uid("server")).unwrap(), &access)
}

/// `ok`, or the reason's code.
fn told(answer: &Result<(), Denial>) -> &'static str {
    answer.as_ref().map_or_else(|denial| denial.reason.code(), |()| "ok")
}

/// Whether ALLOW and DENY policies of this one term match `client` at 10.0.0.2:8080: they must not contradict.
fn matches(term: &Term, client: &Client) -> bool {
    let answer = |action| {
        let policies = vec![policy("p", action, vec![when(vec![term.clone()])])];
        ask(&World { policies, ..shop() }, client.clone(), "10.0.0.2:8080").is_ok()
    };
    let (allowed, denied) = (answer(Action::Allow), !answer(Action::Deny));
    assert_eq!(allowed, denied, "{term:?} {client:?}");
    allowed
}

#[test]
fn every_key_in_every_form_present_and_absent_asked_for_and_excluded() {
    let label = Attribute::Label("app".into());
    let identity = "cluster.local/ns/shop/sa/web";
    // The attribute; the forms that match what the client has, and those that do not; `*` is the last that matches.
    let keys = [
        (Attribute::Principal, [identity, "cluster.local/ns/shop/*", "*/sa/web", "*"], ["x", "x*", "*x"]),
        (Attribute::Namespace, ["shop", "sh*", "*op", "*"], ["shoppe", "op*", "*sh"]),
        (Attribute::ServiceAccount, ["shop/web", "shop/*", "*/web", "*"], ["web", "web/*", "*shop"]),
        (Attribute::TrustDomain, ["cluster.local", "cluster*", "*.local", "*"], ["local", "local*", "*cluster"]),
        (label, ["todoui", "todo*", "*ui", "*"], ["todobackend", "ui*", "*todo"]),
    ];
    for (attribute, matching, others) in keys {
        for positive in [true, false] {
            let term = |text: &str| Term::Text(attribute.clone(), values(positive, &[text]));
            for text in matching {
                assert_eq!(matches(&term(text), &proven()), positive, "{attribute:?} {text} {positive}");
                assert_eq!(matches(&term(text), &stranger("10.0.0.1")), !positive, "{attribute:?} {text} absent");
            }
            for text in others {
                assert_eq!(matches(&term(text), &proven()), !positive, "{attribute:?} {text} {positive}");
                assert_eq!(matches(&term(text), &stranger("10.0.0.1")), !positive, "{attribute:?} {text} absent");
            }
        }
    }
}

#[test]
fn addresses_and_ports_are_matched_in_blocks_and_by_number() {
    for (block, inside) in [
        ("10.0.0.1", true),
        ("10.0.0.0/31", true),
        ("10.0.0.0/8", true),
        ("0.0.0.0/0", true),
        ("10.0.0.2", false),
        ("10.0.0.2/31", false),
        ("::/0", false),
        ("fd00::1", false),
    ] {
        for positive in [true, false] {
            let term = Term::SourceIp(values(positive, &[block]));
            for client in [proven(), stranger("10.0.0.1"), stranger("::ffff:10.0.0.1"), Client::Pod(uid("web"))] {
                assert_eq!(matches(&term, &client), inside == positive, "{block} {positive} {client:?}");
            }
        }
    }
    for (block, inside) in [("10.0.0.2", true), ("10.0.0.0/30", true), ("10.0.0.3", false)] {
        assert_eq!(matches(&Term::DestinationIp(values(true, &[block])), &proven()), inside, "{block}");
        assert_eq!(matches(&Term::DestinationIp(values(false, &[block])), &proven()), !inside, "{block}");
    }
    for (port, same) in [("8080", true), ("80", false)] {
        assert_eq!(matches(&Term::DestinationPort(values(true, &[port])), &proven()), same);
        assert_eq!(matches(&Term::DestinationPort(values(false, &[port])), &proven()), !same);
    }
}

#[test]
fn blocks_and_patterns_read_back_as_written_and_others_are_refused() {
    for text in ["10.0.0.0/8", "fd00::/8", "0.0.0.0/0", "::/0"] {
        assert_eq!(text.parse::<crate::Cidr>().unwrap().to_string(), text);
    }
    for text in ["", "10.0.0.0/33", "10.0.0/8", "10.0.0.0/", "10.0.0.0/+8", "fd00::/129", "a"] {
        assert!(text.parse::<crate::Cidr>().is_err(), "{text}");
    }
    for text in ["a", "a*", "*a", "*"] {
        assert_eq!(text.parse::<Pattern>().unwrap().to_string(), text);
    }
    for text in ["", "a*b", "**", "*a*", "a**"] {
        assert!(text.parse::<Pattern>().is_err(), "{text}");
    }
}

#[test]
fn deny_comes_first_and_without_an_allow_everything_passes() {
    let to = |name: &str| when(vec![Term::Text(Attribute::ServiceAccount, values(true, &[name]))]);
    let (web, other) = (to("shop/web"), to("shop/other"));
    let (allow, deny) = (Action::Allow, Action::Deny);
    for (policies, expected) in [
        (vec![], "ok"),
        (vec![(allow, vec![web.clone()])], "ok"),
        (vec![(allow, vec![other.clone()])], "no-policy-matched"),
        (vec![(allow, vec![])], "no-policy-matched"),
        (vec![(allow, vec![Rule::default()])], "ok"),
        (vec![(allow, vec![other.clone(), web.clone()])], "ok"),
        (vec![(allow, vec![other.clone()]), (allow, vec![web.clone()])], "ok"),
        (vec![(deny, vec![other.clone()])], "ok"),
        (vec![(deny, vec![])], "ok"),
        (vec![(deny, vec![Rule::default()])], "policy-denied"),
        (vec![(allow, vec![web.clone()]), (deny, vec![other.clone(), web.clone()])], "policy-denied"),
        (vec![(allow, vec![other.clone()]), (deny, vec![other.clone()])], "no-policy-matched"),
        (vec![(Action::Audit, vec![web.clone()])], "ok"),
        (vec![(Action::Custom, vec![web.clone()])], "policy-denied"),
        (vec![(Action::Custom, vec![other])], "ok"),
    ] {
        let name = |(place, (action, rules)): (usize, _)| policy(&format!("p{place}"), action, rules);
        let policies: Vec<Policy> = policies.into_iter().enumerate().map(name).collect();
        let world = World { policies, ..shop() };
        for client in [proven(), Client::Pod(uid("web"))] {
            assert_eq!(told(&ask(&world, client, "10.0.0.2:8080")), expected, "{:?}", world.policies);
        }
    }
}

#[test]
fn what_is_refused_names_the_policy_and_the_rule() {
    let web = when(vec![Term::Text(Attribute::Namespace, values(true, &["shop"]))]);
    let nobody = when(vec![Term::Text(Attribute::Namespace, values(true, &["nobody"]))]);
    let unseen = when(vec![Term::Beyond("experimental.envoy.filters.a".into())]);
    for (action, rules, expected) in [
        (Action::Deny, vec![nobody.clone(), web], "AuthorizationPolicy shop/p, rule 1"),
        (Action::Allow, vec![nobody], "AuthorizationPolicy shop/p"),
        (Action::Deny, vec![unseen.clone()], "AuthorizationPolicy shop/p, rule 0, which can be told in part only here"),
        (Action::Allow, vec![unseen], "AuthorizationPolicy shop/p, which can be told in part only here"),
    ] {
        let world = World { policies: vec![policy("p", action, rules)], ..shop() };
        assert_eq!(ask(&world, proven(), "10.0.0.2:80").unwrap_err().to_string(), expected);
    }
}

#[test]
fn from_to_and_when_must_all_hold_and_of_each_list_one() {
    let account = |name: &str| vec![Term::Text(Attribute::ServiceAccount, values(true, &[name]))];
    let port = |number: &str| vec![Term::DestinationPort(values(true, &[number]))];
    let rule = Rule {
        from: vec![account("shop/other"), account("shop/web")],
        to: vec![port("80"), port("8080")],
        when: vec![Term::SourceIp(values(true, &["10.0.0.0/8"]))],
    };
    let world = World { policies: vec![policy("p", Action::Allow, vec![rule])], ..shop() };
    assert!(ask(&world, proven(), "10.0.0.2:8080").is_ok());
    assert!(ask(&world, proven(), "10.0.0.2:8081").is_err());
    assert!(ask(&world, stranger("10.0.0.1"), "10.0.0.2:8080").is_err());
    let elsewhere = Client::Proven("192.0.2.1".parse().unwrap(), crate::fixtures::identity("web"));
    assert!(ask(&world, elsewhere, "10.0.0.2:8080").is_err());
}

#[test]
fn a_policy_is_for_those_in_its_scope_and_for_nobody_else() {
    let mut server = pod("server", "west", &["10.0.0.2"]);
    server.labels = [("app", "db"), ("tier", "data")].map(|(key, value)| (key.into(), value.into())).into();
    for (scope, covers) in [
        (Scope::Mesh, true),
        (Scope::Namespace("shop".into()), true),
        (Scope::Namespace("other".into()), false),
        (selector(Some("shop"), &[("app", "db")]), true),
        (selector(Some("shop"), &[("tier", "data"), ("app", "db")]), true),
        (selector(Some("shop"), &[("app", "db"), ("tier", "web")]), false),
        (selector(Some("shop"), &[("app", "db"), ("zone", "a")]), false),
        (selector(Some("other"), &[("app", "db")]), false),
        (selector(None, &[("app", "db")]), true),
        (Scope::Targets(vec![TargetRef::new(TargetKind::Service, "shop", "server")]), false),
    ] {
        let refuse = Policy { scope: scope.clone(), ..policy("p", Action::Deny, vec![Rule::default()]) };
        let world = World { policies: vec![refuse], ..World::new(vec![server.clone()], vec![]) };
        assert_eq!(ask(&world, proven(), "10.0.0.2:80").is_err(), covers, "{scope:?}");
    }
}

#[test]
fn labels_are_those_of_the_pod_that_address_and_identity_agree_on() {
    let term = Term::Text(Attribute::Label("app".into()), values(true, &["todoui"]));
    let allow = World { policies: vec![policy("p", Action::Allow, vec![when(vec![term.clone()])])], ..shop() };
    let deny = World { policies: vec![policy("p", Action::Deny, vec![when(vec![term])])], ..shop() };
    let web: Identity = crate::fixtures::identity("web");
    for (client, allowed, denied) in [
        (Client::Pod(uid("web")), true, true),
        (proven(), true, true),
        (Client::Pod(uid("server")), false, false),
        // In clear nobody has labels, whatever the address.
        (stranger("10.0.0.1"), false, false),
        // Somebody proven whom the snapshot does not show there: neither admitted nor let past a DENY.
        (Client::Proven("10.0.0.9".parse().unwrap(), web), false, true),
        (Client::Proven("10.0.0.1".parse().unwrap(), crate::fixtures::identity("other")), false, true),
    ] {
        assert_eq!(ask(&allow, client.clone(), "10.0.0.2:80").is_ok(), allowed, "{client:?}");
        assert_eq!(ask(&deny, client.clone(), "10.0.0.2:80").is_err(), denied, "{client:?}");
    }
}

#[test]
fn a_principal_of_an_alias_is_also_one_of_the_own_trust_domain() {
    let mut world = shop();
    world.mesh.trust_domains.aliases = vec!["old.example".parse().unwrap()];
    let term = Term::Text(Attribute::Principal, values(true, &["cluster.local/ns/shop/sa/web"]));
    world.policies = vec![policy("p", Action::Allow, vec![when(vec![term])])];
    let of = |domain: &str| {
        let identity = Identity::new(domain.parse().unwrap(), "shop", "web");
        ask(&world, Client::Proven("10.0.0.1".parse().unwrap(), identity), "10.0.0.2:80").is_ok()
    };
    assert!(of("cluster.local") && of("old.example") && !of("foreign.example"));
}

#[test]
fn dry_runs_and_audits_are_noted_and_have_no_effect() {
    let everybody = || vec![Rule::default()];
    let dry = |name: &str, action, rules| Policy { dry_run: true, ..policy(name, action, rules) };
    let policies = vec![
        dry("a", Action::Deny, everybody()),
        dry("b", Action::Allow, vec![]),
        dry("c", Action::Deny, vec![]),
        policy("d", Action::Audit, everybody()),
    ];
    let world = World { policies, ..shop() };
    assert_eq!(ask(&world, proven(), "10.0.0.2:80"), Ok(()));
    let snapshot = world.snapshot();
    let access = Access { client: proven(), pod: uid("server"), address: "10.0.0.2:80".parse().unwrap() };
    let noted = rehearse(&snapshot, snapshot.workload(&uid("server")).unwrap(), &access);
    let noted: Vec<_> = noted.iter().map(|(policy, rule)| (&*policy.key.name, *rule)).collect();
    assert_eq!(noted, [("a", Some(0)), ("b", None), ("d", Some(0))]);
}

#[test]
fn the_narrowest_level_that_says_anything_counts_and_of_one_level_the_oldest() {
    use Mtls::{Permissive, Strict};
    let namespace = || Scope::Namespace("shop".into());
    let own = || selector(Some("shop"), &[("app", "db")]);
    let row = |levels: &[(Scope, Option<Mtls>)]| -> Vec<PeerAuthentication> {
        let of = |(place, (scope, mode)): (usize, &(Scope, Option<Mtls>))| {
            peer(&format!("p{place}"), scope.clone(), Some("2024-01-01T00:00:00Z"), *mode)
        };
        levels.iter().enumerate().map(of).collect()
    };
    let mut old = row(&[(namespace(), Some(Strict)), (namespace(), Some(Permissive))]);
    old[1].created = Some("2023-01-01T00:00:00Z".into());
    let table = [
        (vec![], Permissive),
        (row(&[(Scope::Mesh, Some(Strict))]), Strict),
        (row(&[(Scope::Mesh, Some(Strict)), (namespace(), Some(Permissive))]), Permissive),
        (row(&[(Scope::Mesh, Some(Permissive)), (namespace(), Some(Strict))]), Strict),
        (row(&[(Scope::Mesh, Some(Strict)), (namespace(), None)]), Strict),
        (row(&[(namespace(), Some(Strict)), (own(), Some(Permissive))]), Permissive),
        (row(&[(namespace(), Some(Permissive)), (own(), Some(Strict))]), Strict),
        (row(&[(namespace(), Some(Strict)), (own(), None)]), Strict),
        (row(&[(Scope::Mesh, Some(Strict)), (own(), Some(Permissive))]), Permissive),
        (row(&[(Scope::Namespace("other".into()), Some(Strict))]), Permissive),
        (row(&[(selector(Some("shop"), &[("app", "web")]), Some(Strict))]), Permissive),
        (row(&[(selector(None, &[("app", "db")]), Some(Strict))]), Strict),
        // Of one level: the oldest, of one age the first by name.
        (old, Permissive),
        (row(&[(namespace(), Some(Permissive)), (namespace(), Some(Strict))]), Permissive),
        // The oldest counts even if it leaves the question to the wider level.
        (row(&[(namespace(), None), (namespace(), Some(Strict))]), Permissive),
    ];
    for (peers, expected) in table {
        let mut world = World { peers, ..shop() };
        world.pods[1].labels.insert("app".into(), "db".into());
        let expected = if expected == Strict { "mtls-required" } else { "ok" };
        assert_eq!(told(&ask(&world, stranger("192.0.2.1"), "10.0.0.2:80")), expected, "{:?}", world.peers);
        assert_eq!(told(&ask(&world, proven(), "10.0.0.2:80")), "ok");
        assert_eq!(told(&ask(&world, Client::Pod(uid("web")), "10.0.0.2:80")), "ok");
    }
}

#[test]
fn single_ports_are_exceptions_and_others_are_as_the_workload_or_its_parents() {
    use Mtls::{Permissive, Strict};
    for (parent, mode, port, on_port, elsewhere) in [
        (None, Some(Strict), Permissive, "ok", "mtls-required"),
        (None, Some(Permissive), Strict, "mtls-required", "ok"),
        (Some(Strict), None, Permissive, "ok", "mtls-required"),
        (Some(Permissive), None, Strict, "mtls-required", "ok"),
        (None, None, Strict, "mtls-required", "ok"),
    ] {
        let mut own = peer("own", selector(Some("shop"), &[("app", "db")]), None, mode);
        own.ports.insert(8080, port);
        let mut world = World { peers: vec![own], ..shop() };
        world.peers.extend(parent.map(|mode| peer("parent", Scope::Mesh, None, Some(mode))));
        world.pods[1].labels.insert("app".into(), "db".into());
        assert_eq!(told(&ask(&world, stranger("192.0.2.1"), "10.0.0.2:8080")), on_port, "{:?}", world.peers);
        assert_eq!(told(&ask(&world, stranger("192.0.2.1"), "10.0.0.2:80")), elsewhere, "{:?}", world.peers);
    }
}

#[test]
fn probes_of_the_pods_own_node_pass_whatever_the_policy_and_only_those() {
    let mut world = shop();
    world.peers = vec![peer("strict", Scope::Mesh, None, Some(Mtls::Strict))];
    world.policies = vec![policy("none", Action::Allow, vec![]), policy("never", Action::Deny, vec![Rule::default()])];
    for address in ["172.18.0.2", "fd18::2", "10.244.1.1"] {
        let node = Client::Node(address.parse().unwrap());
        assert_eq!(told(&ask(&world, node, "10.0.0.2:80")), "ok", "{address}");
        // Another node, a pod that shares the address, somebody whom the node forwards.
        assert_eq!(told(&ask(&world, stranger(address), "10.0.0.2:80")), "mtls-required", "{address}");
    }
    // Whoever proves an identity from the node's address is no probe.
    let gateway = Client::Proven("172.18.0.2".parse().unwrap(), crate::fixtures::identity("gateway"));
    assert_eq!(told(&ask(&world, gateway, "10.0.0.2:80")), "policy-denied");
}

/// `rule` with everything that layer 4 cannot tell settled: as an evaluator of layer 7 would find it.
fn settled(rule: &Rule, holds: bool) -> Rule {
    let settle = |term: &Term| match term {
        Term::Beyond(_) if holds => Term::DestinationPort(Values { any: vec![], none: vec![] }),
        // A port is no port number that a connection has.
        Term::Beyond(_) => Term::DestinationPort(Values { any: vec![0], none: vec![] }),
        other => other.clone(),
    };
    let all = |terms: &Vec<Term>| terms.iter().map(settle).collect::<Vec<_>>();
    Rule { from: rule.from.iter().map(all).collect(), to: rule.to.iter().map(all).collect(), when: all(&rule.when) }
}

/// Whether the first pod of `world` takes `connection` at `address`.
fn admits(world: &World, connection: &crate::Connection, address: SocketAddr) -> bool {
    let snapshot = world.snapshot();
    let workload = snapshot.workload(&world.pods[0].uid).cloned();
    let upstream = Upstream::new(address, workload, None);
    let access = Access::new(connection, &upstream).unwrap();
    evaluate(&snapshot, &upstream.workload.unwrap(), &access).is_ok()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn without_the_layer_that_can_evaluate_a_policy_never_more_is_admitted(
        (world, connection, address) in any_access_world(),
        holds in any::<bool>(),
    ) {
        let mut full = world.clone();
        for policy in &mut full.policies {
            policy.rules = policy.rules.iter().map(|rule| settled(rule, holds)).collect();
            if policy.action == Action::Custom {
                // Whoever is asked refuses, or admits.
                policy.action = if holds { Action::Deny } else { Action::Audit };
            }
        }
        prop_assert!(!admits(&world, &connection, address) || admits(&full, &connection, address));
    }

    #[test]
    fn another_deny_never_admits_more(
        (world, connection, address) in any_access_world(),
        added in crate::fixtures::any_policy(),
    ) {
        let mut stricter = world.clone();
        stricter.policies.retain(|policy| policy.key != added.key);
        let before = stricter.clone();
        stricter.policies.push(Policy { action: Action::Deny, ..added });
        prop_assert!(!admits(&stricter, &connection, address) || admits(&before, &connection, address));
    }

    #[test]
    fn a_policy_that_was_removed_leaves_nothing(
        (world, _, _) in any_access_world(),
        added in crate::fixtures::any_policy(),
    ) {
        let mut policies = world.snapshot().policies;
        let before = policies.clone();
        let held = policies.authorizations().find(|policy| policy.key == added.key).cloned();
        policies.set_authorization(&added.key.clone(), Some(Arc::new(added.clone())));
        policies.set_authorization(&added.key, held);
        prop_assert_eq!(policies, before);
    }
}
