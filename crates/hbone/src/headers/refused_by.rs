//! The header `x-ambit-policy`: which policy refused a CONNECT. For the log of whoever asked, and for nothing else.

use std::fmt;
use std::sync::Arc;

/// The kinds that can refuse.
const KINDS: [&str; 2] = ["AuthorizationPolicy", "PeerAuthentication"];
/// The longest namespace (RFC 1123 label) and the longest name (RFC 1123 subdomain) in Kubernetes.
const LONGEST: (usize, usize) = (63, 253);

/// A policy, and its rule if one refused: `AuthorizationPolicy shop/deny, rule 0`. At most 353 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedBy(Arc<str>);

impl RefusedBy {
    /// Reads exactly `<kind> <namespace>/<name>` or `<kind> <namespace>/<name>, rule <number from 0>`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(' ')?;
        let (key, rule) = rest.split_once(", rule ").map_or((rest, None), |(key, rule)| (key, Some(rule)));
        let (namespace, name) = key.split_once('/')?;
        let is_namespace = namespace.len() <= LONGEST.0 && is_label(namespace);
        let is_name = name.len() <= LONGEST.1 && name.split('.').all(is_label);
        let is_rule = rule.is_none_or(|rule| rule.parse::<u32>().is_ok_and(|number| number.to_string() == rule));
        (KINDS.contains(&kind) && is_namespace && is_name && is_rule).then(|| Self(Arc::from(text)))
    }
}

impl fmt::Display for RefusedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_label(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && !text.starts_with('-') && !text.ends_with('-') && text.bytes().all(is_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_comes_back_as_it_was_written() {
        let longest = format!("PeerAuthentication {}/{}", "n".repeat(63), ["l".repeat(126), "m".repeat(126)].join("."));
        for text in [
            "AuthorizationPolicy shop/deny",
            "AuthorizationPolicy shop/deny, rule 0",
            "AuthorizationPolicy istio-system/allow.v2, rule 4294967295",
            &longest,
        ] {
            assert_eq!(RefusedBy::parse(text).map(|policy| policy.to_string()).as_deref(), Some(text));
        }
    }

    #[test]
    fn anything_else_is_as_if_not_sent() {
        let long = format!("AuthorizationPolicy {}/deny", "n".repeat(64));
        let longer = format!("AuthorizationPolicy shop/{}", "n".repeat(254));
        for text in [
            "",
            "AuthorizationPolicy",
            "AuthorizationPolicy shop",
            "AuthorizationPolicy shop/",
            "AuthorizationPolicy /deny",
            "AuthorizationPolicy shop/deny/more",
            "AuthorizationPolicy  shop/deny",
            "AuthorizationPolicy shop/deny ",
            "authorizationpolicy shop/deny",
            "Secret shop/deny",
            "AuthorizationPolicy shop/Deny",
            "AuthorizationPolicy shop/de ny",
            "AuthorizationPolicy shop/-deny",
            "AuthorizationPolicy shop/deny..v2",
            "AuthorizationPolicy sh.op/deny",
            "AuthorizationPolicy shop/deny\" reason=\"none",
            "AuthorizationPolicy shop/deny, rule",
            "AuthorizationPolicy shop/deny, rule ",
            "AuthorizationPolicy shop/deny, rule -1",
            "AuthorizationPolicy shop/deny, rule +1",
            "AuthorizationPolicy shop/deny, rule 01",
            "AuthorizationPolicy shop/deny, rule 4294967296",
            "AuthorizationPolicy shop/deny, rule 1, rule 2",
            &long,
            &longer,
        ] {
            assert_eq!(RefusedBy::parse(text), None, "{text}");
        }
    }
}
