use ambit_model::Identity;

use super::*;
use crate::ends::{Derived, Security};
use crate::fixtures::{access_log, ends, moment};

fn complete(ends: Ends, failure: Option<(Reason, String)>) -> Record {
    let known = Known { ends, hbone: Some("10.244.0.14:9080".parse().unwrap()) };
    let duration = Duration::from_micros(13_900);
    let event = Event::Complete { known, to_server: 67, to_client: 490, duration, failure };
    record(event)
}

fn record(event: Event) -> Record {
    let (client, destination) = ("10.244.0.16:52008".parse().unwrap(), "10.244.0.14:15008".parse().unwrap());
    Record { at: moment(), client, destination, event }
}

fn written(record: &Record, form: Form) -> String {
    let mut out = String::new();
    record.write(&mut out, form);
    out
}

const CONNECTED: &str = concat!(
    "src.addr=10.244.0.16:52008 src.workload=\"productpage-abc\" src.namespace=\"shop\" ",
    "src.identity=\"spiffe://cluster.local/ns/shop/sa/bookinfo-productpage\" src.cluster=\"Kubernetes\" ",
    "dst.addr=10.244.0.14:15008 dst.hbone_addr=10.244.0.14:9080 dst.service=\"reviews.shop.svc.cluster.local\" ",
    "dst.workload=\"reviews-xyz\" dst.namespace=\"shop\" ",
    "dst.identity=\"spiffe://cluster.local/ns/shop/sa/bookinfo-reviews\" dst.cluster=\"Kubernetes\" ",
);

#[test]
fn a_complete_connection_in_text() {
    let expected = format!(
        "2024-04-11T15:38:42.182974Z\tinfo\taccess\tconnection complete\t{CONNECTED}direction=\"outbound\" \
         bytes_sent=67 bytes_recv=490 duration=\"13ms\"\n"
    );
    assert_eq!(written(&complete(ends(Reporter::Source), None), Form::Text), expected);
}

#[test]
fn a_complete_connection_in_json() {
    let expected = concat!(
        r#"{"level":"info","time":"2024-04-11T15:38:42.182974Z","scope":"access","message":"connection complete","#,
        r#""src.addr":"10.244.0.16:52008","src.workload":"productpage-abc","src.namespace":"shop","#,
        r#""src.identity":"spiffe://cluster.local/ns/shop/sa/bookinfo-productpage","src.cluster":"Kubernetes","#,
        r#""dst.addr":"10.244.0.14:15008","dst.hbone_addr":"10.244.0.14:9080","#,
        r#""dst.service":"reviews.shop.svc.cluster.local","dst.workload":"reviews-xyz","dst.namespace":"shop","#,
        r#""dst.identity":"spiffe://cluster.local/ns/shop/sa/bookinfo-reviews","dst.cluster":"Kubernetes","#,
        r#""direction":"outbound","bytes_sent":67,"bytes_recv":490,"duration":"13ms"}"#,
        "\n"
    );
    assert_eq!(written(&complete(ends(Reporter::Source), None), Form::Json), expected);
}

#[test]
fn the_server_sent_what_the_client_received() {
    let text = written(&complete(ends(Reporter::Destination), None), Form::Text);
    assert!(text.ends_with("direction=\"inbound\" bytes_sent=490 bytes_recv=67 duration=\"13ms\"\n"), "{text}");
}

#[test]
fn a_failure_is_an_error_with_its_reason_last() {
    let failure = Some((Reason::TunnelPortBlocked, "connection timed out, maybe a \"NetworkPolicy\"".to_owned()));
    let failed = complete(ends(Reporter::Source), failure);
    let text = written(&failed, Form::Text);
    assert!(text.starts_with("2024-04-11T15:38:42.182974Z\terror\taccess\tconnection complete\tsrc.addr="), "{text}");
    let expected = "duration=\"13ms\" error=\"connection timed out, maybe a \\\"NetworkPolicy\\\"\" \
                    reason=tunnel-port-blocked\n";
    assert!(text.ends_with(expected), "{text}");
    let json = written(&failed, Form::Json);
    let expected = concat!(
        r#""duration":"13ms","error":"connection timed out, maybe a \"NetworkPolicy\"","#,
        r#""reason":"tunnel-port-blocked"}"#,
        "\n"
    );
    assert!(json.starts_with(r#"{"level":"error","#) && json.ends_with(expected), "{json}");
}

#[test]
fn a_reset_by_an_application_is_told_but_is_no_error() {
    let text = written(&complete(ends(Reporter::Source), Some((Reason::ResetByClient, String::new()))), Form::Text);
    assert!(text.contains("\tinfo\taccess\t"), "{text}");
    assert!(text.ends_with("error=\"the client reset the connection\" reason=reset-by-client\n"), "{text}");
}

#[test]
fn without_mutual_tls_nobody_is_named() {
    let ends = Ends { security: Security::Unknown, service: None, ..ends(Reporter::Destination) };
    let event = Event::Opened(Known { ends, hbone: None });
    assert_eq!(
        written(&record(event), Form::Text),
        "2024-04-11T15:38:42.182974Z\tdebug\taccess\tconnection opened\tsrc.addr=10.244.0.16:52008 \
         src.workload=\"productpage-abc\" src.namespace=\"shop\" src.cluster=\"Kubernetes\" \
         dst.addr=10.244.0.14:15008 dst.workload=\"reviews-xyz\" dst.namespace=\"shop\" dst.cluster=\"Kubernetes\" \
         direction=\"inbound\"\n"
    );
}

#[test]
fn an_end_that_is_not_known_leaves_its_fields_out() {
    let ends =
        Ends { source: Party::unknown(), destination: Party::unknown(), service: None, ..ends(Reporter::Source) };
    let text = written(&complete(ends, None), Form::Text);
    let expected = "src.addr=10.244.0.16:52008 \
                    src.identity=\"spiffe://cluster.local/ns/shop/sa/bookinfo-productpage\" \
                    dst.addr=10.244.0.14:15008 dst.hbone_addr=10.244.0.14:9080 direction=";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn an_identity_alone_gives_the_namespace() {
    let identity: Identity = "spiffe://cluster.local/ns/bank/sa/teller".parse().unwrap();
    let ends = Ends { source: Party::identity(identity), ..ends(Reporter::Destination) };
    let text = written(&complete(ends, None), Form::Text);
    assert!(text.contains("src.addr=10.244.0.16:52008 src.namespace=\"bank\" src.identity="), "{text}");
}

#[test]
fn a_connection_refused_early_in_both_forms() {
    let failure = (Reason::NoOriginalDestination, "no destination".to_owned());
    let failed = record(Event::Failed { reporter: Reporter::Source, failure });
    assert_eq!(
        written(&failed, Form::Text),
        "2024-04-11T15:38:42.182974Z\twarn\taccess\tconnection failed\tsrc.addr=10.244.0.16:52008 \
         dst.addr=10.244.0.14:15008 direction=\"outbound\" error=\"no destination\" reason=no-original-destination\n"
    );
    assert_eq!(
        written(&failed, Form::Json),
        concat!(
            r#"{"level":"warn","time":"2024-04-11T15:38:42.182974Z","scope":"access","message":"connection failed","#,
            r#""src.addr":"10.244.0.16:52008","dst.addr":"10.244.0.14:15008","direction":"outbound","#,
            r#""error":"no destination","reason":"no-original-destination"}"#,
            "\n"
        )
    );
}

#[test]
fn hostile_values_stay_within_their_quotes_and_their_line() {
    const HOSTILE: &str = "a\" dst.identity=\"spiffe://x\n2024\terror\\\u{7}\u{2028}";
    let derived = Derived { workload: Some(HOSTILE.into()), app: Some(HOSTILE.into()), ..Derived::default() };
    let source = Party::Derived(Arc::new(derived));
    let record =
        complete(Ends { source, ..ends(Reporter::Destination) }, Some((Reason::H2Failure, HOSTILE.to_owned())));
    let text = written(&record, Form::Text);
    assert_eq!(text.matches('\n').count(), 1, "{text}");
    let controls: String = text.chars().filter(|c| c.is_control()).collect();
    assert_eq!(controls, "\t\t\t\t\n", "{text}");
    assert!(text.contains(&format!("src.workload={HOSTILE:?} ")), "{text}");
    let json = written(&record, Form::Json);
    assert_eq!(json.matches('\n').count(), 1, "{json}");
    let read: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(read["src.workload"], HOSTILE);
    assert_eq!(read["error"], HOSTILE);
}

#[test]
fn every_reason_can_be_told() {
    for reason in Reason::ALL {
        let record = complete(ends(Reporter::Source), Some((*reason, String::new())));
        let read: serde_json::Value = serde_json::from_str(&written(&record, Form::Json)).unwrap();
        assert_eq!(read["reason"], reason.code());
        assert_eq!(read["error"], reason.text());
    }
}

#[test]
fn the_filter_decides_by_the_scope_access() {
    let wants = |filter: &str| LEVELS.map(|level| access_log(filter).0.wants(level));
    assert_eq!(wants("info"), [true, true, true, false]);
    assert_eq!(wants("debug"), [true; 4]);
    assert_eq!(wants("info,access=off"), [false; 4]);
    assert_eq!(wants("error,access=debug"), [true; 4]);
    assert_eq!(wants("warn"), [true, true, false, false]);
    assert_eq!(wants("off,access=info,ztunnel=trace"), [true, true, true, false]);
}
