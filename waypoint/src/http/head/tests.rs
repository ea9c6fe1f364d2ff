use super::*;
use http::Request;

fn parts(request: Request<()>) -> request::Parts {
    request.into_parts().0
}

fn get(fields: &[(&str, &str)]) -> request::Parts {
    let mut head = parts(Request::get("/a?b").body(()).unwrap());
    for (name, value) in fields {
        head.headers.append(HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap());
    }
    head
}

fn details(mut head: request::Parts) -> Option<String> {
    receive(&mut head).err().map(|answer| answer.details.into_owned())
}

#[test]
fn what_could_mean_two_requests_is_refused() {
    let both = get(&[("host", "a"), ("transfer-encoding", "chunked"), ("content-length", "5")]);
    assert_eq!(details(both).as_deref(), Some("http1.content_length_and_chunked_not_allowed"));
    assert_eq!(details(get(&[("host", "a"), ("host", "b")])).as_deref(), Some("http1.several_hosts"));
    assert_eq!(details(get(&[])).as_deref(), Some("missing_host_header"));
    for host in ["a b", "user@a", "a/b", "\u{e4}"] {
        assert_eq!(details(get(&[("host", host)])).as_deref(), Some("http.invalid_authority"), "{host}");
    }
    let connect = parts(Request::connect("a:80").body(()).unwrap());
    assert_eq!(details(connect).as_deref(), Some("connect_not_allowed"));
    assert_eq!(details(get(&[("host", "a:80")])), None);
}

#[test]
fn what_is_for_one_hop_and_what_only_proxies_say_goes_no_further() {
    let mut head = get(&[
        ("host", "a"),
        ("connection", "close, X-Own"),
        ("x-own", "1"),
        ("keep-alive", "timeout=5"),
        ("te", "trailers, deflate"),
        ("expect", "100-continue"),
        ("x-forwarded-client-cert", "By=spiffe://forged"),
        ("x-envoy-attempt-count", "7"),
        ("x-mine", "2"),
    ]);
    let asked = receive(&mut head).ok().unwrap();
    assert!(asked.trailers);
    assert_eq!(asked.upgrade, None);
    let names: Vec<_> = head.headers.keys().map(HeaderName::as_str).collect();
    assert_eq!(names, ["host", "x-mine"]);
}

#[test]
fn another_protocol_is_asked_for_by_two_fields_and_never_h2c() {
    let asked = |fields: &[(&str, &str)]| receive(&mut get(fields)).ok().unwrap().upgrade;
    let websocket = [("host", "a"), ("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")];
    assert_eq!(asked(&websocket).unwrap(), "websocket");
    assert_eq!(asked(&[("host", "a"), ("upgrade", "websocket")]), None);
    assert_eq!(asked(&[("host", "a"), ("connection", "upgrade, http2-settings"), ("upgrade", "h2c")]), None);
}

#[test]
fn an_absolute_target_names_the_host() {
    let mut head = parts(Request::get("http://b:81/x").header("host", "a").body(()).unwrap());
    let asked = receive(&mut head).ok().unwrap();
    assert_eq!((asked.authority.as_str(), asked.path.as_str()), ("b:81", "/x"));
}

#[test]
fn an_endpoint_is_asked_in_its_own_version() {
    let mut fields = get(&[("host", "a"), ("cookie", "a=b"), ("cookie", "c=d")]).headers;
    let target = Target { authority: "reviews:9080", path: "/x?y", version: Version::HTTP_11, tls: false };
    assert_eq!(address(&mut fields, &target).unwrap().to_string(), "/x?y");
    assert_eq!((&fields["host"], &fields["cookie"]), (&"reviews:9080".parse().unwrap(), &"a=b; c=d".parse().unwrap()));
    let target = Target { version: Version::HTTP_2, ..target };
    assert_eq!(address(&mut fields, &target).unwrap().to_string(), "http://reviews:9080/x?y");
    assert!(!fields.contains_key("host"));
}

#[test]
fn operations_are_done_in_order() {
    let mut fields = get(&[("a", "1"), ("a", "2"), ("b", "3")]).headers;
    let text = |pairs: &[(&str, &str)]| pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let first = HeaderOperations { remove: vec!["b".into()], set: text(&[("a", "9")]), add: text(&[("c", "4")]) };
    let second = HeaderOperations { add: text(&[("c", "5")]), ..HeaderOperations::default() };
    apply(&mut fields, &[&first, &second]);
    let all: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    assert_eq!(all, [("a", "9"), ("c", "4"), ("c", "5")]);
}

#[test]
fn the_client_is_told_behind_what_the_request_says_or_in_its_place() {
    let client = "::ffff:10.9.2.1".parse().unwrap();
    for (said, mode, expected) in [
        (&[][..], ForwardedFor::Append, Some("10.9.2.1")),
        (
            &["192.0.2.1, 192.0.2.2", "192.0.2.3"],
            ForwardedFor::Append,
            Some("192.0.2.1, 192.0.2.2, 192.0.2.3, 10.9.2.1"),
        ),
        (&[""], ForwardedFor::Append, Some("10.9.2.1")),
        (&["192.0.2.1"], ForwardedFor::Replace, Some("10.9.2.1")),
        (&["192.0.2.1"], ForwardedFor::Keep, Some("192.0.2.1")),
        (&[], ForwardedFor::Keep, None),
    ] {
        let mut fields = HeaderMap::new();
        for address in said {
            fields.append("x-forwarded-for", HeaderValue::from_static(address));
        }
        forwarded_for(&mut fields, mode, client);
        let told: Vec<_> = fields.get_all("x-forwarded-for").into_iter().collect();
        assert_eq!(told, expected.into_iter().collect::<Vec<_>>(), "{said:?} {mode:?}");
    }
}

#[test]
fn the_outermost_of_the_proxies_that_are_believed_says_where_a_request_comes_from() {
    for (said, trusted, expected) in [
        (&["192.0.2.1, 192.0.2.2", "192.0.2.3"][..], 0, None),
        (&["192.0.2.1, 192.0.2.2", "192.0.2.3"], 1, Some("192.0.2.3")),
        (&["192.0.2.1, 192.0.2.2", "192.0.2.3"], 3, Some("192.0.2.1")),
        (&["192.0.2.1, 192.0.2.2", "192.0.2.3"], 4, None),
        (&["::ffff:192.0.2.1"], 1, Some("192.0.2.1")),
        (&["unknown"], 1, None),
        (&["\u{e9}, 192.0.2.1"], 1, Some("192.0.2.1")),
        (&[], 1, None),
    ] {
        let mut fields = HeaderMap::new();
        for address in said {
            fields.append("x-forwarded-for", HeaderValue::from_bytes(address.as_bytes()).unwrap());
        }
        let expected = expected.map(|address| address.parse().unwrap());
        assert_eq!(forwarded_from(&fields, trusted), expected, "{said:?} {trusted}");
    }
}

#[test]
fn what_a_certificate_says_is_told_so_that_nobody_reads_more_into_it() {
    let client = |subject: &str, uri: &str| Client {
        hash: "00ff".to_owned(),
        subject: subject.to_owned(),
        uris: vec![uri.to_owned()],
    };
    let told = certified(&client("CN=a", "spiffe://cluster.local/ns/shop/sa/a"));
    assert_eq!(told, r#"Hash=00ff;Subject="CN=a";URI=spiffe://cluster.local/ns/shop/sa/a"#);
    let told = certified(&client(r#"CN=a";URI=b\"#, "spiffe://x,Hash=1;Subject=2"));
    assert_eq!(told, r#"Hash=00ff;Subject="CN=a\";URI=b\\";URI=spiffe://x%Hash=1%Subject=2"#);
}

#[test]
fn what_nobody_from_outside_may_say_is_not_believed() {
    let said =
        [("host", "a"), ("x-envoy-retry-on", "5xx"), ("x-envoy-internal", "true"), ("x-forwarded-proto", "https")];
    for (trusted, scheme) in [(0, "http"), (1, "https")] {
        let mut head = get(&said);
        assert_eq!(come_from_outside(&mut head, "http", trusted), scheme);
        assert!(head.headers.keys().all(|name| !name.as_str().starts_with("x-envoy-")), "{:?}", head.headers);
    }
    let mut head =
        get(&[("host", "a"), ("connection", "upgrade"), ("upgrade", "h2c, x"), ("http2-settings", "AAMAAABk")]);
    assert_eq!(receive(&mut head).ok().unwrap().upgrade, None);
    assert!(!head.headers.contains_key("http2-settings"));
}
