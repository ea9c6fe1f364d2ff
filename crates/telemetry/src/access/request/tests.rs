use std::sync::Arc;
use std::time::Instant;

use ambit_model::Reason;
use ambit_model::policy::PolicyKey;

use super::*;
use crate::ends::{Derived, Ends, Party, Reporter, Security};
use crate::fixtures::{access_log, answered, ends, moment};
use crate::flags::{ResponseFlag, ResponseFlags};
use crate::meter::Meter;
use crate::request::{Answer, Downstream, KeptHead, RequestHead, Upstream};

fn request() -> RequestRecord {
    answered(ends(Reporter::Waypoint), Instant::now())
}

fn written(record: RequestRecord, form: Form) -> String {
    let mut out = String::new();
    Logged { at: moment(), record }.write(&mut out, form);
    out
}

/// The same line again, as a reader of Istio's default format takes it apart: quotes, brackets and spaces.
fn taken_apart(line: &str) -> Vec<String> {
    let (mut fields, mut field, mut end) = (Vec::new(), String::new(), ' ');
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' if end == '"' => field.extend(['\\'].into_iter().chain(rest.next())),
            '"' | '[' if field.is_empty() && end == ' ' => end = if c == '"' { '"' } else { ']' },
            c if c == end && c != ' ' => end = ' ',
            ' ' if end == ' ' => fields.push(std::mem::take(&mut field)),
            c => field.push(c),
        }
    }
    fields.push(field);
    fields
}

const TEXT: &str = concat!(
    "[2024-04-11T15:38:42.177Z] \"GET /reviews/0?full=yes HTTP/2\" 200 - via_upstream - \"-\" 0 375 5 4 \"-\" ",
    "\"curl/8.5 (linux)\" \"8fcedd10-23a4-9b4d-8caa-ade8a92a66a8\" \"reviews:9080\" \"10.244.0.14:9080\" ",
    "inbound-vip|9080|http|reviews.shop.svc.cluster.local 10.244.0.20:41000 10.96.0.7:9080 10.244.0.16:52008 - ",
    "reviews-v2.beta",
);

const ENDS: &str = concat!(
    "src.workload=\"productpage-abc\" src.namespace=\"shop\" ",
    "src.identity=\"spiffe://cluster.local/ns/shop/sa/bookinfo-productpage\" src.cluster=\"Kubernetes\" ",
    "dst.service=\"reviews.shop.svc.cluster.local\" dst.workload=\"reviews-xyz\" dst.namespace=\"shop\" ",
    "dst.identity=\"spiffe://cluster.local/ns/shop/sa/bookinfo-reviews\" dst.cluster=\"Kubernetes\"",
);

#[test]
fn a_request_in_text_is_istios_line_and_our_additions() {
    assert_eq!(written(request(), Form::Text), format!("{TEXT} level=info scope=access {ENDS}\n"));
}

#[test]
fn a_request_in_json_has_istios_keys_and_our_additions() {
    let expected = concat!(
        r#"{"start_time":"2024-04-11T15:38:42.177Z","method":"GET","path":"/reviews/0?full=yes","#,
        r#""protocol":"HTTP/2","response_code":200,"response_flags":"-","response_code_details":"via_upstream","#,
        r#""connection_termination_details":null,"upstream_transport_failure_reason":null,"bytes_received":0,"#,
        r#""bytes_sent":375,"duration":5,"upstream_service_time":"4","x_forwarded_for":null,"#,
        r#""user_agent":"curl/8.5 (linux)","request_id":"8fcedd10-23a4-9b4d-8caa-ade8a92a66a8","#,
        r#""authority":"reviews:9080","upstream_host":"10.244.0.14:9080","#,
        r#""upstream_cluster":"inbound-vip|9080|http|reviews.shop.svc.cluster.local","#,
        r#""upstream_local_address":"10.244.0.20:41000","downstream_local_address":"10.96.0.7:9080","#,
        r#""downstream_remote_address":"10.244.0.16:52008","requested_server_name":null,"#,
        r#""route_name":"reviews-v2.beta","level":"info","scope":"access","src.workload":"productpage-abc","#,
        r#""src.namespace":"shop","src.identity":"spiffe://cluster.local/ns/shop/sa/bookinfo-productpage","#,
        r#""src.cluster":"Kubernetes","dst.service":"reviews.shop.svc.cluster.local","#,
        r#""dst.workload":"reviews-xyz","dst.namespace":"shop","#,
        r#""dst.identity":"spiffe://cluster.local/ns/shop/sa/bookinfo-reviews","dst.cluster":"Kubernetes"}"#,
        "\n"
    );
    assert_eq!(written(request(), Form::Json), expected);
}

#[test]
fn what_is_missing_is_a_dash_or_null() {
    let nobody = Ends {
        source: Party::unknown(),
        destination: Party::unknown(),
        service: None,
        security: Security::Unknown,
        ..ends(Reporter::Waypoint)
    };
    let (downstream, upstream) = (Downstream::default(), Upstream::default());
    let request = || answered(nobody.clone(), Instant::now());
    let request = || RequestRecord {
        head: KeptHead::default(),
        route: None,
        downstream: downstream.clone(),
        upstream: upstream.clone(),
        answer: Answer::default(),
        sent: 0,
        ..request()
    };
    assert_eq!(
        written(request(), Form::Text),
        "[2024-04-11T15:38:42.177Z] \"- - -\" 0 - - - \"-\" 0 0 5 - \"-\" \"-\" \"-\" \"-\" \"-\" - - - - - - \
         level=info scope=access\n"
    );
    let read: serde_json::Value = serde_json::from_str(&written(request(), Form::Json)).unwrap();
    let absent = read.as_object().unwrap().values().filter(|value| value.is_null()).count();
    assert_eq!((absent, read["route_name"].is_null(), read["response_flags"].as_str()), (18, true, Some("-")));
}

#[test]
fn a_refusal_tells_its_flags_its_reason_and_its_policy() {
    let refusal = |policy| Some(Refusal { reason: Reason::NoPolicyMatched, policy });
    let answer = Answer {
        code: 403,
        flags: ResponseFlags::from(ResponseFlag::UpstreamRetryLimitExceeded).with(ResponseFlag::UpstreamOverflow),
        details: "rbac_access_denied_matched_policy[none]".into(),
        termination: "rbac access denied".into(),
        refusal: refusal(Some(PolicyKey::new("shop", "readers"))),
    };
    let refused = RequestRecord { answer, upstream: Upstream::default(), ..request() };
    let text = written(refused.clone(), Form::Text);
    let expected = "HTTP/2\" 403 UO,URX rbac_access_denied_matched_policy[none] rbac_access_denied \"-\" 0 375 5 - ";
    assert!(text.contains(expected), "{text}");
    assert!(text.contains(" level=error scope=access src.workload="), "{text}");
    assert!(text.ends_with(" reason=no-policy-matched policy=\"shop/readers\"\n"), "{text}");
    let json = written(refused, Form::Json);
    assert!(json.ends_with("\"reason\":\"no-policy-matched\",\"policy\":\"shop/readers\"}\n"), "{json}");
    assert!(json.contains("\"response_flags\":\"UO,URX\""), "{json}");
    let answer = Answer { refusal: refusal(None), ..Answer::default() };
    let text = written(RequestRecord { answer, ..request() }, Form::Text);
    assert!(text.ends_with(" reason=no-policy-matched\n"), "{text}");
}

#[test]
fn hostile_values_stay_within_their_field_and_their_line() {
    const HOSTILE: &str = "a\" 200 - \"b\\\" [x] 'c'\n[2024] \"GET / HTTP/2\"\t\r\u{7}\u{85}\u{2028}\u{1b}[0m\u{202e}";
    let bytes = HOSTILE.as_bytes();
    let head = RequestHead {
        method: bytes,
        path: bytes,
        protocol: "HTTP/1.1",
        authority: bytes,
        user_agent: bytes,
        request_id: bytes,
        forwarded_for: bytes,
    };
    let derived = Derived { workload: Some(HOSTILE.into()), ..Derived::default() };
    let mut hostile =
        answered(Ends { source: Party::Derived(Arc::new(derived)), ..ends(Reporter::Waypoint) }, Instant::now());
    hostile.head = head.keep();
    hostile.route = Some(HOSTILE.into());
    hostile.downstream.server_name = Some(HOSTILE.into());
    hostile.upstream.cluster = Some(HOSTILE.into());
    hostile.upstream.failure = HOSTILE.into();
    hostile.answer.details = HOSTILE.into();
    hostile.answer.termination = HOSTILE.into();
    let text = written(hostile.clone(), Form::Text);
    let controls: String = text.chars().filter(|c| c.is_control() || *c == '\u{2028}' || *c == '\u{202e}').collect();
    assert_eq!(controls, "\n", "{text}");
    let (good, bad) = (taken_apart(&written(request(), Form::Text)), taken_apart(&text));
    // Istio's fields: the three of the request line stand within one pair of quotes.
    let istios = 22;
    assert_eq!(good[istios..istios + 2], ["level=info", "scope=access"]);
    assert_eq!(bad[istios..istios + 2], ["level=info", "scope=access"], "{text}");
    let unchanged = [0, 2, 3, 7, 8, 9, 10, 15, 17, 18, 19];
    unchanged.into_iter().for_each(|index| assert_eq!(good[index], bad[index], "{index} of {text}"));
    assert_eq!(bad[1].split(' ').count(), 3, "method, path and protocol: {text}");
    assert!(bad[1].ends_with(" HTTP/1.1"), "{text}");
    let read: serde_json::Value = serde_json::from_str(&written(hostile, Form::Json)).unwrap();
    for key in ["method", "path", "authority", "user_agent", "request_id", "x_forwarded_for", "route_name"] {
        assert_eq!(read[key], HOSTILE, "{key}");
    }
}

#[test]
fn bytes_that_are_no_text_are_shown_as_such() {
    let mut record = request();
    record.head = RequestHead { path: b"/\xff\xfe", ..RequestHead::default() }.keep();
    assert!(written(record.clone(), Form::Text).contains("\"- /\u{fffd}\u{fffd} -\""));
    let read: serde_json::Value = serde_json::from_str(&written(record, Form::Json)).unwrap();
    assert_eq!(read["path"], "/\u{fffd}\u{fffd}");
}

#[test]
fn every_flag_is_told_and_only_the_harmless_are_no_error() {
    use ResponseFlag::{DelayInjected, DownstreamConnectionTermination, FaultInjected};
    for flag in ResponseFlag::ALL {
        let answer = Answer { flags: (*flag).into(), ..Answer::default() };
        let text = written(RequestRecord { answer, ..request() }, Form::Text);
        assert!(text.contains(&format!("HTTP/2\" 0 {} - - ", flag.code())), "{text}");
        let harmless = [DelayInjected, DownstreamConnectionTermination, FaultInjected].contains(flag);
        assert_eq!(text.contains(" level=info "), harmless, "{text}");
    }
}

#[test]
fn requests_are_logged_through_the_queue_as_the_filter_says() {
    for (filter, lines) in [("info", 2), ("error", 1), ("info,access=off", 0)] {
        let (access, sink, writer) = access_log(filter);
        let meter = Meter::new(access);
        meter.request(request());
        let answer = Answer { code: 503, flags: ResponseFlag::NoHealthyUpstream.into(), ..Answer::default() };
        meter.request(RequestRecord { answer, ..request() });
        writer.flush();
        let text = sink.text();
        assert_eq!(text.lines().count(), lines, "{filter}: {text}");
        assert_eq!(text.contains("HTTP/2\" 503 UH - "), lines > 0, "{filter}: {text}");
    }
}
