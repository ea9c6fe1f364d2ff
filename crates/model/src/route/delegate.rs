//! A route that delegates, merged with the routes of the VirtualService that it delegates to (Istio `Delegate`): the
//! delegate's conditions must be within the root's, or its route has no effect.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::text::Text;
use super::virtual_service::{HttpMatch, HttpRoute, Source};

/// The routes of `delegate`, each within `root`.
pub(super) fn merged(root: &HttpRoute, delegate: &[Arc<HttpRoute>]) -> Vec<Arc<HttpRoute>> {
    delegate.iter().filter_map(|route| merged_route(root, route)).map(Arc::new).collect()
}

/// What the delegate says, and what the root says where the delegate says nothing.
fn merged_route(root: &HttpRoute, route: &HttpRoute) -> Option<HttpRoute> {
    Some(HttpRoute {
        name: joined(root.name.as_ref(), route.name.as_ref()),
        matches: merged_matches(&root.matches, &route.matches)?,
        action: route.action.clone(),
        rewrite: route.rewrite.clone().or_else(|| root.rewrite.clone()),
        timeout: route.timeout.or(root.timeout),
        retries: route.retries.clone().or_else(|| root.retries.clone()),
        fault: route.fault.clone().or_else(|| root.fault.clone()),
        mirrors: if route.mirrors.is_empty() { root.mirrors.clone() } else { route.mirrors.clone() },
        cors: route.cors.clone().or_else(|| root.cors.clone()),
        headers: route.headers.clone().or_else(|| root.headers.clone()),
    })
}

fn joined(root: Option<&Arc<str>>, own: Option<&Arc<str>>) -> Option<Arc<str>> {
    match (root, own) {
        (Some(root), Some(own)) => Some(Arc::from(format!("{root}-{own}"))),
        (root, own) => root.or(own).cloned(),
    }
}

/// Each block of the delegate within each of the root's that it fits; none if one fits nowhere.
fn merged_matches(root: &[HttpMatch], own: &[HttpMatch]) -> Option<Vec<HttpMatch>> {
    if root.is_empty() || own.is_empty() {
        return Some(if own.is_empty() { root.to_vec() } else { own.to_vec() });
    }
    let mut merged = Vec::new();
    for block in own {
        let fitting = root.iter().filter(|wider| fits(wider, block));
        let before = merged.len();
        merged.extend(fitting.map(|wider| merged_match(wider, block)));
        if merged.len() == before {
            return None;
        }
    }
    Some(merged)
}

fn merged_match(root: &HttpMatch, own: &HttpMatch) -> HttpMatch {
    let either = |own: &Option<Text>, root: &Option<Text>| own.clone().or_else(|| root.clone());
    HttpMatch {
        name: joined(root.name.as_ref(), own.name.as_ref()),
        source: Source {
            gateways: if own.source.gateways.is_empty() { &root.source } else { &own.source }.gateways.clone(),
            port: own.source.port.or(root.source.port),
            labels: root.source.labels.clone().into_iter().chain(own.source.labels.clone()).collect(),
            namespace: own.source.namespace.clone().or_else(|| root.source.namespace.clone()),
        },
        uri: either(&own.uri, &root.uri),
        ignore_uri_case: own.ignore_uri_case,
        scheme: either(&own.scheme, &root.scheme),
        method: either(&own.method, &root.method),
        authority: either(&own.authority, &root.authority),
        headers: root.headers.clone().into_iter().chain(own.headers.clone()).collect(),
        without_headers: root.without_headers.clone().into_iter().chain(own.without_headers.clone()).collect(),
        claims: root.claims.clone().into_iter().chain(own.claims.clone()).collect(),
        without_claims: root.without_claims.clone().into_iter().chain(own.without_claims.clone()).collect(),
        parameters: root.parameters.clone().into_iter().chain(own.parameters.clone()).collect(),
    }
}

/// True if what `own` asks can be within what `root` asks.
fn fits(root: &HttpMatch, own: &HttpMatch) -> bool {
    let texts = [
        (&root.uri, &own.uri),
        (&root.scheme, &own.scheme),
        (&root.method, &own.method),
        (&root.authority, &own.authority),
    ];
    let within_texts = texts.iter().all(|(root, own)| root.as_ref().zip(own.as_ref()).is_none_or(within));
    let within_maps = all_within(&root.headers, &own.headers)
        && all_within(&root.without_headers, &own.without_headers)
        && all_within(&root.claims, &own.claims)
        && all_within(&root.without_claims, &own.without_claims)
        && all_within(&root.parameters, &own.parameters);
    within_texts && within_maps && root.ignore_uri_case == own.ignore_uri_case && source_fits(&root.source, &own.source)
}

/// True if of every name that both have `own` is within `root`.
fn all_within<K: Ord>(root: &BTreeMap<K, Text>, own: &BTreeMap<K, Text>) -> bool {
    own.iter().filter_map(|(name, text)| Some((root.get(name)?, text))).all(within)
}

fn source_fits(root: &Source, own: &Source) -> bool {
    let same = |(key, value)| root.labels.get(key).is_none_or(|known| known == value);
    root.port.zip(own.port).is_none_or(|(root, own)| root == own)
        && root.namespace.as_ref().is_none_or(|root| own.namespace.as_ref().is_none_or(|own| root == own))
        && own.labels.iter().all(same)
        && (root.gateways.is_empty() || own.gateways.iter().all(|gateway| root.gateways.contains(gateway)))
}

/// True if every text that `own` describes is sure to be described by `root`. Of a regex nobody can say.
fn within((root, own): (&Text, &Text)) -> bool {
    match (root, own) {
        (Text::Present, Text::Present) => true,
        (Text::Exact(root), Text::Exact(own)) => root == own,
        (Text::Prefix(root), Text::Exact(own) | Text::Prefix(own)) => own.starts_with(&**root),
        _ => false,
    }
}
