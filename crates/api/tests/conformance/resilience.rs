//! Faults, retries and timeouts (Istio `HTTPFaultInjection`, `HTTPRetry`, `timeout`; Envoy's `x-envoy-retry-on`).

use std::time::Duration;

use ambit_model::route::{Attempt, Draw, Injected, Retries, Status, time_limit};
use serde_json::{Value, json};

use crate::support::{forward, get, routes, to};

/// What is injected into each of a thousand requests.
fn injected(fault: Value) -> Vec<Injected> {
    let (routes, call) = (routes(json!([{"fault": fault, "route": to("v1")}])), get("/"));
    (0..1000).map(|number| forward(call.by(&routes, number)).fault).collect()
}

#[test]
fn faults_are_injected_into_as_many_requests_as_are_asked_and_none_where_nothing_is_said() {
    let percentage = |value: f64| json!({ "value": value });
    for (share, expected) in [
        (percentage(50.0), 421..579),
        (percentage(0.0), 0..1),
        (percentage(100.0), 1000..1001),
        (percentage(0.0001), 0..2),
        (Value::Null, 0..1),
    ] {
        let mut abort = json!({"httpStatus": 500});
        let mut delay = json!({"fixedDelay": "3s"});
        if !share.is_null() {
            abort["percentage"] = share.clone();
            delay["percentage"] = share.clone();
        }
        let aborted = injected(json!({ "abort": abort }));
        let count = aborted.iter().filter(|one| one.abort == Some(Status::Http(500))).count();
        assert!(expected.contains(&count) && aborted.iter().all(|one| one.delay.is_none()), "{share} {count}");
        let delayed = injected(json!({ "delay": delay }));
        let count = delayed.iter().filter(|one| one.delay == Some(Duration::from_secs(3))).count();
        assert!(expected.contains(&count) && delayed.iter().all(|one| one.abort.is_none()), "{share} {count}");
    }
    // The old way of writing it.
    let delayed = injected(json!({"delay": {"fixedDelay": "1s", "percent": 100}}));
    assert!(delayed.iter().all(|one| one.delay.is_some()));
}

#[test]
fn delay_and_abort_are_drawn_independently() {
    let half = json!({"value": 50});
    let all = injected(
        json!({"delay": {"fixedDelay": "1s", "percentage": half}, "abort": {"httpStatus": 503, "percentage": half}}),
    );
    let count = |delay: bool, abort: bool| {
        all.iter().filter(|one| (one.delay.is_some(), one.abort.is_some()) == (delay, abort)).count()
    };
    for (delay, abort) in [(true, true), (true, false), (false, true), (false, false)] {
        assert!((182..318).contains(&count(delay, abort)), "{delay} {abort} {}", count(delay, abort));
    }
}

#[test]
fn a_fault_leaves_the_routes_timeout_and_retries_as_they_are() {
    let fault = json!({"delay": {"fixedDelay": "3s", "percentage": {"value": 100}}});
    let routes = routes(json!([{"fault": fault, "timeout": "1s", "retries": {"attempts": 3}, "route": to("v1")}]));
    let call = get("/");
    let forward = forward(call.by(&routes, 0));
    assert_eq!((forward.fault.delay, forward.timeout), (Some(Duration::from_secs(3)), Some(Duration::from_secs(1))));
    assert_eq!(forward.retries.attempts, 3);
}

#[test]
fn an_abort_is_answered_in_the_clients_language() {
    for (abort, http, grpc) in [
        (json!({"httpStatus": 500}), (500, None), (200, Some(2))),
        (json!({"httpStatus": 400}), (400, None), (200, Some(13))),
        (json!({"httpStatus": 401}), (401, None), (200, Some(16))),
        (json!({"httpStatus": 403}), (403, None), (200, Some(7))),
        (json!({"httpStatus": 404}), (404, None), (200, Some(12))),
        (json!({"httpStatus": 503}), (503, None), (200, Some(14))),
        (json!({"grpcStatus": "UNAVAILABLE"}), (503, None), (200, Some(14))),
        (json!({"grpcStatus": "NOT_FOUND"}), (404, None), (200, Some(5))),
        (json!({"grpcStatus": "UNAUTHENTICATED"}), (401, None), (200, Some(16))),
        (json!({"grpcStatus": "OK"}), (200, None), (200, Some(0))),
    ] {
        let mut whole = abort.clone();
        whole["percentage"] = json!({"value": 100});
        let status = injected(json!({ "abort": whole }))[0].abort.unwrap();
        assert_eq!((status.answer(false), status.answer(true)), (http, grpc), "{abort}");
    }
    for (value, expected) in [
        ("application/grpc", true),
        ("application/grpc+proto", true),
        ("application/grpc-web", false),
        ("text/plain", false),
    ] {
        assert_eq!(get("/").with("content-type", value).request().is_grpc(), expected, "{value}");
    }
    assert_eq!(ambit_model::route::fault::ABORT_BODY.len(), 18);
}

type Answer = [(&'static str, &'static str)];

fn retries(written: Value) -> Retries {
    let routes = routes(json!([{"retries": written, "route": to("v1")}]));
    forward(get("/").by(&routes, 0)).retries.clone()
}

#[test]
fn every_word_of_retry_on_covers_what_it_says() {
    let grpc: Vec<(&str, [(&str, &str); 1])> =
        ["1", "4", "8", "13", "14", "5"].iter().map(|code| (*code, [("grpc-status", *code)])).collect();
    let none: &Answer = &[];
    let limited: &Answer = &[("x-envoy-ratelimited", "true")];
    let overloaded: &Answer = &[("x-envoy-overloaded", "true")];
    let mut attempts: Vec<(&str, Attempt<'_, Answer>)> = vec![
        ("unconnected", Attempt::Unconnected),
        ("overflow", Attempt::Overflow),
        ("refused-stream", Attempt::RefusedStream),
        ("reset", Attempt::Unanswered { sent: true }),
        ("reset-early", Attempt::Unanswered { sent: false }),
        ("200", Attempt::Answered(200, none)),
        ("404", Attempt::Answered(404, none)),
        ("409", Attempt::Answered(409, none)),
        ("500", Attempt::Answered(500, none)),
        ("502", Attempt::Answered(502, none)),
        ("503", Attempt::Answered(503, none)),
        ("504", Attempt::Answered(504, none)),
        ("limited", Attempt::Answered(503, limited)),
        ("overloaded", Attempt::Answered(503, overloaded)),
    ];
    let names = ["grpc-1", "grpc-4", "grpc-8", "grpc-13", "grpc-14", "grpc-5"];
    attempts.extend(names.iter().zip(&grpc).map(|(name, (_, fields))| (*name, Attempt::Answered(200, &fields[..]))));
    let unanswered = ["unconnected", "refused-stream", "reset", "reset-early"];
    let with = |more: &[&'static str]| [&unanswered[..], more].concat();
    for (retry_on, covered) in [
        ("5xx", with(&["500", "502", "503", "504"])),
        ("gateway-error", with(&["502", "503", "504"])),
        ("reset", with(&[])),
        ("reset-before-request", vec!["unconnected", "reset-early"]),
        ("connect-failure", vec!["unconnected"]),
        ("refused-stream", vec!["refused-stream"]),
        ("retriable-4xx", vec!["409"]),
        ("envoy-ratelimited", vec!["limited"]),
        ("5xx,envoy-ratelimited", with(&["500", "502", "503", "504", "limited"])),
        ("retriable-status-codes,404,500", vec!["404", "500"]),
        // Of a reset the client is told 503, but the destination did not say it.
        ("503", vec!["503"]),
        ("503,reset", with(&["503"])),
        ("retriable-headers", vec![]),
        ("http3-post-connect-failure", vec![]),
        ("cancelled", vec!["grpc-1"]),
        ("deadline-exceeded", vec!["grpc-4"]),
        ("resource-exhausted", vec!["grpc-8"]),
        ("internal", vec!["grpc-13"]),
        ("unavailable", vec!["grpc-14"]),
        ("", vec!["unconnected", "refused-stream", "grpc-1", "grpc-14"]),
        ("connect-failure,404", vec!["unconnected", "404"]),
    ] {
        let retries = retries(json!({"attempts": 1, "retryOn": retry_on}));
        let found: Vec<&str> =
            attempts.iter().filter(|(_, attempt)| retries.should_retry(attempt, 0)).map(|(name, _)| *name).collect();
        assert_eq!(found, covered, "{retry_on}");
    }
}

#[test]
fn it_is_tried_as_often_as_is_said_twice_where_nothing_is_and_never_with_none() {
    let usual = routes(json!([{"route": to("v1")}]));
    let usual = forward(get("/").by(&usual, 0)).retries.clone();
    for (retries, made) in [
        (usual, 2),
        (retries(json!({"attempts": 3})), 3),
        (retries(json!({"attempts": 0})), 0),
        (retries(json!({})), 0),
    ] {
        let again = |made: &u32| retries.should_retry::<Answer>(&Attempt::Unconnected, *made);
        assert_eq!((0..10).take_while(again).count(), made);
        assert!(retries.ignore_previous_hosts && !retries.remote_localities);
    }
    let said = retries(json!({
        "attempts": 1, "perTryTimeout": "2s", "retryIgnorePreviousHosts": false, "retryRemoteLocalities": true,
    }));
    assert_eq!(said.per_try_timeout, Some(Duration::from_secs(2)));
    assert!(!said.ignore_previous_hosts && said.remote_localities);
}

#[test]
fn retries_wait_at_least_the_backoff_and_up_to_twice_as_long_each_time() {
    for (backoff, base) in [(Value::Null, 25), (json!("2s"), 2000)] {
        let mut written = json!({"attempts": 5});
        if !backoff.is_null() {
            written["backoff"] = backoff;
        }
        let retries = retries(written);
        for (retry, most) in [(1, 2), (2, 4), (3, 8), (4, 10), (5, 10), (40, 10)] {
            let waits: Vec<u128> = (0..200).map(|number| retries.backoff(retry, Draw(number)).as_millis()).collect();
            assert!(waits.iter().all(|wait| (base..=base * most).contains(wait)), "{retry} {waits:?}");
            // By chance, over the whole of it.
            let (least, longest) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
            assert!(longest - least > base * (most - 1) * 8 / 10, "{retry} {least} {longest}");
        }
    }
}

#[test]
fn a_request_takes_no_longer_than_its_route_says_nor_than_its_grpc_client_says() {
    let routes = routes(
        json!([{"match": [{"uri": {"exact": "/a"}}], "timeout": "0.5s", "route": to("v1")}, {"route": to("v1")}]),
    );
    assert_eq!(forward(get("/a").by(&routes, 0)).timeout, Some(Duration::from_millis(500)));
    assert_eq!(forward(get("/b").by(&routes, 0)).timeout, None);
    let seconds = Duration::from_secs;
    for (route, grpc, expected) in [
        (None, None, None),
        (Some(seconds(5)), None, Some(seconds(5))),
        (Some(seconds(5)), Some("1S"), Some(seconds(1))),
        (Some(seconds(5)), Some("1M"), Some(seconds(5))),
        (None, Some("2H"), Some(seconds(7200))),
        (None, Some("100m"), Some(Duration::from_millis(100))),
        (None, Some("100u"), Some(Duration::from_micros(100))),
        (None, Some("100n"), Some(Duration::from_nanos(100))),
        (None, Some("123456789S"), None),
        (None, Some("S"), None),
        (None, Some("1"), None),
        (None, Some("-1S"), None),
    ] {
        assert_eq!(time_limit(route, grpc.map(str::as_bytes)), expected, "{route:?} {grpc:?}");
    }
}
