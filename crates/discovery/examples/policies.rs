//! Prints what policies cost by their number: having them read and in force, and judging one connection.
//! Run with `cargo run --release -p ambit-discovery --example policies`.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "its product is text, and it may fail"
)]

use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ambit_discovery::{Settings, publish, run};
use ambit_model::policy::{Client, evaluate};
use ambit_model::{Access, Identity, Snapshot, WorkloadUid};

/// How long one figure is measured.
const MEASURED: Duration = Duration::from_millis(300);

/// A way to write a rule about the client of a number, and its name.
type Form = (&'static str, fn(usize) -> String);

const FORMS: [Form; 4] = [
    ("serviceAccounts", |n| format!("from: [{{source: {{serviceAccounts: [client-{n}]}}}}]")),
    ("source.labels", |n| format!("when: [{{key: \"source.labels[app]\", values: [client-{n}]}}]")),
    ("ipBlocks", |n| format!("from: [{{source: {{ipBlocks: [\"{}/32\"]}}}}]", address(n))),
    ("principals with *", |n| format!("from: [{{source: {{principals: [\"*/sa/client-{n}\"]}}}}]")),
];

#[tokio::main(flavor = "current_thread")]
async fn main() {
    println!("| Rules | Of the form | As | In force after | A connection that the last admits | One that none does |");
    println!("|---|---|---|---|---|---|");
    for (name, form) in FORMS {
        for (rules, policies) in [(1, 1), (100, 1), (10_000, 1), (10_000, 10_000)] {
            let written: Vec<String> = (0..rules).map(form).collect();
            let text: String = written.chunks(rules / policies).enumerate().map(policy).collect();
            let (snapshot, took) = read(&text).await;
            let [last, none] = [rules - 1, 20_000].map(|client| judged(&snapshot, client, client < rules));
            let shape = if policies == 1 { "one policy" } else { "as many policies" };
            println!("| {rules} | {name} | {shape} | {took:.1?} | {last:.1?} | {none:.1?} |");
        }
    }
}

fn address(client: usize) -> IpAddr {
    IpAddr::from([10, 1, u8::try_from(client / 200).expect("a byte"), u8::try_from(client % 200).expect("a byte")])
}

/// An ALLOW policy of these rules.
fn policy((number, rules): (usize, &[String])) -> String {
    let mut text = format!(
        "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: p-{number}, namespace: shop}}\n\
         spec:\n  rules:\n"
    );
    rules.iter().for_each(|rule| writeln!(text, "  - {rule}").expect("memory"));
    text
}

/// The mesh of a server, two clients and these policies, and how long it took to come into force.
async fn read(policies: &str) -> (Snapshot, Duration) {
    let root = tempfile::tempdir().expect("a temporary directory");
    let pod = |name: &str, ip: IpAddr| {
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop, labels: {{app: {name}}}}}\n\
             spec: {{nodeName: a, serviceAccountName: {name}}}\nstatus: {{podIPs: [{{ip: {ip}}}]}}\n"
        )
    };
    let numbers = [0, 99, 9_999, 20_000];
    let mut text: String = numbers.iter().map(|n| pod(&format!("client-{n}"), address(*n))).collect();
    text.push_str(&pod("server", IpAddr::from([10, 0, 0, 1])));
    text.push_str(
        "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {istio.io/dataplane-mode: ambient}}\n",
    );
    fs::write(root.path().join("pods.yaml"), text).expect("a file");
    let (publisher, mut snapshots) = publish(Snapshot::default());
    let (reporter, _reports) = publish(Vec::new());
    let mut read = (Snapshot::default(), Duration::ZERO);
    let script = async {
        snapshots.changed().await.expect("a snapshot");
        let staged = root.path().join(".staged");
        fs::write(&staged, policies).expect("a file");
        let begun = Instant::now();
        fs::rename(staged, root.path().join("policies.yaml")).expect("a rename");
        let snapshot = snapshots.changed().await.expect("a snapshot");
        read = ((*snapshot).clone(), begun.elapsed());
    };
    run(Settings::new(root.path().to_path_buf()), publisher, reporter, script).await.expect("a directory");
    read
}

/// How long it takes to judge a connection of `client`, which is admitted or not as `expected`.
fn judged(snapshot: &Snapshot, client: usize, expected: bool) -> Duration {
    let uid = WorkloadUid::pod("Kubernetes", "shop", "server");
    let server = snapshot.workload(&uid).expect("the server");
    let identity = Identity::new("cluster.local".parse().expect("a domain"), "shop", &format!("client-{client}"));
    let client = Client::Proven(address(client), identity);
    let access = Access { client, pod: uid, address: ([10, 0, 0, 1], 80).into() };
    assert_eq!(evaluate(snapshot, server, &access).is_ok(), expected, "{access:?}");
    let (begun, mut count) = (Instant::now(), 0);
    while begun.elapsed() < MEASURED {
        for _ in 0..10 {
            let _ = black_box(evaluate(black_box(snapshot), server, black_box(&access)));
        }
        count += 10;
    }
    begun.elapsed() / count
}
