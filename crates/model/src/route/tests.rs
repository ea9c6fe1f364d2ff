//! Routing against a second, naive one: on every mesh and every request the two must agree.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;

mod reference;

/// What can be met: few values, so that they meet often.
const PATHS: [&str; 8] = ["/", "/a", "/A", "/a/b", "/ab", "/a/b/c", "/b", ""];
const WORDS: [&str; 5] = ["a", "ab", "b", "A", ""];
const HOSTS: [&str; 6] = ["a.x", "b.a.x", "*.x", "*.a.x", "*", "y"];
const NAMESPACES: [&str; 3] = ["n", "m", "o"];

/// A request, owned.
#[derive(Clone, Debug)]
struct Call {
    words: [&'static str; 3],
    path: String,
    fields: Vec<(&'static str, &'static str)>,
    port: u16,
    gateway: Gateway,
    labels: Option<BTreeMap<Arc<str>, Arc<str>>>,
    namespace: Option<&'static str>,
    host: &'static str,
    viewer: &'static str,
    owner: Option<&'static str>,
}

impl Call {
    fn request(&self) -> Request<'_, [(&'static str, &'static str)]> {
        let client = Client { labels: self.labels.as_ref(), namespace: self.namespace };
        let [method, scheme, authority] = self.words;
        Request {
            arrival: Arrival { gateway: &self.gateway, port: self.port, client },
            method,
            scheme,
            authority,
            path: &self.path,
            claims: None,
            fields: &self.fields,
        }
    }
}

fn word() -> impl Strategy<Value = &'static str> {
    prop::sample::select(WORDS.to_vec())
}

fn gateway() -> impl Strategy<Value = Gateway> {
    prop_oneof![4 => Just(Gateway::Mesh), 1 => Just(Gateway::Named(RuleKey::new("n", "g")))]
}

fn text(of: &'static [&'static str]) -> impl Strategy<Value = Text> {
    let one = || prop::sample::select(of.to_vec());
    prop_oneof![
        3 => one().prop_map(|text| Text::Exact(text.into())),
        3 => one().prop_map(|text| Text::Prefix(text.into())),
        2 => one().prop_map(|text| Text::Elements(text.trim_end_matches('/').into())),
        1 => prop::sample::select(vec!["a.*", "/a.*", "/a/?b?", "(?i)ab?", ".*b"]).prop_map(|text| Text::Regex(Regex::whole(text).unwrap())),
        1 => Just(Text::Present),
    ]
}

fn sometimes<T: std::fmt::Debug>(strategy: impl Strategy<Value = T>) -> impl Strategy<Value = Option<T>> {
    prop::option::weighted(0.2, strategy)
}

fn texts() -> impl Strategy<Value = BTreeMap<Arc<str>, Text>> {
    let key = prop::sample::select(vec![Arc::from("a"), Arc::from("b")]);
    prop_oneof![3 => Just(BTreeMap::new()), 2 => prop::collection::btree_map(key, text(&WORDS), 1..3)]
}

fn labels() -> impl Strategy<Value = BTreeMap<Arc<str>, Arc<str>>> {
    prop::collection::btree_map(word().prop_map(Arc::from), word().prop_map(Arc::from), 0..2)
}

fn source() -> impl Strategy<Value = Source> {
    let namespace = sometimes(prop::sample::select(NAMESPACES.to_vec()).prop_map(Arc::from));
    let labels = prop_oneof![4 => Just(BTreeMap::new()), 1 => labels()];
    (prop::collection::vec(gateway(), 0..2), sometimes(1_u16..3), labels, namespace)
        .prop_map(|(gateways, port, labels, namespace)| Source { gateways, port, labels, namespace })
}

fn block() -> impl Strategy<Value = HttpMatch> {
    let uri = prop::option::weighted(0.8, text(&PATHS));
    let heads = (sometimes(text(&WORDS)), sometimes(text(&WORDS)), sometimes(text(&WORDS)));
    (source(), uri, any::<bool>(), heads, texts(), texts(), texts()).prop_map(
        |(source, uri, ignore_uri_case, (scheme, method, authority), headers, without_headers, parameters)| HttpMatch {
            name: None,
            source,
            uri,
            ignore_uri_case,
            scheme,
            method,
            authority,
            headers,
            without_headers,
            parameters,
            ..HttpMatch::default()
        },
    )
}

fn destination(number: usize) -> Weighted {
    let host = Host::literal(&format!("d{number}"));
    let destination = Destination { host, subset: None, port: None };
    Weighted { destination, weight: 1, headers: Headers::default() }
}

/// A rule whose destination is its number, and whose blocks are named by theirs.
fn rule(number: usize, mut matches: Vec<HttpMatch>) -> Arc<HttpRoute> {
    for (place, block) in matches.iter_mut().enumerate() {
        block.name = Some(Arc::from(place.to_string()));
    }
    Arc::new(HttpRoute {
        name: Some(Arc::from(format!("r{number}"))),
        matches,
        action: HttpAction::Forward(vec![destination(number)]),
        rewrite: None,
        timeout: None,
        retries: None,
        fault: None,
        mirrors: Vec::new(),
        cors: None,
        headers: None,
    })
}

fn service() -> impl Strategy<Value = VirtualService> {
    let rules = prop::collection::vec(prop::collection::vec(block(), 0..4), 0..12);
    let hosts = prop::collection::btree_set(prop::sample::select(HOSTS.to_vec()), 1..3);
    let visibility = prop::collection::btree_set(prop::sample::select(NAMESPACES.to_vec()), 0..3);
    let created = prop::option::of(prop::sample::select(vec!["2024", "2025"]));
    let namespace = prop::sample::select(NAMESPACES.to_vec());
    (rules, hosts, visibility, created, namespace, prop::collection::vec(gateway(), 1..2)).prop_map(
        |(rules, hosts, visibility, created, namespace, gateways)| VirtualService {
            key: RuleKey::new(namespace, ""),
            created: created.map(Arc::from),
            hosts: hosts.into_iter().map(Host::literal).collect(),
            gateways,
            visibility: match visibility.is_empty() {
                true => Visibility::Public,
                false => Visibility::Namespaces(visibility.into_iter().map(Arc::from).collect()),
            },
            // The last of them often takes everything: then as well, what stands before it counts.
            http: rules.into_iter().enumerate().map(|(number, blocks)| rule(number, blocks)).collect(),
            tls: Vec::new(),
            tcp: Vec::new(),
        },
    )
}

fn services() -> impl Strategy<Value = Vec<Arc<VirtualService>>> {
    prop::collection::vec(service(), 0..5).prop_map(|services| {
        let numbered = services.into_iter().enumerate().map(|(number, mut service)| {
            service.key = RuleKey::new(&service.key.namespace, &format!("vs{number}"));
            Arc::new(service)
        });
        numbered.collect()
    })
}

fn call() -> impl Strategy<Value = Call> {
    let path = prop_oneof![
        6 => (prop::sample::select(PATHS.to_vec()), prop::sample::select(vec!["", "?a=b", "?b", "?a&b=ab#x", "#a", "?"]))
            .prop_map(|(path, query)| format!("{path}{query}")),
        1 => any::<String>(),
    ];
    let fields = prop::collection::vec((prop::sample::select(vec!["a", "b"]), word()), 0..4);
    let client = (prop::option::of(labels()), prop::option::of(prop::sample::select(NAMESPACES.to_vec())));
    let place = (
        prop::sample::select(HOSTS.to_vec()),
        prop::sample::select(NAMESPACES.to_vec()),
        prop::option::of(prop::sample::select(NAMESPACES.to_vec())),
    );
    ([word(), word(), word()], path, fields, 1_u16..3, gateway(), client, place).prop_map(
        |(words, path, fields, port, gateway, (labels, namespace), (host, viewer, owner))| Call {
            words,
            path,
            fields,
            port,
            gateway,
            labels,
            namespace,
            host,
            viewer,
            owner,
        },
    )
}

/// What the routes say: the VirtualServices, and the name of what matched.
fn told(routes: &Routes, call: &Call) -> (Vec<RuleKey>, String) {
    let addressed = Addressed { host: call.host, viewer: call.viewer, owner: call.owner, from: None };
    let service = routes.virtual_services_for(addressed, &call.gateway).map(|service| service.key.clone()).collect();
    let outcome = match routes.http(addressed, &call.request(), Draw(0)) {
        Outcome::Unrouted => "unrouted".to_owned(),
        Outcome::NoRoute => "none".to_owned(),
        Outcome::Matched(matched) => matched.name.into_owned(),
    };
    (service, outcome)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_tables_answer_is_that_of_a_walk_through_all_rules(services in services(), calls in prop::collection::vec(call(), 8)) {
        let mut routes = Routes::default();
        for service in &services {
            prop_assert!(routes.set(&service.key, Some(service.clone())));
        }
        for call in calls {
            let (told, expected) = (told(&routes, &call), reference::told(&services, &call));
            prop_assert_eq!(told, expected, "{:?}", call);
        }
    }

    #[test]
    fn the_way_to_a_state_does_not_matter(services in services(), call in call(), gone in any::<prop::sample::Index>()) {
        let mut routes = Routes::default();
        for service in services.iter().chain(services.iter().rev()) {
            routes.set(&service.key, Some(service.clone()));
        }
        let mut kept = services.clone();
        if !kept.is_empty() {
            let removed = kept.remove(gone.index(kept.len()));
            prop_assert!(routes.set(&removed.key, None));
            prop_assert!(!routes.set(&removed.key, None));
        }
        prop_assert_eq!(told(&routes, &call), reference::told(&kept, &call));
        prop_assert_eq!(routes.is_empty(), kept.is_empty());
    }

    #[test]
    fn whatever_is_drawn_one_of_the_destinations_with_a_weight_is_chosen(
        weights in prop::collection::vec(0_u32..4, 1..5),
        number in any::<u64>(),
        call in call(),
    ) {
        let destinations = weights.iter().enumerate().map(|(place, weight)| Weighted { weight: *weight, ..destination(place) });
        let mut route = (*rule(0, Vec::new())).clone();
        route.action = HttpAction::Forward(destinations.collect());
        let request = call.request();
        let outcome = |number| outcome::outcome(("", &route), None, &request, Draw(number));
        prop_assert_eq!(outcome(number), outcome(number));
        if weights.len() > 1 && weights.iter().all(|weight| *weight == 0) {
            prop_assert_eq!(outcome(number), Outcome::NoRoute);
            return Ok(());
        }
        let Outcome::Matched(matched) = outcome(number) else { return Err(TestCaseError::fail("no route")) };
        let Action::Forward(forward) = matched.action else { return Err(TestCaseError::fail("no forward")) };
        let chosen: usize = forward.destination.host.as_str()[1..].parse().unwrap();
        prop_assert!(weights.len() == 1 || weights[chosen] > 0);
    }
}
