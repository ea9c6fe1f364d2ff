//! How a policy writes texts: `exact`, `prefix*`, `*suffix`, `*`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// What a text has to be. `*` is presence: any text but none and the empty one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// This text.
    Exact(Arc<str>),
    /// A text that begins with this one.
    Prefix(Arc<str>),
    /// A text that ends with this one.
    Suffix(Arc<str>),
    /// Any text.
    Present,
}

impl Pattern {
    /// True if `text` is what the pattern describes.
    #[must_use]
    pub fn matches(&self, text: impl AsRef<[u8]>) -> bool {
        let text = text.as_ref();
        match self {
            Self::Exact(exact) => text == exact.as_bytes(),
            Self::Prefix(prefix) => text.starts_with(prefix.as_bytes()),
            Self::Suffix(suffix) => text.ends_with(suffix.as_bytes()),
            Self::Present => !text.is_empty(),
        }
    }

    /// The pattern of the texts in lower case, for what has no case of its own.
    #[must_use]
    pub fn lowercase(self) -> Self {
        let lower = |text: Arc<str>| Arc::from(text.to_ascii_lowercase());
        match self {
            Self::Exact(exact) => Self::Exact(lower(exact)),
            Self::Prefix(prefix) => Self::Prefix(lower(prefix)),
            Self::Suffix(suffix) => Self::Suffix(lower(suffix)),
            Self::Present => Self::Present,
        }
    }
}

/// The text is no pattern: empty, or with a `*` that is neither its first nor its last character alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write a text, or one with a single * at its beginning or its end, or * alone")]
pub struct PatternError;

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bare = |rest: &str| if rest.contains('*') { Err(PatternError) } else { Ok(Arc::from(rest)) };
        match (text, text.strip_prefix('*'), text.strip_suffix('*')) {
            ("", _, _) => Err(PatternError),
            ("*", _, _) => Ok(Self::Present),
            (_, Some(rest), _) => bare(rest).map(Self::Suffix),
            (_, None, Some(rest)) => bare(rest).map(Self::Prefix),
            (_, None, None) => bare(text).map(Self::Exact),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(exact) => f.write_str(exact),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
            Self::Suffix(suffix) => write!(f, "*{suffix}"),
            Self::Present => f.write_str("*"),
        }
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
