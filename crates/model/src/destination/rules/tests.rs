//! Which DestinationRule holds for whom, and what of it.

use std::time::Duration;

use super::*;
use crate::destination::{ConnectionPool, LoadBalancer, OutlierDetection, RetryBudget, Settings};

const HOST: &str = "reviews.shop.svc.cluster.local";

fn rule(namespace: &str, name: &str, host: &str) -> DestinationRule {
    DestinationRule {
        key: RuleKey::new(namespace, name),
        created: None,
        host: Host::literal(host),
        policy: None,
        subsets: Vec::new(),
        visibility: Visibility::Public,
        selector: None,
    }
}

fn rules(all: impl IntoIterator<Item = DestinationRule>) -> DestinationRules {
    let mut rules = DestinationRules::default();
    for rule in all {
        assert!(rules.set(&rule.key.clone(), Some(Arc::new(rule))));
    }
    rules
}

/// The names of the rules that hold for `reviews` of `shop`, asked for by `viewer` for `client`.
fn found(rules: &DestinationRules, viewer: &str, client: Client<'_>) -> String {
    let asked = Asked { host: HOST, service_namespace: "shop", viewer, root_namespace: "istio-system", client };
    let merged = rules.find(asked);
    merged.map_or_else(String::new, |merged| {
        merged.rules.iter().map(|rule| rule.key.to_string()).collect::<Vec<_>>().join(" ")
    })
}

#[test]
fn the_viewers_namespace_comes_before_the_services_and_that_before_the_meshs() {
    let private =
        DestinationRule { visibility: Visibility::Namespaces(vec!["shop".into()]), ..rule("shop", "b", HOST) };
    let all =
        [rule("bank", "a", "*.svc.cluster.local"), private, rule("istio-system", "c", "*"), rule("third", "d", HOST)];
    let rules = rules(all);
    let of = |viewer| found(&rules, viewer, Client::default());
    // The closest host counts within a namespace, not across them.
    assert_eq!(of("bank"), "bank/a");
    assert_eq!(of("shop"), "shop/b");
    // What is not exported, and what a third namespace says of it, are nobody else's.
    assert_eq!(of("elsewhere"), "istio-system/c");
    assert_eq!(of("istio-system"), "istio-system/c");
    assert_eq!(of("third"), "third/d");
}

#[test]
fn what_the_mesh_has_for_all_does_not_hide_what_a_service_has() {
    let rules = rules([rule("istio-system", "all", "*"), rule("shop", "own", HOST)]);
    assert_eq!(found(&rules, "istio-system", Client::default()), "shop/own");
}

#[test]
fn the_closest_host_counts_and_rules_of_one_host_are_one() {
    let dated =
        |name: &str, created: &str| DestinationRule { created: Some(created.into()), ..rule("shop", name, HOST) };
    let mut rules =
        rules([rule("shop", "wide", "*.shop.svc.cluster.local"), dated("young", "2025"), dated("old", "2024")]);
    assert_eq!(found(&rules, "shop", Client::default()), "shop/old shop/young");
    for (name, left) in [("old", "shop/young"), ("young", "shop/wide")] {
        assert!(rules.set(&RuleKey::new("shop", name), None));
        assert_eq!(found(&rules, "shop", Client::default()), left);
    }
    assert!(!rules.set(&RuleKey::new("shop", "young"), None));
}

#[test]
fn a_rule_that_selects_clients_is_for_those_of_its_namespace_and_comes_first() {
    let labels = |app: &str| BTreeMap::from([(Arc::from("app"), Arc::from(app))]);
    let selecting = DestinationRule { selector: Some(labels("web")), ..rule("shop", "z", HOST) };
    let rules = rules([rule("shop", "a", HOST), selecting]);
    let (web, db) = (labels("web"), labels("db"));
    let client = |labels, namespace| Client { labels: Some(labels), namespace: Some(namespace) };
    assert_eq!(found(&rules, "shop", client(&web, "shop")), "shop/z");
    assert_eq!(found(&rules, "shop", client(&db, "shop")), "shop/a");
    assert_eq!(found(&rules, "shop", client(&web, "bank")), "shop/a");
    assert_eq!(found(&rules, "shop", Client::default()), "shop/a");
}

fn pool(seconds: u64) -> Option<ConnectionPool> {
    Some(ConnectionPool { connect_timeout: Duration::from_secs(seconds), ..ConnectionPool::default() })
}

/// The connect timeout, whether there is outlier detection, a balancer, a budget.
fn shown(policy: &TrafficPolicy) -> (u64, bool, bool, bool) {
    let Settings { load_balancer, connection_pool, outlier_detection, .. } = &policy.settings;
    let timeout = connection_pool.as_ref().map_or(0, |pool| pool.connect_timeout.as_secs());
    (timeout, outlier_detection.is_some(), load_balancer.is_some(), policy.retry_budget.is_some())
}

#[test]
fn subset_and_port_come_before_subset_and_that_before_port_and_that_before_the_host() {
    let of_port =
        |port, seconds| BTreeMap::from([(port, Settings { connection_pool: pool(seconds), ..Settings::default() })]);
    let outliers = Some(OutlierDetection::default());
    let whole = TrafficPolicy {
        settings: Settings { connection_pool: pool(1), outlier_detection: outliers, ..Settings::default() },
        ports: of_port(80, 2),
        retry_budget: Some(RetryBudget::default()),
        proxy_protocol: None,
    };
    let subset = |name: &str, policy| Subset { name: name.into(), labels: BTreeMap::new(), policy };
    let some = TrafficPolicy {
        settings: Settings { load_balancer: Some(LoadBalancer::default()), ..Settings::default() },
        ports: of_port(81, 4),
        ..TrafficPolicy::default()
    };
    let timed = TrafficPolicy {
        settings: Settings { connection_pool: pool(3), ..Settings::default() },
        ..TrafficPolicy::default()
    };
    let rule = DestinationRule {
        policy: Some(whole),
        subsets: vec![subset("bare", None), subset("some", Some(some)), subset("timed", Some(timed))],
        ..rule("shop", "a", HOST)
    };
    let merged = Merged::new(vec![Arc::new(rule)]);
    for (subset, port, expected) in [
        (None, 9080, (1, true, false, true)),
        // A port's settings inherit nothing of the host's; a budget is of no port.
        (None, 80, (2, false, false, true)),
        (Some("bare"), 9080, (1, true, false, true)),
        (Some("bare"), 80, (2, false, false, true)),
        // A subset takes the place of what it says.
        (Some("some"), 9080, (1, true, true, true)),
        (Some("some"), 80, (2, false, true, true)),
        (Some("timed"), 9080, (3, true, false, true)),
        (Some("timed"), 80, (3, false, false, true)),
        // And its port of everything.
        (Some("some"), 81, (4, false, false, true)),
    ] {
        let effective = merged.effective(None, subset, port).unwrap();
        assert_eq!(shown(&effective), expected, "{subset:?} {port}");
    }
    assert_eq!(merged.effective(None, Some("none"), 80), None);
    // What the mesh says holds where nobody else says anything.
    let mesh = TrafficPolicy {
        settings: Settings {
            connection_pool: pool(9),
            load_balancer: Some(LoadBalancer::default()),
            ..Settings::default()
        },
        ..TrafficPolicy::default()
    };
    assert_eq!(shown(&merged.effective(Some(&mesh), None, 9080).unwrap()), (1, true, true, true));
    let nothing = Merged::new(Vec::new());
    assert_eq!(shown(&nothing.effective(Some(&mesh), None, 80).unwrap()), (9, false, true, false));
}

#[test]
fn a_budget_allows_its_share_and_a_few_always() {
    let budget = RetryBudget::default();
    for (requests, retries, allowed) in
        [(0, 2, true), (0, 3, false), (2, 2, true), (25, 4, true), (25, 5, false), (100, 19, true), (100, 20, false)]
    {
        assert_eq!(budget.allows(requests, retries), allowed, "{requests} {retries}");
    }
}

#[test]
fn a_subset_has_the_endpoints_with_all_of_its_labels() {
    let labels = |all: &[(&str, &str)]| -> BTreeMap<Arc<str>, Arc<str>> {
        all.iter().map(|(key, value)| (Arc::from(*key), Arc::from(*value))).collect()
    };
    let subset = Subset { name: "v".into(), labels: labels(&[("app", "a"), ("version", "1")]), policy: None };
    assert!(subset.covers(&labels(&[("app", "a"), ("version", "1"), ("x", "y")])));
    assert!(!subset.covers(&labels(&[("app", "a")])) && !subset.covers(&labels(&[("app", "a"), ("version", "2")])));
}
