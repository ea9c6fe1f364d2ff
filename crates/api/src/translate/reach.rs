//! What VirtualServices and DestinationRules have in common: the hosts that they name and the namespaces that see them.

use std::fmt;
use std::sync::Arc;

use ambit_model::Mesh;
use ambit_model::route::{Host, Visibility};

use crate::field::Findings;
use crate::kind::ObjectRef;
use crate::name;

/// Where an object is, and the mesh that it is in: what short names are resolved by.
#[derive(Clone, Copy)]
pub(super) struct Home<'a> {
    pub(super) id: &'a ObjectRef,
    pub(super) mesh: &'a Mesh,
}

impl Home<'_> {
    /// The host that is `written` at `path`.
    pub(super) fn host(self, path: impl fmt::Display, written: &str, findings: &mut Findings) -> Host {
        let lower = written.to_ascii_lowercase();
        let bare = lower.strip_prefix("*.").unwrap_or(&lower);
        if written != "*" {
            findings.take(path, name::subdomain(bare));
        }
        Host::resolved(written, &self.id.namespace, &self.mesh.domain)
    }

    /// Who sees the object, by what `path` (its `exportTo`) says: `~` is nobody.
    pub(super) fn visibility(self, path: impl fmt::Display, written: &[String], findings: &mut Findings) -> Visibility {
        let mut namespaces = Vec::with_capacity(written.len());
        for (place, text) in written.iter().enumerate() {
            match text.as_str() {
                "*" => return Visibility::Public,
                "." => namespaces.push(self.id.namespace.clone()),
                "~" => {}
                other => {
                    findings.take(format_args!("{path}[{place}]"), name::label(other));
                    namespaces.push(Arc::from(other));
                }
            }
        }
        namespaces.sort_unstable();
        namespaces.dedup();
        if written.is_empty() { Visibility::Public } else { Visibility::Namespaces(namespaces) }
    }

    /// An error for every name of `exportTo` that contradicts another or says it again (Istio's `validateExportTo`), and
    /// for `~` unless the object may be for `nobody`.
    pub(super) fn refuse_contradictions(self, written: &[String], nobody: bool, findings: &mut Findings) {
        let mut seen: Vec<&str> = Vec::with_capacity(written.len());
        for (place, text) in written.iter().enumerate() {
            let path = format_args!("spec.exportTo[{place}]");
            match text.as_str() {
                "~" if !nobody => findings.error(path, "~ is for services: write . for its own namespace"),
                "*" | "~" if written.len() > 1 => {
                    findings.error(path, format!("{text} says it of all, and others stand beside it: write it alone"));
                }
                _ => {}
            }
            let meant = if text == "." { &*self.id.namespace } else { text };
            if seen.contains(&meant) {
                findings.error(path, format!("{meant} stands in the list already: remove one of them"));
            }
            seen.push(meant);
        }
    }
}
