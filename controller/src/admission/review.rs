//! What is answered to an AdmissionReview (admission.k8s.io/v1): pure. An object is refused if the mesh could not use it, by
//! the very validation that agents and waypoints have; what else there is to know of it comes as warnings.

use ambit_api::{FieldError, Kind, Recognised, Remark, Severity, recognise};
use ambit_discovery::read_object;
use ambit_model::Mesh;
use serde_json::{Value, json};

use crate::json::{at, set};

/// An object with this annotation is refused, whatever it is: so it is found whether the webhook is asked.
pub(super) const ALWAYS_REFUSED: &str = "ambit.dev/always-refused";

/// How much of a warning API servers pass on, and how many we give.
const WARNING: usize = 256;
const WARNINGS: usize = 12;

/// What is answered.
#[derive(Debug)]
pub(super) struct Answer {
    /// The AdmissionReview.
    pub(super) response: Value,
    /// How it is counted.
    pub(super) verdict: Verdict,
}

/// What was reviewed: a kind, in a version of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Counted {
    pub(super) kind: Kind,
    pub(super) version: &'static str,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is allowed.
    Passed(Counted),
    /// It is refused, for this reason (Istio's names).
    Failed(Counted, &'static str),
    /// There was nothing to look at.
    Ignored,
}

/// What is answered to `body`, where the mesh is `mesh`.
///
/// # Errors
/// Why it is no AdmissionReview.
pub(super) fn answer(body: &[u8], mesh: &Mesh) -> Result<Answer, String> {
    let review: Value = serde_json::from_slice(body).map_err(|error| format!("this is no AdmissionReview: {error}"))?;
    let text = |field: &str| at(&review, &[field]).as_str();
    if (text("apiVersion"), text("kind")) != (Some("admission.k8s.io/v1"), Some("AdmissionReview")) {
        return Err("this is no AdmissionReview of admission.k8s.io/v1".to_owned());
    }
    let request = at(&review, &["request"]);
    let uid = request["uid"].as_str().ok_or("the request has no uid")?;
    let mut said = Said { refused: None, warnings: Vec::new(), verdict: Verdict::Ignored };
    if matches!(request["operation"].as_str(), Some("CREATE" | "UPDATE")) && !is_ending(&request["object"]) {
        said.look_at(request, mesh);
    }
    let mut response = json!({"uid": uid, "allowed": said.refused.is_none()});
    if let Some(message) = said.refused {
        // Of what is `Invalid` kubectl shows no message.
        set(&mut response, &["status"], json!({"code": 400, "reason": "BadRequest", "message": message}));
    }
    if !said.warnings.is_empty() {
        set(&mut response, &["warnings"], json!(said.warnings));
    }
    // What was only tried is not counted.
    let verdict = if request["dryRun"] == true { Verdict::Ignored } else { said.verdict };
    let response = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
    Ok(Answer { response, verdict })
}

/// True of an object that is being deleted: whoever takes a finalizer from it is not held up.
fn is_ending(object: &Value) -> bool {
    !at(object, &["metadata", "deletionTimestamp"]).is_null()
}

struct Said {
    /// Why it is refused, if it is.
    refused: Option<String>,
    warnings: Vec<String>,
    verdict: Verdict,
}

impl Said {
    fn look_at(&mut self, request: &Value, mesh: &Mesh) {
        let object = &request["object"];
        let text = |field: &str| object[field].as_str().unwrap_or_default();
        let (api_version, name) = (text("apiVersion"), text("kind"));
        let kind = match recognise(api_version, name) {
            Recognised::Known(kind) => kind,
            Recognised::NotInEffect => {
                self.warn(&format!("{name} is not in effect: this version does not act on {api_version} {name}"));
                return;
            }
            Recognised::WrongVersion(_) | Recognised::Foreign => return,
        };
        let Some(version) = kind.versions().iter().copied().find(|version| *version == api_version) else { return };
        let counted = Counted { kind, version };
        self.verdict = Verdict::Passed(counted);
        if !at(object, &["metadata", "annotations", ALWAYS_REFUSED]).is_null() {
            self.refused = Some(format!("{ALWAYS_REFUSED}: it asks to be refused"));
            self.verdict = Verdict::Failed(counted, "invalid_resource");
            return;
        }
        match read_object(kind, &named(object, request).to_string(), mesh) {
            Ok(read) => self.remark(read.remarks),
            Err(mut errors) => {
                let spec = |which: &str| at(request, &[which, "spec"]);
                if request["operation"] == "UPDATE" && spec("object") == spec("oldObject") {
                    // It was let in once, and stays as it is: labels and finalizers can still be changed.
                    let (old, new) = errors.into_iter().partition(|error| error.path.starts_with("spec"));
                    errors = new;
                    old.iter().for_each(|error: &FieldError| self.warn(&error.to_string()));
                }
                self.refuse(&errors, counted);
            }
        }
    }

    fn refuse(&mut self, errors: &[FieldError], counted: Counted) {
        let all: Vec<String> = errors.iter().map(shown).collect();
        if all.is_empty() {
            return;
        }
        let whole = errors.iter().all(|error| error.path.is_empty());
        self.verdict = Verdict::Failed(counted, if whole { "yaml_decode_error" } else { "invalid_resource" });
        self.refused = Some(all.join("; "));
    }

    fn remark(&mut self, remarks: Vec<Remark>) {
        let grave = remarks.iter().filter(|remark| remark.severity == Severity::Warning);
        grave.for_each(|remark| self.warn(&shown(&remark.field)));
    }

    fn warn(&mut self, text: &str) {
        if self.warnings.len() < WARNINGS {
            self.warnings.push(
                text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(WARNING).collect(),
            );
        }
    }
}

/// A finding, by its path if it has one.
fn shown(field: &FieldError) -> String {
    if field.path.is_empty() { field.message.clone() } else { field.to_string() }
}

/// The object of `request` as it will be called: a name that the API server is yet to make up, and a namespace that the
/// request's path alone has, are put into it.
fn named(object: &Value, request: &Value) -> Value {
    let mut object = object.clone();
    let is_missing = |value: &Value| value.as_str().is_none_or(str::is_empty);
    if is_missing(at(&object, &["metadata", "name"])) {
        let prefix = at(&object, &["metadata", "generateName"]).as_str().map(str::to_owned);
        let made_up = prefix.map(|prefix| format!("{prefix}00000"));
        set(&mut object, &["metadata", "name"], json!(made_up));
    }
    if is_missing(at(&object, &["metadata", "namespace"])) {
        set(&mut object, &["metadata", "namespace"], request["namespace"].clone());
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(spec: &Value) -> Value {
        let metadata = json!({"name": "p", "namespace": "shop"});
        json!({"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": metadata, "spec": spec})
    }

    fn ask(operation: &str, object: &Value, old: &Value) -> Answer {
        let request =
            json!({"uid": "u", "operation": operation, "namespace": "shop", "object": object, "oldObject": old});
        let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request});
        let answer = answer(review.to_string().as_bytes(), &Mesh::default()).unwrap();
        assert_eq!(answer.response["response"]["uid"], "u");
        answer
    }

    fn create(object: &Value) -> (bool, String, Vec<String>, Verdict) {
        told(&ask("CREATE", object, &Value::Null))
    }

    fn told(answer: &Answer) -> (bool, String, Vec<String>, Verdict) {
        let response = &answer.response["response"];
        let message = at(response, &["status", "message"]).as_str().unwrap_or_default().to_owned();
        let warnings = response["warnings"].as_array().into_iter().flatten();
        let warnings = warnings.map(|text| text.as_str().unwrap().to_owned()).collect();
        (response["allowed"].as_bool().unwrap(), message, warnings, answer.verdict)
    }

    const POLICY: Counted = Counted { kind: Kind::AuthorizationPolicy, version: "security.istio.io/v1" };

    #[test]
    fn what_is_valid_passes_and_what_is_to_be_known_of_it_is_a_warning() {
        let passed = create(&policy(&json!({"rules": [{"from": [{"source": {"namespaces": ["shop"]}}]}]})));
        assert_eq!(passed, (true, String::new(), vec![], Verdict::Passed(POLICY)));
        let (allowed, _, warnings, _) =
            create(&policy(&json!({"rules": [{"to": [{"operation": {"methods": ["GET"]}}]}]})));
        assert!(allowed && warnings.len() == 1);
        assert!(warnings[0].starts_with("spec.rules[0]: operation.methods cannot be seen at layer 4"), "{warnings:?}");
        // A notice is none.
        assert_eq!(create(&policy(&json!({"action": "AUDIT", "rules": [{}]}))).2, [""; 0]);
    }

    #[test]
    fn whatever_is_wrong_is_said_by_its_path_all_at_once() {
        let wrong = json!({"action": "ALOW", "rules": [{"form": []}], "provider": {"name": "x"}});
        let (allowed, message, _, verdict) = create(&policy(&wrong));
        assert!(!allowed && verdict == Verdict::Failed(POLICY, "invalid_resource"));
        for path in ["spec.action: ", "spec.rules[0].form: ", "spec.provider: "] {
            assert!(message.contains(path), "{message}");
        }
        let (allowed, message, ..) = create(&policy(&json!({"rules": "none"})));
        assert!(!allowed && message.starts_with("spec.rules: "), "{message}");
    }

    #[test]
    fn what_is_deleted_or_ending_or_of_no_concern_is_never_refused() {
        let wrong = policy(&json!({"action": "ALOW"}));
        assert!(told(&ask("DELETE", &Value::Null, &wrong)).0);
        let mut ending = wrong.clone();
        ending["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(told(&ask("UPDATE", &ending, &wrong)), (true, String::new(), vec![], Verdict::Ignored));
        let foreign = json!({"apiVersion": "apps/v1", "kind": "Deployment"});
        assert_eq!(create(&foreign), (true, String::new(), vec![], Verdict::Ignored));
        let filter = json!({"apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter"});
        let (allowed, _, warnings, _) = create(&filter);
        assert!(allowed && warnings[0].contains("EnvoyFilter is not in effect"), "{warnings:?}");
    }

    #[test]
    fn what_got_in_once_can_be_labelled_but_not_written_anew() {
        let wrong = policy(&json!({"action": "ALOW"}));
        let mut labelled = wrong.clone();
        labelled["metadata"]["labels"] = json!({"team": "shop"});
        let (allowed, _, warnings, _) = told(&ask("UPDATE", &labelled, &wrong));
        assert!(allowed && warnings[0].starts_with("spec.action: "), "{warnings:?}");
        let other = policy(&json!({"action": "DENNY"}));
        assert!(!told(&ask("UPDATE", &other, &wrong)).0);
        assert!(!told(&ask("CREATE", &wrong, &Value::Null)).0);
    }

    #[test]
    fn a_name_that_is_yet_to_be_made_up_is_no_mistake_and_a_trial_is_not_counted() {
        let mut generated = policy(&json!({}));
        generated["metadata"] = json!({"generateName": "p-"});
        assert!(create(&generated).0);
        generated["metadata"] = json!({"generateName": "P_"});
        assert!(create(&generated).1.starts_with("metadata.name: "));
        let review = json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {"uid": "u", "operation": "CREATE", "dryRun": true, "object": policy(&json!({}))},
        });
        let answer = answer(review.to_string().as_bytes(), &Mesh::default()).unwrap();
        assert_eq!(answer.verdict, Verdict::Ignored);
    }

    #[test]
    fn what_asks_to_be_refused_is_and_what_is_no_review_is_said_to_be_none() {
        let mut marked = policy(&json!({}));
        marked["metadata"]["annotations"] = json!({ALWAYS_REFUSED: "true"});
        assert!(create(&marked).1.contains(ALWAYS_REFUSED));
        for body in ["", "[]", "{}", r#"{"apiVersion": "admission.k8s.io/v1beta1", "kind": "AdmissionReview"}"#] {
            answer(body.as_bytes(), &Mesh::default()).unwrap_err();
        }
    }
}
