//! Requests of pages from elsewhere (Istio `CorsPolicy`; the Fetch standard, section 3.2).

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::Fields;
use super::request::{Request, field};
use super::text::Text;

/// Which pages may ask, and for what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cors {
    /// `allowOrigins`: the pages that may; one that describes `*` is for all of them.
    pub allow_origins: Vec<Text>,
    /// `allowMethods`.
    pub allow_methods: Vec<Arc<str>>,
    /// `allowHeaders`.
    pub allow_headers: Vec<Arc<str>>,
    /// `exposeHeaders`.
    pub expose_headers: Vec<Arc<str>>,
    /// `maxAge`, in seconds.
    pub max_age: Option<Duration>,
    /// `allowCredentials`.
    pub allow_credentials: bool,
    /// `unmatchedPreflights` is not `IGNORE`: a preflight of a page that may not is forwarded.
    pub forward_unmatched: bool,
}

/// A header field that a response is given, whatever it had.
pub type Given = (&'static str, Vec<u8>);

/// What CORS makes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cross {
    /// Nothing: it goes on as any other does.
    Untouched,
    /// It goes on, and its response is given these.
    Marked(Vec<Given>),
    /// It is a preflight: it is answered with 200 and these, and goes no further.
    Answered(Vec<Given>),
}

impl Cors {
    /// What becomes of `request`.
    #[must_use]
    pub fn judge<F: Fields + ?Sized>(&self, request: &Request<'_, F>) -> Cross {
        let Some(origin) = field(request.fields, "origin").filter(|origin| !origin.is_empty()) else {
            return Cross::Untouched;
        };
        let asks = |value: std::borrow::Cow<'_, [u8]>| !value.is_empty();
        let preflight =
            request.method == "OPTIONS" && field(request.fields, "access-control-request-method").is_some_and(asks);
        let allowed = self.allow_origins.iter().any(|text| text.matches(b"*") || text.matches(&origin));
        match (allowed, preflight) {
            (false, true) if !self.forward_unmatched => Cross::Answered(Vec::new()),
            (false, _) => Cross::Untouched,
            (true, preflight) => {
                let mut given: Vec<Given> = vec![("access-control-allow-origin", origin.into_owned())];
                if self.allow_credentials {
                    given.push(("access-control-allow-credentials", b"true".to_vec()));
                }
                if preflight {
                    self.describe(request, &mut given);
                    return Cross::Answered(given);
                }
                given.extend(list("access-control-expose-headers", &self.expose_headers).filter(|_| {
                    // With credentials an asterisk is the name of a field (the Fetch standard, section 3.2.5).
                    !(self.allow_credentials && is_any(&self.expose_headers))
                }));
                Cross::Marked(given)
            }
        }
    }

    /// What a preflight asks for. Where all is allowed to pages with credentials, for which an asterisk is no wildcard, that
    /// is what the page asks for.
    fn describe<F: Fields + ?Sized>(&self, request: &Request<'_, F>, given: &mut Vec<Given>) {
        for (name, asked, allowed) in [
            ("access-control-allow-methods", "access-control-request-method", &self.allow_methods),
            ("access-control-allow-headers", "access-control-request-headers", &self.allow_headers),
        ] {
            if self.allow_credentials && is_any(allowed) {
                given.extend(field(request.fields, asked).map(|asked| (name, asked.into_owned())));
            } else {
                given.extend(list(name, allowed));
            }
        }
        let age = self.max_age.map(|age| age.as_secs().to_string().into_bytes());
        given.extend(age.map(|age| ("access-control-max-age", age)));
    }
}

fn is_any(values: &[Arc<str>]) -> bool {
    matches!(values, [only] if &**only == "*")
}

fn list(name: &'static str, values: &[Arc<str>]) -> Option<Given> {
    (!values.is_empty()).then(|| (name, values.join(",").into_bytes()))
}
