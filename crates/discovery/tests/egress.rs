//! The manifests of examples/egress mean what their comments say, and nothing about them is to be reported.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::path::PathBuf;

use ambit_discovery::{Settings, publish, run};
use ambit_model::{Resolution, Service, Snapshot};

fn targets(service: &Service) -> Vec<String> {
    let port = &service.ports[0];
    port.targets.iter().map(|target| format!("{} {}", target.address, target.weight)).collect()
}

#[tokio::test]
async fn egress_is_four_hosts_and_an_alias() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples/egress");
    let (publisher, mut snapshots) = publish(Snapshot::default());
    let (reporter, mut reports) = publish(Vec::new());
    let task = run(Settings::new(directory), publisher, reporter, async {
        reports.changed().await;
    });
    task.await.unwrap();
    assert_eq!(*reports.load(), []);
    let snapshot = snapshots.changed().await.unwrap();
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
