use std::time::Instant;

use ambit_model::{Identity, Node, Reason};

use super::*;
use crate::ends::{Derived, Party, Security};
use crate::family::certificates;
use crate::fixtures::{access_log, ends, opened, silent_meter};
use crate::meter::{Meter, Outcome};

fn page(meters: &[Meter]) -> String {
    let page = Exposition::new("ztunnel", "0.1.0", access_log("off").0).text(meters.iter().map(Meter::values));
    assert_eq!(strict::faults(&page), Vec::<String>::new(), "{page}");
    page
}

fn close(meter: &Meter, ends: Ends, outcome: Outcome) {
    let live = meter.open(opened(ends, Instant::now()));
    live.traffic().add_sent(67);
    live.traffic().add_received(490);
    live.close(outcome);
}

/// Istio's labels of a call from productpage to reviews, with the given reporter and flag.
fn labels(reporter: &str, flag: &str) -> String {
    [
        &format!("reporter=\"{reporter}\""),
        "source_workload=\"productpage\"",
        "source_canonical_service=\"productpage-app\"",
        "source_canonical_revision=\"v1\"",
        "source_workload_namespace=\"shop\"",
        "source_principal=\"spiffe://cluster.local/ns/shop/sa/bookinfo-productpage\"",
        "source_app=\"productpage-app\"",
        "source_version=\"v1\"",
        "source_cluster=\"Kubernetes\"",
        "destination_service=\"reviews.shop.svc.cluster.local\"",
        "destination_service_namespace=\"shop\"",
        "destination_service_name=\"reviews\"",
        "destination_workload=\"reviews\"",
        "destination_canonical_service=\"reviews-app\"",
        "destination_canonical_revision=\"v1\"",
        "destination_workload_namespace=\"shop\"",
        "destination_principal=\"spiffe://cluster.local/ns/shop/sa/bookinfo-reviews\"",
        "destination_app=\"reviews-app\"",
        "destination_version=\"v1\"",
        "destination_cluster=\"Kubernetes\"",
        "request_protocol=\"tcp\"",
        &format!("response_flags=\"{flag}\""),
        "connection_security_policy=\"mutual_tls\"",
        "source_region=\"eu\"",
        "source_zone=\"unknown\"",
        "destination_region=\"eu\"",
        "destination_zone=\"unknown\"",
    ]
    .join(",")
}

#[test]
fn the_whole_page() {
    let meters = [silent_meter(), silent_meter()];
    for meter in &meters {
        close(meter, ends(Reporter::Source), Outcome::Ok);
    }
    let refused = Outcome::Failed { reason: Reason::NoPeerCertificate, detail: String::new() };
    close(&meters[1], ends(Reporter::Destination), refused);
    let _open = meters[0].open(opened(ends(Reporter::Source), Instant::now()));
    let (source, destination) = (labels("source", "-"), labels("destination", "-"));
    let failed = labels("destination", "TLS_FAILURE");
    let expected = format!(
        "# HELP istio_tcp_connections_opened The total number of TCP connections opened.
# TYPE istio_tcp_connections_opened counter
istio_tcp_connections_opened_total{{{destination}}} 1
istio_tcp_connections_opened_total{{{source}}} 3
# HELP istio_tcp_connections_closed The total number of TCP connections closed.
# TYPE istio_tcp_connections_closed counter
istio_tcp_connections_closed_total{{{failed}}} 1
istio_tcp_connections_closed_total{{{source}}} 2
# HELP istio_tcp_received_bytes The size of total bytes received during request in case of a TCP connection.
# TYPE istio_tcp_received_bytes counter
istio_tcp_received_bytes_total{{{destination}}} 67
istio_tcp_received_bytes_total{{{source}}} 134
# HELP istio_tcp_sent_bytes The size of total bytes sent during response in case of a TCP connection.
# TYPE istio_tcp_sent_bytes counter
istio_tcp_sent_bytes_total{{{destination}}} 490
istio_tcp_sent_bytes_total{{{source}}} 980
# HELP istio_tcp_connections_failed The total number of TCP connections that failed to establish (unstable).
# TYPE istio_tcp_connections_failed counter
istio_tcp_connections_failed_total{{{failed}}} 1
# HELP istio_tcp_sockets_open The current number of open TCP sockets (unstable).
# TYPE istio_tcp_sockets_open gauge
istio_tcp_sockets_open{{reporter=\"source\"}} 1
istio_tcp_sockets_open{{reporter=\"destination\"}} 0
# HELP ambit_refused Connections refused, or closed before their ends were done, by reason.
# TYPE ambit_refused counter
ambit_refused_total{{reason=\"no-peer-certificate\",reporter=\"destination\"}} 1
# HELP istio_build Istio component build info.
# TYPE istio_build gauge
istio_build{{component=\"ztunnel\",tag=\"0.1.0\"}} 1
# HELP ambit_access_log_dropped Access log lines dropped because the log could not keep up.
# TYPE ambit_access_log_dropped counter
ambit_access_log_dropped_total 0
# HELP ambit_log_dropped Lines of the process's own log dropped because it could not keep up.
# TYPE ambit_log_dropped counter
ambit_log_dropped_total 0
# EOF
"
    );
    assert_eq!(page(&meters), expected);
}

#[test]
fn what_is_not_known_is_unknown() {
    let meter = silent_meter();
    let nobody = Ends {
        reporter: Reporter::Source,
        source: Party::unknown(),
        destination: Party::unknown(),
        service: None,
        security: Security::Unknown,
    };
    close(&meter, nobody.clone(), Outcome::Ok);
    let known = ["reporter", "request_protocol", "response_flags"];
    for (name, value) in nobody.labels(Flag::None) {
        assert_eq!(value == "unknown", !known.contains(&name), "{name}={value}");
    }
    assert!(page(&[meter]).contains("connection_security_policy=\"unknown\""));
}

#[test]
fn a_client_known_by_its_identity_or_its_node_is_named() {
    let of = |source: Party| {
        let ends = Ends { source, ..ends(Reporter::Destination) };
        let labels = ends.labels(Flag::None);
        let of = |name: &str| labels.iter().find(|(n, _)| *n == name).unwrap().1.to_string();
        [of("source_workload"), of("source_workload_namespace"), of("source_app"), of("source_zone")]
    };
    let identity: Identity = "spiffe://cluster.local/ns/bank/sa/teller".parse().unwrap();
    assert_eq!(of(Party::identity(identity)), ["unknown", "bank", "unknown", "unknown"]);
    let (region, zone) = ("eu".into(), "eu-1".into());
    let node = Node { name: "n1".into(), addresses: Vec::new(), region, zone, subzone: "".into() };
    assert_eq!(of(Party::node(&node)), ["node/n1", "unknown", "node/n1", "eu-1"]);
    let derived = Derived { workload: Some("w".into()), namespace: Some("n".into()), ..Derived::default() };
    assert_eq!(of(Party::Derived(Arc::new(derived))), ["w", "n", "unknown", "unknown"]);
}

#[test]
fn hostile_label_values_stay_within_their_quotes() {
    let meter = silent_meter();
    let derived = Derived { workload: Some("a\"} 1\nfake_total 7\\".into()), ..Derived::default() };
    close(&meter, Ends { source: Party::Derived(Arc::new(derived)), ..ends(Reporter::Source) }, Outcome::Ok);
    let page = page(&[meter]);
    assert!(page.contains(r#"source_workload="a\"} 1\nfake_total 7\\","#), "{page}");
    assert!(!page.lines().any(|line| line.starts_with("fake_total")), "{page}");
}

#[test]
fn every_reason_is_a_label() {
    let meter = silent_meter();
    for reason in Reason::ALL {
        close(&meter, ends(Reporter::Source), Outcome::Failed { reason: *reason, detail: String::new() });
    }
    let page = page(&[meter]);
    for reason in Reason::ALL {
        let line = format!("ambit_refused_total{{reason=\"{}\",reporter=\"source\"}} 1", reason.code());
        assert!(page.lines().any(|l| l == line), "{line}");
    }
}

#[test]
fn collectors_add_families_at_each_scrape() {
    let mut exposition = Exposition::new("ztunnel", "0.1.0", access_log("off").0);
    exposition.register(|| {
        vec![
            Family::counter("ambit_captured", "Connections captured").count([("hook", "connect4")], 12),
            Family::gauge("ambit_pods", "Pods enrolled").count([], 3).level([("state", "half")], 0.5),
            Family::gauge("ambit_empty", "Nothing"),
        ]
    });
    let identity: Identity = "spiffe://cluster.local/ns/shop/sa/a".parse().unwrap();
    exposition.register(move || vec![certificates([(identity.clone(), -1.5)])]);
    let page = exposition.text([]);
    let expected = "# HELP ambit_captured Connections captured.
# TYPE ambit_captured counter
ambit_captured_total{hook=\"connect4\"} 12
# HELP ambit_pods Pods enrolled.
# TYPE ambit_pods gauge
ambit_pods 3
ambit_pods{state=\"half\"} 0.5
# HELP ambit_certificate_seconds_left Seconds until a workload's certificate expires.
# TYPE ambit_certificate_seconds_left gauge
ambit_certificate_seconds_left{principal=\"spiffe://cluster.local/ns/shop/sa/a\"} -1.5
# EOF
";
    assert!(page.ends_with(expected), "{page}");
}
