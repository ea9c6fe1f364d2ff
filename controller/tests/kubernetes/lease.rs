//! Of two controllers one writes, and another when it is gone; both sign.

use std::time::{Duration, Instant};

use ambit_tests::until;

use crate::support::{HOME, SOON, World, granted};

fn holder(world: &World) -> String {
    let lease = world.kubectl().get(&["lease", "ambit-controller", "-n", HOME]).unwrap();
    lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
}

fn has_roots(world: &World, namespace: &str) -> bool {
    world.kubectl().get(&["configmap", "istio-ca-root-cert", "-n", namespace]).is_ok()
}

#[tokio::test]
async fn one_writes_and_another_when_it_is_killed_and_at_once_when_it_is_stopped() {
    let world = World::new();
    world.namespace("shop");
    world.pod(("shop", "reviews"), "reviews", "a");
    let one = world.start("one", &[]);
    one.process.wait_line("this controller writes", SOON).unwrap();
    let two = world.start("two", &[]);
    let issuer = world.issuer(&two, &world.token(("shop", "reviews"), Some("reviews"), "istio-ca"));
    granted(&issuer, "shop/reviews").await;
    assert_eq!(holder(&world), "one", "the second signs, and does not write");

    // Killed, it cannot give the Lease back: that is over after its fifteen seconds, and not before.
    let killed = Instant::now();
    one.process.kill().unwrap();
    two.process.wait_line("this controller writes", SOON).unwrap();
    assert!(killed.elapsed() > Duration::from_secs(9), "taken after {:?}", killed.elapsed());
    assert_eq!(holder(&world), "two");
    world.namespace("late");
    until(SOON, || has_roots(&world, "late")).expect("nobody writes");

    let three = world.start("three", &[]);
    let stopped = Instant::now();
    two.process.stop(SOON).unwrap();
    three.process.wait_line("this controller writes", SOON).unwrap();
    assert!(stopped.elapsed() < Duration::from_secs(8), "taken after {:?}", stopped.elapsed());
}

#[test]
fn who_cannot_renew_stops_writing() {
    let world = World::new();
    let one = world.start("one", &[]);
    one.process.wait_line("this controller writes", SOON).unwrap();
    until(SOON, || has_roots(&world, "default")).unwrap();
    world.kubectl().run(&["delete", "rolebinding", "ambit-controller", "-n", HOME]).unwrap();
    one.process.wait_line("the Lease ambit-controller cannot be looked at", SOON).unwrap();
    one.process.wait_line("could not be renewed in time", SOON).unwrap();
    // It may still write ConfigMaps, and does not.
    world.namespace("late");
    let written = until(Duration::from_secs(3), || has_roots(&world, "late"));
    assert!(written.is_err(), "it writes without the Lease");
}
