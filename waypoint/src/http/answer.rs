//! What the proxy itself answers, in the words of Istio's: statuses, bodies and details as Envoy has them. Knows no
//! connection.

use std::borrow::Cow;

use ambit_identity::jose::Fault;
use ambit_model::Reason;
use ambit_model::policy::{DENIED_BODY, DENIED_STATUS, Denial, PolicyKey};
use ambit_model::route::{ABORT_BODY, Status, grpc_status};
use ambit_telemetry::ResponseFlag;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use http::{Response, StatusCode};

/// An answer that no endpoint gave.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// Its status; of a gRPC call in its trailers.
    pub(crate) status: Status,
    /// Its body, or the message of a gRPC call.
    pub(crate) body: Bytes,
    /// What the log has of it (Envoy, `%RESPONSE_CODE_DETAILS%`).
    pub(crate) details: Cow<'static, str>,
    /// What happened.
    pub(crate) flag: Option<ResponseFlag>,
    /// Why, as far as that is more than the flag.
    pub(crate) why: Option<Box<Why>>,
    /// Fields that it has.
    pub(crate) fields: Vec<(HeaderName, HeaderValue)>,
}

/// Why the proxy answers itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Why {
    /// The mesh's reason, where it has one.
    pub(crate) reason: Option<Reason>,
    /// The policy that refused the request, if one did.
    pub(crate) policy: Option<PolicyKey>,
    /// What was seen of the endpoint's connection (Envoy, `%UPSTREAM_TRANSPORT_FAILURE_REASON%`); empty for nothing.
    pub(crate) seen: String,
}

impl Answer {
    fn new(status: u16, body: &'static str, details: &'static str, flag: Option<ResponseFlag>) -> Self {
        Self {
            status: Status::Http(status),
            body: Bytes::from_static(body.as_bytes()),
            details: Cow::Borrowed(details),
            flag,
            why: None,
            fields: Vec::new(),
        }
    }

    /// A request that breaks the rules of HTTP. Nothing that comes behind it is looked at; of HTTP/2, which has streams for
    /// that, hyper leaves the field out.
    pub(crate) fn malformed(details: &'static str) -> Self {
        let close = (http::header::CONNECTION, HeaderValue::from_static("close"));
        Self { fields: vec![close], ..Self::new(400, "", details, Some(ResponseFlag::DownstreamProtocolError)) }
    }

    /// A request whose head is longer than is taken.
    pub(crate) fn too_large() -> Self {
        Self { status: Status::Http(431), ..Self::malformed("http1.headers_too_large") }
    }

    /// What hyper has answered to a head that it could not read; none if `error` is no such thing.
    pub(crate) fn to_unreadable(error: &hyper::Error) -> Option<Self> {
        match error {
            error if error.is_parse_too_large() => Some(Self::too_large()),
            error if error.is_parse() => Some(Self::malformed("http1.codec_error")),
            _ => None,
        }
    }

    /// A request whose client broke it off; nobody is left to be answered.
    pub(crate) fn abandoned() -> Self {
        Self::new(400, "", "downstream_remote_disconnect", Some(ResponseFlag::DownstreamConnectionTermination))
    }

    /// There are routes and none is for the request.
    pub(crate) fn no_route() -> Self {
        Self::new(404, "", "route_not_found", Some(ResponseFlag::NoRouteFound))
    }

    /// A request for somebody whom this connection does not lead to (RFC 9110 section 15.5.20).
    pub(crate) fn misdirected() -> Self {
        let close = (http::header::CONNECTION, HeaderValue::from_static("close"));
        Self { fields: vec![close], ..Self::new(421, "", "misdirected_request", Some(ResponseFlag::NoRouteFound)) }
    }

    /// The route names a host or a subset that is none.
    pub(crate) fn no_cluster() -> Self {
        Self::new(503, "", "cluster_not_found", Some(ResponseFlag::NoClusterFound))
    }

    /// The same answer, with what was seen.
    pub(crate) fn seen(self, what: &dyn std::error::Error) -> Self {
        let seen = what.source().map_or_else(|| what.to_string(), |cause| format!("{what}: {cause}"));
        Self { why: Some(Box::new(Why { seen, ..Why::default() })), ..self }
    }

    /// There is no endpoint to forward to.
    pub(crate) fn no_endpoint() -> Self {
        Self::new(503, "no healthy upstream", "no_healthy_upstream", Some(ResponseFlag::NoHealthyUpstream))
    }

    /// As many as are allowed are under way.
    pub(crate) fn overflow() -> Self {
        let overloaded = (HeaderName::from_static("x-envoy-overloaded"), HeaderValue::from_static("true"));
        Self {
            fields: vec![overloaded],
            ..Self::new(
                503,
                "upstream connect error or disconnect/reset before headers. reset reason: overflow",
                "upstream_reset_before_response_started{overflow}",
                Some(ResponseFlag::UpstreamOverflow),
            )
        }
    }

    /// The endpoint could not be connected to.
    pub(crate) fn unconnected(reason: Reason, detail: String) -> Self {
        Self {
            why: Some(Box::new(Why { reason: Some(reason), policy: None, seen: detail })),
            ..Self::new(
                503,
                "upstream connect error or disconnect/reset before headers. reset reason: connection failure",
                "upstream_reset_before_response_started{connection_failure}",
                Some(ResponseFlag::UpstreamConnectionFailure),
            )
        }
    }

    /// The endpoint ended the connection before it had answered.
    pub(crate) fn terminated() -> Self {
        Self::new(
            503,
            "upstream connect error or disconnect/reset before headers. reset reason: connection termination",
            "upstream_reset_before_response_started{connection_termination}",
            Some(ResponseFlag::UpstreamConnectionTermination),
        )
    }

    /// The endpoint reset the request before it had answered.
    pub(crate) fn reset() -> Self {
        Self::new(
            503,
            "upstream connect error or disconnect/reset before headers. reset reason: remote reset",
            "upstream_reset_before_response_started{remote_reset}",
            Some(ResponseFlag::UpstreamRemoteReset),
        )
    }

    /// The endpoint broke the rules of HTTP.
    pub(crate) fn protocol_error() -> Self {
        Self::new(
            502,
            "upstream connect error or disconnect/reset before headers. reset reason: protocol error",
            "upstream_reset_before_response_started{protocol_error}",
            Some(ResponseFlag::UpstreamConnectionTermination),
        )
    }

    /// The time that the route gives is over.
    pub(crate) fn timeout() -> Self {
        Self::new(504, "upstream request timeout", "response_timeout", Some(ResponseFlag::UpstreamRequestTimeout))
    }

    /// The time that the route gives one try is over.
    pub(crate) fn try_timeout() -> Self {
        let details = Cow::Borrowed("upstream_per_try_timeout");
        Self { details, ..Self::timeout() }
    }

    /// An abort that the route injects.
    pub(crate) fn aborted(status: Status) -> Self {
        Self { status, ..Self::new(0, ABORT_BODY, "fault_filter_abort", Some(ResponseFlag::FaultInjected)) }
    }

    /// A policy refuses the request.
    pub(crate) fn denied(denial: &Denial) -> Self {
        let rule = denial.rule.map(|rule| format!("-rule[{rule}]")).unwrap_or_default();
        let PolicyKey { namespace, name } = &denial.policy;
        let details = format!("rbac_access_denied_matched_policy[ns[{namespace}]-policy[{name}]{rule}]");
        Self {
            details: Cow::Owned(details),
            why: Some(Box::new(Why {
                reason: Some(denial.reason),
                policy: Some(denial.policy.clone()),
                seen: String::new(),
            })),
            ..Self::new(DENIED_STATUS, DENIED_BODY, "", None)
        }
    }

    /// The request's token is not taken, for this `fault`; `uri` is what was asked for (Envoy's jwt_authn, RFC 6750 section 3).
    pub(crate) fn unauthenticated(fault: Fault, uri: &str, seen: String) -> Self {
        // It is for somebody else, and says who asks all the same.
        let status = if fault == Fault::Audience { 403 } else { 401 };
        let told = format!("Bearer realm=\"{}\", error=\"invalid_token\"", uri.replace('"', "%22"));
        let told = HeaderValue::from_maybe_shared(Bytes::from(told)).ok();
        let text = fault.to_string();
        Self {
            details: Cow::Owned(format!("jwt_authn_access_denied{{{}}}", text.replace(' ', "_"))),
            body: Bytes::from(text),
            fields: told.into_iter().map(|told| (WWW_AUTHENTICATE, told)).collect(),
            why: (!seen.is_empty()).then(|| Box::new(Why { seen, ..Why::default() })),
            ..Self::new(status, "", "", None)
        }
    }

    /// What a route answers by itself.
    pub(crate) fn direct(status: u16, body: Bytes) -> Self {
        Self { body, ..Self::new(status, "", "direct_response", None) }
    }

    /// A redirect.
    pub(crate) fn elsewhere(code: u16, location: HeaderValue) -> Self {
        Self { fields: vec![(http::header::LOCATION, location)], ..Self::new(code, "", "direct_response", None) }
    }

    /// A preflight's answer.
    pub(crate) fn preflight(fields: Vec<(HeaderName, HeaderValue)>) -> Self {
        Self { fields, ..Self::new(200, "", "cors_response", None) }
    }

    /// The response, and its body. Whoever makes a gRPC call is told by its trailers, which stand in the head of a
    /// response that has nothing else (gRPC over HTTP/2, "Trailers-Only").
    pub(crate) fn response(&self, is_grpc: bool) -> Response<Bytes> {
        let (status, grpc) = self.status.answer(is_grpc);
        let mut fields = HeaderMap::new();
        let body = match grpc {
            Some(grpc) => {
                fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
                fields.insert("grpc-status", HeaderValue::from(u16::from(grpc)));
                if let Ok(message) = HeaderValue::from_maybe_shared(percent_encoded(&self.body)) {
                    fields.insert("grpc-message", message);
                }
                Bytes::new()
            }
            None => {
                if !self.body.is_empty() {
                    fields.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
                }
                fields.insert(CONTENT_LENGTH, HeaderValue::from(self.body.len()));
                self.body.clone()
            }
        };
        for (name, value) in &self.fields {
            fields.insert(name.clone(), value.clone());
        }
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        *response.headers_mut() = fields;
        response
    }

    /// The gRPC status that a gRPC call ends with.
    pub(crate) fn grpc_status(&self) -> u8 {
        match self.status {
            Status::Grpc(status) => status,
            Status::Http(status) => grpc_status(status),
        }
    }
}

/// A gRPC message (gRPC over HTTP/2, "Responses").
fn percent_encoded(text: &[u8]) -> Bytes {
    let plain = |byte: &u8| matches!(byte, b' '..=b'~') && *byte != b'%';
    if text.iter().all(plain) {
        return Bytes::copy_from_slice(text);
    }
    let encoded = text.iter().map(|byte| match byte {
        byte if plain(byte) => char::from(*byte).to_string(),
        byte => format!("%{byte:02X}"),
    });
    Bytes::from(encoded.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_makes_a_grpc_call_is_told_by_its_status() {
        let answer = Answer::no_endpoint();
        let plain = answer.response(false);
        assert_eq!((plain.status().as_u16(), &plain.body()[..]), (503, &b"no healthy upstream"[..]));
        assert_eq!(plain.headers()["content-length"], "19");
        let grpc = answer.response(true);
        assert_eq!((grpc.status().as_u16(), grpc.body().len()), (200, 0));
        assert_eq!(grpc.headers()["grpc-status"], "14");
        assert_eq!(grpc.headers()["grpc-message"], "no healthy upstream");
        assert_eq!(answer.grpc_status(), 14);
    }

    #[test]
    fn an_abort_is_what_envoys_clients_know() {
        let plain = Answer::aborted(Status::Http(500)).response(false);
        assert_eq!((plain.status().as_u16(), &plain.body()[..]), (500, &b"fault filter abort"[..]));
        assert_eq!(plain.headers()["content-type"], "text/plain");
        assert_eq!(plain.headers()["content-length"], "18");
        for (status, told) in [(Status::Http(500), "2"), (Status::Grpc(14), "14")] {
            assert_eq!(Answer::aborted(status).response(true).headers()["grpc-status"], told);
        }
    }

    #[test]
    fn a_message_of_a_grpc_call_is_text_that_a_field_can_have() {
        assert_eq!(&percent_encoded(b"100 %\n")[..], b"100 %25%0A");
    }
}
