//! The cluster, as a user's kubeconfig reaches it. Thin: asks, and says what came of it.

pub(crate) mod forward;
pub(crate) mod pods;

use std::path::Path;
use std::time::Duration;

use ambit_api::Kind;
use kube::api::{Api, DynamicObject, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::ApiResource;
use kube::{Client, Config};

use crate::error::{Error, causes};
use crate::settings::Reach;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);

/// A cluster.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) client: Client,
    /// The namespace that is meant: the flag's, else the context's.
    pub(crate) namespace: String,
    /// True if the flag says so.
    pub(crate) is_said: bool,
    /// Where the mesh is installed.
    pub(crate) home: String,
}

impl Cluster {
    /// The cluster that `reach` names. Nothing is asked yet.
    ///
    /// # Errors
    /// Where nobody says how it is reached, or not well.
    pub(crate) async fn open(reach: &Reach) -> Result<Self, Error> {
        let options = KubeConfigOptions { context: reach.context.clone(), ..KubeConfigOptions::default() };
        let kubeconfig = match &reach.kubeconfig {
            Some(files) => named(files)?,
            None => Kubeconfig::read().map_err(|error| Error::NoCluster(causes(&error)))?,
        };
        let proxied =
            kubeconfig.clusters.iter().filter_map(|named| named.cluster.as_ref()).any(|c| c.proxy_url.is_some());
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
        let mut config = config.map_err(|error| Error::NoCluster(causes(&error)))?;
        if !proxied {
            // The environment's proxy is for the world outside.
            config.proxy_url = None;
        }
        config.default_retry = false;
        config.connect_timeout = Some(CONNECT);
        let namespace = reach.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).map_err(|error| Error::NoCluster(causes(&error)))?;
        let home = reach.istio_namespace.clone();
        Ok(Self { client, namespace, is_said: reach.namespace.is_some(), home })
    }

    /// The objects of `resource` in `namespace`.
    pub(crate) fn within(&self, namespace: &str, resource: &ApiResource) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, resource)
    }

    /// The objects of `resource` in all namespaces, or in none.
    pub(crate) fn all(&self, resource: &ApiResource) -> Api<DynamicObject> {
        Api::all_with(self.client.clone(), resource)
    }

    /// `kind` in the version that this cluster serves.
    ///
    /// # Errors
    /// Where it serves none, with what to install; or the API does not say.
    pub(crate) async fn served(&self, kind: Kind) -> Result<ApiResource, Error> {
        let what = format!("whether this cluster serves {kind}");
        let found = ambit_discovery::resource_of(&self.client, kind).await.map_err(|error| Error::api(what, &error))?;
        found.ok_or_else(|| {
            let group = kind.versions().first().and_then(|version| version.split('/').next()).unwrap_or_default();
            Error::Unmet(format!(
                "this cluster does not serve {kind} ({group}): install the CRDs of the Gateway API (its standard channel, \
                 https://gateway-api.sigs.k8s.io), and try again"
            ))
        })
    }

    /// The objects that `wanted` lists, of `namespace` or of all of them, by namespace and name.
    ///
    /// # Errors
    /// What the API says.
    pub(crate) async fn list(
        &self,
        namespace: Option<&str>,
        resource: &ApiResource,
        wanted: &ListParams,
    ) -> Result<Vec<DynamicObject>, Error> {
        let (api, place) = match namespace {
            Some(namespace) => (self.within(namespace, resource), format!("namespace {namespace}")),
            None => (self.all(resource), "all namespaces".to_owned()),
        };
        let what = format!("list {} of {place}", resource.plural);
        let mut objects = api.list(wanted).await.map_err(|error| Error::api(what, &error))?.items;
        let key = |object: &DynamicObject| (object.metadata.namespace.clone(), object.metadata.name.clone());
        objects.sort_by_key(key);
        Ok(objects)
    }
}

/// The kubeconfig that `files` make, with a colon between them: of what several say, the first one's counts.
fn named(files: &str) -> Result<Kubeconfig, Error> {
    let mut all = Kubeconfig::default();
    for file in files.split(':').filter(|file| !file.is_empty()) {
        let unusable = |error: &dyn std::error::Error| Error::NoCluster(format!("{file}: {}", causes(error)));
        let read = Kubeconfig::read_from(Path::new(file)).map_err(|error| unusable(&error))?;
        all = all.merge(read).map_err(|error| unusable(&error))?;
    }
    Ok(all)
}
