//! Refusals that may only be early: of somebody proven whose pod, and so whose labels, the snapshot does not show yet.

use super::*;

/// Somebody proven of whom there is no pod.
fn newcomer() -> Client {
    Client::Proven("10.0.0.9".parse().unwrap(), crate::fixtures::identity("web"))
}

#[test]
fn a_refusal_is_early_if_other_labels_could_admit_and_no_other_is() {
    let label = |positive, text: &str| Term::Text(Attribute::Label("app".into()), values(positive, &[text]));
    let account = |name: &str| Term::Text(Attribute::ServiceAccount, values(true, &[name]));
    let http = || Term::Beyond("experimental.envoy.filters.a".into());
    let (allow, deny) = (Action::Allow, Action::Deny);
    let one = |action, terms| vec![policy("p", action, vec![when(terms)])];
    let both = |first: Vec<Policy>, mut second: Vec<Policy>| {
        second.iter_mut().for_each(|policy| policy.key = PolicyKey::new("shop", "q"));
        [first, second].concat()
    };
    for (policies, early) in [
        (one(allow, vec![label(true, "a")]), true),
        (one(allow, vec![label(false, "a")]), true),
        (one(deny, vec![label(true, "a")]), true),
        (one(deny, vec![label(false, "a")]), true),
        (one(allow, vec![label(true, "a"), account("shop/web")]), true),
        (one(allow, vec![label(true, "a"), account("shop/other")]), false),
        (one(allow, vec![label(true, "a"), http()]), false),
        (one(deny, vec![label(true, "a"), http()]), true),
        (one(deny, vec![account("shop/web")]), false),
        (one(deny, vec![http()]), false),
        (one(Action::Custom, vec![label(true, "a")]), true),
        (both(one(allow, vec![label(true, "a")]), one(deny, vec![label(true, "b")])), true),
        (both(one(allow, vec![label(true, "a")]), one(deny, vec![account("shop/web")])), false),
        (both(one(deny, vec![label(true, "a")]), one(allow, vec![account("shop/other")])), false),
    ] {
        let world = World { policies, ..shop() };
        let denial = ask(&world, newcomer(), "10.0.0.2:80").unwrap_err();
        assert_eq!(denial.early, early, "{:?}", world.policies);
        let said = denial.to_string().ends_with("by labels of a client whose pod is not known");
        assert_eq!(said, early, "{denial}");
        // Whose labels are known, and who has none, has his answer.
        for client in [proven(), Client::Pod(uid("web")), stranger("10.0.0.9")] {
            let answer = ask(&world, client, "10.0.0.2:80");
            assert!(!answer.as_ref().is_err_and(|denial| denial.early), "{answer:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn a_refusal_that_is_not_early_stands_whoever_the_client_turns_out_to_be(
        (world, connection, address) in any_access_world(),
        app in proptest::option::of("[ab]"),
    ) {
        let snapshot = world.snapshot();
        let destination = world.pods[0].clone();
        let upstream = Upstream::new(address, Some(Arc::new(destination.clone())), None);
        let access = Access::new(&connection, &upstream).unwrap();
        let Client::Proven(peer, identity) = &access.client else { return Ok(()) };
        prop_assume!(access.client.workload(&snapshot).is_none());
        let answer = evaluate(&snapshot, &destination, &access);
        let mut later = world.clone();
        let labels = app.into_iter().map(|app| (Arc::from("app"), Arc::from(app))).collect();
        let known = Workload { identity: identity.clone(), labels, ..pod("newcomer", "", &[&peer.to_string()]) };
        later.pods.push(known);
        let later = evaluate(&later.snapshot(), &destination, &access);
        match answer {
            // What is not known refuses.
            Ok(()) => prop_assert_eq!(later, Ok(())),
            Err(denial) => prop_assert!(denial.early || later.is_err(), "{:?} then {:?}", denial, later),
        }
    }
}
