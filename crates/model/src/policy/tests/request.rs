//! What policies at a waypoint admit, as tables to read.

use super::*;
use crate::{Cidr, ServiceKey};

/// A method, an authority, a path and fields.
pub(super) type Written = (&'static str, &'static str, &'static str, Vec<(&'static str, &'static str)>);

/// A request as a table writes it.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) client: Client,
    pub(super) remote: Option<&'static str>,
    pub(super) destination: &'static str,
    pub(super) sni: Option<&'static str>,
    pub(super) head: Option<Written>,
    pub(super) claims: Option<Claims>,
}

/// `GET http://reviews.example:80/a/b?q` with a field, by `web`.
fn get() -> Ask {
    let head = Some(("GET", "Reviews.example:80", "/a/b?q", vec![("x-a", "blue")]));
    Ask {
        client: proven(),
        remote: None,
        destination: "10.96.0.1:80",
        sni: Some("reviews.example"),
        head,
        claims: None,
    }
}

/// Whom `shop/reviews` at waypoint `infra/w` asks.
pub(super) fn at(service: Option<&ServiceKey>) -> Addressed {
    Addressed::new(&crate::Mesh::default(), &PolicyKey::new("infra", "w"), &WAYPOINT_CLASSES, service)
}

pub(super) fn reviews() -> ServiceKey {
    ServiceKey::new("shop", "reviews")
}

pub(super) fn attached(name: &str, action: Action, rules: Vec<Rule>) -> Policy {
    let target = TargetRef::new(TargetKind::Service, "shop", "reviews");
    Policy { scope: Scope::Targets(vec![target]), ..policy(name, action, rules) }
}

/// Calls `judge` with what is asked.
pub(super) fn asking<T>(ask: &Ask, judge: impl FnOnce(&RequestAccess<'_, [(&str, &str)]>) -> T) -> T {
    let head = ask.head.as_ref().map(|(method, authority, path, fields)| Head {
        method,
        authority,
        path,
        claims: ask.claims.as_ref(),
        fields: fields.as_slice(),
    });
    let remote = ask.remote.map(|address| address.parse().unwrap());
    let destination = ask.destination.parse().unwrap();
    judge(&RequestAccess { client: &ask.client, remote, destination, sni: ask.sni, head })
}

fn request(world: &World, ask: &Ask) -> Result<(), Denial> {
    asking(ask, |access| evaluate_request(&world.snapshot(), &at(Some(&reviews())), access))
}

/// What policies of this one term make of it: whether ALLOW admits, and whether DENY refuses.
fn of_term(term: &Term, ask: &Ask) -> (bool, bool) {
    let answer = |action| {
        let policies = vec![attached("p", action, vec![when(vec![term.clone()])])];
        request(&World { policies, ..shop() }, ask).is_ok()
    };
    (answer(Action::Allow), !answer(Action::Deny))
}

const HELD: (bool, bool) = (true, true);
const NOT_HELD: (bool, bool) = (false, false);
const UNKNOWN: (bool, bool) = (false, true);

#[test]
fn every_text_in_every_form_present_and_absent_asked_for_and_excluded() {
    let nobody = Ask { client: stranger("10.0.0.1"), sni: None, head: Some(("", "", "", vec![])), ..get() };
    let of_http = |attribute| !matches!(attribute, Attribute::Principal | Attribute::Label(_) | Attribute::Sni);
    // The attribute; the forms that match what the request has, `*` last, and those that do not.
    for (attribute, matching, others) in [
        (Attribute::Principal, ["cluster.local/ns/shop/sa/web", "cluster*", "*/web", "*"], ["web", "x*", "*x"]),
        (Attribute::Label("app".into()), ["todoui", "todo*", "*ui", "*"], ["x", "x*", "*x"]),
        (Attribute::Sni, ["reviews.example", "reviews*", "*.example", "*"], ["example", "example*", "*reviews"]),
        (Attribute::Host, ["reviews.example", "reviews.*", "*.example", "*"], ["example", "example*", "*reviews"]),
        (Attribute::Host, ["reviews.example:80", "reviews*", "*:80", "*"], ["reviews.example:8", "x*", "*:8"]),
        (Attribute::Method, ["GET", "G*", "*T", "*"], ["get", "P*", "*X"]),
        (Attribute::Header("x-a".into()), ["blue", "bl*", "*ue", "*"], ["Blue", "ue*", "*bl"]),
    ] {
        for positive in [true, false] {
            let term = |text: &str| Term::Text(attribute.clone(), values(positive, &[text]));
            let of = |holds: bool| if holds == positive { HELD } else { NOT_HELD };
            for (texts, holds) in [(&matching[..], true), (&others[..], false)] {
                for text in texts {
                    assert_eq!(of_term(&term(text), &get()), of(holds), "{attribute:?} {text} {positive}");
                    assert_eq!(of_term(&term(text), &nobody), of(false), "{attribute:?} {text} {positive} absent");
                    if of_http(attribute.clone()) {
                        let stream = Ask { head: None, ..get() };
                        assert_eq!(of_term(&term(text), &stream), UNKNOWN, "{attribute:?} {text} not HTTP");
                    }
                }
            }
        }
    }
}

#[test]
fn paths_are_matched_without_their_query_and_templates_by_segments() {
    let absent = Ask { head: Some(("GET", "a", "", vec![])), ..get() };
    for (pattern, holds) in [
        ("/a/b", true),
        ("/a/*", true),
        ("*/b", true),
        ("*", true),
        ("/a/{*}", true),
        ("/{*}/b", true),
        ("/a/{**}", true),
        ("/{**}/b", true),
        ("/{**}/c", false),
        ("/a/{*}/{*}", false),
        ("/a/b?q", false),
        ("/A/b", false),
        ("/b*", false),
        ("*/a", false),
    ] {
        for positive in [true, false] {
            let term = Term::Path(values(positive, &[pattern]));
            assert_eq!(of_term(&term, &get()), if holds == positive { HELD } else { NOT_HELD }, "{pattern} {positive}");
            assert_eq!(of_term(&term, &absent), if positive { NOT_HELD } else { HELD }, "{pattern} absent");
            assert_eq!(of_term(&term, &Ask { head: None, ..get() }), UNKNOWN, "{pattern} not HTTP");
        }
    }
}

#[test]
fn addresses_and_ports_are_the_clients_own_its_remote_ones_and_the_services() {
    let forwarded = Ask { remote: Some("192.0.2.1"), ..get() };
    let block = |term: fn(Values<Cidr>) -> Term, text: &str, positive| term(values(positive, &[text]));
    for (term, text, plain, passed_on) in [
        (Term::SourceIp as fn(Values<Cidr>) -> Term, "10.0.0.0/24", true, true),
        (Term::SourceIp, "192.0.2.0/24", false, false),
        (Term::RemoteIp, "10.0.0.1", true, false),
        (Term::RemoteIp, "192.0.2.0/24", false, true),
        (Term::DestinationIp, "10.96.0.1", true, true),
        (Term::DestinationIp, "10.0.0.2", false, false),
    ] {
        for positive in [true, false] {
            let expected = |holds: bool| if holds == positive { HELD } else { NOT_HELD };
            assert_eq!(of_term(&block(term, text, positive), &get()), expected(plain), "{text} {positive}");
            assert_eq!(of_term(&block(term, text, positive), &forwarded), expected(passed_on), "{text} {positive}");
        }
    }
    for (port, holds) in [("80", HELD), ("8080", NOT_HELD)] {
        assert_eq!(of_term(&Term::DestinationPort(values(true, &[port])), &get()), holds);
    }
}

#[test]
fn what_a_token_says_is_asked_and_who_has_none_says_nothing() {
    let payload =
        serde_json::json!({"iss": "a.example", "sub": "ann", "aud": ["x", "y"], "azp": "app", "a": {"b": ["c", "d"]}});
    let serde_json::Value::Object(payload) = payload else { panic!("an object") };
    let proved = Ask { claims: Some(Claims::new(Arc::new(payload), Arc::default())), ..get() };
    let claim = |parts: [&str; 2]| TokenAttribute::Claim(ClaimPath::new(parts).unwrap());
    for (attribute, matching, others) in [
        (TokenAttribute::RequestPrincipal, ["a.example/ann", "a.example/*", "*/ann", "*"], ["ann", "ann*", "*example"]),
        (TokenAttribute::Principal, ["a.example/ann", "a*", "*ann", "*"], ["a.example", "b*", "*/bob"]),
        (TokenAttribute::Audiences, ["x", "y", "y*", "*"], ["z", "xy", "*z"]),
        (TokenAttribute::Presenter, ["app", "a*", "*p", "*"], ["ap", "b*", "*a"]),
        (claim(["a", "b"]), ["c", "d", "c*", "*"], ["cd", "e", "*e"]),
    ] {
        for positive in [true, false] {
            let term = |text: &str| Term::Text(Attribute::Token(attribute.clone()), values(positive, &[text]));
            let of = |holds: bool| if holds == positive { HELD } else { NOT_HELD };
            for (texts, holds) in [(&matching[..], true), (&others[..], false)] {
                for text in texts {
                    assert_eq!(of_term(&term(text), &proved), of(holds), "{attribute} {text} {positive}");
                    assert_eq!(
                        of_term(&term(text), &get()),
                        of(false),
                        "{attribute} {text} {positive} without a token"
                    );
                    assert_eq!(of_term(&term(text), &Ask { head: None, ..get() }), UNKNOWN, "{attribute} not HTTP");
                }
            }
        }
    }
}

#[test]
fn nobody_sees_what_envoy_counts() {
    assert_eq!(of_term(&Term::Beyond("experimental.envoy.filters.a".into()), &get()), UNKNOWN);
}

#[test]
fn a_host_has_its_names_with_and_without_port_and_root() {
    for (authority, host, holds) in [
        ("REVIEWS.example", "reviews.example", HELD),
        ("reviews.example:8080", "reviews.example", HELD),
        ("reviews.example:8080", "reviews.example:80", NOT_HELD),
        ("reviews.example.", "reviews.example", HELD),
        ("reviews.example.:80", "*.example", HELD),
        ("reviews.example:", "reviews.example", HELD),
        ("reviews.example:a", "reviews.example", NOT_HELD),
        ("[fd00::1]:80", "[fd00::1]", HELD),
        ("[fd00::1]", "[fd00::1]", HELD),
        ("fd00::1", "fd00:", NOT_HELD),
        ("xreviews.example", "reviews.example", NOT_HELD),
    ] {
        let ask = Ask { head: Some(("GET", authority, "/", vec![])), ..get() };
        let term = |positive| Term::Text(Attribute::Host, values(positive, &[host]));
        assert_eq!(of_term(&term(true), &ask), holds, "{authority} {host}");
        assert_eq!(of_term(&term(false), &ask), if holds == HELD { NOT_HELD } else { HELD }, "{authority} {host}");
    }
}

#[test]
fn of_a_list_of_values_one_that_matches_refuses_and_does_not_admit() {
    for (fields, pattern, holds) in [
        (vec![("x-a", "blue"), ("x-a", "red")], "red", UNKNOWN),
        (vec![("x-a", "blue, red")], "red", UNKNOWN),
        (vec![("x-a", "blue"), ("x-a", "red")], "blue,red", HELD),
        (vec![("x-a", "blue"), ("x-a", "red")], "green", NOT_HELD),
        (vec![("x-a", "blue"), ("x-a", "red")], "blue*", HELD),
        (vec![("X-A", "blue")], "blue", HELD),
        (vec![("x-b", "blue")], "*", NOT_HELD),
        (vec![("x-a", "")], "*", NOT_HELD),
    ] {
        let ask = Ask { head: Some(("GET", "a", "/", fields.clone())), ..get() };
        let term = |positive| Term::Text(Attribute::Header("x-a".into()), values(positive, &[pattern]));
        assert_eq!(of_term(&term(true), &ask), holds, "{fields:?} {pattern}");
        let excluded = if holds == HELD {
            NOT_HELD
        } else if holds == NOT_HELD {
            HELD
        } else {
            UNKNOWN
        };
        assert_eq!(of_term(&term(false), &ask), excluded, "{fields:?} not {pattern}");
    }
    // The crumbs of a cookie are one text.
    let ask = Ask { head: Some(("GET", "a", "/", vec![("cookie", "a=1,b"), ("cookie", "c=2")])), ..get() };
    let cookie = |text| Term::Text(Attribute::Header("cookie".into()), values(true, &[text]));
    assert_eq!((of_term(&cookie("b"), &ask), of_term(&cookie("a=1,b; c=2"), &ask)), (NOT_HELD, HELD));
}

#[test]
fn a_policy_is_for_what_it_targets_and_for_nothing_else() {
    let entry = ServiceKey { host: Some("a.example".into()), ..reviews() };
    let service = reviews();
    let target = |kind, namespace, name| Scope::Targets(vec![TargetRef::new(kind, namespace, name)]);
    // Of a Service, of a host of a ServiceEntry of that name, and of what is no service.
    for (scope, for_service, for_entry, for_none) in [
        (target(TargetKind::Service, "shop", "reviews"), true, false, false),
        (target(TargetKind::Service, "shop", "ratings"), false, false, false),
        (target(TargetKind::Service, "infra", "reviews"), false, false, false),
        (target(TargetKind::ServiceEntry, "shop", "reviews"), false, true, false),
        (target(TargetKind::Gateway, "infra", "w"), true, true, true),
        (target(TargetKind::Gateway, "infra", "reviews"), false, false, false),
        (target(TargetKind::Gateway, "shop", "w"), false, false, false),
        (target(TargetKind::GatewayClass, "istio-system", "istio-waypoint"), true, true, true),
        (target(TargetKind::GatewayClass, "istio-system", "ambit-waypoint"), true, true, true),
        (target(TargetKind::GatewayClass, "istio-system", "ambit"), false, false, false),
        (target(TargetKind::GatewayClass, "infra", "istio-waypoint"), false, false, false),
        // Those of pods are asked by the pods' own nodes.
        (Scope::Mesh, false, false, false),
        (Scope::Namespace("shop".into()), false, false, false),
        (selector(Some("shop"), &[("app", "reviews")]), false, false, false),
    ] {
        let refuse = Policy { scope: scope.clone(), ..policy("p", Action::Deny, vec![Rule::default()]) };
        let snapshot = World { policies: vec![refuse], ..shop() }.snapshot();
        for (service, applies) in [(Some(&service), for_service), (Some(&entry), for_entry), (None, for_none)] {
            let answer = asking(&get(), |access| evaluate_request(&snapshot, &at(service), access));
            assert_eq!(told(&answer), if applies { "policy-denied" } else { "ok" }, "{scope:?} {service:?}");
        }
        let targets = if let Scope::Targets(targets) = &scope { targets.clone() } else { vec![] };
        let listed: Vec<_> = snapshot.policies.targeted().map(|(target, _)| target.clone()).collect();
        assert_eq!(listed, targets);
        assert!(targets.iter().all(|target| snapshot.policies.targeting(target).count() == 1), "{scope:?}");
    }
}

#[test]
fn deny_comes_before_allow_and_every_allow_that_is_attached_may_admit() {
    let path = |text: &str| when(vec![Term::Path(values(true, &[text]))]);
    let gateway = |policy: Policy| {
        let target = TargetRef::new(TargetKind::Gateway, "infra", "w");
        Policy { scope: Scope::Targets(vec![target]), ..policy }
    };
    let (allow, deny) = (Action::Allow, Action::Deny);
    for (policies, expected) in [
        (vec![attached("p", allow, vec![path("/a/*")])], "ok"),
        (vec![attached("p", allow, vec![path("/b")])], "AuthorizationPolicy shop/p"),
        (vec![attached("p", allow, vec![])], "AuthorizationPolicy shop/p"),
        (vec![attached("p", allow, vec![path("/b")]), gateway(policy("q", allow, vec![path("/a/*")]))], "ok"),
        (
            vec![attached("p", allow, vec![path("/a/*")]), gateway(policy("q", deny, vec![path("/a/b")]))],
            "AuthorizationPolicy shop/q, rule 0",
        ),
        (
            vec![attached("p", allow, vec![path("/a/*")]), attached("q", Action::Custom, vec![path("/a/b")])],
            "AuthorizationPolicy shop/q, rule 0, which can be told in part only here",
        ),
        (
            vec![attached("p", deny, vec![when(vec![Term::Beyond("x".into())])])],
            "AuthorizationPolicy shop/p, rule 0, which can be told in part only here",
        ),
    ] {
        let world = World { policies, ..shop() };
        let answer = request(&world, &get()).map_or_else(|denial| denial.to_string(), |()| "ok".to_owned());
        assert_eq!(answer, expected, "{:?}", world.policies);
    }
}

#[test]
fn of_somebody_whose_pod_is_not_known_a_refusal_for_his_labels_is_early() {
    let app = when(vec![Term::Text(Attribute::Label("app".into()), values(true, &["todoui"]))]);
    let world = World { policies: vec![attached("p", Action::Allow, vec![app])], ..shop() };
    let newcomer = Client::Proven("10.0.0.9".parse().unwrap(), crate::fixtures::identity("web"));
    assert_eq!(request(&world, &get()), Ok(()));
    assert!(request(&world, &Ask { client: newcomer, ..get() }).unwrap_err().early);
    assert!(!request(&world, &Ask { client: stranger("10.0.0.1"), ..get() }).unwrap_err().early);
}

#[test]
fn dry_runs_and_audits_of_requests_are_noted_once_and_have_no_effect() {
    let post = when(vec![Term::Text(Attribute::Method, values(true, &["POST"]))]);
    let both = ["reviews", "w"].map(|name| match name {
        "w" => TargetRef::new(TargetKind::Gateway, "infra", name),
        _ => TargetRef::new(TargetKind::Service, "shop", name),
    });
    let dry = |name: &str, action, rules| Policy { dry_run: true, ..attached(name, action, rules) };
    let policies = vec![
        dry("a", Action::Deny, vec![post.clone(), Rule::default()]),
        Policy { scope: Scope::Targets(both.to_vec()), ..dry("b", Action::Allow, vec![post.clone()]) },
        dry("c", Action::Deny, vec![post]),
        attached("d", Action::Audit, vec![Rule::default()]),
    ];
    let world = World { policies, ..shop() };
    assert_eq!(request(&world, &get()), Ok(()));
    let noted = asking(&get(), |access| rehearse_request(&world.snapshot(), &at(Some(&reviews())), access));
    let noted: BTreeMap<_, _> = noted.iter().map(|(policy, rule)| (policy.key.name.to_string(), *rule)).collect();
    let expected = [("a", Some(1)), ("b", None), ("d", Some(0))].map(|(name, rule)| (name.to_owned(), rule));
    assert_eq!(noted, expected.into());
}
