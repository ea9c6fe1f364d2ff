//! What HTTPRoutes and GRPCRoutes that are attached to services mean, one row for each behaviour, written from the text of
//! the Gateway API (v1 `HTTPRoute`, `GRPCRoute`, `ReferenceGrant`; GEP-1426): from the objects as they are written to what
//! becomes of a request.

use ambit_model::route::{
    Action, Addressed, Arrival, Client, Draw, Forward, Gateway, Matched, Operation, Outcome, Request,
};

use super::*;

mod attaching;
mod filters;
mod matching;

const HOST: &str = "reviews.shop.svc.cluster.local";

/// A Service of `namespace` with the ports 9080 and 9090.
fn service(namespace: &str, name: &str) -> String {
    format!(
        "---\n{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: {namespace}}}, spec: {{clusterIP: None, \
         ports: [{{name: http, port: 9080}}, {{name: http-admin, port: 9090}}]}}}}\n"
    )
}

/// A route of `shop` made at `created` that is attached to `reviews`, with these rules.
fn route(kind: &str, name: &str, created: &str, rules: &str) -> String {
    attached(kind, ("shop", name, created), "{group: \"\", kind: Service, name: reviews}", rules)
}

fn attached(kind: &str, (namespace, name, created): (&str, &str, &str), parent: &str, rules: &str) -> String {
    format!(
        "---\n{{apiVersion: gateway.networking.k8s.io/v1, kind: {kind}, metadata: {{name: {name}, namespace: {namespace}, \
         creationTimestamp: \"{created}\"}}, spec: {{parentRefs: [{parent}], rules: [{rules}]}}}}\n"
    )
}

/// A rule that leads to the Service `to`.
fn rule(matches: &str, to: &str) -> String {
    format!("{{matches: [{matches}], backendRefs: [{{name: {to}, port: 9080}}]}}")
}

/// Services of `shop`, and the HTTPRoute with these rules.
fn mesh(rules: &str) -> Index {
    let services = ["reviews", "a", "b", "c"].map(|name| service("shop", name)).concat();
    joined(&(services + &route("HTTPRoute", "routes", "2025-01-01T00:00:00Z", rules)))
}

/// A request.
#[derive(Clone)]
struct Call {
    method: &'static str,
    path: &'static str,
    fields: Vec<(&'static str, &'static str)>,
    port: u16,
    namespace: &'static str,
    draw: u64,
}

fn get(path: &'static str) -> Call {
    Call { method: "GET", path, fields: Vec::new(), port: 9080, namespace: "shop", draw: 0 }
}

impl Call {
    fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.fields.push((name, value));
        self
    }

    /// Hands what becomes of it to `look`.
    fn by<T>(&self, index: &Index, look: impl FnOnce(Outcome<'_>, &Request<'_, [(&str, &str)]>) -> T) -> T {
        let snapshot = index.snapshot();
        let client = Client { labels: None, namespace: Some(self.namespace) };
        let request = Request {
            arrival: Arrival { gateway: &Gateway::Mesh, port: self.port, client },
            method: self.method,
            scheme: "http",
            authority: "reviews:9080",
            path: self.path,
            claims: None,
            fields: &self.fields[..],
        };
        let addressed = Addressed { host: HOST, viewer: "shop", owner: Some("shop"), from: None };
        look(snapshot.routes.http(addressed, &request, Draw(self.draw)), &request)
    }

    /// What becomes of it, in a word: the Service that it goes to, with its namespace where that is not `shop`, or the
    /// status that it is answered; `-` where no route says.
    fn to(&self, index: &Index) -> String {
        self.by(index, |outcome, _| match outcome {
            Outcome::Unrouted => "-".to_owned(),
            Outcome::NoRoute => "404".to_owned(),
            Outcome::Matched(matched) => match matched.action {
                Action::Forward(Forward { destination, .. }) => {
                    let host = destination.host.as_str();
                    let name = host.strip_suffix(".svc.cluster.local").unwrap_or(host);
                    name.strip_suffix(".shop").unwrap_or(name).to_owned()
                }
                Action::Respond(direct) => direct.status.to_string(),
                Action::Redirect { code, location } => format!("{code} {location}"),
            },
        })
    }

    /// Hands how it goes on to `look`.
    fn forwarded<T>(&self, index: &Index, look: impl FnOnce(&Matched<'_>, &Forward<'_>) -> T) -> T {
        self.by(index, |outcome, _| match outcome {
            Outcome::Matched(matched) => match &matched.action {
                Action::Forward(forward) => look(&matched, forward),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        })
    }
}

/// How many of a thousand such requests become what.
fn shares(index: &Index, call: &Call) -> BTreeMap<String, u32> {
    let mut shares = BTreeMap::new();
    for draw in 0..1000 {
        *shares.entry(Call { draw, ..call.clone() }.to(index)).or_default() += 1;
    }
    shares
}

/// True if `count` of a thousand is what so many of a hundred gives, within five standard deviations.
fn is_near(count: u32, percent: f64) -> bool {
    let share = percent / 100.0;
    (f64::from(count) - 1000.0 * share).abs() <= 5.0 * (1000.0 * share * (1.0 - share)).sqrt()
}

/// What is found, as object, field and message.
fn found(index: &Index) -> Vec<String> {
    let told = |finding: &Finding| format!("{} {} {}", finding.object, finding.field.path, finding.field.message);
    index.findings().iter().map(told).collect()
}
