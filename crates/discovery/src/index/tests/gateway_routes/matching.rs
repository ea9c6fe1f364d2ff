//! Which requests a rule is for, and which of several rules counts.

use super::*;

#[test]
fn a_match_asks_what_the_api_says() {
    let rules = [
        rule("{path: {type: Exact, value: /exact}}", "a"),
        rule("{path: {type: PathPrefix, value: /foo}}", "a"),
        rule("{path: {type: PathPrefix, value: /bar/}}", "a"),
        rule("{path: {type: RegularExpression, value: '/r/[0-9]+'}}", "a"),
        rule("{path: {value: /header}, headers: [{name: Version, value: one}]}", "a"),
        rule("{path: {value: /header}, headers: [{name: version, type: RegularExpression, value: 't.*'}]}", "b"),
        rule("{path: {value: /twice}, headers: [{name: v, value: one}, {name: V, value: two}]}", "a"),
        rule("{path: {value: /both}, headers: [{name: v, value: one}, {name: w, value: two}]}", "a"),
        rule("{path: {value: /query}, queryParams: [{name: animal, value: whale}]}", "a"),
        rule("{path: {value: /query}, queryParams: [{name: animal, type: RegularExpression, value: 'dol.*'}]}", "b"),
        rule("{path: {value: /method}, method: POST}", "a"),
        rule("{path: {value: /either}, method: POST}, {path: {value: /either}, method: PUT}", "a"),
    ];
    let index = mesh(&rules.join(", "));
    let method = |method, path| Call { method, ..get(path) };
    for (call, expected) in [
        (get("/exact"), "a"),
        (get("/exact?a=b"), "a"),
        (get("/exact/"), "404"),
        (get("/Exact"), "404"),
        // By elements of the path, a slash at the end making no difference.
        (get("/foo"), "a"),
        (get("/foo/"), "a"),
        (get("/foo/x"), "a"),
        (get("/foo?x"), "a"),
        (get("/foobar"), "404"),
        (get("/FOO"), "404"),
        (get("/bar"), "a"),
        (get("/bar/x"), "a"),
        (get("/barn"), "404"),
        (get("/r/17"), "a"),
        (get("/r/17/x"), "404"),
        (get("/header").with("version", "one"), "a"),
        (get("/header").with("VERSION", "one"), "a"),
        (get("/header").with("version", "two"), "b"),
        (get("/header").with("version", "One"), "404"),
        (get("/header"), "404"),
        // Of two for one name the first counts.
        (get("/twice").with("v", "one"), "a"),
        (get("/twice").with("v", "two"), "404"),
        (get("/both").with("v", "one").with("w", "two"), "a"),
        (get("/both").with("v", "one"), "404"),
        (get("/query?animal=whale"), "a"),
        (get("/query?animal=dolphin"), "b"),
        (get("/query?animal=cat"), "404"),
        (get("/query?a=b&animal=whale"), "a"),
        (get("/query"), "404"),
        (method("POST", "/method"), "a"),
        (get("/method"), "404"),
        (method("POST", "/either"), "a"),
        (method("PUT", "/either"), "a"),
        (get("/either"), "404"),
        // What no rule is for is answered, and not let through.
        (get("/"), "404"),
    ] {
        assert_eq!(call.to(&index), expected, "{} {} {:?}", call.method, call.path, call.fields);
    }
}

#[test]
fn a_rule_without_matches_is_for_every_request() {
    let index = mesh("{backendRefs: [{name: a, port: 9080}]}");
    assert_eq!([get("/").to(&index), get("/x/y?z").to(&index)], ["a", "a"]);
    // A route without rules has one for every request, which leads nowhere.
    assert_eq!(get("/").to(&mesh("")), "500");
}

#[test]
fn of_several_matches_the_closest_counts_wherever_it_stands() {
    let exact = "{path: {type: Exact, value: /one/two}}";
    let (short, long) = ("{path: {value: /one}}", "{path: {value: /one/two}}");
    let regex = "{path: {type: RegularExpression, value: '/o.*'}}";
    let method = "{path: {value: /one/two}, method: GET}";
    let one_header = "{path: {value: /one/two}, headers: [{name: v, value: x}]}";
    let two_headers = "{path: {value: /one/two}, headers: [{name: v, value: x}, {name: w, value: u}]}";
    let parameter = "{path: {value: /one/two}, queryParams: [{name: q, value: z}]}";
    let two_parameters = "{path: {value: /one/two}, queryParams: [{name: q, value: z}, {name: p, value: z}]}";
    let call = get("/one/two?q=z&p=z").with("v", "x").with("w", "u");
    for (less, more) in [
        ("{path: {value: /}}", short),
        (short, long),
        (long, exact),
        // One that says more of the rest is not closer than a longer path.
        ("{path: {value: /one}, method: GET, headers: [{name: v, value: x}, {name: w, value: u}]}", long),
        (two_headers, exact),
        (long, method),
        (two_headers, method),
        (long, one_header),
        (one_header, two_headers),
        (two_parameters, one_header),
        (long, parameter),
        (parameter, two_parameters),
        // Which the API leaves open: an expression is behind prefixes, and ahead of the one that is for everything.
        (regex, short),
        ("{path: {value: /}}", regex),
    ] {
        for rules in [[rule(less, "a"), rule(more, "b")], [rule(more, "b"), rule(less, "a")]] {
            assert_eq!(call.to(&mesh(&rules.join(", "))), "b", "{less} {more}");
        }
        // Of matches of one rule, too: each is for itself.
        let together = [rule(&format!("{less}, {{path: {{value: /elsewhere}}}}"), "a"), rule(more, "b")];
        assert_eq!(call.to(&mesh(&together.join(", "))), "b", "{less} {more}");
    }
    assert_eq!(call.to(&mesh(&[rule(long, "a"), rule(long, "b")].join(", "))), "a", "the first of two that tie");
}

#[test]
fn of_several_routes_that_tie_the_oldest_counts_and_then_the_first_by_name() {
    let services = ["reviews", "a", "b", "c"].map(|name| service("shop", name)).concat();
    let of = |name: &str, created: &str, matches: &str, to: &str| route("HTTPRoute", name, created, &rule(matches, to));
    let (old, young) = ("2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z");
    for (routes, expected) in [
        ([of("p", young, "", "a"), of("q", old, "", "b")], "b"),
        ([of("p", old, "", "a"), of("q", young, "", "b")], "a"),
        ([of("q", old, "", "a"), of("p", old, "", "b")], "b"),
        // What matches more closely counts however young it is.
        ([of("p", old, "", "a"), of("q", young, "{path: {value: /one}}", "b")], "b"),
    ] {
        let index = joined(&(services.clone() + &routes.concat()));
        assert_eq!(get("/one").to(&index), expected, "{routes:?}");
    }
}

#[test]
fn calls_of_grpc_are_told_by_service_and_method() {
    let grpc = |matches: &str, to: &str| rule(&format!("{{{matches}}}"), to);
    let rules = [
        grpc("method: {service: shop.Reviews, method: List}", "a"),
        grpc("method: {service: shop.Reviews}", "b"),
        grpc("method: {method: Ping}", "c"),
        grpc("method: {type: RegularExpression, service: 'shop[.](Cart|Till)', method: 'Add.*'}", "a"),
        grpc("headers: [{name: tier, value: gold}]", "b"),
    ];
    let services = ["reviews", "a", "b", "c"].map(|name| service("shop", name)).concat();
    let index = joined(&(services + &route("GRPCRoute", "calls", "2025-01-01T00:00:00Z", &rules.join(", "))));
    let call = |path| Call { method: "POST", ..get(path) }.with("content-type", "application/grpc");
    for (call, expected) in [
        (call("/shop.Reviews/List"), "a"),
        (call("/shop.Reviews/Get"), "b"),
        (call("/shop.ReviewsX/Get"), "404"),
        (call("/other.Service/Ping"), "c"),
        // More characters of the service come before those of the method.
        (call("/shop.Reviews/Ping"), "b"),
        (call("/shop.Cart/AddItem"), "a"),
        (call("/shop.Cart/Remove"), "404"),
        (call("/x/y").with("tier", "gold"), "b"),
    ] {
        assert_eq!(call.to(&index), expected, "{} {:?}", call.path, call.fields);
    }
}

#[test]
fn rules_have_the_names_that_istio_gives_them() {
    let named = format!(
        "{{name: mine, matches: [{{path: {{value: /mine}}}}], backendRefs: [{{name: a, port: 9080}}]}}, {}",
        rule("", "a")
    );
    let index = mesh(&named);
    let name = |path| get(path).forwarded(&index, |matched, _| matched.name.to_string());
    assert_eq!([name("/mine"), name("/")], ["mine", "shop.routes.1"]);
}
