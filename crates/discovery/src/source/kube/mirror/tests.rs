//! Tests of the mirror: when what is known says what there is, and what is kept of it.

use std::path::Path;
use std::time::Duration;

use super::super::failure::Failure;
use super::*;

fn cluster(cache: Option<&Path>) -> Cluster {
    Cluster { cache: cache.map(Path::to_path_buf), ..Cluster::default() }
}

fn open(cache: Option<&Path>, now: Instant) -> (Mirror, usize) {
    let (mirror, events) = Mirror::open(&cluster(cache), Mesh::default(), now);
    (mirror, events.len())
}

fn told(kind: Kind, news: News) -> Told {
    Told { kind, news }
}

fn raw(text: &str) -> Raw {
    serde_json::from_str(text).unwrap()
}

const POD: &str = r#"{"apiVersion": "v1", "kind": "Pod",
    "metadata": {"name": "web", "namespace": "shop", "uid": "1", "labels": {"app": "web"},
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "hunter2"},
        "managedFields": [{"manager": "hunter2"}]},
    "spec": {"nodeName": "node-a", "volumes": [{"secret": {"secretName": "hunter2"}}],
        "containers": [{"name": "web", "env": [{"name": "PASSWORD", "value": "hunter2"}], "args": ["hunter2"],
            "ports": [{"name": "http", "containerPort": 8080}]}]},
    "status": {"podIP": "10.0.0.1", "conditions": null}}"#;

/// Every kind is listed; of pods there is one.
fn everything() -> Vec<Told> {
    let list = |kind| {
        let pod = (kind == Kind::Pod).then(|| told(kind, News::Listed(raw(POD))));
        [told(kind, News::Listing)].into_iter().chain(pod).chain([told(kind, News::Complete)])
    };
    served::watched().flat_map(list).collect()
}

#[test]
fn what_is_known_is_complete_once_the_last_kind_is_listed() {
    let now = Instant::now();
    let (mut mirror, _) = open(None, now);
    for (place, news) in everything().into_iter().enumerate() {
        assert!(!mirror.is_complete(now + Duration::from_secs(3600)), "{place}");
        mirror.take(vec![news], now);
    }
    assert!(mirror.is_complete(now));
    assert_eq!((mirror.reports(&[], now), mirror.deadline(now)), (vec![], None));
}

#[test]
fn what_was_kept_is_in_force_when_the_api_is_away_or_patience_ends_and_is_said_to_be_old() {
    let root = tempfile::tempdir().unwrap();
    let now = Instant::now();
    let (mut mirror, restored) = open(Some(root.path()), now);
    assert_eq!((restored, mirror.take(everything(), now).len()), (0, 1));

    let (mut mirror, restored) = open(Some(root.path()), now);
    let patience = now + mirror.pace.patience;
    assert_eq!((restored, mirror.is_complete(now), mirror.deadline(now)), (1, false, Some(patience)));
    assert_eq!(mirror.reports(&[], now), []);
    assert!(mirror.is_complete(patience));
    assert_eq!(mirror.deadline(patience), None);
    mirror.take(vec![told(Kind::Service, News::Failed(Failure::Away("refused".to_owned())))], now);
    assert!(mirror.is_complete(now));
    let reports = mirror.reports(&[], now);
    assert!(reports.iter().any(|report| report.message.contains("before this process began")), "{reports:?}");

    assert_eq!(mirror.take(everything(), now), []);
    assert!(mirror.is_complete(now));
    assert_eq!(mirror.reports(&[], now), []);
}

#[test]
fn nothing_is_kept_but_what_the_mesh_reads() {
    let root = tempfile::tempdir().unwrap();
    let now = Instant::now();
    let (mut mirror, _) = open(Some(root.path()), now);
    mirror.take(everything(), now);
    let text = std::fs::read_to_string(root.path().join("Pod")).unwrap();
    let line = "shop/web\t{\"metadata\":{\"name\":\"web\",\"namespace\":\"shop\",\"uid\":\"1\",\"labels\":{\"app\":\"web\"},\
                \"annotations\":{}},\"spec\":{\"nodeName\":\"node-a\",\"containers\":[{\"name\":\"web\",\"ports\":[\
                {\"name\":\"http\",\"containerPort\":8080}]}]},\"status\":{\"podIP\":\"10.0.0.1\"}}";
    assert_eq!(text, format!("ambit cache 1\n{line}\nend 1\n"));
}

#[test]
fn the_cache_is_written_now_and_then() {
    let root = tempfile::tempdir().unwrap();
    let now = Instant::now();
    let (mut mirror, _) = open(Some(root.path()), now);
    let kept = || std::fs::read_to_string(root.path().join("Pod")).unwrap_or_default();
    mirror.take(everything(), now);
    assert!(kept().contains("10.0.0.1"));
    mirror.take(vec![told(Kind::Pod, News::Applied(raw(&POD.replace("10.0.0.1", "10.0.0.2"))))], now);
    assert!(kept().contains("10.0.0.1"));
    let due = now + mirror.pace.keep;
    assert_eq!(mirror.deadline(now), Some(due));
    mirror.take(Vec::new(), due);
    assert!(kept().contains("10.0.0.2"));
    assert_eq!(mirror.deadline(due), None);
    mirror.take(vec![told(Kind::Pod, News::Deleted(raw(POD)))], due + mirror.pace.keep);
    assert!(!kept().contains("10.0.0"));
}

#[test]
fn a_cache_that_cannot_be_written_is_reported_and_stops_nothing() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("file");
    std::fs::write(&file, "").unwrap();
    let now = Instant::now();
    let (mut mirror, _) = open(Some(&file.join("cache")), now);
    assert_eq!(mirror.take(everything(), now).len(), 1);
    let reports = mirror.reports(&[], now);
    assert!(matches!(&reports[..], [one] if one.message.contains("what was kept in")), "{reports:?}");

    let directory = root.path().join("cache");
    let (mut mirror, _) = open(Some(&directory), now);
    std::fs::remove_dir(&directory).unwrap();
    assert_eq!(mirror.take(everything(), now).len(), 1);
    let reports = mirror.reports(&[], now);
    assert!(matches!(&reports[..], [one] if one.message.contains("cannot be kept")), "{reports:?}");
    std::fs::create_dir(&directory).unwrap();
    mirror.take(Vec::new(), now + mirror.pace.keep);
    assert_eq!(mirror.reports(&[], now), []);
}

#[test]
fn a_kind_that_is_no_longer_served_keeps_what_it_was_for_a_while() {
    let now = Instant::now();
    let (mut mirror, _) = open(None, now);
    mirror.take(everything(), now);
    assert_eq!(mirror.take(vec![told(Kind::Pod, News::Unserved)], now), []);
    let gone = mirror.take(vec![told(Kind::Pod, News::Unserved)], now + mirror.pace.forget);
    assert_eq!(gone, [Event::Delete(ObjectRef::new(Kind::Pod, "shop", "web"))]);
}
