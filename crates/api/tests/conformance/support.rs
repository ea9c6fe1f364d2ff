//! A VirtualService of `shop`, and requests to its host.

use std::collections::BTreeMap;
use std::sync::Arc;

use ambit_api::{Kind, Object, Resource, translate};
use ambit_model::Mesh;
use ambit_model::route::{
    Action, Addressed, Arrival, Client, Draw, Forward, Gateway, Matched, Outcome, Request, Routes, VirtualService,
};
use serde_json::{Value, json};

/// The host that most of these are for.
pub(crate) const HOST: &str = "reviews.shop.svc.cluster.local";

/// The VirtualService `name` of `namespace`.
pub(crate) fn read(namespace: &str, name: &str, spec: Value) -> Arc<VirtualService> {
    let object = json!({"metadata": {"namespace": namespace, "name": name}, "spec": spec});
    let object = Object::read(Kind::VirtualService, object).unwrap();
    match translate(&object, &Mesh::default()).unwrap().resource {
        Resource::VirtualService(service) => service,
        other => panic!("{other:?}"),
    }
}

/// The routes of several.
pub(crate) fn routes_of(services: impl IntoIterator<Item = Arc<VirtualService>>) -> Routes {
    let mut routes = Routes::default();
    for service in services {
        assert!(routes.set(&service.key.clone(), Some(service)));
    }
    routes
}

/// The routes of one for `reviews` of `shop`, with these rules.
pub(crate) fn routes(http: Value) -> Routes {
    routes_of([read("shop", "routes", json!({"hosts": ["reviews"], "http": http}))])
}

/// A rule that leads to `subset`.
pub(crate) fn to(subset: &str) -> Value {
    json!([{"destination": {"host": "reviews", "subset": subset}}])
}

/// A request.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) method: &'static str,
    pub(crate) scheme: &'static str,
    pub(crate) authority: &'static str,
    pub(crate) path: &'static str,
    pub(crate) fields: Vec<(&'static str, &'static str)>,
    pub(crate) port: u16,
    pub(crate) gateway: Gateway,
    pub(crate) labels: Option<BTreeMap<Arc<str>, Arc<str>>>,
    pub(crate) namespace: Option<&'static str>,
}

/// A GET of `path` by a client outside the mesh.
pub(crate) fn get(path: &'static str) -> Call {
    Call {
        method: "GET",
        scheme: "http",
        authority: "reviews",
        path,
        fields: Vec::new(),
        port: 9080,
        gateway: Gateway::Mesh,
        labels: None,
        namespace: None,
    }
}

impl Call {
    /// With this field.
    pub(crate) fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.fields.push((name, value));
        self
    }

    /// From a workload of `namespace` with the label `app`.
    pub(crate) fn from(mut self, namespace: &'static str, app: &str) -> Self {
        self.labels = Some(BTreeMap::from([(Arc::from("app"), Arc::from(app))]));
        self.namespace = Some(namespace);
        self
    }

    pub(crate) fn request(&self) -> Request<'_, [(&'static str, &'static str)]> {
        let client = Client { labels: self.labels.as_ref(), namespace: self.namespace };
        Request {
            arrival: Arrival { gateway: &self.gateway, port: self.port, client },
            method: self.method,
            scheme: self.scheme,
            authority: self.authority,
            path: self.path,
            claims: None,
            fields: &self.fields,
        }
    }

    /// What becomes of it, `number` being what is drawn from.
    pub(crate) fn by<'a>(&'a self, routes: &'a Routes, number: u64) -> Outcome<'a> {
        routes.http(Addressed { host: HOST, viewer: "shop", owner: None, from: None }, &self.request(), Draw(number))
    }

    /// The subset that it goes to: `404` for none, `-` where no VirtualService says.
    pub(crate) fn subset(&self, routes: &Routes) -> String {
        match self.by(routes, 0) {
            Outcome::Unrouted => "-".to_owned(),
            Outcome::NoRoute => "404".to_owned(),
            Outcome::Matched(matched) => match matched.action {
                Action::Forward(forward) => forward.destination.subset.as_deref().unwrap_or_default().to_owned(),
                other => format!("{other:?}"),
            },
        }
    }
}

/// The route that was matched.
pub(crate) fn matched(outcome: Outcome<'_>) -> Matched<'_> {
    match outcome {
        Outcome::Matched(matched) => *matched,
        other => panic!("{other:?}"),
    }
}

/// Where the request goes on to.
pub(crate) fn forward(outcome: Outcome<'_>) -> Forward<'_> {
    match matched(outcome).action {
        Action::Forward(forward) => forward,
        other => panic!("{other:?}"),
    }
}
