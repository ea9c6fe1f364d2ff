//! The Secrets of one namespace, for who shows certificates: read where the configuration is, and apart from it, so that they
//! come into no snapshot, no report, no dump and no cache. Of a Secret those keys are kept that certificates, keys and lists
//! go by; nothing of one whose type never has them.

mod directory;
mod secret;

use std::collections::BTreeMap;
use std::sync::Arc;

use tracing::{error, info, warn};

use crate::origin::Origin;
use crate::publish::Publisher;
use crate::source::kube;

pub use secret::{Authorities, Credential, Lack, Secret};

/// The Secrets of a namespace, as they were told of last.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    by_name: BTreeMap<Arc<str>, Arc<Secret>>,
    trouble: Option<Arc<str>>,
}

impl Secrets {
    /// The Secret `name`; the very same value as before, if nothing of it that is kept has changed.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Secret>> {
        self.by_name.get(name)
    }

    /// Why they may be others by now than these, and what to do.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }
}

impl FromIterator<(Arc<str>, Secret)> for Secrets {
    fn from_iter<I: IntoIterator<Item = (Arc<str>, Secret)>>(secrets: I) -> Self {
        let by_name = secrets.into_iter().map(|(name, secret)| (name, Arc::new(secret))).collect();
        Self { by_name, trouble: None }
    }
}

/// Publishes the Secrets of `namespace` that are in `origin`, first when all of them are known and then whenever they change.
/// What cannot be read leaves in force what was; it is logged and told by [`Secrets::trouble`]. Ends only where nobody says
/// how the cluster is reached.
pub async fn follow(origin: Origin, namespace: String, publisher: Publisher<Secrets>) {
    let mut shelf = Shelf::new(&namespace, publisher);
    let ended = match origin {
        Origin::Directory(root) => directory::follow(root, &mut shelf).await,
        Origin::Cluster(cluster) => kube::secrets::follow(&cluster, &mut shelf).await,
    };
    if let Err(cause) = ended {
        shelf.fails(&Trouble::Lasting(format!("the Secrets of namespace {namespace} are not read: {cause}")));
    }
}

/// What stands in the way of reading them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Something that passes; what it is.
    Passing(String),
    /// Something that only people mend; what it is. Nobody waits for that.
    Lasting(String),
}

/// What is known of a namespace's Secrets between what is told of them, and who hears of it.
pub(crate) struct Shelf {
    /// The namespace.
    pub(crate) namespace: Arc<str>,
    now: Secrets,
    publisher: Publisher<Secrets>,
    /// Something has been published.
    is_shown: bool,
}

impl Shelf {
    pub(crate) fn new(namespace: &str, publisher: Publisher<Secrets>) -> Self {
        Self { namespace: Arc::from(namespace), now: Secrets::default(), publisher, is_shown: false }
    }

    /// These are all, and there is no trouble.
    pub(crate) fn hold_all(&mut self, mut all: BTreeMap<Arc<str>, Arc<Secret>>) {
        for (name, secret) in &mut all {
            if let Some(before) = self.now.by_name.get(name).filter(|before| *before == secret) {
                *secret = before.clone();
            }
        }
        let changed = self.now.by_name != all;
        self.now.by_name = all;
        let mended = self.mended();
        self.show(changed || mended || !self.is_shown);
    }

    /// One of them is now this, or gone; and there is no trouble.
    pub(crate) fn hold(&mut self, name: &str, secret: Option<Secret>) {
        let before = self.now.by_name.get(name).map(AsRef::as_ref);
        let changed = before != secret.as_ref();
        match secret {
            Some(secret) if changed => drop(self.now.by_name.insert(Arc::from(name), Arc::new(secret))),
            None => drop(self.now.by_name.remove(name)),
            Some(_) => {}
        }
        let mended = self.mended();
        self.show(changed || mended);
    }

    /// They cannot be read for now.
    pub(crate) fn fails(&mut self, trouble: &Trouble) {
        let (Trouble::Passing(why) | Trouble::Lasting(why)) = trouble;
        if self.now.trouble.as_deref() == Some(why.as_str()) {
            return;
        }
        let is_lasting = matches!(trouble, Trouble::Lasting(_));
        if is_lasting {
            error!("{why}")
        } else {
            warn!("{why}")
        }
        self.now.trouble = Some(Arc::from(why.as_str()));
        // Before all of them are known there is nothing to show, unless that may take for ever.
        self.show(self.is_shown || is_lasting);
    }

    /// They can be read again, though nothing has changed.
    pub(crate) fn mends(&mut self) {
        let mended = self.mended();
        self.show(mended && self.is_shown);
    }

    fn mended(&mut self) -> bool {
        let trouble = self.now.trouble.take();
        if let Some(why) = &trouble {
            info!("resolved: {why}");
        }
        trouble.is_some()
    }

    fn show(&mut self, is_news: bool) {
        if is_news {
            self.is_shown = true;
            self.publisher.publish(self.now.clone());
        }
    }
}

#[cfg(test)]
mod tests;
