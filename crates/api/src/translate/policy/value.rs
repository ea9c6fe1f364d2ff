//! The values that rules of policies ask for: patterns of texts, addresses and ports.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use ambit_model::policy::{Attribute, Pattern};

use crate::kind::ObjectRef;
use crate::name;

/// The pattern `text` for `attribute`, in a policy `id`.
pub(super) fn text(attribute: &Attribute, text: &str, id: &ObjectRef) -> Result<Pattern, String> {
    match attribute {
        Attribute::ServiceAccount => service_account(text, id),
        Attribute::Principal if text.starts_with("spiffe:") => {
            Err("is written without spiffe://, as in cluster.local/ns/shop/sa/web".to_owned())
        }
        Attribute::TrustDomain if text.contains('/') => {
            Err(format!("{:?} is no trust domain: write one such as cluster.local", name::shortened(text)))
        }
        // Names of hosts have no case.
        Attribute::Host | Attribute::Sni => parsed(text).map(Pattern::lowercase),
        _ => parsed(text),
    }
}

/// What `text` says, for what reads itself.
pub(super) fn parsed<T: FromStr<Err: fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| format!("{:?} is not allowed: {error}", name::shortened(text)))
}

/// `<namespace>/<service account>`, or a service account of the policy's own namespace. No pattern.
fn service_account(text: &str, id: &ObjectRef) -> Result<Pattern, String> {
    let (namespace, account) = text.split_once('/').unwrap_or((&id.namespace, text));
    if name::label(namespace).is_err() || name::subdomain(account).is_err() {
        let expected = "write <service account> or <namespace>/<service account>; patterns are for principals";
        return Err(format!("{:?} is not allowed: {expected}", name::shortened(text)));
    }
    Ok(Pattern::Exact(Arc::from(format!("{namespace}/{account}"))))
}

/// A port's number as text.
pub(super) fn port(text: &str) -> Result<u16, String> {
    let number = Some(text).filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
    let number = number.and_then(|text| text.parse().ok());
    number.map_or_else(|| Err(format!("{:?} is no port: 1 to 65535 are", name::shortened(text))), name::port)
}
