//! Brings about what a Gateway asks for: compares what is planned with what there is, writes what differs, and removes what is
//! no longer asked for. What belongs to somebody else is not touched; deleted with its Gateway it is by the API (its owner).

use std::collections::BTreeMap;
use std::sync::Arc;

use ambit_api::labels::GATEWAY_NAME;
use ambit_discovery::find_resource;
use ambit_discovery::resource;
use kube::ResourceExt;
use kube::api::{DeleteParams, DynamicObject, Preconditions};
use kube::core::ApiResource;
use kube::runtime::watcher;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tracing::{debug, info, warn};

use super::gateway::Gateway;
use super::plan::{GATEWAY_CLASS, Overlays, Part, Shape, overlays, plan};
use super::status::Outcome;
use crate::cluster::{Claim, Cluster, Why, apply, full_name};
use crate::followed::Followed;
use crate::json::{at, set};

/// Deploys waypoints.
pub(super) struct Deployer<'a> {
    cluster: &'a Cluster,
    shape: &'a Shape,
    /// Each part in the version that is served, with those there are; a part that is not served is not here.
    parts: BTreeMap<Part, (ApiResource, Followed)>,
    /// What was written, by the Gateway's UID.
    written: BTreeMap<(String, Part), Written>,
}

/// What was written. What is wanted is not compared with what there is: the API writes the same in other words, such as
/// `500m` for `0.5`.
struct Written {
    /// What was wanted: fields that are no longer wanted are seen by it.
    wanted: Value,
    /// What the object was by that.
    became: Value,
}

/// What stands where an object is to be.
enum Standing {
    Free,
    /// An object of the Gateway's.
    Ours(Arc<DynamicObject>),
    Taken,
}

impl<'a> Deployer<'a> {
    /// Follows what is deployed; `wake` is notified of its changes.
    ///
    /// # Errors
    /// The API does not say what it serves.
    pub(super) async fn open(cluster: &'a Cluster, shape: &'a Shape, wake: &Arc<Notify>) -> kube::Result<Self> {
        let mut parts = BTreeMap::new();
        for part in Part::ALL {
            if let Some(kind) = find_resource(&cluster.client, part.versions(), part.kind()).await? {
                let ours = watcher::Config::default().labels(GATEWAY_NAME);
                let followed = Followed::new(cluster.all(&kind), &kind, ours, wake);
                followed.known().await;
                parts.insert(part, (kind, followed));
            }
        }
        Ok(Self { cluster, shape, parts, written: BTreeMap::new() })
    }

    /// Brings about what `gateway` asks for: what came of it, and what the API refused.
    pub(super) async fn bring_about(&mut self, gateway: &Gateway) -> (Outcome, Option<kube::Error>) {
        let (mut outcome, mut failure) = (Outcome::default(), None);
        match self.put(gateway, &mut outcome).await {
            Ok(()) => {}
            Err(error) => {
                // The same failure in the same words each time: what is said in a status wakes who says it.
                outcome.failed = Some(match &error {
                    kube::Error::Api(status) => format!("the Kubernetes API says {} {}", status.code, status.reason),
                    _ => "the Kubernetes API does not answer".to_owned(),
                });
                failure = Some(error);
            }
        }
        let owned = |part| self.known(part, gateway).filter(|object| is_owned(object, &gateway.uid));
        outcome.is_served = owned(Part::Service).is_some();
        let deployment = owned(Part::Deployment);
        outcome.runs = deployment.is_some();
        let available =
            deployment.and_then(|deployment| at(&deployment.data, &["status", "availableReplicas"]).as_u64());
        outcome.available = available.unwrap_or_default();
        (outcome, failure)
    }

    /// Removes what was deployed for Gateways of the classes `ours` that are not among `living`.
    ///
    /// # Errors
    /// What the API says.
    pub(super) async fn take_away(&mut self, ours: &[&str], living: &BTreeMap<&str, &Gateway>) -> kube::Result<()> {
        self.written.retain(|(uid, _), _| living.contains_key(uid.as_str()));
        for (kind, followed) in self.parts.values() {
            for object in followed.all() {
                let is_of_ours = object.labels().get(GATEWAY_CLASS).is_some_and(|class| ours.contains(&class.as_str()));
                if is_of_ours && owner(&object).is_some_and(|uid| !living.contains_key(uid)) {
                    remove(self.cluster, kind, &object).await?;
                }
            }
        }
        Ok(())
    }

    async fn put(&mut self, gateway: &Gateway, outcome: &mut Outcome) -> kube::Result<()> {
        let planned = match self.overlays(gateway).await? {
            _ if gateway.is_addressed => Vec::new(),
            _ if !gateway.is_accepted() => return Ok(()),
            Ok(overlays) => plan(gateway, &overlays, self.shape),
            Err(cause) => {
                outcome.parameters = Some(cause);
                return Ok(());
            }
        };
        let mut standing = Vec::new();
        for (part, object) in planned {
            let Some((kind, _)) = self.parts.get(&part) else {
                outcome.failed = Some(format!("this cluster serves no {}", part.kind()));
                continue;
            };
            match self.standing(part, kind, gateway).await? {
                Standing::Taken => {
                    outcome.taken.push(format!("{} {}/{}", part.kind(), gateway.namespace, gateway.deployment));
                }
                found => standing.push((part, object, found)),
            }
        }
        // Nothing runs half of its own and half as somebody else.
        if !outcome.taken.is_empty() {
            return Ok(());
        }
        let wanted: Vec<Part> = standing.iter().map(|(part, ..)| *part).collect();
        for (part, object, found) in standing {
            self.write(part, gateway, object, found).await?;
        }
        for (part, (kind, _)) in self.parts.iter().filter(|(part, _)| !wanted.contains(part)) {
            if let Some(object) = self.known(*part, gateway).filter(|object| is_owned(object, &gateway.uid)) {
                remove(self.cluster, kind, &object).await?;
            }
        }
        Ok(())
    }

    /// What the Gateway's ConfigMap says; an inner error is what is wrong with it.
    async fn overlays(&self, gateway: &Gateway) -> kube::Result<Result<Overlays, String>> {
        let name = match &gateway.parameters {
            Ok(None) => return Ok(Ok(Overlays::new())),
            Ok(Some(name)) => name,
            Err(cause) => return Ok(Err(cause.clone())),
        };
        let api = self.cluster.within(&gateway.namespace, &resource("v1", "ConfigMap", "configmaps"));
        let Some(map) = api.get_opt(name).await? else {
            return Ok(Err(format!("the ConfigMap {name} of spec.infrastructure.parametersRef is not there")));
        };
        let entries = at(&map.data, &["data"]).as_object().into_iter().flatten();
        let entries = entries.filter_map(|(key, text)| Some((key.clone(), text.as_str()?.to_owned()))).collect();
        Ok(overlays(&entries).map_err(|cause| format!("the ConfigMap {name} cannot be used: {cause}")))
    }

    async fn standing(&self, part: Part, kind: &ApiResource, gateway: &Gateway) -> kube::Result<Standing> {
        let object = match self.known(part, gateway) {
            Some(object) => Some(object),
            // What somebody else has made has not our label.
            None => self.cluster.within(&gateway.namespace, kind).get_opt(&gateway.deployment).await?.map(Arc::new),
        };
        Ok(match object {
            None => Standing::Free,
            Some(object) if is_owned(&object, &gateway.uid) => Standing::Ours(object),
            Some(_) => Standing::Taken,
        })
    }

    async fn write(&mut self, part: Part, gateway: &Gateway, mut object: Value, found: Standing) -> kube::Result<()> {
        let Some((kind, _)) = self.parts.get(&part) else { return Ok(()) };
        set(&mut object, &["apiVersion"], json!(kind.api_version));
        let key = (gateway.uid.clone(), part);
        let claim = match &found {
            Standing::Ours(known) => {
                let before = self.written.get(&key);
                if before.is_some_and(|before| before.wanted == object && before.became == lasting(known)) {
                    return Ok(());
                }
                Claim::Ours
            }
            _ => Claim::New,
        };
        let api = self.cluster.within(&gateway.namespace, kind);
        let mut sent = object.clone();
        if let Standing::Ours(known) = &found {
            // Of another object of this name the API says that it is one.
            set(&mut sent, &["metadata", "uid"], json!(known.uid()));
        }
        let answered = apply(&api, &sent, claim).await.inspect_err(|error| {
            warn!(
                gateway = gateway.name,
                namespace = gateway.namespace,
                "{} cannot be written: {}",
                kind.kind,
                Why(error)
            );
        })?;
        debug!(gateway = gateway.name, namespace = gateway.namespace, kind = kind.kind, "written");
        self.written.insert(key, Written { wanted: object, became: lasting(&answered) });
        Ok(())
    }

    /// The object of this part and name, as it is followed.
    fn known(&self, part: Part, gateway: &Gateway) -> Option<Arc<DynamicObject>> {
        self.parts.get(&part)?.1.one(&gateway.namespace, &gateway.deployment)
    }
}

/// The UID of the Gateway that owns `object`.
fn owner(object: &DynamicObject) -> Option<&str> {
    object.owner_references().iter().find(|owner| owner.kind == "Gateway").map(|owner| owner.uid.as_str())
}

fn is_owned(object: &DynamicObject, uid: &str) -> bool {
    owner(object) == Some(uid)
}

/// `object` without what changes though nobody has changed what it asks for.
fn lasting(object: &DynamicObject) -> Value {
    let mut kept = object.data.clone();
    if let Some(kept) = kept.as_object_mut() {
        kept.remove("status");
    }
    json!({"labels": object.labels(), "annotations": object.annotations(), "owners": object.owner_references(), "rest": kept})
}

/// Deletes `object`, and nothing else that has come to have its name.
async fn remove(cluster: &Cluster, kind: &ApiResource, object: &DynamicObject) -> kube::Result<()> {
    if object.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    let api = cluster.within(&object.namespace().unwrap_or_default(), kind);
    let this = Preconditions { uid: object.uid(), resource_version: None };
    let how = DeleteParams { preconditions: Some(this), ..DeleteParams::background() };
    match api.delete(&object.name_any(), &how).await {
        Ok(_) => info!(kind = kind.kind, object = full_name(object), "is no longer asked for, and removed"),
        // It is gone, or another.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}
