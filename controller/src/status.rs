//! What is said in the status of objects: conditions with their times (pure), and the one writer of them. What there is to
//! say of an object is not known here.
//!
//! A status is written as a merge patch of the version that was read. By server-side apply what others have said would be
//! lost: in Istio's kinds the list of conditions, and in routes the list of parents, is one value.

use std::collections::BTreeMap;

use kube::ResourceExt;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::ApiResource;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing::debug;

use crate::cluster::{Cluster, Why, full_name};
use crate::json::at;

/// Statuses have a manager of their own: before Kubernetes 1.22 fields of a status and of its object were told apart by that
/// alone.
const MANAGER: &str = "ambit-controller-status";

/// A condition before it has a time (meta/v1 Condition).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    /// What it is about: its type.
    pub(crate) kind: &'static str,
    /// Whether it holds.
    pub(crate) holds: bool,
    /// Why, in one word.
    pub(crate) reason: &'static str,
    /// Why, for people.
    pub(crate) message: String,
}

impl Condition {
    /// One that holds.
    pub(crate) fn yes(kind: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind, holds: true, reason, message: message.into() }
    }

    /// One that does not hold.
    pub(crate) fn no(kind: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind, holds: false, reason, message: message.into() }
    }
}

/// The list of conditions that was `before` (null for none), after it was found at `now` (RFC 3339) that of the types `ours`
/// exactly `found` are to be there, for `generation` of the object. What is of other types stays, and so do the times of
/// conditions that hold, or do not, as before.
pub(crate) fn conditions(
    before: &Value,
    ours: &[&str],
    found: &[Condition],
    (generation, now): (i64, &str),
) -> Vec<Value> {
    let known = before.as_array().map_or(&[][..], Vec::as_slice);
    let kind = |condition: &Value| condition["type"].as_str().unwrap_or_default().to_owned();
    let mut list: Vec<Value> = known.iter().filter(|was| !ours.contains(&&*kind(was))).cloned().collect();
    for Condition { kind, holds, reason, message } in found {
        let holds = if *holds { "True" } else { "False" };
        let was = known.iter().find(|was| was["type"] == *kind && was["status"] == holds);
        let since = was.and_then(|was| was["lastTransitionTime"].as_str()).unwrap_or(now);
        list.push(json!({
            "type": kind,
            "status": holds,
            "reason": reason,
            "message": message,
            "observedGeneration": generation,
            "lastTransitionTime": since,
        }));
    }
    // What is listed in another order says the same.
    let place = |condition: &Value| known.iter().position(|was| kind(was) == kind(condition)).unwrap_or(known.len());
    list.sort_by_key(place);
    list
}

/// True if a status, `before`, says every field of `status`; what is null there is not to be said.
pub(crate) fn is_said(before: &Value, status: &Value) -> bool {
    status.as_object().into_iter().flatten().all(|(field, value)| before[field] == *value)
}

/// Writes statuses.
pub(crate) struct Statuses<'a> {
    cluster: &'a Cluster,
    /// What was written and has not stayed as it was written, by the object's UID, with the version that came of it: an API
    /// that drops a field is not asked for it again and again.
    lost: BTreeMap<String, (Value, Option<String>)>,
}

impl<'a> Statuses<'a> {
    /// Writes to `cluster`; nothing is known to be written.
    pub(crate) fn new(cluster: &'a Cluster) -> Self {
        Self { cluster, lost: BTreeMap::new() }
    }

    /// Has `object`, of the kind `kind`, say every field of `status`, and not say those that are null; nothing is written if
    /// it does. If the object has changed meanwhile nothing is written either: whoever follows it is told of that.
    ///
    /// # Errors
    /// What the API says.
    pub(crate) async fn say(&mut self, kind: &ApiResource, object: &DynamicObject, status: Value) -> kube::Result<()> {
        let (uid, version) = (object.uid().unwrap_or_default(), object.resource_version());
        if is_said(at(&object.data, &["status"]), &status) {
            self.lost.remove(&uid);
            return Ok(());
        }
        if self.lost.get(&uid).is_some_and(|(lost, at)| *lost == status && *at == version) {
            return Ok(());
        }
        let api = match object.namespace() {
            Some(namespace) => self.cluster.within(&namespace, kind),
            None => self.cluster.all(kind),
        };
        let patch = json!({"metadata": {"uid": uid, "resourceVersion": version}, "status": status});
        let how = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        match api.patch_status(&object.name_any(), &how, &Patch::Merge(&patch)).await {
            Ok(answered) => {
                debug!(kind = kind.kind, object = full_name(object), "status written");
                if !is_said(at(&answered.data, &["status"]), &status) {
                    debug!(kind = kind.kind, object = full_name(object), "the API does not keep all of a status");
                    self.lost.insert(uid, (status, answered.resource_version()));
                }
                Ok(())
            }
            // It was changed or deleted meanwhile.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            // Whoever had it said tells of it: there can be many of them.
            Err(error) => {
                debug!(kind = kind.kind, object = full_name(object), "the status cannot be written: {}", Why(&error));
                Err(error)
            }
        }
    }
}

/// The time, as conditions have it.
pub(crate) fn now() -> String {
    let now = OffsetDateTime::now_utc();
    now.replace_nanosecond(0).unwrap_or(now).format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: [&str; 2] = ["Accepted", "Programmed"];

    fn listed(before: &Value, found: &[Condition], now: &str) -> Value {
        conditions(before, &OURS, found, (1, now)).into()
    }

    #[test]
    fn what_has_not_changed_keeps_its_time_and_is_the_same() {
        let found = [Condition::yes("Accepted", "Accepted", ""), Condition::no("Programmed", "Pending", "")];
        let first = listed(&Value::Null, &found, "first");
        assert_eq!(listed(&first, &found, "later"), first);
        let changed = [found[0].clone(), Condition::yes("Programmed", "Programmed", "")];
        let later = listed(&first, &changed, "later");
        assert_eq!(
            (&later[0]["lastTransitionTime"], &later[1]["lastTransitionTime"]),
            (&json!("first"), &json!("later"))
        );
        assert_eq!((&later[1]["status"], &later[1]["observedGeneration"]), (&json!("True"), &json!(1)));
    }

    #[test]
    fn of_others_conditions_nothing_changes_and_ours_go_when_they_are_no_longer_found() {
        let theirs = json!({"type": "Reconciled", "status": "Unknown"});
        let found = [Condition::yes("Programmed", "Programmed", "")];
        let before = json!([listed(&Value::Null, &found, "first")[0], theirs]);
        assert_eq!(listed(&before, &found, "later"), before, "nor their order");
        assert_eq!(listed(&before, &[], "later"), json!([theirs]));
        let both = listed(&json!([theirs]), &found, "first");
        assert_eq!((&both[0], &both[1]["type"]), (&theirs, &json!("Programmed")));
    }

    #[test]
    fn a_status_is_said_when_every_field_is_and_what_is_null_is_absent() {
        let before = json!({"conditions": [1], "addresses": ["a"], "theirs": true});
        assert!(is_said(&before, &json!({"conditions": [1]})));
        for other in
            [json!({"conditions": []}), json!({"conditions": [1], "addresses": null}), json!({"listeners": []})]
        {
            assert!(!is_said(&before, &other), "{other}");
        }
        assert!(is_said(&Value::Null, &json!({"addresses": null})));
    }
}
