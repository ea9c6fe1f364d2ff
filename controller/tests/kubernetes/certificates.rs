//! Who gets which certificate by a real token (D-02).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::support::{HOME, SOON, World, ask, granted};

const AUDIENCE: &str = "istio-ca";
const AGENT: (&str, &str) = (HOME, "ztunnel");

/// `token` with a claim replaced; its signature is then worth nothing.
fn altered(token: &str, claim: &str, value: &Value) -> String {
    let parts: Vec<_> = token.split('.').collect();
    let mut claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
    claims[claim] = value.clone();
    format!("{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode(claims.to_string()), parts[2])
}

#[tokio::test]
async fn an_agent_gets_the_identities_of_its_own_nodes_pods_and_a_waypoint_its_own() {
    let world = World::of_two_nodes();
    let controller = world.start("one", &[]);
    let agent = |node: &str| {
        let pod = format!("ztunnel-{node}");
        world.issuer(&controller, &world.token(AGENT, Some(&pod), AUDIENCE))
    };
    let (a, b) = (agent("a"), agent("b"));
    assert_eq!(granted(&a, "shop/reviews").await.len(), 1);
    granted(&b, "shop/ratings").await;
    let error = ask(&a, "shop/ratings").await.unwrap_err();
    assert!(
        error.contains("PermissionDenied: no pod of spiffe://cluster.local/ns/shop/sa/ratings runs on node a"),
        "{error}"
    );
    assert!(error.contains("of its own pods alone"), "{error}");
    // The pod of another node comes to run on this one as well.
    world.pod(("shop", "ratings-2"), "ratings", "a");
    granted(&a, "shop/ratings").await;

    let waypoint = world.issuer(&controller, &world.token(("shop", "reviews"), Some("reviews"), AUDIENCE));
    granted(&waypoint, "shop/reviews").await;
    let error = ask(&waypoint, "shop/ratings").await.unwrap_err();
    assert!(error.contains("PermissionDenied: ") && error.contains("may have a certificate for itself"), "{error}");
}

#[tokio::test]
async fn a_token_that_is_not_good_is_refused_with_the_remedy() {
    let world = World::of_two_nodes();
    let controller = world.start("one", &[]);
    let good = world.token(AGENT, Some("ztunnel-a"), AUDIENCE);
    let other = world.token(AGENT, Some("ztunnel-a"), "vault");
    let cases = [
        (other, "Unauthenticated: the token is for the audience vault, not for istio-ca: give the pod"),
        (
            world.token(AGENT, None, AUDIENCE),
            "Unauthenticated: the token of the agent istio-system/ztunnel is bound to no pod",
        ),
        ("garbage".to_owned(), "Unauthenticated: the token is not accepted: it is no service account token"),
        (altered(&good, "exp", &json!(1_000_000)), "Unauthenticated: the token has expired: use a projected"),
        (
            altered(&good, "sub", &json!("system:serviceaccount:shop:reviews")),
            "Unauthenticated: the token is not accepted",
        ),
    ];
    for (token, said) in cases {
        let error = ask(&world.issuer(&controller, &token), "shop/reviews").await.unwrap_err();
        assert!(error.contains(said) && !error.contains(&token), "{said}: {error}");
    }
    granted(&world.issuer(&controller, &good), "shop/reviews").await;
}

#[tokio::test]
async fn a_token_dies_with_its_pod_at_once_and_its_successors_is_another() {
    let world = World::of_two_nodes();
    let controller = world.start("one", &[]);
    let old = world.issuer(&controller, &world.token(AGENT, Some("ztunnel-a"), AUDIENCE));
    granted(&old, "shop/reviews").await;
    let delete = ["delete", "pod", "ztunnel-a", "-n", HOME, "--grace-period=0", "--force"];
    world.kubectl().run(&delete).unwrap();
    let begun = std::time::Instant::now();
    // kube-apiserver believes its own reviews for ten seconds: it is the pod that tells.
    let error = loop {
        match ask(&old, "shop/reviews").await {
            Err(error) => break error,
            Ok(_) => assert!(begun.elapsed() < SOON, "the token outlives its pod"),
        }
    };
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
    assert!(
        error.contains("Unauthenticated: the pod istio-system/ztunnel-a that the token was bound to is gone"),
        "{error}"
    );

    world.pod((HOME, "ztunnel-a"), "ztunnel", "a");
    let new = world.issuer(&controller, &world.token(AGENT, Some("ztunnel-a"), AUDIENCE));
    granted(&new, "shop/reviews").await;
    let error = ask(&old, "shop/reviews").await.unwrap_err();
    assert!(error.contains("is gone"), "the same name, and another pod: {error}");
}

#[tokio::test]
async fn while_the_api_cannot_say_whose_a_token_is_nobody_is_told_that_he_may_not() {
    let world = World::of_two_nodes();
    let controller = world.start("one", &[]);
    granted(&world.issuer(&controller, &world.token(AGENT, Some("ztunnel-a"), AUDIENCE)), "shop/reviews").await;
    // One that has not been reviewed yet.
    let fresh = world.issuer(&controller, &world.token(AGENT, Some("ztunnel-b"), AUDIENCE));
    world.kubectl().run(&["delete", "clusterrolebinding", "ambit-controller"]).unwrap();
    let denied = "Unavailable: it cannot be found out whose the token is: the controller has no right to review tokens, grant it";
    let begun = std::time::Instant::now();
    // Whoever decides there hears of it a moment later.
    let error = loop {
        match ask(&fresh, "shop/ratings").await {
            Err(error) => break error,
            Ok(_) => assert!(begun.elapsed() < SOON, "it may still be asked"),
        }
    };
    assert!(error.contains(denied), "{error}");
    controller.process.wait_line("nobody can be told by his token", SOON).unwrap();
    world.kill_api_server();
    let error = ask(&fresh, "shop/ratings").await.unwrap_err();
    assert!(
        error.contains("Unavailable: it cannot be found out whose the token is: the Kubernetes API does not"),
        "{error}"
    );
}
