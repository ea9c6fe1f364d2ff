//! End users' tokens (RFC 7519) as RequestAuthentications ask for them (Istio `security.istio.io`): where they stand, who has
//! issued them and by which keys, what becomes of them, and what a verified one says. Knows no cryptography and no clock:
//! verifying is for whoever carries requests.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::{PolicyKey, Scope};

/// A RequestAuthentication.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RequestAuthentication {
    /// Its namespace and name.
    pub key: PolicyKey,
    /// What it is for.
    pub scope: Scope,
    /// `jwtRules`: a request may have a token of any of them, and need not have one.
    pub rules: Vec<Arc<TokenRule>>,
}

/// Which tokens are taken, and what becomes of them (Istio `JWTRule`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TokenRule {
    /// `issuer`: who must have issued a token; none for anybody who has the keys.
    pub issuer: Option<Arc<str>>,
    /// `audiences`: a token must be for one of them; empty for whatever it is for.
    pub audiences: Vec<Arc<str>>,
    /// Where the issuer's keys are.
    pub keys: KeySource,
    /// `fromHeaders`, `fromParams`, `fromCookies`: where a token may stand.
    pub locations: Vec<Location>,
    /// `forwardOriginalToken`: the token goes on with the request.
    pub forwards: bool,
    /// `outputPayloadToHeader`: the field that has the payload as the token has it, in base64url.
    pub payload_field: Option<Arc<str>>,
    /// `outputClaimToHeaders`: fields, each with the claim that it has.
    pub claim_fields: Vec<(Arc<str>, Arc<str>)>,
    /// `timeout`: how long fetching the keys may take.
    pub timeout: Duration,
    /// `spaceDelimitedClaims`, with `scope` and `permission`: claims that are lists, written with spaces between.
    pub space_delimited: Arc<BTreeSet<Arc<str>>>,
}

/// Where an issuer's keys are (RFC 7517).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum KeySource {
    /// `jwks`: here.
    Inline(Arc<str>),
    /// `jwksUri`: at this URL.
    At(Arc<str>),
    /// Where this issuer says (OpenID Connect Discovery 1.0 section 4).
    Discovered(Arc<str>),
}

/// Where a token stands in a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Location {
    /// In the field of this name, in lower case, behind this text; that may be empty.
    Field(Arc<str>, Arc<str>),
    /// In the query parameter of this name.
    Parameter(Arc<str>),
    /// In the cookie of this name.
    Cookie(Arc<str>),
}

/// A claim, and what is within it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClaimPath(Vec<Arc<str>>);

impl ClaimPath {
    /// The claim that `parts` lead to; none if there are none, or one is empty.
    #[must_use]
    pub fn new<'a>(parts: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let parts: Vec<Arc<str>> = parts.into_iter().map(Arc::from).collect();
        (!parts.is_empty() && parts.iter().all(|part| !part.is_empty())).then_some(Self(parts))
    }
}

impl fmt::Display for ClaimPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| write!(f, "[{part}]"))
    }
}

impl Serialize for ClaimPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What policies ask of a token.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TokenAttribute {
    /// `source.requestPrincipals`: `<issuer>/<subject>`.
    RequestPrincipal,
    /// `request.auth.principal`: the same.
    Principal,
    /// `request.auth.audiences`: whom it is for.
    Audiences,
    /// `request.auth.presenter`: to whom it was issued (`azp`, OpenID Connect Core 1.0 section 2).
    Presenter,
    /// `request.auth.claims[...]`.
    Claim(ClaimPath),
}

impl fmt::Display for TokenAttribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RequestPrincipal => f.write_str("source.requestPrincipals"),
            Self::Principal => f.write_str("request.auth.principal"),
            Self::Audiences => f.write_str("request.auth.audiences"),
            Self::Presenter => f.write_str("request.auth.presenter"),
            Self::Claim(path) => write!(f, "request.auth.claims{path}"),
        }
    }
}

impl Serialize for TokenAttribute {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What a verified token says: its payload.
#[derive(Clone, Debug, PartialEq)]
pub struct Claims {
    payload: Arc<Map<String, Value>>,
    space_delimited: Arc<BTreeSet<Arc<str>>>,
}

impl Claims {
    /// What `payload` says, whose claims of the names `space_delimited` are lists.
    #[must_use]
    pub fn new(payload: Arc<Map<String, Value>>, space_delimited: Arc<BTreeSet<Arc<str>>>) -> Self {
        Self { payload, space_delimited }
    }

    /// Every text that `attribute` is; nothing if the token does not say.
    #[must_use]
    pub fn texts(&self, attribute: &TokenAttribute) -> Vec<Arc<str>> {
        match attribute {
            TokenAttribute::RequestPrincipal | TokenAttribute::Principal => self.principal().into_iter().collect(),
            TokenAttribute::Audiences => self.payload.get("aud").map(texts).unwrap_or_default(),
            TokenAttribute::Presenter => self.text("azp").map(Arc::from).into_iter().collect(),
            TokenAttribute::Claim(path) => self.claim(path),
        }
    }

    /// The texts of a claim: itself or, of a list, its elements. What is no text is none.
    #[must_use]
    pub fn claim(&self, ClaimPath(path): &ClaimPath) -> Vec<Arc<str>> {
        let Some((first, within)) = path.split_first() else { return Vec::new() };
        let Some(whole) = self.payload.get(&**first) else { return Vec::new() };
        match whole {
            Value::String(list) if within.is_empty() && self.space_delimited.contains(first) => {
                list.split(' ').filter(|element| !element.is_empty()).map(Arc::from).collect()
            }
            whole => {
                let claim = within.iter().try_fold(whole, |value, part| value.get(&**part));
                claim.map(texts).unwrap_or_default()
            }
        }
    }

    /// What a header field has of the claim `name`, whose parts have dots between: texts, numbers, true and false; none
    /// for anything else.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<String> {
        let nested = || {
            let mut parts = name.split('.');
            let first = self.payload.get(parts.next()?)?;
            parts.try_fold(first, |value, part| value.get(part))
        };
        match self.payload.get(name).or_else(nested)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(holds) => Some(holds.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }

    fn principal(&self) -> Option<Arc<str>> {
        Some(Arc::from(format!("{}/{}", self.text("iss")?, self.text("sub")?)))
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.payload.get(name)?.as_str().filter(|text| !text.is_empty())
    }
}

/// A text, or those in a list.
fn texts(value: &Value) -> Vec<Arc<str>> {
    let all = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    all.iter().filter_map(Value::as_str).map(Arc::from).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claims() -> Claims {
        let payload = json!({
            "iss": "https://a.example", "sub": "ann", "aud": ["x", "y"], "azp": "app", "scope": "read  write",
            "groups": ["dev", 1, "ops"], "level": 7, "ratio": 0.5, "admin": true, "plain": "a b", "none": null,
            "realm": {"roles": ["r1"], "name": "n", "scope": "p q", "deep": {"er": "d"}}, "a.b": "dotted",
        });
        let Value::Object(payload) = payload else { panic!("an object") };
        Claims::new(Arc::new(payload), Arc::new(["scope".into(), "permission".into()].into()))
    }

    #[test]
    fn what_policies_and_routes_ask_of_a_token_are_texts_and_lists_of_them() {
        let claim = |parts: &[&str]| TokenAttribute::Claim(ClaimPath::new(parts.iter().copied()).unwrap());
        for (attribute, expected) in [
            (TokenAttribute::RequestPrincipal, &["https://a.example/ann"][..]),
            (TokenAttribute::Principal, &["https://a.example/ann"]),
            (TokenAttribute::Audiences, &["x", "y"]),
            (TokenAttribute::Presenter, &["app"]),
            (claim(&["scope"]), &["read", "write"]),
            (claim(&["groups"]), &["dev", "ops"]),
            (claim(&["plain"]), &["a b"]),
            (claim(&["level"]), &[]),
            (claim(&["admin"]), &[]),
            (claim(&["none"]), &[]),
            (claim(&["other"]), &[]),
            (claim(&["realm"]), &[]),
            (claim(&["realm", "roles"]), &["r1"]),
            (claim(&["realm", "name"]), &["n"]),
            (claim(&["realm", "scope"]), &["p q"]),
            (claim(&["realm", "deep", "er"]), &["d"]),
            (claim(&["realm", "name", "x"]), &[]),
            (claim(&["a.b"]), &["dotted"]),
        ] {
            let texts = claims().texts(&attribute);
            assert_eq!(texts.iter().map(|text| &**text).collect::<Vec<_>>(), expected, "{attribute}");
        }
        assert_eq!(claim(&["a", "b"]).to_string(), "request.auth.claims[a][b]");
        assert_eq!((ClaimPath::new([]), ClaimPath::new(["a", ""])), (None, None));
    }

    #[test]
    fn nobody_is_a_principal_without_an_issuer_and_a_subject() {
        for payload in
            [json!({"iss": "a"}), json!({"sub": "a"}), json!({"iss": "a", "sub": ""}), json!({"iss": 1, "sub": "a"})]
        {
            let claims = Claims::new(Arc::new(payload.as_object().unwrap().clone()), Arc::default());
            assert!(claims.texts(&TokenAttribute::Principal).is_empty(), "{payload}");
        }
    }

    #[test]
    fn fields_have_texts_numbers_and_truths() {
        for (name, expected) in [
            ("sub", Some("ann")),
            ("scope", Some("read  write")),
            ("level", Some("7")),
            ("ratio", Some("0.5")),
            ("admin", Some("true")),
            ("realm.name", Some("n")),
            ("realm.deep.er", Some("d")),
            ("a.b", Some("dotted")),
            ("realm", None),
            ("groups", None),
            ("none", None),
            ("other", None),
            ("sub.x", None),
        ] {
            assert_eq!(claims().field(name).as_deref(), expected, "{name}");
        }
    }
}
