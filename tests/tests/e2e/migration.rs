//! From clear text to mutual TLS alone, as operators go: PERMISSIVE, enrol the client, STRICT; nothing fails on the way
//! (F-01, F-02; scenario SC-004-09).

use serde_json::{Value, json};

use crate::policy::await_policy;
use crate::world::{HTTP, OUTSIDE, SOON, World};

/// The connections from `client` that the agent of node `b` has counted, by how they were secured.
fn counted(world: &World, client: &str, security: &str) -> f64 {
    let labels = [("reporter", "destination"), ("source_workload", client), ("connection_security_policy", security)];
    world.agent("b").metrics().unwrap().sum("istio_tcp_connections_opened_total", &labels)
}

#[test]
fn a_client_is_moved_into_the_mesh_and_clear_text_shut_off_without_a_failed_request() {
    let mut world = World::new();
    let _server = world.serve("far");
    let loads = world.at("far", HTTP).map(|to| {
        let load = world.start("outsider-a", &["requests", "--to", &to.to_string(), "--every", "10", "--verbose"]);
        load.wait_line("running", SOON).unwrap();
        load
    });
    // Clear text has no proven source, and so no name in the metrics.
    let unknown = [("reporter", "destination"), ("connection_security_policy", "unknown")];
    let in_clear = || world.agent("b").metrics().unwrap().sum("istio_tcp_connections_opened_total", &unknown) > 0.0;
    ambit_tests::until(SOON, in_clear).unwrap();

    world.manifests.enrol_namespace(OUTSIDE, true).unwrap();
    world.agent("a").wait_captured(OUTSIDE, "outsider-a", true, SOON).unwrap();
    ambit_tests::until(SOON, || counted(&world, "outsider-a", "mutual_tls") > 0.0).unwrap();
    world.manifests.pod_mode(OUTSIDE, "outsider-b", Some("none")).unwrap();
    world.apply("PeerAuthentication", "default", json!({"mtls": {"mode": "STRICT"}}));
    await_policy(&world, "PeerAuthentication", "default", true);
    let before = counted(&world, "outsider-a", "mutual_tls");
    ambit_tests::until(SOON, || counted(&world, "outsider-a", "mutual_tls") > before + 100.0).unwrap();
    for to in world.at("far", HTTP) {
        let refused = world.try_report("outsider-b", &["fetch", "--to", &to.to_string()]);
        assert!(refused.is_err(), "{refused:?}");
    }
    for load in loads {
        load.signal(nix::sys::signal::Signal::SIGTERM).unwrap();
        let report: Value = load.report(SOON).unwrap();
        assert_eq!(report["failed"], 0, "{report}");
        assert!(report["ok"].as_u64().unwrap() > 50, "{report}");
    }
}
