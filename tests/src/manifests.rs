//! The directory of manifests that the agents read: one file an object, each replaced atomically. Builds the objects
//! that the tests need; knows nothing of what the mesh makes of them.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Map, Value, json};

use crate::topology::{Pod, Topology};
use crate::yaml;

/// The label that puts a namespace or a pod into the mesh.
pub const DATAPLANE_MODE: &str = "istio.io/dataplane-mode";

/// A directory of manifests and the objects in it.
#[derive(Debug)]
pub struct Manifests {
    directory: PathBuf,
    objects: BTreeMap<String, Value>,
}

/// A Service to be written.
#[derive(Clone, Debug)]
pub struct ServiceSpec<'a> {
    /// Its name; its endpoints are the pods of its namespace labelled `app: <name>`.
    pub name: &'a str,
    /// `spec.clusterIPs`; none makes it headless.
    pub vips: &'a [IpAddr],
    /// Port and target port.
    pub ports: &'a [(u16, u16)],
}

impl Manifests {
    /// Makes `directory`, with a Node object for each node of `topology`.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn create(directory: &Path, topology: &Topology) -> anyhow::Result<Self> {
        let mut manifests = Self::open(directory)?;
        for node in topology.nodes() {
            let addresses = [IpAddr::from(node.v4), IpAddr::from(node.v6)];
            let addresses = addresses.map(|address| json!({"type": "InternalIP", "address": address}));
            let status = json!({"addresses": addresses});
            let metadata = json!({"name": node.name});
            manifests.apply(json!({"apiVersion": "v1", "kind": "Node", "metadata": metadata, "status": status}))?;
        }
        Ok(manifests)
    }

    /// Adds to `directory`, making it if need be; what is in it already is left alone.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn open(directory: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(directory)?;
        Ok(Self { directory: directory.to_owned(), objects: BTreeMap::new() })
    }

    /// The directory, as `ztunnel --config` takes it.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Writes `object`, replacing the one of its kind, namespace and name.
    ///
    /// # Errors
    /// When the object has no kind and name, or the file cannot be written.
    pub fn apply(&mut self, object: Value) -> anyhow::Result<()> {
        let file = file_of(&object)?;
        self.write(&file, &yaml::documents([&object]))?;
        self.objects.insert(file, object);
        Ok(())
    }

    /// Writes every object of `text` as it stands, as `kubectl apply` takes it: YAML documents separated by `---`.
    ///
    /// # Errors
    /// When a document is no object, or a file cannot be written.
    pub fn apply_text(&mut self, text: &str) -> anyhow::Result<()> {
        for (file, object, document) in documents(text)? {
            self.write(&file, document)?;
            self.objects.insert(file, object);
        }
        Ok(())
    }

    /// Removes every object of `text`, as `kubectl delete` takes it.
    ///
    /// # Errors
    /// When a document is no object, or there is no such object.
    pub fn delete_text(&mut self, text: &str) -> anyhow::Result<()> {
        for (file, ..) in documents(text)? {
            self.objects.remove(&file).with_context(|| format!("no {file}"))?;
            fs::remove_file(self.directory.join(file))?;
        }
        Ok(())
    }

    /// The objects of `kind`.
    pub fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.objects.values().filter(move |object| object.get("kind").is_some_and(|of| of == kind))
    }

    /// Removes the object `name` of `kind`; `namespace` is empty for kinds that have none.
    ///
    /// # Errors
    /// When there is none, or the file cannot be removed.
    pub fn delete(&mut self, kind: &str, namespace: &str, name: &str) -> anyhow::Result<()> {
        let file = file_name(kind, namespace, name);
        self.objects.remove(&file).with_context(|| format!("no {file}"))?;
        Ok(fs::remove_file(self.directory.join(file))?)
    }

    /// Changes the object `name` of `kind` in place.
    ///
    /// # Errors
    /// When there is none, or the file cannot be written.
    pub fn edit(
        &mut self,
        kind: &str,
        namespace: &str,
        name: &str,
        change: impl FnOnce(&mut Value),
    ) -> anyhow::Result<()> {
        let file = file_name(kind, namespace, name);
        let mut object = self.objects.get(&file).with_context(|| format!("no {file}"))?.clone();
        change(&mut object);
        self.apply(object)
    }

    /// Writes any text as a file of the directory, atomically: for what is no manifest at all.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, file: &str, text: &str) -> anyhow::Result<()> {
        // Written beside the directory, so that who watches it sees nothing but the whole file.
        let parent = self.directory.parent().context("the directory of manifests has no parent")?;
        let mut whole = tempfile::NamedTempFile::new_in(parent)?;
        std::io::Write::write_all(&mut whole, text.as_bytes())?;
        whole.persist(self.directory.join(file)).with_context(|| format!("cannot write {file}"))?;
        Ok(())
    }

    /// Writes a Namespace, in the mesh or not.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn namespace(&mut self, name: &str, enrolled: bool) -> anyhow::Result<()> {
        let labels = if enrolled { json!({DATAPLANE_MODE: "ambient"}) } else { json!({}) };
        self.apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}))
    }

    /// Writes the Pod object of `pod`, ready and labelled `app: <app>`, with a service account named as the app, and
    /// the ServiceAccount.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn pod(&mut self, namespace: &str, pod: &Pod, app: &str) -> anyhow::Result<()> {
        let metadata = json!({"name": app, "namespace": namespace});
        self.apply(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}))?;
        let ips = pod.addresses().map(|ip| json!({"ip": ip}));
        self.apply(json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": pod.name,
                "namespace": namespace,
                "labels": {"app": app},
                "annotations": {"ambit.dev/netns": pod.netns.path()},
            },
            "spec": {"nodeName": pod.node, "serviceAccountName": app, "containers": [{"name": app, "image": app}]},
            "status": {
                "phase": "Running",
                "podIP": pod.v4,
                "podIPs": ips,
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        }))
    }

    /// Writes a Service that selects the pods labelled `app: <name>`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn service(&mut self, namespace: &str, spec: &ServiceSpec<'_>) -> anyhow::Result<()> {
        let port = |&(port, target): &(u16, u16)| json!({"name": format!("tcp-{port}"), "port": port, "targetPort": target, "protocol": "TCP"});
        let cluster_ip = spec.vips.first().map_or_else(|| json!("None"), |ip| json!(ip));
        let cluster_ips = if spec.vips.is_empty() { json!(["None"]) } else { json!(spec.vips) };
        self.apply(json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": spec.name, "namespace": namespace},
            "spec": {
                "selector": {"app": spec.name},
                "clusterIP": cluster_ip,
                "clusterIPs": cluster_ips,
                "ports": spec.ports.iter().map(port).collect::<Vec<_>>(),
            },
        }))
    }

    /// Sets a label of an object, or with `None` removes it; `namespace` is empty for kinds that have none.
    ///
    /// # Errors
    /// When there is no such object, or its file cannot be written.
    pub fn label(&mut self, object: (&str, &str, &str), label: &str, value: Option<&str>) -> anyhow::Result<()> {
        let (kind, namespace, name) = object;
        self.edit(kind, namespace, name, |object| {
            let Some(labels) = labels(object) else { return };
            match value {
                Some(value) => labels.insert(label.to_owned(), json!(value)),
                None => labels.remove(label),
            };
        })
    }

    /// Sets an annotation of a pod, or with `None` removes it.
    ///
    /// # Errors
    /// When there is no such pod, or its file cannot be written.
    pub fn annotate(&mut self, (namespace, pod): (&str, &str), key: &str, value: Option<&str>) -> anyhow::Result<()> {
        self.edit("Pod", namespace, pod, |object| {
            let metadata = object.get_mut("metadata").and_then(Value::as_object_mut);
            let annotations = metadata.map(|metadata| metadata.entry("annotations").or_insert_with(|| json!({})));
            let Some(annotations) = annotations.and_then(Value::as_object_mut) else { return };
            match value {
                Some(value) => annotations.insert(key.to_owned(), json!(value)),
                None => annotations.remove(key),
            };
        })
    }

    /// Puts a namespace into the mesh or takes it out.
    ///
    /// # Errors
    /// When there is no such namespace, or its file cannot be written.
    pub fn enrol_namespace(&mut self, name: &str, enrolled: bool) -> anyhow::Result<()> {
        self.label(("Namespace", "", name), DATAPLANE_MODE, enrolled.then_some("ambient"))
    }

    /// Sets `istio.io/dataplane-mode` of a pod: `ambient`, `none`, or with `None` what its namespace says.
    ///
    /// # Errors
    /// When there is no such pod, or its file cannot be written.
    pub fn pod_mode(&mut self, namespace: &str, pod: &str, mode: Option<&str>) -> anyhow::Result<()> {
        self.label(("Pod", namespace, pod), DATAPLANE_MODE, mode)
    }
}

/// The documents of `text` with their objects, and the names of their files.
fn documents(text: &str) -> anyhow::Result<Vec<(String, Value, &str)>> {
    let mut documents = Vec::new();
    for document in text.split("\n---\n") {
        for object in yaml::load(document)? {
            documents.push((file_of(&object)?, object, document));
        }
    }
    Ok(documents)
}

fn labels(object: &mut Value) -> Option<&mut Map<String, Value>> {
    let metadata = object.get_mut("metadata")?.as_object_mut()?;
    metadata.entry("labels").or_insert_with(|| json!({})).as_object_mut()
}

fn file_of(object: &Value) -> anyhow::Result<String> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let kind = text("/kind").context("the object has no kind")?;
    let name = text("/metadata/name").context("the object has no name")?;
    Ok(file_name(kind, text("/metadata/namespace").unwrap_or_default(), name))
}

fn file_name(kind: &str, namespace: &str, name: &str) -> String {
    let separator = if namespace.is_empty() { "" } else { "." };
    format!("{}.{namespace}{separator}{name}.yaml", kind.to_lowercase())
}
