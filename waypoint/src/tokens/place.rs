//! Where tokens stand in requests: in header fields, query parameters and cookies; and requests without them.

use std::borrow::Cow;

use ambit_model::policy::token::Location;
use http::header::{COOKIE, HeaderMap, HeaderName, HeaderValue};

/// The tokens at `locations` of a request with these fields and this path and query. What is no text in one makes it none that
/// anybody takes; what is beside it hides none.
pub(super) fn tokens(locations: &[Location], fields: &HeaderMap, path: &str) -> Vec<String> {
    let at = |location: &Location| -> Vec<String> {
        match location {
            Location::Field(name, prefix) => {
                let lines = fields.get_all(&**name).into_iter().map(text);
                lines.filter_map(|line| behind(&line, prefix).map(str::to_owned)).collect()
            }
            Location::Parameter(name) => {
                let parameters = pairs(path).filter_map(|pair| form_urlencoded::parse(pair.as_bytes()).next());
                parameters.filter(|(key, _)| *key == **name).map(|(_, value)| value.into_owned()).collect()
            }
            Location::Cookie(name) => {
                let lines: Vec<_> = fields.get_all(COOKIE).into_iter().map(text).collect();
                let crumbs = lines.iter().flat_map(|line| line.split(';'));
                let named = crumbs.filter_map(|crumb| crumb_named(crumb, name));
                named.map(|value| value.trim_matches('"').to_owned()).collect()
            }
        }
    };
    locations.iter().flat_map(at).collect()
}

/// Takes everything at `locations` out of the fields, and what else there is of the path and query if something stood there.
pub(super) fn remove(locations: &[Location], fields: &mut HeaderMap, path: &str) -> Option<String> {
    let mut left = None;
    for location in locations {
        match location {
            Location::Field(name, prefix) => {
                if fields.get_all(&**name).into_iter().any(|line| behind(&text(line), prefix).is_some()) {
                    fields.remove(&**name);
                }
            }
            Location::Parameter(name) => {
                let path = left.as_deref().unwrap_or(path);
                left = without(path, name).or(left);
            }
            Location::Cookie(name) => remove_cookie(fields, name),
        }
    }
    left
}

/// `line` as text; a byte that is none is a character that no token has.
fn text(line: &HeaderValue) -> Cow<'_, str> {
    String::from_utf8_lossy(line.as_bytes())
}

/// What stands behind `prefix` in `line` and can be a token, as Envoy finds it; all of the line if there is no prefix; none if
/// there is no such.
fn behind<'a>(line: &'a str, prefix: &str) -> Option<&'a str> {
    if prefix.is_empty() {
        return Some(line);
    }
    let outside = |c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c));
    let (_, rest) = line.split_once(prefix)?;
    rest.trim_start_matches(outside).split(outside).next()
}

/// The pairs of the query of `path`, as they are written.
fn pairs(path: &str) -> impl Iterator<Item = &str> {
    path.split_once('?').into_iter().flat_map(|(_, query)| query.split('&'))
}

/// `path` without the query parameters `name`; none if it has none.
fn without(path: &str, name: &str) -> Option<String> {
    let is_meant = |pair: &&str| form_urlencoded::parse(pair.as_bytes()).next().is_some_and(|(key, _)| *key == *name);
    pairs(path).find(is_meant)?;
    let kept: Vec<&str> = pairs(path).filter(|pair| !is_meant(pair)).collect();
    let bare = path.split('?').next().unwrap_or_default();
    Some(if kept.is_empty() { bare.to_owned() } else { format!("{bare}?{}", kept.join("&")) })
}

/// The value of `crumb` if it is the cookie `name`.
fn crumb_named<'a>(crumb: &'a str, name: &str) -> Option<&'a str> {
    let (key, value) = crumb.trim().split_once('=')?;
    (key.trim() == name).then(|| value.trim())
}

fn remove_cookie(fields: &mut HeaderMap, name: &str) {
    let lines: Vec<HeaderValue> = fields.get_all(COOKIE).into_iter().cloned().collect();
    let has = |line: &&HeaderValue| text(line).split(';').any(|crumb| crumb_named(crumb, name).is_some());
    if !lines.iter().any(|line| has(&line)) {
        return;
    }
    fields.remove(COOKIE);
    for line in &lines {
        if !has(&line) {
            fields.append(COOKIE, line.clone());
            continue;
        }
        let is_kept = |crumb: &&[u8]| crumb_named(&String::from_utf8_lossy(crumb), name).is_none();
        let kept = line.as_bytes().split(|byte| *byte == b';').filter(is_kept).map(<[u8]>::trim_ascii);
        let kept = kept.collect::<Vec<_>>().join(&b"; "[..]);
        if let Some(kept) = HeaderValue::from_bytes(&kept).ok().filter(|kept| !kept.is_empty()) {
            fields.append(HeaderName::from_static("cookie"), kept);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(all: &[(&'static str, &'static str)]) -> HeaderMap {
        let each = all.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        each.collect()
    }

    #[test]
    fn tokens_stand_in_fields_parameters_and_cookies_and_are_taken_out_of_there() {
        let bearer = || Location::Field("authorization".into(), "Bearer ".into());
        let bare = || Location::Field("x-token".into(), "".into());
        let parameter = || Location::Parameter("t".into());
        let cookie = || Location::Cookie("t".into());
        // The location; fields and path; the tokens; what is left of cookies and path.
        for (location, sent, path, found, left, rest) in [
            (bearer(), ("authorization", "Bearer a.b.c"), "/", &["a.b.c"][..], None, None),
            (bearer(), ("authorization", "Bearer  a.b.c, d"), "/", &["a.b.c"], None, None),
            (bearer(), ("authorization", "Bearer "), "/", &[""], None, None),
            (bearer(), ("authorization", "bearer a.b.c"), "/", &[], Some("bearer a.b.c"), None),
            (bearer(), ("authorization", "Basic eDp5"), "/", &[], Some("Basic eDp5"), None),
            (bare(), ("x-token", "a.b.c"), "/", &["a.b.c"], None, None),
            (bare(), ("x-other", "a"), "/", &[], Some("a"), None),
            (parameter(), ("x", "y"), "/p?t=a.b&q=1", &["a.b"], Some("y"), Some("/p?q=1")),
            (parameter(), ("x", "y"), "/p?q=1&%74=a%2Eb", &["a.b"], Some("y"), Some("/p?q=1")),
            (parameter(), ("x", "y"), "/p?t=a&t=b", &["a", "b"], Some("y"), Some("/p")),
            (parameter(), ("x", "y"), "/p?tt=a", &[], Some("y"), None),
            (cookie(), ("cookie", "a=1; t=\"x.y\"; b=2"), "/", &["x.y"], Some("a=1; b=2"), None),
            (cookie(), ("cookie", "t=x"), "/", &["x"], None, None),
            (cookie(), ("cookie", "tt=x"), "/", &[], Some("tt=x"), None),
        ] {
            let (name, value) = sent;
            let mut fields = fields(&[(name, value)]);
            assert_eq!(tokens(std::slice::from_ref(&location), &fields, path), found, "{location:?} {value} {path}");
            assert_eq!(remove(&[location], &mut fields, path).as_deref(), rest, "{value} {path}");
            assert_eq!(fields.get(name).map(text).as_deref(), left, "{value} {path}");
        }
    }

    #[test]
    fn what_is_no_text_hides_no_token() {
        let cookie = [Location::Cookie("t".into())];
        let mut fields = HeaderMap::new();
        fields.append(COOKIE, HeaderValue::from_bytes(b"t=a.b.c; x=\xe9; y=\xc3\xa9").unwrap());
        assert_eq!(tokens(&cookie, &fields, "/"), ["a.b.c"]);
        remove(&cookie, &mut fields, "/");
        assert_eq!(fields[COOKIE].as_bytes(), b"x=\xe9; y=\xc3\xa9");
        let bearer = [Location::Field("authorization".into(), "Bearer ".into())];
        fields.append("authorization", HeaderValue::from_bytes(b"Bearer a.b.c,\xff").unwrap());
        assert_eq!(tokens(&bearer, &fields, "/"), ["a.b.c"]);
    }

    #[test]
    fn every_line_counts() {
        let mut fields = fields(&[
            ("authorization", "Bearer a"),
            ("authorization", "Bearer b"),
            ("cookie", "t=c"),
            ("cookie", "u=d"),
        ]);
        let locations = [
            Location::Field("authorization".into(), "Bearer ".into()),
            Location::Cookie("t".into()),
            Location::Parameter("p".into()),
            Location::Parameter("q".into()),
        ];
        assert_eq!(tokens(&locations, &fields, "/?p=e&q=f&r=g"), ["a", "b", "c", "e", "f"]);
        assert_eq!(remove(&locations, &mut fields, "/?p=e&q=f&r=g").as_deref(), Some("/?r=g"));
        assert_eq!(
            fields.iter().map(|(name, value)| (name.as_str(), text(value).into_owned())).collect::<Vec<_>>(),
            [("cookie", "u=d".to_owned())]
        );
    }
}
