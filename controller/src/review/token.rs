//! What a TokenReview says of a token: whose it is, or why it is nobody's. Pure. What the token says of itself is believed
//! of nothing but the remedy that its bearer is told.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ambit_ca::Refusal;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::json::at;

/// How much of what the API says of a token is passed on.
const QUOTED: usize = 200;

/// A service account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Account {
    /// Its namespace.
    pub(crate) namespace: String,
    /// Its name there.
    pub(crate) name: String,
}

/// As `namespace/name`.
impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl FromStr for Account {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
                Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => Err(format!("{text:?} is no service account: write it as NAMESPACE/NAME")),
        }
    }
}

/// Whose a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bearer {
    pub(super) account: Account,
    /// None for a token that was made for no pod.
    pub(super) pod: Option<Bound>,
}

/// The pod that a token is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bound {
    pub(super) name: String,
    pub(super) uid: String,
}

/// Whose `token` is by the `status` of its review, which asked for `audience`.
pub(super) fn read(status: &Value, token: &str, audience: &str, now: SystemTime) -> Result<Bearer, Refusal> {
    if status["authenticated"] != true {
        return Err(diagnose(token, status["error"].as_str().unwrap_or_default(), audience, now));
    }
    // An authenticator that knows nothing of audiences takes every token, and says none here.
    if !texts(&status["audiences"]).any(|confirmed| confirmed == audience) {
        let found = Claims::of(token).map(|claims| claims.audiences).unwrap_or_default();
        return Err(Refusal::WrongAudience { expected: audience.to_owned(), found });
    }
    let user = at(status, &["user", "username"]).as_str().unwrap_or_default();
    let account = match user.split(':').collect::<Vec<_>>()[..] {
        ["system", "serviceaccount", namespace, name] => {
            Account { namespace: namespace.to_owned(), name: name.to_owned() }
        }
        _ => return Err(Refusal::Unauthenticated(format!("it is of {user:?}, which is no service account"))),
    };
    let extra = |name: &str| {
        let name = format!("authentication.kubernetes.io/{name}");
        texts(at(status, &["user", "extra", &name])).next().map(str::to_owned)
    };
    let pod = extra("pod-name").zip(extra("pod-uid")).map(|(name, uid)| Bound { name, uid });
    Ok(Bearer { account, pod })
}

/// Why a token that the API does not accept is not accepted, as far as it can be told.
fn diagnose(token: &str, error: &str, audience: &str, now: SystemTime) -> Refusal {
    let said: String = error.chars().take(QUOTED).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let Some(claims) = Claims::of(token) else {
        return Refusal::Unauthenticated(
            "it is no service account token: give the pod a projected one (serviceAccountToken)".to_owned(),
        );
    };
    if !claims.audiences.iter().any(|found| found == audience) {
        return Refusal::WrongAudience { expected: audience.to_owned(), found: claims.audiences };
    }
    if claims.expires <= now {
        return Refusal::TokenExpired;
    }
    match claims.pod {
        // Kubernetes says so of every version since 1.12, if its pod or its account is gone.
        Some(pod) if said.contains("invalidated") => Refusal::PodGone { pod },
        _ => Refusal::Unauthenticated(format!("the Kubernetes API says: {said}; is it a token of this cluster?")),
    }
}

/// What a token says of itself.
struct Claims {
    audiences: Vec<String>,
    expires: SystemTime,
    /// As `namespace/name`.
    pod: Option<String>,
}

impl Claims {
    fn of(token: &str) -> Option<Self> {
        let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
        let claims: Value = serde_json::from_slice(&payload).ok()?;
        let audiences = match at(&claims, &["aud"]) {
            Value::String(one) => vec![one.clone()],
            several => texts(several).map(str::to_owned).collect(),
        };
        let expires = UNIX_EPOCH.checked_add(Duration::from_secs(at(&claims, &["exp"]).as_u64()?))?;
        let bound = at(&claims, &["kubernetes.io"]);
        let pod = bound["namespace"].as_str().zip(at(bound, &["pod", "name"]).as_str());
        Some(Self { audiences, expires, pod: pod.map(|(namespace, name)| format!("{namespace}/{name}")) })
    }
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

#[cfg(test)]
mod tests;
