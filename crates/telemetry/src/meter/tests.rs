use std::time::Duration;

use super::*;
use crate::ends::{Party, Security};
use crate::fixtures::{access_log, ends, opened, silent_meter, workload};

fn failed(reason: Reason) -> Outcome {
    Outcome::Failed { reason, detail: "why".to_owned() }
}

/// The counts of the one series.
fn sole(values: &Values) -> Counts {
    let mut series = values.series();
    let counts = series.next().unwrap().1.clone();
    assert!(series.next().is_none());
    counts
}

#[test]
fn bytes_of_open_connections_are_visible_and_counted_once() {
    let meter = silent_meter();
    let live = meter.open(opened(ends(Reporter::Source), Instant::now()));
    live.traffic().add_sent(10);
    live.traffic().add_received(300);
    let counts = sole(&meter.values());
    assert_eq!((counts.opened, counts.live, counts.to_server, counts.to_client), (1, 1, 10, 300));
    assert!(counts.closed.is_empty());
    live.traffic().add_sent(1);
    live.close(Outcome::Ok);
    let counts = sole(&meter.values());
    assert_eq!((counts.opened, counts.live, counts.to_server, counts.to_client), (1, 0, 11, 300));
    assert_eq!(counts.closed, BTreeMap::from([(Flag::None, 1)]));
}

#[test]
fn pods_of_one_deployment_share_a_series() {
    let meter = silent_meter();
    for suffix in ["a", "b", "c"] {
        let ends = Ends { destination: Party::Workload(workload("reviews", suffix)), ..ends(Reporter::Source) };
        meter.open(opened(ends, Instant::now())).close(Outcome::Ok);
    }
    assert_eq!(sole(&meter.values()).opened, 3);
}

#[test]
fn what_labels_tell_apart_is_another_series() {
    let meter = silent_meter();
    let base = || ends(Reporter::Source);
    let identity = "spiffe://cluster.local/ns/shop/sa/other".parse().unwrap();
    let distinct = [
        base(),
        Ends { reporter: Reporter::Destination, ..base() },
        Ends { security: Security::Unknown, ..base() },
        Ends { security: Security::MutualTls { client: identity }, ..base() },
        Ends { service: None, ..base() },
        Ends { destination: Party::Workload(workload("ratings", "a")), ..base() },
        Ends { source: Party::unknown(), ..base() },
    ];
    for ends in &distinct {
        meter.open(opened(ends.clone(), Instant::now())).close(Outcome::Ok);
        meter.open(opened(ends.clone(), Instant::now())).close(Outcome::Ok);
    }
    let values = meter.values();
    assert_eq!(values.series().count(), distinct.len());
    assert!(values.series().all(|(_, counts)| counts.opened == 2));
}

#[test]
fn every_reason_is_counted_under_its_flag_and_its_code() {
    let meter = silent_meter();
    for reason in Reason::ALL {
        meter.open(opened(ends(Reporter::Destination), Instant::now())).close(failed(*reason));
    }
    let values = meter.values();
    let counts = sole(&values);
    assert_eq!(counts.closed.values().sum::<u64>(), u64::try_from(Reason::ALL.len()).unwrap());
    for (flag, count) in counts.closed {
        let flagged = Reason::ALL.iter().filter(|reason| reason.flag() == flag).count();
        assert_eq!(count, u64::try_from(flagged).unwrap(), "{flag:?}");
    }
    let reasons: Vec<_> = values.reasons().collect();
    let expected: Vec<_> = Reason::ALL.iter().map(|reason| ((Reporter::Destination, *reason), 1)).collect();
    assert_eq!(reasons, expected);
}

#[test]
fn a_connection_that_is_dropped_was_closed_by_a_defect() {
    let meter = silent_meter();
    drop(meter.open(opened(ends(Reporter::Source), Instant::now())));
    let values = meter.values();
    assert_eq!(sole(&values).closed, BTreeMap::from([(Flag::Connect, 1)]));
    assert_eq!(values.reasons().collect::<Vec<_>>(), [((Reporter::Source, Reason::Internal), 1)]);
    assert!(meter.connections(Instant::now()).is_empty());
}

#[test]
fn open_connections_are_listed_in_order_with_their_bytes() {
    let meter = silent_meter();
    let start = Instant::now();
    let first = meter.open(opened(ends(Reporter::Source), start));
    let second = meter.open(opened(ends(Reporter::Destination), start));
    let third = meter.open(opened(ends(Reporter::Source), start));
    second.close(Outcome::Ok);
    third.traffic().add_received(7);
    let listed = meter.connections(start + Duration::from_millis(1500));
    let ids: Vec<_> = listed.iter().map(|summary| (summary.id, summary.direction, summary.bytes_to_client)).collect();
    assert_eq!(ids, [(0, "outbound", 0), (2, "outbound", 7)]);
    let expected = serde_json::json!({
        "id": 2, "direction": "outbound", "src": "10.244.0.16:52008", "srcWorkload": "productpage-abc",
        "srcNamespace": "shop", "srcIdentity": "spiffe://cluster.local/ns/shop/sa/bookinfo-productpage",
        "dst": "10.244.0.14:15008", "hbone": "10.244.0.14:9080", "dstService": "reviews.shop.svc.cluster.local",
        "dstWorkload": "reviews-xyz", "dstNamespace": "shop", "security": "mutual_tls", "ageMs": 1500,
        "bytesToServer": 0, "bytesToClient": 7,
    });
    assert_eq!(serde_json::to_value(&listed[1]).unwrap(), expected);
    drop((first, third));
}

#[test]
fn connections_are_logged_when_they_open_close_and_fail() {
    let (access, sink, writer) = access_log("access=debug");
    let meter = Meter::new(access);
    let live = meter.open(opened(ends(Reporter::Source), Instant::now()));
    live.traffic().add_sent(5);
    live.close(failed(Reason::ConnectionRefused));
    meter.fail_early(Refused {
        reporter: Reporter::Destination,
        client: "10.0.0.9:1".parse().unwrap(),
        destination: "10.0.0.1:15008".parse().unwrap(),
        reason: Reason::NoPeerCertificate,
        detail: String::new(),
    });
    writer.flush();
    let text = sink.text();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[0].contains("\tdebug\taccess\tconnection opened\t"), "{text}");
    assert!(
        lines[1].contains("\terror\taccess\tconnection complete\t") && lines[1].contains(" bytes_sent=5 "),
        "{text}"
    );
    assert!(lines[1].ends_with("error=\"why\" reason=connection-refused"), "{text}");
    assert!(lines[2].contains("\twarn\taccess\tconnection failed\t"), "{text}");
    assert!(lines[2].ends_with("reason=no-peer-certificate"), "{text}");
    let refused = ((Reporter::Destination, Reason::NoPeerCertificate), 1);
    assert!(meter.values().reasons().any(|counted| counted == refused));
}

#[test]
fn an_access_log_that_is_off_is_not_written() {
    let (access, sink, writer) = access_log("debug,access=off");
    let meter = Meter::new(access);
    meter.open(opened(ends(Reporter::Source), Instant::now())).close(Outcome::Ok);
    drop(meter.open(opened(ends(Reporter::Source), Instant::now())));
    writer.flush();
    assert_eq!(sink.text(), "");
}

#[test]
fn one_proxy_at_both_ends_counts_the_bytes_for_both() {
    let meter = silent_meter();
    let client = meter.open(opened(ends(Reporter::Source), Instant::now()));
    let server = meter.open_twin(&client, opened(ends(Reporter::Destination), Instant::now()));
    client.traffic().add_sent(3);
    server.traffic().add_received(4);
    let both = |values: &Values| {
        let mut counts: Vec<_> = values.series().map(|(_, c)| (c.opened, c.live, c.to_server, c.to_client)).collect();
        counts.sort_unstable();
        counts
    };
    assert_eq!(both(&meter.values()), [(1, 1, 3, 4), (1, 1, 3, 4)]);
    server.close(Outcome::Ok);
    client.traffic().add_sent(1);
    client.close(Outcome::Ok);
    // What is relayed after one end was recorded as closed is counted for the other alone.
    assert_eq!(both(&meter.values()), [(1, 0, 3, 4), (1, 0, 4, 4)]);
}

#[test]
fn a_series_in_use_is_not_forgotten() {
    let meter = silent_meter();
    let start = Instant::now();
    let live = meter.open(opened(ends(Reporter::Source), start));
    let series: Vec<_> = meter.values().series().map(|(ends, _)| ends.clone()).collect();
    let later = start + Duration::from_secs(3600);
    assert_eq!(meter.forget(&series, later), 0, "it has an open connection");
    live.close(Outcome::Ok);
    assert_eq!(meter.forget(&series, start), 0, "it was used since");
    assert_eq!(meter.forget(&series, later), 1);
    assert_eq!(meter.values().series().count(), 0);
    meter.open(opened(ends(Reporter::Source), later)).close(Outcome::Ok);
    assert_eq!(sole(&meter.values()).opened, 1, "it begins again at zero");
}
