//! What is said of the mesh's objects in their status, on a real API server (F-09, F-10, F-15, G-03, G-06, P-05, R-06).

use ambit_tests::until;
use serde_json::{Value, json};

use crate::support::{Controller, SOON, World};

fn world() -> (World, Controller) {
    let world = World::new();
    world.namespace("shop");
    let controller = world.start("one", &["--waypoint-image", "localhost/none:1"]);
    controller.process.wait_line("this controller writes", SOON).unwrap();
    (world, controller)
}

fn apply(world: &World, manifests: &str) {
    let objects: Vec<Value> =
        manifests.split("\n---\n").map(|document| ambit_discovery::read_yaml(document).unwrap()).collect();
    world.kubectl().apply(&objects).unwrap();
}

/// The status of the object once `condition` holds of it.
fn once(world: &World, what: (&str, &str), condition: impl Fn(&Value) -> bool) -> Value {
    let (mut seen, (kind, name)) = (None, what);
    let met = until(SOON, || {
        seen = world.kubectl().get(&[kind, name, "-n", "shop"]).ok().map(|object| object["status"].clone());
        seen.as_ref().is_some_and(&condition)
    });
    met.unwrap_or_else(|_| panic!("{kind} {name} is {seen:#?}"));
    seen.unwrap()
}

/// Of this condition, `STATUS REASON`.
fn of(conditions: &Value, kind: &str) -> String {
    let found = conditions.as_array().into_iter().flatten().find(|condition| condition["type"] == kind);
    let text = |one: &Value, field: &str| one[field].as_str().unwrap_or_default().to_owned();
    found.map(|one| format!("{} {}", text(one, "status"), text(one, "reason"))).unwrap_or_default()
}

const SERVICES: &str = "\
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop, labels: {istio.io/use-waypoint: waypoint}}
spec: {ports: [{name: http, port: 9080, protocol: TCP}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: outside, namespace: shop, labels: {istio.io/use-waypoint: waypoint}}
spec: {hosts: [api.example.com], ports: [{number: 443, name: tls, protocol: TLS}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wild, namespace: shop}
spec: {hosts: [\"*.example.com\"], ports: [{number: 443, name: tls, protocol: TLS}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: needs-http, namespace: shop}
spec: {rules: [{to: [{operation: {methods: [GET]}}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: of-reviews, namespace: shop}
spec: {targetRefs: [{kind: Service, name: reviews}], rules: [{to: [{operation: {methods: [GET]}}]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: shop}
spec: {hosts: [reviews], http: [{route: [{destination: {host: reviews}}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: reviews, namespace: shop}
spec:
  parentRefs: [{group: \"\", kind: Service, name: reviews}]
  rules: [{backendRefs: [{group: \"\", kind: Service, name: none-such, port: 9080, weight: 1}]}]";

const WAYPOINT: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: shop}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}";

const BOUND: &str = "istio.io/WaypointBound";
const MISSING: &str = "istio.io/WaypointMissing";

#[test]
fn what_becomes_of_objects_is_said_and_taken_back() {
    let (world, _controller) = world();
    world.kubectl().run(&["label", "namespace", "shop", "istio.io/use-waypoint=waypoint"]).unwrap();
    apply(&world, SERVICES);
    let bound = |what, expected: &str| once(&world, what, |status| of(&status["conditions"], BOUND) == expected);
    let objects = [("service", "reviews"), ("serviceentry", "outside"), ("namespace", "shop")];
    for what in objects {
        bound(what, "False WaypointIsNotReady");
    }
    let wild = ("serviceentry", "wild");
    once(&world, wild, |status| of(&status["conditions"], MISSING) == "True NoWaypointForWildcardService");
    let policy = |expected: &str| {
        once(&world, ("authorizationpolicy", "of-reviews"), |status| {
            of(&status["conditions"], "WaypointAccepted") == expected
        })
    };
    policy("False AncestorNotBound");
    let at_pods = once(&world, ("authorizationpolicy", "needs-http"), |status| {
        of(&status["conditions"], "ZtunnelAccepted") == "True UnsupportedValue"
    });
    let said = at_pods["conditions"][0]["message"].as_str().unwrap();
    assert!(said.contains("spec.rules[0]: operation.methods cannot be seen at layer 4"), "{said}");
    once(&world, ("virtualservice", "reviews"), |status| {
        of(&status["conditions"], "ambit.dev/InEffect") == "False NotInEffect"
    });

    apply(&world, WAYPOINT);
    for what in objects {
        let status = bound(what, "True WaypointAccepted");
        let found = status["conditions"].as_array().unwrap().iter().find(|one| one["type"] == BOUND).unwrap();
        assert_eq!(found["message"], "Successfully attached to waypoint shop/waypoint");
    }
    once(&world, wild, |status| of(&status["conditions"], MISSING).is_empty());
    bound(wild, "True WaypointAccepted");
    policy("True Accepted");
    let route = once(&world, ("httproute", "reviews"), |status| {
        of(&status["parents"][0]["conditions"], "Accepted") == "True Accepted"
    });
    assert_eq!(route["parents"][0]["controllerName"], "istio.io/mesh-controller");
    assert_eq!(of(&route["parents"][0]["conditions"], "ResolvedRefs"), "False BackendNotFound");
    // The route is attached, and holds in the place of the VirtualService.
    once(&world, ("virtualservice", "reviews"), |status| {
        of(&status["conditions"], "ambit.dev/InEffect") == "True WithWarnings"
    });
    world.kubectl().run(&["delete", "httproute", "reviews", "-n", "shop"]).unwrap();
    once(&world, ("virtualservice", "reviews"), |status| of(&status["conditions"], "ambit.dev/InEffect").is_empty());

    for (kind, name) in objects {
        world.kubectl().run(&["label", kind, name, "-n", "shop", "istio.io/use-waypoint-"]).unwrap();
    }
    for what in objects {
        bound(what, "");
    }
}

#[test]
fn what_is_said_is_written_once_and_what_others_say_stays() {
    let (world, controller) = world();
    apply(&world, SERVICES);
    let said = |status: &Value| of(&status["conditions"], "WaypointAccepted") == "False AncestorNotBound";
    once(&world, ("authorizationpolicy", "of-reviews"), said);
    let theirs = json!({"type": "Reconciled", "status": "True", "reason": "Theirs"});
    let before = once(&world, ("authorizationpolicy", "of-reviews"), said);
    let mut conditions = before["conditions"].as_array().unwrap().clone();
    conditions.push(theirs.clone());
    let mut object = world.kubectl().get(&["authorizationpolicy", "of-reviews", "-n", "shop"]).unwrap();
    object["status"]["conditions"] = json!(conditions);
    let path = "/apis/security.istio.io/v1/namespaces/shop/authorizationpolicies/of-reviews/status";
    world.kubectl().run_with(&["replace", "--raw", path, "-f", "-"], &object.to_string()).unwrap();
    apply(&world, WAYPOINT);
    let after = once(&world, ("authorizationpolicy", "of-reviews"), |status| {
        of(&status["conditions"], "WaypointAccepted") == "True Accepted"
    });
    assert_eq!(of(&after["conditions"], "Reconciled"), "True Theirs");

    // By the time that it is said of another, all has been looked at; and once more for a third.
    let another = |name: &str| {
        let policy = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: NAME, namespace: shop}\nspec: {}";
        apply(&world, &policy.replace("NAME", name));
        once(&world, ("authorizationpolicy", name), |status| {
            of(&status["conditions"], "ZtunnelAccepted") == "True Accepted"
        });
    };
    another("second");
    let mark = controller.process.mark();
    another("third");
    let lines = controller.process.lines();
    let of_policies = lines.iter().skip(mark).filter(|line| line.text.contains("status written"));
    let written: Vec<&str> = of_policies.map(|line| line.text.as_str()).collect();
    assert!(written.len() == 1 && written[0].contains("shop/third"), "{written:#?}");
}

#[test]
fn what_the_api_took_and_the_mesh_cannot_use_is_said_and_does_no_harm() {
    let (world, _controller) = world();
    let rule = |mode: &str| {
        let policy =
            "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: default, namespace: shop}";
        // Two of one port: the schema has nothing against it.
        apply(&world, &format!("{policy}\nspec: {{mtls: {{mode: STRICT}}, portLevelMtls: {{{mode}}}}}"));
    };
    rule("80: {mode: STRICT}");
    let refused = once(&world, ("peerauthentication", "default"), |status| {
        of(&status["conditions"], "ambit.dev/InEffect") == "False Invalid"
    });
    let said = refused["conditions"][0]["message"].as_str().unwrap();
    assert!(said.contains("spec.portLevelMtls: takes a selector"), "{said}");
    assert_eq!(refused["validationMessages"][0]["type"]["code"], "IST0106");
    let mended = json!([{"op": "remove", "path": "/spec/portLevelMtls"}]).to_string();
    let patch = ["patch", "peerauthentication", "default", "-n", "shop", "--type=json", "-p", &mended];
    world.kubectl().run(&patch).unwrap();
    once(&world, ("peerauthentication", "default"), |status| {
        of(&status["conditions"], "ambit.dev/InEffect").is_empty() && status["validationMessages"].is_null()
    });
}
