//! Prints what it takes to judge one request by the number of rules that are attached to its service.
//! Run with `cargo run --release -p ambit-model --example policy_cost`.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "its product is text, and it may fail"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ambit_model::policy::{
    Action, Addressed, Attribute, Client, Head, Policy, PolicyKey, RequestAccess, Rule, Scope, TargetRef, Term, Values,
    WAYPOINT_CLASSES, evaluate_request,
};
use ambit_model::{Identity, Mesh, ServiceKey, Snapshot};

/// How long one figure is measured.
const MEASURED: Duration = Duration::from_millis(300);

/// A way to write a term about the request of a number, and its name.
type Form = (&'static str, fn(usize) -> Term);

const FORMS: [Form; 5] = [
    ("paths, exact", |n| path(&format!("/api/v1/things/{n}/parts"))),
    ("paths, prefix", |n| path(&format!("/api/v1/things/{n}/*"))),
    ("paths, template", |n| path(&format!("/api/v1/things/{n}/{{*}}"))),
    ("hosts", |n| text(Attribute::Host, &format!("host-{n}.example"))),
    ("request.headers", |n| text(Attribute::Header("x-tenant".into()), &format!("tenant-{n}"))),
];

fn main() {
    println!("| Rules | Of the form | A request that the last admits | One that none does |");
    println!("|---|---|---|---|");
    for (name, form) in FORMS {
        for count in [1, 1_000, 10_000] {
            let snapshot = mesh(count, form);
            let [last, none] = [count - 1, 20_000].map(|number| judged(&snapshot, number, number < count));
            println!("| {count} | {name} | {last:.2?} | {none:.2?} |");
        }
    }
}

fn path(text: &str) -> Term {
    Term::Path(Values { any: vec![text.parse().expect("a path")], none: vec![] })
}

fn text(attribute: Attribute, text: &str) -> Term {
    Term::Text(attribute, Values { any: vec![text.parse().expect("a pattern")], none: vec![] })
}

fn service() -> ServiceKey {
    ServiceKey::new("shop", "things")
}

/// A mesh with an ALLOW policy of `count` rules.
fn mesh(count: usize, form: fn(usize) -> Term) -> Snapshot {
    let rules = (0..count).map(|number| Rule { to: vec![vec![form(number)]], ..Rule::default() }).collect();
    let scope = Scope::Targets(vec![TargetRef::from(&service())]);
    let key = PolicyKey::new("shop", "allow");
    let policy = Policy { key: key.clone(), scope, action: Action::Allow, dry_run: false, rules };
    let mut snapshot = Snapshot::default();
    snapshot.policies.set_authorization(&key, Some(Arc::new(policy)));
    snapshot
}

/// How long it takes to judge the request of `number`, which is admitted or not as `expected`.
fn judged(snapshot: &Snapshot, number: usize, expected: bool) -> Duration {
    let identity = Identity::new("cluster.local".parse().expect("a domain"), "shop", "web");
    let client = Client::Proven([10, 0, 0, 1].into(), identity);
    let (authority, tenant) = (format!("host-{number}.example"), format!("tenant-{number}"));
    let path = format!("/api/v1/things/{number}/parts");
    let fields: &[(&str, &str)] = &[("accept", "*/*"), ("user-agent", "curl"), ("x-tenant", &tenant)];
    let head = Some(Head { method: "GET", authority: &authority, path: &path, claims: None, fields });
    let request =
        RequestAccess { client: &client, remote: None, destination: ([10, 96, 0, 1], 80).into(), sni: None, head };
    let waypoint = PolicyKey::new("shop", "waypoint");
    let addressed = Addressed::new(&Mesh::default(), &waypoint, &WAYPOINT_CLASSES, Some(&service()));
    assert_eq!(evaluate_request(snapshot, &addressed, &request).is_ok(), expected, "{request:?}");
    let (begun, mut count) = (Instant::now(), 0);
    while begun.elapsed() < MEASURED {
        for _ in 0..10 {
            let _ = black_box(evaluate_request(black_box(snapshot), &addressed, black_box(&request)));
        }
        count += 10;
    }
    begun.elapsed() / count
}
