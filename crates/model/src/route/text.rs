//! How a route describes a text (Istio `StringMatch`).

use std::sync::Arc;

use serde::Serialize;

use super::regex::Regex;

/// What a text has to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Text {
    /// Anything, if it is there (a `StringMatch` that says nothing, or the regex `*`).
    Present,
    /// This text.
    Exact(Arc<str>),
    /// A text that begins with this one.
    Prefix(Arc<str>),
    /// A path that begins with this one's elements, those between slashes (Gateway API `PathPrefix`): `/a` stands for `/a`,
    /// `/a/` and `/a/b`, and not for `/ab`. Has no slash at its end, and is empty for every path.
    Elements(Arc<str>),
    /// A text that is described as a whole.
    Regex(Regex),
}

impl Text {
    /// True if `value` is what is described.
    #[must_use]
    pub fn matches(&self, value: &[u8]) -> bool {
        match self {
            Self::Present => true,
            Self::Exact(exact) => value == exact.as_bytes(),
            Self::Prefix(prefix) => value.starts_with(prefix.as_bytes()),
            Self::Elements(prefix) => {
                let rest = value.strip_prefix(prefix.as_bytes());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
            }
            Self::Regex(regex) => regex.matches(value),
        }
    }

    /// As [`Self::matches`]; the case of ASCII makes no difference, but to elements and a regex.
    #[must_use]
    pub fn matches_any_case(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => value.eq_ignore_ascii_case(exact.as_bytes()),
            Self::Prefix(prefix) => {
                value.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
            }
            Self::Present | Self::Elements(_) | Self::Regex(_) => self.matches(value),
        }
    }

    /// The one text that it describes, if it is one.
    #[must_use]
    pub fn exact(&self) -> Option<&Arc<str>> {
        match self {
            Self::Exact(exact) => Some(exact),
            _ => None,
        }
    }
}
