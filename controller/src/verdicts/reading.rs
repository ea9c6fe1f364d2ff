//! What objects say, by the one validation that agents, waypoints and the webhook have; read anew when they change. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use ambit_api::{FieldError, Kind, Translated};
use ambit_model::Mesh;
use kube::ResourceExt;
use kube::api::DynamicObject;

/// What an object says, or all that is wrong with it.
pub(crate) type Reading = Result<Translated, Vec<FieldError>>;

/// The readings, by the objects' UIDs.
#[derive(Debug, Default)]
pub(super) struct Readings {
    known: HashMap<String, Known>,
    /// Grows with every look at all objects: what was not asked for in the last one is gone.
    look: u64,
}

#[derive(Debug)]
struct Known {
    version: Option<String>,
    reading: Arc<Reading>,
    look: u64,
}

impl Readings {
    /// What `object` of `kind` says in `mesh`.
    pub(super) fn of(&mut self, kind: Kind, object: &DynamicObject, mesh: &Mesh) -> Arc<Reading> {
        // What is asked of these is in the snapshot.
        if kind == Kind::Service {
            return Arc::new(Err(Vec::new()));
        }
        let (uid, version) = (object.uid().unwrap_or_default(), object.resource_version());
        if let Some(known) = self.known.get_mut(&uid).filter(|known| known.version == version) {
            known.look = self.look;
            return known.reading.clone();
        }
        let reading = Arc::new(read(kind, object, mesh));
        self.known.insert(uid, Known { version, reading: reading.clone(), look: self.look });
        reading
    }

    /// All objects have been looked at: the others are forgotten.
    pub(super) fn settle(&mut self) {
        self.known.retain(|_, known| known.look == self.look);
        self.look = self.look.wrapping_add(1);
    }
}

/// What `object` of `kind` says in `mesh`.
pub(super) fn read(kind: Kind, object: &DynamicObject, mesh: &Mesh) -> Reading {
    let text = serde_json::to_string(object).map_err(|error| unreadable(&error.to_string()))?;
    ambit_discovery::read_object(kind, &text, mesh)
}

fn unreadable(message: &str) -> Vec<FieldError> {
    vec![FieldError { path: String::new(), message: message.to_owned() }]
}
