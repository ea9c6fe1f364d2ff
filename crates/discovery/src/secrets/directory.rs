//! Secrets in the files of a directory, beside the rest of the configuration. A document that cannot be read leaves its Secret
//! as it was; of several documents of one Secret the one of the first file counts. What is no YAML, whoever reads the rest
//! reports.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use tracing::{info, warn};

use super::{Secret, Shelf, Trouble};
use crate::error::Error;
use crate::source::aside;
use crate::source::directory::Tree;
use crate::source::watch::Watch;
use crate::yaml::{self, Node, Value};

/// Follows the Secrets of the shelf's namespace in the directory `root`.
///
/// # Errors
/// [`Error::Panicked`] where reading did.
pub(super) async fn follow(root: PathBuf, shelf: &mut Shelf) -> Result<(), Error> {
    let mut watch = Watch::new(root.clone());
    let mut files = Files::new(root, shelf.namespace.clone());
    let mut reported = BTreeSet::new();
    loop {
        let look;
        (files, look) = aside(files, |files| files.look(SystemTime::now())).await?;
        let unsettled = match look {
            Ok(Look { secrets, faults, unsettled, identity }) => {
                faults.difference(&reported).for_each(|fault| warn!("{fault}"));
                reported.difference(&faults).for_each(|fault| info!("resolved: {fault}"));
                reported = faults;
                shelf.hold_all(secrets);
                // Nobody tells what changed before the watch began.
                if watch.renew(Some(identity)) {
                    continue;
                }
                unsettled
            }
            Err(cause) => {
                watch.renew(None);
                shelf.fails(&Trouble::Passing(format!(
                    "Secrets cannot be read, nor the configuration directory that they are in: {cause}; those that were \
                     read last stay in force"
                )));
                true
            }
        };
        watch.stir(unsettled).await;
    }
}

/// The files, and which Secrets of the namespace are in each.
struct Files {
    tree: Tree,
    namespace: Arc<str>,
    contents: BTreeMap<PathBuf, Contents>,
}

/// What there is at one look.
struct Look {
    secrets: BTreeMap<Arc<str>, Arc<Secret>>,
    /// What is wrong with Secrets, with the file and the line.
    faults: BTreeSet<String>,
    unsettled: bool,
    identity: (u64, u64),
}

impl Files {
    fn new(root: PathBuf, namespace: Arc<str>) -> Self {
        Self { tree: Tree::new(root), namespace, contents: BTreeMap::new() }
    }

    fn look(&mut self, now: SystemTime) -> io::Result<Look> {
        let (contents, namespace) = (&mut self.contents, &self.namespace);
        let stirred = self.tree.look(now, |path, bytes| {
            let before = contents.remove(path).unwrap_or_default();
            let now = Contents::read(bytes, namespace, before);
            if !now.is_empty() {
                contents.insert(path.to_path_buf(), now);
            }
        })?;
        for path in &stirred.gone {
            contents.remove(path);
        }
        let mut secrets = BTreeMap::new();
        for (name, secret) in contents.values().flat_map(|contents| &contents.secrets) {
            secrets.entry(name.clone()).or_insert_with(|| secret.clone());
        }
        let faults = contents.iter().flat_map(|(path, contents)| contents.told(path, namespace)).collect();
        Ok(Look { secrets, faults, unsettled: stirred.unsettled, identity: stirred.identity })
    }
}

/// The Secrets of the namespace in one file.
#[derive(Default)]
struct Contents {
    secrets: BTreeMap<Arc<str>, Arc<Secret>>,
    /// Those that cannot be used, with their lines and why.
    damaged: BTreeMap<Arc<str>, (u32, String)>,
    /// There is something that does not tell what it is.
    is_unrecognisable: bool,
}

impl Contents {
    /// What `bytes` say, where there was `before`.
    fn read(bytes: &[u8], namespace: &str, before: Self) -> Self {
        let mut contents = Self::default();
        for chunk in yaml::documents(bytes) {
            let Ok(text) = std::str::from_utf8(chunk.text) else {
                contents.is_unrecognisable = true;
                continue;
            };
            // Most documents are of other kinds, and were parsed once already.
            if !text.contains("Secret") {
                continue;
            }
            match yaml::parse(text, chunk.first_line) {
                Ok(node) => contents.document(&node, namespace),
                Err(_) => contents.is_unrecognisable = true,
            }
        }
        for (name, secret) in before.secrets {
            if contents.is_unrecognisable || contents.damaged.contains_key(&name) {
                contents.secrets.entry(name).or_insert(secret);
            }
        }
        contents
    }

    fn is_empty(&self) -> bool {
        self.secrets.is_empty() && self.damaged.is_empty()
    }

    /// What is wrong, for the log: no value of a Secret is in it.
    fn told(&self, path: &Path, namespace: &str) -> impl Iterator<Item = String> {
        self.damaged.iter().map(move |(name, (line, why))| {
            format!("{}:{line}: Secret {namespace}/{name}: {why}; what was there before stays in force", path.display())
        })
    }

    /// A Secret, or a list that may have some, which may leave out what the list's kind says.
    fn document(&mut self, node: &Node<'_>, namespace: &str) {
        let kind = node.text("kind").unwrap_or_default();
        match (kind, node.get("items").map(|items| &items.value)) {
            ("List" | "SecretList", Some(Value::List(items))) => {
                let own = kind.strip_suffix("List").filter(|kind| !kind.is_empty());
                let secrets = items.iter().filter(|item| item.text("kind").or(own) == Some("Secret"));
                secrets.for_each(|secret| self.secret(secret, namespace));
            }
            ("Secret", _) if node.text("apiVersion") == Some("v1") => self.secret(node, namespace),
            _ => {}
        }
    }

    fn secret(&mut self, node: &Node<'_>, namespace: &str) {
        let metadata = node.get("metadata");
        let part = |key| metadata.and_then(|metadata| metadata.text(key)).filter(|part| !part.is_empty());
        if part("namespace").unwrap_or("default") != namespace {
            return;
        }
        let Some(name) = part("name").map(Arc::<str>::from) else {
            self.is_unrecognisable = true;
            return;
        };
        match Secret::read(node) {
            Ok(Some(secret)) => {
                self.secrets.entry(name).or_insert_with(|| Arc::new(secret));
            }
            Ok(None) => {}
            Err(why) => {
                self.damaged.insert(name, (node.line, why));
            }
        }
    }
}
