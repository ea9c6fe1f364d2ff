//! The messages of `istio.v1.auth.IstioCertificateService` (istio.io/api, security/v1alpha1/ca.proto), and of our own
//! `ambit.v1.Nodes`.

use std::collections::BTreeMap;

use ambit_model::Identity;
use prost_types::value::Kind;
use prost_types::{Struct, Value};

/// The one method of Istio's service.
pub(crate) const METHOD: &str = "/istio.v1.auth.IstioCertificateService/CreateCertificate";

/// The one method of ours: what a node's agent says of its pods.
pub(crate) const REPORT: &str = "/ambit.v1.Nodes/Report";

/// Whom a node's agent wants a certificate for, in the request's metadata.
const IMPERSONATED: &str = "ImpersonatedIdentity";

/// `IstioCertificateRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct CertificateRequest {
    /// The request in PEM.
    #[prost(string, tag = "1")]
    pub(crate) csr: String,
    /// The validity that is wished for, in seconds.
    #[prost(int64, tag = "3")]
    pub(crate) validity_duration: i64,
    #[prost(message, optional, tag = "4")]
    pub(crate) metadata: Option<Struct>,
}

/// `IstioCertificateResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct CertificateResponse {
    /// The leaf first, each in PEM; an element may hold several certificates.
    #[prost(string, repeated, tag = "1")]
    pub(crate) cert_chain: Vec<String>,
}

/// What an agent says of some of its node's pods.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ReportRequest {
    #[prost(message, repeated, tag = "1")]
    pub(crate) pods: Vec<PodMessage>,
}

/// What it says of one.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct PodMessage {
    #[prost(string, tag = "1")]
    pub(crate) namespace: String,
    #[prost(string, tag = "2")]
    pub(crate) name: String,
    /// `metadata.uid`.
    #[prost(string, tag = "3")]
    pub(crate) uid: String,
    #[prost(enumeration = "StateCode", tag = "4")]
    pub(crate) state: i32,
    /// What stands in the way of its capture.
    #[prost(string, tag = "5")]
    pub(crate) obstacle: String,
    /// What was found amiss and has been put right.
    #[prost(string, tag = "6")]
    pub(crate) mended: String,
}

/// How a pod stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum StateCode {
    Unspecified = 0,
    Captured = 1,
    Outside = 2,
    OtherMesh = 3,
    Failed = 4,
}

/// What was not taken of a report; the rest was.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ReportResponse {
    #[prost(message, repeated, tag = "1")]
    pub(crate) refused: Vec<RefusedMessage>,
}

/// A pod of which nothing was taken.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct RefusedMessage {
    /// `metadata.uid`, as it was reported.
    #[prost(string, tag = "1")]
    pub(crate) uid: String,
    #[prost(string, tag = "2")]
    pub(crate) code: String,
    #[prost(string, tag = "3")]
    pub(crate) text: String,
}

impl CertificateRequest {
    /// With the name of the one whom the certificate is for.
    pub(crate) fn for_identity(csr: String, validity_duration: i64, identity: &Identity) -> Self {
        let name = Value { kind: Some(Kind::StringValue(identity.to_string())) };
        let fields = BTreeMap::from([(IMPERSONATED.to_owned(), name)]);
        Self { csr, validity_duration, metadata: Some(Struct { fields }) }
    }

    /// Whom the certificate is for, if not for the caller himself.
    pub(crate) fn impersonated(&self) -> Option<&str> {
        match self.metadata.as_ref()?.fields.get(IMPERSONATED)?.kind.as_ref()? {
            Kind::StringValue(name) => Some(name),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    #[test]
    fn a_request_is_written_as_istios_proto_has_it() {
        let identity = "spiffe://a/ns/b/sa/c".parse().unwrap();
        let request = CertificateRequest::for_identity("PEM".to_owned(), 86_400, &identity);
        // Field 1, 3 bytes; field 3, a varint; field 4: a Struct with one entry (1) of key (1) and Value (2, string 3).
        let mut expected =
            b"\x0a\x03PEM\x18\x80\xa3\x05\x22\x30\x0a\x2e\x0a\x14ImpersonatedIdentity\x12\x16\x1a\x14".to_vec();
        expected.extend_from_slice(b"spiffe://a/ns/b/sa/c");
        assert_eq!(request.encode_to_vec(), expected);
        let read = CertificateRequest::decode(&expected[..]).unwrap();
        assert_eq!(read.impersonated(), Some("spiffe://a/ns/b/sa/c"));
        let response = CertificateResponse { cert_chain: vec!["A".to_owned(), "B".to_owned()] };
        assert_eq!(response.encode_to_vec(), b"\x0a\x01A\x0a\x01B");
    }
}
