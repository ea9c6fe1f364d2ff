//! The tokens of end users that requests carry: found where RequestAuthentications say, verified, and turned into what policies
//! and routes ask for and what goes on to the application, as Envoy's jwt_authn has it. A request without a token passes.

mod fetch;
mod keys;
mod place;
mod verified;

use std::sync::Arc;
use std::time::SystemTime;

use ambit_identity::jose::{self, Fault, Keys, Token};
use ambit_model::Snapshot;
use ambit_model::policy::{Claims, TokenRule};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, request};

pub(crate) use fetch::Fetcher;
pub(crate) use keys::{Here, KeyRing, Known, follow};
pub(crate) use verified::Verified;

use crate::arrival::Arrival;
use crate::http::{Asked, LocalAnswer};
use crate::proxy::Proxy;

/// The longest token that is remembered, in bytes: others are verified each time.
const REMEMBERED: usize = 8 << 10;

/// Why a token is not taken, and what its client is not told of that; nothing, as a rule.
struct Refusal {
    fault: Fault,
    seen: String,
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self { fault, seen: String::new() }
    }
}

/// Verifies the token of a request that came by `arrival`, if it has one; then `asked` has its claims, and `head` goes on as
/// its rule says.
///
/// # Errors
/// The answer to a request whose token is not taken.
pub(crate) async fn verify(
    proxy: &Proxy,
    snapshot: &Snapshot,
    arrival: &Arrival,
    (head, asked): (&mut request::Parts, &mut Asked),
) -> Result<(), LocalAnswer> {
    let rules: Vec<Arc<TokenRule>> = snapshot.policies.tokens(&arrival.policed).into_iter().cloned().collect();
    // What a rule writes no client writes.
    for name in rules.iter().flat_map(|rule| outputs(rule)) {
        head.headers.remove(&**name);
    }
    if rules.is_empty() || is_preflight(head) {
        return Ok(());
    }
    let mut refusal: Option<Refusal> = None;
    for rule in &rules {
        match taken(proxy, rule, &head.headers, &asked.path).await {
            Ok(None) => {}
            Ok(Some(token)) => {
                pass_on(rule, &token, &mut head.headers, asked);
                asked.claims = Some(Claims::new(token.payload().clone(), rule.space_delimited.clone()));
                return Ok(());
            }
            // That a token is of none of the other issuers says less than what is wrong with it.
            Err(other) if refusal.is_none() || other.fault != Fault::UnknownIssuer => refusal = Some(other),
            Err(_) => {}
        }
    }
    if refusal.is_some() {
        // It may be good elsewhere: nobody is told of it.
        for rule in &rules {
            if let Some(path) = place::remove(&rule.locations, &mut head.headers.clone(), &asked.path) {
                asked.path = path;
                asked.had_token = true;
            }
        }
    }
    refusal.map_or(Ok(()), |Refusal { fault, seen }| {
        let uri = format!("{}://{}{:.256}", asked.scheme, asked.authority, asked.path);
        Err(LocalAnswer::unauthenticated(fault, &uri, seen))
    })
}

/// The fields that `rule` writes.
fn outputs(rule: &TokenRule) -> impl Iterator<Item = &Arc<str>> {
    rule.payload_field.iter().chain(rule.claim_fields.iter().map(|(field, _)| field))
}

/// True for what a browser asks before it asks: it carries no token (Fetch section 3.2.2).
fn is_preflight(head: &request::Parts) -> bool {
    head.method == Method::OPTIONS
        && head.headers.contains_key(header::ORIGIN)
        && head.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The token of a request that `rule` takes; none where it has none. Of several all must be such.
async fn taken(proxy: &Proxy, rule: &TokenRule, fields: &HeaderMap, path: &str) -> Result<Option<Arc<Token>>, Refusal> {
    let mut first = None;
    for text in place::tokens(&rule.locations, fields, path) {
        let token = judge(proxy, rule, &text).await?;
        first.get_or_insert(token);
    }
    Ok(first)
}

async fn judge(proxy: &Proxy, rule: &TokenRule, text: &str) -> Result<Arc<Token>, Refusal> {
    let fingerprint = jose::fingerprint(text);
    let known = proxy.verified.borrow_mut().find(&fingerprint);
    let (token, verified_by) = match known {
        Some((token, keys)) => (token, Some(keys)),
        None => (Arc::new(Token::parse(text)?), None),
    };
    if rule.issuer.as_ref().is_some_and(|issuer| **issuer != *token.issuer()) {
        return Err(Fault::UnknownIssuer.into());
    }
    token.check_time(SystemTime::now())?;
    token.check_audience(&rule.audiences)?;
    let patience = proxy.shared.limits.patience;
    let keys = proxy.shared.keys.of(&rule.keys, patience).await;
    let keys = keys.map_err(|(fault, seen)| Refusal { fault, seen: seen.to_string() })?;
    if verified_by.is_some_and(|by| Arc::ptr_eq(&by, &keys)) {
        return Ok(token);
    }
    let keys = match token.verify(&keys) {
        // The issuer may just have made another.
        Err(Fault::UnknownKey) => {
            let newer: Option<Arc<Keys>> = proxy.shared.keys.newer(&rule.keys, patience).await;
            let keys = newer.ok_or(Fault::UnknownKey)?;
            token.verify(&keys)?;
            keys
        }
        verified => verified.map(|()| keys)?,
    };
    if text.len() <= REMEMBERED {
        proxy.verified.borrow_mut().put(fingerprint, (token.clone(), keys));
    }
    Ok(token)
}

/// Has the request go on without its token, unless `rule` says otherwise, and with what `rule` takes out of it.
fn pass_on(rule: &TokenRule, token: &Token, fields: &mut HeaderMap, asked: &mut Asked) {
    if !rule.forwards
        && let Some(path) = place::remove(&rule.locations, fields, &asked.path)
    {
        asked.path = path;
        asked.had_token = true;
    }
    let mut set = |name: &str, value: &str| {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(value.as_bytes())) {
            fields.insert(name, value);
        }
    };
    if let Some(name) = &rule.payload_field {
        set(name, token.encoded_payload());
    }
    let claims = Claims::new(token.payload().clone(), rule.space_delimited.clone());
    for (name, claim) in &rule.claim_fields {
        if let Some(value) = claims.field(claim) {
            set(name, &value);
        }
    }
}
