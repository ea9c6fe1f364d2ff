//! The manifests of the examples mean what their comments say and what the demo needs, and nothing about them is to be
//! reported.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::path::PathBuf;
use std::sync::Arc;

use ambit_discovery::{Settings, publish, run};
use ambit_model::{Authority, Connection, Decision, Resolution, Service, ServiceKey, Snapshot, WorkloadUid, decide};

/// The mesh of an example.
async fn read(example: &str) -> Arc<Snapshot> {
    read_directory(directory(example)).await
}

fn directory(example: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(example)
}

async fn read_directory(directory: PathBuf) -> Arc<Snapshot> {
    let (publisher, mut snapshots) = publish(Snapshot::default());
    let (reporter, mut reports) = publish(Vec::new());
    let task = run(Settings::new(directory), publisher, reporter, async {
        reports.changed().await;
    });
    task.await.unwrap();
    assert_eq!(*reports.load(), []);
    snapshots.changed().await.unwrap()
}

fn targets(service: &Service) -> Vec<String> {
    let port = &service.ports[0];
    port.targets.iter().map(|target| format!("{} {}", target.address, target.weight)).collect()
}

#[tokio::test]
async fn bookinfo_is_a_mesh_of_six_pods_on_two_nodes() {
    let snapshot = read("bookinfo").await;
    let pods: Vec<_> = snapshot.workloads().map(|pod| (&*pod.name, &*pod.node, pod.identity.to_string())).collect();
    let identity = |app: &str| format!("spiffe://cluster.local/ns/default/sa/bookinfo-{app}");
    let expected = [
        ("details-v1", "node-b", identity("details")),
        ("productpage-v1", "node-a", identity("productpage")),
        ("ratings-v1", "node-b", identity("ratings")),
        ("reviews-v1", "node-a", identity("reviews")),
        ("reviews-v2", "node-b", identity("reviews")),
        ("reviews-v3", "node-b", identity("reviews")),
    ];
    assert_eq!(pods, expected);
    for pod in snapshot.workloads() {
        assert!(pod.is_enrolled() && pod.ready && !pod.zone.is_empty(), "{pod:?}");
        assert_eq!(pod.netns, Some(PathBuf::from(format!("/run/netns/ambit-demo-{}", pod.name))));
        let both = [true, false].map(|v4| pod.addresses.iter().filter(|ip| ip.is_ipv4() == v4).count());
        assert_eq!(both, [1, 1]);
    }
    assert_eq!(snapshot.disputed_addresses().count(), 0);
    for (service, endpoints) in [("productpage", 1), ("details", 1), ("reviews", 3), ("ratings", 1)] {
        let service = snapshot.service(&ServiceKey::new("default", service)).unwrap();
        assert_eq!(service.vips.len(), 2);
        let port = service.port(9080).unwrap();
        assert_eq!((&*port.name, port.targets.len()), ("http", endpoints * 2));
    }
    assert!(snapshot.nodes().all(|node| node.addresses.len() == 2));
}

#[tokio::test]
async fn egress_is_four_hosts_and_an_alias() {
    let snapshot = read("egress").await;
    let keys: Vec<String> = snapshot.services().map(|service| service.key.to_string()).collect();
    let expected = [
        "shop/mail",
        "shop/printers/*.printers.example",
        "shop/archive/archive.example",
        "shop/ledger/ledger.bank.example",
        "shop/stock/stock.example",
    ];
    assert_eq!(keys, expected);
    let named = |host: &str| snapshot.service_named(host).unwrap();
    assert_eq!(named("mail.shop.svc.cluster.local").alias.as_deref(), Some("smtp.example"));
    assert_eq!(targets(named("ledger.bank.example")), ["192.0.2.10:8443 3", "192.0.2.11:9443 1"]);
    assert_eq!(targets(named("stock.example")), ["192.0.2.30:7777 1"]);
    for (host, addresses) in [("ledger.bank.example", 2), ("stock.example", 2), ("archive.example", 0)] {
        assert_eq!(named(host).vips.len(), addresses, "{host}");
    }
    for (address, host) in [
        ("198.51.100.63", "archive.example"),
        ("198.51.100.64", "*.printers.example"),
        ("198.51.100.79", "*.printers.example"),
        ("198.51.100.80", "archive.example"),
        ("2001:db8::9", "archive.example"),
    ] {
        assert_eq!(&*snapshot.service_dialled(address.parse().unwrap(), "shop").unwrap().hostname, host, "{address}");
    }
    assert_eq!(named("*.printers.example").resolution, Resolution::AsDialled);
}

/// Which tier reaches which, at its own port, by what the todo application and `policies` say together; `edit` changes
/// the application.
async fn reached(policies: &str, edit: impl Fn(String) -> String) -> Vec<String> {
    let whole = tempfile::tempdir().unwrap();
    let app = std::fs::read_to_string(directory("lock-down/app").join("todo.yaml")).unwrap();
    std::fs::write(whole.path().join("todo.yaml"), edit(app)).unwrap();
    let policies = directory("lock-down").join(policies).join("policies.yaml");
    std::fs::copy(policies, whole.path().join("policies.yaml")).unwrap();
    let snapshot = read_directory(whole.path().to_owned()).await;
    let tiers = [("todoui", 8090), ("todobackend", 8080), ("postgresdb", 5432)];
    let mut reached = vec![];
    for (client, (server, port)) in tiers.iter().flat_map(|(client, _)| tiers.map(|server| (client, server))) {
        let pod = |name: &str| snapshot.workload(&WorkloadUid::pod("Kubernetes", "shop", name)).unwrap().clone();
        let (source, destination) = (pod(client), pod(server));
        let connection = Connection::InboundHbone {
            pod: destination.uid.clone(),
            peer: (source.addresses[0], 40000).into(),
            identity: source.identity.clone(),
            authority: Authority::Address((destination.addresses[0], port).into()),
        };
        match decide(&snapshot, &connection) {
            Decision::Local(_) => reached.push(format!("{client} {server}")),
            Decision::Deny(..) => {}
            other => panic!("{client} {server}: {other:?}"),
        }
    }
    reached
}

#[tokio::test]
async fn the_locked_down_tiers_reach_the_next_one_and_no_other() {
    let next = ["todoui todobackend", "todobackend postgresdb"];
    assert_eq!(reached("by-labels", |app| app).await, next);
    assert!(reached("by-accounts", |app| app).await.is_empty(), "all pods share an account");
    let with_accounts = |app: String| {
        let account = |app: String, tier: &str| {
            let pod = format!("/run/netns/{tier}}}\nspec:\n");
            app.replace(&pod, &format!("{pod}  serviceAccountName: {tier}\n"))
        };
        ["todoui", "todobackend", "postgresdb"].into_iter().fold(app, account)
    };
    assert_eq!(reached("by-accounts", with_accounts).await, next);
}
