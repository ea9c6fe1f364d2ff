//! Which tokens were reviewed a moment ago, and of which pods: an agent asks for many certificates at once. Pure.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ambit_ca::Caller;
use ambit_model::{PodUid, Snapshot, WorkloadUid};

use super::token::Account;

/// How long an answer is believed: as long as kube-apiserver believes its own.
const BELIEVED: Duration = Duration::from_secs(10);

/// How many answers are kept at most: more than agents start at once.
const KEPT: usize = 4096;

/// The pod that bears a token.
#[derive(Clone, Debug)]
pub(super) struct Pod {
    pub(super) account: Account,
    pub(super) name: String,
    /// Another pod of its name has another.
    pub(super) uid: PodUid,
    pub(super) node: Arc<str>,
}

/// The answers, by token.
#[derive(Debug, Default)]
pub(super) struct Seen(HashMap<String, Answer>);

#[derive(Debug)]
struct Answer {
    caller: Caller,
    pod: Pod,
    at: Instant,
}

impl Seen {
    /// Notes that `token` is `caller`'s, who is `pod`, as was asked at `now`.
    pub(super) fn note(&mut self, token: &str, caller: Caller, pod: Pod, now: Instant) {
        if self.0.len() >= KEPT {
            self.0.retain(|_, answer| now.duration_since(answer.at) < BELIEVED);
        }
        if self.0.len() < KEPT {
            self.0.insert(token.to_owned(), Answer { caller, pod, at: now });
        }
    }

    /// Whose `token` is, if that was asked not long ago and its pod is still there, where it was.
    pub(super) fn recall(&mut self, token: &str, mesh: &Snapshot, now: Instant) -> Option<Caller> {
        let answer = self.0.get(token)?;
        if now.duration_since(answer.at) < BELIEVED && answer.pod.is_in(mesh) {
            return Some(answer.caller.clone());
        }
        self.0.remove(token);
        None
    }
}

impl Pod {
    fn is_in(&self, mesh: &Snapshot) -> bool {
        let Account { namespace, name } = &self.account;
        let workload = mesh.workload(&WorkloadUid::pod(&mesh.mesh.cluster, namespace, &self.name));
        workload.is_some_and(|pod| {
            pod.pod_uid == Some(self.uid) && pod.node == self.node && *pod.identity.service_account == **name
        })
    }
}

#[cfg(test)]
mod tests {
    use ambit_discovery::{Event, Index};
    use ambit_model::Mesh;

    use super::*;

    const UID: &str = "11111111-2222-3333-4444-555555555555";
    const OTHER: &str = "11111111-2222-3333-4444-666666666666";

    /// What is in force of a mesh with these pods, each a name with its UID, its node and its account.
    fn mesh(pods: &[(&str, &str, &str, &str)]) -> Snapshot {
        let mut index = Index::new(Mesh::default(), []);
        let events = pods.iter().map(|(name, uid, node, account)| {
            let pod = serde_json::json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": name, "namespace": "istio-system", "uid": uid},
                "spec": {"nodeName": node, "serviceAccountName": account},
            });
            let pod = ambit_api::Object::read(ambit_api::Kind::Pod, pod).unwrap();
            Event::Upsert(ambit_api::translate(&pod, &Mesh::default()).unwrap().resource)
        });
        index.apply(events.collect());
        index.snapshot()
    }

    fn agent() -> Pod {
        let account = "istio-system/ztunnel".parse().unwrap();
        Pod { account, name: "ztunnel-1".to_owned(), uid: UID.parse().unwrap(), node: "a".into() }
    }

    #[test]
    fn an_answer_is_believed_for_a_moment_and_while_its_pod_is_there() {
        let (there, now) = (mesh(&[("ztunnel-1", UID, "a", "ztunnel")]), Instant::now());
        let caller = Caller::Node("a".into());
        let noted = || {
            let mut seen = Seen::default();
            seen.note("t", caller.clone(), agent(), now);
            seen
        };
        let mut seen = noted();
        assert_eq!(seen.recall("t", &there, now + BELIEVED / 2), Some(caller.clone()));
        assert_eq!(seen.recall("other", &there, now), None);
        assert_eq!(seen.recall("t", &there, now + BELIEVED), None);
        assert_eq!(seen.recall("t", &there, now), None, "what was too old is forgotten");
        for pod in [(UID, "b", "ztunnel"), (UID, "a", "other"), (OTHER, "a", "ztunnel"), ("", "a", "ztunnel")] {
            let (uid, node, account) = pod;
            let changed = mesh(&[("ztunnel-1", uid, node, account)]);
            assert_eq!(noted().recall("t", &changed, now), None, "{pod:?}");
        }
        assert_eq!(noted().recall("t", &mesh(&[]), now), None);
    }

    #[test]
    fn what_is_kept_is_bounded_and_what_is_too_old_makes_room() {
        let (there, now) = (mesh(&[("ztunnel-1", UID, "a", "ztunnel")]), Instant::now());
        let mut seen = Seen::default();
        for number in 0..=KEPT {
            seen.note(&number.to_string(), Caller::Node("a".into()), agent(), now);
        }
        assert_eq!((seen.0.len(), seen.recall(&KEPT.to_string(), &there, now)), (KEPT, None));
        seen.note("late", Caller::Node("a".into()), agent(), now + BELIEVED);
        assert_eq!(seen.0.len(), 1);
    }
}
