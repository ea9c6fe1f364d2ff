//! What a forwarded request's path and authority become (Istio `HTTPRewrite`).

use std::borrow::Cow;
use std::sync::Arc;

use serde::Serialize;

use super::regex::Regex;
use super::request::Request;
use super::text::Text;
use super::virtual_service::HttpMatch;

/// What is rewritten.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rewrite {
    /// The path.
    pub path: Option<RewritePath>,
    /// `authority`.
    pub authority: Option<Arc<str>>,
}

/// How a path is rewritten. The query stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum RewritePath {
    /// `uri`: this takes the place of what matched: the prefix, or the whole path.
    Matched(Arc<str>),
    /// `ReplaceFullPath` (Gateway API): this takes the place of the whole path.
    Whole(Arc<str>),
    /// `uriRegexRewrite`: every part that the expression describes is replaced.
    Regex(Regex, Substitution),
}

impl Rewrite {
    /// The path and query that `request` is forwarded with, having matched `block`.
    #[must_use]
    pub fn path<'a, F: ?Sized + super::Fields>(
        &self,
        request: &Request<'a, F>,
        block: Option<&HttpMatch>,
    ) -> Cow<'a, str> {
        let path = request.bare_path();
        let rewritten = match &self.path {
            None => return Cow::Borrowed(request.path),
            Some(RewritePath::Matched(new)) => {
                let rewritten = format!("{new}{}", path.get(matched_length(path, block)..).unwrap_or_default());
                if rewritten.is_empty() { "/".to_owned() } else { rewritten }
            }
            Some(RewritePath::Whole(new)) => new.to_string(),
            Some(RewritePath::Regex(regex, substitution)) => {
                let replaced = regex.replace_all(path.as_bytes(), |captures, out| {
                    substitution.expand(out, |group| captures.get(group).map(|found| found.as_bytes()));
                });
                String::from_utf8_lossy(&replaced).into_owned()
            }
        };
        Cow::Owned(rewritten + request.query())
    }
}

/// How much of `path` it was that `block` matched: the prefix that it asks for, or all of it. What asks for no path
/// matches the slash that every path begins with.
pub(super) fn matched_length(path: &str, block: Option<&HttpMatch>) -> usize {
    match block.and_then(|block| block.uri.as_ref()) {
        Some(Text::Prefix(prefix) | Text::Elements(prefix)) => prefix.len(),
        None | Some(Text::Present) => path.len().min(1),
        Some(Text::Exact(_) | Text::Regex(_)) => path.len(),
    }
}

/// What replaces a part that an expression describes: text and groups of it, as RE2 writes them: `\1` to `\9` are what the
/// groups captured, `\0` is all of the part, and `\\` is a backslash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Substitution(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
enum Piece {
    Text(Arc<str>),
    Group(usize),
}

impl Substitution {
    /// What `text` says, for an expression of so many `groups`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(text: &str, groups: usize) -> Result<Self, SubstitutionError> {
        let (mut pieces, mut literal, mut rest) = (Vec::new(), String::new(), text.chars());
        while let Some(c) = rest.next() {
            if c != '\\' {
                literal.push(c);
                continue;
            }
            match rest.next() {
                Some('\\') => literal.push('\\'),
                Some(digit) if digit.is_ascii_digit() => {
                    let group = usize::try_from(digit.to_digit(10).unwrap_or_default()).unwrap_or_default();
                    if group > groups {
                        return Err(SubstitutionError::Group { group, groups });
                    }
                    pieces.push(Piece::Text(Arc::from(std::mem::take(&mut literal))));
                    pieces.push(Piece::Group(group));
                }
                _ => return Err(SubstitutionError::Escape),
            }
        }
        pieces.push(Piece::Text(Arc::from(literal)));
        pieces.retain(|piece| !matches!(piece, Piece::Text(text) if text.is_empty()));
        Ok(Self(pieces))
    }

    fn expand<'a>(&self, out: &mut Vec<u8>, captured: impl Fn(usize) -> Option<&'a [u8]>) {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Group(group) => out.extend_from_slice(captured(*group).unwrap_or_default()),
            }
        }
    }
}

/// Why a text is no substitution.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubstitutionError {
    /// It names a group that the expression has not; put parentheses around what is meant.
    #[error("\\{group} is a group that the expression has not: it has {groups}")]
    Group {
        /// The group that is named.
        group: usize,
        /// How many there are.
        groups: usize,
    },
    /// A backslash stands before what is neither a digit nor a backslash; write it twice if it is meant.
    #[error("a backslash stands for nothing before anything but a digit: write it twice")]
    Escape,
}
