//! How a policy writes paths: as other texts, or as a template with `{*}` and `{**}` (Istio AuthorizationPolicy
//! `Operation.paths`). Which path a request has is for [`crate::route::normalize`].

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::pattern::{Pattern, PatternError};

/// What a path has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathPattern {
    /// A text like any other.
    Text(Pattern),
    /// A text with holes.
    Template(Template),
}

/// A path with `{*}` for one segment, which is not empty, and at last `{**}` for any text: `/a/{**}` is `/a/` and all
/// below it, and not `/a`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(Arc<str>),
    /// `{*}`
    Segment,
    /// `{**}`
    Rest,
}

impl PathPattern {
    /// True if `path` is what the pattern describes.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Text(pattern) => pattern.matches(path),
            Self::Template(template) => template.matches(path),
        }
    }
}

impl Template {
    /// True if `path` is the template with its holes filled.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let mut rest = path;
        for (place, piece) in self.0.iter().enumerate() {
            rest = match piece {
                Piece::Literal(literal) => match rest.strip_prefix(&**literal) {
                    Some(after) => after,
                    None => return false,
                },
                Piece::Segment => match rest.split_at(rest.find('/').unwrap_or(rest.len())) {
                    ("", _) => return false,
                    (_, after) => after,
                },
                // It is the last hole, so that no more than one literal stands behind it.
                Piece::Rest => {
                    return match self.0.get(place + 1) {
                        Some(Piece::Literal(end)) => rest.ends_with(&**end),
                        _ => true,
                    };
                }
            };
        }
        rest.is_empty()
    }

    /// What every path of the template begins with.
    pub(super) fn beginning(&self) -> &str {
        match self.0.first() {
            Some(Piece::Literal(literal)) => literal,
            _ => "",
        }
    }
}

/// Why a text describes no paths.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The text is no pattern; write it as the message says, or as a template.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// Something stands beside an operator in its segment, or is no operator; give each a segment of its own.
    #[error("write {{*}} and {{**}} as segments of their own, and no other {{ or }}")]
    Braces,
    /// `{**}` has an operator after it; leave one of them out.
    #[error("write {{**}} as the last operator")]
    NotLast,
    /// A segment of a template has a character that paths do not have; `*` counts as one. Percent-encode it.
    #[error("write a template of /, {{*}}, {{**}} and segments of A-Z a-z 0-9 - . _ ~ % ! $ & ' ( ) + , ; : @ = alone")]
    Literal,
    /// A template does not begin with a slash, so that no path would be it; write one.
    #[error("write / at the beginning of a template")]
    Relative,
}

impl FromStr for PathPattern {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        if !text.contains(['{', '}']) {
            return Ok(Self::Text(text.parse()?));
        }
        let mut pieces: Vec<Piece> = Vec::new();
        let mut literal = String::new();
        for (place, segment) in text.split('/').enumerate() {
            if place > 0 {
                literal.push('/');
            }
            let operator = match segment {
                "{*}" => Piece::Segment,
                "{**}" => Piece::Rest,
                _ if segment.contains(['{', '}']) => return Err(PathError::Braces),
                _ if !segment.bytes().all(is_literal) => return Err(PathError::Literal),
                _ => {
                    literal.push_str(segment);
                    continue;
                }
            };
            if pieces.contains(&Piece::Rest) {
                return Err(PathError::NotLast);
            }
            pieces.push(Piece::Literal(std::mem::take(&mut literal).into()));
            pieces.push(operator);
        }
        if !text.starts_with('/') {
            return Err(PathError::Relative);
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal.into()));
        }
        Ok(Self::Template(Template(pieces)))
    }
}

/// RFC 3986 appendix A `pchar`, but for `*`.
fn is_literal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()+,;:@=".contains(&byte)
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(pattern) => pattern.fmt(f),
            Self::Template(Template(pieces)) => pieces.iter().try_for_each(|piece| match piece {
                Piece::Literal(literal) => f.write_str(literal),
                Piece::Segment => f.write_str("{*}"),
                Piece::Rest => f.write_str("{**}"),
            }),
        }
    }
}

impl Serialize for PathPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_its_text_with_the_holes_filled() {
        for (template, matching, others) in [
            ("/a/{*}", &["/a/b", "/a/b.txt", "/a/%2e"][..], &["/a", "/a/", "/a/b/", "/a/b/c", "/b/a", "a/b"][..]),
            ("/a/{*}/", &["/a/b/"], &["/a/b", "/a//", "/a/b/c"]),
            ("/{*}/{*}", &["/a/b"], &["/a", "/a/", "//b", "/a/b/c"]),
            ("/a/{*}/c", &["/a/b/c"], &["/a/b/d", "/a/b/b/c", "/a//c", "/a/b/cc"]),
            ("/a/{**}", &["/a/", "/a/b", "/a/b/c", "/a//"], &["/a", "/ab", "/b/a/"]),
            ("/a/{**}/c", &["/a//c", "/a/b/c", "/a/b/b/c", "/a/c/c"], &["/a/c", "/a/b/cc", "/a/b/c/"]),
            ("/a/{*}/b/{**}", &["/a/x/b/", "/a/x/b/y/z"], &["/a/b/", "/a/x/y/b/", "/a/x/b"]),
            ("/{**}", &["/", "/a", "/a/b"], &["", "a"]),
            ("/{*}", &["/a"], &["/", "/a/"]),
        ] {
            let read: PathPattern = template.parse().unwrap();
            assert_eq!(read.to_string(), template);
            assert!(matches!(read, PathPattern::Template(_)), "{template}");
            assert!(matching.iter().all(|path| read.matches(path)), "{template} {matching:?}");
            assert!(!others.iter().any(|path| read.matches(path)), "{template} {others:?}");
        }
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for (text, error) in [
            ("/{**}/{*}", PathError::NotLast),
            ("/{**}/a/{**}", PathError::NotLast),
            ("/{***}", PathError::Braces),
            ("/{a}", PathError::Braces),
            ("/a{*}", PathError::Braces),
            ("/{*}a", PathError::Braces),
            ("/{**}{*}", PathError::Braces),
            ("/{*", PathError::Braces),
            ("/{*}/a}", PathError::Braces),
            ("/{*}/*", PathError::Literal),
            ("/a*/{*}", PathError::Literal),
            ("/{*}/a b", PathError::Literal),
            ("/{*}/a?b", PathError::Literal),
            ("/{*}/é", PathError::Literal),
            ("{*}", PathError::Relative),
            ("a/{*}", PathError::Relative),
            ("", PathError::Pattern(PatternError)),
            ("/a*b", PathError::Pattern(PatternError)),
        ] {
            assert_eq!(text.parse::<PathPattern>(), Err(error), "{text}");
        }
    }

    #[test]
    fn paths_without_a_template_are_patterns() {
        for (text, path, matches) in
            [("/a", "/a", true), ("/a", "/A", false), ("/a*", "/ab", true), ("*.txt", "/a.txt", true), ("*", "/", true)]
        {
            let read: PathPattern = text.parse().unwrap();
            assert_eq!((read.to_string().as_str(), read.matches(path)), (text, matches));
        }
    }
}
