//! Is a pod in the mesh? Its own label comes before its namespace's; some pods cannot be, whatever the labels say.

use ambit_model::workload::Excluded;
use ambit_model::{Enrolment, NetworkMode};

use crate::field::{Findings, Severity};
use crate::labels;
use crate::object::ObjectMeta;
use crate::resource::{DataplaneMode, Pod};

/// Whether `pod` is in the mesh, in a namespace whose label asks for `namespace` and that the settings leave out or not.
#[must_use]
pub fn enrolment(pod: &Pod, namespace: Option<DataplaneMode>, excluded: bool) -> Enrolment {
    let outside = Enrolment::Outside;
    if pod.workload.network_mode == NetworkMode::HostNetwork {
        return outside(Excluded::HostNetwork);
    }
    let asked = pod.mode.or(namespace);
    if let Some(sidecar) = pod.sidecar {
        return outside(Excluded::Sidecar { sidecar, asked: !excluded && asked == Some(DataplaneMode::Ambient) });
    }
    if speaks_hbone(pod) {
        return outside(Excluded::SpeaksHbone);
    }
    if excluded {
        return outside(Excluded::NamespaceExcluded);
    }
    match asked {
        Some(DataplaneMode::Ambient) => Enrolment::Enrolled,
        Some(DataplaneMode::None) => outside(Excluded::OptedOut),
        None => outside(Excluded::NotLabelled),
    }
}

/// Its port 15008 is its own, so that capturing it would take that away.
fn speaks_hbone(pod: &Pod) -> bool {
    pod.workload.labels.get(labels::TUNNEL).is_some_and(|tunnel| &**tunnel == "http")
}

/// Whether the DNS queries of the pod of `metadata` are to be captured. A value that nobody knows counts as none, and is
/// remarked on.
pub(super) fn dns_capture(metadata: &ObjectMeta, findings: &mut Findings) -> bool {
    match metadata.annotations.get(labels::DNS_CAPTURE).map(String::as_str) {
        None | Some("true") => true,
        Some("false") => false,
        Some(other) => {
            let path = format!("metadata.annotations[{}]", labels::DNS_CAPTURE);
            findings.remark(Severity::Warning, path, format!("{other:?} has no effect: write true or false"));
            true
        }
    }
}

/// What the label of `metadata` asks for. A value that nobody knows counts as no label, and is remarked on.
pub(super) fn dataplane_mode(metadata: &ObjectMeta, findings: &mut Findings) -> Option<DataplaneMode> {
    match metadata.label(labels::DATAPLANE_MODE)? {
        "ambient" => Some(DataplaneMode::Ambient),
        "none" => Some(DataplaneMode::None),
        other => {
            let path = format!("metadata.labels[{}]", labels::DATAPLANE_MODE);
            findings.remark(Severity::Warning, path, format!("{other:?} has no effect: write ambient or none"));
            None
        }
    }
}
