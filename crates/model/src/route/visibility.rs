//! Whom an object is exported to (Istio `exportTo`).

use std::sync::Arc;

use serde::Serialize;

/// The namespaces whose proxies use an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Visibility {
    /// All of them: `*`, or nothing written.
    #[default]
    Public,
    /// These, ascending; `.` is the object's own.
    Namespaces(Vec<Arc<str>>),
}

impl Visibility {
    /// True if `namespace` is one of them.
    #[must_use]
    pub fn admits(&self, namespace: &str) -> bool {
        match self {
            Self::Public => true,
            Self::Namespaces(namespaces) => namespaces.iter().any(|known| **known == *namespace),
        }
    }

    /// True if every namespace is.
    #[must_use]
    pub const fn is_public(&self) -> bool {
        matches!(self, Self::Public)
    }

    /// How closely it is meant for `own`, the object's namespace: for that alone, for some, for all. Ascending.
    pub(super) fn width(&self, own: &str) -> u8 {
        match self {
            Self::Namespaces(namespaces) if namespaces.iter().all(|known| **known == *own) => 0,
            Self::Namespaces(_) => 1,
            Self::Public => 2,
        }
    }
}
