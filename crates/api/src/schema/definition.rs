//! CustomResourceDefinitions: how the mesh's own kinds are served, called and listed. Gateway API's are its users' to
//! install, and Kubernetes' own are there.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::{
    Schema, destination_rule, istio_gateway, object, peer, policy, request_authentication, service_entry, status,
    virtual_service, workload_entry,
};
use crate::kind::Kind;

/// How a kind is served (apiextensions.k8s.io/v1 CustomResourceDefinition). It serialises as the object that is applied.
#[derive(Clone, Debug)]
pub struct Definition {
    /// The kind.
    pub kind: Kind,
    /// Its name in paths.
    pub plural: &'static str,
    /// What `kubectl get` takes for it.
    pub short: &'static str,
    /// What `kubectl get` shows of it.
    pub columns: Vec<Column>,
    /// What its objects may look like.
    pub schema: Schema,
}

/// A column of `kubectl get`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Column {
    /// Its heading.
    pub name: &'static str,
    /// `string` or `date`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// What is shown.
    pub json_path: &'static str,
    /// What that is.
    pub description: &'static str,
}

impl Definition {
    /// Every kind of the mesh's own that it acts on.
    #[must_use]
    pub fn all() -> Vec<Self> {
        Kind::ALL.into_iter().filter_map(Self::of).collect()
    }

    /// How `kind` is served; none if it is not for the mesh to define.
    #[must_use]
    pub fn of(kind: Kind) -> Option<Self> {
        let (plural, short, spec, columns): (_, _, fn() -> Schema, _) = match kind {
            Kind::VirtualService => {
                ("virtualservices", "vs", virtual_service::spec, vec![gateways(), hosts("What it is for"), age()])
            }
            Kind::DestinationRule => {
                let host = column("Host", ".spec.host", "The service that it is for");
                ("destinationrules", "dr", destination_rule::spec, vec![host, age()])
            }
            Kind::IstioGateway => ("gateways", "gw", istio_gateway::spec, vec![age()]),
            Kind::ServiceEntry => {
                let location = column("Location", ".spec.location", "Whether it is part of the mesh");
                let resolution = column("Resolution", ".spec.resolution", "How its addresses are found");
                let columns = vec![hosts("What it declares"), location, resolution, age()];
                ("serviceentries", "se", service_entry::spec, columns)
            }
            Kind::WorkloadEntry => {
                let address = column("Address", ".spec.address", "Where it is");
                ("workloadentries", "we", workload_entry::spec, vec![age(), address])
            }
            Kind::PeerAuthentication => {
                let mode = column("Mode", ".spec.mtls.mode", "Whether clear text is taken");
                ("peerauthentications", "pa", peer::spec, vec![mode, age()])
            }
            Kind::AuthorizationPolicy => {
                let action = column("Action", ".spec.action", "What becomes of what its rules describe");
                ("authorizationpolicies", "ap", policy::spec, vec![action, age()])
            }
            Kind::RequestAuthentication => ("requestauthentications", "ra", request_authentication::spec, vec![age()]),
            _ => return None,
        };
        let schema = object("", [("spec", spec()), ("status", status::status())]);
        // A policy may say nothing, and then is for everything; of the others it is `translate` that refuses it.
        let may_be_bare = matches!(kind, Kind::VirtualService | Kind::DestinationRule | Kind::IstioGateway)
            || matches!(kind, Kind::PeerAuthentication | Kind::AuthorizationPolicy | Kind::RequestAuthentication);
        let schema = if may_be_bare { schema } else { schema.needs(&["spec"]) };
        Some(Self { kind, plural, short, columns, schema })
    }

    /// Its API group.
    #[must_use]
    pub fn group(&self) -> &'static str {
        self.api_versions().first().map_or("", |(group, _)| group)
    }

    /// The versions that are served; the first one is stored.
    #[must_use]
    pub fn versions(&self) -> Vec<&'static str> {
        self.api_versions().into_iter().map(|(_, version)| version).collect()
    }

    /// The definition's own name: `<plural>.<group>`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}.{}", self.plural, self.group())
    }

    fn api_versions(&self) -> Vec<(&'static str, &'static str)> {
        self.kind.versions().iter().filter_map(|version| version.split_once('/')).collect()
    }
}

impl Serialize for Definition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let group = self.group();
        let kind = self.kind.as_str();
        let category = group.replace('.', "-");
        let names = Names {
            kind,
            list_kind: format!("{kind}List"),
            plural: self.plural,
            singular: kind.to_ascii_lowercase(),
            short_names: [self.short],
            categories: ["istio-io", &category],
        };
        let versions = self.versions().into_iter().enumerate().map(|(place, name)| Version {
            name,
            served: true,
            storage: place == 0,
            additional_printer_columns: &self.columns,
            subresources: Subresources { status: Nothing {} },
            schema: Validation { open_apiv3_schema: &self.schema },
        });
        let spec = Spec { group, names, scope: "Namespaced", versions: versions.collect() };
        let mut map = serializer.serialize_map(Some(4))?;
        map.serialize_entry("apiVersion", "apiextensions.k8s.io/v1")?;
        map.serialize_entry("kind", "CustomResourceDefinition")?;
        map.serialize_entry("metadata", &Metadata { name: self.name(), labels: Labels { part_of: "ambit" } })?;
        map.serialize_entry("spec", &spec)?;
        map.end()
    }
}

#[derive(Serialize)]
struct Metadata {
    name: String,
    labels: Labels,
}

#[derive(Serialize)]
struct Labels {
    #[serde(rename = "app.kubernetes.io/part-of")]
    part_of: &'static str,
}

#[derive(Serialize)]
struct Spec<'a> {
    group: &'a str,
    names: Names<'a>,
    scope: &'a str,
    versions: Vec<Version<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Names<'a> {
    kind: &'a str,
    list_kind: String,
    plural: &'a str,
    singular: String,
    short_names: [&'a str; 1],
    categories: [&'a str; 2],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Version<'a> {
    name: &'a str,
    served: bool,
    storage: bool,
    additional_printer_columns: &'a [Column],
    subresources: Subresources,
    schema: Validation<'a>,
}

#[derive(Serialize)]
struct Subresources {
    status: Nothing,
}

#[derive(Serialize)]
struct Nothing {}

#[derive(Serialize)]
struct Validation<'a> {
    #[serde(rename = "openAPIV3Schema")]
    open_apiv3_schema: &'a Schema,
}

fn column(name: &'static str, json_path: &'static str, description: &'static str) -> Column {
    Column { name, kind: "string", json_path, description }
}

fn gateways() -> Column {
    column("Gateways", ".spec.gateways", "Where it applies")
}

fn hosts(description: &'static str) -> Column {
    column("Hosts", ".spec.hosts", description)
}

fn age() -> Column {
    Column { kind: "date", ..column("Age", ".metadata.creationTimestamp", "When it was made") }
}
