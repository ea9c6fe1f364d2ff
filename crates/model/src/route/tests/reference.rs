//! A second router, written from the feature rows alone: it walks plain lists from end to end, compares texts letter by
//! letter and knows no table. Regexes are the one thing that the two share.

use super::*;

/// H-15, G-12: the first rule that matches of all VirtualServices that count (H-01, H-02), one after the other.
pub(super) fn told(services: &[Arc<VirtualService>], call: &Call) -> (Vec<RuleKey>, String) {
    let counting = counting(services, call);
    let keys = counting.iter().map(|service| service.key.clone()).collect();
    let matched = counting.iter().find_map(|service| walk(service, call));
    let otherwise = if counting.iter().all(|service| service.http.is_empty()) { "unrouted" } else { "none" };
    (keys, matched.unwrap_or_else(|| otherwise.to_owned()))
}

fn walk(service: &VirtualService, call: &Call) -> Option<String> {
    for (number, rule) in service.http.iter().enumerate() {
        if rule.matches.is_empty() && service.gateways.contains(&call.gateway) {
            return Some(format!("r{number}"));
        }
        for (place, block) in rule.matches.iter().enumerate() {
            if holds(service, block, call) {
                return Some(format!("r{number}.{place}"));
            }
        }
    }
    None
}

/// H-01: exact before wildcard, the longest suffix, then who is meant most closely, then age, then name. G-12: in the mesh
/// of the service's namespace or of the viewer's.
fn counting<'a>(services: &'a [Arc<VirtualService>], call: &Call) -> Vec<&'a VirtualService> {
    let mut all = Vec::new();
    for service in services {
        let names = match &service.visibility {
            Visibility::Public => None,
            Visibility::Namespaces(names) => Some(names),
        };
        let here = |gateways: &[Gateway]| gateways.contains(&call.gateway);
        let by_match = service.http.iter().flat_map(|rule| &rule.matches).any(|block| here(&block.source.gateways));
        let seen = names.is_none_or(|names| names.iter().any(|name| &**name == call.viewer));
        let own = [Some(call.viewer), call.owner].contains(&Some(&*service.key.namespace));
        if call.gateway == Gateway::Mesh && call.owner.is_some() && !own {
            continue;
        }
        if !seen || !(here(&service.gateways) || by_match) {
            continue;
        }
        let own = names.is_some_and(|names| names.iter().all(|name| *name == service.key.namespace));
        let width = if own { 0 } else { 1 + u8::from(names.is_none()) };
        let closeness = service.hosts.iter().filter_map(|host| closeness(host.as_str(), call.host)).max();
        let Some(closeness) = closeness else { continue };
        let age = service.created.as_deref().unwrap_or("");
        let rank = (usize::MAX - closeness, width, age.to_owned(), service.key.to_string());
        all.push((rank, &**service));
    }
    all.sort_by(|(a, _): &(_, &VirtualService), (b, _)| a.cmp(b));
    let closest = all.first().map(|(rank, _)| rank.0);
    all.into_iter().filter(|(rank, _)| Some(rank.0) == closest).map(|(_, service)| service).collect()
}

/// How closely `host` names `asked`: in full, or by how long a suffix.
fn closeness(host: &str, asked: &str) -> Option<usize> {
    if host == asked {
        return Some(1000);
    }
    let suffix = host.strip_prefix('*')?;
    let dotted = suffix.is_empty() || asked.ends_with(suffix);
    dotted.then_some(suffix.len())
}

fn holds(service: &VirtualService, block: &HttpMatch, call: &Call) -> bool {
    let gateways = if block.source.gateways.is_empty() { &service.gateways } else { &block.source.gateways };
    let [method, scheme, authority] = call.words;
    let mut labels = block.source.labels.iter();
    gateways.contains(&call.gateway)
        && (block.source.port.is_none() || block.source.port == Some(call.port))
        && (block.source.namespace.is_none() || block.source.namespace.as_deref() == call.namespace)
        && labels.all(|(key, value)| call.labels.as_ref().is_some_and(|labels| labels.get(key) == Some(value)))
        && path_holds(block, &call.path)
        && [(&block.method, method), (&block.scheme, scheme), (&block.authority, authority)]
            .iter()
            .all(|(text, value)| text.as_ref().is_none_or(|text| is(text, value)))
        && block.headers.iter().all(|(name, text)| field(call, name).is_some_and(|value| is(text, &value)))
        && block.without_headers.iter().all(|(name, text)| match (field(call, name), text) {
            (value, Text::Present) => value.is_none(),
            (value, text) => !is(text, &value.unwrap_or_default()),
        })
        && block.parameters.iter().all(|(name, text)| parameter(call, name).is_some_and(|value| is(text, &value)))
}

fn path_holds(block: &HttpMatch, path: &str) -> bool {
    let end = path.find(['?', '#']).unwrap_or(path.len());
    let lower = |text: &str| if block.ignore_uri_case { text.to_ascii_lowercase() } else { text.to_owned() };
    let path = &path[..end];
    match &block.uri {
        None | Some(Text::Present) => true,
        Some(Text::Exact(text)) => lower(path) == lower(text),
        Some(Text::Prefix(text)) => lower(path).starts_with(&lower(text)),
        Some(text @ (Text::Elements(_) | Text::Regex(_))) => is(text, path),
    }
}

fn is(text: &Text, value: &str) -> bool {
    match text {
        Text::Present => true,
        Text::Exact(exact) => **exact == *value,
        Text::Prefix(prefix) => value.starts_with(&**prefix),
        Text::Elements(prefix) => {
            let (asked, there): (Vec<_>, Vec<_>) = (prefix.split('/').collect(), value.split('/').collect());
            there.starts_with(&asked)
        }
        Text::Regex(regex) => regex.matches(value.as_bytes()),
    }
}

fn field(call: &Call, name: &str) -> Option<String> {
    let values: Vec<_> = call.fields.iter().filter(|(key, _)| *key == name).map(|(_, value)| *value).collect();
    (!values.is_empty()).then(|| values.join(","))
}

fn parameter(call: &Call, name: &str) -> Option<String> {
    let hash = call.path.find('#').unwrap_or(call.path.len());
    let before = &call.path[..hash];
    let query = &before[before.find('?')? + 1..];
    for pair in query.split('&') {
        let mut parts = pair.splitn(2, '=');
        if parts.next() == Some(name) {
            return Some(parts.next().unwrap_or("").to_owned());
        }
    }
    None
}
