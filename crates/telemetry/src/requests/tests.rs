use std::time::{Duration, Instant};

use ambit_model::Reason;

use super::*;
use crate::ends::{Party, Reporter, Security};
use crate::exposition::strict;
use crate::fixtures::{access_log, answered, ends, opened, silent_meter, snapshot, workload};
use crate::flags::ResponseFlag;
use crate::meter::Outcome;
use crate::request::{Answer, GrpcCall, Refusal};
use crate::{Exposition, Family, Living, Meter, Values, expired};

fn page(meters: &[Meter]) -> String {
    let page = Exposition::new("waypoint", "0.1.0", access_log("off").0).text(meters.iter().map(Meter::values));
    assert_eq!(strict::faults(&page), Vec::<String>::new(), "{page}");
    page
}

fn request() -> RequestRecord {
    answered(ends(Reporter::Waypoint), Instant::now())
}

fn call(status: Option<&str>) -> RequestRecord {
    let status = status.map(|status| GrpcStatus::from_header(status.as_bytes()));
    RequestRecord { grpc: Some(GrpcCall { status, requests: 1, responses: 10 }), ..request() }
}

/// Istio's labels of requests from productpage to reviews.
fn labels(protocol: &str, code: &str, status: &str, flags: &str) -> String {
    let ends = concat!(
        r#"reporter="waypoint",source_workload="productpage",source_canonical_service="productpage-app","#,
        r#"source_canonical_revision="v1",source_workload_namespace="shop","#,
        r#"source_principal="spiffe://cluster.local/ns/shop/sa/bookinfo-productpage","#,
        r#"source_app="productpage-app",source_version="v1",source_cluster="Kubernetes","#,
        r#"destination_workload="reviews",destination_workload_namespace="shop","#,
        r#"destination_principal="spiffe://cluster.local/ns/shop/sa/bookinfo-reviews","#,
        r#"destination_app="reviews-app",destination_version="v1","#,
        r#"destination_service="reviews.shop.svc.cluster.local",destination_canonical_service="reviews-app","#,
        r#"destination_canonical_revision="v1",destination_service_name="reviews","#,
        r#"destination_service_namespace="shop",destination_cluster="Kubernetes""#,
    );
    format!(
        "{ends},request_protocol=\"{protocol}\",response_code=\"{code}\",grpc_response_status=\"{status}\",\
         response_flags=\"{flags}\",connection_security_policy=\"mutual_tls\""
    )
}

/// A histogram as it is exposed: the counts up to each bound are `below`, up to the later ones `all`.
fn histogram((name, help): (&str, &str), labels: &str, sum: &str, below: &[u64], all: u64) -> String {
    let bounds = [
        "0.5",
        "1.0",
        "5.0",
        "10.0",
        "25.0",
        "50.0",
        "100.0",
        "250.0",
        "500.0",
        "1000.0",
        "2500.0",
        "5000.0",
        "10000.0",
        "30000.0",
        "60000.0",
        "300000.0",
        "600000.0",
        "1800000.0",
        "3600000.0",
        "+Inf",
    ];
    let mut text = format!("# HELP {name} {help}.\n# TYPE {name} histogram\n");
    text += &format!("{name}_sum{{{labels}}} {sum}\n{name}_count{{{labels}}} {all}\n");
    for (bound, count) in bounds.into_iter().zip(below.iter().chain(std::iter::repeat(&all))) {
        text += &format!("{name}_bucket{{le=\"{bound}\",{labels}}} {count}\n");
    }
    text
}

#[test]
fn the_families_of_requests_with_istios_labels_and_buckets() {
    let meters = [silent_meter(), silent_meter()];
    meters.iter().for_each(|meter| meter.request(request()));
    let labels = labels("http", "200", "", "-");
    let duration = ("istio_request_duration_milliseconds", "How long requests took, in milliseconds");
    let received = ("istio_request_bytes", "The size of the bodies of requests, in bytes");
    let sent = ("istio_response_bytes", "The size of the bodies of answers, in bytes");
    let expected = [
        "# HELP istio_requests The total number of HTTP and gRPC requests.\n# TYPE istio_requests counter\n".to_owned(),
        format!("istio_requests_total{{{labels}}} 2\n"),
        histogram(duration, &labels, "11.8", &[0, 0, 0], 2),
        histogram(received, &labels, "0.0", &[], 2),
        histogram(sent, &labels, "750.0", &[0; 8], 2),
    ]
    .concat();
    let page = page(&meters);
    assert!(page.contains(&expected), "expected\n{expected}\nin\n{page}");
    assert!(!page.contains("_messages") && !page.contains("istio_tcp_connections"), "{page}");
    assert!(page.contains("istio_tcp_sockets_open{reporter=\"waypoint\"} 0\n"), "{page}");
}

#[test]
fn calls_of_grpc_have_their_status_and_their_messages() {
    let meter = silent_meter();
    for status in [Some("0"), Some("0"), Some("14"), Some("4711"), None] {
        meter.request(call(status));
    }
    meter.request(request());
    let page = page(&[meter]);
    for (status, count) in [("0", 2), ("14", 1), ("2", 1), ("", 1)] {
        let labels = labels("grpc", "200", status, "-");
        for (name, count) in [("requests", count), ("request_messages", count), ("response_messages", 10 * count)] {
            let line = format!("istio_{name}_total{{{labels}}} {count}\n");
            assert!(page.contains(&line), "no {line} in\n{page}");
        }
    }
    let line = format!("istio_requests_total{{{}}} 1\n", labels("http", "200", "", "-"));
    assert!(page.contains(&line), "no {line} in\n{page}");
    assert_eq!(page.lines().filter(|line| line.starts_with("istio_request_messages_total")).count(), 4);
}

#[test]
fn every_flag_is_a_label_of_its_own_series() {
    let meter = silent_meter();
    for flag in ResponseFlag::ALL {
        let answer = Answer { code: 503, flags: (*flag).into(), ..Answer::default() };
        meter.request(RequestRecord { answer, ..request() });
    }
    let page = page(&[meter]);
    for flag in ResponseFlag::ALL {
        let line = format!("istio_requests_total{{{}}} 1\n", labels("http", "503", "", flag.code()));
        assert!(page.contains(&line), "no {line} in\n{page}");
    }
}

#[test]
fn a_value_on_a_bound_is_in_the_bounds_bucket() {
    let mut histogram = Histogram::<1000>::default();
    let values = [0, 500, 501, 1_000, 5_000, 5_001, 3_600_000_000, 3_600_000_001, u64::MAX];
    values.into_iter().for_each(|value| histogram.observe(value));
    let [first, second, third, fourth, .., last, infinite] = histogram.buckets;
    assert_eq!([first, second, third, fourth, last, infinite], [2, 2, 1, 1, 1, 2]);
    assert_eq!(histogram.buckets.iter().sum::<u64>(), 9);
    assert_eq!(histogram.sum, u64::MAX, "the sum stays where it is rather than to begin again");
}

#[test]
fn what_is_not_known_is_unknown() {
    let nobody = Ends {
        source: Party::unknown(),
        destination: Party::unknown(),
        service: None,
        security: Security::Unknown,
        ..ends(Reporter::Waypoint)
    };
    let class = Class { protocol: Protocol::Http, code: 0, flags: ResponseFlags::NONE };
    let labels = nobody.request_labels(class.labels());
    assert_eq!(labels.len(), 25);
    let own = ["reporter", "request_protocol", "response_code", "grpc_response_status", "response_flags"];
    for (name, value) in labels {
        assert_eq!(value == "unknown", !own.contains(&name), "{name}={value}");
    }
}

#[test]
fn a_refusal_is_counted_by_its_reason() {
    let meter = silent_meter();
    let refusal = Some(Refusal { reason: Reason::NoPolicyMatched, policy: None });
    meter.request(RequestRecord { answer: Answer { code: 403, refusal, ..Answer::default() }, ..request() });
    meter.request(request());
    let page = page(&[meter]);
    assert!(page.contains("ambit_refused_total{reason=\"no-policy-matched\",reporter=\"waypoint\"} 1\n"), "{page}");
}

#[test]
fn connections_through_a_waypoint_are_counted_beside_its_requests() {
    let meter = silent_meter();
    let live = meter.open(opened(ends(Reporter::Waypoint), Instant::now()));
    live.traffic().add_sent(3);
    meter.request(request());
    let page = page(&[meter]);
    let tcp = |name: &str| page.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    assert!(tcp("istio_tcp_connections_opened_total{reporter=\"waypoint\",").ends_with("} 1"), "{page}");
    assert!(tcp("istio_tcp_received_bytes_total{reporter=\"waypoint\",").ends_with("} 3"), "{page}");
    assert!(page.contains("istio_tcp_sockets_open{reporter=\"waypoint\"} 1\n"), "{page}");
    assert!(tcp("istio_requests_total{reporter=\"waypoint\",").ends_with("} 1"), "{page}");
    live.close(Outcome::Ok);
}

#[test]
fn series_of_requests_are_forgotten_once_dead_on_every_worker() {
    const IDLE: Duration = Duration::from_secs(300);
    let meters = [silent_meter(), silent_meter()];
    let to = |pod| Ends { destination: Party::Workload(pod), ..ends(Reporter::Waypoint) };
    let request = |meter: &Meter, owner: &str, at| meter.request(answered(to(workload(owner, "pod")), at));
    let start = Instant::now();
    for owner in ["reviews", "gone"] {
        meters.iter().for_each(|meter| request(meter, owner, start));
    }
    request(&meters[1], "gone", start + IDLE);
    let living = Living::of(&snapshot([workload("productpage", "new"), workload("reviews", "new")]));
    let sweep = |now: Instant| -> usize {
        let dead = expired(&Values::merge(meters.iter().map(Meter::values)), &living, now, IDLE);
        meters.iter().map(|meter| meter.forget(&dead, now.checked_sub(IDLE).unwrap())).sum()
    };
    let while_used = start + IDLE + IDLE / 2;
    assert_eq!(sweep(while_used), 0, "the other worker has used it since");
    assert_eq!(sweep(while_used + IDLE), 2);
    let left = page(&meters);
    let left: Vec<&str> = left.lines().filter(|line| line.starts_with("istio_requests_total")).collect();
    assert!(
        left.len() == 1 && left[0].contains("destination_workload=\"reviews\"") && left[0].ends_with("} 2"),
        "{left:?}"
    );
}

#[test]
fn what_a_waypoint_adds_is_a_family_like_any_other() {
    let mut exposition = Exposition::new("waypoint", "0.1.0", access_log("off").0);
    exposition.register(|| {
        let overflow = Family::counter("ambit_upstream_overflow", "Requests refused by a circuit breaker");
        let ejected = Family::gauge("ambit_ejected_endpoints", "Endpoints that take no requests for now");
        vec![
            overflow.count([("destination_service", "reviews.shop"), ("kind", "pending")], 3),
            ejected.count([("destination_service", "reviews.shop"), ("subset", "v2")], 1),
        ]
    });
    let page = exposition.text([]);
    assert_eq!(strict::faults(&page), Vec::<String>::new(), "{page}");
    assert!(page.contains("ambit_upstream_overflow_total{destination_service=\"reviews.shop\",kind=\"pending\"} 3\n"));
    assert!(page.contains("ambit_ejected_endpoints{destination_service=\"reviews.shop\",subset=\"v2\"} 1\n"));
}
