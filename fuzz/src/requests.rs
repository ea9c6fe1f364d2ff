//! What the target of requests feeds: the head of a request, to what settles its path, to routes and to policies.

use std::sync::OnceLock;

use ambit_api::{Kind, Object, Resource, translate};
use ambit_model::policy::{self, Client, Head, PolicyKey, RequestAccess, evaluate_request};
use ambit_model::route::{self, Addressed, Arrival, Draw, Gateway, Normalization, Outcome, Request, Routes, normalize};
use ambit_model::{Mesh, ServiceKey, Snapshot};
use serde_json::json;

const HOST: &str = "reviews.shop.svc.cluster.local";
const MODES: [Normalization; 4] =
    [Normalization::None, Normalization::Base, Normalization::MergeSlashes, Normalization::DecodeAndMergeSlashes];

/// Reads `bytes` as lines: method, authority and path, and then header fields. True if a route matches.
pub fn head(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.lines();
    let mut words = lines.next().unwrap_or_default().splitn(3, ' ');
    let mut word = || words.next().unwrap_or_default();
    let (method, authority, path) = (word(), word(), word());
    let fields: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(':')).collect();
    let mut matched = false;
    for mode in MODES {
        let Ok(settled) = normalize(path, mode) else { continue };
        assert_eq!(normalize(&settled, mode).as_deref(), Ok(&*settled), "settled once, it is settled: {path:?}");
        matched |= carry(&fields[..], (method, authority, &settled));
    }
    matched
}

fn carry(fields: &[(&str, &str)], (method, authority, path): (&str, &str, &str)) -> bool {
    let mesh = mesh();
    let arrival = Arrival { gateway: &Gateway::Mesh, port: 9080, client: route::Client::default() };
    let request = Request { arrival, method, scheme: "http", authority, path, claims: None, fields };
    let addressed = Addressed { host: HOST, viewer: "shop", owner: Some("shop"), from: None };
    let outcome = mesh.routes.http(addressed, &request, Draw(7));
    assert_eq!(outcome, mesh.routes.http(addressed, &request, Draw(7)), "it is told the same again");
    let attached = policy::Addressed::new(
        &mesh.mesh,
        &PolicyKey::new("shop", "waypoint"),
        &policy::WAYPOINT_CLASSES,
        Some(&ServiceKey::new("shop", "reviews")),
    );
    let identity = "spiffe://cluster.local/ns/shop/sa/client".parse();
    let (Ok(identity), Ok(client), Ok(destination)) = (identity, "10.0.0.1".parse(), "10.96.0.1:9080".parse()) else {
        return false;
    };
    let client = Client::Proven(client, identity);
    let head = Head { method, authority, path, claims: None, fields };
    let access = RequestAccess { client: &client, remote: None, destination, sni: None, head: Some(head) };
    let refused = evaluate_request(mesh, &attached, &access).is_err();
    // Whatever was settled, the one rule that there is sees it.
    if path.split(['?', '#']).next() == Some("/admin") {
        assert!(refused, "{path:?} is not seen to be /admin");
    }
    matches!(outcome, Outcome::Matched(_))
}

/// Routes of every kind of match, and a policy.
fn mesh() -> &'static Snapshot {
    static MESH: OnceLock<Snapshot> = OnceLock::new();
    MESH.get_or_init(|| {
        let (mut snapshot, mut routes) = (Snapshot::new(Mesh::default()), Routes::default());
        let to = json!([{"destination": {"host": "reviews"}}]);
        let rules = json!({"hosts": ["reviews"], "http": [
            {"match": [{"uri": {"regex": "^(/.*?;? ?)?(x+)*$"}, "headers": {"cookie": {"regex": "^(.*?; ?)?(f=on)(;.*)?$"}}}], "route": to},
            {"match": [{"uri": {"prefix": "/a"}, "ignoreUriCase": true, "queryParams": {"q": {"exact": "1"}}}], "redirect": {"uri": "/b"}},
            {"match": [{"withoutHeaders": {"h": {"prefix": "v"}}, "method": {"exact": "GET"}}], "rewrite": {"uriRegexRewrite": {"match": "/(.)(.*)", "rewrite": "/\\2\\1"}}, "route": to},
            {"match": [{"authority": {"prefix": "r"}, "uri": {"prefix": "/r"}}], "rewrite": {"uri": "/"}, "route": to, "corsPolicy": {"allowOrigins": [{"regex": ".*"}]}},
        ]});
        let deny = json!({"targetRefs": [{"kind": "Service", "name": "reviews"}], "action": "DENY", "rules": [
            {"to": [{"operation": {"paths": ["/admin", "/x/{*}/y/{**}"]}}]},
            {"to": [{"operation": {"hosts": ["evil*"]}}], "when": [{"key": "request.headers[h]", "values": ["*v"]}]},
        ]});
        for (kind, spec) in [(Kind::VirtualService, rules), (Kind::AuthorizationPolicy, deny)] {
            let object = json!({"metadata": {"namespace": "shop", "name": "all"}, "spec": spec});
            let object = Object::read(kind, &object).expect("it is an object");
            match translate(&object, &Mesh::default()).expect("it is right").resource {
                Resource::VirtualService(service) => drop(routes.set(&service.key.clone(), Some(service))),
                Resource::AuthorizationPolicy(policy) => {
                    snapshot.policies.set_authorization(&policy.key.clone(), Some(policy));
                }
                _ => {}
            }
        }
        snapshot.routes = routes;
        snapshot
    })
}
