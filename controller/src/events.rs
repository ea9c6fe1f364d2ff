//! Events at objects of Kubernetes (core/v1, which every kubectl shows with its age and how often). What is the same again is
//! counted in the Event that there is, and what goes on and on is written seldom (`series`, pure). What there is to tell is not
//! known here.

mod series;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use ambit_discovery::resource;
use ambit_telemetry::Family;
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use self::series::{Occasion, Series};
use crate::cluster::FIELD_MANAGER;
use crate::status::now;

/// How much of a message the API takes, in bytes.
const LONGEST: usize = 1024;
/// How much of an object's name an Event's begins with: the whole has to be a name.
const PREFIX: usize = 200;

/// An object that something is told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct About<'a> {
    /// Its kind, of core/v1.
    pub(crate) kind: &'static str,
    /// Where the Event is; of a namespace, the namespace itself.
    pub(crate) namespace: &'a str,
    /// Its name.
    pub(crate) name: &'a str,
    /// Which object of this name.
    pub(crate) uid: &'a str,
}

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    /// In one word: stable, and documented (docs/operations/kubernetes.md).
    pub(crate) reason: &'static str,
    /// True if somebody should look.
    pub(crate) warns: bool,
    /// For people.
    pub(crate) message: String,
}

/// Writes Events.
pub(crate) struct Events {
    client: Client,
    /// Which of several controllers this is.
    replica: String,
    series: Mutex<Series>,
    tally: Mutex<BTreeMap<(&'static str, bool), u64>>,
}

impl Events {
    /// Writes by `client`, as `replica`.
    pub(crate) fn new(client: Client, replica: String) -> Self {
        Self { client, replica, series: Mutex::default(), tally: Mutex::default() }
    }

    /// Tells `notice` of `about`, unless that has just been told, again and again.
    ///
    /// # Errors
    /// What the API says. Of an object that is gone, or whose namespace ends, nothing need be told.
    pub(crate) async fn tell(&self, about: &About<'_>, notice: &Notice) -> kube::Result<()> {
        let (key, now) = ((about.uid.to_owned(), notice.reason), now());
        let occasion = {
            let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
            let fresh = || format!("{}.{:016x}", prefix(about.name), rand::random::<u64>());
            series.note(&key, &notice.message, (Instant::now(), &now), fresh)
        };
        let written = match &occasion {
            Some(occasion) => self.write(about, notice, occasion, &now).await,
            None => Ok(()),
        };
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        match written {
            Err(error) if !is_over(&error) => {
                drop(tally);
                // What is not there is not counted further.
                self.series.lock().unwrap_or_else(PoisonError::into_inner).forget(&key);
                Err(error)
            }
            _ => {
                let count = tally.entry((notice.reason, occasion.is_some())).or_default();
                *count = count.saturating_add(1);
                Ok(())
            }
        }
    }

    /// The counts for Prometheus.
    pub(crate) fn families(&self) -> Vec<Family> {
        let tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut written = Family::counter("ambit_events_written", "Events written at objects of Kubernetes, by reason");
        let mut counted =
            Family::counter("ambit_events_held_back", "Events that were counted and not written, by reason");
        for ((reason, is_written), count) in tally {
            let family = if is_written { &mut written } else { &mut counted };
            *family = family.clone().count([("reason", reason)], count);
        }
        vec![written, counted]
    }

    async fn write(&self, about: &About<'_>, notice: &Notice, occasion: &Occasion, now: &str) -> kube::Result<()> {
        let kind = resource("v1", "Event", "events");
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), about.namespace, &kind);
        if occasion.count > 1 {
            let how = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
            let again = json!({"count": occasion.count, "lastTimestamp": now});
            match api.patch(&occasion.name, &how, &Patch::Merge(&again)).await {
                // Events do not last.
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                other => return other.map(drop),
            }
        }
        let event = event(about, notice, occasion, (now, &self.replica));
        let event: DynamicObject = serde_json::from_value(event).map_err(kube::Error::SerdeError)?;
        let how = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        api.create(&how, &event).await.map(drop)
    }
}

/// The Event, as `replica` writes it at `now` (RFC 3339).
fn event(about: &About<'_>, notice: &Notice, occasion: &Occasion, (now, replica): (&str, &str)) -> Value {
    let About { kind, namespace, name, uid } = about;
    let message = &notice.message;
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": occasion.name, "namespace": namespace},
        "involvedObject": {"apiVersion": "v1", "kind": kind, "namespace": namespace, "name": name, "uid": uid},
        "reason": notice.reason,
        "message": &message[..message.floor_char_boundary(LONGEST)],
        "type": if notice.warns { "Warning" } else { "Normal" },
        "source": {"component": FIELD_MANAGER},
        "reportingComponent": FIELD_MANAGER,
        "reportingInstance": replica,
        "firstTimestamp": occasion.first,
        "lastTimestamp": now,
        "count": occasion.count,
    })
}

/// What of an object's name its Events' names begin with.
fn prefix(name: &str) -> &str {
    name[..name.floor_char_boundary(PREFIX)].trim_end_matches(['.', '-'])
}

/// True if there is nobody left to be told.
fn is_over(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404 || status.message.contains("being terminated"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: About<'_> = About { kind: "Pod", namespace: "shop", name: "reviews-1", uid: "u" };

    fn occasion(count: u64) -> Occasion {
        Occasion { name: "reviews-1.0".to_owned(), first: "then".to_owned(), count }
    }

    #[test]
    fn an_event_is_at_its_object_and_says_how_often_since_when() {
        let notice = Notice { reason: "CaptureFailed", warns: true, message: "why".to_owned() };
        let event = event(&POD, &notice, &occasion(3), ("now", "one"));
        assert_eq!(
            event["involvedObject"],
            json!({"apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": "reviews-1", "uid": "u"})
        );
        assert_eq!(
            (&event["type"], &event["reason"], &event["message"]),
            (&json!("Warning"), &json!("CaptureFailed"), &json!("why"))
        );
        assert_eq!(
            (&event["firstTimestamp"], &event["lastTimestamp"], &event["count"]),
            (&json!("then"), &json!("now"), &json!(3))
        );
    }

    #[test]
    fn names_and_messages_are_what_the_api_takes() {
        assert_eq!(prefix("reviews-1"), "reviews-1");
        let long = format!("{}.{}", "a".repeat(PREFIX - 1), "b".repeat(53));
        assert_eq!(prefix(&long), "a".repeat(PREFIX - 1), "what follows is a part of its own");
        let notice = Notice { reason: "CaptureFailed", warns: false, message: "ä".repeat(LONGEST) };
        let event = event(&POD, &notice, &occasion(1), ("now", "one"));
        assert_eq!(event["message"].as_str().unwrap().len(), LONGEST);
        assert_eq!(event["type"], "Normal");
    }
}
