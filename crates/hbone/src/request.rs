//! A CONNECT and its answer, in types: what may be asked for and how it is written. Knows nothing of streams.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use http::header::{HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri};

use crate::Error;
use crate::headers::{self, Baggage, Forwarded, RefusedBy, Traceparent};

/// What a client asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectRequest {
    /// Where to: `ip:port`, `[ip]:port` or `host:port` (RFC 9113 section 8.5), the port not 0.
    pub authority: String,
    /// Who the client workload is.
    pub baggage: Option<Baggage>,
    /// Where the connection came from, and which service it dialled.
    pub forwarded: Option<Forwarded>,
    /// The trace it belongs to.
    pub traceparent: Option<Traceparent>,
    /// The network it came from (`x-forwarded-network`).
    pub network: Option<String>,
    /// The kind of proxy that asks (`x-istio-source`).
    pub source: Option<SourceProxy>,
    /// The subset of the service that a gateway's route has chosen, for its waypoint (`x-ambit-subset`).
    pub subset: Option<String>,
}

/// What a server answers along with its 200.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectResponse {
    /// Who the server workload is (features.md E-05).
    pub baggage: Option<Baggage>,
}

/// The values of `x-istio-source`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SourceProxy {
    /// A waypoint, which has applied L7 policy already.
    Waypoint,
    /// A gateway.
    Gateway,
    /// A sidecar.
    Sidecar,
}

/// Why a request is answered with 400 without anyone having been asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// The method is another than CONNECT. Find out which client takes this port for an HTTP server.
    #[error("method {0} on a port that takes only CONNECT")]
    NotConnect(String),
    /// The `:authority` is missing or of another form than `ip:port` or `host:port`. The client's defect.
    #[error("{0:?} is no authority of the form ip:port or host:port")]
    Authority(String),
}

impl ConnectRequest {
    /// A request for `authority` that says nothing else.
    #[must_use]
    pub fn to(authority: impl Into<String>) -> Self {
        Self { authority: authority.into(), ..Self::default() }
    }

    pub(crate) fn to_http(&self) -> Result<Request<()>, Error> {
        let invalid = |why: &dyn fmt::Display| Error::InvalidRequest(Arc::from(why.to_string()));
        let authority = authority(&self.authority).map_err(|error| invalid(&error))?;
        let uri = Uri::builder().authority(authority).build().map_err(|error| invalid(&error))?;
        let mut request = Request::new(());
        *request.method_mut() = Method::CONNECT;
        *request.uri_mut() = uri;
        let fields = request.headers_mut();
        insert(fields, headers::BAGGAGE, self.baggage.as_ref());
        insert(fields, headers::FORWARDED, self.forwarded.as_ref());
        insert(fields, headers::TRACEPARENT, self.traceparent.as_ref());
        insert(fields, headers::X_FORWARDED_NETWORK, self.network.as_ref());
        insert(fields, headers::X_ISTIO_SOURCE, self.source.as_ref());
        insert(fields, headers::X_AMBIT_SUBSET, self.subset.as_ref());
        Ok(request)
    }

    pub(crate) fn from_http<B>(request: &Request<B>) -> Result<Self, BadRequest> {
        if request.method() != Method::CONNECT {
            return Err(BadRequest::NotConnect(request.method().as_str().chars().take(32).collect()));
        }
        let text = request.uri().authority().map(http::uri::Authority::as_str).unwrap_or_default();
        let fields = request.headers();
        Ok(Self {
            authority: authority(text)?.as_str().to_owned(),
            baggage: Baggage::parse(values(fields, headers::BAGGAGE)),
            forwarded: Forwarded::parse(values(fields, headers::FORWARDED)),
            traceparent: fields.get(headers::TRACEPARENT).and_then(|value| Traceparent::parse(value.as_bytes())),
            network: text_of(fields, headers::X_FORWARDED_NETWORK),
            source: text_of(fields, headers::X_ISTIO_SOURCE).and_then(|name| name.parse().ok()),
            subset: text_of(fields, headers::X_AMBIT_SUBSET),
        })
    }
}

impl ConnectResponse {
    pub(crate) fn to_http(&self) -> Response<()> {
        let mut response = Response::new(());
        insert(response.headers_mut(), headers::BAGGAGE, self.baggage.as_ref());
        response
    }

    /// Reads the head of an answer: anything but 200 is a refusal (features.md E-02).
    pub(crate) fn from_http<B>(response: &Response<B>) -> Result<Self, Error> {
        let fields = response.headers();
        if response.status() != StatusCode::OK {
            let reason = text_of(fields, headers::X_AMBIT_REASON);
            let policy = text_of(fields, headers::X_AMBIT_POLICY).and_then(|text| RefusedBy::parse(&text));
            return Err(Error::Refused { status: response.status().as_u16(), reason, policy });
        }
        Ok(Self { baggage: Baggage::parse(values(fields, headers::BAGGAGE)) })
    }
}

/// The answer to a CONNECT that is refused. A status that is none becomes 503; a reason that is no code is left out.
pub(crate) fn refusal(status: u16, reason: Option<&str>, policy: Option<&RefusedBy>) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = match StatusCode::from_u16(status) {
        Ok(status) if status.is_client_error() || status.is_server_error() => status,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    insert(response.headers_mut(), headers::X_AMBIT_REASON, reason.as_ref());
    insert(response.headers_mut(), headers::X_AMBIT_POLICY, policy);
    response
}

/// Reads `host:port`: a port of 1 to 65535, a host, no user.
fn authority(text: &str) -> Result<http::uri::Authority, BadRequest> {
    let bad = || BadRequest::Authority(text.chars().take(300).collect());
    let authority = http::uri::Authority::from_str(text).map_err(|_| bad())?;
    let is_host_and_port = authority.port_u16().is_some_and(|port| port != 0) && !authority.host().is_empty();
    if is_host_and_port && !text.contains('@') { Ok(authority) } else { Err(bad()) }
}

fn insert(fields: &mut HeaderMap, name: &'static str, value: Option<&impl fmt::Display>) {
    let value = value.map(ToString::to_string).filter(|value| !value.is_empty());
    if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
        fields.insert(name, value);
    }
}

fn values<'a>(fields: &'a HeaderMap, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
    fields.get_all(name).into_iter().map(HeaderValue::as_bytes)
}

fn text_of(fields: &HeaderMap, name: &'static str) -> Option<String> {
    let value = fields.get(name)?.to_str().ok()?.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

impl fmt::Display for SourceProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waypoint => "waypoint",
            Self::Gateway => "gateway",
            Self::Sidecar => "sidecar",
        })
    }
}

impl FromStr for SourceProxy {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        match name {
            "waypoint" => Ok(Self::Waypoint),
            "gateway" => Ok(Self::Gateway),
            "sidecar" => Ok(Self::Sidecar),
            _ => Err(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::headers::WorkloadKind;

    #[test]
    fn a_request_comes_back_as_it_was_sent() {
        let request = ConnectRequest {
            authority: "[2001:db8::7]:8080".to_owned(),
            baggage: Some(Baggage {
                workload: Some((WorkloadKind::Job, "import".to_owned())),
                zone: Some("b".to_owned()),
                ..Baggage::default()
            }),
            forwarded: Some(Forwarded { client: "10.0.0.1:5".parse().ok(), host: Some("a.b".to_owned()) }),
            traceparent: Some(Traceparent::new([7; 24])),
            network: Some("network-1".to_owned()),
            source: Some(SourceProxy::Waypoint),
            subset: Some("v2".to_owned()),
        };
        let http = request.to_http().unwrap();
        assert_eq!(http.method(), Method::CONNECT);
        assert_eq!(http.uri().to_string(), "[2001:db8::7]:8080");
        assert_eq!(http.headers().get("x-istio-source").unwrap(), "waypoint");
        assert_eq!(http.headers().get("x-forwarded-network").unwrap(), "network-1");
        assert_eq!(ConnectRequest::from_http(&http), Ok(request));
        let bare = ConnectRequest::to("web.shop.svc.cluster.local:80");
        assert_eq!(ConnectRequest::from_http(&bare.to_http().unwrap()), Ok(bare));
    }

    #[test]
    fn an_authority_is_a_host_and_a_port() {
        for bad in
            ["", "host", "host:", "host:0", ":80", "user@host:80", "host:99999", "[::1]", "a b:80", "http://a:80/"]
        {
            assert_eq!(authority(bad), Err(BadRequest::Authority(bad.to_owned())), "{bad}");
            assert!(matches!(ConnectRequest::to(bad).to_http(), Err(Error::InvalidRequest(_))), "{bad}");
        }
        for good in ["1.2.3.4:1", "[::1]:65535", "a-b.c:80"] {
            assert_eq!(authority(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn what_cannot_be_understood_is_as_if_not_sent() {
        let mut http = ConnectRequest::to("a:1").to_http().unwrap();
        let fields = http.headers_mut();
        fields.append("baggage", HeaderValue::from_static("k8s.cluster.name="));
        fields.append("baggage", HeaderValue::from_static("service.name=x"));
        fields.append("traceparent", HeaderValue::from_static("00-zz"));
        fields.append("x-istio-source", HeaderValue::from_static("submarine"));
        fields.append("x-forwarded-network", HeaderValue::from_bytes(b"\xff").unwrap());
        let baggage = Some(Baggage { service: Some("x".to_owned()), ..Baggage::default() });
        assert_eq!(ConnectRequest::from_http(&http), Ok(ConnectRequest { baggage, ..ConnectRequest::to("a:1") }));
    }

    #[test]
    fn a_refusal_carries_its_status_reason_and_policy() {
        let read = |response| match ConnectResponse::from_http::<()>(&response) {
            Err(Error::Refused { status, reason, policy }) => (status, reason, policy),
            other => panic!("{other:?}"),
        };
        let policy = RefusedBy::parse("AuthorizationPolicy shop/deny, rule 3");
        let denied = || refusal(401, Some("policy-denied"), policy.as_ref());
        assert_eq!(read(denied()), (401, Some("policy-denied".to_owned()), policy.clone()));
        let mut forged = denied();
        let value = HeaderValue::from_static("AuthorizationPolicy shop/deny\" src.identity=\"nobody");
        forged.headers_mut().insert("x-ambit-policy", value);
        assert_eq!(read(forged), (401, Some("policy-denied".to_owned()), None));
        assert_eq!(read(refusal(200, None, None)), (503, None, None));
        assert_eq!(read(refusal(7, Some("bro\nken"), None)), (503, None, None));
        let baggage = Some(Baggage { cluster: Some("c".to_owned()), ..Baggage::default() });
        let accepted = ConnectResponse { baggage };
        assert_eq!(ConnectResponse::from_http(&accepted.to_http()).unwrap(), accepted);
    }
}
