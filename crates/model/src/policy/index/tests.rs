//! Which rules are looked at for a connection, of how many.

use super::*;
use crate::fixtures::{identity, pod, uid};
use crate::policy::{Access, Action, Attribute, Client, PeerAuthentication, Rule, Term, Values};
use crate::policy::{Head, RequestAccess, evaluate, evaluate_request};
use crate::policy::{seen::Of, seen::Seen};
use crate::{Cidr, Mesh, ServiceKey, Snapshot};

const MANY: usize = 10_000;

fn client_address(number: usize) -> String {
    format!("10.1.{}.{}", number / 250, number % 250)
}

/// A rule about the client of this number, in each form that is looked up.
fn about(number: usize) -> [Rule; 7] {
    let client = format!("client-{number}");
    let exact =
        |attribute, text: &str| Term::Text(attribute, Values { any: vec![text.parse().unwrap()], none: vec![] });
    let block: Cidr = client_address(number).parse().unwrap();
    let account = exact(Attribute::ServiceAccount, &format!("shop/{client}"));
    let namespace = exact(Attribute::Namespace, "shop");
    let port = Term::DestinationPort(Values { any: vec![80], none: vec![] });
    let label = exact(Attribute::Label("app".into()), &client);
    let principal = exact(Attribute::Principal, &format!("cluster.local/ns/shop/sa/{client}"));
    [
        // The narrowest counts: beside it stands what many have.
        Rule { from: vec![vec![namespace.clone(), account]], to: vec![vec![port.clone()]], when: vec![] },
        Rule { when: vec![label], to: vec![vec![port]], ..Rule::default() },
        Rule { from: vec![vec![Term::SourceIp(Values { any: vec![block], none: vec![] })]], ..Rule::default() },
        Rule { when: vec![namespace, principal.clone()], ..Rule::default() },
        Rule { from: vec![vec![principal.clone()], vec![principal]], ..Rule::default() },
        Rule { when: vec![exact(Attribute::Principal, &format!("*/{client}"))], ..Rule::default() },
        Rule { when: vec![exact(Attribute::ServiceAccount, &format!("shop/{client}*"))], ..Rule::default() },
    ]
}

fn policy(name: &str, action: Action, rules: Vec<Rule>) -> Arc<Policy> {
    let key = PolicyKey::new("shop", name);
    Arc::new(Policy { key, scope: Scope::Namespace("shop".into()), action, dry_run: false, rules })
}

/// A server and the clients of numbers 7 and 8.
fn mesh(policies: impl IntoIterator<Item = Arc<Policy>>) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for number in [7, 8] {
        let mut client = pod(&format!("client-{number}"), "", &[&client_address(number)]);
        client.labels = [("app".into(), client.name.clone())].into();
        snapshot.insert_workload(Arc::new(client));
    }
    snapshot.insert_workload(Arc::new(pod("server", "", &["10.0.0.1"])));
    for policy in policies {
        snapshot.policies.set_authorization(&policy.key, Some(policy.clone()));
    }
    snapshot
}

fn access(number: usize) -> Access {
    let client = Client::Proven(client_address(number).parse().unwrap(), identity(&format!("client-{number}")));
    Access { client, pod: uid("server"), address: "10.0.0.1:80".parse().unwrap() }
}

/// How many rules of ALLOW policies are looked at, and whether one admits.
fn looked_at(snapshot: &Snapshot, access: &Access) -> (usize, bool) {
    let server = snapshot.workload(&uid("server")).unwrap();
    let seen = Seen::new(snapshot, access);
    let shown = Shown::new(&seen);
    let effects = snapshot.policies.authorizing(server);
    let count = effects.map(|effects| effects.admitting.candidates(Some(server), &shown, &seen).count()).sum();
    (count, evaluate(snapshot, server, access).is_ok())
}

#[test]
fn of_ten_thousand_rules_those_about_the_client_are_looked_at_in_one_policy_and_in_many() {
    for form in 0..about(0).len() {
        let rules = || (0..MANY).filter(|number| *number != 8).map(|number| about(number)[form].clone());
        let one = mesh([policy("p", Action::Allow, rules().collect())]);
        let each = rules().enumerate().map(|(number, rule)| policy(&format!("p{number}"), Action::Allow, vec![rule]));
        for snapshot in [one, mesh(each)] {
            assert_eq!(looked_at(&snapshot, &access(7)), (1, true), "form {form}");
            assert_eq!(looked_at(&snapshot, &access(8)), (0, false), "form {form}");
        }
    }
}

/// A rule about requests for what has this number, in each form that is looked up.
fn about_request(number: usize) -> [Rule; 8] {
    let path = |text: String| Term::Path(Values { any: vec![text.parse().unwrap()], none: vec![] });
    let host = Values { any: vec![format!("h{number}.example").parse().unwrap()], none: vec![] };
    let get = Term::Text(Attribute::Method, Values { any: vec!["GET".parse().unwrap()], none: vec![] });
    let field = |text: String| {
        Term::Text(Attribute::Header("x-a".into()), Values { any: vec![text.parse().unwrap()], none: vec![] })
    };
    let to = |term| Rule { to: vec![vec![get.clone(), term]], ..Rule::default() };
    [
        to(path(format!("/p{number}/"))),
        to(path(format!("/p{number}/*"))),
        to(path(format!("*/p{number}/"))),
        to(path(format!("/p{number}/{{**}}"))),
        to(Term::Text(Attribute::Host, host)),
        to(field(format!("a{number}."))),
        to(field(format!("*a{number}."))),
        Rule { from: vec![vec![about(7)[3].when[0].clone()]], ..to(path(format!("/p{number}/"))) },
    ]
}

#[test]
fn of_ten_thousand_rules_those_about_the_path_or_host_are_looked_at_and_without_a_head_all() {
    let service = ServiceKey::new("shop", "server");
    let scope = Scope::Targets(vec![TargetRef::from(&service)]);
    let addressed = Addressed::new(&Mesh::default(), &PolicyKey::new("shop", "w"), &[], Some(&service));
    let client = access(7).client;
    for form in 0..about_request(0).len() {
        let rules = (0..MANY).filter(|number| *number != 8).map(|number| about_request(number)[form].clone()).collect();
        let snapshot =
            mesh([Arc::new(Policy { scope: scope.clone(), ..(*policy("p", Action::Allow, rules)).clone() })]);
        let looked_at = |head: Option<Head<'_, [(&str, &str)]>>| {
            let destination = "10.96.0.1:80".parse().unwrap();
            let request = RequestAccess { client: &client, remote: None, destination, sni: None, head };
            let none: &[(&str, &str)] = &[];
            let fields = Of(head.map_or(none, |head| head.fields));
            let seen = Seen::of_request(&snapshot, &request, &fields);
            let shown = Shown::new(&seen);
            let effects = snapshot.policies.attached(&addressed);
            let count: usize = effects.map(|effects| effects.admitting.candidates(None, &shown, &seen).count()).sum();
            (count, evaluate_request(&snapshot, &addressed, &request).is_ok())
        };
        for (path, authority, field, expected) in [
            ("/p7/", "h7.example", "a7.", (1, true)),
            ("/p8/", "h8.example", "a8.", (0, false)),
            ("/p99999/", "a", "", (0, false)),
        ] {
            let fields: &[(&str, &str)] = &[("x-a", field)];
            let head = Head { method: "GET", authority, path, claims: None, fields };
            assert_eq!(looked_at(Some(head)), expected, "form {form} {path}");
        }
        assert_eq!(looked_at(None), (MANY - 1, false), "form {form}");
    }
}

#[test]
fn a_rule_that_cannot_be_looked_up_is_looked_at_for_everybody() {
    let text = |text: &str| Term::Text(Attribute::Principal, Values { any: vec![text.parse().unwrap()], none: vec![] });
    let not = Term::Text(Attribute::Namespace, Values { any: vec![], none: vec!["other".parse().unwrap()] });
    let exact = about(7)[3].when[1].clone();
    for (rule, admits) in [
        (Rule { when: vec![text("*")], ..Rule::default() }, true),
        (Rule { when: vec![not], ..Rule::default() }, true),
        // One clause of several is enough to match, so that all must be looked up.
        (Rule { from: vec![vec![exact], vec![text("*")]], ..Rule::default() }, true),
        (Rule { from: vec![vec![]], ..Rule::default() }, true),
        (Rule { when: vec![Term::Beyond("x".into())], ..Rule::default() }, false),
    ] {
        let snapshot = mesh([policy("p", Action::Allow, vec![rule.clone()])]);
        assert_eq!(looked_at(&snapshot, &access(7)), (1, admits), "{rule:?}");
    }
}

#[test]
fn of_somebody_unknown_every_rule_by_labels_is_looked_at_and_those_by_other_things_are_not() {
    let rules = |form: usize| (0..10).map(|number| about(number)[form].clone()).collect();
    for (form, count) in [(0, 0), (1, 10), (2, 0), (3, 0)] {
        let snapshot = mesh([policy("p", Action::Allow, rules(form))]);
        assert_eq!(looked_at(&snapshot, &access(99)), (count, false), "form {form}");
    }
}

#[test]
fn ranges_around_the_address_are_found_whatever_their_length_and_family() {
    let of = |block: &str| {
        let term = Term::SourceIp(Values { any: vec![block.parse().unwrap()], none: vec![] });
        Rule { when: vec![term], ..Rule::default() }
    };
    let blocks = ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.7", "10.1.0.6/31", "10.2.0.0/16", "::/0", "fd00::/64", "fd00::7"];
    let snapshot = mesh([policy("p", Action::Allow, blocks.map(of).to_vec())]);
    for (address, count) in [("10.1.0.7", 4), ("::ffff:10.1.0.7", 4), ("fd00::7", 3), ("192.0.2.1", 1), ("fe80::1", 1)]
    {
        let access = Access { client: Client::Proven(address.parse().unwrap(), identity("x")), ..access(7) };
        assert_eq!(looked_at(&snapshot, &access), (count, true), "{address}");
    }
}

#[test]
fn of_ten_thousand_peer_authentications_the_oldest_counts() {
    let mut snapshot = mesh([]);
    for number in 0..MANY {
        let key = PolicyKey::new("shop", &format!("p{number}"));
        let created = Some(format!("2024-01-01T00:00:{:02}Z", 59 - number % 60).into());
        let mode = Some(if number == 59 { Mtls::Strict } else { Mtls::Permissive });
        let scope = Scope::Namespace("shop".into());
        let policy = PeerAuthentication { key: key.clone(), scope, created, mode, ports: Default::default() };
        snapshot.policies.set_peer(&key, Some(Arc::new(policy)));
    }
    // Of one age: p1019, p1079, ... p119, ... p59 come in the order of their names.
    let server = snapshot.workload(&uid("server")).unwrap().clone();
    let (_, named) = snapshot.policies.mtls(&server, 80);
    let first = (0..MANY).filter(|number| number % 60 == 59).map(|number| format!("p{number}")).min();
    assert_eq!(named.map(|key| key.name.to_string()), first);
}

#[test]
fn tokens_are_asked_for_by_what_is_attached_and_at_a_gateway_by_what_is_for_its_pod() {
    use crate::policy::token::{KeySource, RequestAuthentication, TokenRule};
    let rule = |issuer: &str| {
        Arc::new(TokenRule {
            issuer: Some(issuer.into()),
            audiences: vec![],
            keys: KeySource::Discovered(issuer.into()),
            locations: vec![],
            forwards: false,
            payload_field: None,
            claim_fields: vec![],
            timeout: std::time::Duration::ZERO,
            space_delimited: Arc::default(),
        })
    };
    let target = |kind, namespace: &str, name: &str| TargetRef::new(kind, namespace, name);
    let labels = |value: &str| [(Arc::from("app"), Arc::from(value))].into();
    let service = target(crate::policy::TargetKind::Service, "shop", "reviews");
    let gateway = target(crate::policy::TargetKind::Gateway, "shop", "w");
    let class = target(crate::policy::TargetKind::GatewayClass, "istio-system", "istio-waypoint");
    let mut policies = Policies::default();
    for (name, scope) in [
        ("i", Scope::Targets(vec![service.clone(), gateway.clone()])),
        ("h", Scope::Targets(vec![gateway])),
        ("g", Scope::Targets(vec![class])),
        ("f", Scope::Mesh),
        ("e", Scope::Namespace("shop".into())),
        ("d", Scope::Namespace("other".into())),
        ("c", Scope::Selector(Some("shop".into()), labels("front"))),
        ("b", Scope::Selector(None, labels("front"))),
        ("a", Scope::Selector(None, labels("other"))),
    ] {
        let key = PolicyKey::new("shop", name);
        let policy = RequestAuthentication { key: key.clone(), scope, rules: vec![rule(name)] };
        assert!(policies.set_authentication(&key, Some(Arc::new(policy))));
    }
    let mut pod = crate::fixtures::pod("ingress", "west", &["10.0.0.9"]);
    pod.labels = labels("front");
    let mesh = crate::Mesh::default();
    let at = |name: &str, service: Option<&crate::ServiceKey>| {
        Addressed::new(&mesh, &PolicyKey::new("shop", name), &crate::policy::WAYPOINT_CLASSES, service)
    };
    let found = |policies: &Policies, addressed: &Addressed| -> String {
        policies.tokens(addressed).iter().filter_map(|rule| rule.issuer.as_deref()).collect()
    };
    let reviews = crate::ServiceKey::new("shop", "reviews");
    assert_eq!(found(&policies, &at("w", Some(&reviews))), "ghi");
    assert_eq!(found(&policies, &at("w", None)), "ghi");
    assert_eq!(found(&policies, &at("v", Some(&reviews))), "gi");
    assert_eq!(found(&policies, &Addressed::of_gateway(Arc::new(pod))), "bcef");
    for name in ["a", "b", "c", "d", "e", "f", "g", "h", "i"] {
        assert!(policies.set_authentication(&PolicyKey::new("shop", name), None));
    }
    assert_eq!(policies, Policies::default());
}
