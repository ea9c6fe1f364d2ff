//! Reads an object, wherever its tree comes from: its fields with their paths, then what they mean. And tells what of
//! a change of objects is an event.

use ambit_api::{FieldError, Kind, Object, ObjectRef, Resource, Translated, translate};
use ambit_model::Mesh;
use serde_path_to_error::{Path, Segment, Track};

use crate::event::Event;
use crate::yaml::{Node, json};

/// What the object of `kind` says in `mesh` that an API server writes as `text`: the one validation that the mesh has.
///
/// # Errors
/// Every field that holds what it must not; without a path where the text is no object at all.
pub fn read_object(kind: Kind, text: &str, mesh: &Mesh) -> Result<Translated, Vec<FieldError>> {
    let node = json(text).map_err(|message| vec![FieldError { path: String::new(), message }])?;
    decode(&node, kind, mesh)
}

/// What the object of `kind` says in `mesh` that is written as `node`.
pub(crate) fn decode(node: &Node<'_>, kind: Kind, mesh: &Mesh) -> Result<Translated, Vec<FieldError>> {
    let mut track = Track::new();
    let read = Object::read(kind, serde_path_to_error::Deserializer::new(node, &mut track));
    let object = read.map_err(|error| vec![FieldError { path: written(&track.path()), message: error.to_string() }])?;
    translate(&object, mesh)
}

/// What to tell if `reference` was `before` and is `now`.
pub(crate) fn event(before: Option<&Resource>, now: Option<&Resource>, reference: ObjectRef) -> Option<Event> {
    match now {
        now if now == before => None,
        Some(now) => Some(Event::Upsert(now.clone())),
        None => Some(Event::Delete(reference)),
    }
}

/// `path` as Kubernetes writes it.
fn written(path: &Path) -> String {
    let mut text = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => text.push_str(&format!("[{index}]")),
            Segment::Map { key } if key.contains(['.', '/']) => text.push_str(&format!("[{key}]")),
            Segment::Map { key } | Segment::Enum { variant: key } => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(key);
            }
            Segment::Unknown => {}
        }
    }
    text
}
