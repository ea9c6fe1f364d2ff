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

    /// Who sees the object, by what `path` (its `exportTo`) says.
    pub(super) fn visibility(self, path: impl fmt::Display, written: &[String], findings: &mut Findings) -> Visibility {
        let mut namespaces = Vec::with_capacity(written.len());
        for (place, text) in written.iter().enumerate() {
            match text.as_str() {
                "*" => return Visibility::Public,
                "." => namespaces.push(self.id.namespace.clone()),
                other => {
                    findings.take(format_args!("{path}[{place}]"), name::label(other));
                    namespaces.push(Arc::from(other));
                }
            }
        }
        namespaces.sort_unstable();
        namespaces.dedup();
        if namespaces.is_empty() { Visibility::Public } else { Visibility::Namespaces(namespaces) }
    }
}
