//! Prints what 10,000 pods and 1,000 services cost: reading them, keeping them, and changing one of them.
//! Run with `cargo run --release -p ambit-discovery --example scale`.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "its product is text, and it may fail"
)]

mod memory;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Instant;

use ambit_discovery::{Settings, publish, run};
use ambit_model::Snapshot;
use memory::{peak, resident};

const NAMESPACES: usize = 20;
const SERVICES: usize = 1_000;
const PODS_OF_A_SERVICE: usize = 10;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let root = tempfile::tempdir().expect("a temporary directory");
    for namespace in 0..NAMESPACES {
        let bytes = write(root.path(), namespace, 1);
        if namespace == 0 {
            println!("{NAMESPACES} files of {} KiB", bytes >> 10);
        }
    }
    let before = resident();
    let (publisher, mut snapshots) = publish(Snapshot::default());
    let (reporter, _reports) = publish(Vec::new());
    let begun = Instant::now();
    let script = async {
        let snapshot = snapshots.changed().await.expect("a snapshot");
        println!(
            "{} workloads and {} services read in {:.0?}; {} MiB",
            snapshot.workloads().count(),
            snapshot.services().count(),
            begun.elapsed(),
            (resident() - before) >> 10
        );
        drop(snapshot);
        for change in 2..5 {
            let begun = Instant::now();
            write(root.path(), 0, change);
            snapshots.changed().await.expect("a snapshot");
            println!("one file with a changed pod in force after {:.0?}", begun.elapsed());
        }
    };
    run(Settings::new(root.path().to_path_buf()), publisher, reporter, script).await.expect("a directory");
    println!("{} MiB in the end, {} MiB at most", (resident() - before) >> 10, (peak() - before) >> 10);
}

/// Writes a namespace's file, whose first pod's address depends on `version`; returns its size.
fn write(root: &Path, namespace: usize, version: usize) -> usize {
    let mut text = format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: ns-{namespace}, labels: {{istio.io/dataplane-mode: ambient}}}}\n"
    );
    for service in 0..SERVICES / NAMESPACES {
        let id = namespace * SERVICES / NAMESPACES + service;
        let vip = format!("10.96.{}.{}", id / 250, id % 250 + 1);
        writeln!(
            text,
            "---\napiVersion: v1\nkind: Service\nmetadata:\n  name: app-{service}\n  namespace: ns-{namespace}\nspec:\n  \
             clusterIP: {vip}\n  selector:\n    app: app-{service}\n  ports:\n  - name: http\n    port: 80\n    targetPort: http"
        )
        .expect("memory");
        for pod in 0..PODS_OF_A_SERVICE {
            let number = id * PODS_OF_A_SERVICE + pod;
            let first = usize::from(service == 0 && pod == 0) * version;
            let ip = format!("10.{}.{}.{}", 128 + first, number / 250, number % 250 + 1);
            writeln!(
                text,
                "---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: app-{service}-{pod}\n  namespace: ns-{namespace}\n  labels:\n    \
                 app: app-{service}\n    version: v1\n    pod-template-hash: 5d4f8c7b9\nspec:\n  nodeName: node-{}\n  \
                 serviceAccountName: app-{service}\n  containers:\n  - name: app\n    image: registry/app:1\n    ports:\n    \
                 - name: http\n      containerPort: 8080\nstatus:\n  phase: Running\n  podIP: {ip}\n  podIPs:\n  - ip: {ip}\n  \
                 conditions:\n  - type: Ready\n    status: \"True\"",
                number % 100
            )
            .expect("memory");
        }
    }
    let staged = root.join(".staged");
    fs::write(&staged, &text).expect("a file");
    fs::rename(staged, root.join(format!("ns-{namespace}.yaml"))).expect("a rename");
    text.len()
}
