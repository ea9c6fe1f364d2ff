//! Which path a request has, of the many ways to write it (RFC 3986 section 6.2.2, Istio MeshConfig `pathNormalization`,
//! Envoy `normalize_path`). It is settled before anything looks at the path, and forwarded as it was settled, so that
//! policies, routes and the application read the same one. The query stays as it is.

use std::borrow::Cow;
use std::str::FromStr;

/// What is done to a path (Istio MeshConfig `ProxyPathNormalization.NormalizationType`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Normalization {
    /// Nothing.
    None,
    /// Backslashes are slashes, segments of dots are followed, and escapes of what needs none are undone.
    #[default]
    Base,
    /// That, and then several slashes are one.
    MergeSlashes,
    /// Escaped slashes and backslashes count as such, and then all of that.
    DecodeAndMergeSlashes,
}

/// Why a request is answered with 400: its path means different things to different readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathRejected {
    /// It is not a path; the client has to send one that begins with a slash.
    #[error("the path does not begin with /")]
    Relative,
    /// It has a fragment, which no client should send (RFC 9110 section 4.2.5).
    #[error("the path has a fragment")]
    Fragment,
    /// It has a NUL, escaped or not, at which many readers stop.
    #[error("the path has a NUL")]
    Nul,
}

/// The name is none of a normalization.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write one of NONE, BASE, MERGE_SLASHES, DECODE_AND_MERGE_SLASHES")]
pub struct NormalizationError;

impl FromStr for Normalization {
    type Err = NormalizationError;

    fn from_str(text: &str) -> Result<Self, NormalizationError> {
        match text {
            "NONE" => Ok(Self::None),
            "DEFAULT" | "BASE" => Ok(Self::Base),
            "MERGE_SLASHES" => Ok(Self::MergeSlashes),
            "DECODE_AND_MERGE_SLASHES" => Ok(Self::DecodeAndMergeSlashes),
            _ => Err(NormalizationError),
        }
    }
}

/// The path and query that a request for `path` (its `:path`, query and all) is about. `*`, which is no path (RFC 9110
/// section 9.3.7), stays what it is.
///
/// # Errors
/// Why the request must not go on.
pub fn normalize(path: &str, how: Normalization) -> Result<Cow<'_, str>, PathRejected> {
    if path == "*" {
        return Ok(Cow::Borrowed(path));
    }
    if !path.starts_with('/') {
        return Err(PathRejected::Relative);
    }
    if path.contains('#') {
        return Err(PathRejected::Fragment);
    }
    let (bare, query) = path.split_at(path.find('?').unwrap_or(path.len()));
    if how == Normalization::None || is_normal(bare) {
        return Ok(Cow::Borrowed(path));
    }
    if bare.contains('\0') {
        return Err(PathRejected::Nul);
    }
    let decoded = if how == Normalization::DecodeAndMergeSlashes { with_slashes(bare) } else { Cow::Borrowed(bare) };
    let mut whole = canonical(&unescaped(&decoded)?);
    if how != Normalization::Base {
        // Only now: an escape or a segment of dots may have stood between them.
        let mut last = None;
        whole.retain(|letter| last.replace(letter) != Some('/') || letter != '/');
    }
    whole.push_str(query);
    Ok(Cow::Owned(whole))
}

/// True if there is nothing to be done in any way: a look that spares most paths a copy.
fn is_normal(bare: &str) -> bool {
    bare.bytes().all(|byte| byte == b'/' || is_plain(byte)) && !bare.contains("//") && !bare.contains("/.")
}

/// What stands for itself whoever reads it, a dot within a segment among it.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b".-_~!$&'()*+,:;=@".contains(&byte)
}

/// `bare` with its escaped slashes and backslashes undone.
fn with_slashes(bare: &str) -> Cow<'_, str> {
    if !bare.contains('%') {
        return Cow::Borrowed(bare);
    }
    Cow::Owned(bare.replace("%2f", "/").replace("%2F", "/").replace("%5c", "\\").replace("%5C", "\\"))
}

/// `bare` without escapes of letters, digits and `-._~` (RFC 3986 section 6.2.2.2), with escapes for what must not stand
/// in a path, and with slashes for backslashes. A `%` that begins no escape is one that was not escaped: else what is
/// undone behind it might make it one.
fn unescaped(bare: &str) -> Result<String, PathRejected> {
    let mut written = String::with_capacity(bare.len());
    let mut rest = bare.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        let escaped = if *byte == b'%' { escaped(after) } else { None };
        match (byte, escaped) {
            (_, Some((0, _))) => return Err(PathRejected::Nul),
            (_, Some((letter, behind))) if letter.is_ascii_alphanumeric() || b"-._~".contains(&letter) => {
                written.push(letter.into());
                rest = behind;
            }
            (_, Some(_)) => written.push('%'),
            (b'\\', None) => written.push('/'),
            (b'/' | b'[' | b']', None) => written.push((*byte).into()),
            (byte, None) if is_plain(*byte) => written.push((*byte).into()),
            (byte, None) => written.push_str(&format!("%{byte:02X}")),
        }
    }
    Ok(written)
}

/// The byte whose two digits `text` begins with, and what is behind them.
fn escaped(text: &[u8]) -> Option<(u8, &[u8])> {
    let (digits, behind) = text.split_at_checked(2)?;
    let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
    Some((u8::from_str_radix(digits, 16).ok()?, behind))
}

/// `path` with its segments of dots followed, and no further up than the root (RFC 3986 section 5.2.4).
fn canonical(path: &str) -> String {
    let mut written = String::with_capacity(path.len());
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." => {}
            ".." => written.truncate(written.rfind('/').unwrap_or(0)),
            _ => {
                written.push('/');
                written.push_str(segment);
                continue;
            }
        }
        if is_last {
            written.push('/');
        }
    }
    written
}

#[cfg(test)]
mod tests;
