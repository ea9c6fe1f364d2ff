//! A thousand damaged manifests: none of them brings the agent down, and the good ones stay in force.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::fs;

use ambit_discovery::{Reports, Settings, Snapshots, publish, run};
use ambit_model::{ServiceKey, Snapshot, WorkloadUid};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};

const CASES: usize = 1000;

const GOOD: &str = include_str!("../../../examples/bookinfo/reviews.yaml");
const VICTIMS: [&str; 5] = [
    include_str!("../../../examples/lock-down/by-labels/policies.yaml"),
    include_str!("../../../examples/egress/entries.yaml"),
    include_str!("../../../examples/bookinfo/productpage.yaml"),
    include_str!("../../../examples/bookinfo/cluster.yaml"),
    include_str!("../../../examples/bookinfo/ratings.yaml"),
];

/// What is done to a file.
#[derive(Clone, Debug)]
enum Damage {
    Truncate,
    Flip(u8),
    Remove(usize),
    Insert(Vec<u8>),
    /// The value of the line is another one.
    Value(&'static str),
    /// The line stands there twice: often a duplicate key.
    Repeat,
    Indent(usize),
    Nest(&'static str, &'static str, usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let values = vec![
        "[]",
        "{}",
        "1",
        "-1",
        "1e99",
        "yes",
        "null",
        "~",
        "!!binary aGk=",
        "&a [*a]",
        "*nothing",
        "\"",
        "'",
        "|",
        ">-",
        "{",
        "[",
        "- a",
        "a: b: c",
        "99999999999999999999",
        "\u{0}",
        "\u{feff}",
        "../../etc",
        "::1%1",
        "!<tag:x> y",
        "<<: *a",
        "%YAML 3.0",
        "--- x",
        "... x",
        "0x",
        "\\u0000",
        "\"\\ud800\"",
    ];
    let nested = vec![("[", "]"), ("{a: ", "}"), ("- ", ""), ("? ", ""), ("- - ", ""), ("&a [", "]")];
    prop_oneof![
        2 => Just(Damage::Truncate),
        2 => any::<u8>().prop_map(Damage::Flip),
        2 => (1_usize..200).prop_map(Damage::Remove),
        2 => prop::collection::vec(any::<u8>(), 1..20).prop_map(Damage::Insert),
        4 => prop::sample::select(values).prop_map(Damage::Value),
        2 => Just(Damage::Repeat),
        2 => (1_usize..9).prop_map(Damage::Indent),
        1 => (prop::sample::select(nested), 1_usize..3000).prop_map(|((open, close), depth)| Damage::Nest(open, close, depth)),
    ]
}

fn apply(bytes: &mut Vec<u8>, at: prop::sample::Index, damage: &Damage) {
    if bytes.is_empty() {
        return;
    }
    let at = at.index(bytes.len());
    let line = bytes[..at].iter().rposition(|b| *b == b'\n').map_or(0, |newline| newline + 1);
    let end = bytes[at..].iter().position(|b| *b == b'\n').map_or(bytes.len(), |length| at + length);
    let value = bytes[line..end].windows(2).position(|w| w == b": ").map_or(end, |colon| line + colon + 2);
    match damage {
        Damage::Truncate => bytes.truncate(at),
        Damage::Flip(mask) => bytes[at] ^= mask,
        Damage::Remove(length) => drop(bytes.drain(at..(at + length).min(bytes.len()))),
        Damage::Insert(text) => drop(bytes.splice(at..at, text.iter().copied())),
        Damage::Value(text) => drop(bytes.splice(value.min(end)..end, text.bytes())),
        Damage::Repeat => {
            let copy = [b"\n", &bytes[line..end]].concat();
            drop(bytes.splice(end..end, copy));
        }
        Damage::Indent(spaces) => drop(bytes.splice(line..line, vec![b' '; *spaces])),
        Damage::Nest(open, close, depth) => {
            let text = open.repeat(*depth) + "1" + &close.repeat(*depth);
            drop(bytes.splice(value.min(end)..end, text.bytes()));
        }
    }
}

fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let damages = prop::collection::vec((any::<prop::sample::Index>(), damage()), 1..5);
    (prop::sample::select(VICTIMS.to_vec()), damages).prop_map(|(text, damages)| {
        let mut bytes = text.as_bytes().to_vec();
        for (at, damage) in &damages {
            apply(&mut bytes, *at, damage);
        }
        bytes
    })
}

/// The good file is in force as if it were alone.
fn good_is_in_force(snapshot: &Snapshot) {
    let reviews = snapshot.service(&ServiceKey::new("default", "reviews")).expect("the service of the good file");
    assert_eq!(reviews.ports[0].targets.len(), 6);
    let pods = snapshot.workloads().filter(|pod| pod.name.starts_with("reviews-"));
    assert_eq!(pods.map(|pod| pod.addresses.len()).sum::<usize>(), 6);
}

/// What the directory says at one look.
async fn look(directory: &std::path::Path) -> (Snapshots, Reports) {
    let (publisher, snapshots) = publish(Snapshot::default());
    let (reporter, reports) = publish(Vec::new());
    let mut reported = reports.clone();
    let first = async move {
        reported.changed().await;
    };
    run(Settings::new(directory.to_path_buf()), publisher, reporter, first).await.expect("it never fails on content");
    (snapshots, reports)
}

#[test]
fn a_thousand_damaged_manifests_leave_the_good_ones_in_force() {
    // The seed is fixed: a thousand files are no sample of luck but a list that must pass.
    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let root = tempfile::tempdir().unwrap();
    let mut reported = 0;
    // Ten looks at a hundred damaged files each, with the good one among them.
    for batch in 0..10 {
        let directory = root.path().join(batch.to_string());
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("000.yaml"), GOOD).unwrap();
        for case in 0..CASES / 10 {
            let bytes = damaged().new_tree(&mut runner).unwrap().current();
            fs::write(directory.join(format!("{:03}.yaml", case + 1)), bytes).unwrap();
        }
        let (snapshots, reports) = runtime.block_on(look(&directory));
        good_is_in_force(&snapshots.load());
        for report in reports.load().iter() {
            assert!(!report.message.is_empty() && report.message.len() < 2000, "{report}");
            reported += usize::from(report.file != std::path::Path::new("000.yaml"));
        }
    }
    assert!(reported > CASES / 2, "the damage is hardly any: {reported} reports");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Damage that comes later: what was there before stays, unless the damage happens to say something else validly.
    #[test]
    fn a_file_that_is_cut_off_loses_nothing_that_it_does_not_replace(cut in any::<prop::sample::Index>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("reviews.yaml");
        fs::write(&file, GOOD).unwrap();
        // Inside the last document's flow of text, an open bracket makes any cut unreadable.
        let cut_off = format!("{}\n---\nkind: [", &GOOD[..cut.index(GOOD.len())]);
        let (publisher, snapshots) = publish(Snapshot::default());
        let (reporter, reports) = publish(Vec::new());
        let mut reported = reports.clone();
        let script = async move {
            reported.changed().await;
            fs::write(&file, cut_off).unwrap();
            reported.changed().await;
        };
        runtime.block_on(run(Settings::new(root.path().to_path_buf()), publisher, reporter, script)).unwrap();
        prop_assert!(!reports.load().is_empty());
        let snapshot = snapshots.load();
        prop_assert!(snapshot.service(&ServiceKey::new("default", "reviews")).is_some());
        // A cut within a name is another pod's; the three of before are there all the same.
        for name in ["reviews-v1", "reviews-v2", "reviews-v3"] {
            prop_assert!(snapshot.workload(&WorkloadUid::pod("Kubernetes", "default", name)).is_some(), "{}", name);
        }
    }
}
