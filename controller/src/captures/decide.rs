//! What is written at a pod for what its agent reports of it, given what is there. Pure.

use ambit_api::labels;
use ambit_ca::{PodReport, State};
use ambit_model::Sidecar;

use crate::events::Notice;

/// What the annotation says of a pod that is captured, as Istio has it.
pub(super) const ENABLED: &str = "enabled";

/// What is known of a pod.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a> {
    /// Where it runs.
    pub(super) node: &'a str,
    /// What its annotation says.
    pub(super) annotation: Option<&'a str>,
    /// What another mesh carries its connections by.
    pub(super) sidecar: Option<Sidecar>,
}

/// What becomes of the annotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Redirection {
    /// It says that the pod is captured.
    Said,
    /// It is taken away.
    Removed,
}

/// What is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Deed {
    /// None if the annotation is as it should be.
    pub(super) redirection: Option<Redirection>,
    /// What is told.
    pub(super) notices: Vec<Notice>,
}

/// What is written for `report`.
pub(super) fn decide(report: &PodReport, known: &Known<'_>) -> Deed {
    let mut deed = Deed::default();
    let removed = known.annotation.map(|_| Redirection::Removed);
    match &report.state {
        State::Captured { obstacle } => {
            if known.annotation != Some(ENABLED) {
                deed.redirection = Some(Redirection::Said);
                deed.notices.push(Notice {
                    reason: "EnteredMesh",
                    warns: false,
                    message: format!("in the mesh: its connections are carried by the agent of node {}", known.node),
                });
            }
            deed.notices.extend(obstacle.as_ref().map(|obstacle| {
                failed(format!("in the mesh as it was before; it cannot be captured as it is now: {obstacle}"))
            }));
        }
        State::Outside => {
            deed.redirection = removed;
            deed.notices.extend(removed.map(|_| Notice {
                reason: "LeftMesh",
                warns: false,
                message: "out of the mesh: its new connections go as they did before".to_owned(),
            }));
        }
        State::OtherMesh => {
            deed.redirection = removed;
            // An agent may know of it a moment earlier.
            deed.notices.push(other_mesh(known.sidecar.unwrap_or(Sidecar::Annotated)));
        }
        State::Failed { obstacle } => {
            deed.redirection = removed;
            deed.notices.push(failed(format!("in the mesh, but it cannot be captured; it is tried again: {obstacle}")));
        }
    }
    deed.notices.extend(report.mended.as_ref().map(|mended| Notice {
        reason: "CaptureRepaired",
        warns: true,
        message: format!("somebody had taken a part of its capture out of the kernel; it has been put back: {mended}"),
    }));
    deed
}

fn failed(message: String) -> Notice {
    Notice { reason: "CaptureFailed", warns: true, message }
}

/// What is told of a pod that another mesh's `sidecar` keeps out.
fn other_mesh(sidecar: Sidecar) -> Notice {
    let message = format!(
        "left out of the mesh: {sidecar} carries its connections, and two meshes do not carry one connection; remove {}, and \
         create the pod anew; or label it {}=none",
        sidecar.asked_for_by(),
        labels::DATAPLANE_MODE
    );
    Notice { reason: "OtherMeshSidecar", warns: true, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: Known<'_> = Known { node: "a", annotation: None, sidecar: None };

    fn captured() -> State {
        State::Captured { obstacle: None }
    }

    fn failed() -> State {
        State::Failed { obstacle: "no room".to_owned() }
    }

    /// What becomes of the annotation, and the reasons of what is told.
    fn done(state: State, annotation: Option<&str>) -> (Option<Redirection>, Vec<&'static str>) {
        let deed = decide(&report(state, None), &Known { annotation, ..KNOWN });
        (deed.redirection, deed.notices.iter().map(|notice| notice.reason).collect())
    }

    fn report(state: State, mended: Option<&str>) -> PodReport {
        let uid = "11111111-2222-3333-4444-555555555555".parse().unwrap();
        let (namespace, name) = ("shop".to_owned(), "reviews-1".to_owned());
        PodReport { namespace, name, uid, state, mended: mended.map(str::to_owned) }
    }

    #[test]
    fn what_changes_is_written_once_and_what_does_not_is_not() {
        use Redirection::{Removed, Said};
        let hindered = || State::Captured { obstacle: Some("no room".to_owned()) };
        for (state, annotation, redirection, reasons) in [
            (captured(), None, Some(Said), vec!["EnteredMesh"]),
            (captured(), Some("pending"), Some(Said), vec!["EnteredMesh"]),
            (captured(), Some(ENABLED), None, vec![]),
            (hindered(), Some(ENABLED), None, vec!["CaptureFailed"]),
            (State::Outside, Some(ENABLED), Some(Removed), vec!["LeftMesh"]),
            (State::Outside, None, None, vec![]),
            (failed(), None, None, vec!["CaptureFailed"]),
            (failed(), Some(ENABLED), Some(Removed), vec!["CaptureFailed"]),
            (State::OtherMesh, None, None, vec!["OtherMeshSidecar"]),
            (State::OtherMesh, Some(ENABLED), Some(Removed), vec!["OtherMeshSidecar"]),
        ] {
            assert_eq!(done(state.clone(), annotation), (redirection, reasons), "{state:?} {annotation:?}");
        }
    }

    #[test]
    fn a_repair_is_told_beside_what_holds_and_changes_nothing_else() {
        let deed = decide(&report(captured(), Some("its steering")), &Known { annotation: Some(ENABLED), ..KNOWN });
        assert_eq!(deed.redirection, None);
        let [notice] = &deed.notices[..] else { panic!("{deed:?}") };
        assert!(
            notice.reason == "CaptureRepaired" && notice.warns && notice.message.ends_with(": its steering"),
            "{notice:?}"
        );
    }

    #[test]
    fn who_is_left_out_is_told_by_which_container_and_what_to_do() {
        let told =
            |sidecar| decide(&report(State::OtherMesh, None), &Known { sidecar, ..KNOWN }).notices.remove(0).message;
        let istio = told(Some(Sidecar::Istio));
        assert!(istio.contains("the container istio-proxy of Istio") && istio.contains("istio-injection"), "{istio}");
        let linkerd = told(Some(Sidecar::Linkerd));
        assert!(linkerd.contains("linkerd-proxy of Linkerd") && linkerd.contains("linkerd.io/inject"), "{linkerd}");
        for message in [istio, linkerd, told(None)] {
            assert!(message.contains("create the pod anew; or label it istio.io/dataplane-mode=none"), "{message}");
        }
    }
}
