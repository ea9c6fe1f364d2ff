//! What one file says: its valid objects, and what is wrong with the rest. Knows no other file and nothing of before.

use std::collections::{BTreeMap, BTreeSet};

use ambit_api::{FieldError, Kind, ObjectRef, Recognised, Remark, Resource, Severity, Translated, recognise};
use ambit_model::Mesh;

use super::reading::decode;
use crate::yaml::{self, Node, Value};

/// How many findings of a file are kept: whoever meets so many mends the first ones first.
const MAX_FINDINGS: usize = 100;

/// What a file says.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// Its valid objects.
    pub(crate) objects: BTreeMap<ObjectRef, Placed>,
    /// Objects that it holds, but not validly.
    pub(crate) damaged: BTreeSet<ObjectRef>,
    /// It holds something that does not tell which object it is.
    pub(crate) unrecognisable: bool,
    /// What is wrong with it, or to be known.
    pub(crate) findings: Vec<Finding>,
    /// Kinds that do not concern the mesh, such as `apps/v1 Deployment`, with the line of the first of each.
    pub(crate) foreign: BTreeMap<String, u32>,
    /// Findings beyond those kept.
    omitted: usize,
}

/// A valid object and where it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) line: u32,
    pub(crate) resource: Resource,
}

/// A report that lacks its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) line: u32,
    pub(crate) object: Option<ObjectRef>,
    pub(crate) field: FieldError,
    pub(crate) severity: Severity,
}

/// What the file of `bytes` says in `mesh`.
pub(crate) fn read(bytes: &[u8], mesh: &Mesh) -> Contents {
    let mut contents = Contents::default();
    for chunk in yaml::documents(bytes) {
        match std::str::from_utf8(chunk.text) {
            Ok(text) => match yaml::parse(text, chunk.first_line) {
                Ok(node) => contents.document(&node, mesh),
                Err(fault) => contents.unrecognisable(fault.line, fault.message),
            },
            Err(error) => {
                let before = chunk.text.get(..error.valid_up_to()).unwrap_or_default();
                let lines = before.iter().filter(|byte| **byte == b'\n').count();
                let line = chunk.first_line.saturating_add(u32::try_from(lines).unwrap_or(u32::MAX));
                contents.unrecognisable(line, "the document is not UTF-8: save it as such".to_owned());
            }
        }
    }
    if contents.omitted > 0 {
        let message = format!("{} more findings are left out: mend those before first", contents.omitted);
        let field = FieldError { path: String::new(), message };
        contents.findings.push(Finding { line: u32::MAX, object: None, field, severity: Severity::Warning });
    }
    contents
}

impl Contents {
    fn document(&mut self, node: &Node<'_>, mesh: &Mesh) {
        if node.value == Value::Null {
            return;
        }
        match node.text("kind") {
            Some(list) if list.ends_with("List") && node.get("items").is_some() => self.list(node, list, mesh),
            Some(kind) => self.object(node, node.text("apiVersion").unwrap_or_default(), kind, mesh),
            None => self.unrecognisable(node.line, "no kind: a document is a map with apiVersion and kind".to_owned()),
        }
    }

    /// A `List`, or a list of one kind such as `PodList`, whose items may leave out what the list's kind says.
    fn list(&mut self, node: &Node<'_>, list: &str, mesh: &Mesh) {
        let Some(Value::List(items)) = node.get("items").map(|items| &items.value) else {
            return self.unrecognisable(node.line_of("items"), "items has to be a list".to_owned());
        };
        let own_version = node.text("apiVersion").unwrap_or_default();
        for item in items {
            let kind = item.text("kind").or(list.strip_suffix("List").filter(|kind| !kind.is_empty()));
            match kind {
                Some(kind) if kind.ends_with("List") => {
                    self.unrecognisable(item.line, "a list within a list: write its items".to_owned());
                }
                Some(kind) => self.object(item, item.text("apiVersion").unwrap_or(own_version), kind, mesh),
                None => self.unrecognisable(item.line, "no kind: an item has apiVersion and kind".to_owned()),
            }
        }
    }

    fn object(&mut self, node: &Node<'_>, api_version: &str, kind: &str, mesh: &Mesh) {
        match recognise(api_version, kind) {
            Recognised::Known(kind) => match decode(node, kind, mesh) {
                Ok(Translated { resource, remarks }) => self.valid(node, resource, remarks),
                Err(errors) => self.damaged(node, kind, errors),
            },
            Recognised::WrongVersion(current) => {
                let shown: String = api_version.chars().take(80).collect();
                let message = format!("no {kind} is served as {shown:?}: write {current}");
                let field = FieldError { path: "apiVersion".to_owned(), message };
                self.finding(node, None, field, Severity::Error);
                self.unrecognisable = true;
            }
            Recognised::NotInEffect => {
                let name = node.get("metadata").and_then(|metadata| metadata.text("name")).unwrap_or_default();
                let message = match kind {
                    "Endpoints" => format!("Endpoints {name} are not in effect: write an EndpointSlice"),
                    _ => format!("{kind} {name} is not in effect: this version does not act on {api_version} {kind}"),
                };
                let message = message.chars().take(300).collect();
                let field = FieldError { path: "kind".to_owned(), message };
                self.finding(node, None, field, Severity::Warning);
            }
            // Gateways read these apart; beside them the mesh has nothing to do with them, and nobody need be told.
            Recognised::Foreign if (api_version, kind) == ("v1", "Secret") => {}
            Recognised::Foreign => {
                let kind: String = format!("{api_version} {kind}").chars().take(120).collect();
                if self.foreign.len() < MAX_FINDINGS {
                    self.foreign.entry(kind).or_insert(node.line);
                }
            }
        }
    }

    fn valid(&mut self, node: &Node<'_>, resource: Resource, remarks: Vec<Remark>) {
        let reference = resource.reference();
        for Remark { severity, field } in remarks {
            self.finding(node, Some(&reference), field, severity);
        }
        match self.objects.get(&reference) {
            Some(first) => {
                let message = format!("the object is already defined in line {}: remove one of them", first.line);
                let field = FieldError { path: String::new(), message };
                self.finding(node, Some(&reference), field, Severity::Error);
            }
            None => {
                self.objects.insert(reference, Placed { line: node.line, resource });
            }
        }
    }

    fn damaged(&mut self, node: &Node<'_>, kind: Kind, errors: Vec<FieldError>) {
        let metadata = node.get("metadata");
        let part = |key| metadata.and_then(|metadata| metadata.text(key));
        let reference = part("name").map(|name| ObjectRef::new(kind, part("namespace").unwrap_or_default(), name));
        for field in errors {
            self.finding(node, reference.as_ref(), field, Severity::Error);
        }
        match reference {
            Some(reference) => {
                self.damaged.insert(reference);
            }
            None => self.unrecognisable = true,
        }
    }

    fn unrecognisable(&mut self, line: u32, message: String) {
        self.unrecognisable = true;
        self.keep(Finding {
            line,
            object: None,
            field: FieldError { path: String::new(), message },
            severity: Severity::Error,
        });
    }

    fn finding(&mut self, node: &Node<'_>, object: Option<&ObjectRef>, field: FieldError, severity: Severity) {
        self.keep(Finding { line: node.line_of(&field.path), object: object.cloned(), field, severity });
    }

    fn keep(&mut self, finding: Finding) {
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(finding);
        } else {
            self.omitted += 1;
        }
    }
}

#[cfg(test)]
mod tests;
